//! What operators changed of the pools at run time, in the words of the file, and how it goes together with the file. Pure.
//!
//! An amendment remembers what the file said when it was made. It holds for as long as the file says that. Once the file says
//! what it says, it is the file's alone. Where the file says something else by then, the file is the later word, and the
//! amendment is dropped. Weights are not compared: the store rules over them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::dns::Name;
use crate::steering::pool::SiteName;

/// Amendments by pool.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Amendments(pub BTreeMap<Name, Amendment>);

/// What was changed of one pool: the whole of it, or some endpoints.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Amendment {
    /// The pool with all its endpoints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    whole: Option<Said>,
    /// By site; none where the whole was changed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    endpoints: BTreeMap<SiteName, Said>,
}

/// What was said of a pool or an endpoint, and what is; `None`: it is not there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Said {
    /// By the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    was: Option<Table>,
    /// At run time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    is: Option<Table>,
}

/// One change of the pools at run time. Tables have the words of `[[pool]]` and its endpoints.
#[derive(Clone, Debug, PartialEq)]
pub enum Wish {
    /// A pool that was not there.
    AddPool(Name, Table),
    /// A pool otherwise than it was; weights of sites that it had stay.
    SetPool(Name, Table),
    /// No such pool any more.
    RemovePool(Name),
    /// An endpoint at a site where the pool had none, with weight 0.
    AddEndpoint(Name, SiteName, Table),
    /// Other records of an endpoint; its weight stays, and its role unless it is said.
    SetEndpoint(Name, SiteName, Table),
    /// No endpoint there any more.
    RemoveEndpoint(Name, SiteName),
}

/// Why a wish does not go with the pools as they are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WishError {
    /// There is none of that name.
    #[error("there is no pool {0}")]
    NoPool(Name),
    /// It is there already.
    #[error("there is a pool {0} already")]
    PoolExists(Name),
    /// There is none at that site.
    #[error("pool {pool} has no endpoint at {site:?}")]
    NoEndpoint {
        /// The pool.
        pool: Name,
        /// The site.
        site: SiteName,
    },
    /// It is there already.
    #[error("pool {pool} has an endpoint at {site:?} already")]
    EndpointExists {
        /// The pool.
        pool: Name,
        /// The site.
        site: SiteName,
    },
    /// That is not for these words to say.
    #[error("{key:?} is not said here: {why}")]
    Key {
        /// As written.
        key: String,
        /// What to do instead.
        why: &'static str,
    },
}

impl Wish {
    /// The pool.
    pub fn pool(&self) -> &Name {
        match self {
            Self::AddPool(pool, _)
            | Self::SetPool(pool, _)
            | Self::RemovePool(pool)
            | Self::AddEndpoint(pool, ..)
            | Self::SetEndpoint(pool, ..)
            | Self::RemoveEndpoint(pool, _) => pool,
        }
    }

    /// The endpoint's site, if it is about one.
    pub fn site(&self) -> Option<&str> {
        match self {
            Self::AddPool(..) | Self::SetPool(..) | Self::RemovePool(_) => None,
            Self::AddEndpoint(_, site, _) | Self::SetEndpoint(_, site, _) | Self::RemoveEndpoint(_, site) => Some(site),
        }
    }

    /// What it does: `added`, `set` or `removed`.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::AddPool(..) | Self::AddEndpoint(..) => "added",
            Self::SetPool(..) | Self::SetEndpoint(..) => "set",
            Self::RemovePool(_) | Self::RemoveEndpoint(..) => "removed",
        }
    }
}

impl Amendments {
    /// Takes `wish` in, given what the file says.
    ///
    /// # Errors
    /// [`WishError`]; nothing has changed then.
    pub fn make(&mut self, file: &Table, wish: &Wish) -> Result<(), WishError> {
        let pool = wish.pool();
        let written = find_pool(file, pool).cloned();
        let mut amendment = self.0.get(pool).cloned().unwrap_or_default();
        let current = amendment.over(written.clone());
        let whole = match wish {
            Wish::AddPool(_, table) if current.is_none() => Some(named(pool, table)?),
            Wish::AddPool(..) => return Err(WishError::PoolExists(pool.clone())),
            _ if current.is_none() => return Err(WishError::NoPool(pool.clone())),
            Wish::SetPool(_, table) => Some(named(pool, table)?),
            Wish::RemovePool(_) => None,
            Wish::AddEndpoint(_, site, table) | Wish::SetEndpoint(_, site, table) => {
                let old = current.as_ref().and_then(|pool| find_endpoint(pool, site));
                let adds = matches!(wish, Wish::AddEndpoint(..));
                if adds == old.is_some() {
                    let (pool, site) = (pool.clone(), site.clone());
                    return Err(if adds {
                        WishError::EndpointExists { pool, site }
                    } else {
                        WishError::NoEndpoint { pool, site }
                    });
                }
                amendment.put(written.as_ref(), site, Some(endpoint(site, table, old)?));
                self.keep(pool, amendment);
                return Ok(());
            }
            Wish::RemoveEndpoint(_, site) => {
                if current.as_ref().and_then(|pool| find_endpoint(pool, site)).is_none() {
                    return Err(WishError::NoEndpoint { pool: pool.clone(), site: site.clone() });
                }
                amendment.put(written.as_ref(), site, None);
                self.keep(pool, amendment);
                return Ok(());
            }
        };
        let whole = (whole != written).then_some(Said { was: written, is: whole });
        self.keep(pool, Amendment { whole, endpoints: BTreeMap::new() });
        Ok(())
    }

