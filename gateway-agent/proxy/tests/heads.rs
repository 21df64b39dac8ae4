//! Heads that are written are read as what they were, and no part of a head is taken for a whole one.

use gateway_agent_proxy::h1::{
    AnswerTo, Ending, Fault, Fields, Framing, HeadLimits, Offers, RequestHead, RequestLine, ResponseHead,
    write_request_head, write_response_head,
};
use http::Method;
use proptest::prelude::*;

proptest! {
    #[test]
    fn requests_come_back(
        method in token(), path in "(/[!-\"$-;=@-\\[\\]-~]{0,8}){1,3}", query in prop::option::of("[!-\"$-\\[\\]-~]{0,20}"),
        lines in lines(), framing in framing(), trailers: bool, upgrade: bool,
    ) {
        let method = Method::from_bytes(method.as_bytes()).expect("a token");
        prop_assume!(method != Method::CONNECT);
        let upgrade = (upgrade && framing == Framing::None).then_some(&b"websocket"[..]);
        let line = RequestLine { method: &method, path: &path, query: query.as_deref(), host: "a.example:81" };
        let mut sent = Vec::new();
        let waits = !matches!(framing, Framing::None | Framing::Length(0));
        write_request_head(&mut sent, line, &fields(&lines), framing, Offers { upgrade, waits, trailers });
        let head = whole(&sent, |bytes| RequestHead::parse(bytes, HeadLimits::default()))?;
        prop_assert_eq!((&head.method, head.target.path, head.target.query), (&method, &*path, query.as_deref()));
        prop_assert_eq!((head.host, head.framing, head.upgrade), ("a.example:81", framing, upgrade));
        prop_assert_eq!(head.takes_trailers, trailers && upgrade.is_none());
        prop_assert_eq!((head.expects_continue, head.len), (waits, sent.len()));
        prop_assert_eq!(found(&head.fields), lines);
    }

    #[test]
    fn responses_come_back(status in 200_u16..600, lines in lines(), framing in framing()) {
        prop_assume!(!matches!(status, 204 | 304));
        let framing = if framing == Framing::None { Framing::UntilClose } else { framing };
        let mut sent = Vec::new();
        write_response_head(&mut sent, (status, "Why Not"), &fields(&lines), framing, None, Ending::Close);
        let to = AnswerTo { head: false, upgrade: false };
        let head = whole(&sent, |bytes| ResponseHead::parse(bytes, to, HeadLimits::default()))?;
        prop_assert_eq!((head.status, head.reason, head.framing), (status, "Why Not", framing));
        prop_assert_eq!(found(&head.fields), lines);
    }
}

/// The head that these bytes are; no part of them is one, and none is refused.
fn whole<'a, T: std::fmt::Debug>(
    bytes: &'a [u8],
    parse: impl Fn(&'a [u8]) -> Result<Option<T>, Fault>,
) -> Result<T, TestCaseError> {
    for len in 0..bytes.len() {
        prop_assert!(
            matches!(parse(&bytes[..len]), Ok(None)),
            "{:?}",
            bytes[..len].escape_ascii().to_string()
        );
    }
    parse(bytes).ok().flatten().ok_or_else(|| TestCaseError::fail(bytes.escape_ascii().to_string()))
}

fn fields(lines: &[(String, Vec<u8>)]) -> Fields<'_> {
    let mut fields = Fields::default();
    for (name, value) in lines {
        fields.push(name, value);
    }
    fields
}

fn found(fields: &Fields<'_>) -> Vec<(String, Vec<u8>)> {
    fields.iter().map(|field| (field.name.to_owned(), field.value.to_vec())).collect()
}

fn token() -> impl Strategy<Value = String> {
    "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,12}"
}

/// Fields that mean nothing to the codec.
fn lines() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    let name = token().prop_map(|token| format!("x-{token}"));
    let value = "([!-~\u{e4}]([ \t!-~]{0,20}[!-~])?)?".prop_map(String::into_bytes);
    prop::collection::vec((name, value), 0..8)
}

fn framing() -> impl Strategy<Value = Framing> {
    prop_oneof![Just(Framing::None), any::<u64>().prop_map(Framing::Length), Just(Framing::Chunked)]
}
