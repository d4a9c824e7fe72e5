//! A UDP worker: receive a batch, answer each packet, send the batch.

use std::net::UdpSocket;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::dns::wire::is_request;
use crate::query::{Context, Reader, Transport, answer};
use crate::server::draws::Draws;
use crate::server::kernel::mmsg::Batch;
use crate::server::kernel::priority::take_short_turns;
use crate::server::requests::{Datagram, Peer, Queue, Request, Way};
use crate::time::Timestamp;

/// How long a worker waits for a packet before it looks whether it should stop.
pub(super) const STOP_CHECK: Duration = Duration::from_millis(250);

/// Answers until `stop`. A panic costs the batch in hand, not the worker.
pub(super) fn serve(socket: &Arc<UdpSocket>, mut reader: Reader, requests: &Queue, stop: &CancellationToken) {
    take_short_turns();
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

fn serve_batch(socket: &Arc<UdpSocket>, batch: &mut Batch, reader: &mut Reader, requests: &Queue, draws: &mut Draws) {
    match batch.receive(socket) {
        Ok(0) => return reader.read(|_, _| ()), // to keep no old snapshot when nobody asks
        Ok(_) => {}
        Err(error) => {
            // Nothing a packet can cause. Not to spin, should it stay.
            tracing::warn!(%error, "can't receive over UDP");
            std::thread::sleep(Duration::from_millis(10));
            return;
        }
    }
    let now = Timestamp::now();
    reader.read(|snapshot, tally| {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::{Name, Rtype, Ttl};
    use crate::query::{Pool, Readers, Records, Snapshot};
    use crate::steering::horizon::Recorder;
    use crate::steering::key::Salt;
    use crate::steering::pool::{Endpoint, Handling, Override, Policy, Role, Selection, Settings, Weight};
    use crate::steering::select::{Candidate, Selector};
    use crate::steering::share::ShareTable;
    use crate::steering::ttl::{Approach, TtlPolicy};
    use crate::zone::compiled::{Overlay, compile};
    use crate::zone::{ZoneSet, master};
    use arc_swap::ArcSwap;

    /// A pool whose recorder has no row for any worker: it breaks a promise, and so recording its answers panics.
    fn broken_pool() -> Pool {
        let weight = Weight::new(1).unwrap();
        let settings = Settings {
            name: "www.example.org".parse().unwrap(),
            policy: Policy::Sticky,
            selection: Selection::default(),
            ttl: TtlPolicy {
                normal: Ttl::ZERO,
                low: Ttl::ZERO,
                spread_secs: 0,
                mode: Approach::Countdown,
                max_wait: None,
                by_health: false,
            },
            probe: None,
            transfer: crate::steering::pool::Transfer::default(),
            handling: Handling::default(),
            endpoints: vec![Endpoint {
                site: "ec2".to_owned(),
                weight,
                role: Role::Never,
                rdata: vec![(Rtype::A, vec![Box::from([127, 0, 0, 1])])],
                pool: None,
            }],
            nest: None,
        };
        let candidate = Candidate { id: 1, weight, role: Role::Never, healthy: true, forced: Override::Obey };
        let records = Arc::new(Records::new(&settings));
        Pool {
            name: settings.name.clone(),
            sites: ["ec2".to_owned()].into(),
            salt: Salt::of("www"),
            selector: Selector::new(Policy::Sticky, Arc::new(ShareTable::from_weights(&[weight])), &[candidate]),
            ttl: settings.ttl,
            cutover: None,
            change: None,
            preview: None,
            compound: None,
            group: None,
            until_flip: None,
            preference: None,
            withdrawn: Box::default(),
            words: Box::default(),
            recorder: Arc::new(Recorder::new(0, records.slots())),
            records,
        }
    }

    fn query(name: &str) -> Vec<u8> {
        let name: Name = name.parse().unwrap();
        [&[0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0], name.wire(), &[0, 1, 0, 1]].concat()
    }

    #[test]
    fn a_panic_while_answering_is_counted_and_answering_goes_on() {
        let apex: Name = "example.org".parse().unwrap();
        let text = b"@ 60 SOA ns h 1 2 3 4 5\n@ 60 NS ns\nns 60 A 127.0.0.1\n";
        let contents = master::parse(text, "test.zone".as_ref(), &apex).unwrap().contents;
        let pool = broken_pool();
        let zone = compile(Arc::new(contents), &Overlay::from_iter([(pool.name.clone(), 0)]));
        let zones = Arc::new(ZoneSet::new([(apex, Some(Arc::new(zone)))]));
        let pools = [Arc::new(pool)].into_iter().collect();
        let published = Arc::new(ArcSwap::from_pointee(Snapshot { serial: 1, zones, pools, ..Snapshot::default() }));
        let readers = Readers::new(1);
        let reader = Reader::new(readers.clone(), 0, published);
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
        socket.set_read_timeout(Some(STOP_CHECK)).unwrap();
        let (address, stop) = (socket.local_addr().unwrap(), CancellationToken::new());
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let panics = || readers.counters().map(crate::query::Counters::panic_count).sum::<u64>();
        std::thread::scope(|threads| {
            let until = stop.clone();
            let _stop = stop.drop_guard();
            threads.spawn(move || {
                let (requests, _queue) = crate::server::requests::queue();
                serve(&socket, reader, &requests, &until);
            });
            for round in 1..3 {
                client.send_to(&query("www.example.org"), address).unwrap();
                while panics() < round {
                    std::thread::sleep(Duration::from_millis(1));
                }
                client.send_to(&query("ns.example.org"), address).unwrap();
                let mut out = [0; 512];
                let octets = client.recv(&mut out).unwrap();
                assert_eq!(out[..octets].last_chunk(), Some(&[127, 0, 0, 1]), "the next one is answered");
            }
        });
        assert!(readers.left(u64::MAX - 1), "and no snapshot is held");
    }
}
