//! Schedules, workflows and the worker on a real Temporal.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test, in helpers too")]

mod contract;
mod gateway;
mod health;
mod outage;
mod retention;
mod scheduled_runs;
mod schedules;
mod shutdown;
mod support;
