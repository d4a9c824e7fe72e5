//! Values by address prefix: the longest prefix that holds an address counts.
//!
//! Nested prefixes are flattened into ranges when the table is made, so that a look-up is one binary search, without
//! allocation.

use std::net::IpAddr;

use ipnet::IpNet;

/// A value for some addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prefixes {
    v4: Ranges<u32>,
    v6: Ranges<u128>,
}

/// Ranges of addresses in ascending order, each from its start to the next one's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Ranges<A> {
    starts: Box<[A]>,
    /// [`NOTHING`] where no prefix is.
    values: Box<[u32]>,
}

const NOTHING: u32 = u32::MAX;

impl Prefixes {
    /// Of prefixes with their values, below `u32::MAX`; of one that comes twice the later value counts. An IPv4-mapped
    /// address is IPv4's, so prefixes of such are of no use.
    pub fn new(prefixes: impl IntoIterator<Item = (IpNet, u32)>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (prefix, value) in prefixes {
            match prefix {
                IpNet::V4(net) => {
                    v4.push((u128::from(net.network().to_bits()), u128::from(net.broadcast().to_bits()), value));
                }
                IpNet::V6(net) => v6.push((net.network().to_bits(), net.broadcast().to_bits(), value)),
            }
        }
        Self { v4: Ranges::new(v4, u32::MAX.into(), |a| a as u32), v6: Ranges::new(v6, u128::MAX, |a| a) }
    }

    /// The value of the longest prefix that holds `address`.
    #[inline]
    pub fn get(&self, address: IpAddr) -> Option<u32> {
        match address.to_canonical() {
            IpAddr::V4(a) => self.v4.get(a.to_bits()),
            IpAddr::V6(a) => self.v6.get(a.to_bits()),
        }
    }

    /// Whether no address has a value.
    pub fn is_empty(&self) -> bool {
        self.v4.starts.is_empty() && self.v6.starts.is_empty()
    }
}

impl<A: Copy + Ord> Ranges<A> {
    /// Of prefixes as first and last address; `most` is the last address that there is.
    fn new(mut prefixes: Vec<(u128, u128, u32)>, most: u128, address: impl Fn(u128) -> A) -> Self {
        prefixes.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1))); // what holds others comes before them
        let mut starts: Vec<(u128, u32)> = Vec::new();
        let mut open: Vec<(u128, u32)> = Vec::new(); // last address and value of those that hold the next one
        let close = |open: &mut Vec<(u128, u32)>, starts: &mut Vec<(u128, u32)>| {
            if let Some((last, _)) = open.pop()
                && last < most
            {
                starts.push((last + 1, open.last().map_or(NOTHING, |(_, value)| *value)));
            }
        };
        for (first, last, value) in prefixes {
            while open.last().is_some_and(|(end, _)| *end < first) {
                close(&mut open, &mut starts);
            }
            starts.push((first, value));
            open.push((last, value));
        }
        while !open.is_empty() {
            close(&mut open, &mut starts);
        }
        // Of several that begin at one address the last one counts; neighbours of one value are one range.
        let mut ranges: Vec<(u128, u32)> = Vec::with_capacity(starts.len());
        for (first, value) in starts {
            if ranges.last().is_some_and(|(start, _)| *start == first) {
                ranges.pop();
            }
            if ranges.last().map_or(NOTHING, |(_, before)| *before) != value {
                ranges.push((first, value));
            }
        }
        Self {
            starts: ranges.iter().map(|(first, _)| address(*first)).collect(),
            values: ranges.iter().map(|(_, value)| *value).collect(),
        }
    }

    #[inline]
    fn get(&self, address: A) -> Option<u32> {
        let after = self.starts.partition_point(|start| *start <= address);
        Some(self.values[after.checked_sub(1)?]).filter(|value| *value != NOTHING)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_longest_prefix_counts() {
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        let table = Prefixes::new([
            (net("10.0.0.0/8"), 1),
            (net("10.1.0.0/16"), 2),
            (net("10.1.2.0/24"), 1),
            (net("255.255.255.0/24"), 4),
            (net("2001:db8::/32"), 5),
            (net("::/0"), 6),
        ]);
        for (address, value) in [
            ("9.255.255.255", None),
            ("10.0.255.255", Some(1)),
            ("10.1.0.0", Some(2)),
            ("10.1.2.255", Some(1)),
            ("10.1.3.0", Some(2)),
            ("10.2.0.0", Some(1)),
            ("11.0.0.0", None),
            ("255.255.255.255", Some(4)),
            ("2001:db8:ffff::", Some(5)),
            ("2001:db9::", Some(6)),
            ("::ffff:10.1.0.7", Some(2)),
        ] {
            assert_eq!(table.get(address.parse().unwrap()), value, "{address}");
        }
        assert!(Prefixes::default().is_empty() && Prefixes::default().get([127, 0, 0, 1].into()).is_none());
    }

    proptest! {
        #[test]
        fn it_finds_what_a_search_finds(
            prefixes in prop::collection::vec((0u32..64, 26u8..=32, 0u32..4), 0..12), all in any::<bool>()
        ) {
            let mut nets: Vec<(IpNet, u32)> = Vec::new();
            for (host, length, value) in prefixes {
                let length = if all && value == 0 { 0 } else { length };
                let net: IpNet = ipnet::Ipv4Net::new(host.into(), length).unwrap().trunc().into();
                nets.push((net, value));
            }
            let table = Prefixes::new(nets.iter().copied());
            for host in 0u32..70 {
                let address = IpAddr::from(std::net::Ipv4Addr::from(host));
                let holding = nets.iter().enumerate().filter(|(_, (net, _))| net.contains(&address));
                let longest = holding.max_by_key(|(i, (net, _))| (net.prefix_len(), *i)).map(|(_, (_, value))| *value);
                prop_assert_eq!(table.get(address), longest);
            }
        }
    }
}
