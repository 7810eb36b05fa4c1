//! The one binary under Ansible's names: a link called `ansible-playbook` is `cutover play`, and so on.

use std::ffi::OsString;
use std::path::Path;

/// Ansible's programs, and the subcommand that each of them is.
pub const NAMES: &[(&str, &str)] = &[
    ("ansible", "run"),
    ("ansible-config", "config"),
    ("ansible-doc", "doc"),
    ("ansible-inventory", "inventory"),
    ("ansible-playbook", "play"),
    ("ansible-vault", "vault"),
];

/// Returns the arguments of `cutover`, given those of this process.
pub fn arguments(given: Vec<OsString>) -> Vec<OsString> {
    let called = given.first().map(|called| Path::new(called).file_name().unwrap_or_default().to_string_lossy());
    let Some((_, subcommand)) = called.and_then(|called| NAMES.iter().find(|(name, _)| *name == called)) else {
        return given;
    };
    // `ansible-playbook --version` is about the program, and no flag of the subcommand.
    if given.get(1).is_some_and(|flag| flag == "--version") {
        return given;
    }
    let words = ["cutover", subcommand].map(OsString::from);
    words.into_iter().chain(given.into_iter().skip(1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(given: &[&str]) -> Vec<String> {
        let given = given.iter().map(OsString::from).collect();
        arguments(given).into_iter().map(|word| word.into_string().unwrap()).collect()
    }

    #[test]
    fn a_link_named_as_a_program_of_ansible_is_its_subcommand() {
        assert_eq!(words(&["/usr/bin/ansible-playbook", "a.yml"]), ["cutover", "play", "a.yml"]);
        assert_eq!(words(&["ansible-vault", "view", "x"]), ["cutover", "vault", "view", "x"]);
        assert_eq!(words(&["ansible", "--version"]), ["ansible", "--version"]);
        assert_eq!(words(&["target/cutover", "play"]), ["target/cutover", "play"]);
    }
}
