use agentex_authz::ResourceRef;
use agentex_domain::ports::{
    AgentFilter, AgentOrder, AgentRepository, Departure, DialTarget, Reregistered, Settlement, StoreError,
};
use agentex_domain::{Agent, AgentId, Direction, Intent, JsonObject, PageRequest, Registration, Timestamp};
use async_trait::async_trait;
use serde_json::Value;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{FromRow, QueryBuilder, Row, Sqlite, SqliteConnection};

use crate::conditions::push_contains;
use crate::database::{Database, json_text, push_order, push_page, push_scope};
use crate::deployment_history;
use crate::error::store_error;
use crate::lifecycle::{depart, settle};
use crate::rows::{AgentRow, ApiKeyRow, agent_columns, api_key_columns};

pub(crate) struct SqliteAgents {
    pub(crate) database: Database,
}

/// Selects a [`DialRow`] for the agent that meets `$condition`.
macro_rules! dial_query {
    ($condition:literal) => {
        concat!(
            "SELECT ",
            agent_columns!(),
            ", NULLIF(deployments.acp_url, '') AS production_url, ",
            api_key_columns!(),
            r#"
              FROM agents
              LEFT JOIN deployments
                ON deployments.id = agents.production_deployment_id
              LEFT JOIN agent_api_keys
                ON agent_api_keys.id = (
                   SELECT newest.id
                     FROM agent_api_keys AS newest
                    WHERE newest.agent_id = agents.id
                      AND newest.api_key_type = 'internal'
                    ORDER BY newest.created_at DESC, newest.id DESC
                    LIMIT 1)
             WHERE "#,
            $condition
        )
    };
}

#[async_trait]
impl AgentRepository for SqliteAgents {
    #[tracing::instrument(name = "db.agent.insert", level = "debug", skip_all, fields(agent.id = %agent.id))]
    async fn insert(&self, agent: &Agent, settles: Option<Settlement>) -> Result<(), StoreError> {
        let mut transaction = self.database.begin().await.map_err(store_error("agent"))?;
        let query = sqlx::query(
            r#"
            INSERT INTO agents
                   (id, name, description, docker_image, status, status_reason, acp_url, acp_type, created_at,
                    updated_at, registration_metadata, registered_at, agent_input_type, production_deployment_id)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
            "#,
        );
        bind_agent(query, agent).execute(&mut *transaction).await.map_err(store_error("agent"))?;
        deployment_history::record(&mut transaction, agent).await?;
        if let Some(settlement) = &settles {
            settle(&mut transaction, settlement).await?;
        }
        transaction.commit().await.map_err(store_error("agent"))
    }

    #[tracing::instrument(name = "db.agent.find", level = "debug", skip_all, fields(agent.id = %id))]
    async fn find(&self, id: &AgentId) -> Result<Option<Agent>, StoreError> {
        let row: Option<AgentRow> =
            sqlx::query_as(concat!("SELECT ", agent_columns!(), " FROM agents WHERE agents.id = ?1"))
                .bind(id.as_str())
                .fetch_optional(&self.database.readers)
                .await
                .map_err(store_error("agent"))?;

        row.map(Agent::try_from).transpose()
    }

    #[tracing::instrument(name = "db.agent.find_by_name", level = "debug", skip_all)]
    async fn find_by_name(&self, name: &str) -> Result<Option<Agent>, StoreError> {
        let row: Option<AgentRow> =
            sqlx::query_as(concat!("SELECT ", agent_columns!(), " FROM agents WHERE agents.name = ?1"))
                .bind(name)
                .fetch_optional(&self.database.readers)
                .await
                .map_err(store_error("agent"))?;

        row.map(Agent::try_from).transpose()
    }

    #[tracing::instrument(name = "db.agent.dial_target", level = "debug", skip_all, fields(agent.id = %id))]
    async fn dial_target(&self, id: &AgentId) -> Result<Option<DialTarget>, StoreError> {
        let row: Option<DialRow> = sqlx::query_as(dial_query!("agents.id = ?1"))
            .bind(id.as_str())
            .fetch_optional(&self.database.readers)
            .await
            .map_err(store_error("agent"))?;

        row.map(DialTarget::try_from).transpose()
    }

