//! Facts about what guards a host: SELinux, AppArmor, capabilities, FIPS mode, a changed root, its SSH keys.

use serde_json::{Map, Value, json};

use super::{Asks, Collector, Seen};

pub const SELINUX: Collector = Collector {
    name: "selinux",
    ids: &[],
    needs: &[],
    asks: Asks {
        files: &[
            "/sys/fs/selinux/enforce",
            "/selinux/enforce",
            "/sys/fs/selinux/policyvers",
            "/selinux/policyvers",
            "/etc/selinux/config",
        ],
        ..Asks::NOTHING
    },
    read: |seen, facts| {
        facts.insert("selinux".into(), selinux(seen));
        // Nothing here needs it, so nothing need be done about it.
        facts.insert("selinux_python_present".into(), true.into());
    },
};

pub const APPARMOR: Collector = Collector {
    name: "apparmor",
    ids: &[],
    needs: &[],
    asks: Asks { there: &["/sys/kernel/security/apparmor"], ..Asks::NOTHING },
    read: |seen, facts| {
        let status = if seen.is_there("/sys/kernel/security/apparmor") { "enabled" } else { "disabled" };
        facts.insert("apparmor".into(), json!({ "status": status }));
    },
};

pub const CAPS: Collector = Collector {
    name: "caps",
    ids: &["system_capabilities", "system_capabilities_enforced"],
    needs: &[],
    asks: Asks { commands: &["mark caps; capsh --print\n"], ..Asks::NOTHING },
    read: |seen, facts| {
        let (enforced, capabilities) = capabilities(seen.section("caps"));
        facts.insert("system_capabilities_enforced".into(), enforced.into());
        facts.insert("system_capabilities".into(), capabilities);
    },
};

