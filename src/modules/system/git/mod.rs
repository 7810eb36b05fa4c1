//! `git`: a directory of the host is a checkout of a repository, made and moved by the host's git.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::change::Change;
use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::files::place::{absolute, parent};
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Planned, Results};
use crate::secret;
use crate::transport::command::quote;
use crate::transport::{Command, Node, Want};
use crate::web::without_login;

mod checkout;
mod making;
mod refs;
mod signature;

use checkout::{Checkout, PACKED, PROBE};
use refs::{Refs, Target};

pub const GIT: Entry = Entry {
    name: "git",
    summary: "Checks a repository out with the host's git; the commit before and after is shown",
    arguments: &[ARGUMENTS],
    free_form: None,
    example: "\
- name: The tools are those of the last release
  git:
    repo: /srv/git/tools.git
    dest: /var/qmail/tools
    version: main
",
    build,
};

const ARGUMENTS: &[Argument] = &[
    Argument::new(
        "repo",
        Kind::Text,
        "The repository. A login in its URL is given to git on the side, and is not kept in the checkout.",
    )
    .required()
    .alias(&["name"]),
    Argument::new("dest", Kind::Path, "The directory of the checkout.").required(),
    Argument::new(
        "version",
        Kind::Text,
        "A branch, a tag, a whole hash or the whole name of a reference. The default is `HEAD`.",
    ),
    Argument::new("remote", Kind::Text, "The name of the remote. The default is `origin`."),
    Argument::new("refspec", Kind::Text, "What is fetched beside the branches and tags."),
    Argument::new("force", Kind::Bool, "Throw away what was changed in the checkout; without it that is a failure."),
    Argument::new("depth", Kind::Int, "How many commits of the past are fetched."),
    Argument::new("single_branch", Kind::Bool, "Fetch the one branch alone."),
    Argument::new("clone", Kind::Bool, "`false` makes no checkout where there is none."),
    Argument::new("update", Kind::Bool, "`false` leaves a checkout that is there as it is."),
    Argument::new("bare", Kind::Bool, "A repository without a checkout."),
    Argument::new("recursive", Kind::Bool, "`false` leaves submodules out."),
    Argument::new("accept_hostkey", Kind::Bool, "Takes any host key of an SSH server."),
    Argument::new("accept_newhostkey", Kind::Bool, "Takes the host key of an SSH server that is not known yet."),
    Argument::new("key_file", Kind::Path, "A file of the host with the SSH key to log in with."),
    Argument::new("ssh_opts", Kind::Text, "Further options for ssh."),
    Argument::new("reference", Kind::Path, "A repository of the host whose objects are used."),
    Argument::new("executable", Kind::Path, "The git to use."),
    Argument::new(
        "track_submodules",
        Kind::Bool,
        "Submodules are at the newest commit of their branch, which `.gitmodules` names, and not at the one that the \
         repository has noted.",
    ),
    Argument::new(
        "verify_commit",
        Kind::Bool,
        "Refuses a commit or an annotated tag without a good signature by a key that gpg knows on the host, before it is \
         checked out.",
    ),
    Argument::new(
        "gpg_allowlist",
        Kind::List,
        "With `verify_commit`, the fingerprints of the keys that may have signed, or of the primary keys that these belong to.",
    )
    .alias(&["gpg_whitelist"]),
    Argument::new(
        "archive",
        Kind::Path,
        "A file that the commit is packed into. Its name ends in `.zip`, `.tar`, `.tar.gz` or `.tgz`.",
    ),
    Argument::new("archive_prefix", Kind::Text, "What stands before each path in `archive`."),
    Argument::new(
        "separate_git_dir",
        Kind::Path,
        "Where the repository is kept, beside the checkout; one that is elsewhere is moved there.",
    ),
    Argument::new("umask", Kind::Any, "The umask for what git makes, as quoted octal digits."),
];

