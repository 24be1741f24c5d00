//! What many callers do at the same moment, which shares statements, has the effect that each would have had alone.

use agentex_domain::ports::{StoreError, TaskInsert};
use agentex_domain::{AgentId, EventId, NewTask, Task, TaskId};
use agentex_testkit::build::{agent, at, internal_key, named_task, new_task, object, run_schedule, text};
use futures::future::join_all;
use serde_json::json;

use crate::database::{Database, migrated};

impl Database {
    async fn task_named(&self, agent: &agentex_domain::Agent, name: &str) -> Task {
        match self.stores.tasks.insert(&named_task(agent, name), None).await.unwrap() {
            TaskInsert::Created(task) => task,
            TaskInsert::NameTaken(task) => panic!("{task:?} has the name"),
        }
    }
}

#[tokio::test]
async fn tasks_made_at_once_are_each_stored_refused_or_found() {
    let database = migrated().await;
    let (agent, absent) = (agent("a"), agent("absent"));
    database.stores.agents.insert(&agent, None).await.unwrap();
    let taken = database.task_named(&agent, "taken").await;
    let deleted = database.task_named(&agent, "deleted").await;
    database.stores.tasks.delete(&deleted.id, "r", at(5), None).await.unwrap().unwrap();
    let mut new: Vec<NewTask> = (0..20).map(|number| named_task(&agent, &format!("task-{number}"))).collect();
    new[7].params = Some(object(json!({"a": [1, null]})));
    new.extend([new_task(&agent), new_task(&agent)]);
    new.extend(["taken", "deleted", "twice", "twice", "nul\0"].map(|name| named_task(&agent, name)));
    new.push(named_task(&absent, "nobody's"));

    let outcomes = join_all(new.iter().map(|new| database.stores.tasks.insert(new, None))).await;

    let mut twice = Vec::new();
    for (new, outcome) in new.iter().zip(outcomes) {
        match (new.name.as_deref(), outcome) {
            (Some("taken"), Ok(TaskInsert::NameTaken(winner))) => assert_eq!(winner, taken),
            (Some("twice"), outcome) => twice.push(outcome.unwrap()),
            (Some("nul\0"), Err(StoreError::Failed(_))) | (Some("nobody's"), Err(StoreError::Dangling { .. })) => {}
            (_, Ok(TaskInsert::Created(task))) => {
                assert_eq!(task, new.clone().into_task());
                assert_eq!(database.stores.tasks.find_for_agent(&new.id, &agent.id).await.unwrap(), Some(task));
                let trackers = "SELECT count(*) FROM agent_task_tracker WHERE task_id = $1 AND agent_id = $2";
                let trackers = sqlx::query_scalar::<_, i64>(trackers).bind(new.id.as_str()).bind(agent.id.as_str());
                assert_eq!(trackers.fetch_one(&database.sql).await.unwrap(), 1);
            }
            (name, outcome) => panic!("{name:?}: {outcome:?}"),
        }
    }
    let ([TaskInsert::Created(one), TaskInsert::NameTaken(other)]
    | [TaskInsert::NameTaken(one), TaskInsert::Created(other)]) = &twice[..]
    else {
        panic!("{twice:?}")
    };
    assert_eq!(one, other);
    let rows = "SELECT count(*) FROM tasks";
    assert_eq!(sqlx::query_scalar::<_, i64>(rows).fetch_one(&database.sql).await.unwrap(), 2 + 20 + 2 + 2);
}

#[tokio::test]
async fn events_sent_at_once_are_each_stored_with_a_number_of_their_own() {
    let database = migrated().await;
    let agent = agent("a");
    database.stores.agents.insert(&agent, None).await.unwrap();
    let (one, two) = (database.task_named(&agent, "one").await.id, database.task_named(&agent, "two").await.id);
    let absent = TaskId::generate();
    let sent: Vec<(&TaskId, String)> =
        (0..30).map(|number| ([&one, &two, &absent][number % 3], format!("event {number}"))).collect();

    let events = &database.stores.events;
    let outcomes =
        join_all(sent.iter().map(|(task, words)| events.append(task, &agent.id, Some(text(words)), at(1)))).await;

    for ((task, words), outcome) in sent.iter().zip(outcomes) {
        match outcome {
            Ok(event) => {
                assert_eq!((&event.task_id, event.content.clone()), (*task, Some(text(words))));
                assert_eq!(events.find(&event.id).await.unwrap(), Some(event));
            }
            Err(error) => assert!(matches!(error, StoreError::Dangling { .. }) && **task == absent, "{error:?}"),
        }
    }
    for task in [&one, &two] {
        let stored = events.list(task, &agent.id, None, None).await.unwrap();
        assert!(stored.is_sorted_by(|one, next| one.sequence_id < next.sequence_id), "{stored:?}");
        let expected = sent.iter().filter(|(of, _)| *of == task);
        for (_, words) in expected.clone() {
            assert!(stored.iter().any(|event| event.content == Some(text(words))), "{words}: {stored:?}");
        }
        assert_eq!(stored.len(), expected.count());
    }
}

