//! `mysql_query`: SQL for the host's own client, on its stdin; what only reads is read in a check too.

use async_trait::async_trait;
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::change::Change;
use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Outcome, Planned, Results};

use super::login::Format;
use super::{DATABASES, LOGIN, Login, literal};

pub const ENTRY: Entry = Entry {
    name: "mysql_query",
    summary: "Gives SQL to MySQL or MariaDB; queries that only read are also made in a check",
    arguments: &[ARGUMENTS, LOGIN],
    free_form: None,
    example: "\
- name: Which domains has the panel?
  mysql_query:
    login_db: psa
    query: SELECT id, name FROM domains WHERE name LIKE %s ORDER BY id
    positional_args: [example.%]
  register: domains
",
    build,
};

const ARGUMENTS: &[Argument] = &[
    Argument::new(
        "query",
        Kind::Any,
        "A statement, or a list of them. One that begins with SELECT, SHOW, DESCRIBE, DESC or EXPLAIN and writes nothing is no \
         change.",
    )
    .required(),
    Argument::new("login_db", Kind::Text, "The database that names without one are looked up in."),
    Argument::new("positional_args", Kind::List, "Values for each `%s` of the query; `%%` is a percent sign then."),
    Argument::new("named_args", Kind::Map, "Values for each `%(name)s` of the query; `%%` is a percent sign then."),
    Argument::new(
        "single_transaction",
        Kind::Bool,
        "Makes all statements in one transaction, as far as the tables' engines have any. The default is false.",
    ),
];

#[derive(Deserialize)]
struct Fields {
    query: Value,
    login_db: Option<String>,
    #[serde(default)]
    positional_args: Vec<Value>,
    #[serde(default)]
    named_args: Map<String, Value>,
    #[serde(default)]
    single_transaction: bool,
    #[serde(flatten)]
    login: Login,
}

struct MysqlQuery {
    statements: Vec<String>,
    database: Option<String>,
    single_transaction: bool,
    login: Login,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let fields: Fields = arguments.read()?;
    if !fields.positional_args.is_empty() && !fields.named_args.is_empty() {
        return Err(Diagnostic::new("parameters are mutually exclusive: positional_args|named_args"));
    }
    let queries = match &fields.query {
        Value::String(query) => vec![query.clone()],
        Value::Array(queries) => queries.iter().filter_map(|query| query.as_str().map(str::to_string)).collect(),
        _ => Vec::new(),
    };
    if queries.is_empty() {
        return Err(Diagnostic::new("`query` of `mysql_query` should be a statement or a list of them"));
    }
    let statements = queries.iter().map(|query| {
        let query = query.trim().trim_end_matches(';');
        match (fields.positional_args.is_empty(), fields.named_args.is_empty()) {
            (true, true) => Ok(query.to_string()),
            (_, true) => filled(query, &mut fields.positional_args.iter(), &Map::new()),
            _ => filled(query, &mut [].iter(), &fields.named_args),
        }
    });
    Ok(Box::new(MysqlQuery {
        statements: statements.collect::<Result<_, _>>()?,
        database: fields.login_db,
        single_transaction: fields.single_transaction,
        login: fields.login,
    }))
}

/// Puts values into a query, quoted for the session that gets it.
fn filled<'a>(
    query: &str,
    positional: &mut impl Iterator<Item = &'a Value>,
    named: &Map<String, Value>,
) -> Result<String, Diagnostic> {
    let (mut text, mut rest) = (String::new(), query);
    while let Some((before, after)) = rest.split_once('%') {
        text += before;
        let missing = |what: &str| Diagnostic::new(format!("the query has no value for `{what}`"));
        rest = match after.strip_prefix('%') {
            Some(after) => {
                text.push('%');
                after
            }
            None => match (after.strip_prefix('s'), after.strip_prefix('(').and_then(|after| after.split_once(")s"))) {
                (Some(after), _) => {
                    text += &quoted(positional.next().ok_or_else(|| missing("%s"))?)?;
                    after
                }
                (None, Some((name, after))) => {
                    text += &quoted(named.get(name).ok_or_else(|| missing(&format!("%({name})s")))?)?;
                    after
                }
                (None, None) => {
                    let message = "a `%` of the query stands before neither `s` nor `(name)s`";
                    return Err(Diagnostic::new(message).hint("`%%` is a percent sign in a query with values"));
                }
            },
        };
    }
    Ok(text + rest)
}

