//! Keeps what agents need of Secrets and bundles where they may read it, and nothing else; and the key by which they
//! know each other.

use std::collections::BTreeMap;
use std::time::Duration;

use gateway_agent_api::{Object, Secret};
use kube::Client;
use kube::api::{Api, DeleteParams, PostParams, Preconditions};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};
use tracing::info;

use crate::clock::at;
use crate::copies;
use crate::source::cluster::{Follower, News, Resource, Task, cause};

/// Tells which copies there shall be; whoever holds it learns what is wrong.
#[derive(Debug)]
pub struct Mirror {
    wanted: watch::Sender<Option<Wanted>>,
    trouble: watch::Receiver<Trouble>,
    _keeper: Task,
}

/// Copies by their names.
type Wanted = BTreeMap<String, Secret>;

/// Why copies may not be as they should.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Trouble {
    lost: Option<String>,
    failure: Option<String>,
}

/// Makes the copies what they shall be.
struct Keeper {
    secrets: Api<Secret>,
    /// Until when we may write.
    lead: watch::Receiver<Option<Instant>>,
    wanted: watch::Receiver<Option<Wanted>>,
    /// What there is; None: not known yet.
    found: Option<BTreeMap<String, Found>>,
    trouble: watch::Sender<Trouble>,
}

/// A Secret that is there for agents.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    uid: String,
    resource_version: String,
    fingerprint: [u8; 32],
    /// It holds a key of the right length.
    has_key: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Create(Box<Secret>),
    Replace(Box<Secret>),
    Remove(String, Found),
}

/// Time until a write that failed is tried again.
const RETRY: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(10);

impl Mirror {
    /// Keeps the copies in this namespace, for as long as the value lives.
    pub fn start(client: Client, namespace: &str, lead: watch::Receiver<Option<Instant>>) -> Self {
        let (sender, news) = mpsc::channel(64);
        let follower = Follower {
            client: client.clone(),
            resource: Resource {
                path: format!("/api/v1/namespaces/{namespace}/secrets"),
                metadata_only: false,
                fields: Some(copies::SELECTOR.into()),
            },
            decode: |document| {
                // Without a name it is nobody's.
                let secret: Secret = serde_json::from_value(document).unwrap_or_default();
                (secret.metadata.name.clone().unwrap_or_default(), Found::of(&secret))
            },
            number: 0,
            news: sender,
        };
        let (wanted, told) = watch::channel(None);
        let (trouble, troubles) = watch::channel(Trouble::default());
        let secrets = Api::namespaced(client, namespace);
        let keeper = Keeper { secrets, lead, wanted: told, found: None, trouble };
        let keeper = Task::spawn(async move {
            let _follower = Task::spawn(follower.run());
            keeper.run(news).await;
        });
        Self { wanted, trouble: troubles, _keeper: keeper }
    }

    /// What agents may have from now on.
    pub fn tell(&self, objects: impl Iterator<Item = Object>) {
        let copies = objects.filter_map(|object| copies::encode(&object));
        let wanted = copies.map(|copy| (copy.metadata.name.clone().unwrap_or_default(), copy)).collect();
        self.wanted.send_if_modified(|before| {
            let changed = before.as_ref() != Some(&wanted);
            *before = Some(wanted);
            changed
        });
    }

    /// It is no longer known what agents may have.
    pub fn forget(&self) {
        self.wanted.send_replace(None);
    }

    pub fn problems(&self) -> Vec<String> {
        let Trouble { lost, failure } = self.trouble.borrow().clone();
        let lost = lost.map(|cause| {
            format!(
                "the API server doesn't tell which copies of Secrets agents have: {cause}; it is tried again"
            )
        });
        lost.into_iter().chain(failure).collect()
    }
}

impl Keeper {
    async fn run(mut self, mut news: mpsc::Receiver<(u64, News<(String, Found)>)>) {
        let mut retry = None;
        loop {
            tokio::select! {
                told = news.recv() => match told {
                    Some((_, told)) => self.take(told),
                    None => return,
                },
                told = self.wanted.changed() => if told.is_err() { return },
                // Who has become the leader, or still is.
                told = self.lead.changed() => if told.is_err() { return },
                () = at(retry), if retry.is_some() => {}
            }
            retry = self.settle().await.err().map(|()| Instant::now() + RETRY);
        }
    }

