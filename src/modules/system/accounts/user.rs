//! `user`: an account of the host with its number, groups, home, shell and password.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::change::{Back, Change};
use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Argument, Arguments, Entry, Module, ModuleError, Outcome, Planned, Results, State};
use crate::transport::command::quote;
use crate::transport::{Command, Owner, Permissions, Want};

use super::account::{self, Account};
use super::ages::{self, Ages};
use super::database::{Database, Kind};
use super::group;
use super::password::{self, Hash};
use super::ssh_key::{self, SshKey};
use super::{home, is_name};

pub const USER: Entry = Entry {
    name: "user",
    summary: "Makes sure that a user is there, with its groups, home and password, or is not",
    arguments: &[ARGUMENTS, ages::ARGUMENTS, ssh_key::ARGUMENTS],
    free_form: None,
    example: "\
- name: ann keeps the mailboxes
  user:
    name: ann
    uid: 2526
    comment: Ann Example
    groups: [mail]
    append: true
",
    build,
};

type Type = crate::modules::Kind;

const ELSEWHERE: &str = "it belongs to another system than those whose accounts are managed";

const ARGUMENTS: &[Argument] = &[
    Argument::new("name", Type::Text, "The user's name.").required().alias(&["user"]),
    Argument::new("uid", Type::Int, "Its number. The default is a free one, which the check chooses and tells."),
    Argument::new("non_unique", Type::Bool, "`uid` may be that of another user."),
    Argument::new("comment", Type::Text, "Its full name (GECOS)."),
    Argument::new("group", Type::Text, "Its primary group, by name or number. The default is one of its own name."),
    Argument::new("groups", Type::List, "Its other groups, by name or number. An empty list takes it out of all."),
    Argument::new("append", Type::Bool, "It stays in groups that are not in `groups`."),
    Argument::new("home", Type::Path, "Its home directory. The default is the host's (`/home/NAME`)."),
    Argument::new("create_home", Type::Bool, "A home that is not there is made. The default is true.")
        .alias(&["createhome"]),
    Argument::new("move_home", Type::Bool, "Where `home` differs, the old one is moved there."),
    Argument::new("skeleton", Type::Path, "What a new home is filled from. The default is the host's (`/etc/skel`)."),
    Argument::new("umask", Type::Mode, "The mode of a new home is 0777 without these bits."),
    Argument::new("shell", Type::Path, "Its login shell. The default is the host's."),
    Argument::new("password", Type::Text, "Its password, hashed as in shadow(5); `!` or `*` is none."),
    Argument::new("update_password", Type::Text, "Whether `password` is also set for a user who is there already.")
        .choices(&["always", "on_create"]),
    Argument::new("password_lock", Type::Bool, "Whether its password is locked: `!` stands before the hash."),
    Argument::new("expires", Type::Float, "When it expires, in seconds since 1970; a negative number is never."),
    Argument::new("state", Type::Text, "Whether it shall be there. The default is `present`.")
        .choices(&["present", "absent"]),
    Argument::new("remove", Type::Bool, "With `state: absent`, its home and mailbox go too."),
    Argument::new(
        "force",
        Type::Bool,
        "With `state: absent`, it goes even while it is used; with `generate_ssh_key`, a key is made anew.",
    ),
    Argument::new("system", Type::Bool, "A new user's number is one of those for the system."),
    Argument::new("uid_min", Type::Int, "The least number that is chosen. The default is the host's."),
    Argument::new("uid_max", Type::Int, "The greatest number that is chosen."),
    Argument::new("seuser", Type::Text, "").refused("users of SELinux are set with `command: semanage login ...`"),
    Argument::new(
        "local",
        Type::Bool,
        "It is in the host's own `/etc/passwd`; it always is. Not with `umask`, `uid_min`, `uid_max`.",
    ),
    Argument::new("login_class", Type::Text, "").refused(ELSEWHERE),
    Argument::new("hidden", Type::Bool, "").refused(ELSEWHERE),
    Argument::new("profile", Type::Text, "").refused(ELSEWHERE),
    Argument::new("role", Type::Text, "").refused(ELSEWHERE),
    Argument::new("authorization", Type::Text, "").refused(ELSEWHERE),
];

