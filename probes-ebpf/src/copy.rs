//! Instrument `copy`: was the payload of a TCP connection copied, or do packets hold the sender's own pages?
//!
//! The copy routines cannot be probed. What they leave behind can: on the way out (`net_dev_queue`) and where
//! the receiver copies (`skb_copy_datagram_iovec`) every page of a packet says whose it is. A page of nobody's
//! was allocated for a copy; one of a file was handed on. Counted in the kernel, by the lab's action.
#![no_std]
#![no_main]

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::macros::{btf_tracepoint, fexit};
use aya_ebpf::programs::{BtfTracePointContext, FExitContext};
use probes_common::{ABSENT, Task};
use probes_ebpf::again::{Turn, takes_object};
use probes_ebpf::filter::{enabled, wanted_netns, watch};
use probes_ebpf::maps::LAST_SENT;
use probes_ebpf::offset;
use probes_ebpf::read::Reads;
use probes_ebpf::tally::{Places, add, row};

/// Place in the map TAKEN; those before it are the instrument `tcp`'s.
const HOOK: u32 = 7;
const ETH_P_IP: u16 = 0x0800;
const IPPROTO_TCP: u8 = 6;

macro_rules! count {
    ($row:expr, $($field:ident: $value:expr),* $(,)?) => {
        // SAFETY: cells of this CPU's row.
        unsafe { $( if $value != 0 { add(&raw mut (*$row).$field, $value) } )* }
    };
}

/// The bits of the current task, if it is followed.
#[inline(always)]
fn current() -> u8 {
    let bits = watch(bpf_get_current_pid_tgid() as u32);
    if bits & Task::WATCHED != 0 && enabled() {
        bits
    } else {
        0
    }
}

#[inline(always)]
fn sends(bits: u8) -> bool {
    bits != 0 && bits & Task::CLIENT == 0
}

#[btf_tracepoint(function = "net_dev_queue")]
pub fn net_dev_queue(ctx: BtfTracePointContext) -> i32 {
    let netns = wanted_netns();
    if netns == 0 || !enabled() {
        return 0;
    }
    let skb = ctx.arg::<*const u8>(0);
    let mut reads = Reads::new();
    let device: u64 = reads.kernel(skb, offset!(skb_dev));
    let net: u64 = reads.kernel(device as *const u8, offset!(dev_net));
    let inum: u32 = reads.kernel(net as *const u8, offset!(net_inum));
    let protocol: u16 = reads.kernel(skb, offset!(skb_protocol));
    if inum != netns || u16::from_be(protocol) != ETH_P_IP {
        return 0;
    }
    let head: u64 = reads.kernel(skb, offset!(skb_head));
    let network: u16 = reads.kernel(skb, offset!(skb_network));
    let ip = (head as *const u8).wrapping_add(network as usize);
    if reads.kernel::<u8>(ip, 9) != IPPROTO_TCP {
        return 0;
    }
    let transport: u16 = reads.kernel(skb, offset!(skb_transport));
    let tcp = head.wrapping_add(transport as u64);
    let data: u64 = reads.kernel(skb, offset!(skb_data));
    let headers = tcp
        .wrapping_add((reads.kernel::<u8>(tcp as *const u8, 12) >> 4) as u64 * 4)
        .wrapping_sub(data);
    let len: u32 = reads.kernel(skb, offset!(skb_len));
    let payload = (len as u64).wrapping_sub(headers);
    // Nothing but headers; or what is no length.
    if payload == 0 || payload > 1 << 20 {
        return 0;
    }
    let Some(row) = row() else { return 0 };
    if !is_new(&mut reads, tcp as *const u8, payload) {
        count!(row, resent_bytes: payload);
        return 0;
    }
    let mut places = Places::of(&mut reads, skb, row);
    let data_len: u32 = reads.kernel(skb, offset!(skb_data_len));
    places.linear = payload.wrapping_sub(data_len as u64);
    places.other += (data_len as u64).wrapping_sub(places.paged());
    reads.done();
    count!(row,
        sent_segments: 1,
        sent_bytes: payload,
        sent_linear_bytes: places.linear,
        sent_kernel_bytes: places.kernel,
        sent_anon_bytes: places.anon,
        sent_file_bytes: places.file,
        sent_other_bytes: places.other,
    );
    0
}

