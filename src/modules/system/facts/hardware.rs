//! Facts about a host's processors, memory and firmware; those about disks are next door.

use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use super::{Asks, Collector, Seen, devices, mounts};

/// What `/proc/cpuinfo` says, the long lists of every processor but the first left out.
pub const CPUINFO: &str = r#"mark cpuinfo; grep -v -e '^flags' -e '^vmx flags' -e '^bugs' -e '^Features' -e '^power management' /proc/cpuinfo
mark cpuflags; sed -n '/^flags/{p;q;}' /proc/cpuinfo
"#;

pub const HARDWARE: Collector = Collector {
    name: "hardware",
    ids: &["processor", "processor_cores", "processor_count", "mounts", "devices"],
    needs: &["platform"],
    asks: Asks {
        files: &[
            "/proc/meminfo",
            "/proc/uptime",
            "/proc/sysinfo",
            "/sys/hypervisor/type",
            "/sys/devices/virtual/dmi/id/[bcps]*_*",
            "/sys/block/*/removable",
            "/sys/block/*/size",
            "/sys/block/*/device/model",
            "/sys/block/*/device/sas_address",
            "/sys/block/*/device/sas_device_handle",
            "/sys/block/*/device/serial",
            "/sys/block/*/device/vendor",
            "/sys/block/*/queue/discard_granularity",
            "/sys/block/*/queue/discard_max_hw_bytes",
            "/sys/block/*/queue/hw_sector_size",
            "/sys/block/*/queue/logical_block_size",
            "/sys/block/*/queue/rotational",
            "/sys/block/*/queue/scheduler",
            "/sys/block/*/holders/*/dm/name",
            "/sys/block/*/*/size",
            "/sys/block/*/*/start",
            "/sys/block/*/*/holders/*/dm/name",
        ],
        links: &["/sys/block/*", "/dev/disk/by-id/*", "/dev/disk/by-label/*", "/dev/disk/by-uuid/*", "/dev/mapper/*"],
        there: &[
            "/proc/xen",
            "/sys/block/*",
            "/sys/block/*/*device*",
            "/sys/block/*/holders/*",
            "/sys/block/*/*/holders/*",
            "/sys/block/*/slaves/*",
        ],
        commands: &[
            CPUINFO,
            "mark processors; (unset OMP_NUM_THREADS OMP_THREAD_LIMIT; nproc || getconf _NPROCESSORS_ONLN)\n",
            VOLUMES,
            mounts::COMMANDS,
        ],
    },
    read: |seen, facts| {
        let text = |name: &str| facts.get(name).and_then(Value::as_str).unwrap_or("").to_string();
        processors(seen, &text("machine"), facts);
        memory(seen.file("/proc/meminfo").unwrap_or(""), facts);
        firmware(seen, facts);
        devices::facts(seen, facts);
        let uptime = seen.file("/proc/uptime").and_then(|text| text.split('.').next()?.parse::<u64>().ok());
        facts.extend(uptime.map(|seconds| ("uptime_seconds".into(), seconds.into())));
        facts.insert("lvm".into(), volumes(seen));
        facts.insert("mounts".into(), mounts::facts(seen));
    },
};

/// Reads what is on the disks without a lock and so without writing; root alone can.
const VOLUMES: &str = r#"if command -v vgs >/dev/null && [ "$(id -u)" = 0 ] && [ -n "$bound" ]; then
  for tool in vgs lvs pvs; do mark $tool; $bound $tool --readonly --noheadings --nosuffix --units g --separator , </dev/null; done
fi
"#;

