//! The ways to become another user: one row each, with its words, how it asks for a password, what it says when it refuses.

use crate::transport::command::quote;
use crate::transport::{Become, TransportError};

/// A program that starts another one as another user.
pub struct Method {
    pub name: &'static str,
    /// The program where `become_exe` names none, for `sh`.
    program: &'static str,
    /// Its words after its own name, quoted for `sh`; the last is a shell's script.
    words: fn(&Call) -> Vec<String>,
    /// What decides the words, in `sh`.
    before: &'static str,
    /// Says whether it can be made to read a password from its stdin.
    pub asks_stdin: bool,
    /// Says whether it asks in words that it was told; one that does not may ask in any language.
    pub asks_as_told: bool,
    wants_password: &'static [&'static str],
    wrong_password: &'static [&'static str],
}

/// Whom a method asks for a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    Nobody,
    Stdin,
    Terminal,
}

/// Which terminal a program insists on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terminal {
    /// Its stdin.
    Stdin,
    /// The one of its session, whatever its stdin is.
    Session,
}

/// What a program says that insists on a terminal. Not by method: `become_exe` may be `sudo su`.
const INSISTS: &[(&str, Terminal)] = &[
    // su of shadow, and of coreutils
    ("must be run from a terminal", Terminal::Stdin),
    ("standard in must be a tty", Terminal::Stdin),
    // sudo, from 1.6 on
    ("you must have a tty", Terminal::Session),
    ("no tty present", Terminal::Session),
    ("a terminal is required", Terminal::Session),
    // doas
    ("a tty is required", Terminal::Session),
];

/// Returns the terminal that a program wants, from what it said before it ended.
pub fn wanted_terminal(said: &str) -> Option<Terminal> {
    INSISTS.iter().find(|(words, _)| said.contains(words)).map(|(_, terminal)| *terminal)
}

/// One use of a method.
pub struct Call<'a> {
    pub user: &'a str,
    /// The words of `become_flags`.
    flags: Option<Vec<String>>,
    asks: Asks,
    /// What to ask with, where that can be said.
    prompt: &'a str,
    script: &'a str,
}

const METHODS: &[Method] = &[
    // sudo.8, sudoers.5
    Method {
        name: "sudo",
        program: "sudo",
        words: |call| {
            let asking: &[&str] = match call.asks {
                Asks::Nobody => &["-n"],
                Asks::Stdin => &["-S", "-p", call.prompt],
                Asks::Terminal => &["-p", call.prompt],
            };
            let flags = match &call.flags {
                Some(flags) => flags.iter().filter_map(|flag| sudo_flag(flag)).collect(),
                None => vec!["-H".to_string()],
            };
            let words = [asking, &["-u", call.user, "/bin/sh", "-c", call.script]].concat();
            flags.iter().map(String::as_str).chain(words).map(quote).collect()
        },
        before: "",
        asks_stdin: true,
        asks_as_told: true,
        wants_password: &["a password is required", "no password was provided"],
        wrong_password: &["incorrect password attempt", "Sorry, try again", "Authentication failure"],
    },
    // su.1 of util-linux, shadow, coreutils and busybox; su(1) of the BSDs has no `-s`, and there the script is read by
    // the user's own shell.
    Method {
        name: "su",
        program: "$U",
        words: |call| {
            let mut words: Vec<String> = call.flags.iter().flatten().map(|flag| quote(flag)).collect();
            let shell = |flag: &String| flag.starts_with("-s") || flag.starts_with("--shell");
            if !call.flags.iter().flatten().any(shell) {
                words.insert(0, "$S".into());
            }
            words.extend([call.user, "-c", call.script].map(quote));
            words
        },
        // By its path, because an `sh` of busybox may run the `su` that is a part of itself, which has no rights.
        before: r#"S="-s /bin/sh"; case "$(uname)" in *BSD|DragonFly|Darwin|SunOS) S=;; esac; U=su; for P in /usr/bin/su /bin/su; do if [ -u "$P" ]; then U=$P; fi; done; "#,
        asks_stdin: true,
        asks_as_told: false,
        wants_password: &[],
        wrong_password: &["Authentication failure", "ncorrect password", "uthentication error", "Sorry"],
    },
    // doas(1): it reads a password from the terminal and from nowhere else.
    Method {
        name: "doas",
        program: "doas",
        words: |call| {
            let mut words: Vec<&str> = call.flags.iter().flatten().map(String::as_str).collect();
            words.retain(|flag| *flag != "-n");
            if call.asks == Asks::Nobody {
                words.push("-n");
            }
            words.extend(["-u", call.user, "/bin/sh", "-c", call.script]);
            words.into_iter().map(quote).collect()
        },
        before: "",
        asks_stdin: false,
        asks_as_told: false,
        wants_password: &["Authentication required", "Authorization required"],
        wrong_password: &["Authentication failed", "Authorization failed"],
    },
];

