//! `known_hosts`: the keys that a user of the host knows other hosts by.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;
use sha1::{Digest as _, Sha1};

use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::files::edit::{Target, bare, end_line_before, lines_of};
use crate::modules::files::rights::Rights;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Outcome, Planned, State};
use crate::transport::ssh::{Names, hashed};

pub const KNOWN_HOSTS: Entry = Entry {
    name: "known_hosts",
    summary: "Keeps the keys that other hosts are known by, in a `known_hosts` file",
    arguments: &[&[
        Argument::new(
            "name",
            Kind::Text,
            "The other host, as it stands in the file: `mail.example.com`, `[mail]:2222`.",
        )
        .required()
        .alias(&["host"]),
        Argument::new(
            "key",
            Kind::Text,
            "Its key as a line of the file: the name, the type, the key; with `@cert-authority` or `@revoked` before. Several \
             lines are several keys. Without one, `state: absent` removes all.",
        ),
        Argument::new("path", Kind::Path, "The file; `~/.ssh/known_hosts` unless given."),
        Argument::new("hash_host", Kind::Bool, "The name stands in it hashed (`HashKnownHosts` of ssh_config(5))."),
        Argument::new("state", Kind::Text, "Whether it is to be known. The default is `present`.")
            .choices(&["present", "absent"]),
    ]],
    free_form: None,
    example: "\
- name: The old host is known to who copies from it
  known_hosts:
    path: /var/qmail/known_hosts
    name: old.example.com
    key: old.example.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIzlnSq5ESxLgW0avvPk3j7zLV59hcAPkxrMNdnZMKP2
",
    build,
};

#[derive(Deserialize)]
struct Fields {
    name: String,
    key: Option<String>,
    path: Option<String>,
    #[serde(default)]
    hash_host: bool,
    #[serde(default)]
    state: State,
}

struct KnownHosts {
    name: String,
    /// As it was written.
    key: Option<String>,
    keys: Vec<Key>,
    path: String,
    hashed: bool,
    state: State,
}

/// A line of the file (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT).
#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    marker: Option<String>,
    names: String,
    kind: String,
    key: String,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let fields: Fields = arguments.read()?;
    if fields.key.is_some() && fields.name.contains(',') {
        let error = Diagnostic::new(format!("`name: {}` of `known_hosts` are several names", fields.name));
        return Err(error.msg(
            "Comma separated list of names is not supported. Please pass a single name to lookup in the known_hosts file.",
        ));
    }
    let text = fields.key.as_deref().unwrap_or("");
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut keys = Vec::new();
    for line in lines {
        let Some(key) = Key::read(line) else {
            return Err(Diagnostic::new(format!("`{line}` is no line of a `known_hosts` file"))
                .hint("it begins with the host's name, and the type and the key follow"));
        };
        if !key.is_of(&fields.name) {
            return Err(Diagnostic::new(format!("the key is one of `{}`, not of `{}`", key.names, fields.name))
                .hint("`key` begins with what `name` says")
                .msg("Host parameter does not match hashed host field in supplied key"));
        }
        keys.push(key);
    }
    if fields.state == State::Present && keys.is_empty() {
        let error = Diagnostic::new("`state: present` of `known_hosts` needs `key`");
        return Err(error.msg("No key specified when adding a host"));
    }
    let path = fields.path.unwrap_or_else(|| "~/.ssh/known_hosts".into());
    Ok(Box::new(KnownHosts {
        name: fields.name,
        key: fields.key,
        keys,
        path,
        hashed: fields.hash_host,
        state: fields.state,
    }))
}

#[async_trait]
impl Module for KnownHosts {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let target = Target::look(host, &self.path).await?;
        let old = target.text.clone().unwrap_or_default();
        let new = self.edited(&old);
        let (path, is_there) = (target.place.path.clone(), target.text.is_some());
        let with = |mode: &str| Rights::default().with_mode(Some(mode.into()));
        let mut planned = target.rewrite(host, new.clone(), (with("0600"), Some(with("0700")))).await?;
        if let Outcome::Known(results) = &mut planned.result {
            results.insert("name".into(), self.name.as_str().into());
            let before = if is_there { path.as_str() } else { "/dev/null" };
            let diff = json!({"before_header": before, "after_header": path, "before": old, "after": new});
            results.insert("diff".into(), diff);
            results.insert("path".into(), path.into());
            results.insert("key".into(), json!(self.key));
            results.insert("state".into(), self.state.name().into());
            results.insert("hash_host".into(), self.hashed.into());
        }
        Ok(planned)
    }
}

