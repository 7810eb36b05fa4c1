//! Logs as the servers of such hosts write them, read by the host's own `sh`, `grep` and `awk`.

use super::*;
use crate::modules::files::bench::results;
use crate::modules::system::bench::Here;

/// `Nov 26 09:00:01`, some hours ago, as syslog writes it in this machine's zone.
fn syslog(hours: i64) -> (i64, String) {
    let at = jiff::Timestamp::now().as_second() - hours * 3600;
    let zoned = jiff::Timestamp::from_second(at).unwrap().to_zoned(jiff::tz::TimeZone::system());
    (at, zoned.strftime("%b %e %H:%M:%S").to_string())
}

async fn logins(here: &Here, more: Value) -> (Results, Vec<String>) {
    let mut given = json!({"domains": ["Example.com"], "logs": [here.path("log/*")]});
    given.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let planned = here.plan("mail_logins", given).await.unwrap();
    let warnings = planned.warnings.clone();
    assert!(planned.changes.is_empty());
    (results(planned), warnings)
}

/// `USER SERVICE TLS ADDRESS NAME SESSIONS FROM`, sorted.
fn ways(found: &Results) -> Vec<String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_string);
    let fields = ["user", "service", "tls", "address", "name", "sessions", "from"];
    let ways = found["logins"].as_array().unwrap().iter();
    let mut ways: Vec<String> = ways.map(|one| fields.map(|field| text(&one[field])).join(" ")).collect();
    ways.sort();
    ways
}

