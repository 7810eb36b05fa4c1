//! A connection that is lost in the middle of a change: nothing is half-written, and nobody is told that all is well.

use std::process::Command;

use super::cut::Fault;
use super::{Site, has, is_alive, words};
use crate::program::Printed;
use crate::sshd::{run, wait_for};

#[test]
fn a_command_whose_connection_is_cut_is_reported_as_unknown_and_never_run_again() {
    let site = Site::new(&["mx"]);
    site.playbook(
        "    - name: the queue is flushed
      shell: echo $$ >>HOST/runs; exec sleep 300
    - command: touch HOST/after
",
    );
    let running = site.start();
    let pid = words(&site.on_host("runs"), 1).remove(0);
    site.network.cut();
    let printed = running.end().expect(4);
    // What runs on the host goes on to its own end: to kill it half-way could be worse.
    assert!(is_alive(&pid));
    run(Command::new("kill").arg(&pid));
    has(&printed, "fatal: [mx]: UNREACHABLE!");
    let command = format!("`echo $$ >>{}; exec sleep 300`", site.on_host("runs").display());
    let stdout = &printed.stdout;
    let heading = stdout.split("UNKNOWN WHETHER APPLIED").nth(1).expect("a heading");
    let half = format!("half-done: `mx`: task `the queue is flushed`: {command}, unknown whether applied");
    assert!(stdout.contains(&format!("unknown whether applied: {command}")), "{stdout}");
    assert!(heading.contains(&half), "{stdout}");
    assert!(heading.contains("it is still going on"), "{stdout}");
    assert!(site.journal().contains(r#"{"uncertain":1,"#), "{}", site.journal());
    assert!(!site.journal().contains(r#"{"done":1}"#), "{}", site.journal());
    assert!(!site.on_host("after").exists());
    assert_eq!(words(&site.on_host("runs"), 1).len(), 1, "it ran again");
    site.nothing_is_left();
}

/// What is secret in a task is secret in the report of its loss.
#[test]
fn a_hidden_command_stays_hidden_when_its_connection_is_cut() {
    let site = Site::new(&["mx"]);
    site.playbook(
        "    - name: hidden
      shell: echo geheim >/dev/null; echo $$ >HOST/runs; exec sleep 300
      no_log: true
",
    );
    let running = site.start();
    let pid = words(&site.on_host("runs"), 1).remove(0);
    site.network.cut();
    let printed = running.end().expect(4);
    run(Command::new("kill").arg(&pid));
    has(&printed, "half-done: `mx`: task `hidden`: a command (hidden by no_log), unknown whether applied");
    let all = format!("{}{}{}", printed.stdout, printed.stderr, site.journal());
    assert!(!all.contains("geheim"), "{all}");
}

/// Runs a playbook again and again, cut at other points, from `from` to `to` bytes; says how often each end was seen.
fn cut_everywhere(site: &Site, faults: impl Iterator<Item = Fault>, check: impl Fn(&Printed, bool)) -> Ends {
    let mut ends = Ends::default();
    for fault in faults {
        let path = site.on_host("file");
        std::fs::write(&path, "before\n").unwrap();
        site.network.forget_faults();
        site.network.next(Some(fault));
        let printed = site.run();
        site.nothing_is_left();
        let found = std::fs::read(&path).unwrap();
        let applied = found != b"before\n";
        check(&printed, applied);
        match printed.status {
            0 => {
                assert!(applied, "{fault:?}: it is ok and was not applied\n{}", printed.stdout);
                ends.well += 1;
            }
            4 if printed.stdout.contains("unknown whether applied") => {
                let says = ["it was applied", "it was not applied"].map(|text| printed.stdout.contains(text));
                assert_eq!(says, [applied, !applied], "{fault:?}\n{}", printed.stdout);
                ends.unknown += 1;
            }
            4 => {
                assert!(!applied, "{fault:?}: it is unreachable and was applied\n{}", printed.stdout);
                ends.away += 1;
            }
            other => panic!("{fault:?}: status {other}\n{}\n{}", printed.stdout, printed.stderr),
        }
    }
    ends
}

#[derive(Debug, Default)]
struct Ends {
    well: u32,
    unknown: u32,
    away: u32,
}

/// How many bytes go each way in a run that nothing befalls, without and with the change.
fn measured(site: &Site) -> [(u64, u64); 2] {
    ["play -C -i hosts site.yml", "play -i hosts site.yml"].map(|words| {
        std::fs::write(site.on_host("file"), "before\n").unwrap();
        let before = site.network.bytes();
        site.program.run(words).expect(0);
        let after = site.network.bytes();
        (after.0 - before.0, after.1 - before.1)
    })
}

#[test]
fn a_small_file_is_wholly_before_or_wholly_after_wherever_the_connection_is_cut() {
    let site = Site::new(&["mx"]);
    site.playbook("    - copy: {content: \"after\\n\", dest: HOST/file, mode: '0600'}\n");
    let [(look_sent, look_heard), (all_sent, all_heard)] = measured(&site);
    let steps = |from: u64, to: u64, count: u64| (0..=count).map(move |step| from + (to - from) * step / count);
    let sent = steps(look_sent - 600, all_sent, 12).map(Fault::AfterSent);
    let heard = steps(look_heard - 200, all_heard, 8).map(Fault::AfterHeard);
    let ends = cut_everywhere(&site, sent.chain(heard), |_, applied| {
        let found = std::fs::read_to_string(site.on_host("file")).unwrap();
        assert_eq!(found, if applied { "after\n" } else { "before\n" });
    });
    // The points were in the plan, in the change and after it.
    assert!(ends.unknown > 0 && ends.well > 0, "{ends:?}");
}

#[test]
fn a_big_file_is_wholly_before_or_wholly_after_wherever_the_connection_is_cut() {
    let site = Site::new(&["mx"]);
    let big: Vec<u8> = (0..600_000_u32).flat_map(u32::to_le_bytes).collect();
    std::fs::write(site.program.path("big"), &big).unwrap();
    site.playbook("    - copy: {src: big, dest: HOST/file, mode: '0600'}\n");
    let [(look_sent, _), (all_sent, all_heard)] = measured(&site);
    let sent = (0..=10).map(|step| Fault::AfterSent(look_sent + (all_sent - look_sent) * step / 10));
    let heard = (0..4).map(|step| Fault::AfterHeard(all_heard - 300 * step));
    let ends = cut_everywhere(&site, sent.chain(heard), |_, applied| {
        let found = std::fs::read(site.on_host("file")).unwrap();
        assert!(found == if applied { big.clone() } else { b"before\n".to_vec() }, "{} bytes", found.len());
    });
    assert!(ends.unknown > 3, "{ends:?}");
}

/// A hard link is a state that commands make, and its question tells whether they have.
#[test]
fn a_state_is_looked_at_again_wherever_its_connection_is_cut() {
    let site = Site::new(&["mx"]);
    std::fs::write(site.on_host("source"), "text\n").unwrap();
    site.playbook("    - file: {src: HOST/source, path: HOST/link, state: hard}\n");
    let heard = ["play -C -i hosts site.yml", "play -i hosts site.yml"].map(|words| {
        let before = site.network.bytes().1;
        site.program.run(words).expect(0);
        site.network.bytes().1 - before
    });
    let mut unknown = 0;
    for step in 0..=8 {
        std::fs::remove_file(site.on_host("link")).unwrap();
        site.network.forget_faults();
        site.network.next(Some(Fault::AfterHeard(heard[0] - 100 + (heard[1] - heard[0]) * step / 8)));
        let printed = site.run();
        site.nothing_is_left();
        let made = site.on_host("link").exists();
        if printed.stdout.contains("unknown whether applied") {
            assert_eq!(printed.status, 4, "{}", printed.stdout);
            let says = ["it was applied", "it was not applied"].map(|text| printed.stdout.contains(text));
            assert_eq!(says, [made, !made], "{}", printed.stdout);
            unknown += 1;
        } else {
            assert_eq!(made, printed.status == 0, "{}", printed.stdout);
        }
        if !made {
            std::fs::write(site.on_host("link"), "").unwrap();
        }
    }
    assert!(unknown > 0, "no point was in the change: {heard:?}");
}

/// It runs on a channel of its own.
#[test]
fn a_command_with_a_time_limit_whose_connection_is_cut_is_reported_as_unknown_too() {
    let site = Site::new(&["mx"]);
    site.playbook(
        "    - name: limited
      shell: echo $$ >HOST/runs; exec sleep 300
      timeout: 200
",
    );
    let running = site.start();
    let pid = words(&site.on_host("runs"), 1).remove(0);
    site.network.cut();
    let printed = running.end().expect(4);
    has(&printed, "half-done: `mx`: task `limited`");
    run(Command::new("kill").arg(&pid));
    assert!(wait_for(|| !is_alive(&pid)));
    site.nothing_is_left();
}
