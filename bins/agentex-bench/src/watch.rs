//! Viewers of a task, and the marks they find in its events.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;

use crate::http::{self, Connection, Lines};
use crate::load::on_own_thread;

/// Viewers that connect at the same time.
const CONNECTING: usize = 50;
/// What comes before the time of publication in an event.
const MARK: &[u8] = b"sent=";

/// Text to publish within an event, so that its viewers know when that was. No two are the same.
pub(crate) fn mark() -> String {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let now = u64::try_from(now().as_nanos()).unwrap_or(u64::MAX);
    let last = LAST.fetch_max(now, Ordering::Relaxed);
    let mark = if last < now { now } else { LAST.fetch_add(1, Ordering::Relaxed) + 1 };
    format!("sent={mark}")
}

/// Time on the clock of marks.
pub(crate) fn now() -> Duration {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    BEGAN.get_or_init(Instant::now).elapsed()
}

/// When an event was published; `None` when it has no mark.
fn published(event: &[u8]) -> Option<Duration> {
    // Marks are near the end of events.
    let at = event.windows(MARK.len()).rposition(|window| window == MARK)? + MARK.len();
    let digits = event[at..].iter().take_while(|byte| byte.is_ascii_digit());
    let nanos = digits.fold(0_u64, |number, digit| number.wrapping_mul(10).wrapping_add(u64::from(digit - b'0')));
    Some(Duration::from_nanos(nanos))
}

/// One event as one viewer got it, in times of [`now`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) published: Duration,
    pub(crate) received: Duration,
}

/// In which order events must come. Each must come once in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// As their marks were made: one publisher sent one after the other.
    AsPublished,
    /// Any: several publishers were at work.
    Any,
}

/// Viewers that are connected.
pub(crate) struct Viewers {
    outcome: oneshot::Receiver<anyhow::Result<Vec<Seen>>>,
}

impl Viewers {
    /// Connects `count` viewers to the stream at `path` and returns when each has got its first event, `connected`.
    /// Each leaves with its last of `events` marked events; after `limit` all do.
    pub(crate) async fn connect(
        address: SocketAddr,
        path: String,
        count: usize,
        events: usize,
        order: Order,
        limit: Duration,
    ) -> anyhow::Result<Self> {
        let (connected, mut ready) = mpsc::unbounded_channel();
        let (done, outcome) = oneshot::channel();
        tokio::spawn(async move {
            let all = on_own_thread(limit, async move {
                let request = http::get(&path);
                let mut viewers = JoinSet::new();
                let mut seen = Vec::with_capacity(count * events);
                let turns = Arc::new(Semaphore::new(CONNECTING));
                for _ in 0..count {
                    let (request, connected) = (request.clone(), connected.clone());
                    let turn = Arc::clone(&turns).acquire_owned().await?;
                    viewers.spawn(async move {
                        let connection = Connection::open(address).await?;
                        let seen = view(connection, &request, events, || {
                            drop(turn);
                            let _ = connected.send(());
                        })
                        .await?;
                        check(&seen, order)?;
                        anyhow::Ok(seen)
                    });
                }
                drop(connected);
                while let Some(viewer) = viewers.join_next().await {
                    seen.extend(viewer??);
                }
                Ok(seen)
            });
            let _ = done.send(all.await);
        });
        let mut viewers = Self { outcome };
        for _ in 0..count {
            if ready.recv().await.is_none() {
                viewers.seen().await?;
                bail!("a viewer left before it was connected");
            }
        }
        Ok(viewers)
    }

    /// All events of all viewers, when they have got all.
    pub(crate) async fn seen(&mut self) -> anyhow::Result<Vec<Seen>> {
        (&mut self.outcome).await.context("the viewers were given up")?
    }
}

async fn view(
    mut connection: Connection,
    request: &Bytes,
    events: usize,
    connected: impl FnOnce(),
) -> anyhow::Result<Vec<Seen>> {
    let mut connected = Some(connected);
    let mut seen: Vec<Seen> = Vec::with_capacity(events);
    let mut lines = Lines::default();
    let mut pieces = connection.begin(request).await?;
    while seen.len() < events {
        let piece = pieces.next().await?.context("the stream of a viewer ended early")?;
        let received = now();
        lines.push(&piece, |line| {
            let Some(event) = line.strip_prefix(b"data: ") else { return Ok(()) };
            if let Some(connected) = connected.take() {
                ensure!(http::find(event, b"\"connected\"").is_some(), "the first event is another");
                connected();
                return Ok(());
            }
            let published = published(event).with_context(|| String::from_utf8_lossy(event).into_owned())?;
            seen.push(Seen { published, received });
            Ok(())
        })?;
    }
    Ok(seen)
}

fn check(seen: &[Seen], order: Order) -> anyhow::Result<()> {
    let mut published: Vec<Duration> = seen.iter().map(|seen| seen.published).collect();
    if order == Order::Any {
        published.sort_unstable();
    }
    ensure!(published.is_sorted_by(|one, next| one < next), "a viewer got an event twice or in the wrong order");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_must_come_once_and_in_order_unless_several_publish() {
        let seen = |published: &[u64]| -> Vec<Seen> {
            let seen = |nanos: &u64| Seen { published: Duration::from_nanos(*nanos), received: Duration::ZERO };
            published.iter().map(seen).collect()
        };

        assert!(check(&seen(&[1, 2, 3]), Order::AsPublished).is_ok());
        assert!(check(&seen(&[2, 1, 3]), Order::AsPublished).is_err());
        assert!(check(&seen(&[2, 1, 3]), Order::Any).is_ok());
        assert!(check(&seen(&[2, 1, 2]), Order::Any).is_err());
    }

    #[test]
    fn marks_are_read_back() {
        let (before, mark) = (now(), mark());
        let event = format!(r#"{{"type":"task_updated","task":{{"task_metadata":{{"mark":"{mark}"}}}}}}"#);

        let read = published(event.as_bytes()).unwrap();

        assert!((before..=now()).contains(&read));
        assert_eq!(published(b"{}"), None);
    }
}
