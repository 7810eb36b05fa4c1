//! The laws, for every module there is: what its documented example shows is what it does, once, and can be undone.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use cutover::change::{ApplyError, Change, Reach, apply};
use cutover::lab::fill::{Role, fill};
use cutover::modules::{self, Entry};
use cutover::transport::{Links, Machines, Node, Transport, TransportError, Want, local};
use serde_json::Value;
use tempfile::TempDir;

use crate::archive::Archive;
use crate::etc::{Etc, is_left};
use crate::git::commit;
use crate::mariadb::{Mariadb, PSA, PSA_OLD};
use crate::named::{Named, zone};
use crate::pip::{environment, wheel};
use crate::program::{Printed, Program};
use crate::rpms::ARCHIVE_KEY;
use crate::sshd::run;
use crate::subversion::commit_to;
use crate::userland::host::Host;
use crate::web::Web;

/// What an example needs to run on any machine, and why.
struct Row {
    module: &'static str,
    /// Pieces of the example's text and what stands in their place.
    replaced: &'static [(&'static str, &'static str)],
    why: &'static str,
}

const ROWS: &[Row] = &[
    Row {
        module: "attachments_copy",
        replaced: &[("source: NEW", "source: OLD")],
        why: "the two hosts are directories, each with its own path",
    },
    Row {
        module: "synchronize",
        replaced: &[("src: NEW", "src: OLD")],
        why: "the two hosts are directories, each with its own path",
    },
    Row {
        module: "apk",
        replaced: &[("    state:", "    world: NEW/world\n    state:")],
        why: "the machine has no apk: it is a stand-in with two files for its state",
    },
    Row {
        module: "apt_key",
        replaced: &[("/etc/apt/trusted.gpg.d/", "NEW/")],
        why: "the directory of apt is the machine's own",
    },
    Row {
        module: "sysctl",
        replaced: &[("/etc/sysctl.d/", "NEW/")],
        why: "the directory of the example is the machine's own",
    },
    Row {
        module: "cron",
        replaced: &[("/etc/cron.d/", "NEW/")],
        why: "the directory of the example is the machine's own",
    },
    Row {
        module: "mail_logins",
        replaced: &[("logs: /var/log/mail.log", "logs: NEW/../log/current")],
        why: "the log of the example is the machine's own",
    },
    Row {
        module: "apt_repository",
        replaced: &[("    repo:", "    directory: NEW\n    repo:")],
        why: "the directory of apt is the machine's own",
    },
    Row {
        module: "deb822_repository",
        replaced: &[("    name:", "    directory: NEW\n    name:")],
        why: "the directory of apt is the machine's own",
    },
    Row {
        module: "authorized_key",
        replaced: &[("    key:", "    path: NEW/keys\n    key:")],
        why: "who may log in to the machine is its own",
    },
    Row { module: "mail_probe", replaced: &[("port: 25", "port: PORT")], why: "port 25 is the machine's own" },
    Row {
        module: "dns_facts",
        replaced: &[("    servers:", "    port: DNS\n    servers:")],
        why: "port 53 is the machine's own",
    },
    Row {
        module: "maildir_folders",
        replaced: &[("source: NEW", "source: OLD")],
        why: "the two hosts are directories, each with its own path",
    },
    Row {
        module: "maildir_move",
        replaced: &[("source: NEW", "source: OLD"), ("/etc/", "OLD/")],
        why: "the two hosts are directories, and this machine's logins stay open",
    },
    Row {
        module: "mount",
        replaced: &[("fstab: /etc/fstab", "fstab: NEW/fstab")],
        why: "the machine's own fstab is not a test's",
    },
    Row {
        module: "named_zone",
        replaced: &[
            ("/etc/bind/named.conf.local", "OLD/bind/zones.conf"),
            ("/etc/bind/named.conf\n", "OLD/bind/named.conf\n    rndc: rndc -c OLD/bind/rndc.conf\n"),
        ],
        why: "the machine's own name server is not a test's",
    },
    Row {
        module: "nsupdate",
        replaced: &[("    zone:", "    port: DNS\n    zone:")],
        why: "port 53 is the machine's own",
    },
    Row {
        module: "qmail_activity",
        replaced: &[("logs: /var/log/qmail/current", "directory: NEW\n    logs: NEW/../log/current")],
        why: "the default directories are the machine's own",
    },
    Row {
        module: "mysql_db",
        replaced: &[(
            "    name: webmail",
            "    login_unix_socket: SOCKET\n    login_user: root\n    name: DATABASE_webmail",
        )],
        why: "the server and its databases are the tests' own",
    },
    Row {
        module: "mysql_user",
        replaced: &[("    name: webmail", "    login_unix_socket: SOCKET\n    login_user: root\n    name: u_DATABASE")],
        why: "the server and its users are the tests' own",
    },
    Row {
        module: "mysql_query",
        replaced: &[(
            "    login_db: psa",
            "    login_unix_socket: SOCKET\n    login_user: root\n    login_db: DATABASE",
        )],
        why: "the server and its database are the tests' own",
    },
    Row {
        module: "mysql_rows",
        replaced: &[(
            "    database: psa",
            "    login_unix_socket: SOCKET\n    login_user: root\n    database: DATABASE",
        )],
        why: "the server and its database are the tests' own",
    },
    Row {
        module: "plesk_accounts",
        replaced: &[(
            "    domains:",
            "    login_unix_socket: SOCKET\n    login_user: root\n    login_password: ''\n    database: DATABASE\n    from_database: OTHER\n    domains:",
        )],
        why: "the server and its databases are the tests' own",
    },
    Row {
        module: "plesk_facts",
        replaced: &[(
            "    domains:",
            "    login_unix_socket: SOCKET\n    login_user: root\n    login_password: ''\n    database: DATABASE\n    domains:",
        )],
        why: "the server and its database are the tests' own",
    },
    Row {
        module: "mail_addresses",
        replaced: &[("    domains:", "    directory: NEW\n    domains:")],
        why: "the default directory is the machine's own",
    },
    Row {
        module: "qmail_daemon",
        replaced: &[("    ports:", "    directory: NEW\n    qmail_send: 'true'\n    ports:")],
        why: "the default directory is the machine's own",
    },
    Row {
        module: "pip",
        replaced: &[("    name:", "    extra_args: --no-index --find-links OLD/wheels\n    name:")],
        why: "no index is asked, and the environment is one that is quickly made",
    },
    Row {
        module: "port_forward",
        replaced: &[("    to:", "    directory: NEW\n    pidfile: NEW/xinetd.pid\n    to:")],
        why: "the default directory is the machine's own, and so is its xinetd",
    },
    Row {
        module: "qmail_control",
        replaced: &[("    file:", "    directory: NEW/control\n    file:")],
        why: "the default directory is the machine's own",
    },
    Row {
        module: "qmail_users",
        replaced: &[("    assign:", "    directory: NEW\n    assign:")],
        why: "the default directory is the machine's own",
    },
    Row {
        module: "qmail_facts",
        replaced: &[("    from:", "    directory: NEW\n    from_directory: OLD\n    from:")],
        why: "the default directories are the machine's own",
    },
    Row {
        module: "qmail_preflight",
        replaced: &[("    from:", "    directory: NEW\n    from_directory: OLD\n    from:")],
        why: "the default directories are the machine's own",
    },
    Row {
        module: "qmail_homes",
        replaced: &[("source: NEW", "source: OLD")],
        why: "the two hosts are directories, each with its own path",
    },
    Row {
        module: "ezmlm_lists",
        replaced: &[("source: NEW", "source: OLD")],
        why: "the two hosts are directories, each with its own path",
    },
    Row {
        module: "qpsmtpd_whitelist",
        replaced: &[("    hosts:", "    directory: NEW\n    hosts:")],
        why: "the default directory is the machine's own",
    },
    Row {
        module: "service",
        replaced: &[("    state:", "    use: systemd\n    state:")],
        why: "a test's machine may run no init at all: `systemctl` is a stand-in with two files for its state",
    },
    Row {
        module: "user",
        replaced: &[("    comment:", "    home: NEW/ann\n    comment:")],
        why: "the default home is on the machine itself",
    },
    Row {
        module: "zone_file",
        replaced: &[("/etc/bind/", "OLD/bind/"), ("    ttl:", "    rndc: rndc -c OLD/bind/rndc.conf\n    ttl:")],
        why: "the machine's own name server is not a test's",
    },
    Row {
        module: "yum_repository",
        replaced: &[("    name:", "    reposdir: NEW\n    name:")],
        why: "the directory of yum is the machine's own",
    },
    Row { module: "subversion", replaced: &[("/srv/svn/", "OLD/")], why: "the repository is the test's own" },
    Row { module: "git", replaced: &[("/srv/git/", "OLD/")], why: "the repository is the test's own" },
    Row { module: "get_url", replaced: &[("127.0.0.1/", "127.0.0.1:WEB/")], why: "port 80 is the machine's own" },
    Row { module: "uri", replaced: &[("127.0.0.1/", "127.0.0.1:WEB/")], why: "port 80 is the machine's own" },
    Row { module: "wait_for", replaced: &[("port: 25", "port: PORT")], why: "port 25 is the machine's own" },
];

