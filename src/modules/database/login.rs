//! How a task gets into MySQL or MariaDB: the host's own client, its password on a file descriptor, its SQL on stdin.

use serde::Deserialize;

use crate::modules::{Argument, Kind};
use crate::transport::Command;
use crate::transport::command::quote;

/// Arguments of every module that speaks to a server; the names are community.mysql's.
pub const LOGIN: &[Argument] = &[
    Argument::new("login_user", Kind::Text, "The database's user. The default is what the client's files say."),
    Argument::new("login_password", Kind::Text, "Its password; it goes to the client on a file descriptor."),
    Argument::new(
        "login_password_file",
        Kind::Path,
        "A file on the host whose first line is the password, such as Plesk's `/etc/psa/.psa.shadow`.",
    ),
    Argument::new("login_host", Kind::Text, "The server's name or address. The default is a socket of the host."),
    Argument::new("login_port", Kind::Int, "The server's port. The default is 3306."),
    Argument::new("login_unix_socket", Kind::Path, "The server's socket."),
    Argument::new(
        "config_file",
        Kind::Path,
        "A file of options for the client, on the host, read instead of `~/.my.cnf`.",
    ),
    Argument::new("connect_timeout", Kind::Int, "Seconds to wait for the server. The default is 30."),
    Argument::new("ca_cert", Kind::Path, "The certificates of authorities that vouch for the server, on the host.")
        .alias(&["ssl_ca"]),
    Argument::new("client_cert", Kind::Path, "The client's certificate, on the host.").alias(&["ssl_cert"]),
    Argument::new("client_key", Kind::Path, "The key of the client's certificate, on the host.").alias(&["ssl_key"]),
    Argument::new(
        "check_hostname",
        Kind::Bool,
        "The connection has to be encrypted, and the server's certificate has to be of its name; `false` does without that, \
         whatever the client's files say.",
    ),
];

/// Arguments of the modules that may log in as somebody else first.
pub const IMPLICIT: &[Argument] = &[
    Argument::new(
        "check_implicit_admin",
        Kind::Bool,
        "Logs in as `root` without a password where the server lets that in.",
    ),
    Argument::new(
        "sql_log_bin",
        Kind::Bool,
        "`false` keeps what is changed out of the server's binary log. The default is true.",
    ),
];

#[derive(Clone, Debug, Default, Deserialize)]
pub struct Login {
    pub login_user: Option<String>,
    login_password: Option<String>,
    pub login_password_file: Option<String>,
    login_host: Option<String>,
    login_port: Option<u16>,
    pub login_unix_socket: Option<String>,
    config_file: Option<String>,
    connect_timeout: Option<u32>,
    ca_cert: Option<String>,
    client_cert: Option<String>,
    client_key: Option<String>,
    check_hostname: Option<bool>,
    #[serde(default)]
    check_implicit_admin: bool,
    sql_log_bin: Option<bool>,
    /// Of the client's files only `config_file` is read.
    #[serde(default)]
    restrict_config_file: bool,
    /// Where the client runs.
    chdir: Option<String>,
}

/// How the client prints what it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The columns' texts alone.
    Plain,
    Xml,
}

/// Puts the client's options together: its own files first, so that what the task says wins. `@salt` is a secret of the
/// host's, so that a fingerprint tells nobody else what it is of, and empty where this user may read none; it and passwords are
/// in no command line: what emits them is of the shell itself.
const OPTIONS: &str = r#"for client in mariadb mysql; do command -v $client >/dev/null 2>&1 && break; client=; done
[ -n "$client" ] || { echo 'there is neither `mariadb` nor `mysql`, the client' >&2; exit 127; }
sum() { { sha256sum || cksum; } 2>/dev/null; }
salt=$(cat /etc/psa/private/secret_key /etc/ssh/ssh_host_*_key 2>/dev/null | sum)
[ "$salt" != "$(sum </dev/null)" ] || salt=
exec 4<&0
given=
[ "$bytes" = 0 ] || given=$(dd bs=1 count="$bytes" 2>/dev/null)
emit() { printf '%s\n' "$1"; }
[ -z "${KSH_VERSION-}" ] || emit() { print -r -- "$1"; }
options() {
  [ -n "$restricted" ] || for file in /etc/my.cnf /etc/mysql/my.cnf; do [ ! -r "$file" ] || echo "!include $file"; done
  [ ! -r "$config" ] || echo "!include $config"
  echo '[mysql]'
  echo "init-command=\"SET @salt = '${salt%% *}'\""
  echo '[client]'
  [ -z "$shadow" ] || sed -n '1{s/[\\"]/\\&/g;s/^/password="/;s/$/"/;p;}' "$shadow"
  [ -z "$given" ] || emit "$given"
}
client() { options | "$client" --defaults-file=/dev/fd/3 "$@" $admin 3<&0 0<&4 4<&-; }
admin=
"#;

