//! Any userland: the laws of transports over real SSH servers whose hosts are unlike this machine.

use crate::laws::hold_modules;
use crate::transport_laws::{COMMAND_LAWS, NAME_LAW, NAME_REFUSAL, PATH_LAWS, hold_in};

pub mod host;
pub mod kinds;

use host::{Host, Kind};
use kinds::*;

async fn keeps_the_laws(kind: &Kind) {
    let host = Host::start(kind);
    let machine = host.machine().await;
    hold_in(&host.shared(), PATH_LAWS, &machine).await;
    let names = if kind.sh == YASH.sh { NAME_REFUSAL } else { NAME_LAW };
    hold_in(&host.shared(), names, &machine).await;
    hold_in(&host.shared(), COMMAND_LAWS, &machine).await;
}

/// What the mover of mail has no replacement for.
const NO_STAT: &str = "this host has no stat command";

#[tokio::test(flavor = "multi_thread")]
async fn every_module_works_with_dash() {
    hold_modules(&Host::start(&DASH), &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_module_works_with_busybox_alone_behind_dropbear() {
    hold_modules(&Host::start(&BUSYBOX), &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_module_works_below_a_csh() {
    hold_modules(&Host::start(&CSH), &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_module_works_without_base64_stat_and_sha256sum_or_says_what_it_needs() {
    hold_modules(&Host::start(&NO_TOOLS), &[("maildir_move", NO_STAT)]).await;
}

/// A test for each kind of host.
macro_rules! hosts {
    ($($name:ident: $kind:expr,)*) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            keeps_the_laws(&$kind).await;
        })*
    };
}

hosts! {
    bash_as_sh_keeps_the_laws: BASH,
    dash_as_sh_keeps_the_laws: DASH,
    mksh_as_sh_keeps_the_laws: MKSH,
    ksh93_as_sh_keeps_the_laws: KSH93,
    yash_as_sh_keeps_the_laws: YASH,
    busybox_alone_behind_dropbear_keeps_the_laws: BUSYBOX,
    csh_as_login_shell_keeps_the_laws: CSH,
    tcsh_as_login_shell_keeps_the_laws: TCSH,
    fish_as_login_shell_keeps_the_laws: FISH,
    a_noisy_login_keeps_the_laws: NOISY,
    a_strict_umask_keeps_the_laws: STRICT_UMASK,
    a_german_host_keeps_the_laws: GERMAN,
    a_latin_1_host_keeps_the_laws: LATIN,
    a_read_only_tmp_keeps_the_laws: READ_ONLY_TMP,
    a_read_only_tmp_with_bash_keeps_the_laws: READ_ONLY_TMP_BASH,
    a_noexec_tmp_keeps_the_laws: NOEXEC_TMP,
    no_base64_stat_or_sha256sum_keeps_the_laws: NO_TOOLS,
    bsd_tools_keep_the_laws: BSD,
    one_session_a_connection_keeps_the_laws: ONE_SESSION,
}
