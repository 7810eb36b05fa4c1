//! `deb822_repository`: an archive of packages that apt reads, as a `.sources` file (deb822-style, sources.list(5)).

use async_trait::async_trait;
use serde_json::Value;

use crate::change::Change;
use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::files::place::{Place, Writing, join, make_directories, parent};
use crate::modules::files::rights::Rights;
use crate::modules::net::web::body;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Planned, Results};
use crate::transport::{Content, Links, Node, Want};

use super::openpgp::{certificates, is_armored};

pub const DEB822_REPOSITORY: Entry = Entry {
    name: "deb822_repository",
    summary: "Keeps an archive of packages that apt reads, in a `.sources` file of its own",
    arguments: &[FIELDS, FILE],
    free_form: None,
    example: "\
- name: the archive of our own packages
  deb822_repository:
    name: ours
    uris: https://packages.example.com/debian
    suites: bookworm
    components: [main, mail]
    signed_by: /etc/apt/keyrings/ours.asc
",
    build,
};

/// Arguments that are fields of the file, in the order in which they stand there: that of these names.
const FIELDS: &[Argument] = &[
    Argument::new("allow_downgrade_to_insecure", Kind::Bool, "An archive that was signed need not be any more."),
    Argument::new("allow_insecure", Kind::Bool, "Its signature may be missing; it is not trusted."),
    Argument::new("allow_weak", Kind::Bool, "Its signature may be a weak one."),
    Argument::new("architectures", Kind::List, "The architectures whose packages are read."),
    Argument::new("by_hash", Kind::Text, "Whether files are asked for by their digest: `yes`, `no` or `force`."),
    Argument::new("check_date", Kind::Bool, "Whether its date may lie in the future."),
    Argument::new("check_valid_until", Kind::Bool, "Whether it may be older than it says."),
    Argument::new("components", Kind::List, "Its components, such as `main`."),
    Argument::new("date_max_future", Kind::Int, "Seconds that its date may lie in the future."),
    Argument::new("enabled", Kind::Bool, "Whether it is read at all."),
    Argument::new("exclude", Kind::List, "Packages, also by patterns, that are not taken from it (apt 3.1 and newer)."),
    Argument::new(
        "include",
        Kind::List,
        "Packages, also by patterns, that alone are taken from it (apt 3.1 and newer).",
    ),
    Argument::new("inrelease_path", Kind::Text, "Where its `InRelease` is, below the address."),
    Argument::new("languages", Kind::List, "The languages of descriptions."),
    Argument::new("name", Kind::Text, "Its name, from which that of the file is made.").required(),
    Argument::new("pdiffs", Kind::Bool, "Whether lists are updated by differences."),
    Argument::new(
        "signed_by",
        Kind::Text,
        "Who signs it: the path of a key ring on the host, fingerprints, a public key as text, or the URL of one: it is read from \
         the host and kept in `keyrings`, beside the directory of the file.",
    ),
    Argument::new("suites", Kind::List, "Its suites, such as `bookworm`."),
    Argument::new("targets", Kind::List, "What is downloaded."),
    Argument::new("trusted", Kind::Bool, "Whether it is trusted without a signature, or never."),
    Argument::new("types", Kind::List, "`deb`, `deb-src`; the first unless given."),
    Argument::new("uris", Kind::List, "Its addresses."),
];

const FILE: &[Argument] = &[
    Argument::new("state", Kind::Text, "Whether it is to be there. The default is `present`.")
        .choices(&["present", "absent"]),
    Argument::new("mode", Kind::Mode, "Permission bits of the file; `\"0644\"` unless given."),
    Argument::new("directory", Kind::Path, "Where such files are; `/etc/apt/sources.list.d` unless given."),
    Argument::new("install_python_debian", Kind::Bool, "Nothing is needed that could be installed."),
];

