//! Instrument `handshake`: what a listener does with a SYN, a cookie, a request, an accept.
//!
//! Function probes, all optional: on kernels without BPF trampolines none attaches, and the rest of the evidence
//! stands. The listener's queues are read when the function returns, so they hold what it did. One tracepoint
//! beside them, the start of a request's timer, leads to its listener everywhere.
#![no_std]
#![no_main]

use aya_ebpf::helpers::bpf_get_current_comm;
use aya_ebpf::macros::{btf_tracepoint, fexit};
use aya_ebpf::programs::{BtfTracePointContext, FExitContext};
use probes_common::tcp::{
    HS_ACCEPTED, HS_CONN_REQUEST, HS_COOKIE_CHECKED, HS_COOKIE_SENT, HS_REQUEST_DROPPED,
    HS_REQUEST_QUEUED, Handshake, SockId, TIMER_REQUEST,
};
use probes_ebpf::emit::emit;
use probes_ebpf::filter::enabled;
use probes_ebpf::globals::timer_of;
use probes_ebpf::inet::followed;
use probes_ebpf::packet::{Parsed, parse};
use probes_ebpf::read::Reads;
use probes_ebpf::snap::snap;
use probes_ebpf::{config, offset};

/// What is told beside the listener.
struct Told {
    what: u32,
    other: u64,
    ret: i64,
    remote_port: u16,
}

/// int tcp_conn_request(rsk_ops, af_ops, struct sock *sk, struct sk_buff *skb)
#[fexit(function = "tcp_conn_request")]
pub fn tcp_conn_request(ctx: FExitContext) -> i32 {
    of_packet(&ctx, HS_CONN_REQUEST, 2, 4)
}

/// struct sock *cookie_v4_check(struct sock *sk, struct sk_buff *skb): the new socket, null for a bad cookie,
/// `sk` itself for a segment that is no cookie's.
#[fexit(function = "cookie_v4_check")]
pub fn cookie_v4_check(ctx: FExitContext) -> i32 {
    of_packet(&ctx, HS_COOKIE_CHECKED, 0, 2)
}

#[fexit(function = "cookie_v6_check")]
pub fn cookie_v6_check(ctx: FExitContext) -> i32 {
    of_packet(&ctx, HS_COOKIE_CHECKED, 0, 2)
}

/// The listener is argument `index`, the packet the next one, what was returned argument `ret`.
#[inline(always)]
fn of_packet(ctx: &FExitContext, what: u32, index: u32, ret: u32) -> i32 {
    if !enabled() {
        return 0;
    }
    let mut reads = Reads::new();
    let listener = reads.argument(ctx, index) as *const u8;
    let ret = reads.argument(ctx, ret);
    let mut id = SockId::default();
    if followed::<false>(&mut reads, listener, &mut id) {
        let skb = reads.argument(ctx, index + 1) as *const u8;
        let transport: u16 = reads.kernel(skb, offset!(skb_transport));
        let head: u64 = reads.kernel(skb, offset!(skb_head));
        let tcp = (head as *const u8).wrapping_add(transport as usize);
        let remote_port = u16::from_be(reads.kernel(tcp, 0));
        let told = if what == HS_CONN_REQUEST {
            Told {
                what,
                other: 0,
                ret: ret as i32 as i64,
                remote_port,
            }
        } else {
            Told {
                what,
                other: ret,
                ret: ret as i64,
                remote_port,
            }
        };
        send(&mut reads, listener, id, &told);
    }
    reads.done();
    0
}

/// __u32 cookie_v4_init_sequence(const struct sk_buff *skb, __u16 *mssp): runs only when a cookie is sent.
/// It is not told the listener, so the packet's ends stand for it.
#[fexit(function = "cookie_v4_init_sequence")]
pub fn cookie_v4_init_sequence(ctx: FExitContext) -> i32 {
    cookie_sent(&ctx)
}

#[fexit(function = "cookie_v6_init_sequence")]
pub fn cookie_v6_init_sequence(ctx: FExitContext) -> i32 {
    cookie_sent(&ctx)
}

