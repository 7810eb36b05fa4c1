//! One MariaDB for all tests: a data directory and socket of its own, ended with the process that tests.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::sshd::wait_for;

pub struct Mariadb {
    directory: PathBuf,
    /// With the pipe to it, which is held until this process ends.
    _guard: Child,
}

/// The pipe to it closes with this process, however that ends; then the server goes, and its directory.
const GUARD: &str = r#"cd "$1" && trap '' INT TERM HUP || exit
as=
[ "$(id -u)" != 0 ] || as=--user=root
mariadb-install-db --no-defaults $as --datadir="$1/data" --auth-root-authentication-method=normal --skip-test-db >install 2>&1
PATH=$PATH:/usr/sbin mariadbd --no-defaults $as --datadir="$1/data" --tmpdir="$1" --socket="$1/socket" --pid-file="$1/pid" --skip-networking \
    --innodb-buffer-pool-size=16M --innodb-flush-log-at-trx-commit=0 --innodb-fast-shutdown=2 --log-bin=changes --server-id=1 >log 2>&1 &
cat >/dev/null
kill -KILL $!
wait
cd / && rm -rf "$1"
"#;

impl Mariadb {
    /// The server of this process, started by whoever asks first.
    pub fn get() -> &'static Mariadb {
        static SERVER: OnceLock<Mariadb> = OnceLock::new();
        SERVER.get_or_init(Mariadb::start)
    }

    fn start() -> Mariadb {
        let base = if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "/var/tmp" };
        // The guard removes it.
        let directory = tempfile::tempdir_in(base).unwrap().keep();
        let mut guard = Command::new("sh");
        guard
            .args(["-c", GUARD, "sh"])
            .arg(&directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let server = Mariadb { directory, _guard: guard.spawn().unwrap() };
        let up = wait_for(|| server.client().args(["-e", "SELECT 1"]).output().unwrap().status.success());
        assert!(up, "{}", std::fs::read_to_string(server.directory.join("log")).unwrap_or_default());
        for user in ["keeper", "admin"] {
            let password = r#"'it''s "a\\b" #1'"#;
            server.query(&format!(
                "CREATE USER {user}@localhost IDENTIFIED BY {password}; GRANT ALL ON *.* TO {user}@localhost WITH GRANT OPTION"
            ));
        }
        server
    }

    pub fn socket(&self) -> String {
        self.directory.join("socket").display().to_string()
    }

    fn client(&self) -> Command {
        let mut command = Command::new("mariadb");
        command.args(["--no-defaults", "--user=root", "--batch", "--raw", "--skip-column-names"]);
        command.arg(format!("--socket={}", self.socket())).arg("--default-character-set=utf8mb4");
        command
    }

    /// Gives SQL to the server as its administrator; returns what it says.
    pub fn query(&self, sql: &str) -> String {
        let mut client = self.client();
        let mut client = client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        client.stdin.take().unwrap().write_all(sql.as_bytes()).unwrap();
        let output = client.wait_with_output().unwrap();
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The statements about something in the server's binary log.
    pub fn logged(&self, what: &str) -> Vec<String> {
        let events = self.query("SHOW BINLOG EVENTS");
        events.lines().filter(|line| line.contains(what)).map(str::to_string).collect()
    }

    /// Makes a database of one test's own from SQL for it; returns its name.
    pub fn database(&self, sql: &str) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("psa{}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.remake(&name, sql);
        name
    }

    /// Makes a database anew.
    pub fn remake(&self, name: &str, sql: &str) {
        self.query(&format!(
            "DROP DATABASE IF EXISTS {name}; CREATE DATABASE {name} CHARACTER SET utf8mb4; USE {name};\n{sql}"
        ));
    }

    /// All rows of a database, table by table.
    pub fn dump(&self, name: &str) -> String {
        let tables = self.query(&format!("SHOW TABLES FROM {name}"));
        let one =
            |table: &str| format!("{table}\n{}", self.query(&format!("SELECT * FROM {name}.{table} ORDER BY 1, 2")));
        tables.lines().map(one).collect()
    }
}

/// The tables of a panel's database that have mail in them, as an older version has them.
pub const PSA: &str = include_str!("../corpus/psa.sql");

/// Those of another host, with other numbers.
pub const PSA_OLD: &str = include_str!("../corpus/psa-old.sql");
