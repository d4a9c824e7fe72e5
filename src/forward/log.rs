//! The log of connections, in rinetd's formats, written off the relay's path by a thread of its own.
//!
//! What always holds: a relay never waits for the log. A disk that is full or hangs loses lines, which are counted.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::tz::TimeZone;
use prometheus::IntCounter;
use tokio::sync::oneshot;

use super::settings::{LogFile, LogFormat, Rule};

/// Lines that may wait for the disk.
const WAITING: usize = 8192;
/// Octets that are written in one go.
const BATCH: usize = 64 * 1024;
/// How long the end waits for the last lines.
const LAST_LINES: Duration = Duration::from_secs(2);

/// Where relays hand in their lines.
pub(super) struct Log {
    sender: SyncSender<Message>,
    wanted: Arc<Wanted>,
    lost: IntCounter,
}

/// One line, before it is one.
pub(super) struct Entry {
    pub(super) at: jiff::Timestamp,
    /// `None` when accept(2) failed.
    pub(super) client: Option<IpAddr>,
    pub(super) rule: Arc<Rule>,
    /// Which of the rule's targets.
    pub(super) target: usize,
    /// Octets taken from the client.
    pub(super) up: u64,
    /// Octets taken from the target.
    pub(super) down: u64,
    /// The result, in rinetd's words.
    pub(super) result: &'static str,
}

enum Message {
    Line(Entry),
    /// Look at what is wanted.
    Look,
    End(oneshot::Sender<()>),
}

/// What file is wanted; counted up whenever it is to be opened (again).
#[derive(Default)]
struct Wanted {
    /// Whether there is one; apart from `file`, so that relays take no lock.
    on: AtomicBool,
    version: AtomicU64,
    file: Mutex<Option<LogFile>>,
}

impl Log {
    /// Starts the thread that writes to `file`, if there is one.
    ///
    /// # Errors
    /// That no thread could be started. A file that can't be opened is told in the log of events and tried again.
    pub(super) fn start(file: Option<LogFile>, lost: IntCounter) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(WAITING);
        let wanted = Arc::new(Wanted::default());
        let writer = Writer {
            wanted: wanted.clone(),
            version: 0,
            log: None,
            file: None,
            failed: false,
            torn: false,
            lost: lost.clone(),
        };
        std::thread::Builder::new().name("forward-log".to_owned()).spawn(move || writer.run(&receiver))?;
        let log = Self { sender, wanted, lost };
        log.write_to(file);
        Ok(log)
    }

    /// Hands in a line, if there is a file; lost, and counted so, when too many wait already.
    pub(super) fn line(&self, entry: impl FnOnce() -> Entry) {
        if self.wanted.on.load(Ordering::Relaxed) && self.sender.try_send(Message::Line(entry())).is_err() {
            self.lost.inc();
        }
    }

    /// Writes to another file from now on, or to the same one opened again.
    pub(super) fn write_to(&self, file: Option<LogFile>) {
        self.wanted.on.store(file.is_some(), Ordering::Relaxed);
        *self.wanted.file.lock().unwrap_or_else(PoisonError::into_inner) = file;
        self.reopen();
    }

    /// Opens the file again, as after it was moved away.
    pub(super) fn reopen(&self) {
        self.wanted.version.fetch_add(1, Ordering::Release);
        // When the queue is full, the writer looks before its next batch anyway.
        let _ = self.sender.try_send(Message::Look);
    }

    /// Waits until all lines are written, for a short time at most.
    pub(super) async fn end(&self) {
        let (done, written) = oneshot::channel();
        if self.sender.try_send(Message::End(done)).is_ok() {
            // Gone or too slow: there is nothing left to do about it.
            let _ = tokio::time::timeout(LAST_LINES, written).await;
        }
    }
}

struct Writer {
    wanted: Arc<Wanted>,
    version: u64,
    log: Option<LogFile>,
    file: Option<File>,
    /// The last try to open or write failed; said only once.
    failed: bool,
    /// The last line written is not whole.
    torn: bool,
    lost: IntCounter,
}

impl Writer {
    fn run(mut self, messages: &Receiver<Message>) {
        let zone = TimeZone::system();
        let mut batch = String::new();
        while let Ok(first) = messages.recv() {
            self.look();
            let mut ended = None;
            let mut next = Some(first);
            while let Some(message) = next.take() {
                match message {
                    Message::Line(entry) => self.add(&mut batch, &entry, &zone),
                    Message::Look => {}
                    Message::End(done) => ended = Some(done),
                }
                if batch.len() < BATCH && ended.is_none() {
                    next = messages.try_recv().ok();
                }
            }
            self.write(&batch);
            batch.clear();
            if let Some(done) = ended {
                // The one who asked may have stopped waiting.
                let _ = done.send(());
                return;
            }
        }
    }

    fn look(&mut self) {
        let version = self.wanted.version.load(Ordering::Acquire);
        if version != self.version {
            self.version = version;
            self.log.clone_from(&self.wanted.file.lock().unwrap_or_else(PoisonError::into_inner));
            self.file = None;
            self.failed = false;
            self.torn = false;
            self.open();
        }
    }

    fn open(&mut self) {
        let Some(log) = &self.log else { return };
        match File::options().append(true).create(true).open(&log.file) {
            Ok(file) => self.file = Some(file),
            Err(error) => {
                let path = log.file.clone();
                self.fail(&path, &error);
            }
        }
    }

