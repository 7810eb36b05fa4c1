//! `mount`: a line of `fstab`, and whether its file system is mounted.

use std::iter;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;

use crate::change::{Back, Change};
use crate::error::Diagnostic;
use crate::host::{View, clean};
use crate::modules::files::edit::{Edited, Target, bare, end_line_before, lines_of};
use crate::modules::files::place::{Writing, make_directories, parent};
use crate::modules::files::rights::Rights;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Outcome, Planned, Results};
use crate::transport::command::quote;
use crate::transport::{Command, Node, Want};

pub const MOUNT: Entry = Entry {
    name: "mount",
    summary: "Keeps a line of fstab, and mounts or unmounts what it says",
    arguments: &[ARGUMENTS],
    free_form: None,
    example: "\
- name: the staging directory gets a file system of its own, from the next boot on
  mount:
    path: /srv/staging
    src: LABEL=staging
    fstype: ext4
    opts: noatime,nosuid
    state: present
    fstab: /etc/fstab
",
    build,
};

const ARGUMENTS: &[Argument] = &[
    Argument::new("path", Kind::Path, "The mount point; `none` for swap.").required().alias(&["name"]),
    Argument::new(
        "state",
        Kind::Text,
        "`present`: in fstab; `mounted`: that, and mounted; `unmounted`: not mounted, fstab as it is; `absent`: neither, and no \
         directory; `absent_from_fstab`; `remounted`: each time; `ephemeral`: mounted and not in fstab.",
    )
    .required()
    .choices(&["absent", "absent_from_fstab", "ephemeral", "mounted", "present", "remounted", "unmounted"]),
    Argument::new("src", Kind::Text, "What is mounted: a device, `LABEL=`, `UUID=`, `server:/path`.").alias(&["device"]),
    Argument::new("fstype", Kind::Text, "Its type."),
    Argument::new("opts", Kind::Text, "Options; `defaults` unless given."),
    Argument::new("dump", Kind::Text, "Fifth field of the line; 0 unless given."),
    Argument::new("passno", Kind::Text, "Sixth field of the line: when fsck comes to it; 0 unless given."),
    Argument::new("boot", Kind::Bool, "Whether it is mounted at boot; `false` adds `noauto`."),
    Argument::new("fstab", Kind::Path, "Another file than `/etc/fstab`."),
    Argument::new("backup", Kind::Bool, "Keep a copy of fstab beside it."),
    Argument::new("opts_no_log", Kind::Bool, "").refused("`no_log: true` hides what a task shows"),
];

#[derive(Deserialize)]
struct Written {
    path: String,
    state: State,
    src: Option<String>,
    fstype: Option<String>,
    opts: Option<String>,
    dump: Option<String>,
    passno: Option<String>,
    boot: Option<bool>,
    fstab: Option<String>,
    #[serde(default)]
    backup: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Absent,
    AbsentFromFstab,
    Ephemeral,
    Mounted,
    Present,
    Remounted,
    Unmounted,
}

struct Mount {
    path: String,
    state: State,
    /// The six fields of the line (fstab(5)).
    fields: [String; 6],
    fstab: String,
    backup: bool,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let written: Written = arguments.read()?;
    let describes = matches!(written.state, State::Mounted | State::Present | State::Ephemeral);
    let missing = [("src", &written.src), ("fstype", &written.fstype)].into_iter().find(|(_, value)| value.is_none());
    if let (true, Some((name, _))) = (describes, missing) {
        return Err(Diagnostic::new(format!("this `state` of `mount` needs `{name}`")));
    }
    let swap = written.fstype.as_deref() == Some("swap");
    if !written.path.starts_with('/') && !swap {
        return Err(Diagnostic::new(format!("`{}` is no absolute path", written.path)));
    }
    let mut opts = written.opts.unwrap_or_else(|| "defaults".into());
    if written.boot == Some(false) && !opts.split(',').any(|option| option == "noauto") {
        opts += ",noauto";
    }
    let zero = |field: Option<String>| field.unwrap_or_else(|| "0".into());
    let path = if swap { written.path } else { clean(&written.path) };
    let fields = [
        written.src.unwrap_or_default(),
        path.clone(),
        written.fstype.unwrap_or_default(),
        opts,
        zero(written.dump),
        zero(written.passno),
    ];
    let fstab = written.fstab.unwrap_or_else(|| "/etc/fstab".into());
    Ok(Box::new(Mount { path, state: written.state, fields, fstab, backup: written.backup }))
}

