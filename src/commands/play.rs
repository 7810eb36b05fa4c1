//! `cutover play`: runs playbooks, with `ansible-playbook`'s flags.

use std::io::{BufRead as _, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::mpsc;

use super::terminal;
use crate::cli::Stop;
use crate::error::{Diagnostic, Diagnostics};
use crate::inventory::Inventory;
use crate::playbook::tags::Selection;
use crate::playbook::{self, Loader, Play, Playbook, Step};
use crate::report::{self, Human, Recap};
use crate::run::connections::{Connections, Defaults};
use crate::run::{self, Journal, Locks, Mode, Options, Run};
use crate::secret::Secret;
use crate::template::{Failure, Templates};
use crate::vars::{self, Fleet};

use super::signals::Signals;

/// Run playbooks: show every change, then make it.
///
/// The flags are those of `ansible-playbook`. With --check nothing is changed, and what later tasks would see is
/// carried forward: a file that an earlier task would create can be edited by a later one.
#[derive(clap::Args, Default)]
pub struct Arguments {
    /// Playbooks to run, in order
    #[arg(required = true, value_name = "PLAYBOOK")]
    pub playbooks: Vec<PathBuf>,
    /// Inventory: a file, a directory, or hosts with a comma (`web1,`); may be repeated
    #[arg(short, long, value_name = "INVENTORY", env = "ANSIBLE_INVENTORY")]
    pub inventory: Vec<String>,
    /// Only these hosts, a pattern
    #[arg(short, long, value_name = "PATTERN")]
    pub limit: Option<String>,
    /// Only tasks with one of these tags
    #[arg(short, long, value_name = "TAGS", value_delimiter = ',')]
    pub tags: Vec<String>,
    /// No tasks with one of these tags
    #[arg(long, value_name = "TAGS", value_delimiter = ',')]
    pub skip_tags: Vec<String>,
    /// Variables stronger than all others: `k=v`, JSON or YAML, `@FILE`; may be repeated
    #[arg(short, long, value_name = "VARS")]
    pub extra_vars: Vec<String>,
    /// Change nothing; show what would change
    #[arg(short = 'C', long)]
    pub check: bool,
    /// Show the difference of every change (this is the default)
    #[arg(short = 'D', long, overrides_with = "no_diff")]
    pub diff: bool,
    /// Do not show differences
    #[arg(long)]
    pub no_diff: bool,
    /// How many hosts work on a task at once
    #[arg(short, long, default_value_t = 50, value_name = "N")]
    pub forks: usize,
    /// Log in as this user
    #[arg(short, long, value_name = "USER")]
    pub user: Option<String>,
    /// Log in with this private key
    #[arg(long, visible_alias = "key-file", value_name = "FILE")]
    pub private_key: Option<PathBuf>,
    /// Ask for the SSH password
    #[arg(short = 'k', long)]
    pub ask_pass: bool,
    /// Connection of hosts that do not say: `ssh` or `local`
    #[arg(short, long, value_name = "CONNECTION")]
    pub connection: Option<String>,
    /// Seconds to wait for a connection
    #[arg(short = 'T', long, value_name = "SECONDS")]
    pub timeout: Option<u64>,
    /// Flags of `ssh` for hosts that do not say: -o -J -i -p -l -F -C -4 -6 -b
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true)]
    pub ssh_common_args: Option<String>,
    /// Further flags of `ssh`
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true)]
    pub ssh_extra_args: Option<String>,
    /// Become another user (root unless --become-user says)
    #[arg(short, long)]
    pub r#become: bool,
    /// How to become: `sudo`, `su` or `doas`
    #[arg(long, value_name = "METHOD")]
    pub become_method: Option<String>,
    /// Become this user
    #[arg(long, value_name = "USER")]
    pub become_user: Option<String>,
    /// Ask for the become password
    #[arg(short = 'K', long)]
    pub ask_become_pass: bool,
    /// Start at the first task with this name
    #[arg(long, value_name = "NAME")]
    pub start_at_task: Option<String>,
    /// List the hosts of each play and stop
    #[arg(long)]
    pub list_hosts: bool,
    /// List the tasks that would run and stop
    #[arg(long)]
    pub list_tasks: bool,
    /// List all tags and stop
    #[arg(long)]
    pub list_tags: bool,
    /// Read and check everything, connect to nothing
    #[arg(long)]
    pub syntax_check: bool,
    /// Say more; twice also says where tasks stand
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

