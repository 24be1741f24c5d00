use agentex_domain::ports::{MessageOrder, Stores, TaskInsert, Transitioned};
use agentex_domain::{
    Agent, AgentId, Direction, Message, MessageFilter, NewTask, PageRequest, Task, TaskId, Transition,
};

use crate::build::{self, at};

/// A stored agent with this name.
pub(super) async fn stored_agent(stores: &Stores, name: &str) -> Agent {
    let agent = build::agent(name);
    stores.agents.insert(&agent).await.unwrap();
    agent
}

/// A running, unnamed task of an agent of its own.
pub(super) async fn stored_task(stores: &Stores) -> TaskId {
    let agent = Agent { name: format!("agent-{}", AgentId::generate()), ..build::agent("any") };
    stores.agents.insert(&agent).await.unwrap();
    created(stores, build::new_task(&agent)).await.id
}

/// The task that `new` makes.
pub(super) async fn created(stores: &Stores, new: NewTask) -> Task {
    match stores.tasks.insert(&new).await.unwrap() {
        TaskInsert::Created(task) => task,
        taken @ TaskInsert::NameTaken(_) => panic!("not created: {taken:?}"),
    }
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
