//! Instrument `syscalls`: entry and return of the system calls a trace follows, in watched tasks only.
//!
//! The return carries the arguments again (x86-64 keeps them in pt_regs; only ax is overwritten) and, for
//! accept and epoll_ctl, the socket behind the descriptor, walked from the task's file table: its pointer is
//! the one that `inet_sock_set_state` gave, so an accepted connection is known by identity, not by time.
#![no_std]
#![no_main]

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_get_current_task};
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use probes_common::Task;
use probes_common::copy::{CallRow, family};
use probes_common::event::{SysEnter, SysExit};
use probes_ebpf::again::{Event, Turn, takes_task};
use probes_ebpf::emit::emit;
use probes_ebpf::filter::{enabled, watch, watched};
use probes_ebpf::globals::follows_syscall;
use probes_ebpf::read::Reads;
use probes_ebpf::tally::{add, call_row};
use probes_ebpf::{config, offset};

const ACCEPT: u64 = 43;
const ACCEPT4: u64 = 288;
const EPOLL_CTL: u64 = 233;
const S_IFMT: u16 = 0o170_000;
const S_IFSOCK: u16 = 0o140_000;

#[inline(always)]
fn takes(turn: Turn, event: Event) -> bool {
    let pid = bpf_get_current_pid_tgid() as u32;
    watched(pid) && takes_task(turn, pid, event) && enabled()
}

#[inline(always)]
fn arguments(reads: &mut Reads, regs: *const u8) -> [u64; 4] {
    // SAFETY: `regs` is the hook's pt_regs argument.
    unsafe {
        [
            reads.typed(regs, offset!(regs_arg0)),
            reads.typed(regs, offset!(regs_arg1)),
            reads.typed(regs, offset!(regs_arg2)),
            reads.typed(regs, offset!(regs_arg3)),
        ]
    }
}

#[btf_tracepoint(function = "sys_enter")]
pub fn sys_enter(ctx: BtfTracePointContext) -> i32 {
    enter(&ctx, Turn::First)
}

#[btf_tracepoint(function = "sys_enter")]
pub fn sys_enter_again(ctx: BtfTracePointContext) -> i32 {
    enter(&ctx, Turn::Later)
}

#[btf_tracepoint(function = "sys_enter")]
pub fn sys_enter_third(ctx: BtfTracePointContext) -> i32 {
    enter(&ctx, Turn::Later)
}

#[inline(always)]
fn enter(ctx: &BtfTracePointContext, turn: Turn) -> i32 {
    if !takes(turn, Event::Enter) {
        return 0;
    }
    let nr = ctx.arg::<u64>(1);
    if config!(counts_calls) != 0
        && let Some(row) = counted(nr)
    {
        // SAFETY: this CPU's row.
        unsafe { add(&raw mut (*row).entries, 1) };
    }
    if !follows_syscall(nr) {
        return 0;
    }
    let mut reads = Reads::new();
    let args = arguments(&mut reads, ctx.arg::<*const u8>(0));
    reads.done();
    emit::<SysEnter>(|enter| {
        // SAFETY: `enter` points to room for the whole payload.
        unsafe {
            enter.write(SysEnter {
                nr: nr as u32,
                _pad: 0,
                args,
            })
        }
    });
    0
}

#[btf_tracepoint(function = "sys_exit")]
pub fn sys_exit(ctx: BtfTracePointContext) -> i32 {
    exit(&ctx, Turn::First)
}

#[btf_tracepoint(function = "sys_exit")]
pub fn sys_exit_again(ctx: BtfTracePointContext) -> i32 {
    exit(&ctx, Turn::Later)
}

#[btf_tracepoint(function = "sys_exit")]
pub fn sys_exit_third(ctx: BtfTracePointContext) -> i32 {
    exit(&ctx, Turn::Later)
}

