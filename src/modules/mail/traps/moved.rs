//! What the control files of both hosts mean together for the domains that move, by the model of qmail-send and qmail-smtpd.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use super::super::dangers::{ANYBODY, tables};
use super::super::qmail::{self, Fate, Relay};
use super::{Found, Role, Side, Weight, quoted};

/// The two hosts, and what goes from one to the other.
pub struct Move<'a> {
    pub old: &'a Side,
    pub new: &'a Side,
    pub domains: &'a [String],
    /// Every known address of the domains.
    pub addresses: &'a BTreeSet<String>,
    /// The old host's own IPv4 addresses.
    pub own: &'a [Ipv4Addr],
}

impl Move<'_> {
    /// Adds all that is found.
    pub fn check(&self, found: &mut Found) {
        for side in [self.old, self.new] {
            self.host(side, found);
        }
        for domain in self.domains {
            self.on_old(domain, found);
            self.on_new(domain, found);
            self.shared(domain, found);
        }
        self.refused(found);
        self.back(found);
    }

    /// What a host is as a whole.
    fn host(&self, side: &Side, found: &mut Found) {
        let me = qmail::first_line(side.text("me"));
        if me.is_empty() {
            found.problem(format!(
                "{} is missing or empty: no program of qmail works without; write the host's name",
                side.file("me")
            ));
        }
        if !side.control.contains_key("rcpthosts") {
            let more =
                if side.control.contains_key("morercpthosts") { ", and `morercpthosts` does not count" } else { "" };
            let weight = if side.role == Role::New { Weight::Problem } else { Weight::Warning };
            let text = format!(
                "{} is missing: qmail-smtpd relays for everybody{more}; write it, with every domain that the host takes mail for",
                side.file("rcpthosts")
            );
            found.say(weight, text);
        }
        let held = match side.role {
            Role::Old => &["concurrencyremote", "concurrencylocal"][..],
            Role::New => &["concurrencylocal"],
        };
        for name in held.iter().filter(|name| qmail::number(side.text(name)) == Some(0)) {
            let line = side.line(name, (1, qmail::first_line(side.text(name))));
            found.problem(format!(
                "{line}: qmail-send delivers nothing in that channel; write another number and restart it"
            ));
        }
        for domain in self.domains.iter().filter(|domain| qmail::contains(side.text("percenthack"), domain)) {
            let line = at(side.text("percenthack"), domain);
            let place = side.line("percenthack", line);
            found.warning(format!(
                "{place}: mail for `user%host@{domain}` goes to `user@host`; take it out and restart qmail-send"
            ));
        }
        // On the new host the table is made anew with the accounts.
        if side.role == Role::Old && side.stale.contains(&"cdb") {
            let why = "older than `assign`: what was written there since does not count";
            found.warning(format!("{} is {why}; run qmail-newu", side.file("cdb")));
        }
    }

    fn on_old(&self, domain: &str, found: &mut Found) {
        let old = self.old;
        let me = qmail::first_line(old.text("me"));
        if me.eq_ignore_ascii_case(domain) && !old.control.contains_key("locals") {
            found.problem(format!(
                "{} is missing, so that `me` (`{me}`) is local, and mail for it would stay there; write it with `{domain}` and \
                 `localhost`: forwarding takes the domain out of it",
                old.file("locals")
            ));
        }
        let names =
            ["me", "bouncehost", "doublebouncehost", "envnoathost", "defaulthost", "defaultdomain", "plusdomain"];
        for name in names.iter().filter(|name| qmail::first_line(old.text(name)).eq_ignore_ascii_case(domain)) {
            let place = old.line(name, (1, qmail::first_line(old.text(name))));
            found.warning(format!(
                "{place}: the old host's own mail (cron's, bounces) goes to the new one too, once the domain is forwarded; give it \
                 another name"
            ));
        }
        let single = format!("@{domain}");
        for (number, line) in qmail::numbered(old.text("virtualdomains")) {
            let Some((key, prepend)) = line.split_once(':') else { continue };
            let counts = qmail::value(old.text("virtualdomains"), key) == Some(prepend);
            if key.to_ascii_lowercase().ends_with(&single) && !prepend.is_empty() && counts {
                found.problem(format!(
                    "{}: mail for {} would stay on the old host; take the line out, and give the address what it needs on the \
                     new host",
                    old.line("virtualdomains", (number, line)),
                    quoted(key)
                ));
            }
        }
        if let Some(life) = qmail::number(old.text("queuelifetime")).filter(|life| *life < 86_400) {
            found.warning(format!(
                "{}: mail bounces when the new host does not answer for {life} seconds; write 604800 (a week) and restart \
                 qmail-send",
                old.line("queuelifetime", (1, qmail::first_line(old.text("queuelifetime"))))
            ));
        }
    }

    /// Every address of the domain must come to the mailboxes of the domain.
    fn on_new(&self, domain: &str, found: &mut Found) {
        let new = self.new;
        let tables = tables(&new.control);
        // Without its own entry the domain is not there at all, which `qmail_facts` says.
        if qmail::value(&tables.virtualdomains, domain).is_none_or(str::is_empty) {
            return;
        }
        let of_domain = |address: &&String| address.rsplit_once('@').is_some_and(|(_, name)| name == domain);
        let nobody = format!("{ANYBODY}@{domain}");
        for address in self.addresses.iter().filter(of_domain).chain([&nobody]) {
            let (file, key) = match tables.fate(address) {
                Fate::Local => ("locals", domain.to_string()),
                Fate::Virtual { key, .. } if key.eq_ignore_ascii_case(domain) => continue,
                Fate::Virtual { key, .. } => ("virtualdomains", key),
                Fate::Remote => ("virtualdomains", address.clone()),
            };
            if file == "locals" && tables.locals.is_none() {
                let me = new.line("me", (1, qmail::first_line(&tables.me)));
                found.problem(format!(
                    "{me} and there is no `locals`: mail of `{domain}` goes to users of the system; write `locals`"
                ));
                continue;
            }
            let place = new.line(file, at(new.text(file), &key));
            found.problem(format!(
                "{place}: mail for {} does not come to the mailboxes of `{domain}`; take the line out",
                quoted(&key)
            ));
        }
        if new.stale.contains(&"morercpthosts.cdb")
            && !qmail::accepts(new.control.get("rcpthosts").map(String::as_str), "", domain)
        {
            found.problem(format!(
                "{} is older than `morercpthosts` or missing, and only that has `{domain}`: its mail is refused; run qmail-newmrh",
                new.file("morercpthosts.cdb")
            ));
        }
    }

    /// Two domains with one prefix have the same mailboxes.
    fn shared(&self, domain: &str, found: &mut Found) {
        let prefixes = |side: &Side| -> Vec<(usize, String, String, String)> {
            let text = side.text("virtualdomains");
            let entries = qmail::numbered(text).filter_map(|(number, line)| {
                let (key, prepend) = line.split_once(':')?;
                let counts = qmail::value(text, key) == Some(prepend) && !prepend.is_empty();
                (counts && qmail::is_domain(key))
                    .then(|| (number, line.to_string(), key.to_ascii_lowercase(), prepend.to_string()))
            });
            entries.collect()
        };
        let (there, here) = (prefixes(self.old), prefixes(self.new));
        let of = |list: &[(usize, String, String, String)], name: &str| {
            list.iter().find(|(_, _, key, _)| key == name).map(|(_, _, _, prefix)| prefix.clone())
        };
        let twins = |list: &[(usize, String, String, String)], name: &str| -> Vec<(usize, String, String)> {
            let Some(own) = of(list, name) else { return Vec::new() };
            let others = list.iter().filter(|(_, _, key, prefix)| key != name && *prefix == own);
            others.map(|(number, line, key, _)| (*number, line.clone(), key.clone())).collect()
        };
        let moving = |name: &str| self.domains.iter().any(|domain| domain == name);
        for (number, line, other) in twins(&there, domain) {
            let place = self.old.line("virtualdomains", (number, &line));
            if !moving(&other) {
                found.problem(format!(
                    "{place}: it has the mailboxes of `{domain}`, whose mail would be in two places; move both in one run"
                ));
            } else if domain < other.as_str() && of(&here, &other) != of(&here, domain) {
                let place = self.new.file("virtualdomains");
                found.problem(format!(
                    "{place} gives `{other}` and `{domain}` different mailboxes, and on the old host they have the same; make \
                     one an alias of the other there"
                ));
            }
        }
        let same_there: Vec<String> = twins(&there, domain).into_iter().map(|(_, _, key)| key).collect();
        let was_own = of(&there, domain).is_some();
        for (number, line, other) in
            twins(&here, domain).into_iter().filter(|(_, _, key)| was_own && !same_there.contains(key))
        {
            found.problem(format!(
                "{}: it has the mailboxes of `{domain}` too, and on the old host it has not; give it a prefix of its own (`{other}`)",
                self.new.line("virtualdomains", (number, &line))
            ));
        }
    }

    /// What the new host refuses that the old one takes: the old one has to bounce it, to forged senders too.
    fn refused(&self, found: &mut Found) {
        let (listed, more) = (self.old.control.get("rcpthosts"), self.old.text("morercpthosts"));
        let taken = |domain: &&String| qmail::accepts(listed.map(String::as_str), more, domain);
        let lacking: Vec<&str> = self.domains.iter().filter(|domain| !taken(domain)).map(String::as_str).collect();
        if !lacking.is_empty() {
            found.warning(format!(
                "{} lacks `{}`: the old host refuses that mail, before and after",
                self.old.file("rcpthosts"),
                lacking.join("`, `")
            ));
        }
        let more: Vec<(usize, &str)> = qmail::numbered(self.new.text("badmailfrom"))
            .filter(|(_, line)| !qmail::contains(self.old.text("badmailfrom"), line))
            .collect();
        if let Some(first) = more.first() {
            let others = if more.len() > 1 { format!(" (and {} lines more)", more.len() - 1) } else { String::new() };
            found.warning(format!(
                "{}{others}: the new host refuses such senders and the old one takes their mail, which it would then bounce; write \
                 them into `badmailfrom` of the old host too",
                self.new.line("badmailfrom", *first)
            ));
        }
        for (number, line) in qmail::numbered(self.new.text("badrcptto")) {
            let low = line.to_ascii_lowercase();
            let ours = self.addresses.contains(&low) || self.domains.iter().any(|domain| low == format!("@{domain}"));
            if ours {
                found.problem(format!(
                    "{}: the new host refuses mail for it, which the old one would bounce; take the line out",
                    self.new.line("badrcptto", (number, line))
                ));
            }
        }
        let [old, new] = [self.old, self.new].map(|side| qmail::first_line(side.text("me")));
        if !old.is_empty() && old.eq_ignore_ascii_case(new) {
            found.warning(format!(
                "{} and {} both have `{old}`: names of messages and Message-IDs of the two hosts may be the same; give the new host \
                 a name of its own",
                self.old.file("me"),
                self.new.file("me")
            ));
        }
    }

    /// Routes of the new host that lead to the old one.
    fn back(&self, found: &mut Found) {
        let me = qmail::first_line(self.old.text("me"));
        for (number, line) in qmail::numbered(self.new.text("smtproutes")) {
            let Some((_, value)) = line.split_once(':') else { continue };
            let Ok(relay) = Relay::read(value) else { continue };
            let is_old = match relay.address() {
                Some(address) => !address.is_loopback() && self.own.contains(&address),
                None => relay.host.eq_ignore_ascii_case(me),
            };
            if is_old {
                found.warning(format!(
                    "{}: it leads to the old host, and mail may go in a circle; let it lead elsewhere before the old host is shut down",
                    self.new.line("smtproutes", (number, line))
                ));
            }
        }
    }
}

