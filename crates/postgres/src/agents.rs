use std::sync::Arc;

use agentex_authz::ResourceRef;
use agentex_domain::ports::{
    AgentFilter, AgentOrder, AgentRepository, Departure, DialTarget, Reregistered, Settlement, StoreError,
};
use agentex_domain::{
    Agent, AgentId, AgentStatus, DeploymentId, Direction, Intent, JsonObject, PageRequest, Registration, Timestamp,
};
use async_trait::async_trait;
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool, Postgres, QueryBuilder};

use crate::agent_row::{AgentRow, agent_columns};
use crate::batching::{Batch, Batched, by_key, distinct};
use crate::deployment_history;
use crate::dial::{Dial, DialByName};
use crate::error::{nothing_if_unstorable, retry, store_error};
use crate::json;
use crate::labels;
use crate::lifecycle::{depart, settle, settlement_columns, settling};
use crate::ordering::{push_order, push_page, push_scope};
use crate::store::Pools;
use crate::transaction::begin;

/// An agent, deleted or not.
struct ById(PgPool);

impl Batch for ById {
    type Item = AgentId;
    type Answer = Option<Agent>;

    async fn alone(&self, id: &AgentId) -> Result<Option<Agent>, StoreError> {
        let row = sqlx::query_as(concat!(
            "SELECT ",
            agent_columns!(),
            " FROM agents a
              WHERE a.id = $1"
        ))
        .bind(id.as_str())
        .fetch_optional(&self.0)
        .await;
        read_agent(row)
    }

    async fn together(&self, ids: &[Arc<AgentId>]) -> Result<Vec<Option<Option<Agent>>>, StoreError> {
        let rows: Vec<AgentRow> = sqlx::query_as(concat!(
            "SELECT ",
            agent_columns!(),
            " FROM agents a
              WHERE a.id = ANY($1)"
        ))
        .bind(distinct(ids, AgentId::as_str))
        .fetch_all(&self.0)
        .await
        .map_err(store_error("agent"))?;
        let agents = rows.into_iter().map(Agent::try_from);
        let found = agents.map(|agent| agent.map(|agent| (agent.id.clone(), agent))).collect::<Result<_, _>>()?;
        Ok(by_key(ids, &found, AgentId::clone))
    }
}

/// Agents in the table `agents`.
pub(crate) struct PgAgents {
    pools: Pools,
    by_id: Batched<ById>,
    dial: Batched<Dial>,
    dial_by_name: Batched<DialByName>,
}

impl PgAgents {
    pub(crate) fn new(pools: Pools) -> Self {
        let primary = || pools.primary.clone();
        Self {
            by_id: Batched::new(ById(primary())),
            dial: Batched::new(Dial(primary())),
            dial_by_name: Batched::new(DialByName(primary())),
            pools,
        }
    }

    const fn primary(&self) -> &PgPool {
        &self.pools.primary
    }

    async fn register_again_once(
        &self,
        id: &AgentId,
        registration: &Registration,
        always_stamp: bool,
        at: Timestamp,
        settles: Option<&Settlement>,
    ) -> Result<Option<Reregistered>, StoreError> {
        let mut transaction = begin(self.primary()).await.map_err(store_error("agent"))?;
        let Some(mut agent) = lock(&mut transaction, id).await? else { return Ok(None) };
        let revived = agent.is_deleted();
        let changed = agent.register_again(registration, always_stamp, at);
        if changed {
            save(&mut transaction, &agent).await?;
            deployment_history::record(&mut transaction, &agent).await?;
            settle(&mut transaction, settles.filter(|_| revived)).await?;
            transaction.commit().await.map_err(store_error("agent"))?;
        }
        Ok(Some(Reregistered { agent, changed, revived }))
    }

    async fn register_live_once(
        &self,
        id: &AgentId,
        registration: &Registration,
        always_stamp: bool,
        at: Timestamp,
    ) -> Result<Option<Reregistered>, StoreError> {
        let mut transaction = begin(self.primary()).await.map_err(store_error("agent"))?;
        let found = lock(&mut transaction, id).await?;
        let Some(mut agent) = found.filter(|agent| !agent.is_deleted()) else { return Ok(None) };
        let changed = agent.register_again(registration, always_stamp, at);
        if changed {
            save(&mut transaction, &agent).await?;
            deployment_history::record(&mut transaction, &agent).await?;
            transaction.commit().await.map_err(store_error("agent"))?;
        }
        Ok(Some(Reregistered { agent, changed, revived: false }))
    }

