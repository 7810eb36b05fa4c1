//! How a task reaches its host, and as whom: Ansible's variables, keywords and flags, over what `ssh_config` says.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use crate::error::{Diagnostic, Diagnostics};
use crate::playbook::Keywords;
use crate::secret::Secret;
use crate::settings;
use crate::template::{Failure, Templates};
use crate::transport::Become;
use crate::transport::ssh::config::{Given, Local, SshConfig};
use crate::transport::ssh::{Neighbours, Profile, Target};
use crate::vars::Scope;

use super::lock;
use super::said::{Reader, Said, Sources};

/// How to reach one host as one user: what makes two tasks share a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Login {
    Local,
    Ssh(Arc<Target>),
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
    /// `--ssh-common-args` and `--ssh-extra-args`: flags of `ssh`.
    pub common_args: Option<String>,
    pub extra_args: Option<String>,
    pub become_on: bool,
    pub become_user: Option<String>,
    pub become_method: Option<String>,
    pub become_password: Option<Secret>,
}

/// The logins of a run. What was asked once is not worked out again.
pub struct Logins {
    templates: Arc<Templates>,
    pub(super) defaults: Defaults,
    config: SshConfig,
    /// The run's hosts, among which a wrong host key is looked for.
    neighbours: Neighbours,
    known: Mutex<HashMap<Asked, Answer>>,
}

type Answer = Result<Arc<Target>, Diagnostics>;

/// Everything that decides how a host is reached over SSH, as it was written.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Asked {
    name: String,
    address: Said,
    user: Option<Said>,
    port: Option<Said>,
    key: Option<Said>,
    password: Option<Secret>,
    checking: Option<Said>,
    timeout: Option<Said>,
    profile: Option<Said>,
    known_hosts: Option<Said>,
    /// `ansible_ssh_args`, `_common_args` and `_extra_args`.
    arguments: [Option<Said>; 3],
}

/// Why there is no login.
pub(super) enum Unsettled {
    /// A variable cannot be rendered; perhaps it can once facts and results are there.
    NotYet(Failure),
    Wrong(Diagnostics),
}

impl Unsettled {
    /// Returns the first reason.
    fn first(self, host: &str) -> Failure {
        match self {
            Unsettled::NotYet(failure) => failure,
            Unsettled::Wrong(errors) => {
                let unnamed = || Diagnostic::new(format!("host `{host}` has no login"));
                Failure::Wrong(errors.0.into_iter().next().unwrap_or_else(unnamed))
            }
        }
    }
}

impl From<Failure> for Unsettled {
    fn from(failure: Failure) -> Unsettled {
        Unsettled::NotYet(failure)
    }
}

impl From<Diagnostic> for Unsettled {
    fn from(diagnostic: Diagnostic) -> Unsettled {
        Unsettled::Wrong(diagnostic.into())
    }
}

impl Logins {
    pub fn new(templates: Arc<Templates>, defaults: Defaults) -> Logins {
        let mut local = Local::current();
        // What the configuration file says counts as its variable, where that is not set.
        for (variable, value) in settings::from_file() {
            local.environment.entry(variable.into()).or_insert_with(|| value.into());
        }
        let config = SshConfig::new(local);
        Logins { templates, defaults, config, neighbours: Neighbours::default(), known: Mutex::default() }
    }

    pub fn with_neighbours(self, neighbours: Neighbours) -> Logins {
        Logins { neighbours, ..self }
    }

    /// Reads a host's connection variables, then the task's keywords, the command line, the environment and
    /// `ssh_config`: the first that says something wins, as in Ansible.
    pub fn login(&self, host: &str, keywords: &Keywords, scope: &Scope) -> Result<(Login, Option<Become>), Failure> {
        self.settle(host, keywords, scope).map_err(|unsettled| unsettled.first(host))
    }

    /// Finds what is wrong with a login before its host is touched. What needs a value that is not known yet is left
    /// for later.
    pub fn check(&self, host: &str, keywords: &Keywords, scope: &Scope) -> Result<(), Diagnostics> {
        match self.settle(host, keywords, scope) {
            Err(Unsettled::Wrong(errors)) => Err(errors),
            Ok(_) | Err(Unsettled::NotYet(_)) => Ok(()),
        }
    }

