//! Instrument `tcp`: states, resends, resets, timers, ends and dropped packets of followed TCP sockets.
//!
//! Tracepoints only, so that it works wherever BTF is. Fields beyond `struct sock` come by probe read: the
//! verifier does not let a program read a `tcp_sock` through a `struct sock *`. The current task is a
//! bystander whenever the kernel works in an interrupt: follow sockets by pointer, never by task.
#![no_std]
#![no_main]

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::bpf_jiffies64;
use aya_ebpf::helpers::{bpf_get_current_comm, bpf_get_stack};
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use probes_common::control::counter;
use probes_common::tcp::{
    REASON_NONE, RESET_RECEIVED, RESET_SENT, SkbDrop, SockError, SockId, TCP_STACK_DEPTH,
    TIMER_DELACK, TIMER_EXPIRED, TIMER_KEEPALIVE, TIMER_REQUEST, TIMER_STARTED, TIMER_TIME_WAIT,
    TIMER_WRITE, TcpDestroy, TcpReset, TcpRetransmit, TcpState, TcpSynack, TcpTimer,
};
use probes_ebpf::again::{Turn, leave_word, taken_before, takes_object};
use probes_ebpf::emit::{count, emit, emit_as};
use probes_ebpf::filter::enabled;
use probes_ebpf::globals::timer_of;
use probes_ebpf::inet::{followed, has_only_head};
use probes_ebpf::packet::{Parsed, parse};
use probes_ebpf::read::Reads;
use probes_ebpf::snap::{snap, snap_typed};
use probes_ebpf::{config, offset};

const IPPROTO_TCP: u16 = 6;

/// Places in the map of what first copies took.
mod hook {
    pub const STATE: u32 = 0;
    pub const RETRANSMIT: u32 = 1;
    pub const SEND_RESET: u32 = 2;
    pub const RECEIVE_RESET: u32 = 3;
    pub const DESTROY: u32 = 4;
    pub const ERROR: u32 = 5;
    pub const DROP: u32 = 6;
}

/// A hook's program and its second copy, for what interrupts the first.
macro_rules! twice {
    ($hook:literal, $first:ident, $again:ident, $body:ident $(, $more:expr)?) => {
        #[btf_tracepoint(function = $hook)]
        pub fn $first(ctx: BtfTracePointContext) -> i32 {
            when_enabled(|reads| $body(&ctx, reads, Turn::First $(, $more)?))
        }

        #[btf_tracepoint(function = $hook)]
        pub fn $again(ctx: BtfTracePointContext) -> i32 {
            when_enabled(|reads| $body(&ctx, reads, Turn::Later $(, $more)?))
        }
    };
}

#[inline(always)]
fn when_enabled(body: impl FnOnce(&mut Reads)) -> i32 {
    if enabled() {
        let mut reads = Reads::new();
        body(&mut reads);
        reads.done();
    }
    0
}

/// Writes the stack of the hook; returns how many frames there are.
///
/// # Safety
/// `to` has room for the frames.
#[inline(always)]
unsafe fn stack(ctx: &BtfTracePointContext, to: *mut [u64; TCP_STACK_DEPTH]) -> u32 {
    let size = (TCP_STACK_DEPTH * 8) as u32;
    // SAFETY: the caller's promise. What is not filled the helper sets to zero.
    let got = unsafe { bpf_get_stack(ctx.as_ptr(), to.cast(), size, 0) };
    if got <= 0 {
        count(counter::STACK_FAILED);
        return 0;
    }
    got as u32 / 8
}

twice!("inet_sock_set_state", tcp_state, tcp_state_again, state);

#[inline(always)]
fn state(ctx: &BtfTracePointContext, reads: &mut Reads, turn: Turn) {
    let object = reads.argument(ctx, 0);
    if taken_before(turn, hook::STATE, object) {
        return;
    }
    let sock = ctx.arg::<*const u8>(0);
    let mut id = SockId::default();
    // SAFETY: a field of the hook's struct sock argument.
    let protocol: u16 = unsafe { reads.typed(sock, offset!(sock_protocol)) };
    if protocol == IPPROTO_TCP && followed::<true>(reads, sock, &mut id) {
        id.sock = object;
        leave_word(turn, hook::STATE, object);
        emit_as::<TcpState>(turn, |record| {
            // SAFETY: `record` points to room for the whole payload; the argument is a whole socket of TCP.
            unsafe {
                (*record).id = id;
                snap_typed(reads, ctx.arg(0), &raw mut (*record).snap);
                (*record).old = ctx.arg::<u64>(1) as u8;
                (*record).new = ctx.arg::<u64>(2) as u8;
                (*record)._pad = [0; 2];
                (*record).err = reads.kernel(object as *const u8, offset!(sock_err));
                (*record).comm = bpf_get_current_comm().unwrap_or_default();
            }
        });
    }
}

twice!(
    "tcp_retransmit_skb",
    tcp_retransmit_skb,
    tcp_retransmit_skb_again,
    retransmit
);

