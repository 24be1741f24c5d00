use agentex_authz::ResourceRef;
use agentex_domain::ports::{Departure, RegistrationToken, Settlement, StoreError};
use agentex_domain::{ApiKeyKind, Intent, IntentStep};
use agentex_testkit::build::{agent, api_key, at, intent, internal_key, new_task, text, user};

use crate::database::migrated;

fn departure() -> Departure {
    Departure { by: user("alice"), due_at: at(30) }
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_an_agent_also_drops_a_key_that_was_being_made() {
    let database = migrated().await;
    let agent = agent("a");
    database.stores.agents.insert(&agent, None).await.unwrap();
    let mut maker = database.sql.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM agents FOR NO KEY UPDATE").execute(&mut *maker).await.unwrap();

    let deletion = tokio::spawn({
        let (agents, id) = (database.stores.agents.clone(), agent.id.clone());
        async move { agents.delete(&id, "r", at(1), Some(departure())).await }
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

    let intents = deletion.await.unwrap().unwrap().unwrap();
    let departed: Vec<ResourceRef> = intents.into_iter().map(|intent| intent.resource).collect();
    assert_eq!(departed, [ResourceRef::api_key("k"), ResourceRef::agent(agent.id.as_str())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_waits_for_the_one_before_it_to_become_visible() {
    let database = migrated().await;
    let agent = agent("a");
    database.stores.agents.insert(&agent, None).await.unwrap();
    let task = new_task(&agent);
    database.stores.tasks.insert(&task, None).await.unwrap();
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
    database.stores.agents.insert(&agent, None).await.unwrap();
    let task = new_task(&agent);
    database.stores.tasks.insert(&task, None).await.unwrap();
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
    database.stores.agents.insert(&agent, None).await.unwrap();
    let asking: Vec<_> = (0..20)
        .map(|_| {
            let (keys, candidate) = (database.stores.api_keys.clone(), internal_key(&agent.id));
            tokio::spawn(async move { keys.internal_key_or_insert(&candidate, None).await.unwrap().key.id })
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

/// Whoever comes second must not leave a key or token behind.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_or_token_of_an_agent_that_is_being_deleted_is_dangling() {
    let database = migrated().await;
    for what in ["key", "token"] {
        let agent = agent(what);
        database.stores.agents.insert(&agent, None).await.unwrap();
        let mut deletion = database.sql.begin().await.unwrap();
        sqlx::query("UPDATE agents SET status = 'DELETED' WHERE id = $1")
            .bind(agent.id.as_str())
            .execute(&mut *deletion)
            .await
            .unwrap();

        let late = tokio::spawn({
            let (stores, agent_id) = (database.stores.clone(), agent.id.clone());
            async move {
                if what == "key" {
                    return stores.api_keys.insert(&api_key(&agent_id, ApiKeyKind::External, "k"), None).await;
                }
                let token = RegistrationToken { digest: "d".into(), agent_id, created_at: at(1), expires_at: at(100) };
                stores.registration_tokens.insert(&token).await
            }
        });
        database.until_somebody_waits().await;
        deletion.commit().await.unwrap();

        let refused = late.await.unwrap();
        assert!(matches!(refused, Err(StoreError::Dangling { .. })), "{what}: {refused:?}");
    }
}

/// authz §7: 212
#[tokio::test(flavor = "multi_thread")]
async fn an_intent_that_is_given_up_while_its_row_is_being_written_is_lost() {
    let database = migrated().await;
    let stores = &database.stores;
    let agent = agent("a");
    stores.agents.insert(&agent, None).await.unwrap();
    let task = new_task(&agent);
    let intent = intent(ResourceRef::task(task.id.as_str()));
    stores.intents.open(&intent).await.unwrap();
    let mut relay = database.sql.begin().await.unwrap();
    sqlx::query("UPDATE authz_intents SET step = 'deregistering'").execute(&mut *relay).await.unwrap();

    let settlement = Settlement { intent: intent.id.clone(), then: IntentStep::Granting, due_at: at(60) };
    let late = tokio::spawn({
        let (tasks, task) = (stores.tasks.clone(), task.clone());
        async move { tasks.insert(&task, Some(settlement)).await }
    });
    database.until_somebody_waits().await;
    relay.commit().await.unwrap();

    let refused = late.await.unwrap();
    assert!(matches!(refused, Err(StoreError::IntentLost)), "{refused:?}");
    assert_eq!(stores.tasks.find(&task.id).await.unwrap(), None);
    assert_eq!(stores.owners.find(&intent.resource).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_pass_over_what_somebody_else_is_claiming() {
    let database = migrated().await;
    let stores = &database.stores;
    for id in ["1", "2"] {
        let due = Intent { id: id.into(), due_at: at(1), ..intent(ResourceRef::task(id)) };
        stores.intents.open(&due).await.unwrap();
    }
    let mut other = database.sql.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM authz_intents WHERE id = '1' FOR NO KEY UPDATE").execute(&mut *other).await.unwrap();

    let claimed = stores.intents.claim(at(2), at(9), 1).await.unwrap();

    assert_eq!(claimed.into_iter().map(|intent| intent.id.into_string()).collect::<Vec<_>>(), ["2"]);
}
