//! The settings that mean something here: one row each.

use std::path::Path;

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Number,
    Switch,
    /// Words with commas between them.
    List,
    /// Relative to the configuration file.
    Path,
    /// Paths with colons between them.
    PathSpec,
    /// Paths with commas between them.
    PathList,
}

/// A setting: its name in `ansible-config`, its variable, and where it stands in `ansible.cfg`.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub name: &'static str,
    pub variable: &'static str,
    pub section: &'static str,
    pub key: &'static str,
    pub kind: Kind,
    pub default: &'static str,
    pub help: &'static str,
}

const fn row(
    (name, variable): (&'static str, &'static str),
    (section, key): (&'static str, &'static str),
    (kind, default): (Kind, &'static str),
    help: &'static str,
) -> Setting {
    Setting { name, variable, section, key, kind, default, help }
}

const D: &str = "defaults";
const P: &str = "privilege_escalation";
const S: &str = "ssh_connection";

use Kind::{List, Number, PathList, PathSpec, Switch, Text};

#[rustfmt::skip]
pub const SETTINGS: &[Setting] = &[
    row(("ALLOW_BROKEN_CONDITIONALS", "ANSIBLE_ALLOW_BROKEN_CONDITIONALS"), (D, "allow_broken_conditionals"), (Switch, "False"), "Conditions may come to something else than a boolean, which counts as Python has it."),
    row(("ANSIBLE_FORCE_COLOR", "ANSIBLE_FORCE_COLOR"), (D, "force_color"), (Switch, "False"), "Colours where there is no terminal, too."),
    row(("ANSIBLE_NOCOLOR", "ANSIBLE_NOCOLOR"), (D, "nocolor"), (Switch, "False"), "No colours."),
    row(("ANSIBLE_NOCOWS", "ANSIBLE_NOCOWS"), (D, "nocows"), (Switch, "True"), "There are no cows."),
    row(("ANY_ERRORS_FATAL", "ANSIBLE_ANY_ERRORS_FATAL"), (D, "any_errors_fatal"), (Switch, "False"), "A host that fails ends the play for all, in plays that do not say otherwise."),
    row(("CALLBACKS_ENABLED", "ANSIBLE_CALLBACKS_ENABLED"), (D, "callbacks_enabled"), (List, ""), "`junit`, `profile_tasks`, `tree`: beside what is printed."),
    row(("CACHE_PLUGIN", "ANSIBLE_CACHE_PLUGIN"), (D, "fact_caching"), (Text, "memory"), "`jsonfile` keeps facts for later runs; `memory` keeps none."),
    row(("CACHE_PLUGIN_CONNECTION", "ANSIBLE_CACHE_PLUGIN_CONNECTION"), (D, "fact_caching_connection"), (Kind::Path, ""), "The directory in which they are kept, a file for each host."),
    row(("CACHE_PLUGIN_PREFIX", "ANSIBLE_CACHE_PLUGIN_PREFIX"), (D, "fact_caching_prefix"), (Text, ""), "What the names of these files begin with."),
    row(("CACHE_PLUGIN_TIMEOUT", "ANSIBLE_CACHE_PLUGIN_TIMEOUT"), (D, "fact_caching_timeout"), (Number, "86400"), "Seconds after which what is kept is too old; 0: never."),
    row(("COLLECTIONS_PATHS", "ANSIBLE_COLLECTIONS_PATH"), (D, "collections_path"), (PathSpec, "~/.ansible/collections:/usr/share/ansible/collections"), "Where collections are looked for beside the playbook's own."),
    row(("DEFAULT_BECOME", "ANSIBLE_BECOME"), (P, "become"), (Switch, "False"), "Become another user."),
    row(("DEFAULT_BECOME_EXE", "ANSIBLE_BECOME_EXE"), (P, "become_exe"), (Text, ""), "The program to become with."),
    row(("DEFAULT_BECOME_FLAGS", "ANSIBLE_BECOME_FLAGS"), (P, "become_flags"), (Text, ""), "Its flags."),
    row(("DEFAULT_BECOME_METHOD", "ANSIBLE_BECOME_METHOD"), (P, "become_method"), (Text, "sudo"), "`sudo`, `su` or `doas`."),
    row(("DEFAULT_BECOME_USER", "ANSIBLE_BECOME_USER"), (P, "become_user"), (Text, "root"), "Whom to become."),
    row(("DEFAULT_DEBUG", "ANSIBLE_DEBUG"), (D, "debug"), (Switch, "False"), "Says on which hosts handlers run at the points that no task makes."),
    row(("DEFAULT_FORCE_HANDLERS", "ANSIBLE_FORCE_HANDLERS"), (D, "force_handlers"), (Switch, "False"), "Notified handlers run even on hosts that failed."),
    row(("DEFAULT_FORKS", "ANSIBLE_FORKS"), (D, "forks"), (Number, "50"), "How many hosts work on a task at once."),
    row(("DEFAULT_GATHERING", "ANSIBLE_GATHERING"), (D, "gathering"), (Text, "implicit"), "`explicit`: facts are gathered only where a play says so; `smart`: once for each host."),
    row(("DEFAULT_HASH_BEHAVIOUR", "ANSIBLE_HASH_BEHAVIOUR"), (D, "hash_behaviour"), (Text, "replace"), "`replace`, or `merge`: mappings of several levels of precedence are merged."),
    row(("DEFAULT_HOST_LIST", "ANSIBLE_INVENTORY"), (D, "inventory"), (PathList, ""), "The inventory."),
    row(("DEFAULT_JINJA2_NATIVE", "ANSIBLE_JINJA2_NATIVE"), (D, "jinja2_native"), (Switch, "True"), "Always on, as in ansible-core 2.19."),
    row(("DEFAULT_MODULE_PATH", "ANSIBLE_LIBRARY"), (D, "library"), (PathSpec, "~/.ansible/plugins/modules"), "Where modules of the user's are looked for beside the playbook's own."),
    row(("DEFAULT_NO_LOG", "ANSIBLE_NO_LOG"), (D, "no_log"), (Switch, "False"), "Results are hidden, of tasks that do not say otherwise."),
    row(("DEFAULT_PRIVATE_KEY_FILE", "ANSIBLE_PRIVATE_KEY_FILE"), (D, "private_key_file"), (Kind::Path, ""), "The private key to log in with."),
    row(("DEFAULT_REMOTE_PORT", "ANSIBLE_REMOTE_PORT"), (D, "remote_port"), (Number, ""), "The port of SSH."),
    row(("DEFAULT_REMOTE_USER", "ANSIBLE_REMOTE_USER"), (D, "remote_user"), (Text, ""), "The user to log in as."),
    row(("DEFAULT_ROLES_PATH", "ANSIBLE_ROLES_PATH"), (D, "roles_path"), (PathSpec, "~/.ansible/roles:/usr/share/ansible/roles:/etc/ansible/roles"), "Where roles are looked for beside the playbook's own."),
    row(("DEFAULT_STDOUT_CALLBACK", "ANSIBLE_STDOUT_CALLBACK"), (D, "stdout_callback"), (Text, "default"), "What is printed: see `--report`."),
    row(("DEFAULT_STRATEGY", "ANSIBLE_STRATEGY"), (D, "strategy"), (Text, "linear"), "The order of plays that do not say: `linear`, `free` or `host_pinned`."),
    row(("DEFAULT_TIMEOUT", "ANSIBLE_TIMEOUT"), (D, "timeout"), (Number, "10"), "Seconds to wait for a connection."),
    row(("DEFAULT_TRANSPORT", "ANSIBLE_TRANSPORT"), (D, "transport"), (Text, "ssh"), "`ssh` or `local`."),
    row(("DEFAULT_VAULT_ENCRYPT_IDENTITY", "ANSIBLE_VAULT_ENCRYPT_IDENTITY"), (D, "vault_encrypt_identity"), (Text, ""), "Under which id `vault encrypt` encrypts."),
    row(("DEFAULT_VAULT_IDENTITY", "ANSIBLE_VAULT_IDENTITY"), (D, "vault_identity"), (Text, "default"), "The id of a password that is given without one."),
    row(("DEFAULT_VAULT_IDENTITY_LIST", "ANSIBLE_VAULT_IDENTITY_LIST"), (D, "vault_identity_list"), (List, ""), "Vault ids, each as for `--vault-id`."),
    row(("DEFAULT_VAULT_ID_MATCH", "ANSIBLE_VAULT_ID_MATCH"), (D, "vault_id_match"), (Switch, "False"), "Only the password of a text's own id is tried."),
    row(("DEFAULT_VAULT_PASSWORD_FILE", "ANSIBLE_VAULT_PASSWORD_FILE"), (D, "vault_password_file"), (Kind::Path, ""), "A file with the vault password, or a program that prints it."),
    row(("DEFAULT_VERBOSITY", "ANSIBLE_VERBOSITY"), (D, "verbosity"), (Number, "0"), "As many `-v`."),
    row(("CALLBACK_RESULT_FORMAT", "ANSIBLE_CALLBACK_RESULT_FORMAT"), (D, "callback_result_format"), (Text, "json"), "How results are printed: `json` or `yaml`."),
    row(("DISPLAY_FAILED_STDERR", "ANSIBLE_DISPLAY_FAILED_STDERR"), (D, "display_failed_stderr"), (Switch, "False"), "Failures go to standard error."),
    row(("DISPLAY_OK_HOSTS", "ANSIBLE_DISPLAY_OK_HOSTS"), (D, "display_ok_hosts"), (Switch, "True"), "Hosts where a task changes nothing are printed, and tasks that are so everywhere."),
    row(("DISPLAY_SKIPPED_HOSTS", "ANSIBLE_DISPLAY_SKIPPED_HOSTS"), (D, "display_skipped_hosts"), (Switch, "True"), "Hosts that a task passes over are printed, and tasks that are passed over everywhere."),
    row(("DUPLICATE_YAML_DICT_KEY", "ANSIBLE_DUPLICATE_YAML_DICT_KEY"), (D, "duplicate_dict_key"), (Text, "error"), "A key that stands twice: `error`, or `warn` or `ignore`, and the last one counts."),
    row(("ERROR_ON_MISSING_HANDLER", "ANSIBLE_ERROR_ON_MISSING_HANDLER"), (D, "error_on_missing_handler"), (Switch, "True"), "A notification that no handler answers to is an error."),
    row(("HOST_KEY_CHECKING", "ANSIBLE_HOST_KEY_CHECKING"), (D, "host_key_checking"), (Switch, "True"), "Keys of hosts are checked."),
    row(("INVENTORY_IGNORE_EXTS", "ANSIBLE_INVENTORY_IGNORE"), (D, "inventory_ignore_extensions"), (List, ".pyc, .pyo, .swp, .bak, ~, .rpm, .md, .txt, .rst, .orig, .cfg, .retry"), "Endings of files that are skipped in an inventory directory."),
    row(("INVENTORY_IGNORE_PATTERNS", "ANSIBLE_INVENTORY_IGNORE_REGEX"), (D, "inventory_ignore_patterns"), (List, ""), "Regular expressions of names that are."),
    row(("RETRY_FILES_ENABLED", "ANSIBLE_RETRY_FILES_ENABLED"), (D, "retry_files_enabled"), (Switch, "False"), "Hosts that failed are written to `PLAYBOOK.retry`, for `--limit @FILE`."),
    row(("RETRY_FILES_SAVE_PATH", "ANSIBLE_RETRY_FILES_SAVE_PATH"), (D, "retry_files_save_path"), (Kind::Path, ""), "The directory of such files."),
    row(("TAGS_RUN", "ANSIBLE_RUN_TAGS"), ("tags", "run"), (List, ""), "As `--tags`."),
    row(("TAGS_SKIP", "ANSIBLE_SKIP_TAGS"), ("tags", "skip"), (List, ""), "As `--skip-tags`."),
    row(("ssh_args", "ANSIBLE_SSH_ARGS"), (S, "ssh_args"), (Text, ""), "Flags of `ssh`."),
    row(("ssh_common_args", "ANSIBLE_SSH_COMMON_ARGS"), (S, "ssh_common_args"), (Text, ""), "More of them."),
    row(("ssh_extra_args", "ANSIBLE_SSH_EXTRA_ARGS"), (S, "ssh_extra_args"), (Text, ""), "Yet more."),
];

/// Says whether a section is one whose keys are all known.
pub(super) fn is_read(section: &str) -> bool {
    [D, P, S, "tags"].contains(&section)
}

impl Kind {
    /// Returns a value of a configuration file in `directory` as an environment variable would have it.
    pub(super) fn resolved(self, value: &str, directory: &Path) -> String {
        // What follows ` ;` is a comment.
        let value = value.split(" ;").next().unwrap_or(value).trim().trim_matches(['"', '\'']);
        let path = |path: &str| {
            let path = path.trim().replace("{{CWD}}", ".").replace("{{ CWD }}", ".");
            match path.strip_prefix("~/").zip(std::env::var("HOME").ok()) {
                Some((rest, home)) => format!("{home}/{rest}"),
                None => directory.join(path).to_string_lossy().into_owned(),
            }
        };
        let each = |separator: char| {
            let parts = value.split(separator).filter(|part| !part.trim().is_empty()).map(path);
            parts.collect::<Vec<_>>().join(&separator.to_string())
        };
        match self {
            _ if value.is_empty() => String::new(),
            Kind::Path => path(value),
            Kind::PathSpec => each(':'),
            Kind::PathList => each(','),
            _ => value.into(),
        }
    }
}
