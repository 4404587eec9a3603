//! Who a socket or a packet is, and whether it is followed: the filter runs before anything is copied.

use probes_common::control::SockFilter;
use probes_common::tcp::SockId;

use crate::maps::CONTROL;
use crate::offset;
use crate::read::Reads;

pub const TCP_TIME_WAIT: u8 = 6;
pub const TCP_NEW_SYN_RECV: u8 = 12;
pub const AF_INET: u16 = 2;
pub const AF_INET6: u16 = 10;

/// Requests and TIME_WAIT sockets have only the head of a `struct sock`.
#[inline(always)]
pub fn has_only_head(state: u8) -> bool {
    state == TCP_TIME_WAIT || state == TCP_NEW_SYN_RECV
}

/// A field of a socket: loaded directly where `TYPED` says that the pointer is an argument of the hook.
#[inline(always)]
fn field<const TYPED: bool, T: Copy + Default>(
    reads: &mut Reads,
    sock: *const u8,
    offset: u32,
) -> T {
    if TYPED {
        // SAFETY: an argument of the hook, a field of struct sock_common.
        unsafe { reads.typed(sock, offset) }
    } else {
        reads.kernel(sock, offset)
    }
}

/// Who `sock` is, if it is followed. `TYPED`: the pointer came as an argument of a tracepoint and is not null;
/// then the caller fills in `id.sock`, because a typed pointer cannot be kept on the stack in pieces.
#[inline(always)]
pub fn followed<const TYPED: bool>(reads: &mut Reads, sock: *const u8, id: &mut SockId) -> bool {
    let Some(filter) = Filter::on() else {
        return false;
    };
    let net: u64 = field::<TYPED, _>(reads, sock, offset!(sock_net));
    id.netns = reads.kernel(net as *const u8, offset!(net_inum));
    id.family = field::<TYPED, _>(reads, sock, offset!(sock_family));
    if !filter.lets_namespace(id.netns) || !filter.lets_family(id.family) {
        return false;
    }
    if !TYPED {
        id.sock = sock as u64;
    }
    id.state = field::<TYPED, _>(reads, sock, offset!(sock_state));
    id.local_port = field::<TYPED, _>(reads, sock, offset!(sock_num));
    id.remote_port = u16::from_be(field::<TYPED, _>(reads, sock, offset!(sock_dport)));
    if !has_only_head(id.state) {
        if id.local_port == 0 {
            // A closed socket has given its port back and still shows it here.
            id.local_port = u16::from_be(reads.kernel(sock, offset!(inet_sport)));
        }
        id.uid = reads.kernel(sock, offset!(sock_uid));
    }
    if !filter.lets_ports(id.local_port, id.remote_port) {
        return false;
    }
    id.cookie = reads.kernel(sock, offset!(sock_cookie));
    if id.family == AF_INET {
        reads.kernel_into::<[u8; 4]>(sock, offset!(sock_saddr), (&raw mut id.local_addr).cast());
        reads.kernel_into::<[u8; 4]>(sock, offset!(sock_daddr), (&raw mut id.remote_addr).cast());
    } else {
        reads.kernel_into::<[u8; 16]>(sock, offset!(sock_saddr6), &raw mut id.local_addr);
        reads.kernel_into::<[u8; 16]>(sock, offset!(sock_daddr6), &raw mut id.remote_addr);
    }
    filter.lets_addresses(&id.local_addr, &id.remote_addr)
}

/// What user space wants to see, read anew for each event.
#[derive(Clone, Copy)]
pub struct Filter {
    netns: *const u32,
    sockets: *const SockFilter,
}

/// A field that user space may write at any time.
macro_rules! now {
    ($record:expr, $field:ident) => {
        // SAFETY: a field of the control record, which is a map's value.
        unsafe { core::ptr::read_volatile(&raw const (*$record).$field) }
    };
}

impl Filter {
    /// None when no socket is followed.
    #[inline(always)]
    pub fn on() -> Option<Filter> {
        let control = CONTROL.get_ptr(0)?;
        // SAFETY: fields of a map's value.
        let (netns, sockets) =
            unsafe { (&raw const (*control).netns, &raw const (*control).sockets) };
        (now!(sockets, on) != 0).then_some(Filter { netns, sockets })
    }

    #[inline(always)]
    pub fn lets_namespace(&self, netns: u32) -> bool {
        // SAFETY: as above.
        let wanted = unsafe { core::ptr::read_volatile(self.netns) };
        wanted == 0 || wanted == netns
    }

    #[inline(always)]
    pub fn lets_family(&self, family: u16) -> bool {
        let wanted = now!(self.sockets, family);
        (family == AF_INET || family == AF_INET6) && (wanted == 0 || wanted == family)
    }

    /// A port that is not chosen yet (SYN_SENT, a new child) or is none (a listener's peer) lets pass: the
    /// reader knows the socket by its pointer when the port comes.
    #[inline(always)]
    pub fn lets_ports(&self, local: u16, remote: u16) -> bool {
        let (a, b) = (
            now!(self.sockets, local_port),
            now!(self.sockets, remote_port),
        );
        (a == 0 || local == 0 || a == local) && (b == 0 || remote == 0 || b == remote)
    }

    #[inline(always)]
    pub fn lets_addresses(&self, local: &[u8; 16], remote: &[u8; 16]) -> bool {
        let (a, b) = (
            now!(self.sockets, local_addr),
            now!(self.sockets, remote_addr),
        );
        let lets = |wanted: [u8; 16], found: &[u8; 16]| {
            let (wanted, found) = (u128::from_ne_bytes(wanted), u128::from_ne_bytes(*found));
            wanted == 0 || wanted == found
        };
        lets(a, local) && lets(b, remote)
    }
}
