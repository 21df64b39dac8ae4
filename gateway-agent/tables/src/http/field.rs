//! Field names, field values and methods that are what RFC 9110 says.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A header field's name, in lower case (RFC 9110, 5.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FieldName(http::HeaderName);

/// A header field's value, without white space around it (RFC 9110, 5.5).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<u8>", into = "Vec<u8>")]
pub struct FieldValue(http::HeaderValue);

/// A request method, in the case that it was given (RFC 9110, 9.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MethodName(http::Method);

/// Text that can't stand in a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidField {
    #[error("{0:?} is no header name; use letters, digits and !#$%&'*+-.^_`|~")]
    Name(String),
    #[error("{0:?} can't be the value of a header; remove line breaks and control characters")]
    Value(String),
    #[error("{0:?} is no method; use letters, digits and !#$%&'*+-.^_`|~")]
    Method(String),
}

impl FieldName {
    /// Fields that say how a message is framed or what becomes of its connection (RFC 9110, 7.6.1): the proxy's own,
    /// which no rule may edit. Content-Length is among them since a wrong one makes two requests of one.
    const OF_THE_CONNECTION: [&str; 8] = [
        "connection",
        "content-length",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];

    pub fn parse(text: &str) -> Result<Self, InvalidField> {
        http::HeaderName::from_bytes(text.as_bytes())
            .map(Self)
            .map_err(|_| InvalidField::Name(text.to_owned()))
    }

    pub fn header_name(&self) -> &http::HeaderName {
        &self.0
    }

    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whether the field belongs to the connection and its framing, not to the request.
    pub fn is_of_the_connection(&self) -> bool {
        Self::OF_THE_CONNECTION.contains(&self.as_str())
    }
}

impl FieldValue {
    pub fn parse(text: &str) -> Result<Self, InvalidField> {
        Self::from_bytes(text.as_bytes())
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidField> {
        // Space and tab: what RFC 9110 (5.5) does not count as part of a value.
        let trimmed = bytes.trim_ascii();
        http::HeaderValue::from_bytes(trimmed)
            .map(Self)
            .map_err(|_| InvalidField::Value(String::from_utf8_lossy(bytes).into_owned()))
    }

    pub fn header_value(&self) -> &http::HeaderValue {
        &self.0
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl MethodName {
    pub fn parse(text: &str) -> Result<Self, InvalidField> {
        http::Method::from_bytes(text.as_bytes()).map(Self).map_err(|_| InvalidField::Method(text.to_owned()))
    }

    pub fn method(&self) -> &http::Method {
        &self.0
    }
}

impl TryFrom<String> for FieldName {
    type Error = InvalidField;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<FieldName> for String {
    fn from(name: FieldName) -> Self {
        name.as_str().to_owned()
    }
}

impl TryFrom<Vec<u8>> for FieldValue {
    type Error = InvalidField;

    fn try_from(bytes: Vec<u8>) -> Result<Self, Self::Error> {
        Self::from_bytes(&bytes)
    }
}

impl From<FieldValue> for Vec<u8> {
    fn from(value: FieldValue) -> Self {
        value.as_bytes().to_vec()
    }
}

impl TryFrom<String> for MethodName {
    type Error = InvalidField;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<MethodName> for String {
    fn from(method: MethodName) -> Self {
        method.0.as_str().to_owned()
    }
}

impl fmt::Display for FieldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for FieldValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.as_bytes()))
    }
}

impl fmt::Display for MethodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_stand_in_a_message_is_read() {
        for name in ["X-Header-1", "a", "!#$%&'*+-.^_`|~"] {
            assert!(FieldName::parse(name).is_ok(), "{name}");
        }
        for name in ["", ":method", "a b", "a/b", "ä", "a\r\n"] {
            assert!(FieldName::parse(name).is_err(), "{name:?}");
        }
        for value in ["", "one two", "tab\there", "ä"] {
            assert!(FieldValue::parse(value).is_ok(), "{value:?}");
        }
        for value in ["a\r\nb: c", "a\nb", "a\0b", "\u{7f}"] {
            assert!(FieldValue::parse(value).is_err(), "{value:?}");
        }
        assert!(MethodName::parse("GET").is_ok());
        assert!(MethodName::parse("G T").is_err() && MethodName::parse("").is_err());
    }

    #[test]
    fn names_have_no_case_and_values_no_space_around_them() {
        assert_eq!(FieldName::parse("X-Foo"), FieldName::parse("x-foo"));
        assert_eq!(FieldValue::parse(" a b\t"), FieldValue::parse("a b"));
        assert_ne!(FieldValue::parse("A"), FieldValue::parse("a"));
        assert_ne!(MethodName::parse("get"), MethodName::parse("GET"));
    }

    #[test]
    fn framing_is_the_connections_own() {
        for name in ["Transfer-Encoding", "content-length", "Connection"] {
            assert!(FieldName::parse(name).expect("a name").is_of_the_connection(), "{name}");
        }
        assert!(!FieldName::parse("Host").expect("a name").is_of_the_connection());
    }
}
