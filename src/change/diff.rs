//! How a change is shown: lines of data; a reporter colours them and nothing computes them a second way.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use similar::TextDiff;

use crate::secret;
use crate::transport::command::quote;
use crate::transport::name::{printable, shown};
use crate::transport::{Command, Content, Digest, Node, PathChange, Permissions};

use super::{Change, On, StateChange, danger};

/// Lines beyond this many are counted, not shown.
const MAX_LINES: usize = 2000;
/// Worth a word, and what most files are.
pub const WORLD_READABLE: &str = "becomes world-readable";
/// Unchanged lines around a difference.
const CONTEXT: usize = 3;

/// A change made readable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Diff {
    pub lines: Vec<Line>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// `--- path ...`, `+++ path ...`, `@@ ... @@`.
    Header(String),
    Context(String),
    Removed(String),
    Added(String),
    /// What a reviewer must not miss: something becomes world-readable, world-writable or setuid; see `danger`.
    Warning(String),
}

/// Whether content may be shown; `no_log` and vault content may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrecy {
    Open,
    Hidden,
}

impl Line {
    /// The line as printed without colour.
    pub fn text(&self) -> String {
        match self {
            Line::Header(text) => text.clone(),
            Line::Context(text) => format!(" {text}"),
            Line::Removed(text) => format!("-{text}"),
            Line::Added(text) => format!("+{text}"),
            Line::Warning(text) => format!("! {text}"),
        }
    }

    /// Takes away what would make further lines of it, colour a terminal, or tell a secret.
    fn on_one_line(self) -> Line {
        let safe = |text: String| {
            let text = match secret::mask(&text) {
                Cow::Borrowed(_) => text,
                Cow::Owned(masked) => masked,
            };
            match printable(&text) {
                Cow::Borrowed(_) if !text.contains('\n') => text,
                safe => safe.replace('\n', "\\n"),
            }
        };
        match self {
            Line::Header(text) => Line::Header(safe(text)),
            Line::Context(text) => Line::Context(safe(text)),
            Line::Removed(text) => Line::Removed(safe(text)),
            Line::Added(text) => Line::Added(safe(text)),
            Line::Warning(text) => Line::Warning(safe(text)),
        }
    }
}

impl Diff {
    /// Returns the lines as they are printed.
    pub fn texts(&self) -> Vec<String> {
        self.lines.iter().map(Line::text).collect()
    }
}

impl Change {
    /// Returns how this change is shown.
    pub fn diff(&self, secrecy: Secrecy) -> Diff {
        let lines = match self {
            Change::Path { on, change } => path_lines(*on, change, secrecy),
            Change::State(state) => state_lines(state, secrecy),
            Change::Records(records) => records.lines(),
            Change::Run { command } => run_lines(command, secrecy),
            Change::Transfer(transfer) => transfer.lines(secrecy),
        };
        Diff { lines: lines.into_iter().map(Line::on_one_line).collect() }
    }
}

impl Change {
    /// Returns how a change is shown whose content is known in part: nothing is said of the size or digest it will have.
    pub fn foreseen(&self, secrecy: Secrecy) -> Diff {
        let Change::Path { change, .. } = self else { return self.diff(secrecy) };
        let Node::File { permissions, modified, .. } = change.after() else { return self.diff(secrecy) };
        let text =
            text_of(change.after().content()).filter(|_| secrecy == Secrecy::Open && change.secret_field().is_none());
        let content = Content::unknown("".into());
        let after = Node::File { content, permissions: permissions.clone(), modified: *modified };
        let unknown = Change::path(change.path(), change.before().clone(), after);
        let mut lines = unknown.map(|unknown| unknown.diff(Secrecy::Hidden).lines).unwrap_or_default();
        if let (Some(old), Some(new)) = (text_of(change.before().content()), text) {
            lines.retain(
                |line| !matches!(line, Line::Added(text) | Line::Removed(text) if text.starts_with("content: ")),
            );
            lines.extend(unified(old, new).into_iter().map(Line::on_one_line));
        }
        Diff { lines }
    }

