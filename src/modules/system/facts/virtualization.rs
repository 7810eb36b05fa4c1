//! Facts about what a host is a guest of, and what it is itself a host for.

use serde_json::{Map, Value};

use super::hardware::CPUINFO;
use super::{Asks, Collector, Seen};

pub const VIRTUAL: Collector = Collector {
    name: "virtual",
    ids: &["virtualization_type", "virtualization_role", "virtualization_tech_guest", "virtualization_tech_host"],
    needs: &[],
    asks: Asks {
        files: &[
            "/proc/1/cgroup",
            "/proc/xen/capabilities",
            "/run/systemd/container",
            "/sys/devices/virtual/dmi/id/[bcps]*_*",
        ],
        links: &[],
        there: &["/.dockerenv", "/.dockerinit", "/dev/kvm", "/proc/bc", "/proc/lve", "/proc/vz", "/proc/xen"],
        commands: &[
            CPUINFO,
            r#"mark container; tr '\0' '\n' </proc/1/environ | grep 'container='
mark contexts; grep '^VxID:' /proc/self/status
mark modules; grep -e '^kvm ' -e '^vboxdrv ' -e '^virtio ' /proc/modules
mark managers; [ -d /rhev ] && cat /proc/[0-9]*/comm | grep -x -e vdsm -e vdsmd
mark hypervisor; case $(uname -m) in s390*) lscpu | grep '^Hypervisor:' ;; esac
"#,
        ],
    },
    read: |seen, facts| facts.extend(virtualization(seen)),
};

/// What was found so far: the first thing found is the type, all of them are told.
#[derive(Default)]
struct Found {
    first: Option<(String, &'static str)>,
    guest: Vec<String>,
    host: Vec<String>,
}

impl Found {
    fn guest(&mut self, name: &str) {
        self.is(name, "guest");
        note(&mut self.guest, name);
    }

    fn host(&mut self, name: &str) {
        self.is(name, "host");
        note(&mut self.host, name);
    }