#[async_trait]
impl Module for Mount {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let mut changes = Vec::new();
        if self.state == State::Absent {
            // Before its line goes, by which it is mounted again where this is taken back.
            changes.extend(self.moved(host).await?);
        }
        let edit = self.line(host).await?;
        let edited = !edit.is_empty();
        changes.extend(edit);
        match self.state {
            State::Mounted | State::Ephemeral => {
                changes.extend(make_directories(host, parent(&self.path), &Rights::default()).await?.0);
                changes.extend(self.moved(host).await?);
            }
            State::Unmounted => changes.extend(self.moved(host).await?),
            State::Absent | State::AbsentFromFstab | State::Present | State::Remounted => {}
        }
        let mounted = changes.iter().any(|change| matches!(change, Change::State(_)));
        let again = self.state == State::Remounted || self.state == State::Mounted && edited && !mounted;
        let mut result = Results::new();
        for (name, value) in ["src", "name", "fstype", "opts", "dump", "passno"].into_iter().zip(&self.fields) {
            result.insert(name.into(), json!(value));
        }
        result.insert("fstab".into(), json!(self.fstab));
        if !again {
            return Ok(Planned::new(changes, result));
        }
        let command = Command::shell(format!("mount -o remount {}", quote(&self.path)));
        changes.push(Change::Run { command });
        Ok(Planned { changes, result: Outcome::Applied(result), warnings: Vec::new() })
    }
}

impl Mount {
    /// Returns the change of the line in fstab.
    async fn line(&self, host: &View) -> Result<Vec<Change>, ModuleError> {
        let line = match self.state {
            State::Mounted | State::Present => Some(self.fields.each_ref().map(|field| escaped(field)).join(" ")),
            State::Absent | State::AbsentFromFstab => None,
            State::Ephemeral | State::Remounted | State::Unmounted => return Ok(Vec::new()),
        };
        let target = Target::look(host, &self.fstab).await?;
        let old = target.text.clone().unwrap_or_default();
        let new = self.edited(&old, line.as_deref());
        if new == old {
            return Ok(Vec::new());
        }
        let writing = Writing { rights: Rights::default(), backup: self.backup, validate: None };
        Ok(target.plan(host, Edited { text: new, message: String::new() }, &writing).await?.changes)
    }

    /// Returns fstab with the line as it is to be; other lines, and the way this one is spaced if it says the same, stay.
    fn edited(&self, text: &str, line: Option<&str>) -> String {
        let mut lines = lines_of(text);
        let [source, path, ..] = self.fields.each_ref().map(|field| escaped(field));
        let is_it = |found: &String| {
            let mut fields = bare(found).split_whitespace();
            let first = fields.next().unwrap_or_default();
            // Swap has no place of its own to be known by.
            let same = fields.next() == Some(&path) && (path != "none" || first == source);
            !first.is_empty() && !first.starts_with('#') && same
        };
        match (lines.iter().rposition(is_it), line) {
            (Some(at), Some(line)) => {
                let found: Vec<&str> = bare(&lines[at]).split_whitespace().collect();
                // The last two may be left out (fstab(5)).
                let zeros = ["0", "0"];
                let whole: Vec<&str> =
                    found.iter().copied().chain(zeros.into_iter().skip(found.len().max(4) - 4)).collect();
                if whole.iter().take(6).ne(line.split(' ').collect::<Vec<_>>().iter()) {
                    lines[at] = format!("{line}\n");
                }
            }
            (Some(_), None) => lines.retain(|found| !is_it(found)),
            (None, Some(line)) => {
                let end = lines.len();
                end_line_before(&mut lines, end);
                lines.push(format!("{line}\n"));
            }
            (None, None) => {}
        }
        lines.concat()
    }

