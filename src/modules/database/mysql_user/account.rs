//! What a user of a server has, as a probe prints it, and the server's own words for it.

use std::collections::BTreeMap;

use crate::modules::database::literal;

use super::attributes::Attribute;
use super::grants::Grants;

/// What is known of the server.
pub struct Server {
    pub version: String,
    pub salt: String,
}

impl Server {
    /// Says whether it is a MySQL in which hashes are called otherwise (5.7.6).
    pub fn is_new(&self) -> bool {
        !self.is_mariadb() && self.numbers() >= (5, 7, 6)
    }

    pub fn is_mariadb(&self) -> bool {
        self.version.contains("MariaDB")
    }

    /// Says whether `ALTER USER` knows all that an account has.
    pub fn alters(&self) -> bool {
        self.is_new() || (self.is_mariadb() && self.numbers() >= (10, 2, 0))
    }

    /// Says whether accounts can be locked, and passwords come to an end.
    pub fn locks(&self) -> bool {
        self.is_new() || (self.is_mariadb() && self.numbers() >= (10, 4, 3))
    }

    fn numbers(&self) -> (u32, u32, u32) {
        let mut numbers = self.version.split(['.', '-']).map(|number| number.parse().unwrap_or(0));
        let mut next = || numbers.next().unwrap_or(0);
        (next(), next(), next())
    }

    /// Returns the expression of what a password is kept as, of any plugin or of the first one there was.
    pub fn column(&self, any_plugin: bool) -> &'static str {
        match (self.is_new(), any_plugin) {
            (true, _) => "authentication_string",
            (false, true) => "IF(Password <> '', Password, authentication_string)",
            (false, false) => "Password",
        }
    }

    pub fn identified(&self, hash: &str) -> String {
        match self.is_new() {
            true => format!("IDENTIFIED WITH mysql_native_password AS {}", literal::text(hash)),
            false => format!("IDENTIFIED BY PASSWORD {}", literal::text(hash)),
        }
    }

    /// Returns how a hash is shown.
    pub fn shown(&self, hash: &str) -> String {
        match hash {
            "" => "none".into(),
            hash => literal::fingerprint(hash.as_bytes(), &self.salt),
        }
    }
}

/// What a user has, as the probe prints it.
#[derive(Clone, Default)]
pub struct Account {
    pub password: String,
    pub attributes: BTreeMap<Attribute, String>,
    pub grants: Grants,
}

impl Account {
    pub fn read(text: &str) -> Option<Account> {
        let (password, rest) = text.split_once('\n').unwrap_or((text, ""));
        let mut account = Account { password: password.strip_prefix("password: ")?.into(), ..Account::default() };
        for line in rest.lines() {
            let attribute = Attribute::ALL.into_iter().find_map(|attribute| {
                Some((attribute, line.strip_prefix(attribute.name())?.strip_prefix(": ")?.to_string()))
            });
            account.attributes.extend(attribute.clone());
            if attribute.is_none()
                && let Some((name, on)) = line.split_once(" on ")
            {
                account.grants.insert((on.into(), name.into()));
            }
        }
        Some(account)
    }

    pub fn text(&self) -> String {
        let mut grants: Vec<String> = self.grants.iter().map(|(on, name)| format!("{name} on {on}")).collect();
        grants.sort();
        let attributes = self.attributes.iter().map(|(attribute, value)| format!("{}: {value}", attribute.name()));
        let lines = std::iter::once(format!("password: {}", self.password)).chain(attributes).chain(grants);
        lines.collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_says_how_hashes_are_called() {
        let new = |version: &str| Server { version: version.into(), salt: String::new() }.is_new();
        assert_eq!(
            ["5.0.95-log", "5.7.5", "5.7.6", "8.0.36", "10.11.6-MariaDB-0+deb12u1"].map(new),
            [false, false, true, true, false]
        );
    }

    #[test]
    fn what_the_probe_prints_is_read_and_written_the_same() {
        let text =
            "password: hidden:12ab\nplugin: ed25519\nrequires: SUBJECT '/CN=a on b'\nlocked: no\nSELECT on `a`.*";
        let account = Account::read(text).unwrap();
        assert_eq!((account.text().as_str(), account.attributes.len(), account.grants.len()), (text, 3, 1));
        assert!(Account::read("absent").is_none());
    }
}
