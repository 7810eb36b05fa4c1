//! The questions about paths and accounts, and how their answers are read.

use std::collections::HashMap;

use super::launch::{find, nonce};
use super::tools::Tools;
use crate::transport::command::quote;
use crate::transport::name::{from_bytes, shown};
use crate::transport::{
    Body, Content, Digest, Entry, INLINE_LIMIT, Links, Node, Output, Owner, Permissions, TransportError, Want,
};

/// A question, and the mark that ends each record of its answer. What stands before the first mark is not part of it:
/// several questions may be asked by one script.
pub struct Question {
    pub script: String,
    mark: String,
    want: Want,
}

/// Asks about paths that are all looked at in the same way.
pub fn look(paths: &[&str], links: Links, want: Want) -> Question {
    let mark = nonce();
    let want_word = match want {
        Want::Attributes => "a",
        Want::Digest => "d",
        Want::Content => "c",
    };
    let links = if links == Links::Follow { "-L" } else { "''" };
    let words: Vec<String> = paths.iter().map(|path| word(path)).collect();
    let script = format!("{}c_look {want_word} {links} {}", begin(&mark), words.join(" "));
    Question { script, mark, want }
}

/// Asks for everything below a directory, at most `depth` levels.
pub fn list(directory: &str, depth: Option<u32>) -> Question {
    let mark = nonce();
    // `-path` (POSIX), not `-maxdepth`: a `*` of it matches a `/` as well.
    let pattern = depth.map(|depth| format!(".{}", "/*".repeat(depth.max(1) as usize)));
    let script = format!("{}c_list {} {}", begin(&mark), word(directory), quote(&pattern.unwrap_or_default()));
    Question { script, mark, want: Want::Attributes }
}

/// Returns what begins a question's answer: an empty record.
fn begin(mark: &str) -> String {
    format!("c_n={mark}\nprintf '%s\\n' $c_n\n")
}

/// Returns a path as a word that no tool takes for an option.
pub fn word(path: &str) -> String {
    if path.starts_with('/') { quote(path) } else { quote(&format!("./{path}")) }
}

/// What an answer holds, by path.
#[derive(Default)]
struct Records {
    lines: HashMap<String, String>,
    targets: HashMap<String, String>,
    digests: HashMap<String, String>,
    contents: HashMap<String, Vec<u8>>,
}

impl Question {
    /// Returns a node for each path that was asked about and exists.
    pub fn nodes(&self, tools: &Tools, output: &Output) -> Result<HashMap<String, Node>, TransportError> {
        let mut records = self.records(output)?;
        let lines = std::mem::take(&mut records.lines);
        let mut nodes = HashMap::new();
        for (path, line) in lines {
            let node = records.node(tools, (&path, &line), self.want)?;
            nodes.insert(path, node);
        }
        Ok(nodes)
    }

    /// Returns the entries below `directory`, sorted.
    pub fn entries(&self, tools: &Tools, directory: &str, output: &Output) -> Result<Vec<Entry>, TransportError> {
        let errors = output.error_text();
        // What vanishes during the walk is no error; what could not be read is one.
        let error = errors.lines().find(|line| !line.contains("No such file or directory"));
        if let Some(error) = error {
            return Err(TransportError::Refused(format!("cannot list `{}`: {error}", shown(directory))));
        }
        let directory = directory.trim_end_matches('/');
        let nodes = self.nodes(tools, output)?.into_iter();
        let mut entries: Vec<Entry> = nodes
            .map(|(path, node)| Entry {
                path: format!("{directory}/{}", path.strip_prefix("./").unwrap_or(&path)),
                node,
            })
            .collect();
        entries.sort_by(|left, right| left.path.cmp(&right.path));
        Ok(entries)
    }

