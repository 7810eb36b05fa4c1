//! `qmail_users`: assignments of `users/assign` with their `cdb`, and hashes of Plesk's `users/poppasswd`.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::change::{Back, Change};
use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Planned, Results, State};
use crate::transport::command::quote;
use crate::transport::{Command, Links, Node, Owner, Want};

use super::assign::{self, Assignment};
use super::send::later;
use super::text::{change, read};

pub const ENTRY: Entry = Entry {
    name: "qmail_users",
    summary: "Puts mail users into users/assign and their hashes into users/poppasswd, and runs qmail-newu",
    arguments: &[ARGUMENTS],
    free_form: None,
    example: "\
- name: ann has a mailbox
  qmail_users:
    assign:
      - {key: =7-ann, user: popuser, group: popuser, home: /var/qmail/mailnames/example.com/ann}
    poppasswd:
      ann@example.com: $1$abcdefgh$0123456789012345678901
  no_log: true
",
    build,
};

const ARGUMENTS: &[Argument] = &[
    Argument::new(
        "assign",
        Kind::Any,
        "A list of assignments, each a line `=local:user:uid:gid:home:dash:ext:` or a mapping with `key`, `user`, `group`, \
         `home`, `dash` and `ext`. Ids are looked up by name on the host; a number that differs is refused. With \
         `state: absent` keys are enough.",
    ),
    Argument::new(
        "poppasswd",
        Kind::Any,
        "A mapping from address to password hash; the other fields of its line stay. With `state: absent` a list of addresses.",
    ),
    Argument::new("state", Kind::Text, "Whether the users shall be there. The default is `present`.")
        .choices(&["present", "absent"]),
    Argument::new("directory", Kind::Path, "The directory of the installation. The default is `/var/qmail`."),
    Argument::new("poppasswd_file", Kind::Path, "The password file. The default is `users/poppasswd` in `directory`."),
    Argument::new(
        "newu",
        Kind::Path,
        "The program that makes `users/cdb`. The default is `bin/qmail-newu` in `directory`.",
    ),
];

#[derive(Deserialize)]
struct Fields {
    #[serde(default)]
    assign: Value,
    #[serde(default)]
    poppasswd: Value,
    #[serde(default)]
    state: State,
    directory: Option<String>,
    poppasswd_file: Option<String>,
    newu: Option<String>,
}

/// An assignment as asked for, its ids not yet looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    assignment: Assignment,
    /// The name of the group, where it was named.
    group: Option<String>,
}

struct QmailUsers {
    state: State,
    wanted: Vec<Wanted>,
    /// With an empty hash where the line shall go.
    hashes: Vec<(String, String)>,
    directory: String,
    poppasswd: String,
    newu: String,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let fields: Fields = arguments.read()?;
    let directory = fields.directory.as_deref().unwrap_or("/var/qmail").trim_end_matches('/').to_string();
    Ok(Box::new(QmailUsers {
        state: fields.state,
        wanted: items(&fields.assign).map(|item| read_wanted(item, fields.state)).collect::<Result<_, _>>()?,
        hashes: read_hashes(&fields)?,
        poppasswd: fields.poppasswd_file.unwrap_or_else(|| format!("{directory}/users/poppasswd")),
        newu: fields.newu.unwrap_or_else(|| format!("{directory}/bin/qmail-newu")),
        directory,
    }))
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    match value {
        Value::Null => [].iter(),
        Value::Array(items) => items.iter(),
        one => std::slice::from_ref(one).iter(),
    }
}

fn read_wanted(item: &Value, state: State) -> Result<Wanted, Diagnostic> {
    let wrong = |why: &str| Diagnostic::new(format!("the assignment {item} cannot be written: {why}"));
    let wanted = match item {
        Value::String(key) if state == State::Absent && !key.contains(':') => from_map(&json!({ "key": key })),
        Value::String(line) => {
            let assignment = Assignment::read(line).map_err(|why| wrong(&why))?;
            Ok(Wanted { assignment, group: None })
        }
        map => from_map(map),
    }
    .map_err(|why| wrong(&why))?;
    let Assignment { key, user, home, dash, extension, .. } = &wanted.assignment;
    if [key, user, home, dash, extension]
        .iter()
        .any(|field| field.contains([':', '\n', '\r', '\0']) || !field.is_ascii())
    {
        return Err(wrong("a field has a colon, line end or non-ASCII letter in it"));
    }
    if state == State::Present && (user.is_empty() || !home.starts_with('/')) {
        return Err(wrong("it needs a `user` and an absolute `home`"));
    }
    Ok(wanted)
}

