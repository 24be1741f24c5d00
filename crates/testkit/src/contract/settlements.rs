//! Rows that are written under an intent: the row, the intent's next step and the owner come together or not at all.

#![expect(missing_docs, reason = "the names of the cases are the sentences")]

use agentex_authz::ResourceRef;
use agentex_domain::ports::{Departure, InternalKey, Settlement, StoreError, Stores, TaskInsert};
use agentex_domain::{Agent, AgentId, ApiKey, ApiKeyKind, Intent, IntentStep, NewTask, Ownership, TaskId};

use super::stored::{created, delete, find, granting, intent_of, opened, stored_agent, stored_internal_key};
use crate::build::{agent, api_key, at, intent, internal_key, named_task, new_task, registration, user};

fn of_agent(id: &AgentId) -> ResourceRef {
    ResourceRef::agent(id.as_str())
}

fn of_task(id: &TaskId) -> ResourceRef {
    ResourceRef::task(id.as_str())
}

fn of_key(key: &ApiKey) -> ResourceRef {
    ResourceRef::api_key(key.id.as_str())
}

/// What the intent is once its row is there, and the record of the row's owner.
async fn assert_settled(stores: &Stores, before: &Intent) {
    let after = Intent { step: IntentStep::Granting, due_at: at(40), ..before.clone() };
    assert_eq!(intent_of(stores, &before.resource).await, Some(after));
    let owner = Ownership {
        resource: before.resource.clone(),
        parent: before.parent.clone(),
        owner: before.owner.clone(),
        created_at: before.created_at,
    };
    assert_eq!(stores.owners.find(&before.resource).await.unwrap(), Some(owner));
}

/// The intent is as it was and the row, if there is one, is nobody's.
async fn assert_unsettled(stores: &Stores, before: &Intent) {
    assert_eq!(intent_of(stores, &before.resource).await.as_ref(), Some(before));
    assert_eq!(stores.owners.find(&before.resource).await.unwrap(), None);
}

/// An intent that somebody else has given up.
async fn abandoned(stores: &Stores, resource: ResourceRef) -> Intent {
    let registering = opened(stores, resource, None).await;
    assert!(stores.intents.abandon(&registering.id, at(60)).await.unwrap());
    Intent { step: IntentStep::Deregistering, due_at: at(60), ..registering }
}

/// A deleted agent.
async fn dead_agent(stores: &Stores, name: &str) -> Agent {
    let dead = stored_agent(stores, name).await;
    stores.agents.delete(&dead.id, "gone", at(1), None).await.unwrap().unwrap();
    stores.agents.find(&dead.id).await.unwrap().unwrap()
}

fn assert_lost<T: std::fmt::Debug>(outcome: Result<T, StoreError>) {
    assert!(matches!(outcome, Err(StoreError::IntentLost)), "{outcome:?}");
}

/// authz §7: 213
pub async fn a_stored_agent_has_an_owner_and_its_intent_goes_on(stores: &Stores) {
    let new = agent("new");
    let intent = opened(stores, of_agent(&new.id), None).await;

    stores.agents.insert(&new, Some(granting(&intent))).await.unwrap();

    assert_eq!(stores.agents.find(&new.id).await.unwrap(), Some(new));
    assert_settled(stores, &intent).await;
}

pub async fn a_stored_task_has_an_owner_and_a_parent(stores: &Stores) {
    let worker = stored_agent(stores, "worker").await;
    let new = named_task(&worker, "n");
    let intent = opened(stores, of_task(&new.id), Some(of_agent(&worker.id))).await;

    let inserted = stores.tasks.insert(&new, Some(granting(&intent))).await.unwrap();

    assert_eq!(inserted, TaskInsert::Created(new.into_task()));
    assert_settled(stores, &intent).await;
}

pub async fn a_stored_key_has_an_owner_and_a_parent(stores: &Stores) {
    let worker = stored_agent(stores, "worker").await;
    let key = api_key(&worker.id, ApiKeyKind::External, "n");
    let intent = opened(stores, of_key(&key), Some(of_agent(&worker.id))).await;

    stores.api_keys.insert(&key, Some(granting(&intent))).await.unwrap();

    assert_eq!(stores.api_keys.find(&key.id).await.unwrap(), Some(key));
    assert_settled(stores, &intent).await;
}

pub async fn a_candidate_settles_its_intent_only_when_it_is_stored(stores: &Stores) {
    let worker = stored_agent(stores, "worker").await;
    let (first, second) = (internal_key(&worker.id), internal_key(&worker.id));
    let first_intent = opened(stores, of_key(&first), Some(of_agent(&worker.id))).await;
    let second_intent = opened(stores, of_key(&second), Some(of_agent(&worker.id))).await;

    let stored = stores.api_keys.internal_key_or_insert(&first, Some(granting(&first_intent))).await.unwrap();
    let found = stores.api_keys.internal_key_or_insert(&second, Some(granting(&second_intent))).await.unwrap();

    assert_eq!(stored, InternalKey { key: first.clone(), stored: true });
    assert_eq!(found, InternalKey { key: first, stored: false });
    assert_settled(stores, &first_intent).await;
    assert_unsettled(stores, &second_intent).await;
}

