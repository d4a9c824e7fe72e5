//! TSIG: requests, responses and streams of messages signed with shared secrets (RFC 8945).
//!
//! Everything here works on octets: what was received is verified as it came, what is sent is signed as it stands. The instant
//! comes in as an argument. hickory-proto's `TSigner` signs only messages of its own type, one by one, and has no streams; the
//! HMAC is aws-lc-rs'.
//!
//! A server asks its [`KeyRing`] what a request is; a good one comes with the [`Signer`] of its response. A client signs by
//! [`Key::sign_request`] and has a [`Verifier`] of what comes back. Both go on over all messages of a transfer (5.3.1).

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hmac;
use subtle::ConstantTimeEq;

use crate::dns::wire::records::without_records;
use crate::dns::wire::{CLASS_ANY, HEADER_OCTETS, Rcode, skip_name, skip_question};
use crate::dns::{Name, Rtype};
use crate::time::Timestamp;

/// How far clocks may differ (RFC 8945, 10).
pub const FUDGE_SECS: u16 = 300;
/// So many messages of a stream may come in a row without a signature (RFC 8945, 5.3.1).
pub const MAX_UNSIGNED: usize = 99;

/// An HMAC that TSIG names. Those by MD5 and SHA-1 are left out: nothing needs them any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the name of the registry")]
pub enum Algorithm {
    HmacSha256,
    HmacSha384,
    HmacSha512,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::HmacSha256, Self::HmacSha384, Self::HmacSha512];

    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HmacSha256 => "hmac-sha256",
            Self::HmacSha384 => "hmac-sha384",
            Self::HmacSha512 => "hmac-sha512",
        }
    }

    /// Octets of its MAC.
    pub const fn octets(self) -> usize {
        match self {
            Self::HmacSha256 => 32,
            Self::HmacSha384 => 48,
            Self::HmacSha512 => 64,
        }
    }

    const fn wire(self) -> &'static [u8] {
        match self {
            Self::HmacSha256 => b"\x0bhmac-sha256\0",
            Self::HmacSha384 => b"\x0bhmac-sha384\0",
            Self::HmacSha512 => b"\x0bhmac-sha512\0",
        }
    }

    fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::HmacSha256 => hmac::HMAC_SHA256,
            Self::HmacSha384 => hmac::HMAC_SHA384,
            Self::HmacSha512 => hmac::HMAC_SHA512,
        }
    }
}

/// A secret that two hosts share, under a name.
#[derive(Clone)]
pub struct Key {
    name: Name,
    algorithm: Algorithm,
    secret: Box<[u8]>,
    hmac: hmac::Key,
}

impl Key {
    /// A key whose secret is these octets.
    pub fn new(name: &Name, algorithm: Algorithm, secret: &[u8]) -> Self {
        let hmac = hmac::Key::new(algorithm.hmac(), secret);
        Self { name: name.to_lowercase(), algorithm, secret: secret.into(), hmac }
    }

    /// Its name, in lower case.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Signs `message`, a request, and gives what verifies the response to it.
    pub fn sign_request(self: &Arc<Self>, message: &mut Vec<u8>, now: Timestamp) -> Verifier {
        let mut request = Chain::new(self, &[]);
        request.sign(message, &Stamp::new(now));
        Verifier { chain: Chain::new(self, &request.prior), unsigned: 0 }
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.algorithm, &self.secret) == (&other.name, other.algorithm, &other.secret)
    }
}
impl Eq for Key {}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({} {})", self.name, self.algorithm.name())
    }
}

/// The keys that are known, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyRing(HashMap<Name, Arc<Key>>);

impl FromIterator<Key> for KeyRing {
    fn from_iter<I: IntoIterator<Item = Key>>(keys: I) -> Self {
        Self(keys.into_iter().map(|key| (key.name.clone(), Arc::new(key))).collect())
    }
}

/// A request whose signature is good.
#[derive(Debug)]
pub struct Verified {
    /// The request without its TSIG.
    pub message: Vec<u8>,
    /// Signs the response.
    pub signer: Signer,
}

