//! What an archive holds, as tar and zipinfo list it.

use std::sync::LazyLock;

use fancy_regex::Regex;

use crate::transport::name::from_bytes;

/// One member, in the order of the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// As the tool names it; that of a directory ends with a slash.
    pub name: String,
    pub kind: Kind,
    /// The twelve bits. `None`: the archive says nothing that means a mode here.
    pub mode: Option<u32>,
    /// Names or numbers of user and group; zip has none.
    pub owners: Option<(String, String)>,
    /// In bytes.
    pub size: u64,
    /// Seconds since 1970.
    pub modified: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    File,
    Directory,
    /// The target is in the listing of a tar, and what a zip has for the content.
    Link(Option<String>),
    /// Another name of a member that comes before it.
    Hard(String),
    /// A device, FIFO or the like, by the letter of `ls -l`.
    Special(char),
}

impl Member {
    /// Returns where it goes, relative to the destination: empty for that itself. `None`: nothing is made of it, because
    /// all of its name was stripped.
    pub fn place(&self) -> Option<String> {
        let parts: Vec<&str> = self.name.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        let itself = parts.is_empty() && !self.name.starts_with('.');
        (!itself).then(|| parts.join("/"))
    }

    /// Says whether its name leads out of any directory.
    pub fn leads_out(&self) -> bool {
        self.name.split('/').any(|part| part == "..")
    }

    pub fn is_file(&self) -> bool {
        self.kind == Kind::File
    }
}

/// `-rw-r--r-- ann/users 6 2026-11-27 07:45:56.25 name`.
static TAR: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"^(\S)(\S{9})\S? +(.+?)/(.+?) +(\d+|\d+, *\d+) (\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)(?:\.\d+)? (.*)$").ok()
});

/// `-rw-r--r--  3.0 unx        3 tx stor 20261127.074556 name`.
static ZIP: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"^(\S)(\S+) +[\d.]+ (\S+) +(\d+) \S+ \S+ (\d{8})\.(\d{6}) (.*)$").ok());

/// Reads what `tar -tv` prints; the names have GNU's escapes in them if `escaped`.
pub fn of_tar(text: &[u8], escaped: bool) -> Result<Vec<Member>, String> {
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| tar_line(&from_bytes(line), escaped).ok_or_else(|| odd(line))).collect()
}

/// Reads what `zipinfo -s -T` prints; lines about the archive itself are left out.
pub fn of_zip(text: &[u8]) -> Vec<Member> {
    let lines = text.split(|byte| *byte == b'\n');
    lines.filter_map(|line| zip_line(&from_bytes(line))).collect()
}

fn odd(line: &[u8]) -> String {
    format!("tar lists its members in a way that cannot be read: `{}`", String::from_utf8_lossy(line))
}

fn tar_line(line: &str, escaped: bool) -> Option<Member> {
    let found = TAR.as_ref()?.captures(line).ok()??;
    let field = |index: usize| found.get(index).map(|group| group.as_str());
    let name = |text: &str| if escaped { unescaped(text) } else { text.to_string() };
    let (letter, whole) = (field(1)?.chars().next()?, field(8)?);
    let (text, kind) = match letter {
        'd' => (whole, Kind::Directory),
        'l' => whole.split_once(" -> ").map(|(text, target)| (text, Kind::Link(Some(name(target)))))?,
        'h' => whole.split_once(" link to ").map(|(text, target)| (text, Kind::Hard(name(target))))?,
        '-' | 'C' => match whole.split_once(" -> ") {
            // busybox lists another name of a file as an empty file that is a link.
            Some((text, target)) if !escaped && field(5) == Some("0") => (text, Kind::Hard(target.into())),
            _ => (whole, Kind::File),
        },
        letter => (whole, Kind::Special(letter)),
    };
    Some(Member {
        name: name(text),
        kind,
        mode: Some(mode(field(2)?)),
        owners: Some((field(3)?.into(), field(4)?.into())),
        size: field(5)?.parse().unwrap_or(0),
        modified: seconds(&field(6)?.replace('-', ""), &field(7)?.replace(':', "")),
    })
}

fn zip_line(line: &str) -> Option<Member> {
    let found = ZIP.as_ref()?.captures(line).ok()??;
    let field = |index: usize| found.get(index).map(|group| group.as_str());
    let (letter, name) = (field(1)?, field(7)?.to_string());
    let kind = match letter {
        "d" => Kind::Directory,
        "l" => Kind::Link(None),
        _ if name.ends_with('/') => Kind::Directory,
        _ => Kind::File,
    };
    // Only Unix has modes that mean the same here; unzip takes no setuid and its like.
    let bits = field(2).filter(|bits| field(3) == Some("unx") && bits.len() == 9);
    Some(Member {
        name,
        kind,
        mode: bits.map(|bits| mode(bits) & 0o777),
        owners: None,
        size: field(4)?.parse().ok()?,
        modified: seconds(field(5)?, field(6)?),
    })
}

