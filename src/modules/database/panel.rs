//! What Plesk's database says of mail: accounts of domains, through whatever tables and columns this version has.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::host::View;
use crate::modules::{Argument, Kind, ModuleError};
use crate::transport::{Command, Links, Want};

use super::literal::{self, Cell, cells};
use super::planned::named;
use super::rows::{Cells, of};
use super::schema::{self, Server, Table};
use super::{LOGIN, Login};

/// Arguments of the modules that read a panel, beside those of a login.
pub const PANEL: &[&[Argument]] = &[
    &[
        Argument::new("database", Kind::Text, "The panel's database. The default is `psa`."),
        Argument::new(
            "mail_auth_view",
            Kind::Path,
            "The panel's program that shows encrypted passwords. The default is `/usr/local/psa/admin/sbin/mail_auth_view`, or the same \
             below `/opt/psa`.",
        ),
    ],
    LOGIN,
];

/// How a host's panel is reached. Without any argument of a login it is Plesk's own user, with its own file.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Access {
    #[serde(default = "psa")]
    pub database: String,
    #[serde(default = "auth_view")]
    mail_auth_view: String,
    #[serde(flatten)]
    login: Login,
}

fn psa() -> String {
    "psa".into()
}

fn auth_view() -> String {
    "/usr/local/psa/admin/sbin/mail_auth_view".into()
}

const SHADOW: &str = "/etc/psa/.psa.shadow";

impl Access {
    pub fn login(&self) -> Login {
        let mut login = self.login.clone();
        if login.login_user.is_none() && !login.has_secret() && login.login_password_file.is_none() {
            login.login_user = Some("admin".into());
            login.login_password_file = Some(SHADOW.into());
        }
        login
    }

    pub fn mail_auth_view(&self) -> &str {
        &self.mail_auth_view
    }

    /// The same with another database, where one is named.
    pub fn with_database(&self, name: Option<&str>) -> Access {
        Access { database: name.unwrap_or(&self.database).into(), ..self.clone() }
    }

    /// Says whether the host has a panel to be asked: one that is named, or Plesk's file.
    pub async fn is_there(&self, host: &View) -> Result<bool, ModuleError> {
        if self.login().login_password_file.as_deref() != Some(SHADOW) {
            return Ok(true);
        }
        let found = host.look_all(&[(SHADOW.into(), Links::Follow)], Want::Attributes).await?;
        Ok(found.iter().any(|node| node.exists()))
    }
}

/// The domains with mail, by name.
#[derive(Clone, Debug, Default)]
pub struct Panel {
    pub domains: BTreeMap<String, Domain>,
    /// The highest number of a row, by table.
    pub highest: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, Default)]
pub struct Domain {
    pub id: String,
    /// By the part before the `@`.
    pub accounts: BTreeMap<String, Account>,
    /// What is done with mail for nobody, where the database says so.
    pub nobody: Option<String>,
}

#[derive(Clone, Debug, Default)]
pub struct Account {
    pub mailbox: bool,
    /// In bytes; -1 is none.
    pub quota: i64,
    pub aliases: BTreeSet<String>,
    pub redirect: Option<String>,
    /// Members of a mail group.
    pub group: BTreeSet<String>,
    pub is_group: bool,
    pub autoresponder: bool,
    /// Automatic answers, where the panel keeps them in a table that is known.
    pub answers: Vec<Answer>,
    pub password: Password,
    /// The columns of its row in `mail`.
    pub row: Cells,
}

/// An automatic answer (`mail_resp`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub is_on: bool,
    pub subject: String,
    pub text: String,
    pub is_html: bool,
    /// What a message must have in its subject or body to be answered; empty is nothing.
    pub condition: String,
}

/// A password as the panel keeps it (`accounts.type`).
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Password {
    #[default]
    None,
    Plain(String),
    Crypt(String),
    /// Encrypted with the host's own key, and what it is where the host has told.
    Sealed(Option<String>),
    /// Of a type that nobody knows.
    Other(String),
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.kind())
    }
}

impl Password {
    fn new(kind: &str, text: &str) -> Password {
        match kind {
            _ if text.is_empty() => Password::None,
            "plain" if text.starts_with("$AES-") => Password::Sealed(None),
            "plain" => Password::Plain(text.into()),
            "crypt" => Password::Crypt(text.into()),
            "sym" => Password::Sealed(None),
            other => Password::Other(other.into()),
        }
    }

    /// Returns what it lets in, and whether that is a hash.
    pub fn secret(&self) -> Option<(&str, bool)> {
        match self {
            Password::Plain(text) | Password::Sealed(Some(text)) => Some((text, false)),
            Password::Crypt(hash) => Some((hash, true)),
            Password::None | Password::Sealed(None) | Password::Other(_) => None,
        }
    }

