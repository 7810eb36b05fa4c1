//! `cutover doc`: the module reference, from the same table that checks arguments.

use std::io::Write as _;

use crate::cli::Stop;
use crate::error::Diagnostic;
use crate::modules::{self, reference};
use crate::run::action;

/// Show what modules there are, their arguments and an example of each.
#[derive(clap::Args)]
pub struct Arguments {
    /// The module to show; all of them, as Markdown, without one
    module: Option<String>,
    /// List the modules and the runner's own actions, one line each
    #[arg(short, long)]
    list: bool,
}

pub fn run(arguments: &Arguments) -> Result<u8, Stop> {
    let text = match (&arguments.module, arguments.list) {
        (_, true) => {
            let modules = modules::all().map(|entry| (entry.name, entry.summary));
            let all = modules.chain(action::ACTIONS.iter().map(|action| (action.name, action.summary)));
            let mut rows: Vec<String> = all.map(|(name, summary)| format!("{name:<16} {summary}\n")).collect();
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
