//! `key=value` text: how a task's arguments are written on one line, split as Ansible splits them.

use crate::error::{Diagnostic, Place};
use crate::yaml::{Data, Yaml};

/// The actions whose bare words mean something: `command: uptime`, `include_tasks: mail.yml`.
const FREE_FORM: &[&str] = &[
    "command",
    "shell",
    "raw",
    "script",
    "include_tasks",
    "import_tasks",
    "include_role",
    "import_role",
    "include_vars",
    "add_host",
    "group_by",
    "set_fact",
    "meta",
];

/// The actions whose text is a command line: only [`COMMAND_OPTIONS`] are split off, all other `a=b` belong to it.
const COMMANDS: &[&str] = &["command", "shell", "raw", "script"];

const COMMAND_OPTIONS: &[&str] = &[
    "creates",
    "removes",
    "chdir",
    "executable",
    "warn",
    "stdin",
    "stdin_add_newline",
    "strip_empty_ends",
    "expand_argument_vars",
];

/// What a line of arguments says.
#[derive(Debug, Default)]
pub struct Line {
    pub arguments: Vec<(Yaml, Yaml)>,
    pub free_form: Option<Yaml>,
}

/// Reads the text of `action` in `node`. All values are text.
pub fn read(action: &str, node: &Yaml) -> Result<Line, Diagnostic> {
    let text = node.as_str().unwrap_or("");
    let words = words(text).map_err(|open| {
        let message = format!("the arguments of `{action}` have an unclosed {open}");
        Diagnostic::new(message).at(&node.place).hint("close it, or write the arguments as a mapping below the module")
    })?;
    let is_command = COMMANDS.contains(&action);
    let mut line = Line::default();
    let mut bare = String::new();
    let mut copied = 0;
    let mut first_bare = None;
    for (start, end) in words {
        let option = option(&text[start..end]).filter(|(key, _)| !is_command || COMMAND_OPTIONS.contains(&key.trim()));
        let Some((key, value)) = option else {
            first_bare.get_or_insert(&text[start..end]);
            continue;
        };
        let place = place_of(node, &text[start..end]);
        let key = key.trim();
        if line.arguments.iter().any(|(name, _)| name.as_str() == Some(key)) {
            return Err(Diagnostic::new(format!("argument `{key}` of `{action}` is given twice")).at(&place));
        }
        let after = Place { column: place.column + key.chars().count() as u32 + 1, ..place.clone() };
        line.arguments.push((Yaml::text_at(key, &place), Yaml::text_at(unquote(&unescape(value)), &after)));
        bare.push_str(&text[copied..start]);
        copied = text.len().min(end + usize::from(text[end..].starts_with(' ')));
    }
    bare.push_str(&text[copied..]);
    let bare = bare.trim();
    if bare.is_empty() {
        return Ok(line);
    }
    // A template may stand for all of the arguments; what else it gives is an error of the run.
    let templates = super::keywords::is_template(bare);
    if let (false, false, Some(word)) = (FREE_FORM.contains(&action), templates, first_bare) {
        let message = format!("`{action}` takes arguments as `key=value`, and `{word}` is not one");
        let hint = "quote a value that has spaces, or write the arguments as a mapping";
        return Err(Diagnostic::new(message).at(&place_of(node, word)).hint(hint));
    }
    line.free_form = Some(Yaml { data: Data::Text(bare.into()).into(), ..node.clone() });
    Ok(line)
}

/// Splits `name rest` of `action: copy src=a dest=b`.
pub fn split_action(node: &Yaml) -> (Yaml, Yaml) {
    let text = node.as_str().unwrap_or("").trim();
    // The name may be a template, which has spaces.
    let end = words(text).ok().and_then(|words| words.first().copied()).map_or(text.len(), |(_, end)| end);
    let (name, rest) = text.split_at(end);
    let rest = rest.trim();
    let place = if rest.is_empty() { node.place.clone() } else { place_of(node, rest) };
    (Yaml::text_at(name, &place_of(node, name)), Yaml { place, data: Data::Text(rest.into()).into(), ..node.clone() })
}

