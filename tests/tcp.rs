//! DNS over TCP, as clients behave and misbehave:
//! - many queries in one write get all their answers, in order (RFC 7766, 6.2.1.1);
//! - a client that has closed its half still gets them;
//! - one that does not take its answers is reset within the horizon's transit time, and nobody else waits for it.

mod support;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
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

/// Reads one response; its id.
fn read_id(stream: &mut TcpStream) -> u16 {
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut response = vec![0; u16::from_be_bytes(length) as usize];
    stream.read_exact(&mut response).unwrap();
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
