//! The tasks that check: one for each different check, stopped when nobody needs it any more. They share a thread of
//! their own, whose heart can be heard beating.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc::error::SendError;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;

use super::check::Check;
use super::failure::Failure;
use super::numbers::Numbers;
use super::places::{Places, patience};
use super::schedule::{Draws, next_start, spread};
use super::{Report, Subject, Target};
use crate::dns::Name;
use crate::steering::health::Observation;
use crate::steering::pool::SiteName;

/// How often the thread shows that it lives.
const BEAT: Duration = Duration::from_millis(500);
/// How long it may be silent, on a busy machine, before it counts as dead.
const SILENCE: Duration = Duration::from_secs(10);
/// Programs that run at the same time, at most: each is a process, not only a socket.
const COMMANDS: usize = 16;
/// So much nicer than the threads that answer queries (`nice(1)`).
const NICER: i32 = 5;

/// The probing of all targets. Stops when it is dropped.
#[derive(Debug)]
pub struct Probes {
    running: HashMap<Check, Running>,
    places: Places,
    commands: Places,
    seed: u64,
    reports: mpsc::Sender<Report>,
    numbers: Numbers,
    thread: Thread,
}

#[derive(Debug)]
struct Running {
    subscribers: watch::Sender<Vec<Subscriber>>,
    _task: AbortOnDropHandle<()>,
}

/// Whom a check is reported for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Subscriber {
    pool: Name,
    site: SiteName,
    probe_name: String,
}

impl Probes {
    /// Starts to probe `targets`: each at once, then at its interval. At most `at_once` (at least 2) checks are carried out
    /// at the same time, of targets that answer and of silent ones each a part; the others wait for their turn. `seed` decides how the checks are moved against each other.
    ///
    /// A full `reports` channel makes the checks wait; a closed one ends them.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn start(
        targets: Vec<Target>,
        at_once: usize,
        seed: u64,
        reports: mpsc::Sender<Report>,
        numbers: Numbers,
    ) -> io::Result<Self> {
        let (places, commands) = (Places::new(at_once), Places::new(COMMANDS));
        let mut probes =
            Self { running: HashMap::new(), places, commands, seed, reports, numbers, thread: Thread::start()? };
        probes.replace(targets);
        Ok(probes)
    }

    /// Probes `targets` from now on. A check that some target still needs goes on undisturbed, and a target that joins
    /// it is reported what it saw last. Reports from before may still wait in the channel.
    #[expect(
        clippy::mutable_key_type,
        reason = "what could change inside (TLS, octets) is no part of a check's equality"
    )]
    pub fn replace(&mut self, targets: Vec<Target>) {
        let mut wanted: HashMap<Check, Vec<Subscriber>> = HashMap::new();
        for target in targets {
            for check in Check::all_of(&target) {
                let (pool, site, probe_name) = (target.pool.clone(), target.site.clone(), target.probe_name.clone());
                wanted.entry(check).or_default().push(Subscriber { pool, site, probe_name });
            }
        }
        let mut before = std::mem::take(&mut self.running);
        for (check, subscribers) in wanted {
            let running = match before.remove(&check) {
                Some(running) => {
                    running.subscribers.send_replace(subscribers);
                    running
                }
                None => self.begin(check.clone(), subscribers),
            };
            self.running.insert(check, running);
        }
        self.numbers.follow(self.running.len());
    }

    /// Whether checks go on. Where not, nothing is reported any more.
    pub fn is_alive(&self) -> bool {
        self.thread.is_alive()
    }

    fn begin(&self, check: Check, subscribers: Vec<Subscriber>) -> Running {
        let mut own_seed = DefaultHasher::new(); // its keys are fixed: the same seed gives the same draws
        (self.seed, &check).hash(&mut own_seed);
        let draws = Draws(own_seed.finish());
        let (sender, subscribers) = watch::channel(subscribers);
        let places = if check.is_command() { &self.commands } else { &self.places };
        let (places, reports, numbers) = (places.clone(), self.reports.clone(), self.numbers.clone());
        let task = self.thread.runtime.spawn(async move {
            let (interval, subject) = (check.interval, check.subject());
            let check = Arc::new(check);
            let ask = |turn, probe: String| checked(check.clone(), places.clone(), numbers.clone(), probe, turn);
            // It ends only when nobody reads the reports any more, which is no failure.
            _ = check_forever(ask, interval, subject, draws, subscribers, reports).await;
        });
        Running { subscribers: sender, _task: AbortOnDropHandle::new(task) }
    }
}

