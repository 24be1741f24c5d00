use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use agentex_acp::{AddressPolicy, HostResolver, HttpTransfer, TransferOptions};
use async_trait::async_trait;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};

/// Which hosts there are, and where. Without any the server dials public addresses only, as in production.
#[derive(Clone, Default)]
pub(crate) struct Hosts(HashMap<&'static str, Vec<SocketAddr>>);

impl Hosts {
    pub(crate) fn one(host: &'static str, addresses: &[SocketAddr]) -> Self {
        Self(HashMap::from([(host, addresses.to_vec())]))
    }

    pub(crate) fn client(&self) -> HttpTransfer {
        let policy = if self.0.is_empty() { AddressPolicy::PublicOnly } else { AddressPolicy::LoopbackInClear };
        HttpTransfer::with_network(TransferOptions::default(), Arc::new(self.clone()), policy).unwrap()
    }
}

#[async_trait]
impl HostResolver for Hosts {
    async fn resolve(&self, host: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
        self.0.get(host).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// A place for objects, reached as `bucket.example`. It takes PUT and GET; `/moved` is elsewhere and `/closed` is not for
/// anybody.
#[derive(Clone, Default)]
pub(crate) struct Bucket(Arc<Mutex<Contents>>);

#[derive(Default)]
struct Contents {
    objects: HashMap<String, Bytes>,
    requests: Vec<(String, HeaderMap)>,
}

impl Bucket {
    pub(crate) async fn open() -> (Self, Hosts) {
        let bucket = Self::default();
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(serve).layer(DefaultBodyLimit::disable()).with_state(bucket.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (bucket, Hosts::one("bucket.example", &[address]))
    }

    pub(crate) fn put(&self, path: &str, object: impl Into<Bytes>) {
        self.0.lock().unwrap().objects.insert(path.to_owned(), object.into());
    }

    pub(crate) fn object(&self, path: &str) -> Option<Bytes> {
        self.0.lock().unwrap().objects.get(path).cloned()
    }

    /// What was asked, `PUT /x?y`, with its headers.
    pub(crate) fn requests(&self) -> Vec<(String, HeaderMap)> {
        self.0.lock().unwrap().requests.clone()
    }
}

async fn serve(State(bucket): State<Bucket>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let mut contents = bucket.0.lock().unwrap();
    contents.requests.push((format!("{method} {uri}"), headers));
    let path = uri.path();
    match (method, path) {
        (_, "/moved") => (StatusCode::FOUND, [("location", "/elsewhere")]).into_response(),
        (_, "/closed") => StatusCode::FORBIDDEN.into_response(),
        (Method::PUT, _) => {
            contents.objects.insert(path.to_owned(), body);
            StatusCode::OK.into_response()
        }
        _ => match contents.objects.get(path) {
            Some(object) => object.clone().into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        },
    }
}
