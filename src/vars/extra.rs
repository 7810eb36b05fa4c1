//! `-e`/`--extra-vars`: `key=value` words, YAML or JSON text, or `@FILE`.

use std::path::Path;
use std::sync::Arc;

use crate::error::{Diagnostic, Diagnostics, Place, Source};
use crate::yaml::Yaml;

use super::{Layer, Var, files};

/// Reads every `-e` in the order given; later ones win. The values of `key=value` are text.
pub fn extra(arguments: &[String]) -> Result<Layer, Diagnostics> {
    let mut errors = Diagnostics::default();
    let mut layer = Layer::new();
    for argument in arguments {
        match one(argument) {
            Ok(vars) => layer.extend(vars),
            Err(wrong) => errors.extend(wrong),
        }
    }
    errors.or(layer)
}

fn one(argument: &str) -> Result<Layer, Diagnostics> {
    if let Some(path) = argument.strip_prefix('@') {
        return Ok(files::read(Path::new(path))?);
    }
    let source = Arc::new(Source { path: "--extra-vars".into(), text: argument.into() });
    if argument.trim_start().starts_with(['{', '[']) {
        return Ok(files::layer(&source)?);
    }
    let mut errors = Diagnostics::default();
    let mut layer = Layer::new();
    for word in errors.catch(words(&source)).unwrap_or_default() {
        match word.text.split_once('=') {
            Some((name, value)) if !name.trim().is_empty() => {
                let value = Yaml::text_at(unescape(unquote(value.trim())), &word.place);
                layer.insert(name.trim().into(), Var::Written(value));
            }
            _ => {
                let hint = if Path::new(&word.text).is_file() {
                    format!("a file is given as `@{}`", word.text)
                } else {
                    "quote a value that has spaces: `-e 'key=\"two words\"'`".into()
                };
                errors.push(Diagnostic::new(format!("`{}` is not `key=value`", word.text)).at(&word.place).hint(hint));
            }
        }
    }
    errors.or(layer)
}

struct Word {
    text: String,
    place: Place,
}

/// Splits at white space outside quotes and template brackets; quotes stay.
fn words(source: &Arc<Source>) -> Result<Vec<Word>, Diagnostic> {
    let mut words: Vec<Word> = Vec::new();
    let mut inside = false;
    let mut quote: Option<(char, Place)> = None;
    let mut templates = 0_usize;
    let mut previous = ' ';
    let (mut line, mut column) = (1, 0);
    for character in source.text.chars() {
        column += 1;
        let place = Place::new(source, line, column);
        let escaped = previous == '\\';
        if character.is_whitespace() && quote.is_none() && templates == 0 {
            inside = false;
        } else {
            if !inside {
                words.push(Word { text: String::new(), place: place.clone() });
                inside = true;
            }
            match (&quote, previous, character) {
                (Some((open, _)), _, _) if *open == character && !escaped => quote = None,
                (None, _, '"' | '\'') if !escaped && templates == 0 => quote = Some((character, place)),
                (_, '{', '{' | '%' | '#') => templates += 1,
                (_, '}' | '%' | '#', '}') => templates = templates.saturating_sub(1),
                _ => {}
            }
            words.last_mut().into_iter().for_each(|word| word.text.push(character));
        }
        // A pair of backslashes is one escaped backslash, which escapes nothing.
        previous = if escaped && character == '\\' { ' ' } else { character };
        if character == '\n' {
            (line, column) = (line + 1, 0);
        }
    }
    match quote {
        Some((open, place)) => Err(Diagnostic::new(format!("this `{open}` is never closed")).at(&place)),
        None => Ok(words),
    }
}

fn unquote(value: &str) -> &str {
    let inner = |quote| value.strip_prefix(quote).and_then(|rest: &str| rest.strip_suffix(quote));
    inner('"').or_else(|| inner('\'')).unwrap_or(value)
}

/// Reads the escapes that Python knows: `\n`, `\t`, `\\`, `\x41`, `\u00e4`, ... Any other backslash stays.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let Some(letter) = rest.chars().next() else {
            out.push('\\');
            break;
        };
        let digits = match letter {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => 0,
        };
        let number = rest.get(1..1 + digits).and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let decoded = match letter {
            'n' => Some('\n'),
            't' => Some('\t'),
            'r' => Some('\r'),
            'a' => Some('\u{7}'),
            'b' => Some('\u{8}'),
            'f' => Some('\u{c}'),
            'v' => Some('\u{b}'),
            '\\' | '\'' | '"' => Some(letter),
            _ => number.and_then(char::from_u32),
        };
        match decoded {
            Some(character) => {
                out.push(character);
                rest = &rest[letter.len_utf8() + digits..];
            }
            None => out.push('\\'),
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;

    fn values(arguments: &[&str]) -> Result<Value, String> {
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.into()).collect();
        let layer = extra(&arguments).map_err(|errors| errors.to_string())?;
        let pairs = layer.iter().map(|(name, var)| match var {
            Var::Written(node) => (name.clone(), node.to_value()),
            other => panic!("{other:?}"),
        });
        Ok(Value::Object(pairs.collect::<Map<_, _>>()))
    }

    #[test]
    fn words_are_text_and_quotes_hold_spaces() {
        let expected = json!({"a": "1", "b": "2 3", "c": "{{ x | y }}", "d": "it's", "e": ""});
        assert_eq!(values(&[r#"a=1 b="2 3" c={{ x | y }} d="it's" e="#]).unwrap(), expected);
        assert_eq!(values(&[r"a=x\ny"]).unwrap(), json!({"a": "x\ny"}));
        assert_eq!(values(&[r"a=\d\\n\xe4"]).unwrap(), json!({"a": "\\d\\nä"}));
    }

    #[test]
    fn yaml_and_json_keep_their_types_and_later_ones_win() {
        let read = values(&[r#"{"a": 1, "b": [true]}"#, "{c: yes, a: 2}", "b=x"]);
        assert_eq!(read.unwrap(), json!({"a": 2, "b": "x", "c": true}));
    }

    #[test]
    fn a_file_is_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "domains: [a, b]\n").unwrap();
        assert_eq!(values(&[&format!("@{}", file.path().display())]).unwrap(), json!({"domains": ["a", "b"]}));
    }

    #[test]
    fn all_errors_are_shown_at_once() {
        let error = values(&["a=1 b c=2", "[1]", "x='"]).unwrap_err();
        let expected = "\
error: `b` is not `key=value`
 --> --extra-vars:1:5
  |
1 | a=1 b c=2
  |     ^
  |
  = hint: quote a value that has spaces: `-e 'key=\"two words\"'`

error: variables are a mapping, and `--extra-vars` holds a list
 --> --extra-vars:1:1
  |
1 | [1]
  | ^^^
  |
  = hint: write each variable as `name: value`

error: this `'` is never closed
 --> --extra-vars:1:3
  |
1 | x='
  |   ^";
        assert_eq!(error, expected);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in r#"[a-c=\\'"{}% \nxu0-9ä@]{0,40}"#) {
            let _ = extra(&[text.replace('@', "a")]);
        }
    }
}
