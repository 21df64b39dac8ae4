//! Where a message's body ends (RFC 9112, 6).

use super::fields::tokens;
use super::{Fault, Version};

/// How a body's end is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// So many bytes.
    Length(u64),
    Chunked,
    /// Whatever comes until the connection closes: responses only.
    UntilClose,
}

/// What a head's Content-Length and Transfer-Encoding lines say, gathered line by line.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Declared {
    pub(super) length: Option<u64>,
    chunked: bool,
}

impl Declared {
    /// Takes a Content-Length line. A second one is a fault even if it says the same: there is no honest reason for it.
    pub(super) fn content_length(&mut self, value: &[u8]) -> Result<(), Fault> {
        let length = decimal(value).ok_or(Fault::ContentLength)?;
        match self.length.replace(length) {
            None => Ok(()),
            Some(_) => Err(Fault::ContentLength),
        }
    }

    /// Takes a Transfer-Encoding line: chunked, once, and nothing else.
    pub(super) fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Fault> {
        let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
        if !tokens(value).last().is_some_and(is_chunked) {
            return Err(Fault::Encoding);
        }
        if tokens(value).any(|coding| !is_chunked(coding)) {
            return Err(Fault::UnknownEncoding);
        }
        let repeated = std::mem::replace(&mut self.chunked, true) || tokens(value).count() > 1;
        if repeated { Err(Fault::Encoding) } else { Ok(()) }
    }

    fn check(self, version: Version) -> Result<(), Fault> {
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(Fault::LengthAndEncoding),
            (true, None) if version == Version::Http10 => Err(Fault::Encoding),
            _ => Ok(()),
        }
    }

    pub(super) fn of_request(self, version: Version) -> Result<Framing, Fault> {
        self.check(version)?;
        Ok(match self.length {
            _ if self.chunked => Framing::Chunked,
            Some(length) => Framing::Length(length),
            None => Framing::None,
        })
    }

    /// Of a response that may have a body.
    pub(super) fn of_response(self, version: Version) -> Result<Framing, Fault> {
        self.check(version)?;
        Ok(match self.length {
            _ if self.chunked => Framing::Chunked,
            Some(length) => Framing::Length(length),
            None => Framing::UntilClose,
        })
    }
}

/// Digits alone: no sign, no space, no list.
fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0_u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(lengths: &[&str], encodings: &[&str]) -> Result<Declared, Fault> {
        let mut declared = Declared::default();
        lengths.iter().try_for_each(|value| declared.content_length(value.as_bytes()))?;
        encodings.iter().try_for_each(|value| declared.transfer_encoding(value.as_bytes()))?;
        Ok(declared)
    }

    #[test]
    fn framing_is_one_length_or_chunked() {
        for (lengths, encodings, framing) in [
            (&[][..], &[][..], Ok(Framing::None)),
            (&["0"], &[], Ok(Framing::Length(0))),
            (&["007"], &[], Ok(Framing::Length(7))),
            (&["18446744073709551615"], &[], Ok(Framing::Length(u64::MAX))),
            (&["18446744073709551616"], &[], Err(Fault::ContentLength)),
            (&["+1"], &[], Err(Fault::ContentLength)),
            (&["-1"], &[], Err(Fault::ContentLength)),
            (&["1 2"], &[], Err(Fault::ContentLength)),
            (&["0x1"], &[], Err(Fault::ContentLength)),
            (&[""], &[], Err(Fault::ContentLength)),
            (&["5, 5"], &[], Err(Fault::ContentLength)),
            (&["5", "5"], &[], Err(Fault::ContentLength)),
            (&["5", "6"], &[], Err(Fault::ContentLength)),
            (&[], &["chunked"], Ok(Framing::Chunked)),
            (&[], &["Chunked"], Ok(Framing::Chunked)),
            (&[], &[" , chunked ,"], Ok(Framing::Chunked)),
            (&[], &["gzip, chunked"], Err(Fault::UnknownEncoding)),
            (&[], &["chunked, gzip"], Err(Fault::Encoding)),
            (&[], &["chunked, chunked"], Err(Fault::Encoding)),
            (&[], &["chunked", "chunked"], Err(Fault::Encoding)),
            (&[], &["identity"], Err(Fault::Encoding)),
            (&[], &["xchunked"], Err(Fault::Encoding)),
            (&[], &["\x0bchunked"], Err(Fault::Encoding)),
            (&[], &[""], Err(Fault::Encoding)),
            (&["1"], &["chunked"], Err(Fault::LengthAndEncoding)),
        ] {
            let found =
                declared(lengths, encodings).and_then(|declared| declared.of_request(Version::Http11));
            assert_eq!(found, framing, "{lengths:?} {encodings:?}");
        }
    }

    #[test]
    fn http_1_0_has_no_transfer_codings() {
        let chunked = declared(&[], &["chunked"]).expect("chunked");
        assert_eq!(chunked.of_request(Version::Http10), Err(Fault::Encoding));
        assert_eq!(chunked.of_response(Version::Http10), Err(Fault::Encoding));
    }

    #[test]
    fn a_response_without_either_ends_with_its_connection() {
        assert_eq!(Declared::default().of_response(Version::Http10), Ok(Framing::UntilClose));
    }
}
