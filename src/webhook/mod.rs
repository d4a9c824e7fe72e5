//! Webhooks: who wants to know what happened is told by HTTP POST.
//!
//! The writer puts an event into the queue of each hook and goes on: nothing here is waited for, and a queue that is full loses
//! the event, which is counted. A delivery is signed as Standard Webhooks has it (<https://www.standardwebhooks.com>): HMAC-SHA256
//! over its id, its instant and its body. What a receiver does not take is tried again, with growing pauses, for a day; each hook
//! sends one event at a time, in order. Queues are in memory alone: a restart forgets what was not delivered.

mod deliver;
mod event;

pub use deliver::{Delivery, Failure, deliver};
pub use event::{Event, Kind};

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::Uri;
use rustls::pki_types::CertificateDer;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::time::Timestamp;

/// Events that wait for one hook.
const QUEUE: usize = 1024;
/// The first pause before another try; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_mins(5);
/// After that an event is given up.
const GIVE_UP_SECS: u64 = 86_400;

/// One hook.
#[derive(Clone, PartialEq)]
pub struct Settings {
    /// What it is called in log and metrics.
    pub name: String,
    /// Where events go: `http` or `https`, with a host.
    pub url: Uri,
    /// Signs deliveries; while they are exchanged there are several, and each signs.
    pub secrets: Vec<Vec<u8>>,
    /// What it wants to know; `None`: everything.
    pub kinds: Option<Vec<Kind>>,
    /// Authorities of a file, instead of the system's.
    pub authorities: Option<(PathBuf, Vec<CertificateDer<'static>>)>,
}

impl fmt::Debug for Settings {
    /// Without the secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("name", &self.name).field("url", &self.url).finish_non_exhaustive()
    }
}

/// How one hook does.
#[derive(Debug, Default)]
pub struct Numbers {
    /// Events delivered.
    pub delivered: AtomicU64,
    /// Tries that failed.
    pub failures: AtomicU64,
    /// Events lost: the queue was full, the receiver refused, or a day was over.
    pub lost: AtomicU64,
    problem: Mutex<Option<String>>,
}

impl Numbers {
    /// Why the last try failed, until one succeeds.
    pub fn problem(&self) -> Option<String> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_problem(&self, problem: Option<String>) {
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }
}

/// How all hooks do, by name. Clones are one.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Mutex<BTreeMap<String, Arc<Numbers>>>>);

impl Board {
    /// Each hook's numbers.
    pub fn all(&self) -> BTreeMap<String, Arc<Numbers>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The hooks at work.
#[derive(Default)]
pub struct Hooks {
    running: BTreeMap<String, Running>,
    board: Board,
}

struct Running {
    settings: Settings,
    queue: mpsc::Sender<Arc<Event>>,
    numbers: Arc<Numbers>,
    _task: AbortOnDropHandle<()>,
}

impl Hooks {
    /// None yet, shown on `board`.
    pub fn new(board: Board) -> Self {
        Self { running: BTreeMap::new(), board }
    }

    /// Follows a configuration. A hook that stays as it is keeps its queue.
    pub fn follow(&mut self, wanted: &[Settings]) {
        self.running.retain(|_, running| wanted.contains(&running.settings));
        for settings in wanted {
            self.running.entry(settings.name.clone()).or_insert_with(|| Running::start(settings.clone()));
        }
        let numbers = self.running.iter().map(|(name, running)| (name.clone(), running.numbers.clone()));
        *self.board.0.lock().unwrap_or_else(PoisonError::into_inner) = numbers.collect();
    }

    /// How they do.
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// Whether anybody wants to know anything.
    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Tells who wants to know. Waits for nobody.
    pub fn tell(&self, event: Event) {
        let event = Arc::new(event);
        for running in self.running.values() {
            let wants = running.settings.kinds.as_ref().is_none_or(|kinds| kinds.contains(&event.kind));
            if wants && running.queue.try_send(event.clone()).is_err() {
                running.numbers.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl Running {
    fn start(settings: Settings) -> Self {
        let (queue, events) = mpsc::channel(QUEUE);
        let numbers = Arc::<Numbers>::default();
        let task = tokio::spawn(send_all(settings.clone(), events, numbers.clone()));
        Self { settings, queue, numbers, _task: AbortOnDropHandle::new(task) }
    }
}

async fn send_all(settings: Settings, mut events: mpsc::Receiver<Arc<Event>>, numbers: Arc<Numbers>) {
    let hook = &settings.name;
    while let Some(event) = events.recv().await {
        let mut tries = 0;
        loop {
            let now = Timestamp::now();
            let Err(failure) = deliver(&settings, &event, now).await else {
                numbers.delivered.fetch_add(1, Ordering::Relaxed);
                numbers.set_problem(None);
                break;
            };
            numbers.failures.fetch_add(1, Ordering::Relaxed);
            numbers.set_problem(Some(failure.to_string()));
            if failure.is_final() || now.since(event.at) >= GIVE_UP_SECS {
                numbers.lost.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(hook, event = %event.kind, %failure, "an event was not delivered to a webhook");
                break;
            }
            if tries == 0 {
                tracing::warn!(hook, event = %event.kind, %failure, "a webhook does not take an event; it is tried again");
            }
            tokio::time::sleep(pause(tries, getrandom::u32().unwrap_or(0))).await;
            tries += 1;
        }
    }
}

/// The pause after so many tries before: it doubles, and half of it is drawn, so that many servers do not come at once.
fn pause(tries: u32, draw: u32) -> Duration {
    let whole = FIRST_PAUSE.saturating_mul(2u32.saturating_pow(tries)).min(LONGEST_PAUSE);
    whole / 2 + (whole / 2).mul_f64(f64::from(draw) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound() {
        assert_eq!([pause(0, 0), pause(0, u32::MAX)], [Duration::from_millis(500), Duration::from_secs(1)]);
        assert_eq!(pause(3, u32::MAX), Duration::from_secs(8));
        assert!((0..100).all(|tries| pause(tries, u32::MAX) <= LONGEST_PAUSE));
        assert_eq!(pause(99, u32::MAX), LONGEST_PAUSE);
    }

    #[tokio::test]
    async fn a_full_queue_loses_what_comes_and_waits_for_nobody() {
        let settings = Settings {
            name: "pager".to_owned(),
            url: "http://127.0.0.1:9/".parse().unwrap(), // it is never got to
            secrets: vec![b"secret".to_vec()],
            kinds: Some(vec![Kind::Change]),
            authorities: None,
        };
        let board = Board::default();
        let mut hooks = Hooks::new(board.clone());
        hooks.follow(std::slice::from_ref(&settings));
        let event = |kind| Event::new(kind, "text", serde_json::json!({}), Timestamp(1));
        for _ in 0..QUEUE + 5 {
            hooks.tell(event(Kind::Change));
            hooks.tell(event(Kind::Breach)); // not wanted
        }
        assert_eq!(board.all()["pager"].lost.load(Ordering::Relaxed), 5);
        hooks.follow(&[]);
        assert!(hooks.is_empty() && board.all().is_empty());
    }
}
