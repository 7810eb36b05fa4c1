//! Facts about what is mounted, out of the host's table of mounts and what `stat` or `df` says of their sizes.

use std::collections::BTreeSet;

use indexmap::IndexMap;
use serde_json::{Value, json};

use super::{Seen, devices};

/// Prints the tables, and the size of each mounted device. A file server that does not answer is waited for only so long, and
/// beside the others.
pub const COMMANDS: &str = r#"mark mounted; table=/etc/mtab; [ -r $table ] || table=/proc/mounts; cat $table
mark binds; cut -d' ' -f4,5 /proc/self/mountinfo
mark sizes; tab=$(printf '\t'); stat -f -c %S / >/dev/null && tool=stat || tool=df
size() { if [ $tool = stat ]; then $2 stat -f -c '%S %s %b %a %c %d %n' "$1"; else $2 df -P -k "$1"; fi; }
[ -r $table ] || $bound df -P -k
[ -r $table ] && sed "s/ /$tab/g;s/\\\\040/ /g;s/\\\\134/\\\\/g" $table | { while IFS=$tab read -r device mount kind rest; do
  case $device in //* | *:/*) where=far ;; /*) where=here ;; *) continue ;; esac
  case $kind in none) continue ;; nfs* | cifs | smb* | fuse* | ceph*) where=far ;; esac
  if [ $where = here ]; then size "$mount"; elif [ -n "$bound" ]; then size "$mount" "$bound" & fi
done; wait; }
"#;

/// Returns the mounted devices in the order of the table; of two on one place the last.
pub fn facts(seen: &Seen<'_>) -> Value {
    let binds: BTreeSet<String> = seen.section("binds").lines().filter_map(bind).collect();
    let mut mounts: IndexMap<String, Value> = IndexMap::new();
    let sizes = seen.section("sizes");
    let table = seen.section("mounted").lines().map(|line| line.split_whitespace().map(unescaped).collect());
    let mut table: Vec<Vec<String>> = table.collect();
    if table.is_empty() {
        // A system that has no table of its mounts.
        let rows = sizes.lines().filter_map(of_df);
        table.extend(rows.map(|(device, mount, _)| vec![device, mount, String::new(), String::new()]));
    }
    for fields in &table {
        let [device, mount, kind, options, rest @ ..] = &fields[..] else { continue };
        if !device.starts_with(['/', '\\']) && !device.contains(":/") || kind == "none" {
            continue;
        }
        let number = |at: usize| rest.get(at).and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
        let bind = binds.contains(mount) && !options.contains("bind");
        let mut fact = json!({
            "device": device, "mount": mount, "fstype": kind,
            "options": format!("{options}{}", if bind { ",bind" } else { "" }),
            "dump": number(0), "passno": number(1), "uuid": devices::uuid(seen, device).unwrap_or("N/A"),
        });
        match size(sizes, mount) {
            Some(Value::Object(size)) => {
                if let Value::Object(fact) = &mut fact {
                    fact.extend(size);
                }
            }
            _ => fact["note"] = "Could not get extra information due to timeout".into(),
        }
        mounts.insert(mount.clone(), fact);
    }
    mounts.into_values().collect()
}

/// Returns the place of a mount whose root is not that of its file system.
fn bind(line: &str) -> Option<String> {
    let (root, mount) = line.split_once(' ')?;
    (root != "/").then(|| unescaped(mount))
}

/// Finds what `stat -f` printed of a place, or else `df`.
pub fn size(sizes: &str, mount: &str) -> Option<Value> {
    let numbers = |words: &[&str]| words.iter().map(|word| word.parse::<u64>().ok()).collect::<Option<Vec<_>>>();
    sizes.lines().rev().find_map(|line| {
        let fields: Vec<&str> = line.splitn(7, ' ').collect();
        if let ([numbers_of @ .., place], 7) = (&fields[..], fields.len())
            && *place == mount
            && let Some(&[unit, block, total, available, nodes, free]) = numbers(numbers_of).as_deref()
        {
            return Some(json!({
                "size_total": unit.saturating_mul(total), "size_available": unit.saturating_mul(available), "block_size": block,
                "block_total": total, "block_available": available, "block_used": total.saturating_sub(available),
                "inode_total": nodes, "inode_available": free, "inode_used": nodes.saturating_sub(free),
            }));
        }
        of_df(line).filter(|(_, place, _)| place == mount).map(|(_, _, size)| size)
    })
}

