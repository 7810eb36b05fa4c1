//! `at`: a command that the host runs once, later.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;
use sha1::{Digest as _, Sha1};

use crate::change::{Back, Change};
use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::files::place::absolute;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Planned, Results, State};
use crate::transport::command::quote;
use crate::transport::node::hex;
use crate::transport::{Command, Links, Want};

pub const AT: Entry = Entry {
    name: "at",
    summary: "Has a command run once, later, by at(1), or takes it out of the queue",
    arguments: &[&[
        Argument::new("command", Kind::Text, "The command, for `sh`."),
        Argument::new("script_file", Kind::Path, "A file of the host with the commands, instead of `command`."),
        Argument::new("count", Kind::Int, "In how many `units` from now it runs."),
        Argument::new("units", Kind::Text, "What `count` counts.").choices(&["minutes", "hours", "days", "weeks"]),
        Argument::new(
            "state",
            Kind::Text,
            "Whether it waits in the queue; `absent` takes out all that are alike. The default is `present`.",
        )
        .choices(&["present", "absent"]),
        Argument::new(
            "unique",
            Kind::Bool,
            "It is put into the queue once; without this each time. The default is false.",
        ),
    ]],
    free_form: None,
    example: "\
- name: The old host's services end tonight
  at:
    command: /var/qmail/bin/qmail-end
    count: 8
    units: hours
    unique: true
",
    build,
};

#[derive(Deserialize)]
struct Fields {
    command: Option<String>,
    script_file: Option<String>,
    count: Option<u32>,
    units: Option<String>,
    #[serde(default)]
    state: State,
    #[serde(default)]
    unique: bool,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let fields: Fields = arguments.read()?;
    if fields.command.is_some() == fields.script_file.is_some() {
        return Err(Diagnostic::new("`at` needs one of `command` and `script_file`"));
    }
    if fields.command.as_deref().is_some_and(|command| command.trim().is_empty()) {
        return Err(Diagnostic::new("`command` of `at` is empty"));
    }
    if fields.state == State::Present && (fields.count.is_none() || fields.units.is_none()) {
        return Err(Diagnostic::new("`state: present` of `at` needs `count` and `units`"));
    }
    Ok(Box::new(fields))
}

/// Sets `jobs` to the numbers of those that end with exactly `$wanted`.
const JOBS: &str = r#"command -v at >/dev/null 2>&1 || { echo 'no at'; exit; }
export LC_ALL=C
jobs=
for job in $(atq | sed 's/[^0-9].*//'); do
  case $(at -c "$job") in *"
$wanted" | *"
$wanted
"*) jobs="$jobs $job" ;; esac
done
"#;

#[async_trait]
impl Module for Fields {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let text = self.text(host).await?;
        let script = |body: &str| format!("wanted={}\n{JOBS}{body}", quote(text.trim_end_matches('\n')));
        let (what, probe) =
            (format!("jobs of at: {}", short(&text)), Command::shell(script("set -- $jobs\necho $#\n")));
        let found = host.state(&what, &probe).await?;
        if found == "no at" {
            return Err(ModuleError::failed(format!("`{}` has no `at`", host.name)));
        }
        let there: u32 = found.parse().map_err(|_| ModuleError::failed(format!("the queue of at reads `{found}`")))?;
        let after = match self.state {
            State::Absent => 0,
            State::Present if self.unique && there > 0 => there,
            State::Present => there + 1,
        };
        let add = |when: &str| {
            let line = format!("export LC_ALL=C\nat {when}");
            Command { stdin: format!("{}\n", text.trim_end_matches('\n')).into_bytes(), ..Command::shell(line) }
        };
        let (by, back) = match self.state {
            State::Present => {
                let when = format!("now + {} {}", self.count.unwrap_or(0), self.units.as_deref().unwrap_or("minutes"));
                // The last one that came is the last number.
                let last =
                    script("last=$(for job in $jobs; do echo \"$job\"; done | sort -n | tail -n 1)\natrm \"$last\"\n");
                (add(&when), vec![Command::shell(last)])
            }
            State::Absent => {
                let times = host.probe(&Command::shell(script(TIMES))).await?.text();
                let again = times.lines().filter_map(time).map(|when| add(&format!("-t {when}"))).collect();
                (Command::shell(script("[ -z \"$jobs\" ] || atrm $jobs\n")), again)
            }
        };
        let change = Change::state(what, probe, (found, after.to_string()), vec![by]);
        let change = change.map(|change| change.taken_back(Back::By(back)));
        let mut result = Results::from_iter([("state".to_string(), json!(self.state.name()))]);
        if let (State::Present, Some(count), Some(units)) = (self.state, self.count, &self.units) {
            result.insert("count".into(), count.into());
            result.insert("units".into(), units.as_str().into());
        }
        for (name, value) in [("command", &self.command), ("script_file", &self.script_file)] {
            result.extend(value.iter().map(|value| (name.to_string(), json!(value))));
        }
        Ok(Planned::new(change.into_iter().collect(), result))
    }
}

