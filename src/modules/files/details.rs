//! What `stat` and `find` tell of paths beside what is compared: numbers of the file system, exact times, kinds of content.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::host::View;
use crate::modules::ModuleError;
use crate::transport::command::quote;
use crate::transport::name::from_bytes;
use crate::transport::{Command, Links, TransportError};

/// Fields of a result by their names.
pub type Fields = Map<String, Value>;

/// The most paths that one question is about.
const AT_ONCE: usize = 500;

/// Prints a line for each path that is there. A host whose `stat` is unknown tells less.
const NUMBERS: &str = r#"case $(stat -c %u / 2>/dev/null) in
[0-9]*) stat $links -c '%i %d %h %s %b %o 0x%t 0x%T %.9X %.9Y %.9Z %n' -- "$@" ;;
*) case $(stat -f %u / 2>/dev/null) in
  [0-9]*) stat $links -f '%i %d %l %z %b %k %Hr %Lr %Fa %Fm %Fc %N' -- "$@" ;;
  *) for path; do
    ls -ldin $links -- "$path" | { read -r inode mode count rest && echo "$inode - $count - - - - - - - - $path"; }
  done ;;
  esac ;;
esac 2>/dev/null
"#;

/// Prints what `file` says of the content of `$1`.
const CONTENT: &str = r#"echo content; file --mime-type --mime-encoding -- "$1" 2>/dev/null
"#;

/// Prints the flags that the file system has for `$1`.
const FLAGS: &str = r#"echo flags; lsattr -vd -- "$1" 2>/dev/null
"#;

/// Flags of a file system by their letters in `lsattr`, as Ansible names them.
const NAMES: [(char, &str); 20] = [
    ('A', "noatime"),
    ('a', "append"),
    ('c', "compressed"),
    ('C', "nocow"),
    ('d', "nodump"),
    ('D', "dirsync"),
    ('e', "extents"),
    ('E', "encrypted"),
    ('h', "blocksize"),
    ('i', "immutable"),
    ('I', "indexed"),
    ('j', "journalled"),
    ('N', "inline"),
    ('s', "zero"),
    ('S', "synchronous"),
    ('t', "notail"),
    ('T', "blockroot"),
    ('u', "undelete"),
    ('X', "compressedraw"),
    ('Z', "compresseddirty"),
];

/// Returns the numbers and times of paths by their names, of those that are there.
pub async fn numbers(host: &View, paths: &[&str], links: Links) -> Result<HashMap<String, Fields>, ModuleError> {
    let mut all = HashMap::new();
    for paths in paths.chunks(AT_ONCE) {
        let text = asked(host, &format!("{}{NUMBERS}", head(paths, links))).await?;
        all.extend(text.split(|byte| *byte == b'\n').filter_map(|line| read(&from_bytes(line))));
    }
    Ok(all)
}

/// Returns what is told of one path: its numbers, and of its content and flags what is asked for.
pub async fn of(
    host: &View,
    (path, links): (&str, Links),
    (content, flags): (bool, bool),
) -> Result<Fields, ModuleError> {
    let mut script = head(&[path], links) + NUMBERS;
    script += if content { CONTENT } else { "" };
    script += if flags { FLAGS } else { "" };
    let text = from_bytes(&asked(host, &script).await?);
    let (text, flagged) = text.split_once("flags\n").unwrap_or((&text, ""));
    let (numbers, contained) = text.split_once("content\n").unwrap_or((text, ""));
    let mut fields = read(numbers.trim_end_matches('\n')).map(|(_, fields)| fields).unwrap_or_default();
    fields.extend(content.then(|| kind_of_content(contained)).into_iter().flatten());
    fields.extend(flags.then(|| flags_of(flagged)).into_iter().flatten());
    Ok(fields)
}

/// Returns what is told of a path that is only planned.
pub fn untold((content, flags): (bool, bool)) -> Fields {
    let content = content.then(|| kind_of_content("")).into_iter().flatten();
    content.chain(flags.then(|| flags_of("")).into_iter().flatten()).collect()
}

