use agentex_authz::NoAuthentication;
use agentex_domain::ports::{MockAgentForwarder, MockAgentRepository, StoreError, SystemClock};
use agentex_domain::{AcpType, Agent, AgentName, ApiKey, ApiKeyId, ApiKeyKind, Registration};
use futures::{StreamExt as _, stream};

use super::*;
use crate::testing::{MockStores, at, guard};
use crate::{AuthorizationSettings, SecretsKey};

fn agent() -> Agent {
    let registration = Registration {
        name: AgentName::parse("a".to_owned()).unwrap(),
        description: String::new(),
        acp_url: "http://development".to_owned(),
        acp_type: AcpType::Sync,
        agent_input_type: None,
        metadata: None,
    };
    registration.into_agent(at())
}

/// A server that knows this agent, or none, with authorization on or off.
fn forwarding(
    found: Option<DialTarget>,
    mut stores: MockStores,
    forwarder: MockAgentForwarder,
    keyring: &Keyring,
    hides: bool,
) -> Forwarding {
    let mut agents = MockAgentRepository::new();
    agents.expect_dial_target_by_name().returning(move |_| Ok(found.clone()));
    stores.agents = agents;
    let stores = stores.into_stores();
    Forwarding::new(Parts {
        guard: guard(None),
        authentication: Authentication::new(
            Arc::new(NoAuthentication),
            Arc::clone(&stores.api_keys),
            keyring.clone(),
            hides,
            AuthorizationSettings::strict(),
        ),
        stores,
        keyring: keyring.clone(),
        forwarder: Arc::new(forwarder),
        clock: Arc::new(SystemClock),
        authorization_is_on: hides,
        settings: ForwardingSettings::default(),
    })
}

fn call(headers: &[(&str, &str)], body: &'static [u8]) -> ForwardCall {
    ForwardCall {
        method: "POST".to_owned(),
        agent_name: "a".to_owned(),
        path: "hook".to_owned(),
        query: None,
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect(),
        body: Bytes::from_static(body),
        request_id: String::new(),
        peer: None,
    }
}

#[tokio::test]
async fn the_production_deployment_is_called_with_the_agents_own_key() {
    let keyring = Keyring::new(Some(&SecretsKey::generate()), "");
    let agent = agent();
    let internal_key = ApiKey {
        id: ApiKeyId::generate(),
        agent_id: agent.id.clone(),
        name: "k".to_owned(),
        kind: ApiKeyKind::Internal,
        sealed: keyring.seal("internal"),
        digest: None,
        created_at: at(),
    };
    let production_url = Some("http://production".to_owned());
    let target = DialTarget { agent, production_url, internal_key: Some(internal_key) };
    let mut stores = MockStores::default();
    stores.api_keys.expect_has_external().returning(|_, _, clear| Ok(clear == "external"));
    let mut forwarder = MockAgentForwarder::new();
    forwarder.expect_forward().once().returning(|request| {
        assert_eq!((request.agent_url.as_str(), request.path.as_str()), ("http://production", "hook"));
        let key = request.headers.iter().find(|(name, _)| name == "x-agent-api-key");
        assert_eq!(key.map(|(_, value)| value.as_slice()), Some(&b"internal"[..]));
        Ok(ForwardReply { status: 200, headers: Vec::new(), body: stream::empty().boxed() })
    });

    let forwarding = forwarding(Some(target), stores, forwarder, &keyring, true);

    assert!(matches!(forwarding.forward(call(&[("x-agent-api-key", "external")], b"")).await, Ok(Forwarded::Reply(_))));
}

/// What takes less work takes less time, and time tells.
#[tokio::test]
async fn where_things_are_hidden_keys_are_looked_up_for_unknown_agents_too() {
    let mut stores = MockStores::default();
    stores.api_keys.expect_has_external().once().returning(|id, _, _| {
        assert_eq!(id.as_str(), NOBODY);
        Ok(false)
    });
    stores.api_keys.expect_find_by_name().once().returning(|id, _, _| {
        assert_eq!(id.as_str(), NOBODY);
        Ok(None)
    });
    let forwarding = forwarding(None, stores, MockAgentForwarder::new(), &Keyring::new(None, ""), true);
    let body = br#"{"repository": {"full_name": "acme/w"}}"#;

    for headers in [[("x-agent-api-key", "k")], [("x-hub-signature-256", "sha256=00")]] {
        let refused = forwarding.forward(call(&headers, body)).await;
        assert!(matches!(refused, Err(ForwardRefusal::Unauthorized)), "{refused:?}");
    }
}

#[tokio::test]
async fn a_failing_look_up_is_an_outage_and_not_a_refusal() {
    let target = DialTarget { agent: agent(), production_url: None, internal_key: None };
    let mut stores = MockStores::default();
    stores.api_keys.expect_has_external().returning(|_, _, _| Err(StoreError::Unavailable("down".into())));
    let forwarding = forwarding(Some(target), stores, MockAgentForwarder::new(), &Keyring::new(None, ""), true);

    let refused = forwarding.forward(call(&[("x-agent-api-key", "k")], b"")).await;

    assert!(matches!(refused, Err(ForwardRefusal::Failed(Error::Store(StoreError::Unavailable(_))))), "{refused:?}");
}
