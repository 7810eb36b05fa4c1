//! qmail's control files as its programs read them (`control.c`, `constmap.c`, `qmail-send.8`, `qmail-remote.8`).

use std::borrow::Cow;
use std::net::Ipv4Addr;

use crate::transport::{Content, Node};

/// One control file that qmail or Plesk's qmail knows.
#[derive(Debug, PartialEq, Eq)]
pub struct ControlFile {
    pub name: &'static str,
    pub shape: Shape,
    pub effect: Effect,
}

/// What the lines of a control file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One entry a line.
    List,
    /// `key:value` lines; a line without a colon is ignored by qmail.
    Keyed,
    /// The first line is the value.
    Single,
}

/// What makes an edit of the file effective.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing: it is read anew by every process that needs it.
    None,
    /// SIGHUP to qmail-send.
    Reread,
    /// A restart of qmail-send, which reads it at its start only.
    Restart,
    /// `qmail-newmrh`, which builds `morercpthosts.cdb`.
    Newmrh,
}

const fn row(name: &'static str, shape: Shape, effect: Effect) -> ControlFile {
    ControlFile { name, shape, effect }
}

/// Every control file of `qmail-control.9`, and the two that Plesk's smtpd and the common badrcptto patch add.
pub const FILES: &[ControlFile] = &[
    row("badmailfrom", Shape::List, Effect::None),
    row("badrcptto", Shape::List, Effect::None),
    row("bouncefrom", Shape::Single, Effect::Restart),
    row("bouncehost", Shape::Single, Effect::Restart),
    row("concurrencylocal", Shape::Single, Effect::Restart),
    row("concurrencyremote", Shape::Single, Effect::Restart),
    row("databytes", Shape::Single, Effect::None),
    row("defaultdomain", Shape::Single, Effect::None),
    row("defaulthost", Shape::Single, Effect::None),
    row("doublebouncehost", Shape::Single, Effect::Restart),
    row("doublebounceto", Shape::Single, Effect::Restart),
    row("envnoathost", Shape::Single, Effect::Restart),
    row("helohost", Shape::Single, Effect::None),
    row("idhost", Shape::Single, Effect::None),
    row("localiphost", Shape::Single, Effect::None),
    row("locals", Shape::List, Effect::Reread),
    row("me", Shape::Single, Effect::Restart),
    row("morercpthosts", Shape::List, Effect::Newmrh),
    row("percenthack", Shape::List, Effect::Restart),
    row("plusdomain", Shape::Single, Effect::None),
    row("qmqpservers", Shape::List, Effect::None),
    row("queuelifetime", Shape::Single, Effect::Restart),
    row("rcpthosts", Shape::List, Effect::None),
    row("rejectnonexist", Shape::List, Effect::None),
    row("smtpgreeting", Shape::Single, Effect::None),
    row("smtproutes", Shape::Keyed, Effect::None),
    row("timeoutconnect", Shape::Single, Effect::None),
    row("timeoutremote", Shape::Single, Effect::None),
    row("timeoutsmtpd", Shape::Single, Effect::None),
    row("virtualdomains", Shape::Keyed, Effect::Reread),
];

pub fn control_file(name: &str) -> Option<&'static ControlFile> {
    FILES.iter().find(|file| file.name == name)
}

