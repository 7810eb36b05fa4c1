//! `get_url`: a file of the host is as a web server has it, asked from the host.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;

use crate::crypt::DIGESTS;
use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::files::checksum::Algorithm;
use crate::modules::files::place::{Place, WRITING, Writing, absolute, base_name, join};
use crate::modules::files::rights::RIGHTS;
use crate::modules::files::source::sha1_of;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Planned, Results};
use crate::transport::{Body, Content, INLINE_LIMIT, Links, Node, Want};
use crate::web::{Answer, Part, Request};

use super::web::{ASKING, Asking, command, digest};

pub const ENTRY: Entry = Entry {
    name: "get_url",
    summary: "Brings a file from the web to the host, with the host's own curl or wget",
    arguments: &[ARGUMENTS, ASKING, WRITING, RIGHTS],
    free_form: None,
    example: "\
- name: The list of what is not served
  get_url:
    url: http://127.0.0.1/badrcptto
    dest: /var/qmail/control/badrcptto
    owner: root
    group: root
    mode: \"0644\"
",
    build,
};

const ARGUMENTS: &[Argument] = &[
    Argument::new(
        "dest",
        Kind::Path,
        "The file, or the directory that it is put into by the name that the server gives.",
    )
    .required(),
    Argument::new(
        "checksum",
        Kind::Text,
        "`ALGORITHM:DIGEST`, or `ALGORITHM:URL` of a list of digests. What has another is not taken; a file that has it already is not fetched.",
    ),
    Argument::new(
        "force",
        Kind::Bool,
        "Fetch it though a file is there; without it the server is asked whether it is newer than that.",
    )
    .alias(&["thirsty"]),
    Argument::new("tmp_dest", Kind::Path, "Taken and not needed: it is written beside the file and then renamed."),
];

#[derive(Deserialize)]
struct GetUrl {
    dest: String,
    checksum: Option<String>,
    #[serde(default)]
    force: bool,
    #[serde(flatten)]
    asking: Asking,
    #[serde(flatten)]
    writing: Writing,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let mut get_url: GetUrl = arguments.read()?;
    get_url.writing.check()?;
    get_url.checksum = get_url.checksum.filter(|text| !text.trim().is_empty());
    if let Some(text) = &get_url.checksum {
        match text.split_once(':') {
            Some((name, rest)) if DIGESTS.contains(&name.to_lowercase().as_str()) && !rest.is_empty() => {}
            _ => {
                let hint = format!("write `ALGORITHM:DIGEST` with one of {}", DIGESTS.join(", "));
                return Err(Diagnostic::new(format!("`{text}` is no checksum")).hint(hint));
            }
        }
    }
    Ok(Box::new(get_url))
}

/// A digest that the file has to have.
struct Wanted {
    algorithm: String,
    digest: String,
}

#[async_trait]
impl Module for GetUrl {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let place = Place::look(host, &self.dest, Links::Follow, Want::Digest).await?;
        if host.only_asks {
            return Ok(Planned::new(Vec::new(), Results::new()));
        }
        let inside = self.dest.ends_with('/') || place.node.is_directory();
        let mut request = self.asking.request(&self.asking.url);
        let wanted = self.wanted(host).await?;
        if let (Node::File { content, modified, .. }, false) = (&place.node, self.force || inside) {
            match &wanted {
                Some(wanted) => {
                    let algorithm = Algorithm::named(Some(&wanted.algorithm));
                    let whole = place.whole(host).await?;
                    let content = whole.content().unwrap_or(content);
                    if algorithm.checksum(host, &place.path, content).await? == wanted.digest {
                        return self.kept(host, &place, &request, ("file already exists", None)).await;
                    }
                }
                None => request.headers.extend(modified.and_then(http_date).map(|at| ("If-Modified-Since".into(), at))),
            }
        }
        let (request, answer) = self.asking.ask(host, request, INLINE_LIMIT).await?;
        let answer = answer.map_err(|failure| {
            let why = match &failure {
                crate::web::Failure::Untrusted(why) => {
                    format!("Failed to validate the SSL certificate for {}: {why}", request.url)
                }
                other => format!("Request failed: {}", other.text()),
            };
            self.failed(&request, -1, why)
        })?;
        if answer.status == 304 {
            let message = format!("HTTP Error 304: {}", answer.reason());
            return self.kept(host, &place, &request, (&message, Some(304))).await;
        }
        if !answer.is_success() {
            let why = format!("Request failed: HTTP Error {}: {}", answer.status, answer.reason());
            return Err(self.failed(&request, answer.status.into(), why));
        }
        let content = self.content(host, &request, &answer).await?;
        if let Some(Wanted { algorithm, digest: expected }) = &wanted {
            let found = match &content.body {
                Body::Here(_) => Algorithm::named(Some(algorithm)).checksum(host, &place.path, &content).await?,
                _ if algorithm == "sha256" => content.digest.as_ref().map_or(String::new(), |digest| digest.0.clone()),
                _ => digest(host, &request, Algorithm::named(Some(algorithm))).await?.0,
            };
            if found != *expected {
                let url = &request.url;
                let message = format!("The checksum for {url} did not match {expected}; it was {found}.");
                return Err(self.failed(&request, answer.status.into(), message));
            }
        }
        let place = match inside {
            true => {
                let path = join(&absolute(host, &self.dest), &name(&answer, &request.url));
                Place::look(host, &path, Links::Follow, Want::Digest).await?
            }
            false => place,
        };
        let length = answer.length().map_or("unknown".to_string(), |length| length.to_string());
        let mut results = self.results(&place, &request);
        results.insert("msg".into(), format!("{} ({length} bytes)", answer.reason()).into());
        results.insert("status_code".into(), answer.status.into());
        if let Some(sum) = sha1_of(&content) {
            results.insert("checksum_src".into(), sum.as_str().into());
            results.insert("checksum_dest".into(), sum.into());
            results.insert(
                "md5sum".into(),
                Algorithm::named(Some("md5")).checksum(host, &place.path, &content).await?.into(),
            );
        }
        let (changes, written) = place.write(host, content, &self.writing).await?;
        results.extend(written);
        Ok(Planned::new(changes, results))
    }
}

