//! The lab's four domains move over this machine's own `sh`: accounts, mail and attachments, all mailboxes in one task.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use async_trait::async_trait;
use cutover::change::{Line, Reach, Secrecy, apply};
use cutover::host::{Controller, View};
use cutover::lab::fill::{Role, fill};
use cutover::modules::{self, Outcome, Planned};
use cutover::transport::{Machines, Transport, TransportError, local};
use serde_json::{Map, Value, json};

struct Here(Arc<dyn Transport>);

#[async_trait]
impl Machines for Here {
    async fn machine(&self, _: &str) -> Result<Arc<dyn Transport>, TransportError> {
        Ok(self.0.clone())
    }
}

async fn plan(machine: &Arc<dyn Transport>, name: &str, given: Value) -> Result<Planned, String> {
    let entry = modules::find(name).unwrap();
    let arguments = entry.arguments(given.as_object().unwrap().clone()).unwrap();
    let module = (entry.build)(&arguments).unwrap();
    let render: Box<cutover::host::Render> = Box::new(|_, text, _| Ok(text.into()));
    let controller = Arc::new(Controller { search: Vec::new(), render, transport: machine.clone() });
    let view = View::new("new", machine.clone(), Arc::default(), (controller, Arc::new(Here(machine.clone()))));
    module.plan(&view).await.map_err(|error| error.to_string())
}

/// Plans, applies, and plans again: the second plan must be empty. Returns the first one's diff and the last report.
async fn done(machine: &Arc<dyn Transport>, name: &str, given: Value) -> (Vec<String>, Map<String, Value>) {
    let planned = plan(machine, name, given.clone()).await.unwrap();
    let (mut diff, mut report) = (Vec::new(), Map::new());
    for change in &planned.changes {
        diff.extend(change.diff(Secrecy::Open).lines.iter().map(Line::text));
        let here = Here(machine.clone());
        let reach = Reach { host: &**machine, controller: &**machine, machines: &here, progress: &|_| {} };
        report = apply(change, reach).await.unwrap().report;
    }
    assert!(plan(machine, name, given).await.unwrap().changes.is_empty(), "{name} has a second run with changes");
    (diff, report)
}

async fn facts(machine: &Arc<dyn Transport>, root: &Path) -> Map<String, Value> {
    let given = json!({
        "from": "old", "domains": "all", "owner": "root",
        "directory": root.join("new/var/qmail"), "from_directory": root.join("old/var/qmail"),
    });
    match plan(machine, "qmail_facts", given).await.unwrap().result {
        Outcome::Known(facts) => facts,
        Outcome::Applied(_) | Outcome::Read(_) => panic!("facts are known"),
    }
}

#[tokio::test]
async fn four_domains_move_and_a_second_run_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    fill(&root.join("old"), Role::Old, ("root", "root")).unwrap();
    fill(&root.join("new"), Role::New, ("root", "root")).unwrap();
    let machine = local::local(None).await.unwrap();
    let facts = facts(&machine, root).await;
    assert_eq!((&facts["problems"], facts["domains"].as_array().unwrap().len()), (&json!([]), 4));

    let users = json!({
        "directory": root.join("new/var/qmail"), "assign": facts["assign"], "poppasswd": facts["poppasswd"],
    });
    done(&machine, "qmail_users", users).await;
    let cdb = fs::read_to_string(root.join("new/var/qmail/users/cdb")).unwrap();
    assert!(cdb.contains("=31-ann:root:0:0:") && cdb.contains("=1-root:") && !cdb.contains("=7-ann"), "{cdb}");

    let (diff, report) = done(&machine, "maildir_move", json!({"from": "old", "mailboxes": facts["mailboxes"]})).await;
    assert_eq!(diff[0].split(", ").nth(1), Some("64 messages"), "{diff:?}");
    assert_eq!((&report["moved"], &report["late"], &report["warnings"]), (&json!(64), &json!(0), &json!([])));
    let archive = "var/qmail/mailnames/mail.example/frank/Maildir/.Archive.2024/cur";
    let (old, new) = (root.join("old").join(archive), root.join("new").join(archive));
    assert_eq!(fs::read_dir(&old).unwrap().count(), 0);
    let kept = root.join("old/var/qmail/mailnames/mail.example/frank/Maildir/x-out/.Archive.2024/cur");
    for entry in fs::read_dir(&new).unwrap().map(Result::unwrap) {
        let original = kept.join(entry.file_name());
        assert_eq!(fs::read(entry.path()).unwrap(), fs::read(&original).unwrap());
        let (new, old) = (entry.metadata().unwrap(), fs::metadata(original).unwrap());
        assert_eq!((new.permissions().mode() & 0o7777, new.modified().unwrap()), (0o600, old.modified().unwrap()));
    }

    let given = json!({"from": "old", "directories": facts["attachments"]});
    let offer = root.join("new/var/qmail/mailnames/example.com/ann/@attachments/offer.txt");
    fs::write(&offer, "newer").unwrap();
    done(&machine, "attachments_copy", given).await;
    assert_eq!(fs::read_to_string(&offer).unwrap(), "newer");
    let beside = fs::read_to_string(offer.with_file_name("offer.txt.from-old")).unwrap();
    assert_eq!(beside, "An offer for ann@example.com\n");
}

