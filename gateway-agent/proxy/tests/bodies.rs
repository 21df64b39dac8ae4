//! Bodies: their ends are found wherever the bytes were split, and told to the next receiver.

use gateway_agent_proxy::h1::{BodyReader, BodyWriter, Fault, Framing, HeadLimits, Piece};
use proptest::prelude::*;

/// What a reader makes of input that comes in these parts.
#[derive(Debug, PartialEq)]
struct Outcome {
    data: Vec<u8>,
    trailers: Vec<u8>,
    ended: bool,
    /// Bytes behind the body's end.
    left: usize,
}

fn read<'a>(framing: Framing, parts: impl IntoIterator<Item = &'a [u8]>) -> Result<Outcome, Fault> {
    let mut reader = BodyReader::new(framing, HeadLimits::default());
    let (mut data, mut left) = (Vec::new(), 0);
    for mut part in parts {
        while let Piece::Data(piece) = reader.next(&mut part)? {
            assert!(!piece.is_empty());
            data.extend_from_slice(piece);
        }
        assert!(part.is_empty() || reader.has_ended());
        left += part.len();
    }
    Ok(Outcome { data, trailers: reader.trailers().to_vec(), ended: reader.has_ended(), left })
}

fn whole(framing: Framing, input: &str) -> Result<Outcome, Fault> {
    read(framing, [input.as_bytes()])
}

#[test]
fn chunks_are_read() {
    for (input, data, trailers, left) in [
        ("0\r\n\r\n", "", "", 0),
        ("3\r\nabc\r\n0\r\n\r\n", "abc", "", 0),
        ("A\r\n0123456789\r\n1\r\nx\r\n000\r\n\r\nnext", "0123456789x", "", 4),
        ("0000000000000001\r\na\r\n0\r\n\r\n", "a", "", 0),
        ("3;name=value;b=\"c d\"\r\nabc\r\n0;x\r\n\r\n", "abc", "", 0),
        ("1\r\na\r\n0\r\nX-Sum: 1\r\nY: \r\n\r\nz", "a", "X-Sum: 1\r\nY: \r\n", 1),
        ("0\r\nContent-Length: 5\r\nX-Sum: 1\r\nx-forwarded-for: me\r\n\r\n", "", "X-Sum: 1\r\n", 0),
        ("0\r\nHost: a\r\n\r\n", "", "", 0),
    ] {
        let wanted = Outcome { data: data.into(), trailers: trailers.into(), ended: true, left };
        assert_eq!(whole(Framing::Chunked, input), Ok(wanted), "{input:?}");
    }
}

#[test]
fn faulty_chunks_are_refused() {
    let long = format!("1;{}\r\n", "a".repeat(2000));
    let trailers = format!("0\r\n{}", "a: b\r\n".repeat(10_000));
    let many = format!("0\r\n{}\r\n", "a: b\r\n".repeat(101));
    for (input, fault) in [
        ("\r\n", Fault::ChunkSize),
        ("g\r\n", Fault::ChunkSize),
        ("+1\r\n", Fault::ChunkSize),
        ("0x1\r\n", Fault::ChunkSize),
        (" 1\r\n", Fault::ChunkSize),
        ("1 \r\n", Fault::ChunkSize),
        ("1\n", Fault::ChunkSize),
        ("00000000000000001\r\n", Fault::ChunkSize),
        ("1\rx", Fault::BareCr),
        ("1;a\n", Fault::BareLf),
        ("1;a\rb", Fault::BareCr),
        ("1;a\0\r\n", Fault::ChunkExtension),
        (&long, Fault::ChunkExtension),
        ("1\r\nab\r\n", Fault::ChunkEnd),
        ("1\r\na\n", Fault::ChunkEnd),
        ("1\r\na\rb", Fault::ChunkEnd),
        ("0\r\n\n", Fault::BareLf),
        ("0\r\na: b\n", Fault::BareLf),
        ("0\r\na : b\r\n\r\n", Fault::Trailers),
        ("0\r\n b\r\n\r\n", Fault::Trailers),
        ("0\r\na: b\r\n c\r\n\r\n", Fault::Trailers),
        (&trailers, Fault::Trailers),
        (&many, Fault::Trailers),
    ] {
        assert_eq!(whole(Framing::Chunked, input), Err(fault), "{input:.50?}");
    }
}

#[test]
fn lengths_end_where_they_say() {
    let outcome = |data: &str, ended, left| Outcome { data: data.into(), trailers: vec![], ended, left };
    for (framing, input, wanted) in [
        (Framing::None, "abc", outcome("", true, 3)),
        (Framing::Length(0), "", outcome("", true, 0)),
        (Framing::Length(2), "abc", outcome("ab", true, 1)),
        (Framing::Length(4), "abc", outcome("abc", false, 0)),
        (Framing::Length(u64::MAX), "abc", outcome("abc", false, 0)),
        (Framing::UntilClose, "abc", outcome("abc", false, 0)),
    ] {
        assert_eq!(whole(framing, input), Ok(wanted), "{framing:?}");
    }
}

#[test]
fn only_a_body_without_length_may_end_with_its_connection() {
    for (framing, may) in [
        (Framing::UntilClose, true),
        (Framing::Length(1), false),
        (Framing::Chunked, false),
        (Framing::None, true),
    ] {
        assert_eq!(BodyReader::new(framing, HeadLimits::default()).may_close(), may, "{framing:?}");
    }
}

proptest! {
    /// Byte by byte, or in two parts at any place, gives what the whole gives.
    #[test]
    fn splits_change_nothing(input in chunked_bytes()) {
        let wanted = read(Framing::Chunked, [&input[..]]);
        prop_assert_eq!(&read(Framing::Chunked, input.chunks(1)), &wanted);
        for at in 0..input.len() {
            prop_assert_eq!(&read(Framing::Chunked, [&input[..at], &input[at..]]), &wanted);
        }
    }

    #[test]
    fn what_is_written_is_read(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..600), 0..8)) {
        let mut sent = Vec::new();
        for piece in &pieces {
            BodyWriter::Chunked.frame(piece, &mut sent);
        }
        BodyWriter::Chunked.finish(b"x-sum: 1\r\n", &mut sent);
        let wanted =
            Outcome { data: pieces.concat(), trailers: b"x-sum: 1\r\n".to_vec(), ended: true, left: 0 };
        prop_assert_eq!(read(Framing::Chunked, [&sent[..]]), Ok(wanted));
    }
}

/// Mostly chunks, sometimes with a byte that is wrong.
fn chunked_bytes() -> impl Strategy<Value = Vec<u8>> {
    let chunk = prop::collection::vec(any::<u8>(), 1..20).prop_map(|data| {
        let mut chunk = format!("{:X};x\r\n", data.len()).into_bytes();
        chunk.extend(data);
        chunk.extend(b"\r\n");
        chunk
    });
    let end =
        prop::sample::select(vec!["0\r\n\r\n", "0\r\na: b\r\n\r\n", "00;x=y\r\nhost: a\r\n\r\nrest", ""]);
    let damage = prop::option::of((any::<prop::sample::Index>(), any::<u8>()));
    (prop::collection::vec(chunk, 0..4), end, damage).prop_map(|(chunks, end, damage)| {
        let mut bytes = chunks.concat();
        bytes.extend(end.bytes());
        if let Some((at, byte)) = damage.filter(|_| !bytes.is_empty()) {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes
    })
}
