//! What is said when a host and we have no algorithm in common, and which inventory lines would really help.

use russh::AlgorithmKind;

use super::algorithms::List;
use super::target::{Algorithms, Profile, Target};

/// Explains a failed negotiation with both sides' lists.
pub fn explain(target: &Target, kind: &AlgorithmKind, (ours, theirs): (&[String], &[String])) -> String {
    let what = match kind {
        AlgorithmKind::Kex => "key exchange",
        AlgorithmKind::Key => "host key algorithm",
        AlgorithmKind::Cipher => "cipher",
        AlgorithmKind::Mac => "MAC",
        AlgorithmKind::Compression => "compression",
    };
    let (offers, allowed) = (theirs.join(", "), ours.join(", "));
    let text = format!("no {what} in common: the host offers {offers}; allowed are {allowed}");
    let Some(list) = List::of(kind) else { return text };
    let lines = remedies(&target.algorithms, list, theirs);
    match lines.as_slice() {
        [] => format!("{text}\nhint: none of what the host offers is supported, so no setting helps"),
        [line] => format!("{text}\nhint: this among the variables of `{}` allows it: {line}", target.name),
        lines => {
            format!(
                "{text}\nhint: one of these among the variables of `{}` allows it: {}",
                target.name,
                lines.join(" or ")
            )
        }
    }
}

/// Returns the inventory lines after which the two would have something of this list in common.
fn remedies(algorithms: &Algorithms, list: List, theirs: &[String]) -> Vec<String> {
    let mut lines = Vec::new();
    let legacy = Algorithms { profile: Profile::Legacy, ..algorithms.clone() };
    let in_common = |names: Vec<&'static str>| names.into_iter().find(|name| theirs.iter().any(|their| their == name));
    if algorithms.profile == Profile::Modern && legacy.names(list).is_ok_and(|names| in_common(names).is_some()) {
        lines.push("`ssh_profile: legacy`".to_string());
    }
    // The best of all that exist, added to what is allowed anyway.
    let all = Algorithms { profile: Profile::Legacy, ..Algorithms::default() };
    if let Some(name) = all.names(list).ok().and_then(in_common) {
        lines.push(format!("`ansible_ssh_common_args: '-o {}=+{name}'`", list.option()));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(algorithms: Algorithms, theirs: &[&str]) -> Vec<String> {
        let theirs: Vec<String> = theirs.iter().map(|name| name.to_string()).collect();
        remedies(&algorithms, List::Ciphers, &theirs)
    }

    #[test]
    fn only_what_would_help_is_offered() {
        let exact = "`ansible_ssh_common_args: '-o Ciphers=+aes128-cbc'`";
        assert_eq!(
            lines(Algorithms::default(), &["arcfour", "3des-cbc", "aes128-cbc"]),
            ["`ssh_profile: legacy`", exact]
        );
        assert!(lines(Algorithms::default(), &["arcfour"]).is_empty());
        // A list that is written out is not changed by the profile.
        let written = Algorithms { ciphers: Some("aes256-ctr".into()), ..Algorithms::default() };
        assert_eq!(lines(written, &["aes128-cbc"]), [exact]);
        let legacy = Algorithms { profile: Profile::Legacy, ciphers: Some("-*-cbc".into()), ..Algorithms::default() };
        assert_eq!(lines(legacy, &["aes128-cbc"]), [exact]);
    }
}
