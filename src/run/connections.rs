//! The run's connections: one per host and login, one shell per user on it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::error::Diagnostic;
use crate::modules::arguments::boolean;
use crate::playbook::Keywords;
use crate::secret::Secret;
use crate::template::{Failure, Templates};
use crate::transport::posix::{self, Carrier, Posix};
use crate::transport::read_ahead::Clock;
use crate::transport::ssh::{self, HostKeyChecking, Target};
use crate::transport::{Become, Machines, ReadAhead, Transport, TransportError, local};
use crate::vars::{Fleet, Scope, TaskLayers, Var};
use crate::yaml::Yaml;

use super::lock;

/// How long the end of what runs on a host may take; by then it has been killed.
const STOPPING: Duration = Duration::from_secs(8);

/// How to reach one host as one user: what makes two tasks share a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Login {
    Local,
    Ssh(Box<Target>),
}

/// What the command line says for hosts whose variables do not.
#[derive(Clone, Debug, Default)]
pub struct Defaults {
    pub user: Option<String>,
    pub key: Option<PathBuf>,
    pub password: Option<Secret>,
    pub connection: Option<String>,
    /// Seconds to wait for a connection.
    pub timeout: Option<u64>,
    pub become_on: bool,
    pub become_user: Option<String>,
    pub become_method: Option<String>,
    pub become_password: Option<Secret>,
}

pub struct Connections {
    fleet: Arc<Fleet>,
    templates: Arc<Templates>,
    defaults: Defaults,
    open: Mutex<HashMap<Login, Arc<Opened>>>,
    controller: OnceCell<Arc<dyn Transport>>,
    clock: Arc<Clock>,
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
        Connections {
            fleet,
            templates,
            defaults,
            open: Mutex::default(),
            controller: OnceCell::new(),
            clock: Arc::default(),
        }
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
            }
            shells.entry(user.clone()).or_default().clone()
        };
        let shell = cell.get_or_try_init(|| async {
            let carrier = opened.carrier.get_or_try_init(|| carrier(login)).await?.clone();
            let shell = Posix::start(carrier, user.as_ref()).await?;
            Ok::<_, TransportError>(Arc::new(ReadAhead::new(shell, self.clock.clone())))
        });
        let shell = shell.await.cloned();
        if matches!(shell, Err(TransportError::Unreachable(_))) {
            self.forget(login);
        }
        shell
    }

    /// Returns a shell that is open already.
    pub fn opened(&self, login: &Login, user: &Option<Become>) -> Option<Arc<ReadAhead>> {
        let opened = lock(&self.open).get(login)?.clone();
        let shells = lock(&opened.shells);
        shells.get(user)?.get().cloned()
    }

    /// What counts the changes of this run.
    pub fn clock(&self) -> &Clock {
        &self.clock
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
        self.shells().iter().any(|(_, shell)| shell.machine().is_lost())
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

    /// Reads a host's connection variables and the task's keywords; variables win, as in Ansible.
    pub fn login(&self, host: &str, keywords: &Keywords, scope: &Scope) -> Result<(Login, Option<Become>), Failure> {
        let read = Reader { templates: &self.templates, scope };
        let connection = match read.text("ansible_connection")? {
            Some(connection) => Some(connection),
            None => read.keyword(&keywords.connection)?.or_else(|| self.defaults.connection.clone()),
        };
        let login = match connection.as_deref() {
            Some("local") => Login::Local,
            None | Some("ssh" | "smart" | "paramiko" | "paramiko_ssh") => self.ssh(host, keywords, &read)?,
            Some(other) => {
                let message = format!("connection `{other}` of host `{host}` is not supported");
                return Err(Failure::Wrong(Diagnostic::new(message).hint("`ssh` and `local` are")));
            }
        };
        Ok((login, self.become_user(keywords, &read)?))
    }

    fn ssh(&self, host: &str, keywords: &Keywords, read: &Reader<'_>) -> Result<Login, Failure> {
        let user = match read.either(["ansible_user", "ansible_ssh_user"])? {
            Some(user) => Some(user),
            None => read.keyword(&keywords.remote_user)?.or_else(|| self.defaults.user.clone()),
        };
        let port = match read.either(["ansible_port", "ansible_ssh_port"])? {
            Some(port) => Some(port),
            None => read.keyword(&keywords.port)?,
        };
        let port = match port {
            None => 22,
            Some(text) => text.parse::<u16>().map_err(|_| {
                Failure::Wrong(Diagnostic::new(format!(
                    "`ansible_port` of host `{host}` should be a port, not `{text}`"
                )))
            })?,
        };
        let key = read.either(["ansible_ssh_private_key_file", "ansible_private_key_file"])?.map(|path| home(&path));
        let password = read.either(["ansible_password", "ansible_ssh_pass"])?.map(Secret::new);
        let checking = read
            .either(["ansible_host_key_checking", "ansible_ssh_host_key_checking"])?
            .or(std::env::var("ANSIBLE_HOST_KEY_CHECKING").ok());
        let checked = checking.and_then(|text| boolean(&Value::from(text))).unwrap_or(true);
        let user = user.unwrap_or_else(|| std::env::var("USER").unwrap_or_else(|_| "root".into()));
        let mut target = Target::new(host, &user, &home("~/"));
        target.address = read.either(["ansible_host", "ansible_ssh_host"])?.unwrap_or_else(|| host.into());
        target.port = port;
        target.agent = std::env::var_os("SSH_AUTH_SOCK").map(PathBuf::from);
        if let Some(key) = key.or_else(|| self.defaults.key.clone()) {
            target.keys = vec![key];
        }
        target.password = password.or_else(|| self.defaults.password.clone());
        if let Some(file) = read.text("ansible_ssh_known_hosts_file")? {
            target.known_hosts = vec![home(&file)];
        }
        target.host_key_checking = if checked { HostKeyChecking::Strict } else { HostKeyChecking::Off };
        if let Some(seconds) = read
            .either(["ansible_timeout", "ansible_ssh_timeout"])?
            .and_then(|text| text.parse().ok())
            .or(self.defaults.timeout)
        {
            target.connect_timeout = Duration::from_secs(seconds);
        }
        for unsupported in ["ansible_ssh_args", "ansible_ssh_common_args", "ansible_ssh_extra_args"] {
            if read.text(unsupported)?.is_some_and(|text| !text.trim().is_empty()) {
                let message = format!("`{unsupported}` of host `{host}` is not supported yet");
                let hint = "remove it; `ansible_user`, `ansible_port`, `ansible_ssh_private_key_file`, `ansible_password`, \
                            `ansible_ssh_known_hosts_file` and `ansible_host_key_checking` say the same";
                return Err(Failure::Wrong(Diagnostic::new(message).hint(hint)));
            }
        }
        Ok(Login::Ssh(Box::new(target)))
    }

    fn become_user(&self, keywords: &Keywords, read: &Reader<'_>) -> Result<Option<Become>, Failure> {
        let on = match read.text("ansible_become")? {
            Some(text) => Some(text),
            None => read.keyword(&keywords.become_on)?,
        };
        let on = on.map(|text| {
            let wrong = || Failure::Wrong(Diagnostic::new(format!("`become` should be true or false, not `{text}`")));
            boolean(&Value::from(text.as_str())).ok_or_else(wrong)
        });
        if !on.transpose()?.unwrap_or(self.defaults.become_on) {
            return Ok(None);
        }
        let variable_or = |variable: &str, keyword: &Option<Yaml>, default: &Option<String>| {
            Ok::<_, Failure>(match read.text(variable)? {
                Some(text) => Some(text),
                None => read.keyword(keyword)?.or_else(|| default.clone()),
            })
        };
        let password = read.either(["ansible_become_password", "ansible_become_pass"])?.map(Secret::new);
        Ok(Some(Become {
            method: variable_or("ansible_become_method", &keywords.become_method, &self.defaults.become_method)?
                .unwrap_or_else(|| "sudo".into()),
            user: variable_or("ansible_become_user", &keywords.become_user, &self.defaults.become_user)?
                .unwrap_or_else(|| "root".into()),
            password: password.or_else(|| self.defaults.become_password.clone()),
            flags: variable_or("ansible_become_flags", &keywords.become_flags, &None)?,
            exe: variable_or("ansible_become_exe", &keywords.become_exe, &None)?,
        }))
    }
}

