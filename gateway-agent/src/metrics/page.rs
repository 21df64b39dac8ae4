//! Figures as text (OpenMetrics 1.0, which Prometheus reads).

use std::fmt;

use gateway_agent_api::ObjectRef;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use serde_json::Value;

use crate::statuses;

/// Names and values that tell one series of a family from another.
pub type Labels = Vec<(&'static str, String)>;

/// Series of one name.
#[derive(Clone, Debug)]
pub struct Family {
    /// Without the prefix of all, and for counters without `_total`.
    pub name: &'static str,
    pub help: &'static str,
    pub series: Series,
}

#[derive(Clone, Debug)]
pub enum Series {
    Counter(Vec<(Labels, f64)>),
    Gauge(Vec<(Labels, f64)>),
    Histogram(Vec<(Labels, Buckets)>),
}

/// What was observed, in buckets.
#[derive(Clone, Debug)]
pub struct Buckets {
    /// Upper ends, and how many each bucket has by itself; the last end is infinite.
    pub buckets: Vec<(f64, u64)>,
    /// Of all that was observed.
    pub sum: f64,
}

const PREFIX: &str = "gateway_agent";

/// Series on a page: what a scrape of a second can carry, whatever the cluster holds.
pub const MOST_SERIES: usize = 10_000;

impl Family {
    pub fn gauge(name: &'static str, help: &'static str, series: Vec<(Labels, f64)>) -> Self {
        Self { name, help, series: Series::Gauge(series) }
    }

    pub fn counter(name: &'static str, help: &'static str, series: Vec<(Labels, f64)>) -> Self {
        Self { name, help, series: Series::Counter(series) }
    }

    pub fn histogram(name: &'static str, help: &'static str, series: Vec<(Labels, Buckets)>) -> Self {
        Self { name, help, series: Series::Histogram(series) }
    }

    /// A gauge without labels.
    pub fn value(name: &'static str, help: &'static str, value: f64) -> Self {
        Self::gauge(name, help, vec![(Vec::new(), value)])
    }
}

/// Families with at most `most` series in all: those that come first have precedence, and one more says how many are
/// left out.
pub fn capped(mut families: Vec<Family>, most: usize) -> Vec<Family> {
    let mut room = most;
    let mut left_out = 0;
    for family in &mut families {
        let before = family.series.len();
        family.series.truncate(room);
        room -= family.series.len();
        left_out += before - family.series.len();
    }
    let left_out = u32::try_from(left_out).unwrap_or(u32::MAX).into();
    families.push(Family::value("series_left_out", "Series that have no room on this page", left_out));
    families
}

pub fn text(families: Vec<Family>) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix(PREFIX);
    registry.register_collector(Box::new(Page(families)));
    let mut page = String::new();
    text::encode(&mut page, &registry)?;
    Ok(page)
}

/// Every condition of these statuses: 1 if it is True, else 0.
pub fn conditions<'a>(statuses: impl Iterator<Item = (&'a ObjectRef, &'a Value)>) -> Family {
    let of = |(object, status): (&ObjectRef, &Value)| {
        let object = object.clone();
        let series = move |condition: statuses::Condition| {
            let labels = vec![
                ("kind", object.kind.name().to_owned()),
                ("namespace", object.namespace.clone().unwrap_or_default()),
                ("name", object.name.clone()),
                ("part", condition.part),
                ("type", condition.kind),
                ("reason", condition.reason),
            ];
            (labels, if condition.status == "True" { 1.0 } else { 0.0 })
        };
        statuses::conditions(status).into_iter().map(series)
    };
    let help = "Conditions of objects; part is the listener or the parent that one is about";
    Family::gauge("condition", help, statuses.flat_map(of).collect())
}

#[derive(Debug)]
struct Page(Vec<Family>);

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for family in &self.0 {
            let metric = encoder.encode_descriptor(family.name, family.help, None, family.series.kind())?;
            family.series.encode(metric)?;
        }
        Ok(())
    }
}

impl Series {
    /// Lines on the page: a histogram has one for each bucket, and its sum and count.
    fn len(&self) -> usize {
        match self {
            Self::Counter(series) | Self::Gauge(series) => series.len(),
            Self::Histogram(series) => series.iter().map(|(_, buckets)| buckets.lines()).sum(),
        }
    }