impl KnownHosts {
    /// Returns the file as it is to be: other lines stay where they are, a key of the same kind goes, and a new one is last.
    fn edited(&self, text: &str) -> String {
        let mut lines = lines_of(text);
        if self.state == State::Absent {
            let goes = |key: &Key| self.keys.is_empty() || self.keys.iter().any(|asked| asked.same_key(key));
            return self.without(lines, goes).concat();
        }
        for asked in &self.keys {
            let stands = |line: &String| {
                let found = Key::read(bare(line));
                found.is_some_and(|key| key.is_of(&self.name) && key.same_key(asked) && key.is_hashed() == self.hashed)
            };
            if lines.iter().any(stands) {
                continue;
            }
            // A host has one key of a kind, and any number that are marked.
            let replaced = |key: &Key| match (&asked.marker, &key.marker) {
                (None, None) => key.kind == asked.kind,
                _ => key.same_key(asked),
            };
            lines = self.without(lines, replaced);
            let end = lines.len();
            end_line_before(&mut lines, end);
            let names = if self.hashed {
                hashed(&self.name.to_lowercase(), &salt(&self.name, &asked.key))
            } else {
                asked.names.clone()
            };
            lines.push(format!("{}\n", Key { names, ..asked.clone() }.text()));
        }
        lines.concat()
    }

    /// Takes this host's name out of the lines that are meant; a line without a name goes.
    fn without(&self, lines: Vec<String>, meant: impl Fn(&Key) -> bool) -> Vec<String> {
        let left = |line: String| match Key::read(bare(&line)) {
            Some(key) if key.is_of(&self.name) && meant(&key) => {
                let others: Vec<&str> = key.names.split(',').filter(|name| !is_name(name, &self.name)).collect();
                (!others.is_empty()).then(|| line.replacen(&key.names, &others.join(","), 1))
            }
            _ => Some(line),
        };
        lines.into_iter().filter_map(left).collect()
    }
}

impl Key {
    fn read(line: &str) -> Option<Key> {
        let mut words = line.split_whitespace().peekable();
        let marker = words.next_if(|word| word.starts_with('@')).map(str::to_string);
        let [names, kind, key] = [words.next()?, words.next()?, words.next()?].map(str::to_string);
        (!names.starts_with('#')).then_some(Key { marker, names, kind, key })
    }

    fn text(&self) -> String {
        let marker = self.marker.as_ref().map(|marker| format!("{marker} ")).unwrap_or_default();
        format!("{marker}{} {} {}", self.names, self.kind, self.key)
    }

    fn same_key(&self, other: &Key) -> bool {
        (&self.marker, &self.kind, &self.key) == (&other.marker, &other.kind, &other.key)
    }

    fn is_of(&self, host: &str) -> bool {
        self.names.split(',').any(|name| is_name(name, host))
    }

    fn is_hashed(&self) -> bool {
        self.names.starts_with("|1|")
    }
}

/// Says whether a name of a line, plain or hashed, is the host's.
fn is_name(name: &str, host: &str) -> bool {
    Names(name).has(&host.to_lowercase())
}

