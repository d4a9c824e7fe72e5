//! The way to a running server: where it is, the token, requests, and what can go wrong, in sentences.

use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use crate::api::{Problem, Token, TokenError};
use crate::control::message::Status;

/// The token itself, for those who keep it elsewhere than in a file. Not an argument: arguments show in `ps`.
const TOKEN_VARIABLE: &str = "WAYPOST_TOKEN";
/// For a whole exchange; a little longer than the server gives itself.
const TIME_LIMIT: Duration = Duration::from_secs(35);
/// The most octets of an answer.
const MAX_OCTETS: u64 = 64 << 20;

/// Where the server is and how to speak with it.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Server")]
pub struct ServerArgs {
    /// Where the server's API listens
    #[arg(long, global = true, value_name = "URL", env = "WAYPOST_API", hide_env_values = true)]
    #[arg(default_value = "http://127.0.0.1:5380")]
    pub api: String,
    /// The file with its token (or put the token itself into the variable WAYPOST_TOKEN)
    #[arg(long, global = true, value_name = "FILE", env = "WAYPOST_TOKEN_FILE", hide_env_values = true)]
    #[arg(default_value = "state/admin.token")]
    pub token_file: PathBuf,
    /// Certificates (PEM) that an https server's own may be signed by; left out: those that the system trusts
    #[arg(long, global = true, value_name = "FILE", env = "WAYPOST_CA", hide_env_values = true)]
    pub ca: Option<PathBuf>,
    /// Print the server's answer as it is
    #[arg(long, global = true)]
    pub json: bool,
}

/// What goes with every change.
#[derive(Clone, Debug, clap::Args)]
pub struct ChangeArgs {
    /// Why, for the audit
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Who, for the audit, instead of the token's name
    #[arg(long, value_name = "NAME", env = "WAYPOST_AUTHOR", hide_env_values = true)]
    pub author: Option<String>,
    /// Only if this is the generation; flip, revert and restore ask the server for it when it is left out
    #[arg(long, value_name = "GENERATION")]
    pub if_generation: Option<u64>,
}

/// Why a client subcommand did not do what it was told to.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The arguments make no sense; nothing was sent.
    #[error("{0}")]
    Usage(String),
    /// No token.
    #[error(
        "{0}\nRun this where the server was started, name its token file with --token-file, or put the token into \
         {TOKEN_VARIABLE}."
    )]
    Token(#[source] TokenError),
    /// `WAYPOST_TOKEN` holds none.
    #[error("what the variable {TOKEN_VARIABLE} holds is no token")]
    TokenVariable,
    /// No connection.
    #[error(
        "no server answers at {api}: {}\nIs `waypost serve` running, and does its [api] section listen there? --api \
         URL or the variable WAYPOST_API names another place.",
        sentence(source)
    )]
    Unreachable {
        /// Where it was looked for.
        api: String,
        /// What went wrong.
        source: Box<ureq::Error>,
    },
    /// The connection was there; the answer is not.
    #[error("the server at {api} did not finish its answer: {}{}", sentence(source), if *.change { LOST } else { "" })]
    Lost {
        /// Which server.
        api: String,
        /// What went wrong.
        source: Box<ureq::Error>,
        /// Whether a change was asked for.
        change: bool,
    },
    /// The server says no.
    #[error("{}", refusal(.0))]
    Refused(Box<Problem>),
    /// An answer that this program does not understand.
    #[error("what answers at {api} does not speak as this version of Waypost does: {told}")]
    Strange {
        /// Which server.
        api: String,
        /// What is strange.
        told: String,
    },
    /// The answer can't be printed.
    #[error("can't write the answer: {0}")]
    Output(io::Error),
}

const LOST: &str = "\nThe change may have been made all the same: `waypost status` and `waypost audit` tell.";

impl Failure {
    /// 2 for bad arguments, else 1.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(if matches!(self, Self::Usage(_)) { 2 } else { 1 })
    }
}

/// What the system said, without the name of the library's variant before it.
fn sentence(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Io(error) => error.to_string(),
        other => other.to_string(),
    }
}

