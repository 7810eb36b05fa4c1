//! The window: domains go on when their gates open, one that fails holds nobody up, and two nights do not meet.

use std::fs;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::crontab;
use crate::program::{Printed, Program};
use crate::sshd::wait_for;

/// All stages there are.
const STAGES: [&str; 15] = [
    "state",
    "name",
    "ttl",
    "preflight",
    "accounts",
    "door",
    "forwarding",
    "proof",
    "switch",
    "proxies",
    "stored-mail",
    "verification",
    "watch",
    "retirement",
    "domains",
];

/// Two pairs on this machine, and stages that note what they were run for.
struct Fleet(Program);

impl Fleet {
    fn new() -> Fleet {
        let program = Program::new();
        let log = program.path("log").display().to_string();
        program.file(
            "fleet.yml",
            "all:\n  vars: {ansible_connection: local}\n  children:\n    old:\n      hosts:\n        old1: {new_host: new1, domains: \
             [a.example, b.example, c.example]}\n        old2: {new_host: new2}\n    new: {hosts: {new1: , new2: }}\n",
        );
        for stage in STAGES {
            let told = match stage {
                "state" => "    - set_stats: {data: {standing: \"{{ lookup('file', 'state.json') | from_json }}\"}}\n",
                "ttl" => "    - set_stats: {data: {window: \"{{ lookup('file', 'ttl.json') | from_json }}\"}}\n",
                "watch" => "    - set_stats: {data: {window: \"{{ lookup('file', 'watch.json') | from_json }}\"}}\n",
                "domains" => "    - set_stats: {data: {domains_of: \"{{ {inventory_hostname: ['d.example']} }}\"}}\n",
                "forwarding" => "    - fail: {msg: \"no route for bad\"}\n      when: bad | default('-') in domains\n",
                _ => "",
            };
            let line = format!("{stage} {{{{ inventory_hostname }}}} {{{{ domains | default([]) | join(',') }}}}");
            let text = format!(
                "- hosts: old\n  gather_facts: no\n  tasks:\n{told}    - shell: echo \"{line}\" >>{log}; while test -e {log}.slow; do sleep 0.1; done\n"
            );
            program.file(&format!("playbooks/stages/{stage}.yml"), &text);
        }
        let fleet = Fleet(program);
        fleet.tell("ttl", json!({}));
        fleet.tell("watch", json!({}));
        let forwarded = json!({"route": "192.0.2.20", "routed": true, "accepted": true});
        let one = json!({"domains": {"a.example": forwarded, "b.example": forwarded, "c.example": forwarded},
            "at_new": ["a.example", "b.example", "c.example"]});
        let two = json!({"domains": {"d.example": forwarded}, "at_new": ["d.example"]});
        fleet.tell("state", json!({"old1": one, "old2": two}));
        fleet
    }

    /// Sets what a stage tells the window.
    fn tell(&self, stage: &str, told: Value) {
        self.0.file(&format!("playbooks/stages/{stage}.json"), &told.to_string());
    }

    fn window(&self, words: &str) -> Printed {
        self.0.run(&format!("window -i fleet.yml {words}"))
    }

    /// What ran since the last time, a line a stage: `STAGE HOST DOMAINS`.
    fn ran(&self) -> Vec<String> {
        let path = self.0.path("log");
        let lines = fs::read_to_string(&path).unwrap_or_default().lines().map(str::to_string).collect();
        let _ = fs::remove_file(path);
        lines
    }

    fn states(&self) -> Vec<String> {
        let window: Value = serde_json::from_str(&self.0.read("state/window.json")).unwrap();
        let domains = window["domains"].as_array().unwrap().clone();
        domains.iter().map(|domain| format!("{} {}", domain["name"], domain["state"]).replace('"', "")).collect()
    }

