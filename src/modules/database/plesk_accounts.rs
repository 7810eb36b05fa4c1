//! `plesk_accounts`: mail accounts of another host's panel are taken over by this one's program, or else into its database.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;

use crate::change::Change;
use crate::host::View;
use crate::modules::{Argument, Entry, Kind, Module, ModuleError, Planned, Results};

use super::literal::Cell;
use super::panel::{self, Access, Account, PANEL, Panel, Password, text};
use super::planned::{self, Current};
use super::plesk_answers;
use super::plesk_program::{self, Programs, State};
use super::rows::{self, Cells, Row, of};
use super::schema::{Default, Server, Table};

pub const ENTRY: Entry = Entry {
    name: "plesk_accounts",
    summary: "Takes mail accounts over from another host's panel: names, passwords, quotas, aliases, redirects, groups",
    arguments: &[ARGUMENTS, PANEL[0], PANEL[1]],
    free_form: None,
    example: "\
- name: The accounts of the old panel
  plesk_accounts:
    from: old
    domains: example.com
",
    build: |arguments| {
        let given: Given = arguments.read()?;
        let here: Access = arguments.read()?;
        let there = here.with_database(given.from_database.as_deref());
        Ok(Box::new(PleskAccounts { given, here, there }))
    },
};

const ARGUMENTS: &[Argument] = &[
    Argument::new("from", Kind::Text, "The host of the inventory whose accounts this one is to take over.").required(),
    Argument::new("domains", Kind::List, "Their domains; `all`, the default, means all that `from` has."),
    Argument::new("from_database", Kind::Text, "The panel's database on `from`; `database` unless given."),
    Argument::new(
        "way",
        Kind::Text,
        "How accounts are made here: by the panel's `program`, which writes the tables and qmail's files itself, or in its \
         `tables`, all in one transaction. The default, `auto`, is the program where there is one that takes passwords from its \
         environment (it knows `-forwarding-addresses`).",
    )
    .choices(&["auto", "program", "tables"]),
    Argument::new(
        "programs",
        Kind::Path,
        "The directory of the panel's programs `mail` and `autoresponder` here; `/usr/local/psa/bin` or `/opt/psa/bin` unless given.",
    ),
    Argument::new("mailnames", Kind::Path, "Where the mailboxes lie here; `/var/qmail/mailnames` unless given."),
];

#[derive(Deserialize)]
struct Given {
    from: String,
    #[serde(default)]
    domains: Vec<String>,
    from_database: Option<String>,
    #[serde(default)]
    way: Way,
    programs: Option<String>,
    mailnames: Option<String>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Way {
    #[default]
    Auto,
    Program,
    Tables,
}

struct PleskAccounts {
    given: Given,
    here: Access,
    there: Access,
}

/// An account to be taken over, and the number of its domain here.
struct Wanted<'a> {
    address: String,
    name: &'a str,
    domain: String,
    account: &'a Account,
    /// The password is the one that this host has already, whatever it keeps it as.
    has_password: bool,
}

