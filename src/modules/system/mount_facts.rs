//! `mount_facts`: what is mounted, and what tables say of it, from the sources that are asked for.

use async_trait::async_trait;
use globset::Glob;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Planned, Results};
use crate::transport::Command;
use crate::transport::command::quote;

use super::facts::mounts::size;

mod tables;

use tables::{Mounted, of_command, of_file};

pub const MOUNT_FACTS: Entry = Entry {
    name: "mount_facts",
    summary: "Tells mounts as the variables `ansible_facts.mount_points` and `aggregate_mounts`",
    arguments: &[&[
        Argument::new("devices", Kind::List, "Patterns of devices; others are left out."),
        Argument::new("fstypes", Kind::List, "Patterns of types of file systems; others are left out."),
        Argument::new(
            "sources",
            Kind::List,
            "Files, `mount`, `static` (tables of what is to be mounted), `dynamic` (of what is) or `all`, the default.",
        ),
        Argument::new(
            "mount_binary",
            Kind::Text,
            "The command for `mount`, run where no dynamic file is there, too. The default is `mount`; an empty one is none.",
        ),
        Argument::new("timeout", Kind::Float, "How many seconds a mount, or the command, may take to answer."),
        Argument::new("on_timeout", Kind::Text, "What one that takes longer is. The default is `error`.")
            .choices(&["error", "warn", "ignore"]),
        Argument::new(
            "include_aggregate_mounts",
            Kind::Bool,
            "Whether all are told, and not only the first of each place. Unless set, there is a warning of others.",
        ),
    ]],
    free_form: None,
    example: "\
- name: Which file systems are from elsewhere?
  mount_facts:
    devices: ['[!/]*']
    timeout: 5
    on_timeout: warn
",
    build,
};

#[derive(Deserialize)]
struct Fields {
    devices: Option<Vec<String>>,
    fstypes: Option<Vec<String>>,
    sources: Option<Vec<String>>,
    mount_binary: Option<String>,
    timeout: Option<f64>,
    on_timeout: Option<String>,
    include_aggregate_mounts: Option<bool>,
}

const STATIC: [&str; 3] = ["/etc/fstab", "/etc/vfstab", "/etc/filesystems"];
const DYNAMIC: [&str; 3] = ["/etc/mtab", "/proc/mounts", "/etc/mnttab"];
const MOUNT: &str = "mount";

/// Prints of each source where it really is, and what is in it; and which devices have which UUID.
const LOOK: &str = r#"export LC_ALL=C PATH="$PATH:/sbin:/usr/sbin"
mark() { printf '\036%s\n' "$1"; }
for source; do
  mark "$(readlink -f "$source" 2>/dev/null || echo "$source")"
  [ ! -f "$source" ] || cat "$source" 2>/dev/null
done
mark uuids
for one in /dev/disk/by-uuid/*; do [ ! -e "$one" ] || echo "$(readlink -f "$one") ${one##*/}"; done
lsblk --list --noheadings --paths --output NAME,UUID --exclude 2 2>/dev/null
:
"#;

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let fields: Fields = arguments.read()?;
    if let Some(seconds) = fields.timeout.filter(|seconds| *seconds <= 0.0) {
        let text = format!("argument 'timeout' must be a positive number or null, not {seconds}");
        return Err(Diagnostic::new(&text).msg(text));
    }
    if fields.sources.iter().flatten().any(String::is_empty) {
        return Err(Diagnostic::new("sources contains an empty string").msg("sources contains an empty string"));
    }
    for pattern in fields.devices.iter().chain(&fields.fstypes).flatten() {
        Glob::new(pattern).map_err(|error| Diagnostic::new(format!("`{pattern}` is no pattern: {error}")))?;
    }
    Ok(Box::new(fields))
}

