//! Laws that a machine without a real file system can be held to: what was written is what is seen, through the transport
//! alone. The machine in memory and the real one must agree on every answer.

use std::sync::Arc;

use cutover::transport::local::local;
use cutover::transport::memory::Memory;
use cutover::transport::{
    Body, Content, Links, Node, Owner, PathChange, Permissions, Transport, TransportError, Want, WriteError,
};

use super::Machine;

/// Runs the same story on a machine and returns all that it answered, with `root` written as `ROOT`.
async fn story(machine: &Machine, root: &str) -> Vec<String> {
    let mut told = Vec::new();
    let identity = machine.identity().clone();
    let permissions = |mode| Permissions { mode, owner: identity.user.clone(), group: identity.group.clone() };
    let file = |text: &str, mode| Node::File {
        content: Content::here(text.as_bytes()),
        permissions: permissions(mode),
        modified: Some(1_700_000_000),
    };
    let directory = |mode| Node::Directory { permissions: permissions(mode), modified: None };
    let link = |target: &str| Node::Link { target: target.into(), permissions: permissions(0o777) };
    let change = |path: &str, before: &Node, after: &Node| {
        PathChange::new(format!("{root}/{path}"), before.clone(), after.clone()).unwrap()
    };
    let (one, two, kept) = (file("one\n", 0o640), file("two\0\n", 0o4755), directory(0o750));
    let attributes = Node::File {
        content: Content { body: Body::There, ..Content::here("two\0\n".as_bytes()) },
        permissions: permissions(0o600),
        modified: None,
    };
    let steps: Vec<Vec<PathChange>> = vec![
        vec![change("d", &Node::Absent, &kept), change("d/a b'\"", &Node::Absent, &one)],
        vec![change("d/a b'\"", &one, &two)],
        // No longer what it was: refused, and the second change is not made either.
        vec![
            change("d/a b'\"", &one, &two.clone().with_permissions(permissions(0o644))),
            change("d/never", &Node::Absent, &one),
        ],
        vec![change("d/a b'\"", &two, &attributes)],
        vec![change("d/l", &Node::Absent, &link("a b'\"")), change("d/away", &Node::Absent, &link("nowhere"))],
        vec![change("d/l", &link("a b'\""), &link("../d"))],
        // The parent is missing; a directory that is not empty stays.
        vec![change("none/x", &Node::Absent, &one)],
        vec![change("d", &kept, &Node::Absent)],
        vec![change("d/away", &link("nowhere"), &Node::Absent), change("d/empty", &Node::Absent, &file("", 0o600))],
        vec![change("d/empty", &file("", 0o600), &directory(0o700))],
        vec![change("d", &kept, &directory(0o700))],
    ];
    for step in steps {
        told.push(match machine.write(&step).await {
            Ok(()) => "written".into(),
            Err(WriteError::Stale { index, path, .. }) => format!("stale {index} {path}"),
            Err(WriteError::Failed { index, path, error: TransportError::Refused(_) }) => {
                format!("refused {index} {path}")
            }
            Err(other) => panic!("{other}"),
        });
        let names = ["d", "d/a b'\"", "d/l", "d/away", "d/empty", "d/never", "none/x"];
        for links in [Links::Keep, Links::Follow] {
            let paths: Vec<_> = names.iter().map(|name| (format!("{root}/{name}"), links)).collect();
            let nodes = machine.look(&paths, Want::Content).await.unwrap();
            told.extend(names.iter().zip(nodes).map(|(name, node)| format!("{links:?} {name} {}", shown(&node))));
        }
        for entry in machine.list(root, None).await.unwrap() {
            told.push(format!("lists {} {}", entry.path, entry.node.kind()));
        }
        told.push(format!("{} at the first level", machine.list(root, Some(1)).await.unwrap().len()));
    }
    told.into_iter().map(|line| line.replace(root, "ROOT")).collect()
}

/// All of a node that both machines must agree on; names of owners are the fixture's.
fn shown(node: &Node) -> String {
    let mode = match node {
        Node::Link { .. } => None,
        other => other.permissions().map(|permissions| format!("{:04o}", permissions.mode)),
    };
    let rest = match node {
        Node::File { content, .. } => format!(
            "{} bytes {:?} {:?}",
            content.size,
            content.digest.as_ref().map(|digest| &digest.0[..8]),
            content.bytes().map(String::from_utf8_lossy)
        ),
        Node::Link { target, .. } => target.clone(),
        _ => String::new(),
    };
    format!("{} {mode:?} {rest}", node.kind())
}

#[tokio::test]
async fn the_machine_in_memory_answers_as_a_real_one() {
    let root = tempfile::tempdir().unwrap();
    let real = local(None).await.unwrap();
    let memory = Memory::new();
    memory.dir("/root-of-it", 0o755);
    let memory: Machine = Arc::new(memory);
    let (left, right) = (story(&memory, "/root-of-it").await, story(&real, root.path().to_str().unwrap()).await);
    for (memory, real) in left.iter().zip(&right) {
        assert_eq!(memory, real);
    }
    assert_eq!(left.len(), right.len());
    let outcomes: Vec<&str> = left
        .iter()
        .map(String::as_str)
        .filter(|line| ["written", "stale", "refuse"].iter().any(|word| line.starts_with(word)))
        .collect();
    assert_eq!(outcomes.iter().filter(|line| **line == "written").count(), 8, "{outcomes:?}");
}

#[tokio::test]
async fn the_machine_in_memory_knows_its_accounts() {
    let memory = Memory::new();
    memory.account("popuser", 110);
    let popuser = Owner { id: 110, name: "popuser".into() };
    assert_eq!(memory.user("popuser").await.unwrap(), Some(popuser.clone()));
    assert_eq!(memory.group("110").await.unwrap(), Some(popuser));
    assert_eq!(memory.user("nobody-at-all").await.unwrap(), None);
}
