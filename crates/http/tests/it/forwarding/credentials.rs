//! Who is let in.

use agentex_authz::{Operation, ResourceRef};
use agentex_testkit::fake_agent::FakeAgent;

use super::*;
use crate::support::id;

/// api-keys §7: 41, 44
#[tokio::test]
async fn without_credentials_that_count_here_nothing_is_forwarded() {
    let stage = Stage::open().await;

    for headers in
        [&[][..], &[("authorization", "Bearer t")], &[("authorization", "AgentKey")], &[("x-agent-api-key", "")]]
    {
        refused(&stage.get("a/x", headers).await, 403, "Missing authentication for forward request.");
    }
    assert!(stage.pod.seen().is_empty());
}

/// api-keys §7: 42, 43
/// authz §7: 188, 189
#[tokio::test]
async fn only_a_living_external_key_of_the_agent_opens_it_and_all_others_get_one_answer() {
    for stage in [Stage::open().await, Stage::guarded().await] {
        let key = stage.external().await;
        let other = stage.world.agent("b", "sync", &stage.pod.url).await;
        let foreign = json!({"agent_name": "b", "name": "n"}).to_string();
        let foreign = stage.world.call("POST", "/agent_api_keys", &[ALICE], Some(&foreign)).await.ok();
        let deleted = stage.key("external", "old", None).await;
        let delete = "/agent_api_keys/name/old?agent_name=a";
        assert_eq!(stage.world.call("DELETE", delete, &[ALICE], None).await.status, 200);
        let github = stage.key("github", "acme/w", Some("0123456789abcdef")).await;
        let bad = [
            "nonsense",
            "clé",
            deleted.as_str(),
            github.as_str(),
            foreign["api_key"].as_str().unwrap(),
            stage.agent["agent_api_key"].as_str().unwrap(),
            other["agent_api_key"].as_str().unwrap(),
        ];

        for key in bad {
            refused(&stage.get("a/x", &[("x-agent-api-key", key)]).await, 401, "Unauthorized");
            let scheme = format!("AgentKey {key}");
            refused(&stage.get("a/x", &[("authorization", &scheme)]).await, 401, "Unauthorized");
        }
        assert!(stage.pod.seen().is_empty());

        for value in [format!("agentkey  {key} "), format!("AGENTKEY\t{key}"), format!(" AgentKey {key}")] {
            assert_eq!(stage.get("a/x", &[("authorization", &value)]).await.status, 200, "{value:?}");
        }
        assert_eq!(stage.get("a/x", &[("x-agent-api-key", &key)]).await.status, 200);
    }
}

/// api-keys §7: 44, 62
#[tokio::test]
async fn where_callers_are_authenticated_everybody_else_must_be_known_to_the_provider() {
    let stage = Stage::with(Setup { authenticated: true, authorization: Authorization::Off, ..Setup::default() }).await;

    refused(&stage.get("a/x", &[]).await, 401, "Unauthorized");
    refused(&stage.get("a/x", &[("authorization", "Basic dTpw")]).await, 401, "Unauthorized");
    refused(&stage.get("a/x", &[("authorization", "Bearer down")]).await, 503, "Service temporarily unavailable");
    assert!(stage.pod.seen().is_empty());
    assert_eq!(stage.get("a/x", &[ALICE]).await.status, 200);
    let key = stage.external().await;
    assert_eq!(stage.get("a/x", &[("x-agent-api-key", &key)]).await.status, 200);
}

/// Nobody learns by trying which agents there are, whatever they try.
///
/// authz §7: 188
#[tokio::test]
async fn where_things_are_hidden_an_unknown_agent_is_refused_like_a_wrong_key() {
    let stage = Stage::guarded().await;
    stage.key("github", "acme/w", Some("github-secret-0123")).await;
    stage.key("slack", "A1", Some("slack-secret-012345")).await;
    let now = stage.seconds(0);
    let hook = json!({"repository": {"full_name": "acme/w"}, "api_app_id": "A1"}).to_string();
    let unknown = json!({"repository": {"full_name": "acme/x"}, "api_app_id": "A2"}).to_string();
    let wrong_slack = slack("wrong", &now, hook.as_bytes());
    let attempts = [
        (vec![("x-agent-api-key", "k")], "{}"),
        (vec![("x-hub-signature-256", "sha256=00")], hook.as_str()),
        (vec![("x-hub-signature-256", "sha256=00")], unknown.as_str()),
        (vec![("x-slack-signature", wrong_slack.as_str()), ("x-slack-request-timestamp", &now)], hook.as_str()),
        (vec![("x-slack-signature", "v0=00"), ("x-slack-request-timestamp", &now)], unknown.as_str()),
        (vec![], "{}"),
    ];

    for (headers, body) in &attempts {
        let known = stage.post("a/x", headers, body).await;
        refused(&known, 401, "Unauthorized");
        let unknown = stage.post("nobody/x", headers, body).await;
        assert_eq!((unknown.status, &unknown.body), (known.status, &known.body), "{headers:?}");
        let names = |answer: &Answer| answer.headers.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&unknown), names(&known));
    }
    assert!(stage.pod.seen().is_empty());
}

