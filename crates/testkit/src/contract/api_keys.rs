//! What every `ApiKeyRepository` must do.

#![expect(missing_docs, reason = "the names of the cases are the sentences")]

use agentex_domain::ApiKey;
use agentex_domain::ports::{KeyOwner, Stores};

use super::stored::stored_agent;
use crate::build::{at, internal_key};

pub async fn the_first_candidate_is_stored_and_later_ones_get_it(stores: &Stores) {
    let owner = stored_agent(stores, "owner").await;
    let first = ApiKey { created_at: at(3), name: "owner-api-key".into(), ..internal_key(&owner.id) };

    assert_eq!(stores.api_keys.internal_key_or_insert(&first).await.unwrap(), first);
    for _ in 0..2 {
        let candidate = internal_key(&owner.id);
        assert_eq!(stores.api_keys.internal_key_or_insert(&candidate).await.unwrap(), first);
    }
    let target = stores.agents.dial_target(&owner.id).await.unwrap().unwrap();
    assert_eq!(target.internal_key, Some(first));
}

pub async fn each_agent_has_a_key_of_its_own(stores: &Stores) {
    let (one, other) = (stored_agent(stores, "one").await, stored_agent(stores, "other").await);
    let (its_key, other_key) = (internal_key(&one.id), internal_key(&other.id));

    assert_eq!(stores.api_keys.internal_key_or_insert(&its_key).await.unwrap(), its_key);
    assert_eq!(stores.api_keys.internal_key_or_insert(&other_key).await.unwrap(), other_key);
}

pub async fn ten_concurrent_calls_get_one_and_the_same_key(stores: &Stores) {
    let owner = stored_agent(stores, "owner").await;

    let calls = (0..10).map(|_| {
        let (stores, candidate) = (stores.clone(), internal_key(&owner.id));
        tokio::spawn(async move { stores.api_keys.internal_key_or_insert(&candidate).await.unwrap() })
    });
    let keys: Vec<ApiKey> = futures::future::join_all(calls).await.into_iter().map(Result::unwrap).collect();

    for key in &keys {
        assert_eq!(key, &keys[0]);
    }
    // Deleting the agent answers all its keys: there was only one.
    let dropped = stores.agents.delete(&owner.id, "gone", at(1)).await.unwrap();
    assert_eq!(dropped, Some(vec![keys[0].id.clone()]));
}

pub async fn the_owner_of_a_key_is_found_by_its_digest(stores: &Stores) {
    let (one, other) = (stored_agent(stores, "one").await, stored_agent(stores, "other").await);
    let key = stores.api_keys.internal_key_or_insert(&internal_key(&one.id)).await.unwrap();
    stores.api_keys.internal_key_or_insert(&internal_key(&other.id)).await.unwrap();

    let owner = stores.api_keys.find_internal_owner(key.digest.as_deref().unwrap(), "clear").await.unwrap();

    assert_eq!(owner, Some(KeyOwner { agent_id: one.id }));
    for wrong in ["", "digest", "' OR '1'='1", "%"] {
        assert_eq!(stores.api_keys.find_internal_owner(wrong, "clear").await.unwrap(), None, "{wrong}");
    }
}

/// What the store keeps is not a credential: a leaked column must not open the door.
pub async fn a_row_with_a_digest_is_not_found_by_its_sealed_text(stores: &Stores) {
    let owner = stored_agent(stores, "owner").await;
    let key = stores.api_keys.internal_key_or_insert(&internal_key(&owner.id)).await.unwrap();

    assert_eq!(stores.api_keys.find_internal_owner("unknown", &key.sealed).await.unwrap(), None);
    assert_eq!(stores.api_keys.find_internal_owner(&key.sealed, "clear").await.unwrap(), None);
}

pub async fn a_row_without_a_digest_is_found_by_the_clear_secret(stores: &Stores) {
    let owner = stored_agent(stores, "owner").await;
    let legacy = ApiKey { digest: None, sealed: "written-in-clear".into(), ..internal_key(&owner.id) };
    assert_eq!(stores.api_keys.internal_key_or_insert(&legacy).await.unwrap(), legacy);

    let found = stores.api_keys.find_internal_owner("digest-of-it", "written-in-clear").await.unwrap();

    assert_eq!(found, Some(KeyOwner { agent_id: owner.id }));
    assert_eq!(stores.api_keys.find_internal_owner("digest-of-it", "other").await.unwrap(), None);
}

pub async fn a_deleted_agents_key_opens_nothing(stores: &Stores) {
    let gone = stored_agent(stores, "gone").await;
    let key = stores.api_keys.internal_key_or_insert(&internal_key(&gone.id)).await.unwrap();
    let digest = key.digest.unwrap();
    stores.agents.delete(&gone.id, "gone", at(1)).await.unwrap();

    assert_eq!(stores.api_keys.find_internal_owner(&digest, "clear").await.unwrap(), None);

    // Not even one that was written after the deletion.
    let late = internal_key(&gone.id);
    stores.api_keys.internal_key_or_insert(&late).await.unwrap();
    assert_eq!(stores.api_keys.find_internal_owner(late.digest.as_deref().unwrap(), "clear").await.unwrap(), None);
}
