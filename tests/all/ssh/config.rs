//! `ssh_config` against OpenSSH itself: what `ssh -G` prints for a host is what the target says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use cutover::transport::ssh::config::{Given, Local, Origin, SshConfig};
use cutover::transport::ssh::{AddressFamily, HostKeyChecking, Target, Via};
use tempfile::TempDir;

/// A configuration and a host. `DIR` is a directory with the other files; the arguments come first as for `ssh`.
struct Case {
    text: &'static str,
    host: &'static str,
    arguments: &'static str,
    files: &'static [(&'static str, &'static str)],
}

const fn case(text: &'static str, host: &'static str) -> Case {
    Case { text, host, arguments: "", files: &[] }
}

const fn with(text: &'static str, host: &'static str, arguments: &'static str) -> Case {
    Case { text, host, arguments, files: &[] }
}

const fn including(text: &'static str, host: &'static str, files: &'static [(&'static str, &'static str)]) -> Case {
    Case { text, host, arguments: "", files }
}

const CASES: &[Case] = &[
    // Hosts, patterns, first value.
    case("", "plain"),
    case("Host mx\n HostName mx.example.com\n User mail\n Port 2222\n", "mx"),
    case("Host mx\n Port 1\nHost *\n Port 2\n User all\n", "mx"),
    case("Host *\n Port 2\nHost mx\n Port 1\n", "mx"),
    case("Port 7\nHost mx\n Port 1\n", "mx"),
    case("Host a b mx?\n Port 3\n", "mx1"),
    case("Host a b mx?\n Port 3\n", "mx12"),
    case("Host *.example.com !old.example.com\n Port 4\n", "old.example.com"),
    case("Host *.example.com !old.example.com\n Port 4\n", "new.example.com"),
    case("Host !old\n Port 4\n", "new"),
    case("Host a,b\n Port 4\n", "a"),
    case("Host MX\n Port 5\n", "mx"),
    case("Host mx\n Port 5\n", "MX"),
    case("Host *X\n Port 5\n", "MX"),
    case("Host \"mx\"\n Port 5\n", "mx"),
    case("Host 10.0.0.*\n Port 5\n", "10.0.0.1"),
    case("Host ::1\n Port 5\n", "::1"),
    case("", "0:0:0:0:0:0:0:1"),
    // Syntax.
    case("host mx\nPORT=2222\nuSeR = bob\n", "mx"),
    case("Host=mx\nPort\t=\t2222\n", "mx"),
    case("\tHost mx\r\n\t\tPort 2222\r\n", "mx"),
    case("# a comment\n\n   # another\nHost mx # of this\n Port 2222 # and this\n", "mx"),
    case("Host mx\n User \"a b\"\n", "mx"),
    case("Host mx\n User 'a b'\n", "mx"),
    case("Host mx\n User a\\ b\n", "mx"),
    case("\"Host\" mx\n \"Port\" 2222\n", "mx"),
    case("Host mx\n User x#y\n", "mx"),
    case("Port 2222", "mx"),
    case("Port 2222 \u{c}\n", "mx"),
    case("User = =x\n", "mx"),
    case("Protocol 2\nUseRoaming no\nVisualHostKey yes\nSendEnv LANG LC_*\nPort 3\n", "mx"),
    case("IgnoreUnknown Use*,Frob\nUseFrobs yes\nfrob 1\nPort 9\n", "mx"),
    // Names and tokens.
    case("HostName %h.example.com\n", "mx"),
    case("HostName %%h.x\n", "mx"),
    case("HostName MX.Example.COM\n", "mx"),
    case("HostName 10.0.0.1\n", "mx"),
    case("HostName ::1\n", "mx"),
    case("HostName 0:0::0:1\n", "mx"),
    case("HostName %h.example.com\nUser ann\nPort 99\nUserKnownHostsFile /k/%h-%n-%p-%r-%u-%i-%k-%L-%l-%d-%%\n", "mx"),
    case("HostName real\nHostKeyAlias ALIAS\nUserKnownHostsFile /k/%k/%h\n", "mx"),
    case("HostName real\nUser ann\nUserKnownHostsFile /k/%C\n", "mx"),
    case("UserKnownHostsFile ${HOME}/kh ~/kh2 \"/with space/kh\"\n", "mx"),
    case("UserKnownHostsFile none\nGlobalKnownHostsFile none\n", "mx"),
    case("UserKnownHostsFile /a /b\nUserKnownHostsFile /c\nGlobalKnownHostsFile /d /e\n", "mx"),
    // Keys.
    case(
        "IdentityFile ~/.ssh/a\nHost mx\n IdentityFile /b\n IdentityFile ~/.ssh/a\nHost *\n IdentityFile \"/c d\"\n",
        "mx",
    ),
    case("IdentityFile none\n", "mx"),
    case("CertificateFile ~/x-cert.pub\nCertificateFile /y\nIdentitiesOnly yes\n", "mx"),
    case("IdentityAgent ~/agent\n", "mx"),
    case("IdentityAgent none\n", "mx"),
    // Host keys, times, addresses.
    case("StrictHostKeyChecking accept-new\n", "mx"),
    case("StrictHostKeyChecking No\n", "mx"),
    case("StrictHostKeyChecking off\n", "mx"),
    case("StrictHostKeyChecking ask\nStrictHostKeyChecking no\n", "mx"),
    case("ConnectTimeout 1m30s\nServerAliveInterval 20\nServerAliveCountMax 7\n", "mx"),
    case("ConnectTimeout none\nConnectTimeout 7\nServerAliveInterval 0\n", "mx"),
    case("AddressFamily inet\nBindAddress 127.0.0.1\nCompression yes\n", "mx"),
    case("AddressFamily INET6\nCompression no\n", "mx"),
    // Algorithms.
    case("KexAlgorithms +diffie-hellman-group1-sha1,diffie-hellman-group14-sha1\n", "mx"),
    case("KexAlgorithms ^diffie-hellman-group14-sha1\nCiphers ^aes128-cbc\nMACs ^hmac-sha1\n", "mx"),
    case("KexAlgorithms -ecdh-sha2-*,curve*\nCiphers -*-gcm@openssh.com\nMACs -umac*\n", "mx"),
    case("KexAlgorithms curve25519-sha256\nCiphers aes256-ctr,aes128-ctr\nMACs hmac-sha2-256\n", "mx"),
    case("HostKeyAlgorithms +ssh-rsa,ssh-dss\nPubkeyAcceptedKeyTypes +ssh-rsa\n", "mx"),
    case("HostKeyAlgorithms ^ssh-rsa\nPubkeyAcceptedAlgorithms ssh-ed25519\n", "mx"),
    case("HostKeyAlgorithms -ssh-ed25519*\nPubkeyAcceptedAlgorithms -ecdsa*\n", "mx"),
    case("Host mx\n Ciphers aes128-ctr\nHost *\n Ciphers +aes256-cbc\n", "mx"),
    // Ways to the host.
    case("Host mx\n ProxyJump bastion\n", "mx"),
    case("Host mx\n ProxyJump me@bastion:2222\n", "mx"),
    case("Host mx\n ProxyJump one,me@two:2222,three\n", "mx"),
    case("Host mx\n ProxyJump ssh://me@bastion:2222 # through here\n", "mx"),
    case("Host mx\n ProxyJump [::1]:2222\n", "mx"),
    case("ProxyJump none\nProxyJump bastion\n", "mx"),
    case("ProxyJump none\nProxyCommand nc a 22\n", "mx"),
    case("ProxyCommand none\nProxyJump bastion\n", "mx"),
    case("Host mx\n ProxyJump bastion\nProxyCommand nc a 22\n", "mx"),
    case("ProxyCommand nc -X 5 -x \"proxy:1080\" 'a b' 22 # not a comment\n", "mx"),
    case("ProxyCommand=nc a 22\n", "mx"),
    case("ProxyCommand = nc a 22\n", "mx"),
    case("Host *.in\n ProxyJump bastion\nHost bastion\n Port 2222\n User jump\n", "a.in"),
    // Conditions.
    case("Match all\n Port 5\n", "mx"),
    case("Match host mx*\n Port 5\nMatch host *\n User late\n", "mx1"),
    case("Match host MX1\n Port 5\n", "mx1"),
    case("Match host mx*,!mx1\n Port 5\n", "mx1"),
    case("Match !host mx2\n Port 5\n", "mx1"),
    case("HostName real\nMatch host real\n Port 5\nMatch originalhost mx\n User orig\n", "mx"),
    case("HostName real\nMatch host mx\n Port 5\n", "mx"),
    case("User ann\nMatch user ann,bob\n Port 5\nMatch user !ann\n Compression yes\n", "mx"),
    case("Match localuser root\n Port 5\n", "mx"),
    case("Match localuser nobody\n Port 5\n", "mx"),
    case("Match host mx user nobody\n Port 5\n", "mx"),
    case("Match exec true\n Port 5\nMatch exec false\n User no\n", "mx"),
    case("Match exec \"test %h = mx\"\n Port 5\n", "mx"),
    case("Match !exec \"test -e DIR/absent\" host=mx\n Port 5\n", "mx"),
    case("Match host other exec \"touch DIR/ran\"\n Port 5\n", "mx"),
    case(
        "Port 77\nHostName real\nMatch exec \"test %h-%n-%p-%r-%u-%k = real-mx-77-root-root-real\"\n User yes\n",
        "mx",
    ),
    case("Match final\n Port 5\n", "mx"),
    case("Host mx\n HostName real\nHost real\n Port 5\nMatch final host real\n User second\n", "mx"),
    case("Match canonical\n Port 5\n", "mx"),
    case("Match final all\n KexAlgorithms curve25519-sha256\nMatch !final\n Port 5\n", "mx"),
    case("HostName %h.x\nMatch final\n Port 5\n", "mx"),
    case("Match host mx # the new one\n Port 5\n", "mx"),
    // Other files.
    including("Include DIR/one\nPort 9\n", "mx", &[("one", "Port 8\n")]),
    including("Host other\n Include DIR/one\nHost *\n Port 9\n", "mx", &[("one", "Port 8\nHost *\n Port 7\n")]),
    including("Host mx\n Include DIR/one\n User after\n", "mx", &[("one", "Host nothing\n Port 8\n")]),
    including(
        "Include DIR/*.conf\n",
        "mx",
        &[("b.conf", "Port 2\nUser b\n"), ("a.conf", "Port 1\n"), (".c.conf", "User c\n")],
    ),
    including("Include DIR/absent DIR/one\n", "mx", &[("one", "Include DIR/two\n"), ("two", "Port 8\n")]),
    including("Match host mx\n Include \"DIR/o e\"\n", "mx", &[("o e", "Port 8\n")]),
    including("Host mx\nInclude DIR/one\nPort 9\n", "mx", &[("one", "Match host other\n Port 8\n")]),
    // Before any file.
    with("Port 9\nUser file\n", "mx", "-p 10 -l cli"),
    with("Port 9\n", "mx", "-o Port=10 -p 11"),
    with("IdentityFile /b\n", "mx", "-o IdentityFile=/a"),
    with("ProxyJump bastion\n", "mx", "-o ProxyCommand=none"),
    with("ProxyCommand nc a 22\n", "mx", "-J me@bastion:1,other"),
    with("AddressFamily any\nCompression no\n", "mx", "-4C -b 127.0.0.2"),
    with("", "mx", "-4 -6"),
    with("Match user cli\n Port 5\n", "mx", "-l cli"),
    with("KexAlgorithms curve25519-sha256\n", "mx", "-o KexAlgorithms=+diffie-hellman-group1-sha1"),
    with("", "mx", "-o 'UserKnownHostsFile=/a /b' -o StrictHostKeyChecking=no -o ConnectTimeout=5"),
    with("", "mx", "-o 'ProxyCommand=nc \"a b\" 22' -oUser=x"),
    with("", "mx", "-c aes128-ctr -m hmac-sha1"),
];

