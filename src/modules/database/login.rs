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
    Argument::new("check_hostname", Kind::Bool, "").refused("the host's client decides that: `ssl-verify-server-cert`"),
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
/// in no command line.
const OPTIONS: &str = r#"for client in mariadb mysql; do command -v $client >/dev/null 2>&1 && break; client=; done
[ -n "$client" ] || { echo 'there is neither `mariadb` nor `mysql`, the client' >&2; exit 127; }
sum() { { sha256sum || cksum; } 2>/dev/null; }
salt=$(cat /etc/psa/private/secret_key /etc/ssh/ssh_host_*_key 2>/dev/null | sum)
[ "$salt" != "$(sum </dev/null)" ] || salt=
exec 4<&0
options() {
  for file in /etc/my.cnf /etc/mysql/my.cnf "$config"; do [ ! -r "$file" ] || echo "!include $file"; done
  echo '[mysql]'
  echo "init-command=\"SET @salt = '${salt%% *}'\""
  echo '[client]'
  [ -z "$shadow" ] || sed -n '1{s/[\\"]/\\&/g;s/^/password="/;s/$/"/;p;}' "$shadow"
  [ "$bytes" = 0 ] || dd bs=1 count="$bytes" <&4 2>/dev/null
}
client() { options | "$client" --defaults-file=/dev/fd/3 "$@" 3<&0 0<&4 4<&-; }
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
            "again() {{ client {flags} --execute=\"SET SESSION sql_mode = ''; $1\"; }}\nsaid=$(client {flags}) || exit\necho \"$said\"\n{script}\n"
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
target={target}
umask 077
made=$(mktemp "$target.XXXXXX") || exit
trap 'rm -f -- "$made" "$made.packed"' EXIT
client {flags} {words} >"$made" && {packer} <"$made" >"$made.packed" || exit
sync -f "$made.packed" 2>/dev/null || sync
mv -f -- "$made.packed" "$target"
"#,
            target = quote(target),
            flags = self.connection(),
        );
        self.script(&body, "")
    }

    /// Returns the command that gives a file to the server.
    pub fn import(&self, words: &str, (target, packer): (&str, &str)) -> Command {
        let unpack = if packer == "cat" { "cat".to_string() } else { format!("{packer} -dc") };
        // A file that ends early ends in no SQL.
        let body = format!(
            r#"target={target}
[ -r "$target" ] || {{ echo "cannot read $target" >&2; exit 1; }}
{{ {unpack} <"$target" || echo 'THE FILE ENDS EARLY;'; }} | {{
  exec 5<&0
  options | "$client" --defaults-file=/dev/fd/3 {flags} {words} 3<&0 0<&5 4<&- 5<&-
}}
"#,
            target = quote(target),
            flags = self.flags(Format::Plain),
        );
        self.script(&body, "")
    }

    /// Says whether its commands are given a password.
    pub fn has_secret(&self) -> bool {
        self.login_password.is_some()
    }

    fn script(&self, body: &str, sql: &str) -> Command {
        let password = self.login_password.as_deref().map(option).unwrap_or_default();
        let config = self.config_file.as_deref().map_or_else(|| "\"$HOME/.my.cnf\"".into(), quote);
        let shadow = quote(self.login_password_file.as_deref().unwrap_or(""));
        let head = format!("config={config} shadow={shadow} bytes={}\n", password.len());
        let mut command = Command::shell(format!("{head}{OPTIONS}{body}"));
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
            flags.extend(value.map(|value| quote(&format!("--{flag}={value}"))));
        };
        given("user", self.login_user.clone());
        given("host", self.login_host.clone());
        given("port", self.login_port.map(|port| port.to_string()));
        given("socket", self.login_unix_socket.clone());
        given("ssl-ca", self.ca_cert.clone());
        given("ssl-cert", self.client_cert.clone());
        given("ssl-key", self.client_key.clone());
        flags.join(" ")
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
}
