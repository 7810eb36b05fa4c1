//! checkpassword on `users/poppasswd`: lines `LOGIN:PASSWORD[:...]`, the password plain or as `$1$SALT$HASH`.

pub use crate::crypt::md5_crypt;

/// Says whether `password` is that of `login`; the first line of a login counts.
pub fn is_right(poppasswd: &str, login: &str, password: &str) -> bool {
    let mut lines = poppasswd.lines().filter_map(|line| line.split_once(':'));
    let Some((_, rest)) = lines.find(|(name, _)| name.eq_ignore_ascii_case(login)) else { return false };
    let known = rest.split(':').next().unwrap_or("");
    match known.strip_prefix("$1$").and_then(|rest| rest.split_once('$')) {
        Some((salt, _)) => md5_crypt(password, salt) == known,
        None => !known.is_empty() && !known.starts_with('$') && known == password,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_needs_its_own_password() {
        let text = "ann@example.com:$1$annsa$Dz8mU5xK468wXPaPBMrJL1:more\nbob@example.com:plain\nnone@example.com:\n\
                    sym@example.com:$AES-128-CBC$x\nbob@example.com:second\n";
        let rows = [
            ("ann@example.com", "lab", true),
            ("ANN@example.com", "lab", true),
            ("ann@example.com", "other", false),
            ("bob@example.com", "plain", true),
            ("bob@example.com", "second", false),
            ("none@example.com", "", false),
            ("sym@example.com", "$AES-128-CBC$x", false),
            ("nobody@example.com", "", false),
        ];
        for (login, password, expected) in rows {
            assert_eq!(is_right(text, login, password), expected, "{login} {password}");
        }
    }
}
