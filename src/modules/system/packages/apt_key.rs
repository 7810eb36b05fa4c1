//! `apt_key`: a key that apt takes signatures of archives from, in a keyring of its own or in the common one.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;

use crate::change::Change;
use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::files::place::{Place, Writing, absolute, bytes_of, make_directories, parent};
use crate::modules::files::rights::Rights;
use crate::modules::net::web::body;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Planned, Results, State};
use crate::transport::{Content, Links, Node, Want};

use super::openpgp::{Certificate, certificates, is_armored, on_keyserver};

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
        Argument::new("url", Kind::Text, "Where the host reads the key, if it has not one that `id` names."),
        Argument::new(
            "keyserver",
            Kind::Text,
            "The server of keys that the host asks for the key that `id` names (HKP).",
        ),
        Argument::new(
            "validate_certs",
            Kind::Bool,
            "`false` trusts any certificate of the server that the key is read from.",
        ),
    ]],
    free_form: None,
    example: EXAMPLE,
    build,
};

const EXAMPLE: &str = concat!(
    "- name: The archive's key is known\n  apt_key:\n    keyring: /etc/apt/trusted.gpg.d/archive.gpg\n    data: |\n",
    include_str!("archive_key.txt")
);

#[derive(Default, Deserialize)]
pub struct Key {
    id: Option<String>,
    data: Option<String>,
    file: Option<String>,
    url: Option<String>,
    keyserver: Option<String>,
    validate_certs: Option<bool>,
    keyring: Option<String>,
    #[serde(default)]
    state: State,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let mut fields: Key = arguments.read()?;
    if let Some(id) = &fields.id {
        let digits = id.replace(' ', "").to_uppercase();
        let digits = digits.strip_prefix("0X").unwrap_or(&digits).to_string();
        if ![8, 16, 40].contains(&digits.len()) || !digits.chars().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(Diagnostic::new(format!("`{id}` identifies no key"))
                .hint("8 or 16 hexadecimal digits, or the 40 of a fingerprint"));
        }
        fields.id = Some(digits);
    }
    let given = [&fields.data, &fields.file, &fields.url, &fields.keyserver].into_iter().flatten().count();
    match (fields.state, &fields.id, given) {
        (_, _, 2..) => Err(Diagnostic::new("of `data`, `file`, `url` and `keyserver` one can be given")
            .msg("parameters are mutually exclusive: data|file|keyserver|url")),
        (State::Absent, None, _) => Err(Diagnostic::new("`state: absent` of `apt_key` needs `id`")),
        (State::Present, _, 0) => {
            Err(Diagnostic::new("`state: present` of `apt_key` needs `data`, `file`, `url` or `keyserver`"))
        }
        (State::Present, None, _) if fields.keyserver.is_some() => {
            Err(Diagnostic::new("`keyserver` of `apt_key` needs `id`"))
        }
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
impl Module for Key {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let mut keyrings = Vec::new();
        for path in self.paths(host).await? {
            keyrings.push(Keyring::look(host, &path).await?);
        }
        let before: Vec<String> = keyrings.iter().flat_map(|keyring| &keyring.keys).map(short).collect();
        let mut changes = Vec::new();
        let is_known = |id: &str| keyrings.iter().flat_map(|keyring| &keyring.keys).any(|key| key.is_called(id));
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
            // What is trusted already is not fetched again.
            State::Present if self.is_fetched() && (host.only_asks || self.id.as_deref().is_some_and(is_known)) => {
                (self.id.clone().unwrap_or_default(), before.clone())
            }
            State::Present => {
                let (given, keys) = self.given(host).await?;
                let primary = keys.first().map(|key| key.fingerprint().to_string()).unwrap_or_default();
                let id = self.id.clone().unwrap_or(primary);
                if !keys.iter().any(|key| key.is_called(&id)) {
                    return Err(ModuleError::failed(format!("the key `{id}` is not in what was given")));
                }
                let mut after = before.clone();
                if !is_known(&id) {
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

impl Key {
    /// A key that a server of keys has by this fingerprint, in a keyring of its own.
    pub fn of_server((server, fingerprint): (&str, &str), keyring: String) -> Key {
        let (id, keyserver, keyring) = (Some(fingerprint.into()), Some(server.into()), Some(keyring));
        Key { id, keyserver, keyring, ..Key::default() }
    }

    fn is_fetched(&self) -> bool {
        self.url.is_some() || self.keyserver.is_some()
    }

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
        let id = self.id.as_deref().unwrap_or_default();
        let url = self.keyserver.as_ref().map(|server| on_keyserver(server, id)).or_else(|| self.url.clone());
        let (bytes, name) = match (&self.data, url, &self.file) {
            (Some(data), ..) => (data.clone().into_bytes(), "data".to_string()),
            (None, Some(url), _) => (body(host, &url, self.validate_certs != Some(false)).await?, url),
            (None, None, file) => {
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
            (json!({"keyserver": "keys.example"}), "needs `id`"),
            (json!({"url": "http://a/b", "file": "/b"}), "one can be given"),
            (json!({"id": "x", "state": "absent"}), "identifies no key"),
            (json!({"file": "/etc/none"}), "no file `/etc/none`"),
        ] {
            let error = bench.fails("apt_key", task).await;
            assert!(error.contains(says), "{error}");
        }
    }
}
