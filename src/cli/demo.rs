//! `waypost demo`: the server with the sample configuration, and beside it the tiny sites that its endpoints name.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::cli::demo_sites::{self, DemoSite};
use crate::cli::{check, serve};
use crate::config::Settings;
use crate::control::Handle;
use crate::dns::Rtype;
use crate::probe::{Kind, http};
use crate::run::{self, Addresses};

/// Run a server and two tiny sites on loopback, to play with
///
/// Beside the server it runs an HTTP site at each loopback address that a probe asks, so that probes have something to see,
/// and prints what to try next. No root is needed.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoArgs {
    /// The configuration; its endpoints are loopback addresses, where the sites are started
    #[arg(long, value_name = "FILE", default_value = "config/waypost.toml")]
    pub config: PathBuf,
}

/// Runs it, until SIGTERM or SIGINT.
pub fn run(args: &DemoArgs) -> ExitCode {
    let catalog = match run::read(&args.config) {
        Ok(catalog) => catalog,
        Err(mistakes) => return check::refuse(&mistakes),
    };
    let sites = sites_of(&catalog.settings);
    let hints = hints(&catalog.settings, &sites);
    let ready = move |addresses: &Addresses, _: &Handle| print!("{}", hints(addresses));
    let beside = async { Ok(demo_sites::serve(sites).await?) };
    serve::finish(serve::block_on(&args.config, catalog, false, ready, beside))
}

/// A site at each loopback address that an HTTP probe asks.
fn sites_of(settings: &Settings) -> Vec<DemoSite> {
    let mut sites: Vec<DemoSite> = Vec::new();
    for pool in &settings.pools {
        let probe = pool.probe.as_ref().and_then(|name| settings.probes.get(name));
        let Some(Kind::Http(http::Settings { port, tls: None, .. })) = probe.map(|p| &p.kind) else { continue };
        for endpoint in &pool.endpoints {
            let octets = endpoint.rdata.iter().filter(|(t, _)| *t == Rtype::A).flat_map(|(_, rdatas)| rdatas);
            let addresses = octets.filter_map(|o| o.first_chunk::<4>()).map(|o| IpAddr::from(*o));
            for address in addresses.filter(IpAddr::is_loopback).map(|a| SocketAddr::new(a, *port)) {
                match sites.iter_mut().find(|s| s.name == endpoint.site) {
                    Some(site) if site.addresses.contains(&address) => {}
                    Some(site) => site.addresses.push(address),
                    None => sites.push(DemoSite { name: endpoint.site.clone(), addresses: vec![address] }),
                }
            }
        }
    }
    sites
}

/// What to try next.
fn hints(settings: &Settings, sites: &[DemoSite]) -> impl FnOnce(&Addresses) -> String + use<> {
    let pool = settings.pools.first().map_or_else(|| "www.example.org".to_owned(), |p| p.name.to_string());
    let site = |i: usize| sites.get(i).map_or_else(|| "SITE".to_owned(), |s| s.name.clone());
    let (from, to) = (site(0), site(1));
    let token = settings.api.token_file.display().to_string();
    let listening =
        sites.iter().flat_map(|s| s.addresses.iter().map(move |a| format!("    {} at http://{a}/\n", s.name)));
    let listening: String = listening.collect();
    let stop = sites.first().and_then(|s| s.addresses.first()).map_or_else(String::new, ToString::to_string);
    move |addresses| {
        let api = addresses.api;
        let dns = addresses.dns.first().copied().unwrap_or(SocketAddr::from(([127, 0, 0, 1], 53)));
        let dig = format!("dig @{} -p {} +noall +answer {pool}", dns.ip(), dns.port());
        let cli = if api.port() == 5380 { String::new() } else { format!(" --api http://{api}") };
        format!(
            "
Waypost answers at {dns} (UDP and TCP); its API is at http://{api}, the token in {token}.
Two tiny sites run beside it:
{listening}
Try, in another terminal:

    {dig}
    target/debug/waypost{cli} status
    target/debug/waypost{cli} flip --from {from} --to {to} --percent 100 --pool {pool} --reason \"first flip\"
    {dig}
    curl -H \"Authorization: Bearer $(cat {token})\" http://{api}/api/v1/pools/{pool}

Give both sites a share, make one fail, see it taken out of the answers, and let it come back:

    target/debug/waypost{cli} flip --from {to} --to {from} --percent 50 --pool {pool}
    curl -X POST http://{stop}/stop
    curl -X POST http://{stop}/start

Ctrl-C ends it. What you flipped is kept in the folder {state:?}.

",
            state = token.rsplit_once('/').map_or("state", |(folder, _)| folder),
        )
    }
}
