//! `mysql_user`: a user of MySQL or MariaDB is there with a password and privileges, or is not there.

use std::collections::BTreeSet;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};
use sha1::{Digest as _, Sha1};

use crate::change::{Back, Change};
use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Planned, Results, State};
use crate::transport::Command;
use crate::transport::command::quote;
use crate::transport::node::hex;

use super::literal;
use super::schema;
use super::{LOGIN, Login};

pub const ENTRY: Entry = Entry {
    name: "mysql_user",
    summary: "Makes sure that a user of MySQL or MariaDB has a password and privileges, or is not there",
    arguments: &[ARGUMENTS, LOGIN],
    free_form: None,
    example: "\
- name: Webmail may use its database, with the password that it has on the old host
  mysql_user:
    name: webmail
    password: \"*94BDCEBE19083CE2A1F959FD02F964C7AF4CFC29\"
    encrypted: true
    priv: webmail.*:SELECT,INSERT,UPDATE,DELETE
",
    build,
};

const ARGUMENTS: &[Argument] = &[
    Argument::new("name", Kind::Text, "The user; the empty name is the anonymous one.").alias(&["user"]).required(),
    Argument::new("host", Kind::Text, "Where the user comes from, `%` for anywhere. The default is `localhost`."),
    Argument::new("host_all", Kind::Bool, "All users of this name, wherever they come from."),
    Argument::new("password", Kind::Text, "The password; it reaches the server as its hash (`mysql_native_password`)."),
    Argument::new("encrypted", Kind::Bool, "`password` is the hash: `*` and 40 hexadecimal digits."),
    Argument::new(
        "update_password",
        Kind::Text,
        "Whether a user who is there already gets the password, too. The default is `always`.",
    )
    .choices(&["always", "on_create"]),
    Argument::new(
        "priv",
        Kind::Any,
        "The privileges, as `SHOW GRANTS` of the server spells them: `DATABASE.TABLE:PRIVILEGE,PRIVILEGE/...`, or a mapping. \
         `ALL` and `GRANT` are its `ALL PRIVILEGES` and `GRANT OPTION`.",
    ),
    Argument::new("append_privs", Kind::Bool, "Privileges that `priv` does not name stay."),
    Argument::new("subtract_privs", Kind::Bool, "The privileges of `priv` are taken away."),
    Argument::new("state", Kind::Text, "Whether the user is to be there. The default is `present`.")
        .choices(&["present", "absent"]),
    Argument::new("check_implicit_admin", Kind::Bool, "").refused("say with `login_user` who logs in"),
    Argument::new("plugin", Kind::Text, "").refused("give the statement to `mysql_query`"),
    Argument::new("tls_requires", Kind::Map, "").refused("give the statement to `mysql_query`"),
    Argument::new("resource_limits", Kind::Map, "").refused("give the statement to `mysql_query`"),
    Argument::new("sql_log_bin", Kind::Bool, "")
        .refused("give `SET sql_log_bin = 0` and the statements to `mysql_query`"),
];

#[derive(Deserialize)]
struct Given {
    name: String,
    host: Option<String>,
    #[serde(default)]
    host_all: bool,
    password: Option<String>,
    #[serde(default)]
    encrypted: bool,
    update_password: Option<String>,
    r#priv: Option<Value>,
    #[serde(default)]
    append_privs: bool,
    #[serde(default)]
    subtract_privs: bool,
    #[serde(default)]
    state: State,
    #[serde(flatten)]
    login: Login,
}

const ALL: &str = "ALL PRIVILEGES";
const OPTION: &str = "GRANT OPTION";

/// What is granted on what: `` `webmail`.* ``, `SELECT`.
type Grants = BTreeSet<(String, String)>;

struct MysqlUser {
    given: Given,
    /// `*` and the digits.
    hash: Option<String>,
    grants: Option<Grants>,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let given: Given = arguments.read()?;
    if given.append_privs && given.subtract_privs {
        return Err(Diagnostic::new("parameters are mutually exclusive: append_privs|subtract_privs"));
    }
    let hash = match &given.password {
        Some(hash) if given.encrypted => {
            let digits = hash.strip_prefix('*').unwrap_or_default();
            if digits.len() != 40 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(Diagnostic::new("`password` with `encrypted` is `*` and 40 hexadecimal digits"));
            }
            Some(hash.to_uppercase())
        }
        Some(password) if password.is_empty() => Some(String::new()),
        Some(password) => Some(format!("*{}", hex(&Sha1::digest(Sha1::digest(password))).to_uppercase())),
        None => None,
    };
    let grants = given.r#priv.as_ref().map(grants).transpose()?;
    Ok(Box::new(MysqlUser { given, hash, grants }))
}

