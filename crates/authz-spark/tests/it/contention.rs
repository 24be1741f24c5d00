//! Writes that meet others. A production SpiceDB answers `Aborted` when its database could not put them in order; the
//! one of the tests never does, so here somebody answers in its place.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use agentex_authz::{Authorizer, AuthzError, Operation, ResourceRef};
use agentex_authz_spark::{SparkAuthorizer, SparkSettings};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, HeaderValue, Uri};
use http_body_util::{BodyExt, Full};

use crate::support::bob;

/// A `WriteRelationshipsResponse` with the token `t`, as one gRPC message.
const WRITTEN: &[u8] = &[0, 0, 0, 0, 5, 0x0a, 3, 0x0a, 1, b't'];
const ABORTED: u16 = 10;

/// Counts the writes and aborts this many of them first.
struct Contended {
    aborts: usize,
    writes: AtomicUsize,
}

async fn contended(aborts: usize) -> (SparkAuthorizer, Arc<Contended>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let contended = Arc::new(Contended { aborts, writes: AtomicUsize::default() });
    let router = Router::new().fallback(answer).with_state(Arc::clone(&contended));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (SparkAuthorizer::new(&SparkSettings::new(endpoint)).unwrap(), contended)
}

async fn answer(State(contended): State<Arc<Contended>>, uri: Uri) -> Response {
    let writes = uri.path().ends_with("/WriteRelationships");
    let aborts = writes && contended.writes.fetch_add(1, Ordering::SeqCst) < contended.aborts;
    let status = HeaderMap::from_iter([(
        http::HeaderName::from_static("grpc-status"),
        HeaderValue::from(if aborts { ABORTED } else { 0 }),
    )]);
    let mut response = if aborts {
        let mut response = Response::new(Body::empty());
        response.headers_mut().extend(status);
        response
    } else {
        Response::new(Body::new(Full::from(WRITTEN).with_trailers(async { Some(Ok(status)) })))
    };
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

#[tokio::test]
async fn a_write_that_spicedb_gave_up_on_is_sent_again() {
    let (spark, contended) = contended(3).await;

    spark.grant(&bob(), Operation::Read, &ResourceRef::agent("a")).await.unwrap();
    spark.revoke(&bob(), Operation::Read, &ResourceRef::agent("a")).await.unwrap();

    assert_eq!(contended.writes.load(Ordering::SeqCst), 3 + 2);
}

#[tokio::test]
async fn a_write_that_never_gets_its_turn_is_busy() {
    let (spark, contended) = contended(usize::MAX).await;

    let granted = spark.grant(&bob(), Operation::Read, &ResourceRef::agent("a")).await;

    assert!(matches!(granted, Err(AuthzError::Busy(_))), "{granted:?}");
    let writes = contended.writes.load(Ordering::SeqCst);
    assert!((2..=20).contains(&writes), "{writes}");
}
