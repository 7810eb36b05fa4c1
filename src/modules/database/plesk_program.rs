//! Accounts made by the panel's own program, `plesk bin mail`: it writes the tables and qmail's files itself, and would write
//! over what others put there.

use std::collections::BTreeSet;

use crate::change::{Back, Change};
use crate::host::View;
use crate::modules::ModuleError;
use crate::transport::Command;

use super::literal::{self, shown};
use super::panel::{Access, Account, Password};
use super::schema::{Server, Table};

/// Where the program is: Red Hat's place and Debian's.
const PLACES: [&str; 2] = ["/usr/local/psa/bin", "/opt/psa/bin"];

/// The panel's programs of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programs {
    /// The directory that `mail` and `autoresponder` are in.
    pub directory: String,
    /// Where the mailboxes lie.
    pub mailnames: String,
}

/// What of an account the program can change: what it is to be, or is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub mailbox: bool,
    /// In bytes; -1 is none.
    pub quota: i64,
    pub aliases: BTreeSet<String>,
    pub forwards: BTreeSet<String>,
    pub password: Password,
}

/// Looks for the program, at `directory` or where it is usually. One that does not know `-forwarding-addresses` is of a
/// version that takes passwords in its command line alone, and is not there for us.
pub async fn find(host: &View, directory: Option<&str>) -> Result<Option<String>, ModuleError> {
    let places: Vec<&str> = directory.map_or(PLACES.to_vec(), |directory| vec![directory]);
    let script = "for place; do [ ! -x \"$place/mail\" ] || { \"$place/mail\" --help </dev/null 2>&1 | \
                  grep -q -e -forwarding-addresses && { printf '%s\\n' \"$place\"; exit; }; }; done; exit 0";
    let words = ["/bin/sh", "-c", script, "sh"].into_iter().chain(places);
    let output = host.probe(&Command::argv(words)).await?;
    Ok(Some(output.text().trim_end().to_string()).filter(|place| !place.is_empty()))
}

impl State {
    pub fn of(account: &Account) -> State {
        let group = account.group.iter().filter(|_| account.is_group);
        State {
            mailbox: account.mailbox,
            quota: account.quota.max(-1),
            aliases: account.aliases.clone(),
            forwards: account.redirect.iter().chain(group).cloned().collect(),
            password: account.password.clone(),
        }
    }

    /// Returns what this becomes when an account of another host is taken over: never less than it is, for a mailbox that is
    /// switched off is removed with its mail, and a smaller quota bounces.
    pub fn with(&self, old: &State) -> State {
        // The program counts in KiB.
        let rounded = |quota: i64| if quota > 0 { (quota + 1023) / 1024 * 1024 } else { -1 };
        let quota = if self.quota < 0 || old.quota < 0 { -1 } else { self.quota.max(rounded(old.quota)) };
        let password = match (old.password.secret(), self.password.secret()) {
            (Some(theirs), ours) if Some(theirs) != ours => old.password.clone(),
            _ => self.password.clone(),
        };
        State {
            mailbox: self.mailbox || old.mailbox,
            quota,
            aliases: self.aliases.union(&old.aliases).cloned().collect(),
            forwards: self.forwards.union(&old.forwards).cloned().collect(),
            password,
        }
    }

    /// The attributes, a line each, as [`probe`] prints them.
    fn lines(&self, (server, accounts): (&Server, &Table)) -> String {
        let join = |texts: &BTreeSet<String>| texts.iter().cloned().collect::<Vec<_>>().join(" ");
        let column = accounts.columns.iter().find(|column| column.name == "password");
        let fingerprint = |text: &str| {
            column.map(|column| shown(column, &Some(text.as_bytes().to_vec()), &server.salt)).unwrap_or_default()
        };
        let password = match &self.password {
            Password::Plain(text) | Password::Sealed(Some(text)) => format!("plain {}", fingerprint(text)),
            Password::Crypt(hash) => format!("crypt {}", fingerprint(hash)),
            other => other.kind().to_string(),
        };
        let (aliases, forwards) = (join(&self.aliases), join(&self.forwards));
        format!(
            "account: there\nmailbox: {}\nquota: {}\naliases: {aliases}\nforwards: {forwards}\npassword: {password}",
            self.mailbox, self.quota
        )
    }

