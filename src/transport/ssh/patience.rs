//! A time limit whose clock stands still while a person is asked for something.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long a person has been asked during some work.
#[derive(Default)]
pub struct Patience(Mutex<Asked>);

#[derive(Default)]
struct Asked {
    since: Option<Instant>,
    before: Duration,
}

impl Patience {
    /// Works for at most `limit`, not counting the time in [`Patience::pause`]. `None`: the time is over.
    pub async fn limit<T>(&self, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
        let start = Instant::now();
        let mut work = std::pin::pin!(work);
        loop {
            let end = start + limit + self.asked();
            if let Ok(done) = tokio::time::timeout_at(end, &mut work).await {
                return Some(done);
            }
            if self.state().since.is_none() && Instant::now() >= start + limit + self.asked() {
                return None;
            }
        }
    }

    /// Waits for a person.
    pub async fn pause<T>(&self, wait: impl Future<Output = T>) -> T {
        self.state().since = Some(Instant::now());
        let done = wait.await;
        let mut asked = self.state();
        if let Some(since) = asked.since.take() {
            asked.before += since.elapsed();
        }
        done
    }

    /// While somebody is being asked there is always a moment more.
    fn asked(&self) -> Duration {
        let asked = self.state();
        asked.before + asked.since.map(|since| since.elapsed() + Duration::from_millis(100)).unwrap_or_default()
    }

    fn state(&self) -> MutexGuard<'_, Asked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(500);

    #[tokio::test]
    async fn the_time_of_asking_does_not_count() {
        let patience = Patience::default();
        let work = async {
            patience.pause(tokio::time::sleep(3 * LIMIT)).await;
            tokio::time::sleep(LIMIT / 50).await;
        };
        assert_eq!(patience.limit(LIMIT, work).await, Some(()));
    }

    #[tokio::test]
    async fn the_other_time_does() {
        let patience = Patience::default();
        let work = async {
            patience.pause(tokio::time::sleep(LIMIT / 50)).await;
            std::future::pending::<()>().await;
        };
        assert_eq!(patience.limit(LIMIT, work).await, None);
    }
}
