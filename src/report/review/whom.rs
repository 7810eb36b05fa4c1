//! For whom changes are: hosts, and items of a loop; said in short where each host has the same items.

use super::domains::is_domain;
use super::named;

/// Hosts, as `HOST` or `HOST -> DELEGATE`, each perhaps with an item.
#[derive(Clone, Debug, Default)]
pub struct Whom(Vec<(String, Option<String>)>);

/// How names are listed.
type List = fn(&[String]) -> String;

impl Whom {
    pub fn of(host: String, item: Option<String>) -> Whom {
        Whom(vec![(host, item)])
    }

    pub fn add(&mut self, host: String, item: Option<String>) {
        self.0.push((host, item));
    }

    pub fn extend(&mut self, other: &Whom) {
        self.0.extend(other.0.iter().cloned());
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Counts them: `2 hosts`, `38 domains on 2 hosts`.
    pub fn count(&self) -> String {
        let number = |count: usize, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
        let Some((hosts, items)) = self.parts() else { return self.len().to_string() };
        let item = if items.iter().all(|item| is_domain(item)) { "domain" } else { "item" };
        match (items.len(), hosts.len()) {
            (0, hosts) => number(hosts, "host"),
            (items, 1) => number(items, item),
            (items, hosts) => format!("{} on {}", number(items, item), number(hosts, "host")),
        }
    }

    /// Names them, all where they are few.
    pub fn short(&self) -> String {
        self.text(named)
    }

    /// Names them all.
    pub fn full(&self) -> String {
        self.text(|names| names.join(", "))
    }

    fn text(&self, list: List) -> String {
        match self.parts() {
            Some((hosts, items)) if items.is_empty() => list(&hosts),
            Some((hosts, items)) if self.len() > 1 => format!("{} on {}", list(&items), list(&hosts)),
            _ => list(&self.each()),
        }
    }

    /// Returns each by itself: `HOST (ITEM)`.
    pub fn each(&self) -> Vec<String> {
        let each = |(host, item): &(String, Option<String>)| match item {
            Some(item) => format!("{host} ({item})"),
            None => host.clone(),
        };
        self.0.iter().map(each).collect()
    }

    /// Returns hosts and items, where these are all pairs of them.
    fn parts(&self) -> Option<(Vec<String>, Vec<String>)> {
        let (mut hosts, mut items) = (indexmap::IndexSet::new(), indexmap::IndexSet::new());
        let mut pairs = indexmap::IndexSet::new();
        for (host, item) in &self.0 {
            hosts.insert(host.clone());
            items.extend(item.clone());
            pairs.insert((host, item));
        }
        let some = self.0.iter().filter(|(_, item)| item.is_some()).count();
        let whole = some == 0 || some == self.len() && pairs.len() == hosts.len() * items.len();
        (whole && pairs.len() == self.len()).then(|| (hosts.into_iter().collect(), items.into_iter().collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whom(pairs: &[(&str, &str)]) -> Whom {
        let pair = |(host, item): &(&str, &str)| (host.to_string(), (!item.is_empty()).then(|| item.to_string()));
        Whom(pairs.iter().map(pair).collect())
    }

    fn said(pairs: &[(&str, &str)]) -> (String, String) {
        (whom(pairs).count(), whom(pairs).short())
    }

    #[test]
    fn hosts_with_the_same_items_are_said_in_short() {
        let text = |count: &str, names: &str| (count.to_string(), names.to_string());
        assert_eq!(said(&[("a", ""), ("b", "")]), text("2 hosts", "a, b"));
        assert_eq!(said(&[("a", "x"), ("a", "y")]), text("2 items", "x, y on a"));
        assert_eq!(said(&[("a", "x"), ("a", "y"), ("b", "x"), ("b", "y")]), text("2 items on 2 hosts", "x, y on a, b"));
        assert_eq!(said(&[("a", "x"), ("a", "y"), ("b", "x")]), text("3", "a (x), a (y), b (x)"));
        assert_eq!(said(&[("a", "x.example"), ("a", "y.example")]), text("2 domains", "x.example, y.example on a"));
        assert_eq!(said(&[("a", "x")]), text("1 item", "a (x)"));
        assert_eq!(said(&[("a", "x"), ("a", "x")]), text("2", "a (x), a (x)"));
    }
}
