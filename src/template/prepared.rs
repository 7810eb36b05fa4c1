//! A template's text made ready for the engine: what Python's Jinja2 accepts and the engine does not is spelt differently.

use std::borrow::Cow;
use std::ops::Range;

use minijinja::machinery::{Span, Token, tokenize};
use minijinja::syntax::SyntaxConfig;

use super::Syntax;
use super::context::is_template;
use super::lookups::CALLS;
use super::own::CHANGING;

/// Words that stand between operands and are none themselves.
pub(super) const OPERATORS: [&str; 7] = ["and", "or", "not", "in", "is", "if", "else"];

/// A text with some spans replaced, and the way back.
pub(super) struct Prepared<'a> {
    pub text: Cow<'a, str>,
    edits: Vec<(Range<usize>, String)>,
}

/// The tokens of a template, without white space.
pub(super) struct Tokens<'a>(pub Vec<(Token<'a>, Span)>);

impl<'a> Tokens<'a> {
    /// Reads as far as the text can be read; what is wrong with the rest, compiling it will say.
    pub fn new(text: &'a str, syntax: Syntax, config: &SyntaxConfig) -> Tokens<'a> {
        let tokens = tokenize(text, syntax == Syntax::Expression, config.clone());
        Tokens(tokens.map_while(Result::ok).collect())
    }

    pub fn ident(&self, index: usize) -> Option<&'a str> {
        match self.0.get(index) {
            Some((Token::Ident(name), _)) => Some(name),
            _ => None,
        }
    }

    pub fn is(&self, index: usize, wanted: &str) -> bool {
        self.0.get(index).is_some_and(|(token, _)| match token {
            Token::Dot => wanted == ".",
            Token::Pipe => wanted == "|",
            Token::ParenOpen => wanted == "(",
            Token::ParenClose => wanted == ")",
            Token::BracketOpen => wanted == "[",
            Token::BracketClose => wanted == "]",
            Token::Comma => wanted == ",",
            Token::Colon => wanted == ":",
            Token::BlockStart => wanted == "{%",
            Token::BlockEnd => wanted == "%}",
            Token::Mod => wanted == "%",
            Token::Ident(name) => *name == wanted,
            _ => false,
        })
    }

    /// Says whether an expression could end with this token, so that a bracket after it is a subscript or a call.
    pub fn ends_operand(&self, index: usize) -> bool {
        match &self.0[index].0 {
            Token::Ident(name) => !OPERATORS.contains(name),
            Token::Str(_) | Token::String(_) | Token::ParenClose | Token::BracketClose | Token::BraceClose => true,
            _ => false,
        }
    }

    /// Returns the text without what its strings hold.
    pub fn without_strings(&self, text: &str) -> String {
        let strings = self.0.iter().filter(|(token, _)| matches!(token, Token::Str(_) | Token::String(_)));
        let (mut rest, mut copied) = (String::new(), 0);
        for (_, span) in strings {
            rest.push_str(text.get(copied..span.start_offset as usize).unwrap_or_default());
            copied = span.end_offset as usize;
        }
        rest + text.get(copied..).unwrap_or_default()
    }

    /// Says whether this token stands between `{{` and `}}`, and not in a block.
    fn is_printed(&self, index: usize) -> bool {
        let begins = |(token, _): &&(Token, Span)| matches!(token, Token::VariableStart | Token::BlockStart);
        matches!(self.0[..index].iter().rev().find(begins), Some((Token::VariableStart, _)))
    }

    fn range(&self, index: usize) -> Range<usize> {
        let span = self.0[index].1;
        span.start_offset as usize..span.end_offset as usize
    }

    /// Says whether this token stands between the parentheses of a call of a lookup.
    fn is_given_to_lookup(&self, index: usize) -> bool {
        let mut closed = 0;
        (1..index).rev().any(|index| {
            match self.0[index].0 {
                Token::ParenClose => closed += 1,
                Token::ParenOpen if closed > 0 => closed -= 1,
                Token::ParenOpen => return self.ident(index - 1).is_some_and(|name| CALLS.contains(&name)),
                _ => {}
            }
            false
        })
    }

