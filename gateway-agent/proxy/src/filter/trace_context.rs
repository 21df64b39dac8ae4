//! W3C Trace Context (levels 1 and 2): a request's trace goes on at its endpoint, with the proxy as the parent there.

use crate::h1::Fields;

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// Bytes of version 00: `00-`, 32 digits of the trace, `-`, 16 of the parent, `-` and 2 of flags.
const LEN: usize = 55;

/// The flags whose meaning is known: sampled, and a trace id that is random.
const FLAGS: u8 = 0b11;

/// Entries that a tracestate may have (level 2, 3.3.1.1).
const MOST_ENTRIES: usize = 32;

/// The `traceparent` that an endpoint gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    text: [u8; LEN],
    /// A trace that begins here has no tracestate yet, and one that can't be read is dropped.
    keeps_state: bool,
}

impl TraceParent {
    /// The client's trace, or a new one if it has none or names it wrongly; the span is a new one. `random` gives numbers
    /// that are even over all of u32.
    pub fn of(fields: &Fields<'_>, mut random: impl FnMut() -> u32) -> Self {
        let mut digits = |text: &mut [u8]| {
            let mut any = 0;
            for place in text.chunks_exact_mut(8) {
                let number = random();
                any |= number;
                write_hex(number, place);
            }
            // All zeros mean none (3.2.2.3 and 3.2.2.4).
            if any == 0 {
                text[0] = b'1';
            }
        };
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-02";
        let received = received(fields);
        match received {
            Some((trace, flags)) => {
                text[3..35].copy_from_slice(trace);
                text[54] = b'0' + (flags & FLAGS);
            }
            None => digits(&mut text[3..35]),
        }
        digits(&mut text[36..52]);
        Self { text, keeps_state: received.is_some() && is_state(fields) }
    }

    /// Replaces the fields.
    pub fn apply<'a>(&'a self, fields: &mut Fields<'a>) {
        fields.remove(TRACEPARENT);
        fields.push(TRACEPARENT, &self.text);
        if !self.keeps_state {
            fields.remove(TRACESTATE);
        }
    }

    /// 32 hexadecimal digits.
    pub fn trace_id(&self) -> &str {
        // They are ASCII.
        std::str::from_utf8(&self.text[3..35]).unwrap_or_default()
    }
}

/// The trace that a request says it is part of, and its flags.
fn received<'a>(fields: &Fields<'a>) -> Option<(&'a [u8], u8)> {
    let mut named = lines(fields, TRACEPARENT);
    let value = named.next()?;
    if named.next().is_some() {
        return None;
    }
    let (version, trace, parent, flags) =
        (value.get(..2)?, value.get(3..35)?, value.get(36..52)?, value.get(53..LEN)?);
    // Later versions begin like this one, and what follows is theirs (3.2.2.2).
    let ends = match (version, value.get(LEN)) {
        (b"ff", _) => false,
        (b"00", next) => next.is_none(),
        (_, next) => next.is_none_or(|next| *next == b'-'),
    };
    let separated = [2, 35, 52].iter().all(|place| value[*place] == b'-');
    let is_hex = |digits: &[u8]| digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    let is_id = |digits: &[u8]| is_hex(digits) && digits.iter().any(|digit| *digit != b'0');
    if !ends || !separated || !is_hex(version) || !is_id(trace) || !is_id(parent) || !is_hex(flags) {
        return None;
    }
    // Of later versions only the flag that level 1 has is sure to mean the same.
    let known = if version == b"00" { FLAGS } else { 1 };
    let [_, low] = *flags else { return None };
    Some((trace, char::from(low).to_digit(16).and_then(|low| u8::try_from(low).ok())? & known))
}

/// Whether all that is said of tracestate can be read (3.3.1); so can nothing.
fn is_state(fields: &Fields<'_>) -> bool {
    let mut keys: [&[u8]; MOST_ENTRIES] = [b""; MOST_ENTRIES];
    let mut count = 0;
    for line in lines(fields, TRACESTATE) {
        for entry in line.split(|byte| *byte == b',') {
            // Optional white space of HTTP: spaces and tabs.
            let entry = entry.trim_ascii();
            if entry.is_empty() {
                continue;
            }
            let Some(at) = entry.iter().position(|byte| *byte == b'=') else { return false };
            let (key, value) = (&entry[..at], &entry[at + 1..]);
            if count == MOST_ENTRIES || !is_key(key) || !is_value(value) || keys[..count].contains(&key) {
                return false;
            }
            keys[count] = key;
            count += 1;
        }
    }
    true
}

fn lines<'a>(fields: &Fields<'a>, name: &str) -> impl Iterator<Item = &'a [u8]> {
    fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
}

/// Level 2, 3.3.1.3.1: a letter or digit, and up to 255 characters more.
fn is_key(key: &[u8]) -> bool {
    let is_first = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_char = |byte: &u8| is_first(byte) || b"_-*/@".contains(byte);
    key.first().is_some_and(is_first) && key.len() <= 256 && key.iter().all(is_char)
}

/// 3.3.1.3.2: up to 256 printable characters, the last of which is no space.
fn is_value(value: &[u8]) -> bool {
    let is_char = |byte: &u8| matches!(byte, b' '..=b'~') && !b",=".contains(byte);
    (1..=256).contains(&value.len()) && value.iter().all(is_char) && !value.ends_with(b" ")
}

/// Eight digits, all at once: the half bytes are spread over the bytes of one word, and letters are what is above 9.
fn write_hex(number: u32, to: &mut [u8]) {
    let mut word = u64::from(number);
    word = (word | word << 16) & 0x0000_ffff_0000_ffff;
    word = (word | word << 8) & 0x00ff_00ff_00ff_00ff;
    word = (word | word << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    let letters = (word + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
    let digits = word + 0x3030_3030_3030_3030 + letters * u64::from(b'a' - b'9' - 1);
    to.copy_from_slice(&digits.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_usual() {
        for number in [0, 9, 10, 0x0123_4567, 0x89ab_cdef, 0xfedc_ba98, u32::MAX] {
            let mut text = [0; 8];
            write_hex(number, &mut text);
            assert_eq!(text, *format!("{number:08x}").as_bytes());
        }
    }
}
