//! What lies on the lab's hosts: a qmail/Plesk installation of four domains on `old`, a prepared one on `new`.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::qmail::password::md5_crypt;

/// A domain: its name, its numbers on the old and on the new host (`psa.domains.id`), and its accounts.
pub type Domain = (&'static str, u32, u32, &'static [&'static str]);

pub const DOMAINS: &[Domain] = &[
    ("example.com", 7, 31, &["ann", "bob", "carol"]),
    ("example.net", 12, 8, &["info", "sales"]),
    ("example.org", 13, 40, &["dave"]),
    ("mail.example", 21, 7, &["erin", "frank"]),
];

/// Which of the two hosts is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Old,
    New,
}

/// Where stored messages lie, with their flags and modes, in turn.
const PLACES: &[(&str, &str, u32)] = &[
    ("new", "", 0o600),
    ("new", "", 0o600),
    ("cur", ":2,S", 0o600),
    ("cur", ":2,RS", 0o644),
    ("cur", ":2,FS", 0o600),
    (".Sent/cur", ":2,S", 0o600),
    (".Archive.2024/cur", ":2,S", 0o640),
    (".Archive.2024/new", "", 0o600),
];

/// The password of every account, for POP3.
pub const PASSWORD: &str = "lab";

/// The domain that takes mail for every address.
const CATCH_ALL: &str = "example.net";

const HOUR: u64 = 3600;

/// How much there is on the two hosts.
#[derive(Clone, Copy, Debug)]
pub struct Content {
    pub domains: &'static [Domain],
    /// Messages in each mailbox of the old host.
    pub stored: usize,
}

/// What the lab has.
const LAB: Content = Content { domains: DOMAINS, stored: PLACES.len() };

/// Fills `root`, below which `var/qmail` is made; `user` and `group` own the mailboxes, by name.
pub fn fill(root: &Path, role: Role, owner: (&str, &str)) -> io::Result<()> {
    LAB.fill(root, role, owner)
}

impl Content {
    /// As [`fill`], with this much.
    pub fn fill(&self, root: &Path, role: Role, (user, group): (&str, &str)) -> io::Result<()> {
        let qmail = root.join("var/qmail");
        let filler = Filler { content: *self, role, owner: format!("{user}:{group}"), qmail: &qmail, now: seconds() };
        filler.control()?;
        filler.programs()?;
        filler.users()?;
        self.domains.iter().try_for_each(|domain| filler.domain(domain))
    }
}

/// Writes the program that closes the logins to the domains it is given, and then waits until the mail for them that
/// was accepted as local is delivered: a later pass would have to collect it.
pub fn close_logins(root: &Path) -> io::Result<()> {
    let text = r#"#!/bin/sh
cd "${0%/*}/.." || exit
for domain; do
    grep -qsxF "$domain" active/closed || echo "$domain" >>active/closed || exit
    n=0
    while bin/qmail-qread | grep -q "^[[:blank:]]local[[:blank:]].*@$domain\$" && [ $n -lt 300 ]; do
        n=$((n + 1))
        sleep 0.1
    done
done
"#;
    write(&root.join("var/qmail/bin/close-logins"), text.as_bytes(), 0o755)
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

struct Filler<'a> {
    content: Content,
    role: Role,
    /// `USER:GROUP`.
    owner: String,
    qmail: &'a Path,
    now: u64,
}

impl Filler<'_> {
    fn id(&self, (_, old, new, _): &Domain) -> u32 {
        if self.role == Role::Old { *old } else { *new }
    }

    fn control(&self) -> io::Result<()> {
        let me = if self.role == Role::Old { "old.lab.example" } else { "new.lab.example" };
        let virtualdomains: String =
            self.content.domains.iter().map(|domain| format!("{}:{}\n", domain.0, self.id(domain))).collect();
        let rcpthosts: String = self.content.domains.iter().map(|domain| format!("{}\n", domain.0)).collect();
        let header = "# written by the panel\n";
        for (name, text) in [
            ("me", format!("{me}\n")),
            ("locals", format!("{header}localhost\n{me}\n")),
            ("rcpthosts", format!("localhost\n{me}\n{rcpthosts}")),
            ("virtualdomains", format!("{header}{virtualdomains}")),
            ("smtproutes", format!("{header}partner.example:192.0.2.77\n")),
        ] {
            write(&self.qmail.join("control").join(name), text.as_bytes(), 0o644)?;
        }
        // Unknown users are refused at once: what is taken and bounced later goes to forged senders.
        if self.role == Role::New {
            let names = self.content.domains.iter().map(|domain| domain.0).filter(|name| *name != CATCH_ALL);
            let list: String = names.map(|name| format!("{name}\n")).collect();
            write(&self.qmail.join("control/rejectnonexist"), list.as_bytes(), 0o644)?;
        }
        // qmail-send locks this file and never writes it.
        write(&self.qmail.join("queue/lock/sendmutex"), b"", 0o600)?;
        fs::create_dir_all(self.qmail.join("active"))
    }

    /// A stand-in for a host that has nothing but `sh`; [`super::qmail`] has the one for others.
    fn programs(&self) -> io::Result<()> {
        let newu = r#"#!/bin/sh
# Stand-in for qmail-newu: checks users/assign and writes users/cdb, by rename.
cd "${0%/*}/../users" || exit 111
[ "$(tail -n 1 assign)" = . ] || { echo "qmail-newu: fatal: bad format in users/assign" >&2; exit 111; }
while IFS= read -r line && [ "$line" != . ]; do
    case $line in
        [=+]*:*:*:*:*:*:*) printf '%s\n' "$line" ;;
        *) echo "qmail-newu: fatal: bad format in users/assign" >&2; exit 111 ;;
    esac