    /// Returns the bracket that the one at `close` closes.
    pub fn open_of(&self, close: usize) -> Option<usize> {
        let mut depth = 0;
        (0..=close).rev().find(|index| {
            match self.0[*index].0 {
                Token::ParenClose | Token::BracketClose | Token::BraceClose => depth += 1,
                Token::ParenOpen | Token::BracketOpen | Token::BraceOpen => depth -= 1,
                _ => {}
            }
            depth == 0
        })
    }

    /// Returns the first token of the operand that ends at `end`.
    fn operand_start(&self, end: usize) -> usize {
        let mut start = end;
        loop {
            if matches!(self.0[start].0, Token::ParenClose | Token::BracketClose | Token::BraceClose) {
                let Some(open) = self.open_of(start) else { return start };
                start = open;
                if start > 0 && self.ends_operand(start - 1) {
                    start -= 1;
                    continue;
                }
            }
            match start.checked_sub(2) {
                Some(before) if self.is(start - 1, ".") || self.is(start - 1, "|") => start = before,
                _ => return start,
            }
        }
    }

    /// Returns the last token of the operand that starts at `start`, filters and calls included.
    fn operand_end(&self, start: usize) -> Option<usize> {
        let mut depth = 0;
        for index in start..self.0.len() {
            match &self.0[index].0 {
                Token::ParenOpen | Token::BracketOpen | Token::BraceOpen => depth += 1,
                Token::ParenClose | Token::BracketClose | Token::BraceClose if depth > 0 => depth -= 1,
                Token::Minus if index == start => {}
                Token::Ident(name) if depth == 0 && OPERATORS.contains(name) => return index.checked_sub(1),
                Token::Ident(_) | Token::Str(_) | Token::String(_) | Token::Dot | Token::Pipe => {}
                Token::Int(_) | Token::Int128(_) | Token::Float(_) => {}
                _ if depth == 0 => return index.checked_sub(1),
                _ => {}
            }
        }
        self.0.len().checked_sub(1)
    }
}

impl<'a> Prepared<'a> {
    pub fn new(text: &'a str, syntax: Syntax, config: &SyntaxConfig) -> Prepared<'a> {
        let tokens = Tokens::new(text, syntax, config);
        let changed = changed(&tokens);
        let mut edits = if changed.is_empty() { Vec::new() } else { literals(&tokens) };
        for index in 0..tokens.0.len() {
            edits.extend(embedded(&tokens, syntax, index));
            if index == 0 {
                edits.extend(group((text, syntax), &tokens, index));
                continue;
            }
            if tolerates_undefined(&tokens, index) {
                edits.extend(chain(&tokens, index - 1));
            }
            edits.extend(percent(&tokens, index));
            edits.extend(minus(&tokens, index));
            edits.extend(group((text, syntax), &tokens, index));
        }
        edits.extend(assigned(&tokens, &changed));
        if syntax == Syntax::Template {
            edits.extend(given(&tokens, &changed, config));
        }
        edits.extend(newlines(text));
        edits.sort_by_key(|(range, _)| (range.start, range.end));
        let mut new = String::with_capacity(text.len());
        let mut copied = 0;
        edits.retain(|(range, replacement): &(Range<usize>, String)| {
            let keep = range.start >= copied;
            if keep {
                new.push_str(&text[copied..range.start]);
                new.push_str(replacement);
                copied = range.end;
            }
            keep
        });
        if edits.is_empty() {
            return Prepared { text: text.into(), edits };
        }
        new.push_str(&text[copied..]);
        Prepared { text: new.into(), edits }
    }

    /// Returns where the byte `offset` of the new text stands in the old one.
    pub fn original(&self, offset: usize) -> usize {
        let (mut new, mut old) = (0, 0);
        for (range, replacement) in &self.edits {
            let start = new + range.start - old;
            if offset < start {
                break;
            }
            if offset < start + replacement.len() {
                return range.start;
            }
            (new, old) = (start + replacement.len(), range.end);
        }
        old + (offset - new)
    }
}

/// Spells every end of a line as a newline, as Jinja2 reads them.
fn newlines(text: &str) -> impl Iterator<Item = (Range<usize>, String)> + '_ {
    text.match_indices('\r').map(|(at, _)| {
        let ends_line = text[at + 1..].starts_with('\n');
        (at..at + 1, if ends_line { String::new() } else { "\n".into() })
    })
}