    fn is(&mut self, name: &str, role: &'static str) {
        self.first.get_or_insert((name.into(), role));
    }
}

fn note(list: &mut Vec<String>, name: &str) {
    if !list.iter().any(|known| known == name) {
        list.push(name.into());
    }
}

fn virtualization(seen: &Seen<'_>) -> Map<String, Value> {
    let mut found = Found::default();
    containers(seen, &mut found);
    if seen.is_there("/proc/xen") {
        match seen.file("/proc/xen/capabilities").is_some_and(|text| text.contains("control_d")) {
            true => found.host("xen"),
            false => found.is("xen", "guest"),
        }
    }
    machine(seen, &mut found);
    for line in seen.section("contexts").lines() {
        match line.trim_start_matches("VxID:").trim() {
            id if id.starts_with('0') => found.host("linux_vserver"),
            _ => found.guest("linux_vserver"),
        }
    }
    processors(seen, &mut found);
    let modules = || seen.section("modules").lines().filter_map(|line| line.split(' ').next());
    if modules().any(|name| name == "kvm") {
        if !seen.section("managers").is_empty() {
            found.is("RHEV", "host");
        }
        found.host("kvm");
        if !seen.section("managers").is_empty() {
            note(&mut found.host, "RHEV");
        }
    }
    if modules().any(|name| name == "vboxdrv") {
        found.host("virtualbox");
    }
    if modules().any(|name| name == "virtio") {
        found.is("kvm", "guest");
        note(&mut found.host, "kvm");
    }
    if seen.file("/sys/devices/virtual/dmi/id/product_name").is_some_and(|name| name.contains("BHYVE")) {
        found.guest("bhyve");
    }
    if seen.is_there("/dev/kvm") {
        found.host("kvm");
    }
    let (name, role) = found.first.unwrap_or(("NA".into(), "NA"));
    Map::from_iter([
        ("virtualization_type".into(), name.into()),
        ("virtualization_role".into(), role.into()),
        ("virtualization_tech_guest".into(), found.guest.into()),
        ("virtualization_tech_host".into(), found.host.into()),
    ])
}

/// Finds what containers leave in the first process' groups and environment, and on the root.
fn containers(seen: &Seen<'_>, found: &mut Found) {
    for line in seen.file("/proc/1/cgroup").unwrap_or("").lines() {
        let scope = line.split("/docker-").skip(1).any(|rest| {
            let id = rest.trim_start_matches(|c: char| c.is_ascii_digit() || ('a'..='f').contains(&c));
            id.len() < rest.len() && id.starts_with(".scope")
        });
        if line.contains("/docker/") || scope {
            found.guest("docker");
        }
        if line.contains("/lxc/") || line.contains("/machine.slice/machine-lxc") {
            found.guest("lxc");
        }
        if line.contains("/system.slice/containerd.service") {
            found.guest("containerd");
        }
    }
    for line in seen.section("container").lines() {
        for name in ["lxc", "podman"] {
            if line.contains(&format!("container={name}")) {
                found.guest(name);
            }
        }
        if line.strip_prefix("container=").is_some_and(|name| !name.is_empty()) {
            found.guest("container");
        }
    }
    if seen.is_there("/proc/vz") && !seen.is_there("/proc/lve") {
        match seen.is_there("/proc/bc") {
            true => found.host("openvz"),
            false => found.guest("openvz"),
        }
    }
    let systemd = seen.file("/run/systemd/container");
    if let Some(name) = systemd {
        found.guest(name);
    }
    if seen.is_there("/.dockerenv") || seen.is_there("/.dockerinit") {
        found.guest("docker");
    }
    let kinds = ["docker", "lxc", "podman", "openvz", "containerd"];
    if systemd.is_some() || found.guest.iter().any(|name| kinds.contains(&name.as_str())) {
        note(&mut found.guest, "container");
    }
}

/// Finds what the firmware says the machine is.
fn machine(seen: &Seen<'_>, found: &mut Found) {
    let of = |name: &str| seen.file(&format!("/sys/devices/virtual/dmi/id/{name}")).unwrap_or("");
    let (product, vendor, bios) = (of("product_name"), of("sys_vendor"), of("bios_vendor"));
    if matches!(product, "KVM" | "KVM Server" | "Bochs" | "AHV" | "CloudStack KVM Hypervisor") {
        found.guest("kvm");
    }
    match (vendor, of("product_family"), product) {
        ("oVirt", _, _) => found.guest("oVirt"),
        ("Red Hat", "RHV", _) => found.guest("RHV"),
        ("Red Hat", _, "RHEV Hypervisor") => found.guest("RHEV"),
        _ => {}
    }
    match product {
        product if product.starts_with("VMware") => found.guest("VMware"),
        "OpenStack Compute" | "OpenStack Nova" => found.guest("openstack"),
        _ => {}
    }
    match bios {
        "Xen" => found.guest("xen"),
        "innotek GmbH" => found.guest("virtualbox"),
        "Amazon EC2" | "DigitalOcean" | "Hetzner" | "Linode" => found.guest("kvm"),
        _ => {}
    }
    match vendor {
        "QEMU" | "Amazon EC2" | "DigitalOcean" | "Google" | "Scaleway" | "Nutanix" => found.guest("kvm"),
        "KubeVirt" => found.guest("KubeVirt"),
        "Microsoft Corporation" => found.guest("VirtualPC"),
        "Parallels Software International Inc." => found.guest("parallels"),
        "OpenStack Foundation" => found.guest("openstack"),
        _ => {}
    }
}

/// Finds what the processors say they are.
fn processors(seen: &Seen<'_>, found: &mut Found) {
    for line in seen.section("cpuinfo").lines() {
        let (key, value) = line.split_once(':').unwrap_or((line, ""));
        match key.trim() {
            "model name" if value.contains("QEMU Virtual CPU") => found.guest("kvm"),
            "vendor_id" if value.contains("User Mode Linux") => found.guest("uml"),
            "model name" if value.contains("UML") => found.guest("uml"),
            "machine" if value.contains("CHRP IBM pSeries (emulated by qemu)") => found.guest("kvm"),
            "vendor_id" if value.contains("PowerVM Lx86") => found.guest("powervm_lx86"),
            "vendor_id" if value.contains("IBM/S390") => {
                let hypervisor = seen.section("hypervisor").trim().strip_prefix("Hypervisor:").map(str::trim);
                match hypervisor {
                    Some(name) => found.is(name, "guest"),
                    None => found.is("PR/SM", "LPAR"),
                }
                note(&mut found.guest, "PR/SM");
                hypervisor.into_iter().for_each(|name| note(&mut found.guest, name));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(printed: &str) -> String {
        let facts = virtualization(&Seen::new(printed));
        let list = |name: &str| {
            let list = facts[name].as_array().unwrap().iter();
            list.filter_map(Value::as_str).collect::<Vec<_>>().join(",")
        };
        let (name, role) = (&facts["virtualization_type"], &facts["virtualization_role"]);
        let (name, role) = (name.as_str().unwrap(), role.as_str().unwrap());
        format!("{name} {role} [{}] [{}]", list("virtualization_tech_guest"), list("virtualization_tech_host"))
    }

    #[test]
    fn guests_and_hosts_are_told_by_what_they_show() {
        assert_eq!(of(""), "NA NA [] []");
        assert_eq!(of("\u{1e}there\n/.dockerenv\n/dev/kvm\n"), "docker guest [docker,container] [kvm]");
        let dmi = |file: &str, text: &str| format!("\u{1e}files\n/sys/devices/virtual/dmi/id/{file}:{text}\n");
        assert_eq!(of(&dmi("sys_vendor", "QEMU")), "kvm guest [kvm] []");
        assert_eq!(of(&dmi("product_name", "VMware Virtual Platform")), "VMware guest [VMware] []");
        assert_eq!(of(&dmi("bios_vendor", "innotek GmbH")), "virtualbox guest [virtualbox] []");
        let cgroup = |path: &str| format!("\u{1e}files\n/proc/1/cgroup:1:name=systemd:{path}\n");
        assert_eq!(of(&cgroup("/docker/0a1b")), "docker guest [docker,container] []");
        assert_eq!(of(&cgroup("/system.slice/docker-0a1b.scope")), "docker guest [docker,container] []");
        assert_eq!(of(&cgroup("/system.slice/docker-proxy.scope")), "NA NA [] []");
        assert_eq!(of("\u{1e}container\ncontainer=podman\n"), "podman guest [podman,container] []");
        assert_eq!(of("\u{1e}container\ncontainer=oci\n"), "container guest [container] []");
        assert_eq!(
            of("\u{1e}files\n/run/systemd/container:systemd-nspawn\n"),
            "systemd-nspawn guest [systemd-nspawn,container] []"
        );
        assert_eq!(of("\u{1e}there\n/proc/vz\n/proc/bc\n"), "openvz host [] [openvz]");
        assert_eq!(of("\u{1e}there\n/proc/vz\n/proc/lve\n"), "NA NA [] []");
        assert_eq!(of("\u{1e}there\n/proc/xen\n"), "xen guest [] []");
        assert_eq!(of("\u{1e}modules\nkvm 1 2\nvboxdrv 3\n"), "kvm host [] [kvm,virtualbox]");
        assert_eq!(of("\u{1e}modules\nkvm 1\n\u{1e}managers\nvdsmd\n"), "RHEV host [] [kvm,RHEV]");
        assert_eq!(of("\u{1e}modules\nvirtio 1 2\n"), "kvm guest [] [kvm]");
        assert_eq!(of("\u{1e}contexts\nVxID:\t42\n"), "linux_vserver guest [linux_vserver] []");
        assert_eq!(of("\u{1e}cpuinfo\nmodel name\t: QEMU Virtual CPU version 2.5+\n"), "kvm guest [kvm] []");
        let z = "\u{1e}cpuinfo\nvendor_id       : IBM/S390\n";
        assert_eq!(of(z), "PR/SM LPAR [PR/SM] []");
        assert_eq!(
            of(&format!("{z}\u{1e}hypervisor\nHypervisor:  KVM/Linux\n")),
            "KVM/Linux guest [PR/SM,KVM/Linux] []"
        );
    }
}
