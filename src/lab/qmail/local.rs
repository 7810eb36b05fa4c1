//! qmail-lspawn and qmail-local: one message to one local address, as `.qmail` files say.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Stdio;

use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::modules::mail::qmail::decode;

use super::dot_qmail::{self, Builtin, Instruction, Verdict};
use super::users::{self, Owner};
use super::{Home, Outcome, blocking, maildir, message};

/// What one delivery did, and the addresses the message goes on to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivered {
    pub outcome: Outcome,
    pub forwards: Vec<String>,
}

impl From<Outcome> for Delivered {
    fn from(outcome: Outcome) -> Delivered {
        Delivered { outcome, forwards: Vec::new() }
    }
}

/// One delivery: the recipient as `users/cdb` has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    pub user: String,
    pub home: PathBuf,
    pub dash: String,
    pub extension: String,
    /// The address in the local channel: `7-bob@example.com`.
    pub recipient: String,
    pub sender: String,
    /// The host's own name, for the names of messages.
    pub host: String,
}

/// Delivers to `recipient`, which is `LOCAL@DOMAIN`; as root in a process of the address's user.
pub async fn deliver(home: &Home, recipient: &str, sender: &str, message: Vec<u8>) -> Delivered {
    let local = recipient.rsplit_once('@').map_or(recipient, |(local, _)| local).to_string();
    let owner = match users::find(home, &local) {
        Ok(Some(owner)) => owner,
        // qmail-getpw gives what nobody has to the user alias.
        Ok(None) => Owner {
            user: "alias".into(),
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            home: home.path("alias").display().to_string(),
            dash: "-".into(),
            extension: local,
        },
        Err(error) => return Outcome::Deferral(format!("Unable to read users/cdb: {error}. (#4.3.0)")).into(),
    };
    let job = Job {
        user: owner.user,
        home: owner.home.into(),
        dash: owner.dash,
        extension: owner.extension,
        recipient: recipient.into(),
        sender: sender.into(),
        host: home.line("me").unwrap_or_default(),
    };
    let this = rustix::process::geteuid();
    if this.is_root() && owner.uid != 0 {
        return as_user(&job, (owner.uid, owner.gid), &message)
            .await
            .unwrap_or_else(|error| Outcome::Deferral(format!("Unable to run qmail-local: {error}. (#4.3.0)")).into());
    }
    job.run(message).await
}

/// Runs this program as another user; what it did is a line of JSON.
async fn as_user(job: &Job, (uid, gid): (u32, u32), message: &[u8]) -> io::Result<Delivered> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["lab", "qmail-local", &serde_json::to_string(job)?])
        .current_dir("/")
        .uid(uid)
        .gid(gid)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // Of a message that is not wanted it reads nothing.
        let _ = stdin.write_all(message).await;
    }
    let output = child.wait_with_output().await?;
    Ok(serde_json::from_slice(&output.stdout)?)
}

impl Job {
    /// Does what the `.qmail` file says, line by line; the first that fails ends it.
    pub async fn run(&self, message: Vec<u8>) -> Delivered {
        let mark = message::delivered_to(&self.recipient);
        let (instructions, default) = match self.instructions() {
            Ok(found) => found,
            Err(outcome) => return outcome.into(),
        };
        if message::is_looping(&message, &mark) {
            let why = "This message is looping: it already has my Delivered-To line. (#5.4.6)";
            return Outcome::Failure(why.into()).into();
        }
        let marked = [&message::return_path(&self.sender)[..], &mark, &message].concat();
        let mut forwards = Vec::new();
        let (mut files, mut programs) = (0, 0);
        for instruction in instructions {
            let done = match &instruction {
                Instruction::Maildir(directory) => self.file(directory, marked.clone(), &mut files).await,
                Instruction::Mbox(file) => {
                    Err(Outcome::Deferral(format!("Unable to open {file}: this stand-in has no mbox. (#4.2.1)")))
                }
                Instruction::Program(command) => {
                    programs += 1;
                    self.program(command, default.as_deref(), &message).await
                }
                Instruction::Forward(address) => {
                    forwards.push(address.clone());
                    Ok(Verdict::Done)
                }
            };
            match done {
                Ok(Verdict::Last) => break,
                Ok(_) => {}
                Err(outcome) => return outcome.into(),
            }
        }
        let did = format!("did_{files}+{}+{programs}/", forwards.len());
        Delivered { outcome: Outcome::Success(did), forwards }
    }

