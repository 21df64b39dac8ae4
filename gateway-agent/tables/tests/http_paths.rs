//! Laws of normalised paths: what is matched is what is forwarded, and nobody finds more in it.

use gateway_agent_tables::http::{DoubledSlashes, EncodedSlashes, Path, PathRules};
use proptest::prelude::*;

fn rules() -> impl Strategy<Value = PathRules> {
    let slashes =
        prop::sample::select(vec![EncodedSlashes::Keep, EncodedSlashes::Decode, EncodedSlashes::Refuse]);
    let doubled = prop::sample::select(vec![DoubledSlashes::Merge, DoubledSlashes::Keep]);
    (slashes, doubled)
        .prop_map(|(encoded_slashes, doubled_slashes)| PathRules { encoded_slashes, doubled_slashes })
}

/// Of what matters: dots, slashes, encodings of both, of letters and of themselves, and what need not be encoded.
fn path() -> impl Strategy<Value = String> {
    "(/|\\.|\\.\\.|%2[eEfF5]|%5[cC]|%41|%7[cCeE]|%00|%|;|[a-c|!]){0,12}".prop_map(|rest| format!("/{rest}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn a_normal_path_stays_as_it_is(rules in rules(), path in path()) {
        let Ok(normal) = rules.normalise(&path) else { return Ok(()) };
        let again = rules.normalise(&normal);
        prop_assert_eq!(again.as_deref(), Ok(&*normal));
        prop_assert!(normal.starts_with('/'));
        prop_assert!(normal.split('/').all(|segment| segment != "." && segment != ".."));
        if rules.doubled_slashes == DoubledSlashes::Merge {
            prop_assert!(!normal.contains("//"));
        }
        if rules.encoded_slashes != EncodedSlashes::Keep {
            prop_assert!(!normal.contains("%2F"));
        }
    }

    /// An endpoint that decodes once and resolves then, slashes and backslashes alike, ends below where the path does.
    #[test]
    fn nobody_finds_another_way_in_it(rules in rules(), path in path()) {
        let Ok(normal) = rules.normalise(&path) else { return Ok(()) };
        let decoded = normal.replace("%2F", "/").replace("%5C", "/");
        prop_assert!(decoded.split('/').all(|segment| segment.split(';').next() != Some("..")), "{}", normal);
    }

    /// A route's path has the spelling that requests' paths get: whatever a client writes, it meets the rule.
    #[test]
    fn routes_are_spelled_as_requests_are(path in "(/[a-cA-C~!:@-]{1,3}){1,4}", encode: Vec<bool>) {
        let mut encode = encode.into_iter().chain(std::iter::repeat(false));
        let other: String = path
            .chars()
            .map(|c| match encode.next() {
                Some(true) if c.is_ascii_alphanumeric() || c == '-' || c == '~' => format!("%{:02x}", c as u32),
                _ => c.to_string(),
            })
            .collect();
        let rule = Path::parse(&other).expect("a path");
        for request in [&path, &other] {
            let normal = PathRules::default().normalise(request);
            prop_assert_eq!(normal.as_deref(), Ok(rule.as_str()));
        }
    }
}
