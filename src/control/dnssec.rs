//! What operators ask and are told of the signing of a zone.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::dns::Name;
use crate::time::Timestamp;
use crate::zone::signing::keys::SigningKey;
use crate::zone::signing::rollover::{Entering, Life, Role};

/// An operator's word.
#[derive(Clone, Debug)]
pub enum DnssecWish {
    /// The keys of this role are to be replaced; of all roles, where none is named.
    Roll(Option<Role>),
    /// The parent has the DS RRset that CDS asks for; or none any more, where the zone leaves DNSSEC.
    ConfirmDs,
    /// The zone is to be unsigned.
    Leave,
    /// These keys, made elsewhere, are the zone's.
    Import(Vec<Imported>, Entering),
}

/// A key that was made elsewhere.
#[derive(Clone, Debug)]
pub struct Imported {
    /// With the flags of a KSK or CSK, or of a ZSK.
    pub key: Arc<SigningKey>,
    /// What it is for; `None`: what keys of such flags are for by the zone's policy.
    pub role: Option<Role>,
}

/// How a zone is signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnssecStatus {
    /// The zone.
    pub zone: Name,
    /// Its keys, from the oldest to the newest.
    pub keys: Vec<KeyStatus>,
    /// Whether the parent is asked for a DS RRset that it is not known to have.
    pub waits_for_parent: bool,
    /// Since when the zone is on its way to be unsigned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaving: Option<Timestamp>,
    /// When signatures or keys change next by themselves.
    pub next: Timestamp,
}

/// A key of a zone. Its private half is told to nobody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyStatus {
    /// What has become of it.
    #[serde(flatten)]
    pub life: Life,
    /// RDATA of its DNSKEY as text.
    pub dnskey: String,
    /// RDATA of its DS as text, with SHA-256; none for a ZSK.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ds: Option<String>,
    /// Whether the parent's DS RRset is to have it.
    pub wanted_at_parent: bool,
}
