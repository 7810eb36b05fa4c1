//! `service`: whether a service runs and whether it starts at boot, under systemd, SysV init, OpenRC or daemontools.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::change::{Back, Change};
use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Outcome, Planned, Results};
use crate::transport::command::quote;
use crate::transport::{Command, Links, Want};

pub const SERVICE: Entry = Entry {
    name: "service",
    summary: "Starts, stops, restarts, reloads, enables or disables a service",
    arguments: &[ARGUMENTS],
    free_form: None,
    example: "\
- name: xinetd serves SMTP, now and after a boot
  service:
    name: xinetd
    state: started
    enabled: true
",
    build,
};

const ARGUMENTS: &[Argument] = &[
    Argument::new("name", Kind::Text, "The service's name.").required(),
    Argument::new(
        "state",
        Kind::Text,
        "`started` and `stopped` are states; `restarted` and `reloaded` are done each time.",
    )
    .choices(&["started", "stopped", "restarted", "reloaded"]),
    Argument::new("enabled", Kind::Bool, "Whether it starts at boot. At least one of `state` and `enabled` is needed."),
    Argument::new(
        "pattern",
        Kind::Text,
        "Text in the command line of its process, where the service has no usable `status`.",
    ),
    Argument::new(
        "sleep",
        Kind::Int,
        "Seconds between the stop and the start of a restart under SysV init. The default is 1.",
    ),
    Argument::new("arguments", Kind::Text, "Further arguments for the service's script (SysV init only).")
        .alias(&["args"]),
    Argument::new("use", Kind::Text, "What manages the service. The default is to find out.").choices(&[
        "auto",
        "systemd",
        "sysvinit",
        "service",
        "openrc",
        "daemontools",
    ]),
    Argument::new(
        "daemon_reload",
        Kind::Bool,
        "systemd reads its units anew before, if a file of theirs is newer than what it has read; others need none.",
    )
    .alias(&["daemon-reload"]),
    Argument::new(
        "runlevel",
        Kind::Text,
        "The run level that `enabled` is about (OpenRC only). The default is `default`.",
    ),
];

#[derive(Deserialize)]
pub struct Service {
    name: String,
    state: Option<State>,
    enabled: Option<bool>,
    pattern: Option<String>,
    sleep: Option<u64>,
    arguments: Option<String>,
    #[serde(rename = "use")]
    manager: Option<String>,
    #[serde(default)]
    daemon_reload: bool,
    runlevel: Option<String>,
    /// Run levels of SysV init that `enabled` is about, each by itself.
    #[serde(default)]
    runlevels: Vec<String>,
    /// Scripts of SysV init get a session of their own and no output of ours.
    #[serde(default)]
    daemonize: bool,
    /// systemd is told what to do, and not waited for: what it has in its queue counts as done.
    #[serde(default)]
    no_block: bool,
    /// Links that are in the way of `enabled` are replaced (systemd).
    #[serde(default)]
    force: bool,
    /// The unit is one of the systemd of the user that is logged in.
    #[serde(default)]
    of_user: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Started,
    Stopped,
    Restarted,
    Reloaded,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let service: Service = arguments.read()?;
    service.check()?;
    if service.state.is_none() && service.enabled.is_none() && !service.daemon_reload {
        return Err(Diagnostic::new("`service` needs `state` or `enabled`"));
    }
    Ok(Box::new(service))
}

/// Turns `systemctl` to the systemd of the user that is logged in.
pub const OF_USER: &str = r#"XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-/run/user/$(id -u)}; export XDG_RUNTIME_DIR
systemctl() { command systemctl --user "$@"; }
"#;

/// Sets `manager` and defines `running` and `enabled` for the service `$name`, and what runs a script of SysV init.
const DETECT: &str = r#"PATH=$PATH:/sbin:/usr/sbin:/usr/local/bin:/command
manager=$use
if [ "$manager" = auto ]; then
  if [ -d "/service/$name" ] && command -v svstat >/dev/null; then manager=daemontools
  elif [ -d /run/systemd/system ]; then manager=systemd
  elif command -v rc-service >/dev/null && command -v rc-update >/dev/null; then manager=openrc
  else manager=sysvinit; fi