    /// Returns this change in one line: what to look at, and what it is before and after.
    pub fn in_short(&self, secrecy: Secrecy) -> String {
        match self {
            Change::Path { on, change } => {
                let place = if *on == On::Controller { " (on the controller)" } else { "" };
                let [before, after] = [change.before(), change.after()].map(|node| shown_as(node, secrecy));
                let (before, after) = describe_apart(&before, &after);
                format!("`{}`{place} (before: {before}; after: {after})", shown(change.path()))
            }
            Change::State(state) => match secrecy {
                Secrecy::Hidden if !state.has_secret_commands() => format!("{} (hidden by no_log)", state.what()),
                _ => {
                    format!(
                        "{} (before: `{}`; after: `{}`)",
                        state.what(),
                        one_line(state.before()),
                        one_line(state.after())
                    )
                }
            },
            Change::Records(records) => records.in_short(),
            Change::Run { command } => match secrecy {
                Secrecy::Open => format!("`{}`", one_line(&command.line())),
                Secrecy::Hidden => "a command (hidden by no_log)".into(),
            },
            Change::Transfer(transfer) => format!("the move of messages from `{}`", transfer.from),
        }
    }
}

/// Returns the first line of a text, with the number of those that follow.
fn one_line(text: &str) -> String {
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    match lines.count() {
        0 => first.into(),
        more => format!("{first} ... and {more} more lines"),
    }
}

/// Returns a node as far as it may be shown: where a link leads is its content.
fn shown_as(node: &Node, secrecy: Secrecy) -> Cow<'_, Node> {
    match (node, secrecy) {
        (Node::Link { permissions, .. }, Secrecy::Hidden) => {
            Cow::Owned(Node::Link { target: "(hidden)".into(), permissions: permissions.clone() })
        }
        _ => Cow::Borrowed(node),
    }
}

fn path_lines(on: On, change: &PathChange, secrecy: Secrecy) -> Vec<Line> {
    let (before, after) = (shown_as(change.before(), secrecy), shown_as(change.after(), secrecy));
    let (path, before, after) = (shown(change.path()), &*before, &*after);
    let place = if on == On::Controller { " (on the controller)" } else { "" };
    let mut lines = vec![
        Line::Header(format!("--- {path}{place}  {}", describe(before))),
        Line::Header(format!("+++ {path}{place}  {}", describe(after))),
    ];
    if let Some(validate) = change.validate() {
        lines.push(Line::Header(match secrecy {
            Secrecy::Open => format!("    validated by: {}", shown(validate)),
            Secrecy::Hidden => "    validated by: (hidden by no_log)".into(),
        }));
    }
    lines.extend(danger::of_path(change).into_iter().map(Line::Warning));
    lines.extend(permission_lines(before.permissions(), after.permissions(), after));
    lines.extend(time_lines(before.modified(), after.modified()));
    if before.content() != after.content() {
        lines.extend(match (change.secret_field(), secrecy) {
            (Some(field), Secrecy::Open) => masked_lines(before.content(), after.content(), field),
            _ => content_lines(before.content(), after.content(), secrecy),
        });
    }
    if secrecy == Secrecy::Open {
        lines.extend(change.meaning().iter().map(|line| Line::Header(format!("    {line}"))));
    }
    lines
}

/// Returns one line for each of two nodes that are not the same, with the digests where nothing else tells them apart.
pub fn describe_apart(left: &Node, right: &Node) -> (String, String) {
    let (mut one, mut other) = (describe(left), describe(right));
    if one == other {
        for (text, node) in [(&mut one, left), (&mut other, right)] {
            if let Some(digest) = node.content().and_then(|content| content.digest.as_ref()) {
                let _ = write!(text, ", SHA-256 {}", digest.0);
            }
        }
    }
    (one, other)
}

