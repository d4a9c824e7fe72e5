//! One response, stage by stage, from one immutable snapshot.
//!
//! [`answer()`] serves UDP and TCP, tests and fuzzing alike. It reads the [`Snapshot`] and nothing else: no I/O, no clock, no
//! lock, no allocation but where compact denial signs as it answers. Instant and draw come in with the [`Context`]; what is
//! counted goes out through the [`Tally`].

pub mod ahead;
mod answer;
pub mod cookies;
pub mod demand;
pub mod limit;
pub mod nest;
pub mod planned;
pub mod pool;
pub mod pools;
pub mod readers;
pub mod sample;
pub mod snapshot;
pub mod tally;
mod union;

pub use answer::{Context, MOST_NSID_OCTETS, TCP_IDLE, Transport, answer, limited};
pub use cookies::Cookies;
pub use limit::{RateLimit, Verdict};
pub use planned::PlannedRrsets;
pub use pool::{Pool, Records};
pub use pools::Pools;
pub use readers::{Reader, Readers};
pub use snapshot::Snapshot;
pub use tally::{Counters, Tally};
pub use union::Union;