#[derive(Deserialize)]
struct User {
    name: String,
    uid: Option<u32>,
    #[serde(default)]
    non_unique: bool,
    comment: Option<String>,
    group: Option<String>,
    groups: Option<Vec<Value>>,
    #[serde(default)]
    append: bool,
    home: Option<String>,
    #[serde(default = "yes")]
    create_home: bool,
    #[serde(default)]
    move_home: bool,
    skeleton: Option<String>,
    umask: Option<String>,
    shell: Option<String>,
    password: Option<String>,
    #[serde(default)]
    update_password: Update,
    password_lock: Option<bool>,
    expires: Option<f64>,
    #[serde(default)]
    state: State,
    #[serde(default)]
    remove: bool,
    #[serde(default)]
    force: bool,
    #[serde(default)]
    system: bool,
    uid_min: Option<u32>,
    uid_max: Option<u32>,
    #[serde(default)]
    local: bool,
    #[serde(flatten)]
    ages: Ages,
    #[serde(flatten)]
    ssh_key: SshKey,
}

fn yes() -> bool {
    true
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Update {
    #[default]
    Always,
    OnCreate,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let user: User = arguments.read()?;
    if !is_name(&user.name) {
        return Err(Diagnostic::new(format!("`{}` is no name of a user", user.name)));
    }
    let fields = [("comment", &user.comment), ("home", &user.home), ("shell", &user.shell)];
    for (name, value) in fields.into_iter().chain([("password", &user.password)]) {
        if value.as_ref().is_some_and(|value| value.contains([':', '\n', '\r', '\0'])) {
            return Err(Diagnostic::new(format!("`{name}` of a user cannot have a colon or a line end in it")));
        }
    }
    for (name, value) in [("home", &user.home), ("skeleton", &user.skeleton)] {
        if value.as_ref().is_some_and(|value| !value.starts_with('/')) {
            return Err(Diagnostic::new(format!("`{name}` of a user has to be an absolute path")));
        }
    }
    let apart =
        [("umask", user.umask.is_some()), ("uid_min", user.uid_min.is_some()), ("uid_max", user.uid_max.is_some())];
    if let Some((name, _)) = apart.iter().find(|(_, given)| user.local && *given) {
        let error = Diagnostic::new(format!("`{name}` of `user` cannot be used with `local`"));
        return Err(error.msg(format!("'{name}' can not be used with 'local'")));
    }
    user.umask()?;
    user.ssh_key.check()?;
    user.expires().map_err(Diagnostic::new)?;
    Ok(Box::new(user))
}

#[async_trait]
impl Module for User {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let (what, probe) = (format!("user {}", self.name), account::probe(&self.name));
        let (found, database) = futures::future::join(host.state(&what, &probe), Database::of(host)).await;
        let (found, database) = (found?, database?);
        let account = Account::read(&found);
        if account.is_none() && found != "absent" {
            return Err(ModuleError::failed(format!("the state of user `{}` reads `{found}`", self.name)));
        }
        match self.state {
            State::Present => self.present(host, &database, account).await,
            State::Absent => self.absent(host, &database, account).await,
        }
    }
}

