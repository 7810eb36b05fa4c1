//! The keywords of plays, roles, blocks and tasks: one table a kind, each row with its shape and what it is for.

use crate::error::Diagnostic;
use crate::yaml::{Data, Yaml};

/// A row: one keyword, as the reference shows it.
pub struct Keyword {
    pub name: &'static str,
    pub shape: Shape,
    pub support: Support,
    /// One sentence, with the unit where there is one.
    pub help: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    Yes,
    /// Ansible has it, and leaving it out changes nothing here.
    Ignored,
    /// Ansible has it and Cutover does not: what to do instead.
    Refused {
        off: &'static str,
        instead: &'static str,
    },
}

/// What a keyword's value may be. Where text is allowed, so is a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Text,
    Bool,
    Number,
    /// A number, or text such as `30%`.
    Percentage,
    /// Text, or a list of texts.
    Texts,
    /// Boolean, expression, or a list of both.
    Condition,
    /// A mapping of variables, or a list of such mappings.
    Vars,
    /// A mapping, a template, or a list of both.
    Environment,
    Mapping,
    List,
    /// A way to become another user.
    Method,
    /// Checked where it is read.
    Any,
}

/// What a keyword can stand in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Play,
    ImportPlaybook,
    Role,
    Block,
    Task,
    Handler,
    /// `apply:` of an include.
    Apply,
}

const fn row(name: &'static str, shape: Shape, help: &'static str) -> Keyword {
    Keyword { name, shape, support: Support::Yes, help }
}

/// One that does nothing when it is `off`, which is fine.
const fn refused(name: &'static str, off: &'static str, instead: &'static str) -> Keyword {
    Keyword { name, shape: Shape::Any, support: Support::Refused { off, instead }, help: "Not supported yet." }
}

const fn ignored(name: &'static str, help: &'static str) -> Keyword {
    Keyword { name, shape: Shape::Any, support: Support::Ignored, help }
}

/// Everything that is below a play inherits these.
const INHERITED: &[Keyword] = &[
    row("name", Shape::Text, "What this is, shown while it runs."),
    row("any_errors_fatal", Shape::Bool, "Ends the play on all hosts as soon as one fails."),
    row("become", Shape::Bool, "Acts as another user."),
    row("become_exe", Shape::Text, "The program that changes the user."),
    row("become_flags", Shape::Text, "Options for the program that changes the user."),
    row("become_method", Shape::Method, "How to become the other user: `sudo`, `su` or `doas`."),
    row("become_user", Shape::Text, "The user to act as; `root` unless set."),
    row("check_mode", Shape::Bool, "Says what would change instead of changing it, whatever the command line says."),
    ignored("collections", "Where Ansible looks for modules; every module of Cutover is built in."),
    row("connection", Shape::Text, "How to reach the host: `ssh` or `local`."),
    refused("debugger", "never", "run with `--check --diff -v` to see what a task does"),
    row("diff", Shape::Bool, "Shows differences, whatever the command line says."),
    row("environment", Shape::Environment, "Environment variables of the commands that tasks run."),
    row("ignore_errors", Shape::Bool, "Goes on with the next task when this one fails."),
    row("ignore_unreachable", Shape::Bool, "Goes on with the next task when the host cannot be reached."),
    row(
        "module_defaults",
        Shape::Any,
        "Arguments of modules where their tasks do not give them: a mapping, or a list of them.",
    ),
    row("no_log", Shape::Bool, "Keeps arguments and results out of output and journal."),
    row("port", Shape::Number, "The SSH port."),
    row("remote_user", Shape::Text, "The user to log in as."),
    row("run_once", Shape::Bool, "Runs on the first host of the batch only; the others see its result."),
    row("tags", Shape::Any, "Labels for `--tags` and `--skip-tags`: comma text or a list."),
    row("throttle", Shape::Number, "How many hosts may run this at the same time."),
    row("timeout", Shape::Number, "Seconds after which a task has failed; 0 means no limit."),
    row("vars", Shape::Vars, "Variables for everything below."),
];

const CONDITIONAL: &[Keyword] =
    &[row("when", Shape::Condition, "Runs only where this holds; of a list, all must hold.")];

const DELEGATION: &[Keyword] = &[
    row("delegate_to", Shape::Text, "The host that acts in this one's place."),
    row("delegate_facts", Shape::Bool, "Gives the facts found to the host that acted."),
];

