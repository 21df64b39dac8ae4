//! What /metrics says of an agent, beside what the kernel counts.

use std::collections::BTreeMap;

use super::Agent;
use crate::metrics::{Family, Figures, conditions};
use crate::version::version;

impl Agent {
    pub(super) fn figures(&self) -> Figures {
        let snapshot = self.compiler.snapshot();
        let mut objects: BTreeMap<&str, usize> = BTreeMap::new();
        for (object, _) in snapshot.objects() {
            *objects.entry(object.kind.name()).or_default() += 1;
        }
        let mut problems: BTreeMap<&str, usize> = BTreeMap::new();
        for notice in self.notices.all() {
            *problems.entry(notice.origin.name()).or_default() += 1;
        }
        let failed = self.hooks.all().count() - self.hooks.attached();
        let info = vec![("version", version().to_owned()), ("node", snapshot.node.name.clone())];
        Figures {
            ready: self.is_ready(),
            families: vec![
                Family::gauge("info", "The agent that answers", vec![(info, 1.0)]),
                Family::value(
                    "tables_generation",
                    "Times that tables were compiled",
                    number(usize::try_from(self.applied.generation).unwrap_or(usize::MAX)),
                ),
                Family::value(
                    "tables_applied_timestamp_seconds",
                    "When tables were given to the kernel",
                    self.applied.at.as_duration().as_secs_f64(),
                ),
                Family::value(
                    "tables_apply_seconds",
                    "How long it took to give the latest tables to the kernel",
                    self.applied.took.as_secs_f64(),
                ),
                Family::value(
                    "frontends",
                    "Frontends of the latest tables",
                    number(self.compiler.outcome().tables.l4.frontends.len()),
                ),
                Family::value(
                    "devices_attached",
                    "Devices whose packets the programs see",
                    number(self.hooks.attached()),
                ),
                Family::value("devices_failed", "Devices that could not be attached to", number(failed)),
                Family::value(
                    "objects_reachable",
                    "1 unless the API server, or a file, can't be read",
                    if self.input.is_reachable() && self.faults.files.is_none() { 1.0 } else { 0.0 },
                ),
                by(
                    "problems",
                    "What is wrong, by where it comes from; the log has the words",
                    "origin",
                    &problems,
                ),
                by("objects", "Objects that are known", "kind", &objects),
                conditions(self.statuses.all()),
            ],
        }
    }
}

fn by(
    name: &'static str,
    help: &'static str,
    label: &'static str,
    numbers: &BTreeMap<&str, usize>,
) -> Family {
    let series = numbers.iter().map(|(value, count)| (vec![(label, (*value).to_owned())], number(*count)));
    Family::gauge(name, help, series.collect())
}

fn number(count: usize) -> f64 {
    u32::try_from(count).unwrap_or(u32::MAX).into()
}
