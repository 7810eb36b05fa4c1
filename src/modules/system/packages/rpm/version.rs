//! Versions of packages, compared as rpm does it (rpm-version.7).

use std::cmp::Ordering;

/// Compares two versions: epoch, then version, then release; a release that one has not said is equal to any.
pub fn compare(left: &str, right: &str) -> Ordering {
    let ((left_epoch, left), (right_epoch, right)) = (epoch(left), epoch(right));
    let ((left, left_release), (right, right_release)) = (parts(left), parts(right));
    let releases = || match (left_release, right_release) {
        (Some(left), Some(right)) => part(left, right),
        _ => Ordering::Equal,
    };
    left_epoch.cmp(&right_epoch).then_with(|| part(left, right)).then_with(releases)
}

fn epoch(version: &str) -> (u64, &str) {
    version.split_once(':').map_or((0, version), |(epoch, rest)| (epoch.parse().unwrap_or(0), rest))
}

fn parts(version: &str) -> (&str, Option<&str>) {
    version.rsplit_once('-').map_or((version, None), |(version, release)| (version, Some(release)))
}

/// Compares digits by their value and letters by their order, segment by segment; all else only separates.
fn part(mut left: &str, mut right: &str) -> Ordering {
    loop {
        let separates = |letter: char| !(letter.is_ascii_alphanumeric() || letter == '~' || letter == '^');
        left = left.trim_start_matches(separates);
        right = right.trim_start_matches(separates);
        // What is before a release comes before its end, and what is behind one after it.
        for (sign, first, last) in [('~', Ordering::Less, Ordering::Greater), ('^', Ordering::Greater, Ordering::Less)]
        {
            match (left.strip_prefix(sign), right.strip_prefix(sign)) {
                (Some(one), Some(other)) => return part(one, other),
                (Some(_), None) if sign == '^' && !right.is_empty() => return Ordering::Less,
                (None, Some(_)) if sign == '^' && !left.is_empty() => return Ordering::Greater,
                (Some(_), None) => return first,
                (None, Some(_)) => return last,
                (None, None) => {}
            }
        }
        if left.is_empty() || right.is_empty() {
            return left.len().min(1).cmp(&right.len().min(1));
        }
        let digits = left.starts_with(|letter: char| letter.is_ascii_digit());
        let (one, other) = (segment(&mut left, digits), segment(&mut right, digits));
        let order = match (digits, other.is_empty()) {
            (true, true) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (true, false) => {
                let (one, other) = (one.trim_start_matches('0'), other.trim_start_matches('0'));
                (one.len(), one).cmp(&(other.len(), other))
            }
            (false, false) => one.cmp(other),
        };
        if order.is_ne() {
            return order;
        }
    }
}

fn segment<'a>(text: &mut &'a str, digits: bool) -> &'a str {
    let is_one = |letter: char| if digits { letter.is_ascii_digit() } else { letter.is_ascii_alphabetic() };
    let end = text.find(|letter| !is_one(letter)).unwrap_or(text.len());
    let (head, rest) = text.split_at(end);
    *text = rest;
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_stand_in_rpms_order() {
        // Checked with `rpmdev-vercmp`'s own rules (rpm-version.7).
        let ordered = [
            "1.0~rc1", "1.0", "1.0^git1", "1.0a", "1.0.1", "1.0.1-1", "1.0.1-2", "1.2", "1.10", "1.10.el9", "2",
            "1:0.1",
        ];
        for (index, version) in ordered.iter().enumerate() {
            for (other_index, other) in ordered.iter().enumerate() {
                let released = |text: &str| text.starts_with("1.0.1");
                if !(released(version) && released(other)) {
                    assert_eq!(compare(version, other), index.cmp(&other_index), "{version} {other}");
                }
            }
        }
        assert_eq!(compare("1.0.1-1", "1.0.1-2"), Ordering::Less);
        assert_eq!((compare("1.0", "1.0-3"), compare("1.007", "1.7"), compare("0:1", "1")), {
            let equal = Ordering::Equal;
            (equal, equal, equal)
        });
    }
}