    fn keep(&mut self, pool: &Name, amendment: Amendment) {
        if amendment == Amendment::default() {
            self.0.remove(pool);
        } else {
            self.0.insert(pool.clone(), amendment);
        }
    }

    /// Changes what the file says by all that holds. Gives what of it still holds, and where the file was the later word.
    pub fn apply(&self, file: &mut Table) -> (Self, Vec<String>) {
        let (mut holds, mut dropped) = (BTreeMap::new(), Vec::new());
        for (pool, amendment) in &self.0 {
            let written = find_pool(file, pool).cloned();
            let still = amendment.against(pool, written.as_ref(), &mut dropped);
            if still != Amendment::default() {
                put_pool(file, pool, still.over(written));
                holds.insert(pool.clone(), still);
            }
        }
        (Self(holds), dropped)
    }

    /// What was changed of `pool`, in words.
    pub fn of(&self, pool: &Name) -> Vec<String> {
        let Some(amendment) = self.0.get(pool) else { return Vec::new() };
        let verb = |said: &Said| match (&said.was, &said.is) {
            (None, _) => "added",
            (_, None) => "removed",
            _ => "changed",
        };
        let whole = amendment.whole.iter().map(|said| format!("the pool was {} at run time", verb(said)));
        let endpoints = amendment.endpoints.iter().map(|(site, said)| format!("{site} was {} at run time", verb(said)));
        whole.chain(endpoints).collect()
    }
}

impl Amendment {
    /// The pool that comes of what the file says.
    fn over(&self, written: Option<Table>) -> Option<Table> {
        if let Some(whole) = &self.whole {
            return whole.is.clone();
        }
        let mut pool = written?;
        for (site, said) in &self.endpoints {
            put_endpoint(&mut pool, site, said.is.clone());
        }
        Some(pool)
    }

    /// Says of an endpoint what it is, over a file that has the pool so.
    fn put(&mut self, written: Option<&Table>, site: &str, is: Option<Table>) {
        if let Some(Said { is: Some(pool), .. }) = &mut self.whole {
            put_endpoint(pool, site, is);
            return;
        }
        let was = written.and_then(|pool| find_endpoint(pool, site)).cloned();
        if was == is {
            self.endpoints.remove(site);
        } else {
            self.endpoints.insert(site.to_owned(), Said { was, is });
        }
    }

    /// What of it holds over the file as it is.
    fn against(&self, pool: &Name, written: Option<&Table>, dropped: &mut Vec<String>) -> Self {
        let mut holds = |what: &str, said: &Said, now: Option<&Table>| {
            let (now, was, is) =
                (now.map(weightless), said.was.as_ref().map(weightless), said.is.as_ref().map(weightless));
            let later = now != was && now != is;
            if later {
                dropped.push(format!("{what} was changed at run time, and in the file since: the file counts"));
            }
            now == was && was != is
        };
        let whole = self.whole.clone().filter(|said| holds(&format!("pool {pool}"), said, written));
        let mut still = Self { whole, endpoints: BTreeMap::new() };
        for (site, said) in &self.endpoints {
            let now = written.and_then(|pool| find_endpoint(pool, site));
            if holds(&format!("pool {pool}: the endpoint at {site}"), said, now) && written.is_some() {
                still.endpoints.insert(site.clone(), said.clone());
            }
        }
        still
    }
}

/// A pool as it is said at run time.
fn named(name: &Name, table: &Table) -> Result<Table, WishError> {
    let mut pool = table.clone();
    if pool.contains_key("name") {
        return Err(WishError::Key { key: "name".to_owned(), why: "the pool is named beside it" });
    }
    pool.insert("name".to_owned(), Value::String(name.to_string()));
    Ok(pool)
}

