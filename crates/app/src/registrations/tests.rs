//! Orders and refusals of registration that only a scripted authorizer can show.

use std::sync::Arc;

use agentex_authz::{AuthzError, Decision, MockAuthorizer};
use agentex_domain::ports::{Reregistered, SystemClock};
use agentex_domain::{AcpType, AgentStatus};
use serde_json::json;

use super::*;
use crate::testing::{Log, MockStores, at};

fn alice() -> Principal {
    Principal::from_json(json!({"user_id": "alice", "account_id": "acme"}))
}

fn registration() -> Registration {
    Registration {
        name: AgentName::parse("echo".into()).unwrap(),
        description: "d".into(),
        acp_url: "http://agent:8000".into(),
        acp_type: AcpType::Sync,
        agent_input_type: None,
        metadata: None,
    }
}

fn request(principal: Option<Principal>) -> RegisterAgent {
    RegisterAgent { agent_id: None, principal_context: principal, registration: registration() }
}

fn build() -> RegisterBuild {
    let registration = registration();
    RegisterBuild {
        name: registration.name,
        description: registration.description,
        metadata: None,
        agent_input_type: None,
    }
}

fn stored(status: AgentStatus) -> Agent {
    let mut agent = registration().into_agent(at());
    agent.id = "stored".into();
    agent.status = status;
    agent
}

/// An authorizer that logs its calls by alice and answers checks by the resource and operation.
fn authorizer(log: &Log, allows: fn(&str) -> bool) -> MockAuthorizer {
    let mut authorizer = MockAuthorizer::new();
    let seen = log.clone();
    authorizer.expect_check().returning(move |principal, operation, resource| {
        assert_eq!(principal.user_id(), Some("alice"));
        let selector = if resource.selector == "*" { "*" } else { "id" };
        let question = format!("{operation} {}:{selector}", resource.kind);
        let decision = if allows(&question) { Decision::Allow } else { Decision::Deny };
        seen.add(format!("check {question}"));
        Ok(decision)
    });
    let seen = log.clone();
    authorizer.expect_grant().returning(move |principal, _, _| {
        assert_eq!(principal.user_id(), Some("alice"));
        seen.add("grant");
        Ok(())
    });
    let seen = log.clone();
    authorizer.expect_deregister().returning(move |principal, _| {
        assert_eq!(principal.user_id(), Some("alice"));
        seen.add("deregister");
        Ok(())
    });
    authorizer
}

fn registering(log: &Log, mut authorizer: MockAuthorizer) -> MockAuthorizer {
    let seen = log.clone();
    authorizer.expect_register().returning(move |principal, _, parent| {
        assert_eq!((principal.user_id(), parent), (Some("alice"), None));
        seen.add("register");
        Ok(())
    });
    authorizer
}

fn registrations(stores: MockStores, authorizer: MockAuthorizer) -> Registrations {
    let authorizer: Arc<dyn agentex_authz::Authorizer> = Arc::new(authorizer);
    Registrations::new(
        stores.into_stores(),
        Guard::new(Arc::clone(&authorizer)),
        Lifecycle::new(authorizer),
        Keyring::new(None, ""),
        Arc::new(SystemClock),
    )
}

fn keyed(mut stores: MockStores) -> MockStores {
    stores.api_keys.expect_internal_key_or_insert().returning(|candidate| Ok(candidate.clone()));
    stores
}

fn inserting(log: &Log, mut stores: MockStores, outcome: fn() -> Result<(), StoreError>) -> MockStores {
    let seen = log.clone();
    stores.agents.expect_insert().returning(move |_| {
        seen.add("insert");
        outcome()
    });
    stores
}

#[tokio::test]
async fn a_new_agent_is_checked_registered_inserted_and_granted_in_this_order() {
    let log = Log::default();
    let mut stores = keyed(inserting(&log, MockStores::default(), || Ok(())));
    stores.agents.expect_find_by_name().returning(|_| Ok(None));
    let registrations = registrations(stores, registering(&log, authorizer(&log, |_| true)));

    let registered = registrations.register(&Caller::Anonymous, request(Some(alice()))).await.unwrap();

    assert_eq!(log.entries(), ["check create agent:*", "register", "insert", "grant"]);
    assert_eq!((registered.agent.status, registered.api_key.len()), (AgentStatus::Ready, 64));
}

#[tokio::test]
async fn a_caller_who_may_not_create_leaves_nothing_behind() {
    let log = Log::default();
    let mut stores = MockStores::default();
    stores.agents.expect_find_by_name().returning(|_| Ok(None));
    let registrations = registrations(stores, authorizer(&log, |_| false));

    let refused = registrations.register(&Caller::Anonymous, request(Some(alice()))).await;

    assert!(matches!(refused, Err(Error::Forbidden { .. })), "{refused:?}");
    assert_eq!(log.entries(), ["check create agent:*"]);
}

