//! `mysql_user`: a user of MySQL or MariaDB is there with a password and privileges, or is not there.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::change::{Back, Change};
use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Planned, Results, State};
use crate::transport::Command;
use crate::transport::command::quote;

use super::literal;
use super::schema;
use super::{IMPLICIT, LOGIN, Login};

mod account;
mod attributes;
mod grants;
mod identity;

use account::{Account, Server};
use attributes::Attribute;
use grants::{ALL, GRANTS, Grants, OPTION, granting};
use identity::{Identity, Kept};

pub const ENTRY: Entry = Entry {
    name: "mysql_user",
    summary: "Makes sure that a user of MySQL or MariaDB has a password and privileges, or is not there",
    arguments: &[ARGUMENTS, identity::ARGUMENTS, attributes::ARGUMENTS, IMPLICIT, LOGIN],
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
    Argument::new(
        "session_vars",
        Kind::Map,
        "Variables of the session that the statements are made in, and their values.",
    ),
    Argument::new("column_case_sensitive", Kind::Bool, "Columns in `priv` keep their letters: they always do here."),
    Argument::new("attributes", Kind::Map, "").refused("give `ALTER USER ... ATTRIBUTE` to `mysql_query`"),
    Argument::new(
        "force_context",
        Kind::Bool,
        "The statements are made in the database `mysql`, for filters of replication.",
    ),
];

#[derive(Deserialize)]
struct Given {
    name: String,
    host: Option<String>,
    #[serde(default)]
    host_all: bool,
    r#priv: Option<Value>,
    #[serde(default)]
    append_privs: bool,
    #[serde(default)]
    subtract_privs: bool,
    #[serde(default)]
    state: State,
    #[serde(default)]
    session_vars: Map<String, Value>,
    #[serde(default)]
    force_context: bool,
    #[serde(flatten)]
    identity: identity::Given,
    #[serde(flatten)]
    attributes: attributes::Given,
    #[serde(flatten)]
    login: Login,
}

struct MysqlUser {
    given: Given,
    identity: Identity,
    attributes: BTreeMap<Attribute, String>,
    grants: Option<Grants>,
    /// What the session is told before its statements.
    session: String,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let given: Given = arguments.read()?;
    if given.append_privs && given.subtract_privs {
        return Err(Diagnostic::new("parameters are mutually exclusive: append_privs|subtract_privs"));
    }
    let (identity, attributes) = (given.identity.read()?, given.attributes.read()?);
    let grants = given.r#priv.as_ref().map(grants::grants).transpose()?;
    let session = session(&given)?;
    Ok(Box::new(MysqlUser { given, identity, attributes, grants, session }))
}

/// Returns the statements that a session starts with.
fn session(given: &Given) -> Result<String, Diagnostic> {
    let mut sql = String::new();
    for (name, value) in &given.session_vars {
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Err(Diagnostic::new(format!("`{name}` is no name of a variable")));
        }
        let value = match value {
            Value::Bool(flag) => u8::from(*flag).to_string(),
            Value::Number(number) => number.to_string(),
            Value::String(text) => literal::text(text),
            other => return Err(Diagnostic::new(format!("`{name}` of `session_vars` cannot be {other}"))),
        };
        sql += &format!("SET SESSION {name} = {value};\n");
    }
    if given.force_context {
        sql += "USE mysql;\n";
    }
    Ok(sql)
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
        self.identity.note(&server);
        let hosts: Vec<&str> = match self.given.host_all {
            true => known.split_whitespace().collect(),
            false => vec![self.given.host.as_deref().unwrap_or("localhost")],
        };
        if hosts.is_empty() && self.given.state == State::Present {
            let message = "host_all parameter cannot be used when adding a user";
            return Err(match host.plans_ahead() {
                true => ModuleError::Unknown("the users that are there by then".into()),
                false => ModuleError::failed(message),
            });
        }
        let reused = self.reused(host, &server).await?;
        if let Some((attribute, _)) = self.attributes.iter().find(|(attribute, _)| !attribute.is_known(&server)) {
            let message = format!("the server on `{}` is too old for what is {}", host.name, attribute.name());
            return Err(ModuleError::failed(format!("{message}: {}", server.version)));
        }
        let mut changes = Vec::new();
        for from in hosts {
            changes.extend(self.change(host, (&server, reused.as_ref().unwrap_or(&self.identity)), from).await?);
        }
        let mut results = Results::new();
        results.insert("user".into(), json!(self.given.name));
        results.insert("password_changed".into(), json!(changes.iter().any(|(_, password)| *password)));
        Ok(Planned::new(changes.into_iter().map(|(change, _)| change).collect(), results))
    }
}

impl MysqlUser {
    /// Returns how users of the same name are let in, if that is to be the same and all of them are let in alike.
    async fn reused(&self, host: &View, server: &Server) -> Result<Option<Identity>, ModuleError> {
        if !self.identity.by_name {
            return Ok(None);
        }
        let (column, user) = (server.column(true), literal::text(&self.given.name));
        let ask = format!("SELECT DISTINCT CONCAT(plugin, ' ', HEX({column})) FROM mysql.user WHERE User = {user};\n");
        let answer = schema::answer(host, &self.given.login, &ask).await?;
        let mut found = answer.lines();
        let identity = match (found.next().and_then(|line| line.split_once(' ')), found.next()) {
            (Some((plugin, hash)), None) => literal::unhex(hash).and_then(|hash| Identity::of(plugin, hash)),
            _ => None,
        };
        identity.iter().for_each(|identity| identity.note(server));
        Ok(identity)
    }

