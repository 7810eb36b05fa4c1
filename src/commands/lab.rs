//! `cutover lab`: an old and a new mail host on loopback, filled and ready, to see a move happen.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use crate::cli::Stop;
use crate::error::Diagnostic;
use crate::lab::traffic::{self, Plan, Traffic};
use crate::lab::{self, Lab, mail};

use super::{play, state};

pub mod programs;

/// Start two mail hosts on loopback and move a domain from one to the other.
///
/// Needs no root, no packages and no network. Without a subcommand it checks, runs and runs again while mail is sent
/// and read, counts what arrived, and cleans up. Exit code 2 says that mail was lost, doubled or bounced.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    what: Option<What>,
    /// Variables for the playbook, such as `domains=all`
    #[arg(short, long, value_name = "VARS", default_value = "domains=example.com")]
    extra_vars: Vec<String>,
    /// How many messages are sent meanwhile
    #[arg(long, value_name = "NUMBER", default_value_t = 1000)]
    messages: u64,
}

#[derive(clap::Subcommand)]
enum What {
    /// Start the hosts and keep them running; print what to try
    Up,
    /// End the hosts and remove their files
    Down,
    /// Serve a lab's hosts until ended; `lab up` starts this
    #[command(hide = true)]
    Serve { directory: PathBuf },
    #[command(flatten)]
    Program(programs::Program),
}

pub async fn run(arguments: &Arguments) -> Result<u8, Stop> {
    match &arguments.what {
        None => demonstrate(arguments).await,
        Some(What::Up) => up().await,
        Some(What::Down) => down(),
        Some(What::Serve { directory }) => serve(directory).await,
        Some(What::Program(program)) => Ok(programs::run(program).await),
    }
}

/// Checks, runs, runs again.
async fn demonstrate(arguments: &Arguments) -> Result<u8, Stop> {
    // A directory that only this user can enter; it goes when this function ends.
    let temp = tempfile::Builder::new().prefix("cutover-lab-").tempdir();
    let temp = temp.map_err(|error| broken(&std::env::temp_dir(), &error))?;
    let directory = temp.path().join("hosts");
    let program = std::env::current_exe().map_err(|error| broken(&directory, &error))?;
    let lab = Lab::start(&directory, &program).await.map_err(|error| broken(&directory, &error))?;
    let places = &lab.mail().places;
    let accounts = traffic::accounts(&domains(&arguments.extra_vars), places);
    let part = |part: f64| (arguments.messages as f64 * part) as u64;
    let pause = SPAN.div_f64(arguments.messages.max(1) as f64);
    let plan = Plan { messages: arguments.messages, pause, accounts };
    let traffic = Traffic::start(places, plan).map_err(|error| broken(&directory, &error))?;
    let mut code = 0;
    // However long a step takes, mail is left to be sent after it.
    let steps = [
        (0.1..0.4, "1. A check: what the move would change on each host. Nothing is touched.", true),
        (0.4..0.7, "2. The real run: the same changes, made, while mail comes in and users read.", false),
        (0.7..0.9, "3. The second run: everything is as asked, so nothing changes.", false),
    ];
    for (of_all, title, check) in steps {
        traffic.hold_at(part(of_all.end));
        traffic.until(part(of_all.start)).await;
        headline(title)?;
        let arguments = play::Arguments {
            playbooks: vec![lab.playbook()],
            inventory: vec![lab.inventory().display().to_string()],
            extra_vars: arguments.extra_vars.clone(),
            check,
            forks: 50,
            ..play::Arguments::default()
        };
        code = play::run(&arguments).await?;
        if code != 0 {
            break;
        }
    }
    if code == 0 {
        headline("4. The count: every message by its Message-ID and the digest of its text.")?;
        traffic.hold_at(arguments.messages);
        traffic.until(arguments.messages).await;
        let report = traffic.end().await.map_err(|error| broken(&directory, &error))?;
        say(&format!("{report}\n"))?;
        code = if report.is_clean() { 0 } else { 2 };
    }
    drop(lab);
    temp.close().map_err(|error| broken(&directory, &error))?;
    if code == 0 {
        say("Next: `cutover lab up` keeps such a pair running, to look at it and to try other domains\n\
             (`-e domains=all` moves all four).")?;
    }
    Ok(code)
}

