//! Cases that no stored kernel has, and one small file in which every kind occurs.

use super::super::raw::kind;
use super::super::{Bits, Btf, Error, Facts, Field, Query};

/// Writes types and strings the way the format prescribes.
#[derive(Default)]
pub struct Maker {
    types: Vec<u8>,
    strings: Vec<u8>,
    count: u32,
}

impl Maker {
    pub fn name(&mut self, name: &str) -> u32 {
        if self.strings.is_empty() {
            self.strings.push(0);
        }
        if name.is_empty() {
            return 0;
        }
        let at = self.strings.len() as u32;
        self.strings.extend(name.bytes());
        self.strings.push(0);
        at
    }

    /// Returns the id. `tail` are the words after the record.
    pub fn add(
        &mut self,
        name: &str,
        kind: u32,
        flag: bool,
        vlen: u32,
        word: u32,
        tail: &[u32],
    ) -> u32 {
        let name = self.name(name);
        let info = u32::from(flag) << 31 | kind << 24 | vlen;
        for w in [name, info, word].iter().chain(tail) {
            self.types.extend(w.to_le_bytes());
        }
        self.count += 1;
        self.count
    }

    pub fn int(&mut self, name: &str, size: u32, shift: u32, bits: u32) -> u32 {
        self.add(name, kind::INT, false, 0, size, &[shift << 16 | bits])
    }

    pub fn structure(
        &mut self,
        name: &str,
        flag: bool,
        size: u32,
        members: &[(&str, u32, u32)],
    ) -> u32 {
        let tail: Vec<u32> = members
            .iter()
            .flat_map(|(n, id, bits)| [self.name(n), *id, *bits])
            .collect();
        self.add(name, kind::STRUCT, flag, members.len() as u32, size, &tail)
    }

    pub fn bytes(&self) -> Vec<u8> {
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        for w in [24, 0, types, types, strings] {
            bytes.extend(w.to_le_bytes());
        }
        [bytes, self.types.clone(), self.strings.clone()].concat()
    }

    fn answer(&self, query: &Query) -> Result<Facts, Error> {
        Btf::from_bytes(self.bytes())?.answer(query)
    }
}

/// Every kind once, all of it reachable from the queries of [`every_question`].
pub fn every_kind() -> Maker {
    let mut m = Maker::default();
    let int = m.int("int", 4, 0, 32);
    let array = m.add("", kind::ARRAY, false, 0, 0, &[int, int, 3]);
    let constant = m.add("", kind::CONST, false, 0, int, &[]);
    let volatile = m.add("", kind::VOLATILE, false, 0, constant, &[]);
    let restrict = m.add("", kind::RESTRICT, false, 0, volatile, &[]);
    let tag = m.add("user", kind::TYPE_TAG, false, 0, restrict, &[]);
    let alias = m.add("alias_t", kind::TYPEDEF, false, 0, tag, &[]);
    let float = m.add("double", kind::FLOAT, false, 0, 8, &[]);
    let (u, v) = (m.name("u"), m.name("v"));
    let union = m.add("", kind::UNION, false, 2, 8, &[u, alias, 0, v, float, 0]);
    let inner = m.structure(
        "",
        true,
        16,
        &[
            ("", union, 0),
            ("low", int, 3 << 24 | 64),
            ("high", int, 5 << 24 | 67),
        ],
    );
    m.structure("outer", false, 32, &[("head", array, 0), ("", inner, 128)]);
    let fwd = m.add("later", kind::FWD, false, 0, 0, &[]);
    let pointer = m.add("", kind::PTR, false, 0, fwd, &[]);
    let empty = m.name("");
    let proto = m.add(
        "",
        kind::FUNC_PROTO,
        false,
        3,
        0,
        &[empty, pointer, empty, int, empty, int],
    );
    let to_proto = m.add("", kind::PTR, false, 0, proto, &[]);
    m.add("btf_trace_event", kind::TYPEDEF, false, 0, to_proto, &[]);
    let func = m.add("act", kind::FUNC, false, 1, proto, &[]);
    let var = m.add("state", kind::VAR, false, 0, int, &[1]);
    m.add(".data", kind::DATASEC, false, 1, 4, &[var, 0, 4]);
    m.add("mark", kind::DECL_TAG, false, 0, func, &[u32::MAX]);
    let (minus, plus) = (m.name("MINUS"), m.name("PLUS"));
    m.add("small", kind::ENUM, true, 2, 4, &[minus, u32::MAX, plus, 7]);
    let (max, big) = (m.name("ALL_ONES"), m.name("BIG"));
    m.add(
        "large",
        kind::ENUM64,
        false,
        2,
        8,
        &[max, u32::MAX, u32::MAX, big, 1, 2],
    );
    m
}

