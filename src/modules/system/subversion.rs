//! `subversion`: a directory of the host is a checkout or an export of a repository, made and moved by the host's svn.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;

use crate::change::{Back, Change};
use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::files::place::absolute;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Planned, Results};
use crate::secret;
use crate::transport::Command;
use crate::transport::command::quote;
use crate::web::without_login;

use super::SCRATCH;

pub const SUBVERSION: Entry = Entry {
    name: "subversion",
    summary: "Checks a repository out, or exports it, with the host's svn; the revision before and after is shown",
    arguments: &[ARGUMENTS],
    free_form: None,
    example: "\
- name: The tools are those of the repository
  subversion:
    repo: file:///srv/svn/tools
    dest: /var/qmail/tools
",
    build,
};

const ARGUMENTS: &[Argument] = &[
    Argument::new("repo", Kind::Text, "The URL of the repository, or of a directory in it.")
        .required()
        .alias(&["name", "repository"]),
    Argument::new("dest", Kind::Path, "The directory of the checkout or export."),
    Argument::new("revision", Kind::Text, "A number, a date in braces, or `HEAD`, the default.")
        .alias(&["rev", "version"]),
    Argument::new("force", Kind::Bool, "Throw away what was changed there; without it that is a failure."),
    Argument::new("in_place", Kind::Bool, "Makes the checkout over what is in a directory already."),
    Argument::new("username", Kind::Text, "Who asks the server."),
    Argument::new("password", Kind::Text, "Comes to svn on its standard input alone: it has to be 1.10 or newer."),
    Argument::new("executable", Kind::Path, "The svn to use."),
    Argument::new("checkout", Kind::Bool, "`false` makes no checkout where there is none."),
    Argument::new("update", Kind::Bool, "`false` leaves a checkout that is there as it is."),
    Argument::new(
        "export",
        Kind::Bool,
        "Files without a checkout. They are compared with the repository's; what is there besides stays.",
    ),
    Argument::new("switch", Kind::Bool, "`false` leaves a checkout with the URL that it has."),
    Argument::new(
        "validate_certs",
        Kind::Bool,
        "Takes no certificate that is not vouched for; without it, svn is told to trust it.",
    ),
];

#[derive(Deserialize)]
struct Subversion {
    repo: String,
    dest: Option<String>,
    revision: Option<String>,
    #[serde(default)]
    force: bool,
    #[serde(default)]
    in_place: bool,
    username: Option<String>,
    password: Option<String>,
    executable: Option<String>,
    checkout: Option<bool>,
    update: Option<bool>,
    #[serde(default)]
    export: bool,
    switch: Option<bool>,
    #[serde(default)]
    validate_certs: bool,
}

/// A checkout, or what is asked for, as `svn info` tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Copy {
    revision: String,
    url: String,
}

const ABSENT: &str = "absent";

/// Prints what is in `$dest`.
const LOOK: &str = r#"if [ ! -e "$dest" ] && [ ! -h "$dest" ]; then echo absent; exit 0; fi
about=$(svn info "$dest" 2>/dev/null) || { echo 'no checkout'; exit 0; }
echo "$about" | sed -n 's/^Revision: /revision: /p; s/^URL: /url: /p'
"#;

/// The same of what was changed there; `X` is another repository's, and `?` nobody's.
const CHANGES: &str = r#"if [ -n "$(svn status --quiet --ignore-externals "$dest" | grep '^[^?X]')" ]; then echo 'local changes: yes'
else echo 'local changes: no'; fi
"#;

/// Prints what an export would be if it is that already. Files of others beside it do not count.
const COMPARE: &str = r#"if [ ! -e "$dest" ]; then echo absent; exit 0; fi
svn export --quiet -r "$revision" "$url" "$new/export" || exit
(cd "$new/export" && find . ! -type d) | while IFS= read -r file; do
  one=$new/export/$file other=$dest/$file
  if [ -h "$one" ]; then [ "$(readlink "$one")" = "$(readlink "$other")" ]
  elif [ -x "$one" ]; then cmp -s "$one" "$other" && [ -x "$other" ]
  else cmp -s "$one" "$other" && [ ! -x "$other" ]; fi || { echo other; break; }
done >"$new/differs"
if [ -s "$new/differs" ]; then echo 'something else'; else printf 'url: %s\nrevision: %s\n' "$url" "$revision"; fi
"#;

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let svn: Subversion = arguments.read()?;
    for (name, text) in [("repo", svn.repo.as_str()), ("revision", svn.revision())] {
        if text.is_empty() || text.starts_with('-') || text.contains(['\n', '\0']) {
            return Err(Diagnostic::new(format!("`{name}` of `subversion` cannot be `{}`", text.escape_debug())));
        }
    }
    if svn.dest.as_deref().is_none_or(str::is_empty) && !svn.only_asks() {
        let text = "the destination directory must be specified unless checkout=no, update=no, and export=no";
        return Err(Diagnostic::new(text).msg(text));
    }
    if svn.password.as_ref().is_some_and(|password| password.contains('\n')) {
        return Err(Diagnostic::new("`password` of `subversion` has a line end in it"));
    }
    if let (_, Some((_, password))) = without_login(&svn.repo) {
        secret::note(&password);
    }
    svn.password.iter().for_each(|password| secret::note(password));
    Ok(Box::new(svn))
}

