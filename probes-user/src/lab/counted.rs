//! What the kernel counted of one action of a lab, in the rows of `probes_common::copy`, summed over the CPUs.

use std::collections::BTreeMap;

use probes_common::copy::{CallRow, CopyRow};
use serde::{Deserialize, Serialize};

/// A mark carries it, so that a recording has it too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// In the order of the row's fields.
    pub copies: Vec<u64>,
    /// By family; what was not called is left out.
    pub calls: BTreeMap<String, [u64; CallRow::LEN]>,
}

impl Counted {
    pub fn copies(&self) -> CopyRow {
        let at = |index: usize| self.copies.get(index).copied().unwrap_or_default();
        CopyRow::from_values(std::array::from_fn(at))
    }

    pub fn calls(&self, family: &str) -> CallRow {
        let values = self.calls.get(family).copied().unwrap_or_default();
        CallRow::from_values(values)
    }

    /// What came to it since `before`. The file's number is no count and stays.
    #[must_use]
    pub fn since(&self, before: &Counted) -> Counted {
        let less = |now: u64, before: u64| now.saturating_sub(before);
        let (now, then) = (self.copies().to_values(), before.copies().to_values());
        let mut copies: Vec<u64> = now.iter().zip(then).map(|(n, b)| less(*n, b)).collect();
        if let Some(inode) = copies.last_mut() {
            *inode = self.copies().inode;
        }
        let calls = self.calls.iter().map(|(name, now)| {
            let then = before.calls(name).to_values();
            (name.clone(), std::array::from_fn(|i| less(now[i], then[i])))
        });
        let calls = calls.filter(|(_, values): &(_, [u64; 4])| values.iter().any(|v| *v != 0));
        Counted {
            copies,
            calls: calls.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_before_is_taken_off_and_the_file_stays() {
        let of = |bytes: u64, calls: u64, inode: u64| {
            let row = CopyRow {
                sent_bytes: bytes,
                inode,
                ..CopyRow::default()
            };
            Counted {
                copies: row.to_values().to_vec(),
                calls: BTreeMap::from([("read".to_owned(), [calls, calls, 0, 0])]),
            }
        };
        let grown = of(9, 5, 7).since(&of(4, 5, 7));
        assert_eq!(grown.copies().sent_bytes, 5);
        assert_eq!(grown.copies().inode, 7);
        assert!(grown.calls.is_empty());
        assert_eq!(grown.calls("read"), CallRow::default());
    }
}
