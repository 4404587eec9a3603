//! What the scripts say of what they did and saw.

use crate::lab::family::Family;
use serde::{Deserialize, Serialize};

use super::tuples::{Kind, Tuple, nth};

/// Before a sample's first connection; its phase is the sample's number.
pub const SAMPLE: &str = "sample";
/// After its last one.
pub const REACHED: &str = "reached";
/// A bind() that was tried.
pub const BIND: &str = "bind";

/// Connections that are made, each tuple once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    pub family: Family,
    pub kind: Kind,
    pub seed: u64,
    /// Number of the first tuple among those of the seed.
    pub from: u32,
    pub count: u32,
    /// The same tuples again have the next number.
    pub round: u32,
    /// All connections are made on this one; None = wherever the scheduler likes.
    pub cpu: Option<u32>,
}

/// The socket that accepted each tuple, by index of both; one hexadecimal digit each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    pub phase: u32,
    pub sockets: String,
}

impl Reached {
    pub fn new(phase: u32, sockets: &[u8]) -> Reached {
        let digits = sockets
            .iter()
            .map(|its| char::from_digit((*its).into(), 16));
        Reached {
            phase,
            sockets: digits.map(|digit| digit.unwrap_or('?')).collect(),
        }
    }

    /// None = a digit is none.
    pub fn decoded(&self) -> Option<Vec<u8>> {
        let digits = self.sockets.chars();
        digits
            .map(|digit| Some(digit.to_digit(16)? as u8))
            .collect()
    }
}

impl Sample {
    /// The index-th, from 0.
    pub fn tuple(&self, index: u32) -> Tuple {
        nth(self.kind, self.family, self.seed, self.from + index)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    pub step: String,
    /// 0 = the port was given.
    pub errno: i32,
    /// Owners of the sockets that listen on the port then, as /proc/net/tcp tells.
    pub listening: Vec<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_told_as_digits() {
        let reached = Reached::new(3, &[0, 3, 1, 2]);
        assert_eq!(reached.sockets, "0312");
        assert_eq!(reached.decoded(), Some(vec![0, 3, 1, 2]));
        let damaged = Reached {
            sockets: "01?".to_owned(),
            ..reached
        };
        assert_eq!(damaged.decoded(), None);
    }
}
