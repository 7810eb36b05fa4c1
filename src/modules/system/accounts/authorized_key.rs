//! `authorized_key`: the public keys that log a user in over SSH.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;

use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::files::edit::{Target, bare, end_line_before, lines_of};
use crate::modules::files::rights::Rights;
use crate::modules::net::web::body;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Outcome, Planned, Results, State};

use super::database::Database;

pub const AUTHORIZED_KEY: Entry = Entry {
    name: "authorized_key",
    summary: "Keeps public keys in a user's `authorized_keys`, with the owner and modes that sshd asks for",
    arguments: &[&[
        Argument::new("user", Kind::Text, "Whose keys they are.").required(),
        Argument::new(
            "key",
            Kind::Text,
            "The keys, a line each, as a `.pub` file has them; options may stand before the type. Or the URL of such lines, which \
             the host reads.",
        )
        .required(),
        Argument::new("path", Kind::Path, "The file; `.ssh/authorized_keys` in the user's home unless given."),
        Argument::new("state", Kind::Text, "Whether the keys are to be there. The default is `present`.")
            .choices(&["present", "absent"]),
        Argument::new(
            "key_options",
            Kind::Text,
            "The options of the keys, in place of their own: `no-pty,from=\"10.77.0.10\"`.",
        ),
        Argument::new("comment", Kind::Text, "The comment of the keys, in place of their own."),
        Argument::new("exclusive", Kind::Bool, "Take all other keys away. Comments and what is no key stay."),
        Argument::new(
            "manage_dir",
            Kind::Bool,
            "Make the directory of the file, with its owner and mode 0700. True unless it is set.",
        ),
        Argument::new("follow", Kind::Bool, "Follow a link in place of the file, which is always done here."),
        Argument::new("validate_certs", Kind::Bool, "`false` trusts any certificate of the server that an URL in `key` names."),
    ]],
    free_form: None,
    example: "\
- name: The new host may log in to the old one, from its own address only
  authorized_key:
    user: root
    key: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIzlnSq5ESxLgW0avvPk3j7zLV59hcAPkxrMNdnZMKP2 new.example.net
    key_options: from=\"10.77.0.20\"
",
    build,
};

#[derive(Deserialize)]
struct Given {
    user: String,
    key: String,
    path: Option<String>,
    #[serde(default)]
    state: State,
    key_options: Option<String>,
    comment: Option<String>,
    #[serde(default)]
    exclusive: bool,
    manage_dir: Option<bool>,
    validate_certs: Option<bool>,
}

struct AuthorizedKey {
    given: Given,
    /// `None`: they are read where `key` leads to.
    keys: Option<Vec<Key>>,
}

/// A line of the file (sshd(8), AUTHORIZED_KEYS FILE FORMAT).
#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    options: String,
    kind: String,
    /// Base64.
    key: String,
    comment: String,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    Ok(Box::new(AuthorizedKey::new(arguments.read()?)?))
}

impl AuthorizedKey {
    fn new(given: Given) -> Result<AuthorizedKey, Diagnostic> {
        let is_url = ["http://", "https://", "ftp://", "file://"].iter().any(|scheme| given.key.starts_with(scheme));
        let keys = (!is_url).then(|| given.keys(&given.key)).transpose()?;
        Ok(AuthorizedKey { given, keys })
    }
}

impl Given {
    /// Reads keys, each with what the task says of it.
    fn keys(&self, text: &str) -> Result<Vec<Key>, Diagnostic> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let mut keys: Vec<Key> = Vec::new();
        for line in lines {
            let Some(mut key) = Key::read(line) else {
                return Err(Diagnostic::new(format!("`{line}` is no public key"))
                    .hint("a line is `TYPE KEY COMMENT`, as in a `.pub` file")
                    .msg(format!("invalid key specified: {line}")));
            };
            key.options = self.key_options.clone().unwrap_or(key.options);
            key.comment = self.comment.clone().unwrap_or(key.comment);
            if !keys.iter().any(|known| known.key == key.key) {
                keys.push(key);
            }
        }
        match keys.is_empty() {
            true => Err(Diagnostic::new("`key` of `authorized_key` has no key")),
            false => Ok(keys),
        }
    }
}

#[async_trait]
impl Module for AuthorizedKey {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let database = Database::of(host).await?;
        let Some(user) = database.users.get(&self.given.user) else {
            return Err(ModuleError::failed(format!("Failed to lookup user {}: no such user", self.given.user)));
        };
        let read;
        let keys = match &self.keys {
            Some(keys) => keys,
            None if host.only_asks => return Ok(Planned::new(Vec::new(), Results::new())),
            None => {
                let lines = body(host, &self.given.key, self.given.validate_certs != Some(false)).await?;
                read = self.given.keys(&String::from_utf8_lossy(&lines))?;
                &read
            }
        };
        let home = format!("{}/.ssh/authorized_keys", user.home.trim_end_matches('/'));
        let target = Target::look(host, self.given.path.as_deref().unwrap_or(&home)).await?;
        let path = target.place.path.clone();
        let new = self.edited(keys, target.text.as_deref().unwrap_or_default());
        let theirs = |mode: &str| Rights::of((&self.given.user, &user.gid.to_string()), mode);
        let directory = (self.given.manage_dir != Some(false)).then(|| theirs("0700"));
        let mut planned = target.rewrite(host, new, (theirs("0600"), directory)).await?;
        if let Outcome::Known(results) = &mut planned.result {
            let Given { user, key, state, key_options, comment, exclusive, manage_dir, .. } = &self.given;
            let told = json!({
                "user": user, "key": key, "state": state.name(), "key_options": key_options, "comment": comment,
                "exclusive": exclusive, "manage_dir": manage_dir.unwrap_or(true), "path": self.given.path, "keyfile": path,
            });
            results.extend(told.as_object().cloned().unwrap_or_default());
        }
        Ok(planned)
    }
}

