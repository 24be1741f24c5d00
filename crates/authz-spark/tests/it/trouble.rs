//! SpiceDB away, slow, or not taking our key.

use std::time::{Duration, Instant};

use agentex_authz::{Authorizer, AuthzError, Check, Operation, ResourceKind, ResourceRef};
use agentex_authz_spark::{InvalidSettings, SparkAuthorizer, SparkSettings};
use agentex_testkit::services::spicedb::{SpiceDbServer, spicedb};
use tokio::net::TcpListener;

use crate::support::alice;

async fn errors(spark: &SparkAuthorizer) -> Vec<AuthzError> {
    let (who, agent) = (alice(), ResourceRef::agent("a"));
    let questions = [Check { operation: Operation::Delete, resource: agent.clone() }];
    vec![
        spark.check(&who, Operation::Read, &agent).await.unwrap_err(),
        spark.check_many(&who, &questions).await.unwrap_err(),
        spark.list_resources(&who, ResourceKind::Agent, Operation::Read).await.unwrap_err(),
        spark.register(&who, &agent, None).await.unwrap_err(),
        spark.deregister(&who, &agent).await.unwrap_err(),
        spark.grant(&who, Operation::Create, &agent).await.unwrap_err(),
        spark.revoke(&who, Operation::Delete, &agent).await.unwrap_err(),
        spark.ensure_schema().await.unwrap_err(),
    ]
}

/// Never the caller's 401 or 403.
/// authz §7: 209
#[tokio::test]
async fn a_key_that_is_refused_is_a_gateway_error() {
    let database = spicedb().await;
    let spark = SparkAuthorizer::new(&SparkSettings::new(database.endpoint())).unwrap();

    for error in errors(&spark).await {
        assert!(matches!(error, AuthzError::Gateway(_)), "{error:?}");
    }
}

#[tokio::test]
async fn an_authorizer_starts_without_spicedb_and_gets_over_its_restarts() {
    let mut server = SpiceDbServer::start().await;
    let endpoint = server.endpoint();
    server.kill();
    let settings = SparkSettings { timeout: Duration::from_secs(30), ..SparkSettings::new(endpoint) };
    let spark = SparkAuthorizer::new(&settings.with_token("token")).unwrap();

    for error in errors(&spark).await {
        assert!(matches!(error, AuthzError::Unavailable(_)), "{error:?}");
    }
    for _ in 0..2 {
        server.start_again().await;
        spark.ensure_schema().await.unwrap();
        spark.register(&alice(), &ResourceRef::agent("a"), None).await.unwrap();
        server.kill();
        let check = spark.check(&alice(), Operation::Read, &ResourceRef::agent("a")).await;
        assert!(matches!(check, Err(AuthzError::Unavailable(_))), "{check:?}");
    }
}

#[tokio::test]
async fn a_spicedb_that_does_not_answer_is_not_waited_for_longer_than_the_deadline() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let settings = SparkSettings { timeout: Duration::from_millis(200), ..SparkSettings::new(endpoint) };
    let spark = SparkAuthorizer::new(&settings).unwrap();

    let started = Instant::now();
    for error in errors(&spark).await {
        assert!(matches!(error, AuthzError::Unavailable(_)), "{error:?}");
    }
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
}

#[tokio::test]
async fn settings_that_can_never_work_are_found_at_the_start() {
    let new = |settings: SparkSettings| SparkAuthorizer::new(&settings).map(|_| ());

    assert!(matches!(new(SparkSettings::new("localhost:50051")), Err(InvalidSettings::Endpoint)));
    assert!(matches!(new(SparkSettings::new("http://")), Err(InvalidSettings::Endpoint)));
    assert!(matches!(new(SparkSettings::new("http://h").with_token("a\nb")), Err(InvalidSettings::Token)));
    new(SparkSettings::new("https://spicedb.example:50051").with_token("key")).unwrap();
}
