//! Which class of straggler a source belongs to, as the authority told. Pure.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::pairing::{Class, Classes};

/// Classes, made ready to be asked.
#[derive(Default)]
pub(super) struct ClassTable {
    default: Option<Class>,
    networks: HashMap<IpNet, Class>,
    /// Lengths of prefixes that are there, the longest first.
    lengths: Vec<u8>,
}

impl ClassTable {
    pub(super) fn new(classes: &Classes) -> Self {
        let each = classes.networks.iter().flat_map(|(class, networks)| networks.iter().map(|n| (n.trunc(), *class)));
        let networks: HashMap<_, _> = each.collect();
        let mut lengths: Vec<u8> = networks.keys().map(IpNet::prefix_len).collect();
        lengths.sort_unstable_by(|a, b| b.cmp(a));
        lengths.dedup();
        Self { default: classes.default, networks, lengths }
    }

    /// That of the longest network which holds `source`.
    pub(super) fn of(&self, source: IpAddr) -> Option<Class> {
        let source = source.to_canonical();
        let within = |length: &u8| self.networks.get(&IpNet::new(source, *length).ok()?.trunc()).copied();
        self.lengths.iter().find_map(within).or(self.default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_network_counts() {
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        let table = ClassTable::new(&Classes {
            default: Some(Class::NeverAsked),
            networks: [
                (Class::Cached, vec![net("192.0.2.0/24"), net("2001:db8::/48")]),
                (Class::Stays, vec![net("192.0.2.7/32")]),
            ]
            .into(),
        });
        let of = |text: &str| table.of(text.parse().unwrap());
        assert_eq!((of("192.0.2.7"), of("192.0.2.8")), (Some(Class::Stays), Some(Class::Cached)));
        assert_eq!(of("::ffff:192.0.2.7"), Some(Class::Stays));
        assert_eq!((of("2001:db8::1"), of("203.0.113.1")), (Some(Class::Cached), Some(Class::NeverAsked)));
        assert_eq!(ClassTable::default().of("192.0.2.1".parse().unwrap()), None);
    }
}
