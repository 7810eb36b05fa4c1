//! qmail-send as a running program: what it has read of its control files, and how to make it read them.
//!
//! qmail-send opens and locks `queue/lock/sendmutex` and never writes it, so the time of modification of that file is free
//! to record the last HUP. A table that is newer, and was not yet there when qmail-send started, has not been
//! read: a run that ended between the rename and the HUP is repaired by the next one.

use crate::change::{Back, Change};
use crate::host::View;
use crate::modules::ModuleError;
use crate::transport::command::quote;
use crate::transport::{Command, TransportError};

use super::drift::Reread;
use super::qmail::{ControlFile, Effect};

/// Prints the id of every process named `qmail-send`, with tools of POSIX.
const FIND: &str = "ps -A -o pid= -o comm= | while read -r pid name; do case $name in qmail-send|*/qmail-send) echo \"$pid\";; esac; done";

/// `unread FILE`: says whether a process in `$pids` started before the last change of a file, or perhaps did: `ps` counts
/// in whole seconds and rounds, so what is within two of them is taken for unread.
pub(super) const TIMES: &str = r#"started() {
  ps -o etime= -p "$1" 2>/dev/null | awk -v now="$(date +%s)" 'NF {
    n = split($1, part, /[-:]/); s = part[n] + 60 * part[n - 1]
    if (n > 2) s += 3600 * part[n - 2]
    if (n > 3) s += 86400 * part[n - 3]
    print now - s }'
}
unread() {
  changed=$(stat -c %Y "$1" 2>/dev/null || stat -f %m "$1" 2>/dev/null) || return 0
  for pid in $pids; do
    start=$(started "$pid")
    [ -n "$start" ] && [ "$start" -gt "$((changed + 2))" ] || return 0
  done
  return 1
}
"#;

/// The state that a HUP moves.
const TABLES: &str = "tables of qmail-send";
const NO_MUTEX: &str = "no queue/lock/sendmutex";
const IDLE: &str = "qmail-send is not running";

/// The qmail installation of a host, and the ways to its qmail-send.
pub struct QmailSend<'a> {
    /// `/var/qmail`.
    pub home: &'a str,
    /// `/var/qmail/control`.
    pub control: &'a str,
    /// A command that prints the process id.
    pub pid: Option<&'a str>,
    /// The service that restarts it.
    pub service: &'a str,
}

