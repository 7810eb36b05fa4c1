//! How to reach one host over SSH, and as whom: a value, so that tasks that mean the same share a connection.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{HostKeyChecking, Neighbours};
use crate::secret::Secret;

/// How to reach one host, and as whom. The words are those of `ssh_config.5`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// The inventory's name, for errors.
    pub name: String,
    /// A name or an address; what `known_hosts` is searched for, unless there is an alias.
    pub address: String,
    pub port: u16,
    pub user: String,
    /// Files of private keys, in the order in which they are tried (`IdentityFile`).
    pub keys: Vec<PathBuf>,
    /// User certificates (`CertificateFile`); where there are none, each key's own `KEY-cert.pub`, if it has one.
    pub certificates: Vec<PathBuf>,
    /// Whether an agent's keys are offered only if they are among `keys` (`IdentitiesOnly`).
    pub identities_only: bool,
    pub password: Option<Secret>,
    /// The agent's socket (`IdentityAgent`, `SSH_AUTH_SOCK`).
    pub agent: Option<PathBuf>,
    /// Every file is read; a new key is written to the first.
    pub known_hosts: Vec<PathBuf>,
    /// The name that `known_hosts` is searched for instead of the address, without a port (`HostKeyAlias`).
    pub host_key_alias: Option<String>,
    pub host_key_checking: HostKeyChecking,
    /// From the first packet to the end of the login.
    pub connect_timeout: Duration,
    /// After so long a silence the host is asked whether it is there (`ServerAliveInterval`). `None`: never.
    pub keepalive: Option<Duration>,
    /// How many unanswered questions end a connection (`ServerAliveCountMax`).
    pub keepalive_max: usize,
    pub family: AddressFamily,
    /// The local address to connect from (`BindAddress`).
    pub bind_address: Option<String>,
    pub compression: bool,
    pub algorithms: Algorithms,
    pub via: Via,
    /// The run's other hosts, to say whose key it is that a wrong host shows.
    pub neighbours: Neighbours,
}

/// What addresses of a host's name are used (`AddressFamily`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AddressFamily {
    #[default]
    Any,
    Inet,
    Inet6,
}

/// What carries the connection's bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Via {
    /// TCP.
    #[default]
    Direct,
    /// A connection to another host, which may itself go through one (`ProxyJump`).
    Jump(Box<Target>),
    /// The standard streams of a command that the controller's `/bin/sh` runs, its tokens expanded (`ProxyCommand`).
    Command(String),
}

/// What may be negotiated. Each list is one of `ssh_config.5`: names with commas, or `+`, `-` or `^` in front of
/// names that are added to, taken from, or put first in the default. `None`: the default of the profile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Algorithms {
    pub profile: Profile,
    pub kex: Option<String>,
    pub host_keys: Option<String>,
    pub ciphers: Option<String>,
    pub macs: Option<String>,
    /// What a user's own keys may sign with (`PubkeyAcceptedAlgorithms`).
    pub public_keys: Option<String>,
}

/// The defaults of a host's lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Profile {
    #[default]
    Modern,
    /// What servers before about 2014 have: SHA-1 in key exchange, signatures and MACs, CBC, 3DES, DSA.
    Legacy,
}

impl Target {
    /// A host at port 22, with the key and known-hosts files that `ssh` reads for a user whose home is `home`.
    pub fn new(name: &str, user: &str, home: &Path) -> Target {
        let ssh = home.join(".ssh");
        Target {
            name: name.into(),
            address: name.into(),
            port: 22,
            user: user.into(),
            keys: ["id_ed25519", "id_ecdsa", "id_rsa"].map(|file| ssh.join(file)).into(),
            certificates: Vec::new(),
            identities_only: false,
            password: None,
            agent: None,
            known_hosts: vec![
                ssh.join("known_hosts"),
                ssh.join("known_hosts2"),
                "/etc/ssh/ssh_known_hosts".into(),
                "/etc/ssh/ssh_known_hosts2".into(),
            ],
            host_key_alias: None,
            host_key_checking: HostKeyChecking::Strict,
            connect_timeout: Duration::from_secs(10),
            keepalive: Some(Duration::from_secs(15)),
            keepalive_max: 3,
            family: AddressFamily::Any,
            bind_address: None,
            compression: false,
            algorithms: Algorithms::default(),
            via: Via::Direct,
            neighbours: Neighbours::default(),
        }
    }

    /// `user@address port 22`, as errors name it.
    pub fn place(&self) -> String {
        format!("{}@{} port {}", self.user, self.address, self.port)
    }
}