#[tokio::test]
async fn an_event_with_the_id_of_another_finds_it_and_the_others_are_stored() {
    let database = migrated().await;
    let agent = agent("a");
    database.stores.agents.insert(&agent, None).await.unwrap();
    let task = database.task_named(&agent, "one").await.id;
    let ids: Vec<EventId> = [0, 1, 2, 1, 3].map(|number| EventId::from(format!("event-{number}"))).into();

    let events = &database.stores.events;
    let outcomes = join_all(ids.iter().map(|id| events.append_as(id, &task, &agent.id, None, at(1)))).await;

    let outcomes: Vec<_> = outcomes.into_iter().map(Result::unwrap).collect();
    assert_eq!(outcomes.iter().map(|event| event.id.clone()).collect::<Vec<_>>(), ids);
    assert_eq!(outcomes[1], outcomes[3]);
    assert_eq!(events.list(&task, &agent.id, None, None).await.unwrap().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_somebody_holds_is_waited_for_by_nobody_else() {
    let database = migrated().await;
    let agent = agent("a");
    database.stores.agents.insert(&agent, None).await.unwrap();
    let (held, free) = (database.task_named(&agent, "held").await.id, database.task_named(&agent, "free").await.id);
    let mut holder = database.sql.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM tasks WHERE id = $1 FOR NO KEY UPDATE")
        .bind(held.as_str())
        .execute(&mut *holder)
        .await
        .unwrap();
    let (stores, agent) = (database.stores.clone(), agent.id);
    let waiting = tokio::spawn({
        let (stores, held, agent) = (stores.clone(), held.clone(), agent.clone());
        async move {
            tokio::join!(
                stores.events.append(&held, &agent, None, at(1)),
                stores.events.append(&held, &agent, None, at(1)),
                stores.tasks.set_metadata_flag(&held, "flag", at(1)),
                stores.tasks.set_metadata_flag(&held, "flag", at(1)),
            )
        }
    });
    database.until_somebody_waits().await;

    let appends = (0..10).map(|_| stores.events.append(&free, &agent, None, at(1)));
    let flags = (0..10).map(|number| {
        let (stores, free) = (stores.clone(), free.clone());
        async move { stores.tasks.set_metadata_flag(&free, &format!("flag-{number}"), at(1)).await }
    });
    let (appended, flagged) = tokio::join!(join_all(appends), join_all(flags));

    assert!(appended.iter().all(Result::is_ok) && flagged.iter().all(|done| *done.as_ref().unwrap()));
    assert_eq!(stores.tasks.find(&free).await.unwrap().unwrap().task_metadata.unwrap().len(), 10);
    assert!(!waiting.is_finished());
    holder.commit().await.unwrap();
    let (one, other, flag, flag_again) = waiting.await.unwrap();
    assert!(one.unwrap().sequence_id != other.unwrap().sequence_id && flag.unwrap() && flag_again.unwrap());
}

#[tokio::test]
async fn metadata_is_marked_only_of_live_tasks() {
    let database = migrated().await;
    let agent = agent("a");
    database.stores.agents.insert(&agent, None).await.unwrap();
    let mut tasks = Vec::new();
    for number in 0..10 {
        tasks.push(database.task_named(&agent, &format!("task-{number}")).await.id);
    }
    database.stores.tasks.delete(&tasks[3], "r", at(5), None).await.unwrap().unwrap();
    tasks.push(TaskId::generate());

    let marked = join_all(tasks.iter().map(|id| database.stores.tasks.set_metadata_flag(id, "done", at(7)))).await;

    for (number, (id, marked)) in tasks.iter().zip(marked).enumerate() {
        let live = !matches!(number, 3 | 10);
        assert_eq!(marked.unwrap(), live, "{number}");
        let Some(task) = database.stores.tasks.find(id).await.unwrap() else { continue };
        assert_eq!(task.task_metadata == Some(object(json!({"done": true}))), live, "{task:?}");
        assert_eq!(task.updated_at == at(7), live, "{task:?}");
    }
}

#[tokio::test]
async fn each_look_up_is_answered_with_its_own() {
    let database = migrated().await;
    let stores = &database.stores;
    let agents = ["a", "b", "c"].map(agent);
    for agent in &agents {
        stores.agents.insert(agent, None).await.unwrap();
        stores.run_schedules.insert(&run_schedule(&agent.id, "s"), None).await.unwrap();
        database.task_named(agent, &format!("{}-task", agent.name)).await;
    }
    stores.api_keys.insert(&internal_key(&agents[1].id), None).await.unwrap();
    let names = ["b", "a", "nobody", "c", "nul\0", "c", "b", "absent", "a", "b"];
    let tasks = names.map(|name| format!("{name}-task"));

    let found = join_all(tasks.iter().map(|name| stores.tasks.find_by_name(name))).await;
    let dialled = join_all(names.iter().map(|name| stores.agents.dial_target_by_name(name))).await;

    for ((name, task), dial) in names.iter().zip(found).zip(dialled) {
        let (task, dial) = (task.unwrap(), dial.unwrap());
        let agent = agents.iter().find(|agent| agent.name == *name);
        assert_eq!(
            task.as_ref().and_then(|task| task.name.as_deref()),
            agent.map(|_| format!("{name}-task")).as_deref()
        );
        assert_eq!(dial.as_ref().map(|dial| &dial.agent), agent);
        assert_eq!(dial.is_some_and(|dial| dial.internal_key.is_some()), *name == "b");
    }

    let nobodys = ["absent", "nul\0"].map(AgentId::from);
    let ids = || agents.iter().map(|agent| &agent.id).chain(&nobodys);
    let ids: Vec<&AgentId> = ids().chain(ids()).collect();
    let expected: Vec<_> = ids.iter().map(|id| agents.iter().find(|agent| agent.id == **id).cloned()).collect();
    let dialled = join_all(ids.iter().map(|id| stores.agents.dial_target(id))).await;
    let dialled: Vec<_> = dialled.into_iter().map(|dial| dial.unwrap().map(|dial| dial.agent)).collect();
    assert_eq!(dialled, expected);
    let found = join_all(ids.iter().map(|id| stores.agents.find(id))).await;
    assert_eq!(found.into_iter().map(Result::unwrap).collect::<Vec<_>>(), expected);

    let mut tasks = Vec::new();
    for name in ["a-task", "b-task", "c-task"] {
        tasks.push(stores.tasks.find_by_name(name).await.unwrap().unwrap());
    }
    let nobodys = ["absent", "nul\0"].map(TaskId::from);
    let ids: Vec<&TaskId> =
        tasks.iter().map(|task| &task.id).chain(&nobodys).chain(tasks.iter().map(|task| &task.id)).collect();
    let found = join_all(ids.iter().map(|id| stores.tasks.find(id))).await;
    for (id, found) in ids.iter().zip(found) {
        assert_eq!(found.unwrap().as_ref(), tasks.iter().find(|task| task.id == **id));
    }
    let asked: Vec<(&TaskId, &AgentId)> =
        ids.iter().flat_map(|task| agents.iter().map(|agent| (*task, &agent.id))).collect();
    let found = join_all(asked.iter().map(|(task, agent)| stores.tasks.find_for_agent(task, agent))).await;
    for ((task, agent), found) in asked.iter().zip(found) {
        let place = agents.iter().position(|one| one.id == **agent).unwrap();
        assert_eq!(found.unwrap().as_ref(), tasks.iter().skip(place).take(1).find(|own| own.id == **task));
    }

    let schedules = join_all(agents.iter().map(|agent| stores.run_schedules.find_by_name(&agent.id, "s"))).await;
    let schedules: Vec<_> = schedules.into_iter().map(|schedule| schedule.unwrap().unwrap()).collect();
    let mut ids: Vec<_> = schedules.iter().map(|schedule| schedule.id.clone()).collect();
    ids.extend(["absent", "nul\0"].map(Into::into));
    ids.extend(ids.clone());
    let found = join_all(ids.iter().map(|id| stores.run_schedules.find(id))).await;
    for (id, found) in ids.iter().zip(found) {
        assert_eq!(found.unwrap().as_ref(), schedules.iter().find(|schedule| schedule.id == *id));
    }
}
