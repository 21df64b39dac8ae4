//! What is wrong with the rules of a route, and the conditions that say so.

use std::fmt::Display;

use gateway_agent_tables::http::HttpService;

use super::{Compiled, Rules};
use crate::backend::{Resolved, Unresolved};
use crate::content::Verdict;
use crate::route::Route;
use crate::status::Condition;
use crate::stream;

/// What was found while the rules of one route were compiled.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// One for each rule, in order.
    rules: Vec<RuleFindings>,
}

/// What was found in one rule. Fields are named as the rule has them: `matches[0].path`.
#[derive(Debug)]
pub(super) struct RuleFindings {
    /// `rule 0`, or `rule 0 (its name)`.
    name: String,
    index: usize,
    faults: Vec<Fault>,
    unresolved: Vec<Unresolved>,
    services: Vec<(HttpService, String)>,
}

/// A value that can't be served.
#[derive(Debug)]
struct Fault {
    reason: Reason,
    message: String,
}

/// Reasons of Accepted and PartiallyInvalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    UnsupportedValue,
    IncompatibleFilters,
}

impl Reason {
    fn name(self) -> &'static str {
        match self {
            Self::UnsupportedValue => "UnsupportedValue",
            Self::IncompatibleFilters => "IncompatibleFilters",
        }
    }
}

impl Findings {
    /// The findings of the next rule.
    pub(super) fn rule(&mut self, name: Option<&str>) -> &mut RuleFindings {
        let index = self.rules.len();
        let name = match name {
            Some(name) => format!("rule {index} ({name})"),
            None => format!("rule {index}"),
        };
        let rule =
            RuleFindings { name, index, faults: Vec::new(), unresolved: Vec::new(), services: Vec::new() };
        self.rules.push(rule);
        self.rules.last_mut().expect("a rule was pushed")
    }

    /// The conditions that follow.
    pub(super) fn settle(self, route: &Route<'_>, rules: Rules) -> (Compiled, Verdict) {
        let unresolved: Vec<_> = self.rules.iter().flat_map(|rule| &rule.unresolved).collect();
        let refs = match unresolved.first() {
            None => stream::resolved_refs(std::iter::empty()),
            Some(first) => {
                let causes = listed(unresolved.iter().map(|one| one.message.as_str()));
                Condition::no("ResolvedRefs", first.reason, causes)
            }
        };
        let bad: Vec<_> = self.rules.iter().filter(|rule| !rule.faults.is_empty()).collect();
        let faults: Vec<_> = bad.iter().flat_map(|rule| &rule.faults).collect();
        let (mut refusal, mut partial) = (None, None);
        if let Some(first) = faults.first() {
            let (object, causes) = (&route.object, listed(faults.iter().map(|fault| fault.message.as_str())));
            if bad.len() == self.rules.len() {
                let message = format!("no rule of {object} can be served: {causes}");
                refusal = Some(Box::new(Condition::no("Accepted", first.reason.name(), message)));
            } else {
                // The API prescribes how this begins.
                let indices = bad.iter().map(|rule| rule.index.to_string()).collect::<Vec<_>>().join(", ");
                let message =
                    format!("Dropped Rule {indices} of {object}, what needs it is refused: {causes}");
                partial = Some(Box::new(Condition::yes("PartiallyInvalid", first.reason.name(), message)));
            }
        }
        let services = self.rules.into_iter().flat_map(|rule| rule.services).collect();
        (Compiled { rules, services }, Verdict { refs, refusal, partial })
    }
}

/// Several causes as one text that a condition's message can hold: 32,768 characters, by the API.
fn listed<'m>(causes: impl ExactSizeIterator<Item = &'m str>) -> String {
    /// Together with what stands before them, 16 texts of this many characters are half of what is allowed.
    const LONGEST: usize = 1000;
    const MOST: usize = 16;
    let more = causes.len().saturating_sub(MOST);
    let mut parts: Vec<_> = causes
        .take(MOST)
        .map(|cause| match cause.char_indices().nth(LONGEST) {
            Some((end, _)) => format!("{} ...", &cause[..end]),
            None => cause.to_owned(),
        })
        .collect();
    if more > 0 {
        parts.push(format!("and {more} more"));
    }
    parts.join("; ")
}

impl RuleFindings {
    pub(super) fn index(&self) -> usize {
        self.index
    }

    /// Notes a value that can't be served; `cause` says why, and what to write instead.
    pub(super) fn fault(&mut self, field: impl Display, reason: Reason, cause: impl Display) {
        let message = format!("{}, {field}: {cause}", self.name);
        self.faults.push(Fault { reason, message });
    }

    /// Notes a value that the API may know by now, or that it never had.
    pub(super) fn unsupported(&mut self, field: impl Display, cause: impl Display) {
        self.fault(field, Reason::UnsupportedValue, cause);
    }

    /// The value, or None and a fault.
    pub(super) fn check<T, E: Display>(&mut self, field: impl Display, parsed: Result<T, E>) -> Option<T> {
        parsed.map_err(|cause| self.unsupported(field, cause)).ok()
    }

    /// Findings of a part of the rule, to be told apart from those of the whole until they are absorbed.
    pub(super) fn part(&self) -> Self {
        Self {
            name: self.name.clone(),
            index: self.index,
            faults: Vec::new(),
            unresolved: Vec::new(),
            services: Vec::new(),
        }
    }

    pub(super) fn absorb(&mut self, part: Self) {
        self.faults.extend(part.faults);
        self.unresolved.extend(part.unresolved);
        self.services.extend(part.services);
    }

    pub(super) fn is_faulty(&self) -> bool {
        !self.faults.is_empty()
    }

    /// Notes where a reference leads; None if it leads nowhere.
    pub(super) fn reference<T>(&mut self, field: impl Display, resolved: Result<T, Unresolved>) -> Option<T> {
        match resolved {
            Ok(target) => Some(target),
            Err(Unresolved { reason, message }) => {
                let message = format!("{}, {field}: {message}", self.name);
                self.unresolved.push(Unresolved { reason, message });
                None
            }
        }
    }

    /// Notes that the tables need the endpoints of a Service's port.
    pub(super) fn needs(&mut self, service: HttpService, resolved: &Resolved) {
        self.services.push((service, resolved.port_name.clone()));
    }
}

/// Quotes a value that isn't known and lists those that are.
pub(super) fn unknown(value: &str, known: &str) -> String {
    format!("{value:?} is not supported; use {known}")
}
