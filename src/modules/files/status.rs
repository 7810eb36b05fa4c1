//! A path as `stat` and `find` describe it, in Ansible's words.

use serde_json::{Map, Value, json};

use crate::transport::{Identity, Node, Permissions};

/// Returns type, mode, owner, group, size and time of a node that is there.
pub fn status_of(path: &str, node: &Node) -> Map<String, Value> {
    let mut status = Map::new();
    let mut set = |name: &str, value: Value| drop(status.insert(name.into(), value));
    set("path", path.into());
    let letter = match node {
        Node::Absent => ' ',
        Node::File { .. } => '-',
        Node::Directory { .. } => 'd',
        Node::Link { .. } => 'l',
        Node::Special { letter, .. } => *letter,
    };
    let types = [
        ("isreg", '-'),
        ("isdir", 'd'),
        ("islnk", 'l'),
        ("ischr", 'c'),
        ("isblk", 'b'),
        ("isfifo", 'p'),
        ("issock", 's'),
    ];
    for (name, is) in types {
        set(name, (letter == is).into());
    }
    if let Some(Permissions { mode, owner, group }) = node.permissions() {
        set("mode", format!("{mode:04o}").into());
        for (name, bit) in BITS {
            set(name, (mode & bit != 0).into());
        }
        set("uid", owner.id.into());
        set("gid", group.id.into());
        set("pw_name", owner.name.as_str().into());
        set("gr_name", group.name.as_str().into());
    }
    if let Node::File { modified: Some(seconds), .. } | Node::Directory { modified: Some(seconds), .. } = node {
        set("mtime", json!(*seconds as f64));
    }
    match node {
        Node::File { content, .. } => set("size", content.size.into()),
        Node::Link { target, .. } => set("size", target.len().into()),
        _ => {}
    }
    status
}

const BITS: [(&str, u32); 11] = [
    ("isuid", 0o4000),
    ("isgid", 0o2000),
    ("rusr", 0o400),
    ("wusr", 0o200),
    ("xusr", 0o100),
    ("rgrp", 0o040),
    ("wgrp", 0o020),
    ("xgrp", 0o010),
    ("roth", 0o004),
    ("woth", 0o002),
    ("xoth", 0o001),
];

/// Returns what the session may do by a path's mode: 4 read, 2 write, 1 execute. `None`: its other groups decide.
pub fn access(identity: &Identity, permissions: &Permissions, directory: bool) -> Option<u32> {
    let mode = permissions.mode;
    let (user, group, others) = (mode >> 6 & 7, mode >> 3 & 7, mode & 7);
    match () {
        () if identity.user.id == 0 => Some(6 | u32::from(directory || mode & 0o111 != 0)),
        () if identity.user.id == permissions.owner.id => Some(user),
        () if identity.group.id == permissions.group.id || group == others => Some(group),
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::Owner;

    #[test]
    fn access_is_by_the_first_class_that_fits() {
        let owner = |id: u32| Owner { id, name: id.to_string() };
        let identity =
            |id| Identity { user: owner(id), group: owner(id), home: "/".into(), base: "/".into(), umask: 0o022 };
        let file = Permissions { mode: 0o640, owner: owner(5), group: owner(6) };
        let asked = [0, 5, 6, 7].map(|id| access(&identity(id), &file, false));
        assert_eq!(asked, [Some(6), Some(6), Some(4), None]);
        assert_eq!(access(&identity(0), &file, true), Some(7));
    }
}
