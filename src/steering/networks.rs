//! Which sites are preferred for which networks: what the policy `geo` goes by. Pure.
//!
//! What always holds: all clients of one key are given the same list, since it is looked up by an address that they share.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use ipnet::IpNet;
use siphasher::sip::SipHasher13;

use crate::steering::client::{ByClient, Client, Farms};
use crate::steering::pool::SiteName;
use crate::steering::prefixes::Prefixes;

/// Lists of sites, the best first, by network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preferences {
    own: Prefixes,
    database: Prefixes,
    otherwise: Option<u32>,
    lists: Box<[Box<[SiteName]>]>,
    digest: u64,
}

impl Preferences {
    /// Of networks that were written, then of those of a database, then of all others: each with the place of its list. Within
    /// one of the two the longest prefix counts.
    pub fn new(
        own: &[(IpNet, u32)],
        database: &[(IpNet, u32)],
        otherwise: Option<u32>,
        lists: Vec<Vec<SiteName>>,
    ) -> Self {
        let mut hasher = SipHasher13::new(); // the same in every process
        (own, database, otherwise, &lists).hash(&mut hasher);
        Self {
            own: Prefixes::new(own.iter().copied()),
            database: Prefixes::new(database.iter().copied()),
            otherwise,
            lists: lists.into_iter().map(Into::into).collect(),
            digest: hasher.finish(),
        }
    }

    /// The lists, by place.
    pub fn lists(&self) -> impl Iterator<Item = &[SiteName]> {
        self.lists.iter().map(|list| &**list)
    }
}

impl Hash for Preferences {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

/// [`Preferences`] as queries look them up.
#[derive(Debug)]
pub struct Located {
    own: ByClient,
    database: ByClient,
    otherwise: Option<u32>,
}

impl Located {
    /// Given the `farms`.
    pub fn new(preferences: &Preferences, farms: &Farms) -> Self {
        let by = |prefixes: &Prefixes| ByClient::new(prefixes.clone(), farms);
        Self { own: by(&preferences.own), database: by(&preferences.database), otherwise: preferences.otherwise }
    }

    /// The place of the list of `client`.
    #[inline]
    pub fn get(&self, client: &Client) -> Option<usize> {
        self.own.get(client).or_else(|| self.database.get(client)).or(self.otherwise).map(|list| list as usize)
    }
}

/// What one pool makes of them: sites that it lacks are left out.
#[derive(Clone, Debug)]
pub struct Preference {
    located: Arc<Located>,
    /// By place of the list: endpoints, the best first.
    endpoints: Box<[Box<[u16]>]>,
}

impl Preference {
    /// For a pool with endpoints at these sites.
    pub fn new<'s>(
        preferences: &Preferences,
        located: Arc<Located>,
        sites: impl Iterator<Item = &'s SiteName> + Clone,
    ) -> Self {
        let place = |site: &SiteName| sites.clone().position(|s| s == site).map(|place| place as u16);
        let endpoints = preferences.lists().map(|list| list.iter().filter_map(place).collect()).collect();
        Self { located, endpoints }
    }

    /// The endpoints for `client`, the best first; none: no network has it.
    #[inline]
    pub fn get(&self, client: &Client) -> &[u16] {
        self.located.get(client).and_then(|list| self.endpoints.get(list)).map_or(&[], |list| list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steering::client::ClientRules;

    #[test]
    fn what_is_written_comes_before_a_database_and_long_before_short() {
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        let lists =
            vec![vec!["a".to_owned(), "b".to_owned()], vec!["b".to_owned()], vec!["c".to_owned(), "a".to_owned()]];
        let own = [(net("10.0.0.0/8"), 0), (net("10.1.0.0/16"), 1)];
        let preferences = Preferences::new(&own, &[(net("10.2.3.0/24"), 2), (net("192.0.2.0/24"), 2)], Some(1), lists);
        let located = Arc::new(Located::new(&preferences, &Farms::default()));
        let sites = ["a".to_owned(), "b".to_owned()];
        let preference = Preference::new(&preferences, located, sites.iter());
        let of = |address: &str| preference.get(&ClientRules::default().resolver(address.parse().unwrap())).to_vec();
        assert_eq!(of("10.9.9.9"), [0, 1]);
        assert_eq!(of("10.1.9.9"), [1]);
        assert_eq!(of("10.2.3.4"), [0, 1], "the database is silent where something was written");
        assert_eq!(of("192.0.2.1"), [0], "the pool has no c");
        assert_eq!(of("2001:db8::1"), [1]);
    }
}
