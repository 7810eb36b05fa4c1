//! The way to a machine of a plan, and whether what answers there is the machine that the plan was made for.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;

use crate::run::connections::{Connections, Login};
use crate::transport::{Become, Machines, ReadAhead, Transport, TransportError};

/// How one of a plan's machines is reached.
#[derive(Clone)]
pub(super) struct Way {
    pub login: Login,
    pub user: Option<Become>,
    /// The fingerprint of the key that it had; nothing where none was asked for.
    pub key: Option<String>,
}

impl Way {
    /// Returns a shell on the machine. One that has another key is refused: its own known-hosts files may vouch for it,
    /// but it is not what was looked at.
    pub async fn machine(&self, connections: &Connections) -> Result<Arc<ReadAhead>, TransportError> {
        let machine = connections.transport(&self.login, self.user.clone()).await?;
        let found = connections.host_key(&self.login);
        match (&self.key, found) {
            (Some(key), Some(found)) if *key != found => Err(TransportError::Refused(format!(
                "the host has another key than the one that was looked at; it is left alone\n  planned from: {key}\n  found: \
                 {found}\nhint: `cutover hostkeys` shows a host's keys; if this one is right, plan again"
            ))),
            _ => Ok(machine),
        }
    }
}

/// The other hosts that a step reads from.
pub(super) struct Peers {
    pub connections: Arc<Connections>,
    pub ways: BTreeMap<String, Way>,
}

#[async_trait]
impl Machines for Peers {
    async fn machine(&self, host: &str) -> Result<Arc<dyn Transport>, TransportError> {
        let Some(way) = self.ways.get(host) else {
            return Err(TransportError::Refused(format!("the plan does not say how to reach `{host}`")));
        };
        Ok(way.machine(&self.connections).await?)
    }
}
