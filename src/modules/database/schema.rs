//! Tables as a server has them: columns looked up before any row is touched, because no two versions have the same.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::error::nearest;
use crate::host::View;
use crate::modules::ModuleError;

use super::literal::{self, Cell, cells, printing, unhex};
use super::login::Format;
use super::{DATABASES, Login};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Number,
    Text,
    /// `enum`: one of the column's members.
    Member,
    Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub kind: Kind,
    pub is_bits: bool,
    /// The digits behind the point, which `decimal` always has.
    pub scale: Option<usize>,
    pub nullable: bool,
    pub members: Vec<String>,
    pub default: Default,
    /// The server makes its value itself: `GENERATED`.
    pub generated: bool,
    pub auto_increment: bool,
    pub primary: bool,
    /// It is shown as a fingerprint.
    pub hidden: bool,
}

/// What a row has in a column that nobody gave a value for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Default {
    /// Nothing: one has to be given.
    None,
    Cell(Cell),
    /// Only the server knows.
    Expression,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    pub database: String,
    pub name: String,
    pub engine: Option<String>,
    /// The number that the next row would get.
    pub next: Option<u64>,
    pub columns: Vec<Column>,
}

/// A server, as far as a task asks for it.
#[derive(Clone, Debug)]
pub struct Server {
    /// The host's own secret; see [`Login`].
    pub salt: String,
    /// `utf8mb4`, or `utf8` where there is no other.
    pub charset: String,
    pub tables: BTreeMap<String, Table>,
}

/// MySQL 8 answers for `auto_increment` with what it was up to a day ago (`information_schema_stats_expiry`, from 8.0.3);
/// MariaDB passes over comments of versions from 50700 to 99999.
const FRESH: &str = "/*!80003 SET SESSION information_schema_stats_expiry = 0 */;\n";

impl Server {
    /// Looks at the tables of one database by name; those that are not there are left out.
    pub async fn look(host: &View, login: &Login, (database, tables): (&str, &[&str])) -> Result<Server, ModuleError> {
        host.is_known(DATABASES)?;
        let named: Vec<String> = tables.iter().map(|table| literal::text(table)).collect();
        let head = [
            "VERSION()",
            "@salt",
            "(SELECT MAX(character_set_name) FROM information_schema.character_sets WHERE character_set_name = 'utf8mb4')",
        ];
        let columns = [
            "t.table_name",
            "t.engine",
            "CAST(t.auto_increment AS CHAR)",
            "c.column_name",
            "c.data_type",
            "c.column_type",
            "c.is_nullable",
            "c.column_default",
            "c.extra",
            "c.column_key",
        ];
        let sql = format!(
            "{FRESH}SELECT {};\nSELECT {} FROM information_schema.columns c JOIN information_schema.tables t \
             ON t.table_schema = c.table_schema AND t.table_name = c.table_name \
             WHERE c.table_schema = {} AND c.table_name IN ({}) ORDER BY c.table_name, c.ordinal_position;\n",
            printing(&head.map(str::to_string)),
            printing(&columns.map(str::to_string)),
            literal::text(database),
            named.join(", ")
        );
        let text = answer(host, login, &sql).await?;
        let mut rows = text.lines().filter_map(cells).map(|row| row.iter().map(string).collect::<Vec<_>>());
        let head = rows.next().filter(|head| head.len() == 3);
        let head =
            head.ok_or_else(|| ModuleError::failed(format!("the database of `{}` has said nothing", host.name)))?;
        let [version, salt, charset] = <[Option<String>; 3]>::try_from(head).unwrap_or_default();
        let quotes_defaults = version.unwrap_or_default().contains("MariaDB");
        let mut found: BTreeMap<String, Table> = BTreeMap::new();
        for row in rows {
            let [Some(table), engine, next, Some(column), Some(data), Some(full), Some(nullable), default, extra, key] =
                <[Option<String>; 10]>::try_from(row).unwrap_or_default()
            else {
                continue;
            };
            let table = found.entry(table.clone()).or_insert_with(|| Table {
                database: database.into(),
                name: table,
                engine,
                next: next.and_then(|next| next.parse().ok()),
                columns: Vec::new(),
            });
            let extra = extra.unwrap_or_default().to_lowercase();
            let kind = kind(&data);
            let nullable = nullable == "YES";
            let generated = extra.contains("generated") && !extra.contains("default_generated");
            table.columns.push(Column {
                kind,
                is_bits: data == "bit",
                scale: if data == "decimal" { scale(&full) } else { None },
                nullable,
                members: if kind == Kind::Member { members(&full) } else { Vec::new() },
                default: match extra.contains("default_generated") {
                    true => Default::Expression,
                    false => self::default(default.as_deref(), nullable, quotes_defaults),
                },
                generated,
                auto_increment: extra.contains("auto_increment"),
                primary: key.as_deref() == Some("PRI"),
                hidden: is_secret(&column),
                name: column,
            });
        }
        let charset = charset.unwrap_or_else(|| "utf8".into());
        Ok(Server { salt: salt.unwrap_or_default(), charset, tables: found })
    }