    /// Lets it be `days` later for the window.
    fn later(&self, days: i64) {
        let mut window: Value = serde_json::from_str(&self.0.read("state/window.json")).unwrap();
        for domain in window["domains"].as_array_mut().unwrap() {
            let back = |time: &mut Value| *time = time.as_i64().map_or(Value::Null, |at| json!(at - days * 86_400));
            domain["since"].as_object_mut().unwrap().values_mut().for_each(back);
            ["ttl_lowered", "last_local", "looked"].iter().for_each(|name| back(&mut domain["known"][name]));
        }
        self.0.file("state/window.json", &window.to_string());
    }
}

#[test]
fn a_fleet_goes_from_planned_to_retired_as_its_gates_open() {
    let fleet = Fleet::new();
    let looked = fleet.window("--exit-code").expect(3);
    assert!(looked.stdout.contains("due: old1 -> new1: 3 domains to prepared: a.example, b.example, c.example\n"));
    assert_eq!((fleet.ran(), fleet.0.path("state/window.json").exists()), (vec!["domains old2 ".into()], false));
    // The switch waits for the TTL, and d.example's is not known.
    let lowered = json!({"ttl_before": 86_400});
    fleet.tell("ttl", json!({"old1": {"a.example": lowered, "b.example": lowered, "c.example": lowered}}));
    fleet.window("--due").expect(0);
    let expected = "domains old2 |state old1 a.example,b.example,c.example|state old2 d.example|name old1 a.example,b.example,c.example|ttl old1 a.example,b.example,c.example";
    assert!(fleet.ran().join("|").starts_with(expected));
    assert_eq!(
        fleet.states(),
        ["a.example", "b.example", "c.example", "d.example"].map(|name| format!("{name} forwarding"))
    );
    let status = fleet.0.run("status").expect(0).stdout;
    assert!(status.contains("switched not before ") && status.contains("nothing is known of its TTL"), "{status}");
    // Until then each night does its upkeep, and nothing else.
    fleet.window("--due --domains a.example").expect(0);
    assert_eq!(
        fleet.ran(),
        ["domains old2 ", "state old1 a.example", "watch old1 a.example", "forwarding old1 a.example"]
    );
    fleet.later(1);
    fleet.window("--due").expect(0);
    assert_eq!(fleet.states()[2..], ["c.example draining", "d.example forwarding"]);
    fleet.0.run("window set d.example switched").expect(0);
    fleet.window("--due --to moved").expect(0);
    assert_eq!(fleet.states()[3], "d.example moved");
    // Nobody is retired without being told to, nor while the old host still works.
    let today = jiff::Timestamp::now().as_second();
    let day = |back: i64| jiff::Timestamp::from_second(today - back * 86_400).unwrap().strftime("%Y-%m-%d").to_string();
    let week: serde_json::Map<String, Value> = (0..10).map(|back| (day(back), json!(0))).collect();
    let quiet = json!({"queued": 0, "relayed": week, "drift": []});
    fleet.tell("watch", json!({"old1": {"a.example": quiet, "b.example": {"queued": 1}, "c.example": quiet}}));
    fleet.later(20);
    fleet.ran();
    fleet.window("--due").expect(0);
    assert!(!fleet.ran().iter().any(|line| line.starts_with("retirement")));
    assert!(fleet.0.run("status").expect(0).stdout.contains("2 may be retired"));
    fleet.window("--due --to retired").expect(0);
    assert!(fleet.ran().contains(&"retirement old1 a.example,c.example".to_string()));
    assert_eq!(fleet.states()[..3], ["a.example retired", "b.example draining", "c.example retired"]);
}

#[test]
fn a_domain_that_fails_holds_up_nobody_and_is_named() {
    let fleet = Fleet::new();
    let night = fleet.window("--due -e bad=b.example").expect(2);
    assert_eq!(fleet.states()[..3], ["a.example forwarding", "b.example prepared", "c.example forwarding"]);
    assert!(night.stdout.contains("old1: no route for bad"), "{}", night.stdout);
    let status = fleet.0.run("status").expect(0).stdout;
    assert!(status.contains("  failed: old1: no route for bad\n") && status.contains("1 failed"), "{status}");
    // Mended, it goes on; its error goes with it.
    fleet.window("--due").expect(0);
    assert_eq!(fleet.states()[1], "b.example forwarding");
    assert!(!fleet.0.run("status").expect(0).stdout.contains("failed"));
}

