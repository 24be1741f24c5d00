use std::sync::Arc;

use agentex_app::{App, Caller, TaskQuery, TaskSelector};
use agentex_domain::input::{self, HAS_NUL};
use agentex_domain::ports::TaskOrder;
use agentex_domain::{AgentId, Direction, JsonObject, TaskId, TaskStatus, Transition};
use axum::Json;
use axum::extract::State;
use serde_json::Value;
use utoipa::IntoParams;

use super::page_request;
use crate::bodies::DeleteResponse;
use crate::bodies::tasks::{
    TaskBody, TaskRelationshipsWords, TaskStatusReasonRequest, TaskStatusWords, TaskSummaryBody, TaskWithAgentsBody,
    UpdateTaskRequest, WorkflowQueryBody,
};
use crate::error::{ApiError, unless_hidden};
use crate::extract::{ApiBody, ApiQuery, Authenticated, QueryParams, QueryPath, QueryReader, TaskPath};

const COLUMNS: [(&str, TaskOrder); 6] = [
    ("id", TaskOrder::Id),
    ("name", TaskOrder::Name),
    ("status", TaskOrder::Status),
    ("created_at", TaskOrder::CreatedAt),
    ("updated_at", TaskOrder::UpdatedAt),
    ("cleaned_at", TaskOrder::CleanedAt),
];

/// What to answer along with a task.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct RelationshipsQuery {
    /// What to answer along with the task; repeated or joined by commas.
    #[param(value_type = Option<Vec<TaskRelationshipsWords>>)]
    relationships: bool,
}

impl QueryParams for RelationshipsQuery {
    fn read(query: &mut QueryReader<'_>) -> Option<Self> {
        Some(Self { relationships: with_agents(query) })
    }
}

/// Which tasks to list, and how.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListTasksQuery {
    /// Only tasks of the agent with this id.
    agent_id: Option<String>,
    /// Only tasks of the agent with this name.
    agent_name: Option<String>,
    /// Only tasks in this status.
    #[param(value_type = Option<TaskStatusWords>)]
    status: Option<TaskStatus>,
    /// Only tasks whose metadata contains this JSON object.
    task_metadata: Option<String>,
    /// Most tasks to answer.
    #[param(value_type = Option<i64>, minimum = 1, maximum = 1000, default = 50)]
    limit: u32,
    /// 1 is the first page.
    #[param(value_type = Option<i64>, minimum = 1, default = 1)]
    page_number: i64,
    /// One of id, name, status, created_at, updated_at, cleaned_at.
    #[param(value_type = Option<String>)]
    order_by: TaskOrder,
    /// asc or desc.
    #[param(value_type = Option<String>, default = "desc")]
    order_direction: Direction,
    /// What to answer along with the tasks; repeated or joined by commas.
    #[param(value_type = Option<Vec<TaskRelationshipsWords>>)]
    relationships: bool,
}

impl QueryParams for ListTasksQuery {
    fn read(query: &mut QueryReader<'_>) -> Option<Self> {
        let agent_id = query.identifier("agent_id").map(str::to_owned);
        let agent_name = query.identifier("agent_name").map(str::to_owned);
        let status = query.choice("status", &TaskStatus::ALL);
        let task_metadata = query.text("task_metadata").map(str::to_owned);
        let (limit, page_number) = (query.limit(), query.page_number());
        let order_by = query.order_by(&COLUMNS);
        let order_direction = query.order_direction(Direction::Ascending);
        let relationships = with_agents(query);
        Some(Self {
            agent_id,
            agent_name,
            status,
            task_metadata,
            limit: limit?,
            page_number: page_number?,
            order_by,
            order_direction,
            relationships,
        })
    }
}

impl TryFrom<ListTasksQuery> for TaskQuery {
    type Error = ApiError;

    fn try_from(query: ListTasksQuery) -> Result<Self, ApiError> {
        Ok(Self {
            agent_id: query.agent_id.map(AgentId::from),
            agent_name: query.agent_name,
            status: query.status,
            task_metadata: query.task_metadata.as_deref().map(metadata_filter).transpose()?,
            order: query.order_by,
            direction: query.order_direction,
            page: page_request(query.limit, query.page_number)?,
            with_agents: query.relationships,
        })
    }
}

fn metadata_filter(text: &str) -> Result<JsonObject, ApiError> {
    match serde_json::from_str::<Value>(text) {
        Ok(value) if input::has_nul(&value) => Err(ApiError::problem("query.task_metadata", HAS_NUL)),
        Ok(Value::Object(members)) if members.is_empty() => {
            Err(ApiError::invalid("task_metadata cannot be empty; omit the parameter to skip filtering."))
        }
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(ApiError::invalid("task_metadata must decode to a JSON object.")),
        Err(error) => Err(ApiError::invalid(format!("Invalid JSON in task_metadata query parameter: {error}"))),
    }
}

