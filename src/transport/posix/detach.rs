//! A command that goes on by itself, behind the connection: its start, and the look at how far it is.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::transport::command::quote;
use crate::transport::{Command, Output};

/// Starts the job whose words follow; what watches over it is the whole of `job.sh`.
const START: &str = include_str!("detach.sh");
const JOB: &str = include_str!("job.sh");
const LOOK: &str = include_str!("job_look.sh");

/// Keeps the home directory before the task's environment may say otherwise.
pub const HOME: &str = "c_home=${HOME:-/}\n";

/// How much of each stream of a job is read, in blocks of 64 KiB.
const BLOCKS: u32 = 256;

/// What is known of a job.
#[derive(Clone, Debug, PartialEq)]
pub enum Job {
    /// There is no file of it.
    Missing,
    Running,
    /// It is gone and has not said how it ended: the host was restarted, or somebody killed it with its watcher.
    Gone,
    Ended {
        output: Output,
        /// It was ended because its time was over.
        late: bool,
        /// Seconds of the host's clock since 1970.
        times: Option<(i64, i64)>,
    },
}

/// Returns the script that starts a command of quoted `words` and prints the path of the job's file.
pub fn script(limit: Duration, words: &str) -> String {
    let seconds = limit.as_secs() + u64::from(limit.subsec_nanos() > 0);
    let number = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() % 1_000_000_000_000);
    format!("c_number={number:012} c_limit={seconds}\nc_job={}\nset -- {words}\n{START}", quote(JOB))
}

/// Returns the command that prints how far the job of that number is; [`read`] understands it.
pub fn look(job: &str) -> Command {
    Command::shell(format!("{HOME}c_id={} c_blocks={BLOCKS}\n{LOOK}", quote(job)))
}

/// Returns the command that removes what is left of a job, and prints the path of its file.
pub fn remove(job: &str) -> Command {
    let script = format!("{HOME}c_id={} c_blocks=\n{LOOK}", quote(job));
    Command::shell(script)
}

/// Reads what [`look`] printed: the path of the job's file, and what is known of the job.
pub fn read(output: &Output) -> (String, Job) {
    let mut rest = output.stdout.as_slice();
    let mut line = || {
        let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        let line = String::from_utf8_lossy(&rest[..end]).into_owned();
        rest = &rest[rest.len().min(end + 1)..];
        line
    };
    let (path, state) = (line(), line());
    let words: Vec<&str> = state.split_whitespace().collect();
    let number = |at: usize| words.get(at).and_then(|word| word.parse::<i64>().ok());
    let job = match words.first() {
        Some(&"started" | &"running") => Job::Running,
        Some(&"gone") => Job::Gone,
        Some(&("finished" | "late")) => {
            let length = line().trim().parse::<usize>().unwrap_or(0).min(rest.len());
            let (stdout, stderr) = rest.split_at(length);
            let status = number(1).and_then(|status| i32::try_from(status).ok()).unwrap_or(-1);
            let output = Output { status, stdout: stdout.into(), stderr: stderr.into(), dropped: (0, 0) };
            Job::Ended { output, late: words[0] == "late", times: number(2).zip(number(3)) }
        }
        _ => Job::Missing,
    };
    (path, job)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_look_prints_is_read_with_its_streams() {
        let printed = |text: &str| Output { stdout: text.as_bytes().to_vec(), ..Output::default() };
        assert_eq!(read(&printed("/j\nmissing\n")), ("/j".into(), Job::Missing));
        assert_eq!(read(&printed("/j\nrunning 7\n")).1, Job::Running);
        let (_, job) = read(&printed("/j\nfinished 3 100 160\n4\na\nb\nerrors\n"));
        let output = Output { status: 3, stdout: b"a\nb\n".to_vec(), stderr: b"errors\n".to_vec(), dropped: (0, 0) };
        assert_eq!(job, Job::Ended { output, late: false, times: Some((100, 160)) });
    }
}
