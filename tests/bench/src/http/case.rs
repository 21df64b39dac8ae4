//! The cases with traffic: how they are loaded, what is measured, how far ours may be from its peers.

use anyhow::Result;

use super::subject::{GUARDED, HTTP1, Kind, Means, Routes, Subject};
use super::usage::Usage;
use super::{Effort, closed, open};
use crate::report::Limit::{AtMost, AtMostMore, More, None as NoLimit};
use crate::report::{Limit, Metric, Report, Target, float};

/// In the order in which they run: a proxy's memory is what cases so far have left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Case {
    #[value(name = "h1_c1_1k")]
    One,
    #[value(name = "h1_c32_1k")]
    Many,
    #[value(name = "h1_c32_100k")]
    Large,
    #[value(name = "h1_c32_1k_routes10000")]
    Routes,
    #[value(name = "h1_rate1000_1k")]
    Fast,
    #[value(name = "h1_rate70_1k")]
    Slow,
    #[value(name = "h2_c32_1k")]
    Http2,
    #[value(name = "grpc_unary")]
    Grpc,
    /// A service is asked about each request, by Envoy's protocol of external authorization.
    #[value(name = "h1_c32_1k_guarded")]
    Guarded,
    /// Memory of connections that wait for another request.
    #[value(name = "h1_idle")]
    Idle,
    #[value(name = "matching")]
    Matching,
}

/// The A/A row: ours once more.
pub(crate) const AGAIN: &str = "ours-aa";

impl Case {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::One => "h1_c1_1k",
            Self::Many => "h1_c32_1k",
            Self::Large => "h1_c32_100k",
            Self::Routes => "h1_c32_1k_routes10000",
            Self::Http2 => "h2_c32_1k",
            Self::Grpc => "grpc_unary",
            Self::Guarded => "h1_c32_1k_guarded",
            Self::Fast => "h1_rate1000_1k",
            Self::Slow => "h1_rate70_1k",
            Self::Idle => "h1_idle",
            Self::Matching => "matching",
        }
    }

    /// Whether clients ask again as soon as they are answered.
    pub(crate) fn is_closed(self) -> bool {
        !matches!(self, Self::Fast | Self::Slow | Self::Idle | Self::Matching)
    }

    /// Whether a subject can do what is asked for.
    pub(crate) fn is_for(self, kind: Kind) -> bool {
        self != Self::Guarded || matches!(kind, Kind::Ours | Kind::Envoy)
    }

    /// What subjects are configured with whose traffic is measured in turns.
    pub(crate) fn traffic(self) -> Option<Routes> {
        match self {
            Self::Idle | Self::Matching => None,
            Self::Routes => Some(Routes::Many),
            _ => Some(Routes::Few),
        }
    }
}

const REQUESTS_PER_S: Metric = Metric { name: "requests_per_s", unit: "1/s" };
const CPU_PER_REQUEST: Metric = Metric { name: "cpu_us_per_request", unit: "us" };
const P50: Metric = Metric { name: "p50_ms", unit: "ms" };
const P99: Metric = Metric { name: "p99_ms", unit: "ms" };
const P999: Metric = Metric { name: "p999_ms", unit: "ms" };
/// Of requests that no absence of the machine touched; then those that one did, of all; and absences, of the time.
const P99_AWAKE: Metric = Metric { name: "p99_awake_ms", unit: "ms" };
const P999_AWAKE: Metric = Metric { name: "p999_awake_ms", unit: "ms" };
const SET_ASIDE: Metric = Metric { name: "set_aside", unit: "%" };
const AWAY: Metric = Metric { name: "machine_away", unit: "%" };
const RSS: Metric = Metric { name: "rss_mb", unit: "MB" };
const ERRORS: Metric = Metric { name: "errors", unit: "1" };

/// What a load saw.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    pub(crate) seconds: f64,
    /// In milliseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) open: Option<Open>,
}

/// What an open loop sees besides, in milliseconds.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) p999: f64,
    pub(crate) awake: Awake,
}

/// What is left without the requests that an absence of the machine touched.
#[derive(Debug)]
pub(crate) struct Awake {
    /// In milliseconds.
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    /// Those requests, of all.
    pub(crate) set_aside: f64,
    /// The machine's absences, of the time.
    pub(crate) away: f64,
}