/// The thread that checks run on.
#[derive(Debug)]
struct Thread {
    runtime: tokio::runtime::Handle,
    /// When it was last heard, in milliseconds since `epoch`.
    beat: Arc<AtomicU64>,
    epoch: Instant,
    handle: JoinHandle<()>,
    _stop: DropGuard,
}

impl Thread {
    fn start() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (beat, epoch, stop) = (Arc::new(AtomicU64::new(0)), Instant::now(), CancellationToken::new());
        let (beats, stopped) = (beat.clone(), stop.clone());
        let run = move || {
            // Linux' niceness is each thread's own. Where it is refused, checks are as nice as all else.
            _ = rustix::process::nice(NICER);
            runtime.block_on(stopped.run_until_cancelled(async {
                loop {
                    beats.store(epoch.elapsed().as_millis() as u64, Ordering::Relaxed);
                    tokio::time::sleep(BEAT).await;
                }
            }));
        };
        let thread = std::thread::Builder::new().name("probes".to_owned()).spawn(run)?;
        Ok(Self { runtime: handle, beat, epoch, handle: thread, _stop: stop.drop_guard() })
    }

    fn is_alive(&self) -> bool {
        let heard = Duration::from_millis(self.beat.load(Ordering::Relaxed));
        !self.handle.is_finished() && self.epoch.elapsed().saturating_sub(heard) < SILENCE
    }
}

/// When a check is to be made, and what the one before came to.
#[derive(Clone, Copy, Debug)]
struct Turn {
    due: Instant,
    was_silent: bool,
}

/// Carries out a check as soon as it is its turn.
async fn checked(check: Arc<Check>, places: Places, numbers: Numbers, probe: String, turn: Turn) -> Checked {
    let place = places.take(turn.was_silent).await;
    let started = Instant::now();
    let late = started.saturating_duration_since(turn.due) > check.interval / 10;
    let in_flight = numbers.begin(&probe, late);
    let patience = patience(check.timeout);
    // In a task of its own: a panic is an outcome like others.
    let task = AbortOnDropHandle::new(tokio::spawn(async move { check.carry_out().await }));
    let outcome = place.hold(patience, task).await.unwrap_or_else(|broken| Err(Failure::Broken(broken)));
    drop(in_flight);
    let took = started.elapsed();
    let (observation, detail) = match outcome {
        Ok(detail) => (Some(Observation::Up), detail),
        Err(failure) if failure.is_the_endpoints() => (Some(Observation::Down), failure.to_string()),
        Err(failure) => {
            if failure.is_ours() {
                tracing::warn!(probe, %failure, "a health check could not be carried out: it counts as none");
            }
            (None, failure.to_string())
        }
    };
    numbers.end(&probe, observation, took);
    let silent = observation != Some(Observation::Up) && took > patience;
    Checked { started, silent, seen: Seen { observation, detail, took } }
}

/// A check that was carried out.
struct Checked {
    started: Instant,
    /// Whether it held its place for long, and to no purpose.
    silent: bool,
    seen: Seen,
}

/// What is reported of one, and repeated to an endpoint that joins.
struct Seen {
    observation: Option<Observation>,
    detail: String,
    took: Duration,
}

impl Seen {
    fn by(&self, subject: Subject, endpoint: &Subscriber) -> Report {
        let (pool, site, detail) = (endpoint.pool.clone(), endpoint.site.clone(), self.detail.clone());
        Report { pool, site, subject, observation: self.observation, detail, took: self.took }
    }
}

