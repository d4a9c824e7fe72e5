//! What lies around every route: the token, a bound on time, one shape for all errors, a count.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};

use crate::api::forwarders;
use crate::api::metrics::Requests;
use crate::api::problem::Problem;
use crate::api::token::{self, Token};
use crate::control::forwarders::Forwarders;

/// Paths that need no token. They change nothing, and what they tell, monitoring must be able to read.
const OPEN: [&str; 4] = ["/", "/livez", "/readyz", "/metrics"];
/// For one request, from its head to its answer.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// What opens the API.
#[derive(Clone)]
pub(super) struct Keys {
    /// Opens all but what is a forwarder's own.
    pub admin: Token,
    /// Each has a token for its own two paths.
    pub forwarders: Arc<Forwarders>,
}

/// `routes` with all that lies around them.
pub(super) fn around(routes: Router, keys: Keys, requests: Requests) -> Router {
    // The last layer is the outermost: a refused request is counted too.
    routes
        .fallback(unknown)
        .method_not_allowed_fallback(not_allowed)
        .layer(middleware::from_fn(bounded))
        .layer(middleware::from_fn_with_state(keys, authorized))
        .layer(middleware::from_fn_with_state(requests, counted))
}

async fn unknown(uri: Uri) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("there is nothing at {}; GET / lists what there is", uri.path()))
}

async fn not_allowed(method: Method, uri: Uri) -> Problem {
    let told = format!("{method} is not for {}; the header Allow says what is", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, told)
}

async fn bounded(request: Request, next: Next) -> Response {
    tokio::time::timeout(TIME_LIMIT, next.run(request)).await.unwrap_or_else(|_| {
        let told = format!(
            "no answer within {} s. A change may have been made or may yet be: look at the status before repeating it",
            TIME_LIMIT.as_secs()
        );
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, told).into_response()
    })
}

async fn authorized(State(keys): State<Keys>, request: Request, next: Next) -> Response {
    if OPEN.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    let given = request.headers().get(header::AUTHORIZATION);
    if let Some(name) = forwarders::of_forwarder(request.uri().path()) {
        let opened = given.and_then(bearer).is_some_and(|given| {
            keys.forwarders.get(name).is_some_and(|member| member.is_opened_by(&token::sha256(given)))
        });
        if opened {
            return next.run(request).await;
        }
        let told =
            format!("this path is for the forwarder {name:?}, with the token that `waypost forwarder add` printed");
        tracing::debug!(forwarder = name, "a forwarder came without the right token");
        return Problem::new(StatusCode::UNAUTHORIZED, told).into_response();
    }
    let told = match given {
        None => "a token is needed: send the header Authorization: Bearer TOKEN, with the token from the token file",
        Some(given) if bearer(given).is_some_and(|given| keys.admin.is(given)) => return next.run(request).await,
        Some(_) => {
            "this is not the token: the header must be Authorization: Bearer TOKEN, with the one from the token file"
        }
    };
    tracing::debug!(path = request.uri().path(), "API request without the right token");
    Problem::new(StatusCode::UNAUTHORIZED, told).into_response()
}

/// The credentials of the scheme `Bearer`, whose name has no case (RFC 9110, 11.1).
fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, token) = value.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