#[derive(Clone, Deserialize)]
struct Git {
    repo: String,
    dest: String,
    version: Option<String>,
    remote: Option<String>,
    refspec: Option<String>,
    #[serde(default)]
    force: bool,
    depth: Option<u64>,
    #[serde(default)]
    single_branch: bool,
    clone: Option<bool>,
    update: Option<bool>,
    #[serde(default)]
    bare: bool,
    recursive: Option<bool>,
    #[serde(default)]
    accept_hostkey: bool,
    #[serde(default)]
    accept_newhostkey: bool,
    key_file: Option<String>,
    ssh_opts: Option<String>,
    reference: Option<String>,
    executable: Option<String>,
    #[serde(default)]
    track_submodules: bool,
    #[serde(default)]
    verify_commit: bool,
    #[serde(default)]
    gpg_allowlist: Vec<String>,
    archive: Option<String>,
    archive_prefix: Option<String>,
    separate_git_dir: Option<String>,
    umask: Option<Value>,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let git: Git = arguments.read()?;
    let remote = git.remote.as_deref().unwrap_or("origin");
    for (name, text) in [("repo", git.repo.as_str()), ("version", git.version()), ("remote", remote)] {
        if text.is_empty() || text.starts_with('-') || text.contains(['\n', '\0']) {
            return Err(Diagnostic::new(format!("`{name}` of `git` cannot be `{}`", text.escape_debug())));
        }
    }
    if git.dest.is_empty() {
        return Err(Diagnostic::new("`dest` of `git` is empty"));
    }
    if git.separate_git_dir.is_some() && git.bare {
        return Err(Diagnostic::new("parameters are mutually exclusive: separate_git_dir|bare"));
    }
    match &git.archive {
        None if git.archive_prefix.is_some() => {
            return Err(Diagnostic::new("missing parameter(s) required by 'archive_prefix': archive"));
        }
        Some(path) if format(path).is_none() => {
            let message = format!("Unable to get file extension from archive file name : {path}");
            return Err(Diagnostic::new(message).hint("it ends in `.zip`, `.tar`, `.tar.gz` or `.tgz`"));
        }
        _ => {}
    }
    match &git.umask {
        None => {}
        Some(Value::String(digits)) if is_octal(digits) => {}
        Some(Value::String(_)) => return Err(Diagnostic::new("umask must be an octal integer")),
        Some(_) => return Err(Diagnostic::new("umask must be defined as a quoted octal integer")),
    }
    Ok(Box::new(git))
}

/// Returns what git calls the format of an archive, by the end of its name.
fn format(path: &str) -> Option<&'static str> {
    let formats = [(".zip", "zip"), (".gz", "tar.gz"), (".tar", "tar"), (".tgz", "tgz")];
    formats.iter().find(|(end, _)| path.ends_with(end)).map(|(_, format)| *format)
}

/// Returns the part of a URL that names its server.
fn server(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    url[host..].find('/').map_or(url, |end| &url[..host + end])
}

fn is_octal(digits: &str) -> bool {
    (1..=4).contains(&digits.len()) && digits.bytes().all(|digit| (b'0'..=b'7').contains(&digit))
}

#[async_trait]
impl Module for Git {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        self.on(host).planned(host).await
    }
}

impl Git {
    /// Returns the same with the paths that it makes as the host has them.
    fn on(&self, host: &View) -> Git {
        let path = |path: &Option<String>| path.as_ref().map(|path| absolute(host, path));
        let (archive, separate_git_dir) = (path(&self.archive), path(&self.separate_git_dir));
        Git { dest: absolute(host, &self.dest), archive, separate_git_dir, ..self.clone() }
    }

    async fn planned(&self, host: &View) -> Result<Planned, ModuleError> {
        let dest = &self.dest;
        let (url, login) = without_login(&self.repo);
        if let Some((_, password)) = &login {
            secret::note(password);
        }
        let (what, probe) = (format!("git {dest}"), self.script(PROBE));
        let found = host.state(&what, &probe).await?;
        let before = Checkout::read(&found, self);
        let is_new = ["absent", "empty"].contains(&found.lines().next().unwrap_or_default());
        if before.is_none() && !is_new {
            return Err(ModuleError::failed(match found.as_str() {
                "" => "`git` is not there".to_string(),
                other => format!("`{dest}` is no checkout of git: {other}"),
            }));
        }
        let mut results = Results::new();
        results.insert("before".into(), json!(before.as_ref().map(|before| &before.commit)));
        results.insert("after".into(), json!(null));
        results.insert("remote_url_changed".into(), json!(false));
        if is_new && self.clone == Some(false) {
            return Ok(Planned::new(Vec::new(), results));
        }
        let standing = before.as_ref().filter(|_| self.update == Some(false));
        let (mut after, making) = match standing {
            Some(before) => (Checkout { behind: Vec::new(), ..before.clone() }, String::new()),
            None => {
                let target = self.target(host, &url, login.as_ref()).await?;
                if before.as_ref().is_some_and(|before| before.changes) && !self.force {
                    let message = format!("Local modifications exist in the destination: {dest} (force=no).");
                    return Err(ModuleError::failed(message));
                }
                if !is_new && self.verify_commit {
                    self.verified(host, &target).await?;
                }
                let making = match is_new {
                    true => self.cloning(&found, &url, &target),
                    false => self.moving(&url, &target),
                };
                let branch = target.branch.filter(|_| !self.bare);
                (Checkout { commit: target.commit, branch, url, ..Checkout::default() }, making)
            }
        };
        after.directory = self.separate_git_dir.clone();
        after.archive = self.archive.as_ref().map(|_| PACKED.to_string());
        self.has_room(host, before.as_ref()).await?;
        results.insert("after".into(), json!(after.commit));
        if let Some(before) = before.as_ref().filter(|_| standing.is_none()) {
            results.insert("remote_url_changed".into(), (before.url != after.url).into());
            if !before.behind.is_empty() {
                results.insert("submodules_changed".into(), true.into());
            }
        }
        let mut script = String::new();
        if let Some(moved) = before.as_ref().and_then(|before| before.relocated(&after)) {
            script += &self.relocating(moved);
            results.insert("git_dir_before".into(), moved.0.into());
            results.insert("git_dir_now".into(), moved.1.into());
        }
        script += &making;
        if self.archive.is_some() {
            script += &self.packing(&after.commit);
        }
        let back = self.back(&found, (before.as_ref(), &after));
        // What an earlier task has planned may say more than this one asks.
        let found = before.map_or(found, |before| before.text(self));
        let by = self.with_login(self.script(&script), login.as_ref());
        let change = Change::state(what, probe, (found, after.text(self)), vec![by]);
        let change = change.map(|change| change.taken_back(back).with_paths(self.archive.iter().cloned().collect()));
        let change = if login.is_some() { change.map(Change::with_secret_commands) } else { change };
        Ok(Planned::new(change.into_iter().collect(), results))
    }