/// Modules that only read, and examples that say so with `changed_when: false`. All others have to change something.
const READING: &[&str] = &[
    "command",
    "dns_facts",
    "find",
    "gather_facts",
    "getent",
    "mail_addresses",
    "mail_logins",
    "mail_probe",
    "mount_facts",
    "mysql_query",
    "package_facts",
    "ping",
    "plesk_facts",
    "qmail_activity",
    "qmail_daemon",
    "qmail_facts",
    "qmail_preflight",
    "raw",
    "script",
    "service_facts",
    "setup",
    "shell",
    "slurp",
    "stat",
    "uri",
    "wait_for",
    "wait_for_connection",
];

/// Modules that take their host away, which no test's machine may be: `reboots` has one that comes back.
const AWAY: &[&str] = &["reboot"];

fn held() -> impl Iterator<Item = &'static Entry> {
    modules::all().filter(|entry| !AWAY.contains(&entry.name))
}

/// Modules of which each run makes another thing.
const ANEW: &[&str] = &["tempfile"];

/// Modules that need a name server.
const NAMES: &[&str] = &["dns_facts", "named_zone", "nsupdate", "zone_file"];

/// The configuration of a server with a zone, and its master file, below `bind`; with updates it is a copy elsewhere, to
/// which the server adds files of its own.
fn zones(bind: &Path, updates: bool) -> (String, String) {
    let text = zone("mail 3600 IN A 10.77.0.10 ; the old host\npop IN A 10.77.0.10\n@ IN MX 10 mail\n");
    let file = match updates {
        true => "example.com".into(),
        false => bind.join("example.com").display().to_string(),
    };
    let allow = if updates { "allow-update { 127.0.0.1; };" } else { "" };
    (format!("zone example.com {{ type primary; file \"{file}\"; {allow} }};\n"), text)
}

/// Modules of a database, of which each example has its own.
const DATABASE: &[&str] = &["mysql_db", "mysql_query", "mysql_rows", "mysql_user", "plesk_accounts", "plesk_facts"];

/// Modules that change accounts: on this machine, in an `/etc` of their own.
const ACCOUNTS: &[&str] = &["group", "user"];

/// Modules that change the system itself: an `/etc` of their own, and stand-ins for its programs.
const SYSTEM: &[&str] = &["at", "hostname", "iptables", "sysctl", "sysvinit", "timezone"];

/// Modules that change packages: on this machine, with an apt of their own.
const PACKAGES: &[&str] = &["apt", "debconf", "dnf", "dpkg_selections", "package", "package_facts", "rpm_key"];