/// A case's files, in a directory of its own.
struct Placed {
    directory: TempDir,
}

impl Placed {
    fn new(text: &str, files: &[(&str, &str)]) -> Placed {
        let placed = Placed { directory: tempfile::tempdir().unwrap() };
        placed.write("config", text);
        files.iter().for_each(|(name, text)| placed.write(name, text));
        placed
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), self.put(text)).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn put(&self, text: &str) -> String {
        text.replace("DIR", &self.directory.path().display().to_string())
    }

    fn ours(&self, host: &str, arguments: &str) -> Result<Target, String> {
        let mut given = Given::default();
        let origin = Origin::default();
        given.arguments(&self.put(arguments), &origin).map_err(|errors| errors.to_string())?;
        given.arguments(&format!("-F {}", self.path("config").display()), &origin).unwrap();
        let config = SshConfig::new(Local { home: real_home(), ..Local::current() });
        config.target("name", host, &given).map_err(|errors| errors.to_string())
    }

    fn ssh(&self, host: &str, arguments: &str) -> Output {
        let mut command = Command::new("ssh");
        command
            .arg("-G")
            .arg("-F")
            .arg(self.path("config"))
            .args(shlex::split(&self.put(arguments)).unwrap())
            .arg(host);
        command.env("HOME", real_home()).stdin(Stdio::null()).output().unwrap()
    }
}

