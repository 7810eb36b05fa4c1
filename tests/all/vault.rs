//! What ansible-vault has encrypted is read, what Cutover encrypts is the same, and no secret is told.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Command;

use crate::program::{Printed, Program};

/// With it, a text is encrypted to the same bytes each time.
const SALT: &str = "mysalt";

/// A program with two passwords: `geheim` under `default`, `anders` under `dev`.
fn program() -> Program {
    let program = Program::new();
    program.file("pw", "geheim\n").file("dev", "anders\n").file("hosts", "here ansible_connection=local\n");
    program
}

fn given(program: &Program, words: &str, input: &str) -> Printed {
    use std::io::Write as _;
    let mut command = program.command();
    command.args(words.split_whitespace()).env("ANSIBLE_VAULT_ENCRYPT_SALT", SALT);
    command
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    program.printed(child.wait_with_output().unwrap())
}

fn sealed(program: &Program, plain: &str, flags: &str) -> String {
    given(program, &format!("vault encrypt {flags}"), plain).expect(0).stdout
}

#[test]
fn texts_are_byte_for_byte_those_of_ansible_vault() {
    let program = program();
    // `ANSIBLE_VAULT_ENCRYPT_SALT=mysalt ansible-vault encrypt --vault-password-file pw f --output -`, f holding `abc`.
    let theirs = "$ANSIBLE_VAULT;1.1;AES256\n\
        3664373937333631366337340a643737616164376637376637613234636632623030346639653637\n\
        366433326131363062666131646364646234343331333033346665363162353963373537390a6566\n\
        633431366361376465323161326230396363336635626433333838663231\n";
    assert_eq!(sealed(&program, "abc", "--vault-password-file pw"), theirs);
    program.file("theirs", theirs);
    assert_eq!(program.run("vault view theirs --vault-id pw").expect(0).stdout, "abc");
    // `... encrypt_string --vault-id dev@pw2 --stdin-name foo < f`.
    let theirs = "foo: !vault |\n          $ANSIBLE_VAULT;1.2;AES256;dev\n          \
        3664373937333631366337340a373539643864643866616662336232323365656632346565656134\n          \
        333737353435646430343635343166636435626636626262343263376636663631346133630a6639\n          \
        306432613431316636323837343036656436643538346230636664656334\n";
    assert_eq!(
        given(&program, "vault encrypt_string --vault-id dev@dev --stdin-name foo", "abc").expect(0).stdout,
        theirs
    );
}

