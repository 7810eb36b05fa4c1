//! `cutover play`: runs playbooks, with `ansible-playbook`'s flags.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::conduct::{Reading, conduct};
use super::passwords::{Given, Passwords, confirmed};
use super::printing::{self, Printing};
use super::replay::{Replay, replay};
use super::{plan, retry, state, terminal};
use crate::cli::Stop;
use crate::error::{Diagnostic, Diagnostics};
use crate::inventory::Inventory;
use crate::playbook::tags::Selection;
use crate::playbook::{self, Loader, Play, Playbook, Step};
use crate::report::{self, Recap};
use crate::run::connections::{Connections, Defaults};
use crate::run::earlier::{Decision, Earlier};
use crate::run::journal::{self, Recipe};
use crate::run::plan::{Before, Guard, Read, Recorder};
use crate::run::{self, Mode, Options, Run};
use crate::settings;
use crate::template::{self, Failure, Templates};
use crate::vars::cache::Cache;
use crate::vars::{self, Fleet};
use crate::yaml::Yaml;

/// Run playbooks: show every change, then make it.
///
/// The flags are those of `ansible-playbook`. With --check nothing is changed, and what later tasks would see is
/// carried forward: a file that an earlier task would create can be edited by a later one.
#[derive(clap::Args, Clone, Default, Serialize, Deserialize)]
#[group(skip)]
pub struct Arguments {
    /// The text of the one playbook, which is then no file
    #[arg(skip)]
    #[serde(skip)]
    pub given: Option<String>,
    /// Playbooks to run, in order
    #[arg(required = true, value_name = "PLAYBOOK")]
    pub playbooks: Vec<PathBuf>,
    /// Inventory: a file, a directory, or hosts with a comma (`web1,`); may be repeated
    #[arg(short, long, visible_alias = "inventory-file", value_name = "INVENTORY", env = "ANSIBLE_INVENTORY")]
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
    #[serde(skip)]
    pub extra_vars: Vec<String>,
    /// Change nothing; show what would change
    #[arg(short = 'C', long)]
    #[serde(skip)]
    pub check: bool,
    /// Show the difference of every change (this is the default)
    #[arg(short = 'D', long, overrides_with = "no_diff")]
    #[serde(skip)]
    pub diff: bool,
    /// How many hosts work on a task at once
    #[arg(short, long, default_value_t = 50, value_name = "N")]
    pub forks: usize,
    /// Log in as this user
    #[arg(short, long, value_name = "USER")]
    pub user: Option<String>,
    /// Log in with this private key
    #[arg(long, visible_alias = "key-file", value_name = "FILE")]
    pub private_key: Option<PathBuf>,
    #[command(flatten)]
    #[serde(skip)]
    pub passwords: Passwords,
    #[command(flatten)]
    #[serde(skip)]
    pub locking: state::Locking,
    /// Where modules of your own are, too; may be repeated, or have colons
    #[arg(short = 'M', long, value_name = "DIRECTORY", value_delimiter = ':')]
    #[serde(default)]
    pub module_path: Vec<PathBuf>,
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
    /// Run notified handlers even on hosts that failed
    #[arg(long, env = "ANSIBLE_FORCE_HANDLERS", value_parser = clap::builder::BoolishValueParser::new(), num_args = 0..=1, default_value = "false", default_missing_value = "true", require_equals = true, hide_env_values = true)]
    #[serde(default)]
    pub force_handlers: bool,
    /// Accepted for Ansible's sake: facts are kept for one run only
    #[arg(long)]
    #[serde(skip)]
    pub flush_cache: bool,
    /// Start at the first task with this name
    #[arg(long, value_name = "NAME")]
    pub start_at_task: Option<String>,
    /// What decides the names that `tempfile` takes; of two runs with the same they are the same
    #[arg(long, value_name = "TEXT", default_value_t = drawn(), hide_default_value = true)]
    #[serde(default)]
    pub seed: String,
    /// List the hosts of each play and stop
    #[arg(long)]
    #[serde(skip)]
    pub list_hosts: bool,
    /// List the tasks that would run and stop
    #[arg(long)]
    #[serde(skip)]
    pub list_tasks: bool,
    /// List all tags and stop
    #[arg(long)]
    #[serde(skip)]
    pub list_tags: bool,
    /// Read and check everything, connect to nothing
    #[arg(long)]
    #[serde(skip)]
    pub syntax_check: bool,
    /// Show all changes first, ask, and make exactly these
    #[arg(long, conflicts_with_all = ["quiet", "output"])]
    #[serde(skip)]
    pub confirm: bool,
    /// End with 3 where something changed, or would in a check
    #[arg(long)]
    #[serde(skip)]
    pub exit_code: bool,
    #[command(flatten)]
    #[serde(skip)]
    pub printing: Printing,
}

