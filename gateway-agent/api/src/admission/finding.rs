//! What admission has to say about one place in an object.

use std::fmt;

use serde_json::Value;

use crate::{DecodeError, Kind, Object};

/// Something wrong at one place of an object: where, what, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Such as `spec.listeners[0].port`; empty for the document itself.
    pub path: String,
    pub cause: String,
    pub fix: String,
}

/// The findings gathered so far for one object.
#[derive(Debug, Default)]
pub(super) struct Review {
    /// The object can't be used.
    pub(super) errors: Vec<Finding>,
    /// The object can be used without what these name.
    pub(super) warnings: Vec<Finding>,
}

impl Finding {
    pub(super) fn new(path: impl Into<String>, cause: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { path: path.into(), cause: cause.into(), fix: fix.into() }
    }

    pub(super) fn unknown_field(path: impl Into<String>) -> Self {
        Self::new(
            path,
            "unknown field, dropped",
            "remove it, or look for a misspelling or a wrong indentation",
        )
    }
}

impl Review {
    pub(super) fn error(
        &mut self,
        path: impl fmt::Display,
        cause: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.errors.push(Finding::new(path.to_string(), cause, fix));
    }

    /// Decodes what passed so far and lets `review` look at the typed object.
    pub(super) fn decode(
        mut self,
        kind: Kind,
        document: Value,
        review: fn(&Object, &mut Self),
    ) -> Result<(Object, Vec<Finding>), Vec<Finding>> {
        let warnings = &mut self.warnings;
        let decoded = Object::decode(kind, document, &mut |path| warnings.push(Finding::unknown_field(path)));
        match decoded {
            Ok(object) => {
                review(&object, &mut self);
                if self.errors.is_empty() { Ok((object, self.warnings)) } else { Err(self.errors) }
            }
            Err(DecodeError { path, cause }) => {
                Err(vec![Finding::new(path, cause, "write a value of the type that the API defines")])
            }
        }
    }
}

/// The type of a JSON value, in words.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a fraction",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

/// All findings in one line.
pub(super) fn list(findings: &[Finding]) -> String {
    findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{} ({})", self.cause, self.fix)
    }
}
