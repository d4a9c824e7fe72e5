//! Datagrams in batches by `recvmmsg(2)` and `sendmmsg(2)`, and single calls on sockets.
//!
//! All buffers live on the heap for as long as the [`Batch`] does, and are never moved or resized, so the pointers in the
//! message headers stay good. No safe crate gives both calls with a source address for each message.

use std::io;
use std::mem::{self, MaybeUninit};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use socket2::{SockAddr, Socket};

use crate::dns::wire::EDNS_UDP_OCTETS;

/// Messages in a batch: above 16 more gains nothing that can be measured.
pub(in crate::server) const BATCH: usize = 32;
/// Octets of a query; longer ones are dropped, none that we understand is.
const QUERY_OCTETS: usize = 1536;
/// Octets of ancillary data: one packet info of either family.
const CONTROL_OCTETS: usize = 64;

/// Ancillary data, aligned as `cmsghdr` wants it.
#[derive(Clone, Copy)]
#[repr(align(8))]
struct Control([u8; CONTROL_OCTETS]);

/// A socket address as the kernel writes it, aligned and sized as `sockaddr_storage`.
#[derive(Clone, Copy)]
#[repr(align(8))]
struct Peer([u8; size_of::<libc::sockaddr_storage>()]);

/// A packet as received: its octets, and the way back to who sent it.
pub(in crate::server) struct Packet<'b> {
    pub(in crate::server) octets: &'b [u8],
    peer: &'b Peer,
    peer_octets: libc::socklen_t,
    control: &'b Control,
    control_octets: usize,
}

impl Packet<'_> {
    /// Who sent it; `None` for what is neither IPv4 nor IPv6, and for nobody: a socket that is shut down gives empty packets.
    pub(in crate::server) fn client(&self) -> Option<SocketAddr> {
        if self.peer_octets == 0 {
            return None;
        }
        let peer = &self.peer.0;
        let port = u16::from_be_bytes([peer[2], peer[3]]);
        let ip = match i32::from(u16::from_ne_bytes([peer[0], peer[1]])) {
            libc::AF_INET => IpAddr::from([peer[4], peer[5], peer[6], peer[7]]),
            libc::AF_INET6 => IpAddr::V6(Ipv6Addr::from(*peer[8..].first_chunk::<16>()?)),
            _ => return None,
        };
        Some(SocketAddr::new(ip, port))
    }

    /// The way back, to be kept for longer than the batch.
    pub(in crate::server) fn way_back(&self) -> WayBack {
        let mut control = *self.control;
        forget_interface(&mut control, self.control_octets);
        WayBack { peer: *self.peer, peer_octets: self.peer_octets, control, control_octets: self.control_octets }
    }
}

/// To whom an answer goes, and from which address it leaves.
pub(in crate::server) struct WayBack {
    peer: Peer,
    peer_octets: libc::socklen_t,
    control: Control,
    control_octets: usize,
}

impl WayBack {
    /// To this client, from the address that the socket is bound to.
    pub(in crate::server) fn to(client: SocketAddr) -> Self {
        let address = SockAddr::from(client);
        let mut peer = Peer([0; size_of::<Peer>()]);
        let octets = address.len() as usize;
        // SAFETY: a `SockAddr` holds as many initialised octets as it says, at most those of a `sockaddr_storage`.
        let from = unsafe { std::slice::from_raw_parts(address.as_ptr().cast::<u8>(), octets) };
        peer.0[..octets].copy_from_slice(from);
        Self { peer, peer_octets: address.len(), control: Control([0; CONTROL_OCTETS]), control_octets: 0 }
    }

    /// Sends one message; where the socket's buffer is full, it is lost, as datagrams may be.
    pub(in crate::server) fn send(&mut self, socket: &UdpSocket, octets: &[u8]) -> io::Result<()> {
        let mut slice = libc::iovec { iov_base: octets.as_ptr().cast_mut().cast(), iov_len: octets.len() };
        // SAFETY: a plain C struct for which all zeroes is a valid value.
        let mut header: libc::msghdr = unsafe { mem::zeroed() };
        header.msg_iov = &raw mut slice;
        header.msg_iovlen = 1;
        header.msg_name = (&raw mut self.peer).cast();
        header.msg_namelen = self.peer_octets;
        header.msg_control = self.control.0.as_mut_ptr().cast();
        // Of another width with other C libraries.
        header.msg_controllen = self.control_octets as _;
        // SAFETY: the header points at octets, peer and ancillary data that outlive the call, with their true sizes; the
        // kernel only reads them.
        let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, libc::MSG_DONTWAIT) };
        if sent >= 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

