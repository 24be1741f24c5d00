//! API keys that people make, as every `ApiKeyRepository` must keep them.

#![expect(missing_docs, reason = "the names of the cases are the sentences")]

use agentex_authz::{Scope, Selectors};
use agentex_domain::ports::{ApiKeyFilter, StoreError, Stores};
use agentex_domain::{AgentId, ApiKey, ApiKeyId, ApiKeyKind, PageRequest};

use super::stored::stored_agent;
use crate::build::{api_key, at};

fn filter(agent_id: &AgentId) -> ApiKeyFilter {
    ApiKeyFilter { scope: Scope::All, agent_id: agent_id.clone(), kind: None }
}

fn page(limit: u32, page_number: u64) -> PageRequest {
    PageRequest { limit, page_number }
}

async fn listed(stores: &Stores, filter: &ApiKeyFilter, page: PageRequest) -> Vec<ApiKeyId> {
    stores.api_keys.list(filter, page).await.unwrap().into_iter().map(|key| key.id).collect()
}

async fn stored(stores: &Stores, key: ApiKey) -> ApiKey {
    stores.api_keys.insert(&key, None).await.unwrap();
    key
}

pub async fn an_inserted_key_reads_back_equal_whatever_its_kind(stores: &Stores) {
    let owner = stored_agent(stores, "owner").await;
    for (name, kind) in ApiKeyKind::ALL {
        let full = ApiKey { created_at: at(4), ..api_key(&owner.id, kind, name) };
        let legacy = ApiKey { digest: None, ..api_key(&owner.id, kind, "an 'odd'/name \u{1F980}%") };
        for key in [full, legacy] {
            stored(stores, key.clone()).await;
            assert_eq!(stores.api_keys.find(&key.id).await.unwrap().as_ref(), Some(&key));
            let by_name = stores.api_keys.find_by_name(&owner.id, &key.name, kind).await.unwrap();
            assert_eq!(by_name, Some(key));
        }
    }
    assert_eq!(stores.api_keys.find(&ApiKeyId::generate()).await.unwrap(), None);
    assert_eq!(stores.api_keys.find(&ApiKeyId::from("not a 'uuid'")).await.unwrap(), None);
}

/// api-keys §7: 16, 17
pub async fn a_key_is_found_by_the_name_its_agent_gave_it_in_its_kind(stores: &Stores) {
    let (one, other) = (stored_agent(stores, "one").await, stored_agent(stores, "other").await);
    let key = stored(stores, api_key(&one.id, ApiKeyKind::Github, "acme/w")).await;
    let find =
        async |agent_id: &AgentId, name: &str, kind| stores.api_keys.find_by_name(agent_id, name, kind).await.unwrap();

    assert_eq!(find(&one.id, "acme/w", ApiKeyKind::Github).await, Some(key));
    assert_eq!(find(&one.id, "acme/w", ApiKeyKind::External).await, None);
    assert_eq!(find(&other.id, "acme/w", ApiKeyKind::Github).await, None);
    for wrong in ["ACME/W", "acme/w ", "acme_w", "acme/%", "' OR '1'='1", ""] {
        assert_eq!(find(&one.id, wrong, ApiKeyKind::Github).await, None, "{wrong:?}");
    }
}

/// api-keys §7: 7, 8
pub async fn a_name_is_taken_within_its_agent_and_kind_only(stores: &Stores) {
    let (one, other) = (stored_agent(stores, "one").await, stored_agent(stores, "other").await);
    let first = stored(stores, api_key(&one.id, ApiKeyKind::External, "n")).await;
    stored(stores, api_key(&one.id, ApiKeyKind::Github, "n")).await;
    stored(stores, api_key(&other.id, ApiKeyKind::External, "n")).await;
    let late = api_key(&one.id, ApiKeyKind::External, "n");

    let refused = stores.api_keys.insert(&late, None).await;

    assert!(matches!(refused, Err(StoreError::Duplicate { what: "api key" })), "{refused:?}");
    assert_eq!(stores.api_keys.find(&late.id).await.unwrap(), None);
    assert_eq!(stores.api_keys.find(&first.id).await.unwrap().as_ref(), Some(&first));
    let by_name = stores.api_keys.find_by_name(&one.id, "n", ApiKeyKind::External).await.unwrap();
    assert_eq!(by_name, Some(first));
}