/// The home of the account that runs the tests: what `ssh` takes whatever `HOME` says.
fn real_home() -> PathBuf {
    let output = Command::new("sh").args(["-c", "getent passwd \"$(id -u)\" | cut -d: -f6"]).output().unwrap();
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim_end())
}

/// What `ssh -G` printed: of each keyword all values.
fn printed(output: &Output) -> BTreeMap<String, Vec<String>> {
    let mut printed: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in String::from_utf8(output.stdout.clone()).unwrap().lines() {
        let (keyword, value) = line.split_once(' ').unwrap_or((line, ""));
        printed.entry(keyword.into()).or_default().push(value.into());
    }
    printed
}

/// The values by `ssh -G`'s words, of those keywords that the case is about.
fn said(target: &Target, asked: &str, defaults: &BTreeMap<String, Vec<String>>) -> BTreeMap<String, Vec<String>> {
    let mut said = BTreeMap::new();
    let mut say = |keyword: &str, values: Vec<String>| said.insert(keyword.to_string(), values);
    say("hostname", vec![target.address.clone()]);
    say("user", vec![target.user.clone()]);
    say("port", vec![target.port.to_string()]);
    let asked = asked.to_lowercase();
    let about = |keyword: &str| asked.contains(keyword);
    let paths = |paths: &[PathBuf]| paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
    if about("identityfile") {
        say("identityfile", paths(&target.keys));
    }
    if about("certificatefile") {
        say("certificatefile", paths(&target.certificates));
    }
    say("identitiesonly", vec![yes_no(target.identities_only)]);
    if about("identityagent") {
        say("identityagent", vec![target.agent.as_ref().map_or("none".into(), |path| path.display().to_string())]);
    }
    let known_hosts = paths(&target.known_hosts).join(" ");
    let known_hosts = known_hosts.replace("/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2", "").trim().to_string();
    say("known_hosts", vec![known_hosts]);
    say(
        "stricthostkeychecking",
        vec![match target.host_key_checking {
            HostKeyChecking::Strict => "ask".into(),
            HostKeyChecking::AcceptNew => "accept-new".into(),
            HostKeyChecking::Off => "false".into(),
        }],
    );
    if let Some(alias) = &target.host_key_alias {
        say("hostkeyalias", vec![alias.clone()]);
    }
    if about("connecttimeout") {
        say("connecttimeout", vec![target.connect_timeout.as_secs().to_string()]);
    }
    if about("serveraliveinterval") {
        say("serveraliveinterval", vec![target.keepalive.unwrap_or(Duration::ZERO).as_secs().to_string()]);
    }
    say("serveralivecountmax", vec![target.keepalive_max.to_string()]);
    let family = match target.family {
        AddressFamily::Any => "any",
        AddressFamily::Inet => "inet",
        AddressFamily::Inet6 => "inet6",
    };
    say("addressfamily", vec![family.into()]);
    if let Some(address) = &target.bind_address {
        say("bindaddress", vec![address.clone()]);
    }
    say("compression", vec![yes_no(target.compression)]);
    let algorithms = &target.algorithms;
    for (keyword, list) in [
        ("kexalgorithms", &algorithms.kex),
        ("hostkeyalgorithms", &algorithms.host_keys),
        ("ciphers", &algorithms.ciphers),
        ("macs", &algorithms.macs),
        ("pubkeyacceptedalgorithms", &algorithms.public_keys),
    ] {
        say(keyword, vec![effect(list.as_deref().unwrap_or_default(), &defaults[keyword][0])]);
    }
    match &target.via {
        Via::Direct => {}
        Via::Command(command) => drop(say("proxycommand", vec![command.clone()])),
        Via::Jump(jump) => drop(say("proxyjump", vec![hops(jump).join(",")])),
    }
    said
}

