//! An account's password hash: compared and set, and told by its kind and a fingerprint only.

use crate::change::{Back, Change};
use crate::host::View;
use crate::modules::ModuleError;
use crate::transport::Command;
use crate::transport::command::quote;

use super::database::Database;

/// Sets `hash` to that of `$name`, and `line` to nothing where there is no such account. No command's arguments ever hold it.
const HASH: &str = r#"line=$({ getent shadow "$name" || sed -n "/^$pattern:/p" /etc/shadow; } 2>/dev/null)
[ -n "$line" ] || line=$({ getent passwd "$name" || sed -n "/^$pattern:/p" /etc/passwd; } 2>/dev/null)
hash=${line#*:}
hash=${hash%%:*}
"#;

/// Prints what [`told`] returns: the fingerprint is that of `cksum`, which every host has.
const TELL: &str = r#"lock=
case $hash in '!'*) lock=! ;; esac
while :; do case $hash in '!'*) hash=${hash#?} ;; *) break ;; esac; done
sum() { echo "$hash" | { cksum || echo 'no cksum'; } | { read -r sum size; echo "$sum"; }; }
case $hash in
'') if [ -n "$lock" ] || [ -z "$line" ]; then echo '!'; else echo empty; fi ;;
'*') echo "$lock*" ;;
x) if [ -r /etc/shadow ]; then echo "${lock}x"; else echo unreadable; fi ;;
'$'*'$'*'$'*) kind=${hash#?}; echo "$lock(\$${kind%%\$*}\$ $(sum))" ;;
*) sum=$(sum); echo "$lock(hash $((sum % 1024)))" ;;
esac
"#;

/// A field of shadow(5), such as `!$6$salt$hash`.
#[derive(Clone, PartialEq, Eq)]
pub struct Hash(String);

impl Hash {
    /// Takes over a field; how often it is locked does not matter.
    pub fn new(field: &str) -> Hash {
        let bare = field.trim_start_matches('!');
        let lock = if bare.len() == field.len() { "" } else { "!" };
        Hash(format!("{lock}{bare}"))
    }

    pub fn is_locked(&self) -> bool {
        self.0.starts_with('!')
    }

    /// The hash without the lock.
    fn bare(&self) -> &str {
        self.0.trim_start_matches('!')
    }

    pub fn locked(&self, lock: bool) -> Hash {
        Hash(format!("{}{}", if lock { "!" } else { "" }, self.bare()))
    }

    /// Says whether both are the same hash, locked or not.
    pub fn is_that_of(&self, other: &Hash) -> bool {
        self.bare() == other.bare()
    }

    /// Says whether it has the form of a hash, or of none on purpose.
    pub fn is_crypted(&self) -> bool {
        let bare = self.bare();
        let of_des = |c: char| c.is_ascii_alphanumeric() || "./".contains(c);
        matches!(bare, "" | "*" | "x")
            || (bare.starts_with('$') && bare.matches('$').count() >= 3)
            || (bare.len() == 13 && bare.chars().all(of_des))
    }

    /// Returns how it is shown: by its kind and a fingerprint where it has a salt that nobody knows. An older hash has too
    /// little salt for one, and is told by ten bits.
    pub fn told(&self) -> String {
        let lock = if self.is_locked() { "!" } else { "" };
        let sum = cksum(format!("{}\n", self.bare()).as_bytes());
        match self.bare() {
            "" if self.is_locked() => "!".into(),
            "" => "empty".into(),
            "*" => format!("{lock}*"),
            "x" => format!("{lock}x"),
            bare => match bare.strip_prefix('$').and_then(|rest| rest.split_once('$')) {
                Some((kind, rest)) if rest.contains('$') => format!("{lock}(${kind}$ {sum})"),
                _ => format!("{lock}(hash {})", sum % 1024),
            },
        }
    }
}

/// The CRC of POSIX `cksum`.
fn cksum(bytes: &[u8]) -> u32 {
    let length = std::iter::successors(Some(bytes.len()), |rest| Some(rest >> 8)).take_while(|rest| *rest > 0);
    let all = bytes.iter().copied().chain(length.map(|rest| (rest & 0xff) as u8));
    !all.fold(0u32, |sum, byte| {
        (0..8).fold(sum ^ (u32::from(byte) << 24), |sum, _| {
            if sum & 0x8000_0000 == 0 { sum << 1 } else { (sum << 1) ^ 0x04c1_1db7 }
        })
    })
}

fn script(name: &str, body: &str) -> Command {
    let pattern = name.replace('.', "[.]").replace('$', "[$]");
    Command::shell(format!("name={} pattern={}\n{HASH}{body}", quote(name), quote(&pattern)))
}

/// Returns the password of an account as it is told: `!` for one that is not there.
pub async fn told(host: &View, name: &str) -> Result<String, ModuleError> {
    Ok(host.state(&format!("password of {name}"), &script(name, TELL)).await?)
}

/// Returns the hash that the host has now.
pub async fn current(host: &View, name: &str) -> Result<Hash, ModuleError> {
    Ok(Hash::new(host.probe(&script(name, "echo \"$hash\"\n")).await?.text().trim_end()))
}

/// Returns the change of a password. The hashes are on stdin of chpasswd(8) alone.
pub fn change(
    database: &Database,
    name: &str,
    (told, old): (String, Option<Hash>),
    new: &Hash,
) -> Result<Option<Change>, ModuleError> {
    if told == "unreadable" {
        return Err(ModuleError::failed(format!("the password of `{name}` cannot be read\nhint: `become: true`")));
    }
    if told == new.told() {
        return match old {
            Some(old) if old != *new => Err(ModuleError::failed(format!(
                "the old and the new password of `{name}` have the same fingerprint\nhint: hash it again, with another salt"
            ))),
            _ => Ok(None),
        };
    }
    let chpasswd = database.tool("chpasswd")?;
    let set =
        |hash: &Hash| Command { stdin: format!("{name}:{}\n", hash.0).into_bytes(), ..Command::argv([chpasswd, "-e"]) };
    let what = format!("password of {name}");
    let change = Change::state(what, script(name, TELL), (told, new.told()), vec![set(new)]);
    // What an earlier task of the same check has planned is not on the host, and cannot be given back.
    let back = old.map_or(Back::None, |old| Back::By(vec![set(&old)]));
    Ok(change.map(|change| change.taken_back(back).with_secret_commands()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_is_that_of_the_hosts_cksum() {
        // What `printf 'text' | cksum` prints.
        assert_eq!((cksum(b""), cksum(b"123456789")), (4294967295, 930766865));
    }

    #[test]
    fn a_hash_is_told_by_kind_and_fingerprint_and_never_itself() {
        let sum = |text: &str| cksum(format!("{text}\n").as_bytes());
        for (field, told) in [
            ("", "empty".to_string()),
            ("!", "!".into()),
            ("!!", "!".into()),
            ("*", "*".into()),
            ("!*", "!*".into()),
            ("$6$salt$hash", format!("($6$ {})", sum("$6$salt$hash"))),
            ("!!$y$j9T$salt$hash", format!("!($y$ {})", sum("$y$j9T$salt$hash"))),
            ("ab0123456789.", format!("(hash {})", sum("ab0123456789.") % 1024)),
        ] {
            assert_eq!(Hash::new(field).told(), told, "{field}");
        }
        assert!(Hash::new("!$6$a$b").is_that_of(&Hash::new("$6$a$b")));
        assert!(!Hash::new("geheim").is_crypted() && Hash::new("$2b$10$x").is_crypted());
    }
}
