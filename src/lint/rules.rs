//! The rules: what each finds, and how bad that is.

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grade {
    /// A run would refuse it, or fail where it comes to it.
    Error,
    /// It would run, and is hardly meant.
    Warning,
}

impl Grade {
    pub fn name(self) -> &'static str {
        if self == Grade::Error { "error" } else { "warning" }
    }
}

#[derive(Debug, PartialEq)]
pub struct Rule {
    pub name: &'static str,
    pub grade: Grade,
    /// What it finds, a phrase.
    pub summary: &'static str,
}

const fn error(name: &'static str, summary: &'static str) -> Rule {
    Rule { name, grade: Grade::Error, summary }
}

const fn warning(name: &'static str, summary: &'static str) -> Rule {
    Rule { name, grade: Grade::Warning, summary }
}

pub(super) static INVALID: Rule = error(
    "invalid",
    "whatever a run refuses: YAML, keywords, modules, arguments, templates, missing roles and handlers",
);
pub(super) static UNKNOWN_HOST: Rule = error("unknown-host", "`hosts` names what the given inventory does not have");
pub(super) static UNDEFINED_VARIABLE: Rule =
    error("undefined-variable", "a variable that nothing defines, with neither `default` nor `is defined` anywhere");
pub(super) static MISSING_FILE: Rule =
    error("missing-file", "the `src` of a `copy` or `template` that is in no place where it is looked for");
pub(super) static ABSENT_MODULE: Rule = warning(
    "absent-module",
    "a module or an argument that is not here, in a task behind a condition or in a handler: it fails where it runs",
);
pub(super) static UNUSED_HANDLER: Rule = warning("unused-handler", "a play's handler that nothing notifies");
pub(super) static DUPLICATE_HANDLER: Rule =
    warning("duplicate-handler", "two handlers of one list with one name, of which only the last one runs");
pub(super) static IDLE_NOTIFY: Rule =
    warning("idle-notify", "`notify` on a task that says `changed_when: false`, so that it never notifies");
pub(super) static FIGHTING_TASKS: Rule = warning(
    "fighting-tasks",
    "two tasks that set one thing of one host to different values, so that every run changes it",
);
pub(super) static LITERAL_SECRET: Rule =
    warning("literal-secret", "a password that stands in the playbook, in a task without `no_log`");
pub(super) static TEMPLATED_CONDITION: Rule =
    warning("templated-condition", "`{{ }}` in a condition, which is an expression already");
pub(super) static RESERVED_NAME: Rule =
    warning("reserved-name", "a variable with the name of a keyword or of a function of templates");

/// Every rule.
pub static RULES: &[&Rule] = &[
    &INVALID,
    &UNKNOWN_HOST,
    &UNDEFINED_VARIABLE,
    &MISSING_FILE,
    &ABSENT_MODULE,
    &UNUSED_HANDLER,
    &DUPLICATE_HANDLER,
    &IDLE_NOTIFY,
    &FIGHTING_TASKS,
    &LITERAL_SECRET,
    &TEMPLATED_CONDITION,
    &RESERVED_NAME,
];
