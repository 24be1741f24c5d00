use std::time::Duration;

use agentex_domain::Misfire;

/// How an [`InProcessScheduler`](super::InProcessScheduler) works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchedulerOptions {
    /// What becomes of occurrences that were due while no scheduler was running.
    pub misfire: Misfire,
    /// Most fires that this process carries out at the same time.
    pub max_running: usize,
    /// Most fires that are taken from the store at once.
    pub batch: u32,
    /// How long a fire belongs to whoever took it. It is made longer while the work goes on; when its holder dies, somebody
    /// else takes it this much later.
    pub lease: Duration,
    /// How long the store is left alone when nothing is due. Another process may have made a schedule meanwhile.
    pub poll: Duration,
    /// How often a fire is begun before it is given up.
    pub attempts: u32,
    /// Pause before the second attempt; it doubles with each further one.
    pub backoff: Duration,
    /// How long one attempt may take.
    pub attempt_timeout: Duration,
    /// How long running fires may go on after the shutdown has begun; the others are given back.
    pub drain: Duration,
    /// How long fires are remembered after their end, so that they are not carried out again.
    pub remember: Duration,
    /// Pause between two questions about the health of one agent.
    pub check_every: Duration,
    /// How many failures in a row make an agent unhealthy.
    pub check_failures: u32,
    /// Most agents asked at the same time.
    pub check_concurrency: usize,
}

impl Default for SchedulerOptions {
    fn default() -> Self {
        Self {
            misfire: Misfire::default(),
            max_running: 256,
            batch: 256,
            lease: Duration::from_secs(30),
            poll: Duration::from_secs(1),
            attempts: 5,
            backoff: Duration::from_secs(2),
            attempt_timeout: Duration::from_secs(1_800),
            drain: Duration::from_secs(20),
            remember: Duration::from_secs(3_600),
            check_every: Duration::from_secs(30),
            check_failures: 5,
            check_concurrency: 64,
        }
    }
}

impl SchedulerOptions {
    /// The pause after the attempt of this number, counted from 1.
    pub(super) fn pause_after(&self, attempt: u32) -> Duration {
        self.backoff.saturating_mul(1 << attempt.saturating_sub(1).min(16))
    }
}
