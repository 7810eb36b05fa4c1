//! Jinja2 as Ansible uses it; the only place that knows minijinja.

use std::sync::Arc;

use minijinja::Environment;
use minijinja::syntax::SyntaxConfig;
use serde_json::{Map, Value};

use crate::error::{Diagnostic, Diagnostics, Source};
use crate::host::TemplateOptions;
use crate::names::short_lookup;
use crate::settings;
use crate::vars::{Scope, Var};
use crate::yaml::{Data, Yaml};

#[cfg(test)]
mod behaviour;
mod call;
mod chance;
mod context;
mod elements;
mod fault;
mod filters;
mod found;
mod functions;
mod lookups;
mod methods;
mod moments;
mod names;
mod native;
mod own;
mod passwords;
mod prepared;
mod shown;
#[cfg(test)]
mod table;
mod tables;
mod tests;
mod url;
mod uses;
mod values;

use context::{Context, has_template, is_template, is_vault};
use fault::{Broken, Fault, Origin};
pub use lookups::commands_run;
use prepared::{Prepared, Tokens};
use shown::leniently;
pub use shown::{KNOWN_AFTER_APPLY, Use};
pub use uses::Uses;

/// The environment with all filters, tests and functions; one for a run.
pub struct Templates {
    environment: Arc<Environment<'static>>,
}

/// Why something could not be rendered.
#[derive(Clone, Debug)]
pub enum Failure {
    /// It needs a value that a check cannot know; the text says which (`result of task ...`).
    Unknown(Arc<str>),
    Wrong(Diagnostic),
}

/// How a text is read: `when: x == 1` is an expression, everything else a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    Template,
    Expression,
    /// A template file: unlike in a playbook, the escapes in its strings are Python's.
    File,
}

impl Templates {
    #[allow(clippy::new_without_default)]
    pub fn new() -> Templates {
        let mut environment = native::environment();
        filters::register(&mut environment);
        tests::register(&mut environment);
        lookups::register(&mut environment);
        shown::register(&mut environment);
        environment.set_unknown_method_callback(methods::call);
        Templates { environment: Arc::new(environment) }
    }

    /// Renders every text below `node`; an expression alone keeps its type. `!unsafe` text stays as it is.
    /// A value that is `omit` is left out of its mapping or list; `node` itself becomes null.
    pub fn render(&self, node: &Yaml, scope: &Scope) -> Result<Value, Failure> {
        self.render_for(Use::Host, node, scope)
    }

    /// The same, for the host or to be shown.
    pub fn render_for(&self, wanted: Use, node: &Yaml, scope: &Scope) -> Result<Value, Failure> {
        if !has_template(node) {
            return Ok(node.to_value());
        }
        let context = Context::new(&self.environment, scope);
        Ok(self.below(node, &context, wanted)?.unwrap_or(Value::Null))
    }

    /// Renders every text below `node`: nothing if that needs something that is not defined.
    pub fn rendered(&self, node: &Yaml, scope: &Scope) -> Result<Option<Value>, Failure> {
        let context = Context::new(&self.environment, scope);
        let Data::Text(text) = &*node.data else { return self.render(node, scope).map(Some) };
        let rendered = native::render(&self.environment, text, context.value());
        let value = rendered.and_then(|value| values::json(&value).map_err(Broken::whole));
        match value.map_err(|broken| Fault::new(&broken, &Origin::Node(node), &context)) {
            Ok(value) => Ok(Some(value)),
            Err(Fault::Undefined(_)) => Ok(None),
            Err(Fault::Other(failure)) => Err(failure),
        }
    }

    /// Renders a node: nothing if it is `omit`.
    fn below(&self, node: &Yaml, context: &Arc<Context>, wanted: Use) -> Result<Option<Value>, Failure> {
        Ok(Some(match &*node.data {
            _ if !has_template(node) => node.to_value(),
            Data::Text(text) if is_vault(node) => {
                let fail = |error| Fault::new(&Broken::whole(error), &Origin::Node(node), context).failure();
                values::json(&context.decrypted(text, node)).map_err(fail)?
            }
            Data::Text(text) => {
                let fail = |broken: Broken| Fault::new(&broken, &Origin::Node(node), context).failure();
                let value = native::render_for(wanted, &self.environment, (text, context.value())).map_err(fail)?;
                if values::is_omit(&value) {
                    return Ok(None);
                }
                let broken = |error| fail(Broken::whole(error));
                let value = values::json(&value).map_err(broken)?;
                context.made_of_secret(&value);
                value
            }
            Data::List(list) => {
                let mut items = Vec::with_capacity(list.len());
                for item in list {
                    items.extend(self.below(item, context, wanted)?);
                }
                Value::Array(items)
            }
            Data::Map(map) => {
                let mut entries = Map::new();
                for (key, value) in map {
                    if let Some(value) = self.below(value, context, wanted)? {
                        entries.insert(key.key(), value);
                    }
                }
                Value::Object(entries)
            }
            _ => node.to_value(),
        }))
    }

