use agentex_authz::Scope;
use agentex_domain::ports::TaskFilter;
use agentex_domain::{MessageFilter, PageRequest, TimeDirection};
use agentex_testkit::build::object;
use serde_json::json;

use crate::database::{Database, migrated};

/// Entries read through the index so far. A session reports what it read at the latest when it ends, so the store
/// must be closed; this waits until the server has noticed.
async fn read_through(database: &Database, index: &str) -> i64 {
    database.store.close().await;
    while sqlx::query_scalar::<_, bool>(
        "SELECT EXISTS (SELECT 1 FROM pg_stat_activity
                         WHERE datname = current_database() AND application_name = 'agentex')",
    )
    .fetch_one(&database.sql)
    .await
    .unwrap()
    {
        tokio::task::yield_now().await;
    }
    let read: (i64, i64) =
        sqlx::query_as("SELECT idx_scan, idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = $1")
            .bind(index)
            .fetch_one(&database.sql)
            .await
            .unwrap();
    assert!(read.0 > 0, "{index} was not used");
    read.1
}

async fn many_tasks() -> Database {
    let database = migrated().await;
    database
        .run(
            "INSERT INTO tasks (id, status, task_metadata, created_at, updated_at)
             SELECT 't' || n, 'RUNNING', jsonb_build_object('n', n), to_timestamp(-n), to_timestamp(-n)
               FROM generate_series(1, 20000) AS n;
             ANALYZE tasks;",
        )
        .await;
    database
}

fn all_tasks() -> TaskFilter {
    TaskFilter { scope: Scope::All, agent_id: None, agent_name: None, status: None, task_metadata: None }
}

/// Repeated, because the server settles on a plan for a prepared statement only after some executions.
const TIMES: usize = 8;

#[tokio::test]
async fn tasks_are_found_by_metadata_through_the_gin_index() {
    let database = many_tasks().await;
    let filter = TaskFilter { task_metadata: Some(object(json!({"n": 777}))), ..all_tasks() };

    for _ in 0..TIMES {
        let page = PageRequest::default();
        let found = database.stores.tasks.list(&filter, Default::default(), Default::default(), page).await.unwrap();
        assert_eq!(found.len(), 1);
    }

    assert!(read_through(&database, "ix_tasks_metadata_gin").await < 100);
}

#[tokio::test]
async fn the_first_page_of_tasks_reads_only_that_page() {
    let database = many_tasks().await;

    for _ in 0..TIMES {
        let page = PageRequest { limit: 20, page_number: 1 };
        let found =
            database.stores.tasks.list(&all_tasks(), Default::default(), Default::default(), page).await.unwrap();
        assert_eq!(found[0].id.as_str(), "t1");
    }

    assert!(read_through(&database, "ix_tasks_updated_created").await < 1000);
}

#[tokio::test]
async fn message_pages_read_only_their_page_in_both_directions() {
    let database = migrated().await;
    database
        .run(
            "INSERT INTO tasks (id, status) VALUES ('t', 'RUNNING');
             INSERT INTO task_messages (id, task_id, content, created_at, updated_at)
             SELECT 'm' || n, 't', '{\"type\": \"text\", \"author\": \"user\", \"content\": \"x\"}',
                    to_timestamp(n), to_timestamp(n)
               FROM generate_series(1, 10000) AS n;
             ANALYZE task_messages;",
        )
        .await;
    let (messages, task, filter) = (&database.stores.messages, "t".into(), MessageFilter::default());

    for direction in [TimeDirection::Older, TimeDirection::Newer] {
        let mut cursor = None;
        for _ in 0..TIMES {
            let page = messages.page(&task, &filter, cursor, direction, 20).await.unwrap();
            assert_eq!(page.messages.len(), 20);
            cursor = page.next;
        }
    }

    let read = read_through(&database, "ix_task_messages_task_created").await;
    assert!(read < 1000, "{read} entries for {} pages of 20", 2 * TIMES);
}
