//! Rows that go: with them goes the record of their owner, and what is left to do in the authorization graph stays.

#![expect(missing_docs, reason = "the names of the cases are the sentences")]

use std::collections::BTreeSet;

use agentex_authz::{Principal, ResourceRef};
use agentex_domain::ports::{DeletedTask, Departure, Settlement, Stores};
use agentex_domain::{Agent, ApiKey, ApiKeyKind, Intent, IntentId, IntentStep, Task};

use super::stored::{created, granting, intent_of, intents, opened, stored_agent, stored_internal_key};
use crate::build::{agent, api_key, at, intent, new_task, user};

/// On behalf of bob, until [`at`]`(80)`.
fn departure() -> Option<Departure> {
    Some(Departure { by: user("bob"), due_at: at(80) })
}

/// The intent that a row which goes at [`at`]`(50)` leaves; its id is its own.
fn left(id: &IntentId, resource: ResourceRef, parent: Option<ResourceRef>, owner: Principal) -> Intent {
    let (step, created_at, due_at) = (IntentStep::Deregistering, at(50), at(80));
    Intent { id: id.clone(), parent, owner, step, created_at, due_at, ..intent(resource) }
}

/// Closes what a creation left to do, so that only departures are seen.
async fn finish(stores: &Stores, intent: &Intent) {
    assert!(stores.intents.close(&intent.id, IntentStep::Granting, at(1)).await.unwrap());
}

/// A stored agent of alice.
async fn owned_agent(stores: &Stores, name: &str) -> Agent {
    let new = agent(name);
    let intent = opened(stores, ResourceRef::agent(new.id.as_str()), None).await;
    stores.agents.insert(&new, Some(granting(&intent))).await.unwrap();
    finish(stores, &intent).await;
    new
}

/// A stored task of alice and its intent, whose grant is outstanding.
async fn task_being_granted(stores: &Stores, agent: &Agent) -> (Task, Intent) {
    let new = new_task(agent);
    let parent = Some(ResourceRef::agent(agent.id.as_str()));
    let intent = opened(stores, ResourceRef::task(new.id.as_str()), parent).await;
    stores.tasks.insert(&new, Some(granting(&intent))).await.unwrap();
    (new.into_task(), Intent { step: IntentStep::Granting, due_at: at(40), ..intent })
}

/// A stored key of alice.
async fn owned_key(stores: &Stores, agent: &Agent, name: &str) -> ApiKey {
    let key = api_key(&agent.id, ApiKeyKind::External, name);
    let parent = Some(ResourceRef::agent(agent.id.as_str()));
    let intent = opened(stores, ResourceRef::api_key(key.id.as_str()), parent).await;
    stores.api_keys.insert(&key, Some(granting(&intent))).await.unwrap();
    finish(stores, &intent).await;
    key
}

/// authz §7: 82, 214
pub async fn a_deleted_agent_departs_after_its_keys(stores: &Stores) {
    let (gone, other) = (owned_agent(stores, "gone").await, owned_agent(stores, "other").await);
    let (one, two) = (owned_key(stores, &gone, "one").await, owned_key(stores, &gone, "two").await);
    let unowned = stored_internal_key(stores, &gone.id).await;
    let kept = owned_key(stores, &other, "kept").await;

    let departed = stores.agents.delete(&gone.id, "gone", at(50), departure()).await.unwrap().unwrap();

    let of_gone = ResourceRef::agent(gone.id.as_str());
    let of_key = |key: &ApiKey| ResourceRef::api_key(key.id.as_str());
    assert_eq!(departed.len(), 4);
    assert_eq!(departed[3], left(&departed[3].id, of_gone.clone(), None, user("alice")));
    for intent in &departed[..3] {
        let owned = intent.resource != of_key(&unowned);
        let (parent, owner) = if owned { (Some(of_gone.clone()), user("alice")) } else { (None, user("bob")) };
        assert_eq!(*intent, left(&intent.id, intent.resource.clone(), parent, owner));
    }
    let resources: BTreeSet<String> = departed.iter().map(|intent| intent.resource.to_string()).collect();
    let expected = [&of_gone, &of_key(&one), &of_key(&two), &of_key(&unowned)];
    assert_eq!(resources, expected.map(ToString::to_string).into());
    let ids: BTreeSet<&IntentId> = departed.iter().map(|intent| &intent.id).collect();
    assert_eq!(ids.len(), 4, "each has an id of its own");

    let stored: BTreeSet<String> = intents(stores).await.into_keys().collect();
    assert_eq!(stored, resources, "exactly these are stored");
    for intent in &departed {
        assert_eq!(intent_of(stores, &intent.resource).await.as_ref(), Some(intent));
        assert_eq!(stores.owners.find(&intent.resource).await.unwrap(), None);
    }
    for resource in [ResourceRef::agent(other.id.as_str()), of_key(&kept)] {
        assert!(stores.owners.find(&resource).await.unwrap().is_some(), "{resource}");
    }
}

