//! Facts about what starts a host's services and installs its packages.

use serde_json::{Value, json};

use super::seen::base;
use super::{Asks, Collector, Seen};

/// Lists those tools that the services' facts depend on.
const TOOLS: &str =
    "mark tools; for tool in systemctl initctl; do command -v \"$tool\" >/dev/null && echo \"$tool\"; done\n";

pub const PKG_MGR: Collector = Collector {
    name: "pkg_mgr",
    ids: &[],
    needs: &["distribution"],
    asks: Asks {
        links: &["/usr/bin/dnf", "/usr/bin/microdnf"],
        there: &[
            "/usr/bin/rpm-ostree",
            "/usr/bin/yum",
            "/usr/bin/dnf-3",
            "/usr/bin/dnf5",
            "/usr/bin/apt-get",
            "/usr/bin/zypper",
            "/usr/sbin/urpmi",
            "/usr/bin/pacman",
            "/bin/opkg",
            "/usr/pkg/bin/pkgin",
            "/opt/local/bin/pkgin",
            "/opt/tools/bin/pkgin",
            "/opt/local/bin/port",
            "/usr/local/bin/brew",
            "/opt/homebrew/bin/brew",
            "/sbin/apk",
            "/usr/sbin/pkg",
            "/usr/sbin/swlist",
            "/usr/bin/emerge",
            "/usr/sbin/pkgadd",
            "/usr/bin/pkg",
            "/usr/bin/xbps-install",
            "/usr/local/sbin/pkg",
            "/usr/bin/swupd",
            "/usr/sbin/sorcery",
            "/usr/bin/installp",
            "/run/ostree-booted",
            "/usr/bin/dnf",
            "/usr/bin/microdnf",
            "/usr/bin/rpm",
        ],
        ..Asks::NOTHING
    },
    read: |seen, facts| {
        let family = facts.get("os_family").and_then(Value::as_str).unwrap_or("");
        let manager = package_manager(seen, family);
        facts.insert("pkg_mgr".into(), manager.into());
    },
};

/// Programs and the managers they are of. Of several, the last counts.
const MANAGERS: &[(&str, &str)] = &[
    ("/usr/bin/rpm-ostree", "atomic_container"),
    ("/usr/bin/yum", "dnf"),
    ("/usr/bin/dnf-3", "dnf"),
    ("/usr/bin/dnf5", "dnf5"),
    ("/usr/bin/apt-get", "apt"),
    ("/usr/bin/zypper", "zypper"),
    ("/usr/sbin/urpmi", "urpmi"),
    ("/usr/bin/pacman", "pacman"),
    ("/bin/opkg", "opkg"),
    ("/usr/pkg/bin/pkgin", "pkgin"),
    ("/opt/local/bin/pkgin", "pkgin"),
    ("/opt/tools/bin/pkgin", "pkgin"),
    ("/opt/local/bin/port", "macports"),
    ("/usr/local/bin/brew", "homebrew"),
    ("/opt/homebrew/bin/brew", "homebrew"),
    ("/sbin/apk", "apk"),
    ("/usr/sbin/pkg", "pkgng"),
    ("/usr/sbin/swlist", "swdepot"),
    ("/usr/bin/emerge", "portage"),
    ("/usr/sbin/pkgadd", "svr4pkg"),
    ("/usr/bin/pkg", "pkg5"),
    ("/usr/bin/xbps-install", "xbps"),
    ("/usr/local/sbin/pkg", "pkgng"),
    ("/usr/bin/swupd", "swupd"),
    ("/usr/sbin/sorcery", "sorcery"),
    ("/usr/bin/installp", "installp"),
];

