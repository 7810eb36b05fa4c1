//! `.qmail` files as qmail-local reads them (`dot-qmail.5`, `qmail-command.8`), without touching one.

/// A file that may hold the instructions for an address, and `$DEFAULT` where it is one for many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub file: String,
    pub default: Option<String>,
}

/// Returns the files to look for, best first. Without a dash it is `.qmail` alone.
pub fn candidates(dash: &str, extension: &str) -> Vec<Candidate> {
    let safe = extension.to_ascii_lowercase().replace('.', ":");
    let mut found = vec![Candidate { file: format!(".qmail{dash}{safe}"), default: None }];
    if dash.is_empty() {
        found[0].file = ".qmail".into();
        return found;
    }
    let ends = (0..=safe.len()).rev().filter(|end| *end == 0 || safe.as_bytes()[end - 1] == b'-');
    found.extend(ends.map(|end| Candidate {
        file: format!(".qmail{dash}{}default", &safe[..end]),
        default: Some(extension[end..].to_string()),
    }));
    found
}

/// One line of a `.qmail` file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instruction {
    /// `./Maildir/`, relative to the home.
    Maildir(String),
    /// `./Mailbox`.
    Mbox(String),
    Program(String),
    Forward(String),
}

/// Returns the instructions, or why mail has to wait. `forward_only` is the file's x bit.
pub fn read(text: &str, forward_only: bool) -> Result<Vec<Instruction>, &'static str> {
    let mut found = Vec::new();
    let mut forward_only = forward_only;
    for (number, line) in text.split('\n').enumerate() {
        let line = line.trim_end_matches([' ', '\t']);
        let instruction = match line.chars().next() {
            None if number == 0 && !text.is_empty() => {
                return Err("Uh-oh: first line of .qmail file is blank. (#4.2.1)");
            }
            None | Some('#') => continue,
            Some('+') => {
                forward_only |= line == "+list";
                continue;
            }
            Some('.' | '/') if line.ends_with('/') => Instruction::Maildir(line.into()),
            Some('.' | '/') => Instruction::Mbox(line.into()),
            Some('|') => Instruction::Program(line[1..].into()),
            Some('&') => Instruction::Forward(line[1..].trim_start().into()),
            Some(_) => Instruction::Forward(line.into()),
        };
        match instruction {
            Instruction::Program(_) if forward_only => {
                return Err("Uh-oh: .qmail has prog delivery but has x bit set. (#4.7.0)");
            }
            Instruction::Maildir(_) | Instruction::Mbox(_) if forward_only => {
                return Err("Uh-oh: .qmail has file delivery but has x bit set. (#4.7.0)");
            }
            other => found.push(other),
        }
    }
    Ok(found)
}

/// What the exit code of a program means for the delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Done,
    /// Done, and the lines that follow are left out.
    Last,
    Bounce,
    Later,
}

pub fn verdict(code: i32) -> Verdict {
    match code {
        0 => Verdict::Done,
        99 => Verdict::Last,
        64 | 65 | 70 | 76 | 77 | 78 | 100 | 112 => Verdict::Bounce,
        _ => Verdict::Later,
    }
}

/// Why mail to a home or with a `.qmail` file of this mode has to wait.
pub fn check_home(mode: u32) -> Result<(), &'static str> {
    match mode {
        mode if mode & 0o002 != 0 => Err("Uh-oh: home directory is writable. (#4.7.0)"),
        mode if mode & 0o1000 != 0 => Err("Home directory is sticky: user is editing his .qmail file. (#4.2.1)"),
        _ => Ok(()),
    }
}

pub fn check_file(mode: u32) -> Result<(), &'static str> {
    if mode & 0o002 != 0 { Err("Uh-oh: .qmail file is writable. (#4.7.0)") } else { Ok(()) }
}

/// Programs that every Plesk mailbox names, done without a process: this machine may have none of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Builtin {
    True,
    /// `deliverquota DIRECTORY`.
    Deliverquota(String),
    /// `bouncesaying TEXT`.
    Bouncesaying(String),
}

pub fn builtin(command: &str) -> Option<Builtin> {
    let words = shlex::split(command)?;
    let name = words.first()?.rsplit('/').next()?;
    match (name, &words[1..]) {
        ("true", []) => Some(Builtin::True),
        ("deliverquota", [directory]) => Some(Builtin::Deliverquota(directory.clone())),
        ("bouncesaying", [text]) => Some(Builtin::Bouncesaying(text.clone())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_an_address_go_from_the_exact_one_to_the_general() {
        let files = |dash: &str, extension: &str| -> Vec<String> {
            candidates(dash, extension).into_iter().map(|candidate| candidate.file).collect()
        };
        assert_eq!(files("", "anything"), [".qmail"]);
        assert_eq!(files("-", "bob"), [".qmail-bob", ".qmail-default"]);
        assert_eq!(files("-", "List-In.X"), [".qmail-list-in:x", ".qmail-list-default", ".qmail-default"]);
        assert_eq!(candidates("-", "List-In")[1].default.as_deref(), Some("In"));
    }

    #[test]
    fn a_line_is_an_instruction_by_its_first_letter() {
        let text =
            "# a comment\n./Maildir/ \t\n/var/mail/bob\n|prog arg\n&bob@example.com\ncarol@example.com\n+other\n\n";
        let expected = [
            Instruction::Maildir("./Maildir/".into()),
            Instruction::Mbox("/var/mail/bob".into()),
            Instruction::Program("prog arg".into()),
            Instruction::Forward("bob@example.com".into()),
            Instruction::Forward("carol@example.com".into()),
        ];
        assert_eq!(read(text, false).unwrap(), expected);
        assert_eq!(read("", false).unwrap(), []);
        assert!(read("\n&bob\n", false).unwrap_err().contains("is blank"));
    }

    #[test]
    fn with_the_x_bit_only_forwards_are_done_and_the_rest_waits() {
        assert_eq!(read("&bob\n", true).unwrap().len(), 1);
        for text in ["|true\n", "./Maildir/\n", "&bob\n|true\n"] {
            assert!(read(text, true).unwrap_err().contains("x bit set"), "{text}");
        }
        assert!(read("+list\n|true\n", false).is_err());
    }

    #[test]
    fn exit_codes_mean_what_qmail_command_says() {
        let rows = [
            (Verdict::Done, &[0][..]),
            (Verdict::Last, &[99]),
            (Verdict::Bounce, &[64, 65, 70, 76, 77, 78, 100, 112]),
            (Verdict::Later, &[1, 66, 71, 75, 111, 126, 127, 255]),
        ];
        for (expected, codes) in rows {
            codes.iter().for_each(|code| assert_eq!(verdict(*code), expected, "{code}"));
        }
    }

    #[test]
    fn a_writable_or_sticky_home_and_a_writable_file_make_mail_wait() {
        let rows = [(0o700, true), (0o755, true), (0o775, true), (0o702, false), (0o1700, false)];
        rows.iter().for_each(|(mode, good)| assert_eq!(check_home(*mode).is_ok(), *good, "{mode:o}"));
        assert!(check_file(0o600).is_ok() && check_file(0o602).is_err());
    }

    #[test]
    fn the_programs_of_a_plesk_mailbox_need_no_process() {
        let quota = Builtin::Deliverquota("./Maildir".into());
        assert_eq!(builtin(" /usr/bin/deliverquota ./Maildir"), Some(quota));
        assert_eq!(builtin("bouncesaying 'no such address'"), Some(Builtin::Bouncesaying("no such address".into())));
        assert_eq!(builtin(" true"), Some(Builtin::True));
        assert_eq!(builtin("true; rm x"), None);
    }
}
