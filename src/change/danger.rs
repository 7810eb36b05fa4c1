//! What a change does that a reviewer must not miss, whichever module asked for it.

use crate::transport::name::shown;
use crate::transport::{Body, Node, PathChange};

use super::StateChange;

/// Returns the dangers of a path's change, beside those of its mode.
pub fn of_path(change: &PathChange) -> Vec<String> {
    let (path, before, after) = (change.path(), change.before(), change.after());
    let mut dangers = Vec::new();
    if matches!(after, Node::Absent) {
        dangers.extend(without_control(path));
    }
    if path.ends_with("/tcp.smtp") && !relays_for_all(before) && relays_for_all(after) {
        dangers.push("open relay: a rule for every address sets `RELAYCLIENT`".into());
    }
    if path.ends_with("/control/smtproutes") {
        let (before, after) = (routes(before), routes(after));
        let gone: Vec<&str> = before.iter().filter(|key| !after.contains(key)).map(String::as_str).collect();
        if !gone.is_empty() {
            let named = shown(&gone.join("`, `")).to_string();
            dangers.push(format!(
                "`{named}` loses its route: where mail waits for it, and its MX is this host, that bounces (#5.4.6)"
            ));
        }
    }
    if let Some(mailbox) = mailbox(path, before).filter(|_| size(after) < size(before)) {
        dangers.push(format!("the mailbox `{}` shrinks", shown(mailbox)));
    }
    dangers
}

/// Returns the dangers of a state's change.
pub fn of_state(state: &StateChange) -> Vec<String> {
    if let Some(name) = state.what().strip_prefix("user ") {
        return of_account(name, (state.before(), state.after()));
    }
    if let Some(name) = state.what().strip_prefix("password of ").filter(|_| state.after() == "empty") {
        return vec![format!("the password of `{name}` is empty: it lets everybody in")];
    }
    if let Some(name) = state.what().strip_prefix("database ").filter(|_| state.after() == "absent") {
        return vec![format!(
            "the database `{name}` goes with all that is in it ({}); nothing brings it back",
            state.before()
        )];
    }
    let Some(name) = state.what().strip_prefix("service ") else { return Vec::new() };
    let words = |text: &str| -> Vec<String> {
        text.split([',', ' ', '\n']).filter(|word| !word.is_empty()).map(str::to_string).collect()
    };
    let (before, after) = (words(state.before()), words(state.after()));
    let loses = |word: &str| before.iter().any(|other| other == word) && !after.iter().any(|other| other == word);
    let mut dangers = Vec::new();
    if loses("running") {
        dangers.push(format!("the service `{name}` is stopped"));
    }
    if loses("enabled") {
        dangers.push(format!("the service `{name}` no longer starts by itself"));
    }
    dangers
}

/// Groups whose members may become root, or read and write what is root's.
const POWERFUL: [&str; 8] = ["root", "sudo", "wheel", "admin", "docker", "lxd", "disk", "shadow"];

/// Returns the dangers of an account's change: its text is a line of passwd(5) and its groups.
fn of_account(name: &str, (before, after): (&str, &str)) -> Vec<String> {
    let is_root = |text: &str| text.split(':').nth(1) == Some("0");
    let groups = |text: &str| -> Vec<String> {
        let shell = text.splitn(6, ':').nth(5).unwrap_or("");
        let rest = shell.split_once(", groups ").map_or("", |(_, rest)| rest);
        let listed = rest.split(", ").next().unwrap_or("");
        listed.split(',').map(str::to_string).collect()
    };
    let mut dangers = Vec::new();
    if is_root(after) && !is_root(before) {
        dangers.push(format!("`{name}` has the number 0: it is root under another name"));
    }
    let old = groups(before);
    for group in groups(after).iter().filter(|group| POWERFUL.contains(&group.as_str()) && !old.contains(group)) {
        dangers.push(format!("`{name}` joins `{group}`, which may become root"));
    }
    dangers
}

/// Says what qmail does without a control file whose absence means something (qmail-smtpd.8, qmail-send.8).
fn without_control(path: &str) -> Option<String> {
    let (directory, name) = path.rsplit_once('/')?;
    match name {
        "control" if directory.ends_with("/qmail") => {
            Some("open relay: without its control files qmail-smtpd relays for everybody".into())
        }
        "rcpthosts" if directory.ends_with("/control") => {
            Some("open relay: without `rcpthosts` qmail-smtpd relays for everybody".into())
        }
        "locals" if directory.ends_with("/control") => {
            Some("`me` becomes local: without `locals` qmail takes it for a local domain".into())
        }
        _ => None,
    }
}