/// Asks at once, then somewhere in the interval after that, so that checks which began together spread, then at each beat.
/// Reports for all of `subscribers`, until one of the channels is closed.
async fn check_forever<F: Future<Output = Checked>>(
    ask: impl Fn(Turn, String) -> F,
    interval: Duration,
    subject: Subject,
    mut draws: Draws,
    mut subscribers: watch::Receiver<Vec<Subscriber>>,
    reports: mpsc::Sender<Report>,
) -> Result<(), SendError<Report>> {
    let mut turn = Turn { due: Instant::now(), was_silent: false };
    let mut first = true;
    loop {
        let probe = subscribers.borrow().first().map_or_else(String::new, |s| s.probe_name.clone());
        let Checked { started, silent, seen } = ask(turn, probe).await;
        let mut told = subscribers.borrow_and_update().clone();
        for endpoint in &told {
            reports.send(seen.by(subject, endpoint)).await?;
        }
        let due = if std::mem::take(&mut first) {
            spread(started, Instant::now(), interval, draws.draw())
        } else {
            next_start(started, Instant::now(), interval, draws.draw())
        };
        turn = Turn { due, was_silent: silent };
        loop {
            tokio::select! {
                () = sleep_until(due) => break,
                changed = subscribers.changed() => if changed.is_err() { return Ok(()) },
            }
            let now = subscribers.borrow_and_update().clone();
            for endpoint in now.iter().filter(|endpoint| !told.contains(endpoint)) {
                reports.send(seen.by(subject, endpoint)).await?;
            }
            told = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::atomic::AtomicUsize;

    use tokio::net::TcpListener;

    use super::*;
    use crate::probe::{Kind, Settings, tcp, tests::settings};

    const SECOND: Duration = Duration::from_secs(1);
    const SUBJECT: Subject = Subject::Address(IpAddr::V4(Ipv4Addr::LOCALHOST));

    fn subscriber(pool: &str, site: &str) -> Subscriber {
        Subscriber { pool: pool.parse().unwrap(), site: site.to_owned(), probe_name: "p".to_owned() }
    }

    fn target(pool: &str, port: u16, interval: Duration) -> Target {
        let kind = Kind::Tcp(tcp::Settings { port, tls: None, host: None, send: None, expect: None });
        let probe = Settings { interval, timeout: SECOND, ..settings(kind) };
        let addresses = vec![IpAddr::from(Ipv4Addr::LOCALHOST)];
        let (pool, site, probe_name) = (pool.parse().unwrap(), "ec2".to_owned(), "p".to_owned());
        Target { pool, site, addresses, probe_name, probe }
    }

    fn start(targets: Vec<Target>, reports: mpsc::Sender<Report>) -> Probes {
        Probes::start(targets, 256, 1, reports, Numbers::default()).unwrap()
    }

    fn saw(observation: Option<Observation>, detail: &str, took: Duration) -> Seen {
        Seen { observation, detail: detail.to_owned(), took }
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

    /// Virtual time: when the checks started, of which the third takes 25 s and the others none.
    #[tokio::test(start_paused = true)]
    async fn the_first_check_is_at_once_and_a_slow_one_piles_nothing_up() {
        let began = Instant::now();
        let (number, starts) = (Cell::new(0), RefCell::new(Vec::new()));
        let ask = |_, _| async {
            let started = Instant::now();
            starts.borrow_mut().push(started);
            number.set(number.get() + 1);
            if number.get() == 3 {
                tokio::time::sleep(25 * SECOND).await;
            }
            Checked { started, silent: false, seen: saw(Some(Observation::Up), "", started.elapsed()) }
        };
        let (reports, mut received) = mpsc::channel(99);
        let (_keep, subscribers) = watch::channel(vec![subscriber("a.example", "ec2")]);
        let run = check_forever(ask, 10 * SECOND, SUBJECT, Draws(7), subscribers, reports);
        tokio::time::timeout(100 * SECOND, run).await.unwrap_err();

        let starts = starts.into_inner();
        assert_eq!(starts[0], began);
        let gaps: Vec<_> = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps[0] < 10 * SECOND, "{gaps:?}");
        // Of a beat at 30 s, moved by a tenth of an interval at most.
        assert!((28 * SECOND..=32 * SECOND).contains(&gaps[2]), "{gaps:?}");
        for gap in gaps.iter().enumerate().filter(|(i, _)| ![0, 2].contains(i)).map(|(_, gap)| gap) {
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
        let ask = |_, _| async {
            let seen = saw(Some(Observation::Down), "status 503", SECOND);
            Checked { started: Instant::now(), silent: false, seen }
        };
        let (reports, mut received) = mpsc::channel(99);
        let (a, b) = (subscriber("a.example", "ec2"), subscriber("b.example", "dc1"));
        let (change, subscribers) = watch::channel(vec![a.clone()]);
        let run = check_forever(ask, 10 * SECOND, SUBJECT, Draws(7), subscribers, reports);
        tokio::join!(async { run.await.unwrap() }, async {
            assert_eq!(pool(&mut received).await, "a.example");
            let began = Instant::now();
            change.send_replace(vec![a, b]);
            let report = received.recv().await.unwrap();
            let expected = (Some(Observation::Down), "status 503", SECOND, SUBJECT);
            assert_eq!((report.observation, report.detail.as_str(), report.took, report.subject), expected);
            assert_eq!((report.pool.to_string().as_str(), report.site.as_str()), ("b.example", "dc1"));
            assert_eq!(began.elapsed(), Duration::ZERO);
            let next = [pool(&mut received).await, pool(&mut received).await];
            assert_eq!(next, ["a.example", "b.example"]);
            drop(change); // ends the checks
        });
    }

    #[tokio::test]
    async fn what_is_asked_the_same_is_asked_once_and_reported_for_each() {
        let (port, asked) = counter().await;
        let (reports, mut received) = mpsc::channel(9);
        let mut stricter = target("b.example", port, 60 * SECOND);
        stricter.probe.thresholds.fall = 9;
        let targets = vec![target("a.example", port, 60 * SECOND), stricter];
        let probes = start(targets, reports);
        assert_eq!([pool(&mut received).await, pool(&mut received).await], ["a.example", "b.example"]);
        assert_eq!(probes.running.len(), 1);
        tokio::time::sleep(Duration::from_millis(30)).await;
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn each_address_is_reported_for_itself() {
        let (port, _) = counter().await;
        let (reports, mut received) = mpsc::channel(9);
        let mut both = target("a.example", port, 60 * SECOND);
        both.addresses.push("127.98.0.2".parse().unwrap());
        let subjects = both.subjects();
        let _probes = start(vec![both], reports);
        let mut seen = [received.recv().await.unwrap(), received.recv().await.unwrap()];
        seen.sort_by_key(|report| report.subject);
        assert_eq!(seen.iter().map(|r| r.subject).collect::<Vec<_>>(), subjects);
        let told: Vec<_> = seen.iter().map(|r| (r.observation.unwrap(), r.detail.as_str())).collect();
        assert_eq!(told, [(Observation::Up, "connected"), (Observation::Down, "connection refused")]);
    }

    #[tokio::test]
    async fn a_reload_leaves_alone_what_is_unchanged_and_stops_what_is_gone() {
        let (port, asked) = counter().await;
        let (other, _) = counter().await;
        let (reports, mut received) = mpsc::channel(9);
        let kept = target("kept.example", port, 3600 * SECOND);
        let gone = target("gone.example", other, Duration::from_millis(5));
        let mut probes = start(vec![kept.clone(), gone], reports);
        while pool(&mut received).await != "kept.example" {}

        let joins = Target { pool: "joins.example".parse().unwrap(), ..kept.clone() };
        let nowhere = Target { addresses: Vec::new(), pool: "nowhere.example".parse().unwrap(), ..kept.clone() };
        probes.replace(vec![kept, joins, nowhere]);
        while pool(&mut received).await != "joins.example" {}
        // What was on its way when it was stopped.
        while tokio::time::timeout(Duration::from_millis(30), received.recv()).await.is_ok() {}
        assert!(received.try_recv().is_err(), "only what is gone was due");
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        assert!(probes.is_alive());

        drop(probes);
        assert!(received.recv().await.is_none(), "every task has let go of the channel");
    }

    #[tokio::test]
    async fn no_more_are_asked_at_once_than_allowed() {
        let places = Places::new(2); // one of them for those who answer
        let check = || Arc::new(Check::all_of(&target("a.example", 1, SECOND)).remove(0));
        let taken = places.take(false).await;
        let (numbers, turn) = (Numbers::default(), Turn { due: Instant::now(), was_silent: false });
        let waiting = checked(check(), places.clone(), numbers.clone(), "p".to_owned(), turn);
        assert!(tokio::time::timeout(Duration::from_millis(5), waiting).await.is_err());
        drop(taken);
        let Checked { seen, silent, .. } = checked(check(), places, numbers, "p".to_owned(), turn).await;
        assert!(!silent, "a refusal is an answer");
        assert_eq!((seen.observation, seen.detail.as_str()), (Some(Observation::Down), "connection refused"));
    }

    /// Virtual time, a tenth of 10,000 targets and of the places that there are for them: half of the targets fall silent at
    /// 20 s. How often one that answers is asked does not change, neither in that moment nor while it lasts.
    #[tokio::test(start_paused = true)]
    async fn targets_that_are_silent_do_not_delay_those_that_answer() {
        const TARGETS: u64 = 1000;
        let (places, began, interval, timeout) = (Places::new(410), Instant::now(), 5 * SECOND, 2 * SECOND);
        let (reports, mut received) = mpsc::channel(1);
        let starts = Arc::new(std::sync::Mutex::new(vec![Vec::new(); TARGETS as usize]));
        let (_keep, subscribers) = watch::channel(Vec::new());
        let mut running = Vec::new();
        for number in 0..TARGETS {
            let (places, starts, subscribers) = (places.clone(), starts.clone(), subscribers.clone());
            let ask = move |turn: Turn, _| {
                let (places, starts) = (places.clone(), starts.clone());
                async move {
                    let place = places.take(turn.was_silent).await;
                    let started = Instant::now();
                    starts.lock().unwrap()[number as usize].push(started);
                    let silent = number % 2 == 0 && began.elapsed() > 20 * SECOND;
                    let takes = if silent { timeout } else { Duration::from_millis(30) };
                    place.hold(patience(timeout), tokio::time::sleep(takes)).await;
                    Checked { started, silent, seen: saw(Some(Observation::Up), "", takes) }
                }
            };
            let run = check_forever(ask, interval, SUBJECT, Draws(number), subscribers, reports.clone());
            running.push(AbortOnDropHandle::new(tokio::spawn(run)));
        }
        _ = tokio::time::timeout(80 * SECOND, received.recv()).await;
        drop(running);

        let starts = starts.lock().unwrap();
        let gaps = |number: usize| {
            let settled = starts[number].iter().filter(|at| **at - began > 10 * SECOND).collect::<Vec<_>>();
            settled.windows(2).map(|pair| *pair[1] - *pair[0]).max().unwrap()
        };
        let longest = |parity| (parity..TARGETS as usize).step_by(2).map(gaps).max().unwrap();
        // The next start is at most a tenth later; the rest is what it waits for its turn.
        assert!(longest(1) < interval * 115 / 100, "{:?}", longest(1));
        assert!(longest(0) < 2 * interval, "the silent ones are asked, too: {:?}", longest(0));
    }

    #[tokio::test]
    async fn a_thread_that_is_gone_is_noticed() {
        let (reports, _received) = mpsc::channel(9);
        let mut probes = start(Vec::new(), reports);
        assert!(probes.is_alive());
        let other = Thread::start().unwrap();
        probes.thread = Thread { handle: std::thread::spawn(|| {}), ..other };
        while !probes.thread.handle.is_finished() {
            tokio::task::yield_now().await;
        }
        assert!(!probes.is_alive());
    }
}
