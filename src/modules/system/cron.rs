//! `cron`: a job or a variable in a user's crontab, or in a file of `/etc/cron.d`.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;

use crate::change::{Back, Change};
use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::files::edit::{Edited, Target, bare, end_line_before, lines_of};
use crate::modules::files::place::{Writing, base_name};
use crate::modules::files::rights::Rights;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Outcome, Planned, Results, State};
use crate::transport::command::quote;
use crate::transport::{Command, Node};

pub const CRON: Entry = Entry {
    name: "cron",
    summary: "Keeps a job or a variable in a crontab",
    arguments: &[ARGUMENTS],
    free_form: None,
    example: "\
- name: late mail is collected every night
  cron:
    name: late mail
    cron_file: /etc/cron.d/cutover
    user: root
    minute: \"10\"
    hour: \"3\"
    job: cutover play -i /etc/cutover/hosts /etc/cutover/move-domain.yml
",
    build,
};

const ARGUMENTS: &[Argument] = &[
    Argument::new("name", Kind::Text, "What the job is found by: a comment above it. With `env`, the variable's name."),
    Argument::new("job", Kind::Text, "The command, or with `env` the variable's value.").alias(&["value"]),
    Argument::new("state", Kind::Text, "Whether it is to be there; without `name`, whether `cron_file` is.")
        .choices(&["present", "absent"]),
    Argument::new("user", Kind::Text, "Whose crontab; in a `cron_file`, who runs the job (`root`)."),
    Argument::new("cron_file", Kind::Path, "A file with a column for the user; a bare name is one in `/etc/cron.d`."),
    Argument::new("minute", Kind::Text, "0-59, `*`, `*/5`, `1,31`, ..."),
    Argument::new("hour", Kind::Text, "0-23 and so on."),
    Argument::new("day", Kind::Text, "Day of the month: 1-31 and so on.").alias(&["dom"]),
    Argument::new("month", Kind::Text, "1-12 and so on."),
    Argument::new("weekday", Kind::Text, "0-6 from Sunday, and so on.").alias(&["dow"]),
    Argument::new("special_time", Kind::Text, "A time that has a name, in the place of the five others.")
        .choices(&["annually", "daily", "hourly", "monthly", "reboot", "weekly", "yearly"]),
    Argument::new("disabled", Kind::Bool, "Keep the job as a comment."),
    Argument::new("env", Kind::Bool, "It is a variable, and no job."),
    Argument::new("insertafter", Kind::Text, "With `env`: put a new one after the variable of this name."),
    Argument::new("insertbefore", Kind::Text, "With `env`: put a new one before the variable of this name."),
    Argument::new("backup", Kind::Bool, "Keep a copy of the `cron_file` beside it."),
];

#[derive(Clone, Debug, Default, Deserialize)]
struct Written {
    name: Option<String>,
    job: Option<String>,
    #[serde(default)]
    state: State,
    user: Option<String>,
    cron_file: Option<String>,
    minute: Option<String>,
    hour: Option<String>,
    day: Option<String>,
    month: Option<String>,
    weekday: Option<String>,
    special_time: Option<String>,
    #[serde(default)]
    disabled: bool,
    #[serde(default)]
    env: bool,
    insertafter: Option<String>,
    insertbefore: Option<String>,
    #[serde(default)]
    backup: bool,
}

struct Cron {
    user: Option<String>,
    /// Not: the user's own crontab, which only `crontab(1)` writes.
    file: Option<String>,
    entry: Option<Tabled>,
    state: State,
    backup: bool,
}

/// What is to be in a crontab, or not.
enum Tabled {
    /// The comment above a job, and the job's line.
    Job { mark: String, line: Option<String> },
    /// A variable's name, its line, and the variables that a new one comes after or before.
    Variable { name: String, line: Option<String>, after: Option<String>, before: Option<String> },
}

