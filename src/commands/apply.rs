//! `cutover apply`: makes exactly the changes of a plan, on hosts that are as it takes them to be.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use super::passwords::{Given, Passwords};
use super::play;
use super::printing::{self, Printing};
use super::replay::{Replay, replay};
use super::sign::Verification;
use super::state;
use crate::cli::Stop;
use crate::error::{Diagnostic, Diagnostics};
use crate::inventory::Inventory;
use crate::report::review;
use crate::run::Mode;
use crate::run::journal::Head;
use crate::run::plan::{Before, Guard, Plan, Read, Step};
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
    #[command(flatten)]
    printing: Printing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Open {
    /// Leave them undone
    Skip,
    /// Run the playbooks with the plan as the guard: what was approved is made as it was approved, these are shown as they
    /// are decided, and anything else is refused
    Run,
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
    if arguments.open == Some(Open::Run) && !arguments.check {
        let read = Read::from(&arguments.plan, text.as_bytes());
        return guarded((plan, read), arguments, passwords).await;
    }
    let sources = if arguments.inventory.is_empty() { &plan.head.inventory } else { &arguments.inventory };
    let fleet = Arc::new(Fleet::new(Inventory::load(sources)?, vars::extra(&arguments.extra_vars)?));
    replay(Replay {
        before: Before::default(),
        mode: if arguments.check { Mode::Check } else { Mode::Apply },
        journal: Head {
            playbooks: vec![arguments.plan.display().to_string()],
            inventory: sources.iter().map(|source| state::absolute(source)).collect(),
            plan: Some(Read::from(&arguments.plan, text.as_bytes())),
            ..Head::default()
        },
        fleet,
        plan,
        passwords,
        locking: arguments.locking.rules(),
        limit: arguments.limit.clone(),
        forks: arguments.forks,
        name: printing::name(std::slice::from_ref(&arguments.plan)),
        printing: arguments.printing.clone(),
    })
    .await
}

/// Runs the playbooks that the plan was made from, with the plan as the guard.
async fn guarded((plan, read): (Plan, Read), arguments: &Arguments, passwords: Given) -> Result<u8, Stop> {
    unchanged(&plan)?;
    if plan.head.extra_vars && arguments.extra_vars.is_empty() {
        let error = Diagnostic::new("the plan was made with `-e`, and its values are not in it");
        return Err(error
            .hint("give the same `-e` to `apply`: the playbooks are run, with the plan as the guard")
            .into());
    }
    let told = plan.head.told.clone();
    let inventory = if arguments.inventory.is_empty() { &plan.head.inventory } else { &arguments.inventory };
    let play = play::Arguments {
        playbooks: plan.head.playbooks.iter().map(|read| PathBuf::from(&read.path)).collect(),
        inventory: inventory.clone(),
        limit: arguments.limit.clone().or(told.limit),
        tags: told.tags,
        skip_tags: told.skip_tags,
        extra_vars: arguments.extra_vars.clone(),
        forks: arguments.forks,
        locking: arguments.locking,
        user: told.user,
        private_key: told.private_key.map(PathBuf::from),
        connection: told.connection,
        timeout: told.timeout,
        ssh_common_args: told.ssh_common_args,
        ssh_extra_args: told.ssh_extra_args,
        r#become: told.r#become,
        become_method: told.become_method,
        become_user: told.become_user,
        start_at_task: told.start_at_task,
        seed: told.seed,
        printing: arguments.printing.clone(),
        ..play::Arguments::default()
    };
    let prepared = play::prepare(&play)?;
    let course = play::Course::Guarded(Arc::new(Guard::new(plan, arguments.limit.clone())), read);
    Ok(match play::execute(&play, prepared, course, &passwords).await? {
        Ok(recap) => recap.exit_code(),
        Err(code) => code,
    })
}

/// Refuses where what the plan was made from is not as it was: what is decided now would be decided by something else
/// than what was approved.
fn unchanged(plan: &Plan) -> Result<(), Diagnostics> {
    let mut errors = Diagnostics::default();
    for source in plan.sources.iter().filter(|source| source.has_changed() != Some(false)) {
        let error = Diagnostic::new(format!("`{}` is not as it was when the plan was made", source.path));
        errors.push(error.hint("plan again, or leave what is open undone: `--open skip`"));
    }
    errors.or(())
}

/// Refuses a plan that cannot be applied as it is, and says what of its sources has changed since.
fn ready(plan: &Plan, arguments: &Arguments) -> Result<(), Stop> {
    if let Some(step) = plan.steps.iter().find(|step| step.sealed.is_some()) {
        return Err(step.encrypted().into());
    }
    let line = |(step, why, hosts): (&Step, &str, review::Whom)| {
        format!("`{}` on {} ({}): {why}", step.name, hosts.short(), step.place)
    };
    let open: Vec<String> = review::open(plan).into_iter().map(line).collect();
    if !open.is_empty() && arguments.open.is_none() {
        let message = format!("the plan has steps that only a run can decide:\n  {}", open.join("\n  "));
        return Err(Diagnostic::new(message)
            .hint("`--open skip` leaves them undone, `--open run` decides them as the playbooks are run")
            .into());
    }
    for source in &plan.sources {
        if source.has_changed() == Some(true) {
            let text = format!("note: `{}` has changed since; the plan is applied as it was made", source.path);
            writeln!(anstream::stderr(), "{text}").map_err(Stop::Output)?;
        }
    }
    Ok(())
}
