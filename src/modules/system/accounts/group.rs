//! `group`: a group of the host, with its number.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;

use crate::change::{Back, Change};
use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Argument, Arguments, Entry, Module, ModuleError, Planned, Results, State};
use crate::transport::Command;
use crate::transport::command::quote;

use super::account::{self, Account};
use super::database::{Database, Kind};
use super::{OWN, is_name};

pub const GROUP: Entry = Entry {
    name: "group",
    summary: "Makes sure that a group is there, with a number, or is not",
    arguments: &[ARGUMENTS],
    free_form: None,
    example: "\
- name: the mailboxes have a group
  group:
    name: mailboxes
    gid: 2525
",
    build,
};

type Type = crate::modules::Kind;

const ARGUMENTS: &[Argument] = &[
    Argument::new("name", Type::Text, "The group's name.").required(),
    Argument::new("gid", Type::Int, "Its number. The default is a free one, which the check chooses and tells."),
    Argument::new("state", Type::Text, "Whether it shall be there. The default is `present`.")
        .choices(&["present", "absent"]),
    Argument::new("system", Type::Bool, "A new group's number is one of those for the system."),
    Argument::new("non_unique", Type::Bool, "`gid` may be that of another group."),
    Argument::new("force", Type::Bool, "It goes even if it is the primary group of a user."),
    Argument::new("gid_min", Type::Int, "The least number that is chosen. The default is the host's."),
    Argument::new("gid_max", Type::Int, "The greatest number that is chosen."),
    Argument::new(
        "local",
        Type::Bool,
        "It is in the host's own `/etc/group`; it always is. Not with `gid_min`, `gid_max`, `force`.",
    ),
];

#[derive(Deserialize)]
struct Wanted {
    name: String,
    gid: Option<u32>,
    #[serde(default)]
    state: State,
    #[serde(default)]
    system: bool,
    #[serde(default)]
    non_unique: bool,
    #[serde(default)]
    force: bool,
    gid_min: Option<u32>,
    gid_max: Option<u32>,
    #[serde(default)]
    local: bool,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let wanted: Wanted = arguments.read()?;
    if !is_name(&wanted.name) {
        return Err(Diagnostic::new(format!("`{}` is no name of a group", wanted.name)));
    }
    let bounds = [("gid_min", wanted.gid_min), ("gid_max", wanted.gid_max)];
    if let Some((name, _)) = bounds.iter().find(|(_, bound)| wanted.local && bound.is_some()) {
        let error = Diagnostic::new(format!("`{name}` of `group` cannot be used with `local`"));
        return Err(error.msg(format!("'{name}' can not be used with 'local'")));
    }
    if wanted.force && wanted.local {
        let error = Diagnostic::new("`force` of `group` cannot be used with `local`");
        return Err(
            error.msg("force is not a valid option for local, force=True and local=True are mutually exclusive")
        );
    }
    if wanted.non_unique && wanted.gid.is_none() {
        let error = Diagnostic::new("`non_unique` of `group` needs `gid`");
        return Err(error.msg("non_unique is True but all of the following are missing: gid"));
    }
    Ok(Box::new(wanted))
}