/// Returns one line for a node: kind, mode both ways, owner and group, size or target.
pub fn describe(node: &Node) -> String {
    let Some(permissions) = node.permissions() else { return "absent".into() };
    let letter = match node {
        Node::Directory { .. } => 'd',
        Node::Link { .. } => 'l',
        Node::Special { letter, .. } => *letter,
        _ => '-',
    };
    let mut text = format!(
        "{letter}{} {:04o} {}:{}",
        symbolic(permissions.mode),
        permissions.mode,
        permissions.owner.name,
        permissions.group.name
    );
    match node {
        Node::File { content, .. } if content.is_unknown() => text.push_str(", (known after apply)"),
        Node::File { content, .. } => {
            let _ = write!(text, ", {} bytes", content.size);
        }
        Node::Link { target, .. } => {
            let _ = write!(text, " -> {}", shown(target));
        }
        _ => {}
    }
    text
}

/// Returns the nine letters of `ls -l`, with `s`, `S`, `t` and `T`.
pub fn symbolic(mode: u32) -> String {
    let special = [(0o4000, 's', 'S'), (0o2000, 's', 'S'), (0o1000, 't', 'T')];
    let mut text = String::new();
    for (index, (bit, set, bare)) in special.into_iter().enumerate() {
        let triple = mode >> (6 - 3 * index) & 7;
        text.push(if triple & 4 != 0 { 'r' } else { '-' });
        text.push(if triple & 2 != 0 { 'w' } else { '-' });
        text.push(match (mode & bit != 0, triple & 1 != 0) {
            (false, false) => '-',
            (false, true) => 'x',
            (true, true) => set,
            (true, false) => bare,
        });
    }
    text
}

/// Returns the difference of modification times where one is asked for: those of a node that a check has only planned
/// are not known yet, and a check and the run after it show the same.
fn time_lines(before: Option<i64>, after: Option<i64>) -> Vec<Line> {
    let show = |seconds: i64| match jiff::Timestamp::from_second(seconds) {
        Ok(time) => format!("modified: {time}"),
        Err(_) => format!("modified: {seconds}"),
    };
    match after {
        Some(new) if before != Some(new) => {
            let removed = before.map(|old| Line::Removed(show(old)));
            removed.into_iter().chain([Line::Added(show(new))]).collect()
        }
        _ => Vec::new(),
    }
}

/// Returns the permission differences, and a warning for each dangerous bit that is new.
fn permission_lines(before: Option<&Permissions>, after: Option<&Permissions>, node: &Node) -> Vec<Line> {
    let Some(new) = after else { return Vec::new() };
    let mut lines = Vec::new();
    if let Some(old) = before {
        let mut pairs = vec![
            ("owner", old.owner.name.clone(), new.owner.name.clone(), old.owner != new.owner),
            ("group", old.group.name.clone(), new.group.name.clone(), old.group != new.group),
        ];
        if !matches!(node, Node::Link { .. }) {
            let mode = |mode: u32| format!("{mode:04o} {}", symbolic(mode));
            pairs.insert(0, ("mode", mode(old.mode), mode(new.mode), old.mode != new.mode));
        }
        for (what, old, new, differs) in pairs {
            if differs {
                lines.push(Line::Removed(format!("{what}: {old}")));
                lines.push(Line::Added(format!("{what}: {new}")));
            }
        }
    }
    if matches!(node, Node::Link { .. }) {
        return lines;
    }
    let old = before.map_or(0, |permissions| permissions.mode);
    let added = new.mode & !old;
    let directory = matches!(node, Node::Directory { .. });
    // A sticky directory such as /tmp is open to all by design, but it is still worth a word.
    let bits = [(0o0002, "world-writable"), (0o4000, "setuid"), (0o2000, "setgid")];
    for (bit, word) in bits {
        if added & bit != 0 && !(bit == 0o2000 && directory) {
            lines.push(Line::Warning(format!("becomes {word}")));
        }
    }
    // What is made has its mode in its first line, and most of it is for all to read.
    if before.is_some() && added & 0o0004 != 0 {
        lines.push(Line::Warning(WORLD_READABLE.into()));
    }
    lines
}

