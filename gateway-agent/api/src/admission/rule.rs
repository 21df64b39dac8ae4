//! CEL rules of CRDs (x-kubernetes-validations).

use std::fmt;

use cel::{Context, Program};
use serde::Deserialize;
use serde_json::Value;

use super::finding::Finding;

/// A condition on one value that the schema can't express.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Source")]
pub(super) struct Rule {
    program: Program,
    message: String,
    /// The rule names fields by their escaped names: see [`escaped`].
    escapes: bool,
    /// It compares with the object's earlier state, which admission of files doesn't have.
    is_transition: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    rule: String,
    message: String,
}

impl TryFrom<Source> for Rule {
    type Error = cel::ParseErrors;

    fn try_from(source: Source) -> Result<Self, Self::Error> {
        Ok(Self {
            program: Program::compile(&source.rule)?,
            message: source.message,
            escapes: source.rule.contains(ESCAPED_NAMESPACE),
            is_transition: source.rule.contains("oldSelf"),
        })
    }
}

impl Rule {
    /// What is wrong with the value, if the rule doesn't hold. A rule that can't be evaluated is taken to hold: it
    /// uses one of Kubernetes' own CEL libraries.
    pub(super) fn breach(&self, value: &Value, path: impl fmt::Display) -> Option<Finding> {
        if self.is_transition {
            return None;
        }
        let value = if self.escapes { &escaped(value.clone()) } else { value };
        let holds = STANDARD.with(|standard| {
            let mut context = standard.new_inner_scope();
            context.add_variable("self", value).ok()?;
            self.program.execute(&context).ok()
        })?;
        (holds == cel::Value::Bool(false))
            .then(|| Finding::new(path.to_string(), self.message.as_str(), "change the fields that it names"))
    }
}

thread_local! {
    /// CEL's own functions: making them takes longer than any rule.
    static STANDARD: Context<'static, 'static> = Context::default();
}

/// How rules write the field `namespace`, a reserved word of CEL.
const ESCAPED_NAMESPACE: &str = "__namespace__";

fn escaped(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, field)| {
                let name = if name == "namespace" { ESCAPED_NAMESPACE.to_owned() } else { name };
                (name, escaped(field))
            })
            .collect(),
        Value::Array(items) => items.into_iter().map(escaped).collect(),
        _ => value,
    }
}