#[inline(always)]
fn exit(ctx: &BtfTracePointContext, turn: Turn) -> i32 {
    if !takes(turn, Event::Return) {
        return 0;
    }
    let regs = ctx.arg::<*const u8>(0);
    let mut reads = Reads::new();
    // SAFETY: the hook's pt_regs argument.
    let nr: u64 = unsafe { reads.typed(regs, offset!(regs_nr)) };
    if config!(counts_calls) != 0 {
        count_return(nr, ctx.arg::<i64>(1));
    }
    if !follows_syscall(nr) {
        return 0;
    }
    let ret = ctx.arg::<i64>(1);
    let args = arguments(&mut reads, regs);
    let mut exit = SysExit {
        nr: nr as u32,
        epoll_events: 0,
        ret,
        args,
        fd_sock: 0,
        new_sock: 0,
        fd_port: 0,
        fd_state: 0,
        new_local_port: 0,
        new_remote_port: 0,
    };
    if nr == ACCEPT || nr == ACCEPT4 {
        listener(&mut reads, &mut exit, args[0]);
        if ret >= 0 {
            let sock = sock_of(&mut reads, ret as u64);
            exit.new_sock = sock as u64;
            if !sock.is_null() {
                exit.new_local_port = reads.kernel(sock, offset!(sock_num));
                exit.new_remote_port = u16::from_be(reads.kernel(sock, offset!(sock_dport)));
            }
        }
    } else if nr == EPOLL_CTL {
        listener(&mut reads, &mut exit, args[2]);
        // EPOLL_CTL_DEL may come without an event.
        if args[3] != 0 {
            exit.epoll_events = reads.user(args[3]);
        }
    }
    reads.done();
    // SAFETY: `record` points to room for the whole payload.
    emit::<SysExit>(|record| unsafe { record.write(exit) });
    0
}

/// The row of this call, unless the task is the lab's client.
#[inline(always)]
fn counted(nr: u64) -> Option<*mut CallRow> {
    let client = watch(bpf_get_current_pid_tgid() as u32) & Task::CLIENT != 0;
    if client { None } else { call_row(family(nr)) }
}

#[inline(always)]
fn count_return(nr: u64, ret: i64) {
    let Some(row) = counted(nr) else { return };
    // SAFETY: this CPU's row.
    unsafe {
        add(&raw mut (*row).returns, 1);
        if ret > 0 {
            add(&raw mut (*row).returned, ret as u64);
        } else if ret < 0 {
            add(&raw mut (*row).failed, 1);
        }
    }
}

#[inline(always)]
fn listener(reads: &mut Reads, exit: &mut SysExit, fd: u64) {
    let sock = sock_of(reads, fd);
    exit.fd_sock = sock as u64;
    if !sock.is_null() {
        exit.fd_port = reads.kernel(sock, offset!(sock_num));
        exit.fd_state = reads.kernel::<u8>(sock, offset!(sock_state)) as u16;
    }
}

/// `struct sock *` behind a descriptor of the current task; null = no socket (current->files->fdt->fd[fd]).
#[inline(always)]
fn sock_of(reads: &mut Reads, fd: u64) -> *const u8 {
    let fd = fd as u32;
    // SAFETY: takes nothing, returns a pointer that only probe reads follow.
    let task = unsafe { bpf_get_current_task() } as *const u8;
    let files: u64 = reads.kernel(task, offset!(task_files));
    let table: u64 = reads.kernel(files as *const u8, offset!(files_fdt));
    let max: u32 = reads.kernel(table as *const u8, offset!(fdt_max_fds));
    if fd >= max {
        return core::ptr::null();
    }
    let array: u64 = reads.kernel(table as *const u8, offset!(fdt_fd));
    let file: u64 = reads.kernel((array + fd as u64 * 8) as *const u8, 0);
    if file == 0 {
        return core::ptr::null();
    }
    let inode: u64 = reads.kernel(file as *const u8, offset!(file_inode));
    let mode: u16 = reads.kernel(inode as *const u8, offset!(inode_mode));
    if mode & S_IFMT != S_IFSOCK {
        return core::ptr::null();
    }
    let socket: u64 = reads.kernel(file as *const u8, offset!(file_private));
    reads.kernel::<u64>(socket as *const u8, offset!(socket_sk)) as *const u8
}
