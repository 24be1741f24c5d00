use std::collections::BTreeSet;

use sqlx::PgPool;

use crate::database::migrated;

/// One line per fact: columns with type, nullability and default, constraints, indexes and enum labels.
pub(crate) async fn facts(sql: &PgPool) -> Vec<String> {
    sqlx::query_scalar(
        "WITH ours AS (
             SELECT c.oid, c.relname
               FROM pg_class c
              WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
         )
         SELECT format('column %s.%s %s%s%s', t.relname, a.attname, format_type(a.atttypid, a.atttypmod),
                       CASE WHEN a.attnotnull THEN ' not null' ELSE '' END,
                       CASE WHEN a.attidentity <> '' THEN ' identity'
                            ELSE COALESCE(' default ' || pg_get_expr(d.adbin, d.adrelid), '') END)
           FROM ours t
           JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
           LEFT JOIN pg_attrdef d ON d.adrelid = t.oid AND d.adnum = a.attnum
         UNION ALL
         SELECT format('constraint %s.%s %s', t.relname, c.conname, pg_get_constraintdef(c.oid))
           FROM ours t
           JOIN pg_constraint c ON c.conrelid = t.oid
         UNION ALL
         SELECT format('index %s%s', pg_get_indexdef(i.indexrelid), CASE WHEN i.indisvalid THEN '' ELSE ' INVALID' END)
           FROM ours t
           JOIN pg_index i ON i.indrelid = t.oid
         UNION ALL
         SELECT format('enum %s %s', t.typname, string_agg(e.enumlabel, ' ' ORDER BY e.enumsortorder))
           FROM pg_type t
           JOIN pg_enum e ON e.enumtypid = t.oid
          WHERE t.typnamespace = 'public'::regnamespace
          GROUP BY t.typname
         ORDER BY 1",
    )
    .fetch_all(sql)
    .await
    .unwrap()
}

#[tokio::test]
async fn an_empty_database_gets_exactly_the_schema_that_was_reviewed() {
    let database = migrated().await;

    let found: BTreeSet<String> = facts(&database.sql).await.into_iter().collect();

    let reviewed: BTreeSet<String> = include_str!("schema.txt").lines().map(str::to_owned).collect();
    let missing: Vec<_> = reviewed.difference(&found).collect();
    let unexpected: Vec<_> = found.difference(&reviewed).collect();
    assert!(missing.is_empty() && unexpected.is_empty(), "missing: {missing:#?}\nunexpected: {unexpected:#?}");
}

#[tokio::test]
async fn seeds_tell_other_migrators_that_nothing_is_left_to_do() {
    let database = migrated().await;

    let langgraph: Vec<i32> =
        sqlx::query_scalar("SELECT v FROM checkpoint_migrations ORDER BY v").fetch_all(&database.sql).await.unwrap();
    let alembic: Vec<String> =
        sqlx::query_scalar("SELECT version_num::text FROM alembic_version").fetch_all(&database.sql).await.unwrap();

    assert_eq!(langgraph, (0..10).collect::<Vec<_>>());
    assert_eq!(alembic, ["a1b2c3d4e5f6"]);
}

#[tokio::test]
async fn the_schema_itself_refuses_two_active_schedules_of_one_name_and_two_production_deployments() {
    let database = migrated().await;
    database
        .run(
            "INSERT INTO agents (id, name, description, status) VALUES ('a', 'a', '', 'READY');
             INSERT INTO agent_run_schedules (id, agent_id, name, creator_principal, initial_input)
             VALUES ('s1', 'a', 'nightly', '{}', '{}');
             INSERT INTO deployments (id, agent_id, docker_image, is_production) VALUES ('d1', 'a', 'i', true);",
        )
        .await;
    const SCHEDULE: &str = "INSERT INTO agent_run_schedules (id, agent_id, name, creator_principal, initial_input)
                            VALUES ('s2', 'a', 'nightly', '{}', '{}')";
    const DEPLOYMENT: &str =
        "INSERT INTO deployments (id, agent_id, docker_image, is_production) VALUES ('d2', 'a', 'i', true)";

    for statement in [SCHEDULE, DEPLOYMENT] {
        let refused = sqlx::query(statement).execute(&database.sql).await.unwrap_err();
        assert_eq!(refused.as_database_error().and_then(|e| e.code()).as_deref(), Some("23505"), "{statement}");
    }

    database.run("UPDATE agent_run_schedules SET deleted_at = now() WHERE id = 's1'").await;
    sqlx::query(SCHEDULE).execute(&database.sql).await.unwrap();
}

/// states §6: 27
#[tokio::test]
async fn spans_outlive_their_task() {
    let database = migrated().await;
    database
        .run(
            "INSERT INTO tasks (id, status) VALUES ('t', 'RUNNING');
             INSERT INTO spans (id, trace_id, task_id, name, start_time) VALUES ('s', 't', 't', 'n', now());
             DELETE FROM tasks WHERE id = 't';",
        )
        .await;

    let task: Option<String> =
        sqlx::query_scalar("SELECT task_id FROM spans WHERE id = 's'").fetch_one(&database.sql).await.unwrap();

    assert_eq!(task, None);
}