#[tokio::test]
async fn what_cannot_be_moved_by_a_rename_or_has_no_account_is_refused_before_anything_is_done() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    fill(&root.join("old"), Role::Old, ("root", "root")).unwrap();
    let machine = local::local(None).await.unwrap();
    let ann = root.join("old/var/qmail/mailnames/example.com/ann/Maildir");
    let given = |dest: &Path| json!({"from": "old", "source": ann, "dest": dest});
    let error = plan(&machine, "maildir_move", given(&root.join("new/ann/Maildir"))).await.err().unwrap();
    assert!(error.contains("there is no account for"), "{error}");

    fs::create_dir_all(root.join("new/ann/Maildir")).unwrap();
    fs::create_dir(root.join("elsewhere")).unwrap();
    std::os::unix::fs::symlink(root.join("elsewhere"), root.join("new/ann/Maildir/cur")).unwrap();
    let error = plan(&machine, "maildir_move", given(&root.join("new/ann/Maildir"))).await.err().unwrap();
    assert!(error.contains("must be on one file system"), "{error}");
    let missing = json!({"from": "old", "source": root.join("none"), "dest": root.join("new/ann/Maildir")});
    assert!(plan(&machine, "maildir_move", missing).await.err().unwrap().contains("does not exist"));
    assert_eq!(fs::read_dir(ann.join("new")).unwrap().count(), 2);
}

