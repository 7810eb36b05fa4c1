//! A run as people read it: Ansible's form, with every change shown before it is made.

use std::io::{IsTerminal as _, Write};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use indexmap::IndexMap;
use serde::Serialize as _;
use serde_json::{Map, Value};

use crate::change::{Diff, Line};
use crate::error::Place;
use crate::modules::Results;
use crate::run::{Event, Interrupted, Mode, Subject, TaskKind, Uncertain, Verdict};
use crate::settings;
use crate::transport::name::{printable, shown};

use super::{RUN, Recap, Reporter, quoted};

const WIDTH: usize = 79;
/// More changes than this in one task are counted below their list.
const MANY: usize = 3;

/// Prints events as they come. Data goes to `out`, the progress line to stderr if that is a terminal.
pub struct Human<W: Write> {
    out: W,
    mode: Mode,
    verbosity: u8,
    /// Diffs are printed.
    diffs: bool,
    /// Hosts that a task passes over are printed.
    skipped: bool,
    /// Hosts where a task changes nothing are printed.
    ok: bool,
    /// Failures go to standard error.
    apart: bool,
    /// Results are YAML, indented by so many blanks.
    yaml: Option<usize>,
    /// The heading of the task, as long as it has printed nothing that is to be seen.
    heading: Option<String>,
    /// The task at hand, for the progress line.
    task: String,
    /// Its result is what it is for, and is printed.
    speaks: bool,
    /// Where the task begins in its file.
    written: Option<Place>,
    /// Where the task stands.
    place: String,
    /// Several hosts have it at hand at a time: a change and its verdict are apart.
    many: bool,
    progress: Option<indicatif::ProgressBar>,
    recap: Recap,
    uncertain: Vec<Uncertain>,
    interrupted: Option<Interrupted>,
    /// Identical blocks of diff lines of one task, so that the second host's is one line.
    shown: Vec<(Vec<Line>, String)>,
}

/// Returns the progress line, where stderr is a terminal.
pub fn progress() -> Option<indicatif::ProgressBar> {
    std::io::stderr().is_terminal().then(|| {
        let style = indicatif::ProgressStyle::with_template("{spinner} {msg} ({elapsed})");
        let bar = indicatif::ProgressBar::new_spinner();
        match style {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        }
    })
}

impl<W: Write> Human<W> {
    pub fn new(
        out: W,
        mode: Mode,
        (verbosity, diffs): (u8, bool),
        progress: Option<indicatif::ProgressBar>,
    ) -> Human<W> {
        Human {
            out,
            mode,
            verbosity,
            diffs,
            yaml: (settings::value("ANSIBLE_CALLBACK_RESULT_FORMAT").as_deref() == Some("yaml")).then_some(4),
            skipped: settings::switch("ANSIBLE_DISPLAY_SKIPPED_HOSTS", true),
            ok: settings::switch("ANSIBLE_DISPLAY_OK_HOSTS", true),
            apart: settings::switch("ANSIBLE_DISPLAY_FAILED_STDERR", false),
            heading: None,
            task: String::new(),
            speaks: false,
            written: None,
            place: String::new(),
            many: false,
            progress,
            recap: Recap::default(),
            uncertain: Vec::new(),
            interrupted: None,
            shown: Vec::new(),
        }
    }

    /// Prints results as YAML and not as JSON.
    pub fn in_yaml(self) -> Human<W> {
        Human { yaml: Some(2), ..self }
    }

