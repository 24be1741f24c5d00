use std::collections::BTreeMap;

use agentex_authz::ResourceRef;
use agentex_domain::ports::{InternalKey, MessageOrder, Opened, Settlement, Stores, TaskInsert, Transitioned};
use agentex_domain::{
    Agent, AgentId, ApiKey, Direction, Intent, IntentStep, Message, MessageFilter, NewTask, PageRequest, Task, TaskId,
    Transition,
};

use crate::build::{self, at};

/// A stored agent with this name.
pub(super) async fn stored_agent(stores: &Stores, name: &str) -> Agent {
    let agent = build::agent(name);
    stores.agents.insert(&agent, None).await.unwrap();
    agent
}

/// A running, unnamed task of an agent of its own.
pub(super) async fn stored_task(stores: &Stores) -> TaskId {
    let agent = Agent { name: format!("agent-{}", AgentId::generate()), ..build::agent("any") };
    stores.agents.insert(&agent, None).await.unwrap();
    created(stores, build::new_task(&agent)).await.id
}

/// The task that `new` makes.
pub(super) async fn created(stores: &Stores, new: NewTask) -> Task {
    match stores.tasks.insert(&new, None).await.unwrap() {
        TaskInsert::Created(task) => task,
        taken @ TaskInsert::NameTaken(_) => panic!("not created: {taken:?}"),
    }
}

/// A new internal key of an agent that has none.
pub(super) async fn stored_internal_key(stores: &Stores, agent_id: &AgentId) -> ApiKey {
    let candidate = build::internal_key(agent_id);
    let InternalKey { key, stored } = stores.api_keys.internal_key_or_insert(&candidate, None).await.unwrap();
    assert!(stored, "the agent has a key already");
    assert_eq!(key, candidate);
    key
}

/// A stored, registering intent; see [`build::intent`].
pub(super) async fn opened(stores: &Stores, resource: ResourceRef, parent: Option<ResourceRef>) -> Intent {
    let intent = Intent { parent, ..build::intent(resource) };
    assert_eq!(stores.intents.open(&intent).await.unwrap(), Opened::Done);
    intent
}

/// Leaves the grant of the intent to be made, by somebody else from [`at`]`(40)` on.
pub(super) fn granting(intent: &Intent) -> Settlement {
    Settlement { intent: intent.id.clone(), then: IntentStep::Granting, due_at: at(40) }
}

/// The intents as they are now, by resource.
pub(super) async fn intents(stores: &Stores) -> BTreeMap<String, Intent> {
    let listed = stores.intents.list(10_000).await.unwrap();
    let intents: BTreeMap<_, _> = listed.iter().map(|intent| (intent.resource.to_string(), intent.clone())).collect();
    assert_eq!(intents.len(), listed.len(), "one per resource");
    intents
}

/// The intent of this resource as it is now.
pub(super) async fn intent_of(stores: &Stores, resource: &ResourceRef) -> Option<Intent> {
    intents(stores).await.remove(&resource.to_string())
}

/// The task as it is now.
pub(super) async fn find(stores: &Stores, id: &TaskId) -> Task {
    stores.tasks.find(id).await.unwrap().unwrap()
}

/// Deletes the task and returns it as it is then.
pub(super) async fn delete(stores: &Stores, id: &TaskId) -> Task {
    match stores.tasks.transition(id, Transition::Delete, "deleted", at(1)).await.unwrap() {
        Transitioned::Done(task) => task,
        other => panic!("not deleted: {other:?}"),
    }
}

/// All messages of a task, oldest first.
pub(super) async fn everything_of(stores: &Stores, task_id: &TaskId) -> Vec<Message> {
    let (order, direction) = (MessageOrder::CreatedAt, Direction::Ascending);
    let page = PageRequest { limit: PageRequest::MAX_LIMIT, page_number: 1 };
    stores.messages.list(task_id, &MessageFilter::default(), order, direction, page).await.unwrap()
}