/// Returns the byte ranges of the words of `text`: parted by white space outside of quotes and braces. The error names what is open.
fn words(text: &str) -> Result<Vec<(usize, usize)>, &'static str> {
    let mut words = Vec::new();
    let mut start = None;
    let mut quote = None;
    let mut braces: Vec<&str> = Vec::new();
    let mut previous = ' ';
    for (at, c) in text.char_indices() {
        let rest = &text[at..];
        if matches!(c, '"' | '\'') && previous != '\\' {
            match quote {
                Some(open) if open == c => quote = None,
                None => quote = Some(c),
                Some(_) => {}
            }
        } else if quote.is_none() && previous == '{' && matches!(c, '{' | '%' | '#') {
            braces.push(match c {
                '{' => "}}",
                '%' => "%}",
                _ => "#}",
            });
        } else if braces.last().is_some_and(|close| rest.starts_with(close)) {
            braces.pop();
        }
        if c.is_whitespace() && quote.is_none() && braces.is_empty() {
            words.extend(start.take().map(|start| (start, at)));
        } else {
            start.get_or_insert(at);
        }
        // A second `\\` or `{` is spent: it neither escapes nor opens with what follows.
        previous = if previous == c && matches!(c, '\\' | '{') { ' ' } else { c };
    }
    words.extend(start.map(|start| (start, text.len())));
    match (quote, braces.last()) {
        (Some('"'), _) => Err("double quote"),
        (Some(_), _) => Err("single quote"),
        (None, Some(&"}}")) => Err("`{{`"),
        (None, Some(&"%}")) => Err("`{%`"),
        (None, Some(_)) => Err("`{#`"),
        (None, None) => Ok(words),
    }
}

/// Splits `key=value` at the first `=` that has no backslash before it and is not within quotes or braces.
fn option(word: &str) -> Option<(&str, &str)> {
    let parts = |(at, c): &(usize, char)| {
        let key = &word[..*at];
        // `{{ item }}=value` names the variable that `set_fact` sets; the `=` of `{{ a == b }}` parts nothing.
        let open = key.matches('{').count() != key.matches('}').count();
        *c == '=' && *at > 0 && !key.ends_with('\\') && !open
    };
    let at = word.char_indices().find(parts)?.0;
    let key = &word[..at];
    let is_template = key.starts_with("{{") && key.ends_with("}}");
    (is_template || !key.contains(['"', '\''])).then_some((key, &word[at + 1..]))
}

fn unquote(text: &str) -> String {
    let quoted = |quote: char| {
        let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
        (!inner.ends_with('\\')).then_some(inner)
    };
    quoted('"').or_else(|| quoted('\'')).unwrap_or(text).into()
}

/// Resolves the escapes that Ansible resolves in `key=value` text: `\n`, `\t`, `\\`, `\xNN`, `\uNNNN`, ...
fn unescape(text: &str) -> String {
    let mut result = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        result.push_str(&rest[..at]);
        let escape = &rest[at + 1..];
        let code = |digits: usize| {
            let number = escape.get(1..1 + digits).and_then(|hex| u32::from_str_radix(hex, 16).ok())?;
            char::from_u32(number).map(|c| (c, 1 + digits))
        };
        let resolved = match escape.chars().next() {
            Some('x') => code(2),
            Some('u') => code(4),
            Some('U') => code(8),
            Some('n') => Some(('\n', 1)),
            Some('t') => Some(('\t', 1)),
            Some('r') => Some(('\r', 1)),
            Some('a') => Some(('\u{7}', 1)),
            Some('b') => Some(('\u{8}', 1)),
            Some('f') => Some(('\u{c}', 1)),
            Some('v') => Some(('\u{b}', 1)),
            Some(c @ ('\\' | '\'' | '"')) => Some((c, 1)),
            _ => None,
        };
        let (c, length) = resolved.unwrap_or(('\\', 0));
        result.push(c);
        rest = &escape[length..];
    }
    result + rest
}

