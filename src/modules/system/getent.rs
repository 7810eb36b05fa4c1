//! `getent`: entries of a host's databases of names: accounts, groups, hosts, services.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Planned, Results};
use crate::transport::command::quote;
use crate::transport::{Command, Want};

pub const GETENT: Entry = Entry {
    name: "getent",
    summary: "Tells entries of a host's database of names as the variable `ansible_facts.getent_DATABASE`",
    arguments: &[&[
        Argument::new("database", Kind::Text, "The database: `passwd`, `group`, `hosts`, `services` and the like.")
            .required(),
        Argument::new("key", Kind::Text, "One entry's name. Without it all entries are told."),
        Argument::new(
            "split",
            Kind::Text,
            "The letter between an entry's fields. The default is `:` for accounts and groups, and white space for others.",
        ),
        Argument::new("service", Kind::Text, "Where it is looked up, instead of what `nsswitch.conf` says."),
        Argument::new("fail_key", Kind::Bool, "Whether a missing `key` is a failure. The default is true."),
    ]],
    free_form: None,
    example: "- name: Who delivers the mail?\n  getent:\n    database: passwd\n    key: root\n",
    build,
};

#[derive(Deserialize)]
struct Getent {
    database: String,
    key: Option<String>,
    split: Option<String>,
    service: Option<String>,
    fail_key: Option<bool>,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let getent: Getent = arguments.read()?;
    let name = &getent.database;
    if name.is_empty() || !name.chars().all(|letter| letter.is_ascii_alphanumeric() || "_-".contains(letter)) {
        return Err(Diagnostic::new(format!("`{name}` is no name of a database")));
    }
    if getent.split.as_deref().is_some_and(str::is_empty) {
        return Err(Diagnostic::new("`split` of `getent` is empty"));
    }
    Ok(Box::new(getent))
}

/// Reads the file of `$database` where a host has no `getent`: the name is the first word, of services and hosts any.
const WITHOUT: &str = r#"[ -r "/etc/$database" ] || exit 1
while IFS= read -r line || [ -n "$line" ]; do
  case $line in '#'* | '') continue ;; esac
  if [ -z "$key" ]; then printf '%s\n' "$line"; continue; fi
  case $database in
    passwd|shadow|group|gshadow) case $line in "$key":*) printf '%s\n' "$line"; found=1; break ;; esac ;;
    *) set -f; for word in $line; do [ "$word" != "$key" ] || { printf '%s\n' "$line"; found=1; break; }; done ;;
  esac
done <"/etc/$database"
[ -z "$key" ] || [ -n "$found" ] || exit 2
"#;

#[async_trait]
impl Module for Getent {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let output = host.probe(&Command::shell(self.script())).await?;
        let mut text = match output.status {
            0 => output.text(),
            2 => String::new(),
            status => return Err(ModuleError::failed(self.trouble(status, output.error_text().trim_end()))),
        };
        if host.plans_ahead() {
            text = self.planned(host, text).await?;
        }
        let missing = text.is_empty() && self.key.is_some();
        if missing && self.fail_key.unwrap_or(true) {
            return Err(ModuleError::failed("One or more supplied key could not be found in the database."));
        }
        let mut entries = self.entries(&text);
        if let (true, Some(key)) = (missing, &self.key) {
            entries.insert(key.clone(), Value::Null);
        }
        let facts = json!({ format!("getent_{}", self.database): entries });
        Ok(Planned::new(Vec::new(), Results::from_iter([("ansible_facts".to_string(), facts)])))
    }
}

impl Getent {
    fn script(&self) -> String {
        let key = self.key.as_deref().map(quote).unwrap_or_default();
        let service = self.service.as_deref().map(|name| format!(" -s {}", quote(name))).unwrap_or_default();
        format!(
            "database={} key={key} found=\nif command -v getent >/dev/null 2>&1 && getent passwd root >/dev/null 2>&1; then\n\
             getent{service} {} {key}\nelse\n{WITHOUT}fi\n",
            self.database, self.database
        )
    }

    fn trouble(&self, status: i32, said: &str) -> String {
        match status {
            1 => "Missing arguments, or database unknown.".into(),
            3 => "Enumeration not supported on this database.".into(),
            _ => format!("getent of `{}` ends with {status}: {said}", self.database),
        }
    }

