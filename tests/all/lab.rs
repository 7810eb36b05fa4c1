//! The lab from start to end: a move is previewed, made, and made again over real SSH; the judge is what is on disk.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use cutover::lab::qmail::{Home, users};
use cutover::transport::Digest;

use crate::program::{Printed, Program};

/// A lab that is up; it is taken down when the test ends.
struct Up {
    program: Program,
}

impl Up {
    fn new() -> Up {
        let program = Program::new();
        let up = program.run("lab up").expect(0);
        assert!(up.stdout.contains("cutover play -i DIR/state/lab/inventory.yml"), "{}", up.stdout);
        Up { program }
    }

    fn play(&self, flags: &str) -> Printed {
        let lab = self.program.path("state/lab");
        let lab = lab.display();
        self.program.run(&format!("play -i {lab}/inventory.yml {lab}/playbooks/move-domain.yml {flags}"))
    }

    fn qmail(&self, host: &str) -> PathBuf {
        self.program.path(&format!("state/lab/{host}/var/qmail"))
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        self.program.run("lab down");
    }
}

/// Every path below a directory: its mode, owner, time and content. The daemon's own files are left out.
fn tree(root: &Path) -> BTreeMap<PathBuf, (u32, u32, i64, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let about = path.symlink_metadata().unwrap();
            let content = if about.is_file() { std::fs::read(&path).unwrap() } else { Vec::new() };
            found.insert(path.clone(), (about.mode(), about.uid(), about.mtime(), content));
            if about.is_dir() {
                open.push(path);
            }
        }
    }
    found
}

/// The messages below `mailnames/`: mailbox and base name, and the content's digest. Staging directories count apart.
fn messages(qmail: &Path, staged: bool) -> BTreeMap<String, Digest> {
    let root = qmail.join("mailnames");
    let mut found = BTreeMap::new();
    for (path, (_, _, _, content)) in tree(&root) {
        let name = path.strip_prefix(&root).unwrap().display().to_string();
        let (folder, base) = name.rsplit_once('/').unwrap_or(("", &name));
        let of_a_folder = folder.ends_with("/new") || folder.ends_with("/cur");
        if of_a_folder && path.is_file() && folder.contains("/x-out") == staged {
            let folder = folder.replace("/x-out", "").trim_end_matches("/new").trim_end_matches("/cur").to_string();
            let key = format!("{folder}/{}", base.split(':').next().unwrap());
            assert!(found.insert(key, Digest::of(&content)).is_none(), "{name} is there twice");
        }
    }
    found
}

#[test]
fn one_domain_moves_as_previewed_and_a_second_run_changes_nothing() {
    let lab = Up::new();
    let before = (tree(&lab.qmail("old")), tree(&lab.qmail("new")));
    let check = lab.play("-e domains=example.com --check --diff").expect(0);
    assert!(before == (tree(&lab.qmail("old")), tree(&lab.qmail("new"))), "a check has changed something");
    // All of it can be planned: an approved plan is applied without questions.
    let path = lab.program.path("state/lab").display().to_string();
    lab.program.file("pw", "any\n");
    let words = format!(
        "plan -i {path}/inventory.yml {path}/playbooks/move-domain.yml -e domains=all -o all.plan --vault-password-file pw"
    );
    let planned = lab.program.run(&words).expect(0).stderr;
    assert!(planned.contains("plan: 15 changes on 2 hosts\n"), "{planned}");

    let stored: BTreeMap<String, Digest> =
        messages(&lab.qmail("old"), false).into_iter().filter(|(name, _)| name.starts_with("example.com/")).collect();
    assert!(stored.len() > 10);
    let run = lab.play("-e domains=example.com --diff").expect(0);
    assert_eq!(check.diffs(), run.diffs());

    // On the new host: every message, once, with its bytes; the old host keeps the originals out of sight.
    let (old, new) = (lab.qmail("old"), lab.qmail("new"));
    assert_eq!(messages(&new, false), stored);
    assert_eq!(messages(&old, true), stored);
    assert!(messages(&old, false).keys().all(|name| !name.starts_with("example.com/")));
    let owners = |host: &Path| -> std::collections::BTreeSet<u32> {
        tree(&host.join("mailnames/example.com")).values().map(|(_, owner, ..)| *owner).collect()
    };
    assert_eq!(owners(&old).len(), 2, "the old host has odd owners");
    assert_eq!(owners(&new), [rustix::process::geteuid().as_raw()].into());
    for (path, (mode, ..)) in tree(&new.join("mailnames/example.com")) {
        let folder = path.parent().unwrap();
        if path.is_file() && (folder.ends_with("new") || folder.ends_with("cur") || folder.ends_with("@attachments")) {
            assert_eq!(mode & 0o7777, 0o600, "{}", path.display());
        }
    }
    // Accounts: the new host's own number of the domain, the old host's hashes.
    let read = |path: PathBuf| std::fs::read_to_string(path).unwrap();
    let hash = |qmail: &Path| {
        let text = read(qmail.join("users/poppasswd"));
        text.lines().find_map(|line| line.strip_prefix("ann@example.com:").map(str::to_string)).unwrap()
    };
    assert_eq!(hash(&old), hash(&new));
    assert!(read(new.join("users/assign")).contains("=31-ann:"));
    let assigned =
        |local: &str| users::find(&Home::new(&new), local).unwrap().is_some_and(|owner| owner.dash.is_empty());
    assert!(assigned("31-ann") && !assigned("7-ann"), "qmail-newu has not run");
    // Forwarding: the route is there, the domain is no longer virtual, and qmail-send has been told.
    assert!(read(old.join("control/smtproutes")).contains("example.com:192.0.2.20\n"));
    assert!(!read(old.join("control/virtualdomains")).contains("example.com:"));
    assert!(read(old.join("control/rcpthosts")).contains("example.com\n"));
    let told = || read(old.join("active/virtualdomains")) == read(old.join("control/virtualdomains"));
    let waited = (0..100).any(|_| {
        told() || {
            std::thread::sleep(std::time::Duration::from_millis(50));
            false
        }
    });
    assert!(waited, "qmail-send has not reread its tables");
    // No hash is in the output or the journal.
    let journals: String =
        std::fs::read_dir(lab.program.path("state/runs")).unwrap().map(|entry| read(entry.unwrap().path())).collect();
    let salted = hash(&old).split('$').nth(3).unwrap().to_string();
    for text in [&check.stdout, &run.stdout, &run.stderr, &journals] {
        assert!(!text.contains(&salted), "a password hash is shown");
    }

    let after = (tree(&old), tree(&new));
    let again = lab.play("-e domains=example.com").expect(0);
    assert_eq!(again.stdout.matches(" changed=0 ").count(), 1, "{}", again.stdout);
    assert_eq!(again.diffs().trim(), "");
    let now = (tree(&old), tree(&new));
    let differ = |left: &BTreeMap<PathBuf, _>, right: &BTreeMap<PathBuf, _>| -> Vec<PathBuf> {
        left.keys().chain(right.keys()).filter(|path| left.get(*path) != right.get(*path)).cloned().collect()
    };
    let changed: Vec<PathBuf> = [differ(&after.0, &now.0), differ(&after.1, &now.1)].concat();
    assert!(changed.iter().all(|path| path.is_dir()), "the second run wrote {changed:?}");
}