    /// Evaluates a condition (`when`, `until`, `changed_when`): a boolean, an expression, or a list of both, all of which must hold.
    ///
    /// Anything but a boolean is an error, as in ansible-core 2.19.
    pub fn condition(&self, node: &Yaml, scope: &Scope) -> Result<bool, Failure> {
        match &*node.data {
            Data::Bool(value) => Ok(*value),
            Data::List(list) => {
                for item in list {
                    if !self.condition(item, scope)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Data::Text(_) if node.tag.as_deref() == Some("!unsafe") => {
                let error = Diagnostic::new("a condition that is `!unsafe` is not evaluated").at(&node.place);
                Err(Failure::Wrong(error.msg("Encountered untrusted template or expression.")))
            }
            Data::Text(text) if !text.trim().is_empty() => {
                // A variable may hold an expression; what a template makes is none.
                if let Some(node) = behind(text, scope).filter(|node| node.as_str().is_some() && !has_template(node)) {
                    return self.condition(node, scope);
                }
                let context = Context::new(&self.environment, scope);
                let wrapped = is_template(text) && !self.is_expression(text);
                let evaluate = if wrapped { native::render } else { native::evaluate };
                let value = evaluate(&self.environment, text, context.value())
                    .map_err(|broken| Fault::new(&broken, &Origin::Node(node), &context).failure())?;
                match value.kind() {
                    minijinja::value::ValueKind::Bool => Ok(value.is_true()),
                    minijinja::value::ValueKind::String if wrapped => {
                        Err(Failure::Wrong(not_boolean(&value, wrapped).at(&node.place)))
                    }
                    _ if settings::switch("ANSIBLE_ALLOW_BROKEN_CONDITIONALS", false) => Ok(value.is_true()),
                    _ => Err(Failure::Wrong(not_boolean(&value, wrapped).at(&node.place))),
                }
            }
            _ => {
                let message = format!("a condition is a boolean or an expression, not {}", node.kind());
                Err(Failure::Wrong(Diagnostic::new(message).at(&node.place)))
            }
        }
    }

    /// Says whether a condition is an expression of which at most strings are templates.
    fn is_expression(&self, text: &str) -> bool {
        let tokens = Tokens::new(text, Syntax::Expression, self.environment.syntax());
        !is_template(&tokens.without_strings(text))
    }

    /// Runs lookup `name` on the rendered `terms`, as `with_NAME:` does. The result is a list.
    ///
    /// Of `with_first_found` terms may be undefined: they are passed over.
    pub fn looked_up(&self, name: &str, terms: &Yaml, scope: &Scope) -> Result<Value, Failure> {
        if short_lookup(name) != "first_found" {
            return self.lookup(name, &self.render(terms, scope)?, scope);
        }
        let context = Context::new(&self.environment, scope);
        let given = self.defined(terms, &context).map_err(Fault::failure)?;
        let fail = |error| Fault::new(&Broken::whole(error), &Origin::Node(terms), &context).failure();
        let found = lookups::with(name, &given, &context).map_err(fail)?;
        values::json(&found).map_err(fail)
    }

    /// Renders a node without what needs something undefined. A list with something undefined in it is a value, as long as it is
    /// not written into a text.
    fn defined(&self, node: &Yaml, context: &Arc<Context>) -> Result<minijinja::Value, Fault> {
        let kept = |node: &Yaml| match self.defined(node, context) {
            Err(Fault::Undefined(_)) => Ok(None),
            value => value.map(Some),
        };
        let expression = |text: &str| {
            let inner = text.trim().strip_prefix("{{")?.strip_suffix("}}")?;
            (!inner.contains("{{")).then(|| inner.to_string())
        };
        match &*node.data {
            Data::List(items) => {
                let kept: Result<Vec<_>, _> = items.iter().filter_map(|item| kept(item).transpose()).collect();
                kept.map(minijinja::Value::from)
            }
            Data::Map(map) => {
                let kept = map
                    .iter()
                    .filter_map(|(key, value)| Some(kept(value).transpose()?.map(|value| (key.key(), value))));
                kept.collect::<Result<Vec<_>, _>>().map(minijinja::Value::from_pairs)
            }
            Data::Text(text) if has_template(node) && !is_vault(node) => {
                let value = match expression(text) {
                    Some(expression) => native::evaluate(&self.environment, &expression, context.value()),
                    None => native::render(&self.environment, text, context.value()),
                };
                value.map_err(|broken| Fault::new(&broken, &Origin::Node(node), context))
            }
            _ => Ok(context.written("", node).unwrap_or_default()),
        }
    }

    /// Runs lookup `name` on rendered `terms`. The result is a list.
    pub fn lookup(&self, name: &str, terms: &Value, scope: &Scope) -> Result<Value, Failure> {
        let context = Context::new(&self.environment, scope);
        let node = Yaml::text_at("", &crate::error::Place::new(&Arc::new(nowhere()), 1, 1));
        let fail = |error| match Fault::new(&Broken::whole(error), &Origin::Node(&node), &context).failure() {
            Failure::Wrong(diagnostic) => Failure::Wrong(Diagnostic { place: None, ..diagnostic }),
            unknown => unknown,
        };
        let found = lookups::with(name, &values::value(terms), &context).map_err(fail)?;
        values::json(&found).map_err(fail)
    }

    /// Renders the text of a template file, for the host or to be shown. Errors carry the place in `source`.
    pub fn text(
        &self,
        wanted: Use,
        (source, options): (&Arc<Source>, &TemplateOptions),
        scope: &Scope,
    ) -> Result<String, Failure> {
        let origin = Origin::File(source);
        let (options, header) = options_of(&source.text, options);
        let wrong = |message: String| Failure::Wrong(Diagnostic::new(message).at(&origin.at(0)));
        let config = syntax_of(&options).map_err(|error| wrong(error.to_string()))?;
        let context = Context::new(&self.environment, scope);
        let mut environment = (*self.environment).clone();
        environment.set_syntax(config.clone());
        lookups::load_includes(&mut environment, source, scope);
        let text = &source.text[header..];
        let prepared = Prepared::new(native::without_last_newline(text), Syntax::File, &config);
        let name = source.path.to_string_lossy();
        let rendered = environment
            .template_from_named_str(&name, &leniently(&prepared.text, &config, wanted))
            .and_then(|template| native::rendered(&template, context.value(), text));
        let written = |value: minijinja::Value| if value.is_none() { String::new() } else { call::text(&value) };
        rendered.map(written).map_err(|error| {
            let broken = Broken::new(error, &prepared).after(header);
            Fault::new(&broken, &origin, &context).failure()
        })
    }

    /// Finds bad syntax and unknown filters, tests and functions in every text below `node`, without rendering.
    pub fn check(&self, node: &Yaml, syntax: Syntax) -> Diagnostics {
        let mut found = Diagnostics::default();
        self.check_below(node, syntax, &mut found);
        found
    }

    /// Finds the same in the text of a template file that sets no delimiters of its own.
    pub fn check_file(&self, source: &Arc<Source>) -> Diagnostics {
        if source.text.starts_with(HEADER) {
            return Diagnostics::default();
        }
        names::check(&self.environment, &source.text, Syntax::Template, &Origin::File(source))
    }

    /// Returns the variables that the texts below `node` read, without rendering.
    pub fn uses(&self, node: &Yaml, syntax: Syntax) -> Uses {
        let mut uses = Uses::default();
        self.uses_below(node, syntax, &mut uses);
        uses
    }

    /// Returns those of a template file that sets no delimiters of its own.
    pub fn uses_of_file(&self, source: &Arc<Source>) -> Uses {
        let mut uses = Uses::default();
        if !source.text.starts_with(HEADER) {
            uses.add(&self.environment, (&source.text, Syntax::Template), &Origin::File(source));
        }
        uses
    }

    fn uses_below(&self, node: &Yaml, syntax: Syntax, uses: &mut Uses) {
        if node.tag.as_deref() == Some("!unsafe") || is_vault(node) {
            return;
        }
        match &*node.data {
            Data::Text(text) if syntax == Syntax::Expression || is_template(text) => {
                let syntax = if is_template(text) { Syntax::Template } else { syntax };
                uses.add(&self.environment, (text, syntax), &Origin::Node(node));
            }
            Data::List(list) => list.iter().for_each(|item| self.uses_below(item, syntax, uses)),
            Data::Map(map) => map.iter().for_each(|(_, value)| self.uses_below(value, syntax, uses)),
            _ => {}
        }
    }

    fn check_below(&self, node: &Yaml, syntax: Syntax, found: &mut Diagnostics) {
        if node.tag.as_deref() == Some("!unsafe") || is_vault(node) {
            return;
        }
        match &*node.data {
            Data::Text(text) if syntax == Syntax::Expression || is_template(text) => {
                let syntax = if is_template(text) { Syntax::Template } else { syntax };
                found.extend(names::check(&self.environment, text, syntax, &Origin::Node(node)));
            }
            Data::List(list) => list.iter().for_each(|item| self.check_below(item, syntax, found)),
            Data::Map(map) => map.iter().for_each(|(_, value)| self.check_below(value, syntax, found)),
            _ => {}
        }
    }
}

/// Returns a value as Python's `str` prints it, which is how Ansible shows items.
pub fn text(value: &Value) -> String {
    call::text(&values::value(value))
}

/// Returns the names of all filters.
pub fn filter_names() -> Vec<&'static str> {
    filters::names().collect()
}

/// Returns the names of all lookups.
pub fn lookup_names() -> Vec<&'static str> {
    lookups::names().collect()
}