impl QmailSend<'_> {
    /// Returns what makes `file` effective, given that it is about to be changed or not, and a warning.
    pub async fn make_effective(
        &self,
        host: &View,
        file: &ControlFile,
        edit: Edit,
    ) -> Result<(Option<Change>, Option<String>), ModuleError> {
        let (what, probe, states, by) = match file.effect {
            Effect::None => return Ok((None, None)),
            Effect::Reread => (TABLES.to_string(), self.reread_probe(), REREAD, vec![self.hup()]),
            Effect::Restart => {
                if edit == Edit::Remove {
                    return Ok((Some(Change::Run { command: self.restart() }), None));
                }
                (format!("qmail-send's `{}`", file.name), self.restart_probe(file), RESTART, vec![self.restart()])
            }
            Effect::Newmrh => {
                let newmrh = Command::argv([format!("{}/bin/qmail-newmrh", self.home)]);
                let later = later(self.control, "morercpthosts", "morercpthosts.cdb");
                ("morercpthosts.cdb".into(), self.newmrh_probe(), NEWMRH, vec![newmrh, later])
            }
        };
        let found = host.state(&what, &probe).await?;
        if found == IDLE {
            let warning = (edit != Edit::Keep).then(|| format!("{IDLE}; it reads `{}` when it starts", file.name));
            return Ok((None, warning));
        }
        if found == NO_MUTEX {
            let message =
                format!("there is no `{}/queue/lock/sendmutex`, so no qmail-send uses `{}`", self.home, self.control);
            let hint = "set `directory` to the control directory of the installation, or `effect: none`";
            return Err(ModuleError::failed(format!("{message}\nhint: {hint}")));
        }
        let [stale, fresh] = states;
        let before = if edit == Edit::Keep { found } else { stale.into() };
        let change = Change::state(what, probe, (before, fresh.into()), by);
        Ok((change.map(|change| change.taken_back(Back::Again)), None))
    }

    /// Says whether qmail-send has read `locals` and `virtualdomains` as they are.
    pub async fn has_reread(&self, host: &View) -> Result<Reread, TransportError> {
        let found = host.state(TABLES, &self.reread_probe()).await?;
        Ok(match found.as_str() {
            IDLE => Reread::Idle,
            NO_MUTEX => Reread::Nowhere,
            found if found == REREAD[1] => Reread::Yes,
            _ => Reread::No,
        })
    }

    /// Returns the command that prints the ids of its processes.
    pub(super) fn find(&self) -> &str {
        self.pid.unwrap_or(FIND)
    }

    fn preamble(&self) -> String {
        let find = self.find();
        format!("pids=$({find})\n[ -n \"$pids\" ] || {{ echo '{IDLE}'; exit 0; }}\n")
    }

    fn mutex(&self) -> String {
        quote(&format!("{}/queue/lock/sendmutex", self.home))
    }

    fn reread_probe(&self) -> Command {
        let (control, mutex, [stale, fresh]) = (quote(self.control), self.mutex(), REREAD);
        Command::shell(format!(
            "{}{TIMES}[ -e {mutex} ] || {{ echo '{NO_MUTEX}'; exit 0; }}\ncd {control} || exit\n\
             for file in locals virtualdomains; do\n  [ -n \"$(find \"$file\" -newer {mutex} 2>/dev/null)\" ] || continue\n  \
             unread \"$file\" && {{ echo '{stale}'; exit 0; }}\ndone\necho '{fresh}'\n",
            self.preamble()
        ))
    }

    /// The HUP first: a stamp without it would hide that the tables are old.
    fn hup(&self) -> Command {
        Command::shell(format!(
            "{}for pid in $pids; do kill -HUP \"$pid\" || exit 1; done\ntouch {}\n",
            self.preamble(),
            self.mutex()
        ))
    }

    fn restart_probe(&self, file: &ControlFile) -> Command {
        let (control, [stale, fresh]) = (quote(self.control), RESTART);
        Command::shell(format!(
            "{}{TIMES}cd {control} || exit\nif [ -e {name} ] && unread {name}; then echo '{stale}'; else echo '{fresh}'; fi\n",
            self.preamble(),
            name = file.name
        ))
    }

    /// Stops, waits, starts: a second qmail-send exits at once while the first still finishes its deliveries. The pause
    /// puts the start well after the change, which is how the probe tells them apart.
    fn restart(&self) -> Command {
        let (service, find) = (quote(self.service), self.find());
        Command::shell(format!(
            "pids() {{ {find}; }}\nold=$(pids)\nsleep 5\nif [ -d /service/{service} ]; then svc -t /service/{service} || exit\n\
             else service {service} stop || exit; fi\n\
             for pid in $old; do n=0; while kill -0 \"$pid\" 2>/dev/null; do\n  n=$((n + 1))\n  \
             [ $n -le 600 ] || {{ echo 'qmail-send still finishes deliveries after 10 minutes' >&2; exit 1; }}\n  sleep 1\ndone; done\n\
             [ -d /service/{service} ] || service {service} start || exit\n\
             n=0; while [ -z \"$(pids)\" ] && [ $n -lt 30 ]; do n=$((n + 1)); sleep 1; done\n"
        ))
    }

    fn newmrh_probe(&self) -> Command {
        let (control, [stale, fresh]) = (quote(self.control), NEWMRH);
        Command::shell(format!(
            "cd {control} || exit\n[ -e morercpthosts ] || {{ echo '{fresh}'; exit 0; }}\n\
             if [ -e morercpthosts.cdb ] && [ -n \"$(find morercpthosts.cdb -newer morercpthosts)\" ]\n\
             then echo '{fresh}'; else echo '{stale}'; fi\n"
        ))
    }
}

