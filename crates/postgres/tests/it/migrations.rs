use std::collections::BTreeSet;

use agentex_domain::{AgentStatus, TaskStatus};
use agentex_postgres::{MigrateError, PgOptions, PgStore};
use agentex_testkit::services::postgres::{TestDatabase, fresh_database};
use sqlx::{AssertSqlSafe, PgPool};

use crate::database::{BASELINE, connect, migrated, options, round_the_store};
use crate::schema::facts;

/// A database as the reference leaves it at `revision`, with a few rows in it.
async fn reference_database(revision: &str) -> (TestDatabase, PgPool) {
    let place = fresh_database().await;
    let sql = round_the_store(&place).await;
    sqlx::raw_sql(BASELINE).execute(&sql).await.unwrap();
    sqlx::raw_sql(
        "INSERT INTO agents (id, name, description, status, acp_type) VALUES ('a', 'old', 'd', 'BUILDING', 'agentic');
         INSERT INTO tasks (id, name, status, params)
         VALUES ('t', 'chat', 'COMPLETED', 'null'), ('u', NULL, 'RUNNING', '{}');
         INSERT INTO task_agents (task_id, agent_id) VALUES ('t', 'a'), ('u', 'a');",
    )
    .execute(&sql)
    .await
    .unwrap();
    sqlx::query("UPDATE alembic_version SET version_num = $1").bind(revision).execute(&sql).await.unwrap();
    (place, sql)
}

