//! A host's name, its kernel, its packet filter and its queue of jobs for real, in namespaces of the test's own.

use crate::program::Program;

const PLAY: &str = "- hosts: all
  gather_facts: no
  tasks:
    - hostname: {name: new.example.com, use: generic}
    - sysctl: {name: net.ipv4.ip_forward, value: '1', sysctl_file: \"{{ base }}/sysctl.conf\"}
    - iptables: {chain: MAIL, chain_management: true}
    - iptables: {chain: MAIL, protocol: tcp, destination_port: smtp, source: '!10.0.0.0/8', jump: ACCEPT, comment: it's mail}
    - iptables: {chain: INPUT, policy: DROP}
    - at: {command: 'true # one', count: 5, units: days, unique: true}
";

const FLUSH: &str = "- hosts: all
  gather_facts: no
  tasks:
    - iptables: {chain: MAIL, flush: true}
    - at: {command: 'true # one', state: absent}
";

/// Runs a script in which `run` is a play, and `seen` prints all that is changed.
fn in_namespaces(program: &Program, script: &str) -> String {
    let head = "PATH=$PATH:/usr/sbin:/sbin
        mount -t tmpfs -o mode=1770,uid=$(id -u daemon),gid=$(id -g daemon) tmpfs /var/spool/cron/atjobs
        install -o daemon -g daemon -m 600 /dev/null /var/spool/cron/atjobs/.SEQ
        hostname old.example.com
        sysctl -qw net.ipv4.ip_forward=0
        CUTOVER=$1
        run() { \"$CUTOVER\" play -i hosts \"$@\" --no-diff >log 2>&1 || cat log; sed -n 's/.* changed=\\([0-9]*\\) .*/changed \\1/p' log; }
        undo() { \"$CUTOVER\" undo last >log 2>&1 || cat log; }
        seen() { hostname; sysctl -n net.ipv4.ip_forward; iptables -S; atq | wc -l; }";
    program.in_namespaces("-mun", &format!("{head}\n{script}"))
}

#[test]
fn a_hosts_name_kernel_filter_and_queue_are_changed_left_alone_and_taken_back() {
    let program = Program::new();
    let base = program.path("").canonicalize().unwrap();
    program.file("hosts", &format!("here ansible_connection=local base='{}'\n", base.display()));
    program.file("site.yml", PLAY).file("flush.yml", FLUSH);
    let text = in_namespaces(
        &program,
        "run site.yml --check; seen; run site.yml; seen; undo; seen; run site.yml; run site.yml; run flush.yml; seen; undo; seen",
    );
    let fresh = "old.example.com\n0\n-P INPUT ACCEPT\n-P FORWARD ACCEPT\n-P OUTPUT ACCEPT\n0\n";
    let chain = "new.example.com\n1\n-P INPUT DROP\n-P FORWARD ACCEPT\n-P OUTPUT ACCEPT\n-N MAIL\n";
    let rule = "-A MAIL ! -s 10.0.0.0/8 -p tcp -m tcp --dport 25 -m comment --comment \"it\\'s mail\" -j ACCEPT\n";
    let rule = if text.contains("it\\'s") { rule.to_string() } else { rule.replace("\\'", "'") };
    let made = format!("{chain}{rule}1\n");
    // A check may say so or not: it has changed nothing.
    let expected = format!("{fresh}changed 6\n{made}{fresh}changed 6\nchanged 0\nchanged 2\n{chain}0\n{made}");
    assert_eq!(text.trim_start_matches("changed 0\n"), expected);
}
