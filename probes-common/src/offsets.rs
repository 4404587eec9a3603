//! Struct offsets that user space reads from the running kernel's BTF and passes in as read-only globals.
//!
//! A path is `struct.member.member`; the alternatives of one entry are tried in order. What no alternative
//! finds is [`ABSENT`], which programs test before use (the verifier removes the dead branch).

/// The field does not exist on this kernel.
pub const ABSENT: u32 = u32::MAX;

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
    skb_dev: "sk_buff.dev",
    dev_net: "net_device.nd_net.net",
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
}