/// Stands for the programs of at, with one job at most.
const AT: &str = "case ${0##*/} in
atq) [ ! -e NEW/at/1 ] || echo '1 Fri Nov 27 21:00:00 2026 a root' ;;
atrm) rm -r NEW/at ;;
*) case ${1-} in
   -c) printf '#!/bin/sh\\n'; cat \"NEW/at/$2\" ;;
   *) mkdir -p NEW/at; cat >NEW/at/1 ;;
   esac ;;
esac";

/// Stands for apk, with one package at most.
const APK: &str = "cd NEW || exit 1
[ $1 != --simulate ] || { simulate=yes; shift; }
case $1 in
info) case $2 in -v) cat packages 2>/dev/null || : ;; *) [ -e packages ] ;; esac ;;
add) echo '(1/1) Installing xinetd (2.3.15-r7)'
   [ -n \"$simulate\" ] || { echo xinetd-2.3.15-r7 >packages; echo xinetd >var/qmail/world; } ;;
del) rm packages var/qmail/world ;;
esac";

/// And for FreeBSD's pkg.
const PKG: &str = "cd NEW || exit 1
case \"$1 $2\" in
'query %v') [ -e packages ] && echo 2.3.15_2 ;;
'query '*) cat packages 2>/dev/null || : ;;
'info -e') [ -e packages ] ;;
'install -n') printf 'New packages to be INSTALLED:\\n\\txinetd: 2.3.15_2 [FreeBSD]\\n'; exit 1 ;;
'install -y') echo 'xinetd 2.3.15_2' >packages ;;
'delete -y') rm packages ;;
esac";

/// A pair of filled hosts, both on one machine, and a playbook with one module's example for `new`.
struct Fixture<'a> {
    program: Program,
    entry: &'static Entry,
    /// Nothing: it is this machine.
    host: Option<&'a Host>,
    etc: Option<Etc>,
    /// For those that deal with names.
    named: Option<Named>,
    _packages: TempDir,
    database: Option<String>,
    _smtp: TcpListener,
    web: Web,
}

