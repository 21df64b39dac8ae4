//! Which of several controllers writes: the one that holds a Lease. Pure: what is seen in, what to do out.

use std::time::Duration;

use semver::Version;
use tokio::time::Instant;

/// A controller that wants to lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub identity: String,
    pub version: Version,
}

/// The Lease as it was last read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// None: released.
    pub holder: Option<String>,
    /// Of the holder, or of who released it; None if somebody else wrote the Lease.
    pub version: Option<Version>,
    /// How long it is held after each renewal.
    pub duration: Duration,
    /// When we first saw the latest renewal, by our own clock: clocks of nodes differ.
    pub since: Instant,
}

/// What to do about the Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Take,
    Renew,
    /// Somebody else holds it, and may do so until then at least.
    Wait(Instant),
}

/// How long a Lease is held without a renewal, how soon the holder stops writing without one, and how often it
/// renews: those of Kubernetes' own components.
pub const HELD: Duration = Duration::from_secs(15);
pub const SAFE: Duration = Duration::from_secs(10);
pub const RENEWED: Duration = Duration::from_secs(2);

/// A holder of a higher version that is gone without releasing leaves its Lease to others of its version for as long.
/// Only a rollback after a crash has none of those.
const RESERVED: Duration = Duration::from_mins(1);

/// What a candidate has to do. A lower version doesn't take a Lease from a higher one: while versions are mixed,
/// statuses must not go back and forth.
pub fn decide(me: &Candidate, seen: &Seen, now: Instant) -> Decision {
    match &seen.holder {
        None => Decision::Take,
        Some(holder) if *holder == me.identity => Decision::Renew,
        Some(_) => {
            let is_higher = seen.version.as_ref().is_some_and(|version| *version > me.version);
            let reserved = if is_higher { RESERVED } else { Duration::ZERO };
            let free_at = seen.since + seen.duration + reserved;
            if now >= free_at { Decision::Take } else { Decision::Wait(free_at) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_are_taken_when_they_are_free() {
        let me = Candidate { identity: "me".into(), version: Version::new(1, 2, 0) };
        let since = Instant::now();
        let seconds = Duration::from_secs;
        let at = |after: u64| since + seconds(after);
        let cases = [
            ("released", None, Some("9.0.0"), 0, Decision::Take),
            ("ours", Some("me"), Some("1.2.0"), 0, Decision::Renew),
            ("ours, long ago", Some("me"), Some("1.2.0"), 100, Decision::Renew),
            ("held", Some("you"), Some("1.2.0"), 14, Decision::Wait(at(15))),
            ("no longer held", Some("you"), Some("1.2.0"), 15, Decision::Take),
            ("held by a lower version", Some("you"), Some("1.1.9"), 14, Decision::Wait(at(15))),
            ("no longer held by a lower version", Some("you"), Some("1.1.9"), 15, Decision::Take),
            ("held by a higher version", Some("you"), Some("1.10.0"), 15, Decision::Wait(at(75))),
            ("a higher version is gone", Some("you"), Some("1.10.0"), 75, Decision::Take),
            ("a release is higher than its candidates", Some("you"), Some("1.2.0-rc.1"), 15, Decision::Take),
            ("of an unknown version", Some("you"), None, 15, Decision::Take),
        ];
        for (case, holder, version, after, expected) in cases {
            let seen = Seen {
                holder: holder.map(str::to_owned),
                version: version.map(|version| Version::parse(version).unwrap()),
                duration: seconds(15),
                since,
            };
            assert_eq!(decide(&me, &seen, at(after)), expected, "{case}");
        }
    }
}
