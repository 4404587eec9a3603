//! Loads and attaches hooks down their ladders, and says what came of each.
//!
//! Presence in BTF is not attachability (notrace functions are there too), so the kernel is asked by trying.
//! What attached, and why something did not, is part of every report.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use anyhow::{Result, bail};
use probes_common::config::Config;

use super::hook::{Hook, Instrument, Rung, hook};
use super::object::{Linked, Maps};
use super::sys::{self, ProgramSpec};
use crate::kernel::btf::Facts;
use crate::render::report::HookReport;

/// A function of the kernel that stands for its recursion guard on tracepoint programs.
pub const GUARD: &str = "bpf_prog_inc_misses_counter";

/// Where it is no enumerator (up to 6.16) it is a macro: bit 2, later bit 5, as the print format of
/// `writeback_mark_inode_dirty` says (5.10 and 6.1; 6.12). What the other kernels have at the other place,
/// I_FREEING and I_LRU_ISOLATING, is never handed to `__mark_inode_dirty`.
const I_DIRTY_PAGES: u32 = 1 << 2 | 1 << 5;

/// Takes rungs away, for tests and for looking at the ladder: `sched_waking` or `sched_waking:tp_btf`.
#[derive(Debug, Clone, Default)]
pub struct Without(Vec<(String, Option<Rung>)>);

impl Without {
    /// # Errors
    /// A hook or rung that does not exist.
    pub fn parse(words: &[String]) -> Result<Without> {
        let mut list = Vec::new();
        for word in words {
            let (program, rung) = match word.split_once(':') {
                Some((program, rung)) => (program, Some(rung)),
                None => (word.as_str(), None),
            };
            if hook(program).is_none() {
                bail!("no hook {program}: `probes doctor` lists them");
            }
            let rung = match rung.map(|name| (name, Rung::from_name(name))) {
                Some((name, None)) => bail!("no rung {name}: tp_btf, raw_tp, fentry, fexit or tc"),
                Some((_, rung)) => rung,
                None => None,
            };
            list.push((program.to_owned(), rung));
        }
        Ok(Without(list))
    }

    fn forbids(&self, hook: &Hook, rung: Rung) -> bool {
        self.0
            .iter()
            .any(|(program, which)| program == hook.program && which.is_none_or(|w| w == rung))
    }
}

#[derive(Debug)]
pub struct Attached {
    pub program: &'static str,
    pub rung: Rung,
    fd: OwnedFd,
    /// None of a classifier: the interfaces it is put on hold it.
    _link: Option<OwnedFd>,
}

impl Attached {
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// All that is attached. Dropping it detaches.
#[derive(Debug)]
pub struct Attachment {
    pub maps: Maps,
    pub attached: Vec<Attached>,
    pub reports: Vec<HookReport>,
}

/// Fixed at load.
#[derive(Debug, Clone)]
pub struct Setup<'a> {
    pub facts: &'a Facts,
    /// Byte-per-pid maps have this many bytes: a power of two, at least a page.
    pub pid_bytes: u32,
    pub ring_bytes: u32,
    /// x86-64 numbers to follow.
    pub syscalls: &'a [u32],
    /// Are all system calls of watched tasks counted by family?
    pub counts_calls: bool,
    /// Addresses of [`probes_common::config::TIMER_FUNCTIONS`]; 0 = not known.
    pub timers: [u64; 5],
    /// Begin and end of `io_submit_sqes`; 0 = not known.
    pub submit_sqes: [u64; 2],
    /// Programs without which there is no verdict.
    pub needs: &'a [&'a str],
    pub without: &'a Without,
}

