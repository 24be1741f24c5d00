use std::sync::Arc;

use agentex_authz::Scope;
use agentex_domain::ports::{AgentFilter, AgentOrder, AgentRepository, StartWorkflow, WorkflowError, WorkflowGateway};
use agentex_domain::{Agent, AgentId, AgentStatus, DeploymentId, Direction, PageRequest};
use serde_json::json;
use tokio_util::task::TaskTracker;

use crate::{Error, ScheduleSettings};

/// Agents read at once.
const PAGE: u32 = 200;

/// Starts the workflows that ask agents how they are. Where no workflow engine is part of the product, the scheduler asks
/// them itself and nothing has to be started.
#[derive(Clone, Default)]
pub struct HealthChecks {
    starter: Option<Arc<Starter>>,
}

struct Starter {
    agents: Arc<dyn AgentRepository>,
    workflows: Arc<dyn WorkflowGateway>,
    task_queue: String,
    background: TaskTracker,
}

impl HealthChecks {
    pub(crate) fn new(
        agents: Arc<dyn AgentRepository>,
        workflows: Option<Arc<dyn WorkflowGateway>>,
        settings: &ScheduleSettings,
        background: TaskTracker,
    ) -> Self {
        let workflows = workflows.filter(|_| settings.health_checks);
        let task_queue = settings.task_queue.clone();
        Self { starter: workflows.map(|workflows| Arc::new(Starter { agents, workflows, task_queue, background })) }
    }

    /// An agent has registered. One that is being checked already goes on being checked; nothing that fails here is the
    /// agent's business.
    pub(crate) fn registered(&self, agent: &Agent) {
        let Some(starter) = self.starter.clone() else { return };
        let Some(url) = agent.acp_url.clone().filter(|url| !url.is_empty()) else { return };
        let agent = agent.clone();
        starter.background.clone().spawn(async move { starter.start(&agent.id, &url).await });
    }

    /// Another deployment of an agent is the one that is called. Without a URL the check goes on as it was.
    pub(crate) fn promoted(&self, agent: &AgentId, deployment: &DeploymentId, url: Option<&str>) {
        let (Some(starter), Some(url)) = (self.starter.clone(), url.map(str::to_owned)) else { return };
        let (agent, deployment) = (agent.clone(), deployment.clone());
        starter.background.clone().spawn(async move { starter.restart(&agent, &deployment, &url).await });
    }

    /// Makes sure that every agent that is ready is checked; answers how many that are. One that cannot be started does not
    /// stop the others.
    ///
    /// # Errors
    /// The store failed.
    pub async fn start_all(&self) -> Result<u64, Error> {
        let Some(starter) = &self.starter else { return Ok(0) };
        let mut attempted = 0;
        for page_number in 1.. {
            let filter = AgentFilter { scope: Scope::All, task_id: None, card_metadata: None };
            let page = PageRequest { limit: PAGE, page_number };
            let agents = starter.agents.list(&filter, AgentOrder::Id, Direction::Ascending, page).await?;
            let last = agents.len() < PAGE as usize;
            for agent in agents.iter().filter(|agent| agent.status == AgentStatus::Ready) {
                if let Some(url) = agent.acp_url.as_deref().filter(|url| !url.is_empty()) {
                    starter.start(&agent.id, url).await;
                    attempted += 1;
                }
            }
            if last {
                break;
            }
        }
        Ok(attempted)
    }
}

impl Starter {
    async fn start(&self, agent: &AgentId, url: &str) {
        let workflow = StartWorkflow {
            workflow_type: "HealthCheckWorkflow".to_owned(),
            id: workflow_id(agent),
            arguments: vec![json!({"agent_id": agent, "acp_url": url})],
            task_queue: self.task_queue.clone(),
        };
        match self.workflows.start(&workflow).await {
            Ok(()) | Err(WorkflowError::AlreadyExists) => {}
            Err(error) => tracing::warn!(agent.id = %agent, %error, "the health check of an agent was not started"),
        }
    }

    async fn restart(&self, agent: &AgentId, deployment: &DeploymentId, url: &str) {
        let reason = format!("Restarting health check workflow for promoted deployment {deployment}");
        match self.workflows.terminate(&workflow_id(agent), &reason).await {
            Ok(()) | Err(WorkflowError::NotFound) => self.start(agent, url).await,
            Err(error) => tracing::warn!(agent.id = %agent, %error, "the health check of an agent goes on as it was"),
        }
    }
}

fn workflow_id(agent: &AgentId) -> String {
    format!("healthcheck_workflow_{agent}")
}