    #[tracing::instrument(name = "db.agent.dial_target_by_name", level = "debug", skip_all)]
    async fn dial_target_by_name(&self, name: &str) -> Result<Option<DialTarget>, StoreError> {
        let row: Option<DialRow> = sqlx::query_as(dial_query!("agents.name = ?1"))
            .bind(name)
            .fetch_optional(&self.database.readers)
            .await
            .map_err(store_error("agent"))?;

        row.map(DialTarget::try_from).transpose()
    }

    #[tracing::instrument(name = "db.agent.register_again", level = "debug", skip_all, fields(agent.id = %id))]
    async fn register_again(
        &self,
        id: &AgentId,
        registration: &Registration,
        always_stamp: bool,
        at: Timestamp,
        settles: Option<Settlement>,
    ) -> Result<Option<Reregistered>, StoreError> {
        let mut transaction = self.database.begin().await.map_err(store_error("agent"))?;
        let Some(mut agent) = find_in(&mut transaction, id).await? else { return Ok(None) };

        let was_deleted = agent.is_deleted();
        let changed = agent.register_again(registration, always_stamp, at);
        if changed {
            replace_and_leave_production(&mut transaction, &agent).await?;
            deployment_history::record(&mut transaction, &agent).await?;
        }
        if let Some(settlement) = settles.filter(|_| was_deleted) {
            settle(&mut transaction, &settlement).await?;
        }

        transaction.commit().await.map_err(store_error("agent"))?;
        Ok(Some(Reregistered { agent, changed, revived: was_deleted }))
    }

    #[tracing::instrument(name = "db.agent.register_live", level = "debug", skip_all, fields(agent.id = %id))]
    async fn register_live(
        &self,
        id: &AgentId,
        registration: &Registration,
        always_stamp: bool,
        at: Timestamp,
    ) -> Result<Option<Reregistered>, StoreError> {
        let mut transaction = self.database.begin().await.map_err(store_error("agent"))?;
        let found = find_in(&mut transaction, id).await?;
        let Some(mut agent) = found.filter(|agent| !agent.is_deleted()) else { return Ok(None) };

        let changed = agent.register_again(registration, always_stamp, at);
        if changed {
            replace_and_leave_production(&mut transaction, &agent).await?;
            deployment_history::record(&mut transaction, &agent).await?;
        }

        transaction.commit().await.map_err(store_error("agent"))?;
        Ok(Some(Reregistered { agent, changed, revived: false }))
    }

    #[tracing::instrument(name = "db.agent.revive_as_build", level = "debug", skip_all, fields(agent.id = %id))]
    async fn revive_as_build(
        &self,
        id: &AgentId,
        description: String,
        metadata: Option<JsonObject>,
        at: Timestamp,
        settles: Option<Settlement>,
    ) -> Result<Option<Agent>, StoreError> {
        let mut transaction = self.database.begin().await.map_err(store_error("agent"))?;
        let found = find_in(&mut transaction, id).await?;
        let Some(mut agent) = found.filter(Agent::is_deleted) else { return Ok(None) };

        agent.revive_as_build(description, metadata, at);
        replace_and_leave_production(&mut transaction, &agent).await?;
        if let Some(settlement) = &settles {
            settle(&mut transaction, settlement).await?;
        }

        transaction.commit().await.map_err(store_error("agent"))?;
        Ok(Some(agent))
    }

    #[tracing::instrument(name = "db.agent.set_health", level = "debug", skip_all, fields(agent.id = %id, healthy))]
    async fn set_health(&self, id: &AgentId, healthy: bool, reason: &str, at: Timestamp) -> Result<bool, StoreError> {
        let (from, to) = if healthy { ("Unhealthy", "Ready") } else { ("Ready", "Unhealthy") };
        let done = sqlx::query(
            r#"
            UPDATE agents
               SET status = ?3, status_reason = ?4, updated_at = ?5
             WHERE id = ?1
               AND status = ?2
            "#,
        )
        .bind(id.as_str())
        .bind(from)
        .bind(to)
        .bind(reason)
        .bind(at.as_micros())
        .execute(&self.database.writer)
        .await
        .map_err(store_error("agent"))?;
        Ok(done.rows_affected() == 1)
    }

