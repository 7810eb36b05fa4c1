//! `git`: a directory of the host is a checkout of a repository, made and moved by the host's git.

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

mod refs;

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

const WHOLE: &str = "use `command` with git for this: what it leaves could not be shown before";

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
    Argument::new("track_submodules", Kind::Bool, "").refused(WHOLE),
    Argument::new("verify_commit", Kind::Bool, "").refused(WHOLE),
    Argument::new("gpg_allowlist", Kind::List, "").alias(&["gpg_whitelist"]).refused(WHOLE),
    Argument::new("archive", Kind::Path, "")
        .refused("make it with a task of its own: `archive`, or `command` with git"),
    Argument::new("archive_prefix", Kind::Text, "").refused("make it with a task of its own: `archive`"),
    Argument::new("separate_git_dir", Kind::Path, "").refused(WHOLE),
    Argument::new("umask", Kind::Any, "").refused("set the umask of the login instead"),
];

#[derive(Deserialize)]
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
    Ok(Box::new(git))
}

/// Prints what is in `$dest`. Nothing is written there, not even git's index.
const PROBE: &str = r#"GIT_OPTIONAL_LOCKS=0; export GIT_OPTIONAL_LOCKS
if [ ! -e "$dest" ]; then echo absent; exit 0; fi
if [ -d "$dest" ] && [ -z "$(ls -A "$dest")" ]; then echo empty; exit 0; fi
cd "$dest" 2>/dev/null && { [ -e .git ] || { [ -f HEAD ] && [ -d objects ]; }; } || { echo 'no repository'; exit 0; }
if [ -n "$bare" ]; then commit=$("$git" rev-parse -q --verify "$version^{commit}"); else commit=$("$git" rev-parse -q --verify HEAD); fi
echo "commit: ${commit:-none}"
if [ -z "$bare" ]; then branch=$("$git" symbolic-ref -q --short HEAD); echo "branch: ${branch:-none}"; fi
url=$("$git" config "remote.$remote.url" | sed 's#://[^/@]*@#://#')
echo "remote $remote: ${url:-none}"
if [ -z "$bare" ]; then
  changes=$("$git" status --porcelain --untracked-files=no | head -n 1)
  if [ -n "$changes" ]; then echo 'local changes: yes'; else echo 'local changes: no'; fi
fi
"#;

/// A checkout as the probe tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Checkout {
    commit: String,
    branch: Option<String>,
    url: String,
    changes: bool,
}

impl Checkout {
    fn read(text: &str, remote: &str) -> Option<Checkout> {
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        Some(Checkout {
            commit: field("commit")?.into(),
            branch: field("branch").filter(|branch| *branch != "none").map(String::from),
            url: field(&format!("remote {remote}"))?.into(),
            changes: field("local changes") == Some("yes"),
        })
    }

    fn text(&self, remote: &str, bare: bool) -> String {
        let branch = self.branch.as_deref().unwrap_or("none");
        let changes = if self.changes { "yes" } else { "no" };
        match bare {
            true => format!("commit: {}\nremote {remote}: {}", self.commit, self.url),
            false => format!(
                "commit: {}\nbranch: {branch}\nremote {remote}: {}\nlocal changes: {changes}",
                self.commit, self.url
            ),
        }
    }
}