    /// Takes in one event. Errors are those of `out`: a closed pipe ends the run.
    pub fn event(&mut self, event: &Event) -> std::io::Result<()> {
        self.recap.add(event);
        if let Event::Progress { subject, progress } = event {
            if let Some(bar) = &self.progress {
                bar.set_message(format!(
                    "{}: {} of {} messages, {} of {}, {}/s, {} left",
                    name(subject),
                    progress.messages,
                    progress.total_messages,
                    indicatif::HumanBytes(progress.bytes),
                    indicatif::HumanBytes(progress.total_bytes),
                    indicatif::HumanBytes(progress.rate()),
                    indicatif::HumanDuration(progress.left())
                ));
                bar.tick();
            }
            return Ok(());
        }
        if let Some(bar) = &self.progress {
            bar.finish_and_clear();
        }
        match event {
            Event::PlaybookStarted { path, plays } if self.verbosity >= 2 => {
                let name = path.rsplit('/').next().unwrap_or(path);
                self.banner(&format!("PLAYBOOK: {name}"))?;
                writeln!(self.out, "{plays} plays in {}", printable(path))?;
            }
            Event::Meta { skipped, word, text, verbosity } if self.verbosity >= *verbosity => {
                writeln!(self.out, "META: {}", printable(text))?;
                if let Some(host) = skipped {
                    let result = serde_json::json!({"msg": word, "skip_reason": text});
                    self.line(AnsiColor::Cyan, &format!("skipping: [{host}] => {}", python_json(&result)))?;
                }
            }
            // Warnings about what was written are Ansible's own, and on its standard error.
            Event::ReservedName { name, place } => {
                let text = format!("[WARNING]: Found variable using reserved name '{name}'.\nOrigin: {place}\n");
                writeln!(anstream::stderr(), "{}", paint(AnsiColor::Magenta, &text))?;
            }
            Event::PlayStarted { name } => {
                self.heading = None;
                self.banner(&format!("PLAY [{name}]"))?;
            }
            Event::PlayWithoutHosts => writeln!(self.out, "skipping: no hosts matched")?,
            Event::TaskStarted { hosts, kind, name, place, speaks, written } => {
                self.written = written.clone();
                self.place = place.clone();
                self.many = *hosts > 1;
                self.task = name.clone();
                let word = if *kind == TaskKind::Handler { "RUNNING HANDLER" } else { "TASK" };
                self.speaks = *speaks;
                self.shown.clear();
                self.heading = Some(format!("{word} [{name}]"));
                if self.skipped && self.ok {
                    self.begin()?;
                }
            }
            Event::Planned { subject, diffs } if self.diffs => self.diffs(subject, diffs)?,
            Event::Finished { subject, verdict, result } => self.finished(subject, *verdict, result)?,
            Event::Included { what, item, hosts } => {
                let text = format!("included: {what} for {}{}", hosts.join(", "), of_item(item.as_deref()));
                self.line(AnsiColor::Cyan, &text)?;
            }
            Event::Retrying { subject, name: task, left } => {
                let item = of_item(subject.item.as_deref());
                let text = format!("FAILED - RETRYING: [{}]: {task} ({left} retries left).{item}", name(subject));
                self.line(AnsiColor::Cyan, &text)?;
            }
            Event::Decided { subject, why } => {
                let item = of_item(subject.item.as_deref());
                let text = format!("decided at apply: [{}]{item} => it {}", name(subject), shown(why));
                self.line(AnsiColor::Magenta, &text)?;
            }
            Event::Weakened { why, hosts } => {
                self.line(AnsiColor::Magenta, &format!("weakened SSH: {} ({why})", hosts.join(", ")))?;
            }
            Event::Warning(text) => self.line(AnsiColor::Magenta, &format!("[WARNING]: {text}"))?,
            // They come last: see `finish`.
            Event::Uncertain(uncertain) => self.uncertain.push(uncertain.clone()),
            Event::Interrupted(interrupted) => self.interrupted = Some(interrupted.clone()),
            Event::PlaybookStarted { .. }
            | Event::Meta { .. }
            | Event::Planned { .. }
            | Event::Rescued { .. }
            | Event::Progress { .. } => {}
        }
        self.out.flush()?;
        self.wait();
        Ok(())
    }

