//! Which namespaces a listener or Gateway lets in.

use gateway_agent_api::Namespace;
use gateway_agent_api::gateway::{
    GatewayAllowedListenersNamespacesSelector, GatewayListenersAllowedRoutesNamespacesSelector,
};
use gateway_agent_api::listener_set::ListenerSetListenersAllowedRoutesNamespacesSelector;

use crate::Snapshot;

/// The label that the API server puts on every namespace; files may lack it.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// The namespaces whose objects may attach to an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Namespaces {
    All,
    /// The one that the object itself is in.
    Same,
    None,
    Selected(Selector),
}

/// A label selector; all its parts must fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selector {
    labels: Vec<(String, String)>,
    expressions: Vec<Expression>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Expression {
    key: String,
    operator: String,
    values: Vec<String>,
}

impl Namespaces {
    /// A rule that wants a selector but has none lets nobody in.
    pub(crate) fn selected(selector: Option<impl Into<Selector>>) -> Self {
        selector.map_or(Self::None, |selector| Self::Selected(selector.into()))
    }

    /// Whether objects of `namespace` may attach to one of `own`.
    pub(crate) fn admit(&self, namespace: &str, own: &str, snapshot: &Snapshot) -> bool {
        match self {
            Self::All => true,
            Self::Same => namespace == own,
            Self::None => false,
            Self::Selected(selector) => selector.selects(namespace, snapshot),
        }
    }

    /// Ends a sentence that begins with "takes objects of".
    pub(crate) fn rule(&self) -> &'static str {
        match self {
            Self::All => "all namespaces",
            Self::Same => "its own namespace only",
            Self::None => "no namespace",
            Self::Selected(_) => "namespaces that its selector matches",
        }
    }
}

impl Selector {
    /// Whether a namespace has the labels that are asked for. A namespace that isn't known has its name only.
    fn selects(&self, namespace: &str, snapshot: &Snapshot) -> bool {
        let object = snapshot.named::<Namespace>("", namespace);
        let labels = object.and_then(|object| object.metadata.labels.as_ref());
        let value = |key: &str| match key {
            NAME_LABEL => Some(namespace),
            _ => labels.and_then(|labels| labels.get(key)).map(String::as_str),
        };
        self.labels.iter().all(|(key, wanted)| value(key) == Some(wanted.as_str()))
            && self.expressions.iter().all(|expression| expression.fits(value(&expression.key)))
    }
}

impl Expression {
    fn fits(&self, value: Option<&str>) -> bool {
        let listed = || value.is_some_and(|value| self.values.iter().any(|one| one == value));
        match self.operator.as_str() {
            "In" => listed(),
            "NotIn" => !listed(),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            // The API leaves the operator open; what can't be understood must let nobody in.
            _ => false,
        }
    }
}

/// The generated types differ in name only.
macro_rules! selector {
    ($($type:ty),+) => {$(
        impl From<&$type> for Selector {
            fn from(selector: &$type) -> Self {
                let labels = selector.match_labels.iter().flatten();
                let expressions = selector.match_expressions.iter().flatten();
                Self {
                    labels: labels.map(|(key, value)| (key.clone(), value.clone())).collect(),
                    expressions: expressions
                        .map(|expression| Expression {
                            key: expression.key.clone(),
                            operator: expression.operator.clone(),
                            values: expression.values.clone().unwrap_or_default(),
                        })
                        .collect(),
                }
            }
        }
    )+};
}

selector!(
    GatewayAllowedListenersNamespacesSelector,
    GatewayListenersAllowedRoutesNamespacesSelector,
    ListenerSetListenersAllowedRoutesNamespacesSelector
);
