//! Names made of content.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// SHA-256 of all parts in a row, in hexadecimal digits.
pub(crate) fn sha256<B: AsRef<[u8]>>(parts: impl IntoIterator<Item = B>) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(part);
    }
    digest.finalize().iter().fold(String::new(), |mut digits, byte| {
        // A String takes every write.
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}
