//! RFC 1034: domain names, concepts. What a name server does with a question (4.3.2), aliases (3.6.2), cuts and glue (4.2).

use crate::case::*;

#[test]
fn section_3_6_2_an_alias_is_followed_to_what_it_names() {
    ask("alias.example.org A").gives(
        "NOERROR aa
         an alias.example.org 3600 CNAME www.example.org.
         an www.example.org 3600 A 192.0.2.80
         an www.example.org 3600 A 192.0.2.81",
    );
    ask("alias3.example.org AAAA").gives(
        "NOERROR aa
         an alias3.example.org 3600 CNAME alias2.example.org.
         an alias2.example.org 3600 CNAME alias.example.org.
         an alias.example.org 3600 CNAME www.example.org.
         an www.example.org 3600 AAAA 2001:db8::80",
    );
    ask("alias.example.org CNAME").gives(
        "NOERROR aa
         an alias.example.org 3600 CNAME www.example.org.",
    );
    ask("toapex.example.org MX").gives(
        "NOERROR aa
         an toapex.example.org 3600 CNAME example.org.
         an example.org 3600 MX 10 mail.example.org.
         an example.org 3600 MX 20 mail.example.net.
         an example.org 3600 MX 30 mail.kid.example.org.
         ad mail.example.org 3600 A 192.0.2.25
         ad mail.kid.example.org 3600 A 192.0.2.26",
    );
    ask("c1.example.org A")
        .unlike([Knot], "It follows five aliases of a chain; the other two go on, as we do, up to 16.")
        .gives(
            "NOERROR aa
             an c1.example.org 3600 CNAME c2.example.org.
             an c2.example.org 3600 CNAME c3.example.org.
             an c3.example.org 3600 CNAME c4.example.org.
             an c4.example.org 3600 CNAME c5.example.org.
             an c5.example.org 3600 CNAME c6.example.org.
             an c6.example.org 3600 CNAME c7.example.org.
             an c7.example.org 3600 CNAME www.example.org.
             an www.example.org 3600 A 192.0.2.80
             an www.example.org 3600 A 192.0.2.81",
        );
}

#[test]
fn section_3_6_2_a_chain_ends_where_we_know_no_more() {
    ask("gone.example.org A").gives(
        "NOERROR aa
         an gone.example.org 3600 CNAME www.elsewhere.example.",
    );
}

/// Step 3a of 4.3.2 goes back to step 1, which looks among all zones.
#[test]
fn section_3_6_2_a_chain_into_another_zone_of_ours_is_followed() {
    ask("out.example.org A").unlike([Knot, Bind], ACROSS).gives(
        "NOERROR aa
         an out.example.org 3600 CNAME www.example.net.
         an www.example.net 900 A 198.51.100.80",
    );
    ask("outnx.example.org A").unlike([Knot, Bind], ACROSS).gives(
        "NXDOMAIN aa
         an outnx.example.org 3600 CNAME nothing.example.net.
         au example.net 900 SOA ns.example.org. hostmaster.example.net. 9 7200 900 1209600 3600",
    );
    ask("toout.example.org A").unlike([Knot, Bind], ACROSS).gives(
        "NOERROR aa
         an toout.example.org 3600 CNAME back.example.net.
         an back.example.net 900 CNAME www.example.org.
         an www.example.org 3600 A 192.0.2.80
         an www.example.org 3600 A 192.0.2.81",
    );
    ask("up.kid.example.org A").unlike([Knot, Bind], ACROSS).gives(
        "NOERROR aa
         an up.kid.example.org 600 CNAME www.example.org.
         an www.example.org 3600 A 192.0.2.80
         an www.example.org 3600 A 192.0.2.81",
    );
    ask("tokid.example.org A").unlike([Knot, Bind], ACROSS).gives(
        "NOERROR aa
         an tokid.example.org 3600 CNAME www.kid.example.org.
         an www.kid.example.org 600 A 192.0.2.160",
    );
    ask("tokidcut.example.org A").unlike([Knot, Bind], ACROSS).gives(
        "NOERROR aa
         an tokidcut.example.org 3600 CNAME kid.example.org.
         au kid.example.org 60 SOA ns.kid.example.org. hostmaster.kid.example.org. 7 7200 900 1209600 60",
    );
}

