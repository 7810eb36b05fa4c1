//! Queue and logs as qmail's own programs write them, read by the host's own `sh` and `awk`.

use super::*;
use crate::modules::files::bench::results;
use crate::modules::system::bench::Here;

/// `qmail-qread`'s own form, with what looks like it.
const QREAD: &str = "\
26 Nov 2026 09:00:01 GMT  #1311  1204  <ann@example.com> \n\
\tremote\tbob@Example.COM\n\
  done\tremote\tzoe@example.com\n\
\tlocal\t7-bob@example.com\n\
26 Nov 2026 09:00:02 GMT  #1312  99  <#@[]>  bouncing\n\
\tlocal\t8-kim@other.example\n\
\tremote\tann@notexample.com\n";

/// multilog's, with `t`: a delivery that is not over, numbers that begin again, a deferral and a bounce.
const MULTILOG: &str = "\
@400000006b08ee8a00000000 status: local 0/10 remote 0/20\n\
@400000006b08ee8a1b2c3d4c new msg 1311\n\
@400000006b08ee8a1b2c3d4c info msg 1311: bytes 204 from <ann@example.com> qp 99 uid 1\n\
@400000006b08ee8a1b2c3d4c starting delivery 1: msg 1311 to local 7-bob@example.com\n\
@400000006b08ee8a1b2c3d4c status: local 1/10 remote 0/20\n\
@400000006b08ee8a1b2c3d4c starting delivery 2: msg 1311 to remote zoe@Example.com\n\
@400000006b08ee8b1b2c3d4c delivery 1: success: did_1+0+0/\n\
@400000006b08ee8c1b2c3d4c delivery 2: success: 10.77.0.20_accepted_message./Remote_host_said:_250_ok/\n\
@400000006b08ee8d1b2c3d4c starting delivery 3: msg 1312 to remote zoe@example.com\n\
@400000006b08ee8d1b2c3d4c delivery 3: deferral: Connected_to_10.77.0.20_but_connection_died._(#4.4.2)/\n\
@400000006b08ee8d1b2c3d4c starting delivery 4: msg 1312 to remote zoe@example.com\n\
@400000006b08ee8d1b2c3d4c starting delivery 4: msg 1313 to remote else@where.example\n\
@400000006b08ee8d1b2c3d4c delivery 4: success: 192.0.2.9_accepted_message./\n\
@400000006b08ee8d1b2c3d4c starting delivery 5: msg 1314 to local 8-a@notexample.com\n\
@400000006b08ee8d1b2c3d4c delivery 5: success: did_1+0+0/\n\
@400000006b08ee8d1b2c3d4c starting delivery 6: msg 1315 to local bob@example.com\n\
@400000006b08ee8d1b2c3d4c end msg 1311\n";

/// The second of the stamp `6b08ee8b`: TAI64N is ten seconds ahead.
const BOB: i64 = 0x6b08_ee8b - 10;