pub async fn run(arguments: &Arguments) -> Result<u8, Stop> {
    let prepared = prepare(arguments)?;
    if arguments.list_hosts || arguments.list_tasks || arguments.list_tags || arguments.syntax_check {
        return list(arguments, &prepared);
    }
    let passwords = arguments.passwords.ask()?;
    if arguments.confirm && !arguments.check {
        return confirm(arguments, prepared, &passwords).await;
    }
    let mode = if arguments.check { Mode::Check } else { Mode::Apply };
    let ended = execute(arguments, prepared, Course::Play(mode), &passwords).await?;
    if let Ok(recap) = &ended {
        retry::write(&arguments.playbooks, recap);
    }
    Ok(match ended {
        Ok(recap) if arguments.exit_code => recap.detailed_exit_code(),
        Ok(recap) => recap.exit_code(),
        Err(code) => code,
    })
}

/// Runs playbooks again, to go on with a run that has not come to its end.
pub(super) async fn again(arguments: Arguments, goes_on: GoesOn) -> Result<u8, Stop> {
    let prepared = Prepared { goes_on: Some(goes_on), ..prepare(&arguments)? };
    let passwords = arguments.passwords.ask()?;
    let ended = execute(&arguments, prepared, Course::Play(Mode::Apply), &passwords).await?;
    Ok(ended.map_or_else(|code| code, |recap| recap.exit_code()))
}

/// Runs playbooks, and returns what they came to, or the exit code of a signal.
pub(super) async fn ran(arguments: &Arguments, passwords: &Given) -> Result<Result<Recap, u8>, Stop> {
    execute(arguments, prepare(arguments)?, Course::Play(Mode::Apply), passwords).await
}

/// Shows a check, and where the answer is yes makes exactly its changes.
async fn confirm(arguments: &Arguments, prepared: Prepared, passwords: &Given) -> Result<u8, Stop> {
    let recorder = Arc::new(Recorder::default());
    let fleet = prepared.fleet.clone();
    let code = match execute(arguments, prepared, Course::Plan(recorder.clone()), passwords).await? {
        Ok(recap) => recap.exit_code(),
        Err(code) => code,
    };
    let plan = recorder.finish(plan::head(arguments)?, &fleet.hosts());
    let mut err = anstream::stderr();
    let mut say = |text: &str| writeln!(err, "{text}").map_err(Stop::Output);
    if code != 0 {
        say("nothing was changed: the check did not come to its end on every host")?;
        return Ok(code);
    }
    say(&plan::summary(&plan))?;
    if plan.steps.is_empty() {
        return Ok(0);
    }
    if plan.open().next().is_some() {
        say("nothing was changed: only a run can decide some of it, and what was not shown is not confirmed")?;
        say("hint: run it without `--confirm`, which shows each change before it makes it")?;
        return Ok(1);
    }
    match confirmed("apply this?").await? {
        Ok(true) => {}
        Ok(false) => {
            say("nothing was changed")?;
            return Ok(1);
        }
        Err(code) => {
            say("\nnothing was changed")?;
            return Ok(code);
        }
    }
    let code = replay(Replay {
        plan,
        before: Before::default(),
        mode: Mode::Apply,
        fleet,
        // It goes on as what it is: a plan that was shown.
        journal: head(arguments),
        passwords: passwords.clone(),
        locking: arguments.locking.rules(),
        limit: None,
        forks: arguments.forks,
        name: printing::name(&arguments.playbooks),
        printing: arguments.printing.without_diffs(),
    })
    .await?;
    Ok(if code == 0 && arguments.exit_code { 3 } else { code })
}

