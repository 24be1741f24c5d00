use std::time::Duration;

use agentex_domain::ports::StoreError;
use agentex_postgres::{PgOptions, PgStore};
use agentex_testkit::build::{agent, at};
use tokio::net::TcpListener;

use crate::database::{migrated, options};

#[tokio::test]
async fn a_server_that_is_not_there_is_an_outage_that_shows_no_url() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let url = format!("postgres://somebody:s3cret@{free}/hidden");
    let options = PgOptions { acquire_timeout: Duration::from_millis(200), ..PgOptions::new(url) };

    let error = PgStore::connect(options.clone()).await.unwrap_err();

    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    for shown in [format!("{error:?}"), error.to_string(), format!("{options:?}")] {
        for secret in ["s3cret", "somebody", "hidden", "127.0.0.1"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}

#[tokio::test]
async fn a_database_that_does_not_exist_is_an_outage() {
    let database = migrated().await;
    let (server, _) = database.place.url().rsplit_once('/').unwrap();

    let error = PgStore::connect(options(&format!("{server}/no_such_database"))).await.unwrap_err();

    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
}

#[tokio::test]
async fn a_statement_over_its_time_and_a_pool_without_connections_are_outages() {
    let database = migrated().await;
    let agent = agent("a");
    database.stores.agents.insert(&agent, None).await.unwrap();
    let store = PgStore::connect(PgOptions {
        max_connections: 1,
        statement_timeout: Duration::from_millis(700),
        acquire_timeout: Duration::from_millis(100),
        ..options(database.place.url())
    })
    .await
    .unwrap();
    let stores = store.stores();
    let mut holder = database.sql.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM agents FOR UPDATE").execute(&mut *holder).await.unwrap();

    let stuck = stores.agents.delete(&agent.id, "r", at(1), None);
    let queued = async {
        database.until_somebody_waits().await;
        stores.agents.find(&agent.id).await
    };
    let (stuck, queued) = tokio::join!(stuck, queued);

    assert!(matches!(stuck, Err(StoreError::Unavailable(_))), "{stuck:?}");
    assert!(matches!(queued, Err(StoreError::Unavailable(_))), "{queued:?}");
    holder.rollback().await.unwrap();
    assert!(stores.agents.delete(&agent.id, "r", at(1), None).await.unwrap().is_some());
}

#[tokio::test]
async fn the_probe_tells_an_open_store_from_a_closed_one() {
    let database = migrated().await;
    let probe = &database.stores.probe;
    assert_eq!(probe.name(), "postgres");
    assert_eq!(probe.probe().await, Ok(()));

    database.store.close().await;

    assert_eq!(probe.probe().await.unwrap_err().to_string(), "the database does not answer");
    let after = database.stores.agents.find(&"a".into()).await;
    assert!(matches!(after, Err(StoreError::Unavailable(_))), "{after:?}");
}

#[tokio::test]
async fn connections_that_the_server_cut_are_replaced() {
    let database = migrated().await;
    database.stores.probe.probe().await.unwrap();
    database
        .run(
            "SELECT pg_terminate_backend(pid, 5000)
               FROM pg_stat_activity
              WHERE datname = current_database() AND application_name = 'agentex'",
        )
        .await;

    let mut failures = 0;
    while database.stores.agents.find(&"a".into()).await.is_err() {
        failures += 1;
        assert!(failures < 10, "the pool does not recover");
    }
}

#[tokio::test]
async fn lists_may_be_read_from_a_replica_and_nothing_else_is() {
    let database = migrated().await;
    let behind = migrated().await;
    let store = PgStore::connect(PgOptions {
        read_only_url: Some(behind.place.url().to_owned()),
        ..options(database.place.url())
    })
    .await
    .unwrap();
    let stores = store.stores();
    let agent = agent("a");
    stores.agents.insert(&agent, None).await.unwrap();
    let filter =
        agentex_domain::ports::AgentFilter { scope: agentex_authz::Scope::All, task_id: None, card_metadata: None };

    let listed = stores.agents.list(&filter, Default::default(), Default::default(), Default::default()).await.unwrap();

    assert_eq!(listed, []);
    assert_eq!(stores.agents.find(&agent.id).await.unwrap(), Some(agent.clone()));
    assert_eq!(stores.agents.find_by_name("a").await.unwrap(), Some(agent.clone()));
    assert_eq!(stores.agents.dial_target(&agent.id).await.unwrap().unwrap().agent, agent);
}
