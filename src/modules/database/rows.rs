//! Rows that become others: all of a task's in one transaction, which itself compares what was there before and is there after.

use std::collections::BTreeMap;

use crate::change::{Back, Change};
use crate::transport::Command;

use super::Login;
use super::literal::{self, Cell};
use super::login::Format;
use super::schema::{Column, Server, Table};

/// Columns by name, in the table's order.
pub type Cells = Vec<(String, Cell)>;

/// One row of a table, before and after; nothing is no row.
#[derive(Clone, Debug)]
pub struct Row<'a> {
    pub table: &'a Table,
    /// What it is found by.
    pub key: Cells,
    pub before: Option<Cells>,
    pub after: Option<Cells>,
    /// As `before` is shown. It may be planned only, and then nobody knows what a fingerprint is of.
    pub shown: BTreeMap<String, String>,
}

/// The state of a row that is not there.
pub const ABSENT: &str = "absent";
/// The state of a row of which nothing but the key is told.
const THERE: &str = "there";

/// Returns the change that makes all rows what they shall be, or nothing where they are.
pub fn change(server: &Server, login: &Login, rows: &[Row<'_>]) -> Option<Change> {
    let rows: Vec<&Row> = rows.iter().filter(|row| row.differs(server)).collect();
    let what = match rows.as_slice() {
        [one] => one.name(),
        [first, rest @ ..] => {
            let tables: Vec<String> = rest.iter().fold(vec![first.table.called()], |mut tables, row| {
                if !tables.contains(&row.table.called()) {
                    tables.push(row.table.called());
                }
                tables
            });
            format!("{} rows of {}", rows.len(), tables.join(", "))
        }
        [] => return None,
    };
    let probe: String = rows.iter().map(|row| row.probe(server)).collect();
    let lines = rows.iter().map(|row| (row.before_line(server), row.after_line(server)));
    let (before, after): (Vec<_>, Vec<_>) = lines.unzip();
    let texts = (before.join("\n"), after.join("\n"));
    let by = vec![transaction(server, login, &rows, Way::Forth)];
    let back = match rows.iter().all(|row| row.is_known()) {
        true => Back::By(vec![transaction(server, login, &rows, Way::Back)]),
        false => Back::None,
    };
    let change = Change::state(what, login.command(&probe, Format::Plain), texts, by)?;
    let change = change.taken_back(back).in_parts(rows.iter().map(|row| row.name()).collect());
    Some(match login.has_secret() || rows.iter().any(|row| row.has_secret()) {
        true => change.with_secret_commands(),
        false => change,
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Forth,
    Back,
}

/// Writes the transaction. The comparison is SQL, so that nobody comes between it and the change; what fails it, or any error,
/// ends the session without a `COMMIT`.
fn transaction(server: &Server, login: &Login, rows: &[&Row<'_>], way: Way) -> Command {
    let mut ordered = rows.to_vec();
    if way == Way::Back {
        ordered.reverse();
    }
    let lines = |row: &Row| {
        let both = (row.before_line(server), row.after_line(server));
        if way == Way::Forth { both } else { (both.1, both.0) }
    };
    let mut sql = String::from("START TRANSACTION;\nSET @same = 1;\n");
    for row in &ordered {
        sql += &row.compared("@same", &lines(row).0, (server, " FOR UPDATE"));
    }
    for row in &ordered {
        sql += &row.statement(way);
    }
    sql += "SET @made = @same;\n";
    for row in &ordered {
        sql += &row.compared("@made", &lines(row).1, (server, ""));
    }
    sql += "SET @end = IF(@made, 'COMMIT', 'DO 0');\nPREPARE ending FROM @end;\nEXECUTE ending;\n\
            SELECT IF(@made, 'made', IF(@same, 'the server stores other values than these', \
            'a row has moved on meanwhile'));\n";
    login.transaction(&sql)
}

impl<'a> Row<'a> {
    /// Names its state: `row psa.accounts id=5`.
    pub fn name(&self) -> String {
        name(self.table, &self.key)
    }

    fn column(&self, name: &str) -> Option<&'a Column> {
        self.table.columns.iter().find(|column| column.name == name)
    }

    /// The columns that its state tells, beside the key.
    fn told(&self) -> impl Iterator<Item = &'a Column> {
        let cells = match (&self.before, &self.after) {
            (Some(_), Some(after)) | (None, Some(after)) => after,
            (Some(before), None) => before,
            (None, None) => &self.key,
        };
        let named =
            |name: &str| cells.iter().any(|(cell, _)| cell == name) && !self.key.iter().any(|(key, _)| key == name);
        let told: Vec<&Column> = self.table.columns.iter().filter(|column| named(&column.name)).collect();
        told.into_iter()
    }

    fn line(&self, shown: Option<impl Fn(&Column) -> String>) -> String {
        let state = match shown {
            None => ABSENT.into(),
            Some(shown) => {
                let cells = self.told().map(|column| format!("{}={}", simple(&column.name), shown(column)));
                let text = cells.collect::<Vec<_>>().join(" ");
                if text.is_empty() { THERE.into() } else { text }
            }
        };
        format!("{}: {state}", self.name())
    }

    fn before_line(&self, server: &Server) -> String {
        self.line(self.before.as_ref().map(|cells| {
            move |column: &Column| match self.shown.get(&column.name) {
                Some(shown) => shown.clone(),
                None => literal::shown(column, &of(cells, &column.name), &server.salt),
            }
        }))
    }

    fn after_line(&self, server: &Server) -> String {
        self.line(
            self.after
                .as_ref()
                .map(|cells| move |column: &Column| literal::shown(column, &of(cells, &column.name), &server.salt)),
        )
    }

    fn differs(&self, server: &Server) -> bool {
        self.before_line(server) != self.after_line(server)
    }

    /// Says whether all that it was is known, so that it can be made that again.
    fn is_known(&self) -> bool {
        let known = |cells: &Cells| self.told().all(|column| cells.iter().any(|(name, _)| *name == column.name));
        self.before.as_ref().is_none_or(known)
    }

    fn has_secret(&self) -> bool {
        self.told().any(|column| column.hidden)
    }

    fn place(&self) -> String {
        format!("{}.{}", literal::name(&self.table.database), literal::name(&self.table.name))
    }

    fn condition(&self) -> String {
        condition(self.table, &self.key)
    }

    /// The expression of its state's text; NULL where it is not there.
    fn expression(&self, server: &Server, lock: &str) -> String {
        let cells = self.told().map(|column| {
            let showing = literal::showing(column, &server.charset);
            format!("CONCAT({}, {showing})", literal::text(&format!("{}=", simple(&column.name))))
        });
        let cells: Vec<String> = cells.collect();
        let cells = if cells.is_empty() { literal::text(THERE) } else { cells.join(", ") };
        format!("(SELECT CONCAT_WS(' ', {cells}) FROM {} WHERE {}{lock})", self.place(), self.condition())
    }

    fn probe(&self, server: &Server) -> String {
        let name = literal::text(&format!("{}: ", self.name()));
        format!("SELECT CONCAT({name}, IFNULL({}, '{ABSENT}'));\n", self.expression(server, ""))
    }

    /// Keeps `flag` only if the row's state is that of `line`.
    fn compared(&self, flag: &str, line: &str, (server, lock): (&Server, &str)) -> String {
        let state = line.get(self.name().len() + 2..).unwrap_or_default();
        let expression = self.expression(server, lock);
        let expected = literal::text(&crate::transport::node::hex(state.as_bytes()).to_uppercase());
        let absent = literal::text(ABSENT);
        format!(
            "SET {flag} = {flag} AND HEX(CONVERT(IFNULL({expression}, {absent}) USING {})) = {expected};\n",
            server.charset
        )
    }

    fn statement(&self, way: Way) -> String {
        let (from, to) = match way {
            Way::Forth => (&self.before, &self.after),
            Way::Back => (&self.after, &self.before),
        };
        let written = |(name, cell): &(String, Cell)| {
            self.column(name).map(|column| (literal::name(name), literal::cell(column, cell)))
        };
        let place = self.place();
        match (from, to) {
            (None, Some(cells)) => {
                let stored = |(name, _): &&(String, Cell)| self.column(name).is_some_and(|column| !column.generated);
                let keys = self.key.iter().filter(|(name, _)| !cells.iter().any(|(cell, _)| cell == name));
                let (names, values): (Vec<_>, Vec<_>) = keys.chain(cells).filter(stored).filter_map(written).unzip();
                format!(
                    "INSERT INTO {place} ({}) SELECT {} FROM DUAL WHERE @same;\n",
                    names.join(", "),
                    values.join(", ")
                )
            }
            (Some(_), None) => format!("DELETE FROM {place} WHERE {} AND @same;\n", self.condition()),
            (Some(_), Some(cells)) => {
                let told: Vec<&Column> = self.told().collect();
                let moved = cells.iter().filter(|(name, _)| told.iter().any(|column| column.name == *name));
                let set: Vec<String> =
                    moved.filter_map(written).map(|(name, value)| format!("{name} = {value}")).collect();
                match set.is_empty() {
                    true => String::new(),
                    false => format!("UPDATE {place} SET {} WHERE {} AND @same;\n", set.join(", "), self.condition()),
                }
            }
            (None, None) => String::new(),
        }
    }
}

/// Names the state of a row by what it is found by.
pub fn name(table: &Table, key: &Cells) -> String {
    let cell = |(name, cell): &(String, Cell)| {
        let column = table.columns.iter().find(|column| column.name == *name);
        let shown = column.map(|column| literal::shown(column, cell, "")).unwrap_or_default();
        format!("{}={shown}", simple(name))
    };
    format!("{} {}", stem(table), key.iter().map(cell).collect::<Vec<_>>().join(" "))
}

/// How the names of all rows of a table begin.
pub fn stem(table: &Table) -> String {
    format!("row {}", table.called())
}

/// Returns the SQL condition that finds a row.
pub fn condition(table: &Table, key: &Cells) -> String {
    let one = |(name, cell): &(String, Cell)| {
        let column = table.columns.iter().find(|column| column.name == *name)?;
        Some(format!("{} = {}", literal::name(name), literal::cell(column, cell)))
    };
    key.iter().filter_map(one).collect::<Vec<_>>().join(" AND ")
}

pub fn of(cells: &Cells, name: &str) -> Cell {
    cells.iter().find(|(cell, _)| cell == name).and_then(|(_, cell)| cell.clone())
}

/// A column's name in a text, in quotes where it would be taken for something else.
pub fn simple(name: &str) -> String {
    let plain = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == '-';
    if name.chars().all(plain) { name.into() } else { literal::text(name) }
}
