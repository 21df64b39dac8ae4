//! CEL rules of CRDs (x-kubernetes-validations).

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use cel::extensions;
use cel::{Context, Env, ExecutionError, Program};
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

/// What is wrong with a value by these rules. A rule that can't be evaluated is taken to hold: it uses what neither CEL nor
/// [`library`] has.
pub(super) fn breaches(rules: &[Rule], value: &Value, path: impl fmt::Display) -> Vec<Finding> {
    if rules.is_empty() {
        return Vec::new();
    }
    LIBRARY.with(|library| {
        // One for all rules: handing the value over takes longer than most of them.
        let mut context = library.new_inner_scope();
        let escapes = rules.iter().any(|rule| rule.escapes);
        let value = if escapes { &escaped(value.clone()) } else { value };
        if context.add_variable("self", value).is_err() {
            return Vec::new();
        }
        let broken = rules.iter().filter(|rule| rule.evaluate(&context) == Some(false));
        broken
            .map(|rule| {
                Finding::new(path.to_string(), rule.message.as_str(), "change the fields that it names")
            })
            .collect()
    })
}

impl Rule {
    /// None: it can't be evaluated.
    fn evaluate(&self, context: &Context<'_, '_>) -> Option<bool> {
        if self.is_transition {
            return None;
        }
        match self.program.execute(context).ok()? {
            cel::Value::Bool(holds) => Some(holds),
            _ => None,
        }
    }
}

thread_local! {
    /// What rules may call: making it takes longer than any rule.
    static LIBRARY: Context<'static, 'static> = library();
}

/// CEL's own functions, and of Kubernetes' those that the CRDs use: strings, durations, addresses.
fn library() -> Context<'static, 'static> {
    let mut env = Env::stdlib();
    env.add_extension(extensions::strings).expect("CEL's strings clash with nothing");
    let mut context = Context::with_env(Arc::new(env));
    let nanoseconds = |text: Arc<String>| {
        duration(&text).ok_or_else(|| ExecutionError::function_error("duration", format!("{text:?} is none")))
    };
    let is_ip = |text: Arc<String>| text.parse::<IpAddr>().is_ok();
    context.add_function("duration", nanoseconds).expect("the name is free");
    context.add_function("isIP", is_ip).expect("the name is free");
    context
}

/// Nanoseconds of a span as Go and GEP-2257 write it: whole numbers, each with its unit. Rules only compare them.
fn duration(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut sum: i64 = 0;
    while !rest.is_empty() {
        let (number, unit) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let end = unit.find(|c: char| c.is_ascii_digit()).unwrap_or(unit.len());
        let factor: i64 = match &unit[..end] {
            "h" => 3_600_000_000_000,
            "m" => 60_000_000_000,
            "s" => 1_000_000_000,
            "ms" => 1_000_000,
            _ => return None,
        };
        sum = sum.checked_add(number.parse::<i64>().ok()?.checked_mul(factor)?)?;
        rest = &unit[end..];
    }
    (!text.is_empty()).then_some(sum)
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn durations_are_compared() {
        for (text, nanoseconds) in [
            ("1h30m", Some(5_400_000_000_000)),
            ("500ms", Some(500_000_000)),
            ("0s", Some(0)),
            ("", None),
            ("5", None),
            ("5d", None),
            ("99999999999999999h", None),
        ] {
            assert_eq!(duration(text), nanoseconds, "{text:?}");
        }
    }

    #[test]
    fn rules_may_call_what_kubernetes_has() {
        let rule = |text: &str| Rule::try_from(Source { rule: text.to_owned(), message: String::new() });
        for (text, value) in [
            ("duration(self) < duration('1h')", json!("59m")),
            ("!isIP(self)", json!("a.example")),
            ("self.substring(2).matches('^a')", json!("*.a.example")),
            ("self.split('/')[0].size() < 253", json!("example.com/key")),
            ("self.matches(r\"\"\"^(?i)a$\"\"\")", json!("A")),
        ] {
            let rule = rule(text).expect("a rule");
            let mut context = library();
            context.add_variable("self", &value).expect("a value");
            assert_eq!(rule.evaluate(&context), Some(true), "{text}");
        }
    }
}
