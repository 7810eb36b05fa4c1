//! The names a template uses, checked before anything is rendered: filters, tests, functions, lookups.

use std::collections::HashSet;

use minijinja::Environment;
use minijinja::machinery::Token;

use crate::error::{Diagnostic, Diagnostics};

use super::Syntax;
use super::fault::{Broken, Origin};
use super::prepared::{OPERATORS, Prepared, Tokens};
use super::{filters, lookups, tests};

/// Words before a parenthesis that are no function's name.
const STATEMENTS: [&str; 14] = [
    "elif",
    "for",
    "set",
    "do",
    "call",
    "macro",
    "filter",
    "with",
    "include",
    "import",
    "from",
    "block",
    "recursive",
    "extends",
];
/// Functions that exist only inside a macro, a loop or a block.
pub(super) const LOCAL: [&str; 4] = ["caller", "loop", "super", "self"];

/// Finds bad syntax and unknown names in one text.
pub(super) fn check(environment: &Environment, text: &str, syntax: Syntax, origin: &Origin) -> Diagnostics {
    let prepared = Prepared::new(text, syntax, environment.syntax());
    let compiled = match syntax {
        Syntax::Template | Syntax::File => environment.template_from_str(&prepared.text).map(|_| ()),
        Syntax::Expression => environment.compile_expression(&prepared.text).map(|_| ()),
    };
    let mut found = Diagnostics::default();
    if let Err(error) = compiled {
        found.push(Broken::new(error, &prepared).diagnostic(origin));
    }
    let tokens = Tokens::new(text, syntax, environment.syntax());
    let own = defined_here(&tokens);
    for index in 0..tokens.0.len() {
        for (kind, at, name) in used(&tokens, index) {
            if let Err(diagnostic) = kind.check(&name, &own) {
                found.push(diagnostic.at(&origin.at(tokens.0[at].1.start_offset as usize)));
            }
        }
    }
    found
}

#[derive(Clone, Copy)]
enum Kind {
    Filter,
    Test,
    Function,
    Lookup,
}

impl Kind {
    fn check(self, name: &str, own: &HashSet<&str>) -> Result<(), Diagnostic> {
        let short = name.strip_prefix("ansible.builtin.").unwrap_or(name);
        let (noun, known): (_, Vec<&str>) = match self {
            Kind::Filter => ("filter", filters::names().collect()),
            Kind::Test => ("test", tests::names().collect()),
            Kind::Function => ("function", lookups::functions().collect()),
            Kind::Lookup => ("lookup", lookups::names().collect()),
        };
        if known.contains(&short) || matches!(self, Kind::Function) && (own.contains(name) || LOCAL.contains(&name)) {
            return Ok(());
        }
        Err(Diagnostic::new(format!("unknown {noun} `{name}`")).suggest(short, known))
    }
}

/// Returns what the token at `index` begins to name: what it is, where the name stands, and the name.
fn used(tokens: &Tokens, index: usize) -> Vec<(Kind, usize, String)> {
    let mut found = Vec::new();
    let block_filter = tokens.is(index, "filter") && index > 0 && tokens.is(index - 1, "{%");
    if tokens.is(index, "|") || block_filter {
        found.extend(dotted(tokens, index + 1).map(|name| (Kind::Filter, index + 1, name)));
        let argument = |word: &str| tokens.is(index + 1, word).then(|| literal(tokens, index + 3)).flatten();
        let called = tokens.is(index + 2, "(") && (tokens.is(index + 4, ")") || tokens.is(index + 4, ","));
        if called {
            found.extend(argument("map").map(|name| (Kind::Filter, index + 3, name)));
            let test = argument("select").or_else(|| argument("reject"));
            found.extend(test.map(|name| (Kind::Test, index + 3, name)));
        }
        if tokens.is(index + 1, "selectattr") || tokens.is(index + 1, "rejectattr") {
            found.extend(literal(tokens, index + 5).map(|name| (Kind::Test, index + 5, name)));
        }
    }
    if tokens.is(index, "is") && !(index > 0 && tokens.is(index - 1, ".")) {
        let at = if tokens.is(index + 1, "not") { index + 2 } else { index + 1 };
        found.extend(dotted(tokens, at).map(|name| (Kind::Test, at, name)));
    }
    if let Some(name) = tokens.ident(index)
        && tokens.is(index + 1, "(")
        && is_call(tokens, index)
    {
        found.push((Kind::Function, index, name.into()));
        if lookups::CALLS.contains(&name) {
            found.extend(literal(tokens, index + 2).map(|name| (Kind::Lookup, index + 2, name)));
        }
    }
    found
}

fn is_call(tokens: &Tokens, index: usize) -> bool {
    let word = tokens.ident(index).unwrap_or_default();
    let behind = |text: &str| index > 0 && tokens.is(index - 1, text);
    let behind_not_is = behind("not") && index > 1 && tokens.is(index - 2, "is");
    let named = behind(".") || behind("|") || behind("is") || behind_not_is || behind("macro") || behind("filter");
    let statement = STATEMENTS.contains(&word) && behind("{%");
    !(named || statement || OPERATORS.contains(&word))
}

/// Reads `name` or `ansible.builtin.name`.
fn dotted(tokens: &Tokens, index: usize) -> Option<String> {
    let first = tokens.ident(index)?;
    let part = |at: usize| tokens.ident(at + 1).filter(|_| tokens.is(at, "."));
    match (part(index + 1), part(index + 3)) {
        (Some(second), Some(third)) => Some(format!("{first}.{second}.{third}")),
        _ => Some(first.into()),
    }
}

fn literal(tokens: &Tokens, index: usize) -> Option<String> {
    match &tokens.0.get(index)?.0 {
        Token::Str(text) => Some((*text).into()),
        Token::String(text) => Some(text.to_string()),
        _ => None,
    }
}

/// Returns the names that the template itself gives: macros, assignments, loop variables, imports.
fn defined_here<'a>(tokens: &Tokens<'a>) -> HashSet<&'a str> {
    let mut names = HashSet::new();
    for index in 0..tokens.0.len() {
        let defines = ["macro", "set", "for", "as", "import", "with"].iter().any(|word| tokens.is(index, word));
        if defines {
            let mut at = index + 1;
            while let Some(name) = tokens.ident(at) {
                names.insert(name);
                if !tokens.is(at + 1, ",") {
                    break;
                }
                at += 2;
            }
        }
    }
    names
}