/// Logs in as `root` without a password from here on, if that is let in.
const ADMIN: &str = "admin='--user=root --skip-password'\n\
                     client FLAGS --execute='DO 0' 4</dev/null >/dev/null 2>&1 || admin=\n";

/// Prints the option that has the server's name compared with its certificate, or not: the clients of MySQL and MariaDB have one each.
const VERIFYING: &str = r#"verifying() {
  case $("$client" --no-defaults --help 2>/dev/null) in
    *--ssl-mode=*) echo "--ssl-mode=$1" ;;
    *) echo "$2" ;;
  esac
}
"#;

/// What every session starts with: the modes and letters that the quoting of values takes for granted.
const SESSION: &str = "SET NAMES utf8; /*!50503 SET NAMES utf8mb4 */;\n\
                       SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO';\n";

impl Login {
    /// Returns the command that gives `sql` to the server and prints its answer.
    pub fn command(&self, sql: &str, format: Format) -> Command {
        self.script(&format!("client {}\n", self.flags(format)), &format!("{SESSION}{sql}"))
    }

    /// The same with a script that reads the answer and prints another; it knows `$salt`.
    pub fn filtered(&self, sql: &str, script: &str) -> Command {
        let body = format!("client {} | {{\n{script}\n}}\n", self.flags(Format::Plain));
        self.script(&body, &format!("{SESSION}{sql}"))
    }

    /// Returns the command that prints what the server says to `sql`, and then what a script makes of that, `$said`; `again SQL` asks
    /// the server once more, whatever modes it has.
    pub fn looking(&self, sql: &str, script: &str) -> Command {
        let flags = self.flags(Format::Plain);
        let body = format!(
            "again() {{ client {flags} --execute=\"SET SESSION sql_mode = ''; $1\"; }}\nsaid=$(client {flags}) || exit\nemit \"$said\"\n{script}\n"
        );
        self.script(&body, &format!("{SESSION}{sql}"))
    }

    /// Returns the command for `sql` in the server's own modes, as its writer expects them.
    pub fn own_modes(&self, sql: &str, format: Format) -> Command {
        let names = SESSION.split_once('\n').map_or("", |(names, _)| names);
        self.script(&format!("client {}\n", self.flags(format)), &format!("{names}\n{sql}"))
    }

    /// Returns the command that fails unless the last thing that `sql` prints is `made`.
    pub fn transaction(&self, sql: &str) -> Command {
        let flags = self.flags(Format::Plain);
        let body = format!(
            "said=$(client {flags}) || exit\n[ \"$said\" = made ] || {{ echo \"$said; nothing was done\" >&2; exit 1; }}\n"
        );
        self.script(&body, &format!("{SESSION}{sql}"))
    }

