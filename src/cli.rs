//! The command line: subcommands, their flags, and how the process ends.

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Command, CommandFactory as _, FromArgMatches as _, Parser};

use crate::commands::{
    adhoc, apply, completion, config, doc, hostkeys, inventory, lab, lint, names, plan, play, refused, resume, runs,
    show, sign, vault, window,
};
use crate::error::{Diagnostic, Diagnostics};
use crate::{secret, settings, yaml};

/// Runs Ansible-style playbooks over its own SSH and shows every change before it makes it.
///
/// Hosts need nothing but a POSIX `sh`. Exit codes: 0 ok, 1 an error of yours (nothing was touched), 2 a host failed,
/// 3 with --exit-code: something changed or would; 4 a host was unreachable; 129, 130, 141 and 143 after SIGHUP, Ctrl-C, a closed output and SIGTERM.
#[derive(Parser)]
#[command(name = "cutover", version, arg_required_else_help = true, max_term_width = 100)]
pub enum Cli {
    Play(Box<play::Arguments>),
    Run(Box<adhoc::Arguments>),
    Plan(Box<plan::Arguments>),
    Show(show::Arguments),
    Sign(sign::Arguments),
    Apply(Box<apply::Arguments>),
    Runs(runs::List),
    Log(runs::Log),
    Undo(Box<runs::Undo>),
    Resume(Box<resume::Arguments>),
    Window(Box<window::Arguments>),
    Status(window::Status),
    Inventory(inventory::Arguments),
    Hostkeys(hostkeys::Arguments),
    Lab(lab::Arguments),
    Lint(lint::Arguments),
    Vault(vault::Arguments),
    Config(config::Arguments),
    Doc(doc::Arguments),
    Completion(completion::Arguments),
    Man(completion::Man),
}

/// Runs the program with the process's arguments.
pub fn main() -> ExitCode {
    let arguments = names::arguments(lab::programs::arguments(std::env::args_os()));
    if let Err(why) = refused::check(&arguments).and_then(|()| configure()) {
        return fail(&why.to_string());
    }
    let parsed = with_settings(Cli::command()).try_get_matches_from(arguments);
    let cli = match parsed.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            // clap's own code for bad usage is 2, which here means that a host failed.
            return ExitCode::from(if error.use_stderr() { 1 } else { 0 });
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("error: the async runtime did not start: {error}")),
    };
    let ended = runtime.block_on(async {
        match cli {
            Cli::Play(arguments) => play::run(&arguments).await,
            Cli::Run(arguments) => adhoc::run(&arguments).await,
            Cli::Plan(arguments) => plan::run(&arguments).await,
            Cli::Show(arguments) => show::run(&arguments),
            Cli::Sign(arguments) => sign::run(&arguments).await,
            Cli::Apply(arguments) => apply::run(&arguments).await,
            Cli::Runs(arguments) => runs::list(&arguments),
            Cli::Log(arguments) => runs::log(&arguments),
            Cli::Resume(arguments) => resume::run(&arguments).await,
            Cli::Undo(arguments) => runs::undo(&arguments).await,
            Cli::Window(arguments) => window::run(&arguments).await,
            Cli::Status(arguments) => window::status(&arguments),
            Cli::Inventory(arguments) => inventory::run(&arguments),
            Cli::Hostkeys(arguments) => hostkeys::run(&arguments).await,
            Cli::Lab(arguments) => lab::run(&arguments).await,
            Cli::Lint(arguments) => lint::run(&arguments),
            Cli::Vault(arguments) => vault::run(&arguments).await,
            Cli::Config(arguments) => config::run(&arguments),
            Cli::Completion(arguments) => completion::run(&arguments),
            Cli::Man(arguments) => completion::man(&arguments),
            Cli::Doc(arguments) => doc::run(&arguments),
        }
    });
    // A prompt or a remote process that nobody waits for any more must not hold up the exit.
    runtime.shutdown_background();
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(Stop::Wrong(errors)) => fail(&errors.to_string()),
        Err(Stop::Unread(errors)) => {
            fail(&errors.to_string());
            ExitCode::from(UNREAD)
        }
        // The reader of our output has gone (`| head`): nothing is left to say. 128 and the number of SIGPIPE.
        Err(Stop::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::from(141),
        Err(Stop::Output(error)) => fail(&format!("error: the output cannot be written: {error}")),
    }
}

/// Flags that a setting is the default of: the setting's variable, and the flag.
const FLAGS: &[(&str, &str)] = &[
    ("ANSIBLE_FORCE_HANDLERS", "force_handlers"),
    ("ANSIBLE_FORKS", "forks"),
    ("ANSIBLE_INVENTORY", "inventory"),
    ("ANSIBLE_RUN_TAGS", "tags"),
    ("ANSIBLE_SKIP_TAGS", "skip_tags"),
    ("ANSIBLE_VERBOSITY", "verbose"),
];

/// Takes over what settings decide for the process as a whole.
fn configure() -> Result<(), Diagnostic> {
    for warning in &settings::file().warnings {
        let _ = writeln!(anstream::stderr(), "[WARNING]: {warning}");
    }
    if settings::switch("ANSIBLE_FORCE_COLOR", false) {
        anstream::ColorChoice::Always.write_global();
    } else if settings::switch("ANSIBLE_NOCOLOR", false) {
        anstream::ColorChoice::Never.write_global();
    }
    let choice = |variable: &str| settings::value(variable).map(|value| value.trim().to_lowercase());
    if let Some(other) = choice("ANSIBLE_HASH_BEHAVIOUR").filter(|how| !matches!(how.as_str(), "replace" | "merge")) {
        return Err(Diagnostic::new(format!("`hash_behaviour` is `replace` or `merge`, not `{other}`")));
    }
    yaml::on_duplicates(match choice("ANSIBLE_DUPLICATE_YAML_DICT_KEY").as_deref() {
        Some("ignore") => yaml::Duplicates::Last,
        Some("warn") => yaml::Duplicates::LastWithWarning,
        _ => yaml::Duplicates::Error,
    });
    Ok(())
}

/// Makes settings the defaults of their flags, in every subcommand that has them.
fn with_settings(command: Command) -> Command {
    let mut command = command;
    for (variable, flag) in FLAGS {
        let Some(value) = settings::value(variable) else { continue };
        let has = |sub: &&Command| {
            sub.get_arguments().any(|argument| argument.get_id() == flag && !argument.is_required_set())
        };
        let subcommands: Vec<String> =
            command.get_subcommands().filter(has).map(|sub| sub.get_name().to_string()).collect();
        for name in subcommands {
            let value = value.clone();
            command = command.mut_subcommand(name, |sub| sub.mut_arg(flag, |argument| argument.default_value(value)));
        }
    }
    command
}

/// What a playbook ends with that cannot be read, as with Ansible.
const UNREAD: u8 = 4;

/// Why a subcommand ended without an exit code of its own.
#[derive(Debug)]
pub enum Stop {
    /// The user's errors; nothing was touched.
    Wrong(Diagnostics),
    /// Errors, some of which are of what a playbook is made of; nothing was touched.
    Unread(Diagnostics),
    /// Standard output is gone or full.
    Output(std::io::Error),
}

impl<E: Into<Diagnostics>> From<E> for Stop {
    fn from(errors: E) -> Stop {
        Stop::Wrong(errors.into())
    }
}

fn fail(text: &str) -> ExitCode {
    // Where standard error is gone too, the exit code has to say it.
    let _ = writeln!(anstream::stderr(), "{}", secret::mask(text));
    ExitCode::from(1)
}
