//! What runs on the hosts of the live test: Debian's own servers, and the lab's stand-in for qmail, which Debian has not.

use std::net::SocketAddr;

use cutover::lab::fill::{Content, Domain, PASSWORD, Role, close_logins};
use cutover::lab::mail::{Place, Places};
use cutover::lab::qmail::Home;
use cutover::lab::qmail::password::md5_crypt;
use cutover::lab::traffic::{self, Account, Habit};

use super::hosts::{Host, Network, copy, sh};
use super::imap;
use crate::named::SECRET;

/// Four names of each domain at the small size, ten at the large one.
const NAMES: [&str; 10] = ["ann", "bob", "carol", "dave", "erin", "frank", "grace", "henry", "iris", "john"];

macro_rules! domains {
    ($count:literal) => {
        &[
            ("example.com", 7, 31, NAMES.first_chunk::<$count>().unwrap()),
            ("example.net", 12, 8, NAMES.first_chunk::<$count>().unwrap()),
            ("example.org", 13, 40, NAMES.first_chunk::<$count>().unwrap()),
            ("mail.example", 21, 7, NAMES.first_chunk::<$count>().unwrap()),
        ]
    };
}

/// The name of those who read by IMAP.
const BY_IMAP: &str = "dave";

pub const FEW: &[Domain] = domains!(4);
pub const MANY: &[Domain] = domains!(10);

/// The users of mailboxes have other numbers on each host.
const POPUSER: [(u32, u32); 2] = [(110, 31), (2110, 2031)];
const PASSWORD_OF_PANEL: &str = "it's \"the\" panel's";

/// All hosts, which end when this is dropped.
pub struct Hosts {
    pub network: Network,
    pub old: Host,
    pub new: Host,
    _dns: Host,
    outside: Host,
}

const MARIADB: &str = "mkdir -p /run/mysqld; mariadbd --no-defaults --user=root --datadir=/var/lib/mysql --socket=/run/mysqld/mysqld.sock \
    --pid-file=/run/mysqld/pid --skip-networking --innodb-buffer-pool-size=16M --innodb-flush-log-at-trx-commit=0 \
    >/var/log/mariadb 2>&1 &\n";

/// Courier's daemon for passwords, and its POP3 and IMAP servers below tcpserver, as Plesk has them below xinetd.
const COURIER: &str =
    "mkdir -p /run/courier/authdaemon; /usr/lib/courier/courier-authlib/authdaemond >/var/log/courier 2>&1 &
    C=/opt/courier/usr/lib/courier/courier
    tcpserver -R -H -l 0 0 1110 $C/courierpop3login /var/qmail/bin/courier-pop3 Maildir >/var/log/pop3 2>&1 &
    tcpserver -R -H -l 0 0 143 $C/imaplogin /var/qmail/bin/courier-imap Maildir >/var/log/imap 2>&1 &\n";

const QMAIL_SEND: &str = "/var/qmail/bin/qmail-send </dev/null >/var/qmail/active/qmail-send.log 2>&1 &\n";

impl Hosts {
    pub fn start(content: Content) -> Hosts {
        let network = Network::new();
        let mut old = network.host("old", 10);
        let mut new = network.host("new", 20);
        let mut dns = network.host("dns", 53);
        let mut outside = network.host("outside", 99);
        fill_outside(&outside);
        outside.start("/var/qmail/bin/qmail-smtpd 0.0.0.0:25 >/var/log/smtpd 2>&1 &");
        fill_dns(&dns, content.domains);
        dns.start("/usr/sbin/named -g -n 1 -c /etc/lab-named.conf >/var/log/named 2>&1 &");
        sh(&format!(
            "mariadb-install-db --no-defaults --user=root --datadir={0} --auth-root-authentication-method=normal --skip-test-db",
            network.path("mysql").display()
        ));
        // Of its own, so that it can be full.
        let megabytes = 100 + content.stored * content.domains.len() * content.domains[0].3.len() / 50;
        sh(&format!("mount -t tmpfs -o size={megabytes}m,mode=755 tmpfs {}", new.path("var/qmail").display()));
        for (host, role) in [(&old, Role::Old), (&new, Role::New)] {
            copy(&network.path("mysql"), &host.path("var/lib/mysql"));
            fill_mail_host(host, role, content);
        }
        old.start(&format!(
            "{MARIADB}{COURIER}{QMAIL_SEND}
             /var/qmail/bin/qmail-smtpd 0.0.0.0:25 >/var/log/smtpd 2>&1 &
             /var/qmail/bin/qmail-pop3d 0.0.0.0:110 >/var/log/pop3d 2>&1 &
             xinetd -stayalive -dontfork -f /etc/lab-xinetd.conf -pidfile /run/xinetd.pid >/var/log/xinetd 2>&1 &"
        ));
        new.start(&format!(
            "{MARIADB}{COURIER}{QMAIL_SEND}
             dovecot -F -c /etc/lab-dovecot.conf &
             svscan /var/service >/var/log/svscan 2>&1 &"
        ));
        let hosts = Hosts { network, old, new, _dns: dns, outside };
        hosts.start_smtp_of_new();
        hosts.fill_panels(content);
        for (host, port) in [
            (&hosts.old, 110),
            (&hosts.old, 1110),
            (&hosts.old, 143),
            (&hosts.new, 110),
            (&hosts.new, 25),
            (&hosts.outside, 25),
        ] {
            assert!(
                crate::sshd::wait_for(|| host.answers(port)),
                "{} has nothing at port {port}: {}",
                host.name,
                host.log()
            );
        }
        hosts
    }

