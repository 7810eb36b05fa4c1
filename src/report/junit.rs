//! A run or a plan as JUnit XML: a suite for each host, a case for each of its tasks.

use std::io::{Result, Write};

use indexmap::IndexMap;
use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event as Xml};

use super::{Recap, Reporter, review};
use crate::change::Line;
use crate::run::plan::Plan;
use crate::run::{Event, Subject, Verdict};
use crate::transport::name::printable;

/// Writes a report when the run is over.
pub struct Junit<W: Write> {
    out: W,
    name: String,
    task: (String, String),
    /// What was planned and is not finished yet, by who it is for.
    planned: Vec<(Subject, String)>,
    suites: IndexMap<String, Vec<Case>>,
    recap: Recap,
}

/// One task on one host, or one item of its loop.
#[derive(Clone, Debug)]
struct Case {
    name: String,
    /// `FILE:LINE`.
    place: String,
    end: End,
    /// The changes.
    out: String,
}

#[derive(Clone, Debug)]
enum End {
    Passed,
    Skipped(String),
    Failed(&'static str, String),
    Error(String),
}

impl<W: Write> Junit<W> {
    pub fn new(out: W, name: String) -> Junit<W> {
        let (task, planned, suites) = Default::default();
        Junit { out, name, task, planned, suites, recap: Recap::default() }
    }

