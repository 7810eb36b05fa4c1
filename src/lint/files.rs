//! The files that tasks name: whether they are there, and whether templates can be read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Diagnostic, Source};
use crate::playbook::keywords::is_template;
use crate::playbook::{Play, Task};
use crate::vars::files;
use crate::yaml::{Data, Yaml};

use super::walk::Walked;
use super::{Around, Found, is_here, rules};

pub(super) fn look((walked, all): (&Walked, &[Walked]), around: &Around, found: &mut Found) {
    let may_be_made = all.iter().any(|play| is_here(play.play) || play.all().any(|task| writes_here(task)));
    for task in walked.all() {
        if let Some(source) = template(task, walked.play) {
            found.extend(&rules::INVALID, around.templates.check_file(&source));
        }
        let Some(src) = source_of(task).filter(|_| task.keywords.when.is_empty() && !may_be_made) else { continue };
        let name = src.key();
        if find(task, walked.play, &name).is_none() && Path::new(&name).is_relative() && !name.starts_with('~') {
            let missing = Diagnostic::new(format!("no file `{name}` on the controller")).at(&src.place);
            let kind = kind_of(task);
            let looked = search(task, walked.play);
            let looked = looked.iter().flat_map(|place| [place.join(kind).join(&name), place.join(&name)]);
            let looked: Vec<String> = looked.map(|path| path.display().to_string()).collect();
            found.push(&rules::MISSING_FILE, missing.hint(format!("looked for {}", looked.join(", "))));
        }
    }
}

/// Says whether a task may make files of the controller's.
fn writes_here(task: &Task) -> bool {
    let local = |node: &Option<Yaml>| node.as_ref().is_some();
    task.action == "fetch" || local(&task.delegate_to) || local(&task.keywords.connection)
}

/// Returns the text of the template that a task names, where it is plainly named, there, and has Ansible's delimiters.
pub(super) fn template(task: &Task, play: &Play) -> Option<Arc<Source>> {
    let own_syntax = |(key, _): &(Yaml, Yaml)| key.as_str().is_some_and(|key| key.ends_with("_string"));
    if task.action != "template" || task.arguments.iter().any(own_syntax) {
        return None;
    }
    let path = find(task, play, &source_of(task)?.key())?;
    files::source(&path).ok()
}

/// Returns the `src` of a task that takes it from the controller, where it is no template.
fn source_of(task: &Task) -> Option<&Yaml> {
    let argument =
        |name: &str| task.arguments.iter().find(|(key, _)| key.as_str() == Some(name)).map(|(_, value)| value);
    let is_ours = matches!(task.action.as_str(), "copy" | "template") && task.custom.is_none();
    let remote = argument("remote_src").is_some_and(|node| !matches!(&*node.data, Data::Bool(false)));
    argument("src")
        .filter(|src| is_ours && !remote && src.as_str().is_some_and(|src| !is_template(src) && !src.is_empty()))
}

fn kind_of(task: &Task) -> &'static str {
    if task.action == "template" { "templates" } else { "files" }
}

fn find(task: &Task, play: &Play, name: &str) -> Option<PathBuf> {
    let kind = kind_of(task);
    let places = search(task, play);
    places.iter().flat_map(|place| [place.join(kind).join(name), place.join(name)]).find(|path| path.exists())
}

/// Returns where a task's files are looked for: its role and those it came from, its own directory, the playbook's.
pub(super) fn search(task: &Task, play: &Play) -> Vec<PathBuf> {
    let mut directories: Vec<PathBuf> = Vec::new();
    if let Some(role) = &task.keywords.role {
        directories.extend([role].into_iter().chain(role.parents.iter().rev()).map(|role| role.path.clone()));
    }
    for directory in [&task.keywords.directory, &play.directory] {
        let directory = std::path::absolute(directory.join("")).unwrap_or_else(|_| directory.clone());
        if !directories.contains(&directory) {
            directories.push(directory);
        }
    }
    directories
}
