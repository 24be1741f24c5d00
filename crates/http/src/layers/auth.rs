use std::sync::Arc;

use agentex_app::{App, Caller};
use agentex_authz::CredentialHeaders;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, Method};

use crate::error::ApiError;
use crate::extract::header_pairs;
use crate::mount::{Mounted, Policy};

/// What a route's own layer knows.
#[derive(Clone)]
pub(crate) struct Gate {
    /// The use cases.
    pub(crate) app: Arc<App>,
    /// The route.
    pub(crate) mounted: Arc<Mounted>,
}

/// Finds out who is calling, as the route's policy demands, then refuses methods the route does not have. Runs before any
/// byte of the body is read.
///
/// `OPTIONS` is not authenticated: browsers send it without credentials.
pub(crate) async fn guard(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    let method = request.method();
    if method != Method::OPTIONS {
        match identify(&gate.app, gate.mounted.policy_of(method), request.headers()).await {
            Ok(caller) => {
                request.extensions_mut().insert(caller);
            }
            Err(refused) => return refused.into_response(),
        }
    }
    if !gate.mounted.methods.contains(request.method()) {
        return ApiError::NoMethod(gate.mounted.allow()).into_response();
    }
    next.run(request).await
}

/// The caller behind a request, or why there is none.
pub(crate) async fn identify(app: &App, policy: Policy, headers: &HeaderMap) -> Result<Caller, ApiError> {
    let credentials = || CredentialHeaders::new(header_pairs(headers));
    match policy {
        Policy::Public | Policy::Ingress => Ok(Caller::Anonymous),
        Policy::Registration => Ok(app.authentication.identify_registering(&credentials()).await?),
        Policy::Principal => Ok(app.authentication.identify(&credentials()).await?),
    }
}
