use std::sync::Arc;

use agentex_app::{App, Caller, DeletedSchedule, ScheduleHandle, ScheduleKind, ScheduleKinds, ScheduleQuery};
use agentex_domain::AgentId;
use agentex_domain::input::Problems;
use axum::Json;
use axum::extract::State;
use utoipa::IntoParams;

use super::query_limit;
use crate::bodies::DeleteResponse;
use crate::bodies::schedule_requests::{
    CreateAnyScheduleRequest, CreateScheduleBody, PauseScheduleRequest, ResumeScheduleRequest, SkipOccurrenceRequest,
    UnskipOccurrenceRequest, UpdateScheduleBody, UpdateScheduleRequest,
};
use crate::bodies::schedules::{AnySchedule, ScheduleBody, ScheduleListBody};
use crate::error::{ApiError, unless_hidden};
use crate::extract::{
    ApiBody, ApiQuery, Authenticated, NamedSchedulePath, QueryParams, QueryReader, SchedulePath, SchedulesPath,
};

const KINDS: [(&str, ScheduleKinds); 3] = [
    ("all", ScheduleKinds::All),
    ("workflow", ScheduleKinds::Only(ScheduleKind::Workflow)),
    ("agent_run", ScheduleKinds::Only(ScheduleKind::AgentRun)),
];
const FLAGS: [(&str, bool); 4] = [("true", true), ("false", false), ("1", true), ("0", false)];

/// Which schedules to list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what is read by hand")]
pub(crate) struct ListSchedulesQuery {
    /// Most schedules of each kind to answer.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<i64>,
    /// Another name of `limit`.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    page_size: Option<i64>,
    /// Whether to ask the scheduler about each run schedule, 200 at most.
    #[param(default = false)]
    include_live: Option<bool>,
    /// One of all, workflow, agent_run.
    #[param(default = "all")]
    kind: Option<String>,
}

struct ListQuery(ScheduleQuery);

impl QueryParams for ListQuery {
    fn read(query: &mut QueryReader<'_>) -> Option<Self> {
        let (limit, page_size) = (query_limit(query, "limit"), query_limit(query, "page_size"));
        let include_live = query.choice("include_live", &FLAGS).unwrap_or(false);
        let kinds = query.choice("kind", &KINDS).unwrap_or_default();
        if limit.is_some() && page_size.is_some() && limit != page_size {
            query.problem("page_size", "page_size and limit are the same thing; give one of them");
        }
        let limit = limit.or(page_size).unwrap_or(100);
        Some(Self(ScheduleQuery { kinds, limit, include_live }))
    }
}

/// Make a schedule of an agent.
///
/// It creates a task of the agent and tells it its first input whenever it fires, or it starts a workflow of somebody else's
/// worker.
#[utoipa::path(
    post,
    path = "/agents/{agent_id}/schedules",
    operation_id = "create_run_schedule_agents__agent_id__schedules_post",
    tag = "Schedules",
    params(("agent_id" = String, Path, description = "The agent's id.")),
    request_body = inline(CreateAnyScheduleRequest),
    responses((status = 200, description = "The schedule.", body = AnySchedule))
)]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    SchedulesPath(agent): SchedulesPath,
    body: ApiBody,
) -> Result<Json<ScheduleBody>, ApiError> {
    let CreateScheduleBody(new) = body.read()?;
    Ok(Json(app.schedules.create(&caller, &agent, new).await?.into()))
}

/// List the schedules of an agent.
#[utoipa::path(
    get,
    path = "/agents/{agent_id}/schedules",
    operation_id = "list_run_schedules_agents__agent_id__schedules_get",
    tag = "Schedules",
    params(("agent_id" = String, Path, description = "The agent's id."), ListSchedulesQuery),
    responses((status = 200, description = "Schedules of both kinds.", body = ScheduleListBody))
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    SchedulesPath(agent): SchedulesPath,
    query: ApiQuery,
) -> Result<Json<ScheduleListBody>, ApiError> {
    let ListQuery(query) = query.read()?;
    let list = app.schedules.list(&caller, &agent, query).await?;
    Ok(Json(ScheduleListBody::of(agent.as_str(), list)))
}

/// A schedule as a path names it.
type Named = (AgentId, ScheduleHandle);

async fn show(app: &App, caller: &Caller, (agent, handle): Named) -> Result<Json<ScheduleBody>, ApiError> {
    Ok(Json(app.schedules.get(caller, &agent, &handle).await?.into()))
}

/// What is wrong with a request is told only to those who may know of the schedule.
async fn refused(app: &App, caller: &Caller, (agent, handle): &Named, problems: Problems) -> ApiError {
    unless_hidden(app.schedules.readable(caller, agent, handle), problems).await
}

