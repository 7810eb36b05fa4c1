//! `lookup('url')`: what a web server has, asked with the controller's own curl or wget.

use std::io::Write as _;
use std::process::Stdio;

use minijinja::{Error, Value};

use crate::secret;
use crate::web::{Answer, Failure, Part, Request};

use super::call::{text, wrong};
use super::lookups::Terms;
use super::values::{as_bool, pairs};

/// The most bytes of an answer.
const LIMIT: u64 = 64 * 1024 * 1024;

/// What a lookup is told by its options, by variables `ansible_lookup_url_...` or by `ANSIBLE_LOOKUP_URL_...`.
struct Options<'a, 'b>(&'a mut Terms<'b>);

impl Options<'_, '_> {
    fn value(&mut self, names: &[&str]) -> Option<Value> {
        let given = names.iter().find_map(|name| self.0.option(name));
        let given = given.or_else(|| names.iter().find_map(|name| self.0.found(&format!("ansible_lookup_url_{name}"))));
        let set = |name: &&str| std::env::var(format!("ANSIBLE_LOOKUP_URL_{}", name.to_uppercase())).ok();
        let given = given.or_else(|| names.iter().find_map(set).map(Value::from));
        given.filter(|value| !value.is_none())
    }

    fn text(&mut self, names: &[&str]) -> Option<String> {
        self.value(names).map(|value| text(&value)).filter(|text| !text.is_empty())
    }

    fn flag(&mut self, name: &str, default: bool) -> bool {
        self.value(&[name]).map_or(default, |value| as_bool(&value).unwrap_or(default))
    }
}

/// `lookup('url', 'https://...', split_lines=false)`.
pub(super) fn url(terms: &mut Terms) -> Result<Vec<Value>, Error> {
    let urls = terms.texts();
    let mut options = Options(terms);
    let split = options.flag("split_lines", true);
    let mut found = Vec::new();
    for url in urls {
        let request = request(&mut options, &url)?;
        let text = asked(options.0, &request)?;
        match split {
            true => found.extend(text.lines().map(Value::from)),
            false => found.push(text.into()),
        }
    }
    Ok(found)
}

fn request(options: &mut Options, url: &str) -> Result<Request, Error> {
    let mut request = Request::to(url);
    if let Some(user) = options.text(&["username"]) {
        let password = options.text(&["password"]).unwrap_or_default();
        request.login = Some((user, password));
    }
    if let Some(headers) = options.value(&["headers"]) {
        let headers = pairs(&headers)?.into_iter().map(|(name, value)| (name.to_string(), text(&value)));
        request.headers = headers.collect();
    }
    request.secrets().iter().for_each(|text| secret::note(text));
    if options.flag("force", false) {
        request.headers.push(("cache-control".into(), "no-cache".into()));
    }
    request.validate_certs = options.flag("validate_certs", true);
    request.use_proxy = options.flag("use_proxy", true);
    request.force_basic_auth = options.flag("force_basic_auth", false);
    request.use_gssapi = options.flag("use_gssapi", false);
    request.use_netrc = options.flag("use_netrc", true);
    request.agent = options.text(&["http_agent", "agent"]).unwrap_or(request.agent);
    request.ca_path = options.text(&["ca_path"]);
    request.unix_socket = options.text(&["unix_socket"]);
    if let Some(timeout) = options.text(&["timeout"]) {
        let seconds = timeout.parse::<f64>().map_err(|_| wrong(format!("`{timeout}` is no number of seconds")))?;
        request.timeout = seconds.clamp(1.0, 86_400.0) as u64;
    }
    let follow = options.text(&["follow_redirects"]).unwrap_or_else(|| "urllib2".into());
    request.follow = !["none", "no", "False", "false"].contains(&follow.as_str());
    let ciphers = options.value(&["ciphers"]);
    request.ciphers = ciphers.map(|value| match value.try_iter() {
        Ok(items) if value.as_str().is_none() => items.map(|item| text(&item)).collect::<Vec<_>>().join(":"),
        _ => text(&value),
    });
    Ok(request)
}

fn asked(terms: &Terms, request: &Request) -> Result<String, Error> {
    if terms.only_asks() {
        return Err(wrong("a web server is asked when its task is done"));
    }
    let url = &request.url;
    let (script, stdin) = request.script(Part::Whole(LIMIT)).map_err(wrong)?;
    let failed = |error: std::io::Error| wrong(format!("cannot run `sh`: {error}"));
    // The controller's own programs: no transport is between.
    #[allow(clippy::disallowed_methods)]
    let mut command = std::process::Command::new("sh");
    let streams = command.args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = streams.spawn().map_err(failed)?;
    if let Some(mut pipe) = process.stdin.take() {
        // It may have ended without reading.
        let _ = pipe.write_all(&stdin);
    }
    let output = process.wait_with_output().map_err(failed)?;
    let status = output.status.code().unwrap_or(-1);
    let answer = Answer::read(LIMIT, status, (&output.stdout, &output.stderr)).map_err(|failure| match failure {
        Failure::Untrusted(why) => wrong(format!("Error validating the server's certificate for {url}: {why}")),
        other => wrong(format!("Failed lookup url for {url} : {}", other.text())),
    })?;
    if answer.status >= 300 {
        let (status, reason) = (answer.status, answer.reason());
        return Err(wrong(format!("Received HTTP error for {url} : HTTP Error {status}: {reason}")));
    }
    match answer.body {
        Some(body) => Ok(String::from_utf8_lossy(&body).into_owned()),
        None => Err(wrong(format!("{url} has more than {LIMIT} bytes"))),
    }
}