async fn tables(sql: &PgPool) -> Vec<String> {
    sqlx::query_scalar("SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
        .fetch_all(sql)
        .await
        .unwrap()
}

/// How many migrations there are; the first is the reference's own schema.
fn files() -> u32 {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../migrations/postgres");
    std::fs::read_dir(folder).unwrap().count().try_into().unwrap()
}

#[tokio::test]
async fn migrating_again_does_nothing() {
    let place = fresh_database().await;
    let store = connect(place.url()).await;

    assert_eq!(store.pending().await.unwrap(), files());
    assert_eq!(store.migrate().await.unwrap(), files());
    assert_eq!(store.migrate().await.unwrap(), 0);
    assert_eq!(store.pending().await.unwrap(), 0);
}

#[tokio::test]
async fn asking_what_is_pending_changes_nothing_and_refuses_what_a_migration_would() {
    for (revision, pending) in [("a1b2c3d4e5f6", Some(files() - 1)), ("9a4b8c7d6e5f", None), ("ffffffffffff", None)] {
        let (place, sql) = reference_database(revision).await;
        let before = facts(&sql).await;

        let answer = connect(place.url()).await.pending().await;

        assert_eq!(answer.ok(), pending, "{revision}");
        assert_eq!(facts(&sql).await, before, "{revision}");
    }
}

/// The newest key keeps its name, the others get another one, and all of them go on working.
#[tokio::test]
async fn keys_of_one_name_are_told_apart_when_names_become_unique() {
    let (place, sql) = reference_database("a1b2c3d4e5f6").await;
    let long = "x".repeat(256);
    for (id, name, kind, second) in [
        ("aaaaaaaa-old", "hook", "GITHUB", Some(1)),
        ("bbbbbbbb-new", "hook", "GITHUB", Some(2)),
        ("cccccccc-none", "hook", "GITHUB", None),
        ("dddddddd-other", "hook", "SLACK", Some(0)),
        ("eeeeeeee-1", "twin", "EXTERNAL", Some(1)),
        ("eeeeeeee-2", "twin", "EXTERNAL", Some(2)),
        ("eeeeeeee-3", "twin", "EXTERNAL", Some(3)),
        ("ffffffff-1", &long, "EXTERNAL", Some(1)),
        ("ffffffff-2", &long, "EXTERNAL", Some(2)),
    ] {
        sqlx::query(
            "INSERT INTO agent_api_keys (id, agent_id, name, api_key_type, api_key, created_at)
             VALUES ($1, 'a', $2, $3::agentapikeytype, $1, to_timestamp($4))",
        )
        .bind(id)
        .bind(name)
        .bind(kind)
        .bind(second)
        .execute(&sql)
        .await
        .unwrap();
    }

    connect(place.url()).await.migrate().await.unwrap();

    let names: Vec<(String, String)> =
        sqlx::query_as("SELECT id::text, name::text FROM agent_api_keys ORDER BY id").fetch_all(&sql).await.unwrap();
    let name = |wanted: &str| names.iter().find(|(id, _)| id == wanted).unwrap().1.as_str();
    assert_eq!(name("aaaaaaaa-old"), "hook (replaced aaaaaaaa)");
    assert_eq!(name("bbbbbbbb-new"), "hook");
    assert_eq!(name("cccccccc-none"), "hook (replaced cccccccc)");
    assert_eq!(name("dddddddd-other"), "hook");
    assert_eq!(name("eeeeeeee-3"), "twin");
    let twins: BTreeSet<&str> = ["eeeeeeee-1", "eeeeeeee-2", "eeeeeeee-3"].map(name).into();
    assert_eq!(twins.len(), 3, "{twins:?}");
    assert!(twins.iter().all(|name| name.starts_with("twin")), "{twins:?}");
    assert_eq!(name("ffffffff-2"), long);
    assert_eq!(name("ffffffff-1"), format!("{} (replaced ffffffff)", &long[..236]));
}
#[tokio::test(flavor = "multi_thread")]
async fn of_several_instances_that_migrate_at_once_one_does_and_the_others_wait() {
    let place = fresh_database().await;
    let (one, two, three) = tokio::join!(connect(place.url()), connect(place.url()), connect(place.url()));

    let (one, two, three) = tokio::join!(one.migrate(), two.migrate(), three.migrate());

    let mut applied = [one.unwrap(), two.unwrap(), three.unwrap()];
    applied.sort_unstable();
    assert_eq!(applied, [0, 0, files()]);
}

#[tokio::test]
async fn a_database_of_the_reference_is_adopted_and_only_added_to() {
    let (place, sql) = reference_database("a1b2c3d4e5f6").await;
    let before: BTreeSet<String> = facts(&sql).await.into_iter().collect();
    let store = connect(place.url()).await;

    assert_eq!(store.migrate().await.unwrap(), files() - 1, "the baseline is only recorded");

    let after: BTreeSet<String> = facts(&sql).await.into_iter().collect();
    assert_eq!(before.difference(&after).collect::<Vec<_>>(), Vec::<&String>::new());
    let fresh: BTreeSet<String> = facts(&migrated().await.sql).await.into_iter().collect();
    assert_eq!(after, fresh);
    let stores = store.stores();
    assert_eq!(stores.agents.find_by_name("old").await.unwrap().unwrap().status, AgentStatus::Unknown);
    let task = stores.tasks.find_by_name("chat").await.unwrap().unwrap();
    assert_eq!((task.status, task.params), (TaskStatus::Completed, None));
    assert_eq!(stores.tasks.agents_of(&["t".into(), "u".into()]).await.unwrap().len(), 2);
    assert_eq!(store.migrate().await.unwrap(), 0);
}

#[tokio::test]
async fn an_older_database_of_the_reference_is_refused_untouched() {
    let (place, sql) = reference_database("9a4b8c7d6e5f").await;
    let before = tables(&sql).await;

    let refused = connect(place.url()).await.migrate().await.unwrap_err();

    assert_eq!(
        refused.to_string(),
        "Database is at alembic revision 9a4b8c7d6e5f; upgrade the reference to a1b2c3d4e5f6 first"
    );
    assert_eq!(tables(&sql).await, before);
}

#[tokio::test]
async fn an_unknown_revision_is_refused_unless_it_was_allowed() {
    let (place, sql) = reference_database("ffffffffffff").await;
    let before = tables(&sql).await;

    let refused = connect(place.url()).await.migrate().await.unwrap_err();

    assert!(matches!(&refused, MigrateError::UnknownReference { revision } if revision == "ffffffffffff"));
    assert!(refused.to_string().contains("ALLOW_UNKNOWN_BASELINE"), "{refused}");
    assert_eq!(tables(&sql).await, before);

    let allowed = PgOptions { allow_unknown_baseline: true, ..options(place.url()) };
    assert_eq!(PgStore::connect(allowed).await.unwrap().migrate().await.unwrap(), files() - 1);
}

#[tokio::test]
async fn a_migration_that_does_not_get_its_lock_leaves_nothing_behind_and_succeeds_later() {
    let (place, sql) = reference_database("a1b2c3d4e5f6").await;
    let before = facts(&sql).await;
    let mut holder = sql.begin().await.unwrap();
    sqlx::query("LOCK TABLE tasks IN ACCESS EXCLUSIVE MODE").execute(&mut *holder).await.unwrap();
    let store = connect(place.url()).await;

    let refused = store.migrate().await.unwrap_err();

    assert!(matches!(refused, MigrateError::Refused { name: "product", .. }), "{refused:?}");
    holder.rollback().await.unwrap();
    let after: Vec<String> =
        facts(&sql).await.into_iter().filter(|fact| !fact.contains("agentex_migrations")).collect();
    assert_eq!(after, before);
    assert_eq!(store.migrate().await.unwrap(), files() - 1);
}

#[tokio::test]
async fn an_index_that_an_interrupted_build_left_behind_is_built_anew() {
    let (place, sql) = reference_database("a1b2c3d4e5f6").await;
    sqlx::raw_sql("CREATE UNIQUE INDEX CONCURRENTLY ix_task_agents_agent_task ON task_agents (agent_id)")
        .execute(&sql)
        .await
        .expect_err("two links of one agent make the build fail half-way");
    assert!(facts(&sql).await.iter().any(|fact| fact.ends_with("INVALID")));

    connect(place.url()).await.migrate().await.unwrap();

    let index = "index CREATE INDEX ix_task_agents_agent_task ON public.task_agents USING btree (agent_id, task_id)";
    let facts = facts(&sql).await;
    assert!(facts.iter().any(|fact| fact == index), "{facts:#?}");
    assert!(!facts.iter().any(|fact| fact.ends_with("INVALID")));
}

#[tokio::test]
async fn a_database_with_strange_tables_is_refused_untouched() {
    let place = fresh_database().await;
    let sql = round_the_store(&place).await;
    sqlx::raw_sql("CREATE TABLE tasks (other text)").execute(&sql).await.unwrap();

    let refused = connect(place.url()).await.migrate().await.unwrap_err();

    assert!(matches!(refused, MigrateError::Refused { name: "baseline", .. }), "{refused:?}");
    assert_eq!(tables(&sql).await, ["agentex_migrations", "tasks"]);
}

#[tokio::test]
async fn a_role_that_may_not_create_tables_can_use_a_database_that_is_up_to_date() {
    let database = migrated().await;
    // Roles belong to the whole server, so the name is the database's.
    let role = database.place.name();
    sqlx::raw_sql(AssertSqlSafe(format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'p'; REVOKE CREATE ON SCHEMA public FROM PUBLIC;
         GRANT SELECT ON agentex_migrations TO {role};"
    )))
    .execute(&database.sql)
    .await
    .unwrap();
    let url = as_role(database.place.url(), role);

    let applied = connect(&url).await.migrate().await;

    sqlx::raw_sql(AssertSqlSafe(format!("DROP OWNED BY {role}; DROP ROLE {role}")))
        .execute(&database.sql)
        .await
        .unwrap();
    assert_eq!(applied.unwrap(), 0);
}

fn as_role(url: &str, role: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap();
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    format!("{scheme}://{role}:p@{host}")
}
