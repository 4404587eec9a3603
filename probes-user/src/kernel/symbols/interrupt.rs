//! Which frames of a stack separate an interrupt from the code it interrupted.
//!
//! Frames above such a boundary ran because of the interrupt; frames below were merely there and caused
//! nothing: a timer that wakes a thread while `accept` sleeps nearby is no wakeup by `accept`. So a stack is
//! read from the top down to the first boundary.

/// Whether a function is entered by an interrupt or exception and not by a call from the frame below it
/// (x86-64). A clone suffix is not expected: names as in [`crate::trace::Symbol`].
///
/// Boundaries, all from arch/x86 (names since 5.8, when the entry code moved to C; idtentry.h):
/// - `asm_sysvec_*` and their C parts `sysvec_*`, `__sysvec_*`: timer, IPIs, hypervisor callbacks;
/// - `asm_common_interrupt`, `common_interrupt`, `__common_interrupt`: devices; `*spurious_interrupt`;
/// - `fred_sysvec_*`, `fred_extint`, `fred_entry_from_kernel`, `asm_fred_entrypoint_kernel`: the same on
///   CPUs with FRED (6.9, entry_fred.c; Debian's 6.1 has the names too);
/// - `asm_exc_*`: exceptions. A page fault inside a copy is also no call by the code that faulted;
/// - `exc_nmi` and the labels of its entry (`first_nmi`, `repeat_nmi`, `end_repeat_nmi`);
/// - `irq_exit_rcu`, `__irq_exit_rcu`, `irq_exit`: softirqs that run when an interrupt ends
///   (kernel/softirq.c). Only interrupt entries call them.
///
/// No boundaries, although they change stacks:
/// - `__do_softirq`, `handle_softirqs` (its body in later kernels and stable updates), `do_softirq`,
///   `do_softirq_own_stack`, `__local_bh_enable_ip`: a sender on loopback runs its own receive path there,
///   by plain calls from `__dev_queue_xmit`. If the softirq did begin at the end of an interrupt,
///   `irq_exit_rcu` follows further down;
/// - `asm_call_on_stack`, `asm_call_irq_on_stack`, `asm_call_sysvec_on_stack` (5.8 to 5.11, entry_64.S):
///   three labels of one address, through which `do_softirq_own_stack` goes as well as interrupts. A real
///   interrupt shows its `sysvec_*` or `common_interrupt` one frame below.
pub fn is_interrupt_boundary(name: &str) -> bool {
    PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || NAMES.contains(&name)
}

/// At least 7 bytes each, see `Filter::add_prefix`.
pub(super) const PREFIXES: [&str; 5] = [
    "asm_sysvec_",
    "sysvec_",
    "__sysvec_",
    "fred_sysvec_",
    "asm_exc_",
];

pub(super) const NAMES: [&str; 16] = [
    "asm_common_interrupt",
    "common_interrupt",
    "__common_interrupt",
    "asm_spurious_interrupt",
    "spurious_interrupt",
    "__spurious_interrupt",
    "asm_fred_entrypoint_kernel",
    "fred_entry_from_kernel",
    "fred_extint",
    "exc_nmi",
    "first_nmi",
    "repeat_nmi",
    "end_repeat_nmi",
    "irq_exit",
    "irq_exit_rcu",
    "__irq_exit_rcu",
];

#[cfg(test)]
mod tests {
    use super::is_interrupt_boundary;

    #[test]
    fn interrupt_entries_are_boundaries() {
        // 5.10 (stacks and /proc/kallsyms), 6.1, 6.12, 6.18 and 7.2 names.
        for name in [
            "asm_sysvec_apic_timer_interrupt",
            "sysvec_apic_timer_interrupt",
            "__sysvec_apic_timer_interrupt",
            "asm_sysvec_reschedule_ipi",
            "asm_sysvec_call_function_single",
            "asm_sysvec_irq_work",
            "asm_sysvec_kvm_asyncpf_interrupt",
            "asm_common_interrupt",
            "common_interrupt",
            "__common_interrupt",
            "asm_spurious_interrupt",
            "fred_sysvec_apic_timer_interrupt",
            "fred_sysvec_xen_hvm_callback",
            "asm_exc_page_fault",
            "asm_exc_nmi",
            "end_repeat_nmi",
            "irq_exit_rcu",
            "__irq_exit_rcu",
        ] {
            assert!(is_interrupt_boundary(name), "{name}");
        }
    }

    #[test]
    fn softirqs_run_by_a_call_are_no_boundary() {
        for name in [
            "net_rx_action",
            "__do_softirq",
            "handle_softirqs",
            "do_softirq",
            "do_softirq_own_stack",
            "__local_bh_enable_ip",
            "asm_call_on_stack",
            "asm_call_irq_on_stack",
            "asm_call_sysvec_on_stack",
            "run_ksoftirqd",
        ] {
            assert!(!is_interrupt_boundary(name), "{name}");
        }
    }

    #[test]
    fn lookalikes_are_no_boundary() {
        for name in [
            "",
            "hrtimer_interrupt",
            "common_interrupt_return",
            "tick_nohz_irq_exit",
            "ct_irq_exit",
            "__pfx_sysvec_apic_timer_interrupt",
            "__traceiter_softirq_exit",
            "entry_SYSCALL_64_after_hwframe",
            "do_syscall_64",
            "asm_int80_emulation",
            "exc_page_fault",
            "schedule_timeout_interruptible",
        ] {
            assert!(!is_interrupt_boundary(name), "{name}");
        }
    }
}
