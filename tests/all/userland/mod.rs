//! Any userland: the laws of transports and of modules over real SSH servers whose hosts are unlike this machine.

use std::sync::Arc;

use cutover::transport::{Command, Lock, TransportError};

use crate::laws::hold_modules;
use crate::sshd::wait_for;
use crate::transport_laws::{COMMAND_LAWS, NAME_LAW, NAME_REFUSAL, PATH_LAWS, hold_in};

mod big;
pub mod host;
mod kinds;

use host::{Host, Kind};
use kinds::*;

/// Modules that need what a host does not have, and the words in which they say so.
type Refused = &'static [(&'static str, &'static str)];

const NOTHING: Refused = &[];
const MISSING_TOOLS: Refused = &[
    ("apt", NO_APT),
    ("archive", "neither sha256sum nor openssl is there"),
    ("debconf", "`new` has no debconf"),
    ("dnf", NO_DNF),
    ("dpkg_selections", "`new` has no dpkg"),
    ("get_url", NO_WEB),
    ("git", NO_GIT),
    ("mail_logins", "awk: not found"),
    ("named_zone", "named-checkconf: not found"),
    ("maildir_move", "this host has no stat command"),
    ("mysql_db", NO_CLIENT),
    ("mysql_query", NO_CLIENT),
    ("mysql_rows", NO_CLIENT),
    ("mysql_user", NO_CLIENT),
    ("tcp_rules", "`new` has no `tcprules`"),
    ("package", NO_APT),
    ("package_facts", NO_APT),
    ("plesk_accounts", NO_CLIENT),
    ("plesk_facts", NO_CLIENT),
    ("rpm_key", NO_RPM),
    ("subversion", NO_SVN),
    ("uri", NO_WEB),
    ("wait_for", "`new` has neither `nc` nor `bash` to connect"),
    ("zone_file", "rndc: not found"),
];
const NO_SHADOW: Refused = &[
    ("apt", NO_APT),
    ("debconf", "`new` has no debconf"),
    ("dnf", NO_DNF),
    ("dpkg_selections", "Failed to find package 'xinetd'"),
    ("timezone", "`new` has no time zone `Europe/Berlin`"),
    ("named_zone", "named: not found"),
    ("git", NO_GIT),
    ("group", "`new` has no `groupadd`"),
    ("mysql_db", NO_CLIENT),
    ("mysql_query", NO_CLIENT),
    ("mysql_rows", NO_CLIENT),
    ("mysql_user", NO_CLIENT),
    ("port_forward", "`new` has no xinetd"),
    ("tcp_rules", "`new` has no `tcprules`"),
    ("package", NO_APT),
    ("package_facts", NO_APT),
    ("pip", "/bin/python: not found"),
    ("plesk_accounts", NO_CLIENT),
    ("plesk_facts", NO_CLIENT),
    ("rpm_key", NO_RPM),
    ("subversion", NO_SVN),
    ("user", "`new` has no `groupadd`"),
    ("zone_file", "rndc: not found"),
];
const NO_APT: &str = "`new` has no apt, and no other package manager that is known";
const NO_DNF: &str = "`new` has no dnf, and no other package manager that is known";
const NO_GIT: &str = "`git` is not there";
const NO_RPM: &str = "Failed to find required executable \"rpm\"";
const NO_SVN: &str = "Failed to find required executable \"svn\"";
const NO_WEB: &str = "neither curl nor wget is there";
const NO_CLIENT: &str = "there is neither `mariadb` nor `mysql`, the client";

async fn keeps_the_laws(kind: &Kind) {
    let host = Host::start(kind);
    let machine = host.machine().await;
    hold_in(&host.shared(), PATH_LAWS, &machine).await;
    let names = if kind.sh == YASH.sh { NAME_REFUSAL } else { NAME_LAW };
    hold_in(&host.shared(), names, &machine).await;
    hold_in(&host.shared(), COMMAND_LAWS, &machine).await;
    one_run_changes_it_at_a_time(&host).await;
}