/// Adds what `/proc/cpuinfo` says of sockets, cores and threads.
fn processors(seen: &Seen<'_>, machine: &str, facts: &mut Map<String, Value>) {
    let rows = || {
        let lines = seen.section("cpuinfo").lines().chain(seen.section("cpuflags").lines());
        lines.map(|line| line.split_once(':').unwrap_or((line, ""))).map(|(key, value)| (key.trim(), value.trim()))
    };
    let usable = seen.line("processors", 0).parse::<u64>().ok();
    if seen.section("cpuinfo").trim().is_empty() {
        let names = ["processor_count", "processor_nproc", "processor_vcpus"];
        facts.extend(names.iter().filter_map(|name| Some((name.to_string(), usable?.into()))));
        return;
    }
    let mut names: Vec<&str> = Vec::new();
    // What is told before a socket or core is named is counted under no name.
    let (mut socket, mut core) = ("", "");
    let mut sockets: IndexMap<&str, u64> = IndexMap::new();
    let mut cores: IndexMap<&str, u64> = IndexMap::new();
    let (mut zone, mut threads, mut active) = (0, 0, None);
    for (key, value) in rows() {
        let number = value.parse::<u64>().unwrap_or(0);
        match key {
            "model name" | "Processor" | "vendor_id" | "cpu" | "Vendor" | "processor" => names.push(value),
            "physical id" => {
                socket = value;
                sockets.entry(value).or_insert(1);
            }
            "core id" => {
                core = value;
                if !sockets.contains_key(value) {
                    cores.insert(value, 1);
                }
            }
            "cpu cores" => drop(sockets.insert(socket, number)),
            "siblings" => drop(cores.insert(core, number)),
            "# processors" => zone = number,
            "max thread id" => threads = number + 1,
            "ncpus active" => active = Some(number),
            "flags" => drop(facts.insert("flags".into(), value.split_whitespace().collect())),
            _ => {}
        }
    }
    let occurrences = |name: &str| rows().filter(|(key, _)| *key == name).count() as u64;
    let (vendors, models) = (occurrences("vendor_id"), occurrences("model name"));
    let listed = match () {
        () if ["armv", "aarch", "ppc"].iter().any(|start| machine.starts_with(start)) => occurrences("processor"),
        () if vendors > 0 && vendors == models => vendors,
        () => active.unwrap_or(names.len() as u64),
    };
    let xen =
        seen.is_there("/proc/xen") || seen.file("/sys/hypervisor/type").is_some_and(|text| text.starts_with("xen"));
    // A paravirtualized guest, which shows one core alone, has no `vme`.
    let paravirtual = xen && rows().any(|(key, value)| key == "flags" && !value.contains("vme"));
    let round = |value: u64, by: u64| (value as f64 / by.max(1) as f64).round_ties_even() as u64;
    let (count, each, threads) = match () {
        () if machine == "s390x" => (1, round(zone, threads), threads),
        () if paravirtual => (listed, listed, 1),
        () => {
            let count = if sockets.is_empty() { listed } else { sockets.len() as u64 };
            let each = sockets.values().next().copied().filter(|cores| *cores > 0).unwrap_or(1);
            (count, each, round(cores.values().next().copied().unwrap_or(1), each))
        }
    };
    let all = match () {
        () if machine == "s390x" => zone,
        () if paravirtual => listed,
        () => threads.saturating_mul(count).saturating_mul(each),
    };
    facts.insert("processor".into(), json!(names));
    for (name, value) in [
        ("processor_count", count),
        ("processor_cores", each),
        ("processor_threads_per_core", threads),
        ("processor_vcpus", all),
        ("processor_nproc", usable.unwrap_or_else(|| occurrences("processor"))),
    ] {
        facts.insert(name.into(), value.into());
    }
}

/// Adds what `/proc/meminfo` says, in MiB.
fn memory(text: &str, facts: &mut Map<String, Value>) {
    let of = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).map(|kilobytes| kilobytes / 1024)
    };
    if text.is_empty() {
        return;
    }
    for (fact, name) in [
        ("memtotal_mb", "MemTotal"),
        ("memfree_mb", "MemFree"),
        ("swaptotal_mb", "SwapTotal"),
        ("swapfree_mb", "SwapFree"),
    ] {
        facts.extend(of(name).map(|size| (fact.to_string(), size.into())));
    }
    let less = |all: Option<u64>, part: Option<u64>| all.zip(part).map(|(all, part)| all.saturating_sub(part));
    let (total, free) = (of("MemTotal"), of("MemFree"));
    let unused = free.zip(of("Cached")).zip(of("Buffers")).map(|((free, cached), buffers)| free + cached + buffers);
    let (swap, swap_free) = (of("SwapTotal"), of("SwapFree"));
    facts.insert(
        "memory_mb".into(),
        json!({
            "real": { "total": total, "used": less(total, free), "free": free },
            "nocache": { "free": unused, "used": less(total, unused) },
            "swap": { "total": swap, "free": swap_free, "used": less(swap, swap_free), "cached": of("SwapCached") },
        }),
    );
}

/// Facts and the files below `/sys/devices/virtual/dmi/id` that tell them.
const FIRMWARE: &[(&str, &str)] = &[
    ("bios_date", "bios_date"),
    ("bios_vendor", "bios_vendor"),
    ("bios_version", "bios_version"),
    ("board_asset_tag", "board_asset_tag"),
    ("board_name", "board_name"),
    ("board_serial", "board_serial"),
    ("board_vendor", "board_vendor"),
    ("board_version", "board_version"),
    ("chassis_asset_tag", "chassis_asset_tag"),
    ("chassis_serial", "chassis_serial"),
    ("chassis_vendor", "chassis_vendor"),
    ("chassis_version", "chassis_version"),
    ("form_factor", "chassis_type"),
    ("product_name", "product_name"),
    ("product_serial", "product_serial"),
    ("product_uuid", "product_uuid"),
    ("product_version", "product_version"),
    ("system_vendor", "sys_vendor"),
];

