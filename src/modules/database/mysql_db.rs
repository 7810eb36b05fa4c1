//! `mysql_db`: a database of MySQL or MariaDB is there, or is not; its content in a file, and back.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;

use crate::change::{Back, Change};
use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Outcome, Planned, Results};
use crate::transport::Command;
use crate::transport::command::quote;

use super::literal;
use super::login::Format;
use super::schema;
use super::{IMPLICIT, LOGIN, Login};

pub const ENTRY: Entry = Entry {
    name: "mysql_db",
    summary: "Makes sure that a database of MySQL or MariaDB is there, or is not; writes it to a file, or reads it from one",
    arguments: &[ARGUMENTS, IMPLICIT, LOGIN],
    free_form: None,
    example: "\
- name: A database for webmail
  mysql_db:
    name: webmail
    encoding: utf8mb4
",
    build,
};

const ARGUMENTS: &[Argument] = &[
    Argument::new(
        "name",
        Kind::List,
        "The database, or a list of them. `all` is all of them, for `dump` and `import`.",
    )
    .alias(&["db"])
    .required(),
    Argument::new(
        "state",
        Kind::Text,
        "`dump` writes to `target`, `import` reads from it; both always count as a change. The default is `present`.",
    )
    .choices(&["present", "absent", "dump", "import"]),
    Argument::new(
        "encoding",
        Kind::Text,
        "The letters of a new database, or those in the file of a dump or import, such as `utf8mb4`. The default is the server's.",
    ),
    Argument::new("collation", Kind::Text, "How a new database sorts them. The default is the encoding's."),
    Argument::new(
        "target",
        Kind::Path,
        "The file on the host. One whose name ends in `.gz`, `.bz2`, `.xz` or `.zst` is compressed.",
    ),
    Argument::new(
        "single_transaction",
        Kind::Bool,
        "A dump is of one moment, as far as the tables' engines have transactions.",
    ),
    Argument::new("quick", Kind::Bool, "A dump reads row by row and not a table at once. The default is true."),
    Argument::new("ignore_tables", Kind::List, "Tables that a dump leaves out, as `DATABASE.TABLE`."),
    Argument::new("hex_blob", Kind::Bool, "A dump has binary columns as hexadecimal numbers."),
    Argument::new("skip_lock_tables", Kind::Bool, "A dump locks no tables."),
    Argument::new("dump_extra_args", Kind::Text, "Further words for the program that dumps, as a shell splits them."),
    Argument::new("force", Kind::Bool, "A dump or an import goes on after errors of SQL."),
    Argument::new(
        "master_data",
        Kind::Int,
        "What a dump says of the binary log: 1 as a command, 2 as a remark. The default is 0.",
    ),
    Argument::new(
        "chdir",
        Kind::Path,
        "Where the client runs: paths in an imported file start there, and `target` too.",
    ),
    Argument::new(
        "restrict_config_file",
        Kind::Bool,
        "Of the client's files only `config_file` is read, and not those of the host.",
    ),
    Argument::new(
        "config_overrides_defaults",
        Kind::Bool,
        "The client's files say which server it is, unless `login_host` and `login_port` do: it always is so here.",
    ),
    Argument::new("pipefail", Kind::Bool, "A failing dump fails the task whatever compresses it: it always does here."),
    Argument::new("use_shell", Kind::Bool, "A shell unpacks what is imported: it always does here."),
    Argument::new(
        "unsafe_login_password",
        Kind::Bool,
        "A password goes to the client as it is: it always does here, and is in no command line.",
    ),
];

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum State {
    #[default]
    Present,
    Absent,
    Dump,
    Import,
}