#[test]
fn a_night_has_a_budget_and_an_end() {
    let fleet = Fleet::new();
    let night = fleet.window("--due --budget 2 --to prepared").expect(0).stdout;
    assert!(night.contains("the budget is used up"), "{night}");
    assert_eq!(fleet.states()[..3], ["a.example prepared", "b.example prepared", "c.example planned"]);
    let now = jiff::Zoned::now().strftime("%H:%M").to_string();
    // Who is late begins nothing: that was not meant for tomorrow.
    let late = fleet.window(&format!("--due --to prepared --until {now}")).expect(0).stdout;
    assert!(late.contains("the night is over"), "{late}");
    assert_eq!(fleet.states()[3], "d.example planned");
    assert!(fleet.window("--due --until 25:00").expect(1).stderr.contains("is no time of day"));
}

#[test]
fn what_is_held_is_left_alone_and_what_was_moved_by_hand_is_set() {
    let fleet = Fleet::new();
    let refused = fleet.0.run("window set d.example draining").expect(1).stderr;
    assert!(refused.contains("come from the inventory: `-i`"), "{refused}");
    fleet.0.run("window set d.example draining -i fleet.yml").expect(0);
    fleet.window("--due --to prepared").expect(0);
    fleet.0.run("window hold a.example,b.example").expect(0);
    fleet.ran();
    fleet.window("--due --to forwarding").expect(0);
    let expected = ["a.example prepared", "b.example prepared", "c.example forwarding", "d.example draining"];
    assert_eq!(fleet.states(), expected);
    assert!(fleet.0.run("status").expect(0).stdout.contains("  held\n"));
    fleet.0.run("window hold a.example --release").expect(0);
    fleet.window("--due --to forwarding").expect(0);
    assert_eq!(fleet.states()[..2], ["a.example forwarding", "b.example prepared"]);
}

#[test]
fn a_host_that_does_not_answer_holds_up_no_other_pair() {
    let fleet = Fleet::new();
    let text = fleet
        .0
        .read("fleet.yml")
        .replace("old2: {", "old2: {ansible_connection: ssh, ansible_host: 127.0.0.1, ansible_port: 1, ");
    fleet.0.file("fleet.yml", &text);
    fleet.window("--due --to prepared").expect(4);
    assert_eq!(fleet.states()[..3], ["a.example prepared", "b.example prepared", "c.example prepared"]);
    assert!(!fleet.states().contains(&"d.example prepared".to_string()));
}

#[test]
fn drift_is_told_and_put_right_in_the_same_night() {
    let fleet = Fleet::new();
    fleet.window("--due --to forwarding").expect(0);
    fleet.tell("watch", json!({"old1": {"a.example": {"queued": 0, "drift": ["`virtualdomains` has `a.example:7`"]}}}));
    fleet.ran();
    let night = fleet.window("--due --to forwarding").expect(0).stdout;
    assert!(night.contains("drift: a.example: `virtualdomains` has `a.example:7`"), "{night}");
    assert!(fleet.ran().contains(&"forwarding old1 a.example,b.example,c.example".to_string()));
    let page = fleet.0.path("fleet.html");
    fleet.0.run(&format!("status --html {}", page.display())).expect(0);
    let page = fs::read_to_string(page).unwrap();
    assert!(page.contains("drift: `virtualdomains` has `a.example:7`") && page.contains("<td>c.example<td>"));
}

