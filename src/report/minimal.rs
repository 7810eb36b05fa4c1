//! A run as `ansible` prints it: a block for each host and nothing around it.

use std::io::{Result, Write};

use serde::Serialize as _;
use serde_json::Value;

use super::{Recap, Reporter};
use crate::modules::Results;
use crate::run::{Event, Verdict};

pub struct Minimal<W: Write> {
    out: W,
    /// Each host's block is one line.
    one_line: bool,
    /// The result of the task at hand is what it is for (`debug`).
    speaks: bool,
    recap: Recap,
}

impl<W: Write> Minimal<W> {
    pub fn new(out: W, one_line: bool) -> Minimal<W> {
        Minimal { out, one_line, speaks: false, recap: Recap::default() }
    }
}

impl<W: Write + Send> Reporter for Minimal<W> {
    fn event(&mut self, event: &Event) -> Result<()> {
        self.recap.add(event);
        match event {
            Event::TaskStarted { speaks, .. } => {
                self.speaks = *speaks;
                return Ok(());
            }
            Event::Finished { subject, verdict, result } => {
                let form = match self.one_line {
                    true => Form::OneLine,
                    false if self.speaks => Form::Spoken,
                    false => Form::Whole,
                };
                let block = block((&subject.host, *verdict), result, form);
                self.out.write_all(block.as_bytes())?;
            }
            Event::Warning(text) => writeln!(self.out, "[WARNING]: {text}")?,
            Event::Uncertain(uncertain) => {
                writeln!(self.out, "{} | UNCERTAIN: {} ({})", uncertain.host, uncertain.change, uncertain.why)?;
            }
            Event::PlayWithoutHosts => writeln!(self.out, "[WARNING]: no hosts matched")?,
            _ => return Ok(()),
        }
        self.out.flush()
    }

    fn finish(self: Box<Self>) -> Result<Recap> {
        Ok(self.recap)
    }
}

/// How a result is printed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    OneLine,
    Whole,
    /// Without that it has changed nothing.
    Spoken,
}

/// Returns what is printed of a host: a command's output as it is, anything else as JSON.
fn block((host, verdict): (&str, Verdict), result: &Results, form: Form) -> String {
    let one_line = form == Form::OneLine;
    let word = match verdict {
        Verdict::Ok => "SUCCESS",
        Verdict::Changed => "CHANGED",
        Verdict::Skipped => "SKIPPED",
        Verdict::Failed | Verdict::Ignored => "FAILED",
        Verdict::Unreachable => "UNREACHABLE",
        Verdict::Unknown => "UNKNOWN",
        // Its items have been told.
        Verdict::Summed { .. } => return String::new(),
    };
    let text = |name: &str| result.get(name).and_then(Value::as_str).unwrap_or_default();
    if let Some(status) = result.get("rc").filter(|_| result.contains_key("stdout")) {
        if one_line {
            let both = [("stdout", "(stdout)"), ("stderr", "(stderr)")].map(|(name, shown)| match text(name) {
                "" => String::new(),
                text => format!(" {shown} {}", text.replace('\n', "\\n")),
            });
            return format!("{host} | {word} | rc={status} |{}\n", both.concat());
        }
        let lines = [text("stdout"), text("stderr"), if verdict == Verdict::Failed { text("msg") } else { "" }];
        let lines: String = lines.iter().filter(|text| !text.is_empty()).map(|text| format!("{text}\n")).collect();
        return format!("{host} | {word} | rc={status} >>\n{}", if lines.is_empty() { "\n".into() } else { lines });
    }
    let bang = if matches!(word, "FAILED" | "UNREACHABLE") { "!" } else { "" };
    let mut shown = Value::Object(result.clone());
    if let Value::Object(shown) = &mut shown {
        shown.entry("changed").or_insert((verdict == Verdict::Changed).into());
    }
    if let (Value::Object(shown), Form::Spoken, Verdict::Ok) = (&mut shown, form, verdict) {
        shown.remove("changed");
    }
    shown.sort_all_objects();
    let mut bytes = Vec::new();
    let indented = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let written = shown.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, indented));
    let json = written.map(|()| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    // As Ansible, which leaves the ends of lines out and the blanks in.
    let json = if one_line { json.replace('\n', "") } else { json };
    format!("{host} | {word}{bang} => {json}\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn printed(verdict: Verdict, result: Value, one_line: bool) -> String {
        block(("web1", verdict), result.as_object().unwrap(), if one_line { Form::OneLine } else { Form::Whole })
    }

    #[test]
    fn a_host_is_printed_as_ansible_prints_it() {
        let ran = json!({"rc": 0, "stdout": "a\nb", "stderr": ""});
        assert_eq!(printed(Verdict::Changed, ran.clone(), false), "web1 | CHANGED | rc=0 >>\na\nb\n");
        assert_eq!(printed(Verdict::Changed, ran, true), "web1 | CHANGED | rc=0 | (stdout) a\\nb\n");
        let failed = json!({"rc": 1, "stdout": "", "stderr": "no", "msg": "non-zero return code"});
        assert_eq!(printed(Verdict::Failed, failed, false), "web1 | FAILED | rc=1 >>\nno\nnon-zero return code\n");
        let pong = json!({"ping": "pong", "changed": false});
        assert_eq!(
            printed(Verdict::Ok, pong, false),
            "web1 | SUCCESS => {\n    \"changed\": false,\n    \"ping\": \"pong\"\n}\n"
        );
        let gone = printed(Verdict::Unreachable, json!({"msg": "x"}), true);
        assert_eq!(gone, "web1 | UNREACHABLE! => {    \"changed\": false,    \"msg\": \"x\"}\n");
    }
}
