//! The file behind a descriptor of the current task.

use aya_ebpf::helpers::bpf_get_current_task;

use crate::offset;
use crate::read::Reads;

/// `struct file *` (current->files->fdt->fd[fd]); 0 = there is none.
#[inline(always)]
pub fn file_of(reads: &mut Reads, fd: u32) -> u64 {
    // SAFETY: takes nothing, returns a pointer that only probe reads follow.
    let task = unsafe { bpf_get_current_task() } as *const u8;
    let files: u64 = reads.kernel(task, offset!(task_files));
    let table: u64 = reads.kernel(files as *const u8, offset!(files_fdt));
    let max: u32 = reads.kernel(table as *const u8, offset!(fdt_max_fds));
    if fd >= max {
        return 0;
    }
    let array: u64 = reads.kernel(table as *const u8, offset!(fdt_fd));
    reads.kernel((array + fd as u64 * 8) as *const u8, 0)
}
