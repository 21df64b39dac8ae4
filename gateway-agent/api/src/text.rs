//! Objects as text: what YAML and JSON say, with the line on which each document begins.

use serde_json::Value;
use serde_saphyr::Spanned;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Yaml,
    /// One value after another, with or without blanks between them.
    Json,
}

/// One object as it stands there, not yet admitted.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    pub line: u64,
    pub value: Value,
}

/// Why a text can't be taken apart.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    #[error("not UTF-8 text: invalid byte at offset {offset}")]
    Encoding { offset: usize },
    /// Line 0: not known.
    #[error("not YAML that is accepted: {cause}")]
    Yaml { line: u64, cause: String },
    #[error("not JSON: {cause}")]
    Json { line: u64, cause: String },
}

impl TextError {
    /// 0: the whole text is meant.
    pub fn line(&self) -> u64 {
        match self {
            Self::Encoding { .. } => 0,
            Self::Yaml { line, .. } | Self::Json { line, .. } => *line,
        }
    }
}

/// Deepest nesting of any CRD that we admit is below 20; this bounds the recursion.
const MAX_DEPTH: usize = 64;

/// Nodes that aliases may add in one text: anchors serve to repeat a few lines, not to build bombs.
const MAX_ALIASED_NODES: usize = 10_000;

/// The documents of a text. One syntax error refuses all of it: what follows the error can't be known.
pub fn parse(form: Form, text: &[u8]) -> Result<Vec<Document>, TextError> {
    let text =
        std::str::from_utf8(text).map_err(|error| TextError::Encoding { offset: error.valid_up_to() })?;
    match form {
        Form::Yaml => parse_yaml(text),
        Form::Json => parse_json(text),
    }
}

fn parse_yaml(text: &str) -> Result<Vec<Document>, TextError> {
    serde_saphyr::from_multiple_with_options::<Spanned<Value>>(text, yaml_options(text.len()))
        .map(|documents| {
            let document = |d: Spanned<Value>| Document { line: d.referenced.line(), value: d.value };
            documents.into_iter().map(document).collect()
        })
        .map_err(|error| TextError::Yaml {
            line: error.location().map_or(0, |l| l.line()),
            cause: error.to_string(),
        })
}

/// The text's size already bounds what it says once, since a node takes a byte at least; these bound what it
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

fn parse_json(text: &str) -> Result<Vec<Document>, TextError> {
    let mut documents = Vec::new();
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    loop {
        let begin = values.byte_offset();
        let Some(value) = values.next() else { return Ok(documents) };
        let value =
            value.map_err(|error| TextError::Json { line: error.line() as u64, cause: error.to_string() })?;
        let blank = text[begin..].bytes().take_while(u8::is_ascii_whitespace).count();
        let line = 1 + text[..begin + blank].bytes().filter(|b| *b == b'\n').count() as u64;
        documents.push(Document { line, value });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parsed(form: Form, text: &str) -> Result<Vec<(u64, Value)>, String> {
        parse(form, text.as_bytes())
            .map(|documents| documents.into_iter().map(|d| (d.line, d.value)).collect())
            .map_err(|error| format!("{}: {error}", error.line()))
    }

    #[test]
    fn yaml_documents_have_their_lines() {
        let text = "# comment\n---\na: 1\n---\n# nothing here\n---\nb: [x, true, 1.5, ~]\nc: 'on'\n...\n";
        assert_eq!(
            parsed(Form::Yaml, text).unwrap(),
            [(3, json!({"a": 1})), (7, json!({"b": ["x", true, 1.5, null], "c": "on"}))]
        );
        assert_eq!(parsed(Form::Yaml, "# only a comment\n").unwrap(), []);
        assert_eq!(parsed(Form::Yaml, "").unwrap(), []);
    }

    #[test]
    fn long_comments_and_anchors_are_fine() {
        let comment = "# line\n".repeat(500);
        let text = format!("{comment}a: &a {{x: 1}}\n{comment}b: *a\n");
        assert_eq!(parsed(Form::Yaml, &text).unwrap(), [(501, json!({"a": {"x": 1}, "b": {"x": 1}}))]);
    }

    #[test]
    fn json_documents_have_their_lines() {
        assert_eq!(
            parsed(Form::Json, "{\"a\": 1}\n\n{\"b\":\n 2}\n").unwrap(),
            [(1, json!({"a": 1})), (3, json!({"b": 2}))]
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (form, text, expected) in [
            (Form::Yaml, "a: 1\nb: [1, 2\nc: 3\n", "3: not YAML that is accepted: "),
            (Form::Yaml, "a: 1\na: 2\n", "2: not YAML that is accepted: "),
            (Form::Yaml, "a: b: c\n", "1: not YAML that is accepted: "),
            (Form::Json, "{\"a\": 1}\n{\"b\"", "2: not JSON: "),
        ] {
            let message = parsed(form, text).expect_err(text);
            assert!(message.starts_with(expected), "{text:?}: {message}");
        }
        assert_eq!(parse(Form::Yaml, b"a: \xff"), Err(TextError::Encoding { offset: 3 }));
    }

    #[test]
    fn nesting_is_bounded() {
        for text in ["[".repeat(100_000), "a: {".repeat(100_000), "- ".repeat(100_000)] {
            parsed(Form::Yaml, &text).expect_err("deep nesting is refused");
        }
        parsed(Form::Json, &"[".repeat(100_000)).expect_err("deep nesting is refused");
    }

    #[test]
    fn alias_bombs_are_refused() {
        let level = |level: usize| {
            let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
            format!("a{level}: &a{level} [{aliases}]\n")
        };
        let text = format!("a0: &a0 [x]\n{}", (1..10).map(level).collect::<String>());
        parsed(Form::Yaml, &text).expect_err("ten to the ninth nodes are refused");
    }
}