/// A request that is not taken for its TSIG.
#[derive(Debug)]
pub struct Refusal {
    /// What to send back.
    pub response: Vec<u8>,
    /// Its RCODE: FORMERR, or NOTAUTH.
    pub rcode: Rcode,
    /// Why, for the log.
    pub why: Error,
}

impl KeyRing {
    /// The key of this name.
    pub fn get(&self, name: &Name) -> Option<&Arc<Key>> {
        self.0.get(name)
    }

    /// Verifies a request at `now` (RFC 8945, 5.2): `None` when it bears no TSIG.
    ///
    /// # Errors
    /// [`Refusal`], with the response that RFC 8945, 5.2 and 5.3.2 ask for.
    pub fn verify(&self, message: &[u8], now: Timestamp) -> Result<Option<Verified>, Box<Refusal>> {
        let malformed = |why| {
            let response = without_records(message, Rcode::FormErr);
            Box::new(Refusal { response, rcode: Rcode::FormErr, why })
        };
        let Some((start, tsig)) = Tsig::find(message).map_err(malformed)? else { return Ok(None) };
        let not_auth = |error: u16, other: &[u8], signing: Option<Chain>, why| {
            let mut response = without_records(message, Rcode::NotAuth);
            // A time that is out of bounds is given back as it came, with ours beside it (5.2.3).
            let time = if error == BADTIME { tsig.time } else { now.0 };
            let stamp = Stamp { time, fudge: FUDGE_SECS, error, other: other.to_vec() };
            match signing {
                Some(mut chain) => chain.sign(&mut response, &stamp),
                None => append(&mut response, tsig.key.wire(), tsig.algorithm.wire(), &stamp, &[]),
            }
            Box::new(Refusal { response, rcode: Rcode::NotAuth, why })
        };
        let key = self.0.get(&tsig.key).filter(|key| key.algorithm.wire() == tsig.algorithm.to_lowercase().wire());
        let Some(key) = key else {
            let why = Error::BadKey { key: tsig.key.clone() };
            return Err(not_auth(BADKEY, &[], None, why));
        };
        let whole = key.algorithm.octets();
        if tsig.mac.len() > whole || tsig.mac.len() < (whole / 2).max(10) {
            return Err(malformed(Error::Malformed)); // 5.2.2.1
        }
        let mut stripped = tsig.stripped(message, start);
        let mac = Chain::new(key, &[]).mac(&stripped, &tsig.stamp());
        stripped[..2].copy_from_slice(&message[..2]); // the response is to the ID that it came with
        if !bool::from(mac.as_ref()[..tsig.mac.len()].ct_eq(tsig.mac)) {
            return Err(not_auth(BADSIG, &[], None, Error::BadSig { key: key.name.clone() }));
        }
        let chain = Chain::new(key, tsig.mac);
        if now.0.abs_diff(tsig.time) > u64::from(tsig.fudge) {
            let why = Error::BadTime { key: key.name.clone(), signed_at: Timestamp(tsig.time), now };
            return Err(not_auth(BADTIME, &now.0.to_be_bytes()[2..], Some(chain), why));
        }
        if tsig.mac.len() < whole {
            return Err(not_auth(BADTRUNC, &[], Some(chain), Error::BadTrunc { key: key.name.clone() }));
        }
        Ok(Some(Verified { message: stripped, signer: Signer { chain } }))
    }
}

/// Signs what answers one request: a response, or the messages of a stream one after the other.
#[derive(Debug)]
pub struct Signer {
    chain: Chain,
}

impl Signer {
    /// Name of the key that signed the request.
    pub fn key(&self) -> &Name {
        &self.chain.key.name
    }

    /// Octets that a signature adds to a message.
    pub fn octets(&self) -> usize {
        let key = &self.chain.key;
        key.name.wire().len() + key.algorithm.wire().len() + key.algorithm.octets() + 26
    }

