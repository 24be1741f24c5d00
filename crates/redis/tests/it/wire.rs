//! What is in Redis, seen with a client of another make.

use agentex_domain::TaskId;
use agentex_domain::ports::{Cursor, Delivery, StartAt};
use agentex_redis::RedisOptions;
use agentex_testkit::contract::streams::{next, next_entry, next_text, publish, subscribe, take, text};
use redis::Value;

use crate::support::{alone, connect, options, shared};

fn bulk(text: &str) -> Value {
    Value::BulkString(text.as_bytes().to_vec())
}

/// What the Python SDK writes: its key order, its spacing, an explicit null for the index.
const FROM_THE_SDK: &str = concat!(
    r#"{"content": {"type": "text", "author": "agent", "style": "static", "format": "plain", "#,
    r#""content": "", "attachments": null}, "type": "start", "index": null, "parent_task_message": "#,
    r#"{"content": {"type": "text", "author": "agent", "style": "static", "format": "plain", "#,
    r#""content": "", "attachments": null}, "id": "m-1", "task_id": "t-1", "streaming_status": "#,
    r#""IN_PROGRESS", "created_at": "2025-01-02T03:04:05.123000Z", "updated_at": "#,
    r#""2025-01-02T03:04:05.123000Z"}}"#,
);

#[tokio::test]
async fn an_entry_is_one_field_named_data_under_the_key_of_the_task() {
    let (stream, mut raw, _server) = shared().await;
    let task = TaskId::generate();

    let cursor = publish(&stream, &task, r#"{"type":"done"}"#).await;

    let stored: Value = raw.say(&format!("XRANGE task:{task} - +")).await;
    let fields = Value::Array(vec![bulk("data"), bulk(r#"{"type":"done"}"#)]);
    assert_eq!(stored, Value::Array(vec![Value::Array(vec![bulk(&cursor.to_string()), fields])]));
    assert_eq!(raw.say::<String>(&format!("TYPE task:{task}")).await, "stream");
}

#[tokio::test]
async fn a_key_prefix_goes_before_the_key_and_nowhere_else() {
    let (_, mut raw, server) = shared().await;
    let stream = connect(RedisOptions { key_prefix: server.prefix().to_owned(), ..options(server.url()) });
    let task = TaskId::generate();
    let mut subscription = subscribe(&stream, &task, StartAt::Now).await;

    publish(&stream, &task, "prefixed").await;

    assert_eq!(next_text(&mut subscription).await, "prefixed");
    assert_eq!(raw.say::<u32>(&format!("XLEN {}task:{task}", server.prefix())).await, 1);
    assert_eq!(raw.say::<u32>(&format!("EXISTS task:{task}")).await, 0);
}

/// streaming §8: 35
#[tokio::test]
async fn every_publish_renews_the_expiry() {
    let (stream, mut raw, _server) = shared().await;
    let task = TaskId::generate();
    let key = format!("task:{task}");

    publish(&stream, &task, "one").await;
    let after_first: i64 = raw.say(&format!("TTL {key}")).await;
    raw.say::<()>(&format!("EXPIRE {key} 60")).await;
    publish(&stream, &task, "two").await;
    let after_second: i64 = raw.say(&format!("TTL {key}")).await;

    assert!((3590..=3600).contains(&after_first), "{after_first} s");
    assert!((3590..=3600).contains(&after_second), "{after_second} s");
}

/// streaming §8: 36
#[tokio::test]
async fn without_a_ttl_no_expiry_is_set() {
    let (_, mut raw, server) = shared().await;
    let stream = connect(RedisOptions { ttl_seconds: 0, ..options(server.url()) });
    let task = TaskId::generate();

    publish(&stream, &task, "for ever").await;

    assert_eq!(raw.say::<i64>(&format!("TTL task:{task}")).await, -1);
    raw.say::<()>(&format!("DEL task:{task}")).await;
}

/// streaming §8: 37
#[tokio::test]
async fn the_stream_is_trimmed_to_about_the_configured_length() {
    let (_, mut raw, server) = shared().await;
    let stream = connect(RedisOptions { max_len: 100, ..options(server.url()) });
    let task = TaskId::generate();

    for number in 0..10_000 {
        publish(&stream, &task, &number.to_string()).await;
    }

    let length: usize = raw.say(&format!("XLEN task:{task}")).await;
    assert!((100..=300).contains(&length), "{length} entries");
}

/// streaming §8: 32
#[tokio::test]
async fn entries_of_other_writers_are_delivered_unchanged_and_in_order() {
    let (stream, mut raw, _server) = shared().await;
    let task = TaskId::generate();
    let key = format!("task:{task}");
    let mut subscription = subscribe(&stream, &task, StartAt::Now).await;

    let theirs = raw.append(&key, &[(b"data", FROM_THE_SDK.as_bytes())]).await;
    let ours = publish(&stream, &task, "ours").await;

    let entry = next_entry(&mut subscription).await;
    assert_eq!(text(&entry), FROM_THE_SDK);
    assert_eq!(entry.cursor.to_string(), theirs);
    assert_eq!(next_entry(&mut subscription).await.cursor, ours);
}

/// streaming §8: 25, 26
#[tokio::test]
async fn entries_that_are_not_as_agreed_are_passed_once() {
    let (stream, mut raw, _server) = shared().await;
    let task = TaskId::generate();
    let key = format!("task:{task}");
    let mut live = subscribe(&stream, &task, StartAt::Now).await;

    raw.append(&key, &[(b"message", b"no data field")]).await;
    raw.append(&key, &[(b"\xff\xfe", b"\xff"), (b"data", b"\xff not text"), (b"more", b"x")]).await;
    for _ in 0..12 {
        raw.append(&key, &[(b"Data", b"wrong case")]).await;
    }
    publish(&stream, &task, "good").await;
    let mut replayed = subscribe(&stream, &task, StartAt::After(Cursor::start())).await;

    for subscription in [&mut live, &mut replayed] {
        let entries = take(subscription, 15).await;
        assert_eq!(entries[0].data, "");
        assert_eq!(entries[1].data, &b"\xff not text"[..]);
        assert!(entries[2..14].iter().all(|entry| entry.data.is_empty()));
        assert_eq!(entries[14].data, "good");
    }
}

/// streaming §8: 38
#[tokio::test]
async fn a_failed_expiry_leaves_the_entry_written_once() {
    let (_, mut raw, server) = alone().await;
    raw.say::<()>("ACL SETUSER writer on >secret ~* +@all -expire").await;
    let stream = connect(options(server.url().replace("redis://", "redis://writer:secret@")));
    let task = TaskId::generate();

    let cursor = publish(&stream, &task, "once").await;

    let retained = stream.read(&task, Cursor::start(), 10).await.unwrap();
    assert_eq!(retained.iter().map(|entry| entry.cursor).collect::<Vec<_>>(), [cursor]);
    assert_eq!(raw.say::<i64>(&format!("TTL task:{task}")).await, -1);
}

#[tokio::test]
async fn a_refused_append_is_an_error_and_writes_nothing() {
    let (stream, mut raw, _server) = shared().await;
    let task = TaskId::generate();
    raw.say::<()>(&format!("SET task:{task} text")).await;

    let refused = stream.publish(&task, "x".into()).await;

    assert!(refused.is_err(), "got {refused:?}");
    assert_eq!(raw.say::<String>(&format!("GET task:{task}")).await, "text");
    raw.say::<()>(&format!("DEL task:{task}")).await;
}

/// streaming §8: 21
#[tokio::test]
async fn a_key_that_expires_under_a_subscriber_is_followed_when_it_comes_back() {
    let (stream, mut raw, _server) = shared().await;
    let task = TaskId::generate();
    let mut subscription = subscribe(&stream, &task, StartAt::Now).await;
    // An id of long ago: one of this millisecond could be given out again.
    raw.say::<String>(&format!("XADD task:{task} 1722470400000-3 data before")).await;
    assert_eq!(next_text(&mut subscription).await, "before");

    raw.say::<()>(&format!("PEXPIRE task:{task} 0")).await;
    assert_eq!(raw.say::<u32>(&format!("EXISTS task:{task}")).await, 0);
    let mut late = subscribe(&stream, &task, StartAt::Now).await;
    publish(&stream, &task, "after").await;

    assert_eq!(next_text(&mut subscription).await, "after");
    assert_eq!(next_text(&mut late).await, "after");
}

#[tokio::test]
async fn a_client_that_comes_back_after_its_stream_expired_is_told_to_refetch() {
    let (stream, mut raw, _server) = shared().await;
    let task = TaskId::generate();
    // An id of long ago: one of this millisecond could be given out again.
    let seen: String = raw.say(&format!("XADD task:{task} 1722470400000-3 data seen")).await;
    let seen = Cursor::parse(&seen).unwrap();
    raw.say::<()>(&format!("DEL task:{task}")).await;

    let mut before_it_is_back = subscribe(&stream, &task, StartAt::After(seen)).await;
    publish(&stream, &task, "new").await;
    let mut after_it_is_back = subscribe(&stream, &task, StartAt::After(seen)).await;

    for resumed in [&mut before_it_is_back, &mut after_it_is_back] {
        assert_eq!(next(resumed).await, Delivery::Gap);
        assert_eq!(next_text(resumed).await, "new");
    }
}

/// streaming §8: 42
#[tokio::test]
async fn entries_trimmed_before_the_reader_could_read_them_are_a_gap() {
    let (stream, mut raw, _server) = shared().await;
    let task = TaskId::generate();
    let key = format!("task:{task}");
    let mut from_nothing = subscribe(&stream, &task, StartAt::Now).await;
    publish(&stream, &task, "seen").await;
    assert_eq!(next_text(&mut from_nothing).await, "seen");
    let mut from_an_entry = subscribe(&stream, &task, StartAt::Now).await;

    // In one transaction, so that no reader sees what is between.
    let mut burst = redis::pipe();
    burst.atomic();
    for number in 0..400 {
        burst.cmd("XADD").arg(&key).arg("MAXLEN").arg(150).arg("*").arg("data").arg(number);
    }
    raw.run_all(&burst).await;

    for subscription in [&mut from_nothing, &mut from_an_entry] {
        assert_eq!(next(subscription).await, Delivery::Gap);
        let rest: Vec<_> = take(subscription, 150).await.iter().map(|entry| text(entry)).collect();
        assert_eq!(rest, (250..400).map(|number| number.to_string()).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_key_that_is_no_stream_disturbs_only_its_own_subscribers() {
    let (stream, mut raw, _server) = shared().await;
    let (spoilt, sound) = (TaskId::generate(), TaskId::generate());
    let mut of_spoilt = subscribe(&stream, &spoilt, StartAt::Now).await;
    let mut of_sound = subscribe(&stream, &sound, StartAt::Now).await;

    raw.say::<()>(&format!("SET task:{spoilt} text")).await;
    for number in 0..3 {
        publish(&stream, &sound, &number.to_string()).await;
        assert_eq!(next_text(&mut of_sound).await, number.to_string());
    }
    // Only a read that begins after the key was spoilt fails; a new topic makes one begin.
    let mut another = subscribe(&stream, &TaskId::generate(), StartAt::Now).await;

    assert_eq!(next(&mut of_spoilt).await, Delivery::Interrupted);
    publish(&stream, &sound, "still").await;
    assert_eq!(next_text(&mut of_sound).await, "still");
    assert!(futures::FutureExt::now_or_never(futures::StreamExt::next(&mut another.deliveries)).is_none());

    raw.say::<()>(&format!("DEL task:{spoilt}")).await;
    publish(&stream, &spoilt, "whole again").await;
    assert_eq!(next_text(&mut of_spoilt).await, "whole again");
}

#[tokio::test]
async fn where_reads_may_not_be_interrupted_new_topics_are_still_picked_up() {
    let (_, mut raw, server) = alone().await;
    raw.say::<()>("ACL SETUSER reader on >secret ~* +@all -client|unblock").await;
    let stream = connect(options(server.url().replace("redis://", "redis://reader:secret@")));
    let mut first = subscribe(&stream, &TaskId::generate(), StartAt::Now).await;
    let task = TaskId::generate();

    let mut second = subscribe(&stream, &task, StartAt::Now).await;
    publish(&stream, &task, "picked up").await;

    assert_eq!(next_text(&mut second).await, "picked up");
    assert!(futures::FutureExt::now_or_never(futures::StreamExt::next(&mut first.deliveries)).is_none());
}

#[tokio::test]
async fn the_third_protocol_version_works_too() {
    let (_, mut raw, server) = shared().await;
    let stream = connect(options(format!("{}/?protocol=resp3", server.url())));
    let task = TaskId::generate();
    let mut live = subscribe(&stream, &task, StartAt::Now).await;

    raw.append(&format!("task:{task}"), &[(b"data", b"theirs")]).await;
    publish(&stream, &task, "ours").await;

    assert_eq!(next_text(&mut live).await, "theirs");
    assert_eq!(next_text(&mut live).await, "ours");
    let mut replayed = subscribe(&stream, &task, StartAt::After(Cursor::start())).await;
    assert_eq!(next_text(&mut replayed).await, "theirs");
}

#[tokio::test]
async fn a_url_that_is_none_is_refused_at_once() {
    let refused = agentex_redis::RedisStream::connect(options("postgres://localhost"));

    assert!(refused.is_err());
}
