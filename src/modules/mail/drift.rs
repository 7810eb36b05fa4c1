//! What the control files of an old host say otherwise than the forwarding of a domain needs.

use std::collections::BTreeMap;

use super::dangers;
use super::qmail::{self, Fate, Relay, Tables};

/// The files as they are, and what they are to bring about.
pub struct Wanted<'a> {
    /// Control files by name; one that is absent is not here.
    pub texts: &'a BTreeMap<&'static str, String>,
    /// Where mail shall go; `None`: anywhere but here.
    pub relay: Option<&'a Relay>,
    pub reread: Reread,
}

/// Nothing on a host tells of a HUP: our own are noted (send.rs), and those of others are not.
pub(super) const UNREAD: &str = "as far as Cutover knows (it sees no HUP by others) qmail-send has not read `locals` and \
                                 `virtualdomains` since they changed: send it a HUP, or run the forwarding again, which does";

/// Whether qmail-send uses `locals` and `virtualdomains` as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reread {
    Yes,
    /// They have changed since it read them.
    No,
    /// It is not running.
    Idle,
    /// Another installation's directory: there is no `queue/lock/sendmutex`.
    Nowhere,
}

/// How a domain stands on an old host, without any judgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The host keeps the domain's mail: it is local or virtual here.
    pub own: bool,
    /// What `smtproutes` has for it, by its own line or a wider one.
    pub route: Option<String>,
    /// That route leads where its mail shall go.
    pub routed: bool,
    /// qmail-smtpd takes mail for it.
    pub accepted: bool,
}

