//! What can be wrong with a playbook before any host is touched: modules, arguments, templates.

use serde_json::Map;

use crate::error::{Diagnostic, Diagnostics};
use crate::modules::{self, Entry};
use crate::playbook::keywords::{check_variable, is_template};
use crate::playbook::{Keywords, Play, Playbook, Section, Step, Task, hands_on};
use crate::template::{Syntax, Templates};
use crate::vars::{Layer, Var};
use crate::yaml::{Data, Yaml};

use super::doing::entry;
use super::{action, login, meta};

/// Returns every action's name, for suggestions.
pub fn actions() -> Vec<&'static str> {
    modules::all().map(|entry| entry.name).chain(action::ACTIONS.iter().map(|action| action.name)).collect()
}

/// Says whether an action is one of these, and not a template or a module that is not here.
pub fn is_known(name: &str) -> bool {
    modules::find(name).is_some() || action::find(name).is_some()
}

/// Returns every error in a playbook.
pub fn playbook(playbook: &Playbook, templates: &Templates) -> Result<(), Diagnostics> {
    let mut errors = Diagnostics::default();
    for play in &playbook.plays {
        verify_play(play, templates, &mut errors);
    }
    errors.or(())
}

/// Returns every error in steps that were included while running.
pub fn steps(steps: &[Step], templates: &Templates) -> Result<(), Diagnostics> {
    let mut errors = Diagnostics::default();
    verify_steps(steps, templates, false, &mut errors);
    errors.or(())
}

fn verify_play(play: &Play, templates: &Templates, errors: &mut Diagnostics) {
    for node in [&play.hosts].into_iter().chain(&play.vars_files).chain(&play.serial) {
        errors.extend(templates.check(node, Syntax::Template));
    }
    verify_layer(&play.vars, templates, errors);
    for section in play.sections() {
        verify_steps(section, templates, false, errors);
    }
    for handler in &play.handlers {
        verify_task(handler, templates, false, errors);
    }
}

/// `rescued`: what fails here is caught, so that an argument that cannot be is the task's own failure.
fn verify_steps(steps: &[Step], templates: &Templates, rescued: bool, errors: &mut Diagnostics) {
    for step in steps {
        match step {
            Step::Task(task) => verify_task(task, templates, rescued, errors),
            Step::Block(block) => {
                verify_steps(&block.block, templates, rescued || !block.rescue.is_empty(), errors);
                for part in [&block.rescue, &block.always] {
                    verify_steps(part, templates, rescued, errors);
                }
            }
        }
    }
}

fn verify_layer(layer: &Layer, templates: &Templates, errors: &mut Diagnostics) {
    for var in layer.values() {
        if let Var::Written(node) = var {
            errors.extend(templates.check(node, Syntax::Template));
        }
    }
}

fn verify_keywords(keywords: &Keywords, templates: &Templates, errors: &mut Diagnostics) {
    for condition in &keywords.when {
        errors.extend(templates.check(condition, Syntax::Expression));
    }
    verify_layer(&keywords.vars, templates, errors);
    if let Some((node, kind)) = keywords.connection.as_ref().and_then(|node| Some((node, node.as_str()?)))
        && !is_template(kind)
        && !login::is_connection(kind)
    {
        let error = Diagnostic::new(format!("connection `{kind}` is not supported"));
        errors.push(error.at(&node.place).hint(login::CONNECTIONS));
    }
    let texts = [&keywords.name, &keywords.become_user, &keywords.remote_user];
    for node in texts.into_iter().flatten().chain(&keywords.environment) {
        errors.extend(templates.check(node, Syntax::Template));
    }
}

