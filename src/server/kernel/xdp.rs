//! AF_XDP: the program at an interface by `bpf(2)`, and the rings of a receive queue by the crate `xdp`.
//!
//! A frame is in one place at a time: free, with the kernel to be filled, in hand, or with the kernel to be sent. The memory
//! that frames are in lives as long as the [`Queue`], and no frame is handed out of it.

use std::ffi::CString;
use std::io;
use std::mem::size_of_val;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use xdp::nic::NicIndex;
use xdp::packet::Packet;
use xdp::slab::{HeapSlab, Slab};
use xdp::socket::{PollTimeout, XdpSocket, XdpSocketBuilder};
use xdp::umem::{FrameSize, Umem, UmemCfgBuilder};
use xdp::{RingConfigBuilder, WakableRings};

use crate::server::xdp::program::{Instruction, name_map};

/// Frames of a queue: half of them wait to be filled, the other half is in hand or on its way out.
const FRAMES: u32 = 4096;
/// Frames taken, answered and sent at a time.
const BATCH: usize = 64;
/// Octets of a frame that packets may have: what the kernel keeps for itself is taken off.
const ROOM: usize = 2048 - 256;

const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_MAP_TYPE_XSKMAP: u32 = 17;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

/// How the program is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Mode {
    /// By the driver, before the kernel has made a packet of what came.
    Native,
    /// By the kernel, after that: slower, and there for each interface.
    Generic,
}

/// A program, and the sockets that it redirects to. When it is dropped, or the process ends, the interface is as before.
#[derive(Debug)]
pub(in crate::server) struct Program {
    code: OwnedFd,
    sockets: OwnedFd,
    link: Option<OwnedFd>,
}

impl Program {
    /// Has the kernel check it; `queues` is how many receive queues the interface has.
    pub(in crate::server) fn load(program: &[Instruction], queues: u32) -> io::Result<Self> {
        let sockets = bpf(BPF_MAP_CREATE, &[BPF_MAP_TYPE_XSKMAP, 4, 4, queues.max(1)])?;
        let mut program = program.to_vec();
        name_map(&mut program, sockets.as_raw_fd());
        let licence = c"MIT OR Apache-2.0";
        let mut attributes = [0; 18];
        attributes[..2].copy_from_slice(&[BPF_PROG_TYPE_XDP, program.len() as u32]);
        put_address(&mut attributes, 2, program.as_ptr().addr());
        put_address(&mut attributes, 4, licence.as_ptr().addr());
        attributes[17] = BPF_XDP; // expected_attach_type
        let loaded = bpf(BPF_PROG_LOAD, &attributes)?;
        Ok(Self { code: loaded, sockets, link: None })
    }