#[async_trait]
impl Module for Subversion {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        if self.only_asks() {
            let asked = self.asked(host, &self.repo).await?;
            let after = json!(format!("Revision: {}", asked.revision));
            return Ok(Planned::new(Vec::new(), Results::from_iter([("after".to_string(), after)])));
        }
        let dest = absolute(host, self.dest.as_deref().unwrap_or_default());
        match self.export {
            true => self.exported(host, &dest).await,
            false => self.checked_out(host, &dest).await,
        }
    }
}

impl Subversion {
    fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or("HEAD")
    }

    fn may(asked: Option<bool>) -> bool {
        asked != Some(false)
    }

    /// Says whether nothing is to be made, and the repository alone is asked.
    fn only_asks(&self) -> bool {
        !self.export && !Subversion::may(self.checkout) && !Subversion::may(self.update)
    }

    /// Returns a script in which `svn` is the one to use. It makes no directory for its settings where there is none.
    fn script(&self, dest: &str, body: &str) -> Command {
        let program = self.executable.as_deref().unwrap_or("svn");
        let mut words = vec!["\"$svn\"".to_string(), "--non-interactive".into(), "--no-auth-cache".into()];
        if !self.validate_certs {
            words.push("--trust-server-cert".into());
        }
        Command::shell(format!(
            "export LC_ALL=C\nsvn=$(command -v {}) || {{ echo {} >&2; exit 127; }}\n{SCRATCH}settings=\n\
             [ -d \"$HOME/.subversion\" ] || settings=$new/settings\n\
             svn() {{ {} ${{settings:+--config-dir \"$settings\"}} \"$@\"; }}\ndest={}\n{body}",
            quote(program),
            quote(&format!("Failed to find required executable \"{program}\"")),
            words.join(" "),
            quote(dest),
        ))
    }

    /// Returns one call of svn that asks the server, with the login for it.
    fn asking(&self, dest: &str, body: &str) -> Command {
        let mut login = String::new();
        if let Some(user) = &self.username {
            login += &format!(" --username {}", quote(user));
        }
        let mut start = String::new();
        if self.password.is_some() {
            login += " --password-from-stdin";
            start = "case $(\"$svn\" --version --quiet) in 1.[0-9].*)\n\
                     echo 'this svn takes a password among its words alone, where others see it: 1.10 is needed' >&2; exit 1 ;;\n\
                     esac\n"
                .into();
        }
        let body = body.replace(" LOGIN", &login);
        let stdin = self.password.as_ref().map_or_else(Vec::new, |password| format!("{password}\n").into_bytes());
        Command { stdin, ..self.script(dest, &(start + &body)) }
    }

    /// Asks the repository which revision is meant.
    async fn asked(&self, host: &View, url: &str) -> Result<Copy, ModuleError> {
        let body = format!("svn info LOGIN -r {} {}", quote(self.revision()), quote(&at(url)));
        let output = host.probe(&self.asking("/", &body)).await?;
        match Copy::read(&output.text(), ["Revision", "URL"]) {
            Some(asked) if output.success() => Ok(asked),
            _ if host.plans_ahead() && url.starts_with("file:") => {
                Err(ModuleError::Unknown(format!("what is in `{url}` by then").into()))
            }
            _ => Err(ModuleError::failed(output.error_text().trim_end())),
        }
    }

    async fn checked_out(&self, host: &View, dest: &str) -> Result<Planned, ModuleError> {
        let what = format!("subversion {dest}");
        let probe = self.script(dest, &format!("{LOOK}{CHANGES}"));
        let found = host.state(&what, &probe).await?;
        let there = Copy::read(&found, ["revision", "url"]);
        if found.is_empty() {
            let said = host.probe(&probe).await?.error_text();
            return Err(ModuleError::failed(said.trim_end()));
        }
        let told = |after: &Copy| {
            let before = there.as_ref().map(Copy::told);
            Results::from_iter([("before".to_string(), json!(before)), ("after".into(), json!(after.told()))])
        };
        let idle = match &there {
            Some(_) => !Subversion::may(self.update),
            None => found == ABSENT && !Subversion::may(self.checkout),
        };
        if idle {
            return Ok(Planned::new(Vec::new(), Results::new()));
        }
        let changed = found.ends_with("local changes: yes");
        if changed && !self.force {
            return Err(ModuleError::failed("ERROR: modified files exist in the repository."));
        }
        let url = match &there {
            Some(there) if !Subversion::may(self.switch) => there.url.clone(),
            None if found != ABSENT && !self.in_place => {
                let message = format!("ERROR: {dest} folder already exists, but its not a subversion repository.");
                return Err(ModuleError::failed(message));
            }
            _ => self.repo.clone(),
        };
        let after = self.asked(host, &url).await?;
        let result = told(&after);
        let (by, back) = match &there {
            Some(there) => self.moved(dest, (there, &after), changed),
            None => self.made(dest, &found, &after),
        };
        // What lay there before a checkout was made over it may differ from the repository's.
        let over = there.is_none() && found != ABSENT && !self.force;
        let (probe, end) = match over {
            true => (self.script(dest, LOOK), ""),
            false => (probe, "\nlocal changes: no"),
        };
        let change = Change::state(what, probe, (found, format!("{}{end}", after.text())), by);
        Ok(Planned::new(self.secretly(change.map(|change| change.taken_back(back))), result))
    }

    /// Returns what makes a checkout, and what takes it away.
    fn made(&self, dest: &str, found: &str, after: &Copy) -> (Vec<Command>, Back) {
        let force = if found == ABSENT { "" } else { "--force " };
        let body =
            format!("svn checkout LOGIN --quiet {force}-r {} {} \"$dest\"", after.revision, quote(&at(&after.url)));
        let mut by = vec![self.asking(dest, &body)];
        if found == ABSENT {
            return (by, Back::By(vec![Command::shell(format!("rm -rf -- {}", quote(dest)))]));
        }
        if self.force {
            by.push(self.script(dest, "svn revert --quiet -R \"$dest\""));
        }
        (by, Back::None)
    }

    /// Returns what moves a checkout, and what moves it back. What was changed there and thrown away does not come back.
    fn moved(&self, dest: &str, (there, after): (&Copy, &Copy), changed: bool) -> (Vec<Command>, Back) {
        let to = |copy: &Copy, from: &Copy| {
            let body = match copy.url == from.url {
                true => format!("svn update LOGIN --quiet -r {} \"$dest\"", copy.revision),
                false => format!("svn switch LOGIN --quiet -r {} {} \"$dest\"", copy.revision, quote(&at(&copy.url))),
            };
            self.asking(dest, &body)
        };
        let revert = changed.then(|| self.script(dest, "svn revert --quiet -R \"$dest\""));
        let back = if changed { Back::None } else { Back::By(vec![to(there, after)]) };
        (revert.into_iter().chain([to(after, there)]).collect(), back)
    }

    async fn exported(&self, host: &View, dest: &str) -> Result<Planned, ModuleError> {
        let after = self.asked(host, &self.repo).await?;
        let what = format!("subversion {dest}");
        let set = format!("revision={} url={}\n", after.revision, quote(&at(&after.url)));
        let probe = self.asking(dest, &format!("{set}{}", COMPARE.replace("svn export", "svn export LOGIN")));
        let found = host.state(&what, &probe).await?;
        let text = format!("url: {}\nrevision: {}", at(&after.url), after.revision);
        if found != ABSENT && found != text && !self.force {
            let message = format!(
                "Destination directory '{dest}' exists; please remove the directory or use --force to overwrite"
            );
            return Err(ModuleError::failed(format!("{message}\nhint: `force: true` does")));
        }
        let force = if self.force { "--force " } else { "" };
        let body = format!("{set}svn export LOGIN --quiet {force}-r \"$revision\" \"$url\" \"$dest\"");
        let back = match found.as_str() {
            ABSENT => Back::By(vec![Command::shell(format!("rm -rf -- {}", quote(dest)))]),
            _ => Back::None,
        };
        let change = Change::state(what, probe, (found, text), vec![self.asking(dest, &body)]);
        Ok(Planned::new(self.secretly(change.map(|change| change.taken_back(back))), Results::new()))
    }

    fn secretly(&self, change: Option<Change>) -> Vec<Change> {
        let change = if self.password.is_some() { change.map(Change::with_secret_commands) } else { change };
        change.into_iter().collect()
    }
}

