//! What every `EventStream` must do.
//!
//! An adapter runs all of it with [`stream_contract!`](crate::stream_contract). Every case works on task ids of its
//! own, so the backend behind may be shared; nothing here waits by sleeping: what must *not* arrive is shown by what
//! arrives first.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use agentex_domain::TaskId;
use agentex_domain::ports::{Cursor, Delivery, Entry, EventStream, StartAt, Subscription};
use bytes::Bytes;
use futures::StreamExt;
use futures::future::join_all;

/// How many entries per task the stream under test must be set up to keep, more or less: the cases write fewer than
/// this where nothing may be lost, and a good deal more where something must be.
pub const RETAINED: usize = 2_000;

/// How long anything may take before the case fails. Far above what is needed, so that a busy machine does not decide.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs the contract against one adapter: one test per case.
///
/// The argument is an expression, evaluated in each test's async block, that gives `(Arc<dyn EventStream>, guard)`; the
/// guard lives as long as the test. The stream keeps about [`RETAINED`](crate::contract::streams::RETAINED) entries per
/// task.
///
/// ```ignore
/// agentex_testkit::stream_contract!(fresh().await);
/// ```
#[macro_export]
macro_rules! stream_contract {
    ($setup:expr) => {
        $crate::stream_contract! { @cases $setup;
            an_entry_published_right_after_subscribing_is_delivered,
            entries_arrive_byte_for_byte,
            old_entries_are_not_replayed_to_a_new_subscriber,
            resuming_replays_what_is_retained_and_goes_on_live,
            resuming_at_the_newest_entry_replays_nothing,
            resuming_while_a_writer_is_busy_leaves_no_gap_and_no_duplicate,
            all_subscribers_see_all_writers_in_one_order,
            tasks_do_not_see_each_other,
            a_subscriber_overtaken_by_trimming_gets_one_gap_and_then_the_rest,
            resuming_at_a_trimmed_place_begins_with_one_gap,
            reading_from_the_start_of_a_trimmed_task_begins_with_one_gap,
            a_place_the_backend_does_not_know_begins_with_a_gap,
            reading_in_pages_returns_every_entry_once,
            reading_a_task_without_entries_is_empty,
            a_cleared_task_has_no_entries_and_takes_new_ones,
            a_cursor_survives_its_text_form,
            a_subscriber_that_does_not_read_delays_nobody,
            dropping_one_subscriber_leaves_the_other,
            a_thousand_entries_arrive_in_order,
            three_hundred_subscribers_of_fifty_tasks_each_get_their_own,
        }
    };
    (@cases $setup:expr; $($case:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                let (stream, _guard) = $setup;
                $crate::contract::streams::$case(&stream).await;
            }
        )+
    };
}

/// The place is fixed when `subscribe` returns, not when the subscriber first reads.
/// streaming §8: 2
pub async fn an_entry_published_right_after_subscribing_is_delivered(stream: &Arc<dyn EventStream>) {
    let task = TaskId::generate();
    let mut subscription = subscribe(stream, &task, StartAt::Now).await;

    let written = publish(stream, &task, "first").await;

    let entry = next_entry(&mut subscription).await;
    assert_eq!(text(&entry), "first");
    assert_eq!(entry.cursor, written);
    assert!(written > subscription.began_at, "{written} is not after {}", subscription.began_at);
}

/// The stream is no judge of what it carries.
pub async fn entries_arrive_byte_for_byte(stream: &Arc<dyn EventStream>) {
    let task = TaskId::generate();
    let mut subscription = subscribe(stream, &task, StartAt::Now).await;
    let large = "x".repeat(300_000);

    for data in ["", "{\"a\":\"line\\nbreak\"}", "two\nlines", "grüße 🎈", "\u{0}", large.as_str()] {
        publish(stream, &task, data).await;

        assert_eq!(next_text(&mut subscription).await, data);
    }
}

