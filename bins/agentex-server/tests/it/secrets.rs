//! What must never be written anywhere.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use agentex_testkit::http_client::HttpClient;

use crate::program::{Folder, run, serve_with};

/// An address where every connection is closed at once.
fn hostile() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || listener.incoming().for_each(drop));
    address
}

#[test]
fn a_database_that_cannot_be_reached_is_named_without_its_url() {
    let url = format!("postgres://us3r:s3cret@{}/db", hostile());

    for command in [&["serve", "--port", "0"][..], &["migrate"], &["doctor", "--port", "0"]] {
        let arguments: Vec<&str> = command.iter().copied().chain(["--log", "trace"]).collect();
        let failed = run(&arguments, &[("DATABASE_URL", url.as_str())]);

        assert_eq!(failed.code, 1, "{failed:?}");
        let said = format!("{}{}", failed.out, failed.err);
        assert!(!said.contains("s3cret") && !said.contains("us3r:") && !said.contains("postgres://"), "{said}");
        assert!(said.contains("PostgreSQL") || said.contains("FAIL  store"), "{said}");
    }
}

#[test]
fn a_database_that_says_nothing_is_given_up_soon() {
    // Connections are accepted by the system, and then nothing comes.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://u:s3cret@{}/db", listener.local_addr().unwrap());
    let started = Instant::now();

    let failed = run(&["migrate"], &[("DATABASE_URL", url.as_str())]);

    assert_eq!(failed.code, 1, "{failed:?}");
    assert!(failed.err.contains("PostgreSQL cannot be used") && failed.err.contains("within 5 s"), "{}", failed.err);
    assert!(!failed.err.contains("s3cret"), "{}", failed.err);
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_cannot_be_reached_is_reported_without_its_url() {
    let folder = Folder::new();
    let redis = format!("redis://:s3cret@{}", hostile());
    let environment = [("REDIS_URL", redis.as_str()), ("AGENTEX_API_KEY_PEPPER", "p3pper"), ("RUST_LOG", "trace")];

    let server = serve_with(&folder, &[], &environment).await;

    assert!(server.output().contains("streams: redis"));
    let probe = HttpClient::new(server.url()).get("/readyz").await;
    assert_eq!(probe.status, 503);
    assert_eq!(probe.json()["checks"]["sqlite"]["healthy"], true);
    assert_eq!(probe.json()["checks"]["redis"]["healthy"], false);
    server.wrote("authorization is disabled", Duration::from_secs(20)).await;
    for text in [probe.text(), server.output()] {
        assert!(!text.contains("s3cret") && !text.contains("p3pper"), "{text}");
    }
}