pub async fn an_intent_can_go_on_to_a_late_registration(stores: &Stores) {
    let new = agent("new");
    let intent = opened(stores, of_agent(&new.id), None).await;
    let late = Settlement { then: IntentStep::RegisteringLate, ..granting(&intent) };

    stores.agents.insert(&new, Some(late)).await.unwrap();

    let after = Intent { step: IntentStep::RegisteringLate, due_at: at(40), ..intent.clone() };
    assert_eq!(intent_of(stores, &intent.resource).await, Some(after));
    assert_eq!(stores.owners.find(&intent.resource).await.unwrap().unwrap().owner, intent.owner);
}

/// authz §7: 91, 155
pub async fn a_row_without_an_intent_has_no_owner(stores: &Stores) {
    let worker = stored_agent(stores, "worker").await;
    let task = created(stores, new_task(&worker)).await;
    let key = stored_internal_key(stores, &worker.id).await;

    for resource in [of_agent(&worker.id), of_task(&task.id), of_key(&key)] {
        assert_eq!(stores.owners.find(&resource).await.unwrap(), None, "{resource}");
    }
    assert_eq!(stores.intents.list(10).await.unwrap(), []);
}

/// authz §7: 217
pub async fn nothing_is_written_under_an_intent_that_was_given_up(stores: &Stores) {
    let worker = stored_agent(stores, "worker").await;
    let (new, task) = (agent("new"), named_task(&worker, "n"));
    let (key, internal) = (api_key(&worker.id, ApiKeyKind::External, "n"), internal_key(&worker.id));
    let of = async |resource| abandoned(stores, resource).await;
    let intents =
        [of(of_agent(&new.id)).await, of(of_task(&task.id)).await, of(of_key(&key)).await, of(of_key(&internal)).await];

    assert_lost(stores.agents.insert(&new, Some(granting(&intents[0]))).await);
    assert_lost(stores.tasks.insert(&task, Some(granting(&intents[1]))).await);
    assert_lost(stores.api_keys.insert(&key, Some(granting(&intents[2]))).await);
    assert_lost(stores.api_keys.internal_key_or_insert(&internal, Some(granting(&intents[3]))).await);

    assert_eq!(stores.agents.find(&new.id).await.unwrap(), None);
    assert_eq!(stores.tasks.find(&task.id).await.unwrap(), None);
    assert!(!stores.tasks.is_linked(&task.id, &worker.id).await.unwrap());
    assert_eq!(stores.api_keys.find(&key.id).await.unwrap(), None);
    assert_eq!(stores.api_keys.find(&internal.id).await.unwrap(), None);
    for intent in &intents {
        assert_unsettled(stores, intent).await;
    }
}

pub async fn nothing_is_written_under_an_intent_that_is_gone(stores: &Stores) {
    let new = agent("new");
    let intent = opened(stores, of_agent(&new.id), None).await;
    assert!(stores.intents.close(&intent.id, IntentStep::Registering, at(1)).await.unwrap());

    assert_lost(stores.agents.insert(&new, Some(granting(&intent))).await);

    assert_eq!(stores.agents.find(&new.id).await.unwrap(), None);
    assert_eq!(stores.owners.find(&intent.resource).await.unwrap(), None);
    stores.agents.insert(&new, None).await.unwrap();
}

pub async fn an_intent_is_settled_once(stores: &Stores) {
    let worker = stored_agent(stores, "worker").await;
    let (first, second) = (new_task(&worker), new_task(&worker));
    let intent = opened(stores, of_task(&first.id), None).await;
    stores.tasks.insert(&first, Some(granting(&intent))).await.unwrap();

    assert_lost(stores.tasks.insert(&second, Some(granting(&intent))).await);

    assert_eq!(stores.tasks.find(&second.id).await.unwrap(), None);
    assert_settled(stores, &intent).await;
}

/// The name of a dead task is freed together with the new task, or not.
pub async fn a_lost_intent_leaves_the_dead_owner_of_the_name_alone(stores: &Stores) {
    let worker = stored_agent(stores, "worker").await;
    let dead = created(stores, named_task(&worker, "wanted")).await;
    let dead = delete(stores, &dead.id).await;
    let new = named_task(&worker, "wanted");
    let intent = abandoned(stores, of_task(&new.id)).await;

    assert_lost(stores.tasks.insert(&new, Some(granting(&intent))).await);

    assert_eq!(find(stores, &dead.id).await, dead);
}

