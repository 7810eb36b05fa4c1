//! The patterns of `ssh_config.5`: `*`, `?`, and lists of them with `!`.

/// Tells whether `text` matches one pattern. Letters are compared as they are.
pub fn matches(text: &str, pattern: &str) -> bool {
    let (text, pattern): (Vec<char>, Vec<char>) = (text.chars().collect(), pattern.chars().collect());
    let (mut at, mut next) = (0, 0);
    // Where the last `*` stands, and how much of the text it has taken.
    let mut star: Option<(usize, usize)> = None;
    while at < text.len() {
        match pattern.get(next) {
            Some('*') => {
                star = Some((next, at));
                next += 1;
            }
            Some(c) if *c == '?' || *c == text[at] => {
                at += 1;
                next += 1;
            }
            _ => match star {
                Some((place, taken)) => {
                    star = Some((place, taken + 1));
                    at = taken + 1;
                    next = place + 1;
                }
                None => return false,
            },
        }
    }
    pattern[next..].iter().all(|c| *c == '*')
}

/// Tells whether `text` matches a list with commas: one pattern of it at least, and none that has a `!` in front.
pub fn list(text: &str, patterns: &str) -> bool {
    let mut found = false;
    for pattern in patterns.split(',') {
        match pattern.strip_prefix('!') {
            Some(pattern) if matches(text, pattern) => return false,
            Some(_) => {}
            None => found |= matches(text, pattern),
        }
    }
    found
}

/// As [`list`], letters of any case being equal: host names.
pub fn host_list(host: &str, patterns: &str) -> bool {
    list(&host.to_ascii_lowercase(), &patterns.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks_match() {
        for (text, pattern, expected) in [
            ("mx1.example.com", "*.example.com", true),
            ("mx1.example.com", "mx?.*", true),
            ("mx12", "mx?", false),
            ("", "*", true),
            ("", "", true),
            ("a", "", false),
            ("aXbXc", "a*X*c", true),
            ("MX", "mx", false),
            ("abcabc", "*abc", true),
            ("abcabd", "*abc", false),
            ("a", "a**", true),
        ] {
            assert_eq!(matches(text, pattern), expected, "{text} {pattern}");
        }
    }

    #[test]
    fn a_pattern_of_many_stars_ends_soon() {
        assert!(!matches(&"a".repeat(2000), &("*a".repeat(200) + "b")));
    }

    #[test]
    fn a_negated_pattern_wins_and_does_not_match_alone() {
        assert!(list("mx1", "mx*"));
        assert!(!list("mx1", "mx*,!mx1"));
        assert!(!list("mx1", "!mx1,mx*"));
        assert!(!list("web", "!mx*"));
        assert!(host_list("MX1", "mX?"));
    }
}
