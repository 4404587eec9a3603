//! Scales TCP's schedules: the kernel asks a control group's sock_ops program for the initial timeout of a
//! SYN or SYN-ACK (BPF_SOCK_OPS_TIMEOUT_INIT, in jiffies), and everything after it follows its own law.
//!
//! The program is seven instructions, made here because its answer is its only parameter. It is bound to the
//! group by a link, which ends with its descriptor.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use aya_obj::generated::bpf_insn;

use super::cgroup::Cgroup;
use crate::instrument::sys::{self, ProgramSpec};

const BPF_PROG_TYPE_SOCK_OPS: u32 = 13;
const BPF_CGROUP_SOCK_OPS: u32 = 3;
const BPF_SOCK_OPS_TIMEOUT_INIT: i32 = 1;

/// `struct bpf_sock_ops`: u32 op, then the reply.
const OP: i16 = 0;
const REPLY: i16 = 4;

/// As long as it lives, sockets of the group begin with this timeout.
pub struct FirstTimeout {
    _link: OwnedFd,
    _program: OwnedFd,
}

impl FirstTimeout {
    /// # Errors
    /// A kernel without CONFIG_CGROUP_BPF, or no privilege.
    pub fn of(cgroup: &Cgroup, jiffies: u32) -> Result<FirstTimeout> {
        let instructions = program(jiffies.cast_signed());
        let spec = ProgramSpec {
            name: "first_timeout",
            kind: BPF_PROG_TYPE_SOCK_OPS,
            attach_type: BPF_CGROUP_SOCK_OPS,
            attach_btf_id: 0,
            license: c"Dual MIT/GPL",
            instructions: &instructions,
        };
        let program = sys::prog_load(&spec, &mut [])
            .context("could not load the program that sets the initial timeout")?;
        let link = sys::link_create(program.as_fd(), cgroup.directory(), BPF_CGROUP_SOCK_OPS)
            .context("could not bind the initial timeout to the lab's control group")?;
        Ok(FirstTimeout {
            _link: link,
            _program: program,
        })
    }
}

/// Answers the one question and none of the others: -1 leaves them to the kernel.
fn program(jiffies: i32) -> [bpf_insn; 7] {
    const LDX_W: u8 = 0x61;
    const STX_W: u8 = 0x63;
    const MOV_IMM: u8 = 0xb7;
    const JNE_IMM: u8 = 0x55;
    const EXIT: u8 = 0x95;
    [
        insn(LDX_W, 2, 1, OP, 0),
        insn(MOV_IMM, 3, 0, 0, -1),
        insn(JNE_IMM, 2, 0, 1, BPF_SOCK_OPS_TIMEOUT_INIT),
        insn(MOV_IMM, 3, 0, 0, jiffies),
        insn(STX_W, 1, 3, REPLY, 0),
        insn(MOV_IMM, 0, 0, 0, 1),
        insn(EXIT, 0, 0, 0, 0),
    ]
}

fn insn(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> bpf_insn {
    bpf_insn {
        code,
        _bitfield_align_1: [],
        _bitfield_1: bpf_insn::new_bitfield_1(dst, src),
        off,
        imm,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_takes_the_program_and_the_link_ends_with_it() {
        if let Ok(cgroup) = Cgroup::new() {
            let first = FirstTimeout::of(&cgroup, 10).expect("needs root");
            drop(first);
            drop(FirstTimeout::of(&cgroup, 100).unwrap());
        }
    }

    #[test]
    fn the_answer_is_the_programs_constant() {
        assert_eq!(program(25)[3].imm, 25);
    }
}