    fn finished(&mut self, subject: &Subject, verdict: Verdict, message: String) {
        let mut out = String::new();
        self.planned.retain(|(other, text)| {
            let same = other == subject;
            if same {
                out += text;
            }
            !same
        });
        let end = match verdict {
            // Its items are cases already.
            Verdict::Summed { .. } => return,
            Verdict::Ok | Verdict::Changed => End::Passed,
            Verdict::Skipped => End::Skipped(message),
            Verdict::Unknown => End::Skipped(format!("unknown until run: {message}")),
            Verdict::Ignored => End::Skipped(format!("failed, and ignored: {message}")),
            Verdict::Failed => End::Failed("failed", message),
            Verdict::Unreachable => End::Error(message),
        };
        let item = subject.item.as_ref().map(|item| format!(" ({item})")).unwrap_or_default();
        let delegate = subject.delegate.as_ref().map(|delegate| format!(" -> {delegate}")).unwrap_or_default();
        let (task, place) = &self.task;
        let case = Case { name: format!("{task}{delegate}{item}"), place: place.clone(), end, out };
        self.suites.entry(subject.host.clone()).or_default().push(case);
    }
}

impl<W: Write + Send> Reporter for Junit<W> {
    fn event(&mut self, event: &Event) -> Result<()> {
        self.recap.add(event);
        match event {
            Event::TaskStarted { name, place, .. } => self.task = (name.clone(), place.clone()),
            Event::Planned { subject, diffs } => {
                let lines = diffs.iter().flat_map(|diff| &diff.lines).map(|line| line.text() + "\n");
                self.planned.push((subject.clone(), lines.collect()));
            }
            Event::Finished { subject, verdict, result } => {
                let field =
                    |name: &str| result.get(name).and_then(|value| value.as_str()).unwrap_or_default().to_string();
                let message =
                    [field("msg"), field("skip_reason"), field("censored"), field("stderr"), field("exception")];
                let message = message.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n");
                self.finished(subject, *verdict, message);
            }
            Event::Rescued { host } => {
                let failed = |case: &&mut Case| matches!(case.end, End::Failed(..));
                let cases = self.suites.get_mut(host).into_iter().flatten();
                for case in cases.filter(failed) {
                    case.end = End::Skipped("failed, and rescued".into());
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<Recap> {
        write(&mut self.out, &self.name, &self.suites)?;
        Ok(self.recap)
    }
}

/// Returns a plan: what is dangerous fails, what only a run can decide is skipped, all else passes with its changes.
pub fn plan(plan: &Plan) -> Result<String> {
    let mut suites: IndexMap<String, Vec<Case>> = IndexMap::new();
    for step in &plan.steps {
        let diffs = step.diffs();
        let lines = || diffs.iter().flat_map(|diff| &diff.lines);
        let dangers: Vec<&str> = lines().filter_map(review::danger).collect();
        let end = match &step.open {
            Some(why) => End::Skipped(format!("only a run can decide: {why}")),
            None if dangers.is_empty() => End::Passed,
            None => End::Failed("dangerous", dangers.join("\n")),
        };
        let item = step.item.as_ref().map(|item| format!(" ({item})")).unwrap_or_default();
        let case = Case {
            name: format!("{}{item}", step.name),
            place: step.place.clone(),
            end,
            out: lines().map(Line::text).map(|line| line + "\n").collect(),
        };
        suites.entry(step.machine().into()).or_default().push(case);
    }
    let mut out = Vec::new();
    write(&mut out, &plan.head.title(), &suites)?;
    String::from_utf8(out).map_err(std::io::Error::other)
}

/// Writes what Jenkins and GitLab read: `testsuites`, `testsuite`, `testcase`.
fn write(out: &mut impl Write, name: &str, suites: &IndexMap<String, Vec<Case>>) -> Result<()> {
    let mut writer = Writer::new_with_indent(&mut *out, b' ', 1);
    writer.write_event(Xml::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let all = || suites.values().flatten();
    let numbers = |cases: &mut dyn Iterator<Item = &Case>| {
        let mut counts = [0usize; 4];
        for case in cases {
            counts[0] += 1;
            match case.end {
                End::Passed => {}
                End::Failed(..) => counts[1] += 1,
                End::Error(_) => counts[2] += 1,
                End::Skipped(_) => counts[3] += 1,
            }
        }
        counts.map(|count| count.to_string())
    };
    let [tests, failures, errors, skipped] = numbers(&mut all());
    let attributes = |name: &str, [tests, failures, errors, skipped]: [String; 4]| {
        [("name", clean(name)), ("tests", tests), ("failures", failures), ("errors", errors), ("skipped", skipped)]
    };
    let top = attributes(name, [tests, failures, errors, skipped]);
    let element = writer.create_element("testsuites");
    element.with_attributes(top.iter().map(|(name, value)| (*name, value.as_str()))).write_inner_content(|writer| {
        for (host, cases) in suites {
            let attributes = attributes(host, numbers(&mut cases.iter()));
            let element = writer.create_element("testsuite");
            let element = element.with_attributes(attributes.iter().map(|(name, value)| (*name, value.as_str())));
            element.write_inner_content(|writer| cases.iter().try_for_each(|case| case.write(writer)))?;
        }
        Ok(())
    })?;
    out.write_all(b"\n")?;
    out.flush()
}

impl Case {
    fn write<W: Write>(&self, writer: &mut Writer<W>) -> Result<()> {
        let file = self.place.split(':').next().unwrap_or_default();
        let attributes = [("name", clean(&self.name)), ("classname", clean(&self.place)), ("file", clean(file))];
        let element = writer.create_element("testcase");
        let element = element.with_attributes(attributes.iter().map(|(name, value)| (*name, value.as_str())));
        element.write_inner_content(|writer| {
            let told = match &self.end {
                End::Passed => None,
                End::Skipped(why) => Some(("skipped", None, why)),
                End::Failed(kind, why) => Some(("failure", Some(*kind), why)),
                End::Error(why) => Some(("error", Some("unreachable"), why)),
            };
            if let Some((element, kind, why)) = told {
                let why = clean(why);
                let first = why.lines().next().unwrap_or_default();
                let element = writer.create_element(element).with_attribute(("message", first));
                let element = element.with_attributes(kind.map(|kind| ("type", kind)));
                element.write_text_content(BytesText::new(&why))?;
            }
            if !self.out.is_empty() {
                writer.create_element("system-out").write_text_content(BytesText::new(&clean(&self.out)))?;
            }
            Ok(())
        })?;
        Ok(())
    }
}

/// Takes away what no XML document may hold, escaped or not (XML 1.0, 2.2).
fn clean(text: &str) -> String {
    let allowed = |character: &char| {
        *character >= ' ' && !matches!(character, '\u{fffe}' | '\u{ffff}') || matches!(character, '\n' | '\t')
    };
    printable(text).chars().filter(allowed).collect()
}
