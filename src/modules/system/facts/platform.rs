//! Facts about the machine's names, its kernel and its Python.

use serde_json::{Map, Value, json};

use super::{Asks, Collector, Seen};

/// Asks the first Python that runs of those that Ansible looks for; the last name is of systems that are too old for it.
const ASK_PYTHON: &str = r#"mark python; ask='import sys
print(sys.executable)
print(" ".join(str(part) for part in sys.version_info))
print(sys.implementation.name if hasattr(sys, "implementation") else "cpython")
try:
    import _ssl
    print(hasattr(_ssl, "_SSLContext"))
except ImportError:
    print(False)'
for name in python3.13 python3.12 python3.11 python3.10 python3.9 python3.8 /usr/bin/python3 python3 python; do
  command -v $name >/dev/null && "$name" -c "$ask" </dev/null && break
done
"#;

pub const PLATFORM: Collector = Collector {
    name: "platform",
    ids: &["system", "kernel", "kernel_version", "machine", "python_version", "architecture", "machine_id"],
    needs: &[],
    asks: Asks {
        files: &["/var/lib/dbus/machine-id", "/etc/machine-id", "/etc/hosts"],
        commands: &[
            r#"mark kernel; uname -s; uname -n; uname -r; uname -m; uname -v
mark bits; getconf LONG_BIT || od -A n -t x1 -j 4 -N 1 /bin/sh
mark names; name=$(uname -n)
if command -v getent >/dev/null; then echo known; set -- $($bound getent ahosts "$name"); [ -n "$1" ] && $bound getent hosts "$1"
else echo hosts; $bound hostname -f; fi
"#,
            ASK_PYTHON,
        ],
        ..Asks::NOTHING
    },
    read: platform,
};

pub const PYTHON: Collector = Collector {
    name: "python",
    ids: &[],
    needs: &[],
    asks: Asks { commands: &[ASK_PYTHON], ..Asks::NOTHING },
    read: |seen, facts| {
        if let Some((_, python)) = python(seen.section("python")) {
            facts.insert("python".into(), python);
        }
    },
};

fn platform(seen: &Seen<'_>, facts: &mut Map<String, Value>) {
    let mut add = |name: &str, value: &str| drop(facts.insert(name.into(), value.into()));
    let [system, node, release, machine, version] = [0, 1, 2, 3, 4].map(|row| seen.line("kernel", row));
    add("system", system);
    add("kernel", release);
    add("kernel_version", version);
    add("machine", machine);
    add("nodename", node);
    add("hostname", node.split('.').next().unwrap_or(""));
    let fqdn = fqdn(seen, node);
    add("fqdn", fqdn);
    add("domain", fqdn.split_once('.').map_or("", |(_, domain)| domain));
    // What `getconf` says, or the class of an ELF file.
    let bits = match seen.line("bits", 0) {
        "64" | "02" => "64",
        "32" | "01" => "32",
        _ => "",
    };
    if !bits.is_empty() {
        add("userspace_bits", bits);
    }
    let old_pc = ["i386", "i486", "i586", "i686", "i86pc"].iter().any(|name| machine.contains(name));
    add("architecture", if old_pc { "i386" } else { machine });
    if (old_pc || machine == "x86_64") && !bits.is_empty() {
        add("userspace_architecture", if bits == "64" { "x86_64" } else { "i386" });
    }
    let id = seen.file("/var/lib/dbus/machine-id").or_else(|| seen.file("/etc/machine-id"));
    if let Some(id) = id.and_then(|text| text.lines().next()) {
        add("machine_id", id);
    }
    if let Some((version, _)) = python(seen.section("python")) {
        add("python_version", &version);
    }
}

/// Returns a host's full name: the first with a dot among those of its address, or else the first of them.
fn fqdn<'t>(seen: &'t Seen<'_>, node: &'t str) -> &'t str {
    let lines = || seen.file("/etc/hosts").unwrap_or("").lines().map(|line| line.split('#').next().unwrap_or(""));
    let names = match seen.line("names", 0) {
        "hosts" => {
            let words = |line: &'t str| line.split_whitespace().collect::<Vec<_>>();
            let named = lines().map(words).find(|words| words.iter().skip(1).any(|name| *name == node));
            let address = named.and_then(|words| words.first().copied());
            let of_address = lines().find(|line| address.is_some() && line.split_whitespace().next() == address);
            of_address.map(|line| line.trim_start().split_once(char::is_whitespace).map_or("", |(_, names)| names))
        }
        _ => seen.line("names", 1).split_once(char::is_whitespace).map(|(_, names)| names),
    };
    let asked = || Some(seen.line("names", 1)).filter(|name| !name.is_empty() && !name.contains(char::is_whitespace));
    let mut names = names.unwrap_or_else(|| asked().unwrap_or(node)).split_whitespace();
    let first = names.next().unwrap_or(node);
    std::iter::once(first).chain(names).find(|name| name.contains('.')).unwrap_or(first)
}

