//! Instrument `surgeon`: on clsact ingress, sees every TCP packet that comes in and drops those that a rule names.
//!
//! It loses packets on arrival, not on their way out, because a drop on the way out keeps `tcp_retransmit_skb`
//! from firing. What could fool it: a packet of the loopback device may be a bundle of segments that were
//! never cut (GSO), and counts as the one packet that it is. IPv6 extension headers and later fragments are
//! not looked into: such packets pass unseen.
#![no_std]
#![no_main]

use core::mem::offset_of;

use aya_ebpf::bindings::{TC_ACT_OK, TC_ACT_SHOT};
use aya_ebpf::helpers::generated::{bpf_spin_lock, bpf_spin_unlock};
use aya_ebpf::macros::{classifier, map};
use aya_ebpf::maps::Array;
use aya_ebpf::programs::TcContext;
use network_types::eth::{EthHdr, EtherType};
use network_types::ip::{IpProto, Ipv4Hdr, Ipv6Hdr};
use network_types::tcp::TcpHdr;
use probes_common::surgeon::{
    RULES as RULE_COUNT, Rule, RuleSet, SEGMENT_ANY, SEGMENT_DATA, SEGMENT_FIN, SEGMENT_PURE_ACK,
    SEGMENT_RST, SEGMENT_SYN, SEGMENT_SYNACK,
};
use probes_common::tcp::{OPT_SACK, OPT_TSTAMP, OPT_WSCALE, PACKET_DROPPED, PACKET_PASSED, Packet};
use probes_ebpf::emit::emit_packet;
use probes_ebpf::filter::{enabled, wanted_netns};
use probes_ebpf::offset;
use probes_ebpf::read::Reads;

/// One element. The loader describes its lock to the kernel.
#[map]
pub static RULES: Array<RuleSet> = Array::with_max_entries(1, 0);

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

#[classifier]
pub fn surgeon(ctx: TcContext) -> i32 {
    let Some(segment) = parse(&ctx) else {
        return TC_ACT_OK;
    };
    let netns = netns_of(&ctx);
    let verdict = decide(&segment, netns);
    let wanted = wanted_netns();
    if enabled() && (wanted == 0 || wanted == netns) {
        tell(&ctx, &segment, netns, &verdict);
    }
    if verdict.dropped {
        TC_ACT_SHOT
    } else {
        TC_ACT_OK
    }
}

struct Segment {
    ip: Ip,
    tcp: TcpHdr,
    source_port: u16,
    dest_port: u16,
    flags: u8,
    /// Bytes of payload.
    payload: u32,
    /// Where its options begin and end.
    options: (u32, u32),
}

struct Ip {
    family: u16,
    source: [u32; 4],
    dest: [u32; 4],
    /// Where the TCP header begins, and where the packet ends.
    tcp_at: u32,
    end: u32,
}

#[inline(always)]
fn parse(ctx: &TcContext) -> Option<Segment> {
    let eth: EthHdr = ctx.load(0).ok()?;
    let ip = if eth.ether_type == EtherType::Ipv4 as u16 {
        ipv4(ctx)?
    } else if eth.ether_type == EtherType::Ipv6 as u16 {
        ipv6(ctx)?
    } else {
        return None;
    };
    let tcp: TcpHdr = ctx.load(ip.tcp_at as usize).ok()?;
    // Read once more as bytes: the crate gives them bit by bit.
    let at = ip.tcp_at as usize + offset_of!(TcpHdr, _bitfield_1);
    let fields: [u8; 2] = ctx.load(at).ok()?;
    let header = u32::from(fields[0] >> 4) * 4;
    let options = (ip.tcp_at + TcpHdr::LEN as u32, ip.tcp_at + header);
    Some(Segment {
        source_port: u16::from_be_bytes(tcp.source),
        dest_port: u16::from_be_bytes(tcp.dest),
        flags: fields[1],
        payload: ip.end.saturating_sub(options.1),
        options,
        tcp,
        ip,
    })
}

#[inline(always)]
fn ipv4(ctx: &TcContext) -> Option<Ip> {
    let ip: Ipv4Hdr = ctx.load(EthHdr::LEN).ok()?;
    // A later fragment has no TCP header.
    if ip.proto != IpProto::Tcp as u8 || u16::from_be_bytes(ip.frags) & 0x1fff != 0 {
        return None;
    }
    let (source, dest) = (
        u32::from_ne_bytes(ip.src_addr),
        u32::from_ne_bytes(ip.dst_addr),
    );
    Some(Ip {
        family: AF_INET,
        source: [source, 0, 0, 0],
        dest: [dest, 0, 0, 0],
        tcp_at: EthHdr::LEN as u32 + u32::from(ip.vihl & 15) * 4,
        end: end(ctx, u16::from_be_bytes(ip.tot_len), 0),
    })
}