/// An old and a new Maildir with these messages in the old one: path and content.
fn maildirs(root: &Path, messages: &[(&[u8], &str)]) -> Value {
    use std::os::unix::ffi::OsStrExt as _;
    for directory in ["old/Maildir/new", "old/Maildir/cur", "old/Maildir/tmp", "new/Maildir"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    for (path, content) in messages {
        let path = root.join("old/Maildir").join(std::ffi::OsStr::from_bytes(path));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    json!({"from": "old", "source": root.join("old/Maildir"), "dest": root.join("new/Maildir")})
}

#[tokio::test]
async fn names_that_could_not_be_named_again_are_refused_and_no_folder_is_passed_over() {
    let machine = local::local(None).await.unwrap();
    for odd in [&b"cur/1.a\tb:2,S"[..], b".a\tb/new/1.a"] {
        let directory = tempfile::tempdir().unwrap();
        let given = maildirs(directory.path(), &[(odd, "one\n")]);
        let error = plan(&machine, "maildir_move", given).await.err().unwrap();
        assert!(error.contains("a tab in its name"), "{error}");
    }
    let directory = tempfile::tempdir().unwrap();
    let given = maildirs(directory.path(), &[(b"..Trash/cur/1.a:2,S", "one\n")]);
    let (_, report) = done(&machine, "maildir_move", given).await;
    assert_eq!((&report["moved"], &report["late"]), (&json!(1), &json!(0)));
    assert!(directory.path().join("new/Maildir/..Trash/cur/1.a:2,S").exists());
}

#[tokio::test]
async fn names_that_are_no_utf8_are_moved_byte_for_byte() {
    use std::os::unix::ffi::OsStrExt as _;
    let machine = local::local(None).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    // A folder as a mail reader of the nineties wrote it (Latin-1), and a name too long for a plain tar header.
    let long = [&b"cur/1."[..], &[0xe9; 180], b":2,S"].concat();
    let names = [&b".Entw\xfcrfe/cur/1.a\xff:2,S"[..], &long];
    let given = maildirs(directory.path(), &names.map(|name| (name, "one\n")));
    let planned = plan(&machine, "maildir_move", given.clone()).await.unwrap();
    let shown: String = planned.changes[0].diff(Secrecy::Open).lines.iter().map(|line| line.text() + "\n").collect();
    assert!(shown.contains(r"+.Entw\xfcrfe: 1 message"), "{shown}");
    let (_, report) = done(&machine, "maildir_move", given).await;
    assert_eq!((&report["moved"], &report["late"]), (&json!(2), &json!(0)));
    for name in names {
        let name = std::ffi::OsStr::from_bytes(name);
        assert_eq!(fs::read(directory.path().join("new/Maildir").join(name)).unwrap(), b"one\n");
        assert!(directory.path().join("old/Maildir/x-out").join(name).exists());
    }
}

#[tokio::test]
async fn a_second_message_of_one_name_stays_on_the_old_host_and_is_told_of() {
    let machine = local::local(None).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let given = maildirs(directory.path(), &[(b"new/1.a", "one\n"), (b"cur/1.a:2,S", "another\n")]);
    let (_, report) = done(&machine, "maildir_move", given.clone()).await;
    assert_eq!(report["moved"], json!(1));
    assert!(report["warnings"][0].as_str().unwrap().contains("the first is `1.a`"), "{report:?}");
    let again = plan(&machine, "maildir_move", given).await.unwrap();
    assert!(again.warnings[0].contains("the first is `1.a`"), "{:?}", again.warnings);
    assert!(directory.path().join("old/Maildir/new/1.a").exists());
}

#[tokio::test]
async fn messages_that_the_old_host_does_not_let_go_are_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    fs::create_dir(root.join("bin")).unwrap();
    let refusing = "#!/bin/sh\ncase $* in *x-out*) echo 'mv: Operation not permitted' >&2; exit 1;; esac\n\
                    PATH=/usr/bin:/bin; exec mv \"$@\"\n";
    fs::write(root.join("bin/mv"), refusing).unwrap();
    fs::set_permissions(root.join("bin/mv"), fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("PATH={}:{}", root.join("bin").display(), std::env::var("PATH").unwrap());
    let carrier = Arc::new(local::Local::with_shell(["/usr/bin/env", &path, "/bin/sh", "-c"]));
    let machine: Arc<dyn Transport> = Arc::new(cutover::transport::posix::Posix::start(carrier, None).await.unwrap());
    let given = maildirs(root, &[(b"cur/1.a:2,S", "one\n")]);
    let planned = plan(&machine, "maildir_move", given).await.unwrap();
    let here = Here(machine.clone());
    let reach = Reach { host: &*machine, controller: &*machine, machines: &here, progress: &|_| {} };
    let error = apply(&planned.changes[0], reach).await.unwrap_err().to_string();
    assert!(error.contains("could not be handed over: mv: Operation not permitted"), "{error}");
    assert!(root.join("old/Maildir/cur/1.a:2,S").exists());
}

/// An old Maildir whose names or contents a reader would take for something else, or that cannot be moved.
fn planted(root: &Path, plant: &dyn Fn(&Path)) -> Value {
    let given = maildirs(root, &[(b"cur/1.a,S=4:2,S", "one\n")]);
    plant(root);
    given
}

#[tokio::test]
async fn mailboxes_that_would_lose_mail_are_refused_with_the_path_and_what_to_do() {
    let machine = local::local(None).await.unwrap();
    type Plant = fn(&Path);
    let rows: [(Plant, &[&str]); 7] = [
        (
            |root| {
                fs::create_dir_all(root.join("old/Maildir/Sent/cur")).unwrap();
                fs::write(root.join("old/Maildir/Sent/cur/1.b:2,S"), "two\n").unwrap();
            },
            &["/old/Maildir/Sent`", "no folder of Maildir++", "make it `.Name`"],
        ),
        (|root| fs::create_dir_all(root.join("old/Maildir/.Sent/.Old/new")).unwrap(), &["/.Sent/.Old`"]),
        (
            |root| {
                // As a copy by hand leaves it.
                fs::create_dir_all(root.join("new/Maildir/x/new")).unwrap();
                fs::write(root.join("new/Maildir/x/new/1.a,S=4"), "on").unwrap();
            },
            &["/new/Maildir/x/new/1.a,S=4`", "no ledger", "out of the way"],
        ),
        (|root| fs::write(root.join("new/Maildir/x"), "").unwrap(), &["/new/Maildir/x` is no directory"]),
        (|root| fs::write(root.join("old/Maildir/x-out"), "").unwrap(), &["/old/Maildir/x-out` is no directory"]),
        (
            |root| std::os::unix::fs::symlink("1.a,S=4:2,S", root.join("old/Maildir/cur/1.b:2,S")).unwrap(),
            &["cur/1.b:2,S` is no regular file"],
        ),
        (|root| fs::write(root.join("old/Maildir/cur/1.b\n:2,S"), "").unwrap(), &["cur/1.b?:2,S`", "a line feed"]),
    ];
    for (plant, words) in rows {
        let directory = tempfile::tempdir().unwrap();
        let given = planted(directory.path(), &plant);
        let error = plan(&machine, "maildir_move", given).await.err().unwrap();
        assert!(words.iter().all(|word| error.contains(word)), "no {words:?} in: {error}");
    }
    // Two mailboxes that are one, on either host.
    for (source, dest) in [("ann", "new/Maildir"), ("old/Maildir", "ann")] {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        maildirs(root, &[(b"cur/1.a:2,S", "one\n")]);
        let target = if source == "ann" { "old/Maildir" } else { "new/Maildir" };
        std::os::unix::fs::symlink(root.join(target), root.join("ann")).unwrap();
        fs::create_dir_all(root.join("other/Maildir/new")).unwrap();
        let second = if source == "ann" { ("old/Maildir", "other/Maildir") } else { ("other/Maildir", "new/Maildir") };
        let given = json!({"from": "old", "mailboxes": [
            {"source": root.join(source), "dest": root.join(dest)}, {"source": root.join(second.0), "dest": root.join(second.1)}]});
        let error = plan(&machine, "maildir_move", given).await.err().unwrap();
        assert!(error.contains("are one directory"), "{error}");
    }
}

#[tokio::test]
async fn messages_that_a_reader_takes_for_something_else_are_told_of_and_moved_as_they_are() {
    let machine = local::local(None).await.unwrap();
    type Plant = fn(&Path);
    let rows: [(Plant, &[&str]); 3] = [
        (
            |root| {
                fs::write(root.join("old/Maildir/new/1.b,S=9"), "two\n").unwrap();
                fs::write(root.join("old/Maildir/new/1.c,S=3"), "two\n").unwrap();
            },
            &["/old/Maildir/new/1.b,S=9` and 1 more have a size", "dovecot ends the session"],
        ),
        (
            |root| {
                let file = fs::File::options().write(true).open(root.join("old/Maildir/cur/1.a,S=4:2,S")).unwrap();
                file.set_modified(std::time::SystemTime::now() + std::time::Duration::from_secs(7200)).unwrap();
            },
            &["cur/1.a,S=4:2,S` has a time in the future", "`touch` them"],
        ),
        (|root| fs::write(root.join("old/Maildir/cur/1.b:2,Sac"), "").unwrap(), &["1.b:2,Sac` has keywords"]),
    ];
    for (plant, words) in rows {
        let directory = tempfile::tempdir().unwrap();
        let given = planted(directory.path(), &plant);
        let planned = plan(&machine, "maildir_move", given.clone()).await.unwrap();
        let told = words.iter().all(|word| planned.warnings.len() == 1 && planned.warnings[0].contains(word));
        assert!(told, "{:?} is not one with {words:?}", planned.warnings);
        let (_, report) = done(&machine, "maildir_move", given).await;
        assert_eq!((&report["late"], &report["collisions"]), (&json!(0), &json!(0)));
    }
}

#[tokio::test]
async fn odd_names_second_names_and_holes_are_moved_as_they_are() {
    let machine = local::local(None).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let names =
        ["cur/-rf:2,S", "cur/1.a b\\c$(x)'\"*:2,", "new/1.c,S=4", "cur/1.d", "cur/1.e:1,x", ".a b/cur/1.f:2,FS"];
    let messages: Vec<(&[u8], &str)> = names.iter().map(|name| (name.as_bytes(), "one\n")).collect();
    let given = maildirs(directory.path(), &messages);
    let old = directory.path().join("old/Maildir");
    fs::hard_link(old.join("cur/1.d"), old.join("cur/1.g:2,S")).unwrap();
    // Closed at once: an open file is a session, which the move would wait for.
    fs::File::create(old.join("cur/1.h:2,S")).unwrap().set_len(300_000).unwrap();
    // What no reader sees is no message.
    fs::write(old.join("cur/.hidden"), "").unwrap();
    fs::write(old.join("tmp/1.half"), "").unwrap();
    let (_, report) = done(&machine, "maildir_move", given).await;
    assert_eq!((&report["moved"], &report["late"]), (&json!(8), &json!(0)));
    for name in names.iter().chain(&["cur/1.g:2,S"]) {
        let new = directory.path().join("new/Maildir").join(name);
        assert_eq!(fs::read_to_string(&new).unwrap_or_else(|error| panic!("{name}: {error}")), "one\n");
    }
    assert_eq!(fs::metadata(directory.path().join("new/Maildir/cur/1.h:2,S")).unwrap().len(), 300_000);
    assert!(old.join("cur/.hidden").exists() && old.join("tmp/1.half").exists());
}

#[tokio::test]
async fn of_two_messages_with_one_name_equal_ones_are_kept_once_and_others_both() {
    let machine = local::local(None).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let given = maildirs(directory.path(), &[(b"cur/1.a,S=4:2,S", "one\n"), (b"new/1.b,S=4", "two\n")]);
    let new = directory.path().join("new/Maildir");
    fs::create_dir(new.join("new")).unwrap();
    fs::write(new.join("new/1.a,S=4"), "one\n").unwrap();
    fs::write(new.join("new/1.b,S=4"), "TWO\n").unwrap();
    let (diff, _) = done(&machine, "maildir_move", given).await;
    assert!(diff.iter().any(|line| line.contains("2 names are taken on the new host")), "{diff:?}");
    let all: Vec<_> = ["new", "cur"].iter().flat_map(|part| fs::read_dir(new.join(part)).unwrap()).collect();
    let mut found: Vec<String> =
        all.iter().map(|entry| fs::read_to_string(entry.as_ref().unwrap().path()).unwrap()).collect();
    found.sort();
    assert_eq!(found, ["TWO\n", "one\n", "two\n"]);
}

#[tokio::test]
async fn a_session_that_does_not_end_in_time_keeps_its_mailbox_where_it_is() {
    let machine = local::local(None).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut given = maildirs(directory.path(), &[(b"new/1.a", "one\n")]);
    given["drain_timeout"] = json!(0);
    let planned = plan(&machine, "maildir_move", given.clone()).await.unwrap();
    // As qmail-pop3d does, whose working directory is the Maildir.
    let maildir = directory.path().join("old/Maildir");
    let mut reader = Command::new("sleep").arg("60").current_dir(&maildir).spawn().unwrap();
    let here = Here(machine.clone());
    let reach = Reach { host: &*machine, controller: &*machine, machines: &here, progress: &|_| {} };
    let error = apply(&planned.changes[0], reach).await.unwrap_err().to_string();
    reader.kill().unwrap();
    reader.wait().unwrap();
    assert!(
        error.contains(&format!("process {}", reader.id())) && error.contains("nothing was handed over"),
        "{error}"
    );
    assert!(maildir.join("new/1.a").exists());
    done(&machine, "maildir_move", given).await;
}

/// The list of courier's POP3 server with a number for each message of a Maildir's inbox.
fn numbered(maildir: &Path) -> String {
    let parts = ["new", "cur"].map(|part| fs::read_dir(maildir.join(part)).unwrap());
    let names = parts.into_iter().flatten().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let line = |(index, name): (usize, String)| {
        format!("{}:2, 100 {}:1700000000:0\n", name.split(':').next().unwrap(), index + 1)
    };
    format!("/3 9 1700000000\n{}", names.enumerate().map(line).collect::<String>())
}

#[tokio::test]
async fn the_numbers_that_courier_gives_messages_for_pop3_come_over_with_them_and_those_of_the_new_host_stay() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    fill(&root.join("old"), Role::Old, ("root", "root")).unwrap();
    let machine = local::local(None).await.unwrap();
    for own in [Some("/3 5 1800000000\n1.here:2,S 10 4:1800000000:1\n"), None] {
        let old = root
            .join("old/var/qmail/mailnames/example.com")
            .join(if own.is_some() { "ann" } else { "bob" })
            .join("Maildir");
        let new = root.join("new").join(old.strip_prefix(root.join("old")).unwrap());
        fs::create_dir_all(&new).unwrap();
        let list = numbered(&old);
        assert!(list.lines().count() > 2, "{list}");
        fs::write(old.join("courierpop3dsizelist"), &list).unwrap();
        own.into_iter().for_each(|own| fs::write(new.join("courierpop3dsizelist"), own).unwrap());
        let given =
            json!({"from": "old", "source": old, "dest": new, "owner": "root", "group": "root", "server": "courier"});
        let (_, report) = done(&machine, "maildir_move", given.clone()).await;
        assert_eq!(report["warnings"], json!([]));
        let made = fs::read_to_string(new.join("courierpop3dsizelist")).unwrap();
        match own {
            Some(own) => assert!(made.starts_with(own), "{made}"),
            None => assert!(made.starts_with("/2 1 1"), "{made}"),
        }
        // Courier's names may have other flags.
        let plain = |line: &str| {
            let (name, numbers) = line.split_once(":2,").unwrap();
            format!("{name} {}", numbers.split_once(' ').unwrap().1.trim_end_matches(":0"))
        };
        let made: Vec<String> = made.lines().skip(1).map(plain).collect();
        assert!(list.lines().skip(1).all(|line| made.contains(&plain(line))), "{list}{made:?}");
        // What comes later has its number too, although courier has made its list anew since.
        fs::write(old.join("cur/9.late:2,S"), "Subject: late\n\n9\n").unwrap();
        fs::write(old.join("courierpop3dsizelist"), "/3 10 1700000000\n9.late:2,S 20 9:1700000000:0\n").unwrap();
        done(&machine, "maildir_move", given).await;
        let later = fs::read_to_string(new.join("courierpop3dsizelist")).unwrap();
        assert!(later.ends_with("\n9.late:2,S 20 9:1700000000\n"), "{later}");
        assert_eq!(later.lines().count(), made.len() + 2, "{later}");
    }
}

/// What a POP3 server, started as for a user who has logged in, answers to `UIDL`.
fn unique_ids(server: &mut Command) -> Vec<String> {
    let mut server = server.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut stdout = BufReader::new(server.stdout.take().unwrap());
    let mut stdin = server.stdin.take().unwrap();
    stdin.write_all(b"UIDL\r\n").unwrap();
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        assert!(stdout.read_line(&mut line).unwrap() > 0, "{lines:?}");
        if line == ".\r\n" {
            break;
        }
        lines.push(line.trim_end().to_string());
    }
    stdin.write_all(b"QUIT\r\n").unwrap();
    assert!(server.wait().unwrap().success());
    lines.iter().filter(|line| !line.starts_with('+')).map(|line| line.split_once(' ').unwrap().1.into()).collect()
}