/// Returns the domains that have a route of their own (qmail-remote.8).
fn routes(node: &Node) -> Vec<String> {
    let Some(Body::Here(bytes)) = node.content().map(|content| &content.body) else { return Vec::new() };
    let text = String::from_utf8_lossy(bytes).into_owned();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| Some(line.split_once(':')?.0.to_lowercase())).filter(|key| !key.is_empty()).collect()
}

/// Says whether a rule of tcpserver's for all addresses, whose address is empty (tcprules.1), lets them relay.
fn relays_for_all(node: &Node) -> bool {
    let Some(Body::Here(bytes)) = node.content().map(|content| &content.body) else { return false };
    String::from_utf8_lossy(bytes).lines().any(|line| line.starts_with(":allow") && line.contains("RELAYCLIENT="))
}

/// Returns the mailbox that a path is, or is a message or a folder of.
fn mailbox<'p>(path: &'p str, node: &Node) -> Option<&'p str> {
    let parts: Vec<(usize, &str)> = path.match_indices('/').map(|(at, _)| (at, &path[at + 1..])).collect();
    for (at, rest) in parts {
        let (name, below) = rest.split_once('/').unwrap_or((rest, ""));
        let end = at + 1 + name.len();
        if name.ends_with("Maildir") {
            // What stands in `tmp` is no message yet, and files beside the three directories are a server's own.
            let inner = below.split('/').find(|part| matches!(*part, "cur" | "new" | "tmp" | ""));
            let message = matches!(inner, Some("cur" | "new" | ""));
            let folder = matches!(node, Node::Directory { .. }) && inner != Some("tmp");
            return (message || folder).then_some(&path[..end]);
        }
        let spool = path[..at].ends_with("/var/mail") || path[..at].ends_with("/var/spool/mail");
        if (spool || name == "Mailbox") && matches!(node, Node::File { .. }) && below.is_empty() {
            return Some(&path[..end]);
        }
        // Plesk: all mailboxes of a domain, and all of a user's.
        if path[..at].ends_with("/qmail/mailnames") && below.split('/').count() < 2 {
            return matches!(node, Node::Directory { .. }).then_some(path);
        }
    }
    None
}

