//! The surgeon's rules: which packet is to be lost. The programs are `probes-ebpf/src/surgeon.rs`.
//!
//! Every lost packet of a lab is lost by a rule, counted, and told as a `Packet` event with the rule's number,
//! so that a resend can be tied to the drop that caused it.

/// Rules at a time; the first that matches a packet decides.
pub const RULES: usize = 16;

/// What kind of segment, by its flags and payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Segment {
    Any = 0,
    /// SYN without ACK.
    Syn = 1,
    /// SYN with ACK.
    SynAck = 2,
    /// ACK without payload, and neither SYN, FIN nor RST.
    PureAck = 3,
    /// With payload.
    Data = 4,
    Fin = 5,
    Rst = 6,
}

/// Drops by kind, direction and count. All that is `None` or 0 does not restrict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Copied into the packet's event; from 1.
    pub number: u32,
    pub segment: Segment,
    pub source_port: Option<u16>,
    pub dest_port: Option<u16>,
    /// Matching packets that pass first.
    pub skip: u32,
    /// Then so many are dropped; `u32::MAX` = all from there on; 0 = none: the rule only counts.
    pub drop: u32,
    /// Of those after `skip`, drop only each n-th; 0 and 1 = each.
    pub every: u32,
}

impl Rule {
    pub const fn new(number: u32, segment: Segment) -> Rule {
        Rule {
            number,
            segment,
            source_port: None,
            dest_port: None,
            skip: 0,
            drop: u32::MAX,
            every: 1,
        }
    }

    #[must_use]
    pub const fn from(self, port: u16) -> Rule {
        Rule {
            source_port: Some(port),
            ..self
        }
    }

    #[must_use]
    pub const fn to(self, port: u16) -> Rule {
        Rule {
            dest_port: Some(port),
            ..self
        }
    }

    /// Drops the k-th (from 1) and no other.
    #[must_use]
    pub const fn kth(self, k: u32) -> Rule {
        Rule {
            skip: k.saturating_sub(1),
            drop: 1,
            ..self
        }
    }
}

/// What came of a rule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub matched: u64,
    pub dropped: u64,
}

#[cfg(test)]
#[path = "surgeon_tests.rs"]
mod tests;
