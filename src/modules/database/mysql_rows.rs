//! `mysql_rows`: rows of a table, there with these values or not there, all of a task in one transaction.

use std::collections::BTreeSet;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Planned, Results, State};

use super::planned::{self, Current};
use super::rows::{self, Cells, Row};
use super::schema::{self, Column, Server, Table};
use super::{LOGIN, Login};

pub const ENTRY: Entry = Entry {
    name: "mysql_rows",
    summary: "Puts rows into a table of MySQL or MariaDB, changes or removes them, all in one transaction",
    arguments: &[ARGUMENTS, LOGIN],
    free_form: None,
    example: "\
- name: ann has more room
  mysql_rows:
    database: psa
    table: mail
    key: [dom_id, mail_name]
    rows:
      - {dom_id: 31, mail_name: ann, mbox_quota: 20971520}
",
    build,
};

const ARGUMENTS: &[Argument] = &[
    Argument::new("database", Kind::Text, "The database that has the table.").required().alias(&["login_db"]),
    Argument::new("table", Kind::Text, "The table.").required(),
    Argument::new(
        "rows",
        Kind::Any,
        "A list of mappings from column to value. `null` is NULL, `{hex: DIGITS}` is bytes. Columns that are not named stay as \
         they are; with `state: absent` those of the key are enough.",
    )
    .required(),
    Argument::new("key", Kind::List, "The columns that a row is found by. The default is the table's primary key."),
    Argument::new("state", Kind::Text, "Whether the rows shall be there. The default is `present`.")
        .choices(&["present", "absent"]),
    Argument::new(
        "hidden",
        Kind::List,
        "Columns whose values are shown as fingerprints only, beside those whose names speak of passwords or secrets.",
    ),
];

#[derive(Deserialize)]
struct MysqlRows {
    database: String,
    table: String,
    rows: Value,
    key: Option<Vec<String>>,
    #[serde(default)]
    state: State,
    #[serde(default)]
    hidden: Vec<String>,
    #[serde(flatten)]
    login: Login,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let task: MysqlRows = arguments.read()?;
    for row in task.listed() {
        if row.as_object().is_none_or(|row| row.is_empty()) {
            return Err(Diagnostic::new("`rows` of `mysql_rows` should be a list of mappings from column to value"));
        }
    }
    Ok(Box::new(task))
}

#[async_trait]
impl Module for MysqlRows {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let mut server = Server::look(host, &self.login, (&self.database, &[&self.table])).await?;
        let key = self.key(server.table(&self.database, &self.table)?)?;
        self.hide(&mut server)?;
        let table = server.table(&self.database, &self.table)?;
        table.check_engine()?;
        let mut wanted = Vec::new();
        let mut seen = BTreeSet::new();
        for row in self.listed().iter().filter_map(Value::as_object) {
            let (found_by, cells) = self.wanted(table, &key, row)?;
            if !seen.insert(rows::name(table, &found_by)) {
                let name = rows::name(table, &found_by);
                return Err(ModuleError::failed(format!("`{name}` is named twice in `rows`")));
            }
            wanted.push((found_by, cells));
        }
        let keys: Vec<Cells> = wanted.iter().map(|(key, _)| key.clone()).collect();
        let found = planned::rows(host, &self.login, (&server, table), &keys).await?;
        let mut planned = Vec::new();
        for ((key, cells), found) in wanted.into_iter().zip(found) {
            planned.extend(self.row(table, (key, cells), found)?);
        }
        let changes = rows::change(&server, &self.login, &planned).into_iter().collect();
        let mut result = Results::new();
        result.insert("table".into(), json!(table.called()));
        result.insert("rows".into(), json!(keys.iter().map(|key| rows::name(table, key)).collect::<Vec<_>>()));
        Ok(Planned::new(changes, result))
    }
}

impl MysqlRows {
    fn listed(&self) -> &[Value] {
        match &self.rows {
            Value::Array(rows) => rows,
            one => std::slice::from_ref(one),
        }
    }

