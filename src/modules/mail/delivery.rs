//! What a `.qmail` file delivers to (`dot-qmail.5`) and what `maildirsize` allows, taken from one host to another.

/// Returns a line's forward address, in lower case: one behind `&`, or one that begins with a letter or digit.
fn forward(line: &str) -> Option<String> {
    let line = line.trim_end();
    let address = match line.strip_prefix('&') {
        Some(address) => address.trim(),
        None if line.starts_with(|first: char| first.is_ascii_alphanumeric()) => line,
        None => return None,
    };
    Some(address.to_lowercase())
}

/// Returns the absolute path of the program that a line gives the message to.
pub fn program(line: &str) -> Option<&str> {
    let word = line.strip_prefix('|')?.split_whitespace().next()?;
    word.starts_with('/').then_some(word)
}

/// Returns the lines of an old file that give mail to programs which the file here does not call, each with its number. What
/// the panel here delivers with is its own affair.
pub fn left_out<'a>(old: &'a str, here: &'a str) -> impl Iterator<Item = (usize, &'a str)> {
    let called: Vec<&str> = here.lines().filter_map(called).collect();
    let lines = old.lines().enumerate().map(|(index, line)| (index + 1, line.trim_end()));
    lines.filter(move |(_, line)| {
        self::called(line).is_some_and(|name| !["true", "deliverquota"].contains(&name) && !called.contains(&name))
    })
}

/// Returns the name of the program that a line calls, without its directory.
pub fn called(line: &str) -> Option<&str> {
    let word = line.strip_prefix('|')?.split_whitespace().next()?;
    Some(word.rsplit('/').next().unwrap_or(word))
}

/// Says whether a line puts the message into a mailbox of the host: a Maildir, an mbox, or Plesk's program for one.
fn is_local(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with(['.', '/']) || program(line).is_some_and(|program| program.ends_with("/deliverquota"))
}

/// Returns what a file says here with the forwards of the old one that it lacks, or nothing where it has them all. A file
/// without a line, which means the host's own delivery, and one that only forwards get the old file's own delivery too.
pub fn merged(old: &str, here: &str) -> Option<String> {
    let known: Vec<String> = here.lines().filter_map(forward).collect();
    let lacks = |line: &&str| forward(line).is_some_and(|address| !known.contains(&address));
    let mut added: String = old.lines().filter(lacks).map(|line| format!("{}\n", line.trim_end())).collect();
    let only_forwards = !here.lines().any(is_local) && (!added.is_empty() || !known.is_empty());
    if only_forwards && !here.lines().any(|line| line.starts_with('|') && !line.trim_end().ends_with("true")) {
        let local: String =
            old.lines().filter(|line| is_local(line)).map(|line| format!("{}\n", line.trim_end())).collect();
        added.insert_str(0, &local);
    }
    let end = if here.is_empty() || here.ends_with('\n') { "" } else { "\n" };
    (!added.is_empty()).then(|| format!("{here}{end}{added}"))
}

/// Returns a text with the paths below one directory moved below another.
pub fn moved(text: &str, (from, to): (&str, &str)) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(from) {
        let (before, after) = rest.split_at(at);
        let after = &after[from.len()..];
        let begins = before.chars().next_back().is_none_or(|letter| !is_of_path(letter));
        let ends = after.chars().next().is_none_or(|letter| letter == '/' || !is_of_path(letter));
        out += before;
        out += if begins && ends { to } else { from };
        rest = after;
    }
    out + rest
}

fn is_of_path(letter: char) -> bool {
    letter.is_alphanumeric() || "/._-@+".contains(letter)
}

/// Returns `maildirsize` here with a quota that is not smaller than the old one in bytes or messages, or nothing where it is
/// so. Of the old file only the first line counts: what was counted there is not here.
pub fn larger_quota(old: &str, here: Option<&str>) -> Option<String> {
    let first = |text: &str| text.lines().next().unwrap_or_default().trim().to_string();
    // What is no quota says nothing of one.
    if !first(old).ends_with(['S', 'C']) {
        return None;
    }
    let limits = limits(&first(old));
    let Some(here) = here else {
        return Some(format!("{}\n", written(limits)));
    };
    let ours = self::limits(&first(here));
    let larger = (larger(limits.0, ours.0), larger(limits.1, ours.1));
    let rest = here.split_once('\n').map_or("", |(_, rest)| rest);
    (larger != ours).then(|| format!("{}\n{rest}", written(larger)))
}

