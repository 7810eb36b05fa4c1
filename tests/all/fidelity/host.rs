//! A fresh pair of hosts for one playbook of the corpus, and what a check and a run leave of them.

use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use cutover::lab::fill::{Role, fill};
use cutover::run::plan::Plan;
use cutover::run::record::Record;
use cutover::secret::Secret;

use super::told::{Told, told};
use super::{Program, corpus};
use crate::archive::Archive;
use crate::etc::Etc;
use crate::mariadb::{Mariadb, PSA, PSA_OLD};
use crate::named::{Named, zone};
use crate::program::Printed;

const HOSTS: [(&str, Role); 2] = [("one", Role::New), ("two", Role::Old)];

/// Says of a pair that it is the lab.
const LAB: &str = "lab";

/// Two hosts, each a directory of this machine, and a playbook for them.
pub struct Pair {
    program: Program,
    /// Inventory, playbook and flags.
    words: String,
    /// What the playbook needs beside `host.sh`, as its first lines say: `mail`, `services`, `accounts`, `packages`, `mysql`.
    needs: String,
    roots: Vec<String>,
    /// What its commands make that do not name it.
    commands: String,
    /// Tasks that the playbook itself leaves out of a check, and so says nothing of.
    left_out: &'static [&'static str],
    began: i64,
    /// Where it needs `accounts` or `packages`.
    etc: Option<Etc>,
    /// Where it needs `mysql`: the names of its database and of that of another host.
    databases: Option<[String; 2]>,
    /// Where it needs `dns`: no check changes it.
    _named: Option<Named>,
}

/// What a check says, or what a run has done.
pub struct Checked {
    pub plan: Plan,
    /// Tasks with `check_mode: false`.
    pub record: Record,
    pub told: Told,
    /// The fresh hosts.
    pub tree: Tree,
    /// Where the hosts are.
    pub roots: Vec<String>,
    /// What commands make that do not name it.
    pub commands: Vec<String>,
    /// When the test began, in seconds since 1970.
    pub began: i64,
}

pub struct Ran {
    pub record: Record,
    pub told: Told,
    pub tree: Tree,
}

/// Every path with what it is.
pub type Tree = BTreeMap<String, Seen>;

/// What a path is: kind and mode, owner, group, and the content of a file or the target of a link.
#[derive(Clone, PartialEq, Eq)]
pub struct Seen {
    pub kind: &'static str,
    pub mode: u32,
    pub owner: u32,
    pub group: u32,
    pub content: Vec<u8>,
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Seen { kind, mode, owner, group, content } = self;
        write!(f, "{kind} {mode:04o} {owner}:{group} {:.200?}", String::from_utf8_lossy(content))
    }
}

