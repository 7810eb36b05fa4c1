//! What a server has answered, as curl or wget tells it.

/// A server's answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// 200 where the scheme has none (`file`, `ftp`).
    pub status: u16,
    /// What stands behind the status; a newer HTTP has none.
    pub reason: String,
    pub headers: Vec<(String, String)>,
    /// Where it came from in the end.
    pub url: String,
    pub redirected: bool,
    /// `None`: it is larger than was wanted.
    pub body: Option<Vec<u8>>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// There is no program to ask with, or none that can; nothing was sent.
    Missing(String),
    /// The server's certificate is not one that is trusted, or is another's.
    Untrusted(String),
    /// No connection, no end: what the program says.
    NoAnswer(String),
}

impl Failure {
    pub fn text(&self) -> &str {
        match self {
            Failure::Missing(text) | Failure::Untrusted(text) | Failure::NoAnswer(text) => text,
        }
    }
}

/// curl.1, "Exit codes": the file is larger than `--max-filesize`.
const TOO_LARGE: i32 = 63;

impl Answer {
    /// Reads the output of a script for a [`super::Part::Whole`]: the limit, status, stdout and stderr.
    pub fn read(limit: u64, status: i32, (stdout, stderr): (&[u8], &[u8])) -> Result<Answer, Failure> {
        let errors = String::from_utf8_lossy(stderr);
        let end = stdout.iter().position(|byte| *byte == b'\n').unwrap_or(stdout.len());
        let (program, rest) = (&stdout[..end], stdout.get(end + 1..).unwrap_or_default());
        match program {
            b"curl" => of_curl(status, rest, &errors),
            b"wget" if status != 125 => of_wget(limit, rest, &errors),
            b"wget" => Err(Failure::Missing(errors.trim().into())),
            _ => Err(Failure::Missing(errors.trim().into())),
        }
    }

    /// Returns the value of a header; the last one, where there are several.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().rev().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value.as_str())
    }

    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Returns the number of bytes that were announced.
    pub fn length(&self) -> Option<u64> {
        self.header("content-length")?.trim().parse().ok()
    }

    /// Returns the reason, or the one that the status has by RFC 9110.
    pub fn reason(&self) -> &str {
        let known = match self.status {
            200 => "OK",
            201 => "Created",
            202 => "Accepted",
            204 => "No Content",
            206 => "Partial Content",
            301 => "Moved Permanently",
            302 => "Found",
            303 => "See Other",
            304 => "Not Modified",
            307 => "Temporary Redirect",
            308 => "Permanent Redirect",
            400 => "Bad Request",
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "Not Found",
            405 => "Method Not Allowed",
            409 => "Conflict",
            410 => "Gone",
            429 => "Too Many Requests",
            500 => "Internal Server Error",
            502 => "Bad Gateway",
            503 => "Service Unavailable",
            504 => "Gateway Timeout",
            _ => "",
        };
        if self.reason.is_empty() { known } else { &self.reason }
    }
}

fn of_curl(status: i32, stdout: &[u8], errors: &str) -> Result<Answer, Failure> {
    // `curl: (7) Failed to connect`
    let said = errors.trim().split_once(") ").map_or(errors.trim(), |(_, said)| said);
    let failed = || match status {
        51 | 60 => Failure::Untrusted(said.into()),
        18 => Failure::NoAnswer(format!("Incomplete read: {said}")),
        _ => Failure::NoAnswer(said.into()),
    };
    let end = stdout.iter().rposition(|byte| *byte == b'\n').ok_or_else(failed)?;
    let trailer = String::from_utf8_lossy(&stdout[end + 1..]).into_owned();
    let mut words = trailer.splitn(4, ' ');
    let mut number = || words.next().and_then(|word| word.parse::<usize>().ok());
    let (Some(code), Some(redirects), Some(size)) = (number(), number(), number()) else { return Err(failed()) };
    let url = words.next().unwrap_or_default().to_string();
    if status != 0 && status != TOO_LARGE {
        return Err(failed());
    }
    let size = size.min(end);
    let text = String::from_utf8_lossy(&stdout[..size]).into_owned();
    let (reason, headers) = last_block(text.lines());
    let body = (status == 0).then(|| stdout[size..end].to_vec());
    let code = if code == 0 { 200 } else { code };
    let status = u16::try_from(code).unwrap_or_default();
    Ok(Answer { status, reason, headers, url, redirected: redirects > 0, body })
}

