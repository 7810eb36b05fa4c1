//! Paths of this machine: what `stat` and `find` tell of them, names, times and links that `file` gives them.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use crate::program::Program;

/// Runs tasks on this machine, in which `root` is a directory of the test's.
fn run(program: &Program, tasks: &str) {
    let tasks: String = tasks.lines().map(|line| format!("    {line}\n")).collect();
    let hosts = format!("here ansible_connection=local root={}\n", program.path("").display());
    program.file("hosts", &hosts).file("play.yml", &format!("- hosts: here\n  gather_facts: no\n  tasks:\n{tasks}"));
    program.run("play -i hosts play.yml").expect(0);
}

#[test]
fn a_path_is_told_with_its_numbers_and_a_further_name_is_the_same_file() {
    let program = Program::new();
    program.file("one", "text\n");
    run(
        &program,
        "\
- file: {path: '{{ root }}/two', src: '{{ root }}/one', state: hard, mode: '0640'}
- stat: {path: '{{ root }}/one'}
  register: one
- stat: {path: '{{ root }}/two'}
  register: two
- find: {paths: '{{ root }}', patterns: two, age: -1h, age_stamp: ctime}
  register: found
- assert:
    that:
      - one.stat.inode == two.stat.inode and two.stat.nlink == 2 and two.stat.mode == '0640'
      - one.stat.dev == found.files[0].dev and found.files[0].inode == one.stat.inode
      - one.stat.ctime == found.files[0].ctime and one.stat.blocks is defined
      - one.stat.charset is defined and one.stat.attr_flags is defined",
    );
    let (one, two) = (fs::metadata(program.path("one")).unwrap(), fs::metadata(program.path("two")).unwrap());
    assert_eq!((one.ino(), one.nlink(), one.mode() & 0o777), (two.ino(), 2, 0o640));
}

#[test]
fn times_of_access_and_of_modification_are_set_apart() {
    let program = Program::new();
    program.file("one", "text\n");
    run(
        &program,
        "\
- file: {path: '{{ root }}/one', modification_time: '202001010000.00', access_time: '202101010000.00'}
- file: {path: '{{ root }}/one', modification_time: '202001010000.00', access_time: '202101010000.00'}
  register: again
- file: {path: '{{ root }}/one', access_time: '202201010000.00'}
- file: {path: '{{ root }}/new', state: touch, modification_time: '202001010000.00', access_time: '202101010000.00'}
- file: {path: '{{ root }}/new', state: touch, modification_time: preserve, access_time: now}
  register: touched
- assert: {that: [again is not changed, touched is changed]}",
    );
    let year = |seconds: i64| 1970 + seconds / 31_556_952;
    let (one, new) = (fs::metadata(program.path("one")).unwrap(), fs::metadata(program.path("new")).unwrap());
    assert_eq!((year(one.mtime() + 86_400), year(one.atime() + 86_400)), (2020, 2022));
    assert_eq!(year(new.mtime() + 86_400), 2020);
    assert!(year(new.atime()) > 2021);
}

#[test]
fn what_a_task_of_its_own_check_leaves_out_or_warns_of_is_registered() {
    let program = Program::new();
    program.file("make.sh", "touch \"$1\"\n");
    run(
        &program,
        "\
- script: make.sh {{ root }}/made
  check_mode: yes
  register: left
- script: make.sh {{ root }}/made
  args: {creates: '{{ root }}/made'}
  check_mode: yes
  register: would
- file: {path: '{{ root }}/none', owner: nobody-at-all}
  check_mode: yes
  ignore_errors: yes
  register: stranger
- file: {path: '{{ root }}', mode: u=foo}
  ignore_errors: yes
  register: wrong
- assert:
    that:
      - left is skipped and left is not changed and would is changed
      - stranger.warnings[0] is search('failed to look up user nobody-at-all')
      - stranger.state == 'absent' and 'cannot continue' in stranger.msg
      - \"wrong.details == 'bad symbolic permission for mode: u=foo'\"
      - \"'{{ root }}/x' == root ~ '/x'\"",
    );
    assert!(!program.path("made").exists());
}
