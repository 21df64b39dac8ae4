//! Routes bound to listeners: what the tables of all data planes are made of.

use crate::attachment::{Attachment, Parents, Verdict};
use crate::backend::Backends;
use crate::content::{self, Content};
use crate::gateway::Gateway;
use crate::route::Route;
use crate::{Problem, Snapshot};

/// Gateways and routes, both in order of precedence, and who is attached to whom.
#[derive(Debug)]
pub(crate) struct Bindings<'a> {
    pub(crate) gateways: Vec<Gateway<'a>>,
    pub(crate) routes: Vec<Bound<'a>>,
    /// For each Gateway and listener its routes, in order of precedence.
    listeners: Vec<Vec<Vec<Attached>>>,
}

/// A route, what became of its parentRefs, and its rules.
#[derive(Debug)]
pub(crate) struct Bound<'a> {
    pub(crate) route: Route<'a>,
    pub(crate) verdicts: Vec<Verdict>,
    /// None: no parent is ours.
    pub(crate) content: Option<(Content, content::Verdict)>,
}

/// A route at a listener.
#[derive(Debug)]
pub(crate) struct Attached {
    /// Index in [`Bindings::routes`].
    pub(crate) route: usize,
    pub(crate) hosts: Vec<crate::attachment::RouteHost>,
}

impl<'a> Bindings<'a> {
    /// Attaches all routes and compiles those that have a parent of ours.
    pub(crate) fn settle(
        gateways: Vec<Gateway<'a>>,
        routes: Vec<Route<'a>>,
        backends: &Backends<'a>,
        snapshot: &'a Snapshot,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let parents = Parents::new(&gateways, snapshot);
        let mut listeners: Vec<Vec<Vec<Attached>>> =
            gateways.iter().map(|gateway| gateway.listeners.iter().map(|_| Vec::new()).collect()).collect();
        let routes: Vec<_> = routes
            .into_iter()
            .enumerate()
            .map(|(index, route)| {
                let verdicts = parents.judge(&route, problems);
                let content = if verdicts.is_empty() { None } else { Content::compile(&route, backends) };
                for verdict in &verdicts {
                    for attachment in verdict.attached.iter().flatten() {
                        note(&mut listeners[verdict.gateway][attachment.listener], index, attachment);
                    }
                }
                Bound { route, verdicts, content }
            })
            .collect();
        Self { gateways, routes, listeners }
    }

    /// The routes of a listener, in order of precedence.
    pub(crate) fn attached(&self, gateway: usize, listener: usize) -> &[Attached] {
        &self.listeners[gateway][listener]
    }

    /// How many accepted routes each listener of a Gateway has.
    pub(crate) fn counts(&self, gateway: usize) -> Vec<usize> {
        let accepted = |attached: &&Attached| {
            let content = self.routes[attached.route].content.as_ref();
            content.is_none_or(|(_, verdict)| verdict.refusal.is_none())
        };
        self.listeners[gateway].iter().map(|attached| attached.iter().filter(accepted).count()).collect()
    }
}

/// Several parentRefs of one route may name the same listener.
fn note(attached: &mut Vec<Attached>, route: usize, attachment: &Attachment) {
    if attached.last().is_none_or(|last| last.route != route) {
        attached.push(Attached { route, hosts: attachment.hosts.clone() });
    }
}
