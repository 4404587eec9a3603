//! Puts a classifier on what comes in at an interface (clsact, direct action), in the calling thread's network
//! namespace. Qdisc and filter go with the namespace, and with them the program.

use std::os::fd::{AsRawFd, BorrowedFd};

use anyhow::{Result, anyhow};
use rustix::io::Errno;

use crate::lab::netlink::{CREATE, EXCLUSIVE, Refusal, Request};

const NEW_QDISC: u16 = 36;
const NEW_FILTER: u16 = 44;
const CLSACT_HANDLE: u32 = 0xffff_0000;
const CLSACT: u32 = 0xffff_fff1;
const INGRESS: u32 = 0xffff_fff2;
const PRIORITY: u32 = 1;
const ALL_PROTOCOLS: u16 = 3;

const KIND: u16 = 1;
const OPTIONS: u16 = 2;
const BPF_FD: u16 = 6;
const BPF_NAME: u16 = 7;
const BPF_FLAGS: u16 = 8;
const DIRECT_ACTION: u32 = 1;

/// # Errors
/// Not permitted, a kernel without clsact or cls_bpf, or a filter that is there already.
pub fn on_ingress(program: BorrowedFd<'_>, interface: &str, index: u32) -> Result<()> {
    let qdisc = Request::new(
        NEW_QDISC,
        CREATE | EXCLUSIVE,
        &message(index, CLSACT_HANDLE, CLSACT, 0),
    )
    .attr(KIND, b"clsact\0");
    match qdisc.send() {
        Err(refusal) if refusal.errno != Errno::EXIST => {
            return Err(refused("a clsact qdisc", interface, &refusal));
        }
        _ => {}
    }
    let info = PRIORITY << 16 | u32::from(ALL_PROTOCOLS.to_be());
    let fd = program.as_raw_fd() as u32;
    let filter = Request::new(
        NEW_FILTER,
        CREATE | EXCLUSIVE,
        &message(index, 1, INGRESS, info),
    )
    .attr(KIND, b"bpf\0")
    .nest(OPTIONS, |options| {
        options
            .attr(BPF_FD, &fd.to_ne_bytes())
            .attr(BPF_NAME, b"surgeon\0")
            .attr(BPF_FLAGS, &DIRECT_ACTION.to_ne_bytes())
    });
    filter
        .send()
        .map_err(|refusal| refused("the surgeon", interface, &refusal))
}

/// `struct tcmsg`
fn message(index: u32, handle: u32, parent: u32, info: u32) -> Vec<u8> {
    let words = [0, index, handle, parent, info];
    words.into_iter().flat_map(u32::to_ne_bytes).collect()
}

fn refused(what: &str, interface: &str, refusal: &Refusal) -> anyhow::Error {
    let remedy = match refusal.errno {
        Errno::PERM | Errno::ACCESS => "try as root (CAP_NET_ADMIN, CAP_BPF)",
        Errno::EXIST => "it is there already: put it on an interface once",
        Errno::NOENT | Errno::OPNOTSUPP => {
            "try a kernel with CONFIG_NET_SCH_INGRESS and CONFIG_NET_CLS_BPF, or load the modules \
             sch_ingress and cls_bpf"
        }
        Errno::NODEV => "the interface is gone",
        _ => "try `probes doctor`",
    };
    anyhow!("could not put {what} on {interface}: {refusal}; {remedy}")
}
