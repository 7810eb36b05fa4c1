//! What never touches a host is not a module: the runner's own actions.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use serde_json::{Map, Value, json};

use crate::error::Diagnostic;
use crate::modules::Results;
use crate::modules::arguments::{boolean, unsupported};
use crate::playbook::keywords::{check_variable, is_template};
use crate::template::{Failure, behind};
use crate::vars::Var;
use crate::yaml::Yaml;

use super::doing::{Doing, Done, duration, skip};
use super::trouble::Trouble;
use super::{Event, Mode};

/// A row of the table of runner actions.
pub struct Action {
    pub name: &'static str,
    pub summary: &'static str,
    /// The arguments it takes; `None`: any (`set_fact`).
    pub arguments: Option<&'static [&'static str]>,
    /// The argument that bare text goes to.
    pub free_form: Option<&'static str>,
}

/// Every runner action, sorted by name.
pub const ACTIONS: &[Action] = &[
    row("add_host", "Adds a host to the inventory of this run", None, None),
    row("assert", "Fails unless conditions hold", Some(&["that", "fail_msg", "msg", "success_msg", "quiet"]), None),
    row(
        "async_status",
        "Says how far a job of `async` is, or removes what is kept of it",
        Some(&["jid", "mode"]),
        None,
    ),
    row("debug", "Prints a message or a variable", Some(&["msg", "var", "verbosity"]), None),
    row("fail", "Fails with a message", Some(&["msg"]), None),
    row("group_by", "Puts hosts into groups by a key", Some(&["key", "parents"]), None),
    row(
        "include_role",
        "Runs a role at this point of the play",
        Some(&[
            "name",
            "tasks_from",
            "vars_from",
            "defaults_from",
            "handlers_from",
            "apply",
            "allow_duplicates",
            "public",
            "rolespec_validate",
        ]),
        None,
    ),
    row("include_tasks", "Runs a task file at this point of the play", Some(&["file", "apply"]), Some("file")),
    row(
        "include_vars",
        "Reads variables from a file",
        Some(&[
            "file",
            "dir",
            "name",
            "depth",
            "extensions",
            "files_matching",
            "ignore_files",
            "ignore_unknown_extensions",
        ]),
        Some("file"),
    ),
    row(
        "meta",
        "Tells the runner something: flush_handlers, end_play, end_host, end_batch, end_role, noop, clear_facts, clear_host_errors, refresh_inventory, reset_connection",
        Some(&[]),
        Some("free_form"),
    ),
    row("pause", "Waits for a time or for Enter", Some(&["seconds", "minutes", "prompt", "echo"]), None),
    row("set_fact", "Sets variables of a host", None, None),
    row("set_stats", "Tells the run's end something", Some(&["data", "per_host", "aggregate"]), None),
    row(
        "validate_argument_spec",
        "Fails unless variables are as a specification of arguments says",
        Some(&["argument_spec", "provided_arguments", "validate_args_context"]),
        None,
    ),
];

const fn row(
    name: &'static str,
    summary: &'static str,
    arguments: Option<&'static [&'static str]>,
    free_form: Option<&'static str>,
) -> Action {
    Action { name, summary, arguments, free_form }
}

/// Finds an action by its short name.
pub fn find(name: &str) -> Option<&'static Action> {
    ACTIONS.iter().find(|action| action.name == name)
}