/// Does the segment go beyond what its connection has sent so far? The lab has one connection at a time, and
/// what one connection sends it sends in order.
#[inline(always)]
fn is_new(reads: &mut Reads, tcp: *const u8, payload: u64) -> bool {
    let ports: u32 = reads.kernel(tcp, 0);
    let end = u32::from_be(reads.kernel(tcp, 4)).wrapping_add(payload as u32);
    let Some(last) = LAST_SENT.get_ptr_mut(0) else {
        return true;
    };
    // SAFETY: a map's value.
    unsafe {
        let known = core::ptr::read_volatile(&raw const (*last).ports) == ports;
        let next = core::ptr::read_volatile(&raw const (*last).next);
        if known && (end.wrapping_sub(next) as i32) <= 0 {
            return false;
        }
        core::ptr::write_volatile(&raw mut (*last).ports, ports);
        core::ptr::write_volatile(&raw mut (*last).next, end);
    }
    true
}

#[btf_tracepoint(function = "skb_copy_datagram_iovec")]
pub fn skb_copy_datagram_iovec(ctx: BtfTracePointContext) -> i32 {
    received(&ctx, Turn::First)
}

#[btf_tracepoint(function = "skb_copy_datagram_iovec")]
pub fn skb_copy_datagram_iovec_again(ctx: BtfTracePointContext) -> i32 {
    received(&ctx, Turn::Later)
}

/// A packet whose pages are all of one kind tells where the bytes lay; of a mixed one they count as other. The
/// linear part of a packet with pages counts in full each time some of it is copied: the tracepoint does not
/// say from where.
#[inline(always)]
fn received(ctx: &BtfTracePointContext, turn: Turn) -> i32 {
    let bits = current();
    if bits & Task::CLIENT == 0 {
        return 0;
    }
    let mut reads = Reads::new();
    let skb = reads.argument(ctx, 0);
    if !takes_object(turn, HOOK, skb) {
        return 0;
    }
    let bytes = ctx.arg::<u64>(1) as u32 as u64;
    let Some(row) = row() else { return 0 };
    let skb = skb as *const u8;
    let places = Places::of(&mut reads, skb, row);
    let len: u32 = reads.kernel(skb, offset!(skb_len));
    let data_len: u32 = reads.kernel(skb, offset!(skb_data_len));
    reads.done();
    let head = (len as u64).wrapping_sub(data_len as u64);
    let linear = if head < bytes { head } else { bytes };
    let pure = |part: u64| {
        if part + head == len as u64 {
            bytes - linear
        } else {
            0
        }
    };
    let (kernel, anon, file) = (pure(places.kernel), pure(places.anon), pure(places.file));
    count!(row,
        received_copies: 1,
        received_bytes: bytes,
        received_linear_bytes: linear,
        received_kernel_bytes: kernel,
        received_anon_bytes: anon,
        received_file_bytes: file,
        received_other_bytes: bytes - linear - kernel - anon - file,
    );
    0
}

#[btf_tracepoint(function = "mm_page_alloc")]
pub fn mm_page_alloc(ctx: BtfTracePointContext) -> i32 {
    let bits = current();
    if bits == 0 {
        return 0;
    }
    let order = ctx.arg::<u64>(1) as u32;
    let Some(row) = row() else { return 0 };
    let pages = 1u64 << (order & 31);
    if sends(bits) {
        count!(row, sender_pages: pages);
    } else {
        count!(row, receiver_pages: pages);
    }
    0
}

#[btf_tracepoint(function = "page_fault_user")]
pub fn page_fault_user(_ctx: BtfTracePointContext) -> i32 {
    if sends(current())
        && let Some(row) = row()
    {
        count!(row, faults_user: 1);
    }
    0
}

