//! The handlers, one module per resource: each takes its input apart, calls one use case and converts the answer.

pub(crate) mod access;
pub(crate) mod agents;
pub(crate) mod api_keys;
pub(crate) mod checkpoints;
pub(crate) mod deployment_history;
pub(crate) mod deployments;
pub(crate) mod docs;
pub(crate) mod events;
pub(crate) mod forwarding;
pub(crate) mod health;
pub(crate) mod linear;
pub(crate) mod messages;
pub(crate) mod registrations;
pub(crate) mod retention;
pub(crate) mod rpc;
pub(crate) mod schedules;
pub(crate) mod slack;
pub(crate) mod spans;
pub(crate) mod states;
pub(crate) mod streams;
pub(crate) mod tasks;
pub(crate) mod trackers;

use agentex_domain::PageRequest;
use axum::routing::{any, get};
use utoipa_axum::routes;

use crate::HttpOptions;
use crate::error::ApiError;
use crate::mount::{Mount, Policy};

/// Every documented route.
pub(crate) fn api() -> Mount {
    linear_routes(slack_routes(schedule_routes(core())))
}

/// Those of Slack, which proves itself by its signature.
pub(crate) fn slack_routes(mount: Mount) -> Mount {
    mount
        .route(Policy::Public, routes!(slack::events))
        .route(Policy::Public, routes!(slack::commands))
        .route(Policy::Public, routes!(slack::interactions))
}

/// Those of Linear, which proves itself by its signature.
pub(crate) fn linear_routes(mount: Mount) -> Mount {
    mount.route(Policy::Public, routes!(linear::events))
}

fn schedule_routes(mount: Mount) -> Mount {
    mount
        .route(Policy::Principal, routes!(schedules::list, schedules::create))
        .route(Policy::Principal, routes!(schedules::get_by_name, schedules::update_by_name, schedules::delete_by_name))
        .route(Policy::Principal, routes!(schedules::get, schedules::update, schedules::delete))
        .route(Policy::Principal, routes!(schedules::trigger_by_name))
        .route(Policy::Principal, routes!(schedules::trigger))
        .route(Policy::Principal, routes!(schedules::skip))
        .route(Policy::Principal, routes!(schedules::unskip))
        .route(Policy::Principal, routes!(schedules::pause_by_name))
        .route(Policy::Principal, routes!(schedules::pause))
        .route(Policy::Principal, routes!(schedules::resume_by_name))
        .route(Policy::Principal, routes!(schedules::resume))
        .route(Policy::Principal, routes!(schedules::unpause_by_name))
        .route(Policy::Principal, routes!(schedules::unpause))
}

