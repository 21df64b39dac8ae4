//! What the demo says, and the table at its end.

use std::fmt::Display;
use std::io::{IsTerminal as _, stdout};
use std::time::Duration;

/// Claims made so far.
#[derive(Debug, Default)]
pub(super) struct Report {
    claims: Vec<Claim>,
}

#[derive(Debug)]
struct Claim {
    what: String,
    held: bool,
    seen: String,
}

impl Report {
    /// States whether something held, with what was seen of it.
    pub(super) fn claim(&mut self, what: &str, held: bool, seen: impl Display) {
        let claim = Claim { what: what.to_owned(), held, seen: seen.to_string() };
        println!("  {} {}: {}", claim.mark(), claim.what, claim.seen);
        self.claims.push(claim);
    }

    pub(super) fn all_held(&self) -> bool {
        !self.claims.is_empty() && self.claims.iter().all(|claim| claim.held)
    }

    pub(super) fn table(&self, took: Duration) {
        let width = self.claims.iter().map(|claim| claim.what.len()).max().unwrap_or_default();
        println!("\n{}", bold("What was shown"));
        for claim in &self.claims {
            // Only the first line of an error with a log behind it.
            let seen = claim.seen.lines().next().unwrap_or_default();
            println!("  {}  {:width$}  {seen}", claim.mark(), claim.what);
        }
        let held = self.claims.iter().filter(|claim| claim.held).count();
        println!("\n{held} of {} held, in {took:.0?}", self.claims.len());
    }
}

pub(super) fn title(text: &str) {
    println!("\n{}", bold(text));
}

/// A paragraph, indented.
pub(super) fn say(text: impl Display) {
    for line in text.to_string().lines() {
        println!("  {line}");
    }
}

impl Claim {
    fn mark(&self) -> String {
        let (word, color) = if self.held { ("held  ", 32) } else { ("FAILED", 31) };
        if stdout().is_terminal() { format!("\x1b[{color}m{word}\x1b[0m") } else { word.to_owned() }
    }
}

fn bold(text: &str) -> String {
    if stdout().is_terminal() { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
}
