//! `systemd`: a unit of systemd's: whether it runs, starts at boot, or is masked.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::change::{Back, Change};
use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Outcome, Planned, Results};
use crate::transport::Command;

use super::service::{OF_USER, Service, reload, systemctl};

pub const SYSTEMD: Entry = Entry {
    name: "systemd",
    summary: "Starts, stops, restarts, enables or masks a unit of systemd's, and has it read its units anew",
    arguments: &[ARGUMENTS],
    free_form: None,
    example: "\
- name: xinetd serves SMTP, now and after a boot
  systemd:
    name: xinetd
    state: started
    enabled: true
    daemon_reload: true
",
    build,
};

const ARGUMENTS: &[Argument] = &[
    Argument::new("name", Kind::Text, "The unit; `.service` may be left out.").alias(&["service", "unit"]),
    Argument::new(
        "state",
        Kind::Text,
        "`started` and `stopped` are states; `restarted` and `reloaded` are done each time.",
    )
    .choices(&["started", "stopped", "restarted", "reloaded"]),
    Argument::new("enabled", Kind::Bool, "Whether it starts at boot."),
    Argument::new("masked", Kind::Bool, "Whether nothing can start it."),
    Argument::new(
        "daemon_reload",
        Kind::Bool,
        "systemd reads its units anew before, if a file of theirs is newer than what it has read.",
    )
    .alias(&["daemon-reload"]),
    Argument::new(
        "daemon_reexec",
        Kind::Bool,
        "systemd starts itself anew before, if the program that runs is no longer the one that is there.",
    )
    .alias(&["daemon-reexec"]),
    Argument::new(
        "scope",
        Kind::Text,
        "Whose units: those of the system, `user`, those of the systemd of the user that the task runs as, or `global`, those that \
         each user's own systemd has. These run nowhere by themselves: `enabled` and `masked` alone are for them.",
    )
    .choices(&["system", "user", "global"]),
    Argument::new("force", Kind::Bool, "Links that are in the way of `enabled` are replaced."),
    Argument::new(
        "no_block",
        Kind::Bool,
        "systemd is told what to do, and its end is not waited for: a start or stop in its queue counts as done.",
    ),
];

#[derive(Deserialize)]
struct Systemd {
    #[serde(default)]
    name: String,
    masked: Option<bool>,
    #[serde(default)]
    daemon_reload: bool,
    #[serde(default)]
    daemon_reexec: bool,
    enabled: Option<bool>,
    state: Option<String>,
    #[serde(default)]
    scope: Scope,
    /// What is asked beyond that.
    #[serde(skip)]
    service: Option<Service>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Scope {
    #[default]
    System,
    User,
    Global,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let mut systemd: Systemd = arguments.read()?;
    let state = arguments.get("state").is_some() || arguments.get("enabled").is_some();
    let asks = state || systemd.masked.is_some();
    if asks && systemd.name.is_empty() {
        return Err(Diagnostic::new("`state`, `enabled` and `masked` of `systemd` need `name`"));
    }
    if !asks && !systemd.daemon_reload && !systemd.daemon_reexec && systemd.name.is_empty() {
        return Err(Diagnostic::new(
            "`systemd` needs one of `state`, `enabled`, `masked`, `daemon_reload` and `daemon_reexec`",
        ));
    }
    if systemd.daemon_reexec && systemd.scope != Scope::System {
        return Err(Diagnostic::new("`daemon_reexec` of `systemd` is for the system's own, which has `scope: system`"));
    }
    if !systemd.name.is_empty() {
        let mut fields = json!({"name": systemd.name, "use": "systemd"});
        for name in ["state", "enabled"] {
            fields[name] = arguments.get(name).cloned().unwrap_or(Value::Null);
        }
        for name in ["no_block", "force"] {
            fields[name] = arguments.get(name).cloned().unwrap_or(false.into());
        }
        fields["of_user"] = (systemd.scope == Scope::User).into();
        let service: Service = serde_json::from_value(fields).map_err(|error| Diagnostic::new(error.to_string()))?;
        service.check()?;
        systemd.service = state.then_some(service);
    }
    Ok(Box::new(systemd))
}

#[async_trait]
impl Module for Systemd {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let mut changes = Vec::new();
        if self.scope == Scope::Global {
            return self.for_each_user(host).await;
        }
        if self.daemon_reexec {
            changes.extend(self.started_anew(host).await?);
        }
        if self.daemon_reload {
            let service = (!self.name.is_empty()).then_some((self.name.as_str(), "systemd"));
            changes.extend(reload(host, service, self.scope == Scope::User).await?);
        }
        let masks = match self.masked {
            Some(masked) => self.mask(host, masked).await?,
            None => None,
        };
        // Stopped before nothing can start it, and started when something can.
        let (first, last) = if self.masked == Some(true) { (None, masks) } else { (masks, None) };
        changes.extend(first);
        let mut planned = match &self.service {
            Some(service) => service.plan(host).await?,
            None => Planned::new(Vec::new(), Results::from_iter([("name".to_string(), json!(self.name))])),
        };
        changes.append(&mut planned.changes);
        changes.extend(last);
        if let (Outcome::Known(results) | Outcome::Applied(results), Some(masked)) = (&mut planned.result, self.masked)
        {
            results.insert("masked".into(), masked.into());
        }
        Ok(Planned { changes, ..planned })
    }
}

