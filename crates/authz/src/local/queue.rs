use std::sync::{Mutex, PoisonError};

use tokio::sync::{Semaphore, oneshot};

use super::store::{RelationshipStoreError, Write, Written};

/// Most writes that go to the store together; the first of them waits for the last.
const TOGETHER: usize = 64;

/// How many batches are on their way at once: while the store commits one, the next is handed to it.
const UNDER_WAY: usize = 2;

/// Writes that wait for somebody to take them to the store. Whoever comes when there is room takes everybody along.
pub(super) struct Queue {
    waiting: Mutex<Vec<Pending>>,
    room: Semaphore,
}

/// A write that has no answer yet.
pub(super) struct Pending {
    write: Write,
    answer: Answer,
}

/// Where the answer to a write goes. Dropped without one, the write counts as given up.
pub(super) struct Answer(oneshot::Sender<Result<Written, RelationshipStoreError>>);

impl Answer {
    pub(super) fn give(self, answer: Result<Written, RelationshipStoreError>) {
        // Nobody may be waiting any more, and nothing hangs on it.
        drop(self.0.send(answer));
    }
}

impl Pending {
    pub(super) fn into_parts(self) -> (Write, Answer) {
        (self.write, self.answer)
    }
}

impl Default for Queue {
    fn default() -> Self {
        Self { waiting: Mutex::default(), room: Semaphore::new(UNDER_WAY) }
    }
}

impl Queue {
    /// What became of the write, which `take` writes, now or together with others by one of them; `None` when that one
    /// was given up.
    pub(super) async fn add<F: Future<Output = ()>>(
        &self,
        write: Write,
        take: impl Fn(Vec<Pending>) -> F,
    ) -> Option<Result<Written, RelationshipStoreError>> {
        let (answer, mut answered) = oneshot::channel();
        self.waiting().push(Pending { write, answer: Answer(answer) });
        loop {
            tokio::select! {
                biased;
                answer = &mut answered => return answer.ok(),
                room = self.room.acquire() => {
                    let room = room.expect("nobody closes it");
                    let batch = self.next_batch();
                    if batch.is_empty() {
                        // Ours is on its way with somebody.
                        drop(room);
                        return answered.await.ok();
                    }
                    take(batch).await;
                    drop(room);
                }
            }
        }
    }

    fn next_batch(&self) -> Vec<Pending> {
        let mut waiting = self.waiting();
        let count = waiting.len().min(TOGETHER);
        waiting.drain(..count).collect()
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Vec<Pending>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
