//! `cutover window`: brings domains on their way from old hosts to new ones, each when it is due.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::passwords::Passwords;
use super::play;
use super::printing::Printing;
use super::state;
use crate::cli::Stop;
use crate::error::Diagnostic;
use crate::report::fleet;
use crate::window::{Rules, State, Store, Window, table};

mod install;
mod night;
mod pairs;
mod undone;

/// Bring domains on their way from old hosts to new ones, each when it is due.
///
/// The pairs are the hosts of the group `old`; each one's `new_host` is where its `domains` go. A domain is planned,
/// prepared, forwarding, switched, moved, draining, retired; the playbooks in `stages` bring it from one to the next, when
/// its gate is open: the old TTL has run out, the old host's queue is empty, nothing was delivered there for days.
/// Without `--due` it only says what is due. Exit codes are those of `play`.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    night: Night,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Note that domains are in a state that something else has brought them to, such as `cutover undo`
    Set(Set),
    /// Do nothing for domains until they are let go
    Hold(Hold),
    /// Run what is due each night: by a timer of systemd, or a line of crontab
    Install(install::Arguments),
}

/// What a night's run is told.
#[derive(clap::Args, Clone)]
pub struct Night {
    /// Do what is due
    #[arg(long)]
    due: bool,
    #[command(flatten)]
    fleet: FleetOf,
    /// Only these domains, with commas
    #[arg(long, value_name = "DOMAINS", value_delimiter = ',')]
    domains: Vec<String>,
    /// Begin nothing new at this time of day and after it
    #[arg(long, value_name = "HH:MM")]
    until: Option<String>,
    /// Bring at most so many domains further, each step of each domain counted
    #[arg(long, value_name = "N")]
    budget: Option<usize>,
    /// Bring them as far as this
    #[arg(long, value_name = "STATE", default_value = "draining", value_parser = state_of)]
    to: State,
    /// How many domains one run of playbooks takes
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..))]
    batch: u16,
    /// End with 3 where something is due, or was done
    #[arg(long)]
    exit_code: bool,
    #[command(flatten)]
    passwords: Passwords,
    #[command(flatten)]
    locking: state::Locking,
    #[command(flatten)]
    printing: Printing,
}

/// Which fleet it is about.
#[derive(clap::Args, Clone)]
pub struct FleetOf {
    /// Inventory: a file, or a directory; may be repeated
    #[arg(short, long, value_name = "INVENTORY", env = "ANSIBLE_INVENTORY")]
    inventory: Vec<String>,
    /// Variables stronger than all others: `k=v`, JSON or YAML, `@FILE`; may be repeated
    #[arg(short, long, value_name = "VARS")]
    extra_vars: Vec<String>,
    /// The directory of the playbooks
    #[arg(long, value_name = "DIRECTORY", default_value = "playbooks")]
    playbooks: PathBuf,
    #[command(flatten)]
    window: WindowOf,
}

/// Where the window is kept, and when its last gate opens.
#[derive(clap::Args, Clone)]
pub struct WindowOf {
    /// The window's file; `window.json` in the state directory unless given
    #[arg(long, value_name = "FILE")]
    window: Option<PathBuf>,
    /// Hours without a delivery into a mailbox of the old host before it is retired
    #[arg(long, value_name = "HOURS", default_value_t = Rules::default().quiet_hours)]
    quiet_hours: u32,
    /// Days that the old host forwards at least
    #[arg(long, value_name = "DAYS", default_value_t = Rules::default().days)]
    days: u32,
}

#[derive(clap::Args)]
struct Set {
    /// The domains, with commas
    #[arg(value_name = "DOMAINS", value_delimiter = ',', required = true)]
    domains: Vec<String>,
    /// The state
    #[arg(value_name = "STATE", value_parser = state_of)]
    state: State,
    #[command(flatten)]
    fleet: FleetOf,
}

#[derive(clap::Args)]
struct Hold {
    /// The domains, with commas
    #[arg(value_name = "DOMAINS", value_delimiter = ',', required = true)]
    domains: Vec<String>,
    /// Let them go
    #[arg(long)]
    release: bool,
    #[command(flatten)]
    window: WindowOf,
}

/// Show how far each domain is.
#[derive(clap::Args)]
pub struct Status {
    #[command(flatten)]
    window: WindowOf,
    /// Only these domains, with commas
    #[arg(long, value_name = "DOMAINS", value_delimiter = ',')]
    domains: Vec<String>,
    /// Write a page for a browser here, too
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

impl WindowOf {
    fn path(&self) -> PathBuf {
        self.window.clone().unwrap_or_else(|| state::directory().join("window.json"))
    }