/// How much of a mailbox is there: bytes of a file; of anything else, whether it is.
fn size(node: &Node) -> u64 {
    match node {
        Node::Absent => 0,
        Node::File { content, .. } => content.size + 1,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::{Change, Line, Secrecy};
    use crate::transport::{Command, Content, Owner, Permissions};

    fn permissions(mode: u32) -> Permissions {
        let owner = Owner { id: 0, name: "root".into() };
        Permissions { mode, owner: owner.clone(), group: owner }
    }

    fn file(text: &str) -> Node {
        Node::File { content: Content::here(text.as_bytes()), permissions: permissions(0o600), modified: None }
    }

    fn directory() -> Node {
        Node::Directory { permissions: permissions(0o700), modified: None }
    }

    /// The warnings of a change's diff: what is printed, saved and counted.
    fn dangers(change: Option<Change>) -> Vec<String> {
        let lines = change.unwrap().diff(Secrecy::Hidden).lines;
        lines.into_iter().filter_map(|line| if let Line::Warning(text) = line { Some(text) } else { None }).collect()
    }

    fn moved(path: &str, before: Node, after: Node) -> String {
        dangers(Change::path(path, before, after)).join("\n")
    }

    #[test]
    fn an_open_relay_and_me_made_local_are_found_and_emptied_files_are_neither() {
        let rcpthosts = "/var/qmail/control/rcpthosts";
        assert!(moved(rcpthosts, file("example.com\n"), Node::Absent).starts_with("open relay: without `rcpthosts`"));
        assert_eq!(moved(rcpthosts, file("example.com\n"), file("")), "");
        assert_eq!(moved("/var/qmail/control/morercpthosts", file("example.com\n"), Node::Absent), "");
        assert_eq!(moved("/root/rcpthosts", file("example.com\n"), Node::Absent), "");
        let locals = "/var/qmail/control/locals";
        assert!(moved(locals, file("example.com\n"), Node::Absent).starts_with("`me` becomes local"));
        assert_eq!(moved(locals, file("example.com\n"), file("")), "");
        assert!(moved("/var/qmail/control", directory(), Node::Absent).starts_with("open relay"));
        assert_eq!(moved("/srv/control", directory(), Node::Absent), "");
    }

    #[test]
    fn a_rule_that_lets_everybody_relay_is_found_and_one_for_a_network_is_not() {
        let (rules, all) = ("127.:allow,RELAYCLIENT=\"\"\n", ":allow,RELAYCLIENT=\"\"\n");
        let open = moved("/etc/tcp.smtp", file(rules), file(&(rules.to_string() + all)));
        assert_eq!(open, "open relay: a rule for every address sets `RELAYCLIENT`");
        assert_eq!(moved("/etc/tcp.smtp", file(""), file(&(rules.to_string() + ":allow\n"))), "");
        // It was open before.
        assert_eq!(moved("/etc/tcp.smtp", file(all), file(&(rules.to_string() + all))), "");
    }

    #[test]
    fn a_mailbox_that_shrinks_is_found_and_one_that_grows_is_not() {
        let maildir = "/var/qmail/mailnames/example.com/info/Maildir";
        let shrinks = format!("the mailbox `{maildir}` shrinks");
        let gone = |path: &str, node: Node| moved(path, node, Node::Absent);
        for below in ["/cur/1.a:2,S", "/new/1.a", "/.Sent/cur/1.b:2,S"] {
            assert_eq!(gone(&format!("{maildir}{below}"), file("mail")), shrinks, "{below}");
            assert_eq!(moved(&format!("{maildir}{below}"), Node::Absent, file("mail")), "", "{below}");
        }
        for below in ["", "/.Sent", "/cur"] {
            assert_eq!(gone(&format!("{maildir}{below}"), directory()), shrinks, "{below}");
        }
        for below in ["/tmp/1.a", "/dovecot.index.log", "/.Sent/maildirfolder"] {
            assert_eq!(gone(&format!("{maildir}{below}"), file("x")), "", "{below}");
        }
        assert_eq!(
            gone("/var/qmail/mailnames/example.com", directory()),
            "the mailbox `/var/qmail/mailnames/example.com` shrinks"
        );
        assert_eq!(
            moved("/var/mail/ann", file("From a\nFrom b\n"), file("From a\n")),
            "the mailbox `/var/mail/ann` shrinks"
        );
        assert_eq!(moved("/var/mail/ann", file("From a\n"), file("From a\nFrom b\n")), "");
        assert_eq!(gone("/var/lib/ann", file("From a\n")), "");
    }

    #[test]
    fn a_service_that_is_stopped_is_found_and_one_that_is_started_is_not() {
        let state = |what: &str, before: &str, after: &str| {
            let (before, after) = (before.to_string(), after.to_string());
            dangers(Change::state(what, Command::shell("true"), (before, after), Vec::new())).join("\n")
        };
        let stopped = state("service smtp", "running, enabled (systemd)", "stopped, enabled (systemd)");
        assert_eq!(stopped, "the service `smtp` is stopped");
        let off = state("service smtp", "running, enabled (systemd)", "running, disabled (systemd)");
        assert_eq!(off, "the service `smtp` no longer starts by itself");
        assert_eq!(state("service smtp", "stopped, disabled (systemd)", "running, enabled (systemd)"), "");
        assert_eq!(state("/var/qmail/users/cdb", "running", "stopped"), "");
    }

    #[test]
    fn modes_that_everybody_may_use_are_found_and_their_neighbours_are_not() {
        let of =
            |mode: u32| Node::File { content: Content::here(*b""), permissions: permissions(mode), modified: None };
        assert_eq!(moved("/f", of(0o644), of(0o646)), "becomes world-writable");
        assert_eq!(moved("/f", of(0o644), of(0o664)), "");
        assert_eq!(moved("/f", of(0o646), of(0o642)), "");
        assert_eq!(moved("/f", of(0o755), of(0o4755)), "becomes setuid");
        assert_eq!(moved("/f", of(0o755), of(0o2755)), "becomes setgid");
        assert_eq!(moved("/f", of(0o4755), of(0o755)), "");
    }

    #[test]
    fn another_root_a_way_to_root_and_an_empty_password_are_found() {
        let state = |what: &str, before: &str, after: &str| {
            dangers(Change::state(what, Command::shell("true"), (before.into(), after.into()), Vec::new())).join("\n")
        };
        let ann = "ann:1001:1001:Ann, groups sudo:/home/ann:/bin/sh";
        assert_eq!(state("user ann", "absent", ann), "");
        assert!(state("user ann", ann, "ann:0:0::/root:/bin/sh").contains("root under another name"));
        let joins = format!("{ann}, groups mail,sudo, expires 2030-01-01");
        assert_eq!(state("user ann", ann, &joins), "`ann` joins `sudo`, which may become root");
        assert_eq!(state("user ann", &joins, ann), "");
        assert!(state("password of ann", "!", "empty").contains("lets everybody in"));
        assert_eq!(state("password of ann", "empty", "!"), "");
    }
}
