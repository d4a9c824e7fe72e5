//! RFC 4343: letter case. The question comes back as asked, which 0x20 relies on; data keeps the case of the zone.

use crate::case::*;

#[test]
fn section_3_names_are_found_in_any_case() {
    ask("WwW.eXaMpLe.OrG A").gives(
        "NOERROR aa
         an WwW.eXaMpLe.OrG 3600 A 192.0.2.80
         an WwW.eXaMpLe.OrG 3600 A 192.0.2.81",
    );
    ask("MIXED.example.org TXT").gives(
        "NOERROR aa
         an MIXED.example.org 3600 TXT \"As Written\"",
    );
    ask("NoThInG.example.ORG A").gives(
        "NXDOMAIN aa
         au example.ORG 300 SOA ns1.example.ORG. hostmaster.example.ORG. 2026010101 7200 900 1209600 300",
    );
    ask("x.W2.example.org A").gives(
        "NOERROR aa
         an x.W2.example.org 3600 CNAME www.example.org.
         an www.example.org 3600 A 192.0.2.80
         an www.example.org 3600 A 192.0.2.81",
    );
}

#[test]
fn section_4_1_data_keeps_its_case() {
    ask("aliascase.example.org CNAME").gives(
        "NOERROR aa
         an aliascase.example.org 3600 CNAME WWW.Example.ORG.",
    );
    ask("aliascase.example.org A").gives(
        "NOERROR aa
         an aliascase.example.org 3600 CNAME WWW.example.org.
         an WWW.example.org 3600 A 192.0.2.80
         an WWW.example.org 3600 A 192.0.2.81",
    );
    ask("HOST.Dname.example.org A").gives(
        "NXDOMAIN aa
         an Dname.example.org 3600 DNAME target.example.org.
         an HOST.Dname.example.org 3600 CNAME HOST.target.example.org.
         au example.org 300 SOA ns1.example.org. hostmaster.example.org. 2026010101 7200 900 1209600 300",
    );
}
