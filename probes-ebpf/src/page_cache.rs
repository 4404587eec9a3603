//! Instrument `page_cache`: what comes into the page cache and by whom, whether what is asked for was there,
//! what was read ahead for nothing, who dirties and who writes back. Everything is counted here and read once.
//!
//! Of hooks only tracepoints. A page that came in during a read call within what that call asked for is a
//! miss, and so is the first use of one that read-ahead had brought in; all else that is asked for is a hit.
//! What could fool it: use by mmap of pages that a read call had read ahead is not seen.
#![no_std]
#![no_main]

use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use probes_common::pages::{Call, Count, FileKey, ahead, doing, total};
use probes_ebpf::again::Turn;
use probes_ebpf::filter::{enabled, watched};
use probes_ebpf::pages::ahead::{asked, deleted, inserted};
use probes_ebpf::pages::calls::{call_of, enters, is_of};
use probes_ebpf::pages::owners::{field, inode_of_page, owner_of, pages_of};
use probes_ebpf::pages::rows::{Counts, row};
use probes_ebpf::pages::{PAGE_CALLS, current, hook, takes, tally};
use probes_ebpf::read::Reads;
use probes_ebpf::{config, offset};

const PAGE_SHIFT: u64 = 12;
const PAGE_MASK: u64 = 4095;
/// Low bits of `bio.bi_opf`.
const REQ_OP_MASK: u32 = 0xff;
const REQ_OP_READ: u32 = 0;
const REQ_OP_WRITE: u32 = 1;

/// A program with its second copy.
macro_rules! twice {
    ($hook:literal, $first:ident, $again:ident, $body:ident) => {
        #[btf_tracepoint(function = $hook)]
        pub fn $first(ctx: BtfTracePointContext) -> i32 {
            $body(&ctx, Turn::First);
            0
        }

        #[btf_tracepoint(function = $hook)]
        pub fn $again(ctx: BtfTracePointContext) -> i32 {
            $body(&ctx, Turn::Later);
            0
        }
    };
}

macro_rules! once {
    ($hook:literal, $first:ident, $body:ident) => {
        #[btf_tracepoint(function = $hook)]
        pub fn $first(ctx: BtfTracePointContext) -> i32 {
            $body(&ctx);
            0
        }
    };
}

/// A folio of the hook's first argument, and whose it is.
struct Folio {
    file: FileKey,
    inode: u64,
    index: u64,
    pages: u64,
}

#[inline(always)]
fn folio(reads: &mut Reads, ctx: &BtfTracePointContext) -> Folio {
    let folio = ctx.arg::<*const u8>(0);
    let address = reads.argument(ctx, 0);
    let mapping: u64 = field::<true, _>(reads, folio, offset!(folio_mapping));
    let host: u64 = field::<true, _>(reads, mapping as *const u8, offset!(mapping_host));
    let file = owner_of::<true>(reads, host as *const u8);
    let index = field::<true, _>(reads, folio, offset!(folio_index));
    Folio {
        file,
        inode: host,
        index,
        pages: pages_of::<true>(reads, folio, address),
    }
}

twice!(
    "mm_filemap_add_to_page_cache",
    mm_filemap_add_to_page_cache,
    mm_filemap_add_to_page_cache_again,
    insert
);

#[inline(always)]
fn insert(ctx: &BtfTracePointContext, turn: Turn) {
    let (pid, _) = current();
    if !enabled() || !takes(turn, pid, hook::INSERT) {
        return;
    }
    let mut reads = Reads::new();
    let it = folio(&mut reads, ctx);
    tally(total::INSERTED + it.file.owner, it.pages);
    if let Some(row) = row(&mut reads, &it.file, it.inode, it.pages) {
        row.add(Count::insert_events, 1);
        match PAGE_CALLS.get_ptr_mut(&pid) {
            // SAFETY: the map's value, of this task alone.
            Some(call) if watched(pid) => came_in(&it, row, unsafe { &mut *call }),
            _ => row.add(Count::inserted_other, it.pages),
        }
    }
    reads.done();
}