    /// Says before a run what a path that is to be made would fail of.
    async fn has_room(&self, host: &View, before: Option<&Checkout>) -> Result<(), ModuleError> {
        let is_there = before.is_some_and(|before| before.directory == self.separate_git_dir);
        if let Some(path) = self.separate_git_dir.as_deref().filter(|_| !is_there) {
            let is_free = match host.look(path, Want::Attributes).await? {
                Node::Absent => true,
                Node::Directory { .. } if before.is_none() => host.list(path, Some(1)).await?.is_empty(),
                _ => false,
            };
            if !is_free {
                return Err(ModuleError::failed(format!("Separate-git-dir path {path} already exists.")));
            }
        }
        let Some(path) = &self.archive else { return Ok(()) };
        let above = parent(path);
        let is_below = format!("{above}/").starts_with(&format!("{}/", self.dest));
        if !is_below && !host.look(above, Want::Attributes).await?.exists() {
            return Err(ModuleError::failed(format!("Failed to perform archive operation: `{above}` does not exist")));
        }
        match host.look(path, Want::Attributes).await? {
            Node::Directory { .. } => Err(ModuleError::failed(format!("`{path}` is a directory, and not an archive"))),
            _ => Ok(()),
        }
    }

    /// Looks at the signature of what the checkout has already; of the rest the run does, before it is checked out.
    async fn verified(&self, host: &View, target: &Target) -> Result<(), ModuleError> {
        let script = format!(
            "cd \"$dest\" && \"$git\" cat-file -e {} 2>/dev/null || exit 0\n{}",
            target.signed(),
            signature::verifying(target, &self.gpg_allowlist)
        );
        let output = host.probe(&self.script(&script)).await?;
        match output.success() {
            true => Ok(()),
            false => Err(ModuleError::failed(output.error_text().trim_end())),
        }
    }

    /// Says whether submodules are asked for.
    fn has_modules(&self) -> bool {
        !self.bare && self.recursive != Some(false)
    }

    fn version(&self) -> &str {
        self.version.as_deref().unwrap_or("HEAD")
    }

    fn remote(&self) -> &str {
        self.remote.as_deref().unwrap_or("origin")
    }

    /// Returns a script with its variables; what it prints where there is no git is nothing.
    fn script(&self, body: &str) -> Command {
        let mut ssh = String::from("ssh -o BatchMode=yes");
        if self.accept_hostkey {
            ssh += " -o StrictHostKeyChecking=no";
        } else if self.accept_newhostkey {
            ssh += " -o StrictHostKeyChecking=accept-new";
        }
        if let Some(key) = &self.key_file {
            let key = key.strip_prefix("~/").map_or_else(|| quote(key), |rest| format!("\"$HOME\"/{}", quote(rest)));
            ssh += &format!(" -o IdentitiesOnly=yes -i {key}");
        }
        if let Some(options) = &self.ssh_opts {
            ssh += &format!(" {options}");
        }
        let program = self.executable.as_deref().unwrap_or("git");
        let modules = match (self.has_modules() && self.update != Some(false), self.track_submodules) {
            (false, _) => "''",
            (_, true) => "newest",
            _ => "noted",
        };
        let path = |path: &Option<String>| quote(path.as_deref().unwrap_or_default());
        let umask =
            self.umask.as_ref().and_then(Value::as_str).map_or(String::new(), |digits| format!("umask {digits}\n"));
        let packing = self.archive.as_deref().and_then(format).map_or(String::new(), |format| {
            let prefix = self.archive_prefix.as_deref().filter(|prefix| !prefix.is_empty());
            let prefix = prefix.map_or(String::new(), |prefix| format!(" --prefix={}", quote(prefix)));
            format!("pack() {{ \"$git\" archive --format={format}{prefix} \"$1\"; }}\n")
        });
        Command::shell(format!(
            "git=$(command -v {}) || {{ echo 'git is not there' >&2; exit 127; }}\n\
             dest={} version={} remote={} bare={} separate={} archive={} modules={modules}\n\
             LC_ALL=C GIT_TERMINAL_PROMPT=0 GIT_SSH_COMMAND={}; export LC_ALL GIT_TERMINAL_PROMPT GIT_SSH_COMMAND\n{umask}{packing}{body}",
            quote(program),
            quote(&self.dest),
            quote(self.version()),
            quote(self.remote()),
            if self.bare { "yes" } else { "''" },
            path(&self.separate_git_dir),
            path(&self.archive),
            quote(&ssh),
        ))
    }