fn ids_of_courier(maildir: &Path) -> Vec<String> {
    let mut server = Command::new("/opt/courier/usr/lib/courier/courier/courierpop3d");
    unique_ids(server.arg(maildir).env("AUTHENTICATED", "ann"))
}

fn ids_of_dovecot(maildir: &Path) -> Vec<String> {
    let configuration = maildir.with_file_name("dovecot.conf");
    let text = format!(
        "base_dir = {0}/run\nlog_path = /dev/null\nssl = no\nprotocols = pop3\nmail_location = maildir:{1}\nfirst_valid_uid = 1\n\
         mail_uid = nobody\nmail_gid = nogroup\npop3_uidl_format = %f\n",
        maildir.parent().unwrap().display(),
        maildir.display()
    );
    fs::write(&configuration, text).unwrap();
    let mut server = Command::new("setpriv");
    server.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups", "/usr/lib/dovecot/pop3", "-c"]);
    unique_ids(server.arg(configuration).env("USER", "nobody").env("HOME", maildir))
}

#[tokio::test]
async fn who_left_mail_at_a_courier_finds_the_same_unique_ids_at_a_dovecot() {
    let machine = local::local(None).await.unwrap();
    // A mailbox that nobody has opened, and one that its user has read at the new host.
    for is_read in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::set_permissions(root, fs::Permissions::from_mode(0o755)).unwrap();
        let mut given =
            maildirs(root, &[(b"new/1.a", "one\n"), (b"cur/2.b:2,S", "two\n"), (b".Sent/cur/3.c:2,S", "sent\n")]);
        (given["owner"], given["group"], given["server"]) = (json!("nobody"), json!("nogroup"), json!("dovecot"));
        let (old, new) = (root.join("old/Maildir"), root.join("new/Maildir"));
        let mut expected = ids_of_courier(&old);
        assert!(expected.len() == 2 && expected[1].starts_with("UID2-"), "{expected:?}");
        let own = |name: &str| {
            fs::create_dir_all(new.join("cur")).unwrap();
            fs::write(new.join("cur").join(name), "here\n").unwrap();
            let done = Command::new("chown").args(["-R", "nobody:nogroup"]).arg(&new).status().unwrap();
            assert!(done.success());
        };
        if is_read {
            own("0.here:2,S");
            assert_eq!(ids_of_dovecot(&new), ["0.here"]);
            expected.insert(0, "0.here".into());
            // Of a process that is not there any more.
            fs::write(new.join("dovecot-uidlist.lock"), format!("999999999:{}", hostname())).unwrap();
        }
        let (diff, report) = done(&machine, "maildir_move", given.clone()).await;
        assert!(diff.iter().any(|line| line.contains("unique ids of POP3 go into `dovecot-uidlist`")), "{diff:?}");
        assert_eq!(report["warnings"], json!([]));
        assert!(!new.join("dovecot-uidlist.lock").exists() && !new.join("courierpop3dsizelist").exists());
        for _ in 0..2 {
            assert_eq!(ids_of_dovecot(&new), expected);
        }
        // What comes later goes behind what dovecot has numbered since.
        own("4.here:2,S");
        expected.push("4.here".into());
        assert_eq!(ids_of_dovecot(&new), expected);
        fs::write(old.join("new/5.late"), "late\n").unwrap();
        expected.extend(ids_of_courier(&old));
        done(&machine, "maildir_move", given).await;
        assert_eq!(ids_of_dovecot(&new), expected);
        let list = fs::read_to_string(new.join("dovecot-uidlist")).unwrap();
        let uids: Vec<u64> =
            list.lines().skip(1).map(|line| line.split(' ').next().unwrap().parse().unwrap()).collect();
        assert_eq!(uids, (1..=expected.len() as u64).collect::<Vec<_>>(), "{list}");
    }
}

