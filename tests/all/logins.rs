//! How hosts are reached, from the command line over real OpenSSH servers: `~/.ssh/config`, variables, flags, the
//! environment, which of them wins, and what is refused before any host is touched.

use std::process::Command;

use crate::program::{Printed, Program, WHO};
use crate::sshd::{Account, Sshd, free_port, make_key};

/// A program whose home knows the server only under names that a test has to say: `keys/id` and `keys/hosts`.
fn stranger(sshd: &Sshd) -> Program {
    let program = Program::new();
    program.file("keys/hosts", &sshd.known_hosts_line("ed25519")).file("who.yml", WHO);
    make_key("ed25519", &program.path("keys/id"));
    sshd.authorize(&program.path("keys/id"));
    program
}

fn has(printed: &Printed, text: &str) {
    assert!(printed.stdout.contains(text), "no {text:?} in\n{}\n{}", printed.stdout, printed.stderr);
}

/// The server has seen nobody but the one who asked whether it listens.
fn assert_untouched(sshd: &Sshd) {
    let log = sshd.log();
    assert!(!log.contains("preauth") && !log.contains("Accepted"), "{log}");
}

fn says(printed: &Printed, text: &str) {
    assert!(printed.stderr.contains(text), "no {text:?} in\n{}\n{}", printed.stderr, printed.stdout);
}

#[test]
fn an_alias_of_ssh_config_leads_to_its_host() {
    let (sshd, account) = (Sshd::start(""), Account::create());
    let program = stranger(&sshd);
    program.file("hosts", "mx\n").file(
        ".ssh/config",
        &format!(
            "Include conf.d/*\nHost mx\n  HostName 127.0.0.1\n  Port {}\n  User = {}\n  UserKnownHostsFile ~/keys/hosts\n",
            sshd.port, account.name
        ),
    );
    program.file(".ssh/conf.d/keys", "Match host 127.0.0.1,mx exec \"test %n = mx\"\n  IdentityFile ~/keys/%L-none\n  IdentityFile ${HOME}/keys/id\n");
    has(&program.run("play -i hosts who.yml").expect(0), &format!("mx is {}", account.name));
    // Another name of the same server is another host, and its key is not known.
    program.file("hosts", &format!("other ansible_host=127.0.0.1 ansible_port={}\n", sshd.port));
    has(&program.run("play -i hosts who.yml").expect(4), "UNREACHABLE!");
}

#[test]
fn each_form_of_arguments_leads_to_the_host() {
    let sshd = Sshd::start("");
    let program = stranger(&sshd);
    let port = sshd.port;
    let dir = program.path("").display().to_string();
    let rest = format!("-i {dir}keys/id -o UserKnownHostsFile={dir}keys/hosts");
    program.file(
        "away",
        &format!(
            "Host 127.0.0.1\n  User root\n  Port {port}\n  IdentityFile ~/keys/id\n  UserKnownHostsFile ~/keys/hosts\n"
        ),
    );
    let common = |arguments: &str| format!("mx ansible_host=127.0.0.1 ansible_ssh_common_args='{arguments}'\n");
    let plain = "mx ansible_host=127.0.0.1\n";
    let flags = format!("-p {port} -l root {rest}");
    let long = format!("-oPort={port} -o 'User root' {rest} -o StrictHostKeyChecking=yes");
    let inventories = [
        common(&flags),
        common(&format!("-4Cqp{port} -lroot {rest}")),
        common(&format!("-F {dir}away")),
        common("-F ~/away -b 127.0.0.1"),
        format!("mx ansible_host=127.0.0.1 ansible_ssh_extra_args=\"{long}\"\n"),
        format!(
            "mx ansible_host=127.0.0.1 ansible_ssh_args='-C -o ControlMaster=auto -o ControlPersist=60s {flags}'\n"
        ),
        format!(
            "mx ansible_ssh_host=127.0.0.1 ansible_ssh_port={port} ansible_ssh_user=root ansible_private_key_file=keys/id ansible_ssh_known_hosts_file=~/keys/hosts\n"
        ),
        format!(
            "mx ansible_host=127.0.0.1 ansible_user=root ansible_ssh_private_key_file=~/keys/id ansible_port={port} ansible_host_key_checking=no\n"
        ),
    ];
    for inventory in inventories {
        program.file("hosts", &inventory);
        let printed = program.run("play -i hosts who.yml");
        assert_eq!(printed.status, 0, "{inventory}\n{}{}", printed.stdout, printed.stderr);
        has(&printed, "mx is root");
    }
    program.file("hosts", plain);
    let common = format!("--ssh-common-args=-p {port} -l root");
    let words = ["play", "-i", "hosts", "who.yml", &common, "--ssh-extra-args", &rest];
    has(&program.run_words(&words).expect(0), "mx is root");
    let environments: [&[(&str, &str)]; 3] = [
        &[("ANSIBLE_SSH_ARGS", &flags)],
        &[("ANSIBLE_SSH_COMMON_ARGS", &flags), ("ANSIBLE_SSH_EXTRA_ARGS", "-4")],
        &[
            ("ANSIBLE_REMOTE_PORT", &port.to_string()),
            ("ANSIBLE_REMOTE_USER", "root"),
            ("ANSIBLE_PRIVATE_KEY_FILE", "~/keys/id"),
            ("ANSIBLE_HOST_KEY_CHECKING", "False"),
            ("ANSIBLE_TIMEOUT", "30"),
        ],
    ];
    for environment in environments {
        let mut command = program.command();
        command.args(["play", "-i", "hosts", "who.yml"]).envs(environment.iter().copied());
        let printed = program.printed(command.output().unwrap());
        assert_eq!(printed.status, 0, "{environment:?}\n{}{}", printed.stdout, printed.stderr);
        has(&printed, "mx is root");
    }
}

