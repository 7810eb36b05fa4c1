//! What stands beside the mail, and the shipped stage that brings it over together with a panel's accounts.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::PathBuf;

use cutover::lab::fill::{Role, fill};

use crate::etc::Etc;
use crate::mariadb::{Mariadb, PSA, PSA_OLD};
use crate::program::Program;

/// Two filled hosts on this machine.
fn hosts() -> (Program, [PathBuf; 2]) {
    let program = Program::new();
    let roots = [("old", Role::Old), ("new", Role::New)].map(|(name, role)| {
        fill(&program.path(name), role, ("root", "root")).unwrap();
        program.path(name).join("var/qmail")
    });
    let lines = ["old", "new"].map(|name| {
        let qmail = program.path(name).join("var/qmail");
        format!("{name} ansible_connection=local qmail_dir={} panel_database=none\n", qmail.display())
    });
    program.file("hosts", &format!("[old]\n{}[new]\n{}", lines[0], lines[1]));
    (program, roots)
}

fn mode(path: &std::path::Path) -> u32 {
    path.symlink_metadata().unwrap().mode() & 0o7777
}

#[test]
fn forwards_catch_alls_quotas_and_directories_come_over_and_what_does_not_is_told() {
    let (program, [old, new]) = hosts();
    let (old, new) = (old.join("mailnames/example.com"), new.join("mailnames/example.com"));
    let write = |path: PathBuf, text: &str| {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    // carol is not here yet; her file there has an x bit, an odd owner and a path of old's.
    std::fs::remove_dir_all(new.join("carol")).unwrap();
    let text = format!(
        "| true\n| /usr/bin/deliverquota ./Maildir\n| /no/such/filter {}/carol/rules\n&carol@partner.example\n",
        old.display()
    );
    write(old.join("carol/.qmail"), &text);
    std::fs::set_permissions(old.join("carol/.qmail"), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::chown(old.join("carol/.qmail"), Some(110), Some(31)).unwrap();
    // One that the default delivery finds.
    std::fs::create_dir_all(old.join("eve/Maildir")).unwrap();
    write(old.join("bob/.qmail"), "| true\n| /usr/bin/deliverquota ./Maildir\n&bob@partner.example\n");
    write(old.join("ann/Maildir/maildirsize"), "20971520S,500C\n4711 12\n");
    write(new.join("bob/Maildir/maildirsize"), "99999999S,1000C\n1 1\n");
    write(old.join(".qmail-default"), "&ann@example.com\n");
    symlink("/etc/aliases", old.join(".qmail-odd")).unwrap();
    let play = format!(
        "- hosts: new\n  gather_facts: no\n  tasks:\n    - qmail_homes: {{from: old, owner: root, group: root, directories: [{{source: {}, dest: {}}}]}}\n",
        old.display(),
        new.display()
    );
    program.file("play.yml", &play);
    let check = program.run("play -i hosts play.yml --check --diff").expect(0);
    assert!(!new.join("carol").exists(), "a check has written");
    let run = program.run("play -i hosts play.yml --diff").expect(0);
    assert_eq!(check.diffs(), run.diffs());
    let read = |path: &str| std::fs::read_to_string(new.join(path)).unwrap();
    assert_eq!(read("carol/.qmail"), text.replace(&old.display().to_string(), &new.display().to_string()));
    let owner = new.join("carol/.qmail").metadata().unwrap();
    assert_eq!((mode(&new.join("carol/.qmail")), owner.uid(), owner.gid()), (0o600, 0, 0));
    for directory in
        ["carol", "carol/Maildir", "carol/Maildir/new", "carol/Maildir/cur", "carol/Maildir/tmp", "eve/Maildir/tmp"]
    {
        assert_eq!(mode(&new.join(directory)), 0o700, "{directory}");
    }
    assert_eq!(read("bob/.qmail"), "| true\n| /usr/bin/deliverquota ./Maildir\n&bob@partner.example\n");
    assert_eq!(read(".qmail-default"), "&ann@example.com\n");
    assert_eq!(read("ann/Maildir/maildirsize"), "20971520S,1000C\n");
    assert_eq!(read("bob/Maildir/maildirsize"), "99999999S,1000C\n1 1\n");
    let said = format!("{}{}", run.stdout, run.stderr);
    for piece in
        ["`/no/such/filter`, which `", "/carol/.qmail`, line 3, calls, is not on", "/.qmail-odd` on `old` is a link"]
    {
        assert!(said.contains(piece), "no `{piece}` in\n{said}");
    }
    let again = program.run("play -i hosts play.yml --diff").expect(0);
    assert!(again.stdout.contains(" changed=0 "), "{}", again.stdout);
    program.run("undo last").expect(0);
    assert!(!new.join("carol").exists());
    assert_eq!(read("ann/Maildir/maildirsize"), "10485760S,1000C\n");
}

#[test]
fn the_stage_of_accounts_serves_hosts_with_a_panel_and_a_second_run_changes_nothing() {
    let (program, [_, new]) = hosts();
    let server = Mariadb::get();
    let databases = [server.database(PSA_OLD), server.database(PSA)];
    // Both know the domains that the files have.
    for (name, sql) in databases.iter().zip([
        "INSERT INTO domains (id, name) VALUES (13, 'example.org'), (21, 'mail.example')",
        "UPDATE domains SET name = name",
    ]) {
        server.query(&format!("USE {name}; {sql}"));
    }
    let inventory = databases.iter().fold(program.read("hosts"), |text, name| {
        text.replacen("panel_database=none", &format!("panel_database={name}"), 1)
    });
    program.file("hosts", &inventory).file("pw", "vault\n");
    let etc = Etc::below(&program.path(""));
    let panel = program.path("etc/psa");
    std::fs::create_dir_all(&panel).unwrap();
    std::fs::write(panel.join(".psa.shadow"), "it's \"a\\b\" #1\n").unwrap();
    // In the place of the distribution's own, which leads to other files.
    let options = program.path("etc/mysql/my.cnf");
    std::fs::create_dir_all(program.path("etc/mysql")).unwrap();
    let _ = std::fs::remove_file(&options);
    std::fs::write(options, format!("[client]\nsocket={}\n", server.socket())).unwrap();
    let stage = concat!(env!("CARGO_MANIFEST_DIR"), "/playbooks/stages/accounts.yml");
    let play = |flags: &str| {
        let mut command = program.command();
        let words = format!("play -i hosts {stage} -e mail_owner=root --vault-password-file pw --diff {flags}");
        command.args(words.split_whitespace());
        program.printed(etc.around(&command).output().unwrap()).expect(0)
    };
    let check = play("--check");
    let run = play("");
    assert_eq!(check.diffs(), run.diffs());
    let accounts = server.query(&format!(
        "SELECT m.mail_name, a.type, m.mbox_quota FROM {0}.mail m LEFT JOIN {0}.accounts a ON a.id = m.account_id ORDER BY m.dom_id, 1",
        databases[1]
    ));
    assert_eq!(accounts, "info\tplain\t-1\nann\tcrypt\t20971520\nbob\tplain\t-1\ncarol\tNULL\t-1\n");
    assert!(std::fs::read_to_string(new.join("users/assign")).unwrap().contains("=31-ann:root:0:0:"));
    assert!(play("").stdout.contains(" changed=0 "));
}

#[test]
fn where_the_panel_has_a_program_the_stage_leaves_qmails_files_to_it_and_tells_what_it_does_not_know() {
    let (program, [old, new]) = hosts();
    let server = Mariadb::get();
    const MORE: &str =
        "CREATE TABLE mail_redir (id int AUTO_INCREMENT PRIMARY KEY, mn_id int, address varchar(255)) ENGINE=InnoDB;\n";
    let databases = [server.database(PSA_OLD), server.database(&format!("{PSA}{MORE}"))];
    let inventory = databases.iter().fold(program.read("hosts"), |text, name| {
        text.replacen("panel_database=none", &format!("panel_database={name}"), 1)
    });
    program.file("hosts", &inventory).file("pw", "vault\n");
    let etc = Etc::below(&program.path(""));
    std::fs::create_dir_all(program.path("etc/psa")).unwrap();
    std::fs::write(program.path("etc/psa/.psa.shadow"), "it's \"a\\b\" #1\n").unwrap();
    std::fs::create_dir_all(program.path("etc/mysql")).unwrap();
    let options = program.path("etc/mysql/my.cnf");
    let _ = std::fs::remove_file(&options);
    std::fs::write(options, format!("[client]\nsocket={}\n", server.socket())).unwrap();
    for name in ["mail", "autoresponder", "mail_auth_view"] {
        program.file(&format!("psa/{name}"), include_str!("../corpus/plesk-bin.sh"));
        std::fs::set_permissions(program.path("psa").join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mailnames = new.join("mailnames");
    program.file("psa/settings", &format!(
        "client='mariadb --no-defaults --user=root --batch --raw --skip-column-names --socket={}'\ndatabase={}\nmailnames={}\n",
        server.socket(), databases[1], mailnames.display()
    ));
    std::fs::write(old.join("mailnames/example.com/bob/.qmail"), "| true\n&bob@partner.example\n").unwrap();
    let assign = std::fs::read_to_string(new.join("users/assign")).unwrap();
    let stage = concat!(env!("CARGO_MANIFEST_DIR"), "/playbooks/stages/accounts.yml");
    let play = |flags: &str| {
        let mut command = program.command();
        let psa = program.path("psa").display().to_string();
        let words = format!(
            "play -i hosts {stage} -e mail_owner=root -e domains=example.com -e panel_programs={psa} -e mail_auth_view={psa}/mail_auth_view \
             --vault-password-file pw --diff {flags}"
        );
        command.args(words.split_whitespace());
        program.printed(etc.around(&command).output().unwrap()).expect(0)
    };
    let check = play("--check");
    let run = play("");
    assert_eq!(check.diffs(), run.diffs());
    assert!(mailnames.join("example.com/carol").is_dir(), "the program has made her");
    assert_eq!(std::fs::read_to_string(new.join("users/assign")).unwrap(), assign);
    let again = play("");
    assert!(again.stdout.contains(" changed=0 "), "{}", again.stdout);
    let said = again.stdout + &again.stderr;
    assert!(said.contains("/bob/.qmail` lacks `&bob@partner.example` of the old host"), "{said}");
}
