//! The target that the settings of a host make, and of each host that it is reached through.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::{Diagnostic, Diagnostics};
use crate::secret::Secret;

use super::arguments::{Given, ours};
use super::evaluation::{Evaluation, Pass};
use super::jump::Hop;
use super::keywords::{self, Support};
use super::settings::{Setting, Settings};
use super::tokens::Tokens;
use super::{SshConfig, check_host};
use crate::transport::ssh::{AddressFamily, Algorithms, HostKeyChecking, Target, Via};

/// `ConnectTimeout 0`, which sets no limit, is as long as this.
const NO_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);

/// More hosts on one way are a mistake.
const MOST_HOPS: usize = 16;

/// One host's way, with the hosts that are reached through the next ones.
pub struct Resolution<'a> {
    pub config: &'a SshConfig,
    /// User, address and port of each host so far, the last one to be reached first.
    pub chain: Vec<(String, String, u16)>,
}

impl Resolution<'_> {
    pub fn target(&mut self, name: &str, host: &str, given: &Given) -> Result<Target, Diagnostics> {
        check_host(host, &given.host)?;
        let (settings, address) = self.settings(host, given)?;
        let mut errors = refusals(&settings);
        let mut target = None;
        match self.build((name, host, &address), &settings, given) {
            Ok(built) => target = Some(built),
            Err(found) => errors.extend(found),
        }
        errors.or(())?;
        target.ok_or_else(Diagnostics::default)
    }

    /// Returns a host's settings and the name or address that it is connected to.
    fn settings(&self, host: &str, given: &Given) -> Result<(Settings, String), Diagnostics> {
        let files = self.config.files(given)?;
        let mut evaluation = Evaluation {
            local: &self.config.local,
            commands: &self.config.commands,
            original: host,
            host: host.into(),
            pass: Pass::First,
            settings: Settings::default(),
            errors: Diagnostics::default(),
        };
        evaluation.walk(&given.lines);
        files.iter().for_each(|file| evaluation.walk(&file.lines));
        let address = canonical(&evaluation.connected());
        if evaluation.pass == Pass::FirstOfTwo {
            evaluation.pass = Pass::Final;
            evaluation.host = address.clone();
            if let Some(keyword) = keywords::find("HostName") {
                evaluation.settings.replace(Setting { keyword, words: vec![address.clone()], origin: ours() });
            }
            files.iter().for_each(|file| evaluation.walk(&file.lines));
        }
        evaluation.errors.or((evaluation.settings, address))
    }

    fn build(
        &mut self,
        (name, host, address): (&str, &str, &str),
        settings: &Settings,
        given: &Given,
    ) -> Result<Target, Diagnostics> {
        let local = &self.config.local;
        let user = settings.text("User").unwrap_or(&local.user);
        let alias = settings.text("HostKeyAlias").map(str::to_ascii_lowercase);
        let jump = settings.command("ProxyJump");
        let tokens = Tokens {
            local,
            original: host,
            host: address,
            port: settings.port(),
            user,
            key_alias: alias.as_deref().unwrap_or(host),
            jump: jump.and_then(|jump| jump.words.first()).map_or("", String::as_str),
        };
        let mut target = Target::new(name, user, &local.home);
        target.address = address.into();
        target.port = settings.port();
        target.host_key_alias = alias.clone();
        let mut errors = Diagnostics::default();
        identities(&mut target, settings, &tokens).unwrap_or_else(|error| errors.push(error));
        known_hosts(&mut target, settings, &tokens).unwrap_or_else(|error| errors.push(error));
        target.password = errors.catch(password(settings, given.password.as_ref())).flatten();
        plain(&mut target, settings);
        match self.via(settings, &tokens, given) {
            Ok(via) => target.via = via,
            Err(found) => errors.extend(found),
        }
        errors.or(target)
    }

    fn via(&mut self, settings: &Settings, tokens: &Tokens, given: &Given) -> Result<Via, Diagnostics> {
        let here = (tokens.user.to_string(), tokens.host.to_string(), tokens.port);
        let turns = self.chain.contains(&here) || self.chain.len() >= MOST_HOPS;
        self.chain.push(here);
        if let Some(jump) = settings.command("ProxyJump") {
            if turns {
                let hosts: Vec<String> =
                    self.chain.iter().map(|(user, host, port)| format!("{user}@{host}:{port}")).collect();
                let error = jump.origin.wrong(format!("the jump hosts lead in a circle: {}", hosts.join(" through ")));
                return Err(error
                    .hint("a jump host that its own `ProxyJump` applies to needs `ProxyJump none`")
                    .into());
            }
            return self.jump(jump, tokens, given).map(|target| Via::Jump(Box::new(target)));
        }
        let Some(command) = settings.command("ProxyCommand") else { return Ok(Via::Direct) };
        let text = command.words.first().map_or("", String::as_str);
        if text == "-" {
            return Err(command.origin.wrong("`ProxyCommand -` is not supported").into());
        }
        Ok(Via::Command(tokens.proxy(text).map_err(|why| command.origin.wrong(why))?))
    }

    /// Returns the last host of a `ProxyJump`, which is reached through the ones before it. It has its own settings from
    /// the files; nothing of the command line's but `-F` (`ssh_config.5`, ProxyJump).
    fn jump(&mut self, jump: &Setting, tokens: &Tokens, given: &Given) -> Result<Target, Diagnostics> {
        let wrong = |why: String| Diagnostics::from(jump.origin.wrong(why));
        let text = jump.words.first().map_or("", String::as_str);
        let (before, last) = match text.rsplit_once(',') {
            Some((before, last)) => (Some(before), last),
            None => (None, text),
        };
        let hop = Hop::read(last).ok_or_else(|| wrong(format!("`{last}` is no host to jump through")))?;
        let host = tokens.proxy(&hop.host).map_err(wrong)?;
        check_host(&host, &jump.origin)?;
        let mut through = given.files_only();
        if let Some(user) = &hop.user {
            through.option("User", &tokens.proxy(user).map_err(wrong)?, &jump.origin)?;
        }
        if let Some(port) = hop.port {
            through.option("Port", &port.to_string(), &jump.origin)?;
        }
        if let Some(before) = before {
            through.jump(&tokens.proxy(before).map_err(wrong)?, &jump.origin)?;
        }
        self.target(&host, &host, &through)
    }
}

