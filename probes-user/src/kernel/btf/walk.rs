//! Following one path through the types: modifiers, anonymous members, bit fields, sizes.

use super::raw::{Blob, RECORD_LEN, Type, kind};
use super::{Bits, Error, Field};

/// Steps one path may take. Real paths take a few hundred; damaged bytes can hold cycles.
const BUDGET: u32 = 100_000;
/// Anonymous structs within each other, and arrays of arrays.
const DEPTH: u32 = 32;

/// Random access to types by id.
#[derive(Clone, Copy)]
pub(super) struct Types<'a> {
    pub blob: Blob<'a>,
    /// Place of each type in the type section; entry 0 stands for void.
    pub index: &'a [u32],
}

impl Types<'_> {
    /// None for void.
    pub(super) fn get(self, id: u32) -> Result<Option<Type>, Error> {
        if id == 0 {
            return Ok(None);
        }
        let at = self.index.get(id as usize);
        let at = at.ok_or(Error::Malformed {
            at: id as usize,
            what: "reference to a type that is not there, id",
        })?;
        self.blob.record(*at as usize).map(Some)
    }

    /// Where `path` leads within the struct or union `root`; none if a member does not exist.
    pub(super) fn field(self, root: Type, path: &[&str]) -> Result<Option<Field>, Error> {
        let mut walk = Walk {
            types: self,
            budget: BUDGET,
        };
        let mut container = root;
        let mut place = Place {
            bit: 0,
            width: 0,
            id: 0,
        };
        for (i, name) in path.iter().enumerate() {
            if i > 0 {
                match walk.strip(place.id)? {
                    Some(ty) if matches!(ty.kind(), kind::STRUCT | kind::UNION) => container = ty,
                    _ => return Ok(None),
                }
            }
            match walk.member(container, name.as_bytes(), place.bit, 0)? {
                Some(found) => place = found,
                None => return Ok(None),
            }
        }
        if path.is_empty() {
            return Ok(Some(Field {
                offset: 0,
                size: root.word,
                bits: None,
            }));
        }
        walk.finish(place).map(Some)
    }
}

/// A member found: bits from the start of the outermost struct, width if the struct says it is a bit field.
#[derive(Clone, Copy)]
struct Place {
    bit: u32,
    width: u8,
    id: u32,
}

struct Walk<'a> {
    types: Types<'a>,
    budget: u32,
}

impl Walk<'_> {
    fn step(&mut self, at: usize) -> Result<(), Error> {
        self.budget = self.budget.checked_sub(1).ok_or(Error::Malformed {
            at,
            what: "types that contain each other",
        })?;
        Ok(())
    }

    /// The type behind typedef, const, volatile, restrict and type tags; none for void.
    fn strip(&mut self, mut id: u32) -> Result<Option<Type>, Error> {
        while let Some(ty) = self.types.get(id)? {
            self.step(ty.at)?;
            match ty.kind() {
                kind::TYPEDEF | kind::CONST | kind::VOLATILE | kind::RESTRICT | kind::TYPE_TAG => {
                    id = ty.word
                }
                _ => return Ok(Some(ty)),
            }
        }
        Ok(None)
    }

    fn member(
        &mut self,
        container: Type,
        name: &[u8],
        base: u32,
        depth: u32,
    ) -> Result<Option<Place>, Error> {
        let blob = self.types.blob;
        for i in 0..container.vlen() {
            let at = container.at + RECORD_LEN + 12 * i;
            self.step(at)?;
            let (label, id, raw) = (blob.word(at)?, blob.word(at + 4)?, blob.word(at + 8)?);
            // kind_flag: offset in the low 24 bits, width of a bit field in the high 8.
            let (offset, width) = if container.flag() {
                (raw & 0x00ff_ffff, (raw >> 24) as u8)
            } else {
                (raw, 0)
            };
            let bit = base.checked_add(offset).ok_or(Error::Malformed {
                at,
                what: "member offset overflow",
            })?;
            if label != 0 {
                if blob.is(label, name)? {
                    return Ok(Some(Place { bit, width, id }));
                }
                continue;
            }
            if let Some(inner) = self.strip(id)?
                && matches!(inner.kind(), kind::STRUCT | kind::UNION)
            {
                if depth == DEPTH {
                    return Err(Error::Malformed {
                        at,
                        what: "anonymous members nested too deep",
                    });
                }
                if let Some(found) = self.member(inner, name, bit, depth + 1)? {
                    return Ok(Some(found));
                }
            }
        }
        Ok(None)
    }

    fn finish(&mut self, place: Place) -> Result<Field, Error> {
        let size = self.size(place.id, 0)?;
        let (mut bit, mut width) = (place.bit, place.width);
        if width == 0
            && let Some(int) = self.strip(place.id)?
            && int.kind() == kind::INT
        {
            // The encoding from before kind_flag (4.20): width and shift within the integer type.
            let encoding = self.types.blob.word(int.at + RECORD_LEN)?;
            let bits = (encoding & 0xff) as u8;
            if u32::from(bits) != size.saturating_mul(8) {
                width = bits;
                bit = bit.saturating_add(encoding >> 16 & 0xff);
            }
        }
        let bits = (width != 0).then_some(Bits {
            shift: (bit % 8) as u8,
            width,
        });
        if bits.is_none() && bit % 8 != 0 {
            return Err(Error::Malformed {
                at: bit as usize,
                what: "member between two bytes, bit",
            });
        }
        Ok(Field {
            offset: bit / 8,
            size,
            bits,
        })
    }

    fn size(&mut self, id: u32, depth: u32) -> Result<u32, Error> {
        let Some(ty) = self.strip(id)? else {
            return Ok(0);
        };
        match ty.kind() {
            kind::PTR => Ok(8),
            kind::ARRAY if depth < DEPTH => {
                let element = self.size(self.types.blob.word(ty.at + RECORD_LEN)?, depth + 1)?;
                let count = self.types.blob.word(ty.at + RECORD_LEN + 8)?;
                element.checked_mul(count).ok_or(Error::Malformed {
                    at: ty.at,
                    what: "array size overflow",
                })
            }
            kind::INT | kind::STRUCT | kind::UNION | kind::ENUM | kind::ENUM64 | kind::FLOAT => {
                Ok(ty.word)
            }
            _ => Err(Error::Malformed {
                at: ty.at,
                what: "member of a type without size",
            }),
        }
    }
}
