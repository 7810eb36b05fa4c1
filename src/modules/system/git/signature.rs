//! Whether what is to be checked out is signed, and by whom: git asks gpg, with the keys of whoever runs it.

use crate::transport::command::quote;

use super::refs::Target;

/// Returns the script that ends unless the signature of a commit or tag is good, and by a key that is named if any is.
pub fn verifying(target: &Target, allowed: &[String]) -> String {
    let (kind, object) = if target.tag.is_some() { ("tag", target.signed()) } else { ("commit", target.signed()) };
    let raw = if allowed.is_empty() { "" } else { " --raw" };
    let verified = format!(
        "said=$(\"$git\" verify-{kind}{raw} {object} 2>&1) || {{\n\
         printf 'Failed to verify GPG signature of commit/tag \"%s\"\\n%s\\n' \"$version\" \"$said\" >&2\n\
         exit 1\n}}\n"
    );
    if allowed.is_empty() {
        return verified;
    }
    let keys: String = allowed.iter().map(|key| format!(" -e {}", quote(&fingerprint(key)))).collect();
    // That of the key that signed, and last that of the primary key which it belongs to.
    format!(
        "{verified}signers=$(printf '%s\\n' \"$said\" | awk '$2 == \"VALIDSIG\" {{ print $3; print $NF }}')\n\
         printf '%s\\n' \"$signers\" | grep -qixF{keys} || {{\n\
         printf 'The gpg_allowlist does not include the public key \"%s\" for this commit\\n' \"$(printf '%s\\n' \"$signers\" | tail -n 1)\" >&2\n\
         exit 1\n}}\n"
    )
}

/// Returns a fingerprint as gpg tells it to programs, without the spaces that it shows people.
fn fingerprint(written: &str) -> String {
    written.split_whitespace().collect::<String>().to_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_verified_as_one_and_fingerprints_are_compared_without_their_spaces() {
        let commit = Target { branch: None, commit: "c1".into(), tag: None };
        assert!(verifying(&commit, &[]).contains("verify-commit c1 "));
        let tag = Target { tag: Some("d2".into()), ..commit };
        let script = verifying(&tag, &["ab12  cd34".into()]);
        assert!(script.contains("verify-tag --raw d2 ") && script.contains(" -e AB12CD34 "), "{script}");
    }
}
