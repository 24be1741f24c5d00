//! The other presets.

use agentex_testkit::http_client::HttpClient;
use agentex_testkit::services::postgres::fresh_database;
use agentex_testkit::services::redis::redis;
use serde_json::json;

use crate::program::{Folder, run, serve_with};

#[tokio::test(flavor = "multi_thread")]
async fn the_urls_pick_postgresql_and_redis() {
    let (database, redis) = (fresh_database().await, redis().await);
    let folder = Folder::new();
    let environment = [("DATABASE_URL", database.url()), ("REDIS_URL", redis.url())];

    let mut server = serve_with(&folder, &[], &environment).await;

    assert!(
        server.output().contains("(store: postgres, streams: redis, authorization: disabled)"),
        "{}",
        server.output()
    );
    let ready = HttpClient::new(server.url()).get("/readyz").await.expect(200);
    let healthy = json!({ "healthy": true });
    assert_eq!(ready["checks"], json!({ "postgres": healthy, "redis": healthy }));
    assert!(!std::path::Path::new(&folder.data()).exists(), "nothing is kept on the disk");
    assert_eq!(server.terminate().await, Some(0));
    assert!(server.output().contains("API keys are kept in clear"), "{}", server.output());
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_can_be_applied_beforehand_and_are_found_by_the_doctor() {
    let database = fresh_database().await;
    let environment = [("DATABASE_URL", database.url())];

    let before = run(&["doctor", "--port", "0"], &environment);
    assert_eq!(before.code, 1);
    assert!(before.out.contains("FAIL  store: ") && before.out.contains("agentex migrate"), "{}", before.out);

    let migrated = run(&["migrate"], &environment);
    assert_eq!(migrated.code, 0, "{migrated:?}");
    assert_eq!(run(&["migrate"], &environment).out, "the schema is up to date\n");

    let after = run(&["doctor", "--port", "0"], &environment);
    assert_eq!(after.code, 0, "{after:?}");
    assert!(after.out.contains("postgres answers and has its tables"), "{}", after.out);
}
