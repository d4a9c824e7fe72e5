//! Who may connect: a pure function of rules and address, in rinetd's order.
//!
//! No I/O and no state here. Host names are never matched, as looking one up would hold up the connection.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

/// Allow and deny patterns, either of all rules or of one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// If there is any, an address must match at least one.
    pub allow: Vec<Pattern>,
    /// An address must match none.
    pub deny: Vec<Pattern>,
}

/// What the rules say of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may connect.
    Allowed,
    /// There are allow patterns and it matches none of them.
    NotAllowed,
    /// It matches a deny pattern.
    Denied,
}

/// Decides on `address`: first by the patterns that hold for all rules, then by those of the rule; of each, allow comes
/// before deny, and the first refusal stands.
pub fn decide(global: &Access, rule: &Access, address: IpAddr) -> Verdict {
    if global.is_empty() && rule.is_empty() {
        return Verdict::Allowed;
    }
    let client = Client::of(address);
    match global.judge(&client) {
        Verdict::Allowed => rule.judge(&client),
        refused => refused,
    }
}

impl Access {
    fn is_empty(&self) -> bool {
        self.allow.is_empty() && self.deny.is_empty()
    }

    fn judge(&self, client: &Client) -> Verdict {
        if !self.allow.is_empty() && !self.allow.iter().any(|p| p.matches(client)) {
            Verdict::NotAllowed
        } else if self.deny.iter().any(|p| p.matches(client)) {
            Verdict::Denied
        } else {
            Verdict::Allowed
        }
    }
}

/// One allow or deny pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// A network in CIDR notation, or a single address as the network of itself.
    Net(IpNet),
    /// rinetd's form, matched against the address as text (RFC 5952): `?` is any one character, `*` any number of them.
    /// In lower case, without square brackets.
    Wildcard(String),
}

/// Why a text is no [`Pattern`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It has a character that no address has.
    #[error("{0:?} is no character of an address or pattern (host names can't be matched)")]
    Character(char),
    /// It is neither an address, nor a network, nor has it a wildcard.
    #[error("it is no address, no network such as 192.0.2.0/24 and has no wildcard (* or ?)")]
    Nothing,
    /// A network whose address goes on below its prefix.
    #[error("the address has bits set beyond the prefix length; did you mean {0}?")]
    HostBits(IpNet),
}

impl Pattern {
    /// Reads an address, a network in CIDR notation or a pattern with wildcards.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let bare: String = text.chars().filter(|c| !matches!(c, '[' | ']')).collect::<String>().to_ascii_lowercase();
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Ok(Self::Net(IpNet::from(address)));
        }
        if let Ok(net) = bare.parse::<IpNet>() {
            let whole = net.trunc();
            return if whole == net { Ok(Self::Net(net)) } else { Err(PatternError::HostBits(whole)) };
        }
        let allowed = |c: char| c.is_ascii_hexdigit() || matches!(c, '.' | ':' | '*' | '?');
        match bare.chars().find(|&c| !allowed(c)) {
            Some('/') => Err(PatternError::Nothing),
            Some(other) => Err(PatternError::Character(other)),
            None if bare.contains(['*', '?']) => Ok(Self::Wildcard(bare)),
            None => Err(PatternError::Nothing),
        }
    }

    fn matches(&self, client: &Client) -> bool {
        match self {
            Self::Net(net) => net.contains(&client.address) || net.contains(&client.as_seen),
            Self::Wildcard(pattern) => {
                wildcard(pattern.as_bytes(), client.text.as_bytes())
                    || client.text_as_seen.as_ref().is_some_and(|t| wildcard(pattern.as_bytes(), t.as_bytes()))
            }
        }
    }
}

/// As it can be written again.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Net(net) if net.prefix_len() == net.max_prefix_len() => net.addr().fmt(f),
            Self::Net(net) => net.fmt(f),
            Self::Wildcard(pattern) => f.write_str(pattern),
        }
    }
}

/// A client's address in the forms that patterns may speak of. A dual-stack listener sees 192.0.2.1 as
/// `::ffff:192.0.2.1`; both forms match.
struct Client {
    address: IpAddr,
    as_seen: IpAddr,
    text: String,
    text_as_seen: Option<String>,
}

impl Client {
    fn of(as_seen: IpAddr) -> Self {
        let address = as_seen.to_canonical();
        let text_as_seen = (address != as_seen).then(|| as_seen.to_string());
        Self { address, as_seen, text: address.to_string(), text_as_seen }
    }
}

