//! `zone_file`: records in a zone's master file, its serial, and the server that reads it again.

use async_trait::async_trait;
use jiff::Zoned;
use serde::Deserialize;
use serde_json::{Value, json};

use super::asked::{self, Asked, Wanted, wanted};
use super::edit::{Serials, Set, bump, set};
use super::master::Master;
use crate::change::{Back, Change};
use crate::dns::{Rrset, absolute};
use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::files::edit::{Edited, Target};
use crate::modules::files::place::Writing;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Outcome, Planned};
use crate::transport::Command;
use crate::transport::command::quote;

pub const ENTRY: Entry = Entry {
    name: "zone_file",
    summary: "Sets or removes records in a zone's master file, raises its serial, and has the server load it",
    arguments: &[ARGUMENTS, asked::ARGUMENTS],
    free_form: None,
    example: "\
- name: What will be switched is kept for 15 minutes
  zone_file:
    zone: example.com
    path: /etc/bind/example.com
    ttl: 900
    records:
      - record: mail
      - record: \"@\"
        type: MX
",
    build,
};

const ARGUMENTS: &[Argument] = &[
    Argument::new("zone", Kind::Text, "The zone that the file is of.").required(),
    Argument::new("path", Kind::Path, "The master file on the host.").required(),
    Argument::new(
        "serial",
        Kind::Text,
        "How the serial is raised: `date` is `YYYYMMDDNN`, `counter` is one more, `auto` goes by the one that is there. \
         It never goes back (RFC 1982).",
    )
    .choices(&["auto", "date", "counter"]),
    Argument::new("reload", Kind::Bool, "Have the server load the zone, and look at the serial that it serves; `true`."),
    Argument::new("rndc", Kind::Text, "The command that controls the server, as a shell reads it; `rndc`."),
    Argument::new("validate", Kind::Text, "What has to accept the new file, `%s`; `named-checkzone ZONE %s`."),
    Argument::new("backup", Kind::Bool, "Keep the old file beside it."),
];

#[derive(Deserialize)]
struct Given {
    zone: String,
    path: String,
    serial: Option<String>,
    reload: Option<bool>,
    rndc: Option<String>,
    validate: Option<String>,
    #[serde(default)]
    backup: bool,
    #[serde(flatten)]
    records: asked::Given,
}

struct ZoneFile {
    /// Absolute.
    zone: String,
    path: String,
    serials: Serials,
    /// Nothing: the server is left alone.
    rndc: Option<String>,
    writing: Writing,
    asked: Vec<Asked>,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let given: Given = arguments.read()?;
    let zone = absolute(&given.zone, ".").map_err(Diagnostic::new)?;
    let check = format!("named-checkzone {} %s", quote(bare(&zone)));
    let writing =
        Writing { backup: given.backup, validate: Some(given.validate.unwrap_or(check)), ..Writing::default() };
    writing.check()?;
    let serials = match given.serial.as_deref() {
        Some("date") => Serials::Date,
        Some("counter") => Serials::Counter,
        _ => Serials::Auto,
    };
    let rndc = given.reload.unwrap_or(true).then(|| given.rndc.unwrap_or_else(|| "rndc".into()));
    let asked = given.records.asked("zone_file")?;
    wanted(&asked, &zone)?;
    Ok(Box::new(ZoneFile { zone, path: given.path, serials, rndc, writing, asked }))
}

/// Servers' tools name a zone without its dot.
fn bare(zone: &str) -> &str {
    if zone == "." { zone } else { zone.trim_end_matches('.') }
}

#[async_trait]
impl Module for ZoneFile {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let target = Target::look(host, &self.path).await?;
        let path = target.place.path.clone();
        let failed = |why: String| ModuleError::failed(format!("`{path}`: {why}"));
        let text = target.text.clone().ok_or_else(|| failed("there is no such file".into()))?;
        let master = Master::read(&text, &self.zone).map_err(failed)?;
        let wanted = wanted(&self.asked, &self.zone)?;
        let before: Vec<Rrset> = wanted.iter().map(|one| found(&master, one)).collect();
        let surprises: Vec<String> = wanted.iter().zip(&before).filter_map(|(one, set)| one.surprise(set)).collect();
        if !surprises.is_empty() {
            return Err(failed(format!("its records are not those expected: {}", surprises.join("; "))));
        }
        let sets = wanted.iter().map(|one| Set {
            name: one.name.clone(),
            kind: one.kind.clone(),
            values: one.values.clone(),
            ttl: one.ttl,
        });
        let sets: Vec<Set> = sets.collect();
        let (_, serial) = master.serial().map_err(failed)?;
        let (edited, after) = match set(&text, &self.zone, &sets).map_err(failed)? {
            same if same == text => (same, serial),
            edited => {
                let (edited, _, after) = bump(&edited, &self.zone, (self.serials, today())).map_err(failed)?;
                (edited, after)
            }
        };
        let message = if after == serial { String::new() } else { format!("serial {serial} -> {after}") };
        let mut planned = target.plan(host, Edited { text: edited, message }, &self.writing).await?;
        if let Some(rndc) = &self.rndc {
            planned.changes.extend(self.load(host, rndc, (serial, after)).await?);
        }
        if let Outcome::Known(results) = &mut planned.result {
            let changed = before.iter().zip(&wanted).filter(|(set, one)| one.differs(set));
            let longest = changed.map(|(set, _)| set.ttl).max().unwrap_or(0);
            results.extend([
                ("zone".to_string(), json!(self.zone)),
                ("serial".to_string(), json!(after)),
                ("serial_before".to_string(), json!(serial)),
                ("ttl_before".to_string(), json!(longest)),
                (
                    "records".to_string(),
                    before
                        .iter()
                        .map(|set| {
                            json!({
                                "record": set.name, "type": set.kind, "value_before": set.values, "ttl_before": set.ttl,
                            })
                        })
                        .collect::<Vec<Value>>()
                        .into(),
                ),
            ]);
        }
        Ok(planned)
    }
}