/// A live viewer fetches history from the store.
/// streaming §8: 4
pub async fn old_entries_are_not_replayed_to_a_new_subscriber(stream: &Arc<dyn EventStream>) {
    let task = TaskId::generate();
    let mut early = subscribe(stream, &task, StartAt::Now).await;
    publish(stream, &task, "old").await;
    publish(stream, &task, "older than the second subscriber").await;

    let mut late = subscribe(stream, &task, StartAt::Now).await;
    publish(stream, &task, "new").await;

    assert_eq!(next_text(&mut late).await, "new");
    assert_eq!(texts(&take(&mut early, 3).await), ["old", "older than the second subscriber", "new"]);
}

/// Replayed and live entries form one sequence.
/// streaming §8: 43
pub async fn resuming_replays_what_is_retained_and_goes_on_live(stream: &Arc<dyn EventStream>) {
    let task = TaskId::generate();
    let written = publish_numbers(stream, &task, 0..20).await;

    let mut resumed = subscribe(stream, &task, StartAt::After(written[4])).await;
    let mut from_start = subscribe(stream, &task, StartAt::After(Cursor::start())).await;
    publish_numbers(stream, &task, 20..25).await;

    assert_eq!(resumed.began_at, written[4]);
    assert_eq!(numbers(&take(&mut resumed, 20).await), (5..25).collect::<Vec<_>>());
    assert_eq!(numbers(&take(&mut from_start, 25).await), (0..25).collect::<Vec<_>>());
}

/// Somebody who missed nothing is told nothing.
pub async fn resuming_at_the_newest_entry_replays_nothing(stream: &Arc<dyn EventStream>) {
    let task = TaskId::generate();
    let newest = publish_numbers(stream, &task, 0..3).await[2];

    let mut resumed = subscribe(stream, &task, StartAt::After(newest)).await;
    publish(stream, &task, "3").await;

    assert_eq!(next_text(&mut resumed).await, "3");
}

/// A client that reconnects again and again puts together the whole sequence, while it is being written.
/// streaming §8: 3, 5
pub async fn resuming_while_a_writer_is_busy_leaves_no_gap_and_no_duplicate(stream: &Arc<dyn EventStream>) {
    const WRITTEN: usize = 1_500;
    let task = TaskId::generate();
    let writer = tokio::spawn({
        let (stream, task) = (Arc::clone(stream), task.clone());
        async move { publish_numbers(&stream, &task, 0..WRITTEN).await }
    });

    let mut seen = Vec::new();
    let mut place = Cursor::start();
    while seen.len() < WRITTEN {
        let mut connection = subscribe(stream, &task, StartAt::After(place)).await;
        // Lengths without a common rhythm, so that connections end in the replayed part, in the live part and between.
        let length = (seen.len() % 89 + 1).min(WRITTEN - seen.len());
        for entry in take(&mut connection, length).await {
            place = entry.cursor;
            seen.push(entry.cursor);
        }
    }

    assert_eq!(seen, within(writer).await.unwrap());
}

/// One total order per task, whoever writes and whoever reads.
pub async fn all_subscribers_see_all_writers_in_one_order(stream: &Arc<dyn EventStream>) {
    let task = TaskId::generate();
    let mut one = subscribe(stream, &task, StartAt::Now).await;
    let mut two = subscribe(stream, &task, StartAt::Now).await;

    let writers = (0..4).map(|writer: usize| {
        let (stream, task) = (Arc::clone(stream), task.clone());
        tokio::spawn(async move { publish_numbers(&stream, &task, writer * 100..writer * 100 + 100).await })
    });
    let written = within(join_all(writers)).await;

    let first = take(&mut one, 400).await;
    assert_eq!(first, take(&mut two, 400).await);
    assert!(first.windows(2).all(|pair| pair[0].cursor < pair[1].cursor), "cursors do not grow");
    assert_eq!(
        first.iter().map(|entry| entry.cursor).collect::<BTreeSet<_>>(),
        written.into_iter().flat_map(Result::unwrap).collect::<BTreeSet<_>>(),
    );
}