fn content_lines(before: Option<&Content>, after: Option<&Content>, secrecy: Secrecy) -> Vec<Line> {
    let texts = (text_of(before), text_of(after));
    match texts {
        (Some(old), Some(new)) if secrecy == Secrecy::Open => unified(old, new),
        _ => {
            let show = |content: &Content| {
                // A digest of a short secret is as good as the secret to who has the time.
                if content.is_unknown() {
                    return "content: (known after apply)".into();
                }
                if secrecy == Secrecy::Hidden {
                    return format!("content: {} bytes (hidden)", content.size);
                }
                let digest = content.digest.as_ref().map_or("unknown", |digest| digest.0.as_str());
                format!("content: {} bytes, sha256 {digest}", content.size)
            };
            let removed = before.map(|content| Line::Removed(show(content)));
            removed.into_iter().chain(after.map(|content| Line::Added(show(content)))).collect()
        }
    }
}

/// Returns the difference of two texts of which one field of each line is shown by its kind and fingerprint only.
fn masked_lines(before: Option<&Content>, after: Option<&Content>, field: usize) -> Vec<Line> {
    let masked =
        |content| text_of(content).map(|text| text.split_inclusive('\n').map(|line| mask(line, field)).collect());
    let texts: (Option<String>, Option<String>) = (masked(before), masked(after));
    match texts {
        (Some(old), Some(new)) if old != new => unified(&old, &new),
        _ => content_lines(before, after, Secrecy::Hidden),
    }
}

/// Only a salted hash has a fingerprint: that of a plain password could be guessed from.
fn mask(line: &str, field: usize) -> String {
    let (text, end) = line.strip_suffix('\n').map_or((line, ""), |text| (text, "\n"));
    let fields = text.split(':').enumerate().map(|(index, value)| {
        let kind = value.strip_prefix('$').and_then(|rest| rest.split_once('$')).filter(|(_, rest)| rest.contains('$'));
        match kind {
            _ if index + 1 != field || value.is_empty() => value.to_string(),
            Some((kind, _)) => format!("(${kind}$ {})", &Digest::of(value.as_bytes()).0[..12]),
            None => "(hidden)".into(),
        }
    });
    fields.collect::<Vec<_>>().join(":") + end
}

/// Returns the content as text; nothing counts as empty text. `None`: binary, or not here.
fn text_of(content: Option<&Content>) -> Option<&str> {
    let Some(content) = content else { return Some("") };
    let bytes = content.bytes()?;
    let binary = bytes.iter().take(8192).any(|byte| *byte == 0);
    std::str::from_utf8(bytes).ok().filter(|_| !binary)
}

/// Returns a unified diff's hunks, with `\ No newline at end of file` where it applies.
fn unified(old: &str, new: &str) -> Vec<Line> {
    let diff = TextDiff::configure().timeout(std::time::Duration::from_millis(300)).diff_lines(old, new);
    let mut lines = Vec::new();
    for hunk in diff.unified_diff().context_radius(CONTEXT).iter_hunks() {
        lines.push(Line::Header(hunk.header().to_string()));
        for change in hunk.iter_changes() {
            let value = change.to_string_lossy();
            let text = value.strip_suffix('\n').unwrap_or(&value).to_string();
            lines.push(match change.tag() {
                similar::ChangeTag::Equal => Line::Context(text),
                similar::ChangeTag::Delete => Line::Removed(text),
                similar::ChangeTag::Insert => Line::Added(text),
            });
            if change.missing_newline() {
                lines.push(Line::Header("\\ No newline at end of file".into()));
            }
        }
    }
    let more = lines.len().saturating_sub(MAX_LINES);
    if more > 0 {
        lines.truncate(MAX_LINES);
        lines.push(Line::Header(format!("... and {more} more lines")));
    }
    lines
}

/// A script of several lines is several lines here too, below each other.
fn lines_of<'a>(command: &Command, head: &'a str) -> impl Iterator<Item = String> + use<'a> {
    let text = command.line();
    let lines: Vec<String> = text.strip_suffix('\n').unwrap_or(&text).split('\n').map(str::to_string).collect();
    let heads = std::iter::once(head.to_string()).chain(std::iter::repeat(" ".repeat(head.len())));
    heads.zip(lines).map(|(head, line)| head + &line)
}

