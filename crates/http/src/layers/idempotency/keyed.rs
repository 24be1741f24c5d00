use std::time::Duration;

use agentex_app::{Error, KeyHold, KeyedOutcome};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, header};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::answer::{Kept, Outcome, not_kept};
use super::{Repeatable, Whole};
use crate::error::{ApiError, SHOULD_RETRY};
use crate::layers::panics;

/// Longest wait for the same request that somebody else carries out.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pauses between looks at it: they double from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LAST_PAUSE: Duration = Duration::from_millis(500);

/// Carries the request out unless one with its key has been.
pub(super) async fn answer(route: Repeatable, key: String, whole: Whole) -> Response {
    let give_up = Instant::now() + PATIENCE;
    let mut pause = FIRST_PAUSE;
    loop {
        match route.shared.app.idempotency.claim(&whole.caller, &key, whole.repeatable()).await {
            Ok(KeyedOutcome::Run(hold)) => return carry_out(route, hold, whole).await,
            Ok(KeyedOutcome::Answered(recorded)) => {
                return Kept::try_from(recorded).map_or_else(|_| not_kept(), |kept| kept.replay());
            }
            Ok(KeyedOutcome::NotKept) => return not_kept(),
            Ok(KeyedOutcome::Other) => {
                let text = "The key was used for another request; use a new key for each";
                return ApiError::problem("header.idempotency-key", text).into_response();
            }
            Ok(KeyedOutcome::Running) if Instant::now() >= give_up => return running(),
            Ok(KeyedOutcome::Running) => {
                tokio::time::sleep(pause).await;
                pause = LAST_PAUSE.min(pause * 2);
            }
            Err(error) => return ApiError::from(error).into_response(),
        }
    }
}

async fn carry_out(route: Repeatable, hold: KeyHold, whole: Whole) -> Response {
    let (send, receive) = oneshot::channel();
    let work = async move {
        let response = while_held(&hold, panics::catch(whole.request, whole.next)).await;
        let (response, outcome) = Outcome::of(response).await;
        // Recorded before it is told: whoever has the answer may rely on getting it again.
        match outcome {
            Outcome::Failed => hold.release().await,
            Outcome::Kept(kept) => {
                hold.finish(response.status().as_u16(), Some(kept.to_recorded()), kept.is_secret()).await;
            }
            Outcome::NotKept => hold.finish(response.status().as_u16(), None, false).await,
        }
        // Nobody is there to be told when the caller has gone.
        let _ = send.send(response);
    };
    route.shared.app.outlive(work.in_current_span());
    receive.await.unwrap_or_else(|_| ApiError::Bug("a request was not answered").into_response())
}

/// Renews the hold until the answer is there. The two run side by side: the answer may need what the renewal waits for.
async fn while_held(hold: &KeyHold, answering: impl Future<Output = Response>) -> Response {
    let renewing = async {
        loop {
            tokio::time::sleep(KeyHold::RENEWAL).await;
            hold.renew().await;
        }
    };
    tokio::select! {
        biased;
        response = answering => response,
        never = renewing => never,
    }
}

/// Somebody else is taking long; asking again may help.
fn running() -> Response {
    let text = "A request with this Idempotency-Key is still being carried out";
    let mut response = ApiError::from(Error::Conflict(text.to_owned())).into_response();
    response.headers_mut().insert(SHOULD_RETRY, HeaderValue::from_static("true"));
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}