/// `host:port` of each host on the way, the nearest first.
fn hops(jump: &Target) -> Vec<String> {
    let mut before = match &jump.via {
        Via::Jump(jump) => hops(jump),
        _ => Vec::new(),
    };
    before.push(format!("{}:{}", jump.address, jump.port));
    before
}

fn yes_no(flag: bool) -> String {
    if flag { "yes".into() } else { "no".into() }
}

/// What a list of `ssh_config.5` makes of the default list.
fn effect(list: &str, default: &str) -> String {
    let matches = |name: &&str, patterns: &str| {
        patterns.split(',').any(|pattern| globset::Glob::new(pattern).unwrap().compile_matcher().is_match(name))
    };
    let first = |names: &str| {
        let mut seen: Vec<&str> = Vec::new();
        names.split(',').for_each(|name| {
            if !seen.contains(&name) {
                seen.push(name)
            }
        });
        seen.join(",")
    };
    match (list.chars().next(), list.get(1..)) {
        (None, _) => default.into(),
        (Some('+'), Some(names)) => first(&format!("{default},{names}")),
        (Some('^'), Some(names)) => first(&format!("{names},{default}")),
        (Some('-'), Some(names)) => {
            default.split(',').filter(|name| !matches(name, names)).collect::<Vec<_>>().join(",")
        }
        _ => list.into(),
    }
}