    async fn revive_once(
        &self,
        id: &AgentId,
        description: &str,
        metadata: Option<&JsonObject>,
        at: Timestamp,
        settles: Option<&Settlement>,
    ) -> Result<Option<Agent>, StoreError> {
        let mut transaction = begin(self.primary()).await.map_err(store_error("agent"))?;
        let Some(mut agent) = lock(&mut transaction, id).await?.filter(Agent::is_deleted) else { return Ok(None) };
        agent.revive_as_build(description.to_owned(), metadata.cloned(), at);
        save(&mut transaction, &agent).await?;
        settle(&mut transaction, settles).await?;
        transaction.commit().await.map_err(store_error("agent"))?;
        Ok(Some(agent))
    }

    /// Several statements, because those after the first must see a key or a token whose writer held the lock on the
    /// agent that the first waited for.
    async fn delete_once(
        &self,
        id: &AgentId,
        reason: &str,
        at: Timestamp,
        departure: Option<&Departure>,
    ) -> Result<Option<Vec<Intent>>, StoreError> {
        let mut transaction = begin(self.primary()).await.map_err(store_error("agent"))?;
        let deleted = sqlx::query(
            "UPDATE agents
                SET status = 'DELETED', status_reason = $2, updated_at = $3
              WHERE id = $1 AND status <> 'DELETED'",
        )
        .bind(id.as_str())
        .bind(reason)
        .bind(at.as_datetime())
        .execute(&mut *transaction)
        .await
        .map_err(store_error("agent"))?;
        if deleted.rows_affected() == 0 {
            return Ok(None);
        }
        let keys: Vec<String> = sqlx::query_scalar(
            "WITH tokens AS (
                 DELETE FROM registration_tokens
                  WHERE agent_id = $1
             )
             DELETE FROM agent_api_keys
              WHERE agent_id = $1
             RETURNING id",
        )
        .bind(id.as_str())
        .fetch_all(&mut *transaction)
        .await
        .map_err(store_error("api key"))?;
        let mut gone: Vec<ResourceRef> = keys.into_iter().map(ResourceRef::api_key).collect();
        gone.push(ResourceRef::agent(id.as_str()));
        let intents = depart(&mut transaction, &gone, at, departure).await?;
        transaction.commit().await.map_err(store_error("agent"))?;
        Ok(Some(intents))
    }
}

#[async_trait]
impl AgentRepository for PgAgents {
    #[tracing::instrument(level = "debug", name = "db.agent.insert", skip_all, fields(agent.id = %agent.id))]
    async fn insert(&self, agent: &Agent, settles: Option<Settlement>) -> Result<(), StoreError> {
        let mut transaction = begin(self.primary()).await.map_err(store_error("agent"))?;
        let (intent, then, due_at) = settlement_columns(settles.as_ref());
        let done = sqlx::query(settling!(
            "INSERT INTO agents
                    (id, name, description, docker_image, status, status_reason, acp_url, acp_type, created_at,
                     updated_at, registration_metadata, registered_at, agent_input_type, production_deployment_id)
             SELECT $4, $5, $6, $7, $8::agentstatus, $9, $10, $11, $12, $13, $14, $15, $16::agentinputtype, $17
               FROM allowed"
        ))
        .bind(intent)
        .bind(then)
        .bind(due_at)
        .bind(agent.id.as_str())
        .bind(&agent.name)
        .bind(&agent.description)
        .bind(&agent.docker_image)
        .bind(labels::agent_status(agent.status))
        .bind(&agent.status_reason)
        .bind(&agent.acp_url)
        .bind(agent.acp_type.as_str())
        .bind(agent.created_at.as_datetime())
        .bind(agent.updated_at.as_datetime())
        .bind(json::to_column(agent.registration_metadata.as_ref()))
        .bind(agent.registered_at.map(Timestamp::as_datetime))
        .bind(agent.agent_input_type.map(labels::input_type))
        .bind(agent.production_deployment_id.as_ref().map(DeploymentId::as_str))
        .execute(&mut *transaction)
        .await
        .map_err(store_error("agent"))?;
        if done.rows_affected() == 0 {
            return Err(StoreError::IntentLost);
        }
        deployment_history::record(&mut transaction, agent).await?;
        transaction.commit().await.map_err(store_error("agent"))
    }

