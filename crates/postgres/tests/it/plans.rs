use agentex_authz::{ResourceKind, Scope};
use agentex_domain::ports::{ApiKeyFilter, TaskFilter, TaskOrder};
use agentex_domain::{Direction, MessageFilter, PageRequest, Task, TaskStatus, TimeDirection};
use agentex_testkit::build::{at, object};
use serde_json::json;

use crate::database::{Database, migrated};

async fn read_through(database: &Database, index: &'static str) -> i64 {
    read_through_any(database, &[index]).await
}

/// Entries read through these indexes so far, at least one of which must have been used. A session reports what it read at the latest when it ends, so the store
/// must be closed; this waits until the server has noticed.
async fn read_through_any(database: &Database, indexes: &[&'static str]) -> i64 {
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
    let read: (i64, i64) = sqlx::query_as(
        "SELECT sum(idx_scan)::bigint, sum(idx_tup_read)::bigint
           FROM pg_stat_user_indexes
          WHERE indexrelname = ANY($1)",
    )
    .bind(indexes)
    .fetch_one(&database.sql)
    .await
    .unwrap();
    assert!(read.0 > 0, "{indexes:?} was not used");
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
    TaskFilter {
        scope: Scope::All,
        linked_to: None,
        agent_id: None,
        agent_name: None,
        status: None,
        task_metadata: None,
    }
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

    assert!(read_through(&database, "ix_tasks_live_updated").await < 1000);
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

/// Every task is linked to the agent `all`, one in 700 to `few`.
async fn many_linked_tasks() -> Database {
    let database = many_tasks().await;
    database
        .run(
            "INSERT INTO agents (id, name, description, status)
             VALUES ('all', 'all', '', 'READY'), ('few', 'few', '', 'READY');
             INSERT INTO task_agents (task_id, agent_id) SELECT id, 'all' FROM tasks;
             INSERT INTO task_agents (task_id, agent_id) SELECT 't' || n * 700, 'few' FROM generate_series(1, 28) AS n;
             ANALYZE task_agents;",
        )
        .await;
    database
}

#[tokio::test]
async fn tasks_linked_to_an_agent_are_found_through_the_link() {
    let database = many_linked_tasks().await;
    let filter = TaskFilter { linked_to: Some("few".into()), ..all_tasks() };

    for _ in 0..TIMES {
        let page = PageRequest { limit: 20, page_number: 1 };
        let found = database.stores.tasks.list(&filter, Default::default(), Default::default(), page).await.unwrap();
        assert_eq!((found.len(), found[0].id.as_str()), (20, "t700"));
    }

    assert!(read_through(&database, "ix_task_agents_agent_task").await < 1000);
}

async fn list(database: &Database, scope: &Scope, direction: Direction, page_number: u64) -> Vec<Task> {
    let filter = TaskFilter { scope: scope.clone(), ..all_tasks() };
    let page = PageRequest { limit: 20, page_number };
    database.stores.tasks.list(&filter, TaskOrder::UpdatedAt, direction, page).await.unwrap()
}

fn numbers(tasks: &[Task]) -> Vec<u32> {
    tasks.iter().map(|task| task.id.as_str()[1..].parse().unwrap()).collect()
}

/// authz §7: 79
#[tokio::test]
async fn many_visible_tasks_are_found_at_the_head_of_the_list() {
    let database = many_tasks().await;
    let scope = Scope::Only((1..=2_000).map(|n| format!("t{}", n * 5)).collect());

    for _ in 0..TIMES {
        let first = list(&database, &scope, Direction::Descending, 1).await;
        assert_eq!(numbers(&first), (1..=20).map(|n| n * 5).collect::<Vec<_>>());
        let third = list(&database, &scope, Direction::Descending, 3).await;
        assert_eq!(numbers(&third), (41..=60).map(|n| n * 5).collect::<Vec<_>>());
        let oldest = list(&database, &scope, Direction::Ascending, 1).await;
        assert_eq!(numbers(&oldest), (0..20).map(|n| 10_000 - n * 5).collect::<Vec<_>>());
    }

    let read = read_through(&database, "ix_tasks_live_updated").await;
    assert!(read < i64::try_from(TIMES).unwrap() * 12_000, "{read} entries");
}

/// authz §7: 79, 111
#[tokio::test]
async fn among_many_visible_tasks_the_other_filters_count_too() {
    let database = many_linked_tasks().await;
    database
        .run(
            "UPDATE tasks SET status = 'COMPLETED' WHERE (task_metadata ->> 'n')::int % 10 = 0;
             UPDATE tasks SET status = 'DELETED' WHERE (task_metadata ->> 'n')::int % 30 = 0;
             ANALYZE tasks;",
        )
        .await;
    let scope = Scope::Only((1..=3_000).map(|n| format!("t{}", n * 5)).collect());
    let seen = |filter: TaskFilter, order: TaskOrder| {
        let (tasks, scope) = (database.stores.tasks.clone(), scope.clone());
        async move {
            let (filter, page) = (TaskFilter { scope, ..filter }, PageRequest { limit: 3, page_number: 2 });
            numbers(&tasks.list(&filter, order, Direction::Descending, page).await.unwrap())
        }
    };

    let completed = TaskFilter { status: Some(TaskStatus::Completed), ..all_tasks() };
    assert_eq!(seen(completed, TaskOrder::UpdatedAt).await, [50, 70, 80]);
    assert_eq!(seen(all_tasks(), TaskOrder::UpdatedAt).await, [20, 25, 35]);
    assert_eq!(seen(all_tasks(), TaskOrder::CreatedAt).await, [20, 25, 35]);
    let linked = TaskFilter { linked_to: Some("few".into()), ..all_tasks() };
    assert_eq!(seen(linked, TaskOrder::UpdatedAt).await, [3_500, 4_900, 5_600]);
    let one = TaskFilter { task_metadata: Some(object(json!({"n": 35}))), ..all_tasks() };
    assert_eq!(seen(one, TaskOrder::UpdatedAt).await, Vec::<u32>::new(), "the only one is on the first page");
}

/// Behind twenty thousand newer tasks of others.
#[tokio::test]
async fn many_visible_tasks_that_are_old_are_looked_up_one_by_one() {
    let database = many_tasks().await;
    database
        .run(
            "INSERT INTO tasks (id, status, created_at, updated_at)
             SELECT 'new' || n, 'RUNNING', to_timestamp(n), to_timestamp(n) FROM generate_series(1, 40000) AS n;
             ANALYZE tasks;",
        )
        .await;
    let scope = Scope::Only((1..=2_000).map(|n| format!("t{}", n * 5)).collect());

    for _ in 0..TIMES {
        let second = list(&database, &scope, Direction::Descending, 2).await;
        assert_eq!(numbers(&second), (21..=40).map(|n| n * 5).collect::<Vec<_>>());
        assert_eq!(numbers(&list(&database, &scope, Direction::Descending, 101).await), Vec::<u32>::new());
    }

    let read = read_through(&database, "ix_tasks_live_updated").await;
    assert!(read <= i64::try_from(2 * TIMES).unwrap() * 20_000, "{read} entries: the whole table was read");
}

/// What is remembered of one list must not show in the next.
#[tokio::test]
async fn lists_of_many_visible_tasks_follow_what_happens_to_them() {
    let database = many_tasks().await;
    let visible = |last: u32| Scope::Only((1..=last).map(|n| format!("t{}", n * 5)).collect());
    let changes = [
        "SELECT 1",
        "UPDATE tasks SET updated_at = to_timestamp(5) WHERE id = 't5000'",
        "UPDATE tasks SET updated_at = to_timestamp(-100000) WHERE id IN ('t5', 't15', 't20')",
        "UPDATE tasks SET status = 'DELETED' WHERE id IN ('t10', 't25')",
        "UPDATE tasks SET status = 'RUNNING' WHERE id = 't10'",
        "UPDATE tasks SET status = 'COMPLETED' WHERE id IN ('t30', 't35')",
        "UPDATE tasks SET name = 'renamed' WHERE id = 't40'",
        "INSERT INTO tasks (id, status, created_at, updated_at) VALUES ('t10045', 'RUNNING', to_timestamp(9), to_timestamp(9))
         ON CONFLICT (id) DO UPDATE SET updated_at = EXCLUDED.updated_at",
        "UPDATE tasks SET updated_at = updated_at + interval '7 s' WHERE length(id) = 5 AND right(id, 1) = '5'",
        "UPDATE tasks SET updated_at = NULL WHERE id = 't50'",
        "UPDATE tasks SET created_at = NULL, updated_at = to_timestamp(8) WHERE id = 't55'",
    ];

    for (round, change) in (0..).zip(changes) {
        database.run(change).await;
        let last = 2_000 + round % 4 * 30;
        for (status, direction, page_number) in [
            (None, Direction::Descending, 1),
            (None, Direction::Ascending, 1),
            (None, Direction::Descending, 50),
            (Some(TaskStatus::Running), Direction::Descending, 2),
            (Some(TaskStatus::Completed), Direction::Ascending, 1),
        ] {
            let filter = TaskFilter { scope: visible(last), status, ..all_tasks() };
            let page = PageRequest { limit: 20, page_number };
            let found = database.stores.tasks.list(&filter, TaskOrder::UpdatedAt, direction, page).await.unwrap();
            let way = if direction == Direction::Descending { "DESC" } else { "ASC" };
            let expected: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
                "SELECT id FROM tasks
                  WHERE id IN (SELECT 't' || n * 5 FROM generate_series(1, {last}) AS n) AND status <> 'DELETED'
                    AND (status::text = $1 OR $1 IS NULL)
                  ORDER BY updated_at {way}, created_at {way}, id {way}
                  LIMIT 20 OFFSET {}",
                (page_number - 1) * 20
            )))
            .bind(status.map(|status| status.as_str()))
            .fetch_all(&database.sql)
            .await
            .unwrap();
            let found: Vec<&str> = found.iter().map(|task| task.id.as_str()).collect();
            assert_eq!(found, expected, "{change}: {status:?} {direction:?} {page_number}");
        }
    }

    let read = read_through(&database, "ix_tasks_changed").await;
    assert!(read < 50_000, "{read} entries");
}

