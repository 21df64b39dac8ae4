//! What /metrics says of a controller. The one that leads has the conditions of all objects.

use super::Controller;
use crate::metrics::{Family, Figures, conditions};
use crate::version::version;

impl Controller {
    pub(super) fn figures(&self) -> Figures {
        let info = vec![("version", version().to_owned()), ("identity", self.identity.clone())];
        let truth = |it: bool| if it { 1.0 } else { 0.0 };
        let number = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        let reachable = self.cluster.is_reachable();
        let mut families = vec![
            Family::gauge("info", "The controller that answers", vec![(info, 1.0)]),
            Family::value("leader", "1 if this controller writes statuses", truth(self.leads())),
            Family::value("objects_reachable", "1 unless the API server can't be read", truth(reachable)),
            Family::value(
                "problems",
                "What is wrong; the log has the words",
                number(self.notices.all().count()),
            ),
            Family::counter(
                "statuses_written",
                "Statuses that this controller has written",
                vec![(Vec::new(), f64::from(u32::try_from(self.written).unwrap_or(u32::MAX)))],
            ),
        ];
        if self.mended.is_some() {
            families.push(conditions(self.all_desired()));
        }
        Figures { ready: self.cluster.is_complete(), families }
    }
}

#[cfg(test)]
mod tests {
    /// The page of an agent is compared when it runs; a controller needs an API server for that.
    #[test]
    fn the_reference_names_what_a_controller_says() {
        let (source, page) = (include_str!("figures.rs"), include_str!("../../../docs/METRICS.md"));
        let code = source.split("#[cfg(test)]").next().unwrap_or_default();
        let (_, section) = page.split_once("## A controller's page\n").expect("a section of its own");
        let section = section.split("\n## ").next().unwrap_or_default();
        let rows: Vec<_> =
            section.lines().filter_map(|line| line.strip_prefix("| `gateway_agent_")).collect();
        let names =
            rows.iter().map(|row| row.split('`').next().unwrap_or_default().trim_end_matches("_total"));
        for name in names.filter(|name| *name != "condition") {
            assert!(code.contains(&format!("\"{name}\"")), "{name} is not said");
        }
        assert_eq!(rows.len(), code.matches("Family::").count() + 1, "and the conditions");
    }
}
