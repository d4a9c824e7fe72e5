//! Rules that lead back to themselves: a single connection would use up all descriptors.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::settings::{Host, Rule, Target};

/// The rules whose connections would come back to them, by their place, each with what is wrong in words. `is_ours` says
/// whether an address is one of this host.
pub fn circles(rules: &[Rule], is_ours: &dyn Fn(IpAddr) -> bool) -> Vec<(usize, String)> {
    let leads = |from: usize, to: usize| {
        rules[from].protocol == rules[to].protocol
            && rules[from].targets.iter().any(|t| reaches(&t.target, rules[to].listen.address, is_ours))
    };
    let next: Vec<Vec<usize>> =
        (0..rules.len()).map(|from| (0..rules.len()).filter(|&to| leads(from, to)).collect()).collect();
    (0..rules.len())
        .filter_map(|start| {
            let by = *next[start].iter().find(|&&by| leads_to(&next, by, start))?;
            let message = if by == start {
                "the target is where this rule itself listens".to_owned()
            } else {
                format!("the target leads back to this rule, by the one that listens on {}", rules[by].listen)
            };
            Some((start, message))
        })
        .collect()
}

/// Lets rules that would lead back to themselves go where they are set to go; gives those, with what was
/// wrong in words. As set, no rule leads back to itself.
pub fn untie(rules: &mut [Rule], set: &[&Rule], is_ours: &dyn Fn(IpAddr) -> bool) -> Vec<(usize, String)> {
    let mut yielded = Vec::new();
    loop {
        let tied = circles(rules, is_ours);
        let before = yielded.len();
        for (at, message) in tied {
            if rules[at].targets != set[at].targets {
                rules[at].targets.clone_from(&set[at].targets);
                yielded.push((at, message));
            }
        }
        if yielded.len() == before {
            return yielded;
        }
    }
}

/// Whether `end` is `rule` or comes after it.
fn leads_to(next: &[Vec<usize>], rule: usize, end: usize) -> bool {
    let mut seen = vec![false; next.len()];
    let mut ahead = vec![rule];
    while let Some(rule) = ahead.pop() {
        if rule == end {
            return true;
        }
        if !std::mem::replace(&mut seen[rule], true) {
            ahead.extend(&next[rule]);
        }
    }
    false
}

/// Whether what connects to `target` comes out at `listen`. Names but `localhost` are not looked up.
fn reaches(target: &Target, listen: SocketAddr, is_ours: &dyn Fn(IpAddr) -> bool) -> bool {
    let at = |address: IpAddr| {
        let address = match address.to_canonical() {
            // The kernel takes the unspecified address for its own.
            IpAddr::V4(v4) if v4.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(v6) if v6.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            address => address,
        };
        match listen.ip().to_canonical() {
            IpAddr::V4(any) if any.is_unspecified() && !address.is_ipv4() => false,
            any if any.is_unspecified() => address.is_loopback() || is_ours(address),
            listen => listen == address,
        }
    };
    listen.port() == target.port
        && match &target.host {
            Host::Address(address) => at(*address),
            Host::Name(name) if name.eq_ignore_ascii_case("localhost") => {
                at(Ipv4Addr::LOCALHOST.into()) || at(Ipv6Addr::LOCALHOST.into())
            }
            Host::Name(_) => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_circle_is_untied_where_it_was_tied() {
        let rule = |listen: &str, target: &str| {
            let (listen, target): (SocketAddr, SocketAddr) = (listen.parse().unwrap(), target.parse().unwrap());
            Rule::new(listen.into(), target.into())
        };
        let set = [rule("127.0.0.1:80", "192.0.2.1:80"), rule("127.0.0.1:81", "127.0.0.1:80")];
        let set: Vec<&Rule> = set.iter().collect();
        let mut rules = [rule("127.0.0.1:80", "127.0.0.1:81"), rule("127.0.0.1:81", "127.0.0.1:80")];
        let yielded = untie(&mut rules, &set, &|_| false);
        assert_eq!(yielded.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0]);
        assert_eq!(rules.each_ref(), [set[0], set[1]]);
        let mut fine = [rule("127.0.0.1:80", "192.0.2.2:80"), rule("127.0.0.1:81", "127.0.0.1:80")];
        assert_eq!(untie(&mut fine, &set, &|_| false), []);
        assert_ne!(fine[0], *set[0]);
    }

    #[test]
    fn an_address_comes_out_where_the_kernel_takes_it() {
        let ours = |ip: IpAddr| ip == IpAddr::from([192, 0, 2, 1]);
        let reaches = |target: &str, listen: &str| {
            reaches(&Target::from(target.parse::<SocketAddr>().unwrap()), listen.parse().unwrap(), &ours)
        };
        for (target, listen) in [
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("0.0.0.0:80", "127.0.0.1:80"),
            ("127.9.9.9:80", "0.0.0.0:80"),
            ("192.0.2.1:80", "0.0.0.0:80"),
            ("192.0.2.1:80", "[::]:80"),
            ("[::ffff:192.0.2.1]:80", "[::]:80"),
            ("[::]:80", "[::1]:80"),
        ] {
            assert!(reaches(target, listen), "{target} {listen}");
        }
        for (target, listen) in [
            ("127.0.0.1:80", "127.0.0.1:81"),
            ("127.0.0.1:80", "127.0.0.2:80"),
            ("192.0.2.2:80", "0.0.0.0:80"),
            ("[::1]:80", "0.0.0.0:80"),
        ] {
            assert!(!reaches(target, listen), "{target} {listen}");
        }
    }
}
