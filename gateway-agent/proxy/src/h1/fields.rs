//! Field lines of a head.

use std::ops::Range;

use gateway_agent_tables::http::RequestFields;
use http::HeaderName;

use super::Fault;

/// The field lines of one head that are meant for its receiver, in order; those of the connection are not among them.
#[derive(Clone, Debug, Default)]
pub struct Fields<'a> {
    /// The message they came in; empty for a head that nobody sent.
    source: &'a [u8],
    lines: Vec<Field<'a>>,
}

/// One field line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    pub name: &'a str,
    /// Without white space around it.
    pub value: &'a [u8],
    /// Where its line stands in the message, line end included; empty for one that was added.
    at: Range<usize>,
}

/// Fields that mean something to the codec itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Connection,
    ContentLength,
    Expect,
    Host,
    /// Of the connection, with nothing in it that counts: Keep-Alive and Proxy-Connection.
    HopByHop,
    Te,
    TransferEncoding,
    Upgrade,
    Other,
}

impl<'a> Fields<'a> {
    /// For so many lines of this message, and a few that are added.
    pub(super) fn with_source(source: &'a [u8], lines: usize) -> Self {
        Self { source, lines: Vec::with_capacity(lines + 4) }
    }

    pub(super) fn keep(&mut self, name: &'a str, value: &'a [u8], at: Range<usize>) {
        self.lines.push(Field { name, value, at });
    }

    /// Adds a line at the end.
    pub fn push(&mut self, name: &'a str, value: &'a [u8]) {
        self.lines.push(Field { name, value, at: 0..0 });
    }

    /// Removes every line of this name, whatever its case.
    pub fn remove(&mut self, name: &str) {
        self.lines.retain(|line| !line.name.eq_ignore_ascii_case(name));
    }

    /// Keeps the lines whose names fit.
    pub(crate) fn retain(&mut self, fits: impl Fn(&str) -> bool) {
        self.lines.retain(|line| fits(line.name));
    }

    pub fn iter(&self) -> impl Iterator<Item = &Field<'a>> {
        self.lines.iter()
    }

    /// The value of the first line with this name.
    pub fn first(&self, name: &str) -> Option<&'a [u8]> {
        self.iter().find(|line| line.name.eq_ignore_ascii_case(name)).map(|line| line.value)
    }

    /// The lines as they are sent. Neighbours of the received message are copied together.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let mut run = 0..0;
        for line in &self.lines {
            if line.at.is_empty() {
                out.extend_from_slice(&self.source[std::mem::take(&mut run)]);
                write_line(out, line.name, line.value);
            } else if run.end == line.at.start {
                run.end = line.at.end;
            } else {
                out.extend_from_slice(&self.source[std::mem::replace(&mut run, line.at.clone())]);
            }
        }
        out.extend_from_slice(&self.source[run]);
    }
}

impl RequestFields for Fields<'_> {
    fn values<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]> {
        let lines = self.lines.iter();
        lines.filter(|line| line.name.eq_ignore_ascii_case(name.as_str())).map(|line| line.value)
    }
}

impl Kind {
    pub(super) fn of(name: &str) -> Self {
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted);
        match name.len() {
            2 if is("te") => Self::Te,
            4 if is("host") => Self::Host,
            6 if is("expect") => Self::Expect,
            7 if is("upgrade") => Self::Upgrade,
            10 if is("connection") => Self::Connection,
            10 if is("keep-alive") => Self::HopByHop,
            14 if is("content-length") => Self::ContentLength,
            16 if is("proxy-connection") => Self::HopByHop,
            17 if is("transfer-encoding") => Self::TransferEncoding,
            _ => Self::Other,
        }
    }
}

/// `name: value`
pub(super) fn write_line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// The members of a comma-separated list (RFC 9110, 5.6.1), empty ones left out.
pub(super) fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(trim).filter(|token| !token.is_empty())
}