/// The page came in while its task was doing this.
#[inline(always)]
fn came_in(it: &Folio, row: Counts, call: &mut Call) {
    let last = it.index + it.pages - 1;
    match call.what {
        doing::READ if is_of(call, &it.file) => in_read(it, last, row, call),
        doing::WRITE => row.add(Count::inserted_write, it.pages),
        doing::ADVICE => {
            row.add(Count::inserted_advised, it.pages);
            inserted(&it.file, it.index, last, ahead::ADVISED);
        }
        doing::DIRECT => row.add(Count::inserted_direct, it.pages),
        doing::USER => {
            row.add(Count::inserted_fault, it.pages);
            if call.faults != call.fault_counted {
                call.fault_counted = call.faults;
                row.add(Count::faults_missed, 1);
            }
        }
        _ => row.add(Count::inserted_other, it.pages),
    }
}

#[inline(always)]
fn in_read(it: &Folio, last: u64, row: Counts, call: &mut Call) {
    let from = if it.index > call.first {
        it.index
    } else {
        call.first
    };
    let to = if last < call.last { last } else { call.last };
    let within = if from <= to { to - from + 1 } else { 0 };
    if within != 0 {
        call.missed += within;
        row.add(Count::inserted_read, within);
    }
    let beyond = it.pages - within;
    if beyond == 0 {
        return;
    }
    // Of a folio that lies across the end of what is asked for, the rest.
    let first = if within != 0 && last > call.last {
        call.last + 1
    } else {
        it.index
    };
    let asynchronous = match call.mode {
        0 => call.missed == 0,
        mode => mode == ahead::ASYNC as u32 + 1,
    };
    if asynchronous {
        row.add(Count::inserted_async, beyond);
        inserted(&it.file, first, last, ahead::ASYNC);
    } else {
        row.add(Count::inserted_sync, beyond);
        inserted(&it.file, first, last, ahead::SYNC);
    }
}

twice!(
    "mm_filemap_delete_from_page_cache",
    mm_filemap_delete_from_page_cache,
    mm_filemap_delete_from_page_cache_again,
    delete
);

#[inline(always)]
fn delete(ctx: &BtfTracePointContext, turn: Turn) {
    if !enabled() || !takes(turn, current().0, hook::DELETE) {
        return;
    }
    let mut reads = Reads::new();
    let it = folio(&mut reads, ctx);
    tally(total::DELETED + it.file.owner, it.pages);
    if let Some(row) = row(&mut reads, &it.file, it.inode, it.pages) {
        row.add(Count::deleted, it.pages);
        let unused = deleted(&it.file, it.index, it.index + it.pages - 1);
        row.add_some(Count::unused_sync, unused.sync);
        row.add_some(Count::unused_async, unused.asynchronous);
        row.add_some(Count::unused_advised, unused.advised);
    }
    reads.done();
}

twice!(
    "writeback_dirty_folio",
    writeback_dirty_folio,
    writeback_dirty_folio_again,
    dirty
);
twice!(
    "writeback_dirty_page",
    writeback_dirty_page,
    writeback_dirty_page_again,
    dirty
);

#[inline(always)]
fn dirty(ctx: &BtfTracePointContext, turn: Turn) {
    if !enabled() || !takes(turn, current().0, hook::DIRTY) {
        return;
    }
    let mut reads = Reads::new();
    let address = reads.argument(ctx, 0);
    let mapping = reads.argument(ctx, 1);
    let host: u64 = if mapping == 0 {
        0
    } else {
        reads.kernel(mapping as *const u8, offset!(mapping_host))
    };
    if host != 0 {
        let file = owner_of::<false>(&mut reads, host as *const u8);
        let pages = pages_of::<false>(&mut reads, address as *const u8, address);
        if let Some(row) = row(&mut reads, &file, host, pages) {
            row.add(Count::dirtied, pages);
            // SAFETY: takes nothing.
            let now = unsafe { bpf_ktime_get_ns() };
            row.time(Count::first_dirtied_ns, Count::last_dirtied_ns, now);
        }
    }
    reads.done();
}

twice!("block_bio_queue", page_cache_bio, page_cache_bio_again, bio);