const NOTIFY: &[Keyword] = &[row("notify", Shape::Texts, "Handlers to run later if something changed.")];

const PLAY: &[Keyword] = &[
    row("fact_path", Shape::Text, "Where the hosts' own fact files are."),
    row("force_handlers", Shape::Bool, "Runs notified handlers even on hosts that failed."),
    row("gather_facts", Shape::Bool, "Gathers facts before the first task."),
    row("gather_subset", Shape::Any, "Which facts are gathered, as `setup` has it."),
    row("gather_timeout", Shape::Number, "Seconds until the gathering is given up."),
    row("handlers", Shape::List, "Tasks that run when they are notified."),
    row("hosts", Shape::Texts, "The pattern of the hosts to act on."),
    row(
        "max_fail_percentage",
        Shape::Percentage,
        "Ends the play when more than this percentage of a batch has failed.",
    ),
    row("order", Shape::Text, "`inventory`, `reverse_inventory`, `sorted`, `reverse_sorted` or `shuffle`."),
    row("post_tasks", Shape::List, "Tasks after `tasks` and their handlers."),
    row("pre_tasks", Shape::List, "Tasks before the roles."),
    row("roles", Shape::List, "Roles, which run before `tasks`."),
    row("serial", Shape::Any, "Batch sizes: a number, a percentage, or a list of both."),
    row(
        "strategy",
        Shape::Text,
        "`linear`: a task ends on all hosts before the next one starts; `free`: each host goes on as fast as it can; `host_pinned`: so it does, and no further host begins before one is at its end.",
    ),
    row("tasks", Shape::List, "Tasks, after the roles."),
    row("user", Shape::Text, "The old name of `remote_user`."),
    refused("validate_argspec", "false", "check the arguments with `assert`"),
    row("vars_files", Shape::Any, "Files of variables; of a list in the list, the first one found."),
    row("vars_prompt", Shape::List, "Variables that are asked for before the play begins."),
];

const IMPORT_PLAYBOOK: &[Keyword] = &[
    row("import_playbook", Shape::Text, "A playbook whose plays stand here."),
    row("name", Shape::Text, "What this is."),
    row("tags", Shape::Any, "Labels for all its plays."),
    row("vars", Shape::Vars, "Variables for all its plays; stronger than theirs."),
];

const ROLE: &[Keyword] = &[row("role", Shape::Text, "The name or path of the role.")];

const BLOCK: &[Keyword] = &[
    row("always", Shape::List, "Tasks that run in any case, last."),
    row("block", Shape::List, "Tasks that belong together."),
    row("rescue", Shape::List, "Tasks that run where one of the block failed."),
];

const TASK: &[Keyword] = &[
    row("action", Shape::Any, "The module and its arguments, as text or with `module:`."),
    row("args", Shape::Any, "Further arguments of the module: a mapping, or a template of one."),
    row(
        "async",
        Shape::Number,
        "The most seconds that a command may go on by itself on the host, behind the connection; other modules run as usual, within this time.",
    ),
    row("changed_when", Shape::Condition, "Decides from the result whether something changed."),
    row("delay", Shape::Number, "Seconds between two tries."),
    row("failed_when", Shape::Condition, "Decides from the result whether the task failed."),
    row("local_action", Shape::Any, "As `action`, on the controller."),
    row("loop", Shape::Any, "Runs the task once for each item of this list."),
    row("loop_control", Shape::Mapping, "Names and shows the loop's items."),
    row(
        "poll",
        Shape::Number,
        "Seconds between two looks at an `async` command; 15 unless set, and 0 goes on without waiting.",
    ),
    row(
        "probe",
        Shape::Bool,
        "Marks a command that only reads: it runs in a check, too, changes nothing and is no step of a plan.",
    ),
    row("register", Shape::Text, "The variable that keeps the result."),
    row("retries", Shape::Number, "How often to try again until `until` holds."),
    row("until", Shape::Condition, "Tries again until this holds."),
];

const HANDLER: &[Keyword] = &[row("listen", Shape::Texts, "Further names that notify this handler.")];

