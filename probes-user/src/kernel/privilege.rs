//! Capabilities by name. Root in a container often lacks some; a user may have been given some.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The capabilities that matter here, with their numbers from include/uapi/linux/capability.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Capability {
    NetAdmin = 12,
    SysAdmin = 21,
    SysResource = 24,
    Syslog = 34,
    /// With `Bpf` in place of `SysAdmin` since 5.8.
    Perfmon = 38,
    Bpf = 39,
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NetAdmin => "CAP_NET_ADMIN",
            Self::SysAdmin => "CAP_SYS_ADMIN",
            Self::SysResource => "CAP_SYS_RESOURCE",
            Self::Syslog => "CAP_SYSLOG",
            Self::Perfmon => "CAP_PERFMON",
            Self::Bpf => "CAP_BPF",
        })
    }
}

/// The effective set of this process, one bit per capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities(pub u64);

impl Capabilities {
    pub const ALL: Self = Self(u64::MAX);
    pub const NONE: Self = Self(0);

    /// CAP_SYS_ADMIN stands in for those that were split from it: CAP_BPF and CAP_PERFMON (5.8), not for
    /// CAP_SYSLOG (`kallsyms_show_value` asks for that one alone).
    pub fn has(self, capability: Capability) -> bool {
        let bit = |c: Capability| self.0 >> (c as u8) & 1 == 1;
        let split = matches!(capability, Capability::Bpf | Capability::Perfmon);
        bit(capability) || (split && bit(Capability::SysAdmin))
    }

    /// Those of `needed` that are lacking, as a list for a message; empty if none is.
    pub fn lacking(self, needed: &[Capability]) -> String {
        let names: Vec<String> = needed
            .iter()
            .filter(|c| !self.has(**c))
            .map(ToString::to_string)
            .collect();
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::{Capabilities, Capability};

    #[test]
    fn sys_admin_stands_in_for_what_was_split_from_it() {
        let admin = Capabilities(1 << 21);
        assert_eq!(
            admin.lacking(&[Capability::Bpf, Capability::Perfmon, Capability::SysAdmin]),
            ""
        );
        assert_eq!(
            admin.lacking(&[Capability::NetAdmin, Capability::Syslog]),
            "CAP_NET_ADMIN, CAP_SYSLOG"
        );
        let split = Capabilities(1 << 38 | 1 << 39);
        assert_eq!(
            split.lacking(&[Capability::Bpf, Capability::Perfmon, Capability::SysAdmin]),
            "CAP_SYS_ADMIN"
        );
    }
}
