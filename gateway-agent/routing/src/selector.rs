//! Label selectors on namespaces.

use std::collections::BTreeMap;

use gateway_agent_api::Namespace;
use gateway_agent_api::gateway::{
    GatewayListenersAllowedRoutesNamespacesSelector as Selector,
    GatewayListenersAllowedRoutesNamespacesSelectorMatchExpressions as Expression,
};

use crate::Snapshot;

/// The label that the API server puts on every namespace; files may lack it.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Whether a namespace has the labels that a selector asks for. A namespace that isn't known has its name only.
pub(crate) fn selects(selector: &Selector, namespace: &str, snapshot: &Snapshot) -> bool {
    let mut labels = snapshot
        .named::<Namespace>("", namespace)
        .and_then(|object| object.metadata.labels.clone())
        .unwrap_or_default();
    labels.insert(NAME_LABEL.to_owned(), namespace.to_owned());
    let exact = selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    exact && selector.match_expressions.iter().flatten().all(|expression| fits(expression, &labels))
}

fn fits(expression: &Expression, labels: &BTreeMap<String, String>) -> bool {
    let value = labels.get(&expression.key);
    let listed = || value.is_some_and(|value| expression.values.iter().flatten().any(|one| one == value));
    match expression.operator.as_str() {
        "In" => listed(),
        "NotIn" => !listed(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        // The API leaves the operator open; what can't be understood must let nobody in.
        _ => false,
    }
}
