//! Instrument `sock`: state changes of TCP sockets on followed ports, and readiness of their listeners.
//!
//! SYN_RECV→ESTABLISHED of a child fires inside `tcp_child_process`, in the same softirq and on the same CPU
//! as the listener's wakings and immediately before them (net/ipv4/tcp_minisocks.c): it puts the child in
//! this CPU's slot, and a waking whose stack holds `tcp_child_process` belongs to that child. Every run of
//! `tcp_child_process` that makes a listener ready passes here first, so a stale slot cannot be read there.
#![no_std]
#![no_main]

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use probes_common::event::{DataReady, SockState};
use probes_ebpf::again::{Turn, takes_transition};
use probes_ebpf::emit::emit;
use probes_ebpf::filter::{enabled, follow_port, follows_port, wanted_netns, watched};
use probes_ebpf::maps::SLOT;
use probes_ebpf::offset;
use probes_ebpf::read::Reads;

const TCP_ESTABLISHED: u8 = 1;
const TCP_SYN_RECV: u8 = 3;
const TCP_LISTEN: u8 = 10;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn inet_sock_set_state(ctx: BtfTracePointContext) -> i32 {
    set_state(&ctx, Turn::First)
}

#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn inet_sock_set_state_again(ctx: BtfTracePointContext) -> i32 {
    set_state(&ctx, Turn::Later)
}

#[inline(always)]
fn set_state(ctx: &BtfTracePointContext, turn: Turn) -> i32 {
    let sock = ctx.arg::<*const u8>(0);
    let old = ctx.arg::<u64>(1) as u8;
    let new = ctx.arg::<u64>(2) as u8;
    let mut reads = Reads::new();
    // SAFETY: fields of the hook's struct sock argument.
    let (family, local_port, remote_port): (u16, u16, u16) = unsafe {
        (
            reads.typed(sock, offset!(sock_family)),
            reads.typed(sock, offset!(sock_num)),
            u16::from_be(reads.typed(sock, offset!(sock_dport))),
        )
    };
    if !takes_transition(turn, sock, (local_port, remote_port), new) || !enabled() {
        return 0;
    }
    if family != AF_INET && family != AF_INET6 {
        return 0;
    }
    if new == TCP_LISTEN && watched(bpf_get_current_pid_tgid() as u32) {
        follow_port(local_port);
    }
    let passive_open = old == TCP_SYN_RECV && new == TCP_ESTABLISHED;
    // SAFETY: as above.
    let net: u64 = unsafe { reads.typed(sock, offset!(sock_net)) };
    let netns: u32 = reads.kernel(net as *const u8, offset!(net_inum));
    let wanted = wanted_netns();
    let followed = follows_port(local_port) && (wanted == 0 || wanted == netns);
    if passive_open && let Some(slot) = SLOT.get_ptr_mut(0) {
        // SAFETY: this CPU's slot.
        unsafe { (*slot).conn = if followed { sock as u64 } else { 0 } };
    }
    if followed {
        let ends = Ends {
            family,
            local_port,
            remote_port,
            netns,
        };
        send(&mut reads, sock, (old, new), &ends);
    }
    reads.done();
    0
}

struct Ends {
    family: u16,
    local_port: u16,
    remote_port: u16,
    netns: u32,
}

#[inline(always)]
fn send(reads: &mut Reads, sock: *const u8, (old, new): (u8, u8), ends: &Ends) {
    emit::<SockState>(|state| {
        // SAFETY: `state` points to room for the whole payload.
        unsafe {
            state.write(SockState {
                sock: sock as u64,
                netns: ends.netns,
                family: ends.family,
                old,
                new,
                local_port: ends.local_port,
                remote_port: ends.remote_port,
                _pad: 0,
                local_addr: [0; 16],
                remote_addr: [0; 16],
            });
            let (local, remote) = (&raw mut (*state).local_addr, &raw mut (*state).remote_addr);
            if ends.family == AF_INET {
                reads.kernel_into::<[u8; 4]>(sock, offset!(sock_saddr), local.cast());
                reads.kernel_into::<[u8; 4]>(sock, offset!(sock_daddr), remote.cast());
            } else {
                reads.kernel_into::<[u8; 16]>(sock, offset!(sock_saddr6), local);
                reads.kernel_into::<[u8; 16]>(sock, offset!(sock_daddr6), remote);
            }
        }
    });
}

/// Since 6.4 (net/core/sock.c, sock_def_readable's callers); says which listener of a group became ready.
#[btf_tracepoint(function = "sk_data_ready")]
pub fn sk_data_ready(ctx: BtfTracePointContext) -> i32 {
    if !enabled() {
        return 0;
    }
    let conn = match SLOT.get_ptr(0) {
        // SAFETY: this CPU's slot.
        Some(slot) => unsafe { (*slot).conn },
        None => 0,
    };
    let sock = ctx.arg::<*const u8>(0);
    let mut reads = Reads::new();
    // SAFETY: fields of the hook's struct sock argument.
    let (state, local_port): (u8, u16) = unsafe {
        (
            reads.typed(sock, offset!(sock_state)),
            reads.typed(sock, offset!(sock_num)),
        )
    };
    reads.done();
    if state != TCP_LISTEN || !follows_port(local_port) {
        return 0;
    }
    emit::<DataReady>(|ready| {
        // SAFETY: `ready` points to room for the whole payload.
        unsafe {
            ready.write(DataReady {
                sock: sock as u64,
                conn,
                local_port,
                _pad: [0; 3],
            })
        }
    });
    0
}