#[test]
fn section_3_6_2_a_chain_into_a_delegated_zone_ends_with_its_referral() {
    ask("tosub.example.org A").gives(
        "NOERROR aa
         an tosub.example.org 3600 CNAME www.sub.example.org.
         au sub.example.org 3600 NS ns.sub.example.org.
         au sub.example.org 3600 NS ns.deep.sub.example.org.
         ad ns.sub.example.org 3600 A 192.0.2.53
         ad ns.sub.example.org 3600 AAAA 2001:db8::53
         ad ns.deep.sub.example.org 3600 A 192.0.2.54",
    );
    ask("tocut.example.org A").gives(
        "NOERROR aa
         an tocut.example.org 3600 CNAME sub.example.org.
         au sub.example.org 3600 NS ns.sub.example.org.
         au sub.example.org 3600 NS ns.deep.sub.example.org.
         ad ns.sub.example.org 3600 A 192.0.2.53
         ad ns.sub.example.org 3600 AAAA 2001:db8::53
         ad ns.deep.sub.example.org 3600 A 192.0.2.54",
    );
    ask("upcut.kid.example.org A").unlike([Knot, Bind], ACROSS).gives(
        "NOERROR aa
         an upcut.kid.example.org 600 CNAME x.sub.example.org.
         au sub.example.org 3600 NS ns.sub.example.org.
         au sub.example.org 3600 NS ns.deep.sub.example.org.
         ad ns.sub.example.org 3600 A 192.0.2.53
         ad ns.sub.example.org 3600 AAAA 2001:db8::53
         ad ns.deep.sub.example.org 3600 A 192.0.2.54",
    );
}

#[test]
fn section_3_6_2_a_loop_is_bounded() {
    ask("loop1.example.org A")
        .unlike([Bind], "A loop is no failure of ours: what of it was found is told. BIND says SERVFAIL.")
        .gives(
            "NOERROR aa
             an loop1.example.org 3600 CNAME loop2.example.org.
             an loop2.example.org 3600 CNAME loop1.example.org.",
        );
    ask("self.example.org A")
        .unlike([Bind], "A loop is no failure of ours: what of it was found is told. BIND says SERVFAIL.")
        .gives(
            "NOERROR aa
             an self.example.org 3600 CNAME self.example.org.",
        );
    ask("self.example.org CNAME").gives(
        "NOERROR aa
         an self.example.org 3600 CNAME self.example.org.",
    );
}

/// In-bailiwick glue, also below another cut; sibling glue; name servers in the zone itself.
#[test]
fn section_4_2_1_glue_below_the_cut_is_in_the_referral() {
    ask("sub.example.org A").gives(
        "NOERROR
         au sub.example.org 3600 NS ns.sub.example.org.
         au sub.example.org 3600 NS ns.deep.sub.example.org.
         ad ns.sub.example.org 3600 A 192.0.2.53
         ad ns.sub.example.org 3600 AAAA 2001:db8::53
         ad ns.deep.sub.example.org 3600 A 192.0.2.54",
    );
    ask("www.below.cutent.example.org A").gives(
        "NOERROR
         au below.cutent.example.org 3600 NS ns.below.cutent.example.org.
         ad ns.below.cutent.example.org 3600 A 192.0.2.62",
    );
    ask("inzone.example.org A").gives(
        "NOERROR
         au inzone.example.org 3600 NS ns1.example.org.
         au inzone.example.org 3600 NS ns2.example.org.
         ad ns1.example.org 3600 A 192.0.2.1
         ad ns1.example.org 3600 AAAA 2001:db8::1
         ad ns2.example.org 3600 A 192.0.2.2",
    );
    ask("sibling.example.org A").gives(
        "NOERROR
         au sibling.example.org 3600 NS ns.sub.example.org.
         au sibling.example.org 3600 NS ns.elsewhere.net.
         ad ns.sub.example.org 3600 A 192.0.2.53
         ad ns.sub.example.org 3600 AAAA 2001:db8::53",
    );
    ask("sibling2.example.org A").gives(
        "NOERROR
         au sibling2.example.org 3600 NS ns.sibling3.example.org.
         ad ns.sibling3.example.org 3600 A 192.0.2.59",
    );
    ask("cut.w.example.org A").gives(
        "NOERROR
         au cut.w.example.org 3600 NS ns1.example.org.
         ad ns1.example.org 3600 A 192.0.2.1
         ad ns1.example.org 3600 AAAA 2001:db8::1",
    );
    ask("grand.kid.example.org A").gives(
        "NOERROR
         au grand.kid.example.org 600 NS ns.grand.kid.example.org.
         au grand.kid.example.org 600 NS ns.sub.example.org.
         ad ns.grand.kid.example.org 600 A 192.0.2.161",
    );
}