/// Everything read and checked; nothing touched.
pub(super) struct Prepared {
    pub playbooks: Vec<Playbook>,
    pub fleet: Arc<Fleet>,
    pub templates: Arc<Templates>,
    pub loader: Loader,
    /// The run that this one goes on with.
    pub goes_on: Option<GoesOn>,
}

/// A run that is gone on with.
pub(super) struct GoesOn {
    pub with: String,
    pub earlier: Earlier,
    /// What the user has decided of what it leaves open.
    pub decisions: Vec<Decision>,
}

/// Reads and checks all input, and reports all errors in it at once.
pub(super) fn prepare(arguments: &Arguments) -> Result<Prepared, Stop> {
    // What is encrypted is read with everything else.
    arguments.passwords.vault.read()?;
    let mut errors = Diagnostics::default();
    let mut take = |result: Result<_, Diagnostics>| result.map_err(|found| errors.extend(found)).ok();
    let extra = take(vars::extra(&arguments.extra_vars)).unwrap_or_default();
    let inventory = Inventory::load(&arguments.inventory);
    let inventory = inventory.map_err(|found| errors.extend(found)).unwrap_or_default();
    let templates = Arc::new(Templates::new());
    let merges = settings::value("ANSIBLE_HASH_BEHAVIOUR").is_some_and(|how| how.trim() == "merge");
    let fleet = Fleet::new(inventory, extra).merging(merges);
    let fleet = Arc::new(match cache()? {
        Some(cache) => fleet.recalling(cache, !arguments.check),
        None => fleet,
    });
    let mut loader = loader(&fleet, &templates);
    loader.library.path.splice(0..0, arguments.module_path.iter().cloned());
    if let (Some(text), [path]) = (&arguments.given, arguments.playbooks.as_slice()) {
        loader.give(path, text)?;
    }
    let mut playbooks = Vec::new();
    let mut unread = false;
    for path in &arguments.playbooks {
        let (playbook, found) = playbook::load_all(path, &loader);
        unread |= found.0.iter().any(|error| error.place.is_some() && !playbook::is_missing(error));
        errors.extend(found);
        run::verify::playbook(&playbook, &templates).unwrap_or_else(|found| errors.extend(found));
        playbooks.push(playbook);
    }
    let stop = if unread { Stop::Unread } else { Stop::Wrong };
    let prepared = Prepared { playbooks, fleet, templates, loader, goes_on: None };
    errors.in_order().or(prepared).map_err(stop)
}

/// Returns the loader: it knows the actions by name, and renders import names with what is known before a run.
pub(super) fn loader(fleet: &Arc<Fleet>, templates: &Arc<Templates>) -> Loader {
    let (fleet, templates) = (fleet.clone(), templates.clone());
    let mut loader = Loader::new(run::verify::actions());
    let home = std::env::var_os("HOME").map(PathBuf::from);
    loader.roles_path = match settings::value("ANSIBLE_ROLES_PATH") {
        Some(paths) => std::env::split_paths(&paths).collect(),
        None => Loader::default_roles_path(home.as_deref()),
    };
    loader.allows_missing_handlers = !settings::switch("ANSIBLE_ERROR_ON_MISSING_HANDLER", true);
    let paths = |name: &str| settings::value(name).map(|paths| std::env::split_paths(&paths).collect::<Vec<_>>());
    let own = |below: &str| home.iter().map(|home| home.join(below)).collect::<Vec<_>>();
    loader.library.path = paths("ANSIBLE_LIBRARY").unwrap_or_else(|| own(".ansible/plugins/modules"));
    loader.library.collections = paths("ANSIBLE_COLLECTIONS_PATH").unwrap_or_else(|| {
        let all = own(".ansible/collections").into_iter();
        all.chain(["/usr/share/ansible/collections".into()]).collect()
    });
    loader.render = Some(Box::new(move |node, vars| {
        let scope = fleet.extra_scope().over(Arc::new(vars));
        match templates.render(node, &scope) {
            // A list of names, as of tags, is what it is with commas.
            Ok(serde_json::Value::Array(list)) => Ok(list.iter().map(template::text).collect::<Vec<_>>().join(",")),
            Ok(value) => Ok(value.as_str().map_or_else(|| value.to_string(), str::to_string)),
            Err(Failure::Wrong(diagnostic)) => Err(diagnostic),
            Err(Failure::Unknown(what)) => Err(Diagnostic::new(format!("{what} is not known here"))),
        }
    }));
    loader
}