#[test]
fn each_way_through_another_host_leads_through_it() {
    let (bastion, inner) = (Sshd::start(""), Sshd::start(""));
    let program = stranger(&inner);
    bastion.authorize(&program.path("keys/id"));
    program.file("keys/bastion", &bastion.known_hosts_line("ed25519"));
    let dir = program.path("").display().to_string();
    let at_bastion = format!(
        "Host bastion\n HostName 127.0.0.1\n Port {}\n User root\n IdentityFile ~/keys/id\n UserKnownHostsFile ~/keys/bastion\n",
        bastion.port
    );
    let of_inner = format!("ansible_host=127.0.0.1 ansible_port={} ansible_user=root", inner.port);
    let keys = "ansible_ssh_private_key_file=keys/id ansible_ssh_known_hosts_file=keys/hosts";
    let ssh = format!(
        "ssh -F none -i {dir}keys/id -o UserKnownHostsFile={dir}keys/bastion -p {} -W %h:%p root@127.0.0.1",
        bastion.port
    );
    let alias = format!(
        "Host mx\n HostName 127.0.0.1\n Port {}\n User root\n IdentityFile ~/keys/id\n UserKnownHostsFile ~/keys/hosts\n ProxyJump bastion\n",
        inner.port
    );
    let mut seen = 0;
    for (config, inventory) in [
        (at_bastion.clone(), format!("mx {of_inner} {keys} ansible_ssh_common_args='-J bastion'\n")),
        (
            at_bastion.clone(),
            format!("mx {of_inner} {keys} ansible_ssh_extra_args='-o ProxyJump=ssh://root@bastion'\n"),
        ),
        (String::new(), format!("mx {of_inner} {keys} ansible_ssh_common_args='-o ProxyCommand=\"{ssh}\"'\n")),
        (format!("{alias}{at_bastion}"), "mx\n".into()),
    ] {
        program.file(".ssh/config", &config).file("hosts", &inventory);
        let printed = program.run("play -i hosts who.yml");
        assert_eq!(printed.status, 0, "{inventory}\n{}{}", printed.stdout, printed.stderr);
        has(&printed, "mx is root");
        let accepted = bastion.log().matches("Accepted publickey").count();
        assert!(accepted > seen, "{inventory} did not go through the bastion");
        seen = accepted;
    }
    // What is given for the host is not given to the one it is reached through.
    program.file(".ssh/config", &at_bastion.replace("keys/bastion", "keys/nothing"));
    program.file(
        "hosts",
        &format!("mx {of_inner} {keys} ansible_host_key_checking=no ansible_ssh_common_args='-J bastion'\n"),
    );
    has(&program.run("play -i hosts who.yml").expect(4), "UNREACHABLE!");
}

