//! Records of a zone as one signed update, which their server makes only if it has exactly the records of before.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Change, Line};
use crate::dns::{Client, Key, Rrset, Updated};
use crate::transport::{Address, Others, Transport, TransportError};

use super::{Applied, ApplyError};

/// How long a name server may take to accept a connection.
pub const DIAL: Duration = Duration::from_secs(10);

/// Sets of records of one zone, on one server; each as it is and as it becomes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordsChange {
    server: Address,
    /// Absolute.
    zone: String,
    sets: Vec<(Rrset, Rrset)>,
    /// Given, the change is written encrypted only: the key's secret is in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<Key>,
}

impl Change {
    /// Returns the change of records, if there is one. `server` is dialled from the task's host.
    pub fn records(
        (server, zone): (&Address, &str),
        sets: impl IntoIterator<Item = (Rrset, Rrset)>,
        key: Option<&Key>,
    ) -> Option<Change> {
        let differs = |(before, after): &(Rrset, Rrset)| {
            before.values != after.values || (after.exists() && before.ttl != after.ttl)
        };
        let sets: Vec<_> = sets.into_iter().filter(differs).collect();
        let change = RecordsChange { server: server.clone(), zone: zone.into(), sets, key: key.cloned() };
        (!change.sets.is_empty()).then_some(Change::Records(change))
    }
}

/// Returns the name by which later tasks of a check find a planned set of records.
pub fn state_name(server: &Address, name: &str, kind: &str) -> String {
    format!("{name} {kind} at {server}")
}

impl RecordsChange {
    pub fn server(&self) -> &Address {
        &self.server
    }

    pub fn zone(&self) -> &str {
        &self.zone
    }

    /// Each set of records as it is, and as it becomes.
    pub fn sets(&self) -> &[(Rrset, Rrset)] {
        &self.sets
    }

    pub fn has_key(&self) -> bool {
        self.key.is_some()
    }

    pub fn what(&self) -> String {
        format!("records of {} at {}", self.zone, self.server)
    }

    /// Returns the same for some of its sets, if there are any.
    pub fn only(&self, sets: Vec<(Rrset, Rrset)>) -> Option<RecordsChange> {
        (!sets.is_empty()).then(|| RecordsChange { sets, ..self.clone() })
    }

    pub fn undone(&self) -> RecordsChange {
        let sets = self.sets.iter().rev().map(|(before, after)| (after.clone(), before.clone()));
        RecordsChange { sets: sets.collect(), ..self.clone() }
    }

    pub fn leaves_the_same(&self, other: &RecordsChange) -> bool {
        let after = |change: &RecordsChange| change.sets.iter().map(|(_, after)| after.clone()).collect::<Vec<_>>();
        (&self.server, after(self)) == (&other.server, after(other))
    }

    pub fn lines(&self) -> Vec<Line> {
        let what = self.what();
        let mut lines = vec![Line::Header(format!("--- {what}")), Line::Header(format!("+++ {what}"))];
        for (before, after) in &self.sets {
            if before.exists() && !after.exists() && ["MX", "NS"].contains(&before.kind.as_str()) {
                lines.push(Line::Warning(format!("`{}` has no {} any more", before.name, before.kind)));
            }
            lines.extend(before.lines().map(Line::Removed));
            lines.extend(after.lines().map(Line::Added));
        }
        if let Some(key) = &self.key {
            lines.push(Line::Header(format!("    signed with the key `{}`", key.name())));
        }
        lines
    }

    pub fn in_short(&self) -> String {
        let names = self.sets.iter().map(|(before, _)| format!("{} {}", before.name, before.kind));
        format!("{} ({})", self.what(), names.collect::<Vec<_>>().join(", "))
    }

    async fn client<'a>(&'a self, host: &dyn Transport) -> Result<Client<'a>, TransportError> {
        Ok(Client::new(host.dial(&self.server, DIAL).await?, &self.server, self.key.as_ref()))
    }

    /// Returns the sets as the server has them now, in order.
    pub async fn read(&self, host: &dyn Transport) -> Result<Vec<Rrset>, TransportError> {
        self.client(host).await?.rrsets(&self.wanted()).await
    }

    fn wanted(&self) -> Vec<(String, String)> {
        self.sets.iter().map(|(before, _)| (before.name.clone(), before.kind.clone())).collect()
    }

    pub fn is_before(&self, found: &[Rrset]) -> bool {
        self.sets.iter().zip(found).all(|((before, _), found)| before == found)
    }

    pub fn is_after(&self, found: &[Rrset]) -> bool {
        self.sets.iter().zip(found).all(|((_, after), found)| is_as_asked(after, found))
    }

    /// Makes the update. The TTLs are compared here, the records themselves by the server too.
    pub async fn apply(&self, host: &dyn Transport) -> Result<Applied, ApplyError> {
        host.hold(Others::Respect).await?;
        let mut client = self.client(host).await?;
        let found = client.rrsets(&self.wanted()).await?;
        let stale = |found: String| ApplyError::Stale {
            what: self.what(),
            expected: said(self.sets.iter().map(|(before, _)| before)),
            found,
        };
        if !self.is_before(&found) {
            return Err(stale(said(found.iter())));
        }
        let changed_at = match client.update(&self.zone, &self.sets).await? {
            // By then, nobody is given the old records any more.
            Updated::Done => jiff::Timestamp::now().to_string(),
            Updated::Stale(code) => {
                let hint = "a record of `*` may answer for a name that is not there, or another was faster";
                return Err(stale(format!("the server says {code}: {hint}")));
            }
            Updated::Refused(code) => {
                return Err(ApplyError::Failed(format!("{}: the server refuses the update: {code}", self.what())));
            }
        };
        let found = client.rrsets(&self.wanted()).await.map_err(|error| match error {
            TransportError::Refused(why) => TransportError::Uncertain(why),
            other => other,
        })?;
        match self.is_after(&found) {
            true => {
                let report = [("changed_at".to_string(), Value::from(changed_at))];
                Ok(Applied { report: report.into_iter().collect(), ..Applied::default() })
            }
            false => Err(ApplyError::Failed(format!(
                "{} should now be `{}` and are `{}`",
                self.what(),
                said(self.sets.iter().map(|(_, after)| after)),
                said(found.iter())
            ))),
        }
    }
}

/// The TTL of no records is nothing.
fn is_as_asked(after: &Rrset, found: &Rrset) -> bool {
    after.values == found.values && (after.ttl == found.ttl || !after.exists())
}

/// Returns sets of records on one line.
pub fn said<'a>(sets: impl Iterator<Item = &'a Rrset>) -> String {
    let lines = |set: &Rrset| match set.exists() {
        true => set.lines().collect::<Vec<_>>(),
        false => vec![format!("{} has no {}", set.name, set.kind)],
    };
    sets.flat_map(lines).collect::<Vec<_>>().join(", ")
}
