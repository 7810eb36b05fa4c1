//! Rendering to show what is known of a text: an expression that needs an unknown is printed as [`KNOWN_AFTER_APPLY`].
//!
//! Only what `{{ }}` prints can be left open. A statement that needs an unknown (`{% if %}`, `{% for %}`, `{% set %}`) leaves
//! the whole text unknown, because nobody may choose a branch for it.

use std::borrow::Cow;

use minijinja::machinery::Token;
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, State, Value};

use super::Syntax;
use super::context::SELF;
use super::fault::is_unknown;
use super::prepared::Tokens;

/// Stands in what is shown for what only a run gives, in the words of others who show plans.
pub const KNOWN_AFTER_APPLY: &str = "(known after apply)";

/// The function that evaluates an expression, or says that only a run can.
const FUNCTION: &str = "_known_or_shown";

/// Whether what is rendered is for the host, or only shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    Host,
    Show,
}

pub(super) fn register(environment: &mut Environment<'static>) {
    environment.add_function(FUNCTION, known);
}

/// Returns the template with each expression that it prints handed to the function.
pub(super) fn leniently<'a>(text: &'a str, config: &SyntaxConfig, wanted: Use) -> Cow<'a, str> {
    if wanted == Use::Host {
        return text.into();
    }
    let tokens = Tokens::new(text, Syntax::Template, config).0;
    let (mut new, mut copied, mut begun) = (String::with_capacity(text.len()), 0, 0);
    for (token, span) in &tokens {
        match token {
            Token::VariableStart => begun = span.end_offset as usize,
            Token::VariableEnd => {
                let source = &text[begun..span.start_offset as usize];
                new += &text[copied..begun];
                new += &format!(" {FUNCTION}({}) ", quoted(source.trim()));
                copied = span.start_offset as usize;
            }
            _ => {}
        }
    }
    new += &text[copied..];
    new.into()
}

/// Writes a text as a string of the template language.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

fn known(state: &State, source: &str) -> Result<Value, Error> {
    let expression = state.env().compile_expression(source)?;
    let names = expression.undeclared_variables(false).into_iter().chain([SELF.to_string()]);
    let variables: Vec<(String, Value)> =
        names.filter_map(|name| state.lookup(&name).map(|value| (name, value))).collect();
    match expression.eval(Value::from_pairs(variables)) {
        Err(error) if is_unknown(&error) => Ok(KNOWN_AFTER_APPLY.into()),
        other => other,
    }
}