    /// Leaves so many lines, or less: histograms stay whole.
    fn truncate(&mut self, mut room: usize) {
        match self {
            Self::Counter(series) | Self::Gauge(series) => series.truncate(room),
            Self::Histogram(series) => series.retain(|(_, buckets)| {
                let fits = buckets.lines() <= room;
                room = if fits { room - buckets.lines() } else { 0 };
                fits
            }),
        }
    }

    fn kind(&self) -> MetricType {
        match self {
            Self::Counter(_) => MetricType::Counter,
            Self::Gauge(_) => MetricType::Gauge,
            Self::Histogram(_) => MetricType::Histogram,
        }
    }

    fn encode(&self, metric: MetricEncoder<'_>) -> fmt::Result {
        match self {
            Self::Counter(series) => {
                each(series, metric, |value, mut it| it.encode_counter::<NoLabelSet, _, u64>(value, None))
            }
            Self::Gauge(series) => each(series, metric, |value, mut it| it.encode_gauge(value)),
            Self::Histogram(series) => each(series, metric, |Buckets { buckets, sum }, mut it| {
                let count = buckets.iter().map(|(_, count)| count).sum();
                it.encode_histogram::<NoLabelSet>(*sum, count, buckets, None)
            }),
        }
    }
}

impl Buckets {
    fn lines(&self) -> usize {
        self.buckets.len() + 2
    }
}

fn each<T>(
    series: &[(Labels, T)],
    mut metric: MetricEncoder<'_>,
    encode: impl Fn(&T, MetricEncoder<'_>) -> fmt::Result,
) -> fmt::Result {
    // An empty set of labels can't be encoded as one.
    for (labels, value) in series.iter().filter(|(labels, _)| !labels.is_empty()) {
        encode(value, metric.encode_family(labels)?)?;
    }
    match series.iter().find(|(labels, _)| labels.is_empty()) {
        Some((_, value)) => encode(value, metric),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gateway_agent_api::Kind as ObjectKind;
    use serde_json::json;

    fn label(value: &str) -> Labels {
        vec![("reason", value.to_owned())]
    }

    #[test]
    fn families_become_text() {
        let reasons = vec![(label("no_route"), 3.0), (label("a\"b\n"), 0.0)];
        let families = vec![
            Family::counter("packets_refused", "Packets refused", reasons),
            Family::value("generation", "Times", 2.0),
        ];
        let page = text(capped(families, 10)).unwrap();
        assert_eq!(
            page,
            "# HELP gateway_agent_packets_refused Packets refused\n\
             # TYPE gateway_agent_packets_refused counter\n\
             gateway_agent_packets_refused_total{reason=\"no_route\"} 3.0\n\
             gateway_agent_packets_refused_total{reason=\"a\\\"b\\n\"} 0.0\n\
             # HELP gateway_agent_generation Times\n\
             # TYPE gateway_agent_generation gauge\n\
             gateway_agent_generation 2.0\n\
             # HELP gateway_agent_series_left_out Series that have no room on this page\n\
             # TYPE gateway_agent_series_left_out gauge\n\
             gateway_agent_series_left_out 0.0\n\
             # EOF\n"
        );
    }

    #[test]
    fn there_is_room_for_so_many_series() {
        let family = |name, number: usize| Family::gauge(name, "h", vec![(Labels::new(), 1.0); number]);
        let page = capped(vec![family("a", 2), family("b", 3), family("c", 1)], 4);
        let numbers: Vec<_> = page.iter().map(|family| (family.name, family.series.len())).collect();
        assert_eq!(numbers, [("a", 2), ("b", 2), ("c", 0), ("series_left_out", 1)]);
        assert_eq!(format!("{:?}", page[3].series), "Gauge([([], 2.0)])");
    }

    #[test]
    fn conditions_are_told_apart() {
        let gateway =
            ObjectRef { kind: ObjectKind::Gateway, namespace: Some("shop".into()), name: "edge".into() };
        let condition = |kind: &str, status: &str| json!({"type": kind, "status": status, "reason": "R"});
        let status = json!({
            "conditions": [condition("Accepted", "True")],
            "listeners": [{"name": "tcp", "conditions": [condition("Programmed", "False")]}],
        });
        let family = conditions([(&gateway, &status)].into_iter());
        let Series::Gauge(series) = family.series else { panic!("conditions are gauges") };
        let values: Vec<_> = series.iter().map(|(labels, value)| (labels[4].1.as_str(), *value)).collect();
        assert_eq!(values, [("Accepted", 1.0), ("Programmed", 0.0)]);
    }
}