/// Returns what stands before each call of a method that changes what it is called on.
fn changed<'a>(tokens: &Tokens<'a>) -> Vec<Option<&'a str>> {
    let changes = |index: &usize| {
        let method = tokens.ident(*index).filter(|_| tokens.is(index - 1, ".") && tokens.is(index + 1, "("));
        method.is_some_and(|method| CHANGING.contains(&method))
    };
    (2..tokens.0.len()).filter(changes).map(|index| tokens.ident(index - 2)).collect()
}

/// Spells lists and dicts as `([...]|_own)`: the engine's own cannot be changed.
fn literals(tokens: &Tokens) -> Vec<(Range<usize>, String)> {
    let mut edits = Vec::new();
    for close in 0..tokens.0.len() {
        let open = match tokens.0[close].0 {
            Token::BracketClose => tokens.open_of(close).filter(|open| *open == 0 || !tokens.ends_operand(open - 1)),
            Token::BraceClose => tokens.open_of(close),
            _ => None,
        };
        let Some(open) = open else { continue };
        let (start, end) = (tokens.range(open).start, tokens.range(close).end);
        edits.extend([(start..start, "(".into()), (end..end, "|_own)".into())]);
    }
    edits
}

/// Spells `{% set name = value %}` as `{% set name = (value)|_own %}` where a method changes what `name` is.
fn assigned(tokens: &Tokens, changed: &[Option<&str>]) -> Vec<(Range<usize>, String)> {
    let mut edits = Vec::new();
    for index in 3..tokens.0.len() {
        let is_set = matches!(tokens.0[index - 1].0, Token::Assign) && tokens.is(index - 3, "set");
        if !is_set || index < 4 || !tokens.is(index - 4, "{%") || !changed.contains(&tokens.ident(index - 2)) {
            continue;
        }
        let Some(end) = (index..tokens.0.len()).find(|end| tokens.is(*end, "%}")) else { continue };
        let (start, stop) = (tokens.range(index).start, tokens.range(end - 1).end);
        edits.extend([(start..start, "(".into()), (stop..stop, ")|_own".into())]);
    }
    edits
}

/// Spells `{% set name = name|_own %}` before a template that changes what a variable `name` holds: its own copy of that is
/// changed, and nobody else's, as with Ansible.
fn given(tokens: &Tokens, changed: &[Option<&str>], config: &SyntaxConfig) -> Option<(Range<usize>, String)> {
    let is_set = |name: &str| {
        (3..tokens.0.len()).any(|index| {
            matches!(tokens.0[index].0, Token::Assign) && tokens.is(index - 2, "set") && tokens.is(index - 1, name)
        })
    };
    let is_variable = |name: &str| {
        let stands = |index: usize| tokens.is(index, name) && !tokens.is(index - 1, ".") && !tokens.is(index - 1, "|");
        (1..tokens.0.len()).any(stands) && !is_set(name)
    };
    let mut names: Vec<&str> = changed.iter().flatten().copied().filter(|name| is_variable(name)).collect();
    names.sort_unstable();
    names.dedup();
    let spelt = |name| format!("{{% if {name} is defined %}}{{% set {name} = {name}|_own %}}{{% endif +%}}");
    let all: String = names.into_iter().map(spelt).collect();
    // A template may have other delimiters.
    let is_block = Tokens::new(&all, Syntax::Template, config).is(0, "{%");
    is_block.then_some((0..0, all))
}

