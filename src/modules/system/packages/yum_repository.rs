//! `yum_repository`: a repository that dnf or yum asks, a section of a file of theirs.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::Value;

use crate::error::Diagnostic;
use crate::host::View;
use crate::ini::{Ini, Rules};
use crate::modules::files::place::{Place, Writing, bytes_of, join};
use crate::modules::files::rights::{RIGHTS, Rights};
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Planned, Results, State};
use crate::secret;
use crate::transport::{Content, Links, Node, Want};

pub const YUM_REPOSITORY: Entry = Entry {
    name: "yum_repository",
    summary: "Keeps a repository of dnf's or yum's as a section of a file in `/etc/yum.repos.d`",
    arguments: &[FILE, OPTIONS, RIGHTS],
    free_form: None,
    example: "\
- name: Our own packages
  yum_repository:
    name: own
    description: Our own packages
    baseurl: https://packages.example.net/el9
    gpgcheck: true
    gpgkey: file:///etc/pki/rpm-gpg/own
",
    build,
};

const FILE: &[Argument] = &[
    Argument::new("name", Kind::Text, "The repository's own name, which its section has.").required(),
    Argument::new("state", Kind::Text, "Whether it is to be there. The default is `present`.")
        .choices(&["present", "absent"]),
    Argument::new("file", Kind::Text, "The file's name without `.repo`. The default is `name`."),
    Argument::new("reposdir", Kind::Path, "Where such files are. The default is `/etc/yum.repos.d`."),
];

/// What stands in the section, as dnf.conf(5) and yum.conf(5) name it.
const OPTIONS: &[Argument] = &[
    Argument::new("async", Kind::Bool, "Packages are fetched beside each other."),
    Argument::new("bandwidth", Kind::Text, "The most bytes in a second."),
    Argument::new("baseurl", Kind::List, "Where it is. It, `metalink` or `mirrorlist` is needed."),
    Argument::new("cost", Kind::Text, "What it costs beside others."),
    Argument::new("countme", Kind::Bool, "It is told how old the host is, once a week."),
    Argument::new("deltarpm_metadata_percentage", Kind::Text, "How large the metadata of deltas may be."),
    Argument::new("deltarpm_percentage", Kind::Text, "How large a delta may be beside its package."),
    Argument::new("description", Kind::Text, "A name for people, needed for `state: present`."),
    Argument::new("enabled", Kind::Bool, "Whether it is asked."),
    Argument::new("enablegroups", Kind::Bool, "Whether it may say what belongs together."),
    Argument::new("exclude", Kind::List, "Packages that are not taken from it.").alias(&["excludepkgs"]),
    Argument::new("failovermethod", Kind::Text, "In what order its addresses are tried.")
        .choices(&["roundrobin", "priority"]),
    Argument::new("gpgcakey", Kind::Text, "The address of the key that its keys are signed with."),
    Argument::new("gpgcheck", Kind::Bool, "Whether packages have to be signed."),
    Argument::new("gpgkey", Kind::List, "The addresses of its keys."),
    Argument::new("http_caching", Kind::Text, "What caches on the way may keep.").choices(&["all", "packages", "none"]),
    Argument::new("include", Kind::Text, "Another file of configuration."),
    Argument::new("includepkgs", Kind::List, "The only packages that are taken from it."),
    Argument::new("ip_resolve", Kind::Text, "Which addresses are used.")
        .choices(&["4", "6", "IPv4", "IPv6", "whatever"]),
    Argument::new("keepalive", Kind::Bool, "Connections are kept."),
    Argument::new("keepcache", Kind::Text, "Packages are kept.").choices(&["0", "1"]),
    Argument::new("metadata_expire", Kind::Text, "How long its lists are good."),
    Argument::new("metadata_expire_filter", Kind::Text, "For which commands that counts.").choices(&[
        "never",
        "read-only:past",
        "read-only:present",
        "read-only:future",
    ]),
    Argument::new("metalink", Kind::Text, "Where a list of its addresses with digests is."),
    Argument::new("mirrorlist", Kind::Text, "Where a list of its addresses is."),
    Argument::new("mirrorlist_expire", Kind::Text, "How long that list is good."),
    Argument::new("module_hotfixes", Kind::Bool, "Its packages count more than streams of modules."),
    Argument::new("password", Kind::Text, "The password for it. Neither diff nor journal shows the file then."),
    Argument::new("priority", Kind::Text, "How much it counts; a lower number is more."),
    Argument::new("protect", Kind::Bool, "Others do not replace its packages."),
    Argument::new("proxy", Kind::Text, "The proxy, or `_none_`."),
    Argument::new(
        "proxy_password",
        Kind::Text,
        "The password for the proxy. Neither diff nor journal shows the file then.",
    ),
    Argument::new("proxy_username", Kind::Text, "The name for the proxy."),
    Argument::new("repo_gpgcheck", Kind::Bool, "Whether its lists have to be signed."),
    Argument::new("retries", Kind::Text, "How often it is tried again."),
    Argument::new("s3_enabled", Kind::Bool, "It is in S3."),
    Argument::new("skip_if_unavailable", Kind::Bool, "It may be missing."),
    Argument::new("ssl_check_cert_permissions", Kind::Bool, "Whether the rights of its certificates are looked at."),
    Argument::new("sslcacert", Kind::Text, "The certificates that are trusted.").alias(&["ca_cert"]),
    Argument::new("sslclientcert", Kind::Text, "The certificate of the host.").alias(&["client_cert"]),
    Argument::new("sslclientkey", Kind::Text, "The key of the host.").alias(&["client_key"]),
    Argument::new("sslverify", Kind::Bool, "Whether its certificate is looked at.").alias(&["validate_certs"]),
    Argument::new("throttle", Kind::Text, "The most of the bandwidth, or bytes in a second."),
    Argument::new("timeout", Kind::Text, "Seconds until it is given up."),
    Argument::new("ui_repoid_vars", Kind::Text, "Variables that are shown with its name."),
    Argument::new("username", Kind::Text, "The name for it."),
];