    /// Returns what was said of a login, passwords apart, and what nobody said: as variables of the host these give the
    /// same one again.
    pub fn said(
        &self,
        host: &str,
        keywords: &Keywords,
        scope: &Scope,
    ) -> Result<BTreeMap<String, Option<String>>, Failure> {
        let read = self.reader(host, scope);
        self.read(keywords, &read).map_err(|unsettled| unsettled.first(host))?;
        let mut said = read.heard.into_inner();
        said.retain(|name, _| !name.contains("pass"));
        Ok(said)
    }

    fn reader<'a>(&'a self, host: &'a str, scope: &'a Scope) -> Reader<'a> {
        let environment = &self.config.local().environment;
        Reader { templates: &self.templates, scope, host, environment, heard: Default::default() }
    }

    fn settle(&self, host: &str, keywords: &Keywords, scope: &Scope) -> Result<(Login, Option<Become>), Unsettled> {
        self.read(keywords, &self.reader(host, scope))
    }

    fn read(&self, keywords: &Keywords, read: &Reader<'_>) -> Result<(Login, Option<Become>), Unsettled> {
        let host = read.host;
        let connection = read.first(&Sources {
            variables: &["ansible_connection"],
            keyword: ("connection", keywords.connection.as_ref()),
            flag: ("--connection", self.defaults.connection.as_deref()),
            environment: &["ANSIBLE_TRANSPORT"],
        })?;
        let kind = connection.as_ref().map(|said| said.text.as_str()).unwrap_or("ssh");
        let kind = crate::names::short(kind);
        let login = match kind {
            "local" => Login::Local,
            kind if is_connection(kind) => self.ssh(keywords, read)?,
            other => {
                let error = Diagnostic::new(format!("connection `{other}` of host `{host}` is not supported"));
                let place = connection.and_then(|said| said.place);
                return Err(Diagnostic { place, ..error.hint(CONNECTIONS) }.into());
            }
        };
        Ok((login, self.become_user(keywords, read)?))
    }

    fn ssh(&self, keywords: &Keywords, read: &Reader<'_>) -> Result<Login, Unsettled> {
        refuse(read)?;
        let asked = self.asked(keywords, read)?;
        if let Some(known) = lock(&self.known).get(&asked) {
            return known.clone().map(Login::Ssh).map_err(Unsettled::Wrong);
        }
        let answer = self.answer(&asked).map(Arc::new);
        lock(&self.known).insert(asked, answer.clone());
        answer.map(Login::Ssh).map_err(Unsettled::Wrong)
    }

    fn asked(&self, keywords: &Keywords, read: &Reader<'_>) -> Result<Asked, Failure> {
        let defaults = &self.defaults;
        let timeout = defaults.timeout.map(|seconds| seconds.to_string());
        let key = defaults.key.as_ref().map(|path| path.to_string_lossy());
        let variables = |variables| Sources { variables, ..Sources::default() };
        let arguments = |variables, flag, environment| Sources { variables, flag, environment, ..Sources::default() };
        let own_name = || Said::new(format!("host `{}`", read.host), read.host.to_string());
        let password = ["ansible_password", "ansible_ssh_pass", "ansible_ssh_password"];
        let password = read.first(&variables(&password))?.filter(|said| !said.text.is_empty());
        Ok(Asked {
            name: read.host.into(),
            address: read.first(&variables(&["ansible_host", "ansible_ssh_host"]))?.unwrap_or_else(own_name),
            user: read.first(&Sources {
                variables: &["ansible_user", "ansible_ssh_user"],
                keyword: ("remote_user", keywords.remote_user.as_ref()),
                flag: ("--user", defaults.user.as_deref()),
                environment: &["ANSIBLE_REMOTE_USER"],
            })?,
            port: read.first(&Sources {
                variables: &["ansible_port", "ansible_ssh_port"],
                keyword: ("port", keywords.port.as_ref()),
                environment: &["ANSIBLE_REMOTE_PORT"],
                ..Sources::default()
            })?,
            key: read.first(&arguments(
                &["ansible_private_key_file", "ansible_ssh_private_key_file"],
                ("--private-key", key.as_deref()),
                &["ANSIBLE_PRIVATE_KEY_FILE"],
            ))?,
            password: password.map(|said| Secret::new(said.text)).or_else(|| defaults.password.clone()),
            checking: read.first(&Sources {
                variables: &["ansible_host_key_checking", "ansible_ssh_host_key_checking"],
                environment: &["ANSIBLE_HOST_KEY_CHECKING", "ANSIBLE_SSH_HOST_KEY_CHECKING"],
                ..Sources::default()
            })?,
            timeout: read.first(&arguments(
                &["ansible_timeout", "ansible_ssh_timeout"],
                ("--timeout", timeout.as_deref()),
                &["ANSIBLE_TIMEOUT", "ANSIBLE_SSH_TIMEOUT"],
            ))?,
            profile: read.first(&variables(&["ssh_profile"]))?,
            known_hosts: read.first(&variables(&["ansible_ssh_known_hosts_file"]))?,
            arguments: [
                read.first(&arguments(&["ansible_ssh_args"], ("", None), &["ANSIBLE_SSH_ARGS"]))?,
                read.first(&arguments(
                    &["ansible_ssh_common_args"],
                    ("--ssh-common-args", defaults.common_args.as_deref()),
                    &["ANSIBLE_SSH_COMMON_ARGS"],
                ))?,
                read.first(&arguments(
                    &["ansible_ssh_extra_args"],
                    ("--ssh-extra-args", defaults.extra_args.as_deref()),
                    &["ANSIBLE_SSH_EXTRA_ARGS"],
                ))?,
            ],
        })
    }

    /// Puts the command line of `ssh` together as Ansible does, and asks what it would do.
    fn answer(&self, asked: &Asked) -> Result<Target, Diagnostics> {
        let mut given = Given::new(asked.address.origin(), asked.password.clone());
        let mut errors = Diagnostics::default();
        let [first, common, extra] = &asked.arguments;
        if let Some(said) = first {
            given.arguments(&said.text, &said.origin()).unwrap_or_else(|found| errors.extend(found));
        }
        let checked = asked.checking.as_ref().map_or(Ok(true), Said::boolean);
        if let (Some(false), Some(said)) = (errors.catch(checked), &asked.checking) {
            errors.catch(given.option("StrictHostKeyChecking", "no", &said.origin()));
        }
        if let Some(said) = &asked.port {
            let port = said.text.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(|| said.should_be("a port"));
            errors.catch(port.and_then(|port| given.option("Port", &port.to_string(), &said.origin())));
        }
        // An empty user or key is nobody's, as in Ansible.
        let said_something = |said: &&Said| !said.text.is_empty();
        if let Some(said) = asked.key.as_ref().filter(said_something) {
            errors.catch(given.option("IdentityFile", &said.text, &said.origin()));
        }
        if let Some(said) = asked.user.as_ref().filter(said_something) {
            errors.catch(given.option("User", &said.text, &said.origin()));
        }
        if let Some(said) = &asked.timeout {
            let seconds = said.text.parse::<u32>().map_err(|_| said.should_be("a number of seconds"));
            errors.catch(seconds.and_then(|time| given.option("ConnectTimeout", &time.to_string(), &said.origin())));
        }
        for said in [common, extra].into_iter().flatten() {
            given.arguments(&said.text, &said.origin()).unwrap_or_else(|found| errors.extend(found));
        }
        let profile = errors.catch(asked.profile.as_ref().map_or(Ok(Profile::default()), profile));
        match self.config.target(&asked.name, &asked.address.text, &given) {
            Ok(mut target) => {
                target.algorithms.profile = profile.unwrap_or_default();
                for wrong in target.algorithms.check().err().into_iter().flatten() {
                    let what = format!("{wrong} (host `{}`)", asked.name);
                    errors.push(
                        Diagnostic::new(what)
                            .hint("`ssh -Q kex`, `key-sig`, `cipher` and `mac` list what OpenSSH knows"),
                    );
                }
                target.neighbours = self.neighbours.clone();
                if let Some(said) = &asked.known_hosts {
                    let file = self.config.local().with_home(&said.text).unwrap_or_else(|| said.text.clone());
                    target.known_hosts = vec![file.into()];
                }
                errors.or(target)
            }
            Err(found) => {
                errors.extend(found);
                Err(errors)
            }
        }
    }
}

