//! Server cookies that several servers make and check alike (RFC 9018): 16 octets from SipHash-2-4 over the client's cookie, the
//! time and the client's address, with a secret. Nothing is remembered about a client.

use std::fmt;
use std::hash::Hasher;
use std::net::IpAddr;
use std::sync::LazyLock;

use siphasher::sip::SipHasher24;

use crate::dns::wire::Cookie;
use crate::time::Timestamp;

/// A cookie of ours is good for so long (RFC 9018, 4.3).
const GOOD_SECS: u32 = 3600;
/// One that is older than this is replaced.
const RENEW_SECS: u32 = 1800;
/// So far ahead another server's clock may be.
const AHEAD_SECS: u32 = 300;

/// A secret of 128 bits, shared by all servers behind one address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret([u8; 16]);

impl Secret {
    /// From 32 hexadecimal digits, as NSD and Knot write it.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        u128::from_str_radix(text, 16).ok().map(|bits| Self(bits.to_be_bytes()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The secrets in use. While they change, cookies by the one before are good, and so are those by the one to come.
#[derive(Clone, Debug)]
pub struct Cookies {
    make: Secret,
    also: Option<Secret>,
}

impl Cookies {
    /// With the first of these secrets new cookies are made, those of the second are good too. Without any, with a secret of
    /// this process.
    pub fn new(secrets: &[Secret]) -> Self {
        static OF_PROCESS: LazyLock<Option<Secret>> = LazyLock::new(|| {
            let mut octets = [0; 16];
            getrandom::fill(&mut octets).ok()?;
            Some(Secret(octets))
        });
        match secrets {
            [] => Self { make: OF_PROCESS.unwrap_or(Secret([0; 16])), also: None },
            [make, rest @ ..] => Self { make: *make, also: rest.first().copied() },
        }
    }

    /// Whether the query's server cookie is one of ours for this client, and the server cookie to answer with.
    #[cold]
    pub fn check(&self, cookie: &Cookie, client: IpAddr, now: Timestamp) -> (bool, [u8; 16]) {
        let now = now.0 as u32; // serial arithmetic (RFC 9018, 4.3): it may wrap
        if let Some(server) = cookie.server {
            let [1, _, _, _, t0, t1, t2, t3, ..] = server else { return (false, self.make(cookie, client, now)) };
            let age = now.wrapping_sub(u32::from_be_bytes([t0, t1, t2, t3]));
            let in_time = age <= GOOD_SECS || age.wrapping_neg() <= AHEAD_SECS;
            let is_by = |secret: &Secret| secret.sign(cookie.client, server, client) == server;
            if in_time && is_by(&self.make) {
                let keep = age <= RENEW_SECS || age > GOOD_SECS;
                return (true, if keep { server } else { self.make(cookie, client, now) });
            }
            if in_time && self.also.as_ref().is_some_and(is_by) {
                return (true, self.make(cookie, client, now));
            }
        }
        (false, self.make(cookie, client, now))
    }

    fn make(&self, cookie: &Cookie, client: IpAddr, now: u32) -> [u8; 16] {
        let mut server = [0; 16];
        server[0] = 1; // version
        server[4..8].copy_from_slice(&now.to_be_bytes());
        self.make.sign(cookie.client, server, client)
    }
}

impl Secret {
    /// `server` with the hash that it should have (RFC 9018, 4.4).
    fn sign(&self, client: [u8; 8], mut server: [u8; 16], address: IpAddr) -> [u8; 16] {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write(&client);
        hasher.write(&server[..8]);
        match address.to_canonical() {
            IpAddr::V4(address) => hasher.write(&address.octets()),
            IpAddr::V6(address) => hasher.write(&address.octets()),
        }
        server[8..].copy_from_slice(&hasher.finish().to_le_bytes());
        server
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn octets<const N: usize>(hex: &str) -> [u8; N] {
        std::array::from_fn(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap())
    }

    fn cookies(secrets: &[&str]) -> Cookies {
        Cookies::new(&secrets.iter().map(|s| Secret::parse(s).unwrap()).collect::<Vec<_>>())
    }

    /// RFC 9018, A.1 to A.4.
    #[test]
    fn the_examples_of_the_rfc() {
        let own = cookies(&["e5e973e5a6b2a43f48e7dc849e37bfcf"]);
        let client = octets("2464c4abcf10c957");
        let address: IpAddr = "198.51.100.100".parse().unwrap();
        let first = octets("010000005cf79f111f8130c3eee29480");
        assert_eq!(own.check(&Cookie { client, server: None }, address, Timestamp(1_559_731_985)), (false, first));

        let earlier = Cookie { client, server: Some(first) };
        let renewed = octets("010000005cf7a871d4a564a1442aca77");
        assert_eq!(own.check(&earlier, address, Timestamp(1_559_734_385)), (true, renewed));

        let other: IpAddr = "203.0.113.203".parse().unwrap();
        let client = octets("fc93fc62807ddb86");
        let theirs = octets("01abcdef5cf78f71a314227b6679ebf5");
        let checked = own.check(&Cookie { client, server: Some(theirs) }, other, Timestamp(1_559_727_985));
        assert_eq!(checked, (true, theirs), "reserved octets count in the hash");

        let six: IpAddr = "2001:db8:220:1:59de:d0f4:8769:82b8".parse().unwrap();
        let client = octets("22681ab97d52c298");
        let old = Cookie { client, server: Some(octets("010000005cf7c57926556bd0934c72f8")) };
        let rolled = cookies(&["445536bcd2513298075a5d379663c962", "dd3bdf9344b678b185a6f5cb60fca715"]);
        let made = octets("010000005cf7c609a6bb79d16625507a");
        assert_eq!(rolled.check(&old, six, Timestamp(1_559_741_961)), (true, made), "the secret before is good");
    }

    #[test]
    fn a_cookie_is_good_for_its_client_and_an_hour() {
        let own = cookies(&["e5e973e5a6b2a43f48e7dc849e37bfcf"]);
        let address: IpAddr = [192, 0, 2, 1].into();
        let client = [7; 8];
        let (good, server) = own.check(&Cookie { client, server: None }, address, Timestamp(1_000_000));
        assert!(!good);
        let cookie = Cookie { client, server: Some(server) };
        let good_at = |now| own.check(&cookie, address, Timestamp(now)).0;
        assert!(good_at(1_000_000) && good_at(1_003_600) && good_at(999_700));
        assert!(!good_at(1_003_601) && !good_at(999_699));
        assert!(!own.check(&cookie, [192, 0, 2, 2].into(), Timestamp(1_000_000)).0);
        assert!(!own.check(&Cookie { client: [8; 8], ..cookie }, address, Timestamp(1_000_000)).0);
        let other = cookies(&["00000000000000000000000000000001"]);
        assert!(!other.check(&cookie, address, Timestamp(1_000_000)).0);
    }

    #[test]
    fn a_secret_has_32_digits_and_is_not_shown() {
        assert_eq!(Secret::parse("e5e973e5a6b2a43f"), None);
        assert_eq!(Secret::parse("+5e973e5a6b2a43f48e7dc849e37bfcf"), None);
        let secret = Secret::parse("e5e973e5a6b2a43f48e7dc849e37bfcf").unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(..)");
    }
}