/// Returns the command that prints `absent`, or `name:gid`.
fn probe(name: &str) -> Command {
    let script = r#"line=$(own group)
[ -n "$line" ] || { echo absent; exit 0; }
number=${line#*:*:}
printf '%s\n' "${line%%:*}:${number%%:*}"
"#;
    Command::shell(format!("name={}\n{OWN}{script}", quote(name)))
}

fn change(name: &str, texts: (String, String), by: Command, back: Command) -> Option<Change> {
    let change = Change::state(format!("group {name}"), probe(name), texts, vec![by]);
    change.map(|change| change.taken_back(Back::By(vec![back])))
}

/// Returns the change that adds a group.
pub fn added(database: &Database, (name, gid): (&str, u32), flags: &[&str]) -> Result<Option<Change>, ModuleError> {
    let number = gid.to_string();
    let words = [&[database.tool("groupadd")?, "-g", &number], flags, &[name]].concat();
    let back = Command::argv([database.tool("groupdel")?, name]);
    Ok(change(name, ("absent".into(), format!("{name}:{gid}")), Command::argv(words), back))
}

/// Returns the changes that remove a group: its members leave it first, each in a change of its own, so that later tasks see
/// them without it and an undo brings them back.
pub async fn removed(
    host: &View,
    database: &Database,
    (name, but): (&str, Option<&str>),
    flags: &[&str],
) -> Result<Vec<Change>, ModuleError> {
    let Some(group) = database.groups.get(name) else { return Ok(Vec::new()) };
    let mut changes = Vec::new();
    for member in group.members.iter().filter(|member| Some(member.as_str()) != but) {
        let (what, probe) = (format!("user {member}"), account::probe(member));
        let before = host.state(&what, &probe).await?;
        let Some(mut account) = Account::read(&before).filter(|account| account.groups.contains(name)) else {
            continue;
        };
        account.groups.remove(name);
        let gpasswd = database.tool("gpasswd")?;
        let [leave, join] = ["-d", "-a"].map(|flag| vec![Command::argv([gpasswd, flag, member, name])]);
        let change = Change::state(what, probe, (before, account.text()), leave);
        changes.extend(change.map(|change| change.taken_back(Back::By(join))));
    }
    let by = Command::argv([&[database.tool("groupdel")?], flags, &[name]].concat());
    let back = Command::argv([database.tool("groupadd")?, "-o", "-g", &group.gid.to_string(), name]);
    changes.extend(change(name, (format!("{name}:{}", group.gid), "absent".into()), by, back));
    Ok(changes)
}

#[async_trait]
impl Module for Wanted {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let (what, probe) = (format!("group {}", self.name), probe(&self.name));
        let (found, database) = futures::future::join(host.state(&what, &probe), Database::of(host)).await;
        let (found, database) = (found?, database?);
        let number =
            match found.as_str() {
                "absent" => None,
                text => Some(text.split(':').nth(1).and_then(|number| number.parse().ok()).ok_or_else(|| {
                    ModuleError::failed(format!("the state of group `{}` reads `{text}`", self.name))
                })?),
            };
        let mut warnings = Vec::new();
        let (changes, gid) = match (self.state, number) {
            (State::Absent, None) => (Vec::new(), None),
            (State::Absent, Some(_)) => (self.remove(host, &database).await?, None),
            (State::Present, None) => {
                let gid = self.new_gid(&database)?;
                (self.add(&database, gid)?.into_iter().collect(), Some(gid))
            }
            (State::Present, Some(old)) => {
                let gid = self.gid.unwrap_or(old);
                if gid != old {
                    warnings.push(format!(
                        "group `{}`: files keep the number {old}, which no check lists: find them with `find / -gid {old}`",
                        self.name
                    ));
                }
                (self.renumber(&database, (old, gid))?.into_iter().collect(), Some(gid))
            }
        };
        let mut result = Results::new();
        result.insert("name".into(), json!(self.name));
        result.insert("state".into(), json!(self.state.name()));
        if let Some(gid) = gid {
            result.insert("gid".into(), json!(gid));
            result.insert("system".into(), json!(self.system));
        }
        Ok(Planned { warnings, ..Planned::new(changes, result) })
    }
}

impl Wanted {
    fn new_gid(&self, database: &Database) -> Result<u32, ModuleError> {
        let kind = if self.system { Kind::System } else { Kind::Normal };
        match self.gid {
            Some(gid) => self.unused(database, gid).map(|()| gid),
            None => database.free_gid(kind, (self.gid_min, self.gid_max), None),
        }
    }

    fn unused(&self, database: &Database, gid: u32) -> Result<(), ModuleError> {
        match database.group_with(gid, &self.name) {
            Some(other) if !self.non_unique => {
                let message = format!("the number {gid} is that of group `{other}`");
                Err(ModuleError::failed(format!("{message}\nhint: `non_unique: true` lets both have it")))
            }
            _ => Ok(()),
        }
    }

    fn add(&self, database: &Database, gid: u32) -> Result<Option<Change>, ModuleError> {
        let mut flags = Vec::new();
        flags.extend(self.system.then_some("-r"));
        flags.extend(self.non_unique.then_some("-o"));
        added(database, (&self.name, gid), &flags)
    }

    fn renumber(&self, database: &Database, (old, new): (u32, u32)) -> Result<Option<Change>, ModuleError> {
        if old == new {
            return Ok(None);
        }
        self.unused(database, new)?;
        let groupmod = database.tool("groupmod")?;
        let to = |gid: u32| {
            let number = gid.to_string();
            let shared = if self.non_unique { &["-o"][..] } else { &[] };
            Command::argv([&[groupmod, "-g", &number], shared, &[&self.name]].concat())
        };
        let text = |gid: u32| format!("{}:{gid}", self.name);
        Ok(change(&self.name, (text(old), text(new)), to(new), to(old)))
    }

    async fn remove(&self, host: &View, database: &Database) -> Result<Vec<Change>, ModuleError> {
        let gid = database.groups.get(&self.name).map(|group| group.gid);
        let user = database.users.iter().find(|(_, user)| Some(user.gid) == gid);
        match user {
            Some((user, _)) if !self.force => {
                let message = format!("group `{}` is the primary group of `{user}`", self.name);
                Err(ModuleError::failed(format!("{message}\nhint: `force: true` removes it all the same")))
            }
            _ => removed(host, database, (&self.name, None), if self.force { &["-f"] } else { &[] }).await,
        }
    }
}
