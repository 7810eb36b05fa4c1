//! Versions of packages, compared as dpkg does it (deb-version.7).

use std::cmp::Ordering;

/// Compares two versions: epoch, then upstream's, then Debian's revision.
pub fn compare(left: &str, right: &str) -> Ordering {
    let (left, right) = (parts(left), parts(right));
    left.0.cmp(&right.0).then_with(|| part(left.1, right.1)).then_with(|| part(left.2, right.2))
}

fn parts(version: &str) -> (u64, &str, &str) {
    let (epoch, rest) = version.split_once(':').unwrap_or(("0", version));
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
    (epoch.parse().unwrap_or(0), upstream, revision)
}

/// Compares what is no number by its letters, and what is one by its value, by turns.
fn part(mut left: &str, mut right: &str) -> Ordering {
    while !left.is_empty() || !right.is_empty() {
        let (one, other) =
            (head(&mut left, |letter| !letter.is_ascii_digit()), head(&mut right, |letter| !letter.is_ascii_digit()));
        // A missing letter is less than any, but for a tilde.
        let ends = |text: &str| text.chars().map(weight).chain([0]).collect::<Vec<i32>>();
        let length = one.len().max(other.len()) + 1;
        let padded = |text: &str| ends(text).into_iter().chain(std::iter::repeat(0)).take(length).collect::<Vec<i32>>();
        let digits = |text: &mut &str| head(text, |letter| letter.is_ascii_digit()).trim_start_matches('0').to_string();
        let (number, other_number) = (digits(&mut left), digits(&mut right));
        let by_value = (number.len(), &number).cmp(&(other_number.len(), &other_number));
        match padded(one).cmp(&padded(other)).then(by_value) {
            Ordering::Equal => {}
            decided => return decided,
        }
    }
    Ordering::Equal
}

/// Takes the beginning of a text that is all so.
fn head<'a>(text: &mut &'a str, is_so: impl Fn(char) -> bool) -> &'a str {
    let end = text.find(|letter| !is_so(letter)).unwrap_or(text.len());
    let (head, rest) = text.split_at(end);
    *text = rest;
    head
}

/// Letters come before all other signs, and a tilde before the end.
fn weight(letter: char) -> i32 {
    match letter {
        '~' => -1,
        letter if letter.is_ascii_alphabetic() => letter as i32,
        letter => letter as i32 + 256,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_stand_in_dpkgs_order() {
        // Checked with `dpkg --compare-versions`.
        let ordered = [
            "1.0~rc1-1",
            "1.0~rc1-2",
            "1.0",
            "1.0-1",
            "1.0-1+deb12u1",
            "1.0a",
            "1.0+b1",
            "1.0.1",
            "1.2",
            "1.10",
            "1:0.1",
        ];
        for (index, version) in ordered.iter().enumerate() {
            for (other_index, other) in ordered.iter().enumerate() {
                assert_eq!(compare(version, other), index.cmp(&other_index), "{version} {other}");
            }
        }
        assert_eq!(compare("0:1.0", "1.0-0"), Ordering::Equal);
        assert_eq!(compare("1.007", "1.7"), Ordering::Equal);
    }
}
