//! `sysctl`: a setting of the kernel, in the file that is read at boot, and as it is now.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::Value;

use crate::change::{Back, Change};
use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::arguments::boolean;
use crate::modules::files::edit::{Edited, Target, bare, end_line_before, lines_of};
use crate::modules::files::place::Writing;
use crate::modules::files::rights::Rights;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Planned, Results, State};
use crate::transport::Command;
use crate::transport::command::quote;

pub const SYSCTL: Entry = Entry {
    name: "sysctl",
    summary: "Keeps a setting of the kernel in `sysctl.conf`, and as it is now",
    arguments: &[&[
        Argument::new("name", Kind::Text, "The setting, such as `net.ipv4.ip_forward`.").required().alias(&["key"]),
        Argument::new("value", Kind::Any, "Its value.").alias(&["val"]),
        Argument::new("state", Kind::Text, "Whether it is in the file. The default is `present`.")
            .choices(&["present", "absent"]),
        Argument::new(
            "reload",
            Kind::Bool,
            "A setting whose line in the file changes is set now, too. The default is true.",
        ),
        Argument::new("sysctl_set", Kind::Bool, "It is set now wherever it differs. The default is false."),
        Argument::new("sysctl_file", Kind::Path, "The file. The default is `/etc/sysctl.conf`."),
        Argument::new("ignoreerrors", Kind::Bool, "A kernel that does not know the setting is no failure."),
    ]],
    free_form: None,
    example: "\
- name: The host passes on what comes to it
  sysctl:
    name: net.ipv4.ip_forward
    value: \"1\"
    sysctl_file: /etc/sysctl.d/60-mail.conf
",
    build,
};

#[derive(Deserialize)]
struct Fields {
    name: String,
    value: Option<Value>,
    #[serde(default)]
    state: State,
    reload: Option<bool>,
    #[serde(default)]
    sysctl_set: bool,
    sysctl_file: Option<String>,
    #[serde(default)]
    ignoreerrors: bool,
}

struct Sysctl {
    name: String,
    /// Nothing: its line goes.
    value: Option<String>,
    file: String,
    reload: bool,
    set: bool,
    ignores: bool,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let fields: Fields = arguments.read()?;
    if fields.name.is_empty() || fields.name.starts_with('-') || fields.name.contains(['=', '\n', ' ']) {
        return Err(Diagnostic::new(format!("`{}` is no name of a setting", fields.name)));
    }
    let value = match (fields.state, &fields.value) {
        (State::Absent, _) => None,
        (State::Present, Some(value)) => Some(text(value)),
        (State::Present, None) => return Err(Diagnostic::new("`state: present` of `sysctl` needs `value`")),
    };
    if value.as_deref().is_some_and(|value| value.is_empty() || value.contains('\n')) {
        return Err(Diagnostic::new("`value` of `sysctl` should be one line that is not empty"));
    }
    Ok(Box::new(Sysctl {
        name: fields.name,
        value,
        file: fields.sysctl_file.unwrap_or_else(|| "/etc/sysctl.conf".into()),
        reload: fields.reload.unwrap_or(true),
        set: fields.sysctl_set,
        ignores: fields.ignoreerrors,
    }))
}

/// Returns a value as the kernel writes it: words of truth are numbers.
fn text(value: &Value) -> String {
    let word = matches!(value, Value::Bool(_)) || value.as_str().is_some_and(|text| text.parse::<i64>().is_err());
    match boolean(value).filter(|_| word) {
        Some(flag) => if flag { "1" } else { "0" }.into(),
        None => value.as_str().map_or_else(|| value.to_string(), |text| text.trim().into()),
    }
}

/// Prints the setting `$name` with single spaces; `unknown` where the kernel has none.
const PROBE: &str = r#"PATH=$PATH:/sbin:/usr/sbin
value=$(sysctl -n "$name" 2>/dev/null) || { echo unknown; exit; }
set -f
echo $value
"#;

#[async_trait]
impl Module for Sysctl {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let target = Target::look(host, &self.file).await?;
        let old = target.text.clone().unwrap_or_default();
        let new = self.edited(&old);
        let mut changes = Vec::new();
        if new != old {
            let rights = Rights::default().with_mode(target.text.is_none().then(|| "0644".into()));
            let writing = Writing { rights, ..Writing::default() };
            let edited = Edited { text: new.clone(), message: String::new() };
            changes = target.plan(host, edited, &writing).await?.changes;
        }
        if let Some(value) = self.value.as_deref().filter(|_| self.set || self.reload && new != old) {
            changes.extend(self.now(host, value).await?);
        }
        Ok(Planned::new(changes, Results::new()))
    }
}

