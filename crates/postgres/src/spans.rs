use agentex_authz::Scope;
use agentex_domain::ports::{FoundSpan, SpanFilter, SpanOrder, SpanRepository, SpanUpdate, StoreError};
use agentex_domain::{Direction, PageRequest, Span, SpanChange, SpanData, SpanId, TaskId, Timestamp};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::types::Json;
use sqlx::{PgPool, Postgres, QueryBuilder};

use crate::error::{corrupt, nothing_if_unstorable, store_error};
use crate::ordering::{push_order, push_page};
use crate::store::Pools;

/// The columns of [`SpanRow`], of the table called `s`.
macro_rules! span_columns {
    () => {
        "s.id, s.trace_id, s.task_id, s.parent_id, s.name, s.start_time, s.end_time, s.input, s.output, s.data"
    };
}

#[derive(sqlx::FromRow)]
struct SpanRow {
    id: String,
    trace_id: String,
    task_id: Option<String>,
    parent_id: Option<String>,
    name: String,
    start_time: DateTime<Utc>,
    end_time: Option<DateTime<Utc>>,
    input: Option<Json<Value>>,
    output: Option<Json<Value>>,
    data: Option<Json<Value>>,
}

#[derive(sqlx::FromRow)]
struct FoundRow {
    #[sqlx(flatten)]
    span: SpanRow,
    its_task: Option<String>,
}

impl TryFrom<SpanRow> for Span {
    type Error = StoreError;

    fn try_from(row: SpanRow) -> Result<Self, StoreError> {
        let SpanRow { id, trace_id, task_id, parent_id, name, start_time, end_time, input, output, data } = row;
        // The reference writes JSON `null` for what is missing.
        let carried = |column: Option<Json<Value>>| match column {
            None | Some(Json(Value::Null)) => Ok(None),
            Some(Json(value)) => {
                serde_json::from_value::<SpanData>(value).map(Some).map_err(|error| corrupt("spans", &id, error))
            }
        };
        Ok(Self {
            trace_id,
            task_id: task_id.map(TaskId::from),
            parent_id,
            name,
            start_time: Timestamp::new(start_time),
            end_time: end_time.map(Timestamp::new),
            input: carried(input)?,
            output: carried(output)?,
            data: carried(data)?,
            id: id.into(),
        })
    }
}

/// Spans in the table `spans`.
pub(crate) struct PgSpans {
    pools: Pools,
}

impl PgSpans {
    pub(crate) const fn new(pools: Pools) -> Self {
        Self { pools }
    }

    const fn primary(&self) -> &PgPool {
        &self.pools.primary
    }

    async fn is_live(&self, task_id: &TaskId) -> Result<bool, StoreError> {
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM tasks WHERE id = $1 AND status <> 'DELETED')")
            .bind(task_id.as_str())
            .fetch_one(self.primary())
            .await
            .map_err(store_error("span"))
    }
}

#[async_trait]
impl SpanRepository for PgSpans {
    #[tracing::instrument(level = "debug", name = "db.span.insert", skip_all, fields(span.id = %span.id))]
    async fn insert(&self, span: &Span) -> Result<bool, StoreError> {
        let Span { id, trace_id, task_id, parent_id, name, start_time, end_time, input, output, data } = span;
        let inserted = sqlx::query(
            "INSERT INTO spans (id, trace_id, task_id, parent_id, name, start_time, end_time, input, output, data)
             SELECT $1, $2, $3, $4, $5, $6, $7, $8::json, $9::json, $10::json
              WHERE $3::text IS NULL
                 OR EXISTS (SELECT 1 FROM tasks WHERE tasks.id = $3 AND tasks.status <> 'DELETED')",
        )
        .bind(id.as_str())
        .bind(trace_id)
        .bind(task_id.as_ref().map(TaskId::as_str))
        .bind(parent_id)
        .bind(name)
        .bind(start_time.as_datetime())
        .bind(end_time.map(Timestamp::as_datetime))
        .bind(json_text(input.as_ref()))
        .bind(json_text(output.as_ref()))
        .bind(json_text(data.as_ref()))
        .execute(self.primary())
        .await
        .map_err(store_error("span"))?;
        Ok(inserted.rows_affected() > 0)
    }

    #[tracing::instrument(level = "debug", name = "db.span.find", skip_all, fields(span.id = %id))]
    async fn find(&self, id: &SpanId) -> Result<Option<FoundSpan>, StoreError> {
        let row = sqlx::query_as::<_, FoundRow>(concat!(
            "SELECT ",
            span_columns!(),
            ", COALESCE(s.task_id, t.id) AS its_task
               FROM spans s
               LEFT JOIN tasks t ON s.task_id IS NULL AND t.id = s.trace_id
              WHERE s.id = $1"
        ))
        .bind(id.as_str())
        .fetch_optional(self.primary())
        .await;
        let Some(FoundRow { span, its_task }) = nothing_if_unstorable(row).map_err(store_error("span"))? else {
            return Ok(None);
        };
        Ok(Some(FoundSpan { span: span.try_into()?, task: its_task.map(TaskId::from) }))
    }