/// Reads a line of `df -P -k`: device, place and size.
fn of_df(line: &str) -> Option<(String, String, Value)> {
    // The name of a device or a mount point may have spaces: the percentage is the fixed point.
    let fields: Vec<&str> = line.split_whitespace().collect();
    let percent = fields.iter().rposition(|field| field.ends_with('%')).filter(|at| *at >= 4)?;
    let bytes = |field: &str| field.parse::<u64>().ok().map(|kilobytes| kilobytes.saturating_mul(1024));
    let size = json!({ "size_total": bytes(fields[percent - 3])?, "size_available": bytes(fields[percent - 1])? });
    Some((fields[..percent - 3].join(" "), fields[percent + 1..].join(" "), size))
}

/// Puts characters in the place of `\040` and its like.
pub fn unescaped(word: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = word.as_bytes();
    while let [first, tail @ ..] = rest {
        match tail {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] if *first == b'\\' => {
                bytes.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
                rest = after;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_with_spaces_are_read_and_memory_file_systems_left_out() {
        let printed = "\u{1e}mounted\n/dev/sda1 / ext4 rw,relatime 0 1\ntmpfs /run tmpfs rw 0 0\nnas:/a\\040b /mnt/a\\040b nfs ro 0 0\n\
                       nas:/gone /mnt/gone nfs ro 0 0\n/dev/sda1 /srv ext4 rw 0 0\n\
                       \u{1e}binds\n/ /\n/ /run\n/a/b /srv\n\
                       \u{1e}sizes\n4096 4096 100 61 50 40 /\n4096 4096 100 61 50 40 /srv\n\
                       \nFilesystem 1024-blocks Used Available Capacity Mounted on\nnas:/a b 10 4 6 40% /mnt/a b\n\
                       \u{1e}links\nlrwxrwxrwx 1 root root 10 Nov 27 22:00 /dev/disk/by-uuid/1b-2c -> ../../sda1\n";
        let mounts = facts(&Seen::new(printed));
        assert_eq!(mounts.as_array().unwrap().len(), 4);
        assert_eq!((&mounts[0]["size_available"], &mounts[0]["inode_used"]), (&json!(61 * 4096), &json!(10)));
        assert_eq!((&mounts[0]["uuid"], &mounts[0]["passno"]), (&json!("1b-2c"), &json!(1)));
        assert_eq!((&mounts[1]["mount"], &mounts[1]["fstype"]), (&json!("/mnt/a b"), &json!("nfs")));
        assert_eq!((&mounts[1]["size_total"], &mounts[1]["uuid"]), (&json!(10240), &json!("N/A")));
        assert_eq!((&mounts[2]["size_total"], mounts[2]["note"].is_string()), (&Value::Null, true));
        assert_eq!((&mounts[3]["options"], &mounts[0]["options"]), (&json!("rw,bind"), &json!("rw,relatime")));
    }

    #[test]
    fn a_system_without_a_table_has_what_df_says() {
        let printed = "\u{1e}mounted\n\u{1e}sizes\nFilesystem 1024-blocks Used Available Capacity Mounted on\n\
                       /dev/ada0p2 100 39 61 39% /\ndevfs 1 1 0 100% /dev\n";
        let expected = json!([{"device": "/dev/ada0p2", "mount": "/", "fstype": "", "options": "", "dump": 0, "passno": 0,
            "uuid": "N/A", "size_total": 102400, "size_available": 62464}]);
        assert_eq!(facts(&Seen::new(printed)), expected);
    }

    #[test]
    fn octal_escapes_are_characters() {
        assert_eq!(unescaped("/a\\040b\\134c\\0401"), "/a b\\c 1");
        assert_eq!(unescaped("\\\\server/share"), "\\\\server/share");
    }
}