/// Each task has a stream of its own.
pub async fn tasks_do_not_see_each_other(stream: &Arc<dyn EventStream>) {
    let (mine, other) = (TaskId::generate(), TaskId::generate());
    let mut subscription = subscribe(stream, &mine, StartAt::Now).await;

    publish(stream, &other, "not mine").await;
    publish(stream, &mine, "mine").await;

    assert_eq!(next_text(&mut subscription).await, "mine");
    let retained = stream.read(&mine, Cursor::start(), 10).await.unwrap();
    assert_eq!(retained.iter().map(text).collect::<Vec<_>>(), ["mine"]);
}

/// Falling behind costs the entries that are gone, says so once, and nothing else.
/// streaming §8: 42
pub async fn a_subscriber_overtaken_by_trimming_gets_one_gap_and_then_the_rest(stream: &Arc<dyn EventStream>) {
    let task = TaskId::generate();
    let mut slow = subscribe(stream, &task, StartAt::Now).await;
    let written = publish_numbers(stream, &task, 0..2 * RETAINED + 500).await;
    let first_kept = oldest_retained(stream, &task, &written).await;

    assert_eq!(next(&mut slow).await, Delivery::Gap);

    let rest = take(&mut slow, written.len() - first_kept).await;
    assert_eq!(numbers(&rest), (first_kept..written.len()).collect::<Vec<_>>());
    publish(stream, &task, "live again").await;
    assert_eq!(next_text(&mut slow).await, "live again");
}

/// A client that comes back too late learns that it must refetch, then gets what is left.
pub async fn resuming_at_a_trimmed_place_begins_with_one_gap(stream: &Arc<dyn EventStream>) {
    let task = TaskId::generate();
    let written = publish_numbers(stream, &task, 0..2 * RETAINED + 500).await;
    let first_kept = oldest_retained(stream, &task, &written).await;

    let mut resumed = subscribe(stream, &task, StartAt::After(written[3])).await;

    assert_eq!(next(&mut resumed).await, Delivery::Gap);
    assert_eq!(next_entry(&mut resumed).await.cursor, written[first_kept]);

    let mut in_time = subscribe(stream, &task, StartAt::After(written[first_kept])).await;
    assert_eq!(next_entry(&mut in_time).await.cursor, written[first_kept + 1]);
}

/// "From the start" of a task whose start is gone is a gap as well.
pub async fn reading_from_the_start_of_a_trimmed_task_begins_with_one_gap(stream: &Arc<dyn EventStream>) {
    let task = TaskId::generate();
    let written = publish_numbers(stream, &task, 0..2 * RETAINED + 500).await;
    let first_kept = oldest_retained(stream, &task, &written).await;

    let mut subscription = subscribe(stream, &task, StartAt::After(Cursor::start())).await;

    assert_eq!(next(&mut subscription).await, Delivery::Gap);
    assert_eq!(next_entry(&mut subscription).await.cursor, written[first_kept]);
}

/// A cursor newer than everything stems from a history that was lost. Nobody can tell what was in it, so the subscriber
/// hears of a gap and gets what there is.
pub async fn a_place_the_backend_does_not_know_begins_with_a_gap(stream: &Arc<dyn EventStream>) {
    let task = TaskId::generate();
    let written = publish_numbers(stream, &task, 0..2).await;
    let lost = Cursor { millis: written[1].millis + 1_000_000_000, number: 7 };

    let mut resumed = subscribe(stream, &task, StartAt::After(lost)).await;
    publish(stream, &task, "2").await;

    assert_eq!(next(&mut resumed).await, Delivery::Gap);
    assert_eq!(numbers(&take(&mut resumed, 3).await), [0, 1, 2]);
    assert!(resumed.began_at < written[0], "entries come after the place it began at");
}

/// The last cursor of a page is the place of the next.
pub async fn reading_in_pages_returns_every_entry_once(stream: &Arc<dyn EventStream>) {
    let task = TaskId::generate();
    let written = publish_numbers(stream, &task, 0..25).await;

    let mut place = Cursor::start();
    let mut pages = Vec::new();
    loop {
        let page = stream.read(&task, place, 10).await.unwrap();
        let Some(last) = page.last() else { break };
        place = last.cursor;
        pages.push(page);
    }

    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [10, 10, 5]);
    assert_eq!(pages.iter().flatten().map(|entry| entry.cursor).collect::<Vec<_>>(), written);
    assert_eq!(pages[2][4].data, "24");
    assert_eq!(stream.read(&task, Cursor::start(), 0).await.unwrap(), []);
}

