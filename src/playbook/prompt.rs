//! `vars_prompt`: variables that whoever starts the run is asked for.

use crate::error::{Diagnostic, Place};
use crate::yaml::{Data, Yaml};

use super::keywords::check_variable;
use super::reader::Reader;

/// One question.
#[derive(Clone, Debug)]
pub struct Prompt {
    pub name: String,
    /// What is asked: `prompt`, or the name.
    pub question: Yaml,
    pub default: Option<Yaml>,
    /// What is typed is not shown, and masked wherever it is told.
    pub private: bool,
    /// It is typed twice.
    pub confirm: bool,
    /// The scheme of the hash that the variable is instead of the answer, as `password_hash` names it.
    pub encrypt: Option<Yaml>,
    pub salt: Option<Yaml>,
    /// The answer is no template.
    pub literal: bool,
    pub place: Place,
}

const KEYS: &[&str] = &["name", "prompt", "default", "private", "confirm", "encrypt", "salt", "salt_size", "unsafe"];

impl Reader<'_> {
    pub fn prompts(&mut self, list: Option<&Yaml>) -> Vec<Prompt> {
        let read: Vec<_> = list.and_then(Yaml::as_list).unwrap_or(&[]).iter().map(prompt).collect();
        read.into_iter().filter_map(|prompt| self.errors.catch(prompt)).collect()
    }
}

fn prompt(node: &Yaml) -> Result<Prompt, Diagnostic> {
    let Some(map) = node.as_map() else {
        let message = format!("an entry of `vars_prompt` should be a mapping, not {}", node.kind());
        return Err(Diagnostic::new(message).at(&node.place));
    };
    if let Some((key, _)) = map.iter().find(|(key, _)| !KEYS.contains(&key.key().as_str())) {
        let error =
            Diagnostic::new(format!("Invalid vars_prompt data structure, found unsupported key '{}'", key.key()));
        return Err(error.at(&key.place).suggest(&key.key(), KEYS.iter().copied()));
    }
    let given = |name: &str| node.get(name).filter(|value| !value.is_null()).cloned();
    let Some(name) = given("name") else {
        return Err(Diagnostic::new("Invalid vars_prompt data structure, missing 'name' key").at(&node.place));
    };
    check_variable(&name)?;
    let switch = |key: &str, unsaid: bool| match given(key) {
        None => Ok(unsaid),
        Some(value) => match &*value.data {
            Data::Bool(on) => Ok(*on),
            _ => Err(Diagnostic::new(format!("`{key}` should be a boolean, not `{}`", value.key())).at(&value.place)),
        },
    };
    Ok(Prompt {
        question: given("prompt").unwrap_or_else(|| name.clone()),
        name: name.key(),
        default: given("default"),
        private: switch("private", true)?,
        confirm: switch("confirm", false)?,
        encrypt: given("encrypt"),
        salt: given("salt"),
        literal: switch("unsafe", false)?,
        place: node.place.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::Tree;

    #[test]
    fn a_question_has_a_name_and_known_keys() {
        let load = |prompt: &str| {
            let play = format!("- hosts: all\n  vars_prompt: [{prompt}]\n  tasks: []\n");
            Tree::new(&[("site.yml", &play)]).load().map(|book| book.plays[0].prompts[0].clone())
        };
        let prompt = load("{name: a, prompt: 'Which?', private: no, default: 3}").unwrap();
        assert_eq!((prompt.name.as_str(), prompt.question.key().as_str(), prompt.private), ("a", "Which?", false));
        assert!(load("{prompt: a}").unwrap_err().contains("missing 'name' key"));
        assert!(load("{name: a, privat: no}").unwrap_err().contains("unsupported key 'privat'"));
    }
}
