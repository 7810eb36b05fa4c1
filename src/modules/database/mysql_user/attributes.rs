//! What an account has beside its password and privileges: a plugin, what its connection must be, limits, a lock, an end of its password.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::Diagnostic;
use crate::modules::database::literal;
use crate::modules::{Argument, Kind};

use super::account::Server;

pub const ARGUMENTS: &[Argument] = &[
    Argument::new(
        "tls_requires",
        Kind::Map,
        "What the user's connections must be: `SSL`, `X509`, or any of `SUBJECT`, `ISSUER` and `CIPHER` with their texts; `{}` \
         is nothing.",
    ),
    Argument::new(
        "resource_limits",
        Kind::Map,
        "Limits by their names: `MAX_QUERIES_PER_HOUR`, `MAX_UPDATES_PER_HOUR`, `MAX_CONNECTIONS_PER_HOUR`, \
         `MAX_USER_CONNECTIONS`; 0 is none.",
    ),
    Argument::new("locked", Kind::Bool, "Nobody logs in as the user."),
    Argument::new(
        "password_expire",
        Kind::Text,
        "When the password has to be replaced; `default` is as the server says.",
    )
    .choices(&["default", "never", "interval", "now"]),
    Argument::new("password_expire_interval", Kind::Int, "After how many days, for `password_expire: interval`."),
];

#[derive(Deserialize)]
pub struct Given {
    tls_requires: Option<Map<String, Value>>,
    resource_limits: Option<Map<String, Value>>,
    locked: Option<bool>,
    password_expire: Option<String>,
    password_expire_interval: Option<u32>,
}

/// A line of an account, in the order in which statements have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Attribute {
    Plugin,
    Requires,
    Limits,
    Locked,
    Expires,
}

/// The names of limits, with the columns that keep them.
const LIMITS: [(&str, &str); 4] = [
    ("MAX_QUERIES_PER_HOUR", "max_questions"),
    ("MAX_UPDATES_PER_HOUR", "max_updates"),
    ("MAX_CONNECTIONS_PER_HOUR", "max_connections"),
    ("MAX_USER_CONNECTIONS", "max_user_connections"),
];

/// What a certificate is asked for, with the columns that keep it.
const CERTIFICATES: [(&str, &str); 3] =
    [("SUBJECT", "x509_subject"), ("ISSUER", "x509_issuer"), ("CIPHER", "ssl_cipher")];

impl Given {
    /// Returns the attributes that are asked for.
    pub fn read(&self) -> Result<BTreeMap<Attribute, String>, Diagnostic> {
        let mut asked = BTreeMap::new();
        if let Some(requires) = &self.tls_requires {
            asked.insert(Attribute::Requires, requirements(requires)?);
        }
        if let Some(limits) = self.resource_limits.as_ref().filter(|limits| !limits.is_empty()) {
            asked.insert(Attribute::Limits, limited(limits)?);
        }
        if let Some(locked) = self.locked {
            asked.insert(Attribute::Locked, if locked { "yes" } else { "no" }.into());
        }
        let expires = match (self.password_expire.as_deref(), self.password_expire_interval) {
            (Some("interval"), Some(days)) if days > 0 => Some(format!("after {days} days")),
            (Some("interval"), _) => {
                return Err(Diagnostic::new(
                    "`password_expire: interval` of `mysql_user` needs `password_expire_interval`, in days",
                ));
            }
            (when, _) => when.map(String::from),
        };
        asked.extend(expires.map(|when| (Attribute::Expires, when)));
        Ok(asked)
    }
}

/// Returns values by their names, which a task may write in small letters.
fn upper(map: &Map<String, Value>) -> BTreeMap<String, &Value> {
    map.iter().map(|(name, value)| (name.to_uppercase(), value)).collect()
}

