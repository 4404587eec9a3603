//! Instrument `block`: each request of the followed disks from queue to end, and whose it is.
//!
//! What happens to bios and requests is counted per disk and class, the times of finished requests in
//! histograms per disk, operation and owner; a whole request is sent when it took longer than asked for. The
//! owner of written pages is whoever marked their inode dirty, looked up by the inode of the first page; the
//! task that submits is often a worker of the kernel's. Tracepoints only.
#![no_std]
#![no_main]

use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use probes_common::block::{
    BlockRequest, CLASS_OTHER, Dirtier, Origin, REQ_FUA, REQ_OP_MASK, REQ_OP_WRITE, REQ_PREFLUSH,
    REQUESTS_FULL, Total, UNKNOWN_END, class,
};
use probes_ebpf::again::Turn;
use probes_ebpf::blocks::disk::{self, Disk};
use probes_ebpf::blocks::page::inode_of_bio;
use probes_ebpf::blocks::rows::finished;
use probes_ebpf::blocks::{
    BLOCK_BIOS, BLOCK_DIRTIERS, BLOCK_REQUESTS, hook, phase, slower_than, takes, tally, tally_at,
    worker,
};
use probes_ebpf::emit::emit_as;
use probes_ebpf::filter::enabled;
use probes_ebpf::read::Reads;
use probes_ebpf::{config, offset};

/// A program with its second copy.
macro_rules! twice {
    ($hook:literal, $first:ident, $again:ident, $body:ident) => {
        #[btf_tracepoint(function = $hook)]
        pub fn $first(ctx: BtfTracePointContext) -> i32 {
            if enabled() {
                $body(&ctx, Turn::First);
            }
            0
        }

        #[btf_tracepoint(function = $hook)]
        pub fn $again(ctx: BtfTracePointContext) -> i32 {
            if enabled() {
                $body(&ctx, Turn::Later);
            }
            0
        }
    };
}

/// A bio of a followed disk.
struct Bio {
    address: u64,
    disk: Disk,
    bytes: u32,
    class: u32,
}

impl Bio {
    /// `index`: which argument of the hook.
    #[inline(always)]
    fn of(
        reads: &mut Reads,
        ctx: &BtfTracePointContext,
        index: u32,
        turn: Turn,
        hook: u32,
    ) -> Option<Bio> {
        let address = reads.argument(ctx, index);
        let disk = disk::of_bio(reads, address)?;
        if !takes(turn, hook, address) {
            return None;
        }
        let bio = address as *const u8;
        let bytes: u32 = reads.kernel(bio, offset!(bio_size));
        let flags: u32 = reads.kernel(bio, offset!(bio_opf));
        let class = class(flags, bytes);
        Some(Bio {
            address,
            disk,
            bytes,
            class,
        })
    }

    #[inline(always)]
    fn tally(&self, total: Total, more: u64) {
        tally(self.disk.slot, self.class, total, more);
    }

    /// Remembers who is at work, for the request that this bio begins.
    #[inline(always)]
    fn remember(&self) {
        let origin = Origin {
            // SAFETY: reads the clock.
            queued: unsafe { bpf_ktime_get_ns() },
            worker: worker(),
            phase: phase(),
            _pad: 0,
        };
        let _full = BLOCK_BIOS.insert(&self.address, &origin, 0);
    }
}

