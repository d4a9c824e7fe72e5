//! UDP answers past the kernel's UDP stack: `listen = ["192.0.2.1:53", "xdp:eth0"]`.
//!
//! A program at the network interface hands each query for an address that is listened on to an AF_XDP socket, one for
//! each receive queue; a worker answers in the frame that it came in. What the program does not know for sure to be such a
//! query (TCP, fragments, IP options, VLAN tags, opcodes other than QUERY) goes on to the ordinary sockets, which are there
//! all the same: so nothing is lost where this can't be had, or when this process ends, which takes the program along.
//!
//! `program` says which packets, `frame` turns a query's frame into its answer's, both without a kernel; `kernel` beside
//! this module makes the calls.

mod frame;
pub(super) mod program;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::dns::wire::{EDNS_UDP_OCTETS, is_request};
use crate::query::{Context, Reader, Transport};
use crate::server::caught::answer;
use crate::server::draws::Draws;
use crate::server::kernel::mmsg::WayBack;
use crate::server::kernel::priority::Turns;
use crate::server::kernel::xdp::{Mode, Program, Queue, index_of, receive_queues};
use crate::server::requests::{self, Datagram, Peer, Request, Way};
use crate::time::Timestamp;

/// The queues of one network interface, ready to be served.
pub(super) struct Interface {
    /// One worker each.
    pub queues: Vec<Queue>,
    /// Takes the packets to the queues for as long as it is kept.
    pub program: Program,
}

/// Opens all receive queues of an interface, and has its queries for `addresses` come there.
///
/// # Errors
/// What the kernel says, with what it was asked.
pub(super) fn open(interface: &str, addresses: &[SocketAddr]) -> io::Result<Interface> {
    let addresses: Vec<SocketAddr> = addresses.iter().copied().filter(|a| !a.ip().is_unspecified()).collect();
    let because = |what: &'static str| move |error: io::Error| io::Error::new(error.kind(), format!("{what}: {error}"));
    let index = index_of(interface).map_err(because("the interface"))?;
    let count = receive_queues(interface)?;
    let mut program = Program::load(&program::assemble(&addresses), count).map_err(because("loading the program"))?;
    let mut queues = Vec::new();
    for queue in 0..count {
        let queue = Queue::open(index, queue).map_err(because("an AF_XDP socket"))?;
        program.direct(&queue).map_err(because("directing packets to the socket"))?;
        queues.push(queue);
    }
    let mode = program.attach(index).map_err(because("attaching the program"))?;
    let mode = match mode {
        Mode::Native => "by the driver",
        Mode::Generic => "generic: the driver does not know XDP",
    };
    tracing::info!(interface, queues = count, mode, "UDP queries are taken at the interface");
    Ok(Interface { queues, program })
}

/// How long a worker waits for packets before it looks whether it should stop.
const STOP_CHECK: Duration = Duration::from_millis(250);

/// What a worker hands on, and by which socket that is answered.
pub(super) struct Beside {
    pub sockets: Arc<[Arc<UdpSocket>]>,
    pub requests: requests::Queue,
}

impl Beside {
    /// Hands on a request that came for `local`; `false` when there are too many.
    fn hand_on(&self, client: SocketAddr, local: SocketAddr, message: &[u8]) -> bool {
        let bound_to = |socket: &&Arc<UdpSocket>| socket.local_addr().is_ok_and(|address| address == local);
        let Some(socket) = self.sockets.iter().find(bound_to) else { return false };
        let way = Way::Datagram(Box::new(Datagram { socket: socket.clone(), back: WayBack::to(client) }));
        self.requests.put(Request::new(message, Peer::new(client, Transport::Udp), way)).is_ok()
    }
}

/// Answers what comes to one queue, until `stop`. A panic costs a query, or outside of answering the packets in hand, not the
/// worker.
pub(super) fn serve(mut queue: Queue, mut reader: Reader, beside: &Beside, stop: &CancellationToken) {
    Turns::Datagrams.take();
    let mut draws = Draws::new();
    let mut out = [0; EDNS_UDP_OCTETS as usize];
    while !stop.is_cancelled() {
        let some = || serve_some(&mut queue, &mut reader, beside, &mut draws, &mut out);
        if catch_unwind(AssertUnwindSafe(some)).is_err() {
            reader.counters().panicked();
            tracing::error!("a panic while answering at an interface; the packets in hand are lost, answering goes on");
        }
    }
}

fn serve_some(queue: &mut Queue, reader: &mut Reader, beside: &Beside, draws: &mut Draws, out: &mut [u8]) {
    match queue.receive(STOP_CHECK) {
        Ok(0) => return,
        Ok(_) => {}
        Err(error) => {
            tracing::warn!(%error, "can't receive at an interface");
            std::thread::sleep(STOP_CHECK);
            return;
        }
    }
    let now = Timestamp::now();
    reader.read(|snapshot, tally| {
        queue.answer_each(|packet, octets| {
            frame::answer(packet, octets, |client, local, query| {
                if is_request(query, || snapshot.secondaries.contains(&client.ip())) {
                    if !beside.hand_on(client, local, query) {
                        tally.counters.turned_away(); // who asked asks again
                    }
                    return None;
                }
                let context = Context { client: client.ip(), now, draw: draws.next(), transport: Transport::Udp };
                let octets = answer(snapshot, &context, tally, query, out)?;
                Some(&out[..octets])
            })
        });
        if let Err(error) = queue.send() {
            tracing::debug!(%error, "answers could not be sent at an interface");
        }
    });
}
