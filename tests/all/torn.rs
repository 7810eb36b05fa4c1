//! Journals that are torn, cannot be written, or have lost what an undo needs: said, and nothing is made up.

use std::fs;
use std::path::PathBuf;

use cutover::run::record::{End, Record};

use crate::program::Program;

const PLAY: &str = "- hosts: all
  gather_facts: no
  tasks:
    - copy: {content: \"one\\n\", dest: DIR/a, mode: '0644'}
    - command: touch DIR/b
    - copy: {content: \"two\\n\", dest: DIR/a, mode: '0644'}
";

/// A host that was changed, and the journal of that.
fn changed(playbook: &str) -> (Program, PathBuf) {
    let program = Program::new();
    let host = program.path("host");
    fs::create_dir(&host).unwrap();
    program.file("hosts", "mx ansible_connection=local\n");
    program.file("site.yml", &playbook.replace("DIR", &host.display().to_string()));
    program.run("play -i hosts site.yml").expect(0);
    let journal = fs::read_dir(program.path("state/runs")).unwrap().next().unwrap().unwrap().path();
    (program, journal)
}

#[test]
fn a_journal_that_is_torn_at_any_byte_says_what_it_has_and_that_it_is_torn() {
    let (program, journal) = changed(PLAY);
    let whole = fs::read(&journal).unwrap();
    let all = Record::read(&journal).unwrap();
    assert_eq!((all.entries.len(), all.torn, all.ended), (3, None, Some(0)));
    for length in 0..whole.len() {
        fs::write(&journal, &whole[..length]).unwrap();
        let part = Record::read(&journal).unwrap();
        // A line that only lacks its end is whole.
        let at_an_end = length == 0 || whole[length - 1] == b'\n' || whole[length] == b'\n';
        assert_eq!(part.torn.is_none(), at_an_end, "{length}");
        for (part, all) in part.entries.iter().zip(&all.entries) {
            assert_eq!((part.number, &part.host, part.in_short()), (all.number, &all.host, all.in_short()));
            assert!(part.end == all.end || part.end == End::Unknown);
        }
        let (plan, left) = part.undone(|_| true);
        assert!(plan.steps.len() + left.len() == part.entries.len(), "{length}: something is forgotten");
        assert!(left.iter().all(|left| left.unsettled || left.change.contains("touch")), "{length}: {left:?}");
    }
    // The program, at some of them.
    for length in (1..whole.len()).step_by(whole.len() / 12) {
        fs::write(&journal, &whole[..length]).unwrap();
        let id = journal.file_stem().unwrap().to_string_lossy().into_owned();
        for words in [format!("log {id}"), "runs --all".into(), format!("undo {id} --check"), format!("resume {id}")] {
            let printed = program.run(&words);
            assert!((0..=2).contains(&printed.status), "{words}, {length}: {}", printed.stderr);
            let said = printed.stdout + &printed.stderr;
            assert!(!said.contains("panicked"), "{words}, {length}: {said}");
            if Record::read(&journal).unwrap().torn.is_some() && !words.starts_with("resume") {
                assert!(said.contains("is torn in line "), "{words}, {length}: {said}");
            }
        }
        assert_eq!(program.read("host/a"), "two\n");
    }
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] = b'\n';
    fs::write(&journal, damaged).unwrap();
    let id = journal.file_stem().unwrap().to_string_lossy().into_owned();
    let refused = program.run(&format!("log {id}")).expect(1).stderr;
    assert!(refused.contains(" is damaged in line "), "{refused}");
}

#[test]
fn a_run_whose_journal_has_no_room_any_more_stops_before_its_next_change() {
    let program = Program::new();
    fs::create_dir(program.path("host")).unwrap();
    let tasks: String = (0..40)
        .map(|number| format!("    - copy: {{content: \"{number}\\n\", dest: DIR/{number}, mode: '0644'}}\n"))
        .collect();
    program.file("hosts", "mx ansible_connection=local\n");
    let host = program.path("host").display().to_string();
    program.file("site.yml", &format!("- hosts: all\n  gather_facts: no\n  tasks:\n{tasks}").replace("DIR", &host));
    let plain = program.command();
    let mut command = std::process::Command::new("/bin/bash");
    // In KiB; what would end a process that writes more is only told to it.
    command.args(["-c", "trap '' XFSZ; ulimit -f 12; exec \"$@\"", "bash"]).arg(plain.get_program());
    command.args(["play", "-i", "hosts", "site.yml"]).current_dir(program.path("")).env_clear();
    command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let printed = program.printed(command.output().unwrap()).expect(2);
    assert!(printed.stdout.contains("the journal cannot be written: "), "{}", printed.stdout);
    let made = fs::read_dir(program.path("host")).unwrap().count();
    assert!(made > 3 && made < 40, "{made}");
    // Each change on the host is in the journal, and is taken back from it.
    let journal = fs::read_dir(program.path("state/runs")).unwrap().next().unwrap().unwrap().path();
    let record = Record::read(&journal).unwrap();
    assert!(record.entries.len() == made || record.entries.len() == made + 1, "{} of {made}", record.entries.len());
    let undone = program.run("undo last");
    assert!(undone.status == 0 || undone.stderr.contains("it is not known whether it was made"), "{}", undone.stderr);
    assert!(fs::read_dir(program.path("host")).unwrap().count() <= 1);
}

#[test]
fn what_is_unsettled_makes_an_undo_end_with_2_and_what_cannot_be_undone_by_nature_does_not() {
    let (program, journal) = changed(PLAY);
    let undone = program.run("undo last").expect(0);
    assert!(undone.stderr.contains("what a command has done is not known"), "{}", undone.stderr);
    // Another run, killed before the end of its first change was noted.
    program.run("play -i hosts site.yml").expect(0);
    let all = fs::read_dir(journal.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
    let journal = all.filter(|path| path.extension().is_some_and(|end| end == "jsonl")).max().unwrap();
    let text = fs::read_to_string(&journal).unwrap();
    fs::write(&journal, text.replace("{\"done\":1}\n", "").replace("{\"ended\":0}\n", "")).unwrap();
    let id = journal.file_stem().unwrap().to_string_lossy().into_owned();
    let undone = program.run(&format!("undo {id}")).expect(2);
    assert!(undone.stderr.contains("it is not known whether it was made"), "{}", undone.stderr);
}

#[test]
fn an_old_content_that_is_gone_from_the_journal_or_damaged_in_it_is_named_and_not_put_back() {
    let (program, journal) = changed(PLAY);
    let text = fs::read_to_string(&journal).unwrap();
    let kept = "\"body\":{\"here\":\"b25lCg==\"}";
    assert!(text.contains(kept));
    for (instead, says) in [
        ("\"body\":\"there\"", "its old content, 4 bytes, was not kept"),
        ("\"body\":{\"here\":\"\"}", "what was kept of its old content is damaged: its digest is another"),
        ("\"body\":{\"here\":\"b25sCg==\"}", "what was kept of its old content is damaged: its digest is another"),
    ] {
        fs::write(&journal, text.replace(kept, instead)).unwrap();
        let id = journal.file_stem().unwrap().to_string_lossy().into_owned();
        let undone = program.run(&format!("undo {id} --check"));
        assert!(undone.stderr.contains(says), "{instead}: {}{}", undone.stdout, undone.stderr);
        assert_eq!(program.read("host/a"), "two\n");
    }
}
