//! Fidelity: what a check says of a fresh host against what a run then does to one just like it, change by change.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

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

/// Checks a playbook and runs it, each from fresh hosts.
fn measure(pair: &Pair) -> Figure {
    match (pair.check(), pair.run()) {
        (Ok(check), Ok(run)) => compare::compare(&check, &run),
        (check, run) => {
            let wrong = [check.err(), run.err()].into_iter().flatten().collect();
            Figure { wrong, ..Figure::default() }
        }
    }
}

/// Makes the hosts of one playbook, with its name.
type Make = Box<dyn Fn() -> (String, Pair) + Send + Sync>;

/// The shipped playbook for one domain and for all, against the lab, and then the corpus.
fn all() -> Vec<Make> {
    let domains = ["example.com", "all"].map(|domains| {
        let flags = format!("-e domains={domains}");
        Box::new(move || (format!("move-domain.yml {flags}"), Pair::lab("move-domain.yml", &flags))) as Make
    });
    let corpus = playbooks().into_iter().map(|path| {
        Box::new(move || (path.file_name().unwrap().to_string_lossy().into_owned(), Pair::new(&path))) as Make
    });
    domains.into_iter().chain(corpus).collect()
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
fn every_module_has_a_playbook() {
    let texts = playbooks().into_iter().map(|path| std::fs::read_to_string(path).unwrap());
    let texts: String = texts.collect();
    let missing: Vec<&str> = cutover::modules::all()
        .map(|entry| entry.name)
        // No test's machine may be started anew.
        .filter(|name| *name != "reboot" && !texts.lines().any(|line| line.trim().starts_with(&format!("{name}:"))))
        .collect();
    assert_eq!(missing, [] as [&str; 0], "tests/corpus has none for them");
}

#[test]
fn what_a_check_does_not_mark_unknown_is_what_a_run_does() {
    let all = all();
    let (next, figures) = (Mutex::new(all.iter()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(make) = { next.lock().unwrap().next() } {
                    let (name, pair) = make();
                    let figure = measure(&pair);
                    figures.lock().unwrap().push((name, figure));
                }
            });
        }
    });
    let mut figures = figures.into_inner().unwrap();
    figures.sort_by(|left, right| left.0.cmp(&right.0));
    let wrong = figures.iter().flat_map(|(name, figure)| figure.wrong.iter().map(move |why| format!("{name}: {why}")));
    let wrong: Vec<String> = wrong.collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(figures.len() >= 60);
    // How much is unknown is part of it: it is not to creep up.
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE)).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    assert!(is_made(PAGE, &format!("{before}{BEGIN}{}{END}{after}", table(&figures))), "{PAGE} is {STALE}");
}

/// Where the figure stands, and between what.
const PAGE: &str = "docs/fidelity.md";
const BEGIN: &str = "<!-- made by tests/all/fidelity -->\n";
const END: &str = "<!-- end -->\n";

/// The figure, as it stands in the documentation.
fn table(figures: &[(String, Figure)]) -> String {
    let sum = |of: fn(&Figure) -> usize| figures.iter().map(|(_, figure)| of(figure)).sum::<usize>();
    let (tasks, unknown, changes) = (sum(|f| f.tasks), sum(|f| f.unknown), sum(|f| f.changes));
    let mut text = format!(
        "{} playbooks, {tasks} verdicts: {} predicted, {unknown} marked unknown, 0 wrong. {changes} changes predicted byte for byte.\n\n\
         | playbook | verdicts | changes | unknown |\n|---|---:|---:|---:|\n",
        figures.len(),
        tasks - unknown
    );
    for (name, Figure { tasks, changes, unknown, .. }) in figures {
        text += &format!("| {name} | {tasks} | {changes} | {unknown} |\n");
    }
    text
}