/// A refusal in words: each mistake with its place, or else the one sentence.
fn refusal(problem: &Problem) -> String {
    let mut told = format!("the server refuses this ({} {})", problem.status, problem.title);
    if problem.errors.is_empty() {
        let _ = write!(told, ": {}", problem.detail);
    }
    for fault in &problem.errors {
        let place = if fault.pointer.is_empty() { String::new() } else { format!("{}: ", fault.pointer) };
        let _ = write!(told, "\n  {place}{}", fault.detail);
    }
    told
}

/// A server and the right to speak with it.
pub struct Client {
    agent: ureq::Agent,
    api: String,
    token: Token,
    json: bool,
}

impl ServerArgs {
    /// Finds the token. Nothing is sent yet.
    pub fn client(&self) -> Result<Client, Failure> {
        let token = match std::env::var(TOKEN_VARIABLE) {
            Ok(text) => Token::from_text(&text).ok_or(Failure::TokenVariable)?,
            Err(_) => Token::load(&self.token_file).map_err(Failure::Token)?,
        };
        Client::new(&self.api, self.ca.as_deref(), token, self.json)
    }
}

/// The certificates that a server's own may be signed by.
fn roots(ca: Option<&Path>) -> Result<Vec<Certificate<'static>>, Failure> {
    let bad = |told: String| Failure::Usage(told);
    let Some(file) = ca else {
        let system = rustls_native_certs::load_native_certs().certs;
        if system.is_empty() {
            return Err(bad("this system trusts no certificates: name the server's with --ca FILE".to_owned()));
        }
        return Ok(system.iter().map(|der| Certificate::from_der(der).to_owned()).collect());
    };
    let octets = std::fs::read(file).map_err(|e| bad(format!("{}: {e}", file.display())))?;
    let items = parse_pem(&octets).collect::<Result<Vec<_>, _>>();
    let items = items.map_err(|e| bad(format!("{}: {e}", file.display())))?;
    let certificates = items.into_iter().filter_map(|item| match item {
        PemItem::Certificate(certificate) => Some(certificate),
        _ => None,
    });
    let certificates: Vec<_> = certificates.collect();
    if certificates.is_empty() {
        return Err(bad(format!("{}: it holds no certificate in PEM", file.display())));
    }
    Ok(certificates)
}

fn tls(roots: Vec<Certificate<'static>>) -> TlsConfig {
    TlsConfig::builder()
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .build()
}

impl Client {
    fn new(api: &str, ca: Option<&Path>, token: Token, json: bool) -> Result<Self, Failure> {
        let api = api.trim_end_matches('/');
        let encrypted = api.starts_with("https://");
        if !encrypted && !api.starts_with("http://") {
            let told = format!("{api:?} is no address of an API: it begins with http:// or https://");
            return Err(Failure::Usage(told));
        }
        let roots = if encrypted { roots(ca)? } else { Vec::new() };
        // No proxy from the environment: the token is for the server alone.
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .tls_config(tls(roots))
            .timeout_global(Some(TIME_LIMIT))
            .user_agent(concat!("waypost/", env!("CARGO_PKG_VERSION")));
        Ok(Self { agent: config.build().new_agent(), api: api.to_owned(), token, json })
    }

    /// Asks for something.
    pub fn get(&self, path: &str) -> Result<Answer, Failure> {
        let request = self.request("GET", path).body(()).map_err(|e| self.odd_request(&e))?;
        self.understand(self.agent.run(request), false)
    }

    /// Asks for the status.
    pub fn status(&self) -> Result<Status, Failure> {
        self.get("/api/v1/status")?.read()
    }

    /// Asks for a change, on the condition that `how` says.
    pub fn change(&self, method: &str, path: &str, body: &impl Serialize, how: &ChangeArgs) -> Result<Answer, Failure> {
        let mut request = self.request(method, path).header("Content-Type", "application/json");
        if let Some(generation) = how.if_generation {
            request = request.header("If-Match", format!("\"{generation}\""));
        }
        if let Some(author) = &how.author {
            request = request.header("X-Waypost-Author", author.as_bytes());
        }
        let body = serde_json::to_vec(body).expect("requests have text keys only and write themselves");
        let request = request.body(body).map_err(|e| self.odd_request(&e))?;
        self.understand(self.agent.run(request), true)
    }