/// Reads the nine letters of `ls -l`.
fn mode(letters: &str) -> u32 {
    let special = [0o4000, 0o2000, 0o1000];
    letters.chars().take(9).enumerate().fold(0, |mode, (index, letter)| {
        let bit = 0o400 >> index;
        mode | match letter {
            '-' => 0,
            's' | 't' => bit | special[index / 3],
            'S' | 'T' => special[index / 3],
            _ => bit,
        }
    })
}

/// Reads `20261127` and `074556`, in UTC.
fn seconds(date: &str, time: &str) -> Option<i64> {
    let number = |text: &str| text.parse::<i16>().ok();
    let small = |text: &str| text.parse::<i8>().ok();
    let (year, month, day) = (number(date.get(..4)?)?, small(date.get(4..6)?)?, small(date.get(6..8)?)?);
    let (hour, minute, second) = (small(time.get(..2)?)?, small(time.get(2..4)?)?, small(time.get(4..6)?)?);
    let at = jiff::civil::DateTime::new(year, month, day, hour, minute, second, 0).ok()?;
    Some(at.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second())
}

/// Reads GNU's `--quoting-style=escape`: `\n`, `\\`, `\351`.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = crate::transport::name::to_bytes(text).into_owned().into_iter().peekable();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let Some(letter) = rest.next() else { break };
        let mut value = None;
        if (b'0'..=b'7').contains(&letter) {
            let mut number = u32::from(letter - b'0');
            for _ in 0..2 {
                let Some(digit) = rest.next_if(|digit| (b'0'..=b'7').contains(digit)) else { break };
                number = number * 8 + u32::from(digit - b'0');
            }
            value = u8::try_from(number).ok();
        }
        bytes.push(value.unwrap_or(match letter {
            b'a' => 7,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 11,
            letter => letter,
        }));
    }
    from_bytes(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gnus_lines_are_read_with_times_links_and_names_of_any_kind() {
        let text = b"drwxr-xr-x root/root         0 2026-11-27 07:45:56 ./\n\
            -rwsr-x--T 1000/Domain Users 70000 1970-01-01 00:00:10.25 s p/g\\nh\n\
            lrwxrwxrwx root/root         0 2026-11-27 07:45:56 l -> b/f\n\
            hrw-r--r-- root/root         0 2026-11-27 07:45:56 hard link to b/f\n\
            -rw-r--r-- root/root         4 2026-11-27 07:45:56 caf\\351\n\
            crw-r--r-- root/root       1,3 2026-11-27 07:45:56 null\n";
        let members = of_tar(text, true).unwrap();
        let places: Vec<_> = members.iter().map(|member| member.place().unwrap()).collect();
        assert_eq!(places, ["", "s p/g\nh", "l", "hard", "caf\u{10ffe9}", "null"]);
        assert_eq!((members[1].mode, members[1].modified, members[1].size), (Some(0o5750), Some(10), 70_000));
        assert_eq!(members[1].owners, Some(("1000".into(), "Domain Users".into())));
        assert_eq!((&members[2].kind, &members[3].kind), (&Kind::Link(Some("b/f".into())), &Kind::Hard("b/f".into())));
        assert_eq!(members[5].kind, Kind::Special('c'));
        assert!(of_tar(b"what is this\n", true).is_err());
        let busybox = of_tar(b"-rw-r--r-- root/root         0 2026-11-27 07:45:56 a/hard -> a/b/f\n", false).unwrap();
        assert_eq!((busybox[0].name.as_str(), &busybox[0].kind), ("a/hard", &Kind::Hard("a/b/f".into())));
    }

    #[test]
    fn a_name_that_is_stripped_away_makes_nothing_and_dots_are_seen() {
        let member = |name: &str| Member {
            name: name.into(),
            kind: Kind::Directory,
            mode: None,
            owners: None,
            size: 0,
            modified: None,
        };
        assert_eq!(
            [member("/").place(), member("").place(), member("/a//b/").place()],
            [None, None, Some("a/b".into())]
        );
        assert!(member("a/../../b").leads_out() && !member("a/..b").leads_out());
    }

    #[test]
    fn zipinfos_lines_are_read_and_its_headings_are_not() {
        let text = b"Archive:  x.zip\nZip file size: 1145 bytes, number of entries: 3\n\
            drwxr-xr-x  3.0 unx        0 bx stor 20261127.074556 a/s p/\n\
            lrwxrwxrwx  3.0 unx        3 bx stor 20261127.074556 l\n\
            -rw----     2.0 fat        3 tx stor 20170511.153000 B/F\n2 files, 6 bytes uncompressed\n";
        let members = of_zip(text);
        assert_eq!(members.len(), 3);
        assert_eq!((&members[0].kind, members[0].mode), (&Kind::Directory, Some(0o755)));
        assert_eq!((&members[1].kind, members[1].size), (&Kind::Link(None), 3));
        assert_eq!(
            (members[2].mode, members[2].modified, members[2].name.as_str()),
            (None, Some(1_494_516_600), "B/F")
        );
    }
}
