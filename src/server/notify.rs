//! NOTIFY out: each listed secondary is told of each new serial, again and again until it answers, and then asked for its SOA
//! until that is the one told. Serials that follow each other faster are told as one. Lives in the thread of [`requests`](super::requests).

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{Instant, timeout_at};

use crate::dns::Name;
use crate::dns::tsig::Key;
use crate::query::Snapshot;
use crate::server::secondaries::Secondaries;
use crate::time::Timestamp;
use crate::zone::Record;
use crate::zone::incoming::{Ask, Incoming, Receiver};
use crate::zone::notify::{Target, answered, message, patience};
use crate::zone::transfer::soa;

/// Who has been told what.
pub(super) struct Notifier {
    secondaries: Arc<Secondaries>,
    /// The serial last told of, or being told of.
    told: HashMap<(Name, Target), (u32, AbortHandle)>,
    /// The snapshot last looked at.
    seen: u64,
}

impl Notifier {
    pub(super) fn new(secondaries: Arc<Secondaries>) -> Self {
        Self { secondaries, told: HashMap::new(), seen: 0 }
    }

    /// Begins to tell of what is new in `snapshot`; what was being told of an older serial is given up.
    pub(super) fn look(&mut self, snapshot: &Snapshot) {
        if std::mem::replace(&mut self.seen, snapshot.serial) == snapshot.serial {
            return;
        }
        let mut told = HashMap::new();
        let listed = snapshot.zone_settings.iter().flat_map(|zone| zone.notify.iter().map(move |to| (zone, to)));
        self.secondaries.keep(listed.clone().map(|(zone, to)| (zone.name.clone(), to.address)));
        for (settings, target) in listed {
            let Some(zone) = snapshot.zones.get(settings.name.to_lowercase().wire()).and_then(|e| e.zone.as_ref())
            else {
                continue;
            };
            let key = (settings.name.clone(), target.clone());
            match self.told.remove(&key) {
                Some((serial, task)) if serial == zone.serial() => _ = told.insert(key, (serial, task)),
                before => {
                    if let Some((_, task)) = before {
                        task.abort();
                    }
                    let Some(soa) = soa(zone) else { continue };
                    let newest = (zone.serial(), Timestamp::now());
                    self.secondaries.note(&settings.name, target.address, |secondary| secondary.newest = Some(newest));
                    let signing = target.key.as_ref().and_then(|name| snapshot.keys.get(name)).cloned();
                    let tell = tell(self.secondaries.clone(), target.address, signing, soa, zone.serial());
                    told.insert(key, (zone.serial(), spawn_local(tell).abort_handle()));
                }
            }
        }
        for (_, (_, task)) in self.told.drain() {
            task.abort(); // no longer listed
        }
        self.told = told;
    }
}

/// Tells one secondary until it answers, or patience ends.
async fn tell(secondaries: Arc<Secondaries>, to: SocketAddr, key: Option<Arc<Key>>, soa: Record, serial: u32) {
    let apex = soa.owner.clone();
    let mut attempt = 0;
    while let Some(wait) = patience(attempt) {
        let until = Instant::now() + wait;
        match ask(to, key.as_ref(), &soa, until).await {
            Ok(0) => {
                tracing::debug!(zone = %apex, %to, serial, "NOTIFY acknowledged");
                secondaries.note(&apex, to, |secondary| {
                    (secondary.notified, secondary.problem) = (Some((serial, Timestamp::now())), None);
                });
                return see(&secondaries, to, key.as_ref(), &apex, serial).await;
            }
            Ok(rcode) => {
                // Told often enough it may be another word: its configuration is not ours to know.
                let problem = format!("it answers NOTIFY with RCODE {rcode}");
                tracing::warn!(zone = %apex, %to, serial, "{problem}");
                secondaries.note(&apex, to, |secondary| secondary.problem = Some(problem.clone()));
            }
            Err(error) => {
                let problem = format!("no good answer to NOTIFY: {error}");
                tracing::debug!(zone = %apex, %to, serial, attempt, "{problem}");
                secondaries.note(&apex, to, |secondary| secondary.problem = Some(problem.clone()));
            }
        }
        tokio::time::sleep_until(until).await;
        attempt += 1;
    }
    tracing::warn!(zone = %apex, %to, serial, "NOTIFY is not acknowledged: the secondary asks by itself at its REFRESH");
}

/// Asks a secondary that was told of `serial` until it answers with it: so it is known also of one that had it before, or takes
/// it from another address than it listens at.
async fn see(secondaries: &Secondaries, to: SocketAddr, key: Option<&Arc<Key>>, apex: &Name, serial: u32) {
    let mut attempt = 0;
    while let Some(wait) = patience(attempt) {
        let until = Instant::now() + wait;
        if secondaries.has_at(apex, to) == Some(serial) {
            return;
        }
        match serial_of(to, key, apex, until).await {
            Ok(has) if has == serial => return secondaries.saw(apex, to, serial, Timestamp::now()),
            Ok(has) => tracing::debug!(zone = %apex, %to, serial, has, "the secondary has another serial yet"),
            Err(error) => {
                tracing::debug!(zone = %apex, %to, serial, error, "the secondary does not say which serial it has");
            }
        }
        tokio::time::sleep_until(until).await;
        attempt += 1;
    }
}

/// Tells once. Gives the RCODE of the answer.
async fn ask(to: SocketAddr, key: Option<&Arc<Key>>, soa: &Record, until: Instant) -> Result<u8, String> {
    let id = draw_id();
    let response = exchange(to, key, message(id, soa), until, |response| answered(response, id).is_some()).await?;
    answered(&response, id).ok_or_else(|| "no answer".to_owned())
}

/// Which serial a server says that it has.
async fn serial_of(to: SocketAddr, key: Option<&Arc<Key>>, apex: &Name, until: Instant) -> Result<u32, String> {
    let id = draw_id();
    let is_ours = |response: &[u8]| response.starts_with(&id.to_be_bytes());
    let response = exchange(to, key, Ask::Serial.message(id, apex), until, is_ours).await?;
    let mut receiver = Receiver::new(apex, Ask::Serial, id);
    match receiver.take(&response).and_then(|_| receiver.finish()) {
        Ok(Incoming::Serial(serial)) => Ok(serial),
        Ok(_) => Err("no serial".to_owned()),
        Err(wrong) => Err(wrong.to_string()),
    }
}

fn draw_id() -> u16 {
    getrandom::u32().map_or(0, |draw| draw as u16)
}

/// Sends `octets`, signed, and gives the first response that `is_ours`, verified.
async fn exchange(
    to: SocketAddr,
    key: Option<&Arc<Key>>,
    mut octets: Vec<u8>,
    until: Instant,
    is_ours: impl Fn(&[u8]) -> bool,
) -> Result<Vec<u8>, String> {
    let told = |error: std::io::Error| error.to_string();
    let any =
        if to.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)) };
    let socket = UdpSocket::bind(any).await.map_err(told)?;
    socket.connect(to).await.map_err(told)?;
    let mut verifier = key.map(|key| key.sign_request(&mut octets, Timestamp::now()));
    socket.send(&octets).await.map_err(told)?;
    let mut buffer = [0; 1232];
    loop {
        let octets = timeout_at(until, socket.recv(&mut buffer)).await.map_err(|_| "none in time")?.map_err(told)?;
        let response = &buffer[..octets];
        if !is_ours(response) {
            continue;
        }
        if let Some(verifier) = &mut verifier {
            verifier.verify(response, Timestamp::now()).map_err(|error| error.to_string())?;
        }
        return Ok(response.to_vec());
    }
}