/// Bytes and messages that the first line of `maildirsize` allows, `10485760S,1000C`; nothing is no limit, as 0 is.
pub fn limits(line: &str) -> (Option<u64>, Option<u64>) {
    let of = |letter: char| {
        let number = line.split(',').find_map(|part| part.trim().strip_suffix(letter)?.parse::<u64>().ok());
        number.filter(|number| *number > 0)
    };
    (of('S'), of('C'))
}

pub fn larger(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    one.zip(other).map(|(one, other)| one.max(other))
}

fn written((bytes, count): (Option<u64>, Option<u64>)) -> String {
    let count = count.map(|count| format!(",{count}C")).unwrap_or_default();
    format!("{}S{count}", bytes.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwards_are_added_and_what_is_here_stays() {
        let here = "| true\n| /usr/lib/plesk/deliverquota ./Maildir\n&Ann@partner.example\n";
        let old = "| /usr/bin/deliverquota ./Maildir\n&ann@partner.example\nbob@partner.example\n&carol@partner.example \n./Maildir/\n";
        let expected = format!("{here}bob@partner.example\n&carol@partner.example\n");
        assert_eq!(merged(old, here), Some(expected.clone()));
        assert_eq!(merged(old, &expected), None);
        assert_eq!(merged("&a@b.example", "| true"), Some("| true\n&a@b.example\n".into()));
        // Who has a mailbox on the old host goes on having one.
        assert_eq!(merged("./Maildir/\n&a@b.example\n", ""), Some("./Maildir/\n&a@b.example\n".into()));
        assert_eq!(merged("./Maildir/\n", "&a@b.example\n"), Some("&a@b.example\n./Maildir/\n".into()));
        assert_eq!(merged("./Maildir/\n", ""), None);
        assert_eq!(merged("./Maildir/\n", "|bouncesaying no\n"), None);
    }

    #[test]
    fn a_program_that_is_not_called_here_is_left_out_and_told() {
        let old = "| true\n| /usr/bin/deliverquota ./Maildir\n|/opt/psa/bin/autoresponder ann\n&a@b.example\n|/old/filter x\n";
        let told = |here: &'static str| left_out(old, here).collect::<Vec<_>>();
        assert_eq!(told(""), [(3, "|/opt/psa/bin/autoresponder ann"), (5, "|/old/filter x")]);
        assert_eq!(told("| /usr/local/psa/bin/autoresponder ann\n"), [(5, "|/old/filter x")]);
    }

    #[test]
    fn a_path_is_moved_as_a_whole_only() {
        let ends = ("/m/a.example", "/n/a.example");
        assert_eq!(
            moved("|x /m/a.example/ann /m/a.example.org /z/m/a.example '/m/a.example'", ends),
            "|x /n/a.example/ann /m/a.example.org /z/m/a.example '/n/a.example'"
        );
    }

    #[test]
    fn a_quota_never_gets_smaller() {
        for (old, here, expected) in [
            ("10S,5C\n7 1\n", Some("5S,9C\n3 1\n"), Some("10S,9C\n3 1\n")),
            ("10S\n", Some("10S\n3 1\n"), None),
            ("0S\n", Some("5S\n3 1\n"), Some("0S\n3 1\n")),
            ("10S\n", Some("0S\n"), None),
            ("", Some("10S\n"), None),
            ("odd\n", Some("10S\n"), None),
            ("10S,5C\n", None, Some("10S,5C\n")),
            ("10S,5C\n", Some("20S\n"), None),
            ("", None, None),
        ] {
            assert_eq!(larger_quota(old, here).as_deref(), expected, "{old:?} {here:?}");
        }
    }

    #[test]
    fn programs_are_known_by_their_paths() {
        assert_eq!(program("| /usr/bin/deliverquota ./Maildir"), Some("/usr/bin/deliverquota"));
        assert_eq!((program("| true"), program("|bouncesaying 'no'"), program("&a@b")), (None, None, None));
    }
}
