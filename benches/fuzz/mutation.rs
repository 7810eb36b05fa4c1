//! Texts that are nearly right: what is written wrong on purpose, with letters, lines and words moved, doubled and lost.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cutover::error::Source;
use cutover::inventory::Inventory;
use cutover::lint::{self, Around};
use cutover::playbook::{self, Loader};
use cutover::run::verify;
use cutover::secret::Secret;
use cutover::template::{Syntax, Templates};
use cutover::vars::{Fleet, Layer};
use cutover::{vault, yaml};

/// The texts to begin with, by kind.
const CASES: &str = include_str!("../../tests/corpus/broken/cases.txt");

/// What is put into texts: what means something in one of the languages.
const WORDS: &[&str] = &[
    "\t",
    "  ",
    "\n",
    ": ",
    "- ",
    "{{",
    "}}",
    "{%",
    "%}",
    "{#",
    "'",
    "\"",
    "[",
    "]",
    "{",
    "}",
    "&a ",
    "*a",
    "<<: ",
    "!vault ",
    "!unsafe ",
    "|",
    ">",
    "\\",
    "\u{0}",
    "é",
    "\u{feff}",
    "---\n",
    "...\n",
    "=",
    ":children]",
    ":vars]",
    "[0:9]",
    "$ANSIBLE_VAULT;",
    ";1.2;AES256;x\n",
    "0x",
    "~",
    "#",
    "%",
    "@",
    "`",
    "null",
    "99999999999999999999",
    "| default(",
    "is defined",
];

/// Reads texts as the program does; the templates and the loader are one for all.
pub struct Readers {
    templates: Templates,
    directory: PathBuf,
    state: u64,
    seeds: Vec<(&'static str, &'static str)>,
}

impl Readers {
    /// Keeps its files in `directory`.
    pub fn new(directory: &Path) -> Readers {
        let case = |case: &'static str| {
            let (kind, rest) = case.split_once('\n')?;
            Some((kind, rest.split_once("----- ")?.0))
        };
        let seeds = CASES.split("===== ").skip(1).filter_map(case).collect();
        Readers { templates: Templates::new(), directory: directory.into(), state: 0x2545_f491_4f6c_dd1d, seeds }
    }

    fn below(&mut self, limit: usize) -> usize {
        // xorshift64
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state % limit.max(1) as u64) as usize
    }

    /// Reads one more text. Whatever it says, it comes back.
    pub fn next(&mut self) {
        let index = self.below(self.seeds.len());
        let (kind, seed) = self.seeds[index];
        let mut text = seed.to_string();
        for _ in 0..1 + self.below(4) {
            text = self.mutated(text);
        }
        self.read(kind, &text);
    }

    fn mutated(&mut self, text: String) -> String {
        let boundary = |at: usize| (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let (one, other) = (self.below(text.len() + 1), self.below(text.len() + 1));
        let (start, end) = (boundary(one.min(other)), boundary(one.max(other)));
        let word = WORDS[self.below(WORDS.len())];
        let short = boundary(start + 1 + one % 3).max(start);
        match self.below(6) {
            0 => format!("{}{word}{}", &text[..start], &text[start..]),
            1 => format!("{}{}", &text[..start], &text[short..]),
            2 => format!("{}{word}{}", &text[..start], &text[short..]),
            3 => format!("{}{}{}", &text[..end], &text[start..end], &text[end..]),
            4 => text[..end].to_string(),
            _ => text.lines().rev().map(|line| format!("{line}\n")).collect(),
        }
    }

    fn read(&self, kind: &str, text: &str) {
        let source = Arc::new(Source { path: "site.yml".into(), text: text.into() });
        if let Ok(documents) = yaml::load(&source) {
            documents.iter().for_each(|document| drop(self.templates.check(document, Syntax::Template)));
        }
        match kind {
            "inventory" | "inventory-yaml" => {
                let path = self.directory.join(if kind == "inventory" { "hosts" } else { "hosts.yml" });
                let written = std::fs::write(&path, text);
                if written.is_ok() {
                    let _ = Inventory::load(&[path.display().to_string()]);
                }
            }
            "vault" => drop(vault::decrypt(text, &Secret::new("geheim"))),
            _ => {
                let loader = Loader::new(verify::actions());
                let path = self.directory.join("site.yml");
                if loader.give(&path, text).is_ok() {
                    let read = playbook::load_all(&path, &loader);
                    let fleet = Arc::new(Fleet::new(Inventory::default(), Layer::new()));
                    let (loader, templates, fleet) = (&loader, &self.templates, &fleet);
                    let around = Around { loader, templates, fleet, has_inventory: true };
                    let _ = lint::playbook((&read.0, read.1), &around);
                }
            }
        }
    }
}