/// One batch of queries and of their answers.
pub(in crate::server) struct Batch {
    queries: Box<[[u8; QUERY_OCTETS]]>,
    answers: Box<[[u8; EDNS_UDP_OCTETS as usize]]>,
    peers: Box<[Peer; BATCH]>,
    controls: Box<[Control; BATCH]>,
    query_slices: Box<[libc::iovec; BATCH]>,
    answer_slices: Box<[libc::iovec; BATCH]>,
    received: Box<[libc::mmsghdr; BATCH]>,
    outgoing: Box<[libc::mmsghdr; BATCH]>,
    received_count: usize,
    outgoing_count: usize,
}

// SAFETY: the raw pointers in the headers point into boxes that the batch owns, so they move with it between threads.
unsafe impl Send for Batch {}

impl Batch {
    pub(in crate::server) fn new() -> Self {
        // SAFETY: iovec and mmsghdr are plain C structs for which all zeroes is a valid value.
        let (no_slice, no_header): (libc::iovec, libc::mmsghdr) = unsafe { (mem::zeroed(), mem::zeroed()) };
        let mut batch = Self {
            queries: vec![[0; QUERY_OCTETS]; BATCH].into(),
            answers: vec![[0; EDNS_UDP_OCTETS as usize]; BATCH].into(),
            peers: Box::new([Peer([0; size_of::<Peer>()]); BATCH]),
            controls: Box::new([Control([0; CONTROL_OCTETS]); BATCH]),
            query_slices: Box::new([no_slice; BATCH]),
            answer_slices: Box::new([no_slice; BATCH]),
            received: Box::new([no_header; BATCH]),
            outgoing: Box::new([no_header; BATCH]),
            received_count: 0,
            outgoing_count: 0,
        };
        for i in 0..BATCH {
            batch.query_slices[i].iov_base = batch.queries[i].as_mut_ptr().cast();
            batch.query_slices[i].iov_len = QUERY_OCTETS;
            batch.answer_slices[i].iov_base = batch.answers[i].as_mut_ptr().cast();
            for (headers, slices) in
                [(&mut batch.received, &mut batch.query_slices), (&mut batch.outgoing, &mut batch.answer_slices)]
            {
                let header = &mut headers[i].msg_hdr;
                header.msg_iov = &raw mut slices[i];
                header.msg_iovlen = 1;
                header.msg_name = (&raw mut batch.peers[i]).cast();
                header.msg_control = batch.controls[i].0.as_mut_ptr().cast();
                header.msg_namelen = size_of::<Peer>() as libc::socklen_t;
                header.msg_controllen = CONTROL_OCTETS as _;
            }
        }
        batch
    }

    /// Waits for one packet at least (0: it was interrupted), takes what is there. Gives how many. Of a socket that is shut down
    /// they are empty.
    pub(in crate::server) fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        let used = std::mem::replace(&mut self.received_count, 0);
        self.outgoing_count = 0;
        // The kernel has written only those of the last batch.
        for header in &mut self.received[..used] {
            header.msg_hdr.msg_namelen = size_of::<Peer>() as libc::socklen_t;
            header.msg_hdr.msg_controllen = CONTROL_OCTETS as _;
            header.msg_hdr.msg_flags = 0;
        }
        // SAFETY: each of the BATCH headers points at buffers of the stated sizes, owned by `self` and borrowed by nobody
        // else during the call. No timeout pointer: it waits as long as it takes.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.received.as_mut_ptr(),
                BATCH as u32,
                libc::MSG_WAITFORONE as _,
                std::ptr::null_mut(),
            )
        };
        if count < 0 {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::Interrupted => Ok(0),
                _ => Err(error),
            };
        }
        self.received_count = count as usize;
        Ok(self.received_count)
    }

    /// The octets of the packets received.
    pub(in crate::server) fn packets(&self) -> impl Iterator<Item = &[u8]> {
        let received = self.received[..self.received_count].iter();
        self.queries.iter().zip(received).map(|(query, header)| &query[..(header.msg_len as usize).min(QUERY_OCTETS)])
    }

    /// Has `answer(packet, out)` answer each packet received; `None` sends nothing back.
    pub(in crate::server) fn answer_each(&mut self, mut answer: impl FnMut(&Packet<'_>, &mut [u8]) -> Option<usize>) {
        for i in 0..self.received_count {
            let received = &self.received[i];
            let length = received.msg_len as usize;
            if received.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 || length > QUERY_OCTETS {
                continue;
            }
            let packet = Packet {
                octets: &self.queries[i][..length],
                peer: &self.peers[i],
                peer_octets: received.msg_hdr.msg_namelen,
                control: &self.controls[i],
                control_octets: received.msg_hdr.msg_controllen as _,
            };
            let Some(octets) = answer(&packet, &mut self.answers[i]) else { continue };
            let name_octets = received.msg_hdr.msg_namelen;
            let control_octets: usize = received.msg_hdr.msg_controllen as _;
            forget_interface(&mut self.controls[i], control_octets);
            self.answer_slices[i].iov_len = octets.min(EDNS_UDP_OCTETS as usize);
            let header = &mut self.outgoing[self.outgoing_count].msg_hdr;
            header.msg_iov = &raw mut self.answer_slices[i];
            header.msg_name = (&raw mut self.peers[i]).cast();
            header.msg_namelen = name_octets;
            header.msg_control = self.controls[i].0.as_mut_ptr().cast();
            header.msg_controllen = control_octets as _;
            self.outgoing_count += 1;
        }
    }

    /// Sends all answers. One that the system refuses is left out, the others go; the last refusal is told.
    pub(in crate::server) fn send(&mut self, socket: &UdpSocket) -> io::Result<()> {
        let mut refused = Ok(());
        let mut sent = 0;
        while sent < self.outgoing_count {
            let rest = &mut self.outgoing[sent..self.outgoing_count];
            // SAFETY: each header points at an answer, a peer and ancillary data owned by `self`, with their true sizes;
            // the kernel reads them and writes only `msg_len`.
            let count = unsafe { libc::sendmmsg(socket.as_raw_fd(), rest.as_mut_ptr(), rest.len() as u32, 0) };
            if count >= 0 {
                sent += (count as usize).max(1);
                continue;
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                refused = Err(error);
                sent += 1;
            }
        }
        refused
    }
}

