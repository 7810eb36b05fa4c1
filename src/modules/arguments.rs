//! A module's arguments: declared once, coerced as Ansible coerces them, read into a typed struct.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::Diagnostic;

use super::Entry;

/// One documented argument.
pub struct Argument {
    pub name: &'static str,
    pub kind: Kind,
    /// One sentence, with the unit where there is one.
    pub help: &'static str,
    pub required: bool,
    pub aliases: &'static [&'static str],
    /// The only values allowed; empty means any.
    pub choices: &'static [&'static str],
    /// Ansible has this argument and Cutover does not: why, and what to do instead.
    pub refused: Option<&'static str>,
    /// A part of its text may be unknown in a check: what is known is shown, with `(known after apply)` for the rest.
    pub open: bool,
}

/// `state` of what is there or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    #[default]
    Present,
    Absent,
}

impl State {
    pub fn name(self) -> &'static str {
        if self == State::Present { "present" } else { "absent" }
    }
}

/// What an argument's value is turned into before it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    /// `yes`, `"true"`, `1` and their like.
    Bool,
    Int,
    Float,
    /// Text that names a path; `~` is the remote home directory.
    Path,
    /// A list; text is split at commas, any other single value becomes a list of one.
    List,
    Map,
    /// A file mode: a number (octal was read by YAML), `"0644"` or `"u=rw,go=r"`; always handed on as text, numbers in octal.
    Mode,
    /// As written.
    Any,
}

impl Argument {
    pub const fn new(name: &'static str, kind: Kind, help: &'static str) -> Argument {
        Argument { name, kind, help, required: false, aliases: &[], choices: &[], refused: None, open: false }
    }

    pub const fn required(mut self) -> Argument {
        self.required = true;
        self
    }

    pub const fn alias(mut self, aliases: &'static [&'static str]) -> Argument {
        self.aliases = aliases;
        self
    }

    pub const fn choices(mut self, choices: &'static [&'static str]) -> Argument {
        self.choices = choices;
        self
    }

    pub const fn refused(mut self, why: &'static str) -> Argument {
        self.refused = Some(why);
        self
    }

    pub const fn may_be_open(mut self) -> Argument {
        self.open = true;
        self
    }

    fn is_called(&self, name: &str) -> bool {
        self.name == name || self.aliases.contains(&name)
    }
}

/// The arguments of one task for one host: rendered, known by name, coerced.
#[derive(Clone, Debug, Default)]
pub struct Arguments(Map<String, Value>);

impl Entry {
    /// Finds an argument by its name or an alias.
    pub fn argument(&self, name: &str) -> Option<&'static Argument> {
        self.all().find(|argument| argument.is_called(name))
    }

    pub fn all(&self) -> impl Iterator<Item = &'static Argument> {
        self.arguments.iter().flat_map(|group| group.iter())
    }

    /// Says what is wrong with an argument's name, before its value is known.
    pub fn check_name(&self, name: &str) -> Result<(), Diagnostic> {
        match self.argument(name) {
            Some(Argument { refused: Some(why), .. }) => {
                Err(Diagnostic::new(format!("argument `{name}` of `{}` is not supported", self.name)).hint(*why))
            }
            Some(_) => Ok(()),
            None => Err(Diagnostic::new(format!("unknown argument `{name}` for `{}`", self.name))
                .suggest(name, self.all().filter(|argument| argument.refused.is_none()).map(|argument| argument.name))
                .msg(self.unsupported(&[name]))),
        }
    }

    /// Says of unknown arguments what Ansible says.
    fn unsupported(&self, names: &[&str]) -> String {
        let known: Vec<&str> = self.all().map(|argument| argument.name).collect();
        let aliases: Vec<&str> = self.all().flat_map(|argument| argument.aliases).copied().collect();
        unsupported(self.name, names, (known, aliases))
    }

    /// Coerces one value and checks it against its choices.
    pub fn check_value(&self, name: &str, value: Value) -> Result<Value, Diagnostic> {
        self.check_name(name)?;
        let Some(argument) = self.argument(name) else { return Ok(value) };
        let coerced = coerce(argument.kind, value).map_err(|value| {
            let noun = argument.kind.noun();
            let error = Diagnostic::new(format!("argument `{name}` of `{}` should be {noun}, not {value}", self.name));
            match argument.kind.python() {
                Some(wanted) => {
                    let given = python_type(&value);
                    error.msg(format!(
                        "argument '{name}' is of type {given} and we were unable to convert to {wanted}: {value}"
                    ))
                }
                None => error,
            }
        })?;
        match coerced.as_str() {
            Some(text) if !argument.choices.is_empty() && !argument.choices.contains(&text) => {
                let message = format!("argument `{name}` of `{}` cannot be `{text}`", self.name);
                let choices = argument.choices.join(", ");
                let msg = format!("value of {} must be one of: {choices}, got: {text}", argument.name);
                Err(Diagnostic::new(message).hint(format!("one of: {choices}")).msg(msg))
            }
            _ => Ok(coerced),
        }
    }

    /// Coerces rendered values and checks names, choices and what is required.
    pub fn arguments(&self, rendered: Map<String, Value>) -> Result<Arguments, Diagnostic> {
        let mut arguments = Map::new();
        let unknown: Vec<&str> =
            rendered.keys().map(String::as_str).filter(|name| self.argument(name).is_none()).collect();
        if let [first, ..] = unknown.as_slice() {
            self.check_name(first).map_err(|error| error.msg(self.unsupported(&unknown)))?;
        }
        for (name, value) in rendered {
            self.check_name(&name)?;
            let Some(argument) = self.argument(&name).filter(|_| !value.is_null()) else { continue };
            if arguments.insert(argument.name.into(), self.check_value(&name, value)?).is_some() {
                let message = format!("argument `{}` of `{}` is given twice", argument.name, self.name);
                let hint = format!("`{name}` is another name for it, or the other way round; keep one");
                return Err(Diagnostic::new(message).hint(hint));
            }
        }
        match self.all().find(|argument| argument.required && !arguments.contains_key(argument.name)) {
            Some(argument) => {
                let message = format!("`{}` needs the argument `{}`", self.name, argument.name);
                let missing = self.all().filter(|argument| argument.required && !arguments.contains_key(argument.name));
                let missing: Vec<&str> = missing.map(|argument| argument.name).collect();
                let msg = format!("missing required arguments: {}", missing.join(", "));
                Err(Diagnostic::new(message).hint(argument.help).msg(msg))
            }
            None => Ok(Arguments(arguments)),
        }
    }
}

