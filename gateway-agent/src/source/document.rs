//! From a file's bytes to its documents.

use std::path::Path;

use serde_json::Value;
use serde_saphyr::Spanned;

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

/// Deepest nesting of any CRD that we admit is below 20; this bounds the recursion.
const MAX_DEPTH: usize = 64;

/// Nodes that aliases may add in one file: anchors serve to repeat a few lines, not to build bombs.
const MAX_ALIASED_NODES: usize = 10_000;

/// The documents of a YAML or JSON file. One syntax error refuses the whole file: what
/// follows it can't be known, and objects must not vanish because a file is half-written.
pub fn parse(file: &Path, text: &[u8]) -> Result<Vec<Document>, Problem> {
    let text = std::str::from_utf8(text).map_err(|error| {
        Problem::of_file(
            file,
            format!("not UTF-8 text: invalid byte at offset {}", error.valid_up_to()),
            "save it as UTF-8",
        )
    })?;
    if file.extension().is_some_and(|e| e == "json") {
        parse_json(file, text)
    } else {
        parse_yaml(file, text)
    }
}

fn parse_yaml(file: &Path, text: &str) -> Result<Vec<Document>, Problem> {
    serde_saphyr::from_multiple_with_options::<Spanned<Value>>(text, yaml_options(text.len()))
        .map(|documents| {
            documents
                .into_iter()
                .map(|document| Document {
                    place: Place { file: file.to_owned(), line: document.referenced.line() },
                    value: document.value,
                })
                .collect()
        })
        .map_err(|error| yaml_problem(file, &error))
}

/// The file's size already bounds what it says once, since a node takes a byte at least; these bound what it
/// repeats by aliases and how deep it nests.
fn yaml_options(bytes: usize) -> serde_saphyr::Options {
    let own = bytes + 16;
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_events: 2 * own,
            max_nodes: own + MAX_ALIASED_NODES,
            max_documents: own,
            max_total_scalar_bytes: own,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_ALIASED_NODES,
        },
        strict_booleans: true,
        with_snippet: false,
    }
}

fn yaml_problem(file: &Path, error: &serde_saphyr::Error) -> Problem {
    Problem {
        place: Place { file: file.to_owned(), line: error.location().map_or(0, |l| l.line()) },
        object: None,
        cause: format!("not YAML that is accepted: {error}"),
        fix: "correct it (a running agent keeps what it said last)".into(),
    }
}

fn parse_json(file: &Path, text: &str) -> Result<Vec<Document>, Problem> {
    let mut documents = Vec::new();
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    loop {
        let begin = values.byte_offset();
        let Some(value) = values.next() else { return Ok(documents) };
        let value = value.map_err(|error| Problem {
            place: Place { file: file.to_owned(), line: error.line() as u64 },
            object: None,
            cause: format!("not JSON: {error}"),
            fix: "correct it (a running agent keeps what it said last)".into(),
        })?;
        let blank = text[begin..].bytes().take_while(u8::is_ascii_whitespace).count();
        let line = 1 + text[..begin + blank].bytes().filter(|b| *b == b'\n').count() as u64;
        documents.push(Document { place: Place { file: file.to_owned(), line }, value });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse_as(name: &str, text: &str) -> Result<Vec<(u64, Value)>, String> {
        parse(Path::new(name), text.as_bytes())
            .map(|documents| documents.into_iter().map(|d| (d.place.line, d.value)).collect())
            .map_err(|problem| problem.to_string())
    }

    #[test]
    fn yaml_documents_have_their_lines() {
        let text = "# comment\n---\na: 1\n---\n# nothing here\n---\nb: [x, true, 1.5, ~]\nc: 'on'\n...\n";
        assert_eq!(
            parse_as("f.yaml", text).unwrap(),
            [(3, json!({"a": 1})), (7, json!({"b": ["x", true, 1.5, null], "c": "on"}))]
        );
        assert_eq!(parse_as("f.yaml", "# only a comment\n").unwrap(), []);
        assert_eq!(parse_as("f.yaml", "").unwrap(), []);
    }

    #[test]
    fn long_comments_and_anchors_are_fine() {
        let comment = "# line\n".repeat(500);
        let text = format!("{comment}a: &a {{x: 1}}\n{comment}b: *a\n");
        assert_eq!(parse_as("f.yaml", &text).unwrap(), [(501, json!({"a": {"x": 1}, "b": {"x": 1}}))]);
    }

    #[test]
    fn json_documents_have_their_lines() {
        assert_eq!(
            parse_as("f.json", "{\"a\": 1}\n\n{\"b\":\n 2}\n").unwrap(),
            [(1, json!({"a": 1})), (3, json!({"b": 2}))]
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (name, text, expected) in [
            ("f.yaml", "a: 1\nb: [1, 2\nc: 3\n", "f.yaml:"),
            ("f.yaml", "a: 1\na: 2\n", "f.yaml:2: not YAML that is accepted: "),
            ("f.yaml", "a: b: c\n", "f.yaml:1: not YAML that is accepted: "),
            ("f.json", "{\"a\": 1}\n{\"b\"", "f.json:2: not JSON: "),
        ] {
            let message = parse_as(name, text).expect_err(text);
            assert!(message.starts_with(expected), "{text:?}: {message}");
        }
        let message = parse(Path::new("f.yaml"), b"a: \xff").unwrap_err().to_string();
        assert_eq!(message, "f.yaml: not UTF-8 text: invalid byte at offset 3; save it as UTF-8");
    }

    #[test]
    fn nesting_is_bounded() {
        for text in ["[".repeat(100_000), "a: {".repeat(100_000), "- ".repeat(100_000)] {
            parse_as("f.yaml", &text).expect_err("deep nesting is refused");
        }
        parse_as("f.json", &"[".repeat(100_000)).expect_err("deep nesting is refused");
    }

    #[test]
    fn alias_bombs_are_refused() {
        let level = |level: usize| {
            let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
            format!("a{level}: &a{level} [{aliases}]\n")
        };
        let text = format!("a0: &a0 [x]\n{}", (1..10).map(level).collect::<String>());
        parse_as("f.yaml", &text).expect_err("ten to the ninth nodes are refused");
    }
}