impl Setup<'_> {
    /// Does this kernel keep a tracepoint program from running inside itself? Since 6.1 (and in stable
    /// trees), when __bpf_trace_run began to count what it skips with this function.
    fn guarded(&self) -> bool {
        self.facts.function(GUARD).is_some()
    }

    fn config(&self, direct: bool, bracketed: bool) -> Config {
        let mut syscalls = [0u64; 8];
        for nr in self.syscalls.iter().filter(|nr| **nr < 512) {
            syscalls[*nr as usize / 64] |= 1 << (nr % 64);
        }
        let takes = |tracepoint: &str, args: u32| {
            let found = self.facts.tracepoint(tracepoint);
            u32::from(found.is_some_and(|t| t.args >= args))
        };
        let accept = self.facts.function("inet_csk_accept");
        Config {
            direct: u32::from(direct),
            pid_mask: self.pid_bytes - 1,
            switch_has_state: takes("sched_switch", 4),
            bracketed: u32::from(bracketed),
            syscalls,
            retransmit_has_err: takes("tcp_retransmit_skb", 3),
            reset_has_reason: takes("tcp_send_reset", 3),
            drop_has_reason: takes("kfree_skb", 3),
            drop_has_sock: takes("kfree_skb", 4),
            accept_args: accept.map_or(0, |function| function.params),
            bio_argument: takes("block_bio_queue", 2),
            dirty_pages_flag: self
                .facts
                .enumerator("I_DIRTY_PAGES")
                .map_or(I_DIRTY_PAGES, |flag| flag as u32),
            page_head_bit: self.facts.enumerator("PG_head").unwrap_or(0) as u32,
            counts_calls: u32::from(self.counts_calls),
            iter_user: ["ITER_UBUF", "ITER_IOVEC"].map(|name| {
                let value = self.facts.enumerator(name);
                value.map_or(0, |value| value as u32 + 1)
            }),
            _pad: 0,
            timers: self.timers,
            uring_submit_req: takes("io_uring_submit_sqe", 7),
            uring_poll_req: takes("io_uring_poll_arm", 6),
            uring_work_req: 2 * takes("io_uring_queue_async_work", 5),
            uring_complete_args: self
                .facts
                .tracepoint("io_uring_complete")
                .map_or(0, |tracepoint| tracepoint.args),
            submit_sqes: self.submit_sqes,
        }
    }
}

/// Attaches these programs. A hook that does not attach is reported, never an error by itself.
///
/// # Errors
/// An unknown program name, a map that cannot be made, a damaged object.
pub fn attach(programs: &[&str], setup: &Setup<'_>) -> Result<(Attachment, Vec<(String, u64)>)> {
    let mut wanted: Vec<(&'static Instrument, &'static Hook)> = Vec::new();
    for program in programs {
        match hook(program) {
            Some(found) => wanted.push(found),
            None => bail!("no instrument has a program {program}"),
        }
    }
    // Function probes first: whether tcp_child_process is bracketed is a constant of the others.
    wanted.sort_by_key(|(_, hook)| {
        !hook.ladder.contains(&Rung::Fentry) && !hook.ladder.contains(&Rung::Fexit)
    });
    let mut attacher = Attacher {
        setup,
        maps: Maps::new(setup.ring_bytes, setup.pid_bytes),
        linked: BTreeMap::new(),
        attached: Vec::new(),
        parts: BTreeMap::new(),
    };
    let mut reports = Vec::new();
    for (instrument, hook) in wanted {
        let report = attacher.hook(instrument, hook)?;
        let attached = report.attached_as.is_some();
        reports.push(report);
        // After the first, so that they run after the first.
        if attached && setup.guarded() {
            for copy in hook.again {
                reports.push(attacher.hook(instrument, copy)?);
            }
        }
    }
    let parts = attacher
        .parts
        .into_iter()
        .map(|(name, ns)| (name.to_owned(), ns))
        .collect();
    Ok((
        Attachment {
            maps: attacher.maps,
            attached: attacher.attached,
            reports,
        },
        parts,
    ))
}

struct Attacher<'a> {
    setup: &'a Setup<'a>,
    maps: Maps,
    /// By instrument and whether direct loads are compiled in.
    linked: BTreeMap<(&'static str, bool), Linked>,
    attached: Vec<Attached>,
    parts: BTreeMap<&'static str, u64>,
}