/// Without spaces and tabs at both ends: optional white space (RFC 9110, 5.6.3) and nothing else.
pub(super) fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// Where each of the parsed lines stands in the message, the line end included: lines follow each other without gap.
pub(super) fn places<'h>(
    head: &'h [u8],
    lines: &'h [httparse::Header<'h>],
) -> impl Iterator<Item = Range<usize>> + 'h {
    let start = |line: &httparse::Header<'_>| place(head, line.name);
    // Before the empty line that ends the head.
    let end = head.len() - 2;
    let ends = lines.iter().skip(1).map(start).chain([end]);
    lines.iter().map(start).zip(ends).map(|(start, end)| start..end)
}

/// The same as [`check_line_ends`] for a parsed head, whose lines are known to hold one LF each: `first` is where its
/// first line begins, and empty ones come before it.
pub(super) fn check_head(head: &[u8], first: usize, lines: &[httparse::Header<'_>]) -> Result<(), Fault> {
    let ends_well = |end: usize| head[..end].ends_with(b"\r\n");
    let are_well = places(head, lines).all(|line| ends_well(line.start)) && head.ends_with(b"\r\n\r\n");
    let checked = if are_well { check_line_ends(&head[..first]) } else { Err(Fault::BareLf) };
    debug_assert_eq!(checked, check_line_ends(head));
    checked
}

/// Where a part of a head begins.
pub(super) fn place(head: &[u8], part: &str) -> usize {
    part.as_ptr() as usize - head.as_ptr() as usize
}

/// Whether every LF ends a line properly. httparse takes a bare one for a line's end, which others may not.
pub(super) fn check_line_ends(bytes: &[u8]) -> Result<(), Fault> {
    let mut before = 0;
    while let Some(found) = bytes[before..].iter().position(|byte| *byte == b'\n') {
        let at = before + found;
        if at == 0 || bytes[at - 1] != b'\r' {
            return Err(Fault::BareLf);
        }
        before = at + 1;
    }
    Ok(())
}

/// What httparse found wrong with a field line of `head`.
pub(super) fn field_fault(error: httparse::Error, head: &[u8]) -> Fault {
    let lines = || head.split(|byte| *byte == b'\n').skip(1);
    match error {
        httparse::Error::TooManyHeaders => Fault::FieldCount,
        _ if lines().any(|line| matches!(line, [b' ' | b'\t', ..])) => Fault::Folded,
        httparse::Error::HeaderName => Fault::FieldName,
        _ if has_bare_cr(head) => Fault::BareCr,
        _ => Fault::FieldValue,
    }
}

pub(super) fn has_bare_cr(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|pair| pair[0] == b'\r' && pair[1] != b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_split_at_commas() {
        let found: Vec<_> = tokens(b" a ,, b\t,c d ,").collect();
        assert_eq!(found, [&b"a"[..], b"b", b"c d"]);
        assert_eq!(tokens(b"\x0ba").next(), Some(&b"\x0ba"[..]), "only spaces and tabs are white space");
    }

    #[test]
    fn kept_lines_are_copied_and_added_ones_written() {
        let source = b"a: 1\r\nb:2 \r\nc: 3\r\nd: 4\r\n";
        let mut fields = Fields::with_source(source, 4);
        fields.keep("a", b"1", 0..6);
        fields.keep("b", b"2", 6..12);
        fields.keep("d", b"4", 18..24);
        fields.push("e", b"5");
        let mut out = Vec::new();
        fields.write(&mut out);
        assert_eq!(out, b"a: 1\r\nb:2 \r\nd: 4\r\ne: 5\r\n");
        fields.remove("A");
        fields.remove("E");
        out.clear();
        fields.write(&mut out);
        assert_eq!(out, b"b:2 \r\nd: 4\r\n");
    }

    #[test]
    fn line_ends_are_cr_and_lf() {
        assert_eq!(check_line_ends(b"a\r\n\r\nb"), Ok(()));
        for bytes in [&b"\n"[..], b"a\n", b"a\r\n\n", b"a\r\nb\n\r\n"] {
            assert_eq!(check_line_ends(bytes), Err(Fault::BareLf));
        }
    }
}
