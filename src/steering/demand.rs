//! Demand: how much of the queries each client key asks, and what share of it an endpoint is given.
//!
//! Shares are of points, and a few resolvers ask for most users: 5 % of the points may be 2 % or 13 % of the load. Here is
//! what is known of that: [`Demand`] by key, as the workers' sketches say (`query::demand`), and [`Load`] by point, for one
//! group's salt.
//!
//! What always holds: the parts of a load add up to 1; without demand it is even over all points.

use crate::steering::key::{ClientKey, Salt, point};
use crate::steering::share::ShareTable;

/// A key with fewer queries on record is not told apart from the rest: its share would be chance.
const FEWEST_QUERIES: f64 = 8.0;
/// By how much of itself the demand of a key is taken to be another one tomorrow.
const DRIFT: f64 = 0.3;
/// So many standard deviations are 5 % above and below.
const NINETY_PERCENT: f64 = 1.645;

/// What one client key asks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KeyDemand {
    /// Who.
    pub key: ClientKey,
    /// Queries on record, the older the less they count; never too few.
    pub queries: f64,
    /// How many of them may be others'.
    pub error: f64,
}

/// What all client keys ask. The keys are the busiest ones; the total is of all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Demand {
    /// The busiest first.
    keys: Vec<KeyDemand>,
    queries: f64,
    /// Of keys with fewer than [`FEWEST_QUERIES`]: the sum of their queries, and that of the squares.
    few: (f64, f64),
    window_secs: f64,
}

impl Demand {
    /// Of keys whose queries add up to all that there were, in so many seconds as they count.
    pub fn new(mut keys: Vec<KeyDemand>, window_secs: f64) -> Self {
        keys.sort_by(|a, b| b.queries.total_cmp(&a.queries).then_with(|| a.key.packed().cmp(&b.key.packed())));
        let queries = keys.iter().map(|k| k.queries).sum();
        let few = keys.iter().rev().map(|k| k.queries).take_while(|&queries| queries < FEWEST_QUERIES);
        let few = few.fold((0.0, 0.0), |(sum, squares), queries| (sum + queries, squares + queries * queries));
        Self { keys, queries, few, window_secs }
    }

    /// That of the keys that `may` be alone.
    #[must_use]
    pub fn only(&self, may: impl Fn(&ClientKey) -> bool) -> Self {
        Self::new(self.keys.iter().filter(|demand| may(&demand.key)).copied().collect(), self.window_secs)
    }

    /// The keys known, the busiest first.
    pub fn keys(&self) -> &[KeyDemand] {
        &self.keys
    }

    /// Queries on record.
    pub fn queries(&self) -> f64 {
        self.queries
    }

    /// Queries per second.
    pub fn per_second(&self) -> f64 {
        self.queries / self.window_secs.max(1.0)
    }
}

/// The demand over the points of one salt.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Load {
    /// Keys told apart, by point: their part of all demand.
    known: Vec<Known>,
    /// The part of all others, even over the points.
    rest: f64,
    /// The sum of the squares of their parts: how uneven they are.
    rest_squares: f64,
}

/// A key told apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Known {
    /// Where it falls.
    pub point: u64,
    /// Its part of all demand, 0..=1.
    pub part: f64,
    /// The variance of that part, as a part of its square.
    variance: f64,
}

/// A share of the load, and the interval that it lies in with 90 % probability, each 0..=1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expected {
    /// The mean.
    pub share: f64,
    /// 5th percentile.
    pub low: f64,
    /// 95th percentile.
    pub high: f64,
}

impl Load {
    /// Where the demand falls under a salt.
    pub fn of(demand: &Demand, salt: &Salt) -> Self {
        if demand.queries <= 0.0 {
            return Self::even();
        }
        let (few, squares) = demand.few;
        let rest_squares = squares / demand.queries / demand.queries;
        let mut load = Self { known: Vec::new(), rest: few / demand.queries, rest_squares };
        for key in demand.keys.iter().take_while(|key| key.queries >= FEWEST_QUERIES) {
            let part = key.queries / demand.queries;
            if key.queries - key.error < FEWEST_QUERIES {
                load.rest += part;
                load.rest_squares += part * part;
            } else {
                let error = key.error / key.queries;
                let variance = 1.0 / key.queries + error * error + DRIFT * DRIFT;
                load.known.push(Known { point: point(salt, &key.key), part, variance });
            }
        }
        load.known.sort_by_key(|known| known.point);
        load
    }

