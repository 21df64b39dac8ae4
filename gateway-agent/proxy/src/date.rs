//! The time of an answer that has none: whoever passes it on has to add that (RFC 9110, 6.6.1).

use std::cell::Cell;

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

/// `Sun, 06 Nov 1994 08:49:37 GMT`
pub(crate) type Date = [u8; 29];

/// Written once a second by each thread.
pub(crate) fn now() -> Date {
    thread_local! {
        static WRITTEN: Cell<(i64, Date)> = const { Cell::new((i64::MIN, [0; 29])) };
    }
    let now = Timestamp::now();
    let (second, date) = WRITTEN.get();
    if second == now.as_second() {
        return date;
    }
    let date = written(now);
    WRITTEN.set((now.as_second(), date));
    date
}

fn written(time: Timestamp) -> Date {
    let text = DateTimePrinter::new().timestamp_to_rfc9110_string(&time).unwrap_or_default();
    // Years after 9999 have no form, and no clock of a node is there.
    text.as_bytes().try_into().unwrap_or(*b"Thu, 01 Jan 1970 00:00:00 GMT")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_have_the_one_form_that_may_be_sent() {
        for (second, text) in
            [(784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"), (1_790_812_805, "Thu, 01 Oct 2026 00:00:05 GMT")]
        {
            let time = Timestamp::from_second(second).expect("a time");
            assert_eq!(str::from_utf8(&written(time)), Ok(text));
        }
        assert_eq!(now().len(), "Sun, 06 Nov 1994 08:49:37 GMT".len());
    }
}