/// Reads bytes as text in which each byte is one character, so that any file is text and comes back unharmed.
pub fn decode(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// The reverse of [`decode`]; `text` has no character above U+00FF.
pub fn encode(text: &str) -> Vec<u8> {
    text.chars().map(|letter| letter as u8).collect()
}

/// Returns what `control_readfile` keeps of a line: trailing space, tab and newline go, leading space and CR stay;
/// nothing for an empty line and a comment.
/// Returns the text of a control file that was looked at with its content.
pub fn text(node: &Node) -> String {
    node.content().and_then(Content::bytes).map(decode).unwrap_or_default()
}

pub fn entry(line: &str) -> Option<&str> {
    let line = line.trim_end_matches([' ', '\t', '\n']);
    (!line.is_empty() && !line.starts_with('#')).then_some(line)
}

pub fn entries(text: &str) -> impl DoubleEndedIterator<Item = &str> {
    text.split('\n').filter_map(entry)
}

/// Says whether a list file has `word`, in any case.
pub fn contains(text: &str, word: &str) -> bool {
    entries(text).any(|line| line.eq_ignore_ascii_case(word))
}

/// Returns the value that a `key:value` file has for exactly `key`: the last such line wins.
pub fn value<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    let pairs = entries(text).filter_map(|line| line.split_once(':'));
    pairs.rev().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value)
}

/// Returns the keys of a `key:value` file, in order, duplicates too.
pub fn keys(text: &str) -> impl Iterator<Item = &str> {
    entries(text).filter_map(|line| line.split_once(':')).map(|(key, _)| key)
}

/// Says whether qmail-smtpd takes mail for a domain (`qmail-smtpd.8`): the files have it or a suffix of it, or there is no
/// `rcpthosts`, whatever `morercpthosts` says.
pub fn accepts(rcpthosts: Option<&str>, morercpthosts: &str, domain: &str) -> bool {
    let Some(rcpthosts) = rcpthosts else { return true };
    let dots = domain.match_indices('.').map(|(at, _)| &domain[at..]);
    std::iter::once(domain).chain(dots).any(|name| contains(rcpthosts, name) || contains(morercpthosts, name))
}

/// Says whether a key of `virtualdomains` is a domain: not an address, a suffix, everything, or none that mail can have.
pub fn is_domain(key: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    !key.is_empty() && !key.starts_with('.') && key.bytes().all(letter)
}

/// Returns the number at the start of a file of one value, as `control_readint` reads it: `10M` is 10.
pub fn number(text: &str) -> Option<u64> {
    let line = first_line(text);
    line.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
}

/// Returns each entry of a file with the number of its line.
pub fn numbered(text: &str) -> impl DoubleEndedIterator<Item = (usize, &str)> {
    let lines: Vec<&str> = text.split('\n').collect();
    lines.into_iter().enumerate().filter_map(|(index, line)| Some((index + 1, entry(line)?)))
}

/// Where qmail-send and qmail-remote would take an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Its domain is in `locals`.
    Local,
    /// `virtualdomains` has `key`: it becomes `prepend-address` and stays here.
    Virtual { key: String, prepend: String },
    /// It leaves through the channel `remote`.
    Remote,
}

/// The tables of qmail-send, as the files say.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    /// `None`: there is no such file, so that `me` is local.
    pub locals: Option<String>,
    pub me: String,
    pub virtualdomains: String,
}

impl Tables {
    /// Follows `rewrite()` of `qmail-send.c` for an address with a domain; `percenthack` is left out.
    pub fn fate(&self, address: &str) -> Fate {
        let start = address.rfind('@').map_or(0, |at| at + 1);
        let domain = &address[start..];
        let local = match &self.locals {
            Some(locals) => contains(locals, domain),
            None => entries(&self.me).next().is_some_and(|me| me.eq_ignore_ascii_case(domain)),
        };
        if local {
            return Fate::Local;
        }
        // The whole address, its domain, each suffix from a dot on, and the empty key.
        let dots = domain.match_indices('.').map(|(index, _)| start + index).filter(|index| *index > start);
        let starts = [0, start].into_iter().chain(dots);
        for start in starts.chain([address.len()]) {
            if let Some(prepend) = value(&self.virtualdomains, &address[start..]) {
                // An empty prepend ends the search: an exception, not virtual.
                let found = Fate::Virtual { key: address[start..].into(), prepend: prepend.into() };
                return if prepend.is_empty() { Fate::Remote } else { found };
            }
        }
        Fate::Remote
    }
}