    /// Of points whose parts are known and add up to 1.
    pub fn of_parts(parts: impl IntoIterator<Item = (u64, f64)>) -> Self {
        let known = parts.into_iter().map(|(point, part)| Known { point, part, variance: DRIFT * DRIFT });
        let mut known: Vec<Known> = known.collect();
        known.sort_by_key(|known| known.point);
        Self { known, rest: 0.0, rest_squares: 0.0 }
    }

    /// The same everywhere: of nobody anything is known.
    pub fn even() -> Self {
        Self { known: Vec::new(), rest: 1.0, rest_squares: 0.0 }
    }

    /// Whether some key is told apart.
    pub fn is_known(&self) -> bool {
        !self.known.is_empty()
    }

    /// The keys told apart, by point.
    pub fn known(&self) -> &[Known] {
        &self.known
    }

    /// The part of all demand that the key at `point` carries; 0 where none is told apart.
    pub fn at(&self, point: u64) -> f64 {
        self.known.binary_search_by_key(&point, |known| known.point).map_or(0.0, |found| self.known[found].part)
    }

    /// The part of those that are not, which are even over the points.
    pub fn rest(&self) -> f64 {
        self.rest
    }

    /// The part of the load that each endpoint of `endpoints` is given by `table`.
    pub fn shares(&self, table: &ShareTable, endpoints: usize) -> Vec<f64> {
        let mut shares: Vec<f64> = (0..endpoints).map(|e| self.rest * table.share(e)).collect();
        for known in &self.known {
            if let Some(share) = table.pick(known.point).and_then(|e| shares.get_mut(e)) {
                *share += known.part;
            }
        }
        shares
    }

    /// The same for one endpoint, with how sure it is: demand drifts, counts are chance, and where unknown keys fall is too.
    pub fn expected(&self, table: &ShareTable, endpoint: usize) -> Expected {
        let width = table.share(endpoint);
        let (mut share, mut inside, mut outside) = (self.rest * width, 0.0, 0.0);
        for known in &self.known {
            let variance = known.variance * known.part * known.part;
            if table.pick(known.point) == Some(endpoint) {
                share += known.part;
                inside += variance;
            } else {
                outside += variance;
            }
        }
        // Of a part s = a / (a + b): ds = (1 - s) da - s db.
        let of_known = (1.0 - share).powi(2) * inside + share.powi(2) * outside;
        let of_rest = width * (1.0 - width) * self.rest_squares;
        let deviation = NINETY_PERCENT * (of_known + of_rest).sqrt();
        Expected { share, low: (share - deviation).max(0.0), high: (share + deviation).min(1.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steering::pool::Weight;
    use std::net::Ipv4Addr;

    fn key(number: u32, queries: f64, error: f64) -> KeyDemand {
        KeyDemand { key: ClientKey::of_resolver(Ipv4Addr::from_bits((number + 256) << 8).into()), queries, error }
    }

    fn table(of: &[u32]) -> ShareTable {
        ShareTable::from_weights(&of.iter().map(|&w| Weight::new(w).unwrap()).collect::<Vec<_>>())
    }

    #[test]
    fn without_demand_load_is_as_the_points() {
        let (salt, table) = (Salt::of("www.example.org"), table(&[95, 5]));
        let load = Load::of(&Demand::default(), &salt);
        assert!(!load.is_known());
        assert_eq!(load, Load::even());
        let expected = load.expected(&table, 1);
        assert!(
            (expected.share - 0.05).abs() < 1e-9 && expected.low <= expected.share && expected.share <= expected.high
        );
    }

    #[test]
    fn a_busy_key_counts_where_it_falls_and_a_few_queries_say_nothing() {
        let (salt, table) = (Salt::of("www.example.org"), table(&[1, 1]));
        let mut keys = vec![key(0, 500.0, 0.0), key(1, 20.0, 15.0)];
        keys.extend((2..482).map(|number| key(number, 1.0, 0.0)));
        let demand = Demand::new(keys, 100.0);
        assert!((demand.per_second() - 10.0).abs() < 1e-9);
        let load = Load::of(&demand, &salt);
        assert_eq!(load.known().len(), 1, "the second one may be others'");
        let at = table.pick(load.known()[0].point).unwrap();
        let shares = load.shares(&table, 2);
        assert!((shares[at] - 0.75).abs() < 1e-9 && (shares[0] + shares[1] - 1.0).abs() < 1e-9, "{shares:?}");
        let expected = load.expected(&table, at);
        assert!((expected.share - 0.75).abs() < 1e-9);
        assert!(
            expected.low > 0.4 && expected.low < 0.7 && expected.high > 0.8 && expected.high <= 1.0,
            "{expected:?}"
        );
    }
}
