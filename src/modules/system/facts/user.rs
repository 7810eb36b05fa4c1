//! Facts about who asks: the account and its environment.

use serde_json::{Map, Value, json};

use super::{Asks, Collector, Seen};

pub const USER: Collector = Collector {
    name: "user",
    ids: &[
        "user_id",
        "user_uid",
        "user_gid",
        "user_gecos",
        "user_dir",
        "user_shell",
        "real_user_id",
        "effective_user_id",
        "effective_group_ids",
    ],
    needs: &[],
    asks: Asks {
        commands: &[r#"mark user; id -un; id -u; id -g; id -ru; id -rg
mark account; name=$(id -un); getent passwd "$name" || grep "^$name:" /etc/passwd
"#],
        ..Asks::NOTHING
    },
    read: user,
};

/// What it asks is the script's own first line.
pub const ENV: Collector = Collector {
    name: "env",
    ids: &[],
    needs: &[],
    asks: Asks::NOTHING,
    read: |seen, facts| drop(facts.insert("env".into(), environment(seen.section("env")))),
};

fn user(seen: &Seen<'_>, facts: &mut Map<String, Value>) {
    facts.insert("user_id".into(), seen.line("user", 0).into());
    let numbers = [
        ("user_uid", 1),
        ("user_gid", 2),
        ("effective_user_id", 1),
        ("effective_group_id", 2),
        ("real_user_id", 3),
        ("real_group_id", 4),
    ];
    for (name, row) in numbers {
        facts.insert(name.into(), json!(seen.line("user", row).parse::<u64>().ok()));
    }
    let account: Vec<&str> = seen.line("account", 0).split(':').collect();
    for (name, field) in [("user_gecos", 4), ("user_dir", 5), ("user_shell", 6)] {
        facts.insert(name.into(), account.get(field).copied().unwrap_or("").into());
    }
}

/// Reads `env`: a line that starts no variable belongs to the value before it.
fn environment(text: &str) -> Value {
    let starts = |line: &str| {
        line.split_once('=').is_some_and(|(name, _)| {
            !name.is_empty()
                && !name.starts_with(|c: char| c.is_ascii_digit())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        })
    };
    let mut variables: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        match (line.split_once('='), variables.last_mut()) {
            (Some((name, value)), _) if starts(line) => variables.push((name.into(), value.into())),
            (_, Some((_, value))) => *value += &format!("\n{line}"),
            _ => {}
        }
    }
    variables.into_iter().map(|(name, value)| (name, Value::from(value))).collect::<Map<_, _>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_several_lines_stays_one() {
        let env = environment("A=1\nB=x\n  y=2\nC=\n");
        assert_eq!(env, json!({"A": "1", "B": "x\n  y=2", "C": ""}));
    }
}
