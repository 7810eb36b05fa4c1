//! The one script that changes paths: it compares, makes each change atomically, and says how far it came.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};

use super::look::{mode_word, word};
use super::run::{SMALL, receive};
use super::shell::Effect;
use super::tools::Tools;
use super::{Posix, launch, uncertain};
use crate::transport::command::quote;
use crate::transport::{
    Body, Content, Digest, Links, Node, Others, Output, PathChange, Permissions, Process, Transport as _,
    TransportError, Want, WriteError,
};

/// The most bytes of script that are sent at once.
const BATCH: usize = 256 * 1024;

/// One change as script, and what must be on the script's stdin for it.
struct Step {
    script: String,
    input: Option<Input>,
}

/// A content too big for a script.
enum Input {
    Bytes(Arc<[u8]>),
    File(PathBuf),
}

impl Posix {
    /// Makes the changes: small ones together, a big content on a channel of its own.
    pub(super) async fn write_all(&self, changes: &[PathChange]) -> Result<(), WriteError> {
        let mut from = 0;
        while from < changes.len() {
            let mut batch = String::new();
            let mut input = None;
            let mut next = from;
            while next < changes.len() && batch.len() < BATCH && input.is_none() {
                let change = &changes[next];
                // Compared from here, right before the script: so nothing else may go before it in the script.
                let compared = !self.tools.digests() && digest_of(change.before()).is_some() && !change.keeps_content();
                let step = step(change, next, &self.tools).await.map_err(|error| failed(changes, next, error))?;
                if next > from && (compared || step.input.is_some()) {
                    break;
                }
                batch += &step.script;
                input = step.input;
                next += 1;
                if compared {
                    self.compare_digest(changes, from).await?;
                    break;
                }
            }
            let script = frame(&batch, &changes[from..next]);
            let output = match input {
                None => self.shell.ask(&script, Effect::Changes).await,
                Some(input) => match self.hold(Others::Respect).await {
                    Ok(()) => {
                        let output = self.upload(&script, input).await;
                        self.shell.note_change();
                        output
                    }
                    Err(error) => Err(error),
                },
            };
            let output = output.map_err(|error| failed(changes, from, error))?;
            self.judge(changes, (from, next - from), &output).await?;
            from = next;
        }
        Ok(())
    }

    /// Runs a script whose content comes on stdin.
    async fn upload(&self, script: &str, input: Input) -> Result<Output, TransportError> {
        let mut source: Box<dyn AsyncRead + Send + Unpin> = match input {
            Input::Bytes(bytes) => Box::new(std::io::Cursor::new(bytes)),
            Input::File(path) => {
                let opened = tokio::fs::File::open(&path).await;
                Box::new(opened.map_err(|error| unreadable(&path, &error))?)
            }
        };
        let script = self.tools.prelude() + script;
        let Process { mut stdin, mut stdout, end } = receive(&self.session, script).await.map_err(uncertain)?;
        let feed = async move {
            // A script that refuses does not read: that is its answer to tell, not an error of this copy.
            if tokio::io::copy(&mut source, &mut stdin).await.is_ok() {
                let _ = stdin.shutdown().await;
            }
        };
        let mut said = Vec::new();
        let (_, read) = tokio::join!(feed, stdout.read_to_end(&mut said));
        read.map_err(|error| TransportError::Uncertain(error.to_string()))?;
        let (status, stderr) = end.await.map_err(uncertain)?;
        Ok(Output { status, stdout: said, stderr, ..Output::default() })
    }

    /// Reads how far a script came. `from` and `count` say which of the changes it held.
    async fn judge(
        &self,
        changes: &[PathChange],
        (from, count): (usize, usize),
        output: &Output,
    ) -> Result<(), WriteError> {
        let text = output.text();
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        let mut index = from;
        for (number, verdict) in lines.filter_map(|(number, verdict)| Some((number.parse().ok()?, verdict))) {
            index = number;
            match verdict {
                "ok" => index += 1,
                "stale" => return Err(self.stale(changes, index).await),
                _ => break,
            }
        }
        if index == from + count {
            return Ok(());
        }
        let reason = text.lines().last().and_then(|line| line.strip_prefix(&format!("{index} failed ")));
        let reason = reason.unwrap_or("stopped without a reason");
        let said = output.error_text();
        let message = match said.trim() {
            "" => reason.to_string(),
            said => format!("{reason}: {said}"),
        };
        Err(failed(changes, index, TransportError::Refused(message)))
    }

    /// Looks again at a path that was not as planned.
    async fn stale(&self, changes: &[PathChange], index: usize) -> WriteError {
        let path = changes[index].path();
        let want = if changes[index].before().content().is_some() { Want::Content } else { Want::Attributes };
        let mut found = self.look(&[(path.into(), Links::Keep)], want).await;
        if found.is_err() {
            found = self.look(&[(path.into(), Links::Keep)], Want::Attributes).await;
        }
        match found.map(|nodes| nodes.into_iter().next().unwrap_or(Node::Absent)) {
            Ok(found) => WriteError::Stale { index, path: path.into(), found: Box::new(found) },
            Err(error) => failed(changes, index, error),
        }
    }

