//! The running kernel: what the reader costs. Figures are printed, not asserted.

use std::time::Instant;

use super::super::{Btf, Query};

#[test]
fn the_running_kernel_answers_quickly() {
    let query = Query::new()
        .offsets()
        .tracepoints(["sched_switch", "sched_waking", "sched_wakeup"])
        .functions([
            "tcp_child_process",
            "ep_poll_callback",
            "__wake_up_common",
            "inet_csk_accept",
        ]);
    for _ in 0..5 {
        let start = Instant::now();
        let Ok(btf) = Btf::running() else { return };
        let opened = start.elapsed();
        let facts = btf
            .answer(&query)
            .expect("the kernel's own BTF is well-formed");
        println!(
            "open {opened:?}, all {:?}, {} types",
            start.elapsed(),
            facts.types
        );
        assert!(facts.ambiguous.is_empty(), "{:?}", facts.ambiguous);
        assert!(facts.tracepoint("sched_switch").is_some());
    }
}
