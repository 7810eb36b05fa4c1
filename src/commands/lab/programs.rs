//! The lab's stand-ins for qmail's programs: by `cutover lab NAME DIRECTORY`, or by a link named so in its `bin`.

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use crate::lab::qmail::inject::{self, Given};
use crate::lab::qmail::listen::{self, Service};
use crate::lab::qmail::queue::{Envelope, Queue};
use crate::lab::qmail::{Home, PROGRAMS, local, pop3d, send, users};

/// One of qmail's programs. DIRECTORY is the installation's, such as /var/qmail; exit code 111 is a temporary failure.
#[derive(clap::Subcommand)]
pub enum Program {
    /// Deliver what is queued, until SIGTERM; SIGHUP rereads locals and virtualdomains, SIGALRM makes all mail due
    #[command(hide = true)]
    QmailSend { directory: PathBuf },
    /// Take mail by SMTP at ADDRESS:PORT until SIGTERM, or serve the one connection on stdin and stdout
    ///
    /// At port 0 it takes a free one. It prints `listening ADDRESS:PORT`. RELAYCLIENT and TCPREMOTEIP count as below tcpserver.
    #[command(hide = true)]
    QmailSmtpd { directory: PathBuf, address: Option<String> },
    /// Let users read by POP3 at ADDRESS:PORT until SIGTERM, or serve the one connection on stdin and stdout
    ///
    /// At port 0 it takes a free one. It prints `listening ADDRESS:PORT`. Each session is a process of its own, as root one of the
    /// mailbox's user, and goes on when the listener ends. Logins to the domains in `active/closed` are refused.
    #[command(hide = true)]
    QmailPop3d {
        directory: PathBuf,
        address: Option<String>,
        /// The session of one who has logged in
        #[arg(long = "as", hide = true, value_name = "LOGIN")]
        login: Option<String>,
    },
    /// Queue the message on stdin for the recipients, or for those in its header
    #[command(hide = true)]
    QmailInject {
        directory: PathBuf,
        /// The recipients on the command line count, as they do anyway
        #[arg(short)]
        a: bool,
        /// The envelope's sender
        #[arg(short = 'f', value_name = "SENDER")]
        sender: Option<String>,
        recipients: Vec<String>,
    },
    /// Make users/cdb from users/assign
    #[command(hide = true)]
    QmailNewu { directory: PathBuf },
    /// Make control/morercpthosts.cdb from control/morercpthosts
    #[command(hide = true)]
    QmailNewmrh { directory: PathBuf },
    /// Print the messages in the queue with their recipients
    #[command(hide = true)]
    QmailQread { directory: PathBuf },
    /// Print how many messages are in the queue
    #[command(hide = true)]
    QmailQstat { directory: PathBuf },
    /// Queue the message on descriptor 0 with the envelope on descriptor 1 (qmail-queue.8)
    #[command(hide = true)]
    QmailQueue { directory: PathBuf },
    /// Deliver the message on stdin as this user; qmail-send starts this as root
    #[command(hide = true)]
    QmailLocal { job: String },
}

/// qmail-queue: what calls it has the message on descriptor 0, and then the envelope on descriptor 1, which is read.
fn queue(home: &Home) -> io::Result<()> {
    let mut message = Vec::new();
    io::stdin().read_to_end(&mut message)?;
    let mut envelope = Vec::new();
    std::fs::File::from(io::stdout().as_fd().try_clone_to_owned()?).read_to_end(&mut envelope)?;
    Queue::of(home).add(&message, &Envelope::read(&envelope)?).map(|_| ())
}

