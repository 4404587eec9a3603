//! The bpf(2) calls the loader needs, each with its own argument struct (include/uapi/linux/bpf.h).
//!
//! Every struct is a prefix of `union bpf_attr`; the kernel takes the rest as zero.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use aya_obj::generated::{bpf_insn, bpf_map_info, bpf_prog_info};

const BPF_MAP_CREATE: u32 = 0;
const BPF_MAP_LOOKUP_ELEM: u32 = 1;
const BPF_MAP_UPDATE_ELEM: u32 = 2;
const BPF_MAP_GET_NEXT_KEY: u32 = 4;
const BPF_PROG_LOAD: u32 = 5;
const BPF_PROG_RUN: u32 = 10;
const BPF_BTF_LOAD: u32 = 18;
const BPF_OBJ_GET_INFO_BY_FD: u32 = 15;
const BPF_RAW_TRACEPOINT_OPEN: u32 = 17;
const BPF_MAP_FREEZE: u32 = 22;
const BPF_LINK_CREATE: u32 = 28;
const BPF_ENABLE_STATS: u32 = 32;

/// The kernel's limit for object names, with the closing NUL.
const NAME_LEN: usize = 16;

pub const BPF_MAP_TYPE_ARRAY: u32 = 2;
pub const BPF_MAP_TYPE_RINGBUF: u32 = 27;
pub const BPF_F_RDONLY_PROG: u32 = 1 << 7;
const BPF_F_LOCK: u64 = 4;

pub const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
pub const BPF_PROG_TYPE_RAW_TRACEPOINT: u32 = 17;
pub const BPF_PROG_TYPE_TRACING: u32 = 26;
/// Runs once, in the caller's own call (since 5.14).
pub const BPF_PROG_TYPE_SYSCALL: u32 = 31;
/// Such programs must be loaded as sleepable.
const BPF_F_SLEEPABLE: u32 = 1 << 4;
pub const BPF_TRACE_RAW_TP: u32 = 23;
pub const BPF_TRACE_FENTRY: u32 = 24;
pub const BPF_TRACE_FEXIT: u32 = 25;

fn bpf<T>(command: u32, attr: &mut T) -> io::Result<i64> {
    // SAFETY: `attr` is a prefix of union bpf_attr and lives through the call.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attr),
            size_of::<T>(),
        )
    };
    if ret < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(ret)
    }
}

fn owned(fd: i64) -> OwnedFd {
    // SAFETY: the kernel has just handed out this descriptor, close-on-exec, to us alone.
    unsafe { OwnedFd::from_raw_fd(fd as i32) }
}

fn name_of(name: &str) -> [u8; NAME_LEN] {
    let mut bytes = [0; NAME_LEN];
    let allowed = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_' || *b == b'.';
    for (slot, byte) in bytes[..NAME_LEN - 1]
        .iter_mut()
        .zip(name.bytes().filter(allowed))
    {
        *slot = byte;
    }
    bytes
}

#[derive(Debug, Clone, Copy)]
pub struct MapSpec<'a> {
    pub name: &'a str,
    pub kind: u32,
    pub key_size: u32,
    pub value_size: u32,
    pub max_entries: u32,
    pub flags: u32,
    /// What its key and value are, for maps with a lock: BTF and the two types in it.
    pub types: Option<(BorrowedFd<'a>, u32, u32)>,
}

/// # Errors
/// The kernel's: EPERM without privilege (or memlock before 5.11), EINVAL for a map type it lacks, ENOMEM.
pub fn map_create(spec: &MapSpec<'_>) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        map_type: u32,
        key_size: u32,
        value_size: u32,
        max_entries: u32,
        map_flags: u32,
        inner_map_fd: u32,
        numa_node: u32,
        map_name: [u8; NAME_LEN],
        map_ifindex: u32,
        btf_fd: u32,
        btf_key_type_id: u32,
        btf_value_type_id: u32,
    }
    let (btf_fd, key, value) = spec.types.map_or((0, 0, 0), |(fd, key, value)| {
        (fd.as_raw_fd() as u32, key, value)
    });
    let mut attr = Attr {
        map_type: spec.kind,
        key_size: spec.key_size,
        value_size: spec.value_size,
        max_entries: spec.max_entries,
        map_flags: spec.flags,
        inner_map_fd: 0,
        numa_node: 0,
        map_name: name_of(spec.name),
        map_ifindex: 0,
        btf_fd,
        btf_key_type_id: key,
        btf_value_type_id: value,
    };
    bpf(BPF_MAP_CREATE, &mut attr).map(owned)
}

/// One element of a map; `value` points to room for the whole value.
fn element(command: u32, map: BorrowedFd<'_>, key: u32, value: u64, flags: u64) -> io::Result<()> {
    with_flags(command, map, &raw const key as u64, value, flags)
}

fn keyed(command: u32, map: BorrowedFd<'_>, key: u64, value: u64) -> io::Result<()> {
    with_flags(command, map, key, value, 0)
}

