//! Instrument `waitqueue` (function probes): the wake functions that a connection runs, with the exclusive flag.
//!
//! `tcp_child_process` is bracketed, which makes attribution independent of stacks; the wake functions say
//! for each wait-queue entry whether it is exclusive and whether a thread was really woken. Sent only while
//! this CPU is inside the bracket of a followed connection.
#![no_std]
#![no_main]

use aya_ebpf::macros::{fentry, fexit};
use aya_ebpf::programs::{FEntryContext, FExitContext};
use probes_common::ABSENT;
use probes_common::event::{
    WAKE_AUTOREMOVE, WAKE_EP_AUTOREMOVE, WAKE_EP_CALLBACK, WAKE_POLL, WaitWake,
};
use probes_ebpf::emit::emit;
use probes_ebpf::filter::enabled;
use probes_ebpf::maps::SLOT;
use probes_ebpf::offset;
use probes_ebpf::read::Reads;

/// int tcp_child_process(struct sock *parent, struct sock *child, struct sk_buff *skb)
#[fentry(function = "tcp_child_process")]
pub fn tcp_child_process(_ctx: FEntryContext) -> i32 {
    if let Some(slot) = SLOT.get_ptr_mut(0) {
        // SAFETY: this CPU's slot.
        unsafe { (*slot).in_child = 1 };
    }
    0
}

#[fexit(function = "tcp_child_process")]
pub fn tcp_child_process_exit(_ctx: FExitContext) -> i32 {
    if let Some(slot) = SLOT.get_ptr_mut(0) {
        // SAFETY: this CPU's slot.
        unsafe {
            (*slot).in_child = 0;
            (*slot).conn = 0;
        }
    }
    0
}

/// int autoremove_wake_function(struct wait_queue_entry *wq_entry, unsigned mode, int sync, void *key):
/// blocking accept(), and any DEFINE_WAIT sleeper.
#[fexit(function = "autoremove_wake_function")]
pub fn autoremove_wake_function(ctx: FExitContext) -> i32 {
    wake(&ctx, WAKE_AUTOREMOVE)
}

/// The waiters of an epoll instance (fs/eventpoll.c, ep_poll).
#[fexit(function = "ep_autoremove_wake_function")]
pub fn ep_autoremove_wake_function(ctx: FExitContext) -> i32 {
    wake(&ctx, WAKE_EP_AUTOREMOVE)
}

/// poll() and select() (fs/select.c).
#[fexit(function = "pollwake")]
pub fn pollwake(ctx: FExitContext) -> i32 {
    wake(&ctx, WAKE_POLL)
}

/// The entry that epoll puts on the listener's wait queue; exclusive with EPOLLEXCLUSIVE.
#[fexit(function = "ep_poll_callback")]
pub fn ep_poll_callback(ctx: FExitContext) -> i32 {
    wake(&ctx, WAKE_EP_CALLBACK)
}

#[inline(always)]
fn wake(ctx: &FExitContext, function: u32) -> i32 {
    if !enabled() {
        return 0;
    }
    let conn = match SLOT.get_ptr(0) {
        // SAFETY: this CPU's slot.
        Some(slot) => unsafe {
            if (*slot).in_child == 0 {
                return 0;
            }
            (*slot).conn
        },
        None => return 0,
    };
    if conn == 0 {
        return 0;
    }
    let entry = ctx.arg::<*const u8>(0);
    let ret = ctx.arg::<u64>(4) as i32;
    let mut reads = Reads::new();
    let entry_flags = reads.kernel(entry, offset!(wait_flags));
    let mut epoll_events = 0;
    let wait = offset!(eppoll_wait);
    if function == WAKE_EP_CALLBACK && wait != ABSENT {
        let eppoll = entry.wrapping_sub(wait as usize);
        let item: u64 = reads.kernel(eppoll, offset!(eppoll_base));
        epoll_events = reads.kernel(item as *const u8, offset!(epitem_events));
    }
    reads.done();
    emit::<WaitWake>(|record| {
        // SAFETY: `record` points to room for the whole payload.
        unsafe {
            record.write(WaitWake {
                conn,
                entry_flags,
                function,
                ret,
                epoll_events,
            })
        }
    });
    0
}