    fn fail(&mut self, path: &Path, error: &io::Error) {
        if !std::mem::replace(&mut self.failed, true) {
            tracing::error!(file = %path.display(), %error, "connections can't be logged, lines are lost until it is mended");
        }
    }

    fn add(&self, batch: &mut String, entry: &Entry, zone: &TimeZone) {
        if let Some(log) = &self.log {
            line(batch, entry, log.format, zone);
        }
    }

    fn write(&mut self, batch: &str) {
        if batch.is_empty() {
            return;
        }
        if self.file.is_none() {
            self.open();
        }
        let lines = |octets: &[u8]| octets.split(|&b| b == b'\n').count() as u64 - 1;
        let mut rest = batch.as_bytes();
        let Some(file) = &mut self.file else {
            self.lost.inc_by(lines(rest));
            return;
        };
        let mut result = if self.torn { file.write_all(b"\n") } else { Ok(()) };
        self.torn &= result.is_err();
        while result.is_ok() && !rest.is_empty() {
            match file.write(rest) {
                Ok(0) => result = Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.torn = rest[count - 1] != b'\n';
                    rest = &rest[count..];
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => result = Err(e),
            }
        }
        match (result, &self.log) {
            (Ok(()), _) => self.failed = false,
            (Err(error), Some(log)) => {
                let path = log.file.clone();
                self.lost.inc_by(lines(rest));
                self.fail(&path, &error);
            }
            (Err(_), None) => {}
        }
    }
}

/// Appends one line as rinetd 0.73 writes it, down to the blank after the time.
fn line(out: &mut String, entry: &Entry, format: LogFormat, zone: &TimeZone) {
    let at = entry.at.to_zoned(zone.clone());
    let time = at.strftime("%d/%b/%Y:%H:%M:%S ");
    let client = entry.client.map_or_else(|| "?".to_owned(), |a| a.to_canonical().to_string());
    let (listen, target) = (&entry.rule.listen, &entry.rule.targets[entry.target].target);
    let (listen_port, up, down, result) = (listen.address.port(), entry.up, entry.down, entry.result);
    let written = match format {
        LogFormat::Tabs => writeln!(
            out,
            "{time}\t{client}\t{}\t{listen_port}\t{}\t{}\t{up}\t{down}\t{result}",
            listen.host, target.host, target.port
        ),
        LogFormat::Common => writeln!(
            out,
            "{client} - - [{time} {}] \"GET /rinetd-services/{}/{listen_port}/{}/{}/{result} HTTP/1.0\" 200 {down} - - - {up}",
            at.strftime("%z"),
            listen.host,
            target.host,
            target.port
        ),
    };
    written.expect("writing to a String does not fail");
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn entry() -> Entry {
        let listen: SocketAddr = "127.0.0.1:80".parse().unwrap();
        let target: SocketAddr = "10.0.0.1:8080".parse().unwrap();
        Entry {
            at: "2026-03-01T11:02:03Z".parse().unwrap(),
            client: Some("::ffff:192.0.2.7".parse().unwrap()),
            rule: Arc::new(Rule::new(listen.into(), target.into())),
            target: 0,
            up: 12,
            down: 345,
            result: "done-remote-closed",
        }
    }

    fn shown(format: LogFormat) -> String {
        let mut out = String::new();
        line(&mut out, &entry(), format, &TimeZone::fixed(jiff::tz::offset(-5)));
        out
    }

    #[test]
    fn lines_look_as_rinetd_writes_them() {
        assert_eq!(
            shown(LogFormat::Tabs),
            "01/Mar/2026:06:02:03 \t192.0.2.7\t127.0.0.1\t80\t10.0.0.1\t8080\t12\t345\tdone-remote-closed\n"
        );
        assert_eq!(
            shown(LogFormat::Common),
            "192.0.2.7 - - [01/Mar/2026:06:02:03  -0500] \
             \"GET /rinetd-services/127.0.0.1/80/10.0.0.1/8080/done-remote-closed HTTP/1.0\" 200 345 - - - 12\n"
        );
    }

    fn lost() -> IntCounter {
        IntCounter::new("lost", "lost").unwrap()
    }

    #[tokio::test]
    async fn a_file_that_was_moved_away_is_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let (file, moved) = (folder.path().join("log"), folder.path().join("log.1"));
        let log = Log::start(Some(LogFile { file: file.clone(), format: LogFormat::Tabs }), lost()).unwrap();
        log.line(entry);
        for _ in 0..200 {
            if std::fs::read_to_string(&file).is_ok_and(|t| t.lines().count() == 1) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        std::fs::rename(&file, &moved).unwrap();
        log.reopen();
        log.line(entry);
        log.line(entry);
        log.end().await;
        assert_eq!(std::fs::read_to_string(moved).unwrap().lines().count(), 1);
        assert_eq!(std::fs::read_to_string(file).unwrap().lines().count(), 2);
    }

    #[tokio::test]
    async fn a_full_disk_loses_lines_and_counts_them() {
        let lost = lost();
        let full = LogFile { file: "/dev/full".into(), format: LogFormat::Common };
        let log = Log::start(Some(full), lost.clone()).unwrap();
        log.line(entry);
        log.line(entry);
        log.end().await;
        assert_eq!(lost.get(), 2);
    }
}