    /// The options that make this of `before`; an account that is not there has none of it.
    fn options(&self, before: &State) -> Vec<String> {
        let mut options = Vec::new();
        let mut set = |name: &str, value: String| options.extend([format!("-{name}"), value]);
        if self.mailbox != before.mailbox {
            set("mailbox", self.mailbox.to_string());
        }
        if self.quota != before.quota {
            set("mbox_quota", if self.quota < 0 { "-1".into() } else { (self.quota / 1024).to_string() });
        }
        let moved = |(before, after): (&BTreeSet<String>, &BTreeSet<String>)| {
            let list = |word: &str, set: Vec<&String>| {
                let names: Vec<&str> = set.into_iter().map(String::as_str).collect();
                (!names.is_empty()).then(|| format!("{word}:{}", names.join(",")))
            };
            [list("add", after.difference(before).collect()), list("del", before.difference(after).collect())]
        };
        for change in moved((&before.aliases, &self.aliases)).into_iter().flatten() {
            set("aliases", change);
        }
        if self.forwards.is_empty() != before.forwards.is_empty() {
            set("forwarding", (!self.forwards.is_empty()).to_string());
        }
        for change in moved((&before.forwards, &self.forwards)).into_iter().flatten() {
            set("forwarding-addresses", change);
        }
        if let Some((_, is_hash)) = self.new_secret(before) {
            // From the environment: what stands in a command line is for everybody to read.
            set("passwd", String::new());
            set("passwd_type", if is_hash { "crypt".into() } else { "plain".into() });
        }
        options
    }

    fn new_secret(&self, before: &State) -> Option<(&str, bool)> {
        self.password.secret().filter(|secret| Some(*secret) != before.password.secret())
    }
}

/// Returns what makes an account here what it shall be; nothing where it is that.
pub fn change(
    (access, server): (&Access, &Server),
    programs: &Programs,
    address: &str,
    (here, after): (Option<&State>, &State),
) -> Result<Option<Change>, ModuleError> {
    let accounts = server.table(&access.database, "accounts")?;
    let parts = ["account", "mailbox", "quota", "aliases", "forwards", "password"];
    let absent = parts.map(|part| format!("{part}: {}", if part == "account" { "absent" } else { "-" })).join("\n");
    let nothing = State { quota: -1, ..State::default() };
    let before = here.unwrap_or(&nothing);
    let texts = (here.map_or(absent.clone(), |here| here.lines((server, accounts))), after.lines((server, accounts)));
    let secrets = [after.new_secret(before), before.new_secret(after)];
    if secrets.iter().flatten().any(|(secret, _)| secret.contains(['\n', '\r', '\0'])) {
        return Err(ModuleError::failed(format!("the password of `{address}` has a line feed in it: set another one")));
    }
    let verb = if here.is_some() { "--update" } else { "--create" };
    let by = call(programs, (verb, address), (after.options(before), secrets[0]));
    let changed = after.password.secret() != before.password.secret();
    let back = match here {
        None => Back::By(vec![removal(programs, address)]),
        // A password that nobody knows cannot be set again.
        Some(_) if changed && before.password.secret().is_none() => Back::None,
        Some(_) if after.mailbox && !before.mailbox => Back::By(vec![
            emptiness(programs, address),
            call(programs, ("--update", address), (before.options(after), secrets[1])),
        ]),
        Some(_) => Back::By(vec![call(programs, ("--update", address), (before.options(after), secrets[1]))]),
    };
    let probe = probe((access, server), address, &absent)?;
    let names = parts.map(|part| format!("row {}.mail {address} {part}", access.database));
    let change = Change::state(format!("mail account {address} of the panel"), probe, texts, vec![by]);
    Ok(change.map(|change| {
        let change = change.taken_back(back).in_parts(names.into());
        if access.login().has_secret() || secrets.iter().any(Option::is_some) {
            change.with_secret_commands()
        } else {
            change
        }
    }))
}

