//! checkpassword on `users/poppasswd`: lines `LOGIN:PASSWORD[:...]`, the password plain or as `$1$SALT$HASH`.

use md5::{Digest as _, Md5};

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

const LETTERS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Returns a password's `$1$` hash, as crypt(3) makes it from MD5.
pub fn md5_crypt(password: &str, salt: &str) -> String {
    let (password, salt) = (password.as_bytes(), &salt.as_bytes()[..salt.len().min(8)]);
    let mut hash = Md5::digest([password, salt, password].concat()).to_vec();
    let mut text = [password, b"$1$", salt].concat();
    for start in (0..password.len()).step_by(16) {
        text.extend(&hash[..(password.len() - start).min(16)]);
    }
    let mut bits = password.len();
    while bits > 0 {
        text.push(if bits & 1 == 1 { 0 } else { password[0] });
        bits >>= 1;
    }
    hash = Md5::digest(&text).to_vec();
    for round in 0..1000 {
        let mut text = if round & 1 == 1 { password.to_vec() } else { hash.clone() };
        if round % 3 != 0 {
            text.extend(salt);
        }
        if round % 7 != 0 {
            text.extend(password);
        }
        text.extend(if round & 1 == 1 { &hash[..] } else { password });
        hash = Md5::digest(&text).to_vec();
    }
    let mut encoded = format!("$1${}$", String::from_utf8_lossy(salt));
    let mut put = |mut value: u32, letters: usize| {
        for _ in 0..letters {
            encoded.push(char::from(LETTERS[value as usize & 63]));
            value >>= 6;
        }
    };
    let byte = |index: usize| u32::from(hash[index]);
    for [high, middle, low] in [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]] {
        put(byte(high) << 16 | byte(middle) << 8 | byte(low), 4);
    }
    put(byte(11), 2);
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_crypt_3() {
        // Made with `openssl passwd -1`.
        assert_eq!(md5_crypt("lab", "annsa"), "$1$annsa$Dz8mU5xK468wXPaPBMrJL1");
        assert_eq!(md5_crypt("password", "12345678"), "$1$12345678$o2n/JiO/h5VviOInWJ4OQ/");
    }

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
