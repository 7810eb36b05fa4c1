//! Becoming another user over SSH: sudo, su and doas, on pipes and on terminals, with the real programs.

use std::sync::Arc;

use cutover::secret::Secret;
use cutover::transport::posix::Posix;
use cutover::transport::ssh::Target;
use cutover::transport::{Become, Command, TransportError};

use super::{Embedded, connect};
use crate::elevation::{Doas, Sudoers, Tool, becoming};
use crate::sshd::{Account, Sshd, run};
use crate::transport_laws::paths::{a_big_content_goes_both_ways, a_write_makes_exactly_after};
use crate::transport_laws::{COMMAND_LAWS, Machine, PATH_LAWS, hold};

fn target(sshd: &Sshd, account: &Account) -> Target {
    Target { user: account.name.clone(), ..sshd.target() }
}

async fn machine(target: Target, user: &Become) -> Machine {
    let host = Posix::start(connect(target).await, Some(user)).await;
    Arc::new(host.unwrap_or_else(|error| panic!("{error}")))
}

async fn keeps_the_laws(target: Target, user: Become) {
    let machine = machine(target, &user).await;
    assert_eq!(machine.identity().user.id, 0);
    hold(PATH_LAWS, &machine).await;
    hold(COMMAND_LAWS, &machine).await;
}

/// The user that runs there, or the refusal.
async fn who(target: Target, user: &Become) -> Result<String, String> {
    match Posix::start(connect(target).await, Some(user)).await {
        Ok(host) => Ok(say(&host, "id -un").await),
        Err(TransportError::Refused(why)) => Err(why),
        Err(other) => panic!("{other:?}"),
    }
}