#[inline(always)]
fn retransmit(ctx: &BtfTracePointContext, reads: &mut Reads, turn: Turn) {
    let sock = reads.argument(ctx, 0) as *const u8;
    let mut id = SockId::default();
    if followed::<false>(reads, sock, &mut id) && takes_object(turn, hook::RETRANSMIT, sock as u64)
    {
        let skb = reads.argument(ctx, 1) as *const u8;
        let cb = skb.wrapping_add(offset!(skb_cb) as usize);
        let mut err = 0;
        if config!(retransmit_has_err) != 0 {
            err = reads.argument(ctx, 2) as i32;
        }
        emit_as::<TcpRetransmit>(turn, |record| {
            // SAFETY: `record` points to room for the whole payload.
            unsafe {
                (*record).id = id;
                snap(reads, sock, id.state, &raw mut (*record).snap);
                (*record).seq = reads.kernel(cb, offset!(cb_seq));
                (*record).end_seq = reads.kernel(cb, offset!(cb_end_seq));
                (*record).flags = reads.kernel::<u8>(cb, offset!(cb_flags)) as u32;
                (*record).err = err;
                (*record).depth = stack(ctx, &raw mut (*record).stack);
                (*record)._pad = 0;
            }
        });
    }
}

/// Fires in softirqs only, which do not interrupt each other: no copy.
#[btf_tracepoint(function = "tcp_retransmit_synack")]
pub fn tcp_retransmit_synack(ctx: BtfTracePointContext) -> i32 {
    when_enabled(|reads| synack(&ctx, reads))
}

#[inline(always)]
fn synack(ctx: &BtfTracePointContext, reads: &mut Reads) {
    let request = reads.argument(ctx, 1) as *const u8;
    let mut id = SockId::default();
    if followed::<false>(reads, request, &mut id) {
        let listener = reads.argument(ctx, 0);
        let num_timeout = reads.bits(request, offset!(req_num_timeout)) as u32;
        let num_retrans = reads.kernel::<u8>(request, offset!(req_num_retrans)) as u32;
        emit::<TcpSynack>(|record| {
            // SAFETY: `record` points to room for the whole payload.
            unsafe {
                record.write(TcpSynack {
                    id,
                    listener,
                    num_timeout,
                    num_retrans,
                })
            }
        });
    }
}

twice!(
    "tcp_send_reset",
    tcp_send_reset,
    tcp_send_reset_again,
    reset,
    RESET_SENT
);

twice!(
    "tcp_receive_reset",
    tcp_receive_reset,
    tcp_receive_reset_again,
    reset,
    RESET_RECEIVED
);

#[inline(always)]
fn reset(ctx: &BtfTracePointContext, reads: &mut Reads, turn: Turn, direction: u8) {
    let sent = direction == RESET_SENT;
    let sock = reads.argument(ctx, 0) as *const u8;
    let skb = if sent { reads.argument(ctx, 1) } else { 0 };
    let mut id = SockId::default();
    // Without a socket the packet that is answered tells the ends.
    let found = if sock.is_null() {
        let mut packet = Parsed::default();
        skb != 0 && parse::<false>(reads, skb as *const u8, 0, &mut packet, &mut id)
    } else {
        followed::<false>(reads, sock, &mut id)
    };
    let (place, key) = if sent {
        (hook::SEND_RESET, sock as u64 ^ skb)
    } else {
        (hook::RECEIVE_RESET, sock as u64)
    };
    if found && takes_object(turn, place, key) {
        let mut reason = REASON_NONE;
        if sent && config!(reset_has_reason) != 0 {
            reason = reads.argument(ctx, 2) as u32;
        }
        emit_as::<TcpReset>(turn, |record| {
            // SAFETY: `record` points to room for the whole payload.
            unsafe {
                (*record).id = id;
                snap(reads, sock, id.state, &raw mut (*record).snap);
                (*record).direction = direction;
                (*record)._pad = [0; 3];
                (*record).reason = reason;
                (*record).depth = stack(ctx, &raw mut (*record).stack);
                (*record)._pad2 = 0;
                (*record).comm = bpf_get_current_comm().unwrap_or_default();
            }
        });
    }
}

twice!(
    "tcp_destroy_sock",
    tcp_destroy_sock,
    tcp_destroy_sock_again,
    destroy
);

#[inline(always)]
fn destroy(ctx: &BtfTracePointContext, reads: &mut Reads, turn: Turn) {
    let sock = reads.argument(ctx, 0) as *const u8;
    let mut id = SockId::default();
    if taken_before(turn, hook::DESTROY, sock as u64) {
        return;
    }
    if followed::<false>(reads, sock, &mut id) {
        leave_word(turn, hook::DESTROY, sock as u64);
        emit_as::<TcpDestroy>(turn, |record| {
            // SAFETY: `record` points to room for the whole payload.
            unsafe {
                (*record).id = id;
                snap(reads, sock, id.state, &raw mut (*record).snap);
            }
        });
    }
}

twice!(
    "inet_sk_error_report",
    inet_sk_error_report,
    inet_sk_error_report_again,
    error
);