/// What Ansible puts before a job's name.
const MARK: &str = "#Ansible: ";

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let mut written: Written = arguments.read()?;
    written.job = written.job.map(|job| job.trim_matches(['\r', '\n']).to_string());
    let texts = [&written.name, &written.job, &written.user, &written.special_time];
    let times = [&written.minute, &written.hour, &written.day, &written.month, &written.weekday];
    if texts.into_iter().chain(times).flatten().any(|text| text.contains('\n')) {
        let error = Diagnostic::new("a crontab's entry is one line");
        return Err(error.hint("put a longer job into a script, and call that"));
    }
    if let Some(time) = times.into_iter().flatten().find(|time| time.is_empty() || time.contains(char::is_whitespace)) {
        return Err(Diagnostic::new(format!("`{time}` is no time of a crontab: a space would begin the next field")));
    }
    if written.special_time.is_some() && times.into_iter().flatten().any(|time| time != "*") {
        let error = Diagnostic::new("`special_time` stands in the place of the other times");
        return Err(error.msg("You cannot combine special_time with any of the time or day/date parameters."));
    }
    if written.insertafter.is_some() && written.insertbefore.is_some() {
        let error = Diagnostic::new("`insertafter` and `insertbefore` cannot both be given");
        return Err(error.msg("parameters are mutually exclusive: insertafter|insertbefore"));
    }
    let file = written.cron_file.clone().map(|file| match file.contains('/') {
        true => file,
        false => format!("/etc/cron.d/{file}"),
    });
    if file.as_deref() == Some("/etc/crontab") {
        let error = Diagnostic::new("`/etc/crontab` is the system's own and no `cron_file`");
        let error = error.msg("Will not manage /etc/crontab via cron_file, see documentation.");
        return Err(error.hint("a file of its own in `/etc/cron.d` does the same"));
    }
    let absent = written.state == State::Absent;
    let entry = match (&written.name, absent) {
        (Some(name), _) if !name.is_empty() => Some(tabled(&written, name, absent)?),
        (_, true) if file.is_some() => None,
        _ => return Err(Diagnostic::new("`cron` needs `name`").hint("it is what the job is found by in the next run")),
    };
    Ok(Box::new(Cron { user: written.user, file, entry, state: written.state, backup: written.backup }))
}

fn tabled(written: &Written, name: &str, absent: bool) -> Result<Tabled, Diagnostic> {
    let job = match (&written.job, absent) {
        (Some(job), false) => Some(job),
        (None, false) => {
            let error = Diagnostic::new("`cron` needs `job`").hint("or `state: absent`");
            return Err(error.msg("You must specify 'job' to install a new cron job or variable"));
        }
        (_, true) => None,
    };
    if written.env {
        if name.contains(' ') {
            let error = Diagnostic::new(format!("`{name}` is no name of a variable"));
            return Err(error.msg("Invalid name for environment variable"));
        }
        let line = job.map(|value| format!("{name}=\"{value}\""));
        let (after, before) = (written.insertafter.clone(), written.insertbefore.clone());
        return Ok(Tabled::Variable { name: name.into(), line, after, before });
    }
    if written.insertafter.is_some() || written.insertbefore.is_some() {
        let error = Diagnostic::new("`insertafter` and `insertbefore` are for `env: true`");
        return Err(error.msg("Insertafter and insertbefore parameters are valid only with env=yes"));
    }
    let star = |time: &Option<String>| time.clone().unwrap_or_else(|| "*".into());
    let time = match &written.special_time {
        Some(name) => format!("@{name}"),
        None => [&written.minute, &written.hour, &written.day, &written.month, &written.weekday].map(star).join(" "),
    };
    let user = written.cron_file.as_ref().map(|_| format!(" {}", written.user.as_deref().unwrap_or("root")));
    let off = if written.disabled { "#" } else { "" };
    let line = job.map(|job| format!("{off}{time}{} {job}", user.unwrap_or_default()));
    Ok(Tabled::Job { mark: format!("{MARK}{name}"), line })
}

