//! Orders and failure paths; what the wire shows is shown by the HTTP tests.

use agentex_authz::{Authorizer, AuthzError, Decision, MockAuthorizer, Principal};
use agentex_domain::ports::{Departure, SystemClock};
use agentex_domain::{AcpType, AgentId, AgentName, Intent, IntentId, IntentStep, Registration};
use serde_json::json;

use super::*;
use crate::testing::{self, Log, MockStores, at};

/// A store with one agent, an authorizer that allows everything, and what is asked of either.
struct World {
    log: Log,
    stores: MockStores,
    fails: &'static [&'static str],
    denies: &'static [Operation],
}

fn alice() -> Caller {
    Caller::Principal(Principal::from_json(json!({"user_id": "alice", "account_id": "acme"})))
}

fn agent() -> Agent {
    let registration = Registration {
        name: AgentName::parse("helper".to_owned()).unwrap(),
        description: String::new(),
        acp_url: "http://agent.test:1".to_owned(),
        acp_type: AcpType::Sync,
        agent_input_type: None,
        metadata: None,
    };
    Agent { id: AgentId::from("a"), ..registration.into_agent(at()) }
}

fn stored(id: &str) -> ApiKey {
    ApiKey {
        id: ApiKeyId::from(id),
        agent_id: AgentId::from("a"),
        name: "n".to_owned(),
        kind: ApiKeyKind::External,
        sealed: "hashed:v1:abcdefgh".to_owned(),
        digest: Some("d".to_owned()),
        created_at: at(),
    }
}

fn new_key() -> NewApiKey {
    let agent = AgentSelector::Id(AgentId::from("a"));
    NewApiKey { agent, name: "n".to_owned(), kind: ApiKeyKind::External, value: None }
}

impl World {
    fn new() -> Self {
        let mut stores = MockStores::default();
        stores.agents.expect_find().returning(|id| Ok((id.as_str() == "a").then(agent)));
        stores.agents.expect_find_by_name().returning(|name| Ok((name == "helper").then(agent)));
        Self { log: Log::default(), stores, fails: &[], denies: &[] }
    }

    fn without_key(mut self) -> Self {
        let log = self.log.clone();
        self.stores.api_keys.expect_find_by_name().returning(move |_, _, _| {
            log.add("look for duplicates");
            Ok(None)
        });
        self
    }

    /// What the store answers to an insert.
    fn inserting(mut self, answer: fn() -> Result<(), StoreError>) -> Self {
        let log = self.log.clone();
        self.stores.api_keys.expect_insert().returning(move |_, settles| {
            log.add(if settles.is_some() { "insert" } else { "insert without intent" });
            answer()
        });
        self
    }

    fn authorizer(&self) -> Arc<dyn Authorizer> {
        let mut authorizer = MockAuthorizer::new();
        let (log, denies) = (self.log.clone(), self.denies);
        let decide = move |operation: Operation, resource: &ResourceRef| {
            log.add(format!("{operation} {}", resource.kind));
            if denies.contains(&operation) { Decision::Deny } else { Decision::Allow }
        };
        let one = decide.clone();
        authorizer.expect_check().returning(move |_, operation, resource| Ok(one(operation, resource)));
        authorizer.expect_check_many().returning(move |_, checks| {
            Ok(checks.iter().map(|check| decide(check.operation, &check.resource)).collect())
        });
        let (log, fails) = (self.log.clone(), self.fails);
        let answer = move |verb: &'static str| {
            log.add(verb);
            if fails.contains(&verb) { Err(AuthzError::Unavailable("down".into())) } else { Ok(()) }
        };
        let called = answer.clone();
        authorizer.expect_register().returning(move |owner, resource, parent| {
            assert_eq!((owner.user_id(), resource.kind), (Some("alice"), ResourceKind::ApiKey));
            assert_eq!(parent, Some(ResourceRef::agent("a")));
            called("register")
        });
        let called = answer.clone();
        authorizer.expect_grant().returning(move |_, _, _| called("grant"));
        let called = answer.clone();
        authorizer.expect_deregister().returning(move |_, _| called("deregister"));
        authorizer.expect_revoke().returning(move |_, _, _| answer("revoke"));
        Arc::new(authorizer)
    }

    fn keys(self) -> (ApiKeys, Log) {
        let authorizer = self.authorizer();
        self.with(Some(authorizer))
    }

    fn with(self, authorizer: Option<Arc<dyn Authorizer>>) -> (ApiKeys, Log) {
        let keys = ApiKeys::new(
            self.stores.into_stores(),
            testing::guard(authorizer.clone()),
            testing::lifecycle(authorizer),
            Keyring::new(None, "pepper"),
            Arc::new(SystemClock),
            None,
        );
        (keys, self.log)
    }
}