/// Returns the version of the host's Python and what is known of it, where it has one.
fn python(text: &str) -> Option<(String, Value)> {
    let mut lines = text.lines();
    let executable = lines.next().filter(|path| path.starts_with('/'))?;
    let words: Vec<&str> = lines.next()?.split_whitespace().collect();
    let number = |at: usize| words.get(at).and_then(|word| word.parse::<u32>().ok());
    let (major, minor, micro, serial) = (number(0)?, number(1)?, number(2)?, number(4)?);
    let level = words.get(3)?;
    let version = json!({ "major": major, "minor": minor, "micro": micro, "releaselevel": level, "serial": serial });
    let info = json!([major, minor, micro, level, serial]);
    let kind = lines.next().unwrap_or("cpython");
    let python = json!({
        "executable": executable, "version": version, "version_info": info, "type": kind,
        "has_sslcontext": lines.next() == Some("True"),
    });
    Some((format!("{major}.{minor}.{micro}"), python))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fqdn_of(names: &str, hosts: &str) -> String {
        let hosts: String = hosts.lines().map(|line| format!("/etc/hosts:{line}\n")).collect();
        let printed = format!("\u{1e}files\n{hosts}\u{1e}names\n{names}");
        let seen = Seen::new(&printed);
        fqdn(&seen, "mail").to_string()
    }

    #[test]
    fn the_full_name_is_the_first_with_a_dot_of_the_hosts_address() {
        assert_eq!(fqdn_of("known\n127.0.1.1       mail mail.example.org mx.example.org\n", ""), "mail.example.org");
        assert_eq!(fqdn_of("known\n127.0.0.1       localhost\n", ""), "localhost");
        // Not known at all.
        assert_eq!(fqdn_of("known\n", "127.0.0.1 mail mail.example.org\n"), "mail");
        let hosts = "127.0.0.1 localhost\n10.0.0.5\tmail mail.example.org # old mail\n";
        assert_eq!(fqdn_of("hosts\nmail\n", hosts), "mail.example.org");
        assert_eq!(fqdn_of("hosts\nmail.far.example\n", "127.0.0.1 localhost\n"), "mail.far.example");
        assert_eq!(fqdn_of("hosts\n", "# 1.2.3.4 mail\n"), "mail");
    }

    #[test]
    fn the_python_of_a_host_is_told_where_it_has_one() {
        let (version, found) = python("/usr/bin/python3\n3 11 2 final 0\ncpython\nTrue\n").unwrap();
        assert_eq!((version.as_str(), &found["executable"]), ("3.11.2", &json!("/usr/bin/python3")));
        assert_eq!((&found["version"]["minor"], &found["has_sslcontext"]), (&json!(11), &json!(true)));
        assert!(python("").is_none());
    }

    #[test]
    fn a_32_bit_system_on_a_64_bit_kernel_is_told() {
        let of = |printed: &str| {
            let mut facts = Map::new();
            platform(&Seen::new(printed), &mut facts);
            ["architecture", "userspace_bits", "userspace_architecture"].map(|name| facts.get(name).cloned())
        };
        let some = |text: &str| Some(json!(text));
        let kernel = "\u{1e}kernel\nLinux\nmail\n6.1\n";
        assert_eq!(of(&format!("{kernel}x86_64\nv\n\u{1e}bits\n32\n")), ["x86_64", "32", "i386"].map(some));
        assert_eq!(of(&format!("{kernel}i686\nv\n\u{1e}bits\n 01\n")), ["i386", "32", "i386"].map(some));
        assert_eq!(of(&format!("{kernel}aarch64\nv\n\u{1e}bits\n64\n")), [some("aarch64"), some("64"), None]);
    }
}
