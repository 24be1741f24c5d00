use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD,
    COOKIE, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::{AllowedOrigins, Shared};

const METHODS: HeaderValue = HeaderValue::from_static("DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT");
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");
const ANY: HeaderValue = HeaderValue::from_static("*");
const TRUE: HeaderValue = HeaderValue::from_static("true");

/// Answers preflights and marks every other answer, errors included, for the browser. Outside authentication, so that pages
/// can read a 401.
pub(crate) async fn apply(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let allowed = &shared.options.cors.allowed_origins;
    let Some(origin) = request.headers().get(ORIGIN).cloned() else {
        let mut response = next.run(request).await;
        vary(response.headers_mut());
        return response;
    };
    let preflight =
        request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if preflight {
        preflight_answer(allowed, &origin, request.headers())
    } else {
        let with_cookie = request.headers().contains_key(COOKIE);
        let mut response = next.run(request).await;
        match allowed {
            AllowedOrigins::Any => {
                let shown = if with_cookie { origin } else { ANY };
                response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, shown);
            }
            AllowedOrigins::Only(_) if is_allowed(allowed, &origin) => credentialed(response.headers_mut(), origin),
            AllowedOrigins::Only(_) => {}
        }
        response
    };
    vary(response.headers_mut());
    response
}

fn preflight_answer(allowed: &AllowedOrigins, origin: &HeaderValue, asked: &HeaderMap) -> Response {
    if !is_allowed(allowed, origin) {
        return (StatusCode::BAD_REQUEST, "Disallowed CORS origin").into_response();
    }
    let mut response = "OK".into_response();
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    if let Some(requested) = asked.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, requested.clone());
    }
    match allowed {
        AllowedOrigins::Any => {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        }
        AllowedOrigins::Only(_) => credentialed(headers, origin.clone()),
    }
    response
}

fn is_allowed(allowed: &AllowedOrigins, origin: &HeaderValue) -> bool {
    match allowed {
        AllowedOrigins::Any => true,
        AllowedOrigins::Only(origins) => origins.iter().any(|known| known.as_bytes() == origin.as_bytes()),
    }
}

fn credentialed(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
}

fn vary(headers: &mut HeaderMap) {
    headers.append(VARY, HeaderValue::from_static("Origin"));
}
