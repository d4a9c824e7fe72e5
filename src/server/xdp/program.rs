//! The program that the kernel runs for each packet of an interface: is it a query for us?
//!
//! Assembled here, instruction by instruction, as it has to name the addresses listened on, and is too small for a compiler:
//! it reads the Ethernet, IP and UDP headers and the opcode, and either redirects the packet to the AF_XDP socket of its
//! receive queue, or lets it pass. Its loads stay within the bounds that it has compared, as the kernel's verifier wants it.

use std::net::{IpAddr, SocketAddr};

/// One instruction, as the kernel takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(in crate::server) struct Instruction {
    code: u8,
    /// Destination in the low half, source in the high one.
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// Stands for the map of sockets: its descriptor is filled in when the program is loaded.
const LOAD_MAP: u8 = 0x18;
const PSEUDO_MAP_FD: u8 = 1;
const REDIRECT_MAP: i32 = 51;
const XDP_PASS: i32 = 2;

/// Octets from the start of the frame.
const ETHER_TYPE: i16 = 12;
const IP: i16 = 14;
const IPV4_HEADER: i16 = 20;
const IPV6_HEADER: i16 = 40;
const UDP_HEADER: i16 = 8;
/// Up to the flags of the DNS header, which begin with QR and OPCODE.
const DNS_OPCODE: i16 = 2;

/// Where a jump leads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Label {
    Pass,
    Redirect,
    Ipv6,
    /// Behind the comparison with an address.
    Next(usize),
}

#[derive(Default)]
struct Assembler {
    program: Vec<Instruction>,
    jumps: Vec<(usize, Label)>,
    labels: Vec<(Label, usize)>,
}

// Registers: r0 result, r1 to r3 arguments, r2 start of the frame, r3 its end, r4 and r5 scratch, r6 the context.

impl Assembler {
    fn push(&mut self, code: u8, dst: u8, src: u8, offset: i16, immediate: i32) {
        self.program.push(Instruction { code, registers: src << 4 | dst, offset, immediate });
    }

    /// `dst = *(size *)(src + offset)`: 1, 2 or 4 octets.
    fn load(&mut self, octets: u8, dst: u8, src: u8, offset: i16) {
        let size = [0x10, 0x08, 0x00][[1, 2, 4].iter().position(|o| *o == octets).unwrap_or(2)];
        self.push(0x61 | size, dst, src, offset, 0);
    }

    fn mov(&mut self, dst: u8, src: u8) {
        self.push(0xbf, dst, src, 0, 0);
    }

    fn mov_number(&mut self, dst: u8, number: i32) {
        self.push(0xb7, dst, 0, 0, number);
    }

    fn add(&mut self, dst: u8, number: i16) {
        self.push(0x07, dst, 0, 0, number.into());
    }

    fn and(&mut self, dst: u8, mask: i32) {
        self.push(0x57, dst, 0, 0, mask);
    }

    /// Jumps if the low 32 bits of `dst` are not (are, if `equal`) `number`, in the octet order of the packet.
    fn jump_if(&mut self, equal: bool, dst: u8, number: u32, to: Label) {
        self.jumps.push((self.program.len(), to));
        self.push(if equal { 0x16 } else { 0x56 }, dst, 0, 0, number as i32);
    }

    /// Passes the packet on unless it has so many octets.
    fn require(&mut self, octets: i16) {
        self.mov(4, 2);
        self.add(4, octets);
        self.jumps.push((self.program.len(), Label::Pass));
        self.push(0x2d, 4, 3, 0, 0); // if r4 > r3
    }

    fn goto(&mut self, to: Label) {
        self.jumps.push((self.program.len(), to));
        self.push(0x05, 0, 0, 0, 0);
    }

    fn label(&mut self, label: Label) {
        self.labels.push((label, self.program.len()));
    }

    fn finish(mut self) -> Vec<Instruction> {
        for (at, to) in self.jumps {
            let (_, target) = self.labels.iter().find(|(label, _)| *label == to).expect("each label used is placed");
            self.program[at].offset = (target - at - 1) as i16;
        }
        self.program
    }
}

