//! `cutover resume`: goes on with a run that was killed, cut off or failed.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use super::passwords::Passwords;
use super::play::{self, GoesOn};
use super::printing::Printing;
use super::replay::{Replay, replay};
use super::runs;
use super::state;
use crate::change::Change;
use crate::cli::Stop;
use crate::error::Diagnostic;
use crate::inventory::Inventory;
use crate::run::Mode;
use crate::run::earlier::Earlier;
use crate::run::journal::{Head, Recipe};
use crate::run::plan::{Before, Plan, Read};
use crate::run::record::Record;
use crate::vars::{self, Fleet};

/// Go on with a run where it stopped, on each host.
///
/// What the journal has as done is not done again. Of a change that may or may not have been made the host is asked; only
/// of a command nobody can tell. Playbooks are run again: commands that have run give the result that they gave then, and
/// what was changed counts as changed, so that its handlers run.
#[derive(clap::Args)]
pub struct Arguments {
    /// The run's id, the beginning of it, or `last`: the newest of playbooks or a plan
    #[arg(value_name = "RUN")]
    run: String,
    /// What to do with a command that may or may not have run
    #[arg(long, value_name = "WHAT")]
    doubtful: Option<Doubtful>,
    /// Variables with passwords, and for playbooks those that the run was given: `k=v`, JSON or YAML, `@FILE`; may be repeated
    #[arg(short, long, value_name = "VARS")]
    extra_vars: Vec<String>,
    #[command(flatten)]
    passwords: Passwords,
    #[command(flatten)]
    locking: state::Locking,
    #[command(flatten)]
    printing: Printing,
}

/// What to do with a command of which it is not known whether it ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Doubtful {
    /// Run it, perhaps again
    Run,
    /// Take it for done
    Skip,
}

/// How many seconds a resume waits for a lock at least.
const SETTLING: u64 = 10;

pub async fn run(arguments: &Arguments) -> Result<u8, Stop> {
    let directory = state::runs();
    let record = match arguments.run.as_str() {
        "last" => Record::last_to_resume(&directory)?,
        id => Record::find(&directory, id)?,
    };
    let (id, head) = (record.id.clone(), record.head.clone());
    if record.ended == Some(0) {
        writeln!(anstream::stderr(), "run {id} has come to its end: nothing to go on with").map_err(Stop::Output)?;
        return Ok(0);
    }
    record.is_over()?;
    record.is_open_to_resume(&directory)?;
    if let Some(torn) = runs::torn(&record) {
        writeln!(anstream::stderr(), "{torn}").map_err(Stop::Output)?;
    }
    // What an earlier run made is in its own journal.
    let chain = record.chain(&directory)?;
    let Some(read) = &head.plan else { return playbooks(arguments, &chain).await };
    let mut record = Record::default();
    for before in chain {
        record.entries.extend(before.entries);
        record.found.extend(before.found);
    }
    let path = Path::new(&read.path);
    if Read::of(path)? != *read {
        let message = format!("`{}` is not the plan that run `{id}` has applied", read.path);
        return Err(Diagnostic::new(message).hint("make a new plan of what is left: `cutover plan`").into());
    }
    let passwords = arguments.passwords.ask()?;
    let plan = Plan::load(path, passwords.vault.as_ref())?;
    if let Some(step) = plan.steps.iter().find(|step| step.sealed.is_some()) {
        return Err(step.encrypted().into());
    }
    let mut before = Before::of(&record, &plan);
    settle(&mut before, &plan, arguments.doubtful)?;
    let fleet = Fleet::new(Inventory::load(&head.inventory)?, vars::extra(&arguments.extra_vars)?);
    replay(Replay {
        before,
        mode: Mode::Apply,
        journal: Head { resumes: Some(id), ..head.clone() },
        fleet: Arc::new(fleet),
        plan,
        passwords,
        locking: locking(arguments).rules(),
        limit: None,
        forks: 50,
        name: format!("resume {}", arguments.run),
        printing: arguments.printing.clone(),
    })
    .await
}

