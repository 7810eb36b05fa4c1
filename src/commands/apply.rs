//! `cutover apply`: makes exactly the changes of a plan, on hosts that are as it takes them to be.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use super::passwords::Passwords;
use super::replay::{Replay, replay};
use super::sign::Verification;
use super::state;
use crate::cli::Stop;
use crate::error::Diagnostic;
use crate::inventory::Inventory;
use crate::report::review;
use crate::run::Mode;
use crate::run::journal::Head;
use crate::run::plan::{Before, Plan, Read, Step};
use crate::vars::{self, Fleet};

/// Apply a plan: exactly its changes, in its order.
///
/// Every host is compared with the plan first; one that is no longer as it was is left alone, and the others go on. No
/// module and no template runs. Passwords come from the inventory, or are asked for.
#[derive(clap::Args)]
pub struct Arguments {
    /// The plan, as `cutover plan -o` saved it
    #[arg(value_name = "PLAN")]
    plan: PathBuf,
    /// The inventory to take passwords from, if not the one that the plan was made with
    #[arg(short, long, value_name = "INVENTORY")]
    inventory: Vec<String>,
    /// Variables with passwords: `k=v`, JSON or YAML, `@FILE`; may be repeated
    #[arg(short, long, value_name = "VARS")]
    extra_vars: Vec<String>,
    /// Change nothing; compare the hosts with the plan and show it
    #[arg(short = 'C', long)]
    check: bool,
    /// Only these hosts, with commas
    #[arg(short, long, value_name = "HOSTS")]
    limit: Option<String>,
    /// What to do with steps that only a run can decide
    #[arg(long, value_name = "WHAT")]
    open: Option<Open>,
    /// How many hosts work on a task at once
    #[arg(short, long, default_value_t = 50, value_name = "N")]
    forks: usize,
    #[command(flatten)]
    verification: Verification,
    #[command(flatten)]
    passwords: Passwords,
    #[command(flatten)]
    locking: state::Locking,
    /// Do not show differences
    #[arg(long)]
    no_diff: bool,
    /// Say more; twice also says where tasks stand
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Open {
    /// Leave them undone
    Skip,
}

pub async fn run(arguments: &Arguments) -> Result<u8, Stop> {
    // What is verified is what is applied: the file is read once.
    let text = Plan::read(&arguments.plan)?;
    for line in arguments.verification.check(&arguments.plan, text.as_bytes())? {
        writeln!(anstream::stderr(), "{line}").map_err(Stop::Output)?;
    }
    let passwords = arguments.passwords.ask()?;
    let plan = Plan::parse(&arguments.plan, &text, passwords.vault.as_ref())?;
    ready(&plan, arguments)?;
    let sources = if arguments.inventory.is_empty() { &plan.head.inventory } else { &arguments.inventory };
    let fleet = Arc::new(Fleet::new(Inventory::load(sources)?, vars::extra(&arguments.extra_vars)?));
    replay(Replay {
        before: Before::default(),
        mode: if arguments.check { Mode::Check } else { Mode::Apply },
        journal: Head {
            playbooks: vec![arguments.plan.display().to_string()],
            inventory: sources.iter().map(|source| state::absolute(source)).collect(),
            plan: Some(Read::from(&arguments.plan, text.as_bytes())),
            resumes: None,
            play: None,
        },
        fleet,
        plan,
        passwords,
        locking: arguments.locking.rules(),
        limit: arguments.limit.clone(),
        forks: arguments.forks,
        verbosity: arguments.verbose,
        diffs: !arguments.no_diff,
    })
    .await
}

/// Refuses a plan that cannot be applied as it is, and says what of its sources has changed since.
fn ready(plan: &Plan, arguments: &Arguments) -> Result<(), Stop> {
    if let Some(step) = plan.steps.iter().find(|step| step.sealed.is_some()) {
        return Err(step.encrypted().into());
    }
    let line = |(step, why, hosts): (&Step, &str, Vec<String>)| {
        format!("`{}` on {} ({}): {why}", step.name, review::named(&hosts), step.place)
    };
    let open: Vec<String> = review::open(plan).into_iter().map(line).collect();
    if !open.is_empty() && arguments.open.is_none() {
        let message = format!("the plan has steps that only a run can decide:\n  {}", open.join("\n  "));
        return Err(Diagnostic::new(message).hint("`--open skip` leaves them undone").into());
    }
    for source in &plan.sources {
        if source.has_changed() == Some(true) {
            let text = format!("note: `{}` has changed since; the plan is applied as it was made", source.path);
            writeln!(anstream::stderr(), "{text}").map_err(Stop::Output)?;
        }
    }
    Ok(())
}
