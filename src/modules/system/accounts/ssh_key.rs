//! `generate_ssh_key` of `user`: a key pair of the user's own, made on the host by its ssh-keygen(1).

use serde::Deserialize;
use serde_json::json;

use crate::change::{Back, Change};
use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::files::place::{absolute, bytes_of, join, parent};
use crate::modules::{Argument, Kind as Type, ModuleError, Results};
use crate::transport::command::quote;
use crate::transport::{Command, Links, Node, Permissions, Want};

use super::account::Account;

pub const ARGUMENTS: &[Argument] = &[
    Argument::new(
        "generate_ssh_key",
        Type::Bool,
        "An SSH key of the user's own is made on the host, where there is none; with `force` in place of the one there is, which no undo brings back.",
    ),
    Argument::new("ssh_key_type", Type::Text, "The key's type, as `ssh-keygen -t` has it. The default is `rsa`."),
    Argument::new("ssh_key_bits", Type::Int, "Its length. The default is that of the host's ssh-keygen."),
    Argument::new(
        "ssh_key_file",
        Type::Path,
        "Its file, below the home unless it is absolute. The default is `.ssh/id_TYPE`.",
    ),
    Argument::new("ssh_key_comment", Type::Text, "Its comment. The default is `ansible-generated on HOSTNAME`."),
    Argument::new("ssh_key_passphrase", Type::Text, "What the private key is encrypted with; it is not unless given."),
];

#[derive(Debug, Default, Deserialize)]
pub struct SshKey {
    #[serde(default, rename = "generate_ssh_key")]
    generate: bool,
    #[serde(rename = "ssh_key_type")]
    kind: Option<String>,
    #[serde(rename = "ssh_key_bits")]
    bits: Option<i64>,
    #[serde(rename = "ssh_key_file")]
    file: Option<String>,
    #[serde(rename = "ssh_key_comment")]
    comment: Option<String>,
    #[serde(rename = "ssh_key_passphrase")]
    passphrase: Option<String>,
}

/// Prints what is at `$key`: ssh-keygen would ask whether that may be overwritten.
const PROBE: &str = r#"for file in "$key" "$key.pub"; do
  if [ -e "$file" ] || [ -h "$file" ]; then echo there; exit; fi
done
if command -v ssh-keygen >/dev/null; then echo absent; else echo 'no ssh-keygen'; fi
"#;

/// Makes the pair in a directory that is root's alone and puts it where it belongs, through no link of the user's.
const MAKE: &str = r#"umask 077
made=$(mktemp -d "${key%/*}/.cutover.XXXXXX") || exit
trap 'rm -rf "$made"' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
[ -n "$comment" ] || comment="ansible-generated on $(uname -n)"
generate -q -t "$type" $bits -C "$comment" -f "$made/key" >&2 || exit
chmod 644 "$made/key.pub" && chown "$owner" "$made/key" "$made/key.pub" || exit
mv -f "$made/key.pub" "$key.pub" && mv -f "$made/key" "$key" || exit
"#;

const OPEN: &str = "generate() { ssh-keygen -N '' \"$@\" </dev/null; }\n";

/// Without a terminal ssh-keygen has the passphrase, and has it once more, from a program whose standard input is its own: the
/// program takes a line of that each time. It is text of no secret, and nobody else's to write.
const SEALED: &str = r#"generate() {
  # Another `printf` than the shell's own would have the passphrase among its arguments.
  [ "$(command -v printf)" = printf ] || { echo 'the shell has no printf of its own' >&2; return 1; }
  printf '%s\n' '#!/bin/sh' 'IFS= read -r line && printf "%s\n" "$line"' >"$made/ask" && chmod 700 "$made/ask" || return
  DISPLAY=${DISPLAY:-none} SSH_ASKPASS=$made/ask SSH_ASKPASS_REQUIRE=force ssh-keygen "$@"
}
"#;

/// Prints the fingerprint in a line, and the public key behind it.
const TELL: &str = "ssh-keygen -l -f \"$key\" || exit\ncat \"$key.pub\"\n";

/// Whose key it is, and what the task has planned of the home before it.
pub struct Owner<'a> {
    pub account: &'a Account,
    /// Of the directory that the key is in.
    pub permissions: Permissions,
    /// The home that becomes the account's, where another one is moved there.
    pub moved: Option<&'a str>,
}

