//! Packages that a check would install or remove: what they may bring to a host, or take from it, is known after a run.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::change::StateChange;
use crate::transport::Command;
use crate::transport::command::quote;

/// What a state of a package is called, before the package's name; `absent` is what it reads without it.
const PACKAGE: &str = "package ";

/// Prints to which packages the paths in `$@` belong, with whatever the host has.
const OWNERS: &str = r#"if command -v dpkg-query >/dev/null; then dpkg-query -S -- "$@" 2>/dev/null; fi
if command -v rpm >/dev/null; then
  for path; do name=$(rpm -qf --queryformat '%{NAME}' -- "$path" 2>/dev/null) && echo "$name: $path"; done
fi
if command -v apk >/dev/null; then
  for path; do name=$(apk info --quiet --who-owns "$path" 2>/dev/null) && echo "${name%-*-r*}: $path"; done
fi
if command -v pkg >/dev/null; then for path; do name=$(pkg which -q "$path" 2>/dev/null) && echo "${name%-*}: $path"; done; fi
:
"#;

#[derive(Debug, Default)]
pub struct Packages {
    come: BTreeSet<String>,
    go: BTreeSet<String>,
}

impl Packages {
    /// Takes over what a change would do to a package.
    pub fn record(&mut self, state: &StateChange) {
        let Some(name) = state.what().strip_prefix(PACKAGE) else { return };
        // What a removed package leaves is its configuration.
        let (to, from) = match state.after() {
            after if after == "absent" || after.starts_with("configuration ") => (&mut self.go, &mut self.come),
            _ => (&mut self.come, &mut self.go),
        };
        from.remove(name);
        to.insert(name.into());
    }

    /// Says whether none would come or go.
    pub fn is_empty(&self) -> bool {
        self.come.is_empty() && self.go.is_empty()
    }

    /// Says what may bring something that is not there: a package that would come.
    pub fn may_bring(&self, what: &str) -> Option<Arc<str>> {
        let mut names = self.come.iter();
        let first = names.next()?;
        let others = match names.count() {
            0 => String::new(),
            1 => " or another package".into(),
            count => format!(" or one of {count} other packages"),
        };
        Some(format!("{what}, which package `{first}`{others} may bring").into())
    }

    /// The same for a path: packages have some directories only (Debian Policy 9.1, the Filesystem Hierarchy Standard).
    pub fn may_bring_path(&self, path: &str) -> Option<Arc<str>> {
        is_for_packages(path).then(|| self.may_bring(&format!("`{path}`")))?
    }

    /// Returns a command that prints which of these paths belong to packages that would go: `PACKAGE[, PACKAGE]: PATH`.
    pub fn owners(&self, paths: &[&str]) -> Option<Command> {
        let mut named = paths.iter().filter(|path| is_for_packages(path)).map(|path| quote(path)).peekable();
        named.peek()?;
        let paths = named.map(|path| path.to_string()).collect::<Vec<_>>().join(" ");
        (!self.go.is_empty()).then(|| Command::shell(format!("set -- {paths}\n{OWNERS}")))
    }

    /// Reads what `owners` has printed: what would take a path away.
    pub fn may_take(&self, owners: &str) -> Option<Arc<str>> {
        owners.lines().find_map(|line| {
            let (packages, path) = line.split_once(": ")?;
            let package = packages.split(", ").find(|name| {
                let bare = name.split(':').next().unwrap_or(name);
                self.go.contains(*name) || self.go.contains(bare)
            })?;
            Some(format!("`{path}`, which may go with package `{package}`").into())
        })
    }
}

/// Says whether a package may have files there: not in what belongs to the administrator, to users, or to no disk.
fn is_for_packages(path: &str) -> bool {
    let first = path.split('/').nth(1).unwrap_or_default();
    ["etc", "usr", "var", "opt", "bin", "sbin", "lib", "lib32", "lib64", "boot"].contains(&first)
        && !["/usr/local/", "/var/tmp/", "/var/lock/", "/var/run/"].iter().any(|own| path.starts_with(own))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::Change;

    fn packages(moves: &[(&str, &str, &str)]) -> Packages {
        let mut packages = Packages::default();
        for (name, before, after) in moves {
            let texts = (before.to_string(), after.to_string());
            let change = Change::state(format!("package {name}"), Command::shell("true"), texts, Vec::new()).unwrap();
            let Change::State(state) = change else { panic!() };
            packages.record(&state);
        }
        packages
    }

    #[test]
    fn what_is_missing_where_packages_have_files_may_come_with_one() {
        let packages = packages(&[("mutt", "absent", "2.2.9-1"), ("sendmail", "8.15", "absent")]);
        assert_eq!(
            packages.may_bring_path("/etc/Muttrc").as_deref(),
            Some("`/etc/Muttrc`, which package `mutt` may bring")
        );
        for own in ["/usr/local/bin/mutt", "/srv/mutt", "/home/ann/.muttrc", "/tmp/mutt"] {
            assert_eq!(packages.may_bring_path(own), None, "{own}");
        }
        assert_eq!(Packages::default().may_bring_path("/etc/Muttrc"), None);
    }

    #[test]
    fn what_belongs_to_a_package_that_goes_may_go_with_it() {
        let packages =
            packages(&[("sendmail", "8.15", "absent"), ("mutt", "absent", "2.2"), ("mutt", "2.2", "absent")]);
        assert!(packages.owners(&["/srv/a"]).is_none() && packages.owners(&["/etc/mail"]).is_some());
        let owners = "dpkg: /etc\nmake, sendmail:amd64: /etc/mail\n";
        assert_eq!(
            packages.may_take(owners).as_deref(),
            Some("`/etc/mail`, which may go with package `sendmail:amd64`")
        );
        assert_eq!(packages.may_take("make: /etc/mail\n"), None);
        assert_eq!(packages.may_bring("user `mutt`"), None);
    }
}
