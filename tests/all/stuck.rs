//! What a test that hangs has running: the processes below this one and those that lost their parent, and what each of
//! them waits for.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// How long a part of a test may take that does not wait for a clock.
const LIMIT: Duration = Duration::from_secs(120);

/// Waits for a part of a test, and fails with all that could be seen if it hangs.
pub async fn unless_stuck<T>(part: impl Future<Output = T>) -> T {
    match tokio::time::timeout(LIMIT, part).await {
        Ok(value) => value,
        Err(_) => panic!("it hangs; what runs:\n{}", processes()),
    }
}

/// Describes each process: its words, where in the kernel it sleeps, and its open files.
fn processes() -> String {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parents: HashMap<u32, u32> = pids.filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let below = |pid: &u32| {
        let chain = std::iter::successors(Some(*pid), |pid| parents.get(pid).copied());
        parents.get(pid) == Some(&1) || chain.skip(1).any(|above| above == std::process::id())
    };
    let mut pids: Vec<u32> = parents.keys().copied().filter(below).collect();
    pids.sort_unstable();
    pids.iter().map(|pid| describe(*pid, parents[pid])).collect()
}

/// Reads `/proc/PID/stat` (proc(5)); the name in it may hold anything, up to its last parenthesis.
fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split_whitespace().nth(1)?.parse().ok()
}

fn describe(pid: u32, parent: u32) -> String {
    let directory = format!("/proc/{pid}");
    let directory = Path::new(&directory);
    let read = |name: &str| fs::read(directory.join(name)).unwrap_or_default();
    let text = |name: &str| String::from_utf8_lossy(&read(name)).replace('\0', " ");
    let mut words = text("cmdline");
    words.truncate(words.char_indices().nth(200).map_or(words.len(), |(at, _)| at));
    let stat = text("stat");
    let state = stat.rsplit_once(") ").map_or("?", |(_, rest)| &rest[..1]);
    let mut files = fs::read_dir(directory.join("fd")).into_iter().flatten().flatten().collect::<Vec<_>>();
    files.sort_by_key(|file| file.file_name());
    let file = |file: &fs::DirEntry| {
        let target = fs::read_link(file.path()).unwrap_or_default();
        format!("    {} -> {}\n", file.file_name().display(), target.display())
    };
    let files: String = files.iter().map(file).collect();
    format!("  {pid} below {parent}, {state} in {}: {words}\n{files}", text("wchan"))
}