/// A request of a file's or a device's own pages; of anonymous memory (direct I/O) there is nothing to count.
#[inline(always)]
fn bio(ctx: &BtfTracePointContext, turn: Turn) {
    if !enabled() || !takes(turn, current().0, hook::BIO) {
        return;
    }
    let mut reads = Reads::new();
    let bio = reads.argument(ctx, config!(bio_argument)) as *const u8;
    let op = reads.kernel::<u32>(bio, offset!(bio_opf)) & REQ_OP_MASK;
    let bytes: u32 = reads.kernel(bio, offset!(bio_size));
    if op > REQ_OP_WRITE || bytes == 0 {
        return;
    }
    let parts: u64 = reads.kernel(bio, offset!(bio_io_vec));
    let page: u64 = if parts == 0 {
        0
    } else {
        reads.kernel(parts as *const u8, 0)
    };
    let inode = if page == 0 { 0 } else { inode_of_page(page) };
    if inode != 0 {
        let file = owner_of::<false>(&mut reads, inode as *const u8);
        if let Some(row) = row(&mut reads, &file, inode, 0) {
            if op == REQ_OP_READ {
                row.add(Count::device_read_bytes, bytes as u64);
                row.add(Count::device_read_requests, 1);
            } else {
                row.add(Count::written_back_bytes, bytes as u64);
                row.add(Count::written_back_requests, 1);
                // SAFETY: takes nothing.
                let now = unsafe { bpf_ktime_get_ns() };
                row.time(
                    Count::first_written_back_ns,
                    Count::last_written_back_ns,
                    now,
                );
            }
        }
    }
    reads.done();
}

twice!("sys_enter", page_cache_enter, page_cache_enter_again, enter);

#[inline(always)]
fn enter(ctx: &BtfTracePointContext, turn: Turn) {
    let (pid, _) = current();
    if !watched(pid) || !takes(turn, pid, hook::ENTER) || !enabled() {
        return;
    }
    let regs = ctx.arg::<*const u8>(0);
    let mut reads = Reads::new();
    // SAFETY: `regs` is the hook's pt_regs argument.
    let args = unsafe {
        [
            reads.typed(regs, offset!(regs_arg0)),
            reads.typed(regs, offset!(regs_arg1)),
            reads.typed(regs, offset!(regs_arg2)),
            reads.typed(regs, offset!(regs_arg3)),
            reads.typed(regs, offset!(regs_arg4)),
        ]
    };
    if let Some(call) = call_of(pid) {
        enters(&mut reads, call, ctx.arg::<u64>(1), &args);
    }
    reads.done();
}

twice!("sys_exit", page_cache_exit, page_cache_exit_again, exit);

#[inline(always)]
fn exit(ctx: &BtfTracePointContext, turn: Turn) {
    let (pid, _) = current();
    if !watched(pid) || !takes(turn, pid, hook::EXIT) || !enabled() {
        return;
    }
    let Some(call) = call_of(pid) else {
        return;
    };
    // SAFETY: the map's value, of this task alone.
    let call = unsafe { &mut *call };
    let what = call.what;
    call.what = doing::USER;
    if what != doing::READ && what != doing::WRITE && what != doing::DIRECT {
        return;
    }
    let ret = ctx.arg::<i64>(1);
    let mut reads = Reads::new();
    let file = FileKey {
        ino: call.ino,
        dev: call.dev,
        owner: call.owner,
    };
    if ret > 0 {
        if what == doing::READ {
            delivered(&mut reads, call, &file, ret as u64);
        } else if let Some(row) = row(&mut reads, &file, call.inode, 0) {
            let (calls, bytes) = if what == doing::WRITE {
                (Count::write_calls, Count::write_bytes)
            } else {
                (Count::direct_calls, Count::direct_bytes)
            };
            row.add(calls, 1);
            row.add(bytes, ret as u64);
        }
    } else if what == doing::READ && call.missed != 0 {
        if let Some(row) = row(&mut reads, &file, call.inode, call.missed) {
            row.add(Count::undelivered, call.missed);
        }
    }
    reads.done();
}

/// A read call has got `bytes`: which of the pages asked for were there?
#[inline(always)]
fn delivered(reads: &mut Reads, call: &mut Call, file: &FileKey, bytes: u64) {
    let kept: u64 = reads.kernel(call.mapping as *const u8, offset!(mapping_nrpages));
    let Some(row) = row(reads, file, call.inode, 0) else {
        return;
    };
    if kept == 0 && call.missed == 0 {
        row.add(Count::uncached_calls, 1);
        return;
    }
    let end = call.pos + bytes;
    let (mut first, last) = (call.pos >> PAGE_SHIFT, (end - 1) >> PAGE_SHIFT);
    // Where the task goes on within a page it has asked for already.
    let goes_on = call.pos & PAGE_MASK != 0
        && call.end_pos == call.pos
        && call.end_ino == call.ino
        && call.end_dev == call.dev;
    if goes_on {
        first += 1;
    }
    (call.end_pos, call.end_ino, call.end_dev) = (end, call.ino, call.dev);
    row.add(Count::read_calls, 1);
    row.add(Count::read_bytes, bytes);
    if first > last {
        row.add_some(Count::undelivered, call.missed);
        return;
    }
    let pages = last - first + 1;
    let missed = if call.missed < pages {
        call.missed
    } else {
        pages
    };
    row.add_some(Count::undelivered, call.missed - missed);
    row.add(Count::asked, pages);
    row.add_some(Count::missed_in_call, missed);
    // All came in by this call: none of them was read ahead.
    if missed < pages {
        (call.first, call.last) = (first, last);
        asked(file, call);
        row.add_some(Count::missed_sync, call.fresh[ahead::SYNC]);
        row.add_some(Count::missed_async, call.fresh[ahead::ASYNC]);
        row.add_some(Count::missed_advised, call.fresh[ahead::ADVISED]);
    }
}

