//! `cutover doc`: the module reference, from the same table that checks arguments.

use std::io::Write as _;

use serde_json::{Map, Value, json};

use crate::cli::Stop;
use crate::error::{Diagnostic, Diagnostics};
use crate::modules::{self, Entry, reference};
use crate::run::action::{self, Action};
use crate::template;

/// Show what modules there are, their arguments and an example of each.
#[derive(clap::Args)]
pub struct Arguments {
    /// The modules to show; all of them, as Markdown, without one
    #[arg(value_name = "MODULE")]
    modules: Vec<String>,
    /// List the modules and the runner's own actions, one line each
    #[arg(short, long)]
    list: bool,
    /// What to list
    #[arg(short, long, value_name = "TYPE", default_value = "module")]
    r#type: Type,
    /// Print a task with every argument, to be filled in
    #[arg(short, long, conflicts_with_all = ["list", "json"])]
    snippet: bool,
    /// Print one JSON document
    #[arg(short, long)]
    json: bool,
    /// Accepted for Ansible's sake: all there is is printed
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Type {
    Module,
    Filter,
    Lookup,
    Test,
}

pub fn run(arguments: &Arguments) -> Result<u8, Stop> {
    let text = match (arguments.r#type, arguments.list) {
        (Type::Module, true) if arguments.json => document(summaries()),
        (Type::Module, true) => {
            let rows = summaries().into_iter().map(|(name, summary)| format!("{name:<16} {summary}\n"));
            rows.collect()
        }
        (Type::Module, false) => shown(arguments)?,
        (others, true) => names(others).into_iter().map(|name| format!("{name}\n")).collect(),
        (_, false) => {
            let error = Diagnostic::new("only modules are documented here");
            return Err(error
                .hint("filters, tests and lookups do as Ansible's documentation says; `-l` lists them")
                .into());
        }
    };
    anstream::stdout().write_all(text.as_bytes()).map_err(Stop::Output)?;
    Ok(0)
}

/// Returns the modules and actions with a line about each, by name.
fn summaries() -> Vec<(&'static str, &'static str)> {
    let modules = modules::all().map(|entry| (entry.name, entry.summary));
    let all = modules.chain(action::ACTIONS.iter().map(|action| (action.name, action.summary)));
    let mut all: Vec<_> = all.collect();
    all.sort_unstable();
    all
}

fn names(of: Type) -> Vec<&'static str> {
    let mut names = match of {
        Type::Filter => template::filter_names(),
        Type::Lookup => template::lookup_names(),
        _ => template::test_names(),
    };
    names.sort_unstable();
    names
}

/// What a task can call: a module of the table, or an action of the runner's own.
enum Called {
    Module(&'static Entry),
    Action(&'static Action),
}

impl Called {
    fn find(name: &str) -> Result<Called, Diagnostic> {
        let action = || action::find(name.strip_prefix("ansible.builtin.").unwrap_or(name));
        let found = modules::find(name).map(Called::Module).or_else(|| action().map(Called::Action));
        let known = summaries().into_iter().map(|(name, _)| name);
        found.ok_or_else(|| Diagnostic::new(format!("unknown module `{name}`")).suggest(name, known))
    }

    fn name(&self) -> &'static str {
        match self {
            Called::Module(entry) => entry.name,
            Called::Action(action) => action.name,
        }
    }

    fn section(&self) -> String {
        let action = match self {
            Called::Module(entry) => return reference::section(entry),
            Called::Action(action) => action,
        };
        let arguments = match action.arguments {
            Some(names) => names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
            None => "any".into(),
        };
        format!(
            "## {}\n\n{}\n\nAn action of the runner's own, on the controller, as Ansible documents it. Arguments: {arguments}\n",
            action.name, action.summary
        )
    }

    fn json(&self) -> Value {
        let action = match self {
            Called::Module(entry) => return reference::json(entry),
            Called::Action(action) => action,
        };
        let options = action.arguments.unwrap_or_default().iter().map(|name| (name.to_string(), json!({})));
        let options: Map<String, Value> = options.collect();
        json!({"doc": { "module": action.name, "short_description": action.summary, "options": options }})
    }

    fn snippet(&self) -> String {
        let action = match self {
            Called::Module(entry) => return reference::snippet(entry),
            Called::Action(action) => action,
        };
        let arguments = action.arguments.unwrap_or_default().iter().map(|name| format!("      {name}:\n"));
        format!("- name: {}\n  {}:\n{}", action.summary, action.name, arguments.collect::<String>())
    }
}

fn shown(arguments: &Arguments) -> Result<String, Diagnostics> {
    let mut errors = Diagnostics::default();
    let found: Vec<Called> = arguments.modules.iter().filter_map(|name| errors.catch(Called::find(name))).collect();
    errors.or(())?;
    Ok(match found.as_slice() {
        [] if arguments.json => document(modules::all().map(|entry| (entry.name, reference::json(entry)))),
        [] => reference::markdown(),
        some if arguments.json => document(some.iter().map(|called| (called.name(), called.json()))),
        some if arguments.snippet => some.iter().map(Called::snippet).collect(),
        some => some.iter().map(Called::section).collect::<Vec<_>>().join("\n"),
    })
}

fn document<V: Into<Value>>(pairs: impl IntoIterator<Item = (&'static str, V)>) -> String {
    let map: Map<String, Value> = pairs.into_iter().map(|(name, value)| (name.to_string(), value.into())).collect();
    format!("{:#}\n", Value::Object(map))
}
