//! DNS over TCP, as clients behave and misbehave:
//! - many queries in one write get all their answers, in order (RFC 7766, 6.2.1.1);
//! - a client that has closed its half still gets them;
//! - so do requests that another thread serves, beside queries on the same connection and over UDP;
//! - one that does not take its answers is reset within the horizon's transit time, and nobody else waits for it.

mod support;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use support::{HEAD, Server, pool};

fn server() -> Server {
    Server::start(&format!("{HEAD}{}", pool("www.example.org", 100, 0, "")))
}

/// A query for www.example.org A with this id, its length before it.
fn framed(id: u16) -> Vec<u8> {
    let mut query = [0u8, 33].to_vec();
    query.extend_from_slice(&id.to_be_bytes());
    query.extend_from_slice(b"\x01\0\0\x01\0\0\0\0\0\0\x03www\x07example\x03org\0\0\x01\0\x01");
    query
}

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.dns[0]).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

/// Reads one response.
fn read_response(stream: &mut TcpStream) -> Vec<u8> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut response = vec![0; u16::from_be_bytes(length) as usize];
    stream.read_exact(&mut response).unwrap();
    response
}

/// Reads one response; its id.
fn read_id(stream: &mut TcpStream) -> u16 {
    let response = read_response(stream);
    assert_eq!(&response[2..4], [0x85, 0], "an authoritative answer");
    u16::from_be_bytes([response[0], response[1]])
}

#[test]
fn what_is_asked_in_one_write_is_answered_in_order() {
    let server = server();
    let mut stream = connect(&server);
    let queries: Vec<Vec<u8>> = (0..500).map(framed).collect();
    stream.write_all(&queries.concat()).unwrap();
    for id in 0..500 {
        assert_eq!(read_id(&mut stream), id);
    }
}

/// A query with this id, QTYPE and OPCODE, its length before it.
fn framed_as(id: u16, rtype: u8, opcode: u8) -> Vec<u8> {
    let mut query = framed(id);
    query[4] |= opcode << 3;
    let at = query.len() - 3;
    query[at] = rtype;
    query
}

#[test]
fn requests_are_answered_beside_queries() {
    let server = server();
    let mut stream = connect(&server);
    for round in 0..20 {
        let base = round * 10;
        let requests =
            [framed_as(base, 252, 0), framed(base + 1), framed_as(base + 2, 6, 4), framed_as(base + 3, 251, 0)];
        stream.write_all(&requests.concat()).unwrap();
        let mut seen: Vec<(u16, u8)> = (0..4)
            .map(|_| {
                let response = read_response(&mut stream);
                (u16::from_be_bytes([response[0], response[1]]), response[3] & 0xf)
            })
            .collect();
        seen.sort_unstable();
        assert_eq!(seen, [(base, 9), (base + 1, 0), (base + 2, 9), (base + 3, 9)], "AXFR, query, NOTIFY, IXFR");
    }
    stream.write_all(&framed_as(7, 252, 0)).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_response(&mut stream)[..2], [0, 7], "also to who has closed its half");
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);

    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    udp.send_to(&framed_as(9, 6, 4)[2..], server.dns[0]).unwrap();
    let mut response = [0; 512];
    let (octets, from) = udp.recv_from(&mut response).unwrap();
    assert_eq!((from, response[1], response[3] & 0xf), (server.dns[0], 9, 9), "NOTAUTH, {octets} octets");
}

#[test]
fn who_has_closed_its_half_still_gets_its_answers() {
    let server = server();
    let mut stream = connect(&server);
    stream.write_all(&[framed(1), framed(2)].concat()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!([read_id(&mut stream), read_id(&mut stream)], [1, 2]);
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0, "then the connection is closed, not reset");
}

#[test]
fn who_does_not_take_its_answers_is_reset() {
    let server = server();
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(2304).unwrap();
    socket.connect(&server.dns[0].into()).unwrap();
    let mut slow = TcpStream::from(socket);
    slow.set_write_timeout(Some(Duration::from_millis(50))).unwrap();
    let many = framed(7).repeat(1000);
    let begun = Instant::now();
    let ended = loop {
        assert!(begun.elapsed() < Duration::from_secs(20), "it was never cut off");
        match slow.write(&many) {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                let mut other = connect(&server);
                other.write_all(&framed(9)).unwrap();
                assert_eq!(read_id(&mut other), 9, "others are answered meanwhile");
            }
            Err(error) => break error.kind(),
        }
    };
    assert!(matches!(ended, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{ended}");
}
