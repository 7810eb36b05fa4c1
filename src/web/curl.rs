//! A request as curl's configuration, which it reads from stdin (curl.1, `--config`).

use std::fmt::Write as _;

use super::{Part, Request, quoted};

/// What the last line of the output says: status, redirects, the bytes of all headers, and where the answer is from.
pub const TRAILER: &str = "\n%{http_code} %{num_redirects} %{size_header} %{url_effective}";

const AUTHORIZATION: &str = "Authorization";

/// Returns shell text that reads a configuration, ended by `#wget`, and asks. As with Ansible, `$NETRC` is read in place of
/// `~/.netrc`, and a login in it goes before an `Authorization` of the request; to curl the header is stronger.
pub fn script(request: &Request) -> String {
    let read = "sed '/^#wget$/,$d'";
    if !request.reads_netrc() {
        return format!("{read} | curl -K -");
    }
    let curl = "curl ${NETRC:+--netrc-file \"$NETRC\"} -K -";
    if request.header(AUTHORIZATION).is_none() {
        return format!("{read} | {curl}");
    }
    let site = request.url.split("://").nth(1).unwrap_or_default();
    let machine = quoted(&format!(" machine {} ", site.split(['/', ':', '?']).next().unwrap_or_default()));
    format!(
        "known=$(tr -s '[:space:]' ' ' <\"${{NETRC:-$HOME/.netrc}}\" 2>/dev/null)\n\
         case \" $known\" in *{machine}*|*' default '*) own='^header = .{AUTHORIZATION}[:;]';; *) own='^$';; esac\n\
         {read} | sed \"/$own/d\" | {curl}"
    )
}

/// Returns the configuration, a line for each option.
pub fn configuration(request: &Request, part: Part) -> Result<String, String> {
    // Of a file, curl shows a header that it does not count, and of FTP it counts one that it does not show.
    let is_http = request.url.get(..4).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http"));
    let mut text = String::from("#curl\nsilent\nshow-error\ngloboff\n");
    let mut set = |name: &str, value: &str| {
        let _ = writeln!(text, "{name} = \"{}\"", escaped(value));
    };
    set("url", &request.url);
    match (request.method.as_str(), request.body.is_some() || request.file.is_some()) {
        ("GET", false) => {}
        ("POST", true) => {}
        (method, _) => {
            if method != "HEAD" {
                set("request", method);
            }
        }
    }
    set("user-agent", &request.agent);
    for (name, value) in &request.headers {
        let name = if name.eq_ignore_ascii_case("authorization") { AUTHORIZATION } else { name };
        // An empty header is one with a semicolon; with a colon it is one that curl leaves out.
        set("header", &if value.is_empty() { format!("{name};") } else { format!("{name}: {value}") });
    }
    if let Some(body) = &request.body {
        if body.contains(&0) {
            return Err("a body with a NUL in it cannot be sent".into());
        }
        let body = String::from_utf8(body.clone()).map_err(|_| "a body that is no UTF-8 cannot be sent".to_string())?;
        set(if body.starts_with('@') { "data-raw" } else { "data-binary" }, &body);
    }
    if let Some(file) = &request.file {
        set("data-binary", &format!("@{file}"));
    }
    if request.body.is_some() || request.file.is_some() {
        for name in ["Content-Type", "Expect"] {
            if request.header(name).is_none() {
                set("header", &format!("{name}:"));
            }
        }
    }
    if let Some((user, password)) = &request.login {
        set("user", &format!("{user}:{password}"));
    }
    for (name, value) in [
        ("cacert", &request.ca_path),
        ("cert", &request.client_cert),
        ("key", &request.client_key),
        ("unix-socket", &request.unix_socket),
        ("ciphers", &request.ciphers),
    ] {
        if let Some(value) = value {
            set(name, value);
        }
    }
    let timeout = request.timeout.max(1).to_string();
    set("connect-timeout", &timeout);
    set("speed-time", &timeout);
    set("speed-limit", "1");
    if !request.use_proxy {
        set("noproxy", "*");
    }
    if request.follow {
        set("max-redirs", "10");
    }
    if let Part::Whole(limit) = part {
        set("max-filesize", &limit.to_string());
        let trailer = if is_http { TRAILER.to_string() } else { TRAILER.replace("%{size_header}", "0") };
        set("write-out", &trailer);
    }
    let flags = [
        ("location", request.follow),
        // The login goes where the answer leads to, as with Ansible.
        ("location-trusted", request.follow && request.login.is_some()),
        ("insecure", !request.validate_certs),
        ("compressed", request.decompress),
        ("anyauth", request.login.is_some() && !request.force_basic_auth && !request.use_gssapi),
        ("negotiate", request.use_gssapi),
        ("netrc-optional", request.reads_netrc()),
        ("head", request.method == "HEAD"),
        ("include", is_http && part != Part::Body && request.method != "HEAD"),
        ("fail", part == Part::Body),
    ];
    for (name, _) in flags.iter().filter(|(_, set)| *set) {
        text += &format!("{name}\n");
    }
    Ok(text)
}

/// Escapes a text for double quotes, in which a line cannot end.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '"' => escaped += "\\\"",
            '\\' => escaped += "\\\\",
            '\n' => escaped += "\\n",
            '\r' => escaped += "\\r",
            '\t' => escaped += "\\t",
            letter => escaped.push(letter),
        }
    }
    escaped
}