/// Whoever sends a secret is one caller: two keys must not share it.
pub async fn a_known_digest_is_refused_whatever_its_agent_and_kind(stores: &Stores) {
    let (one, other) = (stored_agent(stores, "one").await, stored_agent(stores, "other").await);
    let first = stored(stores, api_key(&one.id, ApiKeyKind::External, "first")).await;

    for (agent, kind) in [(&one, ApiKeyKind::External), (&one, ApiKeyKind::Internal), (&other, ApiKeyKind::External)] {
        let same = ApiKey { digest: first.digest.clone(), ..api_key(&agent.id, kind, "second") };
        let refused = stores.api_keys.insert(&same, None).await;
        assert!(matches!(refused, Err(StoreError::Duplicate { what: "api key value" })), "{kind:?}: {refused:?}");
        assert_eq!(stores.api_keys.find(&same.id).await.unwrap(), None);
    }
    for name in ["no digest", "neither"] {
        stored(stores, ApiKey { digest: None, ..api_key(&one.id, ApiKeyKind::External, name) }).await;
    }
}

/// api-keys §7: 6
pub async fn a_key_of_an_absent_or_deleted_agent_is_dangling(stores: &Stores) {
    let gone = stored_agent(stores, "gone").await;
    stores.agents.delete(&gone.id, "gone", at(1), None).await.unwrap().unwrap();

    for agent_id in [gone.id, AgentId::generate()] {
        let key = api_key(&agent_id, ApiKeyKind::External, "n");
        let refused = stores.api_keys.insert(&key, None).await;
        assert!(matches!(refused, Err(StoreError::Dangling { .. })), "{refused:?}");
        assert_eq!(stores.api_keys.find(&key.id).await.unwrap(), None);
    }
}

/// authz §7: 163
/// api-keys §7: 9
pub async fn of_concurrent_inserts_of_one_name_one_wins(stores: &Stores) {
    let owner = stored_agent(stores, "owner").await;
    for round in 0..10 {
        let name = format!("name-{round}");
        let inserts = [(), ()].map(|()| {
            let (stores, key) = (stores.clone(), api_key(&owner.id, ApiKeyKind::External, &name));
            tokio::spawn(async move { stores.api_keys.insert(&key, None).await.map(|()| key.id) })
        });

        let outcomes: Vec<_> = futures::future::join_all(inserts).await.into_iter().map(Result::unwrap).collect();

        let winners: Vec<&ApiKeyId> = outcomes.iter().flatten().collect();
        assert_eq!(winners.len(), 1, "{outcomes:?}");
        let loser = outcomes.iter().find_map(|outcome| outcome.as_ref().err());
        assert!(matches!(loser, Some(StoreError::Duplicate { what: "api key" })), "{outcomes:?}");
        let kept = stores.api_keys.find_by_name(&owner.id, &name, ApiKeyKind::External).await.unwrap().unwrap();
        assert_eq!(&kept.id, winners[0]);
    }
}

/// Either the deletion drops the key or the key is refused.
pub async fn a_key_made_while_its_agent_is_deleted_does_not_outlive_it(stores: &Stores) {
    for round in 0..20 {
        let owner = stored_agent(stores, &format!("owner-{round}")).await;
        let key = api_key(&owner.id, ApiKeyKind::External, "n");
        let insert = {
            let (stores, key) = (stores.clone(), key.clone());
            tokio::spawn(async move { stores.api_keys.insert(&key, None).await })
        };
        let delete = {
            let (stores, id) = (stores.clone(), owner.id.clone());
            tokio::spawn(async move { stores.agents.delete(&id, "gone", at(1), None).await })
        };

        let inserted = insert.await.unwrap();
        delete.await.unwrap().unwrap().unwrap();

        assert!(matches!(inserted, Ok(()) | Err(StoreError::Dangling { .. })), "{inserted:?}");
        assert_eq!(stores.api_keys.find(&key.id).await.unwrap(), None, "after {inserted:?}");
    }
}