pub fn every_question() -> Query {
    Query::new()
        .fields([
            "outer.head",
            "outer.u",
            "outer.v",
            "outer.low",
            "outer.high",
            "outer",
        ])
        .tracepoints(["event"])
        .functions(["act"])
        .enumerators(["MINUS", "PLUS", "ALL_ONES", "BIG"])
}

#[test]
fn every_kind_is_read() {
    let facts = every_kind().answer(&every_question()).unwrap();
    let plain = |offset, size| {
        Some(Field {
            offset,
            size,
            bits: None,
        })
    };
    assert_eq!(facts.types, 22);
    assert_eq!(facts.field("outer"), plain(0, 32));
    assert_eq!(facts.field("outer.head"), plain(0, 12));
    assert_eq!(facts.field("outer.u"), plain(16, 4));
    assert_eq!(facts.field("outer.v"), plain(16, 8));
    let bits = |offset, shift, width| {
        Some(Field {
            offset,
            size: 4,
            bits: Some(Bits { shift, width }),
        })
    };
    assert_eq!(facts.field("outer.low"), bits(24, 0, 3));
    assert_eq!(facts.field("outer.high"), bits(24, 3, 5));
    assert_eq!(facts.tracepoint("event").map(|t| t.args), Some(2));
    assert_eq!(
        facts.function("act").map(|f| (f.params, f.count)),
        Some((3, 1))
    );
    assert_eq!(facts.enumerator("MINUS"), Some(-1));
    assert_eq!(facts.enumerator("PLUS"), Some(7));
    assert_eq!(facts.enumerator("ALL_ONES"), Some(-1));
    assert_eq!(facts.enumerator("BIG"), Some(2 << 32 | 1));
}

#[test]
fn bit_fields_of_the_old_encoding_are_found() {
    let mut m = Maker::default();
    let narrow = m.int("unsigned int", 4, 2, 3);
    m.structure("s", false, 4, &[("b", narrow, 8)]);
    let facts = m.answer(&Query::new().fields(["s.b"])).unwrap();
    assert_eq!(
        facts.field("s.b"),
        Some(Field {
            offset: 1,
            size: 4,
            bits: Some(Bits { shift: 2, width: 3 })
        })
    );
}

#[test]
fn namesakes_that_disagree_are_withheld_and_listed() {
    let mut m = Maker::default();
    let int = m.int("int", 4, 0, 32);
    m.structure("twin", false, 8, &[("same", int, 0), ("moved", int, 32)]);
    m.structure(
        "twin",
        false,
        12,
        &[("same", int, 0), ("moved", int, 64), ("only", int, 32)],
    );
    for value in [1, 2] {
        let (same, differs) = (m.name("SAME"), m.name("DIFFERS"));
        m.add("", kind::ENUM, false, 2, 4, &[same, 9, differs, value]);
    }
    let query = Query::new()
        .fields(["twin.same", "twin.moved", "twin.only"])
        .enumerators(["SAME", "DIFFERS"]);
    let facts = m.answer(&query).unwrap();
    assert_eq!(facts.offset("twin.same"), Some(0));
    assert_eq!(facts.offset("twin.only"), Some(4));
    assert_eq!(facts.enumerator("SAME"), Some(9));
    assert_eq!(facts.ambiguous, ["twin.moved", "DIFFERS"]);
}

#[test]
fn structs_that_contain_each_other_are_an_error_not_a_loop() {
    let mut m = Maker::default();
    // Two anonymous members of its own type: 2^depth paths.
    m.structure("loop", false, 8, &[("", 1, 0), ("", 1, 0)]);
    assert!(matches!(
        m.answer(&Query::new().fields(["loop.x"])),
        Err(Error::Malformed { .. })
    ));
    let mut m = Maker::default();
    m.add("alias", kind::TYPEDEF, false, 0, 1, &[]);
    m.structure("s", false, 8, &[("x", 1, 0)]);
    assert!(matches!(
        m.answer(&Query::new().fields(["s.x"])),
        Err(Error::Malformed { .. })
    ));
}

#[test]
fn missing_files_say_what_to_do() {
    let missing = Btf::open(std::path::Path::new("/nonexistent/vmlinux"))
        .err()
        .map(|e| e.to_string());
    assert!(missing.is_some_and(|m| m.contains("CONFIG_DEBUG_INFO_BTF")));
    assert!(matches!(
        Btf::open(std::path::Path::new("/")),
        Err(Error::Unreadable { .. })
    ));
    assert!(matches!(
        Btf::from_bytes(Vec::new()),
        Err(Error::Malformed { .. })
    ));
    assert!(matches!(
        Btf::from_bytes(b"\xeb\x9f\x01\0".to_vec()),
        Err(Error::Malformed { .. })
    ));
}
