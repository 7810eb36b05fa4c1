//! `cutover runs`, `log` and `undo`: what runs have changed, and how it is taken back.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use super::counted_on;
use super::passwords::Passwords;
use super::plan::{now, summary};
use super::printing::Printing;
use super::replay::{Replay, replay};
use super::state;
use crate::cli::Stop;
use crate::error::Diagnostic;
use crate::inventory::Inventory;
use crate::report::{plain, review};
use crate::run::Mode;
use crate::run::journal;
use crate::run::plan::file::FORMAT;
use crate::run::plan::{Before, Head, Plan, Read};
use crate::run::record::{End, Entry, Left, Record};
use crate::vars::{self, Fleet};

/// List the runs that have changed something, the newest last.
#[derive(clap::Args)]
pub struct List {
    /// Those without a change, too
    #[arg(short, long)]
    all: bool,
}

/// Show what a run has changed.
#[derive(clap::Args)]
pub struct Log {
    /// The run's id, the beginning of it, or `last`
    #[arg(value_name = "RUN")]
    run: String,
    #[command(flatten)]
    printing: Printing,
}

/// Take back what a run has changed, the last change first.
///
/// What is taken back is shown like any other change, and only where the host is still as the run has left it. Names
/// what cannot be taken back: commands, messages that were handed over, and what was hidden, unless both the run and this have
/// the vault password.
#[derive(clap::Args)]
pub struct Undo {
    /// The run's id, the beginning of it, or `last`
    #[arg(value_name = "RUN")]
    run: String,
    /// Only on these hosts, with commas
    #[arg(long, value_name = "HOSTS", value_delimiter = ',')]
    host: Vec<String>,
    /// Only tasks with this in their name
    #[arg(long, value_name = "TEXT")]
    task: Option<String>,
    /// Variables with passwords: `k=v`, JSON or YAML, `@FILE`; may be repeated
    #[arg(short, long, value_name = "VARS")]
    extra_vars: Vec<String>,
    /// Change nothing; compare the hosts and show what would be taken back
    #[arg(short = 'C', long)]
    check: bool,
    /// Also what mail counts on: routes that mail may wait for, accounts of domains that are forwarded to them
    #[arg(long)]
    anyway: bool,
    /// Save this as a plan, and change nothing
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    passwords: Passwords,
    #[command(flatten)]
    locking: state::Locking,
    #[command(flatten)]
    printing: Printing,
}

pub fn list(arguments: &List) -> Result<u8, Stop> {
    let (records, errors) = Record::all(&state::runs());
    let mut out = anstream::stdout();
    for record in records.iter().filter(|record| arguments.all || !record.entries.is_empty()) {
        let mut hosts: Vec<String> = record.entries.iter().map(|entry| entry.host.clone()).collect();
        hosts.sort();
        hosts.dedup();
        let count = record.entries.len();
        let line = format!(
            "{}  {}  {count} change{} on {}  {}",
            record.id,
            outcome(record),
            if count == 1 { "" } else { "s" },
            if hosts.is_empty() { "no host".into() } else { review::named(&hosts) },
            record.head.playbooks.join(" ")
        );
        writeln!(out, "{line}").map_err(Stop::Output)?;
    }
    for torn in records.iter().filter_map(torn) {
        writeln!(anstream::stderr(), "{torn}").map_err(Stop::Output)?;
    }
    for error in errors {
        writeln!(anstream::stderr(), "{error}").map_err(Stop::Output)?;
    }
    Ok(0)
}

/// Says what is torn of a journal.
pub(super) fn torn(record: &Record) -> Option<String> {
    let line = record.torn?;
    Some(format!(
        "the journal of run {} is torn in line {line}, its last: that entry is lost, and nothing came after it",
        record.id
    ))
}

fn outcome(record: &Record) -> &'static str {
    match record.ended {
        Some(0) => "ok         ",
        Some(2) => "failed     ",
        Some(4) => "unreachable",
        Some(_) => "interrupted",
        // It may be going on.
        None => "not ended  ",
    }
}

pub fn log(arguments: &Log) -> Result<u8, Stop> {
    let record = Record::find(&state::runs(), &arguments.run)?;
    if arguments.printing.is_special() {
        return retell(&record, &arguments.printing);
    }
    let mut out = anstream::stdout();
    let mut print = |text: String| writeln!(out, "{text}").map_err(Stop::Output);
    print(format!("run {}: {}, started {}", record.id, outcome(&record).trim_end(), record.started))?;
    print(format!("of {}", record.head.playbooks.join(", ")))?;
    for (host, from) in &record.stolen {
        print(format!("took the lock of `{host}` from {from}"))?;
    }
    if let Some(torn) = torn(&record) {
        print(torn)?;
    }
    for entry in &record.entries {
        let item = entry.item.as_ref().map(|item| format!(" (item={item})")).unwrap_or_default();
        let end = match &entry.end {
            End::Done => "done".into(),
            End::Failed(why) => format!("failed: {why}"),
            End::Refused(why) => format!("not begun: {why}"),
            End::Uncertain(why) => format!("unknown whether applied: {why}"),
            End::Unknown => "unknown whether applied: the run was killed".into(),
        };
        print(format!("\n{}. `{}` on `{}`{item}: {end}", entry.number, entry.task, entry.host))?;
        if !arguments.printing.no_diff {
            entry.lines().into_iter().try_for_each(&mut print)?;
        }
    }
    Ok(0)
}

/// Tells a run again to whoever reads runs.
fn retell(record: &Record, printing: &Printing) -> Result<u8, Stop> {
    let junit = printing.open()?;
    let name = record.head.playbooks.join(" ");
    let mut reporter = printing.reporter((Mode::Apply, &name), junit, None).map_err(Stop::Output)?;
    record.events().iter().try_for_each(|event| reporter.event(event)).map_err(Stop::Output)?;
    reporter.finish().map_err(Stop::Output)?;
    Ok(0)
}

