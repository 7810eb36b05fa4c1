//! What a host knows of accounts: who has which number, its defaults, its tools; with what is planned.

use std::collections::{BTreeMap, BTreeSet};

use crate::host::View;
use crate::modules::ModuleError;
use crate::transport::{Command, Owner};

use super::account::Account;

/// Each line begins with a letter: a tool (`t`), a user (`u`), a group (`g`), a setting of login.defs(5) (`l`), a default of
/// useradd (`d`). It is the same script for every account, so that it is asked once.
const PROBE: &str = r#"PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
for tool in useradd usermod userdel groupadd groupmod groupdel gpasswd chpasswd chage; do
  path=$(command -v "$tool") && echo "t $tool $path"
done
users=$(getent passwd 2>/dev/null) || users=$(cat /etc/passwd)
echo "$users" | sed -n 's/^\([^:]*\):[^:]*:\([^:]*\):\([^:]*\):[^:]*:\([^:]*\):.*/u \1:\2:\3:\4/p'
groups=$(getent group 2>/dev/null) || groups=$(cat /etc/group)
echo "$groups" | sed -n 's/^\([^:]*\):[^:]*:\([^:]*\):\(.*\)/g \1:\2:\3/p'
sed -n 's/^[[:space:]]*\([A-Z_]*\)[[:space:]]*\([^[:space:]#]*\).*/l \1=\2/p' /etc/login.defs 2>/dev/null
useradd -D 2>/dev/null | sed 's/^/d /'
"#;

#[derive(Debug, Default)]
pub struct Database {
    host: String,
    root: bool,
    /// Paths by name.
    tools: BTreeMap<String, String>,
    pub users: BTreeMap<String, User>,
    pub groups: BTreeMap<String, Group>,
    definitions: BTreeMap<String, String>,
    defaults: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    pub home: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    pub gid: u32,
    pub members: BTreeSet<String>,
}

/// Which numbers an account may get (`UID_MIN` and the like of login.defs(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Normal,
    System,
}

impl Database {
    pub async fn of(host: &View) -> Result<Database, ModuleError> {
        let output = host.probe(&Command::shell(PROBE)).await?;
        let mut database = Database::read(&output.text());
        database.host.clone_from(&host.name);
        database.root = host.identity().user.id == 0;
        database.plan(&host.planned_accounts("group"), &host.planned_accounts("user"));
        Ok(database)
    }

    fn read(text: &str) -> Database {
        let mut database = Database::default();
        let pair =
            |text: &str, at: char| text.split_once(at).map(|(name, value)| (name.to_string(), value.to_string()));
        for line in text.lines() {
            let Some((letter, rest)) = line.split_once(' ') else { continue };
            match letter {
                "t" => database.tools.extend(pair(rest, ' ')),
                "l" => database.definitions.extend(pair(rest, '=')),
                "d" => database.defaults.extend(pair(rest, '=')),
                "u" => {
                    let mut fields = rest.splitn(4, ':');
                    if let (Some(name), Some(Ok(uid)), Some(Ok(gid)), Some(home)) =
                        (fields.next(), fields.next().map(str::parse), fields.next().map(str::parse), fields.next())
                    {
                        // The first line of a name is the one that counts.
                        let user = User { uid, gid, home: home.into() };
                        database.users.entry(name.into()).or_insert(user);
                    }
                }
                _ => {
                    let mut fields = rest.splitn(3, ':');
                    if let (Some(name), Some(Ok(gid)), Some(members)) =
                        (fields.next(), fields.next().map(str::parse), fields.next())
                    {
                        let members = members.split(',').filter(|name| !name.is_empty()).map(str::to_string).collect();
                        database.groups.entry(name.into()).or_insert(Group { gid, members });
                    }
                }
            }
        }
        database
    }

    /// Puts the planned states of groups and users over what is there.
    fn plan(&mut self, groups: &[(String, String)], users: &[(String, String)]) {
        for (name, state) in groups {
            match state.split(':').nth(1).and_then(|gid| gid.parse().ok()) {
                Some(gid) => self.groups.entry(name.clone()).or_default().gid = gid,
                None => drop(self.groups.remove(name)),
            }
        }
        for (name, state) in users {
            let account = Account::read(state);
            for (group, Group { members, .. }) in &mut self.groups {
                match &account {
                    Some(account) if account.groups.contains(group) => drop(members.insert(name.clone())),
                    _ => drop(members.remove(name)),
                }
            }
            match account {
                Some(Account { uid, gid, home, .. }) => drop(self.users.insert(name.clone(), User { uid, gid, home })),
                None => drop(self.users.remove(name)),
            }
        }
    }

