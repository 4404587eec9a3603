//! What to ask: names collected first, so that one pass over the types can answer all of them.

use std::collections::BTreeSet;

use probes_common::Offsets;

/// The names wanted from one BTF file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    pub(super) fields: BTreeSet<String>,
    pub(super) tracepoints: BTreeSet<String>,
    pub(super) functions: BTreeSet<String>,
    pub(super) enumerators: BTreeSet<String>,
    pub(super) enums: BTreeSet<String>,
}

impl Query {
    pub fn new() -> Self {
        Self::default()
    }

    /// Every path of the shared offsets table; read it back with [`super::Facts::offsets`].
    #[must_use]
    pub fn offsets(self) -> Self {
        self.fields(Offsets::PATHS.iter().flat_map(|(_, paths)| paths.iter()))
    }

    /// Fields as `struct.member.member` (a struct or union alone asks for its size). Members of anonymous
    /// structs and unions are named as in C, without them; a path does not cross pointers or arrays.
    #[must_use]
    pub fn fields(mut self, paths: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        extend(&mut self.fields, paths);
        self
    }

    /// Tracepoints by their bare name (`sched_switch`).
    #[must_use]
    pub fn tracepoints(mut self, names: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        extend(&mut self.tracepoints, names);
        self
    }

    /// Kernel functions, for fentry, fexit.
    #[must_use]
    pub fn functions(mut self, names: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        extend(&mut self.functions, names);
        self
    }

    /// Enumerators by their bare name (`TCP_ESTABLISHED`).
    #[must_use]
    pub fn enumerators(mut self, names: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        extend(&mut self.enumerators, names);
        self
    }

    /// Enums by their tag (`skb_drop_reason`): all their enumerators.
    #[must_use]
    pub fn enums(mut self, names: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        extend(&mut self.enums, names);
        self
    }
}

fn extend(set: &mut BTreeSet<String>, names: impl IntoIterator<Item = impl AsRef<str>>) {
    set.extend(names.into_iter().map(|n| n.as_ref().to_owned()));
}