fn core() -> Mount {
    Mount::default()
        .route(Policy::Registration, routes!(registrations::register))
        .route(Policy::Principal, routes!(registrations::register_build))
        .route(Policy::Principal, routes!(agents::list))
        .route(Policy::Principal, routes!(agents::get, agents::delete))
        .route(Policy::Principal, routes!(agents::get_by_name, agents::delete_by_name))
        .open_ended(Policy::Principal, routes!(rpc::call))
        .open_ended(Policy::Principal, routes!(rpc::call_by_name))
        .route(Policy::Principal, routes!(deployments::list, deployments::create))
        .route(Policy::Principal, routes!(deployments::get, deployments::delete))
        .route(Policy::Principal, routes!(deployments::promote))
        .open_ended(Policy::Principal, routes!(rpc::preview))
        .route(Policy::Principal, routes!(deployment_history::list))
        .route(Policy::Principal, routes!(deployment_history::get))
        .route(Policy::Principal, routes!(tasks::list))
        .route(Policy::Principal, routes!(tasks::get, tasks::update, tasks::delete))
        .route(Policy::Principal, routes!(tasks::get_by_name, tasks::update_by_name, tasks::delete_by_name))
        .route(Policy::Principal, routes!(tasks::complete))
        .route(Policy::Principal, routes!(tasks::fail))
        .route(Policy::Principal, routes!(tasks::cancel))
        .route(Policy::Principal, routes!(tasks::interrupt))
        .route(Policy::Principal, routes!(tasks::terminate))
        .route(Policy::Principal, routes!(tasks::time_out))
        .route(Policy::Principal, routes!(tasks::query))
        .open_ended(Policy::Principal, routes!(retention::export, retention::export_to_url))
        .route(Policy::Principal, routes!(retention::clean))
        .open_ended(Policy::Principal, routes!(retention::rehydrate))
        .open_ended(Policy::Principal, routes!(streams::watch))
        .open_ended(Policy::Principal, routes!(streams::watch_by_name))
        .route(Policy::Principal, routes!(api_keys::create, api_keys::list))
        .route(Policy::Principal, routes!(api_keys::create_webhook_trigger))
        .route(Policy::Principal, routes!(api_keys::get_by_name, api_keys::delete_by_name))
        .route(Policy::Principal, routes!(api_keys::get, api_keys::delete))
        .route(Policy::Principal, routes!(access::explain))
        .open_ended(Policy::Ingress, routes!(forwarding::get, forwarding::post))
        .also(Policy::Ingress, forwarding::ROOT, &forwarding::METHODS, any(forwarding::root))
        .also(Policy::Ingress, forwarding::BARE, &forwarding::METHODS, any(forwarding::add_slash))
        .route(Policy::Principal, routes!(messages::list, messages::create))
        .route(Policy::Principal, routes!(messages::create_batch, messages::update_batch))
        .route(Policy::Principal, routes!(messages::page))
        .route(Policy::Principal, routes!(messages::get, messages::update))
        .route(Policy::Principal, routes!(spans::list, spans::create))
        .route(Policy::Principal, routes!(spans::get, spans::update))
        .route(Policy::Principal, routes!(checkpoints::find))
        .route(Policy::Principal, routes!(checkpoints::put))
        .route(Policy::Principal, routes!(checkpoints::put_writes))
        .route(Policy::Principal, routes!(checkpoints::list))
        .route(Policy::Principal, routes!(checkpoints::delete_thread))
        .route(Policy::Principal, routes!(states::list, states::create))
        .route(Policy::Principal, routes!(states::get, states::update, states::delete))
        .route(Policy::Principal, routes!(events::list))
        .route(Policy::Principal, routes!(events::get))
        .route(Policy::Principal, routes!(trackers::list))
        .route(Policy::Principal, routes!(trackers::get, trackers::update))
}

/// The documented routes and what comes with them.
pub(crate) fn all(options: &HttpOptions) -> Mount {
    let mount = core();
    let mount = if options.schedules { schedule_routes(mount) } else { mount };
    let mut mount = mount.page(Policy::Public, "/openapi.json", get(docs::document));
    if options.docs {
        mount =
            mount.page(Policy::Public, "/api", get(docs::page)).page(Policy::Principal, "/swagger", get(docs::page));
    }
    if options.metrics.is_some() {
        mount = mount.page(Policy::Public, "/metrics", get(docs::metrics));
    }
    mount
}

/// The page asked for; tasks and messages refuse one below the first in their own words.
fn page_request(limit: u32, page_number: i64) -> Result<PageRequest, ApiError> {
    match u64::try_from(page_number) {
        Ok(page_number) if page_number >= 1 => Ok(PageRequest { limit, page_number }),
        _ => Err(ApiError::invalid("Page number must be greater than 0")),
    }
}

/// A number of rows, when given.
fn query_limit(query: &mut crate::extract::QueryReader<'_>, name: &str) -> Option<u32> {
    const MOST: i64 = 1000;
    let number = query.integer(name, 0)?;
    if number == 0 && query.text(name).is_none() {
        return None;
    }
    if number < 1 {
        query.problem(name, "Input should be greater than or equal to 1");
    } else if number > MOST {
        query.problem(name, format!("Input should be less than or equal to {MOST}"));
    }
    u32::try_from(number).ok().filter(|number| (1..=1000).contains(number))
}
