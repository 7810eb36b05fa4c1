//! The scripts that make a checkout, move it, and put it back as it was.

use crate::change::Back;
use crate::transport::command::quote;

use super::Git;
use super::checkout::{Checkout, PACKED, field};
use super::refs::Target;
use super::signature;

/// Removes a checkout that was not there.
const REMOVE: &str = "rm -rf -- \"$dest\"";

/// Removes what is in a directory that was empty.
const EMPTY: &str = "(cd \"$dest\" && find . ! -name . -prune -exec rm -rf -- {} +)";

/// Puts an archive of a commit in its place, whole or not at all.
const PACK: &str = r#"packing() {
  made=$(mktemp -d "$archive.XXXXXX") || return
  pack "$1" >"$made/made" && mv -f -- "$made/made" "$archive"
  set -- $?
  rm -rf -- "$made"
  return "$1"
}
"#;

/// Puts submodules where their commits, or the newest of their branches, want them.
const NEWEST: &str = r#""$git" submodule -q foreach --recursive 'git remote set-head "$(git remote | head -n 1)" --auto >/dev/null 2>&1 || :' || exit
"#;

impl Git {
    /// Returns the script that makes a checkout where there is none: one that fails leaves nothing.
    pub(super) fn cloning(&self, found: &str, url: &str, target: &Target) -> String {
        let depth = self.depth();
        let reference = self.reference.as_deref().map_or(String::new(), |path| format!(" --reference {}", quote(path)));
        let branch = target.branch.as_deref().filter(|_| self.depth.is_some() || self.single_branch);
        let branch = branch.map_or(String::new(), |branch| format!(" --branch {}", quote(branch)));
        let single = if self.single_branch { " --single-branch" } else { "" };
        let kind = if self.bare { "--bare" } else { "--no-checkout" };
        let (beside, separate, remove) = match self.separate_git_dir {
            Some(_) => (
                " \"$(dirname \"$separate\")\"",
                " --separate-git-dir=\"$separate\"",
                format!("{}; rm -rf -- \"$separate\"", unmade(found)),
            ),
            None => ("", "", unmade(found).to_string()),
        };
        let further = self.refspec.as_deref().filter(|_| !self.bare);
        let further = further.map_or(String::new(), |refspec| {
            format!("\"$git\" fetch -q --force{depth} \"$remote\" {} || exit\n", quote(refspec))
        });
        format!(
            "trap '[ $? = 0 ] || {{ cd /; {remove}; }}' EXIT\n\
             mkdir -p \"$(dirname \"$dest\")\"{beside} || exit\n\
             \"$git\" clone -q {kind} --origin \"$remote\"{depth}{single}{branch}{reference}{separate} -- {} \"$dest\" || exit\n\
             cd \"$dest\" || exit\n{further}{}",
            quote(url),
            self.reaching(target)
        )
    }

    /// Returns the script that moves a checkout to a commit.
    pub(super) fn moving(&self, url: &str, target: &Target) -> String {
        let (depth, url) = (self.depth(), quote(url));
        let refspec = self.refspec.as_deref().map_or(String::new(), |text| format!(" {}", quote(text)));
        let heads = if self.bare { "refs/heads" } else { "refs/remotes/$remote" };
        let branches = match &target.branch {
            Some(branch) if self.single_branch => {
                format!("{}:\"{heads}\"/{}", quote(&format!("+refs/heads/{branch}")), quote(branch))
            }
            _ => format!("\"+refs/heads/*:{heads}/*\""),
        };
        // A repository without a checkout moves with what is fetched.
        let first = match self.bare && self.verify_commit {
            true => self.verifying(&format!("{depth} {url}"), target),
            false => String::new(),
        };
        format!(
            "cd \"$dest\" || exit\n{first}\
             \"$git\" remote set-url \"$remote\" {url} 2>/dev/null || \"$git\" remote add \"$remote\" {url} || exit\n\
             \"$git\" fetch -q --force --tags{depth} \"$remote\" {branches}{refspec} || exit\n{}",
            self.reaching(target)
        )
    }

    /// Returns the script that checks a commit out once the repository has what it offers.
    fn reaching(&self, target: &Target) -> String {
        let (depth, commit) = (self.depth(), &target.commit);
        let verified = match self.verify_commit {
            true => self.verifying(&format!("{depth} \"$remote\""), target),
            false => String::new(),
        };
        let fetched = format!(
            "\"$git\" cat-file -e {commit}^{{commit}} 2>/dev/null || \"$git\" fetch -q{depth} \"$remote\" {commit} || exit\n"
        );
        if self.bare {
            return verified + &fetched;
        }
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
        format!("{verified}{fetched}{checkout}{}", self.with_modules(self.track_submodules))
    }

