//! The variables that a text reads, told apart by whether it minds that they are undefined; nothing is rendered for it.

use std::collections::HashSet;

use minijinja::Environment;
use minijinja::machinery::Token;

use crate::error::Place;

use super::fault::Origin;
use super::lookups;
use super::prepared::{OPERATORS, Prepared, Tokens, tolerates_undefined};
use super::{Syntax, names};

/// What texts read.
#[derive(Clone, Debug, Default)]
pub struct Uses {
    /// The variables that must be defined, each with the place of its first use.
    pub needed: Vec<(String, Place)>,
    /// Names that may be undefined, as far as the texts say: before `default` or `is defined`, or written as text, as for
    /// `'x' in vars`.
    pub spared: HashSet<String>,
}

/// Words that stand where a variable could and are none.
const VALUES: [&str; 9] = ["true", "false", "none", "True", "False", "None", "omit", "varargs", "kwargs"];

impl Uses {
    /// Adds what one text reads; one that cannot be compiled reads nothing.
    pub(super) fn add(&mut self, environment: &Environment, (text, syntax): (&str, Syntax), origin: &Origin) {
        let prepared = Prepared::new(text, syntax, environment.syntax());
        let read = match syntax {
            Syntax::Template | Syntax::File => {
                environment.template_from_str(&prepared.text).map(|text| text.undeclared_variables(false))
            }
            Syntax::Expression => {
                environment.compile_expression(&prepared.text).map(|text| text.undeclared_variables(false))
            }
        };
        let Ok(read) = read else { return };
        let tokens = Tokens::new(text, syntax, environment.syntax());
        self.spared.extend(spared(&tokens));
        for index in 0..tokens.0.len() {
            let Some(name) = tokens.ident(index).filter(|name| read.contains(*name)) else { continue };
            let known = self.needed.iter().any(|(known, _)| known == name);
            if known || !is_variable(&tokens, index) || lookups::functions().any(|function| function == name) {
                continue;
            }
            self.needed.push((name.into(), origin.at(tokens.0[index].1.start_offset as usize)));
        }
    }
}

/// Says whether the word at `index` is a variable, and not an attribute, a filter, an argument's name or an operator.
fn is_variable(tokens: &Tokens, index: usize) -> bool {
    let word = tokens.ident(index).unwrap_or_default();
    let behind = |text: &str| index > 0 && tokens.is(index - 1, text);
    let tested = behind("is") || behind("not") && index > 1 && tokens.is(index - 2, "is");
    let is_argument = matches!(tokens.0.get(index + 1), Some((Token::Assign, _)));
    let is_word = OPERATORS.contains(&word) || VALUES.contains(&word) || names::LOCAL.contains(&word);
    !(is_word || tested || is_argument || behind(".") || behind("|") || behind("{%"))
}

/// Returns the names that may be undefined.
fn spared(tokens: &Tokens) -> HashSet<String> {
    let mut names = HashSet::new();
    for index in 0..tokens.0.len() {
        match &tokens.0[index].0 {
            Token::Str(text) => drop(names.insert(text.to_string())),
            Token::String(text) => drop(names.insert(text.to_string())),
            _ if index > 0 && (tolerates_undefined(tokens, index) || asks_kind(tokens, index)) => {
                names.extend(operand(tokens, index - 1))
            }
            _ => {}
        }
    }
    names
}

/// Tests that something undefined fails, and that ask of what kind a value is.
const KINDS: [&str; 9] = ["mapping", "string", "sequence", "iterable", "number", "integer", "float", "boolean", "none"];

/// Says whether a test of a value's kind begins at `index`, which is asked where it may be undefined.
fn asks_kind(tokens: &Tokens, index: usize) -> bool {
    let name = if tokens.is(index + 1, "not") { index + 2 } else { index + 1 };
    tokens.is(index, "is") && tokens.ident(name).is_some_and(|name| KINDS.contains(&name))
}

/// Returns every word of the operand that ends at `end`, filters on it included.
fn operand(tokens: &Tokens, end: usize) -> Vec<String> {
    let mut words = Vec::new();
    let mut end = Some(end);
    while let Some(at) = end {
        let start = match &tokens.0[at].0 {
            Token::ParenClose | Token::BracketClose | Token::BraceClose => {
                let Some(open) = tokens.open_of(at) else { break };
                words.extend((open..at).filter_map(|inside| tokens.ident(inside)));
                let continues = open > 0 && tokens.ends_operand(open - 1);
                if continues {
                    end = Some(open - 1);
                    continue;
                }
                open
            }
            Token::Ident(name) => {
                words.push(*name);
                at
            }
            Token::Int(_) => at,
            _ => break,
        };
        let chained = start > 0 && (tokens.is(start - 1, ".") || tokens.is(start - 1, "|"));
        end = if chained { start.checked_sub(2) } else { None };
    }
    words.into_iter().map(String::from).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::error::Source;
    use crate::yaml::Yaml;

    use super::super::Templates;
    use super::*;

    fn needed(text: &str, syntax: Syntax) -> Vec<String> {
        let source = Arc::new(Source { path: "t".into(), text: text.into() });
        let uses = Templates::new().uses(&Yaml::text_at(text, &Place::new(&source, 1, 1)), syntax);
        let needed = uses.needed.into_iter().filter(|(name, _)| !uses.spared.contains(name));
        needed.map(|(name, place)| format!("{name}@{}", place.column)).collect()
    }

    #[test]
    fn a_text_needs_what_it_reads_and_does_not_spare() {
        let template = |text: &str| needed(text, Syntax::Template);
        assert_eq!(template("x {{ a.b['c'] }} {{ d | default(e) }}"), ["a@6", "e@33"]);
        assert_eq!(template("{% for h in hs %}{{ h }}{{ loop.index }}{% endfor %}"), ["hs@13"]);
        assert_eq!(template("{% set x = y %}{{ x | combine(z, recursive=true) }}"), ["y@12", "z@31"]);
        assert_eq!(template("{{ (a ~ b) | d('') }}{{ lookup('env', 'HOME') }}{{ c | int | default(0) }}"), [""; 0]);
        assert_eq!(template("{{ 'p' in vars }}{{ p }}"), ["vars@11"]);
        assert_eq!(template("a {{ "), [""; 0]);
        let expression = |text: &str| needed(text, Syntax::Expression);
        assert_eq!(expression("a is defined and a.b | length > 0 and not c"), ["c@43"]);
        assert_eq!(expression("x['y'].z is not defined or w is match('w2')"), ["w@28"]);
        assert_eq!(expression("d.default is defined and e is not mapping"), [""; 0]);
    }
}
