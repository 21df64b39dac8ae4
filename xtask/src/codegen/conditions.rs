//! The conditions and reasons that the Gateway API's Go sources define.
//!
//! Go has a constant for each condition type and each reason, named `<kind>Condition<type>` and `<kind>Reason<reason>`;
//! which reason goes with which condition stands in the comments.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::module;
use super::output::Output;
use super::types::formatted;

/// In the module.
const FOLDERS: [&str; 2] = ["apis/v1", "apisx/v1alpha1"];

/// Kind, condition type, reason.
type Triple = (String, String, String);

pub(super) fn generate(module: &Path, to: &mut Output) -> Result<()> {
    let mut triples = BTreeSet::new();
    for folder in FOLDERS {
        for entry in fs::read_dir(module.join(folder)).with_context(|| format!("listing {folder}"))? {
            let path = entry?.path();
            if path.to_string_lossy().ends_with("_types.go") {
                let source = fs::read_to_string(&path)?;
                triples.extend(parse(&source).with_context(|| format!("reading {}", path.display()))?);
            }
        }
    }
    let mut text = format!(
        "//! Every reason that the Go sources of Gateway API {} define, with the condition and the kind it is for.
         //!
         //! `Route` is any kind of route, `Policy` any policy, `Listener` one of a Gateway, `ListenerEntry` one of a
         //! ListenerSet, `Backend` an XBackend and `Mesh` an XMesh.

         /// Kind, condition type, reason.
         pub const ALL: &[(&str, &str, &str)] = &[\n",
        module::VERSION
    );
    for (kind, condition, reason) in &triples {
        // Writing to a String can't fail.
        let _ = writeln!(text, "({kind:?}, {condition:?}, {reason:?}),");
    }
    to.source("conditions", formatted(&(text + "];\n"))?);
    Ok(())
}

/// What one file defines.
fn parse(source: &str) -> Result<BTreeSet<Triple>> {
    let mut triples = BTreeSet::new();
    let mut comment = String::new();
    // The condition that the constants of this block belong to, unless their comments name others.
    let mut current: Option<String> = None;
    for line in source.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("//") {
            comment.push_str(text.trim());
            comment.push('\n');
            continue;
        }
        if line == ")" {
            current = None;
        }
        if let Some(constant) = Constant::parse(line) {
            let documented = std::mem::take(&mut comment);
            if constant.is_reason {
                let mut conditions = conditions_in(&documented);
                if conditions.is_empty() {
                    let belongs = current.clone();
                    conditions
                        .push(belongs.with_context(|| format!("{} is for no condition", constant.value))?);
                }
                for condition in conditions {
                    triples.insert((constant.kind.clone(), condition, constant.value.clone()));
                }
            } else {
                for reason in reasons_in(&documented) {
                    triples.insert((constant.kind.clone(), constant.value.clone(), reason));
                }
                current = Some(constant.value);
            }
        }
        comment.clear();
    }
    Ok(triples)
}

/// A constant such as `RouteReasonPending RouteConditionReason = "Pending"`.
struct Constant {
    kind: String,
    is_reason: bool,
    value: String,
}

impl Constant {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let (name, of_type, equals, value) = (words.next()?, words.next()?, words.next()?, words.next()?);
        let is_reason = of_type.ends_with("ConditionReason");
        if equals != "=" || !(is_reason || of_type.ends_with("ConditionType")) {
            return None;
        }
        let (kind, _) = name.split_once(if is_reason { "Reason" } else { "Condition" })?;
        let value = value.strip_prefix('"')?.strip_suffix('"')?;
        Some(Self { kind: kind.to_owned(), is_reason, value: value.to_owned() })
    }
}

/// From a reason's comment: `This reason is used with the "Accepted" and "Programmed" conditions when ...`.
fn conditions_in(comment: &str) -> Vec<String> {
    let text = comment.replace('\n', " ");
    let named = text.split_once("used with the ").and_then(|(_, rest)| rest.split_once(" condition"));
    named.map(|(list, _)| quoted(list)).unwrap_or_default()
}

/// From a condition's comment, the lines such as `* "Pending"`.
fn reasons_in(comment: &str) -> Vec<String> {
    comment
        .lines()
        .filter_map(|line| line.strip_prefix("* \"")?.strip_suffix('"'))
        .map(str::to_owned)
        .collect()
}

fn quoted(text: &str) -> Vec<String> {
    text.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_go_with_the_conditions_that_comments_and_blocks_name() {
        let source = r#"
            const (
                // Says whether it works. Reasons:
                //
                // * "Broken"
                ThingConditionReady ThingConditionType = "Ready"

                // Used when it works.
                ThingReasonReady ThingConditionReason = "Ready"

                // This reason is used with the "Ready" and
                // "Accepted" conditions when the "Gateway" is late.
                ThingReasonLate ThingConditionReason = "Late"
            )

            const Other OtherType = "Other"
        "#;
        let found = parse(source).expect("every reason has its condition");
        let expected = [("Accepted", "Late"), ("Ready", "Broken"), ("Ready", "Late"), ("Ready", "Ready")]
            .map(|(condition, reason)| ("Thing".to_owned(), condition.to_owned(), reason.to_owned()));
        assert_eq!(found.into_iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_reason_for_nothing_is_an_error() {
        parse("const (\n\tAReasonB AConditionReason = \"B\"\n)\n").expect_err("no condition");
    }
}