    /// The public door of the new host: qpsmtpd, which queues with qmail-queue.
    pub fn start_smtp_of_new(&self) {
        self.new.run(
            "QPSMTPD_CONFIG=/etc/lab-qpsmtpd qpsmtpd-forkserver -l 0.0.0.0 -u root -p 25 -m 200 -c 200 </dev/null >>/var/log/qpsmtpd 2>&1 &
             echo $! >/run/qpsmtpd.pid",
        );
    }

    /// Ends both doors of the new host: what is for it waits on the old one.
    pub fn stop_smtp_of_new(&self) {
        self.new.run("kill $(cat /run/qpsmtpd.pid); for s in /var/service/*; do [ ! -e $s/run ] || svc -d $s; done");
    }

    pub fn open_door_again(&self) {
        self.new.run("for s in /var/service/*; do [ ! -e $s/run ] || svc -u $s; done");
    }

    /// Makes all mail in the queues due.
    pub fn flush(&self) {
        for host in [&self.old, &self.new] {
            host.run("kill -ALRM $(cat /var/qmail/active/qmail-send.pid)");
        }
    }

    pub fn places(&self) -> Places {
        let place = |host: &Host, pop3: bool| {
            let at = |port: u16| SocketAddr::new(host.address.parse().unwrap(), port);
            Place { home: Home::new(host.path("var/qmail")), smtp: at(25), pop3: pop3.then(|| at(110)) }
        };
        Places { old: place(&self.old, true), new: place(&self.new, true), outside: place(&self.outside, false) }
    }

    /// The ends of the hosts' logs.
    pub fn logs(&self) -> String {
        [&self.old, &self.new]
            .map(|host| host.run("tail -n 15 /var/log/* /var/qmail/active/*.log 2>/dev/null; grep -h -B 6 ' failure: ' /var/qmail/active/*.log | tail -n 60; ps ax"))
            .concat()
    }

    /// The users of the first two domains read from qmail-pop3d, and then from dovecot; those of the others from courier on both
    /// hosts. Some never learn the new host's name: they come by the old one's ports.
    pub fn accounts(&self, domains: &'static [Domain]) -> Vec<Account> {
        let mut accounts = Vec::new();
        for (domain, port) in domains.iter().zip([110, 110, 1110, 1110]) {
            let at = |host: &Host| SocketAddr::new(host.address.parse().unwrap(), port);
            accounts.extend(traffic::accounts_of(domain, [at(&self.old), at(&self.new)]));
        }
        for account in accounts.iter_mut().filter(|account| account.name == BY_IMAP) {
            account.habit = Habit::Other;
        }
        for account in accounts.iter_mut().filter(|account| account.habit == Habit::Leave).step_by(2) {
            account.pop3[1] = account.pop3[0];
        }
        accounts
    }

    /// One user of each domain, who reads by courier on the old host; then those of the first two domains by dovecot, those of the
    /// others by courier, one of them by the old host's port still.
    pub fn imap_users(&self, domains: &'static [Domain]) -> Vec<imap::User> {
        let at = |host: &Host, port: u16| SocketAddr::new(host.address.parse().unwrap(), port);
        let courier = |host: &Host| imap::Server { address: at(host, 143), prefix: "INBOX." };
        let dovecot = imap::Server { address: at(&self.new, 1143), prefix: "" };
        let later = [dovecot, dovecot, courier(&self.new), courier(&self.old)];
        let users = domains.iter().zip(later);
        users
            .map(|((domain, ..), later)| imap::User::new(format!("{BY_IMAP}@{domain}"), [courier(&self.old), later]))
            .collect()
    }