    fn rules(&self) -> Rules {
        Rules { quiet_hours: self.quiet_hours, days: self.days }
    }
}

fn state_of(name: &str) -> Result<State, String> {
    let names: Vec<&str> = State::ALL.iter().map(|state| state.name()).collect();
    State::named(name).ok_or_else(|| format!("the states are {}", names.join(", ")))
}

/// Returns the time, in seconds since 1970.
fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

pub async fn run(arguments: &Arguments) -> Result<u8, Stop> {
    match &arguments.action {
        Some(Action::Set(set)) => self::set(set),
        Some(Action::Hold(hold)) => self::hold(hold),
        Some(Action::Install(install)) => install::run(install).await,
        None => night::run(&arguments.night).await,
    }
}

/// Returns the domains that are named, or all; a name that the window does not have is an error.
fn named(window: &Window, names: &[String]) -> Result<Vec<String>, Diagnostic> {
    let known: Vec<&str> = window.domains.iter().map(|domain| domain.name.as_str()).collect();
    match names.iter().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(Diagnostic::new(format!("the window has no domain `{name}`")).suggest(name, known)),
        None if names.is_empty() => Ok(known.into_iter().map(str::to_string).collect()),
        None => Ok(names.to_vec()),
    }
}

fn set(arguments: &Set) -> Result<u8, Stop> {
    let (store, mut window) = Store::open(&arguments.fleet.window.path())?;
    if !arguments.fleet.inventory.is_empty() {
        for listed in pairs::listed(&arguments.fleet)? {
            // Without a list a pair has what the old host has; who sets a state knows that it is one of them.
            let known = |name: &&String| !window.domains.iter().any(|domain| domain.name == **name);
            let named = || arguments.domains.iter().filter(known).cloned().collect();
            let domains = listed.domains.unwrap_or_else(named);
            window.take_in(&listed.pair, &domains, now()).map_err(Diagnostic::new)?;
        }
    }
    let names = named(&window, &arguments.domains).map_err(|error| {
        match arguments.fleet.inventory.is_empty() && error.hint.is_none() {
            true => error.hint("domains that no night has seen yet come from the inventory: `-i`"),
            false => error,
        }
    })?;
    let mut out = anstream::stdout();
    for domain in window.domains.iter_mut().filter(|domain| names.contains(&domain.name)) {
        let was = domain.state.name();
        domain.reach(arguments.state, now());
        writeln!(out, "{}: {was} -> {}", domain.name, arguments.state.name()).map_err(Stop::Output)?;
    }
    store.save(&window)?;
    Ok(0)
}

fn hold(arguments: &Hold) -> Result<u8, Stop> {
    let (store, mut window) = Store::open(&arguments.window.path())?;
    let names = named(&window, &arguments.domains)?;
    window
        .domains
        .iter_mut()
        .filter(|domain| names.contains(&domain.name))
        .for_each(|domain| domain.hold(!arguments.release));
    store.save(&window)?;
    let what = if arguments.release { "let go" } else { "held" };
    writeln!(anstream::stdout(), "{}: {what}", names.join(", ")).map_err(Stop::Output)?;
    Ok(0)
}

pub fn status(arguments: &Status) -> Result<u8, Stop> {
    let mut window = Store::read(&arguments.window.path())?;
    let names = named(&window, &arguments.domains)?;
    window.domains.retain(|domain| names.contains(&domain.name));
    let rows = table::rows(&window, &arguments.window.rules(), now());
    let mut out = anstream::stdout();
    if rows.is_empty() {
        let hint = "`cutover window -i INVENTORY --due` begins one";
        writeln!(out, "no domain is on its way: {hint}").map_err(Stop::Output)?;
    } else {
        table::lines(&rows).iter().try_for_each(|line| writeln!(out, "{line}")).map_err(Stop::Output)?;
    }
    if let Some(path) = &arguments.html {
        let made = format!("as of {} UTC", crate::window::gates::at(now(), "%Y-%m-%d %H:%M"));
        write_page(path, &fleet::page(&rows, &made))?;
    }
    Ok(0)
}

fn write_page(path: &Path, page: &str) -> Result<(), Diagnostic> {
    std::fs::write(path, page)
        .map_err(|error| Diagnostic::new(format!("the page `{}` cannot be written: {error}", path.display())))
}

impl Night {
    /// Returns what runs these stages for domains of one pair.
    fn play(&self, old: &str, stages: &[&str], domains: &[String]) -> play::Arguments {
        let stage = |name: &&str| self.fleet.playbooks.join("stages").join(format!("{name}.yml"));
        let mut extra_vars = self.fleet.extra_vars.clone();
        extra_vars.push(serde_json::json!({ "domains": domains }).to_string());
        play::Arguments {
            playbooks: stages.iter().map(stage).collect(),
            inventory: self.fleet.inventory.clone(),
            limit: Some(old.into()),
            extra_vars,
            forks: 50,
            passwords: self.passwords.clone(),
            locking: self.locking,
            printing: self.printing.in_short(),
            ..play::Arguments::default()
        }
    }
}