/// Writes an URL for svn, to which `@` begins a revision.
fn at(url: &str) -> String {
    if url.rsplit('/').next().is_some_and(|last| last.contains('@')) { format!("{url}@") } else { url.into() }
}

impl Copy {
    fn read(text: &str, [revision, url]: [&str; 2]) -> Option<Copy> {
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        Some(Copy { revision: field(revision)?.into(), url: field(url)?.into() })
    }

    fn text(&self) -> String {
        format!("url: {}\nrevision: {}", self.url, self.revision)
    }

    /// Returns it as `svn info` writes it.
    fn told(&self) -> [String; 2] {
        [format!("Revision: {}", self.revision), format!("URL: {}", self.url)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_svn_tells_is_read() {
        // svn 1.14, with the order that it has.
        let text = "Path: tools\nURL: file:///srv/svn/tools\nRelative URL: ^/\nRepository Root: file:///srv/svn/tools\nRevision: 12\n";
        let copy = Copy::read(text, ["Revision", "URL"]).unwrap();
        assert_eq!(copy.told(), ["Revision: 12", "URL: file:///srv/svn/tools"]);
        assert_eq!(copy.text(), "url: file:///srv/svn/tools\nrevision: 12");
        assert_eq!(Copy::read(ABSENT, ["revision", "url"]), None);
        assert_eq!(
            (at("svn+ssh://ann@a/x").as_str(), at("http://a/x@2").as_str()),
            ("svn+ssh://ann@a/x", "http://a/x@2@")
        );
    }
}