fn of_wget(limit: u64, stdout: &[u8], errors: &str) -> Result<Answer, Failure> {
    // busybox tells of a failure without the header.
    let said = |line: &str| line.split("server returned error: ").last().unwrap_or_default().trim().to_string();
    let lines: Vec<String> = errors.lines().map(said).collect();
    let heads: Vec<&String> = lines.iter().filter(|line| line.starts_with("HTTP/")).collect();
    let status = heads.last().and_then(|line| line.split(' ').nth(1)).and_then(|word| word.parse().ok());
    let Some(status) = status else {
        let why = errors.trim().to_string();
        return Err(if why.contains("certificate") { Failure::Untrusted(why) } else { Failure::NoAnswer(why) });
    };
    let (reason, headers) = last_block(lines.iter().map(String::as_str));
    let body = (stdout.len() as u64 <= limit).then(|| stdout.to_vec());
    // The last line of `-nv` names what it has fetched: `2026-11-27 08:00:00 URL:http://... [4/4] -> "-" [1]`.
    let url = errors.lines().rev().find_map(|line| line.split_once(" URL:")?.1.split(' ').next());
    let redirected = heads.len() > 1;
    Ok(Answer { status, reason, headers, url: url.unwrap_or_default().into(), redirected, body })
}

/// Reads the last of the heads that a text has, one for each answer on the way.
fn last_block<'a>(lines: impl Iterator<Item = &'a str>) -> (String, Vec<(String, String)>) {
    let (mut reason, mut headers) = (String::new(), Vec::new());
    for line in lines {
        if line.starts_with("HTTP/") {
            reason = line.splitn(3, ' ').nth(2).unwrap_or_default().trim().to_string();
            headers.clear();
        } else if let Some((name, value)) =
            line.split_once(':').filter(|(name, _)| !name.is_empty() && !name.contains(' '))
        {
            headers.push((name.to_string(), value.trim().to_string()));
        }
    }
    (reason, headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curls_output_is_taken_apart_by_its_last_line() {
        let head = "HTTP/1.1 302 Found\r\nLocation: /b\r\n\r\nHTTP/1.1 200 Fine\r\nX-A: 1\r\nx-a: 2\r\n\r\n";
        let body = "HTTP/1.1 no head\n\n\0";
        let stdout = format!("curl\n{head}{body}\n200 1 {} http://a/b", head.len());
        let answer = Answer::read(9, 0, (stdout.as_bytes(), b"")).unwrap();
        assert_eq!((answer.status, answer.reason(), answer.redirected), (200, "Fine", true));
        assert_eq!(
            (answer.header("X-a"), answer.header("location"), answer.url.as_str()),
            (Some("2"), None, "http://a/b")
        );
        assert_eq!(answer.body.as_deref(), Some(body.as_bytes()));
        let failed = Answer::read(9, 7, (b"curl\n\n000 0 0 http://a/", b"curl: (7) no route\n"));
        assert_eq!(failed, Err(Failure::NoAnswer("no route".into())));
        let large = Answer::read(9, 63, (stdout.as_bytes(), b"curl: (63) Maximum file size exceeded")).unwrap();
        assert_eq!(large.body, None);
        assert!(matches!(Answer::read(9, 127, (b"", b"neither\n")), Err(Failure::Missing(_))));
    }

    #[test]
    fn wgets_head_is_on_the_other_stream() {
        let errors = b"  HTTP/1.1 302 Found\n  Location: /b\n  HTTP/1.1 404 NOT FOUND\n  X-A: 1\n2026-11-27 08:00:00 URL:http://a/b [4/4] -> \"-\" [1]\n";
        let answer = Answer::read(4, 8, (b"wget\nbody", errors)).unwrap();
        assert_eq!((answer.status, answer.reason(), answer.url.as_str()), (404, "NOT FOUND", "http://a/b"));
        assert_eq!(
            (answer.header("x-a"), answer.body.as_deref(), answer.redirected),
            (Some("1"), Some(&b"body"[..]), true)
        );
        assert_eq!(Answer::read(3, 0, (b"wget\nbody", errors)).unwrap().body, None);
        let busybox =
            Answer::read(3, 1, (b"wget\n", b"wget: server returned error: HTTP/1.1 403 Forbidden\n")).unwrap();
        assert_eq!((busybox.status, busybox.reason()), (403, "Forbidden"));
    }
}