async fn say(host: &Posix, script: &str) -> String {
    use cutover::transport::Transport as _;
    host.run(&Command::shell(script)).await.expect("an output").text().trim().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn sudo_that_requires_a_terminal_keeps_the_laws() {
    let (sshd, account) = (Sshd::start(""), Account::create());
    let _rules = Sudoers::grant(&account, "", "requiretty");
    keeps_the_laws(target(&sshd, &account), becoming("sudo", "root", Some(&account.password))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn su_keeps_the_laws() {
    let (sshd, account, root) = (Sshd::start(""), Account::create(), Account::superuser());
    keeps_the_laws(target(&sshd, &account), becoming("su", &root.name, Some(&root.password))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn su_that_requires_a_terminal_keeps_the_laws() {
    let (sshd, account, root) = (Sshd::start(""), Account::create(), Account::superuser());
    let su = Tool::su_on_a_terminal();
    let user = Become { exe: su.exe(), ..becoming("su", &root.name, Some(&root.password)) };
    keeps_the_laws(target(&sshd, &account), user).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_su_of_busybox_keeps_the_laws() {
    let (sshd, account, root) = (Sshd::start(""), Account::create(), Account::superuser());
    let su = Tool::busybox_su();
    let user = Become { exe: su.exe(), ..becoming("su", &root.name, Some(&root.password)) };
    keeps_the_laws(target(&sshd, &account), user).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn doas_with_a_password_keeps_the_laws() {
    let (sshd, account) = (Sshd::start(""), Account::create());
    let _rules = Doas::rules(&format!("permit {}", account.name));
    keeps_the_laws(target(&sshd, &account), becoming("doas", "root", Some(&account.password))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn doas_without_a_password_keeps_the_laws() {
    let (sshd, account) = (Sshd::start(""), Account::create());
    let _rules = Doas::rules(&format!("permit nopass {}", account.name));
    keeps_the_laws(target(&sshd, &account), becoming("doas", "root", None)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_refused_at_once_in_the_methods_name() {
    let (sshd, account, other, strict) = (Sshd::start(""), Account::create(), Account::create(), Account::create());
    let _sudo = (Sudoers::grant(&account, "", ""), Sudoers::grant(&strict, "", "requiretty"));
    let _doas = Doas::rules(&format!("permit {}", account.name));
    let (shadow, busybox) = (Tool::su_on_a_terminal(), Tool::busybox_su());
    let wrong = Secret::new("wrong, and secret");
    let ways = [
        (&account, "sudo", None),
        (&strict, "sudo", None),
        (&account, "su", None),
        (&account, "su", shadow.exe()),
        (&account, "su", busybox.exe()),
        (&account, "doas", None),
    ];
    for (login, method, exe) in ways {
        let user = Become { exe, ..becoming(method, &other.name, Some(&wrong)) };
        let refused = who(target(&sshd, login), &user).await;
        let says = format!("Incorrect {method} password: it was not accepted for becoming `{}`", other.name);
        assert_eq!(refused, Err(says), "{user:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_not_there_is_missed_at_once() {
    let (sshd, account, other, strict) = (Sshd::start(""), Account::create(), Account::create(), Account::create());
    let _sudo = (Sudoers::grant(&account, "", ""), Sudoers::grant(&strict, "", "requiretty"));
    let _doas = Doas::rules(&format!("permit {}", account.name));
    let (shadow, busybox) = (Tool::su_on_a_terminal(), Tool::busybox_su());
    let ways = [
        (&account, "sudo", None),
        (&strict, "sudo", None),
        (&account, "su", None),
        (&account, "su", shadow.exe()),
        (&account, "su", busybox.exe()),
        (&account, "doas", None),
    ];
    for (login, method, exe) in ways {
        let user = Become { exe, ..becoming(method, &other.name, None) };
        let refused = who(target(&sshd, login), &user).await.unwrap_err();
        let says = format!(
            "Missing {method} password: it is needed to become `{}` and none was given\n\
             hint: give it with `--ask-become-pass` or as `ansible_become_password`",
            other.name
        );
        assert_eq!(refused, says, "{user:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_without_a_login_shell_and_with_a_closed_home_is_become() {
    let (sshd, account, hidden) = (Sshd::start(""), Account::create(), Account::with_shell("/usr/sbin/nologin"));
    run(std::process::Command::new("chmod").arg("0700").arg(format!("/home/{}", hidden.name)));
    let _sudo = Sudoers::grant(&account, "NOPASSWD:", "");
    let _doas = Doas::rules(&format!("permit nopass {}\npermit nopass root", account.name));
    for (target, method) in [
        (target(&sshd, &account), "sudo"),
        (target(&sshd, &account), "doas"),
        (sshd.target(), "sudo"),
        (sshd.target(), "su"),
        (sshd.target(), "doas"),
    ] {
        let machine = machine(target, &becoming(method, &hidden.name, None)).await;
        assert_eq!(machine.identity().user.name, hidden.name, "{method}");
        let root = tempfile::tempdir().unwrap();
        let (user, group) = (machine.identity().user.id, machine.identity().group.id);
        std::os::unix::fs::chown(root.path(), Some(user), Some(group)).unwrap();
        a_write_makes_exactly_after(&machine, root.path()).await;
        let root = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(root.path(), Some(user), Some(group)).unwrap();
        a_big_content_goes_both_ways(&machine, root.path()).await;
    }
    // Only root may choose the shell of such a user (su.1), and what there is says no.
    let refused = who(target(&sshd, &account), &becoming("su", &hidden.name, Some(&hidden.password))).await;
    let refused = refused.unwrap_err();
    assert!(refused.starts_with(&format!("cannot become `{}` with `su`: ", hidden.name)), "{refused}");
    assert!(refused.contains("not available"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_login_user_becomes_itself_and_root_becomes_anybody() {
    let (sshd, account) = (Sshd::start(""), Account::create());
    let _sudo = Sudoers::grant(&account, "", "");
    let _doas = Doas::rules(&format!("permit {} as {}\npermit nopass root", account.name, account.name));
    for method in ["sudo", "su", "doas"] {
        let itself = becoming(method, &account.name, Some(&account.password));
        assert_eq!(who(target(&sshd, &account), &itself).await, Ok(account.name.clone()), "{method}");
        let from_root = becoming(method, &account.name, None);
        assert_eq!(who(sshd.target(), &from_root).await, Ok(account.name.clone()), "{method}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_setting_of_sudo_about_passwords_is_met() {
    let (sshd, other) = (Sshd::start(""), Account::create());
    let settings = [
        ("", "lecture=always"),
        ("", "timestamp_timeout=0"),
        ("", "timestamp_timeout=5"),
        ("", "timestamp_timeout=5, timestamp_type=global"),
        ("", "use_pty"),
        ("", "!use_pty"),
        ("", "requiretty, !use_pty"),
        ("", "requiretty, lecture=always"),
        ("", "!passprompt_override"),
        ("", "log_output, iolog_dir=/var/tmp/cutover-iolog"),
        ("", "!authenticate"),
        ("NOPASSWD:", "requiretty"),
        ("NOPASSWD:", ""),
    ];
    for (tag, defaults) in settings {
        let account = Account::create();
        let _sudo = Sudoers::grant(&account, tag, defaults);
        let user = becoming("sudo", &other.name, Some(&account.password));
        // The second time it may remember the first.
        for _ in 0..2 {
            assert_eq!(who(target(&sshd, &account), &user).await, Ok(other.name.clone()), "{tag} {defaults}");
        }
        if tag == "NOPASSWD:" || defaults == "!authenticate" {
            let user = becoming("sudo", &other.name, None);
            assert_eq!(who(target(&sshd, &account), &user).await, Ok(other.name.clone()), "{tag} {defaults}");
        }
    }
    let _ = std::fs::remove_dir_all("/var/tmp/cutover-iolog");
    // The password of somebody else.
    let account = Account::create();
    let _sudo = Sudoers::grant(&account, "", "targetpw");
    let theirs = becoming("sudo", &other.name, Some(&other.password));
    assert_eq!(who(target(&sshd, &account), &theirs).await, Ok(other.name.clone()));
    let ours = becoming("sudo", &other.name, Some(&account.password));
    let refused = who(target(&sshd, &account), &ours).await.unwrap_err();
    assert_eq!(refused, format!("Incorrect sudo password: it was not accepted for becoming `{}`", other.name));
    let _sudo = Sudoers::grant(&account, "", "rootpw");
    let refused = who(target(&sshd, &account), &ours).await.unwrap_err();
    assert_eq!(refused, format!("Incorrect sudo password: it was not accepted for becoming `{}`", other.name));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rule_of_doas_is_met() {
    let (sshd, account, other) = (Sshd::start(""), Account::create(), Account::create());
    let with = becoming("doas", &other.name, Some(&account.password));
    let without = becoming("doas", &other.name, None);
    for (rule, users) in [
        ("permit nopass", vec![&with, &without]),
        ("permit persist", vec![&with, &with]),
        ("permit setenv { A=b }", vec![&with]),
    ] {
        let _doas = Doas::rules(&format!("{rule} {}", account.name));
        for user in users {
            assert_eq!(who(target(&sshd, &account), user).await, Ok(other.name.clone()), "{rule}");
        }
    }
    let _doas = Doas::rules("permit nopass root");
    for user in [&with, &without] {
        let refused = who(target(&sshd, &account), user).await.unwrap_err();
        let says = format!("cannot become `{}` with `doas`: doas: Operation not permitted", other.name);
        assert_eq!(refused, says);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_and_programs_are_those_of_the_user() {
    let (sshd, account, root) = (Sshd::start(""), Account::create(), Account::superuser());
    let _sudo = Sudoers::grant(&account, "", "");
    let (sudo, su) = (Some(&account.password), Some(&root.password));
    let home = format!("/home/{}", root.name);
    let ways = [
        ("sudo", "", None, sudo, "/root"),
        ("sudo", "-H -S -n", None, sudo, "/root"),
        ("sudo", "-i", None, sudo, "/root"),
        ("sudo", "-nHi", None, sudo, "/root"),
        ("sudo", "-k -H", Some("/usr/bin/sudo"), sudo, "/root"),
        ("su", "", None, su, &home),
        ("su", "-", None, su, &home),
        ("su", "-l", Some("/bin/su"), su, &home),
        ("su", "-s /bin/bash", None, su, &home),
        // Whose password it is that is asked for, and where, is sudo's matter here.
        ("su", "-", Some("sudo su"), sudo, &home),
    ];
    for (method, flags, exe, password, home) in ways {
        let name = if method == "su" { root.name.as_str() } else { "root" };
        let user = Become { flags: Some(flags.into()), exe: exe.map(Into::into), ..becoming(method, name, password) };
        let host = Posix::start(connect(target(&sshd, &account)).await, Some(&user)).await;
        let host = host.unwrap_or_else(|error| panic!("{user:?}: {error}"));
        assert_eq!(say(&host, "id -u; printf '%s' \"$HOME\"").await, format!("0\n{home}"), "{user:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_is_not_about_the_password_is_refused_at_once() {
    let (sshd, account, expired) = (Sshd::start(""), Account::create(), Account::create());
    run(std::process::Command::new("chage").args(["--lastday", "0", &expired.name]));
    let shadow = Tool::su_on_a_terminal();
    for exe in [None, shadow.exe()] {
        let user = Become { exe, ..becoming("su", &expired.name, Some(&expired.password)) };
        let refused = who(target(&sshd, &account), &user).await.unwrap_err();
        let start = format!("`su` asks a question to become `{}` that has no answer here: ", expired.name);
        assert!(refused.starts_with(&start), "{refused}");
        assert!(refused.contains("hint: become") && !refused.contains(expired.password.reveal()), "{refused}");
    }
    let code = Tool::script("sudo", "printf 'Verification code: ' >&2; read -r code");
    let user = Become { exe: code.exe(), ..becoming("sudo", "root", Some(&account.password)) };
    let refused = who(target(&sshd, &account), &user).await.unwrap_err();
    assert!(refused.contains("has no answer here: Verification code:"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_in_another_language_is_known_by_its_end() {
    let (sshd, account) = (Sshd::start(""), Account::create());
    let su = Tool::script(
        "su",
        "export LC_ALL=xx; printf 'Mot de passe : ' >&2; read -r word\n\
         test \"$word\" = 'le mot' || { echo 'su : échec' >&2; exit 1; }\nexec su \"$@\"",
    );
    let user = |word| Become { exe: su.exe(), ..becoming("su", &account.name, Some(&Secret::new(word))) };
    assert_eq!(who(sshd.target(), &user("le mot")).await, Ok(account.name.clone()));
    let refused = who(sshd.target(), &user("un autre")).await.unwrap_err();
    assert_eq!(refused, format!("cannot become `{}` with `su`: su : échec", account.name));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_gives_no_terminal_is_told_from_a_wrong_password() {
    let (sshd, account) = (Sshd::start("PermitTTY no"), Account::create());
    let _rules = Sudoers::grant(&account, "", "requiretty");
    let user = becoming("sudo", "root", Some(&account.password));
    let refused = who(target(&sshd, &account), &user).await.unwrap_err();
    assert_eq!(refused, "`sudo` wants a terminal to become `root`: the SSH server gives no terminal");

    let embedded = Embedded::start(|_| {}).await;
    let user = becoming("doas", "root", Some(&account.password));
    let refused = who(embedded.target(), &user).await.unwrap_err();
    assert_eq!(refused, "`doas` wants a terminal to become `root`: the SSH server gives no terminal");
}
