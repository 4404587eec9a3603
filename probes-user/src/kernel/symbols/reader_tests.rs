//! /proc/kallsyms in small, with every peculiarity seen on the matrix.

use super::super::find;
use super::{CHUNK, Error, from_reader};
use crate::trace::Symbol;

const TEXT: &str = "\
0000000000000000 A fixed_percpu_data
0000000000001000 A irq_stack_backing_store
ffffffff81000000 T _text
ffffffff81000040 T asm_sysvec_apic_timer_interrupt
ffffffff81000060 T asm_common_interrupt
ffffffff81000100 t __pfx_ep_poll_callback
ffffffff81000110 t ep_poll_callback
ffffffff81000200 T tcp_child_process
ffffffff81000200 T tcp_child_process_alias
ffffffff81000300 t init_once
ffffffff81000380 t init_once
ffffffff81000400 t finish_task_switch.isra.0
ffffffff81000500 W weak_one
ffffffff81000600 t finish_task_switch.isra.0.cold
ffffffff81000700 t finish_task_switched
ffffffff81000800 D a_variable
ffffffff82000000 B tcp_child_process
ffffffffc0003000 t later\t[module]
ffffffffc0001000 t early\t[module]
ffffffffc0002000 t middle\t[module]
";

fn places(symbols: &[Symbol], name: &str) -> Vec<(u64, u64)> {
    let low = |address: u64| address & 0xffff_ffff;
    symbols
        .iter()
        .filter(|s| s.name == name)
        .map(|s| (low(s.start), low(s.end)))
        .collect()
}

fn read(wanted: &[&str]) -> Vec<Symbol> {
    from_reader(TEXT.as_bytes(), wanted).unwrap()
}

#[test]
fn a_function_ends_where_the_next_text_symbol_begins() {
    let symbols = read(&["ep_poll_callback", "weak_one", "absent"]);
    assert_eq!(
        places(&symbols, "ep_poll_callback"),
        [(0x8100_0110, 0x8100_0200)]
    );
    assert_eq!(places(&symbols, "weak_one"), [(0x8100_0500, 0x8100_0600)]);
    assert_eq!(places(&symbols, "absent"), []);
}

#[test]
fn symbols_at_one_address_do_not_end_each_other() {
    let symbols = read(&["tcp_child_process"]);
    assert_eq!(
        places(&symbols, "tcp_child_process"),
        [(0x8100_0200, 0x8100_0300)]
    );
}

#[test]
fn namesakes_and_clones_each_have_their_range() {
    let symbols = read(&["init_once", "finish_task_switch"]);
    assert_eq!(
        places(&symbols, "init_once"),
        [(0x8100_0300, 0x8100_0380), (0x8100_0380, 0x8100_0400)]
    );
    assert_eq!(
        places(&symbols, "finish_task_switch"),
        [(0x8100_0400, 0x8100_0500), (0x8100_0600, 0x8100_0700)]
    );
}

#[test]
fn modules_need_not_be_sorted() {
    let symbols = read(&["early", "middle", "later"]);
    assert_eq!(places(&symbols, "early"), [(0xc000_1000, 0xc000_2000)]);
    assert_eq!(places(&symbols, "middle"), [(0xc000_2000, 0xc000_3000)]);
    assert_eq!(places(&symbols, "later"), [(0xc000_3000, 0xc000_4000)]);
    assert!(symbols.is_sorted_by_key(|s| s.start));
}

#[test]
fn interrupt_entries_come_unasked() {
    let symbols = read(&[]);
    let names: Vec<&str> = symbols.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(
        names,
        ["asm_sysvec_apic_timer_interrupt", "asm_common_interrupt"]
    );
}

#[test]
fn addresses_are_found_within_their_range_only() {
    let symbols = read(&["ep_poll_callback", "weak_one"]);
    let name = |address| find(&symbols, address).map(|s| s.name.as_str());
    assert_eq!(name(0xffff_ffff_8100_0110), Some("ep_poll_callback"));
    assert_eq!(name(0xffff_ffff_8100_01ff), Some("ep_poll_callback"));
    assert_eq!(name(0xffff_ffff_8100_0200), None);
    assert_eq!(name(0xffff_ffff_8100_010f), None);
    assert_eq!(name(0), None);
    assert_eq!(name(u64::MAX), None);
}

#[test]
fn hidden_addresses_are_an_error() {
    let hidden = "0000000000000000 T _text\n0000000000000000 t ep_poll_callback\n";
    assert!(matches!(
        from_reader(hidden.as_bytes(), &["ep_poll_callback"]),
        Err(Error::Hidden)
    ));
    assert!(matches!(from_reader(&b""[..], &[]), Err(Error::Hidden)));
    assert!(!super::any_address(hidden.as_bytes()));
    assert!(super::any_address(TEXT.as_bytes()));
}

#[test]
fn lines_may_be_cut_anywhere_and_garbage_is_skipped() {
    struct Dribble<'a>(&'a [u8], usize);
    impl std::io::Read for Dribble<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let len = self.1.min(buffer.len()).min(self.0.len());
            buffer[..len].copy_from_slice(&self.0[..len]);
            self.0 = &self.0[len..];
            Ok(len)
        }
    }
    let long = "x".repeat(CHUNK * 2 + 7);
    let garbage = format!("{long}\n\n \nzz t a\nffff\nffffffffffffffffff t wide\n{TEXT}\u{fffd}");
    let whole = read(&["ep_poll_callback", "later"]);
    let short = &garbage[long.len()..];
    for step in [1, 2, 3, 7, 19, 64] {
        let cut = from_reader(
            Dribble(short.as_bytes(), step),
            &["ep_poll_callback", "later"],
        )
        .unwrap();
        assert_eq!(cut, whole, "{step} bytes at a time");
    }
    for step in [5000, CHUNK] {
        let cut = from_reader(
            Dribble(garbage.as_bytes(), step),
            &["ep_poll_callback", "later"],
        )
        .unwrap();
        assert_eq!(cut, whole, "{step} bytes at a time");
    }
}

#[test]
fn the_running_kernel_is_read() {
    let start = std::time::Instant::now();
    match super::super::running(&[
        "ep_poll_callback",
        "tcp_child_process",
        "__wake_up_common",
        "inet_csk_accept",
    ]) {
        Ok(symbols) => {
            println!("{} symbols in {:?}", symbols.len(), start.elapsed());
            assert!(symbols.iter().all(|s| s.start < s.end));
        }
        Err(e) => println!("not readable here: {e}"),
    }
}

#[test]
fn a_function_is_entered_at_its_largest_piece() {
    const PIECES: &str = "\
ffffffff81000100 t tcp_write_timer.cold
ffffffff81000110 t other
ffffffff81000200 t tcp_write_timer
ffffffff81000300 t another
";
    let wanted = ["tcp_write_timer", "absent"];
    let symbols = from_reader(PIECES.as_bytes(), &wanted).unwrap();
    let entry = |name| super::super::entry(&symbols, name);
    assert_eq!(entry("tcp_write_timer"), Some(0xffff_ffff_8100_0200));
    assert_eq!(entry("absent"), None);
}
