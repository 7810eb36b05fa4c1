//! The laws of looking at paths and changing them.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use cutover::transport::{
    Body, Command, Content, Digest, INLINE_LIMIT, Links, Node, Owner, PathChange, Permissions, TransportError, Want,
    WriteError, name,
};
use tokio::io::AsyncReadExt as _;

use super::Machine;

/// Returns what a path is, as `std::fs` says; a link is not followed.
pub fn node(path: &Path) -> Node {
    let Ok(found) = fs::symlink_metadata(path) else { return Node::Absent };
    let permissions = Permissions {
        mode: found.mode() & 0o7777,
        owner: account("passwd", found.uid()),
        group: account("group", found.gid()),
    };
    let modified = Some(found.mtime());
    match found.file_type() {
        kind if kind.is_dir() => Node::Directory { permissions, modified },
        kind if kind.is_symlink() => Node::Link { target: name::from_local(fs::read_link(path).unwrap()), permissions },
        _ => Node::File { content: Content::here(fs::read(path).unwrap()), permissions, modified },
    }
}

pub fn account(database: &str, id: u32) -> Owner {
    let lines = fs::read_to_string(format!("/etc/{database}")).unwrap();
    let line = lines.lines().find(|line| line.split(':').nth(2) == Some(&id.to_string()));
    Owner { id, name: line.map_or(id.to_string(), |line| line.split(':').next().unwrap().into()) }
}

pub fn everything(root: &Path) -> Vec<String> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(root).unwrap().map(Result::unwrap) {
        paths.push(name::from_local(entry.path()));
        if entry.file_type().unwrap().is_dir() {
            paths.extend(everything(&entry.path()));
        }
    }
    paths.sort();
    paths
}

/// Names that trip a shell, or a tool that takes them for an option.
pub const ODD_NAMES: &[&str] = &[
    "plain",
    "two  words",
    " leading and trailing ",
    "-rf",
    "--",
    "it's \"quoted\"",
    "new\nline",
    "ends with newline\n",
    "$(touch pwned)`x`;&|<>*?[a]!#~",
    "back\\slash \\n",
    "tab\there",
    "ümläut-日本",
    "a:2,S",
    "*",
    "$HOME",
    "\u{1b}[31m\u{7f}\u{1}",
    LONG_NAME,
];

/// As long as a name can be.
const LONG_NAME: &str = match str::from_utf8(&[b'n'; 255]) {
    Ok(name) => name,
    Err(_) => "",
};

pub fn fill(root: &Path) {
    for name in ODD_NAMES {
        fs::write(root.join(name), format!("content of {name}")).unwrap();
    }
    fs::write(root.join("empty"), "").unwrap();
    fs::write(root.join("binary"), [0, 1, 2, 0o36, 255, 0, b'\n', 0]).unwrap();
    fs::set_permissions(root.join("binary"), fs::Permissions::from_mode(0o4751)).unwrap();
    fs::create_dir_all(root.join("dir with space/sub/deep")).unwrap();
    fs::set_permissions(root.join("dir with space"), fs::Permissions::from_mode(0o1777)).unwrap();
    fs::write(root.join("dir with space/sub/deep/file"), "x").unwrap();
    symlink("plain", root.join("link")).unwrap();
    symlink("no such\n -> target\n", root.join("broken link")).unwrap();
    symlink("dir with space", root.join("link to dir")).unwrap();
}

pub fn keep(path: &Path) -> (String, Links) {
    (name::from_local(path), Links::Keep)
}

pub async fn look(machine: &Machine, path: &Path) -> Node {
    machine.look(&[keep(path)], Want::Content).await.unwrap().remove(0)
}

pub async fn a_look_says_what_is_there(machine: &Machine, root: &Path) {
    fill(root);
    let paths: Vec<_> = everything(root).into_iter().chain([root.join("absent").to_str().unwrap().into()]).collect();
    let asked: Vec<_> = paths.iter().map(|path| (path.clone(), Links::Keep)).collect();
    for want in [Want::Content, Want::Digest, Want::Attributes] {
        let found = machine.look(&asked, want).await.unwrap();
        for (path, found) in paths.iter().zip(&found) {
            let real = node(Path::new(path));
            assert_eq!(*found, real, "{path}");
            if let (Some(found), Some(real)) = (found.content(), real.content()) {
                assert_eq!(found.size, real.size, "{path}");
                assert_eq!(found.digest, real.digest.clone().filter(|_| want > Want::Attributes), "{path}");
                assert_eq!(found.bytes(), real.bytes().filter(|_| want == Want::Content), "{path}");
            }
        }
    }
    let through = |name: &str| (root.join(name).to_str().unwrap().to_string(), Links::Follow);
    let asked = [through("link"), keep(&root.join("link")), through("broken link"), through("link to dir")];
    let found = machine.look(&asked, Want::Content).await.unwrap();
    assert_eq!(found[0], node(&root.join("plain")));
    assert_eq!(found[1], node(&root.join("link")));
    assert_eq!(found[2], Node::Absent);
    assert_eq!(found[3], node(&root.join("dir with space")));
}