/// Whether all of `text` matches `pattern`. Linear in space, at worst quadratic in time: only the last `*` is gone back to.
fn wildcard(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut last_star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                last_star = Some((p, t));
                p += 1;
            }
            Some(&c) if c == b'?' || c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((star, from)) = last_star else { return false };
                last_star = Some((star, from + 1));
                p = star + 1;
                t = from + 1;
            }
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(allow: &[&str], deny: &[&str]) -> Access {
        let read = |texts: &[&str]| texts.iter().map(|t| Pattern::parse(t).unwrap()).collect();
        Access { allow: read(allow), deny: read(deny) }
    }

    fn verdict(global: &Access, rule: &Access, address: &str) -> Verdict {
        decide(global, rule, address.parse().unwrap())
    }

    #[test]
    fn without_patterns_everyone_may_connect() {
        assert_eq!(verdict(&Access::default(), &Access::default(), "192.0.2.1"), Verdict::Allowed);
    }

    #[test]
    fn rinetds_order_is_kept() {
        let global = access(&["192.0.2.*", "198.51.100.*"], &["192.0.2.66"]);
        let rule = access(&["192.0.2.*"], &["192.0.2.7?"]);
        assert_eq!(verdict(&global, &rule, "203.0.113.1"), Verdict::NotAllowed, "no global allow matches");
        assert_eq!(verdict(&global, &rule, "192.0.2.66"), Verdict::Denied, "global deny");
        assert_eq!(verdict(&global, &rule, "198.51.100.1"), Verdict::NotAllowed, "no allow of the rule matches");
        assert_eq!(verdict(&global, &rule, "192.0.2.70"), Verdict::Denied, "deny of the rule");
        assert_eq!(verdict(&global, &rule, "192.0.2.7"), Verdict::Allowed, "? is one character, not none");
        assert_eq!(verdict(&global, &Access::default(), "198.51.100.1"), Verdict::Allowed);
    }

    #[test]
    fn an_address_that_is_both_not_allowed_and_denied_is_not_allowed() {
        let rule = access(&["192.0.2.1"], &["*"]);
        assert_eq!(verdict(&Access::default(), &rule, "192.0.2.2"), Verdict::NotAllowed);
        assert_eq!(verdict(&Access::default(), &rule, "192.0.2.1"), Verdict::Denied);
    }

    #[test]
    fn networks_and_mapped_addresses_match() {
        let rule = access(&["10.0.0.0/8", "2001:db8::/32", "172.16.*"], &[]);
        for inside in ["10.255.0.1", "::ffff:10.1.1.1", "2001:db8:1::1", "172.16.0.9", "::ffff:172.16.0.9"] {
            assert_eq!(verdict(&Access::default(), &rule, inside), Verdict::Allowed, "{inside}");
        }
        assert_eq!(verdict(&Access::default(), &rule, "2001:db9::1"), Verdict::NotAllowed);
        let seen = access(&["::ffff:*"], &[]);
        assert_eq!(verdict(&Access::default(), &seen, "::ffff:10.1.1.1"), Verdict::Allowed);
    }

    #[test]
    fn wildcards_go_back_only_as_far_as_needed() {
        let cases = [
            ("*", "", true),
            ("192.168.2.1?", "192.168.2.17", true),
            ("192.168.2.1?", "192.168.2.1", false),
            ("2001:618:*:e43f", "2001:618:1:e43f:2:e43f", true),
            ("2001:618:*:e43f", "2001:618:1:e43e", false),
            ("*1*1", "1.1.0.1", true),
            ("*.2", "1.2.3", false),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(wildcard(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn patterns_are_read_or_refused_with_the_reason() {
        assert_eq!(Pattern::parse("FE80:*"), Ok(Pattern::Wildcard("fe80:*".into())));
        assert_eq!(Pattern::parse("[::1]").unwrap().to_string(), "::1");
        assert_eq!(Pattern::parse("example.org"), Err(PatternError::Character('x')));
        assert_eq!(Pattern::parse("10.0.0"), Err(PatternError::Nothing));
        assert_eq!(Pattern::parse("10.0.0.0/33"), Err(PatternError::Nothing));
        assert_eq!(Pattern::parse("10.0.0.1/8"), Err(PatternError::HostBits("10.0.0.0/8".parse().unwrap())));
    }
}