    /// Asks for a change that must name its generation: where the user has not, the one that the server has now. If somebody
    /// changes something in between, the server refuses.
    pub fn change_on_generation(&self, path: &str, body: &impl Serialize, how: &ChangeArgs) -> Result<Answer, Failure> {
        let generation = match how.if_generation {
            Some(generation) => generation,
            None => self.status()?.generation,
        };
        self.change("POST", path, body, &ChangeArgs { if_generation: Some(generation), ..how.clone() })
    }

    fn request(&self, method: &str, path: &str) -> ureq::http::request::Builder {
        ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.api))
            .header("Authorization", format!("Bearer {}", self.token.reveal()))
    }

    fn odd_request(&self, error: &ureq::http::Error) -> Failure {
        Failure::Usage(format!("this can't be asked of {}: {error}", self.api))
    }

    fn understand(
        &self,
        ran: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
        change: bool,
    ) -> Result<Answer, Failure> {
        let mut response = ran.map_err(|error| self.failed(error, change))?;
        let read = response.body_mut().with_config().limit(MAX_OCTETS).read_to_string();
        let text = read.map_err(|source| Failure::Lost { api: self.api.clone(), source: Box::new(source), change })?;
        if response.status().is_success() {
            return Ok(Answer { text, api: self.api.clone(), json: self.json });
        }
        match serde_json::from_str(&text) {
            Ok(problem) => Err(Failure::Refused(Box::new(problem))),
            Err(_) => Err(Failure::Strange { api: self.api.clone(), told: format!("HTTP {}", response.status()) }),
        }
    }

    fn failed(&self, error: ureq::Error, change: bool) -> Failure {
        let (api, unreachable) = (self.api.clone(), never_connected(&error));
        let source = Box::new(error);
        if unreachable { Failure::Unreachable { api, source } } else { Failure::Lost { api, source, change } }
    }
}

/// Whether the request surely never left.
fn never_connected(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Io(error) => matches!(
            error.kind(),
            io::ErrorKind::ConnectionRefused
                | io::ErrorKind::HostUnreachable
                | io::ErrorKind::NetworkUnreachable
                | io::ErrorKind::AddrNotAvailable
        ),
        ureq::Error::Timeout(timeout) => matches!(timeout, ureq::Timeout::Resolve | ureq::Timeout::Connect),
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed | ureq::Error::BadUri(_) => true,
        _ => false,
    }
}

/// What the server answered.
#[derive(Debug)]
pub struct Answer {
    text: String,
    api: String,
    json: bool,
}

impl Answer {
    /// The answer as data.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_str(&self.text)
            .map_err(|error| Failure::Strange { api: self.api.clone(), told: error.to_string() })
    }

    /// The answer as text to print: as it is with `--json`, else as `show` says it.
    pub fn told<T: DeserializeOwned>(&self, show: impl FnOnce(&T) -> String) -> Result<String, Failure> {
        if self.json { Ok(format!("{}\n", self.text.trim_end())) } else { Ok(show(&self.read()?)) }
    }
}