/// An endpoint as it is said at run time, in place of `old`.
fn endpoint(site: &str, table: &Table, old: Option<&Table>) -> Result<Table, WishError> {
    let mut endpoint = table.clone();
    for (key, why) in
        [("weight", "a new endpoint begins at 0, and flips change weights"), ("site", "it is named beside it")]
    {
        if endpoint.contains_key(key) {
            return Err(WishError::Key { key: key.to_owned(), why });
        }
    }
    endpoint.insert("site".to_owned(), Value::String(site.to_owned()));
    let kept = |key: &str| old.and_then(|old| old.get(key)).cloned();
    match kept("weight") {
        Some(weight) => _ = endpoint.insert("weight".to_owned(), weight),
        None if old.is_none() => _ = endpoint.insert("weight".to_owned(), Value::Integer(0)),
        None => {} // another pool of its group says it
    }
    if let Some(role) = kept("role") {
        endpoint.entry("role").or_insert(role);
    }
    Ok(endpoint)
}

/// A table without weights, its own and those of its endpoints.
fn weightless(table: &Table) -> Table {
    let mut table = table.clone();
    table.remove("weight");
    if let Some(Value::Array(endpoints)) = table.get_mut("endpoint") {
        for endpoint in endpoints.iter_mut().filter_map(Value::as_table_mut) {
            endpoint.remove("weight");
        }
    }
    table
}

/// What `file` says of the pool `name`.
pub fn find_pool<'f>(file: &'f Table, name: &Name) -> Option<&'f Table> {
    let pools = file.get("pool")?.as_array()?;
    pools.iter().filter_map(Value::as_table).find(|pool| is_named(pool, name))
}

fn is_named(pool: &Table, name: &Name) -> bool {
    let written = pool.get("name").and_then(Value::as_str);
    written.and_then(|text| Name::parse(text, None).ok()).is_some_and(|written| written == *name)
}

fn find_endpoint<'p>(pool: &'p Table, site: &str) -> Option<&'p Table> {
    let endpoints = pool.get("endpoint")?.as_array()?;
    endpoints.iter().filter_map(Value::as_table).find(|endpoint| is_at(endpoint, site))
}

fn is_at(endpoint: &Table, site: &str) -> bool {
    endpoint.get("site").and_then(Value::as_str) == Some(site)
}

/// Puts `pool` where the one of that name stands, or behind all others; `None` takes it out.
fn put_pool(file: &mut Table, name: &Name, pool: Option<Table>) {
    let pools = file.entry("pool").or_insert_with(|| Value::Array(Vec::new()));
    if let Value::Array(pools) = pools {
        put(pools, |pool| is_named(pool, name), pool);
        if pools.is_empty() {
            file.remove("pool");
        }
    }
}

/// The same with an endpoint.
fn put_endpoint(pool: &mut Table, site: &str, endpoint: Option<Table>) {
    let endpoints = pool.entry("endpoint").or_insert_with(|| Value::Array(Vec::new()));
    if let Value::Array(endpoints) = endpoints {
        put(endpoints, |endpoint| is_at(endpoint, site), endpoint);
    }
}

