//! Structural schemas (the part of `OpenAPI` v3 that CRDs use): defaults, unknown fields, validation.

use std::collections::BTreeMap;
use std::fmt;

use regex::Regex;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::finding::{Finding, Review, type_name};
use super::rule::{self, Rule};
use crate::own::gateway_config::DURATION_PATTERN;

/// One node of a schema. A keyword that isn't here fails the parse of the CRD, so none is ignored by accident.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Schema {
    #[serde(rename = "type")]
    kind: Option<Type>,
    properties: BTreeMap<String, Schema>,
    additional_properties: Option<Box<Schema>>,
    items: Option<Box<Schema>>,
    required: Vec<String>,
    default: Option<Value>,
    #[serde(rename = "enum")]
    values: Option<Vec<Value>>,
    #[serde(deserialize_with = "pattern")]
    pattern: Option<Regex>,
    format: Option<Format>,
    #[serde(deserialize_with = "bound")]
    minimum: Option<i64>,
    #[serde(deserialize_with = "bound")]
    maximum: Option<i64>,
    min_length: Option<usize>,
    max_length: Option<usize>,
    min_items: Option<usize>,
    max_items: Option<usize>,
    min_properties: Option<usize>,
    max_properties: Option<usize>,
    any_of: Vec<Schema>,
    one_of: Vec<Schema>,
    not: Option<Box<Schema>>,
    #[serde(rename = "x-kubernetes-list-type")]
    list_type: Option<ListType>,
    #[serde(rename = "x-kubernetes-list-map-keys")]
    list_map_keys: Vec<String>,
    #[serde(rename = "x-kubernetes-map-type")]
    _map_type: Option<String>,
    #[serde(rename = "x-kubernetes-validations")]
    rules: Vec<Rule>,
    /// Nulls count as absent anyway.
    #[serde(rename = "nullable")]
    _nullable: bool,
    #[serde(rename = "title")]
    _title: IgnoredAny,
    #[serde(rename = "description")]
    _description: IgnoredAny,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Type {
    Object,
    Array,
    String,
    Integer,
    Boolean,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Format {
    Int32,
    Int64,
    Ipv4,
    Ipv6,
    DateTime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ListType {
    Atomic,
    Set,
    Map,
}

impl Schema {
    /// Fills in defaults, drops unknown fields with a warning, and reports everything that breaks the schema.
    pub(super) fn review(&self, document: &mut Value, review: &mut Review) {
        self.complete(document, &Path::Root, true, &mut review.warnings);
        self.validate(document, &Path::Root, &mut review.errors);
    }

    /// Pruning and defaulting, in the API server's order: nulls count as absent.
    fn complete(&self, value: &mut Value, path: &Path<'_>, root: bool, warnings: &mut Vec<Finding>) {
        match value {
            Value::Object(fields) => {
                fields.retain(|_, field| !field.is_null());
                self.prune(fields, path, root, warnings);
                for (name, schema) in &self.properties {
                    if let Some(default) = &schema.default {
                        fields.entry(name.as_str()).or_insert_with(|| default.clone());
                    }
                }
                for (name, field) in fields.iter_mut() {
                    if let Some(schema) = self.field(name) {
                        schema.complete(field, &Path::Field(path, name), false, warnings);
                    }
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    if let Some(schema) = &self.items {
                        schema.complete(item, &Path::Item(path, index), false, warnings);
                    }
                }
            }
            _ => {}
        }
    }

    fn prune(
        &self,
        fields: &mut Map<String, Value>,
        path: &Path<'_>,
        root: bool,
        warnings: &mut Vec<Finding>,
    ) {
        // metadata has a bare schema in every CRD; its type is checked on decoding.
        let open =
            matches!(path, Path::Field(Path::Root, "metadata")) || self.additional_properties.is_some();
        if open {
            return;
        }
        fields.retain(|name, _| {
            let known = self.properties.contains_key(name)
                || (root && matches!(name.as_str(), "apiVersion" | "kind" | "metadata"));
            if !known {
                warnings.push(Finding::unknown_field(Path::Field(path, name).to_string()));
            }
            known
        });
    }

    fn field(&self, name: &str) -> Option<&Self> {
        self.properties.get(name).or(self.additional_properties.as_deref())
    }

    fn validate(&self, value: &Value, path: &Path<'_>, errors: &mut Vec<Finding>) {
        if let Some(kind) = self.kind
            && !kind.fits(value)
        {
            errors.push(Finding::new(
                path.to_string(),
                format!("{} where {} is due", described(value), kind.words()),
                format!("write {}", kind.words()),
            ));
            return;
        }
        match value {
            Value::Object(fields) => self.validate_fields(fields, path, errors),
            Value::Array(items) => self.validate_items(items, path, errors),
            Value::String(text) => self.validate_text(text, path, errors),
            Value::Number(_) => self.validate_number(value, path, errors),
            Value::Bool(_) | Value::Null => {}
        }
        self.validate_choice(value, path, errors);
        // The API server runs a rule only on what is otherwise valid, since a rule may rely on that.
        if errors.is_empty() {
            errors.extend(rule::breaches(&self.rules, value, path));
        }
    }

    fn validate_fields(&self, fields: &Map<String, Value>, path: &Path<'_>, errors: &mut Vec<Finding>) {
        for name in self.required.iter().filter(|name| !fields.contains_key(*name)) {
            let path = Path::Field(path, name).to_string();
            errors.push(Finding::new(path, "required but missing", "add it"));
        }
        if let Some(least) = self.min_properties.filter(|least| fields.len() < *least) {
            let cause = format!("{} fields where at least {least} are due", fields.len());
            errors.push(Finding::new(path.to_string(), cause, "add what is missing"));
        }
        if let Some(most) = self.max_properties.filter(|most| fields.len() > *most) {
            errors.push(too_many(path, fields.len(), most));
        }
        for (name, field) in fields {
            if let Some(schema) = self.field(name) {
                schema.validate(field, &Path::Field(path, name), errors);
            }
        }
    }

    fn validate_items(&self, items: &[Value], path: &Path<'_>, errors: &mut Vec<Finding>) {
        if let Some(least) = self.min_items.filter(|least| items.len() < *least) {
            let cause = format!("{} items where at least {least} are due", items.len());
            errors.push(Finding::new(path.to_string(), cause, "add what is missing"));
        }
        if let Some(most) = self.max_items.filter(|most| items.len() > *most) {
            errors.push(too_many(path, items.len(), most));
            return;
        }
        for (index, item) in items.iter().enumerate() {
            if let Some(schema) = &self.items {
                schema.validate(item, &Path::Item(path, index), errors);
            }
            if let Some(earlier) = self.duplicate_of(items, index) {
                errors.push(Finding::new(
                    Path::Item(path, index).to_string(),
                    format!("same {} as item {earlier}", self.identity()),
                    "remove or rename one of the two",
                ));
            }
        }
    }

    /// An earlier item that may not stand beside this one in a set or map list.
    fn duplicate_of(&self, items: &[Value], index: usize) -> Option<usize> {
        let same = |other: &Value| match self.list_type {
            Some(ListType::Set) => *other == items[index],
            Some(ListType::Map) => self
                .list_map_keys
                .iter()
                .all(|key| other.get(key).is_some() && other.get(key) == items[index].get(key)),
            Some(ListType::Atomic) | None => false,
        };
        items[..index].iter().position(same)
    }

    fn identity(&self) -> String {
        if self.list_map_keys.is_empty() { "value".to_owned() } else { self.list_map_keys.join(" and ") }
    }

    fn validate_text(&self, text: &str, path: &Path<'_>, errors: &mut Vec<Finding>) {
        let length = text.chars().count();
        if let Some(least) = self.min_length.filter(|least| length < *least) {
            let cause = format!("{text:?} is shorter than {least} characters");
            errors.push(Finding::new(path.to_string(), cause, "write a longer value"));
        }
        if let Some(most) = self.max_length.filter(|most| length > *most) {
            let cause = format!("{length} characters where at most {most} are allowed");
            errors.push(Finding::new(path.to_string(), cause, "shorten it"));
        }
        if let Some(pattern) = self.pattern.as_ref().filter(|pattern| !pattern.is_match(text)) {
            let (cause, fix) = if pattern.as_str() == DURATION_PATTERN {
                (format!("{text:?} is no span of time"), "write one such as 1h30m, 10s or 500ms")
            } else {
                (format!("{text:?} does not match {pattern}"), "write a value of that form")
            };
            errors.push(Finding::new(path.to_string(), cause, fix));
        }
        if let Some(format) = self.format.filter(|format| !format.fits(text)) {
            let cause = format!("{text:?} is no {}", format.words());
            errors.push(Finding::new(path.to_string(), cause, format!("write a valid {}", format.words())));
        }
    }

    fn validate_number(&self, value: &Value, path: &Path<'_>, errors: &mut Vec<Finding>) {
        let Some(number) = value.as_i64() else { return };
        let least = self.minimum.or((self.format == Some(Format::Int32)).then_some(i64::from(i32::MIN)));
        let most = self.maximum.or((self.format == Some(Format::Int32)).then_some(i64::from(i32::MAX)));
        let fits = least.is_none_or(|least| number >= least) && most.is_none_or(|most| number <= most);
        if !fits {
            let fix = match (least, most) {
                (Some(least), Some(most)) => format!("use a number from {least} to {most}"),
                (Some(least), None) => format!("use {least} or more"),
                (None, most) => format!("use at most {}", most.unwrap_or(i64::MAX)),
            };
            errors.push(Finding::new(path.to_string(), format!("{number} is out of range"), fix));
        }
    }

    fn validate_choice(&self, value: &Value, path: &Path<'_>, errors: &mut Vec<Finding>) {
        if let Some(values) = self.values.as_ref().filter(|values| !values.contains(value)) {
            let allowed = values.iter().map(plain).collect::<Vec<_>>().join(", ");
            let cause = format!("{} is not a known value", described(value));
            errors.push(Finding::new(path.to_string(), cause, format!("use one of {allowed}")));
        }
        if let Some(not) = &self.not
            && not.errors(value, path).is_empty()
        {
            let cause = format!("{} is not allowed here", described(value));
            errors.push(Finding::new(path.to_string(), cause, "use another value"));
        }
        for (alternatives, exactly_one) in [(&self.any_of, false), (&self.one_of, true)] {
            let outcomes: Vec<_> = alternatives.iter().map(|schema| schema.errors(value, path)).collect();
            let fitting = outcomes.iter().filter(|errors| errors.is_empty()).count();
            if fitting == 0 {
                // The first alternative is the usual one in every CRD of the Gateway API.
                errors.extend(outcomes.into_iter().next().unwrap_or_default());
            } else if exactly_one && fitting > 1 {
                let cause = format!("{} fits several forms that exclude each other", described(value));
                errors.push(Finding::new(path.to_string(), cause, "keep the fields of one form"));
            }
        }
    }

    fn errors(&self, value: &Value, path: &Path<'_>) -> Vec<Finding> {
        let mut errors = Vec::new();
        self.validate(value, path, &mut errors);
        errors
    }
}

impl Type {
    fn fits(self, value: &Value) -> bool {
        match self {
            Self::Object => value.is_object(),
            Self::Array => value.is_array(),
            Self::String => value.is_string(),
            Self::Integer => value.is_i64() || value.is_u64(),
            Self::Boolean => value.is_boolean(),
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Object => "a mapping",
            Self::Array => "a list",
            Self::String => "a string",
            Self::Integer => "an integer",
            Self::Boolean => "true or false",
        }
    }
}

impl Format {
    fn fits(self, text: &str) -> bool {
        match self {
            Self::Ipv4 => text.parse::<std::net::Ipv4Addr>().is_ok(),
            Self::Ipv6 => text.parse::<std::net::Ipv6Addr>().is_ok(),
            // Times stand in metadata and status only, whose types check them.
            Self::Int32 | Self::Int64 | Self::DateTime => true,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Int32 => "32-bit integer",
            Self::Int64 => "64-bit integer",
            Self::Ipv4 => "IPv4 address",
            Self::Ipv6 => "IPv6 address",
            Self::DateTime => "time",
        }
    }
}

/// The way from the document's root to a value.
enum Path<'a> {
    Root,
    Field(&'a Path<'a>, &'a str),
    Item(&'a Path<'a>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Field(Self::Root, name) => f.write_str(name),
            Self::Field(parent, name) => write!(f, "{parent}.{name}"),
            Self::Item(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

fn too_many(path: &Path<'_>, count: usize, most: usize) -> Finding {
    Finding::new(path.to_string(), format!("{count} items where at most {most} are allowed"), "remove some")
}

fn described(value: &Value) -> String {
    match value {
        Value::Object(_) | Value::Array(_) | Value::Null => type_name(value).to_owned(),
        _ => value.to_string(),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Bounds are of any number type in the schema's language; those of integers are whole.
fn bound<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let number = serde_json::Number::deserialize(deserializer)?;
    let whole = number.to_string().trim_end_matches(".0").parse();
    whole.map(Some).map_err(|_| serde::de::Error::custom(format!("{number} is no whole number")))
}

fn pattern<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Regex>, D::Error> {
    let text = String::deserialize(deserializer)?;
    Regex::new(&text).map(Some).map_err(serde::de::Error::custom)
}
