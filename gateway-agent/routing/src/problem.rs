//! What is wrong with an object, for people.

use std::fmt;

use gateway_agent_api::ObjectRef;

/// One thing wrong with one object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    pub object: ObjectRef,
    /// The part of the object that it is about, such as `listener web` or `parent infra/edge`.
    pub part: Option<String>,
    /// The condition that says so in the object's status; None where the status has no place for it.
    pub condition: Option<&'static str>,
    /// In CamelCase, as in conditions.
    pub reason: &'static str,
    /// The cause and the fix, naming the objects involved.
    pub message: String,
}

impl Problem {
    /// What comes before all problems of an object, and after those of objects before it.
    pub(crate) fn first_of(object: &ObjectRef) -> Self {
        let (object, message) = (object.clone(), String::new());
        Self { object, part: None, condition: None, reason: "", message }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.object)?;
        if let Some(part) = &self.part {
            write!(f, ", {part}")?;
        }
        write!(f, ": {}: {}", self.reason, self.message)
    }
}
