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
use probes_common::event::{SysEnter, SysExit};
use probes_ebpf::again::{Copy, takes_task};
use probes_ebpf::emit::emit;
use probes_ebpf::filter::{enabled, watched};
use probes_ebpf::globals::follows_syscall;
use probes_ebpf::offset;
use probes_ebpf::read::{kernel, typed, user};

const ACCEPT: u64 = 43;
const ACCEPT4: u64 = 288;
const EPOLL_CTL: u64 = 233;
const S_IFMT: u16 = 0o170_000;
const S_IFSOCK: u16 = 0o140_000;

#[inline(always)]
fn takes(copy: Copy) -> bool {
    let pid = bpf_get_current_pid_tgid() as u32;
    watched(pid) && takes_task(copy, pid) && enabled()
}

#[inline(always)]
fn arguments(regs: *const u8) -> [u64; 4] {
    // SAFETY: `regs` is the hook's pt_regs argument.
    unsafe {
        [
            typed(regs, offset!(regs_arg0)),
            typed(regs, offset!(regs_arg1)),
            typed(regs, offset!(regs_arg2)),
            typed(regs, offset!(regs_arg3)),
        ]
    }
}

#[btf_tracepoint(function = "sys_enter")]
pub fn sys_enter(ctx: BtfTracePointContext) -> i32 {
    enter(&ctx, Copy::First)
}

#[btf_tracepoint(function = "sys_enter")]
pub fn sys_enter_again(ctx: BtfTracePointContext) -> i32 {
    enter(&ctx, Copy::Second)
}

#[inline(always)]
fn enter(ctx: &BtfTracePointContext, copy: Copy) -> i32 {
    if !takes(copy) {
        return 0;
    }
    let nr = ctx.arg::<u64>(1);
    if !follows_syscall(nr) {
        return 0;
    }
    let args = arguments(ctx.arg::<*const u8>(0));
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
    exit(&ctx, Copy::First)
}

#[btf_tracepoint(function = "sys_exit")]
pub fn sys_exit_again(ctx: BtfTracePointContext) -> i32 {
    exit(&ctx, Copy::Second)
}

#[inline(always)]
fn exit(ctx: &BtfTracePointContext, copy: Copy) -> i32 {
    if !takes(copy) {
        return 0;
    }
    let regs = ctx.arg::<*const u8>(0);
    // SAFETY: the hook's pt_regs argument.
    let nr: u64 = unsafe { typed(regs, offset!(regs_nr)) };
    if !follows_syscall(nr) {
        return 0;
    }
    let ret = ctx.arg::<i64>(1);
    let args = arguments(regs);
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
        listener(&mut exit, args[0]);
        if ret >= 0 {
            let sock = sock_of(ret as u64);
            exit.new_sock = sock as u64;
            exit.new_local_port = kernel(sock, offset!(sock_num));
            exit.new_remote_port = u16::from_be(kernel(sock, offset!(sock_dport)));
        }
    } else if nr == EPOLL_CTL {
        listener(&mut exit, args[2]);
        // EPOLL_CTL_DEL may come without an event.
        if args[3] != 0 {
            exit.epoll_events = user(args[3]);
        }
    }
    // SAFETY: `record` points to room for the whole payload.
    emit::<SysExit>(|record| unsafe { record.write(exit) });
    0
}

#[inline(always)]
fn listener(exit: &mut SysExit, fd: u64) {
    let sock = sock_of(fd);
    exit.fd_sock = sock as u64;
    if !sock.is_null() {
        exit.fd_port = kernel(sock, offset!(sock_num));
        exit.fd_state = kernel::<u8>(sock, offset!(sock_state)) as u16;
    }
}

/// `struct sock *` behind a descriptor of the current task; null = no socket (current->files->fdt->fd[fd]).
#[inline(always)]
fn sock_of(fd: u64) -> *const u8 {
    let fd = fd as u32;
    // SAFETY: takes nothing, returns a pointer that only probe reads follow.
    let task = unsafe { bpf_get_current_task() } as *const u8;
    let files: u64 = kernel(task, offset!(task_files));
    let table: u64 = kernel(files as *const u8, offset!(files_fdt));
    let max: u32 = kernel(table as *const u8, offset!(fdt_max_fds));
    if fd >= max {
        return core::ptr::null();
    }
    let array: u64 = kernel(table as *const u8, offset!(fdt_fd));
    let file: u64 = kernel((array + fd as u64 * 8) as *const u8, 0);
    let inode: u64 = kernel(file as *const u8, offset!(file_inode));
    let mode: u16 = kernel(inode as *const u8, offset!(inode_mode));
    if mode & S_IFMT != S_IFSOCK {
        return core::ptr::null();
    }
    let socket: u64 = kernel(file as *const u8, offset!(file_private));
    kernel::<u64>(socket as *const u8, offset!(socket_sk)) as *const u8
}
