//! The filter `ExternalAuth`.

use gateway_agent_api::http_route::{
    HttpRouteRulesFiltersExternalAuth as AuthSpec, HttpRouteRulesFiltersExternalAuthHttp as HttpSpec,
    HttpRouteRulesFiltersExternalAuthProtocol as ProtocolSpec,
};
use gateway_agent_tables::http::{AuthProtocol, ExternalAuth, HttpRouteKind, Path};

use super::findings::{RuleFindings, unknown};
use super::{Context, backends, filters};
use crate::route::object_ref;

/// None: the filter can't be executed. It must not be skipped either.
pub(super) fn parse(
    context: &Context<'_, '_>,
    auth: &AuthSpec,
    field: &str,
    findings: &mut RuleFindings,
) -> Option<ExternalAuth> {
    let (kind, protocol) = match &auth.protocol {
        ProtocolSpec::Http => {
            (HttpRouteKind::Http, http(auth.http.as_ref(), &format!("{field}.http"), findings))
        }
        ProtocolSpec::Grpc => {
            let allowed = auth.grpc.iter().flat_map(|grpc| grpc.allowed_headers.iter().flatten());
            let field = format!("{field}.grpc.allowedHeaders");
            let request_headers = filters::names(allowed.map(String::as_str), &field, findings);
            (
                HttpRouteKind::Grpc,
                request_headers.map(|request_headers| AuthProtocol::Grpc { request_headers }),
            )
        }
        ProtocolSpec::Unknown(other) => {
            findings.unsupported(format!("{field}.protocol"), unknown(other, "HTTP or GRPC"));
            return None;
        }
    };
    let size = auth.forward_body.as_ref().and_then(|body| body.max_size).unwrap_or_default();
    let body_limit = u32::try_from(size).map_err(|_| format!("{size} bytes are too few; use 0 or more"));
    let body_limit = findings.check(format!("{field}.forwardBody.maxSize"), body_limit);
    let reference = object_ref!(&auth.backend_ref, &context.route.name.namespace);
    let upstream = backends::upstream(context, &reference, kind, &format!("{field}.backendRef"), findings);
    Some(ExternalAuth { upstream: upstream?, protocol: protocol?, body_limit: body_limit? })
}

fn http(http: Option<&HttpSpec>, field: &str, findings: &mut RuleFindings) -> Option<AuthProtocol> {
    let default = HttpSpec::default();
    let http = http.unwrap_or(&default);
    let prefix = match http.path.as_deref().filter(|path| !path.is_empty()) {
        None => Some(None),
        Some(path) => findings.check(format!("{field}.path"), Path::parse(path)).map(Some),
    };
    let names = |names: &Option<Vec<String>>, part: &str, findings: &mut RuleFindings| {
        let names = names.iter().flatten().map(String::as_str);
        filters::names(names, &format!("{field}.{part}"), findings)
    };
    let request_headers = names(&http.allowed_headers, "allowedHeaders", findings);
    let response_headers = names(&http.allowed_response_headers, "allowedResponseHeaders", findings);
    Some(AuthProtocol::Http {
        prefix: prefix?,
        request_headers: request_headers?,
        response_headers: response_headers?,
    })
}