/// The types of a chassis, by their numbers (DMTF DSP0134, 7.4.1).
const CHASSIS: [&str; 37] = [
    "Unknown",
    "Other",
    "Unknown",
    "Desktop",
    "Low Profile Desktop",
    "Pizza Box",
    "Mini Tower",
    "Tower",
    "Portable",
    "Laptop",
    "Notebook",
    "Hand Held",
    "Docking Station",
    "All In One",
    "Sub Notebook",
    "Space-saving",
    "Lunch Box",
    "Main Server Chassis",
    "Expansion Chassis",
    "Sub Chassis",
    "Bus Expansion Chassis",
    "Peripheral Chassis",
    "RAID Chassis",
    "Rack Mount Chassis",
    "Sealed-case PC",
    "Multi-system",
    "CompactPCI",
    "AdvancedTCA",
    "Blade",
    "Blade Enclosure",
    "Tablet",
    "Convertible",
    "Detachable",
    "IoT Gateway",
    "Embedded PC",
    "Mini PC",
    "Stick PC",
];

/// Adds what the firmware says of the machine; `NA` is what it does not, or not to this user.
fn firmware(seen: &Seen<'_>, facts: &mut Map<String, Value>) {
    for (fact, file) in FIRMWARE {
        let value = seen.file(&format!("/sys/devices/virtual/dmi/id/{file}")).unwrap_or("NA");
        let value = match (*fact, value.parse::<usize>()) {
            ("form_factor", Ok(number)) => {
                CHASSIS.get(number).map_or_else(|| format!("unknown ({number})"), |name| (*name).into())
            }
            _ => value.into(),
        };
        facts.insert((*fact).into(), value.into());
    }
    // The machines of IBM Z tell theirs elsewhere.
    let Some(text) = seen.file("/proc/sysinfo") else { return };
    let of = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    for (fact, value) in [
        ("system_vendor", of("Manufacturer:")),
        ("product_name", of("Type:")),
        ("product_serial", of("Sequence Code:").map(|code| code.trim_start_matches('0'))),
        ("product_version", None),
        ("product_uuid", None),
    ] {
        facts.insert(fact.into(), value.unwrap_or("NA").into());
    }
}