impl Systemd {
    /// Plans what is asked of a unit of every user's.
    async fn for_each_user(&self, host: &View) -> Result<Planned, ModuleError> {
        if self.state.is_some() || self.daemon_reload {
            return Err(ModuleError::failed(
                "systemctl does not take `--global` for `state` and `daemon_reload`: such a unit runs in each user's own systemd\n\
                 hint: `scope: global` is for `enabled` and `masked`",
            ));
        }
        let mut results = Results::from_iter([("name".to_string(), json!(self.name))]);
        let mut changes = Vec::new();
        if let Some(masked) = self.masked {
            changes.extend(self.mask(host, masked).await?);
            results.insert("masked".into(), masked.into());
        }
        if let Some(enabled) = self.enabled {
            // As for Ansible, what is enabled for now alone, or by another unit, is not yet.
            let script = format!(
                "text=$(systemctl --global is-enabled {} 2>/dev/null)\ncode=$?\ncase $text in\n  \
                 ''|not-found) echo missing ;;\n  enabled-runtime|indirect|alias) echo disabled ;;\n  \
                 *) if [ $code = 0 ]; then echo enabled; else echo disabled; fi ;;\nesac\n",
                crate::transport::command::quote(&self.name)
            );
            let (what, probe) = (format!("unit {} of all users", self.name), Command::shell(script));
            let found = host.state(&what, &probe).await?;
            if found == "missing" {
                let message = format!("Could not find the requested service {}: host", self.name);
                return Err(ModuleError::failed(message));
            }
            let [on, off] = ["enable", "disable"].map(|verb| vec![self.systemctl(verb)]);
            let (after, by, back) = if enabled { ("enabled", on, off) } else { ("disabled", off, on) };
            let change = Change::state(what, probe, (found, after.into()), by);
            changes.extend(change.map(|change| change.taken_back(Back::By(back))));
            results.insert("enabled".into(), enabled.into());
        }
        Ok(Planned::new(changes, results))
    }

    fn systemctl(&self, verb: &str) -> Command {
        match self.scope {
            Scope::Global => Command::argv(["systemctl", "--global", verb, &self.name]),
            scope => systemctl(scope == Scope::User, &[verb, &self.name]),
        }
    }

    /// Returns the change that has systemd start itself anew, if a newer one is installed than runs.
    async fn started_anew(&self, host: &View) -> Result<Option<Change>, ModuleError> {
        let script = "[ -d /run/systemd/system ] || { echo newest; exit; }
            case $(readlink /proc/1/exe) in '') ;; *' (deleted)') echo older ;; *) echo newest ;; esac";
        let (what, probe) = ("systemd itself", Command::shell(script));
        let found = host.state(what, &probe).await?;
        if found.is_empty() {
            let message =
                "which systemd runs is not to be seen: `/proc/1/exe` cannot be read\nhint: root sees it, with `become`";
            return Err(ModuleError::failed(message));
        }
        let by = vec![systemctl(false, &["daemon-reexec"])];
        Ok(Change::state(what, probe, (found, "newest".into()), by))
    }

    async fn mask(&self, host: &View, masked: bool) -> Result<Option<Change>, ModuleError> {
        let quoted = crate::transport::command::quote(&self.name);
        let (before, scope, whose) = match self.scope {
            Scope::System => ("", "", String::new()),
            Scope::User => (OF_USER, "", format!(" of user {}", host.identity().user.name)),
            Scope::Global => ("", " --global", " of all users".into()),
        };
        let script = format!(
            "{before}case $(systemctl{scope} is-enabled {quoted} 2>/dev/null) in masked*) echo masked ;; *) echo 'not masked' ;; esac"
        );
        let (what, probe) = (format!("mask of {}{whose}", self.name), Command::shell(script));
        let found = host.state(&what, &probe).await?;
        let [mask, unmask] = ["mask", "unmask"].map(|verb| vec![self.systemctl(verb)]);
        let (after, by, back) = if masked { ("masked", mask, unmask) } else { ("not masked", unmask, mask) };
        let change = Change::state(what, probe, (found, after.into()), by);
        Ok(change.map(|change| change.taken_back(Back::By(back))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::find;

    #[test]
    fn a_unit_is_named_where_one_is_meant() {
        let built = |value: Value| {
            let arguments = find("systemd_service").unwrap().arguments(value.as_object().unwrap().clone())?;
            build(&arguments).map(drop)
        };
        assert!(
            built(json!({"daemon_reload": true})).is_ok() && built(json!({"service": "a", "masked": true})).is_ok()
        );
        for (value, says) in [
            (json!({}), "needs one of"),
            (json!({"state": "started"}), "need `name`"),
            (json!({"name": "-x", "enabled": true}), "is no name of a service"),
            (json!({"name": "x", "scope": "users"}), "cannot be `users`"),
            (json!({"daemon_reexec": true, "scope": "user"}), "is for the system's own"),
        ] {
            let error = built(value).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
