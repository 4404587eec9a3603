//! The maps. Sizes that depend on the machine (pid_max, the ring) are set by the loader.

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, PerCpuArray, RingBuf};
use probes_common::Control;
use probes_common::control::{PID_LIMIT, PORT_BYTES, counter};
use probes_common::copy::{CallRow, CopyRow, FAMILIES, SLOTS};

const BPF_F_MMAPABLE: u32 = 1 << 10;

/// All records, from all CPUs, in order of reservation.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// Rows of `probes_common::control::counter`.
#[map]
pub static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(counter::ROWS, 0);

#[map]
pub static CONTROL: Array<Control> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// One byte per pid: `probes_common::Task` bits. The loader sets the value size to the mask plus one.
#[map]
pub static WATCH: Array<[u8; PID_LIMIT]> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// One byte per watched pid: 1 = switched out in a sleeping state.
#[map]
pub static ASLEEP: Array<[u8; PID_LIMIT]> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// One byte per watched pid: 1 = between `sched_waking` and `sched_wakeup`.
#[map]
pub static PENDING: Array<[u8; PID_LIMIT]> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// One byte per watched pid: the kind of its last event that a copy has taken (see `again`).
#[map]
pub static HANDLED: Array<[u8; PID_LIMIT]> = Array::with_max_entries(1, 0);

/// A socket's transition.
#[repr(C)]
pub struct Transition {
    pub sock: u64,
    pub new: u64,
}

/// The same for sockets: the transition last seen by a first copy, by a hash of the ports.
#[map]
pub static TRANSITIONS: Array<Transition> = Array::with_max_entries(TRANSITION_SLOTS, 0);
pub const TRANSITION_SLOTS: u32 = 1024;

/// For the hooks of TCP: what a first copy took last, by hook and a hash of the object's address.
#[map]
pub static TAKEN: Array<u64> = Array::with_max_entries(TAKEN_HOOKS * TAKEN_SLOTS, 0);
pub const TAKEN_HOOKS: u32 = 8;
pub const TAKEN_SLOTS: u32 = 1024;

/// One bit per local TCP port whose sockets are followed.
#[map]
pub static PORTS: Array<[u8; PORT_BYTES]> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// What this CPU's softirq is delivering.
#[repr(C)]
pub struct Slot {
    /// The child socket that last became ESTABLISHED on this CPU, if its port is followed; else 0.
    pub conn: u64,
    /// 1 between entry and return of `tcp_child_process` (function probes only).
    pub in_child: u64,
}

#[map]
pub static SLOT: PerCpuArray<Slot> = PerCpuArray::with_max_entries(1, 0);

/// Rows of the lab's actions: what was copied.
#[map]
pub static COPIES: PerCpuArray<CopyRow> = PerCpuArray::with_max_entries(SLOTS, 0);

/// And which system calls were made, by family.
#[map]
pub static CALLS: PerCpuArray<CallRow> =
    PerCpuArray::with_max_entries(SLOTS * FAMILIES.len() as u32, 0);

/// The connection whose payload was sent last, and its next sequence number.
#[repr(C)]
pub struct LastSent {
    pub ports: u32,
    pub next: u32,
}

#[map]
pub static LAST_SENT: Array<LastSent> = Array::with_max_entries(1, 0);
