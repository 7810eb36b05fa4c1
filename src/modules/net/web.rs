//! What `get_url` and `uri` share: how a web server is asked from the host, and what it answers.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::host::View;
use crate::modules::files::checksum::Algorithm;
use crate::modules::{Argument, Kind, ModuleError};
use crate::secret;
use crate::transport::{Command, Digest, INLINE_LIMIT, Output};
use crate::web::{Answer, Failure, Part, Request};

pub const ASKING: &[Argument] = &[
    Argument::new("url", Kind::Text, "Where it is. A login in it is taken out and told to nobody but the server.")
        .required(),
    Argument::new("headers", Kind::Map, "Header fields of the request."),
    Argument::new("url_username", Kind::Text, "The user's name, for the server.").alias(&["username", "user"]),
    Argument::new("url_password", Kind::Text, "The password. It is in no process list, no diff and no journal.")
        .alias(&["password"]),
    Argument::new("force_basic_auth", Kind::Bool, "The login goes with the first request; else when it is asked for."),
    Argument::new("timeout", Kind::Int, "Seconds to connect, and without any byte."),
    Argument::new("validate_certs", Kind::Bool, "`false` trusts any certificate."),
    Argument::new("use_proxy", Kind::Bool, "`false` leaves out the proxies that the host's environment names."),
    Argument::new(
        "http_agent",
        Kind::Text,
        "What the request says that it comes from. The default is `ansible-httpget`.",
    ),
    Argument::new(
        "unredirected_headers",
        Kind::List,
        "Names of header fields, `authorization` among them, that do not go to where an answer leads to.",
    ),
    Argument::new("client_cert", Kind::Path, "A file of the host with our certificate, and maybe its key."),
    Argument::new("client_key", Kind::Path, "A file of the host with the key."),
    Argument::new("ca_path", Kind::Path, "A file of the host with the certificates that are trusted."),
    Argument::new("ciphers", Kind::List, "Ciphers, in OpenSSL's words."),
    Argument::new("decompress", Kind::Bool, "`false` takes what is packed for the way as it is."),
    Argument::new("use_gssapi", Kind::Bool, "Logs in with Kerberos; the host's curl has to know how."),
    Argument::new(
        "use_netrc",
        Kind::Bool,
        "`false` leaves out the logins of the host's `~/.netrc`, or of the file that `$NETRC` names. A login there goes before an `Authorization` in `headers`.",
    ),
];

#[derive(Deserialize)]
pub struct Asking {
    pub url: String,
    #[serde(default)]
    headers: Map<String, Value>,
    url_username: Option<String>,
    url_password: Option<String>,
    #[serde(default)]
    force_basic_auth: bool,
    timeout: Option<u64>,
    validate_certs: Option<bool>,
    use_proxy: Option<bool>,
    http_agent: Option<String>,
    #[serde(default)]
    pub unredirected_headers: Vec<String>,
    client_cert: Option<String>,
    client_key: Option<String>,
    ca_path: Option<String>,
    #[serde(default)]
    ciphers: Vec<String>,
    decompress: Option<bool>,
    #[serde(default)]
    use_gssapi: bool,
    use_netrc: Option<bool>,
}

impl Asking {
    pub fn has_timeout(&self) -> bool {
        self.timeout.is_some()
    }

    /// Returns the request for an URL of the task's. Its password is a secret from now on.
    pub fn request(&self, url: &str) -> Request {
        let mut request = Request::to(url);
        if let Some(user) = &self.url_username {
            request.login = Some((user.clone(), self.url_password.clone().unwrap_or_default()));
        }
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), String::from);
        request.headers = self.headers.iter().map(|(name, value)| (name.clone(), text(value))).collect();
        request.secrets().iter().for_each(|text| secret::note(text));
        request.force_basic_auth = self.force_basic_auth;
        request.timeout = self.timeout.unwrap_or(10);
        request.validate_certs = self.validate_certs.unwrap_or(true);
        request.use_proxy = self.use_proxy.unwrap_or(true);
        request.agent = self.http_agent.clone().unwrap_or(request.agent);
        request.client_cert = self.client_cert.clone();
        request.client_key = self.client_key.clone();
        request.ca_path = self.ca_path.clone();
        request.ciphers = (!self.ciphers.is_empty()).then(|| self.ciphers.join(":"));
        request.decompress = self.decompress.unwrap_or(true);
        request.use_gssapi = self.use_gssapi;
        request.use_netrc = self.use_netrc.unwrap_or(true);
        request
    }

    /// Asks, and follows where the answer leads to, if the request is to. Returns the request that was answered, too.
    pub async fn ask(
        &self,
        host: &View,
        mut request: Request,
        limit: u64,
    ) -> Result<(Request, Result<Answer, Failure>), ModuleError> {
        if self.unredirected_headers.is_empty() || !request.follow {
            let answer = ask(host, &request, limit).await?;
            return Ok((request, answer));
        }
        let dropped = |name: &str| self.unredirected_headers.iter().any(|known| known.eq_ignore_ascii_case(name));
        request.follow = false;
        let mut redirected = false;
        for _ in 0..=MOST_REDIRECTS {
            let mut answer = match ask(host, &request, limit).await? {
                Ok(answer) => answer,
                failed => return Ok((request, failed)),
            };
            let next = answer.header("location").filter(|_| (300..400).contains(&answer.status));
            let Some(next) = next else {
                answer.redirected = redirected;
                return Ok((request, Ok(answer)));
            };
            redirected = true;
            request.url = resolved(&request.url, next);
            request.headers.retain(|(name, _)| !dropped(name));
            if dropped("authorization") {
                request.login = None;
            }
        }
        Ok((request, Err(Failure::NoAnswer("more redirects than are followed".into()))))
    }
}

