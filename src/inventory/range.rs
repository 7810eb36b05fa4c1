//! A host as an inventory writes it: a name or a range of names (`web[01:50].example.com`), perhaps with a port.

use std::net::Ipv6Addr;

/// More names than this in one entry are a slip of the pen, not a fleet.
const MAX_NAMES: usize = 1_000_000;

/// The names that one entry stands for, and the port of its `:PORT`.
pub(super) type Hosts = (Vec<String>, Option<u16>);

/// Reads `NAME`, `NAME:PORT`, `[IPV6]:PORT` and ranges: `[1:5]`, `[01:05]`, `[a:f]`, `[0:10:2]`.
pub(super) fn expand(entry: &str) -> Result<Hosts, String> {
    if entry.parse::<Ipv6Addr>().is_ok() {
        return Ok((vec![entry.into()], None));
    }
    let bracketed = entry.strip_prefix('[').and_then(|rest| rest.split_once("]:"));
    if let Some((address, port)) = bracketed.filter(|(address, _)| address.parse::<Ipv6Addr>().is_ok()) {
        return Ok((vec![address.into()], Some(port_number(port)?)));
    }
    if entry.matches('[').count() != entry.matches(']').count() {
        return Err(format!("`{entry}` has a square bracket without its partner"));
    }
    let (pattern, port) = match entry.rsplit_once(':') {
        Some((pattern, port)) if !port.contains(']') && !outside_brackets(pattern).contains(':') => {
            (pattern, Some(port_number(port)?))
        }
        _ => (entry, None),
    };
    if pattern.is_empty() {
        return Err("a host needs a name".into());
    }
    Ok((names(pattern)?, port))
}

fn port_number(text: &str) -> Result<u16, String> {
    if text.is_empty() {
        return Err("a host name does not end in `:`; a port stands there, as in `host:2222`".into());
    }
    text.parse().ok().filter(|port| *port > 0).ok_or_else(|| format!("`{text}` is not a port"))
}

/// Returns the text without what stands in square brackets.
fn outside_brackets(text: &str) -> String {
    let mut inside = false;
    text.chars()
        .filter(|character| {
            inside = (inside || *character == '[') && *character != ']';
            !inside && *character != ']'
        })
        .collect()
}

/// Expands every range of `pattern`, the first one varying slowest.
fn names(pattern: &str) -> Result<Vec<String>, String> {
    let mut names = vec![String::new()];
    let mut rest = pattern;
    while let Some((head, tail)) = rest.split_once('[') {
        let (range, after) = tail.split_once(']').ok_or_else(|| format!("`{pattern}` has its brackets crossed"))?;
        let items = items(range)?;
        if names.len().saturating_mul(items.len()) > MAX_NAMES {
            return Err(format!("`{pattern}` stands for more than {MAX_NAMES} hosts"));
        }
        let join = |name: &String| items.iter().map(|item| format!("{name}{head}{item}")).collect::<Vec<_>>();
        names = names.iter().flat_map(join).collect();
        rest = after;
    }
    names.iter_mut().for_each(|name| name.push_str(rest));
    Ok(names)
}

/// Returns the items of `BEGIN:END` or `BEGIN:END:STEP`, both ends included.
fn items(range: &str) -> Result<Vec<String>, String> {
    let wrong = |why: &str| format!("bad host range `[{range}]`: {why}");
    let bounds: Vec<&str> = range.split(':').collect();
    let (begin, end, step) = match bounds[..] {
        [begin, end] => (begin, end, "1"),
        [begin, end, step] => (begin, end, step),
        _ => return Err(wrong("it is `[BEGIN:END]` or `[BEGIN:END:STEP]`")),
    };
    let begin = if begin.is_empty() { "0" } else { begin };
    if end.is_empty() {
        return Err(wrong("it has no end"));
    }
    let step =
        step.parse::<usize>().ok().filter(|step| *step > 0).ok_or_else(|| wrong("the step is a number above 0"))?;
    if let (Some(first), Some(last)) = (letter(begin), letter(end)) {
        if first > last {
            return Err(wrong("it begins after its end"));
        }
        return Ok(LETTERS[first..=last].iter().step_by(step).map(|byte| char::from(*byte).to_string()).collect());
    }
    let number = |text: &str| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<u64>().ok()).flatten().ok_or_else(|| wrong("both ends are numbers, or letters"))
    };
    let (first, last) = (number(begin)?, number(end)?);
    let width = if begin.starts_with('0') && begin.len() > 1 { begin.len() } else { 0 };
    if width > 0 && end.len() != width {
        return Err(wrong("with leading zeros both ends have the same number of digits"));
    }
    if first > last {
        return Err(wrong("it begins after its end"));
    }
    if (last - first) / step as u64 >= MAX_NAMES as u64 {
        return Err(wrong(&format!("it stands for more than {MAX_NAMES} hosts")));
    }
    Ok((first..=last).step_by(step).map(|number| format!("{number:0width$}")).collect())
}

