//! The whole move while mail flows: by the window, killed again and again, with the new host's mail server gone for a while.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use cutover::lab::qmail::queue::Queue;
use cutover::lab::traffic::{Plan, Traffic};
use cutover::lab::{self, Lab};

use crate::program::{Printed, Program};
use crate::sshd::wait_for;

const PROGRAM: &str = env!("CARGO_BIN_EXE_cutover");

/// How often the controller is killed.
const KILLS: u32 = 12;

/// A controller, and the lab that it works on.
struct Controller {
    program: Program,
    words: String,
}

impl Controller {
    fn new(directory: &Path) -> Controller {
        let playbooks = directory.join("playbooks").display().to_string();
        let inventory = lab::inventory(directory).display().to_string();
        Controller {
            program: Program::new(),
            words: format!("window -i {inventory} --playbooks {playbooks} --batch 2"),
        }
    }

    fn command(&self, flags: &str) -> Command {
        let mut command = self.program.command();
        command.args(format!("{} {flags}", self.words).split_whitespace());
        command
    }

    fn window(&self, flags: &str) -> Printed {
        self.program.printed(self.command(flags).output().unwrap())
    }

    /// Runs what is due, and kills it at moments that come later and later, until it has come to its end often enough.
    fn killed(&self, flags: &str, kills: u32) {
        for kill in 0..kills {
            let mut child = self.command(flags).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(150 + u64::from(kill * 379 % 1400)));
            child.kill().unwrap();
            child.wait().unwrap();
            // What runs on a host comes to its end before somebody else's turn.
            assert!(wait_for(|| self.program.locks().is_empty()));
        }
        self.window(flags).expect(0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_domains_move_while_mail_flows_and_the_controller_is_killed_and_nothing_is_lost_or_doubled() {
    let temp = tempfile::tempdir().unwrap();
    let directory = temp.path().join("hosts");
    let mut lab = Lab::start(&directory, Path::new(PROGRAM)).await.unwrap();
    let plan = Plan { messages: 600, span: Duration::from_secs(40), domains: Vec::new() };
    let traffic = Traffic::start(lab.mail(), plan).unwrap();
    let home = lab.mail().old.home.clone();
    let controller = Controller::new(&directory);
    let work = |what: fn(&Controller), controller: Controller| async move {
        let done = tokio::task::spawn_blocking(move || {
            what(&controller);
            controller
        });
        done.await.unwrap()
    };

    // By day, and in the first night.
    let controller = work(|it| drop(it.window("--due --to prepared").expect(0)), controller).await;
    traffic.until(0.1).await;
    let controller = work(|it| it.killed("--due --to forwarding", KILLS / 2), controller).await;
    // The new host takes nothing for a while; what is for it waits.
    lab.mail_mut().stop_new();
    // Until mail waits there; on a slow machine all of it may have been sent by now.
    let waits = async {
        while Queue::of(&home).is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        () = waits => tokio::time::sleep(Duration::from_secs(2)).await,
        () = traffic.until(1.0) => {}
    }
    lab.mail_mut().start_new().await.unwrap();
    let pid = std::fs::read_to_string(directory.join("old/var/qmail/active/qmail-send.pid")).unwrap();
    assert!(Command::new("kill").args(["-ALRM", pid.trim()]).status().unwrap().success());
    // DNS is not this lab's: the administrator has switched it, and says so.
    let all = "window set example.com,example.net,example.org,mail.example switched";
    let words: Vec<String> = all.split(' ').map(str::to_string).collect();
    controller.program.run_words(&words.iter().map(String::as_str).collect::<Vec<_>>()).expect(0);
    let controller = work(|it| it.killed("--due", KILLS / 2), controller).await;
    traffic.until(0.95).await;
    // Each night collects what came late, and finds nothing else to do.
    let controller = work(|it| drop(it.window("--due").expect(0)), controller).await;
    let report = traffic.end().await.unwrap();
    let controller = work(|it| drop(it.window("--due").expect(0)), controller).await;
    let status = controller.program.run("status").expect(0).stdout;
    assert!(status.contains("4 domains: 4 draining\n"), "{status}");
    // All that this test has found goes with it.
    assert!(report.is_clean(), "{report}\n{status}");
    assert_eq!(report.sent.count, 600);
    drop(lab);
}