/// The program that redirects queries for `addresses`. Wildcard addresses are not for it.
pub(in crate::server) fn assemble(addresses: &[SocketAddr]) -> Vec<Instruction> {
    let mut a = Assembler::default();
    a.mov(6, 1);
    a.load(4, 2, 1, 0); // xdp_md.data
    a.load(4, 3, 1, 4); // xdp_md.data_end
    a.require(IP + IPV4_HEADER + UDP_HEADER + DNS_OPCODE + 1);
    a.load(2, 5, 2, ETHER_TYPE);
    a.jump_if(true, 5, 0x86dd_u16.to_be().into(), Label::Ipv6);
    a.jump_if(false, 5, 0x0800_u16.to_be().into(), Label::Pass);
    a.load(1, 5, 2, IP);
    a.jump_if(false, 5, 0x45, Label::Pass); // IPv4 without options
    a.load(2, 5, 2, IP + 6);
    a.and(5, 0x3fff_u16.to_be().into()); // neither the first nor a later fragment
    a.jump_if(false, 5, 0, Label::Pass);
    a.load(1, 5, 2, IP + 9);
    a.jump_if(false, 5, 17, Label::Pass);
    opcode(&mut a, IP + IPV4_HEADER);
    for (number, address) in addresses.iter().enumerate() {
        if let IpAddr::V4(ip) = address.ip() {
            compare(&mut a, number, &ip.octets(), IP + 16, address.port(), IP + IPV4_HEADER + 2);
        }
    }
    a.goto(Label::Pass);

    a.label(Label::Ipv6);
    a.require(IP + IPV6_HEADER + UDP_HEADER + DNS_OPCODE + 1);
    a.load(1, 5, 2, IP + 6);
    a.jump_if(false, 5, 17, Label::Pass);
    opcode(&mut a, IP + IPV6_HEADER);
    for (number, address) in addresses.iter().enumerate() {
        if let IpAddr::V6(ip) = address.ip() {
            compare(&mut a, number, &ip.octets(), IP + 24, address.port(), IP + IPV6_HEADER + 2);
        }
    }

    a.label(Label::Pass);
    a.mov_number(0, XDP_PASS);
    a.push(0x95, 0, 0, 0, 0); // exit

    a.label(Label::Redirect);
    a.load(4, 2, 6, 16); // xdp_md.rx_queue_index
    a.push(LOAD_MAP, 1, PSEUDO_MAP_FD, 0, 0); // two instructions long
    a.push(0, 0, 0, 0, 0);
    a.mov_number(3, XDP_PASS); // where the queue has no socket
    a.push(0x85, 0, 0, 0, REDIRECT_MAP);
    a.push(0x95, 0, 0, 0, 0);
    a.finish()
}

/// Lets pass what is not a query: QR and OPCODE must be 0.
fn opcode(a: &mut Assembler, udp: i16) {
    a.load(1, 5, 2, udp + UDP_HEADER + DNS_OPCODE);
    a.and(5, 0xf8);
    a.jump_if(false, 5, 0, Label::Pass);
}

/// Redirects what is for this address and port.
fn compare(a: &mut Assembler, number: usize, ip: &[u8], ip_at: i16, port: u16, port_at: i16) {
    a.load(2, 5, 2, port_at);
    a.jump_if(false, 5, port.to_be().into(), Label::Next(number));
    for (word, octets) in ip.as_chunks::<4>().0.iter().enumerate() {
        a.load(4, 5, 2, ip_at + 4 * word as i16);
        a.jump_if(false, 5, u32::from_ne_bytes(*octets), Label::Next(number));
    }
    a.goto(Label::Redirect);
    a.label(Label::Next(number));
}

