//! The one writer: commands, observations and ticks in; a new snapshot out.
//!
//! All state has one owner, the task behind [`Handle`]. Each command is decided by a pure function, made durable, then
//! published, then answered, in this order. What a command and its answer look like is in [`message`]; HTTP knows these
//! shapes as JSON, the inside knows nothing of HTTP.

pub mod carried;
pub mod catalog;
pub mod clock;
pub mod copy;
pub mod decide;
pub mod dnssec;
pub mod error;
mod explain;
pub mod forwarders;
mod groups;
mod handle;
pub mod health;
pub mod horizons;
pub mod journal;
pub mod message;
pub mod notices;
mod numbers;
pub mod overrides;
pub mod planned;
pub mod reconcile;
pub mod records;
mod rules;
pub mod state;
pub mod targets;
mod updates;
pub mod watch;
pub mod which;
mod writer;
pub mod zones;

pub use error::{ControlError, Fault};
pub use explain::Question;
pub use handle::{AuditQuery, Handle};
pub use numbers::StoreNumbers;
pub use writer::{Start, StartError, Writer, start};
pub use zones::{ZoneChange, ZoneChanged, ZoneError, ZoneEvent};
