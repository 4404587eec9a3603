//! Asks the kernel where a few functions are, instead of having it print every symbol there is (35 ms).
//!
//! A program of type `syscall` runs once, in our own call, and may look names up (bpf_kallsyms_lookup_name,
//! since 5.16; by bisection since 6.2, include/linux/kallsyms.h). It finds whole names only: where the
//! compiler gave a function another one (`foo.isra.0`) the list must be read after all.

use std::os::fd::AsFd as _;

use aya_obj::generated::bpf_insn;

use crate::instrument::sys::{self, ProgramSpec};

const LOOKUP: i32 = 179;
/// Bytes of the program's stack for a name, and the place of what was found.
const NAME: usize = 64;
const FOUND: i16 = -8;
const NAME_AT: i16 = FOUND - NAME as i16;

const MOV: u8 = 0xb7;
const MOV_REGISTER: u8 = 0xbf;
const ADD: u8 = 0x07;
const LOAD_IMMEDIATE: u8 = 0x18;
const LOAD: u8 = 0x79;
const STORE: u8 = 0x7b;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;

fn instruction(code: u8, to: u8, from: u8, off: i16, imm: i32) -> bpf_insn {
    bpf_insn {
        code,
        _bitfield_align_1: [],
        _bitfield_1: bpf_insn::new_bitfield_1(to, from),
        off,
        imm,
    }
}

/// The program: looks up each name and writes what it found to its argument, 0 = nothing.
fn program(names: &[&str]) -> Option<Vec<bpf_insn>> {
    let mut code = vec![instruction(MOV_REGISTER, 6, 1, 0, 0)];
    for (index, name) in names.iter().enumerate() {
        let mut bytes = [0; NAME];
        bytes
            .get_mut(..name.len())?
            .copy_from_slice(name.as_bytes());
        // With its NUL.
        let len = name.len() + 1;
        for (word, at) in bytes.chunks_exact(8).zip((NAME_AT..).step_by(8)) {
            let low = i32::from_le_bytes(word[..4].try_into().ok()?);
            let high = i32::from_le_bytes(word[4..].try_into().ok()?);
            code.push(instruction(LOAD_IMMEDIATE, 1, 0, 0, low));
            code.push(instruction(0, 0, 0, 0, high));
            code.push(instruction(STORE, 10, 1, at, 0));
        }
        code.extend([
            instruction(MOV, 1, 0, 0, 0),
            instruction(STORE, 10, 1, FOUND, 0),
            instruction(MOV_REGISTER, 1, 10, 0, 0),
            instruction(ADD, 1, 0, 0, i32::from(NAME_AT)),
            instruction(MOV, 2, 0, 0, i32::try_from(len).ok()?),
            instruction(MOV, 3, 0, 0, 0),
            instruction(MOV_REGISTER, 4, 10, 0, 0),
            instruction(ADD, 4, 0, 0, i32::from(FOUND)),
            instruction(CALL, 0, 0, 0, LOOKUP),
            instruction(LOAD, 1, 10, FOUND, 0),
            instruction(STORE, 6, 1, i16::try_from(index * 8).ok()?, 0),
        ]);
    }
    code.extend([instruction(MOV, 0, 0, 0, 0), instruction(EXIT, 0, 0, 0, 0)]);
    Some(code)
}

/// Where these functions begin, in their order. None = the kernel cannot be asked, or does not know one of
/// them by this name.
pub fn entries(names: &[&str]) -> Option<Vec<u64>> {
    let code = program(names)?;
    let spec = ProgramSpec {
        name: "lookup",
        kind: sys::BPF_PROG_TYPE_SYSCALL,
        attach_type: 0,
        attach_btf_id: 0,
        license: c"GPL",
        instructions: &code,
    };
    let program = sys::prog_load(&spec, &mut []).ok()?;
    let mut found = vec![0; names.len()];
    sys::prog_run(program.as_fd(), &mut found).ok()?;
    found.iter().all(|address| *address != 0).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::super::{entry, running};
    use super::*;

    #[test]
    fn the_kernel_says_what_its_list_says() {
        let names = ["tw_timer_handler", "tcp_write_timer"];
        let listed = running(&names).expect("needs root");
        // A kernel before 5.16 cannot be asked.
        if let Some(found) = entries(&names) {
            let entries = names.map(|name| entry(&listed, name));
            assert_eq!(found, entries.map(Option::unwrap_or_default));
        }
    }

    #[test]
    fn a_name_that_the_kernel_lacks_is_not_known() {
        assert_eq!(entries(&["tw_timer_handler", "no_such_function"]), None);
        assert_eq!(entries(&[&"x".repeat(NAME + 1)]), None);
    }
}
