//! The format itself: header, type records, strings. Every read is bounds-checked.

use super::Error;

/// Kinds of include/uapi/linux/btf.h.
pub(super) mod kind {
    pub const INT: u32 = 1;
    pub const PTR: u32 = 2;
    pub const ARRAY: u32 = 3;
    pub const STRUCT: u32 = 4;
    pub const UNION: u32 = 5;
    pub const ENUM: u32 = 6;
    pub const FWD: u32 = 7;
    pub const TYPEDEF: u32 = 8;
    pub const VOLATILE: u32 = 9;
    pub const CONST: u32 = 10;
    pub const RESTRICT: u32 = 11;
    pub const FUNC: u32 = 12;
    pub const FUNC_PROTO: u32 = 13;
    pub const VAR: u32 = 14;
    pub const DATASEC: u32 = 15;
    pub const FLOAT: u32 = 16;
    pub const DECL_TAG: u32 = 17;
    pub const TYPE_TAG: u32 = 18;
    pub const ENUM64: u32 = 19;
}

const MAGIC: [u8; 2] = [0x9f, 0xeb];
const HEADER_LEN: usize = 24;
/// Bytes of a type record before its members.
pub(super) const RECORD_LEN: usize = 12;

/// One type record. `at` is its place in the type section.
#[derive(Debug, Clone, Copy)]
pub(super) struct Type {
    pub at: usize,
    /// Offset of the name in the string section; 0 = anonymous.
    pub name: u32,
    info: u32,
    /// Size in bytes or id of another type, by kind.
    pub word: u32,
}

impl Type {
    // Kind has 5 bits and vlen 16 up to 6.18; the bits between them were always zero and later headers
    // widen both (7 and 24), so the wide masks read old and new alike.
    pub(super) fn kind(self) -> u32 {
        self.info >> 24 & 0x7f
    }

    /// Members, enumerators or parameters.
    pub(super) fn vlen(self) -> usize {
        (self.info & 0x00ff_ffff) as usize
    }

    pub(super) fn flag(self) -> bool {
        self.info >> 31 == 1
    }

    /// Bytes of the whole record.
    ///
    /// # Errors
    /// A kind that this reader does not know: its length is unknown too.
    pub(super) fn len(self) -> Result<usize, Error> {
        let vlen = self.vlen();
        let tail = match self.kind() {
            kind::PTR
            | kind::FWD
            | kind::TYPEDEF
            | kind::VOLATILE
            | kind::CONST
            | kind::RESTRICT => 0,
            kind::FUNC | kind::FLOAT | kind::TYPE_TAG => 0,
            kind::INT | kind::VAR | kind::DECL_TAG => 4,
            kind::ARRAY => 12,
            kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => 12 * vlen,
            kind::ENUM | kind::FUNC_PROTO => 8 * vlen,
            _ => {
                return Err(Error::Malformed {
                    at: self.at,
                    what: "type of unknown kind",
                });
            }
        };
        Ok(RECORD_LEN + tail)
    }
}

/// The two sections of a BTF file.
#[derive(Clone, Copy)]
pub(super) struct Blob<'a> {
    pub types: &'a [u8],
    strings: &'a [u8],
}

impl<'a> Blob<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Result<Self, Error> {
        let bad = |what| Error::Malformed { at: 0, what };
        check_magic(*bytes.first_chunk().ok_or_else(|| bad("file cut short"))?)?;
        let header_len = word(bytes, 4)? as usize;
        if header_len < HEADER_LEN {
            return Err(bad("header shorter than 24 bytes"));
        }
        let section = |at: usize| -> Result<&'a [u8], Error> {
            let start = header_len.checked_add(word(bytes, at)? as usize);
            let end =
                start.and_then(|s| Some((s, s.checked_add(word(bytes, at + 4).ok()? as usize)?)));
            end.and_then(|(s, e)| bytes.get(s..e))
                .ok_or_else(|| bad("section beyond the end of the file"))
        };
        Ok(Self {
            types: section(8)?,
            strings: section(16)?,
        })
    }

    pub(super) fn word(self, at: usize) -> Result<u32, Error> {
        word(self.types, at)
    }

    pub(super) fn record(self, at: usize) -> Result<Type, Error> {
        let head = at
            .checked_add(RECORD_LEN)
            .and_then(|end| self.types.get(at..end));
        let Some([n0, n1, n2, n3, i0, i1, i2, i3, w0, w1, w2, w3]) = head else {
            return Err(Error::Malformed {
                at,
                what: "type record cut short",
            });
        };
        Ok(Type {
            at,
            name: u32::from_le_bytes([*n0, *n1, *n2, *n3]),
            info: u32::from_le_bytes([*i0, *i1, *i2, *i3]),
            word: u32::from_le_bytes([*w0, *w1, *w2, *w3]),
        })
    }

    /// The string section from `name` on: the caller compares or cuts at the zero byte.
    pub(super) fn tail(self, name: u32) -> Result<&'a [u8], Error> {
        self.strings.get(name as usize..).ok_or(Error::Malformed {
            at: name as usize,
            what: "name beyond the string section",
        })
    }

    /// Whether the string at `name` is exactly `wanted`.
    pub(super) fn is(self, name: u32, wanted: &[u8]) -> Result<bool, Error> {
        let tail = self.tail(name)?;
        Ok(tail.starts_with(wanted) && tail.get(wanted.len()) == Some(&0))
    }
}

/// Magic and version, the first bytes of any BTF.
pub(super) fn check_magic(head: [u8; 4]) -> Result<(), Error> {
    match head {
        [m0, m1, 1, _] if [m0, m1] == MAGIC => Ok(()),
        [m0, m1, ..] if [m0, m1] == MAGIC => Err(Error::Malformed {
            at: 2,
            what: "BTF version other than 1",
        }),
        _ => Err(Error::Malformed {
            at: 0,
            what: "no little-endian BTF magic",
        }),
    }
}

fn word(bytes: &[u8], at: usize) -> Result<u32, Error> {
    match at.checked_add(4).and_then(|end| bytes.get(at..end)) {
        Some([a, b, c, d]) => Ok(u32::from_le_bytes([*a, *b, *c, *d])),
        _ => Err(Error::Malformed {
            at,
            what: "file cut short",
        }),
    }
}