/// Calls `mail`, with a password in its environment where there is one.
fn call(
    programs: &Programs,
    (verb, address): (&str, &str),
    (options, secret): (Vec<String>, Option<(&str, bool)>),
) -> Command {
    let script = match secret {
        Some(_) => "IFS= read -r PSA_PASSWORD && export PSA_PASSWORD && exec \"$@\" </dev/null",
        None => "exec \"$@\" </dev/null",
    };
    let mail = format!("{}/mail", programs.directory);
    let words = ["/bin/sh", "-c", script, "sh", &mail, verb, address].map(String::from);
    let mut command = Command::argv(words.into_iter().chain(options));
    command.stdin = secret.map(|(secret, _)| format!("{secret}\n").into_bytes()).unwrap_or_default();
    command
}

/// Fails where a mailbox has mail.
fn emptiness(programs: &Programs, address: &str) -> Command {
    Command::argv(["/bin/sh".into(), "-c".into(), EMPTY.into(), "sh".into(), maildir(programs, address)])
}

const EMPTY: &str = "found=$(find \"$1\" \\( -path '*/new/*' -o -path '*/cur/*' \\) -type f 2>/dev/null | head -n 1)\n\
                     [ -z \"$found\" ] || { echo \"$found is mail that came since: the account stays\" >&2; exit 1; }\n";

/// Removes an account that was made, if no mail is in it.
fn removal(programs: &Programs, address: &str) -> Command {
    let script = format!("{EMPTY}exec \"$2\" --remove \"$3\" </dev/null\n");
    let mail = format!("{}/mail", programs.directory);
    Command::argv([
        "/bin/sh".into(),
        "-c".into(),
        script,
        "sh".into(),
        maildir(programs, address),
        mail,
        address.into(),
    ])
}

fn maildir(programs: &Programs, address: &str) -> String {
    let (user, domain) = address.split_once('@').unwrap_or((address, ""));
    format!("{}/{domain}/{user}/Maildir", programs.mailnames.trim_end_matches('/'))
}

/// Returns the command that reads an account back from the tables; of an encrypted password the panel's own program tells what
/// it is, for its fingerprint.
fn probe((access, server): (&Access, &Server), address: &str, absent: &str) -> Result<Command, ModuleError> {
    let database = &access.database;
    let (user, domain) = address.split_once('@').unwrap_or((address, ""));
    let place = |name: &str| format!("{}.{}", literal::name(database), literal::name(name));
    let (mail, accounts) = (server.table(database, "mail")?, server.table(database, "accounts")?);
    let has = |table: &str, column: &str| server.tables.get(table).is_some_and(|table| table.has(column));
    let several = |table: &str, column: &str, condition: &str| {
        format!("SELECT {column} AS value FROM {} WHERE mn_id = @id{condition}", place(table))
    };
    let together = |selects: Vec<String>| match selects.is_empty() {
        true => "''".into(),
        false => format!(
            "IFNULL((SELECT GROUP_CONCAT(value ORDER BY CAST(value AS BINARY) SEPARATOR ' ') FROM ({}) AS found), '')",
            selects.join(" UNION ")
        ),
    };
    // In a variable, because a derived table cannot see the row around it.
    let id = format!(
        "(SELECT m.id FROM {} m JOIN {} d ON d.id = m.dom_id WHERE d.name = {} AND m.mail_name = {})",
        place("mail"),
        place("domains"),
        literal::text(domain),
        literal::text(user)
    );
    let aliases = match has("mail_aliases", "alias") {
        true => together(vec![several("mail_aliases", "alias", "")]),
        false => "''".into(),
    };
    let mut forwards = Vec::new();
    if mail.has("redirect") && mail.has("redir_addr") {
        forwards.push(format!(
            "SELECT redir_addr AS value FROM {} WHERE id = @id AND redirect = 'true' AND redir_addr <> ''",
            place("mail")
        ));
    }
    if has("mail_redir", "address") {
        let flag = if mail.has("mail_group") {
            format!(" AND EXISTS (SELECT 1 FROM {} WHERE id = @id AND mail_group = 'true')", place("mail"))
        } else {
            String::new()
        };
        forwards.push(several("mail_redir", "address", &flag));
    }
    let password = accounts.column("password")?;
    let sql = format!(
        "SET SESSION group_concat_max_len = 1000000;\nSET @id = {id};\n\
         SELECT IFNULL((SELECT CONCAT('account: there\\nmailbox: ', m.postbox, '\\nquota: ', GREATEST(m.mbox_quota, -1), \
         '\\naliases: ', {aliases}, '\\nforwards: ', {}, '\\npassword: ', \
         IFNULL((SELECT CASE WHEN IFNULL(password, '') = '' THEN 'none' \
         WHEN type = 'sym' OR (type = 'plain' AND password LIKE '$AES-%') THEN 'sym' \
         WHEN type IN ('plain', 'crypt') THEN CONCAT(type, ' ', {}) ELSE type END \
         FROM {} WHERE id = m.account_id), 'none')) FROM {} m WHERE m.id = @id), {});\n",
        together(forwards),
        literal::showing(password, &server.charset),
        place("accounts"),
        place("mail"),
        literal::text(absent)
    );
    Ok(access.login().filtered(&sql, &unsealing(access.mail_auth_view(), address)))
}