fn from_map(item: &Value) -> Result<Wanted, String> {
    let map = item.as_object().ok_or("it is neither a line nor a mapping")?;
    const KNOWN: [&str; 6] = ["key", "user", "group", "home", "dash", "ext"];
    if let Some(name) = map.keys().find(|name| !KNOWN.contains(&name.as_str())) {
        return Err(format!("`{name}` is none of {}", KNOWN.join(", ")));
    }
    let text = |map: &Map<String, Value>, name: &str| map.get(name).and_then(Value::as_str).unwrap_or("").to_string();
    let key = text(map, "key");
    if key.is_empty() {
        return Err("it has no `key`".into());
    }
    let key = if key.starts_with(['=', '+']) { key } else { format!("={key}") };
    let assignment = Assignment {
        key,
        user: text(map, "user"),
        uid: String::new(),
        gid: String::new(),
        home: text(map, "home"),
        dash: text(map, "dash"),
        extension: text(map, "ext"),
    };
    Ok(Wanted { assignment, group: Some(text(map, "group")).filter(|group| !group.is_empty()) })
}

fn read_hashes(fields: &Fields) -> Result<Vec<(String, String)>, Diagnostic> {
    let pairs: Vec<(String, String)> = match (&fields.poppasswd, fields.state) {
        (Value::Null, _) => Vec::new(),
        (Value::Object(map), State::Absent) => map.keys().map(|address| (address.clone(), String::new())).collect(),
        (Value::Object(map), State::Present) => {
            map.iter().map(|(address, hash)| (address.clone(), hash.as_str().unwrap_or("").into())).collect()
        }
        (list, State::Absent) => items(list).map(|item| (item.as_str().unwrap_or("").into(), String::new())).collect(),
        _ => return Err(Diagnostic::new("`poppasswd` of `qmail_users` should be a mapping from address to hash")),
    };
    for (address, hash) in &pairs {
        if !address.contains('@') || address.contains([':', '\n', '\r', '\0']) || !address.is_ascii() {
            return Err(Diagnostic::new(format!("`{address}` in `poppasswd` is no address")));
        }
        if fields.state == State::Present {
            // The hash itself is never in a message.
            assign::check_hash(hash).map_err(|why| Diagnostic::new(format!("the hash of `{address}` {why}")))?;
        }
    }
    Ok(pairs)
}

#[async_trait]
impl Module for QmailUsers {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let paths = [format!("{}/users/assign", self.directory), self.poppasswd.clone()];
        let looks = paths.clone().map(|path| (path, Links::Keep));
        let nodes = host.look_all(&looks, Want::Content).await?;
        let [assign, poppasswd] = <[Node; 2]>::try_from(nodes).unwrap_or([Node::Absent, Node::Absent]);
        let mut changes = Vec::new();
        if !self.hashes.is_empty() {
            let old = read(&paths[1], &poppasswd)?;
            let new = self.hashed(&old).map_err(ModuleError::failed)?;
            let change = change(host, (&paths[1], poppasswd, 0o600), (&old, &new));
            changes.extend(change.map(|change| change.with_secret_field(2)));
        }
        if !self.wanted.is_empty() {
            let old = read(&paths[0], &assign)?;
            if assign.exists() {
                let message = |why| format!("qmail-newu would refuse `{}`: {why}", paths[0]);
                assign::check_assign(&old).map_err(|why| ModuleError::failed(message(why)))?;
            }
            let new = self.assigned(host, &old).await?;
            let there = assign.exists() || new != old;
            let edit = change(host, (&paths[0], assign, 0o644), (&old, &new));
            let edited = edit.is_some();
            changes.extend(edit);
            if there {
                changes.extend(self.rebuild(host, edited).await?);
            }
        }
        let mut result = Results::new();
        result.insert("assign".into(), json!(paths[0]));
        result.insert("poppasswd".into(), json!(paths[1]));
        Ok(Planned::new(changes, result))
    }
}