pub async fn a_list_says_what_is_there(machine: &Machine, root: &Path) {
    fill(root);
    let directory = root.to_str().unwrap();
    let entries = machine.list(directory, None).await.unwrap();
    assert_eq!(entries.iter().map(|entry| entry.path.clone()).collect::<Vec<_>>(), everything(root));
    for entry in entries {
        let real = node(&name::to_local(&entry.path));
        assert_eq!(entry.node, real, "{}", entry.path);
        if let (Some(found), Some(real)) = (entry.node.content(), real.content()) {
            assert_eq!((found.size, &found.digest), (real.size, &None));
        }
    }
    let level = |depth: usize| {
        let prefix = directory.len() + 1;
        everything(root).into_iter().filter(|path| path[prefix..].matches('/').count() < depth).collect::<Vec<_>>()
    };
    for depth in [1, 2, 3] {
        let entries = machine.list(directory, Some(depth)).await.unwrap();
        assert_eq!(entries.into_iter().map(|entry| entry.path).collect::<Vec<_>>(), level(depth as usize));
    }
    assert_eq!(machine.list(&format!("{directory}/absent"), None).await.unwrap(), []);
    assert_eq!(machine.list(&format!("{directory}/dir with space/sub/deep/none"), Some(1)).await.unwrap(), []);
}

pub fn permissions(machine: &Machine, mode: u32) -> Permissions {
    let identity = machine.identity();
    Permissions { mode, owner: identity.user.clone(), group: identity.group.clone() }
}

pub fn file(machine: &Machine, (bytes, mode): (&[u8], u32), modified: Option<i64>) -> Node {
    Node::File { content: Content::here(bytes), permissions: permissions(machine, mode), modified }
}

pub fn change(path: &Path, before: Node, after: Node) -> PathChange {
    PathChange::new(path.to_str().unwrap(), before, after).unwrap()
}

pub async fn a_write_makes_exactly_after(machine: &Machine, root: &Path) {
    let contents: &[&[u8]] = &[b"", b"no final newline", b"\0\x01\xff\n\0", b"-n\n", &[b'%'; 5000], b"a\n\nb\n\n"];
    let names = ODD_NAMES.iter().zip(contents.iter().cycle());
    let modes = [0o644, 0o600, 0o4755, 0o2711, 0o400].into_iter().cycle();
    let mut changes = Vec::new();
    for ((name, content), mode) in names.zip(modes) {
        changes.push(change(&root.join(name), Node::Absent, file(machine, (content, mode), Some(1_600_000_000))));
    }
    let directory = Node::Directory { permissions: permissions(machine, 0o2750), modified: None };
    changes.push(change(&root.join("new dir"), Node::Absent, directory));
    changes.push(change(&root.join("new dir/in it"), Node::Absent, file(machine, (b"x", 0o640), None)));
    for target in ["plain", "-odd it's\n"] {
        let link = Node::Link { target: target.into(), permissions: permissions(machine, 0o777) };
        changes.push(change(&root.join(format!("to {}", &target[..2])), Node::Absent, link));
    }
    machine.write(&changes).await.unwrap();
    for change in &changes {
        assert_eq!(node(Path::new(change.path())), *change.after(), "{}", change.path());
    }
    // And again from what is there: new contents, then nothing at all, deepest first.
    let mut again = Vec::new();
    for name in ODD_NAMES {
        let before = look(machine, &root.join(name)).await;
        again.push(change(&root.join(name), before, file(machine, (b"second", 0o660), None)));
    }
    machine.write(&again).await.unwrap();
    for change in &again {
        assert_eq!(node(Path::new(change.path())), *change.after(), "{}", change.path());
    }
    let mut gone = Vec::new();
    for path in everything(root).into_iter().rev() {
        gone.push(change(Path::new(&path), look(machine, Path::new(&path)).await, Node::Absent));
    }
    machine.write(&gone).await.unwrap();
    assert_eq!(everything(root), Vec::<String>::new());
}