/// The rows of `loop_control:`.
pub const LOOP_CONTROL: &[Keyword] = &[
    row("break_when", Shape::Condition, "Ends the loop after an item for which this holds."),
    row("extended", Shape::Bool, "Provides `ansible_loop` with the position and its neighbours."),
    row("extended_allitems", Shape::Bool, "`no` leaves `allitems` out of `ansible_loop`."),
    row("index_var", Shape::Text, "The variable that counts the items, from 0."),
    row("label", Shape::Text, "What to show instead of the whole item."),
    row("loop_var", Shape::Text, "The variable that holds the item; `item` unless set."),
    row("pause", Shape::Number, "Seconds between two items."),
];

impl Kind {
    pub const ALL: &[Kind] =
        &[Kind::Play, Kind::ImportPlaybook, Kind::Role, Kind::Block, Kind::Task, Kind::Handler, Kind::Apply];

    fn tables(self) -> &'static [&'static [Keyword]] {
        match self {
            Kind::Play => &[PLAY, INHERITED],
            Kind::ImportPlaybook => &[IMPORT_PLAYBOOK, CONDITIONAL],
            Kind::Role => &[ROLE, INHERITED, CONDITIONAL, DELEGATION],
            Kind::Block => &[BLOCK, INHERITED, CONDITIONAL, DELEGATION, NOTIFY],
            Kind::Apply => &[INHERITED, CONDITIONAL, DELEGATION, NOTIFY],
            Kind::Task => &[TASK, INHERITED, CONDITIONAL, DELEGATION, NOTIFY],
            Kind::Handler => &[HANDLER, TASK, INHERITED, CONDITIONAL, DELEGATION, NOTIFY],
        }
    }

    /// Returns the rows, as the reference lists them.
    pub fn keywords(self) -> impl Iterator<Item = &'static Keyword> {
        self.tables().iter().flat_map(|table| table.iter())
    }

    pub fn find(self, name: &str) -> Option<&'static Keyword> {
        self.keywords().find(|keyword| keyword.name == name)
    }

    /// Returns the names that may be written, for suggestions.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        self.keywords().filter(|keyword| keyword.support == Support::Yes).map(|keyword| keyword.name)
    }

    pub fn noun(self) -> &'static str {
        match self {
            Kind::Play => "a play",
            Kind::ImportPlaybook => "`import_playbook`",
            Kind::Role => "a role",
            Kind::Block => "a block",
            Kind::Task => "a task",
            Kind::Handler => "a handler",
            Kind::Apply => "`apply`",
        }
    }
}

/// Says whether something that can be written in a playbook has a keyword of this name.
pub fn is_keyword(name: &str) -> bool {
    Kind::ALL.iter().any(|kind| kind.find(name).is_some())
}

impl Keyword {
    /// Says what is wrong with this keyword's use here, without rendering anything. Nothing (`become:`) is always fine.
    pub fn check(&self, key: &Yaml, value: &Yaml) -> Result<(), Diagnostic> {
        if value.is_null() {
            return Ok(());
        }
        if let Support::Refused { off, instead } = self.support {
            if value.key() == off {
                return Ok(());
            }
            let message = format!("keyword `{}` is not supported yet", self.name);
            return Err(Diagnostic::new(message).at(&key.place).hint(instead));
        }
        if self.shape.fits(value) {
            return Ok(());
        }
        if self.shape == Shape::Method && Shape::Text.fits(value) {
            let message = format!("`{}: {}` is not supported", self.name, value.key());
            return Err(Diagnostic::new(message).at(&value.place).hint("`sudo`, `su` and `doas` are"));
        }
        let message = format!("`{}` should be {}, not {}", self.name, self.shape.noun(), shown(value));
        let wrong = Diagnostic::new(message).at(&value.place);
        Err(match (self.shape, &*value.data) {
            (Shape::List, Data::Map(_)) => wrong.hint("put `- ` before each entry"),
            _ => wrong,
        })
    }
}