impl User {
    async fn present(&self, host: &View, database: &Database, old: Option<Account>) -> Result<Planned, ModuleError> {
        let (new, own_group) = self.wanted(database, old.as_ref())?;
        let mut changes = Vec::new();
        if own_group {
            let flags = if self.system { &["-r"][..] } else { &[] };
            changes.extend(group::added(database, (&self.name, new.gid), flags)?);
        }
        let mut warnings = Vec::new();
        let mut old_home = Vec::new();
        if let Some(old) = old.as_ref().filter(|old| self.move_home && old.home != new.home) {
            let (made, gone) = home::moved(host, (&old.home, &new.home)).await?;
            changes.extend(made);
            old_home = gone;
        }
        if let Some(old) = old.as_ref().filter(|old| old.uid != new.uid) {
            warnings.push(format!(
                "user `{}`: usermod also gives the files below `{}` to {}, which no check lists",
                self.name, old.home, new.uid
            ));
        }
        let moved = !old_home.is_empty();
        changes.extend(self.change(database, (old.as_ref(), &new), own_group)?);
        changes.extend(old_home);
        changes.extend(self.password(host, database, old.is_none(), &mut warnings).await?);
        changes.extend(self.ages.change((host, database), (&self.name, old.is_none())).await?);
        if self.create_home && !moved {
            changes.extend(self.home(host, database, (old.is_none(), &new)).await?);
        }
        let permissions = self.of_the_user(database, (old.is_none(), &new), 0);
        let from = old.as_ref().filter(|_| moved).map(|old| old.home.as_str());
        let owner = ssh_key::Owner { account: &new, permissions, moved: from };
        let (made, told) = self.ssh_key.planned(host, &owner, &changes, self.force).await?;
        changes.extend(made);
        let mut results = self.results(&new);
        let result = match told {
            Some(told) => {
                results.extend(told);
                Outcome::Known(results)
            }
            // The key is the last change, and tells of itself.
            None => {
                let made = self.ssh_key.made(host, &new.home);
                Outcome::Read(Box::new(move |output| {
                    Ok(results.clone().into_iter().chain(made(&output.text())).collect())
                }))
            }
        };
        Ok(Planned { changes, result, warnings })
    }

    /// Returns whose the paths of the user are.
    fn of_the_user(&self, database: &Database, (is_new, account): (bool, &Account), mode: u32) -> Permissions {
        let owner = Owner { id: account.uid, name: account.name.clone() };
        let mut group = database.owner(account.gid);
        if is_new && group.name == account.gid.to_string() {
            group.name.clone_from(&account.name);
        }
        Permissions { mode, owner, group }
    }

    /// Returns the account as asked for, and whether it needs a new group of its own name.
    fn wanted(&self, database: &Database, old: Option<&Account>) -> Result<(Account, bool), ModuleError> {
        let mut own_group = false;
        let mut new = match old {
            Some(old) => old.clone(),
            None => {
                let kind = if self.system { Kind::System } else { Kind::Normal };
                let uid = self.uid.map_or_else(|| database.free_uid(kind, (self.uid_min, self.uid_max)), Ok)?;
                own_group =
                    self.group.is_none() && database.has_user_groups() && !database.groups.contains_key(&self.name);
                let gid = match own_group {
                    true => database.free_gid(kind, (None, None), Some(uid))?,
                    false if self.group.is_none() => database.group(database.preset("GROUP", "100"))?.id,
                    false => 0,
                };
                let day = Some(database.preset("EXPIRE", "")).filter(|day| !day.is_empty());
                Account {
                    name: self.name.clone(),
                    uid,
                    gid,
                    comment: String::new(),
                    home: format!("{}/{}", database.preset("HOME", "/home"), self.name),
                    shell: database.preset("SHELL", "").to_string(),
                    groups: Default::default(),
                    expires: day.map(str::to_string),
                }
            }
        };
        new.uid = self.uid.unwrap_or(new.uid);
        if let Some(other) = database.user_with(new.uid, &self.name).filter(|_| !self.non_unique && self.uid.is_some())
        {
            let message = format!("the number {} is that of user `{other}`", new.uid);
            return Err(ModuleError::failed(format!("{message}\nhint: `non_unique: true` lets both have it")));
        }
        if let Some(group) = &self.group {
            new.gid = database.group(group)?.id;
        }
        if let Some(groups) = &self.groups {
            let kept = if self.append { std::mem::take(&mut new.groups) } else { Default::default() };
            new.groups = kept;
            for group in groups {
                let group = group.as_str().map_or_else(|| group.to_string(), str::to_string);
                if !group.is_empty() {
                    new.groups.insert(database.group(&group)?.name);
                }
            }
        }
        let set = |field: &mut String, asked: &Option<String>| {
            if let Some(asked) = asked {
                field.clone_from(asked);
            }
        };
        set(&mut new.comment, &self.comment);
        set(&mut new.home, &self.home);
        set(&mut new.shell, &self.shell);
        if let Some(day) = self.expires().map_err(ModuleError::failed)? {
            new.expires = day;
        }
        Ok((new, own_group))
    }

