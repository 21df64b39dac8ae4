//! Closed loops: each client asks again when it has its answer. wrk for HTTP/1.1, h2load for HTTP/2.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use super::case::Seen;
use super::origin;
use super::subject::{GRPC, HTTP2, Means, Routes, Subject, host, prefix};
use crate::report::float;

/// Of one round.
const SECONDS: u32 = 1;

/// Of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    Small,
    Large,
}

/// What wrk runs: its requests go to every rule in turn, and its figures are printed as numbers. The rules are many or
/// few, so that a request costs wrk the same.
fn script(routes: Routes, size: Size) -> String {
    let name = if size == Size::Large { origin::LARGE } else { "" };
    format!(
        "local requests, last = {{}}, 0
function init()
  for host = 0, {most} do
    for rule = 0, {most} do
      requests[#requests + 1] = wrk.format('GET', string.format('/api/v1/service-%d/{name}', rule),
        {{Host = string.format('host-%d.example.com', host)}})
    end
  end
end
function request()
  last = last % #requests + 1
  return requests[last]
end
function done(summary, latency)
  local e = summary.errors
  io.write(string.format('\\nfigures %d %d %d %d %d %d\\n', summary.requests, summary.bytes, summary.duration,
    e.connect + e.read + e.write + e.timeout + e.status, latency:percentile(50), latency:percentile(99)))
end
",
        most = routes.each() - 1,
    )
}

pub(crate) fn wrk(
    subject: &Subject,
    means: &Means<'_>,
    port: u16,
    connections: u32,
    size: Size,
) -> Result<Seen> {
    let file = means.folder.join("wrk.lua");
    fs::write(&file, script(subject.routes, size))?;
    let mut wrk = Command::new("wrk");
    wrk.arg("--threads").arg("1").arg("--connections").arg(connections.to_string());
    wrk.arg("--duration").arg(format!("{SECONDS}s")).arg("--script").arg(&file);
    wrk.arg(format!("http://{}", subject.target(port)));
    let text = output(subject, means, &wrk)?;
    let line = text.lines().find_map(|line| line.strip_prefix("figures ")).context("wrk said nothing")?;
    let figures: Vec<u64> = line.split(' ').map(str::parse).collect::<Result<_, _>>()?;
    let [requests, bytes, microseconds, errors, p50, p99] = figures[..] else {
        anyhow::bail!("wrk said: {line}")
    };
    let body = if size == Size::Large { origin::LARGE_BYTES } else { origin::SMALL_BYTES };
    ensure!(requests > 0 && bytes >= requests * body as u64, "answers were too short:\n{text}");
    Ok(Seen {
        requests,
        errors,
        seconds: float(microseconds) / 1e6,
        p50: float(p50) / 1e3,
        p99: float(p99) / 1e3,
        open: None,
    })
}

/// What HTTP/2 carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// As facts of others are given.
    Http,
    /// The same, each stream a call with one message each way.
    Grpc,
}

const CLIENTS: u32 = 32;
const STREAMS: u32 = 10;

/// A message of 123 bytes behind its flag and length (gRPC over HTTP/2, "Length-Prefixed-Message").
const MESSAGE: [u8; 128] = {
    let mut message = [b'm'; 128];
    (message[0], message[1], message[2], message[3], message[4]) = (0, 0, 0, 0, 123);
    message
};

pub(crate) fn h2load(subject: &Subject, means: &Means<'_>, call: Call) -> Result<Seen> {
    let log = means.folder.join("h2load.log");
    let message = means.folder.join("message");
    fs::write(&message, MESSAGE)?;
    if log.exists() {
        fs::remove_file(&log)?;
    }
    let mut h2load = Command::new("h2load");
    h2load.arg("--clients").arg(CLIENTS.to_string()).arg("--threads").arg("1");
    h2load.arg("--max-concurrent-streams").arg(STREAMS.to_string());
    h2load.arg("--duration").arg(SECONDS.to_string()).arg("--log-file").arg(&log);
    h2load.arg("--header").arg(format!(":authority: {}", host(3)));
    match call {
        Call::Http => {
            h2load.arg(format!("http://{}{}", subject.target(HTTP2), prefix(3)));
        }
        Call::Grpc => {
            h2load.args(["--header", "content-type: application/grpc", "--header", "te: trailers"]);
            h2load.arg("--data").arg(&message);
            h2load.arg(format!("http://{}/bench.Echo/Say", subject.target(GRPC)));
        }
    }
    let text = output(subject, means, &h2load)?;
    let data = text.split_once(") data").and_then(|(before, _)| before.rsplit('(').next());
    let data: u64 = data.context("h2load said nothing")?.parse()?;
    // A line per request: when it began, its status, microseconds (h2load(1)).
    let lines = fs::read_to_string(&log)?;
    let mut latencies = Vec::new();
    let mut errors = 0;
    for line in lines.lines() {
        let mut words = line.split('\t').skip(1);
        match (words.next(), words.next().map(str::parse::<u32>)) {
            (Some("200"), Some(Ok(microseconds))) => latencies.push(f64::from(microseconds) / 1e3),
            _ => errors += 1,
        }
    }
    let requests = latencies.len() as u64;
    // What came of the first answers before the clock ran is not counted; their ends are.
    let counted = data + u64::from(CLIENTS * STREAMS) * origin::SMALL_BYTES as u64;
    ensure!(
        requests > 0 && counted >= requests * origin::SMALL_BYTES as u64,
        "answers were too short:\n{text}"
    );
    latencies.sort_by(f64::total_cmp);
    Ok(Seen {
        requests,
        errors,
        seconds: f64::from(SECONDS),
        p50: percentile(&latencies, 0.5),
        p99: percentile(&latencies, 0.99),
        open: None,
    })
}

/// Of values in order, at least one.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an index"
)]
pub(crate) fn percentile(sorted: &[f64], share: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * share).round() as usize]
}

/// Runs a generator on its processor and in the client's namespace.
fn output(subject: &Subject, means: &Means<'_>, generator: &Command) -> Result<String> {
    let mut command = Command::new("taskset");
    command.args(["-c", &means.cpus.last().to_string()]);
    command.arg(generator.get_program()).args(generator.get_args()).stdin(Stdio::null());
    let output = subject.lane.client.inside(|| Ok(command.output()?))?;
    let text = String::from_utf8([output.stdout, output.stderr].concat())?;
    ensure!(output.status.success(), "{} failed: {text}", generator.get_program().display());
    Ok(text)
}
