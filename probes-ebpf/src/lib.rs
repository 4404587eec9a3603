//! What every instrument shares: the maps, the one emit path with its counters, filters, field reads.
//!
//! Maps of the same name in two objects are one map: the loader creates it once. Offsets and switches are
//! read-only globals, frozen before the programs load, so the verifier sees constants and drops dead arms.
#![no_std]
#![feature(asm_experimental_arch)]

pub mod again;
pub mod blocks;
pub mod emit;
pub mod filter;
pub mod globals;
pub mod inet;
pub mod maps;
pub mod packet;
pub mod pages;
pub mod read;
pub mod snap;
pub mod tally;
pub mod task;

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

/// The kernel offers some helpers to GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
