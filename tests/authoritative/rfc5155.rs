//! RFC 5155: signed zones with NSEC3. The proofs of section 7.2.

use crate::case::*;

#[test]
fn section_7_2_2_nxdomain() {
    ask("nothing.hashed.example A").dnssec().gives(
        "NXDOMAIN aa
         au hashed.example 300 SOA ns.hashed.example. hostmaster.hashed.example. 3 7200 900 1209600 300
         au hashed.example 300 RRSIG SOA
         au P8JH5H5MFIBCABQV7CDAU8HMBGCJASHR.hashed.example 300 NSEC3 1 0 2 AABBCCDD R9A28O2C98BJ9259877LM48PKJDTTJTF NS SOA MX RRSIG DNSKEY NSEC3PARAM
         au P8JH5H5MFIBCABQV7CDAU8HMBGCJASHR.hashed.example 300 RRSIG NSEC3
         au SFBU5VM89LRG0OLJCI7IDBVPG09841HC.hashed.example 300 NSEC3 1 0 2 AABBCCDD VNF9P1F9DBKMDO67ELRBVFSB4SIQ36DU CNAME RRSIG
         au SFBU5VM89LRG0OLJCI7IDBVPG09841HC.hashed.example 300 RRSIG NSEC3
         au EARPUO9B9V9CBLA9DLDGFH8UOHLKSQLM.hashed.example 300 NSEC3 1 0 2 AABBCCDD FUB1GMFKM82QAU8LOIRKR4VN8GAN9COS CNAME RRSIG
         au EARPUO9B9V9CBLA9DLDGFH8UOHLKSQLM.hashed.example 300 RRSIG NSEC3
         edns 1232 do",
    );
    ask("a.b.nothing.hashed.example A").dnssec().gives(
        "NXDOMAIN aa
         au hashed.example 300 SOA ns.hashed.example. hostmaster.hashed.example. 3 7200 900 1209600 300
         au hashed.example 300 RRSIG SOA
         au P8JH5H5MFIBCABQV7CDAU8HMBGCJASHR.hashed.example 300 NSEC3 1 0 2 AABBCCDD R9A28O2C98BJ9259877LM48PKJDTTJTF NS SOA MX RRSIG DNSKEY NSEC3PARAM
         au P8JH5H5MFIBCABQV7CDAU8HMBGCJASHR.hashed.example 300 RRSIG NSEC3
         au SFBU5VM89LRG0OLJCI7IDBVPG09841HC.hashed.example 300 NSEC3 1 0 2 AABBCCDD VNF9P1F9DBKMDO67ELRBVFSB4SIQ36DU CNAME RRSIG
         au SFBU5VM89LRG0OLJCI7IDBVPG09841HC.hashed.example 300 RRSIG NSEC3
         au EARPUO9B9V9CBLA9DLDGFH8UOHLKSQLM.hashed.example 300 NSEC3 1 0 2 AABBCCDD FUB1GMFKM82QAU8LOIRKR4VN8GAN9COS CNAME RRSIG
         au EARPUO9B9V9CBLA9DLDGFH8UOHLKSQLM.hashed.example 300 RRSIG NSEC3
         edns 1232 do",
    );
}

#[test]
fn section_7_2_3_nodata() {
    ask("www.hashed.example MX").dnssec().gives(
        "NOERROR aa
         au hashed.example 300 SOA ns.hashed.example. hostmaster.hashed.example. 3 7200 900 1209600 300
         au hashed.example 300 RRSIG SOA
         au L22VNSQ5T4G0PVQGRJ1B9HR097KL10B4.hashed.example 300 NSEC3 1 0 2 AABBCCDD LT1BCJ1IOL5DRH2TIO54UIOINPD6MILI A AAAA RRSIG
         au L22VNSQ5T4G0PVQGRJ1B9HR097KL10B4.hashed.example 300 RRSIG NSEC3
         edns 1232 do",
    );
    ask("b.c.ent.hashed.example A").dnssec().gives(
        "NOERROR aa
         au hashed.example 300 SOA ns.hashed.example. hostmaster.hashed.example. 3 7200 900 1209600 300
         au hashed.example 300 RRSIG SOA
         au 9LULQCVGKI3FPM6BAQL52M3E5365B1C7.hashed.example 300 NSEC3 1 0 2 AABBCCDD AB39Q8TC35Q421BPJ5NA8UAJVVOIVKUN
         au 9LULQCVGKI3FPM6BAQL52M3E5365B1C7.hashed.example 300 RRSIG NSEC3
         edns 1232 do",
    );
}

