//! `mail_token`: the test messages with a token that have arrived in Maildirs, found, and taken away again.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;

use crate::change::Change;
use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Planned, Results};
use crate::transport::{Command, Links, Node, Want};

pub const ENTRY: Entry = Entry {
    name: "mail_token",
    summary: "Finds test messages by their token in Maildirs, and takes exactly these away",
    arguments: &[ARGUMENTS],
    free_form: None,
    example: "- name: The test messages are not left behind\n  mail_token:\n    token: move-2026-11-26\n    maildirs: /var/qmail/mailnames/example.com/ann/Maildir\n    state: absent\n",
    build,
};

const ARGUMENTS: &[Argument] = &[
    Argument::new(
        "token",
        Kind::Text,
        "The value of their header `X-Cutover-Token`: 8 or more letters, digits, `.`, `-` and `_`.",
    )
    .required(),
    Argument::new("maildirs", Kind::List, "The Maildirs to look into, with all folders.").required(),
    Argument::new(
        "state",
        Kind::Text,
        "`found`, the default, tells where they are; `absent` takes them away, wherever they are.",
    )
    .choices(&["found", "absent"]),
    Argument::new(
        "bounces",
        Kind::Bool,
        "With `state: absent`, take away bounces of the message, too: those that have its header in their body.",
    ),
    Argument::new("minutes", Kind::Int, "How old they are at most, by the time of the file. The default is 1440."),
];

#[derive(Deserialize)]
struct Given {
    token: String,
    maildirs: Vec<String>,
    #[serde(default)]
    state: State,
    #[serde(default)]
    bounces: bool,
    minutes: Option<u32>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    #[default]
    Found,
    Absent,
}

struct MailToken {
    given: Given,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let mut given: Given = arguments.read()?;
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    if given.token.len() < 8 || !given.token.bytes().all(letter) {
        return Err(Diagnostic::new(format!("{:?} is no token for `mail_token`", given.token))
            .hint("8 or more letters, digits, `.`, `-` and `_`: less would be in other people's mail, too"));
    }
    for path in &mut given.maildirs {
        *path = path.trim_end_matches('/').into();
        if !path.starts_with('/') || path.contains('\n') {
            return Err(Diagnostic::new(format!("`mail_token` needs absolute paths, not {path:?}")));
        }
    }
    Ok(Box::new(MailToken { given }))
}

/// Prints `+MAILDIR<tab>FILE<tab>RECEIVED<tab>DELIVERED` for a message with the token in its header, with the numbers of these
/// two headers, and `-MAILDIR<tab>FILE` where it is only in the body: a bounce of it. Small and young files alone are read: a test message is both.
const LOOK: &str = r#"while IFS= read -r maildir; do
  for folder in "$maildir" "$maildir"/.[!.]*; do
    [ -d "$folder/new" ] || [ -d "$folder/cur" ] || continue
    find "$folder/new" "$folder/cur" -type f -mmin "-$2" -size -200 -exec grep -lF -e "X-Cutover-Token: $1" {} + 2>/dev/null
  done | while IFS= read -r file; do
    has() { tr -d '\r' | grep -qxF -e "X-Cutover-Token: $1"; }
    if sed '/^.\{0,1\}$/q' <"$file" | has "$1"; then mark=+; elif has "$1" <"$file"; then mark=-; else continue; fi
    count() { sed '/^.\{0,1\}$/q' <"$file" | grep -ci "^$1:"; }
    printf '%s%s\t%s\t%s\t%s\n' "$mark" "$maildir" "$file" "$(count Received)" "$(count Delivered-To)"
  done
done"#;

