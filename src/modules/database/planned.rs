//! A row as it will be when a task comes to it: what the server has, and over it what earlier tasks of a check have planned.

use std::collections::BTreeMap;

use crate::host::View;
use crate::modules::ModuleError;

use super::Login;
use super::literal::{self, Cell, cells, read_shown};
use super::rows::{ABSENT, Cells, condition, name, simple, stem};
use super::schema::{self, Default, Server, Table};

/// A row that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Current {
    /// What is known of it.
    pub cells: Cells,
    /// As texts, where only a fingerprint is known.
    pub shown: BTreeMap<String, String>,
}

/// Returns the rows of a table that have these keys, in order; nothing for those that are not there.
pub async fn rows(
    host: &View,
    login: &Login,
    (server, table): (&Server, &Table),
    keys: &[Cells],
) -> Result<Vec<Option<Current>>, ModuleError> {
    let place = format!("{}.{}", literal::name(&table.database), literal::name(&table.name));
    let whole = table.whole(&server.charset);
    let one = |(index, key): (usize, &Cells)| {
        format!("SELECT CONCAT('{index} ', {whole}) FROM {place} WHERE {} LIMIT 2;\n", condition(table, key))
    };
    let sql: String = keys.iter().enumerate().map(one).collect();
    let text = if keys.is_empty() { String::new() } else { schema::answer(host, login, &sql).await? };
    let mut found: Vec<Option<Current>> = vec![None; keys.len()];
    for (index, line) in text.lines().filter_map(|line| line.split_once(' ')) {
        let Some((index, read)) = index.parse::<usize>().ok().zip(cells(line)) else { continue };
        let row = Current { cells: named(table, read), shown: BTreeMap::new() };
        match found.get_mut(index) {
            Some(empty @ None) => *empty = Some(row),
            Some(Some(_)) => {
                let name = name(table, &keys[index]);
                let hint = "hint: name more columns in `key`, so that one row alone is meant";
                return Err(ModuleError::failed(format!("`{name}` is more than one row\n{hint}")));
            }
            None => {}
        }
    }
    keys.iter().zip(found).map(|(key, found)| overlaid(host, table, (key, found))).collect()
}

/// Gives the values of a whole row their names.
pub fn named(table: &Table, values: Vec<Cell>) -> Cells {
    table.columns.iter().map(|column| column.name.clone()).zip(values).collect()
}

fn overlaid(
    host: &View,
    table: &Table,
    (key, found): (&Cells, Option<Current>),
) -> Result<Option<Current>, ModuleError> {
    let name = name(table, key);
    let parts = host.planned_parts(&name);
    let others = host.planned_parts_of(&format!("{} ", stem(table)));
    let columns: Vec<String> = key.iter().map(|(column, _)| simple(column)).collect();
    // Rows that an earlier task has found by other columns may be these.
    if let Some(other) = others
        .iter()
        .find(|other| other[stem(table).len()..].trim_start() != "" && !same_columns(other, table, &columns))
    {
        return Err(ModuleError::Unknown(format!("`{other}`, which an earlier task finds by other columns").into()));
    }
    let mut current = found;
    for part in parts {
        let state = part.get(name.len() + 2..).unwrap_or_default();
        current = match (state, current) {
            (ABSENT, _) => None,
            (state, current) => Some(with_state(current.unwrap_or_else(|| fresh(table, key)), table, state)),
        };
    }
    Ok(current)
}

/// Says whether a planned row's name has these columns for its key.
fn same_columns(name: &str, table: &Table, columns: &[String]) -> bool {
    let mut rest = name.get(stem(table).len()..).unwrap_or_default();
    let mut found = Vec::new();
    while let Some((column, after)) = next(rest, table) {
        found.push(column);
        rest = after.1;
    }
    found == columns
}

/// Reads one `column=value` of a row's text.
fn next<'a>(rest: &'a str, table: &Table) -> Option<(String, (Option<Cell>, &'a str))> {
    let rest = rest.trim_start();
    table.columns.iter().map(|column| simple(&column.name)).find_map(|column| {
        let value = rest.strip_prefix(column.as_str())?.strip_prefix('=')?;
        Some((column, read_shown(value)?))
    })
}

/// A row that is planned, in the columns that its task says nothing of.
fn fresh(table: &Table, key: &Cells) -> Current {
    let known = table.columns.iter().filter(|column| !column.auto_increment && !column.generated);
    let defaults = known.filter_map(|column| match &column.default {
        Default::Cell(cell) => Some((column.name.clone(), cell.clone())),
        _ => None,
    });
    let mut cells: Cells = defaults.filter(|(name, _)| !key.iter().any(|(key, _)| key == name)).collect();
    cells.extend(key.iter().cloned());
    Current { cells, shown: BTreeMap::new() }
}

fn with_state(mut current: Current, table: &Table, state: &str) -> Current {
    let mut rest = state;
    while let Some((column, (cell, after))) = next(rest, table) {
        let shown = rest.trim_start();
        let text = shown[column.len() + 1..shown.len() - after.len()].to_string();
        let name = table.columns.iter().find(|one| simple(&one.name) == column).map(|one| one.name.clone());
        let name = name.unwrap_or(column);
        current.cells.retain(|(known, _)| *known != name);
        current.shown.remove(&name);
        match cell {
            Some(cell) => current.cells.push((name, cell)),
            None => drop(current.shown.insert(name, text)),
        }
        rest = after;
    }
    current
}