    /// Packets of the queue's number go to it.
    pub(in crate::server) fn direct(&mut self, queue: &Queue) -> io::Result<()> {
        let (key, value) = (queue.number, queue.socket.as_raw_fd());
        let mut attributes = [0; 8];
        attributes[0] = self.sockets.as_raw_fd() as u32;
        put_address(&mut attributes, 2, (&raw const key).addr());
        put_address(&mut attributes, 4, (&raw const value).addr());
        // SAFETY: the call reads 4 octets each from `key` and `value`, whose addresses it is given, and which live until it
        // returns; the map was made for keys and values of 4 octets.
        match unsafe { call(BPF_MAP_UPDATE_ELEM, &attributes) } {
            0.. => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// From now on each packet that comes to the interface runs through it.
    pub(in crate::server) fn attach(&mut self, interface: u32) -> io::Result<Mode> {
        let link = |flags| bpf(BPF_LINK_CREATE, &[self.code.as_raw_fd() as u32, interface, BPF_XDP, flags]);
        let (link, mode) = match link(XDP_FLAGS_DRV_MODE) {
            Ok(link) => (link, Mode::Native),
            Err(_) => (link(XDP_FLAGS_SKB_MODE)?, Mode::Generic),
        };
        self.link = Some(link);
        Ok(mode)
    }
}

/// A call of `bpf(2)` that makes a descriptor.
fn bpf(command: libc::c_long, attributes: &[u32]) -> io::Result<OwnedFd> {
    // SAFETY: the commands that make descriptors read what `attributes` name: a program and a licence that the caller keeps
    // until this returns, with their true lengths. On success they give a descriptor that nobody else owns.
    unsafe {
        match call(command, attributes) {
            descriptor @ 0.. => Ok(OwnedFd::from_raw_fd(descriptor as i32)),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// `bpf(2)`.
///
/// # Safety
/// Whatever memory `attributes` name by address must be good for the command.
unsafe fn call(command: libc::c_long, attributes: &[u32]) -> libc::c_long {
    // SAFETY: the kernel reads no more than the octets stated; the rest is the caller's promise.
    unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_ptr(), size_of_val(attributes)) }
}

/// Writes an address of 64 bits into attributes of 32.
fn put_address(attributes: &mut [u32], at: usize, address: usize) {
    let octets = (address as u64).to_ne_bytes();
    attributes[at] = u32::from_ne_bytes([octets[0], octets[1], octets[2], octets[3]]);
    attributes[at + 1] = u32::from_ne_bytes([octets[4], octets[5], octets[6], octets[7]]);
}

/// One receive queue of an interface, with its frames.
pub(in crate::server) struct Queue {
    number: u32,
    // In the order in which they go: nothing refers to the memory once it is unmapped.
    socket: XdpSocket,
    rings: WakableRings,
    received: HeapSlab,
    outgoing: HeapSlab,
    memory: Umem,
}

// SAFETY: the rings and frames are raw memory that only this queue names; they move with it between threads.
unsafe impl Send for Queue {}

impl Queue {
    /// Opens queue `number` of the interface with this index. Needs CAP_NET_RAW.
    pub(in crate::server) fn open(interface: u32, number: u32) -> io::Result<Self> {
        let memory = UmemCfgBuilder { frame_size: FrameSize::TwoK, frame_count: FRAMES, ..UmemCfgBuilder::default() };
        let memory = Umem::map(memory.build().map_err(io::Error::other)?)?;
        let half = FRAMES / 2;
        let rings = RingConfigBuilder { rx_count: half, tx_count: half, fill_count: half, completion_count: half };
        let mut socket = XdpSocketBuilder::new().map_err(io_error)?;
        let (rings, flags) =
            socket.build_wakable_rings(&memory, rings.build().map_err(io::Error::other)?).map_err(io_error)?;
        let socket = socket.bind(NicIndex(interface), number, flags).map_err(io_error)?;
        let (received, outgoing) = (HeapSlab::with_capacity(BATCH), HeapSlab::with_capacity(BATCH));
        let mut queue = Self { number, socket, rings, received, outgoing, memory };
        queue.refill(half as usize)?;
        Ok(queue)
    }

    /// Waits for a packet, so long at most, and takes what is there. Gives how many are in hand.
    pub(in crate::server) fn receive(&mut self, timeout: Duration) -> io::Result<usize> {
        self.rings.completion_ring.dequeue(&mut self.memory, FRAMES as usize / 2);
        self.refill(BATCH)?;
        let Some(ring) = &mut self.rings.rx_ring else { return Ok(0) };
        // SAFETY: the packets go into `received`, which never outlives `memory`, a field of the same value that is
        // dropped after it.
        let count = unsafe { ring.recv(&self.memory, &mut self.received) };
        if count > 0 || !self.socket.poll_read(PollTimeout::new(Some(timeout)))? {
            return Ok(count);
        }
        // SAFETY: as above.
        Ok(unsafe { ring.recv(&self.memory, &mut self.received) })
    }

    /// Has `answer(frame, octets)` turn the packet in the first octets of each frame into its answer; `None` sends nothing.
    pub(in crate::server) fn answer_each(&mut self, mut answer: impl FnMut(&mut [u8], usize) -> Option<usize>) {
        while let Some(packet) = self.received.pop_back() {
            let mut taken = InHand { memory: &mut self.memory, packet: Some(packet) };
            if taken.become_answer(&mut answer) && self.outgoing.available() > 0 {
                taken.packet.take().map(|packet| self.outgoing.push_front(packet));
            }
        }
    }

    /// Sends the answers.
    pub(in crate::server) fn send(&mut self) -> io::Result<()> {
        let sent = match &mut self.rings.tx_ring {
            // SAFETY: the frames are of `memory`, which lives as long as the socket.
            Some(ring) if !self.outgoing.is_empty() => unsafe { ring.send(&mut self.outgoing, true) },
            _ => return Ok(()),
        };
        // What the ring has no room for is lost, as with a full send buffer: the client asks again.
        while let Some(packet) = self.outgoing.pop_back() {
            self.memory.free_packet(packet);
        }
        match sent {
            Ok(_) => Ok(()),
            // The kernel has them; it is only slow in sending.
            Err(e) if matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::EBUSY | libc::ENOBUFS)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Gives the kernel frames to fill.
    fn refill(&mut self, frames: usize) -> io::Result<()> {
        // SAFETY: the frames are of `memory`, which lives as long as the socket.
        unsafe { self.rings.fill_ring.enqueue(&mut self.memory, frames, true) }.map(|_| ())
    }
}

/// A packet that is being answered. Its frame is free again, however that ends.
struct InHand<'q> {
    memory: &'q mut Umem,
    packet: Option<Packet>,
}

impl InHand<'_> {
    /// Gives whether there is an answer.
    fn become_answer(&mut self, answer: impl FnOnce(&mut [u8], usize) -> Option<usize>) -> bool {
        let Some(packet) = &mut self.packet else { return false };
        let octets = packet.len();
        if packet.adjust_tail(ROOM.saturating_sub(octets) as i32).is_err() {
            return false;
        }
        let Some(octets) = answer(packet, octets) else { return false };
        packet.adjust_tail(-(packet.len().saturating_sub(octets) as i32)).is_ok()
    }
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        if let Some(packet) = self.packet.take() {
            self.memory.free_packet(packet);
        }
    }
}

/// The index of a network interface.
pub(in crate::server) fn index_of(name: &str) -> io::Result<u32> {
    let name = CString::new(name)?;
    let found = NicIndex::lookup_by_name(&name)?;
    found.map(|index| index.0).ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "there is none of this name"))
}

/// How many receive queues it has.
pub(in crate::server) fn receive_queues(name: &str) -> io::Result<u32> {
    let queues = std::fs::read_dir(format!("/sys/class/net/{name}/queues"))?;
    let count = queues.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with("rx-")).count();
    Ok(count as u32)
}

fn io_error(error: xdp::socket::SocketError) -> io::Error {
    let source = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<io::Error>());
    let kind = source.map_or(io::ErrorKind::Other, io::Error::kind);
    let message = source.map_or_else(|| error.to_string(), ToString::to_string);
    io::Error::new(kind, message)
}
