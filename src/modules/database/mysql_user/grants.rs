//! Privileges: as a task writes them, as the server shows them, and the statements between two sets of them.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::error::Diagnostic;
use crate::modules::database::literal;

pub const ALL: &str = "ALL PRIVILEGES";
pub const OPTION: &str = "GRANT OPTION";

/// What is granted on what: `` `webmail`.* ``, `SELECT`.
pub type Grants = BTreeSet<(String, String)>;

/// Reads `priv`.
pub fn grants(written: &Value) -> Result<Grants, Diagnostic> {
    let wrong = |what: &str| {
        Diagnostic::new(format!("`{what}` in `priv` names no privileges"))
            .hint("write `DATABASE.TABLE:PRIVILEGE,PRIVILEGE`, as in `webmail.*:SELECT,INSERT`")
    };
    let pairs: Vec<(String, String)> = match written {
        Value::String(text) => {
            let parts = text.split('/').filter(|part| !part.trim().is_empty());
            // The privileges come last: a name may have a colon.
            let pairs = parts.map(|part| part.rsplit_once(':').ok_or_else(|| wrong(part)));
            pairs.map(|pair| pair.map(|(on, list)| (on.into(), list.into()))).collect::<Result<_, _>>()?
        }
        Value::Object(map) => {
            let pairs = map.iter().map(|(on, list)| Ok((on.clone(), list.as_str().ok_or_else(|| wrong(on))?.into())));
            pairs.collect::<Result<_, _>>()?
        }
        other => return Err(wrong(&other.to_string())),
    };
    let mut grants = Grants::new();
    for (on, list) in pairs {
        let on = on.trim();
        let (database, table) = on.rsplit_once('.').ok_or_else(|| wrong(on))?;
        let named = |name: &str| match name.trim_matches('`') {
            "*" => "*".to_string(),
            name => literal::name(name),
        };
        let on = format!("{}.{}", named(database), named(table));
        for name in split(&list) {
            let name = match name.to_uppercase().as_str() {
                "" | "USAGE" => continue,
                "ALL" => ALL.to_string(),
                "GRANT" => OPTION.to_string(),
                // Columns keep their letters.
                _ => match name.split_once('(') {
                    Some((word, columns)) => {
                        let columns = columns.trim_end_matches(')').replace('`', "");
                        let mut columns: Vec<&str> = columns.split(',').map(str::trim).collect();
                        columns.sort_unstable();
                        format!("{} ({})", word.trim().to_uppercase(), columns.join(", "))
                    }
                    None => name.to_uppercase(),
                },
            };
            grants.insert((on.clone(), name));
        }
    }
    Ok(grants)
}

/// Splits at commas that are in no parentheses.
fn split(list: &str) -> Vec<&str> {
    let mut depth = 0;
    let parts = list.split(|letter| {
        depth += i32::from(letter == '(') - i32::from(letter == ')');
        letter == ',' && depth == 0
    });
    parts.map(str::trim).collect()
}

/// Makes a line of each privilege that `SHOW GRANTS` prints.
pub const GRANTS: &str = r#"awk '
function ordered(name, column, count, i, j, other) {
    if (name !~ /\(/) return name
    gsub(/`/, "", name)
    other = name
    sub(/.*\(/, "", other)
    sub(/\).*/, "", other)
    count = split(other, column, ", *")
    for (i = 2; i <= count; i++)
        for (j = i; j > 1 && column[j - 1] > column[j]; j--) { other = column[j]; column[j] = column[j - 1]; column[j - 1] = other }
    sub(/ *\(.*/, "", name)
    for (i = 1; i <= count; i++) name = name (i == 1 ? " (" : ", ") column[i]
    return name ")"
}
/^GRANT / {
    sub(/^GRANT /, "")
    at = index($0, " TO ")
    if (!at) next
    rest = substr($0, at)
    $0 = substr($0, 1, at - 1)
    at = match($0, / ON [^ ]*$/)
    if (!at) next
    on = substr($0, at + 4)
    count = split(substr($0, 1, at - 1), part, ", ")
    if (rest ~ / GRANT OPTION/) part[++count] = "GRANT OPTION"
    name = ""
    for (i = 1; i <= count; i++) {
        name = name part[i]
        if (name ~ /\(/ && name !~ /\)/) { name = name ", "; continue }
        if (name != "USAGE") print ordered(name) " on " on
        name = ""
    }
}' | LC_ALL=C sort"#;

/// Returns the statements that turn some privileges into others.
pub fn granting(named: &str, before: &Grants, after: &Grants) -> String {
    let mut sql = String::new();
    let objects: BTreeSet<&String> = before.iter().chain(after).map(|(on, _)| on).collect();
    for on in objects {
        let of = |all: &Grants, but: &Grants| -> Vec<String> {
            all.difference(but).filter(|(other, _)| other == on).map(|(_, name)| name.clone()).collect()
        };
        let (gone, new) = (of(before, after), of(after, before));
        if !gone.is_empty() {
            sql += &format!("REVOKE {} ON {on} FROM {named};\n", gone.join(", "));
        }
        let (option, names): (Vec<String>, Vec<String>) = new.into_iter().partition(|name| name == OPTION);
        let with = if option.is_empty() { "" } else { " WITH GRANT OPTION" };
        if !names.is_empty() || !option.is_empty() {
            let names = if names.is_empty() { "USAGE".into() } else { names.join(", ") };
            sql += &format!("GRANT {names} ON {on} TO {named}{with};\n");
        }
    }
    sql
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn privileges_are_read_as_the_server_spells_them() {
        let read = |written: Value| -> Vec<String> {
            grants(&written).unwrap().into_iter().map(|(on, name)| format!("{name} on {on}")).collect()
        };
        assert_eq!(
            read(json!("a.*:select,Insert (c, b)/*.*:GRANT,usage/`d`.e:ALL")),
            ["GRANT OPTION on *.*", "INSERT (b, c) on `a`.*", "SELECT on `a`.*", "ALL PRIVILEGES on `d`.`e`"]
        );
        assert_eq!(read(json!({"a.b": "DROP"})), ["DROP on `a`.`b`"]);
        for wrong in [json!("a.*"), json!("a:SELECT"), json!({"a.*": 1}), json!(7)] {
            assert!(grants(&wrong).unwrap_err().to_string().contains("names no privileges"), "{wrong}");
        }
    }

    #[test]
    fn only_what_differs_is_granted_and_revoked() {
        let some = |text: &str| grants(&json!(text)).unwrap();
        let sql = granting("'a'@'b'", &some("d.*:SELECT,DROP/e.*:ALL"), &some("d.*:SELECT,INSERT,GRANT/f.*:GRANT"));
        assert_eq!(
            sql,
            "REVOKE DROP ON `d`.* FROM 'a'@'b';\nGRANT INSERT ON `d`.* TO 'a'@'b' WITH GRANT OPTION;\n\
             REVOKE ALL PRIVILEGES ON `e`.* FROM 'a'@'b';\nGRANT USAGE ON `f`.* TO 'a'@'b' WITH GRANT OPTION;\n"
        );
    }
}
