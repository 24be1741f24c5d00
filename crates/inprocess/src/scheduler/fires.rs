use std::sync::Arc;
use std::time::Duration;

use agentex_domain::ports::{FinishedFire, FireLease, Jobs, StoreError};
use agentex_domain::{ClaimedFire, Timestamp};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::InProcessScheduler;
use super::held::Held;
use super::time::later;
use super::worker::{Ended, Worker};

/// How soon work is looked for again that somebody else seems to be taking.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How long room is let grow while there is more to do than room: a look at the store costs the same for one as for many.
const GATHER: Duration = Duration::from_millis(10);
/// The part of all that may run which is room enough.
const ENOUGH: usize = 4;
/// Most ends that are stored at once.
const MOST_ENDS: usize = 1_000;
/// Most fires that are forgotten at once.
const MOST_FORGOTTEN: u32 = 1_000;
/// Leases are made longer so often that two failures do no harm.
const PER_LEASE: u32 = 3;
/// How often the end of a fire is stored again while the process shuts down.
const LAST_TRIES: u32 = 3;

impl InProcessScheduler {
    pub(super) async fn carry_out_fires(&self, jobs: &Arc<dyn Jobs>, shutdown: &CancellationToken) {
        let (ended, ends) = mpsc::channel(self.options.max_running.max(1));
        let worker = Worker {
            timers: Arc::clone(&self.timers),
            jobs: Arc::clone(jobs),
            clock: Arc::clone(&self.clock),
            sleeper: Arc::clone(&self.sleeper),
            options: self.options.clone(),
            ended,
        };
        let held = Arc::new(Held::default());
        let over = CancellationToken::new();
        let work = async {
            // The worker goes with the last fire, and with it the way to report ends.
            tokio::join!(self.take_fires(Arc::new(worker), &held, shutdown), self.store_ends(ends, shutdown));
            over.cancel();
        };
        let keeping = async {
            tokio::select! {
                () = over.cancelled() => {}
                () = self.keep_leases(&held) => {}
            }
        };
        tokio::join!(work, keeping);
    }

