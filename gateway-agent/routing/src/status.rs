//! Conditions and the statuses made of them.

use gateway_agent_api::{ObjectMeta, ObjectRef};
use serde_json::{Value, json};

use crate::Problem;

/// One condition of a status. It has no time: see [`crate::Outcome::statuses`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) kind: &'static str,
    pub(crate) status: bool,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    /// It only repeats or sums up what another condition says.
    derived: bool,
}

impl Condition {
    pub(crate) fn yes(kind: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self { kind, status: true, reason, message: message.into(), derived: false }
    }

    pub(crate) fn no(kind: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self { kind, status: false, reason, message: message.into(), derived: false }
    }

    /// Marks a condition that follows from another one, so that each cause is one problem.
    pub(crate) fn derived(self) -> Self {
        Self { derived: true, ..self }
    }

    /// Something has to be mended, and no other condition says so.
    fn is_problem(&self) -> bool {
        !self.derived && self.is_bad()
    }

    fn is_bad(&self) -> bool {
        match self.kind {
            // The conditions of negative polarity.
            "Conflicted" | "PartiallyInvalid" => self.status,
            _ => !self.status,
        }
    }
}

/// Conditions as they stand in a status, all for the generation of the object that was looked at.
pub(crate) fn conditions(conditions: &[Condition], metadata: &ObjectMeta) -> Value {
    conditions_of(conditions, metadata.generation)
}

/// The same for an object of this generation.
pub(crate) fn conditions_of(conditions: &[Condition], generation: Option<i64>) -> Value {
    conditions
        .iter()
        .map(|condition| {
            let mut json = json!({
                "type": condition.kind,
                "status": if condition.status { "True" } else { "False" },
                "reason": condition.reason,
                "message": condition.message,
            });
            if let Some(generation) = generation {
                json["observedGeneration"] = generation.into();
            }
            json
        })
        .collect()
}

/// A problem for each condition that is the first to say that something is wrong.
pub(crate) fn problems(
    object: &ObjectRef,
    part: Option<&str>,
    conditions: &[Condition],
) -> impl Iterator<Item = Problem> {
    conditions.iter().filter(|condition| condition.is_problem()).map(move |condition| Problem {
        object: object.clone(),
        part: part.map(str::to_owned),
        condition: Some(condition.kind),
        reason: condition.reason,
        message: condition.message.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_shown_as_the_api_has_them() {
        let metadata = ObjectMeta { generation: Some(7), ..ObjectMeta::default() };
        let accepted = Condition::yes("Accepted", "Accepted", "all is well");
        let programmed = Condition::no("Programmed", "Pending", "not yet");
        assert_eq!(
            conditions(&[accepted.clone(), programmed], &metadata),
            json!([
                {
                    "type": "Accepted",
                    "status": "True",
                    "reason": "Accepted",
                    "message": "all is well",
                    "observedGeneration": 7,
                },
                {
                    "type": "Programmed",
                    "status": "False",
                    "reason": "Pending",
                    "message": "not yet",
                    "observedGeneration": 7,
                },
            ])
        );
        let of_a_file = conditions(&[accepted], &ObjectMeta::default());
        assert_eq!(of_a_file[0].get("observedGeneration"), None);
    }
}
