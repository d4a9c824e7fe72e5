//! The stages of an answer, in the order of RFC 1034, 4.3.2.

mod online;
mod planned;
mod signed;
mod steered;

use std::net::IpAddr;
use std::time::Duration;

use arrayvec::ArrayVec;

use crate::dns::name::MAX_NAME_OCTETS;
use crate::dns::wire::{
    CLASS_ANY, CLASS_IN, EDNS_UDP_OCTETS, ExtendedError, Flags, Full, NAME_BUFFER, OptReply, PLAIN_UDP_OCTETS, Query,
    Rcode, Reject, Response, TCP_OCTETS, write_cookie, write_reject,
};
use crate::dns::{Rtype, Ttl};
use crate::query::limit::Verdict;
use crate::query::planned::Named;
use crate::query::sample::Sampled;
use crate::query::snapshot::Snapshot;
use crate::query::tally::Tally;
use crate::steering::client::Client;
use crate::steering::horizon::{Recorder, expires};
use crate::steering::nest::MOST_LEVELS;
use crate::time::Timestamp;
use crate::zone::Zone;
use crate::zone::compiled::{Alias, NodeRef, Place};
use crate::zone::prepared::{OwnerAt, Prepared};
use crate::zone::set::Entry;

/// CNAMEs followed in one answer; a longer chain is the resolver's to follow.
const MAX_CHAIN: usize = 12;

/// A server's identity that is longer is not sent (RFC 5001): with all other options it must leave room for a question in 512
/// octets.
pub const MOST_NSID_OCTETS: usize = 128;

/// How long a TCP connection may say nothing (RFC 7766, 6.2.3: a few seconds, at the server's choice).
pub const TCP_IDLE: Duration = Duration::from_secs(10);

/// What an answer depends on beside the snapshot and the query.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// Who asks.
    pub client: IpAddr,
    /// The wall clock, read by the worker.
    pub now: Timestamp,
    /// Uniform over all of `u64`, for policies that draw.
    pub draw: u64,
    /// How it asks.
    pub transport: Transport,
}

/// How a query came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Responses of at most [`EDNS_UDP_OCTETS`].
    Udp,
    /// Responses of at most [`TCP_OCTETS`].
    Tcp,
    /// The same over TLS (RFC 7858).
    Tls,
    /// The same, one query a stream (RFC 9250).
    Quic,
    /// The same, one query an HTTP request (RFC 8484).
    Https,
}

impl Transport {
    /// Whether nobody on the way can read it.
    pub const fn is_encrypted(self) -> bool {
        matches!(self, Self::Tls | Self::Quic | Self::Https)
    }

    /// In logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Quic => "QUIC",
            Self::Https => "HTTPS",
        }
    }
}

