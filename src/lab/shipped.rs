//! The playbooks that ship with Cutover, so that the one binary has them.

/// Paths below `playbooks/`, and their texts.
pub const PLAYBOOKS: &[(&str, &str)] = &[
    ("move-domain.yml", include_str!("../../playbooks/move-domain.yml")),
    ("move-fleet.yml", include_str!("../../playbooks/move-fleet.yml")),
    ("stages/accounts.yml", include_str!("../../playbooks/stages/accounts.yml")),
    ("stages/ask.yml", include_str!("../../playbooks/stages/ask.yml")),
    ("stages/backscatter.yml", include_str!("../../playbooks/stages/backscatter.yml")),
    ("stages/by-hand.yml", include_str!("../../playbooks/stages/by-hand.yml")),
    ("stages/daemons.yml", include_str!("../../playbooks/stages/daemons.yml")),
    ("stages/dns-look.yml", include_str!("../../playbooks/stages/dns-look.yml")),
    ("stages/dns-same.yml", include_str!("../../playbooks/stages/dns-same.yml")),
    ("stages/dns.yml", include_str!("../../playbooks/stages/dns.yml")),
    ("stages/domains.yml", include_str!("../../playbooks/stages/domains.yml")),
    ("stages/door.yml", include_str!("../../playbooks/stages/door.yml")),
    ("stages/forwarding.yml", include_str!("../../playbooks/stages/forwarding.yml")),
    ("stages/here.yml", include_str!("../../playbooks/stages/here.yml")),
    ("stages/logins.yml", include_str!("../../playbooks/stages/logins.yml")),
    ("stages/look.yml", include_str!("../../playbooks/stages/look.yml")),
    ("stages/name.yml", include_str!("../../playbooks/stages/name.yml")),
    ("stages/pair.yml", include_str!("../../playbooks/stages/pair.yml")),
    ("stages/panels.yml", include_str!("../../playbooks/stages/panels.yml")),
    ("stages/preflight.yml", include_str!("../../playbooks/stages/preflight.yml")),
    ("stages/probe.yml", include_str!("../../playbooks/stages/probe.yml")),
    ("stages/promotion.yml", include_str!("../../playbooks/stages/promotion.yml")),
    ("stages/proof.yml", include_str!("../../playbooks/stages/proof.yml")),
    ("stages/proxies.yml", include_str!("../../playbooks/stages/proxies.yml")),
    ("stages/retirement.yml", include_str!("../../playbooks/stages/retirement.yml")),
    ("stages/rollback.yml", include_str!("../../playbooks/stages/rollback.yml")),
    ("stages/same-zones.yml", include_str!("../../playbooks/stages/same-zones.yml")),
    ("stages/secondary.yml", include_str!("../../playbooks/stages/secondary.yml")),
    ("stages/state.yml", include_str!("../../playbooks/stages/state.yml")),
    ("stages/stored-mail.yml", include_str!("../../playbooks/stages/stored-mail.yml")),
    ("stages/switch.yml", include_str!("../../playbooks/stages/switch.yml")),
    ("stages/ttl.yml", include_str!("../../playbooks/stages/ttl.yml")),
    ("stages/verification.yml", include_str!("../../playbooks/stages/verification.yml")),
    ("stages/watch.yml", include_str!("../../playbooks/stages/watch.yml")),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn every_playbook_ships() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("playbooks");
        let mut open = vec![root.clone()];
        let mut found = Vec::new();
        while let Some(directory) = open.pop() {
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => open.push(path),
                    false => found.push(path.strip_prefix(&root).unwrap().display().to_string()),
                }
            }
        }
        found.sort();
        let shipped: Vec<&str> = PLAYBOOKS.iter().map(|(name, _)| *name).collect();
        assert_eq!(found, shipped);
    }
}