fn requirements(written: &Map<String, Value>) -> Result<String, Diagnostic> {
    let written = upper(written);
    let alone = ["SSL", "X509"];
    let known = |name: &str| alone.contains(&name) || CERTIFICATES.iter().any(|(known, _)| *known == name);
    if let Some(name) = written.keys().find(|name| !known(name)) {
        let hint = "it has `SSL`, `X509`, or any of `SUBJECT`, `ISSUER` and `CIPHER`";
        return Err(Diagnostic::new(format!("`{name}` is no requirement of `tls_requires`")).hint(hint));
    }
    let whole: Vec<&str> = alone
        .into_iter()
        .filter(|name| written.get(*name).is_some_and(|value| **value != Value::Bool(false)))
        .collect();
    let mut parts = Vec::new();
    for (name, _) in CERTIFICATES {
        match written.get(name) {
            Some(Value::String(text)) => parts.push(format!("{name} {}", literal::text(text))),
            Some(other) => {
                return Err(Diagnostic::new(format!("`{name}` of `tls_requires` should be text, not {other}")));
            }
            None => {}
        }
    }
    match (whole.as_slice(), parts.as_slice()) {
        ([], []) => Ok("NONE".into()),
        ([one], []) => Ok((*one).into()),
        ([], parts) => Ok(parts.join(" AND ")),
        _ => Err(Diagnostic::new("`SSL` and `X509` of `tls_requires` stand alone: neither goes with anything else")),
    }
}

fn limited(written: &Map<String, Value>) -> Result<String, Diagnostic> {
    let written = upper(written);
    if let Some(name) = written.keys().find(|name| !LIMITS.iter().any(|(known, _)| known == name)) {
        let names = LIMITS.map(|(name, _)| name);
        return Err(Diagnostic::new(format!("`{name}` is no limit of `resource_limits`"))
            .suggest(name, names)
            .hint(format!("one of: {}", names.join(", "))));
    }
    let limits = LIMITS.into_iter().filter_map(|(name, _)| Some((name, *written.get(name)?)));
    let limits = limits.map(|(name, value)| {
        let number = value.as_u64().or_else(|| value.as_str()?.trim().parse().ok());
        let wrong = || Diagnostic::new(format!("`{name}` of `resource_limits` should be a number, not {value}"));
        Ok(format!("{name} {}", number.ok_or_else(wrong)?))
    });
    Ok(limits.collect::<Result<Vec<_>, Diagnostic>>()?.join(" "))
}

impl Attribute {
    pub const ALL: [Attribute; 5] =
        [Attribute::Plugin, Attribute::Requires, Attribute::Limits, Attribute::Locked, Attribute::Expires];