    /// Signs `message`, with all that was [passed](Self::pass) since the last signature. The first of a stream must be signed,
    /// and the last.
    pub fn sign(&mut self, message: &mut Vec<u8>, now: Timestamp) {
        self.chain.sign(message, &Stamp::new(now));
    }

    /// Takes note of a message of the stream that is sent without a signature: at most [`MAX_UNSIGNED`] in a row.
    pub fn pass(&mut self, message: &[u8]) {
        self.chain.begun().update(message);
    }
}

/// Verifies what answers one request: a response, or the messages of a stream one after the other.
#[derive(Debug)]
pub struct Verifier {
    chain: Chain,
    /// Messages since the last one that was signed.
    unsigned: usize,
}

impl Verifier {
    /// Whether `message`, which came at `now`, is signed, and well. One without a signature is held to be good once a later one
    /// is signed: see [`Verifier::is_whole`].
    ///
    /// # Errors
    /// [`Error`]; the stream is no good then.
    pub fn verify(&mut self, message: &[u8], now: Timestamp) -> Result<bool, Error> {
        let Some((start, tsig)) = Tsig::find(message)? else {
            self.unsigned += 1;
            if self.chain.first || self.unsigned > MAX_UNSIGNED {
                return Err(Error::Unsigned);
            }
            self.chain.begun().update(message);
            return Ok(false);
        };
        let key = self.chain.key.clone();
        if tsig.error != 0 && tsig.mac.is_empty() {
            return Err(Error::Told { error: tsig.error }); // nothing vouches for that, but nothing good came either
        }
        if tsig.key != key.name || tsig.algorithm.to_lowercase().wire() != key.algorithm.wire() {
            return Err(Error::BadKey { key: tsig.key });
        }
        let stripped = tsig.stripped(message, start);
        let mac = self.chain.mac(&stripped, &tsig.stamp());
        if !bool::from(mac.as_ref().ct_eq(tsig.mac)) {
            return Err(Error::BadSig { key: key.name.clone() });
        }
        if tsig.error != 0 {
            return Err(Error::Told { error: tsig.error });
        }
        if now.0.abs_diff(tsig.time) > u64::from(tsig.fudge) {
            return Err(Error::BadTime { key: key.name.clone(), signed_at: Timestamp(tsig.time), now });
        }
        self.chain.signed_by(tsig.mac);
        self.unsigned = 0;
        Ok(true)
    }

    /// Whether the last message was signed, so that all until then are good. A stream must end so.
    pub fn is_whole(&self) -> bool {
        self.unsigned == 0 && !self.chain.first
    }
}

/// What is wrong with a TSIG.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is not the last record, or not the only TSIG, or its RDATA is none.
    #[error("its TSIG is malformed")]
    Malformed,
    /// No such key, or not by this algorithm.
    #[error("no such TSIG key: {key} (BADKEY)")]
    BadKey {
        /// As the message names it.
        key: Name,
    },
    /// The MAC is another.
    #[error("its signature by {key} is wrong (BADSIG)")]
    BadSig {
        /// The key.
        key: Name,
    },
    /// One of the two clocks is wrong.
    #[error("it was signed by {key} at {signed_at}, and here it is {now} (BADTIME)")]
    BadTime {
        /// The key.
        key: Name,
        /// As the signature says.
        signed_at: Timestamp,
        /// Ours.
        now: Timestamp,
    },
    /// The MAC is cut short, which is not taken here.
    #[error("its signature by {key} is cut short (BADTRUNC)")]
    BadTrunc {
        /// The key.
        key: Name,
    },
    /// A response that should have been signed was not, or too many of a stream.
    #[error("it is not signed")]
    Unsigned,
    /// The other side refused our request's TSIG.
    #[error("the other side refused our signature: {}", error_name(*error))]
    Told {
        /// The TSIG error (RFC 8945, 3).
        error: u16,
    },
}

const BADSIG: u16 = 16;
const BADKEY: u16 = 17;
const BADTIME: u16 = 18;
const BADTRUNC: u16 = 22;