impl AuthorizedKey {
    /// Returns the file as it is to be: keys that are there stay where they are, new ones come last.
    fn edited(&self, keys: &[Key], text: &str) -> String {
        let mut lines = lines_of(text);
        let asked = |line: &String| {
            let found = Key::read(bare(line))?;
            Some((keys.iter().find(|key| key.key == found.key), found))
        };
        if self.given.state == State::Absent {
            lines.retain(|line| !matches!(asked(line), Some((Some(_), _))));
            return lines.concat();
        }
        if self.given.exclusive {
            lines.retain(|line| !matches!(asked(line), Some((None, _))));
        }
        let mut there: Vec<&str> = Vec::new();
        let kept = lines.iter().filter_map(|line| match asked(line) {
            // A key once is enough.
            Some((Some(key), _)) if there.contains(&key.key.as_str()) => None,
            Some((Some(key), found)) => {
                there.push(&key.key);
                // What nobody gave a comment keeps the one it has.
                let comment = if key.comment.is_empty() { found.comment.clone() } else { key.comment.clone() };
                let wanted = Key { comment, ..key.clone() };
                Some(if wanted == found { line.clone() } else { wanted.line() })
            }
            _ => Some(line.clone()),
        });
        let mut lines: Vec<String> = kept.collect();
        for key in keys.iter().filter(|key| !there.contains(&key.key.as_str())) {
            let end = lines.len();
            end_line_before(&mut lines, end);
            lines.push(key.line());
        }
        lines.concat()
    }
}

impl Key {
    fn read(line: &str) -> Option<Key> {
        let line = line.trim();
        let is_kind = |word: &str| ["ssh-", "ecdsa-", "sk-"].iter().any(|start| word.starts_with(start));
        let mut options = "";
        let mut rest = line;
        if !is_kind(word(line)) {
            options = word(line);
            rest = line[options.len()..].trim_start();
        }
        let kind = word(rest);
        let key = word(rest[kind.len()..].trim_start());
        let comment = rest[kind.len()..].trim_start()[key.len()..].trim();
        (is_kind(kind) && !key.is_empty() && !line.starts_with('#')).then(|| Key {
            options: options.into(),
            kind: kind.into(),
            key: key.into(),
            comment: comment.into(),
        })
    }

    fn line(&self) -> String {
        let words = [&self.options, &self.kind, &self.key, &self.comment];
        let words: Vec<&str> = words.into_iter().map(String::as_str).filter(|word| !word.is_empty()).collect();
        format!("{}\n", words.join(" "))
    }
}

/// Returns what comes before the first blank that is not in double quotes.
fn word(text: &str) -> &str {
    let mut quoted = false;
    let mut escaped = false;
    let end = text.char_indices().find(|(_, letter)| {
        let is_end = letter.is_whitespace() && !quoted;
        quoted ^= *letter == '"' && !escaped;
        escaped = *letter == '\\' && !escaped;
        is_end
    });
    end.map_or(text, |(at, _)| &text[..at])
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const OTHERS: &str = "# of the panel\ncommand=\"a \\\" b\",no-pty ssh-rsa AAAA old key\nno key\n";

    fn made(task: Value) -> Result<AuthorizedKey, Diagnostic> {
        let mut task = task.as_object().cloned().unwrap();
        task.insert("user".into(), "ann".into());
        AuthorizedKey::new(AUTHORIZED_KEY.arguments(task)?.read()?)
    }

    fn edited(task: Value, text: &str) -> String {
        let module = made(task).unwrap();
        let keys = module.keys.as_deref().unwrap();
        let once = module.edited(keys, text);
        assert_eq!(module.edited(keys, &once), once);
        once
    }

    #[test]
    fn a_key_comes_last_once_and_one_that_is_there_is_changed_where_it_stands() {
        let key = "ssh-ed25519 CCCC ann@here";
        let with = edited(json!({"key": key}), OTHERS.trim_end());
        assert_eq!(with, format!("{OTHERS}{key}\n"));
        let options = edited(json!({"key": "ssh-rsa AAAA", "key_options": "from=\"10.0.0.1\""}), &with);
        assert_eq!(options, format!("# of the panel\nfrom=\"10.0.0.1\" ssh-rsa AAAA old key\nno key\n{key}\n"));
        assert_eq!(
            edited(json!({"key": "ssh-rsa AAAA", "state": "absent"}), &with),
            format!("# of the panel\nno key\n{key}\n")
        );
        let only = edited(
            json!({"key": "ssh-dss DDDD\n\n# note\nssh-dss EEEE\nssh-dss DDDD", "exclusive": true, "comment": "c"}),
            &with,
        );
        assert_eq!(only, "# of the panel\nno key\nssh-dss DDDD c\nssh-dss EEEE c\n");
        assert_eq!(edited(json!({"key": key}), &format!("{key}\nno-pty {key}\n")), format!("{key}\n"));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for (key, says) in [("AAAA", "is no public key"), ("ssh-rsa", "is no public key"), ("# none", "has no key")] {
            let error = made(json!({"key": key})).err().unwrap().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
