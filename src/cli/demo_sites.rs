//! The tiny web sites of `waypost demo`: they say which site they are, and can be told to fail, so that a newcomer sees
//! a health check go down and come back. Nothing else uses them.
//!
//! `GET /healthz` answers 200 `ok`, every other path a line that names the site; all with the header `x-site`.
//! `POST /stop` makes everything answer 503, at all addresses of the site, until `POST /start`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::post;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// How long [`DemoSites::stop`] waits for requests under way.
const GRACE: Duration = Duration::from_secs(1);

/// One site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemoSite {
    /// What it calls itself: visible ASCII, as it stands in a header.
    pub name: String,
    /// Where it listens; port 0 takes a free one.
    pub addresses: Vec<SocketAddr>,
}

/// The sites at work. They end with it.
#[derive(Debug)]
pub struct DemoSites {
    /// By site in the order given, the addresses that are really listened on.
    pub listening: Vec<DemoSite>,
    stopping: CancellationToken,
    servers: Vec<AbortOnDropHandle<io::Result<()>>>,
}

/// Starts all `sites`, or none.
///
/// # Errors
/// The first address that can't be listened on, with the system's reason; a name that can't stand in a header.
pub async fn serve(sites: Vec<DemoSite>) -> io::Result<DemoSites> {
    let mut bound = Vec::new();
    let mut listening = Vec::new();
    for DemoSite { name, addresses } in sites {
        let header = HeaderValue::from_str(&name).map_err(|_| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{name:?} is no name of a demo site: visible ASCII only"),
            )
        })?;
        let stopped = Arc::new(AtomicBool::new(false));
        let mut taken = Vec::new();
        for wanted in addresses {
            let cannot = |error: io::Error| {
                io::Error::new(error.kind(), format!("demo site {name} cannot listen on {wanted}: {error}"))
            };
            let listener = TcpListener::bind(wanted).await.map_err(cannot)?;
            let address = listener.local_addr().map_err(cannot)?;
            taken.push(address);
            let place = Place { name: name.clone(), header: header.clone(), address, stopped: stopped.clone() };
            bound.push((listener, place));
        }
        listening.push(DemoSite { name, addresses: taken });
    }
    let stopping = CancellationToken::new();
    let servers = bound.into_iter().map(|(listener, place)| {
        let server = axum::serve(listener, routes(place)).with_graceful_shutdown(stopping.clone().cancelled_owned());
        AbortOnDropHandle::new(tokio::spawn(server.into_future()))
    });
    Ok(DemoSites { listening, servers: servers.collect(), stopping })
}

impl DemoSites {
    /// Takes no more connections, lets requests under way come to their end, for at most a second.
    pub async fn stop(self) {
        self.stopping.cancel();
        let all = async {
            for server in self.servers {
                let _ = server.await; // that it ended is all we want
            }
        };
        let _ = tokio::time::timeout(GRACE, all).await;
    }
}

/// One address of a site.
#[derive(Clone)]
struct Place {
    name: String,
    header: HeaderValue,
    address: SocketAddr,
    stopped: Arc<AtomicBool>,
}

fn routes(place: Place) -> Router {
    let switch = |stopped| post(async move |State(place): State<Place>| place.switch(stopped));
    Router::new()
        .route("/stop", switch(true))
        .route("/start", switch(false))
        .fallback(async |State(place): State<Place>, uri: Uri| place.page(uri.path()))
        .layer(middleware::from_fn_with_state(place.clone(), sign))
        .with_state(place)
}

impl Place {
    fn switch(&self, stopped: bool) -> String {
        self.stopped.store(stopped, Ordering::Relaxed);
        let state = if stopped { "stopped" } else { "started" };
        format!("{} is {state}\n", self.name)
    }

    fn page(&self, path: &str) -> (StatusCode, String) {
        if self.stopped.load(Ordering::Relaxed) {
            return (StatusCode::SERVICE_UNAVAILABLE, format!("{} is stopped, POST /start starts it\n", self.name));
        }
        match path {
            "/healthz" => (StatusCode::OK, "ok\n".to_owned()),
            _ => (StatusCode::OK, format!("This is {} at {}\n", self.name, self.address)),
        }
    }
}

async fn sign(State(place): State<Place>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().insert("x-site", place.header);
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    async fn ask(address: SocketAddr, method: &str, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    fn site(name: &str, addresses: &[&str]) -> DemoSite {
        DemoSite { name: name.to_owned(), addresses: addresses.iter().map(|a| a.parse().unwrap()).collect() }
    }

    #[tokio::test]
    async fn sites_name_themselves_and_stop_and_start() {
        let sites = vec![site("ec2", &["127.0.0.11:0", "127.0.0.13:0"]), site("dc1", &["127.0.0.12:0"])];
        let sites = serve(sites).await.unwrap();
        let (ec2, dc1) = (sites.listening[0].addresses.clone(), sites.listening[1].addresses[0]);

        let page = ask(ec2[0], "GET", "/any/path").await;
        assert!(page.starts_with("HTTP/1.1 200") && page.contains("x-site: ec2\r\n"), "{page}");
        assert!(page.ends_with(&format!("This is ec2 at {}\n", ec2[0])), "{page}");
        assert!(ask(dc1, "GET", "/healthz").await.ends_with("\r\n\r\nok\n"));

        assert!(ask(ec2[0], "POST", "/stop").await.ends_with("ec2 is stopped\n"));
        for (address, path) in [(ec2[0], "/healthz"), (ec2[1], "/")] {
            let page = ask(address, "GET", path).await;
            assert!(page.starts_with("HTTP/1.1 503") && page.contains("x-site: ec2\r\n"), "{page}");
        }
        assert!(ask(dc1, "GET", "/healthz").await.starts_with("HTTP/1.1 200"), "another site is not concerned");

        assert!(ask(ec2[1], "POST", "/start").await.ends_with("ec2 is started\n"));
        assert!(ask(ec2[0], "GET", "/healthz").await.starts_with("HTTP/1.1 200"));
        sites.stop().await;
        assert!(TcpStream::connect(dc1).await.is_err());
    }

    #[tokio::test]
    async fn an_address_in_use_is_named() {
        let first = serve(vec![site("ec2", &["127.0.0.11:0"])]).await.unwrap();
        let taken = first.listening[0].addresses[0];
        let refused = serve(vec![site("dc1", &[&taken.to_string()])]).await.unwrap_err();
        let expected = format!("demo site dc1 cannot listen on {taken}: Address already in use (os error 98)");
        assert_eq!(refused.to_string(), expected);
    }

    #[tokio::test]
    async fn an_idle_connection_does_not_keep_a_site_from_stopping() {
        let sites = serve(vec![site("ec2", &["127.0.0.11:0"])]).await.unwrap();
        let _idle = TcpStream::connect(sites.listening[0].addresses[0]).await.unwrap();
        tokio::time::timeout(5 * GRACE, sites.stop()).await.unwrap();
    }
}
