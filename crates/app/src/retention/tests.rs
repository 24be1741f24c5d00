use std::sync::atomic::{AtomicUsize, Ordering};

use agentex_domain::TaskActivity;
use agentex_domain::ports::{
    CleanCandidate, Cursor, Entry, MockRetentionRepository, MockSnapshotTransfer, RetentionRepository, SnapshotPages,
    StartAt, StreamError, Subscription, SystemClock,
};
use agentex_domain::{CleanOverrides, Snapshot};
use async_trait::async_trait;
use bytes::Bytes;

use super::*;
use crate::testing::{MockStores, guard};

/// A stream backend that is down.
struct Down;

#[async_trait]
impl EventStream for Down {
    async fn publish(&self, _: &TaskId, _: Bytes) -> Result<Cursor, StreamError> {
        Err(StreamError::Unavailable("down".into()))
    }

    async fn subscribe(&self, _: &TaskId, _: StartAt) -> Result<Subscription, StreamError> {
        Err(StreamError::Unavailable("down".into()))
    }

    async fn read(&self, _: &TaskId, _: Cursor, _: usize) -> Result<Vec<Entry>, StreamError> {
        Err(StreamError::Unavailable("down".into()))
    }

    async fn clear(&self, _: &TaskId) -> Result<(), StreamError> {
        Err(StreamError::Unavailable("down".into()))
    }
}

fn retention(repository: impl RetentionRepository + 'static, transfer: MockSnapshotTransfer) -> Retention {
    let stores = Stores { retention: Arc::new(repository), ..MockStores::default().into_stores() };
    Retention::new(Parts {
        stores,
        guard: guard(None),
        streams: Arc::new(Down),
        transfer: Arc::new(transfer),
        clock: Arc::new(SystemClock),
        settings: RetentionSettings::default(),
    })
}

fn candidate(id: &str, is_shared: bool) -> CleanCandidate {
    CleanCandidate { task_id: id.into(), is_shared }
}

fn sweeping() -> SweepSettings {
    SweepSettings { enabled: true, agents: vec!["a".to_owned()], dry_run: false, ..SweepSettings::default() }
}

fn done() -> Cleaned {
    Cleaned::Done { counts: CleanCounts::default(), overrides: CleanOverrides::default() }
}

/// retention §8: 20
///
/// A stream backend that is down keeps nobody from cleaning.
#[tokio::test]
async fn a_sweep_skips_tasks_of_several_agents_and_counts_what_fails() {
    let mut repository = MockRetentionRepository::new();
    repository.expect_candidates().once().returning(|agents, _, after, limit| {
        assert_eq!((agents, after, limit), (&["a".to_owned()][..], Some("0".into()), 200));
        Ok(vec![candidate("1", false), candidate("2", true), candidate("3", false), candidate("4", true)])
    });
    repository.expect_clean().times(2).returning(|id, order| {
        assert!(order.deleted_too && order.rules.idle_since.is_some() && order.rules.abandoned_since.is_none());
        match id.as_str() {
            "1" => Ok(done()),
            "3" => Err(StoreError::Unavailable("down".into())),
            other => panic!("{other} is not to be cleaned"),
        }
    });

    let swept = retention(repository, MockSnapshotTransfer::new()).sweep_page(&sweeping(), Some("0".into())).await;

    let SweptPage { report, last } = swept.unwrap();
    let expected = SweepReport { cleaned: 1, skipped: 2, skipped_multi_agent: 2, failed: 1, ..SweepReport::default() };
    assert_eq!((report, last), (expected, Some("4".into())));
}

/// A URL that is refused costs nothing more.
#[tokio::test]
async fn a_url_is_looked_at_before_the_task() {
    let mut transfer = MockSnapshotTransfer::new();
    transfer.expect_vet().times(2).returning(|_| Err(UrlRefusal::NotPublic("h".to_owned())));
    let retention = retention(MockRetentionRepository::new(), transfer);
    let task = TaskId::from("t");

    let export = retention.export_to_url(&Caller::Anonymous, &task, "https://h/?sig=s3cret").await;
    let from = RehydrateFrom::Url("https://h/?sig=s3cret".to_owned());
    let rehydrate = retention.rehydrate(&Caller::Anonymous, &task, from).await;

    for refused in [export.map(drop), rehydrate] {
        let text = "URL host 'h' resolves to a non-public address; refusing to issue a server-side request.";
        assert!(matches!(&refused, Err(Error::Invalid(said)) if said == text), "{refused:?}");
    }
}

/// Cleans slowly, and knows how many cleans there were at the same time.
#[derive(Default)]
struct Slow {
    running: AtomicUsize,
    most: Arc<AtomicUsize>,
}

#[async_trait]
impl RetentionRepository for Slow {
    async fn export(&self, _: &TaskId) -> Result<Option<Box<dyn SnapshotPages>>, StoreError> {
        Ok(None)
    }

    async fn activity(&self, _: &TaskId) -> Result<Option<TaskActivity>, StoreError> {
        Ok(None)
    }

    async fn clean(&self, _: &TaskId, _: &CleanOrder) -> Result<Cleaned, StoreError> {
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(running, Ordering::SeqCst);
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        self.running.fetch_sub(1, Ordering::SeqCst);
        Ok(done())
    }

    async fn rehydrate(&self, _: &Snapshot) -> Result<Rehydrated, StoreError> {
        Ok(Rehydrated::Absent)
    }

    async fn candidates(
        &self,
        _: &[String],
        _: Timestamp,
        _: Option<TaskId>,
        _: u32,
    ) -> Result<Vec<CleanCandidate>, StoreError> {
        Ok((0..9).map(|number| candidate(&number.to_string(), false)).collect())
    }
}

#[tokio::test]
async fn no_more_tasks_are_cleaned_at_once_than_allowed() {
    let slow = Slow::default();
    let most = Arc::clone(&slow.most);
    let settings = SweepSettings { max_in_flight: 3, ..sweeping() };

    let swept = retention(slow, MockSnapshotTransfer::new()).sweep_page(&settings, None).await.unwrap();

    assert_eq!((swept.report.cleaned, most.load(Ordering::SeqCst)), (9, 3));
}

#[test]
fn no_number_of_days_leaves_the_range_of_dates() {
    let now = crate::testing::at();

    assert_eq!(days_before(now, 1).to_string(), "2026-01-01T03:04:05Z");
    for days in [1_000_000, i64::from(u32::MAX), i64::MAX] {
        assert_eq!(days_before(now, days).to_string(), "0001-01-01T00:00:00Z", "{days}");
    }
}
