//! A request as GNU wget's configuration (wget.1, `--config`, `--execute`); busybox's wget, which has none, gets the URL alone.

use super::{Part, Request, percent_encode, quoted};

/// A request in lines of `wgetrc` that everybody may see, and the URL, which goes in on stdin with the login in it.
#[derive(Default)]
pub struct Configuration {
    lines: Vec<String>,
    url: String,
}

impl Configuration {
    /// Returns what goes on stdin.
    pub fn stdin(&self) -> String {
        format!("{}\n", self.url)
    }
}

/// Returns the configuration; or what wget cannot do, as the end of a sentence.
pub fn configuration(request: &Request) -> Result<Configuration, &'static str> {
    let lacks = [
        (request.body.is_some() || request.file.is_some(), "is given no body here"),
        (request.unix_socket.is_some(), "knows no Unix sockets"),
        (request.use_gssapi, "knows no GSSAPI"),
        (!request.headers.iter().all(|(name, _)| is_open(name)), "takes header fields only where everybody sees them"),
    ];
    if let Some((_, why)) = lacks.iter().find(|(lacks, _)| *lacks) {
        return Err(why);
    }
    let mut url = request.url.replace('\\', "%5C");
    if let (Some((user, password)), Some((scheme, rest))) = (&request.login, url.split_once("://")) {
        url = format!("{scheme}://{}:{}@{rest}", percent_encode(user, ""), percent_encode(password, ""));
    }
    let mut found = Configuration { url, ..Configuration::default() };
    found.lines.extend(request.headers.iter().map(|(name, value)| format!("header = {name}: {value}")));
    let files = [
        ("ca_certificate", &request.ca_path),
        ("certificate", &request.client_cert),
        ("private_key", &request.client_key),
    ];
    let files = files.into_iter().filter_map(|(name, value)| Some((name, value.clone()?)));
    let on = |flag: bool| if flag { "on" } else { "off" }.to_string();
    // Older ones do not know of methods.
    let method = (request.method != "GET").then(|| ("method", request.method.clone()));
    let others = [
        ("user_agent", request.agent.clone()),
        ("auth_no_challenge", on(request.login.is_some() && request.force_basic_auth)),
        ("timeout", request.timeout.max(1).to_string()),
        ("tries", "1".into()),
        ("check_certificate", on(request.validate_certs)),
        ("use_proxy", on(request.use_proxy)),
        ("netrc", on(request.reads_netrc())),
        ("max_redirect", if request.follow { "10" } else { "0" }.into()),
        ("content_on_error", "on".into()),
    ];
    let others = others.into_iter().chain(files).chain(method);
    found.lines.extend(others.map(|(name, value)| format!("{name} = {value}")));
    Ok(found)
}

/// Header fields that everybody may see.
const OPEN: [&str; 2] = ["If-Modified-Since", "Cache-Control"];

fn is_open(name: &str) -> bool {
    OPEN.iter().any(|open| open.eq_ignore_ascii_case(name))
}

/// Returns what runs it, with the URL behind `#wget` on stdin.
pub fn script(request: &Request, configuration: &Configuration, part: Part) -> String {
    let least = if request.login.is_none() && request.method == "GET" {
        let certificates = if request.validate_certs { "" } else { " --no-check-certificate" };
        let header = |(name, value): &(String, String)| format!(" --header {}", quoted(&format!("{name}: {value}")));
        let headers: String = request.headers.iter().map(header).collect();
        format!("wget -q -S -U {}{headers}{certificates} -O - \"$url\"", quoted(&request.agent))
    } else {
        "echo 'this wget takes a login and headers only where everybody sees them: curl or GNU wget is needed' >&2; exit 125"
            .into()
    };
    let limit = match part {
        Part::Whole(limit) => format!(" | head -c {}", limit.saturating_add(1)),
        Part::Body => String::new(),
    };
    let lines: String = configuration.lines.iter().map(|line| format!(" -e {}", quoted(line))).collect();
    format!(
        "sed '1,/^#wget$/d' | {{ IFS= read -r url; case $(wget --version 2>/dev/null) in\n\
         *GNU*) echo \"$url\" | wget -nv -S{lines} -i - -O - ;;\n\
         *) {least} ;;\nesac; }}{limit}"
    )
}