impl Wanted<'_> {
    pub fn standing(&self, domain: &str) -> Standing {
        let fate = self.tables().fate(&format!("{}@{domain}", dangers::ANYBODY));
        let route = qmail::route(self.text("smtproutes"), domain);
        Standing {
            own: fate != Fate::Remote,
            route: route.map(str::to_string),
            routed: self.routed_wrong(domain, false).is_none(),
            accepted: self.refused(domain).is_none(),
        }
    }

    fn tables(&self) -> Tables {
        Tables {
            locals: self.texts.get("locals").cloned(),
            me: self.text("me").into(),
            virtualdomains: self.text("virtualdomains").into(),
        }
    }

    /// Returns one text for each thing that keeps mail of `domain` here, sends it elsewhere or refuses it.
    pub fn drift(&self, domain: &str) -> Vec<String> {
        let tables = self.tables();
        let mut drift = Vec::new();
        let fate = tables.fate(&format!("{}@{domain}", dangers::ANYBODY));
        let own = fate != Fate::Remote;
        match fate {
            Fate::Local if tables.locals.is_none() => {
                drift.push(format!("there is no `locals`, so `me` is local, which is `{domain}`: its mail stays here"));
            }
            Fate::Local => drift.push(format!("{}: its mail stays here", self.place("locals", domain))),
            Fate::Virtual { key, .. } => {
                drift.push(format!("{}: its mail stays here", self.place("virtualdomains", &key)));
            }
            Fate::Remote => {}
        }
        let single = format!("@{}", domain.to_ascii_lowercase());
        let users = qmail::keys(&tables.virtualdomains).filter(|key| key.to_ascii_lowercase().ends_with(&single));
        let mut users: Vec<String> = users.map(str::to_ascii_lowercase).collect();
        users.sort();
        users.dedup();
        let kept = users.iter().filter(|key| qmail::value(&tables.virtualdomains, key) != Some(""));
        drift.extend(kept.map(|key| format!("{}: its mail stays here", self.place("virtualdomains", key))));
        drift.extend(self.routed_wrong(domain, own));
        drift.extend(self.refused(domain));
        drift.extend(match self.reread {
            Reread::Yes => None,
            Reread::No => Some(UNREAD.to_string()),
            Reread::Idle => Some("qmail-send is not running".into()),
            Reread::Nowhere => Some("no qmail-send uses this installation: it has no `queue/lock/sendmutex`".into()),
        });
        drift
    }

    fn text(&self, name: &str) -> &str {
        self.texts.get(name).map_or("", String::as_str)
    }

    /// Names the last line for a key, which is the one that counts: `virtualdomains:12 has `example.com:7``.
    fn place(&self, name: &str, key: &str) -> String {
        let is_key = |line: &str| {
            let Some(entry) = qmail::entry(line) else { return false };
            let found = if name == "locals" { Some(entry) } else { entry.split_once(':').map(|(key, _)| key) };
            found.is_some_and(|found| found.eq_ignore_ascii_case(key))
        };
        let lines = self.text(name).split('\n').zip(1..).filter(|(line, _)| is_key(line));
        match lines.last() {
            Some((line, number)) => format!("`{name}` line {number} has `{}`", qmail::entry(line).unwrap_or(line)),
            None => format!("`{name}` has `{key}`"),
        }
    }

    /// `own`: its mail stays here, and does not bounce for want of a route.
    fn routed_wrong(&self, domain: &str, own: bool) -> Option<String> {
        let smtproutes = self.text("smtproutes");
        let bounces = if own { "" } else { ": while its MX is this host its mail bounces (#5.4.6)" };
        let Some((key, value)) = qmail::route_by(smtproutes, domain) else {
            return Some(format!("`smtproutes` has no route for it{bounces}"));
        };
        let place = || self.place("smtproutes", key);
        match (Relay::read(value), self.relay) {
            _ if value.is_empty() => Some(format!("{}, so that its MX is asked{bounces}", place())),
            (Err(why), _) => Some(format!("{}, which leads nowhere: {why}", place())),
            (Ok(relay), Some(wanted)) if relay != *wanted => {
                Some(format!("{}, and not {}:{}", place(), wanted.host, wanted.port))
            }
            _ => None,
        }
    }

    /// `rcpthosts` has names and suffixes; without it qmail-smtpd takes mail for everybody (`qmail-smtpd.8`).
    fn refused(&self, domain: &str) -> Option<String> {
        if !self.texts.contains_key("rcpthosts") {
            return Some("there is no `rcpthosts`: qmail-smtpd relays for everybody".into());
        }
        let accepted = qmail::accepts(Some(self.text("rcpthosts")), self.text("morercpthosts"), domain);
        (!accepted).then(|| "`rcpthosts` lacks it: its mail is refused here".to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drift(texts: &[(&'static str, &str)], relay: &str, reread: Reread) -> Vec<String> {
        let texts = texts.iter().map(|(name, text)| (*name, text.to_string())).collect();
        let relay = Relay::read(relay).unwrap();
        Wanted { texts: &texts, relay: Some(&relay), reread }.drift("example.com")
    }

    const FORWARDING: [(&str, &str); 5] = [
        ("me", "old.example\n"),
        ("locals", "old.example\n"),
        ("virtualdomains", "# ours\nother.org:2\n"),
        ("smtproutes", "example.com:10.77.0.20\n"),
        ("rcpthosts", "example.com\nother.org\n"),
    ];

    fn with(name: &'static str, text: &'static str) -> Vec<(&'static str, &'static str)> {
        FORWARDING.into_iter().map(|(found, old)| (found, if found == name { text } else { old })).collect()
    }

    fn one(texts: &[(&'static str, &str)], words: &[&str]) {
        let drift = drift(texts, "10.77.0.20:25", Reread::Yes);
        assert!(drift.len() == 1 && words.iter().all(|word| drift[0].contains(word)), "{drift:?} has not {words:?}");
    }

    #[test]
    fn a_domain_that_is_forwarded_has_no_drift() {
        assert_eq!(drift(&FORWARDING, "[10.77.0.20]", Reread::Yes), Vec::<String>::new());
        let excepted = with("virtualdomains", "bob@example.com:\nexample.com:\n:all\n");
        assert_eq!(drift(&excepted, "10.77.0.20", Reread::Yes), Vec::<String>::new());
        let suffix = with("rcpthosts", ".com\n");
        assert_eq!(drift(&suffix, "10.77.0.20", Reread::Yes), Vec::<String>::new());
    }

    #[test]
    fn what_keeps_mail_here_is_named_with_its_line() {
        one(&with("locals", "old.example\nExample.com \n"), &["`locals` line 2 has `Example.com`"]);
        one(&with("virtualdomains", "a.b:1\n\nexample.com:\nEXAMPLE.com:7\n"), &["line 4 has `EXAMPLE.com:7`"]);
        one(&with("virtualdomains", "a.b:1\n:all\n"), &["`virtualdomains` line 2 has `:all`"]);
        one(&with("virtualdomains", ".com:suffix\n"), &["`.com:suffix`"]);
        one(&with("virtualdomains", "\nBob@example.com:7\n"), &["line 2 has `Bob@example.com:7`"]);
        let mut texts = with("me", "example.com\n");
        texts.retain(|(name, _)| *name != "locals");
        one(&texts, &["no `locals`", "`me`"]);
    }

    #[test]
    fn a_route_that_is_missing_or_leads_elsewhere_is_named() {
        one(&with("smtproutes", ""), &["no route", "#5.4.6"]);
        one(&with("smtproutes", "example.com:\n:10.77.0.20\n"), &["line 1 has `example.com:`", "MX"]);
        one(&with("smtproutes", "# all\n:10.77.0.9\n"), &["line 2 has `:10.77.0.9`", "not 10.77.0.20:25"]);
        one(&with("smtproutes", "example.com:10.77.0.20:26\n"), &["not 10.77.0.20:25"]);
        one(&with("smtproutes", "example.com: 10.77.0.20\n"), &["leads nowhere"]);
        one(&with("smtproutes", " example.com:10.77.0.20\n"), &["no route"]);
    }

    #[test]
    fn a_standing_says_what_is_there_and_does_not_judge_it() {
        let standing = |texts: Vec<(&'static str, &str)>| {
            let texts = texts.into_iter().map(|(name, text)| (name, text.to_string())).collect();
            let relay = Relay::read("10.77.0.20").unwrap();
            let found = Wanted { texts: &texts, relay: Some(&relay), reread: Reread::Idle }.standing("example.com");
            (found.own, found.route, found.routed, found.accepted)
        };
        let route = |text: &str| Some(text.to_string());
        assert_eq!(standing(FORWARDING.to_vec()), (false, route("10.77.0.20"), true, true));
        let panel = with("virtualdomains", "example.com:7\n");
        assert_eq!(standing(panel), (true, route("10.77.0.20"), true, true));
        assert_eq!(standing(with("smtproutes", "example.com:127.0.0.1\n")), (false, route("127.0.0.1"), false, true));
        assert_eq!(standing(with("smtproutes", "")), (false, None, false, true));
        assert_eq!(standing(with("rcpthosts", "other.org\n")), (false, route("10.77.0.20"), true, false));
    }

    #[test]
    fn rcpthosts_and_the_running_qmail_send_count_too() {
        one(&with("rcpthosts", "other.org\n"), &["`rcpthosts` lacks it"]);
        let absent: Vec<_> = FORWARDING.into_iter().filter(|(name, _)| *name != "rcpthosts").collect();
        one(&absent, &["relays for everybody"]);
        for (reread, word) in
            [(Reread::No, "has not read"), (Reread::Idle, "not running"), (Reread::Nowhere, "sendmutex")]
        {
            assert!(drift(&FORWARDING, "10.77.0.20", reread)[0].contains(word));
        }
    }
}
