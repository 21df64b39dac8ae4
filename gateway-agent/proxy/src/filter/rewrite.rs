//! URL rewrites.

use std::borrow::Cow;

use gateway_agent_tables::http::UrlRewrite;

use super::Outgoing;

/// Replaces host and path; the port that the client named goes with its host.
pub(super) fn rewrite<'a>(request: &mut Outgoing<'a>, to: &'a UrlRewrite) {
    if let Some(hostname) = &to.hostname {
        request.host = Cow::Borrowed(hostname.as_str());
    }
    if let Some(path) = &to.path {
        request.path = Cow::Owned(path.apply(&request.path));
    }
}
