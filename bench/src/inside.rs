//! Programs that the benchmark attaches itself: empty ones, and the toolkit's building blocks.

use std::collections::BTreeSet;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use probes_common::config::Config;
use probes_common::{Control, Offsets};
use probes_user::instrument::hook::{Instrument, Object};
use probes_user::instrument::object::{Linked, Maps};
use probes_user::instrument::sys::{self, ProgramSpec};
use probes_user::kernel::btf::{Btf, Facts, Query};

/// A program of the object and the tracepoint it is put on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct On(pub &'static str, pub &'static str);

/// Every tracepoint that a row uses.
const TRACEPOINTS: [&str; 10] = [
    "sys_enter",
    "sys_exit",
    "inet_sock_set_state",
    "block_rq_issue",
    "block_rq_complete",
    "mm_filemap_add_to_page_cache",
    "sched_wakeup",
    "sched_switch",
    "sched_waking",
    "sched_wakeup_new",
];
const PID_BYTES: u32 = 1 << 15;

/// The object's bytes, as its parser wants them.
#[derive(Debug)]
pub struct Bench {
    instrument: Instrument,
    facts: Facts,
}

/// Attached until dropped.
#[derive(Debug)]
pub struct Inside {
    pub maps: Maps,
    programs: Vec<OwnedFd>,
    _links: Vec<OwnedFd>,
}

impl Bench {
    /// # Errors
    /// The object is not there, or the kernel has no BTF.
    pub fn open(objects: &Path) -> Result<Bench> {
        let path = objects.join("bench");
        let bytes = std::fs::read(&path)
            .with_context(|| format!("could not read the BPF object {}", path.display()))?;
        let facts = Btf::running()?.answer(&Query::new().tracepoints(TRACEPOINTS))?;
        Ok(Bench {
            instrument: Instrument {
                name: "bench",
                question: "",
                hooks: &[],
                object: Object(aligned(&bytes)),
            },
            facts,
        })
    }

    /// The numbers of these tracepoints.
    pub fn hooks(&self, names: &[&str]) -> Vec<u32> {
        let found = names.iter().filter_map(|name| self.facts.tracepoint(name));
        found.map(|tracepoint| tracepoint.id).collect()
    }

    /// Attaches these programs, in this order.
    ///
    /// # Errors
    /// The kernel's.
    pub fn attach(&self, programs: &[On], ring: u32) -> Result<Inside> {
        let config = Config {
            direct: 1,
            pid_mask: PID_BYTES - 1,
            ..Config::NONE
        };
        let mut maps = Maps::new(ring, PID_BYTES);
        let linked = Linked::new(&self.instrument, &Offsets::NONE, &config, &mut maps)?;
        let (mut fds, mut links) = (Vec::new(), Vec::new());
        for On(program, tracepoint) in programs {
            let (instructions, license) = linked.instructions(program)?;
            let found = self.facts.tracepoint(tracepoint);
            let spec = ProgramSpec {
                name: program,
                kind: sys::BPF_PROG_TYPE_TRACING,
                attach_type: sys::BPF_TRACE_RAW_TP,
                attach_btf_id: found
                    .with_context(|| format!("no tracepoint {tracepoint}"))?
                    .id,
                license,
                instructions,
            };
            let fd = sys::prog_load(&spec, &mut [])
                .with_context(|| format!("could not load {program} for {tracepoint}"))?;
            links.push(
                sys::raw_tracepoint_open(fd.as_fd(), None)
                    .with_context(|| format!("could not attach {program} to {tracepoint}"))?,
            );
            fds.push(fd);
        }
        let inside = Inside {
            maps,
            programs: fds,
            _links: links,
        };
        inside.enable()?;
        Ok(inside)
    }
}

/// For as long as the benchmark runs.
fn aligned(bytes: &[u8]) -> &'static [u8] {
    let words = vec![0u64; bytes.len().div_ceil(8)].leak();
    // SAFETY: as many bytes as the words have at least, and any bytes are bytes.
    let room = unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), bytes.len()) };
    room.copy_from_slice(bytes);
    room
}

impl Inside {
    fn enable(&self) -> Result<()> {
        let mut control = [0u8; size_of::<Control>()];
        control[..4].copy_from_slice(&1u32.to_ne_bytes());
        sys::map_update(self.maps.get("CONTROL")?, 0, &control).context("could not open the run")
    }

    /// # Errors
    /// The kernel's.
    pub fn set_keys(&self, keys: u32) -> Result<()> {
        let map = self.maps.get("BENCH_KEYS")?;
        sys::map_update(map, 0, &keys.to_ne_bytes()).context("could not set the number of keys")
    }

    /// Nothing is sent any more; the maps stay.
    pub fn detached(self) -> Maps {
        let Inside { maps, .. } = self;
        maps
    }

    pub fn events(&self) -> Result<BorrowedFd<'_>> {
        self.maps.get("EVENTS")
    }

    /// Numbers of the programs, as everybody sees them.
    ///
    /// # Errors
    /// The kernel's.
    pub fn ids(&self) -> Result<BTreeSet<u32>> {
        let id = |fd: &OwnedFd| -> Result<u32> { Ok(sys::prog_info(fd.as_fd())?.id) };
        let ids: BTreeSet<u32> = self.programs.iter().map(id).collect::<Result<_>>()?;
        if ids.is_empty() {
            return Err(anyhow!("nothing was attached"));
        }
        Ok(ids)
    }
}
