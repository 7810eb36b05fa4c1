//! A checkout as it is on the host, and as it shall be: the lines that a probe prints.

use super::Git;

/// Prints what is in `$dest`. Nothing is written there, not even git's index.
pub const PROBE: &str = r#"GIT_OPTIONAL_LOCKS=0; export GIT_OPTIONAL_LOCKS
packed() {
  [ -n "$archive" ] || return 0
  if [ ! -e "$archive" ]; then echo "archive $archive: absent"
  elif [ -n "$1" ] && pack "$1" 2>/dev/null | cmp -s - "$archive"; then echo "archive $archive: of the commit"
  else echo "archive $archive: another file"; fi
}
newest() {
  branch=$("$git" config "submodule.$1.branch" || "$git" config -f .gitmodules "submodule.$1.branch") || branch=HEAD
  [ "$branch" != . ] || branch=$("$git" symbolic-ref -q --short HEAD)
  [ "$branch" = HEAD ] || branch=refs/heads/$branch
  (cd "$2" && "$git" ls-remote -q 2>/dev/null) | awk -v name="$branch" '$2 == name { print $1 }'
}
behind() {
  [ ! -f .gitmodules ] || "$git" config -f .gitmodules --get-regexp '^submodule\..*\.path$' | while IFS= read -r line; do
    path=${line#*.path } name=${line%%.path *}
    name=${name#submodule.}
    wanted=$("$git" rev-parse -q --verify "HEAD:$path") || continue
    [ "$("$git" config "submodule.$name.update")" != none ] || continue
    if [ ! -e "$path/.git" ]; then echo "submodule $1$path: absent"; continue; fi
    [ "$modules" != newest ] || wanted=$(newest "$name" "$path")
    now=$(cd "$path" && "$git" rev-parse -q --verify HEAD)
    [ "$now" = "$wanted" ] || echo "submodule $1$path: ${now:-none} and not ${wanted:-known}"
    (cd "$path" && behind "$1$path/")
  done
}
if [ ! -e "$dest" ]; then echo absent; packed; exit 0; fi
if [ -d "$dest" ] && [ -z "$(ls -A "$dest")" ]; then echo empty; packed; exit 0; fi
cd "$dest" 2>/dev/null && { [ -e .git ] || { [ -f HEAD ] && [ -d objects ]; }; } || { echo 'no repository'; exit 0; }
directory=$("$git" rev-parse --git-dir 2>/dev/null) || { echo "no repository: $("$git" rev-parse --git-dir 2>&1)"; exit 0; }
if [ -n "$bare" ]; then commit=$("$git" rev-parse -q --verify "$version^{commit}"); else commit=$("$git" rev-parse -q --verify HEAD); fi
echo "commit: ${commit:-none}"
if [ -z "$bare" ]; then branch=$("$git" symbolic-ref -q --short HEAD); echo "branch: ${branch:-none}"; fi
url=$("$git" config "remote.$remote.url" | sed 's#://[^/@]*@#://#')
echo "remote $remote: ${url:-none}"
if [ -z "$bare" ]; then
  if [ "$modules" = newest ]; then
    changes=$({
      "$git" status --porcelain --untracked-files=no --ignore-submodules=all
      "$git" submodule -q foreach --recursive 'git status --porcelain --untracked-files=no --ignore-submodules=all'
    } | head -n 1)
  else
    changes=$("$git" status --porcelain --untracked-files=no | head -n 1)
  fi
  if [ -n "$changes" ]; then echo 'local changes: yes'; else echo 'local changes: no'; fi
fi
if [ -n "$separate" ]; then
  directory=$(cd "$directory" && pwd -P)
  if [ -d .git ]; then directory=$dest/.git; fi
  if [ "$directory" = "$(cd "$separate" 2>/dev/null && pwd -P)" ]; then directory=$separate; fi
  echo "git directory: $directory"
fi
packed "$commit"
if [ -n "$modules" ]; then behind; fi
"#;

/// A checkout as the probe tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkout {
    pub commit: String,
    pub branch: Option<String>,
    pub url: String,
    pub changes: bool,
    /// Where its repository is, if that was asked for.
    pub directory: Option<String>,
    /// What the archive that was asked for is of.
    pub archive: Option<String>,
    /// The submodules that are not what they shall be, and what they are.
    pub behind: Vec<(String, String)>,
}

/// What an archive is that is as it shall be.
pub const PACKED: &str = "of the commit";

/// Returns what a line of the probe says.
pub fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

impl Checkout {
    pub fn read(text: &str, git: &Git) -> Option<Checkout> {
        let behind = text.lines().filter_map(|line| line.strip_prefix("submodule ")?.rsplit_once(": "));
        Some(Checkout {
            commit: field(text, "commit")?.into(),
            branch: field(text, "branch").filter(|branch| *branch != "none").map(String::from),
            url: field(text, &format!("remote {}", git.remote()))?.into(),
            changes: field(text, "local changes") == Some("yes"),
            directory: git
                .separate_git_dir
                .as_ref()
                .map(|_| field(text, "git directory").map_or_else(|| format!("{}/.git", git.dest), String::from)),
            archive: git
                .archive
                .as_ref()
                .map(|path| field(text, &format!("archive {path}")).unwrap_or("absent").into()),
            behind: behind.map(|(path, now)| (path.into(), now.into())).collect(),
        })
    }

    /// Returns where its repository is and where it shall be, if that is elsewhere.
    pub fn relocated<'a>(&'a self, after: &'a Checkout) -> Option<(&'a str, &'a str)> {
        let (now, then) = (self.directory.as_deref()?, after.directory.as_deref()?);
        (now != then).then_some((now, then))
    }

    pub fn text(&self, git: &Git) -> String {
        let mut lines = vec![format!("commit: {}", self.commit)];
        if !git.bare {
            lines.push(format!("branch: {}", self.branch.as_deref().unwrap_or("none")));
        }
        lines.push(format!("remote {}: {}", git.remote(), self.url));
        if !git.bare {
            lines.push(format!("local changes: {}", if self.changes { "yes" } else { "no" }));
        }
        lines.extend(self.directory.iter().map(|path| format!("git directory: {path}")));
        let archive = git.archive.iter().zip(&self.archive);
        lines.extend(archive.map(|(path, of)| format!("archive {path}: {of}")));
        lines.extend(self.behind.iter().map(|(path, now)| format!("submodule {path}: {now}")));
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_probe_prints_is_read_and_written_the_same() {
        let git: Git = serde_json::from_value(serde_json::json!({
            "repo": "/srv/x", "dest": "/srv/y", "remote": "up", "archive": "/srv/y.tgz", "separate_git_dir": "/srv/z"
        }))
        .unwrap();
        let text = "commit: a1\nbranch: none\nremote up: /srv/x\nlocal changes: yes\ngit directory: /srv/y/.git\n\
                    archive /srv/y.tgz: another file\nsubmodule a b: c3 and not d4\nsubmodule a b/e: absent";
        let checkout = Checkout::read(text, &git).unwrap();
        let expected = Checkout {
            commit: "a1".into(),
            url: "/srv/x".into(),
            changes: true,
            directory: Some("/srv/y/.git".into()),
            archive: Some("another file".into()),
            behind: vec![("a b".into(), "c3 and not d4".into()), ("a b/e".into(), "absent".into())],
            ..Checkout::default()
        };
        assert_eq!(checkout, expected);
        assert_eq!(checkout.text(&git), text);
        assert_eq!(Checkout::read("absent", &git), None);
    }
}