/// Returns the arguments of `cutover`, given those of this process: called by a link named as one of qmail's programs, it
/// is that program of the installation whose `bin` the link is in.
pub fn arguments(given: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let given: Vec<OsString> = given.collect();
    let called = given.first().map(PathBuf::from).unwrap_or_default();
    let name = called.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if !PROGRAMS.contains(&name) {
        return given;
    }
    let bin = called.parent().filter(|bin| !bin.as_os_str().is_empty());
    let directory = match bin.and_then(Path::parent) {
        Some(directory) if directory.as_os_str().is_empty() => ".".into(),
        Some(directory) => directory.to_path_buf(),
        // It was found on the path.
        None => PathBuf::from("/var/qmail"),
    };
    let words = ["cutover", "lab", name].map(OsString::from);
    words.into_iter().chain([directory.into()]).chain(given.into_iter().skip(1)).collect()
}

/// Runs a program; its exit code is the one that qmail's has.
pub async fn run(program: &Program) -> u8 {
    let (name, ended) = match program {
        Program::QmailSend { directory } => {
            let ended = send::main(home(directory)).await;
            ("qmail-send", ended.map(|ended| if ended == send::Ended::AlreadyRunning { 111 } else { 0 }))
        }
        Program::QmailSmtpd { directory, address } => {
            ("qmail-smtpd", serve(home(directory), Service::Smtp, address.as_deref()).await.map(|()| 0))
        }
        Program::QmailPop3d { directory, login: Some(login), .. } => {
            ("qmail-pop3d", pop3d::enter(&home(directory), login).map(|()| 0))
        }
        Program::QmailPop3d { directory, address, login: None } => {
            ("qmail-pop3d", serve(home(directory), Service::Pop3, address.as_deref()).await.map(|()| 0))
        }
        Program::QmailInject { directory, sender, recipients, .. } => {
            let given = Given { sender: sender.clone(), recipients: recipients.clone() };
            ("qmail-inject", inject::main(home(directory), given).await.map(|()| 0))
        }
        Program::QmailNewu { directory } => ("qmail-newu", users::newu(&home(directory)).map(|()| 0)),
        Program::QmailNewmrh { directory } => ("qmail-newmrh", users::newmrh(&home(directory)).map(|()| 0)),
        Program::QmailQread { directory } => ("qmail-qread", print(&Queue::of(&home(directory)).listing())),
        Program::QmailQstat { directory } => ("qmail-qstat", print(&Queue::of(&home(directory)).counts())),
        Program::QmailQueue { directory } => ("qmail-queue", queue(&home(directory)).map(|()| 0)),
        Program::QmailLocal { job } => (
            "qmail-local",
            match local::main(job).await {
                Ok(text) => print(&text),
                Err(error) => Err(error),
            },
        ),
    };
    ended.unwrap_or_else(|error| {
        let _ = writeln!(anstream::stderr(), "{name}: fatal: {error}");
        111
    })
}

/// The directory from the root, because programs change theirs.
fn home(directory: &Path) -> Home {
    Home::new(std::path::absolute(directory).unwrap_or_else(|_| directory.to_path_buf()))
}

async fn serve(home: Home, service: Service, address: Option<&str>) -> io::Result<()> {
    match address {
        Some(address) => listen::serve(home, service, address).await,
        None => listen::serve_one(home, service).await,
    }
}

fn print(text: &str) -> io::Result<u8> {
    anstream::stdout().write_all(text.as_bytes()).map(|()| 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_in_bin_is_the_program_of_its_installation() {
        let rows = [
            (&["/usr/bin/cutover", "play", "x.yml"][..], "/usr/bin/cutover play x.yml"),
            (&["/var/qmail/bin/qmail-newu"], "cutover lab qmail-newu /var/qmail"),
            (&["./bin/qmail-smtpd", "127.0.0.1:0"], "cutover lab qmail-smtpd . 127.0.0.1:0"),
            (&["bin/qmail-send"], "cutover lab qmail-send ."),
            (&["qmail-qread"], "cutover lab qmail-qread /var/qmail"),
        ];
        for (given, expected) in rows {
            let found = arguments(given.iter().map(OsString::from));
            let found: Vec<String> = found.into_iter().map(|word| word.into_string().unwrap()).collect();
            assert_eq!(found.join(" "), expected);
        }
    }
}