twice!(
    "block_bio_queue",
    block_bio_queue,
    block_bio_queue_again,
    bio_queue
);
twice!(
    "block_bio_backmerge",
    block_bio_backmerge,
    block_bio_backmerge_again,
    backmerge
);
twice!(
    "block_bio_frontmerge",
    block_bio_frontmerge,
    block_bio_frontmerge_again,
    frontmerge
);
twice!("block_split", block_split, block_split_again, split);
twice!(
    "block_bio_remap",
    block_bio_remap,
    block_bio_remap_again,
    remap
);
twice!(
    "block_bio_complete",
    block_bio_complete,
    block_bio_complete_again,
    bio_complete
);
twice!("block_getrq", block_getrq, block_getrq_again, getrq);
twice!("block_plug", block_plug, block_plug_again, plug);
twice!("block_unplug", block_unplug, block_unplug_again, unplug);
twice!(
    "block_rq_insert",
    block_rq_insert,
    block_rq_insert_again,
    rq_insert
);
twice!(
    "block_rq_merge",
    block_rq_merge,
    block_rq_merge_again,
    rq_merge
);
twice!(
    "block_rq_issue",
    block_rq_issue,
    block_rq_issue_again,
    rq_issue
);
twice!(
    "block_rq_requeue",
    block_rq_requeue,
    block_rq_requeue_again,
    rq_requeue
);
twice!(
    "block_rq_complete",
    block_rq_complete,
    block_rq_complete_again,
    rq_complete
);
twice!(
    "writeback_mark_inode_dirty",
    block_inode_dirty,
    block_inode_dirty_again,
    inode_dirty
);

#[inline(always)]
fn bio_queue(ctx: &BtfTracePointContext, turn: Turn) {
    let mut reads = Reads::new();
    if let Some(bio) = Bio::of(
        &mut reads,
        ctx,
        config!(bio_argument),
        turn,
        hook::BIO_QUEUE,
    ) {
        disk::learn_queue(&mut reads, &bio.disk);
        bio.tally(Total::bios, 1);
        bio.tally(Total::bio_bytes, bio.bytes as u64);
    }
    reads.done();
}

#[inline(always)]
fn backmerge(ctx: &BtfTracePointContext, turn: Turn) {
    let mut reads = Reads::new();
    let index = config!(bio_argument) * 2;
    if let Some(bio) = Bio::of(&mut reads, ctx, index, turn, hook::BACKMERGE) {
        bio.tally(Total::backmerges, 1);
    }
    reads.done();
}

#[inline(always)]
fn frontmerge(ctx: &BtfTracePointContext, turn: Turn) {
    let mut reads = Reads::new();
    let index = config!(bio_argument) * 2;
    if let Some(bio) = Bio::of(&mut reads, ctx, index, turn, hook::FRONTMERGE) {
        bio.tally(Total::frontmerges, 1);
        // The request begins with it from now on.
        bio.remember();
    }
    reads.done();
}

#[inline(always)]
fn split(ctx: &BtfTracePointContext, turn: Turn) {
    let mut reads = Reads::new();
    if let Some(bio) = Bio::of(&mut reads, ctx, config!(bio_argument), turn, hook::SPLIT) {
        bio.tally(Total::splits, 1);
    }
    reads.done();
}

#[inline(always)]
fn remap(ctx: &BtfTracePointContext, turn: Turn) {
    let mut reads = Reads::new();
    if let Some(bio) = Bio::of(&mut reads, ctx, config!(bio_argument), turn, hook::REMAP) {
        bio.tally(Total::remaps, 1);
    }
    reads.done();
}

/// The queue comes first on every kernel.
#[inline(always)]
fn bio_complete(ctx: &BtfTracePointContext, turn: Turn) {
    let mut reads = Reads::new();
    if let Some(bio) = Bio::of(&mut reads, ctx, 1, turn, hook::BIO_COMPLETE) {
        bio.tally(Total::bio_completions, 1);
    }
    reads.done();
}

#[inline(always)]
fn getrq(ctx: &BtfTracePointContext, turn: Turn) {
    let mut reads = Reads::new();
    if let Some(bio) = Bio::of(&mut reads, ctx, config!(bio_argument), turn, hook::GETRQ) {
        bio.tally(Total::getrqs, 1);
        bio.remember();
    }
    reads.done();
}

#[inline(always)]
fn plug(ctx: &BtfTracePointContext, turn: Turn) {
    queue(ctx, turn, hook::PLUG, Total::plugs);
}

#[inline(always)]
fn unplug(ctx: &BtfTracePointContext, turn: Turn) {
    queue(ctx, turn, hook::UNPLUG, Total::unplugs);
}

#[inline(always)]
fn queue(ctx: &BtfTracePointContext, turn: Turn, hook: u32, total: Total) {
    let mut reads = Reads::new();
    let address = reads.argument(ctx, 0);
    if let Some(slot) = disk::slot_of_queue(address)
        && takes(turn, hook, address)
    {
        tally(slot, CLASS_OTHER, total, 1);
    }
    reads.done();
}