#[async_trait]
impl Module for Git {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let dest = absolute(host, &self.dest);
        let (url, login) = without_login(&self.repo);
        if let Some((_, password)) = &login {
            secret::note(password);
        }
        let (what, probe) = (format!("git {dest}"), self.script(&dest, PROBE));
        let found = host.state(&what, &probe).await?;
        let remote = self.remote();
        let checkout = Checkout::read(&found, remote);
        let is_new = matches!(found.as_str(), "absent" | "empty");
        if checkout.is_none() && !is_new {
            return Err(ModuleError::failed(match found.as_str() {
                "" => "`git` is not there".to_string(),
                other => format!("`{dest}` is no checkout of git: {other}"),
            }));
        }
        let before = checkout.as_ref().map(|checkout| checkout.commit.clone());
        let told = |after: Option<&str>| {
            let pairs = [("before", json!(before)), ("after", json!(after)), ("remote_url_changed", json!(false))];
            pairs.into_iter().map(|(name, value)| (name.to_string(), value)).collect::<Results>()
        };
        match &checkout {
            None if self.clone == Some(false) => return Ok(Planned::new(Vec::new(), told(None))),
            Some(checkout) if self.update == Some(false) => {
                return Ok(Planned::new(Vec::new(), told(Some(&checkout.commit))));
            }
            _ => {}
        }
        let target = self.target(host, (&dest, &url), login.as_ref()).await?;
        if checkout.as_ref().is_some_and(|checkout| checkout.changes) && !self.force {
            let message = format!("Local modifications exist in the destination: {dest} (force=no).");
            return Err(ModuleError::failed(message));
        }
        let after = Checkout {
            commit: target.commit.clone(),
            branch: target.branch.clone().filter(|_| !self.bare),
            url: url.clone(),
            changes: false,
        };
        let mut results = told(Some(&target.commit));
        let moved = checkout.as_ref().is_some_and(|checkout| checkout.url != url);
        results.insert("remote_url_changed".into(), moved.into());
        let by = self.with_login(self.script(&dest, &self.making(&url, &target, is_new)), login.as_ref());
        let change = Change::state(what, probe, (found.clone(), after.text(remote, self.bare)), vec![by]);
        let back = self.back(&dest, &found, checkout.as_ref());
        let change = change.map(|change| change.taken_back(back));
        let change = if login.is_some() { change.map(Change::with_secret_commands) } else { change };
        Ok(Planned::new(change.into_iter().collect(), results))
    }
}

impl Git {
    fn version(&self) -> &str {
        self.version.as_deref().unwrap_or("HEAD")
    }

    fn remote(&self) -> &str {
        self.remote.as_deref().unwrap_or("origin")
    }

    /// Returns a script with its variables; what it prints where there is no git is nothing.
    fn script(&self, dest: &str, body: &str) -> Command {
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
        Command::shell(format!(
            "git=$(command -v {}) || {{ echo 'git is not there' >&2; exit 127; }}\n\
             dest={} version={} remote={} bare={}\n\
             LC_ALL=C GIT_TERMINAL_PROMPT=0 GIT_SSH_COMMAND={}; export LC_ALL GIT_TERMINAL_PROMPT GIT_SSH_COMMAND\n{body}",
            quote(program),
            quote(dest),
            quote(self.version()),
            quote(self.remote()),
            if self.bare { "yes" } else { "''" },
            quote(&ssh),
        ))
    }

    /// Gives git a login on the side: it comes on stdin, and a helper of git's tells it.
    fn with_login(&self, mut command: Command, login: Option<&(String, String)>) -> Command {
        let Some((user, password)) = login else { return command };
        if let crate::transport::Program::Shell { script, .. } = &mut command.program {
            let helper = "!f() { test \"$1\" = get && echo \"username=$C_USER\" && echo \"password=$C_PASSWORD\"; }; f";
            *script = format!(
                "IFS= read -r C_USER; IFS= read -r C_PASSWORD; export C_USER C_PASSWORD\n\
                 GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=credential.helper GIT_CONFIG_VALUE_0={}\n\
                 export GIT_CONFIG_COUNT GIT_CONFIG_KEY_0 GIT_CONFIG_VALUE_0\n{script}",
                quote(helper)
            );
        }
        command.stdin = format!("{user}\n{password}\n").into_bytes();
        command
    }

    /// Asks the repository what the version is; of a short hash the checkout may know.
    async fn target(
        &self,
        host: &View,
        (dest, url): (&str, &str),
        login: Option<&(String, String)>,
    ) -> Result<Target, ModuleError> {
        let script = format!("cd / && \"$git\" ls-remote --symref -- {}", quote(url));
        let output = host.probe(&self.with_login(self.script(dest, &script), login)).await?;
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
        let known = host.probe(&self.script(dest, script)).await?;
        match known.text().trim() {
            commit if known.success() && !commit.is_empty() => Ok(Target { branch: None, commit: commit.into() }),
            _ => {
                let version = self.version();
                Err(ModuleError::failed(format!(
                    "`{url}` has no branch, tag or commit `{version}`; a hash has to be whole"
                )))
            }
        }
    }