/// Returns the names of all tests.
pub fn test_names() -> Vec<&'static str> {
    tests::names().collect()
}

/// Says whether templates know a function of this name.
pub fn is_function(name: &str) -> bool {
    lookups::functions().any(|known| known == name)
}

/// Returns what stands behind a template that is the name of a variable and nothing else, as it was written.
pub fn behind<'a>(template: &str, scope: &'a Scope) -> Option<&'a Yaml> {
    match scope.get(template.trim().strip_prefix("{{")?.strip_suffix("}}")?.trim())? {
        Var::Written(node) => Some(node),
        _ => None,
    }
}

fn nowhere() -> Source {
    Source { path: "loop".into(), text: String::new() }
}

fn not_boolean(value: &minijinja::Value, wrapped: bool) -> Diagnostic {
    let kind = values::python_type(value);
    let truth = if value.is_true() { "True" } else { "False" };
    let told = match (wrapped, kind) {
        // What a template has made is not read as an expression once more.
        (true, "str") => "Encountered untrusted template or expression.".to_string(),
        _ => format!(
            "Conditional result ({truth}) was derived from value of type '{kind}'. Conditionals must have a boolean result."
        ),
    };
    let diagnostic =
        Diagnostic::new(format!("this condition is {} and not a boolean", described(value, kind))).msg(told);
    match kind {
        _ if wrapped => diagnostic.hint("a condition is an expression already; write names without `{{ }}`"),
        "str" => diagnostic.hint("compare it (`x == 'yes'`, `x | length > 0`), or convert it: `x | bool`"),
        "int" | "float" => diagnostic.hint("compare it: `x > 0`, `x != 0`"),
        "NoneType" => diagnostic.hint("test it: `x is not none`"),
        _ => diagnostic.hint("ask for its length: `x | length > 0`"),
    }
}

