use serde_json::json;

use crate::support::{Setup, World, registration};

async fn authenticated() -> World {
    World::with(Setup { authenticated: true, ..Setup::default() }).await
}

const ALICE: (&str, &str) = ("authorization", "Bearer alice");

/// conventions §11: 12, 40, 41
/// authz §7: 42, 45
#[tokio::test]
async fn credentials_are_asked_for_before_anything_is_told() {
    let world = authenticated().await;

    for (method, path, body) in [
        ("GET", "/agents", None),
        ("GET", "/agents/", None),
        ("GET", "/", None),
        ("GET", "/no-such", None),
        ("PUT", "/agents", None),
        ("GET", "/agents/register", None),
        ("GET", "/swagger", None),
        ("POST", "/messages", Some("{bad")),
        ("POST", "/agents/register-build", Some("{bad")),
    ] {
        let answer = world.call(method, path, &[], body).await;
        assert_eq!((answer.status.as_u16(), answer.text().as_str()), (401, r#"{"detail":"Unauthorized"}"#), "{path}");
    }
    assert_eq!(world.get_with("/agents", &[ALICE]).await.ok(), json!([]));
    assert_eq!(World::new().await.get("/agents").await.ok(), json!([]));
}

/// agents §13: 33
/// conventions §11: 59
/// authz §7: 40, 41
#[tokio::test]
async fn public_routes_ask_for_nothing() {
    let world = authenticated().await;

    assert_eq!(world.get("/openapi.json").await.ok()["info"]["title"], "Agentex API");
    assert_eq!(world.get("/api").await.status, 200);
    assert_eq!(world.get_with("/swagger", &[ALICE]).await.status, 200);
    world.post("/agents/register", registration("a", "sync", "http://a:1")).await.ok();
    assert_eq!(world.post("/agents/register/", json!({})).await.status, 307);
    assert_eq!(world.call("OPTIONS", "/agents", &[], None).await.status, 405);
}

/// conventions §11: 42
/// authz §7: 37
#[tokio::test]
async fn an_outage_of_the_provider_is_not_a_refusal() {
    let world = authenticated().await;

    let answer = world.get_with("/agents", &[("authorization", "Bearer down")]).await;

    assert_eq!(answer.status, 503);
    assert_eq!(answer.text(), r#"{"detail":"Service temporarily unavailable"}"#);
    assert_eq!(answer.header("retry-after"), Some("1"));
}

/// The good user credentials beside the bad key do not help.
/// conventions §11: 43
/// authz §7: 47
#[tokio::test]
async fn a_bad_agent_key_is_refused() {
    let world = authenticated().await;

    for path in ["/agents", "/tasks"] {
        let answer = world.get_with(path, &[("x-agent-api-key", "nope"), ALICE]).await;
        assert_eq!(answer.status, 401);
        assert_eq!(answer.text(), r#"{"detail":"Agent Unauthorized"}"#);
    }
    let body = registration("a", "sync", "http://a:1").to_string();
    let registered = world.call("POST", "/agents/register", &[("x-agent-api-key", "nope")], Some(&body)).await;
    assert_eq!(registered.status, 401);
}

/// agents §13: 41
/// authz §7: 46, 49
#[tokio::test]
async fn a_key_works_as_long_as_its_agent_lives() {
    let world = authenticated().await;
    let agent = world.agent("a", "sync", "http://a:1").await;
    let key = [("x-agent-api-key", agent["agent_api_key"].as_str().unwrap())];
    world.get_with("/agents", &key).await.ok();

    world.call("DELETE", "/agents/name/a", &[ALICE], None).await.ok();

    assert_eq!(world.get_with("/agents", &key).await.text(), r#"{"detail":"Agent Unauthorized"}"#);
}

/// conventions §11: 44
/// authz §7: 51
#[tokio::test]
async fn a_store_failure_is_no_answer_about_a_key() {
    let world = authenticated().await;
    world.store.close().await;

    let answer = world.get_with("/agents", &[("x-agent-api-key", "k")]).await;

    assert!(answer.status.is_server_error(), "{}", answer.status);
}

/// Every documented route, so that one with a forgotten policy is seen: all ask for credentials but registration, which
/// pods call before they have any.
/// authz §7: 53
#[tokio::test]
async fn no_documented_route_is_open_by_accident() {
    let world = authenticated().await;
    let document = serde_json::to_value(agentex_http::openapi()).unwrap();
    let (mut asked, mut open) = (0, Vec::new());
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            let concrete = path.replace(['{', '}'], "");
            let answer = world.call(&method.to_uppercase(), &concrete, &[], Some("{}")).await;
            if answer.status == 401 {
                asked += 1;
            } else {
                open.push(format!("{method} {path}"));
            }
        }
    }

    assert_eq!(open, ["post /agents/register"]);
    assert!(asked > 30, "{asked}");
}
