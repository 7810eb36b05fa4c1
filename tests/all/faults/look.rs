//! A connection that is lost while a task only looks.

use super::{Site, has};

#[test]
fn a_plan_whose_connection_is_cut_is_made_again_over_a_new_one() {
    let site = Site::new(&["mx"]);
    site.playbook(
        "    - command: touch HOST/ready
    - name: patience
      wait_for: {path: HOST/go, timeout: 60}
    - copy: {content: \"text\\n\", dest: HOST/after}
",
    );
    let run = site.start();
    run.until("TASK [patience]");
    // A connection that is cut before anything is asked over it is made again without a word.
    std::thread::sleep(std::time::Duration::from_secs(1));
    site.network.cut();
    run.until("[WARNING]: `mx`: the connection was lost, connecting again (1 of 2)");
    std::fs::write(site.on_host("go"), "").unwrap();
    let printed = run.end().expect(0);
    has(&printed, "ok: [mx]");
    assert_eq!(std::fs::read_to_string(site.on_host("after")).unwrap(), "text\n");
    assert_eq!(site.sshd.log().matches("Accepted publickey").count(), 2, "{}", site.sshd.log());
    site.nothing_is_left();
}

#[test]
fn a_host_that_stays_away_is_unreachable_after_two_more_tries_and_the_others_go_on() {
    let site = Site::new(&["mx"]);
    // Past the network that fails.
    let there = format!(
        "there ansible_host=127.0.0.1 ansible_port={} ansible_user=root ansible_ssh_private_key_file={}\n",
        site.sshd.port,
        site.sshd.path("id_ed25519").display()
    );
    site.program.file("hosts", &(site.program.read("hosts") + &there));
    site.playbook(
        "    - command: touch HOST/{{ inventory_hostname }}
    - name: patience
      wait_for: {path: HOST/go, timeout: 60}
    - copy: {content: \"text\\n\", dest: \"HOST/after {{ inventory_hostname }}\"}
",
    );
    let run = site.start();
    run.until("TASK [patience]");
    site.network.refuse();
    site.network.cut();
    run.until("connecting again (2 of 2)");
    std::fs::write(site.on_host("go"), "").unwrap();
    let printed = run.end().expect(4);
    has(&printed, "fatal: [mx]: UNREACHABLE!");
    has(&printed, "ok: [there]");
    assert!(!printed.stdout.contains("unknown whether applied"), "{}", printed.stdout);
    assert!(site.on_host("after there").exists() && !site.on_host("after mx").exists());
    site.nothing_is_left();
}

#[test]
fn a_shell_that_ended_between_two_tasks_is_started_anew() {
    let site = Site::new(&["mx"]);
    // The first command's parent is the shell; it ends it after its own answer.
    site.playbook(
        "    - shell: \"(sleep 0.3; kill -KILL $PPID) >/dev/null 2>&1 &\"
    - pause: {seconds: 2}
    - command: touch HOST/after
",
    );
    site.run().expect(0);
    assert!(site.on_host("after").exists());
    site.nothing_is_left();
}