/// Says whether what stands before `index` may be undefined: `| default`, `| mandatory`, `is defined`.
pub(super) fn tolerates_undefined(tokens: &Tokens, index: usize) -> bool {
    if tokens.is(index, "|") {
        let qualified = tokens.is(index + 1, "ansible") && tokens.is(index + 2, ".");
        let name = if qualified { index + 5 } else { index + 1 };
        return matches!(tokens.ident(name), Some("default" | "d" | "mandatory"));
    }
    let name = if tokens.is(index + 1, "not") { index + 2 } else { index + 1 };
    tokens.is(index, "is") && matches!(tokens.ident(name), Some("defined" | "undefined"))
}

/// Spells `a.b['c']`, which ends at `end`, as `a|_get('b')|_get('c')`: the engine refuses the attribute of
/// something undefined, and Ansible only refuses to use it.
fn chain(tokens: &Tokens, end: usize) -> Vec<(Range<usize>, String)> {
    let mut edits = Vec::new();
    let mut end = end;
    loop {
        let dotted = end >= 2 && tokens.is(end - 1, ".");
        let (start, stop) = if dotted { (tokens.range(end - 1).start, tokens.range(end).end) } else { (0, 0) };
        match &tokens.0[end].0 {
            Token::Ident(name) if dotted => edits.push((start..stop, format!("|_get('{name}')"))),
            Token::Int(number) if dotted => edits.push((start..stop, format!("|_get({number})"))),
            Token::BracketClose => {
                let Some(open) = tokens.open_of(end) else { return Vec::new() };
                if open == 0 || !tokens.ends_operand(open - 1) {
                    break;
                }
                if is_slice(tokens, open, end) {
                    break;
                }
                edits.push((tokens.range(open), "|_get(".into()));
                edits.push((tokens.range(end), ")".into()));
                end = open - 1;
                continue;
            }
            Token::ParenClose => {
                let Some(open) = tokens.open_of(end) else { return Vec::new() };
                if open > 0 && !tokens.ends_operand(open - 1) && end >= 2 {
                    edits.extend(chain(tokens, end - 1));
                }
                break;
            }
            _ => break,
        }
        end -= 2;
    }
    // A dotted name behind `|` or `is` is a filter's or a test's; a sign binds closer than a filter would.
    let before = end.checked_sub(1);
    let blocked = before.is_some_and(|before| {
        let sign = matches!(tokens.0[before].0, Token::Minus | Token::Plus)
            && !before.checked_sub(1).is_some_and(|left| tokens.ends_operand(left) || is_number(tokens, left));
        sign || tokens.is(before, "|")
            || tokens.is(before, "is")
            || (tokens.is(before, "not") && before > 0 && tokens.is(before - 1, "is"))
    });
    if blocked { Vec::new() } else { edits }
}

fn is_number(tokens: &Tokens, index: usize) -> bool {
    matches!(tokens.0[index].0, Token::Int(_) | Token::Int128(_) | Token::Float(_))
}

fn is_slice(tokens: &Tokens, open: usize, close: usize) -> bool {
    let mut depth = 0;
    (open + 1..close).any(|index| {
        match tokens.0[index].0 {
            Token::ParenOpen | Token::BracketOpen | Token::BraceOpen => depth += 1,
            Token::ParenClose | Token::BracketClose | Token::BraceClose => depth -= 1,
            _ => {}
        }
        depth == 0 && matches!(tokens.0[index].0, Token::Colon)
    })
}

/// Doubles the backslashes of a string; what one of them keeps from ending the string still does not end it.
fn doubled(written: &str) -> String {
    let quote = written.chars().next();
    let (mut spelt, mut letters) = (String::new(), written.chars());
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some('\\') => spelt.push_str(r"\\\\"),
                Some(next) if Some(next) == quote => spelt.extend([r"\\\", &next.to_string()]),
                next => {
                    spelt.push_str(r"\\");
                    spelt.extend(next);
                }
            },
            letter => spelt.push(letter),
        }
    }
    spelt
}

