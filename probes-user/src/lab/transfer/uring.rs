//! The same by io_uring: READ and SEND of each piece linked in one call, and SEND_ZC out of a mapping.
//!
//! One io_uring_enter submits a piece and waits for it. Setting up the ring is not part of what is measured.

use std::os::fd::AsRawFd as _;

use anyhow::{Context, Result, bail};
use io_uring::{IoUring, Probe, cqueue, opcode, squeue, types};

use super::method::{Sent, Work};
use crate::lab::mapping::Mapping;

/// IORING_SEND_ZC_REPORT_USAGE, IORING_NOTIF_USAGE_ZC_COPIED (include/uapi/linux/io_uring.h).
const REPORT_USAGE: u16 = 1 << 3;
const COPIED: u32 = 1 << 31;
const READ: u64 = 1;
const SEND: u64 = 2;

/// A ring, or why there is none.
pub type Ring = Result<IoUring, String>;

/// # Errors
/// None: what this kernel lacks is the answer.
pub fn ring(code: u8, name: &str) -> Ring {
    let ring = IoUring::new(64).map_err(|error| format!("io_uring_setup: {error}"))?;
    let mut probe = Probe::new();
    ring.submitter()
        .register_probe(&mut probe)
        .map_err(|error| format!("IORING_REGISTER_PROBE: {error}"))?;
    match probe.is_supported(code) {
        true => Ok(ring),
        false => Err(format!("this kernel's io_uring has no {name}")),
    }
}

struct Queue<'a> {
    ring: &'a mut IoUring,
    work: &'a Work<'a>,
    sent: Sent,
}

impl Queue<'_> {
    /// # Safety
    /// What the entry points to lives until its completion has come.
    unsafe fn push(&mut self, entry: &squeue::Entry) -> Result<()> {
        // SAFETY: the caller's promise.
        unsafe { self.ring.submission().push(entry) }.context("the submission queue is full")
    }

    /// Submits what was pushed and waits for so many completions.
    fn enter(&mut self, want: usize) -> Result<Vec<cqueue::Entry>> {
        self.work.stage.check()?;
        let mut got = Vec::with_capacity(want);
        while got.len() < want {
            self.sent.call("io_uring_enter");
            self.ring
                .submit_and_wait(want - got.len())
                .context("io_uring_enter")?;
            got.extend(self.ring.completion());
        }
        Ok(got)
    }

    fn socket(&self) -> types::Fd {
        types::Fd(self.work.socket.as_raw_fd())
    }
}

fn result(entry: &cqueue::Entry, what: &str) -> Result<usize> {
    match usize::try_from(entry.result()) {
        Ok(0) => bail!("{what} moved nothing"),
        Ok(bytes) => Ok(bytes),
        Err(_) => {
            Err(std::io::Error::from_raw_os_error(-entry.result())).with_context(|| what.to_owned())
        }
    }
}

/// Reads into memory of its own, and sends from there.
pub fn send(work: &Work<'_>, ring: &mut IoUring, buffer: &Mapping) -> Result<Sent> {
    let mut queue = Queue {
        ring,
        work,
        sent: Sent::default(),
    };
    while queue.sent.bytes < work.size {
        let (at, len) = (queue.sent.bytes, work.piece(queue.sent.bytes));
        let read = opcode::Read::new(
            types::Fd(work.file.as_raw_fd()),
            buffer.as_ptr(),
            len as u32,
        )
        .offset(at)
        .build()
        .flags(squeue::Flags::IO_LINK)
        .user_data(READ);
        // SAFETY: both completions are awaited before the buffer is used again.
        unsafe {
            queue.push(&read)?;
            let send = send_part(&queue, buffer, 0, len);
            queue.push(&send)?;
        }
        let mut done = 0;
        for entry in queue.enter(2)? {
            match entry.user_data() {
                READ if result(&entry, "IORING_OP_READ")? < len => bail!("a short read"),
                READ => {}
                _ => done = result(&entry, "IORING_OP_SEND")?,
            }
        }
        // Before 5.19 a send may be done in part.
        while done < len {
            // SAFETY: as above.
            unsafe {
                let rest = send_part(&queue, buffer, done, len - done);
                queue.push(&rest)?;
            }
            for entry in queue.enter(1)? {
                done += result(&entry, "IORING_OP_SEND")?;
            }
        }
        queue.sent.bytes += len as u64;
    }
    Ok(queue.sent)
}

fn send_part(queue: &Queue<'_>, buffer: &Mapping, from: usize, len: usize) -> squeue::Entry {
    let start = buffer.bytes()[from..].as_ptr();
    opcode::Send::new(queue.socket(), start, len as u32)
        .flags(libc::MSG_WAITALL)
        .build()
        .user_data(SEND)
}

/// Out of a mapping of the file; each send completes twice, the second time when its pages are free again.
pub fn send_zc(work: &Work<'_>, ring: &mut IoUring) -> Result<Sent> {
    let mut queue = Queue {
        ring,
        work,
        sent: Sent::default(),
    };
    queue.sent.call("mmap");
    let map = Mapping::new(work.file, work.size)?;
    let (mut flags, mut awaited) = (REPORT_USAGE, 0);
    while queue.sent.bytes < work.size {
        let (at, len) = (queue.sent.bytes, work.piece(queue.sent.bytes));
        let start = map.bytes()[usize::try_from(at)?..].as_ptr();
        let entry = opcode::SendZc::new(queue.socket(), start, len as u32)
            .zc_flags(flags)
            .build()
            .user_data(SEND);
        // SAFETY: the mapping outlives the notification, which is awaited below.
        unsafe { queue.push(&entry)? };
        match settle(&mut queue, &mut awaited, flags != 0)? {
            true => {}
            // 6.1 knows no such flag.
            false if flags != 0 => flags = 0,
            false => bail!("IORING_OP_SEND_ZC: EINVAL"),
        }
    }
    while awaited > 0 {
        for entry in queue.enter(1)? {
            notified(&mut queue.sent, &mut awaited, &entry, flags != 0);
        }
    }
    queue.sent.tells = Some(flags != 0);
    queue.sent.call("mmap");
    drop(map);
    Ok(queue.sent)
}

/// Waits for the result of one send; notifications of earlier ones come in between. False = EINVAL.
fn settle(queue: &mut Queue<'_>, awaited: &mut u64, tells: bool) -> Result<bool> {
    let mut outcome = None;
    while outcome.is_none() {
        for entry in queue.enter(1)? {
            if cqueue::notif(entry.flags()) {
                notified(&mut queue.sent, awaited, &entry, tells);
            } else if entry.result() == -libc::EINVAL {
                outcome = Some(false);
            } else {
                queue.sent.bytes += result(&entry, "IORING_OP_SEND_ZC")? as u64;
                queue.sent.zero_copy_sends += 1;
                *awaited += u64::from(cqueue::more(entry.flags()));
                outcome = Some(true);
            }
        }
    }
    Ok(outcome == Some(true))
}

fn notified(sent: &mut Sent, awaited: &mut u64, entry: &cqueue::Entry, tells: bool) {
    let copied = entry.result().cast_unsigned() & COPIED != 0;
    sent.completed += 1;
    sent.copied += u64::from(tells && copied);
    *awaited = awaited.saturating_sub(1);
}