/// authz §7: 152; api-keys §7: 26
#[tokio::test]
async fn a_key_is_registered_under_its_agent_before_it_is_stored() {
    let (keys, log) = World::new().without_key().inserting(|| Ok(())).keys();

    let created = keys.create(&alice(), new_key()).await.unwrap();

    assert_eq!(created.key.digest, Some(Keyring::new(None, "pepper").digest(&created.value)));
    assert_eq!(created.key.sealed, format!("hashed:v1:{}", &created.value[..8]));
    assert_eq!(log.entries(), ["update agent", "look for duplicates", "register", "insert", "grant"]);
}

/// authz §7: 151
#[tokio::test]
async fn who_may_not_make_a_key_does_not_learn_of_duplicates() {
    for (denies, readable) in [(&[Operation::Update][..], true), (&[Operation::Update, Operation::Read], false)] {
        let (keys, log) = World { denies, ..World::new() }.keys();

        let refused = keys.create(&alice(), new_key()).await;

        match refused {
            Err(Error::Forbidden { .. }) => assert!(readable),
            Err(Error::NotFound(Absent::Id(id))) => assert!(!readable && id == "a"),
            other => panic!("{other:?}"),
        }
        assert_eq!(log.entries(), ["update agent", "read agent"]);
    }
}

/// authz §7: 153; api-keys §7: 24
#[tokio::test]
async fn without_registration_there_is_no_row() {
    let (keys, log) = World { fails: &["register"], ..World::new().without_key() }.keys();

    let failed = keys.create(&alice(), new_key()).await;

    assert!(matches!(failed, Err(Error::Authz(AuthzError::Unavailable(_)))), "{failed:?}");
    assert_eq!(log.entries(), ["update agent", "look for duplicates", "register"]);
}

/// authz §7: 154; api-keys §7: 25
#[tokio::test]
async fn a_failed_insert_takes_its_registration_back_and_says_why_it_failed() {
    type Answer = fn() -> Result<(), StoreError>;
    type Outcome = fn(&Error) -> bool;
    let cases: [(Answer, Outcome); 4] = [
        (
            || Err(StoreError::Unavailable("down".into())),
            |error| matches!(error, Error::Store(StoreError::Unavailable(_))),
        ),
        (
            || Err(StoreError::Duplicate { what: "api key" }),
            |error| matches!(error, Error::Conflict(text) if text.contains("'n' already exists")),
        ),
        (
            || Err(StoreError::Duplicate { what: "api key value" }),
            |error| matches!(error, Error::Conflict(text) if text.contains("this value")),
        ),
        // The agent went meanwhile.
        (
            || Err(StoreError::Dangling { what: "api key" }),
            |error| matches!(error, Error::NotFound(Absent::Id(id)) if id == "a"),
        ),
    ];
    for (answer, expected) in cases {
        for fails in [&[][..], &["deregister"]] {
            let (keys, log) = World { fails, ..World::new().without_key().inserting(answer) }.keys();

            let error = keys.create(&alice(), new_key()).await.unwrap_err();

            assert!(expected(&error), "{error:?}");
            let happened = ["update agent", "look for duplicates", "register", "insert", "deregister"];
            assert_eq!(log.entries(), happened);
        }
    }
}

/// authz §7: 155; api-keys §7: 26
#[tokio::test]
async fn without_somebody_to_own_it_a_key_is_stored_and_nothing_is_registered() {
    let nobody = Caller::Principal(Principal::from_json(json!({"account_id": "acme"})));
    let (keys, log) = World::new().without_key().inserting(|| Ok(())).keys();

    keys.create(&nobody, new_key()).await.unwrap();

    assert_eq!(log.entries(), ["update agent", "look for duplicates", "insert without intent"]);
    let (keys, log) = World::new().without_key().inserting(|| Ok(())).with(None);
    keys.create(&Caller::Anonymous, new_key()).await.unwrap();
    assert_eq!(log.entries(), ["look for duplicates", "insert without intent"]);
}

