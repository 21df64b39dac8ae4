//! Whether a ClientHello is complete (RFC 8446, 4.1.2 and 5.1).

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// The beginning of a ClientHello.
    Partial,
    Complete,
    /// Not TLS.
    Other,
}

/// Types of a record and of a handshake message.
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;

/// Most bytes that a record carries.
const MOST_BYTES: usize = 1 << 14;

pub(crate) fn progress(mut bytes: &[u8]) -> Progress {
    // Of the message, from its type and length on.
    let (mut received, mut wanted) = (0, 4);
    let mut header = [0; 4];
    loop {
        let record = match bytes {
            [HANDSHAKE, 3, _, high, low, rest @ ..] => {
                let len = usize::from(u16::from_be_bytes([*high, *low]));
                if len == 0 || len > MOST_BYTES {
                    return Progress::Other;
                }
                let (record, rest) = rest.split_at(len.min(rest.len()));
                bytes = if record.len() < len { &[] } else { rest };
                record
            }
            [] | [HANDSHAKE] | [HANDSHAKE, 3, ..] => return Progress::Partial,
            _ => return Progress::Other,
        };
        for (place, byte) in header.iter_mut().skip(received).zip(record) {
            *place = *byte;
        }
        received += record.len();
        if received > 0 && header[0] != CLIENT_HELLO {
            return Progress::Other;
        }
        if received >= 4 {
            let [_, len @ ..] = header;
            wanted = 4 + u32::from_be_bytes([0, len[0], len[1], len[2]]) as usize;
        }
        if received >= wanted {
            return Progress::Complete;
        }
        if bytes.is_empty() {
            return Progress::Partial;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ClientHello with a body of `len` bytes, in records of at most `record`.
    fn hello(len: usize, record: usize) -> Vec<u8> {
        let mut message = vec![CLIENT_HELLO];
        message.extend_from_slice(&u32::try_from(len).expect("small").to_be_bytes()[1..]);
        message.resize(4 + len, 0);
        let framed = message.chunks(record).flat_map(|chunk| {
            let len = u16::try_from(chunk.len()).expect("small").to_be_bytes();
            [&[HANDSHAKE, 3, 1, len[0], len[1]], chunk].concat()
        });
        framed.collect()
    }

    #[test]
    fn only_the_last_byte_completes_it() {
        for (len, record) in [(1, 5), (300, MOST_BYTES), (300, 1), (300, 3), (20_000, MOST_BYTES)] {
            let bytes = hello(len, record);
            assert_eq!(progress(&bytes), Progress::Complete, "{len} in records of {record}");
            for part in 0..bytes.len() {
                assert_eq!(progress(&bytes[..part]), Progress::Partial, "{part} of {len}, {record}");
            }
        }
    }

    #[test]
    fn what_is_not_tls_is_seen_at_once() {
        for bytes in [
            &b"GET / HTTP/1.1"[..],
            &[22, 2],
            &[22, 3, 1, 0, 0],
            &[22, 3, 1, 0xff, 0xff],
            &[22, 3, 1, 0, 1, 2],
        ] {
            assert_eq!(progress(bytes), Progress::Other, "{bytes:?}");
        }
    }
}