fi
there() {
  case $manager in
    daemontools) [ -d "/service/$name" ] ;;
    systemd) case $(systemctl show -p LoadState "$name" 2>/dev/null) in LoadState=loaded|LoadState=masked) ;; *) return 1 ;; esac ;;
    openrc) rc-service --exists "$name" ;;
    *) [ -x "/etc/init.d/$name" ] || [ -x "/etc/rc.d/$name" ] || [ -x "/usr/local/etc/rc.d/$name" ] ;;
  esac
}
initd() {
  if command -v service >/dev/null; then set -- service "$name" "$@"
  else for base in /etc/init.d /etc/rc.d /usr/local/etc/rc.d; do [ -x "$base/$name" ] && break; done; set -- "$base/$name" "$@"; fi
  if [ -z "$daemonize" ]; then "$@"
  elif command -v setsid >/dev/null; then setsid "$@" </dev/null >/dev/null 2>&1
  else nohup "$@" </dev/null >/dev/null 2>&1; fi
}
queued() {
  unit=$(systemctl show -p Id "$name")
  case $(systemctl list-jobs --no-legend 2>/dev/null | while read -r id job kind rest; do [ "Id=$job" != "$unit" ] || echo "$kind"; done) in
    start|restart) ;;
    stop) return 1 ;;
    *) case $(systemctl show -p ActiveState "$name") in *=active|*=activating|*=reloading) ;; *) return 1 ;; esac ;;
  esac
}
running() {
  if [ -n "$pattern" ]; then ps -A -o pid= -o args= | grep -v -e grep -e "^ *$$ " | grep -F -e "$pattern" >/dev/null; return; fi
  case $manager in
    daemontools) case $(svstat "/service/$name") in *': up '*) ;; *) return 1 ;; esac ;;
    systemd) if [ -n "$no_block" ]; then queued; else systemctl is-active --quiet "$name"; fi ;;
    openrc) rc-service "$name" status >/dev/null 2>&1 ;;
    *) text=$(daemonize=; initd status 2>&1); code=$?
      case $code in
        0) case $text in *'not running'*|*'is stopped'*|*' dead'*|*inactive*|*'could not access PID file'*) return 1 ;; esac ;;
        1|3) return 1 ;;
        *) ps -A -o comm= | grep -x -F -e "$name" >/dev/null ;;
      esac ;;
  esac
}
at() { rc=/etc; [ -d /etc/rc0.d ] || rc=/etc/init.d; set -- "$rc/rc$1.d/"S[0-9][0-9]"$name"; [ -e "$1" ]; }
enabled() {
  case $manager in
    daemontools) [ ! -e "/service/$name/down" ] ;;
    systemd) systemctl is-enabled --quiet "$name" 2>/dev/null ;;
    openrc) rc-update show "$runlevel" 2>/dev/null | grep -q "^ *$name *|" ;;
    *) if command -v chkconfig >/dev/null; then chkconfig "$name" 2>/dev/null
      else set -- /etc/rc[2345].d/S[0-9][0-9]"$name"; [ -e "$1" ]; fi ;;
  esac
}
"#;

/// Prints `running, enabled (systemd)` or the like, with levels `running, 3 on 5 off (sysvinit)`; `missing` for a service
/// that is not there.
const PROBE: &str = r#"there || [ -n "$pattern" ] || { echo missing; exit 0; }
if running; then state=running; else state=stopped; fi
if [ -n "$levels" ]; then
  boot=; for level in $levels; do if at "$level"; then boot="$boot $level on"; else boot="$boot $level off"; fi; done
elif enabled 2>/dev/null; then boot=enabled; else boot=disabled; fi
echo "$state, ${boot# } ($manager)"
"#;

/// Gives an action to the manager; `settle` waits at most a minute until the service is as the action says.
const ACT: &str = r#"act() {
  case $manager in
    daemontools) case $1 in start) svc -u "/service/$name" ;; stop) svc -d "/service/$name" ;; reload) svc -h "/service/$name" ;; esac ;;
    systemd) systemctl $no_block "$1" "$name" ;;
    openrc) rc-service "$name" status >/dev/null 2>&1
      # 32: it has crashed, and is still taken for started.
      if [ $? = 32 ] && [ "$1" = start ]; then rc-service "$name" zap; fi
      rc-service "$name" "$1" ;;
    *) initd "$1" $arguments ;;
  esac
}
restart() {
  case $manager in
    daemontools) svc -t "/service/$name" ;;
    systemd | openrc) act restart ;;
    *) act stop; settle stop; sleep "$1"; act start ;;
  esac && settle start
}
settle() {
  [ -z "$no_block" ] || return 0
  n=0
  while [ $n -lt 60 ]; do
    if running; then [ "$1" = start ] && return; else [ "$1" = stop ] && return; fi
    n=$((n + 1)); sleep 1
  done
}
"#;