#[test]
fn section_7_2_4_nodata_of_ds() {
    ask("sub.hashed.example DS").dnssec().gives(
        "NOERROR aa
         au hashed.example 300 SOA ns.hashed.example. hostmaster.hashed.example. 3 7200 900 1209600 300
         au hashed.example 300 RRSIG SOA
         au VNF9P1F9DBKMDO67ELRBVFSB4SIQ36DU.hashed.example 300 NSEC3 1 0 2 AABBCCDD VV7LI94GJUQGLC09OCPOPJB9OCAFP60I NS
         au VNF9P1F9DBKMDO67ELRBVFSB4SIQ36DU.hashed.example 300 RRSIG NSEC3
         edns 1232 do",
    );
    ask("www.hashed.example DS").dnssec().gives(
        "NOERROR aa
         au hashed.example 300 SOA ns.hashed.example. hostmaster.hashed.example. 3 7200 900 1209600 300
         au hashed.example 300 RRSIG SOA
         au L22VNSQ5T4G0PVQGRJ1B9HR097KL10B4.hashed.example 300 NSEC3 1 0 2 AABBCCDD LT1BCJ1IOL5DRH2TIO54UIOINPD6MILI A AAAA RRSIG
         au L22VNSQ5T4G0PVQGRJ1B9HR097KL10B4.hashed.example 300 RRSIG NSEC3
         edns 1232 do",
    );
}

#[test]
fn section_7_2_5_nodata_at_a_wildcard() {
    ask("x.w.hashed.example TXT").dnssec().gives(
        "NOERROR aa
         au hashed.example 300 SOA ns.hashed.example. hostmaster.hashed.example. 3 7200 900 1209600 300
         au hashed.example 300 RRSIG SOA
         au 18ONE81C731Q0KPJBFM1LV3BRU1S32L2.hashed.example 300 NSEC3 1 0 2 AABBCCDD 3FJ69RJPOSREDFFIEKOL1F83AIKP5LOD
         au 18ONE81C731Q0KPJBFM1LV3BRU1S32L2.hashed.example 300 RRSIG NSEC3
         au P8JH5H5MFIBCABQV7CDAU8HMBGCJASHR.hashed.example 300 NSEC3 1 0 2 AABBCCDD R9A28O2C98BJ9259877LM48PKJDTTJTF NS SOA MX RRSIG DNSKEY NSEC3PARAM
         au P8JH5H5MFIBCABQV7CDAU8HMBGCJASHR.hashed.example 300 RRSIG NSEC3
         au 7MA6CND33VUI9M1Q1MACB1DHGRPH6KHJ.hashed.example 300 NSEC3 1 0 2 AABBCCDD 9BOSFVEQQ1OA1NPJ5I38FP0VL51LK5D9 A MX RRSIG
         au 7MA6CND33VUI9M1Q1MACB1DHGRPH6KHJ.hashed.example 300 RRSIG NSEC3
         edns 1232 do",
    );
}

#[test]
fn section_7_2_6_an_answer_by_a_wildcard() {
    ask("x.w.hashed.example A").dnssec().gives(
        "NOERROR aa
         an x.w.hashed.example 3600 A 192.0.2.82
         an x.w.hashed.example 3600 RRSIG A
         au P8JH5H5MFIBCABQV7CDAU8HMBGCJASHR.hashed.example 300 NSEC3 1 0 2 AABBCCDD R9A28O2C98BJ9259877LM48PKJDTTJTF NS SOA MX RRSIG DNSKEY NSEC3PARAM
         au P8JH5H5MFIBCABQV7CDAU8HMBGCJASHR.hashed.example 300 RRSIG NSEC3
         edns 1232 do",
    );
    ask("x.wcn.hashed.example A").dnssec().gives(
        "NXDOMAIN aa
         an x.wcn.hashed.example 3600 CNAME nothing.hashed.example.
         an x.wcn.hashed.example 3600 RRSIG CNAME
         au hashed.example 300 SOA ns.hashed.example. hostmaster.hashed.example. 3 7200 900 1209600 300
         au hashed.example 300 RRSIG SOA
         au 5R1T3O59OJC843C55E9PRABLP9F3JHV8.hashed.example 300 NSEC3 1 0 2 AABBCCDD 7MA6CND33VUI9M1Q1MACB1DHGRPH6KHJ DNAME RRSIG
         au 5R1T3O59OJC843C55E9PRABLP9F3JHV8.hashed.example 300 RRSIG NSEC3
         au P8JH5H5MFIBCABQV7CDAU8HMBGCJASHR.hashed.example 300 NSEC3 1 0 2 AABBCCDD R9A28O2C98BJ9259877LM48PKJDTTJTF NS SOA MX RRSIG DNSKEY NSEC3PARAM
         au P8JH5H5MFIBCABQV7CDAU8HMBGCJASHR.hashed.example 300 RRSIG NSEC3
         au SFBU5VM89LRG0OLJCI7IDBVPG09841HC.hashed.example 300 NSEC3 1 0 2 AABBCCDD VNF9P1F9DBKMDO67ELRBVFSB4SIQ36DU CNAME RRSIG
         au SFBU5VM89LRG0OLJCI7IDBVPG09841HC.hashed.example 300 RRSIG NSEC3
         au EARPUO9B9V9CBLA9DLDGFH8UOHLKSQLM.hashed.example 300 NSEC3 1 0 2 AABBCCDD FUB1GMFKM82QAU8LOIRKR4VN8GAN9COS CNAME RRSIG
         au EARPUO9B9V9CBLA9DLDGFH8UOHLKSQLM.hashed.example 300 RRSIG NSEC3
         edns 1232 do",
    );
}

