use std::sync::Arc;
use std::time::Duration;

use agentex_domain::TaskId;
use agentex_domain::ports::{Cursor, Delivery, EventStream, StartAt, StreamError};
use agentex_inprocess::{InProcessOptions, InProcessStream};
use agentex_testkit::TestClock;
use agentex_testkit::contract::streams::{next, next_text, publish, publish_numbers, subscribe};
use futures::StreamExt;

const IDLE: Duration = Duration::from_secs(3600);

fn stream(idle_ttl: Duration) -> (Arc<InProcessStream>, Arc<dyn EventStream>, TestClock) {
    let clock = TestClock::default();
    let options = InProcessOptions { idle_ttl, clock: Arc::new(clock.clone()), ..InProcessOptions::default() };
    let stream = Arc::new(InProcessStream::new(options));
    (Arc::clone(&stream), stream, clock)
}

async fn retained(stream: &Arc<dyn EventStream>, task: &TaskId) -> usize {
    stream.read(task, Cursor::start(), 100).await.unwrap().len()
}

#[tokio::test]
async fn a_task_idle_for_the_whole_time_is_forgotten() {
    let (_, stream, clock) = stream(IDLE);
    let (idle, busy) = (TaskId::generate(), TaskId::generate());
    let written = publish_numbers(&stream, &idle, 0..2).await;
    publish(&stream, &busy, "early").await;

    clock.advance(IDLE - Duration::from_secs(1));
    publish(&stream, &busy, "late").await;
    assert_eq!(retained(&stream, &idle).await, 2);
    clock.advance(Duration::from_secs(1));

    assert_eq!(retained(&stream, &idle).await, 0);
    assert_eq!(retained(&stream, &busy).await, 2);

    let mut resumed = subscribe(&stream, &idle, StartAt::After(written[1])).await;
    publish(&stream, &idle, "after").await;
    assert_eq!(next(&mut resumed).await, Delivery::Gap);
    assert_eq!(next_text(&mut resumed).await, "after");
}

#[tokio::test]
async fn a_long_quiet_time_is_cleared_up_a_few_tasks_at_a_time() {
    let (_, stream, clock) = stream(IDLE);
    let tasks: Vec<_> = (0..100).map(|_| TaskId::generate()).collect();
    for task in &tasks {
        publish(&stream, task, "x").await;
    }
    clock.advance(IDLE);

    let mut still_there = 0;
    for task in &tasks {
        still_there += retained(&stream, task).await;
    }

    assert!(still_there < 10, "{still_there} of 100 tasks were still there");
}

#[tokio::test]
async fn a_watched_task_is_not_forgotten_until_its_last_subscriber_has_left() {
    let (_, stream, clock) = stream(IDLE);
    let task = TaskId::generate();
    publish(&stream, &task, "kept").await;
    let viewer = subscribe(&stream, &task, StartAt::Now).await;

    clock.advance(3 * IDLE);
    assert_eq!(retained(&stream, &task).await, 1);
    drop(viewer);
    clock.advance(IDLE);

    assert_eq!(retained(&stream, &task).await, 0);
}

#[tokio::test]
async fn without_an_idle_time_nothing_is_forgotten() {
    let (_, stream, clock) = stream(Duration::ZERO);
    let task = TaskId::generate();
    publish(&stream, &task, "kept").await;

    clock.advance(1000 * IDLE);

    assert_eq!(retained(&stream, &task).await, 1);
}

#[tokio::test]
async fn cursors_are_the_time_of_writing_and_grow_even_when_the_clock_goes_back() {
    let (_, stream, clock) = stream(IDLE);
    let task = TaskId::generate();
    let start = agentex_domain::ports::Clock::now(&clock);

    let first = publish(&stream, &task, "").await;
    clock.set(start.plus_millis(-5_000));
    let second = publish(&stream, &task, "").await;
    clock.set(start.plus_millis(2));
    let third = publish(&stream, &task, "").await;

    let millis = u64::try_from(start.as_micros() / 1000).unwrap();
    assert_eq!([first, second], [Cursor { millis, number: 0 }, Cursor { millis, number: 1 }]);
    assert_eq!(third, Cursor { millis: millis + 2, number: 0 });
}

#[tokio::test]
async fn a_shut_down_stream_delivers_what_was_written_ends_and_takes_no_new_subscribers() {
    let (own, stream, _) = stream(IDLE);
    let (task, quiet) = (TaskId::generate(), TaskId::generate());
    let mut reading = subscribe(&stream, &task, StartAt::Now).await;
    let mut waiting = subscribe(&stream, &quiet, StartAt::Now).await;
    let waiting = tokio::spawn(async move { waiting.deliveries.next().await });
    publish(&stream, &task, "last").await;

    own.shutdown();

    assert_eq!(next_text(&mut reading).await, "last");
    assert_eq!(reading.deliveries.next().await, None);
    assert_eq!(waiting.await.unwrap(), None);
    for task in [&task, &TaskId::generate()] {
        let refused = stream.subscribe(task, StartAt::Now).await;
        assert!(matches!(refused, Err(StreamError::Unavailable(_))), "got {refused:?}");
    }
    publish(&stream, &task, "for the record").await;
    assert_eq!(retained(&stream, &task).await, 2);
}

#[tokio::test]
async fn dropping_the_stream_ends_its_subscriptions() {
    let (own, stream, _) = stream(IDLE);
    let mut subscription = subscribe(&stream, &TaskId::generate(), StartAt::Now).await;

    drop((own, stream));

    assert_eq!(subscription.deliveries.next().await, None);
}

#[test]
fn subscribers_of_a_second_runtime_are_woken_after_the_first_is_gone() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (_, stream, _) = stream(IDLE);
    let task = TaskId::generate();
    let first = runtime();
    drop(first.block_on(subscribe(&stream, &task, StartAt::Now)));
    drop(first);

    let delivered = runtime().block_on(async {
        let mut subscription = subscribe(&stream, &task, StartAt::Now).await;
        let reading = tokio::spawn(async move { next_text(&mut subscription).await });
        tokio::task::yield_now().await;
        publish(&stream, &task, "woken").await;
        reading.await.unwrap()
    });

    assert_eq!(delivered, "woken");
}