async fn counted(State(requests): State<Requests>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = request.method().clone();
    let mut response = next.run(request).await;
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    requests.count(route.as_ref().map_or("other", MatchedPath::as_str), &method, response.status());
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::listen::listen;
    use axum::routing::{get, post};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio_util::sync::CancellationToken;

    const TOKEN: &str = "Authorization: Bearer 0123456789abcdef\r\n";

    struct Server {
        address: std::net::SocketAddr,
        requests: Requests,
        stop: CancellationToken,
        task: tokio::task::JoinHandle<()>,
    }

    fn keys() -> Keys {
        Keys { admin: Token::from_text("0123456789abcdef").unwrap(), forwarders: Arc::default() }
    }

    async fn start() -> Server {
        let routes = Router::new()
            .route("/", get(|| async { "hello" }))
            .route("/api/v1/thing/{name}", get(|| async { "a thing" }))
            .route("/api/v1/echo", post(|body: String| async { body }));
        let requests = Requests::default();
        let router = around(routes, keys(), requests.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn(listen(listener, None, router, stop.clone()));
        Server { address, requests, stop, task }
    }

    impl Server {
        /// Sends one request and reads until the server closes.
        async fn ask(&self, line: &str, headers: &str) -> String {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            let request = format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        }
    }

    #[tokio::test]
    async fn all_but_the_open_paths_want_the_token() {
        let server = start().await;
        assert!(server.ask("GET /", "").await.starts_with("HTTP/1.1 200 "));
        for path in ["/api/v1/thing/x", "/api/v1/nothing", "/elsewhere", "//", "/api/../metrics"] {
            let answer = server.ask(&format!("GET {path}"), "").await;
            assert!(answer.starts_with("HTTP/1.1 401 "), "{path}: {answer}");
            assert!(answer.contains("www-authenticate: Bearer"), "{answer}");
            assert!(answer.contains("content-type: application/problem+json"), "{answer}");
        }
        for wrong in ["Bearer 0123456789abcdeF", "Basic 0123456789abcdef", "0123456789abcdef", "Bearer", ""] {
            let answer = server.ask("GET /api/v1/thing/x", &format!("Authorization: {wrong}\r\n")).await;
            assert!(answer.starts_with("HTTP/1.1 401 "), "{wrong}: {answer}");
        }
        for right in ["Bearer 0123456789abcdef", "bearer  0123456789abcdef"] {
            let answer = server.ask("GET /api/v1/thing/x", &format!("Authorization: {right}\r\n")).await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{right}: {answer}");
        }
    }

    #[tokio::test]
    async fn the_token_is_checked_before_the_body_is_read() {
        let server = start().await;
        let answer = server.ask("POST /api/v1/echo", "Content-Length: 1000\r\nExpect: 100-continue\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 401 "), "no 100 Continue comes first: {answer}");
    }

    #[tokio::test]
    async fn what_is_not_there_is_told_in_the_shape_of_all_errors() {
        let server = start().await;
        let answer = server.ask("GET /api/v1/nothing", TOKEN).await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
        assert!(answer.contains("application/problem+json") && answer.contains("/api/v1/nothing"), "{answer}");
        let answer = server.ask("POST /api/v1/thing/x", TOKEN).await;
        assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
        assert!(answer.contains("allow: GET,HEAD") && answer.contains("application/problem+json"), "{answer}");
        let answer = server.ask("HEAD /api/v1/thing/x", TOKEN).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n"), "{answer}");
    }

    #[tokio::test]
    async fn requests_are_counted_by_route_not_by_path() {
        let server = start().await;
        server.ask("GET /api/v1/thing/x", TOKEN).await;
        server.ask("GET /api/v1/thing/y", TOKEN).await;
        server.ask("GET /api/v1/thing/z", "").await;
        server.ask("BREW /api/v1/pot", TOKEN).await;
        assert_eq!(server.requests.counted("/api/v1/thing/{name}", "GET", 200), 2);
        assert_eq!(server.requests.counted("/api/v1/thing/{name}", "GET", 401), 1);
        assert_eq!(server.requests.counted("other", "other", 404), 1);
    }

    #[tokio::test]
    async fn a_stop_lets_a_request_finish_and_ends_idle_connections() {
        let server = start().await;
        let _idle = TcpStream::connect(server.address).await.unwrap();
        let mut busy = TcpStream::connect(server.address).await.unwrap();
        let head = format!("POST /api/v1/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n{TOKEN}\r\nfo");
        busy.write_all(head.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        server.stop.cancel();
        tokio::time::sleep(Duration::from_millis(50)).await;
        busy.write_all(b"ur").await.unwrap();
        let mut answer = String::new();
        busy.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("four"), "{answer}");
        tokio::time::timeout(Duration::from_secs(5), server.task).await.unwrap().unwrap();
        assert!(TcpStream::connect(server.address).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_that_hangs_is_given_up() {
        let routes = Router::new().route("/", get(|| async { std::future::pending::<()>().await }));
        let router = around(routes, keys(), Requests::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn(listen(listener, None, router, stop.clone()));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        stop.cancel();
        task.await.unwrap();
    }
}