fn error_name(error: u16) -> String {
    match error {
        BADSIG => "BADSIG".to_owned(),
        BADKEY => "BADKEY".to_owned(),
        BADTIME => "BADTIME: the clocks differ".to_owned(),
        BADTRUNC => "BADTRUNC".to_owned(),
        other => format!("error {other}"),
    }
}

/// What the MACs of one exchange are made over, one after the other (RFC 8945, 4.3).
struct Chain {
    key: Arc<Key>,
    /// The MAC before, by which each message hangs on the one before it; empty for a request.
    prior: Vec<u8>,
    /// Whether the next MAC is the first of its direction: those after it leave out names (5.3.1).
    first: bool,
    /// Over the prior MAC and the unsigned messages since then.
    begun: Option<hmac::Context>,
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chain({:?})", self.key)
    }
}

impl Chain {
    /// The first of a direction, that hangs on `prior`.
    fn new(key: &Arc<Key>, prior: &[u8]) -> Self {
        Self { key: key.clone(), prior: prior.to_vec(), first: true, begun: None }
    }

    fn begun(&mut self) -> &mut hmac::Context {
        let (key, prior) = (&self.key.hmac, &self.prior);
        self.begun.get_or_insert_with(|| {
            let mut context = hmac::Context::with_key(key);
            if !prior.is_empty() {
                context.update(&(prior.len() as u16).to_be_bytes());
                context.update(prior);
            }
            context
        })
    }

    /// The MAC over all since the one before, with `message`, which has no TSIG.
    fn mac(&mut self, message: &[u8], stamp: &Stamp) -> hmac::Tag {
        self.begun().update(message);
        let mut context = self.begun().clone();
        if self.first {
            context.update(self.key.name.wire());
            context.update(&[0, 255, 0, 0, 0, 0]); // class ANY, TTL 0
            context.update(self.key.algorithm.wire());
        }
        context.update(&stamp.time.to_be_bytes()[2..]);
        context.update(&stamp.fudge.to_be_bytes());
        if self.first {
            context.update(&stamp.error.to_be_bytes());
            context.update(&(stamp.other.len() as u16).to_be_bytes());
            context.update(&stamp.other);
        }
        context.sign()
    }

    /// The next message hangs on `mac`.
    fn signed_by(&mut self, mac: &[u8]) {
        self.prior = mac.to_vec();
        self.first = false;
        self.begun = None;
    }

    fn sign(&mut self, message: &mut Vec<u8>, stamp: &Stamp) {
        let mac = self.mac(message, stamp);
        append(message, self.key.name.wire(), self.key.algorithm.wire(), stamp, mac.as_ref());
        self.signed_by(mac.as_ref());
    }
}

/// The fields of a TSIG that change from one to the next.
struct Stamp {
    /// Seconds since 1970; 48 bits of it are sent.
    time: u64,
    fudge: u16,
    error: u16,
    other: Vec<u8>,
}

impl Stamp {
    fn new(now: Timestamp) -> Self {
        Self { time: now.0, fudge: FUDGE_SECS, error: 0, other: Vec::new() }
    }
}

/// A TSIG record as received (RFC 8945, 4.2).
struct Tsig<'m> {
    key: Name,
    algorithm: Name,
    time: u64,
    fudge: u16,
    mac: &'m [u8],
    original_id: [u8; 2],
    error: u16,
    other: &'m [u8],
}

/// What a message ends with.
enum End<'m> {
    Plain,
    Tsig(usize, Tsig<'m>),
}

impl<'m> Tsig<'m> {
    /// The TSIG of `message` and where it begins, if there is one.
    fn find(message: &'m [u8]) -> Result<Option<(usize, Self)>, Error> {
        let end = Self::walk(message).ok_or(Error::Malformed)?;
        match end {
            End::Plain => Ok(None),
            End::Tsig(start, tsig) => Ok(Some((start, tsig))),
        }
    }

