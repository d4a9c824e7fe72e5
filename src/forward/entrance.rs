//! The clients' side of a UDP rule: answers leave from the address that the client wrote to, also where all addresses of
//! the host are listened on; else a client that asked 192.0.2.1 would be answered from 192.0.2.7, and not listen.

use std::cell::RefCell;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd;

use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt, sockopt,
};
use tokio::io::Interest;
use tokio::net::UdpSocket;

thread_local! {
    /// Where the kernel says to which address a datagram was sent.
    static CONTROL: RefCell<Vec<u8>> = RefCell::new(nix::cmsg_space!(in_pktinfo, in6_pktinfo));
}

/// Who sent a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Client {
    pub(super) address: SocketAddr,
    /// To which address of ours; `None` where there is only one, or where it was sent to a group.
    to: Option<IpAddr>,
}

/// The socket that clients send to.
pub(super) struct Entrance {
    socket: UdpSocket,
    /// It listens on all addresses, and each datagram tells to which it was sent.
    tells: bool,
}

impl Entrance {
    /// Where the kernel can't tell, answers leave from the address that it chooses.
    pub(super) fn new(socket: UdpSocket) -> Self {
        let told = match socket.local_addr() {
            Ok(SocketAddr::V4(all)) if all.ip().is_unspecified() => setsockopt(&socket, sockopt::Ipv4PacketInfo, &true),
            Ok(SocketAddr::V6(all)) if all.ip().is_unspecified() => {
                setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)
            }
            _ => return Self { socket, tells: false },
        };
        if let Err(error) = told {
            tracing::warn!(%error, "answers may leave from another address than was written to");
        }
        Self { socket, tells: told.is_ok() }
    }

    /// Waits until there may be a datagram.
    ///
    /// # Errors
    /// That the runtime is gone.
    pub(super) async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
    }

    /// Takes a datagram, if there is one.
    ///
    /// # Errors
    /// As recvmsg(2): `WouldBlock`, or that an answer could not be delivered.
    pub(super) fn try_recv(&self, into: &mut [u8]) -> io::Result<(usize, Client)> {
        if !self.tells {
            let (count, address) = self.socket.try_recv_from(into)?;
            return Ok((count, Client { address, to: None }));
        }
        self.socket.try_io(Interest::READABLE, || {
            CONTROL.with_borrow_mut(|control| {
                let mut into = [IoSliceMut::new(into)];
                let fd = self.socket.as_raw_fd();
                let got = recvmsg::<SockaddrStorage>(fd, &mut into, Some(control), MsgFlags::empty())?;
                let address = got.address.as_ref().and_then(socket_address);
                let address = address.ok_or_else(|| io::Error::other("a datagram without a sender"))?;
                let to = got.cmsgs()?.find_map(|message| match message {
                    ControlMessageOwned::Ipv4PacketInfo(info) => {
                        Some(IpAddr::from(info.ipi_spec_dst.s_addr.to_ne_bytes()))
                    }
                    ControlMessageOwned::Ipv6PacketInfo(info) => Some(IpAddr::from(info.ipi6_addr.s6_addr)),
                    _ => None,
                });
                Ok((got.bytes, Client { address, to: to.filter(|to| !to.to_canonical().is_multicast()) }))
            })
        })
    }

    /// Answers a client, from the address that it wrote to.
    ///
    /// # Errors
    /// As sendmsg(2): `WouldBlock` where the client's side is full.
    pub(super) fn try_send(&self, datagram: &[u8], client: Client) -> io::Result<()> {
        let Some(from) = client.to else {
            return self.socket.try_send_to(datagram, client.address).map(|_| ());
        };
        self.socket.try_io(Interest::WRITABLE, || {
            let send = |with: ControlMessage<'_>| {
                let to = SockaddrStorage::from(client.address);
                sendmsg(self.socket.as_raw_fd(), &[IoSlice::new(datagram)], &[with], MsgFlags::empty(), Some(&to))
            };
            match from {
                IpAddr::V4(from) => send(ControlMessage::Ipv4PacketInfo(&packet_info(from))),
                IpAddr::V6(from) => send(ControlMessage::Ipv6PacketInfo(&packet_info_v6(from))),
            }?;
            Ok(())
        })
    }
}

fn socket_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|a| SocketAddrV4::from(*a).into());
    v4.or_else(|| address.as_sockaddr_in6().map(|a| SocketAddrV6::from(*a).into()))
}

/// The interface is left to the routing table, as a client may be reached by another than it came by.
fn packet_info(from: Ipv4Addr) -> in_pktinfo {
    let from = in_addr { s_addr: u32::from_ne_bytes(from.octets()) };
    in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: from, ipi_addr: in_addr { s_addr: 0 } }
}

fn packet_info_v6(from: Ipv6Addr) -> in6_pktinfo {
    in6_pktinfo { ipi6_addr: in6_addr { s6_addr: from.octets() }, ipi6_ifindex: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn answers_leave_from_the_address_that_was_written_to() {
        for (all, asked) in [("0.0.0.0:0", "127.0.0.5"), ("[::]:0", "127.0.0.6"), ("[::]:0", "::1")] {
            let entrance = Entrance::new(UdpSocket::bind(all).await.unwrap());
            let port = entrance.socket.local_addr().unwrap().port();
            let client = std::net::UdpSocket::bind(if asked == "::1" { "[::1]:0" } else { "127.0.0.1:0" }).unwrap();
            client.connect((asked, port)).unwrap();
            client.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
            client.send(b"question").unwrap();
            entrance.readable().await.unwrap();
            let mut octets = [0; 100];
            let (count, who) = entrance.try_recv(&mut octets).unwrap();
            assert_eq!(octets[..count], *b"question");
            assert_eq!(who.to.unwrap().to_canonical(), asked.parse::<IpAddr>().unwrap());
            entrance.try_send(b"answer", who).unwrap();
            assert_eq!(client.recv(&mut octets).expect("a connected socket takes it from there alone"), 6);
            let nothing = entrance.try_recv(&mut octets).unwrap_err();
            assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        }
    }

    #[tokio::test]
    async fn a_single_address_needs_no_telling() {
        let entrance = Entrance::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        assert!(!entrance.tells);
    }
}
