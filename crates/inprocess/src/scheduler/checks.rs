use agentex_domain::ports::{AgentCheck, AgentCheckRepository, AgentHealth, Jobs, StoreError};
use futures::StreamExt;
use tokio_util::sync::CancellationToken;

use super::InProcessScheduler;
use super::time::later;

impl InProcessScheduler {
    /// Asks every agent in turn until `shutdown`.
    pub(super) async fn check_agents(
        &self,
        checks: &dyn AgentCheckRepository,
        jobs: &dyn Jobs,
        shutdown: &CancellationToken,
    ) {
        let look_every = self.options.check_every / 6;
        while !shutdown.is_cancelled() {
            let more = tokio::select! {
                () = shutdown.cancelled() => return,
                taken = self.check_some(checks, jobs) => taken.unwrap_or_else(|error| {
                    tracing::warn!(%error, "agents cannot be checked now");
                    false
                }),
            };
            if !more {
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = self.sleeper.sleep_until(later(self.clock.now(), look_every)) => {}
                }
            }
        }
    }

    /// Asks as many as may be asked at the same time; whether there may be more.
    async fn check_some(&self, checks: &dyn AgentCheckRepository, jobs: &dyn Jobs) -> Result<bool, StoreError> {
        let concurrency = self.options.check_concurrency.max(1);
        let limit = u32::try_from(concurrency).unwrap_or(u32::MAX);
        let now = self.clock.now();
        let taken = checks.claim(now, later(now, self.options.check_every), limit).await?;
        let more = taken.len() == concurrency;
        futures::stream::iter(taken)
            .for_each_concurrent(concurrency, |check| async move {
                let agent = check.agent_id.clone();
                if let Err(error) = self.check(checks, jobs, check).await {
                    tracing::warn!(%error, agent.id = %agent, "what an agent answered is not recorded");
                }
            })
            .await;
        Ok(more)
    }

    async fn check(
        &self,
        checks: &dyn AgentCheckRepository,
        jobs: &dyn Jobs,
        check: AgentCheck,
    ) -> Result<(), StoreError> {
        let AgentCheck { agent_id, failures, unhealthy } = check;
        let health = jobs.check_agent(&agent_id).await.unwrap_or_else(|error| {
            tracing::debug!(%error, agent.id = %agent_id, "a health check failed");
            AgentHealth::Failing
        });
        let counted = match health {
            AgentHealth::Gone => 0,
            AgentHealth::Healthy if unhealthy => match jobs.set_agent_health(&agent_id, true).await {
                Ok(()) => 0,
                Err(error) => {
                    tracing::warn!(%error, agent.id = %agent_id, "an agent that answers again is not recorded");
                    return Ok(());
                }
            },
            AgentHealth::Healthy => 0,
            AgentHealth::Failing if unhealthy => return Ok(()),
            AgentHealth::Failing if failures + 1 < self.options.check_failures => failures + 1,
            // Counted from the beginning again, should it register once more. A failure to record it is made up for at
            // the next failure.
            AgentHealth::Failing => match jobs.set_agent_health(&agent_id, false).await {
                Ok(()) => 0,
                Err(error) => {
                    tracing::warn!(%error, agent.id = %agent_id, "an agent that does not answer is not recorded");
                    failures
                }
            },
        };
        if counted == failures { Ok(()) } else { checks.record(&agent_id, counted).await }
    }
}
