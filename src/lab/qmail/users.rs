//! `users/assign` and `users/cdb`: what qmail-newu makes and qmail-lspawn finds (`qmail-users.5`); and qmail-newmrh.

use std::io;

use super::{Home, cdb, replace};

/// Whose an address is, and where its `.qmail` files lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub user: String,
    pub uid: u32,
    pub gid: u32,
    pub home: String,
    pub dash: String,
    pub extension: String,
}

/// Returns the records of `users/cdb`, or nothing if qmail-newu calls the text a bad format.
///
/// A line needs 7 fields, which is 6 colons after the first; the last line is `.`, and what follows it is not read.
fn records(text: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut records = Vec::new();
    let mut wild: Vec<u8> = Vec::new();
    let mut lines = text.split(|byte| *byte == b'\n');
    loop {
        let line = lines.next()?;
        if line.first() == Some(&b'.') {
            break;
        }
        let colon = line.iter().position(|byte| *byte == b':').filter(|colon| *colon > 0)?;
        if line.contains(&0) {
            return None;
        }
        let mut key = [b"!", &line[1..colon]].concat();
        key.make_ascii_lowercase();
        if line[0] == b'+' {
            let last = line[colon - 1];
            if colon >= 2 && !wild.contains(&last) {
                wild.push(last);
            }
        } else {
            key.push(0);
        }
        let fields: Vec<&[u8]> = line[colon + 1..].splitn(7, |byte| *byte == b':').collect();
        let [user, uid, gid, home, dash, extension, _] = fields[..] else { return None };
        records.push((key, [user, uid, gid, home, dash, extension, b""].join(&0)));
    }
    records.push((Vec::new(), wild));
    Some(records)
}

/// `qmail-newu`: makes `users/cdb` from `users/assign`, whole or not at all; a bad format is `InvalidData`.
pub fn newu(home: &Home) -> io::Result<()> {
    let users = home.path("users");
    let text = std::fs::read(users.join("assign"))?;
    // As the program, which opens it before it has read a line.
    std::fs::write(users.join("cdb.tmp"), b"")?;
    let bad = || io::Error::new(io::ErrorKind::InvalidData, "bad format in users/assign");
    replace(&users.join("cdb"), &cdb::make(&records(&text).ok_or_else(bad)?))
}

/// `qmail-newmrh`: makes `control/morercpthosts.cdb` from `control/morercpthosts`.
pub fn newmrh(home: &Home) -> io::Result<()> {
    let hosts = home.list("morercpthosts")?;
    let records: Vec<_> = hosts.iter().map(|host| (host.to_ascii_lowercase().into_bytes(), Vec::new())).collect();
    replace(&home.path("control/morercpthosts.cdb"), &cdb::make(&records))
}

/// Returns whose `local` is, as qmail-lspawn finds it: the whole, then each prefix from the longest that may be one.
pub fn find(home: &Home, local: &str) -> io::Result<Option<Owner>> {
    match std::fs::read(home.path("users/cdb")) {
        Ok(bytes) => Ok(find_in(&bytes, local)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Says whether `local` has an assignment of its own.
pub fn is_assigned(home: &Home, local: &str) -> bool {
    let key = format!("!{}\0", local.to_ascii_lowercase());
    std::fs::read(home.path("users/cdb")).is_ok_and(|bytes| cdb::get(&bytes, key.as_bytes()).is_some())
}

fn find_in(bytes: &[u8], local: &str) -> Option<Owner> {
    let lower = local.to_ascii_lowercase();
    if let Some(data) = cdb::get(bytes, format!("!{lower}\0").as_bytes()) {
        return owner(data, "");
    }
    let wild = cdb::get(bytes, b"")?;
    let prefixes = (0..=lower.len()).rev().filter(|end| lower.is_char_boundary(*end));
    let possible = prefixes.filter(|end| *end == 0 || wild.contains(&lower.as_bytes()[end - 1]));
    let mut found = possible.filter_map(|end| Some((cdb::get(bytes, format!("!{}", &lower[..end]).as_bytes())?, end)));
    let (data, end) = found.next()?;
    owner(data, &local[end..])
}

fn owner(data: &[u8], rest: &str) -> Option<Owner> {
    let fields: Vec<String> =
        data.split(|byte| *byte == 0).map(|field| String::from_utf8_lossy(field).into()).collect();
    let [user, uid, gid, home, dash, extension, ..] = &fields[..] else { return None };
    let number = |text: &String| text.parse::<u32>().ok();
    Some(Owner {
        user: user.clone(),
        uid: number(uid)?,
        gid: number(gid)?,
        home: home.clone(),
        dash: dash.clone(),
        extension: format!("{extension}{rest}"),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::home;
    use super::*;

    const ASSIGN: &str = "=7-bob:pop:110:31:/m/bob:::\n=7-bob:other:1:1:/m/other:::\n+7-:pop:110:31:/m:-::\n+7-list-:pop:110:31:/l:-:x-:\n.\n";

    #[test]
    fn an_exact_assignment_comes_first_and_then_the_longest_prefix() {
        let (_directory, home) = home(&[("users/assign", ASSIGN)]);
        newu(&home).unwrap();
        let rows = [
            ("7-bob", Some(("/m/bob", "", ""))),
            ("7-BOB", Some(("/m/bob", "", ""))),
            ("7-bobby", Some(("/m", "-", "bobby"))),
            ("7-list-in", Some(("/l", "-", "x-in"))),
            ("7", None),
            ("8-bob", None),
        ];
        for (local, expected) in rows {
            let found = find(&home, local).unwrap();
            let found = found.as_ref().map(|owner| (&*owner.home, &*owner.dash, &*owner.extension));
            assert_eq!(found, expected, "{local}");
        }
        assert!(is_assigned(&home, "7-bob") && !is_assigned(&home, "7-bobby"));
    }

    #[test]
    fn newu_refuses_a_bad_format_and_leaves_the_cdb_alone() {
        let rows = [
            ("no line `.` at the end", "=7-bob:pop:110:31:/m/bob:::\n"),
            ("six fields", "=7-bob:pop:110:31:/m/bob::\n.\n"),
            ("no colon", "7-bob\n.\n"),
            ("an empty line", "\n.\n"),
            ("a NUL", "=7-b\0b:pop:110:31:/m/bob:::\n.\n"),
        ];
        for (what, text) in rows {
            let (_directory, home) = home(&[("users/assign", text), ("users/cdb", "as it was")]);
            assert_eq!(newu(&home).unwrap_err().kind(), io::ErrorKind::InvalidData, "{what}");
            assert_eq!(std::fs::read(home.path("users/cdb")).unwrap(), b"as it was", "{what}");
            assert_eq!(std::fs::read(home.path("users/cdb.tmp")).unwrap(), b"", "{what}");
        }
        let (_directory, home) = home(&[("users/assign", ".\n")]);
        newu(&home).unwrap();
        assert_eq!(find(&home, "anyone").unwrap(), None);
    }
}
