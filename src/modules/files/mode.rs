//! A file mode as it is asked for: the twelve bits, or how to change those that are there (`chmod.1`).

use crate::error::Diagnostic;

/// A mode, octal or symbolic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    Bits(u32),
    Clauses(Vec<Clause>),
}

/// `ug+rX`: whom, how, what. An empty `who` means everybody, less the umask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clause {
    who: String,
    operations: Vec<(char, String)>,
}

/// What a symbolic mode starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Current {
    pub mode: u32,
    pub directory: bool,
    pub umask: u32,
}

impl Mode {
    /// Reads `0644`, `644` (octal too, as text), `u=rw,g+r,o-rwx`.
    pub fn parse(text: &str) -> Result<Mode, Diagnostic> {
        let wrong = |clause: &str| {
            Diagnostic::new(format!("`{text}` is no file mode"))
                .hint("write `\"0644\"` or `u=rw,go=r`, with the quotes")
                .msg("mode must be in octal or symbolic form")
                .details(format!("bad symbolic permission for mode: {clause}"))
        };
        let text = text.trim();
        let digits = text.strip_prefix("0o").unwrap_or(text);
        if digits.starts_with(|c: char| c.is_ascii_digit()) {
            let bits = u32::from_str_radix(digits, 8).ok().filter(|bits| *bits <= 0o7777);
            return bits.map(Mode::Bits).ok_or_else(|| wrong(text));
        }
        let clauses = text.split(',').map(|clause| Clause::parse(clause.trim()).ok_or_else(|| wrong(clause)));
        clauses.collect::<Result<_, _>>().map(Mode::Clauses)
    }

    /// Returns the bits that `current` becomes.
    pub fn apply(&self, current: Current) -> u32 {
        match self {
            Mode::Bits(bits) => *bits,
            Mode::Clauses(clauses) => clauses.iter().fold(current.mode, |mode, clause| clause.apply(mode, current)),
        }
    }
}

impl Clause {
    fn parse(text: &str) -> Option<Clause> {
        let start = text.find(['+', '-', '='])?;
        let (who, mut rest) = text.split_at(start);
        // Everybody is named alone, as in Ansible.
        if who != "a" && !who.chars().all(|c| "ugo".contains(c)) {
            return None;
        }
        let mut operations = Vec::new();
        while let Some(operator) = rest.chars().next() {
            let end = rest[1..].find(['+', '-', '=']).map_or(rest.len(), |at| at + 1);
            let what = &rest[1..end];
            let copies = matches!(what, "u" | "g" | "o");
            if !copies && !what.chars().all(|c| "rwxXst".contains(c)) {
                return None;
            }
            operations.push((operator, what.to_string()));
            rest = &rest[end..];
        }
        Some(Clause { who: who.into(), operations })
    }

    fn apply(&self, mode: u32, current: Current) -> u32 {
        let who = if self.who.is_empty() || self.who.contains('a') { "ugo" } else { &self.who };
        let masked = if self.who.is_empty() { current.umask } else { 0 };
        self.operations.iter().fold(mode, |mode, (operator, what)| {
            let bits: u32 =
                who.chars().map(|who| bits(who, what, mode, current)).fold(0, |all, bits| all | bits) & !masked;
            match operator {
                '+' => mode | bits,
                '-' => mode & !bits,
                _ => mode & !who.chars().map(reach).fold(0, |all, bits| all | bits) | bits,
            }
        })
    }
}

/// Returns every bit that belongs to `u`, `g` or `o`.
fn reach(who: char) -> u32 {
    match who {
        'u' => 0o4700,
        'g' => 0o2070,
        _ => 0o1007,
    }
}

fn bits(who: char, what: &str, mode: u32, current: Current) -> u32 {
    let shift = match who {
        'u' => 6,
        'g' => 3,
        _ => 0,
    };
    // `X` goes by the bits before any clause changed them (POSIX `chmod`).
    let searchable = current.directory || current.mode & 0o111 != 0;
    let one = |letter: char| match letter {
        'r' => 4 << shift,
        'w' => 2 << shift,
        'x' => 1 << shift,
        'X' if searchable => 1 << shift,
        's' if who == 'u' => 0o4000,
        's' if who == 'g' => 0o2000,
        't' if who == 'o' => 0o1000,
        'u' => (mode >> 6 & 7) << shift,
        'g' => (mode >> 3 & 7) << shift,
        'o' => (mode & 7) << shift,
        _ => 0,
    };
    what.chars().map(one).fold(0, |all, bits| all | bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(text: &str, mode: u32, directory: bool) -> String {
        let current = Current { mode, directory, umask: 0o022 };
        format!("{:04o}", Mode::parse(text).unwrap().apply(current))
    }

    #[test]
    fn text_of_digits_is_octal() {
        assert_eq!((applied("644", 0, false), applied("0o2755", 0, true)), ("0644".into(), "2755".into()));
    }

    #[test]
    fn a_capital_x_spares_plain_files() {
        assert_eq!(applied("u=rwX,go=rX", 0o600, false), "0644");
        assert_eq!(applied("u=rwX,go=rX", 0o600, true), "0755");
        assert_eq!(applied("u=rwX,go=", 0o755, false), "0700");
    }

    #[test]
    fn clauses_follow_one_another() {
        assert_eq!(applied("g=u,o-rwx", 0o754, false), "0770");
        assert_eq!(applied("u+s,g+s,+t", 0o755, true), "7755");
        assert_eq!(applied("a-x+r", 0o711, false), "0644");
    }

    #[test]
    fn without_a_name_the_umask_holds_back() {
        assert_eq!(applied("+w", 0o444, false), "0644");
        assert_eq!(applied("a+w", 0o444, false), "0666");
    }

    #[test]
    fn what_is_no_mode_is_refused() {
        for text in ["", "rw", "u", "99", "10000", "z+r", "ao=r", "oa=r", "u+q", "0644x"] {
            assert!(Mode::parse(text).is_err(), "{text}");
        }
    }
}
