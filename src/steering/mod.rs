//! Steering: which endpoint a client is given, for how long, and when no cache can hold it any more.
//!
//! Pure decisions: instants, keys and draws come in as arguments, nothing here does I/O, reads a clock or draws.
//! `control` feeds these with commands and observations; `query` asks what they compiled.
//!
//! The words, each defined once:
//! - *site* ([`pool::Site`]): a place that serves, by name; an operator may drain or retire it.
//! - *pool* ([`pool::Settings`]): the endpoints that can answer for one owner name.
//! - *endpoint* ([`pool::Endpoint`]): one choice in a pool: a site and its RDATA for each type, or another pool.
//! - *leaf* ([`nest`]): an endpoint with records of its own that a pool leads to, itself or through pools below it.
//! - *weight* ([`pool::Weight`]): the share of resolver demand that an endpoint is given, relative to the others'.
//! - *share table* ([`share::ShareTable`]): which part of the points 0..2^64 each endpoint has.
//! - *client key* ([`key::ClientKey`]): what an answer sticks to. *Point*: where its hash falls.
//! - *farm* ([`client::Farms`]): resolvers that are one client key.
//! - *demand* ([`demand`]): how much of the queries each client key asks; *load*: the same by point.
//! - *effective TTL* ([`effective_ttl`]): how long a client really holds an answer, as far as its queries tell.
//! - *observation*, *health* ([`health`]): the outcome of one probe; up or down since when.
//! - *override* ([`pool::Override`]): an operator's word over health.
//! - *cutover* ([`ttl::Cutover`]): the planned instant of a change; it steers TTLs only.
//! - *planned RRset* ([`planned::Settings`]): an RRset that the zone itself answers, at a TTL that follows a cutover.
//! - *straggler* ([`straggler`]): a client that reaches the old site's forwarder after the horizon, and why it may.
//! - *cache horizon* ([`horizon`]): after it no cache that obeys TTLs holds an answer that named an endpoint, or gave an RRset as it
//!   was.

pub mod cap;
pub mod client;
pub mod damping;
pub mod demand;
pub mod effective_ttl;
pub mod flip;
pub mod health;
pub mod horizon;
pub mod key;
pub mod nest;
pub mod networks;
pub mod planned;
pub mod pool;
pub mod prefixes;
pub mod select;
pub mod share;
pub mod straggler;
pub mod ttl;
