//! `users/assign` as `qmail-newu` reads it (`qmail-users.5`), and Plesk's `users/poppasswd`.

use std::borrow::Cow;

/// One assignment. Only `=` (this address) and `+` (all that start so) exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// With its `=` or `+`: `=7-bob`.
    pub key: String,
    pub user: String,
    pub uid: String,
    pub gid: String,
    pub home: String,
    pub dash: String,
    pub extension: String,
}

impl Assignment {
    /// Reads `=local:user:uid:gid:home:dash:ext:`, or says what is wrong with it.
    pub fn read(line: &str) -> Result<Assignment, String> {
        if !line.starts_with(['=', '+']) {
            return Err("it starts with neither `=` nor `+`".into());
        }
        let fields: Vec<&str> = line.split(':').collect();
        // qmail-newu wants six colons after the first; what follows the seventh field is ignored.
        let [key, user, uid, gid, home, dash, extension, _, ..] = fields[..] else {
            return Err(format!(
                "it has {} colons and needs 7: `=local:user:uid:gid:home:dash:ext:`",
                fields.len() - 1
            ));
        };
        let [key, user, uid, gid, home, dash, extension] =
            [key, user, uid, gid, home, dash, extension].map(String::from);
        if key == "=" {
            return Err("it has no local part".into());
        }
        Ok(Assignment { key, user, uid, gid, home, dash, extension })
    }

    pub fn line(&self) -> String {
        let Assignment { key, user, uid, gid, home, dash, extension } = self;
        format!("{key}:{user}:{uid}:{gid}:{home}:{dash}:{extension}:")
    }
}

/// Says why `qmail-newu` would exit 111 at this text and leave the old `cdb`.
pub fn check_assign(text: &str) -> Result<(), String> {
    for (index, line) in text.lines().enumerate() {
        if line == "." {
            return Ok(());
        }
        Assignment::read(line).map_err(|why| format!("line {}: {why}", index + 1))?;
    }
    Err("it does not end with a line `.`: the file may have been cut off".into())
}

/// Returns the text in which each assignment counts; the first of a key counts for qmail.
pub fn with_assignments<'t>(text: &'t str, wanted: &[Assignment]) -> Cow<'t, str> {
    let mut text = Cow::Borrowed(text);
    for want in wanted {
        let line = want.line();
        let current = text.lines().take_while(|line| *line != ".").find(|line| is_key(line, &want.key));
        text = match current {
            Some(current) if Assignment::read(current).as_ref() == Ok(want) => continue,
            Some(_) => edit_lines(&text, |old, done| match is_key(old, &want.key) {
                true if done => None,
                true => Some(line.clone()),
                false => Some(old.into()),
            }),
            None if text.is_empty() => format!("{line}\n.\n"),
            None => {
                text.lines().map(|old| if old == "." { format!("{line}\n.\n") } else { format!("{old}\n") }).collect()
            }
        }
        .into();
    }
    text
}

/// Returns the text without the assignments of these keys.
pub fn without_assignments<'t>(text: &'t str, keys: &[String]) -> Cow<'t, str> {
    let gone = |line: &str| keys.iter().any(|key| is_key(line, key));
    match text.lines().any(gone) {
        true => edit_lines(text, |line, _| (!gone(line)).then(|| line.into())).into(),
        false => text.into(),
    }
}

/// Rebuilds a text line by line; `edit` learns whether an earlier line was already replaced.
fn edit_lines(text: &str, edit: impl Fn(&str, bool) -> Option<String>) -> String {
    let mut done = false;
    let mut new = String::new();
    for old in text.lines() {
        if let Some(line) = edit(old, done) {
            done |= line != old;
            new += &line;
            new.push('\n');
        }
    }
    new
}

/// `qmail-newu` and `qmail-lspawn` lower both sides.
fn is_key(line: &str, key: &str) -> bool {
    line.split_once(':').is_some_and(|(name, _)| name.eq_ignore_ascii_case(key))
}

/// Returns the text of a password file in which `address` has this hash; its other fields stay.
///
/// A line can be made only where all existing ones are `login:hash`: further fields are unknown.
pub fn with_hash<'t>(text: &'t str, address: &str, hash: &str) -> Result<Cow<'t, str>, String> {
    let own = |line: &str| line.split_once(':').is_some_and(|(login, _)| login.eq_ignore_ascii_case(address));
    if let Some(line) = text.lines().find(|line| own(line)) {
        if line.split(':').nth(1) == Some(hash) {
            return Ok(text.into());
        }
        let new = edit_lines(text, |old, done| {
            if done || !own(old) {
                return Some(old.into());
            }
            let mut fields: Vec<&str> = old.split(':').collect();
            fields[1] = hash;
            Some(fields.join(":"))
        });
        return Ok(new.into());
    }
    let shapes = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    if let Some(other) = shapes.map(|line| line.split(':').count()).find(|fields| *fields != 2) {
        return Err(format!(
            "`{address}` has no line, and lines here have {other} fields, of which only login and hash are known\nhint: let \
             the host's own panel make the account first"
        ));
    }
    let gap = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    Ok(format!("{text}{gap}{address}:{hash}\n").into())
}