    #[tracing::instrument(level = "debug", name = "db.agent.find", skip_all, fields(agent.id = %id))]
    async fn find(&self, id: &AgentId) -> Result<Option<Agent>, StoreError> {
        self.by_id.run(id.clone()).await
    }

    #[tracing::instrument(level = "debug", name = "db.agent.find_by_name", skip_all)]
    async fn find_by_name(&self, name: &str) -> Result<Option<Agent>, StoreError> {
        let row = sqlx::query_as::<_, AgentRow>(concat!(
            "SELECT ",
            agent_columns!(),
            " FROM agents a
              WHERE a.name = $1"
        ))
        .bind(name)
        .fetch_optional(self.primary())
        .await;
        read_agent(row)
    }

    #[tracing::instrument(level = "debug", name = "db.agent.dial_target", skip_all, fields(agent.id = %id))]
    async fn dial_target(&self, id: &AgentId) -> Result<Option<DialTarget>, StoreError> {
        self.dial.run(id.clone()).await
    }

    #[tracing::instrument(level = "debug", name = "db.agent.dial_target_by_name", skip_all)]
    async fn dial_target_by_name(&self, name: &str) -> Result<Option<DialTarget>, StoreError> {
        self.dial_by_name.run(name.to_owned()).await
    }

    #[tracing::instrument(level = "debug", name = "db.agent.register_again", skip_all, fields(agent.id = %id))]
    async fn register_again(
        &self,
        id: &AgentId,
        registration: &Registration,
        always_stamp: bool,
        at: Timestamp,
        settles: Option<Settlement>,
    ) -> Result<Option<Reregistered>, StoreError> {
        retry(|| self.register_again_once(id, registration, always_stamp, at, settles.as_ref())).await
    }

    #[tracing::instrument(level = "debug", name = "db.agent.register_live", skip_all, fields(agent.id = %id))]
    async fn register_live(
        &self,
        id: &AgentId,
        registration: &Registration,
        always_stamp: bool,
        at: Timestamp,
    ) -> Result<Option<Reregistered>, StoreError> {
        retry(|| self.register_live_once(id, registration, always_stamp, at)).await
    }

    #[tracing::instrument(level = "debug", name = "db.agent.revive_as_build", skip_all, fields(agent.id = %id))]
    async fn revive_as_build(
        &self,
        id: &AgentId,
        description: String,
        metadata: Option<JsonObject>,
        at: Timestamp,
        settles: Option<Settlement>,
    ) -> Result<Option<Agent>, StoreError> {
        retry(|| self.revive_once(id, &description, metadata.as_ref(), at, settles.as_ref())).await
    }

    #[tracing::instrument(level = "debug", name = "db.agent.set_health", skip_all, fields(agent.id = %id, healthy))]
    async fn set_health(&self, id: &AgentId, healthy: bool, reason: &str, at: Timestamp) -> Result<bool, StoreError> {
        let (from, to) = if healthy {
            (AgentStatus::Unhealthy, AgentStatus::Ready)
        } else {
            (AgentStatus::Ready, AgentStatus::Unhealthy)
        };
        let done = sqlx::query(
            "UPDATE agents
                SET status = $3::agentstatus, status_reason = $4, updated_at = $5
              WHERE id = $1 AND status = $2::agentstatus",
        )
        .bind(id.as_str())
        .bind(labels::agent_status(from))
        .bind(labels::agent_status(to))
        .bind(reason)
        .bind(at.as_datetime())
        .execute(self.primary())
        .await
        .map_err(store_error("agent"))?;
        Ok(done.rows_affected() == 1)
    }

    #[tracing::instrument(level = "debug", name = "db.agent.delete", skip_all, fields(agent.id = %id))]
    async fn delete(
        &self,
        id: &AgentId,
        reason: &str,
        at: Timestamp,
        departure: Option<Departure>,
    ) -> Result<Option<Vec<Intent>>, StoreError> {
        retry(|| self.delete_once(id, reason, at, departure.as_ref())).await
    }