    fn key(&self, table: &Table) -> Result<Vec<String>, ModuleError> {
        let key = match &self.key {
            Some(named) => named
                .iter()
                .map(|name| Ok(table.column(name)?.name.clone()))
                .collect::<Result<Vec<_>, ModuleError>>()?,
            None => table.columns.iter().filter(|column| column.primary).map(|column| column.name.clone()).collect(),
        };
        match key.is_empty() {
            true => {
                let message = format!("`{}` has no primary key", table.called());
                Err(ModuleError::failed(format!("{message}\nhint: name in `key` the columns that a row is found by")))
            }
            false => Ok(key),
        }
    }

    fn hide(&self, server: &mut Server) -> Result<(), ModuleError> {
        for name in &self.hidden {
            let name = server.table(&self.database, &self.table)?.column(name)?.name.clone();
            let columns = server.tables.values_mut().flat_map(|table| &mut table.columns);
            columns.filter(|column| column.name == name).for_each(|column| column.hidden = true);
        }
        Ok(())
    }

    /// Returns the key of a row, and all that is asked of it.
    fn wanted(&self, table: &Table, key: &[String], row: &Map<String, Value>) -> Result<(Cells, Cells), ModuleError> {
        let mut cells = Cells::new();
        for (name, value) in row {
            let column = table.column(name)?;
            if column.generated {
                return Err(ModuleError::failed(format!("column `{name}` is made by the server itself")));
            }
            cells.push((column.name.clone(), column.cell(value).map_err(ModuleError::failed)?));
        }
        let mut found_by = Cells::new();
        for name in key {
            let cell = cells.iter().find(|(cell, _)| cell == name);
            let cell = cell.filter(|(_, cell)| cell.is_some()).cloned();
            let missing =
                || ModuleError::failed(format!("a row of `{}` has no value for `{name}` of its key", table.called()));
            let column = table.column(name)?;
            if column.hidden {
                return Err(ModuleError::failed(format!("`{name}` is hidden: a row cannot be found by it")));
            }
            found_by.push(cell.ok_or_else(missing)?);
        }
        Ok((found_by, cells))
    }

    fn row<'a>(
        &self,
        table: &'a Table,
        (key, cells): (Cells, Cells),
        found: Option<Current>,
    ) -> Result<Option<Row<'a>>, ModuleError> {
        let (before, shown) = match found {
            Some(found) => (Some(found.cells), found.shown),
            None => (None, Default::default()),
        };
        let after = match (self.state, &before) {
            (State::Absent, None) => return Ok(None),
            (State::Absent, Some(_)) => None,
            (State::Present, Some(before)) => {
                known(before, &cells, &shown)?;
                Some(cells)
            }
            (State::Present, None) => {
                if let Some(column) = table.columns.iter().find(|column| lacks(column, &cells)) {
                    let message = format!("a new row of `{}` needs a value for `{}`", table.called(), column.name);
                    return Err(ModuleError::failed(message));
                }
                Some(cells)
            }
        };
        Ok(Some(Row { table, key, before, after, shown }))
    }
}

/// Says whether a new row cannot do without a value for a column.
fn lacks(column: &Column, cells: &Cells) -> bool {
    let given = cells.iter().any(|(name, _)| *name == column.name);
    !given && column.default == schema::Default::None && !column.auto_increment && !column.generated
}

/// A row that is only planned may have columns of which nobody knows what they will be.
fn known(before: &Cells, cells: &Cells, shown: &std::collections::BTreeMap<String, String>) -> Result<(), ModuleError> {
    let is_known = |name: &String| before.iter().any(|(known, _)| known == name) || shown.contains_key(name);
    match cells.iter().find(|(name, _)| !is_known(name)) {
        Some((name, _)) => Err(ModuleError::Unknown(
            format!("what the server puts into `{name}` of a row that is only planned").into(),
        )),
        None => Ok(()),
    }
}