/// Writes a name in small letters, and an address as every program writes it.
fn canonical(host: &str) -> String {
    match host.parse::<IpAddr>() {
        Ok(address) => address.to_string(),
        Err(_) if host.contains(['%', ':']) => host.into(),
        Err(_) => host.to_ascii_lowercase(),
    }
}

/// Returns an error for each setting that would change how the host is reached, and is not there.
fn refusals(settings: &Settings) -> Diagnostics {
    let mut errors = Diagnostics::default();
    for setting in settings.iter() {
        let Support::Refused(nothing) = setting.keyword.support else { continue };
        if nothing.iter().any(|value| matches!(&*setting.words, [word] if word.eq_ignore_ascii_case(value))) {
            continue;
        }
        let name = setting.keyword.name;
        let error = setting.origin.wrong(match name {
            "RefuseConnection" => format!("this host is not to be connected to: {}", setting.words.join(" ")),
            _ => format!("`{name}` is not supported"),
        });
        errors.push(match nothing.first() {
            Some(value) => error.hint(format!(
                "take it out for this host, or override it: `ansible_ssh_common_args: -o {name}={value}`"
            )),
            None => error.hint("take it out for this host"),
        });
    }
    if let (Some(true), Some(command)) = (settings.flag("PermitLocalCommand"), settings.command("LocalCommand")) {
        errors.push(
            command.origin.wrong("`LocalCommand` is not supported").hint("set `PermitLocalCommand no` for this host"),
        );
    }
    errors.in_order()
}

fn identities(target: &mut Target, settings: &Settings, tokens: &Tokens) -> Result<(), Diagnostic> {
    let files = |name: &str| -> Result<Vec<PathBuf>, Diagnostic> {
        let mut files = Vec::new();
        for setting in settings.all(name) {
            let text = setting.words.first().map_or("", String::as_str);
            if !text.eq_ignore_ascii_case("none") {
                let file = PathBuf::from(tokens.file(text).map_err(|why| setting.origin.wrong(why))?);
                files.extend((!files.contains(&file)).then_some(file));
            }
        }
        Ok(files)
    };
    if settings.has("IdentityFile") {
        target.keys = files("IdentityFile")?;
    }
    target.certificates = files("CertificateFile")?;
    target.identities_only = settings.flag("IdentitiesOnly").unwrap_or(false);
    target.agent = agent(settings, tokens)?;
    if !is_wanted(settings, "publickey", "PubkeyAuthentication") {
        target.keys.clear();
        target.certificates.clear();
        target.agent = None;
    }
    Ok(())
}

/// Tells whether a way to log in is wanted: it is not switched off, and among those that are preferred.
fn is_wanted(settings: &Settings, method: &str, switch: &str) -> bool {
    let preferred = settings.text("PreferredAuthentications");
    settings.flag(switch) != Some(false)
        && preferred.is_none_or(|preferred| preferred.split(',').any(|name| name.trim() == method))
}

