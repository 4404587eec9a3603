//! What the kernel answered.

use std::collections::BTreeMap;

use probes_common::offsets::packed_bits;
use probes_common::{ABSENT, Offsets};

/// A bit field within [`Field::offset`]: shift right by `shift`, keep `width` bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bits {
    /// 0..=7, counted from the byte at [`Field::offset`], least significant first.
    pub shift: u8,
    /// 1..=64 (kernels: of its declared type at most).
    pub width: u8,
}

/// Where a field is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Bytes from the start of the outermost struct; of a bit field, the byte in which it begins.
    pub offset: u32,
    /// Bytes of its type; of a bit field, bytes of its declared type.
    pub size: u32,
    /// Set for bit fields only.
    pub bits: Option<Bits>,
}

impl Field {
    /// Its entry of the shared table; none for a bit field that does not fit one.
    pub fn entry(self) -> Option<u32> {
        match self.bits {
            None => Some(self.offset),
            Some(Bits { shift, width }) if shift + width <= 8 && self.offset < 1 << 16 => {
                Some(packed_bits(self.offset, shift, width))
            }
            Some(_) => None,
        }
    }
}

/// A tracepoint to which typed programs (tp_btf) attach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tracepoint {
    /// `attach_btf_id` for BPF_PROG_LOAD: the typedef `btf_trace_<name>`.
    pub id: u32,
    /// Arguments a program sees: those of the tracepoint without the leading `void *__data`.
    pub args: u32,
}

/// A function that BTF describes. Presence does not promise that a program can attach (notrace, clones).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Function {
    /// `attach_btf_id` for BPF_PROG_LOAD: the first FUNC of that name.
    pub id: u32,
    /// Parameters, `...` not counted: also the index of the return value for fexit.
    pub params: u32,
    /// How many functions bear this name; with more than one the id may be of a namesake.
    pub count: u32,
}

impl Function {
    pub fn unique(self) -> bool {
        self.count == 1
    }
}

/// Answers to one [`super::Query`]. A name that is not here does not exist on this kernel, or is ambiguous.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    pub fields: BTreeMap<String, Field>,
    pub tracepoints: BTreeMap<String, Tracepoint>,
    pub functions: BTreeMap<String, Function>,
    /// Enumerators; those of an unsigned 64-bit enum as their bit pattern.
    pub enumerators: BTreeMap<String, i64>,
    /// Enumerators of the enums asked for, by value; of several names for one value the first.
    pub enums: BTreeMap<String, BTreeMap<u32, String>>,
    /// Fields and enumerators that several types of one name answer differently: withheld.
    pub ambiguous: Vec<String>,
    /// Types in the file.
    pub types: u32,
}

impl Facts {
    pub fn field(&self, path: &str) -> Option<Field> {
        self.fields.get(path).copied()
    }

    /// Byte offset of a field; none for a bit field, whose offset alone would mislead.
    pub fn offset(&self, path: &str) -> Option<u32> {
        self.field(path)
            .filter(|f| f.bits.is_none())
            .map(|f| f.offset)
    }

    pub fn tracepoint(&self, name: &str) -> Option<Tracepoint> {
        self.tracepoints.get(name).copied()
    }

    pub fn function(&self, name: &str) -> Option<Function> {
        self.functions.get(name).copied()
    }

    pub fn enumerator(&self, name: &str) -> Option<i64> {
        self.enumerators.get(name).copied()
    }

    /// The shared table: of each entry the first alternative that exists, else [`ABSENT`]; of a bit field
    /// within one byte its place as [`packed_bits`].
    /// Meaningful only if the query included [`super::Query::offsets`].
    pub fn offsets(&self) -> Offsets {
        let entry = |path: &&str| self.field(path).and_then(Field::entry);
        let first = |paths: &[&str]| paths.iter().find_map(entry).unwrap_or(ABSENT);
        Offsets::from_values(std::array::from_fn(|i| first(Offsets::PATHS[i].1)))
    }
}
