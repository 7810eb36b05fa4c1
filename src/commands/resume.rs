//! `cutover resume`: goes on with the plan of a run that was killed, cut off or failed.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use super::passwords::Passwords;
use super::replay::{Replay, replay};
use super::state;
use crate::change::Change;
use crate::cli::Stop;
use crate::error::Diagnostic;
use crate::inventory::Inventory;
use crate::run::Mode;
use crate::run::journal::Head;
use crate::run::plan::{Before, Plan, Read};
use crate::run::record::Record;
use crate::vars::{self, Fleet};

/// Go on with a plan where its run stopped, on each host.
///
/// What the journal has as done is not done again. Of a change that may or may not have been made the host is asked; only
/// of a command nobody can tell. A run of playbooks is gone on with by running them again.
#[derive(clap::Args)]
pub struct Arguments {
    /// The run's id, the beginning of it, or `last`: the newest that has applied a plan
    #[arg(value_name = "RUN")]
    run: String,
    /// What to do with a command that may or may not have run
    #[arg(long, value_name = "WHAT")]
    doubtful: Option<Doubtful>,
    /// Variables with passwords: `k=v`, JSON or YAML, `@FILE`; may be repeated
    #[arg(short, long, value_name = "VARS")]
    extra_vars: Vec<String>,
    #[command(flatten)]
    passwords: Passwords,
    #[command(flatten)]
    locking: state::Locking,
    /// Do not show differences
    #[arg(long)]
    no_diff: bool,
    /// Say more
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
}

/// What to do with a command of which it is not known whether it ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Doubtful {
    /// Run it, perhaps again
    Run,
    /// Take it for done
    Skip,
}

pub async fn run(arguments: &Arguments) -> Result<u8, Stop> {
    let directory = state::runs();
    let mut record = match arguments.run.as_str() {
        "last" => Record::last_with_plan(&directory)?,
        id => Record::find(&directory, id)?,
    };
    let (id, head) = (record.id.clone(), record.head.clone());
    let Some(read) = &head.plan else {
        let message = format!("run `{id}` was no `apply`: it has no plan to go on with");
        let hint = format!("run it again, it goes on where it stopped: `cutover play {}`", head.playbooks.join(" "));
        return Err(Diagnostic::new(message).hint(hint).into());
    };
    if record.ended == Some(0) {
        writeln!(anstream::stderr(), "run {id} has come to its end: nothing to go on with").map_err(Stop::Output)?;
        return Ok(0);
    }
    record.is_over()?;
    // What an earlier run made is in its own journal.
    let mut earlier = head.resumes.clone();
    while let Some(before) = earlier {
        let mut before = Record::find(&directory, &before)?;
        earlier = before.head.resumes.clone();
        before.entries.append(&mut record.entries);
        record.entries = before.entries;
        record.found.append(&mut before.found);
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
        locking: arguments.locking.rules(),
        limit: None,
        forks: 50,
        verbosity: arguments.verbose,
        diffs: !arguments.no_diff,
    })
    .await
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
        false => {
            let message = format!("it is not known whether these ran:\n  {}", open.join("\n  "));
            Err(Diagnostic::new(message).hint("look at what they do, then `--doubtful run` or `--doubtful skip`"))
        }
    }
}