done <assign >cdb.tmp && mv cdb.tmp cdb
"#;
        write(&self.qmail.join("bin/qmail-newu"), newu.as_bytes(), 0o755)
    }

    fn users(&self) -> io::Result<()> {
        let mut assign = String::new();
        let mut passwords = String::new();
        let (user, group) = self.owner.split_once(':').unwrap_or((&self.owner, ""));
        let (uid, gid) = (number_of("/etc/passwd", user), number_of("/etc/group", group));
        // The new host has the domains already, and no accounts in them.
        for domain in self.content.domains.iter().filter(|_| self.role == Role::Old) {
            let (name, id) = (domain.0, self.id(domain));
            let home = self.qmail.join("mailnames").join(name);
            for account in domain.3 {
                let home = home.join(account).display().to_string();
                assign.push_str(&format!("={id}-{account}:{user}:{uid}:{gid}:{home}:::\n"));
                let hash = md5_crypt(PASSWORD, &format!("{account}sa"));
                passwords.push_str(&format!("{account}@{name}:{hash}\n"));
            }
            let first = home.join(domain.3.first().copied().unwrap_or_default()).display().to_string();
            assign.push_str(&format!("={id}-postmaster:{user}:{uid}:{gid}:{first}:::\n"));
            assign.push_str(&format!("+{id}-:{user}:{uid}:{gid}:{}:-::\n", home.display()));
        }
        if self.role == Role::New {
            let home = self.qmail.join("mailnames/local.example/root").display().to_string();
            assign.push_str(&format!("=1-root:{user}:{uid}:{gid}:{home}:::\n"));
            passwords.push_str("root@local.example:$1$rootsalt$abcdefghijkl0123456789\n");
        }
        assign.push_str(".\n");
        write(&self.qmail.join("users/assign"), assign.as_bytes(), 0o644)?;
        write(&self.qmail.join("users/cdb"), assign.trim_end_matches(".\n").as_bytes(), 0o644)?;
        write(&self.qmail.join("users/poppasswd"), passwords.as_bytes(), 0o600)
    }

    fn domain(&self, domain: &Domain) -> io::Result<()> {
        let home = self.qmail.join("mailnames").join(domain.0);
        let fallback = match domain.0 {
            CATCH_ALL => "&info@example.net\n",
            _ => "|bouncesaying 'no such address'\n",
        };
        write(&home.join(".qmail-default"), fallback.as_bytes(), 0o600)?;
        for (index, account) in domain.3.iter().enumerate() {
            let home = home.join(account);
            write(&home.join(".qmail"), b"| true\n| /usr/bin/deliverquota ./Maildir\n", 0o600)?;
            for part in ["", "new", "cur", "tmp"] {
                directory(&home.join("Maildir").join(part))?;
            }
            directory(&home.join("@attachments"))?;
            let stored = self.content.stored;
            let (bytes, messages) = (10_485_760.max(stored * 100_000), 1000.max(stored * 20));
            write(&home.join("Maildir/maildirsize"), format!("{bytes}S,{messages}C\n").as_bytes(), 0o600)?;
            if self.role == Role::Old {
                self.mail(&home, &format!("{account}@{}", domain.0), index)?;
            }
        }
        Ok(())
    }

    /// Mail in every state there is: unread, read, answered, flagged, in folders, with odd modes and 8-bit text.
    fn mail(&self, home: &Path, address: &str, index: usize) -> io::Result<()> {
        let maildir = home.join("Maildir");
        for (number, (part, flags, mode)) in PLACES.iter().cycle().take(self.content.stored).enumerate() {
            let age = (number as u64 + 1) * 7 * HOUR + index as u64 * 60;
            let text = message(address, number, self.now - age);
            let name = format!(
                "{}.M{number}P{}V0I{index}.old.lab.example,S={}{flags}",
                self.now - age,
                4000 + index,
                text.len()
            );
            let path = maildir.join(part).join(name);
            for sibling in ["", "new", "cur", "tmp"] {
                directory(&path.parent().and_then(Path::parent).unwrap_or(&maildir).join(sibling))?;
            }
            write(&path, &text, *mode)?;
            let time = UNIX_EPOCH + Duration::from_secs(self.now - age);
            fs::File::options().write(true).open(&path)?.set_modified(time)?;
            if number % PLACES.len() == 6 {
                oddly_owned(&path)?;
            }
        }
        for folder in [".Sent", ".Archive.2024"] {
            write(&maildir.join(folder).join("maildirfolder"), b"", 0o600)?;
        }
        write(&maildir.join("courierimapuiddb"), b"1 1600000000 9\n", 0o644)?;
        write(&maildir.join("dovecot-uidlist"), b"1 1600000000 9\n", 0o600)?;
        write(&maildir.join("subscriptions"), b"Sent\nArchive.2024\n", 0o600)?;
        let offer = home.join("@attachments/offer.txt");
        write(&offer, format!("An offer for {address}\n").as_bytes(), 0o644)?;
        oddly_owned(&offer)
    }
}