    fn records(&self, output: &Output) -> Result<Records, TransportError> {
        let mut records = Records::default();
        let mark = format!("{}\n", self.mark).into_bytes();
        let begin = find(&output.stdout, &mark).ok_or_else(|| odd(&output.error_text()))?;
        let mut rest = &output.stdout[begin + mark.len()..];
        while let Some(end) = find(rest, &mark) {
            let record = &rest[..end];
            rest = &rest[end + mark.len()..];
            let Some((kind, record)) = record.split_first() else { continue };
            if let b's' = kind {
                let record = from_bytes(record);
                // Five numbers, then names and the path: only the path may hold blanks as well as slashes.
                let slash = record.match_indices('/').nth(1).map(|(at, _)| at).ok_or_else(|| odd(&record))?;
                records.lines.insert(record[slash + 1..].into(), record[..slash].into());
                continue;
            }
            if let b'x' = kind {
                return Err(TransportError::Refused(format!(
                    "permission denied on the way to `{}`\nhint: run as a user that may: `become: true`",
                    shown(&from_bytes(record))
                )));
            }
            let path =
                record.iter().position(|byte| *byte == 0).ok_or_else(|| odd(&String::from_utf8_lossy(record)))?;
            let (path, value) = (from_bytes(&record[..path]), &record[path + 1..]);
            match kind {
                b'l' => drop(records.targets.insert(path, from_bytes(value.strip_suffix(b"\n").unwrap_or(value)))),
                b'h' => drop(records.digests.insert(path, digest(&String::from_utf8_lossy(value)))),
                _ => drop(records.contents.insert(path, value.to_vec())),
            }
        }
        Ok(records)
    }
}

impl Records {
    fn node(&mut self, tools: &Tools, (path, line): (&str, &str), want: Want) -> Result<Node, TransportError> {
        let fields: Vec<&str> = line.splitn(6, ' ').collect();
        let [mode, user, group, size, time, names] = fields[..] else { return Err(odd(line)) };
        let (user_name, group_name) = names.split_once('/').ok_or_else(|| odd(line))?;
        let (letter, mode) = mode_of(tools.stat, mode).ok_or_else(|| odd(line))?;
        let permissions = Permissions { mode, owner: owner(user, user_name)?, group: owner(group, group_name)? };
        let modified = time.parse().ok();
        Ok(match letter {
            'd' => Node::Directory { permissions, modified },
            'l' => {
                let target = self.targets.remove(path);
                let target =
                    target.ok_or_else(|| TransportError::Refused(format!("cannot read the link `{}`", shown(path))))?;
                Node::Link { target, permissions }
            }
            '-' => {
                let size = size.parse().map_err(|_| odd(line))?;
                Node::File { content: self.content(path, size, want)?, permissions, modified }
            }
            letter => Node::Special { letter, permissions },
        })
    }

    fn content(&mut self, path: &str, size: u64, want: Want) -> Result<Content, TransportError> {
        if want == Want::Attributes {
            return Ok(Content { size, digest: None, body: Body::There });
        }
        if let Some(bytes) = self.contents.remove(path) {
            let content = Content::here(bytes);
            return Ok(match want == Want::Content && content.size <= INLINE_LIMIT {
                true => content,
                false => Content { body: Body::There, ..content },
            });
        }
        let digest = self.digests.remove(path).map(Digest);
        match digest {
            Some(digest) => Ok(Content { size, digest: Some(digest), body: Body::There }),
            None => {
                let hint = "run as a user that may: `become: true`";
                Err(TransportError::Refused(format!("cannot read `{}`\nhint: {hint}", shown(path))))
            }
        }
    }
}

/// Reads the type's letter and the permission bits: hexadecimal from `stat -c %f`, octal from `stat -f %p`,
/// `drwxr-xr-x` from `ls -l`.
fn mode_of(stat: char, mode: &str) -> Option<(char, u32)> {
    let raw = match stat {
        'c' => u32::from_str_radix(mode, 16).ok()?,
        'f' => u32::from_str_radix(mode, 8).ok()?,
        _ => return letters(mode),
    };
    Some((LETTERS.iter().find(|(kind, _)| *kind == raw & 0o170000)?.1, raw & 0o7777))
}

