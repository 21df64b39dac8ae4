//! What a GatewayConfig says about HTTP, in effect, and said again in full.

use std::time::Duration;

use gateway_agent_api::own::gateway_config::Duration as DurationText;
use gateway_agent_api::own::http::{
    DoubledSlashes as DoubledSpec, EncodedSlashes as EncodedSpec, Http, HttpLimits as LimitsSpec,
    HttpTimeouts, Paths,
};
use gateway_agent_api::own::telemetry::Telemetry;
use gateway_agent_tables::http::{
    DoubledSlashes, EncodedSlashes, HttpLimits, HttpSettings, HttpTelemetry, PathRules,
};

use crate::duration::duration;

/// The settings in effect. The schema has refused what is out of range; what isn't set has its default.
pub(crate) fn effective(http: Option<&Http>) -> HttpSettings {
    let Some(http) = http else { return HttpSettings::default() };
    HttpSettings {
        paths: http.paths.as_ref().map(path_rules).unwrap_or_default(),
        trusted_hops: number(http.trusted_hops, 0),
        limits: limits(http.limits.as_ref(), http.timeouts.as_ref()),
    }
}

/// What is told of requests, in effect.
pub(crate) fn telemetry(telemetry: Option<&Telemetry>) -> HttpTelemetry {
    telemetry.map_or_else(HttpTelemetry::default, |set| HttpTelemetry {
        access_log: set.access_log(),
        most_series: set.max_series(),
    })
}

/// The same settings with all of their defaults, for people.
pub(crate) fn in_full(settings: &HttpSettings) -> Http {
    let HttpSettings { paths, trusted_hops, limits } = settings;
    let count = |number: u32| Some(i32::try_from(number).unwrap_or(i32::MAX));
    let span = |span: Duration| Some(DurationText(spelled(span)));
    Http {
        paths: Some(Paths {
            encoded_slashes: Some(match paths.encoded_slashes {
                EncodedSlashes::Keep => EncodedSpec::Keep,
                EncodedSlashes::Decode => EncodedSpec::Decode,
                EncodedSlashes::Refuse => EncodedSpec::Refuse,
            }),
            doubled_slashes: Some(match paths.doubled_slashes {
                DoubledSlashes::Merge => DoubledSpec::Merge,
                DoubledSlashes::Keep => DoubledSpec::Keep,
            }),
        }),
        trusted_hops: Some((*trusted_hops).into()),
        limits: Some(LimitsSpec {
            head_bytes: count(limits.head_bytes),
            head_fields: Some(limits.head_fields.into()),
            body_bytes: limits.body_bytes.and_then(|bytes| i64::try_from(bytes).ok()),
            streams: count(limits.streams),
            connections: count(limits.connections),
            requests: count(limits.requests),
            endpoint_requests: limits.endpoint_requests.and_then(count),
        }),
        timeouts: Some(HttpTimeouts {
            head: span(limits.head_timeout),
            idle: span(limits.idle_timeout),
            stall: span(limits.stall_timeout),
        }),
    }
}

fn path_rules(paths: &Paths) -> PathRules {
    PathRules {
        encoded_slashes: match paths.encoded_slashes {
            None | Some(EncodedSpec::Keep) => EncodedSlashes::Keep,
            Some(EncodedSpec::Decode) => EncodedSlashes::Decode,
            Some(EncodedSpec::Refuse) => EncodedSlashes::Refuse,
        },
        doubled_slashes: match paths.doubled_slashes {
            None | Some(DoubledSpec::Merge) => DoubledSlashes::Merge,
            Some(DoubledSpec::Keep) => DoubledSlashes::Keep,
        },
    }
}

fn limits(limits: Option<&LimitsSpec>, timeouts: Option<&HttpTimeouts>) -> HttpLimits {
    let default = HttpLimits::default();
    let (limits, timeouts) = (limits.cloned().unwrap_or_default(), timeouts.cloned().unwrap_or_default());
    HttpLimits {
        head_bytes: number(limits.head_bytes, default.head_bytes),
        head_fields: number(limits.head_fields, default.head_fields),
        body_bytes: limits.body_bytes.and_then(|bytes| u64::try_from(bytes).ok()).or(default.body_bytes),
        streams: number(limits.streams, default.streams),
        connections: number(limits.connections, default.connections),
        requests: number(limits.requests, default.requests),
        endpoint_requests: limits
            .endpoint_requests
            .and_then(|number| u32::try_from(number).ok())
            .or(default.endpoint_requests),
        head_timeout: span(timeouts.head.as_ref(), default.head_timeout),
        idle_timeout: span(timeouts.idle.as_ref(), default.idle_timeout),
        stall_timeout: span(timeouts.stall.as_ref(), default.stall_timeout),
    }
}

fn number<N: TryFrom<i32>>(written: Option<i32>, default: N) -> N {
    written.and_then(|number| number.try_into().ok()).unwrap_or(default)
}

fn span(written: Option<&DurationText>, default: Duration) -> Duration {
    written.and_then(|text| duration(&text.0).ok()).unwrap_or(default)
}

/// As GEP-2257 writes it.
fn spelled(span: Duration) -> String {
    let milliseconds = span.as_millis();
    let parts =
        [(milliseconds / 3_600_000, "h"), (milliseconds / 60_000 % 60, "m"), (milliseconds / 1000 % 60, "s")];
    let parts = parts.into_iter().chain([(milliseconds % 1000, "ms")]).filter(|(number, _)| *number > 0);
    let parts: Vec<_> = parts.map(|(number, unit)| format!("{number}{unit}")).collect();
    if parts.is_empty() { "0s".to_owned() } else { parts.concat() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_in_full_means_the_same() {
        let unusual = HttpSettings {
            paths: PathRules {
                encoded_slashes: EncodedSlashes::Decode,
                doubled_slashes: DoubledSlashes::Keep,
            },
            trusted_hops: 2,
            limits: HttpLimits {
                head_bytes: 4096,
                head_fields: 10,
                body_bytes: Some(1 << 40),
                streams: 1,
                connections: 2,
                requests: 3,
                endpoint_requests: Some(4),
                head_timeout: Duration::from_millis(3_661_001),
                idle_timeout: Duration::from_mins(1),
                stall_timeout: Duration::from_millis(500),
            },
        };
        for settings in [HttpSettings::default(), unusual] {
            assert_eq!(effective(Some(&in_full(&settings))), settings);
        }
        assert_eq!(effective(None), HttpSettings::default());
        assert_eq!(in_full(&unusual).timeouts.and_then(|it| it.head), Some(DurationText("1h1m1s1ms".into())));
    }
}