/// A text as one segment of a path, or as a value in a query string (RFC 3986, 2).
pub fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for octet in text.bytes() {
        if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
            encoded.push(octet.into());
        } else {
            let _ = write!(encoded, "%{octet:02X}");
        }
    }
    encoded
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread::JoinHandle;

    /// A server that gives these answers, one per connection, and a client of it. The thread gives the requests.
    pub fn canned(answers: Vec<(u16, String)>) -> (Client, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let api = format!("http://{}/", listener.local_addr().unwrap());
        let serving = std::thread::spawn(move || {
            let serve = |(status, body): (u16, String)| {
                let (mut stream, _) = listener.accept().unwrap();
                let request = receive(&mut stream);
                let head =
                    format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                stream.write_all((head + &body).as_bytes()).unwrap();
                request
            };
            answers.into_iter().map(serve).collect()
        });
        let token = Token::from_text("0123456789abcdef").unwrap();
        (Client::new(&api, None, token, false).unwrap(), serving)
    }

    fn receive(stream: &mut impl Read) -> String {
        let mut octets = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let n = stream.read(&mut buffer).unwrap();
            octets.extend_from_slice(&buffer[..n]);
            let text = String::from_utf8_lossy(&octets).into_owned();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|l| l.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if n == 0 || body.len() >= length.unwrap_or(0) {
                return text;
            }
        }
    }

    pub fn how(if_generation: Option<u64>) -> ChangeArgs {
        ChangeArgs { reason: None, author: Some("Zoë".to_owned()), if_generation }
    }

    #[test]
    fn a_change_goes_out_with_token_condition_and_author() {
        let (client, requests) = canned(vec![(200, "{}".to_owned())]);
        client.change("PUT", "/api/v1/x", &serde_json::json!({"at": null}), &how(Some(17))).unwrap();
        let request = requests.join().unwrap().remove(0);
        assert!(request.starts_with("PUT /api/v1/x HTTP/1.1\r\n"), "{request}");
        assert!(request.ends_with("\r\n\r\n{\"at\":null}"), "{request}");
        let lower = request.to_lowercase();
        for header in ["authorization: bearer 0123456789abcdef", "if-match: \"17\"", "x-waypost-author: zoë"] {
            assert!(lower.contains(header), "{header} is missing in {request}");
        }
    }

    #[test]
    fn a_refusal_is_told_with_each_mistake() {
        let problem = r#"{"type":"about:blank","title":"Bad Request","status":400,"detail":"a; b",
            "errors":[{"pointer":"/to","detail":"a"},{"pointer":"","detail":"b"}]}"#;
        let (client, _) = canned(vec![(400, problem.to_owned())]);
        let failure = client.get("/").unwrap_err();
        assert_eq!(failure.to_string(), "the server refuses this (400 Bad Request)\n  /to: a\n  b");
        let problem = r#"{"type":"about:blank","title":"Conflict","status":409,"detail":"it would leave nothing"}"#;
        let (client, _) = canned(vec![(409, problem.to_owned())]);
        let failure = client.get("/").unwrap_err();
        assert_eq!(failure.to_string(), "the server refuses this (409 Conflict): it would leave nothing");
    }

    #[test]
    fn nobody_there_is_told_with_the_place() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let token = Token::from_text("0123456789abcdef").unwrap();
        let client = Client::new(&format!("http://{free}"), None, token, false).unwrap();
        let failure = client.get("/api/v1/status").unwrap_err();
        assert!(matches!(failure, Failure::Unreachable { .. }), "{failure:?}");
        assert!(failure.to_string().starts_with(&format!("no server answers at http://{free}: ")), "{failure}");
    }

    #[test]
    fn a_lost_answer_to_a_change_is_not_taken_for_a_refusal() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let api = format!("http://{}", listener.local_addr().unwrap());
        let serving = std::thread::spawn(move || receive(&mut listener.accept().unwrap().0));
        let client = Client::new(&api, None, Token::from_text("0123456789abcdef").unwrap(), false).unwrap();
        let failure = client.change("POST", "/api/v1/flips", &(), &how(None)).unwrap_err();
        serving.join().unwrap();
        assert!(failure.to_string().contains("may have been made"), "{failure}");
    }

    #[test]
    fn another_program_is_not_taken_for_a_server() {
        let (client, _) = canned(vec![(200, "<html>".to_owned()), (404, "<html>".to_owned())]);
        assert!(matches!(client.status().unwrap_err(), Failure::Strange { .. }));
        assert!(matches!(client.status().unwrap_err(), Failure::Strange { .. }));
        let token = || Token::from_text("0123456789abcdef").unwrap();
        assert!(matches!(Client::new("127.0.0.1:5380", None, token(), false), Err(Failure::Usage(_))));
    }

    #[test]
    fn names_are_encoded() {
        assert_eq!(encoded("*.a/b c.example"), "%2A.a%2Fb%20c.example");
    }
}
