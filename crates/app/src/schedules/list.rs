//! Lists of schedules.

use std::sync::Arc;

use agentex_authz::{Operation, ResourceKind, Scope};
use agentex_domain::ports::{ScheduleError, ScheduleListing};
use agentex_domain::{Agent, AgentId};
use futures::StreamExt as _;

use super::shapes::method_of;
use super::{
    Live, RunScheduleView, ScheduleKind, ScheduleKinds, ScheduleList, ScheduleQuery, Schedules, WorkflowScheduleEntry,
    failure, names,
};
use crate::guard::Sought;
use crate::{AgentSelector, Caller, Error};

/// About how many run schedules of a list the scheduler is asked.
const MOST_LIVE: usize = 200;
/// How many questions at the same time.
const AT_ONCE: usize = 10;

impl Schedules {
    /// Schedules of an agent that the caller may read. An agent the caller may not read has none, whether it exists or not.
    ///
    /// # Errors
    /// A scheduler that cannot tell the workflow schedules is an error only where nothing else was asked for.
    #[tracing::instrument(name = "schedules.list", skip_all, fields(agent.id = %agent))]
    pub async fn list(&self, caller: &Caller, agent: &AgentId, query: ScheduleQuery) -> Result<ScheduleList, Error> {
        let nothing = || ScheduleList {
            run_schedules: Vec::new(),
            workflow_schedules: Vec::new(),
            workflows_available: true,
            truncated: false,
        };
        let selector = AgentSelector::Id(agent.clone());
        let found = self.live_agent(agent).await?;
        match self.guard.require_sought(caller, Operation::Read, Sought::agent(&selector, found.as_ref())).await {
            Err(Error::NotFound(_)) => return Ok(nothing()),
            outcome => outcome?,
        }
        let Some(agent) = found else { return Ok(nothing()) };
        let scope = self.guard.visible(caller, ResourceKind::Schedule).await?.scope;
        let wanted = |kind| query.kinds.include(kind) && self.is_enabled(kind);
        let mut list = nothing();
        if wanted(ScheduleKind::AgentRun) {
            list.run_schedules = self.list_runs(&agent, &scope, query).await?;
        }
        if wanted(ScheduleKind::Workflow) {
            match self.list_workflows(&agent, &scope, query.limit).await {
                Ok(ScheduleListing { entries, truncated }) => {
                    list.truncated = truncated;
                    list.workflow_schedules = shown(&agent.id, entries);
                }
                Err(error) if query.kinds == ScheduleKinds::All => {
                    tracing::warn!(%error, "workflow schedules could not be listed");
                    list.workflows_available = false;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(list)
    }

    async fn list_runs(
        &self,
        agent: &Agent,
        scope: &Scope,
        query: ScheduleQuery,
    ) -> Result<Vec<RunScheduleView>, Error> {
        let only = within(scope, &names::run_selector_prefix(&agent.id), true);
        if only.as_ref().is_some_and(|only| only.is_empty()) {
            return Ok(Vec::new());
        }
        let rows = self.stores.run_schedules.list(&agent.id, only, query.limit).await?;
        let asked = if query.include_live { MOST_LIVE.min(rows.len()) } else { 0 };
        if query.include_live && rows.len() > asked {
            tracing::warn!(agent.id = %agent.id, rows = rows.len(), "run_schedule_live_enrichment_capped");
        }
        let method = method_of(agent.acp_type);
        let views = futures::stream::iter(rows.into_iter().enumerate())
            .map(|(place, schedule)| async move {
                let live = if place < asked { self.live(&schedule).await } else { Live::NotAsked };
                RunScheduleView { schedule, method, live }
            })
            .buffered(AT_ONCE);
        Ok(views.collect().await)
    }

    async fn list_workflows(&self, agent: &Agent, scope: &Scope, limit: u32) -> Result<ScheduleListing, Error> {
        let prefix = names::workflow_prefix(&agent.id);
        let only = within(scope, &prefix, false);
        if only.as_ref().is_some_and(|only| only.is_empty()) {
            return Ok(ScheduleListing::default());
        }
        let scheduler = self.workflow_scheduler()?;
        scheduler.list(&prefix, only, limit).await.map_err(|error| match error {
            ScheduleError::Failed(source) => Error::Failed { message: "Failed to list schedules".to_owned(), source },
            error => failure::of("list", &prefix, error),
        })
    }
}

/// The selectors of the scope that begin with `prefix`, without it where `stripped`; `None` for all.
fn within(scope: &Scope, prefix: &str, stripped: bool) -> Option<Arc<[String]>> {
    let Scope::Only(ids) = scope else { return None };
    let begins = ids.iter().filter(|id| id.starts_with(prefix));
    Some(begins.map(|id| if stripped { id[prefix.len()..].to_owned() } else { id.to_owned() }).collect())
}

fn shown(agent: &AgentId, entries: Vec<agentex_domain::ports::ScheduleEntry>) -> Vec<WorkflowScheduleEntry> {
    let prefix = names::workflow_prefix(agent);
    let mut shown: Vec<WorkflowScheduleEntry> = entries
        .into_iter()
        .map(|entry| WorkflowScheduleEntry {
            name: entry.id.strip_prefix(&prefix).unwrap_or(&entry.id).to_owned(),
            id: entry.id,
            paused: entry.paused,
            workflow_name: entry.workflow_name,
            next_action_time: entry.next_action_time,
        })
        .collect();
    shown.sort_by(|one, other| one.name.cmp(&other.name));
    shown
}
