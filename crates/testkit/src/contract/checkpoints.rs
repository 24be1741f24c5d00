//! What every `CheckpointRepository` must do.

#![expect(missing_docs, reason = "the names of the cases are the sentences")]

use agentex_domain::ports::{CheckpointFilter, RepeatedWrite, Stores};
use agentex_domain::{Checkpoint, CheckpointBlob, CheckpointTuple, CheckpointWrite, ExactJson, TaskId};
use serde_json::{Value, json};

use super::stored::{delete, stored_task};
use crate::build::object;

fn exact(text: &str) -> ExactJson {
    serde_json::from_str(text).unwrap()
}

/// A checkpoint that names these channel versions.
fn checkpoint(thread: &TaskId, id: &str, versions: Value) -> Checkpoint {
    Checkpoint {
        thread_id: thread.clone(),
        namespace: String::new(),
        id: id.to_owned(),
        parent_id: None,
        checkpoint: exact(&json!({"v": 4, "channel_versions": versions}).to_string()),
        metadata: ExactJson::empty(),
    }
}

fn blob(channel: &str, version: &str, bytes: &[u8]) -> CheckpointBlob {
    CheckpointBlob {
        channel: channel.to_owned(),
        version: version.to_owned(),
        kind: "msgpack".to_owned(),
        blob: Some(bytes.to_vec()),
    }
}

fn write(step: &str, index: i32, bytes: &[u8]) -> CheckpointWrite {
    CheckpointWrite {
        step_id: step.to_owned(),
        index,
        channel: "messages".to_owned(),
        kind: Some("msgpack".to_owned()),
        blob: bytes.to_vec(),
        path: "~".to_owned(),
    }
}

async fn put(stores: &Stores, checkpoint: &Checkpoint, blobs: &[CheckpointBlob]) {
    assert!(stores.checkpoints.put(checkpoint, blobs).await.unwrap(), "the thread takes checkpoints");
}

async fn put_writes(stores: &Stores, thread: &TaskId, id: &str, writes: &[CheckpointWrite], repeated: RepeatedWrite) {
    assert!(stores.checkpoints.put_writes(thread, "", id, writes, repeated).await.unwrap());
}

async fn find(stores: &Stores, thread: &TaskId, id: Option<&str>) -> Option<CheckpointTuple> {
    stores.checkpoints.find(thread, "", id.map(str::to_owned)).await.unwrap()
}

async fn list(stores: &Stores, thread: &TaskId, filter: CheckpointFilter, limit: u32) -> Vec<(String, String)> {
    let listed = stores.checkpoints.list(thread, &filter, limit).await.unwrap();
    listed.into_iter().map(|checkpoint| (checkpoint.namespace, checkpoint.id)).collect()
}

fn in_root(ids: &[&str]) -> Vec<(String, String)> {
    ids.iter().map(|id| (String::new(), (*id).to_owned())).collect()
}

pub async fn a_checkpoint_reads_back_equal_with_its_blobs(stores: &Stores) {
    let thread = stored_task(stores).await;
    let stored = Checkpoint {
        parent_id: Some("cp-0".into()),
        checkpoint: exact(
            r#"{"channel_versions":{"messages":"1","it's":"2"},"big":123456789012345678901234567890,"f":1.10,
                "text":"\"\\\n\u0001🦀"}"#,
        ),
        metadata: exact(r#"{"step":-1,"source":"input","nested":{"a":[null,true]}}"#),
        ..checkpoint(&thread, "cp-1", json!({}))
    };
    let every_byte: Vec<u8> = (0..=255).collect();
    let empty = CheckpointBlob { kind: "empty".into(), blob: None, ..blob("it's", "2", b"") };
    let blobs = vec![empty, blob("messages", "1", &every_byte)];

    put(stores, &stored, &blobs).await;

    let expected = CheckpointTuple { checkpoint: stored, blobs, writes: Vec::new() };
    let read = find(stores, &thread, Some("cp-1")).await.unwrap();
    assert_eq!(read, expected);
    assert!(read.checkpoint.checkpoint.get().contains("123456789012345678901234567890"), "{:?}", read.checkpoint);
    assert_eq!(find(stores, &thread, None).await, Some(expected));
    assert_eq!(find(stores, &thread, Some("cp-2")).await, None);
    assert_eq!(find(stores, &TaskId::generate(), None).await, None);
}

