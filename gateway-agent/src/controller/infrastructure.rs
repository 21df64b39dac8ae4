//! Makes the objects that stand for Gateways and XBackends, and removes those that stand for none.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gateway_agent_api::{Kind, ObjectRef};
use gateway_agent_routing::{Snapshot, is_infrastructure};
use kube::Client;
use kube::core::Request;
use kube::core::params::{DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::time::timeout;
use tracing::info;

use crate::source::cluster::{Task, cause};

/// Looks after them.
#[derive(Debug, Default)]
pub struct Infrastructure {
    /// What was written, and when: it is seen a moment later.
    written: BTreeMap<ObjectRef, (String, Instant)>,
    failures: Arc<Mutex<BTreeMap<ObjectRef, String>>>,
    work: Option<Task>,
}

/// What is to be done about an object.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    Apply(ObjectRef, Value),
    Remove(ObjectRef, String),
    /// Somebody else has an object of that name.
    Refuse(ObjectRef),
}

/// Names what an object was made from, so that a change of that is seen whatever the API server has added.
const FINGERPRINT: &str = "gateway-agent.io/fingerprint";

/// Who changed what, in managedFields.
const FIELD_MANAGER: &str = "gateway-agent";

/// Until what was written is seen, or is written again.
const RETRY: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(10);

impl Infrastructure {
    /// Makes what there shall be what it shall be. The next look comes some seconds later at most.
    pub fn look(
        &mut self,
        client: &Client,
        wanted: &BTreeMap<ObjectRef, Value>,
        snapshot: &Snapshot,
        path: impl Fn(&ObjectRef) -> Option<String>,
    ) {
        if self.work.as_ref().is_some_and(|work| !work.is_finished()) {
            return;
        }
        let now = Instant::now();
        self.written.retain(|_, (_, at)| now.duration_since(*at) < RETRY);
        let mut todo = Vec::new();
        for step in steps(wanted, snapshot) {
            let mark = step.mark();
            let Some(path) = path(step.object()) else { continue };
            if self.written.get(step.object()).is_none_or(|(before, _)| *before != mark) {
                self.written.insert(step.object().clone(), (mark, now));
                todo.push((step, path));
            }
        }
        let (client, failures) = (client.clone(), Arc::clone(&self.failures));
        lock(&failures).retain(|object, _| wanted.contains_key(object));
        self.work = (!todo.is_empty()).then(|| {
            Task::spawn(async move {
                for (step, path) in todo {
                    let failure = step.take(&client, &path).await.err();
                    let mut failures = lock(&failures);
                    match failure {
                        Some(failure) => drop(failures.insert(step.object().clone(), failure)),
                        None => drop(failures.remove(step.object())),
                    }
                }
            })
        });
    }

    pub fn problems(&self) -> Vec<String> {
        let failures = lock(&self.failures);
        failures.iter().map(|(object, failure)| format!("{object}: {failure}")).collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is not as it shall be.
fn steps(wanted: &BTreeMap<ObjectRef, Value>, snapshot: &Snapshot) -> Vec<Step> {
    let mut steps = Vec::new();
    for (name, object) in wanted {
        let found = snapshot.find(name);
        if found.is_some_and(|found| !is_infrastructure(name.kind, found.metadata())) {
            steps.push(Step::Refuse(name.clone()));
            continue;
        }
        let object = marked(object);
        let found = found.and_then(|found| found.to_json().ok());
        let essence = |part: &str| found.as_ref().is_some_and(|found| holds(&found[part], &object[part]));
        let parts = ["spec", "addressType", "endpoints", "ports"];
        let labels = found.as_ref().is_some_and(|found| {
            ["labels", "annotations"]
                .iter()
                .all(|part| holds(&found["metadata"][part], &object["metadata"][part]))
        });
        if !labels || !parts.iter().all(|part| essence(part)) {
            steps.push(Step::Apply(name.clone(), object));
        }
    }
    let ours = [Kind::Service, Kind::EndpointSlice].into_iter().flat_map(|kind| snapshot.of_kind(kind));
    for object in ours.filter(|object| is_infrastructure(object.kind(), object.metadata())) {
        let name = object.object_ref();
        if !wanted.contains_key(&name) {
            steps.push(Step::Remove(name, object.metadata().uid.clone().unwrap_or_default()));
        }
    }
    steps
}

fn marked(object: &Value) -> Value {
    let mut object = object.clone();
    let digest = Sha256::digest(object.to_string());
    let fingerprint = digest.iter().take(8).fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    object["metadata"]["annotations"][FINGERPRINT] = fingerprint.into();
    object
}

/// Whether what was found says all that is wanted; it may say more.
fn holds(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (_, Value::Null) => true,
        (Value::Object(found), Value::Object(wanted)) => {
            wanted.iter().all(|(name, wanted)| holds(found.get(name).unwrap_or(&Value::Null), wanted))
        }
        (Value::Array(found), Value::Array(wanted)) => {
            found.len() == wanted.len()
                && found.iter().zip(wanted).all(|(found, wanted)| holds(found, wanted))
        }
        // An empty list or map is left out.
        (Value::Null, Value::Array(wanted)) => wanted.is_empty(),
        (Value::Null, Value::Object(wanted)) => wanted.is_empty(),
        _ => found == wanted,
    }
}

impl Step {
    fn object(&self) -> &ObjectRef {
        match self {
            Self::Apply(object, _) | Self::Remove(object, _) | Self::Refuse(object) => object,
        }
    }

