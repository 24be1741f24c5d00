use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::MethodRouter;
use http::{HeaderValue, Method};
use utoipa::openapi::path::PathItem;
use utoipa::openapi::{OpenApi, RefOr, Schema};
use utoipa_axum::router::UtoipaMethodRouter;

use crate::Shared;
use crate::layers::auth::{self, Gate};
use crate::layers::idempotency::{self, Attempts, Repeatable};
use crate::layers::{cors, limits, log, metrics, panics, request_id, slash};
use crate::routes::health;

/// Who may reach a route at all. What they may do there is decided by the use case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    /// Anybody; credentials are not looked at.
    Public,
    /// Pods that announce themselves: anybody, but an agent key that is presented must be good.
    Registration,
    /// Whoever can prove it by what the request itself says, which the use case finds out: keys and signatures of outsiders.
    Ingress,
    /// Whoever the authentication provider knows, and agents with their key; everybody where nothing authenticates.
    Principal,
}

/// One path with its methods and its policy.
#[derive(Debug)]
pub(crate) struct Mounted {
    /// The path with its parameters in braces; one with a star takes the rest of the path.
    template: String,
    policy: Policy,
    /// The methods that have a handler.
    pub(crate) methods: Vec<Method>,
}

impl Mounted {
    /// The policy for a request of `method`: that of the route if it has the method, else the strictest. Outsiders have
    /// nothing to show for a wrong method, so they are told so at once.
    pub(crate) fn policy_of(&self, method: &Method) -> Policy {
        let applies = self.policy == Policy::Ingress || self.methods.contains(method);
        if applies { self.policy } else { Policy::Principal }
    }

    /// The `Allow` header.
    pub(crate) fn allow(&self) -> HeaderValue {
        let names: Vec<&str> = self.methods.iter().map(Method::as_str).collect();
        HeaderValue::from_str(&names.join(", ")).expect("methods are header text")
    }

    /// Whether `path` (without a slash at the end) fits the template.
    pub(crate) fn matches(&self, path: &str) -> bool {
        let fits =
            |template: &str, segment: &str| template == segment || (template.starts_with('{') && !segment.is_empty());
        let (mut templates, mut segments) = (self.template.split('/'), path.split('/'));
        loop {
            match (templates.next(), segments.next()) {
                (None, None) => return true,
                (Some(template), Some(segment)) if template.starts_with("{*") => {
                    return !segment.is_empty() || segments.next().is_some();
                }
                (Some(template), Some(segment)) if fits(template, segment) => {}
                _ => return false,
            }
        }
    }
}

/// The routes of the API. There is no way to add one without saying who may reach it.
#[derive(Default)]
pub(crate) struct Mount {
    routes: Vec<Route>,
    paths: Vec<(String, PathItem)>,
    schemas: Vec<(String, RefOr<Schema>)>,
}

struct Route {
    mounted: Arc<Mounted>,
    handlers: MethodRouter<Shared>,
    /// Whether the answer's headers must come within the request time-out.
    bounded: bool,
}

impl Mount {
    /// Adds documented routes of one path that answer in bounded time.
    pub(crate) fn route(self, policy: Policy, routes: UtoipaMethodRouter<Shared>) -> Self {
        self.documented(policy, routes, true)
    }

    /// Adds documented routes of one path that may take as long as an agent takes.
    pub(crate) fn open_ended(self, policy: Policy, routes: UtoipaMethodRouter<Shared>) -> Self {
        self.documented(policy, routes, false)
    }

    /// Adds a GET route that is not part of the API's own description.
    pub(crate) fn page(mut self, policy: Policy, template: &str, handlers: MethodRouter<Shared>) -> Self {
        let mounted = Arc::new(Mounted { template: template.to_owned(), policy, methods: vec![Method::GET] });
        self.routes.push(Route { mounted, handlers, bounded: true });
        self
    }

    /// Adds another form of the path of a documented route, with the same methods and as much time.
    pub(crate) fn also(
        mut self,
        policy: Policy,
        template: &str,
        methods: &[Method],
        handlers: MethodRouter<Shared>,
    ) -> Self {
        let mounted = Arc::new(Mounted { template: template.to_owned(), policy, methods: methods.to_vec() });
        self.routes.push(Route { mounted, handlers, bounded: false });
        self
    }

