//! Holds the Lease, or waits for it: what [`super::leader`] decides, done on an API server.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt};
use semver::Version;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::leader::{Candidate, Decision, HELD, RENEWED, SAFE, Seen, decide};
use crate::source::cluster::cause;

/// Of the Lease, whatever the release: releases compete for one.
pub const LEASE: &str = "gateway-agent-controller";

/// The version of who wrote the Lease last.
const VERSION: &str = "gateway-agent.io/version";

/// A request that takes longer doesn't help to keep a Lease.
const PATIENCE: Duration = Duration::from_secs(5);

/// A candidate on its way.
pub struct Campaign {
    leases: Api<Lease>,
    me: Candidate,
    /// The Lease's latest resourceVersion, and when we saw it first.
    seen: Option<(String, Instant)>,
}

/// How a round went.
enum Round {
    /// We hold the Lease, and may write until then.
    Leads(Instant),
    /// Somebody else holds it.
    Waits(String),
}

impl Campaign {
    pub fn new(client: Client, namespace: &str, me: Candidate) -> Self {
        Self { leases: Api::namespaced(client, namespace), me, seen: None }
    }

    /// Tells until when this candidate may write (None: not at all), for as long as somebody listens.
    pub async fn run(mut self, lead: watch::Sender<Option<Instant>>) {
        let mut holder = None;
        while !lead.is_closed() {
            match timeout(PATIENCE, self.round()).await {
                Ok(Ok(Round::Leads(until))) => {
                    if lead.send_replace(Some(until)).is_none() {
                        info!(event = "leading", "{} holds Lease {LEASE}: writes statuses", self.me.identity);
                    }
                    holder = None;
                }
                Ok(Ok(Round::Waits(other))) => {
                    if lead.send_replace(None).is_some() || holder.as_ref() != Some(&other) {
                        info!(event = "standing-by", "{other} holds Lease {LEASE}: stands by");
                    }
                    holder = Some(other);
                }
                Ok(Err(error)) => warn!("Lease {LEASE}: {}; it is tried again", cause(&error)),
                Err(_) => warn!("Lease {LEASE}: no answer from the API server; it is tried again"),
            }
            sleep(RENEWED).await;
        }
    }

    async fn round(&mut self) -> kube::Result<Round> {
        let now = Instant::now();
        let Some(lease) = self.leases.get_opt(LEASE).await? else {
            let lease = self.claim(Lease::default());
            self.leases.create(&PostParams::default(), &lease).await?;
            return Ok(Round::Leads(now + SAFE));
        };
        let seen = self.see(&lease, now);
        match decide(&self.me, &seen, now) {
            Decision::Wait(_) => Ok(Round::Waits(seen.holder.unwrap_or_default())),
            Decision::Take | Decision::Renew => {
                // Its resourceVersion is the one that was read: whoever was faster wins.
                self.leases.replace(LEASE, &PostParams::default(), &self.claim(lease)).await?;
                Ok(Round::Leads(now + SAFE))
            }
        }
    }

    fn see(&mut self, lease: &Lease, now: Instant) -> Seen {
        let version = lease.resource_version().unwrap_or_default();
        let since = match &self.seen {
            Some((seen, since)) if *seen == version => *since,
            _ => now,
        };
        self.seen = Some((version, since));
        let spec = lease.spec.clone().unwrap_or_default();
        let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        Seen {
            holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
            version: lease.annotations().get(VERSION).and_then(|text| Version::parse(text).ok()),
            duration: seconds.map_or(HELD, Duration::from_secs),
            since,
        }
    }

    /// The Lease as it is when we hold it.
    fn claim(&self, mut lease: Lease) -> Lease {
        let now = MicroTime(k8s_openapi::jiff::Timestamp::now());
        let before = lease.spec.unwrap_or_default();
        let is_mine = before.holder_identity.as_ref() == Some(&self.me.identity);
        let transitions = before.lease_transitions.unwrap_or_default();
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(self.me.identity.clone()),
            lease_duration_seconds: i32::try_from(HELD.as_secs()).ok(),
            acquire_time: before.acquire_time.filter(|_| is_mine).or_else(|| Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(if is_mine { transitions } else { transitions.saturating_add(1) }),
            preferred_holder: before.preferred_holder,
            strategy: before.strategy,
        });
        lease.metadata.name = Some(LEASE.to_owned());
        let annotations = lease.metadata.annotations.get_or_insert_with(BTreeMap::new);
        annotations.insert(VERSION.to_owned(), self.me.version.to_string());
        lease
    }
}

/// Lets others take the Lease at once, if `identity` holds it.
pub async fn release(client: Client, namespace: &str, identity: &str) -> kube::Result<()> {
    let leases: Api<Lease> = Api::namespaced(client, namespace);
    let Some(mut lease) = leases.get_opt(LEASE).await? else { return Ok(()) };
    let Some(spec) = lease.spec.as_mut().filter(|it| it.holder_identity.as_deref() == Some(identity)) else {
        return Ok(());
    };
    spec.holder_identity = None;
    leases.replace(LEASE, &PostParams::default(), &lease).await?;
    Ok(())
}
