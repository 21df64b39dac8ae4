//! Which nodes' agents are still there. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::node_writer::heartbeat;

/// When each node was heard of last, by our own clock: clocks of nodes differ.
#[derive(Debug, Default)]
pub struct Life {
    /// The latest resourceVersion of each GatewayNode, and since when it is known.
    heard: BTreeMap<String, (String, Instant)>,
}

/// So many heartbeats may be missed: a restart of an agent, or of the API server, is no silence.
const MISSED: u32 = 4;

impl Life {
    /// A GatewayNode was received. True if that ends a silence.
    pub fn hear(&mut self, node: &str, resource_version: &str, now: Instant) -> bool {
        let was_silent = self.silence(node, now).is_some();
        match self.heard.get_mut(node) {
            Some((known, _)) if known == resource_version => return false,
            Some(heard) => *heard = (resource_version.to_owned(), now),
            None => {
                self.heard.insert(node.to_owned(), (resource_version.to_owned(), now));
            }
        }
        was_silent
    }

    pub fn forget(&mut self, node: &str) {
        self.heard.remove(node);
    }

    /// We may have been deaf until now: nobody counts as silent for that.
    pub fn excuse(&mut self, now: Instant) {
        self.heard.values_mut().for_each(|(_, since)| *since = now);
    }

    /// For how long at least a node has told nothing, if that is too long.
    ///
    /// When all are silent, the fault is likelier the API server's or ours; and what they did last goes on anyway.
    pub fn silence(&self, node: &str, now: Instant) -> Option<Duration> {
        let patience = self.patience();
        let is_silent = |(_, since): &(String, Instant)| now >= *since + patience;
        let silent = self.heard.get(node).is_some_and(is_silent);
        (silent && !self.heard.values().all(is_silent)).then_some(patience)
    }

    /// When the next node will be silent.
    pub fn next(&self, now: Instant) -> Option<Instant> {
        let patience = self.patience();
        self.heard.values().map(|(_, since)| *since + patience).filter(|end| *end > now).min()
    }

    fn patience(&self) -> Duration {
        heartbeat(self.heard.len()) * MISSED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_that_are_gone_are_told_from_quiet_ones() {
        let begin = Instant::now();
        let after = |seconds| begin + Duration::from_secs(seconds);
        let mut life = Life::default();
        assert!(!life.hear("a", "1", begin) && !life.hear("b", "2", begin));
        assert_eq!(life.next(begin), Some(after(40)));
        assert!(!life.hear("a", "3", after(30)));
        assert!(!life.hear("b", "2", after(30)), "the same once more is no sign of life");
        assert_eq!((life.silence("a", after(39)), life.silence("b", after(39))), (None, None));
        let patience = Some(Duration::from_secs(40));
        assert_eq!((life.silence("a", after(40)), life.silence("b", after(40))), (None, patience));
        assert_eq!(life.next(after(40)), Some(after(70)));
        assert_eq!(life.silence("b", after(70)), None, "all are: the fault is likelier elsewhere");
        assert!(!life.hear("a", "4", after(70)));
        assert_eq!(life.silence("b", after(71)), patience);
        assert!(life.hear("b", "5", after(72)));
        life.excuse(after(200));
        assert_eq!(life.silence("a", after(239)), None);
        life.hear("b", "6", after(239));
        assert_eq!(life.silence("a", after(240)), patience);
        life.forget("a");
        assert_eq!((life.silence("a", after(240)), life.next(after(300))), (None, None));
    }
}
