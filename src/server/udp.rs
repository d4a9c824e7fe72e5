//! A UDP worker: receive a batch, answer each packet, send the batch.

use std::net::{Shutdown, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio_util::sync::CancellationToken;

use crate::dns::wire::is_request;
use crate::query::ahead::fetch_ahead;
use crate::query::{Context, Reader, Transport};
use crate::server::caught::answer;
use crate::server::draws::Draws;
use crate::server::kernel::memory::Near;
use crate::server::kernel::mmsg::Batch;
use crate::server::kernel::priority::Turns;
use crate::server::requests::{Datagram, Peer, Queue, Request, Way};
use crate::time::Timestamp;

/// Answers until `stop`, and until it is called to look at that ([`call`]). A panic costs a query, or outside of answering the
/// batch in hand, not the worker.
pub(super) fn serve(socket: &Arc<UdpSocket>, mut reader: Reader, requests: &Queue, stop: &CancellationToken) {
    Turns::Datagrams.take();
    let mut batch = Batch::new();
    let mut draws = Draws::new();
    while !stop.is_cancelled() {
        let served =
            catch_unwind(AssertUnwindSafe(|| serve_batch(socket, &mut batch, &mut reader, requests, &mut draws)));
        if served.is_err() {
            reader.counters().panicked();
            tracing::error!("a panic while answering over UDP; the packets in hand are lost, answering goes on");
        }
    }
}

/// Has who waits for packets at `socket` look up: from now on it waits no more. (A timeout for each wait would be a timer for
/// each query when there are few, a tenth of what such a query costs.)
pub(super) fn call(socket: &UdpSocket) {
    // It is not connected, which the system says; and wakes who waits all the same.
    _ = SockRef::from(socket).shutdown(Shutdown::Read);
}

fn serve_batch(socket: &Arc<UdpSocket>, batch: &mut Batch, reader: &mut Reader, requests: &Queue, draws: &mut Draws) {
    let count = match batch.receive(socket) {
        Ok(0) => return,
        Ok(count) => count,
        Err(error) => {
            // Nothing a packet can cause. Not to spin, should it stay.
            tracing::warn!(%error, "can't receive over UDP");
            std::thread::sleep(Duration::from_millis(10));
            return;
        }
    };
    let now = Timestamp::now();
    reader.read(|snapshot, tally| {
        if count > 1 {
            fetch_ahead(snapshot, tally, batch.packets(), &Near);
        }
        batch.answer_each(|packet, out| {
            let client = packet.client()?;
            if is_request(packet.octets, || snapshot.secondaries.contains(&client.ip())) {
                let way = Way::Datagram(Box::new(Datagram { socket: socket.clone(), back: packet.way_back() }));
                if requests.put(Request::new(packet.octets, Peer::new(client, Transport::Udp), way)).is_err() {
                    tally.counters.turned_away(); // who asked asks again
                }
                return None;
            }
            let context = Context { client: client.ip(), now, draw: draws.next(), transport: Transport::Udp };
            answer(snapshot, &context, tally, packet.octets, out)
        });
        if let Err(error) = batch.send(socket) {
            tracing::debug!(%error, "an answer could not be sent over UDP");
        }
    });
}