/// `key` and `value` are addresses.
fn with_flags(
    command: u32,
    map: BorrowedFd<'_>,
    key: u64,
    value: u64,
    flags: u64,
) -> io::Result<()> {
    #[repr(C)]
    struct Attr {
        map_fd: u32,
        _pad: u32,
        key: u64,
        value: u64,
        flags: u64,
    }
    let mut attr = Attr {
        map_fd: map.as_raw_fd() as u32,
        _pad: 0,
        key,
        value,
        flags,
    };
    bpf(command, &mut attr).map(drop)
}

/// Writes element `key` of an array map; `value` has the map's value size.
///
/// # Errors
/// The kernel's.
pub fn map_update(map: BorrowedFd<'_>, key: u32, value: &[u8]) -> io::Result<()> {
    element(BPF_MAP_UPDATE_ELEM, map, key, value.as_ptr() as u64, 0)
}

/// Reads element `key`; `value` has room for the value, times the possible CPUs for per-CPU maps.
///
/// # Errors
/// The kernel's.
pub fn map_lookup(map: BorrowedFd<'_>, key: u32, value: &mut [u8]) -> io::Result<()> {
    element(BPF_MAP_LOOKUP_ELEM, map, key, value.as_mut_ptr() as u64, 0)
}

/// Writes element `key` of a map with a lock, under that lock.
///
/// # Errors
/// The kernel's.
pub fn map_update_locked(map: BorrowedFd<'_>, key: u32, value: &[u8]) -> io::Result<()> {
    element(
        BPF_MAP_UPDATE_ELEM,
        map,
        key,
        value.as_ptr() as u64,
        BPF_F_LOCK,
    )
}

/// Reads element `key` of a map with a lock, under that lock.
///
/// # Errors
/// The kernel's.
pub fn map_lookup_locked(map: BorrowedFd<'_>, key: u32, value: &mut [u8]) -> io::Result<()> {
    let value = value.as_mut_ptr() as u64;
    element(BPF_MAP_LOOKUP_ELEM, map, key, value, BPF_F_LOCK)
}

/// The key after `key` of a hash map, in no order; None of `key` = the first. `next` has the key size.
/// False = there is none.
///
/// # Errors
/// The kernel's.
pub fn map_next_key(map: BorrowedFd<'_>, key: Option<&[u8]>, next: &mut [u8]) -> io::Result<bool> {
    let key = key.map_or(0, |key| key.as_ptr() as u64);
    match keyed(BPF_MAP_GET_NEXT_KEY, map, key, next.as_mut_ptr() as u64) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Reads the element of a hash map; sizes as for [`map_lookup`]. False = it is not there.
///
/// # Errors
/// The kernel's.
pub fn map_lookup_key(map: BorrowedFd<'_>, key: &[u8], value: &mut [u8]) -> io::Result<bool> {
    let (key, value) = (key.as_ptr() as u64, value.as_mut_ptr() as u64);
    match keyed(BPF_MAP_LOOKUP_ELEM, map, key, value) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Hands types to the kernel.
///
/// # Errors
/// The kernel's: EINVAL for types that it does not understand.
pub fn btf_load(btf: &[u8]) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        btf: u64,
        log_buf: u64,
        btf_size: u32,
        log_size: u32,
        log_level: u32,
        _pad: u32,
    }
    let mut attr = Attr {
        btf: btf.as_ptr() as u64,
        log_buf: 0,
        btf_size: btf.len() as u32,
        log_size: 0,
        log_level: 0,
        _pad: 0,
    };
    bpf(BPF_BTF_LOAD, &mut attr).map(owned)
}

/// No more writes from user space; the verifier takes the contents as constants.
///
/// # Errors
/// The kernel's.
pub fn map_freeze(map: BorrowedFd<'_>) -> io::Result<()> {
    let mut fd = map.as_raw_fd() as u32;
    bpf(BPF_MAP_FREEZE, &mut fd).map(drop)
}

#[derive(Debug, Clone, Copy)]
pub struct ProgramSpec<'a> {
    pub name: &'a str,
    pub kind: u32,
    pub attach_type: u32,
    /// BTF type id of the tracepoint's typedef or of the function; 0 for other kinds.
    pub attach_btf_id: u32,
    pub license: &'a CStr,
    pub instructions: &'a [bpf_insn],
}

