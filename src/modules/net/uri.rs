//! `uri`: a web service is asked from the host, or told something.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::change::Change;
use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::files::place::{Place, Writing, absolute, base_name, join};
use crate::modules::files::rights::{RIGHTS, Rights};
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Outcome, Planned, Results};
use crate::transport::{Command, Content, Links, Program, Want};
use crate::web::{Answer, Failure, Part, Request};

use super::form;
use super::web::{ASKING, Asking, answer, command};

/// The most bytes of an answer.
const LIMIT: u64 = 64 * 1024 * 1024;

pub const ENTRY: Entry = Entry {
    name: "uri",
    summary: "Asks a web service, or tells it something, with the host's own curl or wget",
    arguments: &[ARGUMENTS, ASKING, RIGHTS],
    free_form: None,
    example: "\
- name: The webmail answers
  uri:
    url: http://127.0.0.1/status
    return_content: true
  register: webmail
",
    build,
};

const ARGUMENTS: &[Argument] = &[
    Argument::new(
        "method",
        Kind::Text,
        "The default is GET. GET, HEAD, OPTIONS and TRACE only ask: they are done in a check too, and change nothing. All others are changes, of which a check does not know the result.",
    ),
    Argument::new("body", Kind::Any, "What is sent."),
    Argument::new("body_format", Kind::Text, "What is made of `body`. The default is `raw`.").choices(&[
        "raw",
        "json",
        "form-urlencoded",
        "form-multipart",
    ]),
    Argument::new("src", Kind::Path, "A file that is sent instead of `body`."),
    Argument::new("remote_src", Kind::Bool, "`src` is on the host."),
    Argument::new("dest", Kind::Path, "A file of the host, or its directory, that what is asked for is kept in."),
    Argument::new("status_code", Kind::List, "Each status that is no failure. The default is 200."),
    Argument::new("return_content", Kind::Bool, "`content` is in the result even if all is well."),
    Argument::new("follow_redirects", Kind::Text, "`safe`, unless set: what only asks is led on.")
        .choices(&["all", "no", "none", "safe", "urllib2", "yes"]),
    Argument::new("creates", Kind::Path, "Where this path is there already, nothing is asked."),
    Argument::new("removes", Kind::Path, "Where this path is not there, nothing is asked."),
    Argument::new("unix_socket", Kind::Path, "The socket of the host that the service listens at."),
    Argument::new("force", Kind::Bool, "Asks whoever is between for nothing that was kept."),
];

#[derive(Deserialize)]
struct Uri {
    method: Option<String>,
    body: Option<Value>,
    body_format: Option<String>,
    src: Option<String>,
    #[serde(default)]
    remote_src: bool,
    dest: Option<String>,
    status_code: Option<Vec<Value>>,
    #[serde(default)]
    return_content: bool,
    follow_redirects: Option<String>,
    creates: Option<String>,
    removes: Option<String>,
    unix_socket: Option<String>,
    #[serde(default)]
    force: bool,
    #[serde(flatten)]
    asking: Asking,
    #[serde(flatten)]
    rights: Rights,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let mut uri: Uri = arguments.read()?;
    uri.rights.check()?;
    let method = uri.method.take().unwrap_or_else(|| "GET".into()).to_uppercase();
    if method.is_empty() || !method.chars().all(|letter| letter.is_ascii_alphabetic()) {
        return Err(Diagnostic::new(format!("`{method}` is no method")));
    }
    if uri.body.is_some() && uri.src.is_some() {
        return Err(Diagnostic::new("parameters are mutually exclusive: body|src"));
    }
    uri.method = Some(method);
    Ok(Box::new(uri))
}

/// What of an answer is a success, and how it is told.
struct Telling {
    codes: Vec<i64>,
    content: bool,
    request: Request,
}

