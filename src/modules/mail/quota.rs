//! Quotas against what is stored: mail that is forwarded to a mailbox over its quota bounces, and permanently.

use serde_json::Value;

use super::delivery::{larger, limits};

/// What limits a mailbox on one host; nothing is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Of the first line of `maildirsize`, in bytes; nothing where there is no such file.
    bytes: Option<Option<u64>>,
    messages: Option<u64>,
    /// The panel's, in bytes; nothing where it does not know the account.
    panel: Option<Option<u64>>,
}

/// A mailbox that moves: what is stored of it, on both hosts together, and what limits it on each.
#[derive(Clone, Debug)]
pub struct Stored<'a> {
    /// The Maildir here, for people.
    pub mailbox: &'a str,
    pub from: &'a str,
    pub bytes: u64,
    pub messages: u64,
    pub old: Limits,
    pub here: Limits,
}

impl Limits {
    /// `lines` are those of `maildirsize`; `panel` is what `plesk_facts` says of domains, and `maildir` where to look in it.
    pub fn new(lines: &[String], (panel, maildir): (&Value, &str)) -> Limits {
        let file = lines.first().map(|line| limits(line.trim()));
        let mut parts = maildir.rsplit('/').skip(1);
        let quota = parts
            .next()
            .zip(parts.next())
            .and_then(|(user, domain)| panel.get(domain)?.get("accounts")?.get(user)?.get("quota")?.as_i64());
        Limits {
            bytes: file.map(|(bytes, _)| bytes),
            messages: file.and_then(|(_, messages)| messages),
            panel: quota.map(|quota| u64::try_from(quota).ok().filter(|quota| *quota > 0)),
        }
    }
}

impl Stored<'_> {
    /// Returns what somebody has to know before mail comes to the mailbox here.
    pub fn warnings(&self) -> Vec<String> {
        let (mailbox, from) = (self.mailbox, self.from);
        let mut warnings = Vec::new();
        for (what, old, here) in
            [("`maildirsize`", self.old.bytes, self.here.bytes), ("the panel", self.old.panel, self.here.panel)]
        {
            let Some((old, here)) = old.zip(here) else { continue };
            if larger(old, here) != here {
                warnings.push(format!(
                    "`{mailbox}`: the quota here is {}, and {} on `{from}` ({what}): `accounts` makes it as large",
                    shown(here),
                    shown(old)
                ));
            }
        }
        let limit = [(self.old.bytes, self.here.bytes), (self.old.panel, self.here.panel)];
        let limit = limit.into_iter().filter_map(|(old, here)| will_be(old, here)).min();
        if let Some(limit) = limit.filter(|limit| self.bytes > *limit) {
            warnings.push(self.over(&format!("{} bytes", self.bytes), &format!("{limit} bytes")));
        }
        let messages = will_be(self.old.bytes.map(|_| self.old.messages), self.here.bytes.map(|_| self.here.messages));
        if let Some(limit) = messages.filter(|limit| self.messages > *limit) {
            warnings.push(self.over(&format!("{} messages", self.messages), &format!("{limit} messages")));
        }
        warnings
    }

    fn over(&self, stored: &str, limit: &str) -> String {
        format!(
            "`{}`: {stored} are stored, and its quota is {limit} even with that of `{}`: mail that is forwarded to it would \
             bounce\nhint: raise the quota on `{}` and run `accounts` again, or have its user delete mail",
            self.mailbox, self.from, self.from
        )
    }
}

/// What a quota is once `accounts` has taken the larger one over; nothing is none.
fn will_be(old: Option<Option<u64>>, here: Option<Option<u64>>) -> Option<u64> {
    match (old, here) {
        (Some(old), Some(here)) => larger(old, here),
        (one, other) => one.or(other).flatten(),
    }
}

fn shown(limit: Option<u64>) -> String {
    limit.map_or("none".into(), |limit| format!("{limit} bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const BOX: &str = "/m/example.com/ann/Maildir";

    fn limits(line: &str, quota: i64) -> Limits {
        let panel = json!({"example.com": {"accounts": {"ann": {"quota": quota}}}});
        let lines: Vec<String> = line.lines().map(String::from).collect();
        Limits::new(&lines, (if quota == 0 { &Value::Null } else { &panel }, BOX))
    }

    fn told(bytes: u64, old: Limits, here: Limits) -> Vec<String> {
        Stored { mailbox: BOX, from: "old", bytes, messages: 5, old, here }.warnings()
    }

    #[test]
    fn a_smaller_quota_is_told_and_what_is_over_even_the_old_one_is_told_with_its_numbers() {
        assert_eq!(told(90, limits("100S", 0), limits("100S", 0)), [""; 0]);
        let smaller = told(90, limits("100S", 0), limits("50S", 0));
        assert!(smaller.len() == 1 && smaller[0].contains("here is 50 bytes, and 100 bytes on `old`"), "{smaller:?}");
        let panel = told(90, limits("", -1), limits("", 10));
        assert!(panel.len() == 1 && panel[0].contains("none on `old` (the panel)"), "{panel:?}");
        let over = told(120, limits("100S", 100), limits("50S", 200));
        assert!(over.len() == 2 && over[1].contains("120 bytes are stored, and its quota is 100 bytes"), "{over:?}");
        let count = told(1, limits("100S,4C", 0), limits("", 0));
        assert!(count.len() == 1 && count[0].contains("5 messages are stored"), "{count:?}");
        // No quota at all, or one that nobody knows of.
        assert_eq!(told(u64::MAX, limits("0S", -1), limits("5S", -1)).len(), 1);
        assert_eq!(told(u64::MAX, limits("", 0), limits("", 0)), [""; 0]);
    }
}
