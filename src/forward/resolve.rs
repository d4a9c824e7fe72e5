//! Addresses of target names, kept for a while so that the resolver isn't asked for each connection.
//!
//! What always holds: an answer older than [`FRESH`] is asked for again; one lookup of a name is under way at a time;
//! where the resolver fails, the last answer goes on being used. Connections that are open are left alone.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::lookup_host;
use tokio::time::timeout;

/// The system's resolver doesn't tell the TTL; a name that moves is followed within this time of its TTL's end.
const FRESH: Duration = Duration::from_secs(10);

/// What is known of names.
#[derive(Default)]
pub(super) struct Names(Mutex<HashMap<String, Arc<tokio::sync::Mutex<Answer>>>>);

#[derive(Default)]
struct Answer {
    asked: Option<Instant>,
    addresses: Vec<IpAddr>,
}

impl Names {
    /// The addresses of `name`, in the resolver's order, with `port`; waits for the resolver for `patience` at most.
    ///
    /// # Errors
    /// The resolver's, when nothing is known of the name.
    pub(super) async fn addresses(&self, name: &str, port: u16, patience: Duration) -> io::Result<Vec<SocketAddr>> {
        let answer = self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_default().clone();
        let mut answer = answer.lock().await;
        if answer.asked.is_none_or(|asked| asked.elapsed() >= FRESH) {
            let asked = timeout(patience, lookup_host((name, port))).await;
            match asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(addresses) => answer.addresses = addresses.map(|a| a.ip()).collect(),
                Err(error) if answer.addresses.is_empty() => return Err(error),
                Err(error) => {
                    tracing::warn!(%name, %error, "the name can't be looked up; its last addresses go on being used");
                }
            }
            answer.asked = Some(Instant::now());
        }
        Ok(answer.addresses.iter().map(|&address| SocketAddr::new(address, port)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_is_asked_for_once_and_kept_when_the_resolver_fails() {
        let names = Names::default();
        let first = names.addresses("localhost", 80, Duration::from_secs(5)).await.unwrap();
        assert!(first.iter().all(|a| a.ip().is_loopback() && a.port() == 80) && !first.is_empty());
        let answer = names.0.lock().unwrap()["localhost"].clone();
        answer.lock().await.addresses = vec!["192.0.2.1".parse().unwrap()];
        let kept = names.addresses("localhost", 81, Duration::from_secs(5)).await.unwrap();
        assert_eq!(kept, ["192.0.2.1:81".parse().unwrap()]);
        answer.lock().await.asked = None;
        let asked = names.addresses("localhost", 80, Duration::from_secs(5)).await.unwrap();
        assert_eq!(asked, first);
        assert!(names.addresses("no-such-name.invalid", 80, Duration::from_secs(5)).await.is_err());
    }
}