#[tokio::test]
async fn a_list_of_dovecot_that_somebody_has_locked_stays_and_the_move_says_so() {
    let machine = local::local(None).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let mut given = maildirs(root, &[(b"cur/2.b:2,S", "two\n")]);
    given["server"] = json!("dovecot");
    ids_of_courier(&root.join("old/Maildir"));
    let new = root.join("new/Maildir");
    let lock = format!("{}:{}", std::process::id(), hostname());
    fs::write(new.join("dovecot-uidlist"), "3 V17 N5\n").unwrap();
    fs::write(new.join("dovecot-uidlist.lock"), &lock).unwrap();
    let (_, report) = done(&machine, "maildir_move", given).await;
    let told = report["warnings"].to_string();
    assert!(told.contains(&format!("process {} on {} has locked", std::process::id(), hostname())), "{told}");
    assert_eq!(fs::read_to_string(new.join("dovecot-uidlist")).unwrap(), "3 V17 N5\n");
    assert_eq!(fs::read_to_string(new.join("dovecot-uidlist.lock")).unwrap(), lock);
    assert!(new.join("cur/2.b:2,S").exists());
}

fn hostname() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim_end().into()
}

#[tokio::test]
async fn a_new_host_that_was_put_back_from_a_backup_gets_what_it_lost_again() {
    let machine = local::local(None).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let given = maildirs(root, &[(b"cur/1.a:2,S", "one\n")]);
    done(&machine, "maildir_move", given.clone()).await;
    assert!(root.join("old/Maildir/x-out/settled").exists() && root.join("new/Maildir/x/settled").exists());
    let copy = |from: &str, to: &str| {
        let _ = fs::remove_dir_all(root.join(to));
        let done = Command::new("cp").args(["-a", from, to]).current_dir(root).status().unwrap();
        assert!(done.success());
    };
    copy("new", "backup");
    fs::write(root.join("old/Maildir/new/2.b"), "two\n").unwrap();
    done(&machine, "maildir_move", given.clone()).await;
    copy("backup", "new");
    let (_, report) = done(&machine, "maildir_move", given).await;
    assert_eq!(
        (&report["moved"], fs::read_to_string(root.join("new/Maildir/new/2.b")).unwrap().as_str()),
        (&json!(1), "two\n")
    );
}