/// authz §7: 107, 214
pub async fn a_deleted_task_departs_with_its_owner_and_parent(stores: &Stores) {
    let worker = stored_agent(stores, "worker").await;
    let (task, granting) = task_being_granted(stores, &worker).await;
    finish(stores, &granting).await;

    let deleted = stores.tasks.delete(&task.id, "gone", at(50), departure()).await.unwrap().unwrap();

    let intent = deleted.intent.unwrap();
    assert_eq!(intent, left(&intent.id, granting.resource, granting.parent, user("alice")));
    assert_eq!(intent_of(stores, &intent.resource).await.as_ref(), Some(&intent));
    assert_eq!(stores.owners.find(&intent.resource).await.unwrap(), None);
}

/// authz §7: 160
pub async fn a_deleted_key_departs_with_its_owner_and_parent(stores: &Stores) {
    let worker = stored_agent(stores, "worker").await;
    let key = owned_key(stores, &worker, "key").await;

    let departed = stores.api_keys.delete(&key.id, at(50), departure()).await.unwrap().unwrap();

    let parent = Some(ResourceRef::agent(worker.id.as_str()));
    let resource = ResourceRef::api_key(key.id.as_str());
    assert_eq!(departed, [left(&departed[0].id, resource.clone(), parent, user("alice"))]);
    assert_eq!(intent_of(stores, &resource).await.as_ref(), Some(&departed[0]));
    assert_eq!(stores.owners.find(&resource).await.unwrap(), None);
}

pub async fn what_nobody_owns_departs_for_whoever_removes_it(stores: &Stores) {
    let worker = stored_agent(stores, "worker").await;
    let task = created(stores, new_task(&worker)).await;
    let key = stored_internal_key(stores, &worker.id).await;

    let of_task = stores.tasks.delete(&task.id, "gone", at(50), departure()).await.unwrap().unwrap().intent.unwrap();
    let of_key = stores.api_keys.delete(&key.id, at(50), departure()).await.unwrap().unwrap().remove(0);
    let of_agent = stores.agents.delete(&worker.id, "gone", at(50), departure()).await.unwrap().unwrap().remove(0);

    for (intent, resource) in [
        (of_task, ResourceRef::task(task.id.as_str())),
        (of_key, ResourceRef::api_key(key.id.as_str())),
        (of_agent, ResourceRef::agent(worker.id.as_str())),
    ] {
        assert_eq!(intent, left(&intent.id, resource, None, user("bob")));
        assert_eq!(intent_of(stores, &intent.resource).await, Some(intent));
    }
}

