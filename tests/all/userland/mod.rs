//! Any userland: the laws of transports and of modules over real SSH servers whose hosts are unlike this machine.

use crate::laws::hold_modules;
use crate::transport_laws::{COMMAND_LAWS, NAME_LAW, NAME_REFUSAL, PATH_LAWS, hold_in};

mod big;
pub mod host;
mod kinds;

use host::{Host, Kind};
use kinds::*;

/// Modules that need what a host does not have, and the words in which they say so.
type Refused = &'static [(&'static str, &'static str)];

const NOTHING: Refused = &[];
const MISSING_TOOLS: Refused =
    &[("maildir_move", "this host has no stat command"), ("wait_for", "`new` has neither `nc` nor `bash` to connect")];
const NO_SHADOW: Refused = &[("group", "`new` has no `groupadd`"), ("user", "`new` has no `groupadd`")];

async fn keeps_the_laws(kind: &Kind) {
    let host = Host::start(kind);
    let machine = host.machine().await;
    hold_in(&host.shared(), PATH_LAWS, &machine).await;
    let names = if kind.sh == YASH.sh { NAME_REFUSAL } else { NAME_LAW };
    hold_in(&host.shared(), names, &machine).await;
    hold_in(&host.shared(), COMMAND_LAWS, &machine).await;
}

/// Two tests for each host.
macro_rules! hosts {
    ($($name:ident: $kind:ident, $refused:ident;)*) => {
        mod the_transport_keeps_its_laws {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::keeps_the_laws(&super::$kind).await;
            })*
        }

        mod every_module_keeps_its_laws_or_says_what_it_needs {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::hold_modules(&super::Host::start(&super::$kind), super::$refused).await;
            })*
        }
    };
}

hosts! {
    with_bash_as_sh: BASH, NOTHING;
    with_dash_as_sh: DASH, NOTHING;
    with_mksh_as_sh: MKSH, NOTHING;
    with_ksh93_as_sh: KSH93, NOTHING;
    with_yash_as_sh: YASH, NOTHING;
    with_busybox_alone_behind_dropbear: BUSYBOX, NO_SHADOW;
    below_a_csh: CSH, NOTHING;
    below_a_tcsh: TCSH, NOTHING;
    below_a_fish: FISH, NOTHING;
    after_a_noisy_login: NOISY, NOTHING;
    after_a_noisy_login_with_bash_as_sh: NOISY_BASH, NOTHING;
    with_a_strict_umask: STRICT_UMASK, NOTHING;
    in_german: GERMAN, NOTHING;
    in_latin_1: LATIN, NOTHING;
    with_a_read_only_tmp: READ_ONLY_TMP, NOTHING;
    with_a_read_only_tmp_and_bash: READ_ONLY_TMP_BASH, NOTHING;
    with_a_noexec_tmp: NOEXEC_TMP, NOTHING;
    without_base64_stat_and_sha256sum: NO_TOOLS, MISSING_TOOLS;
    with_bsd_tools: BSD, NOTHING;
    with_one_session_a_connection: ONE_SESSION, NOTHING;
}
