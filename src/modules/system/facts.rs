//! The facts of a host, read by `sh` alone in one exchange, under Ansible's names.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::distribution;
use super::network;

/// A group of facts that `gather_subset` can leave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subset {
    Minimal,
    Hardware,
    Network,
}

/// Starts a section of the output; no tool prints it (RS).
const MARK: char = '\u{1e}';

const MINIMAL: &str = r#"mark kernel; uname -s; uname -n; uname -r; uname -m; uname -v
mark os; cat /etc/os-release 2>/dev/null || cat /usr/lib/os-release 2>/dev/null
mark redhat; cat /etc/redhat-release 2>/dev/null
mark debian; cat /etc/debian_version 2>/dev/null
mark fqdn; hostname -f 2>/dev/null || hostname 2>/dev/null
mark user; id -un; id -u; id -g
mark account; name=$(id -un); { getent passwd "$name" || grep "^$name:" /etc/passwd; } 2>/dev/null
mark date; date '+%Y|%m|%d|%H|%M|%S|%z|%Z|%s|%A|%w|%W'; date -u '+%Y-%m-%dT%H:%M:%SZ'
mark uptime; cat /proc/uptime 2>/dev/null
mark init; [ -d /run/systemd/system ] && echo systemd; ps -p 1 -o comm= 2>/dev/null
mark packages; for tool in apt-get dnf5 dnf yum zypper apk pacman pkg; do command -v $tool >/dev/null && echo $tool; done
mark dns; cat /etc/resolv.conf 2>/dev/null
mark python; { python=$(command -v python3 || command -v python) && "$python" -c 'import sys
print(sys.executable)
print(*sys.version_info)
print(sys.implementation.name if hasattr(sys, "implementation") else "cpython")'; } 2>/dev/null
"#;
const HARDWARE: &str = r#"mark processors; getconf _NPROCESSORS_ONLN 2>/dev/null || grep -c '^processor' /proc/cpuinfo
mark processor; sed -n 's/^model name[^:]*: //p' /proc/cpuinfo 2>/dev/null
mark memory; cat /proc/meminfo 2>/dev/null
mark disks; df -P -k 2>/dev/null
mark mounts; cat /proc/mounts 2>/dev/null
"#;
const NETWORK: &str = r#"mark links; ip -o link show 2>/dev/null
mark routes; cat /proc/net/route 2>/dev/null
mark bridges; for bridge in /sys/class/net/*/bridge; do if [ -d "$bridge" ]; then link=${bridge%/bridge}
  echo "${link##*/}" $(cat "$bridge/bridge_id" "$bridge/stp_state") $(ls "$link/brif"); fi; done 2>/dev/null
"#;

/// Returns the script that prints what the subsets need.
pub fn script(subsets: &[Subset]) -> String {
    let mut script = String::from(
        "path=$PATH\nexport LC_ALL=C PATH=\"$PATH:/sbin:/usr/sbin\"\nmark() { printf '\\036%s\\n' \"$1\"; }\n",
    );
    for subset in subsets {
        match subset {
            Subset::Minimal => script += MINIMAL,
            Subset::Hardware => script += HARDWARE,
            Subset::Network => script += &format!("{NETWORK}mark addresses; {}\n", network::ADDRESSES),
        }
    }
    // Last: what it prints is the user's own, and `LC_ALL` here is ours, as is the longer `PATH`.
    if subsets.contains(&Subset::Minimal) {
        script += "mark env; PATH=$path; env\n";
    }
    script
}

/// Reads what the script printed.
pub fn read(output: &str) -> Map<String, Value> {
    let sections = output.split(MARK).filter_map(|section| section.split_once('\n'));
    let sections: BTreeMap<&str, &str> = sections.collect();
    let section = |name: &str| sections.get(name).copied().unwrap_or("");
    let mut facts = Map::new();
    if sections.contains_key("kernel") {
        minimal(&section, &mut facts);
    }
    if sections.contains_key("memory") {
        hardware(&section, &mut facts);
    }
    if sections.contains_key("addresses") {
        let printed = network::Printed {
            links: section("links"),
            addresses: section("addresses"),
            routes: section("routes"),
            bridges: section("bridges"),
        };
        network::facts(&printed, &mut facts);
    }
    facts.into_iter().map(|(name, value)| (format!("ansible_{name}"), value)).collect()
}