    /// Shows on a terminal that something is going on, and since when.
    fn wait(&self) {
        if let (Some(bar), false) = (&self.progress, self.task.is_empty()) {
            bar.reset();
            bar.set_message(self.task.clone());
            bar.enable_steady_tick(Duration::from_millis(250));
        }
    }

    /// Prints the recap and returns it.
    pub fn finish(mut self) -> std::io::Result<Recap> {
        if let Some(bar) = &self.progress {
            bar.finish_and_clear();
        }
        self.heading = None;
        self.recap()?;
        self.half_done()?;
        self.left_over()?;
        writeln!(self.out)?;
        self.out.flush()?;
        Ok(self.recap)
    }

    /// Prints one line instead of the recap.
    pub(super) fn end(mut self, line: &str) -> std::io::Result<()> {
        self.heading = None;
        self.half_done()?;
        self.left_over()?;
        writeln!(self.out, "{}", printable(line))?;
        self.out.flush()
    }

    /// Prints what `set_stats` has told, where `ANSIBLE_SHOW_CUSTOM_STATS` asks for it.
    fn stats(&mut self, stats: &IndexMap<String, Map<String, Value>>) -> std::io::Result<()> {
        if stats.is_empty() || !settings::switch("ANSIBLE_SHOW_CUSTOM_STATS", false) {
            return Ok(());
        }
        self.banner("CUSTOM STATS:")?;
        let mut names: Vec<&String> = stats.keys().filter(|name| *name != RUN).collect();
        names.sort();
        let whole = stats.get_key_value(RUN).map(|(name, _)| name);
        for name in names.into_iter().chain(whole) {
            let told = serde_json::to_string_pretty(&stats[name]).unwrap_or_default();
            let line: Vec<&str> = told.lines().map(str::trim_start).collect();
            let name = if name == RUN { "RUN" } else { name };
            writeln!(self.out, "\t{}: {}", printable(name), line.join(" "))?;
        }
        writeln!(self.out)
    }

    fn recap(&mut self) -> std::io::Result<()> {
        self.banner("PLAY RECAP")?;
        let recap = std::mem::take(&mut self.recap);
        let width = recap.hosts.keys().map(|host| host.len()).max().unwrap_or(0).max(26);
        let mut hosts: Vec<_> = recap.hosts.iter().collect();
        hosts.sort_by_key(|(host, _)| *host);
        for (host, counts) in hosts {
            let color = match (counts.failed + counts.unreachable, counts.changed) {
                (1.., _) => AnsiColor::Red,
                (0, 1..) => AnsiColor::Yellow,
                _ => AnsiColor::Green,
            };
            let changed = if self.mode == Mode::Check { "would-change" } else { "changed" };
            let mut text = format!(
                "{} : ok={:<4} {changed}={:<4} unreachable={:<4} failed={:<4} skipped={:<4} rescued={:<4} ignored={:<4}",
                paint(color, &format!("{host:<width$}")),
                counts.ok,
                counts.changed,
                counts.unreachable,
                counts.failed,
                counts.skipped,
                counts.rescued,
                counts.ignored
            );
            if self.mode == Mode::Check || counts.unknown > 0 {
                text.push_str(&format!(" unknown={:<4}", counts.unknown));
            }
            writeln!(self.out, "{}", text.trim_end())?;
        }
        self.stats(&recap.stats)?;
        self.recap = recap;
        Ok(())
    }

    /// Names the changes whose end nobody saw.
    fn half_done(&mut self) -> std::io::Result<()> {
        if self.uncertain.is_empty() {
            return Ok(());
        }
        self.banner("UNKNOWN WHETHER APPLIED")?;
        for Uncertain { host, task, change, why, found } in std::mem::take(&mut self.uncertain) {
            let text = format!("half-done: `{host}`: task `{task}`: {}, unknown whether applied", shown(&change));
            self.line(AnsiColor::Red, &text)?;
            for note in [Some(format!("because: {why}")), found].into_iter().flatten() {
                self.line(AnsiColor::Red, &format!("  {}", shown(&note)))?;
            }
        }
        Ok(())
    }