#[test]
fn section_4_2_1_name_servers_elsewhere_have_no_glue() {
    ask("plain.example.org A").gives(
        "NOERROR
         au plain.example.org 3600 NS ns.elsewhere.net.
         au plain.example.org 3600 NS ns.elsewhere.example.",
    );
    ask("noglue.example.org A").gives(
        "NOERROR
         au noglue.example.org 3600 NS ns.noglue.example.org.",
    );
    ask("other.example.org A").gives(
        "NOERROR
         au other.example.org 3600 NS ns.example.net.",
    );
    ask("sub.example.net A").gives(
        "NOERROR
         au sub.example.net 900 NS ns.sub.example.org.",
    );
}

/// The child-most zone of those served; names outside are REFUSED.
#[test]
fn section_4_3_2_step_2_the_nearest_zone_answers() {
    ask("kid.example.org TXT").gives(
        "NOERROR aa
         an kid.example.org 600 TXT \"the child itself\"",
    );
    ask("www.kid.example.org A").gives(
        "NOERROR aa
         an www.kid.example.org 600 A 192.0.2.160",
    );
    ask("nothing.kid.example.org A").gives(
        "NXDOMAIN aa
         au kid.example.org 60 SOA ns.kid.example.org. hostmaster.kid.example.org. 7 7200 900 1209600 60",
    );
    ask("kid.example.org NS").gives(
        "NOERROR aa
         an kid.example.org 600 NS ns.kid.example.org.
         ad ns.kid.example.org 600 A 192.0.2.60",
    );
    ask("ns.kid.example.org A").gives(
        "NOERROR aa
         an ns.kid.example.org 600 A 192.0.2.60",
    );
    ask("example.com A").gives("REFUSED");
    ask("org NS").gives("REFUSED");
    ask(". NS").gives("REFUSED");
}

#[test]
fn section_4_3_2_step_3a_data_is_answered_whole() {
    ask("www.example.org A").gives(
        "NOERROR aa
         an www.example.org 3600 A 192.0.2.80
         an www.example.org 3600 A 192.0.2.81",
    );
    ask("www.example.org TXT").gives(
        "NOERROR aa
         an www.example.org 60 TXT \"another TTL\"",
    );
    ask("example.org SOA").gives(
        "NOERROR aa
         an example.org 3600 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
    );
    ask("example.org TXT").gives(
        "NOERROR aa
         an example.org 3600 TXT \"v=spf1 -all\"",
    );
}