/// A request of a followed disk: every hook's first argument.
struct Request {
    address: u64,
    disk: Disk,
    flags: u32,
    bytes: u32,
}

impl Request {
    #[inline(always)]
    fn of(reads: &mut Reads, ctx: &BtfTracePointContext, turn: Turn, hook: u32) -> Option<Request> {
        let address = reads.argument(ctx, 0);
        let disk = disk::of_request(reads, address)?;
        if !takes(turn, hook, address) {
            return None;
        }
        let rq = address as *const u8;
        let flags: u32 = reads.kernel(rq, offset!(rq_flags));
        let bytes: u32 = reads.kernel(rq, offset!(rq_len));
        Some(Request {
            address,
            disk,
            flags,
            bytes,
        })
    }

    #[inline(always)]
    fn tally(&self, total: Total, more: u64) {
        tally(self.disk.slot, class(self.flags, self.bytes), total, more);
    }

    /// What is known of it, begun now if nothing is.
    #[inline(always)]
    fn record(&self, reads: &mut Reads) -> Option<&'static mut BlockRequest> {
        if let Some(known) = BLOCK_REQUESTS.get_ptr_mut(&self.address) {
            // SAFETY: the map's value; of one request no two events overlap.
            return Some(unsafe { &mut *known });
        }
        self.begin(reads);
        // SAFETY: as above.
        BLOCK_REQUESTS
            .get_ptr_mut(&self.address)
            .map(|known| unsafe { &mut *known })
    }

    #[inline(always)]
    fn begin(&self, reads: &mut Reads) {
        let rq = self.address as *const u8;
        let bio: u64 = reads.kernel(rq, offset!(rq_bio));
        let mut record = BlockRequest {
            rq: self.address,
            sector: reads.kernel(rq, offset!(rq_sector)),
            dev: self.disk.dev,
            ..BlockRequest::default()
        };
        // SAFETY: the map's value, copied; a bio is one request's.
        if let Some(origin) = unsafe { BLOCK_BIOS.get(&bio) } {
            record.queued = origin.queued;
            record.submitter = origin.worker;
            record.phase = origin.phase;
        }
        if BLOCK_REQUESTS.insert(&self.address, &record, 0).is_err() {
            tally_at(REQUESTS_FULL, 1);
        }
        if bio != 0 {
            let _gone = BLOCK_BIOS.remove(&bio);
        }
    }

    #[inline(always)]
    fn forget(&self) {
        let _gone = BLOCK_REQUESTS.remove(&self.address);
    }
}

#[inline(always)]
fn rq_insert(ctx: &BtfTracePointContext, turn: Turn) {
    let mut reads = Reads::new();
    if let Some(request) = Request::of(&mut reads, ctx, turn, hook::INSERT) {
        request.tally(Total::inserts, 1);
        if let Some(record) = request.record(&mut reads)
            && record.inserted == 0
        {
            // SAFETY: reads the clock.
            record.inserted = unsafe { bpf_ktime_get_ns() };
        }
    }
    reads.done();
}

/// The one that is taken into its neighbour, which goes on.
#[inline(always)]
fn rq_merge(ctx: &BtfTracePointContext, turn: Turn) {
    let mut reads = Reads::new();
    if let Some(request) = Request::of(&mut reads, ctx, turn, hook::MERGE) {
        request.tally(Total::rq_merges, 1);
        request.forget();
    }
    reads.done();
}

#[inline(always)]
fn rq_issue(ctx: &BtfTracePointContext, turn: Turn) {
    let mut reads = Reads::new();
    if let Some(request) = Request::of(&mut reads, ctx, turn, hook::ISSUE) {
        request.tally(Total::issues, 1);
        request.tally(Total::issued_bytes, request.bytes as u64);
        if let Some(record) = request.record(&mut reads) {
            issued(&mut reads, &request, record);
        }
    }
    reads.done();
}

