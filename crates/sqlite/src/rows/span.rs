use agentex_domain::Span;
use agentex_domain::ports::StoreError;

use super::Reader;

#[derive(sqlx::FromRow)]
pub(crate) struct SpanRow {
    id: String,
    trace_id: String,
    task_id: Option<String>,
    parent_id: Option<String>,
    name: String,
    start_time: i64,
    end_time: Option<i64>,
    input: Option<String>,
    output: Option<String>,
    data: Option<String>,
}

/// The columns of [`SpanRow`].
macro_rules! span_columns {
    () => {
        "spans.id, spans.trace_id, spans.task_id, spans.parent_id, spans.name, spans.start_time, spans.end_time, \
         spans.input, spans.output, spans.data"
    };
}
pub(crate) use span_columns;

impl TryFrom<SpanRow> for Span {
    type Error = StoreError;

    fn try_from(row: SpanRow) -> Result<Self, StoreError> {
        let SpanRow { id, trace_id, task_id, parent_id, name, start_time, end_time, input, output, data } = row;
        let read = Reader { table: "spans", id: &id };
        let carried = |text: Option<String>| text.map(|text| read.json(&text)).transpose();
        Ok(Self {
            trace_id,
            task_id: task_id.map(Into::into),
            parent_id,
            name,
            start_time: read.time(start_time)?,
            end_time: read.optional_time(end_time)?,
            input: carried(input)?,
            output: carried(output)?,
            data: carried(data)?,
            id: id.into(),
        })
    }
}
