//! Which kinds the API server has, and in which version: custom resources come, change and go while we run.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use gateway_agent_api::Kind;
use kube::Client;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::follow::{Follower, News, Resource, cause};

/// What the API server has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// The version in which each kind is read; kinds that aren't served are missing.
    pub versions: BTreeMap<Kind, &'static str>,
    /// The Gateway API's CRDs.
    pub crds: BTreeMap<String, Bundle>,
    /// Why this may be out of date.
    pub trouble: Option<String>,
}

/// The release that a CRD says it comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bundle {
    pub version: Option<String>,
    pub channel: Option<String>,
}

/// A CRD's name, and its bundle if it is one of ours.
type Crd = (String, Option<Bundle>);

/// Installing CRDs is a burst of events.
const BURST: Duration = Duration::from_millis(100);

/// A new CRD is served a moment after it was accepted; an API server that is away comes back later.
const FIRST_DELAY: Duration = Duration::from_millis(200);
const LONGEST_DELAY: Duration = Duration::from_secs(15);

/// Follows the CRDs and asks what is served whenever they change. The first answer comes when all of it is known.
pub async fn observe(client: Client, kinds: Vec<Kind>, answers: watch::Sender<Option<Served>>) {
    let (sender, mut news) = mpsc::channel(16);
    let resource = Resource {
        path: "/apis/apiextensions.k8s.io/v1/customresourcedefinitions".into(),
        metadata_only: true,
        fields: None,
    };
    let follower = Follower {
        client: client.clone(),
        resource,
        decode: |document| crd(&document),
        number: 0,
        news: sender,
    };
    let _follower = super::Task::spawn(follower.run());
    let delays = || {
        let delays = ExponentialBuilder::new().with_min_delay(FIRST_DELAY).with_max_delay(LONGEST_DELAY);
        delays.without_max_times().with_jitter().build()
    };
    let mut retry = delays();
    let mut crds = None;
    let mut ask_at = None;
    loop {
        tokio::select! {
            told = news.recv() => match told {
                None => return,
                Some((_, News::Lost(cause))) => trouble(&answers, Some(cause)),
                Some((_, News::Connected)) => trouble(&answers, None),
                Some((_, told)) => {
                    if take(&mut crds, told) {
                        retry = delays();
                        ask_at.get_or_insert(Instant::now() + BURST);
                    }
                }
            },
            () = sleep_until(ask_at.unwrap_or_else(Instant::now)), if ask_at.is_some() => {
                let Some(crds) = &crds else { continue };
                ask_at = None;
                let found = ask(&client, &kinds).await;
                let missing = match found {
                    Ok(found) => {
                        let (served, missing) = settle(&kinds, crds, &found);
                        answers.send_replace(Some(served));
                        missing
                    }
                    Err(error) => {
                        trouble(&answers, Some(cause(&error)));
                        true
                    }
                };
                if missing {
                    ask_at = retry.next().map(|delay| Instant::now() + delay);
                }
            }
        }
    }
}

/// Notes that the last answer may be out of date, or no longer so.
fn trouble(answers: &watch::Sender<Option<Served>>, cause: Option<String>) {
    answers.send_if_modified(|served| {
        if served.is_none() && cause.is_none() {
            return false;
        }
        let served = served.get_or_insert_default();
        let changed = served.trouble != cause;
        served.trouble = cause;
        changed
    });
}

fn crd(document: &Value) -> Crd {
    const BUNDLE_VERSION: &str = "gateway.networking.k8s.io/bundle-version";
    const CHANNEL: &str = "gateway.networking.k8s.io/channel";
    let metadata = &document["metadata"];
    let name = metadata["name"].as_str().unwrap_or_default().to_owned();
    let annotation = |key: &str| Some(metadata.get("annotations")?.get(key)?.as_str()?.to_owned());
    let bundle = Kind::ALL
        .iter()
        .any(|kind| comes_with_crd(*kind) && crd_name(*kind) == name)
        .then(|| Bundle { version: annotation(BUNDLE_VERSION), channel: annotation(CHANNEL) });
    (name, bundle)
}

/// True if something may be served now that wasn't, or the other way round.
fn take(crds: &mut Option<BTreeMap<String, Bundle>>, told: News<Crd>) -> bool {
    match told {
        News::Listed(listed, _) => {
            *crds = Some(listed.into_iter().filter_map(|(name, bundle)| Some((name, bundle?))).collect());
            true
        }
        News::Put((name, Some(bundle))) => {
            crds.get_or_insert_default().insert(name, bundle);
            true
        }
        News::Removed((name, Some(_))) => crds.get_or_insert_default().remove(&name).is_some(),
        _ => false,
    }
}

