//! `named_zone`: zone statements in a file of BIND's configuration, and the server that reads it.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;

use super::named_conf::{Conf, listed, stated, without};
use crate::change::{Back, Change};
use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::files::edit::{Edited, Target};
use crate::modules::files::place::Writing;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Outcome, Planned};
use crate::transport::Command;
use crate::transport::command::quote;

pub const ENTRY: Entry = Entry {
    name: "named_zone",
    summary: "Sets zone statements in BIND's configuration, or adds to their lists, and has the server read it",
    arguments: &[ARGUMENTS],
    free_form: None,
    example: "\
- name: The new name server may transfer the zone, and hears of its changes
  named_zone:
    path: /etc/bind/named.conf.local
    config: /etc/bind/named.conf
    zones: example.com
    add:
      allow-transfer: 10.77.0.20
      also-notify: 10.77.0.20
",
    build,
};

const ARGUMENTS: &[Argument] = &[
    Argument::new("path", Kind::Path, "The file that the zone statements stand in.").required(),
    Argument::new("zones", Kind::List, "The zones.").required(),
    Argument::new(
        "statement",
        Kind::Text,
        "All that stands between the braces of each; `{zone}` is its name. A missing statement is made.",
    ),
    Argument::new(
        "add",
        Kind::Any,
        "What is to be among the elements of lists, by their names: `also-notify`. Of a list that only `options` has, a copy is made.",
    ),
    Argument::new("state", Kind::Text, "Whether there are statements; `absent` takes them out.")
        .choices(&["present", "absent"]),
    Argument::new("demote", Kind::Bool, "Lets a zone of which this server is the primary become something else."),
    Argument::new("config", Kind::Path, "The server's whole configuration; `/etc/bind/named.conf` unless given."),
    Argument::new("rndc", Kind::Text, "The command that controls the server, as a shell reads it; `rndc`."),
    Argument::new("reload", Kind::Bool, "Have the server read its configuration; `true`."),
    Argument::new("backup", Kind::Bool, "Keep the old file beside it."),
];

#[derive(Deserialize)]
struct Given {
    path: String,
    zones: Vec<String>,
    statement: Option<String>,
    #[serde(default)]
    add: BTreeMap<String, String>,
    state: Option<String>,
    #[serde(default)]
    demote: bool,
    config: Option<String>,
    rndc: Option<String>,
    reload: Option<bool>,
    #[serde(default)]
    backup: bool,
}

struct NamedZone {
    given: Given,
    config: String,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let given: Given = arguments.read()?;
    let letter = |letter: char| letter.is_ascii_alphanumeric() || "-_./".contains(letter);
    if let Some(wrong) = given.zones.iter().find(|zone| zone.is_empty() || !zone.chars().all(letter)) {
        return Err(Diagnostic::new(format!("`{wrong}` is no zone")));
    }
    let asked = [given.statement.is_some(), !given.add.is_empty(), given.state.as_deref() == Some("absent")];
    if asked.iter().filter(|one| **one).count() != 1 {
        return Err(Diagnostic::new("`named_zone` needs one of `statement`, `add` and `state: absent`"));
    }
    if let Some((name, value)) = given.add.iter().find(|(_, value)| value.contains([';', '{', '}', '"', '\n'])) {
        return Err(Diagnostic::new(format!("`{name}: {value}` is no element of a list")));
    }
    let config = given.config.clone().unwrap_or_else(|| "/etc/bind/named.conf".into());
    Ok(Box::new(NamedZone { given, config }))
}

#[async_trait]
impl Module for NamedZone {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let target = Target::look(host, &self.given.path).await?;
        let path = target.place.path.clone();
        let failed = |why: String| ModuleError::failed(format!("`{path}`: {why}"));
        let text = target.text.clone().unwrap_or_default();
        let whole = match self.given.add.is_empty() {
            true => String::new(),
            false => self.whole(host).await?,
        };
        let edited = self.edited(&text, &whole).map_err(failed)?;
        let changes = edited != text;
        let writing = Writing { backup: self.given.backup, ..Writing::default() };
        let mut planned = match changes {
            true => target.plan(host, Edited { text: edited, message: String::new() }, &writing).await?,
            false => Planned::new(Vec::new(), [("path".to_string(), json!(path))].into_iter().collect()),
        };
        // A file that is neither there nor made has nothing to be read.
        if self.given.reload.unwrap_or(true) && (changes || !text.is_empty()) {
            planned.changes.extend(self.read(host, &path, changes).await?);
        }
        if let Outcome::Known(results) = &mut planned.result {
            results.insert("zones".into(), json!(self.given.zones));
        }
        Ok(planned)
    }
}

/// Prints the version, and then the whole configuration with what it includes.
const WHOLE: &str = "PATH=$PATH:/usr/sbin:/usr/local/sbin\n{ named -v || echo; } && named-checkconf -p \"$config\"";