#[async_trait]
impl Module for Fields {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let sources = self.sources();
        let is_dynamic = |source: &String| source == MOUNT || DYNAMIC.contains(&source.as_str());
        if sources.iter().any(is_dynamic) && !host.planned_accounts(MOUNT).is_empty() {
            return Err(ModuleError::Unknown("what is mounted by then".into()));
        }
        if let Some(source) = sources.iter().find(|source| source.starts_with('/') && host.plans_below(source)) {
            return Err(ModuleError::Unknown(format!("what is in `{source}` by then").into()));
        }
        let files: Vec<&String> = sources.iter().filter(|source| *source != MOUNT).collect();
        let words: Vec<String> = files.iter().map(|source| quote(source)).collect();
        let looked = host.probe(&Command::shell(format!("set -- {}\n{LOOK}", words.join(" ")))).await?.text();
        let sections: Vec<(&str, &str)> =
            looked.split('\u{1e}').filter_map(|section| section.split_once('\n')).collect();
        let uuids = sections.last().map_or("", |(_, text)| text);
        let (mut seen, mut mounts, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
        let mut content = sections.iter();
        let mut falls_back = sources.iter().any(|source| DYNAMIC.contains(&source.as_str()));
        for source in &sources {
            let (real, found) = match source.as_str() {
                MOUNT if seen.contains(&MOUNT) => continue,
                MOUNT => (MOUNT, of_command(&self.mounted(host, &mut warnings).await?)),
                _ => content.next().map_or(("", Vec::new()), |(real, text)| (*real, of_file(text))),
            };
            if seen.contains(&real) {
                continue;
            }
            seen.push(real);
            falls_back &= found.is_empty() || !is_dynamic(source);
            mounts.extend(found.into_iter().map(|mounted| (source.clone(), mounted)));
        }
        if falls_back && !self.binary().is_empty() {
            let found = of_command(&self.mounted(host, &mut warnings).await?);
            mounts.extend(found.into_iter().map(|mounted| (MOUNT.to_string(), mounted)));
        }
        if (1..sources.len()).any(|at| sources[..at].contains(&sources[at])) {
            warnings.push(format!(
                "mount_facts option 'sources' contains duplicate entries, repeat sources will be ignored: {sources:?}"
            ));
        }
        mounts.retain(|(_, mounted)| self.is_asked_for(mounted, uuids));
        let sizes = self.sizes(host, &mounts).await?;
        let (mut all, mut points) = (Vec::new(), Map::new());
        for (source, mounted) in &mounts {
            if sizes.lines().any(|line| line == format!("timed out {}", mounted.point)) {
                let kind = text(&mounted.fields, "fstype");
                let point = &mounted.point;
                self.late(format!("Timed out getting mount size for mount {point} (type {kind})"), &mut warnings)?;
            }
            let fact = fact(source, mounted, (&sizes, uuids));
            points.entry(mounted.point.clone()).or_insert_with(|| fact.clone());
            all.push(fact);
        }
        if self.include_aggregate_mounts.is_none() {
            warnings.extend(repeated(&mounts));
        }
        let all = if self.include_aggregate_mounts == Some(true) { all } else { Vec::new() };
        let facts = json!({ "mount_points": points, "aggregate_mounts": all });
        let result = Results::from_iter([("ansible_facts".to_string(), facts)]);
        Ok(Planned { warnings, ..Planned::new(Vec::new(), result) })
    }
}

impl Fields {
    fn binary(&self) -> &str {
        self.mount_binary.as_deref().unwrap_or(MOUNT)
    }

    /// Returns the sources without the names that stand for several.
    fn sources(&self) -> Vec<String> {
        let all = vec!["all".to_string()];
        let asked = self.sources.as_ref().filter(|sources| !sources.is_empty()).unwrap_or(&all);
        let named = |source: &String| -> Vec<String> {
            let (dynamic, fixed) = (DYNAMIC.map(String::from), STATIC.map(String::from));
            match source.as_str() {
                "all" => dynamic.into_iter().chain(fixed).collect(),
                "dynamic" => dynamic.into(),
                "static" => fixed.into(),
                _ => vec![source.clone()],
            }
        };
        asked.iter().flat_map(named).collect()
    }

    /// Returns what bounds a command in time, for `sh`.
    fn bound(&self) -> String {
        self.timeout.map_or_else(String::new, |seconds| {
            format!("command -v timeout >/dev/null && bound='timeout {}'\n", seconds.ceil().max(1.0))
        })
    }

    /// Takes a mount that did not answer for what the task says.
    fn late(&self, message: String, warnings: &mut Vec<String>) -> Result<(), ModuleError> {
        match self.on_timeout.as_deref() {
            Some("ignore") => {}
            Some("warn") => warnings.push(message),
            _ => return Err(ModuleError::failed(message)),
        }
        Ok(())
    }

