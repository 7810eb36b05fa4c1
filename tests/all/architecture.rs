//! The map of `docs/architecture.md`, held by a test: who may name whom, and what stands in one place only.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Each part and the parts it may name. A part may always name itself.
const MAY_NAME: &[(&str, &[&str])] = &[
    ("error", &["secret"]),
    ("secret", &[]),
    ("crypt", &[]),
    ("ini", &[]),
    ("names", &[]),
    ("pep440", &[]),
    ("regex", &[]),
    ("settings", &["ini"]),
    ("provenance", &[]),
    ("web", &[]),
    ("yaml", &["error"]),
    ("transport", &["crypt", "error", "secret"]),
    ("vault", &["secret", "transport"]),
    ("dns", &["secret", "transport"]),
    ("change", &["dns", "secret", "transport"]),
    ("host", &["change", "dns", "error", "transport"]),
    ("inventory", &["error", "regex", "settings", "template", "vars", "yaml"]),
    ("vars", &["error", "inventory", "provenance", "secret", "vault", "yaml"]),
    (
        "template",
        &[
            "crypt",
            "error",
            "host",
            "ini",
            "names",
            "pep440",
            "provenance",
            "regex",
            "secret",
            "settings",
            "vars",
            "vault",
            "web",
            "yaml",
        ],
    ),
    ("playbook", &["error", "names", "provenance", "vars", "yaml"]),
    (
        "modules",
        &[
            "change",
            "crypt",
            "dns",
            "error",
            "host",
            "ini",
            "names",
            "pep440",
            "provenance",
            "regex",
            "secret",
            "transport",
            "vault",
            "web",
        ],
    ),
    (
        "run",
        &[
            "change",
            "dns",
            "error",
            "host",
            "inventory",
            "modules",
            "names",
            "playbook",
            "provenance",
            "regex",
            "secret",
            "settings",
            "template",
            "transport",
            "vars",
            "vault",
            "yaml",
        ],
    ),
    ("lint", &["error", "inventory", "modules", "playbook", "run", "secret", "template", "vars", "yaml"]),
    ("report", &["change", "error", "modules", "provenance", "run", "secret", "settings", "transport", "window"]),
    ("window", &["error"]),
    ("lab", &["crypt", "dns", "modules", "secret", "transport"]),
    (
        "commands",
        &[
            "change",
            "cli",
            "error",
            "inventory",
            "lab",
            "lint",
            "modules",
            "playbook",
            "provenance",
            "report",
            "run",
            "secret",
            "settings",
            "template",
            "transport",
            "vars",
            "vault",
            "window",
            "yaml",
        ],
    ),
    ("cli", &["commands", "error", "secret", "settings", "yaml"]),
];

/// Words that stand only below the given paths of `src`.
const HOMES: &[(&str, &[&str])] = &[
    ("russh", &["transport/ssh", "lab/server.rs", "lab/server"]),
    ("hickory_proto", &["dns"]),
    ("minijinja", &["template"]),
    ("libyaml_safer", &["yaml.rs", "template/filters/yaml.rs"]),
    ("annotate_snippets", &["error.rs"]),
    // `lookup('pipe')`, inventories that are programs, `Match exec` and a process that outlives `lab up` are the only ones
    // that no transport runs.
    (
        "std::process::Command",
        &[
            "commands/lab.rs",
            "commands/keys.rs",
            "commands/vault/edit.rs",
            "inventory/script.rs",
            "template/lookups.rs",
            "template/url.rs",
            "transport/ssh/config/commands.rs",
        ],
    ),
    (
        "tokio::process",
        &["transport/local.rs", "transport/ssh/proxy.rs", "lab/server.rs", "lab/server", "lab/daemon.rs", "lab/qmail"],
    ),
    ("println!", &[]),
    ("todo!(", &[]),
    ("unimplemented!(", &[]),
    ("dbg!(", &[]),
];

/// The most lines of a file, above which it needs a reason in `docs/architecture.md`.
const MOST_LINES: usize = 600;

fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut open = vec![root.clone()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(&root).unwrap().to_path_buf(), text));
            }
        }
    }
    assert!(found.len() > 40, "the sources were not found");
    found.sort();
    found
}

/// The code without comments and without the unit tests at the end of the file.
fn code(text: &str) -> String {
    let code = text.split("#[cfg(test)]").next().unwrap_or(text);
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn part(path: &Path) -> String {
    path.components().next().unwrap().as_os_str().to_string_lossy().trim_end_matches(".rs").to_string()
}

#[test]
fn arrows_point_down_only() {
    let allowed: BTreeMap<&str, &[&str]> = MAY_NAME.iter().copied().collect();
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let part = part(&path);
        if matches!(part.as_str(), "lib" | "main") {
            continue;
        }
        // These two are test modules as a whole.
        if path.ends_with("template/behaviour.rs") || path.ends_with("template/table.rs") {
            continue;
        }
        let Some(allowed) = allowed.get(part.as_str()) else {
            wrong.push(format!("{} is in no row of the table", path.display()));
            continue;
        };
        for (at, _) in code(&text).match_indices("crate::") {
            let code = code(&text);
            let named: String = code[at + 7..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if !named.is_empty() && named != part && !allowed.contains(&named.as_str()) {
                wrong.push(format!("{} names `{named}`", path.display()));
            }
        }
    }
    wrong.sort();
    wrong.dedup();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn some_things_have_one_home() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let code = code(&text);
        for (word, homes) in HOMES {
            let home = homes.iter().any(|home| path.starts_with(home));
            let found = code.match_indices(word).any(|(at, _)| {
                let before = code[..at].chars().next_back();
                !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
            });
            if found && !home {
                wrong.push(format!("{} has `{word}`", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn only_apply_writes_to_a_host() {
    for (path, text) in sources() {
        let writes = code(&text).contains("transport.write(") || code(&text).contains("host.write(");
        assert!(!writes || path == Path::new("change/apply.rs"), "{} writes", path.display());
    }
}

#[test]
fn every_file_says_what_it_is_and_is_short() {
    for (path, text) in sources() {
        assert!(text.starts_with("//! "), "{} does not say what it is", path.display());
        // A table of tests is as long as there are facts.
        let lines = code(&text).lines().count();
        assert!(lines <= MOST_LINES, "{} has {lines} lines", path.display());
    }
}
