//! `waypost explain`: why a client is answered what it is.

use std::fmt::Write;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::cli::client::{Failure, ServerArgs, encoded};
use crate::cli::render::{Paint, Tone, share};
use crate::control::message::{Explanation, PoolExplanation};
use crate::dns::{Name, Rtype};

/// Tell why a client is answered what it is
///
/// Works on the same state and by the same code as answers do, without counting as one. CLIENT is the address that asks:
/// a resolver's, seldom that of the person behind it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The name asked for
    #[arg(value_parser = crate::cli::name)]
    name: Name,
    /// The type asked for
    #[arg(long = "type", value_name = "TYPE", default_value = "A", value_parser = crate::cli::rtype)]
    rtype: Rtype,
    /// The address of the resolver that asks
    #[arg(long, value_name = "ADDRESS")]
    client: IpAddr,
    /// The client subnet that it asks for (ECS), such as 203.0.113.0/24
    #[arg(long, value_name = "SUBNET", value_parser = crate::api::words::subnet)]
    subnet: Option<IpNet>,
    #[command(flatten)]
    server: ServerArgs,
}

/// Explains.
pub fn run(args: &Args) -> Result<String, Failure> {
    let (name, client) = (encoded(&args.name.to_string()), encoded(&args.client.to_string()));
    let subnet = args.subnet.map_or_else(String::new, |net| format!("&subnet={}", encoded(&net.to_string())));
    let path = format!("/api/v1/explain?name={name}&type={}&client={client}{subnet}", args.rtype);
    let answer = args.server.client()?.get(&path)?;
    answer.told(|explanation: &Explanation| show(explanation, Paint::for_stdout()))
}

fn show(explanation: &Explanation, paint: Paint) -> String {
    let Explanation { name, rtype, client, rcode, .. } = explanation;
    let asked = paint.on(Tone::Strong, &format!("{name} {rtype}"));
    let whom = explanation.subnet.map_or_else(String::new, |net| format!(" for {net}"));
    let mut text = format!("{asked} asked by {client}{whom}: {rcode}\n");
    for record in &explanation.answer {
        let _ = writeln!(text, "  {record}");
    }
    if !explanation.steps.is_empty() {
        text += "\nHow it comes about:\n";
    }
    for (i, step) in explanation.steps.iter().enumerate() {
        let _ = writeln!(text, "  {}. {step}", i + 1);
    }
    for pool in &explanation.pools {
        let _ = writeln!(text, "\n{}", by_pool(pool, &explanation.client_key));
    }
    text
}

fn by_pool(pool: &PoolExplanation, key: &str) -> String {
    let PoolExplanation { name, site, ttl, .. } = pool;
    let mut text = format!("Pool {name}: the client key {key} falls on {} of the points", share(pool.point_percent));
    match &pool.site_by_share {
        Some(by_share) if by_share == site => _ = write!(text, ", which are {site}'s"),
        Some(by_share) if pool.previewed => {
            _ = write!(text, ", which are {by_share}'s; its network sees {site} before all others");
        }
        Some(by_share) => _ = write!(text, ", which are {by_share}'s; {site} is answered instead"),
        None => _ = write!(text, "; {site} is answered"),
    }
    match pool.mode.as_str() {
        "spare" => text += " (no active endpoint is healthy: a spare)",
        "fail-open" => text += " (none is healthy: all active ones are answered)",
        _ => {}
    }
    let inner = pool.pool.as_ref().map_or_else(String::new, |inner| format!(", which is the pool {inner}"));
    text + &format!("{inner}. TTL {ttl}.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_explanation_in_words() {
        let explanation = serde_json::from_value(serde_json::json!({
            "name": "www.example.org", "type": "A", "client": "192.0.2.1", "zone": "example.org",
            "client_key": "192.0.2.0/24", "rcode": "NOERROR", "answer": ["www.example.org. 60 IN A 127.0.0.12"],
            "steps": ["the zone example.org has the name"],
            "pools": [{"name": "www.example.org", "point_percent": 12.5, "site_by_share": "ec2", "site": "dc1",
                       "mode": "normal", "ttl": 60}],
        }))
        .unwrap();
        let expected = "\
www.example.org A asked by 192.0.2.1: NOERROR
  www.example.org. 60 IN A 127.0.0.12

How it comes about:
  1. the zone example.org has the name

Pool www.example.org: the client key 192.0.2.0/24 falls on 12.5 % of the points, which are ec2's; dc1 is answered instead. \
TTL 60.
";
        assert_eq!(show(&explanation, Paint(false)), expected);
    }
}