pub async fn without_a_departure_only_the_owner_is_forgotten(stores: &Stores) {
    let worker = owned_agent(stores, "worker").await;
    let (task, granting) = task_being_granted(stores, &worker).await;
    finish(stores, &granting).await;
    let (one, two) = (owned_key(stores, &worker, "one").await, owned_key(stores, &worker, "two").await);

    let deleted = stores.tasks.delete(&task.id, "gone", at(50), None).await.unwrap().unwrap();
    assert_eq!(deleted.intent, None);
    assert_eq!(stores.api_keys.delete(&one.id, at(50), None).await.unwrap(), Some(Vec::new()));
    assert_eq!(stores.agents.delete(&worker.id, "gone", at(50), None).await.unwrap(), Some(Vec::new()));

    assert_eq!(stores.intents.list(10).await.unwrap(), []);
    for resource in [
        ResourceRef::task(task.id.as_str()),
        ResourceRef::api_key(one.id.as_str()),
        ResourceRef::api_key(two.id.as_str()),
        ResourceRef::agent(worker.id.as_str()),
    ] {
        assert_eq!(stores.owners.find(&resource).await.unwrap(), None, "{resource}");
    }
}

/// authz §7: 83, 161
pub async fn what_is_gone_departs_no_more(stores: &Stores) {
    let worker = owned_agent(stores, "worker").await;
    let (task, granting) = task_being_granted(stores, &worker).await;
    finish(stores, &granting).await;
    let key = owned_key(stores, &worker, "key").await;
    stores.tasks.delete(&task.id, "gone", at(50), departure()).await.unwrap().unwrap();
    stores.api_keys.delete(&key.id, at(50), departure()).await.unwrap().unwrap();
    stores.agents.delete(&worker.id, "gone", at(50), departure()).await.unwrap().unwrap();
    let before = stores.intents.list(10).await.unwrap();
    assert_eq!(before.len(), 3);

    assert_eq!(stores.tasks.delete(&task.id, "again", at(60), departure()).await.unwrap(), None);
    assert_eq!(stores.api_keys.delete(&key.id, at(60), departure()).await.unwrap(), None);
    assert_eq!(stores.agents.delete(&worker.id, "again", at(60), departure()).await.unwrap(), None);

    assert_eq!(stores.intents.list(10).await.unwrap(), before);
}

pub async fn a_departure_takes_the_place_of_what_was_left_to_do(stores: &Stores) {
    let worker = stored_agent(stores, "worker").await;
    let (task, granting) = task_being_granted(stores, &worker).await;
    stores.intents.failed(&granting.id, "no", at(45)).await.unwrap();

    let deleted = stores.tasks.delete(&task.id, "gone", at(50), departure()).await.unwrap().unwrap();

    let intent = deleted.intent.unwrap();
    assert_ne!(intent.id, granting.id);
    assert_eq!(intent, left(&intent.id, granting.resource, granting.parent, user("alice")));
    assert_eq!(stores.intents.list(10).await.unwrap(), std::slice::from_ref(&intent));
    assert!(!stores.intents.close(&granting.id, IntentStep::Granting, at(51)).await.unwrap());
    assert!(!stores.intents.close(&granting.id, IntentStep::Deregistering, at(51)).await.unwrap());
    // Nobody had the replaced one: it was due.
    assert!(stores.intents.close(&intent.id, IntentStep::Deregistering, at(51)).await.unwrap());
    assert_eq!(stores.intents.list(10).await.unwrap(), []);
}

/// Whoever still makes the grant may be late; its edges must not stay. So the finished intent is driven once more when
/// that work must have ended.
pub async fn a_departure_outlives_the_work_on_what_it_replaced(stores: &Stores) {
    let worker = stored_agent(stores, "worker").await;
    let (task, granting) = task_being_granted(stores, &worker).await;
    assert!(stores.intents.claim_one(&granting.resource, at(45), at(100)).await.unwrap().is_some());
    let deleted = stores.tasks.delete(&task.id, "gone", at(50), departure()).await.unwrap().unwrap();
    let intent = deleted.intent.unwrap();
    assert_eq!(intent.due_at, at(80), "it is driven at once all the same");
    stores.intents.failed(&intent.id, "no", at(60)).await.unwrap();

    assert!(!stores.intents.close(&intent.id, IntentStep::Granting, at(99)).await.unwrap());
    assert!(stores.intents.close(&intent.id, IntentStep::Deregistering, at(99)).await.unwrap());

    let kept = intent_of(stores, &granting.resource).await.unwrap();
    let (step, attempts) = (IntentStep::Deregistering, 0);
    assert_eq!((&kept.id, kept.step, kept.attempts, kept.due_at), (&intent.id, step, attempts, at(100)));
    assert_eq!(stores.intents.claim(at(99), at(200), 10).await.unwrap(), []);
    assert_eq!(stores.intents.claim(at(100), at(200), 10).await.unwrap().len(), 1);
    assert!(stores.intents.close(&intent.id, IntentStep::Deregistering, at(100)).await.unwrap());
    assert_eq!(stores.intents.list(10).await.unwrap(), []);
    assert!(!stores.intents.close(&intent.id, IntentStep::Deregistering, at(101)).await.unwrap());
}