/// authz §7: 90, 97
pub async fn a_refused_agent_leaves_its_intent_registering(stores: &Stores) {
    stored_agent(stores, "taken").await;
    let late = agent("taken");
    let intent = opened(stores, of_agent(&late.id), None).await;

    let refused = stores.agents.insert(&late, Some(granting(&intent))).await;

    assert!(matches!(refused, Err(StoreError::Duplicate { .. })), "{refused:?}");
    assert_unsettled(stores, &intent).await;
}

pub async fn a_refused_task_leaves_its_intent_registering(stores: &Stores) {
    let worker = stored_agent(stores, "worker").await;
    let first = created(stores, named_task(&worker, "taken")).await;
    let late = named_task(&worker, "taken");
    let orphan = NewTask { agent_id: AgentId::generate(), ..new_task(&worker) };
    let late_intent = opened(stores, of_task(&late.id), None).await;
    let orphan_intent = opened(stores, of_task(&orphan.id), None).await;

    let taken = stores.tasks.insert(&late, Some(granting(&late_intent))).await.unwrap();
    let dangling = stores.tasks.insert(&orphan, Some(granting(&orphan_intent))).await;

    assert_eq!(taken, TaskInsert::NameTaken(first));
    assert!(matches!(dangling, Err(StoreError::Dangling { .. })), "{dangling:?}");
    assert_unsettled(stores, &late_intent).await;
    assert_unsettled(stores, &orphan_intent).await;
}

/// authz §7: 154
/// api-keys §7: 25
pub async fn a_refused_key_leaves_its_intent_registering(stores: &Stores) {
    let worker = stored_agent(stores, "worker").await;
    let first = api_key(&worker.id, ApiKeyKind::External, "taken");
    stores.api_keys.insert(&first, None).await.unwrap();
    let same_name = api_key(&worker.id, ApiKeyKind::External, "taken");
    let same_value = ApiKey { digest: first.digest.clone(), ..api_key(&worker.id, ApiKeyKind::External, "other") };
    let orphan = api_key(&AgentId::generate(), ApiKeyKind::External, "orphan");

    for (key, expected) in [(same_name, "api key"), (same_value, "api key value"), (orphan, "dangling")] {
        let intent = opened(stores, of_key(&key), None).await;
        let refused = stores.api_keys.insert(&key, Some(granting(&intent))).await;
        match refused {
            Err(StoreError::Duplicate { what }) => assert_eq!(what, expected),
            Err(StoreError::Dangling { .. }) => assert_eq!("dangling", expected),
            other => panic!("{expected}: {other:?}"),
        }
        assert_unsettled(stores, &intent).await;
    }
}

/// authz §7: 95, 102
pub async fn a_registration_settles_its_intent_only_when_it_revives(stores: &Stores) {
    let live = stored_agent(stores, "live").await;
    let dead = dead_agent(stores, "dead").await;
    let live_intent = opened(stores, of_agent(&live.id), None).await;
    let dead_intent = opened(stores, of_agent(&dead.id), None).await;
    let again = async |agent: &Agent, stamp, intent: &Intent| {
        let settles = Some(granting(intent));
        stores
            .agents
            .register_again(&agent.id, &registration(&agent.name), stamp, at(5), settles)
            .await
            .unwrap()
            .unwrap()
    };

    assert!(!again(&live, false, &live_intent).await.changed);
    let stamped = again(&live, true, &live_intent).await;
    assert!(stamped.changed && !stamped.revived);
    assert_unsettled(stores, &live_intent).await;
    assert!(again(&dead, false, &dead_intent).await.revived);
    assert_settled(stores, &dead_intent).await;
}

pub async fn a_registration_of_an_absent_agent_settles_nothing(stores: &Stores) {
    let nobody = AgentId::generate();
    let intent = opened(stores, of_agent(&nobody), None).await;

    let settles = Some(granting(&intent));
    let registered =
        stores.agents.register_again(&nobody, &registration("n"), true, at(5), settles.clone()).await.unwrap();
    let built = stores.agents.revive_as_build(&nobody, "d".into(), None, at(5), settles).await.unwrap();

    assert_eq!((registered, built), (None, None));
    assert_unsettled(stores, &intent).await;
}

pub async fn a_refused_rename_leaves_the_intent_registering_and_the_agent_deleted(stores: &Stores) {
    stored_agent(stores, "taken").await;
    let dead = dead_agent(stores, "dead").await;
    let intent = opened(stores, of_agent(&dead.id), None).await;

    let settles = Some(granting(&intent));
    let refused = stores.agents.register_again(&dead.id, &registration("taken"), true, at(5), settles).await;

    assert!(matches!(refused, Err(StoreError::Duplicate { .. })), "{refused:?}");
    assert_eq!(stores.agents.find(&dead.id).await.unwrap(), Some(dead));
    assert_unsettled(stores, &intent).await;
}