#[btf_tracepoint(function = "page_fault_kernel")]
pub fn page_fault_kernel(_ctx: BtfTracePointContext) -> i32 {
    if sends(current())
        && let Some(row) = row()
    {
        count!(row, faults_kernel: 1);
    }
    0
}

/// Is this iterator one over memory of a process? Before 5.14 the lowest bit says the direction.
#[inline(always)]
fn over_user_memory(reads: &mut Reads, iter: *const u8) -> bool {
    if offset!(iter_type) == ABSENT {
        return false;
    }
    let kind = reads.kernel::<u8>(iter, offset!(iter_type)) as u32;
    let user = |index: usize| config_iter(index);
    let plain = kind + 1;
    let masked = (kind & !1) + 1;
    let known = |kind: u32| kind == user(0) || kind == user(1);
    if user(0) == 0 {
        known(masked)
    } else {
        known(plain)
    }
}

#[inline(always)]
fn config_iter(index: usize) -> u32 {
    probes_ebpf::globals::config(|config| {
        // SAFETY: an element of a static's array.
        unsafe { (&raw const (*config).iter_user as *const u32).add(index) }
    })
}

/// In its loop `tcp_sendmsg_locked` tells each turn (since 6.17): with which iterator, not how much.
#[btf_tracepoint(function = "tcp_sendmsg_locked")]
pub fn tcp_sendmsg_turn(ctx: BtfTracePointContext) -> i32 {
    if !sends(current()) {
        return 0;
    }
    let mut reads = Reads::new();
    let message = reads.argument(&ctx, 1);
    let iter = (message as *const u8).wrapping_add(offset!(msg_iter) as usize);
    let user = over_user_memory(&mut reads, iter);
    reads.done();
    let Some(row) = row() else { return 0 };
    if user {
        count!(row, turns_user: 1);
    } else {
        count!(row, turns_page: 1);
    }
    0
}

/// (sk, msg, size) and what it returned.
#[fexit(function = "tcp_sendmsg_locked")]
pub fn tcp_sendmsg_locked(ctx: FExitContext) -> i32 {
    if !sends(current()) {
        return 0;
    }
    let mut reads = Reads::new();
    let message = reads.argument(&ctx, 1);
    let iter = (message as *const u8).wrapping_add(offset!(msg_iter) as usize);
    let user = over_user_memory(&mut reads, iter);
    let ret = reads.argument(&ctx, 3) as i32;
    reads.done();
    let Some(row) = row() else { return 0 };
    let bytes = if ret > 0 { ret as u64 } else { 0 };
    if user {
        count!(row, asked_user_bytes: bytes);
    } else {
        count!(row, asked_page_bytes: bytes);
    }
    0
}

/// (sk, page, offset, size, flags): how sendfile came to TCP before 6.5.
#[fexit(function = "do_tcp_sendpages")]
pub fn do_tcp_sendpages(ctx: FExitContext) -> i32 {
    if !sends(current()) {
        return 0;
    }
    let mut reads = Reads::new();
    let ret = reads.argument(&ctx, 5) as i64;
    reads.done();
    if ret > 0
        && let Some(row) = row()
    {
        count!(row, asked_page_bytes: ret as u64);
    }
    0
}

#[fexit(function = "generic_file_read_iter")]
pub fn generic_file_read_iter(ctx: FExitContext) -> i32 {
    file_read(&ctx)
}

#[fexit(function = "shmem_file_read_iter")]
pub fn shmem_file_read_iter(ctx: FExitContext) -> i32 {
    file_read(&ctx)
}

/// (iocb, iter) and what it returned.
#[inline(always)]
fn file_read(ctx: &impl EbpfContext) -> i32 {
    if !sends(current()) {
        return 0;
    }
    let mut reads = Reads::new();
    let iter = reads.argument(ctx, 1);
    let user = over_user_memory(&mut reads, iter as *const u8);
    let ret = reads.argument(ctx, 2) as i64;
    reads.done();
    let Some(row) = row() else { return 0 };
    let bytes = if ret > 0 { ret as u64 } else { 0 };
    if user {
        count!(row, read_user_bytes: bytes);
    } else {
        count!(row, read_other_bytes: bytes);
    }
    0
}