impl QmailUsers {
    fn hashed(&self, old: &str) -> Result<String, String> {
        if self.state == State::Absent {
            let gone: Vec<String> = self.hashes.iter().map(|(address, _)| address.clone()).collect();
            return Ok(assign::without_logins(old, &gone).into_owned());
        }
        let edit = |text: String, (address, hash): &(String, String)| {
            assign::with_hash(&text, address, hash).map(|text| text.into_owned())
        };
        self.hashes.iter().try_fold(old.to_string(), edit)
    }

    async fn assigned(&self, host: &View, old: &str) -> Result<String, ModuleError> {
        if self.state == State::Absent {
            let keys: Vec<String> = self.wanted.iter().map(|want| want.assignment.key.clone()).collect();
            return Ok(assign::without_assignments(old, &keys).into_owned());
        }
        let mut accounts = Accounts { host, users: BTreeMap::new(), groups: BTreeMap::new() };
        let mut assignments = Vec::new();
        for want in &self.wanted {
            assignments.push(accounts.number(want).await?);
        }
        Ok(assign::with_assignments(old, &assignments).into_owned())
    }

    /// Returns the change that makes `users/cdb` from `users/assign`, which is about to be edited or not.
    async fn rebuild(&self, host: &View, edited: bool) -> Result<Option<Change>, ModuleError> {
        const STATES: [&str; 3] = ["missing", "older than users/assign", "made from users/assign as it is"];
        let [missing, stale, fresh] = STATES;
        let probe = Command::shell(format!(
            "cd {} || exit\nif [ ! -e cdb ]; then echo '{missing}'; elif [ -z \"$(find cdb -newer assign)\" ]; then echo \
             '{stale}'; else echo '{fresh}'; fi\n",
            quote(&format!("{}/users", self.directory))
        ));
        let what = format!("{}/users/cdb", self.directory);
        let found = host.state(&what, &probe).await?;
        let before = if edited && found != missing { stale.into() } else { found };
        let by =
            vec![Command::argv([self.newu.as_str()]), later(&format!("{}/users", self.directory), "assign", "cdb")];
        Ok(Change::state(what, probe, (before, fresh.into()), by).map(|change| change.taken_back(Back::Again)))
    }
}

/// The users and groups of a host, each asked for once.
struct Accounts<'a> {
    host: &'a View,
    users: BTreeMap<String, Owner>,
    groups: BTreeMap<String, Owner>,
}

