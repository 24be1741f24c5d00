//! Orders and refusals of registration that only a scripted authorizer can show.

use std::sync::Arc;

use agentex_authz::{AuthzError, Decision, MockAuthorizer};
use agentex_domain::ports::{Reregistered, SystemClock};
use agentex_domain::{AcpType, AgentStatus};
use serde_json::json;

use super::*;
use crate::testing::{Log, MockStores, at, guard, lifecycle};

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
    RegisterAgent { agent_id: None, principal_context: principal, token: None, registration: registration() }
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

/// Pods may register without a credential, and what they state is believed.
fn registrations(stores: MockStores, authorizer: MockAuthorizer) -> Registrations {
    with_settings(stores, authorizer, AuthorizationSettings::compat())
}

/// Pods must present something.
fn strict(stores: MockStores, authorizer: MockAuthorizer) -> Registrations {
    with_settings(stores, authorizer, AuthorizationSettings::strict())
}

fn with_settings(stores: MockStores, authorizer: MockAuthorizer, settings: AuthorizationSettings) -> Registrations {
    let authorizer: Arc<dyn agentex_authz::Authorizer> = Arc::new(authorizer);
    Registrations::new(
        stores.into_stores(),
        guard(Some(Arc::clone(&authorizer))),
        lifecycle(Some(authorizer)),
        Keyring::new(None, ""),
        Arc::new(SystemClock),
        settings,
    )
}

fn keyed(mut stores: MockStores) -> MockStores {
    let stored = ApiKey {
        id: ApiKeyId::generate(),
        agent_id: "stored".into(),
        name: "echo-api-key".into(),
        kind: ApiKeyKind::Internal,
        sealed: "5".repeat(64),
        digest: None,
        created_at: at(),
    };
    stores.api_keys.expect_internal_key().returning(move |_| Ok(Some(stored.clone())));
    stores
}

fn inserting(log: &Log, mut stores: MockStores, outcome: fn() -> Result<(), StoreError>) -> MockStores {
    let seen = log.clone();
    stores.agents.expect_insert().returning(move |_, _| {
        seen.add("insert");
        outcome()
    });
    stores
}

/// authz §7: 93
/// agents §13: 26
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

/// agents §13: 24
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

/// authz §7: 91, 92
/// agents §13: 25
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

/// authz §7: 89, 97
/// agents §13: 27
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

/// authz §7: 90
/// agents §13: 28
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