fn package_manager(seen: &Seen<'_>, family: &str) -> &'static str {
    match family {
        "OpenBSD" => return "openbsd_pkg",
        "Debian" => return "apt",
        "RedHat" => {
            if seen.is_there("/run/ostree-booted") {
                return "atomic_container";
            }
            let dnf = ["/usr/bin/dnf", "/usr/bin/microdnf"].into_iter().find(|path| seen.is_there(path));
            return match dnf {
                Some(path) if seen.link(path).is_some_and(|target| base(target) == "dnf5") => "dnf5",
                Some(_) => "dnf",
                // Systems of before dnf, which Ansible's own Python no longer runs on.
                None if seen.is_there("/usr/bin/yum") => "yum",
                None => "unknown",
            };
        }
        _ => {}
    }
    // Not the packages of Perl that ALT has there.
    let there = |path: &str| seen.is_there(path) && !(family == "Altlinux" && path == "/usr/bin/pkg");
    let manager = MANAGERS.iter().rev().find(|(path, _)| there(path)).map_or("unknown", |(_, name)| name);
    match manager {
        "apt" if family == "Altlinux" || seen.is_there("/usr/bin/rpm") => "apt_rpm",
        manager => manager,
    }
}

pub const SERVICE_MGR: Collector = Collector {
    name: "service_mgr",
    ids: &[],
    needs: &["platform", "distribution"],
    asks: Asks {
        files: &["/proc/1/comm"],
        links: &["/sbin/init"],
        there: &[
            "/run/systemd/system/",
            "/dev/.run/systemd/",
            "/dev/.systemd/",
            "/etc/init/",
            "/sbin/openrc",
            "/etc/init.d/",
            "/etc/dinit.d/",
        ],
        commands: &["mark init; [ -r /proc/1/comm ] || ps -p 1 -o comm | tail -n 1\n", TOOLS],
    },
    read: |seen, facts| {
        let text = |name: &str| facts.get(name).and_then(Value::as_str).unwrap_or("");
        let manager = service_manager(seen, text("system"), text("distribution"));
        facts.insert("service_mgr".into(), manager.into());
    },
};

pub const SYSTEMD: Collector = Collector {
    name: "systemd",
    ids: &[],
    needs: &[],
    asks: Asks {
        there: &["/run/systemd/system/", "/dev/.run/systemd/", "/dev/.systemd/"],
        commands: &[TOOLS, "mark systemd; systemctl --version\n"],
        ..Asks::NOTHING
    },
    read: |seen, facts| {
        let version = seen.line("systemd", 0).split(' ').nth(1).and_then(|word| word.parse::<u64>().ok());
        if let Some(version) = version.filter(|_| is_systemd(seen)) {
            facts.insert("systemd".into(), json!({ "version": version, "features": seen.line("systemd", 1) }));
        }
    },
};

fn has_tool(seen: &Seen<'_>, tool: &str) -> bool {
    seen.section("tools").lines().any(|line| line == tool)
}

/// As sd_booted(3) tells.
fn is_systemd(seen: &Seen<'_>) -> bool {
    let signs = ["/run/systemd/system/", "/dev/.run/systemd/", "/dev/.systemd/"];
    has_tool(seen, "systemctl") && signs.iter().any(|path| seen.is_there(path))
}

fn service_manager(seen: &Seen<'_>, system: &str, distribution: &str) -> String {
    let asked = || Some(seen.line("init", 0)).filter(|name| !name.is_empty() && *name != "COMMAND");
    // A `ps` that knows no `-p` prints rows with numbers.
    let asked = || asked().filter(|line| !line.starts_with(|c: char| c.is_ascii_digit()) || !line.contains(' '));
    let first =
        seen.file("/proc/1/comm").or_else(asked).or_else(|| seen.link("/sbin/init")).map(|name| base(name).trim());
    // Many are called `init`, and a shell is in a container: what is installed tells more.
    match first.filter(|name| *name != "init" && !name.ends_with("sh")) {
        Some("procd") => return "openwrt_init".into(),
        Some("runit-init") => return "runit".into(),
        Some("svscan") => return "svc".into(),
        Some("openrc-init") => return "openrc".into(),
        Some(name) => return name.into(),
        None => {}
    }
    let manager = match (system, distribution) {
        ("Darwin", _) => "launchd",
        ("AIX", _) => "src",
        ("SunOS", _) => "smf",
        ("Bitrig" | "DragonFly", _) => "bsdinit",
        (system, _) if system.contains("BSD") => "bsdinit",
        (_, "OpenWrt") => "openwrt_init",
        (_, "SMGL") => "simpleinit_msb",
        ("Linux", _) if is_systemd(seen) => "systemd",
        ("Linux", _) if has_tool(seen, "initctl") && seen.is_there("/etc/init/") => "upstart",
        ("Linux", _) if seen.is_there("/sbin/openrc") => "openrc",
        ("Linux", _)
            if has_tool(seen, "systemctl")
                && seen.link("/sbin/init").is_some_and(|target| base(target) == "systemd") =>
        {
            "systemd"
        }
        ("Linux", _) if seen.is_there("/etc/init.d/") => "sysvinit",
        ("Linux", _) if seen.is_there("/etc/dinit.d/") => "dinit",
        _ => "service",
    };
    manager.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_process_or_what_is_installed_tells_who_starts_services() {
        let of = |printed: &str| service_manager(&Seen::new(printed), "Linux", "Debian");
        let comm = |name: &str| format!("\u{1e}files\n/proc/1/comm:{name}\n");
        assert_eq!((of(&comm("systemd")), of(&comm("runit-init"))), ("systemd".into(), "runit".into()));
        let link = "\u{1e}links\nlrwxrwxrwx 1 root root 20 Nov 27 22:00 /sbin/init -> /lib/systemd/systemd\n";
        let tools = "\u{1e}tools\nsystemctl\n";
        // A container with a shell as its first process.
        assert_eq!(of(&format!("{}{link}{tools}\u{1e}there\n/etc/init.d/\n", comm("bash"))), "systemd");
        assert_eq!(of(&format!("{}\u{1e}there\n/etc/init.d/\n", comm("sh"))), "sysvinit");
        assert_eq!(of(&format!("{}\u{1e}there\n/sbin/openrc\n/etc/init.d/\n", comm("init"))), "openrc");
        assert_eq!(of(&format!("{}{tools}\u{1e}there\n/run/systemd/system/\n", comm("init"))), "systemd");
        // A kernel without `comm`: `ps` of procps, and of busybox.
        assert_eq!(of("\u{1e}init\nupstart\n"), "upstart");
        assert_eq!(of("\u{1e}init\n  812 root  ps\n"), "service");
        assert_eq!(service_manager(&Seen::new(""), "FreeBSD", "FreeBSD"), "bsdinit");
    }

    #[test]
    fn packages_are_managed_as_the_family_does() {
        let of = |family: &str, there: &str, links: &str| {
            let printed = format!("\u{1e}there\n{there}\u{1e}links\n{links}");
            package_manager(&Seen::new(&printed), family)
        };
        assert_eq!(of("Debian", "/usr/bin/dnf\n/usr/bin/zypper\n", ""), "apt");
        assert_eq!(of("RedHat", "/usr/bin/dnf\n/usr/bin/yum\n", ""), "dnf");
        assert_eq!(of("RedHat", "/usr/bin/dnf\n", "lrwxrwxrwx 1 r r 4 Nov 27 22:00 /usr/bin/dnf -> dnf5\n"), "dnf5");
        assert_eq!(of("RedHat", "/usr/bin/yum\n", ""), "yum");
        assert_eq!((of("Alpine", "/sbin/apk\n", ""), of("Linux", "", "")), ("apk", "unknown"));
        assert_eq!(of("Altlinux", "/usr/bin/apt-get\n/usr/bin/pkg\n/usr/bin/rpm\n", ""), "apt_rpm");
    }
}