    fn change(
        &self,
        database: &Database,
        (old, new): (Option<&Account>, &Account),
        own_group: bool,
    ) -> Result<Option<Change>, ModuleError> {
        let before = old.map_or_else(|| "absent".into(), Account::text);
        if before == new.text() {
            return Ok(None);
        }
        let (by, back) = match old {
            None => {
                let takes_group = own_group || takes_group(database, new);
                (
                    vec![added(database, new, (self.system, self.non_unique))?],
                    removal(database, (new, takes_group), &[])?,
                )
            }
            Some(old) => {
                let usermod = database.tool("usermod")?;
                (vec![modified(usermod, old, new)], vec![modified(usermod, new, old)])
            }
        };
        Ok(state(&self.name, (before, new.text()), by).map(|change| change.taken_back(Back::By(back))))
    }

    async fn password(
        &self,
        host: &View,
        database: &Database,
        is_new: bool,
        warnings: &mut Vec<String>,
    ) -> Result<Option<Change>, ModuleError> {
        let asked = self.password.as_ref().filter(|_| is_new || self.update_password == Update::Always);
        if asked.is_none() && self.password_lock.is_none() {
            return Ok(None);
        }
        let (told, old) = match is_new {
            true => ("!".to_string(), Some(Hash::new("!"))),
            false => {
                let (told, old) =
                    futures::future::join(password::told(host, &self.name), password::current(host, &self.name)).await;
                let (told, old) = (told?, old?);
                // An earlier task of the same check may have planned another.
                let old = Some(old).filter(|old| old.told() == told);
                (told, old)
            }
        };
        let mut new = old.clone().unwrap_or_else(|| Hash::new("!"));
        if let Some(asked) = asked {
            let asked = Hash::new(asked);
            if !asked.is_crypted() {
                warnings.push(format!("`password` of user `{}` does not look like a hash; see crypt(5)", self.name));
            }
            new = if old.as_ref().is_some_and(|old| old.is_that_of(&asked)) { new } else { asked };
        } else if old.is_none() {
            // The lock of a password that is only planned: another task's business until it is there.
            return Err(ModuleError::failed(format!(
                "`password_lock` of `{}` needs the password that an earlier task sets\nhint: give both in one task",
                self.name
            )));
        }
        match self.password_lock {
            Some(true) => new = new.locked(true),
            Some(false) if !is_new && new == Hash::new("!") => {
                return Err(ModuleError::failed(format!(
                    "`{}` has no password: unlocked, it would let everybody in\nhint: give it a `password`",
                    self.name
                )));
            }
            Some(false) if new != Hash::new("!") => new = new.locked(false),
            _ => {}
        }
        password::change(database, &self.name, (told, old), &new)
    }

    /// Returns the changes that make a home that is not there, as useradd would.
    async fn home(
        &self,
        host: &View,
        database: &Database,
        (is_new, account): (bool, &Account),
    ) -> Result<Vec<Change>, ModuleError> {
        let octal = |name: &str| database.definition(name).and_then(|mode| u32::from_str_radix(mode, 8).ok());
        let umask = self.umask().map_err(ModuleError::from)?;
        let mode = match (umask, octal("HOME_MODE")) {
            (Some(umask), _) => 0o777 & !umask,
            (None, Some(mode)) => mode,
            (None, None) => 0o777 & !octal("UMASK").unwrap_or(0o022),
        };
        let skeleton = self.skeleton.as_deref().unwrap_or_else(|| database.preset("SKEL", "/etc/skel"));
        let permissions = self.of_the_user(database, (is_new, account), mode);
        home::made(host, (&account.home, skeleton), permissions).await
    }

    fn results(&self, account: &Account) -> Results {
        let mut result = Results::new();
        let mut put = |name: &str, value: Value| drop(result.insert(name.into(), value));
        put("name", json!(self.name));
        put("state", json!("present"));
        put("uid", json!(account.uid));
        put("group", json!(account.gid));
        put("comment", json!(account.comment));
        put("home", json!(account.home));
        put("shell", json!(account.shell));
        put("append", json!(self.append));
        put("move_home", json!(self.move_home));
        put("create_home", json!(self.create_home));
        put("system", json!(self.system));
        if self.groups.is_some() {
            put("groups", json!(account.listed()));
        }
        if self.password.is_some() {
            put("password", json!("NOT_LOGGING_PASSWORD"));
        }
        result
    }

