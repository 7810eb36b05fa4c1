//! The signals that end a run, and the exit code of each.

use futures::future::{FutureExt as _, select_all};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that are listened to, by their numbers.
pub struct Signals(Vec<(i32, Signal)>);

impl Signals {
    /// Listens to Ctrl-C, SIGTERM and SIGHUP, but to none that whoever started this process has it ignore (`nohup`,
    /// a shell's background job).
    pub fn listen() -> std::io::Result<Signals> {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let ignored = ignored(&status);
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let heard = kinds.into_iter().filter(|kind| ignored & (1 << (kind.as_raw_value() - 1)) == 0);
        let listening = heard.map(|kind| Ok((kind.as_raw_value(), signal(kind)?)));
        listening.collect::<std::io::Result<_>>().map(Signals)
    }

    /// Waits for the next one; returns 128 and its number, as a shell has it.
    pub async fn next(&mut self) -> u8 {
        let waiting = self.0.iter_mut().map(|(number, signal)| {
            let code = (128 + *number) as u8;
            async move {
                signal.recv().await;
                code
            }
            .boxed()
        });
        let waiting: Vec<_> = waiting.collect();
        match waiting.is_empty() {
            true => std::future::pending().await,
            false => select_all(waiting).await.0,
        }
    }
}

/// Returns the mask of ignored signals of a process status (`proc(5)`); where there is none, nothing is ignored.
fn ignored(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_of_ignored_signals_is_read() {
        assert_eq!(ignored("Name:\tx\nSigIgn:\t0000000000001003\nSigCgt:\t1\n"), 0x1003);
        assert_eq!(ignored(""), 0);
    }
}
