//! Names of processes, learnt from whatever told one.

use std::collections::HashMap;

use probes_common::tcp::HS_ACCEPTED;

use crate::stream::{Body, Event, Mark};
use crate::trace::herd::marks::HerdMark;

#[derive(Debug, Default)]
pub struct Names {
    comms: HashMap<u32, String>,
    /// Processes that are the target, or come from it.
    targets: HashMap<u32, bool>,
}

impl Names {
    pub fn of(&self, pid: u32) -> String {
        self.comms.get(&pid).cloned().unwrap_or_default()
    }

    pub fn is_target(&self, pid: u32) -> bool {
        self.targets.contains_key(&pid)
    }

    pub fn learn(&mut self, pid: u32, comm: &str) {
        if pid != 0 && !comm.is_empty() {
            self.comms.insert(pid, comm.to_owned());
        }
    }

    pub(super) fn event(&mut self, event: &Event) {
        match &event.body {
            // The leader's name is the process's.
            Body::TcpState(its) if event.header.pid == event.header.tgid => {
                let tgid = event.header.tgid;
                if !self.comms.contains_key(&tgid) {
                    self.learn(tgid, &text(&its.comm));
                }
            }
            Body::Handshake(its)
                if its.what == HS_ACCEPTED && event.header.pid == event.header.tgid =>
            {
                self.learn(event.header.tgid, &text(&its.comm));
            }
            Body::Fork(fork) => {
                self.targets.insert(fork.child_tgid, true);
            }
            Body::Exec(exec) => {
                self.targets.insert(event.header.tgid, true);
                self.learn(event.header.tgid, &text(&exec.comm));
            }
            _ => {}
        }
    }

    pub(super) fn mark(&mut self, mark: &Mark) {
        if let Ok(Some(HerdMark::Task(task))) = HerdMark::from_mark(mark) {
            self.targets.insert(task.tgid, true);
            if task.pid == task.tgid {
                self.learn(task.tgid, &task.comm);
            }
        }
    }
}

/// A name as the kernel keeps it: ended by a zero byte.
pub fn text(comm: &[u8]) -> String {
    let end = comm
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(comm.len());
    String::from_utf8_lossy(comm.get(..end).unwrap_or_default()).into_owned()
}