#[async_trait]
impl Module for PleskAccounts {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let peer = host.peer(&self.given.from).await?;
        let old = Panel::read(&peer, &self.there, true);
        let (old, server) = futures::future::try_join(old, panel::look(host, &self.here)).await?;
        let domains = old.select(&self.given.domains, &self.given.from)?;
        let new = Panel::read(host, &self.here, true).await?;
        let mut problems = Vec::new();
        let mut wanted = Vec::new();
        for domain in &domains {
            let Some(here) = new.domains.get(domain) else {
                problems.push(format!("the panel of `{}` has no domain `{domain}`: make it there first", host.name));
                continue;
            };
            for (name, account) in old.domains.get(domain).iter().flat_map(|domain| &domain.accounts) {
                let address = format!("{name}@{domain}");
                problems.extend(refused(&address, &account.password, &self.given.from));
                let ours = here.accounts.get(name).and_then(|account| account.password.secret());
                let has_password = ours.is_some() && ours == account.password.secret();
                wanted.push(Wanted { address, name, domain: here.id.clone(), account, has_password });
            }
        }
        if !problems.is_empty() {
            return Err(ModuleError::failed(problems.join("\n")));
        }
        let programs = match self.given.way {
            Way::Tables => None,
            way => match plesk_program::find(host, self.given.programs.as_deref()).await? {
                None if way == Way::Program => {
                    let message =
                        format!("`{}` has no program of a panel that takes passwords from its environment", host.name);
                    return Err(ModuleError::failed(format!(
                        "{message}\nhint: `way: tables` writes into the panel's tables"
                    )));
                }
                directory => directory,
            },
        };
        let mut result = Results::new();
        result.insert("accounts".into(), json!(wanted.iter().map(|want| &want.address).collect::<Vec<_>>()));
        result.insert("way".into(), json!(if programs.is_some() { "program" } else { "tables" }));
        if let Some(directory) = programs {
            let mailnames = self.given.mailnames.clone().unwrap_or_else(|| "/var/qmail/mailnames".into());
            let programs = Programs { directory, mailnames };
            let (changes, warnings) = self.by_program(host, (&server, &new), (&programs, &wanted))?;
            return Ok(Planned { warnings, ..Planned::new(changes, result) });
        }
        let mut warnings = Vec::new();
        for want in &wanted {
            let here = new.domains.get(domain_of(&want.address)).and_then(|domain| domain.accounts.get(want.name));
            let (answer, told) = plesk_answers::of(&want.address, want.account);
            warnings.extend(told);
            let is_here = answer.is_some_and(|answer| here.is_some_and(|here| here.answers.contains(answer)));
            if answer.is_some() && !is_here {
                warnings.push(format!(
                    "the automatic answer of `{}` does not come over: only the panel's program makes one work\nhint: set it up in \
                     the panel of `{}`; `mail_resp` on `{}` has its text",
                    want.address, host.name, self.given.from
                ));
            }
        }
        let tables = Tables::of(&server, &self.here.database)?;
        let found = self.found(host, &tables, &wanted).await?;
        // Some servers say late what number comes next; above all that are there it is in any case.
        let next = new.highest.iter().map(|(table, highest)| (table.clone(), highest + 1)).collect();
        let planned = Taking { host, tables: &tables, next, rows: Vec::new() };
        let mut rows = planned.rows(&wanted, found)?;
        for table in [tables.aliases, tables.members].into_iter().flatten() {
            self.look_for(host, (&server, table), &mut rows).await?;
        }
        let changes = rows::change(&server, &self.here.login(), &rows).into_iter().collect();
        Ok(Planned { warnings, ..Planned::new(changes, result) })
    }
}

/// Says why a password cannot be taken over: one that is encrypted with a host's key is nothing on another.
fn refused(address: &str, password: &Password, from: &str) -> Option<String> {
    match password {
        Password::Sealed(None) => Some(format!(
            "the password of `{address}` is encrypted with the key of `{from}`, and worth nothing here\nhint: `mail_auth_view` on \
             `{from}` shows it, to root; or set another one"
        )),
        Password::Other(kind) => {
            Some(format!("the password of `{address}` is of the type `{kind}`, which nobody knows"))
        }
        _ => None,
    }
}

/// The tables of this host's panel that take accounts.
struct Tables<'a> {
    server: &'a Server,
    mail: &'a Table,
    accounts: &'a Table,
    aliases: Option<&'a Table>,
    members: Option<&'a Table>,
}