/// Spells the backslashes of a string so that they stay: Ansible doubles them in the expressions of playbooks. Elsewhere the group
/// of a regular expression, `'\\1'` or `'\\g<name>'`, stays one, which the engine would read as a control character.
fn group((text, syntax): (&str, Syntax), tokens: &Tokens, index: usize) -> Option<(Range<usize>, String)> {
    if !matches!(tokens.0[index].0, Token::Str(_) | Token::String(_)) {
        return None;
    }
    let range = tokens.range(index);
    let written = text.get(range.clone())?;
    if syntax == Syntax::Template && written.contains('\\') && tokens.is_printed(index) {
        return Some((range, doubled(written)));
    }
    let (mut spelt, mut rest) = (String::new(), written);
    while let Some((before, after)) = rest.split_once('\\') {
        spelt.push_str(before);
        let escaped = after.chars().next().map_or(0, char::len_utf8);
        let is_group = after.starts_with(|c: char| c.is_ascii_digit()) || after.starts_with("g<");
        spelt.push_str(if is_group { "\\\\" } else { "\\" });
        spelt.push_str(&after[..escaped]);
        rest = &after[escaped..];
    }
    spelt.push_str(rest);
    (spelt != written).then_some((range, spelt))
}

/// Spells a string that is a template itself as `('...'|_embedded)`: Ansible renders those of conditions and of what lookups are
/// given.
fn embedded(tokens: &Tokens, syntax: Syntax, index: usize) -> Vec<(Range<usize>, String)> {
    let holds_template = match &tokens.0[index].0 {
        Token::Str(text) => is_template(text),
        Token::String(text) => is_template(text),
        _ => false,
    };
    if !holds_template || !(syntax == Syntax::Expression || tokens.is_given_to_lookup(index)) {
        return Vec::new();
    }
    let Range { start, end } = tokens.range(index);
    vec![(start..start, "(".into()), (end..end, "|_embedded)".into())]
}

/// Spells `a - b` as `a|_minus(b)` where moments may be meant: the engine's `-` is for numbers only.
fn minus(tokens: &Tokens, index: usize) -> Vec<(Range<usize>, String)> {
    let times = |(token, _): &(Token, Span)| matches!(token, Token::Ident("to_datetime" | "now"));
    if !matches!(tokens.0[index].0, Token::Minus) || !tokens.ends_operand(index - 1) || !tokens.0.iter().any(times) {
        return Vec::new();
    }
    let closer = |index: usize| {
        let token = tokens.0.get(index).map(|(token, _)| token);
        matches!(token, Some(Token::Mul | Token::Div | Token::FloorDiv | Token::Mod | Token::Pow | Token::Minus))
    };
    let start = tokens.operand_start(index - 1);
    match tokens.operand_end(index + 1).filter(|end| *end > index) {
        Some(end) if !closer(end + 1) && !start.checked_sub(1).is_some_and(closer) => {
            let stop = tokens.range(end).end;
            vec![(tokens.range(index), "|_minus(".into()), (stop..stop, ")".into())]
        }
        _ => Vec::new(),
    }
}

/// Spells `'text' % value` as `'text'|_percent(value)`: the engine's `%` is for numbers only.
fn percent(tokens: &Tokens, index: usize) -> Vec<(Range<usize>, String)> {
    let literal = matches!(tokens.0[index - 1].0, Token::Str(_) | Token::String(_));
    let closer = index >= 2
        && matches!(
            tokens.0[index - 2].0,
            Token::Mul | Token::Div | Token::FloorDiv | Token::Mod | Token::Pow | Token::Str(_) | Token::String(_)
        );
    if !tokens.is(index, "%") || !literal || closer {
        return Vec::new();
    }
    match tokens.operand_end(index + 1).filter(|end| *end > index) {
        Some(end) => {
            let stop = tokens.range(end).end;
            vec![(tokens.range(index), "|_percent(".into()), (stop..stop, ")".into())]
        }
        None => Vec::new(),
    }
}
