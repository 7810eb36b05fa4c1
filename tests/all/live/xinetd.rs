//! A door that xinetd serves, from its opening to the retirement of the old hosts that come through it.

use std::process::Command;

use cutover::lab::fill::{Content, Domain, Role};

use super::hosts::{Host, Network, in_a_network_of_its_own, sh};
use super::services::fill_mail_host;
use crate::program::{Printed, Program};
use crate::sshd::wait_for;

const DOMAINS: &[Domain] = &[("example.com", 7, 31, &["ann"]), ("example.net", 12, 8, &["ann"])];

/// What qmail-smtpd says at the new host's second port to who comes from `host`.
fn greeting(host: &Host) -> String {
    host.run("exec 2>/dev/null; echo QUIT | tcpclient -RHl0 10.77.0.20 2525 sh -c 'head -n 1 <&6' || :")
}

fn stage(program: &Program, name: &str, flags: &str) -> Printed {
    let playbooks = concat!(env!("CARGO_MANIFEST_DIR"), "/playbooks/stages");
    let mut command: Command = program.command();
    command.env_remove("CUTOVER_LOCK_DIR").args(["play", "-i", "inventory.ini"]);
    command.arg(format!("{playbooks}/{name}.yml")).args(flags.split_whitespace());
    program.printed(command.output().unwrap())
}

#[test]
fn a_door_of_xinetd_lets_in_the_old_hosts_and_each_that_retires_loses_it() {
    let name = "live::xinetd::a_door_of_xinetd_lets_in_the_old_hosts_and_each_that_retires_loses_it";
    in_a_network_of_its_own(name, || {
        let network = Network::new();
        let [mut old, mut other, mut new] =
            [("old", 10), ("other", 11), ("new", 20)].map(|(name, last)| network.host(name, last));
        let content = Content { domains: DOMAINS, stored: 1 };
        for (host, role) in [(&old, Role::Old), (&other, Role::Old), (&new, Role::New)] {
            fill_mail_host(host, role, content);
        }
        // Of ucspi-tcp's and Plesk's program, what the door needs: it runs qmail-smtpd.
        new.file("var/qmail/bin/tcp-env", "#!/bin/sh\nshift\nexec \"$@\"\n");
        sh(&format!("chmod 755 {}", new.path("var/qmail/bin/tcp-env").display()));
        let send = "/var/qmail/bin/qmail-send </dev/null >/var/qmail/active/qmail-send.log 2>&1 &";
        old.start(send);
        other.start(send);
        new.start(
            "xinetd -stayalive -dontfork -f /etc/lab-xinetd.conf -pidfile /run/xinetd.pid >/var/log/xinetd 2>&1 &",
        );
        assert!(wait_for(|| new.path("run/xinetd.pid").exists()), "{}", new.log());

        let program = Program::new();
        program.file("known_hosts", &[&old, &other, &new].map(|host| host.known_hosts_line()).concat());
        program.file(
            "inventory.ini",
            &format!(
                "[old]\nfirst ansible_host=10.77.0.10 old_address=10.77.0.10\nsecond ansible_host=10.77.0.11 old_address=10.77.0.11\n\
                 [new]\ntheirs ansible_host=10.77.0.20\n[all:vars]\nansible_user=root\nansible_ssh_private_key_file={}\n\
                 ansible_ssh_known_hosts_file={}\nnew_address=10.77.0.20\ndoor=xinetd\nmail_owner=popuser\n\
                 qmail_send='cat /var/qmail/active/qmail-send.pid'\n",
                network.path("id").display(),
                program.path("known_hosts").display()
            ),
        );
        assert_eq!(greeting(&old), "");
        stage(&program, "door", "").expect(0);
        assert!(wait_for(|| greeting(&old).starts_with("220 ")), "{}", new.run("cat /var/log/xinetd"));
        assert!(greeting(&other).starts_with("220 "));
        assert_eq!(greeting(&new), "", "it comes from none of them");
        // The old hosts have no qmail-smtpd, and the new one none of the accounts.
        stage(&program, "forwarding", "-l first -e domains=example.com -e probe=false").expect(0);
        stage(&program, "forwarding", "-l second -e domains=example.net -e probe=false").expect(0);

        // The first that goes takes its own address away, the last one the door.
        let retired =
            stage(&program, "retirement", "-l second -e domains=example.net -e dns_moved=true").expect(0).stdout;
        assert!(wait_for(|| greeting(&other).is_empty()), "{retired}\n{}", new.run("cat /etc/xinetd.d/smtp-door"));
        assert!(greeting(&old).starts_with("220 "));
        stage(&program, "retirement", "-l first -e domains=example.com -e dns_moved=true").expect(0);
        assert!(wait_for(|| greeting(&old).is_empty()));
        assert_eq!(new.run("ls /etc/xinetd.d"), "");
        let again = stage(&program, "retirement", "-l first -e domains=example.com -e dns_moved=true").expect(0);
        assert!(again.stdout.contains(" changed=0 "), "{}", again.stdout);
    });
}