/// Returns the volumes of LVM, or `N/A` where there is no LVM or it is not to be seen.
fn volumes(seen: &Seen<'_>) -> Value {
    if !seen.has("vgs") {
        return "N/A".into();
    }
    let rows = |tool: &str| {
        let lines = seen.section(tool).lines().filter(|line| !line.trim().is_empty());
        lines.map(|line| line.trim().split(',').collect::<Vec<&str>>()).filter(|row| row.len() > 3).collect::<Vec<_>>()
    };
    let groups = rows("vgs").into_iter().map(|row| {
        let size =
            json!({ "size_g": row[row.len() - 2], "free_g": row[row.len() - 1], "num_lvs": row[2], "num_pvs": row[1] });
        (row[0].to_string(), size)
    });
    let volumes = rows("lvs").into_iter().map(|row| (row[0].to_string(), json!({ "size_g": row[3], "vg": row[1] })));
    let physical = rows("pvs").into_iter().filter(|row| row.len() > 5).map(|row| {
        let device = devices::mapped(seen, row[0]);
        (device, json!({ "size_g": row[4], "free_g": row[5], "vg": row[1] }))
    });
    let (groups, volumes): (Map<_, _>, Map<_, _>) = (groups.collect(), volumes.collect());
    json!({ "vgs": groups, "lvs": volumes, "pvs": physical.collect::<Map<_, _>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn processors_of(printed: &str, machine: &str) -> (Map<String, Value>, [u64; 5]) {
        let mut facts = Map::new();
        processors(&Seen::new(printed), machine, &mut facts);
        let names = ["count", "cores", "threads_per_core", "vcpus", "nproc"];
        let numbers = names.map(|name| facts[&format!("processor_{name}")].as_u64().unwrap());
        (facts, numbers)
    }

    #[test]
    fn two_sockets_of_four_cores_with_two_threads_each_are_sixteen_processors() {
        let mut text = "\u{1e}cpuinfo\n".to_string();
        for number in 0..16 {
            let (socket, core) = (number / 4 % 2, number % 4);
            text += &format!(
                "processor\t: {number}\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel name\t: Intel(R) Xeon(R)\n\
                 physical id\t: {socket}\nsiblings\t: 8\ncore id\t\t: {core}\ncpu cores\t: 4\ncpuid level\t: 22\n\n"
            );
        }
        text += "\u{1e}cpuflags\nflags\t\t: fpu vme de\n\u{1e}processors\n12\n";
        let (facts, numbers) = processors_of(&text, "x86_64");
        assert_eq!(numbers, [2, 4, 2, 16, 12]);
        assert_eq!(facts["flags"], json!(["fpu", "vme", "de"]));
        assert_eq!(
            facts["processor"].as_array().unwrap()[..3],
            [json!("0"), json!("GenuineIntel"), json!("Intel(R) Xeon(R)")]
        );
    }

    #[test]
    fn other_machines_count_their_processors_in_their_own_way() {
        let arm = "\u{1e}cpuinfo\nprocessor\t: 0\nBogoMIPS\t: 48.00\nCPU part\t: 0xd0c\n\nprocessor\t: 1\nBogoMIPS\t: 48.00\n";
        assert_eq!(processors_of(arm, "aarch64").1, [2, 1, 1, 2, 2]);
        let xen = "\u{1e}cpuinfo\nprocessor\t: 0\nvendor_id\t: x\nmodel name\t: y\nphysical id\t: 0\ncpu cores\t: 1\n\
                   processor\t: 1\nvendor_id\t: x\nmodel name\t: y\nphysical id\t: 0\ncpu cores\t: 1\n\
                   \u{1e}cpuflags\nflags\t: fpu de\n\u{1e}there\n/proc/xen\n";
        assert_eq!(processors_of(xen, "x86_64").1, [2, 2, 1, 2, 2]);
        let z = "\u{1e}cpuinfo\nvendor_id       : IBM/S390\n# processors    : 4\nmax thread id   : 1\nprocessor 0: version = FF\n";
        assert_eq!(processors_of(z, "s390x").1[..4], [1, 2, 2, 4]);
        // No Linux.
        let mut facts = Map::new();
        processors(&Seen::new("\u{1e}processors\n8\n"), "amd64", &mut facts);
        assert_eq!((&facts["processor_count"], facts.len()), (&json!(8), 3));
    }

    #[test]
    fn memory_is_told_with_and_without_caches() {
        let text = "MemTotal:       4096000 kB\nMemFree:         1024000 kB\nMemAvailable:    2048000 kB\nBuffers:  102400 kB\n\
                    Cached:          512000 kB\nSwapCached:        0 kB\nSwapTotal:       2048 kB\nSwapFree:        1024 kB\n";
        let mut facts = Map::new();
        memory(text, &mut facts);
        assert_eq!((&facts["memtotal_mb"], &facts["swapfree_mb"]), (&json!(4000), &json!(1)));
        let expected = json!({"real": {"total": 4000, "used": 3000, "free": 1000}, "nocache": {"free": 1600, "used": 2400},
            "swap": {"total": 2, "free": 1, "used": 1, "cached": 0}});
        assert_eq!(facts["memory_mb"], expected);
    }

    #[test]
    fn firmware_names_the_machine_and_na_is_what_it_does_not() {
        let of = |printed: &str| {
            let mut facts = Map::new();
            firmware(&Seen::new(printed), &mut facts);
            ["product_name", "system_vendor", "form_factor", "product_serial"].map(|name| facts[name].clone())
        };
        let dmi = "\u{1e}files\n/sys/devices/virtual/dmi/id/product_name:PowerEdge R640 \n/sys/devices/virtual/dmi/id/sys_vendor:Dell Inc.\n\
                   /sys/devices/virtual/dmi/id/chassis_type:23\n";
        assert_eq!(of(dmi), ["PowerEdge R640", "Dell Inc.", "Rack Mount Chassis", "NA"]);
        assert_eq!(of("\u{1e}files\n/sys/devices/virtual/dmi/id/chassis_type:99\n")[2], "unknown (99)");
        let z = "\u{1e}files\n/proc/sysinfo:Manufacturer:         IBM\n/proc/sysinfo:Type:                 8561\n/proc/sysinfo:Sequence Code:        00000000000A1B2C\n";
        assert_eq!(of(z), ["8561", "IBM", "NA", "A1B2C"]);
    }

    #[test]
    fn volumes_are_told_where_lvm_is() {
        assert_eq!(volumes(&Seen::new("")), "N/A");
        let printed = "\u{1e}vgs\n  vg0,1,2,0,wz--n-,465.76,10.50\n\u{1e}lvs\n  root,vg0,-wi-ao----,100.00,,,,,,,,\n\
                       \u{1e}pvs\n  /dev/dm-3,vg0,lvm2,a--,465.76,10.50\n\
                       \u{1e}links\nlrwxrwxrwx 1 root root 7 Nov 27 22:00 /dev/mapper/crypt -> ../dm-3\n";
        let expected = json!({"vgs": {"vg0": {"size_g": "465.76", "free_g": "10.50", "num_lvs": "2", "num_pvs": "1"}},
            "lvs": {"root": {"size_g": "100.00", "vg": "vg0"}},
            "pvs": {"/dev/mapper/crypt": {"size_g": "465.76", "free_g": "10.50", "vg": "vg0"}}});
        assert_eq!(volumes(&Seen::new(printed)), expected);
    }
}