/// Brings what `ssh` printed into the same words.
fn comparable(
    mut printed: BTreeMap<String, Vec<String>>,
    keywords: &BTreeMap<String, Vec<String>>,
) -> BTreeMap<String, Vec<String>> {
    let home = real_home().display().to_string();
    for keyword in ["identityfile", "certificatefile", "identityagent"] {
        if let Some(values) = printed.get_mut(keyword) {
            values.iter_mut().for_each(|value| *value = value.replace("~/", &format!("{home}/")));
            values.retain(|value| value != "none" || keyword == "identityagent");
            values.dedup();
        }
    }
    let of = |printed: &BTreeMap<String, Vec<String>>, keyword: &str| {
        printed.get(keyword).map_or(String::new(), |values| values[0].clone())
    };
    let global = of(&printed, "globalknownhostsfile").replace("/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2", "");
    let known_hosts = format!("{} {global}", of(&printed, "userknownhostsfile")).replace("none", "").trim().to_string();
    printed.insert("known_hosts".into(), vec![known_hosts]);
    if of(&printed, "stricthostkeychecking") == "true" {
        printed.insert("stricthostkeychecking".into(), vec!["ask".into()]);
    }
    if let Some(values) = printed.get_mut("proxyjump") {
        let hop = |hop: &str| {
            let hop = hop.trim_start_matches("ssh://").rsplit('@').next().unwrap().to_string();
            match hop.strip_prefix('[') {
                Some(rest) => rest.replacen(']', "", 1),
                None if hop.contains(':') => hop,
                None => format!("{hop}:22"),
            }
        };
        *values = vec![values[0].split(',').map(hop).collect::<Vec<_>>().join(",")];
    }
    let optional = ["hostkeyalias", "bindaddress", "proxycommand", "proxyjump"];
    printed.retain(|keyword, _| keywords.contains_key(keyword) || optional.contains(&keyword.as_str()));
    printed
}

