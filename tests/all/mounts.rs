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
