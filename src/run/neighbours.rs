//! The hosts of a run as the transport may know them: their names, addresses and sides of a move.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use crate::template::Templates;
use crate::transport::ssh::{Half, Neighbour, Neighbours};
use crate::vars::{Fleet, Scope, Var};

use super::said::{Reader, Sources};

/// Returns all hosts of the inventory, put together when they are first asked for.
pub fn neighbours(fleet: &Arc<Fleet>, templates: &Arc<Templates>) -> Neighbours {
    let (fleet, templates) = (fleet.clone(), templates.clone());
    let all = OnceLock::new();
    Neighbours::new(move || {
        let list = || fleet.hosts().into_iter().map(|host| neighbour(host, &fleet, &templates)).collect();
        Vec::clone(all.get_or_init(list))
    })
}

/// A variable that cannot be read is the error of the host's own connection; here its name has to do.
fn neighbour(name: String, fleet: &Arc<Fleet>, templates: &Templates) -> Neighbour {
    let scope = fleet.host_scope(&name);
    let read =
        Reader { templates, scope: &scope, host: &name, environment: &BTreeMap::new(), heard: Default::default() };
    let text = |variables: &[&str]| {
        let said = read.first(&Sources { variables, ..Sources::default() });
        said.ok().flatten().map(|said| said.text)
    };
    Neighbour {
        address: text(&["ansible_host", "ansible_ssh_host"]).unwrap_or_else(|| name.clone()),
        port: text(&["ansible_port", "ansible_ssh_port"]).and_then(|port| port.parse().ok()).unwrap_or(22),
        half: half(&scope),
        name,
    }
}

/// Returns the side that the groups `old` and `new` say; none where they say both.
fn half(scope: &Scope) -> Option<Half> {
    let Some(Var::Known(groups)) = scope.get("group_names") else { return None };
    let has = |group| groups.as_array().is_some_and(|groups| groups.iter().any(|name| name == group));
    match (has("old"), has("new")) {
        (true, false) => Some(Half::Old),
        (false, true) => Some(Half::New),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::Inventory;
    use crate::vars::Layer;

    #[test]
    fn hosts_come_with_their_addresses_and_sides() {
        let root = tempfile::tempdir().unwrap();
        let text = "web\n[old]\na ansible_host='{{ base }}.1' ansible_port=2222 base=192.0.2\nb\n[new]\nn\nb\n";
        std::fs::write(root.path().join("hosts"), text).unwrap();
        let inventory = Inventory::load(&[root.path().join("hosts").display().to_string()]).unwrap();
        let fleet = Arc::new(Fleet::new(inventory, Layer::new()));
        let mut found: Vec<_> = neighbours(&fleet, &Arc::new(Templates::new()))
            .list()
            .into_iter()
            .map(|host| (host.name, host.address, host.port, host.half))
            .collect();
        found.sort_by(|left, right| left.0.cmp(&right.0));
        let host = |name: &str, address: &str, port, half| (name.to_string(), address.to_string(), port, half);
        let expected = [
            host("a", "192.0.2.1", 2222, Some(Half::Old)),
            host("b", "b", 22, None),
            host("n", "n", 22, Some(Half::New)),
            host("web", "web", 22, None),
        ];
        assert_eq!(found, expected);
    }
}
