//! Calls that are repeated after a crash: what they store has ids made from the name of the delivery.

use agentex_domain::ports::StoreError;
use agentex_domain::{
    EventId, Message, MessageCursor, MessageFilter, MessageId, PageRequest, Task, TaskStatus, TimeDirection, Transition,
};
use sha2::{Digest as _, Sha256};

use super::{Inner, Rpc};
use crate::Error;

/// The id of the event of a delivery.
pub(super) fn event_id(delivery: &str) -> EventId {
    EventId::from(id_of("event", delivery))
}

/// The id of the input message of a delivery.
pub(super) fn message_id(delivery: &str) -> MessageId {
    MessageId::from(id_of("message", delivery))
}

fn id_of(what: &str, delivery: &str) -> String {
    let digest = Sha256::digest(format!("{what}:{delivery}"));
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string()
}

impl Rpc {
    /// Whether what a delivery says is stored already, as the input of a turn or as an event.
    pub(crate) async fn has_begun(&self, delivery: &str, as_turn: bool) -> Result<bool, StoreError> {
        let stores = &self.inner.stores;
        Ok(if as_turn {
            stores.messages.find(&message_id(delivery)).await?.is_some()
        } else {
            stores.events.find(&event_id(delivery)).await?.is_some()
        })
    }
}

impl Inner {
    /// A task that failed while it was told its first input takes it once more.
    pub(super) async fn recovered(&self, task: Task) -> Result<Task, Error> {
        if task.status != TaskStatus::Failed {
            return Ok(task);
        }
        self.transition(&task.id, Transition::Recover, Transition::Recover.default_reason()).await.map(|done| done.0)
    }

    /// What the agent answered to the input `id`, where its whole answer is stored already: what follows the input. Answers
    /// that are not streamed are stored at once and at their end.
    pub(super) async fn answered_before(
        &self,
        task: &Task,
        id: &MessageId,
    ) -> Result<Option<Vec<Message>>, StoreError> {
        let messages = &self.stores.messages;
        let Some(input) = messages.find(id).await? else { return Ok(None) };
        let after =
            MessageCursor { id: input.id, created_at: input.created_at, seq: None, task_id: Some(task.id.clone()) };
        let (filter, limit) = (MessageFilter::default(), PageRequest::MAX_LIMIT);
        let page = messages.page(&task.id, &filter, Some(after), TimeDirection::Newer, limit).await?;
        let mut answer = page.messages;
        answer.reverse();
        Ok((!answer.is_empty()).then_some(answer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ids_of_a_delivery_are_always_the_same_and_differ_from_those_of_others() {
        assert_eq!(event_id("a"), event_id("a"));
        assert_ne!(event_id("a"), event_id("b"));
        assert_ne!(event_id("a").as_str(), message_id("a").as_str());
        assert!(uuid::Uuid::parse_str(event_id("a").as_str()).is_ok());
    }
}
