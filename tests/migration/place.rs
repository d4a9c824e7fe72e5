//! Where the play takes place: a /16 of the loopback network that no other run uses, and ports free in it.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};

/// Below what the kernel hands out by itself, so that a port which was free once stays so over a restart.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
/// Held by each run at the end of its /16.
const CLAIM: u16 = 19_999;

/// 127.B.0.0/16, claimed as long as this lives.
pub struct Place {
    second: u8,
    _claim: TcpListener,
}

impl Place {
    /// Takes one that is free.
    pub fn claim() -> Self {
        let first = std::process::id() % 200;
        let claimed = (0..200).map(|n| 16 + ((first + n) % 200) as u8).find_map(|second| {
            let claim = TcpListener::bind((Ipv4Addr::new(127, second, 255, 254), CLAIM)).ok()?;
            Some(Self { second, _claim: claim })
        });
        claimed.expect("127.0.0.0/8 is the host's own, and one of 200 parts of it is free")
    }

    /// 127.B.`third`.`fourth`.
    pub fn address(&self, third: u8, fourth: u8) -> Ipv4Addr {
        Ipv4Addr::new(127, self.second, third, fourth)
    }

    /// `count` addresses in different /24s, of the claimed /16 first and then of those beside it: to ask from only.
    pub fn networks(&self, count: usize) -> Vec<Ipv4Addr> {
        let all = (self.second..=u8::MAX).chain(1..self.second);
        all.flat_map(|b| (1..=250).map(move |c| Ipv4Addr::new(127, b, c, 1))).take(count).collect()
    }
}

/// A port that is free, UDP and TCP, at all of `addresses`.
pub fn port(addresses: &[Ipv4Addr]) -> u16 {
    let free = |port: &u16| {
        addresses.iter().all(|&a| TcpListener::bind((a, *port)).is_ok() && UdpSocket::bind((a, *port)).is_ok())
    };
    let start = PORTS.start + (std::process::id() % 1000) as u16 * 7;
    (start..PORTS.end).chain(PORTS.start..start).find(free).expect("of 12000 ports one is free")
}
