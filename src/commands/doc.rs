//! `cutover doc`: the module reference, from the same table that checks arguments.

use std::io::Write as _;

use crate::cli::Stop;
use crate::error::Diagnostic;
use crate::modules::{self, reference};

/// Show what modules there are, their arguments and an example of each.
#[derive(clap::Args)]
pub struct Arguments {
    /// The module to show; all of them, as Markdown, without one
    module: Option<String>,
    /// List the modules, one line each
    #[arg(short, long)]
    list: bool,
}

pub fn run(arguments: &Arguments) -> Result<u8, Stop> {
    let text = match (&arguments.module, arguments.list) {
        (_, true) => {
            let mut rows: Vec<String> =
                modules::all().map(|entry| format!("{:<16} {}\n", entry.name, entry.summary)).collect();
            rows.sort();
            rows.concat()
        }
        (Some(name), false) => match modules::find(name) {
            Some(entry) => reference::section(entry),
            None => {
                let error = Diagnostic::new(format!("unknown module `{name}`"));
                return Err(error.suggest(name, modules::all().map(|entry| entry.name)).into());
            }
        },
        (None, false) => reference::markdown(),
    };
    anstream::stdout().write_all(text.as_bytes()).map_err(Stop::Output)?;
    Ok(0)
}