pub async fn attributes_change_in_place(machine: &Machine, root: &Path) {
    let path = root.join("file");
    fs::write(&path, "content").unwrap();
    let inode = fs::metadata(&path).unwrap().ino();
    let before = look(machine, &path).await;
    let there = Content { size: 7, digest: None, body: Body::There };
    let after = Node::File { content: there, permissions: permissions(machine, 0o4711), modified: Some(1_500_000_000) };
    machine.write(&[change(&path, before, after.clone())]).await.unwrap();
    assert_eq!(node(&path), after);
    assert_eq!(fs::read(&path).unwrap(), b"content");
    assert_eq!(fs::metadata(&path).unwrap().ino(), inode);

    let directory = root.join("dir");
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o2777)).unwrap();
    let before = look(machine, &directory).await;
    let after = Node::Directory { permissions: permissions(machine, 0o700), modified: None };
    machine.write(&[change(&directory, before, after.clone())]).await.unwrap();
    assert_eq!(node(&directory), after);
}

pub async fn a_stale_path_is_refused(machine: &Machine, root: &Path) {
    let (one, two, three) = (root.join("one"), root.join("two"), root.join("three"));
    fs::write(&two, "as planned").unwrap();
    let before = look(machine, &two).await;
    fs::write(&two, "as edited!").unwrap();
    let new = || file(machine, (b"new", 0o644), None);
    let changes = [change(&one, Node::Absent, new()), change(&two, before, new()), change(&three, Node::Absent, new())];
    let error = machine.write(&changes).await.unwrap_err();
    let WriteError::Stale { index: 1, path, found } = error else { panic!("{error:?}") };
    assert_eq!(path, two.to_str().unwrap());
    assert_eq!(*found, node(&two));
    assert_eq!(found.content().unwrap().bytes(), Some(&b"as edited!"[..]));
    assert_eq!(fs::read(&one).unwrap(), b"new");
    assert_eq!(fs::read(&two).unwrap(), b"as edited!");
    assert!(!three.exists());

    // Every part of a state counts.
    type Spoil = fn(&Path);
    let stale: &[(&str, Spoil)] = &[
        ("mode", |path| fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap()),
        ("gone", |path| fs::remove_file(path).unwrap()),
        ("directory", |path| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap()
        }),
        ("link", |path| {
            fs::rename(path, path.with_extension("old")).unwrap();
            symlink(path.with_extension("old"), path).unwrap()
        }),
    ];
    for (name, edit) in stale {
        let path = root.join(name);
        fs::write(&path, "x").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let before = look(machine, &path).await;
        edit(&path);
        let edited = node(&path);
        let error = machine.write(&[change(&path, before, new())]).await.unwrap_err();
        assert!(matches!(error, WriteError::Stale { index: 0, .. }), "{name}: {error:?}");
        assert_eq!(node(&path), edited, "{name}");
    }
    let path = root.join("appeared");
    fs::write(&path, "theirs").unwrap();
    let error = machine.write(&[change(&path, Node::Absent, new())]).await.unwrap_err();
    assert!(matches!(error, WriteError::Stale { .. }));
    let (path, link) = (root.join("a link"), |target: &str| Node::Link {
        target: target.into(),
        permissions: permissions(machine, 0o777),
    });
    symlink("elsewhere", &path).unwrap();
    let error = machine.write(&[change(&path, link("here"), link("there"))]).await.unwrap_err();
    assert!(matches!(error, WriteError::Stale { .. }));
    assert_eq!(fs::read_link(&path).unwrap(), Path::new("elsewhere"));
}

pub async fn a_failed_validation_leaves_all_as_it_was(machine: &Machine, root: &Path) {
    let path = root.join("it's checked");
    fs::write(&path, "good\n").unwrap();
    let before = look(machine, &path).await;
    let good = node(&path);
    let validated = |text: &[u8]| {
        change(&path, before.clone(), file(machine, (text, 0o644), None))
            .validated_by(Some("grep -q good %s || { echo 'it is bad' >&2; exit 1; }".into()))
    };
    let error = machine.write(&[validated(b"evil\n")]).await.unwrap_err();
    let WriteError::Failed { index: 0, error: TransportError::Refused(why), .. } = error else { panic!("{error:?}") };
    assert!(why.contains("it is bad"), "{why}");
    assert_eq!(node(&path), good);
    assert_eq!(everything(root).len(), 1);
    machine.write(&[validated(b"good as well\n")]).await.unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"good as well\n");
}

/// Bytes that no shell, tool or encoding leaves alone by luck.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 7u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