    #[tracing::instrument(level = "debug", name = "db.agent.list", skip_all)]
    async fn list(
        &self,
        filter: &AgentFilter,
        order: AgentOrder,
        direction: Direction,
        page: PageRequest,
    ) -> Result<Vec<Agent>, StoreError> {
        if filter.scope.is_empty() {
            return Ok(Vec::new());
        }
        let mut query = QueryBuilder::<Postgres>::new(concat!(
            "SELECT ",
            agent_columns!(),
            " FROM agents a
              WHERE a.status <> 'DELETED'"
        ));
        push_scope(&mut query, "a.id", &filter.scope);
        if let Some(task_id) = &filter.task_id {
            query.push(" AND EXISTS (SELECT 1 FROM task_agents ta WHERE ta.agent_id = a.id AND ta.task_id = ");
            query.push_bind(task_id.as_str()).push(")");
        }
        if let Some(wanted) = &filter.card_metadata {
            const CARD_METADATA: &str = "a.registration_metadata -> 'agent_card' -> 'metadata'";
            query.push(format_args!(" AND jsonb_typeof({CARD_METADATA}) = 'object' AND {CARD_METADATA} @> "));
            query.push_bind(Json(wanted));
        }
        push_order(&mut query, sort_columns(order), direction);
        push_page(&mut query, page);
        let rows = query.build_query_as::<AgentRow>().fetch_all(&self.pools.reader).await;
        nothing_if_unstorable(rows).map_err(store_error("agent"))?.into_iter().map(Agent::try_from).collect()
    }
}

/// The agent, locked against everyone who would change it. New tasks of the agent may still refer to it meanwhile.
pub(crate) async fn lock(transaction: &mut PgConnection, id: &AgentId) -> Result<Option<Agent>, StoreError> {
    let row = sqlx::query_as::<_, AgentRow>(concat!(
        "SELECT ",
        agent_columns!(),
        " FROM agents a
          WHERE a.id = $1
            FOR NO KEY UPDATE"
    ))
    .bind(id.as_str())
    .fetch_optional(transaction)
    .await;
    read_agent(row)
}

/// Writes the whole row, which must be locked, and demotes the production deployment, which the row no longer points
/// to.
async fn save(transaction: &mut PgConnection, agent: &Agent) -> Result<(), StoreError> {
    sqlx::query(
        "WITH demoted AS (
             UPDATE deployments
                SET is_production = false
              WHERE agent_id = $1 AND is_production
         )
         UPDATE agents
            SET name = $2, description = $3, status = $4::agentstatus, status_reason = $5, acp_url = $6,
                acp_type = $7, updated_at = $8, registration_metadata = $9, registered_at = $10,
                agent_input_type = $11::agentinputtype, production_deployment_id = $12
          WHERE id = $1",
    )
    .bind(agent.id.as_str())
    .bind(&agent.name)
    .bind(&agent.description)
    .bind(labels::agent_status(agent.status))
    .bind(&agent.status_reason)
    .bind(&agent.acp_url)
    .bind(agent.acp_type.as_str())
    .bind(agent.updated_at.as_datetime())
    .bind(json::to_column(agent.registration_metadata.as_ref()))
    .bind(agent.registered_at.map(Timestamp::as_datetime))
    .bind(agent.agent_input_type.map(labels::input_type))
    .bind(agent.production_deployment_id.as_ref().map(DeploymentId::as_str))
    .execute(transaction)
    .await
    .map_err(store_error("agent"))?;
    Ok(())
}

fn read_agent(row: Result<Option<AgentRow>, sqlx::Error>) -> Result<Option<Agent>, StoreError> {
    nothing_if_unstorable(row).map_err(store_error("agent"))?.map(Agent::try_from).transpose()
}

/// Texts sort bytewise, whatever the locale of the database. A `?` marks a column that may be null.
const fn sort_columns(order: AgentOrder) -> &'static [&'static str] {
    match order {
        AgentOrder::UpdatedAt => &["a.updated_at", "a.created_at", "a.id"],
        AgentOrder::CreatedAt => &["a.created_at", "a.updated_at", "a.id"],
        AgentOrder::Id => &["a.id"],
        AgentOrder::Name => &["a.name COLLATE \"C\"", "a.updated_at", "a.created_at", "a.id"],
        AgentOrder::Status => &["a.status::text COLLATE \"C\"", "a.updated_at", "a.created_at", "a.id"],
        AgentOrder::RegisteredAt => &["a.registered_at?", "a.updated_at", "a.created_at", "a.id"],
    }
}
