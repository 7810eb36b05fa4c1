//! `cutover plan`: a check that is saved, to be reviewed and then applied as it is.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{play, sign, state};
use crate::cli::Stop;
use crate::error::Diagnostic;
use crate::provenance;
use crate::report::review;
use crate::run::plan::file::{FORMAT, destination};
use crate::run::plan::{Head, Plan, Read, Recorder, Told};

/// Check playbooks, and save what they would change as a plan.
///
/// A plan holds every change, and `cutover apply` makes exactly these, on hosts that are as they were. What only a run
/// can decide is listed as open. What `no_log` hides is kept encrypted with the vault password.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    play: play::Arguments,
    /// Save the plan here
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Sign the saved plan with this SSH key, as `cutover sign` does
    #[arg(long, value_name = "KEY", requires = "out")]
    sign: Option<PathBuf>,
}

pub async fn run(arguments: &Arguments) -> Result<u8, Stop> {
    let play = &arguments.play;
    let others = [
        ("--confirm", play.confirm),
        ("--list-hosts", play.list_hosts),
        ("--list-tasks", play.list_tasks),
        ("--list-tags", play.list_tags),
        ("--syntax-check", play.syntax_check),
    ];
    if let Some((flag, _)) = others.iter().find(|(_, given)| *given) {
        return Err(Diagnostic::new(format!("`{flag}` makes no plan")).hint(format!("`cutover play {flag}`")).into());
    }
    if let Some(out) = &arguments.out {
        writable(out)?;
    }
    let prepared = play::prepare(&arguments.play)?;
    let recorder = Arc::new(Recorder::default());
    let fleet = prepared.fleet.clone();
    let passwords = arguments.play.passwords.ask()?;
    let ended = play::execute(&arguments.play, prepared, play::Course::Plan(recorder.clone()), &passwords).await?;
    let code = match &ended {
        Ok(recap) => recap.exit_code(),
        Err(code) => *code,
    };
    let mut err = anstream::stderr();
    if code != 0 {
        let text = "no plan: the check did not come to its end on every host; `--limit` leaves some out";
        writeln!(err, "{text}").map_err(Stop::Output)?;
        if let Some(out) = arguments.out.as_ref().filter(|out| out.exists()) {
            let text = format!("`{}` is still the plan that it was before", out.display());
            writeln!(err, "{text}").map_err(Stop::Output)?;
        }
        return Ok(code);
    }
    let plan = recorder.finish(head(&arguments.play)?, &fleet.hosts());
    let plan = Plan { sources: provenance::sources(), ..plan };
    writeln!(err, "{}", summary(&plan)).map_err(Stop::Output)?;
    for (step, why, hosts) in review::open(&plan) {
        let text = format!("  open: `{}` on {} ({}): {why}", step.name, hosts.short(), step.place);
        writeln!(err, "{text}").map_err(Stop::Output)?;
    }
    if let Some(out) = &arguments.out {
        let sealed = plan.save(out, passwords.vault.as_ref())?;
        let (file, with) = (out.display(), if sealed { ", with the vault password" } else { "" });
        writeln!(err, "saved: `cutover show {file}` shows it, `cutover apply {file}` applies it{with}")
            .map_err(Stop::Output)?;
        if let Some(key) = &arguments.sign {
            let signed = sign::sign(out, Plan::read(out)?.as_bytes(), key).await?;
            writeln!(err, "{signed}").map_err(Stop::Output)?;
        }
    }
    Ok(if arguments.play.exit_code && !plan.steps.is_empty() { 3 } else { 0 })
}

/// Says in one line what a plan comes to.
pub fn summary(plan: &Plan) -> String {
    let plural = |count: usize, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
    let open = match plan.open().count() {
        0 => String::new(),
        count => format!("; {} that only a run can decide", plural(count, "step")),
    };
    match plan.count() {
        0 => format!("plan: nothing to change{open}"),
        count => format!("plan: {} on {}{open}", plural(count, "change"), plural(plan.machines().len(), "host")),
    }
}

/// Returns the time, as RFC 3339 writes it.
pub fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Returns what a plan is made from.
pub fn head(arguments: &play::Arguments) -> Result<Head, Diagnostic> {
    Ok(Head {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").into(),
        made: now(),
        undo: None,
        playbooks: arguments.playbooks.iter().map(|path| Read::of(path)).collect::<Result<_, Diagnostic>>()?,
        inventory: arguments.inventory.iter().map(|source| state::absolute(source)).collect(),
        extra_vars: !arguments.extra_vars.is_empty(),
        told: told(arguments),
        warnings: Vec::new(),
    })
}

/// Returns what else the command line has said.
fn told(arguments: &play::Arguments) -> Told {
    let text = |path: &PathBuf| path.display().to_string();
    Told {
        directory: std::env::current_dir().map(|path| text(&path)).unwrap_or_default(),
        limit: arguments.limit.clone(),
        tags: arguments.tags.clone(),
        skip_tags: arguments.skip_tags.clone(),
        start_at_task: arguments.start_at_task.clone(),
        seed: arguments.seed.clone(),
        user: arguments.user.clone(),
        private_key: arguments.private_key.as_deref().map(|path| state::absolute(&text(&path.to_path_buf()))),
        connection: arguments.connection.clone(),
        timeout: arguments.timeout,
        ssh_common_args: arguments.ssh_common_args.clone(),
        ssh_extra_args: arguments.ssh_extra_args.clone(),
        r#become: arguments.r#become,
        become_method: arguments.become_method.clone(),
        become_user: arguments.become_user.clone(),
    }
}

/// Finds out before the check whether its plan could be written.
fn writable(path: &Path) -> Result<(), Diagnostic> {
    let path = &destination(path)
        .map_err(|error| Diagnostic::new(format!("the plan `{}` cannot be written: {error}", path.display())))?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let tried = tempfile::NamedTempFile::new_in(directory);
    tried
        .map(drop)
        .map_err(|error| Diagnostic::new(format!("no plan can be written in `{}`: {error}", directory.display())))
}
