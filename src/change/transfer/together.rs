//! What the lanes of a move share: how far they are together, and whether one has failed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::join_all;

use super::{Progress, Transfer};
use crate::change::ApplyError;

/// How far a move is, is told so often at most.
const BETWEEN: Duration = Duration::from_millis(100);

pub struct Together<'a> {
    tell: &'a (dyn Fn(Progress) + Send + Sync),
    progress: Mutex<Progress>,
    start: Instant,
    failed: AtomicBool,
}

impl<'a> Together<'a> {
    pub fn new(transfer: &Transfer, tell: &'a (dyn Fn(Progress) + Send + Sync)) -> Together<'a> {
        let (total_messages, total_bytes) = transfer.total();
        let progress = Mutex::new(Progress { total_messages, total_bytes, ..Progress::default() });
        Together { tell, progress, start: Instant::now(), failed: AtomicBool::new(false) }
    }

    /// Counts what was copied; below 0 for what has to be copied again.
    pub fn add(&self, messages: i64, bytes: i64) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.messages = progress.messages.saturating_add_signed(messages);
        progress.bytes = progress.bytes.saturating_add_signed(bytes);
        // Mail that came since it was planned.
        progress.total_messages = progress.total_messages.max(progress.messages);
        progress.total_bytes = progress.total_bytes.max(progress.bytes);
        let elapsed = self.start.elapsed();
        if elapsed >= progress.elapsed + BETWEEN || progress.messages == progress.total_messages {
            progress.elapsed = elapsed;
            (self.tell)(*progress);
        }
    }

    /// Says whether a lane has failed: the others stop where they may.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Waits until a step of all lanes has come to an end, and returns the first error.
    pub async fn all<T>(
        &self,
        lanes: impl Iterator<Item = impl Future<Output = Result<T, ApplyError>>>,
    ) -> Result<Vec<T>, ApplyError> {
        let lanes = lanes.map(async |lane| lane.await.inspect_err(|_| self.failed.store(true, Ordering::Relaxed)));
        join_all(lanes).await.into_iter().collect()
    }
}