    pub fn kind(&self) -> &str {
        match self {
            Password::None => "none",
            Password::Plain(_) => "plain",
            Password::Crypt(_) => "crypt",
            Password::Sealed(_) => "sym",
            Password::Other(kind) => kind,
        }
    }
}

/// Tables of some version or another that tell of mail.
const TABLES: [&str; 6] = ["domains", "mail", "accounts", "mail_aliases", "mail_redir", "mail_resp"];

/// Looks at the tables of a panel's database.
pub async fn look(host: &View, access: &Access) -> Result<Server, ModuleError> {
    let server = Server::look(host, &access.login(), (&access.database, &TABLES)).await?;
    for (table, columns) in [
        ("domains", &["id", "name"][..]),
        ("mail", &["id", "mail_name", "dom_id", "account_id"]),
        ("accounts", &["id", "type", "password"]),
    ] {
        let table = server.table(&access.database, table)?;
        columns.iter().try_for_each(|column| table.column(column).map(drop))?;
    }
    Ok(server)
}

impl Panel {
    /// Reads all of it. Passwords that are encrypted are asked for only with `secrets`.
    pub async fn read(host: &View, access: &Access, secrets: bool) -> Result<Panel, ModuleError> {
        let server = look(host, access).await?;
        let tables: Vec<&Table> = TABLES.iter().filter_map(|name| server.tables.get(*name)).collect();
        let all = |(index, table): (usize, &&Table)| {
            let place = format!("{}.{}", literal::name(&table.database), literal::name(&table.name));
            format!("SELECT CONCAT('{index} ', {}) FROM {place};\n", table.whole(&server.charset))
        };
        let sql: String = tables.iter().enumerate().map(all).collect();
        let text = schema::answer(host, &access.login(), &sql).await?;
        let mut rows: BTreeMap<&str, Vec<Cells>> = BTreeMap::new();
        for (index, line) in text.lines().filter_map(|line| line.split_once(' ')) {
            let table = index.parse::<usize>().ok().and_then(|index| tables.get(index));
            if let Some((table, row)) = table.zip(cells(line)) {
                rows.entry(table.name.as_str()).or_default().push(named(table, row));
            }
        }
        let mut panel = Panel::made_of(&rows);
        let sealed = |account: &Account| account.password == Password::Sealed(None);
        if secrets && panel.domains.values().flat_map(|domain| domain.accounts.values()).any(sealed) {
            panel.unseal(&auth_table(host, &access.mail_auth_view).await?);
        }
        Ok(panel)
    }

    fn made_of(rows: &BTreeMap<&str, Vec<Cells>>) -> Panel {
        let table = |name: &str| rows.get(name).map(Vec::as_slice).unwrap_or_default();
        // What belongs to an account, by its number.
        let several = |name: &str, column: &str| {
            let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
            for row in table(name) {
                found.entry(text(row, "mn_id")).or_default().insert(text(row, column));
            }
            found
        };
        let (aliases, members) = (several("mail_aliases", "alias"), several("mail_redir", "address"));
        let mut answers: BTreeMap<String, Vec<Answer>> = BTreeMap::new();
        for row in table("mail_resp") {
            let answer = Answer {
                is_on: flag(row, "resp_on"),
                subject: text(row, "subject"),
                text: text(row, "text"),
                is_html: text(row, "content_type").to_lowercase().contains("html"),
                condition: text(row, "keystr").trim().to_string(),
            };
            answers.entry(text(row, "mn_id")).or_default().push(answer);
        }
        let passwords: BTreeMap<String, Password> = table("accounts")
            .iter()
            .map(|row| (text(row, "id"), Password::new(&text(row, "type"), &text(row, "password"))))
            .collect();
        let mut panel = Panel::default();
        for (name, rows) in rows {
            let highest = rows.iter().filter_map(|row| text(row, "id").parse().ok()).max();
            panel.highest.extend(highest.map(|highest| (name.to_string(), highest)));
        }
        let mut names = BTreeMap::new();
        for row in table("domains") {
            let name = text(row, "name").to_lowercase();
            names.insert(text(row, "id"), name.clone());
            let nobody = ["nonexist_mail", "catch_addr"].map(|column| text(row, column)).join(" ").trim().to_string();
            let nobody = Some(nobody).filter(|nobody| !nobody.is_empty());
            panel.domains.insert(name, Domain { id: text(row, "id"), nobody, ..Domain::default() });
        }
        for row in table("mail") {
            let Some(domain) = names.get(&text(row, "dom_id")).and_then(|name| panel.domains.get_mut(name)) else {
                continue;
            };
            let id = text(row, "id");
            let account = Account {
                mailbox: flag(row, "postbox"),
                quota: text(row, "mbox_quota").parse().unwrap_or(-1),
                aliases: aliases.get(&id).cloned().unwrap_or_default(),
                redirect: Some(text(row, "redir_addr")).filter(|to| flag(row, "redirect") && !to.is_empty()),
                is_group: flag(row, "mail_group"),
                group: members.get(&id).cloned().unwrap_or_default(),
                autoresponder: flag(row, "autoresponder"),
                answers: answers.get(&id).cloned().unwrap_or_default(),
                password: passwords.get(&text(row, "account_id")).cloned().unwrap_or_default(),
                row: row.clone(),
            };
            domain.accounts.insert(text(row, "mail_name").to_lowercase(), account);
        }
        panel
    }