fn verify_task(task: &Task, templates: &Templates, rescued: bool, errors: &mut Diagnostics) {
    verify_keywords(&task.keywords, templates, errors);
    // What is wrong with a task whose errors are ignored fails when it runs, and is ignored.
    let mut ignored = Diagnostics::default();
    let errors = if is_true(task.keywords.ignore_errors.as_ref()) { &mut ignored } else { errors };
    for condition in [&task.changed_when, &task.failed_when, &task.until].into_iter().flatten() {
        errors.extend(templates.check(condition, Syntax::Expression));
    }
    let texts = [&task.delegate_to, &task.retries, &task.delay, &task.timeout, &task.asynchronous, &task.poll];
    let looped = task.loop_over.as_ref().map(|over| &over.items);
    for node in texts.into_iter().flatten().chain(looped).chain(&task.notify).chain(&task.free_form).chain(&task.args) {
        errors.extend(templates.check(node, Syntax::Template));
    }
    let forgiven = rescued || task.keywords.ignore_errors.is_some() || task.failed_when.is_some();
    // What is wrong in these is the task's own failure, too.
    for (name, value) in task.arguments.iter().filter(|_| !forgiven) {
        let syntax = match (task.action.as_str(), name.as_str()) {
            ("assert", Some("that")) => Syntax::Expression,
            ("debug", Some("var")) => continue,
            _ => Syntax::Template,
        };
        errors.extend(templates.check(value, syntax));
    }
    let probes = |entry: &Entry| entry.runs_commands();
    if let Some(probe) = task.probe.as_ref().filter(|_| !entry(task).is_some_and(probes)) {
        let error = Diagnostic::new(format!("`probe` beside `{}`, which is no command", task.action));
        errors.push(error.at(&probe.place).hint("it marks a `command`, `shell`, `script` or `raw` that only reads"));
    }
    if task.custom.is_some() || task.absent.is_some() {
        return;
    }
    if is_template(&task.action) {
        return errors
            .extend(templates.check(&Yaml::text_at(task.action.as_str(), &task.action_place), Syntax::Template));
    }
    match (modules::find(&task.action), action::find(&task.action)) {
        (Some(_), _) | (_, Some(_)) if forgiven || whole(task) => {}
        (Some(entry), _) => verify_arguments(entry, task, errors),
        (None, Some(action)) => verify_action(action, task, errors),
        (None, None) => errors.push(unknown_module(task)),
    }
}

fn is_true(node: Option<&Yaml>) -> bool {
    matches!(node.map(|node| &*node.data), Some(Data::Bool(true)))
}

/// Says whether all arguments are one template, of a mapping that only a run knows.
fn whole(task: &Task) -> bool {
    let words = task.free_form.as_ref().and_then(Yaml::as_str).is_some_and(is_template);
    let takes_words = modules::find(&task.action).is_some_and(|entry| entry.free_form.is_none());
    !task.args.is_empty()
        || (words && takes_words)
        || task.arguments.is_empty() && task.free_form.as_ref().and_then(Yaml::as_str).is_some_and(is_whole_template)
}

/// Says whether a text is one template and nothing else.
pub(super) fn is_whole_template(text: &str) -> bool {
    let text = text.trim();
    text.starts_with("{{") && text.ends_with("}}") && text.matches("{{").count() == 1
}

fn unknown_module(task: &Task) -> Diagnostic {
    let error = Diagnostic::new(format!("unknown module `{}`", task.action)).at(&task.action_place);
    match task.action.contains('.') {
        true => error.hint("Cutover has no collections; `cutover doc -l` lists its modules"),
        false => error.suggest(&task.action, actions()),
    }
}

fn verify_action(action: &action::Action, task: &Task, errors: &mut Diagnostics) {
    if let Some(known) = action.arguments {
        for (name, _) in &task.arguments {
            let key = name.key();
            if !known.contains(&key.as_str()) && action.free_form != Some(&key) {
                let error = Diagnostic::new(format!("unknown argument `{key}` for `{}`", action.name)).at(&name.place);
                errors.push(error.suggest(&key, known.iter().copied()));
            }
        }
    }
    if let (Some(text), None) = (&task.free_form, action.free_form) {
        errors.push(Diagnostic::new(format!("`{}` takes no bare text", action.name)).at(&text.place));
    }
    if action.name == "set_fact" {
        let named = task.arguments.iter().map(|(name, _)| name).filter(|name| !is_template(&name.key()));
        named.filter_map(|name| check_variable(name).err()).for_each(|error| errors.push(error));
    }
    let written =
        |name: &str| task.arguments.iter().find(|(key, _)| key.as_str() == Some(name)).map(|(_, value)| value);
    if let ("debug", Some(_), Some(var)) = (action.name, written("msg"), written("var"))
        && !has_template(var)
    {
        let error = Diagnostic::new("`debug` takes one of `msg` and `var`").at(&task.action_place);
        errors.push(error.hint("write the variable into the message: `msg: \"... {{ name }}\"`"));
    }
    if action.name == "meta" {
        let word = task.free_form.as_ref().and_then(|node| node.as_str()).unwrap_or_default().trim();
        if !meta::META.contains(&word) {
            let error = Diagnostic::new(format!("unknown `meta` word `{word}`")).at(&task.action_place);
            errors.push(error.hint(format!("one of: {}", meta::META.join(", "))));
        }
        let place = match task.section {
            Section::Handlers => Some("a handler"),
            Section::Tasks => task.keywords.role.is_none().then_some("outside of a role"),
        };
        if word == "flush_handlers" && task.section == Section::Handlers {
            errors.push(Diagnostic::new("flush_handlers cannot be used as a handler").at(&task.action_place));
        }
        if let Some(place) = place.filter(|_| word == "end_role") {
            errors.push(Diagnostic::new(format!("Cannot execute 'end_role' from {place}")).at(&task.action_place));
        }
    }
}

