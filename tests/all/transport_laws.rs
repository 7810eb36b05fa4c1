//! What every transport must do, whatever carries it; the far side is read with `std::fs`.

use std::fs;
use std::future::Future;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use cutover::secret::Secret;
use cutover::transport::local::{Local, local};
use cutover::transport::posix::Posix;
use cutover::transport::{
    Become, Body, Command, Content, Digest, INLINE_LIMIT, Links, Node, Owner, PathChange, Permissions, Program,
    Transport, TransportError, Want, WriteError,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

type Machine = Arc<dyn Transport>;
type Law = for<'a> fn(&'a Machine, &'a Path) -> Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Every law about paths.
const PATH_LAWS: &[Law] = &[
    |machine, root| Box::pin(a_look_says_what_is_there(machine, root)),
    |machine, root| Box::pin(a_list_says_what_is_there(machine, root)),
    |machine, root| Box::pin(a_write_makes_exactly_after(machine, root)),
    |machine, root| Box::pin(attributes_change_in_place(machine, root)),
    |machine, root| Box::pin(a_stale_path_is_refused(machine, root)),
    |machine, root| Box::pin(a_failed_validation_leaves_all_as_it_was(machine, root)),
    |machine, root| Box::pin(a_big_content_goes_both_ways(machine, root)),
    |machine, root| Box::pin(kinds_replace_each_other(machine, root)),
    |machine, root| Box::pin(a_thousand_looks_do_not_wait_for_each_other(machine, root)),
];

/// Every law about commands, for machines that can run some.
const COMMAND_LAWS: &[Law] = &[
    |machine, root| Box::pin(a_command_is_run_as_it_says(machine, root)),
    |machine, root| Box::pin(a_command_cannot_change_the_shell(machine, root)),
    |machine, root| Box::pin(a_time_limit_ends_the_children(machine, root)),
    |machine, root| Box::pin(a_stream_flows_both_ways_and_never_hangs(machine, root)),
    |machine, root| Box::pin(accounts_are_found_by_name_and_number(machine, root)),
];

/// Holds a machine, whose file system is this one's, to laws; each gets a directory of its own.
async fn hold(laws: &[Law], machine: &Machine) {
    for law in laws {
        let root = tempfile::tempdir().unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(120), law(machine, root.path())).await;
        assert!(ended.is_ok(), "a law hangs");
        let left: Vec<_> = everything(root.path()).into_iter().filter(|path| path.contains(".cutover.")).collect();
        assert_eq!(left, Vec::<String>::new(), "no temp file is left");
    }
}

/// This machine, through another shell as the login shell.
async fn through(shell: &[&str]) -> Machine {
    Arc::new(Posix::start(Arc::new(Local::with_shell(shell.iter().copied())), None).await.unwrap())
}

#[tokio::test]
async fn local_keeps_the_laws() {
    let machine = local(None).await.unwrap();
    hold(PATH_LAWS, &machine).await;
    hold(COMMAND_LAWS, &machine).await;
}

#[tokio::test]
async fn a_machine_with_only_busybox_keeps_the_laws() {
    let Some(shell) = busybox_only() else { return };
    let machine = through(&["env", &shell, "/bin/sh", "-c"]).await;
    hold(PATH_LAWS, &machine).await;
    hold(COMMAND_LAWS, &machine).await;
}

/// Returns a `PATH=` on which there is nothing but busybox; nothing where busybox is not installed.
fn busybox_only() -> Option<String> {
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists())?;
    let directory = tempfile::tempdir().unwrap().keep();
    let output = std::process::Command::new(busybox).args(["--install", "-s"]).arg(&directory).status().unwrap();
    assert!(output.success());
    Some(format!("PATH={}", directory.display()))
}

