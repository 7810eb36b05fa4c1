//! The framing of files for `tar`: POSIX ustar headers, with GNU's long names, which every `tar` reads.

pub const BLOCK: usize = 512;
/// Bytes that a header has for a name, and for the directories before it.
const NAME: usize = 100;
const PREFIX: usize = 155;

/// Returns the header of a regular file with mode 0600. `path` is relative; `modified` is in seconds since 1970.
pub fn header(path: &[u8], size: u64, modified: u64) -> Vec<u8> {
    let mut blocks = Vec::new();
    let parts = split(path).unwrap_or_else(|| {
        let text = [path, &[0]].concat();
        blocks.extend(block((b"", b"././@LongLink"), text.len() as u64, 0, b'L'));
        blocks.extend(text);
        blocks.resize(blocks.len().next_multiple_of(BLOCK), 0);
        (b"", &path[..NAME])
    });
    blocks.extend(block(parts, size, modified, b'0'));
    blocks
}

/// Splits a path into what the two fields of one header have room for.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.len() <= NAME {
        return Some((b"", path));
    }
    // A name is not empty, and as long as it can be.
    let at = (path.len() - NAME - 1..path.len() - 1).find(|at| path[*at] == b'/')?;
    (1..=PREFIX).contains(&at).then(|| (&path[..at], &path[at + 1..]))
}

/// Returns what fills the last block of a file.
pub fn padding(size: u64) -> Vec<u8> {
    vec![0; (size.next_multiple_of(BLOCK as u64) - size) as usize]
}

/// A header that a `tar` wrote.
pub struct Entry {
    /// As far as it fits; the kind `L` before it has the whole name.
    pub name: Vec<u8>,
    pub size: u64,
    /// `0` for a regular file.
    pub kind: u8,
}

/// Reads a header; nothing if its sum is wrong, or its size is no octal number.
pub fn read(block: &[u8; BLOCK]) -> Option<Entry> {
    let octal = |field: &[u8]| {
        let text = std::str::from_utf8(field).ok()?;
        u64::from_str_radix(text.trim_matches(['\0', ' ']), 8).ok()
    };
    let blank = |(at, byte): (usize, &u8)| u64::from(if (148..156).contains(&at) { b' ' } else { *byte });
    if octal(&block[148..156])? != block.iter().enumerate().map(blank).sum::<u64>() {
        return None;
    }
    let name = block[..100].split(|byte| *byte == 0).next().unwrap_or_default();
    let kind = if block[156] == 0 { b'0' } else { block[156] };
    Some(Entry { name: name.to_vec(), size: octal(&block[124..136])?, kind })
}

/// The end of the archive.
pub const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

fn block((prefix, name): (&[u8], &[u8]), size: u64, modified: u64, kind: u8) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    block[..name.len()].copy_from_slice(name);
    block[345..345 + prefix.len()].copy_from_slice(prefix);
    let mut field = |at: usize, text: String| block[at..at + text.len()].copy_from_slice(text.as_bytes());
    field(100, "0000600".into());
    field(108, "0000000".into());
    field(116, "0000000".into());
    // Eleven octal digits end at 8 GiB; a message that large does not exist, but its size must not be cut.
    field(124, format!("{:011o}", size.min(0o77_777_777_777)));
    field(136, format!("{:011o}", modified.min(0o77_777_777_777)));
    field(148, " ".repeat(8));
    field(257, "ustar\x0000".into());
    block[156] = kind;
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

// The tests run the real programs.
#[allow(clippy::disallowed_methods)]
#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    #[test]
    fn tar_reads_short_and_long_names_with_their_times() {
        let directory = tempfile::tempdir().unwrap();
        let long = format!("{}/{}", "d".repeat(90), "name".repeat(40));
        let deep = |length: usize| format!("{}/{}", "deep/".repeat(length / 5).trim_end_matches('/'), "n".repeat(100));
        let (split, deeper, just) = (deep(155), deep(160), format!("e/{}", "n".repeat(98)));
        assert_eq!(
            [&long, &split, &deeper, &just].map(|path| header(path.as_bytes(), 0, 0).len() / BLOCK),
            [3, 1, 3, 1]
        );
        let mut archive = Vec::new();
        for (path, body) in [("a/1:2,S", "one\n"), (&split, "s"), (&deeper, "d"), (&just, "j"), (&long, "")] {
            archive.extend(header(path.as_bytes(), body.len() as u64, 1_000_000_000));
            archive.extend(body.as_bytes());
            archive.extend(padding(body.len() as u64));
        }
        archive.extend(END);
        let mut tar = Command::new("tar")
            .args(["-xof", "-"])
            .current_dir(directory.path())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        tar.stdin.take().unwrap().write_all(&archive).unwrap();
        assert!(tar.wait().unwrap().success());
        assert_eq!(std::fs::read(directory.path().join("a/1:2,S")).unwrap(), b"one\n");
        for (path, body) in [(split, "s"), (deeper, "d"), (just, "j")] {
            assert_eq!(std::fs::read_to_string(directory.path().join(path)).unwrap(), body);
        }
        let modified = std::fs::metadata(directory.path().join(long)).unwrap().modified().unwrap();
        assert_eq!(modified.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs(), 1_000_000_000);
    }
}
