use std::sync::Arc;

use axum::extract::{OriginalUri, Request};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, Method, StatusCode, header};

use super::auth::identify;
use crate::Shared;
use crate::error::ApiError;
use crate::mount::{Mounted, Policy};

/// Answers a path that no route matches: authenticates as its route would, redirects when only a slash at the end is too
/// much, and is otherwise 404.
pub(crate) async fn unmatched(shared: Shared, routes: Arc<[Arc<Mounted>]>, request: Request) -> Response {
    let (parts, _body) = request.into_parts();
    let path = parts.uri.path();
    let trimmed = path.trim_end_matches('/');
    let slashless = (trimmed.len() < path.len()).then(|| routes.iter().find(|route| route.matches(trimmed))).flatten();
    if parts.method != Method::OPTIONS {
        let policy = slashless.map_or(Policy::Principal, |route| route.policy_of(&parts.method));
        if let Err(refused) = identify(&shared.app, policy, &parts.headers).await {
            return refused.into_response();
        }
    }
    // Relative to this host: behind a proxy the server knows neither the scheme nor the name callers use.
    let original = parts.extensions.get::<OriginalUri>().map_or(&parts.uri, |original| &original.0);
    let location = slashless.and_then(|_| {
        let path = original.path().trim_end_matches('/');
        let query = original.query().map(|query| format!("?{query}")).unwrap_or_default();
        HeaderValue::from_str(&format!("{path}{query}")).ok()
    });
    match location {
        Some(location) => (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, location)]).into_response(),
        None => ApiError::NoRoute.into_response(),
    }
}
