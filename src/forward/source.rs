//! What is known of one source: when it came, how often, for what. Counting octets takes no lock.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::pairing::SourceReport;

/// Ports and hosts that are remembered of one source.
const SEEN: usize = 8;

/// What is known of one source address. Instants are milliseconds since 1970; 0 until the first connection.
#[derive(Default)]
pub(super) struct Source {
    connections: AtomicU64,
    open: AtomicU64,
    up: AtomicU64,
    down: AtomicU64,
    first_seen_ms: AtomicI64,
    last_seen_ms: AtomicI64,
    /// When its newest connection came.
    opened_ms: AtomicI64,
    /// Whether nothing has changed since it was told.
    told: AtomicBool,
    seen: Mutex<Seen>,
}

/// What is noted of a source once for each connection.
#[derive(Default)]
struct Seen {
    ports: Vec<u16>,
    /// The last one last.
    hosts: Vec<Box<str>>,
    /// Open connections, by the second (since 1970) in which they began.
    open_since: BTreeMap<u32, u32>,
}

impl Seen {
    fn host(&mut self, host: &str) {
        self.hosts.retain(|known| **known != *host);
        if self.hosts.len() == SEEN {
            self.hosts.remove(0);
        }
        self.hosts.push(host.into());
    }
}

impl Source {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connections so far.
    pub(super) fn connections(&self) -> u64 {
        self.connections.load(Relaxed)
    }

    /// Whether it has changed since it was told; it counts as told now.
    pub(super) fn is_news(&self) -> bool {
        !self.told.swap(true, Relaxed)
    }

    /// It doesn't count as told any more.
    pub(super) fn forget_told(&self) {
        self.told.store(false, Relaxed);
    }

    /// Notes the host that a connection wants.
    pub(super) fn wants(&self, host: &str) {
        self.seen().host(host);
    }

    /// Notes a new connection.
    pub(super) fn opened(&self, port: u16, now_ms: i64) {
        {
            let mut seen = self.seen();
            if !seen.ports.contains(&port) && seen.ports.len() < SEEN {
                seen.ports.push(port);
            }
            *seen.open_since.entry(second(now_ms)).or_default() += 1;
        }
        let _ = self.first_seen_ms.compare_exchange(0, now_ms, Relaxed, Relaxed);
        self.last_seen_ms.store(now_ms, Relaxed);
        self.opened_ms.store(now_ms, Relaxed);
        self.connections.fetch_add(1, Relaxed);
        self.open.fetch_add(1, Relaxed);
        self.told.store(false, Relaxed);
    }

    pub(super) fn moved(&self, up: u64, down: u64, now_ms: i64) {
        self.up.fetch_add(up, Relaxed);
        self.down.fetch_add(down, Relaxed);
        self.last_seen_ms.store(now_ms, Relaxed);
        self.told.store(false, Relaxed);
    }

    /// Notes the end of a connection that was opened at `opened_ms`.
    pub(super) fn close(&self, opened_ms: i64, now_ms: i64) {
        if let Entry::Occupied(mut since) = self.seen().open_since.entry(second(opened_ms)) {
            *since.get_mut() -= 1;
            if *since.get() == 0 {
                since.remove();
            }
        }
        self.open.fetch_sub(1, Relaxed);
        self.last_seen_ms.store(now_ms, Relaxed);
        self.told.store(false, Relaxed);
    }

    pub(super) fn report(&self, address: IpAddr, belongs: Option<u16>) -> SourceReport {
        let seen = self.seen();
        SourceReport {
            address,
            belongs,
            connections: self.connections.load(Relaxed),
            open: self.open.load(Relaxed),
            bytes_up: self.up.load(Relaxed),
            bytes_down: self.down.load(Relaxed),
            first_ms: self.first_seen_ms.load(Relaxed),
            last_ms: self.last_seen_ms.load(Relaxed),
            opened_ms: self.opened_ms.load(Relaxed),
            oldest_ms: seen.open_since.keys().next().map(|&second| i64::from(second) * 1000),
            ports: seen.ports.clone(),
            hosts: seen.hosts.iter().rev().map(ToString::to_string).collect(),
        }
    }

    pub(super) fn count(&self, source: String, pool: Option<String>) -> SourceCount {
        let seen = self.seen();
        SourceCount {
            ports: seen.ports.clone(),
            hosts: seen.hosts.iter().rev().map(ToString::to_string).collect(),
            oldest_open: seen.open_since.keys().next().map(|&second| instant(i64::from(second) * 1000)),
            source,
            pool,
            connections: self.connections.load(Relaxed),
            open: self.open.load(Relaxed),
            bytes_up: self.up.load(Relaxed),
            bytes_down: self.down.load(Relaxed),
            first_seen: instant(self.first_seen_ms.load(Relaxed)),
            last_seen: instant(self.last_seen_ms.load(Relaxed)),
        }
    }
}

/// What is known of a source, at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SourceCount {
    /// Its address, IPv4 also where a dual-stack listener saw it mapped; or `others`.
    pub source: String,
    /// The pool that the rules belong to by which it came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Connections that were let in, open ones with them.
    pub connections: u64,
    /// Connections open now.
    pub open: u64,
    /// Octets taken from it.
    pub bytes_up: u64,
    /// Octets taken from the target for it.
    pub bytes_down: u64,
    /// When its first connection came.
    pub first_seen: jiff::Timestamp,
    /// When it last opened or closed a connection, or octets passed.
    pub last_seen: jiff::Timestamp,
    /// Ports that it came to; of more than eight the first eight.
    pub ports: Vec<u16>,
    /// Hosts that it wanted, the last first; of more than eight the last eight.
    pub hosts: Vec<String>,
    /// When its oldest open connection began, to the second.
    pub oldest_open: Option<jiff::Timestamp>,
}

fn second(ms: i64) -> u32 {
    (ms / 1000) as u32
}

fn instant(ms: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_millisecond(ms).unwrap_or_default()
}
