//! `cutover config`: the settings, what each is set to, and by what.

use std::io::Write as _;
use std::path::PathBuf;

use crate::cli::Stop;
use crate::error::Diagnostic;
use crate::settings::{self, Origin, SETTINGS, Setting};

/// Show the settings of ansible.cfg and ANSIBLE_* variables that mean something here.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// What each setting is now, and what says so
    Dump {
        /// Only what is not as it is by default
        #[arg(long, visible_alias = "changed-only")]
        only_changed: bool,
    },
    /// What settings there are
    List,
    /// The configuration file as it is
    View {
        /// Another file
        #[arg(short, long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

pub fn run(arguments: &Arguments) -> Result<u8, Stop> {
    let mut out = anstream::stdout();
    let text = match &arguments.what {
        What::Dump { only_changed } => SETTINGS.iter().filter_map(|setting| line(setting, *only_changed)).collect(),
        What::List => SETTINGS.iter().map(described).collect(),
        What::View { config } => {
            let path = config.as_ref().or(settings::file().path.as_ref());
            let path = path.ok_or_else(|| {
                let hint = "it is $ANSIBLE_CONFIG, ./ansible.cfg, ~/.ansible.cfg or /etc/ansible/ansible.cfg";
                Diagnostic::new("there is no configuration file").hint(hint)
            })?;
            let read = std::fs::read_to_string(path);
            read.map_err(|error| Diagnostic::new(format!("cannot read `{}`: {error}", path.display())))?
        }
    };
    write!(out, "{text}").map_err(Stop::Output)?;
    Ok(0)
}

/// `NAME(ORIGIN) = VALUE`, as `ansible-config dump` writes it.
fn line(setting: &Setting, only_changed: bool) -> Option<String> {
    let (value, origin) = setting.now();
    let origin = match origin {
        Origin::Default if only_changed => return None,
        Origin::Default => "default".into(),
        Origin::Environment(variable) => format!("env: {variable}"),
        Origin::File(path) => path.display().to_string(),
    };
    Some(format!("{}({origin}) = {}\n", setting.name, if value.is_empty() { "None" } else { &value }))
}

fn described(setting: &Setting) -> String {
    let default = if setting.default.is_empty() { "null" } else { setting.default };
    format!(
        "{}:\n  default: {default}\n  description: {}\n  env: {}\n  ini: [{}] {}\n",
        setting.name, setting.help, setting.variable, setting.section, setting.key
    )
}