#[derive(Deserialize)]
struct Fields {
    name: String,
    #[serde(default)]
    state: State,
    file: Option<String>,
    reposdir: Option<String>,
    #[serde(flatten)]
    rights: Rights,
}

struct Repository {
    name: String,
    directory: String,
    path: String,
    /// The options of its section, sorted; nothing: it is not to be there.
    options: Option<Vec<(String, String)>>,
    writing: Writing,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let fields: Fields = arguments.read()?;
    fields.rights.check()?;
    let present = fields.state == State::Present;
    if present && !["baseurl", "mirrorlist", "metalink"].iter().any(|name| arguments.get(name).is_some()) {
        return Err(Diagnostic::new(
            "`state: present` of `yum_repository` needs `baseurl`, `mirrorlist` or `metalink`",
        )
        .msg("state is present but any of the following are missing: baseurl, mirrorlist, metalink"));
    }
    if present && arguments.get("description").is_none() {
        return Err(Diagnostic::new("`state: present` of `yum_repository` needs `description`")
            .msg("state is present but all of the following are missing: description"));
    }
    let file = fields.file.as_deref().unwrap_or(&fields.name);
    if [&fields.name, file].iter().any(|name| name.is_empty() || name.contains(['/', '\n', ']'])) {
        return Err(Diagnostic::new(format!("`{file}` is no name of a repository")));
    }
    let directory = fields.reposdir.unwrap_or_else(|| "/etc/yum.repos.d".into());
    let path = join(&directory, &format!("{file}.repo"));
    let options = present.then(|| options(arguments));
    for password in ["password", "proxy_password"].iter().filter_map(|name| arguments.get(name)?.as_str()) {
        secret::note(password);
    }
    let writing = Writing { rights: fields.rights, ..Writing::default() };
    Ok(Box::new(Repository { name: fields.name, directory, path, options, writing }))
}

/// Returns the options that are given, by the names that stand in the file.
fn options(arguments: &Arguments) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    for argument in OPTIONS {
        let Some(value) = arguments.get(argument.name) else { continue };
        let separator = if ["baseurl", "gpgkey"].contains(&argument.name) { "\n" } else { " " };
        let text = match value {
            Value::Bool(flag) => u8::from(*flag).to_string(),
            Value::Array(items) => {
                let words = items.iter().map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_string));
                words.collect::<Vec<_>>().join(separator)
            }
            Value::String(text) => text.trim().to_string(),
            other => other.to_string(),
        };
        let name = if argument.name == "description" { "name" } else { argument.name };
        all.push((name.into(), text));
    }
    all.sort();
    all
}