/// Answers `packet` into `out`, which holds 512 octets at least, and as many as the transport's largest response for all
/// of them. Gives the octets of the response; `None` where silence is right.
pub fn answer(
    snapshot: &Snapshot,
    context: &Context,
    tally: Tally<'_>,
    packet: &[u8],
    out: &mut [u8],
) -> Option<usize> {
    let mut lower = [0u8; NAME_BUFFER];
    let query = match Query::parse(packet, &mut lower) {
        Ok(query) => query,
        Err(Reject::Silent) => {
            tally.counters.silent();
            return None;
        }
        Err(Reject::Cookie(cookie)) => {
            let (valid, server) = match &snapshot.cookies {
                Some(cookies) => cookies.check(&cookie, context.client, context.now),
                None => return None,
            };
            if limited(snapshot, context, tally, valid) != Verdict::Send {
                return None;
            }
            tally.counters.rejected(Rcode::NoError);
            return Some(write_cookie(packet, cookie.client, server, out));
        }
        Err(Reject::Header(rcode)) => {
            if limited(snapshot, context, tally, false) != Verdict::Send {
                return None; // it is no use to a resolver
            }
            tally.counters.rejected(rcode);
            return Some(write_reject(packet, rcode, out));
        }
    };
    let largest = match (context.transport, query.edns) {
        (Transport::Udp, None) => PLAIN_UDP_OCTETS as usize,
        (Transport::Udp, Some(edns)) => edns.udp_octets.clamp(PLAIN_UDP_OCTETS, EDNS_UDP_OCTETS) as usize,
        _ => TCP_OCTETS,
    };
    let mut has_cookie = false;
    let mut opt = query.edns.map(|edns| OptReply {
        extended_rcode: 0,
        dnssec_ok: edns.dnssec_ok,
        compact_ok: false,
        nsid: edns.nsid.then_some(&*snapshot.nsid).filter(|n| n.len() <= MOST_NSID_OCTETS),
        client_subnet: edns.client_subnet.map(|subnet| (subnet, 0)),
        cookie: edns.cookie.and_then(|cookie| {
            let cookies = snapshot.cookies.as_ref()?;
            let (valid, server) = cookies.check(&cookie, context.client, context.now);
            has_cookie = valid;
            Some((cookie.client, server))
        }),
        // QUIC and HTTPS have their own (RFC 9250, 5.5.2; RFC 8484, 5).
        keepalive: (edns.keepalive && matches!(context.transport, Transport::Tcp | Transport::Tls))
            .then_some(TCP_IDLE.as_millis() as u16 / 100),
        extended_error: None,
    });
    match limited(snapshot, context, tally, has_cookie) {
        Verdict::Send => {}
        Verdict::Slip => {
            let flags = Flags { authoritative: false, truncated: true, rcode: Rcode::NoError };
            return Some(Response::new(&query, largest.min(out.len()), out).finish(&query, flags, opt.as_ref()));
        }
        Verdict::Hold => return None,
    }
    let limit = largest.min(out.len()) - opt.as_ref().map_or(0, OptReply::octets);

    let mut answer = Answer {
        snapshot,
        context,
        tally,
        compact: false,
        exhausted: false,
        query: &query,
        response: Response::new(&query, limit, out),
        authoritative: false,
        rcode: Rcode::NoError,
        error: None,
        dname: None,
        client: None,
        given: ArrayVec::new_const(),
        proofs: ArrayVec::new_const(),
    };
    let flags = answer.stages().unwrap_or_else(|Full| {
        answer.response.clear(&query);
        answer.given.clear();
        if answer.exhausted && context.transport != Transport::Udp {
            return Flags { authoritative: false, truncated: false, rcode: Rcode::ServFail };
        }
        tally.counters.truncated();
        Flags { authoritative: answer.authoritative, truncated: true, rcode: answer.rcode }
    });
    if !answer.given.is_empty() {
        let is_steered = answer.given.iter().any(|given| given.steered);
        let sample = if is_steered {
            tally.counters.steered(answer.client.as_ref().map(|client| &client.key), context.now)
        } else {
            None
        };
        if let Some(worker) = tally.worker {
            for given in &answer.given {
                let (recorder, gone) = (given.recorder, expires(context.now, given.ttl));
                let slots = match &given.what {
                    What::Slot(slot) => std::slice::from_ref(slot),
                    What::Slots(slots) => slots,
                };
                for &slot in slots {
                    recorder.record(worker, slot, gone);
                    if let Some((ring, client)) = sample.filter(|_| given.steered) {
                        let (recorder, slot) = (recorder.number(), slot as u32);
                        ring.write(&Sampled { client, recorder, slot, ttl: given.ttl, at: context.now });
                    }
                }
            }
        }
    }
    if let Some(opt) = &mut opt {
        opt.extended_rcode = flags.rcode as u8 >> 4;
        opt.extended_error = answer.error;
        opt.compact_ok = answer.compact && query.edns.is_some_and(|edns| edns.compact_ok);
        if let Some((_, scope)) = &mut opt.client_subnet {
            *scope = answer.client.map_or(0, |client| client.scope); // RFC 7871, 7.2.1
        }
    }
    tally.counters.answered(query.qtype, flags.rcode);
    Some(answer.response.finish(&query, flags, opt.as_ref()))
}