#[inline(always)]
fn error(ctx: &BtfTracePointContext, reads: &mut Reads, turn: Turn) {
    let sock = reads.argument(ctx, 0) as *const u8;
    let mut id = SockId::default();
    if followed::<false>(reads, sock, &mut id) && takes_object(turn, hook::ERROR, sock as u64) {
        let err = reads.kernel(sock, offset!(sock_err));
        let protocol = reads.kernel::<u16>(sock, offset!(sock_protocol)) as u32;
        emit_as::<SockError>(turn, |record| {
            // SAFETY: `record` points to room for the whole payload.
            unsafe { record.write(SockError { id, err, protocol }) }
        });
    }
}

twice!("kfree_skb", kfree_skb, kfree_skb_again, dropped);

#[inline(always)]
fn dropped(ctx: &BtfTracePointContext, reads: &mut Reads, turn: Turn) {
    let skb = ctx.arg::<*const u8>(0);
    let mut receiver = 0;
    if config!(drop_has_sock) != 0 {
        receiver = reads.argument(ctx, 3);
    }
    let (mut packet, mut id) = (Parsed::default(), SockId::default());
    if parse::<true>(reads, skb, receiver, &mut packet, &mut id) {
        let key = reads.argument(ctx, 0);
        if takes_object(turn, hook::DROP, key) {
            let mut reason = REASON_NONE;
            if config!(drop_has_reason) != 0 {
                reason = reads.argument(ctx, 2) as u32;
            }
            let location = ctx.arg::<u64>(1);
            emit_as::<SkbDrop>(turn, |record| {
                // SAFETY: `record` points to room for the whole payload.
                unsafe {
                    record.write(SkbDrop {
                        id,
                        skb: key,
                        location,
                        reason,
                        seq: packet.seq,
                        ack: packet.ack,
                        flags: packet.flags,
                    })
                }
            });
        }
    }
}

/// Fires with interrupts off (kernel/time/timer.c, the base's lock), so it never interrupts itself: no copy.
/// A timer whose new expiry falls into the bucket it lies in is moved without this event.
#[btf_tracepoint(function = "timer_start")]
pub fn timer_start(ctx: BtfTracePointContext) -> i32 {
    timer(&ctx, TIMER_STARTED)
}

/// Fires in the timer softirq only, which does not interrupt itself: no copy.
#[btf_tracepoint(function = "timer_expire_entry")]
pub fn timer_expire_entry(ctx: BtfTracePointContext) -> i32 {
    timer(&ctx, TIMER_EXPIRED)
}

#[inline(always)]
fn timer(ctx: &BtfTracePointContext, action: u8) -> i32 {
    let argument = ctx.arg::<*const u8>(0);
    let mut reads = Reads::new();
    // SAFETY: a field of the hook's struct timer_list argument.
    let which = timer_of(unsafe { reads.typed(argument, offset!(timer_function)) });
    if which == 0 || !enabled() {
        return 0;
    }
    let timer = reads.argument(ctx, 0);
    let sock = timer.wrapping_sub(holder(which) as u64) as *const u8;
    let mut id = SockId::default();
    if followed::<false>(&mut reads, sock, &mut id) {
        let mut timeout = 0;
        if action == TIMER_STARTED {
            let expires: u64 = reads.kernel(timer as *const u8, offset!(timer_expires));
            // SAFETY: takes nothing.
            let left = expires.wrapping_sub(unsafe { bpf_jiffies64() }) as i64;
            timeout = if left > 0 { left as u64 } else { 0 };
        }
        emit::<TcpTimer>(|record| {
            // SAFETY: `record` points to room for the whole payload.
            unsafe {
                record.write(TcpTimer {
                    id,
                    timer,
                    timeout,
                    which,
                    action,
                    pending: 0,
                    backoff: 0,
                    retransmits: 0,
                    probes_out: 0,
                    num_timeout: 0,
                    _pad: 0,
                });
                let record = &mut *record;
                if which == TIMER_TIME_WAIT {
                    record.id.state = reads.kernel(sock, offset!(tw_substate));
                } else if which == TIMER_REQUEST {
                    record.num_timeout = reads.bits(sock, offset!(req_num_timeout));
                } else if !has_only_head(id.state) {
                    record.pending = reads.kernel(sock, offset!(icsk_pending));
                    record.backoff = reads.kernel(sock, offset!(icsk_backoff));
                    record.retransmits = reads.kernel(sock, offset!(icsk_retransmits));
                    record.probes_out = reads.kernel(sock, offset!(icsk_probes_out));
                }
            }
        });
    }
    reads.done();
    0
}

/// Where the timer lies in its socket.
#[inline(always)]
fn holder(which: u8) -> u32 {
    match which {
        TIMER_WRITE => offset!(write_timer),
        TIMER_KEEPALIVE => offset!(keepalive_timer),
        TIMER_DELACK => offset!(delack_timer),
        TIMER_TIME_WAIT => offset!(tw_timer),
        _ => offset!(req_timer),
    }
}
