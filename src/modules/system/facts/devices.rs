//! Facts about block devices and their partitions, out of `/sys/block` and `/dev/disk`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::Seen;
use super::seen::base;

/// The other names of devices, by kind and by the device's own.
struct Names(Vec<(&'static str, BTreeMap<String, BTreeSet<String>>)>);

impl Names {
    fn of(seen: &Seen<'_>) -> Names {
        let by = |kind: &str| {
            let mut names: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
            for (name, target) in seen.links(&format!("/dev/disk/by-{kind}")) {
                names.entry(base(target).into()).or_default().insert(name.into());
            }
            names
        };
        let mut masters: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for path in seen.there("/sys/block/") {
            if let [_, _, _, device, "slaves", part] = path.split('/').collect::<Vec<_>>()[..] {
                masters.entry(part.into()).or_default().insert(device.into());
            }
        }
        Names(vec![("ids", by("id")), ("uuids", by("uuid")), ("labels", by("label")), ("masters", masters)])
    }

    /// Returns the names of one device.
    fn for_device(&self, device: &str) -> Value {
        let of = self
            .0
            .iter()
            .map(|(kind, names)| (kind.to_string(), json!(names.get(device).cloned().unwrap_or_default())));
        of.collect::<Map<_, _>>().into()
    }

    fn all(&self) -> Value {
        self.0.iter().map(|(kind, names)| (kind.to_string(), json!(names))).collect::<Map<_, _>>().into()
    }
}

/// Adds the block devices.
pub fn facts(seen: &Seen<'_>, facts: &mut Map<String, Value>) {
    let names = Names::of(seen);
    let blocks = seen.there("/sys/block/").filter(|path| path.matches('/').count() == 3);
    let devices = blocks.map(|path| (base(path).to_string(), device(seen, &names, path))).collect::<Map<_, _>>();
    facts.insert("devices".into(), devices.into());
    facts.insert("device_links".into(), names.all());
}

/// Returns the facts about the device at a path below `/sys/block`.
fn device(seen: &Seen<'_>, names: &Names, path: &str) -> Value {
    let name = base(path);
    let text = |file: &str| seen.file(&format!("{path}/{file}"));
    let inside = format!("{path}/");
    // In a tree without links a device of its own is told by one; with links Ansible tells none.
    let real = seen.link(path).is_none() && seen.there(&inside).any(|path| base(path).contains("device"));
    let (sector, sectors, size) = size(seen, path, "512".into());
    let starts = seen.files(&inside, "/start").filter_map(|(file, _)| file.strip_suffix("/start"));
    let partitions = starts.filter(|part| is_partition(base(part), name));
    let partitions =
        partitions.map(|part| (base(part).to_string(), partition(seen, names, part))).collect::<Map<_, _>>();
    let schedulers = text("queue/scheduler").unwrap_or("");
    let mode = schedulers.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map_or("", |(mode, _)| mode);
    let discards = match text("queue/discard_max_hw_bytes") {
        Some("0") => Some("0"),
        _ => text("queue/discard_granularity"),
    };
    let mut device = json!({
        "virtual": if real { 0 } else { 1 },
        "links": names.for_device(name),
        "vendor": text("device/vendor"), "model": text("device/model"),
        "sas_address": text("device/sas_address"), "sas_device_handle": text("device/sas_device_handle"),
        "removable": text("removable"), "support_discard": discards, "rotational": text("queue/rotational"),
        "scheduler_mode": mode, "partitions": partitions,
        "sectorsize": sector, "sectors": sectors, "size": size,
        // What a PCI bus says of it would take `lspci`.
        "host": "", "holders": holders(seen, path),
    });
    if let Some(serial) = text("device/serial") {
        device["serial"] = serial.into();
    }
    let worldwide = seen.links("/dev/disk/by-id").filter(|(_, target)| base(target) == name);
    if let Some(id) = worldwide.filter_map(|(id, _)| id.strip_prefix("wwn-")).last() {
        device["wwn"] = id.into();
    }
    device
}

/// Returns the facts about the partition at a path below its device's.
fn partition(seen: &Seen<'_>, names: &Names, path: &str) -> Value {
    let (sector, sectors, size) = size(seen, path, 512.into());
    let uuid = seen.links("/dev/disk/by-uuid").find(|(_, target)| base(target) == base(path));
    json!({
        "links": names.for_device(base(path)), "start": seen.file(&format!("{path}/start")).unwrap_or("0"),
        "sectorsize": sector, "sectors": sectors, "size": size, "uuid": uuid.map(|(uuid, _)| uuid),
        "holders": holders(seen, path),
    })
}

/// Tells `sda1` and `nvme0n1p2` from what else is in a device's directory.
fn is_partition(name: &str, device: &str) -> bool {
    let number = name.strip_prefix(device).map(|rest| rest.strip_prefix('p').unwrap_or(rest));
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Returns the size of a sector, the number of sectors, and the size for people. The kernel counts sectors of 512 bytes.
fn size(seen: &Seen<'_>, path: &str, usual: Value) -> (Value, u64, String) {
    let file = |name: &str| seen.file(&format!("{path}/{name}"));
    let sector = file("queue/logical_block_size").or_else(|| file("queue/hw_sector_size"));
    let bytes = sector.and_then(|text| text.parse::<u64>().ok()).filter(|bytes| *bytes > 0).unwrap_or(512);
    let sectors = file("size").and_then(|text| text.parse::<u64>().ok()).unwrap_or(0).saturating_mul(512) / bytes;
    (sector.map_or(usual, Value::from), sectors, human(sectors.saturating_mul(bytes)))
}

/// Writes a size as `256.00 GB`.
fn human(bytes: u64) -> String {
    let units = [("EB", 60), ("PB", 50), ("TB", 40), ("GB", 30), ("MB", 20), ("KB", 10)];
    let (unit, power) = units.into_iter().find(|(_, power)| bytes >= 1 << power).unwrap_or(("Bytes", 0));
    format!("{:.2} {unit}", bytes as f64 / (1u64 << power) as f64)
}

/// Returns the mapped devices that are made of this one, by the names that they are mapped to.
fn holders(seen: &Seen<'_>, path: &str) -> Vec<String> {
    let inside = format!("{path}/holders/");
    let mapped = seen.there(&inside).filter(|holder| base(holder).starts_with("dm-"));
    mapped.map(|holder| seen.file(&format!("{holder}/dm/name")).unwrap_or(base(holder)).to_string()).collect()
}

/// Returns the name below `/dev/mapper` of `/dev/dm-3`; other devices have their own.
pub fn mapped(seen: &Seen<'_>, device: &str) -> String {
    let number = device.strip_prefix("/dev/").filter(|name| name.starts_with("dm-"));
    let name = number.and_then(|number| seen.links("/dev/mapper").find(|(_, target)| base(target) == number));
    name.map_or_else(|| device.into(), |(name, _)| format!("/dev/mapper/{name}"))
}

/// Returns the UUID of what is on a device.
pub fn uuid<'t>(seen: &Seen<'t>, device: &str) -> Option<&'t str> {
    let own = seen.link(device).map_or(base(device), base);
    seen.links("/dev/disk/by-uuid").find(|(_, target)| base(target) == own).map(|(uuid, _)| uuid)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "\u{1e}files
/sys/block/sda/size:1953525168
/sys/block/sda/removable:0
/sys/block/sda/device/model:Samsung SSD 870 \n/sys/block/sda/device/vendor:ATA     \n/sys/block/sda/queue/logical_block_size:512
/sys/block/sda/queue/rotational:0
/sys/block/sda/queue/scheduler:[mq-deadline] none
/sys/block/sda/queue/discard_granularity:512
/sys/block/sda/queue/discard_max_hw_bytes:0
/sys/block/sda/sda1/size:1048576
/sys/block/sda/sda1/start:2048
/sys/block/sda/sda1/holders/dm-0/dm/name:vg0-root
\u{1e}there
/sys/block/dm-0
/sys/block/dm-0/slaves/sda1
/sys/block/sda
/sys/block/sda/sda1/holders/dm-0
\u{1e}links
lrwxrwxrwx 1 root root 0 Nov 27 22:00 /sys/block/sda -> ../devices/pci0000:00/ata1/block/sda
lrwxrwxrwx 1 root root 9 Nov 27 22:00 /dev/disk/by-id/ata-Samsung -> ../../sda
lrwxrwxrwx 1 root root 9 Nov 27 22:00 /dev/disk/by-id/wwn-0x5002538f -> ../../sda
lrwxrwxrwx 1 root root 10 Nov 27 22:00 /dev/disk/by-uuid/1b-2c -> ../../sda1
lrwxrwxrwx 1 root root 10 Nov 27 22:00 /dev/mapper/vg0-root -> ../dm-0
lrwxrwxrwx 1 root root 10 Nov 27 22:00 /dev/disk/by-uuid/3d-4e -> ../../dm-0
";

    #[test]
    fn a_disk_has_its_size_names_and_partitions() {
        let mut found = Map::new();
        let seen = Seen::new(PRINTED);
        facts(&seen, &mut found);
        let disk = &found["devices"]["sda"];
        assert_eq!((&disk["size"], &disk["sectors"]), (&json!("931.51 GB"), &json!(1953525168u64)));
        assert_eq!((&disk["model"], &disk["scheduler_mode"]), (&json!("Samsung SSD 870"), &json!("mq-deadline")));
        assert_eq!((&disk["support_discard"], &disk["wwn"]), (&json!("0"), &json!("0x5002538f")));
        assert_eq!(disk["links"]["ids"], json!(["ata-Samsung", "wwn-0x5002538f"]));
        let part = &disk["partitions"]["sda1"];
        assert_eq!(
            (&part["size"], &part["uuid"], &part["start"]),
            (&json!("512.00 MB"), &json!("1b-2c"), &json!("2048"))
        );
        assert_eq!((&part["holders"], &part["sectorsize"]), (&json!(["vg0-root"]), &json!(512)));
        assert_eq!(part["links"]["masters"], json!(["dm-0"]));
        assert_eq!(found["device_links"]["masters"], json!({"sda1": ["dm-0"]}));
        assert_eq!((&found["devices"]["dm-0"]["size"], &disk["virtual"]), (&json!("0.00 Bytes"), &json!(1)));
    }

    #[test]
    fn what_is_mounted_has_the_uuid_of_its_device() {
        let seen = Seen::new(PRINTED);
        assert_eq!((uuid(&seen, "/dev/sda1"), uuid(&seen, "/dev/mapper/vg0-root")), (Some("1b-2c"), Some("3d-4e")));
        assert_eq!((uuid(&seen, "nas:/srv"), mapped(&seen, "/dev/dm-0")), (None, "/dev/mapper/vg0-root".into()));
    }

    #[test]
    fn partitions_are_told_by_their_names() {
        let are = [("sda1", "sda"), ("nvme0n1p12", "nvme0n1"), ("c0d0p1", "c0d0")];
        assert!(are.iter().all(|(name, device)| is_partition(name, device)));
        assert!(!is_partition("queue", "sda") && !is_partition("sda", "sda") && !is_partition("sdap", "sda"));
    }
}