fn profile(said: &Said) -> Result<Profile, Diagnostic> {
    match said.text.as_str() {
        "legacy" => Ok(Profile::Legacy),
        "modern" => Ok(Profile::Modern),
        _ => Err(said.should_be("`legacy` or `modern`")),
    }
}

/// A setting of Ansible's that would change how hosts are reached, and is not there.
struct Unsupported {
    variable: &'static str,
    environment: &'static str,
    /// Whether a value asks for nothing.
    harmless: fn(&str) -> bool,
    hint: &'static str,
}

const KEY_HINT: &str = "keep the key in a file (`ansible_ssh_private_key_file`) or in an agent";

/// The others of Ansible's (`ansible_ssh_transfer_method`, `ansible_scp_extra_args`, `ansible_ssh_pipelining`,
/// `ansible_control_path`, ...) say how Ansible drives `ssh`, which nobody does here.
const UNSUPPORTED: &[Unsupported] = &[
    Unsupported {
        variable: "ansible_ssh_executable",
        environment: "ANSIBLE_SSH_EXECUTABLE",
        harmless: |text| text.is_empty() || text.rsplit('/').next() == Some("ssh"),
        hint: "Cutover speaks SSH itself; what a wrapper adds can stand in `~/.ssh/config` or `ansible_ssh_common_args`",
    },
    Unsupported {
        variable: "ansible_ssh_pkcs11_provider",
        environment: "ANSIBLE_PKCS11_PROVIDER",
        harmless: str::is_empty,
        hint: "`ssh-add -s PROVIDER` hands the card's keys to an agent",
    },
    Unsupported {
        variable: "ansible_private_key",
        environment: "ANSIBLE_PRIVATE_KEY",
        harmless: str::is_empty,
        hint: KEY_HINT,
    },
    Unsupported { variable: "ansible_ssh_private_key", environment: "", harmless: str::is_empty, hint: KEY_HINT },
    Unsupported {
        variable: "ansible_shell_type",
        environment: "",
        harmless: |text| !matches!(text, "powershell" | "cmd"),
        hint: "hosts need a POSIX `sh`",
    },
    Unsupported {
        variable: "ansible_paramiko_proxy_command",
        environment: "ANSIBLE_PARAMIKO_PROXY_COMMAND",
        harmless: str::is_empty,
        hint: "use `ansible_ssh_common_args: -o ProxyCommand=\"...\"`",
    },
];