impl Doing<'_> {
    /// Performs a runner action.
    pub(super) async fn action(&self) -> Result<Done, Trouble> {
        let name = self.task.action.as_str();
        let Some(action) = find(name) else {
            let unknown = || Diagnostic::new(format!("unknown module `{name}`")).at(&self.task.action_place);
            return Err(self.task.absent.clone().unwrap_or_else(unknown).into());
        };
        let names = self.task.arguments.iter().map(|(name, _)| name.key());
        let unknown: Vec<String> =
            names.filter(|name| action.arguments.is_some_and(|known| !known.contains(&name.as_str()))).collect();
        if let Some(first) = unknown.first().filter(|first| action.free_form != Some(first)) {
            let known = action.arguments.unwrap_or_default();
            let all: Vec<&str> = unknown.iter().map(String::as_str).collect();
            let error = Diagnostic::new(format!("unknown argument `{first}` for `{name}`"));
            let error = error.at(&self.task.action_place).suggest(first, known.iter().copied());
            return Err(Trouble::refused(&error.msg(unsupported(name, &all, (known.to_vec(), Vec::new())))));
        }
        match name {
            // Conditions and variable names are not templates.
            "assert" => return self.assert(),
            "debug" => return self.debug(),
            _ => {}
        }
        let arguments = self.arguments(action.free_form)?;
        match name {
            "set_fact" => self.set_fact(arguments),
            "set_stats" => self.set_stats(arguments),
            "fail" => {
                let message = arguments.get("msg").map_or("Failed as requested from task".into(), text_of);
                Err(Trouble::failed(message))
            }
            "include_tasks" | "include_role" => self.inclusion(&arguments),
            "include_vars" => self.include_vars(&arguments),
            "add_host" => self.add_host(arguments),
            "group_by" => self.group_by(&arguments),
            "async_status" => self.async_status(&arguments).await,
            "pause" => self.pause(&arguments).await,
            "validate_argument_spec" => self.validate(arguments),
            other => Err(Trouble::failed(format!("`{other}` cannot stand here"))),
        }
    }

    /// Returns an argument as written.
    fn written(&self, name: &str) -> Option<&Yaml> {
        self.task.arguments.iter().find(|(key, _)| key.as_str() == Some(name)).map(|(_, value)| value)
    }

    fn rendered(&self, name: &str) -> Result<Option<Value>, Trouble> {
        let node = self.written(name);
        Ok(node.map(|node| self.templates().render(node, &self.scope)).transpose()?)
    }

    fn assert(&self) -> Result<Done, Trouble> {
        let Some(that) = self.written("that") else {
            return Err(Diagnostic::new("`assert` needs the argument `that`").at(&self.task.action_place).into());
        };
        // A text that a template has made is not evaluated; one that somebody wrote is.
        let that = that.as_str().and_then(|text| behind(text, &self.scope)).unwrap_or(that);
        let conditions = that.as_list().map_or_else(|| vec![that.clone()], <[Yaml]>::to_vec);
        for condition in &conditions {
            if !self.condition(condition, &self.scope)? {
                let message = match self.rendered("fail_msg")?.or(self.rendered("msg")?) {
                    Some(message) => text_of(&message),
                    None => "Assertion failed".into(),
                };
                let mut result = Results::new();
                result.insert("assertion".into(), condition.to_value());
                result.insert("evaluated_to".into(), false.into());
                return Err(Trouble::Failed { message, result });
            }
        }
        if self.rendered("quiet")?.is_some_and(|quiet| truthy(&quiet)) {
            return Ok(Done::default());
        }
        let message = self.rendered("success_msg")?.unwrap_or_else(|| "All assertions passed".into());
        Ok(with("msg", message))
    }

    fn debug(&self) -> Result<Done, Trouble> {
        let verbosity = self.rendered("verbosity")?.and_then(|value| value.as_u64().or(text_of(&value).parse().ok()));
        if verbosity.unwrap_or(0) > u64::from(self.batch.run.options.verbosity) {
            return Ok(skip("Verbosity threshold not met."));
        }
        let message = self.written("msg").map(|node| self.templates().render(&node.in_list(), &self.scope)).transpose();
        let message = message.map_err(|failure| Trouble::from(failure).during(&self.of_the_argument("msg")))?;
        let message = message.and_then(|values| values.get(0).cloned());
        let var = self.written("var").map(|var| self.expression(var)).transpose()?.flatten();
        if var.is_some() && message.is_some() {
            let error = Diagnostic::new("parameters are mutually exclusive: msg|var").at(&self.task.action_place);
            return Err(Trouble::refused(&error));
        }
        let Some(var) = var else {
            return Ok(with("msg", message.unwrap_or_else(|| "Hello world!".into())));
        };
        let name = var.key();
        let expression = Yaml::text_at(format!("{{{{ {name} }}}}"), &var.place);
        let value = match self.templates().render(&expression.in_list(), &self.scope) {
            Ok(values) => match values.get(0) {
                Some(value) => value.clone(),
                None => {
                    let warning =
                        "The result of the `var` expression could not be omitted; a placeholder was used instead.";
                    self.batch.send(Event::Warning(warning.into()));
                    let mut done = with(&name, "<<Omit>>".into());
                    done.result.insert("warnings".into(), json!([warning]));
                    return Ok(done);
                }
            },
            // It is there to be looked at, as in Ansible.
            Err(failure) => match undefined(&failure) {
                Some(what) => {
                    let mut done = with(&name, format!("<< error 1 - '{what}' is undefined >>").into());
                    done.result.insert("warnings".into(), json!([format!("'{what}' is undefined")]));
                    return Ok(done);
                }
                None => return Err(failure.into()),
            },
        };
        Ok(with(&name, value))
    }

    /// Returns the expression that the `var` of `debug` names; none if it comes to `omit`. A template names one only where it is a
    /// variable in which one was written: a text that a template has made is not evaluated.
    fn expression(&self, var: &Yaml) -> Result<Option<Yaml>, Trouble> {
        let refused = |message: String| Err(Diagnostic::new(message).at(&var.place).hint(BARE_NAME).into());
        let node = match var.as_str().filter(|text| is_template(text) && var.tag.is_none()) {
            None => var.clone(),
            Some(text) => {
                match (behind(text, &self.scope), self.templates().render(&var.in_list(), &self.scope)?.get(0)) {
                    (_, None) => return Ok(None),
                    (Some(node), Some(_)) if node.as_str().is_some_and(|text| !is_template(text)) => node.clone(),
                    (_, Some(value)) => Yaml::literal(value, &var.place),
                }
            }
        };
        if node.as_str().is_none() {
            return refused(format!("`var` is {}, which is not a string and conversion is not allowed", node.kind()));
        }
        if node.tag.as_deref() == Some("!unsafe") {
            return refused("Error while resolving `var` expression: an untrusted template or expression".into());
        }
        Ok(Some(node))
    }

    fn set_fact(&self, mut arguments: Map<String, Value>) -> Result<Done, Trouble> {
        let cacheable = arguments.remove("cacheable").and_then(|value| boolean(&value)).unwrap_or(false);
        if arguments.is_empty() {
            let error = Diagnostic::new("`set_fact` needs at least one `name: value`")
                .msg("No key/value pairs provided, at least one is required for this action to succeed");
            return Err(Trouble::refused(&error.at(&self.task.action_place)));
        }
        let hosts = self.fact_hosts()?;
        let arguments = self.with_names(arguments)?;
        for name in arguments.keys() {
            let name = Yaml::text_at(name, &self.task.action_place);
            check_variable(&name)
                .map_err(|error| error.msg(format!("Invalid variable name {}.", python_quoted(&name.key()))))?;
        }
        for (name, value) in &arguments {
            self.batch.run.warn_reserved(name, &self.task.action_place);
            for host in &hosts {
                self.batch.run.fleet.set_fact(host, name, Var::Known(value.clone()));
            }
        }
        for host in hosts.iter().filter(|_| cacheable) {
            self.batch.run.fleet.add_facts(host, arguments.clone());
        }
        Ok(with("ansible_facts", Value::Object(arguments)))
    }

    /// Renders names of variables: `set_fact: {"{{ item }}": 1}`.
    fn with_names(&self, arguments: Map<String, Value>) -> Result<Map<String, Value>, Trouble> {
        let named = arguments.into_iter().map(|(name, value)| {
            if !name.contains("{{") {
                return Ok((name, value));
            }
            let rendered = self.templates().render(&Yaml::text_at(name, &self.task.action_place), &self.scope)?;
            Ok((text_of(&rendered), value))
        });
        named.collect()
    }

    fn set_stats(&self, mut arguments: Map<String, Value>) -> Result<Done, Trouble> {
        let data = match arguments.remove("data") {
            None => Map::new(),
            Some(Value::Object(data)) => self.with_names(data)?,
            Some(_) => return Err(Trouble::failed("The 'data' option needs to be a dictionary/hash")),
        };
        if let Some(name) =
            data.keys().find(|name| check_variable(&Yaml::text_at(*name, &self.task.action_place)).is_err())
        {
            return Err(Trouble::failed(format!("Invalid variable name {}.", python_quoted(name))));
        }
        let switch = |name: &str, unsaid: bool| arguments.get(name).map_or(unsaid, truthy);
        let (per_host, aggregate) = (switch("per_host", false), switch("aggregate", true));
        Ok(with("ansible_stats", json!({ "data": data, "per_host": per_host, "aggregate": aggregate })))
    }

    fn add_host(&self, mut arguments: Map<String, Value>) -> Result<Done, Trouble> {
        let name = ["name", "hostname", "host"].iter().find_map(|key| arguments.remove(*key));
        let Some(name) = name.map(|name| text_of(&name)) else {
            return Err(Diagnostic::new("`add_host` needs the argument `name`").at(&self.task.action_place).into());
        };
        let name = match name.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') && port.parse::<u16>().is_ok() => {
                arguments.entry("ansible_ssh_port").or_insert(json!(port.parse::<u16>().unwrap_or_default()));
                host.to_string()
            }
            _ => name,
        };
        let groups = ["groups", "group", "groupname"].iter().find_map(|key| arguments.remove(*key));
        let groups = words(groups.as_ref());
        let told = json!({ "host_name": name, "groups": groups, "host_vars": arguments });
        let vars = arguments.into_iter().map(|(name, value)| (name, Var::Known(value))).collect();
        let changed = self.batch.run.fleet.add_host(&name, &groups, vars)?;
        Ok(Done { changed, ..with("add_host", told) })
    }

    fn group_by(&self, arguments: &Map<String, Value>) -> Result<Done, Trouble> {
        let Some(key) = arguments.get("key").map(text_of) else {
            return Err(Diagnostic::new("`group_by` needs the argument `key`").at(&self.task.action_place).into());
        };
        let group = key.replace(' ', "-");
        let changed = self.batch.run.fleet.group_by(self.host, &group, &words(arguments.get("parents")))?;
        Ok(Done { changed, ..with("add_group", group.into()) })
    }

    async fn pause(&self, arguments: &Map<String, Value>) -> Result<Done, Trouble> {
        // Whoever pauses waits for what other hands do.
        self.batch.run.connections.clock().tick();
        let number = |name: &str| arguments.get(name).and_then(|value| value.as_f64().or(text_of(value).parse().ok()));
        let seconds = number("seconds").or(number("minutes").map(|minutes| minutes * 60.0));
        if let Some(seconds) = seconds {
            tokio::time::sleep(duration(seconds)).await;
            self.batch.run.connections.clock().tick();
            return Ok(with("delta", seconds.into()));
        }
        let prompt = arguments.get("prompt").map_or("Press enter to continue".into(), text_of);
        if self.mode == Mode::Check || !std::io::stdin().is_terminal() {
            return Ok(with("user_input", "".into()));
        }
        let ask = tokio::task::spawn_blocking(move || {
            write!(anstream::stderr(), "{prompt}: ")?;
            let mut line = String::new();
            std::io::stdin().lock().read_line(&mut line).map(|_| line)
        });
        let line = ask.await;
        self.batch.run.connections.clock().tick();
        let line = line.map_err(|error| Trouble::failed(error.to_string()))?;
        let line = line.map_err(|error| Trouble::failed(format!("no answer: {error}")))?;
        Ok(with("user_input", line.trim_end().into()))
    }
}

const BARE_NAME: &str = "`var` is an expression already; write names without `{{ }}`";

/// Returns what an expression lacks, where that is why it failed.
fn undefined(failure: &Failure) -> Option<String> {
    let Failure::Wrong(diagnostic) = failure else { return None };
    let (name, rest) = diagnostic.message.strip_prefix('`')?.split_once('`')?;
    (rest.trim() == "is undefined").then(|| name.to_string())
}

fn python_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

pub(super) fn with(name: &str, value: Value) -> Done {
    let mut result = Results::new();
    result.insert(name.into(), value);
    Done { result, ..Done::default() }
}

fn truthy(value: &Value) -> bool {
    value.as_bool().unwrap_or_else(|| matches!(text_of(value).to_lowercase().as_str(), "yes" | "true" | "on" | "1"))
}

pub(super) fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}

/// Returns the words of a list or of comma-separated text.
pub(super) fn words(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::Array(items)) => items.iter().map(text_of).collect(),
        Some(Value::Null) | None => Vec::new(),
        Some(other) => {
            text_of(other).split(',').map(|word| word.trim().to_string()).filter(|word| !word.is_empty()).collect()
        }
    }
}
