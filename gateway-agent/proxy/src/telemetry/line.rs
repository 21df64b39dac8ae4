//! One line of the access log: JSON that is written as things become known. What has no value is left out.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

use super::grpc::GrpcStatus;
use super::log::Lines;
use super::record::Traffic;
use super::subject::{Subject, Target};

/// What a request's head tells.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoggedHead<'a> {
    /// The client's address as text.
    pub(crate) client: &'a str,
    pub(crate) method: &'a str,
    pub(crate) host: &'a str,
    /// As the client sent it, without the query, in which secrets may stand.
    pub(crate) path: &'a str,
    pub(crate) protocol: &'static str,
    pub(crate) user_agent: Option<&'a [u8]>,
}

/// How a request ended.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    /// 0: without an answer.
    pub(super) code: u16,
    pub(super) grpc: Option<GrpcStatus>,
    pub(super) traffic: Traffic,
    pub(super) took: Duration,
    pub(super) retries: u32,
    /// Why it did not end well.
    pub(super) failure: Option<Cow<'static, str>>,
}

/// A line that is being written.
#[derive(Debug)]
pub(super) struct Line {
    lines: Rc<Lines>,
    text: Vec<u8>,
    endpoint: Option<SocketAddr>,
}

impl Line {
    /// `subject` is what [`describe`] gave.
    pub(super) fn begin(lines: &Rc<Lines>, head: LoggedHead<'_>, subject: &str) -> Self {
        let mut text = lines.spare();
        text.push(b'{');
        field(&mut text, "client", head.client);
        field(&mut text, "method", head.method);
        field(&mut text, "host", head.host);
        field(&mut text, "path", head.path);
        field(&mut text, "protocol", head.protocol);
        if let Some(agent) = head.user_agent {
            field(&mut text, "user_agent", &String::from_utf8_lossy(agent));
        }
        text.extend_from_slice(subject.as_bytes());
        Self { lines: Rc::clone(lines), text, endpoint: None }
    }

    pub(super) fn trace(&mut self, id: &str) {
        field(&mut self.text, "trace_id", id);
    }

    pub(super) fn endpoint(&mut self, endpoint: SocketAddr) {
        self.endpoint = Some(endpoint);
    }

    /// Gives the line to the writer.
    pub(super) fn end(mut self, ended: &Ended) {
        let Ended { code, grpc, traffic: Traffic { received, sent }, took, retries, failure } = ended;
        let (code, took) = (*code, *took);
        let text = &mut self.text;
        if let Some(endpoint) = self.endpoint {
            field(text, "endpoint", &endpoint.to_string());
        }
        if let Some(failure) = failure {
            field(text, "failure", failure);
        }
        if code != 0 {
            number(text, "status", code.into());
        }
        if let Some(status) = grpc {
            number(text, "grpc_status", status.number().into());
        }
        number(text, "bytes_in", *received);
        number(text, "bytes_out", *sent);
        number(text, "retries", (*retries).into());
        // Nothing fails that is written to memory.
        let _ = write!(text, "\"duration_ms\":{}.{:03},", took.as_millis(), took.subsec_micros() % 1_000);
        self.lines.write_time(text, SystemTime::now() - took);
        text.extend_from_slice(b"}\n");
        self.lines.push(text);
        self.lines.keep(self.text);
    }
}

/// What lines say of their subject, ready to be copied into them.
pub(super) fn describe(subject: &Subject) -> String {
    let mut text = Vec::new();
    if let Some(name) = &subject.listener {
        field(&mut text, "gateway", &name.gateway.to_string());
        field(&mut text, "listener", &name.listener);
    }
    if let Target::Rule(name, backend) = &subject.target {
        field(&mut text, "route", &format!("{} {}", name.kind, name.route));
        field(&mut text, "rule", &name.label());
        if let Some(backend) = backend {
            field(&mut text, "backend", backend);
        }
    }
    String::from_utf8(text).unwrap_or_default()
}

/// The present second as text, since seconds have many requests.
#[derive(Debug, Default)]
pub(super) struct Clock {
    second: u64,
    text: String,
}

impl Clock {
    /// As RFC 3339 has it, with milliseconds.
    pub(super) fn write(&mut self, text: &mut Vec<u8>, time: SystemTime) {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        if self.second != since.as_secs() || self.text.is_empty() {
            self.second = since.as_secs();
            self.text.clear();
            let second = Timestamp::from_second(since.as_secs().cast_signed()).unwrap_or_default();
            let _ = write!(self.text, "{second:.0}");
            // Its zone follows the milliseconds.
            self.text.pop();
        }
        let _ = write!(text, "\"time\":\"{}.{:03}Z\"", self.text, since.subsec_millis());
    }
}

/// `"name":"value",`
fn field(text: &mut Vec<u8>, name: &str, value: &str) {
    text.push(b'"');
    text.extend_from_slice(name.as_bytes());
    text.extend_from_slice(b"\":");
    // Nothing fails that is written to memory.
    let _ = serde_json::to_writer(&mut *text, value);
    text.push(b',');
}

fn number(text: &mut Vec<u8>, name: &str, value: u64) {
    let _ = write!(text, "\"{name}\":{value},");
}
