//! W3C Trace Context, from the text of levels 1 and 2.

use gateway_agent_proxy::filter::TraceParent;
use gateway_agent_proxy::h1::Fields;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// What an endpoint gets, with 1, 2, 3 ... as random numbers.
fn passed_on(lines: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut fields = Fields::default();
    for (name, value) in lines {
        fields.push(name, value.as_bytes());
    }
    let mut last = 0;
    let trace = TraceParent::of(&fields, || {
        last += 1;
        last
    });
    trace.apply(&mut fields);
    let text = |value: &[u8]| String::from_utf8(value.to_vec()).expect("text");
    let found: Vec<_> = fields.iter().map(|field| (field.name.to_owned(), text(field.value))).collect();
    let parent = found.iter().find(|(name, _)| name == "traceparent").expect("always one");
    assert_eq!(parent.1.get(3..35), Some(trace.trace_id()));
    found
}

/// The only `traceparent` of an endpoint.
fn parent(lines: &[(&str, &str)]) -> String {
    let mut found = passed_on(lines).into_iter().filter(|(name, _)| name.eq_ignore_ascii_case("traceparent"));
    let one = found.next().expect("one");
    assert_eq!(found.next(), None);
    one.1
}

const NEW: &str = "00-00000001000000020000000300000004-0000000500000006-02";

#[test]
fn a_trace_goes_on_with_a_new_parent() {
    let continued = |flags: &str| format!("00-{TRACE}-0000000100000002-{flags}");
    let received = |version: &str, rest: &str| format!("{version}-{TRACE}-b7ad6b7169203331-{rest}");
    for (value, flags) in [
        (received("00", "00"), "00"),
        (received("00", "01"), "01"),
        (received("00", "03"), "03"),
        (received("00", "ff"), "03"),
        (received("01", "03"), "01"),
        (received("cc", "01-what the future will be like"), "01"),
        (received("fe", "00-"), "00"),
    ] {
        assert_eq!(parent(&[("Traceparent", &value)]), continued(flags), "{value}");
    }
}

#[test]
fn what_is_no_trace_begins_one() {
    assert_eq!(parent(&[]), NEW);
    let zero = "0".repeat(32);
    for value in [
        "",
        "00",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-011",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01more",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "0g-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-B7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0G",
        "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331_01",
        &format!("00-{zero}-b7ad6b7169203331-01"),
    ] {
        assert_eq!(parent(&[("traceparent", value)]), NEW, "{value}");
    }
    let good = format!("00-{TRACE}-b7ad6b7169203331-01");
    assert_eq!(parent(&[("traceparent", &good), ("TraceParent", &good)]), NEW, "twice");
}

#[test]
fn ids_are_never_zero() {
    let trace = TraceParent::of(&Fields::default(), || 0);
    assert_eq!(trace.trace_id(), format!("1{}", "0".repeat(31)));
}

#[test]
fn state_goes_on_as_it_is_or_not_at_all() {
    let good = format!("00-{TRACE}-b7ad6b7169203331-01");
    let states = |values: &[&str]| {
        let lines = values.iter().map(|value| ("tracestate", *value));
        let lines: Vec<_> = [("traceparent", good.as_str())].into_iter().chain(lines).collect();
        let found = passed_on(&lines).into_iter().filter(|(name, _)| name == "tracestate");
        found.map(|(_, value)| value).collect::<Vec<_>>()
    };
    let member = |number: usize| format!("k{number}=v");
    let members = |count: usize| (0..count).map(member).collect::<Vec<_>>().join(",");
    let long = "v".repeat(256);
    for values in [
        &["rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"][..],
        &["a=1", "b=2"],
        &["a=1 ,\tb=2,,"],
        &[""],
        &["fw529a3039@dt=a b!~", "0=1", "a_-*/@=x"],
        &[&members(32)],
        &[&format!("a={long}"), &format!("{}=1", "k".repeat(256))],
    ] {
        assert_eq!(states(values), values, "goes on");
    }
    for values in [
        &["a"][..],
        &["a="],
        &["=1"],
        &["A=1"],
        &["_a=1"],
        &["a b=1"],
        &["a=b=c"],
        &["a=1", "a=2"],
        &["a=\u{e4}"],
        &["a=\u{1}"],
        &[&members(33)],
        &[&format!("a={long}v")],
        &[&format!("{}=1", "k".repeat(257))],
    ] {
        assert_eq!(states(values), Vec::<String>::new(), "{values:?} is dropped");
    }
    let without = passed_on(&[("tracestate", "a=1")]);
    assert_eq!(without, [("traceparent".to_owned(), NEW.to_owned())], "a new trace has no state");
}
