//! Zone transfers out: AXFR (RFC 5936) and IXFR (RFC 1995), of one version of the zone, message by message as the client takes
//! them. What they say is [`zone::transfer`](crate::zone::transfer)'s; here is who gets it, and at which pace.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use crate::dns::Rtype;
use crate::dns::wire::{
    CLASS_IN, EDNS_UDP_OCTETS, ExtendedError, Flags, NAME_BUFFER, OptReply, PLAIN_UDP_OCTETS, Query, Rcode, Response,
    skip_name,
};
use crate::query::Snapshot;
use crate::server::requests::{Gone, Peer, Request};
use crate::server::{Beside, History};
use crate::time::Timestamp;
use crate::zone::serial::is_newer;
use crate::zone::transfer::{Packer, TooLarge, body, changes, leads, soa};
use crate::zone::{Diff, Record, Zone};

/// Transfers at a time; more wait.
pub(super) const AT_A_TIME: usize = 16;
/// A transfer that takes longer is given up, however fast its reader reads.
const LONGEST: Duration = Duration::from_hours(2);

/// Why a transfer was cut off.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Gone(#[from] Gone),
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    #[error("it took longer than {LONGEST:?}")]
    TooLong,
}

/// Whether `query` is for a transfer that can be had at all that way.
pub(super) fn is_transfer(query: &Query<'_>, over_udp: bool) -> bool {
    let wanted = query.qtype == Rtype::IXFR || (query.qtype == Rtype::AXFR && !over_udp);
    wanted && query.qclass == CLASS_IN && query.edns.is_none_or(|edns| edns.version == 0 && !edns.malformed)
}

/// Why a transfer is not given.
pub(super) struct Refused {
    pub(super) rcode: Rcode,
    pub(super) error: Option<ExtendedError>,
    /// For the log.
    pub(super) why: &'static str,
}

/// The zone that `query` asks for whole, if `request` may have it.
///
/// # Errors
/// What to answer instead.
pub(super) fn allowed(snapshot: &Snapshot, request: &Request, query: &Query<'_>) -> Result<Arc<Zone>, Refused> {
    let refused = |rcode, error, why| Err(Refused { rcode, error: Some(error), why });
    let Some(index) = snapshot.zones.index_of(query.qname) else {
        return refused(Rcode::NotAuth, ExtendedError::NotAuthoritative, "it is no zone of ours");
    };
    let Peer { address, transport, transfers } = request.peer;
    let Some(settings) = snapshot.zone_settings.get(index) else {
        return refused(Rcode::Refused, ExtendedError::Prohibited, "nobody may have it");
    };
    if !settings.allow_transfer.allows(address.ip(), request.key()) {
        return refused(Rcode::Refused, ExtendedError::Prohibited, "allow-transfer does not let it");
    }
    if !transfers {
        return refused(Rcode::Refused, ExtendedError::Prohibited, "over TLS it takes TLS 1.3 and ALPN dot");
    }
    if settings.transfer_tls && !transport.is_encrypted() {
        return refused(Rcode::Refused, ExtendedError::Prohibited, "transfer-tls wants TLS or QUIC");
    }
    let entry = &snapshot.zones.entries()[index];
    if entry.expired {
        return refused(Rcode::ServFail, ExtendedError::InvalidData, "the zone has expired");
    }
    match &entry.zone {
        Some(zone) => Ok(zone.clone()),
        None => refused(Rcode::ServFail, ExtendedError::NotReady, "the zone was never read"),
    }
}

/// A response without records.
pub(super) fn refusal(query: &Query<'_>, rcode: Rcode, error: Option<ExtendedError>) -> Vec<u8> {
    let opt = query.edns.map(|edns| OptReply { extended_error: error, ..opt_reply(edns.dnssec_ok) });
    let mut out = vec![0; 512];
    let limit = out.len() - opt.as_ref().map_or(0, OptReply::octets);
    let flags = Flags { authoritative: false, truncated: false, rcode };
    let octets = Response::new(query, limit, &mut out).finish(query, flags, opt.as_ref());
    out.truncate(octets);
    out
}

/// What a client is sent.
enum Plan {
    /// It has the newest version: its SOA alone.
    UpToDate,
    /// All records.
    Whole,
    /// What has changed since its version.
    Changes(Vec<Diff>),
}

impl Plan {
    const fn name(&self) -> &'static str {
        match self {
            Self::UpToDate => "up to date",
            Self::Whole => "whole",
            Self::Changes(_) => "changes",
        }
    }
}

/// Sends `zone` to who asked by `request` for it.
pub(super) async fn serve(mut request: Request, zone: Arc<Zone>, beside: &Beside, slots: Arc<Semaphore>) {
    let message = std::mem::take(&mut request.message);
    let mut lower = [0; NAME_BUFFER];
    let Ok(query) = Query::parse(&message, &mut lower) else { return }; // it was parsed before
    let plan = plan(&query, &message, &zone, &*beside.history).await;
    let Ok(_slot) = slots.acquire_owned().await else { return }; // it is never closed
    let begun = Instant::now();
    let (how, client, over) = (plan.name(), request.peer.address, request.peer.transport.name());
    beside.secondaries.begins(zone.apex(), client.ip(), zone.serial());
    let sent = async {
        if request.is_datagram() {
            return datagram(&mut request, &query, &zone, &plan).await;
        }
        timeout(LONGEST, stream(&mut request, &query, &zone, &plan)).await.unwrap_or(Err(Broken::TooLong))
    };
    match sent.await {
        Ok(octets) => {
            if !request.is_datagram() || matches!(plan, Plan::UpToDate) {
                beside.secondaries.has(zone.apex(), client.ip(), zone.serial(), Timestamp::now());
            }
            let (took_ms, serial) = (begun.elapsed().as_millis() as u64, zone.serial());
            tracing::info!(zone = %zone.apex(), how, %client, over, serial, octets, took_ms, "zone transferred");
        }
        Err(error) => tracing::warn!(zone = %zone.apex(), how, %client, over, %error, "a zone transfer was cut off"),
    }
}