/// Runs the playbooks of a run again; the journals of it and those before it say what has been done, the oldest first.
async fn playbooks(arguments: &Arguments, chain: &[Record]) -> Result<u8, Stop> {
    let (id, head) = chain.last().map(|record| (record.id.clone(), record.head.clone())).unwrap_or_default();
    if head.guarded.is_some() {
        let error =
            Diagnostic::new(format!("run `{id}` kept to a plan (`--open run`), and is not gone on with by itself"));
        return Err(error.hint("make a new plan of what is left: `cutover plan`").into());
    }
    let Some(Recipe { directory, read, arguments: kept, files, given }) = head.play else {
        let hint = format!("run it again, it goes on where it stopped: `cutover play {}`", head.playbooks.join(" "));
        return Err(Diagnostic::new(format!("run `{id}` does not say how it was run")).hint(hint).into());
    };
    let here = std::env::current_dir().map_err(state::unwritable)?;
    std::env::set_current_dir(&directory)
        .map_err(|error| Diagnostic::new(format!("the directory `{directory}` of run `{id}`: {error}")))?;
    for read in &read {
        if Read::of(Path::new(&read.path))? != *read {
            let error = Diagnostic::new(format!("`{}` has changed since run `{id}`", read.path));
            return Err(error.hint("what was done is not known by another playbook: run it anew").into());
        }
    }
    if play::given(&arguments.extra_vars) != given {
        let names = if given.is_empty() { "no variables".into() } else { format!("`{}`", given.join("`, `")) };
        let error =
            Diagnostic::new(format!("run `{id}` was given {names} with `-e`, and its journal has no values of them"));
        return Err(error.hint("give the same again: `-e NAME=VALUE`").into());
    }
    let taken = arguments.doubtful.map(|doubtful| doubtful == Doubtful::Skip);
    let (earlier, decisions) = Earlier::of(chain, taken).map_err(|open| {
        let texts: Vec<String> = open.into_iter().map(|doubt| doubt.text).collect();
        undecided(&texts)
    })?;
    let mut given: play::Arguments = serde_json::from_value(kept)
        .map_err(|error| Diagnostic::new(format!("run `{id}` does not say how it was run: {error}")))?;
    let named = arguments.extra_vars.iter().map(|text| match text.trim_start().strip_prefix('@') {
        Some(file) => format!("@{}", here.join(file).display()),
        None => text.clone(),
    });
    given.extra_vars = files.into_iter().chain(named).collect();
    (given.passwords, given.locking) = (arguments.passwords.clone(), locking(arguments));
    given.printing = arguments.printing.clone();
    play::again(given, GoesOn { with: id, earlier, decisions }).await
}

/// What the killed run had begun may still go on for a moment, and holds its host.
fn locking(arguments: &Arguments) -> state::Locking {
    state::Locking { wait_lock: arguments.locking.wait_lock.max(SETTLING), ..arguments.locking }
}

/// The error for what only the user can decide.
fn undecided(open: &[String]) -> Diagnostic {
    let message = format!("it is not known what became of these:\n  {}", open.join("\n  "));
    Diagnostic::new(message).hint("look at what they do, then `--doubtful run` or `--doubtful skip`")
}

/// Decides about commands that may or may not have run.
fn settle(before: &mut Before, plan: &Plan, doubtful: Option<Doubtful>) -> Result<(), Diagnostic> {
    let mut open = Vec::new();
    for (index, step) in plan.steps.iter().enumerate() {
        if let Some((change @ Change::Run { .. }, _)) = before.doubtful(index, step) {
            match doubtful {
                Some(decided) => before.settle(index, decided == Doubtful::Skip),
                None => open.push(format!("`{}`: {}", step.machine(), change.in_short(step.secrecy()))),
            }
        }
    }
    match open.is_empty() {
        true => Ok(()),
        false => Err(undecided(&open)),
    }
}
