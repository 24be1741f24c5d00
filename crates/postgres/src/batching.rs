//! Statements of one kind that are wanted at the same moment become one statement.
//!
//! A statement on one row costs the database mostly what every statement costs; under load, many callers share that. A
//! caller who comes alone waits for nobody.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agentex_domain::ports::{BoxError, StoreError};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::error::lost_a_conflict;

/// How long callers wait for the statement before them, which may be waiting for somebody's lock, or on its way to a
/// database far away.
const PATIENCE: Duration = Duration::from_millis(10);
/// Most callers that share a statement. Their arrays stay small, and nobody waits for very much work of others.
const MOST: usize = 128;

/// A kind of statement that can be run for many callers at once.
pub(crate) trait Batch: Send + Sync + 'static {
    /// What one caller asks.
    type Item: Send + Sync + 'static;
    /// What is answered to one.
    type Answer: Send + 'static;

    /// Runs the statement for one.
    fn alone(&self, item: &Self::Item) -> impl Future<Output = Result<Self::Answer, StoreError>> + Send;

    /// Runs one statement for all, with the effect of running it for each in this order; the answers have the order of the
    /// items. `None` says that nothing was done for an item, which is then done alone. So is everything when the statement
    /// is refused, which must undo it completely.
    fn together(
        &self,
        items: &[Arc<Self::Item>],
    ) -> impl Future<Output = Result<Vec<Option<Self::Answer>>, StoreError>> + Send;
}

/// Gathers what is asked while a statement of the kind is running.
pub(crate) struct Batched<B: Batch> {
    shared: Arc<Shared<B>>,
}

struct Shared<B: Batch> {
    batch: B,
    line: Mutex<Line<B>>,
}

struct Line<B: Batch> {
    running: usize,
    waiting: Vec<Waiting<B>>,
}

struct Waiting<B: Batch> {
    item: Arc<B::Item>,
    reply: oneshot::Sender<Reply<B::Answer>>,
}

enum Reply<A> {
    Answer(A),
    /// Nothing was done.
    Alone,
    /// Whether anything was done is not known.
    Outage(SharedError),
}

/// What went wrong for several callers.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
struct SharedError(Arc<BoxError>);

impl<B: Batch> Batched<B> {
    pub(crate) fn new(batch: B) -> Self {
        let line = Mutex::new(Line { running: 0, waiting: Vec::new() });
        Self { shared: Arc::new(Shared { batch, line }) }
    }

    /// Sees everything that was stored before the call. Dropping the answer does not undo what is under way.
    pub(crate) async fn run(&self, item: B::Item) -> Result<B::Answer, StoreError> {
        let Shared { batch, .. } = &*self.shared;
        let (item, mut answer) = match self.shared.enter(item) {
            Entered::First(item, turn) => {
                let answer = batch.alone(&item).await;
                drop(turn);
                return answer;
            }
            Entered::Waiting(item, answer) => (item, answer),
        };
        let answer = match tokio::time::timeout(PATIENCE, &mut answer).await {
            Ok(answer) => answer,
            Err(_) => {
                self.shared.another_turn();
                answer.await
            }
        };
        match answer {
            Ok(Reply::Answer(answer)) => Ok(answer),
            Ok(Reply::Outage(error)) => Err(StoreError::Unavailable(error.into())),
            Ok(Reply::Alone) => batch.alone(&item).await,
            // Whoever ran it is gone in the middle.
            Err(_) => Err(StoreError::Unavailable("the statement was broken off".into())),
        }
    }
}

enum Entered<B: Batch> {
    First(B::Item, Turn<B>),
    Waiting(Arc<B::Item>, oneshot::Receiver<Reply<B::Answer>>),
}

impl<B: Batch> Shared<B> {
    fn enter(self: &Arc<Self>, item: B::Item) -> Entered<B> {
        let mut line = self.lock();
        if line.running == 0 {
            line.running = 1;
            return Entered::First(item, Turn(Arc::clone(self)));
        }
        let (item, (reply, answer)) = (Arc::new(item), oneshot::channel());
        line.waiting.push(Waiting { item: Arc::clone(&item), reply });
        Entered::Waiting(item, answer)
    }

    /// Lets those who wait go on beside whoever is running.
    fn another_turn(self: &Arc<Self>) {
        self.lock().running += 1;
        drop(Turn(Arc::clone(self)));
    }

    /// Those who are next. When nobody waits, the turn ends.
    fn next(&self) -> Vec<Waiting<B>> {
        let mut line = self.lock();
        line.waiting.retain(|waiting| !waiting.reply.is_closed());
        let next = if line.waiting.len() <= MOST {
            std::mem::take(&mut line.waiting)
        } else {
            line.waiting.drain(..MOST).collect()
        };
        if next.is_empty() {
            line.running -= 1;
        }
        next
    }

    async fn answer(&self, waiting: Vec<Waiting<B>>) {
        let (items, replies): (Vec<_>, Vec<_>) =
            waiting.into_iter().map(|Waiting { item, reply }| (item, reply)).unzip();
        let mut answers = match self.batch.together(&items).await {
            Ok(answers) => answers.into_iter().map(|answer| answer.map_or(Reply::Alone, Reply::Answer)).collect(),
            Err(error) => match error {
                StoreError::Unavailable(error) if !lost_a_conflict(&error) => {
                    let error = SharedError(Arc::new(error));
                    replies.iter().map(|_| Reply::Outage(error.clone())).collect()
                }
                error => {
                    tracing::debug!(%error, items = items.len(), "refused together, tried one by one");
                    Vec::new()
                }
            },
        }
        .into_iter();
        for reply in replies {
            // A caller who has gone is told nothing.
            let _ = reply.send(answers.next().unwrap_or(Reply::Alone));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Line<B>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to run a statement. It goes on to those who wait, even when its holder has gone away.
struct Turn<B: Batch>(Arc<Shared<B>>);

impl<B: Batch> Drop for Turn<B> {
    fn drop(&mut self) {
        let next = self.0.next();
        if next.is_empty() {
            return;
        }
        let turn = Self(Arc::clone(&self.0));
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(async move { turn.0.answer(next).await })),
            // Nothing can be run any more, by those who wait neither.
            Err(_) => drop(next),
        }
    }
}

/// One value of each item, as a parameter.
pub(crate) fn column<'a, I, T>(items: &'a [Arc<I>], of: impl Fn(&'a I) -> T) -> Vec<T> {
    items.iter().map(|item| of(item)).collect()
}

/// The keys to look for, each once: many callers want the same agent. No row has a key with U+0000, which PostgreSQL cannot
/// hold and would refuse for everybody.
pub(crate) fn distinct<I>(items: &[Arc<I>], key: impl Fn(&I) -> &str) -> Vec<&str> {
    let keys: HashSet<&str> = items.iter().map(|item| key(item)).filter(|key| is_storable(key)).collect();
    keys.into_iter().collect()
}

pub(crate) fn is_storable(text: &str) -> bool {
    !text.contains('\0')
}

/// Answers each item with what was found under its key, if anything.
pub(crate) fn by_key<I, K: Eq + Hash, A: Clone>(
    items: &[Arc<I>],
    found: &HashMap<K, A>,
    key: impl Fn(&I) -> K,
) -> Vec<Option<Option<A>>> {
    items.iter().map(|item| Some(found.get(&key(item)).cloned())).collect()
}

#[cfg(test)]
mod tests;
