//! A move of mail that is killed again and again while its reader goes on reading: nothing lost, nothing doubled.
//!
//! The judge is what lies in the directories at the end, and what the reader has downloaded.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use cutover::change::{Applied, Reach, apply};
use cutover::host::{Controller, View};
use cutover::modules::{self, ModuleError};
use cutover::transport::{
    Address, Command, Entry, Identity, Links, Machines, Node, Output, Owner, PathChange, Process, Program, Stream,
    Transport, TransportError, Want, WriteError,
};
use serde_json::json;
use tokio::io::AsyncReadExt as _;

/// This machine, with the process groups of everything it runs at hand to be killed.
struct Machine {
    identity: Identity,
    groups: Arc<Mutex<Vec<i32>>>,
}

impl Machine {
    fn new() -> Arc<Machine> {
        let root = Owner { id: 0, name: "root".into() };
        let identity = Identity { user: root.clone(), group: root, home: "/".into(), umask: 0o022 };
        Arc::new(Machine { identity, groups: Arc::default() })
    }

    fn kill(&self) {
        for group in self.groups.lock().unwrap().drain(..) {
            let pid = rustix::process::Pid::from_raw(group).unwrap();
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
    }
}

#[async_trait]
impl Transport for Machine {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    async fn look(&self, _: &[(String, Links)], _: Want) -> Result<Vec<Node>, TransportError> {
        Ok(Vec::new())
    }

    async fn list(&self, _: &str, _: Option<u32>) -> Result<Vec<Entry>, TransportError> {
        Ok(Vec::new())
    }

    async fn user(&self, _: &str) -> Result<Option<Owner>, TransportError> {
        Ok(None)
    }

    async fn group(&self, _: &str) -> Result<Option<Owner>, TransportError> {
        Ok(None)
    }

    async fn write(&self, _: &[PathChange]) -> Result<(), WriteError> {
        Ok(())
    }

    async fn run(&self, command: &Command) -> Result<Output, TransportError> {
        use tokio::io::AsyncWriteExt as _;
        let mut process = self.open(command).await?;
        let mut stdout = Vec::new();
        let write = async {
            let _ = process.stdin.write_all(&command.stdin).await;
            let _ = process.stdin.shutdown().await;
            drop(process.stdin);
        };
        let (_, read) = tokio::join!(write, process.stdout.read_to_end(&mut stdout));
        read.map_err(|error| TransportError::Unreachable(error.to_string()))?;
        let (status, stderr) = process.end.await?;
        Ok(Output { status, stdout, stderr, ..Output::default() })
    }

    async fn dial(&self, _: &Address, _: Duration) -> Result<Stream, TransportError> {
        Err(TransportError::Refused("nothing is dialled here".into()))
    }

    async fn open(&self, command: &Command) -> Result<Process, TransportError> {
        let words = match &command.program {
            Program::Argv(words) => words.clone(),
            Program::Shell { script, .. } | Program::Raw(script) => vec!["/bin/sh".into(), "-c".into(), script.clone()],
        };
        let mut child = tokio::process::Command::new(&words[0])
            .args(&words[1..])
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (groups, group) = (self.groups.clone(), child.id().unwrap() as i32);
        groups.lock().unwrap().push(group);
        let stdin = child.stdin.take().unwrap();
        let stdout = child.stdout.take().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let end = Box::pin(async move {
            let mut text = Vec::new();
            let _ = stderr.read_to_end(&mut text).await;
            let status = child.wait().await.map_err(|error| TransportError::Unreachable(error.to_string()))?;
            // Its number may soon be that of another process, which is not ours to kill.
            groups.lock().unwrap().retain(|other| *other != group);
            match status.code() {
                Some(code) => Ok((code, text)),
                None => Err(TransportError::Unreachable("killed".into())),
            }
        });
        Ok(Process { stdin: Box::new(stdin), stdout: Box::new(stdout), end })
    }
}

struct Peers(Arc<Machine>);

#[async_trait]
impl Machines for Peers {
    async fn machine(&self, _: &str) -> Result<Arc<dyn Transport>, TransportError> {
        Ok(self.0.clone())
    }
}

/// Numbers that look random and are the same for the same seed (xorshift).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

/// One mailbox on two hosts, and its user.
struct Lab {
    root: PathBuf,
    sent: AtomicU64,
    /// Message numbers in the order in which the user downloaded and deleted them.
    downloaded: Mutex<Vec<u64>>,
    over: AtomicBool,
}

impl Lab {
    fn new(root: &Path) -> Lab {
        for folder in ["old/Maildir", "old/Maildir/.Sent", "new/Maildir"] {
            for part in ["new", "cur", "tmp"] {
                fs::create_dir_all(root.join(folder).join(part)).unwrap();
            }
        }
        fs::write(root.join("new/Maildir/maildirsize"), "1000000S\n").unwrap();
        Lab { root: root.into(), sent: AtomicU64::new(0), downloaded: Mutex::default(), over: AtomicBool::new(false) }
    }

    fn path(&self, name: &str) -> String {
        self.root.join(name).display().to_string()
    }

