//! Texts in an expression that are templates themselves: `'{{ base }}/etc' in paths`, as conditions may have them.

use std::borrow::Cow;

/// Says whether a condition is one template, which makes the value, and no expression.
pub fn is_wrapped(text: &str) -> bool {
    let text = text.trim();
    (text.starts_with("{{") || text.starts_with("{%")) && (text.ends_with("}}") || text.ends_with("%}"))
}

/// Returns the expression with each such text as one that puts its pieces together: `('' ~ (base) ~ '/etc') in paths`.
pub fn spelled_out(expression: &str) -> Cow<'_, str> {
    if !expression.contains("{{") {
        return expression.into();
    }
    let mut made = String::new();
    let mut rest = expression;
    while let Some(start) = rest.find(['\'', '"']) {
        let quote = &rest[start..=start];
        let inner = &rest[start + 1..];
        let Some(end) = end_of(inner, quote) else { break };
        made += &rest[..start];
        made += &pieces(&inner[..end], quote).unwrap_or_else(|| format!("{quote}{}{quote}", &inner[..end]));
        rest = &inner[end + 1..];
    }
    (made + rest).into()
}

/// Returns where a text ends that begins behind its opening quote.
fn end_of(text: &str, quote: &str) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(at, letter)| {
        let ends = !escaped && text[at..].starts_with(quote);
        escaped = letter == '\\' && !escaped;
        ends.then_some(at)
    })
}

fn pieces(text: &str, quote: &str) -> Option<String> {
    let mut all = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let (inner, behind) = after.split_once("}}")?;
        all.extend((!before.is_empty()).then(|| format!("{quote}{before}{quote}")));
        all.push(format!("({})", inner.trim_matches('-').trim()));
        rest = behind;
    }
    if all.is_empty() {
        return None;
    }
    all.extend((!rest.is_empty()).then(|| format!("{quote}{rest}{quote}")));
    Some(format!("({})", all.join(" ~ ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_in_a_text_is_put_together_and_other_texts_stay() {
        for (written, expected) in [
            ("'{{ base }}/etc' in paths", "((base) ~ '/etc') in paths"),
            ("a == \"x{{ b | default('c') }}\"", "a == (\"x\" ~ (b | default('c')))"),
            ("a == '{{ b }}'", "a == ((b))"),
            ("a == 'it\\'s {{ b' and c", "a == 'it\\'s {{ b' and c"),
            ("a == 'b'", "a == 'b'"),
        ] {
            assert_eq!(spelled_out(written), expected);
        }
        assert!(is_wrapped(" {{ a }}") && !is_wrapped("'{{ a }}' in b") && !is_wrapped("a"));
    }
}
