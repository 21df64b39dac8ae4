//! Objects from a cluster: follows every kind that the API server has, and tells what changes.
//!
//! `served` says which kinds there are, `follow` lists and watches one of them, `document` is an object as it is listed,
//! `received` takes objects apart, `objects` knows what counts, `client` makes the connection.

mod client;
mod document;
mod follow;
mod objects;
mod received;
mod served;

use std::collections::BTreeMap;
use std::time::Duration;

use gateway_agent_api::{Kind, ObjectRef};
use kube::Client;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};

pub use client::connect;
pub use follow::{Follower, News, Resource, cause};
pub use received::{has_our_status, receive};
pub use served::{Bundle, Served};

use objects::Objects;
use received::{Received, receive_for_agents};

use super::Change;
use crate::copies;

/// Who follows the cluster: it decides what is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Reads what data planes need; of Secrets, those that are there for agents.
    Agent,
    /// Reads what statuses need, and the statuses themselves.
    Controller,
}

/// The cluster's objects, as far as they are known.
pub struct Cluster {
    client: Client,
    role: Role,
    /// The namespace that gateway-agent runs in.
    home: String,
    served: watch::Receiver<Option<Served>>,
    followers: BTreeMap<Kind, Following>,
    /// Number of the last follower.
    last: u64,
    sender: follow::Sender<Received>,
    news: mpsc::Receiver<(u64, News<Received>)>,
    objects: Objects,
    /// Other kinds or CRDs than at the last call of [`Self::has_other_kinds`].
    other_kinds: bool,
    complete: bool,
    /// Not told yet.
    changes: Vec<Change>,
    /// Objects that a controller received, also if only their status is new.
    touched: Vec<ObjectRef>,
    /// Since when changes wait for kinds that are being listed again.
    unsettled: Option<Instant>,
    _observer: Task,
}

#[derive(Debug)]
struct Following {
    number: u64,
    version: &'static str,
    _task: Task,
}

#[expect(clippy::large_enum_variant, reason = "each lives for a moment")]
enum Event {
    /// The API server has other kinds than before, or other versions of them.
    Served,
    Told((u64, News<Received>)),
    /// Changes have waited long enough.
    Nothing,
}

/// A task that ends when nobody holds it any more.
#[derive(Debug)]
pub struct Task(tokio::task::JoinHandle<()>);

/// News on their way to us: enough that a burst doesn't stop followers, and few enough to be taken in one go.
const NEWS: usize = 256;

/// When watches are restarted, changes wait for each other so that routes aren't compiled with endpoints of a moment
/// ago; but no longer than this, since one kind may be in trouble for its own reasons.
const SETTLE: Duration = Duration::from_secs(2);

impl Cluster {
    /// Begins to follow a cluster; nothing is known of it yet. `home` is the namespace that gateway-agent runs in.
    pub fn follow(client: Client, role: Role, home: &str) -> Self {
        let kinds = Kind::ALL.iter().copied().filter(|kind| role.reads(*kind)).collect();
        let (answers, served) = watch::channel(None);
        let (sender, news) = mpsc::channel(NEWS);
        Self {
            _observer: Task::spawn(served::observe(client.clone(), kinds, answers)),
            client,
            role,
            home: home.to_owned(),
            served,
            followers: BTreeMap::new(),
            last: 0,
            sender,
            news,
            objects: Objects::default(),
            other_kinds: false,
            complete: false,
            changes: Vec::new(),
            touched: Vec::new(),
            unsettled: None,
        }
    }

    /// Waits until something may have changed. Can be cancelled: the next call knows of what this one has seen.
    pub async fn changed(&mut self) {
        let patience = self.unsettled.map(|since| since + SETTLE);
        let event = async {
            tokio::select! {
                // Both senders live as long as we do.
                _ = self.served.changed() => Event::Served,
                told = self.news.recv() => told.map_or(Event::Nothing, Event::Told),
            }
        };
        let event = match patience {
            Some(end) => timeout_at(end, event).await.unwrap_or(Event::Nothing),
            None => event.await,
        };
        match event {
            Event::Served => {
                self.other_kinds = true;
                self.adjust_followers();
            }
            Event::Told(told) => self.take(told),
            Event::Nothing => {}
        }
        while let Ok(told) = self.news.try_recv() {
            self.take(told);
        }
        self.complete |= !self.followers.is_empty() && self.objects.is_complete();
        self.unsettled = match self.unsettled {
            _ if self.objects.is_settled() => None,
            None => Some(Instant::now()),
            since => since,
        };
    }

    /// Everything was told once: what is known is the whole truth of some moment. It stays so when further kinds come.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// What changed since the last call; the names of objects whose status may be another are in [`Self::touched`].
    pub fn changes(&mut self) -> Vec<Change> {
        let waits = self.unsettled.is_some_and(|since| since.elapsed() < SETTLE);
        if waits || !self.is_complete() { Vec::new() } else { std::mem::take(&mut self.changes) }
    }

    /// For each kind, by its CRD's name, up to where [`Self::changes`] has told everything; None while it holds changes
    /// back.
    pub fn reached(&self) -> Option<BTreeMap<String, String>> {
        let name = |kind: Kind| match kind.group() {
            "" => kind.plural().to_owned(),
            group => format!("{}.{group}", kind.plural()),
        };
        // What agents write is not for data planes; each would else answer the others' writes with one of its own.
        let versions = self.objects.resource_versions().filter(|(kind, _)| *kind != Kind::GatewayNode);
        let told = self.changes.is_empty() && self.is_complete();
        told.then(|| versions.map(|(kind, version)| (name(kind), version.to_owned())).collect())
    }

