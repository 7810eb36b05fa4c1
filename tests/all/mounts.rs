//! File systems that are mounted for real, in a mount namespace of the test's own.

use std::fs;

use crate::program::Program;

const PLAY: &str = "- hosts: all
  gather_facts: no
  tasks:
    - mount: {path: \"{{ base }}/staging area\", src: tmpfs, fstype: tmpfs, opts: 'size=64k,mode=0711', fstab: \"{{ base }}/fstab\", state: \"{{ state }}\"}
";

/// Runs a script in which `$1` is `cutover` and `seen` prints what of the test's own directory is mounted.
fn in_a_namespace(program: &Program, script: &str) -> String {
    let seen = "seen() { grep -c 'staging.040area tmpfs' /proc/mounts || :; stat -c %a \"$PWD/staging area\" 2>/dev/null || echo none; }";
    program.in_namespaces("-m", &format!("{seen}\n{script}"))
}

#[test]
fn a_file_system_is_mounted_left_alone_unmounted_and_all_of_it_taken_back() {
    let program = Program::new();
    let base = program.path("").canonicalize().unwrap();
    program.file("hosts", &format!("here ansible_connection=local base='{}'\n", base.display()));
    program.file("site.yml", PLAY).file("fstab", "# by hand\n");
    let script = "run() { \"$CUTOVER\" play -i hosts site.yml --no-diff -e state=\"$1\" >>log 2>&1 || cat log; }
        CUTOVER=$1
        run mounted; seen; cat fstab
        \"$CUTOVER\" play -i hosts site.yml -e state=mounted | grep -c '^ok:'
        run absent; seen; cat fstab
        \"$CUTOVER\" undo last >>log 2>&1; seen; cat fstab
        run unmounted; seen
        \"$CUTOVER\" undo last >>log 2>&1; seen
        run absent; run mounted; \"$CUTOVER\" undo last >>log 2>&1; seen; cat fstab";
    let line = format!("tmpfs {}/staging\\040area tmpfs size=64k,mode=0711 0 0\n", base.display());
    let text = in_a_namespace(&program, script);
    let expected = [
        "1\n711\n# by hand\n",
        &line,
        "1\n",
        "0\nnone\n# by hand\n",
        "1\n711\n# by hand\n",
        &line,
        "0\n755\n",
        "1\n711\n",
        "0\nnone\n# by hand\n",
    ];
    assert_eq!(text, expected.concat(), "{}", fs::read_to_string(program.path("log")).unwrap());
}

#[test]
fn what_is_mounted_and_what_tables_say_is_told_by_place_device_and_type() {
    let program = Program::new();
    let base = program.path("").display().to_string();
    let table = format!("nas:/srv {base}far nfs4 ro 0 0\n/dev/none / ext4 rw 0 1\ntmpfs / tmpfs rw\n");
    program.file("own.tab", &table).file("hosts", "a ansible_connection=local\n");
    program.script("mount", "echo '/dev/x on /x type ext4 (rw)'; sleep \"${SLOW:-0}\"");
    let play = |task: &str, says: &str| {
        let task = task.replace("DIR/", &base);
        let text = format!(
            "- hosts: a\n  gather_facts: false\n  tasks:\n    - mount_facts: {{{task}}}\n    - debug: {{msg: \"{says}\"}}\n"
        );
        program.file("play.yml", &text);
        let printed = program.run("play -i hosts play.yml");
        (printed.status, printed.stdout + &printed.stderr)
    };
    let points = "{{ ansible_facts.mount_points | sort | join(' ') }} {{ ansible_facts.aggregate_mounts | length }}";
    for (task, says, told) in [
        ("sources: [DIR/own.tab]", points, "/ DIR/far 0"),
        (
            "sources: [DIR/own.tab]",
            points,
            "ignoring repeat mounts in the following sources: DIR/own.tab (['DIR/far', '/', '/'])",
        ),
        (
            "sources: [DIR/own.tab, static], include_aggregate_mounts: true, devices: ['[!/]*'], fstypes: nfs*",
            points,
            "DIR/far 1",
        ),
        ("sources: [DIR/own.tab]", "{{ mount_points['/'].fstype }} {{ mount_points['/'].passno }}", "ext4 1"),
        ("sources: [DIR/own.tab]", "{{ mount_points['/'].ansible_context.source_data }}", "/dev/none / ext4 rw 0 1"),
        (
            "sources: [DIR/own.tab]",
            "{{ mount_points['/'].size_total > 0 }} {{ mount_points['/'].uuid is none }}",
            "True True",
        ),
        ("sources: dynamic", "{{ mount_points['/proc'].fstype }}", "proc"),
        ("sources: [mount], mount_binary: DIR/mount", "{{ mount_points['/x'].ansible_context.source }}", "mount"),
    ] {
        let (status, text) = play(task, says);
        assert!(status == 0 && text.contains(told), "{task}: {told}\n{text}");
    }
    program.script("mount", "sleep 9");
    let slow = "sources: [mount], mount_binary: DIR/mount, timeout: 0.5";
    for (task, status, told) in [
        (slow.to_string(), 2, "timed out"),
        (format!("{slow}, on_timeout: warn"), 0, "timed out"),
        (format!("{slow}, on_timeout: ignore"), 0, "told 0"),
        ("timeout: 0".into(), 2, "argument 'timeout' must be a positive number or null, not 0"),
        ("sources: ['']".into(), 2, "sources contains an empty string"),
        ("sources: [mount], mount_binary: nomount".into(), 2, "Failed to find required executable"),
    ] {
        let (found, text) = play(&task, "told {{ mount_points | length }}");
        assert!((found == 0) == (status == 0) && text.contains(told), "{task}: {told}\n{text}");
    }
}
