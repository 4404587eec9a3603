//! The single pass: find the wanted names, note where every type begins, then resolve.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::super::filter::Filter;
use super::raw::{Blob, RECORD_LEN, Type, kind};
use super::walk::Types;
use super::{Error, Facts, Field, Function, Query, Tracepoint};

const TRACE: &[u8] = b"btf_trace_";

pub(super) fn answer(blob: Blob<'_>, query: &Query) -> Result<Facts, Error> {
    let mut scan = Scan::new(blob, query);
    let index = scan.run()?;
    let types = Types {
        blob,
        index: &index,
    };
    let mut facts = Facts {
        types: u32::try_from(index.len() - 1).unwrap_or(u32::MAX),
        ..Facts::default()
    };
    for path in &query.fields {
        let candidates = scan.structs.hits(root_of(path));
        match agree(types, candidates, path)? {
            Agreed::One(field) => drop(facts.fields.insert(path.clone(), field)),
            Agreed::None => {}
            Agreed::Differ => facts.ambiguous.push(path.clone()),
        }
    }
    for name in &query.tracepoints {
        if let Some(&id) = scan.tracepoints.hits(name).first()
            && let Some(args) = tracepoint_args(types, id)?
        {
            facts
                .tracepoints
                .insert(name.clone(), Tracepoint { id, args });
        }
    }
    for name in &query.functions {
        let hits = scan.functions.hits(name);
        if let Some(&id) = hits.first() {
            let count = u32::try_from(hits.len()).unwrap_or(u32::MAX);
            facts.functions.insert(
                name.clone(),
                Function {
                    id,
                    params: params(types, id)?,
                    count,
                },
            );
        }
    }
    for name in &query.enumerators {
        match scan.values.get(name.as_bytes()) {
            Some(Some(value)) => drop(facts.enumerators.insert(name.clone(), *value)),
            Some(None) => facts.ambiguous.push(name.clone()),
            None => {}
        }
    }
    for name in &query.enums {
        let mut agreed: Option<BTreeMap<u32, String>> = None;
        for &id in scan.enums.hits(name) {
            let Some(ty) = types.get(id)? else { continue };
            let values = values(blob, ty)?;
            if agreed.replace(values.clone()).is_some_and(|a| a != values) {
                agreed = None;
                facts.ambiguous.push(name.clone());
                break;
            }
        }
        facts
            .enums
            .extend(agreed.map(|values| (name.clone(), values)));
    }
    Ok(facts)
}

/// Names by value; wider values are cut to their low half.
fn values(blob: Blob<'_>, ty: Type) -> Result<BTreeMap<u32, String>, Error> {
    let stride = if ty.kind() == kind::ENUM64 { 12 } else { 8 };
    let mut values = BTreeMap::new();
    for i in 0..ty.vlen() {
        let at = ty.at + RECORD_LEN + stride * i;
        let tail = blob.tail(blob.word(at)?)?;
        let len = tail.iter().position(|&b| b == 0).unwrap_or(tail.len());
        let name = String::from_utf8_lossy(&tail[..len]).into_owned();
        values.entry(blob.word(at + 4)?).or_insert(name);
    }
    Ok(values)
}

fn root_of(path: &str) -> &str {
    path.split('.').next().unwrap_or(path)
}

enum Agreed {
    None,
    One(Field),
    Differ,
}

/// All structs of the wanted name must answer alike.
fn agree(types: Types<'_>, candidates: &[u32], path: &str) -> Result<Agreed, Error> {
    let members: Vec<&str> = path.split('.').skip(1).collect();
    let mut agreed = Agreed::None;
    for &id in candidates {
        let Some(root) = types.get(id)? else { continue };
        match (types.field(root, &members)?, &agreed) {
            (None, _) => {}
            (Some(field), Agreed::None) => agreed = Agreed::One(field),
            (Some(field), Agreed::One(first)) if field == *first => {}
            (Some(_), _) => return Ok(Agreed::Differ),
        }
    }
    Ok(agreed)
}

/// typedef → pointer → prototype; none if the typedef is something else.
fn tracepoint_args(types: Types<'_>, id: u32) -> Result<Option<u32>, Error> {
    let mut id = id;
    for wanted in [kind::TYPEDEF, kind::PTR, kind::FUNC_PROTO] {
        match types.get(id)? {
            Some(ty) if ty.kind() == wanted && wanted == kind::FUNC_PROTO => {
                return Ok(u32::try_from(ty.vlen()).ok().and_then(|n| n.checked_sub(1)));
            }
            Some(ty) if ty.kind() == wanted => id = ty.word,
            _ => return Ok(None),
        }
    }
    Ok(None)
}

fn params(types: Types<'_>, func: u32) -> Result<u32, Error> {
    let bad = Error::Malformed {
        at: func as usize,
        what: "function without prototype, id",
    };
    let Some(func) = types.get(func)? else {
        return Err(bad);
    };
    let proto = match types.get(func.word)? {
        Some(proto) if proto.kind() == kind::FUNC_PROTO => proto,
        _ => return Err(bad),
    };
    let mut count = proto.vlen();
    // A last parameter of type void is the ellipsis.
    if count > 0
        && types
            .blob
            .word(proto.at + RECORD_LEN + 8 * (count - 1) + 4)?
            == 0
    {
        count -= 1;
    }
    Ok(u32::try_from(count).unwrap_or(u32::MAX))
}

