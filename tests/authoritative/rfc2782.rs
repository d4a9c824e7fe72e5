//! RFC 2782: SRV. Addresses of targets are added.

use crate::case::*;

#[test]
fn targets_bring_their_addresses() {
    ask("_sip._tcp.example.org SRV").gives(
        "NOERROR aa
         an _sip._tcp.example.org 3600 SRV 10 20 5060 sip.example.org.
         an _sip._tcp.example.org 3600 SRV 20 20 5060 sip.example.net.
         ad sip.example.org 3600 A 192.0.2.61
         ad sip.example.org 3600 AAAA 2001:db8::61",
    );
    ask("srvmany.example.org SRV").gives(
        "NOERROR aa
         an srvmany.example.org 3600 SRV 1 1 1 ns1.example.org.
         an srvmany.example.org 3600 SRV 1 1 2 ns2.example.org.
         an srvmany.example.org 3600 SRV 1 1 3 sip.example.org.
         an srvmany.example.org 3600 SRV 1 1 4 www.example.org.
         an srvmany.example.org 3600 SRV 1 1 5 mail.kid.example.org.
         an srvmany.example.org 3600 SRV 1 1 6 www.w.example.org.
         an srvmany.example.org 3600 SRV 1 1 7 ns.sub.example.org.",
    );
    ask("x.w7.example.org SRV").gives(
        "NOERROR aa
         an x.w7.example.org 3600 SRV 0 0 443 www.example.org.
         ad www.example.org 3600 A 192.0.2.80
         ad www.example.org 3600 A 192.0.2.81
         ad www.example.org 3600 AAAA 2001:db8::80",
    );
}

#[test]
fn the_root_as_target_means_no_service() {
    ask("_sip._udp.example.org SRV").gives(
        "NOERROR aa
         an _sip._udp.example.org 3600 SRV 0 0 0 .",
    );
}

#[test]
fn targets_below_a_cut() {
    ask("_ldap._tcp.example.org SRV").gives(
        "NOERROR aa
         an _ldap._tcp.example.org 3600 SRV 0 5 389 ns.sub.example.org.
         ad ns.sub.example.org 3600 A 192.0.2.53
         ad ns.sub.example.org 3600 AAAA 2001:db8::53",
    );
}
