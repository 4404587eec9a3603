//! What a task is doing: the read call it is in and the pages that one asks for; or a write, advice, user space.

use probes_common::pages::{Call, FileKey, doing};

use super::fd::file_of;
use super::owners::owner_of;
use super::{BPF_NOEXIST, PAGE_CALLS, tally};
use crate::offset;
use crate::read::Reads;

const O_DIRECT: u32 = 0o40000;
const PAGE_SHIFT: u64 = 12;
/// Parts of a vector that are added up.
const VECTOR: u64 = 8;

static IDLE: Call = Call {
    what: doing::OTHER,
    dev: 0,
    ino: 0,
    owner: 0,
    mode: 0,
    pos: 0,
    first: 0,
    last: 0,
    missed: 0,
    mapping: 0,
    inode: 0,
    faults: 0,
    fault_counted: 0,
    end_ino: 0,
    end_pos: 0,
    end_dev: 0,
    _pad: 0,
    fresh: [0; 3],
};

#[inline(always)]
pub fn call_of(tid: u32) -> Option<*mut Call> {
    if let Some(call) = PAGE_CALLS.get_ptr_mut(&tid) {
        return Some(call);
    }
    let _there = PAGE_CALLS.insert(&tid, &IDLE, BPF_NOEXIST);
    let call = PAGE_CALLS.get_ptr_mut(&tid);
    if call.is_none() {
        tally(probes_common::pages::total::CALLS_FULL, 1);
    }
    call
}

/// What a call does with a file's pages, and where its arguments say so.
#[derive(Clone, Copy)]
struct Shape {
    what: u32,
    fd: u64,
    /// Address of a position in user memory, 0 = none.
    pos_at: u64,
    /// The position is an argument.
    pos: Option<u64>,
    len: u64,
    vector: bool,
}

#[inline(always)]
fn shape(nr: u64, args: &[u64; 5]) -> Shape {
    let mut shape = Shape {
        what: doing::OTHER,
        fd: args[0],
        pos_at: 0,
        pos: None,
        len: args[2],
        vector: false,
    };
    match nr {
        // read, pread64, readv, preadv, preadv2
        0 => shape.what = doing::READ,
        17 => (shape.what, shape.pos) = (doing::READ, Some(args[3])),
        19 => (shape.what, shape.vector) = (doing::READ, true),
        295 | 327 => {
            (shape.what, shape.vector, shape.pos) = (doing::READ, true, Some(args[3]));
        }
        // sendfile: in_fd, its position, count
        40 => {
            (shape.what, shape.fd, shape.pos_at, shape.len) =
                (doing::READ, args[1], args[2], args[3]);
        }
        // splice: from the first descriptor; copy_file_range
        275 | 326 => (shape.what, shape.pos_at, shape.len) = (doing::READ, args[1], args[4]),
        // write, pwrite64, writev, pwritev, pwritev2
        1 | 18 | 20 | 296 | 328 => shape.what = doing::WRITE,
        // readahead, fadvise64, madvise
        187 | 221 | 28 => shape.what = doing::ADVICE,
        _ => {}
    }
    shape
}

/// A system call begins.
#[inline(always)]
pub fn enters(reads: &mut Reads, call: *mut Call, nr: u64, args: &[u64; 5]) {
    let shape = shape(nr, args);
    // SAFETY: the map's value, of this task alone.
    let call = unsafe { &mut *call };
    call.what = shape.what;
    call.mode = 0;
    if shape.what != doing::READ && shape.what != doing::WRITE {
        return;
    }
    let file = file_of(reads, shape.fd as u32) as *const u8;
    if file.is_null() {
        call.what = doing::OTHER;
        return;
    }
    let flags: u32 = reads.kernel(file, offset!(file_flags));
    if flags & O_DIRECT != 0 {
        call.what = doing::DIRECT;
    }
    let mapping: u64 = reads.kernel(file, offset!(file_mapping));
    let inode: u64 = if mapping == 0 {
        0
    } else {
        reads.kernel(mapping as *const u8, offset!(mapping_host))
    };
    if inode == 0 {
        call.what = doing::OTHER;
        return;
    }
    let owner = owner_of::<false>(reads, inode as *const u8);
    (call.ino, call.dev, call.owner) = (owner.ino, owner.dev, owner.owner);
    (call.mapping, call.inode, call.missed) = (mapping, inode, 0);
    let pos = match shape.pos {
        Some(pos) if nr != 327 || pos != u64::MAX => pos,
        _ if shape.pos_at != 0 => reads.user(shape.pos_at),
        _ => reads.kernel(file, offset!(file_pos)),
    };
    let mut len = shape.len;
    if shape.vector {
        len = 0;
        for part in 0..VECTOR {
            if part < shape.len {
                len += reads.user::<u64>(args[1] + part * 16 + 8);
            }
        }
        if shape.len > VECTOR {
            len = u64::MAX >> 1;
        }
    }
    call.pos = pos;
    call.first = pos >> PAGE_SHIFT;
    call.last = if len == 0 {
        call.first
    } else {
        pos.saturating_add(len - 1) >> PAGE_SHIFT
    };
}

/// Is this the file that the call under way reads?
#[inline(always)]
pub fn is_of(call: &Call, file: &FileKey) -> bool {
    call.ino == file.ino && call.dev == file.dev && call.owner == file.owner
}
