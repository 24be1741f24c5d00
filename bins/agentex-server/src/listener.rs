use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

/// How long a connection may usually take to send the head of a request, and stay open without one. Longer than the minute
/// that load balancers keep theirs, so that it is they who close first.
pub(crate) const HEAD_LIMIT: Duration = Duration::from_secs(75);

/// The pause when the process has run out of sockets; it gets new ones only by finishing requests.
const OUT_OF_SOCKETS: Duration = Duration::from_secs(1);

/// Serves until `draining` is cancelled and every request that was being answered then is finished. Meanwhile new requests
/// are still answered, so that probes learn that the process is draining; their connections are not kept.
///
/// Connections that take longer than `head_limit` to send the head of a request are closed.
pub(crate) async fn serve(listener: TcpListener, router: Router, head_limit: Duration, draining: CancellationToken) {
    let connections = TaskTracker::new();
    loop {
        tokio::select! {
            biased;
            () = draining.cancelled() => break,
            stream = accept(&listener) => {
                connections.spawn(connection(stream, router.clone(), Kept::Open, head_limit, draining.clone()));
            }
        }
    }

    connections.close();
    let (late, done) = (TaskTracker::new(), CancellationToken::new());
    loop {
        tokio::select! {
            biased;
            () = connections.wait() => break,
            stream = accept(&listener) => {
                late.spawn(connection(stream, router.clone(), Kept::ForOneRequest, head_limit, done.clone()));
            }
        }
    }
    drop(listener);
    done.cancel();
    late.close();
    late.wait().await;
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Small frames are sent as they come instead of waiting for more.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "TCP_NODELAY refused");
                }
                return stream;
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::error!(%error, "no connection can be accepted");
                tokio::time::sleep(OUT_OF_SOCKETS).await;
            }
        }
    }
}

/// The caller left between knocking and being let in.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// What becomes of a connection after its first request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    Open,
    ForOneRequest,
}

/// Serves one connection. When `stop` is cancelled the request being answered is finished, and no other one begun.
async fn connection(stream: TcpStream, router: Router, kept: Kept, head_limit: Duration, stop: CancellationToken) {
    let begun = Arc::new(AtomicBool::new(false));
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(head_limit).keep_alive(kept == Kept::Open);
    let service = Noting { begun: Arc::clone(&begun), inner: router };
    let mut served = pin!(builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)));
    // The limit on heads begins once the protocol is known, which takes bytes that may never come.
    let mut silence = pin!(tokio::time::sleep(head_limit));
    let mut watching = true;
    let mut stopping = false;
    loop {
        let ended = tokio::select! {
            ended = served.as_mut() => ended,
            () = silence.as_mut(), if watching => {
                if !begun.load(Ordering::Relaxed) {
                    return;
                }
                watching = false;
                continue;
            }
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                served.as_mut().graceful_shutdown();
                continue;
            }
        };
        if let Err(error) = ended {
            // Callers break connections all the time.
            tracing::debug!(%error, "connection ended early");
        }
        return;
    }
}

/// Passes requests on and notes that there was one.
#[derive(Clone)]
struct Noting<S> {
    begun: Arc<AtomicBool>,
    inner: S,
}

impl<S: Service<R>, R> Service<R> for Noting<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        self.begun.store(true, Ordering::Relaxed);
        self.inner.call(request)
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::Semaphore;
    use tokio::task::JoinHandle;

    use super::*;

    struct Running {
        address: std::net::SocketAddr,
        draining: CancellationToken,
        served: JoinHandle<()>,
        /// Lets one answer of `/slow` go per permit.
        slow: Arc<Semaphore>,
        /// Gets a permit for each request that `/slow` holds.
        held: Arc<Semaphore>,
    }

    async fn start(head_limit: Duration) -> Running {
        let (slow, held) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let (gate, arrivals) = (Arc::clone(&slow), Arc::clone(&held));
        let slow_route = get(move || async move {
            arrivals.add_permits(1);
            gate.acquire().await.unwrap().forget();
            "slow"
        });
        let router = Router::new().route("/", get(|| async { "quick" })).route("/slow", slow_route);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let draining = CancellationToken::new();
        let served = tokio::spawn(serve(listener, router, head_limit, draining.clone()));
        Running { address, draining, served, slow, held }
    }

    impl Running {
        async fn connect(&self) -> TcpStream {
            TcpStream::connect(self.address).await.unwrap()
        }

        async fn ask(&self, path: &str) -> TcpStream {
            let mut stream = self.connect().await;
            stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
            stream
        }
    }

    /// Reads until the server closes.
    async fn rest(stream: &mut TcpStream) -> String {
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn a_connection_that_sends_no_head_is_closed() {
        let running = start(Duration::from_millis(50)).await;

        for beginning in ["", "P", "PRI * HTTP/2", "GET / HTTP/1.1\r\nx: y"] {
            let mut stream = running.connect().await;
            stream.write_all(beginning.as_bytes()).await.unwrap();
            let _ = rest(&mut stream).await;
        }
    }

    #[tokio::test]
    async fn small_answers_are_not_held_back() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (_caller, accepted) = tokio::join!(TcpStream::connect(address), accept(&listener));

        assert!(accepted.nodelay().unwrap());
    }

    #[tokio::test]
    async fn draining_finishes_what_was_begun_answers_newcomers_and_closes_idle_connections() {
        let running = start(HEAD_LIMIT).await;
        let mut idle = running.connect().await;
        let mut slow = running.ask("/slow").await;
        running.held.acquire().await.unwrap().forget();

        running.draining.cancel();

        assert_eq!(rest(&mut idle).await, "");
        let newcomer = rest(&mut running.ask("/").await).await;
        assert!(newcomer.ends_with("quick") && newcomer.contains("connection: close"), "{newcomer}");
        assert!(!running.served.is_finished());
        running.slow.add_permits(1);
        assert!(rest(&mut slow).await.ends_with("slow"));
        running.served.await.unwrap();
        assert!(TcpStream::connect(running.address).await.is_err());
    }
}
