//! Which tasks `--tags` and `--skip-tags` select.

/// What the command line asks for; empty `only` means `all`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    pub only: Vec<String>,
    pub skip: Vec<String>,
}

impl Selection {
    /// Says whether a task with these tags runs (docs.ansible.com, "Tags": `always`, `never`, `all`, `tagged`, `untagged`).
    pub fn selects(&self, tags: &[String]) -> bool {
        self.wants(tags) && !self.leaves_out(tags)
    }

    fn wants(&self, tags: &[String]) -> bool {
        let has = |name: &str| tags.iter().any(|tag| tag == name);
        let asked = |name: &str| self.only.iter().any(|tag| tag == name);
        has("always")
            || ((self.only.is_empty() || asked("all")) && !has("never"))
            || matches(&self.only, tags)
            || (asked("tagged") && !tags.is_empty() && !has("never"))
    }

    fn leaves_out(&self, tags: &[String]) -> bool {
        let skipped = |name: &str| self.skip.iter().any(|tag| tag == name);
        if skipped("all") {
            return skipped("always") || !tags.iter().any(|tag| tag == "always");
        }
        matches(&self.skip, tags) || (skipped("tagged") && !tags.is_empty())
    }
}

/// A task without tags has the tag `untagged`.
fn matches(asked: &[String], tags: &[String]) -> bool {
    match tags.is_empty() {
        true => asked.iter().any(|tag| tag == "untagged"),
        false => asked.iter().any(|tag| tags.contains(tag)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selects(only: &str, skip: &str, tags: &str) -> bool {
        let words = |text: &str| text.split_whitespace().map(String::from).collect::<Vec<_>>();
        Selection { only: words(only), skip: words(skip) }.selects(&words(tags))
    }

    #[test]
    fn tags_select_as_ansible_does() {
        for (only, skip, tags, expected) in [
            ("", "", "", true),
            ("", "", "a", true),
            ("", "", "never", false),
            ("", "", "never a", false),
            ("a", "", "never a", true),
            ("never", "", "never", true),
            ("a", "", "a b", true),
            ("a", "", "b", false),
            ("a", "", "", false),
            ("a", "", "always", true),
            ("a", "always", "always", false),
            ("", "a", "always a", false),
            ("all", "", "never", false),
            ("tagged", "", "", false),
            ("tagged", "", "a", true),
            ("tagged", "", "never", false),
            ("untagged", "", "", true),
            ("untagged", "", "a", false),
            ("untagged", "", "always", true),
            ("", "a", "a", false),
            ("", "a", "b", true),
            ("a", "b", "a b", false),
            ("", "tagged", "a", false),
            ("", "tagged", "", true),
            ("", "untagged", "", false),
            ("", "all", "a", false),
            ("", "all", "always", true),
            ("", "all always", "always", false),
        ] {
            assert_eq!(selects(only, skip, tags), expected, "--tags `{only}` --skip-tags `{skip}` on `{tags}`");
        }
    }
}