    /// Says what a run that was told to end leaves undone.
    fn left_over(&mut self) -> std::io::Result<()> {
        let Some(Interrupted { unfinished, not_begun, living }) = self.interrupted.take() else { return Ok(()) };
        self.banner("INTERRUPTED")?;
        for (what, hosts) in [("not finished", unfinished), ("not begun", not_begun)] {
            if !hosts.is_empty() {
                self.line(AnsiColor::Yellow, &format!("{what}: {}", hosts.join(", ")))?;
            }
        }
        for (host, what) in living {
            self.line(AnsiColor::Red, &format!("`{host}`: {}", shown(&what)))?;
        }
        Ok(())
    }

    /// Prints the heading of the task, if it is not yet there.
    fn begin(&mut self) -> std::io::Result<()> {
        let Some(heading) = self.heading.take() else { return Ok(()) };
        self.banner(&heading)?;
        if self.verbosity >= 2 {
            writeln!(self.out, "task path: {}", self.place)?;
        }
        Ok(())
    }

    fn banner(&mut self, title: &str) -> std::io::Result<()> {
        banner(&mut self.out, title)
    }

    fn line(&mut self, color: AnsiColor, text: &str) -> std::io::Result<()> {
        self.begin()?;
        writeln!(self.out, "{}", paint(color, text))
    }

    /// Prints a line of a failure.
    fn failed(&mut self, text: &str) -> std::io::Result<()> {
        if !self.apart {
            return self.line(AnsiColor::Red, text);
        }
        self.begin()?;
        self.out.flush()?;
        writeln!(anstream::stderr(), "{}", paint(AnsiColor::Red, text))
    }

    fn diffs(&mut self, subject: &Subject, diffs: &[Diff]) -> std::io::Result<()> {
        self.begin()?;
        let lines: Vec<Line> = diffs.iter().flat_map(|diff| diff.lines.iter().cloned()).collect();
        if let Some((_, host)) = self.shown.iter().find(|(known, _)| *known == lines) {
            let item = of_item(subject.item.as_deref());
            let text = format!("{}{item}: the same changes as on {host}", name(subject));
            return self.line(AnsiColor::Cyan, &text);
        }
        if self.many && self.mode == Mode::Apply {
            let item = of_item(subject.item.as_deref());
            self.line(AnsiColor::Yellow, &format!("changing: [{}]{item}", name(subject)))?;
        }
        for line in &lines {
            match color(line) {
                Some(color) => self.line(color, &line.text())?,
                None => writeln!(self.out, "{}", line.text())?,
            }
        }
        if diffs.len() > MANY {
            self.line(AnsiColor::Cyan, &format!("= {} changes", diffs.len()))?;
        }
        self.shown.push((lines, name(subject) + &of_item(subject.item.as_deref())));
        Ok(())
    }

    fn finished(&mut self, subject: &Subject, verdict: Verdict, result: &Results) -> std::io::Result<()> {
        let changed = if self.mode == Mode::Check { "would change" } else { "changed" };
        let name = name(subject);
        let item = of_item(subject.item.as_deref());
        let message = result.get("msg").and_then(Value::as_str).unwrap_or_default();
        match verdict {
            Verdict::Ok if !self.ok => Ok(()),
            Verdict::Ok => self.result(AnsiColor::Green, &format!("ok: [{name}]{item}"), result),
            Verdict::Changed => self.result(AnsiColor::Yellow, &format!("{changed}: [{name}]{item}"), result),
            Verdict::Skipped if !self.skipped => Ok(()),
            Verdict::Skipped if self.verbosity == 0 => self.line(AnsiColor::Cyan, &format!("skipping: [{name}]{item}")),
            Verdict::Skipped => self.result(AnsiColor::Cyan, &format!("skipping: [{name}]{item}"), result),
            Verdict::Unknown => self.line(AnsiColor::Magenta, &format!("unknown: [{name}]{item} => {message}")),
            Verdict::Failed | Verdict::Ignored if subject.item.is_some() => {
                self.failure(&format!("failed: [{name}]{}", item.replacen(" =>", "", 1)), result)
            }
            Verdict::Failed | Verdict::Ignored => {
                let word = if result.contains_key("unreachable") { "UNREACHABLE!" } else { "FAILED!" };
                self.failure(&format!("fatal: [{name}]: {word}"), result)?;
                self.ignoring(verdict)
            }
            Verdict::Unreachable => self.failure(&format!("fatal: [{name}]: UNREACHABLE!"), result),
            Verdict::Summed { failed: true, ignored: true, .. } => self.ignoring(Verdict::Ignored),
            Verdict::Summed { .. } => Ok(()),
        }
    }