/// Without waiting, and without an error: a task nobody wrote to is not special.
pub async fn reading_a_task_without_entries_is_empty(stream: &Arc<dyn EventStream>) {
    let task = TaskId::generate();

    let read = within(stream.read(&task, Cursor::start(), 10)).await;

    assert_eq!(read.unwrap(), []);
}

/// As if everything had been trimmed: who comes back learns of the gap, and what is written next arrives.
pub async fn a_cleared_task_has_no_entries_and_takes_new_ones(stream: &Arc<dyn EventStream>) {
    let (task, bystander) = (TaskId::generate(), TaskId::generate());
    let written = publish_numbers(stream, &task, 0..3).await;
    publish(stream, &bystander, "kept").await;

    stream.clear(&task).await.unwrap();
    stream.clear(&TaskId::generate()).await.unwrap();

    assert_eq!(stream.read(&task, Cursor::start(), 10).await.unwrap(), []);
    assert_eq!(stream.read(&bystander, Cursor::start(), 10).await.unwrap().len(), 1);
    let mut resumed = subscribe(stream, &task, StartAt::After(written[0])).await;
    let next_place = publish(stream, &task, "3").await;
    assert!(next_place > written[2]);
    assert_eq!(next(&mut resumed).await, Delivery::Gap);
    assert_eq!(next_text(&mut resumed).await, "3");
}

/// Cursors travel to clients and back as text.
pub async fn a_cursor_survives_its_text_form(stream: &Arc<dyn EventStream>) {
    let task = TaskId::generate();
    let written = publish_numbers(stream, &task, 0..3).await;

    let parsed = Cursor::parse(&written[1].to_string()).unwrap();

    assert_eq!(parsed, written[1]);
    assert_eq!(stream.read(&task, parsed, 10).await.unwrap()[0].cursor, written[2]);
}

/// Publishing and other subscribers go on at full speed, and the slow one still gets everything that is retained.
/// streaming §8: 41
pub async fn a_subscriber_that_does_not_read_delays_nobody(stream: &Arc<dyn EventStream>) {
    let task = TaskId::generate();
    let mut idle = subscribe(stream, &task, StartAt::Now).await;
    let mut eager = subscribe(stream, &task, StartAt::Now).await;

    for number in 0..1_500 {
        publish(stream, &task, &number.to_string()).await;
        if number % 100 == 99 {
            assert_eq!(numbers(&take(&mut eager, 100).await), (number - 99..=number).collect::<Vec<_>>());
        }
    }

    assert_eq!(numbers(&take(&mut idle, 1_500).await), (0..1_500).collect::<Vec<_>>());
}

/// A viewer who leaves takes nothing along.
/// streaming §8: 19
pub async fn dropping_one_subscriber_leaves_the_other(stream: &Arc<dyn EventStream>) {
    let task = TaskId::generate();
    let leaving = subscribe(stream, &task, StartAt::Now).await;
    let mut staying = subscribe(stream, &task, StartAt::Now).await;
    publish(stream, &task, "both").await;

    drop(leaving);
    publish(stream, &task, "one").await;

    assert_eq!(texts(&take(&mut staying, 2).await), ["both", "one"]);
    assert_eq!(stream.read(&task, Cursor::start(), 10).await.unwrap().len(), 2);
}

/// Order holds over many entries written at once.
/// streaming §8: 40
pub async fn a_thousand_entries_arrive_in_order(stream: &Arc<dyn EventStream>) {
    let task = TaskId::generate();
    let mut subscription = subscribe(stream, &task, StartAt::Now).await;
    let writer = tokio::spawn({
        let (stream, task) = (Arc::clone(stream), task.clone());
        async move { publish_numbers(&stream, &task, 0..1_000).await }
    });

    let entries = take(&mut subscription, 1_000).await;

    assert_eq!(numbers(&entries), (0..1_000).collect::<Vec<_>>());
    assert_eq!(entries.iter().map(|entry| entry.cursor).collect::<Vec<_>>(), within(writer).await.unwrap());
}