pub async fn run(arguments: &Arguments) -> Result<u8, Stop> {
    let prepared = prepare(arguments)?;
    if arguments.list_hosts || arguments.list_tasks || arguments.list_tags || arguments.syntax_check {
        return list(arguments, &prepared);
    }
    let mode = if arguments.check { Mode::Check } else { Mode::Apply };
    execute(arguments, prepared, mode).await
}

/// Everything read and checked; nothing touched.
struct Prepared {
    playbooks: Vec<Playbook>,
    fleet: Arc<Fleet>,
    templates: Arc<Templates>,
    loader: Loader,
}

/// Reads and checks all input, and reports all errors in it at once.
fn prepare(arguments: &Arguments) -> Result<Prepared, Diagnostics> {
    let mut errors = Diagnostics::default();
    let mut take = |result: Result<_, Diagnostics>| result.map_err(|found| errors.extend(found)).ok();
    let extra = take(vars::extra(&arguments.extra_vars)).unwrap_or_default();
    let inventory = Inventory::load(&arguments.inventory);
    let inventory = inventory.map_err(|found| errors.extend(found)).unwrap_or_default();
    let templates = Arc::new(Templates::new());
    let fleet = Arc::new(Fleet::new(inventory, extra));
    let loader = loader(&fleet, &templates);
    let mut playbooks = Vec::new();
    for path in &arguments.playbooks {
        let (playbook, found) = playbook::load_all(path, &loader);
        errors.extend(found);
        run::verify::playbook(&playbook, &templates).unwrap_or_else(|found| errors.extend(found));
        playbooks.push(playbook);
    }
    let errors = errors.in_order();
    errors.or(Prepared { playbooks, fleet, templates, loader })
}

/// Returns the loader: it knows the actions by name, and renders import names with what is known before a run.
fn loader(fleet: &Arc<Fleet>, templates: &Arc<Templates>) -> Loader {
    let (fleet, templates) = (fleet.clone(), templates.clone());
    let mut loader = Loader::new(run::verify::actions());
    let home = std::env::var_os("HOME").map(PathBuf::from);
    loader.roles_path = Loader::default_roles_path(home.as_deref());
    loader.render = Some(Box::new(move |node, vars| {
        let scope = fleet.extra_scope().over(Arc::new(vars));
        match templates.render(node, &scope) {
            Ok(value) => Ok(value.as_str().map_or_else(|| value.to_string(), str::to_string)),
            Err(Failure::Wrong(diagnostic)) => Err(diagnostic),
            Err(Failure::Unknown(what)) => Err(Diagnostic::new(format!("{what} is not known here"))),
        }
    }));
    loader
}

