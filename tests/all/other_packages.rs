//! Packages of Alpine's and of FreeBSD's: what their programs are told, with stand-ins that note it, and what `package` takes.

use crate::program::{Printed, Program, done};

/// apk as its manual says, with `server` and the `library` that it needs.
const APK: &str = r#"case "$*" in *add* | *del* | *upgrade* | *update*) echo "apk $*" >>DIR/told ;; esac
touch DIR/have DIR/world
while :; do case $1 in --simulate) simulate=yes ;; --repositor*) shift ;; --*) ;; *) break ;; esac; shift; done
verb=$1
shift
of() { grep "^$1-[0-9]" DIR/have; }
case $verb in
info) case $1 in -v) cat DIR/have ;; *) of "$2" >/dev/null ;; esac; exit ;;
policy) for name; do printf '%s policy:\n  2.0-r1:\n    http://own\n  1.5-r0:\n    lib/apk/db/installed\n    http://own\n' "$name"; done ;;
add)
  for name; do
    case $name in
    -*) continue ;;
    nope) echo 'ERROR: unable to select packages:'; echo '  nope (no such package):'; exit 1 ;;
    server) all='library-1.5-r0 server-2.0-r1' ;;
    *) all=library-1.5-r0 ;;
    esac
    for new in $all; do
      bare=${new%-*-r*} old=$(of "${new%-*-r*}")
      [ "$old" != "$new" ] || continue
      if [ -n "$old" ]; then echo "(1/2) Upgrading $bare (${old#"$bare"-} -> ${new#"$bare"-})"
      else echo "(1/2) Installing $bare (${new#"$bare"-})"; fi
      [ -n "$simulate" ] || { sed -i "/^$bare-[0-9]/d" DIR/have; echo "$new" >>DIR/have; }
    done
    [ -n "$simulate" ] || echo "$name" >>DIR/world
  done ;;
del)
  for name; do
    case $name in -*) continue ;; esac
    [ -n "$simulate" ] || sed -i "/^$name\$/d" DIR/world
    # What somebody needs stays.
    if [ "$name" = library ] && of server >/dev/null; then continue; fi
    for one in "$name" library; do
      if [ "$one" != "$name" ] && grep -qx library DIR/world; then continue; fi
      old=$(of "$one") || continue
      echo "(1/2) Purging $one (${old#"$one"-})"
      [ -n "$simulate" ] || sed -i "/^$one-[0-9]/d" DIR/have
    done
  done ;;
esac
echo 'OK: 8 MiB in 15 packages'"#;

/// pkg(8), with the same two.
const PKG: &str = r#"case "$*" in *query* | *info* | *-S*) ;; *) echo "pkg $*" >>DIR/told ;; esac
touch DIR/have DIR/note
case $1 in
query) case $2 in '%v') sed -n "s/^$3 //p" DIR/have | grep . ;; *) cat DIR/have ;; esac ;;
info) for word; do last=$word; done; grep -q "^$last " DIR/have ;;
install) if [ "$2" = -n ]; then printf 'New packages to be INSTALLED:\n\tlibrary: 1.5 [own]\n\tserver: 2.0_1,1 [own]\n\nNumber of packages to be installed: 2\n'; exit 1
  else printf 'library 1.5\nserver 2.0_1,1\n' >DIR/have; fi ;;
delete) if [ "$2" = -n ]; then printf 'Installed packages to be REMOVED:\n\tserver: 2.0_1,1\n'; else : >DIR/have; fi ;;
annotate) case "$*" in *-S*) cat DIR/note ;; *-A*) for word; do last=$word; done; echo "$last" >DIR/note ;; *-D*) : >DIR/note ;; esac ;;
esac"#;

struct Machine(Program);

impl Machine {
    fn new(programs: &[(&str, &str)]) -> Machine {
        let program = Program::new();
        program.file("hosts", "here ansible_connection=local\n");
        for (name, script) in programs {
            program.script(&format!("bin/{name}"), script);
        }
        Machine(program)
    }

    fn task(&self, task: &str) -> &Machine {
        let task = task.replace("DIR", self.0.path("").display().to_string().trim_end_matches('/'));
        self.0.file("play.yml", &format!("- hosts: here\n  gather_facts: no\n  tasks:\n    - {task}\n"));
        let _ = std::fs::remove_file(self.0.path("told"));
        self
    }

