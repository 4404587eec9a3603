//! The scripts: every case is one connection (or two) that ends in one way, over IPv4 and over IPv6.

mod causes;
mod closes;
mod destroy;
pub mod ends;

use crate::lab::family::Family;
use std::time::Duration;

use anyhow::Result;

use crate::lab::script::{Case, Stage};

/// For each wait; an emulated guest needs a good part of it.
const BUDGET: Duration = Duration::from_secs(40);
/// SO_LINGER of the case in which the peer reads in time, seconds.
pub const LINGER_LONG: Duration = Duration::from_secs(20);
/// SO_LINGER of the cases in which it does not.
pub const LINGER_SHORT: Duration = Duration::from_secs(1);
/// How long the peer of `linger/acked` waits before it reads.
pub const HOLD: Duration = Duration::from_millis(300);
/// Bytes that are delivered, and not read.
pub const FEW: u64 = 1000;
/// Bytes that do not fit the small window.
pub const MANY: u64 = 200_000;

type Script = fn(&mut Stage, Family) -> Result<()>;

/// Label without family, script, sysctls.
type Row = (
    &'static str,
    Script,
    &'static [(&'static str, &'static str)],
);

static ROWS: &[Row] = &[
    ("drain", closes::drain, &[]),
    ("unread/all", closes::unread_all, &[]),
    ("unread/one", closes::unread_one, &[]),
    ("unread/none", closes::unread_none, &[]),
    ("linger-zero/idle", closes::linger_zero_idle, &[]),
    ("linger-zero/unsent", closes::linger_zero_unsent, &[]),
    ("linger-zero/off", closes::linger_zero_off, &[]),
    ("discard/read", closes::discard_read, &[]),
    ("discard/write-first", closes::discard_write_first, &[]),
    ("linger/acked", closes::linger_acked, &[]),
    ("linger/expires", closes::linger_expires, &[]),
    ("linger/nonblocking", closes::linger_nonblocking, &[]),
    ("cause/killed-unread", causes::killed_unread, &[]),
    ("cause/killed-linger-zero", causes::killed_linger_zero, &[]),
    ("cause/killed-read", causes::killed_read, &[]),
    ("cause/linger2", causes::linger2, &[]),
    ("cause/disconnect", causes::disconnect, &[]),
    ("cause/listener-closed", causes::listener_closed, &[]),
    ("cause/destroyed", causes::destroyed, &[]),
    ("cause/data-after-close", causes::data_after_close, &[]),
    ("cause/late-data", causes::late_data, &[]),
    ("cause/closed-port", causes::closed_port, &[]),
    (
        "cause/queue-full",
        causes::queue_full,
        &[
            ("net.ipv4.tcp_abort_on_overflow", "1"),
            ("net.ipv4.tcp_syncookies", "0"),
        ],
    ),
    ("cause/keepalive", causes::keepalive, &[]),
];

/// The cases whose label `wanted` lets through.
pub fn cases(wanted: impl Fn(&str) -> bool) -> Vec<Case> {
    let families = [Family::V4, Family::V6];
    let all = families
        .iter()
        .flat_map(|family| ROWS.iter().map(move |row| case(row, *family)));
    all.filter(|case| wanted(&case.label)).collect()
}

fn case((name, script, sysctls): &Row, family: Family) -> Case {
    let script = *script;
    let label = format!("{name}/{}", family.name());
    let case = Case::new(label, BUDGET, move |stage| script(stage, family));
    sysctls
        .iter()
        .fold(case, |case, (name, value)| case.sysctl(name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_is_there_for_both_families_and_once() {
        let labels: Vec<String> = cases(|_| true).into_iter().map(|case| case.label).collect();
        let mut unique = labels.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(labels.len(), unique.len());
        assert_eq!(labels.len(), 2 * ROWS.len());
        assert_eq!(cases(|label| label == "drain/v6").len(), 1);
    }
}
