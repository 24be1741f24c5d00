use std::sync::Arc;
use std::time::Instant;

use agentex_app::Idempotency;
use axum::response::{IntoResponse as _, Response};
use http::HeaderMap;
use tokio::sync::oneshot;
use tracing::Instrument as _;

use super::answer::{Outcome, not_kept};
use super::attempts::Fingerprint;
use super::{Repeatable, Whole};
use crate::error::ApiError;
use crate::layers::panics;

/// Headers by which requests of one caller differ: the credentials (callers without identity have nothing else) and whom an
/// agent says it acts for.
const TOLD_APART_BY: [&str; 7] = [
    "authorization",
    "cookie",
    "x-acting-user-api-key",
    "x-acting-user-authorization",
    "x-acting-user-cookie",
    "x-api-key",
    "x-selected-account-id",
];

/// Carries a first attempt out; answers a later one with what became of the one before, where that is known.
pub(super) async fn answer(route: Repeatable, number: u32, whole: Whole) -> Response {
    let headers = told_apart_by(&whole.headers);
    let fingerprint = Idempotency::fingerprint(&whole.caller, whole.repeatable(), headers);
    if number > 0
        && let Some(earlier) = route.attempts.join(&fingerprint, number, Instant::now())
    {
        match earlier.outcome().await {
            Outcome::Kept(kept) => return kept.replay(),
            Outcome::NotKept => return not_kept(),
            Outcome::Failed => {}
        }
    }
    carry_out(route, fingerprint, number, whole).await
}

async fn carry_out(route: Repeatable, fingerprint: Fingerprint, number: u32, whole: Whole) -> Response {
    let (send, receive) = oneshot::channel();
    let attempts = Arc::clone(&route.attempts);
    let attempt = attempts.begin(fingerprint, number);
    let work = async move {
        let response = panics::catch(whole.request, whole.next).await;
        let (response, outcome) = Outcome::of(response).await;
        let delivered = send.send(response).is_ok();
        attempts.end(&attempt, outcome, delivered, Instant::now());
    };
    route.shared.app.outlive(work.in_current_span());
    receive.await.unwrap_or_else(|_| ApiError::Bug("a request was not answered").into_response())
}

fn told_apart_by(headers: &HeaderMap) -> impl Iterator<Item = (&str, &[u8])> {
    TOLD_APART_BY
        .into_iter()
        .flat_map(|name| headers.get_all(name).into_iter().map(move |value| (name, value.as_bytes())))
}
