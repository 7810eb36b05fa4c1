//! `apt_key`: a key that apt takes signatures of archives from, in a keyring of its own or in the common one.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;

use crate::change::Change;
use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::files::place::{Place, Writing, absolute, bytes_of, make_directories, parent};
use crate::modules::files::rights::Rights;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Planned, Results, State};
use crate::transport::{Content, Links, Node, Want};

use super::openpgp::{Certificate, certificates, is_armored};

pub const APT_KEY: Entry = Entry {
    name: "apt_key",
    summary: "Keeps a key that apt trusts in a keyring; newer archives name theirs (`deb822_repository`)",
    arguments: &[&[
        Argument::new("id", Kind::Text, "The key's identifier: 8 or 16 hexadecimal digits, or its fingerprint."),
        Argument::new("data", Kind::Text, "The key itself, armored."),
        Argument::new("file", Kind::Path, "A file of the host with the key."),
        Argument::new(
            "keyring",
            Kind::Path,
            "The keyring. Without one the key is looked for in all of apt's, and a new one goes to `/etc/apt/trusted.gpg`.",
        ),
        Argument::new("state", Kind::Text, "Whether it is trusted. The default is `present`.")
            .choices(&["present", "absent"]),
        Argument::new("validate_certs", Kind::Bool, "Nothing is fetched here; without effect."),
        Argument::new("url", Kind::Text, "").refused("fetch it with `get_url`, and name it in `file`"),
        Argument::new("keyserver", Kind::Text, "").refused("put the key beside the playbook, and give it in `data`"),
    ]],
    free_form: None,
    example: EXAMPLE,
    build,
};

const EXAMPLE: &str = concat!(
    "- name: The archive's key is known\n  apt_key:\n    keyring: /etc/apt/trusted.gpg.d/archive.gpg\n    data: |\n",
    include_str!("archive_key.txt")
);

#[derive(Deserialize)]
struct Fields {
    id: Option<String>,
    data: Option<String>,
    file: Option<String>,
    keyring: Option<String>,
    #[serde(default)]
    state: State,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let mut fields: Fields = arguments.read()?;
    if let Some(id) = &fields.id {
        let digits = id.replace(' ', "").to_uppercase();
        let digits = digits.strip_prefix("0X").unwrap_or(&digits).to_string();
        if ![8, 16, 40].contains(&digits.len()) || !digits.chars().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(Diagnostic::new(format!("`{id}` identifies no key"))
                .hint("8 or 16 hexadecimal digits, or the 40 of a fingerprint"));
        }
        fields.id = Some(digits);
    }
    let gives = fields.data.is_some() || fields.file.is_some();
    match (fields.state, &fields.id, gives) {
        _ if fields.data.is_some() && fields.file.is_some() => {
            Err(Diagnostic::new("`data` and `file` cannot both be given"))
        }
        (State::Absent, None, _) => Err(Diagnostic::new("`state: absent` of `apt_key` needs `id`")),
        (State::Present, _, false) => Err(Diagnostic::new("`state: present` of `apt_key` needs `data` or `file`")),
        _ => Ok(Box::new(fields)),
    }
}

/// Where apt looks for keys (apt-secure(8)).
const COMMON: &str = "/etc/apt/trusted.gpg";
const PARTS: &str = "/etc/apt/trusted.gpg.d";

/// A file with keys.
struct Keyring {
    place: Place,
    bytes: Vec<u8>,
    keys: Vec<Certificate>,
}