/// Returns the command that makes what was just built from `source` newer than it. Old file systems, and busybox's `find`
/// on any, count whole seconds: of two files of one second it could not be told which was first.
pub fn later(directory: &str, source: &str, built: &str) -> Command {
    Command::shell(format!(
        "cd {} || exit; [ \"$(find {source} -newer {built}; find {built} -newer {source})\" ] || {{ sleep 1 && touch {built}; }}",
        quote(directory)
    ))
}

/// What a task does to the file itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    Keep,
    Write,
    Remove,
}

const REREAD: [&str; 2] =
    ["locals or virtualdomains changed since qmail-send read them", "as in locals and virtualdomains"];
const RESTART: [&str; 2] = ["changed since qmail-send started", "in use"];
const NEWMRH: [&str; 2] = ["older than morercpthosts", "made from morercpthosts as it is"];

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::modules::mail::qmail::control_file;
    use crate::modules::system::bench::Here;

    fn set_age(path: &str, seconds: u64) {
        let time = SystemTime::now() - Duration::from_secs(seconds);
        File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    }

    #[tokio::test]
    async fn what_a_running_qmail_send_has_read_is_told_by_its_start_and_the_stamp() {
        let here = Here::new().await;
        let (home, control) = (here.path(""), here.path("control"));
        let mutex = here.write("queue/lock/sendmutex", "", 0o644);
        let files =
            ["locals", "virtualdomains", "queuelifetime"].map(|name| here.write(&format!("control/{name}"), "", 0o644));
        let program =
            here.write("bin/qmail-send", "#!/bin/sh\necho $$ >\"$1\"\necho up\nwhile :; do sleep 0.05; done\n", 0o755);
        let mut process = here.transport.open(&Command::argv([program, here.path("pid")])).await.unwrap();
        let mut line = [0; 3];
        tokio::io::AsyncReadExt::read_exact(&mut process.stdout, &mut line).await.unwrap();
        let find = Command::shell(format!("pids=$({FIND}); for pid in $pids; do cat /proc/$pid/cmdline; done"));
        let find = here.transport.run(&find);
        assert!(find.await.unwrap().text().contains(&home), "the usual search finds it by name");

        let pid = format!("cat '{}'", here.path("pid"));
        let send = QmailSend { home: &home, control: &control, pid: Some(&pid), service: "qmail" };
        let queuelifetime = control_file("queuelifetime").unwrap();
        let says = async |probe: Command| here.transport.run(&probe).await.unwrap().text().trim_end().to_string();
        // Older than the process: read at its start, whatever the stamp says.
        files.iter().for_each(|file| set_age(file, 1000));
        set_age(&mutex, 5000);
        assert_eq!(says(send.reread_probe()).await, REREAD[1]);
        assert_eq!(says(send.restart_probe(queuelifetime)).await, RESTART[1]);
        // Changed since.
        files.iter().for_each(|file| set_age(file, 0));
        assert_eq!(says(send.reread_probe()).await, REREAD[0]);
        assert_eq!(says(send.restart_probe(queuelifetime)).await, RESTART[0]);
        // And stamped after a HUP.
        set_age(&mutex, 0);
        assert_eq!(says(send.reread_probe()).await, REREAD[1]);
        let gone = QmailSend { pid: Some("true"), ..send };
        assert_eq!(says(gone.restart_probe(queuelifetime)).await, IDLE);
    }

    #[tokio::test]
    async fn newmrh_runs_where_its_cdb_is_older() {
        let here = Here::new().await;
        let (home, control) = (here.path(""), here.path("control"));
        here.write(
            "bin/qmail-newmrh",
            &format!("#!/bin/sh\ncd '{control}' && cp morercpthosts morercpthosts.cdb\n"),
            0o755,
        );
        here.write("control/me", "host.example\n", 0o644);
        let task = serde_json::json!({"file": "morercpthosts", "entries": ["a.example"], "directory": control});
        assert_eq!(here.twice("qmail_control", task.clone()).await, 2);
        assert_eq!(here.read("control/morercpthosts.cdb"), "a.example\n");
        set_age(&format!("{home}/control/morercpthosts.cdb"), 1000);
        assert_eq!(here.twice("qmail_control", task).await, 1);
    }
}