#[test]
fn variables_win_over_keywords_over_flags_over_ssh_config() {
    let sshd = Sshd::start("");
    let accounts: Vec<Account> = (0..4).map(|_| Account::create()).collect();
    let program = stranger(&sshd);
    let config = format!(
        "Host 127.0.0.1\n  Port {}\n  User {}\n  IdentityFile ~/keys/id\n  UserKnownHostsFile ~/keys/hosts\n",
        sshd.port, accounts[0].name
    );
    program.file(".ssh/config", &config).file(
        "keyword.yml",
        &WHO.replace("gather_facts: no", &format!("gather_facts: no\n  remote_user: {}", accounts[2].name)),
    );
    program.file("hosts", "mx ansible_host=127.0.0.1\n");
    let is = |words: &str, account: &Account| has(&program.run(words).expect(0), &format!("mx is {}", account.name));
    is("play -i hosts who.yml", &accounts[0]);
    let flag = format!("-u {}", accounts[1].name);
    is(&format!("play -i hosts who.yml {flag}"), &accounts[1]);
    is(&format!("play -i hosts keyword.yml {flag}"), &accounts[2]);
    program.file("hosts", &format!("mx ansible_host=127.0.0.1 ansible_user={}\n", accounts[3].name));
    is(&format!("play -i hosts keyword.yml {flag}"), &accounts[3]);
    // As on the command line that Ansible makes, `ansible_ssh_args` comes before everything else.
    program.file(
        "hosts",
        &format!(
            "mx ansible_host=127.0.0.1 ansible_user={} ansible_ssh_args='-l {}'\n",
            accounts[3].name, accounts[1].name
        ),
    );
    is("play -i hosts keyword.yml", &accounts[1]);
}

#[test]
fn a_port_of_ssh_config_is_no_longer_in_the_way_of_a_variable() {
    let sshd = Sshd::start("");
    let program = stranger(&sshd);
    program.file(".ssh/config", "Port 1\nUser nobody\nIdentityFile ~/keys/id\n");
    program.file(
        "hosts",
        &format!(
            "mx ansible_host=127.0.0.1 ansible_port={} ansible_user=root ansible_ssh_known_hosts_file=keys/hosts\n",
            sshd.port
        ),
    );
    has(&program.run("play -i hosts who.yml").expect(0), "mx is root");
}

#[test]
fn what_is_wrong_or_not_supported_is_named_before_any_host_is_touched() {
    let sshd = Sshd::start("");
    let program = stranger(&sshd);
    let good = format!("good ansible_host=127.0.0.1 ansible_port={} ansible_user=root\n", sshd.port);
    for (variables, message, hint) in [
        ("ansible_port=ssh", "`ansible_port` of host `bad` should be a port, not `ssh`", ""),
        ("ansible_port=0", "`ansible_port` of host `bad` should be a port, not `0`", ""),
        ("ansible_port=70000", "`ansible_port` of host `bad` should be a port, not `70000`", ""),
        ("ansible_timeout=soon", "`ansible_timeout` of host `bad` should be a number of seconds, not `soon`", ""),
        ("ansible_ssh_timeout=-1", "`ansible_ssh_timeout` of host `bad` should be a number of seconds, not `-1`", ""),
        ("ssh_profile=ancient", "`ssh_profile` of host `bad` should be `legacy` or `modern`, not `ancient`", ""),
        (
            "ansible_host_key_checking=perhaps",
            "`ansible_host_key_checking` of host `bad` should be true or false, not `perhaps`",
            "",
        ),
        ("ansible_become=perhaps", "`ansible_become` of host `bad` should be true or false, not `perhaps`", ""),
        ("ansible_connection=winrm", "connection `winrm` of host `bad` is not supported", "`ssh` and `local` are"),
        ("ansible_host='a b'", "`a b` is no host name, in `ansible_host` of host `bad`", ""),
        ("ansible_user='a;b'", "`a;b` is no user name, in `ansible_user` of host `bad`", ""),
        (
            "ansible_ssh_common_args='-X'",
            "the flag `-X` of `ssh` is not supported, in `ansible_ssh_common_args` of host `bad`",
            "",
        ),
        (
            "ansible_ssh_common_args='-o Prot=1'",
            "unknown keyword `Prot`, in `ansible_ssh_common_args` of host `bad`",
            "did you mean `Port`?",
        ),
        (
            "ansible_ssh_extra_args='-o PKCS11Provider=/x.so'",
            "`PKCS11Provider` is not supported, in `ansible_ssh_extra_args` of host `bad`",
            "",
        ),
        ("ansible_ssh_args='-A'", "the flag `-A` of `ssh` is not supported, in `ansible_ssh_args` of host `bad`", ""),
        (
            "ansible_ssh_args='-o ForwardAgent=yes'",
            "`ForwardAgent` is not supported, in `ansible_ssh_args` of host `bad`",
            "",
        ),
        (
            "ansible_ssh_common_args='-F /no/such'",
            "there is no file `/no/such`, in `ansible_ssh_common_args` of host `bad`",
            "",
        ),
        (
            "ansible_ssh_common_args='-J a,,b'",
            "`` is no host to jump through, in `ansible_ssh_common_args` of host `bad`",
            "user@host:port",
        ),
        ("ansible_ssh_common_args='words'", "`words` is no flag of `ssh`", ""),
        (
            "ansible_ssh_executable=/opt/wrapper",
            "`ansible_ssh_executable` of host `bad` is not supported",
            "Cutover speaks SSH itself",
        ),
        (
            "ansible_ssh_pkcs11_provider=/x.so",
            "`ansible_ssh_pkcs11_provider` of host `bad` is not supported",
            "ssh-add -s",
        ),
        (
            "ansible_private_key=SECRET",
            "`ansible_private_key` of host `bad` is not supported",
            "ansible_ssh_private_key_file",
        ),
        ("ansible_shell_type=powershell", "`ansible_shell_type` of host `bad` is not supported", "POSIX `sh`"),
    ] {
        program.file("hosts", &format!("{good}bad {variables}\n"));
        let printed = program.run("play -i hosts who.yml");
        assert_eq!(printed.status, 1, "{variables}\n{}{}", printed.stdout, printed.stderr);
        says(&printed, &format!("error: {message}"));
        says(&printed, "--> hosts:2:");
        says(&printed, hint);
        assert_eq!(printed.stdout, "", "{variables}");
    }
    assert_untouched(&sshd);
}