pub const CHROOT: Collector = Collector {
    name: "chroot",
    ids: &["is_chroot"],
    needs: &[],
    asks: Asks {
        commands: &[r#"mark chroot; echo "$debian_chroot"
stat -c '%d %i' / || ls -di /
stat -f -c %T / || echo
if stat -c '%d %i' / >/dev/null; then stat -c '%d %i' /proc/1/root/.; else ls -di /proc/1/root/.; fi
"#],
        ..Asks::NOTHING
    },
    read: |seen, facts| drop(chrooted(seen).map(|is| facts.insert("is_chroot".into(), is.into()))),
};

pub const FIPS: Collector = Collector {
    name: "fips",
    ids: &[],
    needs: &[],
    asks: Asks { files: &["/proc/sys/crypto/fips_enabled"], ..Asks::NOTHING },
    read: |seen, facts| {
        let enabled = seen.file("/proc/sys/crypto/fips_enabled") == Some("1");
        facts.insert("fips".into(), enabled.into());
    },
};

pub const SSH_PUB_KEYS: Collector = Collector {
    name: "ssh_pub_keys",
    ids: &[
        "ssh_host_pub_keys",
        "ssh_host_key_dsa_public",
        "ssh_host_key_rsa_public",
        "ssh_host_key_ecdsa_public",
        "ssh_host_key_ed25519_public",
    ],
    needs: &[],
    asks: Asks {
        files: &["/etc/ssh/ssh_host_*_key.pub", "/etc/openssh/ssh_host_*_key.pub", "/etc/ssh_host_*_key.pub"],
        ..Asks::NOTHING
    },
    read: host_keys,
};

/// SELinux is on where its file system is mounted and it is configured.
fn selinux(seen: &Seen<'_>) -> Value {
    let kernel = |name: &str| {
        let path = format!("/selinux/{name}");
        seen.file(&format!("/sys/fs{path}")).or_else(|| seen.file(&path)).map(str::to_string)
    };
    let (Some(enforce), Some(config)) = (kernel("enforce"), seen.file("/etc/selinux/config")) else {
        return json!({ "status": "disabled" });
    };
    let value = |key: &str| config.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    let configured = value("SELINUX=").unwrap_or("").to_ascii_lowercase();
    let known = ["enforcing", "permissive", "disabled"].into_iter().find(|mode| configured.starts_with(mode));
    let policy = kernel("policyvers").and_then(|version| version.parse::<u64>().ok());
    json!({
        "status": "enabled",
        "mode": match enforce.as_str() { "1" => "enforcing", "0" => "permissive", _ => "unknown" },
        "config_mode": known.unwrap_or("unknown"),
        "policyvers": policy.map_or("unknown".into(), Value::from),
        "type": value("SELINUXTYPE=").unwrap_or("targeted"),
    })
}

/// Reads what `capsh --print` says is in force; a host without it has nothing to tell.
fn capabilities(text: &str) -> (&'static str, Value) {
    if text.trim().is_empty() {
        return ("N/A", "N/A".into());
    }
    let Some(current) = text.lines().find_map(|line| line.strip_prefix("Current:")) else { return ("NA", json!([])) };
    match current.trim() {
        "=ep" => ("False", json!([])),
        current => {
            let list = current.split('=').nth(1).unwrap_or("");
            ("True", list.split(',').map(str::trim).collect())
        }
    }
}

/// Tells whether our root is another than that of the first process, as far as it can be seen, or than a file system's own.
fn chrooted(seen: &Seen<'_>) -> Option<bool> {
    let [named, ours, kind, first] = [0, 1, 2, 3].map(|row| seen.line("chroot", row));
    if !named.is_empty() {
        return Some(true);
    }
    let inode = |line: &str| line.split_whitespace().find_map(|word| word.parse::<u64>().ok());
    if !first.is_empty() {
        // `ls` prints the name too, which differs.
        return Some(match ours.ends_with('/') {
            true => inode(ours) != inode(first),
            false => ours != first,
        });
    }
    let usual = match kind {
        kind if kind.contains("btrfs") => 256,
        kind if kind.contains("xfs") => 128,
        _ => 2,
    };
    let own = if ours.ends_with('/') { inode(ours) } else { ours.split(' ').nth(1)?.parse().ok() };
    Some(own? != usual)
}

/// Adds the host's public keys, of the first directory that has any.
fn host_keys(seen: &Seen<'_>, facts: &mut Map<String, Value>) {
    for directory in ["/etc/ssh", "/etc/openssh", "/etc"] {
        let mut found = false;
        for algorithm in ["dsa", "rsa", "ecdsa", "ed25519"] {
            let text = seen.file(&format!("{directory}/ssh_host_{algorithm}_key.pub")).unwrap_or("");
            let mut words = text.split_whitespace();
            if let (Some(kind), Some(key)) = (words.next(), words.next()) {
                facts.insert(format!("ssh_host_key_{algorithm}_public"), key.into());
                facts.insert(format!("ssh_host_key_{algorithm}_public_keytype"), kind.into());
                found = true;
            }
        }
        if found {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selinux_is_what_the_kernel_and_its_configuration_say() {
        let of = |printed: &str| selinux(&Seen::new(printed));
        let config = "/etc/selinux/config:# SELINUX= can be\n/etc/selinux/config:SELINUX=permissive\n/etc/selinux/config:SELINUXTYPE=targeted\n";
        assert_eq!(of(&format!("\u{1e}files\n{config}")), json!({"status": "disabled"}));
        let enabled = json!({"status": "enabled", "mode": "enforcing", "config_mode": "permissive", "policyvers": 33, "type": "targeted"});
        let kernel = "/sys/fs/selinux/enforce:1\n/sys/fs/selinux/policyvers:33\n";
        assert_eq!(of(&format!("\u{1e}files\n{config}{kernel}")), enabled);
    }

    #[test]
    fn capabilities_are_told_where_some_are_missing() {
        assert_eq!(capabilities(""), ("N/A", json!("N/A")));
        assert_eq!(capabilities("Current: =ep\nBounding set =cap_chown\n"), ("False", json!([])));
        assert_eq!(capabilities("Current: =ep cap_sys_resource-ep\n"), ("True", json!(["ep cap_sys_resource-ep"])));
        assert_eq!(capabilities("Current: = cap_chown,cap_kill+ep\n").1, json!(["cap_chown", "cap_kill+ep"]));
    }

    #[test]
    fn a_changed_root_is_told_by_the_first_process_or_by_its_inode() {
        let of = |printed: &str| chrooted(&Seen::new(&format!("\u{1e}chroot\n{printed}")));
        assert_eq!(of("\n65024 2\next2/ext3\n65024 2\n"), Some(false));
        assert_eq!(of("\n65024 7\next2/ext3\n65024 2\n"), Some(true));
        assert_eq!(of("sid\n65024 2\next2/ext3\n65024 2\n"), Some(true));
        // Not root, so the first process' is not seen.
        assert_eq!((of("\n65024 2\next2/ext3\n"), of("\n65024 128\nxfs\n")), (Some(false), Some(false)));
        assert_eq!(
            (of("\n65024 99\noverlayfs\n"), of("\n      2 /\n\n      2 /proc/1/root/.\n")),
            (Some(true), Some(false))
        );
        assert_eq!(of(""), None);
    }

    #[test]
    fn host_keys_are_those_of_the_first_directory_that_has_some() {
        let printed = "\u{1e}files\n/etc/ssh/ssh_host_rsa_key.pub:ssh-rsa AAAA root@mail\n/etc/ssh_host_dsa_key.pub:ssh-dss BBBB\n";
        let mut facts = Map::new();
        host_keys(&Seen::new(printed), &mut facts);
        assert_eq!(facts.keys().collect::<Vec<_>>(), ["ssh_host_key_rsa_public", "ssh_host_key_rsa_public_keytype"]);
        assert_eq!(facts["ssh_host_key_rsa_public"], "AAAA");
    }
}