#[tokio::test]
async fn a_few_visible_tasks_are_found_by_their_keys() {
    let database = many_tasks().await;
    let scope = Scope::Only((1..=30).map(|n| format!("t{}", n * 600)).collect());

    for _ in 0..TIMES {
        let found = list(&database, &scope, Direction::Descending, 1).await;
        assert_eq!(numbers(&found), (1..=20).map(|n| n * 600).collect::<Vec<_>>());
    }

    assert!(read_through(&database, "tasks_pkey").await <= 30 * i64::try_from(TIMES).unwrap());
}

#[tokio::test]
async fn keys_of_an_agent_are_found_through_an_index() {
    let database = migrated().await;
    database
        .run(
            "INSERT INTO agents (id, name, description, status)
             SELECT 'a' || n, 'a' || n, '', 'READY' FROM generate_series(1, 2000) AS n;
             INSERT INTO agent_api_keys (id, agent_id, name, api_key_type, api_key)
             SELECT 'k' || n, 'a' || 1 + n % 2000, 'n' || n, 'EXTERNAL', 'x' FROM generate_series(1, 20000) AS n;
             ANALYZE agent_api_keys;",
        )
        .await;
    let filter = ApiKeyFilter { scope: Scope::All, agent_id: "a7".into(), kind: None };

    for _ in 0..TIMES {
        let found = database.stores.api_keys.list(&filter, PageRequest::default()).await.unwrap();
        assert_eq!(found.len(), 10);
    }

    // Either begins with the agent.
    let indexes = ["idx_agent_api_keys_agent", "uq_agent_api_keys_agent_name_type"];
    assert!(read_through_any(&database, &indexes).await < 1000);
}

