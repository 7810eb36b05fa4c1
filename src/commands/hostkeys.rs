//! `cutover hostkeys`: the host keys of an inventory, for review and to be pinned.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::stream::{self, StreamExt as _};
use serde_json::{Value, json};

use super::terminal;
use crate::cli::Stop;
use crate::error::{Diagnostic, Diagnostics};
use crate::inventory::Inventory;
use crate::playbook::Keywords;
use crate::run::connections::{Connections, Defaults, Login};
use crate::template::{Failure, Templates};
use crate::transport::ssh::pin::{self, Pin, Writing};
use crate::transport::ssh::{Client, Half, HostKey, Same, Scanned, Status, Target, reason, scan};
use crate::vars::{self, Fleet};

/// Show the host keys of an inventory, and write a known_hosts file.
#[derive(clap::Args)]
#[command(arg_required_else_help = true)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    Scan(Scan),
}

/// See every host's keys without logging in, and compare them with what is known
///
/// Each host is asked for one key of each type. Nobody logs in and no password is asked for. The table shows what each
/// host's known_hosts files say of each key: `known`, `new`, `changed` or `revoked`, and whether another host has it.
///
/// A scan trusts the network, so a new key is worth no more than the path to the host. Compare the fingerprints with
/// what `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` prints on the host's console before you pin them. Then let
/// the inventory have `ansible_ssh_known_hosts_file=FILE`: a run takes these keys and no others.
///
/// Exit codes: 0 all keys are known or new; 1 an error of yours; 2 a key is changed, revoked or that of a pair's other
/// half, or the file already has another key, and nothing was written; 4 a host could not be reached.
#[derive(clap::Args)]
struct Scan {
    /// The hosts to scan, a pattern
    #[arg(default_value = "all", value_name = "PATTERN")]
    pattern: String,
    /// Inventory: a file, a directory, or hosts with a comma (`web1,`); may be repeated
    #[arg(short, long, value_name = "INVENTORY", env = "ANSIBLE_INVENTORY", required = true)]
    inventory: Vec<String>,
    /// Variables stronger than all others: `k=v`, JSON or YAML, `@FILE`; may be repeated
    #[arg(short, long, value_name = "VARS")]
    extra_vars: Vec<String>,
    /// Write the keys to this known_hosts file; lines about other hosts stay
    #[arg(short, long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Write keys that differ from known ones, in place of them; never revoked ones
    #[arg(long, requires = "write")]
    replace: bool,
    /// Write names hashed, as `HashKnownHosts` of OpenSSH does
    #[arg(long, requires = "write")]
    hash: bool,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// How many hosts are scanned at once
    #[arg(short, long, default_value_t = 50, value_name = "N")]
    forks: usize,
    /// Seconds to wait for each answer
    #[arg(short = 'T', long, value_name = "SECONDS")]
    timeout: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Table,
    Json,
}

/// What a scan found of one host of the inventory.
struct Found {
    host: String,
    address: String,
    half: Option<Half>,
    result: Result<Scanned, String>,
}

const TROUBLE: u8 = 2;
const UNREACHABLE: u8 = 4;

pub async fn run(arguments: &Arguments) -> Result<u8, Stop> {
    let What::Scan(scan) = &arguments.what;
    let targets = targets(scan)?;
    // Hosts are seen without logging in, but not without logging in to the jump hosts before them.
    let client = Arc::new(Client::new(terminal::keyring(None)));
    let mut found: Vec<Found> = stream::iter(targets)
        .map(|(host, target)| see(&client, host, target))
        .buffer_unordered(scan.forks.max(1))
        .collect()
        .await;
    found.sort_by(|left, right| left.host.cmp(&right.host));
    note_shared(&mut found);

    let text = match scan.format {
        Format::Table => table(&found),
        Format::Json => format!("{:#}\n", as_json(&found)),
    };
    anstream::stdout().write_all(text.as_bytes()).map_err(Stop::Output)?;
    let trouble = found.iter().flat_map(keys).any(is_trouble);
    let refused = match &scan.write {
        Some(file) => write(scan, file, &found)?,
        None => false,
    };
    let away = found.iter().any(|found| found.result.is_err());
    Ok(match (refused || (trouble && !scan.replace), away) {
        (true, _) => TROUBLE,
        (false, true) => UNREACHABLE,
        (false, false) => 0,
    })
}