#[async_trait]
impl Module for Repository {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let place = Place::look(host, &self.path, Links::Follow, Want::Content).await?;
        if !place.parent.is_directory() {
            return Err(ModuleError::failed(format!("Repo directory '{}' does not exist.", self.directory)));
        }
        let before = match &place.node {
            Node::File { content, .. } => {
                String::from_utf8_lossy(&bytes_of(host, &place.path, content).await?).into_owned()
            }
            _ => String::new(),
        };
        let after = self.edited(&before)?;
        let mut results = Results::new();
        results.insert("repo".into(), self.name.as_str().into());
        results.insert("state".into(), if self.options.is_some() { "present" } else { "absent" }.into());
        let changes: Vec<_> = match after.trim().is_empty() {
            true if self.options.is_none() => place.change(Node::Absent).into_iter().collect(),
            _ => {
                let (changes, _) = place.write(host, Content::here(after.into_bytes()), &self.writing).await?;
                changes
            }
        };
        Ok(Planned::new(changes, results))
    }
}

impl Repository {
    /// Returns the file's text with the section as asked; one whose options are the same stays as it is written.
    fn edited(&self, text: &str) -> Result<String, ModuleError> {
        let there = Ini::read(text, Some(""), Rules::default()).map_err(ModuleError::failed)?;
        if self.options.as_ref().is_some_and(|options| self.is_as_asked(&there, options)) {
            return Ok(text.into());
        }
        let (mut before, mut after, mut within, mut passed) = (String::new(), String::new(), false, false);
        for line in text.split_inclusive('\n') {
            if line.starts_with('[') {
                within = line.trim_end().strip_prefix('[').and_then(|line| line.strip_suffix(']'))
                    == Some(self.name.as_str());
                passed |= within;
            }
            match (within, passed) {
                (true, _) => {}
                (false, true) => after += line,
                (false, false) => before += line,
            }
        }
        let Some(options) = &self.options else { return Ok(before + &after) };
        let apart = if before.is_empty() || before.ends_with("\n\n") { "" } else { "\n" };
        let end = if before.is_empty() || before.ends_with('\n') { "" } else { "\n" };
        let lines = options.iter().map(|(name, value)| format!("{name} = {}\n", value.replace('\n', "\n\t")));
        let section: String = lines.collect();
        Ok(format!("{before}{end}{apart}[{}]\n{section}\n{after}", self.name))
    }

    fn is_as_asked(&self, there: &Ini, options: &[(String, String)]) -> bool {
        let mut keys = there.keys(&self.name);
        keys.sort_unstable();
        let same = |(name, value): &(String, String)| {
            there.get(&self.name, name).is_ok_and(|found| found.flatten().as_ref() == Some(value))
        };
        there.has(&self.name) && keys.iter().eq(options.iter().map(|(name, _)| name)) && options.iter().all(same)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::modules::files::bench::Bench;

    #[tokio::test]
    async fn a_repository_is_a_section_of_its_own_and_others_stay() {
        let bench = Bench::new();
        bench.host.dir("/etc/yum.repos.d", 0o755);
        let path = "/etc/yum.repos.d/all.repo";
        let task = json!({
            "name": "own", "file": "all", "description": "Our own", "baseurl": ["https://a/", "https://b/"], "gpgcheck": true,
            "exclude": "kernel*,x", "enabled": false, "priority": 10,
        });
        bench.host.file(path, "# by hand\n[first]\nname = First\n[last]\nname=Last\n", 0o644);
        let results = bench.twice("yum_repository", task.clone()).await;
        let own = "[own]\nbaseurl = https://a/\n\thttps://b/\nenabled = 0\nexclude = kernel* x\ngpgcheck = 1\nname = Our own\npriority = 10\n\n";
        let whole = format!("# by hand\n[first]\nname = First\n[last]\nname=Last\n\n{own}");
        assert_eq!((bench.host.read(path).unwrap(), &results["repo"]), (whole, &json!("own")));
        // The same in another order is the same.
        bench.host.file(path, "[own]\nname: Our own\npriority=10\nexclude=kernel* x\nenabled=0\ngpgcheck=1\nbaseurl=https://a/\n  https://b/\n", 0o644);
        assert!(bench.plan("yum_repository", task).await.unwrap().changes.is_empty());
        bench.twice("yum_repository", json!({"name": "own", "file": "all", "state": "absent"})).await;
        assert!(!bench.exists(path));
    }

    #[tokio::test]
    async fn what_is_no_repository_is_refused() {
        let bench = Bench::new();
        for (task, says) in [
            (json!({"name": "a", "description": "b"}), "needs `baseurl`"),
            (json!({"name": "a", "baseurl": "b"}), "needs `description`"),
            (json!({"name": "a/b", "state": "absent"}), "is no name"),
            (json!({"name": "a", "description": "b", "baseurl": "c"}), "does not exist"),
        ] {
            assert!(bench.fails("yum_repository", task.clone()).await.contains(says), "{task}");
        }
    }
}