/// Loads a program; `log` takes the verifier's words when it is not empty.
///
/// # Errors
/// The kernel's: EPERM, EINVAL or EACCES from the verifier, ENOENT for a foreign BTF id.
pub fn prog_load(spec: &ProgramSpec<'_>, log: &mut [u8]) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        prog_type: u32,
        insn_cnt: u32,
        insns: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log_buf: u64,
        kern_version: u32,
        prog_flags: u32,
        prog_name: [u8; NAME_LEN],
        prog_ifindex: u32,
        expected_attach_type: u32,
        prog_btf_fd: u32,
        func_info_rec_size: u32,
        func_info: u64,
        func_info_cnt: u32,
        line_info_rec_size: u32,
        line_info: u64,
        line_info_cnt: u32,
        attach_btf_id: u32,
        attach_prog_fd: u32,
        _pad: u32,
    }
    let mut attr = Attr {
        prog_type: spec.kind,
        insn_cnt: spec.instructions.len() as u32,
        insns: spec.instructions.as_ptr() as u64,
        license: spec.license.as_ptr() as u64,
        log_level: u32::from(!log.is_empty()),
        log_size: log.len() as u32,
        log_buf: if log.is_empty() {
            0
        } else {
            log.as_mut_ptr() as u64
        },
        kern_version: 0,
        prog_flags: match spec.kind {
            BPF_PROG_TYPE_SYSCALL => BPF_F_SLEEPABLE,
            _ => 0,
        },
        prog_name: name_of(spec.name),
        prog_ifindex: 0,
        expected_attach_type: spec.attach_type,
        prog_btf_fd: 0,
        func_info_rec_size: 0,
        func_info: 0,
        func_info_cnt: 0,
        line_info_rec_size: 0,
        line_info: 0,
        line_info_cnt: 0,
        attach_btf_id: spec.attach_btf_id,
        attach_prog_fd: 0,
        _pad: 0,
    };
    bpf(BPF_PROG_LOAD, &mut attr).map(owned)
}

/// Runs a program of type `syscall` once on `argument`, which it may change.
///
/// # Errors
/// The kernel's.
pub fn prog_run(program: BorrowedFd<'_>, argument: &mut [u64]) -> io::Result<()> {
    #[repr(C)]
    struct Attr {
        prog_fd: u32,
        retval: u32,
        data_size_in: u32,
        data_size_out: u32,
        data_in: u64,
        data_out: u64,
        repeat: u32,
        duration: u32,
        ctx_size_in: u32,
        ctx_size_out: u32,
        ctx_in: u64,
        ctx_out: u64,
    }
    let mut attr = Attr {
        prog_fd: program.as_raw_fd() as u32,
        retval: 0,
        data_size_in: 0,
        data_size_out: 0,
        data_in: 0,
        data_out: 0,
        repeat: 0,
        duration: 0,
        ctx_size_in: size_of_val(argument) as u32,
        ctx_size_out: 0,
        ctx_in: argument.as_mut_ptr() as u64,
        ctx_out: 0,
    };
    bpf(BPF_PROG_RUN, &mut attr).map(drop)
}

/// Attaches tp_btf, fentry and fexit programs (no name) and raw tracepoints (by name). The link dies with
/// the descriptor.
///
/// # Errors
/// The kernel's: ENOENT for an unknown tracepoint, EBUSY for a function that cannot be traced.
pub fn raw_tracepoint_open(program: BorrowedFd<'_>, name: Option<&CStr>) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        name: u64,
        prog_fd: u32,
        _pad: u32,
    }
    let mut attr = Attr {
        name: name.map_or(0, |name| name.as_ptr() as u64),
        prog_fd: program.as_raw_fd() as u32,
        _pad: 0,
    };
    bpf(BPF_RAW_TRACEPOINT_OPEN, &mut attr).map(owned)
}

/// Binds a program to a control group (since 5.7). The link dies with the descriptor.
///
/// # Errors
/// The kernel's: EINVAL without CONFIG_CGROUP_BPF.
pub fn link_create(
    program: BorrowedFd<'_>,
    target: BorrowedFd<'_>,
    attach_type: u32,
) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        prog_fd: u32,
        target_fd: u32,
        attach_type: u32,
        flags: u32,
    }
    let mut attr = Attr {
        prog_fd: program.as_raw_fd() as u32,
        target_fd: target.as_raw_fd() as u32,
        attach_type,
        flags: 0,
    };
    bpf(BPF_LINK_CREATE, &mut attr).map(owned)
}

/// # Safety
/// `T` is one of the kernel's info structs: plain integers, all zero is a value of it.
unsafe fn info<T>(fd: BorrowedFd<'_>) -> io::Result<T> {
    #[repr(C)]
    struct Attr {
        bpf_fd: u32,
        info_len: u32,
        info: u64,
    }
    // SAFETY: the caller's promise.
    let mut value: T = unsafe { std::mem::zeroed() };
    let mut attr = Attr {
        bpf_fd: fd.as_raw_fd() as u32,
        info_len: size_of::<T>() as u32,
        info: &raw mut value as u64,
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    Ok(value)
}

/// Runs, run time and recursion misses of a program.
///
/// # Errors
/// The kernel's.
pub fn prog_info(program: BorrowedFd<'_>) -> io::Result<bpf_prog_info> {
    // SAFETY: integers and bit fields.
    unsafe { info(program) }
}

/// # Errors
/// The kernel's.
pub fn map_info(map: BorrowedFd<'_>) -> io::Result<bpf_map_info> {
    // SAFETY: integers.
    unsafe { info(map) }
}

/// Run-time statistics of all programs, on as long as the descriptor lives (since 5.8).
///
/// # Errors
/// The kernel's.
pub fn enable_stats() -> io::Result<OwnedFd> {
    let mut run_time = 0u32;
    bpf(BPF_ENABLE_STATS, &mut run_time).map(owned)
}
