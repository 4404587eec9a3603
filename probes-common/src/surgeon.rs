//! What the surgeon is to do: one map value, replaced and read as a whole under its lock.
//!
//! The lock makes "the k-th packet" exact: two CPUs that see a matching packet at once get two numbers. Atomic
//! additions that return the old value came only with 5.12.

/// Rules at a time.
pub const RULES: usize = 16;

/// Bits of [`Rule::segments`], and of what a packet is. A packet can be several: a FIN with payload is both.
pub const SEGMENT_ANY: u32 = 1;
pub const SEGMENT_SYN: u32 = 1 << 1;
pub const SEGMENT_SYNACK: u32 = 1 << 2;
pub const SEGMENT_PURE_ACK: u32 = 1 << 3;
pub const SEGMENT_DATA: u32 = 1 << 4;
pub const SEGMENT_FIN: u32 = 1 << 5;
pub const SEGMENT_RST: u32 = 1 << 6;

/// A rule and what came of it.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Debug))]
#[repr(C)]
pub struct Rule {
    pub number: u32,
    /// A packet matches that has one of these bits.
    pub segments: u32,
    /// 0 = any.
    pub source_port: u16,
    /// 0 = any.
    pub dest_port: u16,
    pub skip: u32,
    pub drop: u32,
    /// At least 1.
    pub every: u32,
    pub matched: u64,
    pub dropped: u64,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Debug))]
#[repr(C)]
pub struct RuleSet {
    /// `struct bpf_spin_lock`: the kernel's own, never read or written by us.
    pub lock: u32,
    /// Inode number of the network namespace that the rules are for; packets of others pass.
    pub netns: u32,
    pub len: u32,
    pub _pad: u32,
    pub rules: [Rule; RULES],
}

const _: () = assert!(size_of::<Rule>() == 40 && size_of::<RuleSet>() == 16 + 40 * RULES);

// SAFETY: repr(C) integers without padding, as the sizes above say.
unsafe impl crate::control::Plain for RuleSet {}
