//! What `tcp_sock` says at an event, read field by field to where the record lies.
//!
//! Thirty reads by a helper are most of what such an event costs. Where the socket is the hook's own argument
//! the kernel says that it is one of TCP, and its fields are loaded directly.

use aya_ebpf::helpers::generated::bpf_skc_to_tcp_sock;
use probes_common::tcp::{OPT_SACK, OPT_TSTAMP, OPT_WSCALE, TcpSnap};

use crate::globals::direct;
use crate::inet::has_only_head;
use crate::offset;
use crate::read::Reads;

macro_rules! copy {
    ($reads:ident, $sock:ident, $to:ident, $($field:ident: $offset:ident),* $(,)?) => {
        $(
            let at = offset!($offset);
            // SAFETY: a field of a socket, and one of a record with room for it.
            unsafe { field_into::<TYPED, _>($reads, $sock, at, &raw mut (*$to).$field) };
        )*
    };
}

/// # Safety
/// `to` has room; `TYPED`: `sock` is one of TCP by the verifier's knowledge.
#[inline(always)]
unsafe fn field_into<const TYPED: bool, T: Copy + Default>(
    reads: &mut Reads,
    sock: *const u8,
    offset: u32,
    to: *mut T,
) {
    if TYPED {
        // SAFETY: the caller's promise.
        unsafe { to.write(reads.typed(sock, offset)) };
    } else {
        reads.kernel_into(sock, offset, to);
    }
}

/// As [`snap`], of a socket that is the hook's own argument, whole and of TCP.
///
/// # Safety
/// `to` has room for a snapshot.
#[inline(always)]
pub unsafe fn snap_typed(reads: &mut Reads, sock: *const u8, to: *mut TcpSnap) {
    // SAFETY: the caller's promise; the helper copes with any socket.
    unsafe {
        to.write(TcpSnap::default());
        if !direct() {
            return fields::<false>(reads, sock, to);
        }
        let tcp: *const u8 = bpf_skc_to_tcp_sock(sock.cast_mut().cast()).cast();
        if !tcp.is_null() {
            fields::<true>(reads, tcp, to);
        }
    }
}

/// Writes every byte of `to`. Sockets that are no more than a head give zeros.
///
/// # Safety
/// `to` has room for a snapshot.
#[inline(always)]
pub unsafe fn snap(reads: &mut Reads, sock: *const u8, state: u8, to: *mut TcpSnap) {
    // SAFETY: the caller's promise.
    unsafe { to.write(TcpSnap::default()) };
    if sock.is_null() || has_only_head(state) {
        return;
    }
    // SAFETY: as above.
    unsafe { fields::<false>(reads, sock, to) };
}

/// # Safety
/// As [`field_into`].
#[inline(always)]
unsafe fn fields<const TYPED: bool>(reads: &mut Reads, sock: *const u8, to: *mut TcpSnap) {
    copy!(reads, sock, to,
        bytes_acked: tcp_bytes_acked,
        bytes_received: tcp_bytes_received,
        snd_una: tcp_snd_una,
        snd_nxt: tcp_snd_nxt,
        write_seq: tcp_write_seq,
        rcv_nxt: tcp_rcv_nxt,
        copied_seq: tcp_copied_seq,
        snd_wnd: tcp_snd_wnd,
        packets_out: tcp_packets_out,
        retrans_out: tcp_retrans_out,
        total_retrans: tcp_total_retrans,
        rto: icsk_rto,
        ack_backlog: sock_ack_backlog,
        max_ack_backlog: sock_max_ack_backlog,
        request_qlen: icsk_qlen,
        request_young: icsk_young,
        pending: icsk_pending,
        backoff: icsk_backoff,
        retransmits: icsk_retransmits,
        shutdown: sock_shutdown,
    );
    let mut options = 0;
    if reads.bits(sock, offset!(tcp_tstamp_ok)) != 0 {
        options |= OPT_TSTAMP;
    }
    if reads.bits(sock, offset!(tcp_wscale_ok)) != 0 {
        options |= OPT_WSCALE;
    }
    if reads.bits(sock, offset!(tcp_sack_ok)) != 0 {
        options |= OPT_SACK;
    }
    let snd_wscale = reads.bits(sock, offset!(tcp_snd_wscale));
    let rcv_wscale = reads.bits(sock, offset!(tcp_rcv_wscale));
    let ca_state = reads.bits(sock, offset!(icsk_ca_state));
    let (mut srtt, at) = (0u32, offset!(tcp_srtt_us));
    // SAFETY: as above.
    unsafe { field_into::<TYPED, _>(reads, sock, at, &raw mut srtt) };
    // SAFETY: as above.
    unsafe {
        (*to).options = options;
        (*to).snd_wscale = snd_wscale;
        (*to).rcv_wscale = rcv_wscale;
        (*to).ca_state = ca_state;
        (*to).srtt_us = srtt >> 3;
    }
}