const ENABLE: &str = r#"case $manager in
  daemontools) if [ $boot = enable ]; then rm -f "/service/$name/down"; else touch "/service/$name/down"; fi ;;
  systemd) if [ $boot = enable ]; then systemctl $force enable "$name"; else systemctl disable "$name"; fi ;;
  openrc) if [ $boot = enable ]; then rc-update add "$name" "$runlevel"; else rc-update del "$name" "$runlevel"; fi ;;
  *) if command -v chkconfig >/dev/null; then
      if [ $boot = enable ]; then chkconfig "$name" on; else chkconfig "$name" off; fi
    else update-rc.d "$name" defaults >/dev/null && update-rc.d "$name" $boot; fi ;;
esac
"#;

/// Enables it in the levels `$on` and disables it in the levels `$off`.
const LEVELS: &str = r#"if command -v update-rc.d >/dev/null; then
  set -- /etc/rc[0-9S].d/[KS][0-9][0-9]"$name"
  [ -e "$1" ] || update-rc.d "$name" defaults-disabled >/dev/null || exit
  [ -z "$on" ] || update-rc.d "$name" enable $on || exit
  [ -z "$off" ] || update-rc.d "$name" disable $off
else
  for level in $on; do chkconfig --level "$level" "$name" on || exit; done
  for level in $off; do chkconfig --level "$level" "$name" off || exit; done
fi
"#;

#[async_trait]
impl Module for Service {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let whose = if self.of_user { format!(" of user {}", host.identity().user.name) } else { String::new() };
        let (what, probe) = (format!("service {}{whose}", self.name), self.script(PROBE));
        let mut found = host.state(&what, &probe).await?;
        if found == "missing" && host.plans_ahead() {
            found = self.foreseen(host).await?.unwrap_or(found);
        }
        let mut changes = match self.daemon_reload {
            true => reload(host, Some((&self.name, self.manager())), false).await?.into_iter().collect(),
            false => Vec::new(),
        };
        let Some((running, enabled, manager)) = read(&found) else {
            let message = format!(
                "Could not find the requested service {0}: host\n`{1}` has no service `{0}`",
                self.name, host.name
            );
            return Err(ModuleError::failed(match found.as_str() {
                "missing" | "" => message,
                other => format!("{message}: its state reads `{other}`"),
            }));
        };
        // What an earlier task of a check makes of some levels does not say what it is in others.
        if levels(enabled) != self.runlevels {
            return Err(ModuleError::Unknown(format!("the run levels of service `{}`", self.name).into()));
        }
        let wanted = match self.state {
            Some(State::Started | State::Restarted | State::Reloaded) => "running",
            Some(State::Stopped) => "stopped",
            None => running,
        };
        let boot = self.enabled.map_or(enabled.to_string(), |enabled| self.boot(enabled));
        let boot = boot.as_str();
        let moves = |(running, wanted): (&str, &str), (enabled, boot): (&str, &str)| {
            let mut by = Vec::new();
            if boot != enabled {
                by.push(self.script(&booting(enabled, boot)));
            }
            if wanted != running {
                let verb = if wanted == "running" { "start" } else { "stop" };
                by.push(self.script(&format!("{ACT}act {verb} && settle {verb}\n")));
            }
            by
        };
        let (by, back) = (moves((running, wanted), (enabled, boot)), moves((wanted, running), (boot, enabled)));
        let after = format!("{wanted}, {boot} ({manager})");
        let change = Change::state(what, probe, (found.clone(), after), by);
        changes.extend(change.map(|change| change.taken_back(Back::By(back))));
        let mut result = Results::new();
        result.insert("name".into(), json!(self.name));
        result.insert("state".into(), json!(if wanted == "running" { "started" } else { "stopped" }));
        if manager == "sysvinit" {
            result.insert("status".into(), self.status(host, (wanted != running, boot != enabled)));
        }
        if let Some(enabled) = self.enabled {
            result.insert("enabled".into(), enabled.into());
        }
        // What does not run has no old state to get rid of: it is only started.
        let again = match self.state {
            Some(State::Restarted) if running == "running" => {
                Some(format!("{ACT}restart {}\n", self.sleep.unwrap_or(1)))
            }
            Some(State::Reloaded) if running == "running" => Some(format!("{ACT}act reload\n")),
            _ => None,
        };
        let Some(script) = again else { return Ok(Planned::new(changes, result)) };
        changes.push(Change::Run { command: self.script(&script) });
        Ok(Planned { changes, result: Outcome::Applied(result), warnings: Vec::new() })
    }
}