/// Measures a subject once; `name` is what the report calls it.
pub(crate) fn round(
    case: Case,
    subject: &Subject,
    name: &'static str,
    effort: Effort,
    means: &Means<'_>,
    report: &mut Report,
) -> Result<()> {
    let before = subject.usage()?;
    let seen = match case {
        Case::One => closed::wrk(subject, means, HTTP1, 1, closed::Size::Small)?,
        Case::Many | Case::Routes => closed::wrk(subject, means, HTTP1, 32, closed::Size::Small)?,
        Case::Guarded => closed::wrk(subject, means, GUARDED, 32, closed::Size::Small)?,
        Case::Large => closed::wrk(subject, means, HTTP1, 32, closed::Size::Large)?,
        Case::Http2 => closed::h2load(subject, means, closed::Call::Http)?,
        Case::Grpc => closed::h2load(subject, means, closed::Call::Grpc)?,
        Case::Fast => open::run(subject, means, 1000, effort.open_fast)?,
        Case::Slow => open::run(subject, means, 70, effort.open_slow)?,
        Case::Idle | Case::Matching => return Ok(()),
    };
    let mut add = |metric, value| report.add(case.name(), name, metric, value);
    if seen.open.is_none() {
        add(REQUESTS_PER_S, float(seen.requests) / seen.seconds);
    }
    if let (Some(Usage { cpu_seconds: from, .. }), Some(usage)) = (before, subject.usage()?) {
        add(CPU_PER_REQUEST, (usage.cpu_seconds - from) * 1e6 / float(seen.requests));
        add(RSS, usage.rss_bytes / 1e6);
    }
    add(P50, seen.p50);
    add(P99, seen.p99);
    if let Some(Open { p999, awake }) = seen.open {
        add(P999, p999);
        add(P99_AWAKE, awake.p99);
        add(P999_AWAKE, awake.p999);
        add(SET_ASIDE, awake.set_aside * 100.0);
        add(AWAY, awake.away * 100.0);
    }
    add(ERRORS, float(seen.errors));
    Ok(())
}

/// What the project promises, and the A/A rows that tell how much of it is noise.
pub(crate) const TARGETS: &[Target] = &[
    again("h1_c1_1k"),
    cpu("h1_c1_1k", Kind::Haproxy, NoLimit),
    cpu("h1_c1_1k", Kind::Nginx, NoLimit),
    cpu("h1_c1_1k", Kind::Envoy, NoLimit),
    again("h1_c32_1k"),
    cpu("h1_c32_1k", Kind::Haproxy, AtMost(0.85)),
    cpu("h1_c32_1k", Kind::Nginx, NoLimit),
    cpu("h1_c32_1k", Kind::Envoy, AtMost(0.3)),
    again("h1_c32_100k"),
    cpu("h1_c32_100k", Kind::Haproxy, NoLimit),
    cpu("h1_c32_100k", Kind::Nginx, NoLimit),
    cpu("h1_c32_100k", Kind::Envoy, NoLimit),
    again("h1_c32_1k_routes10000"),
    cpu("h1_c32_1k_routes10000", Kind::Haproxy, NoLimit),
    cpu("h1_c32_1k_routes10000", Kind::Nginx, NoLimit),
    cpu("h1_c32_1k_routes10000", Kind::Envoy, NoLimit),
    again("h2_c32_1k"),
    cpu("h2_c32_1k", Kind::Haproxy, AtMost(1.3)),
    cpu("h2_c32_1k", Kind::Nginx, NoLimit),
    cpu("h2_c32_1k", Kind::Envoy, NoLimit),
    again("grpc_unary"),
    cpu("grpc_unary", Kind::Haproxy, NoLimit),
    cpu("grpc_unary", Kind::Nginx, NoLimit),
    cpu("grpc_unary", Kind::Envoy, NoLimit),
    again("h1_c32_1k_guarded"),
    cpu("h1_c32_1k_guarded", Kind::Envoy, NoLimit),
    target("h1_rate1000_1k", "p99_ms", Some("direct"), AtMostMore(0.5)),
    target("h1_rate1000_1k", "p99_awake_ms", Some("direct"), AtMostMore(0.5)),
    target("h1_rate1000_1k", "p999_awake_ms", Some("direct"), More),
    target("h1_rate1000_1k", "p50_ms", Some("direct"), More),
    target("h1_rate1000_1k", "p99_ms", Some("haproxy"), More),
    target("h1_rate1000_1k", "p99_awake_ms", Some("haproxy"), More),
    target("h1_rate1000_1k", "p999_awake_ms", Some("haproxy"), More),
    target("h1_rate1000_1k", "rss_mb", None, AtMost(25.0)),
    target("h1_rate70_1k", "p99_ms", Some("direct"), More),
    target("h1_rate70_1k", "p99_awake_ms", Some("direct"), More),
    target("h1_rate70_1k", "p99_awake_ms", Some("haproxy"), More),
    target("h1_idle", "bytes_per_conn", None, AtMost(4000.0)),
    Target {
        case: "matching",
        metric: "ns_per_request",
        subject: "routes-10000",
        baseline: Some("routes-1"),
        limit: AtMostMore(300.0),
    },
];

const fn target(
    case: &'static str,
    metric: &'static str,
    baseline: Option<&'static str>,
    limit: Limit,
) -> Target {
    Target { case, metric, subject: "ours", baseline, limit }
}

const fn cpu(case: &'static str, peer: Kind, limit: Limit) -> Target {
    target(case, CPU_PER_REQUEST.name, Some(peer.name()), limit)
}

const fn again(case: &'static str) -> Target {
    let metric = CPU_PER_REQUEST.name;
    Target { case, metric, subject: AGAIN, baseline: Some("ours"), limit: NoLimit }
}