/// In this order a letter range counts, so `[x:C]` goes through `z` to `A`.
const LETTERS: &[u8; 52] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

fn letter(text: &str) -> Option<usize> {
    match text.as_bytes() {
        [byte] => LETTERS.iter().position(|letter| letter == byte),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(entry: &str) -> String {
        match expand(entry) {
            Ok((names, Some(port))) => format!("{} port {port}", names.join(" ")),
            Ok((names, None)) => names.join(" "),
            Err(error) => error,
        }
    }

    #[test]
    fn ranges_count_with_zeros_letters_and_steps() {
        assert_eq!(all("web[8:11].x"), "web8.x web9.x web10.x web11.x");
        assert_eq!(all("web[08:11]"), "web08 web09 web10 web11");
        assert_eq!(all("db-[a:d]"), "db-a db-b db-c db-d");
        assert_eq!(all("h[1:10:4]"), "h1 h5 h9");
        assert_eq!(all("h[:2]"), "h0 h1 h2");
        assert_eq!(all("[a:b][1:2]"), "a1 a2 b1 b2");
        assert_eq!(all("h[y:B]"), "hy hz hA hB");
    }

    #[test]
    fn ports_are_told_from_ranges_and_addresses() {
        assert_eq!(all("mx:2222"), "mx port 2222");
        assert_eq!(all("mx[1:2]:2222"), "mx1 mx2 port 2222");
        assert_eq!(all("mx[1:2].example.com"), "mx1.example.com mx2.example.com");
        assert_eq!(all("2001:db8::1"), "2001:db8::1");
        assert_eq!(all("[2001:db8::1]:22"), "2001:db8::1 port 22");
        assert_eq!(all("192.0.2.1:22"), "192.0.2.1 port 22");
    }

    #[test]
    fn bad_ranges_say_why() {
        assert_eq!(all("h[1:2:3:4]"), "bad host range `[1:2:3:4]`: it is `[BEGIN:END]` or `[BEGIN:END:STEP]`");
        assert_eq!(all("h[3]"), "bad host range `[3]`: it is `[BEGIN:END]` or `[BEGIN:END:STEP]`");
        assert_eq!(all("h[1:]"), "bad host range `[1:]`: it has no end");
        assert_eq!(all("h[5:1]"), "bad host range `[5:1]`: it begins after its end");
        assert_eq!(all("h[d:a]"), "bad host range `[d:a]`: it begins after its end");
        assert_eq!(
            all("h[01:100]"),
            "bad host range `[01:100]`: with leading zeros both ends have the same number of digits"
        );
        assert_eq!(all("h[1:c]"), "bad host range `[1:c]`: both ends are numbers, or letters");
        assert_eq!(all("h[1:5:0]"), "bad host range `[1:5:0]`: the step is a number above 0");
        assert_eq!(all("h[1:99999999]"), "bad host range `[1:99999999]`: it stands for more than 1000000 hosts");
        assert_eq!(all("[1:9999][1:9999]"), "`[1:9999][1:9999]` stands for more than 1000000 hosts");
        assert_eq!(all("h[1:2"), "`h[1:2` has a square bracket without its partner");
        assert_eq!(all("h:"), "a host name does not end in `:`; a port stands there, as in `host:2222`");
        assert_eq!(all("h:99999"), "`99999` is not a port");
    }

    proptest! {
        #[test]
        fn no_entry_panics(entry in r"[a-c0-9\[\]:.ä-]{0,24}") {
            let _ = expand(&entry);
        }

        #[test]
        fn a_range_has_as_many_names_as_numbers(begin in 0_u64..500, count in 0_u64..500, step in 1_u64..9) {
            let (names, _) = expand(&format!("h[{begin}:{}:{step}]", begin + count)).unwrap();
            prop_assert_eq!(names.len() as u64, count / step + 1);
        }
    }
}
