//! What every `RegistrationTokenRepository` must do.

#![expect(missing_docs, reason = "the names of the cases are the sentences")]

use agentex_domain::AgentId;
use agentex_domain::ports::{RegistrationToken, StoreError, Stores};

use super::stored::stored_agent;
use crate::build::{at, registration};

/// A token made at `made` that ends at `ends`.
fn token(agent_id: &AgentId, digest: &str, made: i64, ends: i64) -> RegistrationToken {
    RegistrationToken {
        digest: digest.to_owned(),
        agent_id: agent_id.clone(),
        created_at: at(made),
        expires_at: at(ends),
    }
}

async fn store(stores: &Stores, token: RegistrationToken) {
    stores.registration_tokens.insert(&token).await.unwrap();
}

async fn agent_of(stores: &Stores, digest: &str, now: i64) -> Option<AgentId> {
    stores.registration_tokens.find_agent(digest, at(now)).await.unwrap()
}

pub async fn a_token_is_good_for_its_agent_until_it_expires(stores: &Stores) {
    let (one, other) = (stored_agent(stores, "one").await, stored_agent(stores, "other").await);
    store(stores, token(&one.id, "of one", 0, 10)).await;
    store(stores, token(&other.id, "of the other", 0, 20)).await;

    assert_eq!(agent_of(stores, "of one", 9).await.as_ref(), Some(&one.id));
    assert_eq!(agent_of(stores, "of one", 9).await, Some(one.id), "it is not used up");
    assert_eq!(agent_of(stores, "of one", 10).await, None);
    assert_eq!(agent_of(stores, "of the other", 10).await, Some(other.id));
    for unknown in ["", "OF ONE", "of%", "' OR '1'='1"] {
        assert_eq!(agent_of(stores, unknown, 1).await, None, "{unknown:?}");
    }
}

pub async fn an_agent_may_have_several_tokens(stores: &Stores) {
    let agent = stored_agent(stores, "agent").await;
    store(stores, token(&agent.id, "first", 0, 10)).await;
    store(stores, token(&agent.id, "second", 5, 15)).await;

    assert_eq!(agent_of(stores, "first", 6).await.as_ref(), Some(&agent.id));
    assert_eq!(agent_of(stores, "second", 6).await, Some(agent.id));
}

pub async fn a_new_token_drops_the_expired_ones_of_its_agent(stores: &Stores) {
    let (one, other) = (stored_agent(stores, "one").await, stored_agent(stores, "other").await);
    store(stores, token(&one.id, "expired", 0, 10)).await;
    store(stores, token(&one.id, "good", 0, 11)).await;
    store(stores, token(&other.id, "expired too", 0, 10)).await;

    store(stores, token(&one.id, "new", 10, 20)).await;

    // Asking about an earlier moment shows which rows are left.
    assert_eq!(agent_of(stores, "expired", 5).await, None);
    assert_eq!(agent_of(stores, "good", 5).await, Some(one.id));
    assert_eq!(agent_of(stores, "expired too", 5).await, Some(other.id));
}

pub async fn a_token_of_an_absent_agent_is_dangling(stores: &Stores) {
    let refused = stores.registration_tokens.insert(&token(&AgentId::generate(), "digest", 0, 10)).await;

    assert!(matches!(refused, Err(StoreError::Dangling { .. })), "{refused:?}");
    assert_eq!(agent_of(stores, "digest", 1).await, None);
}

pub async fn a_deleted_agents_tokens_go_with_it_for_good(stores: &Stores) {
    let (gone, kept) = (stored_agent(stores, "gone").await, stored_agent(stores, "kept").await);
    store(stores, token(&gone.id, "of gone", 0, 100)).await;
    store(stores, token(&kept.id, "of kept", 0, 100)).await;

    stores.agents.delete(&gone.id, "gone", at(1), None).await.unwrap().unwrap();

    assert_eq!(agent_of(stores, "of gone", 2).await, None);
    assert_eq!(agent_of(stores, "of kept", 2).await, Some(kept.id));
    // Whoever brings the agent back decides anew who may register it.
    stores.agents.register_again(&gone.id, &registration("gone"), false, at(3), None).await.unwrap().unwrap();
    assert_eq!(agent_of(stores, "of gone", 4).await, None);
}

pub async fn a_token_of_a_deleted_agent_is_good_for_nothing(stores: &Stores) {
    let gone = stored_agent(stores, "gone").await;
    stores.agents.delete(&gone.id, "gone", at(1), None).await.unwrap().unwrap();

    let refused = stores.registration_tokens.insert(&token(&gone.id, "late", 2, 100)).await;

    assert!(matches!(refused, Err(StoreError::Dangling { .. })), "{refused:?}");
    assert_eq!(agent_of(stores, "late", 3).await, None);
}