/// Returns what a script prints; nothing where it cannot be run: then there is less to tell.
async fn asked(host: &View, script: &str) -> Result<Vec<u8>, ModuleError> {
    match host.probe(&Command::shell(script)).await {
        Ok(output) => Ok(output.stdout),
        Err(TransportError::Refused(_)) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

fn head(paths: &[&str], links: Links) -> String {
    let words: Vec<String> = paths.iter().map(|path| quote(path)).collect();
    let links = if links == Links::Follow { "-L" } else { "" };
    format!("LC_ALL=C; export LC_ALL\nlinks={links}\nset -- {}\n", words.join(" "))
}

/// Reads a line of [`NUMBERS`].
fn read(line: &str) -> Option<(String, Fields)> {
    let words: Vec<&str> = line.splitn(12, ' ').collect();
    let [inode, dev, nlink, size, blocks, block_size, major, minor, atime, mtime, ctime, path] = words[..] else {
        return None;
    };
    let mut fields = Fields::new();
    let whole = [
        ("inode", inode),
        ("dev", dev),
        ("nlink", nlink),
        ("size", size),
        ("blocks", blocks),
        ("block_size", block_size),
    ];
    for (name, text) in whole {
        fields.extend(number(text).map(|number| (name.to_string(), number.into())));
    }
    if let (Some(major), Some(minor)) = (number(major), number(minor)) {
        fields.insert("device_type".into(), device(major, minor).into());
    }
    for (name, text) in [("atime", atime), ("mtime", mtime), ("ctime", ctime)] {
        fields.extend(text.parse().ok().map(|seconds: f64| (name.to_string(), json!(seconds))));
    }
    (!fields.is_empty()).then(|| (path.to_string(), fields))
}

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Returns the number of a device as Linux makes it of its two (`makedev.3`).
fn device(major: u64, minor: u64) -> u64 {
    minor & 0xff | (major & 0xfff) << 8 | (minor & !0xff) << 12 | (major & !0xfff) << 32
}

/// Reads `PATH: text/plain; charset=us-ascii`.
fn kind_of_content(text: &str) -> [(String, Value); 2] {
    let found = text.trim_end().rsplit_once(": ").and_then(|(_, kind)| kind.split_once(';'));
    let (kind, charset) = found.map_or(("unknown", "unknown"), |(kind, rest)| {
        (kind.trim(), rest.split_once('=').map_or("unknown", |(_, charset)| charset.trim()))
    });
    [("mimetype".into(), kind.into()), ("charset".into(), charset.into())]
}

/// Reads `1234567 --------------e------- PATH`.
fn flags_of(text: &str) -> [(String, Value); 3] {
    let mut words = text.split_whitespace();
    let version = words.next();
    let letters = words.next().unwrap_or("").replace('-', "");
    let name = |letter| NAMES.iter().find(|(known, _)| *known == letter).map(|(_, name)| *name);
    let names: Vec<&str> = letters.chars().filter_map(name).collect();
    [("version".into(), json!(version)), ("attributes".into(), json!(names)), ("attr_flags".into(), letters.into())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_a_device_and_of_a_name_with_blanks_are_read() {
        let (path, fields) =
            read("12 2049 3 4000 8 4096 0x88 0x101 1700000000.250000000 -1.000000000 3.5 /a  b").unwrap();
        assert_eq!(path, "/a  b");
        let expected = json!({"inode": 12, "dev": 2049, "nlink": 3, "size": 4000, "blocks": 8, "block_size": 4096,
            "device_type": 0x10_8801, "atime": 1_700_000_000.25, "mtime": -1.0, "ctime": 3.5});
        assert_eq!(Value::Object(fields), expected);
        let (_, fields) = read("12 - 3 - - - - - - - - /a").unwrap();
        assert_eq!(Value::Object(fields), json!({"inode": 12, "nlink": 3}));
        assert_eq!(read("of a name with a new line"), None);
    }

    #[test]
    fn what_file_and_lsattr_say_is_read_and_their_silence_too() {
        let [kind, charset] = kind_of_content("/a: b: application/gzip; charset=binary\n");
        assert_eq!((kind.1, charset.1), (json!("application/gzip"), json!("binary")));
        assert_eq!(kind_of_content("")[0].1, "unknown");
        let [version, names, letters] = flags_of("381700746 ----i---------e------- /a\n");
        assert_eq!((version.1, names.1, letters.1), (json!("381700746"), json!(["immutable", "extents"]), json!("ie")));
        let [version, names, letters] = flags_of("");
        assert_eq!((version.1, names.1, letters.1), (Value::Null, json!([]), json!("")));
    }
}