fn refuse(read: &Reader<'_>) -> Result<(), Unsettled> {
    for row in UNSUPPORTED {
        let sources = Sources { variables: &[row.variable], environment: &[row.environment], ..Sources::default() };
        if let Some(said) = read.first(&sources)?.filter(|said| !(row.harmless)(said.text.trim())) {
            // Without the value, which may be a secret.
            let error = Diagnostic::new(format!("{} is not supported", said.what)).hint(row.hint);
            return Err(Diagnostic { place: said.place, ..error }.into());
        }
    }
    Ok(())
}

/// What may be said where a connection is not one of them.
pub(super) const CONNECTIONS: &str = "`ssh` and `local` are";

/// Says whether a host can be reached over a connection of this name.
pub(super) fn is_connection(kind: &str) -> bool {
    matches!(crate::names::short(kind), "local" | "ssh" | "smart" | "paramiko" | "paramiko_ssh")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::transport::ssh::{AddressFamily, HostKeyChecking, Via};
    use crate::vars::{Layer, Var};

    fn logins(defaults: Defaults, environment: &[(&str, &str)]) -> (Logins, tempfile::TempDir) {
        let home = tempfile::tempdir().unwrap();
        let local = Local {
            home: home.path().into(),
            system: home.path().into(),
            user: "me".into(),
            environment: environment.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
            ..Local::current()
        };
        let config = SshConfig::new(local);
        (Logins { config, ..Logins::new(Arc::new(Templates::new()), defaults) }, home)
    }

    fn scope(variables: &[(&str, &str)]) -> Scope {
        let layer: Layer =
            variables.iter().map(|(name, value)| (name.to_string(), Var::Known((*value).into()))).collect();
        Scope::new(vec![Arc::new(layer)])
    }

    fn target_of(logins: &Logins, variables: &[(&str, &str)]) -> Arc<Target> {
        match logins.login("mx", &Keywords::default(), &scope(variables)) {
            Ok((Login::Ssh(target), _)) => target,
            other => panic!("{other:?}"),
        }
    }

    fn target(variables: &[(&str, &str)]) -> Arc<Target> {
        target_of(&logins(Defaults::default(), &[]).0, variables)
    }

    #[test]
    fn each_variable_has_its_field() {
        let target = target(&[
            ("ansible_host", "10.0.0.1"),
            ("ansible_port", "2222"),
            ("ansible_user", "root"),
            ("ansible_password", "secret"),
            ("ansible_ssh_private_key_file", "~/key"),
            ("ansible_timeout", "7"),
            ("ssh_profile", "legacy"),
            ("ansible_ssh_common_args", "-o KexAlgorithms=+diffie-hellman-group1-sha1 -4C -b 10.0.0.9 -i /second"),
            ("ansible_ssh_extra_args", "-o ServerAliveInterval=5 -o ServerAliveCountMax=2 -J one,two:23"),
        ]);
        assert_eq!((target.name.as_str(), target.place().as_str()), ("mx", "root@10.0.0.1 port 2222"));
        assert_eq!(target.password, Some(Secret::new("secret")));
        assert!(target.keys[0].ends_with("key") && target.keys[1].ends_with("second") && target.keys.len() == 2);
        assert_eq!(target.connect_timeout, Duration::from_secs(7));
        assert_eq!(target.algorithms.profile, Profile::Legacy);
        assert_eq!(target.algorithms.kex.as_deref(), Some("+diffie-hellman-group1-sha1"));
        assert_eq!((target.family, target.compression), (AddressFamily::Inet, true));
        assert_eq!(target.bind_address.as_deref(), Some("10.0.0.9"));
        assert_eq!((target.keepalive, target.keepalive_max), (Some(Duration::from_secs(5)), 2));
        let Via::Jump(two) = &target.via else { panic!("{:?}", target.via) };
        assert_eq!(
            (two.place().as_str(), &two.password, two.algorithms.profile),
            ("me@two port 23", &None, Profile::Modern)
        );
    }

    #[test]
    fn without_variables_ssh_config_and_defaults_count() {
        let (logins, home) = logins(Defaults::default(), &[("SSH_AUTH_SOCK", "/agent")]);
        std::fs::create_dir(home.path().join(".ssh")).unwrap();
        std::fs::write(
            home.path().join(".ssh/config"),
            "Host mx\n ConnectTimeout 3\n StrictHostKeyChecking accept-new\n",
        )
        .unwrap();
        let target = target_of(&logins, &[]);
        assert_eq!((target.place().as_str(), target.connect_timeout), ("me@mx port 22", Duration::from_secs(3)));
        assert_eq!(target.host_key_checking, HostKeyChecking::AcceptNew);
        assert_eq!(target.agent, Some("/agent".into()));
        let switched_off = target_of(&logins, &[("ansible_host_key_checking", "no"), ("ansible_timeout", "9")]);
        assert_eq!(switched_off.host_key_checking, HostKeyChecking::Off);
        assert_eq!(switched_off.connect_timeout, Duration::from_secs(9));
    }

    #[test]
    fn the_same_question_has_the_same_answer_without_asking_again() {
        let (logins, home) = logins(Defaults::default(), &[]);
        let first = target_of(&logins, &[("ansible_port", "1")]);
        std::fs::create_dir(home.path().join(".ssh")).unwrap();
        std::fs::write(home.path().join(".ssh/config"), "nonsense\n").unwrap();
        assert!(Arc::ptr_eq(&first, &target_of(&logins, &[("ansible_port", "1")])));
        assert_eq!(target_of(&logins, &[("ansible_port", "2")]).port, 2, "the files are read once");
    }

    #[test]
    fn the_environment_is_weaker_than_flags_and_these_than_variables() {
        let defaults = Defaults { user: Some("flag".into()), common_args: Some("-p 3".into()), ..Defaults::default() };
        let environment =
            [("ANSIBLE_REMOTE_USER", "env"), ("ANSIBLE_SSH_COMMON_ARGS", "-p 4"), ("ANSIBLE_TIMEOUT", "5")];
        let (logins, _home) = logins(defaults, &environment);
        assert_eq!(target_of(&logins, &[]).place(), "flag@mx port 3");
        assert_eq!(target_of(&logins, &[]).connect_timeout, Duration::from_secs(5));
        assert_eq!(target_of(&logins, &[("ansible_user", "var"), ("ansible_ssh_user", "old")]).user, "old");
        let replaced = target_of(&logins, &[("ansible_user", "var"), ("ansible_ssh_common_args", "")]);
        assert_eq!(replaced.place(), "var@mx port 22");
        let empty =
            target_of(&logins, &[("ansible_user", ""), ("ansible_password", ""), ("ansible_ssh_private_key_file", "")]);
        assert_eq!((empty.user.as_str(), &empty.password, empty.keys.is_empty()), ("me", &None, false));
    }

    #[test]
    fn a_password_is_kept_back_where_nothing_may_ask_for_it() {
        let password = |arguments: &str| {
            let logins = logins(Defaults::default(), &[]).0;
            let variables = [("ansible_password", "secret"), ("ansible_ssh_common_args", arguments)];
            logins.login("mx", &Keywords::default(), &scope(&variables)).map(|(login, _)| match login {
                Login::Ssh(target) => target.password.is_some(),
                Login::Local => false,
            })
        };
        assert!(password("").unwrap());
        assert!(!password("-o PreferredAuthentications=publickey").unwrap());
        assert!(!password("-o PasswordAuthentication=no -o ChallengeResponseAuthentication=no").unwrap());
        let Err(Failure::Wrong(error)) = password("-o PasswordAuthentication=no") else { panic!("taken") };
        assert!(error.message.contains("`keyboard-interactive` without `password` is not supported"), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn becoming_has_variables_of_its_method() {
        let logins = logins(Defaults::default(), &[]).0;
        let who = |variables: &[(&str, &str)]| logins.login("mx", &Keywords::default(), &scope(variables)).unwrap().1;
        assert_eq!(who(&[]), None);
        let become_user =
            who(&[("ansible_become", "yes"), ("ansible_sudo_pass", "x"), ("ansible_become_user", "web")]).unwrap();
        assert_eq!((become_user.user.as_str(), become_user.method.as_str()), ("web", "sudo"));
        assert_eq!(become_user.password, Some(Secret::new("x")));
        let su = who(&[("ansible_become", "1"), ("ansible_become_method", "su"), ("ansible_sudo_pass", "x")]).unwrap();
        assert_eq!((su.user.as_str(), su.password), ("root", None));
    }

    #[test]
    fn a_check_leaves_out_what_is_not_known_yet() {
        let logins = logins(Defaults::default(), &[]).0;
        let unknown = Layer::from([("ansible_port".to_string(), Var::Unknown("a result".into()))]);
        let scope = Scope::new(vec![Arc::new(unknown)]);
        assert!(logins.check("mx", &Keywords::default(), &scope).is_ok());
        assert!(matches!(logins.login("mx", &Keywords::default(), &scope), Err(Failure::Unknown(_))));
    }
}
