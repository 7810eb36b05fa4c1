//! `assemble`: a file of the host is all files of a directory, one after the other.

use async_trait::async_trait;
use serde::Deserialize;

use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Outcome, Planned};
use crate::transport::{Content, Links, Node, Want};

use super::checksum::Algorithm;
use super::install::Install;
use super::pattern::{Lines, Pattern};
use super::place::{WRITING, Writing, base_name, bytes_of, join};
use super::rights::RIGHTS;
use super::source::{What, local, unsealed};

pub const ASSEMBLE: Entry = Entry {
    name: "assemble",
    summary: "Makes a file of all files of a directory, in the order of their names",
    arguments: &[
        &[
            Argument::new("src", Kind::Path, "The directory with the fragments. Directories in it are passed over.")
                .required(),
            Argument::new("dest", Kind::Path, "The file.").required(),
            Argument::new(
                "delimiter",
                Kind::Text,
                "A line between two fragments; escapes such as `\\n` are those of Python.",
            ),
            Argument::new(
                "remote_src",
                Kind::Bool,
                "The directory is on the host; on unless set. Else it is on the controller.",
            ),
            Argument::new(
                "regexp",
                Kind::Text,
                "Take only files in whose names this regular expression finds something.",
            ),
            Argument::new("ignore_hidden", Kind::Bool, "Pass over files whose names begin with a dot."),
            Argument::new(
                "decrypt",
                Kind::Bool,
                "Decrypt what a vault has encrypted on the controller; on unless set.",
            ),
        ],
        WRITING,
        RIGHTS,
    ],
    free_form: None,
    example: "\
- name: Routes of all customers
  assemble:
    src: /var/qmail/control/smtproutes.d
    dest: /var/qmail/control/smtproutes
    regexp: \"^[^.]+$\"
    mode: \"0644\"
",
    build,
};

#[derive(Deserialize)]
struct Written {
    src: String,
    dest: String,
    delimiter: Option<String>,
    remote_src: Option<bool>,
    regexp: Option<String>,
    #[serde(default)]
    ignore_hidden: bool,
    decrypt: Option<bool>,
    #[serde(flatten)]
    writing: Writing,
}

struct Assemble {
    written: Written,
    pattern: Option<Pattern>,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let written: Written = arguments.read()?;
    written.writing.check()?;
    let pattern = written.regexp.as_deref().map(|text| Pattern::new("regexp", text, Lines::One)).transpose()?;
    Ok(Box::new(Assemble { written, pattern }))
}

#[async_trait]
impl Module for Assemble {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let fragments = match self.written.remote_src {
            Some(false) => self.here(host).await?,
            _ => self.there(host).await?,
        };
        let bytes = joined(&fragments, self.written.delimiter.as_deref().map(unescaped).as_deref());
        let md5sum = Algorithm::named(Some("md5")).of(&bytes);
        let install = Install {
            dest: &self.written.dest,
            name: None,
            links: Links::Keep,
            force: true,
            directories: self.written.writing.rights.with_mode(None),
            writing: &self.written.writing,
        };
        let mut planned = install.plan(host, Content::here(bytes)).await?;
        if let Outcome::Known(results) = &mut planned.result {
            results.insert("src".into(), self.written.src.as_str().into());
            results.insert("msg".into(), "OK".into());
            results.insert("md5sum".into(), md5sum.into());
        }
        Ok(planned)
    }
}

impl Assemble {
    fn takes(&self, name: &str) -> Result<bool, ModuleError> {
        let hidden = self.written.ignore_hidden && name.starts_with('.');
        Ok(!hidden && self.pattern.as_ref().map_or(Ok(true), |pattern| pattern.is_match(name))?)
    }

    /// Reads the files of the host's directory, in the order of their names.
    async fn there(&self, host: &View) -> Result<Vec<Vec<u8>>, ModuleError> {
        let src = &self.written.src;
        match host.look_all(&[(src.clone(), Links::Follow)], Want::Attributes).await?.first() {
            Some(Node::Directory { .. }) => {}
            None | Some(Node::Absent) => return Err(ModuleError::failed(format!("Source ({src}) does not exist"))),
            Some(_) => return Err(ModuleError::failed(format!("Source ({src}) is not a directory"))),
        }
        let mut names = Vec::new();
        for entry in host.list(src, Some(1)).await? {
            let name = base_name(&entry.path).to_string();
            if !matches!(entry.node, Node::Directory { .. }) && self.takes(&name)? {
                names.push(name);
            }
        }
        names.sort();
        let paths: Vec<_> = names.iter().map(|name| (join(src, name), Links::Follow)).collect();
        let mut fragments = Vec::new();
        for ((path, _), node) in paths.iter().zip(host.look_all(&paths, Want::Content).await?) {
            if let Node::File { content, .. } = node {
                fragments.push(bytes_of(host, path, &content).await?);
            }
        }
        Ok(fragments)
    }

