//! Authoritative answers, filed by RFC and section. Each case is a question, the answer to the letter, and the same question
//! to NSD, Knot DNS and BIND as installed, over the same zones (`tests/references`): who answers otherwise is named at the
//! case, with the reason for our choice. `tests/differential.rs` asks all four tens of thousands of questions more.

#[path = "../support/answers.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod answers;
mod case;
#[path = "../references/mod.rs"]
mod references;

mod rfc1034;
mod rfc1035;
mod rfc2181;
mod rfc2308;
mod rfc2782;
mod rfc3403;
mod rfc3597;
mod rfc4035;
mod rfc4343;
mod rfc4592;
mod rfc5001;
mod rfc5155;
mod rfc6604;
mod rfc6672;
mod rfc6698;
mod rfc6891;
mod rfc7505;
mod rfc7828;
mod rfc7871;
mod rfc7873;
mod rfc8020;
mod rfc8467;
mod rfc8482;
mod rfc8659;
mod rfc8906;
mod rfc8914;
mod rfc8945;
mod rfc9460;
mod rfc9471;
mod rfc9619;
