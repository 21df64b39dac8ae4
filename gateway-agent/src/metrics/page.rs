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
    pub kind: Kind,
    pub series: Vec<(Labels, f64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
}

const PREFIX: &str = "gateway_agent";

/// Series on a page: what a scrape of a second can carry, whatever the cluster holds.
pub const MOST_SERIES: usize = 10_000;

impl Family {
    pub fn gauge(name: &'static str, help: &'static str, series: Vec<(Labels, f64)>) -> Self {
        Self { name, help, kind: Kind::Gauge, series }
    }

    pub fn counter(name: &'static str, help: &'static str, series: Vec<(Labels, f64)>) -> Self {
        Self { name, help, kind: Kind::Counter, series }
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
        left_out += family.series.len().saturating_sub(room);
        family.series.truncate(room);
        room -= family.series.len();
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
            let kind = match family.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
            };
            let mut metric = encoder.encode_descriptor(family.name, family.help, None, kind)?;
            for (labels, value) in &family.series {
                if labels.is_empty() {
                    family.kind.encode(&mut metric, *value)?;
                } else {
                    family.kind.encode(&mut metric.encode_family(labels)?, *value)?;
                }
            }
        }
        Ok(())
    }
}

impl Kind {
    fn encode(self, metric: &mut MetricEncoder<'_>, value: f64) -> fmt::Result {
        match self {
            Self::Counter => metric.encode_counter::<NoLabelSet, _, u64>(&value, None),
            Self::Gauge => metric.encode_gauge(&value),
        }
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
        assert_eq!(format!("{}", page[3].series[0].1), "2");
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
        let values: Vec<_> =
            family.series.iter().map(|(labels, value)| (labels[4].1.as_str(), *value)).collect();
        assert_eq!(values, [("Accepted", 1.0), ("Programmed", 0.0)]);
    }
}
