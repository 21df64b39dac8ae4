//! Bytes that show at once when any of them is lost, doubled or changed.

use std::io::{self, Read, Write};

/// A prime, so that no packet, page or buffer size divides it and a shift by one of those cannot go unseen.
const BLOCK: usize = 65_521;

/// An endless stream of bytes that repeats after 65,521 of them. Compared byte by byte, which is both stricter and
/// faster than a checksum.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// The block twice, so that every slice of up to a block's length is contiguous.
    twice: Vec<u8>,
}

impl Pattern {
    pub fn new(seed: u64) -> Self {
        let mut state = seed;
        let block: Vec<u8> = std::iter::repeat_with(|| next(&mut state)).take(BLOCK).collect();
        Self { twice: [block.as_slice(), &block].concat() }
    }

    /// Writes the stream's first `bytes` bytes.
    pub fn write(&self, bytes: u64, to: &mut impl Write) -> io::Result<()> {
        let mut sent = 0;
        while sent < bytes {
            let part = self.slice(sent, bytes - sent);
            to.write_all(part)?;
            sent += part.len() as u64;
        }
        Ok(())
    }

    /// Reads `bytes` bytes and compares them with the stream; `seen` hears of every part that was right.
    pub fn read(&self, bytes: u64, from: &mut impl Read, mut seen: impl FnMut(u64)) -> io::Result<()> {
        let mut buffer = vec![0; BLOCK];
        let mut received = 0;
        while received < bytes {
            let most = buffer.len().min(usize::try_from(bytes - received).unwrap_or(usize::MAX));
            let count = from.read(&mut buffer[..most])?;
            if count == 0 {
                let told = format!("the stream ended after {received} of {bytes} bytes");
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, told));
            }
            if buffer[..count] != *self.slice(received, count as u64) {
                let told = format!("wrong bytes between {received} and {}", received + count as u64);
                return Err(io::Error::new(io::ErrorKind::InvalidData, told));
            }
            received += count as u64;
            seen(count as u64);
        }
        Ok(())
    }

    /// At most a block of the stream from `offset`, at most `limit` long.
    fn slice(&self, offset: u64, limit: u64) -> &[u8] {
        let start = usize::try_from(offset % BLOCK as u64).unwrap_or_default();
        let length = BLOCK.min(usize::try_from(limit).unwrap_or(BLOCK));
        &self.twice[start..start + length]
    }
}

/// One byte of `SplitMix64` (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
fn next(state: &mut u64) -> u8 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)).to_le_bytes()[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(pattern: &Pattern, bytes: u64) -> Vec<u8> {
        let mut out = Vec::new();
        pattern.write(bytes, &mut out).expect("a vector takes all");
        out
    }

    #[test]
    fn what_was_written_is_read() {
        let pattern = Pattern::new(7);
        for bytes in [0, 1, BLOCK as u64, 200_000] {
            let out = written(&pattern, bytes);
            let mut seen = 0;
            pattern.read(bytes, &mut out.as_slice(), |n| seen += n).expect("the same bytes");
            assert_eq!(seen, bytes);
        }
    }

    #[test]
    fn any_damage_shows() {
        let pattern = Pattern::new(7);
        let whole = written(&pattern, 200_000);
        let mut flipped = whole.clone();
        flipped[150_000] ^= 1;
        let lost = [&whole[..100_000], &whole[101_448..]].concat();
        let doubled = [&whole[..100_000], &whole[98_552..]].concat();
        for damaged in [flipped, lost, doubled, whole[..199_999].to_vec()] {
            assert!(pattern.read(200_000, &mut damaged.as_slice(), |_| ()).is_err());
        }
    }
}