impl Accounts<'_> {
    /// Returns the assignment with the ids that this host has for its names.
    async fn number(&mut self, want: &Wanted) -> Result<Assignment, ModuleError> {
        let mut assignment = want.assignment.clone();
        let user = assignment.user.clone();
        if !self.users.contains_key(&user) {
            self.users.insert(user.clone(), self.host.user(&user).await?);
        }
        let uid = self.users[&user].id.to_string();
        let numeric = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if numeric(&assignment.uid) && assignment.uid != uid {
            return Err(ModuleError::failed(format!(
                "`{user}` has the id {uid} on `{}`, not {}\nhint: leave the ids of `{}` empty: they are looked up by name",
                self.host.name, assignment.uid, assignment.key
            )));
        }
        assignment.uid = uid;
        if !numeric(&assignment.gid) {
            let named = Some(assignment.gid.clone()).filter(|group| !group.is_empty());
            let group = want.group.clone().or(named).unwrap_or(user);
            if !self.groups.contains_key(&group) {
                self.groups.insert(group.clone(), self.host.group(&group).await?);
            }
            assignment.gid = self.groups[&group].id.to_string();
        }
        Ok(assignment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::Secrecy;
    use crate::modules::files::bench::{Bench, afters};
    use crate::modules::mail::qmail::decode;
    use crate::modules::system::bench::Here;

    const CDB: &str = "cd /var/qmail/users || exit\nif [ ! -e cdb ]; then echo 'missing'; elif [ -z \"$(find cdb -newer assign)\" ]; \
                       then echo 'older than users/assign'; else echo 'made from users/assign as it is'; fi\n";

    fn bench() -> Bench {
        let bench = Bench::new();
        bench.host.account("popuser", 121);
        bench.host.file("/var/qmail/users/assign", "=3-eve:popuser:121:121:/m/eve:::\n.\n", 0o640);
        bench.host.file("/var/qmail/users/poppasswd", "eve@a.example:$1$ab$old:x\n", 0o600);
        bench.host.on(CDB, 0, "made from users/assign as it is\n");
        bench
    }

    #[tokio::test]
    async fn ids_are_those_of_the_host_and_newu_follows_the_edit() {
        let bench = bench();
        let ann = json!({"key": "7-ann", "user": "popuser", "home": "/m/ann"});
        let planned = bench.plan("qmail_users", json!({"assign": [ann]})).await.unwrap();
        let (_, node) = afters(&planned.changes)[0];
        assert_eq!(node.permissions().unwrap().mode, 0o640);
        let text = decode(node.content().unwrap().bytes().unwrap());
        assert_eq!(text, "=3-eve:popuser:121:121:/m/eve:::\n=7-ann:popuser:121:121:/m/ann:::\n.\n");
        let Change::State(state) = &planned.changes[1] else { panic!() };
        assert_eq!((state.before(), state.after()), ("older than users/assign", "made from users/assign as it is"));
        let error = bench.fails("qmail_users", json!({"assign": ["=7-ann:popuser:110:31:/m/ann:::"]})).await;
        assert!(error.contains("has the id 121") && error.contains("not 110"), "{error}");
    }

    #[tokio::test]
    async fn an_old_cdb_alone_is_reason_enough_for_newu() {
        let bench = bench();
        let eve = json!({"assign": ["=3-eve:popuser:::/m/eve:::"]});
        assert!(bench.plan("qmail_users", eve.clone()).await.unwrap().changes.is_empty());
        bench.host.on(CDB, 0, "older than users/assign\n");
        assert_eq!(bench.plan("qmail_users", eve).await.unwrap().changes.len(), 1);
    }

    #[tokio::test]
    async fn a_hash_is_put_in_and_never_shown() {
        let bench = bench();
        let planned = bench.plan("qmail_users", json!({"poppasswd": {"eve@a.example": "$1$cd$new"}})).await.unwrap();
        let (path, node) = afters(&planned.changes)[0];
        assert_eq!(path, "/var/qmail/users/poppasswd");
        assert_eq!(node.content().unwrap().bytes().unwrap(), b"eve@a.example:$1$cd$new:x\n");
        for secrecy in [Secrecy::Open, Secrecy::Hidden] {
            let shown: String = planned.changes[0].diff(secrecy).texts().concat();
            assert!(!shown.contains("$new") && !shown.contains("$old"), "{shown}");
        }
        let error = bench.fails("qmail_users", json!({"poppasswd": {"ann@a.example": "$1$cd$new"}})).await;
        assert!(error.contains("3 fields") && !error.contains("$new"), "{error}");
    }

    #[tokio::test]
    async fn a_cut_off_assign_is_not_edited() {
        let bench = bench();
        bench.host.file("/var/qmail/users/assign", "=3-eve:popuser:121:121:/m/eve:::\n", 0o640);
        let error = bench.fails("qmail_users", json!({"state": "absent", "assign": ["=3-eve"]})).await;
        assert!(error.contains("cut off"), "{error}");
    }

    #[tokio::test]
    async fn the_edit_is_built_into_the_cdb_and_a_second_run_has_nothing_to_do() {
        let here = Here::new().await;
        here.write("users/assign", ".\n", 0o644);
        let newu = format!("#!/bin/sh\ncd '{}' && cp assign cdb.tmp && mv cdb.tmp cdb\n", here.path("users"));
        here.write("bin/qmail-newu", &newu, 0o755);
        let root = here.transport.identity().user.name.clone();
        let entry =
            json!({"key": "7-ann", "user": root, "group": here.transport.identity().group.name, "home": "/m/ann"});
        let task = json!({"directory": here.path(""), "assign": [entry], "poppasswd": {"ann@a.example": "$1$a$b"}});
        assert_eq!(here.twice("qmail_users", task.clone()).await, 3);
        assert_eq!(here.read("users/cdb"), here.read("users/assign"));
        assert_eq!(here.read("users/poppasswd"), "ann@a.example:$1$a$b\n");
        // A run that was cut off between the edit and qmail-newu is completed by the next.
        std::fs::remove_file(here.path("users/cdb")).unwrap();
        assert_eq!(here.twice("qmail_users", task).await, 1);
    }
}
