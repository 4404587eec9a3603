//! Sequence numbers: they wrap at 2^32, so "before" is a matter of the shorter way round.

/// Does `a` come before `b`?
pub const fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

/// Half-open: from its first byte to one past its last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    pub start: u32,
    pub end: u32,
}

impl Range {
    pub const fn new(start: u32, len: u32) -> Range {
        Range {
            start,
            end: start.wrapping_add(len),
        }
    }

    pub const fn overlaps(self, other: Range) -> bool {
        before(self.start, other.end) && before(other.start, self.end)
    }

    pub const fn holds(self, byte: u32) -> bool {
        !before(byte, self.start) && before(byte, self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shorter_way_round_decides() {
        assert!(before(1, 2) && !before(2, 1) && !before(2, 2));
        assert!(before(u32::MAX, 0) && before(u32::MAX - 5, 3) && !before(3, u32::MAX));
    }

    #[test]
    fn ranges_overlap_across_the_wrap() {
        let wrapping = Range::new(u32::MAX - 9, 20);
        assert_eq!(wrapping.end, 10);
        assert!(wrapping.holds(u32::MAX) && wrapping.holds(9) && !wrapping.holds(10));
        assert!(wrapping.overlaps(Range::new(5, 100)));
        assert!(!wrapping.overlaps(Range::new(10, 100)));
        assert!(Range::new(5, 100).overlaps(wrapping));
        assert!(!Range::new(u32::MAX - 20, 11).overlaps(wrapping));
    }

    #[test]
    fn an_empty_range_holds_nothing() {
        assert!(!Range::new(7, 0).holds(7));
    }
}