/// The same for the key of an agent that goes.
pub async fn keys_of_a_deleted_agent_outlive_the_work_on_what_they_replaced(stores: &Stores) {
    let worker = stored_agent(stores, "worker").await;
    let key = api_key(&worker.id, ApiKeyKind::External, "key");
    let registering = opened(stores, ResourceRef::api_key(key.id.as_str()), None).await;
    let settles = Settlement { due_at: at(100), ..granting(&registering) };
    stores.api_keys.insert(&key, Some(settles)).await.unwrap();

    let departed = stores.agents.delete(&worker.id, "gone", at(50), departure()).await.unwrap().unwrap();
    for intent in &departed {
        assert!(stores.intents.close(&intent.id, IntentStep::Deregistering, at(51)).await.unwrap());
    }

    let kept = stores.intents.list(10).await.unwrap();
    assert_eq!(kept, [Intent { due_at: at(100), ..departed[0].clone() }]);
    assert_eq!(kept[0].resource, registering.resource);
}

/// authz §7: 83
pub async fn of_concurrent_deletions_one_departs(stores: &Stores) {
    let worker = stored_agent(stores, "worker").await;
    for _ in 0..5 {
        let (task, granting) = task_being_granted(stores, &worker).await;
        let deletions = (0..8).map(|_| {
            let (stores, id) = (stores.clone(), task.id.clone());
            tokio::spawn(async move { stores.tasks.delete(&id, "gone", at(50), departure()).await.unwrap() })
        });

        let outcomes: Vec<Option<DeletedTask>> =
            futures::future::join_all(deletions).await.into_iter().map(Result::unwrap).collect();

        let departed: Vec<&DeletedTask> = outcomes.iter().flatten().collect();
        assert_eq!(departed.len(), 1, "{outcomes:?}");
        assert_eq!(departed[0].intent.as_ref().unwrap().owner, user("alice"));
        assert_eq!(intent_of(stores, &granting.resource).await, departed[0].intent);
    }
}

/// A row that is stored and one that goes never leave an owner without a row, nor a row on its way without an intent.
pub async fn keys_stored_while_their_agent_goes_depart_with_it_or_are_refused(stores: &Stores) {
    for round in 0..10 {
        let worker = stored_agent(stores, &format!("worker-{round}")).await;
        let key = api_key(&worker.id, ApiKeyKind::External, "key");
        let registering = opened(stores, ResourceRef::api_key(key.id.as_str()), None).await;
        let insert = {
            let (stores, settles) = (stores.clone(), Some(granting(&registering)));
            tokio::spawn(async move { stores.api_keys.insert(&key, settles).await.is_ok() })
        };
        let delete = {
            let (stores, id) = (stores.clone(), worker.id.clone());
            tokio::spawn(async move { stores.agents.delete(&id, "gone", at(50), departure()).await })
        };

        let inserted = insert.await.unwrap();
        delete.await.unwrap().unwrap().unwrap();

        assert_eq!(stores.owners.find(&registering.resource).await.unwrap(), None);
        let step = intent_of(stores, &registering.resource).await.unwrap().step;
        assert_eq!(step, if inserted { IntentStep::Deregistering } else { IntentStep::Registering });
    }
}