fn run_lines(command: &Command, secrecy: Secrecy) -> Vec<Line> {
    if secrecy == Secrecy::Hidden {
        return vec![Line::Added("run: (hidden by no_log)".into())];
    }
    let mut lines: Vec<Line> = lines_of(command, "run: ").map(Line::Added).collect();
    if let Some(directory) = &command.directory {
        lines.push(Line::Added(format!(" in: {}", quote(directory))));
    }
    // Without what they hold, which is where people put passwords.
    if !command.environment.is_empty() {
        let names: Vec<&str> = command.environment.iter().map(|(name, _)| name.as_str()).collect();
        lines.push(Line::Added(format!("with: {}", names.join(", "))));
    }
    if let Some(limit) = command.detached {
        lines.push(Line::Added(format!("  by: itself, for at most {} s", limit.as_secs())));
    }
    if !command.stdin.is_empty() {
        lines.push(Line::Added(format!("with: {} bytes on stdin", command.stdin.len())));
    }
    lines
}

fn state_lines(state: &StateChange, secrecy: Secrecy) -> Vec<Line> {
    let mut lines = vec![Line::Header(format!("--- {}", state.what())), Line::Header(format!("+++ {}", state.what()))];
    lines.extend(danger::of_state(state).into_iter().map(Line::Warning));
    lines.extend(match state.before().contains('\n') || state.after().contains('\n') {
        // A state has no end of its last line (`StateChange`); with one, the diff has no remark on it.
        true => unified(&ended(state.before()), &ended(state.after())),
        false => {
            let removed = state.before().lines().map(|line| Line::Removed(line.into()));
            removed.chain(state.after().lines().map(|line| Line::Added(line.into()))).collect()
        }
    });
    if state.by().is_empty() {
        lines.push(Line::Header("    by: what moves the others with it".into()));
    }
    for command in state.by() {
        match secrecy {
            Secrecy::Open => lines.extend(lines_of(command, "    by: ").map(Line::Header)),
            Secrecy::Hidden => lines.push(Line::Header("    by: (hidden by no_log)".into())),
        }
    }
    lines
}

