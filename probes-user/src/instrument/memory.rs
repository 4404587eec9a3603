//! Memory shared with the BPF maps: the control record, a byte per pid, a bit per port.
//!
//! Mapped shared, so a forked child writes the same control record the programs read.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use anyhow::{Context, Result};
use probes_common::Control;
use probes_common::control::SockFilter;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::blocks::{BlockMaps, Blocks};
use super::counts::Counts;
use super::pages::{PageMaps, Pages};
use super::runqueue::RunqueueMaps;
use super::surgeon::Surgeon;
use crate::lab::KernelView;
use crate::lab::counted::Counted;
use crate::lab::surgeon::{Counts as RuleCounts, Rule};

/// A shared mapping of a map, or of a part of it.
#[derive(Debug)]
pub struct Mapping {
    address: *mut libc::c_void,
    len: usize,
}

// SAFETY: the mapping is plain memory; every access through it is atomic.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// # Errors
    /// The kernel's: EPERM for a frozen map, EINVAL for a map that cannot be mapped.
    pub fn new(map: BorrowedFd<'_>, offset: u64, len: usize, write: bool) -> io::Result<Mapping> {
        let prot = if write {
            ProtFlags::READ | ProtFlags::WRITE
        } else {
            ProtFlags::READ
        };
        // SAFETY: a new mapping at an address of the kernel's choice.
        let address = unsafe {
            mmap(
                std::ptr::null_mut(),
                len,
                prot,
                MapFlags::SHARED,
                map,
                offset,
            )?
        };
        Ok(Mapping { address, len })
    }

    pub fn as_ptr(&self) -> *mut u8 {
        self.address.cast()
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn byte(&self, index: usize) -> Option<&AtomicU8> {
        // SAFETY: inside the mapping, which lives as long as the reference.
        (index < self.len).then(|| unsafe { AtomicU8::from_ptr(self.as_ptr().add(index)) })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped in `new`, not handed out beyond borrows.
        let unmapped = unsafe { munmap(self.address, self.len) };
        debug_assert!(unmapped.is_ok());
    }
}

/// The mapped maps by which user space and the programs talk.
#[derive(Debug)]
pub struct Shared {
    pub(crate) control: Mapping,
    pub(crate) watch: Mapping,
    pub(crate) asleep: Mapping,
    pub(crate) pending: Mapping,
    pub(crate) ports: Mapping,
    pub(crate) surgeon: Option<Surgeon>,
    pub(crate) blocks: Option<BlockMaps>,
    pub(crate) pages: Option<PageMaps>,
    pub(crate) runqueue: Option<RunqueueMaps>,
    pub(crate) counts: Counts,
}

impl Shared {
    fn surgeon(&self) -> Result<&Surgeon> {
        self.surgeon.as_ref().context(
            "no surgeon: the trace does not ask for one, or it was not loaded (`probes doctor` says why)",
        )
    }

    /// # Errors
    /// The trace does not ask for the instrument `block`.
    pub fn block_maps(&self) -> Result<&BlockMaps> {
        self.blocks
            .as_ref()
            .context("no counts of disks: the trace does not ask for the instrument block")
    }

    /// None = the trace does not ask for the instrument `runqueue`.
    pub fn runqueue_maps(&self) -> Option<&RunqueueMaps> {
        self.runqueue.as_ref()
    }

    /// Is the instrument `page_cache` loaded?
    pub fn counts_pages(&self) -> bool {
        self.pages.is_some()
    }

    fn word(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: `offset` is that of an aligned u32 of Control, inside the mapping.
        unsafe { AtomicU32::from_ptr(self.control.as_ptr().add(offset).cast()) }
    }

    /// Opens or cuts the window: nothing is sent while it is closed.
    pub fn set_enabled(&self, enabled: bool) {
        self.word(std::mem::offset_of!(Control, enabled))
            .store(u32::from(enabled), Ordering::SeqCst);
    }

    /// Closes the window and returns when no program that saw it open still runs, so that what is read
    /// from the ring afterwards is all there will be. BPF programs are RCU readers, and this command waits
    /// for all readers (kernel/sched/membarrier.c; refused with nohz_full, where nothing is waited for).
    pub fn cut(&self) {
        const MEMBARRIER_CMD_GLOBAL: libc::c_long = 1;
        self.set_enabled(false);
        // SAFETY: takes numbers only.
        let _refused = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    }

