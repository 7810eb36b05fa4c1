//! What a task asks of pip: its arguments, and how an environment is made.

use serde::Deserialize;

use crate::error::Diagnostic;
use crate::modules::system::run::words;
use crate::modules::{Argument, Kind};

pub const ARGUMENTS: &[Argument] = &[
    Argument::new(
        "name",
        Kind::List,
        "Packages: `name`, `name==1.0`, `name>=1.0,<2`, `name[extra]`, an URL, an archive or a directory of the host.",
    ),
    Argument::new("version", Kind::Text, "The version of the one package, or what is said of it: `1.0`, `>=1.0,<2`."),
    Argument::new("requirements", Kind::Text, "A file of the host that names packages, in the place of `name`."),
    Argument::new(
        "virtualenv",
        Kind::Path,
        "The directory of the environment that they are in; it is made if it is not there.",
    ),
    Argument::new("virtualenv_site_packages", Kind::Bool, "What is made sees the packages of the system, too."),
    Argument::new(
        "virtualenv_command",
        Kind::Path,
        "The command that makes it, such as `python3 -m venv`. The default is `virtualenv`.",
    ),
    Argument::new("virtualenv_python", Kind::Text, "The Python that `virtualenv` makes it with."),
    Argument::new(
        "state",
        Kind::Text,
        "`latest` upgrades what is there, `forcereinstall` installs it again each time. The default is `present`.",
    )
    .choices(&["absent", "forcereinstall", "latest", "present"]),
    Argument::new("extra_args", Kind::Text, "Further words for pip, as a shell would split them."),
    Argument::new("editable", Kind::Bool, "Installs a directory or a repository in place (`-e`)."),
    Argument::new("chdir", Kind::Path, "The directory that pip runs in. The default is `/`."),
    Argument::new("executable", Kind::Path, "The pip to use. The default is the one of `python3`, or `pip3`."),
    Argument::new("umask", Kind::Text, "The umask of what is written, in octal digits."),
    Argument::new(
        "break_system_packages",
        Kind::Bool,
        "Lets pip change a Python that is managed by the system (PEP 668).",
    ),
];

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Fields {
    pub name: Option<Vec<String>>,
    pub version: Option<String>,
    pub requirements: Option<String>,
    pub virtualenv: Option<String>,
    pub virtualenv_site_packages: bool,
    pub virtualenv_command: Option<String>,
    pub virtualenv_python: Option<String>,
    pub state: Wanted,
    pub extra_args: Option<String>,
    pub editable: bool,
    pub chdir: Option<String>,
    pub executable: Option<String>,
    pub umask: Option<String>,
    pub break_system_packages: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wanted {
    #[default]
    Present,
    Latest,
    ForceReinstall,
    Absent,
}

impl Wanted {
    pub fn name(self) -> &'static str {
        match self {
            Wanted::Present => "present",
            Wanted::Latest => "latest",
            Wanted::ForceReinstall => "forcereinstall",
            Wanted::Absent => "absent",
        }
    }

    /// Returns the words of pip for it.
    pub fn words(self) -> &'static [&'static str] {
        match self {
            Wanted::Present => &["install"],
            Wanted::Latest => &["install", "-U"],
            Wanted::ForceReinstall => &["install", "-U", "--force-reinstall"],
            Wanted::Absent => &["uninstall", "-y"],
        }
    }
}

/// Returns the words that make an environment.
pub fn making(fields: &Fields) -> Result<Vec<String>, Diagnostic> {
    let mut making = words(fields.virtualenv_command.as_deref().unwrap_or("virtualenv"))?;
    let is_venv = making.first().is_some_and(|program| program == "pyvenv")
        || making.windows(2).any(|pair| pair == ["-m", "venv"]);
    if fields.virtualenv_site_packages {
        making.push("--system-site-packages".into());
    }
    match &fields.virtualenv_python {
        Some(_) if is_venv => {
            let text =
                "virtualenv_python should not be used when using the venv module or pyvenv as virtualenv_command";
            Err(Diagnostic::new(text).msg(text))
        }
        Some(python) => {
            making.push(format!("-p{python}"));
            Ok(making)
        }
        None => Ok(making),
    }
}
