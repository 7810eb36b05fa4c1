//! From the path of a playbook to its plays: what the loader must know of the program, and the one call that loads.

use std::path::{Path, PathBuf};

use crate::error::{Diagnostic, Diagnostics};
use crate::vars::Layer;
use crate::yaml::Yaml;

use super::Playbook;
use super::files::Files;
use super::library::Library;
use super::play::Imported;
use super::reader::{Reader, normal};

/// Renders a text that must be known before the run with the variables that are the same for all hosts (extra vars are the closure's own).
pub type RenderName = Box<dyn Fn(&Yaml, Layer) -> Result<String, Diagnostic> + Send + Sync>;

/// What loading needs to know; kept for the run, whose includes it reads.
#[derive(Default)]
pub struct Loader {
    /// The short names of all modules and of the runner's own actions; imports are the loader's and not among them.
    pub actions: Vec<&'static str>,
    /// The names that `with_X` may have; empty: not checked here.
    pub lookups: Vec<&'static str>,
    /// Where roles are looked for after the playbook's own `roles/`.
    pub roles_path: Vec<PathBuf>,
    /// `None`: such texts cannot be templates.
    pub render: Option<RenderName>,
    /// A notification that nobody answers is no error.
    pub allows_missing_handlers: bool,
    /// The modules of the user's.
    pub library: Library,
    pub(super) files: Files,
}

impl Loader {
    pub fn new(actions: Vec<&'static str>) -> Loader {
        Loader { actions, ..Loader::default() }
    }

    /// Takes `text` for what stands in the file at `path`.
    pub fn give(&self, path: &Path, text: &str) -> Result<(), Diagnostic> {
        self.files.give(&normal(path), text)
    }

    /// Returns the files that were read so far: playbooks, tasks, what roles have; sorted.
    pub fn read(&self) -> Vec<PathBuf> {
        self.files.paths()
    }

    /// Returns the places of Ansible's default `roles_path`.
    pub fn default_roles_path(home: Option<&Path>) -> Vec<PathBuf> {
        let own = home.map(|home| home.join(".ansible/roles"));
        own.into_iter().chain(["/usr/share/ansible/roles".into(), "/etc/ansible/roles".into()]).collect()
    }
}

/// Loads a playbook with everything it imports; returns what could be read, and every error in it.
pub fn load_all(path: &Path, loader: &Loader) -> (Playbook, Diagnostics) {
    let path = normal(path);
    let document = match loader.files.document(&path) {
        Ok(document) => document,
        Err(error) => return (Playbook::default(), error.into()),
    };
    let mut reader = Reader::start(loader, &path);
    let plays = reader.plays(&path, document, &Imported::default());
    (Playbook { plays }, reader.errors)
}

/// Loads a playbook with everything it imports, or returns every error that can be found before anything runs.
pub fn load(path: &Path, loader: &Loader) -> Result<Playbook, Diagnostics> {
    let (playbook, errors) = load_all(path, loader);
    errors.in_order().or(playbook)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use crate::error::Source;

    use super::super::files;
    use super::super::testing::{ACTIONS, errors_of};
    use super::*;

    /// Cases of a playbook and the errors drawn for it.
    const ERRORS: &str = include_str!("errors.txt");

    #[test]
    fn every_error_is_drawn_as_shown() {
        for case in ERRORS.split("=====\n").skip(1) {
            let (playbook, drawn) = case.split_once("-----\n").unwrap();
            assert_eq!(format!("{}\n", errors_of(playbook)), drawn, "{playbook}");
        }
    }

    /// A playbook in which everything occurs once.
    const EVERYTHING: &str = include_str!("everything.yml");
    const TOKENS: &[&str] = &[
        "- ",
        ": ",
        "  ",
        "\t",
        "{{",
        "}}",
        "'",
        "\"",
        "[",
        "]",
        "{",
        "}",
        "&a ",
        "*a",
        "<<: ",
        "!!int ",
        "!vault ",
        "|\n",
        ">-\n",
        "---\n",
        "# ",
        "null",
        "yes",
        "0",
        "-1",
        "1.5",
        "%",
        "\\",
        "\u{e9}",
        "block:",
        "rescue:",
        "hosts:",
        "role:",
        "when:",
        "loop:",
        "with_items:",
        "import_tasks:",
        "include_role:",
        "apply:",
        "args:",
        "action:",
        "copy:",
        "tags:",
        "vars:",
        "\n",
    ];

    fn read(text: &str) -> Result<Playbook, Diagnostics> {
        let loader = Loader::new(ACTIONS.to_vec());
        let path = Path::new("none/site.yml");
        let document = files::parse(&Arc::new(Source { path: path.into(), text: text.into() }))?;
        let mut reader = Reader::start(&loader, path);
        let plays = reader.plays(path, document, &Imported::default());
        reader.errors.in_order().or(Playbook { plays })
    }

    fn mutated(edits: &[(usize, u8, usize)]) -> String {
        let mut lines: Vec<String> = EVERYTHING.lines().map(String::from).collect();
        for &(line, kind, pick) in edits {
            let (line, other) = (line % lines.len(), pick % lines.len());
            let at = lines[line].char_indices().nth(pick % (lines[line].chars().count() + 1)).map(|(at, _)| at);
            let at = at.unwrap_or(lines[line].len());
            match kind % 6 {
                0 => lines[line].insert_str(at, TOKENS[pick % TOKENS.len()]),
                1 => lines[line].truncate(at),
                2 => lines.swap(line, other),
                3 => lines[line].insert_str(0, &"     "[..pick % 6]),
                4 => lines[line] = lines[line].chars().skip(pick % 5).collect(),
                _ => lines[line] = lines[other].clone(),
            }
        }
        lines.join("\n")
    }

    #[test]
    fn everything_is_understood() {
        let loaded = read(EVERYTHING).map(|playbook| playbook.plays.len());
        assert_eq!(loaded.map_err(|errors| errors.to_string()), Ok(2));
    }

    #[test]
    fn aliases_cannot_blow_up_a_playbook() {
        let mut text = "- hosts: all\n  vars:\n    - a0: &a0 [{ping: }, {ping: }]\n".to_string();
        for level in 1..30 {
            text += &format!("    - a{level}: &a{level} [{{block: *a{0}}}, {{block: *a{0}}}]\n", level - 1);
        }
        let error = read(&(text + "  tasks: *a29\n")).unwrap_err().to_string();
        assert!(error.contains("more than 200000 tasks"), "{error}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]

        #[test]
        fn no_mutation_panics_and_every_error_can_be_drawn(
            edits in proptest::collection::vec((any::<usize>(), any::<u8>(), any::<usize>()), 1..8)
        ) {
            if let Err(errors) = read(&mutated(&edits)) {
                prop_assert!(!errors.to_string().is_empty());
            }
        }
    }
}