    /// The panels' databases: all accounts on the old host, the domains alone on the new one.
    fn fill_panels(&self, content: Content) {
        let tables = |text: &str| text.split("INSERT INTO").next().unwrap().to_string();
        let psa = [tables(crate::mariadb::PSA_OLD), tables(crate::mariadb::PSA)];
        let mut rows = [String::new(), String::new()];
        let mut number = 0;
        for (domain, of_old, of_new, names) in content.domains {
            for (rows, id) in rows.iter_mut().zip([of_old, of_new]) {
                *rows += &format!("INSERT INTO domains (id, name) VALUES ({id}, '{domain}');\n");
            }
            for name in *names {
                number += 1;
                let hash = md5_crypt(PASSWORD, &format!("{name}sa"));
                rows[0] += &format!(
                    "INSERT INTO accounts (id, type, password) VALUES ({number}, 'crypt', '{hash}');\n\
                     INSERT INTO mail (mail_name, postbox, account_id, mbox_quota, dom_id) VALUES ('{name}', 'true', {number}, 1048576000, {of_old});\n"
                );
            }
        }
        for ((host, psa), rows) in [&self.old, &self.new].into_iter().zip(psa).zip(rows) {
            let user = PASSWORD_OF_PANEL.replace('\'', "''");
            host.file(
                "tmp/psa.sql",
                &format!(
                    "CREATE USER admin@localhost IDENTIFIED BY '{user}'; GRANT ALL ON *.* TO admin@localhost;\n\
                     CREATE DATABASE psa CHARACTER SET utf8mb4; USE psa;\n{psa}{rows}"
                ),
            );
            let client = "mariadb --no-defaults --user=root --socket=/run/mysqld/mysqld.sock";
            host.run(&format!("i=0; until {client} -e 'SELECT 1' >/dev/null 2>&1 || [ $i = 300 ]; do i=$((i+1)); sleep 0.1; done; {client} </tmp/psa.sql"));
            host.file("etc/psa/.psa.shadow", &format!("{PASSWORD_OF_PANEL}\n"));
            host.file("etc/mysql/my.cnf", "[client]\nsocket=/run/mysqld/mysqld.sock\n");
        }
    }
}

fn fill_outside(host: &Host) {
    for (name, text) in [
        ("control/me", "mail.outside.example\n"),
        ("control/rcpthosts", "outside.example\n"),
        ("users/assign", ".\n"),
        ("active/network", "dns 10.77.0.53:53\n"),
    ] {
        host.file(&format!("var/qmail/{name}"), text);
    }
    install(host);
}

/// Links the programs to the binary as the host has it.
fn install(host: &Host) {
    Home::new(host.path("var/qmail")).install("/var/lib/cutover/cutover".as_ref()).unwrap();
}

/// Master files of the domains, which updates with a key can change, and that of the outside.
fn fill_dns(host: &Host, domains: &[Domain]) {
    let zone = |name: &str, records: &str| {
        host.file(
            &format!("var/named/{name}"),
            &format!(
                "$TTL 3\n@ IN SOA ns hostmaster 10 3600 600 86400 3\n  IN NS ns\nns IN A {}\n{records}",
                host.address
            ),
        );
        format!("zone \"{name}\" {{ type master; file \"{name}\"; allow-update {{ key mover; }}; }};\n")
    };
    let mut zones = zone("outside.example", "@ IN MX 10 mail\nmail IN A 10.77.0.99\n");
    for (name, ..) in domains {
        zones += &zone(name, "@ IN MX 10 mail\nmail IN A 10.77.0.10\npop IN A 10.77.0.10\n");
    }
    host.file(
        "etc/lab-named.conf",
        &format!(
            "key \"mover\" {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};\n\
             options {{ directory \"/var/named\"; listen-on {{ any; }}; listen-on-v6 {{ none; }}; pid-file none; session-keyfile none;\n\
             recursion no; dnssec-validation no; minimal-responses no; }};\ncontrols {{ }};\n{zones}"
        ),
    );
}

