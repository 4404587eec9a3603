//! One instrument's ELF made ready for the kernel: globals set, maps created or shared by name, code linked.
//!
//! aya-obj reads the object; loading is ours because maps must be shared between objects without pinning
//! and because aya parses the whole kernel BTF (18 ms and 18 MiB each time) where two lookups are needed.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result, anyhow};
use aya_obj::{EbpfSectionKind, Map};
use probes_common::config::Config;
use probes_common::{Offsets, control};

use super::hook::Instrument;
use super::lock::{KEY_TYPE, VALUE_TYPE, locked_value};
use super::sys::{self, MapSpec};

/// Maps by name, made once and shared by every object that names them.
#[derive(Debug)]
pub struct Maps {
    fds: BTreeMap<String, OwnedFd>,
    /// Bytes of the event ring; a power of two, at least a page.
    ring_bytes: u32,
    /// Bytes of the byte-per-pid maps.
    pid_bytes: u32,
}

/// Maps whose one value has a byte per pid.
const BYTE_PER_PID: [&str; 5] = ["WATCH", "ASLEEP", "PENDING", "HANDLED", "PAGE_TURNS"];

/// Maps with an entry per pid.
const ENTRY_PER_PID: [&str; 1] = ["RUNQ_TASKS"];

/// Maps whose value begins with a `struct bpf_spin_lock`.
const LOCKED: [&str; 1] = ["RULES"];

impl Maps {
    pub fn new(ring_bytes: u32, pid_bytes: u32) -> Maps {
        Maps {
            fds: BTreeMap::new(),
            ring_bytes,
            pid_bytes,
        }
    }

    pub fn get(&self, name: &str) -> Result<BorrowedFd<'_>> {
        self.fds
            .get(name)
            .map(AsFd::as_fd)
            .ok_or_else(|| anyhow!("no map {name} in the loaded objects"))
    }

    /// Kernel memory of all maps, bytes, as far as the kernel tells.
    pub fn bytes(&self) -> u64 {
        self.fds.values().map(|fd| memlock(fd.as_fd())).sum()
    }

    fn share(&mut self, name: &str, map: &Map) -> Result<i32> {
        if let Some(fd) = self.fds.get(name) {
            return Ok(fd.as_raw_fd());
        }
        let pid_map = BYTE_PER_PID.contains(&name);
        let types = match LOCKED.contains(&name) {
            true => Some(
                sys::btf_load(&locked_value(map.value_size()))
                    .with_context(|| format!("could not describe the BPF map {name}"))?,
            ),
            false => None,
        };
        let ring = map.map_type() == sys::BPF_MAP_TYPE_RINGBUF;
        let spec = MapSpec {
            name,
            kind: map.map_type(),
            key_size: map.key_size(),
            value_size: if pid_map {
                self.pid_bytes
            } else {
                map.value_size()
            },
            max_entries: if ring {
                self.ring_bytes
            } else if ENTRY_PER_PID.contains(&name) {
                self.pid_bytes
            } else {
                map.max_entries()
            },
            flags: map.map_flags(),
            types: types
                .as_ref()
                .map(|btf| (btf.as_fd(), KEY_TYPE, VALUE_TYPE)),
        };
        let fd = sys::map_create(&spec).with_context(|| {
            format!(
                "could not create the BPF map {name} (type {}, {} bytes)",
                spec.kind, spec.value_size
            )
        })?;
        let raw = fd.as_raw_fd();
        self.fds.insert(name.to_owned(), fd);
        Ok(raw)
    }
}

fn memlock(map: BorrowedFd<'_>) -> u64 {
    let path = format!("/proc/self/fdinfo/{}", map.as_raw_fd());
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("memlock:"));
    line.and_then(|value| value.trim().parse().ok())
        .unwrap_or(0)
}

/// An object whose programs can be handed to the kernel.
#[derive(Debug)]
pub struct Linked {
    object: aya_obj::Object,
    /// The frozen .rodata of this object; programs hold it once loaded.
    _globals: Vec<OwnedFd>,
}

impl Linked {
    /// Parses and links the instrument's object against `maps`, with these globals.
    ///
    /// # Errors
    /// A damaged object (a build fault), or a map that the kernel refuses.
    pub fn new(
        instrument: &Instrument,
        offsets: &Offsets,
        config: &Config,
        maps: &mut Maps,
    ) -> Result<Linked> {
        let name = instrument.name;
        let mut object = aya_obj::Object::parse(instrument.object.0)
            .with_context(|| format!("could not read the BPF object of instrument {name}"))?;
        let offsets = bytes_of(offsets);
        let config = bytes_of(config);
        let globals = HashMap::from([("OFFSETS", (offsets, false)), ("CONFIG", (config, false))]);
        object
            .patch_map_data(globals)
            .with_context(|| format!("could not set the globals of {name}"))?;

        let definitions: Vec<(String, Map)> = object
            .maps
            .iter()
            .map(|(n, m)| (n.clone(), m.clone()))
            .collect();
        let mut frozen = Vec::new();
        let mut fds = Vec::new();
        for (map_name, map) in &definitions {
            let fd = if map.section_kind() == EbpfSectionKind::Rodata {
                let fd = read_only(map_name, map)?;
                let raw = fd.as_raw_fd();
                frozen.push(fd);
                raw
            } else {
                maps.share(map_name, map)?
            };
            fds.push((map_name.as_str(), fd, map));
        }
        let text: HashSet<usize> = object
            .functions
            .keys()
            .map(|(section, _)| *section)
            .collect();
        object
            .relocate_maps(fds.into_iter(), &text)
            .with_context(|| format!("could not link {name}"))?;
        object
            .relocate_calls(&text)
            .with_context(|| format!("could not link {name}"))?;
        Ok(Linked {
            object,
            _globals: frozen,
        })
    }

    /// The program's code, ready to load.
    pub fn instructions(
        &self,
        program: &str,
    ) -> Result<(&[aya_obj::generated::bpf_insn], &std::ffi::CStr)> {
        let missing = || anyhow!("no program {program} in the object");
        let entry = self.object.programs.get(program).ok_or_else(missing)?;
        let function = self
            .object
            .functions
            .get(&entry.function_key())
            .ok_or_else(missing)?;
        Ok((&function.instructions, &self.object.license))
    }
}

fn read_only(name: &str, map: &Map) -> Result<OwnedFd> {
    let spec = MapSpec {
        name: ".rodata",
        kind: sys::BPF_MAP_TYPE_ARRAY,
        key_size: 4,
        value_size: map.data().len() as u32,
        max_entries: 1,
        flags: sys::BPF_F_RDONLY_PROG,
        types: None,
    };
    let fd = sys::map_create(&spec).with_context(|| format!("could not create the map {name}"))?;
    sys::map_update(fd.as_fd(), 0, map.data())
        .with_context(|| format!("could not fill the map {name}"))?;
    sys::map_freeze(fd.as_fd()).with_context(|| format!("could not freeze the map {name}"))?;
    Ok(fd)
}

/// A shared constant as bytes.
fn bytes_of<T: Copy + control::Plain>(value: &T) -> &[u8] {
    // SAFETY: Plain types are repr(C) without padding.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}
