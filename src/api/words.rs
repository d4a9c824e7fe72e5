//! Values as people write them, in a request's body and on the command line alike. Each reader gives the value or one
//! sentence that quotes what was written.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::dns::Ttl;
use crate::steering::flip::Percent;

/// A share: `5`, `0.25`, with or without `%`.
pub fn percent(text: &str) -> Result<Percent, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim_end();
    number.parse().map_err(|e: crate::steering::flip::PercentError| e.to_string())
}

/// A length of time in whole seconds: `90`, `10m`, `1h30m`, `10 minutes`.
pub fn duration_s(text: &str) -> Result<u64, String> {
    if let Ok(short) = Ttl::parse(text) {
        return Ok(short.secs().into());
    }
    text.parse::<jiff::SignedDuration>()
        .ok()
        .filter(|long| long.subsec_nanos() == 0)
        .and_then(|long| u64::try_from(long.as_secs()).ok())
        .ok_or_else(|| format!("{text:?} is no length of time: write 90s, 10m or 1h30m"))
}

/// A client subnet: `203.0.113.0/24`, `2001:db8::/56`; an address alone is a subnet of one.
pub fn subnet(text: &str) -> Result<IpNet, String> {
    let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let net = net.map_err(|_| format!("{text:?} is no subnet: write 203.0.113.0/24 or 2001:db8::/56"))?;
    if net.addr() == net.network() {
        return Ok(net);
    }
    Err(format!("{text:?} has bits beyond its prefix: write {}", net.trunc()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_with_and_without_its_sign() {
        for text in ["5", "5.0", "5%", "5 %"] {
            assert_eq!(percent(text).map(Percent::units), Ok(50_000), "{text}");
        }
        for text in ["", "%", "five", "-1", "101", "0.00001"] {
            let told = percent(text).unwrap_err();
            assert!(text == "%" || told.contains(text), "{told}");
        }
    }

    #[test]
    fn a_subnet_has_no_bits_beyond_its_prefix() {
        for (text, net) in [("203.0.113.0/24", "203.0.113.0/24"), ("192.0.2.1", "192.0.2.1/32"), ("::/0", "::/0")] {
            assert_eq!(subnet(text).map(|net| net.to_string()), Ok(net.to_owned()));
        }
        assert!(subnet("203.0.113.7/24").unwrap_err().ends_with("write 203.0.113.0/24"));
        for text in ["", "here", "203.0.113.0/33"] {
            assert!(subnet(text).unwrap_err().starts_with(&format!("{text:?}")), "{text}");
        }
    }

    #[test]
    fn lengths_of_time() {
        for (text, seconds) in [("90", 90), ("10m", 600), ("1h30m", 5400), ("1h 30m", 5400), ("10 minutes", 600)] {
            assert_eq!(duration_s(text), Ok(seconds), "{text}");
        }
        for text in ["", "soon", "-5m", "1.5s", "10 m 3"] {
            assert!(duration_s(text).unwrap_err().contains(text), "{text}");
        }
    }
}
