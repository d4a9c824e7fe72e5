//! Whom a configuration wants to be probed.

use std::net::IpAddr;

use crate::config::Settings;
use crate::dns::Rtype;
use crate::probe::Target;
use crate::steering::pool::Endpoint;

/// The endpoints to probe: those of pools with a probe, with addresses where the probe needs them. One that is a pool is as that
/// pool is.
pub fn targets(settings: &Settings) -> Vec<Target> {
    let mut targets = Vec::new();
    for pool in &settings.pools {
        let probe = pool.probe.as_ref().and_then(|name| Some((name, settings.probes.get(name)?)));
        let Some((probe_name, probe)) = probe else { continue };
        for endpoint in pool.endpoints.iter().filter(|endpoint| endpoint.pool.is_none()) {
            let addresses = addresses(endpoint);
            if addresses.is_empty() && probe.kind.needs_address() {
                continue;
            }
            let (pool, site) = (pool.name.clone(), endpoint.site.clone());
            let (probe_name, probe) = (probe_name.clone(), probe.clone());
            targets.push(Target { pool, site, addresses, probe_name, probe });
        }
    }
    targets
}

/// The addresses in the endpoint's RDATA.
fn addresses(endpoint: &Endpoint) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for (rtype, rdatas) in &endpoint.rdata {
        for rdata in rdatas {
            match *rtype {
                Rtype::A => found.extend(rdata.first_chunk::<4>().map(|octets| IpAddr::from(*octets))),
                Rtype::AAAA => found.extend(rdata.first_chunk::<16>().map(|octets| IpAddr::from(*octets))),
                _ => {}
            }
        }
    }
    found
}