    /// Returns the change of the user from one place, and whether it is one of the password.
    async fn change(
        &self,
        host: &View,
        (server, identity): (&Server, &Identity),
        from: &str,
    ) -> Result<Option<(Change, bool)>, ModuleError> {
        let login = &self.given.login;
        let named = format!("{}@{}", literal::text(&self.given.name), literal::text(from));
        let what = format!("user {named} of MySQL");
        let probe = self.probe((server, identity), from, &named);
        let text = host.state(&what, &probe).await?;
        let before = match text.as_str() {
            "absent" => None,
            text => Some(Account::read(text).ok_or_else(|| {
                ModuleError::failed(format!("the server on `{}` does not say what {named} may: `{text}`", host.name))
            })?),
        };
        let sql = |sql: &str| login.changing(&format!("{}{sql}", self.session));
        if self.given.state == State::Absent {
            let Some(before) = before else { return Ok(None) };
            let drop = sql(&format!("DROP USER {named};\n"));
            let change = Change::state(what, probe, (before.text(), "absent".into()), vec![drop]);
            return Ok(change.map(|change| (self.secret(change.taken_back(Back::None), false), false)));
        }
        let mut after = before.clone().unwrap_or(Account { password: "none".into(), ..Account::default() });
        let is_identified = self.identify((server, identity), (&named, before.is_some()), &mut after)?;
        attributes::give(&mut after.attributes, &self.attributes);
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
        let identified = if is_identified { identity.clause(server) } else { String::new() };
        let altering = |from: &Account, to: &Account| {
            let clauses = attributes::clauses(&from.attributes, &to.attributes);
            match (clauses.is_empty(), server.alters()) {
                (true, _) => String::new(),
                (_, true) => format!("ALTER USER {named}{clauses};\n"),
                (_, false) => format!("GRANT USAGE ON *.* TO {named}{clauses};\n"),
            }
        };
        let mut by = match (&before, &identity.plugin) {
            (None, _) => format!("CREATE USER {named}{identified};\n"),
            (Some(_), _) if !is_identified => String::new(),
            (Some(_), None) if !server.is_new() => match identity.kept(server) {
                Kept::Known(hash) => format!("SET PASSWORD FOR {named} = {};\n", literal::text(&hash)),
                _ => String::new(),
            },
            (Some(_), None) if identified.is_empty() => {
                format!("ALTER USER {named} {};\n", server.identified(""))
            }
            (Some(_), _) => format!("ALTER USER {named}{identified};\n"),
        };
        by += &altering(&now, &after);
        by += &granting(&named, &now.grants, &after.grants);
        // A password that was replaced is known to nobody, and one that has to be replaced cannot be as it was.
        let is_ending =
            |account: &Account| account.attributes.get(&Attribute::Expires).is_some_and(|when| when == "now");
        let back = match &before {
            None => Back::By(vec![sql(&format!("DROP USER {named};\n"))]),
            Some(before) if is_identified || (is_ending(&after) && !is_ending(before)) => Back::None,
            Some(_) => Back::By(vec![sql(&(altering(&after, &now) + &granting(&named, &after.grants, &now.grants)))]),
        };
        let states = (before.map_or("absent".into(), |before| before.text()), after.text());
        let change = Change::state(what, probe, states, vec![sql(&by)]);
        Ok(change.map(|change| (self.secret(change.taken_back(back), is_identified), is_identified)))
    }

    /// Gives an account what identifies its user; says whether that is anything new.
    fn identify(
        &self,
        (server, identity): (&Server, &Identity),
        (named, is_there): (&str, bool),
        account: &mut Account,
    ) -> Result<bool, ModuleError> {
        if is_there && identity.on_create {
            return Ok(false);
        }
        let had = account.clone();
        let plugin = identity.plugin.as_ref();
        let is_other = plugin.is_some_and(|plugin| had.attributes.get(&Attribute::Plugin) != Some(plugin));
        account.attributes.extend(plugin.map(|plugin| (Attribute::Plugin, plugin.clone())));
        match identity.kept(server) {
            Kept::Same if is_other => account.password = "none".into(),
            Kept::Same => {}
            Kept::Known(hash) => account.password = server.shown(&hash),
            Kept::Hash(_) if is_other => account.password = "set".into(),
            Kept::Hash(_) => {
                let message =
                    format!("nobody can say whether the hash that {named} has is that of `plugin_auth_string`");
                let hint = "give `plugin_hash_string`, or `update_password: on_create`";
                return Err(ModuleError::failed(format!("{message}\nhint: {hint}")));
            }
        }
        Ok(is_other || account.password != had.password)
    }

    /// Hides the statements of a change where a password is in them, or goes before them.
    fn secret(&self, change: Change, is_identified: bool) -> Change {
        if is_identified || self.given.login.has_secret() { change.with_secret_commands() } else { change }
    }

    fn probe(&self, (server, identity): (&Server, &Identity), from: &str, named: &str) -> Command {
        let whose = format!("User = {} AND Host = {}", literal::text(&self.given.name), literal::text(from));
        let column = server.column(identity.plugin.is_some());
        let shown = match identity.kept(server) {
            Kept::Hash(_) => "'set'".to_string(),
            _ => literal::fingerprinting(column),
        };
        let mut sql = format!(
            "SELECT IFNULL((SELECT CONCAT('password: ', IF(IFNULL({column}, '') = '', 'none', {shown})) FROM mysql.user WHERE \
             {whose}), 'absent');\n"
        );
        let told = Attribute::ALL.into_iter().filter(|attribute| match attribute {
            Attribute::Plugin => identity.plugin.is_some(),
            other => other.is_known(server),
        });
        sql.extend(told.map(|attribute| attribute.query(server, &whose)));
        let grants = quote(&format!("SHOW GRANTS FOR {named}"));
        self.given.login.looking(&sql, &format!("[ \"$said\" = absent ] || again {grants} | {GRANTS}"))
    }
}