#[test]
fn two_nights_do_not_meet_and_a_killed_one_is_gone_on_with() {
    let fleet = Fleet::new();
    fleet.0.file("log.slow", "");
    let mut command = fleet.0.command();
    command.args(["window", "-i", "fleet.yml", "--due"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut first = command.spawn().unwrap();
    assert!(wait_for(|| fleet.0.path("log").exists()));
    let refused = fleet.window("--due").expect(1).stderr;
    assert!(refused.contains(&format!("process {} since", first.id())), "{refused}");
    first.kill().unwrap();
    first.wait().unwrap();
    fs::remove_file(fleet.0.path("log.slow")).unwrap();
    assert!(wait_for(|| fleet.0.locks().is_empty()));
    fleet.window("--due").expect(0);
    assert_eq!(fleet.states()[0], "a.example forwarding");
}

#[test]
fn what_is_wrong_with_pairs_is_said_before_any_host_is_touched() {
    let fleet = Fleet::new();
    for (was, is, why) in [
        ("new_host: new1", "new_host: nwe1", "`new_host` of `old1` is `nwe1`, which the inventory does not have"),
        ("new_host: new1, ", "", "`old1` has no `new_host`, and the group `new` has 2 hosts"),
        ("[a.example, b.example, c.example]", "''", "`domains` of `old1` is empty"),
        ("    old:", "    olds:", "the inventory has no host in the group `old`"),
    ] {
        let text = fleet.0.read("fleet.yml");
        assert!(text.contains(was), "{was}");
        fleet.0.file("wrong.yml", &text.replacen(was, is, 1));
        let refused = fleet.0.run("window -i wrong.yml --due").expect(1).stderr;
        assert!(refused.contains(why), "{refused}");
        assert!(fleet.ran().is_empty());
    }
    fleet.window("--due --to prepared").expect(0);
    assert!(fleet.window("--due --domains a.exampel").expect(1).stderr.contains("did you mean `a.example`?"));
    assert!(fleet.0.run("window set a.example gone").expect(1).stderr.contains("the states are planned, prepared"));
}

#[test]
fn an_installed_window_is_shown_and_its_command_means_the_same_from_anywhere() {
    let fleet = Fleet::new();
    fleet.0.file("100% $own.yml", "note: mine\n");
    let install = |flags: &str| {
        let words = ["window", "install", "-i", "fleet.yml", "--at", "02:15", "-e", "@100% $own.yml"];
        let more: Vec<&str> = flags.split(' ').collect();
        [&words[..], &more].concat().into_iter().map(str::to_string).collect::<Vec<String>>()
    };
    let words = install("--timer --budget 20 -C");
    let shown = fleet.0.run_words(&words.iter().map(String::as_str).collect::<Vec<_>>()).stdout;
    for line in [
        "+OnCalendar=*-*-* 02:15:00",
        "+Environment=CUTOVER_STATE_DIR=DIR/state",
        "/cutover window --due -i DIR/fleet.yml -e \"@DIR/100%% $$own.yml\" --playbooks DIR/playbooks --window DIR/state/window.json \
         --until 05:30 --budget 20",
    ] {
        assert!(shown.contains(line), "{line}\n{shown}");
    }
    let refused = fleet.0.run("window install -i fleet.yml --cron -C -e key=geheim").expect(1).stderr;
    assert!(refused.contains("`-e key=...` would stand where everybody can read it") && !refused.contains("geheim"));
    if !std::path::Path::new("/run/systemd/system").exists() {
        let refused = fleet.0.run("window install -i fleet.yml --timer").expect(1);
        assert!(refused.stderr.contains("systemd does not run here") && refused.stderr.contains("`--cron` instead"));
        assert_eq!(refused.stdout, "", "nothing is shown that would not be done");
    }
    crontab::made_for(&fleet.0);
    let install = "window install -i fleet.yml --cron --at 02:15";
    crontab::cutover(&fleet.0, install);
    let line = fleet.0.read(&crontab::tab());
    assert!(line.starts_with("#Ansible: cutover window\n15 2 * * * cd "), "{line}");
    assert!(line.contains(" window --due -i ") && line.contains(" CUTOVER_STATE_DIR=/"), "{line}");
    assert!(crontab::cutover(&fleet.0, install).stdout.contains(" changed=0 "));
    crontab::cutover(&fleet.0, &format!("{install} --remove"));
    assert!(!fleet.0.path(&crontab::tab()).exists() || fleet.0.read(&crontab::tab()).is_empty());
}
