//! Flags of Ansible's programs that are not here: each is refused by its name, with what to do instead.

use std::ffi::OsString;

use crate::error::Diagnostic;

const BUILT_IN: &str = "modules are built in, and are documented as `cutover doc MODULE` prints them";
const NO_COPIES: &str = "files go over the connection itself; flags for all connections are `--ssh-common-args`";
const OF_ROLES: &str = "a role's arguments are in its `meta/argument_specs.yml`";

/// The subcommand, the flag, and what to do instead.
const FLAGS: &[(&str, &str, &str)] = &[
    ("play", "--step", "`--check` shows every change without making it, and `--confirm` asks before it makes them"),
    ("play", "--scp-extra-args", NO_COPIES),
    ("play", "--sftp-extra-args", NO_COPIES),
    ("run", "--scp-extra-args", NO_COPIES),
    ("run", "--sftp-extra-args", NO_COPIES),
    ("inventory", "--toml", "`--yaml` is for people, and without it programs get JSON"),
    ("doc", "--entry-point", OF_ROLES),
    ("doc", "--roles-path", OF_ROLES),
    ("doc", "-e", OF_ROLES),
    ("doc", "-r", OF_ROLES),
    ("doc", "--list_files", BUILT_IN),
    ("doc", "-F", BUILT_IN),
    ("doc", "--metadata-dump", "`cutover doc --json MODULE...` prints what is known of modules"),
    ("doc", "--module-path", BUILT_IN),
    ("doc", "-M", BUILT_IN),
    ("doc", "--playbook-dir", BUILT_IN),
    ("doc", "--no-fail-on-errors", BUILT_IN),
];

/// Says whether these arguments of `cutover` have such a flag.
pub fn check(arguments: &[OsString]) -> Result<(), Diagnostic> {
    let words = arguments.iter().skip(1).map(|word| word.to_string_lossy());
    let words: Vec<_> = words.take_while(|word| word != "--").collect();
    let Some(subcommand) = words.first() else { return Ok(()) };
    let is = |word: &str, flag: &str| {
        word == flag || word.strip_prefix(flag).is_some_and(|rest| flag.len() > 2 && rest.starts_with('='))
    };
    let refused =
        FLAGS.iter().find(|(of, flag, _)| of == subcommand && words.iter().skip(1).any(|word| is(word, flag)));
    match refused {
        Some((of, flag, instead)) => {
            Err(Diagnostic::new(format!("`{flag}` is not a flag of `cutover {of}`")).hint(*instead))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(words: &[&str]) -> bool {
        check(&words.iter().map(OsString::from).collect::<Vec<_>>()).is_err()
    }

    #[test]
    fn a_flag_is_refused_where_ansible_has_it_and_nowhere_else() {
        assert!(refused(&["cutover", "play", "--step", "a.yml"]));
        assert!(refused(&["cutover", "run", "all", "--scp-extra-args=-l 1"]));
        assert!(refused(&["cutover", "doc", "-F"]));
        assert!(!refused(&["cutover", "play", "-F", "a.yml"]) && !refused(&["cutover", "doc", "--", "-F"]));
        assert!(!refused(&["cutover", "play", "--stepping"]) && !refused(&["cutover"]));
    }
}