impl Sysctl {
    /// Returns the file with the setting's line: the first one, and no second.
    fn edited(&self, text: &str) -> String {
        let mut lines = lines_of(text);
        let mut is_there = false;
        lines.retain_mut(|line| {
            let Some(found) = self.said(bare(line)) else { return true };
            let Some(value) = self.value.as_deref().filter(|_| !is_there) else { return false };
            is_there = true;
            if !same(&found, value) {
                *line = format!("{}={value}\n", self.name);
            }
            true
        });
        if let Some(value) = self.value.as_deref().filter(|_| !is_there) {
            let end = lines.len();
            end_line_before(&mut lines, end);
            lines.push(format!("{}={value}\n", self.name));
        }
        lines.concat()
    }

    /// Reads a line of sysctl.conf(5): the value, if it is of this setting.
    fn said(&self, line: &str) -> Option<String> {
        let line = line.trim();
        let line = line.strip_prefix('-').unwrap_or(line);
        let (name, value) = line.split_once('=').filter(|_| !line.starts_with(['#', ';']))?;
        (name.trim() == self.name).then(|| value.trim().to_string())
    }

    /// Returns the change of the kernel's own.
    async fn now(&self, host: &View, value: &str) -> Result<Option<Change>, ModuleError> {
        let probe = Command::shell(format!("name={}\n{PROBE}", quote(&self.name)));
        let what = format!("kernel setting {}", self.name);
        let found = host.state(&what, &probe).await?;
        if found == "unknown" {
            return match self.ignores {
                true => Ok(None),
                false => {
                    Err(ModuleError::failed(format!("the kernel of `{}` has no setting `{}`", host.name, self.name)))
                }
            };
        }
        let set = |value: &str| {
            let word = quote(&format!("{}={value}", self.name));
            vec![Command::shell(format!("PATH=$PATH:/sbin:/usr/sbin\nsysctl -w {word}"))]
        };
        let value: Vec<&str> = value.split_whitespace().collect();
        let value = value.join(" ");
        let (by, back) = (set(&value), set(&found));
        Ok(Change::state(what, probe, (found, value), by).map(|change| change.taken_back(Back::By(back))))
    }
}

/// Says whether two values are the same for the kernel, which does not count spaces.
fn same(left: &str, right: &str) -> bool {
    left.split_whitespace().eq(right.split_whitespace())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::modules::files::bench::Bench;

    #[tokio::test]
    async fn a_line_is_added_changed_once_and_removed() {
        let bench = Bench::new();
        let text = "# net.a=9\nnet.a = 1\nnet.b=2\n-net.a=3";
        bench.host.file("/etc/sysctl.conf", text, 0o644);
        let read = || bench.host.read("/etc/sysctl.conf").unwrap();
        let task = |name: &str, value: Value| json!({"name": name, "value": value, "reload": false});
        bench.twice("sysctl", task("net.a", json!(true))).await;
        assert_eq!(read(), "# net.a=9\nnet.a = 1\nnet.b=2\n");
        bench.twice("sysctl", task("net.a", json!("4096\t8192"))).await;
        bench.twice("sysctl", task("net.c", json!("off"))).await;
        assert_eq!(read(), "# net.a=9\nnet.a=4096\t8192\nnet.b=2\nnet.c=0\n");
        bench.twice("sysctl", json!({"name": "net.a", "state": "absent"})).await;
        assert_eq!(read(), "# net.a=9\nnet.b=2\nnet.c=0\n");
        assert!(bench.fails("sysctl", json!({"name": "net.a"})).await.contains("needs `value`"));
    }

    #[tokio::test]
    async fn the_kernel_is_asked_where_the_line_changes_or_the_task_says_so() {
        let bench = Bench::new();
        bench.host.file("/etc/sysctl.conf", "net.a=1\n", 0o644);
        bench.host.on(&format!("name=net.a\n{PROBE}"), 0, "0\n");
        let planned = bench.plan("sysctl", json!({"name": "net.a", "value": 1})).await.unwrap();
        assert!(planned.changes.is_empty());
        let task = json!({"name": "net.a", "value": 1, "sysctl_set": true});
        let planned = bench.plan("sysctl", task).await.unwrap();
        let [Change::State(state)] = planned.changes.as_slice() else { panic!() };
        assert_eq!((state.before(), state.after(), planned.changes[0].undone().is_ok()), ("0", "1", true));
        let planned = bench.plan("sysctl", json!({"name": "net.a", "value": 2})).await.unwrap();
        assert_eq!(planned.changes.len(), 2);
        bench.host.on(&format!("name=net.z\n{PROBE}"), 0, "unknown\n");
        let task = json!({"name": "net.z", "value": 1});
        assert!(bench.fails("sysctl", task).await.contains("no setting `net.z`"));
        let task = json!({"name": "net.z", "value": 1, "ignoreerrors": true});
        assert_eq!(bench.plan("sysctl", task).await.unwrap().changes.len(), 1);
    }
}
