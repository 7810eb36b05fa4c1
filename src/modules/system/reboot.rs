//! `reboot`: a host is started anew and awaited, until it is there by another boot and well.

use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;

use crate::change::Change;
use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Absence, Argument, Arguments, Entry, Kind, Module, ModuleError, Outcome, Planned, Results};
use crate::transport::Command;
use crate::transport::command::quote;

pub const REBOOT: Entry = Entry {
    name: "reboot",
    summary: "Starts a host anew, and waits until it is back",
    arguments: &[&[
        Argument::new("pre_reboot_delay", Kind::Int, "Seconds before the reboot begins. The default is 0."),
        Argument::new("post_reboot_delay", Kind::Int, "Seconds before the host is looked for again. The default is 0."),
        Argument::new(
            "reboot_timeout",
            Kind::Int,
            "Seconds that the host may be away, and then as many until `test_command` succeeds. The default is 600.",
        ),
        Argument::new("connect_timeout", Kind::Int, "The login's own limit holds for each try; without effect here."),
        Argument::new("test_command", Kind::Text, "What succeeds on a host that is well. The default is `whoami`."),
        Argument::new("msg", Kind::Text, "What users are told. The default is `Reboot initiated by Ansible`."),
        Argument::new(
            "search_paths",
            Kind::List,
            "Where `shutdown` is looked for on the host, alone. The default is /sbin, /bin, /usr/sbin, /usr/bin and /usr/local/sbin.",
        ),
        Argument::new(
            "boot_time_command",
            Kind::Text,
            "What prints another text after each boot. The default is the kernel's boot id, or the time of the boot.",
        ),
        Argument::new(
            "reboot_command",
            Kind::Text,
            "What starts the host anew. The default is `shutdown -r now` with `msg`.",
        ),
    ]],
    free_form: None,
    example: "- name: With the new kernel\n  reboot:\n    reboot_timeout: 900\n",
    build,
};

/// Prints what is another text after each boot; `who` is what is left where there is no `/proc`.
const BOOT: &str = "cat /proc/sys/kernel/random/boot_id 2>/dev/null || sysctl -n kern.boottime 2>/dev/null || who -b";

#[derive(Deserialize)]
struct Reboot {
    #[serde(default)]
    pre_reboot_delay: i64,
    #[serde(default)]
    post_reboot_delay: i64,
    reboot_timeout: Option<u64>,
    test_command: Option<String>,
    msg: Option<String>,
    search_paths: Option<Vec<String>>,
    boot_time_command: Option<String>,
    reboot_command: Option<String>,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    Ok(Box::new(arguments.read::<Reboot>()?))
}

#[async_trait]
impl Module for Reboot {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let reboot = match &self.reboot_command {
            Some(command) => command.clone(),
            None => {
                let message = self.msg.as_deref().unwrap_or("Reboot initiated by Ansible");
                format!("{} -r now {}", quote(&self.shutdown(host).await?), quote(message))
            }
        };
        let wait = self.pre_reboot_delay.max(0);
        let command = Command::shell(if wait > 0 { format!("sleep {wait}\n{reboot}") } else { reboot });
        let result = Results::from_iter([("rebooted".to_string(), json!(true)), ("elapsed".into(), json!(0))]);
        Ok(Planned { changes: vec![Change::Run { command }], result: Outcome::Known(result), warnings: Vec::new() })
    }

    fn absence(&self) -> Option<Absence> {
        Some(Absence {
            delay: Duration::from_secs(self.post_reboot_delay.max(0).unsigned_abs()),
            timeout: Duration::from_secs(self.reboot_timeout.unwrap_or(600)),
            boot: Command::shell(self.boot_time_command.as_deref().unwrap_or(BOOT)),
            test: Command::shell(self.test_command.as_deref().unwrap_or("whoami")),
        })
    }
}

impl Reboot {
    async fn shutdown(&self, host: &View) -> Result<String, ModuleError> {
        const PATHS: [&str; 5] = ["/sbin", "/bin", "/usr/sbin", "/usr/bin", "/usr/local/sbin"];
        let given = self.search_paths.clone().unwrap_or_else(|| PATHS.map(String::from).to_vec());
        let found =
            host.probe(&Command::shell(format!("PATH={}\ncommand -v shutdown || :", quote(&given.join(":"))))).await?;
        match found.text().trim() {
            "" => Err(ModuleError::failed(format!(
                "Unable to find command \"shutdown\" in search paths: {given:?}\nhint: say `reboot_command`, or other `search_paths`"
            ))),
            path => Ok(path.to_string()),
        }
    }
}