    /// Returns the script that makes or moves the checkout.
    fn making(&self, url: &str, target: &Target, is_new: bool) -> String {
        let depth = self.depth.map_or(String::new(), |depth| format!(" --depth {depth}"));
        let refspec = self.refspec.as_deref().map_or(String::new(), |text| format!(" {}", quote(text)));
        let (url, commit) = (quote(url), &target.commit);
        let heads = if self.bare { "refs/heads" } else { "refs/remotes/$remote" };
        let branches = match &target.branch {
            Some(branch) if self.single_branch => {
                format!("{}:\"{heads}\"/{}", quote(&format!("+refs/heads/{branch}")), quote(branch))
            }
            _ => format!("\"+refs/heads/*:{heads}/*\""),
        };
        let start = match is_new {
            true => {
                let reference =
                    self.reference.as_deref().map_or(String::new(), |path| format!(" --reference {}", quote(path)));
                let branch = target.branch.as_deref().filter(|_| self.depth.is_some() || self.single_branch);
                let branch = branch.map_or(String::new(), |branch| format!(" --branch {}", quote(branch)));
                let single = if self.single_branch { " --single-branch" } else { "" };
                let kind = if self.bare { "--bare" } else { "--no-checkout" };
                format!(
                    "mkdir -p \"$(dirname \"$dest\")\" || exit\n\
                     \"$git\" clone -q {kind} --origin \"$remote\"{depth}{single}{branch}{reference} -- {url} \"$dest\" || exit\n\
                     cd \"$dest\" || exit\n"
                )
            }
            false => format!(
                "cd \"$dest\" || exit\n\
                 \"$git\" remote set-url \"$remote\" {url} 2>/dev/null || \"$git\" remote add \"$remote\" {url} || exit\n\
                 \"$git\" fetch -q --force --tags{depth} \"$remote\" {branches}{refspec} || exit\n"
            ),
        };
        let fetched = format!(
            "\"$git\" cat-file -e {commit}^{{commit}} 2>/dev/null || \"$git\" fetch -q{depth} \"$remote\" {commit} || exit\n"
        );
        if self.bare {
            return start + &fetched;
        }
        let further = match (is_new, self.refspec.as_deref()) {
            (true, Some(_)) => format!("\"$git\" fetch -q --force{depth} \"$remote\"{refspec} || exit\n"),
            _ => String::new(),
        };
        let checkout = match &target.branch {
            Some(branch) => {
                let branch = quote(branch);
                format!(
                    "\"$git\" checkout -q -f -B {branch} {commit} || exit\n\
                     \"$git\" branch -q --set-upstream-to \"$remote\"/{branch} 2>/dev/null\n"
                )
            }
            None => format!("\"$git\" checkout -q -f --detach {commit} || exit\n"),
        };
        let modules = match self.recursive {
            Some(false) => "exit 0\n".to_string(),
            _ => format!("[ ! -f .gitmodules ] || \"$git\" submodule -q update --init --recursive --force{depth}\n"),
        };
        format!("{start}{further}{fetched}{checkout}{modules}")
    }

    /// Returns what takes the change back. What was changed in the checkout by hand and thrown away does not come back.
    fn back(&self, dest: &str, found: &str, checkout: Option<&Checkout>) -> Back {
        let remote_back = |url: &str| match url {
            "none" => "\"$git\" remote remove \"$remote\"\n".to_string(),
            url => format!("\"$git\" remote set-url \"$remote\" {}\n", quote(url)),
        };
        let script = match (found, checkout) {
            ("absent", _) => "rm -rf -- \"$dest\"\n".to_string(),
            ("empty", _) => "cd \"$dest\" && find . ! -name . -prune -exec rm -rf -- {} +\n".to_string(),
            (_, Some(checkout)) if !checkout.changes && checkout.commit != "none" => {
                let commit = &checkout.commit;
                let moved = match (&checkout.branch, self.bare) {
                    (_, true) => format!("\"$git\" update-ref \"refs/heads/$version\" {commit}\n"),
                    (Some(branch), false) => format!("\"$git\" checkout -q -f -B {} {commit} || exit\n", quote(branch)),
                    (None, false) => format!("\"$git\" checkout -q -f --detach {commit} || exit\n"),
                };
                format!("cd \"$dest\" || exit\n{moved}{}", remote_back(&checkout.url))
            }
            _ => return Back::None,
        };
        Back::By(vec![self.script(dest, &script)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_probe_prints_is_read_and_written_the_same() {
        let text = "commit: a1\nbranch: none\nremote up: /srv/x\nlocal changes: yes";
        let checkout = Checkout::read(text, "up").unwrap();
        assert_eq!(checkout, Checkout { commit: "a1".into(), branch: None, url: "/srv/x".into(), changes: true });
        assert_eq!(checkout.text("up", false), text);
        assert_eq!(Checkout::read("absent", "up"), None);
    }
}
