//! The run's connections: one per host and login, one shell per user on it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use tokio::sync::OnceCell;

use crate::error::Diagnostics;
use crate::playbook::Keywords;
use crate::template::{Failure, Templates};
use crate::transport::posix::{self, Carrier, Posix};
use crate::transport::read_ahead::Clock;
use crate::transport::ssh;
use crate::transport::{Become, Machines, ReadAhead, Transport, TransportError, local};
use crate::vars::{Fleet, Scope, TaskLayers};

use super::lock;
use super::login::Logins;
pub use super::login::{Defaults, Login};
use super::neighbours::neighbours;

/// How long the end of what runs on a host may take; by then it has been killed.
const STOPPING: Duration = Duration::from_secs(8);

pub struct Connections {
    fleet: Arc<Fleet>,
    logins: Logins,
    open: Mutex<HashMap<Login, Arc<Opened>>>,
    /// Whose connection was lost, until there is another one.
    lost: Mutex<HashSet<Login>>,
    controller: OnceCell<Arc<dyn Transport>>,
    clock: Arc<Clock>,
    client: Arc<ssh::Client>,
}

/// A shell that is being opened, or open.
type Shell = OnceCell<Arc<ReadAhead>>;

#[derive(Default)]
struct Opened {
    carrier: OnceCell<Arc<dyn Carrier>>,
    shells: Mutex<HashMap<Option<Become>, Arc<Shell>>>,
}

/// The other machines of a task: reached with the task's own `become` keywords.
pub struct Peers {
    pub connections: Arc<Connections>,
    pub keywords: Arc<Keywords>,
    pub layers: TaskLayers,
}

#[async_trait]
impl Machines for Peers {
    async fn machine(&self, host: &str) -> Result<Arc<dyn Transport>, TransportError> {
        if !self.connections.fleet.has_host(host) {
            return Err(TransportError::Refused(self.connections.stranger(host)));
        }
        let scope = self.connections.fleet.scope(host, &self.layers);
        let (login, user) = self.connections.login(host, &self.keywords, &scope).map_err(|failure| {
            TransportError::Refused(match failure {
                Failure::Wrong(diagnostic) => diagnostic.message,
                Failure::Unknown(what) => format!("{what} is not known yet"),
            })
        })?;
        Ok(self.connections.transport(&login, user).await?)
    }
}

impl Connections {
    pub fn new(fleet: Arc<Fleet>, templates: Arc<Templates>, defaults: Defaults) -> Connections {
        let neighbours = neighbours(&fleet, &templates);
        Connections {
            fleet,
            logins: Logins::new(templates, defaults).with_neighbours(neighbours),
            open: Mutex::default(),
            lost: Mutex::default(),
            controller: OnceCell::new(),
            clock: Arc::default(),
            client: Arc::default(),
        }
    }

    /// Unlocks encrypted keys with this keyring; without one nobody is asked.
    pub fn with_keyring(mut self, keyring: ssh::Keyring) -> Connections {
        self.client = Arc::new(ssh::Client::new(keyring));
        self
    }

    /// Returns the machine that Cutover itself runs on.
    pub async fn controller(&self) -> Result<Arc<dyn Transport>, TransportError> {
        let open = || async { Ok(self.transport(&Login::Local, None).await? as Arc<dyn Transport>) };
        self.controller.get_or_try_init(open).await.cloned()
    }

    /// Returns a shell on the host, opening what is not open yet. A dead connection is opened anew.
    pub async fn transport(&self, login: &Login, user: Option<Become>) -> Result<Arc<ReadAhead>, TransportError> {
        let opened = lock(&self.open).entry(login.clone()).or_default().clone();
        let cell = {
            let mut shells = lock(&opened.shells);
            // One that has ended answers nothing any more.
            if shells.get(&user).is_some_and(|cell| cell.get().is_some_and(|shell| shell.machine().is_lost())) {
                shells.remove(&user);
                lock(&self.lost).insert(login.clone());
            }
            shells.entry(user.clone()).or_default().clone()
        };
        let shell = cell.get_or_try_init(|| async {
            let carrier = opened.carrier.get_or_try_init(|| self.carrier(login)).await?.clone();
            let shell = Posix::start(carrier, user.as_ref()).await?;
            Ok::<_, TransportError>(Arc::new(ReadAhead::new(shell, self.clock.clone())))
        });
        let shell = shell.await.cloned();
        match &shell {
            Ok(_) => drop(lock(&self.lost).remove(login)),
            Err(TransportError::Unreachable(_)) => self.forget(login),
            Err(_) => {}
        }
        shell
    }

