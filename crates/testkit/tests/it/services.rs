use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use agentex_testkit::services::{postgres, redis};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

async fn count(url: &str, query: &'static str) -> i64 {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap()
}

#[tokio::test]
async fn a_fresh_database_is_empty_and_gone_when_dropped() {
    let kept = postgres::fresh_database().await;
    let database = postgres::fresh_database().await;
    assert_ne!(kept.name(), database.name());
    let tables = "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'";
    assert_eq!(count(database.url(), tables).await, 0);
    let name = database.name().to_owned();

    // Somebody is still connected.
    let _connection = PgConnection::connect(database.url()).await.unwrap();
    drop(database);

    let mut connection = PgConnection::connect(kept.maintenance_url()).await.unwrap();
    let left: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM pg_database WHERE datname = $1)")
        .bind(&name)
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert!(!left);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_is_made_once_and_cloned_for_each_test() {
    // Its server must outlive the clones; the name must be new to a server that outlives this test.
    let holder = postgres::fresh_database().await;
    let template = holder.name().replace("t_", "template_");
    let made = Arc::new(AtomicUsize::new(0));

    let clones = (0..4).map(|_| {
        let (template, made) = (template.clone(), Arc::clone(&made));
        tokio::spawn(async move {
            postgres::fresh_database_from(&template, |url| async move {
                made.fetch_add(1, Ordering::SeqCst);
                let mut connection = PgConnection::connect(&url).await.unwrap();
                sqlx::raw_sql("CREATE TABLE things (id int); INSERT INTO things VALUES (1), (2)")
                    .execute(&mut connection)
                    .await
                    .unwrap();
                connection.close().await.unwrap();
            })
            .await
        })
    });
    let clones: Vec<_> = futures::future::join_all(clones).await.into_iter().map(Result::unwrap).collect();

    assert_eq!(made.load(Ordering::SeqCst), 1);
    for clone in &clones {
        assert_eq!(count(clone.url(), "SELECT count(*) FROM things").await, 2);
    }
    let mut connection = PgConnection::connect(clones[0].url()).await.unwrap();
    sqlx::raw_sql("DELETE FROM things").execute(&mut connection).await.unwrap();
    assert_eq!(count(clones[1].url(), "SELECT count(*) FROM things").await, 2, "clones do not share rows");

    let mut connection = PgConnection::connect(holder.maintenance_url()).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(format!("DROP DATABASE {template}"))).execute(&mut connection).await.unwrap();
}

#[tokio::test]
async fn redis_answers_under_its_url() {
    let redis = redis::redis().await;
    let mut connection = connection(redis.url()).await.unwrap();

    let key = format!("{}key", redis.prefix());
    let () = ::redis::cmd("SET").arg(&key).arg("v").query_async(&mut connection).await.unwrap();

    let read: String = ::redis::cmd("GET").arg(&key).query_async(&mut connection).await.unwrap();
    assert_eq!(read, "v");
    assert_ne!(redis::redis().await.prefix(), redis.prefix());
}

#[tokio::test]
async fn a_redis_of_ones_own_can_be_killed_and_started_again() {
    let mut server = redis::RedisServer::start().await;
    let url = server.url();
    let mut before = connection(&url).await.unwrap();
    let () = ::redis::cmd("SET").arg("key").arg("v").query_async(&mut before).await.unwrap();

    server.kill();
    assert!(connection(&url).await.is_err());
    server.start_again().await;

    assert_eq!(server.url(), url);
    let mut after = connection(&url).await.unwrap();
    let read: Option<String> = ::redis::cmd("GET").arg("key").query_async(&mut after).await.unwrap();
    assert_eq!(read, None);
}

async fn connection(url: &str) -> ::redis::RedisResult<::redis::aio::MultiplexedConnection> {
    ::redis::Client::open(url).unwrap().get_multiplexed_async_connection().await
}