/// Checks names, and values wherever they hold no template.
fn verify_arguments(entry: &Entry, task: &Task, errors: &mut Diagnostics) {
    let mut fixed = Map::new();
    // What `module_defaults` says may be for the module behind this one on hosts of another kind.
    let mut open = hands_on(entry.name) && !task.keywords.module_defaults.is_empty();
    for (name, value) in &task.arguments {
        let key = name.key();
        if let Err(error) = entry.check_name(&key) {
            open = true;
            // What is left out asks for nothing, which a run finds.
            if !value.as_str().is_some_and(may_be_omitted) && !may_be_elsewhere(task, &error) {
                errors.push(error.at(&name.place));
            }
            continue;
        }
        if has_template(value) {
            open = true;
            continue;
        }
        fixed.insert(key.clone(), value.to_value());
        if value.is_null() {
            continue;
        }
        if let Err(error) = entry.check_value(&key, value.to_value()) {
            errors.push(error.at(&value.place));
            open = true;
        }
    }
    match (&task.free_form, entry.free_form) {
        (Some(text), None) => {
            errors.push(Diagnostic::new(format!("`{}` takes no bare text", entry.name)).at(&text.place));
        }
        (Some(text), Some(name)) => {
            fixed.insert(name.into(), text.to_value());
        }
        (None, _) => {}
    }
    let given = |name: &str| {
        let free = task.free_form.is_some() && entry.free_form == Some(name);
        free || task.arguments.iter().any(|(key, _)| entry.argument(&key.key()).is_some_and(|known| known.name == name))
    };
    for argument in entry.all().filter(|argument| argument.required && !given(argument.name)) {
        let message = format!("`{}` needs the argument `{}`", entry.name, argument.name);
        errors.push(Diagnostic::new(message).at(&task.action_place).hint(argument.help));
        open = true;
    }
    // With every value known, the module itself says what does not go together.
    if !open {
        let built = entry.arguments(fixed).and_then(|arguments| (entry.build)(&arguments).map(drop));
        if let Err(error) = built {
            errors.push(error.or_at(&task.action_place));
        }
    }
}

/// Says whether an argument that is not here may be meant for hosts or cases that never come: behind a condition, and like none
/// that is here.
fn may_be_elsewhere(task: &Task, error: &Diagnostic) -> bool {
    let misspelt = error.hint.as_ref().is_some_and(|hint| hint.starts_with("did you mean"));
    !task.keywords.when.is_empty() && !misspelt
}

/// Returns the arguments in a play that are not here, and no errors unless a run comes to them.
pub fn doubts(play: &Play) -> Vec<Diagnostic> {
    let tasks = play.sections().into_iter().flatten().flat_map(Step::tasks);
    let tasks = tasks.chain(&play.handlers).filter(|task| task.custom.is_none());
    let mut found = Vec::new();
    for (task, entry) in tasks.filter_map(|task| Some((task, modules::find(&task.action)?))) {
        for (name, _) in &task.arguments {
            let unknown = entry.check_name(&name.key()).err().filter(|error| may_be_elsewhere(task, error));
            found.extend(unknown.map(|error| error.at(&name.place)));
        }
    }
    found
}

/// Says whether a template may say `omit`.
fn may_be_omitted(text: &str) -> bool {
    is_template(text) && text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "omit")
}

fn has_template(node: &Yaml) -> bool {
    match &*node.data {
        Data::Text(text) => text.contains("{{") || text.contains("{%"),
        Data::List(items) => items.iter().any(has_template),
        Data::Map(entries) => entries.iter().any(|(key, value)| has_template(key) || has_template(value)),
        _ => false,
    }
}