    /// Only sockets of this network namespace are followed; 0 = of any.
    pub fn set_netns(&self, inum: u32) {
        self.word(std::mem::offset_of!(Control, netns))
            .store(inum, Ordering::SeqCst);
    }

    /// Which sockets the instruments of TCP follow.
    pub fn set_sockets(&self, filter: &SockFilter) {
        let base = std::mem::offset_of!(Control, sockets);
        // SAFETY: repr(C) integers without padding, read as bytes.
        let bytes = unsafe {
            std::slice::from_raw_parts(
                std::ptr::from_ref(filter).cast::<u8>(),
                size_of::<SockFilter>(),
            )
        };
        // The switch comes first in memory and is set last.
        for (index, byte) in bytes.iter().enumerate().rev() {
            if let Some(cell) = self.control.byte(base + index) {
                cell.store(*byte, Ordering::SeqCst);
            }
        }
    }

    /// Tasks that take this name by exec are watched from then on. At most 15 bytes count.
    pub fn set_exec_comm(&self, comm: &str) {
        let base = std::mem::offset_of!(Control, exec_comm);
        let mut bytes = [0u8; 16];
        let taken = comm.len().min(15);
        bytes[..taken].copy_from_slice(&comm.as_bytes()[..taken]);
        for (index, byte) in bytes.into_iter().enumerate() {
            if let Some(cell) = self.control.byte(base + index) {
                cell.store(byte, Ordering::SeqCst);
            }
        }
    }

    /// `bits`: `probes_common::Task`; 0 = not watched any more.
    pub fn watch(&self, pid: u32, bits: u8) {
        if let Some(cell) = self.watch.byte(pid as usize) {
            cell.store(bits, Ordering::SeqCst);
        }
    }

    pub fn is_watched(&self, pid: u32) -> bool {
        self.watch
            .byte(pid as usize)
            .is_some_and(|cell| cell.load(Ordering::SeqCst) != 0)
    }

    /// What is known of a task found asleep before the probes were attached.
    pub fn set_asleep(&self, pid: u32, asleep: bool) {
        if let Some(cell) = self.asleep.byte(pid as usize) {
            cell.store(u8::from(asleep), Ordering::SeqCst);
        }
    }

    pub fn follow_port(&self, port: u16) {
        if let Some(cell) = self.ports.byte(usize::from(port) / 8) {
            cell.fetch_or(1 << (port % 8), Ordering::SeqCst);
        }
    }

    pub fn forget_ports(&self) {
        for index in 0..self.ports.len() {
            if let Some(cell) = self.ports.byte(index) {
                cell.store(0, Ordering::SeqCst);
            }
        }
    }
}

impl KernelView for Shared {
    fn asleep(&self, pid: u32) -> bool {
        let set = |mapping: &Mapping| {
            mapping
                .byte(pid as usize)
                .is_some_and(|cell| cell.load(Ordering::SeqCst) != 0)
        };
        set(&self.asleep) && !set(&self.pending)
    }

    fn set_phase(&self, phase: u32) {
        self.word(std::mem::offset_of!(Control, phase))
            .store(phase, Ordering::SeqCst);
    }

    fn operate(&self, interface: &str) -> Result<()> {
        self.surgeon()?.operate(interface)
    }

    fn set_rules(&self, rules: &[Rule]) -> Result<()> {
        self.surgeon()?.set_rules(rules)
    }

    fn rule_counts(&self) -> Result<Vec<RuleCounts>> {
        self.surgeon()?.rule_counts()
    }

    fn follow_disks(&self, disks: &[u32]) -> Result<()> {
        self.block_maps()?.follow(Some(disks), 0)
    }

    fn blocks(&self) -> Result<Blocks> {
        self.block_maps()?.read()
    }

    fn pages(&self) -> Result<Pages> {
        let maps = self.pages.as_ref();
        maps.context("no counts of pages: the trace does not ask for the instrument page_cache")?
            .read()
    }

    fn follow(&self, pid: u32, bits: u8) -> Result<()> {
        self.watch(pid, bits);
        Ok(())
    }

    fn counted(&self, phase: u32) -> Result<Counted> {
        self.counts.read(phase)
    }
}