#[async_trait]
impl Module for Cron {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let Some(file) = &self.file else { return self.own(host).await };
        let target = Target::look(host, file).await?;
        let old = target.text.clone().unwrap_or_default();
        let mut new = match &self.entry {
            Some(entry) => entry.edit(&old)?,
            None => String::new(),
        };
        // Without its last job a file goes, as with Ansible.
        let emptied = matches!(self.entry, Some(Tabled::Job { line: None, .. })) && new != old && new.trim().is_empty();
        if self.entry.is_none() || emptied || target.text.is_none() && new.is_empty() {
            let place = target.place;
            let change = Change::path(place.path, place.node, Node::Absent);
            return Ok(Planned::new(change.into_iter().collect(), self.results(file, "")));
        }
        if !new.is_empty() && !new.ends_with('\n') {
            // cron(8) does not read a last line without an end.
            new.push('\n');
        }
        let rights = Rights::default().with_mode(target.text.is_none().then(|| "0644".into()));
        let writing = Writing { rights, backup: self.backup, validate: None };
        let mut planned = target.plan(host, Edited { text: new.clone(), message: String::new() }, &writing).await?;
        if let Outcome::Known(known) = &mut planned.result {
            known.extend(self.results(file, &new));
        }
        let name = base_name(file);
        if name.contains(|letter: char| !letter.is_ascii_alphanumeric() && !"_-".contains(letter)) {
            planned.warnings.push(format!(
                "Filename portion of cron_file (\"{name}\") should consist solely of upper- and lower-case letters, digits, underscores, and hyphens"
            ));
        }
        Ok(planned)
    }
}

impl Cron {
    /// Returns what `register:` sees of a file.
    fn results(&self, file: &str, text: &str) -> Results {
        let mut results = results(text);
        results.insert("cron_file".into(), file.into());
        results.insert("state".into(), self.state.name().into());
        results
    }

    /// A user's own crontab: a state that `crontab(1)` shows and sets.
    async fn own(&self, host: &View) -> Result<Planned, ModuleError> {
        let name = self.user.as_ref().unwrap_or(&host.identity().user.name);
        let other = (*name != host.identity().user.name).then(|| format!(" -u {}", quote(name)));
        let crontab = format!("crontab{}", other.unwrap_or_default());
        let probe = probe(&crontab);
        let what = format!("crontab of {name}");
        let found = host.state(&what, &Command::shell(&probe)).await?;
        if found == "missing" {
            return Err(ModuleError::failed(format!("`{}` has no program `crontab`", host.name)));
        }
        if let Some(why) = found.strip_prefix(UNREADABLE) {
            return Err(ModuleError::failed(format!("the {what} cannot be read: {}", why.trim())));
        }
        // It would be written back as a whole.
        if found.contains(char::REPLACEMENT_CHARACTER) {
            let message =
                format!("the {what} has bytes that are no UTF-8; `cron_file` puts the job into a file of its own");
            return Err(ModuleError::failed(message));
        }
        let Some(entry) = &self.entry else { return Ok(Planned::new(Vec::new(), results(&found))) };
        let whole = if found.is_empty() { String::new() } else { format!("{found}\n") };
        let new = entry.edit(&whole)?;
        let set = |text: &str| match text {
            "" => Command::shell(format!("{crontab} -r")),
            text => Command { stdin: text.as_bytes().to_vec(), ..Command::shell(format!("{crontab} -")) },
        };
        let after = new.trim_end().to_string();
        let change = Change::state(what, Command::shell(probe), (found, after), vec![set(&new)]);
        let change = change.map(|change| change.taken_back(Back::By(vec![set(&whole)])));
        Ok(Planned::new(change.into_iter().collect(), results(&new)))
    }
}

/// How the probe's answer begins where there is a crontab that cannot be read.
const UNREADABLE: &str = "cannot be read: ";

/// Returns a script that prints a crontab: nothing where `crontab(1)` says that there is none.
fn probe(crontab: &str) -> String {
    format!(
        "command -v crontab >/dev/null || {{ echo missing; exit; }}\n\
         {crontab} -l 2>/dev/null && exit\n\
         said=$({crontab} -l 2>&1)\n\
         case $said in *'no crontab'* | *'No such file'*) ;; *) printf '{UNREADABLE}%s\\n' \"$said\" ;; esac"
    )
}