    fn ignoring(&mut self, verdict: Verdict) -> std::io::Result<()> {
        match verdict {
            Verdict::Ignored => self.line(AnsiColor::Cyan, "...ignoring"),
            _ => Ok(()),
        }
    }

    /// Prints a good result: the message of a `debug`, everything with `-v`.
    fn result(&mut self, color: AnsiColor, head: &str, result: &Results) -> std::io::Result<()> {
        if self.verbosity == 0 && !self.speaks || result.is_empty() {
            return self.line(color, head);
        }
        let text = self.told(result, self.speaks);
        self.line(color, &format!("{head} =>{text}"))
    }

    /// Prints why something failed: the result, then the error as it is drawn and what has several lines as it stands.
    fn failure(&mut self, head: &str, result: &Results) -> std::io::Result<()> {
        let text = self.told(result, result.contains_key("assertion"));
        self.failed(&format!("{head} =>{text}"))?;
        let drawn = result.get("exception").and_then(Value::as_str);
        for name in ["msg", "stdout", "stderr"] {
            let text = result.get(name).and_then(Value::as_str).unwrap_or_default();
            let prefix = if name == "msg" { String::new() } else { format!("  {name}: ") };
            if self.yaml.is_some() || text.lines().count() < 2 || (name == "msg" && drawn.is_some()) {
                continue;
            }
            for line in text.lines() {
                self.failed(&format!("{prefix}{line}"))?;
            }
        }
        let written = std::mem::take(&mut self.written);
        if let Some(drawn) = drawn {
            return drawn.lines().try_for_each(|line| self.failed(line));
        }
        let message = result.get("msg").and_then(Value::as_str).unwrap_or_default();
        if self.yaml.is_some() || message.lines().count() < 2 {
            let message = message.lines().next().unwrap_or("the task failed");
            self.failed(&format!("error: {message}"))?;
        }
        if !self.place.is_empty() {
            self.failed(&format!(" --> {}", self.place))?;
        }
        let written = written.as_ref().map(quoted::to).unwrap_or_default();
        written.lines().try_for_each(|line| self.failed(line))
    }

    /// Returns a result as Ansible prints it behind the arrow: sorted, without what is told elsewhere.
    fn told(&self, result: &Results, pretty: bool) -> String {
        let told_elsewhere = |name: &str| {
            matches!(name, "failed" | "skipped" | "exception" | "warnings") || name.starts_with("_ansible")
        };
        let hidden = |name: &str| name == "invocation" && self.verbosity < 3;
        // Of a `debug`, which changes nothing and says so nowhere, only what it was told to print.
        let printed = pretty && !result.contains_key("changed");
        let beside = |name: &str| match result.contains_key("msg") {
            true => name != "msg",
            false => ["ansible_loop_var", "ansible_index_var", "ansible_loop"].contains(&name),
        };
        let shown =
            result.iter().filter(|(name, _)| !(told_elsewhere(name) || hidden(name) || printed && beside(name)));
        let mut shown = Value::Object(shown.map(|(name, value)| (name.clone(), value.clone())).collect());
        shown.sort_all_objects();
        if let Some(indent) = self.yaml {
            let text = serde_yaml::to_string(&shown).unwrap_or_default();
            return text.lines().map(|line| format!("\n{:indent$}{line}", "")).collect();
        }
        let json = if pretty || self.verbosity > 2 { pretty_json(&shown) } else { python_json(&shown) };
        format!(" {json}")
    }
}

