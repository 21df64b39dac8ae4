//! The API server: many writes at once, and a bare watch.

use std::path::Path;
use std::pin::Pin;

use anyhow::{Context as _, Result, bail};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::params::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchParams};
use kube::core::{ObjectList, Request, WatchEvent};
use serde_json::Value;
use tokio::sync::mpsc;

/// Requests at once (BENCH.md: "1,000 patches, 32 in flight").
const IN_FLIGHT: usize = 32;

#[derive(Clone)]
pub(crate) struct Api {
    client: Client,
}

/// What a watch told, and when.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) at: Timestamp,
    pub(crate) object: Value,
    pub(crate) change: Change,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Added,
    Modified,
    Deleted,
}

impl Api {
    pub(crate) async fn connect(kubeconfig: &Path) -> Result<Self> {
        let config = Kubeconfig::read_from(kubeconfig)?;
        let config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
        Ok(Self { client: Client::try_from(config)? })
    }

    /// `path` is that of the kind in its namespace, here and below.
    pub(crate) async fn create(&self, path: &str, object: &Value) -> Result<Value> {
        let request = Request::new(path).create(&PostParams::default(), serde_json::to_vec(object)?)?;
        self.client.request(request).await.with_context(|| format!("creating {}", object["metadata"]["name"]))
    }

    pub(crate) async fn delete(&self, path: &str, name: &str) -> Result<()> {
        let request = Request::new(path).delete(name, &DeleteParams::default())?;
        self.client.request::<Value>(request).await.map(drop).with_context(|| format!("deleting {name}"))
    }

    pub(crate) async fn patch(&self, path: &str, name: &str, change: &Value) -> Result<Value> {
        let request = Request::new(path).patch(name, &PatchParams::default(), &Patch::Merge(change))?;
        self.client.request(request).await.with_context(|| format!("patching {name}"))
    }

    pub(crate) async fn patch_status(&self, path: &str, name: &str, change: &Value) -> Result<()> {
        let merge = Patch::Merge(change);
        let request =
            Request::new(path).patch_subresource("status", name, &PatchParams::default(), &merge)?;
        let answer = self.client.request::<Value>(request).await;
        answer.map(drop).with_context(|| format!("patching the status of {name}"))
    }

    /// All objects of a list, page by page.
    pub(crate) async fn list(&self, path: &str) -> Result<Vec<Value>> {
        /// As agents ask for it.
        const PAGE: u32 = 500;
        let mut parameters = ListParams::default().limit(PAGE);
        let mut objects = Vec::new();
        loop {
            let page =
                self.client.request::<ObjectList<Value>>(Request::new(path).list(&parameters)?).await?;
            objects.extend(page.items);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => parameters.continue_token = Some(token),
                None => return Ok(objects),
            }
        }
    }

    /// Follows objects from now on; the watch has begun when this returns. It ends with the answer.
    pub(crate) async fn watch(&self, path: &str) -> Result<Watch> {
        let list: Value =
            self.client.request(Request::new(path).list(&ListParams::default().limit(1))?).await?;
        let Some(version) = list["metadata"]["resourceVersion"].as_str() else {
            bail!("a list of {path} without a version");
        };
        let mut follower = Follower { api: self.clone(), path: path.to_owned(), version: version.to_owned() };
        let (sender, seen) = mpsc::unbounded_channel();
        let mut events = follower.events().await?;
        let task = tokio::spawn(async move {
            loop {
                let told = follower.follow(&mut events, &sender).await;
                // An API server ends the watches of a kind whose CRD it has just got.
                let again = match told {
                    Ok(()) => follower.events().await,
                    Err(error) => Err(error),
                };
                match again {
                    Ok(more) => events = more,
                    Err(error) => {
                        // Nobody listens any more.
                        let _ = sender.send(Err(error));
                        return;
                    }
                }
            }
        });
        Ok(Watch { seen, task })
    }
}

/// A watch that goes on where it was ended.
struct Follower {
    api: Api,
    path: String,
    /// All changes up to this one are known.
    version: String,
}

type Events = Pin<Box<dyn Stream<Item = kube::Result<WatchEvent<Value>>> + Send>>;

impl Follower {
    async fn events(&self) -> Result<Events> {
        let parameters = WatchParams { bookmarks: false, ..WatchParams::default() };
        let request = Request::new(&self.path).watch(&parameters, &self.version)?;
        Ok(self.api.client.request_events(request).await.context("a watch can't begin")?.boxed())
    }

    /// Until the API server ends it.
    async fn follow(
        &mut self,
        events: &mut Events,
        sender: &mpsc::UnboundedSender<Result<Seen>>,
    ) -> Result<()> {
        while let Some(event) = events.next().await {
            let at = Timestamp::now();
            let (change, object) = match event.context("a watch broke")? {
                WatchEvent::Added(object) => (Change::Added, object),
                WatchEvent::Modified(object) => (Change::Modified, object),
                WatchEvent::Deleted(object) => (Change::Deleted, object),
                WatchEvent::Bookmark(_) => continue,
                WatchEvent::Error(status) => bail!("a watch ended: {status:?}"),
            };
            if let Some(version) = object["metadata"]["resourceVersion"].as_str() {
                version.clone_into(&mut self.version);
            }
            sender.send(Ok(Seen { at, object, change })).context("nobody listens any more")?;
        }
        Ok(())
    }
}

/// Ends with it.
#[derive(Debug)]
pub(crate) struct Watch {
    seen: mpsc::UnboundedReceiver<Result<Seen>>,
    task: tokio::task::JoinHandle<()>,
}

impl Watch {
    pub(crate) async fn next(&mut self) -> Result<Seen> {
        self.seen.recv().await.context("the watch has ended")?
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Does the same to all, as many at once as is usual here.
pub(crate) async fn for_all<T, F>(all: impl IntoIterator<Item = T>, work: impl Fn(T) -> F) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    stream::iter(all).map(work).buffer_unordered(IN_FLIGHT).try_collect().await
}