/// Asks that each packet brings the address it was sent to, so that the answer leaves from there: for wildcard sockets.
pub(in crate::server) fn ask_for_destination(socket: &Socket, ipv6: bool) -> io::Result<()> {
    let (level, option) =
        if ipv6 { (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO) } else { (libc::IPPROTO_IP, libc::IP_PKTINFO) };
    let on: libc::c_int = 1;
    // SAFETY: the option takes a c_int, whose address and size are passed.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Octets of a TCP connection that its peer has not acknowledged yet (`SIOCOUTQ`, tcp(7)).
pub(in crate::server) fn unsent_octets(socket: &impl AsRawFd) -> io::Result<usize> {
    let mut octets: libc::c_int = 0;
    // SAFETY: TIOCOUTQ, which SIOCOUTQ is another name of, writes one c_int to the address passed.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut octets) };
    if result == 0 { Ok(octets.max(0) as usize) } else { Err(io::Error::last_os_error()) }
}

/// Lets routing choose the interface of an IPv4 answer: the query's may not be the way back. IPv6 keeps it, for
/// link-local addresses.
fn forget_interface(control: &mut Control, octets: usize) {
    const HEADER: usize = size_of::<libc::cmsghdr>();
    if octets < HEADER + size_of::<libc::in_pktinfo>() {
        return;
    }
    let mut header = MaybeUninit::<libc::cmsghdr>::uninit();
    // SAFETY: the buffer holds at least a cmsghdr, plain data; the copy needs no alignment.
    let header = unsafe {
        std::ptr::copy_nonoverlapping(control.0.as_ptr(), header.as_mut_ptr().cast::<u8>(), HEADER);
        header.assume_init()
    };
    if header.cmsg_level == libc::IPPROTO_IP && header.cmsg_type == libc::IP_PKTINFO {
        control.0[HEADER..HEADER + 4].fill(0); // ipi_ifindex comes first
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_wildcard_socket_answers_from_the_address_that_was_asked() {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).unwrap();
        ask_for_destination(&socket, false).unwrap();
        socket.bind(&"0.0.0.0:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
        let server: UdpSocket = socket.into();
        let port = server.local_addr().unwrap().port();
        let clients: Vec<UdpSocket> = (0..3).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
        for (i, client) in clients.iter().enumerate() {
            client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            client.send_to(&[i as u8], ("127.0.0.9", port)).unwrap();
        }
        let mut batch = Batch::new();
        let mut left = clients.len();
        while left > 0 {
            left -= batch.receive(&server).unwrap();
            batch.answer_each(|packet, out| {
                assert_eq!(packet.client().unwrap().ip(), IpAddr::from([127, 0, 0, 1]));
                out[..2].copy_from_slice(&[packet.octets[0], 7]);
                if packet.octets[0] == 2 {
                    packet.way_back().send(&server, &out[..2]).unwrap();
                    return None;
                }
                (packet.octets[0] != 1).then_some(2)
            });
            batch.send(&server).unwrap();
        }
        for (i, client) in clients.iter().enumerate().filter(|(i, _)| *i != 1) {
            let mut buffer = [0; 16];
            let (octets, from) = client.recv_from(&mut buffer).unwrap();
            assert_eq!((&buffer[..octets], from.ip()), (&[i as u8, 7][..], IpAddr::from([127, 0, 0, 9])));
        }
    }
}
