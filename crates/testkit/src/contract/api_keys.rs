//! What every `ApiKeyRepository` must do: the agents' own internal keys, and who may come in with which. Keys that
//! people make have a suite of their own.

#![expect(missing_docs, reason = "the names of the cases are the sentences")]

use agentex_domain::ports::{InternalKey, KeyOwner, StoreError, Stores};
use agentex_domain::{AgentId, ApiKey, ApiKeyKind};

use super::stored::{stored_agent, stored_internal_key};
use crate::build::{api_key, at, internal_key};

pub async fn the_first_candidate_is_stored_and_later_ones_get_it(stores: &Stores) {
    let owner = stored_agent(stores, "owner").await;
    assert_eq!(stores.api_keys.internal_key(&owner.id).await.unwrap(), None);
    let first = ApiKey { created_at: at(3), name: "owner-api-key".into(), ..internal_key(&owner.id) };

    let stored = stores.api_keys.internal_key_or_insert(&first, None).await.unwrap();

    assert_eq!(stored, InternalKey { key: first.clone(), stored: true });
    for _ in 0..2 {
        let candidate = internal_key(&owner.id);
        let found = stores.api_keys.internal_key_or_insert(&candidate, None).await.unwrap();
        assert_eq!(found, InternalKey { key: first.clone(), stored: false });
        assert_eq!(stores.api_keys.find(&candidate.id).await.unwrap(), None);
    }
    let target = stores.agents.dial_target(&owner.id).await.unwrap().unwrap();
    assert_eq!(target.internal_key.as_ref(), Some(&first));
    assert_eq!(stores.api_keys.internal_key(&owner.id).await.unwrap(), Some(first));
}

pub async fn each_agent_has_a_key_of_its_own(stores: &Stores) {
    let (one, other) = (stored_agent(stores, "one").await, stored_agent(stores, "other").await);

    let its_key = stored_internal_key(stores, &one.id).await;
    let other_key = stored_internal_key(stores, &other.id).await;

    assert_eq!(stores.api_keys.internal_key(&one.id).await.unwrap(), Some(its_key));
    assert_eq!(stores.api_keys.internal_key(&other.id).await.unwrap(), Some(other_key));
    assert_eq!(stores.api_keys.internal_key(&AgentId::generate()).await.unwrap(), None);
}

/// Keys of other kinds do not count, and of several internal ones the newest does.
pub async fn an_agents_key_is_its_newest_internal_one(stores: &Stores) {
    let owner = stored_agent(stores, "owner").await;
    let key = |kind, name: &str, seconds| ApiKey { created_at: at(seconds), ..api_key(&owner.id, kind, name) };
    for kind in [ApiKeyKind::External, ApiKeyKind::Github, ApiKeyKind::Slack] {
        stores.api_keys.insert(&key(kind, "later", 99), None).await.unwrap();
    }
    assert_eq!(stores.api_keys.internal_key(&owner.id).await.unwrap(), None);
    let newest = key(ApiKeyKind::Internal, "newest", 50);
    stores.api_keys.insert(&newest, None).await.unwrap();
    stores.api_keys.insert(&key(ApiKeyKind::Internal, "older", 10), None).await.unwrap();

    let found =
        stores.api_keys.internal_key_or_insert(&key(ApiKeyKind::Internal, "candidate", 99), None).await.unwrap();

    assert_eq!(found, InternalKey { key: newest.clone(), stored: false });
    assert_eq!(stores.api_keys.internal_key(&owner.id).await.unwrap(), Some(newest));
}

pub async fn ten_concurrent_calls_get_one_and_the_same_key(stores: &Stores) {
    let owner = stored_agent(stores, "owner").await;

    let calls = (0..10).map(|_| {
        let (stores, candidate) = (stores.clone(), internal_key(&owner.id));
        tokio::spawn(async move { stores.api_keys.internal_key_or_insert(&candidate, None).await.unwrap() })
    });
    let answers: Vec<InternalKey> = futures::future::join_all(calls).await.into_iter().map(Result::unwrap).collect();

    for answer in &answers {
        assert_eq!(answer.key, answers[0].key);
    }
    assert_eq!(answers.iter().filter(|answer| answer.stored).count(), 1);
    let unowned = stores.owners.unowned(agentex_authz::ResourceKind::ApiKey, None, 100).await.unwrap();
    assert_eq!(unowned, [answers[0].key.id.to_string()], "there is only one key");
}

/// api-keys §7: 29
pub async fn the_owner_of_a_key_is_found_by_its_digest(stores: &Stores) {
    let (one, other) = (stored_agent(stores, "one").await, stored_agent(stores, "other").await);
    let key = stored_internal_key(stores, &one.id).await;
    stored_internal_key(stores, &other.id).await;

    let owner = stores.api_keys.find_internal_owner(key.digest.as_deref().unwrap(), "clear").await.unwrap();

    assert_eq!(owner, Some(KeyOwner { agent_id: one.id }));
    for wrong in ["", "digest", "' OR '1'='1", "%"] {
        assert_eq!(stores.api_keys.find_internal_owner(wrong, "clear").await.unwrap(), None, "{wrong}");
    }
}

