//! RFC 9460: SVCB and HTTPS. Additional data of an authoritative server (4.1).

use crate::case::*;

#[test]
fn section_2_5_2_service_mode_at_the_owner_itself() {
    ask("svc.example.org HTTPS").gives(
        "NOERROR aa
         an svc.example.org 3600 HTTPS 1 . alpn=\"h2,h3\" ipv4hint=192.0.2.80",
    );
}

#[test]
fn section_4_1_targets_bring_their_addresses() {
    ask("svc2.example.org HTTPS").gives(
        "NOERROR aa
         an svc2.example.org 3600 HTTPS 1 www.example.org. alpn=\"h2\"
         an svc2.example.org 3600 HTTPS 2 sip.example.org. port=8443
         an svc2.example.org 3600 HTTPS 3 www.example.net.
         ad www.example.org 3600 A 192.0.2.80
         ad www.example.org 3600 A 192.0.2.81
         ad www.example.org 3600 AAAA 2001:db8::80
         ad sip.example.org 3600 A 192.0.2.61
         ad sip.example.org 3600 AAAA 2001:db8::61",
    );
    ask("_dns.example.org SVCB").gives(
        "NOERROR aa
         an _dns.example.org 3600 SVCB 1 sip.example.org. alpn=\"dot\"
         an _dns.example.org 3600 SVCB 2 alias.example.org. alpn=\"dot\"
         ad sip.example.org 3600 A 192.0.2.61
         ad sip.example.org 3600 AAAA 2001:db8::61",
    );
    ask("x.w7.example.org HTTPS").gives(
        "NOERROR aa
         an x.w7.example.org 3600 HTTPS 1 . alpn=\"h2\"",
    );
}

#[test]
fn section_2_4_2_alias_mode() {
    ask("svc3.example.org HTTPS").gives(
        "NOERROR aa
         an svc3.example.org 3600 HTTPS 0 svc.example.org.
         ad svc.example.org 3600 A 192.0.2.84
         ad svc.example.org 3600 AAAA 2001:db8::84",
    );
}

#[test]
fn section_4_1_at_an_alias() {
    ask("alias.example.org HTTPS").gives(
        "NOERROR aa
         an alias.example.org 3600 CNAME www.example.org.
         au example.org 300 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
    );
}
