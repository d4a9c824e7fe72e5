//! The tasks that check: one for each different check, stopped when nobody needs it any more.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::error::SendError;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use super::check::Check;
use super::schedule::{Draws, next_start};
use super::{Report, Target};
use crate::dns::Name;
use crate::steering::health::Observation;
use crate::steering::pool::SiteName;

/// The probing of all targets. Stops when it is dropped.
#[derive(Debug)]
pub struct Probes {
    running: HashMap<Check, Running>,
    limit: Limit,
    seed: u64,
    reports: mpsc::Sender<Report>,
}

#[derive(Debug)]
struct Running {
    endpoints: watch::Sender<Vec<Endpoint>>,
    _task: AbortOnDropHandle<()>,
}

/// Whom a check is reported for.
type Endpoint = (Name, SiteName);

impl Probes {
    /// Starts to probe `targets`: each at once, then at its interval. At most `limit` (at least 1) addresses are asked at
    /// the same time, the others wait for their turn. `seed` decides how the checks are moved against each other.
    ///
    /// A full `reports` channel makes the checks wait; a closed one ends them. Needs a Tokio runtime.
    pub fn start(targets: Vec<Target>, limit: usize, seed: u64, reports: mpsc::Sender<Report>) -> Self {
        let mut probes = Self { running: HashMap::new(), limit: Limit::new(limit), seed, reports };
        probes.replace(targets);
        probes
    }

    /// Probes `targets` from now on. A check that some target still needs goes on undisturbed, and a target that joins
    /// it is reported what it saw last. Reports from before may still wait in the channel. Needs a Tokio runtime.
    pub fn replace(&mut self, targets: Vec<Target>) {
        let mut wanted: HashMap<Check, Vec<Endpoint>> = HashMap::new();
        for target in targets {
            if let Some(check) = Check::of(&target) {
                wanted.entry(check).or_default().push((target.pool, target.site));
            }
        }
        let mut before = std::mem::take(&mut self.running);
        for (check, endpoints) in wanted {
            let running = match before.remove(&check) {
                Some(running) => {
                    running.endpoints.send_replace(endpoints);
                    running
                }
                None => self.begin(check.clone(), endpoints),
            };
            self.running.insert(check, running);
        }
    }

    fn begin(&self, check: Check, endpoints: Vec<Endpoint>) -> Running {
        let mut own_seed = DefaultHasher::new(); // its keys are fixed: the same seed gives the same draws
        (self.seed, &check).hash(&mut own_seed);
        let draws = Draws(own_seed.finish());
        let (sender, endpoints) = watch::channel(endpoints);
        let (limit, reports) = (self.limit.clone(), self.reports.clone());
        let task = tokio::spawn(async move {
            let ask = || checked(&check, &limit);
            // It ends only when nobody reads the reports any more, which is no failure.
            let _ = check_forever(ask, check.interval, draws, endpoints, reports).await;
        });
        Running { endpoints: sender, _task: AbortOnDropHandle::new(task) }
    }
}

/// How many addresses may be asked at the same time.
#[derive(Clone, Debug)]
struct Limit {
    free: Arc<Semaphore>,
    most: u32,
}

impl Limit {
    fn new(most: usize) -> Self {
        let most = u32::try_from(most).unwrap_or(u32::MAX).clamp(1, 1 << 16);
        Self { free: Arc::new(Semaphore::new(most as usize)), most }
    }

    /// Waits until `addresses` more may be asked; an endpoint with more than may ever be asked at once has the turn
    /// when no other has.
    async fn turn(&self, addresses: usize) -> SemaphorePermit<'_> {
        let wanted = u32::try_from(addresses).unwrap_or(u32::MAX).min(self.most);
        self.free.acquire_many(wanted).await.expect("the semaphore is never closed")
    }
}

async fn checked(check: &Check, limit: &Limit) -> Checked {
    let _turn = limit.turn(check.addresses.len()).await;
    let started = Instant::now();
    let outcome = check.carry_out().await;
    Checked { started, outcome, took: started.elapsed() }
}

/// A check that was carried out.
struct Checked {
    started: Instant,
    outcome: io::Result<(Observation, String)>,
    took: Duration,
}

/// What is reported of one, and repeated to an endpoint that joins.
struct Seen {
    observation: Observation,
    detail: String,
    took: Duration,
}