#[async_trait]
impl Module for Fields {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let mut keyrings = Vec::new();
        for path in self.paths(host).await? {
            keyrings.push(Keyring::look(host, &path).await?);
        }
        let before: Vec<String> = keyrings.iter().flat_map(|keyring| &keyring.keys).map(short).collect();
        let mut changes = Vec::new();
        let (id, after) = match self.state {
            State::Absent => {
                let id = self.id.clone().unwrap_or_default();
                let asked = id.clone();
                let stays = |key: &&Certificate| !key.fingerprint().ends_with(&asked);
                for keyring in &keyrings {
                    changes.extend(keyring.without(host, stays).await?);
                }
                let all = keyrings.iter().flat_map(|keyring| &keyring.keys);
                (id, all.filter(stays).map(short).collect::<Vec<_>>())
            }
            State::Present => {
                let (given, keys) = self.given(host).await?;
                let primary = keys.first().map(|key| key.fingerprint().to_string()).unwrap_or_default();
                let id = self.id.clone().unwrap_or(primary);
                if !keys.iter().any(|key| key.is_called(&id)) {
                    return Err(ModuleError::failed(format!("the key `{id}` is not in what was given")));
                }
                let is_there = keyrings.iter().flat_map(|keyring| &keyring.keys).any(|key| key.is_called(&id));
                let mut after = before.clone();
                if !is_there {
                    after.extend(keys.iter().map(short));
                    changes.extend(self.added(host, keyrings, (&given, &keys)).await?);
                }
                (id, after)
            }
        };
        let fingerprint = self.id.clone().filter(|id| id.len() == 40).unwrap_or_else(|| id.clone());
        let tail = |count: usize| id[id.len().saturating_sub(count)..].to_string();
        let result = json!({
            "id": id, "key_id": tail(16), "short_id": tail(8), "fp": fingerprint, "before": before, "after": after,
        });
        Ok(Planned::new(changes, result.as_object().cloned().unwrap_or_else(Results::new)))
    }
}

fn short(key: &Certificate) -> String {
    let fingerprint = key.fingerprint();
    fingerprint[fingerprint.len().saturating_sub(8)..].to_string()
}

impl Fields {
    /// Returns where the key is looked for; a new one goes to the first.
    async fn paths(&self, host: &View) -> Result<Vec<String>, ModuleError> {
        if let Some(keyring) = &self.keyring {
            return Ok(vec![absolute(host, keyring)]);
        }
        let parts = host.list(PARTS, Some(1)).await?;
        let parts = parts.into_iter().map(|entry| entry.path);
        let parts = parts.filter(|path| path.ends_with(".gpg") || path.ends_with(".asc"));
        Ok([COMMON.to_string()].into_iter().chain(parts).collect())
    }

    /// Returns what is to be trusted, as it was given and its keys.
    async fn given(&self, host: &View) -> Result<(Vec<u8>, Vec<Certificate>), ModuleError> {
        let (bytes, name) = match (&self.data, &self.file) {
            (Some(data), _) => (data.clone().into_bytes(), "data".to_string()),
            (None, file) => {
                let place = Place::look(host, file.as_deref().unwrap_or(""), Links::Follow, Want::Content).await?;
                let Some(content) = place.node.content() else {
                    return Err(ModuleError::failed(format!("no file `{}` on `{}`", place.path, host.name)));
                };
                (bytes_of(host, &place.path, content).await?, place.path.clone())
            }
        };
        let keys = certificates(&bytes).map_err(|why| ModuleError::failed(format!("`{name}` holds no key: {why}")))?;
        match keys.is_empty() {
            true => Err(ModuleError::failed(format!("`{name}` holds no key"))),
            false => Ok((bytes, keys)),
        }
    }

    async fn added(
        &self,
        host: &View,
        keyrings: Vec<Keyring>,
        (given, keys): (&[u8], &[Certificate]),
    ) -> Result<Vec<Change>, ModuleError> {
        let Some(mut keyring) = keyrings.into_iter().next() else { return Ok(Vec::new()) };
        let mut bytes = keyring.bytes.clone();
        // A keyring whose name says that it is armored holds what was given.
        if keyring.place.path.ends_with(".asc") {
            if !is_armored(given) {
                let message = format!("`{}` is to be armored, and the key is not", keyring.place.path);
                return Err(ModuleError::failed(format!("{message}\nhint: name it `.gpg`")));
            }
            bytes.extend_from_slice(given);
        } else {
            keys.iter().for_each(|key| bytes.extend_from_slice(&key.bytes));
        }
        let mut changes = Vec::new();
        if keyring.place.parent == Node::Absent {
            let above = parent(&keyring.place.path).to_string();
            (changes, keyring.place.parent) = make_directories(host, &above, &Rights::default()).await?;
        }
        changes.extend(keyring.write(host, bytes).await?);
        Ok(changes)
    }
}

