//! How long a password may be used: the days of shadow(5), set with chage(1).

use serde::Deserialize;

use crate::change::{Back, Change};
use crate::host::View;
use crate::modules::{Argument, Kind as Type, ModuleError};
use crate::transport::Command;
use crate::transport::command::quote;

use super::OWN;
use super::database::Database;

pub const ARGUMENTS: &[Argument] = &[
    Argument::new("password_expire_max", Type::Int, "Days after which a password has to be changed."),
    Argument::new("password_expire_min", Type::Int, "Days before which it may not be changed."),
    Argument::new("password_expire_warn", Type::Int, "Days before the end at which the user is warned."),
    Argument::new(
        "password_expire_account_disable",
        Type::Int,
        "Days after the end at which the account is disabled; a negative number is never.",
    ),
];

/// What is asked for, in days.
#[derive(Debug, Default, Deserialize)]
pub struct Ages {
    #[serde(rename = "password_expire_min")]
    min: Option<i64>,
    #[serde(rename = "password_expire_max")]
    max: Option<i64>,
    #[serde(rename = "password_expire_warn")]
    warn: Option<i64>,
    #[serde(rename = "password_expire_account_disable")]
    inactive: Option<i64>,
}

/// Prints what [`told`] returns: a field that is empty is -1.
const PROBE: &str = r#"line=$(own shadow)
[ -n "$line" ] || { echo unreadable; exit 0; }
set -f
IFS=:
set -- $line
echo "min ${4:--1}, max ${5:--1}, warn ${6:--1}, inactive ${7:--1}"
"#;

/// The four, as chage has their flags.
const FLAGS: [&str; 4] = ["-m", "-M", "-W", "-I"];

fn told(days: [i64; 4]) -> String {
    let [min, max, warn, inactive] = days;
    format!("min {min}, max {max}, warn {warn}, inactive {inactive}")
}

fn read(text: &str) -> Option<[i64; 4]> {
    let mut days = text.split(", ").map(|part| part.split_once(' ')?.1.parse().ok());
    Some([days.next()??, days.next()??, days.next()??, days.next()??])
}

impl Ages {
    /// Returns the change of a user's days, who is there or is made before it.
    pub async fn change(
        &self,
        (host, database): (&View, &Database),
        (name, is_new): (&str, bool),
    ) -> Result<Option<Change>, ModuleError> {
        let asked = [self.min, self.max, self.warn, self.inactive];
        if asked.iter().all(Option::is_none) {
            return Ok(None);
        }
        let (what, probe) =
            (format!("password ages of {name}"), Command::shell(format!("name={}\n{OWN}{PROBE}", quote(name))));
        let found = match is_new {
            true => told(as_made(database)),
            false => host.state(&what, &probe).await?,
        };
        if found == "unreadable" && host.plans_ahead() {
            return Err(ModuleError::Unknown(format!("user `{name}` as it is by then").into()));
        }
        let Some(old) = read(&found) else {
            return Err(ModuleError::failed(format!(
                "the ages of the password of `{name}` cannot be read\nhint: `become: true`"
            )));
        };
        let mut new = old;
        // chage takes any negative number for none.
        new.iter_mut().zip(asked).for_each(|(day, asked)| *day = asked.map_or(*day, |asked| asked.max(-1)));
        if new == old {
            return Ok(None);
        }
        let chage = database.tool("chage")?;
        let set = |days: [i64; 4]| {
            let differing = (0..4).filter(|index| old[*index] != new[*index]);
            let words = differing.flat_map(|index| [FLAGS[index].to_string(), days[index].to_string()]);
            Command::argv([chage.to_string()].into_iter().chain(words).chain([name.to_string()]))
        };
        let change = Change::state(what, probe, (found, told(new)), vec![set(new)]);
        Ok(change.map(|change| change.taken_back(Back::By(vec![set(old)]))))
    }
}

/// The days that useradd gives to a new user (login.defs(5)).
fn as_made(database: &Database) -> [i64; 4] {
    let defined = |name: &str| database.definition(name).and_then(|days| days.parse().ok()).unwrap_or(-1);
    let inactive = database.preset("INACTIVE", "-1").parse().unwrap_or(-1);
    [defined("PASS_MIN_DAYS"), defined("PASS_MAX_DAYS"), defined("PASS_WARN_AGE"), inactive]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_read() {
        let days = [0, 99999, 7, -1];
        assert_eq!((told(days).as_str(), read(&told(days))), ("min 0, max 99999, warn 7, inactive -1", Some(days)));
        assert_eq!(read("unreadable"), None);
    }
}
