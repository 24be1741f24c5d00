use std::sync::Arc;
use std::time::Duration;

use agentex_authz::AuthzError;
use agentex_http::HttpOptions;
use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use crate::support::{Setup, World, id, ids, registration, request};

/// conventions §11: 9, 60
#[tokio::test]
async fn an_unknown_path_is_not_found() {
    let world = World::new().await;

    for path in ["/no-such", "/", "/health", "/ping", "/metrics", "/no-such/", "//agents"] {
        let answer = world.get(path).await;
        assert_eq!((answer.status.as_u16(), answer.text().as_str()), (404, r#"{"detail":"Not Found"}"#), "{path}");
    }
}

/// conventions §11: 10
#[tokio::test]
async fn a_wrong_method_names_the_right_ones() {
    let world = World::new().await;

    for (method, path, allow) in [
        ("PUT", "/agents", "GET"),
        ("HEAD", "/agents", "GET"),
        ("OPTIONS", "/agents", "GET"),
        ("POST", "/agents/x", "GET, DELETE"),
        ("GET", "/agents/register", "POST"),
        ("DELETE", "/messages", "GET, POST"),
        ("BREW", "/tasks/x", "GET, PUT, DELETE"),
    ] {
        let answer = world.call(method, path, &[], None).await;
        assert_eq!((answer.status.as_u16(), answer.header("allow")), (405, Some(allow)), "{method} {path}");
        if method != "HEAD" {
            assert_eq!(answer.text(), r#"{"detail":"Method Not Allowed"}"#);
        }
    }
}

/// conventions §11: 11
#[tokio::test]
async fn a_slash_at_the_end_is_redirected_away() {
    let world = World::new().await;

    for (path, location) in [
        ("/agents/?limit=1", "/agents?limit=1"),
        ("/tasks//", "/tasks"),
        ("/agents/a%20b/", "/agents/a%20b"),
        ("/agents/name/", "/agents/name"),
    ] {
        let answer = world.get(path).await;
        assert_eq!((answer.status.as_u16(), answer.header("location")), (307, Some(location)), "{path}");
        assert!(answer.body.is_empty());
    }
    assert_eq!(world.post("/agents/register/", json!({})).await.status, 307);
}

/// Where the routes are part of a larger server.
/// conventions §11: 11
#[tokio::test]
async fn the_redirect_keeps_the_prefix_the_routes_are_mounted_under() {
    use tower::ServiceExt as _;
    let world = World::new().await;
    let outer: axum::Router = axum::Router::new().nest("/agentex", world.router());

    let redirected = outer.clone().oneshot(request("GET", "/agentex/agents/?limit=1", &[], None)).await.unwrap();
    let served = outer.oneshot(request("GET", "/agentex/agents?limit=1", &[], None)).await.unwrap();

    assert_eq!(redirected.headers()["location"], "/agentex/agents?limit=1");
    assert_eq!(served.status(), 200);
}

/// conventions §11: 13
#[tokio::test]
async fn broken_json_is_reported_alone() {
    let world = World::new().await;

    let answer = world.call("POST", "/agents/register", &[], Some("{bad")).await;

    assert_eq!(answer.invalid(), "1 validation error(s): body: JSON decode error");
    assert_eq!(answer.json()["errors"], json!([{"loc": "body", "msg": "JSON decode error"}]));
    assert!(answer.text().starts_with(r#"{"status_code":10422,"message":"#), "{}", answer.text());
}

/// conventions §11: 14, 15
#[tokio::test]
async fn every_wrong_member_is_named_at_once() {
    let world = World::new().await;

    let answer = world.post("/agents/register", json!({"name": "a", "acp_url": "http://a:1", "acp_type": "x"})).await;

    assert_eq!(
        answer.invalid(),
        "2 validation error(s): body.description: Field required; \
         body.acp_type: Input should be 'sync', 'async' or 'agentic'"
    );
}

/// conventions §11: 16, 17
#[tokio::test]
async fn only_json_media_types_are_read() {
    let world = World::new().await;
    let body = registration("a", "sync", "http://a:1").to_string();
    let send = async |media_type: &str| {
        world.call("POST", "/agents/register", &[("content-type", media_type)], Some(&body)).await
    };

    for other in ["text/plain", "application/x-www-form-urlencoded", ""] {
        let text = send(other).await.invalid();
        assert!(text.contains("Input should be a valid dictionary or object to extract fields from"), "{text}");
    }
    for json in ["application/vnd.test+json", "application/json; charset=utf-8"] {
        send(json).await.ok();
    }
}

#[tokio::test]
async fn a_body_must_be_an_object() {
    let world = World::new().await;
    let quoted = json!(registration("a", "sync", "http://a:1").to_string()).to_string();

    for body in ["[]", "null", "5", quoted.as_str()] {
        let text = world.call("POST", "/agents/register", &[], Some(body)).await.invalid();
        assert!(text.contains("body: Input should be a valid dictionary or object"), "{body}: {text}");
    }
    assert!(world.call("POST", "/agents/register", &[], None).await.invalid().contains("body: Field required"));
}

/// conventions §11: 18
#[tokio::test]
async fn unknown_members_are_ignored() {
    let world = World::new().await;
    let mut body = registration("a", "sync", "http://a:1");
    body["later"] = json!({"x": 1});

    world.post("/agents/register", body).await.ok();
}

/// conventions §11: 19, 20, 21
#[tokio::test]
async fn numbers_in_queries_are_bounded_integers() {
    let world = World::new().await;
    for (query, text) in [
        ("limit=0", "query.limit: Input should be greater than or equal to 1"),
        ("limit=1001", "query.limit: Input should be less than or equal to 1000"),
        ("limit=99999999999999999999", "query.limit: Unable to parse"),
        ("limit=", "query.limit: Input should be a valid integer"),
        ("page_number=0", "query.page_number: Input should be greater than or equal to 1"),
        ("page_number=abc", "query.page_number: Input should be a valid integer, unable to parse string as an integer"),
        ("page_number=99999999999999999999", "query.page_number: Unable to parse"),
    ] {
        let told = world.get(&format!("/agents?{query}")).await.invalid();
        assert!(told.contains(text), "{query}: {told}");
    }
    assert_eq!(world.get("/agents?page_number=9223372036854775807").await.ok(), json!([]));
    assert!(world.get("/agents?limit=0&page_number=x").await.invalid().starts_with("2 validation error(s)"));
}

/// conventions §11: 22
#[tokio::test]
async fn what_was_sent_is_never_repeated() {
    let world = World::new().await;
    let secret = "s3cret";

    let in_body = world.post("/agents/register", json!({"name": {"api_key": secret}, "acp_type": secret})).await;
    let in_query = world.get("/agents?limit=s3cret&page_number=s3cret").await;
    let as_key = world
        .put("/messages/batch", json!({"task_id": "t", "updates": {secret: {"type": secret, "author": secret}}}))
        .await;
    let in_json = world.get("/tasks?task_metadata=%7Bs3cret").await;

    for answer in [in_body, in_query, as_key, in_json] {
        assert!(answer.status.is_client_error());
        for leak in [secret, "/src/", ".rs"] {
            assert!(!answer.text().contains(leak), "{}", answer.text());
        }
    }
}

#[tokio::test]
async fn text_no_store_can_keep_is_refused() {
    let world = World::new().await;
    let nul = "String should not contain NUL characters";

    for path in ["/agents/a%00b", "/tasks/a%00b", "/messages/a%00b", "/agents/name/%00", "/tasks?agent_name=a%00"] {
        assert!(world.get(path).await.invalid().contains(nul), "{path}");
    }
    let mut body = registration("a", "sync", "http://a:1");
    body["registration_metadata"] = json!({"deep": ["\u{0}"]});
    body["principal_context"] = json!({"user_id": "\u{0}"});
    let told = world.post("/agents/register", body).await.invalid();
    assert!(told.starts_with("2 validation error(s)") && told.contains(nul), "{told}");
}

#[tokio::test]
async fn what_names_nothing_is_absent() {
    let world = World::new().await;
    world.agent("a", "sync", "http://a:1").await;

    world.get("/agents/*").await.refused(404, "Item with id '*' does not exist.");
    world.delete("/agents/name/*").await.refused(404, "Item with name '*' does not exist.");
    world.get("/tasks/a%0Ab").await.refused(404, "Item with id 'a\nb' does not exist.");
    let long = "x".repeat(1025);
    world.get(&format!("/messages/{long}")).await.refused(404, &format!("Item with id '{long}' does not exist."));
}

/// conventions §11: 23, 24
#[tokio::test]
async fn absence_is_told_in_the_callers_words() {
    let world = World::new().await;

    world.get("/agents/nope").await.refused(404, "Item with id 'nope' does not exist.");
    world.get("/agents/name/x").await.refused(404, "Item with name 'x' does not exist.");
    world.get("/tasks/a%2Fb").await.refused(404, "Item with id 'a/b' does not exist.");
}

/// With a panic and with a store that is gone.
/// conventions §11: 25, 29
#[tokio::test]
async fn an_internal_failure_says_nothing_but_can_be_read_by_pages() {
    let world = World::new().await;
    world.agent("a", "sync", "http://a:1").await;
    world.rules.panic();
    let panicked = world.get_with("/agents/name/a", &[("origin", "https://page.example")]).await;

    let world = World::new().await;
    world.store.close().await;
    let failed = world.get_with("/agents/x", &[("origin", "https://page.example")]).await;

    panicked.refused(500, "Internal Server Error");
    assert!(failed.status.is_server_error() && !failed.text().contains("sql"), "{}", failed.text());
    for answer in [panicked, failed] {
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        assert!(answer.header("x-request-id").is_some());
    }
}

/// conventions §11: 30, 31, 32
#[tokio::test]
async fn times_have_six_digits_or_none_and_stay_the_same() {
    let world = World::new().await;
    let mut of = Vec::new();
    for (name, moment) in [("whole", "2025-01-02T03:04:05Z"), ("fine", "2025-01-02T03:04:05.000120Z")] {
        world.clock.set(agentex_domain::Timestamp::parse(moment).unwrap());
        let created = world.agent(name, "sync", "http://a:1").await;
        let read = world.get(&format!("/agents/{}", id(&created))).await.ok();
        assert_eq!(read["created_at"], created["created_at"]);
        assert_eq!(read["updated_at"], created["updated_at"]);
        of.push(read["created_at"].clone());
    }

    assert_eq!(of, ["2025-01-02T03:04:05Z", "2025-01-02T03:04:05.000120Z"]);
}

/// conventions §11: 33, 34, 36, 37
#[tokio::test]
async fn pages_are_whole_even_when_all_times_are_equal() {
    let world = World::new().await;
    for index in 0..7 {
        world.agent(&format!("a-{index}"), "sync", "http://a:1").await;
    }

    let mut seen = Vec::new();
    for page in 1..=4 {
        let page = world.get(&format!("/agents?limit=2&page_number={page}&order_direction=DESC")).await.ok();
        seen.extend(ids(&page).into_iter().map(str::to_owned));
    }

    assert_eq!(seen.len(), 7);
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 7);
    assert_eq!(world.get("/agents?page_number=1000").await.ok(), json!([]));
    for column in ["tasks", "__class__", "metadata", "name;drop"] {
        assert_eq!(ids(&world.get(&format!("/agents?order_by={column}")).await.ok()).len(), 7);
    }
}

/// conventions §11: 35
#[tokio::test]
async fn odd_ordering_is_tolerated_or_refused_as_configured() {
    let tolerant = World::new().await;
    let strict = World::with(Setup {
        http: HttpOptions { strict_ordering: true, ..HttpOptions::default() },
        ..Setup::default()
    })
    .await;
    for world in [&tolerant, &strict] {
        for name in ["b", "a"] {
            world.agent(name, "sync", "http://a:1").await;
        }
    }
    let names = |answer: Value| -> Vec<String> {
        answer.as_array().unwrap().iter().map(|agent| agent["name"].as_str().unwrap().to_owned()).collect()
    };

    let sideways = tolerant.get("/agents?order_by=name&order_direction=sideways").await.ok();

    assert_eq!(names(sideways), ["a", "b"]);
    let told = strict.get("/agents?order_by=tasks&order_direction=sideways").await.invalid();
    assert!(told.contains("query.order_by: Input should be 'id'") && told.contains("'asc' or 'desc'"), "{told}");
    assert_eq!(names(strict.get("/agents?order_by=name&order_direction=ASC").await.ok()), ["a", "b"]);
}

/// conventions §11: 38, 39
/// authz §7: 76, 78
#[tokio::test]
async fn lists_hold_what_the_caller_may_see() {
    let world = World::new().await;
    let shown = world.agent("shown", "sync", "http://a:1").await;
    world.agent("hidden", "sync", "http://a:1").await;
    assert_eq!(ids(&world.get("/agents").await.ok()).len(), 2);

    world.rules.show_only(&[id(&shown)]);
    assert_eq!(ids(&world.get("/agents?limit=1").await.ok()), [id(&shown)]);

    world.rules.show_only(&[]);
    assert_eq!(world.get("/agents").await.ok(), json!([]));
}

/// conventions §11: 47
/// authz §7: 68, 69
/// agents §13: 45
#[tokio::test]
async fn a_denial_is_told_only_to_those_who_may_look() {
    use agentex_authz::Operation::{Delete, Read};
    let world = World::new().await;
    let agent = world.agent("a", "sync", "http://a:1").await;
    let path = format!("/agents/{}", id(&agent));

    world.rules.deny(id(&agent), &[Delete]);
    world.delete(&path).await.refused(403, "Forbidden – principal lacks permission");

    world.rules.deny(id(&agent), &[Read]);
    world.delete(&path).await.refused(404, &format!("Item with id '{}' does not exist.", id(&agent)));
}

/// And the other ways in which nobody decides.
/// conventions §11: 48
/// authz §7: 5, 6, 7, 8, 9, 71
#[tokio::test]
async fn an_authorization_failure_is_no_decision() {
    type Outage = fn() -> AuthzError;
    let world = World::new().await;
    let agent = world.agent("a", "sync", "http://a:1").await;
    let path = format!("/agents/{}", id(&agent));
    let cases: [(Outage, u16, &str); 6] = [
        (|| AuthzError::Busy("503".into()), 503, "Service temporarily unavailable"),
        (|| AuthzError::Unavailable("10.0.0.7 refused".into()), 503, "Service unreachable or timed out"),
        (|| AuthzError::Gateway("502".into()), 502, "Bad gateway"),
        (|| AuthzError::Protocol("not JSON".into()), 502, "Bad gateway"),
        (|| AuthzError::Service("500".into()), 500, "Internal Server Error"),
        (|| AuthzError::Unauthenticated, 401, "Unauthorized – missing or invalid credentials"),
    ];
    for (outage, status, text) in cases {
        world.rules.fail(outage);

        let answer = world.get(&path).await;

        answer.refused(status, text);
        assert_eq!(answer.header("retry-after"), (status == 503).then_some("1"));
    }
}

/// conventions §11: 49, 50
#[tokio::test]
async fn every_answer_carries_the_request_id() {
    let world = World::new().await;

    for path in ["/agents", "/no-such", "/healthz", "/agents/", "/agents?limit=0"] {
        let kept = world.get_with(path, &[("x-request-id", "abc-1")]).await;
        assert_eq!(kept.header("x-request-id"), Some("abc-1"), "{path}");
        for bad in ["a b", "{}", &"x".repeat(129)] {
            let made = world.get_with(path, &[("x-request-id", bad)]).await;
            let made = made.header("x-request-id").unwrap();
            assert!(made.len() == 32 && made.bytes().all(|byte| byte.is_ascii_hexdigit()), "{made}");
        }
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_whether_announced_or_not() {
    let http = HttpOptions { max_body_bytes: 64, ..HttpOptions::default() };
    let world = World::with(Setup { http, ..Setup::default() }).await;
    let long = "x".repeat(65);

    let announced = world.call("POST", "/messages", &[("content-length", "65")], Some(&long)).await;
    let chunks = futures::stream::iter([Ok::<_, std::io::Error>(long.clone()), Ok(long)]);
    let unannounced =
        Request::post("/messages").header("content-type", "application/json").body(Body::from_stream(chunks)).unwrap();

    announced.refused(413, "Request body is too large");
    world.send(unannounced).await.refused(413, "Request body is too large");
}

/// A body that never ends holds nothing for longer than the limit.
#[tokio::test]
async fn a_body_that_does_not_arrive_is_given_up() {
    let http = HttpOptions { request_timeout: Duration::from_millis(50), ..HttpOptions::default() };
    let world = World::with(Setup { http, ..Setup::default() }).await;
    let never = || Body::from_stream(futures::stream::pending::<Result<String, std::io::Error>>());
    let post = |path: &str| Request::post(path).header("content-type", "application/json").body(never()).unwrap();

    let bounded = world.send(post("/messages")).await;
    let open_ended = world.send(post("/agents/x/rpc")).await;

    assert!(matches!(bounded.status.as_u16(), 408 | 504), "{}", bounded.text());
    open_ended.refused(408, "Request body did not arrive");
}

#[tokio::test]
async fn metrics_are_served_only_when_given() {
    let http = HttpOptions { metrics: Some(Arc::new(|| "up 1\n".to_owned())), ..HttpOptions::default() };
    let world = World::with(Setup { http, authenticated: true, ..Setup::default() }).await;

    let answer = world.get("/metrics").await;

    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, "up 1\n"));
}