#[test]
fn what_only_drives_the_ssh_program_is_taken_silently() {
    let sshd = Sshd::start("");
    let program = stranger(&sshd);
    program.file(
        "hosts",
        &format!(
            "mx ansible_host=127.0.0.1 ansible_port={} ansible_user=root ansible_ssh_private_key_file=keys/id \
             ansible_ssh_known_hosts_file=keys/hosts ansible_ssh_executable=/usr/bin/ssh ansible_ssh_transfer_method=piped \
             ansible_scp_extra_args=-O ansible_sftp_extra_args=-v ansible_ssh_pipelining=yes ansible_control_path=/x \
             ansible_ssh_retries=3 ansible_ssh_use_tty=no ansible_shell_type=sh ansible_python_interpreter=/x/python \
             ansible_connection=ansible.builtin.ssh\n",
            sshd.port
        ),
    );
    program.file(".ssh/config", "Host *\n  ForwardX11 yes\n  ForwardAgent yes\n  SendEnv LANG LC_*\n  ControlMaster auto\n  ControlPath ~/.ssh/%C\n  \
         LogLevel QUIET\n  VisualHostKey yes\n  AddKeysToAgent yes\n  HashKnownHosts yes\n  GSSAPIAuthentication yes\n  UseRoaming no\n");
    has(&program.run("play -i hosts who.yml").expect(0), "mx is root");
}

#[test]
fn errors_of_ssh_config_are_drawn_before_any_host_is_touched() {
    let sshd = Sshd::start("");
    let program = stranger(&sshd);
    let good = format!(
        "good ansible_host=127.0.0.1 ansible_port={} ansible_user=root ansible_ssh_private_key_file=keys/id\n",
        sshd.port
    );
    program.file("hosts", &format!("{good}mx1\nmx2\n"));
    let fails = |config: &str, expected: &str| {
        program.file(".ssh/config", config);
        let printed = program.run("play -i hosts who.yml --ssh-common-args=-oUserKnownHostsFile=keys/hosts").expect(1);
        assert_eq!(printed.stderr, expected);
        assert_eq!(printed.stdout, "");
    };
    fails(
        "Host mx*\n  HostNam x\n",
        "error: unknown keyword `HostNam`\n --> DIR/.ssh/config:2:3\n  |\n2 |   HostNam x\n  |   ^^^^^^^\n  |\n  = hint: did you mean `HostName`?\n",
    );
    fails(
        "Host mx*\n  Tunnel yes\n",
        "error: `Tunnel` is not supported\n --> DIR/.ssh/config:2:3\n  |\n2 |   Tunnel yes\n  |   ^^^^^^\n  |\n  \
         = hint: take it out for this host, or override it: `ansible_ssh_common_args: -o Tunnel=no`\n",
    );
    fails(
        "Port x\nHost mx1\n  Port \"1\n",
        "error: `Port` should be a port, not `x`\n --> DIR/.ssh/config:1:6\n  |\n1 | Port x\n  |      ^\n\n\
         error: a quote does not end\n --> DIR/.ssh/config:3:8\n  |\n3 |   Port \"1\n  |        ^^\n",
    );
    assert_untouched(&sshd);

    // A broken file that is not read, and a line for other hosts, are nobody's error.
    program.file("hosts", &good);
    program.file(".ssh/config", "Host mx*\n  Tunnel yes\n");
    let words = "play -i hosts who.yml --ssh-common-args=-oUserKnownHostsFile=keys/hosts";
    has(&program.run(words).expect(0), "good is root");
    program.file(".ssh/config", "Nonsense\n");
    program.run(words).expect(1);
    let words = ["play", "-i", "hosts", "who.yml", "--ssh-common-args=-F none -o UserKnownHostsFile=keys/hosts"];
    has(&program.run_words(&words).expect(0), "good is root");
}

