//! The action `validate_argument_spec`: variables against what a role says of its arguments.

use serde_json::{Map, Value};

use crate::error::Diagnostic;
use crate::modules::Results;
use crate::yaml::Yaml;

use super::doing::{Doing, Done};
use super::spec;
use super::trouble::Trouble;

impl Doing<'_> {
    /// Compares what is given, and the variables that have the names of options, with a specification.
    pub(super) fn validate(&self, mut arguments: Map<String, Value>) -> Result<Done, Trouble> {
        let wrong = |message: String| Trouble::from(Diagnostic::new(message).at(&self.task.action_place));
        let options = match arguments.remove("argument_spec") {
            Some(Value::Object(options)) => options,
            None => return Err(wrong("`validate_argument_spec` needs the argument `argument_spec`".into())),
            Some(other) => return Err(wrong(format!("`argument_spec` should be a mapping, not {other}"))),
        };
        let given = match arguments.remove("provided_arguments") {
            Some(Value::Object(given)) => given,
            None | Some(Value::Null) => Map::new(),
            Some(other) => return Err(wrong(format!("`provided_arguments` should be a mapping, not {other}"))),
        };
        if let Some((name, option)) = options.iter().find(|(_, option)| !option.is_object()) {
            return Err(wrong(format!("option `{name}` should be a mapping, not {option}")));
        }
        let mut values = Map::new();
        for name in options.keys().filter(|name| self.scope.get(name).is_some()) {
            let node = Yaml::text_at(format!("{{{{ {name} }}}}"), &self.task.action_place);
            // What comes to `omit` is not given.
            if let Value::Array(given) = self.templates().render(&node.in_list(), &self.scope)? {
                values.extend(given.into_iter().map(|value| (name.clone(), value)));
            }
        }
        values.extend(given);
        let errors = spec::errors(&options, values);
        let context = arguments.remove("validate_args_context").unwrap_or_else(|| Value::Object(Map::new()));
        let mut result = Results::from_iter([("validate_args_context".to_string(), context)]);
        if errors.is_empty() {
            result.insert("msg".into(), "The arg spec validation passed".into());
            return Ok(Done { result, ..Done::default() });
        }
        let message = format!("Validation of arguments failed:\n{}", errors.join("\n"));
        result.insert("argument_errors".into(), errors.into());
        result.insert("argument_spec_data".into(), Value::Object(options));
        Err(Trouble::Failed { message, result })
    }
}
