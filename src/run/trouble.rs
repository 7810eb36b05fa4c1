//! Why a task came to nothing, and what its result says of that.

use std::sync::Arc;

use serde_json::Value;

use crate::change::Diff;
use crate::error::{Diagnostic, Diagnostics};
use crate::modules::{ModuleError, Results};
use crate::template::Failure;
use crate::transport::TransportError;

/// Why an attempt came to nothing.
#[derive(Debug)]
pub(super) enum Trouble {
    Failed {
        message: String,
        result: Results,
    },
    Unreachable(String),
    /// Only a run can say: it needs this.
    Unknown(Arc<str>),
    /// The plan that guards the run has something else: nothing more is done on the host.
    Refused(String),
    /// The playbook is wrong in a way that only a run could find: the run ends with this, as Ansible's does.
    Wrong(Box<Diagnostic>),
    /// Only a run can say, and what is known of it has been shown.
    Open {
        needs: Arc<str>,
        foreseen: Vec<Diff>,
    },
}

impl Trouble {
    pub(super) fn failed(message: impl Into<String>) -> Trouble {
        Trouble::Failed { message: message.into(), result: Results::new() }
    }

    /// What a module or an action says of its arguments.
    pub(super) fn refused(error: &Diagnostic) -> Trouble {
        let mut result = Results::new();
        if error.place.is_some() || error.hint.is_some() {
            result.insert(EXCEPTION.into(), error.to_string().into());
        }
        result.extend(error.details.clone().map(|details| ("details".to_string(), details.into())));
        Trouble::Failed { message: error.told(), result }
    }

    /// Says in `msg` what was going on.
    pub(super) fn during(self, what: &str) -> Trouble {
        match self {
            Trouble::Failed { message, result } => {
                let own = message.strip_prefix(TASK_FAILED).unwrap_or(&message);
                Trouble::Failed { message: format!("{TASK_FAILED}{what}{own}"), result }
            }
            other => other,
        }
    }
}

/// What stands before the `msg` of what is wrong with a task itself.
const TASK_FAILED: &str = "Task failed: ";
/// The field of a failed result in which the error is drawn with its place.
pub(super) const EXCEPTION: &str = "exception";
/// What stands there where nothing is drawn: Ansible's words for a traceback that nobody asked for.
pub(super) const NO_TRACEBACK: &str = "(traceback unavailable)";
/// What `msg` says of a condition before what is wrong with it.
pub(super) const OF_A_CONDITION: &str = "Error while evaluating conditional: ";

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Trouble {
        match failure {
            Failure::Unknown(what) => Trouble::Unknown(what),
            Failure::Wrong(diagnostic) => diagnostic.into(),
        }
    }
}

impl From<Diagnostic> for Trouble {
    fn from(diagnostic: Diagnostic) -> Trouble {
        Trouble::refused(&diagnostic).during("")
    }
}

impl From<Diagnostics> for Trouble {
    fn from(diagnostics: Diagnostics) -> Trouble {
        let told: Vec<String> = diagnostics.0.iter().map(Diagnostic::told).collect();
        let result = Results::from_iter([(EXCEPTION.to_string(), diagnostics.to_string().into())]);
        Trouble::Failed { message: told.join("\n"), result }.during("")
    }
}

impl From<TransportError> for Trouble {
    fn from(error: TransportError) -> Trouble {
        match error {
            TransportError::Unreachable(why) => Trouble::Unreachable(why),
            TransportError::Unknown(needs) => Trouble::Unknown(needs),
            lost @ TransportError::Uncertain(_) => Trouble::Unreachable(lost.to_string()),
            TransportError::Held(_) => Trouble::failed(format!(
                "{error}\nhint: `--wait-lock SECONDS` waits for its end; where it is known to be gone, `--steal-lock`"
            )),
            other => Trouble::failed(other.to_string()),
        }
    }
}

impl From<ModuleError> for Trouble {
    fn from(error: ModuleError) -> Trouble {
        match error {
            ModuleError::Failed { message, result } => Trouble::Failed { message, result },
            ModuleError::Wrong(diagnostic) => Trouble::refused(&diagnostic),
            ModuleError::Unknown(what) => Trouble::Unknown(what),
            ModuleError::Host(error) => error.into(),
        }
    }
}

/// Adds what every failed result has.
pub(super) fn with_exception(mut result: Results) -> Results {
    if result.get("failed") == Some(&Value::Bool(true)) && !result.contains_key("results") {
        result.entry(EXCEPTION).or_insert(NO_TRACEBACK.into());
    }
    result
}

pub(super) fn failure(message: &str, mut result: Results) -> Results {
    result.entry("msg").or_insert(message.into());
    result.insert("failed".into(), true.into());
    result.entry("changed").or_insert(false.into());
    result
}