#[tokio::test]
async fn without_a_creator_nothing_is_asked_or_recorded() {
    for principal in
        [None, Some(Principal::from_json(json!({}))), Some(Principal::from_json(json!({"account_id": "acme"})))]
    {
        let log = Log::default();
        let mut stores = keyed(inserting(&log, MockStores::default(), || Ok(())));
        stores.agents.expect_find_by_name().returning(|_| Ok(None));
        let registrations = registrations(stores, MockAuthorizer::new());

        registrations.register(&Caller::Anonymous, request(principal)).await.unwrap();

        assert_eq!(log.entries(), ["insert"]);
    }
}

#[tokio::test]
async fn a_failed_registration_inserts_nothing_and_a_failed_insert_is_taken_back() {
    let log = Log::default();
    let mut stores = MockStores::default();
    stores.agents.expect_find_by_name().returning(|_| Ok(None));
    let mut failing = authorizer(&log, |_| true);
    failing.expect_register().returning(|_, _, _| Err(AuthzError::Unavailable("down".into())));
    let refused = registrations(stores, failing).register(&Caller::Anonymous, request(Some(alice()))).await;
    assert!(matches!(refused, Err(Error::Authz(AuthzError::Unavailable(_)))), "{refused:?}");
    assert_eq!(log.entries(), ["check create agent:*"]);

    let log = Log::default();
    let mut stores = inserting(&log, MockStores::default(), || Err(StoreError::Unavailable("down".into())));
    stores.agents.expect_find_by_name().returning(|_| Ok(None));
    let registrations = registrations(stores, registering(&log, authorizer(&log, |_| true)));
    let refused = registrations.register(&Caller::Anonymous, request(Some(alice()))).await;
    assert!(matches!(refused, Err(Error::Store(StoreError::Unavailable(_)))), "{refused:?}");
    assert_eq!(log.entries(), ["check create agent:*", "register", "insert", "deregister"]);
}

#[tokio::test]
async fn the_loser_of_a_race_adopts_the_winner_without_a_grant() {
    let log = Log::default();
    let mut stores = keyed(inserting(&log, MockStores::default(), || Err(StoreError::Duplicate { what: "agent" })));
    let mut looked = 0;
    stores.agents.expect_find_by_name().returning(move |_| {
        looked += 1;
        Ok((looked > 1).then(|| stored(AgentStatus::Ready)))
    });
    let registrations = registrations(stores, registering(&log, authorizer(&log, |_| true)));

    let registered = registrations.register(&Caller::Anonymous, request(Some(alice()))).await.unwrap();

    assert_eq!(registered.agent.id.as_str(), "stored");
    assert_eq!(log.entries(), ["check create agent:*", "register", "insert", "deregister", "check update agent:id"]);
}

