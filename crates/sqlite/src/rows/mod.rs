//! Rows as they are selected, and how they become entities.

mod agent;
mod api_key;
mod checkpoint;
mod deployment;
mod deployment_history;
mod event;
mod intent;
mod message;
mod run_schedule;
mod span;
mod state;
mod task;
mod timer;
mod tracker;

use agentex_authz::ResourceKind;
use agentex_domain::ports::{BoxError, StoreError};
use agentex_domain::{JsonObject, Timestamp};
use serde::de::DeserializeOwned;

pub(crate) use agent::{AgentRow, agent_columns};
pub(crate) use api_key::{ApiKeyRow, api_key_columns};
pub(crate) use checkpoint::{BlobRow, CheckpointRow, WriteRow, checkpoint_columns};
pub(crate) use deployment::{DeploymentRow, deployment_columns};
pub(crate) use deployment_history::{DeploymentHistoryRow, deployment_history_columns};
pub(crate) use event::{EventRow, event_columns};
pub(crate) use intent::{IntentRow, OwnershipRow, intent_columns, ownership_columns};
pub(crate) use message::{MessageRow, message_columns};
pub(crate) use run_schedule::{RunScheduleRow, run_schedule_columns};
pub(crate) use span::{SpanRow, span_columns};
pub(crate) use state::{StateRow, state_columns};
pub(crate) use task::{TaskRow, task_columns};
pub(crate) use timer::{FireRow, TimerRow, action_columns, fire_columns, timer_columns};
pub(crate) use tracker::{TrackerRow, tracker_columns};

const RESOURCE_KINDS: [(&str, ResourceKind); 4] = [
    (ResourceKind::Agent.as_str(), ResourceKind::Agent),
    (ResourceKind::Task.as_str(), ResourceKind::Task),
    (ResourceKind::ApiKey.as_str(), ResourceKind::ApiKey),
    (ResourceKind::Schedule.as_str(), ResourceKind::Schedule),
];

/// Reads the columns of one row and knows which row to blame.
struct Reader<'a> {
    table: &'static str,
    id: &'a str,
}

impl Reader<'_> {
    fn corrupt(&self, source: impl Into<BoxError>) -> StoreError {
        StoreError::Corrupt { table: self.table, id: self.id.to_owned(), source: source.into() }
    }

    fn time(&self, micros: i64) -> Result<Timestamp, StoreError> {
        Timestamp::from_micros(micros).ok_or_else(|| self.corrupt("a time is out of range"))
    }

    fn optional_time(&self, micros: Option<i64>) -> Result<Option<Timestamp>, StoreError> {
        micros.map(|micros| self.time(micros)).transpose()
    }

    fn json<T: DeserializeOwned>(&self, text: &str) -> Result<T, StoreError> {
        serde_json::from_str(text).map_err(|error| self.corrupt(error))
    }

    fn optional_object(&self, text: Option<String>) -> Result<Option<JsonObject>, StoreError> {
        text.map(|text| self.json(&text)).transpose()
    }

    fn word<T: Copy>(&self, word: &str, known: &[(&str, T)]) -> Result<T, StoreError> {
        let found = known.iter().find(|(name, _)| *name == word).map(|(_, value)| *value);
        found.ok_or_else(|| self.corrupt("a column holds an unknown word"))
    }

    fn optional_word<T: Copy>(&self, word: Option<&str>, known: &[(&str, T)]) -> Result<Option<T>, StoreError> {
        word.map(|word| self.word(word, known)).transpose()
    }
}
