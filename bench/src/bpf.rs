//! Which BPF programs there are, whose they are, how often they ran and for how long.
//!
//! A tool of somebody else's on the same hook changes what a measurement shows, so every block is taken
//! between two looks at the list of loaded tracing programs.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd as _, FromRawFd as _, OwnedFd};

use probes_user::instrument::sys;

const BPF_PROG_GET_NEXT_ID: u32 = 11;
const BPF_PROG_GET_FD_BY_ID: u32 = 13;

/// BPF_PROG_TYPE_KPROBE, TRACEPOINT, PERF_EVENT, RAW_TRACEPOINT, RAW_TRACEPOINT_WRITABLE, TRACING.
const TRACING: [u32; 6] = [2, 5, 7, 17, 24, 26];

/// `struct { start_id or prog_id, next_id, open_flags }` of `union bpf_attr`.
fn bpf(command: u32, attr: &mut [u32; 3]) -> io::Result<i64> {
    // SAFETY: `attr` is a prefix of union bpf_attr and lives through the call.
    let got =
        unsafe { libc::syscall(libc::SYS_bpf, command, attr.as_mut_ptr(), size_of_val(attr)) };
    if got < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(got)
    }
}

fn open(id: u32) -> io::Result<OwnedFd> {
    let fd = bpf(BPF_PROG_GET_FD_BY_ID, &mut [id, 0, 0])?;
    // SAFETY: the kernel has just handed out this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Programs that tracing tools have loaded, everybody's. `hooks`: of those that are put on something by its
/// number in BTF, only where it is one of these.
pub fn tracing(hooks: Option<&[u32]>) -> BTreeSet<u32> {
    let concerns = |kind: u32, hook: u32| match hooks {
        Some(hooks) if kind == sys::BPF_PROG_TYPE_TRACING && hook != 0 => hooks.contains(&hook),
        _ => TRACING.contains(&kind),
    };
    let (mut found, mut attr) = (BTreeSet::new(), [0; 3]);
    while bpf(BPF_PROG_GET_NEXT_ID, &mut attr).is_ok() {
        let id = attr[1];
        let info = open(id).and_then(|fd| sys::prog_info(fd.as_fd()));
        if info.is_ok_and(|info| concerns(info.type_, info.attach_btf_id)) {
            found.insert(id);
        }
        attr = [id, 0, 0];
    }
    found
}

/// The programs that a process holds, directly or by a link.
pub fn of_process(pid: u32) -> BTreeSet<u32> {
    let Ok(files) = std::fs::read_dir(format!("/proc/{pid}/fdinfo")) else {
        return BTreeSet::new();
    };
    let texts = files.filter_map(|file| std::fs::read_to_string(file.ok()?.path()).ok());
    let id = |text: String| -> Option<u32> {
        let line = text.lines().find_map(|line| line.strip_prefix("prog_id:"));
        line?.trim().parse().ok()
    };
    texts.filter_map(id).collect()
}

/// Runs and nanoseconds of these programs together.
pub fn counted(ids: &BTreeSet<u32>) -> (u64, u64) {
    let infos = ids
        .iter()
        .filter_map(|id| sys::prog_info(open(*id).ok()?.as_fd()).ok());
    infos.fold((0, 0), |(runs, ns), info| {
        (runs + info.run_cnt, ns + info.run_time_ns)
    })
}
