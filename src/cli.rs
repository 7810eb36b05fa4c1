//! The command line: subcommands, their flags, and how the process ends.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;

use crate::commands::{
    adhoc, apply, doc, hostkeys, inventory, lab, names, plan, play, resume, runs, show, sign, vault, window,
};
use crate::error::Diagnostics;
use crate::secret;

/// Runs Ansible-style playbooks over its own SSH and shows every change before it makes it.
///
/// Hosts need nothing but a POSIX `sh`. Exit codes: 0 ok, 1 an error of yours (nothing was touched), 2 a host failed,
/// 3 with --exit-code: something changed or would; 4 a host was unreachable; 129, 130, 141 and 143 after SIGHUP, Ctrl-C, a closed output and SIGTERM.
#[derive(Parser)]
#[command(name = "cutover", version, arg_required_else_help = true, max_term_width = 100)]
enum Cli {
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
    Vault(vault::Arguments),
    Doc(doc::Arguments),
}

/// Runs the program with the process's arguments.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse_from(names::arguments(lab::programs::arguments(std::env::args_os()))) {
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
            Cli::Vault(arguments) => vault::run(&arguments).await,
            Cli::Doc(arguments) => doc::run(&arguments),
        }
    });
    // A prompt or a remote process that nobody waits for any more must not hold up the exit.
    runtime.shutdown_background();
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(Stop::Wrong(errors)) => fail(&errors.to_string()),
        // The reader of our output has gone (`| head`): nothing is left to say. 128 and the number of SIGPIPE.
        Err(Stop::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::from(141),
        Err(Stop::Output(error)) => fail(&format!("error: the output cannot be written: {error}")),
    }
}

/// Why a subcommand ended without an exit code of its own.
#[derive(Debug)]
pub enum Stop {
    /// The user's errors; nothing was touched.
    Wrong(Diagnostics),
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