/// Reads `priv`.
fn grants(written: &Value) -> Result<Grants, Diagnostic> {
    let wrong = |what: &str| {
        Diagnostic::new(format!("`{what}` in `priv` names no privileges"))
            .hint("write `DATABASE.TABLE:PRIVILEGE,PRIVILEGE`, as in `webmail.*:SELECT,INSERT`")
    };
    let pairs: Vec<(String, String)> = match written {
        Value::String(text) => {
            let parts = text.split('/').filter(|part| !part.trim().is_empty());
            // The privileges come last: a name may have a colon.
            let pairs = parts.map(|part| part.rsplit_once(':').ok_or_else(|| wrong(part)));
            pairs.map(|pair| pair.map(|(on, list)| (on.into(), list.into()))).collect::<Result<_, _>>()?
        }
        Value::Object(map) => {
            let pairs = map.iter().map(|(on, list)| Ok((on.clone(), list.as_str().ok_or_else(|| wrong(on))?.into())));
            pairs.collect::<Result<_, _>>()?
        }
        other => return Err(wrong(&other.to_string())),
    };
    let mut grants = Grants::new();
    for (on, list) in pairs {
        let on = on.trim();
        let (database, table) = on.rsplit_once('.').ok_or_else(|| wrong(on))?;
        let named = |name: &str| match name.trim_matches('`') {
            "*" => "*".to_string(),
            name => literal::name(name),
        };
        let on = format!("{}.{}", named(database), named(table));
        for name in split(&list) {
            let name = match name.to_uppercase().as_str() {
                "" | "USAGE" => continue,
                "ALL" => ALL.to_string(),
                "GRANT" => OPTION.to_string(),
                // Columns keep their letters.
                _ => match name.split_once('(') {
                    Some((word, columns)) => {
                        let columns = columns.trim_end_matches(')').replace('`', "");
                        let mut columns: Vec<&str> = columns.split(',').map(str::trim).collect();
                        columns.sort_unstable();
                        format!("{} ({})", word.trim().to_uppercase(), columns.join(", "))
                    }
                    None => name.to_uppercase(),
                },
            };
            grants.insert((on.clone(), name));
        }
    }
    Ok(grants)
}

/// Splits at commas that are in no parentheses.
fn split(list: &str) -> Vec<&str> {
    let mut depth = 0;
    let parts = list.split(|letter| {
        depth += i32::from(letter == '(') - i32::from(letter == ')');
        letter == ',' && depth == 0
    });
    parts.map(str::trim).collect()
}

#[async_trait]
impl Module for MysqlUser {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let login = &self.given.login;
        let user = literal::text(&self.given.name);
        let hosts =
            format!("(SELECT GROUP_CONCAT(Host ORDER BY Host SEPARATOR ' ') FROM mysql.user WHERE User = {user})");
        let ask = format!("SELECT VERSION(); SELECT @salt; SELECT IFNULL({hosts}, '');\n");
        let answer = schema::answer(host, login, &ask).await?;
        let mut lines = answer.lines();
        let mut line = || lines.next().unwrap_or_default().to_string();
        let server = Server { version: line(), salt: line() };
        let known = line();
        let hosts: Vec<&str> = match self.given.host_all {
            true => known.split_whitespace().collect(),
            false => vec![self.given.host.as_deref().unwrap_or("localhost")],
        };
        let mut changes = Vec::new();
        for from in hosts {
            changes.extend(self.change(host, &server, from).await?);
        }
        let mut results = Results::new();
        results.insert("user".into(), json!(self.given.name));
        results.insert("password_changed".into(), json!(changes.iter().any(|(_, password)| *password)));
        Ok(Planned::new(changes.into_iter().map(|(change, _)| change).collect(), results))
    }
}

/// What is known of the server.
struct Server {
    version: String,
    salt: String,
}

impl Server {
    /// Says whether it is a MySQL in which hashes are called otherwise (5.7.6).
    fn is_new(&self) -> bool {
        let mut numbers = self.version.split(['.', '-']).map(|number| number.parse().unwrap_or(0));
        let mut next = || numbers.next().unwrap_or(0);
        !self.version.contains("MariaDB") && (next(), next(), next()) >= (5, 7, 6)
    }

    fn column(&self) -> &'static str {
        if self.is_new() { "authentication_string" } else { "Password" }
    }

    fn identified(&self, hash: &str) -> String {
        match self.is_new() {
            true => format!("IDENTIFIED WITH mysql_native_password AS {}", literal::text(hash)),
            false => format!("IDENTIFIED BY PASSWORD {}", literal::text(hash)),
        }
    }

    /// Returns how a hash is shown.
    fn shown(&self, hash: &str) -> String {
        match hash {
            "" => "none".into(),
            hash => literal::fingerprint(hash.as_bytes(), &self.salt),
        }
    }
}

