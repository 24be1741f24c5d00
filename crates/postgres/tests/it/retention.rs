//! What happens to a task while it is cleaned.

use agentex_domain::ports::{CleanOrder, Cleaned};
use agentex_domain::{CleanExtent, CleanRules, Message, TaskId, Transition};
use agentex_testkit::build::{agent, at, new_task, text};

use crate::database::{Database, migrated};

const FORCED: CleanRules = CleanRules { idle_since: None, abandoned_since: None };

/// A task that ended, and its agent's id.
async fn ended(database: &Database) -> (TaskId, agentex_domain::AgentId) {
    let agent = agent("a");
    database.stores.agents.insert(&agent, None).await.unwrap();
    let task = new_task(&agent);
    database.stores.tasks.insert(&task, None).await.unwrap();
    database.stores.tasks.transition(&task.id, Transition::Fail, "failed", at(1)).await.unwrap();
    (task.id, agent.id)
}

fn cleaning(database: &Database, task_id: &TaskId) -> tokio::task::JoinHandle<Cleaned> {
    let (stores, task_id) = (database.stores.clone(), task_id.clone());
    let order = CleanOrder { rules: FORCED, extent: CleanExtent::Everything, deleted_too: false, at: at(100) };
    tokio::spawn(async move { stores.retention.clean(&task_id, &order).await.unwrap() })
}

/// Waits until that many statements of this database wait for a lock.
async fn until_waiting(database: &Database, count: i64) {
    const WAITING: &str = "SELECT count(*) FROM pg_stat_activity
                            WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while sqlx::query_scalar::<_, i64>(WAITING).fetch_one(&database.sql).await.unwrap() < count {
        tokio::task::yield_now().await;
    }
}

/// retention §8: 21
///
/// The guards have been passed when the event, the message and the transition arrive; they wait, and nothing of them is lost.
#[tokio::test(flavor = "multi_thread")]
async fn what_arrives_during_a_clean_waits_for_it_and_stays() {
    let database = migrated().await;
    let (task_id, agent_id) = ended(&database).await;
    let old = Message::new(task_id.clone(), text("old"), None, at(1));
    database.stores.messages.insert(&task_id, std::slice::from_ref(&old)).await.unwrap();
    // The clean deletes messages right after its guards, and cannot go on while this one is held.
    let mut holder = database.sql.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM task_messages FOR UPDATE").execute(&mut *holder).await.unwrap();

    let clean = cleaning(&database, &task_id);
    until_waiting(&database, 1).await;
    let late = Message::new(task_id.clone(), text("late"), None, at(2));
    let arriving = tokio::spawn({
        let (stores, task_id, late) = (database.stores.clone(), task_id.clone(), late.clone());
        async move {
            let (event, message) = tokio::join!(
                stores.events.append(&task_id, &agent_id, None, at(2)),
                stores.messages.insert(&task_id, std::slice::from_ref(&late)),
            );
            assert!(message.unwrap());
            event.unwrap()
        }
    });
    until_waiting(&database, 3).await;
    holder.commit().await.unwrap();

    let Cleaned::Done { counts, .. } = clean.await.unwrap() else { panic!("not cleaned") };
    assert_eq!((counts.messages, counts.events), (1, 0));
    let event = arriving.await.unwrap();
    assert_eq!(database.stores.events.find(&event.id).await.unwrap(), Some(event));
    assert_eq!(database.stores.messages.find(&late.id).await.unwrap(), Some(late));
    assert_eq!(database.stores.messages.find(&old.id).await.unwrap(), None);
    // With contents that came after the clean the task is not clean.
    assert_eq!(database.stores.tasks.find(&task_id).await.unwrap().unwrap().cleaned_at, None);
}

/// The guards look at what is there once the task is locked, not at what was there when the clean was asked for.
#[tokio::test(flavor = "multi_thread")]
async fn a_clean_sees_the_event_it_waited_for() {
    let database = migrated().await;
    let (task_id, agent_id) = ended(&database).await;
    let mut open = database.sql.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM tasks FOR NO KEY UPDATE").execute(&mut *open).await.unwrap();

    let clean = cleaning(&database, &task_id);
    until_waiting(&database, 1).await;
    sqlx::query("INSERT INTO events (id, task_id, agent_id) VALUES ('e', $1, $2)")
        .bind(task_id.as_str())
        .bind(agent_id.as_str())
        .execute(&mut *open)
        .await
        .unwrap();
    open.commit().await.unwrap();

    let refusal = agentex_domain::CleanRefusal::UnprocessedEvents;
    assert_eq!(clean.await.unwrap(), Cleaned::Refused(refusal));
}

/// retention §8: 20
#[tokio::test(flavor = "multi_thread")]
async fn a_task_of_several_agents_is_a_shared_candidate() {
    let database = migrated().await;
    let (task_id, _) = ended(&database).await;
    let other = agent("other");
    database.stores.agents.insert(&other, None).await.unwrap();
    sqlx::query("INSERT INTO task_agents (task_id, agent_id) VALUES ($1, $2)")
        .bind(task_id.as_str())
        .bind(other.id.as_str())
        .execute(&database.sql)
        .await
        .unwrap();

    let found = database.stores.retention.candidates(&["a".to_owned()], at(50), None, 10).await.unwrap();

    assert_eq!(found.iter().map(|found| (&found.task_id, found.is_shared)).collect::<Vec<_>>(), [(&task_id, true)]);
}

/// A task that the reference made and left columns of empty is exported, cleaned and filled like others.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_without_status_and_times_is_idle_and_not_running() {
    let database = migrated().await;
    let (task_id, _) = ended(&database).await;
    database.run("UPDATE tasks SET status = NULL, created_at = NULL, updated_at = NULL").await;

    let activity = database.stores.retention.activity(&task_id).await.unwrap().unwrap();
    assert_eq!((activity.is_running, activity.last_interaction), (false, None));
    assert!(database.stores.retention.export(&task_id).await.unwrap().is_some());
    assert!(matches!(cleaning(&database, &task_id).await.unwrap(), Cleaned::Done { .. }));
}