impl GetUrl {
    fn results(&self, place: &Place, request: &Request) -> Results {
        let pairs = [("dest", json!(place.path)), ("url", json!(request.url)), ("elapsed", json!(0))];
        pairs.into_iter().map(|(name, value)| (name.to_string(), value)).collect()
    }

    fn failed(&self, request: &Request, status: i32, message: String) -> ModuleError {
        let pairs = [
            ("dest", json!(self.dest)),
            ("url", json!(request.url)),
            ("status_code", json!(status)),
            ("elapsed", json!(0)),
        ];
        let result = pairs.into_iter().map(|(name, value)| (name.to_string(), value)).collect();
        ModuleError::Failed { message, result }
    }

    /// Leaves the content as it is; owner and mode may still be asked for.
    async fn kept(
        &self,
        host: &View,
        place: &Place,
        request: &Request,
        (message, status): (&str, Option<u16>),
    ) -> Result<Planned, ModuleError> {
        let Some(content) = place.node.content() else {
            return Err(self.failed(request, status.map_or(-1, i32::from), format!("Request failed: {message}")));
        };
        let (changes, written) = place.write(host, content.clone(), &self.writing).await?;
        let mut results = self.results(place, request);
        results.extend(written);
        results.insert("msg".into(), message.into());
        results.extend(status.map(|status| ("status_code".to_string(), json!(status))));
        Ok(Planned::new(changes, results))
    }

    /// Returns what is to be written: here if it is small; what is large is fetched again when it is, and is then what it is now.
    async fn content(&self, host: &View, request: &Request, answer: &Answer) -> Result<Content, ModuleError> {
        if let Some(body) = &answer.body {
            return Ok(Content::here(body.clone()));
        }
        let mut plain = request.clone();
        plain.decompress = false;
        let (plain, whole) = self.asking.ask(host, plain, INLINE_LIMIT).await?;
        let length =
            whole.ok().filter(|whole| whole.header("content-encoding").is_none()).and_then(|whole| whole.length());
        let Some(size) = length else {
            // Only its end says how long it is.
            let (request, whole) = self.asking.ask(host, request.clone(), u64::from(u32::MAX)).await?;
            let body = whole.ok().and_then(|whole| whole.body);
            return body.map(Content::here).ok_or_else(|| self.failed(&request, -1, "Request failed: no end".into()));
        };
        let digest = Some(digest(host, &plain, Algorithm::named(Some("sha256"))).await?);
        let by = Box::new(host.as_the_task(command(&plain, Part::Body)?));
        Ok(Content { size, digest, body: Body::Printed { by, here: false } })
    }

