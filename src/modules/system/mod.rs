//! Modules for everything a host runs: commands, services, facts.

use super::Entry;

mod accounts;
mod at;
mod command;
mod cron;
mod facts;
mod getent;
mod git;
mod hostname;
mod iptables;
mod known_hosts;
mod mount;
mod mount_facts;
pub mod network;
mod packages;
mod ping;
mod pip;
mod port_forward;
mod port_services;
mod reboot;
mod run;
mod script;
mod service;
mod service_facts;
mod setup;
mod shell;
mod subversion;
mod sysctl;
mod systemd;
mod sysvinit;
mod timezone;
mod wait_for;
mod wait_for_connection;

#[cfg(test)]
pub mod bench;

/// Lines of `sh` that make `$new`, a directory that goes when the script ends, wherever the host lets one be made.
pub const SCRATCH: &str = r#"new=
for base in "${TMPDIR:-/tmp}" /var/tmp /dev/shm; do new=$(mktemp -d "$base/cutover.XXXXXX" 2>/dev/null) && break; done
[ -d "$new" ] || exit
trap 'rm -rf "$new"' EXIT
trap 'exit 1' HUP INT TERM
"#;

pub const MODULES: &[&Entry] = &[
    &packages::APK,
    &packages::APT,
    &packages::APT_KEY,
    &packages::APT_REPOSITORY,
    &at::AT,
    &accounts::AUTHORIZED_KEY,
    &command::COMMAND,
    &cron::CRON,
    &packages::DEB822_REPOSITORY,
    &packages::DEBCONF,
    &packages::DNF,
    &packages::DPKG_SELECTIONS,
    &setup::GATHER_FACTS,
    &getent::GETENT,
    &git::GIT,
    &accounts::GROUP,
    &hostname::HOSTNAME,
    &iptables::IPTABLES,
    &known_hosts::KNOWN_HOSTS,
    &mount::MOUNT,
    &mount_facts::MOUNT_FACTS,
    &packages::PACKAGE,
    &packages::PACKAGE_FACTS,
    &ping::PING,
    &pip::PIP,
    &packages::PKGNG,
    &port_forward::PORT_FORWARD,
    &shell::RAW,
    &reboot::REBOOT,
    &packages::RPM_KEY,
    &script::SCRIPT,
    &service::SERVICE,
    &service_facts::SERVICE_FACTS,
    &setup::SETUP,
    &shell::SHELL,
    &subversion::SUBVERSION,
    &sysctl::SYSCTL,
    &systemd::SYSTEMD,
    &sysvinit::SYSVINIT,
    &timezone::TIMEZONE,
    &accounts::USER,
    &wait_for::WAIT_FOR,
    &wait_for_connection::WAIT_FOR_CONNECTION,
    &packages::YUM_REPOSITORY,
];