    /// Returns the path of a tool that a change needs, which needs root too.
    pub fn tool(&self, name: &str) -> Result<&str, ModuleError> {
        if !self.root {
            return Err(ModuleError::failed("only root may change accounts\nhint: `become: true`"));
        }
        let path = self.tools.get(name).map(String::as_str);
        path.ok_or_else(|| {
            let hint = "users and groups are changed with the tools of the shadow suite (the package `passwd` or \
                        `shadow-utils`); those of busybox are not supported";
            ModuleError::failed(format!("`{}` has no `{name}`\nhint: {hint}", self.host))
        })
    }

    /// Returns a group by its name or number.
    pub fn group(&self, wanted: &str) -> Result<Owner, ModuleError> {
        let number: Option<u32> = wanted.parse().ok();
        let named = self.groups.get(wanted).map(|group| Owner { id: group.gid, name: wanted.into() });
        let numbered = || number.map(|gid| self.owner(gid)).filter(|owner| self.groups.contains_key(&owner.name));
        named.or_else(numbered).ok_or_else(|| ModuleError::failed(format!("`{}` has no group `{wanted}`", self.host)))
    }

    /// Returns the group of a number; its name is the number where no group has it.
    pub fn owner(&self, gid: u32) -> Owner {
        let known = self.groups.iter().find(|(_, group)| group.gid == gid);
        Owner { id: gid, name: known.map_or_else(|| gid.to_string(), |(name, _)| name.clone()) }
    }

    /// Returns who has a user's number, other than `but`.
    pub fn user_with(&self, uid: u32, but: &str) -> Option<&str> {
        self.users.iter().find(|(name, user)| user.uid == uid && *name != but).map(|(name, _)| name.as_str())
    }

    pub fn group_with(&self, gid: u32, but: &str) -> Option<&str> {
        self.groups.iter().find(|(name, group)| group.gid == gid && *name != but).map(|(name, _)| name.as_str())
    }

