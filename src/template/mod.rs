//! Jinja2 as Ansible uses it; the only place that knows minijinja.

use std::sync::Arc;

use serde_json::Value;

use crate::error::{Diagnostic, Diagnostics, Source};
use crate::host::TemplateOptions;
use crate::vars::Scope;
use crate::yaml::Yaml;

/// The environment with all filters, tests and functions; one for a run.
pub struct Templates {}

/// Why something could not be rendered.
#[derive(Clone, Debug)]
pub enum Failure {
    /// It needs a value that a check cannot know; the text says which (`result of task ...`).
    Unknown(Arc<str>),
    Wrong(Diagnostic),
}

/// How a text is read: `when: x == 1` is an expression, everything else a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    Template,
    Expression,
}

impl Templates {
    #[allow(clippy::new_without_default)]
    pub fn new() -> Templates {
        Templates {}
    }

    /// Renders every text below `node`; an expression alone keeps its type. `!unsafe` text stays as it is.
    /// A value that is `omit` is left out of its mapping or list.
    pub fn render(&self, node: &Yaml, scope: &Scope) -> Result<Value, Failure> {
        let _ = (node, scope);
        todo!("H4")
    }

    /// Evaluates a condition (`when`, `until`, `changed_when`): a boolean, an expression, or a list of both, all of which must hold.
    pub fn condition(&self, node: &Yaml, scope: &Scope) -> Result<bool, Failure> {
        let _ = (node, scope);
        todo!("H4")
    }

    /// Renders the text of a template file.
    pub fn text(&self, source: &Arc<Source>, scope: &Scope, options: &TemplateOptions) -> Result<String, Failure> {
        let _ = (source, scope, options);
        todo!("H4")
    }

    /// Finds bad syntax and unknown filters, tests and functions in every text below `node`, without rendering.
    pub fn check(&self, node: &Yaml, syntax: Syntax) -> Diagnostics {
        let _ = (node, syntax);
        todo!("H4")
    }
}
