//! Hooks on files, pages and disks.

use super::{
    Aligned, Instrument, Object, Rung, TRACEPOINT, copy, function, named, returning, tracepoint,
};

pub static BLOCK: Instrument = Instrument {
    name: "block",
    question: "What became of each request of a disk, how long did it wait and work, and whose was it?",
    object: object!("block"),
    hooks: &[
        twice!("block_bio_queue", "what was asked of a disk is not known"),
        twice!(
            "block_bio_backmerge",
            "merges are seen only as fewer requests"
        ),
        twice!(
            "block_bio_frontmerge",
            "merges are seen only as fewer requests"
        ),
        twice!("block_split", "splits are seen only as more requests"),
        twice!(
            "block_bio_remap",
            "how much came through partitions and mappers is not known"
        ),
        twice!(
            "block_bio_complete",
            "bios that drivers end themselves are not seen"
        ),
        twice!(
            "block_getrq",
            "who submitted a request, and when, is known only from its insertion on"
        ),
        twice!(
            "block_plug",
            "how requests were held back for merging is not seen"
        ),
        twice!(
            "block_unplug",
            "how requests were held back for merging is not seen"
        ),
        twice!(
            "block_rq_insert",
            "when a request came to the scheduler is not known"
        ),
        twice!("block_rq_merge", "merges are seen only as fewer requests"),
        twice!(
            "block_rq_issue",
            "nothing says when a request went to the driver"
        ),
        twice!(
            "block_rq_requeue",
            "requests that the driver gave back look slow"
        ),
        twice!("block_rq_complete", "nothing says when a request was done"),
        twice!(
            "block_inode_dirty" of "writeback_mark_inode_dirty",
            "who dirtied what a kernel worker writes back is not known"
        ),
    ],
};

pub static PAGE_CACHE: Instrument = Instrument {
    name: "page_cache",
    question: "What comes into the page cache, was it there when asked for, who dirties and writes it back?",
    object: object!("page_cache"),
    hooks: &[
        twice!(
            "mm_filemap_add_to_page_cache",
            "nothing says what came into the page cache"
        ),
        twice!(
            "mm_filemap_delete_from_page_cache",
            "what leaves the page cache, used or not, is not seen"
        ),
        twice!(
            "writeback_dirty_folio",
            "who dirtied a page is not seen (5.10 has writeback_dirty_page instead)"
        ),
        twice!(
            "writeback_dirty_page",
            "who dirtied a page is not seen (6.1 and later have writeback_dirty_folio instead)"
        ),
        twice!(
            "page_cache_bio" of "block_bio_queue",
            "who writes pages back, and when, is not seen"
        ),
        twice!("page_cache_enter" of "sys_enter", "what a read call asks for is not known"),
        twice!("page_cache_exit" of "sys_exit", "what a read call got is not known"),
        twice!(
            "page_cache_fault" of "page_fault_user",
            "page faults are known from the process's own counts only"
        ),
        tracepoint(
            "mm_filemap_get_pages",
            "look-ups are known from the read calls alone",
        ),
        tracepoint(
            "mm_filemap_fault",
            "on which file a page fault was is known only where a page came in",
        ),
        tracepoint(
            "mm_filemap_map_pages",
            "faults that map pages around them are not told apart",
        ),
        tracepoint("page_cache_sync_ra", READ_AHEAD),
        tracepoint("page_cache_async_ra", READ_AHEAD),
        tracepoint("mm_lru_activate", "which pages became active is not seen"),
    ],
};

pub static URING: Instrument = Instrument {
    name: "uring",
    question: "Which way did each request of io_uring take: inline, by poll, by a worker, and how long?",
    object: object!("uring"),
    hooks: &[
        twice!(
            "io_uring_submit_req",
            "requests are not known (up to 6.1 io_uring_submit_sqe tells them)"
        ),
        twice!(
            "io_uring_submit_sqe",
            "requests are not known (since 6.5 io_uring_submit_req tells them)"
        ),
        twice!(
            "io_uring_poll_arm",
            "a request that waits for its file looks as if a device had it"
        ),
        twice!(
            "io_uring_queue_async_work",
            "a request that a worker does looks as if a device had it"
        ),
        twice!(
            "io_uring_complete",
            "nothing says when a request was complete"
        ),
        tracepoint(
            "io_uring_cqe_overflow",
            "completions that found no room are not seen (before 5.16 none are)",
        ),
    ],
};

pub static COPY: Instrument = Instrument {
    name: "copy",
    question: "Was the payload of a connection copied, or did packets hold the sender's own pages?",
    object: object!("copy"),
    hooks: &[
        tracepoint(
            "net_dev_queue",
            "nothing says whose pages a packet leaves with",
        ),
        twice!(
            "skb_copy_datagram_iovec",
            "nothing says whose pages a packet arrives with"
        ),
        tracepoint(
            "mm_page_alloc",
            "pages allocated for copies are not counted",
        ),
        tracepoint("page_fault_user", "page faults are counted by rusage only"),
        tracepoint(
            "page_fault_kernel",
            "page faults inside system calls are not told apart",
        ),
        function(
            "tcp_sendmsg_turn",
            "tcp_sendmsg_locked",
            TRACEPOINT,
            "the kind of memory that TCP was given is not seen by turn",
        ),
        function(
            "tcp_sendmsg_locked",
            "tcp_sendmsg_locked",
            &[Rung::Fexit],
            "bytes given to TCP by kind of memory are derived from the pages of packets",
        ),
        function(
            "do_tcp_sendpages",
            "do_tcp_sendpages",
            &[Rung::Fexit],
            "bytes given to TCP as pages are derived from the pages of packets",
        ),
        returning("generic_file_read_iter", READS),
        returning("shmem_file_read_iter", READS),
    ],
};

const READ_AHEAD: &str =
    "whether read-ahead was synchronous is concluded from what its call found missing";

const READS: &str = "bytes read into user memory are derived from what read() returned";
