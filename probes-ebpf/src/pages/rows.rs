//! The row in which an event counts.
//!
//! A followed task has a row for every file it touches. Of tasks that are not followed (the flusher, kswapd,
//! another reader) only what they do to files that a followed task has touched is counted.

use aya_ebpf::helpers::generated::bpf_get_current_cgroup_id;
use aya_ebpf::helpers::{bpf_get_current_comm, generated::bpf_probe_read_kernel_str};
use probes_common::pages::{Count, FileKey, FileName, NAME_LEN, Row, RowKey, total};

use super::{BPF_NOEXIST, PAGE_FILES, PAGE_ROWS, add, current, tally};
use crate::filter::watched;
use crate::offset;
use crate::read::Reads;

static EMPTY: Row = Row::EMPTY;

/// A row of this CPU's.
#[derive(Clone, Copy)]
pub struct Counts(*mut Row);

impl Counts {
    #[inline(always)]
    pub fn add(self, count: Count, value: u64) {
        // SAFETY: a u64 of the map's value.
        unsafe { add(&raw mut (*self.0).counts[count as usize], value) };
    }

    /// The same where the number is often 0.
    #[inline(always)]
    pub fn add_some(self, count: Count, value: u64) {
        if value != 0 {
            self.add(count, value);
        }
    }

    /// Times are those of this CPU; user space joins them.
    #[inline(always)]
    pub fn time(self, first: Count, last: Count, now: u64) {
        // SAFETY: u64 of the map's value.
        unsafe {
            let begun = &raw mut (*self.0).counts[first as usize];
            if core::ptr::read_volatile(begun) == 0 {
                core::ptr::write_volatile(begun, now);
            }
            core::ptr::write_volatile(&raw mut (*self.0).counts[last as usize], now);
        }
    }
}

/// None = nobody follows this.
#[inline(always)]
pub fn row(reads: &mut Reads, file: &FileKey, inode: u64, pages: u64) -> Option<Counts> {
    let (pid, tgid) = current();
    if !watched(pid) && PAGE_FILES.get_ptr(file).is_none() {
        return None;
    }
    // SAFETY: takes nothing.
    let cgroup = unsafe { bpf_get_current_cgroup_id() };
    let key = RowKey {
        ino: file.ino,
        cgroup,
        dev: file.dev,
        tgid,
        owner: file.owner,
        _pad: 0,
    };
    if let Some(row) = PAGE_ROWS.get_ptr_mut(&key) {
        return Some(Counts(row));
    }
    if inode != 0 {
        remember(reads, file, inode);
    }
    let _there = PAGE_ROWS.insert(&key, &EMPTY, BPF_NOEXIST);
    let Some(row) = PAGE_ROWS.get_ptr_mut(&key) else {
        tally(total::ROWS_FULL, pages);
        return None;
    };
    // SAFETY: the map's value; of several CPUs any one's name will do.
    unsafe { (*row).comm = bpf_get_current_comm().unwrap_or_default() };
    Some(Counts(row))
}

/// Keeps the file's name, and that it is followed.
#[inline(always)]
fn remember(reads: &mut Reads, file: &FileKey, inode: u64) {
    if PAGE_FILES.get_ptr(file).is_some() {
        return;
    }
    let mut value = FileName {
        name: [0; NAME_LEN],
    };
    let alias: u64 = reads.kernel(inode as *const u8, offset!(inode_dentry));
    if alias != 0 {
        let dentry = alias.wrapping_sub(offset!(dentry_alias) as u64);
        let name: u64 = reads.kernel(dentry as *const u8, offset!(dentry_name));
        // SAFETY: the helper copes with any source address; the name has room for NAME_LEN bytes.
        unsafe {
            bpf_probe_read_kernel_str(
                value.name.as_mut_ptr().cast(),
                NAME_LEN as u32,
                name as *const _,
            )
        };
    }
    let _full = PAGE_FILES.insert(file, &value, BPF_NOEXIST);
}