#[inline(always)]
fn ipv6(ctx: &TcContext) -> Option<Ip> {
    let ip: Ipv6Hdr = ctx.load(EthHdr::LEN).ok()?;
    if ip.next_hdr != IpProto::Tcp as u8 {
        return None;
    }
    let header = Ipv6Hdr::LEN as u32;
    Some(Ip {
        family: AF_INET6,
        source: words(ip.src_addr),
        dest: words(ip.dst_addr),
        tcp_at: EthHdr::LEN as u32 + header,
        end: end(ctx, u16::from_be_bytes(ip.payload_len), header),
    })
}

#[inline(always)]
fn words(bytes: [u8; 16]) -> [u32; 4] {
    let word =
        |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    [word(0), word(4), word(8), word(12)]
}

/// Where the packet ends by its own word (a short frame is padded); a bundle above 64 KiB has none there.
#[inline(always)]
fn end(ctx: &TcContext, len: u16, header: u32) -> u32 {
    match len {
        0 => ctx.len(),
        len => EthHdr::LEN as u32 + header + u32::from(len),
    }
}

/// What the packet is, as bits for `Rule::segments`.
#[inline(always)]
fn kinds(segment: &Segment) -> u32 {
    let flags = segment.flags;
    let mut kinds = SEGMENT_ANY;
    if flags & SYN != 0 {
        kinds |= if flags & ACK != 0 {
            SEGMENT_SYNACK
        } else {
            SEGMENT_SYN
        };
    }
    if segment.payload != 0 {
        kinds |= SEGMENT_DATA;
    } else if flags & (SYN | FIN | RST | ACK) == ACK {
        kinds |= SEGMENT_PURE_ACK;
    }
    if flags & FIN != 0 {
        kinds |= SEGMENT_FIN;
    }
    if flags & RST != 0 {
        kinds |= SEGMENT_RST;
    }
    kinds
}

struct Verdict {
    rule: u32,
    matched: u32,
    dropped: bool,
}

/// The first rule that matches decides. Counting and deciding are one step under the lock.
#[inline(always)]
fn decide(segment: &Segment, netns: u32) -> Verdict {
    let mut verdict = Verdict {
        rule: 0,
        matched: 0,
        dropped: false,
    };
    let Some(set) = RULES.get_ptr_mut(0) else {
        return verdict;
    };
    let kinds = kinds(segment);
    // SAFETY: the map's value; all but the lock itself is touched under the lock only.
    unsafe {
        bpf_spin_lock((&raw mut (*set).lock).cast());
        if (*set).netns == netns {
            let len = (*set).len;
            let mut index = 0;
            while index < RULE_COUNT {
                let rule = (&raw mut (*set).rules).cast::<Rule>().add(index);
                if index as u32 >= len {
                    break;
                }
                if matches(rule, segment, kinds) {
                    verdict = take(rule);
                    break;
                }
                index += 1;
            }
        }
        bpf_spin_unlock((&raw mut (*set).lock).cast());
    }
    verdict
}

/// # Safety
/// `rule` points into the locked map value.
#[inline(always)]
unsafe fn matches(rule: *const Rule, segment: &Segment, kinds: u32) -> bool {
    // SAFETY: the caller's promise.
    let (segments, source, dest) =
        unsafe { ((*rule).segments, (*rule).source_port, (*rule).dest_port) };
    segments & kinds != 0
        && (source == 0 || source == segment.source_port)
        && (dest == 0 || dest == segment.dest_port)
}

/// # Safety
/// As above.
#[inline(always)]
unsafe fn take(rule: *mut Rule) -> Verdict {
    // SAFETY: the caller's promise.
    unsafe {
        let matched = (*rule).matched + 1;
        (*rule).matched = matched;
        let skip = u64::from((*rule).skip);
        let (drop, dropped) = ((*rule).drop, (*rule).dropped);
        let every = u64::from((*rule).every);
        let due = matched > skip && (every < 2 || (matched - skip) % every == 0);
        let drops = due && (drop == u32::MAX || dropped < u64::from(drop));
        if drops {
            (*rule).dropped = dropped + 1;
        }
        Verdict {
            rule: (*rule).number,
            matched: matched as u32,
            dropped: drops,
        }
    }
}

/// The namespace of the device: programs on packets are not told otherwise before 6.14.
#[inline(always)]
fn netns_of(ctx: &TcContext) -> u32 {
    let mut reads = Reads::new();
    let device: u64 = reads.kernel(ctx.skb.skb as *const u8, offset!(skb_dev));
    let net: u64 = reads.kernel(device as *const u8, offset!(dev_net));
    let inum = reads.kernel(net as *const u8, offset!(net_inum));
    reads.done();
    inum
}