/// The last line whose entry, or whose key, is `key`, which is the one that counts.
fn at<'t>(text: &'t str, key: &str) -> (usize, &'t str) {
    let is_it = |line: &str| line.split(':').next().is_some_and(|name| name.eq_ignore_ascii_case(key));
    qmail::numbered(text).rfind(|(_, line)| is_it(line)).unwrap_or((0, ""))
}

/// A domain whose unknown addresses the old host takes must not be one whose unknown addresses the new one refuses (Plesk's
/// `rejectnonexist`).
pub fn refused_catch_all(new: &Side, domain: &str, found: &mut Found) {
    let list = new.text("rejectnonexist");
    if qmail::contains(list, domain) {
        found.problem(format!(
            "{}: the old host has a catch-all for it, and would bounce what the new one refuses; set the catch-all in the panel there, \
             or take the line out",
            new.line("rejectnonexist", at(list, domain))
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{one, side};
    use super::*;

    type Files<'a> = &'a [(&'static str, &'a str)];

    fn check(old: Files, new: Files, domains: &[&str]) -> Found {
        let with = |role, base: &[(&'static str, &'static str)], more: Files| {
            let mut whole = side(role, base);
            for (name, text) in more {
                match *text {
                    "(none)" => drop(whole.control.remove(name)),
                    text => drop(whole.control.insert(name, text.into())),
                }
            }
            whole
        };
        let old = with(
            Role::Old,
            &[
                ("me", "old.example\n"),
                ("locals", "old.example\n"),
                ("rcpthosts", "example.com\nexample.org\n"),
                ("virtualdomains", "example.com:7\n"),
            ],
            old,
        );
        let mut new = with(
            Role::New,
            &[
                ("me", "new.example\n"),
                ("locals", "new.example\n"),
                ("rcpthosts", "example.com\nexample.org\n"),
                ("virtualdomains", "example.com:31\n"),
            ],
            new,
        );
        if new.control.contains_key("morercpthosts") {
            new.stale.push("morercpthosts.cdb");
        }
        let domains: Vec<String> = domains.iter().map(|name| name.to_string()).collect();
        let addresses = ["ann@example.com".to_string()].into();
        let mut found = Found::default();
        let own = ["192.0.2.10".parse().unwrap()];
        Move { old: &old, new: &new, domains: &domains, addresses: &addresses, own: &own }.check(&mut found);
        found
    }

    #[test]
    fn what_would_bounce_misdirect_or_hold_up_mail_is_named_with_its_line() {
        use Weight::{Problem, Warning};
        for (old, new, weight, words) in [
            (&[("me", "(none)")][..], &[][..], Problem, &["`old`: `/q/control/me` is missing"][..]),
            (&[], &[("me", "\n")], Problem, &["`new`: `/q/control/me` is missing or empty"]),
            (&[("rcpthosts", "(none)")], &[], Warning, &["`old`", "relays for everybody"]),
            (&[], &[("rcpthosts", "(none)")], Problem, &["`new`", "relays for everybody"]),
            (&[("concurrencyremote", "0\n")], &[], Problem, &["line 1 has `0`", "restart"]),
            (&[], &[("concurrencylocal", "0\n")], Problem, &["`new`", "delivers nothing"]),
            (&[("queuelifetime", "3600\n")], &[], Warning, &["3600 seconds", "604800"]),
            (&[("percenthack", "a.b\nexample.com\n")], &[], Warning, &["line 2", "user%host@example.com"]),
            (&[("doublebouncehost", "example.com\n")], &[], Warning, &["doublebouncehost` line 1", "own mail"]),
            (&[("rcpthosts", "example.org\n")], &[], Warning, &["`old`", "lacks `example.com`"]),
            (
                &[("virtualdomains", "example.com:7\nBob@example.com:x\n")],
                &[],
                Problem,
                &["line 2 has `Bob@example.com:x`", "stay on the old"],
            ),
            (
                &[("virtualdomains", "example.com:7\nexample.org:7\n")],
                &[],
                Problem,
                &["line 2", "move both in one run"],
            ),
            (
                &[],
                &[("virtualdomains", "other.org:31\nexample.com:31\n")],
                Problem,
                &["`new`", "line 1 has `other.org:31`", "prefix of its own"],
            ),
            (
                &[],
                &[("locals", "new.example\nexample.com\n")],
                Problem,
                &["locals` line 2 has `example.com`", "take the line out"],
            ),
            (
                &[],
                &[("virtualdomains", "example.com:31\nann@example.com:x\n")],
                Problem,
                &["line 2 has `ann@example.com:x`"],
            ),
            (
                &[],
                &[("virtualdomains", "example.com:31\nann@example.com:\n")],
                Problem,
                &["line 2 has `ann@example.com:`"],
            ),
            (
                &[],
                &[("rcpthosts", "example.org\n"), ("morercpthosts", "example.com\n")],
                Problem,
                &["run qmail-newmrh"],
            ),
            (
                &[("badmailfrom", "@spam.example\n")],
                &[("badmailfrom", "@spam.example\nx@y.example\n@z.example\n")],
                Warning,
                &["line 2 has `x@y.example` (and 1 lines more)"],
            ),
            (&[], &[("badrcptto", "# x\nAnn@example.com\n")], Problem, &["line 2 has `Ann@example.com`"]),
            (&[], &[("me", "OLD.example\n"), ("locals", "")], Warning, &["both have `old.example`"]),
            (&[], &[("smtproutes", "a.b:192.0.2.9\n:192.0.2.10\n")], Warning, &["line 2 has `:192.0.2.10`", "circle"]),
            (&[], &[("smtproutes", ":old.example\n")], Warning, &["`:old.example`"]),
        ] {
            one(&check(old, new, &["example.com"]), weight, words);
        }
    }

    #[test]
    fn a_host_that_is_called_as_the_domain_keeps_its_mail_where_locals_is_missing() {
        let found = check(&[("me", "example.com\n"), ("locals", "(none)")], &[], &["example.com"]);
        assert!(found.problems[0].contains("`old`: `/q/control/locals` is missing"), "{found:?}");
        let found = check(&[], &[("me", "example.com\n"), ("locals", "(none)")], &["example.com"]);
        assert!(found.problems[0].contains("`new`: `/q/control/me` line 1 has `example.com`"), "{found:?}");
    }

    #[test]
    fn domains_with_the_same_mailboxes_move_together_to_the_same_mailboxes() {
        let old = [("virtualdomains", "example.com:7\nexample.org:7\n")];
        let both = ["example.com", "example.org"];
        assert_eq!(check(&old, &[("virtualdomains", "example.com:31\nexample.org:31\n")], &both), Found::default());
        let found = check(&old, &[("virtualdomains", "example.com:31\nexample.org:32\n")], &both);
        assert!(found.problems[0].contains("different mailboxes"), "{found:?}");
    }

    #[test]
    fn a_plain_pair_and_one_that_forwards_already_have_nothing_to_say() {
        assert_eq!(check(&[], &[], &["example.com"]), Found::default());
        let forwarding = [("virtualdomains", "other.org:8\n"), ("smtproutes", "example.com:192.0.2.20\n")];
        assert_eq!(check(&forwarding, &[], &["example.com"]), Found::default());
    }
}
