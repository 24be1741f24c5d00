//! The handlers, one module per resource: each takes its input apart, calls one use case and converts the answer.

pub(crate) mod access;
pub(crate) mod agents;
pub(crate) mod api_keys;
pub(crate) mod checkpoints;
pub(crate) mod docs;
pub(crate) mod events;
pub(crate) mod forwarding;
pub(crate) mod health;
pub(crate) mod messages;
pub(crate) mod registrations;
pub(crate) mod rpc;
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
    Mount::default()
        .route(Policy::Registration, routes!(registrations::register))
        .route(Policy::Principal, routes!(registrations::register_build))
        .route(Policy::Principal, routes!(agents::list))
        .route(Policy::Principal, routes!(agents::get, agents::delete))
        .route(Policy::Principal, routes!(agents::get_by_name, agents::delete_by_name))
        .open_ended(Policy::Principal, routes!(rpc::call))
        .open_ended(Policy::Principal, routes!(rpc::call_by_name))
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
    let mut mount = api().page(Policy::Public, "/openapi.json", get(docs::document));
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