#[test]
fn files_are_encrypted_edited_rekeyed_and_decrypted_in_place() {
    let program = program();
    program.file("a.yml", "one: 1\n").file("b.yml", "two: 2\n");
    program.run("vault encrypt a.yml b.yml --vault-password-file pw").expect(0);
    let mode = |name: &str| std::fs::metadata(program.path(name)).unwrap().permissions().mode() & 0o777;
    assert!(program.read("a.yml").starts_with("$ANSIBLE_VAULT;1.1;AES256\n"));
    assert_eq!(mode("a.yml"), 0o600);
    let twice = program.run("vault encrypt a.yml --vault-password-file pw").expect(1);
    assert!(twice.stderr.contains("`a.yml` is encrypted already"), "{}", twice.stderr);

    // The editor notes where the plaintext is, and that nobody else may read it.
    let editor = "#!/bin/sh\nstat -c %a \"$1\" \"${1%/*}\" > seen\nstat -f -c %T \"$1\" >> seen\necho \"$1\" >> seen\necho three: 3 >> \"$1\"\n";
    program.file("editor", editor);
    std::fs::set_permissions(program.path("editor"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let edit = |words: &str| {
        let mut command = program.command();
        command.args(words.split_whitespace()).env("EDITOR", program.path("editor"));
        program.printed(command.output().unwrap()).expect(0)
    };
    edit("vault edit a.yml --vault-password-file pw");
    let seen = program.read("seen");
    let seen: Vec<&str> = seen.lines().collect();
    assert_eq!(&seen[..3], ["600", "700", "tmpfs"]);
    assert!(!std::path::Path::new(seen[3]).exists());
    assert_eq!(program.run("vault view a.yml --vault-id pw").expect(0).stdout, "one: 1\nthree: 3\n");

    std::fs::set_permissions(program.path("a.yml"), std::fs::Permissions::from_mode(0o640)).unwrap();
    program.run("vault rekey a.yml b.yml --vault-id pw --new-vault-id dev@dev").expect(0);
    assert!(program.read("a.yml").starts_with("$ANSIBLE_VAULT;1.2;AES256;dev\n"));
    assert_eq!(mode("a.yml"), 0o640);
    program.run("vault decrypt a.yml --vault-id pw").expect(1);
    program.run("vault decrypt a.yml b.yml --vault-id dev@dev").expect(0);
    assert_eq!((program.read("a.yml"), program.read("b.yml")), ("one: 1\nthree: 3\n".into(), "two: 2\n".into()));

    edit("vault create new.yml --vault-id dev@dev --skip-tty-check");
    assert_eq!(program.run("vault view new.yml --vault-id dev@dev").expect(0).stdout, "three: 3\n");
    let several = program.run("vault encrypt a.yml --vault-id pw --vault-id dev@dev").expect(1);
    assert!(several.stderr.contains("--encrypt-vault-id"), "{}", several.stderr);
    program.run("vault encrypt a.yml --vault-id pw --vault-id dev@dev --encrypt-vault-id dev").expect(0);
    assert!(program.read("a.yml").contains(";dev\n"));
}

#[test]
fn everything_that_may_be_encrypted_is_read_and_no_secret_is_told() {
    let program = program();
    let inline =
        given(&program, "vault encrypt-string --vault-id dev@dev --name inline Inline-{{7}}", "").expect(0).stdout;
    program.file("inline.yml", &inline);
    let pw = "--vault-password-file pw";
    program.file("group_vars/all.yml", &sealed(&program, "from_group: Group-Secret\n", pw));
    program.file("files/blob", &sealed(&program, "Blob-Secret\n", pw));
    program.file("templates/t.j2", &sealed(&program, "T={{ inline }}\n", pw));
    program.file(
        "tasks.yml",
        &sealed(&program, "- copy: {dest: \"{{ out }}/group\", content: \"g={{ from_group }}\\n\"}\n", pw),
    );
    let play = "- hosts: all\n  gather_facts: no\n  vars_files: [inline.yml]\n  tasks:\n    \
        - file: {path: \"{{ out }}\", state: directory}\n    \
        - include_tasks: tasks.yml\n    \
        - copy: {dest: \"{{ out }}/inline\", content: \"i={{ inline }}\\n\"}\n    \
        - copy: {dest: \"{{ out }}/blob\", src: blob}\n    \
        - copy: {dest: \"{{ out }}/sealed\", src: blob, decrypt: false}\n    \
        - template: {dest: \"{{ out }}/t\", src: t.j2}\n    \
        - copy: {dest: \"{{ out }}/hash\", content: \"{{ inline | hash('sha256') }}\"}\n    \
        - command: echo {{ inline }}\n      register: said\n    \
        - debug: {msg: \"{{ said.stdout }} {{ inline }} {{ lookup('unvault', 'files/blob') }}\"}\n    \
        - assert: {that: [inline is vault_encrypted, said.stdout == inline, \"inline == 'Inline-' ~ '{' ~ '{7}}'\"]}\n";
    program.file("site.yml", &sealed(&program, play, pw));
    let flags =
        format!("-i hosts site.yml -v -e out={} --vault-id pw --vault-id dev@dev", program.path("out").display());
    let run = program.run(&format!("play {flags}")).expect(0);
    assert_eq!(program.read("out/inline"), "i=Inline-{{7}}\n");
    assert_eq!(program.read("out/group"), "g=Group-Secret\n");
    assert_eq!(program.read("out/blob"), "Blob-Secret\n");
    assert_eq!(program.read("out/t"), "T=Inline-{{7}}\n");
    assert!(program.read("out/sealed").starts_with("$ANSIBLE_VAULT;"));
    let digest = program.read("out/hash");
    let journals = std::fs::read_dir(program.path("state/runs")).unwrap();
    let journal: String = journals.map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap()).collect();
    for secret in ["Inline-{{7}}", "Group-Secret", "Blob-Secret", &digest] {
        assert!(!run.stdout.contains(secret) && !run.stderr.contains(secret), "{secret} in\n{}", run.stdout);
        assert!(!journal.contains(secret), "{secret} in\n{journal}");
    }
    assert!(run.stdout.contains("+i=********"), "{}", run.stdout);

    // The journal has it under the first password: an undo can go back, and does not tell it either.
    std::fs::write(program.path("out/inline"), "other\n").unwrap();
    program.run(&format!("play {flags}")).expect(0);
    let undo = program.run("undo last --vault-id pw");
    let undo = undo.expect(0);
    assert_eq!(program.read("out/inline"), "other\n");
    assert!(!undo.stdout.contains("Inline-"), "{}", undo.stdout);
}

#[test]
fn a_plan_keeps_secrets_sealed_and_applies_them() {
    let program = program();
    program.file(
        "vars.yml",
        &given(&program, "vault encrypt-string --vault-id pw --name s Plan-Secret", "").expect(0).stdout,
    );
    program.file(
        "site.yml",
        &format!(
            "- hosts: all\n  gather_facts: no\n  vars_files: [vars.yml]\n  tasks:\n    - copy: {{dest: {}, content: \"x={{{{ s }}}}\\n\"}}\n",
            program.path("made").display()
        ),
    );
    let plan = program.run("plan -i hosts site.yml -o p --vault-id pw").expect(0);
    assert!(plan.stdout.contains("+x=********") && !plan.stdout.contains("Plan-Secret"), "{}", plan.stdout);
    assert!(!program.read("p").contains("Plan-Secret"));
    let shown = program.run("show p").expect(0);
    assert!(shown.stdout.contains("********") && !shown.stdout.contains("Plan-Secret"), "{}", shown.stdout);
    let apply = program.run("apply p --vault-id pw").expect(0);
    assert_eq!(program.read("made"), "x=Plan-Secret\n");
    assert!(!apply.stdout.contains("Plan-Secret"), "{}", apply.stdout);
}

#[test]
fn passwords_come_from_programs_the_environment_and_under_ids() {
    let program = program();
    program.file("v.yml", &sealed(&program, "s: sealed-under-dev\n", "--vault-id dev@dev"));
    program.file("keys-client", "#!/bin/sh\n[ \"$1 $2\" = '--vault-id dev' ] && echo anders || exit 2\n");
    program.file("plain", "#!/bin/sh\n[ $# = 0 ] && echo anders\n");
    for name in ["keys-client", "plain"] {
        std::fs::set_permissions(program.path(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let view = |flags: &str, environment: &[(&str, &str)]| {
        let mut command = program.command();
        command.args(["vault", "view", "v.yml"]).args(flags.split_whitespace()).envs(environment.iter().copied());
        program.printed(command.output().unwrap())
    };
    for (flags, environment) in [
        ("--vault-id dev@keys-client", &[][..]),
        ("--vault-id other@keys-client --vault-id dev@keys-client", &[]),
        ("--vault-password-file plain", &[]),
        ("", &[("ANSIBLE_VAULT_PASSWORD_FILE", "dev")]),
        ("", &[("ANSIBLE_VAULT_IDENTITY_LIST", "pw, dev@dev")]),
    ] {
        assert_eq!(view(flags, environment).expect(0).stdout, "s: sealed-under-dev\n", "{flags}");
    }
    let strict = view("--vault-id x@dev", &[("ANSIBLE_VAULT_ID_MATCH", "1")]).expect(1);
    assert!(strict.stderr.contains("under the id `dev`"), "{}", strict.stderr);
    let none = view("--vault-id other@keys-client", &[]).expect(1);
    assert!(none.stderr.contains("it has none for the vault id `other`"), "{}", none.stderr);
    let asked = given(&program, "vault view v.yml --ask-vault-pass", "anders\n").expect(0);
    assert!(asked.stdout.contains("sealed-under-dev"));
}

#[test]
fn what_cannot_be_decrypted_is_said_with_its_place_and_nothing_is_quoted() {
    let program = program();
    let good = sealed(&program, "s: some-secret\nbad: [\n", "--vault-password-file pw");
    program.file("site.yml", "- hosts: all\n  gather_facts: no\n  vars_files: [v.yml]\n  tasks: [ping: ]\n");
    let fails = |text: &str, flags: &str| {
        program.file("v.yml", text);
        program.run(&format!("play -i hosts site.yml {flags}")).expect(4).stderr
    };
    for (text, flags, said) in [
        (good.clone(), "", "no password was given"),
        (good.clone(), "--vault-password-file dev", "not the one"),
        (good.replacen("\n3", "\nz", 1), "--vault-password-file pw", "damaged"),
        (good.replacen("1.1", "9.9", 1), "--vault-password-file pw", "unknown version `9.9`"),
        (good.replacen("AES256", "DES", 1), "--vault-password-file pw", "unknown cipher `DES`"),
    ] {
        let error = fails(&text, flags);
        assert!(error.contains(said) && error.contains("v.yml:1:1") && error.contains("hint: "), "{said}: {error}");
    }
    let error = fails(&good, "--vault-password-file pw");
    assert!(error.contains("bad YAML") && error.contains("v.yml:4:1") && !error.contains("bad: ["), "{error}");
    let inline = "s: 1\nx: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  6162\n";
    program.file(
        "site.yml",
        "- hosts: all\n  gather_facts: no\n  vars_files: [v.yml]\n  tasks: [debug: {msg: \"{{ x }}\"}]\n",
    );
    program.file("v.yml", inline);
    let run = program.run("play -i hosts site.yml --vault-id pw").expect(2);
    assert!(run.stdout.contains("damaged") && run.stdout.contains("v.yml:2:4"), "{}", run.stdout);
}

#[test]
fn the_binary_is_the_programs_of_ansible_under_their_names() {
    let program = program();
    program.file("site.yml", "- hosts: all\n  gather_facts: no\n  tasks: [ping: ]\n").file("v", "x");
    for name in ["ansible", "ansible-playbook", "ansible-vault", "ansible-doc", "ansible-inventory"] {
        symlink(env!("CARGO_BIN_EXE_cutover"), program.path(name)).unwrap();
    }
    let run = |name: &str, words: &str| {
        let mut command = Command::new(program.path(name));
        // A no-break space stands for one within a word.
        command
            .args(words.split(' ').map(|word| word.replace('\u{a0}', " ")))
            .current_dir(program.path(""))
            .env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", program.path(""));
        command.env("CUTOVER_STATE_DIR", program.path("state")).env("CUTOVER_LOCK_DIR", program.locks_directory());
        program.printed(command.output().unwrap()).expect(0)
    };
    assert!(run("ansible-playbook", "-i hosts site.yml").stdout.contains("ok=1"));
    run("ansible-vault", "encrypt v --vault-id pw");
    assert!(program.read("v").starts_with("$ANSIBLE_VAULT;"));
    program.file("here.txt", "here\n");
    assert_eq!(run("ansible", "all -i hosts -a id\u{a0}-u").status, 0);
    let copied =
        run("ansible", &format!("here -i hosts -m copy -a src=here.txt\u{a0}dest={}", program.path("there").display()));
    assert!(copied.stdout.starts_with("here | CHANGED => {\n"), "{}", copied.stdout);
    assert_eq!(program.read("there"), "here\n");
    assert_eq!(
        run("ansible", "all -i hosts -m ping -o").stdout,
        "here | SUCCESS => {    \"changed\": false,    \"ping\": \"pong\"}\n"
    );
    let list = run("ansible-inventory", "-i hosts --list").stdout;
    assert!(list.contains("\"ansible_connection\": \"local\""), "{list}");
    assert!(run("ansible-doc", "-l").stdout.contains("lineinfile"));
    assert!(run("ansible-playbook", "--version").stdout.starts_with("cutover "));
}