/// Returns a `PATH=` on which the named tools fail as if they were not installed.
fn without(tools: &[&str]) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    for tool in tools {
        let path = directory.path().join(tool);
        fs::write(&path, "#!/bin/sh\nexit 127\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = format!("PATH={}:{}", directory.path().display(), std::env::var("PATH").unwrap());
    (directory, path)
}

#[tokio::test]
async fn a_machine_without_the_usual_tools_keeps_the_laws() {
    let (_tools, path) = without(&[
        "stat",
        "sha256sum",
        "sha256",
        "shasum",
        "openssl",
        "base64",
        "sync",
        "getent",
        "readlink",
        "setsid",
    ]);
    let machine = through(&["env", &path, "/bin/sh", "-c"]).await;
    // `ls` tells no time in seconds; what needs one is not held against it.
    let laws: &[Law] = &[
        |machine, root| Box::pin(attributes_change_in_place(machine, root)),
        |machine, root| Box::pin(a_stale_path_is_refused(machine, root)),
        |machine, root| Box::pin(a_failed_validation_leaves_all_as_it_was(machine, root)),
        |machine, root| Box::pin(a_big_content_goes_both_ways(machine, root)),
        |machine, root| Box::pin(kinds_replace_each_other(machine, root)),
    ];
    hold(laws, &machine).await;
    hold(COMMAND_LAWS, &machine).await;
}

// --- paths

/// Returns what a path is, as `std::fs` says; a link is not followed.
fn node(path: &Path) -> Node {
    let Ok(found) = fs::symlink_metadata(path) else { return Node::Absent };
    let permissions = Permissions {
        mode: found.mode() & 0o7777,
        owner: account("passwd", found.uid()),
        group: account("group", found.gid()),
    };
    let modified = Some(found.mtime());
    match found.file_type() {
        kind if kind.is_dir() => Node::Directory { permissions, modified },
        kind if kind.is_symlink() => {
            Node::Link { target: fs::read_link(path).unwrap().to_str().unwrap().into(), permissions }
        }
        _ => Node::File { content: Content::here(fs::read(path).unwrap()), permissions, modified },
    }
}

fn account(database: &str, id: u32) -> Owner {
    let lines = fs::read_to_string(format!("/etc/{database}")).unwrap();
    let line = lines.lines().find(|line| line.split(':').nth(2) == Some(&id.to_string()));
    Owner { id, name: line.map_or(id.to_string(), |line| line.split(':').next().unwrap().into()) }
}

fn everything(root: &Path) -> Vec<String> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(root).unwrap().map(Result::unwrap) {
        paths.push(entry.path().to_str().unwrap().to_string());
        if entry.file_type().unwrap().is_dir() {
            paths.extend(everything(&entry.path()));
        }
    }
    paths.sort();
    paths
}

/// Names that trip a shell, or a tool that takes them for an option.
const ODD_NAMES: &[&str] = &[
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
];

