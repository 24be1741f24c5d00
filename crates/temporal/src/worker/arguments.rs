//! Arguments as other workers and clients send them: the last ones may be missing.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use temporalio_common::RetryPolicy;
use temporalio_common::data_converters::RawValue;
use temporalio_sdk::{ActivityOptions, ApplicationFailure, WorkflowTermination};

use crate::payload;

/// What was sent cannot be understood; trying again would not help.
#[derive(Debug, thiserror::Error)]
#[error("argument {position} is not usable: {why}")]
pub(super) struct BadArgument {
    position: usize,
    why: String,
}

impl From<BadArgument> for WorkflowTermination {
    fn from(error: BadArgument) -> Self {
        ApplicationFailure::non_retryable(error).into()
    }
}

/// The argument at `position`; `None` when it is missing or null.
pub(super) fn optional<T: DeserializeOwned>(arguments: &RawValue, position: usize) -> Result<Option<T>, BadArgument> {
    let bad = |why: String| BadArgument { position, why };
    let Some(payload) = arguments.payloads.get(position) else { return Ok(None) };
    let value = payload::to_json(payload).ok_or_else(|| bad("not JSON".to_owned()))?;
    if value.is_null() {
        return Ok(None);
    }
    serde_json::from_value(value).map(Some).map_err(|error| bad(error.to_string()))
}

/// The argument at `position`, which must be there.
pub(super) fn required<T: DeserializeOwned>(arguments: &RawValue, position: usize) -> Result<T, BadArgument> {
    optional(arguments, position)?.ok_or_else(|| BadArgument { position, why: "missing".to_owned() })
}

/// Arguments in order.
pub(super) fn pass(values: &[Value]) -> RawValue {
    RawValue::new(values.iter().map(payload::from_json).collect())
}

/// How an activity is tried: each attempt so long, so many attempts, the pauses between them doubling.
pub(super) fn attempts(each: Duration, attempts: u32, first_pause: Duration) -> ActivityOptions {
    ActivityOptions::with_start_to_close_timeout(each).retry_policy(retries(attempts, first_pause)).build()
}

/// The same for an activity that may take long: an attempt of which nothing is heard for `silence` has failed.
pub(super) fn attempts_with_signs_of_life(
    each: Duration,
    silence: Duration,
    attempts: u32,
    first_pause: Duration,
) -> ActivityOptions {
    ActivityOptions::with_start_to_close_timeout(each)
        .heartbeat_timeout(silence)
        .retry_policy(retries(attempts, first_pause))
        .build()
}

fn retries(attempts: u32, first_pause: Duration) -> RetryPolicy {
    RetryPolicy::builder().maximum_attempts(attempts).initial_interval(first_pause).backoff_coefficient(2.0).build()
}