    async fn absent(&self, host: &View, database: &Database, old: Option<Account>) -> Result<Planned, ModuleError> {
        let mut result = Results::new();
        result.insert("name".into(), json!(self.name));
        result.insert("state".into(), json!("absent"));
        let Some(old) = old else { return Ok(Planned::new(Vec::new(), result)) };
        result.insert("force".into(), json!(self.force));
        result.insert("remove".into(), json!(self.remove));
        let flags = if self.force { &["-f"][..] } else { &[] };
        let by = removal(database, (&old, takes_group(database, &old)), flags)?;
        if !self.force {
            self.is_idle(host, &old).await?;
        }
        let mut changes = Vec::new();
        let mut warnings = Vec::new();
        if self.remove {
            changes.extend(self.belongings(host, database, (&old, &mut warnings)).await?);
        }
        // It goes first, so that what takes all this back has it.
        let (told, hash) =
            futures::future::join(password::told(host, &self.name), password::current(host, &self.name)).await;
        let (told, hash) = (told?, hash?);
        if told != "unreadable" && told != "!" {
            let hash = Some(hash).filter(|hash| hash.told() == told);
            changes.extend(password::change(database, &self.name, (told, hash), &Hash::new("!"))?);
        }
        let back = vec![added(database, &old, (false, true))?];
        let change = state(&self.name, (old.text(), "absent".into()), by);
        changes.extend(change.map(|change| change.taken_back(Back::By(back))));
        if own_group_goes(database, &old) {
            changes.extend(group::removed(host, database, (&self.name, Some(&self.name)), &[]).await?);
        }
        Ok(Planned { warnings, ..Planned::new(changes, result) })
    }

    /// Fails where the user has processes: userdel would refuse, and its home would be gone by then.
    async fn is_idle(&self, host: &View, old: &Account) -> Result<(), ModuleError> {
        let probe = Command::shell(format!("ps -u {} -o pid= 2>/dev/null\n", old.uid));
        let text = host.probe(&probe).await?.text();
        let Some(pid) = text.split_whitespace().next() else { return Ok(()) };
        let message = format!("user `{}` has processes, the first is {pid}", self.name);
        Err(ModuleError::failed(format!("{message}\nhint: end them first; `force: true` removes it all the same")))
    }

    /// Returns the changes that remove its home and mailbox.
    async fn belongings(
        &self,
        host: &View,
        database: &Database,
        (old, warnings): (&Account, &mut Vec<String>),
    ) -> Result<Vec<Change>, ModuleError> {
        let home = old.home.trim_end_matches('/');
        let inside = |other: &str| other == home || other.starts_with(&format!("{home}/"));
        let shared = database.users.iter().find(|(name, user)| **name != self.name && inside(&user.home));
        if home.is_empty() {
            return Err(ModuleError::failed(format!("the home of `{}` is `/`, which is not removed", self.name)));
        }
        if let Some((other, _)) = shared {
            let message = format!("`{home}` is not removed: the home of `{other}` is in it");
            return Err(ModuleError::failed(message));
        }
        let spool = format!("{}/{}", database.definition("MAIL_DIR").unwrap_or("/var/mail"), self.name);
        let mut changes = Vec::new();
        for path in [home, &spool] {
            let node = host.look(path, Want::Attributes).await?;
            match node.permissions() {
                None => {}
                Some(permissions) if permissions.owner.id != old.uid && !self.force => warnings.push(format!(
                    "`{path}` is not removed: it belongs to `{}`\nhint: `force: true` removes it all the same",
                    permissions.owner.name
                )),
                Some(_) => changes.extend(home::removed(host, path).await?),
            }
        }
        Ok(changes)
    }

    fn umask(&self) -> Result<Option<u32>, Diagnostic> {
        let Some(text) = &self.umask else { return Ok(None) };
        let umask = u32::from_str_radix(text, 8).ok().filter(|umask| *umask <= 0o777);
        umask.map(Some).ok_or_else(|| Diagnostic::new(format!("`umask: {text}` is no octal number up to 777")))
    }

