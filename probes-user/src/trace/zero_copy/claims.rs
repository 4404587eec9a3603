//! What is claimed, and what would refute it; written before anything was measured.

use crate::evidence::Claim;

pub static CLAIMS: [Claim; 6] = [
    Claim {
        id: "zero-copy/read-write-copies-twice",
        number: "read_bytes",
        statement: "Sending a file by read() and write() copies every byte twice: to user memory and back into the \
                    kernel.",
        holds_if: "read() returned and write() took every byte of the file (own count, counted calls and /proc/PID/io \
                   agree), the reader's own memory then held the file's end, and every byte of payload left in \
                   memory that belongs to no file; with sendfile() on the same hooks none did",
        refuted_if: "a byte left in a page of the file",
    },
    Claim {
        id: "zero-copy/sendfile-copies-nothing-to-user",
        number: "left_elsewhere_bytes",
        statement: "sendfile() of a file to a socket copies nothing to user memory, and nothing into the socket: packets \
                    leave with the file's own pages.",
        holds_if: "the sender made no call that reads or writes, and every byte of payload left in a page of the \
                   file (by inode); with read() and write() on the same hooks none did",
        refuted_if: "a byte left in memory that is not the file's",
    },
    Claim {
        id: "zero-copy/sendfile-halves-switches",
        number: "share_ratio",
        statement: "For pieces of one size sendfile() makes half the mode switches of read() and write(): two instead of \
                    four each.",
        holds_if: "mode switches (entries and returns of system calls) of sendfile() in pieces of 64 KiB are 0.45 to \
                   0.55 of those of read() and write() in pieces of 64 KiB; context switches are told beside",
        refuted_if: "any other share",
    },
    Claim {
        id: "zero-copy/in-fd-must-be-file",
        number: "not_mappable_accepted_count",
        statement: "sendfile() reads only from a file that can be mapped: not from a pipe, a socket, a device or a file of \
                    /proc.",
        holds_if: "no kind of in_fd from which sendfile() moves a byte refuses mmap(); pipes and sockets are refused, \
                   a file in memory and one on a file system are not",
        refuted_if: "sendfile() moves a byte out of something that mmap() refuses, or out of a pipe or a socket",
    },
    Claim {
        id: "zero-copy/out-fd-must-be-socket",
        number: "not_sockets_accepted_count",
        statement: "sendfile() writes only to a socket.",
        holds_if: "no kind of out_fd but sockets takes a byte, and a TCP socket does",
        refuted_if: "sendfile() moves a byte to something that is no socket",
    },
    Claim {
        id: "zero-copy/zerocopy-falls-back",
        number: "copied_count",
        statement: "Over loopback MSG_ZEROCOPY silently becomes a copy.",
        holds_if: "every send is completed with SO_EE_CODE_ZEROCOPY_COPIED, every byte left in the sender's page \
                   and arrived in another; with sendfile() on the same hooks at least 99 % of the bytes arrived in \
                   the file's page",
        refuted_if: "a completion says that nothing was copied, or a byte arrived in the sender's page",
    },
];