/// Returns the relay that `smtproutes` has for a domain: the whole name, each suffix from a dot on, the empty key.
/// `Some("")` means: its MX, found by an entry with an empty value.
pub fn route<'t>(smtproutes: &'t str, domain: &str) -> Option<&'t str> {
    route_by(smtproutes, domain).map(|(_, relay)| relay)
}

/// Returns the key that decides, too.
pub fn route_by<'t, 'd>(smtproutes: &'t str, domain: &'d str) -> Option<(&'d str, &'t str)> {
    let dots = domain.match_indices('.').map(|(index, _)| index).filter(|index| *index > 0);
    let mut keys = [0].into_iter().chain(dots).chain([domain.len()]).map(|start| &domain[start..]);
    keys.find_map(|key| Some((key, value(smtproutes, key)?)))
}

/// A relay as `qmail-remote` reads it: `host`, `host:port`, `[address]:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    pub host: String,
    pub port: u16,
}

impl Relay {
    /// Reads the value of a route, or says why mail would be deferred or bounced there.
    pub fn read(value: &str) -> Result<Relay, String> {
        let (host, port) = value.split_once(':').unwrap_or((value, "25"));
        if value.contains("::") || value.matches(':').count() > 1 {
            return Err("qmail-remote has no IPv6 and cuts the value at its first colon: deferred for ever".into());
        }
        let port = port.parse::<u16>().ok().filter(|port| *port > 0);
        let port = port.ok_or("its port is not a number from 1 to 65535")?;
        let bare = host.strip_prefix('[').map_or(Ok(host), |rest| rest.strip_suffix(']').ok_or("no `]`"))?;
        let bracketed = bare.len() != host.len();
        let numeric = bare.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        if (bracketed || numeric) && bare.parse::<Ipv4Addr>().is_err() {
            return Err(format!("`{bare}` is no IPv4 address"));
        }
        let name = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        if bare.is_empty() || !bare.bytes().all(name) {
            return Err(format!("`{bare}` is no host name"));
        }
        Ok(Relay { host: bare.into(), port })
    }

    pub fn address(&self) -> Option<Ipv4Addr> {
        self.host.parse().ok()
    }
}

/// One entry as a task asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The whole entry of a list file; empty for a single value.
    pub key: String,
    /// Only in a `key:value` file and for a single value.
    pub value: Option<String>,
}

impl Wanted {
    fn line(&self, shape: Shape) -> String {
        let value = self.value.as_deref().unwrap_or("");
        match shape {
            Shape::List => self.key.clone(),
            Shape::Keyed => format!("{}:{value}", self.key),
            Shape::Single => value.into(),
        }
    }
}

/// Returns the text in which every wanted entry counts. What counts already is left as it stands; a changed entry
/// keeps the place of its first line and loses its later ones, which would win.
pub fn with_entries<'t>(text: &'t str, shape: Shape, wanted: &[Wanted]) -> Cow<'t, str> {
    let mut text = Cow::Borrowed(text);
    for want in wanted {
        let counts = match shape {
            Shape::List => contains(&text, &want.key),
            Shape::Keyed => value(&text, &want.key) == want.value.as_deref(),
            Shape::Single => first_line(&text) == want.value.as_deref().unwrap_or(""),
        };
        if !counts {
            text = Cow::Owned(with_line(&text, shape, want));
        }
    }
    text
}

/// Returns the text without any line of the wanted keys.
pub fn without_entries<'t>(text: &'t str, shape: Shape, wanted: &[Wanted]) -> Cow<'t, str> {
    let gone = |line: &str| wanted.iter().any(|want| is_of(line, shape, &want.key));
    match text.split_inclusive('\n').any(gone) {
        true => text.split_inclusive('\n').filter(|line| !gone(line)).collect::<String>().into(),
        false => text.into(),
    }
}