#[inline(always)]
fn tell(ctx: &TcContext, segment: &Segment, netns: u32, verdict: &Verdict) {
    emit_packet::<Packet>(|packet| {
        // SAFETY: `packet` points to room for the whole payload.
        unsafe {
            (&raw mut (*packet).netns).write(netns);
            (&raw mut (*packet).ifindex).write((*ctx.skb.skb).ifindex);
            (&raw mut (*packet).family).write(segment.ip.family);
            (&raw mut (*packet).source_port).write(segment.source_port);
            (&raw mut (*packet).dest_port).write(segment.dest_port);
            (&raw mut (*packet).window).write(u16::from_be_bytes(segment.tcp.window));
            (&raw mut (*packet).source_addr)
                .cast::<[u32; 4]>()
                .write(segment.ip.source);
            (&raw mut (*packet).dest_addr)
                .cast::<[u32; 4]>()
                .write(segment.ip.dest);
            (&raw mut (*packet).seq).write(u32::from_be_bytes(segment.tcp.seq));
            (&raw mut (*packet).ack).write(u32::from_be_bytes(segment.tcp.ack_seq));
            (&raw mut (*packet).flags).write(segment.flags);
            let told = if verdict.dropped {
                PACKET_DROPPED
            } else {
                PACKET_PASSED
            };
            (&raw mut (*packet).verdict).write(told);
            (&raw mut (*packet).options).write(0);
            (&raw mut (*packet).wscale).write(255);
            (&raw mut (*packet).mss).write(0);
            let payload = if segment.payload > 0xffff {
                0xffff
            } else {
                segment.payload as u16
            };
            (&raw mut (*packet).payload).write(payload);
            (&raw mut (*packet).rule).write(verdict.rule);
            (&raw mut (*packet).matched).write(verdict.matched);
            options(ctx, segment.options, packet);
        }
    });
}

/// At most 40 bytes of options, so at most 40 of one byte.
const MOST_OPTIONS: u32 = 40;
const KIND_END: u8 = 0;
const KIND_NOP: u8 = 1;
const KIND_MSS: u8 = 2;
const KIND_WSCALE: u8 = 3;
const KIND_SACK_PERMITTED: u8 = 4;
const KIND_SACK: u8 = 5;
const KIND_TSTAMP: u8 = 8;

/// Writes what the options say straight into the record, so that the verifier need not follow it.
///
/// # Safety
/// `packet` points to a whole payload.
#[inline(always)]
unsafe fn options(ctx: &TcContext, (start, end): (u32, u32), packet: *mut Packet) {
    // SAFETY: the caller's promise. Through the record and back: bounds that the verifier knows would let it
    // decide `at >= end` itself, and then no two rounds are alike to it (a million instructions).
    let (mut at, end) = unsafe {
        let (val, ecr) = (&raw mut (*packet).tsval, &raw mut (*packet).tsecr);
        val.write_volatile(start);
        ecr.write_volatile(end);
        let forgotten = (val.read_volatile(), ecr.read_volatile());
        val.write_volatile(0);
        ecr.write_volatile(0);
        forgotten
    };
    let mut seen = 0;
    while seen < MOST_OPTIONS {
        seen += 1;
        if at >= end {
            return;
        }
        let Ok(kind) = ctx.load::<u8>(at as usize) else {
            return;
        };
        if kind == KIND_END {
            return;
        }
        if kind == KIND_NOP {
            at += 1;
            continue;
        }
        let Ok(len) = ctx.load::<u8>(at as usize + 1) else {
            return;
        };
        if len < 2 || at + u32::from(len) > end {
            return;
        }
        // SAFETY: the caller's promise.
        unsafe { option(ctx, kind, at as usize + 2, packet) };
        at += u32::from(len);
    }
}

/// # Safety
/// As above.
#[inline(always)]
unsafe fn option(ctx: &TcContext, kind: u8, at: usize, packet: *mut Packet) {
    // SAFETY: the caller's promise.
    unsafe {
        match kind {
            KIND_MSS => {
                if let Ok(mss) = ctx.load::<[u8; 2]>(at) {
                    (*packet).mss = u16::from_be_bytes(mss);
                }
            }
            KIND_WSCALE => {
                if let Ok(shift) = ctx.load::<u8>(at) {
                    (*packet).wscale = shift;
                    (*packet).options |= OPT_WSCALE;
                }
            }
            KIND_SACK_PERMITTED | KIND_SACK => (*packet).options |= OPT_SACK,
            KIND_TSTAMP => {
                if let Ok(stamps) = ctx.load::<[[u8; 4]; 2]>(at) {
                    (*packet).tsval = u32::from_be_bytes(stamps[0]);
                    (*packet).tsecr = u32::from_be_bytes(stamps[1]);
                    (*packet).options |= OPT_TSTAMP;
                }
            }
            _ => {}
        }
    }
}
