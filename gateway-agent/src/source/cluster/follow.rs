//! Lists and watches one resource for as long as somebody listens.
//!
//! kube's own watcher says neither when a broken watch is whole again nor how far it has come; `status` and the
//! GatewayNode need both.

use std::borrow::Cow;
use std::ops::Range;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures_util::{Stream, StreamExt};
use gateway_agent_kernel::one_line;
use kube::Client;
use kube::core::params::{ListParams, WatchParams};
use kube::core::{ObjectList, Request, Status, WatchEvent};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tracing::debug;

use super::document::Document;

/// What is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// The address of the list over all namespaces: `/apis/GROUP/VERSION/PLURAL`.
    pub path: String,
    /// The objects' metadata suffices.
    pub metadata_only: bool,
    /// Only objects that this selects.
    pub fields: Option<Cow<'static, str>>,
}

/// What became known of a resource, in the order in which it happened.
#[derive(Debug)]
pub enum News<T> {
    /// A list has begun; until it is complete, what was known stays.
    Listing,
    /// All objects that there are, at this resourceVersion.
    Listed(Vec<T>, String),
    Put(T),
    Removed(T),
    /// The watch is there (again).
    Connected,
    /// The list or watch failed for this reason, and will be tried again.
    Lost(String),
}

/// Where news go, each with the number of its follower.
pub type Sender<T> = mpsc::Sender<(u64, News<T>)>;

/// A resource that is being followed.
pub struct Follower<T, D> {
    pub client: Client,
    pub resource: Resource,
    /// Takes each object out of its raw form at once: that is many times as large.
    pub decode: D,
    pub number: u64,
    pub news: Sender<T>,
}

/// Objects that are asked for at once. Raw, they are many times as large as what is kept of them, all kinds are listed
/// at the same time, and what is kept lies between: a process of fewer objects would never get smaller again. A fifth
/// of what client-go asks for takes an agent of 5,000 routes no longer.
const PAGE: u32 = 100;

/// A page, or the beginning of a watch, that takes longer is given up.
const LIST_TIMEOUT: Duration = Duration::from_mins(1);
const WATCH_TIMEOUT: Duration = Duration::from_secs(30);

/// The API server ends a watch after a random time between these, in seconds, so that watches don't come back
/// together. (kube refuses 295 and more.)
const WATCH_SECONDS: Range<u32> = 200..290;

/// A watch that lived as long was a success: the next failure is the first in a row.
const SOLID: Duration = Duration::from_secs(30);

/// Time between tries. Up to as much again is added at random, so that the nodes of a cluster don't come back at the
/// same moment.
const FIRST_DELAY: Duration = Duration::from_millis(250);
const LONGEST_DELAY: Duration = Duration::from_secs(15);

/// Nobody listens any more.
struct Closed;

/// Why a watch is over.
enum End {
    /// As agreed.
    TimeOver,
    /// The API server no longer knows what happened since (410): only a list helps.
    Expired,
    Failed(String),
}

impl<T, D: Fn(Value) -> T> Follower<T, D> {
    /// Lists and watches until nobody listens any more.
    pub async fn run(self) {
        // That it is closed is no error here.
        let Err(Closed) = self.follow().await;
    }

    async fn follow(&self) -> Result<std::convert::Infallible, Closed> {
        let mut delays = delays();
        loop {
            self.tell(News::Listing).await?;
            match self.list().await {
                Ok((objects, version)) => {
                    self.tell(News::Listed(objects, version.clone())).await?;
                    self.watch_on(version, &mut delays).await?;
                }
                Err(error) => self.tell(News::Lost(cause(&error))).await?,
            }
            wait(&mut delays).await;
        }
    }

    /// Watches, again and again, until only a list helps.
    async fn watch_on(&self, mut version: String, delays: &mut ExponentialBackoff) -> Result<(), Closed> {
        loop {
            let began = Instant::now();
            let end = self.watch(&mut version).await?;
            let solid = began.elapsed() > SOLID;
            if solid {
                *delays = self::delays();
            }
            match end {
                End::TimeOver if solid => continue,
                End::TimeOver => {}
                End::Expired => {
                    debug!(
                        event = "expired",
                        "{}: lists again, since {version} is too old", self.resource.path
                    );
                    return Ok(());
                }
                End::Failed(cause) => self.tell(News::Lost(cause)).await?,
            }
            wait(delays).await;
        }
    }

