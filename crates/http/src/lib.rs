#![doc = include_str!("../README.md")]

mod bodies;
mod cursor;
mod error;
mod extract;
mod layers;
mod mount;
mod openapi;
mod options;
mod page;
mod routes;

use std::sync::Arc;

use agentex_app::App;
use axum::Router;
use axum::extract::FromRef;

pub use openapi::openapi;
pub use options::{AllowedOrigins, CorsOptions, HttpOptions, MetricsText};

/// The whole HTTP surface over `app`, ready to be served or merged into another router.
///
/// Nothing is read from the environment and no listener is opened. Streams end when the token of
/// [`App::shutdown_token`] is cancelled.
pub fn router(app: Arc<App>, options: HttpOptions) -> Router {
    layers::metrics::describe();
    let mut mount = routes::all(&options);
    if app.gateways.slack().is_some() {
        mount = routes::slack_routes(mount);
    }
    if app.gateways.linear().is_some() {
        mount = routes::linear_routes(mount);
    }
    mount.into_router(Shared { app, options: Arc::new(options) })
}

/// What every handler and layer can reach.
#[derive(Clone)]
struct Shared {
    app: Arc<App>,
    options: Arc<HttpOptions>,
}

impl FromRef<Shared> for Arc<App> {
    fn from_ref(shared: &Shared) -> Self {
        Self::clone(&shared.app)
    }
}
