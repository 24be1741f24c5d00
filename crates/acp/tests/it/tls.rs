//! Documents over real TLS: the name of a URL is what its certificate must be for, whatever address was dialled.

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use agentex_acp::{AddressPolicy, HostResolver, HttpTransfer, TransferOptions};
use agentex_domain::ports::{SnapshotTransfer as _, TransferError};
use async_trait::async_trait;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

/// Hosts and their addresses.
struct Names(HashMap<&'static str, SocketAddr>);

#[async_trait]
impl HostResolver for Names {
    async fn resolve(&self, host: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
        self.0.get(host).map(|address| vec![*address]).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// What a server saw of its one caller: the name it was called by and the head of the request, or why there was none.
type Seen = Result<(Option<String>, String), String>;

/// A server on loopback with the certificate of `bucket.example`, for one caller. An authority that only tests trust has
/// signed it.
fn serve() -> (SocketAddr, JoinHandle<Seen>) {
    let certificate = CertificateDer::from_pem_slice(include_bytes!("certificates/bucket.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("certificates/bucket_key.pem")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut caller = StreamOwned::new(ServerConnection::new(Arc::new(config)).unwrap(), socket);
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            match caller.read(&mut byte) {
                Ok(0) => return Err("closed".to_owned()),
                Ok(_) => head.push(byte[0]),
                Err(error) => return Err(error.to_string()),
            }
        }
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 7\r\nconnection: close\r\n\r\n{\"a\":1}";
        caller.write_all(answer.as_bytes()).unwrap();
        caller.conn.send_close_notify();
        caller.flush().unwrap();
        Ok((caller.conn.server_name().map(str::to_owned), String::from_utf8(head).unwrap()))
    });
    (address, server)
}

fn transfer(host: &'static str, address: SocketAddr) -> HttpTransfer {
    let options = TransferOptions { total_timeout: Duration::from_secs(10), ..TransferOptions::default() };
    HttpTransfer::with_network(options, Arc::new(Names([(host, address)].into())), AddressPolicy::Loopback).unwrap()
}

/// Those that only this test trusts.
fn authorities() -> RootCertStore {
    let mut authorities = RootCertStore::empty();
    authorities.add(CertificateDer::from_pem_slice(include_bytes!("certificates/authority.pem")).unwrap()).unwrap();
    authorities
}

async fn download(transfer: &HttpTransfer, host: &str) -> Result<String, TransferError> {
    let vetted = transfer.vet(&format!("https://{host}/x?sig=s3cret")).await.unwrap();
    transfer.download(&vetted, 100).await.map(|document| String::from_utf8(document.to_vec()).unwrap())
}

#[tokio::test]
async fn a_pinned_address_is_called_by_the_name_of_its_certificate() {
    let (address, server) = serve();
    let transfer = transfer("bucket.example", address).trusting(authorities()).unwrap();

    let document = download(&transfer, "bucket.example").await;

    let (name, head) = server.join().unwrap().unwrap();
    assert_eq!(document.unwrap(), "{\"a\":1}");
    assert_eq!(name.as_deref(), Some("bucket.example"));
    assert!(head.starts_with("GET /x?sig=s3cret HTTP/1.1\r\n") && head.contains("host: bucket.example\r\n"), "{head}");
}

/// Whoever answers at the address of another name does not learn what was asked.
#[tokio::test]
async fn a_certificate_for_another_name_or_of_another_authority_is_refused() {
    let (address, server) = serve();
    let of_another_name = transfer("other.example", address).trusting(authorities()).unwrap();
    let refused = download(&of_another_name, "other.example").await;
    assert!(matches!(refused, Err(TransferError::Broken(_))), "{refused:?}");
    server.join().unwrap().unwrap_err();

    // As a server is set up, trusting what the machine trusts.
    let (address, server) = serve();
    let refused = download(&transfer("bucket.example", address), "bucket.example").await;
    assert!(matches!(refused, Err(TransferError::Broken(_))), "{refused:?}");
    server.join().unwrap().unwrap_err();
}