impl<'a> Fixture<'a> {
    fn new(entry: &'static Entry, host: Option<&'a Host>) -> Fixture<'a> {
        let program = host.map_or_else(Program::new, |host| Program::below(&host.shared()));
        let (user, group) = (name_of("-un"), name_of("-gn"));
        fill(&program.path("old"), Role::Old, (&user, &group)).unwrap();
        fill(&program.path("new"), Role::New, (&user, &group)).unwrap();
        let lines = ["old", "new"].map(|name| match host {
            Some(host) => host.inventory_line(name),
            None => format!("{name} ansible_connection=local\n"),
        });
        program.file("hosts", &lines.concat());
        if let Some(host) = host {
            program.file(".ssh/known_hosts", &host.known_hosts_line());
        }
        std::fs::create_dir(program.path("state")).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let greeting = listener.try_clone().unwrap();
        // It ends with the test's process; every connection is greeted.
        std::thread::spawn(move || {
            for connection in greeting.incoming().flatten() {
                let _ = (&connection).write_all(b"220 new.lab.example ESMTP\r\n");
            }
        });
        let own = [ACCOUNTS, PACKAGES, SYSTEM].concat().contains(&entry.name);
        let mut etc = (host.is_none() && own).then(|| Etc::below(&program.path("")));
        // Outside of what is compared: dpkg and apt note what they have done in many places.
        let packages = tempfile::tempdir().unwrap();
        if PACKAGES.contains(&entry.name) {
            etc = etc.map(|etc| etc.with(Archive::below(packages.path())));
        }
        if SYSTEM.contains(&entry.name) {
            etc = etc.map(|etc| etc.with_programs(&program.path("bin")));
        }
        let named = NAMES.contains(&entry.name).then(|| {
            let bind = program.path("old/var/qmail/bind");
            std::fs::create_dir(&bind).unwrap();
            let (zones, text) = zones(&bind, entry.name == "nsupdate");
            std::fs::write(bind.join("example.com"), &text).unwrap();
            std::fs::write(bind.join("zones.conf"), zones).unwrap();
            let include = format!("include \"{}\";\n", bind.join("zones.conf").display());
            let named = Named::start(&include, &[("example.com", &text)]);
            // Its directory is one that the host has, too.
            let text = std::fs::read_to_string(named.path("named.conf")).unwrap();
            let own = format!("directory \"{}\"", named.path("").display().to_string().trim_end_matches('/'));
            assert!(text.contains(&own), "{text}");
            let text = text.replace(&own, &format!("directory \"{}\"", bind.display()));
            std::fs::write(bind.join("named.conf"), text).unwrap();
            std::fs::copy(named.path("rndc.conf"), bind.join("rndc.conf")).unwrap();
            named
        });
        if let Some(host) = host {
            host.forget();
        }
        let database = DATABASE.contains(&entry.name).then(|| Mariadb::get().database(PSA));
        let fixture = Fixture {
            program,
            entry,
            host,
            etc,
            _packages: packages,
            database,
            named,
            _smtp: listener,
            web: Web::start(),
        };
        fixture.extras();
        let text = fixture.example(&user, &group, port);
        fixture.program.file("play.yml", &play(&text));
        fixture
    }

    /// What the examples take to be there beyond a mail host.
    fn extras(&self) {
        let new = self.program.path("new/var/qmail");
        let home = new.join("mailnames/example.com");
        std::fs::set_permissions(home, std::fs::Permissions::from_mode(0o700)).unwrap();
        let bob = self.program.path("old/var/qmail/mailnames/example.com/bob/.qmail");
        std::fs::write(bob, "| true\n&bob@partner.example\n").unwrap();
        let list = self.program.path("old/var/qmail/mailnames/example.com/news");
        std::fs::create_dir_all(list.join("subscribers")).unwrap();
        for (name, text) in
            [("key", "secret"), ("inlocal", "7-news\n"), ("outlocal", "news\n"), ("subscribers/A", "Ta@b.example\0")]
        {
            std::fs::write(list.join(name), text).unwrap();
        }
        let ann = self.program.path("old/var/qmail/mailnames/example.com/ann/Maildir");
        std::fs::write(ann.join("courierimapsubscribed"), "INBOX.Sent\n").unwrap();
        let routes = new.join("control/smtproutes");
        let text = std::fs::read_to_string(&routes).unwrap();
        std::fs::write(routes, text + "example.com:old.example.net\n").unwrap();
        if let Some(archive) = self.archive().filter(|_| self.entry.name == "dpkg_selections") {
            let stanza = "Package: xinetd\nStatus: install ok installed\nMaintainer: Lab <lab@example.com>\n\
                          Architecture: all\nVersion: 1.0\nDescription: tiny\n";
            std::fs::write(archive.path("dpkg/status"), stanza).unwrap();
        }
        self.program.file("virtualdomains.j2", "# for {{ inventory_hostname }}\nexample.com:31\n");
        if self.entry.name == "mail_token" {
            let text = "Subject: test\nX-Cutover-Token: move-2026-11-26\n\n";
            self.program.file("new/var/qmail/mailnames/example.com/ann/Maildir/new/1.token", text);
        }
        if self.entry.name == "assemble" {
            let fragments = new.join("control/smtproutes.d");
            std::fs::create_dir(&fragments).unwrap();
            for (name, text) in [("10-b", "b.example:192.0.2.2\n"), ("05-a", "a.example:192.0.2.1"), ("x.old", "no\n")]
            {
                std::fs::write(fragments.join(name), text).unwrap();
            }
        }
        if self.entry.name == "git" {
            let repository = self.program.path("old/var/qmail/tools.git");
            std::fs::create_dir(&repository).unwrap();
            commit(&repository, "conf", "level=1\n");
        }
        if self.entry.name == "subversion" {
            commit_to(&self.program.path("old/var/qmail/tools"), "conf", "level=1\n");
        }
        if self.entry.name == "rpm_key" {
            self.program.file("new/var/qmail/archive.asc", ARCHIVE_KEY);
        }
        if self.entry.name == "pip" {
            wheel(&self.program.path("old/var/qmail/wheels"), ("tiny", "1.0"), "");
            environment(&new.join("survey"));
        }
        if self.entry.name == "unarchive" {
            self.program.file("tools/conf", "level=1\n").file("tools/bin/survey", "#!/bin/sh\n");
            let packed = self.program.path("tools.tar.gz");
            run(std::process::Command::new("tar")
                .arg("-czf")
                .arg(packed)
                .arg("tools")
                .current_dir(self.program.path("")));
        }
        for (name, script) in [
            ("survey.sh", "echo \"surveyed $1\""),
            ("new/var/qmail/bin/qmail-qstat", "echo messages in queue: 0"),
            ("new/var/qmail/bin/qmail-qread", "printf '\\tlocal\\tann@example.com\\n'"),
            ("new/var/log/current", ""),
            (
                "bin/systemctl",
                "cd NEW || exit 1\ncase $1 in\nshow) echo LoadState=loaded ;;\nis-active) [ -e running ] ;;\n\
                 is-enabled) [ -e enabled ] ;;\nstart) : >running ;;\nenable) : >enabled ;;\n\
                 stop) rm -f running ;;\ndisable) rm -f enabled ;;\n*) exit 1 ;;\nesac",
            ),
            (
                "bin/service",
                "cd NEW || exit 1\ncase $2 in\nstatus) [ -e running ] || exit 3 ;;\nstart) : >running ;;\nstop) rm -f running ;;\n*) exit 1 ;;\nesac",
            ),
            (
                "bin/hostname",
                "cd NEW || exit 1\ncase ${1--} in -*) cat name 2>/dev/null || echo old ;; old) rm -f name ;; *) echo \"$1\" >name ;; esac",
            ),
            // No value that a machine has: outside of the test's own programs nothing is taken for the state before.
            (
                "bin/sysctl",
                "cd NEW || exit 1\ncase $1 in\n-n) cat \"kernel.$2\" 2>/dev/null || echo 7 ;;\n\
                 -w) if [ \"${2#*=}\" = 7 ]; then rm -f \"kernel.${2%%=*}\"; else echo \"${2#*=}\" >\"kernel.${2%%=*}\"; fi ;;\n*) exit 1 ;;\nesac",
            ),
            (
                "bin/iptables",
                "cd NEW || exit 1\nshift 2\nverb=$1\nshift\ncase $verb in\n-C) grep -qxF -e \"$*\" rules 2>/dev/null ;;\n\
                 -A) echo \"$*\" >>rules ;;\n-D) rm rules ;;\n*) exit 1 ;;\nesac",
            ),
            ("bin/apk", if self.entry.name == "apk" { APK } else { "" }),
            ("bin/pkg", if self.entry.name == "pkgng" { PKG } else { "" }),
            // One file of three names, as Debian's is.
            ("bin/at", AT),
            ("bin/atq", AT),
            ("bin/atrm", AT),
        ] {
            if script.is_empty() && name.starts_with("bin/") {
                // What one module's host has, another's has not.
                self.host.map(|host| std::fs::remove_file(host.path("stand-ins").join(&name[4..])));
                continue;
            }
            let script = script.replace("NEW", &self.program.path("new").display().to_string());
            self.program.file(name, &format!("#!/bin/sh\n{script}\n"));
            std::fs::set_permissions(self.program.path(name), std::fs::Permissions::from_mode(0o755)).unwrap();
            if let (Some(host), Some(name)) = (self.host, name.strip_prefix("bin/")) {
                host.program(name, &script);
            }
        }
    }

    fn example(&self, user: &str, group: &str, port: u16) -> String {
        let mut text = self.entry.example.replace("/var/qmail", "NEW");
        for row in ROWS.iter().filter(|row| row.module == self.entry.name) {
            for (piece, instead) in row.replaced {
                assert!(text.contains(piece), "{}: no `{piece}` in the example ({})", row.module, row.why);
                text = text.replace(piece, instead);
            }
        }
        for name in ["popuser", "root"] {
            text = text.replace(&format!("owner: {name}"), &format!("owner: {user}"));
            text = text.replace(&format!("user: {name}"), &format!("user: {user}"));
            text = text.replace(&format!("group: {name}"), &format!("group: {group}"));
        }
        if let Some(database) = &self.database {
            text = text.replace("SOCKET", &Mariadb::get().socket()).replace("DATABASE", database);
            if text.contains("OTHER") {
                text = text.replace("OTHER", &Mariadb::get().database(PSA_OLD));
            }
        }
        let at = |host: &str| self.program.path(host).join("var/qmail").display().to_string();
        let dns = self.named.as_ref().map_or(0, |named| named.port);
        let text = text.replace("NEW", &at("new")).replace("OLD", &at("old")).replace("PORT", &port.to_string());
        text.replace("DNS\n", &format!("{dns}\n")).replace(":WEB/", &format!(":{}/", self.web.port))
    }

    fn run(&self, flags: &str) -> Printed {
        let (printed, name) = (self.printed(flags), self.entry.name);
        assert_eq!(printed.status, 0, "{name} {flags}:\n{}{}", printed.stdout, printed.stderr);
        printed
    }

    fn printed(&self, flags: &str) -> Printed {
        self.cutover(&format!("play --seed law -i hosts play.yml {flags}"))
    }

    fn cutover(&self, words: &str) -> Printed {
        let words = words.split_whitespace();
        let path = std::env::var("PATH").unwrap();
        let path = format!("{}:{path}", self.program.path("bin").display());
        let mut command = self.program.command();
        // pip asks any `rustc` for its version, and rustup would write to a home for that.
        command.env("PATH", path).env("RUSTUP_HOME", "/none/rustup").args(words);
        if let Some(etc) = &self.etc {
            command = etc.around(&command);
        }
        Printed::from(command.output().unwrap(), &self.program.path(""))
    }

    /// Takes `no_log` out of the example: hidden content is not in the journal.
    fn in_the_open(&self) {
        let text = self.program.read("play.yml").replace("      no_log: true\n", "");
        self.program.file("play.yml", &text);
    }

    /// The packages of the test's own.
    fn archive(&self) -> Option<&Archive> {
        self.host.map(|host| &host.archive).or(self.etc.as_ref().and_then(Etc::archive))
    }

    fn tree(&self) -> Tree {
        let state = self.program.path("state");
        let mut all = tree(&self.program.path(""));
        if let Some(host) = self.host.filter(|_| [ACCOUNTS, SYSTEM].concat().contains(&self.entry.name)) {
            all.extend(tree(&host.etc()));
        }
        if let Some(named) = &self.named {
            let records = named.records("example.com").into_bytes();
            all.insert("the zone as it is served".into(), (0, 0, 0, 0, records));
        }
        if let Some(archive) = self.archive().filter(|_| PACKAGES.contains(&self.entry.name)) {
            all.extend(tree(&archive.opt()));
            let asked = match self.entry.name {
                "debconf" => "debconf-show postfix",
                "dpkg_selections" => "dpkg --get-selections",
                "rpm_key" => "rpm -q gpg-pubkey || :",
                _ => ":",
            };
            all.insert("what dpkg keeps".into(), (0, 0, 0, 0, archive.sh(asked).into_bytes()));
        }
        if let Some(database) = &self.database {
            let rows = Mariadb::get().dump(database).into_bytes();
            all.insert(PathBuf::from("the database"), (0, 0, 0, 0, rows));
            let beside = Mariadb::get().query(&format!("SHOW DATABASES LIKE '{database}_%'")).into_bytes();
            all.insert(PathBuf::from("databases beside it"), (0, 0, 0, 0, beside));
            let users = format!("SELECT User, Host FROM mysql.user WHERE User = 'u_{database}'");
            all.insert(PathBuf::from("its user"), (0, 0, 0, 0, Mariadb::get().query(&users).into_bytes()));
        }
        all.into_iter().filter(|(path, _)| !path.starts_with(&state) && !is_left(path)).collect()
    }

    fn journal(&self) -> Vec<Value> {
        let directory = self.program.path("state/runs");
        let mut files: Vec<PathBuf> = std::fs::read_dir(directory)
            .map_or_else(|_| Vec::new(), |all| all.map(|one| one.unwrap().path()).collect());
        files.sort();
        let text: String = files.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn play(example: &str) -> String {
    let task: String = example.lines().map(|line| format!("    {line}\n")).collect();
    format!("- hosts: new\n  gather_facts: false\n  tasks:\n{task}")
}

fn name_of(flag: &str) -> String {
    let output = std::process::Command::new("id").arg(flag).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_string()
}

/// Paths with type and mode, owners, time in nanoseconds, and content or target.
type Tree = BTreeMap<PathBuf, (u32, u32, u32, i64, Vec<u8>)>;

fn tree(root: &Path) -> Tree {
    let mut found = Tree::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(path) = open.pop() {
        let about = path.symlink_metadata().unwrap();
        let content = match about.file_type() {
            kind if kind.is_file() => std::fs::read(&path).unwrap(),
            kind if kind.is_symlink() => std::fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes(),
            _ => Vec::new(),
        };
        if about.is_dir() {
            open.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        let time = about.mtime() * 1_000_000_000 + about.mtime_nsec();
        found.insert(path, (about.mode(), about.uid(), about.gid(), time, content));
    }
    found
}

/// The tree without times, which a restored path does not get back.
fn timeless(tree: &Tree) -> BTreeMap<&PathBuf, (u32, u32, u32, &Vec<u8>)> {
    tree.iter().map(|(path, (mode, user, group, _, content))| (path, (*mode, *user, *group, content))).collect()
}

fn differing(left: &Tree, right: &Tree) -> Vec<PathBuf> {
    let paths: BTreeSet<&PathBuf> = left.keys().chain(right.keys()).collect();
    paths.into_iter().filter(|path| left.get(*path) != right.get(*path)).cloned().collect()
}

#[test]
fn what_is_planned_for_a_module_is_applied_as_shown_and_then_nothing_is_left() {
    for entry in held().filter(|entry| !READING.contains(&entry.name)) {
        let (name, fixture) = (entry.name, Fixture::new(entry, None));
        fixture.program.file("pw", "vault password\n");
        let before = fixture.tree();
        let planned =
            fixture.cutover("plan -i hosts play.yml -o state/p --vault-password-file pw --exit-code").expect(3);
        assert_eq!(differing(&before, &fixture.tree()), Vec::<PathBuf>::new(), "the plan of {name} has written");
        let shown = fixture.cutover("show state/p --format json").expect(0);
        let shown: serde_json::Value = serde_json::from_str(&shown.stdout).unwrap();
        let steps = shown["steps"].as_array().unwrap().iter();
        let diffs = steps.flat_map(|step| step["diffs"].as_array().unwrap()).flat_map(|diff| diff.as_array().unwrap());
        let shown: Vec<&str> = diffs.map(|line| line.as_str().unwrap()).collect();
        let printed = planned.diffs();
        let counted = |line: &&str| !(line.is_empty() || line.starts_with("= ") && line.ends_with(" changes"));
        let printed: Vec<&str> = printed.lines().filter(counted).collect();
        assert_eq!(shown, printed, "{name} is shown in another way");
        let applied = fixture.cutover("apply state/p --vault-password-file pw").expect(0);
        assert_eq!(applied.diffs().trim(), planned.diffs().trim(), "{name} has not done what was planned");
        let again = fixture.cutover("plan -i hosts play.yml --exit-code");
        let left = if ANEW.contains(&name) { 3 } else { 0 };
        assert_eq!(again.status, left, "{name} again:\n{}{}", again.stdout, again.stderr);
    }
}

#[test]
fn what_a_run_of_a_module_has_changed_is_taken_back_or_named() {
    for entry in held().filter(|entry| !READING.contains(&entry.name)) {
        let (name, fixture) = (entry.name, Fixture::new(entry, None));
        fixture.in_the_open();
        let before = fixture.tree();
        fixture.run("");
        let after = fixture.tree();
        let undone = fixture.cutover("undo last --anyway");
        assert_eq!(undone.status, 0, "{name}:\n{}{}", undone.stdout, undone.stderr);
        let (found, expected) = (fixture.tree(), before);
        let same = timeless(&found) == timeless(&expected);
        assert_eq!(same, !undone.stderr.contains("not taken back: "), "{name}:\n{}{}", undone.stdout, undone.stderr);
        if same {
            let again = fixture.cutover("undo last --anyway").expect(0);
            let found = fixture.tree();
            let (found, after) = (timeless(&found), timeless(&after));
            // git, Subversion and Python keep times of their own in there.
            let has_times = |path: &&&PathBuf| {
                ["/.git/", "/.svn/", "/__pycache__/"].iter().any(|directory| path.to_string_lossy().contains(directory))
            };
            let paths = found.keys().chain(after.keys()).filter(|path| !has_times(path));
            let differing: Vec<_> = paths.filter(|path| found.get(*path) != after.get(*path)).collect();
            let named = again.stderr.contains("not taken back: ");
            assert_eq!(
                differing.is_empty(),
                !named,
                "{name} undone twice: {differing:?}\n{}{}",
                again.stdout,
                again.stderr
            );
        }
    }
}

#[test]
fn the_table_of_what_examples_need_names_modules_that_there_are() {
    let named = ROWS.iter().map(|row| row.module).chain(READING.iter().copied());
    for name in named {
        assert!(modules::find(name).is_some(), "{name}");
    }
}

#[test]
fn a_check_changes_nothing_and_shows_what_the_run_does_and_a_second_run_changes_nothing() {
    for entry in held() {
        does_once_what_it_shows(entry, None);
    }
}

fn does_once_what_it_shows(entry: &'static Entry, host: Option<&Host>) {
    let name = entry.name;
    let fixture = Fixture::new(entry, host);
    let before = fixture.tree();
    let check = fixture.run("--check --diff");
    assert_eq!(differing(&before, &fixture.tree()), Vec::<PathBuf>::new(), "the check of {name} has written");
    assert!(fixture.journal().is_empty(), "the check of {name} has a journal");

    let run = fixture.run("--diff");
    assert_eq!(check.diffs(), run.diffs(), "{name} has not done what it showed");
    let reading = READING.contains(&name);
    assert_eq!(run.stdout.contains(" changed=1 "), !reading, "{name}:\n{}", run.stdout);
    assert_eq!(check.stdout.contains(" would-change=1 "), !reading, "{name}:\n{}", check.stdout);
    assert_eq!(run.diffs().trim().is_empty(), reading, "{name}:\n{}", run.stdout);
    let after = fixture.tree();
    assert_eq!(differing(&before, &after).is_empty(), reading, "{name}");

    let again = fixture.run("--diff");
    if ANEW.contains(&name) {
        assert!(again.stdout.contains(" changed=1 "), "{name} again:\n{}", again.stdout);
        assert_ne!(again.diffs(), run.diffs(), "{name} again");
        return;
    }
    assert!(again.stdout.contains(" changed=0 "), "{name} again:\n{}", again.stdout);
    assert_eq!(again.diffs().trim(), "", "{name} again");
    let changed = differing(&after, &fixture.tree());
    assert!(changed.iter().all(|path| path.is_dir()), "the second run of {name} wrote {changed:?}");
}

/// Holds every module to the laws on a host. Those of `refused` need what it does not have: they say so, in these
/// words, and change nothing.
pub async fn hold_modules(host: &Host, refused: &[(&str, &str)]) {
    let here = Here { host: host.machine().await, controller: local::local(None).await.unwrap() };
    for entry in held() {
        if let Some((name, words)) = refused.iter().find(|(name, _)| *name == entry.name) {
            let fixture = Fixture::new(entry, Some(host));
            let before = fixture.tree();
            for flags in ["--check", ""] {
                let printed = fixture.printed(flags);
                assert_eq!(printed.status, 2, "{name}:\n{}{}", printed.stdout, printed.stderr);
                assert!(printed.stdout.contains(words), "{name} does not say {words:?}:\n{}", printed.stdout);
            }
            assert_eq!(differing(&before, &fixture.tree()), Vec::<PathBuf>::new(), "{name} has written");
            continue;
        }
        does_once_what_it_shows(entry, Some(host));
        if !READING.contains(&entry.name) {
            can_be_undone(entry, &here, Some(host)).await;
        }
    }
}

struct Here {
    host: Arc<dyn Transport>,
    controller: Arc<dyn Transport>,
}

#[async_trait]
impl Machines for Here {
    async fn machine(&self, _: &str) -> Result<Arc<dyn Transport>, TransportError> {
        Ok(self.host.clone())
    }
}

impl Here {
    async fn apply(&self, change: &Change) -> Result<cutover::change::Applied, ApplyError> {
        let reach = Reach { host: &*self.host, controller: &*self.controller, machines: self, progress: &|_| {} };
        apply(change, reach).await
    }

    /// Makes a changed path a third thing, over which the change must not be made, and takes that back.
    async fn refuses_over_another_hand(&self, change: &Change) {
        let Change::Path { change: path, .. } = change else { return };
        // What is gone has no mode.
        if !path.after().exists() {
            return;
        }
        let path = Path::new(path.path());
        let about = path.symlink_metadata().unwrap();
        let mode = |mode: u32| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        mode(about.mode() & 0o7777 ^ 0o011);
        let applied = self.apply(change).await;
        assert!(matches!(applied, Err(ApplyError::Stale { .. })), "{applied:?} of {change:?}");
        assert_eq!(path.symlink_metadata().unwrap().mode(), about.mode() ^ 0o011, "{}", path.display());
        mode(about.mode() & 0o7777);
        if about.is_file() {
            let content = std::fs::read(path).unwrap();
            std::fs::write(path, [&content[..], b"!"].concat()).unwrap();
            let applied = self.apply(change).await;
            assert!(matches!(applied, Err(ApplyError::Stale { .. })), "{applied:?} of {change:?}");
            assert_eq!(std::fs::read(path).unwrap().len(), content.len() + 1);
            std::fs::write(path, content).unwrap();
            let file = std::fs::File::options().write(true).open(path).unwrap();
            file.set_modified(about.modified().unwrap()).unwrap();
        }
    }

    async fn look(&self, path: &str) -> Node {
        self.host.look(&[(path.to_string(), Links::Keep)], Want::Content).await.unwrap().remove(0)
    }
}

/// Returns the changes that a journal can give back, and the lines of those it hides.
fn journalled(lines: &[Value]) -> (Vec<Change>, Vec<String>) {
    let (mut changes, mut hidden) = (Vec::new(), Vec::new());
    for value in lines.iter().filter_map(|line| line.get("change")) {
        match value.get("hidden") {
            Some(lines) => hidden.push(lines.to_string()),
            None => {
                let change: Change = serde_json::from_value(value.clone()).unwrap();
                assert_eq!(&serde_json::to_value(&change).unwrap(), value, "a journalled change has lost something");
                changes.push(change);
            }
        }
    }
    (changes, hidden)
}

#[tokio::test]
async fn the_journal_holds_the_changes_that_were_made_which_are_stale_then_and_can_be_undone() {
    let machine = local::local(None).await.unwrap();
    let here = Here { host: machine.clone(), controller: machine };
    for entry in held().filter(|entry| !READING.contains(&entry.name)) {
        can_be_undone(entry, &here, None).await;
    }
}

async fn can_be_undone(entry: &'static Entry, here: &Here, host: Option<&Host>) {
    let name = entry.name;
    let fixture = Fixture::new(entry, host);
    let own = match &fixture.etc {
        Some(etc) => Some(Here { host: etc.machine().await, controller: here.controller.clone() }),
        None => None,
    };
    let here = own.as_ref().unwrap_or(here);
    fixture.in_the_open();
    let before = fixture.tree();
    fixture.run("");
    let made = fixture.tree();
    let lines = fixture.journal();
    let (changes, hidden) = journalled(&lines);
    let count = |key: &str| lines.iter().filter(|line| line.get(key).is_some()).count();
    assert_eq!((count("done"), count("failed")), (changes.len() + hidden.len(), 0), "{name}");
    assert!(!changes.is_empty() || !hidden.is_empty(), "{name} has an empty journal");

    for change in &changes {
        if let Change::Path { change, .. } = change {
            assert_eq!(&here.look(change.path()).await, change.after(), "{name}: {}", change.path());
        }
        match (change, here.apply(change).await) {
            // What is as asked stays so: several hosts may bring one file. A transfer goes on at its end.
            (Change::Path { change, .. }, Ok(_)) => {
                assert_eq!(&here.look(change.path()).await, change.after(), "{name}: {}", change.path());
            }
            // What another change moves along is there.
            (Change::State(state), Ok(_)) if state.by().is_empty() => {}
            (Change::Transfer(_), Ok(applied)) => assert_eq!(applied.report["moved"], 0, "{name}"),
            (_, Err(ApplyError::Stale { what, expected, found })) => {
                assert!(expected != found, "{name}: {what} is refused and both values are {found}");
            }
            (_, other) => panic!("{name}: a change was made twice: {other:?} of {change:?}"),
        }
    }
    // What is outside of the test's own directory is a namespace's, and from here the machine's.
    let own = fixture.program.path("");
    let is_own =
        |change: &&Change| matches!(change, Change::Path { change, .. } if Path::new(change.path()).starts_with(&own));
    for change in changes.iter().filter(is_own) {
        here.refuses_over_another_hand(change).await;
    }
    // The drain of a transfer may touch a file again; nothing else does.
    assert!(timeless(&made) == timeless(&fixture.tree()), "{name}: stale changes have written");

    let mut undone = BTreeSet::new();
    for change in changes.iter().rev() {
        let Change::Path { on, change } = change else { continue };
        undone.insert(PathBuf::from(change.path()));
        let Some(Change::Path { change, .. }) =
            Change::path(change.path(), change.after().clone(), change.before().clone())
        else {
            panic!("{name}: {} has no way back", change.path())
        };
        here.apply(&Change::Path { on: *on, change }).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let restored = fixture.tree();
    let (first, last) = (timeless(&before), timeless(&restored));
    // Where all was a matter of paths everything is as it was; else each of the paths is.
    let only_paths = hidden.is_empty() && changes.iter().all(|change| matches!(change, Change::Path { .. }));
    let paths: BTreeSet<&PathBuf> =
        if only_paths { first.keys().chain(last.keys()).copied().collect() } else { undone.iter().collect() };
    for path in paths {
        assert_eq!(first.get(path), last.get(path), "{name}: {} is not restored", path.display());
    }
}

/// All texts of a value, and what they are in base64 for.
fn texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => {
            if let Ok(bytes) = base64::engine::general_purpose::STANDARD.decode(text) {
                found.push(String::from_utf8_lossy(&bytes).into_owned());
            }
            found.push(text.clone());
        }
        Value::Array(values) => values.iter().for_each(|value| texts(value, found)),
        Value::Object(values) => values.values().for_each(|value| texts(value, found)),
        _ => {}
    }
}

#[test]
fn no_password_hash_is_printed_or_journalled() {
    for entry in held() {
        let fixture = Fixture::new(entry, None);
        let hash = |line: &str| line.split(':').nth(1).map(str::to_string);
        let password_file = |host: &str| fixture.program.read(&format!("{host}/var/qmail/users/poppasswd"));
        let mut secrets: Vec<String> = ["old", "new"].map(password_file).concat().lines().filter_map(hash).collect();
        secrets.push("$1$abcdefgh$0123456789012345678901".into());
        assert!(secrets.len() > 8);
        let mut shown = Vec::new();
        for flags in ["--check --diff -vvv", "--diff -vvv", "-vvv"] {
            let printed = fixture.run(flags);
            shown.extend([printed.stdout, printed.stderr]);
        }
        fixture.journal().iter().for_each(|line| texts(line, &mut shown));
        for secret in &secrets {
            let leak = shown.iter().find(|text| text.contains(secret));
            assert!(leak.is_none(), "{} shows {secret}: {}", entry.name, leak.unwrap());
        }
        let after: String = ["old", "new"].map(password_file).concat();
        assert_eq!(after.contains("$1$abcdefgh$"), entry.name == "qmail_users");
    }
}

/// The fenced blocks of a Markdown text with the language after the fence.
fn blocks(markdown: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in markdown.lines() {
        match (&mut open, line.trim().strip_prefix("```")) {
            (None, Some(language)) => open = Some((language.to_string(), String::new())),
            (Some(_), Some(_)) => found.extend(open.take()),
            (Some((_, text)), None) => text.push_str(&format!("{line}\n")),
            (None, None) => {}
        }
    }
    found
}

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_snippet_of_the_documents_loads() {
    let documents = std::fs::read_dir(repository().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let documents = documents.filter(|path| path.extension().is_some_and(|end| end == "md"));
    let mut count = 0;
    for path in documents.chain([repository().join("README.md")]) {
        for (language, text) in blocks(&std::fs::read_to_string(&path).unwrap()) {
            let program = Program::new();
            program.file("hosts", "[old]\na\n[new]\nb\n").file("survey.sh", "true\n").file("virtualdomains.j2", "x\n");
            let first = text.lines().find(|line| !line.starts_with('#') && !line.is_empty()).unwrap_or("");
            let is_play = text
                .lines()
                .any(|line| ["- hosts:", "  hosts:", "- import_playbook:"].iter().any(|key| line.starts_with(key)));
            let words = match language.as_str() {
                "yaml" | "yml" if is_play => {
                    program.file("play.yml", &text);
                    "play -i hosts play.yml --syntax-check"
                }
                "yaml" | "yml" if first.starts_with('-') => {
                    program.file("play.yml", &play(&text));
                    "play -i hosts play.yml --syntax-check"
                }
                "yaml" | "yml" | "ini" => {
                    let name = if language == "ini" { "mine.ini" } else { "mine.yml" };
                    program.file(name, &text).file("play.yml", "- hosts: all\n  tasks: []\n");
                    if language == "ini" {
                        "play -i mine.ini play.yml --list-hosts"
                    } else {
                        "play -i mine.yml play.yml --list-hosts"
                    }
                }
                _ => continue,
            };
            let printed = program.run(words);
            assert_eq!(printed.status, 0, "{}:\n{text}\n{}", path.display(), printed.stderr);
            count += 1;
        }
    }
    assert!(count >= held().count(), "only {count} snippets were found");
}

#[test]
fn every_shipped_playbook_loads_with_every_example_inventory() {
    let below = |name: &str| tree(&repository().join(name)).into_keys().filter(|path| path.is_file());
    let is_playbook = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().any(|line| {
            line.trim_start_matches("- ").trim_start().starts_with("hosts:") || line.starts_with("- import_playbook:")
        })
    };
    let program = Program::new();
    let mut count = 0;
    for playbook in below("playbooks").filter(is_playbook) {
        for inventory in below("inventory") {
            let words =
                ["play", "-i", &inventory.display().to_string(), &playbook.display().to_string(), "--syntax-check"];
            program.run_words(&words).expect(0);
            let words = [&words[..4], &["--list-hosts"]].concat();
            let hosts = program.run_words(&words).expect(0);
            assert!(hosts.stdout.contains(".example."), "{}:\n{}", playbook.display(), hosts.stdout);
            count += 1;
        }
    }
    assert!(count >= 12, "only {count} pairs");
}
