//! How many checks are carried out at a time, and who waits for whom. A check that ends by its timeout holds its place for
//! hundreds of times as long as one that is answered, so the two don't share: targets that were silent wait for each other,
//! and the others are asked at their interval, however many are silent.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The places of checks, first come, first served in each of two parts.
#[derive(Clone, Debug)]
pub(super) struct Places {
    /// For targets that answered last time, or were not asked yet.
    answering: Arc<Semaphore>,
    /// For those that did not.
    silent: Arc<Semaphore>,
}

impl Places {
    /// So many in all (at least 2): a quarter is kept for targets that answer. A check of these takes milliseconds, and even of
    /// the ones far away some tenths of a second, so that is enough, and the thread has not more on its hands at
    /// once than it can do within a timeout.
    pub(super) fn new(all: usize) -> Self {
        let all = all.clamp(2, Semaphore::MAX_PERMITS);
        let answering = (all / 4).max(1);
        Self { answering: Arc::new(Semaphore::new(answering)), silent: Arc::new(Semaphore::new(all - answering)) }
    }

    /// Waits for a place: `was_silent` says what the check before came to.
    pub(super) async fn take(&self, was_silent: bool) -> Place {
        let of = if was_silent { &self.silent } else { &self.answering };
        let held = of.clone().acquire_owned().await.expect("the semaphore is never closed");
        Place { held, silent: (!was_silent).then(|| self.silent.clone()) }
    }
}

/// A place that is held. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct Place {
    held: OwnedSemaphorePermit,
    /// Where it may yet be moved to.
    silent: Option<Arc<Semaphore>>,
}

impl Place {
    /// Carries out `check`. Where that takes more than `patience` the check goes over to the silent ones, if they have a
    /// place: so in the moment in which a site falls silent the others are not made to wait, either.
    pub(super) async fn hold<T>(mut self, patience: Duration, check: impl Future<Output = T>) -> T {
        let Some(silent) = self.silent.take() else { return check.await };
        let mut check = std::pin::pin!(check);
        if let Ok(outcome) = tokio::time::timeout(patience, check.as_mut()).await {
            return outcome;
        }
        if let Ok(place) = silent.try_acquire_owned() {
            self.held = place;
        }
        check.await
    }
}

/// How long a check may take that is expected to be answered, of one that may take `timeout` in all.
pub(super) fn patience(timeout: Duration) -> Duration {
    timeout / 8
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep, timeout};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn silent_targets_wait_for_each_other_alone() {
        let places = Places::new(4);
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(places.take(true).await);
        }
        timeout(SECOND, places.take(true)).await.unwrap_err();
        let answering = timeout(SECOND, places.take(false)).await.expect("one place is kept");
        timeout(SECOND, places.take(false)).await.unwrap_err();
        drop(answering);
        timeout(SECOND, places.take(true)).await.unwrap_err();
        held.pop();
        timeout(SECOND, places.take(true)).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_that_takes_long_leaves_its_place_to_those_who_answer() {
        let places = Places::new(2);
        let began = Instant::now();
        let slow = |places: Places| async move { places.take(false).await.hold(SECOND, sleep(100 * SECOND)).await };
        let first = tokio::spawn(slow(places.clone()));
        let second = tokio::spawn(slow(places.clone()));
        sleep(Duration::from_millis(1)).await;
        drop(places.take(false).await); // behind the second, which finds no other place and stays
        assert_eq!(began.elapsed(), 101 * SECOND);
        first.await.unwrap();
        second.await.unwrap();
    }
}