async fn change(app: &App, caller: &Caller, named: Named, body: &ApiBody) -> Result<Json<ScheduleBody>, ApiError> {
    match body.read::<UpdateScheduleBody>() {
        Ok(UpdateScheduleBody(change)) => {
            Ok(Json(app.schedules.update(caller, &named.0, &named.1, change).await?.into()))
        }
        Err(problems) => Err(refused(app, caller, &named, problems).await),
    }
}

async fn stop(app: &App, caller: &Caller, named: Named, body: &ApiBody) -> Result<Json<ScheduleBody>, ApiError> {
    match body.read_optional::<PauseScheduleRequest>() {
        Ok(PauseScheduleRequest { note }) => {
            Ok(Json(app.schedules.pause(caller, &named.0, &named.1, note).await?.into()))
        }
        Err(problems) => Err(refused(app, caller, &named, problems).await),
    }
}

async fn go_on(app: &App, caller: &Caller, named: Named, body: &ApiBody) -> Result<Json<ScheduleBody>, ApiError> {
    match body.read_optional::<ResumeScheduleRequest>() {
        Ok(ResumeScheduleRequest { note }) => {
            Ok(Json(app.schedules.resume(caller, &named.0, &named.1, note).await?.into()))
        }
        Err(problems) => Err(refused(app, caller, &named, problems).await),
    }
}

async fn fire(app: &App, caller: &Caller, (agent, handle): Named) -> Result<Json<ScheduleBody>, ApiError> {
    Ok(Json(app.schedules.trigger(caller, &agent, &handle).await?.into()))
}

async fn remove(app: &App, caller: &Caller, (agent, handle): Named) -> Result<Json<DeleteResponse>, ApiError> {
    let DeletedSchedule { id, kind } = app.schedules.delete(caller, &agent, &handle).await?;
    let what = match kind {
        ScheduleKind::AgentRun => "Run schedule",
        ScheduleKind::Workflow => "Schedule",
    };
    let message = format!("{what} '{}' deleted successfully", handle.as_str());
    Ok(Json(DeleteResponse { id, message }))
}

/// Read a schedule.
#[utoipa::path(
    get,
    path = "/agents/{agent_id}/schedules/{schedule_id}",
    operation_id = "get_run_schedule_agents__agent_id__schedules__schedule_id__get",
    tag = "Schedules",
    params(
        ("agent_id" = String, Path, description = "The agent's id."),
        ("schedule_id" = String, Path, description = "The id of a run schedule, or the name of a workflow schedule."),
    ),
    responses((status = 200, description = "The schedule.", body = AnySchedule))
)]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    SchedulePath(named): SchedulePath,
) -> Result<Json<ScheduleBody>, ApiError> {
    show(&app, &caller, named).await
}

/// Change a schedule. Single occurrences that were skipped stay skipped.
#[utoipa::path(
    patch,
    path = "/agents/{agent_id}/schedules/{schedule_id}",
    operation_id = "update_run_schedule_agents__agent_id__schedules__schedule_id__patch",
    tag = "Schedules",
    params(
        ("agent_id" = String, Path, description = "The agent's id."),
        ("schedule_id" = String, Path, description = "The id of a run schedule, or the name of a workflow schedule."),
    ),
    request_body = UpdateScheduleRequest,
    responses((status = 200, description = "The schedule.", body = AnySchedule))
)]
pub(crate) async fn update(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    SchedulePath(named): SchedulePath,
    body: ApiBody,
) -> Result<Json<ScheduleBody>, ApiError> {
    change(&app, &caller, named, &body).await
}

/// Delete a schedule. What it has started goes on.
#[utoipa::path(
    delete,
    path = "/agents/{agent_id}/schedules/{schedule_id}",
    operation_id = "delete_run_schedule_agents__agent_id__schedules__schedule_id__delete",
    tag = "Schedules",
    params(
        ("agent_id" = String, Path, description = "The agent's id."),
        ("schedule_id" = String, Path, description = "The id of a run schedule, or the name of a workflow schedule."),
    ),
    responses((status = 200, description = "It is deleted.", body = DeleteResponse))
)]
pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    SchedulePath(named): SchedulePath,
) -> Result<Json<DeleteResponse>, ApiError> {
    remove(&app, &caller, named).await
}

/// Read a schedule by name.
#[utoipa::path(
    get,
    path = "/agents/{agent_id}/schedules/name/{name}",
    operation_id = "get_run_schedule_by_name_agents__agent_id__schedules_name__name__get",
    tag = "Schedules",
    params(
        ("agent_id" = String, Path, description = "The agent's id."),
        ("name" = String, Path, description = "The schedule's name."),
    ),
    responses((status = 200, description = "The schedule.", body = AnySchedule))
)]
pub(crate) async fn get_by_name(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    NamedSchedulePath(named): NamedSchedulePath,
) -> Result<Json<ScheduleBody>, ApiError> {
    show(&app, &caller, named).await
}