    /// Begins what is due, as long as there is room.
    async fn take_fires(&self, worker: Arc<Worker>, held: &Arc<Held>, shutdown: &CancellationToken) {
        let mut running = JoinSet::new();
        while !shutdown.is_cancelled() {
            while running.try_join_next().is_some() {}
            let room = self.options.max_running.max(1).saturating_sub(running.len());
            let limit = u32::try_from(room).unwrap_or(u32::MAX).min(self.options.batch.max(1));
            let now = self.clock.now();
            let turn = held.turn.lock().await;
            let (fires, trouble) = if limit > 0 { self.take(now, limit).await } else { (Vec::new(), None) };
            let taken = fires.len();
            for claimed in fires {
                let Some(holding) = held.hold(&claimed) else { continue };
                let worker = Arc::clone(&worker);
                running.spawn(async move { worker.carry_out(claimed, holding).await });
            }
            drop(turn);

            if limit == 0 {
                tokio::select! {
                    () = shutdown.cancelled() => {}
                    () = self.make_room(&mut running) => {}
                }
                continue;
            }
            let wake_at = match trouble {
                Some(error) => {
                    tracing::warn!(%error, "what is due is not known now");
                    later(self.clock.now(), self.options.poll)
                }
                None if taken >= limit as usize => continue,
                None => self.next_look(now, taken > 0).await,
            };
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = self.wake.notified() => {}
                () = self.sleeper.sleep_until(wake_at) => {}
            }
        }
        self.drain(running, held).await;
    }

    /// Waits until something has ended and, for a moment, until a good part has.
    async fn make_room(&self, running: &mut JoinSet<()>) {
        let enough = self.options.max_running - self.options.max_running / ENOUGH;
        running.join_next().await;
        let gathered = later(self.clock.now(), GATHER);
        let gathering = async {
            while running.len() > enough {
                running.join_next().await;
            }
        };
        tokio::select! {
            biased;
            () = gathering => {}
            () = self.sleeper.sleep_until(gathered) => {}
        }
    }

    /// Up to `limit` fires, those first that have been waiting since before. What was taken until the store failed is not
    /// lost.
    async fn take(&self, now: Timestamp, limit: u32) -> (Vec<ClaimedFire>, Option<StoreError>) {
        let until = later(now, self.options.lease);
        let mut fires = match self.timers.claim(now, until, limit).await {
            Ok(fires) => fires,
            Err(error) => return (Vec::new(), Some(error)),
        };
        let rest = limit.saturating_sub(u32::try_from(fires.len()).unwrap_or(u32::MAX));
        if rest == 0 {
            return (fires, None);
        }
        match self.timers.fire_due(now, until, rest, self.options.misfire).await {
            Ok(more) => {
                fires.extend(more);
                (fires, None)
            }
            Err(error) => (fires, Some(error)),
        }
    }

    /// When to look again after having looked at `looked_at`.
    async fn next_look(&self, looked_at: Timestamp, some_were_due: bool) -> Timestamp {
        let next = self.timers.next_due().await.unwrap_or_else(|error| {
            tracing::warn!(%error, "what is due next is not known now");
            None
        });
        let now = self.clock.now();
        // Counted from the look: what came to be due since the answer is not waited for any longer.
        let latest = later(looked_at, self.options.poll);
        match next {
            // It was due before and not taken: somebody else is at it.
            Some(due) if due <= looked_at && !some_were_due => later(now, LOOK_AGAIN).min(latest),
            Some(due) => due.max(now).min(latest),
            None => latest,
        }
    }

    /// Lets what is running end, for a while, and gives the rest back.
    async fn drain(&self, mut running: JoinSet<()>, held: &Arc<Held>) {
        let deadline = later(self.clock.now(), self.options.drain);
        loop {
            tokio::select! {
                biased;
                next = running.join_next() => {
                    if next.is_none() {
                        return;
                    }
                }
                () = self.sleeper.sleep_until(deadline) => break,
            }
        }
        let left = held.leases();
        running.shutdown().await;
        let left: Vec<FireLease> = left.into_iter().filter(|lease| !held.has_ended(&lease.fire_id)).collect();
        tracing::warn!(fires = left.len(), "fires are broken off and given back");
        if let Err(error) = self.timers.release(&left, self.clock.now()).await {
            tracing::warn!(%error, "fires could not be given back and come again when their leases end");
        }
    }

    /// Stores ends, all that have come together at once.
    async fn store_ends(&self, mut ends: mpsc::Receiver<Ended>, shutdown: &CancellationToken) {
        let mut some: Vec<Ended> = Vec::new();
        while ends.recv_many(&mut some, MOST_ENDS).await > 0 {
            let mut tries = 0;
            while !some.is_empty() {
                let finished = finished(&some);
                let Err(error) = self.timers.finish(&finished, self.clock.now()).await else {
                    // Their leases are kept up to here. What this process has claimed again meanwhile ends once more.
                    let mut sent = finished.into_iter();
                    some.retain(|ended| sent.next().is_some_and(|sent| sent.lease != ended.holding.lease()));
                    continue;
                };
                tracing::warn!(%error, "the end of fires is not stored yet");
                tries += 1;
                if shutdown.is_cancelled() && tries >= LAST_TRIES {
                    break;
                }
                self.sleeper.sleep_until(later(self.clock.now(), self.options.poll)).await;
            }
            some.clear();
        }
    }

    /// Makes the leases longer, and forgets old fires.
    async fn keep_leases(&self, held: &Held) {
        let mut forget_at = self.clock.now();
        loop {
            let now = self.clock.now();
            let turn = held.turn.lock().await;
            let leases = held.leases();
            if !leases.is_empty() {
                match self.timers.extend(&leases, later(now, self.options.lease)).await {
                    Ok(lost) => held.lost(&leases, &lost),
                    Err(error) => tracing::warn!(%error, "leases are not made longer"),
                }
            }
            drop(turn);
            if now >= forget_at {
                forget_at = later(now, Duration::from_secs(60));
                self.forget(now).await;
            }
            self.sleeper.sleep_until(later(now, self.options.lease / PER_LEASE)).await;
        }
    }

    async fn forget(&self, now: Timestamp) {
        let remember = i64::try_from(self.options.remember.as_micros()).unwrap_or(i64::MAX);
        let Some(before) = Timestamp::from_micros(now.as_micros().saturating_sub(remember)) else { return };
        loop {
            match self.timers.prune(before, MOST_FORGOTTEN).await {
                Ok(forgotten) if forgotten >= u64::from(MOST_FORGOTTEN) => {}
                Ok(_) => return,
                Err(error) => return tracing::warn!(%error, "old fires are not forgotten"),
            }
        }
    }
}

fn finished(ended: &[Ended]) -> Vec<FinishedFire> {
    let finished = |Ended { error, holding }: &Ended| FinishedFire { lease: holding.lease(), error: error.clone() };
    ended.iter().map(finished).collect()
}
