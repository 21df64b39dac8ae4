//! What the proxy counts.

use gateway_agent_proxy::telemetry::{
    BOUNDS, Class, Distribution, Figures, ListenerFigures, RequestFigures, Subject, Target,
};
use gateway_agent_tables::ListenerName;

use super::page::Buckets;
use super::{Family, Labels, float};

/// The value of labels that would tell too many series apart.
const OVERFLOW: &str = "overflow";

/// Families of all counters, those first that have few series; None: there is no proxy that answers.
pub fn requests(figures: Option<&Figures>) -> Vec<Family> {
    let is_up = if figures.is_some() { 1.0 } else { 0.0 };
    let up = Family::value("proxy_up", "1 if a proxy accepts connections and answers the agent", is_up);
    let Some(figures) = figures else { return vec![up] };
    let mut families = vec![up];
    families.push(connections(figures));
    families.extend(failures(figures));
    families.extend(of_listeners(figures));
    families.extend(of_subjects(figures));
    families
}

fn connections(figures: &Figures) -> Family {
    let series = figures.connections.iter().map(|it| {
        let labels = vec![("gateway", it.gateway.to_string()), ("port", it.port.to_string())];
        (labels, float(it.open))
    });
    Family::gauge("http_connections_active", "Connections of clients that are open", series.collect())
}

fn failures(Figures { failures, .. }: &Figures) -> [Family; 6] {
    let by = |label: &'static str, counts: &[(String, u64)]| {
        counts.iter().map(|(value, count)| (vec![(label, value.clone())], float(*count))).collect()
    };
    let total = |count: u64| vec![(Labels::new(), float(count))];
    [
        Family::counter(
            "http_faults",
            "Requests and responses that were refused as malformed, by what is wrong with them",
            by("fault", &failures.faults),
        ),
        Family::counter(
            "http_replies",
            "Requests that the proxy answered itself, by reason",
            by("reason", &failures.replies),
        ),
        Family::counter(
            "http_connections_closed",
            "Connections of clients that the proxy closed on its own account, by reason",
            by("reason", &failures.closed),
        ),
        Family::counter(
            "http_responses_aborted",
            "Responses that broke off, since the endpoint failed or a time-out passed",
            total(failures.aborted),
        ),
        Family::counter(
            "http_mirrors_lost",
            "Copies of requests that did not reach an endpoint whole, or that it did not answer",
            total(failures.unmirrored),
        ),
        Family::counter(
            "access_log_lines_lost",
            "Lines of the access log for which there was no room, or that could not be written",
            total(failures.unlogged),
        ),
    ]
}

fn of_listeners(figures: &Figures) -> [Family; 3] {
    let mut listeners: Vec<_> = figures.listeners.iter().collect();
    listeners.sort_unstable_by_key(|it| &it.listener);
    let histogram = |of: fn(&ListenerFigures) -> &Distribution| {
        listeners.iter().map(|it| (listener(it.listener.as_ref()), buckets(of(it)))).collect()
    };
    [
        Family::gauge(
            "http_requests_active",
            "Requests that are being answered",
            listeners.iter().map(|it| (listener(it.listener.as_ref()), float(it.active))).collect(),
        ),
        Family::histogram(
            "http_request_duration_seconds",
            "From a request's head to the end of its answer; upgraded connections are left out",
            histogram(|it| &it.duration),
        ),
        Family::histogram(
            "http_first_byte_seconds",
            "From a request's head to the head of its answer",
            histogram(|it| &it.first_byte),
        ),
    ]
}

fn of_subjects(figures: &Figures) -> [Family; 5] {
    let mut subjects: Vec<_> = figures.requests.iter().collect();
    subjects.sort_unstable_by_key(|it| &it.subject);
    let counter = |of: fn(&RequestFigures) -> u64| {
        subjects.iter().map(|it| (labels(&it.subject), float(of(it)))).collect()
    };
    let by_code = subjects.iter().flat_map(|it| {
        let counts = Class::ALL.into_iter().zip(it.codes).filter(|(_, count)| *count > 0);
        counts.map(|(class, count)| {
            let mut labels = labels(&it.subject);
            labels.push(("code", class.name().to_owned()));
            (labels, float(count))
        })
    });
    let calls = subjects.iter().flat_map(|it| {
        it.calls.iter().map(|(status, count)| {
            let mut labels = of_rule(&it.subject);
            labels.push(("status", status.clone()));
            (labels, float(*count))
        })
    });
    [
        Family::counter(
            "grpc_calls",
            "Calls by the status that they ended with; none: the client left, or the answer broke off",
            calls.collect(),
        ),
        Family::counter(
            "http_requests",
            "Requests by the class of their answers' codes; none: the client left before it was answered",
            by_code.collect(),
        ),
        Family::counter(
            "http_retries",
            "Further tries of requests that an endpoint did not answer, or not well enough",
            counter(|it| it.retries),
        ),
        Family::counter(
            "http_request_bytes",
            "Bytes of requests, heads too, as HTTP/1.1 has them",
            counter(|it| it.request_bytes),
        ),
        Family::counter(
            "http_response_bytes",
            "Bytes of responses, heads too, as HTTP/1.1 has them",
            counter(|it| it.response_bytes),
        ),
    ]
}

fn labels(subject: &Subject) -> Labels {
    let mut labels = of_rule(subject);
    labels.push(("protocol", subject.protocol.name().to_owned()));
    labels
}

fn of_rule(subject: &Subject) -> Labels {
    let (route, rule, backend) = match &subject.target {
        Target::None => Default::default(),
        Target::Rule(name, backend) => {
            let route = format!("{} {}", name.kind, name.route);
            (route, name.label().into_owned(), backend.clone().unwrap_or_default())
        }
        Target::Overflow => (OVERFLOW.to_owned(), OVERFLOW.to_owned(), OVERFLOW.to_owned()),
    };
    let mut labels = listener(subject.listener.as_ref());
    labels.extend([("route", route), ("rule", rule), ("backend", backend)]);
    labels
}

fn listener(name: Option<&ListenerName>) -> Labels {
    let gateway = name.map(|name| name.gateway.to_string()).unwrap_or_default();
    let listener = name.map(|name| name.listener.clone()).unwrap_or_default();
    vec![("gateway", gateway), ("listener", listener)]
}

fn buckets(distribution: &Distribution) -> Buckets {
    let ends = BOUNDS.map(|bound| float(bound) / 1e6).into_iter().chain([f64::INFINITY]);
    Buckets { buckets: ends.zip(distribution.buckets).collect(), sum: float(distribution.nanoseconds) / 1e9 }
}