fn set_age(path: &str, seconds: u64) {
    let time = std::time::SystemTime::now() - Duration::from_secs(seconds);
    std::fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

async fn here() -> Here {
    let here = Here::new().await;
    for (name, text) in [
        ("me", "old.example\n"),
        ("locals", "old.example\n"),
        ("virtualdomains", "example.com:7\n"),
        ("smtproutes", "example.com:10.77.0.20\n"),
        ("rcpthosts", "example.com\nother.example\n"),
    ] {
        here.write(&format!("control/{name}"), text, 0o644);
    }
    here.write("qread", QREAD, 0o644);
    here.write("bin/qmail-qread", &format!("#!/bin/sh\ncat '{}'\n", here.path("qread")), 0o755);
    let says = "#!/bin/sh\necho 'messages in queue: 5'\necho 'messages in queue but not yet preprocessed: 2'\n";
    here.write("bin/qmail-qstat", says, 0o755);
    here
}

fn task(here: &Here, logs: &[&str]) -> Value {
    json!({
        "domains": ["Example.com", "other.example"], "directory": here.path(""), "new_address": "10.77.0.20",
        "logs": logs.iter().map(|name| here.path(name)).collect::<Vec<_>>(), "days": 100_000,
        "qmail_send": "echo $$",
    })
}

async fn activity(here: &Here, logs: &[&str]) -> (Results, Vec<String>) {
    let planned = here.plan("qmail_activity", task(here, logs)).await.unwrap();
    let warnings = planned.warnings.clone();
    assert!(planned.changes.is_empty());
    (results(planned), warnings)
}

/// All that was handed on, of whatever day.
fn relayed(domain: &Value) -> u64 {
    domain["relayed"].as_object().unwrap().values().filter_map(Value::as_u64).sum()
}

#[tokio::test]
async fn queue_deliveries_and_drift_of_each_domain_are_told() {
    let here = here().await;
    set_age(&here.write("queue/lock/sendmutex", "", 0o644), 5000);
    here.write("log/current", MULTILOG, 0o644);
    here.write("taken-back", "example.com was taken back\n", 0o644);
    here.write("moved-domains", "example.com.au has moved\n", 0o644);
    let (found, warnings) = activity(&here, &["log/current", "log/@*.s"]).await;
    let day = day(BOB / 86_400);
    let mut domain = found["domains"]["example.com"].clone();
    assert_eq!(domain["relayed"].take()[day], 1);
    assert_eq!(
        domain,
        json!({
            "queued": 2, "queued_local": 1, "queued_remote": 1, "last_local": BOB, "relayed": null,
            "own": true, "route": "10.77.0.20", "routed": true, "accepted": true, "taken_back": true, "retired": false,
            "drift": ["`virtualdomains` line 1 has `example.com:7`: its mail stays here",
                super::super::drift::UNREAD],
        })
    );
    let other = &found["domains"]["other.example"];
    assert_eq!(
        (&other["queued_local"], &other["last_local"], &json!(relayed(other))),
        (&json!(1), &Value::Null, &json!(0))
    );
    assert!(other["drift"][0].as_str().unwrap().contains("no route"), "{other}");
    assert_eq!((&found["not_preprocessed"], &found["log_since"]), (&json!(2), &json!(0x6b08_ee8a - 10)));
    assert_eq!(warnings, Vec::<String>::new());
}

#[tokio::test]
async fn a_delivery_whose_end_is_in_the_next_file_counts_and_syslog_has_the_stamp_behind_qmail() {
    let here = here().await;
    let oldest = "Nov 25 23:59:58 old qmail: 1795651198.123456 starting delivery 7: msg 9 to remote a@example.com\n\
                  Nov 25 23:59:59 old qmail: 1795651199.123456 delivery 7: success: 10.77.0.20_accepted_message./\n\
                  Nov 25 23:59:59 old qmail: 1795651199.223456 starting delivery 8: msg 9 to remote b@example.com\n";
    let packed = here.write("log/maillog.processed.1", oldest, 0o644);
    let gzip = Command::argv(["gzip", &packed]);
    assert!(here.transport.run(&gzip).await.unwrap().success());
    set_age(&here.path("log/maillog.processed.1.gz"), 900);
    let middle = "Nov 26 00:00:01 old qmail[44]: 1795651201.123456 delivery 8: success: 10.77.0.20_accepted_message./\n\
                  Nov 26 00:00:02 old smtpd: delivery 9 of something else\n\
                  Nov 26 00:00:02 old qmail: starting delivery 9: msg 9 to remote b@example.com\n\
                  Nov 26 00:00:02 old qmail: delivery 9: success: 10.77.0.20_accepted_message./\n";
    set_age(&here.write("log/maillog.processed", middle, 0o644), 600);
    let last = "Nov 26 00:00:05 old qmail: 1795651205.000001 starting delivery 1: msg 9 to local 7-b@example.com\n\
                Nov 26 00:00:06 old qmail: 1795651206.999999 delivery 1: success: did_0+0+1/\n";
    here.write("log/maillog", last, 0o644);
    let (found, warnings) = activity(&here, &["log/maillog", "log/maillog.*"]).await;
    let domain = &found["domains"]["example.com"];
    assert_eq!((&domain["relayed"]["2026-11-25"], &domain["relayed"]["2026-11-26"]), (&json!(1), &json!(1)));
    assert_eq!(relayed(domain), 2);
    assert_eq!(domain["last_local"], 1_795_651_206);
    assert!(warnings.len() == 1 && warnings[0].contains("1 deliveries have no time"), "{warnings:?}");
}

#[tokio::test]
async fn what_multilog_itself_writes_is_read_and_days_bound_it() {
    let here = here().await;
    let now = jiff::Timestamp::now().as_second();
    here.write(
        "lines",
        "starting delivery 1: msg 1 to local 7-bob@example.com\ndelivery 1: success: did_1+0+0/\n",
        0o644,
    );
    let multilog = format!("multilog t '{}' <'{}'", here.path("log"), here.path("lines"));
    assert!(here.transport.run(&Command::shell(multilog)).await.unwrap().success());
    let old = std::fs::read_to_string(here.path("log/current")).unwrap();
    std::fs::write(here.path("log/current"), format!("{MULTILOG}{old}").replace("6b08ee", "4a08ee")).unwrap();
    let mut given = task(&here, &["log/current"]);
    given["days"] = 2.into();
    let found = results(here.plan("qmail_activity", given).await.unwrap());
    let domain = &found["domains"]["example.com"];
    assert!((now..now + 60).contains(&domain["last_local"].as_i64().unwrap()), "{domain}");
    assert_eq!(relayed(domain), 0, "older than two days: {domain}");
    // A day without mail is told, or nobody would see it fall to none.
    assert_eq!(domain["relayed"].as_object().unwrap().len(), 3, "{domain}");
}

#[tokio::test]
async fn silence_of_a_host_is_not_taken_for_no_mail() {
    let here = here().await;
    let fails = async |given: Value| here.plan("qmail_activity", given).await.err().unwrap().to_string();
    let error = fails(task(&here, &["log/none"])).await;
    assert!(error.contains("no log of qmail-send"), "{error}");
    here.write("log/current", "", 0o644);
    let (found, _) = activity(&here, &["log/current"]).await;
    assert_eq!((&found["domains"]["example.com"]["last_local"], &found["log_since"]), (&Value::Null, &Value::Null));
    let plain = "starting delivery 1: msg 1 to local 7-bob@example.com\ndelivery 1: success: did_1+0+0/\n";
    here.write("log/plain", plain, 0o644);
    let error = fails(task(&here, &["log/plain"])).await;
    assert!(error.contains("have no time"), "{error}");
    here.write("bin/qmail-qread", "#!/bin/sh\necho 'qmail-qread: fatal: unable to chdir' >&2\nexit 111\n", 0o755);
    let error = fails(task(&here, &["log/current"])).await;
    assert!(error.contains("`qmail-qread` failed: qmail-qread: fatal"), "{error}");
    std::fs::remove_file(here.path("control/me")).unwrap();
    assert!(fails(task(&here, &["log/current"])).await.contains("has no qmail"));
    let error = fails(json!({"domains": ["a;b"]})).await;
    assert!(error.contains("`a;b` is no domain"), "{error}");
}
