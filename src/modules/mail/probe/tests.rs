//! Servers with a script: refusals, odd answers, silence.

use super::*;
use crate::modules::files::bench::{Bench, results};
use std::sync::{Arc, Mutex};

/// A server for `example.com` that has `ann`, and what it was sent.
fn server(bench: &Bench, extensions: &'static str) -> Arc<Mutex<String>> {
    let sent = Arc::new(Mutex::new(String::new()));
    let (log, rest) = (sent.clone(), Mutex::new(String::new()));
    bench.host.serve(Address::new("127.0.0.1", 25), move |heard| {
        let text = String::from_utf8_lossy(heard).into_owned();
        log.lock().unwrap().push_str(&text);
        if text.is_empty() {
            return b"220-new.example\r\n220 ESMTP\r\n".to_vec();
        }
        let answer = |line: &str| match line.split(' ').next().unwrap() {
            "EHLO" => format!("250-new.example\r\n{extensions}250 HELP\r\n"),
            "RCPT" if line.contains("<slow@") => "450 4.2.0 greylisted\r\n".into(),
            "RCPT" if line.contains("<ann@example.com>") => "250 ok\r\n".into(),
            "RCPT" => "550 5.1.1 no such user\r\n".into(),
            _ => "250 ok\r\n".into(),
        };
        // What is sent at once may come in pieces.
        let mut rest = rest.lock().unwrap();
        rest.push_str(&text);
        let whole = rest.rfind('\n').map_or(0, |at| at + 1);
        let lines: String = rest.drain(..whole).collect();
        lines.lines().map(answer).collect::<String>().into_bytes()
    });
    sent
}

fn task() -> Value {
    json!({"accepted": ["ann@example.com"], "unknown": ["nobody@example.com"], "foreign": ["x@foreign.example"]})
}

#[tokio::test]
async fn each_address_is_asked_for_in_one_session_and_nothing_is_sent() {
    for (extensions, size) in [("250-PIPELINING\r\n250-SIZE 1000\r\n250-STARTTLS\r\n", json!(1000)), ("", Value::Null)]
    {
        let bench = Bench::new();
        let sent = server(&bench, extensions);
        let found = results(bench.plan("mail_probe", task()).await.unwrap());
        assert_eq!(found["problems"], json!([]), "{found:?}");
        assert_eq!((&found["size"], &found["starttls"]), (&size, &json!(size.is_number())));
        assert_eq!(found["banner"], "220 new.example ESMTP");
        assert_eq!(found["addresses"]["ann@example.com"], json!({"code": 250, "text": "ok", "accepted": true}));
        assert_eq!(found["addresses"]["nobody@example.com"]["code"], 550);
        let sent = sent.lock().unwrap().clone();
        assert!(sent.contains("MAIL FROM:<>\r\n") && sent.ends_with("RSET\r\nQUIT\r\n"), "{sent}");
        assert!(!sent.contains("DATA") && sent.matches("RCPT").count() == 3, "{sent}");
    }
}