fn fill(root: &Path) {
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

fn keep(path: &Path) -> (String, Links) {
    (path.to_str().unwrap().into(), Links::Keep)
}

async fn look(machine: &Machine, path: &Path) -> Node {
    machine.look(&[keep(path)], Want::Content).await.unwrap().remove(0)
}

async fn a_look_says_what_is_there(machine: &Machine, root: &Path) {
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

async fn a_list_says_what_is_there(machine: &Machine, root: &Path) {
    fill(root);
    let directory = root.to_str().unwrap();
    let entries = machine.list(directory, None).await.unwrap();
    assert_eq!(entries.iter().map(|entry| entry.path.clone()).collect::<Vec<_>>(), everything(root));
    for entry in entries {
        let real = node(Path::new(&entry.path));
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

fn permissions(machine: &Machine, mode: u32) -> Permissions {
    let identity = machine.identity();
    Permissions { mode, owner: identity.user.clone(), group: identity.group.clone() }
}

fn file(machine: &Machine, (bytes, mode): (&[u8], u32), modified: Option<i64>) -> Node {
    Node::File { content: Content::here(bytes), permissions: permissions(machine, mode), modified }
}

fn change(path: &Path, before: Node, after: Node) -> PathChange {
    PathChange::new(path.to_str().unwrap(), before, after).unwrap()
}

async fn a_write_makes_exactly_after(machine: &Machine, root: &Path) {
    let contents: &[&[u8]] = &[b"", b"no final newline", b"\0\x01\xff\n\0", b"-n\n", &[b'%'; 5000], b"a\n\nb\n\n"];
    let names = ODD_NAMES.iter().zip(contents.iter().cycle());
    let modes = [0o644, 0o600, 0o4755, 0o2711, 0o000].into_iter().cycle();
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

async fn attributes_change_in_place(machine: &Machine, root: &Path) {
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

async fn a_stale_path_is_refused(machine: &Machine, root: &Path) {
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
    let stale: &[(&str, fn(&Path))] = &[
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

async fn a_failed_validation_leaves_all_as_it_was(machine: &Machine, root: &Path) {
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
fn noise(length: usize) -> Vec<u8> {
    let mut state = 7u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

async fn a_big_content_goes_both_ways(machine: &Machine, root: &Path) {
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

async fn kinds_replace_each_other(machine: &Machine, root: &Path) {
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

async fn a_thousand_looks_do_not_wait_for_each_other(machine: &Machine, root: &Path) {
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

// --- commands

async fn a_command_is_run_as_it_says(machine: &Machine, root: &Path) {
    let mut command = Command::shell("printf '%s|' \"$PWD\" \"$ODD\"; cat; printf 'no newline' >&2; exit 7");
    command.directory = Some(root.to_str().unwrap().into());
    command.environment = vec![("ODD".into(), "it's\n$HOME".into())];
    for stdin in [b"in\0put".to_vec(), noise(300_000)] {
        command.stdin = stdin.clone();
        let output = machine.run(&command).await.unwrap();
        assert_eq!(output.status, 7);
        assert_eq!(output.stderr, b"no newline");
        let root = fs::canonicalize(root).unwrap();
        let expected = [format!("{}|it's\n$HOME|", root.display()).as_bytes(), &stdin].concat();
        assert!(output.stdout == expected, "{:?}", String::from_utf8_lossy(&output.stdout[..80]));
    }
    let words = ["printf", "%s,", "a b", "$HOME", "it's", "", "-x", "*", "new\nline"];
    assert_eq!(machine.run(&Command::argv(words)).await.unwrap().text(), "a b,$HOME,it's,,-x,*,new\nline,");
    assert_eq!(machine.run(&Command::argv(["no-such-command-here"])).await.unwrap().status, 127);
    assert_eq!(machine.run(&Command::shell("kill -s KILL $$")).await.unwrap().status, 137);
    assert_eq!(machine.run(&Command::new(Program::Raw("echo raw; exit 3".into()))).await.unwrap().status, 3);
    // Output that looks like an end, and a megabyte of it.
    let output = machine.run(&Command::shell(r"printf '\0361234 0\n'; head -c 1000000 /dev/zero")).await.unwrap();
    assert_eq!(output.stdout.len(), 1_000_008);
    let mut nowhere = Command::argv(["touch", root.join("ran").to_str().unwrap()]);
    nowhere.directory = Some("/no/such/directory".into());
    assert!(matches!(machine.run(&nowhere).await, Err(TransportError::Refused(_))));
    assert!(!root.join("ran").exists());
}

async fn a_command_cannot_change_the_shell(machine: &Machine, root: &Path) {
    let (a, b, c) = (
        Command::shell("cat; exec 1>&- 2>&-; cd /; exit 4"),
        Command::shell("trap '' 1 2 15; umask 777; c_look() { :; }; export LC_ALL=x; exit 5"),
        Command::argv(["cat"]),
    );
    let (a, b, c) = tokio::join!(machine.run(&a), machine.run(&b), machine.run(&c));
    assert_eq!((a.unwrap().status, b.unwrap().status, c.unwrap().status), (4, 5, 0));
    assert_eq!(look(machine, root).await, node(root));
    // What is left running does not hold the answer up.
    let output = machine.run(&Command::shell("sleep 300 & echo $!")).await.unwrap();
    let pid = output.text().trim().to_string();
    assert!(Path::new(&format!("/proc/{pid}")).exists());
    machine.run(&Command::argv(["kill", &pid])).await.unwrap();
}

async fn a_time_limit_ends_the_children(machine: &Machine, root: &Path) {
    let pids = root.join("pids");
    let mut command = Command::shell(format!(
        "sleep 300 & (sleep 301 & echo $! >>'{0}') & echo $! $$ >>'{0}'; wait; sleep 302",
        pids.display()
    ));
    command.timeout = Some(Duration::from_millis(700));
    assert_eq!(machine.run(&command).await, Err(TransportError::TimedOut(Duration::from_millis(700))));
    let pids = fs::read_to_string(pids).unwrap();
    assert!(pids.split_whitespace().count() >= 3, "{pids}");
    gone(&pids).await;
    command = Command::shell("echo in time; exit 2");
    command.timeout = Some(Duration::from_secs(60));
    let output = machine.run(&command).await.unwrap();
    assert_eq!((output.status, output.text().as_str()), (2, "in time\n"));
}

/// Waits for processes to be gone, or zombies that nobody has waited for.
async fn gone(pids: &str) {
    let alive = |pid: &str| {
        fs::read_to_string(format!("/proc/{pid}/stat"))
            .is_ok_and(|stat| !stat.rsplit(')').next().unwrap().starts_with(" Z"))
    };
    while pids.split_whitespace().any(alive) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn a_stream_flows_both_ways_and_never_hangs(machine: &Machine, root: &Path) {
    let bytes = noise(1_000_000);
    let mut process = machine.open(&Command::argv(["cat"])).await.unwrap();
    let writer = async {
        process.stdin.write_all(&bytes).await.unwrap();
        process.stdin.shutdown().await.unwrap();
    };
    let mut read = Vec::new();
    let (_, result) = tokio::join!(writer, process.stdout.read_to_end(&mut read));
    result.unwrap();
    assert!(read == bytes);
    assert_eq!(process.end.await.unwrap(), (0, Vec::new()));

    // A program that reads nothing: the writer is told, the status is right.
    let mut process = machine.open(&Command::shell("echo why >&2; exit 3")).await.unwrap();
    while process.stdin.write_all(&bytes).await.is_ok() {}
    assert_eq!(process.end.await.unwrap(), (3, b"why\n".to_vec()));

    // Dropped: it ends, and its children.
    let pids = root.join("pids");
    let script = format!("sleep 300 & echo $! $$ >'{0}.new'; mv '{0}.new' '{0}'; wait", pids.display());
    let process = machine.open(&Command::shell(script)).await.unwrap();
    while !pids.exists() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(process);
    gone(&fs::read_to_string(pids).unwrap()).await;
}

async fn accounts_are_found_by_name_and_number(machine: &Machine, _: &Path) {
    let root = Some(Owner { id: 0, name: "root".into() });
    assert_eq!(machine.user("root").await.unwrap(), root);
    assert_eq!(machine.user("0").await.unwrap(), root);
    assert_eq!(machine.group("0").await.unwrap(), Some(account("group", 0)));
    assert_eq!(machine.user("no-such-user").await.unwrap(), None);
    assert_eq!(machine.group("no such group").await.unwrap(), None);
    let unknown = Owner { id: 4_000_123, name: "4000123".into() };
    assert_eq!(machine.user("4000123").await.unwrap(), Some(unknown));
}

#[tokio::test]
async fn a_shell_that_dies_is_unreachable_and_never_hangs() {
    let machine = local(None).await.unwrap();
    let sleep = Command::shell("sleep 300");
    let killer = Command::shell("kill -s KILL $PPID; sleep 0.1; exit 0");
    let path = [("/".to_string(), Links::Keep)];
    let (first, second, third) =
        tokio::join!(machine.run(&killer), machine.look(&path, Want::Attributes), machine.run(&sleep),);
    assert!(matches!(first, Err(TransportError::Uncertain(_))), "{first:?}");
    assert!(matches!(second, Err(TransportError::Unreachable(_))), "{second:?}");
    assert!(matches!(third, Err(TransportError::Uncertain(_))), "{third:?}");
    let later = machine.look(&path, Want::Attributes).await;
    assert!(matches!(later, Err(TransportError::Unreachable(_))), "{later:?}");
}

#[tokio::test]
async fn a_login_shell_that_is_none_is_unreachable_with_what_it_said() {
    let shell = Local::with_shell(["/bin/sh", "-c", "echo this account is not available; exit 1"]);
    let error = Posix::start(Arc::new(shell), None).await.err().unwrap();
    assert!(matches!(&error, TransportError::Unreachable(_)), "{error:?}");
}

#[tokio::test]
async fn a_greeting_of_the_login_shell_is_no_answer() {
    let greeting = ["/bin/sh", "-c", "echo Welcome; echo 'have fun' >&2; exec /bin/sh -c \"$0\""];
    let machine = through(&greeting).await;
    assert_eq!(machine.run(&Command::argv(["echo", "hi"])).await.unwrap().text(), "hi\n");
}
