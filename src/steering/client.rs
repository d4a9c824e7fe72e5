//! Whom an answer is for: how a query's addresses become a client key.
//!
//! What always holds: all that is chosen for a client is chosen by its key, or by an address that all clients of that key
//! share as far as the key reaches, so an answer's scope is the key's length.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::steering::key::{ClientKey, RESOLVER_V4_BITS, RESOLVER_V6_BITS};
use crate::steering::prefixes::Prefixes;

/// How client keys are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientRules {
    /// So many bits of an IPv4 address make a key, of a resolver or a subnet.
    pub v4_bits: u8,
    /// So many bits of an IPv6 address.
    pub v6_bits: u8,
    /// From whom a client subnet counts.
    pub subnets: Subnets,
    /// Resolvers that are one client.
    pub farms: Farms,
}

impl Default for ClientRules {
    fn default() -> Self {
        let (v4_bits, v6_bits) = (RESOLVER_V4_BITS, RESOLVER_V6_BITS);
        Self { v4_bits, v6_bits, subnets: Subnets::All, farms: Farms::default() }
    }
}

/// From which resolvers a client subnet (RFC 7871) counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Subnets {
    /// From all.
    #[default]
    All,
    /// From none.
    None,
    /// From those at these addresses.
    From(Prefixes),
}

/// Whom an answer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// What the answer sticks to.
    pub key: ClientKey,
    /// The resolver's address, or the subnet's first.
    pub address: IpAddr,
    /// The place of its farm, if it belongs to one.
    pub farm: Option<u32>,
    /// How much of a subnet the answer depends on; 0: it is the resolver's own.
    pub scope: u8,
}

impl From<ClientKey> for Client {
    /// Of a key alone: its first address.
    fn from(key: ClientKey) -> Self {
        Self { key, address: key.first_address(), farm: None, scope: 0 }
    }
}

impl ClientRules {
    /// A resolver that asks for all its clients.
    #[inline]
    pub fn resolver(&self, address: IpAddr) -> Client {
        if let Some(farm) = self.farms.prefixes.get(address) {
            return Client { key: self.farms.keys[farm as usize], address, farm: Some(farm), scope: 0 };
        }
        let key = match address.to_canonical() {
            v4 @ IpAddr::V4(_) => ClientKey::of_subnet(v4, self.v4_bits),
            v6 @ IpAddr::V6(_) => ClientKey::of_subnet(v6, self.v6_bits),
        };
        Client { key, address, farm: None, scope: 0 }
    }

    /// A `resolver` that asks for the clients of a subnet; `None` where that does not count: no prefix is told, or not from
    /// this resolver.
    #[inline]
    pub fn subnet(&self, resolver: IpAddr, address: IpAddr, prefix_len: u8) -> Option<Client> {
        let counts = prefix_len > 0
            && match &self.subnets {
                Subnets::All => true,
                Subnets::None => false,
                Subnets::From(networks) => networks.get(resolver).is_some(),
            };
        if !counts {
            return None;
        }
        let scope = prefix_len.min(if address.is_ipv4() { self.v4_bits } else { self.v6_bits });
        let key = ClientKey::of_subnet(address, scope);
        Some(Client { key, address: key.first_address(), farm: None, scope })
    }
}

/// Resolver farms, and resolvers that ask over both address families: each one client, whose key is that of its first prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Farms {
    /// By place.
    prefixes: Prefixes,
    keys: Box<[ClientKey]>,
    names: Box<[String]>,
    /// All prefixes of each.
    networks: Box<[Box<[IpNet]>]>,
}

impl Farms {
    /// Of names with their prefixes, one at least.
    pub fn new(farms: Vec<(String, Vec<IpNet>)>) -> Self {
        let place = |(place, (_, nets)): (usize, &(String, Vec<IpNet>))| -> Vec<_> {
            nets.iter().map(|net| (*net, place as u32)).collect()
        };
        let prefixes = Prefixes::new(farms.iter().enumerate().flat_map(place));
        let key = |nets: &[IpNet]| {
            let keys = || nets.iter().map(|net| ClientKey::of_subnet(net.network(), net.prefix_len()));
            // One that the sketch of demand can hold, where there is any.
            keys().find(|key| key.packed().is_some()).or_else(|| keys().next())
        };
        let farms: Vec<_> = farms.into_iter().filter_map(|(name, nets)| Some((key(&nets)?, name, nets))).collect();
        Self {
            prefixes,
            keys: farms.iter().map(|farm| farm.0).collect(),
            names: farms.iter().map(|farm| farm.1.clone()).collect(),
            networks: farms.into_iter().map(|farm| farm.2.into()).collect(),
        }
    }