    fn unseal(&mut self, told: &BTreeMap<String, String>) {
        for (domain, accounts) in self.domains.iter_mut().map(|(name, domain)| (name, &mut domain.accounts)) {
            for (name, account) in accounts.iter_mut() {
                if account.password == Password::Sealed(None) {
                    account.password = Password::Sealed(told.get(&format!("{name}@{domain}")).cloned());
                }
            }
        }
    }

    /// Returns the domains that are asked for; one that is not there is an error.
    pub fn select(&self, asked: &[String], host: &str) -> Result<Vec<String>, ModuleError> {
        let asked: Vec<String> =
            asked.iter().map(|name| name.trim().to_lowercase()).filter(|name| !name.is_empty()).collect();
        if asked.is_empty() || asked == ["all"] {
            return Ok(self.domains.keys().cloned().collect());
        }
        match asked.iter().find(|name| !self.domains.contains_key(*name)) {
            Some(name) => {
                let near = crate::error::nearest(name, self.domains.keys().map(String::as_str));
                let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
                Err(ModuleError::failed(format!("the panel of `{host}` has no domain `{name}`{hint}")))
            }
            None => Ok(asked),
        }
    }
}

impl Domain {
    /// What may be shown of it.
    pub fn facts(&self) -> Value {
        let accounts = self.accounts.iter().map(|(name, account)| {
            let facts = json!({
                "mailbox": account.mailbox, "password": account.password.kind(), "quota": account.quota,
                "aliases": account.aliases, "redirect": account.redirect, "autoresponder": account.autoresponder,
                "group": if account.is_group { json!(account.group) } else { Value::Null },
            });
            (name.clone(), facts)
        });
        json!({"id": self.id.parse::<u64>().ok(), "nobody": self.nobody, "accounts": accounts.collect::<serde_json::Map<_, _>>()})
    }
}

/// Asks the panel's own program for passwords: `| address | flags | password |`. Only those without flags can be had again.
async fn auth_table(host: &View, program: &str) -> Result<BTreeMap<String, String>, ModuleError> {
    let script = "for view in \"$1\" /opt/psa/admin/sbin/mail_auth_view; do [ ! -x \"$view\" ] || exec \"$view\"; done";
    let output = host.probe(&Command::argv(["/bin/sh", "-c", script, "sh", program])).await?;
    if !output.success() {
        let said = output.error_text();
        return Err(ModuleError::failed(format!("`{program}` on `{}` fails: {}", host.name, said.trim_end())));
    }
    Ok(read_auth_table(&output.text()))
}

fn read_auth_table(text: &str) -> BTreeMap<String, String> {
    let row = |line: &str| {
        let inner = line.trim_end().strip_prefix('|')?.strip_suffix('|')?;
        let mut fields = inner.splitn(3, '|');
        let (address, flags, password) = (fields.next()?.trim(), fields.next()?.trim(), fields.next()?);
        // The columns are filled up with spaces; one belongs to the frame.
        let password = password.strip_prefix(' ').unwrap_or(password).trim_end();
        (address.contains('@') && flags.is_empty()).then(|| (address.to_lowercase(), password.to_string()))
    };
    text.lines().filter_map(row).collect()
}

pub fn text(row: &Cells, column: &str) -> String {
    shown(&of(row, column))
}

fn shown(cell: &Cell) -> String {
    cell.as_deref().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default()
}

fn flag(row: &Cells, column: &str) -> bool {
    ["true", "1", "y", "yes"].contains(&text(row, column).to_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_passwords_that_can_be_had_again_are_read() {
        let table = "+-----+\n|  address  | flags |  password |\n| Ann@example.com |       | a|b c   |\n| bob@example.com | crypt | $1$x |\n+---+\n";
        assert_eq!(read_auth_table(table), [("ann@example.com".into(), "a|b c".into())].into());
    }

    #[test]
    fn a_password_is_known_by_its_type_and_never_printed() {
        for (kind, text, told) in [
            ("plain", "x", "plain"),
            ("sym", "$AES-128-CBC$a$b", "sym"),
            ("plain", "$AES-128-CBC$a$b", "sym"),
            ("crypt", "$1$a$b", "crypt"),
            ("plain", "", "none"),
        ] {
            assert_eq!(format!("{:?}", Password::new(kind, text)), told);
        }
    }
}