const MANY_INTENTS_AND_OWNERS: &str = "
    INSERT INTO authz_intents (id, resource_type, selector, owner, step, created_at, due_at)
    SELECT 'i' || n, 'task', 't' || n, '{}', 'granting', to_timestamp(0), to_timestamp(n)
      FROM generate_series(1, 20000) AS n;
    INSERT INTO authz_owners (resource_type, selector, owner, created_at)
    SELECT kind, 't' || n, '{}', to_timestamp(0)
      FROM generate_series(1, 20000) AS n, unnest(ARRAY['task', 'agent']) AS kind;
    ANALYZE authz_intents, authz_owners;";

#[tokio::test]
async fn a_claim_reads_only_what_it_takes() {
    let database = migrated().await;
    database.run(MANY_INTENTS_AND_OWNERS).await;
    // The builder's clock begins later than the rows.
    let (now, until) = (at(0), at(1_000_000));

    for _ in 0..TIMES {
        assert_eq!(database.stores.intents.claim(now, until, 20).await.unwrap().len(), 20);
    }

    assert!(read_through(&database, "ix_authz_intents_due").await < 1000);
}

#[tokio::test]
async fn a_page_of_owners_and_a_page_of_unowned_rows_read_only_that_page() {
    let database = many_tasks().await;
    database.run(MANY_INTENTS_AND_OWNERS).await;
    database.run("DELETE FROM authz_owners WHERE resource_type = 'task' AND selector LIKE 't1999_'").await;
    let owners = &database.stores.owners;

    let mut after = None;
    for _ in 0..TIMES {
        let page = owners.page(ResourceKind::Task, after, 20).await.unwrap();
        assert_eq!(page.len(), 20);
        after = page.last().map(|ownership| ownership.resource.selector.clone());
        let unowned = owners.unowned(ResourceKind::Task, Some("t1998".into()), 10).await.unwrap();
        assert_eq!(unowned.len(), 10);
    }

    assert!(read_through(&database, "authz_owners_pkey").await < 1000);
}