pub async fn a_big_content_goes_both_ways(machine: &Machine, root: &Path) {
    let bytes = noise(3 * 1024 * 1024);
    let (path, source) = (root.join("big one"), root.join("source"));
    let after = file(machine, (&bytes, 0o640), Some(1_600_000_000));
    machine.write(&[change(&path, Node::Absent, after.clone())]).await.unwrap();
    assert_eq!(node(&path), after);
    assert_eq!(fs::read(&path).unwrap(), bytes);

    // Too big to come along: the digest does.
    assert!(bytes.len() as u64 > INLINE_LIMIT);
    let before = look(machine, &path).await;
    assert_eq!(before.content().unwrap().digest, Some(Digest::of(&bytes)));
    assert_eq!(before.content().unwrap().bytes(), None);

    let mut process = machine.read(path.to_str().unwrap()).await.unwrap();
    let mut read = Vec::new();
    process.stdout.read_to_end(&mut read).await.unwrap();
    assert_eq!(process.end.await.unwrap().0, 0);
    assert_eq!(read, bytes);

    // From a file of the controller, in the middle of small changes.
    let bytes = noise(2_000_001);
    fs::write(&source, &bytes).unwrap();
    let content = Content { size: 2_000_001, digest: Some(Digest::of(&bytes)), body: Body::File(source.clone()) };
    let after = Node::File { content, permissions: permissions(machine, 0o600), modified: None };
    let small = |name: &str| change(&root.join(name), Node::Absent, file(machine, (b"s", 0o600), None));
    machine.write(&[small("a"), change(&path, before, after), small("b")]).await.unwrap();
    assert_eq!(fs::read(&path).unwrap(), bytes);
    assert!(root.join("a").exists() && root.join("b").exists());

    // A stale one is refused before it is sent, and one that changed on the way leaves nothing.
    let stale = change(&path, file(machine, (b"other", 0o600), None), file(machine, (&noise(500_000), 0o600), None));
    assert!(matches!(machine.write(&[stale]).await.unwrap_err(), WriteError::Stale { .. }));
    let content = Content { size: 2_000_001, digest: Some(Digest::of(&bytes)), body: Body::File(source.clone()) };
    let after = Node::File { content, permissions: permissions(machine, 0o600), modified: None };
    fs::write(&source, &bytes[1..]).unwrap();
    let error = machine.write(&[change(&root.join("short"), Node::Absent, after)]).await.unwrap_err();
    assert!(matches!(error, WriteError::Failed { .. }), "{error:?}");
    assert!(!root.join("short").exists());
}

pub async fn kinds_replace_each_other(machine: &Machine, root: &Path) {
    let path = root.join("it");
    let directory = || Node::Directory { permissions: permissions(machine, 0o755), modified: None };
    let link = |target: &str| Node::Link { target: target.into(), permissions: permissions(machine, 0o777) };
    let other = root.join("other");
    fs::create_dir(&other).unwrap();
    let text = || file(machine, (b"text", 0o644), None);
    // A link to a directory is replaced itself; nothing is put into its target.
    let to_other = other.to_str().unwrap().to_string();
    for after in [
        text(),
        directory(),
        text(),
        link(&to_other),
        link("elsewhere"),
        link(&to_other),
        text(),
        link(&to_other),
        directory(),
        link("x"),
        Node::Absent,
    ] {
        let before = look(machine, &path).await;
        machine.write(&[change(&path, before, after.clone())]).await.unwrap();
        assert_eq!(node(&path), after);
        assert_eq!(everything(&other), Vec::<String>::new());
    }
    // A directory with something in it is not removed.
    fs::create_dir(&path).unwrap();
    fs::write(path.join("precious"), "p").unwrap();
    let before = look(machine, &path).await;
    for after in [Node::Absent, text(), link("x")] {
        let error = machine.write(&[change(&path, before.clone(), after)]).await.unwrap_err();
        assert!(matches!(error, WriteError::Failed { index: 0, error: TransportError::Refused(_), .. }), "{error:?}");
        assert!(path.join("precious").exists());
    }
}

pub async fn a_thousand_looks_do_not_wait_for_each_other(machine: &Machine, root: &Path) {
    let paths: Vec<_> = (0..1000).map(|number| root.join(format!("f{number}"))).collect();
    for (number, path) in paths.iter().enumerate().filter(|(number, _)| number % 2 == 0) {
        fs::write(path, number.to_string()).unwrap();
    }
    let looks = paths.iter().map(|path| machine.look(vec![keep(path)].leak(), Want::Attributes));
    let found = futures::future::join_all(looks).await;
    for (path, found) in paths.iter().zip(found) {
        assert_eq!(found.unwrap(), [node(path)]);
    }
    let asked: Vec<_> = paths.iter().map(|path| keep(path)).collect();
    let found = machine.look(&asked, Want::Digest).await.unwrap();
    assert_eq!(found, paths.iter().map(|path| node(path)).collect::<Vec<_>>());
}