    fn take(&mut self, news: News<(String, Found)>) {
        match news {
            News::Listed(listed, _) => self.found = Some(listed.into_iter().collect()),
            News::Put((name, found)) => {
                self.found.get_or_insert_default().insert(name, found);
            }
            News::Removed((name, _)) => {
                self.found.get_or_insert_default().remove(&name);
            }
            News::Lost(cause) => {
                self.trouble.send_modify(|trouble| trouble.lost = Some(cause));
                return;
            }
            News::Listing => return,
            News::Connected => {}
        }
        self.trouble.send_modify(|trouble| trouble.lost = None);
    }

    /// Writes what isn't as it should be. What should be is looked at again before each write: a grant may be gone.
    async fn settle(&mut self) -> Result<(), ()> {
        while let Some(step) = self.next_step() {
            let result = timeout(PATIENCE, self.take_step(&step)).await;
            let failure = match result {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(cause(&error)),
                Err(_) => Some("no answer from the API server".to_owned()),
            };
            let message = failure.map(|failure| step.describe(&failure));
            let failed = message.is_some();
            self.trouble.send_modify(|trouble| trouble.failure = message);
            if failed {
                return Err(());
            }
        }
        // What failed before may not be called for any more.
        self.trouble.send_modify(|trouble| trouble.failure = None);
        Ok(())
    }

    fn next_step(&self) -> Option<Step> {
        if self.lead.borrow().is_none_or(|until| Instant::now() >= until) {
            return None;
        }
        let found = self.found.as_ref()?;
        next_step(self.wanted.borrow().as_ref(), found, random_key)
    }

    async fn take_step(&mut self, step: &Step) -> kube::Result<()> {
        let found = self.found.get_or_insert_default();
        match step {
            Step::Create(secret) => {
                let created = self.secrets.create(&PostParams::default(), secret).await?;
                note(found, &created);
            }
            Step::Replace(secret) => {
                let name = secret.metadata.name.clone().unwrap_or_default();
                let replaced = self.secrets.replace(&name, &PostParams::default(), secret).await?;
                note(found, &replaced);
            }
            Step::Remove(name, seen) => {
                let preconditions = Preconditions {
                    uid: Some(seen.uid.clone()),
                    resource_version: Some(seen.resource_version.clone()),
                };
                let parameters = DeleteParams::default().preconditions(preconditions);
                match self.secrets.delete(name, &parameters).await {
                    Err(kube::Error::Api(status)) if status.code == NOT_FOUND => {}
                    result => drop(result?),
                }
                found.remove(name);
                info!(
                    event = "copy-removed",
                    "Secret {name}: removed, since agents may not have it any more"
                );
            }
        }
        Ok(())
    }
}

const NOT_FOUND: u16 = 404;

fn note(found: &mut BTreeMap<String, Found>, secret: &Secret) {
    let name = secret.metadata.name.clone().unwrap_or_default();
    let of = copies::decode(secret.clone()).map(|object| object.object_ref());
    let what = of.map_or_else(|_| "the key of agents".to_owned(), |origin| format!("copy of {origin}"));
    info!(event = "copied", "Secret {name}: {what} for agents");
    found.insert(name, Found::of(secret));
}

/// What to write next; removals come first.
fn next_step(
    wanted: Option<&Wanted>,
    found: &BTreeMap<String, Found>,
    key: impl FnOnce() -> Option<[u8; copies::PEERS_KEY_LENGTH]>,
) -> Option<Step> {
    if let Some(wanted) = wanted {
        let surplus = found.iter().find(|(name, _)| *name != copies::PEERS && !wanted.contains_key(*name));
        if let Some((name, found)) = surplus {
            return Some(Step::Remove(name.clone(), found.clone()));
        }
    }
    match found.get(copies::PEERS) {
        None => return key().map(|key| Step::Create(Box::new(copies::peers(key)))),
        Some(found) if !found.has_key => {
            return key().map(|key| Step::Replace(Box::new(found.replaced_by(copies::peers(key)))));
        }
        Some(_) => {}
    }
    wanted?.iter().find_map(|(name, copy)| match found.get(name) {
        None => Some(Step::Create(Box::new(copy.clone()))),
        Some(found) if found.fingerprint != copies::fingerprint(copy) => {
            Some(Step::Replace(Box::new(found.replaced_by(copy.clone()))))
        }
        Some(_) => None,
    })
}