#[derive(Deserialize)]
struct MysqlDb {
    name: Vec<String>,
    #[serde(default)]
    state: State,
    encoding: Option<String>,
    collation: Option<String>,
    target: Option<String>,
    #[serde(default)]
    single_transaction: bool,
    quick: Option<bool>,
    #[serde(default)]
    ignore_tables: Vec<String>,
    #[serde(default)]
    hex_blob: bool,
    #[serde(default)]
    skip_lock_tables: bool,
    #[serde(default)]
    dump_extra_args: String,
    #[serde(default)]
    force: bool,
    #[serde(default)]
    master_data: u8,
    #[serde(flatten)]
    login: Login,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let mut given: MysqlDb = arguments.read()?;
    for word in [&mut given.encoding, &mut given.collation] {
        word.take_if(|word| word.is_empty());
    }
    let is_file = matches!(given.state, State::Dump | State::Import);
    if is_file && given.target.is_none() {
        return Err(Diagnostic::new(
            "`state: dump` and `state: import` of `mysql_db` need `target`, a file on the host",
        ));
    }
    if given.is_all() && !is_file {
        return Err(Diagnostic::new("`name: all` of `mysql_db` is for `state: dump` and `state: import`"));
    }
    if given.state == State::Import && given.name.len() > 1 {
        return Err(Diagnostic::new("`state: import` of `mysql_db` takes one database, or `all`"));
    }
    let words = [&given.encoding, &given.collation];
    if let Some(word) =
        words.into_iter().flatten().find(|word| !word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'))
    {
        return Err(Diagnostic::new(format!("`{word}` is no name of an encoding or collation")));
    }
    Ok(Box::new(given))
}

#[async_trait]
impl Module for MysqlDb {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let mut result = Results::new();
        result.insert("db".into(), json!(self.name.join(" ")));
        result.insert("db_list".into(), json!(self.name));
        if matches!(self.state, State::Dump | State::Import) {
            let command = if self.state == State::Dump { self.dump() } else { self.import() };
            let changes = vec![Change::Run { command }];
            return Ok(Planned { changes, result: Outcome::Applied(result), warnings: Vec::new() });
        }
        let (mut changes, mut executed) = (Vec::new(), Vec::new());
        for name in &self.name {
            let (what, look) = (format!("database {name}"), look(name));
            let probe = self.sql(&look);
            let before = host.state(&what, &probe).await?;
            // A client that is missing or not let in says nothing.
            let before = if before.is_empty() { self.answer(host, &look).await? } else { before };
            let drop = format!("DROP DATABASE {}", literal::name(name));
            let (after, statement) = match (self.state, before.as_str()) {
                (State::Absent, "absent") => continue,
                (State::Absent, _) => ("absent".to_string(), drop.clone()),
                (_, "absent") => (self.made(host).await?, self.create(name)),
                _ => continue,
            };
            let by = |statement: &str| self.login.changing(&format!("{statement};\n"));
            // The number of tables is part of the state: one that has been filled is not taken back.
            let back = match self.state {
                State::Absent => Back::None,
                _ => Back::By(vec![by(&drop)]),
            };
            let change = Change::state(what, probe, (before, after), vec![by(&statement)]);
            changes.extend(change.map(|change| change.taken_back(back)));
            executed.push(statement);
        }
        result.insert("executed_commands".into(), json!(executed));
        Ok(Planned::new(changes, result))
    }
}

impl MysqlDb {
    fn is_all(&self) -> bool {
        self.name.iter().any(|name| name == "all")
    }

    fn sql(&self, sql: &str) -> Command {
        self.login.command(sql, Format::Plain)
    }

    async fn answer(&self, host: &View, sql: &str) -> Result<String, ModuleError> {
        Ok(schema::answer(host, &self.login, sql).await?.trim_end().to_string())
    }