impl Pair {
    pub fn new(playbook: &Path) -> Pair {
        let text = std::fs::read_to_string(playbook).unwrap();
        let said = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("# {key}: ")));
            line.unwrap_or_default().to_string()
        };
        let program = Program::new();
        // An unprivileged user goes through it.
        std::fs::set_permissions(program.path("."), std::fs::Permissions::from_mode(0o755)).unwrap();
        let databases = said("needs").contains("mysql").then(|| [PSA, PSA_OLD].map(|sql| Mariadb::get().database(sql)));
        let variables = databases
            .as_ref()
            .map(|[one, two]| format!(" database={one} old_database={two} socket={}", Mariadb::get().socket()));
        let variables = variables.unwrap_or_default();
        let line = |(name, _): (&str, Role)| {
            format!("{name} ansible_connection=local root={}{variables}\n", program.path(name).display())
        };
        let named = (said("needs") == "dns").then(|| {
            let zones = "zone example.com { type primary; file \"example.com\"; allow-update { 127.0.0.1; }; };";
            Named::start(zones, &[("example.com", &zone("mail 7200 IN A 10.77.0.10\n@ IN MX 10 mail\n"))])
        });
        let port = named.as_ref().map_or(0, |named| named.port);
        program.file("hosts", &(HOSTS.map(line).concat() + &format!("[all:vars]\ndns_port={port}\n")));
        program.file("password", "secret\n");
        let words = format!("-i hosts {} {}", playbook.display(), said("flags"));
        let roots = HOSTS.map(|(name, _)| name.to_string()).to_vec();
        let etc = match said("needs").as_str() {
            "accounts" => Some(Etc::below(&program.path(""))),
            "packages" => Some(Etc::below(&program.path("")).with(Archive::below(&program.path("")))),
            _ => None,
        };
        Pair {
            etc,
            databases,
            _named: named,
            program,
            words,
            needs: said("needs"),
            roots,
            commands: said("made by commands"),
            left_out: &[],
            began: now(),
        }
    }

    /// The lab, with a shipped playbook for it.
    pub fn lab(playbook: &str, flags: &str) -> Pair {
        let program = Program::new();
        program.run("lab up").expect(0);
        program.file("password", "secret\n");
        let lab = program.path("state/lab");
        let words = format!("-i {0}/inventory.yml {0}/playbooks/{playbook} {flags}", lab.display());
        let roots = ["old", "new"].map(|name| format!("state/lab/{name}")).to_vec();
        // The daemon's own.
        let commands = "state/lab/old/var/qmail/active".to_string();
        Pair {
            etc: None,
            databases: None,
            _named: None,
            program,
            words,
            needs: LAB.into(),
            roots,
            commands,
            left_out: &[
                "Addresses of the domains",
                "What the new host takes from the old one",
                "It takes every address, and none that it must not",
                "The old host delivers nothing of them to itself any more",
                "What is left to move",
                "Nothing is left",
            ],
            began: now(),
        }
    }

    /// Checks the playbook on fresh hosts; an error is what the program printed.
    pub fn check(&self) -> Result<Checked, String> {
        self.fresh();
        let tree = self.tree();
        let printed = self.cutover("plan", "-o made.plan --vault-password-file password")?;
        let mut told = told(&printed.stdout);
        for ((task, _), verdicts) in &mut told {
            if self.left_out.contains(&task.as_str()) {
                verdicts.iter_mut().for_each(|verdict| *verdict = "unknown".into());
            }
        }
        let plan = Plan::load(&self.program.path("made.plan"), Some(&Secret::new("secret"))).unwrap();
        assert!(tree == self.tree(), "a check has changed something: {}", self.words);
        let below = |names: &[String]| names.iter().map(|name| self.program.path(name).display().to_string()).collect();
        let commands: Vec<String> = self.commands.split_whitespace().map(str::to_string).collect();
        let (roots, commands) = (below(&self.roots), below(&commands));
        Ok(Checked { plan, record: self.record(), told, tree, roots, commands, began: self.began })
    }

    /// Runs it on fresh hosts.
    pub fn run(&self) -> Result<Ran, String> {
        self.fresh();
        let printed = self.cutover("play", "")?;
        Ok(Ran { record: self.record(), told: told(&printed.stdout), tree: self.tree() })
    }

    /// Makes the hosts anew. The lab's messages have names of the time they were made at, so the second time is a copy;
    /// of the lab itself, which runs, the check has left all as it was.
    fn fresh(&self) {
        let _ = std::fs::remove_dir_all(self.program.path("state/runs"));
        if let Some(etc) = &self.etc {
            etc.forget();
        }
        for (name, sql) in self.databases.iter().flatten().zip([PSA, PSA_OLD]) {
            Mariadb::get().remake(name, sql);
        }
        if self.needs == LAB {
            return;
        }
        let shell = |script: &str, words: &[&Path]| {
            let status = std::process::Command::new("sh").args(["-ec", script, "sh"]).args(words).status().unwrap();
            assert!(status.success(), "{script}");
        };
        for (name, role) in HOSTS {
            let (root, kept) = (self.program.path(name), self.program.path(&format!("fresh-{name}")));
            if !kept.exists() {
                shell("sh \"$1\" \"$2\"", &[&corpus().join("host.sh"), &root]);
                if self.needs.contains("mail") {
                    fill(&root, role, ("root", "root")).unwrap();
                }
                shell("cp -a \"$1\" \"$2\"", &[&root, &kept]);
            }
            shell("rm -rf \"$2\" && cp -a \"$1\" \"$2\"", &[&kept, &root]);
        }
    }

    fn cutover(&self, word: &str, flags: &str) -> Result<Printed, String> {
        let words = format!("{word} --seed both {} {flags}", self.words);
        let path = std::env::var("PATH").unwrap();
        let path = format!("{}:{path}", self.program.path("one/bin").display());
        let mut command = self.program.command();
        command.env("PATH", path).args(words.split_whitespace());
        if let Some(etc) = &self.etc {
            command = etc.around(&command);
        }
        let printed = self.program.printed(command.output().unwrap());
        match printed.status {
            0 => Ok(printed),
            status => Err(format!("`cutover {words}` ends with {status}:\n{}{}", printed.stdout, printed.stderr)),
        }
    }

    /// The journal; a check may have none.
    fn record(&self) -> Record {
        let runs = self.program.path("state/runs");
        let mut found = std::fs::read_dir(runs).into_iter().flatten().map(|entry| entry.unwrap().path());
        let record = found.next().map(|path| Record::read(&path).unwrap()).unwrap_or_default();
        assert!(found.next().is_none());
        record
    }

    fn tree(&self) -> Tree {
        let mut found = Tree::new();
        let mut open: Vec<PathBuf> = self.roots.iter().map(|name| self.program.path(name)).collect();
        while let Some(path) = open.pop() {
            let about = path.symlink_metadata().unwrap();
            let (kind, content) = match about.file_type() {
                kind if kind.is_dir() => {
                    open.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
                    ("directory", Vec::new())
                }
                kind if kind.is_symlink() => {
                    ("link", std::fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes())
                }
                kind if kind.is_fifo() => ("fifo", Vec::new()),
                _ => ("file", std::fs::read(&path).unwrap()),
            };
            let mode = if kind == "link" { 0 } else { about.mode() & 0o7777 };
            let seen = Seen { kind, mode, owner: about.uid(), group: about.gid(), content };
            found.insert(path.display().to_string(), seen);
        }
        found
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        if self.needs == LAB {
            self.program.run("lab down");
        }
    }
}

/// In seconds since 1970.
fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64
}