    /// Goes through all records; `None`: they can't be read.
    fn walk(message: &'m [u8]) -> Option<End<'m>> {
        let header = message.first_chunk::<HEADER_OCTETS>()?;
        let count = |at: usize| usize::from(u16::from_be_bytes([header[at], header[at + 1]]));
        let mut at = HEADER_OCTETS;
        for _ in 0..count(4) {
            at += skip_question(message.get(at..)?)?;
        }
        let records = count(6) + count(8) + count(10);
        for index in 0..records {
            let (start, owner) = (at, skip_name(message.get(at..)?)?);
            let [t0, t1, c0, c1, ttl @ .., l0, l1] = *message.get(at + owner..)?.first_chunk::<10>()?;
            let rdata_at = at + owner + 10;
            at = rdata_at + usize::from(u16::from_be_bytes([l0, l1]));
            let rdata = message.get(rdata_at..at)?;
            if [t0, t1] == Rtype::TSIG.0.to_be_bytes() {
                let in_place = index + 1 == records && count(10) > 0 && at == message.len();
                if !in_place || [c0, c1] != CLASS_ANY.to_be_bytes() || ttl != [0; 4] {
                    return None;
                }
                return Some(End::Tsig(start, Self::parse(Name::from_message(message, start)?, rdata)?));
            }
        }
        Some(End::Plain)
    }

    fn parse(key: Name, rdata: &'m [u8]) -> Option<Self> {
        let (algorithm, rest) = rdata.split_at_checked(skip_name(rdata)?)?;
        let algorithm = Name::from_wire(algorithm).ok()?;
        let ([t0, t1, t2, t3, t4, t5, f0, f1, m0, m1], rest) = rest.split_first_chunk::<10>()?;
        let (mac, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([*m0, *m1])))?;
        let ([i0, i1, e0, e1, o0, o1], other) = rest.split_first_chunk::<6>()?;
        (other.len() == usize::from(u16::from_be_bytes([*o0, *o1]))).then_some(Self {
            key,
            algorithm,
            time: u64::from_be_bytes([0, 0, *t0, *t1, *t2, *t3, *t4, *t5]),
            fudge: u16::from_be_bytes([*f0, *f1]),
            mac,
            original_id: [*i0, *i1],
            error: u16::from_be_bytes([*e0, *e1]),
            other,
        })
    }

    /// The message as it was signed: without this record, which begins at `start`, and under its first ID.
    fn stripped(&self, message: &[u8], start: usize) -> Vec<u8> {
        let mut stripped = message[..start].to_vec();
        let additional = u16::from_be_bytes([stripped[10], stripped[11]]) - 1; // it was found there
        stripped[10..12].copy_from_slice(&additional.to_be_bytes());
        stripped[..2].copy_from_slice(&self.original_id);
        stripped
    }

    fn stamp(&self) -> Stamp {
        Stamp { time: self.time, fudge: self.fudge, error: self.error, other: self.other.to_vec() }
    }
}

