//! Approvals: plans are signed and verified as `ssh-keygen -Y` does it, and the other way round.

use std::fs;
use std::process::{Command, Output, Stdio};

use crate::program::Program;
use crate::sshd::{Agent, make_key};

const PLAY: &str = "- hosts: new
  gather_facts: no
  tasks:
    - copy: {content: \"one\\n\", dest: \"{{ base }}/conf\", mode: '0640'}
";

/// A plan, and keys of `ann` and `bob`, who may both sign.
fn planned() -> Program {
    let program = Program::new();
    let base = program.path("new");
    fs::create_dir(&base).unwrap();
    program.file("hosts", &format!("new ansible_connection=local base={}\n", base.display())).file("site.yml", PLAY);
    program.run("plan -i hosts site.yml -o move.plan").expect(0);
    let mut allowed = String::new();
    for (name, kind) in [("ann", "ed25519"), ("bob", "rsa")] {
        make_key(kind, &program.path(name));
        allowed += &format!("{name}@example.com {}", program.read(&format!("{name}.pub")));
    }
    program.file("allowed", &allowed);
    program
}

/// Runs `ssh-keygen` with words split at spaces, and the plan on its stdin.
fn keygen(program: &Program, words: &str) -> Output {
    let plan = fs::File::open(program.path("move.plan")).unwrap();
    let mut command = Command::new("ssh-keygen");
    command.args(words.split(' ')).current_dir(program.path("")).stdin(plan).stderr(Stdio::inherit());
    command.output().unwrap()
}

/// The program refuses, says why, and has changed nothing.
fn refuses(program: &Program, words: &str, why: &str) {
    let printed = program.run(words).expect(1);
    assert!(printed.stderr.contains(why), "no {why:?} in\n{}", printed.stderr);
    assert!(!program.path("new/conf").exists());
}

#[test]
fn ssh_keygen_accepts_what_cutover_signs_and_cutover_what_ssh_keygen_signs() {
    for kind in ["ed25519", "rsa", "ecdsa"] {
        let program = planned();
        make_key(kind, &program.path("eve"));
        program.file("allowed", &format!("eve {}", program.read("eve.pub")));
        program.run("sign move.plan --key eve").expect(0);
        let verify = "-Y verify -f allowed -I eve -n cutover-plan -s move.plan.sig";
        assert!(keygen(&program, verify).status.success(), "{kind}");

        fs::remove_file(program.path("move.plan.sig")).unwrap();
        refuses(&program, "apply move.plan --verify allowed", "`move.plan.sig` has no signature");
        assert!(keygen(&program, "-Y sign -f eve -n cutover-plan move.plan").status.success());
        let applied = program.run("apply move.plan --verify allowed --signer eve").expect(0);
        assert!(applied.stderr.contains("signed by `eve`, "), "{}", applied.stderr);
        assert_eq!(program.read("new/conf"), "one\n");
    }
}

#[test]
fn whoever_made_the_plan_signs_it_and_another_one_approves_it() {
    let program = planned();
    let both = "apply move.plan --verify allowed --signer ann@example.com --signer bob@example.com";
    program.run("plan -i hosts site.yml -o move.plan --sign ann").expect(0);
    refuses(&program, both, "the plan `move.plan` is not signed by `bob@example.com`:\n");
    let signed = program.run("sign move.plan --key bob").expect(0);
    assert!(signed.stderr.starts_with("plan: 1 change on 1 host\nsigned with "), "{}", signed.stderr);
    // Twice is once.
    program.run("sign move.plan --key bob").expect(0);
    assert_eq!(program.read("move.plan.sig").matches("BEGIN SSH SIGNATURE").count(), 2);
    let shown = program.run("show move.plan --verify allowed").expect(0);
    assert!(
        shown.stderr.contains("signed by `ann@example.com`, ")
            && shown.stderr.contains("signed by `bob@example.com`, ")
    );
    program.run(both).expect(0);
    assert_eq!(program.read("new/conf"), "one\n");
}

#[test]
fn a_plan_that_is_not_signed_as_it_has_to_be_touches_nothing() {
    let program = planned();
    let apply = "apply move.plan --verify allowed";
    refuses(&program, apply, "hint: `cutover sign move.plan --key KEY` signs it");
    refuses(&program, "apply move.plan --verify nowhere", "the allowed signers `nowhere` cannot be read");
    refuses(&program, "apply move.plan --signer ann", "--verify");

    make_key("ed25519", &program.path("eve"));
    program.run("sign move.plan --key eve").expect(0);
    refuses(&program, apply, "its key is not in `allowed`");

    fs::remove_file(program.path("move.plan.sig")).unwrap();
    assert!(keygen(&program, "-Y sign -f ann -n file move.plan").status.success());
    refuses(&program, apply, "it is for `file`, not for `cutover-plan`");
    program.run("sign move.plan --key ann").expect(0);
    refuses(
        &program,
        &format!("{apply} --signer bob@example.com"),
        "it is of `ann@example.com`, not of `bob@example.com`",
    );

    let key = program.read("ann.pub");
    for (options, why) in [
        ("valid-before=\"20200101Z\"", "its key was valid only until 2020-01-01T00:00:00Z (`allowed`, line 1)"),
        ("namespaces=\"git\"", "its key may sign for `git`, not for `cutover-plan`"),
        ("sideways", "`allowed`, line 1: unknown option `sideways`"),
    ] {
        program.file("allowed", &format!("ann@example.com {options} {key}"));
        refuses(&program, apply, why);
    }

    // Another plan under the same name, whole in itself.
    program.file("allowed", &format!("ann@example.com {key}"));
    program.file("site.yml", &PLAY.replace("one", "two"));
    program.run("plan -i hosts site.yml -o move.plan").expect(0);
    refuses(&program, apply, "it is of another content");
    let cut = program.read("move.plan.sig").replace("-----END SSH SIGNATURE-----", "");
    program.file("move.plan.sig", &cut);
    refuses(&program, apply, "`move.plan.sig`: signature 1 is cut");
}

#[test]
fn an_agent_signs_with_the_key_whose_public_half_is_named() {
    let program = planned();
    let agent = Agent::start();
    agent.add(&program.path("bob"));
    fs::remove_file(program.path("bob")).unwrap();
    let mut command = program.command();
    command.env("SSH_AUTH_SOCK", &agent.socket).args(["sign", "move.plan", "--key", "bob.pub"]);
    program.printed(command.output().unwrap()).expect(0);
    assert!(
        keygen(&program, "-Y verify -f allowed -I bob@example.com -n cutover-plan -s move.plan.sig").status.success()
    );
    program.run("apply move.plan --verify allowed").expect(0);
}

#[test]
fn a_key_that_cannot_sign_says_why() {
    let program = planned();
    refuses(&program, "sign move.plan --key nowhere", "the key `nowhere` does not sign: no such file");
    refuses(&program, "sign move.plan --key ann.pub", "a public key; its private key is in no agent");
    assert!(keygen(&program, "-q -p -f ann -N geheim").status.success());
    let inner = program.command();
    let mut command = Command::new("setsid");
    command.arg("--wait").arg(inner.get_program()).args(["sign", "move.plan", "--key", "ann"]);
    command.env_clear().current_dir(program.path("")).stdin(Stdio::null());
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let printed = program.printed(command.output().unwrap()).expect(1);
    let why = "the key `ann` does not sign: it is encrypted, and there is no terminal to ask for its passphrase";
    assert!(printed.stderr.contains(why) && printed.stderr.contains("`ssh-add ann` hands it"), "{}", printed.stderr);
    // Nor is what is no plan approved.
    program.file("move.plan", "{}\n");
    refuses(&program, "sign move.plan --key bob", "this is no plan");
    assert!(!program.path("move.plan.sig").exists());
}
