//! `dpkg_selections`: what dpkg is to do with a package: keep it as it is, or not.

use async_trait::async_trait;
use serde::Deserialize;

use crate::change::{Back, Change};
use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Planned, Results};
use crate::transport::Command;
use crate::transport::command::quote;

pub const DPKG_SELECTIONS: Entry = Entry {
    name: "dpkg_selections",
    summary: "Keeps what dpkg is to do with a package: `hold` leaves it as it is",
    arguments: &[&[
        Argument::new("name", Kind::Text, "The package.").required(),
        Argument::new("selection", Kind::Text, "What is to be done with it (dpkg(1)).").required().choices(&[
            "install",
            "hold",
            "deinstall",
            "purge",
        ]),
    ]],
    free_form: None,
    example: "\
- name: No upgrade takes the mail server away
  dpkg_selections:
    name: xinetd
    selection: hold
",
    build,
};

/// How the states of selections are named: `selection NAME`.
pub const SELECTION: &str = "selection";

#[derive(Deserialize)]
struct Selection {
    name: String,
    selection: String,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let selection: Selection = arguments.read()?;
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "+-.:".contains(letter);
    match selection.name.is_empty() || selection.name.starts_with('-') || !selection.name.chars().all(plain) {
        true => Err(Diagnostic::new(format!("`{}` is no name of a package", selection.name))),
        false => Ok(Box::new(selection)),
    }
}

#[async_trait]
impl Module for Selection {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let script = format!(
            "command -v dpkg >/dev/null 2>&1 || {{ echo 'no dpkg'; exit; }}\n\
             set -- $(dpkg --get-selections {} 2>/dev/null)\necho \"${{2:-not present}}\"",
            quote(&self.name)
        );
        let (what, probe) = (format!("{SELECTION} {}", self.name), Command::shell(script));
        let mut found = host.state(&what, &probe).await?;
        let planned = host.planned_accounts("package").into_iter().any(|(name, _)| name == self.name);
        if found == "not present" && planned {
            found = "install".into();
        }
        match found.as_str() {
            "no dpkg" => return Err(ModuleError::failed(format!("`{}` has no dpkg", host.name))),
            "not present" => {
                let message =
                    format!("Failed to find package '{}' to perform selection '{}'.", self.name, self.selection);
                return Err(ModuleError::failed(message));
            }
            _ => {}
        }
        let set = |selection: &str| {
            let stdin = format!("{} {selection}\n", self.name).into_bytes();
            vec![Command { stdin, ..Command::argv(["dpkg", "--set-selections"]) }]
        };
        let result = [("before".to_string(), found.as_str().into()), ("after".into(), self.selection.as_str().into())];
        let (by, back) = (set(&self.selection), set(&found));
        let change = Change::state(what, probe, (found, self.selection.clone()), by);
        let change = change.map(|change| change.taken_back(Back::By(back)));
        Ok(Planned::new(change.into_iter().collect(), Results::from_iter(result)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::modules::files::bench::Bench;

    #[tokio::test]
    async fn only_a_package_that_dpkg_knows_is_held() {
        let bench = Bench::new();
        let task = json!({"name": "qmail", "selection": "hold"});
        let probe = "command -v dpkg >/dev/null 2>&1 || { echo 'no dpkg'; exit; }\n\
                     set -- $(dpkg --get-selections qmail 2>/dev/null)\necho \"${2:-not present}\"";
        bench.host.on(probe, 0, "install\n");
        let planned = bench.plan("dpkg_selections", task.clone()).await.unwrap();
        let [Change::State(state)] = planned.changes.as_slice() else { panic!() };
        assert_eq!((state.before(), state.after()), ("install", "hold"));
        assert_eq!(
            (state.by()[0].line(), &state.by()[0].stdin[..]),
            ("dpkg --set-selections".into(), &b"qmail hold\n"[..])
        );
        bench.host.on(probe, 0, "hold\n");
        assert!(bench.plan("dpkg_selections", task.clone()).await.unwrap().changes.is_empty());
        bench.host.on(probe, 0, "not present\n");
        assert!(bench.fails("dpkg_selections", task).await.contains("Failed to find package"));
        assert!(bench.fails("dpkg_selections", json!({"name": "-x", "selection": "hold"})).await.contains("no name"));
    }
}
