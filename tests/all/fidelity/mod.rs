//! Fidelity: what a check says of a fresh host against what a run then does to one just like it, change by change.

use std::path::{Path, PathBuf};

use crate::program::Program;

mod chains;
mod compare;
mod host;
mod told;

use compare::Figure;
use host::Pair;

/// The directory of a playbook's corpus.
fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

/// The playbooks of the corpus, sorted by name; those below `chains/` are generated.
fn playbooks() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for directory in [corpus(), corpus().join("chains")] {
        let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        let mut here: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|end| end == "yml")).collect();
        here.sort();
        found.append(&mut here);
    }
    found
}

/// Checks a playbook and runs it, each from a fresh pair of hosts.
fn measure(path: &Path) -> Figure {
    let pair = Pair::new(path);
    match (pair.check(), pair.run()) {
        (Ok(check), Ok(run)) => compare::compare(&check, &run),
        (check, run) => {
            let wrong = [check.err(), run.err()].into_iter().flatten().collect();
            Figure { wrong, ..Figure::default() }
        }
    }
}

/// Says whether a file of the repository is what a test makes of it, which is put below `target/`.
fn is_made(name: &str, text: &str) -> bool {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let made = root.join("target/made").join(name);
    std::fs::create_dir_all(made.parent().unwrap()).unwrap();
    std::fs::write(&made, text).unwrap();
    let there = std::fs::read_to_string(root.join(name)).unwrap_or_default();
    there == text
}

const STALE: &str = "out of date: `cp -r target/made/* .` brings what was made";

#[test]
fn the_generated_playbooks_are_those_of_their_seeds() {
    let made = |seed| is_made(&format!("tests/corpus/chains/chain-{seed:02}.yml"), &chains::chain(seed));
    assert_eq!((1..=chains::COUNT).filter(|seed| !made(*seed)).collect::<Vec<u64>>(), Vec::<u64>::new(), "{STALE}");
}

#[test]
fn what_a_check_does_not_mark_unknown_is_what_a_run_does() {
    let filter = std::env::var("CORPUS").unwrap_or_default();
    let paths: Vec<PathBuf> = playbooks().into_iter().filter(|p| p.display().to_string().contains(&filter)).collect();
    let next = std::sync::Mutex::new(paths.iter());
    let figures = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let Some(path) = next.lock().unwrap().next() else { break };
                    let figure = measure(path);
                    figures.lock().unwrap().push((path.file_stem().unwrap().to_string_lossy().into_owned(), figure));
                }
            });
        }
    });
    let mut figures = figures.into_inner().unwrap();
    figures.sort_by(|left, right| left.0.cmp(&right.0));
    let mut told = String::new();
    for (name, figure) in &figures {
        told += &format!("{name}: {} tasks, {} changes, {} unknown\n", figure.tasks, figure.changes, figure.unknown);
        figure.wrong.iter().for_each(|wrong| told += &format!("    {wrong}\n"));
    }
    assert!(figures.iter().all(|(_, figure)| figure.wrong.is_empty()), "{told}");
}
