//! Panics while answering: each costs one query, is counted and told, and answering goes on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use crate::dns::wire::{Rcode, write_reject};
use crate::query::{self, Context, Snapshot, Tally};

/// As [`query::answer()`]; what makes that panic is answered SERVFAIL.
#[inline]
pub(super) fn answer(
    snapshot: &Snapshot,
    context: &Context,
    tally: Tally<'_>,
    packet: &[u8],
    out: &mut [u8],
) -> Option<usize> {
    let answered = catch_unwind(AssertUnwindSafe(|| query::answer(snapshot, context, tally, packet, out)));
    answered.unwrap_or_else(|_| failed(context, tally, packet, out))
}

#[cold]
fn failed(context: &Context, tally: Tally<'_>, packet: &[u8], out: &mut [u8]) -> Option<usize> {
    tally.counters.panicked();
    let (client, transport) = (context.client, context.transport);
    tracing::error!(%client, ?transport, "a panic while answering; the query is answered SERVFAIL, answering goes on");
    (packet.len() >= 12).then(|| write_reject(packet, Rcode::ServFail, out))
}

/// A future has panicked, and is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Panicked;

/// Runs `future` to its end, or to its panic.
pub(super) async fn caught<F: Future>(future: F) -> Result<F::Output, Panicked> {
    let mut future = pin!(future);
    std::future::poll_fn(move |context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(polled) => polled.map(Ok),
        Err(_) => Poll::Ready(Err(Panicked)),
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::dns::{Name, Rtype, Ttl};
    use crate::query::{Counters, Pool, Reader, Readers, Records, Transport};
    use crate::server::requests::{self, Peer, Request, Way};
    use crate::server::{Beside, History, Requestor, Updates, secondaries::Secondaries, tcp, udp};
    use crate::steering::horizon::Recorder;
    use crate::steering::key::Salt;
    use crate::steering::pool::{Endpoint, Handling, Override, Policy, Role, Selection, Settings, Transfer, Weight};
    use crate::steering::select::{Candidate, Selector};
    use crate::steering::share::ShareTable;
    use crate::steering::ttl::{Approach, TtlPolicy};
    use crate::zone::compiled::{Overlay, compile};
    use crate::zone::update::Update;
    use crate::zone::{Diff, ZoneSet, master};
    use arc_swap::ArcSwap;
    use tokio::sync::mpsc;
    use tokio::task::LocalSet;
    use tokio_util::sync::CancellationToken;

    const SOON: Duration = Duration::from_secs(20);

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
            transfer: Transfer::default(),
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

    /// One worker over a zone with such a pool at `www`.
    fn worker() -> (Arc<Readers>, Reader) {
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
        (readers, reader)
    }

    fn panics(readers: &Readers) -> u64 {
        readers.counters().map(Counters::panic_count).sum()
    }

    #[track_caller]
    fn assert_failed_then_answered(failed: &[u8], answered: &[u8]) {
        assert_eq!(failed[3] & 15, 2, "SERVFAIL");
        assert_eq!(answered.last_chunk(), Some(&[127, 0, 0, 1]), "the next one is answered");
    }

    /// Ends a worker when it is dropped, be it by a panic of the test.
    struct End(CancellationToken, Arc<UdpSocket>);

    impl Drop for End {
        fn drop(&mut self) {
            self.0.cancel();
            udp::call(&self.1);
        }
    }

    #[test]
    fn over_udp_a_panic_costs_one_packet_of_a_batch() {
        let (readers, reader) = worker();
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
        let (address, stop) = (socket.local_addr().unwrap(), CancellationToken::new());
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_read_timeout(Some(SOON)).unwrap();
        // Both wait there before anybody reads: they are one batch.
        client.send_to(&query("www.example.org"), address).unwrap();
        client.send_to(&query("ns.example.org"), address).unwrap();
        std::thread::scope(|threads| {
            let until = stop.clone();
            let at_the_end = End(stop, socket.clone());
            threads.spawn(move || udp::serve(&socket, reader, &requests::queue().0, &until));
            let receive = || {
                let mut out = [0; 512];
                let octets = client.recv(&mut out).unwrap();
                out[..octets].to_vec()
            };
            let failed = receive();
            assert_failed_then_answered(&failed, &receive());
            drop(at_the_end);
        });
        assert_eq!(panics(&readers), 1);
        assert!(readers.left(u64::MAX - 1), "and no snapshot is held");
    }

    #[test]
    fn over_tcp_a_panic_costs_one_query_of_a_connection() {
        let (readers, reader) = worker();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        std::thread::scope(|threads| {
            let until = stop.clone();
            let _stop = stop.drop_guard();
            threads.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(tcp::serve(vec![listener], reader, requests::queue().0, until));
            });
            let mut client = TcpStream::connect(address).unwrap();
            client.set_read_timeout(Some(SOON)).unwrap();
            for name in ["www.example.org", "ns.example.org"] {
                let query = query(name);
                client.write_all(&[&(query.len() as u16).to_be_bytes(), &query[..]].concat()).unwrap();
            }
            let mut receive = || {
                let mut length = [0; 2];
                client.read_exact(&mut length).unwrap();
                let mut message = vec![0; u16::from_be_bytes(length).into()];
                client.read_exact(&mut message).unwrap();
                message
            };
            let failed = receive();
            assert_failed_then_answered(&failed, &receive());
        });
        assert_eq!(panics(&readers), 1);
        assert!(readers.left(u64::MAX - 1), "and no snapshot is held");
    }

    /// Nothing is known here, and to be asked for a change is too much.
    struct Broken;

    #[async_trait::async_trait]
    impl History for Broken {
        async fn steps(&self, _: &Name, _: u32, _: u32) -> Option<Vec<Diff>> {
            None
        }
    }

    #[async_trait::async_trait]
    impl Updates for Broken {
        async fn update(&self, _: Update, _: Requestor) -> Rcode {
            panic!("an update in a test")
        }
    }

    #[test]
    fn a_panic_costs_one_request() {
        let (readers, reader) = worker();
        let (queue, receiver) = requests::queue();
        let broken = Arc::new(Broken);
        let secondaries = Arc::<Secondaries>::default();
        let beside = Beside { history: broken.clone(), secondaries, updates: broken, notified: mpsc::channel(1).0 };
        let stop = CancellationToken::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let peer = Peer::new("127.0.0.1:53".parse().unwrap(), Transport::Tcp);
        let put = async {
            let (sender, mut responses) = mpsc::channel(2);
            let mut ask = async |message: &[u8]| {
                let request = Request::new(message, peer, Way::Stream(sender.clone()));
                queue.put(request).unwrap();
                responses.recv().await.unwrap().message
            };
            let failed = ask(&query("www.example.org")).await;
            assert_failed_then_answered(&failed, &ask(&query("ns.example.org")).await);
            let update = [&b"\0\x07\x28\0\0\x01\0\0\0\0\0\0"[..], b"\x07example\x03org\0\0\x06\0\x01"].concat();
            let way = Way::Stream(mpsc::channel(1).0);
            queue.put(Request::new(&update, peer, way)).unwrap();
            let answered = ask(&query("ns.example.org")).await;
            assert_failed_then_answered(&failed, &answered);
            stop.cancel();
        };
        let served = requests::serve(receiver, reader, beside, stop.clone());
        runtime.block_on(LocalSet::new().run_until(async { tokio::join!(served, put) }));
        assert_eq!(panics(&readers), 2);
        assert!(readers.left(u64::MAX - 1), "and no snapshot is held");
    }
}
