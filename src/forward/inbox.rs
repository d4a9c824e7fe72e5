//! How engines are told something: a queue for each, and a bell that wakes it.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::connection::Session;
use super::door::Door;
use super::engine::Engine;
use super::relay::Relay;

/// All engines; what isn't accepted by one of them is spread over them.
pub(super) struct Engines {
    inboxes: Vec<Inbox>,
    next: AtomicUsize,
}

/// Where an engine is told something, and the bell that wakes it.
pub(super) struct Inbox {
    /// `None`: it is to end.
    sender: Option<Sender<Message>>,
    bell: Arc<OwnedFd>,
}

pub(super) enum Message {
    /// To be relayed.
    Run(Box<(Session, Relay)>),
    /// Connections are accepted by it from now on.
    Open(Arc<Door>),
    /// Nothing more is accepted by it; the answer comes after the last connection was taken in.
    Close(Arc<Door>, oneshot::Sender<()>),
    /// Deadlines may have come nearer, or connections are to be cut.
    Look,
}

impl Inbox {
    pub(super) fn new(sender: Sender<Message>, bell: Arc<OwnedFd>) -> Self {
        Self { sender: Some(sender), bell }
    }

    fn put(&self, message: Message) {
        // An engine that is gone has left nothing that could be told.
        if let Some(sender) = &self.sender {
            let _ = sender.send(message);
        }
        self.ring();
    }

    fn ring(&self) {
        // Full after 2^64 rings.
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
    }
}

impl Engines {
    /// Starts as many engines as the runtime has threads. They end after the last [`Engines`] and the last relay.
    ///
    /// # Errors
    /// Those of epoll_create1(2), eventfd2(2) and clone(2).
    pub(super) fn start() -> io::Result<Self> {
        let count = Handle::current().metrics().num_workers().max(1);
        let inboxes = (0..count).map(Engine::start).collect::<io::Result<Vec<_>>>()?;
        Ok(Self { inboxes, next: AtomicUsize::new(0) })
    }

    /// Relays until both sides have ended.
    pub(super) fn run(&self, session: Session, relay: Relay) {
        let engine = self.next.fetch_add(1, Ordering::Relaxed) % self.inboxes.len();
        self.inboxes[engine].put(Message::Run(Box::new((session, relay))));
    }

    /// All engines accept by this door, until what is given is dropped or closed.
    pub(super) fn open(&self, door: Arc<Door>) -> Open {
        for inbox in &self.inboxes {
            inbox.put(Message::Open(door.clone()));
        }
        Open { door }
    }

    /// Lets all engines look at deadlines and cuts.
    pub(super) fn look(&self) {
        for inbox in &self.inboxes {
            inbox.put(Message::Look);
        }
    }
}

impl Drop for Engines {
    fn drop(&mut self) {
        for inbox in &mut self.inboxes {
            inbox.sender = None;
            inbox.ring();
        }
    }
}

/// A door by which engines accept.
pub(super) struct Open {
    door: Arc<Door>,
}

impl Open {
    /// Accepts no more. When it is ready, every connection that was accepted is a session.
    pub(super) async fn close(self) {
        for closed in self.ask() {
            // An engine that is gone accepts nothing.
            let _ = closed.await;
        }
    }

    fn ask(&self) -> Vec<oneshot::Receiver<()>> {
        let tell = |inbox: &Inbox| {
            let (done, closed) = oneshot::channel();
            inbox.put(Message::Close(self.door.clone(), done));
            closed
        };
        self.door.shared.engines.inboxes.iter().map(tell).collect()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.ask();
    }
}