    pub fn name(self) -> &'static str {
        match self {
            Attribute::Plugin => "plugin",
            Attribute::Requires => "requires",
            Attribute::Limits => "limits",
            Attribute::Locked => "locked",
            Attribute::Expires => "expires",
        }
    }

    /// What an account has unless it was given something else; no line says that.
    fn usual(self) -> &'static str {
        match self {
            Attribute::Plugin | Attribute::Limits => "",
            Attribute::Requires => "NONE",
            Attribute::Locked => "no",
            Attribute::Expires => "default",
        }
    }

    /// Says whether a server knows of it.
    pub fn is_known(self, server: &Server) -> bool {
        !matches!(self, Attribute::Locked | Attribute::Expires) || server.locks()
    }

    /// Returns the query that prints its line for one account.
    pub fn query(self, server: &Server, whose: &str) -> String {
        let in_json = server.is_mariadb() && matches!(self, Attribute::Locked | Attribute::Expires);
        let table = if in_json { "mysql.global_priv" } else { "mysql.user" };
        let value = match self {
            Attribute::Plugin => "plugin".to_string(),
            Attribute::Requires => {
                let parts = CERTIFICATES.map(|(name, column)| {
                    format!("IF({column} = '', NULL, CONCAT('{name} ', QUOTE(CONVERT({column} USING utf8))))")
                });
                format!(
                    "CASE ssl_type WHEN 'ANY' THEN 'SSL' WHEN 'X509' THEN 'X509' WHEN 'SPECIFIED' THEN CONCAT_WS(' AND ', {}) ELSE \
                     'NONE' END",
                    parts.join(", ")
                )
            }
            Attribute::Limits => {
                let parts = LIMITS.map(|(name, column)| format!("IF({column} = 0, NULL, CONCAT('{name} ', {column}))"));
                format!("CONCAT_WS(' ', {})", parts.join(", "))
            }
            Attribute::Locked if in_json => {
                "IF(JSON_VALUE(Priv, '$.account_locked') IN ('1', 'true'), 'yes', 'no')".into()
            }
            Attribute::Locked => "IF(account_locked = 'Y', 'yes', 'no')".into(),
            Attribute::Expires => {
                let (expired, days) = match in_json {
                    true => {
                        ("JSON_VALUE(Priv, '$.password_last_changed') = 0", "JSON_VALUE(Priv, '$.password_lifetime')")
                    }
                    false => ("password_expired = 'Y'", "password_lifetime"),
                };
                format!(
                    "CASE WHEN {expired} THEN 'now' WHEN IFNULL({days}, -1) < 0 THEN 'default' WHEN {days} = 0 THEN 'never' ELSE \
                     CONCAT('after ', {days}, ' days') END"
                )
            }
        };
        let (name, usual) = (self.name(), self.usual());
        format!(
            "SELECT CONCAT('{name}: ', told) FROM (SELECT {value} AS told FROM {table} WHERE {whose}) one WHERE told <> '{usual}';\n"
        )
    }

    /// Returns the part of `CREATE USER` or `ALTER USER` that gives it a value. A plugin comes with what identifies the user.
    pub fn clause(self, value: &str) -> String {
        match (self, value) {
            (Attribute::Plugin, _) => String::new(),
            (Attribute::Requires, value) => format!(" REQUIRE {value}"),
            (Attribute::Limits, value) => format!(" WITH {value}"),
            (Attribute::Locked, "yes") => " ACCOUNT LOCK".into(),
            (Attribute::Locked, _) => " ACCOUNT UNLOCK".into(),
            (Attribute::Expires, "now") => " PASSWORD EXPIRE".into(),
            (Attribute::Expires, "never") => " PASSWORD EXPIRE NEVER".into(),
            (Attribute::Expires, "default") => " PASSWORD EXPIRE DEFAULT".into(),
            (Attribute::Expires, days) => {
                let days = days.trim_start_matches("after ").trim_end_matches(" days");
                format!(" PASSWORD EXPIRE INTERVAL {days} DAY")
            }
        }
    }
}

/// Returns the number that limits have for a name.
fn limit(limits: &str, name: &str) -> String {
    let mut words = limits.split(' ').skip_while(|word| *word != name);
    words.nth(1).unwrap_or("0").into()
}

/// Gives an account what is asked for.
pub fn give(attributes: &mut BTreeMap<Attribute, String>, asked: &BTreeMap<Attribute, String>) {
    for (attribute, value) in asked {
        let value = match attribute {
            Attribute::Limits => {
                let had = attributes.get(attribute).cloned().unwrap_or_default();
                let numbers = LIMITS.map(|(name, _)| {
                    let number = limit(if value.split(' ').any(|word| word == name) { value } else { &had }, name);
                    if number == "0" { String::new() } else { format!("{name} {number} ") }
                });
                numbers.concat().trim_end().to_string()
            }
            _ => value.clone(),
        };
        match value == attribute.usual() {
            true => attributes.remove(attribute),
            false => attributes.insert(*attribute, value),
        };
    }
}