/// AA is clear; what the cut occludes is not there, be it another cut or a wildcard.
#[test]
fn section_4_3_2_step_3b_at_and_below_a_cut_it_refers() {
    ask("sub.example.org NS").gives(
        "NOERROR
         au sub.example.org 3600 NS ns.sub.example.org.
         au sub.example.org 3600 NS ns.deep.sub.example.org.
         ad ns.sub.example.org 3600 A 192.0.2.53
         ad ns.sub.example.org 3600 AAAA 2001:db8::53
         ad ns.deep.sub.example.org 3600 A 192.0.2.54",
    );
    ask("sub.example.org MX").gives(
        "NOERROR
         au sub.example.org 3600 NS ns.sub.example.org.
         au sub.example.org 3600 NS ns.deep.sub.example.org.
         ad ns.sub.example.org 3600 A 192.0.2.53
         ad ns.sub.example.org 3600 AAAA 2001:db8::53
         ad ns.deep.sub.example.org 3600 A 192.0.2.54",
    );
    ask("www.sub.example.org A").gives(
        "NOERROR
         au sub.example.org 3600 NS ns.sub.example.org.
         au sub.example.org 3600 NS ns.deep.sub.example.org.
         ad ns.sub.example.org 3600 A 192.0.2.53
         ad ns.sub.example.org 3600 AAAA 2001:db8::53
         ad ns.deep.sub.example.org 3600 A 192.0.2.54",
    );
    ask("ns.sub.example.org A")
        .longer("Referrals are laid out ahead, so glue is not pointed at the question that names it.")
        .gives(
            "NOERROR
             au sub.example.org 3600 NS ns.sub.example.org.
             au sub.example.org 3600 NS ns.deep.sub.example.org.
             ad ns.sub.example.org 3600 A 192.0.2.53
             ad ns.sub.example.org 3600 AAAA 2001:db8::53
             ad ns.deep.sub.example.org 3600 A 192.0.2.54",
        );
    ask("other.sub.example.org TXT").gives(
        "NOERROR
         au sub.example.org 3600 NS ns.sub.example.org.
         au sub.example.org 3600 NS ns.deep.sub.example.org.
         ad ns.sub.example.org 3600 A 192.0.2.53
         ad ns.sub.example.org 3600 AAAA 2001:db8::53
         ad ns.deep.sub.example.org 3600 A 192.0.2.54",
    );
    ask("www.under.sub.example.org A").gives(
        "NOERROR
         au sub.example.org 3600 NS ns.sub.example.org.
         au sub.example.org 3600 NS ns.deep.sub.example.org.
         ad ns.sub.example.org 3600 A 192.0.2.53
         ad ns.sub.example.org 3600 AAAA 2001:db8::53
         ad ns.deep.sub.example.org 3600 A 192.0.2.54",
    );
    ask("x.wild.sub.example.org A").gives(
        "NOERROR
         au sub.example.org 3600 NS ns.sub.example.org.
         au sub.example.org 3600 NS ns.deep.sub.example.org.
         ad ns.sub.example.org 3600 A 192.0.2.53
         ad ns.sub.example.org 3600 AAAA 2001:db8::53
         ad ns.deep.sub.example.org 3600 A 192.0.2.54",
    );
    ask("ns.deleg.wns.example.org A")
        .longer("Referrals are laid out ahead, so glue is not pointed at the question that names it.")
        .gives(
            "NOERROR
             au deleg.wns.example.org 3600 NS ns.deleg.wns.example.org.
             ad ns.deleg.wns.example.org 3600 A 192.0.2.92",
        );
}

#[test]
fn section_4_3_2_step_6_names_in_the_answer_bring_their_addresses() {
    ask("example.org NS").gives(
        "NOERROR aa
         an example.org 3600 NS ns1.example.org.
         an example.org 3600 NS ns2.example.org.
         an example.org 3600 NS ns.elsewhere.net.
         ad ns1.example.org 3600 A 192.0.2.1
         ad ns1.example.org 3600 AAAA 2001:db8::1
         ad ns2.example.org 3600 A 192.0.2.2",
    );
    ask("example.org MX").gives(
        "NOERROR aa
         an example.org 3600 MX 10 mail.example.org.
         an example.org 3600 MX 20 mail.example.net.
         an example.org 3600 MX 30 mail.kid.example.org.
         ad mail.example.org 3600 A 192.0.2.25
         ad mail.kid.example.org 3600 A 192.0.2.26",
    );
    ask("mx.kid.example.org MX").gives(
        "NOERROR aa
         an mx.kid.example.org 600 MX 10 mail.example.org.
         an mx.kid.example.org 600 MX 20 ns.kid.example.org.
         ad ns.kid.example.org 600 A 192.0.2.60",
    );
    ask("nullmx.example.org MX").gives(
        "NOERROR aa
         an nullmx.example.org 3600 MX 0 .",
    );
}