/// Returns the value of a file of one value (`control_readline`).
pub fn first_line(text: &str) -> &str {
    text.split('\n').next().unwrap_or("").trim_end_matches([' ', '\t'])
}

fn with_line(text: &str, shape: Shape, want: &Wanted) -> String {
    let line = want.line(shape) + "\n";
    if shape == Shape::Single {
        let rest = text.split_once('\n').map_or("", |(_, rest)| rest);
        return line + rest;
    }
    let mut lines: Vec<&str> = Vec::new();
    let mut placed = false;
    for old in text.split_inclusive('\n') {
        match is_of(old, shape, &want.key) {
            true if placed => {}
            true => {
                placed = true;
                lines.push(&line);
            }
            false => lines.push(old),
        }
    }
    if !placed {
        // The last line may have no newline: it must not swallow the new one.
        if lines.last().is_some_and(|last| !last.ends_with('\n')) {
            lines.push("\n");
        }
        lines.push(&line);
    }
    lines.concat()
}

fn is_of(line: &str, shape: Shape, key: &str) -> bool {
    let Some(found) = entry(line) else { return false };
    match shape {
        Shape::List => found.eq_ignore_ascii_case(key),
        Shape::Keyed => found.split_once(':').is_some_and(|(name, _)| name.eq_ignore_ascii_case(key)),
        Shape::Single => true,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keyed(key: &str, value: &str) -> Wanted {
        Wanted { key: key.into(), value: Some(value.into()) }
    }

    fn listed(key: &str) -> Wanted {
        Wanted { key: key.into(), value: None }
    }

    fn tables(virtualdomains: &str) -> Tables {
        Tables {
            locals: Some("Host.Example\n".into()),
            me: "host.example\n".into(),
            virtualdomains: virtualdomains.into(),
        }
    }

    #[test]
    fn the_first_hit_from_the_whole_address_to_the_empty_key_wins() {
        let tables = tables("bob@example.com:b\nexample.com:7\n.example.com:sub\nout.example.org:\n:all\n");
        let key = |address: &str| match tables.fate(address) {
            Fate::Virtual { prepend, .. } => prepend,
            other => format!("{other:?}"),
        };
        assert_eq!(key("BOB@Example.com"), "b");
        assert_eq!(key("ann@example.com"), "7");
        assert_eq!(key("ann@deep.example.com"), "sub");
        assert_eq!(key("ann@out.example.org"), "Remote");
        assert_eq!(key("ann@other.org"), "all");
        assert_eq!(key("ann@host.example"), "Local");
    }

    #[test]
    fn without_a_locals_file_me_is_local_and_with_an_empty_one_nothing_is() {
        let mut tables = Tables { locals: None, me: "me.example\n".into(), virtualdomains: String::new() };
        assert_eq!(tables.fate("a@ME.example"), Fate::Local);
        tables.locals = Some(String::new());
        assert_eq!(tables.fate("a@me.example"), Fate::Remote);
    }

    #[test]
    fn a_line_counts_as_qmail_reads_it() {
        assert_eq!(value("example.com:1\nEXAMPLE.com:2 \t\n", "example.com"), Some("2"));
        assert_eq!(value(" example.com:1\n", "example.com"), None);
        assert_eq!(value("#example.com:1\nexample.com\n", "example.com"), None);
        assert_eq!(value("example.com:1\r\n", "example.com"), Some("1\r"));
        assert_eq!(value("example.com:1", "example.com"), Some("1"));
    }

    #[test]
    fn a_suffix_route_does_not_match_the_domain_itself() {
        assert_eq!(route(".example.com:r\n", "example.com"), None);
        assert_eq!(route(".com:r\n", "example.com"), Some("r"));
        assert_eq!(route("example.com:\n:10.0.0.1\n", "example.com"), Some(""));
        assert_eq!(route(":10.0.0.1\n", "example.com"), Some("10.0.0.1"));
    }

    #[test]
    fn a_relay_that_would_defer_or_bounce_is_refused() {
        for good in ["10.77.0.20", "[10.77.0.20]", "10.77.0.20:25", "[10.77.0.20]:2525", "mail.example.com:25"] {
            Relay::read(good).unwrap();
        }
        for bad in ["[::1]", "::1", " 10.0.0.1", "10.0.0.1\r", "10.0.0", "[10.0.0.1", "a:0", "a:x", "[a.example]", ""] {
            Relay::read(bad).unwrap_err();
        }
    }

    #[test]
    fn a_changed_entry_keeps_its_place_and_loses_its_later_duplicates() {
        let text = "# ours\nexample.com:1\nstray\n\nother.org:2\nExample.COM:3";
        let new = with_entries(text, Shape::Keyed, &[keyed("example.com", "9")]);
        assert_eq!(new, "# ours\nexample.com:9\nstray\n\nother.org:2\n");
        let same = with_entries(text, Shape::Keyed, &[keyed("example.com", "3")]);
        assert_eq!(same, text);
        assert_eq!(without_entries(text, Shape::Keyed, &[listed("example.com")]), "# ours\nstray\n\nother.org:2\n");
    }

    #[test]
    fn a_line_after_one_without_newline_stands_alone() {
        assert_eq!(with_entries("a.example", Shape::List, &[listed("b.example")]), "a.example\nb.example\n");
        assert_eq!(with_entries("", Shape::List, &[listed("b.example")]), "b.example\n");
        assert_eq!(with_entries("10\nnote\n", Shape::Single, &[keyed("", "20")]), "20\nnote\n");
    }

    fn lines() -> impl Strategy<Value = String> {
        let line = prop_oneof![
            "#[ -~]{0,8}",
            "[a-c]{1,2}:[a-z0-9]{0,3}[ \t]{0,2}",
            "[A-C]{1,2}",
            " [a-c]:x",
            Just(String::new()),
            "[ -~]{0,10}\r?",
        ];
        (prop::collection::vec(line, 0..12), any::<bool>())
            .prop_map(|(lines, end)| lines.join("\n") + if end { "\n" } else { "" })
    }

    proptest! {
        #[test]
        fn an_entry_put_in_is_read_back_and_all_else_stays(text in lines(), key in "[a-c]{0,2}", to in "[a-z0-9]{0,3}") {
            let new = with_entries(&text, Shape::Keyed, &[keyed(&key, &to)]);
            prop_assert_eq!(value(&new, &key), Some(to.as_str()));
            let others = |text: &str| -> Vec<String> {
                let own = |line: &&str| !is_of(line, Shape::Keyed, &key);
                text.split('\n').filter(|line| !line.is_empty()).filter(own).map(String::from).collect()
            };
            prop_assert_eq!(others(&new), others(&text));
            let again = with_entries(&new, Shape::Keyed, &[keyed(&key, &to)]);
            prop_assert_eq!(&again, &new);
            let gone = without_entries(&new, Shape::Keyed, &[listed(&key)]);
            prop_assert_eq!(value(&gone, &key), None);
            prop_assert_eq!(others(&gone), others(&text));
        }

        #[test]
        fn a_list_entry_is_in_or_out(text in lines(), key in "[a-c]{1,2}") {
            prop_assert!(contains(&with_entries(&text, Shape::List, &[listed(&key)]), &key));
            prop_assert!(!contains(&without_entries(&text, Shape::List, &[listed(&key)]), &key));
        }

        #[test]
        fn reading_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), address in "\\PC{0,12}@?\\PC{0,12}") {
            let text = decode(&bytes);
            prop_assert_eq!(encode(&text), bytes);
            let tables = Tables { locals: Some(text.clone()), me: text.clone(), virtualdomains: text.clone() };
            tables.fate(&format!("x@{address}"));
            route(&text, &address);
            let _ = Relay::read(&text);
        }
    }
}
