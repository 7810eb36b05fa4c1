//! `wait_for_connection`: a host that is being connected to, awaited.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::Deserialize;

use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Patience, Planned, Results};
use crate::transport::Command;

pub const WAIT_FOR_CONNECTION: Entry = Entry {
    name: "wait_for_connection",
    summary: "Waits until a host can be connected to and its `sh` answers",
    arguments: &[&[
        Argument::new("timeout", Kind::Int, "Seconds to wait at most. The default is 600."),
        Argument::new("delay", Kind::Int, "Seconds before the first try. The default is 0."),
        Argument::new("sleep", Kind::Int, "Seconds between tries. The default is 1."),
        Argument::new("connect_timeout", Kind::Int, "The login's own limit holds for each try; without effect here."),
    ]],
    free_form: None,
    example: "- name: The new host is up again\n  wait_for_connection:\n    timeout: 120\n",
    build,
};

#[derive(Deserialize)]
struct Fields {
    timeout: Option<u64>,
    delay: Option<u64>,
    sleep: Option<u64>,
}

struct WaitForConnection {
    fields: Fields,
    start: Instant,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    Ok(Box::new(WaitForConnection { fields: arguments.read()?, start: Instant::now() }))
}

#[async_trait]
impl Module for WaitForConnection {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        // An answer that was read before the wait is none.
        if !host.only_asks {
            host.probe(&Command::shell(":")).await?;
        }
        let elapsed = self.start.elapsed().as_secs();
        Ok(Planned::new(Vec::new(), Results::from_iter([("elapsed".to_string(), elapsed.into())])))
    }

    fn patience(&self) -> Option<Patience> {
        let seconds = |given: Option<u64>, usual| Duration::from_secs(given.unwrap_or(usual));
        Some(Patience {
            delay: seconds(self.fields.delay, 0),
            sleep: seconds(self.fields.sleep, 1),
            until: self.start + seconds(self.fields.timeout, 600),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::modules::find;

    #[test]
    fn who_waits_is_patient_for_as_long_as_asked() {
        let built = |value: serde_json::Value| {
            let arguments = find("wait_for_connection").unwrap().arguments(value.as_object().unwrap().clone()).unwrap();
            build(&arguments).unwrap().patience().unwrap()
        };
        let patience = built(json!({"timeout": 5, "delay": 2, "sleep": "3", "connect_timeout": 1}));
        assert!(patience.until <= Instant::now() + Duration::from_secs(5));
        assert_eq!((patience.delay.as_secs(), patience.sleep.as_secs()), (2, 3));
        assert_eq!(built(json!({})).sleep.as_secs(), 1);
    }
}