#[test]
fn the_errors_of_all_hosts_are_shown_at_once_and_a_groups_once() {
    let program = Program::new();
    program.file("who.yml", WHO).file(
        "hosts",
        "[a]\nmx1 ansible_port=x\nmx2 ssh_profile=old\n[many]\nweb[1:500]\n[many:vars]\nansible_ssh_common_args='-Z'\n",
    );
    let printed = program.run("play -i hosts who.yml").expect(1);
    says(&printed, "`ansible_port` of host `mx1` should be a port, not `x`");
    says(&printed, "`ssh_profile` of host `mx2` should be `legacy` or `modern`, not `old`");
    says(
        &printed,
        "the flag `-Z` of `ssh` is not supported, in `ansible_ssh_common_args` of host `web1` (499 more of this play's hosts have the same)",
    );
    assert_eq!(printed.stderr.matches("error:").count(), 3, "{}", printed.stderr);
    // The hosts that a limit leaves out are not asked for.
    let limited = program.run("play -i hosts who.yml --limit mx1").expect(1);
    assert_eq!(limited.stderr.matches("error:").count(), 1, "{}", limited.stderr);
}

#[test]
fn a_login_that_needs_facts_or_results_is_settled_when_they_are_there() {
    let sshd = Sshd::start("");
    let program = stranger(&sshd);
    program.file("group_vars/all.yml", "keys: '{{ playbook_dir }}/keys'\nansible_ssh_known_hosts_file: '{{ keys }}/hosts'\nansible_ssh_private_key_file: '{{ keys }}/id'\n");
    program.file("hosts", "[first]\nhere ansible_connection=local\n[then]\nmx ansible_port=\"{{ hostvars['here']['found'] }}\"\n\
         lost ansible_port=\"{{ hostvars['here']['word'] }}\"\n[then:vars]\nansible_user=root\nansible_host=127.0.0.1\n");
    program.file(
        "site.yml",
        &format!(
            "- hosts: first\n  gather_facts: no\n  tasks:\n    - set_fact: {{found: {}, word: none}}\n{}",
            sshd.port,
            WHO.replace("hosts: all", "hosts: then")
        ),
    );
    let printed = program.run("play -i hosts site.yml").expect(2);
    has(&printed, "mx is root");
    has(&printed, "`ansible_port` of host `lost` should be a port, not `none`");
}

#[test]
fn group_vars_beside_the_playbook_are_part_of_the_check() {
    let program = Program::new();
    program.file("hosts", "mx\n").file("plays/who.yml", WHO).file("plays/host_vars/mx.yml", "ssh_profile: 7\n");
    let printed = program.run("play -i hosts plays/who.yml").expect(1);
    says(&printed, "`ssh_profile` of host `mx` should be `legacy` or `modern`, not `7`");
    says(&printed, "plays/host_vars/mx.yml:1:14");
}

#[test]
fn a_change_of_home_is_a_change_of_configuration() {
    let sshd = Sshd::start("");
    let program = stranger(&sshd);
    program.file("hosts", "mx\n");
    program.file(
        "elsewhere/.ssh/config",
        &format!(
            "Host mx\n HostName 127.0.0.1\n Port {}\n User root\n IdentityFile ~/id\n UserKnownHostsFile ~/known\n",
            sshd.port
        ),
    );
    for (from, to) in [("keys/id", "elsewhere/id"), ("keys/hosts", "elsewhere/known")] {
        std::fs::copy(program.path(from), program.path(to)).unwrap();
    }
    let mut command: Command = program.command();
    command.args(["play", "-i", "hosts", "who.yml"]).env("HOME", program.path("elsewhere"));
    has(&program.printed(command.output().unwrap()).expect(0), "mx is root");
}

#[test]
fn a_closed_port_of_ssh_config_is_what_is_tried() {
    let program = Program::new();
    let port = free_port();
    program.file("hosts", "mx\n").file("who.yml", WHO);
    program.file(
        ".ssh/config",
        &format!("Host mx\n HostName LOCALHOST\n AddressFamily inet\n Port {port}\n User somebody\n"),
    );
    has(&program.run("play -i hosts who.yml").expect(4), &format!("somebody@localhost port {port}"));
}