/// Prints the queue's lines of the jobs.
const TIMES: &str =
    "atq | while read -r number rest; do case \" $jobs \" in *\" $number \"*) echo \"$rest\" ;; esac; done\n";

impl Fields {
    /// Returns what is to be run.
    async fn text(&self, host: &View) -> Result<String, ModuleError> {
        let Some(file) = &self.script_file else { return Ok(self.command.clone().unwrap_or_default()) };
        let path = absolute(host, file);
        let nodes = host.look_all(&[(path.clone(), Links::Follow)], Want::Content).await?;
        let bytes = nodes.first().and_then(|node| node.content()).and_then(|content| content.bytes());
        let text = bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        text.filter(|text| !text.trim().is_empty())
            .ok_or_else(|| ModuleError::failed(format!("`{path}` is no file with commands")))
    }
}

/// Returns the beginning of a command, to name it by.
fn short(text: &str) -> String {
    let line = text.trim().lines().next().unwrap_or_default();
    let sum = hex(&Sha1::digest(text.as_bytes()));
    match text.trim() == line && line.chars().count() <= 60 {
        true => line.into(),
        false => format!("{}… ({})", line.chars().take(60).collect::<String>(), &sum[..8]),
    }
}

/// Reads a time as atq(1) prints it, `Fri Nov 27 21:05:00 2026 a root`, and returns it for `at -t`.
fn time(line: &str) -> Option<String> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, month, day, clock, year, ..] = words.as_slice() else { return None };
    let month = MONTHS.iter().position(|name| name == month)? + 1;
    let (hour, rest) = clock.split_once(':')?;
    let (minute, _) = rest.split_once(':')?;
    let day: u32 = day.parse().ok()?;
    Some(format!("{year}{month:02}{day:02}{hour}{minute}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::files::bench::Bench;

    #[tokio::test]
    async fn a_job_is_put_into_the_queue_once_or_each_time() {
        let bench = Bench::new();
        let probe = format!("wanted=true\n{JOBS}set -- $jobs\necho $#\n");
        let task = |unique: bool| json!({"command": "true", "count": 20, "units": "minutes", "unique": unique});
        bench.host.on(&probe, 0, "1\n");
        assert!(bench.plan("at", task(true)).await.unwrap().changes.is_empty());
        let planned = bench.plan("at", task(false)).await.unwrap();
        let [Change::State(state)] = planned.changes.as_slice() else { panic!() };
        assert_eq!((state.before(), state.after(), &state.by()[0].stdin[..]), ("1", "2", &b"true\n"[..]));
        bench.host.on(&probe, 0, "no at\n");
        assert!(bench.fails("at", task(true)).await.contains("has no `at`"));
        for (task, says) in [
            (json!({"command": "true", "count": 1}), "needs `count` and `units`"),
            (json!({"count": 1, "units": "hours"}), "needs one of"),
        ] {
            assert!(bench.fails("at", task).await.contains(says));
        }
        assert_eq!(time("Fri Nov 27 21:05:00 2026 a root").as_deref(), Some("202611272105"));
        assert_eq!(time("Fri Nov  7 01:05:00 2026 a root").as_deref(), Some("202611070105"));
    }
}
