//! Client keys and the points where they fall.
//!
//! A client key is what an answer sticks to: the prefix that a resolver belongs to, or the one that it sends along as
//! ECS. Which of the two holds for a query is decided by `query`; the hash is here.
//!
//! What always holds: a point is a fixed function of the group's name and the key. It is the same on every server, in
//! every version and on every machine, so two servers with one share table give a client the same site.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use siphasher::{sip, sip128};

/// How many bits of a resolver's IPv4 address make its key: farms of resolvers mostly share a /24.
pub const RESOLVER_V4_BITS: u8 = 24;
/// How many bits of a resolver's IPv6 address make its key: the usual size of one network's site.
pub const RESOLVER_V6_BITS: u8 = 48;

/// Where `key` falls in 0..2^64: SipHash-1-3 under the salt of the key's family, length and prefix octets.
pub fn point(salt: &Salt, key: &ClientKey) -> u64 {
    let mut octets = [0; 18];
    octets[..17].copy_from_slice(&key.octets);
    octets[17] = key.length;
    sip::SipHasher13::new_with_keys(salt.keys.0, salt.keys.1).hash(&octets)
}

/// The longest prefix that fits into one number with its family and length.
const PACKED_BITS: u8 = 56;

/// What separates the points of one group from another's: two SipHash keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Salt {
    keys: (u64, u64),
}

impl Salt {
    /// The salt of a group, or of a pool that is in none, by its name: the two halves of SipHash-1-3-128 of the text's
    /// octets under [`DERIVATION`]. The octets count as they are: a caller with a domain name passes one fixed spelling.
    pub fn of(group: &str) -> Self {
        let hash = sip128::SipHasher13::new_with_key(DERIVATION).hash(group.as_bytes());
        Self { keys: (hash.h1, hash.h2) }
    }
}

/// The fixed key from which salts and endpoint ids are derived. Another one would move every client.
pub const DERIVATION: &[u8; 16] = b"waypost/steering";

/// What names an endpoint for good, wherever it stands in its pool: SipHash-1-3 of its site's name under [`DERIVATION`].
pub fn endpoint_id(site: &str) -> u64 {
    sip::SipHasher13::new_with_key(DERIVATION).hash(site.as_bytes())
}

/// Spreads the bits of `x` over the whole word, one to one (the finalizer of SplitMix64). What is derived from a point
/// by this says nothing about the interval of the share table that the point lies in.
pub(crate) const fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// An address prefix. All bits beyond its length are clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientKey {
    /// The family (4 or 6), then the prefix in network order, then zeros.
    octets: [u8; 17],
    /// In bits, 0..=32 or 0..=128.
    length: u8,
}

impl ClientKey {
    /// The key of a resolver that asks without ECS: its /24, or /48. An IPv4-mapped IPv6 address counts as IPv4.
    pub fn of_resolver(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(a) => Self::v4(a, RESOLVER_V4_BITS),
            IpAddr::V6(a) => Self::v6(a, RESOLVER_V6_BITS),
        }
    }

    /// The key of an ECS prefix (RFC 7871, 6): as long as given, at most the whole address; bits beyond it are cleared.
    /// An IPv4-mapped prefix of 96 bits or more counts as IPv4. Length 0 is everybody: a caller that reads it as "no
    /// prefix is told" (RFC 7871, 7.1.2) takes [`ClientKey::of_resolver`] instead.
    pub fn of_subnet(address: IpAddr, prefix_len: u8) -> Self {
        match (address, address.to_canonical()) {
            (IpAddr::V4(a), _) => Self::v4(a, prefix_len),
            (IpAddr::V6(_), IpAddr::V4(a)) if prefix_len >= 96 => Self::v4(a, prefix_len - 96),
            (IpAddr::V6(a), _) => Self::v6(a, prefix_len),
        }
    }

    /// The prefix's length in bits: the scope of an answer that depends on an ECS prefix (RFC 7871, 7.2.1).
    pub const fn prefix_len(&self) -> u8 {
        self.length
    }

    /// As one number, never 0: a bit that says so, the family, 6 bits of length, 56 bits of prefix. `None` for prefixes of
    /// more than 56 bits, which answers are not made for.
    pub fn packed(&self) -> Option<u64> {
        if self.length > PACKED_BITS {
            return None;
        }
        let mut prefix = [0; 8];
        prefix[1..].copy_from_slice(&self.octets[1..8]);
        let family = u64::from(self.octets[0] == 6);
        Some(1 << 63 | family << 62 | u64::from(self.length) << 56 | u64::from_be_bytes(prefix))
    }

    /// The key that [`ClientKey::packed`] made this of; `None` for any other number.
    pub fn unpacked(number: u64) -> Option<Self> {
        let prefix = number.to_be_bytes();
        let length = prefix[0] & 0x3f;
        let mut octets = [0; 17];
        octets[0] = if prefix[0] & 0x40 == 0 { 4 } else { 6 };
        octets[1..8].copy_from_slice(&prefix[1..]);
        let key = Self { octets, length };
        (key.packed() == Some(number)).then_some(key)
    }

    /// The first address of the prefix.
    pub fn first_address(&self) -> IpAddr {
        let mut address = [0; 16];
        address.copy_from_slice(&self.octets[1..]);
        if self.octets[0] == 4 {
            return Ipv4Addr::from_bits((u128::from_be_bytes(address) >> 96) as u32).into();
        }
        Ipv6Addr::from(address).into()
    }

    fn v4(address: Ipv4Addr, length: u8) -> Self {
        let length = length.min(32);
        let bits = address.to_bits() & u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
        let mut octets = [0; 17];
        octets[0] = 4;
        octets[1..5].copy_from_slice(&bits.to_be_bytes());
        Self { octets, length }
    }

    fn v6(address: Ipv6Addr, length: u8) -> Self {
        let length = length.min(128);
        let bits = address.to_bits() & u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
        let mut octets = [0; 17];
        octets[0] = 6;
        octets[1..].copy_from_slice(&bits.to_be_bytes());
        Self { octets, length }
    }
}

