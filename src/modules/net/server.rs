//! The arguments with which a task names a DNS server and its key.

use serde::Deserialize;

use crate::dns::Key;
use crate::error::Diagnostic;
use crate::modules::{Argument, Kind};
use crate::secret::Secret;
use crate::transport::Address;

pub const ARGUMENTS: &[Argument] = &[
    Argument::new("server", Kind::Text, "The zone's primary name server, as the host reaches it.").required(),
    Argument::new("port", Kind::Int, "Its port; 53 unless given."),
    Argument::new("protocol", Kind::Text, "TCP alone, which goes through SSH.").choices(&["tcp"]),
];

pub const KEY: &[Argument] = &[
    Argument::new("key_name", Kind::Text, "The name of the key that signs what is sent (TSIG)."),
    Argument::new("key_secret", Kind::Text, "The key's secret, in base64; in no diff, plan or journal but encrypted."),
    Argument::new("key_algorithm", Kind::Text, "The key's algorithm; `hmac-md5` unless given, as Ansible has it.")
        .choices(&[
            "HMAC-MD5.SIG-ALG.REG.INT",
            "hmac-md5",
            "hmac-sha1",
            "hmac-sha224",
            "hmac-sha256",
            "hmac-sha384",
            "hmac-sha512",
        ]),
];

#[derive(Deserialize)]
pub struct Given {
    server: String,
    port: Option<u16>,
}

impl Given {
    pub fn address(&self) -> Address {
        Address::new(&self.server, self.port.unwrap_or(53))
    }
}

#[derive(Deserialize)]
pub struct GivenKey {
    key_name: Option<String>,
    key_secret: Option<String>,
    key_algorithm: Option<String>,
}

impl GivenKey {
    pub fn key(&self) -> Result<Option<Key>, Diagnostic> {
        match (&self.key_name, &self.key_secret) {
            (None, None) => Ok(None),
            (Some(name), Some(secret)) => {
                let algorithm = self.key_algorithm.as_deref().unwrap_or("hmac-md5");
                Key::new(name, algorithm, Secret::new(secret)).map(Some).map_err(Diagnostic::new)
            }
            _ => Err(Diagnostic::new("`key_name` and `key_secret` are given together")),
        }
    }
}
