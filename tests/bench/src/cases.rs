//! The cases with traffic: who takes part, what is measured, how far ours may be from its peers.

use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::cpu::Cpus;
use crate::lane::{CLIENTS, CRR_PORT, STREAM_PORT, UDP_PORT};
use crate::load::{self, Progress, Window, crr, stream, udp};
use crate::report::Limit::{AtLeast, AtMost, None as NoLimit};
use crate::report::{Limit, Metric, Report, Target, float};
use crate::subject::{Kind, Subject};

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Case {
    #[value(name = "tcp_crr")]
    Crr,
    #[value(name = "tcp_stream_1")]
    Stream1,
    #[value(name = "tcp_stream_32")]
    Stream32,
    #[value(name = "udp_64")]
    Udp,
    #[value(name = "program")]
    Program,
}

/// The A/A row: `ours-tc` once more.
pub(crate) const AGAIN: &str = "ours-tc-aa";
/// Connections through SNAT for so long that every port is used again many times.
pub(crate) const LONG_CRR: &str = "tcp_crr_120s";

impl Case {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Crr => "tcp_crr",
            Self::Stream1 => "tcp_stream_1",
            Self::Stream32 => "tcp_stream_32",
            Self::Udp => "udp_64",
            Self::Program => "program",
        }
    }

    /// Who takes part: HAProxy doesn't forward UDP, nginx is there only for that.
    pub(crate) fn admits(self, kind: Kind) -> bool {
        match kind {
            Kind::Haproxy => self != Self::Udp,
            Kind::Nginx => self == Self::Udp,
            _ => true,
        }
    }
}

const CONN_PER_S: Metric = Metric { name: "conn_per_s", unit: "1/s" };
const CPU_PER_CONN: Metric = Metric { name: "machine_cpu_us_per_conn", unit: "us" };
const P50: Metric = Metric { name: "p50_us", unit: "us" };
const P99: Metric = Metric { name: "p99_us", unit: "us" };
const GBIT_PER_S: Metric = Metric { name: "gbit_per_s", unit: "Gbit/s" };
const CPU_PER_GB: Metric = Metric { name: "cpu_s_per_gb", unit: "s" };
const PACKETS_PER_S: Metric = Metric { name: "packets_per_s", unit: "1/s" };
const CPU_PER_PACKET: Metric = Metric { name: "machine_cpu_ns_per_packet", unit: "ns" };

/// Measures a subject for one window; `name` is what the report calls it.
pub(crate) fn round(
    case: Case,
    subject: &Subject,
    name: &'static str,
    length: Duration,
    cpus: &Cpus,
    report: &mut Report,
) -> Result<()> {
    match case {
        Case::Crr => crr(case.name(), subject, name, (1, length), cpus, report),
        Case::Stream1 => stream(case, 1, subject, name, length, cpus, report),
        Case::Stream32 => stream(case, 32, subject, name, length, cpus, report),
        Case::Udp => udp(subject, name, length, cpus, report),
        Case::Program => Ok(()),
    }
}

/// Connections, through as many windows without a pause; latencies are those of all windows.
pub(crate) fn crr(
    case: &'static str,
    subject: &Subject,
    name: &'static str,
    windows: (usize, Duration),
    cpus: &Cpus,
    report: &mut Report,
) -> Result<()> {
    let target = subject.target(CRR_PORT);
    let clients = clients(cpus.count(), cpus, subject, move |progress| crr::run(&CLIENTS, target, progress));
    let (windows, latencies) = load::measure(cpus, windows, clients, done)?;
    for window in windows {
        window.check(name)?;
        report.add(case, name, CONN_PER_S, float(window.done) / window.seconds);
        report.add(case, name, CPU_PER_CONN, window.cpu_seconds * 1e6 / float(window.done));
    }
    let mut latencies = latencies.concat();
    latencies.sort_unstable();
    ensure!(!latencies.is_empty(), "{name}: no connection was timed");
    for (metric, percent) in [(P50, 50), (P99, 99)] {
        let value = latencies[(latencies.len() - 1) * percent / 100];
        report.add(case, name, metric, f64::from(value));
    }
    Ok(())
}

fn stream(
    case: Case,
    connections: usize,
    subject: &Subject,
    name: &'static str,
    length: Duration,
    cpus: &Cpus,
    report: &mut Report,
) -> Result<()> {
    let target = subject.target(STREAM_PORT);
    let clients = clients(connections, cpus, subject, move |progress| stream::run(target, progress));
    let received = |_: &Progress| subject.received.load(Ordering::Relaxed);
    let (windows, _) = load::measure(cpus, (1, length), clients, received)?;
    for window in windows {
        window.check(name)?;
        let gigabytes = float(window.done) / 1e9;
        report.add(case.name(), name, GBIT_PER_S, gigabytes * 8.0 / window.seconds);
        report.add(case.name(), name, CPU_PER_GB, window.cpu_seconds / gigabytes);
    }
    Ok(())
}