impl Method {
    /// Returns the method of `become_method`.
    pub fn of(user: &Become) -> Result<&'static Method, TransportError> {
        METHODS.iter().find(|method| method.name == user.method).ok_or_else(|| {
            let hint = "hint: `sudo`, `su` and `doas` are";
            TransportError::Refused(format!("`become_method: {}` is not supported\n{hint}", user.method))
        })
    }

    /// Returns what `sh` does first, and then the words that run `script` as the user and ask as `asks` says, with `prompt`
    /// if that can be said.
    pub fn command(
        &self,
        user: &Become,
        asks: Asks,
        (prompt, script): (&str, &str),
    ) -> Result<(String, String), TransportError> {
        let split = |what: &str, text: &str| {
            let wrong = || TransportError::Refused(format!("`{what}` cannot be split into words: {text}"));
            shlex::split(text).ok_or_else(wrong)
        };
        let exe = match &user.exe {
            Some(exe) => split("become_exe", exe)?.iter().map(|word| quote(word)).collect(),
            None => vec![self.program.to_string()],
        };
        let flags = user.flags.as_deref().map(|flags| split("become_flags", flags)).transpose()?;
        let call = Call { user: &user.user, flags, asks, prompt, script };
        let words = [exe, (self.words)(&call)].concat();
        Ok((format!("LC_ALL=C; export LC_ALL; {}", self.before), words.join(" ")))
    }

    /// Returns the error for a program that ended, from what it said; `answered` is whether it was given a password.
    pub fn explain(&self, user: &Become, answered: bool, said: &str) -> String {
        if answered && says(self.wrong_password, said) {
            return self.wrong(user);
        }
        if !answered && says(self.wants_password, said) {
            return self.wants(user);
        }
        let Method { name, .. } = self;
        match said.is_empty() {
            true => format!("cannot become `{}` with `{name}`: it ended without a word", user.user),
            false => format!("cannot become `{}` with `{name}`: {said}", user.user),
        }
    }

    /// The error for a password that the program refused.
    pub fn wrong(&self, user: &Become) -> String {
        format!("Incorrect {} password: it was not accepted for becoming `{}`", self.name, user.user)
    }

    /// The error for a password that there is not.
    pub fn wants(&self, user: &Become) -> String {
        format!(
            "Missing {} password: it is needed to become `{}` and none was given\n\
             hint: give it with `--ask-become-pass` or as `ansible_become_password`",
            self.name, user.user
        )
    }

    /// The error for a question that is not about the password.
    pub fn unexpected(&self, user: &Become, question: &str) -> String {
        format!(
            "`{}` asks a question to become `{}` that has no answer here: {question}\n\
             hint: become `{}` once by hand, and see what it wants",
            self.name, user.user, user.user
        )
    }
}

fn says(words: &[&str], said: &str) -> bool {
    words.iter().any(|words| said.contains(words))
}

/// Returns an option of sudo without the letters that say how it asks for the password.
fn sudo_flag(flag: &str) -> Option<String> {
    const WITH_ARGUMENT: &str = "CDRTUaghprtu";
    match flag.strip_prefix('-') {
        _ if flag == "--non-interactive" || flag == "--stdin" => None,
        Some(letters) if !letters.is_empty() && !letters.starts_with('-') => {
            let end = letters.find(|letter| WITH_ARGUMENT.contains(letter)).unwrap_or(letters.len());
            let kept = letters[..end].replace(['n', 'S'], "") + &letters[end..];
            (!kept.is_empty()).then(|| format!("-{kept}"))
        }
        _ => Some(flag.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(method: &str, flags: Option<&str>, (exe, asks): (Option<&str>, Asks)) -> String {
        let user = Become {
            method: method.into(),
            user: "mail user".into(),
            password: None,
            flags: flags.map(Into::into),
            exe: exe.map(Into::into),
            prompts: Vec::new(),
        };
        let method = Method::of(&user).unwrap();
        method.command(&user, asks, ("ask: ", "a 'b'")).unwrap().1
    }

    #[test]
    fn sudo_is_told_how_to_ask_and_keeps_all_other_flags() {
        let script = r#"-u 'mail user' /bin/sh -c 'a '"'"'b'"'"''"#;
        let nobody = (None, Asks::Nobody);
        assert_eq!(command("sudo", None, nobody), format!("sudo -H -n {script}"));
        assert_eq!(command("sudo", Some("-H -S -n"), nobody), format!("sudo -H -n {script}"));
        assert_eq!(command("sudo", Some("-nHS -g 'the group' --stdin"), (None, Asks::Stdin)), {
            format!("sudo -H -g 'the group' -S -p 'ask: ' {script}")
        });
        assert_eq!(command("sudo", Some("-unS"), (None, Asks::Terminal)), format!("sudo -unS -p 'ask: ' {script}"));
        let exe = (Some("/opt/b/sudo -A"), Asks::Nobody);
        assert_eq!(command("sudo", Some(""), exe), format!("/opt/b/sudo -A -n {script}"));
    }

    #[test]
    fn su_runs_a_posix_shell_unless_its_flags_name_one() {
        let script = r#"'mail user' -c 'a '"'"'b'"'"''"#;
        assert_eq!(command("su", None, (None, Asks::Stdin)), format!("$U $S {script}"));
        assert_eq!(command("su", Some("-"), (None, Asks::Nobody)), format!("$U $S - {script}"));
        assert_eq!(command("su", Some("-l -s /bin/ksh"), (None, Asks::Nobody)), format!("$U -l -s /bin/ksh {script}"));
        assert_eq!(command("su", None, (Some("sudo su"), Asks::Nobody)), format!("sudo su $S {script}"));
    }

    #[test]
    fn doas_asks_only_where_there_is_an_answer() {
        let script = r#"-u 'mail user' /bin/sh -c 'a '"'"'b'"'"''"#;
        assert_eq!(command("doas", None, (None, Asks::Nobody)), format!("doas -n {script}"));
        assert_eq!(command("doas", Some("-n -C x"), (None, Asks::Terminal)), format!("doas -C x {script}"));
    }

    #[test]
    fn flags_that_are_no_words_are_refused() {
        let flags = Some("-s '".to_string());
        let (method, user) = ("su".into(), "root".into());
        let user = Become { method, user, password: None, flags, exe: None, prompts: Vec::new() };
        let refused = Method::of(&user).unwrap().command(&user, Asks::Nobody, ("", "")).unwrap_err();
        assert_eq!(refused.to_string(), "`become_flags` cannot be split into words: -s '");
    }
}