    /// Finds the `.qmail` file and reads it; `$DEFAULT` comes with it.
    fn instructions(&self) -> Result<(Vec<Instruction>, Option<String>), Outcome> {
        let later = |why: &str| Outcome::Deferral(why.into());
        let about = std::fs::metadata(&self.home);
        let about =
            about.map_err(|error| later(&format!("Unable to switch to {}: {error}. (#4.3.0)", self.home.display())))?;
        dot_qmail::check_home(about.permissions().mode()).map_err(later)?;
        for candidate in dot_qmail::candidates(&self.dash, &self.extension) {
            let path = self.home.join(&candidate.file);
            let about = match std::fs::metadata(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(later(&format!("Unable to open {}: {error}. (#4.3.0)", path.display()))),
                Ok(about) => about,
            };
            let mode = about.permissions().mode();
            dot_qmail::check_file(mode).map_err(later)?;
            let text =
                std::fs::read(&path).map_err(|error| later(&format!("Unable to read .qmail: {error}. (#4.3.0)")))?;
            if text.is_empty() {
                return Ok((vec![Instruction::Maildir("./Maildir/".into())], candidate.default));
            }
            let instructions = dot_qmail::read(&decode(&text), mode & 0o100 != 0).map_err(later)?;
            return Ok((instructions, candidate.default));
        }
        match self.dash.is_empty() {
            true => Ok((vec![Instruction::Maildir("./Maildir/".into())], None)),
            false => Err(Outcome::Failure("Sorry, no mailbox here by that name. (#5.1.1)".into())),
        }
    }

    async fn file(&self, directory: &str, message: Vec<u8>, files: &mut u32) -> Result<Verdict, Outcome> {
        let (maildir, host) = (self.home.join(directory), self.host.clone());
        let failed =
            |error: io::Error| Outcome::Deferral(format!("Temporary error on maildir delivery: {error}. (#4.3.0)"));
        blocking(move || maildir::deliver(&maildir, &message, &host)).await.map_err(failed)?;
        *files += 1;
        Ok(Verdict::Done)
    }

    async fn program(&self, command: &str, default: Option<&str>, message: &[u8]) -> Result<Verdict, Outcome> {
        match dot_qmail::builtin(command) {
            Some(Builtin::True) => return Ok(Verdict::Done),
            Some(Builtin::Bouncesaying(text)) => return Err(Outcome::Failure(text)),
            Some(Builtin::Deliverquota(directory)) => return self.deliverquota(&directory, message).await,
            None => {}
        }
        let (code, said) = self
            .shell(command, default, message)
            .await
            .map_err(|error| Outcome::Deferral(format!("Unable to fork: {error}. (#4.3.0)")))?;
        match dot_qmail::verdict(code) {
            Verdict::Bounce => Err(Outcome::Failure(said)),
            Verdict::Later => Err(Outcome::Deferral(said)),
            done => Ok(done),
        }
    }

    /// As the program of maildrop and Plesk: no lines are added, and above the quota mail bounces (exit code 77).
    async fn deliverquota(&self, directory: &str, message: &[u8]) -> Result<Verdict, Outcome> {
        let (maildir, host, message) = (self.home.join(directory), self.host.clone(), message.to_vec());
        let delivered = blocking(move || {
            let size = message.len() as u64;
            let quota = std::fs::read_to_string(maildir.join("maildirsize")).unwrap_or_default();
            if !maildir::is_within_quota(&quota, size) {
                return Ok(false);
            }
            maildir::deliver(&maildir, &message, &host)?;
            // The message is there: to defer it now would deliver it twice.
            let _ = maildir::count(&maildir, size);
            Ok(true)
        });
        match delivered.await {
            Ok(true) => Ok(Verdict::Done),
            Ok(false) => Err(Outcome::Failure("Mail quota exceeded.".into())),
            Err(error) => Err(Outcome::Deferral(format!("Temporary error on maildir delivery: {error}. (#4.3.0)"))),
        }
    }

    /// Runs a command with the message as its input; returns its exit code and what it said.
    async fn shell(&self, command: &str, default: Option<&str>, message: &[u8]) -> io::Result<(i32, String)> {
        let (local, host) = self.recipient.rsplit_once('@').unwrap_or((&self.recipient, ""));
        let line = |bytes: Vec<u8>| decode(&bytes);
        let mut child = Command::new("/bin/sh")
            .arg("-c")
            .arg(command)
            .current_dir(&self.home)
            .env("SENDER", &self.sender)
            .env("RECIPIENT", &self.recipient)
            .env("LOCAL", local)
            .env("HOST", host)
            .env("EXT", &self.extension)
            .env("USER", &self.user)
            .env("HOME", &self.home)
            .env("DEFAULT", default.unwrap_or(""))
            .env("DTLINE", line(message::delivered_to(&self.recipient)))
            .env("RPLINE", line(message::return_path(&self.sender)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdin = child.stdin.take();
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A program need not read the message.
                let _ = stdin.write_all(message).await;
            }
        };
        let ((), output) = tokio::join!(feed, child.wait_with_output());
        let output = output?;
        let said = decode(&[output.stdout, output.stderr].concat());
        Ok((output.status.code().unwrap_or(111), said.trim_end().to_string()))
    }
}