    /// Gives git a login on the side: it comes on stdin, and a helper of git's tells it to the server of the repository alone.
    fn with_login(&self, mut command: Command, login: Option<&(String, String)>) -> Command {
        let Some((user, password)) = login else { return command };
        if let crate::transport::Program::Shell { script, .. } = &mut command.program {
            let helper = "!f() { test \"$1\" = get && echo \"username=$C_USER\" && echo \"password=$C_PASSWORD\"; }; f";
            *script = format!(
                "IFS= read -r C_USER; IFS= read -r C_PASSWORD; export C_USER C_PASSWORD\n\
                 GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0={} GIT_CONFIG_VALUE_0={}\n\
                 export GIT_CONFIG_COUNT GIT_CONFIG_KEY_0 GIT_CONFIG_VALUE_0\n{script}",
                quote(&format!("credential.{}.helper", server(&without_login(&self.repo).0))),
                quote(helper)
            );
        }
        command.stdin = format!("{user}\n{password}\n").into_bytes();
        command
    }

    /// Asks the repository what the version is; of a short hash the checkout may know.
    async fn target(&self, host: &View, url: &str, login: Option<&(String, String)>) -> Result<Target, ModuleError> {
        let script = format!("cd / && \"$git\" ls-remote --symref -- {}", quote(url));
        let output = host.probe(&self.with_login(self.script(&script), login)).await?;
        if !output.success() {
            if host.plans_ahead() && (url.starts_with('/') || url.starts_with("file:")) {
                return Err(ModuleError::Unknown(format!("what is in `{url}` by then").into()));
            }
            return Err(ModuleError::failed(format!("Failed to read `{url}`: {}", output.error_text().trim_end())));
        }
        if let Some(target) = Refs::read(&output.text()).target(self.version()) {
            return Ok(target);
        }
        let script = "cd \"$dest\" && \"$git\" rev-parse -q --verify \"$version^{commit}\"";
        let known = host.probe(&self.script(script)).await?;
        match known.text().trim() {
            commit if known.success() && !commit.is_empty() => {
                Ok(Target { branch: None, commit: commit.into(), tag: None })
            }
            _ => {
                let version = self.version();
                Err(ModuleError::failed(format!(
                    "`{url}` has no branch, tag or commit `{version}`; a hash has to be whole"
                )))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(more: Value) -> String {
        let mut given = json!({"repo": "/srv/a", "dest": "/srv/b"});
        given.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let arguments = GIT.arguments(given.as_object().unwrap().clone()).unwrap();
        build(&arguments).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_login_is_for_the_server_of_its_repository() {
        let git: Git =
            serde_json::from_value(json!({"repo": "https://ann:pw@git.example:8443/a/b", "dest": "/b"})).unwrap();
        let (_, login) = without_login(&git.repo);
        let command = git.with_login(git.script(""), login.as_ref());
        let crate::transport::Program::Shell { script, .. } = command.program else { panic!() };
        assert!(script.contains("GIT_CONFIG_KEY_0=credential.https://git.example:8443.helper "), "{script}");
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for (given, expected) in [
            (json!({"separate_git_dir": "/srv/c", "bare": true}), "mutually exclusive: separate_git_dir|bare"),
            (json!({"archive_prefix": "a/"}), "missing parameter(s) required by 'archive_prefix': archive"),
            (json!({"archive": "/srv/a.rar"}), "Unable to get file extension from archive file name : /srv/a.rar"),
            (json!({"umask": 22}), "umask must be defined as a quoted octal integer"),
            (json!({"umask": "09"}), "umask must be an octal integer"),
        ] {
            assert!(said(given.clone()).contains(expected), "{given}: {}", said(given.clone()));
        }
        for good in [json!({"archive": "/srv/a.tar.gz", "archive_prefix": "a/"}), json!({"umask": "0027"})] {
            assert_eq!(said(good), "");
        }
    }
}
