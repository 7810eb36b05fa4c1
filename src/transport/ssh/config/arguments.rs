//! A command line of `ssh`: the options that count before any file, from variables and their texts of flags.

use std::sync::Arc;

use crate::error::{Diagnostic, Diagnostics};
use crate::secret::Secret;

use super::keywords::Support;
use super::lines::{self, Line, Read};
use super::settings::Origin;

/// What was given beside the files, the stronger first.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Where the host's own name was written.
    pub(super) host: Origin,
    /// For the host itself, not for those it is reached through.
    pub(super) password: Option<Secret>,
    pub(super) lines: Vec<Line>,
    /// `-F`.
    pub(super) file: Option<(String, Origin)>,
    /// Whether `-J` was there: a second one is an error.
    jumps: bool,
}

/// What a flag of `ssh` does (`ssh.1`).
enum Flag {
    /// Sets this keyword to the flag's argument.
    Sets(&'static str),
    /// The same, whatever was said before.
    Replaces(&'static str),
    /// Sets a keyword to a value, whatever was said before.
    Is(&'static str, &'static str),
    /// The options that are lines of a file.
    Option,
    File,
    Jump,
    /// Nothing that matters here.
    Nothing,
    /// The same, with an argument.
    NothingOf,
}

/// Flags that are refused together with the word after them.
const UNSUPPORTED_WITH_ARGUMENT: &str = "BDILOQRWw";

fn flag(letter: char) -> Option<Flag> {
    Some(match letter {
        'o' => Flag::Option,
        'F' => Flag::File,
        'J' => Flag::Jump,
        'i' => Flag::Sets("IdentityFile"),
        'l' => Flag::Sets("User"),
        'p' => Flag::Sets("Port"),
        'P' => Flag::Sets("Tag"),
        'b' => Flag::Replaces("BindAddress"),
        'c' => Flag::Replaces("Ciphers"),
        'm' => Flag::Replaces("MACs"),
        '4' => Flag::Is("AddressFamily", "inet"),
        '6' => Flag::Is("AddressFamily", "inet6"),
        'C' => Flag::Is("Compression", "yes"),
        // How `ssh` talks to a terminal, a log or other `ssh` processes.
        'a' | 'k' | 'n' | 'q' | 't' | 'T' | 'v' | 'x' | 'y' | '2' => Flag::Nothing,
        'e' | 'E' | 'S' => Flag::NothingOf,
        _ => return None,
    })
}

impl Given {
    /// Nothing but the host's name, written at `host`, and a password.
    pub fn new(host: Origin, password: Option<Secret>) -> Given {
        Given { host, password, ..Given::default() }
    }

    /// Adds one keyword with its value.
    pub fn option(&mut self, keyword: &str, value: &str, origin: &Origin) -> Result<(), Diagnostic> {
        // Quotes keep the value one word, whatever it holds.
        let value = value.replace('\\', "\\\\").replace('"', "\\\"");
        self.line(&format!("{keyword} \"{value}\""), origin)
    }

    /// Adds a line as `-o` has it.
    fn line(&mut self, text: &str, origin: &Origin) -> Result<(), Diagnostic> {
        let line = match lines::read(text, &|_| origin.clone())? {
            None => return Ok(()),
            Some(Read::Done(line @ (Line::Set(_) | Line::Unknown { .. }))) => line,
            Some(Read::Done(_) | Read::Include(_)) => {
                let word = text.split([' ', '=', '\t']).next().unwrap_or(text);
                return Err(origin.wrong(format!("`-o {word}` is for files only")));
            }
        };
        if let Line::Set(setting) = &line {
            let nothing = |values: &[&str]| values.iter().any(|value| setting.words == [*value]);
            match setting.keyword.support {
                Support::Expected(values) if !nothing(values) => {
                    return Err(origin.wrong(format!("`{}` is not supported", setting.keyword.name)));
                }
                _ => {}
            }
            match setting.keyword.name {
                "User" => setting.words.first().map_or(Ok(()), |user| super::check_user(user, origin))?,
                "ProxyJump" => self.check_hops(setting.words.first().map_or("", String::as_str), origin)?,
                _ => {}
            }
        }
        self.lines.push(line);
        Ok(())
    }

    /// Returns what a jump host's own `ssh` would be given of this.
    pub(super) fn files_only(&self) -> Given {
        Given { file: self.file.clone(), ..Given::default() }
    }

    /// Adds hosts to jump through.
    pub(super) fn jump(&mut self, hosts: &str, origin: &Origin) -> Result<(), Diagnostic> {
        self.line(&format!("ProxyJump {hosts}"), origin)
    }

    fn check_hops(&self, text: &str, origin: &Origin) -> Result<(), Diagnostic> {
        for hop in text.split(',').filter_map(super::jump::Hop::read) {
            super::check_host(&hop.host, origin)?;
            hop.user.map_or(Ok(()), |user| super::check_user(&user, origin))?;
        }
        Ok(())
    }

    fn replace(&mut self, keyword: &str, value: &str, origin: &Origin) -> Result<(), Diagnostic> {
        self.lines.retain(|line| !matches!(line, Line::Set(setting) if setting.keyword.name == keyword));
        self.option(keyword, value, origin)
    }

    /// Adds the flags that a variable holds, split at blanks as a shell splits (`ansible_ssh_common_args`).
    pub fn arguments(&mut self, text: &str, origin: &Origin) -> Result<(), Diagnostics> {
        let unended = || origin.wrong("a quote does not end");
        let words = shlex::split(text).ok_or_else(unended)?;
        let mut words = words.into_iter();
        let mut errors = Diagnostics::default();
        while let Some(word) = words.next() {
            let Some(cluster) = word.strip_prefix('-').filter(|rest| !rest.is_empty() && !rest.starts_with('-')) else {
                let error = origin.wrong(format!("`{word}` is no flag of `ssh`"));
                errors.push(error.hint("a value with spaces needs quotes: `-o ProxyCommand=\"nc %h %p\"`"));
                continue;
            };
            for (at, letter) in cluster.char_indices() {
                let Some(flag) = flag(letter) else {
                    errors.push(origin.wrong(format!("the flag `-{letter}` of `ssh` is not supported")));
                    let last = at + letter.len_utf8() == cluster.len();
                    let _argument =
                        if last && UNSUPPORTED_WITH_ARGUMENT.contains(letter) { words.next() } else { None };
                    break;
                };
                if let Flag::Nothing = flag {
                    continue;
                }
                if let Flag::Is(keyword, value) = flag {
                    errors.catch(self.replace(keyword, value, origin));
                    continue;
                }
                let attached = &cluster[at + letter.len_utf8()..];
                let argument = if attached.is_empty() { words.next() } else { Some(attached.to_string()) };
                let missing = || origin.wrong(format!("the flag `-{letter}` has no argument"));
                let given = argument.ok_or_else(missing).and_then(|argument| self.flag(flag, &argument, origin));
                errors.catch(given);
                break;
            }
        }
        errors.or(())
    }

    fn flag(&mut self, flag: Flag, argument: &str, origin: &Origin) -> Result<(), Diagnostic> {
        match flag {
            Flag::Sets(keyword) => self.option(keyword, argument, origin),
            Flag::Replaces(keyword) => self.replace(keyword, argument, origin),
            Flag::Option => self.line(argument, origin),
            Flag::File => {
                self.file = Some((argument.into(), origin.clone()));
                Ok(())
            }
            Flag::Jump => {
                let is = |line: &Line, name| matches!(line, Line::Set(setting) if setting.keyword.name == name);
                if self.jumps || self.lines.iter().any(|line| is(line, "ProxyJump") || is(line, "ProxyCommand")) {
                    let error = origin.wrong("`-J` beside another `-J`, `ProxyJump` or `ProxyCommand`");
                    return Err(error.hint("several hosts to jump through stand in one `-J`, with commas"));
                }
                self.jumps = true;
                self.jump(argument, origin)
            }
            Flag::Is(..) | Flag::Nothing | Flag::NothingOf => Ok(()),
        }
    }
}

/// The origin of what the program itself gives, of which no error can come.
pub(super) fn ours() -> Origin {
    Origin { place: None, within: Some(Arc::from("`ProxyJump`")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(text: &str) -> Result<Vec<String>, String> {
        let mut given = Given::default();
        let origin = Origin::within("`x`".into(), None);
        given
            .arguments(text, &origin)
            .map_err(|errors| errors.0.into_iter().map(|error| error.message).collect::<Vec<_>>().join("; "))?;
        let mut said: Vec<String> = given
            .lines
            .iter()
            .map(|line| match line {
                Line::Set(setting) => format!("{}={}", setting.keyword.name, setting.words.join(" ")),
                other => format!("{other:?}"),
            })
            .collect();
        said.extend(given.file.map(|(file, _)| format!("-F {file}")));
        Ok(said)
    }

    #[test]
    fn flags_are_read_as_ssh_reads_them() {
        assert_eq!(given("-o Port=23 -oUser=ann -o 'Port 24'").unwrap(), ["Port=23", "User=ann", "Port=24"]);
        assert_eq!(given("-4C -6").unwrap(), ["Compression=yes", "AddressFamily=inet6"]);
        assert_eq!(
            given("-Cp2222 -i '/my key' -i \"it's\"").unwrap(),
            ["Compression=yes", "Port=2222", "IdentityFile=/my key", "IdentityFile=it's"]
        );
        assert_eq!(given("-o ProxyCommand=\"nc -x 'a b' %h %p\"").unwrap(), ["ProxyCommand=nc -x 'a b' %h %p"]);
        assert_eq!(
            given("-J a@b:1,c -F none -l ann -b 127.0.0.1").unwrap(),
            ["ProxyJump=a@b:1,c", "User=ann", "BindAddress=127.0.0.1", "-F none"]
        );
        assert_eq!(given("-tt -vvv -T -q").unwrap(), [""; 0]);
        assert_eq!(given("").unwrap(), [""; 0]);
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_by_name() {
        for (text, error) in [
            ("-X", "the flag `-X` of `ssh` is not supported, in `x`"),
            ("-4L 1:a:2", "the flag `-L` of `ssh` is not supported, in `x`"),
            ("-o", "the flag `-o` has no argument, in `x`"),
            ("-o Port=x", "`Port` should be a port, not `x`, in `x`"),
            ("-o Host=x", "`-o Host` is for files only, in `x`"),
            ("-o Include=x", "`-o Include` is for files only, in `x`"),
            ("-o ForwardAgent=yes", "`ForwardAgent` is not supported, in `x`"),
            ("host", "`host` is no flag of `ssh`, in `x`"),
            ("-J a -J b", "`-J` beside another `-J`, `ProxyJump` or `ProxyCommand`, in `x`"),
            ("-J 'a;b'", "`a;b` is no host name, in `x`"),
            ("-l 'a;b'", "`a;b` is no user name, in `x`"),
            ("-l -x", "`-x` is no user name, in `x`"),
            ("'", "a quote does not end, in `x`"),
            (
                "-X -Y",
                "the flag `-X` of `ssh` is not supported, in `x`; the flag `-Y` of `ssh` is not supported, in `x`",
            ),
        ] {
            assert_eq!(given(text).unwrap_err(), error, "{text}");
        }
    }
}