    /// Returns the digest that is asked for; from its list, where an URL is given.
    async fn wanted(&self, host: &View) -> Result<Option<Wanted>, ModuleError> {
        let Some((algorithm, rest)) = self.checksum.as_deref().and_then(|text| text.split_once(':')) else {
            return Ok(None);
        };
        let algorithm = algorithm.to_lowercase();
        if !rest.contains("://") {
            return Ok(Some(Wanted { algorithm, digest: plain(rest) }));
        }
        let (request, answer) = self.asking.ask(host, self.asking.request(rest), INLINE_LIMIT).await?;
        let text = match answer {
            Ok(Answer { body: Some(body), status: 200..300, .. }) => String::from_utf8_lossy(&body).into_owned(),
            Ok(answer) => {
                let why = format!("Request failed: HTTP Error {}: {}", answer.status, answer.reason());
                return Err(self.failed(&request, answer.status.into(), why));
            }
            Err(failure) => return Err(self.failed(&request, -1, format!("Request failed: {}", failure.text()))),
        };
        let file = base_name(self.asking.url.split(['?', '#']).next().unwrap_or_default());
        match listed(&text, file) {
            Some(digest) => Ok(Some(Wanted { algorithm, digest })),
            None => Err(self.failed(&request, 200, format!("Unable to find a checksum for file '{file}' in '{rest}'"))),
        }
    }
}

/// Leaves of a digest what is one.
fn plain(text: &str) -> String {
    text.chars().filter(|letter| letter.is_alphanumeric() || *letter == '_').collect::<String>().to_lowercase()
}

/// Finds a file's digest in a list as `sha256sum` prints it, with `--tag` or without, or in a list that is one digest.
fn listed(text: &str, file: &str) -> Option<String> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    if let [only] = lines[..]
        && only.split_whitespace().count() == 1
    {
        return Some(plain(only));
    }
    lines.into_iter().find_map(|line| {
        let tagged = line.split_once(" (").and_then(|(_, rest)| rest.rsplit_once(") = "));
        let (digest, name) = match tagged {
            Some((name, digest)) => (digest, name),
            None => line.split_once(char::is_whitespace)?,
        };
        let name = name.trim().trim_start_matches('*').trim_start_matches("./");
        (name == file).then(|| plain(digest))
    })
}

/// Returns the name of a file in a directory: the one that the server gives, or the last of the URL.
fn name(answer: &Answer, url: &str) -> String {
    let given = answer.header("content-disposition").and_then(|value| {
        value.split(';').find_map(|part| {
            let (name, value) = part.split_once('=')?;
            name.trim().eq_ignore_ascii_case("filename").then(|| value.trim().trim_matches('"').to_string())
        })
    });
    let last = || {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest).split('?').next().unwrap_or_default();
        rest.split_once('/').map(|(_, path)| base_name(path).to_string()).unwrap_or_default()
    };
    // A name of the server's never leads out of the directory.
    let name = given.map(|name| base_name(&name).to_string()).filter(|name| !name.is_empty()).unwrap_or_else(last);
    if name.is_empty() || name == "." || name == ".." { "index.html".into() } else { name }
}

/// Returns a time as HTTP has it (RFC 9110, 5.6.7).
fn http_date(seconds: i64) -> Option<String> {
    let time = jiff::Timestamp::from_second(seconds).ok()?;
    Some(time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_found_in_any_list() {
        let text = "AA11  other\nbb22. *./a.txt\nSHA256 (b.txt) = cc33\ndd44 c.txt\n";
        let found = ["a.txt", "b.txt", "c.txt", "d.txt"].map(|file| listed(text, file));
        assert_eq!(found, [Some("bb22".into()), Some("cc33".into()), Some("dd44".into()), None]);
        assert_eq!(listed("bb22.  *a.txt\nx y\n", "a.txt"), Some("bb22".into()));
        assert_eq!(listed("AbC\n", "any"), Some("abc".into()));
    }

    #[test]
    fn the_servers_name_stays_in_the_directory() {
        let answer =
            |value: &str| Answer { headers: vec![("Content-Disposition".into(), value.into())], ..Answer::default() };
        assert_eq!(name(&answer("attachment; filename=\"a.json\""), "http://a/b"), "a.json");
        assert_eq!(name(&answer("inline; filename=../../etc/passwd"), "http://a/b"), "passwd");
        assert_eq!(name(&answer("inline"), "http://a/b/c.txt?x=/d"), "c.txt");
        assert_eq!(
            [name(&answer(""), "http://a"), name(&answer("x; filename=.."), "http://a/")],
            ["index.html", "index.html"]
        );
    }

    #[test]
    fn a_time_is_written_as_http_has_it() {
        assert_eq!(http_date(784_111_777).unwrap(), "Sun, 06 Nov 1994 08:49:37 GMT");
    }
}