pub async fn a_build_that_revives_settles_its_intent(stores: &Stores) {
    let live = stored_agent(stores, "live").await;
    let dead = dead_agent(stores, "dead").await;
    let live_intent = opened(stores, of_agent(&live.id), None).await;
    let dead_intent = opened(stores, of_agent(&dead.id), None).await;
    let revive = async |agent: &Agent, intent: &Intent| {
        stores.agents.revive_as_build(&agent.id, "d".into(), None, at(5), Some(granting(intent))).await.unwrap()
    };

    assert_eq!(revive(&live, &live_intent).await, None);
    assert_unsettled(stores, &live_intent).await;
    assert!(revive(&dead, &dead_intent).await.is_some());
    assert_settled(stores, &dead_intent).await;
}

pub async fn an_agent_whose_intent_is_lost_stays_deleted(stores: &Stores) {
    let dead = dead_agent(stores, "dead").await;
    let intent = abandoned(stores, of_agent(&dead.id)).await;
    let settles = || Some(granting(&intent));

    assert_lost(stores.agents.register_again(&dead.id, &registration("dead"), false, at(5), settles()).await);
    assert_lost(stores.agents.revive_as_build(&dead.id, "d".into(), None, at(5), settles()).await);

    assert_eq!(stores.agents.find(&dead.id).await.unwrap(), Some(dead));
    assert_unsettled(stores, &intent).await;
}

/// authz §7: 100
pub async fn a_revived_agent_belongs_to_whoever_revived_it(stores: &Stores) {
    let phoenix = agent("phoenix");
    let first = opened(stores, of_agent(&phoenix.id), None).await;
    stores.agents.insert(&phoenix, Some(granting(&first))).await.unwrap();
    let departure = Departure { by: user("carol"), due_at: at(60) };
    let departed = stores.agents.delete(&phoenix.id, "gone", at(50), Some(departure)).await.unwrap().unwrap();
    assert!(stores.intents.close(&departed[0].id, IntentStep::Deregistering, at(51)).await.unwrap());
    assert_eq!(stores.owners.find(&first.resource).await.unwrap(), None);
    let second = Intent { owner: user("bob"), created_at: at(70), ..intent(first.resource) };
    stores.intents.open(&second).await.unwrap();

    let settles = Some(granting(&second));
    stores.agents.register_again(&phoenix.id, &registration("phoenix"), false, at(70), settles).await.unwrap();

    assert_settled(stores, &second).await;
}

/// Whatever the row is, its writer or whoever gives the intent up wins, and the store shows one outcome only.
///
/// authz §7: 212, 217
pub async fn of_an_insert_and_an_abandonment_exactly_one_happens(stores: &Stores) {
    let worker = stored_agent(stores, "worker").await;
    for round in 0..12 {
        let (new, task) = (agent(&format!("new-{round}")), new_task(&worker));
        let key = api_key(&worker.id, ApiKeyKind::External, &format!("key-{round}"));
        let resource = [of_agent(&new.id), of_task(&task.id), of_key(&key)][round % 3].clone();
        let intent = opened(stores, resource.clone(), None).await;
        let abandon = {
            let (stores, id) = (stores.clone(), intent.id.clone());
            tokio::spawn(async move { stores.intents.abandon(&id, at(60)).await.unwrap() })
        };
        let insert = {
            let (stores, settles) = (stores.clone(), Some(granting(&intent)));
            let (new, task, key) = (new.clone(), task.clone(), key.clone());
            tokio::spawn(async move {
                match round % 3 {
                    0 => stores.agents.insert(&new, settles).await,
                    1 => stores.tasks.insert(&task, settles).await.map(drop),
                    _ => stores.api_keys.insert(&key, settles).await,
                }
            })
        };

        let (abandoned, inserted) = (abandon.await.unwrap(), insert.await.unwrap());

        match &inserted {
            Ok(()) => assert!(!abandoned, "{resource}"),
            Err(StoreError::IntentLost) => assert!(abandoned, "{resource}"),
            Err(other) => panic!("{resource}: {other:?}"),
        }
        let there = match round % 3 {
            0 => stores.agents.find(&new.id).await.unwrap().is_some(),
            1 => stores.tasks.find(&task.id).await.unwrap().is_some(),
            _ => stores.api_keys.find(&key.id).await.unwrap().is_some(),
        };
        assert_eq!(there, inserted.is_ok(), "{resource}");
        assert_eq!(stores.owners.find(&resource).await.unwrap().is_some(), there, "{resource}");
        let step = if there { IntentStep::Granting } else { IntentStep::Deregistering };
        assert_eq!(intent_of(stores, &resource).await.unwrap().step, step, "{resource}");
    }
}
