//! How a user proves who it is: a password, or a plugin of the server with what that keeps.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use curve25519_dalek::edwards::EdwardsPoint;
use serde::Deserialize;
use sha1::{Digest as _, Sha1};
use sha2::Sha512;

use crate::error::Diagnostic;
use crate::modules::database::literal;
use crate::modules::{Argument, Kind};
use crate::secret;
use crate::transport::node::hex;

use super::account::Server;

pub const ARGUMENTS: &[Argument] = &[
    Argument::new("password", Kind::Text, "The password; it reaches the server as its hash (`mysql_native_password`)."),
    Argument::new("encrypted", Kind::Bool, "`password` is the hash: `*` and 40 hexadecimal digits."),
    Argument::new(
        "plugin",
        Kind::Text,
        "The server's plugin that the user is let in by, such as `ed25519` or `unix_socket`.",
    ),
    Argument::new("plugin_hash_string", Kind::Text, "What the server keeps for `plugin`: a hash, or a name."),
    Argument::new(
        "plugin_auth_string",
        Kind::Text,
        "The password for `plugin`. Of `ed25519` and `mysql_native_password` the server gets its hash; MariaDB keeps what is \
         for any other as it is, MySQL hashes it.",
    ),
    Argument::new(
        "update_password",
        Kind::Text,
        "Whether a user who is there already gets the password or plugin, too. `on_new_username` gives a new one what all \
         others of the same name have, if there are any. The default is `always`.",
    )
    .choices(&["always", "on_create", "on_new_username"]),
    Argument::new("salt", Kind::Text, "")
        .refused("give what `plugin_auth_string` comes to with it as `plugin_hash_string`"),
];

#[derive(Deserialize)]
pub struct Given {
    password: Option<String>,
    #[serde(default)]
    encrypted: bool,
    plugin: Option<String>,
    plugin_hash_string: Option<String>,
    plugin_auth_string: Option<String>,
    update_password: Option<String>,
}

/// What a task says of how a user is let in.
pub struct Identity {
    pub plugin: Option<String>,
    secret: Secret,
    /// A user who is there keeps what it has.
    pub on_create: bool,
    /// A new one gets what the others of its name have.
    pub by_name: bool,
}

enum Secret {
    None,
    /// What the server keeps.
    Kept(String),
    /// What it is made from.
    Plain(String),
}

/// What the server will keep.
pub enum Kept<'a> {
    /// What it has.
    Same,
    Known(String),
    /// A hash with a salt of the server's own.
    Hash(&'a str),
}

impl Given {
    pub fn read(&self) -> Result<Identity, Diagnostic> {
        let strings = [&self.plugin_hash_string, &self.plugin_auth_string];
        let secret = match (&self.plugin, &self.password, strings) {
            (None, _, [Some(_), _] | [_, Some(_)]) => {
                return Err(Diagnostic::new(
                    "`plugin_hash_string` and `plugin_auth_string` of `mysql_user` need `plugin`",
                ));
            }
            (Some(_), Some(_), _) => {
                return Err(Diagnostic::new("`password` of `mysql_user` does not go with `plugin`")
                    .hint("the password for a plugin is `plugin_auth_string`"));
            }
            (_, _, [Some(_), Some(_)]) => {
                return Err(Diagnostic::new(
                    "`mysql_user` takes `plugin_hash_string` or `plugin_auth_string`, not both",
                ));
            }
            (_, Some(hash), _) if self.encrypted => {
                let digits = hash.strip_prefix('*').unwrap_or_default();
                if digits.len() != 40 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                    return Err(Diagnostic::new("`password` with `encrypted` is `*` and 40 hexadecimal digits"));
                }
                Secret::Kept(hash.to_uppercase())
            }
            (_, Some(password), _) => Secret::Kept(native(password)),
            (_, _, [Some(hash), _]) => Secret::Kept(hash.clone()),
            (_, _, [_, Some(text)]) => Secret::Plain(text.clone()),
            _ => Secret::None,
        };
        match &self.plugin {
            Some(name) if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') => {
                Err(Diagnostic::new(format!("`{name}` is no name of a plugin")))
            }
            plugin => {
                let update = self.update_password.as_deref().unwrap_or("always");
                let by_name = update == "on_new_username";
                Ok(Identity { plugin: plugin.clone(), secret, on_create: update != "always", by_name })
            }
        }
    }
}

/// Plugins that keep a name, which is no secret.
const NAMES: [&str; 9] = [
    "AWSAuthenticationPlugin",
    "auth_socket",
    "authentication_kerberos",
    "authentication_ldap_sasl",
    "authentication_ldap_simple",
    "authentication_pam",
    "gssapi",
    "pam",
    "unix_socket",
];