/// Change a schedule by name. Single occurrences that were skipped stay skipped.
#[utoipa::path(
    patch,
    path = "/agents/{agent_id}/schedules/name/{name}",
    operation_id = "update_run_schedule_by_name_agents__agent_id__schedules_name__name__patch",
    tag = "Schedules",
    params(
        ("agent_id" = String, Path, description = "The agent's id."),
        ("name" = String, Path, description = "The schedule's name."),
    ),
    request_body = UpdateScheduleRequest,
    responses((status = 200, description = "The schedule.", body = AnySchedule))
)]
pub(crate) async fn update_by_name(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    NamedSchedulePath(named): NamedSchedulePath,
    body: ApiBody,
) -> Result<Json<ScheduleBody>, ApiError> {
    change(&app, &caller, named, &body).await
}

/// Delete a schedule by name. What it has started goes on.
#[utoipa::path(
    delete,
    path = "/agents/{agent_id}/schedules/name/{name}",
    operation_id = "delete_run_schedule_by_name_agents__agent_id__schedules_name__name__delete",
    tag = "Schedules",
    params(
        ("agent_id" = String, Path, description = "The agent's id."),
        ("name" = String, Path, description = "The schedule's name."),
    ),
    responses((status = 200, description = "It is deleted.", body = DeleteResponse))
)]
pub(crate) async fn delete_by_name(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    NamedSchedulePath(named): NamedSchedulePath,
) -> Result<Json<DeleteResponse>, ApiError> {
    remove(&app, &caller, named).await
}

/// Writes a handler that does something to a schedule and shows it then.
macro_rules! acting {
    ($(#[$doc:meta])* $name:ident, by id, $path:literal, $operation:literal, |$app:ident, $caller:ident, $named:ident| $does:expr) => {
        $(#[$doc])*
        #[utoipa::path(
            post,
            path = $path,
            operation_id = $operation,
            tag = "Schedules",
            params(
                ("agent_id" = String, Path, description = "The agent's id."),
                ("schedule_id" = String, Path, description = "The id of a run schedule, or the name of a workflow schedule."),
            ),
            responses((status = 200, description = "The schedule.", body = AnySchedule))
        )]
        pub(crate) async fn $name(
            State($app): State<Arc<App>>,
            Authenticated($caller): Authenticated,
            SchedulePath($named): SchedulePath,
        ) -> Result<Json<ScheduleBody>, ApiError> {
            $does
        }
    };
    ($(#[$doc:meta])* $name:ident, by name, $path:literal, $operation:literal, |$app:ident, $caller:ident, $named:ident| $does:expr) => {
        $(#[$doc])*
        #[utoipa::path(
            post,
            path = $path,
            operation_id = $operation,
            tag = "Schedules",
            params(
                ("agent_id" = String, Path, description = "The agent's id."),
                ("name" = String, Path, description = "The schedule's name."),
            ),
            responses((status = 200, description = "The schedule.", body = AnySchedule))
        )]
        pub(crate) async fn $name(
            State($app): State<Arc<App>>,
            Authenticated($caller): Authenticated,
            NamedSchedulePath($named): NamedSchedulePath,
        ) -> Result<Json<ScheduleBody>, ApiError> {
            $does
        }
    };
    ($(#[$doc:meta])* $name:ident, by id, $path:literal, $operation:literal, $request:ty, |$app:ident, $caller:ident, $named:ident, $body:ident| $does:expr) => {
        $(#[$doc])*
        #[utoipa::path(
            post,
            path = $path,
            operation_id = $operation,
            tag = "Schedules",
            params(
                ("agent_id" = String, Path, description = "The agent's id."),
                ("schedule_id" = String, Path, description = "The id of a run schedule, or the name of a workflow schedule."),
            ),
            request_body = $request,
            responses((status = 200, description = "The schedule.", body = AnySchedule))
        )]
        pub(crate) async fn $name(
            State($app): State<Arc<App>>,
            Authenticated($caller): Authenticated,
            SchedulePath($named): SchedulePath,
            $body: ApiBody,
        ) -> Result<Json<ScheduleBody>, ApiError> {
            $does
        }
    };
    ($(#[$doc:meta])* $name:ident, by name, $path:literal, $operation:literal, $request:ty, |$app:ident, $caller:ident, $named:ident, $body:ident| $does:expr) => {
        $(#[$doc])*
        #[utoipa::path(
            post,
            path = $path,
            operation_id = $operation,
            tag = "Schedules",
            params(
                ("agent_id" = String, Path, description = "The agent's id."),
                ("name" = String, Path, description = "The schedule's name."),
            ),
            request_body = $request,
            responses((status = 200, description = "The schedule.", body = AnySchedule))
        )]
        pub(crate) async fn $name(
            State($app): State<Arc<App>>,
            Authenticated($caller): Authenticated,
            NamedSchedulePath($named): NamedSchedulePath,
            $body: ApiBody,
        ) -> Result<Json<ScheduleBody>, ApiError> {
            $does
        }
    };
}

