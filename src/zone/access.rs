//! Who may do what with a zone: by address and by TSIG key.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use crate::dns::{Name, NameError};

/// Rules from left to right; the first that matches decides, and who matches none is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessList(pub Vec<Rule>);

impl AccessList {
    /// Whether `client` is let in, who has signed with `key`.
    pub fn allows(&self, client: IpAddr, key: Option<&Name>) -> bool {
        let client = client.to_canonical(); // an IPv4 client on a socket of IPv6
        let matches = |rule: &&Rule| match &rule.who {
            Who::Any => true,
            Who::Key(name) => key == Some(name),
            Who::Net(net) => net.contains(&client),
        };
        self.0.iter().find(matches).is_some_and(|rule| !rule.deny)
    }

    /// The keys that it names.
    pub fn keys(&self) -> impl Iterator<Item = &Name> {
        self.0.iter().filter_map(|rule| if let Who::Key(name) = &rule.who { Some(name) } else { None })
    }
}

/// One rule: `key:NAME`, `192.0.2.0/24`, `2001:db8::1` or `any`; with `!` in front it refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Whether whom it matches is refused.
    pub deny: bool,
    /// Whom it matches.
    pub who: Who,
}

/// Whom a rule matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// Everybody.
    Any,
    /// Who signs with this TSIG key.
    Key(Name),
    /// Who comes from this network.
    Net(IpNet),
}

/// Why a text is no [`Rule`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// What stands behind `key:` is no name.
    #[error(transparent)]
    Key(#[from] NameError),
    /// It is none of what a rule can be.
    #[error("it is no rule: write key:NAME, an address, a network such as 192.0.2.0/24, or any, maybe with ! in front")]
    Nothing,
    /// A network whose address goes on below its prefix.
    #[error("the address has bits set beyond the prefix length; did you mean {0}?")]
    HostBits(IpNet),
}

impl FromStr for Rule {
    type Err = RuleError;
    fn from_str(text: &str) -> Result<Self, RuleError> {
        let (deny, text) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest.trim_start()));
        let who = if text == "any" {
            Who::Any
        } else if let Some(name) = text.strip_prefix("key:") {
            Who::Key(name.parse()?)
        } else if let Ok(address) = text.parse::<IpAddr>() {
            Who::Net(address.into())
        } else {
            let net: IpNet = text.parse().map_err(|_| RuleError::Nothing)?;
            if net.trunc() != net {
                return Err(RuleError::HostBits(net.trunc()));
            }
            Who::Net(net)
        };
        Ok(Self { deny, who })
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.deny {
            f.write_str("!")?;
        }
        match &self.who {
            Who::Any => f.write_str("any"),
            Who::Key(name) => write!(f, "key:{name}"),
            Who::Net(net) => net.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_matches_decides() {
        let list = |rules: &[&str]| AccessList(rules.iter().map(|r| r.parse().unwrap()).collect());
        let key: Name = "k.example".parse().unwrap();
        let from = |text: &str| text.parse::<IpAddr>().unwrap();
        let open = list(&["!10.0.0.0/8", "key:K.example.", "127.0.0.0/8", "2001:db8::1"]);
        for (client, signed, allowed) in [
            ("127.1.2.3", false, true),
            ("::ffff:127.1.2.3", false, true),
            ("192.0.2.1", false, false),
            ("192.0.2.1", true, true),
            ("10.1.1.1", true, false),
            ("2001:db8::1", false, true),
            ("2001:db8::2", false, false),
        ] {
            assert_eq!(open.allows(from(client), signed.then_some(&key)), allowed, "{client} {signed}");
        }
        assert!(!AccessList::default().allows(from("127.0.0.1"), Some(&key)), "nobody, unless somebody is named");
        assert!(list(&["!192.0.2.1", "any"]).allows(from("192.0.2.2"), None));
        assert!(!list(&["!192.0.2.1", "any"]).allows(from("192.0.2.1"), None));
        assert_eq!(open.keys().collect::<Vec<_>>(), [&key]);
    }

    #[test]
    fn rules_are_read_as_they_are_written() {
        for text in ["key:k.example", "!key:k", "10.0.0.0/8", "!2001:db8::/32", "any", "!any"] {
            assert_eq!(text.parse::<Rule>().unwrap().to_string(), text);
        }
        assert_eq!("127.0.0.1".parse::<Rule>().unwrap().to_string(), "127.0.0.1/32");
        for wrong in ["", "!", "ns.example", "10.0.0.0/33", "key:", "key:a..b", "ANY"] {
            assert!(wrong.parse::<Rule>().is_err(), "{wrong}");
        }
        let bits = "10.0.0.1/8".parse::<Rule>().unwrap_err();
        assert_eq!(bits.to_string(), "the address has bits set beyond the prefix length; did you mean 10.0.0.0/8?");
    }
}
