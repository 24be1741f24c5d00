use std::time::Duration;

use agentex_domain::ports::{StoreError, TaskInsert};
use agentex_sqlite::{SqliteOptions, SqliteStore};
use agentex_testkit::build::{agent, at, message, named_task, new_task, text};
use sqlx::Connection;

use crate::{Fixture, connect, open};

#[tokio::test]
async fn what_was_written_is_there_after_reopening_the_file() {
    let fixture = Fixture::new().await;
    let echo = agent("echo");
    let task = new_task(&echo);
    let said = message(&task.id, text("hello"), at(1));
    let stores = fixture.stores();
    stores.agents.insert(&echo, None).await.unwrap();
    stores.tasks.insert(&task, None).await.unwrap();
    assert!(stores.messages.insert(&task.id, std::slice::from_ref(&said)).await.unwrap());
    fixture.store.close().await;

    let reopened = open(&fixture.path()).await;

    let stores = reopened.stores();
    assert_eq!(stores.agents.find_by_name("echo").await.unwrap(), Some(echo));
    assert_eq!(stores.tasks.find(&task.id).await.unwrap(), Some(task.into_task()));
    assert_eq!(stores.messages.find(&said.id).await.unwrap(), Some(said));
}

#[tokio::test]
async fn two_stores_on_one_file_see_each_others_writes() {
    let fixture = Fixture::new().await;
    let second = open(&fixture.path()).await;
    let echo = agent("echo");
    let first = named_task(&echo, "same");
    let late = named_task(&echo, "same");

    fixture.stores().agents.insert(&echo, None).await.unwrap();
    fixture.stores().tasks.insert(&first, None).await.unwrap();

    assert_eq!(second.stores().agents.find(&echo.id).await.unwrap(), Some(echo));
    assert_eq!(second.stores().tasks.insert(&late, None).await.unwrap(), TaskInsert::NameTaken(first.into_task()));
}

/// Both writers queue for the file's lock; neither fails because the other has it.
#[tokio::test(flavor = "multi_thread")]
async fn two_stores_on_one_file_write_at_the_same_time() {
    let fixture = Fixture::new().await;
    let echo = agent("echo");
    fixture.stores().agents.insert(&echo, None).await.unwrap();
    let second = open(&fixture.path()).await;

    let writers = [fixture.stores(), second.stores()].map(|stores| {
        let echo = echo.clone();
        tokio::spawn(async move {
            for _ in 0..50 {
                stores.tasks.insert(&new_task(&echo), None).await.unwrap();
            }
        })
    });
    for writer in writers {
        writer.await.unwrap();
    }

    let (tasks,): (i64,) =
        sqlx::query_as("SELECT count(*) FROM tasks").fetch_one(&mut connect(&fixture.path()).await).await.unwrap();
    assert_eq!(tasks, 100);
}

#[tokio::test]
async fn a_file_that_stays_locked_is_unavailable_for_writes_and_readable() {
    let fixture = Fixture::new().await;
    let impatient = SqliteOptions { busy_timeout: Duration::from_millis(10), ..SqliteOptions::new(fixture.path()) };
    let store = SqliteStore::open(impatient).await.unwrap();
    let mut other = connect(&fixture.path()).await;
    let lock = other.begin_with("BEGIN IMMEDIATE").await.unwrap();

    let single = store.stores().agents.insert(&agent("echo"), None).await;
    let transaction = store.stores().tasks.insert(&new_task(&agent("echo")), None).await;
    let read = store.stores().agents.find_by_name("echo").await;

    assert!(matches!(single, Err(StoreError::Unavailable(_))), "{single:?}");
    assert!(matches!(transaction, Err(StoreError::Unavailable(_))), "{transaction:?}");
    assert_eq!(read.unwrap(), None);
    lock.rollback().await.unwrap();
    store.stores().agents.insert(&agent("echo"), None).await.unwrap();
}

#[tokio::test]
async fn a_closed_store_is_unavailable_and_leaves_one_file() {
    let fixture = Fixture::new().await;
    fixture.stores().agents.insert(&agent("echo"), None).await.unwrap();
    assert!(fixture.stores().agents.find_by_name("echo").await.unwrap().is_some());

    fixture.store.close().await;

    let refused = fixture.stores().agents.find_by_name("echo").await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    assert!(fixture.stores().probe.probe().await.is_err());
    let left: Vec<_> = std::fs::read_dir(fixture.folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left, [fixture.path()]);
}

#[tokio::test]
async fn what_is_not_a_database_is_unavailable_and_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    let notes = "not a database, but long enough to have a header that could be one ".repeat(4);
    std::fs::write(&path, &notes).unwrap();

    let refused = SqliteStore::open(SqliteOptions::new(&path)).await;

    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), notes);
    let in_a_file = SqliteStore::open(SqliteOptions::new(path.join("agentex.db"))).await;
    assert!(matches!(in_a_file, Err(StoreError::Unavailable(_))), "{in_a_file:?}");
}

#[tokio::test]
async fn names_that_mean_something_to_sqlite_are_just_files() {
    let folder = tempfile::tempdir().unwrap();
    for name in [":memory:", "file:x?mode=memory", "a b%20#?.db", "базы/данных.db"] {
        let path = folder.path().join(name);

        open(&path).await.migrate().await.unwrap();

        assert!(std::fs::metadata(&path).unwrap().len() > 0, "{name}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn new_files_and_folders_belong_to_the_owner_alone() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data/deep/agentex.db");
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;

    let store = open(&path).await;
    store.migrate().await.unwrap();

    assert_eq!(mode(path.parent().unwrap()), 0o700);
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(&path.with_file_name("agentex.db-wal")), 0o600);
    assert_eq!(mode(&path.with_file_name("agentex.db-shm")), 0o600);
}