    fn cutover(&self, words: &str) -> Printed {
        let path = format!("{}:{}", self.0.path("bin").display(), std::env::var("PATH").unwrap());
        let mut command = self.0.command();
        command.env("PATH", path).args(words.split_whitespace());
        self.0.printed(command.output().unwrap())
    }

    fn play(&self, flags: &str) -> Printed {
        self.cutover(&format!("play -i hosts play.yml {flags}"))
    }

    fn done(&self) -> Printed {
        done(|flags| self.play(flags))
    }

    /// What changes something, of what the program was told.
    fn told(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.0.path("told")).unwrap_or_default();
        let asks = [" --simulate", " -n "];
        text.lines().filter(|line| !asks.iter().any(|word| line.contains(word))).map(str::to_string).collect()
    }
}

#[test]
fn apk_is_asked_what_it_would_do_and_then_told_the_same() {
    let machine = Machine::new(&[("apk", APK)]);
    let world = "world: DIR/world";
    let run = machine.task(&format!("community.general.apk: {{name: server, {world}}}")).done();
    let diffs = run.diffs();
    assert!(diffs.contains("--- package server\n+++ package server\n-absent\n+2.0-r1\n"), "{diffs}");
    assert!(diffs.contains("--- package library\n+++ package library\n-absent\n+1.5-r0, automatic\n"), "{diffs}");
    assert_eq!(machine.told(), ["apk add server"]);
    // It is wanted for itself from then on, until that is taken back.
    let wanted = machine.task(&format!("apk: {{name: library, {world}}}")).done();
    assert!(wanted.diffs().contains("-1.5-r0, automatic\n+1.5-r0\n"), "{}", wanted.diffs());
    machine.cutover("undo last").expect(0);
    assert_eq!((machine.told()[1].as_str(), machine.0.read("world").as_str()), ("apk del --purge library", "server\n"));
    machine.0.file("have", "server-1.0-r0\n").file("world", "server\n");
    let options = "state: latest, update_cache: yes, no_cache: yes, repository: http://own";
    let run = machine.task(&format!("apk: {{name: server, {options}, {world}}}")).play("--diff").expect(0);
    assert!(run.diffs().contains("-1.0-r0\n+2.0-r1\n"), "{}", run.diffs());
    assert!(run.stdout.contains("an undo cannot bring back 1.0-r0"), "{}", run.stdout);
    let expected =
        "apk --update-cache --no-cache --repositories-file /dev/null --repository http://own add --upgrade server";
    assert_eq!(machine.told(), [expected]);
    machine.task(&format!("apk: {{name: server, state: absent, {world}}}")).done();
    assert_eq!((machine.told(), machine.0.read("have")), (vec!["apk del --purge server".to_string()], String::new()));
    machine.cutover("undo last").expect(0);
    assert_eq!(machine.told()[1..], ["apk add server"]);
    // What no repository has any more stays gone, and that is said before.
    machine.0.file("have", "server-1.0-r0\n");
    let gone = machine.task(&format!("apk: {{name: server, state: absent, {world}}}")).play("").expect(0);
    assert!(gone.stdout.contains("an undo cannot bring back 1.0-r0"), "{}", gone.stdout);
    let missing = machine.task(&format!("apk: {{name: nope, {world}}}")).play("").expect(2);
    assert!(missing.stdout.contains("nope (no such package)"), "{}", missing.stdout);
}

#[test]
fn pkg_is_asked_what_it_would_do_and_then_told_the_same() {
    let machine = Machine::new(&[("pkg", PKG)]);
    let run = machine.task("community.general.pkgng: {name: server, cached: yes, annotation: '+why=mail'}").done();
    let diffs = run.diffs();
    assert!(diffs.contains("--- package server\n+++ package server\n-absent\n+2.0_1,1\n"), "{diffs}");
    assert!(diffs.contains("+++ annotation why of server\n"), "{diffs}");
    assert_eq!(machine.told(), ["pkg install -y -g -U server", "pkg annotate -q -y -A server why mail"]);
    machine.cutover("undo last").expect(0);
    let told = machine.told();
    assert!(told[2..].contains(&"pkg delete -y server library".to_string()), "{told:?}");
    let clash = machine.task("pkgng: {name: server, annotation: '+why=web'}");
    machine.0.file("have", "server 1\n").file("note", "mail\n");
    assert!(clash.play("").expect(2).stdout.contains("already annotated why=mail"));
}
