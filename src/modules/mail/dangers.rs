//! What an edit of a control file would do to mail, and which edits are refused for it.

use std::collections::BTreeMap;

use super::qmail::{self, ControlFile, Fate, Tables, Wanted};

/// Control files by name; one that is absent is not here.
pub type Texts = BTreeMap<&'static str, String>;

/// A user that no key of `virtualdomains` names.
pub const ANYBODY: &str = "no-such-user-here";

/// An edit: the files around it before and after, and the entries that it is about.
pub struct EditOf<'a> {
    pub file: &'a ControlFile,
    pub wanted: &'a [Wanted],
    pub before: &'a Texts,
    pub after: &'a Texts,
}

/// What an edit does that is not refused.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    pub warnings: Vec<String>,
    /// The domains that become remote, each with the value of its route.
    pub routed: Vec<(String, String)>,
}

impl EditOf<'_> {
    /// Returns what the edit does, or why mail would be lost, bounced or relayed for anybody.
    pub fn judge(&self, allow_unrouted: bool) -> Result<Verdict, String> {
        let mut verdict = Verdict::default();
        self.judge_file(&mut verdict)?;
        match self.file.name {
            "locals" | "virtualdomains" => {
                for want in self.wanted {
                    self.judge_departure(want, allow_unrouted, &mut verdict)?;
                }
            }
            "smtproutes" => verdict.warnings.extend(self.wanted.iter().filter_map(|want| self.lost_route(&want.key))),
            _ => {}
        }
        Ok(verdict)
    }

    /// Judges the file as a whole: absent and empty are not the same to qmail.
    fn judge_file(&self, verdict: &mut Verdict) -> Result<(), String> {
        let name = self.file.name;
        let me = self.before.get("me").map_or("", |me| qmail::first_line(me));
        match (self.before.contains_key(name), self.after.contains_key(name)) {
            (true, false) => match name {
                "locals" => Err(format!(
                    "without the file `locals` qmail takes `me` (`{me}`) for local\nhint: take its entries out by key; \
                     an empty file means no local domain"
                )),
                "rcpthosts" => Err("without the file `rcpthosts` qmail-smtpd relays for everybody\nhint: take its \
                     entries out by key; an empty file accepts no domain"
                    .into()),
                "me" => Err("every program of qmail needs the file `me`".into()),
                "virtualdomains" | "morercpthosts" => Err(format!(
                    "`{name}` is emptied by key, not removed: its absence cannot be told from an old state"
                )),
                _ => Ok(()),
            },
            (false, true) if name == "locals" && !me.is_empty() && !qmail::contains(&self.after["locals"], me) => {
                Err(format!(
                    "there is no file `locals`, so `me` (`{me}`) is local; with a new one it would not be\nhint: add `{me}` to \
                     the entries"
                ))
            }
            (false, true) if name == "rcpthosts" => {
                verdict
                    .warnings
                    .push("there was no `rcpthosts`: every domain was accepted, now only its entries are".into());
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Judges an entry that makes mail leave this host: it must leave wholly, and for somewhere.
    fn judge_departure(&self, want: &Wanted, allow_unrouted: bool, verdict: &mut Verdict) -> Result<(), String> {
        let key = want.key.as_str();
        let address = match key {
            "" => return Ok(()),
            _ if key.contains('@') => key.to_string(),
            _ if key.starts_with('.') => format!("{ANYBODY}@{ANYBODY}{key}"),
            _ => format!("{ANYBODY}@{key}"),
        };
        if tables(self.before).fate(&address) == Fate::Remote {
            return Ok(());
        }
        let virtualdomains = self.after.get("virtualdomains").map_or("", String::as_str);
        let stays = match tables(self.after).fate(&address) {
            Fate::Local => return Ok(()),
            Fate::Virtual { key: by, .. } if by.eq_ignore_ascii_case(key) => return Ok(()),
            Fate::Virtual { key: by, prepend } => Some(format!("{by}:{prepend}")),
            Fate::Remote => {
                let single = format!("@{}", key.to_ascii_lowercase());
                let users = qmail::keys(virtualdomains).filter(|name| name.to_ascii_lowercase().ends_with(&single));
                let kept = users.map(|name| (name, qmail::value(virtualdomains, name).unwrap_or("")));
                let mut kept = kept.filter(|(_, prepend)| !prepend.is_empty());
                kept.next().map(|(name, prepend)| format!("{name}:{prepend}"))
            }
        };
        if let Some(line) = stays {
            let hint = match line.split_once(':').is_some_and(|(name, _)| name.contains('@')) {
                true => "take that entry out too".to_string(),
                false => format!("write the exception `{key}:` into `virtualdomains`"),
            };
            return Err(format!(
                "mail for `{key}` would still stay here, by `{line}` in `virtualdomains`\nhint: {hint}"
            ));
        }
        let domain = address.rsplit('@').next().unwrap_or(key);
        match qmail::route(self.after.get("smtproutes").map_or("", String::as_str), domain) {
            Some(relay) if !relay.is_empty() => verdict.routed.push((domain.into(), relay.into())),
            // Route before removal: without a matching route qmail-remote bounces at once, and permanently.
            _ if !allow_unrouted => {
                return Err(format!(
                    "mail for `{key}` would leave this host with no route, and bounce (#5.4.6) while its MX is this host\nhint: \
                     put `{domain}:ADDRESS` into `smtproutes` first, or set `allow_unrouted: true`"
                ));
            }
            _ => {}
        }
        Ok(())
    }

    /// Warns of a domain that is not local and loses its route.
    fn lost_route(&self, domain: &str) -> Option<String> {
        let route =
            |texts: &Texts| texts.get("smtproutes").and_then(|text| qmail::route(text, domain).map(String::from));
        let lost = route(self.before).is_some_and(|relay| !relay.is_empty()) && route(self.after).is_none();
        let remote = tables(self.before).fate(&format!("{ANYBODY}@{domain}")) == Fate::Remote;
        (lost && remote && !domain.is_empty()).then(|| {
            format!("`{domain}` is not local and loses its route: mail that waits for it goes to its MX, or bounces if that is this host")
        })
    }
}

pub fn tables(texts: &Texts) -> Tables {
    let text = |name: &str| texts.get(name).cloned();
    Tables {
        locals: text("locals"),
        me: text("me").unwrap_or_default(),
        virtualdomains: text("virtualdomains").unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::mail::qmail::{Shape, control_file, with_entries, without_entries};

    fn texts(pairs: &[(&'static str, &str)]) -> Texts {
        let me = [("me", "host.example\n"), ("locals", "host.example\n")];
        me.iter().chain(pairs).map(|(name, text)| (*name, text.to_string())).collect()
    }

    fn key(key: &str, value: Option<&str>) -> Wanted {
        Wanted { key: key.into(), value: value.map(Into::into) }
    }

    fn take_out(name: &'static str, domain: &str, before: &Texts) -> Result<Verdict, String> {
        let file = control_file(name).unwrap();
        let wanted = [key(domain, None)];
        let mut after = before.clone();
        after.insert(name, without_entries(&before[name], file.shape, &wanted).into_owned());
        EditOf { file, wanted: &wanted, before, after: &after }.judge(false)
    }

    #[test]
    fn a_domain_without_a_route_may_not_leave() {
        let before = texts(&[("virtualdomains", "example.com:7\n")]);
        let error = take_out("virtualdomains", "example.com", &before).unwrap_err();
        assert!(error.contains("#5.4.6") && error.contains("smtproutes"), "{error}");
        let routed = texts(&[("virtualdomains", "example.com:7\n"), ("smtproutes", "example.com:10.0.0.2\n")]);
        let verdict = take_out("virtualdomains", "Example.COM", &routed).unwrap();
        assert_eq!(verdict.routed, [("Example.COM".to_string(), "10.0.0.2".to_string())]);
        let by_mx = texts(&[("virtualdomains", "example.com:7\n"), ("smtproutes", "example.com:\n:10.0.0.2\n")]);
        take_out("virtualdomains", "example.com", &by_mx).unwrap_err();
    }

    #[test]
    fn a_domain_that_a_wider_or_narrower_entry_keeps_here_is_named() {
        let route = ("smtproutes", "example.com:10.0.0.2\n");
        let caught = texts(&[("virtualdomains", "example.com:7\n:catchall\n"), route]);
        let error = take_out("virtualdomains", "example.com", &caught).unwrap_err();
        assert!(error.contains("`:catchall`") && error.contains("exception `example.com:`"), "{error}");
        let narrow = texts(&[("virtualdomains", "example.com:7\nbob@Example.com:b\n"), route]);
        let error = take_out("virtualdomains", "example.com", &narrow).unwrap_err();
        assert!(error.contains("bob@Example.com:b"), "{error}");
    }

    #[test]
    fn an_exception_takes_a_domain_out_of_a_catch_all() {
        let before = texts(&[("virtualdomains", "example.com:7\n:all\n"), ("smtproutes", ":10.0.0.2\n")]);
        let file = control_file("virtualdomains").unwrap();
        let wanted = [key("example.com", Some(""))];
        let mut after = before.clone();
        after.insert("virtualdomains", with_entries(&before["virtualdomains"], Shape::Keyed, &wanted).into_owned());
        let verdict = EditOf { file, wanted: &wanted, before: &before, after: &after }.judge(false).unwrap();
        assert_eq!(verdict.routed.len(), 1);
    }

    #[test]
    fn a_local_domain_may_become_virtual_without_a_route() {
        let before = texts(&[("locals", "host.example\nexample.com\n"), ("virtualdomains", "example.com:7\n")]);
        assert_eq!(take_out("locals", "example.com", &before).unwrap(), Verdict::default());
    }

    #[test]
    fn the_files_whose_absence_means_something_are_not_removed() {
        for (name, word) in
            [("locals", "host.example"), ("rcpthosts", "relays"), ("me", "every"), ("virtualdomains", "key")]
        {
            let before = texts(&[(name, "host.example\n")]);
            let mut after = before.clone();
            after.remove(name);
            let edit = EditOf { file: control_file(name).unwrap(), wanted: &[], before: &before, after: &after };
            let error = edit.judge(true).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn a_new_locals_file_without_me_is_refused() {
        let mut before = texts(&[]);
        before.remove("locals");
        let wanted = [key("example.com", None)];
        let mut after = before.clone();
        after.insert("locals", "example.com\n".into());
        let file = control_file("locals").unwrap();
        let error = EditOf { file, wanted: &wanted, before: &before, after: &after }.judge(false).unwrap_err();
        assert!(error.contains("add `host.example`"), "{error}");
    }
}
