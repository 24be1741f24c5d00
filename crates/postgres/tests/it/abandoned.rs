//! Callers that go away in the middle of a call.

use std::future::poll_fn;
use std::task::Poll;

use agentex_domain::Misfire;
use agentex_postgres::{PgOptions, PgStore};
use agentex_testkit::build::{at, timer};

use crate::database::{migrated, options};

/// Else the next one to get the connection would write into a transaction that nobody commits.
#[tokio::test]
async fn a_call_that_is_dropped_at_any_moment_leaves_no_transaction_open() {
    let database = migrated().await;
    let one_connection = PgOptions { max_connections: 1, ..options(database.place.url()) };
    let stores = PgStore::connect(one_connection).await.unwrap().stores();
    for polls in 1..=16 {
        let mut call = stores.timers.fire_due(at(0), at(30), 1, Misfire::default());
        for _ in 0..polls {
            if poll_fn(|context| Poll::Ready(call.as_mut().poll(context).is_ready())).await {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(call);

        let id = format!("after-{polls}");
        stores.timers.insert(&timer(&id)).await.unwrap();

        let is_there: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM schedule_timers WHERE id = $1)")
            .bind(&id)
            .fetch_one(&database.sql)
            .await
            .unwrap();
        assert!(is_there, "what was written after {polls} polls is not committed");
    }
}