    /// Returns the command that writes databases to a file, whole or not at all. `packer` reads stdin; `cat` is none.
    pub fn dump(&self, words: &str, (target, packer): (&str, &str)) -> Command {
        let body = format!(
            r#"for client in mariadb-dump mysqldump; do command -v $client >/dev/null 2>&1 && break; client=; done
[ -n "$client" ] || {{ echo 'there is neither `mariadb-dump` nor `mysqldump`' >&2; exit 127; }}
positioned() {{
  case $("$client" --no-defaults --help 2>/dev/null) in *--source-data*) echo --source-data ;; *) echo --master-data ;; esac
}}
target={target}
umask 077
made=$(mktemp "$target.XXXXXX") || exit
trap 'rm -f -- "$made" "$made.packed"' EXIT
client {flags} {words} >"$made" && {packer} <"$made" >"$made.packed" || exit
sync -f "$made.packed" 2>/dev/null || sync
mv -f -- "$made.packed" "$target"
"#,
            target = path(target),
            flags = self.connection(),
        );
        self.script(&body, "")
    }

    /// Returns the command that gives a file to the server.
    pub fn import(&self, words: &str, (target, packer): (&str, &str)) -> Command {
        let unlogged = match self.unlogged().trim_end() {
            "" => String::new(),
            statement => format!("echo '{statement}'; "),
        };
        let unpack = if packer == "cat" { "cat".to_string() } else { format!("{packer} -dc") };
        // A file that ends early ends in no SQL.
        let body = format!(
            r#"target={target}
[ -r "$target" ] || {{ echo "cannot read $target" >&2; exit 1; }}
{{ {unlogged}{unpack} <"$target" || echo 'THE FILE ENDS EARLY;'; }} | {{
  exec 5<&0
  options | "$client" --defaults-file=/dev/fd/3 {flags} {words} $admin 3<&0 0<&5 4<&- 5<&-
}}
"#,
            target = path(target),
            flags = self.flags(Format::Plain),
        );
        self.script(&body, "")
    }

    /// Returns the command for statements that change something: they may be kept out of the server's binary log.
    pub fn changing(&self, sql: &str) -> Command {
        self.command(&format!("{}{sql}", self.unlogged()), Format::Plain)
    }

    fn unlogged(&self) -> &'static str {
        if self.sql_log_bin == Some(false) { "SET SESSION sql_log_bin = 0;\n" } else { "" }
    }

    /// Says whether its commands are given a password.
    pub fn has_secret(&self) -> bool {
        self.login_password.is_some()
    }

    fn script(&self, body: &str, sql: &str) -> Command {
        let password = self.login_password.as_deref().map(option).unwrap_or_default();
        let config = path(self.config_file.as_deref().unwrap_or("~/.my.cnf"));
        let shadow = path(self.login_password_file.as_deref().unwrap_or(""));
        let restricted = if self.restrict_config_file { "yes" } else { "''" };
        let head = format!("config={config} shadow={shadow} restricted={restricted} bytes={}\n", password.len());
        let chdir =
            self.chdir.as_deref().map_or(String::new(), |directory| format!("cd {} || exit\n", path(directory)));
        let verifying = if self.check_hostname.is_some() { VERIFYING } else { "" };
        let admin = match self.check_implicit_admin {
            true => ADMIN.replace("FLAGS", &self.flags(Format::Plain)),
            false => String::new(),
        };
        let mut command = Command::shell(format!("{head}{chdir}{OPTIONS}{verifying}{admin}{body}"));
        command.stdin = [password.as_bytes(), sql.as_bytes()].concat();
        command
    }

    fn flags(&self, format: Format) -> String {
        let format = match format {
            Format::Plain => "--batch --raw --skip-column-names",
            Format::Xml => "--batch --xml",
        };
        format!("{format} --connect-timeout={} {}", self.connect_timeout.unwrap_or(30), self.connection())
    }

    /// The words that every program of the client's takes.
    fn connection(&self) -> String {
        let mut flags: Vec<String> = Vec::new();
        let mut given = |flag: &str, value: Option<String>| {
            flags.extend(value.map(|value| format!("--{flag}={value}")));
        };
        given("user", self.login_user.as_deref().map(quote));
        given("host", self.login_host.as_deref().map(quote));
        given("port", self.login_port.map(|port| port.to_string()));
        given("socket", self.login_unix_socket.as_deref().map(path));
        given("ssl-ca", self.ca_cert.as_deref().map(path));
        given("ssl-cert", self.client_cert.as_deref().map(path));
        given("ssl-key", self.client_key.as_deref().map(path));
        // Without an authority the server's certificate is not looked at, but by name.
        let unchecked = if self.ca_cert.is_some() { "VERIFY_CA" } else { "PREFERRED" };
        flags.extend(self.check_hostname.map(|checked| match checked {
            true => "$(verifying VERIFY_IDENTITY '--ssl --ssl-verify-server-cert')".to_string(),
            false => format!("$(verifying {unchecked} --skip-ssl-verify-server-cert)"),
        }));
        flags.join(" ")
    }
}

/// Writes a path as a word for the shell; `~` is the home directory there.
fn path(written: &str) -> String {
    match written.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("\"$HOME\"{}", quote(rest)),
        _ => quote(written),
    }
}

/// Writes a password as a line of an option file (`my_load_defaults`: quotes around it, escapes in it).
fn option(password: &str) -> String {
    let escaped = password.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("password=\"{escaped}\"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_in_no_command_line() {
        let login = Login { login_password: Some("a\"b\\c".into()), ..Login::default() };
        let command = login.command("SELECT 1;\n", Format::Plain);
        assert!(command.stdin.starts_with(b"password=\"a\\\"b\\\\c\"\nSET NAMES"));
        let crate::transport::Program::Shell { script, .. } = command.program else { panic!() };
        assert!(!script.contains("a\"b") && script.contains("bytes=19\n"), "{script}");
    }

    #[test]
    fn a_path_starts_at_the_home_of_whoever_logs_in() {
        assert_eq!(["~/a b", "~", "/a", "~ann/a"].map(path), ["\"$HOME\"'/a b'", "\"$HOME\"''", "/a", "'~ann/a'"]);
    }
}
