//! Flags of the file system, as `lsattr` shows and `chattr` sets them.

use crate::change::{Back, Change};
use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::ModuleError;
use crate::transport::Command;
use crate::transport::command::quote;

/// The flags that chattr(1) can set and clear.
const KNOWN: &str = "aAcCdDeFijmPsStTux";

/// Flags that are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flags {
    /// `+`, `-` or `=`.
    sign: char,
    letters: String,
}

impl Flags {
    /// Reads `+i`, `-A`, `=ad`; without a sign it is `=`, and nothing asks for nothing.
    pub fn parse(text: &str) -> Result<Flags, Diagnostic> {
        let sign = text.chars().next().filter(|first| "+-=".contains(*first));
        let letters = text.trim_start_matches(['+', '-', '=']);
        match letters.chars().find(|letter| !KNOWN.contains(*letter)) {
            Some(letter) => Err(Diagnostic::new(format!("`{letter}` in `{text}` is no flag of a file"))
                .hint(format!("chattr knows {KNOWN}"))),
            None => Ok(Flags { sign: sign.unwrap_or('='), letters: letters.into() }),
        }
    }

    /// Returns the flags of a path that has `before`, in the order of the letters.
    fn after(&self, before: &str) -> String {
        let has = |letter: char| match self.sign {
            '+' => before.contains(letter) || self.letters.contains(letter),
            '-' => before.contains(letter) && !self.letters.contains(letter),
            _ => self.letters.contains(letter),
        };
        KNOWN.chars().filter(|letter| has(*letter)).collect()
    }

    pub async fn change(&self, host: &View, path: &str) -> Result<Option<Change>, ModuleError> {
        if self.letters.is_empty() {
            return Ok(None);
        }
        // `e` says how ext4 keeps the file, and `=` without it would be refused. A path that is not there yet has none.
        let kept = KNOWN.replace('e', "");
        let probe = Command::shell(format!(
            "{{ lsattr -d -- {0} 2>/dev/null || [ ! -e {0} ] || exit; }} | sed 's/ .*//; s/[^{kept}]//g'",
            quote(path)
        ));
        let what = format!("flags of {path}");
        let found = host.state(&what, &probe).await?;
        let before: String = KNOWN.chars().filter(|letter| found.contains(*letter)).collect();
        let after = self.after(&before).replace('e', "");
        if before == after {
            return Ok(None);
        }
        let set = |to: &str, from: &str| {
            let gone: String = from.chars().filter(|letter| !to.contains(*letter)).collect();
            let come: String = to.chars().filter(|letter| !from.contains(*letter)).collect();
            let signed = [("-", gone), ("+", come)];
            let words = signed
                .iter()
                .filter(|(_, letters)| !letters.is_empty())
                .map(|(sign, letters)| format!("{sign}{letters}"));
            let words = ["chattr".to_string()].into_iter().chain(words).chain(["--".to_string(), path.to_string()]);
            vec![Command::argv(words.collect::<Vec<_>>())]
        };
        let by = set(&after, &before);
        let back = Back::By(set(&before, &after));
        // The probe prints them in the order of lsattr.
        let ordered = |flags: &str| LSATTR.chars().filter(|letter| flags.contains(*letter)).collect::<String>();
        let change = Change::state(what, probe, (found, ordered(&after)), by);
        Ok(change.map(|change| change.taken_back(back)))
    }
}

/// The order in which `lsattr` prints them (`lib/e2p/pf.c` of e2fsprogs).
const LSATTR: &str = "suSDiadAcjtTCxFPm";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_come_go_and_are_no_others() {
        let after = |asked: &str, before: &str| Flags::parse(asked).unwrap().after(before);
        assert_eq!(
            (after("+i", "A"), after("-A", "Ai"), after("=d", "Ai"), after("A", "i")),
            ("Ai".into(), "i".into(), "d".into(), "A".into())
        );
        assert!(Flags::parse("").unwrap().letters.is_empty());
        assert!(Flags::parse("+q").unwrap_err().to_string().contains("is no flag"));
    }
}