#[inline(always)]
fn cookie_sent(ctx: &FExitContext) -> i32 {
    if !enabled() {
        return 0;
    }
    let mut reads = Reads::new();
    let skb = reads.argument(ctx, 0) as *const u8;
    let (mut packet, mut id) = (Parsed::default(), SockId::default());
    if parse::<false>(&mut reads, skb, 0, &mut packet, &mut id) {
        let told = Told {
            what: HS_COOKIE_SENT,
            other: 0,
            ret: reads.argument(ctx, 2) as u32 as i64,
            remote_port: id.remote_port,
        };
        send(&mut reads, core::ptr::null(), id, &told);
    }
    reads.done();
    0
}

/// struct sock *inet_csk_accept(struct sock *sk, …): four parameters up to 6.9, two since. In the context of
/// the task that accepts.
#[fexit(function = "inet_csk_accept")]
pub fn inet_csk_accept(ctx: FExitContext) -> i32 {
    if !enabled() {
        return 0;
    }
    let mut reads = Reads::new();
    let child = reads.argument(&ctx, config!(accept_args));
    let listener = reads.argument(&ctx, 0) as *const u8;
    let mut id = SockId::default();
    if child != 0 && followed::<false>(&mut reads, listener, &mut id) {
        let told = Told {
            what: HS_ACCEPTED,
            other: child,
            ret: child as i64,
            remote_port: u16::from_be(reads.kernel(child as *const u8, offset!(sock_dport))),
        };
        send(&mut reads, listener, id, &told);
    }
    reads.done();
    0
}

/// bool inet_csk_reqsk_queue_drop(struct sock *sk, struct request_sock *req): a half-open request is given up;
/// true if it was still hashed. Since 6.1 the timer drops by another function.
#[fexit(function = "inet_csk_reqsk_queue_drop")]
pub fn inet_csk_reqsk_queue_drop(ctx: FExitContext) -> i32 {
    if !enabled() {
        return 0;
    }
    let mut reads = Reads::new();
    let listener = reads.argument(&ctx, 0) as *const u8;
    let mut id = SockId::default();
    if followed::<false>(&mut reads, listener, &mut id) {
        let request = reads.argument(&ctx, 1);
        let told = Told {
            what: HS_REQUEST_DROPPED,
            other: request,
            ret: reads.argument(&ctx, 2) as u8 as i64,
            remote_port: u16::from_be(reads.kernel(request as *const u8, offset!(sock_dport))),
        };
        send(&mut reads, listener, id, &told);
    }
    reads.done();
    0
}

/// The first start of a request's timer, not those after a resent SYN-ACK: the request is counted into its
/// listener's queue just after it. Fires with interrupts off (the timer base's lock): no copy.
#[btf_tracepoint(function = "timer_start")]
pub fn request_queued(ctx: BtfTracePointContext) -> i32 {
    let argument = ctx.arg::<*const u8>(0);
    let mut reads = Reads::new();
    // SAFETY: a field of the hook's struct timer_list argument.
    let which = timer_of(unsafe { reads.typed(argument, offset!(timer_function)) });
    if which != TIMER_REQUEST || !enabled() {
        return 0;
    }
    let request = reads
        .argument(&ctx, 0)
        .wrapping_sub(offset!(req_timer) as u64);
    let at = request as *const u8;
    if reads.bits(at, offset!(req_num_timeout)) == 0 {
        let listener: u64 = reads.kernel(at, offset!(req_listener));
        let listener = listener as *const u8;
        let mut id = SockId::default();
        if followed::<false>(&mut reads, listener, &mut id) {
            let told = Told {
                what: HS_REQUEST_QUEUED,
                other: request,
                ret: 0,
                remote_port: u16::from_be(reads.kernel(at, offset!(sock_dport))),
            };
            send(&mut reads, listener, id, &told);
        }
    }
    reads.done();
    0
}

#[inline(always)]
fn send(reads: &mut Reads, listener: *const u8, id: SockId, told: &Told) {
    emit::<Handshake>(|record| {
        // SAFETY: `record` points to room for the whole payload.
        unsafe {
            (*record).id = id;
            snap(reads, listener, id.state, &raw mut (*record).snap);
            (*record).what = told.what;
            (*record)._pad = 0;
            (*record).other = told.other;
            (*record).ret = told.ret;
            (*record).remote_port = told.remote_port;
            (*record)._pad2 = [0; 3];
            (*record).comm = bpf_get_current_comm().unwrap_or_default();
        }
    });
}
