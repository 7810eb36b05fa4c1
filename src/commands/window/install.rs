//! `cutover window install`: what runs the window each night, made as any other change is: shown, journalled, undone.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::super::{play, state};
use super::FleetOf;
use crate::cli::Stop;
use crate::error::Diagnostic;
use crate::transport::command::quote;

const PLAYBOOK: &str = include_str!("install.yml");

/// Is there while systemd runs (sd_booted.3).
const RUNNING: &str = "/run/systemd/system";

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    fleet: FleetOf,
    /// When it begins, each night
    #[arg(long, value_name = "HH:MM", default_value = "01:30")]
    at: String,
    /// When it begins nothing new any more
    #[arg(long, value_name = "HH:MM", default_value = "05:30")]
    until: String,
    /// Bring at most so many domains further in a night
    #[arg(long, value_name = "N")]
    budget: Option<usize>,
    /// Further flags of each night's `cutover window --due`, such as `--vault-password-file FILE`
    #[arg(last = true, value_name = "FLAGS")]
    flags: Vec<String>,
    /// By a timer of systemd: the default for root where systemd runs
    #[arg(long, conflicts_with = "cron")]
    timer: bool,
    /// By a line of crontab
    #[arg(long)]
    cron: bool,
    /// Take it away
    #[arg(long)]
    remove: bool,
    /// Change nothing; show what would change
    #[arg(short = 'C', long)]
    check: bool,
}

pub async fn run(arguments: &Arguments) -> Result<u8, Stop> {
    // What is installed is tried first: a night that cannot begin is found by day.
    if !arguments.remove {
        super::pairs::listed(&arguments.fleet)?;
    }
    let wrong = |what: &str, error: std::io::Error| Diagnostic::new(format!("{what}: {error}"));
    if let Some(given) = arguments.fleet.extra_vars.iter().find(|given| !given.trim_start().starts_with('@')) {
        let name = given.split('=').next().unwrap_or_default();
        let error = Diagnostic::new(format!("`-e {name}=...` would stand where everybody can read it, each night"));
        return Err(error.hint("write it into a file that only you can read: `-e @FILE`").into());
    }
    let (hour, minute) = time_of(&arguments.at)?;
    time_of(&arguments.until)?;
    let program = std::env::current_exe().map_err(|error| wrong("this program has no path", error))?;
    let here = std::env::current_dir().map_err(|error| wrong("the current directory", error))?;
    let words: Vec<String> = command(arguments, &program);
    let root = rustix::process::geteuid().is_root();
    let systemd = Path::new(RUNNING).exists();
    if arguments.timer && !systemd && !arguments.check {
        let error = Diagnostic::new(format!("systemd does not run here: there is no `{RUNNING}`"));
        return Err(error.hint("`--cron` instead of `--timer` writes a line of crontab").into());
    }
    let timer = arguments.timer || (!arguments.cron && root && systemd);
    let line = words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ");
    let variables = json!({
        "directory": here,
        "unit_line": words.iter().map(|word| unit_word(word)).collect::<Vec<_>>().join(" "),
        "state_directory": unit_word(&state::directory().display().to_string()),
        // `%` is a line end in crontab(5).
        "cron_line": format!(
            "cd {} && CUTOVER_STATE_DIR={} {line}",
            quote(&here.display().to_string()),
            quote(&state::directory().display().to_string())
        )
        .replace('%', "\\%"),
        "hour": hour,
        "minute": minute,
        "timer": timer,
        "present": !arguments.remove,
    });
    let path = playbook()?;
    play::run(&play::Arguments {
        playbooks: vec![path],
        inventory: vec!["localhost,".into()],
        extra_vars: vec![variables.to_string()],
        connection: Some("local".into()),
        forks: 1,
        check: arguments.check,
        ..play::Arguments::default()
    })
    .await
}

/// Returns the words of a night's command, with paths that mean the same from anywhere.
fn command(arguments: &Arguments, program: &Path) -> Vec<String> {
    let fleet = &arguments.fleet;
    let absolute = |path: &PathBuf| state::absolute(&path.display().to_string());
    let mut words = vec![program.display().to_string(), "window".into(), "--due".into()];
    fleet.inventory.iter().for_each(|source| words.extend(["-i".into(), state::absolute(source)]));
    let files = fleet.extra_vars.iter().filter_map(|given| given.trim_start().strip_prefix('@'));
    files.for_each(|file| words.extend(["-e".into(), format!("@{}", state::absolute(file))]));
    words.extend(["--playbooks".into(), absolute(&fleet.playbooks)]);
    words.extend(["--window".into(), absolute(&fleet.window.path())]);
    words.extend(["--until".into(), arguments.until.clone()]);
    if let Some(budget) = arguments.budget {
        words.extend(["--budget".into(), budget.to_string()]);
    }
    words.extend(arguments.flags.iter().cloned());
    words
}

/// Returns the hour and the minute of a time of day.
fn time_of(text: &str) -> Result<(u8, u8), Diagnostic> {
    let parts = text.split_once(':').and_then(|(hour, minute)| Some((hour.parse().ok()?, minute.parse().ok()?)));
    parts
        .filter(|(hour, minute): &(u8, u8)| *hour < 24 && *minute < 60)
        .ok_or_else(|| Diagnostic::new(format!("`{text}` is no time of day")).hint("such as `01:30`"))
}

/// Quotes a word for the command line of a unit: `%` begins a specifier there, `$` a variable (systemd.unit.5, systemd.service.5).
fn unit_word(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./:,=@+%$".contains(letter);
    let word = word.replace('%', "%%").replace('$', "$$");
    match !word.is_empty() && word.chars().all(plain) {
        true => word,
        false => format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\"")),
    }
}

/// Writes the playbook to where a run, and a later one that takes it back, reads it.
fn playbook() -> Result<PathBuf, Diagnostic> {
    let path = state::directory().join("window-install.yml");
    let write = || {
        std::fs::create_dir_all(state::directory())?;
        std::fs::write(&path, PLAYBOOK)
    };
    write().map_err(|error| Diagnostic::new(format!("`{}` cannot be written: {error}", path.display())))?;
    Ok(path)
}
