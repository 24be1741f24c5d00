use agentex_http::{AllowedOrigins, CorsOptions, HttpOptions};

use crate::support::{Answer, Setup, World};

const ORIGIN: &str = "access-control-allow-origin";
const CREDENTIALS: &str = "access-control-allow-credentials";

async fn only(origin: &str) -> World {
    let cors = CorsOptions { allowed_origins: AllowedOrigins::Only(vec![origin.to_owned()]) };
    let http = HttpOptions { cors, ..HttpOptions::default() };
    World::with(Setup { http, authenticated: true, ..Setup::default() }).await
}

async fn preflight(world: &World, origin: &str) -> Answer {
    let headers = [
        ("origin", origin),
        ("access-control-request-method", "DELETE"),
        ("access-control-request-headers", "x-one, authorization"),
    ];
    world.call("OPTIONS", "/agents/x", &headers, None).await
}

/// No credentials are needed.
/// conventions §11: 26, 28
#[tokio::test]
async fn a_preflight_of_an_allowed_origin_is_answered() {
    let world = only("https://a.example").await;

    let answer = preflight(&world, "https://a.example").await;

    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, "OK"));
    assert_eq!(answer.header(ORIGIN), Some("https://a.example"));
    assert_eq!(answer.header(CREDENTIALS), Some("true"));
    assert_eq!(answer.header("access-control-allow-headers"), Some("x-one, authorization"));
    assert!(answer.header("access-control-allow-methods").unwrap().contains("DELETE"));
    assert_eq!(answer.header("access-control-max-age"), Some("600"));
    assert_eq!(answer.header("vary"), Some("Origin"));
}

/// conventions §11: 27
#[tokio::test]
async fn a_preflight_of_another_origin_is_refused() {
    let world = only("https://a.example").await;

    let answer = preflight(&world, "https://a.example.evil").await;

    assert_eq!(answer.status, 400);
    assert_eq!(answer.header(ORIGIN), None);
}

/// conventions §11: 29
/// authz §7: 52
#[tokio::test]
async fn errors_can_be_read_by_allowed_pages_only() {
    let world = only("https://a.example").await;

    for (path, status) in [("/agents", 401), ("/agents/", 401), ("/openapi.json", 200)] {
        let allowed = world.get_with(path, &[("origin", "https://a.example")]).await;
        assert_eq!(allowed.status, status, "{path}");
        assert_eq!(allowed.header(ORIGIN), Some("https://a.example"));
        assert_eq!(allowed.header(CREDENTIALS), Some("true"));
        let other = world.get_with(path, &[("origin", "https://b.example")]).await;
        assert_eq!((other.status.as_u16(), other.header(ORIGIN)), (status, None));
        assert_eq!(other.header("vary"), Some("Origin"));
    }
}

#[tokio::test]
async fn where_every_origin_may_call_none_gets_credentials() {
    let world = World::new().await;

    let preflight = preflight(&world, "https://any.example").await;
    let plain = world.get_with("/agents", &[("origin", "https://any.example")]).await;
    let with_cookie = world.get_with("/agents", &[("origin", "https://any.example"), ("cookie", "a=b")]).await;
    let same_site = world.get("/agents").await;

    assert_eq!((preflight.status.as_u16(), preflight.header(ORIGIN)), (200, Some("https://any.example")));
    assert_eq!(plain.header(ORIGIN), Some("*"));
    assert_eq!(with_cookie.header(ORIGIN), Some("https://any.example"));
    assert_eq!(same_site.header(ORIGIN), None);
    for answer in [preflight, plain, with_cookie, same_site] {
        assert_eq!(answer.header(CREDENTIALS), None);
        assert_eq!(answer.header("vary"), Some("Origin"));
    }
}
