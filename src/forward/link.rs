//! The authority: its stream of what is wanted, and reports to it. Both go on for ever, with pauses that grow.
//!
//! What always holds: without an authority all goes on as it was told last, but for holds, which end with the stream; a
//! report that was not taken is sent again as it was, and what happens meanwhile is told in the next, so nothing piles up.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use super::connection::Shared;
use super::control::{Board, Post};
use super::settings::Authority;
use crate::pairing::{ALIVE, ALIVE_HELD, PATIENCE, Report, RuleReport, SOURCES_IN_REPORT, Said, Taken};

/// For a connection, and for the head of an answer.
const LIMIT: Duration = Duration::from_secs(10);
/// The first pause after a failure, and the longest.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_mins(1)];
/// Between two looks for news to report. Shorter than the authority keeps a connection that nobody uses.
const NEWS: Duration = Duration::from_secs(5);
/// The longest time without a report.
const QUIET: Duration = Duration::from_secs(30);
/// The longest line of a stream.
const LINE: usize = 8 << 20;

/// A connection to an authority, for as long as this is kept.
pub(super) struct Link {
    tasks: [tokio::task::JoinHandle<()>; 2],
    board: Board,
    shared: Arc<Shared>,
}

impl Link {
    /// Begins to follow an authority. To be called in a tokio runtime.
    pub(super) fn start(authority: Authority, board: Board, shared: Arc<Shared>) -> Self {
        if authority.url.starts_with("http://") {
            tracing::warn!(url = authority.url, "token and state go to and from the authority in clear");
        }
        let client = Arc::new(Client { authority, connector: Mutex::default() });
        let tasks = [
            tokio::spawn(follow(client.clone(), board.clone(), shared.clone())),
            tokio::spawn(report(client, board.clone(), shared.clone())),
        ];
        Self { tasks, board, shared }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        self.shared.orders.take_holds(&self.board, &[]);
    }
}

