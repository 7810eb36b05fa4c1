//! One request to a web server as a script for `sh`, which asks with curl or wget, and the answer that it prints.
//!
//! Neither runs anything: hosts and the controller have the same script, each with the program that it has. All that may be
//! secret goes to the program on stdin, as its configuration.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

mod answer;
mod curl;
mod wget;

pub use answer::{Answer, Failure};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Without a login in it: see [`Request::to`].
    pub url: String,
    pub method: String,
    pub headers: Vec<(String, String)>,
    pub body: Option<Vec<u8>>,
    /// A file of the machine that asks, sent as the body.
    pub file: Option<String>,
    pub login: Option<(String, String)>,
    /// The login goes with the first request; else when the server asks for it.
    pub force_basic_auth: bool,
    /// Redirects are followed, ten at most.
    pub follow: bool,
    pub validate_certs: bool,
    /// In seconds: to connect, and without any byte.
    pub timeout: u64,
    pub agent: String,
    pub use_proxy: bool,
    pub decompress: bool,
    pub ca_path: Option<String>,
    pub client_cert: Option<String>,
    pub client_key: Option<String>,
    pub unix_socket: Option<String>,
    /// As OpenSSL lists them, with colons between.
    pub ciphers: Option<String>,
    pub use_gssapi: bool,
    pub use_netrc: bool,
}

/// What is wanted of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Status, header and body; no body that is larger than this many bytes.
    Whole(u64),
    /// The body alone, for a program to read it; a failure unless the status is one of success.
    Body,
}

impl Request {
    /// Returns a `GET` of an URL; a login in it is taken out.
    pub fn to(url: &str) -> Request {
        let (url, login) = without_login(url);
        Request {
            // A fragment is no part of what is sent.
            url: url.split('#').next().unwrap_or_default().into(),
            method: "GET".into(),
            headers: Vec::new(),
            body: None,
            file: None,
            login,
            force_basic_auth: false,
            follow: true,
            validate_certs: true,
            timeout: 10,
            agent: "ansible-httpget".into(),
            use_proxy: true,
            decompress: true,
            ca_path: None,
            client_cert: None,
            client_key: None,
            unix_socket: None,
            ciphers: None,
            use_gssapi: false,
            use_netrc: true,
        }
    }

    /// Returns every text that tells its login, as it is written in any of the ways to ask: none may be shown.
    pub fn secrets(&self) -> Vec<String> {
        let tells = |header: &&(String, String)| header.0.eq_ignore_ascii_case("authorization");
        let mut texts: Vec<String> = self.headers.iter().filter(tells).map(|(_, value)| value.clone()).collect();
        if let Some((user, password)) = self.login.as_ref().filter(|(_, password)| !password.is_empty()) {
            let basic = STANDARD.encode(format!("{user}:{password}"));
            texts.extend([password.clone(), basic, percent_encode(password, "")]);
        }
        texts
    }