    /// Delivers as maildir(5) says: written in `tmp`, then linked to `new`.
    fn deliver(&self, maildir: &str, directory: &str, flags: &str) {
        let number = self.sent.fetch_add(1, Ordering::Relaxed);
        let body = format!("Subject: {number}\n\n{}\n", "text of the message\n".repeat(number as usize % 40));
        let name = format!("{}.M{number}.old,S={}", 1_600_000_000 + number, body.len());
        let temporary = self.root.join(maildir).join("tmp").join(&name);
        fs::write(&temporary, body).unwrap();
        fs::hard_link(&temporary, self.root.join(maildir).join(directory).join(format!("{name}{flags}"))).unwrap();
        fs::remove_file(temporary).unwrap();
    }

    /// A POP3 session like `qmail-pop3d`'s: listed at login; at QUIT unlinks what was deleted, moves the rest to `cur`.
    fn session(&self, host: &str, dice: &mut Dice) {
        let maildir = self.root.join(host).join("Maildir");
        // What `qmail-pop3d` does with its working directory: the drain sees it.
        let _open = fs::File::open(&maildir).unwrap();
        if host == "old" && self.root.join("closed").exists() {
            return;
        }
        let mut listed = Vec::new();
        for part in ["new", "cur"] {
            let names = fs::read_dir(maildir.join(part)).unwrap().map(|entry| entry.unwrap().path());
            listed.extend(names.filter(|path| !path.file_name().unwrap().to_string_lossy().starts_with('.')));
        }
        let mut deleted = BTreeSet::new();
        for path in &listed {
            let mut text = String::new();
            if dice.roll(3) == 0 && fs::File::open(path).is_ok_and(|mut file| file.read_to_string(&mut text).is_ok()) {
                self.downloaded.lock().unwrap().push(number(&text));
                deleted.insert(path.clone());
            }
            std::thread::sleep(Duration::from_micros(dice.roll(2000)));
        }
        for path in &deleted {
            fs::remove_file(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
        for path in listed.iter().filter(|path| !deleted.contains(*path)) {
            let name = path.file_name().unwrap().to_string_lossy();
            if path.parent().unwrap().ends_with("new") {
                let _ = fs::rename(path, maildir.join("cur").join(format!("{name}:2,")));
            }
        }
    }

    /// The user, now here and now there, and a sender that does not know of the move yet.
    fn live(&self, mut dice: Dice) {
        while !self.over.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(dice.roll(60)));
            if dice.roll(3) == 0 && self.sent.load(Ordering::Relaxed) < 40 {
                let host = if dice.roll(2) == 0 { "old/Maildir" } else { "new/Maildir" };
                self.deliver(host, "new", "");
            }
            self.session(if dice.roll(2) == 0 { "old" } else { "new" }, &mut dice);
        }
    }

