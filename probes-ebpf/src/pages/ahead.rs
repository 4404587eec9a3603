//! Pages that were read ahead, a bit each in pieces of 64: was it asked for before it left the cache?
//!
//! A bit is set by who inserts the page and taken away by who deletes it, atomically: the kernel does neither
//! twice. `used` is plain: two readers of one piece at the same instant may count a first use twice.

use probes_common::pages::{CHUNK_PAGES, Call, Chunk, ChunkKey, FileKey, total};

use super::{BPF_NOEXIST, PAGE_AHEAD, add, tally};

/// Pieces of the largest folio (512 pages, not aligned to its size at worst).
const FOLIO_CHUNKS: u64 = 9;
/// Pieces that one read call's pages are looked up in: 16 MiB.
const CALL_CHUNKS: u64 = 65;

const NONE: Chunk = Chunk {
    ahead: [0; 3],
    used: 0,
};

#[inline(always)]
fn key(file: &FileKey, chunk: u64) -> ChunkKey {
    ChunkKey {
        ino: file.ino,
        dev: file.dev,
        chunk: chunk as u32,
    }
}

/// Bits of `first..=last` within the piece.
#[inline(always)]
fn mask(chunk: u64, first: u64, last: u64) -> u64 {
    let start = chunk * CHUNK_PAGES as u64;
    let low = if first > start {
        (first - start) & 63
    } else {
        0
    };
    let high = if last < start + 63 {
        (last - start) & 63
    } else {
        63
    };
    (!0u64 << low) & (!0u64 >> (63 - high))
}

#[inline(always)]
fn ones(word: u64) -> u64 {
    let mut n = word;
    n -= (n >> 1) & 0x5555_5555_5555_5555;
    n = (n & 0x3333_3333_3333_3333) + ((n >> 2) & 0x3333_3333_3333_3333);
    n = (n + (n >> 4)) & 0x0f0f_0f0f_0f0f_0f0f;
    n.wrapping_mul(0x0101_0101_0101_0101) >> 56
}

/// Pages `first..=last` were read ahead; `kind` is one of `probes_common::pages::ahead`.
#[inline(always)]
pub fn inserted(file: &FileKey, first: u64, last: u64, kind: usize) {
    let begin = first / CHUNK_PAGES as u64;
    for step in 0..FOLIO_CHUNKS {
        let chunk = begin + step;
        if chunk * CHUNK_PAGES as u64 > last {
            break;
        }
        let key = key(file, chunk);
        let mut found = PAGE_AHEAD.get_ptr_mut(&key);
        if found.is_none() {
            let _there = PAGE_AHEAD.insert(&key, &NONE, BPF_NOEXIST);
            found = PAGE_AHEAD.get_ptr_mut(&key);
        }
        let bits = mask(chunk, first, last);
        let Some(value) = found else {
            tally(total::CHUNKS_FULL, ones(bits));
            continue;
        };
        // SAFETY: u64 of the map's value.
        unsafe {
            let word = match kind {
                0 => &raw mut (*value).ahead[0],
                1 => &raw mut (*value).ahead[1],
                _ => &raw mut (*value).ahead[2],
            };
            // What is set is left of a page that went unseen.
            let new = bits & !core::ptr::read_volatile(word);
            add(word, new);
            let used = core::ptr::read_volatile(&raw const (*value).used);
            if used & bits != 0 {
                core::ptr::write_volatile(&raw mut (*value).used, used & !bits);
            }
        }
    }
}

/// Pages by kind of read-ahead.
#[derive(Default, Clone, Copy)]
pub struct ByKind {
    pub sync: u64,
    pub advised: u64,
    pub asynchronous: u64,
}

/// Pages `call.first..=call.last` were asked for and delivered: `call.fresh` says how many of them for the
/// first time since they were read ahead.
///
/// All that changes from one piece to the next is kept in the map's value: of registers the verifier would
/// follow every combination through every round.
#[inline(always)]
pub fn asked(file: &FileKey, call: *mut Call) {
    // SAFETY: the map's value, of this task alone.
    let (first, last) = unsafe {
        (&raw mut (*call).fresh).write([0; 3]);
        ((*call).first, (*call).last)
    };
    let (begin, end) = (first / CHUNK_PAGES as u64, last / CHUNK_PAGES as u64);
    if end - begin >= CALL_CHUNKS {
        tally(
            total::TOO_LONG,
            last - (begin + CALL_CHUNKS) * CHUNK_PAGES as u64 + 1,
        );
    }
    for step in 0..CALL_CHUNKS {
        let chunk = begin + step;
        if chunk > end {
            break;
        }
        let key = key(file, chunk);
        let Some(value) = PAGE_AHEAD.get_ptr_mut(&key) else {
            continue;
        };
        let mut bits = !0u64;
        if step == 0 {
            bits <<= first & 63;
        }
        if chunk == end {
            bits &= !0u64 >> (63 - (last & 63));
        }
        // SAFETY: u64 of the maps' values.
        unsafe {
            let read = |word: *const u64| core::ptr::read_volatile(word);
            let used = read(&raw const (*value).used);
            let new = bits & !used;
            let mut ahead = 0;
            let mut take = |kind: usize| {
                let word = read(&raw const (*value).ahead[kind]);
                ahead |= word;
                add(&raw mut (*call).fresh[kind], ones(word & new));
            };
            take(0);
            take(1);
            take(2);
            core::ptr::write_volatile(&raw mut (*value).used, used | new);
            if ahead & !(used | new) == 0 {
                // All that was read ahead in this piece has been used.
                let _gone = PAGE_AHEAD.remove(&key);
            }
        }
    }
}

/// Pages `first..=last` leave the cache: how many of them were read ahead for nothing?
#[inline(always)]
pub fn deleted(file: &FileKey, first: u64, last: u64) -> ByKind {
    let mut unused = ByKind::default();
    let begin = first / CHUNK_PAGES as u64;
    for step in 0..FOLIO_CHUNKS {
        let chunk = begin + step;
        if chunk * CHUNK_PAGES as u64 > last {
            break;
        }
        let key = key(file, chunk);
        let Some(value) = PAGE_AHEAD.get_ptr_mut(&key) else {
            continue;
        };
        let bits = mask(chunk, first, last);
        // SAFETY: u64 of the map's value.
        unsafe {
            let used = core::ptr::read_volatile(&raw const (*value).used);
            let mut rest = 0;
            let mut take = |word: *mut u64| {
                let before = core::ptr::read_volatile(word);
                let gone = before & bits;
                if gone != 0 {
                    add(word, gone.wrapping_neg());
                }
                rest |= before & !bits;
                ones(gone & !used)
            };
            unused.sync += take(&raw mut (*value).ahead[0]);
            unused.asynchronous += take(&raw mut (*value).ahead[1]);
            unused.advised += take(&raw mut (*value).ahead[2]);
            if rest == 0 {
                let _gone = PAGE_AHEAD.remove(&key);
            }
        }
    }
    unused
}
