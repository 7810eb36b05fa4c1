//! Homes and `.qmail` files for which qmail-local would defer mail, or put it where the move does not look (`dot-qmail.5`).

use super::super::delivery::program;
use super::super::qmail::decode;
use super::{Found, Role, Side, Weight, quoted};
use crate::transport::name::shown;
use crate::transport::{Entry, Node, Owner, Permissions};

/// What lies below one domain's directory on one host, two levels deep.
pub struct Domain<'a> {
    pub side: &'a Side,
    pub name: &'a str,
    pub directory: &'a Node,
    pub entries: &'a [Entry],
    /// `.qmail` files with their content.
    pub files: Vec<(&'a str, &'a [u8])>,
    /// Whose the mailboxes are on the new host.
    pub owner: Option<&'a Owner>,
}

impl Domain<'_> {
    fn path(&self) -> String {
        format!("{}/{}", self.side.mailnames, self.name)
    }

    /// The entries, each with its path below the domain's directory.
    fn below(&self) -> impl Iterator<Item = (&str, &Entry)> {
        let length = self.path().len() + 1;
        self.entries.iter().filter_map(move |entry| Some((entry.path.get(length..)?, entry)))
    }

    pub fn check(&self, found: &mut Found) {
        let path = self.path();
        if let Node::Directory { permissions, .. } = self.directory {
            self.home(&path, permissions, found);
        }
        for (name, entry) in self.below() {
            let last = name.rsplit('/').next().unwrap_or(name);
            match &entry.node {
                Node::Directory { permissions, .. } if !name.contains('/') && self.is_home(name) => {
                    self.home(&entry.path, permissions, found);
                }
                Node::File { permissions, .. } if last == ".qmail" || last.starts_with(".qmail-") => {
                    self.instructions(&entry.path, permissions, found);
                }
                _ => {}
            }
        }
        for (path, bytes) in &self.files {
            for (number, line) in decode(bytes).split('\n').enumerate().map(|(index, line)| (index + 1, line)) {
                self.line(path, (number, line), found);
            }
        }
    }

    /// A home has a Maildir or instructions in it.
    fn is_home(&self, name: &str) -> bool {
        let parts = [format!("{name}/.qmail"), format!("{name}/Maildir")];
        self.below().any(|(path, _)| parts.iter().any(|part| part == path))
    }

    fn home(&self, path: &str, permissions: &Permissions, found: &mut Found) {
        let (host, mode) = (&self.side.host, permissions.mode);
        let mut say = |weight: Weight, why: &str, what: &str| {
            // On the old host such mail waits, and is collected once it is delivered.
            let weight = if self.side.role == Role::New { weight } else { Weight::Warning };
            found.say(weight, format!("`{host}`: `{}` (mode {mode:04o}) {why}; {what} it", shown(path)));
        };
        if mode & 0o1000 != 0 {
            say(Weight::Problem, "has the sticky bit, so that every delivery is deferred", "`chmod -t`");
        }
        if mode & 0o002 != 0 {
            say(Weight::Problem, "may be written by everybody, so that every delivery is deferred", "`chmod o-w`");
        } else if mode & 0o020 != 0 {
            let why = "may be written by its group: a qmail built with 022 in conf-patrn defers every delivery";
            say(Weight::Warning, why, "`chmod g-w`");
        }
        let Some(owner) = self.owner.filter(|owner| owner.id != 0 && owner.id != permissions.owner.id) else { return };
        if mode & 0o011 == 0 {
            let why = format!(
                "belongs to `{}` and cannot be entered by `{}`, so that deliveries are deferred",
                permissions.owner.name, owner.name
            );
            say(Weight::Problem, &why, &format!("`chown {}`", owner.name));
        }
    }

    fn instructions(&self, path: &str, permissions: &Permissions, found: &mut Found) {
        let (host, mode, path) = (&self.side.host, permissions.mode, shown(path));
        if self.side.role == Role::New {
            let owner =
                self.owner.filter(|owner| owner.id != 0 && owner.id != permissions.owner.id && mode & 0o004 == 0);
            if let Some(owner) = owner {
                found.problem(format!(
                    "`{host}`: `{path}` belongs to `{}` and cannot be read by `{}`, so that mail is deferred; `chown {1}` it",
                    permissions.owner.name, owner.name
                ));
            }
        }
        // The stage of accounts gives 0600 to what both hosts have.
        if mode & 0o100 != 0 {
            let rest = "its mailbox and programs are deferred; `chmod -x` it";
            found.warning(format!(
                "`{host}`: `{path}` (mode {mode:04o}) has an x bit, which means forwards alone: {rest}"
            ));
        } else if mode & 0o022 != 0 {
            let rest = "its mail is deferred; `chmod go-w` it";
            found.warning(format!("`{host}`: `{path}` (mode {mode:04o}) may be written by others: {rest}"));
        }
    }

    /// One instruction.
    fn line(&self, path: &str, (number, line): (usize, &str), found: &mut Found) {
        let place = format!("`{}`: `{}` line {number} has {}", self.side.host, shown(path), quoted(line));
        if number == 1 && line.trim().is_empty() && self.is_more_than_nothing(path) {
            found.problem(format!(
                "`{}`: `{}` line 1 is blank, so that all its mail is deferred; take it out",
                self.side.host,
                shown(path)
            ));
        } else if line.ends_with('\r') {
            found.problem(format!(
                "{place}: the carriage return is part of the address, mailbox or command to qmail; take it out (`tr -d '\\r'`)"
            ));
        } else if line.starts_with([' ', '\t']) && !line.trim().is_empty() {
            found.problem(format!(
                "{place}: the space before it makes an address of it, to which nothing can be sent; take it out"
            ));
        } else if self.side.role == Role::Old {
            self.stays(path, &place, line, found);
        }
    }

    /// An empty file means the host's own delivery.
    fn is_more_than_nothing(&self, path: &str) -> bool {
        self.files.iter().any(|(name, bytes)| *name == path && !bytes.is_empty())
    }

    /// What is stored elsewhere than in `Maildir` is not moved.
    fn stays(&self, path: &str, place: &str, line: &str, found: &mut Found) {
        let line = line.trim_end();
        let box_of = match program(line) {
            Some(program) if program.ends_with("/deliverquota") => {
                line.split_whitespace().last().filter(|word| word.starts_with(['.', '/']))
            }
            _ => Some(line).filter(|line| line.starts_with(['.', '/'])),
        };
        let Some(target) = box_of.filter(|target| target.trim_end_matches('/').rsplit('/').next() != Some("Maildir"))
        else {
            return;
        };
        let home = path.rsplit_once('/').map_or("", |(home, _)| home);
        let whole = match target.strip_prefix("./") {
            Some(rest) => format!("{home}/{rest}"),
            None => target.to_string(),
        };
        let whole = whole.trim_end_matches('/');
        let stored = self.entries.iter().find(|entry| entry.path == whole).is_some_and(|entry| match &entry.node {
            Node::File { content, .. } => content.size > 0,
            node => node.exists(),
        });
        let weight = if stored { Weight::Problem } else { Weight::Warning };
        let what = if stored { "the mail in it" } else { "what comes into it" };
        found.say(
            weight,
            format!("{place}: only `Maildir` is moved, and {what} would stay behind; put it into `Maildir` first"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{one, side};
    use super::*;
    use crate::transport::Content;

    fn permissions(mode: u32, owner: u32) -> Permissions {
        let of = |id: u32| Owner { id, name: if id == 110 { "popuser".into() } else { format!("u{id}") } };
        Permissions { mode, owner: of(owner), group: of(owner) }
    }

    fn directory(path: &str, mode: u32, owner: u32) -> Entry {
        Entry { path: path.into(), node: Node::Directory { permissions: permissions(mode, owner), modified: None } }
    }

    fn file(path: &str, text: &str, (mode, owner): (u32, u32)) -> Entry {
        let node = Node::File {
            content: Content::here(text.as_bytes()),
            permissions: permissions(mode, owner),
            modified: None,
        };
        Entry { path: path.into(), node }
    }

    fn check(role: Role, home: (u32, u32), qmail: (&str, (u32, u32)), more: &[Entry]) -> Found {
        let side = side(role, &[]);
        let (a, text) = ("/m/a.example", qmail.0);
        let mut entries = vec![
            directory("/m/a.example/ann", home.0, home.1),
            directory("/m/a.example/ann/Maildir", 0o700, 110),
            file("/m/a.example/ann/.qmail", text, qmail.1),
            directory("/m/a.example/logs", 0o1777, 0),
        ];
        entries.extend(more.iter().cloned());
        let owner = Owner { id: 110, name: "popuser".into() };
        let mut found = Found::default();
        let domain = Domain {
            side: &side,
            name: "a.example",
            directory: &directory(a, 0o755, 0).node,
            entries: &entries,
            files: vec![("/m/a.example/ann/.qmail", text.as_bytes())],
            owner: (role == Role::New).then_some(&owner),
        };
        domain.check(&mut found);
        found
    }

    #[test]
    fn what_defers_mail_or_keeps_it_behind_is_named_with_its_path_and_line() {
        use Role::{New, Old};
        use Weight::{Problem, Warning};
        let (home, plain) = ((0o700, 110), (0o600, 110));
        let usual = "| true\n| /usr/bin/deliverquota ./Maildir\n";
        for (role, home, text, rights, weight, words) in [
            (New, (0o1700, 110), usual, plain, Problem, &["`/m/a.example/ann` (mode 1700)", "chmod -t"][..]),
            (Old, (0o1700, 110), usual, plain, Warning, &["sticky bit"]),
            (New, (0o777, 110), usual, plain, Problem, &["chmod o-w"]),
            (New, (0o770, 110), usual, plain, Warning, &["chmod g-w"]),
            (New, (0o700, 0), usual, plain, Problem, &["`u0`", "`chown popuser`"]),
            (New, home, usual, (0o600, 0), Problem, &["/ann/.qmail`", "cannot be read by `popuser`"]),
            (Old, home, usual, (0o700, 110), Warning, &["/ann/.qmail` (mode 0700)", "x bit"]),
            (Old, home, usual, (0o620, 110), Warning, &["written by others"]),
            (New, home, usual, (0o644 | 0o100, 110), Warning, &["`new`", "x bit", "chmod -x"]),
            (Old, home, "./Maildir/\r\n", plain, Problem, &["line 1 has `./Maildir/\\r`", "carriage return"]),
            (New, home, "# x\n&bob@b.example\r\n", plain, Problem, &["`new`", "line 2"]),
            (Old, home, "\n./Maildir/\n", plain, Problem, &["line 1 is blank"]),
            (New, home, " \n", plain, Problem, &["`new`", "line 1 is blank"]),
            (Old, home, "./Maildir/\n &bob@b.example\n", plain, Problem, &["line 2", "` &bob@b.example`"]),
            (Old, home, "./Mailbox\n", plain, Warning, &["line 1 has `./Mailbox`", "only `Maildir` is moved"]),
            (Old, home, "| /usr/bin/deliverquota ./Post\n", plain, Warning, &["./Post"]),
        ] {
            one(&check(role, home, (text, rights), &[]), weight, words);
        }
        let mbox = [file("/m/a.example/ann/Mailbox", "From a\n", plain)];
        one(&check(Old, home, ("./Mailbox\n", plain), &mbox), Problem, &["the mail in it"]);
    }

    #[test]
    fn homes_as_qmail_wants_them_have_nothing_to_say() {
        for (role, text) in [(Role::Old, "./Maildir/\n"), (Role::New, "&a@b.example\n\n# ok\n"), (Role::Old, "")] {
            assert_eq!(check(role, (0o700, 110), (text, (0o600, 110)), &[]), Found::default());
        }
        // Entered by all, whoever it belongs to.
        assert_eq!(check(Role::New, (0o755, 0), ("", (0o644, 0)), &[]), Found::default());
    }
}
