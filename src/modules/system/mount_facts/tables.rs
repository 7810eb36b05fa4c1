//! Tables of mounts as systems write them: fstab(5), mnttab(5), vfstab(5), AIX's `/etc/filesystems`, and what `mount` prints.

use std::sync::LazyLock;

use fancy_regex::Regex;
use serde_json::{Map, Value, json};

use crate::modules::system::facts::mounts::unescaped;

/// A mount as a table tells of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Mounted {
    pub point: String,
    /// Its line, or its lines.
    pub line: String,
    pub fields: Map<String, Value>,
}

/// Reads a file in the first form that all of it has; one with the most columns goes first.
pub fn of_file(text: &str) -> Vec<Mounted> {
    let lines: Vec<&str> = text.lines().collect();
    let forms = [vfstab, mnttab, fstab, filesystems];
    forms.iter().find_map(|form| form(&lines)).unwrap_or_default()
}

/// Makes a mount of fields with names; none without a place.
fn mounted(line: &str, fields: &[(&str, Value)]) -> Option<Mounted> {
    let fields: Map<String, Value> = fields.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
    let point = fields.get("mount")?.as_str()?.to_string();
    Some(Mounted { point, line: line.into(), fields })
}

fn entries<'a>(lines: &[&'a str]) -> impl Iterator<Item = &'a str> {
    lines.iter().map(|line| line.trim()).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn number(word: &str) -> Value {
    word.parse::<i64>().map_or_else(|_| word.into(), Value::from)
}

fn vfstab(lines: &[&str]) -> Option<Vec<Mounted>> {
    let entry = |line: &str| {
        let [device, check, mount, kind, pass, boot, options, ..] = line.split_whitespace().collect::<Vec<_>>()[..]
        else {
            return None;
        };
        let names = ["device", "device_to_fsck", "mount", "fstype", "passno", "mount_at_boot", "options"];
        let words = [device, check, mount, kind, pass, boot, options];
        let fields: Vec<(&str, Value)> = names.into_iter().zip(words.map(Value::from)).collect();
        let mut one = mounted(line, &fields)?;
        one.fields["passno"] = number(pass);
        Some(one)
    };
    entries(lines).map(entry).collect()
}

/// The fifth column is when it was mounted.
fn mnttab(lines: &[&str]) -> Option<Vec<Mounted>> {
    let entry = |line: &&str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let time: i64 = words.get(4)?.parse().ok()?;
        let fields = ["device", "mount", "fstype", "options"].into_iter().zip(words.iter().map(|word| json!(word)));
        mounted(line, &fields.chain([("time", time.into())]).collect::<Vec<_>>())
    };
    let has_time = |line: &&str| line.split_whitespace().nth(4).is_some_and(|time| time.len() == 10);
    lines.iter().any(has_time).then(|| lines.iter().map(entry).collect())?
}

fn fstab(lines: &[&str]) -> Option<Vec<Mounted>> {
    let entry = |line: &str| {
        let words: Vec<String> = line.split_whitespace().map(unescaped).collect();
        let [device, mount, kind, options, rest @ ..] = &words[..] else { return None };
        let mut fields = vec![
            ("device", json!(device)),
            ("mount", json!(mount)),
            ("fstype", json!(kind)),
            ("options", json!(options)),
        ];
        for (name, word) in ["dump", "passno"].into_iter().zip(rest) {
            fields.push((name, word.parse::<i64>().ok()?.into()));
        }
        mounted(line, &fields)
    };
    entries(lines).map(entry).collect()
}

/// Stanzas of AIX: a place with a colon, and lines of `name = value`. The file of Linux with this name is another.
fn filesystems(lines: &[&str]) -> Option<Vec<Mounted>> {
    let mut stanzas: Vec<Vec<&str>> = Vec::new();
    for line in lines.iter().filter(|line| !line.starts_with('*') && !line.trim().is_empty()) {
        match (line.trim_end().ends_with(':'), stanzas.last_mut()) {
            (true, _) => stanzas.push(vec![line]),
            (false, Some(last)) if line.contains('=') => last.push(line),
            (false, _) => return None,
        }
    }
    let stanza = |lines: &Vec<&str>| {
        let pairs = lines[1..].iter().filter_map(|line| line.split_once('='));
        let told: Map<String, Value> =
            pairs.map(|(name, value)| (name.trim().to_string(), Value::from(value.trim()))).collect();
        let word = |name: &str| told.get(name).and_then(Value::as_str).filter(|word| !word.is_empty());
        let device: Vec<&str> = ["nodename", "dev"].into_iter().filter_map(word).collect();
        let device = if device.is_empty() { "unknown".into() } else { device.join(":") };
        let mount = lines[0].trim_end().trim_end_matches(':');
        let kind = word("vfs").unwrap_or("unknown");
        let fields =
            [("mount", json!(mount)), ("device", device.into()), ("fstype", kind.into()), ("attributes", json!(told))];
        mounted(&lines.join("\n"), &fields)
    };
    stanzas.iter().map(stanza).collect()
}

fn pattern(text: &str) -> Option<Regex> {
    Regex::new(text).ok()
}