    /// Returns the day it expires where that is asked for: in it nothing is never.
    fn expires(&self) -> Result<Option<Option<String>>, String> {
        let Some(seconds) = self.expires else { return Ok(None) };
        if seconds < 0.0 {
            return Ok(Some(None));
        }
        let second = jiff::Timestamp::from_second(seconds as i64);
        let second = second.map_err(|_| format!("`expires: {seconds}` is no time that there is"))?;
        let day = second.to_zoned(jiff::tz::TimeZone::UTC).date();
        Ok(Some(Some(day.to_string())))
    }
}

fn state(name: &str, texts: (String, String), by: Vec<Command>) -> Option<Change> {
    Change::state(format!("user {name}"), account::probe(name), texts, by)
}

/// Returns the command that makes an account, without its home: that is made of paths.
fn added(database: &Database, account: &Account, (system, non_unique): (bool, bool)) -> Result<Command, ModuleError> {
    let Account { name, uid, gid, comment, home, shell, expires, .. } = account;
    let (uid, gid, groups) = (uid.to_string(), gid.to_string(), account.listed());
    let mut words = vec![database.tool("useradd")?, "-M", "-u", &uid, "-g", &gid, "-d", home, "-c", comment];
    words.extend(system.then_some("-r"));
    words.extend(non_unique.then_some("-o"));
    for (flag, value) in [("-s", shell.as_str()), ("-G", &groups), ("-e", expires.as_deref().unwrap_or(""))] {
        if !value.is_empty() {
            words.extend([flag, value]);
        }
    }
    words.push(name);
    Ok(Command::argv(words))
}

/// Returns the command that makes `old` what `new` is.
fn modified(usermod: &str, old: &Account, new: &Account) -> Command {
    let (uid, gid, groups) = (new.uid.to_string(), new.gid.to_string(), new.listed());
    let mut words = vec![usermod];
    let mut set = |differs: bool, flags: &[&'static str], value| {
        if differs {
            words.extend(flags);
            words.push(value);
        }
    };
    set(old.uid != new.uid, &["-o", "-u"], uid.as_str());
    set(old.gid != new.gid, &["-g"], &gid);
    set(old.groups != new.groups, &["-G"], &groups);
    set(old.comment != new.comment, &["-c"], &new.comment);
    set(old.home != new.home, &["-d"], &new.home);
    set(old.shell != new.shell, &["-s"], &new.shell);
    set(old.expires != new.expires, &["-e"], new.expires.as_deref().unwrap_or(""));
    words.push(&new.name);
    Command::argv(words)
}

/// Returns the commands that remove an account and nothing else: userdel may take a group of its name with it, which is a
/// change of its own here.
fn removal(
    database: &Database,
    (account, takes_group): (&Account, bool),
    flags: &[&str],
) -> Result<Vec<Command>, ModuleError> {
    let mut by = vec![Command::argv([&[database.tool("userdel")?], flags, &[&account.name]].concat())];
    if takes_group {
        let (groupadd, gid, name) = (database.tool("groupadd")?, account.gid, &account.name);
        let is_there = format!("sed 's/:.*//' /etc/group | grep -qxF -e {}", quote(name));
        by.push(Command::shell(format!("{is_there} || {groupadd} -o -g {gid} {}\n", quote(name))));
    }
    Ok(by)
}

/// Says whether userdel may take the group of the account's name with it.
fn takes_group(database: &Database, account: &Account) -> bool {
    let own = database.groups.get(&account.name);
    database.has_user_groups() && own.is_some_and(|group| group.gid == account.gid)
}

/// Says whether the group of the account's name is nobody else's.
fn own_group_goes(database: &Database, account: &Account) -> bool {
    let others = database.users.iter().any(|(name, user)| *name != account.name && user.gid == account.gid);
    let group = database.groups.get(&account.name);
    let members = group.is_some_and(|group| group.members.iter().any(|member| *member != account.name));
    takes_group(database, account) && !others && !members
}