#[test]
fn all_four_domains_move_and_mail_that_comes_late_is_collected() {
    let lab = Up::new();
    let (old, new) = (lab.qmail("old"), lab.qmail("new"));
    let mut stored = messages(&old, false);
    lab.play("-e domains=all").expect(0);
    assert_eq!(messages(&new, false), stored);
    let domains: std::collections::BTreeSet<&str> = stored.keys().filter_map(|name| name.split('/').next()).collect();
    assert_eq!(domains.len(), 4);

    // A message that was in the old host's local queue is delivered there after the cut.
    let late = "1700000000.M1P1.old.lab.example,S=29";
    let text = b"Subject: late\n\nI come late.\n\n";
    std::fs::write(old.join("mailnames/example.net/info/Maildir/new").join(late), text).unwrap();
    let run = lab.play("").expect(0);
    assert!(run.stdout.contains("1 message"), "{}", run.stdout);
    stored.insert(format!("example.net/info/Maildir/{late}"), Digest::of(text));
    assert_eq!(messages(&new, false), stored);
    let again = lab.play("").expect(0);
    assert_eq!(again.stdout.matches(" changed=0 ").count(), 1, "{}", again.stdout);
}

#[test]
fn of_two_moves_at_once_none_loses_what_the_other_did() {
    let lab = Up::new();
    let (old, new) = (lab.qmail("old"), lab.qmail("new"));
    for _ in 0..3 {
        let both = std::thread::scope(|scope| {
            let one = scope.spawn(|| lab.play("-e domains=example.com"));
            let other = scope.spawn(|| lab.play("-e domains=example.net"));
            [one.join().unwrap(), other.join().unwrap()]
        });
        for (printed, domain, account) in [(&both[0], "example.com", "=31-ann:"), (&both[1], "example.net", "=8-info:")]
        {
            if printed.status != 0 {
                let told = printed.stdout.contains("another run is changing")
                    || printed.stdout.contains("no longer as it was");
                assert!(told, "{}", printed.stdout);
                continue;
            }
            let read = |path: PathBuf| std::fs::read_to_string(path).unwrap();
            assert!(
                read(old.join("control/smtproutes")).contains(&format!("{domain}:192.0.2.20\n")),
                "{}",
                printed.stdout
            );
            assert!(read(new.join("users/assign")).contains(account), "{}", printed.stdout);
            assert!(read(new.join("users/poppasswd")).contains(&format!("@{domain}:")), "{}", printed.stdout);
        }
    }
    lab.play("-e domains=example.com,example.net").expect(0);
}

#[test]
fn the_lab_shows_the_move_in_one_command_while_mail_flows_and_leaves_nothing() {
    let program = Program::new();
    let temp = program.path("tmp");
    std::fs::create_dir(&temp).unwrap();
    let output = program.command().args(["lab", "--messages", "120"]).env("TMPDIR", &temp).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{stdout}");
    assert_eq!(stdout.matches("PLAY RECAP").count(), 3);
    assert_eq!(stdout.matches(" changed=0 ").count(), 1, "the second run is not quiet:\n{stdout}");
    for line in [
        "\n120 messages sent during the move: 120 arrived, none twice, none bounced\n",
        "\n24 messages stored before: 24 arrived, none twice\n",
    ] {
        assert!(stdout.contains(line), "{stdout}");
    }
    // Both hosts have taken mail, and users have read on both.
    let counts = stdout.lines().find(|line| line.contains(" went to the old host and ")).unwrap();
    let numbers: Vec<u64> = counts.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    assert!(numbers.len() == 4 && numbers.iter().all(|number| *number > 0), "{counts}");
    assert_eq!(numbers[0] + numbers[1], 120);
    assert!(stdout.contains("Next: "));
    assert_eq!(std::fs::read_dir(&temp).unwrap().count(), 0);
}