    /// Returns a shell that is open already.
    pub fn opened(&self, login: &Login, user: &Option<Become>) -> Option<Arc<ReadAhead>> {
        let opened = lock(&self.open).get(login)?.clone();
        let shells = lock(&opened.shells);
        shells.get(user)?.get().cloned()
    }

    /// Returns the fingerprint of the key of a host that is connected to.
    pub fn host_key(&self, login: &Login) -> Option<String> {
        let opened = lock(&self.open).get(login)?.clone();
        opened.carrier.get()?.host_key()
    }

    /// What counts the changes of this run.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    async fn carrier(&self, login: &Login) -> Result<Arc<dyn Carrier>, TransportError> {
        match login {
            Login::Local => Ok(Arc::new(local::Local::new().from_here())),
            Login::Ssh(target) => Ok(self.client.connect((**target).clone()).await?),
        }
    }

    /// Returns what there is to say of a host that the inventory does not have.
    pub fn stranger(&self, host: &str) -> String {
        let hosts = self.fleet.hosts();
        let hint = match crate::error::nearest(host, hosts.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "`cutover play --list-hosts` shows the hosts that a playbook can name".into(),
        };
        format!("`{host}` is not in the inventory\nhint: {hint}")
    }

    /// Drops a connection, so that the next task opens a new one (`meta: reset_connection`, a lost host).
    pub fn forget(&self, login: &Login) {
        lock(&self.open).remove(login);
    }

    /// Ends all connections.
    pub fn close(&self) {
        lock(&self.open).clear();
    }

    /// Says whether a connection was lost that nothing has taken the place of yet.
    pub fn has_lost(&self) -> bool {
        !lock(&self.lost).is_empty() || self.shells().iter().any(|(_, shell)| shell.machine().is_lost())
    }

    /// Ends what runs on the hosts, as nobody waits for it any more. Returns, by host, what could not be ended.
    pub async fn stop(&self) -> Vec<(String, String)> {
        let stopping = self.shells().into_iter().filter(|(_, shell)| shell.machine().is_busy());
        let stopping = stopping.map(|(host, shell)| async move {
            let said = match tokio::time::timeout(STOPPING, shell.machine().stop()).await {
                Ok(Ok(left)) if left.is_empty() => return None,
                Ok(Ok(left)) => format!("{} still run", posix::processes(&left)),
                Ok(Err(error)) => format!("what runs there could not be ended: {error}"),
                Err(_) => format!("what runs there has not ended in {} s", STOPPING.as_secs()),
            };
            Some((host, said))
        });
        join_all(stopping).await.into_iter().flatten().collect()
    }

    /// All open shells, with the host's name.
    fn shells(&self) -> Vec<(String, Arc<ReadAhead>)> {
        let mut found = Vec::new();
        for (login, opened) in lock(&self.open).iter() {
            let host = match login {
                Login::Local => "this machine",
                Login::Ssh(target) => &target.name,
            };
            let open = lock(&opened.shells).values().filter_map(|cell| cell.get().cloned()).collect::<Vec<_>>();
            found.extend(open.into_iter().map(|shell| (host.to_string(), shell)));
        }
        found
    }

    /// Returns how a task reaches a host, and who it becomes there ([`Logins::login`]).
    pub fn login(&self, host: &str, keywords: &Keywords, scope: &Scope) -> Result<(Login, Option<Become>), Failure> {
        self.logins.login(host, keywords, scope)
    }

    /// Returns what was said of a login ([`Logins::said`]).
    pub fn said(
        &self,
        host: &str,
        keywords: &Keywords,
        scope: &Scope,
    ) -> Result<BTreeMap<String, Option<String>>, Failure> {
        self.logins.said(host, keywords, scope)
    }

    /// Finds what is wrong with a host's login before it is touched ([`Logins::check`]).
    pub fn check_login(&self, host: &str, keywords: &Keywords, scope: &Scope) -> Result<(), Diagnostics> {
        self.logins.check(host, keywords, scope)
    }
}
