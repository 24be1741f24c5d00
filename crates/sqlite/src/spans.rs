use agentex_authz::Scope;
use agentex_domain::ports::{FoundSpan, SpanFilter, SpanOrder, SpanRepository, SpanUpdate, StoreError};
use agentex_domain::{Direction, PageRequest, Span, SpanChange, SpanId, TaskId, Timestamp};
use async_trait::async_trait;
use sqlx::{QueryBuilder, Sqlite};

use crate::database::{Database, json_text, push_order, push_page};
use crate::error::store_error;
use crate::rows::{SpanRow, span_columns};

pub(crate) struct SqliteSpans {
    pub(crate) database: Database,
}

#[derive(sqlx::FromRow)]
struct FoundRow {
    #[sqlx(flatten)]
    span: SpanRow,
    its_task: Option<String>,
}

#[async_trait]
impl SpanRepository for SqliteSpans {
    #[tracing::instrument(name = "db.span.insert", level = "debug", skip_all, fields(span.id = %span.id))]
    async fn insert(&self, span: &Span) -> Result<bool, StoreError> {
        let Span { id, trace_id, task_id, parent_id, name, start_time, end_time, input, output, data } = span;
        let inserted = sqlx::query(
            r#"
            INSERT INTO spans
                   (id, trace_id, task_id, parent_id, name, start_time, end_time, input, output, data)
            SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10
             WHERE ?3 IS NULL
                OR EXISTS (SELECT 1 FROM tasks WHERE tasks.id = ?3 AND tasks.status <> 'DELETED')
            "#,
        )
        .bind(id.as_str())
        .bind(trace_id)
        .bind(task_id.as_ref().map(TaskId::as_str))
        .bind(parent_id)
        .bind(name)
        .bind(start_time.as_micros())
        .bind(end_time.map(Timestamp::as_micros))
        .bind(input.as_ref().map(json_text))
        .bind(output.as_ref().map(json_text))
        .bind(data.as_ref().map(json_text))
        .execute(&self.database.writer)
        .await
        .map_err(store_error("span"))?;

        Ok(inserted.rows_affected() > 0)
    }

    #[tracing::instrument(name = "db.span.find", level = "debug", skip_all, fields(span.id = %id))]
    async fn find(&self, id: &SpanId) -> Result<Option<FoundSpan>, StoreError> {
        let row: Option<FoundRow> = sqlx::query_as(concat!(
            "SELECT ",
            span_columns!(),
            r#", COALESCE(spans.task_id, tasks.id) AS its_task
              FROM spans
              LEFT JOIN tasks ON spans.task_id IS NULL AND tasks.id = spans.trace_id
             WHERE spans.id = ?1
            "#
        ))
        .bind(id.as_str())
        .fetch_optional(&self.database.readers)
        .await
        .map_err(store_error("span"))?;

        row.map(|FoundRow { span, its_task }| {
            Ok(FoundSpan { span: span.try_into()?, task: its_task.map(TaskId::from) })
        })
        .transpose()
    }

    #[tracing::instrument(name = "db.span.update", level = "debug", skip_all, fields(span.id = %id))]
    async fn update(&self, id: &SpanId, of: Option<TaskId>, change: &SpanChange) -> Result<SpanUpdate, StoreError> {
        let mut transaction = self.database.begin().await.map_err(store_error("span"))?;
        let row: Option<SpanRow> = sqlx::query_as(concat!(
            "SELECT ",
            span_columns!(),
            " FROM spans WHERE spans.id = ?1 AND spans.task_id IS ?2"
        ))
        .bind(id.as_str())
        .bind(of.as_ref().map(TaskId::as_str))
        .fetch_optional(&mut *transaction)
        .await
        .map_err(store_error("span"))?;
        let Some(row) = row else { return Ok(SpanUpdate::Elsewhere) };
        if let Some(task_id) = change.task_id.as_ref().filter(|task_id| Some(*task_id) != of.as_ref()) {
            let live: bool =
                sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM tasks WHERE id = ?1 AND status <> 'DELETED')")
                    .bind(task_id.as_str())
                    .fetch_one(&mut *transaction)
                    .await
                    .map_err(store_error("span"))?;
            if !live {
                return Ok(SpanUpdate::NoSuchTask);
            }
        }

