//! Users and groups, made with the host's own tools: `group` and `user`.

mod account;
mod ages;
mod authorized_key;
mod database;
mod group;
mod home;
mod password;
mod ssh_key;
mod user;

pub use authorized_key::AUTHORIZED_KEY;
pub use group::GROUP;
pub use user::USER;

/// Defines `own DATABASE`, which prints the line of `$name`, in the scripts that look at accounts. A name in it is no
/// number: `getent` would take that for an id.
const OWN: &str = r#"own() {
  getent "$1" "$name" 2>/dev/null || {
    [ -r "/etc/$1" ] && while IFS= read -r line; do
      case $line in "$name":*) echo "$line"; break ;; esac
    done <"/etc/$1"
  }
}
"#;

/// Says whether a name can be an account's: what useradd takes at its most liberal, and no number.
fn is_name(name: &str) -> bool {
    let body = name.strip_suffix('$').unwrap_or(name);
    !body.is_empty()
        && name.len() <= 256
        && !body.starts_with(['-', '.'])
        && body.chars().all(|c| c.is_alphanumeric() || "_-.@".contains(c))
        && !body.chars().all(|c| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::is_name;

    #[test]
    fn a_name_is_no_number_no_option_and_no_pattern() {
        for name in ["ann", "_apt", "host$", "a.b-c", "7zip", "ann@example.com"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "1001", "-r", "a b", "a:b", "a*", "../x", "a\nb", "$", ".."] {
            assert!(!is_name(name), "{name}");
        }
    }
}
