//! Reading a kernel stack: which functions stand in it, from the top down to what was interrupted.
//!
//! What could fool a reader: what stands below an interrupt or a softirq belongs to whoever was current; a return
//! address may be one past its function, when the call was the last instruction; compiler clones
//! (`ep_scan_ready_list.constprop.0`) are the function too.

use super::{find, is_interrupt_boundary};
use crate::trace::Symbol;

/// Where a softirq's work begins, by whatever way it was come to. (Interrupt entries are known unasked.)
pub const SOFTIRQS: [&str; 2] = ["__do_softirq", "handle_softirqs"];

/// Does what stands below this function belong to another context?
pub fn is_boundary(name: &str) -> bool {
    SOFTIRQS.contains(&plain(name)) || is_interrupt_boundary(plain(name))
}

/// Without the compiler's suffix.
pub fn plain(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

/// The address to look up for an entry of a stack: within the call. The first entry is no return address.
pub fn inside(position: usize, address: u64) -> u64 {
    address.saturating_sub(u64::from(position > 0))
}

/// The known functions of a stack from the top down to the first boundary.
pub fn functions<'a>(stack: &'a [u64], symbols: &'a [Symbol]) -> impl Iterator<Item = &'a str> {
    let found = stack.iter().enumerate();
    found
        .filter_map(|(position, address)| find(symbols, inside(position, *address)))
        .map(|symbol| plain(&symbol.name))
        .take_while(|name| !is_boundary(name))
}

/// The names of a table of functions and of the softirqs, for `Trace::symbols`.
///
/// # Panics
/// At compile time, if `N` is not the table's length and two.
pub const fn names<T, const N: usize>(table: &[(&'static str, T)]) -> [&'static str; N] {
    assert!(N == table.len() + SOFTIRQS.len());
    let mut names = [""; N];
    let mut at = 0;
    while at < table.len() {
        names[at] = table[at].0;
        at += 1;
    }
    let mut softirq = 0;
    while softirq < SOFTIRQS.len() {
        names[at + softirq] = SOFTIRQS[softirq];
        softirq += 1;
    }
    names
}

/// What a table says of a function.
pub fn said<T: Copy>(table: &[(&str, T)], name: &str) -> Option<T> {
    let found = table.iter().find(|(known, _)| *known == plain(name));
    found.map(|(_, says)| *says)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symbols(names: &[&str]) -> Vec<Symbol> {
        let places = (1..).map(|at| at * 0x100);
        let named = names.iter().zip(places);
        named
            .map(|(name, start)| Symbol {
                name: (*name).to_owned(),
                start,
                end: start + 0x100,
            })
            .collect()
    }

    #[test]
    fn it_is_read_down_to_the_boundary_by_base_names() {
        let symbols = symbols(&[
            "tcp_ack.isra.0",
            "handle_softirqs",
            "asm_sysvec_reschedule_ipi",
            "tcp_close",
        ]);
        for boundary in [0x250, 0x350] {
            let stack = [0x110, 0x50, boundary, 0x450];
            let names: Vec<_> = functions(&stack, &symbols).collect();
            assert_eq!(names, ["tcp_ack"]);
        }
    }

    #[test]
    fn a_return_address_behind_its_function_is_the_functions() {
        let symbols = symbols(&["first", "second"]);
        let stack = [0x200, 0x200];
        let names: Vec<_> = functions(&stack, &symbols).collect();
        assert_eq!(names, ["second", "first"]);
    }

    #[test]
    fn softirqs_are_boundaries_clones_too_and_callers_of_them_are_not() {
        assert!(is_boundary("handle_softirqs.cold"));
        assert!(is_boundary("asm_sysvec_apic_timer_interrupt"));
        assert!(!is_boundary("__local_bh_enable_ip"));
    }

    #[test]
    fn a_table_gives_its_names_and_what_they_say() {
        const TABLE: [(&str, u8); 2] = [("a", 1), ("b", 2)];
        assert_eq!(names::<u8, 4>(&TABLE), ["a", "b", SOFTIRQS[0], SOFTIRQS[1]]);
        assert_eq!(said(&TABLE, "b.part.3"), Some(2));
        assert_eq!(said(&TABLE, "c"), None);
    }
}
