//! Names of io_uring's operations: a number of the ABI never changes its meaning (include/uapi/linux/io_uring.h).

#[rustfmt::skip]
const NAMES: [&str; 63] = [
    "NOP", "READV", "WRITEV", "FSYNC", "READ_FIXED", "WRITE_FIXED", "POLL_ADD", "POLL_REMOVE",
    "SYNC_FILE_RANGE", "SENDMSG", "RECVMSG", "TIMEOUT", "TIMEOUT_REMOVE", "ACCEPT", "ASYNC_CANCEL",
    "LINK_TIMEOUT", "CONNECT", "FALLOCATE", "OPENAT", "CLOSE", "FILES_UPDATE", "STATX", "READ", "WRITE",
    "FADVISE", "MADVISE", "SEND", "RECV", "OPENAT2", "EPOLL_CTL", "SPLICE", "PROVIDE_BUFFERS",
    "REMOVE_BUFFERS", "TEE", "SHUTDOWN", "RENAMEAT", "UNLINKAT", "MKDIRAT", "SYMLINKAT", "LINKAT",
    "MSG_RING", "FSETXATTR", "SETXATTR", "FGETXATTR", "GETXATTR", "SOCKET", "URING_CMD", "SEND_ZC",
    "SENDMSG_ZC", "READ_MULTISHOT", "WAITID", "FUTEX_WAIT", "FUTEX_WAKE", "FUTEX_WAITV",
    "FIXED_FD_INSTALL", "FTRUNCATE", "BIND", "LISTEN", "RECV_ZC", "EPOLL_WAIT", "READV_FIXED",
    "WRITEV_FIXED", "PIPE",
];

/// `READ`; a number that is newer than this table as such.
pub fn opcode(number: u8) -> String {
    let known = NAMES.get(usize::from(number));
    known.map_or_else(|| format!("{number}"), |name| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::opcode;

    #[test]
    fn names_stand_at_their_numbers() {
        for (number, name) in [
            (0, "NOP"),
            (22, "READ"),
            (27, "RECV"),
            (40, "MSG_RING"),
            (62, "PIPE"),
        ] {
            assert_eq!(opcode(number), name);
        }
        assert_eq!(opcode(200), "200");
    }
}