/// Says of arguments that a module does not know what Ansible says; `(known, aliases)` are those that it knows.
pub fn unsupported(module: &str, names: &[&str], (mut known, mut aliases): (Vec<&str>, Vec<&str>)) -> String {
    if WITH_OPTIONS.contains(&module) {
        return format!("Invalid options for {module}: {}", names.join(","));
    }
    known.sort_unstable();
    aliases.sort_unstable();
    let aliases = if aliases.is_empty() { String::new() } else { format!(" ({})", aliases.join(", ")) };
    let (names, known) = (names.join(", "), known.join(", "));
    format!("Unsupported parameters for ({module}) module: {names}. Supported parameters include: {known}{aliases}.")
}

/// Modules that run on the controller there, and have words of their own for what they do not know.
const WITH_OPTIONS: &[&str] = &["fail", "group_by", "reboot", "set_stats", "wait_for_connection"];

impl Arguments {
    /// Reads the arguments into a module's own struct; absent ones need a serde default or an `Option`.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Diagnostic> {
        serde_json::from_value(Value::Object(self.0.clone())).map_err(|error| Diagnostic::new(error.to_string()))
    }

    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }
}

impl Kind {
    /// Python's name of what a value is turned into.
    fn python(self) -> Option<&'static str> {
        match self {
            Kind::Text => Some("str"),
            Kind::Path => Some("path"),
            Kind::Bool => Some("bool"),
            Kind::Int => Some("int"),
            Kind::Float => Some("float"),
            Kind::List => Some("list"),
            Kind::Map => Some("dict"),
            Kind::Mode | Kind::Any => None,
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Kind::Text | Kind::Path => "text",
            Kind::Bool => "a boolean",
            Kind::Int => "a whole number",
            Kind::Float => "a number",
            Kind::List => "a list",
            Kind::Map => "a mapping",
            Kind::Mode => "a file mode such as `\"0644\"` (with its leading zero) or `u=rw,go=r`",
            Kind::Any => "a value",
        }
    }
}

/// Returns Python's name of a value's type.
pub fn python_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "NoneType",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "int",
        Value::String(_) => "str",
        Value::Array(_) => "list",
        Value::Object(_) => "dict",
    }
}