impl Seen {
    fn by(&self, (pool, site): &Endpoint) -> Report {
        let Self { observation, detail, took } = self;
        let (pool, site, detail) = (pool.clone(), site.clone(), detail.clone());
        Report { pool, site, observation: *observation, detail, took: *took }
    }
}

/// Asks at once and then at each beat, reports for all of `endpoints`, until one of the channels is closed.
async fn check_forever<F: Future<Output = Checked>>(
    ask: impl Fn() -> F,
    interval: Duration,
    mut draws: Draws,
    mut endpoints: watch::Receiver<Vec<Endpoint>>,
    reports: mpsc::Sender<Report>,
) -> Result<(), SendError<Report>> {
    let mut last = None;
    loop {
        let Checked { started, outcome, took } = ask().await;
        let mut told = endpoints.borrow_and_update().clone();
        match outcome {
            Ok((observation, detail)) => {
                let seen = last.insert(Seen { observation, detail, took });
                for endpoint in &told {
                    reports.send(seen.by(endpoint)).await?;
                }
            }
            Err(error) => warn!(%error, "a health check could not be carried out: it counts as none"),
        }
        let due = next_start(started, Instant::now(), interval, draws.draw());
        loop {
            tokio::select! {
                () = sleep_until(due) => break,
                changed = endpoints.changed() => if changed.is_err() { return Ok(()) },
            }
            let now = endpoints.borrow_and_update().clone();
            if let Some(seen) = &last {
                for endpoint in now.iter().filter(|endpoint| !told.contains(endpoint)) {
                    reports.send(seen.by(endpoint)).await?;
                }
            }
            told = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::net::TcpListener;

    use super::*;
    use crate::probe::{Kind, Settings};
    use crate::steering::health::Thresholds;

    const SECOND: Duration = Duration::from_secs(1);

    fn endpoint(pool: &str, site: &str) -> Endpoint {
        (pool.parse().unwrap(), site.to_owned())
    }

    fn target(pool: &str, port: u16, interval: Duration) -> Target {
        let thresholds = Thresholds { rise: 2, fall: 3 };
        let probe = Settings { kind: Kind::Tcp { port }, interval, timeout: SECOND, thresholds };
        let addresses = vec![IpAddr::from(Ipv4Addr::LOCALHOST)];
        Target { pool: pool.parse().unwrap(), site: "ec2".to_owned(), addresses, probe }
    }

    /// A listener that counts the connections it is given.
    async fn counter() -> (u16, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let count = Arc::new(AtomicUsize::new(0));
        let counted = count.clone();
        tokio::spawn(async move {
            while listener.accept().await.is_ok() {
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        (port, count)
    }

    /// The pool of the next report.
    async fn pool(reports: &mut mpsc::Receiver<Report>) -> String {
        reports.recv().await.unwrap().pool.to_string()
    }

    /// Virtual time: when the checks started, of which the second takes 25 s and the others none.
    #[tokio::test(start_paused = true)]
    async fn the_first_check_is_at_once_and_a_slow_one_piles_nothing_up() {
        let began = Instant::now();
        let (number, starts) = (Cell::new(0), RefCell::new(Vec::new()));
        let ask = || async {
            let started = Instant::now();
            starts.borrow_mut().push(started);
            number.set(number.get() + 1);
            if number.get() == 2 {
                tokio::time::sleep(25 * SECOND).await;
            }
            Checked { started, outcome: Ok((Observation::Up, String::new())), took: started.elapsed() }
        };
        let (reports, mut received) = mpsc::channel(99);
        let (_keep, endpoints) = watch::channel(vec![endpoint("a.example", "ec2")]);
        let run = check_forever(ask, 10 * SECOND, Draws(7), endpoints, reports);
        tokio::time::timeout(100 * SECOND, run).await.unwrap_err();

        let starts = starts.into_inner();
        assert_eq!(starts[0], began);
        let gaps: Vec<_> = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
        // Of a beat at 30 s, moved by a tenth of an interval at most.
        assert!((28 * SECOND..=32 * SECOND).contains(&gaps[1]), "{gaps:?}");
        for gap in gaps.iter().enumerate().filter(|(i, _)| *i != 1).map(|(_, gap)| gap) {
            assert!((9 * SECOND..=11 * SECOND).contains(gap), "{gaps:?}");
        }
        let mut reported = 0;
        while received.try_recv().is_ok() {
            reported += 1;
        }
        assert_eq!(reported, starts.len());
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_that_joins_is_told_at_once_what_was_seen() {
        let ask = || async {
            Checked { started: Instant::now(), outcome: Ok((Observation::Down, "HTTP 503".to_owned())), took: SECOND }
        };
        let (reports, mut received) = mpsc::channel(99);
        let (a, b) = (endpoint("a.example", "ec2"), endpoint("b.example", "dc1"));
        let (change, endpoints) = watch::channel(vec![a.clone()]);
        tokio::join!(async { check_forever(ask, 10 * SECOND, Draws(7), endpoints, reports).await.unwrap() }, async {
            let began = Instant::now();
            assert_eq!(pool(&mut received).await, "a.example");
            change.send_replace(vec![a, b]);
            let report = received.recv().await.unwrap();
            let expected = (Observation::Down, "HTTP 503", SECOND);
            assert_eq!((report.observation, report.detail.as_str(), report.took), expected);
            assert_eq!((report.pool.to_string().as_str(), report.site.as_str()), ("b.example", "dc1"));
            assert_eq!(began.elapsed(), Duration::ZERO);
            let next = [pool(&mut received).await, pool(&mut received).await];
            assert_eq!(next, ["a.example", "b.example"]);
            assert!(began.elapsed() >= 9 * SECOND);
            drop(change); // ends the checks
        });
    }

    #[tokio::test(start_paused = true)]
    async fn what_our_side_lacks_is_not_reported() {
        let ask = || async {
            Checked { started: Instant::now(), outcome: Err(io::ErrorKind::OutOfMemory.into()), took: SECOND }
        };
        let (reports, mut received) = mpsc::channel(9);
        let (_keep, endpoints) = watch::channel(vec![endpoint("a.example", "ec2")]);
        let run = check_forever(ask, SECOND, Draws(7), endpoints, reports);
        tokio::time::timeout(10 * SECOND, run).await.unwrap_err();
        assert!(received.try_recv().is_err());
    }

    #[tokio::test]
    async fn what_is_asked_the_same_is_asked_once_and_reported_for_each() {
        let (port, asked) = counter().await;
        let (reports, mut received) = mpsc::channel(9);
        let mut stricter = target("b.example", port, 60 * SECOND);
        stricter.probe.thresholds.fall = 9;
        let targets = vec![target("a.example", port, 60 * SECOND), stricter];
        let probes = Probes::start(targets, 256, 1, reports);
        assert_eq!([pool(&mut received).await, pool(&mut received).await], ["a.example", "b.example"]);
        assert_eq!(probes.running.len(), 1);
        tokio::time::sleep(Duration::from_millis(30)).await;
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_reload_leaves_alone_what_is_unchanged_and_stops_what_is_gone() {
        let (port, asked) = counter().await;
        let (other, _) = counter().await;
        let (reports, mut received) = mpsc::channel(9);
        let kept = target("kept.example", port, 60 * SECOND);
        let gone = target("gone.example", other, Duration::from_millis(5));
        let mut probes = Probes::start(vec![kept.clone(), gone], 256, 1, reports);
        while pool(&mut received).await != "kept.example" {}

        let joins = Target { pool: "joins.example".parse().unwrap(), ..kept.clone() };
        let nowhere = Target { addresses: Vec::new(), pool: "nowhere.example".parse().unwrap(), ..kept.clone() };
        probes.replace(vec![kept, joins, nowhere]);
        while pool(&mut received).await != "joins.example" {}
        tokio::time::sleep(Duration::from_millis(30)).await;
        assert!(received.try_recv().is_err(), "only what is gone was due");
        assert_eq!(asked.load(Ordering::SeqCst), 1);

        drop(probes);
        assert!(received.recv().await.is_none(), "every task has let go of the channel");
    }

    #[tokio::test]
    async fn no_more_are_asked_at_once_than_allowed() {
        let limit = Limit::new(2);
        let both = limit.turn(9).await;
        assert!(tokio::time::timeout(Duration::from_millis(5), limit.turn(1)).await.is_err());
        drop(both);
        let _one = limit.turn(1).await;
        let _two = limit.turn(1).await;
        assert!(tokio::time::timeout(Duration::from_millis(5), limit.turn(1)).await.is_err());
    }
}