impl Service {
    /// Says whether the name is one.
    pub fn check(&self) -> Result<(), Diagnostic> {
        let is_level = |level: &&String| level.len() == 1 && level.chars().all(|c| c.is_ascii_digit() || c == 'S');
        if let Some(level) = self.runlevels.iter().find(|level| !is_level(level)) {
            let error = Diagnostic::new(format!("`{level}` is no run level"));
            return Err(error.msg(format!("Illegal runlevel specified for enable operation on service {}", self.name)));
        }
        match self.name.is_empty() || self.name.starts_with('-') || self.name.contains(['/', '\n']) {
            true => Err(Diagnostic::new(format!("`{}` is no name of a service", self.name))),
            false => Ok(()),
        }
    }

    fn script(&self, body: &str) -> Command {
        let text = |value: &Option<String>| quote(value.as_deref().unwrap_or(""));
        Command::shell(format!(
            "name={} pattern={} arguments={} use={} levels={} runlevel={} daemonize={} no_block={} force={}\n{}{DETECT}{body}",
            quote(&self.name),
            text(&self.pattern),
            text(&self.arguments),
            self.manager(),
            quote(&self.runlevels.join(" ")),
            quote(self.runlevel.as_deref().unwrap_or("default")),
            if self.daemonize { "yes" } else { "''" },
            if self.no_block { "--no-block" } else { "''" },
            if self.force { "--force" } else { "''" },
            if self.of_user { OF_USER } else { "" },
        ))
    }

    /// Returns how the probe says that it starts at boot, or does not.
    fn boot(&self, enabled: bool) -> String {
        let each = |on: &str| self.runlevels.iter().map(|level| format!("{level} {on}")).collect::<Vec<_>>().join(" ");
        match (self.runlevels.is_empty(), enabled) {
            (true, true) => "enabled".into(),
            (true, false) => "disabled".into(),
            (false, true) => each("on"),
            (false, false) => each("off"),
        }
    }

    /// Returns what `sysvinit` tells of the parts: whether each is changed.
    fn status(&self, host: &View, (moves, boots): (bool, bool)) -> Value {
        let part = |changed: bool| {
            let done = changed && !host.is_check;
            let said = if done { json!("") } else { Value::Null };
            let code = if done { json!(0) } else { Value::Null };
            json!({"changed": changed, "rc": code, "stdout": said, "stderr": said})
        };
        let mut status = json!({"enabled": part(boots)});
        if !self.runlevels.is_empty() {
            status["enabled"]["runlevels"] = json!(self.runlevels);
        }
        let again = matches!(self.state, Some(State::Restarted | State::Reloaded));
        if let Some(state) = self.state {
            status[format!("{state:?}").to_lowercase()] = part(moves || again);
        }
        status
    }

    fn manager(&self) -> &str {
        self.manager.as_deref().map_or("auto", |manager| if manager == "service" { "sysvinit" } else { manager })
    }

    /// Returns the state that a service will have whose unit or script an earlier task of this check would make.
    async fn foreseen(&self, host: &View) -> Result<Option<String>, ModuleError> {
        let unit = if self.name.contains('.') { self.name.clone() } else { format!("{}.service", self.name) };
        let places = [
            (format!("/etc/systemd/system/{unit}"), "systemd"),
            (format!("/lib/systemd/system/{unit}"), "systemd"),
            (format!("/etc/init.d/{}", self.name), "sysvinit"),
        ];
        let paths = places.each_ref().map(|(path, _)| (path.clone(), Links::Follow));
        let nodes = host.look_all(&paths, Want::Attributes).await?;
        let made = places.iter().zip(nodes).find(|(_, node)| node.exists()).map(|((_, manager), _)| *manager);
        let fits = made.filter(|manager| [manager, &"auto"].contains(&&self.manager()));
        Ok(fits.map(|manager| format!("stopped, disabled ({manager})")))
    }
}

/// Returns the run levels that a state at boot is about.
fn levels(boot: &str) -> Vec<&str> {
    if boot.contains(' ') { boot.split(' ').step_by(2).collect() } else { Vec::new() }
}

