//! What a kernel prints when it is done for. A stalled RCU grace period is not among them: an
//! emulated guest on a busy host prints one and goes on.

const FATAL: &[&str] = &[
    "Kernel panic - not syncing",
    "BUG: ",
    "Oops: ",
    "kernel BUG at ",
    "general protection fault",
    "soft lockup - CPU",
    "Unable to mount root fs",
    "double fault",
];

/// Lines that carry such words without the meaning.
const HARMLESS: &[&str] = &["Debug: ", "Command line:", "kernel command line"];

/// The line's own words, without its time stamp, if the kernel cannot be trusted any more.
#[must_use]
pub fn fatal(line: &str) -> Option<&str> {
    let harmless = HARMLESS.iter().any(|marker| line.contains(marker));
    if harmless || !FATAL.iter().any(|marker| line.contains(marker)) {
        return None;
    }
    let line = line.trim();
    Some(
        match line
            .strip_prefix('[')
            .and_then(|rest| rest.split_once("] "))
        {
            Some((_, words)) => words.trim(),
            None => line,
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_an_oops_and_a_lockup_are_fatal() {
        for line in [
            "[    2.1] Kernel panic - not syncing: sysrq triggered crash",
            "[   12.0] BUG: kernel NULL pointer dereference, address: 0000000000000000",
            "[   12.0] Oops: 0002 [#1] SMP NOPTI",
            "[   99.0] watchdog: BUG: soft lockup - CPU#1 stuck for 67s! [probes:71]",
        ] {
            assert!(fatal(line).is_some(), "{line}");
        }
    }

    #[test]
    fn the_time_stamp_is_taken_off() {
        assert_eq!(
            fatal("[    2.123456] Kernel panic - not syncing: x\r"),
            Some("Kernel panic - not syncing: x")
        );
    }

    #[test]
    fn what_a_healthy_kernel_prints_is_not_fatal() {
        for line in [
            "[    0.0] Command line: oops=panic panic=-1",
            "[   30.0] rcu: INFO: rcu_preempt self-detected stall on CPU",
            "[    1.0] printk: debug: ignoring loglevel setting.",
        ] {
            assert_eq!(fatal(line), None, "{line}");
        }
    }
}
