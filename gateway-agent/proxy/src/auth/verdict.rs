//! What a service decides.

use gateway_agent_tables::http::{FieldName, FieldValue};
use http::StatusCode;

use super::query::QueryEdits;
use crate::h1::Fields;

#[derive(Debug)]
pub(super) enum Verdict {
    Granted(Grant),
    Denied(Denial),
}

/// The request goes on, with these changes to it and to its response.
#[derive(Debug, Default)]
pub(super) struct Grant {
    pub(super) request: Edits,
    pub(super) query: QueryEdits,
    pub(super) response: Option<Edits>,
}

/// What the client gets instead.
#[derive(Debug)]
pub(crate) struct Denial {
    pub(crate) status: StatusCode,
    pub(crate) fields: Vec<(FieldName, FieldValue)>,
    pub(crate) body: Vec<u8>,
}

impl Denial {
    pub(super) fn bare(status: StatusCode) -> Self {
        Self { status, fields: Vec::new(), body: Vec::new() }
    }
}

/// Changes to the fields of a head, in their order.
#[derive(Debug, Default)]
pub(crate) struct Edits(Vec<Edit>);

#[derive(Debug)]
enum Edit {
    Remove(FieldName),
    Append(FieldName, FieldValue),
    /// Unless the field is there.
    AppendIfAbsent(FieldName, FieldValue),
    /// Only if the field is there.
    Replace(FieldName, FieldValue),
}

impl Edits {
    pub(super) fn remove(&mut self, name: FieldName) {
        self.0.push(Edit::Remove(name));
    }

    pub(super) fn append(&mut self, name: FieldName, value: FieldValue) {
        self.0.push(Edit::Append(name, value));
    }

    pub(super) fn set(&mut self, name: FieldName, value: FieldValue) {
        self.remove(name.clone());
        self.append(name, value);
    }

    pub(super) fn append_if_absent(&mut self, name: FieldName, value: FieldValue) {
        self.0.push(Edit::AppendIfAbsent(name, value));
    }

    pub(super) fn replace(&mut self, name: FieldName, value: FieldValue) {
        self.0.push(Edit::Replace(name, value));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn apply<'a>(&'a self, fields: &mut Fields<'a>) {
        for edit in &self.0 {
            match edit {
                Edit::Remove(name) => fields.remove(name.as_str()),
                Edit::Append(name, value) => fields.push(name.as_str(), value.as_bytes()),
                Edit::AppendIfAbsent(name, value) if fields.first(name.as_str()).is_none() => {
                    fields.push(name.as_str(), value.as_bytes());
                }
                Edit::Replace(name, value) if fields.first(name.as_str()).is_some() => {
                    fields.remove(name.as_str());
                    fields.push(name.as_str(), value.as_bytes());
                }
                Edit::AppendIfAbsent(..) | Edit::Replace(..) => {}
            }
        }
    }
}

/// Whether a service may change this field: not the one that has led the request here, nor those of the connection.
pub(super) fn may_change(name: &FieldName) -> bool {
    name.as_str() != "host" && !name.is_of_the_connection()
}