#[tokio::test]
async fn what_is_otherwise_than_it_must_be_is_a_problem_with_the_servers_words() {
    let bench = Bench::new();
    server(&bench, "250-SIZE 1000\r\n");
    let given = json!({
        "accepted": ["bob@example.com", "slow@example.com"], "unknown": ["ann@example.com", "slow@b.example"],
        "foreign": ["ann@example.com"], "size": 2000,
    });
    let found = results(bench.plan("mail_probe", given).await.unwrap());
    let problems: Vec<&str> = found["problems"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    for (problem, words) in problems.iter().zip([
        "refuses `bob@example.com`: 550 5.1.1 no such user",
        "defers `slow@example.com`: 450 4.2.0 greylisted",
        "takes `ann@example.com`, which nobody has",
        "defers `slow@b.example`",
        "open relay",
        "at most 1000 bytes",
    ]) {
        assert!(problem.contains(words), "{problem} has not {words}");
    }
    assert_eq!(problems.len(), 6, "{problems:?}");
}

#[tokio::test]
async fn hundreds_of_addresses_are_asked_for_in_transactions_of_fifty() {
    let bench = Bench::new();
    let sent = server(&bench, "250-PIPELINING\r\n");
    let many: Vec<String> = (0..120).map(|number| format!("u{number}@example.com")).collect();
    let found = results(bench.plan("mail_probe", json!({"unknown": many})).await.unwrap());
    assert_eq!((&found["problems"], found["addresses"].as_object().unwrap().len()), (&json!([]), 120));
    assert_eq!(sent.lock().unwrap().matches("MAIL FROM").count(), 3);
}

#[tokio::test]
async fn a_server_that_is_away_busy_or_no_mail_server_is_a_problem() {
    for (greeting, words) in [
        (None, "no connection to 127.0.0.1 port 25"),
        (Some("554 go away\r\n"), "it greets with 554 go away"),
        (Some("SSH-2.0-OpenSSH\r\n"), "no reply of SMTP"),
        (Some("é€\r\n"), "no reply of SMTP"),
    ] {
        let bench = Bench::new();
        if let Some(greeting) = greeting {
            bench.host.serve(Address::new("127.0.0.1", 25), |_| greeting.into());
        }
        let found = results(bench.plan("mail_probe", task()).await.unwrap());
        assert!(found["problems"][0].as_str().unwrap().contains(words), "{found:?} has not {words}");
    }
}

#[tokio::test]
async fn a_session_that_is_ended_keeps_what_was_heard_and_no_silence_lasts() {
    let bench = Bench::new();
    bench.host.serve(Address::new("127.0.0.1", 25), |heard| match heard {
        b"" => b"220 hi\r\n".to_vec(),
        heard if heard.starts_with(b"RCPT TO:<ann") => b"250 ok\r\n".to_vec(),
        heard if heard.starts_with(b"RCPT") => b"421 too many\r\n".to_vec(),
        _ => b"250 ok\r\n".to_vec(),
    });
    let found = results(bench.plan("mail_probe", task()).await.unwrap());
    let problem = found["problems"][0].as_str().unwrap();
    assert!(problem.contains("ends the session at `nobody@example.com`: 421 too many"), "{problem}");
    assert_eq!(found["addresses"].as_object().unwrap().len(), 1);
    let silent = Bench::new();
    silent.host.serve(Address::new("127.0.0.1", 25), |_| Vec::new());
    let found = results(silent.plan("mail_probe", json!({"timeout": 0})).await.unwrap());
    assert!(found["problems"][0].as_str().unwrap().contains("no answer within 0 s"), "{found:?}");
}

#[tokio::test]
async fn a_check_does_not_judge_what_is_planned() {
    let bench = Bench::new();
    server(&bench, "");
    let pending = Arc::default();
    bench.host.file("/etc/one", "1\n", 0o644);
    let edit = json!({"path": "/etc/one", "state": "absent"});
    bench.plan_after(&pending, "file", edit).await.unwrap();
    bench.plan_after(&pending, "mail_probe", task()).await.unwrap();
    let missing = json!({"accepted": ["bob@example.com"]});
    let error = bench.plan_after(&pending, "mail_probe", missing).await.err().unwrap();
    assert!(matches!(error, ModuleError::Unknown(_)), "{error}");
}

#[tokio::test]
async fn a_login_counts_messages_and_a_refused_one_has_the_servers_words() {
    let bench = Bench::new();
    bench.host.serve(Address::new("127.0.0.1", 110), |heard| match heard {
        b"" => b"+OK hi\r\n".to_vec(),
        b"PASS wrong\r\n" => b"-ERR [AUTH] no\r\n".to_vec(),
        b"STAT\r\n" => b"+OK 2 300\r\n".to_vec(),
        b"UIDL\r\n" => b"+OK\r\n1 a\r\n2 b\r\n.\r\n".to_vec(),
        _ => b"+OK\r\n".to_vec(),
    });
    bench.host.serve(Address::new("127.0.0.1", 143), |heard| match heard {
        b"" => b"* OK hi\r\n".to_vec(),
        b"a LOGIN \"ann\" \"p\\\"w\"\r\n" => b"a OK\r\n".to_vec(),
        b"a STATUS INBOX (MESSAGES UIDVALIDITY)\r\n" => {
            b"* STATUS INBOX (MESSAGES 7 UIDVALIDITY 99)\r\na OK\r\n".to_vec()
        }
        _ => b"a NO\r\n".to_vec(),
    });
    let login = |protocol: &str, password: &str| json!({"protocol": protocol, "user": "ann", "password": password});
    let found = results(bench.plan("mail_probe", login("pop3", "right")).await.unwrap());
    assert_eq!((&found["messages"], &found["bytes"], &found["uidls"]), (&json!(2), &json!(300), &json!(2)));
    let found = results(bench.plan("mail_probe", login("pop3", "wrong")).await.unwrap());
    assert!(found["problems"][0].as_str().unwrap().contains("answers the login with \"-ERR [AUTH] no\""));
    let found = results(bench.plan("mail_probe", login("imap", "p\"w")).await.unwrap());
    assert_eq!((&found["messages"], &found["uidvalidity"]), (&json!(7), &json!(99)));
    for (given, words) in [
        (json!({"accepted": ["a b@example.com"]}), "is no address"),
        (json!({"accepted": ["a@example.com>\r\nDATA"]}), "is no address"),
        (json!({"accepted": ["ann"]}), "has no domain"),
        (json!({"protocol": "pop3", "user": "a\r\nDELE 1", "password": "b"}), "a line end"),
        (json!({"protocol": "pop3", "user": "ann"}), "together"),
    ] {
        let error = bench.fails("mail_probe", given).await;
        assert!(error.contains(words), "{error}");
    }
}