    /// Reads those of the controller's.
    async fn here(&self, host: &View) -> Result<Vec<Vec<u8>>, ModuleError> {
        let root = host.controller().find("files", &self.written.src)?;
        if !root.is_dir() {
            return Err(ModuleError::failed(format!("Source ({}) is not a directory", self.written.src)));
        }
        let mut items = local(&root, Links::Follow)?;
        if self.written.decrypt.unwrap_or(true) {
            unsealed(&mut items, &self.written.src)?;
        }
        let mut fragments = Vec::new();
        for item in items {
            if let What::File { content, .. } = item.what
                && !item.name.contains('/')
                && self.takes(&item.name)?
            {
                fragments.push(bytes_of(host, "", &content).await?);
            }
        }
        Ok(fragments)
    }
}

/// Puts fragments together, each with an end of its last line where another follows, and the delimiter on a line between them.
fn joined(fragments: &[Vec<u8>], delimiter: Option<&[u8]>) -> Vec<u8> {
    let mut bytes: Vec<u8> = Vec::new();
    let mut ends = true;
    for (index, fragment) in fragments.iter().enumerate() {
        if !ends {
            bytes.push(b'\n');
        }
        if let Some(delimiter) = delimiter.filter(|delimiter| index > 0 && !delimiter.is_empty()) {
            bytes.extend(delimiter);
            bytes.extend((!delimiter.ends_with(b"\n")).then_some(b'\n'));
        }
        bytes.extend(fragment);
        ends = fragment.ends_with(b"\n");
    }
    bytes
}

/// Returns the bytes of a text with Python's escapes.
fn unescaped(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), text);
    while let Some((before, after)) = rest.split_once('\\') {
        bytes.extend(before.bytes());
        let letter = after.bytes().next().unwrap_or(b'\\');
        let named = [(b'n', b'\n'), (b't', b'\t'), (b'r', b'\r'), (b'a', 7), (b'b', 8), (b'f', 12), (b'v', 11)];
        let hex =
            after.strip_prefix('x').and_then(|after| after.get(..2)).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        let (byte, length) = match (hex, named.iter().find(|(name, _)| *name == letter)) {
            (Some(byte), _) => (Some(byte), 3),
            (None, Some((_, byte))) => (Some(*byte), 1),
            (None, None) if b"\\'\"".contains(&letter) => (Some(letter), 1),
            // An unknown escape stays as it is.
            (None, None) => (None, 0),
        };
        bytes.push(byte.unwrap_or(b'\\'));
        rest = after.get(length..).unwrap_or_default();
    }
    bytes.extend(rest.bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::modules::files::bench::Bench;

    fn bench() -> Bench {
        let bench = Bench::new();
        for (name, text) in [("b", "two"), ("a.conf", "one\n"), (".c", "hidden\n"), ("sub/d", "below\n")] {
            bench.host.file(&format!("/etc/parts/{name}"), text, 0o644);
            bench.source(&format!("files/parts/{name}"), text);
        }
        bench
    }

    #[tokio::test]
    async fn fragments_are_joined_in_the_order_of_their_names_wherever_they_are() {
        for remote in [true, false] {
            let bench = bench();
            let src = if remote { "/etc/parts" } else { "parts" };
            let results = bench
                .twice("assemble", json!({"src": src, "dest": "/etc/whole", "remote_src": remote, "mode": "0600"}))
                .await;
            assert_eq!(bench.host.read("/etc/whole").unwrap(), "hidden\none\ntwo");
            assert_eq!(bench.mode("/etc/whole"), 0o600);
            assert_eq!(results["msg"], "OK");
            assert_eq!(results["md5sum"].as_str().unwrap().len(), 32);
        }
    }

    #[tokio::test]
    async fn a_delimiter_is_a_line_and_names_are_chosen() {
        let bench = bench();
        let arguments =
            json!({"src": "/etc/parts", "dest": "/etc/whole", "ignore_hidden": true, "delimiter": "#\\x2d\\t\\\\"});
        bench.twice("assemble", arguments).await;
        assert_eq!(bench.host.read("/etc/whole").unwrap(), "one\n#-\t\\\ntwo");
        bench.twice("assemble", json!({"src": "/etc/parts", "dest": "/etc/whole", "regexp": "\\.conf$"})).await;
        assert_eq!(bench.host.read("/etc/whole").unwrap(), "one\n");
    }

    #[tokio::test]
    async fn what_is_no_directory_of_fragments_is_named() {
        let bench = bench();
        for (src, why) in [("/etc/none", "Source (/etc/none) does not exist"), ("/etc/parts/b", "is not a directory")] {
            let error = bench.plan("assemble", json!({"src": src, "dest": "/etc/whole"})).await.err().unwrap();
            assert!(error.to_string().contains(why), "{error}");
        }
    }

    #[test]
    fn delimiters_only_stand_between() {
        let all = |texts: &[&str]| {
            let fragments: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
            String::from_utf8(joined(&fragments, Some(b"--\n"))).unwrap()
        };
        assert_eq!(all(&[]), "");
        assert_eq!(all(&["a"]), "a");
        assert_eq!(all(&["a", "b\n", "c"]), "a\n--\nb\n--\nc");
    }
}
