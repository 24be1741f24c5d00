use std::sync::Arc;
use std::time::Duration;

use agentex_domain::Task;
use agentex_domain::ports::EventStream;
use bytes::Bytes;
use serde::Serialize;

/// How long a change waits for the stream backend: the row is already committed, so a slow backend must not hold the
/// caller.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(1);

/// Tells those who watch a task that its row changed. A hint, not a record: failures are logged and forgotten.
#[derive(Clone)]
pub(crate) struct TaskFeed {
    streams: Arc<dyn EventStream>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "task_updated")]
struct TaskUpdated<'a> {
    task: &'a Task,
}

impl TaskFeed {
    pub(crate) fn new(streams: Arc<dyn EventStream>) -> Self {
        Self { streams }
    }

    /// Publishes the task as it is now. Call after the change is committed.
    pub(crate) async fn task_updated(&self, task: &Task) {
        let json = match serde_json::to_vec(&TaskUpdated { task }) {
            Ok(json) => Bytes::from(json),
            Err(error) => {
                tracing::error!(task.id = %task.id, %error, "task change cannot be written as JSON");
                return;
            }
        };
        match tokio::time::timeout(PUBLISH_TIMEOUT, self.streams.publish(&task.id, json)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(task.id = %task.id, %error, "task change was not published"),
            Err(_) => tracing::warn!(task.id = %task.id, "task change was not published in time"),
        }
    }
}