    /// Returns the change of what is mounted now.
    async fn moved(&self, host: &View) -> Result<Option<Change>, ModuleError> {
        // `/proc/mounts` has names as fstab has them; where there is none, `mount` prints `DEVICE on PATH ...`.
        let (path, escaped) = (quote(&self.path), quote(&escaped(&self.path)));
        let probe = Command::shell(format!(
            "path={path} escaped={escaped}\n\
             if [ -r /proc/mounts ]; then while read -r d p r; do [ \"$p\" = \"$escaped\" ] && found=1; done </proc/mounts\n\
             else mount | grep -F \" on $path \" >/dev/null && found=1; fi\n\
             if [ -n \"$found\" ]; then echo mounted; else echo 'not mounted'; fi"
        ));
        let what = format!("mount {}", self.path);
        let found = host.state(&what, &probe).await?;
        let there = found == "mounted";
        let mount = Command::shell(match self.state {
            State::Ephemeral => {
                let [source, _, kind, opts, ..] = [0, 1, 2, 3, 4, 5].map(|field| quote(&self.fields[field]));
                format!("mount -t {kind} -o {opts} {source} {path}")
            }
            _ if self.fstab == "/etc/fstab" => format!("mount {path}"),
            _ => format!("mount -T {} {path}", quote(&self.fstab)),
        });
        let unmount = Command::shell(format!("umount {path}"));
        // The directory's own owner and mode are not to be seen while something is mounted there: no change of a path.
        let [make, remove] = ["mkdir", "rmdir"].map(|verb| Command::shell(format!("{verb} {path}")));
        let (after, by, back) = match self.state {
            State::Mounted | State::Ephemeral => {
                let missing = host.look(&self.path, Want::Attributes).await? == Node::Absent;
                let (make, remove) = (missing.then_some(make), missing.then_some(remove));
                ("mounted", make.into_iter().chain([mount]).collect(), iter::once(unmount).chain(remove).collect())
            }
            State::Absent if there => ("not mounted", vec![unmount, remove], vec![make, mount]),
            State::Absent => {
                let node = host.look(&self.path, Want::Attributes).await?;
                let empty = matches!(node, Node::Directory { .. });
                return Ok(Change::path(self.path.as_str(), node, Node::Absent).filter(|_| empty));
            }
            _ => ("not mounted", vec![unmount], vec![mount]),
        };
        let change = Change::state(what, probe, (found, after.into()), by);
        Ok(change.map(|change| change.taken_back(Back::By(back))))
    }
}

/// Returns a field as it stands in fstab (fstab(5)).
fn escaped(field: &str) -> String {
    field.replace('\\', "\\134").replace(' ', "\\040").replace('\t', "\\011").replace('\n', "\\012")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::files::bench::Bench;

    #[tokio::test]
    async fn a_line_is_added_changed_and_removed_and_what_says_the_same_stays() {
        let bench = Bench::new();
        let text = "# device  path\nUUID=1\t/  ext4  errors=remount-ro 0 1\n/dev/b /b ext4 noatime\n";
        bench.host.file("/etc/fstab", text, 0o644);
        let same = json!({"path": "/b/", "src": "/dev/b", "fstype": "ext4", "opts": "noatime", "state": "present"});
        assert!(bench.plan("mount", same).await.unwrap().changes.is_empty());
        let other = json!({"path": "/b", "src": "LABEL=b", "fstype": "xfs", "boot": false, "state": "present"});
        bench.twice("mount", other).await;
        let new = json!({"path": "/a b", "src": "//s/x", "fstype": "cifs", "passno": 2, "state": "present"});
        bench.twice("mount", new).await;
        let read = || bench.host.read("/etc/fstab").unwrap();
        let start = "# device  path\nUUID=1\t/  ext4  errors=remount-ro 0 1\n";
        assert_eq!(read(), format!("{start}LABEL=b /b xfs defaults,noauto 0 0\n//s/x /a\\040b cifs defaults 0 2\n"));
        bench.twice("mount", json!({"path": "/b", "state": "absent_from_fstab"})).await;
        assert_eq!(read(), format!("{start}//s/x /a\\040b cifs defaults 0 2\n"));
        assert!(bench.fails("mount", json!({"path": "/b", "state": "mounted", "src": "x"})).await.contains("`fstype`"));
        assert!(bench.fails("mount", json!({"path": "b", "state": "unmounted"})).await.contains("absolute"));
    }
}
