//! TSIG: requests, responses and streams of messages signed with shared secrets (RFC 8945).
//!
//! Everything here works on octets: what was received is verified as it came, what is sent is signed as it stands. The instant
//! comes in as an argument. hickory-proto's `TSigner` signs only messages of its own type, one by one, and has no streams; the
//! HMAC is aws-lc-rs'.
//!
//! A server asks its [`KeyRing`] what a request is; a good one comes with the [`Signer`] of its response. A client signs by
//! [`Key::sign_request`] and has a [`Verifier`] of what comes back. Both go on over all messages of a transfer (5.3.1).

mod key;
mod record;

pub use key::{Algorithm, Key};

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hmac;
use subtle::ConstantTimeEq;

use crate::dns::Name;
use crate::dns::wire::Rcode;
use crate::dns::wire::records::without_records;
use crate::time::Timestamp;
use record::{Stamp, Tsig, append};

/// How far clocks may differ (RFC 8945, 10).
pub const FUDGE_SECS: u16 = 300;
/// So many messages of a stream may come in a row without a signature (RFC 8945, 5.3.1).
pub const MAX_UNSIGNED: usize = 99;

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

impl Key {
    /// Signs `message`, a request, and gives what verifies the response to it.
    pub fn sign_request(self: &Arc<Self>, message: &mut Vec<u8>, now: Timestamp) -> Verifier {
        let mut request = Chain::new(self, &[]);
        request.sign(message, &Stamp::new(now));
        Verifier { chain: Chain::new(self, &request.prior), unsigned: 0 }
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

#[cfg(test)]
mod tests;
