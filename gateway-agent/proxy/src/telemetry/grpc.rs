//! The status that a call of gRPC ends with: HTTP's says 200 whatever came of it.

use super::series::Count;

/// A status by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GrpcStatus(u8);

/// Names by number (gRPC, "Status codes and their use").
const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// What a call is counted as that ends without a status: the client left, or the answer broke off.
const NONE: &str = "none";

const FIELD: &str = "grpc-status";

impl GrpcStatus {
    const UNKNOWN: Self = Self(2);

    pub(crate) fn of(number: u8) -> Self {
        if usize::from(number) < NAMES.len() { Self(number) } else { Self::UNKNOWN }
    }

    /// Of a field's value. What isn't known counts as UNKNOWN, as clients take it.
    fn parse(value: &[u8]) -> Self {
        let number = std::str::from_utf8(value).ok().and_then(|text| text.trim().parse().ok());
        number.map_or(Self::UNKNOWN, Self::of)
    }

    /// Of an answer that is all head.
    pub(crate) fn in_head(fields: &crate::h1::Fields<'_>) -> Option<Self> {
        fields.first(FIELD).map(Self::parse)
    }

    /// Of an answer with these lines behind its body.
    pub(crate) fn in_trailers(lines: &[u8]) -> Option<Self> {
        lines.split(|byte| *byte == b'\n').find_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            line[..colon].eq_ignore_ascii_case(FIELD.as_bytes()).then(|| Self::parse(&line[colon + 1..]))
        })
    }

    pub(super) fn number(self) -> u8 {
        self.0
    }
}

/// Calls by how they ended.
#[derive(Debug, Default)]
pub(super) struct Calls {
    ended: [Count; NAMES.len()],
    without: Count,
}

impl Calls {
    pub(super) fn add(&self, status: Option<GrpcStatus>) {
        status.map_or(&self.without, |GrpcStatus(number)| &self.ended[usize::from(number)]).add(1);
    }

    /// Adds these to `sums`, by name; what has not come about is left out.
    pub(super) fn add_to(&self, sums: &mut Vec<(String, u64)>) {
        let named = NAMES.into_iter().zip(&self.ended).chain([(NONE, &self.without)]);
        for (name, count) in named.map(|(name, count)| (name, count.value())).filter(|(_, count)| *count > 0)
        {
            match sums.iter_mut().find(|(known, _)| known == name) {
                Some((_, sum)) => *sum += count,
                None => sums.push((name.to_owned(), count)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_found_in_trailers() {
        for (lines, status) in [
            ("grpc-status: 0\r\n", Some(0)),
            ("x: y\r\nGrpc-Status:14\r\ngrpc-message: a\r\n", Some(14)),
            ("grpc-status: 17\r\n", Some(2)),
            ("grpc-status: no\r\n", Some(2)),
            ("grpc-message: 1\r\n", None),
            ("", None),
        ] {
            assert_eq!(GrpcStatus::in_trailers(lines.as_bytes()).map(GrpcStatus::number), status, "{lines}");
        }
    }

    #[test]
    fn calls_add_up_by_name() {
        let (one, other, mut sums) = (Calls::default(), Calls::default(), Vec::new());
        one.add(Some(GrpcStatus::of(14)));
        one.add(None);
        other.add(Some(GrpcStatus::of(14)));
        for calls in [&one, &other] {
            calls.add_to(&mut sums);
        }
        assert_eq!(sums, [("UNAVAILABLE".to_owned(), 2), ("none".to_owned(), 1)]);
    }
}
