//! `cutover completion` and `cutover man`: what a shell and `man` know of the command line.

use std::path::PathBuf;

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::cli::{Cli, Stop};
use crate::error::Diagnostic;

/// Print the completion of a shell: `cutover completion bash >/etc/bash_completion.d/cutover`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Whose
    shell: Shell,
}

/// Write the man pages into a directory: cutover.1, and one for each subcommand.
#[derive(clap::Args)]
pub struct Man {
    /// Where; it is made
    directory: PathBuf,
}

pub fn run(arguments: &Arguments) -> Result<u8, Stop> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "cutover", &mut script);
    std::io::Write::write_all(&mut anstream::stdout(), &script).map_err(Stop::Output)?;
    Ok(0)
}

pub fn man(arguments: &Man) -> Result<u8, Stop> {
    let directory = &arguments.directory;
    let failed = |error| Diagnostic::new(format!("cannot write man pages to `{}`: {error}", directory.display()));
    std::fs::create_dir_all(directory).map_err(failed)?;
    clap_mangen::generate_to(Cli::command(), directory).map_err(failed)?;
    Ok(0)
}