        let span = change.clone().apply_to(row.try_into()?);
        let Span { id, trace_id, task_id, parent_id, name, start_time, end_time, input, output, data } = &span;
        sqlx::query(
            r#"
            UPDATE spans
               SET trace_id = ?2, task_id = ?3, parent_id = ?4, name = ?5, start_time = ?6, end_time = ?7, input = ?8,
                   output = ?9, data = ?10
             WHERE id = ?1
            "#,
        )
        .bind(id.as_str())
        .bind(trace_id)
        .bind(task_id.as_ref().map(TaskId::as_str))
        .bind(parent_id)
        .bind(name)
        .bind(start_time.as_micros())
        .bind(end_time.map(Timestamp::as_micros))
        .bind(input.as_ref().map(json_text))
        .bind(output.as_ref().map(json_text))
        .bind(data.as_ref().map(json_text))
        .execute(&mut *transaction)
        .await
        .map_err(store_error("span"))?;
        transaction.commit().await.map_err(store_error("span"))?;
        Ok(SpanUpdate::Updated(Box::new(span)))
    }

    #[tracing::instrument(name = "db.span.list", level = "debug", skip_all)]
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
        let mut query = QueryBuilder::new(concat!("SELECT ", span_columns!(), " FROM spans WHERE TRUE"));
        push_conditions(&mut query, filter);
        push_order(&mut query, order_columns(order), direction);
        push_page(&mut query, page);

        let rows: Vec<SpanRow> =
            query.build_query_as().fetch_all(&self.database.readers).await.map_err(store_error("span"))?;
        rows.into_iter().map(Span::try_from).collect()
    }
}

fn push_conditions(query: &mut QueryBuilder<Sqlite>, filter: &SpanFilter) {
    let SpanFilter { scope, linked_to, trace_id, task_id } = filter;
    if let Scope::Only(ids) = scope {
        // Two look-ups instead of one by an expression, so that both find an index.
        let ids = json_text(ids);
        query
            .push(" AND (spans.task_id IN (SELECT value FROM json_each(")
            .push_bind(ids.clone())
            .push(")) OR (spans.task_id IS NULL AND spans.trace_id IN (SELECT value FROM json_each(")
            .push_bind(ids)
            .push("))))");
    }
    if let Some(agent_id) = linked_to {
        query
            .push(
                " AND (EXISTS (SELECT 1 FROM task_agents WHERE task_agents.task_id = COALESCE(spans.task_id, spans.trace_id) \
                 AND task_agents.agent_id = ",
            )
            .push_bind(agent_id.as_str())
            .push(
                ") OR (spans.task_id IS NULL AND NOT EXISTS (SELECT 1 FROM tasks WHERE tasks.id = spans.trace_id)))",
            );
    }
    if let Some(trace_id) = trace_id {
        query.push(" AND spans.trace_id = ").push_bind(trace_id);
    }
    if let Some(task_id) = task_id {
        query
            .push(" AND (spans.task_id = ")
            .push_bind(task_id.as_str())
            .push(" OR spans.trace_id = ")
            .push_bind(task_id.as_str())
            .push(")");
    }
}

const fn order_columns(order: SpanOrder) -> &'static [&'static str] {
    match order {
        SpanOrder::StartTime => &["spans.start_time", "spans.id"],
        SpanOrder::EndTime => &["spans.end_time", "spans.id"],
        SpanOrder::Id => &["spans.id"],
        SpanOrder::TraceId => &["spans.trace_id", "spans.id"],
        SpanOrder::TaskId => &["spans.task_id", "spans.id"],
        SpanOrder::ParentId => &["spans.parent_id", "spans.id"],
        SpanOrder::Name => &["spans.name", "spans.id"],
    }
}
