//! Packages of Python's with a real pip, offline: what comes along is shown, made once, and taken back.

use std::path::Path;
use std::process::Command;

use crate::program::{Printed, Program, done};
use crate::sshd::run;

/// Makes a wheel in a directory: a package of one module, which needs what `needs` says.
pub fn wheel(directory: &Path, (name, version): (&str, &str), needs: &str) {
    let tree = tempfile::tempdir().unwrap();
    let file = |path: &str, text: &str| {
        let path = tree.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let about = format!("{name}-{version}.dist-info");
    let needs = if needs.is_empty() { String::new() } else { format!("Requires-Dist: {needs}\n") };
    file(&format!("{name}/__init__.py"), &format!("version = '{version}'\n"));
    file(&format!("{about}/METADATA"), &format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}"));
    file(&format!("{about}/WHEEL"), "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n");
    file(&format!("{about}/RECORD"), "");
    std::fs::create_dir_all(directory).unwrap();
    let packed = directory.join(format!("{name}-{version}-py3-none-any.whl"));
    run(Command::new("zip").args(["-q", "-X", "-r"]).arg(packed).arg(".").current_dir(tree.path()));
}

/// Makes an environment whose pip is the system's own, which is quickly done.
pub fn environment(directory: &Path) {
    let words = ["-m", "venv", "--without-pip", "--system-site-packages"];
    run(Command::new("/usr/bin/python3").args(words).arg(directory));
    let pip = directory.join("bin/pip3");
    std::fs::write(&pip, format!("#!/bin/sh\nexec {}/bin/python -m pip \"$@\"\n", directory.display())).unwrap();
    run(Command::new("chmod").arg("755").arg(pip));
}

/// A host with wheels: two versions of `tiny`, the newer of which needs `other`.
fn program() -> Program {
    let program = Program::new();
    program.file("hosts", "a ansible_connection=local\n");
    for (package, needs) in [(("tiny", "1.0"), ""), (("tiny", "2.0"), "other>=1"), (("other", "1.5"), "")] {
        wheel(&program.path("wheels"), package, needs);
    }
    program
}

fn set(program: &Program, task: &str) {
    let index = "--no-index --find-links DIR/wheels";
    let text = format!(
        "- hosts: a\n  gather_facts: false\n  tasks:\n    - pip: {{{task}}}\n      register: it\n    - debug: {{var: it}}\n"
    );
    let directory = program.path("").display().to_string();
    program.file("play.yml", &text.replace("INDEX", index).replace("DIR/", &directory));
}

fn play(program: &Program, flags: &str) -> Printed {
    program.run(&format!("play -i hosts play.yml {flags}"))
}

fn ran(program: &Program, task: &str) -> Printed {
    set(program, task);
    done(|flags| play(program, flags))
}

/// What an environment has of the wheels.
fn installed(program: &Program, environment: &str) -> String {
    let lib = program.path(environment).join("lib");
    let python = std::fs::read_dir(lib).unwrap().next().unwrap().unwrap().path();
    let entries = std::fs::read_dir(python.join("site-packages")).unwrap().map(|entry| entry.unwrap().file_name());
    let named = entries.filter_map(|name| Some(name.to_str()?.strip_suffix(".dist-info")?.replacen('-', "==", 1)));
    let mut own: Vec<String> = named.filter(|name| name.starts_with("tiny") || name.starts_with("other")).collect();
    own.sort();
    own.join(" ")
}

#[test]
fn an_environment_is_made_with_what_comes_along_and_goes_again() {
    let program = program();
    let task = "name: Tiny, virtualenv: DIR/env, virtualenv_command: /usr/bin/python3 -m venv, extra_args: INDEX";
    let run = ran(&program, task);
    for line in [
        "--- Python packages of DIR/env\n",
        "-environment: none\n-tiny: none\n-other: none\n+environment: Python 3.",
        "+tiny: 2.0\n+other: 1.5\n",
    ] {
        assert!(run.diffs().contains(line), "{line}{}", run.diffs());
    }
    assert!(run.stdout.contains("\"virtualenv\": \"DIR/env\""), "{}", run.stdout);
    assert_eq!(installed(&program, "env"), "other==1.5 tiny==2.0");
    program.run("undo last").expect(0);
    assert!(!program.path("env").exists());
    // In a check a second task stands on the first.
    let both = program.read("play.yml").replace("    - debug: {var: it}\n", "");
    let task = both.lines().find(|line| line.contains("pip:")).unwrap();
    let second = task.replace("Tiny", "[other, tiny>1]");
    let third = task.replace("Tiny", "tiny<2");
    program.file("play.yml", &format!("{both}{second}\n{third}\n"));
    let check = play(&program, "--check").expect(0);
    assert!(check.stdout.contains("would-change=1 "), "{}", check.stdout);
    assert!(check.stdout.contains("what pip does on top of what an earlier task changes"), "{}", check.stdout);
    // What was there before stays there.
    program.file("env/own", "mine\n");
    play(&program, "").expect(0);
    assert!(program.run("undo last").stderr.contains("not taken back: "));
    assert_eq!(program.read("env/own"), "mine\n");
}

#[test]
fn versions_go_up_and_down_as_asked_and_back() {
    let program = program();
    environment(&program.path("env"));
    let at = "virtualenv: DIR/env, extra_args: INDEX";
    let run = ran(&program, &format!("name: tiny, version: 1.0, {at}"));
    assert!(run.diffs().contains("-tiny: none\n+tiny: 1.0\n"), "{}", run.diffs());
    assert!(run.stdout.contains("\"version\": \"1.0\""), "{}", run.stdout);
    // What is met is asked of no index.
    for names in ["'tiny>=1.0,<2'", "[TINY~=1.0, '!=1.5']"] {
        set(&program, &format!("name: {names}, virtualenv: DIR/env, extra_args: --index-url http://127.0.0.1:1/"));
        assert!(play(&program, "").expect(0).stdout.contains(" changed=0 "), "{names}");
    }
    for (task, after) in [
        ("name: tiny, state: latest", "other==1.5 tiny==2.0"),
        ("name: 'tiny[extra]>=1'", "tiny==1.0"),
        ("name: DIR/wheels/other-1.5-py3-none-any.whl", "other==1.5 tiny==1.0"),
    ] {
        set(&program, &format!("{task}, {at}"));
        let check = play(&program, "--check --diff").expect(0);
        assert_eq!(check.diffs(), play(&program, "--diff").expect(0).diffs(), "{task}");
        assert_eq!(installed(&program, "env"), after, "{task}");
        assert!(play(&program, "").expect(0).stdout.contains(" changed=0 "), "{task}");
        if after != "tiny==1.0" {
            program.run("undo last").expect(0);
        }
        assert_eq!(installed(&program, "env"), "tiny==1.0", "{task}");
    }
}

#[test]
fn a_package_goes_and_comes_back_where_pip_still_finds_it() {
    let program = program();
    environment(&program.path("env"));
    ran(&program, "name: tiny, virtualenv: DIR/env, extra_args: INDEX");
    let gone = ran(&program, "name: [tiny, none], state: absent, virtualenv: DIR/env");
    assert!(gone.diffs().contains("-tiny: 2.0\n+tiny: none\n"), "{}", gone.diffs());
    assert!(gone.stdout.contains("an undo cannot bring back tiny 2.0: pip does not find it"), "{}", gone.stdout);
    assert_eq!(installed(&program, "env"), "other==1.5");
    // An index of the task's own environment is one of its undo, too.
    let text = program.read("play.yml");
    let links = program.path("wheels").display().to_string();
    let more = format!("      environment: {{PIP_NO_INDEX: '1', PIP_FIND_LINKS: {links}}}\n      register: it\n");
    program.file("play.yml", &text.replace("[tiny, none]", "other").replace("      register: it\n", &more));
    done(|flags| play(&program, flags));
    assert_eq!(installed(&program, "env"), "");
    program.run("undo last").expect(0);
    assert_eq!(installed(&program, "env"), "other==1.5");
}

#[test]
fn files_of_requirements_targets_and_directories_are_pips_and_done_once() {
    let program = program();
    environment(&program.path("env"));
    program.file("app/all.txt", "# ours\n-r sub/more.txt\n").file("app/sub/more.txt", "tiny<2 # the old one\n\n");
    let at = "virtualenv: DIR/env, extra_args: INDEX";
    let run = ran(&program, &format!("requirements: all.txt, chdir: DIR/app, {at}"));
    assert!(run.diffs().contains("+tiny: 1.0\n"), "{}", run.diffs());
    ran(&program, "requirements: all.txt, chdir: DIR/app, state: absent, virtualenv: DIR/env");
    assert_eq!(installed(&program, "env"), "");

    let target = "name: tiny, executable: /usr/bin/pip3, extra_args: INDEX --target DIR/lib";
    let run = ran(&program, target);
    assert!(run.diffs().contains("--- Python packages of DIR/lib\n"), "{}", run.diffs());
    assert_eq!(program.read("lib/tiny/__init__.py"), "version = '2.0'\n");

    // To ask pip of a directory would leave files in it.
    program.file("app/setup.py", "from setuptools import setup\nsetup(name='tiny-app', version='1.0')\n");
    set(&program, &format!("name: DIR/app, editable: yes, {at} --no-build-isolation"));
    let before = program.path("app").read_dir().unwrap().count();
    let check = play(&program, "--check --diff").expect(0);
    assert!(check.diffs().contains(" -e DIR/app"), "{}", check.diffs());
    assert_eq!(program.path("app").read_dir().unwrap().count(), before);
    play(&program, "").expect(0);
    let mut list = Command::new(program.path("env/bin/python"));
    let listed = crate::sshd::run(list.args(["-m", "pip", "list", "--local", "--format=freeze"])).stdout;
    assert!(String::from_utf8(listed).unwrap().contains("tiny-app==1.0"));
    assert!(play(&program, "").expect(0).stdout.contains(" changed=0 "));
}

#[test]
fn a_pip_that_cannot_tell_is_run_and_only_for_what_is_missing() {
    let program = program();
    environment(&program.path("env"));
    program.script(
        "pip",
        "case \" $* \" in *' --dry-run '*) echo 'no such option: --dry-run' >&2; exit 2 ;; esac\nexec DIR/env/bin/pip3 \"$@\"",
    );
    set(&program, "name: tiny==2.0, executable: DIR/pip, extra_args: INDEX");
    let check = play(&program, "--check --diff").expect(0);
    assert!(check.diffs().contains("DIR/pip install --no-index --find-links DIR/wheels"), "{}", check.diffs());
    assert_eq!(installed(&program, "env"), "");
    let run = play(&program, "--diff").expect(0);
    assert!(run.diffs().starts_with(check.diffs().trim_end()), "{}", run.diffs());
    assert!(run.stdout.contains("Successfully installed other-1.5 tiny-2.0"), "{}", run.stdout);
    assert!(play(&program, "").expect(0).stdout.contains(" changed=0 "));
    // What is installed again each time is each time a change.
    set(&program, "name: tiny, state: forcereinstall, executable: DIR/pip, extra_args: INDEX");
    for _ in 0..2 {
        assert!(play(&program, "").expect(0).stdout.contains(" changed=1 "));
    }
}

#[test]
fn what_pip_cannot_do_is_said_before_anything_is_done() {
    let program = program();
    environment(&program.path("env"));
    for (task, says) in [
        ("name: nope, virtualenv: DIR/env, extra_args: INDEX", "No matching distribution found for nope"),
        ("name: tiny, executable: nopip", "Unable to find any of nopip to use.  pip needs to be installed."),
        ("name: tiny, executable: /usr/bin/pip3, extra_args: INDEX", "externally-managed-environment"),
        ("name: tiny, virtualenv: DIR/no, virtualenv_command: novenv", "Failed to find required executable"),
        ("name: tiny, umask: '9'", "umask must be an octal integer"),
        ("name: [tiny, other], version: '1'", "'version' argument is ambiguous"),
        ("name: tiny>1, version: '1'", "'version' argument conflicts with any version specifier"),
        ("name: tiny, version: '1', state: latest", "version is incompatible with state=latest"),
        ("state: latest", "needs `name` or `requirements`"),
        ("name: -e x", "options of pip stand in `extra_args`"),
    ] {
        set(&program, task);
        for flags in ["--check", ""] {
            let printed = play(&program, flags);
            let text = printed.stdout + &printed.stderr;
            assert!(printed.status != 0 && text.contains(says), "{task} {flags}:\n{text}");
        }
    }
    set(
        &program,
        "name: tiny, executable: /usr/bin/pip3, break_system_packages: yes, umask: '0022', extra_args: INDEX",
    );
    assert!(play(&program, "--check --diff").expect(0).diffs().contains("+tiny: 2.0\n"));
}
