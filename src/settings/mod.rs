//! What `ANSIBLE_*` variables and `ansible.cfg` say, of the settings that mean something here.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::ini::{Ini, Rules};

mod table;

pub use table::{Kind, SETTINGS, Setting};

/// Settings of Ansible that are known and mean nothing here: `section.key`.
const OTHERS: &str = include_str!("others.txt");

static FILE: OnceLock<File> = OnceLock::new();

/// An `ansible.cfg`, and what there is to say of it.
#[derive(Debug, Default)]
pub struct File {
    pub path: Option<PathBuf>,
    pub warnings: Vec<String>,
    /// By environment variable.
    values: Vec<(&'static str, String)>,
}

/// Where a setting's value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Default,
    Environment(&'static str),
    File(PathBuf),
}

/// Returns the configuration file of this process: `$ANSIBLE_CONFIG`, `./ansible.cfg`, `~/.ansible.cfg`,
/// `/etc/ansible/ansible.cfg`, the first that is there.
pub fn file() -> &'static File {
    FILE.get_or_init(|| find().unwrap_or_else(|error| File { warnings: vec![error], ..File::default() }))
}

/// Returns what is set for an environment variable: by itself, or by its key in the configuration file.
pub fn value(variable: &str) -> Option<String> {
    in_environment(variable).or_else(|| file().value(variable).map(Into::into))
}

/// Returns what an environment variable says; an empty one says nothing.
fn in_environment(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|value| !value.trim().is_empty())
}

/// Says whether a switch is on; `default` where nothing is set.
pub fn switch(variable: &str, default: bool) -> bool {
    value(variable).map_or(default, |value| is_true(&value))
}

/// Returns every setting of the configuration file that no environment variable overrides, by variable.
pub fn from_file() -> impl Iterator<Item = (&'static str, &'static str)> {
    file().values.iter().map(|(variable, value)| (*variable, value.as_str()))
}

/// Reads a switch as Ansible does.
pub fn is_true(text: &str) -> bool {
    matches!(text.trim().to_ascii_lowercase().as_str(), "1" | "1.0" | "true" | "yes" | "on" | "y" | "t")
}

impl File {
    fn value(&self, variable: &str) -> Option<&str> {
        self.values.iter().find(|(known, _)| *known == variable).map(|(_, value)| value.as_str())
    }

    /// Reads the text of a file at `path`, to which paths in it are relative.
    pub fn read(path: &Path, text: &str) -> Result<File, String> {
        let rules = Rules { allow_no_value: true, ..Rules::default() };
        let ini = Ini::read(text, None, rules).map_err(|why| format!("`{}`: {why}", path.display()))?;
        let directory = path.parent().unwrap_or(Path::new("."));
        let mut file = File { path: Some(path.into()), ..File::default() };
        for section in ini.sections() {
            for key in ini.keys(section) {
                // These have two places.
                let place = match (section, key) {
                    ("inventory", "ignore_extensions") => ("defaults", "inventory_ignore_extensions"),
                    ("inventory", "ignore_patterns") => ("defaults", "inventory_ignore_patterns"),
                    ("ssh_connection", key @ ("host_key_checking" | "timeout")) => ("defaults", key),
                    place => place,
                };
                let known = SETTINGS.iter().find(|setting| (setting.section, setting.key) == place);
                let value = ini.get(section, key)?.flatten().unwrap_or_default();
                let name = format!("{section}.{key}");
                match known {
                    Some(setting) => file.values.push((setting.variable, setting.kind.resolved(&value, directory))),
                    None if OTHERS.lines().any(|other| other == name) || !table::is_read(section) => {}
                    None => {
                        file.warnings.push(format!("`{}`: nothing is called `{key}` in `[{section}]`", path.display()))
                    }
                }
            }
        }
        Ok(file)
    }
}

impl Setting {
    /// Returns what it is set to, and by what.
    pub fn now(&self) -> (String, Origin) {
        self.now_in(file())
    }

    /// The same with another configuration file.
    pub fn now_in(&self, file: &File) -> (String, Origin) {
        if let Some(value) = in_environment(self.variable) {
            return (value, Origin::Environment(self.variable));
        }
        match (file.value(self.variable), &file.path) {
            (Some(value), Some(path)) => (value.into(), Origin::File(path.clone())),
            _ => (self.default.into(), Origin::Default),
        }
    }
}

fn find() -> Result<File, String> {
    let given = std::env::var_os("ANSIBLE_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from);
    let given = given.map(|path| if path.is_dir() { path.join("ansible.cfg") } else { path });
    let here = std::env::current_dir().map(|here| here.join("ansible.cfg")).unwrap_or_default();
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".ansible.cfg"));
    let mut warnings = Vec::new();
    let candidates = [given, Some(here.clone()), home, Some("/etc/ansible/ansible.cfg".into())];
    for path in candidates.into_iter().flatten().filter(|path| path.is_file()) {
        if path == here && anybody_writes(here.parent().unwrap_or(Path::new("."))) {
            let message = "the directory is writable by everybody, and its `ansible.cfg` is not read";
            warnings.push(format!("`{}`: {message}", here.display()));
            continue;
        }
        let bytes = std::fs::read(&path).map_err(|error| format!("cannot read `{}`: {error}", path.display()))?;
        let mut file = File::read(&path, &String::from_utf8_lossy(&bytes))?;
        file.warnings.extend(warnings);
        return Ok(file);
    }
    Ok(File { warnings, ..File::default() })
}

fn anybody_writes(directory: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(directory).is_ok_and(|found| found.permissions().mode() & 0o002 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_with_paths_beside_it_and_what_nobody_knows_is_told() {
        let text = "[defaults]\ninventory = hosts, more/hosts\nroles_path = roles:/srv/roles\nforks=7 ; more\nfrks = 3\n\
                    pipelining = True\n\n[ssh_connection]\nssh_args = -C\n[galaxy]\nwhatever = 1\n";
        let file = File::read(Path::new("/etc/ansible/ansible.cfg"), text).unwrap();
        assert_eq!(file.value("ANSIBLE_INVENTORY"), Some("/etc/ansible/hosts,/etc/ansible/more/hosts"));
        assert_eq!(file.value("ANSIBLE_ROLES_PATH"), Some("/etc/ansible/roles:/srv/roles"));
        assert_eq!(file.value("ANSIBLE_FORKS"), Some("7"));
        assert_eq!(file.value("ANSIBLE_SSH_ARGS"), Some("-C"));
        assert_eq!(file.warnings, ["`/etc/ansible/ansible.cfg`: nothing is called `frks` in `[defaults]`"]);
    }

    #[test]
    fn no_setting_stands_twice() {
        let mut keys: Vec<_> = SETTINGS.iter().map(|setting| (setting.section, setting.key)).collect();
        keys.sort_unstable();
        let count = keys.len();
        keys.dedup();
        assert_eq!(keys.len(), count);
        assert!(SETTINGS.iter().all(|setting| setting.help.ends_with('.')));
    }
}
