//! Spans of time as objects write them.

use std::time::Duration;

/// A duration of the Gateway API (GEP-2257): one to four numbers of up to five digits, each with h, m, s or ms.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let error = || format!("{text:?} is no duration; write it like 1h30m, 10s or 500ms");
    let mut total = Duration::ZERO;
    let mut rest = text;
    let mut parts = 0;
    while !rest.is_empty() || parts == 0 {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, behind) = rest.split_at(digits);
        let letters = behind.len() - behind.trim_start_matches(|c: char| c.is_ascii_lowercase()).len();
        let (unit, behind) = behind.split_at(letters);
        let milliseconds = match unit {
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1000,
            "ms" => 1,
            _ => return Err(error()),
        };
        parts += 1;
        if parts > 4 || !(1..=5).contains(&digits) {
            return Err(error());
        }
        let number: u64 = number.parse().map_err(|_| error())?;
        total += Duration::from_millis(number * milliseconds);
        rest = behind;
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_the_api() {
        for (text, milliseconds) in [
            ("0s", 0),
            ("10s", 10_000),
            ("1h30m", 5_400_000),
            ("1h1m1s1ms", 3_661_001),
            ("500ms", 500),
            ("99999h", 359_996_400_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "1", "s", "1d", "1.5s", "-1s", "100000s", "1s1s1s1s1s", "1s ", "1S", "\u{661}s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
