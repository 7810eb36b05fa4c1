//! The controller as `ssh` sees it: its user, home, host name and environment.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

/// Who runs Cutover, and where.
#[derive(Clone, Debug)]
pub struct Local {
    pub user: String,
    pub uid: u32,
    /// `$HOME`, where `ssh` takes the one of the account: a run as another user with its own `HOME` is that user's.
    pub home: PathBuf,
    /// The host name, perhaps with a domain.
    pub host: String,
    pub environment: BTreeMap<String, String>,
    /// Where `ssh_config` of the whole system stands.
    pub system: PathBuf,
}

/// The columns of `passwd.5` that count here.
struct Account {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

impl Local {
    pub fn current() -> Local {
        let environment: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let uid = rustix::process::geteuid().as_raw();
        let account = accounts().into_iter().find(|account| account.uid == uid);
        let from_environment = || environment.get("USER").or_else(|| environment.get("LOGNAME")).cloned();
        let user = account.as_ref().map(|account| account.name.clone()).or_else(from_environment);
        let home = environment.get("HOME").cloned().or_else(|| account.map(|account| account.home));
        Local {
            user: user.unwrap_or_else(|| uid.to_string()),
            uid,
            home: home.unwrap_or_else(|| "/".into()).into(),
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            environment,
            system: "/etc/ssh".into(),
        }
    }

    /// Puts a home directory in place of a leading `~` or `~user`. `None`: there is no such user.
    pub fn with_home(&self, path: &str) -> Option<String> {
        let Some(rest) = path.strip_prefix('~') else { return Some(path.into()) };
        let (user, rest) = rest.split_once('/').unwrap_or((rest, ""));
        let home = match user {
            "" => self.home.to_string_lossy().into_owned(),
            user => accounts().into_iter().find(|account| account.name == user)?.home,
        };
        Some(format!("{}/{}", home.trim_end_matches('/'), rest.trim_start_matches('/')))
    }

    /// Tells whether nobody else could have written a file (`ssh_config.5`, FILES): it is the user's or root's, and
    /// only they may write it, or a group that has no other member.
    pub fn trusts(&self, metadata: &std::fs::Metadata) -> bool {
        let own = metadata.uid() == 0 || metadata.uid() == self.uid;
        let group = metadata.mode() & 0o020 == 0 || self.is_alone_in(metadata.gid());
        own && group && metadata.mode() & 0o002 == 0
    }

    fn is_alone_in(&self, gid: u32) -> bool {
        let others = accounts().into_iter().any(|account| account.gid == gid && account.uid != self.uid);
        let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
        let members = groups.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            (fields.get(2)?.parse() == Ok(gid)).then(|| fields.get(3).copied().unwrap_or(""))
        });
        let only_us = |members: &str| members.split(',').all(|name| name.trim().is_empty() || name == self.user);
        !others && members.is_some_and(only_us)
    }
}

/// Reads `/etc/passwd` alone: a static program cannot ask the directory services that libc knows.
fn accounts() -> Vec<Account> {
    let text = std::fs::read("/etc/passwd").unwrap_or_default();
    let account = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        let (name, home) = (fields.first()?.to_string(), fields.get(5)?.to_string());
        Some(Account { name, uid: fields.get(2)?.parse().ok()?, gid: fields.get(3)?.parse().ok()?, home })
    };
    String::from_utf8_lossy(&text).lines().filter_map(account).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tilde_is_a_home() {
        let local = Local { home: "/home/ann".into(), ..Local::current() };
        assert_eq!(local.with_home("~/.ssh/id").as_deref(), Some("/home/ann/.ssh/id"));
        assert_eq!(local.with_home("~").as_deref(), Some("/home/ann/"));
        assert_eq!(local.with_home("~//x").as_deref(), Some("/home/ann/x"));
        assert_eq!(local.with_home("~root/.ssh").as_deref(), Some("/root/.ssh"));
        assert_eq!(local.with_home("~no-such-user-here/x"), None);
        assert_eq!(local.with_home("a~b").as_deref(), Some("a~b"));
    }
}