/// Names that are no UTF-8, and one that is what such names are turned into.
const NAMES_OF_BYTES: &[&[u8]] =
    &[b"caf\xe9", b"\xff\xfe\x80", b"-\xc3", b" \xe9*\n\xe9\n", b"it's\xa0\"", "\u{10ffe9}".as_bytes(), &[0xe9; 255]];

pub async fn names_of_any_bytes_are_kept(machine: &Machine, root: &Path) {
    let path = |bytes: &[u8]| root.join(OsStr::from_bytes(bytes));
    let text = |bytes: &[u8]| name::from_local(path(bytes));
    let created = NAMES_OF_BYTES.iter().map(|bytes| {
        PathChange::new(text(bytes), Node::Absent, file(machine, (b"\0\xe9 no newline", 0o640), None)).unwrap()
    });
    machine.write(&created.collect::<Vec<_>>()).await.unwrap();
    for (number, bytes) in NAMES_OF_BYTES.iter().enumerate() {
        assert_eq!(fs::read(path(bytes)).unwrap(), b"\0\xe9 no newline");
        symlink(OsStr::from_bytes(bytes), root.join(format!("link {number}"))).unwrap();
    }
    fs::create_dir(path(b"dir\xe9")).unwrap();
    fs::write(path(b"dir\xe9/in\xe9"), "x").unwrap();
    let paths = everything(root);
    let asked: Vec<_> = paths.iter().map(|path| (path.clone(), Links::Keep)).collect();
    for (found, path) in machine.look(&asked, Want::Content).await.unwrap().iter().zip(&paths) {
        assert_eq!(*found, node(&name::to_local(path)), "{path:?}");
    }
    let entries = machine.list(root.to_str().unwrap(), None).await.unwrap();
    assert_eq!(entries.iter().map(|entry| entry.path.clone()).collect::<Vec<_>>(), paths);
    for entry in entries {
        assert_eq!(entry.node, node(&name::to_local(&entry.path)), "{:?}", entry.path);
    }
    let below = machine.list(&text(b"dir\xe9"), Some(1)).await.unwrap();
    assert_eq!(below.into_iter().map(|entry| entry.path).collect::<Vec<_>>(), [text(b"dir\xe9/in\xe9")]);
    // The same name, written in characters that no host answers with.
    let other = text(b"caf") + "\u{10ffc3}\u{10ffa9}";
    fs::write(root.join("caf\u{e9}"), "y").unwrap();
    let found = machine.look(&[(other, Links::Keep)], Want::Content).await.unwrap();
    assert_eq!(found, [node(&root.join("caf\u{e9}"))]);

    for bytes in NAMES_OF_BYTES {
        let output = machine.run(&Command::argv(["cat".into(), "--".into(), text(bytes)])).await.unwrap();
        assert_eq!(output.stdout, b"\0\xe9 no newline", "{}", output.error_text());
        let mut process = machine.read(&text(bytes)).await.unwrap();
        let mut read = Vec::new();
        process.stdout.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"\0\xe9 no newline");

        let before = look(machine, &path(bytes)).await;
        let big = noise(200_000);
        let target = name::from_bytes(&[bytes, &b"/.."[..]].concat());
        let target = Node::Link { target, permissions: permissions(machine, 0o777) };
        for after in [file(machine, (&big, 0o600), None), target, Node::Absent] {
            let before = if before.exists() { look(machine, &path(bytes)).await } else { Node::Absent };
            machine.write(&[PathChange::new(text(bytes), before, after.clone()).unwrap()]).await.unwrap();
            assert_eq!(node(&path(bytes)), after);
        }
    }
}

/// The one shell that cannot: it says so, and goes on.
pub async fn names_that_are_no_utf8_are_refused(machine: &Machine, root: &Path) {
    let path = name::from_local(root.join(OsStr::from_bytes(b"caf\xe9")));
    let change = PathChange::new(path.clone(), Node::Absent, file(machine, (b"", 0o640), None)).unwrap();
    let written = machine.write(&[change]).await.unwrap_err().to_string();
    let looked = machine.look(&[(path, Links::Keep)], Want::Content).await.unwrap_err().to_string();
    for error in [written, looked] {
        assert!(error.contains("the host's `sh` reads only UTF-8"), "{error}");
    }
    assert_eq!(look(machine, root).await, node(root));
}