#[tokio::test]
async fn an_existing_agent_needs_update_and_is_neither_registered_nor_granted() {
    let log = Log::default();
    let mut stores = keyed(MockStores::default());
    stores.agents.expect_find_by_name().returning(|_| Ok(Some(stored(AgentStatus::Ready))));
    stores.agents.expect_register_again().once().returning(|_, _, by_id, _| {
        assert!(!by_id);
        Ok(Some(Reregistered { agent: stored(AgentStatus::Ready), changed: false, revived: false }))
    });
    registrations(stores, authorizer(&log, |_| true))
        .register(&Caller::Anonymous, request(Some(alice())))
        .await
        .unwrap();
    assert_eq!(log.entries(), ["check update agent:id"]);

    let hidden = |_: &str| false;
    let visible = |question: &str| question.starts_with("read");
    for (allows, forbidden) in [(hidden as fn(&str) -> bool, false), (visible, true)] {
        let mut stores = MockStores::default();
        stores.agents.expect_find_by_name().returning(|_| Ok(Some(stored(AgentStatus::Ready))));
        let refused = registrations(stores, authorizer(&Log::default(), allows))
            .register(&Caller::Anonymous, request(Some(alice())))
            .await;
        match refused {
            Err(Error::Forbidden { .. }) => assert!(forbidden),
            Err(Error::NotFound(Absent::Name(name))) => assert!(!forbidden && name == "echo"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn registering_over_a_deleted_agent_is_a_create_for_authorization() {
    let log = Log::default();
    let mut stores = keyed(MockStores::default());
    stores.agents.expect_find_by_name().returning(|_| Ok(Some(stored(AgentStatus::Deleted))));
    let seen = log.clone();
    stores.agents.expect_register_again().returning(move |_, _, _, _| {
        seen.add("revive");
        Ok(Some(Reregistered { agent: stored(AgentStatus::Ready), changed: true, revived: true }))
    });
    let registrations = registrations(stores, registering(&log, authorizer(&log, |_| true)));

    let registered = registrations.register(&Caller::Anonymous, request(Some(alice()))).await.unwrap();

    assert_eq!(registered.agent.id.as_str(), "stored");
    assert_eq!(log.entries(), ["check create agent:*", "register", "revive", "grant"]);
}

#[tokio::test]
async fn a_build_of_a_hidden_name_learns_only_that_it_is_taken() {
    let log = Log::default();
    let mut stores = MockStores::default();
    stores.agents.expect_find_by_name().returning(|_| Ok(Some(stored(AgentStatus::Ready))));
    let allows = |question: &str| question == "create agent:*";
    let registrations = registrations(stores, authorizer(&log, allows));

    let refused = registrations.register_build(&Caller::Principal(alice()), build()).await;

    match refused {
        Err(Error::Conflict(text)) => assert_eq!(text, "Agent name 'echo' is not available."),
        other => panic!("{other:?}"),
    }
    assert_eq!(log.entries(), ["check create agent:*", "check read agent:id"]);
}

#[tokio::test]
async fn a_build_of_a_readable_name_gets_the_row_and_no_grant() {
    let log = Log::default();
    let mut stores = MockStores::default();
    stores.agents.expect_find_by_name().returning(|_| Ok(Some(stored(AgentStatus::Ready))));
    let registrations = registrations(stores, authorizer(&log, |_| true));

    let agent = registrations.register_build(&Caller::Principal(alice()), build()).await.unwrap();

    assert_eq!((agent.id.as_str(), agent.status), ("stored", AgentStatus::Ready));
    assert_eq!(log.entries(), ["check create agent:*", "check read agent:id"]);
}

#[tokio::test]
async fn a_new_build_is_build_only_and_its_lost_race_is_not_granted() {
    let log = Log::default();
    let mut stores = inserting(&log, MockStores::default(), || Ok(()));
    stores.agents.expect_find_by_name().returning(|_| Ok(None));
    let new = registrations(stores, registering(&log, authorizer(&log, |_| true)));
    let agent = new.register_build(&Caller::Principal(alice()), build()).await.unwrap();
    assert_eq!((agent.status, agent.acp_url, agent.acp_type), (AgentStatus::BuildOnly, None, AcpType::Async));
    assert_eq!(log.entries(), ["check create agent:*", "register", "insert", "grant"]);

    let log = Log::default();
    let mut stores = inserting(&log, MockStores::default(), || Err(StoreError::Duplicate { what: "agent" }));
    let mut looked = 0;
    stores.agents.expect_find_by_name().returning(move |_| {
        looked += 1;
        Ok((looked > 1).then(|| stored(AgentStatus::BuildOnly)))
    });
    let lost = registrations(stores, registering(&log, authorizer(&log, |_| true)));
    let winner = lost.register_build(&Caller::Principal(alice()), build()).await.unwrap();
    assert_eq!(winner.id.as_str(), "stored");
    assert_eq!(log.entries(), ["check create agent:*", "register", "insert", "deregister", "check read agent:id"]);
}

#[tokio::test]
async fn an_agents_own_key_registers_that_agent_and_no_other() {
    let registering = |id: &str| {
        let caller = Caller::Agent(id.into());
        async move {
            let mut stores = keyed(MockStores::default());
            stores.agents.expect_find_by_name().returning(|_| Ok(Some(stored(AgentStatus::Ready))));
            stores.agents.expect_register_again().returning(|_, _, _, _| {
                Ok(Some(Reregistered { agent: stored(AgentStatus::Ready), changed: false, revived: false }))
            });
            registrations(stores, MockAuthorizer::new()).register(&caller, request(None)).await
        }
    };

    assert!(registering("stored").await.is_ok());
    assert!(matches!(registering("other").await, Err(Error::AgentKeyRefused)));
}

#[tokio::test]
async fn urls_and_deployment_ids_are_checked_before_anything_else() {
    let mut wrong = request(None);
    wrong.registration.acp_url = "ftp://x".into();
    wrong.registration.metadata = json!({"deployment_id": 5}).as_object().cloned();
    let registrations = registrations(MockStores::default(), MockAuthorizer::new());

    let Err(Error::Unprocessable(problems)) = registrations.register(&Caller::Anonymous, wrong).await else {
        panic!("accepted")
    };

    let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(paths, ["body.acp_url", "body.registration_metadata.deployment_id"]);
    for url in ["", "agent:8000", "http://", "/api", "file:///x"] {
        let mut wrong = request(None);
        wrong.registration.acp_url = url.into();
        let refused = registrations.register(&Caller::Anonymous, wrong).await;
        assert!(matches!(refused, Err(Error::Unprocessable(_))), "{url}: {refused:?}");
    }
}