/// Delivers the message on stdin as a process of its own, and prints what it did: what [`deliver`] starts as root.
pub async fn main(job: &str) -> io::Result<String> {
    let job: Job = serde_json::from_str(job)?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let message = blocking(|| {
        let mut message = Vec::new();
        io::Read::read_to_end(&mut io::stdin(), &mut message)?;
        Ok(message)
    });
    Ok(serde_json::to_string(&job.run(message.await?).await)?)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::tests::home;
    use super::*;

    fn job(home: &Path, dash: &str, extension: &str) -> Job {
        Job {
            user: "pop".into(),
            home: home.into(),
            dash: dash.into(),
            extension: extension.into(),
            recipient: "7-bob@example.com".into(),
            sender: "ann@partner.example".into(),
            host: "old.example".into(),
        }
    }

    /// What a `.qmail` file comes to, with a Maildir beside it; and the text of the message that is then in `new`.
    async fn outcome(dot_qmail: &str, message: &[u8]) -> (Delivered, Option<Vec<u8>>) {
        let (directory, _) = home(&[(".qmail", dot_qmail), ("Maildir/maildirsize", "40S,0C\n0 0\n")]);
        ["new", "cur", "tmp"]
            .iter()
            .for_each(|part| std::fs::create_dir(directory.path().join("Maildir").join(part)).unwrap());
        let delivered = job(directory.path(), "", "").run(message.to_vec()).await;
        let new = std::fs::read_dir(directory.path().join("Maildir/new")).unwrap().next();
        (delivered, new.map(|entry| std::fs::read(entry.unwrap().path()).unwrap()))
    }

    #[tokio::test]
    async fn each_line_does_what_dot_qmail_says() {
        let text = &b"Subject: x\n\nhello\n"[..];
        let (did, new) = outcome("./Maildir/\n&a@b.example\n", text).await;
        assert_eq!(did.outcome, Outcome::Success("did_1+1+0/".into()));
        assert_eq!(did.forwards, ["a@b.example"]);
        let marked = b"Return-Path: <ann@partner.example>\nDelivered-To: 7-bob@example.com\nSubject: x\n\nhello\n";
        assert_eq!(new.unwrap(), marked);
        let (did, new) = outcome("| true\n| /usr/bin/deliverquota ./Maildir\n", text).await;
        assert_eq!((did.outcome, new.unwrap()), (Outcome::Success("did_0+0+2/".into()), text.to_vec()));
        let long = [text, b"more than forty bytes in all, which is the quota\n"].concat();
        let (did, new) = outcome("|deliverquota ./Maildir\n", &long).await;
        assert_eq!((did.outcome, new), (Outcome::Failure("Mail quota exceeded.".into()), None));
        let (did, _) = outcome("|echo no; exit 100\n./Maildir/\n", text).await;
        assert_eq!(did.outcome, Outcome::Failure("no".into()));
        let (did, new) = outcome("|exit 99\n./Maildir/\n", text).await;
        assert_eq!((did.outcome, new), (Outcome::Success("did_0+0+1/".into()), None));
        let (did, new) = outcome("|exit 111\n./Maildir/\n", text).await;
        assert_eq!((did.outcome, new), (Outcome::Deferral(String::new()), None));
        let (did, _) =
            outcome("|grep -q hello && [ \"$EXT$LOCAL@$HOST\" = 7-bob@example.com ] || exit 100\n", text).await;
        assert_eq!(did.outcome, Outcome::Success("did_0+0+1/".into()));
        let (did, _) = outcome("./Maildir/\n", b"Delivered-To: 7-bob@example.com\n\n").await;
        assert!(matches!(did.outcome, Outcome::Failure(why) if why.contains("looping")));
    }

    #[tokio::test]
    async fn a_mailbox_that_cannot_take_mail_now_defers_it_and_an_unknown_one_bounces_it() {
        let (directory, _) = home(&[(".qmail", "./Maildir/\n"), (".qmail-default", "|bouncesaying 'not here'\n")]);
        let path = directory.path();
        let text = b"\nhello\n".to_vec();
        let set = |name: &str, mode: u32| {
            std::fs::set_permissions(path.join(name), std::fs::Permissions::from_mode(mode)).unwrap();
        };
        let deferred = async |extension: &str| {
            matches!(job(path, "", extension).run(text.clone()).await.outcome, Outcome::Deferral(_))
        };
        assert!(deferred("").await, "there is no Maildir");
        for (name, mode, good) in
            [("", 0o1700, 0o700), ("", 0o702, 0o700), (".qmail", 0o602, 0o600), (".qmail", 0o700, 0o600)]
        {
            set(name, mode);
            assert!(deferred("").await, "{name} {mode:o}");
            set(name, good);
        }
        let unknown = job(path, "-", "nobody").run(text.clone()).await;
        assert_eq!(unknown.outcome, Outcome::Failure("not here".into()));
        std::fs::remove_file(path.join(".qmail-default")).unwrap();
        let unknown = job(path, "-", "nobody").run(text.clone()).await;
        assert!(matches!(unknown.outcome, Outcome::Failure(why) if why.contains("#5.1.1")));
    }
}
