//! What the fields are on each kernel: read once from the same files with `bpftool btf dump format raw`, an
//! independent reader, and written down.

use super::super::{Bits, Field};

type Cell = Option<Field>;
type Row = (&'static str, [Cell; 5]);

const NONE: Cell = None;

const fn at(offset: u32, size: u32) -> Cell {
    Some(Field {
        offset,
        size,
        bits: None,
    })
}

const fn bits(offset: u32, size: u32, shift: u8, width: u8) -> Cell {
    Some(Field {
        offset,
        size,
        bits: Some(Bits { shift, width }),
    })
}

/// Entries of the shared offsets table, by name.
#[rustfmt::skip]
pub const OFFSETS: &[Row] = &[
    ("task_pid", [at(2232, 4), at(2416, 4), at(2432, 4), at(1264, 4), at(2808, 4)]),
    ("task_tgid", [at(2236, 4), at(2420, 4), at(2436, 4), at(1268, 4), at(2812, 4)]),
    ("task_comm", [at(2736, 16), at(2976, 16), at(2976, 16), at(1752, 16), at(3344, 16)]),
    ("task_state", [at(16, 8), at(24, 4), at(24, 4), at(24, 4), at(24, 4)]),
    ("task_files", [at(2808, 8), at(3048, 8), at(3048, 8), at(1824, 8), at(3416, 8)]),
    ("files_fdt", [at(32, 8), at(32, 8), at(32, 8), at(32, 8), at(32, 8)]),
    ("fdt_max_fds", [at(0, 4), at(0, 4), at(0, 4), at(0, 4), at(0, 4)]),
    ("fdt_fd", [at(8, 8), at(8, 8), at(8, 8), at(8, 8), at(8, 8)]),
    ("file_inode", [at(32, 8), at(32, 8), at(40, 8), at(32, 8), at(32, 8)]),
    ("file_private", [at(200, 8), at(200, 8), at(32, 8), at(24, 8), at(24, 8)]),
    ("inode_mode", [at(0, 2), at(0, 2), at(0, 2), at(0, 2), at(0, 2)]),
    ("socket_sk", [at(24, 8), at(24, 8), at(24, 8), at(24, 8), at(24, 8)]),
    ("sock_family", [at(16, 2), at(16, 2), at(16, 2), at(16, 2), at(16, 2)]),
    ("sock_state", [at(18, 1), at(18, 1), at(18, 1), at(18, 1), at(18, 1)]),
    ("sock_num", [at(14, 2), at(14, 2), at(14, 2), at(14, 2), at(14, 2)]),
    ("sock_dport", [at(12, 2), at(12, 2), at(12, 2), at(12, 2), at(12, 2)]),
    ("sock_saddr", [at(4, 4), at(4, 4), at(4, 4), at(4, 4), at(4, 4)]),
    ("sock_daddr", [at(0, 4), at(0, 4), at(0, 4), at(0, 4), at(0, 4)]),
    ("sock_saddr6", [at(72, 16), at(72, 16), at(72, 16), at(72, 16), at(72, 16)]),
    ("sock_daddr6", [at(56, 16), at(56, 16), at(56, 16), at(56, 16), at(56, 16)]),
    ("sock_net", [at(48, 8), at(48, 8), at(48, 8), at(48, 8), at(48, 8)]),
    ("net_inum", [at(136, 4), at(144, 4), at(136, 4), at(176, 4), at(280, 4)]),
    ("skb_dev", [at(16, 8), at(16, 8), at(16, 8), at(16, 8), at(16, 8)]),
    ("dev_net", [at(1264, 8), at(1280, 8), at(280, 8), at(264, 8), at(264, 8)]),
    ("wait_flags", [at(0, 4), at(0, 4), at(0, 4), at(0, 4), at(0, 4)]),
    ("wait_private", [at(8, 8), at(8, 8), at(8, 8), at(8, 8), at(8, 8)]),
    ("eppoll_wait", [at(24, 40), at(16, 40), at(16, 40), at(16, 40), at(16, 40)]),
    ("eppoll_base", [at(16, 8), at(8, 8), at(8, 8), at(8, 8), at(8, 8)]),
    ("epitem_events", [at(112, 4), at(104, 4), at(104, 4), at(104, 4), at(104, 4)]),
    ("regs_nr", [at(120, 8), at(120, 8), at(120, 8), at(120, 8), at(120, 8)]),
    ("regs_arg0", [at(112, 8), at(112, 8), at(112, 8), at(112, 8), at(112, 8)]),
    ("regs_arg1", [at(104, 8), at(104, 8), at(104, 8), at(104, 8), at(104, 8)]),
    ("regs_arg2", [at(96, 8), at(96, 8), at(96, 8), at(96, 8), at(96, 8)]),
    ("regs_arg3", [at(56, 8), at(56, 8), at(56, 8), at(56, 8), at(56, 8)]),
];

/// Other paths: renamed and vanished fields, bit fields, anonymous members, arrays, whole structs.
#[rustfmt::skip]
pub const PATHS: &[Row] = &[
    ("task_struct.state", [at(16, 8), NONE, NONE, NONE, NONE]),
    ("task_struct.__state", [NONE, at(24, 4), at(24, 4), at(24, 4), at(24, 4)]),
    ("task_struct.exit_state", [at(2132, 4), at(2308, 4), at(2328, 4), at(1160, 4), at(2704, 4)]),
    ("task_struct.in_iowait", [bits(2168, 4, 2, 1), bits(2344, 4, 3, 1), bits(2360, 4, 4, 1), bits(1193, 4, 0, 1), bits(2736, 4, 3, 1)]),
    ("task_struct.se.vruntime", [at(208, 8), at(208, 8), at(240, 8), at(248, 8), at(248, 8)]),
    ("task_struct.thread_info.cpu", [NONE, at(20, 4), at(20, 4), at(20, 4), at(20, 4)]),
    ("task_struct.cpu", [at(64, 4), NONE, NONE, NONE, NONE]),
    ("signal_struct.rlim", [at(672, 256), at(688, 256), at(680, 256), at(680, 256), at(704, 256)]),
    ("file.f_path.dentry", [at(24, 8), at(24, 8), at(72, 8), at(72, 8), at(72, 8)]),
    ("dentry.d_name.name", [at(40, 8), at(40, 8), at(40, 8), at(40, 8), at(40, 8)]),
    ("folio.mapping", [NONE, at(24, 8), at(24, 8), at(24, 8), at(24, 8)]),
    ("page.mapping", [at(24, 8), at(24, 8), at(24, 8), at(24, 8), at(24, 8)]),
    ("folio._nr_pages", [NONE, NONE, NONE, at(120, 4), at(120, 4)]),
    ("request_sock.syncookie", [bits(147, 1, 0, 1), bits(147, 1, 0, 1), bits(147, 1, 0, 1), bits(147, 1, 0, 1), bits(147, 1, 0, 1)]),
    ("request_sock.num_timeout", [bits(147, 1, 1, 7), bits(147, 1, 1, 7), bits(147, 1, 1, 7), bits(147, 1, 1, 7), bits(147, 1, 1, 7)]),
    ("sock.__sk_common.skc_reuseport", [bits(19, 1, 4, 1), bits(19, 1, 4, 1), bits(19, 1, 4, 1), bits(19, 1, 4, 1), bits(19, 1, 4, 1)]),
    ("sock.sk_rcvbuf", [at(268, 4), at(280, 4), at(244, 4), at(244, 4), at(244, 4)]),
    ("sock.sk_ack_backlog", [at(576, 4), at(552, 4), at(604, 4), at(600, 4), at(616, 4)]),
    ("inet_connection_sock.icsk_timeout", [at(1056, 8), at(1088, 8), at(1088, 8), NONE, NONE]),
    ("inet_connection_sock.icsk_accept_queue.qlen", [at(980, 4), at(1004, 4), at(1004, 4), at(1024, 4), at(1056, 4)]),
    ("tcp_sock.snd_nxt", [at(1428, 4), at(1476, 4), at(1716, 4), at(1668, 4), at(1772, 4)]),
    ("tcp_sock.rx_opt.sack_ok", [bits(1716, 2, 4, 3), bits(1764, 2, 4, 3), bits(1772, 2, 4, 3), bits(1744, 2, 4, 3), bits(1844, 2, 4, 3)]),
    ("tcp_sock.rx_opt.snd_wscale", [bits(1717, 2, 0, 4), bits(1765, 2, 0, 4), bits(1773, 2, 0, 4), bits(1745, 2, 0, 4), bits(1845, 2, 0, 4)]),
    ("sk_buff.transport_header", [at(178, 2), at(182, 2), at(182, 2), at(178, 2), at(182, 2)]),
    ("epitem.ffd", [at(48, 12), at(48, 12), at(48, 12), at(48, 12), at(48, 12)]),
    ("epitem.event", [at(112, 12), at(104, 12), at(104, 12), at(104, 12), at(104, 12)]),
    ("io_kiocb.opcode", [at(72, 1), at(64, 1), at(64, 1), at(64, 1), at(64, 1)]),
    ("task_struct", [at(0, 9344), at(0, 9728), at(0, 9792), at(0, 3264), at(0, 6080)]),
    ("sock", [at(0, 760), at(0, 776), at(0, 776), at(0, 784), at(0, 800)]),
    ("tcp_sock", [at(0, 2216), at(0, 2280), at(0, 2368), at(0, 2304), at(0, 2432)]),
    ("sk_buff", [at(0, 224), at(0, 232), at(0, 232), at(0, 224), at(0, 232)]),
];
