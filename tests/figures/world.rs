//! A configuration of three sites, read as the server reads it, and its pools as queries see them.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use waypost::control::catalog::Catalog;
use waypost::control::horizons::Horizons;
use waypost::control::state::{PoolState, State};
use waypost::control::zones::Fallback;
use waypost::query::Pool;
use waypost::query::nest::{Branch, Compound, Nest};
use waypost::steering::select::Selector;
use waypost::time::Timestamp;

/// When the figures begin.
pub const START: Timestamp = Timestamp(1_800_000_000);
/// The sites, in order.
pub const SITES: [&str; 3] = ["ec2", "dc1", "dc2"];

/// Pools with these names and weights, of one group. The last octet of each endpoint's RDATA tells its site: 1, 2 or 3.
pub fn catalog(folder: &Path, pools: &[&str], weights: [u32; 3]) -> Catalog {
    catalog_of(folder, pools, weights, |number| {
        format!("address = [\"192.0.2.{number}\", \"2001:db8::{number}\"], https = [\"1 . ipv4hint=192.0.2.{number}\"]")
    })
}

/// The same with other data of the site with a number.
pub fn catalog_of(folder: &Path, pools: &[&str], weights: [u32; 3], data: impl Fn(u32) -> String) -> Catalog {
    let mut text = String::new();
    for pool in pools {
        let _ = write!(
            text,
            "[[pool]]\nname = \"{pool}\"\ngroup = \"web\"\nttl = {{ normal = \"1h\", low = \"60s\" }}\nendpoint = [\n"
        );
        for ((site, weight), number) in SITES.iter().zip(weights).zip(1..) {
            let data = data(number);
            let _ = writeln!(text, "{{ site = \"{site}\", {data}, weight = {weight} }},");
        }
        text += "]\n";
    }
    catalog_with(folder, &SITES, &text)
}

/// A zone, sites and these pools, as the configuration has them.
pub fn catalog_with(folder: &Path, sites: &[&str], pools: &str) -> Catalog {
    let zone = "$TTL 1h\n@ SOA ns hostmaster 1 1h 15m 4w 5m\n  NS ns\nns A 127.0.0.1\n";
    std::fs::write(folder.join("zone"), zone).unwrap();
    let mut config = format!(
        "[server]\nname = \"ns1\"\nlisten = [\"127.0.0.1:0\"]\n[api]\nlisten = \"127.0.0.1:0\"\n\
         [[zone]]\nname = \"example.org\"\nfile = \"{}\"\n",
        folder.join("zone").display()
    );
    for site in sites {
        let _ = writeln!(config, "[[site]]\nname = \"{site}\"");
    }
    config += pools;
    let file = folder.join("waypost.toml");
    std::fs::write(&file, config).unwrap();
    Catalog::read(&file, None, &Fallback::new(), false, START).unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
}

/// As configured.
pub fn state(catalog: &Catalog) -> State {
    let pools = catalog.settings.pools.iter().map(|pool| (pool.name.clone(), PoolState::initial(pool)));
    State { generation: 1, pools: pools.collect(), ..State::default() }
}

/// The pool at `index` as queries see it, where `healthy` says so of its endpoints.
pub fn pool(
    catalog: &Catalog,
    index: usize,
    state: &State,
    horizons: &Horizons,
    healthy: impl Fn(usize) -> bool,
) -> Pool {
    let settings = &catalog.settings.pools[index];
    let pool = &state.pools[&settings.name];
    Pool {
        name: settings.name.clone(),
        sites: settings.endpoints.iter().map(|e| e.site.clone()).collect(),
        group: None,
        salt: catalog.salts[index],
        selector: Selector::new(settings.policy, Arc::new(pool.table.clone()), &pool.candidates(healthy)),
        ttl: settings.ttl,
        cutover: pool.cutover,
        change: pool.change,
        records: catalog.records[index].clone(),
        preview: None,
        compound: settings.nest.as_ref().map(|_| {
            let branch = |(endpoint, of): (usize, &waypost::steering::pool::Endpoint)| Branch {
                pool: of.pool.as_ref().and_then(|inner| catalog.pool_index(inner)).map(|inner| inner as u32),
                first_leaf: settings.leaves_of(endpoint).start as u32,
            };
            Box::new(Compound::Nest(Nest::new(settings.endpoints.iter().enumerate().map(branch))))
        }),
        until_flip: None,
        preference: None,
        withdrawn: Box::default(),
        words: Box::default(),
        recorder: horizons.recorder(index).clone(),
    }
}
