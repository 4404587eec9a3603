//! The sentences of block-io, written before measuring.

use crate::evidence::Claim;

/// A request holds at least this many writes, or this many reads, of one page.
pub const FEW: u64 = 16;

pub static CLAIMS: [Claim; 3] = [
    Claim {
        id: "block-io/merges",
        number: "raw_requests_count",
        statement: "Small sequential writes leave as few large requests.",
        holds_if: "on ext4, xfs and the raw device: written back, the pages of N one-page writes are all in at \
                   most N/16 requests, and each of 64 one-page O_DIRECT writes is a request of one page",
        refuted_if: "on any of them more than N/16 requests carry the pages",
    },
    Claim {
        id: "block-io/reads-ahead",
        number: "raw_first_read_bytes",
        statement: "A sequential reader's disk is asked for more than the reader has asked for.",
        holds_if: "on ext4, xfs and the raw device, cold: the first read of one page at the begin brings in more \
                   than that page, the reads that follow need at most one request for 16 of them, and with \
                   POSIX_FADV_RANDOM each read of one page is one request of one page",
        refuted_if: "on any of them the first read brings in its page alone, or sequential reads need a request \
                     for fewer than 16 of them",
    },
    Claim {
        id: "block-io/true-dirtier",
        number: "raw_misnamed_count",
        statement: "Who submits a write is not who wrote: another task writes back, and the page's inode leads to \
                    the process that made it dirty.",
        holds_if: "on ext4, xfs and the raw device: of the pages that a process wrote and somebody else \
                   synchronised, every request was submitted by another task than the writer, the writer's name \
                   found through the inode is right for each, and their bytes are the writer's",
        refuted_if: "a request was submitted by the writer, or the inode names somebody else",
    },
];