static LINUX: LazyLock<Option<Regex>> =
    LazyLock::new(|| pattern(r"^(?<device>\S+) on (?<mount>\S+) type (?<fstype>\S+) \((?<options>.+)\)$"));
static BSD: LazyLock<Option<Regex>> = LazyLock::new(|| pattern(r"^(?<device>\S+) on (?<mount>\S+) \((?<fstype>.+)\)$"));
static AIX: LazyLock<Option<Regex>> = LazyLock::new(|| {
    pattern(
        r"^(?<node>\S*)\s+(?<device>\S+)\s+(?<mount>\S+)\s+(?<fstype>\S+)\s+(?<time>\S+\s+\d+\s+\d+:\d+)\s+(?<options>.*)$",
    )
});

/// Reads what `mount` prints on Linux, OpenBSD and NetBSD, on other systems of BSD's, or on AIX.
pub fn of_command(text: &str) -> Vec<Mounted> {
    let lines: Vec<&str> = text.lines().collect();
    // What macOS mounts by itself is not told; AIX has two lines of headings.
    let own: Vec<&str> = lines.iter().filter(|line| !line.starts_with("map ")).copied().collect();
    let below = lines.get(2..).unwrap_or_default();
    let all = |lines: &[&str], names: &[&str], form: &Option<Regex>| {
        lines.iter().map(|line| matched(line, names, form.as_ref()?)).collect::<Option<Vec<_>>>()
    };
    let names = ["device", "mount", "fstype", "options"];
    all(&lines, &names, &LINUX)
        .or_else(|| Some(all(&own, &names[..3], &BSD)?.into_iter().map(of_bsd).collect()))
        .or_else(|| {
            let found = all(below, &["node", "device", "mount", "fstype", "time", "options"], &AIX)?;
            Some(found.into_iter().map(of_aix).collect())
        })
        .unwrap_or_default()
}

fn matched(line: &str, names: &[&str], form: &Regex) -> Option<Mounted> {
    let found = form.captures(line).ok()??;
    let fields: Option<Vec<(&str, Value)>> =
        names.iter().map(|name| Some((*name, found.name(name)?.as_str().into()))).collect();
    mounted(line, &fields?)
}

/// There the type is the first of the words in brackets.
fn of_bsd(mut one: Mounted) -> Mounted {
    let words = one.fields.get("fstype").and_then(Value::as_str).unwrap_or_default().to_string();
    if let Some((kind, options)) = words.split_once(',') {
        one.fields.insert("fstype".into(), kind.trim().into());
        one.fields.insert("options".into(), options.trim().into());
    }
    one
}

/// There the host of a device stands before it.
fn of_aix(mut one: Mounted) -> Mounted {
    let word = |value: Option<Value>| value.and_then(|value| value.as_str().map(str::to_string)).unwrap_or_default();
    let (node, device) = (word(one.fields.remove("node")), word(one.fields.get("device").cloned()));
    if !node.is_empty() {
        one.fields.insert("device".into(), format!("{node}:{device}").into());
    }
    one
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(mounts: &[Mounted]) -> Vec<String> {
        let word = |one: &Mounted, name: &str| one.fields.get(name).map_or("-".into(), |value| value.to_string());
        let names = ["device", "fstype", "options", "passno"];
        mounts.iter().map(|one| format!("{} {}", one.point, names.map(|name| word(one, name)).join(" "))).collect()
    }

    #[test]
    fn each_table_is_read_in_its_own_form() {
        for (text, expected) in [
            (
                "# own\nUUID=1b-2c / ext4 rw 0 1\n\n/dev/b /mnt/a\\040b xfs ro\n",
                vec![r#"/ "UUID=1b-2c" "ext4" "rw" 1"#, r#"/mnt/a b "/dev/b" "xfs" "ro" -"#],
            ),
            (
                "/dev/dsk/a /dev/rdsk/a / ufs 1 no -\nswap - /tmp tmpfs - yes size=1\n",
                vec![r#"/ "/dev/dsk/a" "ufs" "-" 1"#, r#"/tmp "swap" "tmpfs" "size=1" "-""#],
            ),
            ("rpool /rpool zfs rw 1700000000\n", vec![r#"/rpool "rpool" "zfs" "rw" -"#]),
            (
                "* AIX\n/:\n\tdev = /dev/hd4\n\tvfs = jfs2\n/far:\n\tdev = /x\n\tnodename = nas\n",
                vec![r#"/ "/dev/hd4" "jfs2" - -"#, r#"/far "nas:/x" "unknown" - -"#],
            ),
            ("ext4\nxfs\n*\n", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(told(&of_file(text)), expected, "{text}");
        }
        for (text, expected) in [
            ("/dev/a on / type ext4 (rw,relatime)\n", r#"/ "/dev/a" "ext4" "rw,relatime" -"#),
            ("/dev/ada0p2 on / (ufs, local, journaled)\n", r#"/ "/dev/ada0p2" "ufs" "local, journaled" -"#),
            (
                "  node mounted over vfs date options\n -----\nnas /x /far nfs3 Jan 10 12:00 ro\n",
                r#"/far "nas:/x" "nfs3" "ro" -"#,
            ),
        ] {
            assert_eq!(told(&of_command(text)), [expected], "{text}");
        }
        assert_eq!(of_command("what is this\n"), []);
    }
}
