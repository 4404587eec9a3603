//! Two tasks on one CPU that hand a byte to and fro: one wakeup and one switch for each message.
//!
//! SCHED_BATCH keeps a task that is woken from taking the CPU at once; with it every message is one wakeup
//! and one switch exactly.

use anyhow::Result;
use rustix::pipe::pipe;

const SCHED_BATCH: i32 = 3;

fn batch() {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the calling thread, with a struct that lives through the call.
    unsafe { libc::sched_setscheduler(0, SCHED_BATCH, &raw const parameters) };
}

pub fn start() -> Result<Box<dyn FnMut(u64) -> Result<()>>> {
    let ((here, back), (there, forth)) = (pipe()?, pipe()?);
    std::thread::spawn(move || {
        batch();
        let mut byte = [0];
        while rustix::io::read(&there, &mut byte) == Ok(1) {
            if rustix::io::write(&back, &byte) != Ok(1) {
                break;
            }
        }
    });
    batch();
    Ok(Box::new(move |count| {
        let mut byte = [0];
        for _ in 0..count / 2 {
            rustix::io::write(&forth, &byte)?;
            rustix::io::read(&here, &mut byte)?;
        }
        Ok(())
    }))
}
