//! From a file's bytes to its documents.

use std::path::Path;

use gateway_agent_api::text::{self, Form, TextError};
use serde_json::Value;

use super::{Place, Problem};

/// One object as it stands in a file, not yet admitted.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    pub place: Place,
    pub value: Value,
}

/// Larger files are refused unread. etcd takes 1.5 MiB per object by default and 5,000 routes of a kilobyte make
/// 5 MiB; what is larger is a mistake far more often than a configuration, and each byte costs up to 40 when parsed.
pub const MAX_FILE_BYTES: u64 = 8 << 20;

/// The documents of a YAML or JSON file, or what is wrong with all of it: objects must not vanish because a file is
/// half-written.
pub fn parse(file: &Path, bytes: &[u8]) -> Result<Vec<Document>, Problem> {
    let form = if file.extension().is_some_and(|e| e == "json") { Form::Json } else { Form::Yaml };
    let place = |line| Place { file: file.to_owned(), line };
    match text::parse(form, bytes) {
        Ok(documents) => {
            Ok(documents.into_iter().map(|d| Document { place: place(d.line), value: d.value }).collect())
        }
        Err(error) => Err(Problem {
            place: place(error.line()),
            object: None,
            cause: error.to_string(),
            fix: match error {
                TextError::Encoding { .. } => "save it as UTF-8",
                TextError::Yaml { .. } | TextError::Json { .. } => {
                    "correct it (a running agent keeps what it said last)"
                }
            }
            .into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_has_its_place_and_a_way_out() {
        for (name, bytes, expected) in [
            ("f.yaml", &b"a: \xff"[..], "f.yaml: not UTF-8 text: invalid byte at offset 3; save it as UTF-8"),
            (
                "f.yml",
                b"a: 1\nb: {\n",
                "f.yml:2: not YAML that is accepted: unclosed bracket '{' at line 2, column 4; correct it (a running agent \
                 keeps what it said last)",
            ),
            (
                "f.json",
                b"{\"a\": 1}\n{\"b\"",
                "f.json:2: not JSON: EOF while parsing an object at line 2 column 4; correct it (a running agent keeps \
                 what it said last)",
            ),
        ] {
            let problem = parse(Path::new(name), bytes).expect_err(name);
            assert_eq!(problem.to_string(), expected);
        }
    }
}