    fn documented(mut self, policy: Policy, routes: UtoipaMethodRouter<Shared>, bounded: bool) -> Self {
        let (schemas, paths, handlers) = routes;
        for (template, item) in paths.paths {
            let mounted = Arc::new(Mounted { template: template.clone(), policy, methods: methods_of(&item) });
            self.routes.push(Route { mounted, handlers: handlers.clone(), bounded });
            self.paths.push((template, item));
        }
        self.schemas.extend(schemas);
        self
    }

    /// Completes `document` with the routes and the types they use.
    pub(crate) fn describe(self, mut document: OpenApi) -> OpenApi {
        document.components.get_or_insert_default().schemas.extend(self.schemas);
        for route in &self.routes {
            if let Some((_, item)) = self.paths.iter().find(|(template, _)| *template == route.mounted.template) {
                let item =
                    crate::openapi::with_common_answers(item.clone(), &route.mounted.template, route.mounted.policy);
                // The format has no word for "the rest of the path".
                document.paths.paths.insert(route.mounted.template.replace("{*", "{"), item);
            }
        }
        document
    }

    /// The router that serves the routes, with every layer around them.
    pub(crate) fn into_router(self, shared: Shared) -> Router {
        let table: Arc<[Arc<Mounted>]> = self.routes.iter().map(|route| Arc::clone(&route.mounted)).collect();
        let attempts = Arc::new(Attempts::default());
        let mut router = Router::new();
        for Route { mounted, mut handlers, bounded } in self.routes {
            let template = mounted.template.clone();
            if bounded {
                handlers = handlers.layer(from_fn_with_state(shared.options.request_timeout, limits::deadline));
            }
            if mounted.methods.contains(&Method::POST)
                && let Some(repeatable) = Repeatable::on(&template, mounted.policy, &shared, &attempts)
            {
                handlers = handlers.layer(from_fn_with_state(repeatable, idempotency::apply));
            }
            let gate = Gate { app: Arc::clone(&shared.app), mounted };
            router = router.route(&template, handlers.layer(from_fn_with_state(gate, auth::guard)));
        }
        let fallback_state = shared.clone();
        router
            .fallback(move |request| slash::unmatched(fallback_state.clone(), Arc::clone(&table), request))
            .layer(from_fn(panics::catch))
            .layer(from_fn_with_state(shared.clone(), cors::apply))
            .layer(from_fn(metrics::measure))
            .layer(from_fn(log::requests))
            .layer(from_fn_with_state(shared.clone(), health::answer))
            .layer(from_fn(request_id::assign))
            .with_state(shared)
    }
}

fn methods_of(item: &PathItem) -> Vec<Method> {
    let operations = [
        (Method::GET, &item.get),
        (Method::POST, &item.post),
        (Method::PUT, &item.put),
        (Method::PATCH, &item.patch),
        (Method::DELETE, &item.delete),
    ];
    operations.into_iter().filter(|(_, operation)| operation.is_some()).map(|(method, _)| method).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounted(template: &str) -> Mounted {
        Mounted { template: template.to_owned(), policy: Policy::Public, methods: vec![Method::POST] }
    }

    #[test]
    fn a_path_fits_a_template_segment_by_segment() {
        assert!(mounted("/agents").matches("/agents"));
        assert!(mounted("/agents/{agent_id}").matches("/agents/x"));
        assert!(mounted("/agents/{agent_id}/rpc").matches("/agents/x/rpc"));
        assert!(!mounted("/agents/{agent_id}").matches("/agents/"));
        assert!(!mounted("/agents/{agent_id}").matches("/agents/x/rpc"));
        assert!(!mounted("/agents").matches("//agents"));
        assert!(mounted("/keys/{*name}").matches("/keys/a"));
        assert!(mounted("/keys/{*name}").matches("/keys/a/b"));
        assert!(!mounted("/keys/{*name}").matches("/keys"));
        assert!(!mounted("/keys/{*name}").matches("/keys/"));
    }

    #[test]
    fn a_method_without_a_handler_is_under_the_strictest_policy() {
        assert_eq!(mounted("/x").policy_of(&Method::POST), Policy::Public);
        assert_eq!(mounted("/x").policy_of(&Method::GET), Policy::Principal);
        let ingress = Mounted { policy: Policy::Ingress, ..mounted("/x") };
        assert_eq!(ingress.policy_of(&Method::GET), Policy::Ingress);
    }
}
