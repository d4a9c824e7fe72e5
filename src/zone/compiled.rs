//! The compiled zone.
pub struct Zone;