/// api-keys §7: 13
pub async fn keys_are_listed_oldest_first_in_pages(stores: &Stores) {
    let (owner, other) = (stored_agent(stores, "owner").await, stored_agent(stores, "other").await);
    stored(stores, api_key(&other.id, ApiKeyKind::External, "foreign")).await;
    let mut expected = Vec::new();
    for (name, seconds) in [("e", 5), ("a", 1), ("d", 3), ("c", 3), ("b", 2)] {
        let key = ApiKey { created_at: at(seconds), ..api_key(&owner.id, ApiKeyKind::External, name) };
        expected.push(stored(stores, key).await);
    }
    expected.sort_by(|one, other| (one.created_at, &one.id).cmp(&(other.created_at, &other.id)));
    let ids: Vec<ApiKeyId> = expected.iter().map(|key| key.id.clone()).collect();

    assert_eq!(stores.api_keys.list(&filter(&owner.id), PageRequest::default()).await.unwrap(), expected);
    assert_eq!(listed(stores, &filter(&owner.id), page(2, 1)).await, ids[..2]);
    assert_eq!(listed(stores, &filter(&owner.id), page(2, 2)).await, ids[2..4]);
    assert_eq!(listed(stores, &filter(&owner.id), page(2, 3)).await, ids[4..]);
    assert_eq!(listed(stores, &filter(&owner.id), page(2, 4)).await, []);
    assert_eq!(listed(stores, &filter(&AgentId::generate()), page(2, 1)).await, []);
}

pub async fn a_list_of_keys_can_be_limited_to_a_kind(stores: &Stores) {
    let owner = stored_agent(stores, "owner").await;
    for (name, kind) in ApiKeyKind::ALL {
        stored(stores, api_key(&owner.id, kind, name)).await;
    }

    for (name, kind) in ApiKeyKind::ALL {
        let asked = ApiKeyFilter { kind: Some(kind), ..filter(&owner.id) };
        let keys = stores.api_keys.list(&asked, PageRequest::default()).await.unwrap();
        assert_eq!(keys.iter().map(|key| key.name.as_str()).collect::<Vec<_>>(), [name]);
    }
}

/// authz §7: 156
/// api-keys §7: 15
pub async fn a_scope_limits_the_list_of_keys_and_its_pages(stores: &Stores) {
    let (owner, other) = (stored_agent(stores, "owner").await, stored_agent(stores, "other").await);
    let foreign = stored(stores, api_key(&other.id, ApiKeyKind::External, "foreign")).await.id;
    let mut ids = Vec::new();
    for seconds in 0..6 {
        let key = api_key(&owner.id, ApiKeyKind::External, &format!("key {seconds}"));
        ids.push(stored(stores, ApiKey { created_at: at(seconds), ..key }).await.id);
    }
    let seen = [&ids[1], &ids[2], &ids[4], &foreign, &ApiKeyId::generate()];
    let scope = Scope::Only(seen.into_iter().map(ToString::to_string).collect());
    let asked = ApiKeyFilter { scope, ..filter(&owner.id) };

    assert_eq!(listed(stores, &asked, page(2, 1)).await, [ids[1].clone(), ids[2].clone()]);
    assert_eq!(listed(stores, &asked, page(2, 2)).await, [ids[4].clone()]);
    let nothing = ApiKeyFilter { scope: Scope::Only(Selectors::default()), ..filter(&owner.id) };
    assert_eq!(listed(stores, &nothing, page(50, 1)).await, []);
}

/// authz §7: 158
pub async fn a_key_is_deleted_by_its_id_and_its_name_is_free_again(stores: &Stores) {
    let owner = stored_agent(stores, "owner").await;
    let first = stored(stores, api_key(&owner.id, ApiKeyKind::External, "n")).await;
    let kept = stored(stores, api_key(&owner.id, ApiKeyKind::External, "kept")).await;

    assert_eq!(stores.api_keys.delete(&first.id, at(1), None).await.unwrap(), Some(Vec::new()));

    assert_eq!(stores.api_keys.find(&first.id).await.unwrap(), None);
    let second = stored(stores, ApiKey { digest: first.digest, ..api_key(&owner.id, ApiKeyKind::External, "n") }).await;
    assert_eq!(stores.api_keys.delete(&first.id, at(2), None).await.unwrap(), None);
    assert_eq!(stores.api_keys.delete(&ApiKeyId::generate(), at(2), None).await.unwrap(), None);
    for key in [second, kept] {
        assert_eq!(stores.api_keys.find(&key.id).await.unwrap(), Some(key));
    }
}
