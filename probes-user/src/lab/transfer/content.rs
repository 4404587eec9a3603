//! What the file holds: words made from their own place, so that bytes lost, doubled or moved change the sum.

/// Bytes from `offset` on; `offset` is a multiple of 8.
pub fn fill(buffer: &mut [u8], offset: u64) {
    for (index, word) in buffer.chunks_mut(8).enumerate() {
        let bytes = mixed(offset / 8 + index as u64).to_le_bytes();
        word.copy_from_slice(&bytes[..word.len()]);
    }
}

fn mixed(place: u64) -> u64 {
    let mut word = place.wrapping_add(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word ^ (word >> 27)
}

/// A sum over a stream of bytes, however it is cut into pieces.
#[derive(Debug, Clone, Default)]
pub struct Sum {
    hash: u64,
    rest: [u8; 8],
    held: usize,
    bytes: u64,
}

impl Sum {
    pub fn add(&mut self, mut piece: &[u8]) {
        self.bytes += piece.len() as u64;
        if self.held > 0 {
            let taken = piece.len().min(8 - self.held);
            self.rest[self.held..self.held + taken].copy_from_slice(&piece[..taken]);
            self.held += taken;
            piece = &piece[taken..];
            if self.held < 8 {
                return;
            }
            self.word(u64::from_le_bytes(self.rest));
            self.held = 0;
        }
        let (words, rest) = piece.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        self.rest[..rest.len()].copy_from_slice(rest);
        self.held = rest.len();
    }

    fn word(&mut self, word: u64) {
        self.hash = (self.hash.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn value(&self) -> u64 {
        let mut whole = self.clone();
        let mut last = [0; 8];
        last[..whole.held].copy_from_slice(&whole.rest[..whole.held]);
        whole.word(u64::from_le_bytes(last));
        whole.hash ^ whole.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_does_not_depend_on_how_the_stream_is_cut() {
        let mut bytes = vec![0; 1001];
        fill(&mut bytes, 0);
        let mut whole = Sum::default();
        whole.add(&bytes);
        let mut pieces = Sum::default();
        for piece in bytes.chunks(13) {
            pieces.add(piece);
        }
        assert_eq!((whole.value(), whole.bytes()), (pieces.value(), 1001));
    }

    #[test]
    fn a_page_in_another_place_changes_the_sum() {
        let mut bytes = vec![0; 3 * 4096];
        fill(&mut bytes, 0);
        let of = |bytes: &[u8]| {
            let mut sum = Sum::default();
            sum.add(bytes);
            sum.value()
        };
        let before = of(&bytes);
        let (first, rest) = bytes.split_at_mut(4096);
        first.swap_with_slice(&mut rest[..4096]);
        assert_ne!(of(&bytes), before);
    }
}
