//! Redis going away and coming back.

use std::sync::Arc;
use std::time::Duration;

use agentex_domain::TaskId;
use agentex_domain::ports::{Delivery, Entry, EventStream, Probe, StartAt, StreamError, Subscription};
use agentex_redis::{RedisOptions, RedisStream};
use agentex_testkit::contract::streams::{next, next_text, publish, publish_numbers, subscribe, take};
use agentex_testkit::services::redis::RedisServer;

use crate::support::{Raw, alone, connect, options};

/// The next entry, and what was told before it.
async fn after_the_news(subscription: &mut Subscription) -> (Vec<Delivery>, Arc<Entry>) {
    let mut news = Vec::new();
    loop {
        match next(subscription).await {
            Delivery::Entry(entry) => return (news, entry),
            other => news.push(other),
        }
    }
}

/// streaming §8: 22
#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_delivery_resumes_without_duplicates() {
    let (stream, _, mut server) = alone().await;
    let task = TaskId::generate();
    let mut viewers = [subscribe(&stream, &task, StartAt::Now).await, subscribe(&stream, &task, StartAt::Now).await];
    publish_numbers(&stream, &task, 0..5).await;
    for viewer in &mut viewers {
        take(viewer, 5).await;
    }

    server.kill();
    for viewer in &mut viewers {
        assert_eq!(next(viewer).await, Delivery::Interrupted);
    }
    server.start_again().await;
    let written = publish_numbers(&stream, &task, 5..8).await;

    for viewer in &mut viewers {
        // This Redis forgot everything, so entries may have been lost: said once, and after the failures.
        let (news, first) = after_the_news(viewer).await;
        let gaps = news.iter().filter(|delivery| **delivery == Delivery::Gap).count();
        assert_eq!(gaps, 1, "{news:?}");
        let mut seen = vec![first.cursor];
        seen.extend(take(viewer, 2).await.iter().map(|entry| entry.cursor));
        assert_eq!(seen, written);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_loses_no_entry() {
    let (stream, mut raw, _server) = alone().await;
    let task = TaskId::generate();
    let mut viewer = subscribe(&stream, &task, StartAt::Now).await;

    let mut seen = Vec::new();
    let mut written = Vec::new();
    let mut interruptions = 0;
    for round in 0..5 {
        written.extend(publish_numbers(&stream, &task, 0..50).await);
        raw.say::<u32>("CLIENT KILL TYPE normal SKIPME yes").await;
        // The shared connection is gone as well; agents write over theirs.
        for _ in 0..50 {
            let id = raw.append(&format!("task:{task}"), &[(b"data", b"theirs")]).await;
            written.push(agentex_domain::ports::Cursor::parse(&id).unwrap());
        }
        while seen.len() < (round + 1) * 100 {
            match next(&mut viewer).await {
                Delivery::Entry(entry) => seen.push(entry.cursor),
                Delivery::Interrupted => interruptions += 1,
                Delivery::Gap => panic!("nothing was lost"),
            }
        }
    }

    assert_eq!(seen, written);
    assert!(interruptions <= 5, "{interruptions} interruptions in 5 failures");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_begins_anew_with_smaller_ids_is_read_from_its_start() {
    let (stream, _, mut server) = alone().await;
    let task = TaskId::generate();
    let mut viewer = subscribe(&stream, &task, StartAt::Now).await;
    publish(&stream, &task, "before").await;
    assert_eq!(next_text(&mut viewer).await, "before");

    server.kill();
    assert_eq!(next(&mut viewer).await, Delivery::Interrupted);
    server.start_again().await;
    let mut raw = Raw::connect(&server.url()).await;
    raw.say::<String>(&format!("XADD task:{task} 5-1 data slow-clock")).await;

    let (news, entry) = after_the_news(&mut viewer).await;
    assert_eq!(news.last(), Some(&Delivery::Gap));
    assert_eq!(entry.cursor.to_string(), "5-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_trimmed_during_an_outage_are_a_gap() {
    let server = RedisServer::start().await;
    let mut raw = Raw::connect(&server.url()).await;
    raw.say::<()>("ACL SETUSER viewer on >secret ~* +@all").await;
    let stream = connect(options(server.url().replace("redis://", "redis://viewer:secret@")));
    let task = TaskId::generate();
    let key = format!("task:{task}");
    let mut viewer = subscribe(&stream, &task, StartAt::Now).await;
    raw.append(&key, &[(b"data", b"seen")]).await;
    assert_eq!(next_text(&mut viewer).await, "seen");

    // Out of reach for the stream alone.
    raw.say::<()>("ACL SETUSER viewer off").await;
    raw.say::<u32>("CLIENT KILL USER viewer").await;
    assert_eq!(next(&mut viewer).await, Delivery::Interrupted);
    for _ in 0..3 {
        raw.append(&key, &[(b"data", b"missed")]).await;
    }
    let kept = raw.append(&key, &[(b"data", b"kept")]).await;
    raw.say::<u32>(&format!("XTRIM {key} MAXLEN 1")).await;
    raw.say::<()>("ACL SETUSER viewer on").await;

    let (news, entry) = after_the_news(&mut viewer).await;
    assert_eq!(news.iter().filter(|delivery| **delivery == Delivery::Gap).count(), 1, "{news:?}");
    assert_eq!(entry.cursor.to_string(), kept);
}

#[tokio::test]
async fn connecting_does_not_need_redis_and_the_first_call_after_it_is_up_succeeds() {
    let mut server = RedisServer::start().await;
    server.kill();
    let own = Arc::new(RedisStream::connect(options(server.url())).unwrap());
    let stream: Arc<dyn EventStream> = own.clone();
    let task = TaskId::generate();

    let refused = stream.publish(&task, "x".into()).await;
    assert!(matches!(refused, Err(StreamError::Unavailable(_))), "got {refused:?}");
    let refused = stream.subscribe(&task, StartAt::Now).await;
    assert!(matches!(refused, Err(StreamError::Unavailable(_))), "got {refused:?}");
    let probe = own.probe().await.unwrap_err();
    assert!(!probe.to_string().contains("127.0.0.1"), "{probe}");

    server.start_again().await;
    publish(&stream, &task, "x").await;
    assert_eq!(own.probe().await, Ok(()));
    assert_eq!(own.name(), "redis");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_pause_ends_when_somebody_finds_redis_back() {
    let mut server = RedisServer::start().await;
    let patient = RedisOptions { retry_base: Duration::from_millis(300), ..options(server.url()) };
    let stream = connect(patient.clone());
    let task = TaskId::generate();
    let mut viewer = subscribe(&stream, &task, StartAt::Now).await;

    server.kill();
    // The fourth failure is followed by a pause of eight times the first.
    for _ in 0..4 {
        assert_eq!(next(&mut viewer).await, Delivery::Interrupted);
    }
    server.start_again().await;
    let back = std::time::Instant::now();
    publish(&stream, &task, "back").await;

    let (_, entry) = after_the_news(&mut viewer).await;
    assert_eq!(entry.data, "back");
    assert!(back.elapsed() < 6 * patient.retry_base, "waited {:?}", back.elapsed());
}
