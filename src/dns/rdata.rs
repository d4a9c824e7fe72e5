//! Text and wire forms of RDATA, by hickory-proto where it is right.