/// Returns a message as RFC 5322 has it, every other one with Latin-1 text.
fn message(address: &str, number: usize, time: u64) -> Vec<u8> {
    let date =
        jiff::Timestamp::from_second(time as i64).map(|time| time.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string());
    let mut text = format!(
        "Return-Path: <sender{number}@partner.example>\nDelivered-To: {address}\nFrom: Sender <sender{number}@partner.example>\n\
         To: {address}\nSubject: Message {number} for {address}\nDate: {}\nMessage-ID: <{time}.{number}.{address}>\n\
         MIME-Version: 1.0\nContent-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: 8bit\n\n",
        date.unwrap_or_default()
    )
    .into_bytes();
    for line in 0..=number * 3 % 100 {
        text.extend(format!("Line {line} of message {number}.\n").as_bytes());
    }
    if number % 2 == 1 {
        text.extend(b"Gr\xfc\xdfe\n");
    }
    text
}

/// Returns the third field of the line for `name` in a file like `passwd.5`; 0 if there is none.
fn number_of(file: &str, name: &str) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find(|line| line.split(':').next() == Some(name));
    line.and_then(|line| line.split(':').nth(2)).unwrap_or("0").into()
}

/// Gives a file to the numbers that a classic installation's `popuser` has, which mean nobody here. Only root can.
fn oddly_owned(path: &Path) -> io::Result<()> {
    match rustix::process::geteuid().is_root() {
        true => std::os::unix::fs::chown(path, Some(110), Some(31)),
        false => Ok(()),
    }
}

fn directory(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(path, bytes)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

// The tests run the real programs.
#[allow(clippy::disallowed_methods)]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_the_true_size_and_the_new_host_has_no_mail() {
        let root = tempfile::tempdir().unwrap();
        fill(&root.path().join("old"), Role::Old, ("root", "root")).unwrap();
        fill(&root.path().join("new"), Role::New, ("root", "root")).unwrap();
        let ann = "var/qmail/mailnames/example.com/ann/Maildir/cur";
        let names: Vec<_> =
            fs::read_dir(root.path().join("old").join(ann)).unwrap().map(|entry| entry.unwrap()).collect();
        assert_eq!(names.len(), 3);
        for entry in names {
            let name = entry.file_name().into_string().unwrap();
            assert!(name.contains(&format!(",S={}:2,", entry.metadata().unwrap().len())), "{name}");
        }
        assert_eq!(fs::read_dir(root.path().join("new").join(ann)).unwrap().count(), 0);
    }

    #[test]
    fn the_stand_in_for_qmail_newu_refuses_a_table_without_its_last_line() {
        let root = tempfile::tempdir().unwrap();
        fill(root.path(), Role::Old, ("root", "root")).unwrap();
        let newu = root.path().join("var/qmail/bin/qmail-newu");
        let assign = root.path().join("var/qmail/users/assign");
        assert!(std::process::Command::new(&newu).status().unwrap().success());
        let text = fs::read_to_string(&assign).unwrap();
        fs::write(&assign, text.trim_end_matches(".\n")).unwrap();
        assert_eq!(std::process::Command::new(&newu).status().unwrap().code(), Some(111));
    }
}