fn udp(
    subject: &Subject,
    name: &'static str,
    length: Duration,
    cpus: &Cpus,
    report: &mut Report,
) -> Result<()> {
    let target = subject.target(UDP_PORT);
    let clients = clients(cpus.count(), cpus, subject, move |progress| udp::run(target, progress));
    let (windows, _) = load::measure(cpus, (1, length), clients, done)?;
    for window in windows {
        window.check(name)?;
        // The gateway forwards each datagram and its answer.
        let packets = float(window.done) * 2.0;
        report.add(Case::Udp.name(), name, PACKETS_PER_S, packets / window.seconds);
        report.add(Case::Udp.name(), name, CPU_PER_PACKET, window.cpu_seconds * 1e9 / packets);
    }
    Ok(())
}

/// Client threads in the subject's client namespace, one processor after the other.
fn clients<T>(
    count: usize,
    cpus: &Cpus,
    subject: &Subject,
    run: impl Fn(&Progress) -> Result<T> + Copy + Send,
) -> Vec<impl FnOnce(&Progress) -> Result<T> + Send> {
    (0..count)
        .map(|index| {
            move |progress: &Progress| {
                cpus.pin(index)?;
                subject.lane.client.enter()?;
                run(progress)
            }
        })
        .collect()
}

fn done(progress: &Progress) -> u64 {
    progress.done.load(Ordering::Relaxed)
}

impl Window {
    /// A figure is worth nothing if what it counts failed.
    fn check(&self, name: &str) -> Result<()> {
        ensure!(self.done > 0, "{name}: nothing came through");
        if self.failed > 0 {
            println!("    {name}: {} failed, {} done", self.failed, self.done);
        }
        Ok(())
    }
}

/// What the project promises, and the A/A rows that tell how much of it is noise.
pub(crate) const TARGETS: &[Target] = &[
    again("tcp_crr", "conn_per_s"),
    again("tcp_crr", "machine_cpu_us_per_conn"),
    target("tcp_crr", "machine_cpu_us_per_conn", "ours-tc", "nftables-dnat", AtMost(0.9)),
    target("tcp_crr", "machine_cpu_us_per_conn", "ours-tc", "haproxy", AtMost(0.65)),
    target("tcp_crr", "machine_cpu_us_per_conn", "ours-tc", "direct", NoLimit),
    target("tcp_crr", "conn_per_s", "ours-tc", "nftables-dnat", AtLeast(1.1)),
    target("tcp_crr", "conn_per_s", "ours-tc", "haproxy", AtLeast(1.7)),
    target("tcp_crr", "conn_per_s", "ours-tc-snat", "nftables-snat", AtLeast(0.95)),
    target("tcp_crr", "machine_cpu_us_per_conn", "ours-tc-snat", "nftables-snat", AtMost(PARITY)),
    target("tcp_crr", "p50_us", "ours-tc-snat", "nftables-snat", AtMost(PARITY)),
    target("tcp_crr", "p99_us", "ours-tc-snat", "nftables-snat", AtMost(PARITY)),
    target(LONG_CRR, "conn_per_s", "ours-tc-snat", "nftables-snat", AtLeast(0.95)),
    target(LONG_CRR, "machine_cpu_us_per_conn", "ours-tc-snat", "nftables-snat", AtMost(PARITY)),
    target(LONG_CRR, "p99_us", "ours-tc-snat", "nftables-snat", AtMost(PARITY)),
    again("tcp_stream_1", "gbit_per_s"),
    target("tcp_stream_1", "gbit_per_s", "ours-tc", "nftables-dnat", AtLeast(0.95)),
    target("tcp_stream_1", "gbit_per_s", "ours-tc", "haproxy", AtLeast(1.5)),
    target("tcp_stream_1", "gbit_per_s", "ours-tc-snat", "nftables-snat", AtLeast(0.95)),
    target("tcp_stream_1", "cpu_s_per_gb", "ours-tc-snat", "nftables-snat", AtMost(PARITY)),
    again("tcp_stream_32", "gbit_per_s"),
    target("tcp_stream_32", "gbit_per_s", "ours-tc", "nftables-dnat", NoLimit),
    target("tcp_stream_32", "gbit_per_s", "ours-tc", "haproxy", NoLimit),
    target("tcp_stream_32", "gbit_per_s", "ours-tc-snat", "nftables-snat", AtLeast(0.95)),
    target("tcp_stream_32", "cpu_s_per_gb", "ours-tc-snat", "nftables-snat", AtMost(PARITY)),
    again("udp_64", "machine_cpu_ns_per_packet"),
    target("udp_64", "machine_cpu_ns_per_packet", "ours-tc", "nftables-dnat", AtMost(0.9)),
    target("udp_64", "machine_cpu_ns_per_packet", "ours-tc", "nginx", NoLimit),
    target("udp_64", "packets_per_s", "ours-tc", "nftables-dnat", NoLimit),
    target("udp_64", "packets_per_s", "ours-tc-snat", "nftables-snat", AtLeast(0.95)),
    target("udp_64", "machine_cpu_ns_per_packet", "ours-tc-snat", "nftables-snat", AtMost(PARITY)),
];

/// 0.95 of a peer, where less is better.
const PARITY: f64 = 1.05;

const fn target(
    case: &'static str,
    metric: &'static str,
    subject: &'static str,
    baseline: &'static str,
    limit: Limit,
) -> Target {
    Target { case, metric, subject, baseline: Some(baseline), limit }
}

const fn again(case: &'static str, metric: &'static str) -> Target {
    target(case, metric, AGAIN, "ours-tc", NoLimit)
}