    /// Returns the script that brings the submodules of what is checked out.
    fn with_modules(&self, newest: bool) -> String {
        if !self.has_modules() {
            return String::new();
        }
        let update = format!("\"$git\" submodule -q update --init --recursive --force{}", self.depth());
        let update = match newest {
            true => format!("{update} || exit\n{NEWEST}{update} --remote || exit\n"),
            false => format!("{update} || exit\n"),
        };
        format!("if [ -f .gitmodules ]; then\n\"$git\" submodule -q sync --recursive || exit\n{update}fi\n")
    }

    /// Returns the script that fetches what is signed from somewhere, and ends unless its signature is good.
    fn verifying(&self, from: &str, target: &Target) -> String {
        let signed = target.signed();
        let fetched =
            format!("\"$git\" cat-file -e {signed} 2>/dev/null || \"$git\" fetch -q{from} {signed} || exit\n");
        fetched + &signature::verifying(target, &self.gpg_allowlist)
    }

    fn depth(&self) -> String {
        self.depth.map_or(String::new(), |depth| format!(" --depth {depth}"))
    }

    /// Returns the script that takes a repository from one directory to another, with what the checkout knows of it.
    pub(super) fn relocating(&self, (from, to): (&str, &str)) -> String {
        let moved = match to == format!("{}/.git", self.dest) {
            true => format!("rm -f .git && mv -- {} .git || exit\n", quote(from)),
            false => format!(
                "mkdir -p \"$(dirname {to})\" && mv -- {from} {to} && printf 'gitdir: %s\\n' {to} >.git || exit\n",
                from = quote(from),
                to = quote(to)
            ),
        };
        format!("cd \"$dest\" || exit\n{moved}[ ! -f .gitmodules ] || \"$git\" submodule absorbgitdirs || exit\n")
    }

    /// Returns the script that packs a commit.
    pub(super) fn packing(&self, commit: &str) -> String {
        format!("cd \"$dest\" || exit\n{PACK}packing {} || exit\n", quote(commit))
    }

    /// Returns what takes a change back. What was changed in the checkout by hand and thrown away does not come back, nor
    /// an archive of something else.
    pub(super) fn back(&self, found: &str, (before, after): (Option<&Checkout>, &Checkout)) -> Back {
        let mut script = String::new();
        let Some(before) = before else {
            let packed = self.archive.as_ref().map(|path| field(found, &format!("archive {path}")).unwrap_or("absent"));
            if packed.is_some_and(|packed| packed != "absent") {
                return Back::None;
            }
            script += unmade(found);
            script += "\n";
            if self.separate_git_dir.is_some() {
                script += "rm -rf -- \"$separate\"\n";
            }
            if packed.is_some() {
                script += "rm -f -- \"$archive\"\n";
            }
            return Back::By(vec![self.script(&script)]);
        };
        let packed = before.archive.as_deref();
        let is_repacked = packed.is_some() && (packed != Some(PACKED) || before.commit != after.commit);
        if before.changes || before.commit == "none" || (is_repacked && !matches!(packed, Some("absent" | PACKED))) {
            return Back::None;
        }
        script += "cd \"$dest\" || exit\n";
        let commit = &before.commit;
        if (commit, &before.branch) != (&after.commit, &after.branch) {
            script += &match (&before.branch, self.bare) {
                (_, true) if self.version() == "HEAD" => format!("\"$git\" update-ref HEAD {commit} || exit\n"),
                (_, true) => format!("\"$git\" update-ref \"refs/heads/$version\" {commit} || exit\n"),
                (Some(branch), false) => format!("\"$git\" checkout -q -f -B {} {commit} || exit\n", quote(branch)),
                (None, false) => format!("\"$git\" checkout -q -f --detach {commit} || exit\n"),
            };
            script += &self.with_modules(self.track_submodules);
        }
        for (path, now) in &before.behind {
            let (above, name) = path.rsplit_once('/').unwrap_or((".", path));
            script += &match now.split(' ').next().unwrap_or_default() {
                "absent" => {
                    format!("(cd {} && \"$git\" submodule -q deinit -f -- {}) || exit\n", quote(above), quote(name))
                }
                commit => format!("(cd {} && \"$git\" checkout -q -f --detach {commit}) || exit\n", quote(path)),
            };
        }
        if before.url != after.url {
            script += &match before.url.as_str() {
                "none" => "\"$git\" remote remove \"$remote\" || exit\n".to_string(),
                url => format!("\"$git\" remote set-url \"$remote\" {} || exit\n", quote(url)),
            };
        }
        if let Some((was, now)) = before.relocated(after) {
            script += &self.relocating((now, was));
        }
        match packed {
            Some("absent") => script += "rm -f -- \"$archive\"\n",
            Some(PACKED) if is_repacked => script += &self.packing(commit),
            _ => {}
        }
        Back::By(vec![self.script(&script)])
    }
}

/// Returns what leaves a place as it was found, without a checkout.
fn unmade(found: &str) -> &'static str {
    if found.starts_with("empty") { EMPTY } else { REMOVE }
}