    /// Says what a new database will be: what a database has by default only the server knows.
    async fn made(&self, host: &View) -> Result<String, ModuleError> {
        let (from, unknown) = match (&self.encoding, &self.collation) {
            (encoding, Some(collation)) => {
                let of = encoding.iter().map(|name| format!(" AND CHARACTER_SET_NAME = '{name}'")).collect::<String>();
                let from = format!(
                    "SELECT CONCAT(CHARACTER_SET_NAME, ' ', COLLATION_NAME) FROM information_schema.COLLATIONS WHERE COLLATION_NAME = \
                     '{collation}'{of}"
                );
                (from, format!("collation `{collation}`"))
            }
            (Some(encoding), None) => {
                let from = format!(
                    "SELECT CONCAT(CHARACTER_SET_NAME, ' ', DEFAULT_COLLATE_NAME) FROM information_schema.CHARACTER_SETS WHERE \
                     CHARACTER_SET_NAME = '{encoding}'"
                );
                (from, format!("encoding `{encoding}`"))
            }
            (None, None) => ("SELECT CONCAT(@@character_set_server, ' ', @@collation_server)".into(), String::new()),
        };
        let found = self.answer(host, &format!("{from};\n")).await?;
        match found.as_str() {
            "" => Err(ModuleError::failed(format!("the server on `{}` has no {unknown}", host.name))),
            found => Ok(format!("{found}, 0 tables")),
        }
    }

    fn create(&self, name: &str) -> String {
        let encoding = self.encoding.iter().map(|name| format!(" CHARACTER SET {name}")).collect::<String>();
        let collation = self.collation.iter().map(|name| format!(" COLLATE {name}")).collect::<String>();
        format!("CREATE DATABASE {}{encoding}{collation}", literal::name(name))
    }

    /// The letters of the file.
    fn letters(&self) -> Option<String> {
        self.encoding.as_ref().map(|name| format!("--default-character-set={name}"))
    }

    fn dump(&self) -> Command {
        let mut words: Vec<String> = vec![if self.quick == Some(false) { "--skip-quick" } else { "--quick" }.into()];
        let flags = [
            (self.force, "--force"),
            (self.single_transaction, "--single-transaction=true"),
            (self.hex_blob, "--hex-blob"),
            (self.skip_lock_tables, "--skip-lock-tables"),
        ];
        words.extend(flags.into_iter().filter(|(wanted, _)| *wanted).map(|(_, flag)| flag.to_string()));
        words.extend(self.letters());
        words.extend((self.master_data > 0).then(|| format!("$(positioned)={}", self.master_data)));
        words.extend(self.ignore_tables.iter().map(|table| quote(&format!("--ignore-table={table}"))));
        if self.is_all() {
            words.push("--all-databases".into());
        } else {
            words.extend((self.name.len() > 1).then(|| "--databases".to_string()));
            words.extend(self.name.iter().map(|name| quote(name)));
        }
        // Tables may be among them, which stand behind their database.
        words.push(self.dump_extra_args.clone());
        self.login.dump(&words.join(" "), self.file())
    }

    fn import(&self) -> Command {
        let mut words = Vec::new();
        words.extend(self.force.then(|| "--force".to_string()));
        words.extend(self.letters());
        if !self.is_all() {
            words.extend(self.name.first().map(|name| quote(&format!("--database={name}"))));
        }
        self.login.import(&words.join(" "), self.file())
    }

    /// The file, and the program that packs it.
    fn file(&self) -> (&str, &'static str) {
        let target = self.target.as_deref().unwrap_or_default();
        let packed = [(".gz", "gzip"), (".bz2", "bzip2"), (".xz", "xz"), (".zst", "zstd")];
        (target, packed.iter().find(|(end, _)| target.ends_with(end)).map_or("cat", |(_, program)| program))
    }
}

/// Asks for `absent`, or the encoding, the collation and the number of tables.
fn look(name: &str) -> String {
    let name = literal::text(name);
    format!(
        "SELECT IFNULL((SELECT CONCAT(DEFAULT_CHARACTER_SET_NAME, ' ', DEFAULT_COLLATION_NAME, ', ', (SELECT COUNT(*) FROM \
         information_schema.TABLES WHERE TABLE_SCHEMA = {name}), ' tables') FROM information_schema.SCHEMATA WHERE SCHEMA_NAME \
         = {name}), 'absent');\n"
    )
}