    #[tracing::instrument(name = "db.agent.delete", level = "debug", skip_all, fields(agent.id = %id))]
    async fn delete(
        &self,
        id: &AgentId,
        reason: &str,
        at: Timestamp,
        departure: Option<Departure>,
    ) -> Result<Option<Vec<Intent>>, StoreError> {
        let mut transaction = self.database.begin().await.map_err(store_error("agent"))?;
        let deleted = sqlx::query(
            r#"
            UPDATE agents
               SET status = 'Deleted', status_reason = ?2, updated_at = ?3
             WHERE id = ?1
               AND status <> 'Deleted'
            "#,
        )
        .bind(id.as_str())
        .bind(reason)
        .bind(at.as_micros())
        .execute(&mut *transaction)
        .await
        .map_err(store_error("agent"))?;
        if deleted.rows_affected() == 0 {
            return Ok(None);
        }

        sqlx::query("DELETE FROM registration_tokens WHERE agent_id = ?1")
            .bind(id.as_str())
            .execute(&mut *transaction)
            .await
            .map_err(store_error("registration token"))?;
        let keys: Vec<String> = sqlx::query_scalar("DELETE FROM agent_api_keys WHERE agent_id = ?1 RETURNING id")
            .bind(id.as_str())
            .fetch_all(&mut *transaction)
            .await
            .map_err(store_error("api key"))?;
        let mut intents = Vec::new();
        for resource in keys.into_iter().map(ResourceRef::api_key).chain([ResourceRef::agent(id.as_str())]) {
            intents.extend(depart(&mut transaction, resource, at, departure.as_ref()).await?);
        }
        transaction.commit().await.map_err(store_error("agent"))?;
        Ok(Some(intents))
    }

    #[tracing::instrument(name = "db.agent.list", level = "debug", skip_all)]
    async fn list(
        &self,
        filter: &AgentFilter,
        order: AgentOrder,
        direction: Direction,
        page: PageRequest,
    ) -> Result<Vec<Agent>, StoreError> {
        let AgentFilter { scope, task_id, card_metadata } = filter;
        if scope.is_empty() {
            return Ok(Vec::new());
        }

        let mut query =
            QueryBuilder::new(concat!("SELECT ", agent_columns!(), " FROM agents WHERE agents.status <> 'Deleted'"));
        push_scope(&mut query, "agents.id", scope);
        if let Some(task_id) = task_id {
            query
                .push(" AND agents.id IN (SELECT task_agents.agent_id FROM task_agents WHERE task_agents.task_id = ")
                .push_bind(task_id.as_str())
                .push(")");
        }
        if let Some(metadata) = card_metadata {
            query.push(" AND ");
            push_contains(&mut query, "agents.registration_metadata", &inside_card(metadata));
        }
        push_order(&mut query, order_columns(order), direction);
        push_page(&mut query, page);

        // Filters by JSON make a new statement each; caching it would only push useful ones out.
        let rows: Vec<AgentRow> = query
            .build_query_as()
            .persistent(card_metadata.is_none())
            .fetch_all(&self.database.readers)
            .await
            .map_err(store_error("agent"))?;
        rows.into_iter().map(Agent::try_from).collect()
    }
}

/// The registration metadata of which an agent with this card metadata must have a part.
fn inside_card(metadata: &JsonObject) -> JsonObject {
    let card = JsonObject::from_iter([("metadata".to_owned(), Value::Object(metadata.clone()))]);
    JsonObject::from_iter([("agent_card".to_owned(), Value::Object(card))])
}

