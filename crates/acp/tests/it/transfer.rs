use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentex_acp::{AddressPolicy, HostResolver, HttpTransfer, TransferOptions};
use agentex_domain::ports::{SnapshotBody, SnapshotTransfer as _, TransferError, UrlRefusal};
use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use serde_json::json;

use crate::agent::Agent;

/// Hosts whose addresses a test can change, and how often it was asked for them.
#[derive(Default)]
struct Names {
    addresses: Mutex<HashMap<String, Vec<SocketAddr>>>,
    asked: AtomicUsize,
}

#[async_trait]
impl HostResolver for Names {
    async fn resolve(&self, host: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.addresses.lock().unwrap().get(host).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Names {
    fn set(&self, host: &str, address: SocketAddr) {
        self.addresses.lock().unwrap().insert(host.to_owned(), vec![address]);
    }
}

fn address(agent: &Agent) -> SocketAddr {
    agent.url().strip_prefix("http://").unwrap().parse().unwrap()
}

fn transfer(names: &Arc<Names>, policy: AddressPolicy) -> HttpTransfer {
    let options = TransferOptions { total_timeout: Duration::from_secs(10), ..TransferOptions::default() };
    HttpTransfer::with_network(options, Arc::<Names>::clone(names), policy).unwrap()
}

fn body(pieces: &[&'static str]) -> SnapshotBody {
    let length = pieces.iter().map(|piece| piece.len() as u64).sum();
    let pieces: Vec<io::Result<Bytes>> = pieces.iter().map(|piece| Ok(Bytes::from_static(piece.as_bytes()))).collect();
    SnapshotBody { length, chunks: stream::iter(pieces).boxed() }
}

/// The name is resolved once; what it leads to later does not matter.
#[tokio::test]
async fn what_was_vetted_is_dialled_even_when_the_name_moves() {
    let (there, elsewhere) = (Agent::listen().await, Agent::listen().await);
    let names = Arc::new(Names::default());
    names.set("bucket.example", address(&there));
    let transfer = transfer(&names, AddressPolicy::LoopbackInClear);

    let vetted = transfer.vet("https://bucket.example/x?sig=s3cret").await.unwrap();
    names.set("bucket.example", address(&elsewhere));
    let (sent, ()) = tokio::join!(transfer.upload(&vetted, body(&["{\"a\":", "1}"])), async {
        let (mut connection, received) = there.request().await;
        assert_eq!(received.line, "PUT /x?sig=s3cret HTTP/1.1");
        assert_eq!(received.header("host"), Some("bucket.example"));
        assert_eq!(received.header("content-type"), Some("application/json"));
        assert_eq!(received.header("content-length"), Some("7"));
        assert_eq!(received.header("transfer-encoding"), None);
        assert_eq!(received.body, json!({"a": 1}));
        connection.answer("204 No Content", "").await;
    });

    sent.unwrap();
    assert_eq!(names.asked.load(Ordering::SeqCst), 1);
    assert!(elsewhere.nobody_connects().await);
    assert!(!format!("{vetted:?}").contains("s3cret"));
}

/// What a server uses never dials loopback, whatever a name leads to, and asks nobody about a literal address.
#[tokio::test]
async fn a_server_dials_public_addresses_only() {
    let names = Arc::new(Names::default());
    names.set("inside.example", ([127, 0, 0, 1], 443).into());
    names.set("rebound.example", ([169, 254, 169, 254], 443).into());
    names.set("public.example", ([8, 8, 8, 8], 443).into());
    let transfer = transfer(&names, AddressPolicy::PublicOnly);
    let refused = async |url: &str| transfer.vet(url).await.unwrap_err();

    for host in ["inside.example", "rebound.example"] {
        assert_eq!(refused(&format!("https://{host}/")).await, UrlRefusal::NotPublic(host.to_owned()));
    }
    assert_eq!(refused("https://gone.example/").await, UrlRefusal::Unresolved("gone.example".to_owned()));
    let asked = names.asked.load(Ordering::SeqCst);
    for (url, host) in [
        ("https://127.0.0.1/", "127.0.0.1"),
        ("https://2130706433/", "127.0.0.1"),
        ("https://[::ffff:10.0.0.1]/", "[::ffff:a00:1]"),
        ("https://[fe80::1]/", "[fe80::1]"),
    ] {
        assert_eq!(refused(url).await, UrlRefusal::NotPublic(host.to_owned()), "{url}");
    }
    assert_eq!(names.asked.load(Ordering::SeqCst), asked);
    let vetted = transfer.vet("https://public.example/x").await.unwrap();
    assert_eq!((vetted.host.as_str(), &vetted.addresses[..]), ("public.example", &[([8, 8, 8, 8], 443).into()][..]));
}

#[tokio::test]
async fn a_redirect_is_a_failure_and_followed_nowhere() {
    let there = Agent::listen().await;
    let names = Arc::new(Names::default());
    names.set("bucket.example", address(&there));
    let transfer = transfer(&names, AddressPolicy::LoopbackInClear);
    let vetted = transfer.vet("https://bucket.example/x?sig=s3cret").await.unwrap();

    let (got, ()) = tokio::join!(transfer.download(&vetted, 100), async {
        let (mut connection, _) = there.request().await;
        connection.write("HTTP/1.1 302 Found\r\nlocation: /y\r\ncontent-length: 0\r\n\r\n").await;
    });

    assert!(matches!(got, Err(TransferError::Status(302))), "{got:?}");
    assert!(there.nobody_connects().await);
}

/// Whether the length is announced or not.
#[tokio::test]
async fn a_download_stops_at_its_limit() {
    let there = Agent::listen().await;
    let names = Arc::new(Names::default());
    names.set("bucket.example", address(&there));
    let transfer = transfer(&names, AddressPolicy::LoopbackInClear);
    let vetted = transfer.vet("https://bucket.example/x").await.unwrap();

    let (announced, ()) = tokio::join!(transfer.download(&vetted, 5), async {
        let (mut connection, _) = there.request().await;
        connection.answer("200 OK", "123456").await;
    });
    let (unannounced, ()) = tokio::join!(transfer.download(&vetted, 5), async {
        let (mut connection, _) = there.request().await;
        connection.begin().await;
        connection.chunk("123").await;
        connection.chunk("456").await;
    });
    let (whole, ()) = tokio::join!(transfer.download(&vetted, 6), async {
        let (mut connection, _) = there.request().await;
        connection.begin().await;
        connection.chunk("123").await;
        connection.chunk("456").await;
        connection.end().await;
    });

    for refused in [announced, unannounced] {
        assert!(matches!(refused, Err(TransferError::TooLarge(5))), "{refused:?}");
    }
    assert_eq!(whole.unwrap(), "123456");
}

#[tokio::test]
async fn a_failure_does_not_tell_the_url() {
    let there = Agent::listen().await;
    let names = Arc::new(Names::default());
    names.set("bucket.example", address(&there));
    let transfer = transfer(&names, AddressPolicy::LoopbackInClear);
    let vetted = transfer.vet("https://bucket.example/x?sig=s3cret").await.unwrap();

    let (got, ()) = tokio::join!(transfer.download(&vetted, 100), async { drop(there.request().await) });

    let Err(TransferError::Broken(cause)) = got else { panic!("{got:?}") };
    let mut told = format!("{cause} {cause:?}");
    let mut source = std::error::Error::source(&*cause);
    while let Some(inner) = source {
        told += &format!(" {inner}");
        source = inner.source();
    }
    assert!(!told.contains("s3cret") && !told.contains("/x"), "{told}");
}
