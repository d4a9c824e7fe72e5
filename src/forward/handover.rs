//! Listening sockets from one process to the next: by a unix socket (SCM_RIGHTS), or from systemd (LISTEN_FDS).
//!
//! The successor asks (`n`) and gets one socket with each answer, then an answer without; it starts, says so (`r`), and
//! the predecessor stops accepting and drains. The kernel's queue belongs to the socket, so no connection is refused or
//! lost between them. A successor that goes away before it says so changes nothing.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use listenfd::ListenFd;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use socket2::{Socket, Type};
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;

use super::control::Board;
use super::settings::Protocol;

const NEXT: u8 = b'n';
const READY: u8 = b'r';
/// Goes with a socket.
const ONE: u8 = b's';
/// There are no more.
const NO_MORE: u8 = b'e';
/// How long either side waits for the other: more is a sign that it hangs.
const PATIENCE: Duration = Duration::from_secs(10);

/// A socket that listens already.
pub(super) struct Inherited {
    pub(super) protocol: Protocol,
    pub(super) address: SocketAddr,
    pub(super) socket: OwnedFd,
}

impl Inherited {
    fn of(socket: OwnedFd) -> io::Result<Self> {
        let socket = Socket::from(socket);
        let protocol = match socket.r#type()? {
            Type::STREAM => Protocol::Tcp,
            Type::DGRAM => Protocol::Udp,
            _ => return Err(io::Error::other("a socket that is neither TCP nor UDP")),
        };
        let no_address = || io::Error::other("a socket of another family than IPv4 and IPv6");
        let address = socket.local_addr()?.as_socket().ok_or_else(no_address)?;
        socket.set_nonblocking(true)?;
        Ok(Self { protocol, address, socket: socket.into() })
    }
}

/// Where a successor asks, beside the control socket.
pub(super) fn path_of(control: &Path) -> PathBuf {
    let mut name = control.as_os_str().to_owned();
    name.push(".sockets");
    name.into()
}

/// Gives sockets to successors; `handed_over` is notified when one is ready.
pub(super) async fn serve(listener: UnixListener, board: Board, handed_over: Arc<Notify>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => match tokio::time::timeout(PATIENCE * 3, give(stream, &board)).await {
                Ok(Ok(())) => {
                    tracing::info!("a successor has taken over the listening sockets");
                    handed_over.notify_one();
                }
                Ok(Err(error)) => tracing::warn!(%error, "a successor did not take over"),
                Err(_) => tracing::warn!("a successor did not take over in time"),
            },
            Err(error) => {
                tracing::warn!(%error, "no successor can ask for sockets");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn give(mut stream: UnixStream, board: &Board) -> io::Result<()> {
    let sockets: Vec<_> = board.load().iter().filter_map(|post| post.way.socket()).collect();
    let mut asked = [0];
    for socket in sockets.iter().map(Some).chain([None]) {
        stream.read_exact(&mut asked).await?;
        if asked[0] != NEXT {
            return Err(io::ErrorKind::InvalidData.into());
        }
        stream.writable().await?;
        stream.async_io(Interest::WRITABLE, || send(&stream, socket)).await?;
    }
    stream.read_exact(&mut asked).await?;
    if asked[0] == READY { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

fn send(stream: &UnixStream, socket: Option<&Arc<OwnedFd>>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut with = SendAncillaryBuffer::new(&mut space);
    let fds: Vec<_> = socket.iter().map(|socket| socket.as_fd()).collect();
    if !fds.is_empty() {
        with.push(SendAncillaryMessage::ScmRights(&fds));
    }
    let word = [if fds.is_empty() { NO_MORE } else { ONE }];
    sendmsg(stream, &[IoSlice::new(&word)], &mut with, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// A predecessor that waits to hear that its sockets are in use.
pub(super) struct Predecessor(StdUnixStream);

impl Predecessor {
    /// Takes the sockets of the forwarder whose control socket this is; `None` where none runs.
    ///
    /// # Errors
    /// That it runs and doesn't give them.
    pub(super) fn ask(control: &Path) -> io::Result<Option<(Self, Vec<Inherited>)>> {
        let mut stream = match StdUnixStream::connect(path_of(control)) {
            Ok(stream) => stream,
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                return Ok(None);
            }
            Err(e) => return Err(e),
        };
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut sockets = Vec::new();
        loop {
            stream.write_all(&[NEXT])?;
            match receive(&stream)? {
                Some(socket) => sockets.push(Inherited::of(socket)?),
                None => return Ok(Some((Self(stream), sockets))),
            }
        }
    }

    /// Lets it stop accepting.
    ///
    /// # Errors
    /// That it is gone; then there is nothing more to be done.
    pub(super) fn ready(mut self) -> io::Result<()> {
        self.0.write_all(&[READY])?;
        // It closes when it has understood.
        self.0.read(&mut [0]).map(|_| ())
    }
}

fn receive(stream: &StdUnixStream) -> io::Result<Option<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut with = RecvAncillaryBuffer::new(&mut space);
    let mut word = [0];
    let got = recvmsg(stream, &mut [IoSliceMut::new(&mut word)], &mut with, RecvFlags::CMSG_CLOEXEC)?;
    let socket = with.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut sockets) => sockets.next(),
        _ => None,
    });
    match (got.bytes, word[0], socket) {
        (1, ONE, Some(socket)) => Ok(Some(socket)),
        (1, NO_MORE, None) => Ok(None),
        _ => Err(io::Error::other("the running forwarder did not answer as expected")),
    }
}

/// The sockets that systemd passed to this process (sd_listen_fds(3)); whoever asks first gets them.
///
/// # Errors
/// That a descriptor named there is no socket of IPv4 or IPv6.
pub(super) fn of_systemd() -> io::Result<Vec<Inherited>> {
    let mut passed = ListenFd::from_env();
    let count = passed.len();
    let socket = |place| match passed.take_tcp_listener(place) {
        Ok(socket) => Ok(socket.map(OwnedFd::from)),
        Err(_) => Ok(passed.take_udp_socket(place)?.map(OwnedFd::from)),
    };
    let sockets = (0..count).map(socket).collect::<io::Result<Vec<_>>>()?;
    sockets.into_iter().flatten().map(Inherited::of).collect()
}