    pub fn table(&self, database: &str, name: &str) -> Result<&Table, ModuleError> {
        let missing = || ModuleError::failed(format!("there is no table `{name}` in the database `{database}`"));
        self.tables.get(name).ok_or_else(missing)
    }
}

/// Asks the server; what it says on errors is the error.
pub async fn answer(host: &View, login: &Login, sql: &str) -> Result<String, ModuleError> {
    let output = host.probe(&login.command(sql, Format::Plain)).await?;
    match output.success() {
        true => Ok(output.text()),
        false => {
            let said = output.error_text();
            Err(ModuleError::failed(format!("the database of `{}` cannot be asked: {}", host.name, said.trim_end())))
        }
    }
}

fn string(cell: &Cell) -> Option<String> {
    cell.as_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}

/// Says whether a column holds a secret, by its name.
fn is_secret(column: &str) -> bool {
    let name = column.to_lowercase();
    ["passw", "secret", "pwd"].iter().any(|part| name.contains(part)) || name == "pass"
}

fn kind(data: &str) -> Kind {
    match data {
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "decimal" | "float" | "double" | "year" | "bit" => {
            Kind::Number
        }
        "enum" => Kind::Member,
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" | "geometry" => Kind::Bytes,
        _ => Kind::Text,
    }
}

/// The second number of `decimal(6,2)`.
fn scale(full: &str) -> Option<usize> {
    full.split_once(',')?.1.split(')').next()?.trim().parse().ok()
}

/// The members of `enum('a','b')`.
fn members(full: &str) -> Vec<String> {
    let mut rest = full.strip_prefix("enum(").and_then(|rest| rest.strip_suffix(')')).unwrap_or_default();
    let mut found = Vec::new();
    while let Some(open) = rest.strip_prefix('\'') {
        let mut member = String::new();
        let mut letters = open.char_indices().peekable();
        let mut end = open.len();
        while let Some((index, letter)) = letters.next() {
            match letter {
                '\'' if letters.peek().is_some_and(|(_, next)| *next == '\'') => {
                    member.push('\'');
                    letters.next();
                }
                '\'' => {
                    end = index + 1;
                    break;
                }
                _ => member.push(letter),
            }
        }
        found.push(member);
        rest = open.get(end..).unwrap_or_default().trim_start_matches(',');
    }
    found
}

/// Reads `column_default`: MariaDB (10.2.7) writes it as SQL, MySQL and older ones as the bare text.
fn default(written: Option<&str>, nullable: bool, quoted: bool) -> Default {
    let Some(written) = written else { return if nullable { Default::Cell(None) } else { Default::None } };
    let is_number = written.parse::<f64>().is_ok();
    let lower = written.to_lowercase();
    if let (true, Some(inner)) = (quoted, written.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''))) {
        return Default::Cell(Some(inner.replace("''", "'").into_bytes()));
    }
    if lower.starts_with("current_timestamp") || (quoted && written.contains('(')) {
        return Default::Expression;
    }
    match quoted && lower == "null" {
        true => Default::Cell(None),
        false if quoted && !is_number && written.is_empty() => Default::Expression,
        false => Default::Cell(Some(written.as_bytes().to_vec())),
    }
}

impl Table {
    /// Names it for people.
    pub fn called(&self) -> String {
        format!("{}.{}", self.database, self.name)
    }

    pub fn column(&self, name: &str) -> Result<&Column, ModuleError> {
        let known = || self.columns.iter().map(|column| column.name.as_str());
        self.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name)).ok_or_else(|| {
            let near = nearest(name, known()).map(|near| format!("\nhint: did you mean `{near}`?"));
            let hint = near.unwrap_or_else(|| format!("\nhint: it has {}", known().collect::<Vec<_>>().join(", ")));
            ModuleError::failed(format!("`{}` has no column `{name}`{hint}", self.called()))
        })
    }

    pub fn has(&self, name: &str) -> bool {
        self.columns.iter().any(|column| column.name == name)
    }

    /// Says why its rows cannot be changed all together or not at all.
    pub fn check_engine(&self) -> Result<(), ModuleError> {
        const WITHOUT: [&str; 7] = ["myisam", "aria", "memory", "csv", "archive", "merge", "mrg_myisam"];
        let name = self.called();
        match &self.engine {
            None => Err(ModuleError::failed(format!("`{name}` is a view; name the table that it is made of"))),
            Some(engine) if WITHOUT.contains(&engine.to_lowercase().as_str()) => Err(ModuleError::failed(format!(
                "`{name}` is kept by {engine}, which has no transactions: its rows could be changed by half\nhint: \
                 `ALTER TABLE {name} ENGINE=InnoDB`, or write the rows with `mysql_query`"
            ))),
            Some(_) => Ok(()),
        }
    }

    /// Returns the expression and the columns of whole rows; `SELECT` of it gives one line for each.
    pub fn whole(&self, charset: &str) -> String {
        printing(&self.columns.iter().map(|column| literal::plain(column, charset)).collect::<Vec<_>>())
    }
}

