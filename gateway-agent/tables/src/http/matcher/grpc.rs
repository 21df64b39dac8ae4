//! The matches of GRPCRoutes on one host name, by service and method.

use std::sync::Arc;

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::MatchIndex;
use super::candidate::Candidate;
use super::head::{RequestFields, RequestHead};
use crate::http::{GrpcMatch, GrpcNameMatch, HttpRule};

/// Matches, in order of precedence; most often one.
type Bucket = SmallVec<[Candidate<GrpcMatch>; 1]>;

/// Matches by service: exact ones come first, then regular expressions, then those of any service.
#[derive(Debug, Default)]
pub(super) struct Services {
    exact: HashMap<Box<str>, Methods>,
    patterns: Bucket,
    any: Methods,
}

/// Matches by method: exact ones come first, then all others.
#[derive(Debug, Default)]
struct Methods {
    exact: HashMap<Box<str>, Bucket>,
    others: Bucket,
}

impl MatchIndex<GrpcMatch> for Services {
    fn of(candidates: Vec<(&GrpcMatch, Candidate<GrpcMatch>)>) -> Self {
        let mut services = Self::default();
        for (GrpcMatch { service, method, .. }, candidate) in candidates {
            match service {
                GrpcNameMatch::Exact(name) => {
                    services.exact.entry(name.as_str().into()).or_default().insert(method, candidate);
                }
                GrpcNameMatch::Pattern(_) => services.patterns.push(candidate),
                GrpcNameMatch::Any => services.any.insert(method, candidate),
            }
        }
        services
    }
}

impl Services {
    pub(super) fn pick<F: RequestFields>(
        &self,
        service: &str,
        method: &str,
        head: &RequestHead<'_, F>,
    ) -> Option<&Arc<HttpRule>> {
        let meets = |candidate: &&Candidate<GrpcMatch>| candidate.meets(service, method, head);
        let exact = self.exact.get(service).into_iter().flat_map(|methods| methods.of(method));
        let mut candidates = exact.chain(&self.patterns).chain(self.any.of(method));
        candidates.find(meets).map(Candidate::rule)
    }
}

impl Methods {
    fn insert(&mut self, method: &GrpcNameMatch, candidate: Candidate<GrpcMatch>) {
        match method {
            GrpcNameMatch::Exact(name) => self.exact.entry(name.as_str().into()).or_default().push(candidate),
            GrpcNameMatch::Pattern(_) | GrpcNameMatch::Any => self.others.push(candidate),
        }
    }

    fn of<'a>(&'a self, method: &str) -> impl Iterator<Item = &'a Candidate<GrpcMatch>> {
        self.exact.get(method).into_iter().flatten().chain(&self.others)
    }
}