fn quoted(value: &Value) -> Result<String, Diagnostic> {
    match value {
        Value::Null => Ok("NULL".into()),
        Value::Bool(flag) => Ok(if *flag { "TRUE" } else { "FALSE" }.into()),
        Value::Number(number) => Ok(number.to_string()),
        Value::String(text) => Ok(literal::text(text)),
        Value::Array(items) if !items.is_empty() => {
            let items = items.iter().map(quoted).collect::<Result<Vec<_>, _>>()?;
            Ok(format!("({})", items.join(", ")))
        }
        other => Err(Diagnostic::new(format!("{other} cannot be a value of a query"))),
    }
}

/// Says whether a task of this module may change something, by its arguments.
pub fn may_write(given: &Map<String, Value>) -> bool {
    match given.get("query") {
        Some(Value::String(query)) => !only_reads(query.trim().trim_end_matches(';')),
        Some(Value::Array(queries)) => !queries
            .iter()
            .all(|query| query.as_str().is_some_and(|query| only_reads(query.trim().trim_end_matches(';')))),
        _ => true,
    }
}

/// Says whether a statement reads only, as far as that is sure.
fn only_reads(statement: &str) -> bool {
    let words: Vec<String> = statement
        .split(|letter: char| !letter.is_alphanumeric() && letter != '_')
        .filter(|word| !word.is_empty())
        .map(str::to_uppercase)
        .collect();
    let first = words.first().map(String::as_str).unwrap_or_default();
    let reads = ["SELECT", "SHOW", "DESCRIBE", "DESC", "EXPLAIN"].contains(&first);
    // Whatever may write or lock, call a program of the user's, or be a second statement. `DELETE FROM` may be in a text; then
    // it is only taken for a change.
    const WRITES: [&str; 16] = [
        "INTO",
        "UPDATE",
        "DELETE",
        "INSERT",
        "REPLACE",
        "ANALYZE",
        "CALL",
        "SET",
        "LOCK",
        "GET_LOCK",
        "RELEASE_LOCK",
        "SLEEP",
        "NEXTVAL",
        "LOAD_FILE",
        "SETVAL",
        "BENCHMARK",
    ];
    reads && !statement.contains([';', '@']) && !words.iter().any(|word| WRITES.contains(&word.as_str()))
}

#[async_trait]
impl Module for MysqlQuery {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let command = self.login.own_modes(&self.sql(), Format::Xml);
        let mut result = Results::new();
        result.insert("executed_queries".into(), json!(self.statements));
        if !self.statements.iter().all(|statement| only_reads(statement)) {
            // Its texts may hold what nobody shall see, but only the task can say so: `no_log`.
            let changes = vec![Change::Run { command }];
            return Ok(Planned { changes, result: Outcome::Applied(result), warnings: Vec::new() });
        }
        host.is_known(DATABASES)?;
        if let Some(row) = host.planned_parts_of("row ").iter().find(|row| self.is_about(row)) {
            return Err(ModuleError::Unknown(format!("`{row}`, which an earlier task changes").into()));
        }
        let output = host.probe(&command).await?;
        if !output.success() {
            let said = output.error_text();
            return Err(ModuleError::failed(format!("the database of `{}`: {}", host.name, said.trim_end())));
        }
        let sets = result_sets(&output.stdout).map_err(ModuleError::failed)?;
        result.insert("rowcount".into(), sets.iter().map(Vec::len).collect::<Vec<_>>().into());
        result.insert("query_result".into(), json!(sets));
        Ok(Planned::new(Vec::new(), result))
    }
}

impl MysqlQuery {
    fn sql(&self) -> String {
        let database = self.database.iter().map(|name| format!("USE {}", literal::name(name)));
        let (begin, end) = match self.single_transaction {
            true => (Some("START TRANSACTION".to_string()), Some("COMMIT".to_string())),
            false => (None, None),
        };
        let all = database.chain(begin).chain(self.statements.iter().cloned()).chain(end);
        all.map(|statement| format!("{statement}\n;\n")).collect()
    }

    /// Says whether a query names the table of a planned row.
    fn is_about(&self, row: &str) -> bool {
        let table = row.split(' ').nth(1).and_then(|table| table.split('.').nth(1)).unwrap_or_default().to_lowercase();
        self.statements.iter().any(|statement| statement.to_lowercase().contains(&table))
    }
}