/// What a run is for.
pub(super) enum Course {
    Play(Mode),
    /// A check whose plan is wanted.
    Plan(Arc<Recorder>),
    /// A run that keeps to a plan.
    Guarded(Arc<Guard>, Read),
}

/// Runs what was prepared, and returns what it came to, or the exit code of a signal.
pub(super) async fn execute(
    arguments: &Arguments,
    prepared: Prepared,
    course: Course,
    passwords: &Given,
) -> Result<Result<Recap, u8>, Stop> {
    let (mode, plan, guard, guarded) = match course {
        Course::Play(mode) => (mode, None, None, None),
        Course::Plan(recorder) => (Mode::Check, Some(recorder), None, None),
        Course::Guarded(guard, read) => (Mode::Apply, None, Some(guard), Some(read)),
    };
    let Given { ssh: password, r#become: become_password, vault } = passwords.clone();
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
    let progress = report::human::progress().filter(|_| arguments.printing.draws());
    let connections = Connections::new(prepared.fleet.clone(), prepared.templates.clone(), defaults)
        .with_keyring(terminal::keyring(progress.clone()));
    let (sender, events) = mpsc::unbounded_channel();
    let (resumes, earlier, decisions) = prepared
        .goes_on
        .map_or_else(Default::default, |goes_on| (Some(goes_on.with), Some(goes_on.earlier), goes_on.decisions));
    // Gone on with by itself, it would have no guard.
    let play =
        if guard.is_some() || arguments.given.is_some() { None } else { Some(recipe(arguments, &prepared.loader)?) };
    let journal = Arc::new(state::journal(journal::Head { resumes, play, guarded, ..head(arguments) }, mode, vault)?);
    let run = Arc::new(Run {
        options: options(arguments, mode),
        fleet: prepared.fleet,
        templates: prepared.templates,
        connections: Arc::new(connections),
        loader: prepared.loader,
        locks: state::locks(&journal, arguments.locking.rules()),
        journal,
        events: sender,
        progress: Default::default(),
        plan,
        earlier,
        guard: guard.clone(),
    });
    // Every play's pattern is resolved before the first host is touched.
    run.check_hosts(&prepared.playbooks)?;
    for decision in &decisions {
        run.journal.decided(decision).map_err(state::unwritable)?;
    }
    let reading = Reading {
        events,
        name: printing::name(&arguments.playbooks),
        printing: arguments.printing.clone(),
        progress,
        go_on: match guard {
            Some(_) => "make a new plan of what is left: `cutover plan`".into(),
            None => "`cutover resume last` goes on where this run stopped".into(),
        },
    };
    let work = async |run: &Arc<Run>| match &guard {
        Some(guard) => run.guarded(&prepared.playbooks, guard).await,
        None => run.play(&prepared.playbooks).await,
    };
    conduct(run, reading, work).await
}

/// Returns what the journal says of the run.
fn head(arguments: &Arguments) -> journal::Head {
    journal::Head {
        playbooks: arguments.playbooks.iter().map(|path| path.display().to_string()).collect(),
        inventory: arguments.inventory.iter().map(|source| state::absolute(source)).collect(),
        ..journal::Head::default()
    }
}

/// Returns what a resume has to be told.
fn recipe(arguments: &Arguments, loader: &Loader) -> Result<Recipe, Diagnostic> {
    let wrong = |error: &dyn std::fmt::Display| Diagnostic::new(format!("the command line cannot be kept: {error}"));
    let (files, _) = extra_files(&arguments.extra_vars);
    Ok(Recipe {
        directory: std::env::current_dir().map_err(|error| wrong(&error))?.display().to_string(),
        read: loader.read().iter().map(|path| Read::of(path)).collect::<Result<_, _>>()?,
        arguments: serde_json::to_value(arguments).map_err(|error| wrong(&error))?,
        given: given(&arguments.extra_vars),
        files,
    })
}

/// Splits `-e` into files of variables and variables.
fn extra_files(extra: &[String]) -> (Vec<String>, Vec<String>) {
    extra.iter().cloned().partition(|text| text.trim_start().starts_with('@'))
}

/// Returns the names of variables that `-e` gives by itself.
pub(super) fn given(extra: &[String]) -> Vec<String> {
    let (_, own) = extra_files(extra);
    let mut names: Vec<String> = vars::extra(&own).map_or_else(|_| Vec::new(), |layer| layer.keys().cloned().collect());
    names.sort();
    names
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
        verbosity: arguments.printing.verbose,
        force_handlers: arguments.force_handlers,
        playbooks: arguments.playbooks.iter().map(|path| path.display().to_string()).collect(),
        seed: if arguments.seed.is_empty() { drawn().into() } else { arguments.seed.as_str().into() },
    }
}