fn with_agents(query: &mut QueryReader<'_>) -> bool {
    let wanted = query.all("relationships");
    if wanted.iter().any(|name| *name != "agents") {
        query.problem("relationships", input::expected_one_of(&["agents"]));
    }
    !wanted.is_empty()
}

/// List the tasks the caller may read.
#[utoipa::path(
    get,
    path = "/tasks",
    operation_id = "list_tasks_tasks_get",
    tag = "Tasks",
    params(ListTasksQuery),
    responses((status = 200, description = "One page of tasks.", body = Vec<TaskSummaryBody>))
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    query: ApiQuery,
) -> Result<Json<Vec<TaskSummaryBody>>, ApiError> {
    let query = query.read::<ListTasksQuery>()?.try_into()?;
    let tasks = app.tasks.list(&caller, query).await?;
    Ok(Json(tasks.into_iter().map(TaskSummaryBody::from).collect()))
}

/// Read a task.
#[utoipa::path(
    get,
    path = "/tasks/{task_id}",
    operation_id = "get_task_tasks__task_id__get",
    tag = "Tasks",
    params(("task_id" = String, Path, description = "The task's id."), RelationshipsQuery),
    responses((status = 200, description = "The task.", body = TaskWithAgentsBody))
)]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    TaskPath(task): TaskPath,
    query: ApiQuery,
) -> Result<Json<TaskWithAgentsBody>, ApiError> {
    read(&app, &caller, &task, &query).await
}

/// Read a task by name.
#[utoipa::path(
    get,
    path = "/tasks/name/{task_name}",
    operation_id = "get_task_by_name_tasks_name__task_name__get",
    tag = "Tasks",
    params(("task_name" = String, Path, description = "The task's name."), RelationshipsQuery),
    responses((status = 200, description = "The task.", body = TaskWithAgentsBody))
)]
pub(crate) async fn get_by_name(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    TaskPath(task): TaskPath,
    query: ApiQuery,
) -> Result<Json<TaskWithAgentsBody>, ApiError> {
    read(&app, &caller, &task, &query).await
}

async fn read(
    app: &App,
    caller: &Caller,
    task: &TaskSelector,
    query: &ApiQuery,
) -> Result<Json<TaskWithAgentsBody>, ApiError> {
    match query.read::<RelationshipsQuery>() {
        Ok(query) => Ok(Json(app.tasks.get(caller, task, query.relationships).await?.into())),
        Err(problems) => Err(unless_hidden(app.tasks.get(caller, task, false), problems).await),
    }
}

/// Change a task's notes and parameters.
#[utoipa::path(
    put,
    path = "/tasks/{task_id}",
    operation_id = "update_task_tasks__task_id__put",
    tag = "Tasks",
    params(("task_id" = String, Path, description = "The task's id.")),
    request_body = UpdateTaskRequest,
    responses((status = 200, description = "The task.", body = TaskBody))
)]
pub(crate) async fn update(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    TaskPath(task): TaskPath,
    body: ApiBody,
) -> Result<Json<TaskBody>, ApiError> {
    change(&app, &caller, &task, &body).await
}

/// Change a task's notes and parameters, by name.
#[utoipa::path(
    put,
    path = "/tasks/name/{task_name}",
    operation_id = "update_task_by_name_tasks_name__task_name__put",
    tag = "Tasks",
    params(("task_name" = String, Path, description = "The task's name.")),
    request_body = UpdateTaskRequest,
    responses((status = 200, description = "The task.", body = TaskBody))
)]
pub(crate) async fn update_by_name(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    TaskPath(task): TaskPath,
    body: ApiBody,
) -> Result<Json<TaskBody>, ApiError> {
    change(&app, &caller, &task, &body).await
}

async fn change(app: &App, caller: &Caller, task: &TaskSelector, body: &ApiBody) -> Result<Json<TaskBody>, ApiError> {
    match body.read::<UpdateTaskRequest>() {
        Ok(UpdateTaskRequest { task_metadata, merge_params }) => {
            Ok(Json(app.tasks.update(caller, task, task_metadata, merge_params).await?.into()))
        }
        Err(problems) => Err(unless_hidden(app.tasks.get(caller, task, false), problems).await),
    }
}

/// Delete a task.
///
/// Its messages stay; its name becomes free.
#[utoipa::path(
    delete,
    path = "/tasks/{task_id}",
    operation_id = "delete_task_tasks__task_id__delete",
    tag = "Tasks",
    params(("task_id" = String, Path, description = "The task's id.")),
    responses((status = 200, description = "It is deleted.", body = DeleteResponse))
)]
pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    TaskPath(task): TaskPath,
) -> Result<Json<DeleteResponse>, ApiError> {
    remove(&app, &caller, &task).await
}