impl fmt::Display for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first_address(), self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn resolver(address: &str) -> ClientKey {
        ClientKey::of_resolver(address.parse().unwrap())
    }

    fn subnet(address: &str, length: u8) -> ClientKey {
        ClientKey::of_subnet(address.parse().unwrap(), length)
    }

    #[test]
    fn a_resolver_is_known_by_its_network() {
        assert_eq!(resolver("192.0.2.77").to_string(), "192.0.2.0/24");
        assert_eq!(resolver("2001:db8:1:2::3").to_string(), "2001:db8:1::/48");
        assert_eq!(resolver("192.0.2.1"), resolver("192.0.2.254"));
        assert_ne!(resolver("192.0.2.1"), resolver("192.0.3.1"));
        assert_eq!(resolver("::ffff:192.0.2.1"), resolver("192.0.2.1"));
    }

    #[test]
    fn a_subnet_is_taken_as_given() {
        assert_eq!(subnet("192.0.2.255", 25).to_string(), "192.0.2.128/25");
        assert_eq!(subnet("192.0.2.255", 0).to_string(), "0.0.0.0/0");
        assert_eq!(subnet("192.0.2.255", 99).to_string(), "192.0.2.255/32");
        assert_eq!(subnet("2001:db8::ff", 56).to_string(), "2001:db8::/56");
        assert_eq!(subnet("::ffff:192.0.2.1", 120), subnet("192.0.2.0", 24));
        assert_eq!(subnet("::ffff:192.0.2.1", 64).to_string(), "::/64");
        assert_eq!(subnet("192.0.2.0", 24), resolver("192.0.2.9"));
        assert_ne!(subnet("0.0.0.0", 0), subnet("::", 0));
    }

    /// A change of these numbers would move every client of every installation.
    #[test]
    fn points_never_change() {
        let salt = Salt::of("www.example.org");
        assert_eq!(point(&salt, &resolver("192.0.2.1")), 0x210a_1045_e643_19c6);
        assert_eq!(point(&salt, &resolver("2001:db8::1")), 0x3b80_d357_b741_7df2);
        assert_eq!(point(&Salt::of("shop"), &resolver("192.0.2.1")), 0x1377_8181_f974_cfd4);
        assert_eq!(endpoint_id("dc1"), 0xcfd6_b7b3_b211_4e01);
    }

    proptest! {
        #[test]
        fn a_key_packed_is_the_same_unpacked(a: u128, length in 0u8..=128, number: u64) {
            for key in [
                ClientKey::of_subnet(Ipv6Addr::from_bits(a | 1 << 127).into(), length),
                ClientKey::of_subnet(Ipv4Addr::from_bits(a as u32).into(), length.min(32)),
            ] {
                match key.packed() {
                    Some(packed) => prop_assert!(packed != 0 && ClientKey::unpacked(packed) == Some(key)),
                    None => prop_assert!(length > 56),
                }
            }
            prop_assert!(ClientKey::unpacked(number).is_none_or(|key| key.packed() == Some(number)));
        }

        #[test]
        fn bits_beyond_the_prefix_do_not_count(a: u32, noise: u32, length in 0u8..=32) {
            let kept = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            let one = ClientKey::of_subnet(Ipv4Addr::from_bits(a).into(), length);
            let other = ClientKey::of_subnet(Ipv4Addr::from_bits(a ^ (noise & !kept)).into(), length);
            prop_assert_eq!(one, other);
        }

        #[test]
        fn bits_beyond_an_ipv6_prefix_do_not_count(a: u128, noise: u128, length in 0u8..=128) {
            let kept = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            let outside = a | 1 << 127; // never IPv4-mapped
            let one = ClientKey::of_subnet(Ipv6Addr::from_bits(outside).into(), length);
            let other = ClientKey::of_subnet(Ipv6Addr::from_bits(outside ^ (noise & !kept)).into(), length);
            prop_assert!(length == 0 || one == other);
        }
    }
}