/// Returns the password if it may be sent.
fn password(settings: &Settings, given: Option<&Secret>) -> Result<Option<Secret>, Diagnostic> {
    let Some(password) = given else { return Ok(None) };
    let ways = [("password", "PasswordAuthentication"), ("keyboard-interactive", "KbdInteractiveAuthentication")];
    match ways.map(|(method, switch)| is_wanted(settings, method, switch)) {
        [true, true] => Ok(Some(password.clone())),
        [false, false] => Ok(None),
        [password, _] => {
            let (off, on) = if password { (ways[1], ways[0]) } else { (ways[0], ways[1]) };
            let setting = settings.get(off.1).or_else(|| settings.get("PreferredAuthentications"));
            let message = format!("`{}` without `{}` is not supported for a host with a password", on.0, off.0);
            let error = setting.map_or_else(|| Diagnostic::new(&message), |setting| setting.origin.wrong(&message));
            Err(error.hint(format!("set `{}` and `{}` to the same", off.1, on.1)))
        }
    }
}

/// Returns the socket of the agent: what `IdentityAgent` says, which may name a variable, or `SSH_AUTH_SOCK`.
fn agent(settings: &Settings, tokens: &Tokens) -> Result<Option<PathBuf>, Diagnostic> {
    let variable = |name: &str| tokens.local.environment.get(name).filter(|path| !path.is_empty()).map(PathBuf::from);
    let Some(setting) = settings.get("IdentityAgent") else { return Ok(variable("SSH_AUTH_SOCK")) };
    let text = setting.words.first().map_or("", String::as_str);
    if text.eq_ignore_ascii_case("none") {
        return Ok(None);
    }
    if text == "SSH_AUTH_SOCK" {
        return Ok(variable(text));
    }
    match text.strip_prefix('$') {
        Some(name) if !name.starts_with('{') => Ok(variable(name)),
        _ => Ok(Some(tokens.file(text).map_err(|why| setting.origin.wrong(why))?.into())),
    }
}

fn known_hosts(target: &mut Target, settings: &Settings, tokens: &Tokens) -> Result<(), Diagnostic> {
    let ssh = tokens.local.home.join(".ssh");
    let of_user = ["known_hosts", "known_hosts2"].map(|name| ssh.join(name));
    let of_system = ["ssh_known_hosts", "ssh_known_hosts2"].map(|name| tokens.local.system.join(name));
    let files = |name: &str, default: [PathBuf; 2]| -> Result<Vec<PathBuf>, Diagnostic> {
        let Some(setting) = settings.get(name).filter(|setting| !setting.words.is_empty()) else {
            return Ok(default.into());
        };
        let words = setting.words.iter().filter(|word| !word.eq_ignore_ascii_case("none"));
        let expand = |word: &String| match name {
            "UserKnownHostsFile" => tokens.file(word),
            _ => tokens.local.with_home(word).ok_or_else(|| format!("there is no user for `{word}`")),
        };
        words.map(|word| expand(word).map(PathBuf::from).map_err(|why| setting.origin.wrong(why))).collect()
    };
    target.known_hosts = files("UserKnownHostsFile", of_user)?;
    target.known_hosts.extend(files("GlobalKnownHostsFile", of_system)?);
    target.host_key_checking = match settings.text("StrictHostKeyChecking").map(str::to_ascii_lowercase).as_deref() {
        // There is nobody to ask in the middle of a run.
        None | Some("yes" | "true" | "ask") => HostKeyChecking::Strict,
        Some("accept-new") => HostKeyChecking::AcceptNew,
        Some(_) => HostKeyChecking::Off,
    };
    Ok(())
}

/// Takes over what needs no expansion.
fn plain(target: &mut Target, settings: &Settings) {
    if let Some(seconds) = settings.time("ConnectTimeout") {
        target.connect_timeout = if seconds == 0 { NO_LIMIT } else { Duration::from_secs(seconds) };
    }
    if let Some(seconds) = settings.time("ServerAliveInterval") {
        target.keepalive = (seconds > 0).then(|| Duration::from_secs(seconds));
    }
    if let Some(count) = settings.text("ServerAliveCountMax").and_then(|text| text.parse().ok()) {
        // `ssh` never gives up with 0.
        target.keepalive_max = if count == 0 { usize::MAX } else { count };
    }
    let choice = |name: &str| settings.text(name).map(str::to_ascii_lowercase);
    target.family = match choice("AddressFamily").as_deref() {
        Some("inet") => AddressFamily::Inet,
        Some("inet6") => AddressFamily::Inet6,
        _ => AddressFamily::Any,
    };
    target.bind_address = settings.text("BindAddress").map(str::to_owned);
    target.compression = choice("Compression").as_deref() == Some("yes");
    let list = |name: &str| settings.text(name).map(str::to_owned);
    target.algorithms = Algorithms {
        kex: list("KexAlgorithms"),
        host_keys: list("HostKeyAlgorithms"),
        ciphers: list("Ciphers"),
        macs: list("MACs"),
        public_keys: list("PubkeyAcceptedAlgorithms"),
        ..Algorithms::default()
    };
}