fn described(value: &minijinja::Value, kind: &str) -> String {
    match kind {
        "str" => format!("the text {:?}", value.to_string()),
        "int" | "float" => format!("the number {value}"),
        "NoneType" => "`None`".into(),
        "dict" => "a mapping".into(),
        _ => "a list".into(),
    }
}

/// How a first line begins that has settings.
const HEADER: &str = "#jinja2:";

/// Reads the settings of a first line such as `#jinja2: trim_blocks: False`; returns them and the line's length.
fn options_of(text: &str, given: &TemplateOptions) -> (TemplateOptions, usize) {
    let mut options = given.clone();
    let Some(line) = text.split_inclusive('\n').next().filter(|line| line.starts_with(HEADER)) else {
        return (options, 0);
    };
    for setting in line[HEADER.len()..].trim().split(',') {
        let Some((name, value)) = setting.split_once(':') else { continue };
        let value = value.trim().trim_matches(['\'', '"']);
        let flag = matches!(value, "True" | "true" | "yes");
        match name.trim() {
            "trim_blocks" => options.trim_blocks = flag,
            "lstrip_blocks" => options.lstrip_blocks = flag,
            "block_start_string" => options.block_start = value.into(),
            "block_end_string" => options.block_end = value.into(),
            "variable_start_string" => options.variable_start = value.into(),
            "variable_end_string" => options.variable_end = value.into(),
            "comment_start_string" => options.comment_start = value.into(),
            "comment_end_string" => options.comment_end = value.into(),
            _ => {}
        }
    }
    (options, line.len())
}

fn syntax_of(options: &TemplateOptions) -> Result<SyntaxConfig, minijinja::Error> {
    SyntaxConfig::builder()
        .trim_blocks(options.trim_blocks)
        .lstrip_blocks(options.lstrip_blocks)
        .keep_trailing_newline(true)
        .block_delimiters(options.block_start.clone(), options.block_end.clone())
        .variable_delimiters(options.variable_start.clone(), options.variable_end.clone())
        .comment_delimiters(options.comment_start.clone(), options.comment_end.clone())
        .build()
}