/// authz §7: 48
pub async fn a_key_of_another_kind_has_no_owner_to_act_as(stores: &Stores) {
    let owner = stored_agent(stores, "owner").await;
    for kind in [ApiKeyKind::External, ApiKeyKind::Github, ApiKeyKind::Slack] {
        let key = api_key(&owner.id, kind, "key");
        stores.api_keys.insert(&key, None).await.unwrap();
        let legacy = ApiKey { digest: None, ..api_key(&owner.id, kind, "legacy") };
        stores.api_keys.insert(&legacy, None).await.unwrap();

        let digest = key.digest.unwrap();
        assert_eq!(stores.api_keys.find_internal_owner(&digest, "clear").await.unwrap(), None, "{kind:?}");
        assert_eq!(stores.api_keys.find_internal_owner("digest", &legacy.sealed).await.unwrap(), None, "{kind:?}");
    }
}

/// What the store keeps is not a credential: a leaked column must not open the door.
pub async fn a_row_with_a_digest_is_not_found_by_its_sealed_text(stores: &Stores) {
    let owner = stored_agent(stores, "owner").await;
    let key = stored_internal_key(stores, &owner.id).await;

    assert_eq!(stores.api_keys.find_internal_owner("unknown", &key.sealed).await.unwrap(), None);
    assert_eq!(stores.api_keys.find_internal_owner(&key.sealed, "clear").await.unwrap(), None);
}

pub async fn a_row_without_a_digest_is_found_by_the_clear_secret(stores: &Stores) {
    let owner = stored_agent(stores, "owner").await;
    let legacy = ApiKey { digest: None, sealed: "written-in-clear".into(), ..internal_key(&owner.id) };
    assert_eq!(stores.api_keys.internal_key_or_insert(&legacy, None).await.unwrap().key, legacy);

    let found = stores.api_keys.find_internal_owner("digest-of-it", "written-in-clear").await.unwrap();

    assert_eq!(found, Some(KeyOwner { agent_id: owner.id }));
    assert_eq!(stores.api_keys.find_internal_owner("digest-of-it", "other").await.unwrap(), None);
}

/// authz §7: 49
pub async fn a_deleted_agents_key_opens_nothing(stores: &Stores) {
    let gone = stored_agent(stores, "gone").await;
    let digest = stored_internal_key(stores, &gone.id).await.digest.unwrap();
    stores.agents.delete(&gone.id, "gone", at(1), None).await.unwrap();

    assert_eq!(stores.api_keys.find_internal_owner(&digest, "clear").await.unwrap(), None);

    // A key written later would open again once the agent is back.
    let late = stores.api_keys.internal_key_or_insert(&internal_key(&gone.id), None).await;
    assert!(matches!(late, Err(StoreError::Dangling { .. })), "{late:?}");
}

/// api-keys §7: 31
pub async fn a_deleted_internal_key_opens_nothing(stores: &Stores) {
    let owner = stored_agent(stores, "owner").await;
    let key = stored_internal_key(stores, &owner.id).await;
    let digest = key.digest.unwrap();
    assert!(stores.api_keys.find_internal_owner(&digest, "clear").await.unwrap().is_some());

    stores.api_keys.delete(&key.id, at(1), None).await.unwrap().unwrap();

    assert_eq!(stores.api_keys.find_internal_owner(&digest, "clear").await.unwrap(), None);
}

/// authz §7: 188
/// api-keys §7: 42
pub async fn an_external_key_opens_its_own_live_agent_only(stores: &Stores) {
    let (one, other) = (stored_agent(stores, "one").await, stored_agent(stores, "other").await);
    let key = api_key(&one.id, ApiKeyKind::External, "key");
    let legacy = ApiKey { digest: None, sealed: "in-clear".into(), ..api_key(&one.id, ApiKeyKind::External, "legacy") };
    let internal = internal_key(&one.id);
    for key in [&key, &legacy, &internal] {
        stores.api_keys.insert(key, None).await.unwrap();
    }
    let digest = key.digest.as_deref().unwrap();
    let opens = async |agent_id: &AgentId, digest: &str, clear: &str| {
        stores.api_keys.has_external(agent_id, digest, clear).await.unwrap()
    };

    assert!(opens(&one.id, digest, "clear").await);
    assert!(opens(&one.id, "unknown", "in-clear").await);
    assert!(!opens(&other.id, digest, "in-clear").await, "another agent's key");
    assert!(!opens(&one.id, internal.digest.as_deref().unwrap(), &internal.sealed).await, "a key of another kind");
    assert!(!opens(&one.id, "unknown", &key.sealed).await, "what is stored beside a digest");
    assert!(!opens(&AgentId::generate(), digest, "in-clear").await);

    stores.api_keys.delete(&key.id, at(1), None).await.unwrap().unwrap();
    assert!(!opens(&one.id, digest, "clear").await, "a deleted key");
    stores.agents.delete(&one.id, "gone", at(1), None).await.unwrap().unwrap();
    assert!(!opens(&one.id, "unknown", "in-clear").await, "a deleted agent's key");
}
