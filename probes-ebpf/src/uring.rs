//! Instrument `uring`: the way that each request of io_uring took, told in one record when it is complete.
//!
//! A request is remembered from its submission by a followed task (or another thread of its process, such as
//! the ring's own submitter) and looked up by its address: completions come in any context. Up to 5.10 they
//! tell no request; there the ring and `user_data` must do. That a request was done inline is told by the
//! stack: it was completed below `io_submit_sqes`, before the submitting call returned.
#![no_std]
#![no_main]

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::{
    bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_stack, bpf_ktime_get_ns,
};
use aya_ebpf::macros::{btf_tracepoint, map};
use aya_ebpf::maps::HashMap;
use aya_ebpf::programs::BtfTracePointContext;
use probes_common::Kind;
use probes_common::control::counter;
use probes_common::uring::{
    URING_STACK_DEPTH, UringDone, UringKey, UringOverflow, WAY_EXTRA, WAY_INLINE, WAY_MORE,
    WAY_POLLED, WAY_WORKER,
};
use probes_ebpf::again::{Turn, takes_object};
use probes_ebpf::emit::{count, count_exact, emit, emit_as};
use probes_ebpf::filter::{enabled, watched};
use probes_ebpf::globals::submit_sqes;
use probes_ebpf::read::Reads;
use probes_ebpf::{config, offset};

/// A completion's arguments where they are ring, user_data, res, flags (up to 5.10).
const WITHOUT_REQUEST: u32 = 4;
/// And where they are ring, request, struct io_uring_cqe * (since 6.16).
const WITH_CQE: u32 = 3;
/// include/uapi/linux/io_uring.h
const CQE_F_MORE: u32 = 1 << 1;
const CQE_RES: u32 = 8;
const CQE_FLAGS: u32 = 12;
/// Requests under way at once; what finds no room counts as lost.
const UNDER_WAY: u32 = 1 << 15;

/// A request's address leads to no array's index, and a ring has no storage of its own.
#[map]
static URING: HashMap<UringKey, UringDone> = HashMap::with_max_entries(UNDER_WAY, 1);

/// Places in the map of what first copies took.
mod hook {
    pub const SUBMIT: u32 = 0;
    pub const POLL: u32 = 1;
    pub const WORK: u32 = 2;
    pub const COMPLETE: u32 = 3;
}

/// Is the task that is current followed, or its process?
#[inline(always)]
fn follows(pid_tgid: u64) -> bool {
    watched(pid_tgid as u32) || watched((pid_tgid >> 32) as u32)
}

#[inline(always)]
fn key_of(reads: &mut Reads, request: u64) -> UringKey {
    if config!(uring_complete_args) != WITHOUT_REQUEST {
        return UringKey {
            request,
            user_data: 0,
        };
    }
    let request = request as *const u8;
    UringKey {
        request: reads.kernel(request, offset!(kiocb_ctx)),
        user_data: reads.kernel(request, offset!(kiocb_user_data)),
    }
}

#[btf_tracepoint(function = "io_uring_submit_req")]
pub fn io_uring_submit_req(ctx: BtfTracePointContext) -> i32 {
    submit(&ctx, Turn::First)
}

#[btf_tracepoint(function = "io_uring_submit_req")]
pub fn io_uring_submit_req_again(ctx: BtfTracePointContext) -> i32 {
    submit(&ctx, Turn::Later)
}

#[btf_tracepoint(function = "io_uring_submit_sqe")]
pub fn io_uring_submit_sqe(ctx: BtfTracePointContext) -> i32 {
    submit(&ctx, Turn::First)
}

#[btf_tracepoint(function = "io_uring_submit_sqe")]
pub fn io_uring_submit_sqe_again(ctx: BtfTracePointContext) -> i32 {
    submit(&ctx, Turn::Later)
}