/// Returns the text without the lines of these addresses.
pub fn without_logins<'t>(text: &'t str, addresses: &[String]) -> Cow<'t, str> {
    without_assignments(text, addresses)
}

/// Says why a hash cannot be put into a password file.
pub fn check_hash(hash: &str) -> Result<(), &'static str> {
    match hash {
        "" => Err("is empty"),
        _ if hash.contains([':', '\n', '\r', '\0', ' ']) => Err("has a colon, space or line end in it"),
        _ if !hash.is_ascii() => Err("is not ASCII"),
        _ if hash.starts_with("$AES") => {
            Err("is encrypted with a key of the host it comes from, and useless on another")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str =
        "=7-ann:popuser:110:31:/home/ann:::\n=7-bob:popuser:110:31:/home/bob:::\n+7-:popuser:110:31:/home:-::\n.\n";

    fn assignment(line: &str) -> Assignment {
        Assignment::read(line).unwrap()
    }

    #[test]
    fn a_new_assignment_stands_before_the_dot_and_a_changed_one_in_its_place() {
        let new = with_assignments(TEXT, &[assignment("=7-eve:popuser:110:31:/home/eve:::")]);
        assert!(new.ends_with(":-::\n=7-eve:popuser:110:31:/home/eve:::\n.\n"), "{new}");
        check_assign(&new).unwrap();
        let moved = with_assignments(TEXT, &[assignment("=7-BOB:popuser:110:31:/srv/bob:::")]);
        assert_eq!(moved.lines().nth(1), Some("=7-BOB:popuser:110:31:/srv/bob:::"));
        assert_eq!(without_assignments(&moved, &["=7-bob".into()]).lines().count(), 3);
        assert_eq!(with_assignments("", &[assignment("=a:u:1:1:/h:::")]), "=a:u:1:1:/h:::\n.\n");
    }

    #[test]
    fn what_newu_refuses_is_refused_with_its_line() {
        assert!(check_assign("=a:u:1:1:/h:::\n").unwrap_err().contains("`.`"));
        assert!(check_assign("=a:u:1:1:/h:::\n=b:u:1:1:/h::\n.\n").unwrap_err().starts_with("line 2"));
        assert!(check_assign("a:u:1:1:/h:::\n.\n").unwrap_err().starts_with("line 1"));
        check_assign(TEXT).unwrap();
    }

    #[test]
    fn only_the_hash_field_of_the_right_line_changes() {
        let text = "ann@a.example:$1$x$one:7:/home\nbob@a.example:$1$x$two:8:/home\n";
        let new = with_hash(text, "BOB@a.example", "$1$y$new").unwrap();
        assert_eq!(new, "ann@a.example:$1$x$one:7:/home\nbob@a.example:$1$y$new:8:/home\n");
        assert!(with_hash(text, "eve@a.example", "$1$z$z").unwrap_err().contains("4 fields"));
        assert_eq!(with_hash("a@b:$1$x", "c@d", "$1$y").unwrap(), "a@b:$1$x\nc@d:$1$y\n");
    }

    #[test]
    fn a_hash_that_another_host_cannot_use_is_refused() {
        check_hash("$1$abc$def").unwrap();
        for bad in ["", "a:b", "a\nb", "$AES-128-CBC$iv$text"] {
            check_hash(bad).unwrap_err();
        }
    }

    proptest! {
        #[test]
        fn an_assignment_put_in_is_the_one_that_counts(
            keys in prop::collection::vec("[=+][a-c]{1,2}", 0..8), key in "[=+][a-c]{1,2}", home in "/[a-z]{0,4}",
        ) {
            let lines = keys.iter().map(|key| format!("{key}:u:1:1:/old:::\n")).collect::<String>();
            let text = lines + ".\n";
            let want = assignment(&format!("{key}:u:2:2:{home}:::"));
            let new = with_assignments(&text, std::slice::from_ref(&want)).into_owned();
            check_assign(&new).unwrap();
            let first = new.lines().find(|line| is_key(line, &key)).unwrap();
            prop_assert_eq!(assignment(first), want.clone());
            let others = |text: &str| text.lines().filter(|line| !is_key(line, &key)).map(String::from).collect::<Vec<_>>();
            prop_assert_eq!(others(&new), others(&text));
            prop_assert_eq!(with_assignments(&new, &[want]), new.clone());
            let gone = without_assignments(&new, std::slice::from_ref(&key)).into_owned();
            prop_assert!(!gone.lines().any(|line| is_key(line, &key)));
        }

        #[test]
        fn reading_never_panics(text in "\\PC{0,80}", address in "\\PC{0,10}") {
            let _ = (check_assign(&text), Assignment::read(&text), with_hash(&text, &address, "$1$x"));
        }
    }
}
