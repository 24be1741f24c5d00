//! One process or several: who shares what.

use std::sync::Arc;
use std::time::{Duration, Instant};

use agentex_domain::TaskId;
use agentex_domain::ports::{EventStream, StartAt, StreamError};
use agentex_redis::RedisStream;
use agentex_testkit::contract::streams::{next_text, publish, publish_numbers, subscribe, take};
use futures::StreamExt;
use futures::future::join_all;

use crate::support::{Raw, alone, connect, options, shared};

async fn clients(raw: &mut Raw) -> usize {
    raw.say::<String>("CLIENT LIST").await.lines().count()
}

/// streaming §8: 48
#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_viewers_of_fifty_tasks_need_two_connections() {
    let (stream, mut raw, _server) = alone().await;
    let before = clients(&mut raw).await;
    let tasks: Vec<TaskId> = (0..50).map(|_| TaskId::generate()).collect();

    let viewers = (0..300).map(|viewer| subscribe(&stream, &tasks[viewer % 50], StartAt::Now));
    let mut viewers = join_all(viewers).await;
    for task in &tasks {
        publish(&stream, task, "x").await;
    }
    for viewer in &mut viewers {
        next_text(viewer).await;
    }

    assert_eq!(clients(&mut raw).await - before, 2);

    drop(viewers);
    // The reader notices with the next entry that nobody is left, and goes.
    publish(&stream, &tasks[0], "unseen").await;
    let released = async { while clients(&mut raw).await - before > 1 {} };
    tokio::time::timeout(Duration::from_secs(30), released).await.expect("the reading connection is given back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_task_does_not_wait_for_the_read_that_is_running() {
    let (stream, _, _server) = shared().await;
    let quiet = subscribe(&stream, &TaskId::generate(), StartAt::Now).await;
    let begin = Instant::now();

    let mut viewers = Vec::new();
    for _ in 0..50 {
        let task = TaskId::generate();
        let mut viewer = subscribe(&stream, &task, StartAt::Now).await;
        publish(&stream, &task, "soon").await;
        assert_eq!(next_text(&mut viewer).await, "soon");
        viewers.push(viewer);
    }

    // One read that is not interrupted lasts five seconds.
    assert!(begin.elapsed() < Duration::from_secs(4), "took {:?}", begin.elapsed());
    drop(quiet);
}

/// streaming §8: 18
#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_see_the_same_entries_in_the_same_order() {
    let (one, _, server) = shared().await;
    let two = connect(options(server.url()));
    let task = TaskId::generate();
    let mut at_one = subscribe(&one, &task, StartAt::Now).await;
    let mut at_two = subscribe(&two, &task, StartAt::Now).await;

    let writers = [one, two].map(|replica| {
        let task = task.clone();
        tokio::spawn(async move {
            publish_numbers(&replica, &task, 0..200).await;
            replica
        })
    });
    let replicas = join_all(writers).await;

    let seen = take(&mut at_one, 400).await;
    assert_eq!(seen, take(&mut at_two, 400).await);
    drop(replicas);
}

#[tokio::test]
async fn subscriptions_end_when_the_stream_is_shut_down_or_dropped() {
    let (_, _, server) = shared().await;
    let own = Arc::new(RedisStream::connect(options(server.url())).unwrap());
    let stream: Arc<dyn EventStream> = own.clone();
    let task = TaskId::generate();
    let mut waiting = subscribe(&stream, &task, StartAt::Now).await;
    let waiting = tokio::spawn(async move { waiting.deliveries.next().await });

    own.shutdown();

    assert_eq!(waiting.await.unwrap(), None);
    let refused = stream.subscribe(&task, StartAt::Now).await;
    assert!(matches!(refused, Err(StreamError::Unavailable(_))), "got {refused:?}");
    publish(&stream, &task, "for the record").await;

    let dropped = connect(options(server.url()));
    let mut subscription = subscribe(&dropped, &task, StartAt::Now).await;
    drop(dropped);
    assert_eq!(subscription.deliveries.next().await, None);
}
