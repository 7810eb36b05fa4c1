//! The records that a task asks for, as `nsupdate` and `zone_file` take them.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::dns::{Rrset, TYPES, absolute, canonical};
use crate::error::Diagnostic;
use crate::modules::{Argument, Kind, State};

pub const ARGUMENTS: &[Argument] = &[
    Argument::new("record", Kind::Text, "The name: below `zone`, or absolute with a dot at its end; `@` is the zone."),
    Argument::new("type", Kind::Text, "The records' type; `A` unless given."),
    Argument::new(
        "value",
        Kind::List,
        "The values of all records of this name and type; those that are there unless given: then `ttl` alone is set.",
    ),
    Argument::new("ttl", Kind::Int, "How long they may be kept elsewhere, in seconds."),
    Argument::new("state", Kind::Text, "Whether there are any; `absent` removes all of this name and type.")
        .choices(&["present", "absent"]),
    Argument::new(
        "expect",
        Kind::List,
        "The values that are there now, unless it is as asked; with others the task fails.",
    ),
    Argument::new(
        "records",
        Kind::Any,
        "Several at once: a list of mappings with `record`, `type`, `value`, `ttl`, `state` and `expect`; \
         what one does not have is the task's.",
    ),
];

#[derive(Deserialize)]
pub struct Given {
    #[serde(default)]
    records: Vec<Map<String, Value>>,
    #[serde(flatten)]
    own: Asked,
}

/// What is asked of one name and type, or of all.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Asked {
    record: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    value: Option<Values>,
    ttl: Option<u32>,
    state: Option<State>,
    expect: Option<Values>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Values {
    One(String),
    Many(Vec<String>),
}

/// [`Asked`], with names and values as they are compared.
#[derive(Debug, PartialEq, Eq)]
pub struct Wanted {
    pub name: String,
    pub kind: String,
    /// `None`: those that are there.
    pub values: Option<Vec<String>>,
    pub ttl: Option<u32>,
    expect: Option<Vec<String>>,
}

impl Given {
    pub fn asked(self, module: &str) -> Result<Vec<Asked>, Diagnostic> {
        match (self.records.is_empty(), self.own.record.is_some()) {
            (true, false) => Err(Diagnostic::new(format!("`{module}` needs `record` or `records`"))),
            (true, true) => Ok(vec![self.own]),
            (false, false) => self.records.into_iter().map(|one| Ok(Asked::read(one)?.or(&self.own))).collect(),
            (false, true) => Err(Diagnostic::new("`record` and `records` exclude each other")),
        }
    }
}

impl Asked {
    /// Reads one of `records`, in which nothing unknown is passed by.
    fn read(one: Map<String, Value>) -> Result<Asked, Diagnostic> {
        const FIELDS: [&str; 6] = ["record", "type", "value", "ttl", "state", "expect"];
        if let Some(unknown) = one.keys().find(|name| !FIELDS.contains(&name.as_str())) {
            return Err(
                Diagnostic::new(format!("one of `records` has an unknown field `{unknown}`")).suggest(unknown, FIELDS)
            );
        }
        serde_json::from_value(Value::Object(one))
            .map_err(|error| Diagnostic::new(format!("one of `records` cannot be read: {error}")))
    }

    fn or(self, other: &Asked) -> Asked {
        Asked {
            record: self.record,
            kind: self.kind.or_else(|| other.kind.clone()),
            value: self.value.or_else(|| other.value.clone()),
            ttl: self.ttl.or(other.ttl),
            state: self.state.or(other.state),
            expect: self.expect.or_else(|| other.expect.clone()),
        }
    }