pub async fn without_an_id_the_greatest_is_found_byte_by_byte(stores: &Stores) {
    let thread = stored_task(stores).await;
    for id in ["1f0-b", "1f0-B", "1f0-a", "1F0-z", "1f0"] {
        put(stores, &checkpoint(&thread, id, json!({})), &[]).await;
    }

    assert_eq!(find(stores, &thread, None).await.unwrap().checkpoint.id, "1f0-b");
    let listed = list(stores, &thread, CheckpointFilter::default(), 100).await;
    assert_eq!(listed, in_root(&["1f0-b", "1f0-a", "1f0-B", "1f0", "1F0-z"]));
}

pub async fn a_checkpoint_stored_again_is_replaced_and_keeps_its_parent(stores: &Stores) {
    let thread = stored_task(stores).await;
    let first = Checkpoint { parent_id: Some("cp-0".into()), ..checkpoint(&thread, "cp-1", json!({"a": "1"})) };
    let second = Checkpoint {
        parent_id: Some("other".into()),
        metadata: exact(r#"{"step":2}"#),
        ..checkpoint(&thread, "cp-1", json!({"a": "2"}))
    };

    put(stores, &first, &[]).await;
    put(stores, &second, &[]).await;

    let expected = Checkpoint { parent_id: first.parent_id, ..second };
    assert_eq!(find(stores, &thread, Some("cp-1")).await.unwrap().checkpoint, expected);
}

pub async fn only_the_versions_a_checkpoint_names_are_its_blobs(stores: &Stores) {
    let thread = stored_task(stores).await;
    let blobs = [blob("a", "1", b"a1"), blob("a", "2", b"a2"), blob("b", "1", b"b1"), blob("c", "10", b"c10")];
    put(stores, &checkpoint(&thread, "cp-1", json!({"a": "2", "b": "7", "unknown": "1"})), &blobs).await;
    put(stores, &checkpoint(&thread, "cp-2", json!({"a": 1, "c": 10})), &[]).await;
    for (id, versions) in [("cp-3", json!(null)), ("cp-4", json!({})), ("cp-5", json!(["1"])), ("cp-6", json!("1"))] {
        put(stores, &checkpoint(&thread, id, versions), &[]).await;
    }
    let without = Checkpoint { checkpoint: ExactJson::empty(), ..checkpoint(&thread, "cp-7", json!({})) };
    put(stores, &without, &[]).await;

    assert_eq!(find(stores, &thread, Some("cp-1")).await.unwrap().blobs, [blob("a", "2", b"a2")]);
    let whole_numbers = find(stores, &thread, Some("cp-2")).await.unwrap().blobs;
    assert_eq!(whole_numbers, [blob("a", "1", b"a1"), blob("c", "10", b"c10")]);
    for id in ["cp-3", "cp-4", "cp-5", "cp-6", "cp-7"] {
        assert_eq!(find(stores, &thread, Some(id)).await.unwrap().blobs, [], "{id}");
    }
}

pub async fn a_version_keeps_its_first_bytes(stores: &Stores) {
    let thread = stored_task(stores).await;
    let checkpoint = checkpoint(&thread, "cp-1", json!({"a": "1"}));

    put(stores, &checkpoint, &[blob("a", "1", b"first"), blob("a", "1", b"second")]).await;
    put(stores, &checkpoint, &[blob("a", "1", b"third")]).await;

    assert_eq!(find(stores, &thread, None).await.unwrap().blobs, [blob("a", "1", b"first")]);
}

pub async fn writes_come_in_order_of_step_and_index(stores: &Stores) {
    let thread = stored_task(stores).await;
    put(stores, &checkpoint(&thread, "cp-1", json!({})), &[]).await;
    let odd = CheckpointWrite { kind: None, blob: Vec::new(), path: String::new(), ..write("B", 0, b"") };

    put_writes(stores, &thread, "cp-1", &[write("a", 1, b"1"), write("a", 0, b"0")], RepeatedWrite::Keeps).await;
    put_writes(stores, &thread, "cp-1", &[odd.clone(), write("a", -3, b"-3")], RepeatedWrite::Replaces).await;
    put_writes(stores, &thread, "cp-2", &[write("a", 0, b"of another")], RepeatedWrite::Keeps).await;
    put_writes(stores, &thread, "cp-1", &[], RepeatedWrite::Keeps).await;

    let expected = [odd, write("a", -3, b"-3"), write("a", 0, b"0"), write("a", 1, b"1")];
    assert_eq!(find(stores, &thread, Some("cp-1")).await.unwrap().writes, expected);
    put(stores, &checkpoint(&thread, "cp-2", json!({})), &[]).await;
    assert_eq!(find(stores, &thread, Some("cp-2")).await.unwrap().writes, [write("a", 0, b"of another")]);
}

pub async fn a_repeated_write_stays_or_replaces_as_asked(stores: &Stores) {
    let thread = stored_task(stores).await;
    put(stores, &checkpoint(&thread, "cp-1", json!({})), &[]).await;
    let read = async || find(stores, &thread, Some("cp-1")).await.unwrap().writes;
    let other =
        |bytes| CheckpointWrite { channel: "other".into(), kind: None, path: "p".into(), ..write("a", 0, bytes) };

    put_writes(stores, &thread, "cp-1", &[write("a", 0, b"1"), other(b"2")], RepeatedWrite::Keeps).await;
    put_writes(stores, &thread, "cp-1", &[other(b"3")], RepeatedWrite::Keeps).await;
    assert_eq!(read().await, [write("a", 0, b"1")]);

    put_writes(stores, &thread, "cp-1", &[write("a", 0, b"4"), other(b"5")], RepeatedWrite::Replaces).await;
    assert_eq!(read().await, [CheckpointWrite { path: "~".into(), ..other(b"5") }], "the path stays");
}

pub async fn namespaces_of_a_thread_are_apart(stores: &Stores) {
    let thread = stored_task(stores).await;
    let root = checkpoint(&thread, "cp-1", json!({"a": "1"}));
    let sub = Checkpoint { namespace: "sub".into(), ..root.clone() };
    put(stores, &root, &[blob("a", "1", b"root")]).await;
    put(stores, &sub, &[blob("a", "1", b"sub")]).await;
    assert!(
        stores
            .checkpoints
            .put_writes(&thread, "sub", "cp-1", &[write("a", 0, b"sub")], RepeatedWrite::Keeps)
            .await
            .unwrap()
    );

    let found = find(stores, &thread, None).await.unwrap();
    assert_eq!((found.blobs, found.writes), (vec![blob("a", "1", b"root")], Vec::new()));
    let found = stores.checkpoints.find(&thread, "sub", None).await.unwrap().unwrap();
    assert_eq!((found.blobs, found.writes), (vec![blob("a", "1", b"sub")], vec![write("a", 0, b"sub")]));
    let (in_root, in_sub) = ((String::new(), "cp-1".to_owned()), ("sub".to_owned(), "cp-1".to_owned()));
    let of = |namespace: Option<&str>| CheckpointFilter {
        namespace: namespace.map(str::to_owned),
        ..CheckpointFilter::default()
    };
    assert_eq!(list(stores, &thread, of(None), 100).await, [in_root.clone(), in_sub.clone()]);
    assert_eq!(list(stores, &thread, of(Some("")), 100).await, [in_root]);
    assert_eq!(list(stores, &thread, of(Some("sub")), 100).await, [in_sub]);
    assert_eq!(list(stores, &thread, of(Some("none")), 100).await, []);
}

pub async fn a_list_is_limited_by_place_metadata_and_number(stores: &Stores) {
    let thread = stored_task(stores).await;
    for (id, metadata) in [("cp-1", r#"{"step":1,"who":{"a":1,"b":2}}"#), ("cp-2", r#"{"step":2}"#), ("cp-3", "{}")] {
        let checkpoint = Checkpoint { metadata: exact(metadata), ..checkpoint(&thread, id, json!({})) };
        put(stores, &checkpoint, &[]).await;
    }
    let before = |id: &str| CheckpointFilter { before: Some(id.to_owned()), ..CheckpointFilter::default() };
    let with = |wanted| CheckpointFilter { metadata: Some(object(wanted)), ..CheckpointFilter::default() };

    assert_eq!(list(stores, &thread, CheckpointFilter::default(), 2).await, in_root(&["cp-3", "cp-2"]));
    assert_eq!(list(stores, &thread, before("cp-3"), 100).await, in_root(&["cp-2", "cp-1"]));
    assert_eq!(list(stores, &thread, before("cp-1"), 100).await, []);
    assert_eq!(list(stores, &thread, with(json!({"who": {"b": 2}})), 100).await, in_root(&["cp-1"]));
    assert_eq!(list(stores, &thread, with(json!({"step": 2})), 100).await, in_root(&["cp-2"]));
    assert_eq!(list(stores, &thread, with(json!({"step": "2"})), 100).await, []);
    assert_eq!(list(stores, &TaskId::generate(), CheckpointFilter::default(), 100).await, []);
}

pub async fn a_deleted_thread_is_gone_and_others_are_intact(stores: &Stores) {
    let (thread, other) = (stored_task(stores).await, stored_task(stores).await);
    for thread in [&thread, &other] {
        for namespace in ["", "sub"] {
            let checkpoint =
                Checkpoint { namespace: namespace.into(), ..checkpoint(thread, "cp-1", json!({"a": "1"})) };
            put(stores, &checkpoint, &[blob("a", "1", b"x")]).await;
        }
        put_writes(stores, thread, "cp-1", &[write("a", 0, b"w")], RepeatedWrite::Keeps).await;
    }

    stores.checkpoints.delete_thread(&thread).await.unwrap();
    stores.checkpoints.delete_thread(&thread).await.unwrap();

    assert_eq!(list(stores, &thread, CheckpointFilter::default(), 100).await, []);
    assert_eq!(list(stores, &other, CheckpointFilter::default(), 100).await.len(), 2);
    // Neither blobs nor writes are left to be found by a checkpoint of the same id.
    put(stores, &checkpoint(&thread, "cp-1", json!({"a": "1"})), &[]).await;
    let found = find(stores, &thread, None).await.unwrap();
    assert_eq!((found.blobs, found.writes), (Vec::new(), Vec::new()));
    let intact = find(stores, &other, None).await.unwrap();
    assert_eq!((intact.blobs.len(), intact.writes.len()), (1, 1));
}

pub async fn a_deleted_task_takes_no_checkpoints_and_no_writes(stores: &Stores) {
    let thread = stored_task(stores).await;
    delete(stores, &thread).await;
    let refused = checkpoint(&thread, "cp-1", json!({"a": "1"}));

    assert!(!stores.checkpoints.put(&refused, &[blob("a", "1", b"x")]).await.unwrap());
    for repeated in [RepeatedWrite::Keeps, RepeatedWrite::Replaces] {
        let writes = [write("a", 0, b"w")];
        assert!(!stores.checkpoints.put_writes(&thread, "", "cp-1", &writes, repeated).await.unwrap());
    }

    assert_eq!(find(stores, &thread, None).await, None);
    let nobodys = TaskId::generate();
    put(stores, &checkpoint(&nobodys, "cp-1", json!({})), &[]).await;
    assert!(find(stores, &nobodys, None).await.is_some(), "a thread need not be a task");
}

pub async fn concurrent_writers_of_the_same_keys_all_succeed(stores: &Stores) {
    let thread = stored_task(stores).await;
    let names: Vec<String> = (0..20).map(|n| format!("channel-{n}")).collect();
    let versions: Value = names.iter().map(|name| (name.clone(), json!("1"))).collect();
    let writers = (0..8).map(|writer: usize| {
        let (stores, thread, mut names, versions) = (stores.clone(), thread.clone(), names.clone(), versions.clone());
        names.rotate_left(writer * 2);
        tokio::spawn(async move {
            let blobs: Vec<_> = names.iter().map(|name| blob(name, "1", &[u8::try_from(writer).unwrap()])).collect();
            put(&stores, &checkpoint(&thread, "cp-1", versions), &blobs).await;
            let writes: Vec<_> = names.iter().map(|name| write(name, 0, b"w")).collect();
            put_writes(&stores, &thread, "cp-1", &writes, RepeatedWrite::Replaces).await;
        })
    });

    for done in futures::future::join_all(writers).await {
        done.unwrap();
    }

    let found = find(stores, &thread, None).await.unwrap();
    assert_eq!((found.blobs.len(), found.writes.len()), (20, 20));
}