twice!(
    "page_fault_user",
    page_cache_fault,
    page_cache_fault_again,
    fault
);

#[inline(always)]
fn fault(_: &BtfTracePointContext, turn: Turn) {
    let (pid, _) = current();
    if !watched(pid) || !takes(turn, pid, hook::FAULT) || !enabled() {
        return;
    }
    let mut reads = Reads::new();
    if let Some(call) = call_of(pid) {
        // SAFETY: the map's value, of this task alone. A fault in user space: the task is in no call.
        unsafe {
            (*call).faults += 1;
            (*call).what = doing::USER;
        }
    }
    let process = FileKey {
        ino: 0,
        dev: 0,
        owner: 0,
    };
    if let Some(row) = row(&mut reads, &process, 0, 0) {
        row.add(Count::user_faults, 1);
    }
    reads.done();
}

/// Counts one at the file of the hook's first argument, an address_space or an inode.
#[inline(always)]
fn tick<const INODE: bool>(ctx: &BtfTracePointContext, count: Count) {
    if !enabled() {
        return;
    }
    let mut reads = Reads::new();
    let object = reads.argument(ctx, 0);
    let inode = if INODE {
        object
    } else {
        reads.kernel(object as *const u8, offset!(mapping_host))
    };
    let file = owner_of::<false>(&mut reads, inode as *const u8);
    if let Some(row) = row(&mut reads, &file, inode, 0) {
        row.add(count, 1);
    }
    reads.done();
}

once!("mm_filemap_get_pages", mm_filemap_get_pages, lookup);

#[inline(always)]
fn lookup(ctx: &BtfTracePointContext) {
    tick::<false>(ctx, Count::lookups);
}

once!("mm_filemap_fault", mm_filemap_fault, file_fault);

#[inline(always)]
fn file_fault(ctx: &BtfTracePointContext) {
    tick::<false>(ctx, Count::file_faults);
}

once!("mm_filemap_map_pages", mm_filemap_map_pages, around);

#[inline(always)]
fn around(ctx: &BtfTracePointContext) {
    tick::<false>(ctx, Count::faults_around);
}

once!("page_cache_sync_ra", page_cache_sync_ra, sync_ra);

#[inline(always)]
fn sync_ra(ctx: &BtfTracePointContext) {
    read_ahead(ahead::SYNC);
    tick::<true>(ctx, Count::ra_sync_calls);
}

once!("page_cache_async_ra", page_cache_async_ra, async_ra);

#[inline(always)]
fn async_ra(ctx: &BtfTracePointContext) {
    read_ahead(ahead::ASYNC);
    tick::<true>(ctx, Count::ra_async_calls);
}

/// The kernel itself says what the pages that now come in are.
#[inline(always)]
fn read_ahead(kind: usize) {
    let (pid, _) = current();
    if watched(pid)
        && let Some(call) = PAGE_CALLS.get_ptr_mut(&pid)
    {
        // SAFETY: the map's value, of this task alone.
        unsafe { (*call).mode = kind as u32 + 1 };
    }
}

once!("mm_lru_activate", mm_lru_activate, activate);

#[inline(always)]
fn activate(ctx: &BtfTracePointContext) {
    if !enabled() {
        return;
    }
    let mut reads = Reads::new();
    let folio = reads.argument(ctx, 0);
    let inode = inode_of_page(folio);
    if inode != 0 {
        let file = owner_of::<false>(&mut reads, inode as *const u8);
        let pages = pages_of::<false>(&mut reads, folio as *const u8, folio);
        if let Some(row) = row(&mut reads, &file, inode, 0) {
            row.add(Count::activated, pages);
        }
    }
    reads.done();
}