    fn wanted(&self, zone: &str) -> Result<Wanted, String> {
        let record = self.record.as_deref().ok_or("each of `records` needs a `record`")?;
        let name = below(record, zone)?;
        let kind = self.kind.as_deref().unwrap_or("A").to_uppercase();
        if !TYPES.contains(&kind.as_str()) {
            return Err(format!("records of type `{kind}` are not supported; these are: {}", TYPES.join(", ")));
        }
        let values = |values: &Values| -> Result<Vec<String>, String> {
            let texts = match values {
                Values::One(text) => std::slice::from_ref(text),
                Values::Many(texts) => texts,
            };
            let canonical = texts.iter().map(|value| whole(&kind, value, zone));
            Ok(canonical.collect::<Result<BTreeSet<_>, _>>()?.into_iter().collect())
        };
        let wanted = match (self.state, &self.value) {
            (Some(State::Absent), _) => Some(Vec::new()),
            (_, None) => None,
            (_, Some(given)) => Some(values(given)?),
        };
        if self.state != Some(State::Absent) && wanted.as_ref().is_some_and(Vec::is_empty) {
            return Err(format!("no `value` for `{record}`"));
        }
        if wanted.is_none() && self.ttl.is_none() {
            return Err(format!("`{record}` needs a `value` or a `ttl`"));
        }
        if wanted.as_ref().is_some_and(|values| kind == "CNAME" && values.len() > 1) {
            return Err(format!("`{record}` can have one CNAME only"));
        }
        let expect = self.expect.as_ref().map(values).transpose()?;
        Ok(Wanted { name, kind, values: wanted, ttl: self.ttl, expect })
    }
}

/// Returns what is asked of the zone.
pub fn wanted(asked: &[Asked], zone: &str) -> Result<Vec<Wanted>, Diagnostic> {
    let wanted = asked.iter().map(|asked| asked.wanted(zone).map_err(Diagnostic::new));
    let wanted: Vec<Wanted> = wanted.collect::<Result<_, _>>()?;
    let mut seen = BTreeSet::new();
    match wanted.iter().find(|one| !seen.insert((&one.name, &one.kind))) {
        Some(twice) => Err(Diagnostic::new(format!("`{}` {} is asked for twice", twice.name, twice.kind))),
        None => Ok(wanted),
    }
}

impl Wanted {
    /// Says whether records that there are now, sorted, are those that were expected, or as asked already.
    pub fn is_expected(&self, values: &[String]) -> bool {
        let as_asked = self.values.as_deref() == Some(values);
        as_asked || self.expect.as_ref().is_none_or(|expect| expect == values)
    }

    /// Says whether something has to change where there is this.
    pub fn differs(&self, before: &Rrset) -> bool {
        let values = self.values.as_ref().is_some_and(|values| *values != before.values);
        values || before.exists() && self.ttl.is_some_and(|ttl| ttl != before.ttl)
    }

    /// Says what there is instead of what is expected.
    pub fn surprise(&self, before: &Rrset) -> Option<String> {
        let instead = self.expect.as_ref().filter(|_| !self.is_expected(&before.values))?;
        let said = |values: &[String]| if values.is_empty() { "nothing".into() } else { values.join(", ") };
        Some(format!("`{}` {} is {}, and not {}", self.name, self.kind, said(&before.values), said(instead)))
    }
}

/// Returns a name of the zone. One that would have the zone twice is taken for a dot that was forgotten.
fn below(name: &str, zone: &str) -> Result<String, String> {
    let bare = zone.trim_end_matches('.');
    let lower = name.to_lowercase();
    let forgotten = !bare.is_empty() && (lower == bare || lower.ends_with(&format!(".{bare}")));
    if forgotten {
        return Err(format!("`{name}` would be `{name}.{zone}`: a name that is whole ends with a dot"));
    }
    if zone == "." && !name.ends_with('.') {
        return Err(format!("`{name}` needs a dot at its end where no `zone` is given"));
    }
    let whole = absolute(name, zone)?;
    match zone == "." || whole == zone || whole.ends_with(&format!(".{zone}")) {
        true => Ok(whole),
        false => Err(format!("`{name}` is not in the zone `{zone}`")),
    }
}

/// Returns a value as it is compared; its name may be of another zone.
fn whole(kind: &str, value: &str, zone: &str) -> Result<String, String> {
    if let ("CNAME" | "MX" | "NS" | "PTR" | "SRV", Some(name)) = (kind, value.split_whitespace().last())
        && !name.ends_with('.')
    {
        below(name, zone)?;
    }
    canonical(kind, value, zone)
}