#[tokio::test]
async fn courier_dovecot_plesk_and_vpopmail_say_who_came() {
    let here = Here::new().await;
    let (last, stamp) = syslog(2);
    let (_, earlier) = syslog(50);
    let lines = [
        "pop3d: LOGIN, user=ann@example.com, ip=[::ffff:198.51.100.7], port=[51234]",
        "pop3d: LOGIN, user=Ann@Example.COM, ip=[::ffff:198.51.100.8], port=[51235]",
        "pop3d: LOGOUT, user=ann@example.com, ip=[::ffff:198.51.100.9], port=[51234], top=0, retr=0",
        "pop3d: LOGIN FAILED, user=ann@example.com, ip=[::ffff:203.0.113.9]",
        "courier-imapd-ssl[71]: LOGIN, user=bob@example.com, ip=[2001:db8::7], port=[51236], protocol=IMAP",
        "imapd: LOGIN, user=kim@other.example, ip=[::ffff:198.51.100.7], protocol=IMAP",
        "imapd: LOGIN, user=root, ip=[::ffff:198.51.100.7], protocol=IMAP",
        "dovecot: pop3-login: Login: user=<zoe@example.com>, method=PLAIN, rip=198.51.100.9, lip=10.77.0.10, mpid=7, TLS, session=<x>",
        "dovecot[9]: imap-login: Info: Logged in: user=<zoe@example.com>, method=PLAIN, rip=198.51.100.9, lip=10.77.0.11, local_name=imap.example.com, mpid=7",
        "dovecot: imap-login: Disconnected (auth failed, 1 attempts): user=<zoe@example.com>, method=PLAIN, rip=203.0.113.9, lip=10.77.0.10",
        "smtp_auth: SMTP user ann : /var/qmail/mailnames/example.com/ann logged in from unknown@host.isp.example [198.51.100.7]",
        "smtp_auth[99]: SMTP user bob@example.com : /var/qmail/mailnames/example.com/bob logged in from (null)@[198.51.100.8] [198.51.100.8]",
        "relaylock: /var/qmail/bin/relaylock: mail from 203.0.113.9:1234 (mx.example.net)",
        "vpopmail[12]: vchkpw-pop3: (PLAIN) login success ann@example.com:198.51.100.7",
        "vpopmail[12]: vchkpw-587: login success ann@example.com:198.51.100.7",
        "vpopmail[12]: vchkpw-pop3: password fail ann@example.com:203.0.113.9",
    ];
    let text: String = lines.iter().map(|line| format!("{stamp} old {line}\n")).collect();
    let once = format!("{earlier} old pop3d: LOGIN, user=ann@example.com, ip=[::ffff:198.51.100.6], port=[5]\n");
    here.write("log/maillog", &format!("{once}{text}"), 0o644);
    let (found, warnings) = logins(&here, json!({})).await;
    assert_eq!(
        ways(&found),
        [
            "ann@example.com pop3 false   4 198.51.100.7",
            "ann@example.com smtp false   1 198.51.100.7",
            "ann@example.com submission false   1 198.51.100.7",
            "bob@example.com imap true   1 2001:db8::7",
            "bob@example.com smtp false   1 198.51.100.8",
            "root imap false   1 198.51.100.7",
            "zoe@example.com imap false 10.77.0.11 imap.example.com 1 198.51.100.9",
            "zoe@example.com pop3 true 10.77.0.10  1 198.51.100.9",
        ]
    );
    assert_eq!(warnings, Vec::<String>::new());
    let users = &found["domains"]["example.com"]["logins"];
    assert_eq!(
        users.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["ann@example.com", "bob@example.com", "zoe@example.com"]
    );
    let seen = users["ann@example.com"].as_i64().unwrap();
    assert!((seen - last).abs() <= 1, "{seen} {last}");
    let lines: Vec<&str> = found["lines"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(lines[0].starts_with("4 users, 11 sessions since "), "{lines:#?}");
    let says = format!(
        "  imap to 10.77.0.11 (imap.example.com): 1 user, 1 session, the last {} from 198.51.100.9",
        time(last)
    );
    assert!(lines.contains(&says.as_str()), "{lines:#?}\n{says}");
}

#[tokio::test]
async fn a_session_of_tcpserver_is_told_by_the_address_and_name_it_came_to() {
    let here = Here::new().await;
    std::fs::create_dir(here.path("multilog")).unwrap();
    // What the two write themselves; the port is one that a test may take.
    let script = format!(
        "cd '{}' || exit\ntcpserver -v -1 -R -H -l pop.example.com 127.0.0.1 0 true >port 2>said & server=$!\n\
         until [ -s port ]; do sleep 0.1; done\nport=$(cat port)\ntcpclient -RHl0 127.0.0.1 \"$port\" true\n\
         until grep -q 'tcpserver: end' said; do sleep 0.1; done\nkill $server\n\
         sed \"s/127.0.0.1:$port /10.77.0.10:110 /\" said | multilog t ./multilog\n",
        here.path("")
    );
    let ran = here.transport.run(&Command::shell(script)).await.unwrap();
    assert!(ran.success(), "{}", ran.error_text());
    let own = here.read("multilog/current");
    assert!(own.contains(" tcpserver: ok ") && own.starts_with('@'), "{own}");
    let smtp = own.replace("10.77.0.10:110", "10.77.0.10:25");
    let ipv6 = own.replace(":10.77.0.10:110 ", ":2001:db8::1:993 ").replace(":127.0.0.1::", ":2001:db8::7::");
    here.write("log/current", &format!("{own}{smtp}{ipv6}"), 0o644);
    let (found, _) = logins(&here, json!({})).await;
    assert_eq!(
        ways(&found),
        [" imap true 2001:db8::1 pop.example.com 1 2001:db8::7", " pop3 false 10.77.0.10 pop.example.com 1 127.0.0.1"]
    );
    assert_eq!((&found["users"], &found["domains"]["example.com"]["logins"]), (&json!(0), &json!({})));
    let lines = found["lines"].to_string();
    assert!(lines.contains("pop3 to 10.77.0.10 (pop.example.com): nobody named, 1 session, the last "), "{lines}");
}

#[tokio::test]
async fn packed_logs_and_other_stamps_are_read_once_and_only_from_the_clients_asked_for() {
    let here = Here::new().await;
    let line = |stamp: &str, client: &str| {
        format!("{stamp} old dovecot: imap-login: Login: user=<ann@example.com>, rip={client}, lip=10.77.0.20, TLS\n")
    };
    let now = jiff::Timestamp::now().as_second();
    let zulu = jiff::Timestamp::from_second(now - 7200).unwrap();
    let text = line(&zulu.strftime("%Y-%m-%dT%H:%M:%S.123456Z").to_string(), "10.77.0.10")
        + &line(&zulu.strftime("%Y-%m-%dT%H:%M:%S+02:00").to_string(), "10.77.0.10")
        + &line(&zulu.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(), "198.51.100.7")
        + &line("2001-01-01T00:00:00Z", "10.77.0.10")
        + &line("yesterday", "10.77.0.10");
    let packed = here.write("log/mail.log.1", &text, 0o644);
    assert!(here.transport.run(&Command::argv(["gzip", &packed])).await.unwrap().success());
    std::os::unix::fs::symlink(format!("{packed}.gz"), here.path("log/again.gz")).unwrap();
    let (found, warnings) = logins(&here, json!({"clients": ["10.77.0.10"]})).await;
    assert_eq!(ways(&found), ["ann@example.com imap true 10.77.0.20  2 10.77.0.10"]);
    let one = &found["logins"][0];
    assert_eq!((&one["last"], &one["first"]), (&json!(now - 7200), &json!(now - 14_400)));
    assert_eq!(found["domains"]["example.com"]["logins"], json!({"ann@example.com": now - 7200}));
    assert!(warnings.len() == 1 && warnings[0].starts_with("1 sessions have no time"), "{warnings:?}");
}

#[tokio::test]
async fn more_than_is_to_be_read_is_left_out_from_its_old_end_and_said_so() {
    let here = Here::new().await;
    let (_, stamp) = syslog(1);
    let line =
        |user: &str| format!("{stamp} old pop3d: LOGIN, user={user}@example.com, ip=[::ffff:198.51.100.7], port=[5]\n");
    let filler = "x".repeat(99) + "\n";
    let long = here.write("log/maillog", &(line("early") + &filler.repeat(12_000) + &line("late")), 0o644);
    let older = here.write("log/maillog.1", &line("older"), 0o644);
    let time = std::time::SystemTime::now() - Duration::from_secs(9000);
    std::fs::File::options().write(true).open(&older).unwrap().set_modified(time).unwrap();
    let (found, warnings) = logins(&here, json!({"megabytes": 1, "shown": 0})).await;
    assert_eq!(ways(&found), ["late@example.com pop3 false   1 198.51.100.7"]);
    assert_eq!(
        warnings,
        [
            format!("of `{long}` the last 1000000 bytes were read: the rest is beyond `megabytes`"),
            format!("`{older}` is beyond `megabytes`, and was not read"),
        ]
    );
    let (found, warnings) = logins(&here, json!({"megabytes": 2, "shown": 2})).await;
    assert_eq!((&found["users"], warnings.len()), (&json!(3), 0));
    let lines = found["lines"].to_string();
    assert!(lines.contains("and 1 user more: `shown` says"), "{lines}");
}

#[tokio::test]
async fn silence_is_not_taken_for_nobody() {
    let here = Here::new().await;
    let (found, warnings) = logins(&here, json!({})).await;
    assert_eq!(found["domains"]["example.com"], json!({}));
    assert!(warnings[0].contains("has no log that tells who comes"), "{warnings:?}");
    here.write("log/maillog", "", 0o644);
    let (found, warnings) = logins(&here, json!({})).await;
    assert_eq!((&found["domains"]["example.com"]["logins"], warnings.len()), (&json!({}), 0));
    let wrong = here.plan("mail_logins", json!({"domains": ["a b"]})).await.err().unwrap().to_string();
    assert!(wrong.contains("`a b` is no domain"), "{wrong}");
    let wrong = here.plan("mail_logins", json!({"domains": [], "clients": ["old"]})).await.err().unwrap().to_string();
    assert!(wrong.contains("`old` among `clients` is no address"), "{wrong}");
}