impl Tabled {
    /// Returns the crontab with the entry as it is to be.
    fn edit(&self, text: &str) -> Result<String, ModuleError> {
        let mut lines = lines_of(text);
        match self {
            Tabled::Job { mark, line } => {
                let marked = lines.iter().position(|found| bare(found).trim_end() == mark.trim_end());
                let bare_job = |line: &str| lines.iter().position(|found| bare(found) == line);
                match (marked, line) {
                    (Some(at), _) => {
                        let end = (at + 2).min(lines.len());
                        let new = line.iter().flat_map(|line| [format!("{mark}\n"), format!("{line}\n")]);
                        lines.splice(at..end, new);
                    }
                    (None, Some(line)) => match bare_job(line) {
                        // Somebody wrote it by hand: from now on it has its name.
                        Some(at) => lines.insert(at, format!("{mark}\n")),
                        None => {
                            let end = lines.len();
                            end_line_before(&mut lines, end);
                            lines.extend([format!("{mark}\n"), format!("{line}\n")]);
                        }
                    },
                    (None, None) => {}
                }
            }
            Tabled::Variable { name, line, after, before } => {
                let find = |name: &str| lines.iter().position(|found| sets(bare(found), name));
                let missing = |name: &str| ModuleError::failed(format!("Variable named '{name}' not found."));
                match (find(name), line) {
                    (Some(at), Some(line)) => lines[at] = format!("{line}\n"),
                    (Some(at), None) => drop(lines.remove(at)),
                    (None, Some(line)) => {
                        let at = match (after, before) {
                            (Some(other), _) => find(other).ok_or_else(|| missing(other))? + 1,
                            (None, Some(other)) => find(other).ok_or_else(|| missing(other))?,
                            (None, None) => 0,
                        };
                        end_line_before(&mut lines, at);
                        lines.insert(at, format!("{line}\n"));
                    }
                    (None, None) => {}
                }
            }
        }
        Ok(lines.concat())
    }
}

/// Says whether a line sets this variable (crontab(5)).
fn sets(line: &str, name: &str) -> bool {
    line.split_once('=').is_some_and(|(found, _)| found.trim() == name)
}