/// Returns the script that puts the fingerprint of an encrypted password in its place.
fn unsealing(view: &str, address: &str) -> String {
    let quoted = crate::transport::command::quote;
    let pattern: String = address
        .chars()
        .flat_map(|letter| if letter.is_ascii_alphanumeric() { vec![letter] } else { vec!['[', letter, ']'] })
        .collect();
    format!(
        "while IFS= read -r line; do\n\
         if [ \"$line\" = 'password: sym' ]; then\n\
         view={}; [ -x \"$view\" ] || view=/opt/psa/admin/sbin/mail_auth_view\n\
         text=$(\"$view\" 2>/dev/null </dev/null | sed -n {} | sed -n 1p)\n\
         salt=${{salt%% *}}\n\
         digest=$(printf '%s%s%s' \"$salt\" \"$text\" \"$salt\" | {{ sha1sum || shasum || openssl dgst -sha1 -r; }} 2>/dev/null)\n\
         [ -n \"$salt\" ] && length=12 || length=3\n\
         [ -z \"$text\" ] || line=\"password: plain hidden:$(printf \"%.${{length}}s\" \"$digest\")\"\n\
         fi\n\
         printf '%s\\n' \"$line\"\ndone",
        quoted(view),
        quoted(&format!("s/^| *{pattern} *| *| \\(.*[^ ]\\) *|$/\\1/p"))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    #[test]
    fn an_account_is_taken_over_without_taking_anything_away() {
        let here = State { mailbox: true, quota: 4096, aliases: set(&["a"]), ..State::default() };
        let old =
            State { quota: 5000, forwards: set(&["x@y"]), password: Password::Crypt("$1$".into()), ..State::default() };
        let after = here.with(&old);
        assert_eq!((after.mailbox, after.quota), (true, 5120));
        assert_eq!((after.aliases.clone(), after.forwards.clone()), (set(&["a"]), set(&["x@y"])));
        let words = [
            "-mbox_quota",
            "5",
            "-forwarding",
            "true",
            "-forwarding-addresses",
            "add:x@y",
            "-passwd",
            "",
            "-passwd_type",
            "crypt",
        ];
        assert_eq!(after.options(&here), words);
        assert_eq!(after.with(&old), after, "a second time there is nothing to do");
        let back = ["-mbox_quota", "4", "-forwarding", "false", "-forwarding-addresses", "del:x@y"];
        assert_eq!(here.options(&after), back);
        let unlimited = State { quota: -1, ..here.clone() };
        assert_eq!(unlimited.with(&old).quota, -1);
        assert_eq!(here.with(&unlimited).options(&here), ["-mbox_quota", "-1"]);
    }

    #[test]
    fn a_password_that_is_there_encrypted_already_is_not_set_again() {
        let here = State { password: Password::Sealed(Some("x".into())), ..State::default() };
        let old = State { password: Password::Plain("x".into()), ..State::default() };
        assert_eq!(here.with(&old).password, here.password);
    }
}