/// Writes JSON on lines, as Python's `json.dumps` does with an indent of 4.
fn pretty_json(value: &Value) -> String {
    let mut text = Vec::new();
    let form = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    match value.serialize(&mut serde_json::Serializer::with_formatter(&mut text, form)) {
        Ok(()) => String::from_utf8_lossy(&text).into_owned(),
        Err(_) => value.to_string(),
    }
}

impl<W: Write + Send> Reporter for Human<W> {
    fn event(&mut self, event: &Event) -> std::io::Result<()> {
        Human::event(self, event)
    }

    fn finish(self: Box<Self>) -> std::io::Result<Recap> {
        Human::finish(*self)
    }
}

/// Writes JSON on one line, as Python's `json.dumps` does.
pub(super) fn python_json(value: &Value) -> String {
    let mut text = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, Spaced);
    match value.serialize(&mut serializer) {
        Ok(()) => String::from_utf8_lossy(&text).into_owned(),
        Err(_) => value.to_string(),
    }
}

/// A blank behind each comma and colon.
struct Spaced;

impl serde_json::ser::Formatter for Spaced {
    fn begin_array_value<W: Write + ?Sized>(&mut self, out: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_key<W: Write + ?Sized>(&mut self, out: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_value<W: Write + ?Sized>(&mut self, out: &mut W) -> std::io::Result<()> {
        out.write_all(b": ")
    }
}

fn of_item(item: Option<&str>) -> String {
    item.map(|item| format!(" => (item={})", shown(item))).unwrap_or_default()
}

fn name(subject: &Subject) -> String {
    match &subject.delegate {
        Some(delegate) => format!("{} -> {delegate}", subject.host),
        None => subject.host.clone(),
    }
}

/// Prints a heading.
pub(super) fn banner(out: &mut impl Write, title: &str) -> std::io::Result<()> {
    let stars = WIDTH.saturating_sub(title.chars().count() + 1).max(3);
    writeln!(out, "\n{} {}", printable(title), "*".repeat(stars))
}

/// Returns the colour of a line of a diff.
pub(super) fn color(line: &Line) -> Option<AnsiColor> {
    match line {
        Line::Header(_) => Some(AnsiColor::Cyan),
        Line::Removed(_) => Some(AnsiColor::Red),
        Line::Added(_) => Some(AnsiColor::Green),
        Line::Warning(_) => Some(AnsiColor::Magenta),
        Line::Context(_) => None,
    }
}

/// Colours a text; the stream it goes to strips colours where they do not belong.
pub(super) fn paint(color: AnsiColor, text: &str) -> String {
    let (style, text) = (Style::new().fg_color(Some(color.into())), printable(text));
    format!("{style}{text}{style:#}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_host_says_colours_nothing_and_an_item_is_on_one_line() {
        let mut out = Vec::new();
        let mut human = Human::new(&mut out, Mode::Apply, (0, true), None);
        let subject = Subject { host: "mx".into(), delegate: None, item: Some("a\nok: [evil]\u{10ffe9}".into()) };
        let result = Results::from_iter([("msg".to_string(), json!("gone\u{1b}]0;title\u{7}\nhint: look"))]);
        human.event(&Event::Finished { subject, verdict: Verdict::Failed, result }).unwrap();
        let text = anstream::adapter::strip_bytes(&out).into_vec();
        let expected = "failed: [mx] (item=a\\nok: [evil]\\xe9) => {\"msg\": \"gone\\u001b]0;title\\u0007\\nhint: look\"}\n\
                        gone\\x1b]0;title\\x07\nhint: look\n";
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }
}