/// Returns the lines that make of one state at boot another.
fn booting(from: &str, to: &str) -> String {
    match to {
        "enabled" => format!("boot=enable\n{ENABLE}"),
        "disabled" => format!("boot=disable\n{ENABLE}"),
        to => {
            let (from, to): (Vec<_>, Vec<_>) = (from.split(' ').collect(), to.split(' ').collect());
            let missing = |on: &str| {
                let other = to.chunks(2).filter(|pair| pair[1] == on && !from.chunks(2).any(|there| there == *pair));
                quote(&other.map(|pair| pair[0]).collect::<Vec<_>>().join(" "))
            };
            format!("on={} off={}\n{LEVELS}", missing("on"), missing("off"))
        }
    }
}

/// Returns the change by which systemd, or that of the user, reads its units anew, if files of this one (of any) are newer than
/// what it has read.
pub async fn reload(host: &View, service: Option<(&str, &str)>, of_user: bool) -> Result<Option<Change>, ModuleError> {
    let (name, manager) = service.unwrap_or(("*", "systemd"));
    let before = match of_user {
        true => OF_USER.to_string(),
        false => format!(
            "[ {manager} = systemd ] || [ {manager} = auto ] && [ -d /run/systemd/system ] || {{ echo read; exit; }}\n"
        ),
    };
    let script = format!(
        "{before}\
         case $(systemctl show -p NeedDaemonReload {} 2>/dev/null) in *=yes*) echo older ;; *) echo read ;; esac",
        quote(name)
    );
    let whose = if of_user { format!(" of user {}", host.identity().user.name) } else { String::new() };
    let (what, probe) = (format!("units of systemd{whose}"), Command::shell(script));
    let found = host.state(&what, &probe).await?;
    let by = vec![systemctl(of_user, &["daemon-reload"])];
    let change = Change::state(what, probe, (found, "read".into()), by);
    Ok(change.map(|change| change.taken_back(Back::Again)))
}

/// Returns a call of systemctl, for the system's systemd or for that of the user.
pub fn systemctl(of_user: bool, words: &[&str]) -> Command {
    let command = Command::argv(["systemctl"].iter().chain(words).copied());
    if of_user { Command::shell(format!("{OF_USER}{}", command.line())) } else { command }
}

/// Reads what the probe prints: running or stopped, enabled or disabled, the manager.
fn read(state: &str) -> Option<(&str, &str, &str)> {
    let (running, rest) = state.split_once(", ")?;
    let (enabled, manager) = rest.split_once(" (")?;
    Some((running, enabled, manager.strip_suffix(')')?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::files::bench::Bench;

    fn service(value: serde_json::Value) -> Service {
        serde_json::from_value(value).unwrap()
    }

    #[tokio::test]
    async fn only_what_differs_is_moved_and_shown_as_a_state() {
        let bench = Bench::new();
        let task = json!({"name": "xinetd", "state": "started", "enabled": true});
        bench.host.on(&service(task.clone()).script(PROBE).line(), 0, "stopped, enabled (sysvinit)\n");
        let planned = bench.plan("service", task).await.unwrap();
        let [Change::State(state)] = planned.changes.as_slice() else { panic!() };
        assert_eq!((state.before(), state.after()), ("stopped, enabled (sysvinit)", "running, enabled (sysvinit)"));
        assert_eq!(state.by().len(), 1);
        let stopped = json!({"name": "xinetd", "state": "stopped"});
        assert!(bench.plan("service", stopped).await.unwrap().changes.is_empty());
        let restarted = json!({"name": "xinetd", "state": "restarted"});
        assert!(matches!(bench.plan("service", restarted).await.unwrap().changes.as_slice(), [Change::State(_)]));
    }

    #[tokio::test]
    async fn a_service_that_runs_is_restarted_each_time_and_a_missing_one_is_an_error() {
        let bench = Bench::new();
        let task = json!({"name": "xinetd", "state": "restarted"});
        let probe = service(task.clone()).script(PROBE).line();
        bench.host.on(&probe, 0, "running, enabled (systemd)\n");
        assert!(matches!(bench.plan("service", task.clone()).await.unwrap().changes.as_slice(), [Change::Run { .. }]));
        bench.host.on(&probe, 0, "missing\n");
        assert!(bench.fails("service", task).await.contains("no service `xinetd`"));
    }
}
