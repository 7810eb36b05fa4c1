//! The hosts of `ProxyJump` and `-J`: `[user@]host[:port]` or `ssh://[user@]host[:port]`, with commas between them.

use crate::error::Diagnostic;

use super::settings::{Setting, is_none};
use super::values;

/// One host to go through, as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    pub user: Option<String>,
    pub host: String,
    pub port: Option<u16>,
}

/// Checks that a setting names hosts, or `none`.
pub fn check(setting: &Setting) -> Result<(), Diagnostic> {
    let text = setting.words.first().map_or("", String::as_str);
    if is_none(&setting.words) {
        return Ok(());
    }
    match text.split(',').find(|hop| Hop::read(hop).is_none()) {
        Some(hop) => {
            let error = setting.origin.wrong(format!("`{hop}` is no host to jump through"));
            Err(error.hint("`user@host:port` or `ssh://user@host:port`, several with commas, or `none`"))
        }
        None => Ok(()),
    }
}

impl Hop {
    pub fn read(text: &str) -> Option<Hop> {
        match text.strip_prefix("ssh://") {
            Some(rest) => Hop::of_uri(rest),
            None => Hop::of_text(text),
        }
    }

    fn of_text(text: &str) -> Option<Hop> {
        let (user, rest) = match text.rsplit_once('@') {
            Some((user, rest)) => (Some(non_empty(user)?), rest),
            None => (None, text),
        };
        if rest.contains('/') {
            return None;
        }
        let (host, port) = host_and_port(rest)?;
        Some(Hop { user, host, port })
    }

    /// A path, which a URI may have, means nothing here.
    fn of_uri(text: &str) -> Option<Hop> {
        let (user, rest) = match text.split_once('@') {
            Some((user, rest)) => (Some(unescaped(&non_empty(user.split(';').next()?)?)?), rest),
            None => (None, text),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains('/') {
            return None;
        }
        let (host, port) = host_and_port(rest)?;
        Some(Hop { user, host, port })
    }
}

fn host_and_port(text: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (host, if port.is_empty() { "" } else { port.strip_prefix(':')? })
        }
        None => text.split_once(':').unwrap_or((text, "")),
    };
    let port = if port.is_empty() { None } else { Some(values::port(port)?) };
    Some((non_empty(host)?, port))
}

fn non_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_string())
}

/// Reads `%41` as `A`.
fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(user: Option<&str>, host: &str, port: Option<u16>) -> Option<Hop> {
        Some(Hop { user: user.map(str::to_owned), host: host.into(), port })
    }

    #[test]
    fn hops_have_users_and_ports() {
        assert_eq!(Hop::read("a"), hop(None, "a", None));
        assert_eq!(Hop::read("me@a:2222"), hop(Some("me"), "a", Some(2222)));
        assert_eq!(Hop::read("me@corp@a"), hop(Some("me@corp"), "a", None));
        assert_eq!(Hop::read("[::1]:22"), hop(None, "::1", Some(22)));
        assert_eq!(Hop::read("a:"), hop(None, "a", None));
        assert_eq!(Hop::read("ssh://me;x=y@a:2222/"), hop(Some("me"), "a", Some(2222)));
        assert_eq!(Hop::read("ssh://m%40e@[::1]"), hop(Some("m@e"), "::1", None));
        for text in ["", "@a", "a:0", "a:x", "a/b", "ssh://a/b", "ssh://", "[a", "ssh://%4@a", "::1"] {
            assert_eq!(Hop::read(text), None, "{text}");
        }
    }
}
