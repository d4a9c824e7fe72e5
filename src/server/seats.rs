//! Places for connections: so many at a time in all, and of one client.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;

/// Connections at a time.
const CONNECTIONS: usize = 1024;
/// Connections of one client at a time: an IPv4 address, or an IPv6 /64.
const CONNECTIONS_EACH: usize = 128;

/// The places of one thread.
#[derive(Default)]
pub(super) struct Seats {
    taken: RefCell<HashMap<IpAddr, usize>>,
    count: Cell<usize>,
}

impl Seats {
    /// Whether more than half of them are taken.
    pub(super) fn crowded(&self) -> bool {
        self.count.get() > CONNECTIONS / 2
    }
}

/// A connection's place among those allowed, given back when it ends, however it ends.
pub(super) struct Seat {
    seats: Rc<Seats>,
    client: IpAddr,
}

impl Seat {
    /// `None` when all are taken.
    pub(super) fn take(seats: &Rc<Seats>, peer: IpAddr) -> Option<Self> {
        let client = match peer {
            IpAddr::V4(_) => peer,
            IpAddr::V6(a) => IpAddr::V6((a.to_bits() >> 64 << 64).into()),
        };
        let mut taken = seats.taken.borrow_mut();
        let each = taken.get(&client).copied().unwrap_or(0);
        if seats.count.get() >= CONNECTIONS || each >= CONNECTIONS_EACH {
            return None;
        }
        taken.insert(client, each + 1);
        seats.count.set(seats.count.get() + 1);
        Some(Self { seats: seats.clone(), client })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.count.set(self.seats.count.get() - 1);
        let mut taken = self.seats.taken.borrow_mut();
        match taken.get_mut(&self.client) {
            Some(n) if *n > 1 => *n -= 1,
            _ => _ = taken.remove(&self.client),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_does_not_take_all() {
        let seats = Rc::new(Seats::default());
        let at = |text: &str| text.parse::<IpAddr>().unwrap();
        let mut held: Vec<Seat> = (0..200).map_while(|n| Seat::take(&seats, at(&format!("2001:db8::{n:x}")))).collect();
        assert_eq!(held.len(), CONNECTIONS_EACH, "a /64 is one client");
        assert!(Seat::take(&seats, at("192.0.2.1")).is_some());
        held.pop();
        assert!(Seat::take(&seats, at("2001:db8::1")).is_some(), "a place that was given back");
        for client in 0..20u8 {
            held.extend((0..100).map_while(|_| Seat::take(&seats, [10, 0, 0, client].into())));
        }
        assert!(held.len() == CONNECTIONS && seats.crowded());
        assert!(Seat::take(&seats, at("192.0.2.1")).is_none());
        drop(held);
        assert!(seats.count.get() == 0 && seats.taken.borrow().is_empty());
    }
}
