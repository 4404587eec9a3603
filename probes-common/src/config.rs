//! Switches that are fixed when the programs are loaded (read-only global `CONFIG`).

#[derive(Clone, Copy)]
#[cfg_attr(feature = "user", derive(Debug, PartialEq, Eq))]
#[repr(C)]
pub struct Config {
    /// 1 = loaded as tp_btf/fentry/fexit: typed kernel pointers are read directly (1 ns instead of 12).
    pub direct: u32,
    /// Byte-per-pid maps have `pid_mask + 1` bytes, a power of two above pid_max.
    pub pid_mask: u32,
    /// `sched_switch` carries prev_state as an argument.
    pub switch_has_state: u32,
    /// `tcp_child_process` is bracketed by function probes.
    pub bracketed: u32,
    /// One bit per followed x86-64 system call number.
    pub syscalls: [u64; 8],
}

impl Config {
    pub const NONE: Config = Config {
        direct: 0,
        pid_mask: 0,
        switch_has_state: 0,
        bracketed: 0,
        syscalls: [0; 8],
    };
}

const _: () = assert!(size_of::<Config>() == 80);
