//! The lab's four domains move over this machine's own `sh`: accounts, mail and attachments, all mailboxes in one task.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
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
        Outcome::Applied(_) => panic!("facts are known"),
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