    /// The name of the farm at `place`.
    pub fn name(&self, place: u32) -> Option<&str> {
        self.names.get(place as usize).map(String::as_str)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

/// Values by client: of the longest prefix that holds its address. A farm has one value: that of the first of its prefixes
/// that has any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ByClient {
    prefixes: Prefixes,
    farms: Box<[Option<u32>]>,
}

impl ByClient {
    /// Of `prefixes`, given the `farms`.
    pub fn new(prefixes: Prefixes, farms: &Farms) -> Self {
        let value = |nets: &[IpNet]| nets.iter().find_map(|net| prefixes.get(net.network()));
        let farms = farms.networks.iter().map(|nets| value(nets)).collect();
        Self { prefixes, farms }
    }

    /// The value for `client`.
    #[inline]
    pub fn get(&self, client: &Client) -> Option<u32> {
        match client.farm {
            Some(farm) => self.farms.get(farm as usize).copied().flatten(),
            None => self.prefixes.get(client.address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn rules() -> ClientRules {
        let farms = Farms::new(vec![
            ("public".to_owned(), vec![net("2001:db8:1:2::/64"), net("192.0.2.0/25"), net("198.51.100.0/24")]),
            ("office".to_owned(), vec![net("192.0.2.128/25"), net("2001:db8:7::/48")]),
        ]);
        ClientRules { farms, ..ClientRules::default() }
    }

    #[test]
    fn a_farm_is_one_client_over_both_families() {
        let rules = rules();
        let of = |address| rules.resolver(ip(address));
        assert_eq!(of("192.0.2.1").key, of("198.51.100.9").key);
        assert_eq!(of("192.0.2.1").key, of("2001:db8:1:2::3").key);
        assert_eq!(of("192.0.2.1").key.to_string(), "192.0.2.0/25", "the first prefix that demand can be kept of");
        assert_eq!(of("192.0.2.200").key, of("2001:db8:7:8::1").key);
        assert_ne!(of("192.0.2.1").key, of("192.0.2.200").key);
        assert_eq!(of("2001:db8:1:3::3").key.to_string(), "2001:db8:1::/48", "nobody's farm");
        assert_eq!(rules.farms.name(of("192.0.2.200").farm.unwrap()), Some("office"));
    }

    #[test]
    fn masks_and_the_scope() {
        let rules = ClientRules { v4_bits: 20, v6_bits: 40, ..ClientRules::default() };
        assert_eq!(rules.resolver(ip("10.1.255.1")).key.to_string(), "10.1.240.0/20");
        let client = rules.subnet(ip("10.9.9.9"), ip("10.1.255.0"), 24).unwrap();
        assert_eq!((client.key.to_string().as_str(), client.scope), ("10.1.240.0/20", 20));
        let coarse = rules.subnet(ip("10.9.9.9"), ip("10.0.0.0"), 8).unwrap();
        assert_eq!((coarse.key.prefix_len(), coarse.scope), (8, 8));
        assert_eq!(rules.subnet(ip("10.9.9.9"), ip("2001:db8:1234::"), 56).unwrap().scope, 40);
        assert_eq!(rules.subnet(ip("10.9.9.9"), ip("0.0.0.0"), 0), None, "nothing is told");
    }

    #[test]
    fn a_subnet_counts_from_whom_it_may() {
        let mut rules = rules();
        let ask = |rules: &ClientRules, from| rules.subnet(ip(from), ip("10.1.2.0"), 24).is_some();
        assert!(ask(&rules, "192.0.2.1"));
        rules.subnets = Subnets::From(Prefixes::new([(net("192.0.2.0/24"), 0)]));
        assert!(ask(&rules, "192.0.2.1") && !ask(&rules, "192.0.3.1"));
        rules.subnets = Subnets::None;
        assert!(!ask(&rules, "192.0.2.1"));
    }

    #[test]
    fn a_farm_has_one_value() {
        let rules = rules();
        let by = ByClient::new(Prefixes::new([(net("198.51.100.0/24"), 1), (net("10.0.0.0/8"), 2)]), &rules.farms);
        assert_eq!(by.get(&rules.resolver(ip("2001:db8:1:2::9"))), Some(1));
        assert_eq!(by.get(&rules.resolver(ip("192.0.2.200"))), None);
        assert_eq!(by.get(&rules.resolver(ip("10.3.4.5"))), Some(2));
        assert_eq!(by.get(&rules.subnet(ip("192.0.2.1"), ip("10.3.4.5"), 32).unwrap()), Some(2));
    }
}