/// Returns where facts are kept for later runs, if they are.
fn cache() -> Result<Option<Cache>, Diagnostic> {
    if settings::value("ANSIBLE_CACHE_PLUGIN")
        .is_none_or(|name| name.trim_start_matches("ansible.builtin.") != "jsonfile")
    {
        return Ok(None);
    }
    let Some(directory) = settings::value("ANSIBLE_CACHE_PLUGIN_CONNECTION").map(PathBuf::from) else {
        let error = Diagnostic::new("`fact_caching = jsonfile` needs `fact_caching_connection`");
        return Err(error.hint("it names the directory of the files"));
    };
    std::fs::create_dir_all(&directory)
        .map_err(|error| Diagnostic::new(format!("no facts can be kept in `{}`: {error}", directory.display())))?;
    let seconds = settings::value("ANSIBLE_CACHE_PLUGIN_TIMEOUT").and_then(|text| text.trim().parse().ok());
    let limit = Some(seconds.unwrap_or(86_400)).filter(|seconds| *seconds > 0).map(Duration::from_secs);
    let prefix = settings::value("ANSIBLE_CACHE_PLUGIN_PREFIX").unwrap_or_default();
    Ok(Some(Cache { directory, prefix, limit }))
}

/// Returns a seed that no other run has. The system has no randomness only before it is up.
fn drawn() -> String {
    format!("{:016x}", getrandom::u64().unwrap_or_default())
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
        let (tags, pattern) = (play.keywords.tags.join(","), pattern(&play.hosts));
        let patterns = pattern.join(",");
        writeln!(out, "\n  play #{} ({patterns}): {}\tTAGS: [{tags}]", index + 1, play.name).map_err(Stop::Output)?;
        if arguments.list_hosts {
            let hosts = hosts(play, arguments, prepared)?;
            let quoted: Vec<String> = pattern.iter().map(|name| format!("'{name}'")).collect();
            writeln!(out, "    pattern: [{}]", quoted.join(", ")).map_err(Stop::Output)?;
            writeln!(out, "    hosts ({}):", hosts.len()).map_err(Stop::Output)?;
            hosts.iter().try_for_each(|host| writeln!(out, "      {host}")).map_err(Stop::Output)?;
        }
        let mut tasks = Vec::new();
        for section in play.sections() {
            collect(section, &mut tasks);
        }
        // A list of tags is there to choose from: it has those of tasks that run only when they are named, too.
        let named = |tags: &[String]| arguments.list_tags && tags.iter().any(|tag| tag == "never");
        tasks.retain(|(_, tags)| selection.selects(tags) || named(tags));
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

/// Returns the patterns of a play as they are written.
fn pattern(hosts: &Yaml) -> Vec<String> {
    hosts.as_list().map_or_else(|| vec![hosts.key()], |list| list.iter().map(Yaml::key).collect())
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
                let mut tags = task.keywords.tags.clone();
                tags.sort();
                tasks.push((name, tags));
            }
            Step::Block(block) => {
                [&block.block, &block.rescue, &block.always].into_iter().for_each(|part| collect(part, tasks));
            }
        }
    }
}
