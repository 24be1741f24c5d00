#![doc = include_str!("../README.md")]

mod instances;
mod library;
mod wire;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use http::HeaderMap;
use http::header::AUTHORIZATION;

use instances::Instances;
use library::{Call, Library};
use wire::Failure;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().context("usage: spicedb-launcher LIBRARY [PORT]")?;
    let port = arguments.next().map_or(Ok(0), |port| port.parse::<u16>()).context("the port is not a number")?;
    // Bound first: loading takes a while, and somebody else may take the port meanwhile.
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    let instances = Arc::new(Instances::new(Library::load(&PathBuf::from(path))?));
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, Router::new().fallback(serve).with_state(instances)).await?;
    Ok(())
}

async fn serve(State(instances): State<Arc<Instances>>, request: Request) -> Response {
    answer(&instances, request).await.unwrap_or_else(Failure::into_response)
}

async fn answer(instances: &Instances, request: Request) -> Result<Response, Failure> {
    let token = bearer(request.headers()).ok_or_else(Failure::unauthenticated)?;
    let instance = instances.of(token).await?;
    match Call::at(request.uri().path()) {
        Some(call) => {
            let message = wire::unary_request(request.into_body()).await?;
            Ok(wire::unary_response(&instance.call(call, message).await?))
        }
        // The library serves streams, and nothing else, on a socket of its own.
        None => wire::relay(&instance.streams, request).await,
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let token = headers.get(AUTHORIZATION)?.to_str().ok()?;
    token.strip_prefix("Bearer ").filter(|token| !token.is_empty())
}
