//! The DaemonSet that this agent is a pod of: when it goes for good, so does what the agent has put into the kernel.
//!
//! A pod is told to end on upgrades too, when everything must stay. Whether its DaemonSet or its namespace is being
//! deleted tells which it is. Both are watched all the time: when the end comes, the right to ask may be gone already.

use futures_util::TryStreamExt;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use kube::core::PartialObjectMeta;
use kube::{Client, Error};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tracing::debug;

use crate::source::cluster::cause;

/// A DaemonSet by its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerName {
    pub namespace: String,
    pub name: String,
}

impl std::str::FromStr for OwnerName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => {
                Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => Err(format!("`{text}` is not NAMESPACE/NAME")),
        }
    }
}

/// What is known of an object that may be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Never seen; perhaps it never was.
    Unknown,
    Stays,
    /// Deleted, or about to be.
    Goes,
}

/// Watches the DaemonSet and its namespace for as long as it lives.
#[derive(Debug)]
pub struct Owner {
    watches: [Watch; 2],
}

#[derive(Debug)]
struct Watch {
    fate: watch::Receiver<Fate>,
    task: JoinHandle<()>,
}

/// Between a watch that ended and the next.
const PAUSE: Duration = Duration::from_secs(1);

impl Owner {
    pub fn watch(client: &Client, owner: &OwnerName) -> Self {
        let daemon_sets: Api<DaemonSet> = Api::namespaced(client.clone(), &owner.namespace);
        let namespaces: Api<Namespace> = Api::all(client.clone());
        Self { watches: [Watch::start(daemon_sets, &owner.name), Watch::start(namespaces, &owner.namespace)] }
    }

    /// Whether it was there and goes. Not to reach the API server means: it stays.
    pub fn is_gone(&self) -> bool {
        self.watches.iter().any(|watch| *watch.fate.borrow() == Fate::Goes)
    }
}

impl Watch {
    fn start<K>(api: Api<K>, name: &str) -> Self
    where
        K: Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let (told, fate) = watch::channel(Fate::Unknown);
        let fields = format!("metadata.name={name}");
        let task = tokio::spawn(async move {
            loop {
                if let Err(error) = follow(&api, &fields, &told).await {
                    debug!("{fields}: {}; it is tried again", cause(&error));
                }
                sleep(PAUSE).await;
            }
        });
        Self { fate, task }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Until the API server ends the watch.
async fn follow<K>(api: &Api<K>, fields: &str, told: &watch::Sender<Fate>) -> kube::Result<()>
where
    K: Clone + Debug + DeserializeOwned,
{
    let list = api.list_metadata(&ListParams::default().fields(fields)).await?;
    told.send_modify(|fate| *fate = after(*fate, list.items.first()));
    let version = list.metadata.resource_version.unwrap_or_default();
    let events = api.watch_metadata(&WatchParams::default().fields(fields), &version).await?;
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.try_next().await? {
        let object = match &event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => Some(object),
            WatchEvent::Deleted(_) => None,
            WatchEvent::Bookmark(_) => continue,
            WatchEvent::Error(error) => return Err(Error::Api(error.clone())),
        };
        told.send_modify(|fate| *fate = after(*fate, object));
    }
    Ok(())
}

/// What is known once the object was seen as it is, or not found.
fn after<K>(before: Fate, object: Option<&PartialObjectMeta<K>>) -> Fate {
    match object {
        Some(object) if object.metadata.deletion_timestamp.is_some() => Fate::Goes,
        Some(_) => Fate::Stays,
        None if before == Fate::Unknown => Fate::Unknown,
        None => Fate::Goes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

    #[test]
    fn only_what_was_there_can_go() {
        let object = |deleted: bool| PartialObjectMeta::<DaemonSet> {
            metadata: ObjectMeta {
                deletion_timestamp: deleted.then_some(Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH)),
                ..ObjectMeta::default()
            },
            ..PartialObjectMeta::default()
        };
        let (there, going) = (object(false), object(true));
        for (before, seen, expected) in [
            (Fate::Unknown, None, Fate::Unknown),
            (Fate::Unknown, Some(&there), Fate::Stays),
            (Fate::Stays, None, Fate::Goes),
            (Fate::Stays, Some(&going), Fate::Goes),
            (Fate::Goes, Some(&there), Fate::Stays),
            (Fate::Goes, None, Fate::Goes),
        ] {
            assert_eq!(after(before, seen), expected, "{before:?} {}", seen.is_some());
        }
    }

    #[test]
    fn names_have_two_parts() {
        let name = OwnerName { namespace: "a".into(), name: "b".into() };
        assert_eq!("a/b".parse(), Ok(name));
        for wrong in ["", "a", "a/", "/b"] {
            assert!(wrong.parse::<OwnerName>().is_err(), "{wrong}");
        }
    }
}