impl Identity {
    /// Returns that of a user who is there, as the server keeps it.
    pub fn of(plugin: &str, kept: Vec<u8>) -> Option<Identity> {
        let plugin = Some(plugin.to_string()).filter(|plugin| !plugin.is_empty());
        Some(Identity { plugin, secret: Secret::Kept(String::from_utf8(kept).ok()?), on_create: true, by_name: true })
    }

    /// Notes what must not be shown: a server that refuses a statement repeats it.
    pub fn note(&self, server: &Server) {
        if self.plugin.as_deref().is_some_and(|plugin| NAMES.contains(&plugin)) {
            return;
        }
        if let Secret::Kept(text) | Secret::Plain(text) = &self.secret {
            secret::note(text);
        }
        if let Kept::Known(hash) = self.kept(server) {
            secret::note(&hash);
        }
    }

    pub fn kept(&self, server: &Server) -> Kept<'_> {
        match (&self.secret, self.plugin.as_deref().unwrap_or_default()) {
            (Secret::None, _) => Kept::Same,
            (Secret::Kept(hash), _) => Kept::Known(hash.clone()),
            (Secret::Plain(text), "mysql_native_password") => Kept::Known(native(text)),
            (Secret::Plain(text), "ed25519") => Kept::Known(ed25519(text)),
            (Secret::Plain(text), _) if server.is_mariadb() => Kept::Known(text.clone()),
            (Secret::Plain(text), _) => Kept::Hash(text),
        }
    }

    /// Returns the part of a statement that gives it to a user.
    pub fn clause(&self, server: &Server) -> String {
        let plugin = self.plugin.as_ref().map(|plugin| format!(" IDENTIFIED WITH {plugin}"));
        match (plugin, self.kept(server)) {
            (None, Kept::Known(hash)) if !hash.is_empty() => format!(" {}", server.identified(&hash)),
            (None, _) => String::new(),
            (Some(with), Kept::Same) => with,
            (Some(with), Kept::Known(hash)) => format!("{with} AS {}", literal::text(&hash)),
            (Some(with), Kept::Hash(text)) => format!("{with} BY {}", literal::text(text)),
        }
    }
}

/// Hashes a password as `mysql_native_password` does.
fn native(password: &str) -> String {
    match password {
        "" => String::new(),
        password => format!("*{}", hex(&Sha1::digest(Sha1::digest(password))).to_uppercase()),
    }
}

/// Hashes a password as MariaDB's `ed25519` does: it is the public key that belongs to it.
fn ed25519(password: &str) -> String {
    let mut scalar = [0; 32];
    scalar.copy_from_slice(&Sha512::digest(password)[..32]);
    STANDARD_NO_PAD.encode(EdwardsPoint::mul_base_clamped(scalar).compress().to_bytes())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(written: Value) -> Result<Identity, String> {
        serde_json::from_value::<Given>(written).unwrap().read().map_err(|error| error.to_string())
    }

    #[test]
    fn what_the_server_keeps_is_known_where_it_has_no_salt() {
        let mariadb = Server { version: "10.11.6-MariaDB".into(), salt: String::new() };
        let mysql = Server { version: "8.0.36".into(), salt: String::new() };
        let clause = |written: Value, server: &Server| read(written).unwrap().clause(server);
        let ed25519 = json!({"plugin": "ed25519", "plugin_auth_string": "secret"});
        assert_eq!(
            clause(ed25519, &mariadb),
            " IDENTIFIED WITH ed25519 AS 'ZIgUREUg5PVgQ6LskhXmO+eZLS0nC8be6HPjYWR4YJY'"
        );
        let pam = json!({"plugin": "pam", "plugin_auth_string": "mariadb"});
        assert_eq!(clause(pam, &mariadb), " IDENTIFIED WITH pam AS 'mariadb'");
        let sha2 = json!({"plugin": "caching_sha2_password", "plugin_auth_string": "it's"});
        assert_eq!(clause(sha2, &mysql), r" IDENTIFIED WITH caching_sha2_password BY 'it\'s'");
        assert_eq!(clause(json!({"plugin": "auth_socket"}), &mysql), " IDENTIFIED WITH auth_socket");
        assert_eq!(clause(json!({"password": ""}), &mysql), "");
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for (wrong, said) in [
            (json!({"plugin_hash_string": "x"}), "need `plugin`"),
            (json!({"plugin": "pam", "password": "x"}), "does not go with `plugin`"),
            (json!({"plugin": "pam", "plugin_hash_string": "x", "plugin_auth_string": "y"}), "not both"),
            (json!({"plugin": "pam; DROP", "plugin_hash_string": "x"}), "is no name of a plugin"),
            (json!({"password": "x", "encrypted": true}), "40 hexadecimal digits"),
        ] {
            assert!(read(wrong.clone()).is_err_and(|error| error.contains(said)), "{wrong}");
        }
    }
}
