//! `ping`: says that a host can be reached and worked on.

use async_trait::async_trait;
use serde::Deserialize;

use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Planned, Results};
use crate::transport::Command;

pub const PING: Entry = Entry {
    name: "ping",
    summary: "Logs in, runs a shell and answers `pong`",
    arguments: &[&[Argument::new("data", Kind::Text, "What to answer. The default is `pong`; `crash` fails.")]],
    free_form: None,
    example: "\
- name: the host answers
  ping:
",
    build,
};

#[derive(Deserialize)]
struct Ping {
    data: Option<String>,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    Ok(Box::new(arguments.read::<Ping>()?))
}

#[async_trait]
impl Module for Ping {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let data = self.data.as_deref().unwrap_or("pong");
        if data == "crash" {
            return Err(ModuleError::failed("boom"));
        }
        let answer = host.probe(&Command::shell("echo here")).await?;
        if answer.text() != "here\n" {
            return Err(ModuleError::failed(format!("the host's shell answers {:?} to `echo here`", answer.text())));
        }
        let mut result = Results::new();
        result.insert("ping".into(), data.into());
        Ok(Planned::new(Vec::new(), result))
    }
}