fn put(among: &mut Vec<Value>, is_it: impl Fn(&Table) -> bool, now: Option<Table>) {
    let place = among.iter().position(|value| value.as_table().is_some_and(&is_it));
    match (place, now) {
        (Some(place), Some(now)) => among[place] = Value::Table(now),
        (Some(place), None) => _ = among.remove(place),
        (None, Some(now)) => among.push(Value::Table(now)),
        (None, None) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
[[pool]]
name = \"www.example.org\"
endpoint = [{ site = \"ec2\", address = [\"192.0.2.1\"], weight = 100 }, { site = \"dc1\", address = [\"192.0.2.2\"], weight = 0 }]
";

    fn table(text: &str) -> Table {
        toml::from_str(text).unwrap()
    }

    fn www() -> Name {
        "www.example.org".parse().unwrap()
    }

    fn add(site: &str) -> Wish {
        Wish::AddEndpoint(www(), site.to_owned(), table("address = [\"192.0.2.3\"]"))
    }

    fn made(wishes: &[Wish]) -> Amendments {
        let mut amendments = Amendments::default();
        for wish in wishes {
            amendments.make(&table(FILE), wish).unwrap();
        }
        amendments
    }

    fn sites(file: &Table) -> Vec<(&str, i64)> {
        let endpoints = find_pool(file, &www()).unwrap()["endpoint"].as_array().unwrap();
        endpoints.iter().map(|e| (e["site"].as_str().unwrap(), e["weight"].as_integer().unwrap())).collect()
    }

    #[test]
    fn an_endpoint_comes_at_weight_0_and_goes() {
        let mut amendments = made(&[add("dc2")]);
        let mut file = table(FILE);
        assert_eq!(amendments.apply(&mut file), (amendments.clone(), Vec::new()));
        assert_eq!(sites(&file), [("ec2", 100), ("dc1", 0), ("dc2", 0)]);
        assert_eq!(amendments.of(&www()), ["dc2 was added at run time"]);
        assert!(
            amendments.make(&table(FILE), &add("dc2")).is_err() && amendments.make(&table(FILE), &add("ec2")).is_err()
        );
        let other = Wish::SetEndpoint(www(), "ec2".to_owned(), table("address = [\"192.0.2.9\"]"));
        amendments.make(&table(FILE), &other).unwrap();
        let mut file = table(FILE);
        amendments.apply(&mut file);
        assert_eq!(sites(&file)[0], ("ec2", 100), "its weight stays");
        for site in ["dc2", "ec2"] {
            amendments.make(&table(FILE), &Wish::RemoveEndpoint(www(), site.to_owned())).unwrap();
        }
        let mut file = table(FILE);
        amendments.apply(&mut file);
        assert_eq!(sites(&file), [("dc1", 0)]);
        assert_eq!(amendments.of(&www()), ["ec2 was removed at run time"], "dc2 is as it was");
        let weight = Wish::AddEndpoint(www(), "dc3".to_owned(), table("weight = 5"));
        assert!(matches!(amendments.make(&table(FILE), &weight), Err(WishError::Key { .. })));
    }

    #[test]
    fn the_file_is_the_later_word_where_it_was_edited() {
        let amendments = made(&[add("dc2"), Wish::RemoveEndpoint(www(), "dc1".to_owned())]);
        let (holds, dropped) = amendments.apply(&mut table(&FILE.replace("192.0.2.1\"", "192.0.2.8\"")));
        assert_eq!((holds, dropped), (amendments.clone(), Vec::new()), "another endpoint was edited");
        let (holds, dropped) = amendments.apply(&mut table(&FILE.replace("192.0.2.2", "192.0.2.8")));
        assert_eq!(holds.of(&www()), ["dc2 was added at run time"]);
        assert_eq!(
            dropped,
            [
                "pool www.example.org: the endpoint at dc1 was changed at run time, and in the file since: the file counts"
            ]
        );
        // The file took it over, with a weight of its own.
        let more = FILE.replace("}]", "}, { site = \"dc2\", address = [\"192.0.2.3\"], weight = 7 }]");
        let (holds, dropped) = amendments.apply(&mut table(&more));
        assert_eq!((holds.of(&www()), dropped.len()), (vec!["dc1 was removed at run time".to_owned()], 0));
        let (holds, _) = amendments.apply(&mut Table::new());
        assert_eq!(holds, Amendments::default());
    }

    #[test]
    fn pools_come_and_go() {
        let shop: Name = "shop.example.org".parse().unwrap();
        let pool = table("endpoint = [{ site = \"ec2\", address = [\"192.0.2.1\"], weight = 1 }]");
        let mut amendments = made(&[Wish::AddPool(shop.clone(), pool.clone()), Wish::RemovePool(www())]);
        let mut file = table(FILE);
        amendments.apply(&mut file);
        assert!(find_pool(&file, &shop).is_some() && find_pool(&file, &www()).is_none());
        assert_eq!(amendments.make(&table(FILE), &add("dc2")), Err(WishError::NoPool(www())));
        let endpoint = Wish::AddEndpoint(shop.clone(), "dc1".to_owned(), table("address = [\"192.0.2.4\"]"));
        amendments.make(&table(FILE), &endpoint).unwrap();
        let stored = serde_json::to_string(&amendments.0[&shop]).unwrap();
        assert_eq!(serde_json::from_str::<Amendment>(&stored).unwrap(), amendments.0[&shop]);
        for pool in [shop.clone(), www()] {
            let again = find_pool(&table(FILE), &pool).cloned();
            let wish = again.map_or(Wish::RemovePool(pool.clone()), |mut table| {
                table.remove("name");
                Wish::AddPool(pool, table)
            });
            amendments.make(&table(FILE), &wish).unwrap();
        }
        assert_eq!(amendments, Amendments::default(), "all is as the file says");
    }
}