async fn execute(arguments: &Arguments, prepared: Prepared, mode: Mode) -> Result<u8, Stop> {
    let password = ask(arguments.ask_pass, "SSH password")?;
    let prompt = if arguments.ask_pass { "BECOME password[defaults to SSH password]" } else { "BECOME password" };
    let become_password = ask(arguments.ask_become_pass, prompt)?.and_then(|given| match given.reveal().is_empty() {
        true => password.clone(),
        false => Some(given),
    });
    let defaults = Defaults {
        user: arguments.user.clone(),
        key: arguments.private_key.clone(),
        password,
        connection: arguments.connection.clone(),
        timeout: arguments.timeout,
        common_args: arguments.ssh_common_args.clone(),
        extra_args: arguments.ssh_extra_args.clone(),
        become_on: arguments.r#become,
        become_user: arguments.become_user.clone(),
        become_method: arguments.become_method.clone(),
        become_password,
    };
    let progress = report::human::progress();
    let connections = Connections::new(prepared.fleet.clone(), prepared.templates.clone(), defaults)
        .with_keyring(terminal::keyring(progress.clone()));
    let (events, mut received) = mpsc::unbounded_channel();
    let run = Arc::new(Run {
        options: options(arguments, mode),
        fleet: prepared.fleet,
        templates: prepared.templates,
        connections: Arc::new(connections),
        loader: prepared.loader,
        journal: journal(arguments, mode)?,
        locks: Locks::new(state_directory().join("locks")),
        events,
        progress: Default::default(),
    });
    // Every play's pattern is resolved before the first host is touched.
    run.check_hosts(&prepared.playbooks)?;

    let settings = (arguments.verbose, !arguments.no_diff);
    let reporter = tokio::task::spawn_blocking(move || {
        let mut human = Human::new(anstream::stdout(), mode, settings, progress);
        while let Some(event) = received.blocking_recv() {
            human.event(&event)?;
        }
        human.finish()
    });
    let connections = run.connections.clone();
    let mut signals = Signals::listen().map_err(Stop::Output)?;
    let mut reporter = std::pin::pin!(reporter);
    // When this is known, the play is given up: nothing more is begun, and what is under way is noted as such.
    let ended = tokio::select! {
        played = run.play(&prepared.playbooks) => Ended::Played(played),
        code = signals.next() => Ended::Told(code),
        // Nobody reads what would be shown, so nothing more is done.
        gone = &mut reporter => Ended::Unread(gone),
    };
    let code = match &ended {
        Ended::Told(code) => Some(*code),
        _ => None,
    };
    let wind_up = async {
        match code {
            Some(_) => run.interrupt().await,
            None => drop(connections.stop().await),
        }
        // The reporter ends with the last sender of events.
        drop(run);
        connections.close();
        match ended {
            Ended::Unread(gone) => read(gone).map(|recap| recap.exit_code()),
            Ended::Played(played) => {
                let recap = read(reporter.await)?;
                played.map(|()| recap.exit_code()).map_err(Stop::Wrong)
            }
            Ended::Told(code) => {
                read(reporter.await)?;
                let text = "interrupted: the changes made so far are in the journal; run again to go on";
                writeln!(anstream::stderr(), "{text}").map_err(Stop::Output)?;
                Ok(code)
            }
        }
    };
    tokio::select! {
        code = wind_up => code,
        // Told again: at once.
        again = signals.next() => Ok(code.unwrap_or(again)),
    }
}

/// Returns the recap that the reporter ended with.
fn read(ended: Result<std::io::Result<Recap>, tokio::task::JoinError>) -> Result<Recap, Stop> {
    ended.map_err(std::io::Error::other).and_then(|recap| recap).map_err(Stop::Output)
}

/// How a run came to its end.
enum Ended {
    Played(Result<(), Diagnostics>),
    /// By a signal, with the exit code for it.
    Told(u8),
    /// The output is gone.
    Unread(Result<std::io::Result<Recap>, tokio::task::JoinError>),
}

fn selection(arguments: &Arguments) -> Selection {
    Selection { only: arguments.tags.clone(), skip: arguments.skip_tags.clone() }
}

fn options(arguments: &Arguments, mode: Mode) -> Options {
    Options {
        mode,
        limit: arguments.limit.clone(),
        tags: selection(arguments),
        start_at: arguments.start_at_task.clone(),
        forks: arguments.forks,
        verbosity: arguments.verbose,
    }
}

/// Starts the journal of a run that changes things, below the state directory (XDG base directories).
fn journal(arguments: &Arguments, mode: Mode) -> Result<Journal, Diagnostic> {
    let playbooks: Vec<String> = arguments.playbooks.iter().map(|path| path.display().to_string()).collect();
    let directory = state_directory().join("runs");
    if mode == Mode::Check {
        return Ok(Journal::when_needed(&directory, &playbooks));
    }
    Journal::start(&directory, &playbooks).map_err(|error| {
        Diagnostic::new(format!("the journal cannot be written in `{}`: {error}", directory.display()))
            .hint("set `CUTOVER_STATE_DIR` to a directory that you can write")
    })
}

/// Where Cutover keeps what outlives a run.
pub fn state_directory() -> PathBuf {
    let from = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    from("CUTOVER_STATE_DIR")
        .or_else(|| from("XDG_STATE_HOME").map(|state| state.join("cutover")))
        .or_else(|| from("HOME").map(|home| home.join(".local/state/cutover")))
        .unwrap_or_else(|| PathBuf::from("/var/lib/cutover"))
}

