//! A trace as text.

use std::fmt;
use std::net::SocketAddr;

use super::{Answered, Other, Outcome, Portion, Trace, Way};

/// The column in which values begin.
const COLUMN: usize = 12;

/// Endpoints that are listed; of the others the number is.
const LISTED: usize = 8;

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.request)?;
        if self.ways.is_empty() {
            let there = if self.elsewhere.is_empty() {
                "there is none for HTTP anywhere".to_owned()
            } else {
                format!("they are at {}", self.elsewhere.join(", "))
            };
            return writeln!(f, "  no listener has port {} there; {there}", self.port);
        }
        self.ways.iter().try_for_each(|way| write!(f, "{way}"))
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        line(f, "at", list(&self.frontends))?;
        match &self.listener {
            Some(listener) => line(f, "listener", listener)?,
            None if !self.listeners.is_empty() => line(f, "listener", "none has the host")?,
            None => {}
        }
        for other in self.listeners.iter().filter(|other| Some(&other.name) != self.listener.as_ref()) {
            let why = if other.matches { "less specific" } else { "not the host" };
            line(f, "", format!("not {}, for {}: {why}", other.name, other.host))?;
        }
        if let (Some(rule), Some(matched)) = (&self.rule, &self.matched) {
            line(f, "rule", format!("{rule}: {matched}"))?;
        } else if self.listener.is_some() {
            line(f, "rule", "none")?;
        }
        for filter in &self.filters {
            line(f, "filter", filter)?;
        }
        match &self.outcome {
            Outcome::Answered(answered) => line(f, "answer", answered)?,
            Outcome::Forwarded { shares, request_timeout, attempt_timeout } => {
                for (name, limit) in [("request", request_timeout), ("each try", attempt_timeout)] {
                    if let Some(limit) = limit {
                        line(f, "time", format!("{name}: {limit}"))?;
                    }
                }
                shares.iter().try_for_each(|share| write!(f, "{share}"))?;
            }
        }
        self.others.iter().try_for_each(|other| write!(f, "{other}"))
    }
}

impl fmt::Display for Portion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        line(f, &self.share, &self.backend)?;
        self.filters.iter().try_for_each(|filter| line(f, "", format!("filter {filter}")))?;
        if let Some(answer) = &self.answer {
            line(f, "", answer)?;
        }
        self.asks.iter().try_for_each(|service| line(f, "", format!("if {service} allows it")))?;
        self.sends.iter().try_for_each(|sent| line(f, "", format!("> {sent}")))?;
        if !self.endpoints.is_empty() {
            line(f, "", format!("to {}", list(&self.endpoints)))?;
        }
        Ok(())
    }
}

impl fmt::Display for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.status, self.cause)?;
        self.location.iter().try_for_each(|location| write!(f, ", to {location}"))
    }
}

impl fmt::Display for Other {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = self.unmet.as_deref().unwrap_or("it would be met, but comes after");
        line(f, "not", format!("{}: {}", self.rule, self.wanted))?;
        line(f, "", why)
    }
}

fn line(f: &mut fmt::Formatter<'_>, name: &str, value: impl fmt::Display) -> fmt::Result {
    writeln!(f, "  {name:<COLUMN$}{value}")
}

fn list(addresses: &[SocketAddr]) -> String {
    let mut shown: Vec<_> = addresses.iter().take(LISTED).map(ToString::to_string).collect();
    if addresses.len() > LISTED {
        shown.push(format!("and {} more", addresses.len() - LISTED));
    }
    shown.join(", ")
}
