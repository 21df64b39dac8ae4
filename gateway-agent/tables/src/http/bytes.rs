//! Sets of characters, asked for each byte of a request's head.

/// A set of bytes that tells with one load whether it has one, where comparing takes several steps for each range.
#[derive(Debug)]
pub struct ByteSet([bool; 256]);

impl ByteSet {
    /// ASCII letters and digits, and these.
    pub const fn alphanumeric_and(others: &[u8]) -> Self {
        let mut has = [false; 256];
        let mut byte = 0_u8;
        while byte < 128 {
            has[byte as usize] = byte.is_ascii_alphanumeric();
            byte += 1;
        }
        Self(has).with(others, true)
    }

    /// Visible ASCII but for these.
    pub const fn graphic_but(others: &[u8]) -> Self {
        let mut has = [false; 256];
        let mut byte = 0_u8;
        while byte < 128 {
            has[byte as usize] = byte.is_ascii_graphic();
            byte += 1;
        }
        Self(has).with(others, false)
    }

    const fn with(mut self, bytes: &[u8], are_in: bool) -> Self {
        let mut index = 0;
        while index < bytes.len() {
            self.0[bytes[index] as usize] = are_in;
            index += 1;
        }
        self
    }

    pub const fn has(&self, byte: u8) -> bool {
        self.0[byte as usize]
    }

    pub fn has_all(&self, bytes: &[u8]) -> bool {
        // Without a branch for each byte: most texts are as they should be.
        bytes.iter().fold(true, |all, byte| all & self.has(*byte))
    }

    /// How many bytes come before the first that is not in the set.
    pub fn len_of(&self, bytes: &[u8]) -> usize {
        bytes.iter().position(|byte| !self.has(*byte)).unwrap_or(bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_have_what_they_say() {
        const SOME: ByteSet = ByteSet::alphanumeric_and(b"-");
        const MOST: ByteSet = ByteSet::graphic_but(b"#");
        for byte in 0..=u8::MAX {
            assert_eq!(SOME.has(byte), byte.is_ascii_alphanumeric() || byte == b'-', "{byte}");
            assert_eq!(MOST.has(byte), byte.is_ascii_graphic() && byte != b'#', "{byte}");
        }
        assert!(SOME.has_all(b"a-1") && SOME.has_all(b"") && !SOME.has_all(b"a_1"));
        assert_eq!([&b"a_1"[..], b"a1", b"_"].map(|bytes| SOME.len_of(bytes)), [1, 2, 0]);
    }
}