/// Many viewers at once, some of the same task.
pub async fn three_hundred_subscribers_of_fifty_tasks_each_get_their_own(stream: &Arc<dyn EventStream>) {
    let tasks: Vec<TaskId> = (0..50).map(|_| TaskId::generate()).collect();
    let subscribing = (0..300).map(|viewer| subscribe(stream, &tasks[viewer % 50], StartAt::Now));
    let subscriptions = join_all(subscribing).await;

    join_all(
        tasks
            .iter()
            .map(|task| async { (publish(stream, task, task.as_str()).await, publish(stream, task, "end").await) }),
    )
    .await;

    for (viewer, mut subscription) in subscriptions.into_iter().enumerate() {
        assert_eq!(texts(&take(&mut subscription, 2).await), [tasks[viewer % 50].as_str(), "end"]);
    }
}

/// Subscribes, or fails the test.
pub async fn subscribe(stream: &Arc<dyn EventStream>, task: &TaskId, start: StartAt) -> Subscription {
    within(stream.subscribe(task, start)).await.unwrap()
}

/// Publishes one text, or fails the test.
pub async fn publish(stream: &Arc<dyn EventStream>, task: &TaskId, data: &str) -> Cursor {
    within(stream.publish(task, Bytes::copy_from_slice(data.as_bytes()))).await.unwrap()
}

/// Publishes the numbers one after the other and returns their places.
pub async fn publish_numbers(
    stream: &Arc<dyn EventStream>,
    task: &TaskId,
    numbers: std::ops::Range<usize>,
) -> Vec<Cursor> {
    let mut written = Vec::with_capacity(numbers.len());
    for number in numbers {
        written.push(publish(stream, task, &number.to_string()).await);
    }
    written
}

/// The next delivery, whatever it is; fails the test when none comes.
pub async fn next(subscription: &mut Subscription) -> Delivery {
    within(subscription.deliveries.next()).await.expect("the subscription does not end")
}

/// The next delivery, which must be an entry.
pub async fn next_entry(subscription: &mut Subscription) -> Arc<Entry> {
    match next(subscription).await {
        Delivery::Entry(entry) => entry,
        other => panic!("expected an entry, got {other:?}"),
    }
}

/// The text of the next delivery, which must be an entry.
pub async fn next_text(subscription: &mut Subscription) -> String {
    let entry = next_entry(subscription).await;
    text(&entry)
}

/// The next `count` deliveries, which must all be entries.
pub async fn take(subscription: &mut Subscription, count: usize) -> Vec<Arc<Entry>> {
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        entries.push(next_entry(subscription).await);
    }
    entries
}

/// The data of an entry as text.
#[must_use]
pub fn text(entry: &Entry) -> String {
    String::from_utf8(entry.data.to_vec()).unwrap()
}

fn texts(entries: &[Arc<Entry>]) -> Vec<String> {
    entries.iter().map(|entry| text(entry)).collect()
}

fn numbers(entries: &[Arc<Entry>]) -> Vec<usize> {
    entries.iter().map(|entry| text(entry).parse().unwrap()).collect()
}

/// Which of `written` is the oldest entry still there; some are gone, and about [`RETAINED`] are not.
async fn oldest_retained(stream: &Arc<dyn EventStream>, task: &TaskId, written: &[Cursor]) -> usize {
    let oldest = stream.read(task, Cursor::start(), 1).await.unwrap()[0].cursor;
    let kept_from = written.iter().position(|cursor| *cursor == oldest).unwrap();
    let kept = written.len() - kept_from;
    assert!((RETAINED..RETAINED + 500).contains(&kept), "kept {kept} of {} entries", written.len());
    kept_from
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("this takes far too long")
}