/// Reads everything, and reports all errors in it at once, before any host is asked.
fn targets(scan: &Scan) -> Result<Vec<(String, Target)>, Diagnostics> {
    let mut errors = Diagnostics::default();
    let extra = vars::extra(&scan.extra_vars).map_err(|found| errors.extend(found)).unwrap_or_default();
    let inventory = Inventory::load(&scan.inventory).map_err(|found| errors.extend(found)).unwrap_or_default();
    let (fleet, templates) = (Arc::new(Fleet::new(inventory, extra)), Arc::new(Templates::new()));
    errors.or(())?;
    let hosts = fleet.select(&scan.pattern)?.strict()?;
    if hosts.is_empty() {
        return Err(Diagnostic::new(format!("no host matches `{}`", scan.pattern)).into());
    }
    let defaults = Defaults { timeout: scan.timeout, ..Defaults::default() };
    let connections = Connections::new(fleet.clone(), templates, defaults);
    let (mut targets, mut errors) = (Vec::new(), Diagnostics::default());
    for host in hosts {
        match connections.login(&host, &Keywords::default(), &fleet.host_scope(&host)) {
            Ok((Login::Ssh(target), _)) => targets.push((host, (*target).clone())),
            // This machine itself: nobody sits between.
            Ok((Login::Local, _)) => {}
            Err(Failure::Wrong(error)) => errors.push(error),
            Err(Failure::Unknown(what)) => errors.push(Diagnostic::new(format!("{what} is not known before a run"))),
        }
    }
    errors.or(targets)
}

async fn see(client: &Arc<Client>, host: String, target: Target) -> Found {
    let address = match target.address.contains(':') {
        true => format!("[{}]:{}", target.address, target.port),
        false => format!("{}:{}", target.address, target.port),
    };
    let half = target.neighbours.list().into_iter().find(|one| one.name == host).and_then(|one| one.half);
    let result = scan(client, &target).await.map_err(|error| reason(&target, &error));
    Found { host, address, half, result }
}

/// Notes which hosts showed the same key, where no file said so already.
fn note_shared(found: &mut [Found]) {
    struct Shown {
        host: String,
        address: String,
        half: Option<Half>,
        fingerprint: String,
    }
    let shown = |one: &Found, key: &HostKey| Shown {
        host: one.host.clone(),
        address: one.address.clone(),
        half: one.half,
        fingerprint: key.fingerprint.clone(),
    };
    let all: Vec<Shown> = found.iter().flat_map(|one| keys(one).map(|key| shown(one, key))).collect();
    for one in found {
        let Ok(scanned) = &mut one.result else { continue };
        for key in scanned.keys.iter_mut().filter(|key| key.elsewhere.is_none()) {
            // Two names of one address are one machine, and meant so.
            let mut others = all.iter().filter(|other| other.host != one.host && other.address != one.address);
            let Some(other) = others.find(|other| other.fingerprint == key.fingerprint) else { continue };
            let other_half = one.half.zip(other.half).is_some_and(|(own, other)| own != other);
            key.elsewhere = Some(Same { name: other.host.clone(), place: None, other_half });
        }
    }
}

fn keys(found: &Found) -> impl Iterator<Item = &HostKey> {
    found.result.iter().flat_map(|scanned| &scanned.keys)
}

/// Says whether a run would stop at this key though it was reviewed once.
fn is_trouble(key: &HostKey) -> bool {
    matches!(key.status, Status::Changed { .. } | Status::Revoked { .. })
        || key.elsewhere.as_ref().is_some_and(|same| same.other_half)
}