/// What the rate limit says of a response to who has shown a cookie, or not. Takes a token, and counts what is not sent.
#[inline]
pub fn limited(snapshot: &Snapshot, context: &Context, tally: Tally<'_>, has_cookie: bool) -> Verdict {
    match &snapshot.rate_limit {
        Some((limit, rate)) if context.transport == Transport::Udp && !has_cookie && tally.worker.is_some() => {
            let verdict = limit.judge(*rate, context, tally);
            match verdict {
                Verdict::Send => {}
                Verdict::Slip => tally.counters.slipped(),
                Verdict::Hold => tally.counters.held_back(),
            }
            verdict
        }
        _ => Verdict::Send,
    }
}

/// What one answer may give that counts in horizons: at each name of a chain so many pools, or a planned RRset, and that its zone
/// lacks something.
const GIVEN: usize = (MAX_CHAIN + 1) * (MOST_LEVELS + 1);

/// Proofs that one answer may need: one for each wildcard on its way, and three at its end.
const PROOFS: usize = 9;

/// An answer in the making.
struct Answer<'a, 'o> {
    snapshot: &'a Snapshot,
    context: &'a Context,
    tally: Tally<'a>,
    query: &'a Query<'a>,
    response: Response<'o>,
    authoritative: bool,
    /// It is of a zone that denies compactly.
    compact: bool,
    /// It wants a signature, and too many were made in this second.
    exhausted: bool,
    /// What a response that has to be truncated says.
    rcode: Rcode,
    error: Option<ExtendedError>,
    /// The DNAME passed last.
    dname: Option<Prepared<'a>>,
    /// Whom a steered answer is for; made when the first pool asks.
    client: Option<Client>,
    given: ArrayVec<Given<'a>, GIVEN>,
    /// To be added to AUTHORITY once ANSWER is whole.
    proofs: ArrayVec<Proof<'a>, PROOFS>,
}

/// A proof of a signed zone, and where the zone's name stands in the response.
#[derive(Clone, Copy)]
struct Proof<'a> {
    prepared: Prepared<'a>,
    apex: OwnerAt,
    /// What bounds its TTL, where its zone lacks what is planned.
    most: Option<Ttl>,
}

/// What was given that counts in a horizon.
#[derive(Clone, Copy)]
struct Given<'a> {
    recorder: &'a Recorder,
    what: What<'a>,
    ttl: Ttl,
    /// Whether a pool gave it: then it is demand too.
    steered: bool,
}

/// Of which endpoints and type.
#[derive(Clone, Copy)]
enum What<'a> {
    Slot(usize),
    Slots(&'a [usize]),
}

/// How a stage ends.
enum Step<'a> {
    /// The answer is whole.
    Done(Rcode),
    /// A CNAME is added, which leads on.
    Follow(Target<'a>),
}

/// The target of a CNAME in the response, as the next owner name.
#[derive(Clone, Copy)]
struct Target<'a> {
    owner: OwnerAt,
    /// So many octets of it are those of the name before (below a DNAME), then come these.
    prefix: usize,
    rest: &'a [u8],
}