struct Repository {
    path: String,
    /// What it is to hold. `None`: it is not to be there.
    fields: Option<Arguments>,
    /// The file of the key that is read from an URL, without its extension.
    key: String,
    writing: Writing,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let text = |name: &str| arguments.get(name).and_then(Value::as_str);
    let mode = text("mode").unwrap_or("0644");
    let rights = Rights::default().with_mode(Some(mode.into()));
    rights.check()?;
    let present = text("state") != Some("absent");
    let missing = ["uris", "suites"].into_iter().find(|name| arguments.get(name).is_none());
    if let (true, Some(name)) = (present, missing) {
        return Err(Diagnostic::new(format!("`state: present` of `deb822_repository` needs `{name}`")));
    }
    let slug = slug(text("name").unwrap_or(""));
    if slug.is_empty() {
        return Err(Diagnostic::new("`name` of `deb822_repository` has no letter for the name of a file"));
    }
    let directory = text("directory").unwrap_or("/etc/apt/sources.list.d").trim_end_matches('/');
    let path = join(directory, &format!("{slug}.sources"));
    let key = join(&join(parent(directory), "keyrings"), &slug);
    let writing = Writing { rights, ..Writing::default() };
    Ok(Box::new(Repository { path, fields: present.then(|| arguments.clone()), key, writing }))
}

/// Returns the name as that of a file: small letters, digits and dashes.
fn slug(name: &str) -> String {
    let words = name.to_lowercase();
    let words: Vec<&str> =
        words.split(|c: char| c == '_' || c.is_whitespace()).filter(|word| !word.is_empty()).collect();
    words.join("-").chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect()
}

/// Returns the file's text; `key` is the file of the key, where that was read from an URL.
fn stanza(arguments: &Arguments, key: Option<&str>) -> String {
    let (types, key) = (Value::from(vec!["deb"]), key.map(Value::from));
    let mut text = String::new();
    for argument in FIELDS {
        let given = match argument.name {
            "signed_by" if key.is_some() => key.as_ref(),
            name => arguments.get(name).or((name == "types").then_some(&types)),
        };
        if let Some(value) = given {
            let value = written(value);
            let space = if value.starts_with('\n') { "" } else { " " };
            text += &format!("{}:{space}{value}\n", field(argument.name));
        }
    }
    text
}

/// Returns the field of an argument (sources.list(5)).
fn field(argument: &str) -> String {
    match argument {
        "name" => "X-Repolib-Name".into(),
        "uris" => "URIs".into(),
        "pdiffs" => "PDiffs".into(),
        "inrelease_path" => "InRelease-Path".into(),
        _ => {
            let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
            argument.split('_').map(capital).collect::<Vec<_>>().join("-")
        }
    }
}

/// Returns a value as it stands behind its field: of more than one line each is indented, and an empty one is a dot.
fn written(value: &Value) -> String {
    match value {
        Value::Bool(flag) => if *flag { "yes" } else { "no" }.into(),
        Value::Array(items) => {
            let words = items.iter().map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_string));
            words.collect::<Vec<_>>().join(" ")
        }
        Value::String(text) if text.trim_end().contains('\n') => {
            let lines = text.trim_end().lines().map(|line| if line.trim().is_empty() { "." } else { line.trim_end() });
            lines.map(|line| format!("\n    {line}")).collect()
        }
        Value::String(text) => text.trim_end().into(),
        other => other.to_string(),
    }
}

#[async_trait]
impl Module for Repository {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let mut place = Place::look(host, &self.path, Links::Follow, Want::Content).await?;
        let mut results = Results::new();
        results.insert("dest".into(), place.path.as_str().into());
        let Some(fields) = &self.fields else {
            let mut changes: Vec<Change> = place.change(Node::Absent).into_iter().collect();
            for path in self.keys() {
                let place = Place::look(host, &path, Links::Keep, Want::Content).await?;
                changes.extend(place.change(Node::Absent));
            }
            results.extend([("key_filename".to_string(), Value::Null), ("repo".into(), Value::Null)]);
            return Ok(Planned::new(changes, results));
        };
        let url = fields.get("signed_by").and_then(Value::as_str).filter(|key| is_url(key));
        if url.is_some() && host.only_asks {
            return Ok(Planned::new(Vec::new(), results));
        }
        let (mut changes, key) = match url {
            Some(url) => self.with_key(host, url).await?,
            None => (Vec::new(), None),
        };
        let text = stanza(fields, key.as_deref());
        results.insert("key_filename".into(), key.into());
        results.insert("repo".into(), text.as_str().into());
        if place.parent == Node::Absent {
            let (made, above) = make_directories(host, parent(&place.path), &Rights::default()).await?;
            changes.extend(made);
            place.parent = above;
        }
        let (made, of_file) = place.write(host, Content::here(text.into_bytes()), &self.writing).await?;
        changes.extend(made);
        results.extend(of_file);
        Ok(Planned::new(changes, results))
    }
}