impl std::fmt::Debug for HealthChecks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HealthChecks").field("enabled", &self.starter.is_some()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use agentex_domain::ports::{MockAgentRepository, MockWorkflowGateway};
    use agentex_domain::{AcpType, AgentName};

    use super::*;
    use crate::testing::{Log, at};

    fn agent(number: usize) -> Agent {
        let name = AgentName::parse("a".to_owned()).unwrap();
        Agent {
            id: format!("{number:04}").as_str().into(),
            status: AgentStatus::Ready,
            acp_type: AcpType::Sync,
            acp_url: Some("http://agent.test".to_owned()),
            ..Agent::build_only(name, String::new(), None, None, at())
        }
    }

    fn checks(agents: MockAgentRepository, log: &Log, fails: &'static [&'static str]) -> HealthChecks {
        ending(agents, log, fails, || Err(WorkflowError::NotFound))
    }

    /// The same, with what ending the old check comes to.
    fn ending(
        agents: MockAgentRepository,
        log: &Log,
        fails: &'static [&'static str],
        end: fn() -> Result<(), WorkflowError>,
    ) -> HealthChecks {
        let mut workflows = MockWorkflowGateway::new();
        let started = log.clone();
        workflows.expect_start().returning(move |workflow| {
            assert_eq!((workflow.workflow_type.as_str(), workflow.task_queue.as_str()), ("HealthCheckWorkflow", "q"));
            started.add(format!("start {}", workflow.id));
            if fails.contains(&workflow.id.as_str()) {
                return Err(WorkflowError::Failed("broken".into()));
            }
            Ok(())
        });
        let ended = log.clone();
        workflows.expect_terminate().returning(move |id, reason| {
            ended.add(format!("terminate {id}: {reason}"));
            end()
        });
        let settings =
            ScheduleSettings { health_checks: true, task_queue: "q".to_owned(), ..ScheduleSettings::default() };
        HealthChecks::new(Arc::new(agents), Some(Arc::new(workflows)), &settings, TaskTracker::new())
    }

    /// Waits until nothing goes on any more.
    async fn settled(checks: &HealthChecks) {
        let background = checks.starter.as_ref().unwrap().background.clone();
        background.close();
        tokio::time::timeout(Duration::from_secs(5), background.wait()).await.unwrap();
    }

    /// Pages of so many agents, and a log of which were read.
    fn paged(log: &Log, count: usize) -> MockAgentRepository {
        let mut agents = MockAgentRepository::new();
        let log = log.clone();
        agents.expect_list().returning(move |_, order, direction, page| {
            assert_eq!((order, direction), (AgentOrder::Id, Direction::Ascending));
            log.add(format!("page {}", page.page_number));
            let begin = (usize::try_from(page.page_number).unwrap() - 1) * 200;
            Ok((begin..count.min(begin + 200)).map(agent).collect())
        });
        agents
    }

    /// temporal §7: 11, 12, 22
    #[tokio::test]
    async fn every_ready_agent_is_attempted_page_by_page_whatever_fails() {
        let log = Log::default();
        let all = checks(paged(&log, 401), &log, &["healthcheck_workflow_0003"]);
        assert_eq!(all.start_all().await.unwrap(), 401);
        let pages: Vec<String> = log.entries().into_iter().filter(|entry| entry.starts_with("page")).collect();
        assert_eq!(pages, ["page 1", "page 2", "page 3"]);

        let log = Log::default();
        assert_eq!(checks(paged(&log, 200), &log, &[]).start_all().await.unwrap(), 200);
        assert_eq!(log.entries().last().unwrap(), "page 2");
    }

    /// temporal §7: 21
    /// agents §13: 55
    #[tokio::test]
    async fn a_promotion_ends_the_old_check_before_it_starts_the_new_one() {
        let log = Log::default();
        let checks = checks(MockAgentRepository::new(), &log, &[]);

        checks.promoted(&agent(1).id, &"d".into(), Some("http://new.test"));
        checks.promoted(&agent(2).id, &"d".into(), None);
        settled(&checks).await;

        assert_eq!(
            log.entries(),
            [
                "terminate healthcheck_workflow_0001: Restarting health check workflow for promoted deployment d",
                "start healthcheck_workflow_0001",
            ]
        );
    }

    /// agents §13: 55
    #[tokio::test]
    async fn a_check_that_cannot_be_ended_goes_on_and_no_other_is_started() {
        let log = Log::default();
        let checks = ending(MockAgentRepository::new(), &log, &[], || Err(WorkflowError::Failed("broken".into())));

        checks.promoted(&agent(1).id, &"d".into(), Some("http://new.test"));
        settled(&checks).await;

        let entries = log.entries();
        assert!(entries.len() == 1 && entries[0].starts_with("terminate healthcheck_workflow_0001"), "{entries:?}");
    }

    /// agents §13: 56
    #[tokio::test]
    async fn where_checks_are_off_no_workflow_is_called() {
        let background = TaskTracker::new();
        // Mocks that were told of no call.
        let (agents, workflows) = (MockAgentRepository::new(), MockWorkflowGateway::new());
        let settings = ScheduleSettings { health_checks: false, ..ScheduleSettings::default() };
        let checks = HealthChecks::new(Arc::new(agents), Some(Arc::new(workflows)), &settings, background.clone());

        checks.registered(&agent(1));
        checks.promoted(&agent(1).id, &"d".into(), Some("http://new.test"));

        assert_eq!(checks.start_all().await.unwrap(), 0);
        assert!(background.is_empty(), "nothing goes on in the background either");
    }
}