impl SshKey {
    /// Says what is wrong with the arguments before any host is asked.
    pub fn check(&self) -> Result<(), Diagnostic> {
        let kind = self.kind();
        if kind.is_empty() || kind.starts_with('-') || !kind.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
            return Err(Diagnostic::new(format!("`ssh_key_type: {kind}` is no type of a key"))
                .hint("`rsa`, `ecdsa` or `ed25519`"));
        }
        if self.passphrase.as_ref().is_some_and(|text| text.contains(['\n', '\0']) || (1..5).contains(&text.len())) {
            return Err(Diagnostic::new("`ssh_key_passphrase` has to be one line of at least five characters"));
        }
        Ok(())
    }

    fn kind(&self) -> &str {
        self.kind.as_deref().unwrap_or("rsa")
    }

    /// Returns where the key is of a user with this home.
    fn path(&self, host: &View, home: &str) -> String {
        match &self.file {
            Some(file) if file.starts_with(['~', '$']) => absolute(host, file),
            Some(file) => join(home, file),
            None => join(home, &format!(".ssh/id_{}", self.kind())),
        }
    }

    /// Returns the changes that make the key behind those that are `planned`, and what is told of the key: nothing where only
    /// a run can tell that.
    pub async fn planned(
        &self,
        host: &View,
        owner: &Owner<'_>,
        planned: &[Change],
        force: bool,
    ) -> Result<(Vec<Change>, Option<Results>), ModuleError> {
        if !self.generate {
            return Ok((Vec::new(), Some(Results::new())));
        }
        let path = self.path(host, &owner.account.home);
        // A home that is moved has its key with it.
        let now = owner.moved.map_or_else(|| path.clone(), |home| self.path(host, home));
        let probe = Command::shell(script(&path, PROBE));
        let what = format!("SSH key {path}");
        let found = match now == path {
            true => host.state(&what, &probe).await?,
            false => host.probe(&Command::shell(script(&now, PROBE))).await?.text().trim_end().to_string(),
        };
        if found == "no ssh-keygen" {
            return Err(match host.plans_ahead() {
                true => ModuleError::Unknown("the programs that are there by then".into()),
                false => ModuleError::failed(format!("`{}` has no `ssh-keygen`", host.name)),
            });
        }
        let mut changes = Vec::new();
        if found != "absent" && !force {
            return Ok((changes, Some(self.told(host, (&path, &now)).await?)));
        }
        if found != "absent" && now != path {
            return Err(ModuleError::failed(format!("`{now}` is moved, and is not made anew by the same task")));
        }
        let files = vec![path.clone(), format!("{path}.pub")];
        let remove = Command::argv(["rm", "-f", "--"].into_iter().chain(files.iter().map(String::as_str)));
        if found != "absent" {
            // No journal gets a private key: nothing brings this one back.
            changes.extend(Change::state(what.clone(), probe.clone(), (found, "absent".into()), vec![remove.clone()]));
        }
        changes.extend(directory(host, (parent(&path), owner), planned).await?);
        let Account { uid, gid, .. } = owner.account;
        let bits = self.bits.filter(|bits| *bits > 0).map(|bits| format!("-b {bits}")).unwrap_or_default();
        let secret = self.passphrase.as_deref().filter(|text| !text.is_empty());
        let given = format!(
            "type={} bits={} comment={} owner={uid}:{gid}\n{}",
            quote(self.kind()),
            quote(&bits),
            quote(self.comment.as_deref().unwrap_or("")),
            if secret.is_some() { SEALED } else { OPEN }
        );
        let mut make = Command::shell(script(&path, &format!("{given}{MAKE}{TELL}")));
        make.stdin = secret.map(|text| format!("{text}\n{text}\n").into_bytes()).unwrap_or_default();
        let change = Change::state(what, probe, ("absent".into(), "there".into()), vec![make]);
        let change = change.map(|change| change.taken_back(Back::By(vec![remove])).with_paths(files));
        changes.extend(change.map(|change| if secret.is_some() { change.with_secret_commands() } else { change }));
        Ok((changes, None))
    }

    /// Returns what is told of a key that is there, or is moved to `path`.
    async fn told(&self, host: &View, (path, now): (&str, &str)) -> Result<Results, ModuleError> {
        let public = [(format!("{now}.pub"), Links::Follow)];
        let tell = Command::argv(["ssh-keygen", "-l", "-f", now]);
        let (nodes, said) = futures::future::join(host.look_all(&public, Want::Content), host.probe(&tell)).await;
        let public = match nodes?.first().and_then(Node::content) {
            Some(content) => {
                json!(String::from_utf8_lossy(&bytes_of(host, &public[0].0, content).await?).trim())
            }
            None => json!(null),
        };
        Ok(results(path, said?.text().trim(), public))
    }

    /// Reads what the command printed that has made the key, if one is asked for.
    pub fn made(&self, host: &View, home: &str) -> impl Fn(&str) -> Results + Send + Sync + use<> {
        let path = self.path(host, home);
        move |text| {
            let (fingerprint, public) = text.split_once('\n').unwrap_or((text, ""));
            results(&path, fingerprint, json!(public.trim()))
        }
    }
}

fn script(key: &str, body: &str) -> String {
    format!("key={}\n{body}", quote(key))
}

fn results(path: &str, fingerprint: &str, public: serde_json::Value) -> Results {
    let fields = [("ssh_key_file", json!(path)), ("ssh_fingerprint", json!(fingerprint)), ("ssh_public_key", public)];
    fields.map(|(name, value)| (name.to_string(), value)).into_iter().collect()
}

/// Returns the change that makes the directory of the key, if it is neither there nor planned.
async fn directory(
    host: &View,
    (path, owner): (&str, &Owner<'_>),
    planned: &[Change],
) -> Result<Option<Change>, ModuleError> {
    let is_planned = |path: &str| {
        let made = |change: &&Change| matches!(change, Change::Path { change, .. } if change.path() == path);
        planned.iter().rev().find(made).is_some()
    };
    let asked = [path, parent(path)].map(|path| (path.to_string(), Links::Follow));
    let nodes = host.look_all(&asked, Want::Attributes).await?;
    let is_there = |node: Option<&Node>| node.is_some_and(Node::is_directory);
    if is_there(nodes.first()) || is_planned(path) {
        return Ok(None);
    }
    if !is_there(nodes.get(1)) && !is_planned(parent(path)) {
        return Err(ModuleError::failed(format!(
            "Failed to create {path}: `{}` is no directory\nhint: `create_home: true` makes a home that is not there",
            parent(path)
        )));
    }
    let permissions = Permissions { mode: 0o700, ..owner.permissions.clone() };
    Ok(Change::path(path, Node::Absent, Node::Directory { permissions, modified: None }))
}