async fn plan(query: &Query<'_>, message: &[u8], zone: &Zone, history: &dyn History) -> Plan {
    if query.qtype != Rtype::IXFR {
        return Plan::Whole;
    }
    let Some(has) = client_serial(query, message) else { return Plan::Whole };
    if has == zone.serial() || is_newer(has, zone.serial()) {
        return Plan::UpToDate;
    }
    let steps = history.steps(zone.apex(), has, zone.serial()).await.unwrap_or_default();
    if steps.is_empty() || !leads(&steps, has, zone.serial()) {
        return Plan::Whole;
    }
    // As many changes as the zone has records are worth no more than those records.
    let worth: usize = zone.rrsets().map(|(_, set)| set.rdatas.len()).sum();
    if changes(&steps).count() <= worth.max(100) { Plan::Changes(steps) } else { Plan::Whole }
}

/// The serial of the version that the client has: of the SOA in AUTHORITY (RFC 1995, 3).
fn client_serial(query: &Query<'_>, message: &[u8]) -> Option<u32> {
    let counts: [u8; 4] = *message.get(6..10)?.first_chunk()?;
    if counts != [0, 0, 0, 1] {
        return None;
    }
    let record = message.get(query.head.len()..)?;
    let record = record.get(skip_name(record)?..)?;
    let (fixed, rest) = record.split_first_chunk::<10>()?;
    if fixed[..2] != Rtype::SOA.0.to_be_bytes() {
        return None;
    }
    let rdata = rest.get(..u16::from_be_bytes([fixed[8], fixed[9]]) as usize)?;
    let tail = rdata.last_chunk::<20>()?;
    Some(u32::from_be_bytes([tail[0], tail[1], tail[2], tail[3]]))
}

fn opt_reply<'a>(dnssec_ok: bool) -> OptReply<'a> {
    OptReply {
        extended_rcode: 0,
        dnssec_ok,
        compact_ok: false,
        nsid: None,
        client_subnet: None,
        cookie: None,
        keepalive: None,
        extended_error: None,
    }
}

fn packer(request: &Request, query: &Query<'_>) -> Packer {
    let opt = query.edns.map_or_else(Vec::new, |edns| {
        let reply = opt_reply(edns.dnssec_ok);
        let mut opt = vec![0; reply.octets()];
        reply.write(&mut opt);
        opt
    });
    Packer::new(query.head, opt, request.signature_octets())
}

/// Sends all messages over a connection; gives their octets.
async fn stream(request: &mut Request, query: &Query<'_>, zone: &Zone, plan: &Plan) -> Result<u64, Broken> {
    let mut packer = packer(request, query);
    let mut octets = 0;
    for record in records(zone, plan) {
        if let Some(full) = packer.push(&record)? {
            octets += full.len() as u64;
            request.pass(full).await?;
            tokio::task::yield_now().await; // the others have their turn
        }
    }
    let last = packer.finish();
    octets += last.len() as u64;
    request.pass(last).await?;
    Ok(octets)
}

/// Sends what fits into a datagram: all, or the SOA that says to ask over TCP (RFC 1995, 2).
async fn datagram(request: &mut Request, query: &Query<'_>, zone: &Zone, plan: &Plan) -> Result<u64, Broken> {
    let largest = query.edns.map_or(PLAIN_UDP_OCTETS, |e| e.udp_octets.clamp(PLAIN_UDP_OCTETS, EDNS_UDP_OCTETS));
    let largest = (largest as usize).saturating_sub(request.signature_octets());
    let mut whole = packer(request, query);
    let mut overflows = false;
    for record in records(zone, plan) {
        overflows = whole.push(&record)?.is_some();
        if overflows {
            break;
        }
    }
    let mut message = whole.finish();
    if overflows || message.len() > largest {
        let mut alone = packer(request, query);
        for record in records(zone, &Plan::UpToDate) {
            alone.push(&record)?;
        }
        message = alone.finish();
    }
    let octets = message.len() as u64;
    request.answer(message).await?;
    Ok(octets)
}

/// All records, in their order.
fn records<'a>(zone: &'a Zone, plan: &'a Plan) -> Box<dyn Iterator<Item = Record> + 'a> {
    let edge = || soa(zone).into_iter();
    match plan {
        Plan::UpToDate => Box::new(edge()),
        Plan::Whole => Box::new(edge().chain(body(zone)).chain(edge())),
        Plan::Changes(diffs) => Box::new(edge().chain(changes(diffs).cloned()).chain(edge())),
    }
}