    /// Compares a digest here, for a host that has no tool for it.
    async fn compare_digest(&self, changes: &[PathChange], index: usize) -> Result<(), WriteError> {
        let path = (changes[index].path().to_string(), Links::Keep);
        let found = self.look(&[path], Want::Digest).await.map_err(|error| failed(changes, index, error))?;
        match found.first().and_then(digest_of) == digest_of(changes[index].before()) {
            true => Ok(()),
            false => Err(self.stale(changes, index).await),
        }
    }
}

fn digest_of(node: &Node) -> Option<&Digest> {
    node.content()?.digest.as_ref()
}

fn failed(changes: &[PathChange], index: usize, error: TransportError) -> WriteError {
    WriteError::Failed { index, path: changes[index].path().into(), error }
}

/// Puts the steps between what begins and what ends every script of changes.
fn frame(steps: &str, changes: &[PathChange]) -> String {
    let directories: BTreeSet<String> = changes.iter().map(|change| word(parent(change.path()))).collect();
    let directories: Vec<String> = directories.into_iter().collect();
    format!("c_flush() {{ c_sync_directory {}; }}\nc_begin\n{steps}exit 0\n", directories.join(" "))
}

/// Returns the script of one change.
async fn step(change: &PathChange, index: usize, tools: &Tools) -> Result<Step, TransportError> {
    let (path, before) = (change.path().trim_end_matches('/'), change.before());
    let timeless = (!change.sets_time()).then(|| change.after().without_time());
    let after = timeless.as_ref().unwrap_or(change.after());
    if path.contains('\0') || !change.path().starts_with('/') || path.is_empty() {
        return Err(TransportError::Refused("is not an absolute path that can be changed".into()));
    }
    let directory = parent(path).trim_end_matches('/');
    let temp = format!("{directory}/.cutover.{}", &launch::nonce()[..16]);
    let mut script = format!(
        "c_change {index} {} {} {}\n{}\n",
        quote(path),
        quote(&temp),
        quote(parent(path)),
        expectation((before, after), change.keeps_content(), tools)
    );
    let mut input = None;
    let remove = if matches!(before, Node::Directory { .. }) { "c_remove\n" } else { "" };
    match (before, after) {
        (_, Node::Absent) => script += "c_remove\n",
        (_, Node::File { content, .. }) if !keeps_content(before, content) => {
            input = contents(&mut script, content, tools).await?;
            // Before the mode, which may forbid its own owner to open it.
            script += "c_sync_file \"$c_t\"\n";
            script += &settle("\"$c_t\"", (after, Some(content.size)), change.accessed(), tools);
            if let Some(validate) = change.validate() {
                script += &format!("c_check {}\n", quote(&validate.replace("%s", &quote(&temp))));
            }
            script += &format!("{remove}c_rename\n");
        }
        (Node::Directory { .. }, Node::Directory { .. }) | (Node::File { .. }, Node::File { .. }) => {
            // What goes on being written to has another size by now, and is still the same file.
            let size = if change.keeps_content() { None } else { after.content().map(|content| content.size) };
            script += &settle("\"$c_p\"", (after, size), change.accessed(), tools);
        }
        (Node::Special { letter: old, .. }, Node::Special { letter: new, .. }) if old == new => {
            script += &settle("\"$c_p\"", (after, None), None, tools);
        }
        (_, Node::Directory { .. }) => {
            // `mv` replaces no file by a directory.
            let remove = if before.exists() { "c_remove\n" } else { "" };
            script += &format!("c_mkdir\n{}{remove}c_rename\n", settle("\"$c_t\"", (after, None), None, tools));
        }
        (Node::Link { target: old, .. }, Node::Link { target, permissions }) if old == target => {
            script += &format!("c_own_link \"$c_p\" '{}'\n", owners(permissions));
        }
        (_, Node::Link { target, permissions }) => {
            script += &format!("c_symlink {} '{}'\n{remove}c_rename\n", quote(target), owners(permissions));
        }
        (_, Node::File { .. } | Node::Special { .. }) => {
            let kind = after.kind();
            return Err(TransportError::Refused(format!("a {kind} cannot be made out of what is there")));
        }
    }
    script += "c_done\n";
    Ok(Step { script, input })
}