acting!(
    /// Run a schedule once, now, paused or not.
    trigger,
    by id,
    "/agents/{agent_id}/schedules/{schedule_id}/trigger",
    "trigger_run_schedule_agents__agent_id__schedules__schedule_id__trigger_post",
    |app, caller, named| fire(&app, &caller, named).await
);
acting!(
    /// Run a schedule once by name, now, paused or not.
    trigger_by_name,
    by name,
    "/agents/{agent_id}/schedules/name/{name}/trigger",
    "trigger_run_schedule_by_name_agents__agent_id__schedules_name__name__trigger_post",
    |app, caller, named| fire(&app, &caller, named).await
);
acting!(
    /// Pause a schedule, so that it stops firing.
    pause,
    by id,
    "/agents/{agent_id}/schedules/{schedule_id}/pause",
    "pause_run_schedule_agents__agent_id__schedules__schedule_id__pause_post",
    Option<PauseScheduleRequest>,
    |app, caller, named, body| stop(&app, &caller, named, &body).await
);
acting!(
    /// Pause a schedule by name, so that it stops firing.
    pause_by_name,
    by name,
    "/agents/{agent_id}/schedules/name/{name}/pause",
    "pause_run_schedule_by_name_agents__agent_id__schedules_name__name__pause_post",
    Option<PauseScheduleRequest>,
    |app, caller, named, body| stop(&app, &caller, named, &body).await
);
acting!(
    /// Let a paused schedule go on.
    resume,
    by id,
    "/agents/{agent_id}/schedules/{schedule_id}/resume",
    "resume_run_schedule_agents__agent_id__schedules__schedule_id__resume_post",
    Option<ResumeScheduleRequest>,
    |app, caller, named, body| go_on(&app, &caller, named, &body).await
);
acting!(
    /// Let a paused schedule go on, by name.
    resume_by_name,
    by name,
    "/agents/{agent_id}/schedules/name/{name}/resume",
    "resume_run_schedule_by_name_agents__agent_id__schedules_name__name__resume_post",
    Option<ResumeScheduleRequest>,
    |app, caller, named, body| go_on(&app, &caller, named, &body).await
);
acting!(
    /// Another name of resume.
    unpause,
    by id,
    "/agents/{agent_id}/schedules/{schedule_id}/unpause",
    "unpause_schedule_agents__agent_id__schedules__schedule_id__unpause_post",
    Option<ResumeScheduleRequest>,
    |app, caller, named, body| go_on(&app, &caller, named, &body).await
);
acting!(
    /// Another name of resume, by name.
    unpause_by_name,
    by name,
    "/agents/{agent_id}/schedules/name/{name}/unpause",
    "unpause_schedule_by_name_agents__agent_id__schedules_name__name__unpause_post",
    Option<ResumeScheduleRequest>,
    |app, caller, named, body| go_on(&app, &caller, named, &body).await
);
acting!(
    /// Pass over one of the next occurrences of a schedule.
    skip,
    by id,
    "/agents/{agent_id}/schedules/{schedule_id}/skip",
    "skip_run_schedule_action_agents__agent_id__schedules__schedule_id__skip_post",
    SkipOccurrenceRequest,
    |app, caller, named, body| match body.read::<SkipOccurrenceRequest>() {
        Ok(SkipOccurrenceRequest { scheduled_time }) => {
            Ok(Json(app.schedules.skip(&caller, &named.0, &named.1, scheduled_time).await?.into()))
        }
        Err(problems) => Err(refused(&app, &caller, &named, problems).await),
    }
);
acting!(
    /// Do not pass over an occurrence of a schedule after all.
    unskip,
    by id,
    "/agents/{agent_id}/schedules/{schedule_id}/unskip",
    "unskip_run_schedule_action_agents__agent_id__schedules__schedule_id__unskip_post",
    UnskipOccurrenceRequest,
    |app, caller, named, body| match body.read::<UnskipOccurrenceRequest>() {
        Ok(UnskipOccurrenceRequest { scheduled_time }) => {
            Ok(Json(app.schedules.unskip(&caller, &named.0, &named.1, scheduled_time).await?.into()))
        }
        Err(problems) => Err(refused(&app, &caller, &named, problems).await),
    }
);
