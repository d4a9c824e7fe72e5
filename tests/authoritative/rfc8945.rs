//! RFC 8945: TSIG, where it stands in a message. Signed queries, transfers, updates and messages between servers are in `tests/updates.rs`,
//! `tests/secondaries.rs` and `tests/secondary_role.rs`.

use crate::case::*;

/// A TSIG record of a key that nobody knows (4.2).
fn tsig() -> Vec<u8> {
    let head = b"\x07unknown\0\0\xfa\0\xff\0\0\0\0\0\x3d\x0bhmac-sha256\0\0\0\x66\0\0\0\x01\x2c\0\x20";
    [&head[..], &[0; 32], &[0; 6]].concat()
}

#[test]
fn section_5_1_a_record_behind_it_is_formerr() {
    ask("ns2.example.org A").opt(&tsig()).edns(1232).gives("FORMERR no question");
}