#[test]
fn section_7_2_7_referrals() {
    ask("x.sub.hashed.example A").dnssec().gives(
        "NOERROR
         au sub.hashed.example 3600 NS ns.sub.hashed.example.
         au sub.hashed.example 3600 NS ns.hashed.example.
         au VNF9P1F9DBKMDO67ELRBVFSB4SIQ36DU.hashed.example 300 NSEC3 1 0 2 AABBCCDD VV7LI94GJUQGLC09OCPOPJB9OCAFP60I NS
         au VNF9P1F9DBKMDO67ELRBVFSB4SIQ36DU.hashed.example 300 RRSIG NSEC3
         ad ns.sub.hashed.example 3600 A 192.0.2.53
         ad ns.hashed.example 3600 A 192.0.2.1
         ad ns.hashed.example 3600 RRSIG A
         ad ns.hashed.example 3600 AAAA 2001:db8::1
         ad ns.hashed.example 3600 RRSIG AAAA
         edns 1232 do",
    );
    ask("x.safe.hashed.example A").dnssec().gives(
        "NOERROR
         au safe.hashed.example 3600 NS ns.safe.hashed.example.
         au safe.hashed.example 3600 DS 12345 13 2 000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F
         au safe.hashed.example 3600 RRSIG DS
         ad ns.safe.hashed.example 3600 A 192.0.2.54
         edns 1232 do",
    );
}

#[test]
fn section_7_2_8_the_owner_of_an_nsec3_record_does_not_exist() {
    ask("p8jh5h5mfibcabqv7cdau8hmbgcjashr.hashed.example NSEC3").dnssec().gives(
        "NXDOMAIN aa
         au hashed.example 300 SOA ns.hashed.example. hostmaster.hashed.example. 3 7200 900 1209600 300
         au hashed.example 300 RRSIG SOA
         au P8JH5H5MFIBCABQV7CDAU8HMBGCJASHR.hashed.example 300 NSEC3 1 0 2 AABBCCDD R9A28O2C98BJ9259877LM48PKJDTTJTF NS SOA MX RRSIG DNSKEY NSEC3PARAM
         au P8JH5H5MFIBCABQV7CDAU8HMBGCJASHR.hashed.example 300 RRSIG NSEC3
         au EARPUO9B9V9CBLA9DLDGFH8UOHLKSQLM.hashed.example 300 NSEC3 1 0 2 AABBCCDD FUB1GMFKM82QAU8LOIRKR4VN8GAN9COS CNAME RRSIG
         au EARPUO9B9V9CBLA9DLDGFH8UOHLKSQLM.hashed.example 300 RRSIG NSEC3
         edns 1232 do",
    );
    ask("p8jh5h5mfibcabqv7cdau8hmbgcjashr.hashed.example A").gives(
        "NXDOMAIN aa
         au hashed.example 300 SOA ns.hashed.example. hostmaster.hashed.example. 3 7200 900 1209600 300",
    );
    ask("hashed.example NSEC3PARAM").gives(
        "NOERROR aa
         an hashed.example 0 NSEC3PARAM 1 0 2 AABBCCDD",
    );
}