#[inline(always)]
fn submit(ctx: &BtfTracePointContext, turn: Turn) -> i32 {
    let pid_tgid = bpf_get_current_pid_tgid();
    if !enabled() || !follows(pid_tgid) {
        return 0;
    }
    let mut reads = Reads::new();
    let request = reads.argument(ctx, config!(uring_submit_req));
    if takes_object(turn, hook::SUBMIT, request) {
        let key = key_of(&mut reads, request);
        let at = request as *const u8;
        let done = UringDone {
            ring: reads.kernel(at, offset!(kiocb_ctx)),
            request,
            user_data: reads.kernel(at, offset!(kiocb_user_data)),
            submitted_ns: unsafe { bpf_ktime_get_ns() },
            polled_ns: 0,
            queued_ns: 0,
            pid: pid_tgid as u32,
            tgid: (pid_tgid >> 32) as u32,
            res: 0,
            cqe_flags: 0,
            polls: 0,
            opcode: reads.kernel(at, offset!(kiocb_opcode)),
            ways: 0,
            _pad: 0,
            comm: bpf_get_current_comm().unwrap_or_default(),
        };
        if URING.insert(&key, &done, 0).is_err() {
            count_exact(counter::DROPPED + Kind::UringDone as u32);
        }
    }
    reads.done();
    0
}

#[btf_tracepoint(function = "io_uring_poll_arm")]
pub fn io_uring_poll_arm(ctx: BtfTracePointContext) -> i32 {
    went(&ctx, Turn::First, WAY_POLLED)
}

#[btf_tracepoint(function = "io_uring_poll_arm")]
pub fn io_uring_poll_arm_again(ctx: BtfTracePointContext) -> i32 {
    went(&ctx, Turn::Later, WAY_POLLED)
}

#[btf_tracepoint(function = "io_uring_queue_async_work")]
pub fn io_uring_queue_async_work(ctx: BtfTracePointContext) -> i32 {
    went(&ctx, Turn::First, WAY_WORKER)
}

#[btf_tracepoint(function = "io_uring_queue_async_work")]
pub fn io_uring_queue_async_work_again(ctx: BtfTracePointContext) -> i32 {
    went(&ctx, Turn::Later, WAY_WORKER)
}

#[inline(always)]
fn went(ctx: &BtfTracePointContext, turn: Turn, way: u8) -> i32 {
    if !enabled() {
        return 0;
    }
    let (place, argument) = match way {
        WAY_POLLED => (hook::POLL, config!(uring_poll_req)),
        _ => (hook::WORK, config!(uring_work_req)),
    };
    let mut reads = Reads::new();
    let request = reads.argument(ctx, argument);
    let key = key_of(&mut reads, request);
    if let Some(under_way) = URING.get_ptr_mut(&key)
        && takes_object(turn, place, request)
    {
        // SAFETY: a value of the map. A request is in one place at a time.
        unsafe {
            let now = bpf_ktime_get_ns();
            (*under_way).ways |= way;
            if way == WAY_POLLED {
                (*under_way).polls += 1;
                if (*under_way).polled_ns == 0 {
                    (*under_way).polled_ns = now;
                }
            } else if (*under_way).queued_ns == 0 {
                (*under_way).queued_ns = now;
            }
        }
    }
    reads.done();
    0
}

#[btf_tracepoint(function = "io_uring_complete")]
pub fn io_uring_complete(ctx: BtfTracePointContext) -> i32 {
    complete(&ctx, Turn::First)
}

#[btf_tracepoint(function = "io_uring_complete")]
pub fn io_uring_complete_again(ctx: BtfTracePointContext) -> i32 {
    complete(&ctx, Turn::Later)
}

/// What a completion tells, wherever this kernel has it.
struct Completion {
    key: UringKey,
    ring: u64,
    user_data: u64,
    res: i32,
    flags: u32,
}

#[inline(always)]
fn completion(reads: &mut Reads, ctx: &BtfTracePointContext) -> Completion {
    let ring = reads.argument(ctx, 0);
    match config!(uring_complete_args) {
        WITHOUT_REQUEST => {
            let user_data = reads.argument(ctx, 1);
            Completion {
                key: UringKey {
                    request: ring,
                    user_data,
                },
                ring,
                user_data,
                res: reads.argument(ctx, 2) as i32,
                flags: reads.argument(ctx, 3) as u32,
            }
        }
        WITH_CQE => {
            let cqe = reads.argument(ctx, 2) as *const u8;
            Completion {
                key: UringKey {
                    request: reads.argument(ctx, 1),
                    user_data: 0,
                },
                ring,
                user_data: reads.kernel(cqe, 0),
                res: reads.kernel(cqe, CQE_RES),
                flags: reads.kernel(cqe, CQE_FLAGS),
            }
        }
        _ => Completion {
            key: UringKey {
                request: reads.argument(ctx, 1),
                user_data: 0,
            },
            ring,
            user_data: reads.argument(ctx, 2),
            res: reads.argument(ctx, 3) as i32,
            flags: reads.argument(ctx, 4) as u32,
        },
    }
}

