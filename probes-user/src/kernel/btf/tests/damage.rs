//! Damaged bytes give an answer or an error, never a panic, a loop or a read outside.

use super::super::{Btf, Query};
use super::handmade::{every_kind, every_question};
use super::{KERNELS, bytes};

fn try_answer(bytes: Vec<u8>, query: &Query) -> bool {
    Btf::from_bytes(bytes)
        .and_then(|btf| btf.answer(query))
        .is_ok()
}

/// xorshift64: the same damage in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

#[test]
fn every_truncation_is_an_error() {
    let whole = every_kind().bytes();
    assert!(try_answer(whole.clone(), &every_question()));
    for len in 0..whole.len() {
        assert!(
            !try_answer(whole[..len].to_vec(), &every_question()),
            "cut to {len} bytes"
        );
    }
}

#[test]
fn every_damaged_byte_is_survived() {
    let whole = every_kind().bytes();
    for at in 0..whole.len() {
        for value in [
            0x00,
            0x01,
            0x7f,
            0x80,
            0xff,
            whole[at].wrapping_add(1),
            whole[at] ^ 0x10,
        ] {
            let mut damaged = whole.clone();
            damaged[at] = value;
            try_answer(damaged, &every_question());
        }
    }
}

#[test]
fn random_damage_is_survived() {
    let whole = every_kind().bytes();
    let mut random = Random(0x1234_5678_9abc_def1);
    for _ in 0..20_000 {
        let mut damaged = whole.clone();
        for _ in 0..=random.below(6) {
            let at = random.below(damaged.len());
            damaged[at] = random.below(256) as u8;
        }
        damaged.truncate(
            whole.len()
                - if random.below(4) == 0 {
                    random.below(whole.len())
                } else {
                    0
                },
        );
        try_answer(damaged, &every_question());
    }
}

#[test]
fn damaged_kernel_types_are_survived() {
    let query = Query::new()
        .offsets()
        .tracepoints(["sched_switch"])
        .functions(["ep_poll_callback"]);
    let mut random = Random(0xfeed_beef_0bad_cafe);
    for kernel in 0..KERNELS.len() {
        let mut damaged = bytes(kernel).to_vec();
        for _ in 0..8 {
            for _ in 0..20 {
                let at = random.below(damaged.len());
                damaged[at] = random.below(256) as u8;
            }
            try_answer(damaged.clone(), &query);
        }
        try_answer(
            bytes(kernel)[..random.below(damaged.len())].to_vec(),
            &query,
        );
    }
}

#[test]
fn sections_beyond_the_file_are_an_error() {
    let whole = every_kind().bytes();
    for at in [4, 8, 12, 16, 20] {
        for value in [u32::MAX, u32::MAX - 23, 0x7fff_ffff, whole.len() as u32] {
            let mut damaged = whole.clone();
            damaged[at..at + 4].copy_from_slice(&value.to_le_bytes());
            assert!(
                !try_answer(damaged, &every_question()),
                "{value:#x} at {at}"
            );
        }
    }
}
