//! Struct offsets that user space reads from the running kernel's BTF and passes in as read-only globals.
//!
//! A path is `struct.member.member`; the alternatives of one entry are tried in order. What no alternative
//! finds is [`ABSENT`], which programs test before use (the verifier removes the dead branch).

/// The field does not exist on this kernel.
pub const ABSENT: u32 = u32::MAX;

/// A bit field within one byte as an entry of the table: the byte's offset, then shift and width. The width
/// makes it no offset at all, so that no program can take it for one by mistake.
pub const fn packed_bits(offset: u32, shift: u8, width: u8) -> u32 {
    offset | (shift as u32) << 16 | (width as u32) << 24
}

/// Offset, shift and width of such an entry.
pub const fn unpacked_bits(entry: u32) -> (u32, u8, u8) {
    (entry & 0xffff, (entry >> 16) as u8, (entry >> 24) as u8)
}

macro_rules! offsets {
    ($($(#[$doc:meta])* $field:ident: $($path:literal)|+),* $(,)?) => {
        /// Byte offsets, one `u32` each.
        #[derive(Clone, Copy)]
        #[cfg_attr(feature = "user", derive(Debug, PartialEq, Eq))]
        #[repr(C)]
        pub struct Offsets { $($(#[$doc])* pub $field: u32),* }

        impl Offsets {
            pub const NONE: Offsets = Offsets { $($field: ABSENT),* };
            /// Field names with their BTF paths, in the order of the struct.
            pub const PATHS: &'static [(&'static str, &'static [&'static str])] =
                &[$((stringify!($field), &[$($path),+])),*];
            pub const LEN: usize = Self::PATHS.len();

            /// Builds the table from values in the order of [`Self::PATHS`].
            pub const fn from_values(values: [u32; Self::LEN]) -> Offsets {
                // SAFETY: Offsets is repr(C) and consists of LEN u32 fields, nothing else.
                unsafe { core::mem::transmute::<[u32; Self::LEN], Offsets>(values) }
            }

            pub const fn to_values(self) -> [u32; Self::LEN] {
                // SAFETY: as above, in the other direction.
                unsafe { core::mem::transmute::<Offsets, [u32; Self::LEN]>(self) }
            }
        }
    };
}

offsets! {
    task_pid: "task_struct.pid",
    task_tgid: "task_struct.tgid",
    task_comm: "task_struct.comm",
    task_cgroups: "task_struct.cgroups",
    css_set_dfl_cgrp: "css_set.dfl_cgrp",
    cgroup_kn: "cgroup.kn",
    kernfs_id: "kernfs_node.id",
    /// 4 bytes since 5.14 (`__state`), 8 before.
    task_state: "task_struct.__state" | "task_struct.state",
    task_files: "task_struct.files",
    files_fdt: "files_struct.fdt",
    fdt_max_fds: "fdtable.max_fds",
    fdt_fd: "fdtable.fd",
    file_inode: "file.f_inode",
    file_private: "file.private_data",
    inode_mode: "inode.i_mode",
    socket_sk: "socket.sk",
    sock_family: "sock.__sk_common.skc_family",
    sock_state: "sock.__sk_common.skc_state",
    sock_num: "sock.__sk_common.skc_num",
    sock_dport: "sock.__sk_common.skc_dport",
    sock_saddr: "sock.__sk_common.skc_rcv_saddr",
    sock_daddr: "sock.__sk_common.skc_daddr",
    sock_saddr6: "sock.__sk_common.skc_v6_rcv_saddr",
    sock_daddr6: "sock.__sk_common.skc_v6_daddr",
    sock_net: "sock.__sk_common.skc_net.net",
    net_inum: "net.ns.inum",
    wait_flags: "wait_queue_entry.flags",
    wait_private: "wait_queue_entry.private",
    eppoll_wait: "eppoll_entry.wait",
    eppoll_base: "eppoll_entry.base",
    epitem_events: "epitem.event.events",
    regs_nr: "pt_regs.orig_ax",
    regs_arg0: "pt_regs.di",
    regs_arg1: "pt_regs.si",
    regs_arg2: "pt_regs.dx",
    regs_arg3: "pt_regs.r10",
    sock_cookie: "sock.__sk_common.skc_cookie",
    sock_protocol: "sock.sk_protocol",
    sock_uid: "sock.sk_uid",
    sock_err: "sock.sk_err",
    sock_shutdown: "sock.sk_shutdown",
    sock_ack_backlog: "sock.sk_ack_backlog",
    sock_max_ack_backlog: "sock.sk_max_ack_backlog",
    /// Stays when the port is given back, which `sock_num` does not.
    inet_sport: "inet_sock.inet_sport",
    icsk_qlen: "inet_connection_sock.icsk_accept_queue.qlen",
    icsk_young: "inet_connection_sock.icsk_accept_queue.young",
    icsk_rto: "inet_connection_sock.icsk_rto",
    /// Shares its byte on every kernel so far.
    icsk_ca_state: "inet_connection_sock.icsk_ca_state",
    icsk_retransmits: "inet_connection_sock.icsk_retransmits",
    icsk_pending: "inet_connection_sock.icsk_pending",
    icsk_backoff: "inet_connection_sock.icsk_backoff",
    icsk_probes_out: "inet_connection_sock.icsk_probes_out",
    tcp_bytes_acked: "tcp_sock.bytes_acked",
    tcp_bytes_received: "tcp_sock.bytes_received",
    tcp_snd_una: "tcp_sock.snd_una",
    tcp_snd_nxt: "tcp_sock.snd_nxt",
    tcp_write_seq: "tcp_sock.write_seq",
    tcp_rcv_nxt: "tcp_sock.rcv_nxt",
    tcp_copied_seq: "tcp_sock.copied_seq",
    tcp_snd_wnd: "tcp_sock.snd_wnd",
    tcp_packets_out: "tcp_sock.packets_out",
    tcp_retrans_out: "tcp_sock.retrans_out",
    tcp_total_retrans: "tcp_sock.total_retrans",
    tcp_srtt_us: "tcp_sock.srtt_us",
    tcp_tstamp_ok: "tcp_sock.rx_opt.tstamp_ok",
    tcp_wscale_ok: "tcp_sock.rx_opt.wscale_ok",
    tcp_sack_ok: "tcp_sock.rx_opt.sack_ok",
    tcp_snd_wscale: "tcp_sock.rx_opt.snd_wscale",
    tcp_rcv_wscale: "tcp_sock.rx_opt.rcv_wscale",
    skb_cb: "sk_buff.cb",
    skb_head: "sk_buff.head",
    skb_network: "sk_buff.network_header",
    skb_transport: "sk_buff.transport_header",
    skb_protocol: "sk_buff.protocol",
    skb_sk: "sk_buff.sk",
    skb_dev: "sk_buff.dev",
    skb_dst: "sk_buff._skb_refdst",
    dst_dev: "dst_entry.dev",
    dev_net: "net_device.nd_net.net",
    /// Within `skb_cb`.
    cb_seq: "tcp_skb_cb.seq",
    cb_end_seq: "tcp_skb_cb.end_seq",
    /// One byte up to 6.17, two since; the low byte is that of the wire.
    cb_flags: "tcp_skb_cb.tcp_flags",
    req_num_retrans: "request_sock.num_retrans",
    req_num_timeout: "request_sock.num_timeout",
    timer_expires: "timer_list.expires",
    timer_function: "timer_list.function",
    /// The timer within its socket, by the function it runs: `tcp_write_timer` …
    write_timer: "sock.tcp_retransmit_timer" | "inet_connection_sock.icsk_retransmit_timer",
    keepalive_timer: "inet_connection_sock.icsk_keepalive_timer" | "sock.sk_timer",
    delack_timer: "inet_connection_sock.icsk_delack_timer",
    tw_timer: "inet_timewait_sock.tw_timer",
    /// FIN_WAIT2 or TIME_WAIT: its `skc_state` says TIME_WAIT in both.
    tw_substate: "inet_timewait_sock.tw_substate",
    req_timer: "request_sock.rsk_timer",
    req_listener: "request_sock.__req_common.skc_listener",
    folio_mapping: "folio.mapping" | "page.mapping",
    /// Of a tail page: where its head is.
    page_compound_head: "page.compound_head" | "page.compound_info",
    mapping_host: "address_space.host",
    inode_ino: "inode.i_ino",
    inode_rdev: "inode.i_rdev",
    inode_mapping: "inode.i_mapping",
    inode_sb: "inode.i_sb",
    sb_dev: "super_block.s_dev",
    bio_opf: "bio.bi_opf",
    bio_size: "bio.bi_iter.bi_size",
    bio_io_vec: "bio.bi_io_vec",
    bio_idx: "bio.bi_iter.bi_idx",
    bvec_page: "bio_vec.bv_page",
    /// Up to 5.11.
    bio_disk: "bio.bi_disk",
    bio_bdev: "bio.bi_bdev",
    bdev_disk: "block_device.bd_disk",
    disk_major: "gendisk.major",
    disk_first_minor: "gendisk.first_minor",
    disk_queue: "gendisk.queue",
    rq_queue: "request.q",
    /// Up to 5.16; since 5.15 the queue knows its disk.
    rq_disk: "request.rq_disk",
    queue_disk: "request_queue.disk",
    rq_flags: "request.cmd_flags",
    rq_sector: "request.__sector",
    rq_len: "request.__data_len",
    rq_bio: "request.bio",
    kiocb_ctx: "io_kiocb.ctx",
    kiocb_opcode: "io_kiocb.opcode",
    kiocb_user_data: "io_kiocb.cqe.user_data" | "io_kiocb.user_data",
    folio_index: "folio.index" | "page.index",
    page_flags: "page.flags",
    /// Valid of a large folio.
    folio_nr_pages: "folio._nr_pages" | "folio._folio_nr_pages",
    /// The same on 5.10, within the second page.
    page_compound_nr: "page.compound_nr",
    mapping_nrpages: "address_space.nrpages",
    inode_dentry: "inode.i_dentry",
    sb_magic: "super_block.s_magic",
    dentry_alias: "dentry.d_u.d_alias" | "dentry.d_alias",
    dentry_name: "dentry.d_name.name",
    file_mapping: "file.f_mapping",
    file_flags: "file.f_flags",
    file_pos: "file.f_pos",
    regs_arg4: "pt_regs.r8",
    skb_data: "sk_buff.data",
    skb_end: "sk_buff.end",
    skb_len: "sk_buff.len",
    skb_data_len: "sk_buff.data_len",
    shinfo_nr_frags: "skb_shared_info.nr_frags",
    shinfo_frags: "skb_shared_info.frags",
    frag_page: "skb_frag.netmem" | "bio_vec.bv_page",
    frag_len: "skb_frag.len" | "bio_vec.bv_len",
    page_compound: "page.compound_head" | "page.compound_info",
    page_mapping: "page.mapping",
    msg_iter: "msghdr.msg_iter",
    iter_type: "iov_iter.iter_type" | "iov_iter.type",
}