/// Adds a TSIG record to `message`.
fn append(message: &mut Vec<u8>, key: &[u8], algorithm: &[u8], stamp: &Stamp, mac: &[u8]) {
    let id = [message[0], message[1]];
    let additional = u16::from_be_bytes([message[10], message[11]]) + 1;
    message[10..12].copy_from_slice(&additional.to_be_bytes());
    message.extend_from_slice(key);
    message.extend_from_slice(&Rtype::TSIG.0.to_be_bytes());
    message.extend_from_slice(&CLASS_ANY.to_be_bytes());
    message.extend_from_slice(&[0; 4]);
    let rdata_octets = algorithm.len() + 16 + mac.len() + stamp.other.len();
    message.extend_from_slice(&(rdata_octets as u16).to_be_bytes());
    message.extend_from_slice(algorithm);
    message.extend_from_slice(&stamp.time.to_be_bytes()[2..]);
    message.extend_from_slice(&stamp.fudge.to_be_bytes());
    message.extend_from_slice(&(mac.len() as u16).to_be_bytes());
    message.extend_from_slice(mac);
    message.extend_from_slice(&id);
    message.extend_from_slice(&stamp.error.to_be_bytes());
    message.extend_from_slice(&(stamp.other.len() as u16).to_be_bytes());
    message.extend_from_slice(&stamp.other);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp(1_800_000_000);

    fn key(name: &str, algorithm: Algorithm) -> Key {
        Key::new(&name.parse().unwrap(), algorithm, b"a secret of some octets, shared")
    }

    fn ring() -> KeyRing {
        ["one.example", "two.example", "three.example"]
            .into_iter()
            .zip(Algorithm::ALL)
            .map(|(n, a)| key(n, a))
            .collect()
    }

    fn query() -> Vec<u8> {
        let mut q = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        q.extend_from_slice(b"\x03www\x07example\x03org\0\0\x01\0\x01");
        q
    }

    fn response_to(request: &[u8]) -> Vec<u8> {
        let mut response = request.to_vec();
        response[2] |= 0x80;
        response
    }

    /// The TSIG error of a response, and whether it is signed.
    fn error_of(response: &[u8]) -> (u16, bool) {
        let (_, tsig) = Tsig::find(response).unwrap().unwrap();
        (tsig.error, !tsig.mac.is_empty())
    }

    #[test]
    fn a_request_and_its_response_are_verified() {
        for (name, algorithm) in ["one.example", "two.example", "three.example"].into_iter().zip(Algorithm::ALL) {
            let mut request = query();
            let mut verifier = Arc::new(key(name, algorithm)).sign_request(&mut request, NOW);
            let Verified { message, mut signer } = ring().verify(&request, NOW).unwrap().unwrap();
            assert_eq!((message, signer.key().to_string()), (query(), name.to_owned()));
            let mut response = response_to(&query());
            let plain = response.len();
            signer.sign(&mut response, NOW.after(1));
            assert_eq!(response.len(), plain + signer.octets());
            assert_eq!(verifier.verify(&response, NOW.after(2)), Ok(true));
            assert!(verifier.is_whole());
        }
        assert!(ring().verify(&query(), NOW).unwrap().is_none());
    }

    #[test]
    fn a_request_sent_on_under_another_id_is_still_good() {
        let mut request = query();
        Arc::new(key("one.example", Algorithm::HmacSha256)).sign_request(&mut request, NOW);
        request[0] ^= 0xff;
        let message = ring().verify(&request, NOW).unwrap().unwrap().message;
        assert_eq!((&message[..2], &message[2..]), (&request[..2], &query()[2..]));
    }

    #[test]
    fn each_fault_has_its_response() {
        let signed = |key: Key, at: Timestamp| {
            let mut request = query();
            let verifier = Arc::new(key).sign_request(&mut request, at);
            (request, verifier)
        };
        let refused = |request: &[u8]| ring().verify(request, NOW).unwrap_err();

        for unknown in [key("four.example", Algorithm::HmacSha256), key("one.example", Algorithm::HmacSha384)] {
            let (request, mut verifier) = signed(unknown, NOW);
            let refusal = refused(&request);
            assert!(matches!(refusal.why, Error::BadKey { .. }));
            assert_eq!((refusal.rcode, error_of(&refusal.response)), (Rcode::NotAuth, (BADKEY, false)));
            assert_eq!(verifier.verify(&refusal.response, NOW), Err(Error::Told { error: BADKEY }));
        }

        let other = Key::new(&"one.example".parse().unwrap(), Algorithm::HmacSha256, b"another");
        let refusal = refused(&signed(other, NOW).0);
        assert!(matches!(refusal.why, Error::BadSig { .. }));
        assert_eq!((refusal.rcode, error_of(&refusal.response)), (Rcode::NotAuth, (BADSIG, false)));

        for (at, good) in [(NOW.before(300), true), (NOW.after(300), true), (NOW.before(301), false)] {
            let (request, mut verifier) = signed(key("one.example", Algorithm::HmacSha256), at);
            if good {
                assert!(ring().verify(&request, NOW).unwrap().is_some());
                continue;
            }
            let refusal = refused(&request);
            assert_eq!((refusal.rcode, error_of(&refusal.response)), (Rcode::NotAuth, (BADTIME, true)));
            let (_, tsig) = Tsig::find(&refusal.response).unwrap().unwrap();
            assert_eq!((tsig.time, tsig.other), (at.0, &NOW.0.to_be_bytes()[2..]));
            assert_eq!(verifier.verify(&refusal.response, at), Err(Error::Told { error: BADTIME }), "and it is signed");
        }
    }

    #[test]
    fn a_mac_cut_short_is_told_from_one_that_is_too_short() {
        let mut request = query();
        Arc::new(key("one.example", Algorithm::HmacSha256)).sign_request(&mut request, NOW);
        let (start, tsig) = Tsig::find(&request).unwrap().unwrap();
        let cut = |octets: usize| {
            let mut cut = request[..start].to_vec();
            cut[11] = 0;
            append(&mut cut, tsig.key.wire(), tsig.algorithm.wire(), &tsig.stamp(), &tsig.mac[..octets]);
            ring().verify(&cut, NOW)
        };
        let refusal = cut(16).unwrap_err();
        assert_eq!((refusal.rcode, error_of(&refusal.response)), (Rcode::NotAuth, (BADTRUNC, true)));
        let refusal = cut(15).unwrap_err();
        assert_eq!((refusal.rcode, refusal.response.len()), (Rcode::FormErr, query().len()));
        assert!(cut(32).unwrap().is_some());
    }

    #[test]
    fn a_tsig_that_is_not_last_is_malformed() {
        let mut request = query();
        let key = Arc::new(key("one.example", Algorithm::HmacSha256));
        key.sign_request(&mut request, NOW);
        let mut twice = request.clone();
        key.sign_request(&mut twice, NOW);
        assert_eq!(ring().verify(&twice, NOW).unwrap_err().rcode, Rcode::FormErr);
        request.push(0);
        assert_eq!(ring().verify(&request, NOW).unwrap_err().rcode, Rcode::FormErr);
    }

    /// Sends `messages` messages, each `every`-th signed, and gives what the other side makes of them with `spoil` done.
    fn stream(messages: usize, every: usize, spoil: impl Fn(usize, &mut Vec<u8>)) -> Result<bool, Error> {
        let mut request = query();
        let mut verifier = Arc::new(key("one.example", Algorithm::HmacSha256)).sign_request(&mut request, NOW);
        let mut signer = ring().verify(&request, NOW).unwrap().unwrap().signer;
        for n in 0..messages {
            let mut message = response_to(&query());
            message[13] = b'a' + (n % 26) as u8;
            if n % every == 0 || n + 1 == messages {
                signer.sign(&mut message, NOW);
            } else {
                signer.pass(&message);
            }
            spoil(n, &mut message);
            verifier.verify(&message, NOW)?;
        }
        Ok(verifier.is_whole())
    }

    #[test]
    fn a_stream_is_good_signed_throughout_or_now_and_then() {
        for every in [1, 2, 10, 100] {
            assert_eq!(stream(205, every, |_, _| ()), Ok(true), "each {every}th");
        }
        assert_eq!(stream(205, 102, |_, _| ()), Err(Error::Unsigned));
        for changed in [0, 3, 9] {
            let spoilt = stream(10, 4, |n, message| message[13] ^= u8::from(n == changed));
            assert!(matches!(spoilt, Err(Error::BadSig { .. })), "message {changed}");
        }
    }

    proptest! {
        #[test]
        fn no_octets_make_it_panic(
            head in proptest::collection::vec(any::<u8>(), 0..40),
            cut in 0usize..200, at in 0usize..200, octet: u8,
        ) {
            let _ = ring().verify(&head, NOW);
            let mut request = query();
            let mut verifier = Arc::new(key("one.example", Algorithm::HmacSha256)).sign_request(&mut request, NOW);
            if let Some(place) = request.get_mut(at) {
                *place = octet;
            }
            request.truncate(cut);
            let _ = ring().verify(&request, NOW);
            let _ = verifier.verify(&request, NOW);
        }
    }
}