    /// Returns a setting of login.defs(5).
    pub fn definition(&self, name: &str) -> Option<&str> {
        self.definitions.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Returns what useradd takes where nothing is said, or else what it is built with.
    pub fn preset(&self, name: &str, built_in: &'static str) -> &str {
        self.defaults.get(name).map_or(built_in, String::as_str)
    }

    /// Says whether a user gets a group of its own name.
    pub fn has_user_groups(&self) -> bool {
        self.definition("USERGROUPS_ENAB").is_some_and(|value| value.eq_ignore_ascii_case("yes"))
    }

    fn number(&self, name: &str) -> Option<u32> {
        self.definition(name)?.parse().ok()
    }

    /// Returns the first and last number that `kind` may get; `letter` is `U` or `G`.
    fn range(&self, letter: char, kind: Kind) -> (u32, u32) {
        let of = |name: &str| self.number(&name.replace('?', &letter.to_string()));
        let least = of("?ID_MIN").unwrap_or(1000);
        match kind {
            Kind::Normal => (least, of("?ID_MAX").unwrap_or(60000)),
            Kind::System => {
                (of("SYS_?ID_MIN").unwrap_or(101), of("SYS_?ID_MAX").unwrap_or_else(|| least.saturating_sub(1)))
            }
        }
    }

    /// Returns the number that a new user gets, between `limits` where they are given.
    pub fn free_uid(&self, kind: Kind, limits: (Option<u32>, Option<u32>)) -> Result<u32, ModuleError> {
        let (first, last) = self.range('U', kind);
        let range = (limits.0.unwrap_or(first), limits.1.unwrap_or(last));
        let taken = self.users.values().map(|user| user.uid).collect();
        free(range, &taken, kind).ok_or_else(|| none_left("user", range))
    }

    /// Returns the number that a new group gets: `wished`, where that is free and in the range.
    pub fn free_gid(
        &self,
        kind: Kind,
        limits: (Option<u32>, Option<u32>),
        wished: Option<u32>,
    ) -> Result<u32, ModuleError> {
        let (first, last) = self.range('G', kind);
        let range = (limits.0.unwrap_or(first), limits.1.unwrap_or(last));
        let taken: BTreeSet<u32> = self.groups.values().map(|group| group.gid).collect();
        let fits = |gid: &u32| range.0 <= *gid && *gid <= range.1 && !taken.contains(gid);
        let wished = wished.filter(fits);
        wished.or_else(|| free(range, &taken, kind)).ok_or_else(|| none_left("group", range))
    }
}

fn none_left(what: &str, (first, last): (u32, u32)) -> ModuleError {
    ModuleError::failed(format!("no number is left for a {what} between {first} and {last}"))
}

/// Chooses as useradd and groupadd do (`find_new_uid` of the shadow suite): one above the highest number in use, and for the
/// system one below the lowest; where that is out of the range, the first free number from the other end.
fn free((first, last): (u32, u32), taken: &BTreeSet<u32>, kind: Kind) -> Option<u32> {
    if first > last {
        return None;
    }
    let mut used = taken.range(first..=last);
    let next = match kind {
        Kind::Normal => used.next_back().map_or(Some(first), |highest| highest.checked_add(1)),
        Kind::System => used.next().map_or(Some(last), |lowest| lowest.checked_sub(1)),
    };
    let mut rest: Box<dyn Iterator<Item = u32>> = match kind {
        Kind::Normal => Box::new(first..=last),
        Kind::System => Box::new((first..=last).rev()),
    };
    next.filter(|id| (first..=last).contains(id)).or_else(|| rest.find(|id| !taken.contains(id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "t useradd /usr/sbin/useradd\nu root:0:0:/root\nu ann:1001:1001:/home/ann\nu tail:998:5:/x\n\
                        g root:0:\ng ann:1001:\ng mail:8:ann,eve\nl UID_MAX=1002\nl USERGROUPS_ENAB=yes\nd GROUP=100\n";

    #[test]
    fn numbers_are_chosen_as_the_tools_choose_them() {
        let taken = |ids: &[u32]| ids.iter().copied().collect();
        for (ids, kind, expected) in [
            (&[][..], Kind::Normal, Some(10)),
            (&[10, 12], Kind::Normal, Some(13)),
            (&[10, 14], Kind::Normal, Some(11)),
            (&[10, 11, 12, 13, 14], Kind::Normal, None),
            (&[], Kind::System, Some(14)),
            (&[13, 14], Kind::System, Some(12)),
            (&[10, 14], Kind::System, Some(13)),
            (&[5, 99], Kind::Normal, Some(10)),
        ] {
            assert_eq!(free((10, 14), &taken(ids), kind), expected, "{ids:?} {kind:?}");
        }
        assert_eq!(free((5, 4), &taken(&[]), Kind::Normal), None);
    }

    #[test]
    fn what_is_planned_takes_its_numbers_and_leaves_those_of_what_goes() {
        let mut database = Database::read(TEXT);
        assert_eq!(database.free_uid(Kind::Normal, (None, None)).unwrap(), 1002);
        let text = |name: &str, state: &str| (name.to_string(), state.to_string());
        database.plan(
            &[text("bob", "bob:1002"), text("ann", "absent")],
            &[text("bob", "bob:1002:1002::/home/bob:/bin/sh, groups mail"), text("ann", "absent")],
        );
        // 1002 is the last of the range, so the first free one is taken.
        assert_eq!(database.free_uid(Kind::Normal, (None, None)).unwrap(), 1000);
        assert_eq!(database.free_uid(Kind::System, (None, None)).unwrap(), 997);
        assert_eq!(database.free_gid(Kind::Normal, (None, None), Some(1001)).unwrap(), 1001);
        assert_eq!(database.free_gid(Kind::Normal, (None, None), Some(1002)).unwrap(), 1003);
        let members: Vec<_> = database.groups["mail"].members.iter().cloned().collect();
        assert_eq!(members, ["bob", "eve"]);
        assert_eq!(database.group("1002").unwrap().name, "bob");
        assert!(database.group("ann").is_err() && database.group("77").is_err());
        assert_eq!((database.preset("GROUP", "1"), database.preset("SKEL", "/etc/skel")), ("100", "/etc/skel"));
    }
}