/// Says whether the server has read the file as it is. Both times count whole seconds; of one second it is taken for unread.
const PROBE: &str = r#"PATH=$PATH:/usr/sbin:/usr/local/sbin
told=$($rndc status 2>&1) || { printf 'unknown: %s\n' "$told"; exit; }
changed=$(stat -c %Y "$file" 2>/dev/null || stat -f %m "$file" 2>/dev/null || echo 0)
printf '%s\n' "$told" | awk -v changed="$changed" -v unread="$unread" -v fresh="$fresh" '
sub(/^last configured: [A-Za-z]*, /, "") {
  split($0, part, /[ :]/); d = part[1]; y = part[3]
  m = (index("JanFebMarAprMayJunJulAugSepOctNovDec", part[2]) + 2) / 3
  if (m <= 2) { y--; m += 12 }
  days = 365 * y + int(y / 4) - int(y / 100) + int(y / 400) + int((153 * (m - 3) + 2) / 5) + d - 719469
  read = 86400 * days + 3600 * part[4] + 60 * part[5] + part[6]
}
END { print (read > changed || !changed) ? fresh : unread }'"#;

const READ: &str = r#"PATH=$PATH:/usr/sbin:/usr/local/sbin
named-checkconf "$config" >&2 || exit
changed=$(stat -c %Y "$file" 2>/dev/null || stat -f %m "$file" 2>/dev/null || echo 0)
while [ "$(date +%s)" -le "$changed" ]; do sleep 1; done
$rndc reconfig || exit
# A secondary that finds a file of an earlier time serves that until its next refresh.
tries=0
for zone in $zones; do
  until $rndc zonestatus "$zone" >/dev/null 2>&1 || [ $tries -ge 10 ]; do tries=$((tries + 1)); sleep 1; done
  $rndc refresh "$zone" >/dev/null 2>&1 || :
done"#;

const STATES: [&str; 2] = ["changed since named read it", "as named has read it"];

impl NamedZone {
    fn edited(&self, text: &str, whole: &str) -> Result<String, String> {
        let mut edited = text.to_string();
        for zone in &self.given.zones {
            let zone = zone.trim_end_matches('.');
            let is_primary = Conf::read(&edited)?.kind(zone)?.as_deref() == Some("primary");
            let stays = |statement: &str| statement.contains("type primary") || statement.contains("type master");
            if is_primary
                && !self.given.demote
                && self.given.add.is_empty()
                && !self.given.statement.as_deref().is_some_and(stays)
            {
                return Err(format!(
                    "this server is the primary of `{zone}`\nhint: `demote: true` makes it something else"
                ));
            }
            edited = match &self.given.statement {
                Some(body) => stated(&edited, zone, &body.replace("{zone}", zone))?,
                None if self.given.add.is_empty() => without(&edited, zone)?,
                None => edited,
            };
            for (name, element) in &self.given.add {
                let conf = Conf::read(whole)?;
                let inherited = conf.option(name);
                // Where nobody says who may transfer zones, all may, until BIND 9.20: a list would shut others out.
                let own = inherited.is_some() || Conf::read(&edited)?.has_list(zone, name)?;
                if name == "allow-transfer" && !own && before_9_20(whole) {
                    continue;
                }
                edited = listed(&edited, zone, (name, element), &inherited.unwrap_or_default())?;
            }
        }
        Ok(edited)
    }

    fn script(&self, path: &str, body: &str) -> Command {
        let rndc = self.given.rndc.as_deref().unwrap_or("rndc");
        let [unread, fresh] = STATES;
        let words =
            [("config", self.config.as_str()), ("file", path), ("rndc", rndc), ("unread", unread), ("fresh", fresh)];
        let words: String = words.iter().map(|(name, value)| format!("{name}={}\n", quote(value))).collect();
        Command::shell(format!("{words}{body}"))
    }

    async fn whole(&self, host: &View) -> Result<String, ModuleError> {
        let printed = host.probe(&self.script("", WHOLE)).await?;
        if printed.success() {
            // The version stands in a comment, for the reader of the configuration.
            return Ok(format!("# {}", printed.text()));
        }
        let said = format!("{}{}", printed.error_text(), printed.text().lines().skip(1).collect::<Vec<_>>().join("\n"));
        let said = said.lines().next().unwrap_or("nothing was said").to_string();
        let hint = "`config` is the server's whole configuration";
        Err(ModuleError::failed(format!("`{}` cannot be read: {said}\nhint: {hint}", self.config)))
    }

    /// Returns the change by which the server reads the file.
    async fn read(&self, host: &View, path: &str, edited: bool) -> Result<Option<Change>, ModuleError> {
        let probe = self.script(path, PROBE);
        let what = format!("named's `{path}`");
        let found = host.state(&what, &probe).await?;
        if found.starts_with("unknown") {
            let hint = "with `reload: false` the server is left alone";
            return Err(ModuleError::failed(format!(
                "named does not tell when it was configured: {found}\nhint: {hint}"
            )));
        }
        let before = if edited { STATES[0].into() } else { found };
        let zones = if self.given.statement.is_some() { self.given.zones.join(" ") } else { String::new() };
        let by = vec![self.script(path, &format!("zones={}\n{READ}", quote(&zones)))];
        let change = Change::state(what, probe, (before, STATES[1].into()), by);
        Ok(change.map(|change| change.taken_back(Back::Again)))
    }
}

/// Reads `# BIND 9.18.28-... (Extended Support Version)`.
fn before_9_20(whole: &str) -> bool {
    let version = whole.lines().next().and_then(|line| line.split("BIND 9.").nth(1));
    let minor =
        version.and_then(|rest| rest.split(|letter: char| !letter.is_ascii_digit()).next()?.parse::<u32>().ok());
    minor.is_none_or(|minor| minor < 20)
}