    /// Tells a step from others that were taken for the same object.
    fn mark(&self) -> String {
        match self {
            Self::Apply(_, object) => object["metadata"]["annotations"][FINGERPRINT].to_string(),
            Self::Remove(_, uid) => format!("removed {uid}"),
            Self::Refuse(_) => "refused".to_owned(),
        }
    }

    async fn take(&self, client: &Client, path: &str) -> Result<(), String> {
        const NOT_FOUND: u16 = 404;
        let objects = Request::new(path);
        let (request, done) = match self {
            Self::Apply(object, wanted) => {
                // What others have changed of it since is ours.
                let parameters = PatchParams::apply(FIELD_MANAGER).force();
                (objects.patch(&object.name, &parameters, &Patch::Apply(wanted)), "made")
            }
            Self::Remove(object, uid) => {
                let only = Preconditions { uid: Some(uid.clone()), resource_version: None };
                let parameters = DeleteParams { preconditions: Some(only), ..DeleteParams::default() };
                (objects.delete(&object.name, &parameters), "removed, since it stands for nothing any more")
            }
            Self::Refuse(object) => {
                return Err(format!(
                    "somebody else made this {}, so that the Gateway or XBackend that it would stand for has none; give one \
                     of them another name",
                    object.kind
                ));
            }
        };
        let request = request.map_err(|error| error.to_string())?;
        match timeout(PATIENCE, client.request::<Value>(request)).await {
            Ok(Ok(_)) => {
                info!(event = "infrastructure", "{}: {done}", self.object());
                Ok(())
            }
            Ok(Err(kube::Error::Api(status))) if status.code == NOT_FOUND => Ok(()),
            Ok(Err(error)) => Err(format!("it can't be written: {}; it is tried again", cause(&error))),
            Err(_) => Err("it can't be written: no answer from the API server; it is tried again".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use gateway_agent_api::Object;
    use serde_json::json;

    use super::*;

    fn service(labels: &Value, port: u16) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": { "namespace": "n", "name": "s", "uid": "u", "labels": labels, "annotations": {} },
            "spec": { "clusterIP": "None", "ports": [{ "port": port }] },
        })
    }

    /// `found` stands in the cluster as it was written, with what an API server adds.
    fn shown(found: Option<Value>, wanted: Option<Value>) -> Vec<&'static str> {
        let name = ObjectRef::new(Kind::Service, "n", "s");
        let mut snapshot = Snapshot::default();
        if let Some(mut found) = found {
            found["spec"]["type"] = "ClusterIP".into();
            snapshot.insert(Object::decode(Kind::Service, found, &mut |_| ()).unwrap());
        }
        let wanted = wanted.map(|wanted| (name, wanted)).into_iter().collect();
        let short = |step: &Step| match step {
            Step::Apply(..) => "apply",
            Step::Remove(..) => "remove",
            Step::Refuse(..) => "refuse",
        };
        steps(&wanted, &snapshot).iter().map(short).collect()
    }

    #[test]
    fn what_is_not_as_it_shall_be_is_written() {
        let ours = json!({ "app.kubernetes.io/managed-by": "gateway-agent" });
        let good = || service(&ours, 80);
        assert_eq!(shown(None, Some(good())), ["apply"]);
        assert_eq!(shown(Some(marked(&good())), Some(good())), [""; 0]);
        let mut tampered = marked(&good());
        tampered["spec"]["ports"][0]["port"] = 81.into();
        assert_eq!(shown(Some(tampered), Some(good())), ["apply"]);
        // Of what is no longer wanted, only the fingerprint tells.
        let mut labels = ours.clone();
        labels["team"] = "x".into();
        assert_eq!(shown(Some(marked(&service(&labels, 80))), Some(good())), ["apply"]);
        assert_eq!(shown(Some(service(&json!({}), 80)), Some(good())), ["refuse"]);
        assert_eq!(shown(Some(marked(&good())), None), ["remove"]);
        assert_eq!(shown(Some(service(&json!({}), 80)), None), [""; 0]);
    }
}