#[inline(always)]
fn complete(ctx: &BtfTracePointContext, turn: Turn) -> i32 {
    if !enabled() {
        return 0;
    }
    let mut reads = Reads::new();
    let told = completion(&mut reads, ctx);
    let identity = told.key.request ^ told.key.user_data.rotate_left(32);
    let more = if told.flags & CQE_F_MORE != 0 {
        WAY_MORE
    } else {
        0
    };
    if let Some(under_way) = URING.get_ptr_mut(&told.key) {
        if takes_object(turn, hook::COMPLETE, identity) {
            // SAFETY: a value of the map.
            let mut done = unsafe { *under_way };
            done.res = told.res;
            done.cqe_flags = told.flags;
            done.ways |= more;
            if done.ways & (WAY_POLLED | WAY_WORKER) == 0 && below_submit(ctx) {
                done.ways |= WAY_INLINE;
            }
            // SAFETY: `record` points to room for the whole payload.
            emit_as::<UringDone>(turn, |record| unsafe { record.write(done) });
            if more == 0 {
                let _gone = URING.remove(&told.key);
            }
        }
    } else if turn == Turn::First && told.key.request == 0 && follows(bpf_get_current_pid_tgid()) {
        extra(&told, more);
    }
    reads.done();
    0
}

#[inline(always)]
fn extra(told: &Completion, more: u8) {
    let pid_tgid = bpf_get_current_pid_tgid();
    emit::<UringDone>(|record| {
        // SAFETY: `record` points to room for the whole payload.
        unsafe {
            record.write(UringDone {
                ring: told.ring,
                request: 0,
                user_data: told.user_data,
                submitted_ns: 0,
                polled_ns: 0,
                queued_ns: 0,
                pid: pid_tgid as u32,
                tgid: (pid_tgid >> 32) as u32,
                res: told.res,
                cqe_flags: told.flags,
                polls: 0,
                opcode: 0,
                ways: WAY_EXTRA | more,
                _pad: 0,
                comm: bpf_get_current_comm().unwrap_or_default(),
            })
        }
    });
}

/// Is `io_submit_sqes` among the callers?
#[inline(always)]
fn below_submit(ctx: &BtfTracePointContext) -> bool {
    let [begin, end] = submit_sqes();
    if begin == 0 {
        return false;
    }
    let mut stack = [0u64; URING_STACK_DEPTH];
    let size = (URING_STACK_DEPTH * 8) as u32;
    // SAFETY: room for the frames. What is not filled the helper sets to zero.
    let got = unsafe { bpf_get_stack(ctx.as_ptr(), stack.as_mut_ptr().cast(), size, 0) };
    if got <= 0 {
        count(counter::STACK_FAILED);
        return false;
    }
    let mut found = false;
    for frame in stack {
        // A return address lies behind its call.
        if frame > begin && frame <= end {
            found = true;
        }
    }
    found
}

/// Rare: no copy.
#[btf_tracepoint(function = "io_uring_cqe_overflow")]
pub fn io_uring_cqe_overflow(ctx: BtfTracePointContext) -> i32 {
    if !enabled() || !follows(bpf_get_current_pid_tgid()) {
        return 0;
    }
    let mut reads = Reads::new();
    let overflow = UringOverflow {
        ring: reads.argument(&ctx, 0),
        user_data: reads.argument(&ctx, 1),
        res: reads.argument(&ctx, 2) as i32,
        cqe_flags: reads.argument(&ctx, 3) as u32,
    };
    // SAFETY: `record` points to room for the whole payload.
    emit::<UringOverflow>(|record| unsafe { record.write(overflow) });
    reads.done();
    0
}
