//! A request as GNU wget's configuration (wget.1, `--config`, `--execute`); busybox's wget, which has none, gets the URL alone.

use super::{Part, Request, quoted};

/// A request in lines of `wgetrc`.
#[derive(Default)]
pub struct Configuration {
    /// What everybody may see.
    open: Vec<String>,
    /// What nobody may: wget reads it from a file of its own, which goes at once, because it takes no pipe.
    secret: Vec<String>,
}

impl Configuration {
    /// Returns what goes on stdin: the URL, and below it what is secret.
    pub fn stdin(&self, request: &Request) -> String {
        let lines: String = self.secret.iter().map(|line| format!("{line}\n")).collect();
        format!("{}\n{lines}", request.url.replace('\\', "%5C"))
    }
}

/// Returns the configuration; or what wget cannot do, as the end of a sentence.
pub fn configuration(request: &Request) -> Result<Configuration, &'static str> {
    let lacks = [
        (request.body.is_some() || request.file.is_some(), "is given no body here"),
        (request.unix_socket.is_some(), "knows no Unix sockets"),
        (request.use_gssapi, "knows no GSSAPI"),
    ];
    if let Some((_, why)) = lacks.iter().find(|(lacks, _)| *lacks) {
        return Err(why);
    }
    let mut found = Configuration::default();
    for (name, value) in &request.headers {
        let line = format!("header = {name}: {value}");
        if is_open(name) { found.open.push(line) } else { found.secret.push(line) }
    }
    if let Some((user, password)) = &request.login {
        if format!("{user}{password}").contains(['\n', '\r']) {
            return Err("takes no login with a line end in it");
        }
        let lines = [("http_user", user), ("http_password", password), ("ftp_user", user), ("ftp_password", password)];
        found.secret.extend(lines.map(|(name, value)| format!("{name} = {value}")));
    }
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
        ("netrc", on(request.use_netrc && request.login.is_none())),
        ("max_redirect", if request.follow { "10" } else { "0" }.into()),
        ("content_on_error", "on".into()),
    ];
    let others = others.into_iter().chain(files).chain(method);
    found.open.extend(others.map(|(name, value)| format!("{name} = {value}")));
    Ok(found)
}

/// Keeps stdin in `$file`, for as long as the program runs.
const KEEP: &str = "umask 077; file=$(mktemp \"${TMPDIR:-/tmp}/cutover.XXXXXX\") || exit 125
trap 'rm -f \"$file\"' EXIT; trap 'exit 129' HUP; trap 'exit 130' INT; trap 'exit 143' TERM
cat >\"$file\" || exit 125
";

/// Header fields that everybody may see.
const OPEN: [&str; 2] = ["If-Modified-Since", "Cache-Control"];

fn is_open(name: &str) -> bool {
    OPEN.iter().any(|open| open.eq_ignore_ascii_case(name))
}

/// Returns what runs it, with the configuration behind `#wget` on stdin.
pub fn script(request: &Request, configuration: &Configuration, part: Part) -> String {
    let least = if request.login.is_none() && configuration.secret.is_empty() && request.method == "GET" {
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
    let open: String = configuration.open.iter().map(|line| format!(" -e {}", quoted(line))).collect();
    let secret = match configuration.secret.is_empty() {
        true => "file=; ",
        false => KEEP,
    };
    format!(
        "sed '1,/^#wget$/d' | {{ IFS= read -r url; case $(wget --version 2>/dev/null) in\n\
         *GNU*) {secret}echo \"$url\" | wget ${{file:+\"--config=$file\"}} -nv -S{open} -i - -O - ;;\n\
         *) {least} ;;\nesac; }}{limit}"
    )
}
