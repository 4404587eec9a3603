//! The event ring read in batches, without wakeups (kernel/bpf/ringbuf.c).
//!
//! Layout: a page with the consumer position, a page with the producer position, then the data twice in a
//! row so that no record is cut at the end. The consumer position is published once per batch, not per
//! record: that is four times cheaper and leaves the producer's cache line alone.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::instrument::memory::Mapping;

const BUSY: u32 = 1 << 31;
const DISCARD: u32 = 1 << 30;
const HEADER: u64 = 8;
/// The consumer position is published at least this often, bytes.
const BATCH: u64 = 64 << 10;

#[derive(Debug)]
pub struct Ring {
    consumer: Mapping,
    /// Producer page and data.
    producer: Mapping,
    page: usize,
    mask: u64,
}

impl Ring {
    /// `bytes`: the map's max_entries, a power of two.
    ///
    /// # Errors
    /// The kernel's.
    pub fn new(map: BorrowedFd<'_>, bytes: u32) -> io::Result<Ring> {
        let page = rustix::param::page_size();
        let consumer = Mapping::new(map, 0, page, true)?;
        let producer = Mapping::new(map, page as u64, page + 2 * bytes as usize, false)?;
        Ok(Ring {
            consumer,
            producer,
            page,
            mask: u64::from(bytes) - 1,
        })
    }

    /// Hands every finished record to `take`, oldest first, and frees its room. Returns how many.
    pub fn drain(&mut self, mut take: impl FnMut(&[u8])) -> u64 {
        // SAFETY: both positions are aligned u64 at the start of their pages; only we write the consumer's.
        let (consumed, produced) = unsafe {
            (
                AtomicU64::from_ptr(self.consumer.as_ptr().cast()),
                AtomicU64::from_ptr(self.producer.as_ptr().cast()),
            )
        };
        let mut position = consumed.load(Ordering::Relaxed);
        let mut published = position;
        let mut records = 0;
        let end = produced.load(Ordering::Acquire);
        while position < end {
            let offset = self.page + (position & self.mask) as usize;
            // SAFETY: records start aligned to 8 inside the data area.
            let header = unsafe { AtomicU32::from_ptr(self.producer.as_ptr().add(offset).cast()) };
            let header = header.load(Ordering::Acquire);
            if header & BUSY != 0 {
                break;
            }
            let len = u64::from(header & !(BUSY | DISCARD));
            if header & DISCARD == 0 {
                // SAFETY: the data area is mapped twice, so the record lies in one piece; the kernel does
                // not write it again before the consumer position passes it.
                let record = unsafe {
                    let start = self.producer.as_ptr().add(offset + HEADER as usize);
                    std::slice::from_raw_parts(start, len as usize)
                };
                take(record);
                records += 1;
            }
            position += (len + HEADER).next_multiple_of(8);
            if position - published >= BATCH {
                consumed.store(position, Ordering::Release);
                published = position;
            }
        }
        consumed.store(position, Ordering::Release);
        records
    }
}
