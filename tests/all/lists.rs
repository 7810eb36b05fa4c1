//! A mailing list of ezmlm, as ezmlm-make leaves it, comes over and distributes on the new host; Debian has no ezmlm.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use crate::program::{Program, done};
use crate::qmail::{Qmail, wait_until};

/// The text of a stand-in for ezmlm-send: it gives the message to every subscriber, by name in a file, and counts it.
const SEND: &str = r#"#!/bin/sh
cd "$1" || exit 111
n=$(($(cat num) + 1)) && echo $n >num || exit 111
# LOCAL has to be inlocal, as ezmlm-manage and ezmlm-return compare them.
[ "$LOCAL" = "$(cat inlocal)" ] || exit 100
cat subscribers/* | tr '\0' '\n' | sed -n 's/^T//p' | while read -r address; do
    echo "$(cat outlocal)-return-$n@$(cat outhost) to $address" >>"$HOME/distributed"
done
"#;

fn write(path: PathBuf, bytes: impl AsRef<[u8]>) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

fn executable(path: &Path, text: &str) {
    write(path.into(), text);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

struct Pair {
    program: Program,
    /// The domain's directories.
    old: PathBuf,
    new: PathBuf,
    qmail: Qmail,
}

impl Pair {
    fn new() -> Pair {
        let (program, qmail) = (Program::new(), Qmail::start("new.example"));
        let old = program.path("old/mailnames/example.com");
        let new = qmail.root().join("mailnames/example.com");
        executable(&program.path("bin/ezmlm-send"), SEND);
        executable(&program.path("bin/ezmlm-manage"), "#!/bin/sh\nexit 0\n");
        let pair = Pair { program, old, new, qmail };
        pair.make();
        let directory = |path: &Path| path.display().to_string();
        pair.program.file("hosts", "old ansible_connection=local\nnew ansible_connection=local\n");
        pair.program.file(
            "play.yml",
            &format!(
                "- hosts: new\n  gather_facts: no\n  tasks:\n    - ezmlm_lists: {{from: old, owner: root, group: root, \
                 prefixes: {{example.com: 7}}, directories: [{{source: {}, dest: {}}}]}}\n",
                directory(&pair.old),
                directory(&pair.new)
            ),
        );
        pair
    }

    /// As `ezmlm-make -ai DIR DOT news example.com` leaves it, with the number of the domain there in `inlocal`.
    fn make(&self) {
        let list = self.old.join("news");
        let (at, bin) = (list.display(), self.program.path("bin"));
        let bin = bin.display();
        for (name, text) in [
            ("config", format!("F:-ai\nX:\nD:{at}\nT:{}/.qmail-news\nL:news\nH:example.com\n", self.old.display())),
            ("editor", format!("|{bin}/ezmlm-send '{at}'\n|/no/such/ezmlm-warn '{at}' || exit 0\n")),
            ("manager", format!("|{bin}/ezmlm-manage '{at}'\n")),
            ("owner", format!("{at}/Mailbox\n")),
            ("inlocal", "31-news\n".into()),
            ("inhost", "example.com\n".into()),
            ("outlocal", "news\n".into()),
            ("outhost", "example.com\n".into()),
            ("num", "2\n".into()),
            ("lock", String::new()),
            ("bounce/d/1", "passing\n".into()),
            ("archive/0/01", format!("Subject: one\n\nsays {at}\n")),
            ("archive/0/02", "Subject: two\n\ntwo\n".into()),
        ] {
            write(list.join(name), text);
        }
        write(list.join("key"), [0xff, 0, b'\n', 0xc3, 0x28]);
        write(list.join("subscribers/A"), "Tann@a.example\0Tamy@b.example\0");
        write(list.join("subscribers/Z"), "Tzoe@c.example\0");
        for (name, file) in [("", "editor"), ("-owner", "owner"), ("-default", "manager")] {
            symlink(list.join(file), self.old.join(format!(".qmail-news{name}"))).unwrap();
        }
    }

    fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.new.join(path)).unwrap()
    }

    fn distributed(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.new.join("distributed")).unwrap_or_default();
        text.lines().map(String::from).collect()
    }
}

#[test]
fn a_list_distributes_on_the_new_host_to_those_who_are_subscribed_when_it_is_looked_at_last() {
    let pair = Pair::new();
    let run = done(|flags| pair.program.run(&format!("play -i hosts play.yml {flags}")));
    assert!(format!("{}{}", run.stdout, run.stderr).contains("editor`, line 2, calls, is not on this host"));
    let (from, to) = (pair.old.display().to_string(), pair.new.display().to_string());
    for name in ["config", "editor", "manager", "owner"] {
        let old = std::fs::read_to_string(pair.old.join("news").join(name)).unwrap();
        assert_eq!(pair.read(&format!("news/{name}")), old.replace(&from, &to), "{name}");
    }
    // What people have written stays as it is, and the secret of the list.
    assert!(pair.read("news/archive/0/01").contains(&from));
    assert_eq!(std::fs::read(pair.new.join("news/key")).unwrap(), [0xff, 0, b'\n', 0xc3, 0x28]);
    assert_eq!(pair.read("news/inlocal"), "7-news\n");
    assert!(!pair.new.join("news/bounce").exists() && !pair.new.join("news/lock").exists());
    assert_eq!(std::fs::read_link(pair.new.join(".qmail-news")).unwrap(), pair.new.join("news/editor"));

    // Until mail goes to the new host the old one's subscribers come and go.
    let subscribers = pair.old.join("news/subscribers");
    std::fs::remove_file(subscribers.join("Z")).unwrap();
    write(subscribers.join("A"), "Tann@a.example\0Tbea@d.example\0");
    write(pair.old.join("news/num"), "3\n");
    pair.program.run("play -i hosts play.yml").expect(0);
    assert!(!pair.new.join("news/subscribers/Z").exists());
    pair.qmail.send("ann@a.example", "news@example.com", "four");
    wait_until("it is distributed", || pair.distributed().len() == 2 && pair.qmail.is_idle());
    assert_eq!(
        pair.distributed(),
        ["news-return-4@example.com to ann@a.example", "news-return-4@example.com to bea@d.example"]
    );
}

#[test]
fn a_list_goes_as_it_came_and_another_one_of_its_name_is_left_alone() {
    let pair = Pair::new();
    pair.program.run("play -i hosts play.yml").expect(0);
    pair.program.run("undo last").expect(0);
    assert!(!pair.new.join("news").exists() && pair.new.join(".qmail-news").symlink_metadata().is_err());
    write(pair.new.join("news/key"), "another");
    write(pair.new.join("news/subscribers/Q"), "Tquinn@q.example\0");
    let run = pair.program.run("play -i hosts play.yml").expect(0);
    assert!(run.stdout.contains(" changed=0 "), "{}", run.stdout);
    assert!(format!("{}{}", run.stdout, run.stderr).contains("is another list of that name"));
    assert!(pair.new.join("news/subscribers/Q").exists() && !pair.new.join("news/editor").exists());
}