impl Attacher<'_> {
    fn hook(&mut self, instrument: &'static Instrument, hook: &'static Hook) -> Result<HookReport> {
        let mut reasons = Vec::new();
        let mut attached_as = None;
        for rung in hook.ladder {
            if self.setup.without.forbids(hook, *rung) {
                reasons.push(format!("{}: taken away by --without", rung.name()));
                continue;
            }
            match self.rung(instrument, hook, *rung)? {
                Ok(attached) => {
                    self.attached.push(attached);
                    attached_as = Some(rung.name().to_owned());
                    break;
                }
                Err(why) => reasons.push(format!("{}: {why}", rung.name())),
            }
        }
        Ok(HookReport {
            hook: hook.program.to_owned(),
            // Also of the rungs above the one that held.
            why_not: (!reasons.is_empty()).then(|| reasons.join("; ")),
            attached_as,
            needed: self.setup.needs.contains(&hook.program),
            lost_without: hook.lost_without.to_owned(),
        })
    }

    fn rung(
        &mut self,
        instrument: &'static Instrument,
        hook: &'static Hook,
        rung: Rung,
    ) -> Result<Result<Attached, String>> {
        let id = match rung {
            Rung::TpBtf => self
                .setup
                .facts
                .tracepoint(hook.symbol)
                .map(|tracepoint| tracepoint.id),
            // Of several namesakes BTF does not say which is meant.
            Rung::Fentry | Rung::Fexit => self
                .setup
                .facts
                .function(hook.symbol)
                .filter(|f| f.unique())
                .map(|f| f.id),
            Rung::RawTp | Rung::Tc => Some(0),
        };
        let Some(id) = id else {
            return Ok(Err(format!("this kernel has no {}", hook.symbol)));
        };
        self.link(instrument, rung.direct())?;
        let Some(linked) = self.linked.get(&(instrument.name, rung.direct())) else {
            bail!("instrument {} is not linked", instrument.name);
        };
        let started = Instant::now();
        let loaded = load(linked, hook, rung, id);
        self.spent("load", started);
        let fd = match loaded? {
            Ok(fd) => fd,
            Err(why) => return Ok(Err(why)),
        };
        let started = Instant::now();
        let name = CString::new(hook.symbol)?;
        let by_name = (rung == Rung::RawTp).then_some(name.as_c_str());
        let link = match rung {
            Rung::Tc => Ok(None),
            _ => sys::raw_tracepoint_open(fd.as_fd(), by_name).map(Some),
        };
        self.spent("attach", started);
        Ok(match link {
            Ok(link) => Ok(Attached {
                program: hook.program,
                rung,
                fd,
                _link: link,
            }),
            Err(error) => Err(format!("attach: {}", words(&error))),
        })
    }

    fn link(&mut self, instrument: &'static Instrument, direct: bool) -> Result<()> {
        let key = (instrument.name, direct);
        if self.linked.contains_key(&key) {
            return Ok(());
        }
        let started = Instant::now();
        let has = |program: &str| self.attached.iter().any(|a| a.program == program);
        let bracketed = has("tcp_child_process") && has("tcp_child_process_exit");
        let config = self.setup.config(direct, bracketed);
        let linked = Linked::new(
            instrument,
            &self.setup.facts.offsets(),
            &config,
            &mut self.maps,
        )?;
        self.linked.insert(key, linked);
        self.spent("link", started);
        Ok(())
    }

    fn spent(&mut self, part: &'static str, since: Instant) {
        *self.parts.entry(part).or_default() += since.elapsed().as_nanos() as u64;
    }
}

fn load(linked: &Linked, hook: &Hook, rung: Rung, id: u32) -> Result<Result<OwnedFd, String>> {
    let (instructions, license) = linked.instructions(hook.program)?;
    let (kind, attach_type) = match rung {
        Rung::TpBtf => (sys::BPF_PROG_TYPE_TRACING, sys::BPF_TRACE_RAW_TP),
        Rung::Fentry => (sys::BPF_PROG_TYPE_TRACING, sys::BPF_TRACE_FENTRY),
        Rung::Fexit => (sys::BPF_PROG_TYPE_TRACING, sys::BPF_TRACE_FEXIT),
        Rung::RawTp => (sys::BPF_PROG_TYPE_RAW_TRACEPOINT, 0),
        Rung::Tc => (sys::BPF_PROG_TYPE_SCHED_CLS, 0),
    };
    let spec = ProgramSpec {
        name: hook.program,
        kind,
        attach_type,
        attach_btf_id: id,
        license,
        instructions,
    };
    let error = match load_once(&spec, &mut []) {
        Ok(fd) => return Ok(Ok(fd)),
        Err(error) => error,
    };
    if error.raw_os_error() == Some(libc::EPERM) {
        return Ok(Err(format!("load: {}", words(&error))));
    }
    // Once more for the verifier's own words.
    let mut log = vec![0u8; 256 << 10];
    let last = match load_once(&spec, &mut log) {
        Ok(fd) => return Ok(Ok(fd)),
        Err(_) => verifier_reason(&log),
    };
    Ok(Err(match last {
        Some(reason) => format!("load: {}: {reason}", words(&error)),
        None => format!("load: {}", words(&error)),
    }))
}

/// The verifier gives up with EAGAIN when a signal is pending (kernel/bpf/verifier.c, do_check).
fn load_once(spec: &ProgramSpec<'_>, log: &mut [u8]) -> io::Result<OwnedFd> {
    let mut tries = 0;
    loop {
        match sys::prog_load(spec, log) {
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) && tries < 5 => tries += 1,
            other => return other,
        }
    }
}

/// The verifier's last meaningful line.
fn verifier_reason(log: &[u8]) -> Option<String> {
    let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
    let text = String::from_utf8_lossy(&log[..end]);
    text.lines()
        .rev()
        .find(|line| {
            !line.is_empty()
                && !line.starts_with("processed ")
                && !line.starts_with("verification time")
        })
        .map(str::to_owned)
}

fn words(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM) => "not permitted (EPERM)".to_owned(),
        Some(libc::EBUSY) => "cannot be traced (EBUSY)".to_owned(),
        Some(libc::ENOENT) => "not there (ENOENT)".to_owned(),
        Some(524) => "not supported for this function (ENOTSUPP)".to_owned(),
        _ => error.to_string(),
    }
}
