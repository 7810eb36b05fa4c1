//! Lines of a user's file as an error quotes them: without the values of keys that name a secret.

use std::sync::LazyLock;

use fancy_regex::Regex;

use crate::error::Place;
use crate::secret::{MASK, is_noted_file, mask};

/// A key that names a secret, and what stands between it and its value. It may name more than that: nothing depends on what is hidden.
#[allow(clippy::unwrap_used)] // The pattern is a constant, which a test reads.
static KEY: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r#"(?i)["']?[\w.-]*(?:pass|secret|token|credential|private|authori[sz]|cookie|auth_string|hash_string)[\w.-]*["']?(\s*:(?:\s+|$)|=)"#,
    )
    .unwrap()
});

/// Returns the line of a place and the two before it, each behind its number.
pub fn to(place: &Place) -> String {
    let (text, line) = (&place.source.text, place.line as usize);
    if is_noted_file(&place.source.path) {
        return String::new();
    }
    // What is before it may be what another task hides.
    let before = if text.contains("no_log") { 0 } else { 2 };
    lines(text, line.saturating_sub(before), line)
}

/// Returns the lines of a text that are numbered from `first` to `last`, each behind its number.
fn lines(text: &str, first: usize, last: usize) -> String {
    let mut inside = None;
    let shown =
        text.lines().map(|line| without(line, &mut inside)).enumerate().take(last).skip(first.saturating_sub(1));
    shown.map(|(index, line)| format!("{:>4} {}\n", index + 1, mask(&line))).collect()
}

/// Returns a line without its secrets. `inside` is the indentation of a key whose value goes on in the next lines.
fn without(line: &str, inside: &mut Option<usize>) -> String {
    let bare = line.trim_start();
    let indent = line.len() - bare.len();
    if let Some(key) = *inside {
        if bare.is_empty() {
            return String::new();
        }
        if indent > key {
            return format!("{}{MASK}", &line[..indent]);
        }
        *inside = None;
    }
    let (mut shown, mut rest) = (String::new(), line);
    while let Ok(Some(found)) = KEY.captures(rest) {
        let Some(whole) = found.get(0) else { break };
        let between = found.get(1).map_or("", |between| between.as_str());
        let before = &line[..line.len() - rest.len() + whole.start()];
        let value = &rest[whole.end()..];
        let length = match between {
            "=" => end_of(value, char::is_whitespace),
            _ if before.contains(['{', '[']) && !value.starts_with(['{', '[']) => {
                end_of(value, |letter| matches!(letter, ',' | '}' | ']'))
            }
            _ => None,
        };
        if length.is_none() && (between != "=" || value.starts_with(['"', '\''])) {
            *inside = Some(before.len() - before.trim_start_matches([' ', '-']).len());
        }
        let (hidden, after) = value.split_at(length.unwrap_or(value.len()));
        shown += &rest[..whole.end()];
        shown += if hidden.trim().is_empty() { "" } else { MASK };
        rest = after;
    }
    shown + rest
}

/// Returns where a value ends that may be quoted; `None`: not in this line.
fn end_of(value: &str, ends: impl Fn(char) -> bool) -> Option<usize> {
    let mut quote = None;
    for (at, letter) in value.char_indices() {
        match quote {
            Some(open) if letter == open => quote = None,
            Some(_) => {}
            None if ends(letter) => return Some(at),
            None if matches!(letter, '"' | '\'') => quote = Some(letter),
            None => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_hidden_in_each_way_to_write_it_and_what_is_around_it_is_not() {
        let text = "\
- name: it is shown
  get_url: {url: x, password: 'ge, heim', url_password: geheim, dest: /x}
- uri: url=x password=\"ge heim\" dest=y
  mysql_user: {name: x, plugin_auth_string: geheim, plugin_hash_string: '*geheim'}
- uri:
    login_password: geheim
    API_TOKEN: |
      geheim

      geheim
    \"passphrase\":
      geheim
    secret: \"geheim
      geheim\"
    dest: y # shown
  no_log: true
- mysql_user: {name: x, password: {a: geheim,
      b: geheim}}
- debug: msg=shown
";
        let shown = lines(text, 1, usize::MAX);
        assert!(!shown.contains("heim"), "{shown}");
        for kept in [
            "   1 - name: it is shown\n",
            "get_url: {url: x, password: ********, url_password: ********, dest: /x}\n",
            "uri: url=x password=******** dest=y\n",
            "mysql_user: {name: x, plugin_auth_string: ********, plugin_hash_string: ********}\n",
            "    dest: y # shown\n",
            "  19 - debug: msg=shown\n",
        ] {
            assert!(shown.contains(kept), "{kept}: {shown}");
        }
        assert_eq!(lines(text, 9, 10), "   9 \n  10       ********\n");
    }
}