/// Returns the records of a file that a task is about.
fn found(master: &Master, wanted: &Wanted) -> Rrset {
    let entries: Vec<_> = master.of(&wanted.name, &wanted.kind).map(|(_, entry)| entry).collect();
    let mut values: Vec<String> = entries.iter().filter_map(|entry| entry.value()).collect();
    values.sort();
    let ttl = entries.iter().filter_map(|entry| entry.ttl).max().unwrap_or(0);
    Rrset { values, ttl, ..Rrset::absent(&wanted.name, &wanted.kind) }
}

/// As `YYYYMMDD`, by this machine's clock and zone.
fn today() -> u32 {
    let now = Zoned::now();
    now.year().unsigned_abs() as u32 * 10_000
        + now.month().unsigned_abs() as u32 * 100
        + now.day().unsigned_abs() as u32
}

/// Prints the serial that the server has loaded; `dynamic` and `frozen` behind it where it takes updates.
const PROBE: &str = r#"status=$($rndc zonestatus "$zone" 2>&1) || { printf 'unknown: %s\n' "$status"; exit; }
field() { printf '%s\n' "$status" | sed -n "s/^$1: //p"; }
case $(field dynamic)$(field frozen) in *yesno) dynamic=', dynamic' ;; *yesyes) dynamic=', frozen' ;; *) dynamic= ;; esac
printf '%s%s\n' "$(field serial)" "$dynamic""#;

/// Has the server load the file, and waits until it serves the file's serial: `rndc reload` says that all is well even if
/// the file cannot be read.
const LOAD: &str = r#"want=$(named-checkzone "$zone" "$file" 2>/dev/null | sed -n 's/.*loaded serial //p')
want=${want%% *}
case $($rndc zonestatus "$zone") in
  *'dynamic: yes'*'frozen: no'*) $rndc freeze "$zone" && $rndc thaw "$zone" ;;
  *'dynamic: yes'*) $rndc thaw "$zone" ;;
  *) $rndc reload "$zone" ;;
esac || exit
served() { $rndc zonestatus "$zone" | sed -n 's/^serial: //p'; }
n=0
until [ "$(served)" = "$want" ]; do
  # A file with an old time, as an undo brings it back, is taken for loaded.
  [ $n -ne 5 ] || { touch "$file" && $rndc reload "$zone" >/dev/null; }
  n=$((n + 1))
  [ $n -lt 20 ] || { echo "the server does not serve serial $want; its log says why" >&2; exit 1; }
  sleep 0.2 2>/dev/null || sleep 1
done"#;

impl ZoneFile {
    fn script(&self, rndc: &str, body: &str) -> Command {
        let words = [("zone", bare(&self.zone)), ("file", &self.path), ("rndc", rndc)];
        let words: String = words.iter().map(|(name, value)| format!("{name}={}\n", quote(value))).collect();
        Command::shell(format!("{words}{body}"))
    }

    /// Returns the change of the serial that is served, where it is not the file's.
    async fn load(&self, host: &View, rndc: &str, (file, after): (u32, u32)) -> Result<Option<Change>, ModuleError> {
        let (what, probe) = (format!("zone {} serial", bare(&self.zone)), self.script(rndc, PROBE));
        let served = host.state(&what, &probe).await?;
        let (number, more) = served.split_once(", ").map_or((served.as_str(), ""), |(number, more)| (number, more));
        let Ok(number) = number.parse::<u32>() else {
            let hint = "with `reload: false` the server is left alone";
            return Err(ModuleError::failed(format!("the server does not tell its serial: {served}\nhint: {hint}")));
        };
        if !more.is_empty() && number != file {
            // What was updated is not in the file yet: the edit would be of an older zone.
            let hint = format!("`rndc sync {0}` writes them, and `nsupdate` needs no file", bare(&self.zone));
            let message = format!(
                "`{}` has updates that its file has not: it serves serial {number}, the file has {file}",
                self.zone
            );
            return Err(ModuleError::failed(format!("{message}\nhint: {hint}")));
        }
        let tail = if more.is_empty() { String::new() } else { ", dynamic".into() };
        let by = vec![self.script(rndc, LOAD)];
        let change = Change::state(what, probe, (served.clone(), format!("{after}{tail}")), by);
        Ok(change.map(|change| change.taken_back(Back::Again)))
    }
}