/// Why the authority can't be spoken with.
#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error("{0}")]
    Settings(String),
    #[error("{0}")]
    Connect(#[from] io::Error),
    #[error("the connection broke off: {0}")]
    Broken(#[from] hyper::Error),
    #[error("it does not answer in time")]
    Silent,
    #[error("it refuses: {0}")]
    Refused(String),
    #[error("it says what is not understood: {0}")]
    Strange(#[from] serde_json::Error),
    #[error("it ended the stream")]
    Ended,
}

/// Keeps the stream open.
async fn follow(client: Arc<Client>, board: Board, shared: Arc<Shared>) {
    let mut pauses = Pauses::default();
    loop {
        let Err(error) = stream(&client, &board, &shared, &mut pauses).await;
        shared.orders.take_holds(&board, &[]);
        if pauses.first() {
            tracing::warn!(url = client.authority.url, %error, "no authority: all goes on as it was told last");
        } else {
            tracing::debug!(url = client.authority.url, %error, "no authority yet");
        }
        sleep(pauses.next()).await;
    }
}

async fn stream(
    client: &Client,
    board: &Board,
    shared: &Arc<Shared>,
    pauses: &mut Pauses,
) -> Result<std::convert::Infallible, LinkError> {
    let mut connection = client.connect().await?;
    let answer = client.ask(&mut connection, Method::GET, "stream", Bytes::new()).await?;
    let mut body = answer.into_body();
    let mut pending = Vec::new();
    let mut held = false;
    loop {
        let patience = if held { ALIVE_HELD } else { ALIVE } * PATIENCE;
        let frame = timeout(patience, body.frame()).await.map_err(|_| LinkError::Silent)?;
        let Ok(octets) = frame.ok_or(LinkError::Ended)??.into_data() else { continue };
        pending.extend_from_slice(&octets);
        if pending.len() > LINE {
            return Err(LinkError::Settings(format!("a line has more than {LINE} octets")));
        }
        while let Some(end) = pending.iter().position(|&octet| octet == b'\n') {
            let said = serde_json::from_slice(&pending[..end])?;
            pending.drain(..=end);
            match said {
                Said::State(desired) => {
                    if !pauses.first() {
                        tracing::info!(url = client.authority.url, "the authority is there again");
                    }
                    *pauses = Pauses::default();
                    shared.orders.take(board, shared, desired).await;
                }
                Said::Holds(holds) => {
                    held = !holds.is_empty();
                    shared.orders.take_holds(board, &holds);
                }
                Said::Classes(classes) => shared.orders.take_classes(board, shared, classes).await,
                Said::Alive => {}
            }
        }
    }
}

/// Tells the authority of rules and sources.
async fn report(client: Arc<Client>, board: Board, shared: Arc<Shared>) {
    let mut pauses = Pauses::default();
    let mut connection = None;
    // Without random octets the clock does: it is only to differ from the run before.
    let run = getrandom::u64().unwrap_or_else(|_| super::counts::now_ms() as u64);
    let mut seq = 0;
    let mut pending: Option<Report> = None;
    let (mut look, mut told) = (Instant::now(), None::<Instant>);
    loop {
        let mut applied = false;
        tokio::select! {
            () = sleep_until(look) => {}
            () = shared.orders.applied.notified(), if pending.is_none() => applied = true,
        }
        let held = board.load().iter().any(|post| post.way.gate.count().held);
        look = Instant::now() + if held { ALIVE_HELD } else { NEWS };
        let report = pending.get_or_insert_with(|| {
            seq += 1;
            compose(run, seq, &board, &shared)
        });
        let quiet = told.is_some_and(|told| told.elapsed() < QUIET);
        let nothing_new = report.sources.is_empty() && !applied && !held;
        if quiet && nothing_new && pauses.first() {
            (pending, seq) = (None, seq - 1);
            continue;
        }
        let full = report.sources.len() == SOURCES_IN_REPORT;
        match send(&client, &mut connection, report).await {
            Ok(Taken { resend, .. }) => {
                (pending, told, pauses) = (None, Some(Instant::now()), Pauses::default());
                if resend {
                    shared.counts.tell_all_again();
                }
                if resend || full {
                    look = Instant::now();
                }
            }
            Err(error) => {
                connection = None;
                tracing::debug!(%error, "a report can't be sent: it is kept");
                look = Instant::now() + pauses.next();
            }
        }
    }
}

async fn send(client: &Client, connection: &mut Option<Connection>, report: &Report) -> Result<Taken, LinkError> {
    // The authority closes a connection that stood still for a while: that is no failure.
    let usable = connection.take().filter(|c| !c.sender.is_closed());
    let mut fresh = match usable {
        Some(usable) => usable,
        None => client.connect().await?,
    };
    let body = serde_json::to_vec(report)?;
    let answer = client.ask(&mut fresh, Method::POST, "report", body.into()).await?;
    let octets = timeout(LIMIT, answer.into_body().collect()).await.map_err(|_| LinkError::Silent)??.to_bytes();
    *connection = Some(fresh);
    Ok(serde_json::from_slice(&octets)?)
}

fn compose(run: u64, seq: u64, board: &Board, shared: &Shared) -> Report {
    let (applied, problems) = shared.orders.applied();
    let (sources, belongs) = shared.counts.news(SOURCES_IN_REPORT);
    let rule = |post: &Post| {
        let status = post.status();
        RuleReport {
            rule: status.rule,
            listen: status.listen,
            open: u64::try_from(status.open).unwrap_or(0),
            held: status.hold.held,
            waiting: status.hold.waiting,
            gave_up: status.hold.gave_up,
            refused: status.hold.refused,
            ladder: status.ladder,
            targets: status.targets.into_iter().map(|target| target.target).collect(),
        }
    };
    Report {
        run,
        seq,
        now_ms: super::counts::now_ms(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        applied,
        problems,
        rules: board.load().iter().map(rule).collect(),
        belongs,
        sources,
        others: shared.counts.others(),
    }
}

/// Where the authority is, and the right to speak with it.
struct Client {
    authority: Authority,
    /// Kept over connections, so that sessions are resumed; made anew after a failure.
    connector: Mutex<Option<TlsConnector>>,
}

/// An open connection; its task ends with it.
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    _task: AbortOnDropHandle<()>,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl Client {
    async fn connect(&self) -> Result<Connection, LinkError> {
        let opened = timeout(LIMIT, self.open()).await.unwrap_or(Err(LinkError::Silent));
        if opened.is_err() {
            *self.connector.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        let (sender, connection) = handshake(TokioIo::new(opened?)).await?;
        let task = tokio::spawn(async move {
            // What broke, the request under way is told.
            let _ = connection.await;
        });
        Ok(Connection { sender, _task: AbortOnDropHandle::new(task) })
    }

    async fn open(&self) -> Result<Box<dyn Stream>, LinkError> {
        let url = &self.authority.url;
        let uri: Uri = url.parse().map_err(|e| LinkError::Settings(format!("{url:?}: {e}")))?;
        let encrypted = uri.scheme_str() == Some("https");
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let port = uri.port_u16().unwrap_or(if encrypted { 443 } else { 80 });
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        if !encrypted {
            return Ok(Box::new(stream));
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|e| LinkError::Settings(format!("{host:?}: {e}")))?;
        Ok(Box::new(self.connector()?.connect(name, stream).await?))
    }

    fn connector(&self) -> Result<TlsConnector, LinkError> {
        let mut kept = self.connector.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connector) = &*kept {
            return Ok(connector.clone());
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| LinkError::Settings(e.to_string()))?
            .with_root_certificates(roots(self.authority.ca.as_deref()).map_err(LinkError::Settings)?)
            .with_no_client_auth();
        Ok(kept.insert(TlsConnector::from(Arc::new(config))).clone())
    }

    async fn ask(
        &self,
        connection: &mut Connection,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, LinkError> {
        let Authority { url, name, token_file, .. } = &self.authority;
        let token = std::fs::read_to_string(token_file)
            .map_err(|e| LinkError::Settings(format!("{}: {e}", token_file.display())))?;
        let host = url.split_once("://").map_or("", |(_, rest)| rest.trim_end_matches('/'));
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/v1/forwarders/{name}/{path}"))
            .header("host", host)
            .header("authorization", format!("Bearer {}", token.trim()))
            .body(Full::new(body))
            .map_err(|e| LinkError::Settings(format!("this can't be asked of {url}: {e}")))?;
        let sent = timeout(LIMIT, connection.sender.send_request(request)).await;
        let answer = sent.map_err(|_| LinkError::Silent)??;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let told = timeout(LIMIT, answer.into_body().collect()).await.map_err(|_| LinkError::Silent)??.to_bytes();
        let detail = serde_json::from_slice::<serde_json::Value>(&told).ok();
        let detail = detail.and_then(|told| told["detail"].as_str().map(ToOwned::to_owned)).unwrap_or_default();
        Err(LinkError::Refused(format!("{status}: {detail}")))
    }
}

/// The certificates that the authority's own may be signed by.
fn roots(ca: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let Some(file) = ca else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return if roots.is_empty() { Err("this system trusts no certificates: set ca".to_owned()) } else { Ok(roots) };
    };
    let told = |why: String| format!("{}: {why}", file.display());
    for certificate in CertificateDer::pem_file_iter(file).map_err(|e| told(e.to_string()))? {
        roots.add(certificate.map_err(|e| told(e.to_string()))?).map_err(|e| told(e.to_string()))?;
    }
    if roots.is_empty() { Err(told("it holds no certificate in PEM".to_owned())) } else { Ok(roots) }
}

/// How long to wait after each failure.
#[derive(Default)]
struct Pauses(u32);

impl Pauses {
    /// Whether nothing has failed yet.
    fn first(&self) -> bool {
        self.0 == 0
    }

    /// Twice as long each time, and by chance up to half as long again less: a thousand forwarders do not come back at once.
    fn next(&mut self) -> Duration {
        let [first, most] = PAUSES;
        let pause = (first * 2_u32.saturating_pow(self.0.min(16))).min(most);
        self.0 = self.0.saturating_add(1);
        let part = getrandom::u32().map_or(0.5, |draw| f64::from(draw) / f64::from(u32::MAX));
        pause.mul_f64(0.5 + part / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_minute_and_differ() {
        let mut pauses = Pauses::default();
        assert!(pauses.first());
        let some: Vec<_> = (0..40).map(|_| pauses.next()).collect();
        assert!(some[0] >= PAUSES[0] / 2 && some[0] <= PAUSES[0]);
        assert!(some[9..].iter().all(|pause| (PAUSES[1] / 2..=PAUSES[1]).contains(pause)));
        assert!(some[9..].windows(2).any(|two| two[0] != two[1]));
    }

    #[test]
    fn a_file_of_certificates_is_told_where_it_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        assert!(roots(Some(&file)).unwrap_err().contains("ca.pem"));
        std::fs::write(&file, "nothing").unwrap();
        assert!(roots(Some(&file)).unwrap_err().contains("no certificate"));
    }
}