    async fn list(&self) -> Result<(Vec<T>, String), kube::Error> {
        let mut parameters = ListParams { limit: Some(PAGE), ..ListParams::default() };
        parameters.field_selector = self.resource.fields.as_deref().map(str::to_owned);
        let mut objects = Vec::new();
        loop {
            let request = Request::new(&self.resource.path);
            let request = if self.resource.metadata_only {
                request.list_metadata(&parameters)
            } else {
                request.list(&parameters)
            };
            let page =
                self.client.request::<ObjectList<Document>>(request.map_err(kube::Error::BuildRequest)?);
            let page = timeout(LIST_TIMEOUT, page).await.map_err(too_slow)??;
            objects.extend(page.items.into_iter().map(|Document(object)| (self.decode)(object)));
            parameters.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if parameters.continue_token.is_none() {
                return Ok((objects, page.metadata.resource_version.unwrap_or_default()));
            }
        }
    }

    async fn watch(&self, version: &mut String) -> Result<End, Closed> {
        let events = match self.events(version).await {
            Ok(events) => events,
            Err(error) => return Ok(End::of(&error)),
        };
        self.tell(News::Connected).await?;
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.next().await {
            match event {
                Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
                    note_version(version, &object);
                    self.tell(News::Put((self.decode)(object))).await?;
                }
                Ok(WatchEvent::Deleted(object)) => {
                    note_version(version, &object);
                    self.tell(News::Removed((self.decode)(object))).await?;
                }
                Ok(WatchEvent::Bookmark(bookmark)) => {
                    *version = bookmark.metadata.resource_version;
                }
                Ok(WatchEvent::Error(status)) => return Ok(End::of_status(&status)),
                Err(error) => return Ok(End::of(&error)),
            }
        }
        Ok(End::TimeOver)
    }

    async fn events(
        &self,
        version: &str,
    ) -> Result<impl Stream<Item = kube::Result<WatchEvent<Value>>> + use<T, D>, kube::Error> {
        let parameters = WatchParams {
            field_selector: self.resource.fields.as_deref().map(str::to_owned),
            timeout: Some(random_in(WATCH_SECONDS)),
            bookmarks: true,
            ..WatchParams::default()
        };
        let request = Request::new(&self.resource.path);
        let request = if self.resource.metadata_only {
            request.watch_metadata(&parameters, version)
        } else {
            request.watch(&parameters, version)
        };
        let events = self.client.request_events::<Value>(request.map_err(kube::Error::BuildRequest)?);
        timeout(WATCH_TIMEOUT, events).await.map_err(too_slow)?
    }

    async fn tell(&self, news: News<T>) -> Result<(), Closed> {
        self.news.send((self.number, news)).await.map_err(|_| Closed)
    }
}

impl End {
    fn of(error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::of_status(status),
            error => Self::Failed(cause(error)),
        }
    }

    fn of_status(status: &Status) -> Self {
        const GONE: u16 = 410;
        if status.code == GONE { Self::Expired } else { Self::Failed(refusal(status)) }
    }
}

fn note_version(version: &mut String, object: &Value) {
    if let Some(new) = object.pointer("/metadata/resourceVersion").and_then(Value::as_str) {
        new.clone_into(version);
    }
}

/// Without the details of every layer.
pub fn cause(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => refusal(status),
        kube::Error::Service(cause) => one_line(cause.as_ref()),
        error => one_line(error),
    }
}

fn refusal(status: &Status) -> String {
    const FORBIDDEN: u16 = 403;
    if status.code == FORBIDDEN {
        // The message names account, verb, resource and namespace.
        return format!("a right is missing: {}; apply deploy/rbac of this version", status.message);
    }
    format!("{} {}: {}", status.code, status.reason, status.message)
}

fn too_slow(_: tokio::time::error::Elapsed) -> kube::Error {
    kube::Error::Service("the API server takes too long to answer".into())
}

fn delays() -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(FIRST_DELAY)
        .with_max_delay(LONGEST_DELAY)
        .without_max_times()
        .with_jitter()
        .build()
}

async fn wait(delays: &mut ExponentialBackoff) {
    sleep(delays.next().unwrap_or(LONGEST_DELAY)).await;
}

/// Any of the range if the machine has no randomness to give.
fn random_in(range: Range<u32>) -> u32 {
    range.start + getrandom::u32().unwrap_or_default() % (range.end - range.start)
}