pub fn fill_mail_host(host: &Host, role: Role, content: Content) {
    let index = usize::from(role == Role::New);
    let (uid, gid) = POPUSER[index];
    host.account("popuser", (uid, gid));
    host.account("qmaild", (2120, 2120));
    host.account("dovecot", (2130, 2130));
    host.account("dovenull", (2131, 2131));
    host.account("courier", (2140, 2140));
    let root = host.path("");
    content.fill(&root, role, ("popuser", "popuser")).unwrap();
    close_logins(&root).unwrap();
    let qmail = host.path("var/qmail");
    // As the host itself sees it.
    let assign = std::fs::read_to_string(qmail.join("users/assign")).unwrap();
    let lines = assign.lines().map(|line| {
        let mut fields: Vec<&str> = line.split(':').collect();
        let (uid, gid) = (uid.to_string(), gid.to_string());
        if fields.len() > 4 {
            (fields[2], fields[3]) = (&uid, &gid);
        }
        fields.join(":").replace(&qmail.display().to_string(), "/var/qmail") + "\n"
    });
    host.file("var/qmail/users/assign", &lines.collect::<String>());
    host.file("var/qmail/active/network", "dns 10.77.0.53:53\n");
    install(host);
    let bin = |name: &str, text: &str| {
        host.file(&format!("var/qmail/bin/{name}"), text);
        sh(&format!("chmod 755 {}", qmail.join("bin").join(name).display()));
    };
    // Courier runs these for who has logged in.
    for (name, program, says) in [
        ("courier-pop3", "lib/courier/courier/courierpop3d", "-ERR [SYS/TEMP] this mailbox moves"),
        ("courier-imap", "bin/imapd", "* BYE this mailbox moves"),
    ] {
        let text = "#!/bin/sh\numask 077\ngrep -qsxF \"${AUTHENTICATED#*@}\" /var/qmail/active/closed || exec /opt/courier/usr/PROGRAM \"$@\"\n\
                    printf '%s\\r\\n' 'SAYS'\n";
        bin(name, &text.replace("PROGRAM", program).replace("SAYS", says));
    }
    // When the last domain is closed, nobody listens any more: the ports are free for the new host's.
    bin(
        "close-reading",
        "#!/bin/sh\n/var/qmail/bin/close-logins \"$@\" || exit\n[ $(grep -c . /var/qmail/active/closed) -lt 4 ] && exit\n\
         for p in $(pgrep -x tcpserver) $(cat /var/qmail/active/qmail-pop3d.pid 2>/dev/null); do kill $p; done; :\n",
    );
    let owner = format!("{uid}:{gid}");
    sh(&format!("cd {}; chown -R {owner} mailnames; chown -R 2120:2120 queue; chmod 1777 queue/pid", qmail.display()));
    let mut userdb = String::new();
    for (domain, _, _, names) in content.domains {
        for name in *names {
            let hash = md5_crypt(PASSWORD, &format!("{name}sa"));
            let home = format!("/var/qmail/mailnames/{domain}/{name}");
            userdb +=
                &format!("{name}@{domain}\tuid={uid}|gid={gid}|home={home}|mail={home}/Maildir|systempw={hash}\n");
        }
    }
    host.file("etc/courier/userdb", &userdb);
    let rc = std::fs::read_to_string(host.path("etc/courier/authdaemonrc")).unwrap();
    let rc = rc.lines().filter(|line| !line.starts_with("authmodulelist=") && !line.starts_with("daemons="));
    let rc: String = rc.map(|line| format!("{line}\n")).collect();
    host.file("etc/courier/authdaemonrc", &format!("{rc}authmodulelist=\"authuserdb\"\ndaemons=3\n"));
    sh(&format!(
        "chmod 600 {0}; rm -f {0}*.dat {0}.lock; makeuserdb -f {0}",
        host.path("etc/courier/userdb").display()
    ));
    host.file("etc/lab-xinetd.conf", "defaults\n{\n}\nincludedir /etc/xinetd.d\n");
    sh(&format!("rm -rf {0}; mkdir {0} {1}", host.path("etc/xinetd.d").display(), host.path("var/service").display()));
    host.file(
        "etc/lab-dovecot.conf",
        "base_dir = /run/dovecot\nprotocols = pop3 imap\nlisten = *\nlog_path = /var/log/dovecot\nssl = no\n\
         disable_plaintext_auth = no\npop3_uidl_format = %f\nmail_location = maildir:/var/qmail/mailnames/%d/%n/Maildir\n\
         first_valid_uid = 1\nmail_fsync = never\nservice imap-login {\n  inet_listener imap {\n    port = 1143\n  }\n}\n\
         service pop3-login {\n  process_limit = 200\n}\nservice auth {\n  user = root\n}\n\
         passdb {\n  driver = passwd-file\n  args = scheme=crypt /var/qmail/users/poppasswd\n}\n\
         userdb {\n  driver = static\n  args = uid=popuser gid=popuser home=/var/qmail/mailnames/%d/%n\n}\n",
    );
    for (name, text) in [
        ("me", "new.lab.example\n"),
        ("plugins", "rcpt_ok\nqueue/qmail-queue\n"),
        ("databytes", "10000000\n"),
        ("spool_dir", "/var/spool/qpsmtpd\n"),
        ("plugin_dirs", "/usr/share/qpsmtpd/plugins\n"),
        ("loglevel", "3\n"),
    ] {
        host.file(&format!("etc/lab-qpsmtpd/{name}"), text);
    }
    sh(&format!("mkdir -p -m 700 {}", host.path("var/spool/qpsmtpd").display()));
}