#[test]
fn each_configuration_means_what_ssh_says_it_means() {
    let defaults = printed(&Placed::new("", &[]).ssh("plain", ""));
    let mut wrong = Vec::new();
    for case in CASES {
        let placed = Placed::new(case.text, case.files);
        let output = placed.ssh(case.host, case.arguments);
        if !output.status.success() {
            wrong.push(format!("{:?}: {}", case.text, String::from_utf8_lossy(&output.stderr)));
            continue;
        }
        let target = match placed.ours(case.host, case.arguments) {
            Ok(target) => target,
            Err(error) => {
                wrong.push(format!("{:?}: {error}", case.text));
                continue;
            }
        };
        let asked = case.files.iter().fold(format!("{}{}", case.text, case.arguments), |all, (_, text)| all + text);
        let ours = said(&target, &asked, &defaults);
        let mut theirs = comparable(printed(&output), &ours);
        // Of a jump host the port may come from its own settings, which `ssh -G` does not show.
        if case.text.contains("Host bastion") {
            theirs.insert("proxyjump".into(), vec!["bastion:2222".into()]);
        }
        if ours != theirs {
            let differs = |(keyword, values): (&String, &Vec<String>)| {
                (theirs.get(keyword) != Some(values))
                    .then(|| format!("{keyword}: {values:?}, ssh says {:?}", theirs.get(keyword)))
            };
            let mut lines: Vec<String> = ours.iter().filter_map(differs).collect();
            lines.extend(
                theirs
                    .keys()
                    .filter(|keyword| !ours.contains_key(*keyword))
                    .map(|keyword| format!("{keyword}: ssh says {:?}", theirs[keyword])),
            );
            wrong.push(format!("{:?} {} {}:\n  {}", case.text, case.host, case.arguments, lines.join("\n  ")));
        }
        assert!(!placed.path("ran").exists(), "a command ran though its block could not apply");
    }
    assert!(CASES.len() >= 60);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_ssh_refuses_is_refused_at_the_same_line() {
    for (text, line) in [
        ("Port 0\n", 1),
        ("\nPort x\n", 2),
        ("Port\n", 1),
        ("Port 22 23\n", 1),
        ("Host other\n Port 99999\n", 2),
        ("Frobnicate yes\n", 1),
        ("User \"a\n", 1),
        ("User 'a\n", 1),
        ("ConnectTimeout 5x\n", 1),
        ("ServerAliveCountMax x\n", 1),
        ("StrictHostKeyChecking perhaps\n", 1),
        ("IdentitiesOnly perhaps\n", 1),
        ("AddressFamily inet5\n", 1),
        ("Compression perhaps\n", 1),
        ("Match\n", 1),
        ("Match hots x\n", 1),
        ("Match host\n", 1),
        ("Match all host x\n", 1),
        ("ProxyJump a:x\n", 1),
        ("ProxyJump @a\n", 1),
        ("UserKnownHostsFile none /a\n", 1),
        ("Host \"\"\n", 1),
        ("IdentityFile \"\"\n", 1),
        ("Host other\nIgnoreUnknown Frob\nHost *\nFrob 1\n", 4),
        ("Include DIR/bad\n", 1),
        ("Host other\nInclude DIR/bad\n", 1),
    ] {
        let placed = Placed::new(text, &[("bad", "Port x\n")]);
        let output = placed.ssh("mx", "");
        let theirs = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{text:?}: ssh takes it");
        let file = if text.contains("DIR/bad") { placed.path("bad") } else { placed.path("config") };
        assert!(theirs.contains(&format!("line {line}")), "{text:?}: {theirs}");
        let ours = placed.ours("mx", "").expect_err(text);
        assert!(ours.contains(&format!("{}:{line}:", file.display())), "{text:?}: {ours}");
    }
}

#[test]
fn files_that_include_each_other_are_refused_as_ssh_refuses_them() {
    let deep: Vec<(String, String)> =
        (0..18).map(|level| (format!("f{level}"), format!("Include DIR/f{}\n", level + 1))).collect();
    let deep: Vec<(&str, &str)> = deep.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    for (text, files, hint) in [
        ("Include DIR/config\n", vec![], "includes itself"),
        ("Include DIR/a\n", vec![("a", "Include DIR/b\n"), ("b", "Host other\nInclude DIR/a\n")], "includes itself"),
        ("Include DIR/f0\n", deep, "more than 16 levels"),
    ] {
        let mut files = files;
        files.push(("f18", "Port 1\n"));
        let placed = Placed::new(text, &files);
        assert!(!placed.ssh("mx", "").status.success(), "{text}");
        assert!(placed.ours("mx", "").unwrap_err().contains(hint), "{text}");
    }
    // As deep as may be.
    let levels: Vec<(String, String)> = (0..16)
        .map(|level| (format!("f{level}"), format!("Include DIR/f{}\nPort {}\n", level + 1, level + 1)))
        .collect();
    let mut levels: Vec<(&str, &str)> = levels.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    levels[15] = ("f15", "Port 99\n");
    let placed = Placed::new("Include DIR/f0\n", &levels);
    assert!(placed.ssh("mx", "").status.success());
    assert_eq!(placed.ours("mx", "").unwrap().port, 99);
}

#[test]
fn a_file_that_others_may_write_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let placed = Placed::new("Include DIR/open\n", &[("open", "Port 1\n")]);
    let mode =
        |mode: u32| std::fs::set_permissions(placed.path("open"), std::fs::Permissions::from_mode(mode)).unwrap();
    mode(0o666);
    assert!(!placed.ssh("mx", "").status.success());
    assert!(placed.ours("mx", "").unwrap_err().contains("may have been written by other users"));
    mode(0o644);
    assert_eq!(placed.ours("mx", "").unwrap().port, 1);
}