#[async_trait]
impl Module for Uri {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        for (path, is_there) in [(&self.creates, true), (&self.removes, false)] {
            let Some(path) = path else { continue };
            let asked = [(absolute(host, path), Links::Follow)];
            if host.look_all(&asked, Want::Attributes).await?.iter().any(|node| node.exists()) == is_there {
                let why = if is_there { "exists" } else { "does not exist" };
                let pairs = [
                    ("msg", json!(format!("skipped, since '{path}' {why}"))),
                    ("stdout", json!(format!("skipped, since '{path}' {why}"))),
                    ("rc", json!(0)),
                ];
                return Ok(Planned::new(
                    Vec::new(),
                    pairs.map(|(name, value)| (name.to_string(), value)).into_iter().collect(),
                ));
            }
        }
        if host.only_asks {
            return Ok(Planned::new(Vec::new(), Results::new()));
        }
        let request = self.request(host)?;
        let mut telling = Telling { codes: self.codes()?, content: self.return_content, request: request.clone() };
        if !request.is_safe() {
            if self.dest.is_some() {
                let message = format!(
                    "`dest` takes what is asked for: register the result of {} and `copy` its content",
                    request.method
                );
                return Err(ModuleError::failed(message));
            }
            let change = Change::Run { command: told(&request)? };
            let read = move |output: &crate::transport::Output| telling.told(answer(LIMIT, output));
            return Ok(Planned { changes: vec![change], result: Outcome::Read(Box::new(read)), warnings: Vec::new() });
        }
        let (asked, answer) = self.asking.ask(host, request, LIMIT).await?;
        telling.request = asked;
        let body = answer.as_ref().ok().and_then(|answer| answer.body.clone());
        let url = answer.as_ref().map_or_else(|_| String::new(), |answer| answer.url.clone());
        let results = telling.told(answer)?;
        match (&self.dest, body) {
            (Some(dest), Some(body)) => self.kept(host, (dest, &url), (body, results)).await,
            _ => Ok(Planned::new(Vec::new(), results)),
        }
    }
}

impl Uri {
    fn codes(&self) -> Result<Vec<i64>, ModuleError> {
        let Some(codes) = &self.status_code else { return Ok(vec![200]) };
        let code = |value: &Value| value.as_i64().or_else(|| value.as_str().and_then(|text| text.trim().parse().ok()));
        let wrong = |value: &Value| ModuleError::failed(format!("`status_code` has {value}, which is no number"));
        codes.iter().map(|value| code(value).ok_or_else(|| wrong(value))).collect()
    }

    fn request(&self, host: &View) -> Result<Request, ModuleError> {
        let mut request = self.asking.request(&self.asking.url);
        request.method = self.method.clone().unwrap_or_else(|| "GET".into());
        request.unix_socket = self.unix_socket.clone();
        request.timeout = if self.asking.has_timeout() { request.timeout } else { 30 };
        request.follow = match self.follow_redirects.as_deref().unwrap_or("safe") {
            "all" | "yes" => true,
            "none" | "no" => false,
            "safe" => ["GET", "HEAD"].contains(&request.method.as_str()),
            _ => ["GET", "HEAD", "POST"].contains(&request.method.as_str()),
        };
        if self.force {
            request.headers.push(("Cache-Control".into(), "no-cache".into()));
        }
        let mut kind = None;
        let format = self.body_format.as_deref().unwrap_or("raw");
        request.body = match (&self.body, format) {
            (None, _) => None,
            (Some(Value::String(text)), "json") => {
                kind = Some("application/json".to_string());
                Some(text.clone().into_bytes())
            }
            (Some(body), "json") => {
                kind = Some("application/json".to_string());
                Some(body.to_string().into_bytes())
            }
            (Some(body), "form-urlencoded") => {
                kind = Some("application/x-www-form-urlencoded".to_string());
                Some(form::url_encoded(body)?.into_bytes())
            }
            (Some(Value::Object(fields)), "form-multipart") => {
                let (body, boundary) = form::multipart(host, fields)?;
                request.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("content-type"));
                kind = Some(boundary);
                Some(body)
            }
            (Some(other), "form-multipart") => {
                return Err(ModuleError::failed(format!(
                    "failed to parse body as form-multipart: `{other}` is no mapping"
                )));
            }
            (Some(Value::String(text)), _) => Some(text.clone().into_bytes()),
            (Some(other), _) => Some(other.to_string().into_bytes()),
        };
        match &self.src {
            Some(src) if self.remote_src => request.file = Some(absolute(host, src)),
            Some(src) => {
                let path = host.controller().find("files", src)?;
                let read = crate::provenance::content(&path);
                request.body = Some(read.map_err(|error| {
                    ModuleError::failed(format!("Unable to open source file {}: {error}", path.display()))
                })?);
            }
            None => {}
        }
        if let Some(kind) = kind.filter(|_| request.header("content-type").is_none()) {
            request.headers.push(("Content-Type".into(), kind));
        }
        Ok(request)
    }

    /// Keeps the body in a file.
    async fn kept(
        &self,
        host: &View,
        (dest, url): (&str, &str),
        (body, mut results): (Vec<u8>, Results),
    ) -> Result<Planned, ModuleError> {
        let mut place = Place::look(host, dest, Links::Follow, Want::Digest).await?;
        if place.node.is_directory() {
            let name = base_name(url.split(['?', '#']).next().unwrap_or_default());
            let name = if name.is_empty() || url.ends_with('/') { "index.html" } else { name };
            place = Place::look(host, &join(&place.path, name), Links::Follow, Want::Digest).await?;
        }
        let writing = Writing { rights: self.rights.clone(), ..Writing::default() };
        let (changes, written) = place.write(host, Content::here(body), &writing).await?;
        results.insert("path".into(), place.path.as_str().into());
        for (name, value) in written {
            results.entry(name).or_insert(value);
        }
        Ok(Planned::new(changes, results))
    }
}