const fn order_columns(order: AgentOrder) -> &'static [&'static str] {
    match order {
        AgentOrder::UpdatedAt => &["agents.updated_at", "agents.created_at", "agents.id"],
        AgentOrder::CreatedAt => &["agents.created_at", "agents.updated_at", "agents.id"],
        AgentOrder::Id => &["agents.id"],
        AgentOrder::Name => &["agents.name"],
        AgentOrder::Status => &["agents.status", "agents.updated_at", "agents.created_at", "agents.id"],
        AgentOrder::RegisteredAt => &["agents.registered_at", "agents.updated_at", "agents.created_at", "agents.id"],
    }
}

pub(crate) async fn find_in(connection: &mut SqliteConnection, id: &AgentId) -> Result<Option<Agent>, StoreError> {
    let row: Option<AgentRow> =
        sqlx::query_as(concat!("SELECT ", agent_columns!(), " FROM agents WHERE agents.id = ?1"))
            .bind(id.as_str())
            .fetch_optional(connection)
            .await
            .map_err(store_error("agent"))?;

    row.map(Agent::try_from).transpose()
}

/// Writes every column of the row and takes `is_production` off its deployment, because both rules that rewrite an
/// agent drop its production pointer.
async fn replace_and_leave_production(connection: &mut SqliteConnection, agent: &Agent) -> Result<(), StoreError> {
    let query = sqlx::query(
        r#"
        UPDATE agents
           SET name = ?2, description = ?3, docker_image = ?4, status = ?5, status_reason = ?6, acp_url = ?7,
               acp_type = ?8, created_at = ?9, updated_at = ?10, registration_metadata = ?11, registered_at = ?12,
               agent_input_type = ?13, production_deployment_id = ?14
         WHERE id = ?1
        "#,
    );
    bind_agent(query, agent).execute(&mut *connection).await.map_err(store_error("agent"))?;

    sqlx::query(
        r#"
        UPDATE deployments
           SET is_production = 0
         WHERE agent_id = ?1
           AND is_production = 1
        "#,
    )
    .bind(agent.id.as_str())
    .execute(connection)
    .await
    .map_err(store_error("deployment"))?;
    Ok(())
}

/// Binds every column of an agent, ?1 to ?14, in the order of the table.
fn bind_agent<'q>(query: Query<'q, Sqlite, SqliteArguments>, agent: &'q Agent) -> Query<'q, Sqlite, SqliteArguments> {
    let Agent {
        id,
        docker_image,
        name,
        description,
        acp_type,
        status,
        status_reason,
        acp_url,
        created_at,
        updated_at,
        registration_metadata,
        registered_at,
        agent_input_type,
        production_deployment_id,
    } = agent;
    query
        .bind(id.as_str())
        .bind(name)
        .bind(description)
        .bind(docker_image)
        .bind(status.as_str())
        .bind(status_reason)
        .bind(acp_url)
        .bind(acp_type.as_str())
        .bind(created_at.as_micros())
        .bind(updated_at.as_micros())
        .bind(registration_metadata.as_ref().map(json_text))
        .bind(registered_at.map(Timestamp::as_micros))
        .bind(agent_input_type.map(|kind| kind.as_str()))
        .bind(production_deployment_id.as_ref().map(|id| id.as_str()))
}

struct DialRow {
    agent: AgentRow,
    production_url: Option<String>,
    internal_key: Option<ApiKeyRow>,
}

impl FromRow<'_, SqliteRow> for DialRow {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let has_key = row.try_get::<Option<&str>, _>("key_id")?.is_some();
        Ok(Self {
            agent: AgentRow::from_row(row)?,
            production_url: row.try_get("production_url")?,
            internal_key: has_key.then(|| ApiKeyRow::from_row(row)).transpose()?,
        })
    }
}

impl TryFrom<DialRow> for DialTarget {
    type Error = StoreError;

    fn try_from(row: DialRow) -> Result<Self, StoreError> {
        let DialRow { agent, production_url, internal_key } = row;
        Ok(Self {
            agent: agent.try_into()?,
            production_url,
            internal_key: internal_key.map(TryInto::try_into).transpose()?,
        })
    }
}