/// Finds a word of the node's text in the file; the node's own place where it was written otherwise (escapes, folded lines).
fn place_of(node: &Yaml, word: &str) -> Place {
    let place = &node.place;
    let first = word.lines().next().unwrap_or("");
    let lines = place.source.text.lines().enumerate().skip(place.line.saturating_sub(1) as usize);
    for (number, line) in lines.take(1 + node.as_str().map_or(0, |text| text.lines().count())) {
        let from = if number + 1 == place.line as usize { place.column.saturating_sub(1) as usize } else { 0 };
        let from = line.char_indices().nth(from).map_or(line.len(), |(at, _)| at);
        if let Some(at) = line[from..].find(first) {
            let column = line[..from + at].chars().count() as u32 + 1;
            return Place::new(&place.source, number as u32 + 1, column);
        }
    }
    place.clone()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use crate::error::Source;
    use crate::yaml;

    use super::*;

    fn line(action: &str, text: &str) -> Result<String, String> {
        let source = Arc::new(Source { path: "t.yml".into(), text: format!("x: {text}\n") });
        let node = Yaml::text_at(text, &Place::new(&source, 1, 4));
        let line = read(action, &node).map_err(|error| error.to_string())?;
        let mut shown: Vec<String> = line
            .arguments
            .iter()
            .map(|(key, value)| format!("{}=[{}]@{}", key.key(), value.key(), key.place.column))
            .collect();
        shown.extend(line.free_form.map(|text| format!("<{}>", text.key())));
        Ok(shown.join(" "))
    }

    #[test]
    fn options_keep_quotes_and_braces_together() {
        assert_eq!(line("copy", "src=a dest=/b mode=0644").unwrap(), "src=[a]@4 dest=[/b]@10 mode=[0644]@18");
        assert_eq!(line("copy", "content='a b' dest={{ x }}/y").unwrap(), "content=[a b]@4 dest=[{{ x }}/y]@18");
        assert_eq!(
            line("debug", "msg=\"it's {{ a | default('b c') }}\"").unwrap(),
            "msg=[it's {{ a | default('b c') }}]@4"
        );
        assert_eq!(line("lineinfile", r"line='a\tb\x41' path=/c").unwrap(), "line=[a\tbA]@4 path=[/c]@20");
        assert_eq!(line("debug", "msg={{ a == b }}").unwrap(), "msg=[{{ a == b }}]@4");
    }

    #[test]
    fn a_command_keeps_its_own_assignments() {
        assert_eq!(
            line("shell", "A=1 make  x=y chdir=/tmp creates=z").unwrap(),
            "chdir=[/tmp]@18 creates=[z]@29 <A=1 make  x=y>"
        );
        assert_eq!(line("command", "chdir=/tmp ls").unwrap(), "chdir=[/tmp]@4 <ls>");
        assert_eq!(
            line("shell", "for a in 1 2; do\n  echo  $a\ndone").unwrap(),
            "<for a in 1 2; do\n  echo  $a\ndone>"
        );
        assert_eq!(line("shell", "echo '{{ x }}' | sed 's/a = b/c/'").unwrap(), "<echo '{{ x }}' | sed 's/a = b/c/'>");
    }

    #[test]
    fn an_unclosed_quote_is_drawn() {
        assert_eq!(
            line("copy", "src='a dest=b").unwrap_err(),
            "error: the arguments of `copy` have an unclosed single quote\n --> t.yml:1:4\n  |\n1 | x: src='a dest=b\n  |    ^^^^^^\n  |\n  = hint: close it, or write the arguments as a mapping below the module"
        );
    }

    #[test]
    fn a_bare_word_is_refused_where_it_means_nothing() {
        let error = line("copy", "src=a dest").unwrap_err();
        assert!(error.contains("`dest` is not one") && error.contains("t.yml:1:10"), "{error}");
        let error = line("copy", "src=a src=b").unwrap_err();
        assert!(error.contains("argument `src` of `copy` is given twice"), "{error}");
    }

    #[test]
    fn the_text_of_action_is_split_at_its_name() {
        let source = Arc::new(Source { path: "t.yml".into(), text: "action: copy src=a\n".into() });
        let node = yaml::load(&source).unwrap().remove(0).get("action").cloned().unwrap();
        let (name, rest) = split_action(&node);
        assert_eq!((name.key(), rest.key(), rest.place.column), ("copy".into(), "src=a".into(), 14));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[a-z=\\\\'\"{}%# \n\u{e9}x0-9]{0,60}") {
            let _ = line("shell", &text);
            let _ = line("copy", &text);
        }

        #[test]
        fn plain_words_come_back(text in "[a-z]{1,8}( [a-z]{1,8}){0,5}") {
            prop_assert_eq!(line("shell", &text).unwrap(), format!("<{text}>"));
        }
    }
}