    #[tracing::instrument(level = "debug", name = "db.span.update", skip_all, fields(span.id = %id))]
    async fn update(&self, id: &SpanId, of: Option<TaskId>, change: &SpanChange) -> Result<SpanUpdate, StoreError> {
        let SpanChange { trace_id, task_id, parent_id, name, start_time, end_time, input, output, data } = change;
        let moved_to = task_id.as_ref().filter(|task_id| Some(*task_id) != of.as_ref());
        let row = sqlx::query_as::<_, SpanRow>(concat!(
            "UPDATE spans AS s
                SET trace_id = COALESCE($3, s.trace_id),
                    task_id = COALESCE($4, s.task_id),
                    parent_id = COALESCE($5, s.parent_id),
                    name = COALESCE($6, s.name),
                    start_time = COALESCE($7, s.start_time),
                    end_time = COALESCE($8, s.end_time),
                    input = COALESCE($9::json, s.input),
                    output = COALESCE($10::json, s.output),
                    data = CASE
                        WHEN json_typeof(s.data) = 'object' AND json_typeof($11::json) = 'object'
                        THEN (s.data::jsonb || $11::jsonb)::json
                        ELSE COALESCE($11::json, s.data)
                    END
              WHERE s.id = $1
                AND s.task_id IS NOT DISTINCT FROM $2
                AND ($4::text IS NULL
                     OR EXISTS (SELECT 1 FROM tasks WHERE tasks.id = $4 AND tasks.status <> 'DELETED'))
             RETURNING ",
            span_columns!()
        ))
        .bind(id.as_str())
        .bind(of.as_ref().map(TaskId::as_str))
        .bind(trace_id)
        .bind(moved_to.map(TaskId::as_str))
        .bind(parent_id)
        .bind(name)
        .bind(start_time.map(Timestamp::as_datetime))
        .bind(end_time.map(Timestamp::as_datetime))
        .bind(json_text(input.as_ref()))
        .bind(json_text(output.as_ref()))
        .bind(json_text(data.as_ref()))
        .fetch_optional(self.primary())
        .await
        .map_err(store_error("span"))?;
        match (row, moved_to) {
            (Some(row), _) => Ok(SpanUpdate::Updated(Box::new(row.try_into()?))),
            (None, Some(task_id)) if !self.is_live(task_id).await? => Ok(SpanUpdate::NoSuchTask),
            (None, _) => Ok(SpanUpdate::Elsewhere),
        }
    }

    #[tracing::instrument(level = "debug", name = "db.span.list", skip_all)]
    async fn list(
        &self,
        filter: &SpanFilter,
        order: SpanOrder,
        direction: Direction,
        page: PageRequest,
    ) -> Result<Vec<Span>, StoreError> {
        if filter.scope.is_empty() {
            return Ok(Vec::new());
        }
        let mut query = QueryBuilder::<Postgres>::new(concat!("SELECT ", span_columns!(), " FROM spans s WHERE TRUE"));
        push_conditions(&mut query, filter);
        push_order(&mut query, sort_columns(order), direction);
        push_page(&mut query, page);
        let rows = query.build_query_as::<SpanRow>().fetch_all(&self.pools.reader).await;
        nothing_if_unstorable(rows).map_err(store_error("span"))?.into_iter().map(Span::try_from).collect()
    }
}

/// JSON as text: a `json` column keeps it as it is.
fn json_text(data: Option<&SpanData>) -> Option<String> {
    data.map(|data| serde_json::to_string(data).expect("JSON values have text keys and finite numbers"))
}

fn push_conditions(query: &mut QueryBuilder<Postgres>, filter: &SpanFilter) {
    let SpanFilter { scope, linked_to, trace_id, task_id } = filter;
    if let Scope::Only(ids) = scope {
        // Two look-ups instead of one by an expression, so that each finds its index.
        let ids: Vec<&str> = ids.iter().collect();
        query.push(" AND (s.task_id = ANY(").push_bind(ids.clone());
        query.push(") OR (s.task_id IS NULL AND s.trace_id = ANY(").push_bind(ids).push(")))");
    }
    if let Some(agent_id) = linked_to {
        query.push(
            " AND (EXISTS (SELECT 1 FROM task_agents ta
                            WHERE ta.task_id = COALESCE(s.task_id, s.trace_id) AND ta.agent_id = ",
        );
        query.push_bind(agent_id.as_str());
        query.push(") OR (s.task_id IS NULL AND NOT EXISTS (SELECT 1 FROM tasks t WHERE t.id = s.trace_id)))");
    }
    if let Some(trace_id) = trace_id {
        query.push(" AND s.trace_id = ").push_bind(trace_id.as_str());
    }
    if let Some(task_id) = task_id {
        query.push(" AND (s.task_id = ").push_bind(task_id.as_str());
        query.push(" OR s.trace_id = ").push_bind(task_id.as_str()).push(")");
    }
}

/// Texts sort bytewise, whatever the locale of the database. A `?` marks a column that may be null.
const fn sort_columns(order: SpanOrder) -> &'static [&'static str] {
    match order {
        SpanOrder::StartTime => &["s.start_time", "s.id"],
        SpanOrder::EndTime => &["s.end_time?", "s.id"],
        SpanOrder::Id => &["s.id COLLATE \"C\""],
        SpanOrder::TraceId => &["s.trace_id COLLATE \"C\"", "s.id"],
        SpanOrder::TaskId => &["s.task_id COLLATE \"C\"?", "s.id"],
        SpanOrder::ParentId => &["s.parent_id COLLATE \"C\"?", "s.id"],
        SpanOrder::Name => &["s.name COLLATE \"C\"", "s.id"],
    }
}