/// How long the messages take.
const SPAN: Duration = Duration::from_secs(8);

fn headline(title: &str) -> Result<(), Stop> {
    say(&format!("\n{}\n{title}\n{0}", "=".repeat(79)))
}

/// The domains that `-e domains=` names; none are all.
fn domains(extra_vars: &[String]) -> Vec<String> {
    let mut named =
        extra_vars.iter().flat_map(|vars| vars.split_whitespace()).filter_map(|pair| pair.strip_prefix("domains="));
    let last = named.next_back().unwrap_or("all");
    last.split(',').filter(|name| *name != "all").map(str::to_string).collect()
}

/// Where `lab up` keeps its hosts.
fn home() -> PathBuf {
    state::directory().join("lab")
}

async fn up() -> Result<u8, Stop> {
    let directory = home();
    if lab::pid(&directory).is_some() {
        say(&format!("The lab is already up in {}", directory.display()))?;
        return usage(&directory);
    }
    let program = std::env::current_exe().map_err(|error| broken(&directory, &error))?;
    lab::prepare(&directory, &program).map_err(|error| broken(&directory, &error))?;
    let log = std::fs::File::create(directory.join("serve.log")).map_err(|error| broken(&directory, &error))?;
    // The one process that is started outside a transport: this program itself, to outlive this call.
    #[allow(clippy::disallowed_methods)]
    let mut command = std::process::Command::new(program);
    command.args(["lab", "serve"]).arg(&directory).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command.spawn().map_err(|error| broken(&directory, &error))?;
    for _ in 0..200 {
        if lab::pid(&directory).is_some() {
            say(&format!("The lab is up in {}", directory.display()))?;
            return usage(&directory);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let log = directory.join("serve.log");
    Err(Diagnostic::new("the lab's hosts did not start").hint(format!("see `{}`", log.display())).into())
}

/// Prints the commands to play with.
fn usage(directory: &Path) -> Result<u8, Stop> {
    let (inventory, playbook) = (lab::inventory(directory), lab::playbook(directory));
    let services = std::fs::read_to_string(mail::services_file(directory)).unwrap_or_default();
    let play = format!("cutover play -i {} {}", inventory.display(), playbook.display());
    say(&format!(
        "\nTry:\n  {play} -e domains=example.com --check\n  {play} -e domains=example.com\n  {play} -e domains=all\n  \
         find {old} {new} -type f\n  cutover lab down\n\nSend mail by hand, here through the old host, and read it (the password of every \
         account is `{password}`):\n  printf '%s\\r\\n' 'HELO x' 'MAIL FROM:<you@outside.example>' 'RCPT TO:<ann@example.com>' DATA \\\n    \
         'Subject: hello' '' 'Hello.' . QUIT | {old}/var/qmail/bin/qmail-smtpd\n  \
         printf '%s\\r\\n' 'USER ann@example.com' 'PASS {password}' UIDL 'RETR 1' QUIT | {old}/var/qmail/bin/qmail-pop3d\n\n\
         Or at these ports:\n{services}",
        password = lab::fill::PASSWORD,
        old = directory.join("old").display(),
        new = directory.join("new").display(),
        services = services.lines().map(|line| format!("  {line}\n")).collect::<String>().trim_end(),
    ))?;
    Ok(0)
}

fn down() -> Result<u8, Stop> {
    let directory = home();
    if !directory.exists() {
        say("The lab is not up.")?;
        return Ok(0);
    }
    lab::end(&directory).map_err(|error| broken(&directory, &error))?;
    say("The lab is down; its files are gone.")?;
    Ok(0)
}

async fn serve(directory: &Path) -> Result<u8, Stop> {
    let lab = Lab::serve(directory).await.map_err(|error| broken(directory, &error))?;
    lab.until_ended().await.map_err(|error| broken(directory, &error))?;
    Ok(0)
}

fn say(text: &str) -> Result<(), Stop> {
    writeln!(anstream::stdout(), "{text}").map_err(Stop::Output)
}

fn broken(directory: &Path, error: &std::io::Error) -> Stop {
    let hint = "the lab needs a directory it can write and free ports on 127.0.0.1";
    Stop::from(Diagnostic::new(format!("the lab in `{}` failed: {error}", directory.display())).hint(hint))
}
