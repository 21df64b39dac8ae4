//! Servers in pods, clients beside them, and what came of it.
//!
//! A [`Server`] answers TCP and UDP on one port and names itself, so that clients can count who served them and see
//! which client address arrived. Requests are lines; see [`server`] for those there are.

mod download;
mod http;
mod many;
mod newcomers;
mod pattern;
pub mod server;
mod steady;

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

pub use download::{Download, Transfer, download, upload};
pub use http::get;
pub use many::{Tally, Volley, http, tcp, udp};
pub use newcomers::{Arrivals, Failures, Newcomers};
pub use pattern::Pattern;
pub use server::Server;
pub use steady::{ConnectionReport, Steady, SteadyReport};

/// Longer than TCP's third retransmission of a lost SYN (1, 3 and 7 s after the first, RFC 6298), so that a loss shows
/// as a slow answer and not as a failure.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// Who answered, and which client address it saw.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Answer {
    pub server: String,
    pub client: SocketAddr,
}

/// A connection to a [`Server`] by way of whatever stands at `target`.
#[derive(Debug)]
struct Connection {
    reader: BufReader<TcpStream>,
}

impl Connection {
    fn open(target: SocketAddr, patience: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&target, patience)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        stream.set_nodelay(true)?;
        Ok(Self { reader: BufReader::new(stream) })
    }

    fn who(&mut self) -> io::Result<Answer> {
        self.send("who\n")?;
        parse_answer(&self.line()?)
    }

    fn local(&self) -> io::Result<SocketAddr> {
        self.reader.get_ref().local_addr()
    }

    fn send(&mut self, text: &str) -> io::Result<()> {
        self.reader.get_mut().write_all(text.as_bytes())
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.reader.read_line(&mut line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line),
        }
    }
}

fn parse_answer(line: &str) -> io::Result<Answer> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, format!("not a server's answer: {line:?}"));
    let (server, client) = line.trim_end().split_once(' ').ok_or_else(invalid)?;
    Ok(Answer { server: server.to_owned(), client: client.parse().map_err(|_| invalid())? })
}
