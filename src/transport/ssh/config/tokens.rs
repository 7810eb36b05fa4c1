//! `%` tokens and `${NAME}` in values (`ssh_config.5`, TOKENS and ENVIRONMENT VARIABLES).

use sha1::{Digest as _, Sha1};

use super::local::Local;

/// What is known of a connection when its values are expanded.
#[derive(Clone, Debug)]
pub struct Tokens<'a> {
    pub local: &'a Local,
    /// The host as it was asked for (`%n`).
    pub original: &'a str,
    /// The name or address that is connected to (`%h`).
    pub host: &'a str,
    pub port: u16,
    /// The user there (`%r`).
    pub user: &'a str,
    /// What host keys are searched for by (`%k`).
    pub key_alias: &'a str,
    /// What `ProxyJump` says, or nothing (`%j`).
    pub jump: &'a str,
}

impl Tokens<'_> {
    /// Expands a file name: `~`, then all tokens and `${NAME}`.
    pub fn file(&self, text: &str) -> Result<String, String> {
        let home = self.local.with_home(text).ok_or_else(|| format!("there is no user for `{text}`"))?;
        self.expand(&home, "CLdhijklnpru", Some(self.local))
    }

    /// Expands the command of `Match exec`.
    pub fn command(&self, text: &str) -> Result<String, String> {
        self.expand(text, "CLdhijklnpru", None)
    }

    /// Expands a `ProxyCommand` or a `ProxyJump`; `${NAME}` is left to the shell.
    pub fn proxy(&self, text: &str) -> Result<String, String> {
        self.expand(text, "hknpr", None)
    }

    /// Expands a `HostName`, whose `%h` is the host that was asked for.
    pub fn host_name(&self, text: &str) -> Result<String, String> {
        self.expand(text, "h", None)
    }

    fn expand(&self, text: &str, allowed: &str, environment: Option<&Local>) -> Result<String, String> {
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['%', '$']) {
            out.push_str(&rest[..at]);
            rest = &rest[at..];
            if let (Some(local), true) = (environment, rest.starts_with("${")) {
                let (value, after) = variable(rest, local)?;
                out.push_str(value);
                rest = after;
                continue;
            }
            if rest.starts_with('$') {
                out.push('$');
                rest = &rest[1..];
                continue;
            }
            let Some(token) = rest.chars().nth(1) else { return Err(format!("`{text}` ends in a lone `%`")) };
            if token != '%' && !allowed.contains(token) {
                return Err(format!("there is no token `%{token}` here; those are {}", listed(allowed)));
            }
            out.push_str(&self.value(token));
            rest = &rest[1 + token.len_utf8()..];
        }
        out.push_str(rest);
        Ok(out)
    }

    fn value(&self, token: char) -> String {
        match token {
            'C' => self.digest(),
            'L' => self.local.host.split('.').next().unwrap_or_default().into(),
            'd' => self.local.home.to_string_lossy().into_owned(),
            'h' => self.host.into(),
            'i' => self.local.uid.to_string(),
            'j' => self.jump.into(),
            'k' => self.key_alias.into(),
            'l' => self.local.host.clone(),
            'n' => self.original.into(),
            'p' => self.port.to_string(),
            'r' => self.user.into(),
            'u' => self.local.user.clone(),
            other => other.to_string(),
        }
    }

    /// `%C`: the SHA-1 of `%l%h%p%r%j` in hexadecimal.
    fn digest(&self) -> String {
        let text = format!("{}{}{}{}{}", self.local.host, self.host, self.port, self.user, self.jump);
        Sha1::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Puts the values of environment variables in place of `${NAME}`, and nothing else.
pub fn environment(text: &str, local: &Local) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        out.push_str(&rest[..at]);
        let (value, after) = variable(&rest[at..], local)?;
        out.push_str(value);
        rest = after;
    }
    Ok(out + rest)
}

/// Reads the `${NAME}` that `text` starts with; returns its value and the rest.
fn variable<'a, 'l>(text: &'a str, local: &'l Local) -> Result<(&'l str, &'a str), String> {
    let (name, rest) = text[2..].split_once('}').ok_or_else(|| format!("`{text}` lacks a `}}`"))?;
    let value = local.environment.get(name);
    Ok((value.ok_or_else(|| format!("the environment variable `{name}` is not set"))?, rest))
}

fn listed(allowed: &str) -> String {
    let tokens: Vec<String> = allowed.chars().chain(['%']).map(|token| format!("%{token}")).collect();
    tokens.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local() -> Local {
        let environment = [("DIR".to_string(), "/keys".to_string())].into();
        let (user, home) = ("ann".to_string(), "/home/ann".into());
        Local { user, uid: 1000, home, host: "desk.example.com".into(), environment, system: "/etc/ssh".into() }
    }

    fn tokens(local: &Local) -> Tokens<'_> {
        Tokens {
            local,
            original: "mx",
            host: "mx.example.com",
            port: 2222,
            user: "root",
            key_alias: "mx-key",
            jump: "",
        }
    }

    #[test]
    fn each_token_has_its_value() {
        let local = local();
        let expanded = tokens(&local).file("~/%h-%n-%p-%r-%u-%i-%k-%L-%l-%%-%d${DIR}/$x").unwrap();
        let expected =
            "/home/ann/mx.example.com-mx-2222-root-ann-1000-mx-key-desk-desk.example.com-%-/home/ann/keys/$x";
        assert_eq!(expanded, expected);
        assert_eq!(tokens(&local).proxy("nc %h %p ${DIR}").unwrap(), "nc mx.example.com 2222 ${DIR}");
    }

    #[test]
    fn what_a_keyword_does_not_know_is_said() {
        let local = local();
        let tokens = tokens(&local);
        let error = tokens.host_name("%n.example.com").unwrap_err();
        assert_eq!(error, "there is no token `%n` here; those are %h %%");
        assert_eq!(tokens.file("a%").unwrap_err(), "`a%` ends in a lone `%`");
        assert_eq!(tokens.file("${NOPE}").unwrap_err(), "the environment variable `NOPE` is not set");
        assert_eq!(tokens.file("${DIR").unwrap_err(), "`${DIR` lacks a `}`");
        assert!(tokens.file("%é").is_err());
    }
}