#[inline(always)]
fn issued(reads: &mut Reads, request: &Request, record: &mut BlockRequest) {
    // SAFETY: reads the clock.
    record.issued = unsafe { bpf_ktime_get_ns() };
    record.issues += 1;
    if record.first_issued != 0 {
        return;
    }
    // Merges are over: what it is now it is to its end.
    let rq = request.address as *const u8;
    record.first_issued = record.issued;
    record.flags = request.flags;
    record.bytes = request.bytes;
    record.sector = reads.kernel(rq, offset!(rq_sector));
    let bio: u64 = reads.kernel(rq, offset!(rq_bio));
    if bio != 0 {
        let asked: u32 = reads.kernel(bio as *const u8, offset!(bio_opf));
        record.flags |= asked & (REQ_PREFLUSH | REQ_FUA);
    }
    let Some(inode) = inode_of_bio(bio) else {
        return;
    };
    record.ino = inode.ino;
    record.inode_dev = inode.dev;
    if request.flags & REQ_OP_MASK != REQ_OP_WRITE {
        return;
    }
    // SAFETY: the map's value, copied.
    if let Some(dirtier) = unsafe { BLOCK_DIRTIERS.get(&inode.address) } {
        record.dirtier = dirtier.worker;
        record.dirtied = dirtier.at;
    }
}

#[inline(always)]
fn rq_requeue(ctx: &BtfTracePointContext, turn: Turn) {
    let mut reads = Reads::new();
    if let Some(request) = Request::of(&mut reads, ctx, turn, hook::REQUEUE) {
        request.tally(Total::requeues, 1);
        if let Some(record) = request.record(&mut reads) {
            record.requeues += 1;
        }
    }
    reads.done();
}

/// Once for each part that is done; what the request held before stands in `bytes`.
#[inline(always)]
fn rq_complete(ctx: &BtfTracePointContext, turn: Turn) {
    let mut reads = Reads::new();
    if let Some(request) = Request::of(&mut reads, ctx, turn, hook::COMPLETE) {
        let error = reads.argument(ctx, 1) as i32;
        let done = reads.argument(ctx, 2) as u32;
        if error != 0 {
            request.tally(Total::errors, 1);
        }
        request.tally(Total::completed_bytes, done as u64);
        let last = done >= request.bytes;
        if last {
            request.tally(Total::completions, 1);
        }
        match BLOCK_REQUESTS.get_ptr_mut(&request.address) {
            // SAFETY: the map's value; of one request no two events overlap.
            Some(record) => ended(unsafe { &mut *record }, &request, turn, done, error, last),
            None if class(request.flags, request.bytes) != CLASS_OTHER => tally_at(UNKNOWN_END, 1),
            None => {}
        }
    }
    reads.done();
}

#[inline(always)]
fn ended(
    record: &mut BlockRequest,
    request: &Request,
    turn: Turn,
    done: u32,
    error: i32,
    last: bool,
) {
    record.completed += done;
    if error != 0 {
        record.error = error;
    }
    if !last {
        return;
    }
    // SAFETY: reads the clock.
    let now = unsafe { bpf_ktime_get_ns() };
    finished(record, now);
    let begun = if record.queued != 0 {
        record.queued
    } else {
        record.first_issued
    };
    if now - begun >= slower_than() {
        let copy = *record;
        emit_as::<BlockRequest>(turn, |to| {
            // SAFETY: `to` points to room for the whole payload.
            unsafe { to.write(copy) }
        });
    }
    request.forget();
}

/// Pages of an inode are marked dirty, by whoever is current: only a task does that.
#[inline(always)]
fn inode_dirty(ctx: &BtfTracePointContext, turn: Turn) {
    let mut reads = Reads::new();
    let address = reads.argument(ctx, 0);
    let flags = reads.argument(ctx, 1) as u32;
    if flags & config!(dirty_pages_flag) != 0
        && disk::has_inode(&mut reads, address)
        && takes(turn, hook::DIRTY, address)
    {
        let dirtier = Dirtier {
            // SAFETY: reads the clock.
            at: unsafe { bpf_ktime_get_ns() },
            worker: worker(),
        };
        let _full = BLOCK_DIRTIERS.insert(&address, &dirtier, 0);
    }
    reads.done();
}