struct Scan<'a> {
    blob: Blob<'a>,
    structs: Names<'a>,
    tracepoints: Names<'a>,
    functions: Names<'a>,
    enumerators: Names<'a>,
    enums: Names<'a>,
    /// None: seen with different values.
    values: BTreeMap<&'a [u8], Option<i64>>,
}

impl<'a> Scan<'a> {
    fn new(blob: Blob<'a>, query: &'a Query) -> Self {
        let roots: BTreeSet<&str> = query.fields.iter().map(|path| root_of(path)).collect();
        Self {
            blob,
            structs: Names::new(roots),
            tracepoints: Names::new(query.tracepoints.iter().map(String::as_str)),
            functions: Names::new(query.functions.iter().map(String::as_str)),
            enumerators: Names::new(query.enumerators.iter().map(String::as_str)),
            enums: Names::new(query.enums.iter().map(String::as_str)),
            values: BTreeMap::new(),
        }
    }

    /// Returns the place of every type, entry 0 for void.
    fn run(&mut self) -> Result<Vec<u32>, Error> {
        let blob = self.blob;
        // A record has 26 bytes on average (5.10 to 7.2): no growing, little waste.
        let mut index = Vec::with_capacity(blob.types.len() / 20 + 1);
        index.push(0);
        let mut at = 0;
        while at < blob.types.len() {
            let ty = blob.record(at)?;
            let id = u32::try_from(index.len()).map_err(|_| Error::Malformed {
                at,
                what: "too many types",
            })?;
            index.push(u32::try_from(at).map_err(|_| Error::Malformed {
                at,
                what: "file too large",
            })?);
            match ty.kind() {
                kind::STRUCT | kind::UNION if ty.name != 0 => {
                    self.structs.offer(blob.tail(ty.name)?, id)
                }
                kind::FUNC => self.functions.offer(blob.tail(ty.name)?, id),
                kind::TYPEDEF => {
                    if let Some(bare) = blob.tail(ty.name)?.strip_prefix(TRACE) {
                        self.tracepoints.offer(bare, id);
                    }
                }
                kind::ENUM | kind::ENUM64 => {
                    if ty.name != 0 && ty.vlen() > 0 {
                        self.enums.offer(blob.tail(ty.name)?, id);
                    }
                    self.enumeration(ty)?;
                }
                _ => {}
            }
            at += ty.len()?;
        }
        if at != blob.types.len() {
            return Err(Error::Malformed {
                at,
                what: "last type cut short",
            });
        }
        Ok(index)
    }

    fn enumeration(&mut self, ty: Type) -> Result<(), Error> {
        if self.enumerators.is_empty() {
            return Ok(());
        }
        let (blob, wide) = (self.blob, ty.kind() == kind::ENUM64);
        let stride = if wide { 12 } else { 8 };
        for i in 0..ty.vlen() {
            let at = ty.at + RECORD_LEN + stride * i;
            let Some(name) = self.enumerators.find(blob.tail(blob.word(at)?)?) else {
                continue;
            };
            let low = blob.word(at + 4)?;
            let value = match (wide, ty.flag()) {
                (true, _) => (u64::from(blob.word(at + 8)?) << 32 | u64::from(low)).cast_signed(),
                (false, true) => i64::from(low.cast_signed()),
                (false, false) => i64::from(low),
            };
            let seen = self.values.entry(name).or_insert(Some(value));
            if *seen != Some(value) {
                *seen = None;
            }
        }
        Ok(())
    }
}

/// Wanted names of one kind with the type ids found.
struct Names<'a> {
    ids: HashMap<&'a [u8], (&'a [u8], Vec<u32>)>,
    filter: Filter,
}

impl<'a> Names<'a> {
    fn new(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut new = Self {
            ids: HashMap::new(),
            filter: Filter::default(),
        };
        for name in names {
            new.ids
                .insert(name.as_bytes(), (name.as_bytes(), Vec::new()));
            new.filter.add(name.as_bytes());
        }
        new
    }

    fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The wanted name that stands at the start of `tail`, ended by a zero byte.
    fn find(&self, tail: &[u8]) -> Option<&'a [u8]> {
        self.ids.get(self.probable(tail)?).map(|(name, _)| *name)
    }

    fn offer(&mut self, tail: &[u8], id: u32) {
        if let Some(name) = self.probable(tail)
            && let Some((_, ids)) = self.ids.get_mut(name)
        {
            ids.push(id);
        }
    }

    fn hits(&self, name: &str) -> &[u32] {
        self.ids.get(name.as_bytes()).map_or(&[], |(_, ids)| ids)
    }

    fn probable<'t>(&self, tail: &'t [u8]) -> Option<&'t [u8]> {
        if tail
            .first_chunk()
            .is_some_and(|head| !self.filter.may_hold(*head))
        {
            return None;
        }
        let len = tail.iter().position(|&b| b == 0)?;
        Some(&tail[..len])
    }
}
