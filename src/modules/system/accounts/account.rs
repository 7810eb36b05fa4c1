//! What an account is, in one readable line: how `user NAME` is shown, compared and carried forward.

use std::collections::BTreeSet;

use crate::transport::Command;
use crate::transport::command::quote;

use super::OWN;

/// An entry of passwd(5) without its password, the other groups it is in, and the day it expires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    pub comment: String,
    pub home: String,
    /// Empty means the host's own default.
    pub shell: String,
    /// Without the primary one, unless it is listed as a member of that too.
    pub groups: BTreeSet<String>,
    /// `YYYY-MM-DD`.
    pub expires: Option<String>,
}

/// Prints `absent`, or the line that [`Account::text`] returns.
const PROBE: &str = r#"line=$(own passwd)
[ -n "$line" ] || { echo absent; exit 0; }
all=$(getent group 2>/dev/null) || all=$(cat /etc/group)
groups=$(echo "$all" | while IFS= read -r group; do
  case ",${group##*:}," in *",$name,"*) echo "${group%%:*}" ;; esac
done | LC_ALL=C sort -u)
set -f
IFS='
'
set -- $groups
IFS=,
text="${line%%:*}:${line#*:*:}"
[ $# -eq 0 ] || text="$text, groups $*"
IFS=:
set -- $(own shadow)
days=${8-}
case $days in
''|*[!0-9]*) ;;
*)
  # Days since 1970 as a date of the Gregorian calendar, in which a year begins in March here.
  day=$((days + 719468))
  era=$((day / 146097))
  day=$((day - era * 146097))
  year=$(((day - day / 1460 + day / 36524 - day / 146096) / 365))
  day=$((day - (365 * year + year / 4 - year / 100)))
  month=$(((5 * day + 2) / 153))
  day=$((day - (153 * month + 2) / 5 + 1))
  month=$((month < 10 ? month + 3 : month - 9))
  year=$((year + era * 400 + (month <= 2)))
  text="$text, expires $(printf '%04d-%02d-%02d' $year $month $day)" ;;
esac
printf '%s\n' "$text"
"#;

/// Returns the command that prints what the account is.
pub fn probe(name: &str) -> Command {
    Command::shell(format!("name={}\n{OWN}{PROBE}", quote(name)))
}

impl Account {
    /// Reads what the probe prints. `None`: it is no account.
    pub fn read(text: &str) -> Option<Account> {
        let mut fields = text.splitn(6, ':');
        let mut next = || fields.next().map(str::to_string);
        let (name, uid, gid) = (next()?, next()?.parse().ok()?, next()?.parse().ok()?);
        let (comment, home, rest) = (next()?, next()?, next()?);
        let (rest, expires) = match rest.rsplit_once(", expires ") {
            Some((rest, day)) => (rest, Some(day.to_string())),
            None => (rest.as_str(), None),
        };
        let (shell, groups) = rest.split_once(", groups ").unwrap_or((rest, ""));
        let groups = groups.split(',').filter(|group| !group.is_empty()).map(str::to_string).collect();
        Some(Account { name, uid, gid, comment, home, shell: shell.into(), groups, expires })
    }

    pub fn text(&self) -> String {
        let Account { name, uid, gid, comment, home, shell, groups, expires } = self;
        let mut text = format!("{name}:{uid}:{gid}:{comment}:{home}:{shell}");
        if !groups.is_empty() {
            text += &format!(", groups {}", self.listed());
        }
        if let Some(day) = expires {
            text += &format!(", expires {day}");
        }
        text
    }

    /// Returns the other groups as the tools take them.
    pub fn listed(&self) -> String {
        self.groups.iter().map(String::as_str).collect::<Vec<_>>().join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read_and_written_the_same() {
        for text in [
            "ann:1001:1002:Ann, of sales, groups:/home/ann:/bin/sh, groups mail,popuser, expires 2030-02-28",
            "ann:1001:1002::/home/ann:",
            "ann:1001:1002::/home/ann:, groups mail",
            "ann:1001:1002::/home/ann:/bin/sh, expires 1999-12-31",
        ] {
            assert_eq!(Account::read(text).unwrap().text(), text);
        }
        for text in ["absent", "", "ann:x:1::/:", "ann:1:2:/"] {
            assert_eq!(Account::read(text), None, "{text}");
        }
    }
}