/// An empty secret would verify what anybody can sign.
#[tokio::test]
async fn a_signature_made_with_no_secret_proves_nothing() {
    for stage in [Stage::open().await, Stage::guarded().await] {
        let body = json!({"repository": {"full_name": "acme/w"}}).to_string();
        let signature = github("", body.as_bytes());

        for agent in ["a", "nobody"] {
            let answer = stage.post(&format!("{agent}/x"), &[("x-hub-signature-256", &signature)], &body).await;
            assert!(answer.status.is_client_error(), "{}", answer.text());
        }
        assert!(stage.pod.seen().is_empty());
    }
}

/// api-keys §7: 45, 51
#[tokio::test]
async fn the_first_credential_there_is_decides() {
    let stage = Stage::open().await;
    let secret = stage.key("github", "acme/w", Some("github-secret-0123")).await;
    let body = br#"{"repository": {"full_name": "acme/w"}}"#;
    let signature = github(&secret, body);
    let signed = ("x-hub-signature-256", signature.as_str());

    refused(&stage.post("a/x", &[("x-agent-api-key", "bad"), signed], body).await, 401, "Unauthorized");
    assert_eq!(stage.post("a/x", &[("authorization", "AgentKey"), signed], body).await.status, 200);
    assert_eq!(stage.post("a/x", &[("authorization", "AgentKey  "), signed], body).await.status, 200);
    assert_eq!(stage.post("a/x", &[("authorization", "Bearer t"), signed], body).await.status, 200);
}

/// api-keys §7: 52
/// authz §7: 190
#[tokio::test]
async fn a_principal_must_be_allowed_to_execute_the_agent() {
    let world = World::with_authorization().await;
    let pod = Pod::start().await;
    let registration = crate::support::registration("a", "sync", &pod.url);
    let agent = world.call_as("alice", "POST", "/agents/register", Some(registration)).await.ok();
    let stage = Stage { world, pod, agent };
    stage.world.share("bob", Operation::Read, ResourceRef::agent(id(&stage.agent))).await;
    let by = async |user: &str, name: &str| {
        let bearer = format!("Bearer {user}");
        stage.post(&format!("{name}/x"), &[("authorization", &bearer)], "{}").await
    };
    let absent = |name: &str| format!("Agent {name} not found or has no ACP URL.");

    refused(&by("mallory@elsewhere", "a").await, 404, &absent("a"));
    refused(&by("mallory@elsewhere", "nobody").await, 404, &absent("nobody"));
    refused(&by("bob", "a").await, 403, "Forbidden \u{2013} principal lacks permission");
    refused(&by("alice", "nobody").await, 404, &absent("nobody"));
    refused(&stage.get("a/x", &[]).await, 401, "Unauthorized");
    assert!(stage.pod.seen().is_empty());

    assert_eq!(by("alice", "a").await.status, 200);
    assert_eq!(stage.pod.only().header("authorization"), None);
}

/// An outage of the permission service is neither answer, and has the shape of the ingress.
#[tokio::test]
async fn without_a_decision_nothing_is_forwarded() {
    let stage = Stage::guarded().await;
    stage.world.rules.fail(|| agentex_authz::AuthzError::Unavailable("down".into()));

    refused(&stage.get("a/x", &[ALICE]).await, 503, "Service unreachable or timed out");
    assert!(stage.pod.seen().is_empty());
}

/// Calls of agents, not forwarded requests: only what a principal brought is handed on in its name.
///
/// authz §7: 185
/// rpc §7: 56
#[tokio::test]
async fn an_agent_or_nobody_in_particular_has_no_credential_to_delegate() {
    let call = json!({"method": "task/create", "params": {}}).to_string();
    let setup = |authenticated| Setup { authenticated, authorization: Authorization::Off, ..Setup::default() };
    let acting = |seen: &Recorded| {
        let names = seen.headers.keys().map(ToString::to_string);
        names.filter(|name| name.starts_with("x-acting-")).collect::<Vec<_>>()
    };
    let brought = [("x-api-key", "k"), ("cookie", "_identityJwt=j"), ALICE];
    for (authenticated, as_agent, expected) in
        [(false, false, &[][..]), (true, true, &[]), (true, false, &["x-acting-user-api-key"])]
    {
        let (world, agent) = (World::with(setup(authenticated)).await, FakeAgent::start().await);
        let registered = world.agent("a", "async", agent.url()).await;
        let mut headers = brought.to_vec();
        if as_agent {
            headers.push(("x-agent-api-key", registered["agent_api_key"].as_str().unwrap()));
        }

        world.call("POST", "/agents/name/a/rpc", &headers, Some(&call)).await.ok();

        assert_eq!(acting(&agent.call(0).await), expected, "{authenticated} {as_agent}");
    }
}
