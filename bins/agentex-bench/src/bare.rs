//! The least that a thousand viewers can cost: one thread that writes the same bytes to a thousand connections.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::Context as _;

use crate::watch;

const IDLE_LIMIT: Duration = Duration::from_secs(30);

/// Sends events to viewers, on a thread of its own. It knows no tasks: whoever connects is a viewer.
pub(crate) struct BareFanOut {
    listener: TcpListener,
    address: SocketAddr,
}

impl BareFanOut {
    pub(crate) fn listen() -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes `viewers` connections, tells each that it is connected, and then writes `events` events to all, one every
    /// `pause`. `event` makes the next one, with its mark.
    pub(crate) fn run(
        self,
        viewers: usize,
        events: usize,
        pause: Duration,
        event: impl Fn() -> String + Send + 'static,
    ) {
        std::thread::spawn(move || {
            if let Err(error) = self.serve(viewers, events, pause, event) {
                // The viewers notice, and their failure is the one that is reported.
                eprintln!("bare fan-out: {error:#}");
            }
        });
    }

    fn serve(self, viewers: usize, events: usize, pause: Duration, event: impl Fn() -> String) -> anyhow::Result<()> {
        let mut connections = Vec::with_capacity(viewers);
        for _ in 0..viewers {
            let (mut connection, _) = self.listener.accept()?;
            connection.set_nodelay(true)?;
            connection.set_read_timeout(Some(IDLE_LIMIT))?;
            connection.set_write_timeout(Some(IDLE_LIMIT))?;
            read_head(&mut connection)?;
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
            let connected = chunk(r#"{"type":"connected","taskId":"none"}"#);
            connection.write_all(format!("{head}{connected}").as_bytes())?;
            connections.push(connection);
        }
        for _ in 0..events {
            std::thread::sleep(pause);
            let event = chunk(&event());
            for connection in &mut connections {
                connection.write_all(event.as_bytes())?;
            }
        }
        // A viewer that has got everything closes its connection.
        for connection in &mut connections {
            let _ = connection.read(&mut [0]);
        }
        Ok(())
    }
}

fn read_head(connection: &mut TcpStream) -> anyhow::Result<()> {
    let (mut head, mut buffer) = (Vec::new(), [0; 1024]);
    while !head.ends_with(b"\r\n\r\n") {
        let read = connection.read(&mut buffer)?;
        head.extend_from_slice(buffer.get(..read).filter(|read| !read.is_empty()).context("a viewer left")?);
    }
    Ok(())
}

fn chunk(json: &str) -> String {
    let event = format!("id: {}-0\ndata: {json}\n\n", watch::now().as_millis());
    format!("{:x}\r\n{event}\r\n", event.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::{Order, Viewers};

    #[tokio::test]
    async fn every_viewer_gets_every_event_in_order() {
        let bare = BareFanOut::listen().unwrap();
        let address = bare.address();
        bare.run(3, 4, Duration::from_millis(1), || format!(r#"{{"mark":"{}"}}"#, watch::mark()));

        let mut viewers =
            Viewers::connect(address, "/".to_owned(), 3, 4, Order::AsPublished, IDLE_LIMIT).await.unwrap();

        let seen = viewers.seen().await.unwrap();
        assert_eq!(seen.len(), 12);
        assert!(seen.iter().all(|seen| seen.received >= seen.published));
    }

    #[tokio::test]
    async fn viewers_that_get_no_events_are_an_error() {
        let bare = BareFanOut::listen().unwrap();
        let address = bare.address();
        bare.run(1, 1, Duration::ZERO, || "{}".to_owned());

        let mut viewers = Viewers::connect(address, "/".to_owned(), 1, 1, Order::Any, IDLE_LIMIT).await.unwrap();

        assert!(viewers.seen().await.is_err());
    }
}