async fn carrier(login: &Login) -> Result<Arc<dyn Carrier>, TransportError> {
    match login {
        Login::Local => Ok(Arc::new(local::Local::new())),
        Login::Ssh(target) => Ok(ssh::connect((**target).clone()).await?),
    }
}

/// Reads variables and keywords as text, rendered.
struct Reader<'a> {
    templates: &'a Templates,
    scope: &'a Scope,
}

impl Reader<'_> {
    fn text(&self, variable: &str) -> Result<Option<String>, Failure> {
        match self.scope.get(variable) {
            None => Ok(None),
            Some(Var::Known(value)) => Ok(as_text(value)),
            Some(Var::Written(node)) => Ok(as_text(&self.templates.render(node, self.scope)?)),
            Some(Var::Unknown(what)) => Err(Failure::Unknown(what.clone())),
        }
    }

    fn either(&self, variables: [&str; 2]) -> Result<Option<String>, Failure> {
        Ok(match self.text(variables[0])? {
            Some(text) => Some(text),
            None => self.text(variables[1])?,
        })
    }

    fn keyword(&self, keyword: &Option<Yaml>) -> Result<Option<String>, Failure> {
        match keyword {
            None => Ok(None),
            Some(node) => Ok(as_text(&self.templates.render(node, self.scope)?)),
        }
    }
}

fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// Puts the controller's home directory in place of a leading `~`.
fn home(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => PathBuf::from(path),
    }
}