/// authz §7: 95, 96
#[tokio::test]
async fn an_existing_agent_needs_update_and_is_neither_registered_nor_granted() {
    let log = Log::default();
    let mut stores = keyed(MockStores::default());
    stores.agents.expect_find_by_name().returning(|_| Ok(Some(stored(AgentStatus::Ready))));
    stores.agents.expect_register_live().once().returning(|_, _, by_id, _| {
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

/// authz §7: 100
/// agents §13: 15
#[tokio::test]
async fn registering_over_a_deleted_agent_is_a_create_for_authorization() {
    let log = Log::default();
    let mut stores = keyed(MockStores::default());
    stores.agents.expect_find_by_name().returning(|_| Ok(Some(stored(AgentStatus::Deleted))));
    stores.agents.expect_find().returning(|_| Ok(Some(stored(AgentStatus::Deleted))));
    let seen = log.clone();
    stores.agents.expect_register_again().returning(move |_, _, _, _, _| {
        seen.add("revive");
        Ok(Some(Reregistered { agent: stored(AgentStatus::Ready), changed: true, revived: true }))
    });
    let registrations = registrations(stores, registering(&log, authorizer(&log, |_| true)));

    let registered = registrations.register(&Caller::Anonymous, request(Some(alice()))).await.unwrap();

    assert_eq!(registered.agent.id.as_str(), "stored");
    assert_eq!(log.entries(), ["check create agent:*", "register", "revive", "grant"]);
}

/// Bringing it back as a mere update would leave an agent that nobody owns.
#[tokio::test]
async fn an_agent_that_is_deleted_while_it_registers_again_is_created_anew() {
    let log = Log::default();
    let mut stores = keyed(MockStores::default());
    stores.agents.expect_find_by_name().returning(|_| Ok(Some(stored(AgentStatus::Ready))));
    stores.agents.expect_register_live().once().returning(|_, _, _, _| Ok(None));
    stores.agents.expect_find().returning(|_| Ok(Some(stored(AgentStatus::Deleted))));
    let seen = log.clone();
    stores.agents.expect_register_again().once().returning(move |_, _, _, _, settles| {
        assert!(settles.is_some());
        seen.add("revive");
        Ok(Some(Reregistered { agent: stored(AgentStatus::Ready), changed: true, revived: true }))
    });
    let registrations = registrations(stores, registering(&log, authorizer(&log, |_| true)));

    registrations.register(&Caller::Anonymous, request(Some(alice()))).await.unwrap();

    assert_eq!(log.entries(), ["check update agent:id", "check create agent:*", "register", "revive", "grant"]);
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

/// authz §7: 87
/// agents §13: 32
#[tokio::test]
async fn a_build_of_a_readable_name_gets_the_row_and_no_grant() {
    let log = Log::default();
    let mut stores = MockStores::default();
    stores.agents.expect_find_by_name().returning(|_| Ok(Some(stored(AgentStatus::Ready))));
    let registrations = registrations(stores, authorizer(&log, |_| true));

    let BuildRegistered { agent, registration_token } =
        registrations.register_build(&Caller::Principal(alice()), build()).await.unwrap();
    assert_eq!(registration_token, None, "pods need none here");

    assert_eq!((agent.id.as_str(), agent.status), ("stored", AgentStatus::Ready));
    assert_eq!(log.entries(), ["check create agent:*", "check read agent:id"]);
}

/// authz §7: 86, 90
#[tokio::test]
async fn a_new_build_is_build_only_and_its_lost_race_is_not_granted() {
    let log = Log::default();
    let mut stores = inserting(&log, MockStores::default(), || Ok(()));
    stores.agents.expect_find_by_name().returning(|_| Ok(None));
    let new = registrations(stores, registering(&log, authorizer(&log, |_| true)));
    let agent = new.register_build(&Caller::Principal(alice()), build()).await.unwrap().agent;
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
    let winner = lost.register_build(&Caller::Principal(alice()), build()).await.unwrap().agent;
    assert_eq!(winner.id.as_str(), "stored");
    assert_eq!(log.entries(), ["check create agent:*", "register", "insert", "deregister", "check read agent:id"]);
}

#[tokio::test]
async fn an_agents_own_key_registers_that_agent_and_no_other() {
    let registering = |id: &str| {
        let caller = Caller::agent(id.into());
        async move {
            let mut stores = keyed(MockStores::default());
            stores.agents.expect_find_by_name().returning(|_| Ok(Some(stored(AgentStatus::Ready))));
            stores.agents.expect_register_live().returning(|_, _, _, _| {
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

fn with_token(mut stores: MockStores, agent: Option<&'static str>) -> MockStores {
    stores.registration_tokens.expect_find_agent().returning(move |digest, _| {
        assert_eq!(digest, Keyring::new(None, "").digest("agxr_t"));
        Ok(agent.map(AgentId::from))
    });
    stores
}

fn presenting(token: Option<&str>, stated: Option<serde_json::Value>) -> RegisterAgent {
    RegisterAgent { token: token.map(str::to_owned), ..request(stated.map(Principal::from_json)) }
}

/// authz §7: 101
#[tokio::test]
async fn where_pods_need_a_credential_one_without_learns_nothing() {
    for stated in [None, Some(alice())] {
        let strict = strict(MockStores::default(), MockAuthorizer::new());

        let refused = strict.register(&Caller::Anonymous, request(stated)).await;

        assert!(matches!(refused, Err(Error::Unauthenticated)), "{refused:?}");
    }
}

/// authz §7: 94
#[tokio::test]
async fn a_principal_that_proved_itself_wins_over_the_one_the_body_states() {
    let bob = Principal::from_json(json!({"user_id": "bob", "account_id": "acme"}));
    for settings in [AuthorizationSettings::compat(), AuthorizationSettings::strict()] {
        let log = Log::default();
        let mut stores = keyed(inserting(&log, MockStores::default(), || Ok(())));
        stores.agents.expect_find_by_name().returning(|_| Ok(None));
        // The scripted authorizer asserts that every call is alice's.
        let registrations = with_settings(stores, registering(&log, authorizer(&log, |_| true)), settings);

        registrations.register(&Caller::Principal(alice()), request(Some(bob.clone()))).await.unwrap();

        assert_eq!(log.entries(), ["check create agent:*", "register", "insert", "grant"]);
    }
}

#[tokio::test]
async fn a_token_registers_its_agent_wherever_it_was_put() {
    let in_body = || presenting(None, Some(json!({"registration_token": "agxr_t"})));
    for request in [presenting(Some("agxr_t"), None), in_body()] {
        let mut stores = keyed(with_token(MockStores::default(), Some("stored")));
        stores.agents.expect_find_by_name().returning(|_| Ok(Some(stored(AgentStatus::BuildOnly))));
        stores.agents.expect_register_live().once().returning(|_, _, _, _| {
            Ok(Some(Reregistered { agent: stored(AgentStatus::Ready), changed: true, revived: false }))
        });

        let registered = strict(stores, MockAuthorizer::new()).register(&Caller::Anonymous, request).await.unwrap();

        assert_eq!(registered.agent.status, AgentStatus::Ready);
    }
}

#[tokio::test]
async fn a_token_of_another_agent_of_none_or_for_a_new_name_is_refused() {
    let unknown = with_token(MockStores::default(), None);
    let refused = strict(unknown, MockAuthorizer::new())
        .register(&Caller::Principal(alice()), presenting(Some("agxr_t"), None))
        .await;
    assert!(matches!(refused, Err(Error::Unauthenticated)), "a bad token is not helped by a user: {refused:?}");

    for found in [Some(AgentStatus::Ready), None, Some(AgentStatus::Deleted)] {
        let mut stores = with_token(MockStores::default(), Some("another"));
        stores.agents.expect_find_by_name().returning(move |_| Ok(found.map(stored)));
        let refused =
            strict(stores, MockAuthorizer::new()).register(&Caller::Anonymous, presenting(Some("agxr_t"), None)).await;
        assert!(matches!(refused, Err(Error::AgentKeyRefused)), "{refused:?}");
    }
}

#[tokio::test]
async fn a_build_hands_a_token_to_those_who_may_change_the_agent_only() {
    let reader = |question: &str| !question.starts_with("update");
    let editor = |_: &str| true;
    for (allows, expected) in [(reader as fn(&str) -> bool, false), (editor, true)] {
        let mut stores = MockStores::default();
        stores.agents.expect_find_by_name().returning(|_| Ok(Some(stored(AgentStatus::Ready))));
        stores.registration_tokens.expect_insert().times(usize::from(expected)).returning(|token| {
            assert_eq!(token.agent_id.as_str(), "stored");
            assert!(token.expires_at > token.created_at);
            Ok(())
        });
        let strict = strict(stores, authorizer(&Log::default(), allows));

        let built = strict.register_build(&Caller::Principal(alice()), build()).await.unwrap();

        let token = built.registration_token;
        assert_eq!(token.as_ref().is_some_and(|token| token.starts_with("agxr_") && token.len() == 69), expected);
        assert_eq!(token.is_some(), expected);
    }
}