    /// Returns how often each message is in the directories that a reader sees.
    fn visible(&self, host: &str) -> BTreeMap<u64, u64> {
        let mut found = BTreeMap::new();
        let maildir = self.root.join(host).join("Maildir");
        for directory in ["new", "cur", ".Sent/new", ".Sent/cur"].map(|directory| maildir.join(directory)) {
            for entry in fs::read_dir(directory).into_iter().flatten() {
                let text = fs::read_to_string(entry.unwrap().path()).unwrap();
                let number = number(&text);
                assert_eq!(text.lines().count() as u64, 3 + number % 40, "message {number} is not whole");
                *found.entry(number).or_default() += 1;
            }
        }
        found
    }
}

fn number(text: &str) -> u64 {
    text.lines().next().and_then(|line| line.strip_prefix("Subject: ")).unwrap().parse().unwrap()
}

/// Plans and applies once. `None`: there was nothing to do.
async fn move_once(root: PathBuf, machine: Arc<Machine>) -> Result<Option<Applied>, String> {
    let entry = modules::find("maildir_move").unwrap();
    let path = |name: &str| root.join(name).display().to_string();
    let given = json!({
        "from": "old", "source": path("old/Maildir"), "dest": path("new/Maildir"),
        "drain": format!("touch {}", path("closed")), "drain_timeout": 20,
    });
    let arguments = entry.arguments(given.as_object().unwrap().clone()).unwrap();
    let module = (entry.build)(&arguments).unwrap();
    let render: Box<cutover::host::Render> = Box::new(|_, text, _| Ok(text.into()));
    let controller = Arc::new(Controller { search: Vec::new(), render, transport: machine.clone() });
    let peers = Arc::new(Peers(machine.clone()));
    let view = View::new("new", machine.clone(), Arc::default(), (controller, peers.clone()));
    let planned = module.plan(&view).await.map_err(|error: ModuleError| error.to_string())?;
    let reach = Reach { host: &*machine, controller: &*machine, machines: &*peers, progress: &|_| {} };
    match planned.changes.as_slice() {
        [] => Ok(None),
        [change] => apply(change, reach).await.map(Some).map_err(|error| error.to_string()),
        more => panic!("{} changes", more.len()),
    }
}

/// Kills a move `kills` times, lets it end, and judges. Returns the number of kills that met a running move.
async fn ordeal(seed: u64, kills: u64) -> u64 {
    let directory = tempfile::tempdir().unwrap();
    let lab = Arc::new(Lab::new(directory.path()));
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    for (count, target, flags) in [(6, "new", ""), (4, "cur", ":2,"), (2, "cur", ":2,FS"), (3, ".Sent/cur", ":2,S")] {
        (0..count).for_each(|_| lab.deliver("old/Maildir", target, flags));
    }
    let user = std::thread::spawn({
        let (lab, dice) = (lab.clone(), Dice(dice.roll(u64::MAX) | 1));
        move || lab.live(dice)
    });
    let mut met = 0;
    let mut usual = Duration::from_millis(400);
    for _ in 0..kills {
        let machine = Machine::new();
        let start = Instant::now();
        let mut mover = tokio::spawn(move_once(lab.root.clone(), machine.clone()));
        let after = usual.mul_f64(dice.roll(1000) as f64 / 1000.0);
        match tokio::time::timeout(after, &mut mover).await {
            Ok(result) => {
                // A shell that a kill left without its controller may hold the lock for a moment more.
                if let Err(error) = result.unwrap() {
                    assert!(error.contains("holds the lock"), "seed {seed}: {error}");
                } else {
                    usual = start.elapsed();
                    lab.deliver("old/Maildir", "new", "");
                }
                continue;
            }
            Err(_) => met += 1,
        }
        // The hosts die with everything on them; or the controller alone, and the hosts notice.
        if dice.roll(3) > 0 {
            machine.kill();
        }
        mover.abort();
        let _ = mover.await;
    }
    lab.over.store(true, Ordering::Relaxed);
    user.join().unwrap();
    let mut tries = 0;
    loop {
        match move_once(lab.root.clone(), Machine::new()).await {
            Ok(None) => break,
            Ok(Some(_)) => {}
            Err(error) => assert!(error.contains("holds the lock"), "seed {seed}: {error}"),
        }
        tries += 1;
        assert!(tries < 50, "seed {seed}: it does not come to an end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    judge(seed, &lab);
    met
}

fn judge(seed: u64, lab: &Lab) {
    assert_eq!(lab.visible("old"), BTreeMap::new(), "seed {seed}: {} still has mail", lab.path("old"));
    let mut copies = lab.visible("new");
    for number in lab.downloaded.lock().unwrap().iter() {
        *copies.entry(*number).or_default() += 1;
    }
    let sent = lab.sent.load(Ordering::Relaxed);
    let lost: Vec<u64> = (0..sent).filter(|number| !copies.contains_key(number)).collect();
    let doubled: Vec<_> = copies.iter().filter(|(_, count)| **count != 1).collect();
    assert!(lost.is_empty() && doubled.is_empty(), "seed {seed}: lost {lost:?}, doubled {doubled:?}");
    let staged = lab.root.join("new/Maildir/x");
    let left: Vec<_> = fs::read_dir(staged).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name == "ledger" || name == "settled"), "seed {seed}: {left:?} left below x");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_move_killed_at_any_moment_neither_loses_nor_doubles_a_message() {
    const SEEDS: u64 = 26;
    const KILLS: u64 = 12;
    let mut met = 0;
    for pair in (1..=SEEDS).collect::<Vec<_>>().chunks(2) {
        let runs = pair.iter().map(|seed| tokio::spawn(ordeal(*seed, KILLS)));
        for run in futures::future::join_all(runs).await {
            met += run.unwrap();
        }
    }
    assert!(met >= 200, "only {met} kills met a running move");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_is_left_alone_keeps_names_flags_and_times_and_then_has_nothing_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let lab = Lab::new(directory.path());
    lab.deliver("old/Maildir", "new", "");
    lab.deliver("old/Maildir", "cur", ":2,FS");
    lab.deliver("old/Maildir", ".Sent/cur", ":2,S");
    let time = std::time::UNIX_EPOCH + Duration::from_secs(1_234_567_890);
    let name = "1600000001.M1.old,S=33:2,FS";
    let file = fs::File::options().write(true).open(lab.root.join("old/Maildir/cur").join(name)).unwrap();
    file.set_modified(time).unwrap();
    // An open file is a session that the drain waits for.
    drop(file);
    let report = move_once(lab.root.clone(), Machine::new()).await.unwrap().unwrap().report;
    assert_eq!((&report["moved"], &report["late"]), (&json!(3), &json!(0)));
    assert_eq!(lab.visible("new").len(), 3);
    let there = fs::metadata(lab.root.join("new/Maildir/cur").join(name)).unwrap();
    assert_eq!(there.modified().unwrap(), time);
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&there.permissions()) & 0o7777, 0o600);
    assert!(lab.root.join("new/Maildir/.Sent/maildirfolder").exists());
    assert!(lab.root.join("old/Maildir/x-out/cur").join(name).exists());
    assert!(fs::read_to_string(lab.root.join("new/Maildir/maildirsize")).unwrap().starts_with("1000000S\n"));
    assert!(move_once(lab.root.clone(), Machine::new()).await.unwrap().is_none());
}
