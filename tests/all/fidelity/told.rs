//! What a run says of each task on each host, read back from what people read.

use std::collections::BTreeMap;

/// The verdicts of a task on a host (and for an item), in the order in which they came.
pub type Told = BTreeMap<(String, String), Vec<String>>;

const VERDICTS: &[(&str, &str)] = &[
    ("ok: [", "ok"),
    ("changed: [", "changed"),
    ("would change: [", "changed"),
    ("skipping: [", "skipped"),
    ("unknown: [", "unknown"),
    ("fatal: [", "failed"),
    ("failed: [", "failed"),
];

pub fn told(stdout: &str) -> Told {
    let mut found = Told::new();
    let mut task = String::new();
    for line in stdout.lines() {
        let name = ["TASK [", "RUNNING HANDLER ["].iter().find_map(|word| line.strip_prefix(word));
        if let Some((name, _)) = name.and_then(|name| name.rsplit_once("] **")) {
            task = name.to_string();
        }
        for (word, verdict) in VERDICTS {
            let Some((host, rest)) = line.strip_prefix(word).and_then(|rest| rest.split_once(']')) else { continue };
            let item = rest
                .trim_start_matches(" =>")
                .strip_prefix(" (item=")
                .map(|item| item.split(") =>").next().unwrap_or(item));
            let subject = format!("{host} {}", item.unwrap_or_default().trim_end_matches(')'));
            found.entry((task.clone(), subject.trim().to_string())).or_default().push((*verdict).to_string());
        }
    }
    found
}