/// What a user has, as the probe prints it.
#[derive(Clone, Default)]
struct Account {
    password: String,
    grants: Grants,
}

impl Account {
    fn read(text: &str) -> Option<Account> {
        let (password, grants) = text.split_once('\n').unwrap_or((text, ""));
        let grants = grants.lines().filter_map(|line| line.split_once(" on "));
        let grants = grants.map(|(name, on)| (on.into(), name.into())).collect();
        Some(Account { password: password.strip_prefix("password: ")?.into(), grants })
    }

    fn text(&self) -> String {
        let mut lines: Vec<String> = self.grants.iter().map(|(on, name)| format!("{name} on {on}")).collect();
        lines.sort();
        lines.insert(0, format!("password: {}", self.password));
        lines.join("\n")
    }
}

/// Makes a line of each privilege that `SHOW GRANTS` prints.
const GRANTS: &str = r#"awk '
function ordered(name, column, count, i, j, other) {
    if (name !~ /\(/) return name
    gsub(/`/, "", name)
    other = name
    sub(/.*\(/, "", other)
    sub(/\).*/, "", other)
    count = split(other, column, ", *")
    for (i = 2; i <= count; i++)
        for (j = i; j > 1 && column[j - 1] > column[j]; j--) { other = column[j]; column[j] = column[j - 1]; column[j - 1] = other }
    sub(/ *\(.*/, "", name)
    for (i = 1; i <= count; i++) name = name (i == 1 ? " (" : ", ") column[i]
    return name ")"
}
/^GRANT / {
    sub(/^GRANT /, "")
    at = index($0, " TO ")
    if (!at) next
    rest = substr($0, at)
    $0 = substr($0, 1, at - 1)
    at = match($0, / ON [^ ]*$/)
    if (!at) next
    on = substr($0, at + 4)
    count = split(substr($0, 1, at - 1), part, ", ")
    if (rest ~ / GRANT OPTION/) part[++count] = "GRANT OPTION"
    name = ""
    for (i = 1; i <= count; i++) {
        name = name part[i]
        if (name ~ /\(/ && name !~ /\)/) { name = name ", "; continue }
        if (name != "USAGE") print ordered(name) " on " on
        name = ""
    }
}' | LC_ALL=C sort"#;

impl MysqlUser {
    /// Returns the change of the user from one place, and whether it is one of the password.
    async fn change(&self, host: &View, server: &Server, from: &str) -> Result<Option<(Change, bool)>, ModuleError> {
        let login = &self.given.login;
        let named = format!("{}@{}", literal::text(&self.given.name), literal::text(from));
        let what = format!("user {named} of MySQL");
        let probe = self.probe(server, from, &named);
        let text = host.state(&what, &probe).await?;
        let before = match text.as_str() {
            "absent" => None,
            text => Some(Account::read(text).ok_or_else(|| {
                ModuleError::failed(format!("the server on `{}` does not say what {named} may: `{text}`", host.name))
            })?),
        };
        let sql = |sql: &str| login.command(sql, super::login::Format::Plain);
        if self.given.state == State::Absent {
            let Some(before) = before else { return Ok(None) };
            let change = Change::state(
                what,
                probe,
                (before.text(), "absent".into()),
                vec![sql(&format!("DROP USER {named};\n"))],
            );
            return Ok(change.map(|change| (self.secret(change.taken_back(Back::None), false), false)));
        }
        let mut after = before.clone().unwrap_or(Account { password: "none".into(), ..Account::default() });
        let is_set = before.is_none() || self.given.update_password.as_deref() != Some("on_create");
        let hash = self.hash.as_ref().filter(|hash| is_set && server.shown(hash) != after.password);
        if let Some(hash) = hash {
            after.password = server.shown(hash);
        }
        if let Some(asked) = &self.grants {
            let other = |on: &Grants| after.grants.union(on).cloned().collect();
            after.grants = match (self.given.append_privs, self.given.subtract_privs) {
                (true, _) => other(asked),
                (_, true) => after.grants.difference(asked).cloned().collect(),
                _ => asked.clone(),
            };
            // All privileges on something are the others, too.
            let whole: Vec<String> =
                after.grants.iter().filter(|(_, name)| name == ALL).map(|(on, _)| on.clone()).collect();
            after.grants.retain(|(on, name)| [ALL, OPTION].contains(&name.as_str()) || !whole.contains(on));
        }
        let now = before.clone().unwrap_or_default();
        let mut by = String::new();
        match (&before, hash) {
            (None, Some(hash)) if !hash.is_empty() => {
                by += &format!("CREATE USER {named} {};\n", server.identified(hash))
            }
            (None, _) => by += &format!("CREATE USER {named};\n"),
            (Some(_), Some(hash)) if server.is_new() => {
                by += &format!("ALTER USER {named} {};\n", server.identified(hash))
            }
            (Some(_), Some(hash)) => by += &format!("SET PASSWORD FOR {named} = {};\n", literal::text(hash)),
            (Some(_), None) => {}
        }
        by += &granting(&named, &now.grants, &after.grants);
        // A password that was replaced is known to nobody.
        let back = match (&before, hash) {
            (None, _) => Back::By(vec![sql(&format!("DROP USER {named};\n"))]),
            (Some(_), None) => Back::By(vec![sql(&granting(&named, &after.grants, &now.grants))]),
            _ => Back::None,
        };
        let states = (before.map_or("absent".into(), |before| before.text()), after.text());
        let change = Change::state(what, probe, states, vec![sql(&by)]);
        Ok(change.map(|change| (self.secret(change.taken_back(back), hash.is_some()), hash.is_some())))
    }

    /// Hides the statements of a change where a password is in them, or goes before them.
    fn secret(&self, change: Change, has_hash: bool) -> Change {
        if has_hash || self.given.login.has_secret() { change.with_secret_commands() } else { change }
    }

    fn probe(&self, server: &Server, from: &str, named: &str) -> Command {
        let (column, user, host) = (server.column(), literal::text(&self.given.name), literal::text(from));
        let shown = literal::fingerprinting(column);
        let sql = format!(
            "SELECT IFNULL((SELECT CONCAT('password: ', IF(IFNULL({column}, '') = '', 'none', {shown})) FROM mysql.user WHERE \
             User = {user} AND Host = {host}), 'absent');\n"
        );
        let grants = quote(&format!("SHOW GRANTS FOR {named}"));
        self.given.login.looking(&sql, &format!("[ \"$said\" = absent ] || again {grants} | {GRANTS}"))
    }
}

/// Returns the statements that turn some privileges into others.
fn granting(named: &str, before: &Grants, after: &Grants) -> String {
    let mut sql = String::new();
    let objects: BTreeSet<&String> = before.iter().chain(after).map(|(on, _)| on).collect();
    for on in objects {
        let of = |all: &Grants, but: &Grants| -> Vec<String> {
            all.difference(but).filter(|(other, _)| other == on).map(|(_, name)| name.clone()).collect()
        };
        let (gone, new) = (of(before, after), of(after, before));
        if !gone.is_empty() {
            sql += &format!("REVOKE {} ON {on} FROM {named};\n", gone.join(", "));
        }
        let (option, names): (Vec<String>, Vec<String>) = new.into_iter().partition(|name| name == OPTION);
        let with = if option.is_empty() { "" } else { " WITH GRANT OPTION" };
        if !names.is_empty() || !option.is_empty() {
            let names = if names.is_empty() { "USAGE".into() } else { names.join(", ") };
            sql += &format!("GRANT {names} ON {on} TO {named}{with};\n");
        }
    }
    sql
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn privileges_are_read_as_the_server_spells_them() {
        let read = |written: Value| -> Vec<String> {
            grants(&written).unwrap().into_iter().map(|(on, name)| format!("{name} on {on}")).collect()
        };
        assert_eq!(
            read(json!("a.*:select,Insert (c, b)/*.*:GRANT,usage/`d`.e:ALL")),
            ["GRANT OPTION on *.*", "INSERT (b, c) on `a`.*", "SELECT on `a`.*", "ALL PRIVILEGES on `d`.`e`"]
        );
        assert_eq!(read(json!({"a.b": "DROP"})), ["DROP on `a`.`b`"]);
        for wrong in [json!("a.*"), json!("a:SELECT"), json!({"a.*": 1}), json!(7)] {
            assert!(grants(&wrong).unwrap_err().to_string().contains("names no privileges"), "{wrong}");
        }
    }

    #[test]
    fn only_what_differs_is_granted_and_revoked() {
        let some = |text: &str| grants(&json!(text)).unwrap();
        let sql = granting("'a'@'b'", &some("d.*:SELECT,DROP/e.*:ALL"), &some("d.*:SELECT,INSERT,GRANT/f.*:GRANT"));
        assert_eq!(
            sql,
            "REVOKE DROP ON `d`.* FROM 'a'@'b';\nGRANT INSERT ON `d`.* TO 'a'@'b' WITH GRANT OPTION;\n\
             REVOKE ALL PRIVILEGES ON `e`.* FROM 'a'@'b';\nGRANT USAGE ON `f`.* TO 'a'@'b' WITH GRANT OPTION;\n"
        );
    }

    #[test]
    fn a_version_says_how_hashes_are_called() {
        let new = |version: &str| Server { version: version.into(), salt: String::new() }.is_new();
        assert_eq!(
            ["5.0.95-log", "5.7.5", "5.7.6", "8.0.36", "10.11.6-MariaDB-0+deb12u1"].map(new),
            [false, false, true, true, false]
        );
    }
}