impl<'a> Answer<'a, '_> {
    fn stages(&mut self) -> Result<Flags, Full> {
        let plain = |rcode| Flags { authoritative: false, truncated: false, rcode };
        let query = self.query;
        if query.edns.is_some_and(|edns| edns.version != 0) {
            return Ok(plain(Rcode::BadVers));
        }
        if query.edns.is_some_and(|edns| edns.malformed) {
            return Ok(plain(Rcode::FormErr));
        }
        if (query.qclass != CLASS_IN && query.qclass != CLASS_ANY) || matches!(query.qtype, Rtype::AXFR | Rtype::IXFR) {
            self.error = Some(ExtendedError::NotSupported);
            let no_such_thing = query.qtype == Rtype::AXFR && self.context.transport == Transport::Udp; // RFC 5936, 4.2
            return Ok(plain(if no_such_thing { Rcode::NotImp } else { Rcode::Refused }));
        }
        if query.qtype == Rtype::NXNAME {
            self.error = Some(ExtendedError::InvalidQueryType);
            return Ok(plain(Rcode::FormErr)); // RFC 9824, 3.5
        }
        let zone = match self.snapshot.zones.find(query.qname, query.labels, query.qtype) {
            None => {
                self.error = Some(ExtendedError::NotAuthoritative);
                return Ok(plain(Rcode::Refused));
            }
            Some(Entry { allow_query: Some(allowed), .. }) if !allowed.allows(self.context.client, None) => {
                self.error = Some(ExtendedError::Prohibited);
                return Ok(plain(Rcode::Refused));
            }
            Some(Entry { zone: None, .. }) => {
                self.error = Some(ExtendedError::NotReady);
                return Ok(plain(Rcode::ServFail));
            }
            Some(Entry { zone: Some(zone), expired: true, .. }) => return self.expired(zone),
            Some(Entry { zone: Some(zone), .. }) => zone,
        };
        if query.edns.is_some_and(|edns| edns.compact_ok && edns.dnssec_ok) {
            self.online(zone); // it is answered in kind
        }
        let owner = OwnerAt::qname(query.qname.len());
        let place = zone.find(query.qname, query.qtype == Rtype::DS);
        if let Place::Referral(referral, octets) = place {
            self.referral(zone, referral, owner.suffix(octets))?;
            return Ok(plain(Rcode::NoError));
        }
        self.authoritative = query.qclass != CLASS_ANY; // RFC 1035, 6.2
        let rcode = match self.at_place(zone, place, owner)? {
            Step::Done(rcode) => rcode,
            Step::Follow(target) => self.follow(owner, target)?,
        };
        if !self.proofs.is_empty() {
            self.put_proofs()?;
        }
        Ok(Flags { authoritative: self.authoritative, truncated: false, rcode })
    }

    /// What is answered of a zone that has expired: what pools say, which does not come from its primaries, and nothing else.
    #[cold]
    fn expired(&mut self, zone: &'a Zone) -> Result<Flags, Full> {
        let owner = OwnerAt::qname(self.query.qname.len());
        let flags = |authoritative, rcode| Flags { authoritative, truncated: false, rcode };
        if let Place::Node(node) = zone.find(self.query.qname, false)
            && let Some(pool) = node.slot().and_then(|slot| self.snapshot.over(slot).0)
            && let Some(step) = self.steered(zone, node, pool, owner)?
        {
            self.authoritative = self.query.qclass != CLASS_ANY;
            let rcode = match step {
                Step::Done(rcode) => rcode,
                Step::Follow(target) => self.follow(owner, target)?,
            };
            if !self.proofs.is_empty() {
                self.put_proofs()?;
            }
            return Ok(flags(self.authoritative, rcode));
        }
        self.error = Some(ExtendedError::InvalidData);
        Ok(flags(false, Rcode::ServFail))
    }

    /// What `zone` answers at `place` for the name that stands at `owner`.
    #[inline]
    fn at_place(&mut self, zone: &'a Zone, place: Place<'a>, owner: OwnerAt) -> Result<Step<'a>, Full> {
        let node = match place {
            Place::Node(node) => node,
            Place::Referral(referral, octets) => {
                self.put_proofs()?;
                self.referral(zone, referral, owner.suffix(octets))?;
                return Ok(Step::Done(Rcode::NoError));
            }
            Place::Dname(set, octets, alias) => {
                return self.dname(self.maybe_signed(zone, set), owner.suffix(octets), alias, owner);
            }
            Place::NxDomain => {
                let rcode = if self.signs(zone) { self.rcode_of_no_name(zone) } else { Rcode::NxDomain };
                self.rcode = rcode;
                self.negative(zone, owner, None)?;
                return Ok(Step::Done(rcode));
            }
        };
        let mut planned = None;
        if let Some(slot) = node.slot() {
            let (pool, beside) = self.snapshot.over(slot);
            if let Some(pool) = pool
                && let Some(step) = self.steered(zone, node, pool, owner)?
            {
                return Ok(step);
            }
            planned = beside;
        }
        self.plain(zone, node, owner, planned)
    }

    /// What the zone itself holds at `node`; `planned` says the TTLs of some of it.
    fn plain(
        &mut self,
        zone: &'a Zone,
        node: NodeRef<'a>,
        owner: OwnerAt,
        planned: Option<&'a Named>,
    ) -> Result<Step<'a>, Full> {
        let qtype = self.query.qtype;
        let found = if qtype == Rtype::ANY { node.any() } else { node.rrset(qtype).map(|set| (qtype, set)) };
        if let Some((rtype, set)) = found {
            if planned.is_some() || rtype == Rtype::NSEC {
                self.planned(zone, node, (rtype, set), planned, owner)?;
            } else if self.signs(zone) {
                self.signed(zone, node, set, owner)?;
            } else {
                set.copy(&mut self.response, owner)?;
            }
            return Ok(Step::Done(Rcode::NoError));
        }
        // RRSIG and NSEC stand beside a CNAME (RFC 4034, 4): where there are none, the name has none.
        if !matches!(qtype, Rtype::RRSIG | Rtype::NSEC)
            && let Some(alias) = node.alias()
        {
            let apex = owner.suffix(zone.apex().wire().len());
            let ttl =
                planned.and_then(|named| named.of(Rtype::CNAME)).map_or(alias.ttl, |p| self.give_planned(p, alias.ttl));
            if self.signs(zone)
                && let Some(set) = node.rrset(Rtype::CNAME)
            {
                return self.signed_alias(zone, node, set, owner, Alias { ttl, ..alias });
            }
            return Ok(Step::Follow(self.alias(owner, ttl, 0, alias.target, alias.before_apex.map(|n| (n, apex)))?));
        }
        self.negative(zone, owner, Some(node))?;
        Ok(Step::Done(Rcode::NoError))
    }

    /// Goes on from the first CNAME, whose owner is `first`, until the chain ends: at data, at a negative answer, out of our
    /// zones, where it comes back to a name, or after [`MAX_CHAIN`].
    fn follow(&mut self, first: OwnerAt, mut target: Target<'a>) -> Result<Rcode, Full> {
        let mut passed = [first; MAX_CHAIN];
        for count in 1..=MAX_CHAIN {
            let owner = target.owner;
            let mut lower = [0u8; NAME_BUFFER];
            let lower = &mut lower[..owner.octets()];
            let (prefix, rest) = lower.split_at_mut(target.prefix);
            prefix.copy_from_slice(&self.response.bytes()[owner.at()..owner.at() + target.prefix]);
            rest.copy_from_slice(target.rest);
            lower.make_ascii_lowercase();
            if passed[..count].iter().any(|name| self.response.has_name(name.at(), lower)) {
                return Ok(Rcode::NoError); // a loop
            }
            let labels = crate::dns::name::labels(lower).count();
            let entry = self.snapshot.zones.find(lower, labels, self.query.qtype);
            let Some(Entry { zone: Some(zone), expired: false, allow_query, .. }) = entry else {
                return Ok(Rcode::NoError);
            };
            if allow_query.as_ref().is_some_and(|allowed| !allowed.allows(self.context.client, None)) {
                return Ok(Rcode::NoError); // it is told where the alias leads, not what is there
            }
            let place = zone.find(lower, self.query.qtype == Rtype::DS);
            match self.at_place(zone, place, owner)? {
                Step::Done(rcode) => return Ok(rcode), // the RCODE is of the last name (RFC 6604, 3)
                Step::Follow(next) => target = next,
            }
            if let Some(place) = passed.get_mut(count) {
                *place = owner;
            }
        }
        Ok(Rcode::NoError)
    }

    /// Adds a CNAME of `owner`. Its target is the first `prefix` octets of the owner, then `rest`, whose `end` after so
    /// many octets stands already in the response.
    fn alias(
        &mut self,
        owner: OwnerAt,
        ttl: Ttl,
        prefix: usize,
        rest: &'a [u8],
        end: Option<(u8, OwnerAt)>,
    ) -> Result<Target<'a>, Full> {
        let octets = prefix + rest.len();
        let end = end.filter(|(_, end)| end.is_whole());
        let written = end.map_or(rest, |(before, _)| &rest[..before as usize]);
        let pointer = end.map(|(_, end)| end.at());
        let at = self.response.put_alias(owner.at(), ttl, prefix, written, pointer)?;
        let owner = match end {
            Some((_, end)) => OwnerAt::ending_with(at, octets, end),
            None => OwnerAt::whole(at, octets),
        };
        Ok(Target { owner, prefix, rest })
    }

    /// Below a DNAME (RFC 6672, 3.2): its record, and the CNAME made of it, with the same TTL (3.1).
    #[cold]
    fn dname(&mut self, set: Prepared<'a>, dname: OwnerAt, alias: Alias<'a>, owner: OwnerAt) -> Result<Step<'a>, Full> {
        if self.dname.replace(set).is_some_and(|last| last.is(set)) {
            return Ok(Step::Done(Rcode::NoError)); // it leads below itself, for ever
        }
        let target_at = self.response.len() + 12;
        set.copy_required(&mut self.response, dname)?;
        let target = alias.target;
        let prefix = owner.octets() - dname.octets();
        if prefix + target.len() > MAX_NAME_OCTETS {
            return Ok(Step::Done(Rcode::YxDomain));
        }
        // The DNAME's own target stands uncompressed (RFC 6672, 2.5) behind the fixed part of its record, which is the first.
        let written = OwnerAt::whole(target_at, target.len());
        let next = self.alias(owner, alias.ttl, prefix, target, Some((0, written)))?;
        Ok(if self.query.qtype == Rtype::CNAME { Step::Done(Rcode::NoError) } else { Step::Follow(next) })
    }

    /// The SOA that says how long there is nothing (RFC 2308, 2), at `node`, or as there is no such name.
    fn negative(&mut self, zone: &'a Zone, owner: OwnerAt, node: Option<NodeRef<'a>>) -> Result<(), Full> {
        let apex = owner.suffix(zone.apex().wire().len());
        if !self.snapshot.planned.absences.is_empty() {
            return self.negative_for(zone, owner, node);
        }
        if self.signs(zone) {
            zone.negative().with_signatures().copy(&mut self.response, apex)?;
            return self.prove_absence(zone, owner, node);
        }
        zone.negative().copy(&mut self.response, apex)
    }

    /// Whether the client wants signatures, and `zone` brings them.
    #[inline]
    fn signs(&self, zone: &Zone) -> bool {
        zone.is_signed() && self.query.edns.is_some_and(|edns| edns.dnssec_ok)
    }

    #[inline]
    fn maybe_signed(&self, zone: &'a Zone, set: Prepared<'a>) -> Prepared<'a> {
        if self.signs(zone) { set.with_signatures() } else { set }
    }

    /// Whom a steered answer is for: the subnet that the resolver names, else the resolver's own group.
    fn client(&mut self) -> Client {
        let (rules, resolver) = (&self.snapshot.clients, self.context.client);
        let subnet = self.query.edns.and_then(|edns| edns.client_subnet);
        *self.client.get_or_insert_with(|| {
            let client = subnet.and_then(|subnet| rules.subnet(resolver, subnet.address, subnet.prefix));
            client.unwrap_or_else(|| rules.resolver(resolver))
        })
    }

    /// Whom an answer is for that is the same for all clients: its TTL alone may depend on the resolver.
    fn resolver(&self) -> Client {
        self.snapshot.clients.resolver(self.context.client)
    }

    fn note(&mut self, given: Given<'a>) {
        let _ = self.given.try_push(given); // there is room for one at each name of a chain
    }
}