/// Returns the comparison with `before`; where the content stays, whatever it is, without it.
fn expectation((before, after): (&Node, &Node), stays: bool, tools: &Tools) -> String {
    let attributes = |letter, permissions: &Permissions| attributes(letter, permissions, tools);
    match before {
        Node::Absent => "c_was_absent".into(),
        Node::File { permissions, .. } if stays => format!("c_was '{}' '' '' ''", attributes('-', permissions)),
        Node::File { content, permissions, modified } => {
            let digest = content.digest.as_ref().filter(|_| tools.digests()).map_or("", |digest| &digest.0);
            // A content that is known to be the same may have been touched; one that is not known may not.
            let time = if content.digest.is_none() || is_timed(after) { time(*modified, tools) } else { String::new() };
            format!("c_was '{}' '{}' '{time}' '{digest}'", attributes('-', permissions), content.size)
        }
        Node::Directory { permissions, modified } => {
            // Its time moves with every entry that is made in it, by this very run among others.
            let time = if is_timed(after) { time(*modified, tools) } else { String::new() };
            format!("c_was '{}' '' '{time}' ''", attributes('d', permissions))
        }
        Node::Link { target, permissions } => format!("c_was_link {} '{}'", quote(target), owners(permissions)),
        Node::Special { letter, permissions } => format!("c_was '{}' '' '' ''", attributes(*letter, permissions)),
    }
}

/// Says whether a change asks for a modification time.
fn is_timed(after: &Node) -> bool {
    matches!(after, Node::File { modified: Some(_), .. } | Node::Directory { modified: Some(_), .. })
}

/// A time in seconds as the host would print it; `ls` prints none that can be compared.
fn time(modified: Option<i64>, tools: &Tools) -> String {
    modified.filter(|_| tools.stat != 'l').map(|time| time.to_string()).unwrap_or_default()
}

/// Says whether only attributes change.
fn keeps_content(before: &Node, content: &Content) -> bool {
    let Some(old) = before.content() else { return false };
    matches!(content.body, Body::There) || (old.digest.is_some() && old.digest == content.digest)
}

/// Adds the making of the temp file; returns what must come on stdin.
async fn contents(script: &mut String, content: &Content, tools: &Tools) -> Result<Option<Input>, TransportError> {
    script.push_str("c_temp\n");
    let small = content.size <= SMALL as u64;
    let (bytes, input) = match &content.body {
        Body::There | Body::Peer { .. } | Body::Own { .. } | Body::Printed { .. } | Body::Unknown { .. } => {
            return Err(TransportError::Refused("its new content is not known here".into()));
        }
        Body::Here(bytes) if small => (bytes.to_vec(), None),
        Body::Here(bytes) => (Vec::new(), Some(Input::Bytes(bytes.clone()))),
        Body::File(path) if small => {
            let bytes = tokio::fs::read(path).await.map_err(|error| unreadable(path, &error))?;
            if content.digest.as_ref().is_some_and(|digest| *digest != Digest::of(&bytes)) {
                let message = format!("`{}` is no longer what it was when the change was planned", path.display());
                return Err(TransportError::Refused(message));
            }
            (bytes, None)
        }
        Body::File(path) => (Vec::new(), Some(Input::File(path.clone()))),
    };
    if input.is_none() {
        *script += &format!("{} >>\"$c_t\" || c_fail 'cannot be written'\n", tools.print(&bytes));
        return Ok(None);
    }
    *script += "cat >>\"$c_t\" || c_fail 'cannot be written'\n";
    if let (Some(Digest(digest)), true) = (&content.digest, tools.digests()) {
        *script += &format!("c_is {digest}\n");
    }
    Ok(input)
}

fn unreadable(path: &std::path::Path, error: &std::io::Error) -> TransportError {
    TransportError::Refused(format!("cannot read `{}` on the controller: {error}", path.display()))
}

/// Returns the setting of everything but the content.
fn settle(path: &str, (after, size): (&Node, Option<u64>), accessed: Option<i64>, tools: &Tools) -> String {
    let size = size.map_or(String::new(), |size| size.to_string());
    let (letter, modified) = match after {
        Node::File { modified, .. } => ('-', *modified),
        Node::Directory { modified, .. } => ('d', *modified),
        Node::Special { letter, .. } => (*letter, None),
        Node::Absent | Node::Link { .. } => return String::new(),
    };
    let Some(permissions) = after.permissions() else { return String::new() };
    let stamp = |time: Option<i64>| {
        let stamp = time.and_then(|time| jiff::Timestamp::from_second(time).ok());
        stamp.map(|stamp| stamp.strftime("%Y%m%d%H%M.%S").to_string()).unwrap_or_default()
    };
    let (modified, accessed) = (stamp(modified), stamp(accessed));
    // Five digits: with four, GNU's `chmod` keeps a directory's setgid bit.
    let mode = format!("0{:04o}", permissions.mode);
    format!("c_settle {path} '{}' {mode} '{modified}' '{size}' '{accessed}'\n", attributes(letter, permissions, tools))
}

fn attributes(letter: char, permissions: &Permissions, tools: &Tools) -> String {
    format!("{} {}", mode_word(tools.stat, letter, permissions.mode), owners(permissions))
}

fn owners(permissions: &Permissions) -> String {
    format!("{} {}", permissions.owner.id, permissions.group.id)
}

/// Returns the directory of an absolute path.
fn parent(path: &str) -> &str {
    match path.trim_end_matches('/').rfind('/') {
        Some(0) | None => "/",
        Some(at) => &path[..at],
    }
}