/// Kind and version of everything that is served of the groups that may be missing or have several versions.
async fn ask(client: &Client, kinds: &[Kind]) -> kube::Result<BTreeSet<(Kind, &'static str)>> {
    const NOT_FOUND: u16 = 404;
    let asked = kinds.iter().filter(|kind| !is_always_there(**kind));
    let groups: BTreeSet<_> =
        asked.flat_map(|kind| kind.versions().iter().map(|version| (kind.group(), *version))).collect();
    let mut found = BTreeSet::new();
    for (group, version) in groups {
        let resources = match client.list_api_group_resources(&format!("{group}/{version}")).await {
            Ok(list) => list.resources,
            Err(kube::Error::Api(status)) if status.code == NOT_FOUND => continue,
            Err(error) => return Err(error),
        };
        let of_group =
            kinds.iter().filter(|kind| kind.group() == group && kind.versions().contains(&version));
        let there = of_group.filter(|kind| resources.iter().any(|resource| resource.name == kind.plural()));
        found.extend(there.map(|kind| (*kind, version)));
    }
    Ok(found)
}

/// What follows from CRDs and discovery; true if a CRD is there whose kind isn't served yet.
///
/// A kind goes away when its CRD does, not when discovery leaves it out: an API server that has just started may do
/// that for a moment.
fn settle(
    kinds: &[Kind],
    crds: &BTreeMap<String, Bundle>,
    found: &BTreeSet<(Kind, &'static str)>,
) -> (Served, bool) {
    let mut versions = BTreeMap::new();
    let mut missing = false;
    for &kind in kinds {
        let preferred = kind.versions().iter().copied();
        let version = if is_always_there(kind) {
            preferred.into_iter().next()
        } else {
            preferred.into_iter().find(|version| found.contains(&(kind, *version)))
        };
        let expected = !comes_with_crd(kind) || crds.contains_key(&crd_name(kind));
        missing |= comes_with_crd(kind) && expected && version.is_none();
        versions.extend(version.filter(|_| expected).map(|version| (kind, version)));
    }
    (Served { versions, crds: crds.clone(), trouble: None }, missing)
}

/// Kinds that every Kubernetes has in the one version that we read.
fn is_always_there(kind: Kind) -> bool {
    !comes_with_crd(kind) && kind.versions().len() == 1
}

fn comes_with_crd(kind: Kind) -> bool {
    !matches!(kind.group(), "" | "discovery.k8s.io" | "certificates.k8s.io")
}

fn crd_name(kind: Kind) -> String {
    format!("{}.{}", kind.plural(), kind.group())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn kinds_need_their_crd_and_get_the_preferred_version() {
        let kinds = [Kind::TcpRoute, Kind::HttpRoute, Kind::Service, Kind::ClusterTrustBundle];
        let crds = |names: &[&str]| -> BTreeMap<_, _> {
            names.iter().map(|name| ((*name).to_owned(), Bundle::default())).collect()
        };
        let tcp = "tcproutes.gateway.networking.k8s.io";
        let cases = [
            ("nothing but Kubernetes", crds(&[]), vec![], vec![(Kind::Service, "v1")], false),
            (
                "the preferred version",
                crds(&[tcp]),
                vec![(Kind::TcpRoute, "v1alpha2"), (Kind::TcpRoute, "v1")],
                vec![(Kind::TcpRoute, "v1"), (Kind::Service, "v1")],
                false,
            ),
            (
                "an older bundle",
                crds(&[tcp]),
                vec![(Kind::TcpRoute, "v1alpha2"), (Kind::ClusterTrustBundle, "v1beta1")],
                vec![
                    (Kind::TcpRoute, "v1alpha2"),
                    (Kind::Service, "v1"),
                    (Kind::ClusterTrustBundle, "v1beta1"),
                ],
                false,
            ),
            ("not served yet", crds(&[tcp]), vec![], vec![(Kind::Service, "v1")], true),
            ("still served", crds(&[]), vec![(Kind::TcpRoute, "v1")], vec![(Kind::Service, "v1")], false),
        ];
        for (case, crds, found, versions, missing) in cases {
            let (served, is_missing) = settle(&kinds, &crds, &found.into_iter().collect());
            assert_eq!(served.versions, versions.into_iter().collect(), "{case}");
            assert_eq!(is_missing, missing, "{case}");
        }
    }

    #[test]
    fn crds_say_which_bundle_they_are_of() {
        let document = |name: &str| {
            json!({"metadata": {"name": name, "annotations": {
                "gateway.networking.k8s.io/bundle-version": "v1.6.3",
                "gateway.networking.k8s.io/channel": "standard",
            }}})
        };
        let bundle = Bundle { version: Some("v1.6.3".into()), channel: Some("standard".into()) };
        let name = "gateways.gateway.networking.k8s.io";
        assert_eq!(crd(&document(name)), (name.to_owned(), Some(bundle)));
        assert_eq!(crd(&document("tables.example.com")).1, None);
    }
}