fn minimal<'t>(section: &impl Fn(&str) -> &'t str, facts: &mut Map<String, Value>) {
    let mut add = |name: &str, value: Value| drop(facts.insert(name.into(), value));
    let line = |name: &str, number: usize| section(name).lines().nth(number).unwrap_or("").trim();
    add("system", line("kernel", 0).into());
    add("nodename", line("kernel", 1).into());
    add("hostname", line("kernel", 1).split('.').next().unwrap_or("").into());
    add("kernel", line("kernel", 2).into());
    add("machine", line("kernel", 3).into());
    add("architecture", line("kernel", 3).into());
    add("kernel_version", line("kernel", 4).into());
    let fqdn = Some(line("fqdn", 0)).filter(|name| !name.is_empty()).unwrap_or(line("kernel", 1));
    add("fqdn", fqdn.into());
    add("domain", fqdn.split_once('.').map_or("", |(_, domain)| domain).into());
    for (name, value) in distribution::facts(section("os"), (section("redhat"), section("debian")), line("kernel", 0)) {
        add(name, value.into());
    }
    add("user_id", line("user", 0).into());
    for (name, row) in [("user_uid", 1), ("user_gid", 2), ("real_user_id", 1), ("real_group_id", 2)] {
        add(name, json!(line("user", row).parse::<u64>().ok()));
    }
    let account: Vec<&str> = line("account", 0).split(':').collect();
    for (name, field) in [("user_gecos", 4), ("user_dir", 5), ("user_shell", 6)] {
        add(name, account.get(field).copied().unwrap_or("").into());
    }
    add("date_time", date_time(line("date", 0), line("date", 1)));
    let uptime = line("uptime", 0).split('.').next().and_then(|seconds| seconds.parse::<u64>().ok());
    if let Some(seconds) = uptime {
        add("uptime_seconds", seconds.into());
    }
    let init = line("init", 0);
    add("service_mgr", if init.is_empty() || init == "init" { "sysvinit" } else { init }.into());
    let manager = line("packages", 0);
    add(
        "pkg_mgr",
        if manager == "apt-get" {
            "apt"
        } else if manager.is_empty() {
            "unknown"
        } else {
            manager
        }
        .into(),
    );
    add("dns", resolver(section("dns")));
    if let Some(python) = python(section("python")) {
        add("python_version", python["version_text"].clone());
        add("python", python["python"].clone());
    }
    add("env", environment(section("env")));
}

/// Returns what is known of the host's Python, where it has one.
fn python(text: &str) -> Option<Value> {
    let mut lines = text.lines();
    let executable = lines.next().filter(|path| path.starts_with('/'))?;
    let words: Vec<&str> = lines.next()?.split_whitespace().collect();
    let number = |at: usize| words.get(at).and_then(|word| word.parse::<u32>().ok());
    let (major, minor, micro, serial) = (number(0)?, number(1)?, number(2)?, number(4)?);
    let level = words.get(3)?;
    let version = json!({ "major": major, "minor": minor, "micro": micro, "releaselevel": level, "serial": serial });
    let info = json!([major, minor, micro, level, serial]);
    Some(json!({
        "version_text": format!("{major}.{minor}.{micro}"),
        "python": {
            "executable": executable, "version": version, "version_info": info, "type": lines.next().unwrap_or("cpython"),
        },
    }))
}

fn date_time(local: &str, utc: &str) -> Value {
    let fields: Vec<&str> = local.split('|').collect();
    let [year, month, day, hour, minute, second, offset, zone, epoch, weekday, number, week] = fields[..] else {
        return json!({});
    };
    json!({
        "year": year, "month": month, "day": day, "hour": hour, "minute": minute, "second": second,
        "date": format!("{year}-{month}-{day}"), "time": format!("{hour}:{minute}:{second}"),
        "tz": zone, "tz_offset": offset, "epoch": epoch, "epoch_int": epoch, "weekday": weekday,
        "weekday_number": number, "weeknumber": week, "iso8601": utc,
        "iso8601_basic_short": format!("{year}{month}{day}T{hour}{minute}{second}"),
    })
}

fn resolver(text: &str) -> Value {
    let words = |key: &str| -> Vec<&str> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(key));
        lines.filter(|rest| rest.starts_with([' ', '\t'])).flat_map(str::split_whitespace).collect()
    };
    json!({ "nameservers": words("nameserver"), "search": words("search") })
}