    /// Runs the command that tells what is mounted.
    async fn mounted(&self, host: &View, warnings: &mut Vec<String>) -> Result<String, ModuleError> {
        let binary = self.binary();
        let script = format!(
            "export LC_ALL=C PATH=\"$PATH:/sbin:/usr/sbin\"\nbound=\n{}\
             command -v {name} >/dev/null || {{ echo {} >&2; exit 127; }}\n$bound {name}",
            self.bound(),
            quote(&format!("Failed to find required executable \"{binary}\"")),
            name = quote(binary),
        );
        let output = host.probe(&Command::shell(script)).await?;
        match output.status {
            0 => Ok(output.text()),
            124 if self.timeout.is_some() => {
                self.late(format!("Command '{binary}' timed out"), warnings)?;
                Ok(String::new())
            }
            127 => Err(ModuleError::failed(output.error_text().trim_end())),
            _ => {
                let why = output.error_text();
                Err(ModuleError::failed(format!("Failed to execute {binary}: {}", why.trim_end())))
            }
        }
    }

    fn is_asked_for(&self, mounted: &Mounted, uuids: &str) -> bool {
        let fits = |patterns: &Option<Vec<String>>, word: &str| match patterns.as_deref() {
            None | Some([]) => true,
            Some(all) => all.iter().any(|one| Glob::new(one).is_ok_and(|glob| glob.compile_matcher().is_match(word))),
        };
        let device = text(&mounted.fields, "device");
        let named = device
            .strip_prefix("UUID=")
            .and_then(|uuid| uuids.lines().filter_map(|line| line.split_once(' ')).find(|(_, one)| one.trim() == uuid));
        fits(&self.devices, named.map_or(device, |(device, _)| device))
            && fits(&self.fstypes, text(&mounted.fields, "fstype"))
    }

    /// Asks how large what is mounted is.
    async fn sizes(&self, host: &View, mounts: &[(String, Mounted)]) -> Result<String, ModuleError> {
        let mut points: Vec<String> = mounts.iter().map(|(_, mounted)| quote(&mounted.point)).collect();
        points.sort();
        points.dedup();
        let script = format!(
            "bound=\n{}for point in {}; do\n  [ -e \"$point\" ] || [ -n \"$bound\" ] || continue\n\
             $bound stat -f -c '%S %s %b %a %c %d %n' \"$point\" 2>/dev/null\n\
             [ $? != 124 ] || echo \"timed out $point\"\ndone\n:",
            self.bound(),
            points.join(" ")
        );
        Ok(host.probe(&Command::shell(script)).await?.text())
    }
}

fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> &'a str {
    fields.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn fact(source: &str, mounted: &Mounted, (sizes, uuids): (&str, &str)) -> Value {
    let mut fact = mounted.fields.clone();
    if let Some(Value::Object(size)) = size(sizes, &mounted.point) {
        fact.extend(size);
    }
    let device = text(&mounted.fields, "device");
    let known = uuids.lines().filter_map(|line| line.split_once(' ')).find(|(one, _)| *one == device);
    let uuid = device.strip_prefix("UUID=").or(known.map(|(_, uuid)| uuid.trim()));
    fact.insert("ansible_context".into(), json!({ "source": source, "source_data": mounted.line }));
    fact.insert("uuid".into(), json!(uuid));
    Value::Object(fact)
}

/// Warns of sources that tell of one place several times.
fn repeated(mounts: &[(String, Mounted)]) -> Option<String> {
    let mut sources: Vec<&String> = mounts.iter().map(|(source, _)| source).collect();
    sources.dedup();
    let told = sources.into_iter().filter_map(|source| {
        let points: Vec<&str> =
            mounts.iter().filter(|(one, _)| one == source).map(|(_, mounted)| mounted.point.as_str()).collect();
        let twice = (1..points.len()).any(|at| points[..at].contains(&points[at]));
        twice.then(|| format!("{source} (['{}'])", points.join("', '")))
    });
    let told: Vec<String> = told.collect();
    (!told.is_empty()).then(|| {
        format!(
            "mount_facts: ignoring repeat mounts in the following sources: {}. \
             You can disable this warning by configuring the 'include_aggregate_mounts' option as True or False.",
            told.join(", ")
        )
    })
}
