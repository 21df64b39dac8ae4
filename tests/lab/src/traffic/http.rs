//! A request to whatever speaks HTTP before a lab server.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::{Answer, parse_answer};

/// The answer to a GET on a connection of its own. Anything but 200 is an error, and so is an answer that ends early.
/// `patience` is for each step.
pub fn get(target: SocketAddr, patience: Duration) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&target, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    write!(stream, "GET / HTTP/1.1\r\nHost: lab.test\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let not_whole = || io::Error::new(io::ErrorKind::InvalidData, format!("not a whole 200: {answer:?}"));
    parse_answer(body(&answer).ok_or_else(not_whole)?)
}

/// Of a 200 with the length that it says.
fn body(answer: &str) -> Option<&str> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let (status, fields) = head.split_once("\r\n")?;
    let length = fields.lines().find_map(|field| {
        let (name, value) = field.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    (status.starts_with("HTTP/1.1 200") && length == Some(body.len())).then_some(body)
}

#[cfg(test)]
mod tests {
    use super::body;

    #[test]
    fn only_a_whole_answer_counts() {
        for (answer, expected) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Some("ok")),
            ("HTTP/1.1 200 OK\r\ncontent-length:2\r\n\r\no", None),
            ("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\nok", None),
            ("HTTP/1.1 200 OK\r\n", None),
            ("", None),
        ] {
            assert_eq!(body(answer), expected, "{answer:?}");
        }
    }
}
