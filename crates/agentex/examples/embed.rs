//! Runs the control plane inside another service, under `/agents-api`.
//!
//! ```text
//! cargo run -p agentex --example embed
//! curl http://127.0.0.1:3000/hello
//! curl http://127.0.0.1:3000/agents-api/agents
//! ```

use std::time::Duration;

use agentex::Agentex;
use axum::Router;
use axum::routing::get;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let agentex = Agentex::builder().embedded("./agentex-data").build().await?;

    // The service's own routes, and the control plane's beside them.
    let service = Router::new().route("/hello", get(|| async { "hello\n" })).nest("/agents-api", agentex.router());

    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    println!("listening on http://{}", listener.local_addr()?);
    let worker = agentex.worker();
    axum::serve(listener, service)
        .with_graceful_shutdown(async move {
            // Without a signal handler there is nothing to wait for, so the service ends.
            let _ = tokio::signal::ctrl_c().await;
            // Ends the open task streams; the server waits for every other request.
            worker.shutdown();
        })
        .await?;
    // Replies of agents that outlived their requests are stored before the database closes.
    agentex.worker().drained(Duration::from_secs(30)).await?;
    Ok(())
}