/// As many as curl and Python follow.
const MOST_REDIRECTS: usize = 10;

/// Asks from the host; no body that is larger than `limit` comes.
pub async fn ask(host: &View, request: &Request, limit: u64) -> Result<Result<Answer, Failure>, ModuleError> {
    let output = host.probe(&command(request, Part::Whole(limit))?).await?;
    Ok(answer(limit, &output))
}

/// Returns what an URL leads to, as the host reads it; for what is small: a key, a list.
pub async fn body(host: &View, url: &str, validate_certs: bool) -> Result<Vec<u8>, ModuleError> {
    let mut request = Request::to(url);
    request.secrets().iter().for_each(|text| secret::note(text));
    request.validate_certs = validate_certs;
    let failed = |why: &str| ModuleError::failed(format!("Failed to read `{}`: {why}", request.url));
    let answer = ask(host, &request, INLINE_LIMIT).await?.map_err(|failure| failed(failure.text()))?;
    if !answer.is_success() {
        return Err(failed(&format!("HTTP Error {}: {}", answer.status, answer.reason())));
    }
    answer.body.ok_or_else(|| failed("it is larger than what is read there may be"))
}

pub fn answer(limit: u64, output: &Output) -> Result<Answer, Failure> {
    Answer::read(limit, output.status, (&output.stdout, &output.stderr))
}

/// Returns the command that asks.
pub fn command(request: &Request, part: Part) -> Result<Command, ModuleError> {
    let (script, stdin) = request.script(part).map_err(ModuleError::failed)?;
    let mut command = Command::shell(script);
    command.stdin = stdin;
    Ok(command)
}

/// Returns the digest that the host computes of what a server has, and nothing of it comes here.
pub async fn digest(host: &View, request: &Request, algorithm: Algorithm) -> Result<Digest, ModuleError> {
    let mut asked = command(request, Part::Body)?;
    let (script, _) = request.script(Part::Body).map_err(ModuleError::failed)?;
    let sum = format!("{}\n{{ (\n{script}\n) || echo failed >&2; }} | $sum", algorithm.program());
    asked.program = Command::shell(sum).program;
    let output = host.probe(&asked).await?;
    let (text, errors) = (output.text(), output.error_text());
    match text.split_whitespace().next() {
        Some(digest) if output.success() && !errors.trim_end().ends_with("failed") => Ok(Digest(digest.into())),
        _ => Err(ModuleError::failed(format!("`{}` cannot be read: {}", request.url, errors.trim_end()))),
    }
}

/// Returns where a `Location` leads to, from an URL (RFC 3986, 5.2, without its dots).
fn resolved(base: &str, next: &str) -> String {
    let (scheme, rest) = base.split_once("://").unwrap_or(("http", base));
    let (site, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match next {
        _ if next.contains("://") => next.into(),
        _ if next.starts_with("//") => format!("{scheme}:{next}"),
        _ if next.starts_with('/') => format!("{scheme}://{site}{next}"),
        _ => {
            let directory =
                path.split('?').next().and_then(|path| path.rsplit_once('/')).map_or("", |(above, _)| above);
            format!("{scheme}://{site}{directory}/{next}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::resolved;

    #[test]
    fn a_location_is_seen_from_where_it_was_given() {
        let from = |next| resolved("https://a:8/b/c?d=/e", next);
        assert_eq!(
            ["x", "/x", "//y/x", "http://y"].map(from),
            ["https://a:8/b/x", "https://a:8/x", "https://y/x", "http://y"]
        );
        assert_eq!(resolved("http://a", "x"), "http://a/x");
    }
}
