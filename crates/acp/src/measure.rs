use std::error::Error as _;
use std::time::Instant;

use agentex_domain::ports::{AgentCall, AgentCallError};
use agentex_domain::{AgentId, TaskId};

/// One call under measurement: its duration, to the last byte or to the moment its stream was dropped, is recorded when
/// this is dropped.
pub(crate) struct Measured {
    method: &'static str,
    agent: AgentId,
    task: TaskId,
    started: Instant,
}

impl Measured {
    pub(crate) fn start(call: &AgentCall) -> Self {
        Self {
            method: call.request.method(),
            agent: call.agent.id.clone(),
            task: call.task.id.clone(),
            started: Instant::now(),
        }
    }

    /// Counts and logs a failure. The agent's own words stay out of the log; they may quote what it was sent.
    pub(crate) fn failed(&self, error: &AgentCallError) {
        let kind = kind(error);
        metrics::counter!("agentex_acp_errors_total", "method" => self.method, "kind" => kind).increment(1);
        let code = match error {
            AgentCallError::Status(status) => Some(i64::from(*status)),
            AgentCallError::Rejected { code, .. } => Some(*code),
            _ => None,
        };
        tracing::warn!(
            rpc.method = self.method,
            agent.id = %self.agent,
            task.id = %self.task,
            error.kind = kind,
            error.code = code,
            error.cause = causes(error),
            "agent call failed"
        );
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        metrics::histogram!("agentex_acp_call_seconds", "method" => self.method).record(self.started.elapsed());
    }
}

fn kind(error: &AgentCallError) -> &'static str {
    match error {
        AgentCallError::Unreachable(_) => "unreachable",
        AgentCallError::TimedOut => "timed_out",
        AgentCallError::Status(_) => "status",
        AgentCallError::Rejected { .. } => "rejected",
        AgentCallError::WrongId => "wrong_id",
        AgentCallError::Malformed => "malformed",
        AgentCallError::InvalidUpdate => "invalid_update",
        AgentCallError::TooLarge => "too_large",
        AgentCallError::BadUrl => "bad_url",
    }
}

/// What the HTTP library says went wrong below; `None` when the error is the whole story.
fn causes(error: &AgentCallError) -> Option<String> {
    let mut texts = Vec::new();
    let mut source = error.source();
    while let Some(cause) = source {
        texts.push(cause.to_string());
        source = cause.source();
    }
    (!texts.is_empty()).then(|| texts.join(": "))
}
