use agentex_authz::ResourceRef;
use agentex_domain::ports::{
    DeletedTask, Departure, Settlement, StoreError, TaskChange, TaskFilter, TaskInsert, TaskOrder, TaskRepository,
    Transitioned,
};
use agentex_domain::{
    Agent, AgentId, Direction, NewTask, PageRequest, Task, TaskId, TaskStatus, Timestamp, TrackerId, Transition,
};
use async_trait::async_trait;
use sqlx::PgPool;

use crate::agent_row::{AgentRow, agent_columns};
use crate::batching::Batched;
use crate::error::{nothing_if_unstorable, retry, store_error};
use crate::json;
use crate::lifecycle::depart;
use crate::store::Pools;
use crate::task_batches::{self, ById, ByName, Flag, ForAgent, Insert, NewTaskRows, SetFlag, Stored};
use crate::task_lists;
use crate::task_orders::Orders;
use crate::task_row::{TaskRow, task_columns};
use crate::transaction::begin;

/// How often a write is tried again whose outcome somebody else changed before it could be looked at.
const LOOKS: u32 = 3;

#[derive(sqlx::FromRow)]
struct LinkedAgentRow {
    task_id: String,
    #[sqlx(flatten)]
    agent: AgentRow,
}

/// Tasks in the tables `tasks`, `task_agents` and `agent_task_tracker`.
pub(crate) struct PgTasks {
    pools: Pools,
    orders: Orders,
    by_id: Batched<ById>,
    by_name: Batched<ByName>,
    for_agent: Batched<ForAgent>,
    insert: Batched<Insert>,
    set_flag: Batched<SetFlag>,
}

impl PgTasks {
    pub(crate) fn new(pools: Pools) -> Self {
        let primary = || pools.primary.clone();
        Self {
            orders: Orders::default(),
            by_id: Batched::new(ById(primary())),
            by_name: Batched::new(ByName(primary())),
            for_agent: Batched::new(ForAgent(primary())),
            insert: Batched::new(Insert(primary())),
            set_flag: Batched::new(SetFlag(primary())),
            pools,
        }
    }

    const fn primary(&self) -> &PgPool {
        &self.pools.primary
    }

    async fn delete_once(
        &self,
        id: &TaskId,
        reason: &str,
        at: Timestamp,
        departure: Option<&Departure>,
    ) -> Result<Option<DeletedTask>, StoreError> {
        let mut transaction = begin(self.primary()).await.map_err(store_error("task"))?;
        let row = sqlx::query_as::<_, TaskRow>(concat!(
            "UPDATE tasks AS t
                SET status = 'DELETED', status_reason = $2, updated_at = $3
              WHERE t.id = $1 AND t.status <> 'DELETED'
             RETURNING ",
            task_columns!()
        ))
        .bind(id.as_str())
        .bind(reason)
        .bind(at.as_datetime())
        .fetch_optional(&mut *transaction)
        .await
        .map_err(store_error("task"))?;
        let Some(row) = row else { return Ok(None) };
        let intent = depart(&mut transaction, &[ResourceRef::task(id.as_str())], at, departure).await?.pop();
        let task = row.try_into()?;
        transaction.commit().await.map_err(store_error("task"))?;
        Ok(Some(DeletedTask { task, intent }))
    }

    async fn transition_if_legal(
        &self,
        id: &TaskId,
        transition: Transition,
        reason: &str,
        at: Timestamp,
    ) -> Result<Option<Task>, StoreError> {
        let sources: Vec<&str> = transition.sources().iter().map(|status| status.as_str()).collect();
        let row = sqlx::query_as::<_, TaskRow>(concat!(
            "UPDATE tasks AS t
                SET status = $2::taskstatus, status_reason = $3, updated_at = $4
              WHERE t.id = $1 AND t.status = ANY($5::taskstatus[])
             RETURNING ",
            task_columns!()
        ))
        .bind(id.as_str())
        .bind(transition.target().as_str())
        .bind(reason)
        .bind(at.as_datetime())
        .bind(sources)
        .fetch_optional(self.primary())
        .await
        .map_err(store_error("task"))?;
        row.map(Task::try_from).transpose()
    }
}

#[async_trait]
impl TaskRepository for PgTasks {
    #[tracing::instrument(level = "debug", name = "db.task.insert", skip_all, fields(task.id = %new.id))]
    async fn insert(&self, new: &NewTask, settles: Option<Settlement>) -> Result<TaskInsert, StoreError> {
        let task = new.clone().into_task();
        let tracker = TrackerId::generate();
        for _ in 0..LOOKS {
            let rows = NewTaskRows { task: task.clone(), agent_id: new.agent_id.clone(), tracker: tracker.clone() };
            let stored = match &settles {
                Some(settles) => task_batches::insert(self.primary(), &rows, Some(settles)).await?,
                None => self.insert.run(rows).await?,
            };
            match stored {
                Stored::Now => return Ok(TaskInsert::Created(task)),
                Stored::NameTaken => {}
            }
            // The winner may have been deleted since; then the name is free again.
            if let Some(name) = &task.name
                && let Some(winner) = self.find_by_name(name).await?
            {
                return Ok(TaskInsert::NameTaken(winner));
            }
        }
        Err(StoreError::Unavailable("the name changed hands too often".into()))
    }

    #[tracing::instrument(level = "debug", name = "db.task.find", skip_all, fields(task.id = %id))]
    async fn find(&self, id: &TaskId) -> Result<Option<Task>, StoreError> {
        self.by_id.run(id.clone()).await
    }

