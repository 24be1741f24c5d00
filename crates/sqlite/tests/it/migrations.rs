//! Bringing a file's schema up to date, from nothing and from what earlier releases left.

use agentex_domain::ports::StoreError;
use agentex_sqlite::{SqliteOptions, SqliteStore};
use sqlx::sqlite::SqliteConnection;
use tempfile::TempDir;

use crate::{Fixture, connect, open};

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations/sqlite");

#[tokio::test]
async fn migrating_again_applies_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agentex.db");
    let store = open(&path).await;

    assert!(store.migrate().await.unwrap() > 0);
    assert_eq!(store.migrate().await.unwrap(), 0);
    assert_eq!(open(&path).await.migrate().await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_servers_starting_at_once_one_migrates_and_the_other_finds_it_done() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agentex.db");
    let server = || async {
        let store = SqliteStore::open(SqliteOptions::new(&path)).await?;
        store.migrate().await
    };

    let (one, other) = tokio::join!(server(), server());

    let (one, other) = (one.unwrap(), other.unwrap());
    assert!(one.min(other) == 0 && one.max(other) > 0, "{one} and {other}");
}

#[tokio::test]
async fn a_file_of_a_newer_release_is_not_migrated() {
    let fixture = Fixture::new().await;
    fixture
        .behind_its_back(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             VALUES (9999, 'later', 1, x'00', 0)",
        )
        .await;

    let refused = fixture.store.migrate().await;

    assert!(matches!(refused, Err(StoreError::Failed(_))), "{refused:?}");
}

#[tokio::test]
async fn pending_migrations_are_counted_and_not_applied() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agentex.db");
    let store = open(&path).await;

    let pending = store.pending().await.unwrap();

    assert!(pending > 0);
    assert_eq!(store.pending().await.unwrap(), pending);
    assert_eq!(store.migrate().await.unwrap(), pending);
    assert_eq!(store.pending().await.unwrap(), 0);
}

/// A file as the release before migration `version` left it.
async fn before(version: i64) -> (SqliteConnection, SqliteStore, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agentex.db");
    let store = open(&path).await;
    let mut connection = connect(&path).await;
    MIGRATIONS.run_to(version - 1, &mut connection).await.unwrap();
    (connection, store, folder)
}

/// The newest key of a name keeps it; the others stay usable under another.
#[tokio::test]
async fn keys_of_one_name_are_told_apart_when_names_become_unique() {
    let (mut connection, store, _folder) = before(3).await;
    sqlx::raw_sql(
        "INSERT INTO agents (id, name, description, status, created_at, updated_at) \
         VALUES ('a1', 'one', '', 'Ready', 1, 1), ('a2', 'two', '', 'Ready', 1, 1); \
         INSERT INTO agent_api_keys (id, agent_id, name, api_key_type, api_key, api_key_digest, created_at) \
         VALUES ('older-id-000', 'a1', 'n', 'external', 'x', 'd1', 1), \
                ('newest-id-00', 'a1', 'n', 'external', 'x', 'd2', 3), \
                ('middle-id-00', 'a1', 'n', 'external', 'x', 'd3', 2), \
                ('tied-a-0', 'a1', 't', 'slack', 'x', 'd4', 5), ('tied-b-0', 'a1', 't', 'slack', 'x', NULL, 5), \
                ('kind-id-0', 'a1', 'n', 'github', 'x', NULL, 1), ('agent-id-0', 'a2', 'n', 'external', 'x', NULL, 1), \
                ('same-value', 'a2', 'v', 'external', 'x', 'd2', 2)",
    )
    .execute(&mut connection)
    .await
    .unwrap();

    assert_eq!(store.pending().await.unwrap(), store.migrate().await.unwrap());

    let keys: Vec<(String, String, Option<String>)> =
        sqlx::query_as("SELECT id, name, api_key_digest FROM agent_api_keys ORDER BY id")
            .fetch_all(&mut connection)
            .await
            .unwrap();
    let keys: Vec<(&str, &str, Option<&str>)> =
        keys.iter().map(|(id, name, digest)| (id.as_str(), name.as_str(), digest.as_deref())).collect();
    assert_eq!(
        keys,
        [
            ("agent-id-0", "n", None),
            ("kind-id-0", "n", None),
            ("middle-id-00", "n (replaced middle-i)", Some("d3")),
            ("newest-id-00", "n", Some("d2")),
            ("older-id-000", "n (replaced older-id)", Some("d1")),
            ("same-value", "v", None),
            ("tied-a-0", "t (replaced tied-a-0)", Some("d4")),
            ("tied-b-0", "t", None),
        ]
    );
}

/// Each of these queries must stay cheap in a file with millions of rows.
#[tokio::test]
async fn what_is_asked_often_uses_an_index() {
    let fixture = Fixture::new().await;
    let mut connection = connect(&fixture.path()).await;
    for (query, index) in [
        ("SELECT id FROM authz_intents WHERE due_at <= 5 ORDER BY due_at, id LIMIT 9", "ix_authz_intents_due"),
        ("SELECT task_id FROM task_agents WHERE agent_id = 'a'", "ix_task_agents_agent_task"),
        (
            "SELECT id FROM agent_api_keys WHERE agent_id = 'a' ORDER BY created_at, id",
            "ix_agent_api_keys_agent_created",
        ),
        (
            "SELECT owner FROM authz_owners WHERE resource_type = 't' AND selector > 's' ORDER BY selector",
            "PRIMARY KEY",
        ),
        ("DELETE FROM registration_tokens WHERE agent_id = 'a'", "ix_registration_tokens_agent"),
    ] {
        let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {query}"));
        let plan: Vec<(i64, i64, i64, String)> = sqlx::query_as(explain).fetch_all(&mut connection).await.unwrap();
        assert_eq!(plan.len(), 1, "no sorting: {plan:?}");
        assert!(plan[0].3.starts_with("SEARCH") && plan[0].3.contains(index), "{query}: {plan:?}");
    }
}
