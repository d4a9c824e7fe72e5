//! RFC 9619: a query has one question.

use crate::case::*;

#[test]
fn section_4_no_question_is_formerr() {
    ask("www.example.org A")
        .changed(|p| p[5] = 0)
        .unlike([Knot], "It stays silent, so who asks waits in vain.")
        .gives("FORMERR no question");
    ask("www.example.org A").changed(|p| p[5] = 0).changed(|p| p.truncate(12)).gives("FORMERR no question");
}

#[test]
fn section_4_two_questions_are_formerr() {
    ask("www.example.org A")
        .changed(|p| p[5] = 2)
        .unlike([Knot], "It stays silent, so who asks waits in vain.")
        .gives("FORMERR no question");
    let again = |p: &mut Vec<u8>| {
        p[5] = 2;
        p.extend_from_within(12..);
    };
    ask("www.example.org A")
        .changed(again)
        .unlike([Knot], "It stays silent, so who asks waits in vain.")
        .gives("FORMERR no question");
}