    #[tracing::instrument(level = "debug", name = "db.task.find_by_name", skip_all)]
    async fn find_by_name(&self, name: &str) -> Result<Option<Task>, StoreError> {
        self.by_name.run(name.to_owned()).await
    }

    #[tracing::instrument(level = "debug", name = "db.task.find_for_agent", skip_all, fields(task.id = %id))]
    async fn find_for_agent(&self, id: &TaskId, agent_id: &AgentId) -> Result<Option<Task>, StoreError> {
        self.for_agent.run((id.clone(), agent_id.clone())).await
    }

    #[tracing::instrument(level = "debug", name = "db.task.is_linked", skip_all, fields(task.id = %id))]
    async fn is_linked(&self, id: &TaskId, agent_id: &AgentId) -> Result<bool, StoreError> {
        let linked =
            sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM task_agents WHERE task_id = $1 AND agent_id = $2)")
                .bind(id.as_str())
                .bind(agent_id.as_str())
                .fetch_one(self.primary())
                .await;
        nothing_if_unstorable(linked).map_err(store_error("task"))
    }

    #[tracing::instrument(level = "debug", name = "db.task.agents_of", skip_all)]
    async fn agents_of(&self, ids: &[TaskId]) -> Result<Vec<(TaskId, Agent)>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<&str> = ids.iter().map(TaskId::as_str).collect();
        let rows = sqlx::query_as::<_, LinkedAgentRow>(concat!(
            "SELECT ta.task_id, ",
            agent_columns!(),
            " FROM task_agents ta
              JOIN agents a ON a.id = ta.agent_id
             WHERE ta.task_id = ANY($1)
             ORDER BY ta.created_at NULLS FIRST, ta.task_id, ta.agent_id"
        ))
        .bind(ids)
        .fetch_all(self.primary())
        .await;
        nothing_if_unstorable(rows)
            .map_err(store_error("task"))?
            .into_iter()
            .map(|LinkedAgentRow { task_id, agent }| Ok((TaskId::from(task_id), agent.try_into()?)))
            .collect()
    }

    #[tracing::instrument(level = "debug", name = "db.task.transition", skip_all, fields(task.id = %id))]
    async fn transition(
        &self,
        id: &TaskId,
        transition: Transition,
        reason: &str,
        at: Timestamp,
    ) -> Result<Transitioned, StoreError> {
        let mut looks = 0;
        loop {
            if let Some(task) = self.transition_if_legal(id, transition, reason, at).await? {
                return Ok(Transitioned::Done(task));
            }
            looks += 1;
            match self.find(id).await? {
                None => return Ok(Transitioned::Absent),
                // Somebody moved it to a legal source between the two statements.
                Some(task) if looks < LOOKS && transition.is_legal_from(task.status) => {}
                Some(task) => return Ok(Transitioned::Refused(task)),
            }
        }
    }

    #[tracing::instrument(level = "debug", name = "db.task.delete", skip_all, fields(task.id = %id))]
    async fn delete(
        &self,
        id: &TaskId,
        reason: &str,
        at: Timestamp,
        departure: Option<Departure>,
    ) -> Result<Option<DeletedTask>, StoreError> {
        retry(|| self.delete_once(id, reason, at, departure.as_ref())).await
    }

    #[tracing::instrument(level = "debug", name = "db.task.set_metadata_flag", skip_all, fields(task.id = %id))]
    async fn set_metadata_flag(&self, id: &TaskId, name: &str, at: Timestamp) -> Result<bool, StoreError> {
        self.set_flag.run(Flag { id: id.clone(), name: name.to_owned(), at }).await
    }

    #[tracing::instrument(level = "debug", name = "db.task.update", skip_all, fields(task.id = %id))]
    async fn update(&self, id: &TaskId, change: &TaskChange, at: Timestamp) -> Result<Option<Task>, StoreError> {
        let TaskChange { task_metadata, merge_params, replace_params } = change;
        // Merging nothing changes nothing, not even a missing value into an empty one.
        let merge_params = merge_params.as_ref().filter(|patch| !patch.is_empty());
        if task_metadata.is_none() && merge_params.is_none() && replace_params.is_none() {
            return Ok(self.find(id).await?.filter(|task| task.status != TaskStatus::Deleted));
        }
        let row = sqlx::query_as::<_, TaskRow>(concat!(
            "UPDATE tasks AS t
                SET task_metadata = COALESCE($2, t.task_metadata),
                    params = CASE
                        WHEN $3 IS NOT NULL THEN COALESCE(NULLIF(t.params, 'null'::jsonb), '{}'::jsonb) || $3
                        ELSE COALESCE($4, t.params)
                    END,
                    updated_at = $5
              WHERE t.id = $1 AND t.status <> 'DELETED'
             RETURNING ",
            task_columns!()
        ))
        .bind(id.as_str())
        .bind(json::to_column(task_metadata.as_ref()))
        .bind(json::to_column(merge_params))
        .bind(json::to_column(replace_params.as_ref()))
        .bind(at.as_datetime())
        .fetch_optional(self.primary())
        .await
        .map_err(store_error("task"))?;
        row.map(Task::try_from).transpose()
    }

    #[tracing::instrument(level = "debug", name = "db.task.list", skip_all)]
    async fn list(
        &self,
        filter: &TaskFilter,
        order: TaskOrder,
        direction: Direction,
        page: PageRequest,
    ) -> Result<Vec<Task>, StoreError> {
        task_lists::list(&self.pools.reader, &self.orders, filter, order, direction, page).await
    }
}
