//! Modules for files: what they contain, who owns them, who may read them.

use super::Entry;

mod archive;
mod assemble;
mod blockinfile;
pub(super) mod checksum;
mod copy;
mod details;
pub(super) mod edit;
mod encoding;
mod fetch;
mod file;
mod find;
mod flags;
mod hard;
mod ini_file;
mod install;
mod json;
mod lineinfile;
mod link;
mod mode;
mod pattern;
pub(super) mod place;
mod replace;
pub(super) mod rights;
mod rsync;
mod slurp;
pub(super) mod source;
mod stat;
mod status;
mod synchronize;
mod template;
mod temporary;
mod times;
mod unarchive;

#[cfg(test)]
pub mod bench;

pub const MODULES: &[&Entry] = &[
    &archive::ARCHIVE,
    &assemble::ASSEMBLE,
    &blockinfile::BLOCKINFILE,
    &copy::COPY,
    &fetch::FETCH,
    &file::FILE,
    &find::FIND,
    &ini_file::INI_FILE,
    &lineinfile::LINEINFILE,
    &replace::REPLACE,
    &slurp::SLURP,
    &stat::STAT,
    &synchronize::SYNCHRONIZE,
    &template::TEMPLATE,
    &temporary::TEMPFILE,
    &unarchive::UNARCHIVE,
];

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;
    use std::sync::Arc;

    use async_trait::async_trait;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::change::{Reach, Secrecy, apply};
    use crate::error::Source;
    use crate::host::{Controller, View};
    use crate::modules::{ModuleError, Planned, Results, find};
    use crate::transport::local::local;
    use crate::transport::{Machines, Transport, TransportError};

    struct Alone;

    #[async_trait]
    impl Machines for Alone {
        async fn machine(&self, host: &str) -> Result<Arc<dyn Transport>, TransportError> {
            Err(TransportError::Unreachable(host.into()))
        }
    }

    /// Does a task on this machine, sees that doing it again changes nothing, and returns the first's results.
    async fn done(machine: &Arc<dyn Transport>, root: &Path, (module, arguments): (&str, Value)) -> Results {
        let controller = Controller {
            search: vec![root.to_path_buf()],
            render: Box::new(|_: &Path, text, _| Ok(text.to_uppercase())),
            transport: machine.clone(),
        };
        let view = View::new("here", machine.clone(), Arc::default(), (Arc::new(controller), Arc::new(Alone)));
        let entry = find(module).unwrap();
        let arguments = entry.arguments(arguments.as_object().unwrap().clone()).unwrap();
        let module = (entry.build)(&arguments).unwrap();
        let planned = module.plan(&view).await.unwrap();
        for change in &planned.changes {
            let reach = Reach { host: &**machine, controller: &**machine, machines: &Alone, progress: &|_| {} };
            apply(change, reach).await.unwrap();
        }
        let again = module.plan(&view).await.unwrap().changes;
        assert!(again.is_empty(), "a second run changes nothing: {again:#?}");
        bench::results(planned)
    }

    #[tokio::test]
    async fn on_a_real_machine_the_modules_do_what_they_say() {
        let machine = local(None).await.unwrap();
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name).display().to_string();
        let read = |name: &str| std::fs::read_to_string(root.path().join(name)).unwrap();
        let mode = |name: &str| std::fs::metadata(root.path().join(name)).unwrap().permissions().mode() & 0o7777;
        std::fs::create_dir_all(root.path().join("files/tree/sub")).unwrap();
        std::fs::write(root.path().join("files/tree/sub/a"), "A\n").unwrap();
        std::fs::write(root.path().join("files/big"), vec![7; 3 << 20]).unwrap();
        std::fs::write(root.path().join("me.j2"), "mail\n").unwrap();
        for task in [
            ("file", json!({"path": at("d/e"), "state": "directory", "mode": "0750"})),
            ("copy", json!({"content": "one\ntwo\n", "dest": at("d/e/it's"), "mode": "u=rw,go="})),
            ("copy", json!({"src": "tree", "dest": at("d"), "directory_mode": "0711"})),
            ("copy", json!({"src": "big", "dest": at("d/"), "mode": "0600"})),
            ("copy", json!({"src": at("d/tree/"), "dest": at("again"), "remote_src": true, "mode": "preserve"})),
            ("template", json!({"src": "me.j2", "dest": at("me"), "validate": "grep -q MAIL %s"})),
            ("lineinfile", json!({"path": at("d/e/it's"), "regexp": "^t", "line": "2", "backup": true})),
            ("blockinfile", json!({"path": at("d/e/it's"), "block": "b", "insertbefore": "BOF"})),
            ("replace", json!({"path": at("d/e/it's"), "regexp": "^(o)ne$", "replace": "\\1"})),
            ("file", json!({"path": at("link"), "src": "d/e", "state": "link"})),
            ("fetch", json!({"src": at("me"), "dest": at("saved/"), "flat": true})),
            ("file", json!({"path": at("d"), "state": "directory", "recurse": true, "mode": "g-w,o="})),
            ("file", json!({"path": at("again"), "state": "absent"})),
        ] {
            done(&machine, root.path(), task).await;
        }
        let block = "# BEGIN ANSIBLE MANAGED BLOCK\nb\n# END ANSIBLE MANAGED BLOCK\n";
        assert_eq!(read("link/it's"), format!("{block}o\n2\n"));
        assert_eq!(
            (read("me"), read("saved/me"), read("d/tree/sub/a")),
            ("MAIL\n".into(), "MAIL\n".into(), "A\n".into())
        );
        assert_eq!([mode("d/e"), mode("d/e/it's"), mode("d/big"), mode("d/tree/sub")], [0o750, 0o600, 0o600, 0o710]);
        assert_eq!(std::fs::read(root.path().join("d/big")).unwrap(), vec![7; 3 << 20]);
        assert!(!root.path().join("again").exists());
        let stat =
            done(&machine, root.path(), ("stat", json!({"path": at("d/big"), "checksum_algorithm": "sha512"}))).await;
        assert_eq!(stat["stat"]["size"], 3 << 20);
        assert_eq!(stat["stat"]["checksum"].as_str().unwrap().len(), 128);
        let found =
            done(&machine, root.path(), ("find", json!({"paths": at("d"), "recurse": true, "patterns": "*~"}))).await;
        assert_eq!(found["files"][0]["size"], 8);
        let slurped = done(&machine, root.path(), ("slurp", json!({"src": found["files"][0]["path"]}))).await;
        assert_eq!(slurped["content"], "b25lCnR3bwo=");
    }

    /// Tasks that get into each other's way: each path is a file, a directory, a link and gone by turns.
    fn task(number: usize) -> (&'static str, Value) {
        let tasks = [
            ("file", json!({"path": "/s", "state": "directory"})),
            ("file", json!({"path": "/s/d", "state": "directory", "mode": "0700"})),
            ("file", json!({"path": "/s/d", "state": "directory", "recurse": true, "mode": "g+w", "owner": "mail"})),
            ("file", json!({"path": "/s/a", "mode": "0600"})),
            ("file", json!({"path": "/s/a", "state": "absent"})),
            ("file", json!({"path": "/s/d", "state": "absent"})),
            ("file", json!({"path": "/s", "state": "absent"})),
            ("file", json!({"path": "/s/l", "src": "a", "state": "link", "force": true})),
            ("file", json!({"path": "/s/l", "src": "d", "state": "link"})),
            (
                "file",
                json!({"path": "/s/d/t", "state": "touch", "modification_time": "preserve", "access_time": "preserve"}),
            ),
            ("copy", json!({"content": "a\n", "dest": "/s/a", "backup": true})),
            ("copy", json!({"content": "b\n", "dest": "/s/l", "follow": true})),
            ("copy", json!({"content": "c\n", "dest": "/s/d", "mode": "0640"})),
            ("copy", json!({"src": "/s/d/", "dest": "/s/copy", "remote_src": true, "mode": "preserve"})),
            ("lineinfile", json!({"path": "/s/a", "line": "x", "create": true})),
            ("lineinfile", json!({"path": "/s/l", "regexp": "^a", "line": "y", "backup": true})),
            ("blockinfile", json!({"path": "/s/d/b", "block": "z", "create": true})),
            ("replace", json!({"path": "/s/a", "regexp": "x|b", "replace": "a"})),
            ("find", json!({"paths": "/s", "recurse": true, "file_type": "any", "get_checksum": true})),
            ("stat", json!({"path": "/s/l", "follow": true})),
        ];
        let count = tasks.len();
        tasks.into_iter().nth(number % count).unwrap()
    }

    /// What a task shows: its lines and its results, or its failure.
    fn shown(planned: Result<Planned, ModuleError>) -> String {
        let planned = match planned {
            Ok(planned) => planned,
            Err(error) => return format!("failed: {error}"),
        };
        let lines = planned.changes.iter().flat_map(|change| change.diff(Secrecy::Open).lines);
        let lines: String = lines.map(|line| line.text() + "\n").collect();
        let mut results = json!(bench::results(planned));
        // Times of what is only planned are not known.
        let files = results.get_mut("files").and_then(Value::as_array_mut).into_iter().flatten();
        for status in files.filter_map(Value::as_object_mut) {
            status.shift_remove("mtime");
        }
        if let Some(status) = results.get_mut("stat").and_then(Value::as_object_mut) {
            status.shift_remove("mtime");
        }
        format!("{lines}{results}")
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn a_check_of_many_tasks_shows_what_the_run_does(numbers in proptest::collection::vec(0..20usize, 1..12)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let bench = bench::Bench::new();
                bench.host.file("/s/a", "a\n", 0o644).file("/s/d/f", "f\n", 0o640).link("/s/l", "a");
                let pending = Arc::default();
                let mut checked = Vec::new();
                for number in &numbers {
                    let (module, arguments) = task(*number);
                    checked.push((*number, shown(bench.plan_after(&pending, module, arguments).await)));
                }
                for (number, expected) in checked {
                    let (module, arguments) = task(number);
                    let planned = bench.plan(module, arguments).await;
                    if let Ok(planned) = &planned {
                        bench.apply(&planned.changes).await;
                    }
                    assert_eq!(shown(planned), expected, "task {number} {:?}", task(number));
                }
            });
        }
    }

    #[test]
    fn every_example_is_a_task_with_arguments_that_are_known() {
        for entry in MODULES {
            let source = Arc::new(Source { path: entry.name.into(), text: entry.example.into() });
            let task = crate::yaml::load(&source).unwrap()[0].to_value();
            let arguments = task[0][entry.name].as_object().unwrap().clone();
            let built = entry.arguments(arguments).and_then(|arguments| (entry.build)(&arguments));
            assert!(built.is_ok(), "{}: {:?}", entry.name, built.err());
        }
    }
}