impl Repository {
    /// Returns the files that a key from an URL may be in: apt tells by the name whether it is armored (apt-secure(8)).
    fn keys(&self) -> [String; 2] {
        ["asc", "gpg"].map(|extension| format!("{}.{extension}", self.key))
    }

    /// Returns the changes that put the key there, and its file.
    async fn with_key(&self, host: &View, url: &str) -> Result<(Vec<Change>, Option<String>), ModuleError> {
        let key = body(host, url, true).await?;
        match certificates(&key) {
            Ok(keys) if !keys.is_empty() => {}
            Ok(_) => return Err(ModuleError::failed(format!("`{url}` holds no key"))),
            Err(why) => return Err(ModuleError::failed(format!("`{url}` holds no key: {why}"))),
        }
        let [armored, binary] = self.keys();
        let path = if is_armored(&key) { armored } else { binary };
        let mut place = Place::look(host, &path, Links::Follow, Want::Content).await?;
        let mut changes = Vec::new();
        if place.parent == Node::Absent {
            let rights = Rights::default().with_mode(Some("0755".into()));
            (changes, place.parent) = make_directories(host, parent(&place.path), &rights).await?;
        }
        let writing = Writing { rights: Rights::default().with_mode(Some("0644".into())), ..Writing::default() };
        changes.extend(place.write(host, Content::here(key), &writing).await?.0);
        Ok((changes, Some(path)))
    }
}

fn is_url(key: &str) -> bool {
    !key.contains('\n') && key.contains("://")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::modules::files::bench::Bench;

    #[tokio::test]
    async fn an_archive_is_a_file_of_its_own_with_its_fields_in_order() {
        let bench = Bench::new();
        bench.host.dir("/etc/apt", 0o755);
        let key = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmDME\n-----END PGP PUBLIC KEY BLOCK-----\n";
        let task = json!({
            "name": "Our own_Mail!", "uris": "https://a.example/debian", "suites": "bookworm, bookworm-updates",
            "components": ["main"], "date_max_future": 10, "trusted": true, "signed_by": key, "allow_weak": "no"
        });
        let results = bench.twice("deb822_repository", task.clone()).await;
        let path = "/etc/apt/sources.list.d/our-own-mail.sources";
        let expected = "Allow-Weak: no\nComponents: main\nDate-Max-Future: 10\nX-Repolib-Name: Our own_Mail!\nSigned-By: \n    \
            -----BEGIN PGP PUBLIC KEY BLOCK-----\n    .\n    mDME\n    -----END PGP PUBLIC KEY BLOCK-----\nSuites: bookworm \
            bookworm-updates\nTrusted: yes\nTypes: deb\nURIs: https://a.example/debian\n";
        let expected = expected.replace("Signed-By: \n", "Signed-By:\n");
        assert_eq!((bench.host.read(path).unwrap(), bench.mode(path)), (expected.clone(), 0o644));
        assert_eq!((&results["dest"], &results["repo"]), (&json!(path), &json!(expected)));
        bench.twice("deb822_repository", json!({"name": "our own mail", "state": "absent"})).await;
        assert!(!bench.exists(path));
    }

    #[tokio::test]
    async fn what_is_no_archive_is_refused() {
        let bench = Bench::new();
        for (task, says) in [
            (json!({"name": "a", "suites": "b"}), "needs `uris`"),
            (json!({"name": "!", "state": "absent"}), "no letter"),
        ] {
            assert!(bench.fails("deb822_repository", task).await.contains(says));
        }
    }
}