/// None: the machine has no random numbers.
fn random_key() -> Option<[u8; copies::PEERS_KEY_LENGTH]> {
    let mut key = [0; copies::PEERS_KEY_LENGTH];
    getrandom::fill(&mut key).ok().map(|()| key)
}

impl Found {
    fn of(secret: &Secret) -> Self {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        Self {
            uid: text(&secret.metadata.uid),
            resource_version: text(&secret.metadata.resource_version),
            fingerprint: copies::fingerprint(secret),
            has_key: copies::peers_key(secret).is_some(),
        }
    }

    /// A Secret that replaces this one, unless somebody else was faster.
    fn replaced_by(&self, mut secret: Secret) -> Secret {
        secret.metadata.resource_version = Some(self.resource_version.clone());
        secret
    }
}

impl Step {
    fn describe(&self, failure: &str) -> String {
        let (name, verb) = match self {
            Self::Create(secret) => (secret.metadata.name.clone().unwrap_or_default(), "made"),
            Self::Replace(secret) => (secret.metadata.name.clone().unwrap_or_default(), "brought up to date"),
            Self::Remove(name, _) => (name.clone(), "removed"),
        };
        format!(
            "Secret {name}, which is for agents, can't be {verb}: {failure}; it is tried again; if another one has its \
             name, delete that"
        )
    }
}

#[cfg(test)]
mod tests {
    use gateway_agent_api::Kind;
    use serde_json::json;

    use super::*;

    fn copy(name: &str, text: &str) -> Secret {
        let document = json!({"metadata": {"name": name, "namespace": "a"}, "data": {"tls.crt": text}});
        copies::encode(&Object::decode(Kind::Secret, document, &mut |_| ()).unwrap()).unwrap()
    }

    /// Takes steps until there is none, as an API server would: (what was done, what there is).
    fn steps(wanted: Option<&Wanted>, found: &mut BTreeMap<String, Found>) -> Vec<&'static str> {
        let mut steps = Vec::new();
        while let Some(step) = next_step(wanted, found, || Some([7; 32])) {
            let (did, name, secret) = match step {
                Step::Create(secret) => ("create", secret.metadata.name.clone().unwrap(), Some(secret)),
                Step::Replace(secret) => ("replace", secret.metadata.name.clone().unwrap(), Some(secret)),
                Step::Remove(name, _) => ("remove", name, None),
            };
            found.remove(&name);
            found.extend(secret.map(|secret| (name, Found::of(&secret))));
            steps.push(did);
            assert!(steps.len() < 10, "{steps:?}");
        }
        steps
    }

    #[test]
    fn agents_have_what_they_may_and_nothing_else() {
        let wanted = |secrets: Vec<Secret>| -> Wanted {
            secrets.into_iter().map(|it| (it.metadata.name.clone().unwrap(), it)).collect()
        };
        let mut found = BTreeMap::new();
        assert_eq!(steps(None, &mut found), ["create"], "the key alone, as long as nothing else is known");
        let both = wanted(vec![copy("one", "AAH/"), copy("two", "AAH/")]);
        assert_eq!(steps(Some(&both), &mut found), ["create", "create"]);
        assert_eq!(steps(Some(&both), &mut found), [""; 0]);
        let other = wanted(vec![copy("one", "AAAA")]);
        assert_eq!(steps(Some(&other), &mut found), ["remove", "replace"], "removals first");
        assert_eq!(steps(None, &mut found), [""; 0], "nothing is removed as long as nothing is known");
        found.get_mut(copies::PEERS).unwrap().has_key = false;
        assert_eq!(steps(None, &mut found), ["replace"]);
        assert_eq!(steps(Some(&wanted(Vec::new())), &mut found), ["remove"], "the key stays");
        assert!(found.contains_key(copies::PEERS));
    }

    #[test]
    fn a_key_is_not_made_without_random_numbers() {
        assert_eq!(next_step(None, &BTreeMap::new(), || None), None);
    }
}
