//! `cutover config`: the settings, what each is set to, and by what.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::cli::Stop;
use crate::error::Diagnostic;
use crate::settings::{self, File, Origin, SETTINGS, Setting};

/// Show the settings of ansible.cfg and ANSIBLE_* variables that mean something here.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
    /// Another configuration file
    #[arg(short, long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Accepted for Ansible's sake: there are no plugins with settings of their own
    #[arg(short, long, value_name = "TYPE", global = true)]
    r#type: Option<Type>,
    /// Accepted for Ansible's sake: all there is is printed
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Type {
    All,
    Base,
}

#[derive(clap::Subcommand)]
enum What {
    /// What each setting is now, and what says so
    Dump {
        /// Only what is not as it is by default
        #[arg(long, visible_alias = "changed-only")]
        only_changed: bool,
        /// How
        #[arg(short, long, value_name = "FORMAT", default_value = "display")]
        format: Form,
    },
    /// What settings there are
    List {
        /// How
        #[arg(short, long, value_name = "FORMAT", default_value = "yaml")]
        format: Form,
    },
    /// The configuration file as it is
    View,
    /// A configuration file with every setting at its default
    Init {
        /// How
        #[arg(short, long, value_name = "FORMAT", default_value = "ini")]
        format: Sample,
        /// Each line as a comment
        #[arg(long)]
        disabled: bool,
    },
    /// Find what in the configuration file nobody knows; ends with 1 where something is
    Validate {
        /// What is looked at
        #[arg(short, long, value_name = "FORMAT", default_value = "ini")]
        format: Checked,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// For people
    Display,
    Json,
    Yaml,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Sample {
    Ini,
    /// As lines for a shell
    Env,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Checked {
    Ini,
}

pub fn run(arguments: &Arguments) -> Result<u8, Stop> {
    let given = arguments.config.as_deref().map(read).transpose()?;
    let file = given.as_ref().unwrap_or(settings::file());
    let mut code = 0;
    let text = match &arguments.what {
        What::Dump { only_changed, format } => {
            let all = SETTINGS.iter().map(|setting| (setting, setting.now_in(file)));
            let all = all.filter(|(_, (_, origin))| !(*only_changed && *origin == Origin::Default));
            match format {
                Form::Display => all.map(|(setting, now)| line(setting, now)).collect(),
                _ => written(&Value::Array(all.map(|(setting, now)| entry(setting, now)).collect()), *format),
            }
        }
        What::List { format: Form::Json } => {
            let about = |setting: &Setting| (setting.name.to_string(), about(setting));
            written(&Value::Object(SETTINGS.iter().map(about).collect()), Form::Json)
        }
        What::List { .. } => SETTINGS.iter().map(described).collect(),
        What::View => text(path_of(file)?)?,
        What::Init { format, disabled } => sample(*format, *disabled),
        What::Validate { format: Checked::Ini } => {
            path_of(file)?;
            code = u8::from(!file.warnings.is_empty());
            match file.warnings.as_slice() {
                [] => "All configurations seem valid!\n".into(),
                warnings => warnings.iter().map(|warning| format!("{warning}\n")).collect(),
            }
        }
    };
    write!(anstream::stdout(), "{text}").map_err(Stop::Output)?;
    Ok(code)
}

fn path_of(file: &File) -> Result<&Path, Diagnostic> {
    file.path.as_deref().ok_or_else(|| {
        let hint = "it is $ANSIBLE_CONFIG, ./ansible.cfg, ~/.ansible.cfg or /etc/ansible/ansible.cfg";
        Diagnostic::new("there is no configuration file").hint(hint)
    })
}

fn text(path: &Path) -> Result<String, Diagnostic> {
    let read = std::fs::read_to_string(path);
    read.map_err(|error| Diagnostic::new(format!("cannot read `{}`: {error}", path.display())))
}

fn read(path: &Path) -> Result<File, Diagnostic> {
    File::read(path, &text(path)?).map_err(Diagnostic::new)
}

/// Returns the words of `ansible-config` for where a value comes from.
fn origin(origin: &Origin) -> String {
    match origin {
        Origin::Default => "default".into(),
        Origin::Environment(variable) => format!("env: {variable}"),
        Origin::File(path) => path.display().to_string(),
    }
}

/// `NAME(ORIGIN) = VALUE`, as `ansible-config dump` writes it.
fn line(setting: &Setting, (value, from): (String, Origin)) -> String {
    format!("{}({}) = {}\n", setting.name, origin(&from), if value.is_empty() { "None" } else { &value })
}

fn entry(setting: &Setting, (value, from): (String, Origin)) -> Value {
    let value = if value.is_empty() { Value::Null } else { value.into() };
    json!({ "name": setting.name, "origin": origin(&from), "value": value })
}

fn about(setting: &Setting) -> Value {
    let default = if setting.default.is_empty() { Value::Null } else { setting.default.into() };
    json!({
        "default": default,
        "description": setting.help,
        "env": [{ "name": setting.variable }],
        "ini": [{ "section": setting.section, "key": setting.key }],
    })
}

fn written(value: &Value, format: Form) -> String {
    match format {
        Form::Yaml => serde_yaml::to_string(value).unwrap_or_default(),
        _ => format!("{value:#}\n"),
    }
}

fn described(setting: &Setting) -> String {
    let default = if setting.default.is_empty() { "null" } else { setting.default };
    format!(
        "{}:\n  default: {default}\n  description: {}\n  env: {}\n  ini: [{}] {}\n",
        setting.name, setting.help, setting.variable, setting.section, setting.key
    )
}

/// Returns every setting at its default, by section.
fn sample(format: Sample, disabled: bool) -> String {
    let mut sections: Vec<&str> = Vec::new();
    for setting in SETTINGS.iter().filter(|_| format == Sample::Ini) {
        if !sections.contains(&setting.section) {
            sections.push(setting.section);
        }
    }
    let lines = |settings: &mut dyn Iterator<Item = &Setting>| -> String {
        let line = |setting: &Setting| match format {
            Sample::Ini => {
                let off = if disabled { ";" } else { "" };
                format!("# {}\n{off}{}={}\n\n", setting.help, setting.key, setting.default)
            }
            Sample::Env => {
                let off = if disabled { "# " } else { "" };
                format!("# {}\n{off}{}='{}'\n\n", setting.help, setting.variable, setting.default)
            }
        };
        settings.map(line).collect()
    };
    if format == Sample::Env {
        return lines(&mut SETTINGS.iter());
    }
    let section = |name: &&str| {
        let own = &mut SETTINGS.iter().filter(|setting| setting.section == *name);
        format!("[{name}]\n{}", lines(own))
    };
    sections.iter().map(section).collect()
}
