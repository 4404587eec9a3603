//! A bitmap that turns away nearly all of the 100 000 names of a kernel before they are hashed or compared.

/// Answers "certainly not wanted" from the first 8 bytes of a name.
pub(super) struct Filter {
    bits: [u64; 64],
}

impl Default for Filter {
    fn default() -> Self {
        Self { bits: [0; 64] }
    }
}

impl Filter {
    pub(super) fn add(&mut self, name: &[u8]) {
        let mut head = [0; 8];
        let len = name.len().min(8);
        head[..len].copy_from_slice(&name[..len]);
        let bit = hash(head);
        self.bits[bit / 64] |= 1 << (bit % 64);
    }

    /// Every name that begins with `prefix`, which has 7 bytes or more.
    pub(super) fn add_prefix(&mut self, prefix: &[u8]) {
        match prefix.get(..8) {
            Some(head) => self.add(head),
            None => (0..=u8::MAX).for_each(|next| self.add(&[prefix, &[next]].concat())),
        }
    }

    /// `head` are the first 8 bytes of a name; what follows a zero byte does not count.
    pub(super) fn may_hold(&self, head: [u8; 8]) -> bool {
        let bit = hash(head);
        self.bits[bit / 64] >> (bit % 64) & 1 == 1
    }
}

/// Of the bytes before the first zero byte; 0..4096.
fn hash(head: [u8; 8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let word = u64::from_le_bytes(head);
    // The lowest set bit marks the first zero byte (borrows only disturb the bytes above it).
    let zeros = word.wrapping_sub(ONES) & !word & (ONES << 7);
    let kept = if zeros == 0 {
        word
    } else {
        word & ((zeros & zeros.wrapping_neg()) >> 7).wrapping_sub(1)
    };
    (kept.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52) as usize
}

#[cfg(test)]
mod tests {
    use super::Filter;

    #[test]
    fn what_was_added_is_never_turned_away() {
        let mut filter = Filter::default();
        for name in [
            "a",
            "seven77",
            "eight888",
            "longer than eight",
            "\u{1}\u{1}",
        ] {
            filter.add(name.as_bytes());
        }
        for head in [
            *b"a\0zzzzzz",
            *b"seven77\0",
            *b"eight888",
            *b"longer t",
            *b"\x01\x01\0\x01abc\xff",
        ] {
            assert!(filter.may_hold(head), "{head:?}");
        }
        filter.add_prefix(b"sysvec_");
        filter.add_prefix(b"asm_sysvec_");
        for head in [*b"sysvec_\0", *b"sysvec_x", *b"asm_sysv"] {
            assert!(filter.may_hold(head), "{head:?}");
        }
        assert!(!filter.may_hold(*b"z\0\0\0\0\0\0\0"));
    }
}