/// Returns the value in the form its kind has, or the value back.
fn coerce(kind: Kind, value: Value) -> Result<Value, Value> {
    match (kind, &value) {
        (Kind::Any, _) => Ok(value),
        (Kind::Text | Kind::Path, Value::String(_)) => Ok(value),
        (Kind::Text | Kind::Path, Value::Bool(flag)) => Ok(if *flag { "True" } else { "False" }.into()),
        (Kind::Text | Kind::Path, Value::Number(_)) => Ok(value.to_string().into()),
        (Kind::Text, Value::Array(_) | Value::Object(_)) => Ok(value.to_string().into()),
        (Kind::Bool, _) => boolean(&value).map(Value::Bool).ok_or(value),
        (Kind::Int, Value::Number(number)) if number.is_i64() || number.is_u64() => Ok(value),
        (Kind::Int, Value::String(text)) => text.trim().parse::<i64>().map(Value::from).map_err(|_| value),
        (Kind::Float, Value::Number(_)) => Ok(value),
        (Kind::Float, Value::String(text)) => text.trim().parse::<f64>().map(Value::from).map_err(|_| value),
        (Kind::List, Value::Array(_)) => Ok(value),
        (Kind::List, Value::String(text)) => Ok(text.split(',').map(|item| Value::from(item.trim())).collect()),
        (Kind::List, Value::Number(_) | Value::Bool(_)) => Ok(Value::Array(vec![value])),
        (Kind::Map, Value::Object(_)) => Ok(value),
        (Kind::Mode, Value::String(_)) => Ok(value),
        (Kind::Mode, Value::Number(number)) => match number.as_u64() {
            // `mode: 644` is a decimal number, and as a mode sticky and unreadable; nobody means that.
            Some(600..=777) => Err(value),
            Some(mode) if mode <= 0o7777 => Ok(format!("{mode:04o}").into()),
            _ => Err(value),
        },
        _ => Err(value),
    }
}

/// Reads a boolean as Ansible's `boolean()` does.
pub fn boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) => match number.as_f64() {
            Some(1.0) => Some(true),
            Some(0.0) => Some(false),
            _ => None,
        },
        Value::String(text) => match text.trim().to_lowercase().as_str() {
            "y" | "yes" | "on" | "1" | "true" | "t" | "1.0" => Some(true),
            "n" | "no" | "off" | "0" | "false" | "f" | "0.0" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ENTRY: Entry = Entry {
        name: "sample",
        summary: "",
        arguments: &[
            &[
                Argument::new("path", Kind::Path, "The path.").required().alias(&["dest"]),
                Argument::new("state", Kind::Text, "").choices(&["present", "absent"]),
            ],
            &[Argument::new("mode", Kind::Mode, ""), Argument::new("seuser", Kind::Text, "").refused("there is none")],
        ],
        free_form: None,
        example: "",
        build: |_| Err(Diagnostic::new("never built")),
    };

    fn read(value: Value) -> Result<Value, String> {
        let Value::Object(rendered) = value else { panic!("{value}") };
        ENTRY.arguments(rendered).map(|arguments| Value::Object(arguments.0)).map_err(|error| error.to_string())
    }

    #[test]
    fn values_are_coerced_by_their_kind() {
        for (kind, written, expected) in [
            (Kind::Bool, json!("Yes"), json!(true)),
            (Kind::Bool, json!(0), json!(false)),
            (Kind::Int, json!(" 7"), json!(7)),
            (Kind::Float, json!("1.5"), json!(1.5)),
            (Kind::List, json!("a, b"), json!(["a", "b"])),
            (Kind::List, json!(3), json!([3])),
            (Kind::Text, json!(true), json!("True")),
            (Kind::Text, json!(5), json!("5")),
            (Kind::Mode, json!(420), json!("0644")),
            (Kind::Mode, json!("u+x"), json!("u+x")),
            (Kind::Any, json!([1]), json!([1])),
        ] {
            assert_eq!(coerce(kind, written.clone()), Ok(expected), "{kind:?} {written}");
        }
        for (kind, written) in [
            (Kind::Bool, json!("maybe")),
            (Kind::Int, json!(1.5)),
            (Kind::Path, json!(["a"])),
            (Kind::Map, json!("a=b")),
            // `mode: 7777`, in decimal, where `"7777"` was meant.
            (Kind::Mode, json!(7777)),
        ] {
            assert_eq!(coerce(kind, written.clone()), Err(written));
        }
    }

    #[test]
    fn an_alias_is_the_argument_and_nothing_is_not_given() {
        assert_eq!(read(json!({"dest": "/x", "mode": null})), Ok(json!({"path": "/x"})));
        assert!(read(json!({"dest": "/x", "path": "/y"})).unwrap_err().contains("given twice"));
    }

    #[test]
    fn what_is_wrong_with_an_argument_is_said() {
        for (arguments, message) in [
            (json!({"pth": "/x"}), "did you mean `path`?"),
            (json!({"state": "absent"}), "`sample` needs the argument `path`"),
            (json!({"path": "/x", "state": "gone"}), "one of: present, absent"),
            (json!({"path": "/x", "seuser": "u"}), "there is none"),
            (json!({"path": {}}), "should be text, not {}"),
        ] {
            let error = read(arguments).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }
}