/// Returns the clauses that turn some attributes into others.
pub fn clauses(before: &BTreeMap<Attribute, String>, after: &BTreeMap<Attribute, String>) -> String {
    let told = |all: &BTreeMap<Attribute, String>, attribute: Attribute| {
        all.get(&attribute).cloned().unwrap_or_else(|| attribute.usual().into())
    };
    let pairs =
        Attribute::ALL.into_iter().map(|attribute| (attribute, told(before, attribute), told(after, attribute)));
    let clause = |(attribute, before, after): (Attribute, String, String)| match attribute {
        Attribute::Limits => {
            let new = LIMITS.iter().filter(|(name, _)| limit(&before, name) != limit(&after, name));
            attribute
                .clause(&new.map(|(name, _)| format!("{name} {}", limit(&after, name))).collect::<Vec<_>>().join(" "))
        }
        _ => attribute.clause(&after),
    };
    pairs.filter(|(_, before, after)| before != after).map(clause).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(written: Value) -> Result<Vec<String>, String> {
        let given: Given = serde_json::from_value(written).unwrap();
        let asked = given.read().map_err(|error| error.to_string())?;
        Ok(asked.iter().map(|(attribute, value)| format!("{}: {value}", attribute.name())).collect())
    }

    #[test]
    fn attributes_are_read_in_the_server_s_order() {
        let all = json!({
            "tls_requires": {"cipher": "X", "Subject": "/CN=a's"}, "locked": true, "password_expire": "interval",
            "password_expire_interval": 90, "resource_limits": {"max_user_connections": 3, "MAX_QUERIES_PER_HOUR": "10"}
        });
        assert_eq!(
            read(all).unwrap(),
            [
                r"requires: SUBJECT '/CN=a\'s' AND CIPHER 'X'",
                "limits: MAX_QUERIES_PER_HOUR 10 MAX_USER_CONNECTIONS 3",
                "locked: yes",
                "expires: after 90 days"
            ]
        );
        for (requires, expected) in [
            (json!({}), "requires: NONE"),
            (json!({"x509": null}), "requires: X509"),
            (json!({"SSL": true}), "requires: SSL"),
            (json!({"SSL": false}), "requires: NONE"),
        ] {
            assert_eq!(read(json!({"tls_requires": requires})).unwrap(), [expected]);
        }
        for (wrong, said) in [
            (json!({"tls_requires": {"SSL": null, "CIPHER": "X"}}), "stand alone"),
            (json!({"tls_requires": {"TLS": null}}), "`TLS` is no requirement"),
            (json!({"resource_limits": {"MAX_QUERIES": 1}}), "`MAX_QUERIES` is no limit"),
            (json!({"resource_limits": {"MAX_USER_CONNECTIONS": "many"}}), "should be a number"),
            (json!({"password_expire": "interval"}), "needs `password_expire_interval`"),
        ] {
            assert!(read(wrong.clone()).unwrap_err().contains(said), "{wrong}");
        }
    }

    #[test]
    fn only_what_differs_is_altered() {
        let some = |requires: &str, locked: &str| {
            BTreeMap::from([(Attribute::Requires, requires.to_string()), (Attribute::Locked, locked.to_string())])
        };
        assert_eq!(clauses(&some("NONE", "no"), &some("SSL", "no")), " REQUIRE SSL");
        assert_eq!(clauses(&some("X509", "yes"), &BTreeMap::new()), " REQUIRE NONE ACCOUNT UNLOCK");
        assert_eq!(clauses(&BTreeMap::new(), &some("X509", "yes")), " REQUIRE X509 ACCOUNT LOCK");
        let limits = |text: &str| BTreeMap::from([(Attribute::Limits, text.to_string())]);
        let mut given = limits("MAX_QUERIES_PER_HOUR 10 MAX_USER_CONNECTIONS 3");
        let before = given.clone();
        give(&mut given, &limits("MAX_UPDATES_PER_HOUR 5 MAX_USER_CONNECTIONS 0"));
        assert_eq!(given, limits("MAX_QUERIES_PER_HOUR 10 MAX_UPDATES_PER_HOUR 5"));
        assert_eq!(clauses(&before, &given), " WITH MAX_UPDATES_PER_HOUR 5 MAX_USER_CONNECTIONS 0");
        give(&mut given, &some("NONE", "no"));
        assert_eq!(given.len(), 1);
    }
}