impl<'a> Tables<'a> {
    fn of(server: &'a Server, database: &str) -> Result<Tables<'a>, ModuleError> {
        let [mail, accounts] = [server.table(database, "mail")?, server.table(database, "accounts")?];
        let other =
            |name: &str, column: &str| server.tables.get(name).filter(|table| table.has("mn_id") && table.has(column));
        let (aliases, members) = (other("mail_aliases", "alias"), other("mail_redir", "address"));
        for table in [Some(mail), Some(accounts), aliases, members].into_iter().flatten() {
            table.check_engine()?;
        }
        Ok(Tables { server, mail, accounts, aliases, members })
    }
}

/// What this host has of the accounts: the row in `mail`, and that in `accounts`.
type Found = Vec<(Option<Current>, Option<Current>)>;

impl PleskAccounts {
    /// Returns the calls of the panel's program, and what has to be told.
    fn by_program(
        &self,
        host: &View,
        (server, new): (&Server, &Panel),
        (programs, wanted): (&Programs, &[Wanted<'_>]),
    ) -> Result<(Vec<Change>, Vec<String>), ModuleError> {
        let (mut changes, mut warnings, mut answering) = (Vec::new(), Vec::new(), Vec::new());
        if let Some(row) = host.planned_parts_of(&format!("row {}.", self.here.database)).first() {
            return Err(ModuleError::Unknown(format!("`{row}`, which an earlier task changes").into()));
        }
        let place = (&self.here, server);
        for want in wanted {
            let here = new.domains.get(domain_of(&want.address)).and_then(|domain| domain.accounts.get(want.name));
            let state = here.map(State::of);
            let nothing = State { quota: 0, ..State::default() };
            let after = state.as_ref().unwrap_or(&nothing).with(&State::of(want.account));
            changes.extend(plesk_program::change(place, programs, &want.address, (state.as_ref(), &after))?);
            let (answer, told) = plesk_answers::of(&want.address, want.account);
            warnings.extend(told);
            let Some(answer) = answer else { continue };
            let on = here.and_then(|here| here.answers.iter().find(|answer| answer.is_on));
            answering.extend(plesk_answers::change(place, programs, &want.address, (on, answer))?);
        }
        if !answering.is_empty() {
            warnings.push(format!(
                "automatic answers come over with subject and text; their attachments are files in `@attachments`, which come with the \
                 mail: attach them in the panel of `{}` again",
                host.name
            ));
        }
        changes.extend(answering);
        Ok((changes, warnings))
    }
}

fn domain_of(address: &str) -> &str {
    address.rsplit_once('@').map_or("", |(_, domain)| domain)
}

impl PleskAccounts {
    async fn found(&self, host: &View, tables: &Tables<'_>, wanted: &[Wanted<'_>]) -> Result<Found, ModuleError> {
        let login = self.here.login();
        let keys: Vec<Cells> = wanted.iter().map(mail_key).collect();
        let mail = planned::rows(host, &login, (tables.server, tables.mail), &keys).await?;
        let ids: Vec<Option<Cells>> = mail
            .iter()
            .map(|row| row.as_ref().map(|row| text(&row.cells, "account_id")).filter(|id| !id.is_empty() && id != "0"))
            .map(|id| id.map(|id| vec![cell("id", &id)]))
            .collect();
        let keys: Vec<Cells> = ids.iter().flatten().cloned().collect();
        let mut accounts = planned::rows(host, &login, (tables.server, tables.accounts), &keys).await?.into_iter();
        let account = ids.iter().map(|id| id.as_ref().and_then(|_| accounts.next().flatten()));
        Ok(mail.into_iter().zip(account.collect::<Vec<_>>()).collect())
    }
}

impl PleskAccounts {
    /// Finds out which of a table's rows are there already.
    async fn look_for(
        &self,
        host: &View,
        (server, table): (&Server, &Table),
        rows: &mut [Row<'_>],
    ) -> Result<(), ModuleError> {
        let mut ours: Vec<&mut Row> = rows.iter_mut().filter(|row| row.table.name == table.name).collect();
        let keys: Vec<Cells> = ours.iter().map(|row| row.key.clone()).collect();
        let found = planned::rows(host, &self.here.login(), (server, table), &keys).await?;
        ours.iter_mut().zip(found).for_each(|(row, found)| row.before = found.map(|found| found.cells));
        Ok(())
    }
}

fn mail_key(want: &Wanted) -> Cells {
    vec![cell("dom_id", &want.domain), cell("mail_name", want.name)]
}

fn cell(name: &str, value: &str) -> (String, Cell) {
    (name.into(), Some(value.as_bytes().to_vec()))
}

fn truth(flag: bool) -> &'static str {
    if flag { "true" } else { "false" }
}

/// The rows that are put together, and the numbers that new ones get.
struct Taking<'a> {
    host: &'a View,
    tables: &'a Tables<'a>,
    next: BTreeMap<String, u64>,
    rows: Vec<Row<'a>>,
}

impl<'a> Taking<'a> {
    fn rows(mut self, wanted: &[Wanted<'_>], found: Found) -> Result<Vec<Row<'a>>, ModuleError> {
        for (want, (mail, account)) in wanted.iter().zip(found) {
            let known =
                mail.as_ref().map(|mail| text(&mail.cells, "account_id")).filter(|id| !id.is_empty() && id != "0");
            let account_id = self.account(want, known, account);
            let id = match &mail {
                Some(mail) => text(&mail.cells, "id"),
                None => self.number(self.tables.mail).to_string(),
            };
            self.mail(want, (&id, &account_id), mail)?;
            let (aliases, members) = (self.tables.aliases, self.tables.members);
            self.several(aliases, (&id, "alias"), want.account.aliases.iter())?;
            self.several(members, (&id, "address"), want.account.group.iter())?;
        }
        Ok(self.rows)
    }

    /// Returns the number of the next row of a table: above all that are there, were there, or are planned.
    fn number(&mut self, table: &Table) -> u64 {
        let planned = self.host.planned_parts_of(&format!("{} ", rows::stem(table)));
        let texts = planned.iter().flat_map(|name| [vec![name.clone()], self.host.planned_parts(name)].concat());
        let id = |text: String| {
            text.split([' ', ':']).find_map(|word| word.strip_prefix("id=")?.trim_end_matches(':').parse::<u64>().ok())
        };
        let highest = texts.filter_map(id).max().map_or(0, |id| id + 1);
        let next = self.next.entry(table.name.clone()).or_insert(1);
        *next = (*next).max(highest).max(table.next.unwrap_or(1));
        *next += 1;
        *next - 1
    }

    /// Puts the password into `accounts`; returns the number of its row.
    fn account(&mut self, want: &Wanted, known: Option<String>, found: Option<Current>) -> String {
        if let Some(known) = known.as_ref().filter(|_| want.has_password) {
            return known.clone();
        }
        let (kind, secret) = match &want.account.password {
            Password::Plain(secret) => ("plain", secret),
            // Set anew: this host's panel encrypts it with its own key when it next has it in hand.
            Password::Sealed(Some(secret)) => ("plain", secret),
            Password::Crypt(hash) => ("crypt", hash),
            Password::None | Password::Sealed(None) | Password::Other(_) => return known.unwrap_or_else(|| "0".into()),
        };
        let table = self.tables.accounts;
        let id = known.unwrap_or_else(|| self.number(table).to_string());
        let after = vec![cell("id", &id), cell("type", kind), cell("password", secret)];
        self.put(table, vec![cell("id", &id)], (found, after));
        id
    }

    fn mail(&mut self, want: &Wanted, (id, account): (&str, &str), found: Option<Current>) -> Result<(), ModuleError> {
        let table = self.tables.mail;
        let old = want.account;
        let mut after = mail_key(want);
        let mut set = |name: &str, value: &str| {
            if table.has(name) {
                after.push(cell(name, value));
            }
        };
        set("id", id);
        set("account_id", account);
        set("postbox", truth(old.mailbox));
        let here = found.as_ref().map(|found| text(&found.cells, "mbox_quota"));
        set("mbox_quota", &larger(old.quota, here.and_then(|quota| quota.parse().ok())).to_string());
        set("redirect", truth(old.redirect.is_some()));
        if let Some(to) = &old.redirect {
            set("redir_addr", to);
        }
        set("mail_group", truth(old.is_group));
        if found.is_none() {
            // Flags that both versions have; what else they keep is the panel's.
            for name in ["spamfilter", "virusfilter", "perm_id"] {
                let value = of(&old.row, name);
                let taken = |column: &super::schema::Column| match value.as_deref().map(String::from_utf8_lossy) {
                    Some(text) => column.members.is_empty() || column.members.iter().any(|member| *member == text),
                    None => false,
                };
                let own_number = name == "perm_id";
                if let Some(column) =
                    table.columns.iter().find(|column| column.name == name && !own_number).filter(|c| taken(c))
                {
                    after.push((column.name.clone(), value.clone()));
                }
            }
            let given = |name: &str| after.iter().any(|(cell, _)| cell == name);
            let lacking = table.columns.iter().find(|column| {
                column.default == Default::None && !column.auto_increment && !column.generated && !given(&column.name)
            });
            if let Some(column) = lacking {
                let message =
                    format!("`{}` has a column `{}` that needs a value nobody knows", table.called(), column.name);
                let hint = "hint: make the account with the panel first; it is then only brought up to date";
                return Err(ModuleError::failed(format!("{message}: `{}`\n{hint}", want.address)));
            }
        }
        self.put(table, mail_key(want), (found, after));
        Ok(())
    }

    /// Puts aliases or members of a group in, where they are not there; none is taken out.
    fn several<'b>(
        &mut self,
        table: Option<&'a Table>,
        (id, column): (&str, &str),
        values: impl Iterator<Item = &'b String>,
    ) -> Result<(), ModuleError> {
        for value in values {
            let Some(table) = table else {
                let message = format!("the panel of `{}` has no table for `{value}`", self.host.name);
                return Err(ModuleError::failed(format!("{message}, a name or member that the old one has")));
            };
            let key = vec![cell("mn_id", id), cell(column, value)];
            self.rows.push(Row { table, key: key.clone(), before: None, after: Some(key), shown: BTreeMap::new() });
        }
        Ok(())
    }

    fn put(&mut self, table: &'a Table, key: Cells, (found, after): (Option<Current>, Cells)) {
        let (before, shown) = match found {
            Some(found) => (Some(found.cells), found.shown),
            None => (None, BTreeMap::new()),
        };
        self.rows.push(Row { table, key, before, after: Some(after), shown });
    }
}

/// The larger of two quotas in bytes, of which -1 (or less) is none at all: a smaller one would make mail bounce.
fn larger(old: i64, here: Option<i64>) -> i64 {
    match here {
        Some(here) if old < 0 || here < 0 => here.min(-1).min(old.min(-1)).max(-1),
        Some(here) => old.max(here),
        None => old.max(-1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_never_smaller_than_on_the_old_host() {
        for (old, here, expected) in [
            (10, Some(5), 10),
            (10, Some(20), 20),
            (-1, Some(20), -1),
            (10, Some(-1), -1),
            (10, None, 10),
            (-1, None, -1),
        ] {
            assert_eq!(larger(old, here), expected, "{old} {here:?}");
        }
    }
}