pub async fn undo(arguments: &Undo) -> Result<u8, Stop> {
    let mut record = Record::find(&state::runs(), &arguments.run)?;
    let passwords = arguments.passwords.ask()?;
    if let Some(password) = &passwords.vault {
        record.unseal(password)?;
    }
    let wanted = |entry: &Entry| {
        (arguments.host.is_empty() || arguments.host.contains(&entry.host))
            && arguments.task.as_ref().is_none_or(|text| entry.task.to_lowercase().contains(&text.to_lowercase()))
    };
    if !arguments.check {
        record.is_over()?;
    }
    if let Some(torn) = torn(&record) {
        writeln!(anstream::stderr(), "{torn}").map_err(Stop::Output)?;
    }
    if !record.entries.iter().any(wanted) && !record.entries.is_empty() {
        let error = Diagnostic::new(format!("run {} has changed nothing of that kind", record.id));
        return Err(error.hint(format!("`cutover log {}` shows its hosts and tasks", record.id)).into());
    }
    let (others, _) = Record::all(&state::runs());
    let taken_back = record.taken_back(&others);
    let is_back = |entry: &Entry| taken_back.contains(&entry.number);
    let back = record.entries.iter().filter(|entry| wanted(entry) && is_back(entry)).count();
    if back > 0 {
        let what = if back == 1 { "1 change has".into() } else { format!("{back} changes have") };
        writeln!(anstream::stderr(), "{what} been taken back before").map_err(Stop::Output)?;
    }
    // Accounts that came back without their passwords would be no accounts.
    let mut sealed = record.entries.iter().filter(|entry| wanted(entry) && !is_back(entry) && entry.is_sealed());
    if let Some(first) = sealed.next() {
        let count = 1 + sealed.count();
        let what = format!("{count} change{} of run {}", if count == 1 { "" } else { "s" }, record.id);
        let first = format!("`{}` on `{}`", first.task, first.host);
        let error = Diagnostic::new(format!("{what} (first {first}) cannot be read without the vault password"));
        return Err(error
            .hint("`--ask-vault-pass` or `--vault-password-file`; `--task TEXT` takes others back alone")
            .into());
    }
    if !arguments.check && !arguments.anyway {
        let entries = record.entries.iter().filter(|entry| wanted(entry) && !is_back(entry));
        counted_on::refuse(&record, entries, &others)?;
    }
    // Messages cannot be taken back, for they may have been read or answered: without the rest they would stand alone.
    let is_meant = |host: &str| arguments.host.is_empty() || arguments.host.iter().any(|meant| meant == host);
    let mut handed_over = record.handed_over().filter(|(old, new)| is_meant(old) || is_meant(new));
    if let (Some((old, new)), None) = (handed_over.next(), &arguments.task)
        && record.entries.iter().filter(|entry| wanted(entry) && !is_back(entry)).count() > 1
    {
        let error = Diagnostic::new(format!(
            "run {} has handed over mail from `{old}` to `{new}`, and that stays; what belongs to it (accounts, forwarding, \
             attachments) is not taken from it",
            record.id
        ));
        return Err(error
            .hint("`--task TEXT` takes single tasks back; a domain goes back by the playbook `stages/rollback.yml`")
            .into());
    }
    let (plan, left) = record.undone(|entry| wanted(entry) && !is_back(entry));
    let head = Head {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").into(),
        made: now(),
        undo: Some(record.id.clone()),
        inventory: record.head.inventory.clone(),
        ..Head::default()
    };
    let plan = Plan { head, ..plan };
    let mut err = anstream::stderr();
    for Left { change, why, .. } in &left {
        writeln!(err, "not taken back: {change}\n  {why}").map_err(Stop::Output)?;
    }
    let code = if left.iter().any(|left| left.unsettled) { 2 } else { 0 };
    if plan.steps.is_empty() {
        writeln!(err, "nothing to take back").map_err(Stop::Output)?;
        return Ok(code);
    }
    if arguments.out.is_some() {
        if !arguments.printing.no_diff {
            plain::print(&plan, &mut anstream::stdout()).map_err(Stop::Output)?;
        }
        writeln!(err, "{}", summary(&plan)).map_err(Stop::Output)?;
        if let Some(out) = &arguments.out {
            plan.save(out, passwords.vault.as_ref())?;
            writeln!(err, "saved: `cutover apply {}` applies it", out.display()).map_err(Stop::Output)?;
        }
        return Ok(0);
    }
    // A run that is killed goes on with it (`resume`).
    let saved = state::runs().join(format!("{}.undo", record.id));
    if !arguments.check {
        plan.save(&saved, passwords.vault.as_ref())?;
    }
    let fleet = Fleet::new(Inventory::load(&plan.head.inventory)?, vars::extra(&arguments.extra_vars)?);
    let replayed = replay(Replay {
        before: Before::default(),
        mode: if arguments.check { Mode::Check } else { Mode::Apply },
        journal: journal::Head {
            playbooks: vec![format!("undo {}", record.id)],
            inventory: plan.head.inventory.clone(),
            plan: if arguments.check { None } else { Some(Read::of(&saved)?) },
            ..journal::Head::default()
        },
        fleet: Arc::new(fleet),
        plan,
        passwords,
        locking: arguments.locking.rules(),
        limit: None,
        forks: 50,
        name: format!("undo {}", record.id),
        printing: arguments.printing.clone(),
    })
    .await?;
    Ok(if replayed == 0 { code } else { replayed })
}