/// Returns the salt of a name: not a die's, so that a check writes what the run does.
fn salt(host: &str, key: &str) -> [u8; 20] {
    Sha1::digest(format!("known_hosts\0{host}\0{key}")).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::files::bench::Bench;
    use crate::modules::system::bench::Here;
    use crate::transport::Command;

    const OTHERS: &str = "a.example,b.example ssh-rsa AAAA\n# note\n@cert-authority *.example ssh-ed25519 CCCC\n";

    #[tokio::test]
    async fn a_key_comes_last_once_and_the_same_kind_is_replaced() {
        let bench = Bench::new();
        bench.host.file("/etc/k", OTHERS.trim_end(), 0o644);
        let task = |key: &str| json!({"name": "c.example", "key": key, "path": "/etc/k"});
        let read = || bench.host.read("/etc/k").unwrap();
        bench.twice("known_hosts", task("c.example ssh-rsa DDDD\n")).await;
        assert_eq!(read(), format!("{OTHERS}c.example ssh-rsa DDDD\n"));
        bench.twice("known_hosts", task("c.example ssh-ed25519 EEEE")).await;
        bench.twice("known_hosts", task("c.example ssh-rsa FFFF")).await;
        assert_eq!(read(), format!("{OTHERS}c.example ssh-ed25519 EEEE\nc.example ssh-rsa FFFF\n"));
        let absent = json!({"name": "c.example", "state": "absent", "path": "/etc/k"});
        let (before, results) = (read(), bench.twice("known_hosts", absent).await);
        let diff = json!({"before_header": "/etc/k", "after_header": "/etc/k", "before": before, "after": OTHERS});
        assert_eq!(results["diff"], diff);
        assert_eq!(read(), OTHERS);
        let one = json!({"name": "A.example", "key": "a.example ssh-rsa AAAA", "state": "absent", "path": "/etc/k"});
        bench.twice("known_hosts", one).await;
        assert_eq!(read(), OTHERS.replacen("a.example,", "", 1));
        let ca = "@cert-authority *.example ssh-ed25519 DDDD";
        bench.twice("known_hosts", json!({"name": "*.example", "key": ca, "path": "/etc/k"})).await;
        assert!(read().contains("CCCC\n") && read().ends_with("DDDD\n"));
        bench.twice("known_hosts", json!({"name": "*.example", "key": ca, "state": "absent", "path": "/etc/k"})).await;
        let ca = "@cert-authority *.example ssh-ed25519 CCCC";
        let ca = json!({"name": "*.example", "key": ca, "state": "absent", "path": "/etc/k"});
        bench.twice("known_hosts", ca).await;
        assert_eq!(read(), "b.example ssh-rsa AAAA\n# note\n");
    }

    #[tokio::test]
    async fn a_hashed_name_is_found_by_ssh_keygen_and_by_us() {
        let bench = Bench::new();
        let mut task = json!({"name": "c.example", "key": "c.example ssh-rsa AAAA", "hash_host": true});
        bench.twice("known_hosts", task.clone()).await;
        let text = bench.host.read("/root/.ssh/known_hosts").unwrap();
        assert_eq!([bench.mode("/root/.ssh"), bench.mode("/root/.ssh/known_hosts")], [0o700, 0o600]);
        assert!(text.starts_with("|1|") && text.ends_with(" ssh-rsa AAAA\n"), "{text}");
        // A real key, for what is read has to be one.
        let key = "AAAAC3NzaC1lZDI1NTE5AAAAIIzlnSq5ESxLgW0avvPk3j7zLV59hcAPkxrMNdnZMKP2";
        let here = Here::new().await;
        let file = here.write("known", &text.replace("ssh-rsa AAAA", &format!("ssh-ed25519 {key}")), 0o600);
        let keygen = Command::argv(["ssh-keygen", "-F", "c.example", "-f", &file]);
        assert!(here.transport.probe(&keygen).await.unwrap().success());
        task["hash_host"] = false.into();
        bench.twice("known_hosts", task).await;
        assert_eq!(bench.host.read("/root/.ssh/known_hosts").unwrap(), "c.example ssh-rsa AAAA\n");
    }

    #[tokio::test]
    async fn a_key_of_another_host_or_none_is_refused() {
        let bench = Bench::new();
        for (task, says) in [
            (json!({"name": "a", "key": "b ssh-rsa AAAA"}), "not of `a`"),
            (json!({"name": "a", "key": "ssh-rsa AAAA"}), "is no line of"),
            (json!({"name": "a"}), "needs `key`"),
            (json!({"name": "a,b", "key": "a,b ssh-rsa AAAA"}), "are several names"),
        ] {
            let error = bench.fails("known_hosts", task).await;
            assert!(error.contains(says), "{error}");
        }
        bench.twice("known_hosts", json!({"name": "a", "state": "absent"})).await;
        assert!(!bench.exists("/root/.ssh"));
    }
}