/// Delete a task by name.
///
/// Its messages stay; its name becomes free.
#[utoipa::path(
    delete,
    path = "/tasks/name/{task_name}",
    operation_id = "delete_task_by_name_tasks_name__task_name__delete",
    tag = "Tasks",
    params(("task_name" = String, Path, description = "The task's name.")),
    responses((status = 200, description = "It is deleted.", body = DeleteResponse))
)]
pub(crate) async fn delete_by_name(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    TaskPath(task): TaskPath,
) -> Result<Json<DeleteResponse>, ApiError> {
    remove(&app, &caller, &task).await
}

async fn remove(app: &App, caller: &Caller, task: &TaskSelector) -> Result<Json<DeleteResponse>, ApiError> {
    let id = app.tasks.delete(caller, task).await?;
    let message = match task {
        TaskSelector::Id(id) => format!("Task {id} deleted successfully"),
        TaskSelector::Name(name) => format!("Task '{name}' deleted successfully"),
    };
    Ok(Json(DeleteResponse { id: id.into_string(), message }))
}

/// One handler per change of status: they differ in path, text and transition.
macro_rules! transition {
    ($(#[$doc:meta])* $name:ident, $path:literal, $operation_id:literal, $transition:expr) => {
        $(#[$doc])*
        #[utoipa::path(
            post,
            path = $path,
            operation_id = $operation_id,
            tag = "Tasks",
            params(("task_id" = String, Path, description = "The task's id.")),
            request_body = Option<TaskStatusReasonRequest>,
            responses((status = 200, description = "The task.", body = TaskBody))
        )]
        pub(crate) async fn $name(
            State(app): State<Arc<App>>,
            Authenticated(caller): Authenticated,
            TaskPath(task): TaskPath,
            body: ApiBody,
        ) -> Result<Json<TaskBody>, ApiError> {
            move_to(&app, &caller, task, $transition, &body).await
        }
    };
}

transition!(
    /// Mark a task as done.
    complete,
    "/tasks/{task_id}/complete",
    "complete_task_tasks__task_id__complete_post",
    Transition::Complete
);
transition!(
    /// Mark a task as failed.
    fail,
    "/tasks/{task_id}/fail",
    "fail_task_tasks__task_id__fail_post",
    Transition::Fail
);
transition!(
    /// Stop a task. The agent is not told.
    cancel,
    "/tasks/{task_id}/cancel",
    "cancel_task_tasks__task_id__cancel_post",
    Transition::Cancel
);
transition!(
    /// Mark the current turn of a task as stopped; the task can go on.
    interrupt,
    "/tasks/{task_id}/interrupt",
    "interrupt_task_tasks__task_id__interrupt_post",
    Transition::Interrupt
);
transition!(
    /// Mark a task as ended by force.
    terminate,
    "/tasks/{task_id}/terminate",
    "terminate_task_tasks__task_id__terminate_post",
    Transition::Terminate
);
transition!(
    /// Mark a task as having taken too long.
    time_out,
    "/tasks/{task_id}/timeout",
    "timeout_task_tasks__task_id__timeout_post",
    Transition::TimeOut
);

async fn move_to(
    app: &App,
    caller: &Caller,
    task: TaskSelector,
    transition: Transition,
    body: &ApiBody,
) -> Result<Json<TaskBody>, ApiError> {
    let request = match body.read_optional::<TaskStatusReasonRequest>() {
        Ok(request) => request,
        Err(problems) => return Err(unless_hidden(app.tasks.get(caller, &task, false), problems).await),
    };
    let id = only_id(task)?;
    Ok(Json(app.tasks.transition(caller, &id, transition, request.reason).await?.into()))
}

/// Ask the workflow behind a task.
#[utoipa::path(
    get,
    path = "/tasks/{task_id}/query/{query_name}",
    operation_id = "query_task_workflow_tasks__task_id__query__query_name__get",
    tag = "Tasks",
    params(
        ("task_id" = String, Path, description = "The task's id."),
        ("query_name" = String, Path, description = "The query, as the workflow knows it."),
    ),
    responses((status = 200, description = "What the workflow answered.", body = WorkflowQueryBody))
)]
pub(crate) async fn query(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    TaskPath(task): TaskPath,
    QueryPath(query): QueryPath,
) -> Result<Json<WorkflowQueryBody>, ApiError> {
    let id = only_id(task)?;
    let result = app.tasks.query_workflow(&caller, &id, &query).await?;
    Ok(Json(WorkflowQueryBody { task_id: id.into_string(), query, result }))
}

/// These routes exist by id only.
fn only_id(task: TaskSelector) -> Result<TaskId, ApiError> {
    match task {
        TaskSelector::Id(id) => Ok(id),
        TaskSelector::Name(_) => Err(ApiError::Bug("a route by name was mounted for a use case by id")),
    }
}