fn deleting(world: &mut World, answer: Option<&'static str>) {
    let log = world.log.clone();
    world.stores.api_keys.expect_delete().returning(move |id, at, departure: Option<Departure>| {
        log.add(format!("delete {id}"));
        let Some(departure) = departure else { return Ok(answer.map(|_| Vec::new())) };
        Ok(answer.map(|owner| {
            vec![Intent {
                id: IntentId::generate(),
                resource: ResourceRef::api_key(id.as_str()),
                parent: Some(ResourceRef::agent("a")),
                owner: Principal::from_json(json!({"user_id": owner})),
                step: IntentStep::Deregistering,
                attempts: 0,
                last_error: None,
                created_at: at,
                due_at: departure.due_at,
            }]
        }))
    });
}

/// authz §7: 160; api-keys §7: 23
#[tokio::test]
async fn a_deleted_key_is_gone_whatever_becomes_of_its_edges() {
    for fails in [&[][..], &["deregister", "revoke"]] {
        let mut world = World { fails, ..World::new() };
        deleting(&mut world, Some("alice"));
        let (keys, log) = world.keys();

        keys.delete(&alice(), &ApiKeyId::from("k")).await.unwrap();

        assert_eq!(log.entries(), ["delete api_key", "delete k", "deregister", "revoke"]);
    }
}

/// authz §7: 161; api-keys §7: 21
#[tokio::test]
async fn deleting_what_is_gone_leaves_the_graph_alone() {
    let mut world = World::new();
    deleting(&mut world, None);
    let (keys, log) = world.keys();

    keys.delete(&alice(), &ApiKeyId::from("k")).await.unwrap();

    assert_eq!(log.entries(), ["delete api_key", "delete k"]);
}

/// authz §7: 158
#[tokio::test]
async fn the_key_that_was_found_is_the_one_that_goes() {
    let mut world = World::new();
    world.stores.api_keys.expect_find_by_name().once().returning(|_, _, _| Ok(Some(stored("old"))));
    deleting(&mut world, Some("alice"));
    let (keys, log) = world.keys();
    let name = ApiKeyName { agent: AgentSelector::Name("helper".into()), name: "n".into(), kind: ApiKeyKind::External };

    keys.delete_by_name(&alice(), &name).await.unwrap();

    assert_eq!(log.entries(), ["read agent", "delete api_key", "delete old", "deregister", "revoke"]);
}

/// authz §7: 157
#[tokio::test]
async fn an_absent_key_and_an_absent_agent_cost_the_questions_of_hidden_ones() {
    let ask = async |agent: &str, found: Option<&'static str>, denies: &'static [Operation]| {
        let mut world = World { denies, ..World::new() };
        world.stores.api_keys.expect_find_by_name().returning(move |_, _, _| Ok(found.map(stored)));
        let (keys, log) = world.keys();
        let agent = AgentSelector::Name(agent.to_owned());
        let name = ApiKeyName { agent, name: "n".to_owned(), kind: ApiKeyKind::External };
        let refused = keys.delete_by_name(&alice(), &name).await;
        assert!(matches!(refused, Err(Error::NotFound(Absent::ApiKey))), "{refused:?}");
        log.entries()
    };
    let nothing = &[Operation::Read, Operation::Delete];

    let hidden = ask("helper", Some("k"), nothing).await;
    assert_eq!(hidden, ["read agent", "delete api_key"]);
    assert_eq!(ask("helper", None, nothing).await, hidden);
    assert_eq!(ask("unknown", None, nothing).await, hidden);
}

#[tokio::test]
async fn agents_in_their_own_scope_manage_no_keys() {
    let agent = Caller::agent(AgentId::from("a"));
    let (keys, log) = World::new().keys();

    let refused = keys.create(&agent, NewApiKey { kind: ApiKeyKind::Internal, ..new_key() }).await;

    assert!(matches!(refused, Err(Error::Forbidden { .. })), "{refused:?}");
    let refused = keys.delete(&agent, &ApiKeyId::from("k")).await;
    assert!(matches!(refused, Err(Error::NotFound(Absent::ApiKey))), "{refused:?}");
    assert!(log.entries().is_empty(), "nobody is asked about an agent");
}