impl Keyring {
    async fn look(host: &View, path: &str) -> Result<Keyring, ModuleError> {
        let place = Place::look(host, path, Links::Follow, Want::Content).await?;
        let bytes = match place.node.content() {
            Some(content) => bytes_of(host, &place.path, content).await?,
            None => Vec::new(),
        };
        let keys = certificates(&bytes)
            .map_err(|why| ModuleError::failed(format!("the keyring `{}` cannot be read: {why}", place.path)))?;
        Ok(Keyring { place, bytes, keys })
    }

    async fn write(&self, host: &View, bytes: Vec<u8>) -> Result<Vec<Change>, ModuleError> {
        let new = matches!(self.place.node, Node::Absent);
        let rights = Rights::default().with_mode(new.then(|| "0644".into()));
        let writing = Writing { rights, ..Writing::default() };
        Ok(self.place.write(host, Content::here(bytes), &writing).await?.0)
    }

    /// Returns the change that leaves these keys; without any the file goes.
    async fn without(&self, host: &View, stays: impl Fn(&&Certificate) -> bool) -> Result<Vec<Change>, ModuleError> {
        let left: Vec<&Certificate> = self.keys.iter().filter(|key| stays(key)).collect();
        if left.len() == self.keys.len() {
            return Ok(Vec::new());
        }
        if left.is_empty() {
            return Ok(self.place.change(Node::Absent).into_iter().collect());
        }
        if is_armored(&self.bytes) {
            let message = format!("`{}` is armored and holds other keys, too", self.place.path);
            return Err(ModuleError::failed(format!("{message}\nhint: write it anew with `copy`")));
        }
        self.write(host, left.iter().flat_map(|key| key.bytes.iter().copied()).collect()).await
    }
}

#[cfg(test)]
mod tests {
    use super::super::openpgp::tests::{FINGERPRINT, KEY};
    use super::*;
    use crate::modules::files::bench::Bench;

    #[tokio::test]
    async fn a_key_is_added_once_found_in_all_keyrings_and_removed() {
        let bench = Bench::new();
        bench.host.dir("/etc/apt/trusted.gpg.d", 0o755);
        let told = bench.twice("apt_key", json!({"data": KEY})).await;
        assert_eq!((&told["id"], &told["short_id"]), (&json!(FINGERPRINT), &json!(FINGERPRINT[32..])));
        assert!(bench.exists("/etc/apt/trusted.gpg"));
        let own = json!({"data": KEY, "keyring": "/etc/apt/trusted.gpg.d/own.asc"});
        bench.twice("apt_key", own).await;
        assert_eq!(bench.host.read("/etc/apt/trusted.gpg.d/own.asc").unwrap(), KEY);
        bench.twice("apt_key", json!({"id": &FINGERPRINT[24..], "state": "absent"})).await;
        assert!(!bench.exists("/etc/apt/trusted.gpg") && !bench.exists("/etc/apt/trusted.gpg.d/own.asc"));
        for (task, says) in [
            (json!({"data": KEY, "id": "DEADBEEF"}), "is not in what was given"),
            (json!({"data": "none"}), "holds no key"),
            (json!({"state": "absent"}), "needs `id`"),
            (json!({"id": "x", "state": "absent"}), "identifies no key"),
            (json!({"file": "/etc/none"}), "no file `/etc/none`"),
        ] {
            let error = bench.fails("apt_key", task).await;
            assert!(error.contains(says), "{error}");
        }
    }
}