/// The file types of `stat.7` and the letters of `ls`.
const LETTERS: [(u32, char); 7] = [
    (0o140000, 's'),
    (0o120000, 'l'),
    (0o100000, '-'),
    (0o060000, 'b'),
    (0o040000, 'd'),
    (0o020000, 'c'),
    (0o010000, 'p'),
];

fn letters(mode: &str) -> Option<(char, u32)> {
    let mut letters = mode.chars();
    let kind = letters.next()?;
    let mut bits = 0;
    for (index, letter) in letters.take(9).enumerate() {
        let bit = 0o400 >> index;
        let special = [0o4000, 0o2000, 0o1000][index / 3];
        bits |= match letter {
            '-' => 0,
            's' | 't' => special | bit,
            'S' | 'T' => special,
            _ => bit,
        };
    }
    Some((kind, bits))
}

/// Returns type and permissions as the probed tool prints them, for a comparison on the host.
pub fn mode_word(stat: char, letter: char, mode: u32) -> String {
    let kind = LETTERS.iter().find(|(_, known)| *known == letter).map_or(0, |(kind, _)| *kind);
    match stat {
        'c' => format!("{:x}", kind | mode),
        'f' => format!("{:o}", kind | mode),
        _ => {
            let bit = |index: usize| {
                let (set, special) = (mode & (0o400 >> index) != 0, mode & [0o4000, 0o2000, 0o1000][index / 3] != 0);
                match (index % 3, special, set) {
                    (2, true, true) => {
                        if index == 8 {
                            't'
                        } else {
                            's'
                        }
                    }
                    (2, true, false) => {
                        if index == 8 {
                            'T'
                        } else {
                            'S'
                        }
                    }
                    (_, _, false) => '-',
                    (place, _, true) => ['r', 'w', 'x'][place],
                }
            };
            std::iter::once(letter).chain((0..9).map(bit)).collect()
        }
    }
}

fn owner(id: &str, name: &str) -> Result<Owner, TransportError> {
    let number = id.parse().map_err(|_| odd(id))?;
    // GNU's `stat` says UNKNOWN for a number without a name.
    Ok(Owner { id: number, name: if name == "UNKNOWN" { id.into() } else { name.into() } })
}

/// Takes the digest out of `HEX  -` or `SHA2-256(stdin)= HEX`.
fn digest(text: &str) -> String {
    text.split_whitespace().find(|word| word.len() == 64).unwrap_or_default().into()
}

fn odd(answer: &str) -> TransportError {
    TransportError::Refused(format!("the host gave an answer that cannot be read: `{}`", shown(answer)))
}

/// Asks for an account, in `passwd` or `group`, by name or number.
pub fn account(database: &str, name: &str) -> String {
    format!("c_account {database} {}", quote(name))
}

/// Reads a line of `passwd.5` or `group.5`; a number that has no name stands for itself.
pub fn read_account(name: &str, output: &Output) -> Option<Owner> {
    let text = output.text();
    let fields: Vec<&str> = text.lines().next().unwrap_or_default().split(':').collect();
    match (fields.first(), fields.get(2).and_then(|id| id.parse().ok())) {
        (Some(name), Some(id)) => Some(Owner { id, name: (*name).into() }),
        _ => name.parse().ok().map(|id| Owner { id, name: name.into() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_read_back_as_each_tool_prints_them() {
        for stat in ['c', 'f', 'l'] {
            for (letter, mode) in
                [('-', 0o4755), ('d', 0o1777), ('d', 0o2750), ('-', 0o6644), ('p', 0o600), ('l', 0o777)]
            {
                assert_eq!(mode_of(stat, &mode_word(stat, letter, mode)), Some((letter, mode)), "{stat} {mode:o}");
            }
        }
        assert_eq!(mode_word('l', 'd', 0o1750), "drwxr-x--T");
    }
}