    /// The objects that a controller received since the last call.
    pub fn touched(&mut self) -> Vec<ObjectRef> {
        std::mem::take(&mut self.touched)
    }

    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    /// Takes over what a write answered.
    pub fn note_status(&mut self, name: &ObjectRef, resource_version: &str, status: Option<Value>) {
        self.objects.note_status(name, resource_version, status);
    }

    /// Whether there are other kinds or CRDs than at the last call.
    pub fn has_other_kinds(&mut self) -> bool {
        std::mem::take(&mut self.other_kinds)
    }

    /// The CRDs that are installed of the kinds that we know.
    pub fn crds(&self) -> BTreeMap<String, Bundle> {
        self.served.borrow().as_ref().map(|served| served.crds.clone()).unwrap_or_default()
    }

    /// The address of a kind's objects, in the version that is read.
    pub fn path(&self, name: &ObjectRef) -> Option<String> {
        let version = self.followers.get(&name.kind)?.version;
        Some(match &name.namespace {
            Some(namespace) => {
                let prefix = prefix(name.kind, version);
                format!("{prefix}/namespaces/{namespace}/{}", name.kind.plural())
            }
            None => path(name.kind, version),
        })
    }

    /// Whether the API server lets everything be read.
    pub fn is_reachable(&self) -> bool {
        let troubled = self.served.borrow().as_ref().is_some_and(|served| served.trouble.is_some());
        !troubled && self.objects.is_reachable()
    }

    pub fn problems(&self) -> Vec<String> {
        let mut problems = self.objects.problems();
        if let Some(trouble) = self.served.borrow().as_ref().and_then(|served| served.trouble.as_ref()) {
            problems.push(format!(
                "the API server doesn't say which kinds it has: {trouble}; what is known stays in force, and it is \
                 tried again; check the API server, the way to it, and the permissions of this service account"
            ));
        }
        problems
    }

    fn take(&mut self, (number, news): (u64, News<Received>)) {
        // None: of a follower that was stopped.
        let Some((&kind, _)) = self.followers.iter().find(|(_, it)| it.number == number) else { return };
        match &news {
            // An agent doesn't ask.
            _ if self.role == Role::Agent => {}
            News::Put(object) | News::Removed(object) => self.touched.push(object.name.clone()),
            News::Listed(objects, _) => self.touched.extend(objects.iter().map(|object| object.name.clone())),
            _ => {}
        }
        self.changes.extend(self.objects.take(kind, news));
    }

    /// Follows what is served, in the version in which it is served.
    fn adjust_followers(&mut self) {
        let Some(versions) = self.served.borrow().as_ref().map(|it| it.versions.clone()) else {
            return;
        };
        if versions.is_empty() {
            // Nothing is known yet but that there is trouble.
            return;
        }
        let gone: Vec<_> =
            self.followers.keys().copied().filter(|kind| !versions.contains_key(kind)).collect();
        for kind in gone {
            self.followers.remove(&kind);
            self.changes.extend(self.objects.drop_kind(kind));
        }
        for (kind, version) in versions {
            if self.followers.get(&kind).is_none_or(|following| following.version != version) {
                self.follow_kind(kind, version);
            }
        }
    }

    fn follow_kind(&mut self, kind: Kind, version: &'static str) {
        self.last += 1;
        let role = self.role;
        let follower = Follower {
            client: self.client.clone(),
            resource: self.resource(kind, version),
            decode: move |document| match (role, kind) {
                (Role::Agent, Kind::Secret) => receive_for_agents(document),
                _ => receive(kind, document, role),
            },
            number: self.last,
            news: self.sender.clone(),
        };
        self.objects.add(kind);
        let following = Following { number: self.last, version, _task: Task::spawn(follower.run()) };
        self.followers.insert(kind, following);
    }

    fn resource(&self, kind: Kind, version: &str) -> Resource {
        if kind == Kind::Secret && self.role == Role::Agent {
            let path = format!("{}/namespaces/{}/{}", prefix(kind, version), self.home, kind.plural());
            return Resource { path, metadata_only: false, fields: Some(copies::SELECTOR.into()) };
        }
        Resource {
            path: path(kind, version),
            metadata_only: kind == Kind::Namespace,
            fields: (kind == Kind::Secret).then_some(USEFUL_SECRETS.into()),
        }
    }
}

/// All but the kinds of Secret that a cluster has many of and that never hold a certificate for us, and our own copies.
const USEFUL_SECRETS: &str = "type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token,\
    type!=kubernetes.io/dockerconfigjson,type!=gateway-agent.io/for-agents";

impl Role {
    /// Whether it follows the objects of a kind.
    pub fn reads(self, kind: Kind) -> bool {
        match self {
            Self::Controller => true,
            // Of ConfigMaps and ClusterTrustBundles it gets copies too; of others there is only a status to be written.
            Self::Agent => !matches!(
                kind,
                Kind::ConfigMap
                    | Kind::ClusterTrustBundle
                    | Kind::Node
                    | Kind::XBackendTrafficPolicy
                    | Kind::XMesh
                    | Kind::XTelemetryPolicy
            ),
        }
    }
}

impl Task {
    pub fn spawn(future: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(future))
    }

    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn path(kind: Kind, version: &str) -> String {
    format!("{}/{}", prefix(kind, version), kind.plural())
}

fn prefix(kind: Kind, version: &str) -> String {
    match kind.group() {
        "" => format!("/api/{version}"),
        group => format!("/apis/{group}/{version}"),
    }
}