/// Returns the names of the jobs and of the variables, as Ansible does.
fn results(text: &str) -> Results {
    let jobs: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix(MARK)).collect();
    let names = text.lines().filter(|line| !line.trim_start().starts_with(['#', '@'])).filter_map(|line| {
        let name = line.split_once('=')?.0.trim();
        let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        (!name.is_empty() && name.chars().all(plain)).then_some(name)
    });
    let envs: Vec<&str> = names.collect();
    Results::from_iter([("jobs".to_string(), json!(jobs)), ("envs".to_string(), json!(envs))])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::files::bench::Bench;

    async fn edited(bench: &Bench, arguments: serde_json::Value) -> String {
        bench.twice("cron", arguments).await;
        bench.host.read("/etc/cron.d/x").unwrap()
    }

    #[tokio::test]
    async fn a_job_of_a_file_is_added_changed_switched_off_and_removed_by_its_name() {
        let bench = Bench::new();
        bench.host.dir("/etc/cron.d", 0o755).file("/etc/cron.d/x", "# by hand\n0 5 * * * ann sweep", 0o600);
        let job = json!({"name": "a", "cron_file": "x", "minute": "1", "user": "ann", "job": "echo 1 %"});
        assert_eq!(edited(&bench, job).await, "# by hand\n0 5 * * * ann sweep\n#Ansible: a\n1 * * * * ann echo 1 %\n");
        let job = json!({"name": "b", "cron_file": "/etc/cron.d/x", "special_time": "daily", "job": "b"});
        bench.twice("cron", job).await;
        let job = json!({"name": "a", "cron_file": "x", "disabled": true, "job": "echo 2", "dow": "1-5"});
        let text =
            "# by hand\n0 5 * * * ann sweep\n#Ansible: a\n#* * * * 1-5 root echo 2\n#Ansible: b\n@daily root b\n";
        assert_eq!(edited(&bench, job).await, text);
        let named =
            json!({"name": "by hand", "cron_file": "x", "hour": "5", "minute": "0", "user": "ann", "job": "sweep"});
        assert!(edited(&bench, named).await.starts_with("# by hand\n#Ansible: by hand\n0 5 * * * ann sweep\n"));
        assert_eq!(
            edited(&bench, json!({"name": "a", "cron_file": "x", "state": "absent"})).await,
            "# by hand\n#Ansible: by hand\n0 5 * * * ann sweep\n#Ansible: b\n@daily root b\n"
        );
        assert_eq!(bench.plan("cron", json!({"cron_file": "x", "state": "absent"})).await.unwrap().changes.len(), 1);
        bench.host.file("/etc/cron.d/y", "\n#Ansible: a\n@daily root a\n \n", 0o644);
        bench.twice("cron", json!({"name": "a", "cron_file": "y", "state": "absent"})).await;
        assert!(!bench.exists("/etc/cron.d/y"));
    }

    #[tokio::test]
    async fn a_variable_stands_above_the_jobs_or_beside_another() {
        let bench = Bench::new();
        bench.host.dir("/etc/cron.d", 0o755).file("/etc/cron.d/x", "@daily root b\n", 0o644);
        let variable = |name: &str, more: serde_json::Value| {
            let mut all = json!({"name": name, "env": true, "cron_file": "x", "job": "v"});
            all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            all
        };
        assert_eq!(edited(&bench, variable("PATH", json!({}))).await, "PATH=\"v\"\n@daily root b\n");
        let after = variable("MAILTO", json!({"insertafter": "PATH"}));
        assert_eq!(edited(&bench, after).await, "PATH=\"v\"\nMAILTO=\"v\"\n@daily root b\n");
        assert!(bench.fails("cron", variable("X", json!({"insertbefore": "Y"}))).await.contains("named 'Y' not found"));
    }

    #[tokio::test]
    async fn a_users_own_crontab_is_a_state_that_later_tasks_see() {
        let bench = Bench::new();
        let probe = &probe("crontab -u ann");
        bench.host.on(probe, 0, "MAILTO=\"\"\n");
        let planned =
            bench.plan("cron", json!({"name": "a", "user": "ann", "job": "true", "hour": "4"})).await.unwrap();
        let [Change::State(state)] = planned.changes.as_slice() else { panic!() };
        assert_eq!(state.after(), "MAILTO=\"\"\n#Ansible: a\n* 4 * * * true");
        assert_eq!(state.by()[0].stdin, b"MAILTO=\"\"\n#Ansible: a\n* 4 * * * true\n");
        bench.host.on(probe, 0, "missing\n");
        let job = json!({"name": "a", "user": "ann", "job": "true"});
        assert!(bench.fails("cron", job.clone()).await.contains("no program"));
        // What cannot be read is not taken for an empty one, and nothing of it is lost.
        bench.host.on(probe, 0, "cannot be read: crontab: Input/output error\n");
        assert!(bench.fails("cron", job.clone()).await.contains("Input/output error"));
        bench.host.on(probe, 0, "# gr\u{fffd}n\n");
        assert!(bench.fails("cron", job).await.contains("no UTF-8"));
    }

    #[tokio::test]
    async fn what_would_be_another_line_or_another_field_is_refused() {
        let bench = Bench::new();
        for (wrong, says) in [
            (json!({"name": "a", "job": "x\ny"}), "one line"),
            (json!({"name": "a", "job": "x", "hour": "1 2"}), "no time of a crontab"),
            (json!({"name": "a", "job": "x", "hour": "1", "special_time": "daily"}), "in the place of"),
            (json!({"name": "a"}), "needs `job`"),
            (json!({"job": "x"}), "needs `name`"),
            (json!({"name": "a", "job": "x", "cron_file": "/etc/crontab"}), "the system's own"),
        ] {
            let error = bench.fails("cron", wrong).await;
            assert!(error.contains(says), "{error}");
        }
    }
}