impl Telling {
    /// Returns what `register:` sees of an answer.
    fn told(&self, answer: Result<Answer, Failure>) -> Result<Results, ModuleError> {
        let codes: Vec<String> = self.codes.iter().map(i64::to_string).collect();
        let codes = codes.join(", ");
        let answer = match answer {
            Ok(answer) => answer,
            Err(failure) => {
                let message = format!("Status code was -1 and not [{codes}]: Request failed: {}", failure.text());
                let result = [("status", json!(-1)), ("url", json!(self.request.url)), ("elapsed", json!(0))];
                let result = result.map(|(name, value)| (name.to_string(), value)).into_iter().collect();
                return Err(ModuleError::Failed { message, result });
            }
        };
        let mut results = headers(&answer);
        let length = answer.length().map_or("unknown".to_string(), |length| length.to_string());
        let status = i64::from(answer.status);
        let is_well = self.codes.contains(&status);
        let message = match answer.status {
            ..400 => format!("{} ({length} bytes)", answer.reason()),
            status => format!("HTTP Error {status}: {}", answer.reason()),
        };
        let url = if answer.url.is_empty() { &self.request.url } else { &answer.url };
        for (name, value) in [
            ("status", json!(status)),
            ("url", json!(url)),
            ("redirected", json!(answer.redirected)),
            ("elapsed", json!(0)),
            ("msg", json!(message)),
        ] {
            results.insert(name.into(), value);
        }
        let text = answer.body.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
        let kind = answer.header("content-type").unwrap_or_default().split(';').next().unwrap_or_default().trim();
        if kind == "application/json" || kind == "text/json" || kind.ends_with("+json") || kind.ends_with("/javascript")
        {
            results.extend(serde_json::from_str(&text).ok().map(|value: Value| ("json".to_string(), value)));
        }
        if self.content || !is_well {
            results.insert("content".into(), text.into());
        }
        match is_well {
            true => Ok(results),
            false => {
                results.shift_remove("msg");
                let message = format!("Status code was {status} and not [{codes}]: {message}");
                Err(ModuleError::Failed { message, result: results })
            }
        }
    }
}

/// Returns the command that tells a service something; its first line says to people what and where, without a query, in which
/// there may be a secret.
fn told(request: &Request) -> Result<Command, ModuleError> {
    let mut command = command(request, Part::Whole(LIMIT))?;
    let url = request.url.split('?').next().unwrap_or_default();
    let length = request.body.as_ref().map_or(String::new(), |body| format!(", a body of {} bytes", body.len()));
    if let Program::Shell { script, .. } = &mut command.program {
        *script = format!("# {} {url}{length}\n{script}", request.method);
    }
    Ok(command)
}

/// Returns the header fields by their names in lower case, and the cookies.
fn headers(answer: &Answer) -> Results {
    let mut results = Results::new();
    let mut cookies = Map::new();
    for (name, value) in &answer.headers {
        let name = name.to_lowercase().replace('-', "_");
        if name == "set_cookie"
            && let Some((cookie, text)) = value.split(';').next().and_then(|pair| pair.split_once('='))
        {
            cookies.insert(cookie.trim().into(), text.trim().into());
        }
        let joined = match results.get(&name).and_then(Value::as_str) {
            Some(before) => format!("{before}, {value}"),
            None => value.clone(),
        };
        results.insert(name, joined.into());
    }
    let text: Vec<String> =
        cookies.iter().map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default())).collect();
    results.insert("cookies_string".into(), text.join("; ").into());
    results.insert("cookies".into(), cookies.into());
    results
}