fn ended(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("{text}\n") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::Owner;

    fn node(text: &str, mode: u32, owner: &str) -> Node {
        let owner = Owner { id: 7, name: owner.into() };
        let permissions = Permissions { mode, owner: owner.clone(), group: owner };
        Node::File { content: Content::here(text.as_bytes()), permissions, modified: None }
    }

    fn shown(before: Node, after: Node) -> String {
        let change = Change::path("/c", before, after).expect("a difference");
        change.diff(Secrecy::Open).lines.iter().map(|line| line.text() + "\n").collect()
    }

    #[test]
    fn content_mode_and_owner_are_shown_together() {
        let text = shown(node("a\n", 0o640, "root"), node("b\n", 0o666, "mail"));
        assert_eq!(
            text,
            "--- /c  -rw-r----- 0640 root:root, 2 bytes\n+++ /c  -rw-rw-rw- 0666 mail:mail, 2 bytes\n\
             -mode: 0640 rw-r-----\n+mode: 0666 rw-rw-rw-\n-owner: root\n+owner: mail\n-group: root\n+group: mail\n\
             ! becomes world-writable\n! becomes world-readable\n@@ -1 +1 @@\n-a\n+b\n"
        );
    }

    #[test]
    fn a_new_file_shows_its_permissions_and_all_its_content() {
        let text = shown(Node::Absent, node("x\ny", 0o600, "root"));
        assert!(text.starts_with("--- /c  absent\n+++ /c  -rw------- 0600 root:root, 3 bytes\n"), "{text}");
        assert!(text.ends_with("+x\n+y\n\\ No newline at end of file\n"), "{text}");
    }

    #[test]
    fn a_time_is_told_only_where_it_changes() {
        let timed = |text: &str, seconds: Option<i64>| match node(text, 0o600, "root") {
            Node::File { content, permissions, .. } => Node::File { content, permissions, modified: seconds },
            other => other,
        };
        assert!(!shown(timed("a", Some(5)), timed("b", None)).contains("modified"));
        let text = shown(timed("a", Some(5)), timed("a", Some(6)));
        assert!(text.contains("-modified: 1970-01-01T00:00:05Z\n+modified: 1970-01-01T00:00:06Z\n"), "{text}");
    }

    #[test]
    fn hidden_content_is_a_size() {
        let change = Change::path("/c", node("secret", 0o600, "a"), node("other", 0o600, "a")).unwrap();
        let text: String = change.diff(Secrecy::Hidden).lines.iter().map(Line::text).collect();
        assert!(!text.contains("secret\n") && !text.contains("other") && !text.contains("sha256"), "{text}");
        assert!(text.ends_with("-content: 6 bytes (hidden)+content: 5 bytes (hidden)"), "{text}");
    }

    #[test]
    fn a_secret_field_is_shown_by_kind_and_fingerprint_and_the_rest_as_it_is() {
        let before = node("ann:$1$salt$old:7\nbob:geheim:8\n", 0o600, "a");
        let after = node("ann:$1$salt$new:7\nbob:geheim:8\n", 0o600, "a");
        let change = Change::path("/p", before.clone(), after).unwrap().with_secret_field(2);
        let text: String = change.diff(Secrecy::Open).lines.iter().map(|line| line.text() + "\n").collect();
        let digest = |hash: &str| Digest::of(hash.as_bytes()).0[..12].to_string();
        let expected = format!(
            "-ann:($1$ {}):7\n+ann:($1$ {}):7\n bob:(hidden):8\n",
            digest("$1$salt$old"),
            digest("$1$salt$new")
        );
        assert!(text.ends_with(&expected), "{text}");
        assert_eq!(change.secrecy(Secrecy::Open), Secrecy::Hidden);
        // Whoever changes it, and wherever its root is.
        for path in ["/etc/shadow", "/chroot/etc/gshadow", "/var/qmail/users/poppasswd"] {
            let change = Change::path(path, before.clone(), Node::Absent).unwrap();
            assert_eq!(change.secrecy(Secrecy::Open), Secrecy::Hidden, "{path}");
        }
        let plain = node("ann:$1$salt$old:7\nbob:passwort:8\n", 0o600, "a");
        let change = Change::path("/p", before, plain).unwrap().with_secret_field(2);
        let text: String = change.diff(Secrecy::Open).lines.iter().map(Line::text).collect();
        assert!(text.contains("content: ") && !text.contains("geheim") && !text.contains("passwort"), "{text}");
    }

    #[test]
    fn a_name_or_a_content_forges_no_line_and_colours_no_terminal() {
        let permissions = node("", 0o600, "a").permissions().unwrap().clone();
        let link = Node::Link { target: "x\n+++ /etc/passwd\u{1b}[2K".into(), permissions };
        let names = ["/a\n-gone\u{1b}[31m", "/caf\u{10ffe9}"].map(|path| {
            let change = Change::path(path, Node::Absent, link.clone()).unwrap();
            change.diff(Secrecy::Open).lines.iter().map(Line::text).collect::<Vec<_>>()
        });
        assert_eq!(names[0][0], r"--- /a\n-gone\x1b[31m  absent");
        assert_eq!(names[0][1], r"+++ /a\n-gone\x1b[31m  lrw------- 0600 a:a -> x\n+++ /etc/passwd\x1b[2K");
        assert_eq!(names[1][0], r"--- /caf\xe9  absent");
        let text = shown(node("a\r\n", 0o600, "a"), node("\u{1b}[2Kb\tc\n", 0o600, "a"));
        assert!(text.ends_with("-a\\r\n+\\x1b[2Kb\tc\n"), "{text}");
    }

    #[test]
    fn each_line_of_a_script_is_a_line() {
        let lines = Change::Run { command: Command::shell("one\n\u{1b}two\n") }.diff(Secrecy::Open).lines;
        assert_eq!(lines, [Line::Added("run: one".into()), Line::Added(r"     \x1btwo".into())]);
    }

    #[test]
    fn setuid_is_marked() {
        assert_eq!(symbolic(0o4755), "rwsr-xr-x");
        assert!(shown(node("", 0o755, "r"), node("", 0o4755, "r")).contains("! becomes setuid"));
    }
}