    /// Returns the script and its stdin, or why there is none.
    pub fn script(&self, part: Part) -> Result<(String, Vec<u8>), String> {
        if self.url.chars().any(|letter| letter.is_control() || letter == ' ') {
            return Err(format!(
                "`{}` is no URL: it has a space or a control character in it",
                self.url.escape_debug()
            ));
        }
        let odd = |(name, value): &&(String, String)| {
            name.is_empty()
                || name.contains([':', ' '])
                || format!("{name}{value}").chars().any(|c| c == '\n' || c == '\r')
        };
        if let Some((name, _)) = self.headers.iter().find(odd) {
            return Err(format!("`{}` cannot be a header with this value", name.escape_debug()));
        }
        let curl = curl::configuration(self, part)?;
        let wget = wget::configuration(self);
        let least = match &wget {
            Ok(wget) => wget::script(self, wget, part),
            Err(why) => format!("echo {} >&2; exit 125", quoted(&format!("curl is needed: wget {why}"))),
        };
        let said = |name: &str| if part == Part::Body { String::new() } else { format!("echo {name}\n") };
        let script = format!(
            "if command -v curl >/dev/null; then\n{}{}\n\
             elif command -v wget >/dev/null; then\n{}{least}\n\
             else echo 'neither curl nor wget is there' >&2; exit 127; fi",
            said("curl"),
            curl::script(self),
            said("wget"),
        );
        let mut stdin = curl.into_bytes();
        stdin.extend_from_slice(b"#wget\n");
        stdin.extend(wget.map(|wget| wget.stdin()).unwrap_or_default().into_bytes());
        Ok((script, stdin))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Says whether the program may find a login in `~/.netrc`.
    fn reads_netrc(&self) -> bool {
        self.use_netrc && self.login.is_none()
    }

    /// Says whether asking twice does the same as asking once, and changes nothing (RFC 9110, 9.2.1).
    pub fn is_safe(&self) -> bool {
        ["GET", "HEAD", "OPTIONS", "TRACE"].contains(&self.method.as_str())
    }
}

/// Writes what does not stand in a URL as `%XX` (RFC 3986, 2.1); what is in `safe` stays.
pub fn percent_encode(text: &str, safe: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || safe.as_bytes().contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// Quotes a word for `sh`.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Takes the login out of an URL.
pub fn without_login(url: &str) -> (String, Option<(String, String)>) {
    let Some((scheme, rest)) = url.split_once("://") else { return (url.into(), None) };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let Some(at) = rest[..end].rfind('@') else { return (url.into(), None) };
    let (user, password) = rest[..at].split_once(':').unwrap_or((&rest[..at], ""));
    (format!("{scheme}://{}", &rest[at + 1..]), Some((decoded(user), decoded(password))))
}

/// Reads `%41` for `A`.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let code = tail.get(..2).filter(|_| *first == b'%').and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_secret_in_each_way_that_it_is_written() {
        let mut request = Request::to("http://ann:p%40ss@web.example/");
        request.headers =
            vec![("Authorization".into(), "Bearer geheim".into()), ("Accept".into(), "text/plain".into())];
        assert_eq!(request.secrets(), ["Bearer geheim", "p@ss", "YW5uOnBAc3M=", "p%40ss"]);
        let stdin =
            String::from_utf8(Request::to("http://ann:p%40ss@web.example/").script(Part::Body).unwrap().1).unwrap();
        assert!(stdin.contains("p@ss") && stdin.contains("http://ann:p%40ss@web.example/"), "{stdin}");
    }

    #[test]
    fn a_login_leaves_the_url_and_is_on_stdin_alone() {
        let request = Request::to("https://ann:p%40ss%22@web.example:8443/a@b?c=d#e");
        assert_eq!(request.url, "https://web.example:8443/a@b?c=d");
        assert_eq!(request.login, Some(("ann".into(), "p@ss\"".into())));
        let (script, stdin) = request.script(Part::Whole(10)).unwrap();
        assert!(!script.contains("p@ss") && !script.contains("web.example"), "{script}");
        let stdin = String::from_utf8(stdin).unwrap();
        assert!(
            stdin.contains("user = \"ann:p@ss\\\"\"\n") && stdin.contains("url = \"https://web.example"),
            "{stdin}"
        );
    }

    #[test]
    fn what_could_make_another_line_is_refused() {
        let mut request = Request::to("http://a/");
        request.headers = vec![("X".into(), "a\nurl = file:///etc/shadow".into())];
        assert!(request.script(Part::Body).is_err());
        assert!(Request::to("http://a/ b\n").script(Part::Body).is_err());
        let mut request = Request::to("http://a/");
        request.body = Some(b"@/etc/shadow\nx\"\\\n".to_vec());
        request.method = "POST".into();
        let (_, stdin) = request.script(Part::Whole(1)).unwrap();
        let stdin = String::from_utf8(stdin).unwrap();
        assert!(stdin.contains("data-raw = \"@/etc/shadow\\nx\\\"\\\\\\n\"\n"), "{stdin}");
    }
}