#[async_trait]
impl Module for MailToken {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let Given { token, maildirs, state, bounces: with_bounces, minutes } = &self.given;
        let minutes = minutes.unwrap_or(1440).to_string();
        let mut look = Command::argv(["/bin/sh", "-c", LOOK, "sh", token, &minutes]);
        look.stdin = maildirs.iter().map(|path| format!("{path}\n")).collect::<String>().into();
        let printed = host.probe(&look).await?.text();
        let mut found: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let (mut bounces, mut hops) = (Vec::new(), BTreeMap::new());
        for line in printed.lines() {
            let fields: Vec<&str> = line.get(1..).unwrap_or_default().split('\t').collect();
            let [maildir, file, received, delivered] = fields[..] else { continue };
            if !line.starts_with('+') {
                bounces.push(file);
                continue;
            }
            found.entry(maildir).or_default().push(file);
            let number = |text: &str| text.parse::<u32>().unwrap_or(0);
            let most = hops.entry(maildir).or_insert((0, 0));
            *most = (most.0.max(number(received)), most.1.max(number(delivered)));
        }
        let missing: Vec<&String> = maildirs.iter().filter(|path| !found.contains_key(path.as_str())).collect();
        let mut changes = Vec::new();
        match state {
            State::Found if host.plans_ahead() && !missing.is_empty() => {
                let why = format!("the changes before it: nothing with `{token}` is in `{}` yet", missing[0]);
                return Err(ModuleError::Unknown(why.into()));
            }
            State::Found => {}
            State::Absent => {
                let bounces = bounces.iter().filter(|_| *with_bounces);
                let paths: Vec<_> =
                    found.values().flatten().chain(bounces).map(|file| (file.to_string(), Links::Keep)).collect();
                let nodes = host.look_all(&paths, Want::Content).await?;
                let gone = paths.into_iter().zip(nodes);
                changes.extend(gone.filter_map(|((path, _), node)| Change::path(path, node, Node::Absent)));
            }
        }
        let mut results = Results::new();
        results.insert("found".into(), json!(found));
        results.insert("missing".into(), json!(missing));
        results.insert("bounces".into(), json!(bounces));
        let hops: BTreeMap<&str, _> = hops
            .into_iter()
            .map(|(at, (received, delivered))| (at, json!({"received": received, "delivered_to": delivered})))
            .collect();
        results.insert("hops".into(), json!(hops));
        Ok(Planned::new(changes, results))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::files::bench::results;
    use crate::modules::system::bench::Here;

    #[tokio::test]
    async fn a_message_is_known_by_its_header_in_any_folder_and_only_it_is_taken_away() {
        let here = Here::new().await;
        for (name, text) in [
            (
                "ann/Maildir/new/1.a",
                "Received: x\nreceived: y\nDelivered-To: z\nSubject: test\nX-Cutover-Token: move-1234\n\nReceived: n\n",
            ),
            ("ann/Maildir/.Work here/cur/2.a:2,S", "X-Cutover-Token: move-1234\r\nSubject: test\r\n\r\nhello\r\n"),
            ("ann/Maildir/new/3.a", "Subject: failure notice\n\n--- Below is a copy:\nX-Cutover-Token: move-1234\n"),
            ("ann/Maildir/new/4.a", "Subject: other\nX-Cutover-Token: move-12345\n\nhello\n"),
            ("bob/Maildir/cur/5.a:2,", "Subject: of his own\n\nmove-1234\n"),
        ] {
            here.write(name, text, 0o600);
        }
        let maildirs = [here.path("ann/Maildir"), here.path("bob/Maildir")];
        let task = |state: &str| json!({"token": "move-1234", "maildirs": maildirs, "state": state});
        let found = results(here.plan("mail_token", task("found")).await.unwrap());
        assert_eq!(found["found"][&maildirs[0]].as_array().unwrap().len(), 2, "{found:?}");
        assert_eq!(found["missing"], json!([maildirs[1]]));
        assert_eq!(found["bounces"], json!([here.path("ann/Maildir/new/3.a")]));
        assert_eq!(found["hops"][&maildirs[0]], json!({"received": 2, "delivered_to": 1}));
        assert_eq!(here.twice("mail_token", task("absent")).await, 2);
        let left = |name: &str| std::path::Path::new(&here.path(name)).exists();
        assert!(!left("ann/Maildir/new/1.a") && !left("ann/Maildir/.Work here/cur/2.a:2,S"));
        assert!(left("ann/Maildir/new/3.a") && left("ann/Maildir/new/4.a") && left("bob/Maildir/cur/5.a:2,"));
        let mut with = task("absent");
        with["bounces"] = true.into();
        assert_eq!(here.twice("mail_token", with).await, 1);
        assert!(!left("ann/Maildir/new/3.a") && left("ann/Maildir/new/4.a"));
        let short = here.plan("mail_token", json!({"token": "a", "maildirs": maildirs})).await.err().unwrap();
        assert!(short.to_string().contains("is no token"), "{short}");
    }
}