impl Shape {
    fn fits(self, value: &Yaml) -> bool {
        let each = |shape: Shape| value.as_list().is_some_and(|list| list.iter().all(|item| shape.fits(item)));
        match (self, &*value.data) {
            (Shape::Any, _) => true,
            (Shape::Text, data) => matches!(data, Data::Text(_) | Data::Int(_) | Data::Float(_) | Data::Bool(_)),
            (Shape::Method, Data::Text(text)) => is_template(text) || is_method(text),
            (Shape::Bool, Data::Bool(_) | Data::Int(0 | 1)) => true,
            (Shape::Bool, Data::Text(text)) => is_template(text) || is_boolean_word(text),
            (Shape::Number, Data::Int(_) | Data::Float(_)) => true,
            (Shape::Number, Data::Text(text)) => is_template(text) || text.trim().parse::<f64>().is_ok(),
            (Shape::Percentage, Data::Text(text)) if text.ends_with('%') => {
                text.trim_end_matches('%').trim().parse::<f64>().is_ok()
            }
            (Shape::Percentage, _) => Shape::Number.fits(value),
            (Shape::Texts, Data::Text(_) | Data::Int(_)) => true,
            (Shape::Texts, _) => each(Shape::Text),
            (Shape::Condition, Data::Bool(_) | Data::Text(_) | Data::Int(_)) => true,
            (Shape::Condition, Data::List(list)) => list.iter().all(|item| !item.is_null() && is_scalar(item)),
            (Shape::Vars, _) => value.as_map().is_some() || each(Shape::Mapping),
            (Shape::Environment, Data::Text(text)) => is_template(text),
            (Shape::Environment, Data::List(list)) => {
                list.iter().all(|item| item.as_list().is_none() && Shape::Environment.fits(item))
            }
            (Shape::Environment | Shape::Mapping, Data::Map(_)) => true,
            (Shape::List, Data::List(_)) => true,
            _ => false,
        }
    }

    pub fn noun(self) -> &'static str {
        match self {
            Shape::Text | Shape::Method => "text",
            Shape::Bool => "a boolean",
            Shape::Number => "a number",
            Shape::Percentage => "a number or a percentage",
            Shape::Texts => "text or a list of texts",
            Shape::Condition => "a condition or a list of conditions",
            Shape::Vars | Shape::Mapping => "a mapping",
            Shape::Environment => "a mapping of names to values",
            Shape::List => "a list",
            Shape::Any => "a value",
        }
    }
}

/// Names a wrong value: short text as it is, everything else by its kind.
pub(super) fn shown(value: &Yaml) -> String {
    match value.as_str() {
        Some(text) if text.len() <= 40 && !text.contains('\n') => format!("`{text}`"),
        _ => value.kind().into(),
    }
}

fn is_scalar(value: &Yaml) -> bool {
    value.as_list().is_none() && value.as_map().is_none()
}

/// Knows the names of collections, too.
fn is_method(text: &str) -> bool {
    let builtin = ["ansible.builtin.", "ansible.legacy."].iter().find_map(|prefix| text.strip_prefix(prefix));
    match (builtin, text.strip_prefix("community.general.")) {
        (Some(name), _) => ["sudo", "su"].contains(&name),
        (None, Some(name)) => name == "doas",
        (None, None) => ["sudo", "su", "doas"].contains(&text),
    }
}

fn is_boolean_word(text: &str) -> bool {
    let words = ["y", "yes", "on", "1", "true", "t", "n", "no", "off", "0", "false", "f"];
    words.contains(&text.trim().to_lowercase().as_str())
}

/// Returns whether the text must be rendered before it means something.
pub fn is_template(text: &str) -> bool {
    text.contains("{{") || text.contains("{%") || text.contains("{#")
}

/// Says why `name` cannot be a variable's: Python's identifiers without its reserved words, as Ansible asks.
pub fn check_variable(name: &Yaml) -> Result<(), Diagnostic> {
    const RESERVED: &str = "False None True and as assert async await break class continue def del elif else except \
                            finally for from global if import in is lambda nonlocal not or pass raise return try \
                            while with yield";
    let text = name.key();
    let wrong = Diagnostic::new(format!("Invalid variable name `{text}`")).at(&name.place);
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !starts || !text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') || name.as_str().is_none() {
        return Err(wrong.hint("use letters, digits and `_`, not starting with a digit"));
    }
    match RESERVED.split_whitespace().any(|word| word == text) {
        true => Err(wrong.hint("it is a reserved word")),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_table_names_a_keyword_twice() {
        for kind in Kind::ALL {
            let mut names: Vec<_> = kind.keywords().map(|keyword| keyword.name).collect();
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count, "{}", kind.noun());
        }
    }

    #[test]
    fn every_keyword_has_a_sentence() {
        for keyword in Kind::ALL.iter().flat_map(|kind| kind.keywords()).chain(LOOP_CONTROL) {
            assert!(keyword.help.ends_with('.'), "{}", keyword.name);
        }
    }
}