/// Reads `env`: a line that starts no variable belongs to the value before it.
fn environment(text: &str) -> Value {
    let starts = |line: &str| {
        line.split_once('=').is_some_and(|(name, _)| {
            !name.is_empty()
                && !name.starts_with(|c: char| c.is_ascii_digit())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        })
    };
    let mut variables: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        match (line.split_once('='), variables.last_mut()) {
            (Some((name, value)), _) if starts(line) => variables.push((name.into(), value.into())),
            (_, Some((_, value))) => *value += &format!("\n{line}"),
            _ => {}
        }
    }
    variables.into_iter().map(|(name, value)| (name, Value::from(value))).collect::<Map<_, _>>().into()
}

fn hardware<'t>(section: &impl Fn(&str) -> &'t str, facts: &mut Map<String, Value>) {
    let count: u64 = section("processors").trim().parse().unwrap_or(1);
    facts.insert("processor".into(), section("processor").lines().collect());
    facts.insert("processor_count".into(), count.into());
    facts.insert("processor_nproc".into(), count.into());
    facts.insert("processor_vcpus".into(), count.into());
    for (name, key) in [
        ("memtotal_mb", "MemTotal:"),
        ("memfree_mb", "MemFree:"),
        ("swaptotal_mb", "SwapTotal:"),
        ("swapfree_mb", "SwapFree:"),
    ] {
        let line = section("memory").lines().find_map(|line| line.strip_prefix(key));
        let kilobytes = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        if let Some(kilobytes) = kilobytes {
            facts.insert(name.into(), (kilobytes / 1024).into());
        }
    }
    facts.insert("mounts".into(), mounts(section("disks"), section("mounts")));
}

/// Returns the mounted devices: sizes from `df -P -k`, type and options from `/proc/mounts`.
fn mounts(disks: &str, table: &str) -> Value {
    let rows = disks.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        // The name of a device or a mount point may have spaces: the percentage is the fixed point.
        let percent = fields.iter().rposition(|field| field.ends_with('%')).filter(|at| *at >= 4)?;
        let device = fields[..percent - 3].join(" ");
        let mount = fields[percent + 1..].join(" ");
        let bytes = |field: &str| field.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024);
        if !device.starts_with('/') && !device.contains(":/") {
            return None;
        }
        let written = table.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let entry = written.filter(|fields| fields.len() > 3).find(|fields| fields[1].replace("\\040", " ") == mount);
        let field = |index: usize| entry.as_ref().map_or("", |fields| fields[index]);
        Some(json!({
            "device": device, "mount": mount, "fstype": field(2), "options": field(3),
            "size_total": bytes(fields[percent - 3]), "size_available": bytes(fields[percent - 1]),
        }))
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_with_spaces_are_read_and_memory_file_systems_left_out() {
        let disks = "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/sda1 100 40 60 40% /\ntmpfs 9 0 9 0% /run\n\
                     nas:/a b 10 4 6 40% /mnt/a b\n";
        let table = "/dev/sda1 / ext4 rw,relatime 0 0\nnas:/a\\040b /mnt/a\\040b nfs ro 0 0\n";
        let mounts = mounts(disks, table);
        assert_eq!(mounts.as_array().unwrap().len(), 2);
        assert_eq!(mounts[0]["size_available"], 61440);
        assert_eq!((&mounts[1]["mount"], &mounts[1]["fstype"]), (&json!("/mnt/a b"), &json!("nfs")));
    }

    #[test]
    fn the_python_of_a_host_is_told_where_it_has_one() {
        let found = python("/usr/bin/python3\n3 11 2 final 0\ncpython\n").unwrap();
        assert_eq!(found["python"]["executable"], "/usr/bin/python3");
        assert_eq!(found["python"]["version"]["minor"], 11);
        assert!(python("").is_none());
    }

    #[test]
    fn a_value_of_several_lines_stays_one() {
        let env = environment("A=1\nB=x\n  y=2\nC=\n");
        assert_eq!(env, json!({"A": "1", "B": "x\n  y=2", "C": ""}));
    }

    #[test]
    fn a_host_that_prints_nothing_has_no_facts_and_does_no_harm() {
        assert!(read("").is_empty());
        assert_eq!(read("\u{1e}kernel\n\u{1e}memory\n\u{1e}addresses\n")["ansible_processor_count"], 1);
    }
}