impl Column {
    /// Returns what a value of a task is in this column.
    pub fn cell(&self, value: &Value) -> Result<Cell, String> {
        let name = &self.name;
        let text = match value {
            Value::Null if self.nullable => return Ok(None),
            Value::Null => return Err(format!("column `{name}` cannot be NULL")),
            Value::Bool(flag) => match self.kind {
                Kind::Number => if *flag { "1" } else { "0" }.into(),
                Kind::Member => flag.to_string(),
                _ => return Err(format!("`{value}` for column `{name}` is a boolean: write it as text, in quotes")),
            },
            Value::Number(number) => number.to_string(),
            Value::String(text) => text.clone(),
            Value::Object(map) => {
                let digits = map.get("hex").and_then(Value::as_str).filter(|_| map.len() == 1);
                let bytes = digits.and_then(unhex);
                return bytes
                    .map(Some)
                    .ok_or_else(|| format!("the value of column `{name}` is neither text nor `hex: DIGITS`"));
            }
            Value::Array(_) => return Err(format!("column `{name}` cannot hold a list")),
        };
        match self.kind {
            Kind::Number => {
                number(&text, self.scale).map(|number| Some(number.into_bytes())).ok_or_else(|| match self.hidden {
                    true => format!("the value of column `{name}` is no number"),
                    false => format!("`{text}` for column `{name}` is no number"),
                })
            }
            Kind::Member => {
                let same = |member: &&String| member.eq_ignore_ascii_case(&text);
                let found = self.members.iter().find(|member| **member == text).or(self.members.iter().find(same));
                found.map(|member| Some(member.clone().into_bytes())).ok_or_else(|| {
                    let near = nearest(&text, self.members.iter().map(String::as_str));
                    let near = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
                    format!("`{text}` is none of {} for column `{name}`{near}", self.members.join(", "))
                })
            }
            _ => Ok(Some(text.into_bytes())),
        }
    }
}

/// Returns a number as the server writes it, as far as that is known.
fn number(text: &str, scale: Option<usize>) -> Option<String> {
    let text = text.trim();
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    let whole = text.parse::<i128>().map(|whole| whole.to_string());
    let written = whole.ok().or_else(|| (plain && text.parse::<f64>().is_ok()).then(|| text.to_string()))?;
    let Some(scale) = scale.filter(|scale| *scale > 0 && !written.contains(['e', 'E'])) else { return Some(written) };
    let (whole, digits) = written.split_once('.').unwrap_or((&written, ""));
    Some(format!("{whole}.{digits:0<scale$}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    pub fn column(name: &str, kind: Kind) -> Column {
        Column {
            name: name.into(),
            kind,
            is_bits: false,
            scale: None,
            nullable: true,
            members: Vec::new(),
            default: Default::Cell(None),
            generated: false,
            auto_increment: false,
            primary: false,
            hidden: is_secret(name),
        }
    }

    #[test]
    fn defaults_are_read_as_each_server_writes_them() {
        let cell = |text: &str| Default::Cell(Some(text.into()));
        assert_eq!(default(Some("'tr''ue'"), false, true), cell("tr'ue"));
        assert_eq!(default(Some("true"), false, false), cell("true"));
        assert_eq!(default(Some("NULL"), true, true), Default::Cell(None));
        assert_eq!(default(Some("-1"), false, true), cell("-1"));
        assert_eq!(default(Some("current_timestamp()"), false, true), Default::Expression);
        assert_eq!((default(None, true, true), default(None, false, true)), (Default::Cell(None), Default::None));
        assert_eq!(members("enum('a','it''s','c,d')"), ["a", "it's", "c,d"]);
    }

    #[test]
    fn a_value_is_what_its_column_holds() {
        let number = column("n", Kind::Number);
        assert_eq!(number.cell(&json!("007")), Ok(Some(b"7".to_vec())));
        assert_eq!(number.cell(&json!(true)), Ok(Some(b"1".to_vec())));
        assert!(number.cell(&json!("1; DROP")).is_err() && number.cell(&json!("nan")).is_err());
        let decimal = Column { scale: Some(2), ..column("d", Kind::Number) };
        assert_eq!(decimal.cell(&json!(-1.5)), Ok(Some(b"-1.50".to_vec())));
        assert_eq!(decimal.cell(&json!(3)), Ok(Some(b"3.00".to_vec())));
        let flag = Column { members: vec!["true".into(), "false".into()], ..column("f", Kind::Member) };
        assert_eq!(flag.cell(&json!("FALSE")), Ok(Some(b"false".to_vec())));
        assert!(flag.cell(&json!("tru")).unwrap_err().contains("did you mean `true`?"));
        assert_eq!(column("b", Kind::Bytes).cell(&json!({"hex": "00ff"})), Ok(Some(vec![0, 255])));
        assert!(column("t", Kind::Text).cell(&json!(true)).is_err());
        assert!(Column { nullable: false, ..column("t", Kind::Text) }.cell(&json!(null)).is_err());
    }
}