/// Asks for a password on the terminal, or reads a line where there is none.
fn ask(wanted: bool, what: &str) -> Result<Option<Secret>, Diagnostic> {
    if !wanted {
        return Ok(None);
    }
    let read = if std::io::stdin().is_terminal() {
        rpassword::prompt_password(format!("{what}: "))
    } else {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).map(|_| line.trim_end_matches(['\n', '\r']).to_string())
    };
    let text = read.map_err(|error| Diagnostic::new(format!("no {what} could be read: {error}")))?;
    Ok(Some(Secret::new(text)))
}

/// Prints what `--list-*` and `--syntax-check` ask for.
fn list(arguments: &Arguments, prepared: &Prepared) -> Result<u8, Stop> {
    let mut out = anstream::stdout();
    let selection = selection(arguments);
    for (path, playbook) in arguments.playbooks.iter().zip(&prepared.playbooks) {
        write_playbook(&mut out, (path, playbook), (arguments, prepared, &selection))?;
    }
    Ok(0)
}

fn write_playbook(
    out: &mut impl Write,
    (path, playbook): (&Path, &Playbook),
    (arguments, prepared, selection): (&Arguments, &Prepared, &Selection),
) -> Result<(), Stop> {
    writeln!(out, "\nplaybook: {}", path.display()).map_err(Stop::Output)?;
    if arguments.syntax_check {
        return Ok(());
    }
    for (index, play) in playbook.plays.iter().enumerate() {
        let tags = play.keywords.tags.join(", ");
        writeln!(out, "\n  play #{} ({}):\tTAGS: [{tags}]", index + 1, play.name).map_err(Stop::Output)?;
        if arguments.list_hosts {
            let hosts = hosts(play, arguments, prepared)?;
            writeln!(out, "    hosts ({}):", hosts.len()).map_err(Stop::Output)?;
            hosts.iter().try_for_each(|host| writeln!(out, "      {host}")).map_err(Stop::Output)?;
        }
        let mut tasks = Vec::new();
        for section in play.sections() {
            collect(section, &mut tasks);
        }
        tasks.retain(|(_, tags)| selection.selects(tags));
        if arguments.list_tasks {
            writeln!(out, "    tasks:").map_err(Stop::Output)?;
            for (name, tags) in &tasks {
                writeln!(out, "      {name}\tTAGS: [{}]", tags.join(", ")).map_err(Stop::Output)?;
            }
        }
        if arguments.list_tags {
            let mut tags: Vec<&String> = tasks.iter().flat_map(|(_, tags)| tags).collect();
            tags.sort();
            tags.dedup();
            let tags: Vec<&str> = tags.into_iter().map(String::as_str).collect();
            writeln!(out, "      TASK TAGS: [{}]", tags.join(", ")).map_err(Stop::Output)?;
        }
    }
    Ok(())
}

fn hosts(play: &Play, arguments: &Arguments, prepared: &Prepared) -> Result<Vec<String>, Diagnostics> {
    let grown = prepared.playbooks.iter().flat_map(|playbook| &playbook.plays);
    let grown = grown.take_while(|other| !std::ptr::eq(*other, play)).any(Play::may_grow_inventory);
    let selected = run::play::hosts(play, arguments.limit.as_deref(), (&prepared.fleet, &prepared.templates))?;
    if grown { Ok(selected.hosts) } else { selected.strict() }
}

/// Collects the names and tags of tasks, those of blocks in place.
fn collect(steps: &[Step], tasks: &mut Vec<(String, Vec<String>)>) {
    for step in steps {
        match step {
            Step::Task(task) => {
                let name = task.keywords.name.as_ref().and_then(|name| name.as_str()).unwrap_or(&task.action);
                let name = match &task.keywords.role {
                    Some(role) => format!("{} : {name}", role.name),
                    None => name.to_string(),
                };
                tasks.push((name, task.keywords.tags.clone()));
            }
            Step::Block(block) => {
                [&block.block, &block.rescue, &block.always].into_iter().for_each(|part| collect(part, tasks));
            }
        }
    }
}