/// Two runs at one host: who comes second is told who has it, until the first has ended.
async fn one_run_changes_it_at_a_time(host: &Host) {
    let directory = host.shared().display().to_string();
    let links = || {
        let entries = std::fs::read_dir(host.shared()).unwrap().map(|entry| entry.unwrap().file_name());
        entries.filter(|name| name.to_string_lossy().starts_with(".cutover.lock.")).count()
    };
    let change = Command::argv(["true"]);
    let (first, second) = (host.machine().await, host.machine().await);
    for (machine, name) in [(&first, "run 1 of ann"), (&second, "run 2 of ben")] {
        machine.guard(&Arc::new(Lock::new(name, &directory)));
    }
    assert_eq!(links(), 0, "a guard alone is no lock");
    first.run(&change).await.unwrap();
    assert_eq!(links(), 1);
    match second.run(&change).await {
        Err(TransportError::Held(who)) => {
            assert!(
                who.starts_with("run 1 of ann; its shell there is process ") && who.ends_with(" of `root`"),
                "{who}"
            );
        }
        other => panic!("{other:?}"),
    }
    first.run(&change).await.unwrap();
    drop(first);
    assert!(wait_for(|| links() == 0), "a shell that has ended leaves its lock");
    second.run(&change).await.unwrap();
    drop(second);
    assert!(wait_for(|| links() == 0), "a shell that has ended leaves its lock");
    // A shell that was killed could not do that: whoever comes next does.
    let dead = host.shared().join(".cutover.lock.dead");
    std::os::unix::fs::symlink("token 4194303 1 run 0 of nobody", &dead).unwrap();
    std::fs::write(host.shared().join(".cutover.lock.file"), "no lock").unwrap();
    let third = host.machine().await;
    third.guard(&Arc::new(Lock::new("run 3", &directory)));
    third.run(&change).await.unwrap();
    assert!(dead.symlink_metadata().is_err());
}

/// Tests of the transport for each host.
macro_rules! transports {
    ($($name:ident: $kind:ident;)*) => {
        mod the_transport_keeps_its_laws {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::keeps_the_laws(&super::$kind).await;
            })*
        }
    };
}

/// And of all modules, for hosts whose `sh`, tools or directories are another: what is before that `sh` is the transport's.
macro_rules! modules {
    ($($name:ident: $kind:ident, $refused:ident;)*) => {
        mod every_module_keeps_its_laws_or_says_what_it_needs {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::hold_modules(&super::Host::start(&super::$kind), super::$refused).await;
            })*
        }
    };
}

transports! {
    with_bash_as_sh: BASH;
    with_dash_as_sh: DASH;
    with_mksh_as_sh: MKSH;
    with_ksh93_as_sh: KSH93;
    with_yash_as_sh: YASH;
    with_busybox_alone_behind_dropbear: BUSYBOX;
    below_a_csh: CSH;
    below_a_tcsh: TCSH;
    below_a_fish: FISH;
    after_a_noisy_login: NOISY;
    after_a_noisy_login_with_bash_as_sh: NOISY_BASH;
    with_a_strict_umask: STRICT_UMASK;
    in_german: GERMAN;
    in_latin_1: LATIN;
    with_a_read_only_tmp: READ_ONLY_TMP;
    with_a_read_only_tmp_and_bash: READ_ONLY_TMP_BASH;
    with_a_noexec_tmp: NOEXEC_TMP;
    without_base64_stat_and_sha256sum: NO_TOOLS;
    with_bsd_tools: BSD;
    with_one_session_a_connection: ONE_SESSION;
}

modules! {
    with_bash_as_sh_and_a_read_only_tmp: READ_ONLY_TMP_BASH, NOTHING;
    with_mksh_as_sh_below_a_csh: MKSH_BELOW_CSH, NOTHING;
    with_ksh93_as_sh: KSH93, NOTHING;
    with_yash_as_sh: YASH, NOTHING;
    with_busybox_alone_behind_dropbear: BUSYBOX, NO_SHADOW;
    with_dash_as_sh_in_german_with_a_strict_umask_and_a_noexec_tmp: GERMAN_STRICT, NOTHING;
    without_base64_stat_and_sha256sum: NO_TOOLS, MISSING_TOOLS;
    with_bsd_tools: BSD, NOTHING;
}
