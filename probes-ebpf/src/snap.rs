//! What `tcp_sock` says at an event, read field by field to where the record lies.

use probes_common::tcp::{OPT_SACK, OPT_TSTAMP, OPT_WSCALE, TcpSnap};

use crate::inet::has_only_head;
use crate::offset;
use crate::read::Reads;

macro_rules! copy {
    ($reads:ident, $sock:ident, $to:ident, $($field:ident: $offset:ident),* $(,)?) => {
        $(
            let at = offset!($offset);
            // SAFETY: a field of a record with room for it.
            unsafe { $reads.kernel_into($sock, at, &raw mut (*$to).$field) };
        )*
    };
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
    let srtt: u32 = reads.kernel(sock, offset!(tcp_srtt_us));
    // SAFETY: as above.
    unsafe {
        (*to).options = options;
        (*to).snd_wscale = snd_wscale;
        (*to).rcv_wscale = rcv_wscale;
        (*to).ca_state = ca_state;
        (*to).srtt_us = srtt >> 3;
    }
}
