//! Ports for programs that can't take port 0 and tell what they got, and for servers that come back at the same place.

use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};

/// From here on, below what Linux gives to those who name no port (32768 and above): nobody is given it in the meantime.
const FIRST: u32 = 10_000;
const COUNT: u32 = 20_000;

/// An address that is free for UDP and TCP, and that no other call of this process gives.
pub fn free_address(ip: impl Into<IpAddr>) -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let ip = ip.into();
    // Processes that run after one another begin elsewhere: what the last one left may still be ending.
    let begin = std::process::id().wrapping_mul(101) % COUNT;
    let candidate = |_| {
        let offset = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(begin) % COUNT;
        let address = SocketAddr::new(ip, (FIRST + offset) as u16);
        (UdpSocket::bind(address).is_ok() && TcpListener::bind(address).is_ok()).then_some(address)
    };
    (0..COUNT).find_map(candidate).expect("one of 20,000 ports is free")
}
