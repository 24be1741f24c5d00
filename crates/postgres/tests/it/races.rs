use agentex_testkit::build::{agent, at, internal_key, new_task, text};

use crate::database::migrated;

#[tokio::test(flavor = "multi_thread")]
async fn deleting_an_agent_also_drops_a_key_that_was_being_made() {
    let database = migrated().await;
    let agent = agent("a");
    database.stores.agents.insert(&agent).await.unwrap();
    let mut maker = database.sql.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM agents FOR NO KEY UPDATE").execute(&mut *maker).await.unwrap();

    let deletion = tokio::spawn({
        let (agents, id) = (database.stores.agents.clone(), agent.id.clone());
        async move { agents.delete(&id, "r", at(1)).await }
    });
    database.until_somebody_waits().await;
    sqlx::query(
        "INSERT INTO agent_api_keys (id, agent_id, name, api_key_type, api_key) VALUES ('k', $1, 'n', 'INTERNAL', 's')",
    )
    .bind(agent.id.as_str())
    .execute(&mut *maker)
    .await
    .unwrap();
    maker.commit().await.unwrap();

    assert_eq!(deletion.await.unwrap().unwrap(), Some(vec!["k".into()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_waits_for_the_one_before_it_to_become_visible() {
    let database = migrated().await;
    let agent = agent("a");
    database.stores.agents.insert(&agent).await.unwrap();
    let task = new_task(&agent);
    database.stores.tasks.insert(&task).await.unwrap();
    let first = database.stores.events.append(&task.id, &agent.id, None, at(1)).await.unwrap();
    // What an append looks like while its transaction is open.
    let mut open = database.sql.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM tasks FOR NO KEY UPDATE").execute(&mut *open).await.unwrap();

    let waiting = tokio::spawn({
        let (events, task, agent) = (database.stores.events.clone(), task.id.clone(), agent.id.clone());
        async move { events.append(&task, &agent, Some(text("late")), at(2)).await }
    });
    database.until_somebody_waits().await;
    let between: i64 =
        sqlx::query_scalar("SELECT nextval('events_sequence_id_seq')").fetch_one(&mut *open).await.unwrap();
    open.commit().await.unwrap();

    let late = waiting.await.unwrap().unwrap();
    assert!(first.sequence_id < between && between < late.sequence_id, "{first:?} {between} {late:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadlock_is_tried_again_and_not_reported() {
    let database = migrated().await;
    let agent = agent("a");
    database.stores.agents.insert(&agent).await.unwrap();
    let task = new_task(&agent);
    database.stores.tasks.insert(&task).await.unwrap();
    let messages: Vec<_> =
        ["1", "2"].map(|id| agentex_domain::Message { id: id.into(), ..message_of(&task.id) }).into();
    database.stores.messages.insert(&task.id, &messages).await.unwrap();
    // Locks in the opposite order, and looks for deadlocks only after the store's session has given up its turn.
    let mut contrary = database.sql.begin().await.unwrap();
    sqlx::raw_sql("SET LOCAL deadlock_timeout = '1min'; SELECT 1 FROM task_messages WHERE id = '2' FOR UPDATE")
        .execute(&mut *contrary)
        .await
        .unwrap();

    let update = tokio::spawn({
        let (store, task) = (database.stores.messages.clone(), task.id.clone());
        async move { store.update_many(&task, &[("1".into(), text("x")), ("2".into(), text("y"))], at(2)).await }
    });
    database.until_somebody_waits().await;
    sqlx::query("SELECT 1 FROM task_messages WHERE id = '1' FOR UPDATE").execute(&mut *contrary).await.unwrap();
    contrary.commit().await.unwrap();

    let updated = update.await.unwrap().unwrap();
    assert!(matches!(updated, agentex_domain::ports::UpdateMany::Updated(all) if all.len() == 2));
}

fn message_of(task: &agentex_domain::TaskId) -> agentex_domain::Message {
    agentex_testkit::build::message(task, text("m"), at(1))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_key_is_made_once_however_many_ask() {
    let database = migrated().await;
    let agent = agent("a");
    database.stores.agents.insert(&agent).await.unwrap();
    let asking: Vec<_> = (0..20)
        .map(|_| {
            let (keys, candidate) = (database.stores.api_keys.clone(), internal_key(&agent.id));
            tokio::spawn(async move { keys.internal_key_or_insert(&candidate).await.unwrap().id })
        })
        .collect();

    let mut ids = Vec::new();
    for key in asking {
        ids.push(key.await.unwrap());
    }

    ids.dedup();
    assert_eq!(ids.len(), 1);
    let stored: i64 = sqlx::query_scalar("SELECT count(*) FROM agent_api_keys").fetch_one(&database.sql).await.unwrap();
    assert_eq!(stored, 1);
}