/// Lays the rows out in columns as wide as their widest cell.
fn table(found: &[Found]) -> String {
    let mut rows = vec![["HOST", "ADDRESS", "TYPE", "BITS", "FINGERPRINT", "STATUS"].map(String::from)];
    for one in found {
        let (host, address) = (&one.host, &one.address);
        rows.extend(keys(one).map(|key| {
            let (kind, bits) = (key.kind.to_string(), key.bits.to_string());
            [host.clone(), address.clone(), kind, bits, key.fingerprint.clone(), status(key)]
        }));
        let mut without_key = |kind: &str, status: String| {
            let none = || "-".to_string();
            rows.push([host.clone(), address.clone(), kind.into(), none(), none(), status.replace('\n', "; ")]);
        };
        match &one.result {
            Ok(scanned) => scanned.unseen.iter().for_each(|(kind, why)| without_key(kind, format!("not seen: {why}"))),
            Err(reason) => without_key("-", format!("unreachable: {reason}")),
        }
    }
    let mut widths = [0; 6];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &[String; 6]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

fn status(key: &HostKey) -> String {
    let own = match &key.status {
        Status::Known => "known".to_string(),
        Status::New => "new".to_string(),
        Status::Changed { known, place } => format!("changed: known is {known} ({place})"),
        Status::Revoked { place } => format!("revoked ({place})"),
    };
    match &key.elsewhere {
        None => own,
        Some(Same { name, place, other_half }) => {
            let place = place.as_ref().map(|place| format!(" ({place})")).unwrap_or_default();
            let half = if *other_half { ", the other half of the move" } else { "" };
            format!("{own}, same as {name}{place}{half}")
        }
    }
}

fn as_json(found: &[Found]) -> Value {
    let key = |key: &HostKey| {
        let (word, known, place) = match &key.status {
            Status::Known => ("known", None, None),
            Status::New => ("new", None, None),
            Status::Changed { known, place } => ("changed", Some(known), Some(place)),
            Status::Revoked { place } => ("revoked", None, Some(place)),
        };
        let same = key.elsewhere.as_ref();
        json!({
            "type": key.kind, "bits": key.bits, "fingerprint": key.fingerprint, "key": key.text,
            "status": word, "known": known, "place": place,
            "same_as": same.map(|same| &same.name), "other_half": same.is_some_and(|same| same.other_half),
        })
    };
    let host = |one: &Found| {
        let keys: Vec<Value> = keys(one).map(key).collect();
        let unseen: Vec<&str> = one.result.iter().flat_map(|scanned| &scanned.unseen).map(|(kind, _)| *kind).collect();
        json!({
            "host": one.host, "address": one.address, "keys": keys, "unseen": unseen,
            "unreachable": one.result.as_ref().err(),
        })
    };
    Value::Array(found.iter().map(host).collect())
}

/// Writes the file; `true` if it was left alone because of what it or the other files say.
fn write(scan: &Scan, file: &Path, found: &[Found]) -> Result<bool, Stop> {
    let broken = |error: std::io::Error| {
        let text = format!("`{}` cannot be written: {error}", file.display());
        Stop::from(Diagnostic::new(text).hint("nothing was written"))
    };
    let old = match std::fs::read(file) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(broken(error)),
    };
    let pins = pins(found);
    let mut against: Vec<String> = pin::conflicts(&old, &pins)
        .into_iter()
        .filter(|conflict| conflict.revoked || !scan.replace)
        .map(|conflict| {
            let what = if conflict.revoked { "the key it shows is revoked:" } else { "the file has another key," };
            format!("`{}`: {what} {} ({}:{})", conflict.name, conflict.key, file.display(), conflict.line)
        })
        .collect();
    for one in found {
        let stops = |key: &&HostKey| match key.status {
            Status::Revoked { .. } => true,
            _ => is_trouble(key) && !scan.replace,
        };
        let line = |key: &HostKey| format!("`{}`: {} {} is {}", one.host, key.kind, key.fingerprint, status(key));
        against.extend(keys(one).filter(stops).map(line));
    }
    if !against.is_empty() {
        let hint = "if the hosts really have new keys, compare them on the hosts, then add `--replace`; a revoked key is \
                    never written";
        let text = format!("`{}` was not written:\n  {}\nhint: {hint}", file.display(), against.join("\n  "));
        writeln!(anstream::stderr(), "error: {text}").map_err(Stop::Output)?;
        return Ok(true);
    }
    let writing = if scan.hash { Writing::Hashed } else { Writing::Clear };
    let new = pin::merge(&old, &pins, writing).map_err(broken)?;
    if new != old {
        pin::replace(file, &new).map_err(broken)?;
    }
    let count: usize = pins.iter().map(|pin| pin.keys.len()).sum();
    let text = format!("`{}` has the {count} keys of {} names", file.display(), pins.len());
    writeln!(anstream::stderr(), "{text}").map_err(Stop::Output)?;
    Ok(false)
}

/// Returns the keys by the names that files have for hosts; two hosts of the inventory may be one of these.
fn pins(found: &[Found]) -> Vec<Pin> {
    let mut pins: Vec<Pin> = Vec::new();
    for scanned in found.iter().filter_map(|one| one.result.as_ref().ok()) {
        let keys: Vec<String> = scanned.keys.iter().map(|key| key.text.clone()).collect();
        match pins.iter_mut().find(|pin| pin.name == scanned.name) {
            Some(pin) => pin.keys.extend(keys),
            None => pins.push(Pin { name: scanned.name.clone(), keys }),
        }
    }
    for pin in &mut pins {
        pin.keys.sort();
        pin.keys.dedup();
    }
    pins
}
