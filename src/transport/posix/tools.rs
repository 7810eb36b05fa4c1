//! What a host has to work with, found out once, and how scripts use it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::transport::{Identity, Output, Owner, TransportError};

/// The shell functions that every script here calls.
pub const PRELUDE: &str = include_str!("prelude.sh");

/// The tools that were found; the words are the values of the prelude's variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tools {
    /// `c`: GNU's and busybox's `stat -c`; `f`: BSD's `stat -f`; `l`: only `ls -l`.
    pub stat: char,
    sum: String,
    base64: String,
    sync: String,
    rename: String,
    /// The shell reads nothing but UTF-8.
    pub only_utf8: bool,
}

impl Tools {
    /// Reads what `c_probe` printed.
    pub fn read(output: &Output) -> Result<(Tools, Identity), TransportError> {
        let text = output.text();
        let lines: Vec<&str> = text.lines().collect();
        let unreadable = || {
            let said = format!("{text}{}", output.error_text());
            TransportError::Refused(format!("the host's `sh` did not answer as a POSIX shell: {}", said.trim()))
        };
        let [.., tools, umask, id, home] = lines[..] else { return Err(unreadable()) };
        let [stat, sum, base64, sync, rename, bytes] = tools.split('/').collect::<Vec<_>>()[..] else {
            return Err(unreadable());
        };
        let identity = Identity {
            user: id_field(id, "uid=").ok_or_else(unreadable)?,
            group: id_field(id, "gid=").ok_or_else(unreadable)?,
            home: home.into(),
            base: home.into(),
            umask: u32::from_str_radix(umask, 8).map_err(|_| unreadable())?,
        };
        let tools = Tools {
            stat: stat.chars().next().ok_or_else(unreadable)?,
            sum: sum.into(),
            base64: base64.into(),
            sync: sync.into(),
            rename: rename.into(),
            only_utf8: bytes == "utf8",
        };
        Ok((tools, identity))
    }

    /// Returns the prelude with the tools set, for a program that did not probe for them.
    pub fn prelude(&self) -> String {
        let Tools { stat, sum, base64, sync, rename, only_utf8: _ } = self;
        format!("c_stat={stat} c_sum='{sum}' c_b64='{base64}' c_sync={sync} c_mv={rename}\n{PRELUDE}\n")
    }

    /// Says whether the host can digest a file itself.
    pub fn digests(&self) -> bool {
        self.sum != "none"
    }

    /// Returns a command that prints exactly these bytes. `printf` is built into `sh`, so they are in no process's
    /// arguments, and unlike a here-document they are in no temp file of the shell either.
    pub fn print(&self, bytes: &[u8]) -> String {
        if bytes.is_empty() {
            return ":".into();
        }
        if self.base64 == "none" {
            let line = |chunk: &[u8]| {
                let octal: String = chunk.iter().map(|byte| format!("\\{byte:03o}")).collect();
                format!("printf '{octal}'\n")
            };
            return format!("{{ {}}}", bytes.chunks(512).map(line).collect::<String>());
        }
        // `openssl base64` reads lines of at most 76 characters.
        let lines: Vec<String> = bytes.chunks(57).map(|line| STANDARD.encode(line)).collect();
        format!("printf '%s\\n' '{}' | {}", lines.join("\n"), self.base64)
    }
}

/// Reads one of `id.1`'s `uid=0(root)`; the name is missing where the host knows none.
fn id_field(line: &str, key: &str) -> Option<Owner> {
    let field = line.split_whitespace().find_map(|word| word.strip_prefix(key))?;
    let (id, name) = field.split_once('(').unwrap_or((field, ""));
    let id: u32 = id.parse().ok()?;
    let name = name.trim_end_matches(')');
    Some(Owner { id, name: if name.is_empty() { id.to_string() } else { name.into() } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_is_read_behind_a_greeting_and_without_a_name() {
        let answer = "c/none/base64 -d/dd/T/any\n0022\nuid=1042 gid=0(root) groups=0(root)\n/srv/my home\n";
        let output = Output { stdout: answer.into(), ..Output::default() };
        let (tools, identity) = Tools::read(&output).unwrap();
        assert!(!tools.digests());
        assert_eq!(identity.user, Owner { id: 1042, name: "1042".into() });
        assert_eq!(identity.group, Owner { id: 0, name: "root".into() });
        assert_eq!((identity.home.as_str(), identity.umask), ("/srv/my home", 0o022));
    }

    #[test]
    fn something_else_than_a_shell_is_refused_with_what_it_said() {
        let output = Output { stdout: "Welcome to the switch\n".into(), ..Output::default() };
        assert!(Tools::read(&output).unwrap_err().to_string().contains("Welcome to the switch"));
    }
}
