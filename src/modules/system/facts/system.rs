//! Facts about how a host was started, its time, load, release and resolver.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{Asks, Collector, Seen};

pub const LSB: Collector = Collector {
    name: "lsb",
    ids: &[],
    needs: &[],
    // Not `-a`: the version of the LSB itself is asked of the packages, which takes long.
    asks: Asks {
        files: &["/etc/lsb-release"],
        commands: &["mark lsb; $bound lsb_release -i -d -r -c\n"],
        ..Asks::NOTHING
    },
    read: |seen, facts| drop(facts.insert("lsb".into(), lsb(seen))),
};

pub const CMDLINE: Collector = Collector {
    name: "cmdline",
    ids: &[],
    needs: &[],
    asks: Asks { files: &["/proc/cmdline"], ..Asks::NOTHING },
    read: cmdline,
};

pub const DATE_TIME: Collector = Collector {
    name: "date_time",
    ids: &[],
    needs: &[],
    asks: Asks {
        commands: &[r#"mark date; date '+%Y|%m|%d|%H|%M|%S|%z|%Z|%s|%A|%w|%W|%N'
mark zone; zone=${TZ#:}; case $zone in "") file=/etc/localtime;; *) file=/usr/share/zoneinfo/$zone;; esac
if [ -r "$file" ]; then tail -n 1 "$file" | tr -cd ' -~'; else echo "$zone"; fi
"#],
        ..Asks::NOTHING
    },
    read: |seen, facts| drop(facts.insert("date_time".into(), date_time(seen.line("date", 0), seen.line("zone", 0)))),
};

pub const LOADAVG: Collector = Collector {
    name: "loadavg",
    ids: &[],
    needs: &[],
    asks: Asks { files: &["/proc/loadavg"], ..Asks::NOTHING },
    read: |seen, facts| {
        let words = seen.file("/proc/loadavg").unwrap_or("").split(' ').map_while(|word| word.parse::<f64>().ok());
        if let [one, five, fifteen, ..] = words.collect::<Vec<_>>()[..] {
            facts.insert("loadavg".into(), json!({ "1m": one, "5m": five, "15m": fifteen }));
        }
    },
};

pub const DNS: Collector = Collector {
    name: "dns",
    ids: &[],
    needs: &[],
    asks: Asks { files: &["/etc/resolv.conf"], ..Asks::NOTHING },
    read: |seen, facts| drop(facts.insert("dns".into(), resolver(seen.file("/etc/resolv.conf").unwrap_or("")))),
};

/// Reads what `lsb_release` printed, or else its file.
fn lsb(seen: &Seen<'_>) -> Value {
    const KEYS: [(&str, &str, &str); 4] = [
        ("id", "Distributor ID", "DISTRIB_ID"),
        ("description", "Description", "DISTRIB_DESCRIPTION"),
        ("release", "Release", "DISTRIB_RELEASE"),
        ("codename", "Codename", "DISTRIB_CODENAME"),
    ];
    let read = |text: &str, sign: char, key: fn(&(&'static str, &'static str, &'static str)) -> &'static str| {
        let mut facts = Map::new();
        for row in &KEYS {
            let value = text.lines().filter_map(|line| line.split_once(sign)).find(|(name, _)| name.trim() == key(row));
            if let Some((_, value)) = value {
                facts.insert(row.0.into(), value.trim().trim_matches(['\'', '"', '\\']).into());
            }
        }
        facts
    };
    let mut facts = read(seen.section("lsb"), ':', |row| row.1);
    if facts.is_empty() {
        facts = read(seen.file("/etc/lsb-release").unwrap_or(""), '=', |row| row.2);
    }
    if let Some(release) = facts.get("release").and_then(Value::as_str) {
        let major = release.split('.').next().unwrap_or("").to_string();
        facts.insert("major_release".into(), major.into());
    }
    facts.into()
}

/// Adds the kernel's parameters: the last of each name, and all of each name.
fn cmdline(seen: &Seen<'_>, facts: &mut Map<String, Value>) {
    let Some(text) = seen.file("/proc/cmdline") else { return };
    let (mut last, mut all) = (Map::new(), Map::new());
    for word in words(text) {
        let Some((name, value)) = word.split_once('=') else {
            last.insert(word.into(), true.into());
            all.insert(word.into(), true.into());
            continue;
        };
        last.insert(name.into(), value.into());
        match all.get_mut(name) {
            Some(Value::Array(values)) => values.push(value.into()),
            Some(first) => *first = json!([first.take(), value]),
            None => drop(all.insert(name.into(), value.into())),
        }
    }
    facts.insert("cmdline".into(), last.into());
    facts.insert("proc_cmdline".into(), all.into());
}

/// Splits at white space, but not in a word that begins with a quote; there is none where such a word has no end.
fn words(text: &str) -> Vec<&str> {
    let (mut words, mut rest) = (Vec::new(), text.trim_start());
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '"' | '\'' => match rest[1..].find(first) {
                Some(at) => at + 2,
                None => return Vec::new(),
            },
            _ => rest.find(char::is_whitespace).unwrap_or(rest.len()),
        };
        words.push(&rest[..end]);
        rest = rest[end..].trim_start();
    }
    words
}

fn date_time(local: &str, zone: &str) -> Value {
    let fields: Vec<&str> = local.split('|').collect();
    let [year, month, day, hour, minute, second, offset, tz, epoch, weekday, number, week, ref nanos @ ..] = fields[..]
    else {
        return json!({});
    };
    let mut facts = json!({
        "year": year, "month": month, "day": day, "hour": hour, "minute": minute, "second": second,
        "date": format!("{year}-{month}-{day}"), "time": format!("{hour}:{minute}:{second}"),
        "tz": tz, "tz_dst": summer(zone).unwrap_or(tz), "tz_offset": offset, "epoch": epoch, "epoch_int": epoch,
        "weekday": weekday, "weekday_number": number, "weeknumber": week,
        "iso8601_basic_short": format!("{year}{month}{day}T{hour}{minute}{second}"),
    });
    let utc = epoch.parse().ok().and_then(|seconds| Timestamp::from_second(seconds).ok()).map(|time| time.to_string());
    // A `date` that knows no `%N` prints it, or a part of it.
    let micros = nanos.first().filter(|text| text.len() == 9 && text.bytes().all(|byte| byte.is_ascii_digit()));
    let micros = micros.map_or("000000", |nanos| &nanos[..6]);
    if let Some(utc) = utc {
        facts["iso8601_micro"] = format!("{}.{micros}Z", utc.trim_end_matches('Z')).into();
        facts["iso8601"] = utc.into();
    }
    facts["iso8601_basic"] = format!("{year}{month}{day}T{hour}{minute}{second}{micros}").into();
    facts
}

/// Returns the name of a zone's summer time out of its rule: `CEST` of `CET-1CEST,M3.5.0,M10.5.0/3`.
fn summer(rule: &str) -> Option<&str> {
    let name = |text: &str| match text.strip_prefix('<') {
        Some(quoted) => quoted.find('>').map(|end| end + 2),
        None => Some(text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len())).filter(|end| *end >= 3),
    };
    let rest = &rule[name(rule)?..];
    let offset = rest.find(|c: char| !c.is_ascii_digit() && !matches!(c, '+' | '-' | ':')).unwrap_or(rest.len());
    let rest = &rest[offset..];
    let summer = &rest[..name(rest)?];
    Some(summer.trim_matches(['<', '>']))
}

/// Reads `resolv.conf`; of `nameserver` every line counts, of the others the last.
fn resolver(text: &str) -> Value {
    let mut facts = Map::new();
    for line in text.lines().filter(|line| !line.starts_with(['#', ';'])) {
        let mut words = line.split_whitespace();
        let key = words.next().unwrap_or("");
        match key {
            "nameserver" => {
                if let Value::Array(servers) = facts.entry("nameservers").or_insert(json!([])) {
                    servers.extend(words.map(Value::from));
                }
            }
            "domain" => drop(words.next().map(|name| facts.insert("domain".into(), name.into()))),
            "search" | "sortlist" => drop(facts.insert(key.into(), words.collect())),
            "options" => {
                let options = words.map(|word| match word.split_once(':') {
                    Some((name, value)) if !value.is_empty() => (name.to_string(), Value::from(value)),
                    _ => (word.trim_end_matches(':').to_string(), true.into()),
                });
                facts.insert("options".into(), options.collect::<Map<_, _>>().into());
            }
            _ => {}
        }
    }
    facts.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_the_kernel_are_told_once_and_all() {
        let printed = "\u{1e}files\n/proc/cmdline:quiet console=tty0 console=ttyS0 a=\"b c\" \"x y=1\" root=UUID=1-2\n";
        let mut facts = Map::new();
        cmdline(&Seen::new(printed), &mut facts);
        assert_eq!(facts["cmdline"]["console"], "ttyS0");
        assert_eq!(facts["proc_cmdline"]["console"], json!(["tty0", "ttyS0"]));
        assert_eq!((&facts["cmdline"]["quiet"], &facts["cmdline"]["c\""]), (&json!(true), &json!(true)));
        assert_eq!((&facts["cmdline"]["\"x y"], &facts["cmdline"]["root"]), (&json!("1\""), &json!("UUID=1-2")));
        assert!(words("a 'b c").is_empty());
    }

    #[test]
    fn a_resolver_has_what_its_file_says_and_no_more() {
        assert_eq!(resolver("# x\nnameserver 10.0.0.1\n"), json!({"nameservers": ["10.0.0.1"]}));
        let text = "nameserver 10.0.0.1\nnameserver ::1\ndomain a.example\nsearch b.example\nsearch c.example d.example\n\
                    options ndots:2 rotate\n";
        let expected = json!({"nameservers": ["10.0.0.1", "::1"], "domain": "a.example",
            "search": ["c.example", "d.example"], "options": {"ndots": "2", "rotate": true}});
        assert_eq!(resolver(text), expected);
    }

    #[test]
    fn times_are_those_of_one_moment_and_zones_have_their_summer() {
        let found =
            date_time("2026|11|27|23|05|34|+0100|CET|1795817134|Friday|5|47|283277001", "CET-1CEST,M3.5.0,M10.5.0/3");
        assert_eq!(found["iso8601_micro"], "2026-11-27T22:05:34.283277Z");
        assert_eq!((&found["iso8601"], &found["tz_dst"]), (&json!("2026-11-27T22:05:34Z"), &json!("CEST")));
        assert_eq!(found["iso8601_basic"], "20261127T230534283277");
        let old = date_time("2026|11|27|23|05|34|+0000|UTC|1795817134|Friday|5|47|%N", "UTC0");
        assert_eq!((&old["tz_dst"], &old["iso8601_micro"]), (&json!("UTC"), &json!("2026-11-27T22:05:34.000000Z")));
        assert_eq!(summer("<-03>3<-02>,M3.5.0/-2,M10.5.0/-1"), Some("-02"));
        assert_eq!((summer("<+05>-5"), summer(""), summer("\u{7f}x")), (None, None, None));
        assert_eq!(date_time("", ""), json!({}));
    }

    #[test]
    fn the_release_is_asked_of_the_program_or_read_of_its_file() {
        let of = |printed: &str| lsb(&Seen::new(printed));
        let program = "\u{1e}lsb\nDistributor ID:\tDebian\nDescription:\tDebian GNU/Linux 12 (bookworm)\nRelease:\t12\nCodename:\tbookworm\n";
        assert_eq!(
            of(program),
            json!({"id": "Debian", "description": "Debian GNU/Linux 12 (bookworm)", "release": "12", "codename": "bookworm",
                "major_release": "12"})
        );
        let file = "\u{1e}files\n/etc/lsb-release:DISTRIB_ID=Ubuntu\n/etc/lsb-release:DISTRIB_RELEASE=22.04\n\
                    /etc/lsb-release:DISTRIB_DESCRIPTION=\"Ubuntu 22.04.3 LTS\"\n";
        assert_eq!(
            of(file),
            json!({"id": "Ubuntu", "description": "Ubuntu 22.04.3 LTS", "release": "22.04", "major_release": "22"})
        );
        assert_eq!(of(""), json!({}));
    }
}
