//! Reads a TCP packet out of an sk_buff: its ends, whose it is, and whether it is followed.
//!
//! Only what has an IP header is seen; extension headers of IPv6 are not walked. The namespace comes from the
//! receiving socket, else the packet's socket, its device, its route: in TCP's own queues the device field
//! holds something else, and where nothing tells the namespace is 0, which passes the filter.

use probes_common::tcp::SockId;

use crate::inet::{AF_INET, AF_INET6, Filter};
use crate::offset;
use crate::read::Reads;

const ETH_P_IP: u16 = 0x0800;
const ETH_P_IPV6: u16 = 0x86dd;
const IPPROTO_TCP: u8 = 6;
/// The route of a packet may be borrowed; this bit says so.
const SKB_DST_NOREF: u64 = 1;

#[derive(Clone, Copy, Default)]
pub struct Parsed {
    pub seq: u32,
    pub ack: u32,
    /// TCP flags byte.
    pub flags: u32,
}

/// True when it is a TCP packet that is followed, in either direction. `id` gets its destination as the local
/// end. `TYPED`: `skb` is an argument of a tracepoint. `receiver`: the socket that it was for, 0 = not known.
#[inline(always)]
pub fn parse<const TYPED: bool>(
    reads: &mut Reads,
    skb: *const u8,
    receiver: u64,
    packet: &mut Parsed,
    id: &mut SockId,
) -> bool {
    let Some(filter) = Filter::on() else {
        return false;
    };
    let at = offset!(skb_protocol);
    let protocol: u16 = if TYPED {
        // SAFETY: a field of the hook's struct sk_buff argument.
        unsafe { reads.typed(skb, at) }
    } else {
        reads.kernel(skb, at)
    };
    id.family = match u16::from_be(protocol) {
        ETH_P_IP => AF_INET,
        ETH_P_IPV6 => AF_INET6,
        _ => return false,
    };
    if !filter.lets_family(id.family) {
        return false;
    }
    let head: u64 = reads.kernel(skb, offset!(skb_head));
    let network: u16 = reads.kernel(skb, offset!(skb_network));
    let ip = (head as *const u8).wrapping_add(network as usize);
    let tcp = if id.family == AF_INET {
        if reads.kernel::<u8>(ip, 9) != IPPROTO_TCP {
            return false;
        }
        ip.wrapping_add((reads.kernel::<u8>(ip, 0) & 15) as usize * 4)
    } else {
        if reads.kernel::<u8>(ip, 6) != IPPROTO_TCP {
            return false;
        }
        ip.wrapping_add(40)
    };
    id.sock = receiver;
    if id.sock == 0 {
        id.sock = reads.kernel(skb, offset!(skb_sk));
    }
    id.netns = namespace(reads, skb, id.sock);
    if id.netns != 0 && !filter.lets_namespace(id.netns) {
        return false;
    }
    id.remote_port = u16::from_be(reads.kernel(tcp, 0));
    id.local_port = u16::from_be(reads.kernel(tcp, 2));
    if id.family == AF_INET {
        reads.kernel_into::<[u8; 4]>(ip, 12, (&raw mut id.remote_addr).cast());
        reads.kernel_into::<[u8; 4]>(ip, 16, (&raw mut id.local_addr).cast());
    } else {
        reads.kernel_into::<[u8; 16]>(ip, 8, &raw mut id.remote_addr);
        reads.kernel_into::<[u8; 16]>(ip, 24, &raw mut id.local_addr);
    }
    packet.seq = u32::from_be(reads.kernel(tcp, 4));
    packet.ack = u32::from_be(reads.kernel(tcp, 8));
    packet.flags = reads.kernel::<u8>(tcp, 13) as u32;
    let along = filter.lets_ports(id.local_port, id.remote_port)
        && filter.lets_addresses(&id.local_addr, &id.remote_addr);
    along
        || filter.lets_ports(id.remote_port, id.local_port)
            && filter.lets_addresses(&id.remote_addr, &id.local_addr)
}

/// 0 = not known.
#[inline(always)]
fn namespace(reads: &mut Reads, skb: *const u8, sock: u64) -> u32 {
    // Reads that fail here are expected: the fields are shared with other uses.
    let mut maybe = Reads::new();
    if sock != 0 {
        let net: u64 = maybe.kernel(sock as *const u8, offset!(sock_net));
        let inum: u32 = maybe.kernel(net as *const u8, offset!(net_inum));
        if inum != 0 {
            return inum;
        }
    }
    let device: u64 = reads.kernel(skb, offset!(skb_dev));
    if device != 0 {
        let inum = of_device(&mut maybe, device);
        if inum != 0 {
            return inum;
        }
    }
    let route: u64 = reads.kernel(skb, offset!(skb_dst));
    if route & !SKB_DST_NOREF == 0 {
        return 0;
    }
    let route = (route & !SKB_DST_NOREF) as *const u8;
    let device: u64 = maybe.kernel(route, offset!(dst_dev));
    of_device(&mut maybe, device)
}

#[inline(always)]
fn of_device(reads: &mut Reads, device: u64) -> u32 {
    let net: u64 = reads.kernel(device as *const u8, offset!(dev_net));
    reads.kernel(net as *const u8, offset!(net_inum))
}