/// Reads what `mysql --xml` prints: for each statement its rows. Whole numbers become numbers, which XML does not tell apart.
fn result_sets(xml: &[u8]) -> Result<Vec<Vec<Map<String, Value>>>, String> {
    let text = String::from_utf8_lossy(xml);
    let wrong = |error: &dyn std::fmt::Display| format!("the client's answer cannot be read: {error}");
    let (mut sets, mut field) = (Vec::new(), None::<(String, Option<String>)>);
    // Each statement's answer is a document of its own.
    for document in text.split("<?xml ").skip(1) {
        let body = document.split_once("?>").map_or("", |(_, body)| body);
        let mut reader = Reader::from_str(body);
        let mut rows: Vec<Map<String, Value>> = Vec::new();
        loop {
            match reader.read_event().map_err(|error| wrong(&error))? {
                Event::Start(tag) if tag.name().as_ref() == "row" => rows.push(Map::new()),
                Event::Start(tag) if tag.name().as_ref() == "field" => {
                    field = Some((attribute(&tag, "name")?, Some(String::new())));
                }
                Event::Empty(tag) if tag.name().as_ref() == "field" => {
                    let name = attribute(&tag, "name")?;
                    let nil = attribute(&tag, "xsi:nil").is_ok_and(|nil| nil == "true");
                    let value = if nil { Value::Null } else { "".into() };
                    rows.last_mut().map(|row| row.insert(name, value));
                }
                Event::Text(piece) => {
                    if let Some((_, Some(value))) = &mut field {
                        *value += &piece;
                    }
                }
                Event::GeneralRef(reference) => {
                    if let Some((_, Some(value))) = &mut field {
                        let name: &str = &reference;
                        let letter = reference.resolve_char_ref().map_err(|error| wrong(&error))?;
                        match (letter, quick_xml::escape::resolve_predefined_entity(name)) {
                            (Some(letter), _) => value.push(letter),
                            (None, Some(letters)) => value.push_str(letters),
                            (None, None) => return Err(wrong(&format!("&{name};"))),
                        }
                    }
                }
                Event::End(tag) if tag.name().as_ref() == "field" => {
                    if let (Some((name, Some(value))), Some(row)) = (field.take(), rows.last_mut()) {
                        row.insert(name, read_value(value));
                    }
                }
                Event::Eof => break,
                _ => {}
            }
        }
        sets.push(rows);
    }
    Ok(sets)
}

fn attribute(tag: &BytesStart, name: &str) -> Result<String, String> {
    let found = tag.try_get_attribute(name).map_err(|error| error.to_string())?;
    let found = found.ok_or("a field has no name")?;
    quick_xml::escape::unescape(&found.value).map(|value| value.into_owned()).map_err(|error| error.to_string())
}

fn read_value(text: String) -> Value {
    match text.parse::<i64>() {
        Ok(number) if number.to_string() == text => number.into(),
        _ => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_put_in_as_literals() {
        let named = json!({"n": "it's \\", "m": null});
        let query = filled("a = %(n)s AND b LIKE 'x%%' AND c IS %(m)s", &mut [].iter(), named.as_object().unwrap());
        assert_eq!(query.unwrap(), r"a = 'it\'s \\' AND b LIKE 'x%' AND c IS NULL");
        let values = [json!(5), json!(["a", 1])];
        assert_eq!(filled("%s IN %s", &mut values.iter(), &Map::new()).unwrap(), "5 IN ('a', 1)");
        assert!(filled("%s", &mut [].iter(), &Map::new()).unwrap_err().to_string().contains("no value for `%s`"));
        assert!(filled("50% off", &mut values.iter(), &Map::new()).is_err());
    }

    #[test]
    fn what_may_write_is_no_reading() {
        for statement in ["SELECT 1", "show tables", "  DESC mail", "explain select 1"] {
            assert!(only_reads(statement), "{statement}");
        }
        for statement in [
            "UPDATE a SET b = 1",
            "SELECT 1 INTO OUTFILE '/x'",
            "SELECT 1; DROP TABLE a",
            "SELECT * FROM a FOR UPDATE",
            "SELECT GET_LOCK('a', 1)",
            "SELECT @a := 1",
            "ANALYZE TABLE a",
            "WITH a AS (SELECT 1) DELETE FROM b",
        ] {
            assert!(!only_reads(statement), "{statement}");
        }
    }

    #[test]
    fn answers_are_read_with_their_nulls_and_letters() {
        let xml = b"<?xml version=\"1.0\"?>\n\n<resultset statement=\"x\" xmlns:xsi=\"y\">\n  <row>\n\t<field name=\"a&amp;b\">1 &lt; 2\nc</field>\n\
            \t<field name=\"n\" xsi:nil=\"true\" />\n\t<field name=\"i\">5</field>\n\t<field name=\"z\">007</field>\n  </row>\n</resultset>\n\
            <?xml version=\"1.0\"?>\n\n<resultset statement=\"y\"></resultset>\n";
        let sets = result_sets(xml).unwrap();
        assert_eq!(json!(sets), json!([[{"a&b": "1 < 2\nc", "n": null, "i": 5, "z": "007"}], []]));
    }
}