    /// Puts what a check has planned over what the host says.
    async fn planned(&self, host: &View, found: String) -> Result<String, ModuleError> {
        let file = format!("/etc/{}", self.database);
        if let Some(kind) =
            [("passwd", "user"), ("group", "group")].into_iter().find(|(name, _)| *name == self.database)
        {
            let planned = host.planned_accounts(kind.1);
            let asked = |name: &str| self.key.as_deref().is_none_or(|key| key == name);
            if planned.iter().any(|(name, _)| asked(name)) {
                return Err(ModuleError::Unknown(
                    format!("the {} that an earlier task makes or changes", kind.1).into(),
                ));
            }
        }
        let there = host.probe(&Command::shell(format!("cat {file} 2>/dev/null"))).await?;
        let planned = host.look(&file, Want::Content).await?;
        let bytes = planned.content().and_then(|content| content.bytes()).map(|bytes| bytes.to_vec());
        match bytes {
            Some(bytes) if bytes != there.stdout => {
                Err(ModuleError::Unknown(format!("what an earlier task makes of `{file}`").into()))
            }
            _ => Ok(found),
        }
    }

    /// Reads the lines: an entry's name, and its other fields. A name that comes again has a list of them.
    fn entries(&self, text: &str) -> Map<String, Value> {
        let of_colons = ["passwd", "shadow", "group", "gshadow"].contains(&self.database.as_str());
        let split = self.split.as_deref().or_else(|| of_colons.then_some(":"));
        let mut entries: Map<String, Value> = Map::new();
        let mut times: Map<String, Value> = Map::new();
        for line in text.lines() {
            let mut fields = match split {
                Some(split) => line.split(split).map(Value::from).collect::<Vec<_>>(),
                None => line.split_whitespace().map(Value::from).collect(),
            };
            if fields.is_empty() {
                continue;
            }
            let name = fields.remove(0).as_str().unwrap_or_default().to_string();
            let fields = Value::Array(fields);
            let count = times.get(&name).and_then(Value::as_u64).unwrap_or(0) + 1;
            times.insert(name.clone(), count.into());
            let entry = match (count, entries.remove(&name)) {
                (2, Some(first)) => json!([first, fields]),
                (_, Some(Value::Array(mut all))) => {
                    all.push(fields);
                    all.into()
                }
                _ => fields,
            };
            entries.insert(name, entry);
        }
        entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::files::bench::{Bench, results};
    use crate::modules::system::bench::Here;

    #[tokio::test]
    async fn entries_are_told_by_their_names() {
        let here = Here::new().await;
        let told = results(here.plan("getent", json!({"database": "passwd", "key": "root"})).await.unwrap());
        let root = &told["ansible_facts"]["getent_passwd"]["root"];
        assert_eq!((root[1].as_str(), root.as_array().unwrap().len()), (Some("0"), 6));
        let told = results(here.plan("getent", json!({"database": "protocols", "key": "tcp"})).await.unwrap());
        assert_eq!(told["ansible_facts"]["getent_protocols"]["tcp"], json!(["6", "TCP"]));
        let task = json!({"database": "passwd", "key": "nobody-of-that-name"});
        assert!(here.plan("getent", task.clone()).await.err().unwrap().to_string().contains("could not be found"));
        let mut quiet = task;
        quiet["fail_key"] = false.into();
        let told = results(here.plan("getent", quiet).await.unwrap());
        assert_eq!(told["ansible_facts"]["getent_passwd"], json!({"nobody-of-that-name": null}));
        let unknown = here.plan("getent", json!({"database": "nothing"})).await.err().unwrap().to_string();
        assert_eq!(unknown, "Missing arguments, or database unknown.");
    }

    #[tokio::test]
    async fn a_name_that_comes_again_has_a_list_and_a_host_without_getent_is_read() {
        let bench = Bench::new();
        let getent: Getent = serde_json::from_value(json!({"database": "hosts"})).unwrap();
        bench.host.on(&getent.script(), 0, "::1 a b\n::1 c\n::1 d\n10.0.0.1  mail\n");
        let told = results(bench.plan("getent", json!({"database": "hosts"})).await.unwrap());
        let expected = json!({"::1": [["a", "b"], ["c"], ["d"]], "10.0.0.1": ["mail"]});
        assert_eq!(told["ansible_facts"]["getent_hosts"], expected);
        let here = Here::new().await;
        let script = |key: &str| format!("database=passwd key={key} found=\n{WITHOUT}");
        let found = here.transport.probe(&Command::shell(script("root"))).await.unwrap();
        assert!(found.text().starts_with("root:x:0:0:") && found.text().lines().count() == 1);
        assert_eq!(here.transport.probe(&Command::shell(script("nobody-of-that-name"))).await.unwrap().status, 2);
        assert!(here.transport.probe(&Command::shell(script(""))).await.unwrap().text().lines().count() > 3);
    }
}