/// Puts the descriptor of the map of sockets where the program names it.
pub(in crate::server) fn name_map(program: &mut [Instruction], descriptor: i32) {
    for instruction in program.iter_mut().filter(|i| i.code == LOAD_MAP) {
        instruction.immediate = descriptor;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the program says of a packet, by a machine that knows the instructions above and no more.
    fn run(program: &[Instruction], packet: &[u8]) -> &'static str {
        let mut r = [0u64; 11];
        let mut at = 0;
        loop {
            let i = program[at];
            let (dst, src) = ((i.registers & 15) as usize, (i.registers >> 4) as usize);
            at += 1;
            // The context is at 0, the frame at 1000.
            let load = |octets: usize, base: u64| -> u64 {
                if base < 1000 {
                    return match base as i64 + i64::from(i.offset) {
                        0 => 1000,
                        4 => 1000 + packet.len() as u64,
                        _ => 0,
                    };
                }
                let start = (base as i64 - 1000 + i64::from(i.offset)) as usize;
                packet[start..start + octets].iter().rev().fold(0, |n, o| n << 8 | u64::from(*o))
            };
            let jump = |at: usize| (at as i64 + i64::from(i.offset)) as usize;
            match i.code {
                0x61 => r[dst] = load(4, r[src]),
                0x69 => r[dst] = load(2, r[src]),
                0x71 => r[dst] = load(1, r[src]),
                0xbf => r[dst] = r[src],
                0xb7 => r[dst] = i.immediate as u64,
                0x07 => r[dst] += i.immediate as u64,
                0x57 => r[dst] &= i.immediate as u64,
                0x16 if r[dst] as u32 == i.immediate as u32 => at = jump(at),
                0x56 if r[dst] as u32 != i.immediate as u32 => at = jump(at),
                0x2d if r[dst] > r[src] => at = jump(at),
                0x16 | 0x56 | 0x2d => {}
                0x05 => at = jump(at),
                0x18 => at += 1,
                0x85 => return "redirect",
                0x95 => return "pass",
                code => panic!("no such instruction: {code:#x}"),
            }
        }
    }

    fn ipv4(to: [u8; 4], port: u16, dns: &[u8]) -> Vec<u8> {
        let mut p = vec![0; 12];
        p.extend([8, 0, 0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0, 192, 0, 2, 7]);
        p.extend(to);
        p.extend([0x30, 0x39]);
        p.extend(port.to_be_bytes());
        p.extend([0; 4]);
        p.extend(dns);
        p
    }

    fn ipv6(to: &str, port: u16, dns: &[u8]) -> Vec<u8> {
        let mut p = vec![0; 12];
        p.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, 17, 64]);
        p.extend([0; 16]);
        p.extend(to.parse::<std::net::Ipv6Addr>().unwrap().octets());
        p.extend([0x30, 0x39]);
        p.extend(port.to_be_bytes());
        p.extend([0; 4]);
        p.extend(dns);
        p
    }

    #[test]
    fn queries_for_us_are_taken_and_nothing_else() {
        let listen =
            ["192.0.2.1:53", "192.0.2.2:5353", "[2001:db8::1]:53", "[2001:db8::f:2]:53"].map(|a| a.parse().unwrap());
        let program = assemble(&listen);
        let query = [0xab, 0xcd, 0x01, 0, 0, 1];
        for taken in [
            ipv4([192, 0, 2, 1], 53, &query),
            ipv4([192, 0, 2, 2], 5353, &query),
            ipv6("2001:db8::1", 53, &query),
            ipv6("2001:db8::f:2", 53, &query),
        ] {
            assert_eq!(run(&program, &taken), "redirect");
        }
        let change = |at: usize, to: u8| {
            let mut p = ipv4([192, 0, 2, 1], 53, &query);
            p[at] = to;
            p
        };
        for passed in [
            ipv4([192, 0, 2, 2], 53, &query),
            ipv4([192, 0, 2, 3], 53, &query),
            ipv4([192, 0, 2, 1], 54, &query),
            ipv4([192, 0, 2, 1], 53, &[0, 0, 0x28]), // UPDATE
            ipv4([192, 0, 2, 1], 53, &[0, 0, 0x81]), // a response
            ipv4([192, 0, 2, 1], 53, &[0, 0]),
            ipv6("2001:db8::2", 53, &query),
            ipv6("2001:db8::1", 53, &[0, 0]),
            change(12, 0x81), // a VLAN tag
            change(14, 0x46), // options
            change(20, 0x20), // more fragments
            change(21, 1),    // a later fragment
            change(23, 6),    // TCP
            Vec::new(),
            vec![0; 14],
        ] {
            assert_eq!(run(&program, &passed), "pass", "{passed:02x?}");
        }
    }
}