fn jump_of(target: &Target) -> &Target {
    match &target.via {
        Via::Jump(jump) => jump,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_jump_host_has_its_own_settings_and_none_of_the_command_line() {
    let text = "Host mx\n HostName 10.0.0.5\n ProxyJump outer,me@inner:2222\nHost inner\n HostName inner.example.com\n \
                User unused\n IdentityFile /inner\n ProxyJump unused\nHost outer\n User out\n Port 2200\n";
    let placed = Placed::new(text, &[]);
    let target = placed.ours("mx", "-o User=root -o StrictHostKeyChecking=no -i /key -p 1022").unwrap();
    assert_eq!((target.user.as_str(), target.port), ("root", 1022));
    let inner = jump_of(&target);
    assert_eq!((inner.name.as_str(), inner.address.as_str()), ("inner", "inner.example.com"));
    assert_eq!((inner.user.as_str(), inner.port), ("me", 2222));
    assert_eq!(inner.keys, [Path::new("/inner")]);
    assert_eq!(inner.host_key_checking, HostKeyChecking::Strict);
    // `-J outer`, which `ssh` gives to the ssh of `inner`, stands before that host's own ProxyJump.
    let outer = jump_of(inner);
    assert_eq!((outer.user.as_str(), outer.address.as_str(), outer.port), ("out", "outer", 2200));
    assert_eq!(outer.via, Via::Direct);
}

#[test]
fn a_jump_host_may_need_another_one() {
    let placed = Placed::new("Host mx\n ProxyJump b\nHost b\n ProxyJump c\nHost c\n ProxyCommand nc %h %p\n", &[]);
    let target = placed.ours("mx", "").unwrap();
    let c = jump_of(jump_of(&target));
    assert_eq!(c.via, Via::Command("nc c 22".into()));
}

#[test]
fn jump_hosts_in_a_circle_are_refused() {
    for (text, host) in [
        ("Host *\n ProxyJump bastion\n", "mx"),
        ("ProxyJump mx\n", "mx"),
        ("Host a\n ProxyJump b\nHost b\n ProxyJump c\nHost c\n ProxyJump a\n", "a"),
        ("ProxyJump %h.x\n", "mx"),
    ] {
        let error = Placed::new(text, &[]).ours(host, "").unwrap_err();
        assert!(error.contains("the jump hosts lead in a circle"), "{text}: {error}");
        assert!(error.contains("ProxyJump none"), "{error}");
    }
    assert_eq!(
        Placed::new("Host *\n ProxyJump bastion\n", &[]).ours("mx", "-o ProxyJump=none").unwrap().via,
        Via::Direct
    );
}

#[test]
fn tokens_of_commands_and_keys_are_expanded() {
    let text = "User ann\nPort 9\nHostName real\nHostKeyAlias al\nProxyCommand connect %h %n %p %r %k %%\nIdentityFile ~/%n-%h-%r\n\
                CertificateFile ${HOME}/c-%p\nIdentityAgent /a/%r\n";
    let target = Placed::new(text, &[]).ours("mx", "").unwrap();
    assert_eq!(target.via, Via::Command("connect real mx 9 ann al %".into()));
    let home = real_home();
    assert_eq!(target.keys, [home.join("mx-real-ann")]);
    assert_eq!(target.certificates, [home.join("c-9")]);
    assert_eq!(target.agent.as_deref(), Some(Path::new("/a/ann")));
    for (text, error) in [
        ("ProxyCommand nc %d\n", "there is no token `%d` here"),
        ("IdentityFile /%z\n", "there is no token `%z` here"),
        ("HostName %p\n", "there is no token `%p` here"),
        ("IdentityFile ${CUTOVER_NO_SUCH}/x\n", "`CUTOVER_NO_SUCH` is not set"),
        ("UserKnownHostsFile ~no-such-user/x\n", "there is no user for `~no-such-user/x`"),
    ] {
        let placed = Placed::new(text, &[]);
        let ours = placed.ours("mx", "").unwrap_err();
        assert!(ours.contains(error) && ours.contains(&format!("{}:1:1", placed.path("config").display())), "{ours}");
        // A line that does not apply is nobody's error.
        assert!(Placed::new(&format!("Host other\n{text}"), &[]).ours("mx", "").is_ok(), "{text}");
    }
}

#[test]
fn keywords_that_would_change_the_way_are_refused_where_they_apply() {
    for line in [
        "PKCS11Provider /usr/lib/x.so",
        "SecurityKeyProvider /usr/lib/x.so",
        "KnownHostsCommand /bin/keys %H",
        "VerifyHostKeyDNS yes",
        "Tunnel ethernet",
        "RemoteCommand tmux attach",
        "CanonicalizeHostname always",
        "BindInterface eth0",
        "ProxyUseFdpass yes",
        "RevokedHostKeys /etc/ssh/revoked",
        "CheckHostIP yes",
        "NoHostAuthenticationForLocalhost yes",
    ] {
        let placed = Placed::new(&format!("Host mx\n  {line}\nHost *\n Port 1\n"), &[]);
        let name = line.split(' ').next().unwrap();
        let error = placed.ours("mx", "").unwrap_err();
        assert!(error.contains(&format!("`{name}` is not supported")), "{line}: {error}");
        assert!(error.contains(&format!("{}:2:3", placed.path("config").display())), "{line}: {error}");
        assert_eq!(placed.ours("other", "").unwrap().port, 1, "{line}");
    }
    for line in
        ["PKCS11Provider none", "Tunnel no", "RemoteCommand none", "VerifyHostKeyDNS no", "GSSAPIAuthentication yes"]
    {
        Placed::new(line, &[]).ours("mx", "").unwrap_or_else(|error| panic!("{line}: {error}"));
    }
    // An earlier line may take it back.
    assert!(Placed::new("Tunnel yes\n", &[]).ours("mx", "-o Tunnel=no").is_ok());
    let local = Placed::new("PermitLocalCommand yes\nLocalCommand touch /x\n", &[]).ours("mx", "").unwrap_err();
    assert!(local.contains("`LocalCommand` is not supported"), "{local}");
    assert!(Placed::new("LocalCommand touch /x\n", &[]).ours("mx", "").is_ok());
}

#[test]
fn all_errors_of_a_file_are_shown_with_what_was_meant() {
    let placed = Placed::new("HostNam x\nPort x\n", &[]);
    let error = placed.ours("mx", "").unwrap_err();
    assert!(error.contains("`Port` should be a port, not `x`"), "{error}");
    let unknown = Placed::new("Host mx\n HostNam x\n Frobnicate 1\n", &[]).ours("mx", "").unwrap_err();
    assert!(unknown.contains("unknown keyword `HostNam`") && unknown.contains("did you mean `HostName`?"), "{unknown}");
    assert!(unknown.contains("config:2:2") && unknown.contains("config:3:2"), "{unknown}");
}

#[test]
fn the_users_file_wins_over_the_systems() {
    let directory = tempfile::tempdir().unwrap();
    let (home, system) = (directory.path().join("home"), directory.path().join("etc"));
    std::fs::create_dir_all(home.join(".ssh/conf.d")).unwrap();
    std::fs::create_dir_all(system.join("ssh_config.d")).unwrap();
    std::fs::write(home.join(".ssh/config"), "Include conf.d/*\nHost mx\n Port 1\n").unwrap();
    std::fs::write(home.join(".ssh/conf.d/a"), "Host mx\n User of-include\n").unwrap();
    std::fs::write(system.join("ssh_config"), "Include ssh_config.d/*.conf\nPort 2\nBindAddress 127.0.0.1\n").unwrap();
    std::fs::write(system.join("ssh_config.d/x.conf"), "Compression yes\nUser of-system\n").unwrap();
    let config = SshConfig::new(Local { home: home.clone(), system, ..Local::current() });
    let target = |host: &str| config.target(host, host, &Given::default()).unwrap();
    let mx = target("mx");
    assert_eq!((mx.port, mx.user.as_str(), mx.compression), (1, "of-include", true));
    assert_eq!(mx.bind_address.as_deref(), Some("127.0.0.1"));
    assert_eq!(mx.known_hosts[0], home.join(".ssh/known_hosts"));
    let other = target("other");
    assert_eq!((other.port, other.user.as_str()), (2, "of-system"));
}

#[test]
fn a_command_of_match_exec_runs_once_for_all_hosts() {
    let placed =
        Placed::new("Match exec \"echo >>DIR/log\"\n Port 5\nMatch exec \"echo %n >>DIR/names\"\n User u\n", &[]);
    let mut given = Given::default();
    given.arguments(&format!("-F {}", placed.path("config").display()), &Origin::default()).unwrap();
    let config = SshConfig::new(Local::current());
    for _ in 0..3 {
        for host in ["a", "b"] {
            let target = config.target(host, host, &given).unwrap();
            assert_eq!((target.port, target.user.as_str()), (5, "u"));
        }
    }
    assert_eq!(std::fs::read_to_string(placed.path("log")).unwrap(), "\n");
    assert_eq!(std::fs::read_to_string(placed.path("names")).unwrap(), "a\nb\n");
}

#[test]
fn tags_of_newer_versions_are_known() {
    let text = "Host mx\n Tag legacy\nMatch tagged leg*\n Port 5\nMatch localnetwork 10.0.0.0/8\n User u\n";
    let placed = Placed::new(text, &[]);
    let error = placed.ours("mx", "").unwrap_err();
    assert!(error.contains("`Match localnetwork` is not supported"), "{error}");
    let placed = Placed::new("Match tagged x\n Port 5\n", &[]);
    assert_eq!(placed.ours("mx", "-P x").unwrap().port, 5);
    assert_eq!(placed.ours("mx", "").unwrap().port, 22);
}

#[test]
fn passwords_and_keys_are_kept_back_where_a_host_does_not_want_them() {
    let target = |text: &str| Placed::new(text, &[]).ours("mx", "").unwrap();
    let no_keys = target("PubkeyAuthentication no\nIdentityFile /x\n");
    assert_eq!((no_keys.keys.len(), no_keys.agent), (0, None));
    assert!(target("PreferredAuthentications password\n").keys.is_empty());
    assert!(!target("PreferredAuthentications publickey,password\n").keys.is_empty());
}

#[test]
fn host_names_that_a_shell_would_read_are_refused() {
    let placed = Placed::new("ProxyCommand nc %h %p\n", &[]);
    for host in ["-oProxyCommand=x", "a;b", "a b", "$(x)", "`x`", "", "a\nb", "a'b"] {
        let error = placed.ours(host, "").unwrap_err();
        assert!(error.contains("is no host name"), "{host}: {error}");
    }
}
