//! `sysvinit`: a service of SysV init's, with its run levels.

use serde_json::{Value, json};

use crate::error::Diagnostic;
use crate::modules::{Argument, Arguments, Entry, Kind, Module};

use super::service::Service;

pub const SYSVINIT: Entry = Entry {
    name: "sysvinit",
    summary: "Starts, stops, restarts, reloads, enables or disables a service of SysV init's, in run levels of one's choice",
    arguments: &[ARGUMENTS],
    free_form: None,
    example: "\
- name: xinetd serves SMTP, now and in three run levels
  sysvinit:
    name: xinetd
    state: started
    enabled: true
    runlevels: [3, 4, 5]
",
    build,
};

const ARGUMENTS: &[Argument] = &[
    Argument::new("name", Kind::Text, "The service: a script of `/etc/init.d`.").required().alias(&["service"]),
    Argument::new(
        "state",
        Kind::Text,
        "`started` and `stopped` are states; `restarted` and `reloaded` are done each time.",
    )
    .choices(&["started", "stopped", "restarted", "reloaded"]),
    Argument::new("enabled", Kind::Bool, "Whether it starts at boot. At least one of `state` and `enabled` is needed."),
    Argument::new(
        "runlevels",
        Kind::List,
        "The run levels that `enabled` is about. The default is what the script says.",
    ),
    Argument::new("sleep", Kind::Int, "Seconds between the stop and the start of a restart. The default is 1."),
    Argument::new(
        "pattern",
        Kind::Text,
        "Text in the command line of its process, where its script has no usable `status`.",
    ),
    Argument::new("arguments", Kind::Text, "Further arguments for the script.").alias(&["args"]),
    Argument::new(
        "daemonize",
        Kind::Bool,
        "The script gets a session of its own, for one whose service holds on to the output or goes with the session.",
    ),
];

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let mut fields = json!({"use": "sysvinit"});
    for argument in ARGUMENTS {
        if let Some(value) = arguments.get(argument.name) {
            fields[argument.name] = value.clone();
        }
    }
    if let Some(levels) = fields.get_mut("runlevels").and_then(Value::as_array_mut) {
        let text = |level: &Value| level.as_str().map_or_else(|| level.to_string(), str::to_string);
        levels.iter_mut().for_each(|level| *level = text(level).into());
    }
    if arguments.get("state").is_none() && arguments.get("enabled").is_none() {
        let error = Diagnostic::new("`sysvinit` needs `state` or `enabled`");
        return Err(error.msg("one of the following is required: state, enabled"));
    }
    let service: Service = serde_json::from_value(fields).map_err(|error| Diagnostic::new(error.to_string()))?;
    service.check()?;
    Ok(Box::new(service))
}
