//! One status, written.

use std::time::Duration;

use gateway_agent_api::ObjectRef;
use kube::Client;
use kube::core::Request;
use kube::core::params::{Patch, PatchParams};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::source::cluster::cause;

/// A status on its way.
#[derive(Clone, Debug)]
pub struct Write {
    pub name: ObjectRef,
    /// Of the objects of its kind in its namespace.
    pub path: String,
    /// What the status was merged into: the write fails if it is no longer that.
    pub resource_version: String,
    /// The status that it was merged into.
    pub before: Option<Value>,
    /// The fields of the status that change.
    pub status: Value,
}

/// How it went.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The object as it is now.
    Written(Value),
    /// Somebody else was faster; what they wrote is on its way to us.
    Conflict,
    /// The object is gone.
    Gone,
    Failed(String),
}

/// A request that takes longer is tried again later.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who changed what, in managedFields.
const FIELD_MANAGER: &str = "gateway-agent";

impl Write {
    /// Writes it.
    pub async fn send(&self, client: &Client) -> Answer {
        match timeout(PATIENCE, self.patch(client)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => Answer::Failed(cause(&error)),
            Err(_) => Answer::Failed("no answer from the API server".into()),
        }
    }

    async fn patch(&self, client: &Client) -> kube::Result<Answer> {
        const NOT_FOUND: u16 = 404;
        const CONFLICT: u16 = 409;
        let body = json!({ "metadata": { "resourceVersion": self.resource_version }, "status": self.status });
        let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
        let objects = Request::new(&self.path);
        let request = objects.patch_subresource("status", &self.name.name, &parameters, &Patch::Merge(body));
        let answer = client.request(request.map_err(kube::Error::BuildRequest)?).await;
        match code(&answer) {
            Some(NOT_FOUND) => Ok(Answer::Gone),
            Some(CONFLICT) => Ok(Answer::Conflict),
            _ => answer.map(Answer::Written),
        }
    }
}

fn code<T>(answer: &kube::Result<T>) -> Option<u16> {
    match answer {
        Err(kube::Error::Api(status)) => Some(status.code),
        _ => None,
    }
}
