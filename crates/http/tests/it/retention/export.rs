use serde_json::{Value, json};

use super::{Bucket, Hosts, Log, Scene, absent};
use crate::support::Setup;

const SIGNED: &str = "https://bucket.example/x?sig=s3cret";

/// retention §8: 1
#[tokio::test]
async fn an_export_holds_messages_and_states_in_order_or_empty_lists() {
    let scene = Scene::new().await;
    assert_eq!(scene.export().await, json!({"task_id": scene.task, "messages": [], "task_states": []}));

    let scene = scene.with_contents().await;
    let answer = scene.world.get(&scene.path("export")).await;

    let document = answer.ok();
    let texts: Vec<&Value> =
        document["messages"].as_array().unwrap().iter().map(|message| &message["content"]["content"]).collect();
    assert_eq!(texts, ["one", "two", "three"]);
    let path = format!("/messages?task_id={}&order_direction=asc&order_by=created_at", scene.task);
    assert_eq!(document["messages"], scene.world.get(&path).await.ok());
    let states = scene.world.get(&format!("/states?task_id={}", scene.task)).await.ok();
    assert_eq!(document["task_states"], states);
    assert_eq!(answer.header("content-length"), Some(answer.body.len().to_string().as_str()));
    scene.world.get("/tasks/unknown/export").await.refused(404, &absent("unknown"));
}

/// retention §8: 16
///
/// Who took it and where to is logged, and the signature of the URL is not.
#[tokio::test]
async fn an_upload_is_the_inline_export_byte_for_byte() {
    let (bucket, transfer) = Bucket::open().await;
    let scene = Scene::with(Setup { transfer, ..Setup::default() }).await.with_contents().await;
    let inline = scene.world.get(&scene.path("export")).await.body;
    let log = Log::default();
    let logging = log.begin();

    let answer = scene.world.post(&scene.path("export"), json!({"upload_url": SIGNED})).await.ok();

    drop(logging);
    let expected = json!({
        "task_id": scene.task, "upload_url": SIGNED, "uploaded_bytes": inline.len(),
        "messages_count": 3, "task_states_count": 1
    });
    assert_eq!(answer, expected);
    assert_eq!(bucket.object("/x").unwrap(), inline);
    let requests = bucket.requests();
    let [(request, headers)] = &requests[..] else { panic!("{requests:?}") };
    assert_eq!(request, "PUT /x?sig=s3cret");
    assert_eq!(headers["host"], "bucket.example");
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(headers["content-length"], inline.len().to_string().as_str());
    let audited = log.fields("task_exported");
    assert_eq!(audited.len(), 1, "{audited:?}");
    let principal: Value = serde_json::from_str(audited[0]["principal"].as_str().unwrap()).unwrap();
    assert_eq!((&audited[0]["host"], &principal["user_id"]), (&json!("bucket.example"), &json!("somebody")));
    assert!(!log.text().contains("s3cret"), "{}", log.text());
}

/// A long document does not fit the memory kept for it and is uploaded all the same.
#[tokio::test]
async fn a_long_document_is_uploaded_whole() {
    let (bucket, transfer) = Bucket::open().await;
    let scene = Scene::with(Setup { transfer, ..Setup::default() }).await;
    let long = "x".repeat(900 * 1024);
    for _ in 0..6 {
        scene.world.message(&scene.task, &long).await;
    }

    let answer = scene.world.post(&scene.path("export"), json!({"upload_url": SIGNED})).await.ok();

    let uploaded = bucket.object("/x").unwrap();
    assert_eq!(answer["uploaded_bytes"], uploaded.len());
    assert!(uploaded.len() > 6 * 900 * 1024);
    assert_eq!(serde_json::from_slice::<Value>(&uploaded).unwrap(), scene.export().await);
}

/// retention §8: 14
#[tokio::test]
async fn a_refused_or_moved_upload_fails_and_nothing_is_followed() {
    let (bucket, transfer) = Bucket::open().await;
    let scene = Scene::with(Setup { transfer, ..Setup::default() }).await;
    let log = Log::default();
    let logging = log.begin();

    for path in ["moved", "closed"] {
        let url = format!("https://bucket.example/{path}?sig=s3cret");
        let answer = scene.world.post(&scene.path("export"), json!({"upload_url": url})).await;
        answer.refused(500, &format!("Failed to upload snapshot for task {}", scene.task));
    }

    drop(logging);
    let seen: Vec<String> = bucket.requests().into_iter().map(|(request, _)| request).collect();
    assert_eq!(seen, ["PUT /moved?sig=s3cret", "PUT /closed?sig=s3cret"]);
    assert!(!log.text().contains("s3cret"), "{}", log.text());
}

/// retention §8: 12
#[tokio::test]
async fn only_https_urls_at_public_addresses_are_called() {
    let scene = Scene::new().await;
    let said = async |url: &str| {
        let answers = [
            scene.world.post(&scene.path("export"), json!({"upload_url": url})).await,
            scene.rehydrate(json!({"task_id": scene.task, "snapshot_url": url})).await,
        ];
        let [one, other] = answers.map(|answer| (answer.status.as_u16(), answer.json()["message"].clone()));
        assert_eq!(one.0, other.0, "{url}");
        (one.0, one.1.as_str().unwrap().to_owned())
    };

    for url in [
        "https://127.0.0.1/x?sig=s3cret",
        "https://[::ffff:10.0.0.1]/?sig=s3cret",
        "https://100.64.0.1/?sig=s3cret",
        "https://0x7f.1/?sig=s3cret",
        "https://[64:ff9b::a00:1]/?sig=s3cret",
    ] {
        let (status, text) = said(url).await;
        assert_eq!(status, 400, "{url}");
        assert!(text.contains("resolves to a non-public address; refusing") && !text.contains("s3cret"), "{text}");
    }
    assert_eq!(said("http://a.example/").await, (400, "URL scheme must be 'https'; got 'http'.".to_owned()));
    for (url, text) in [
        ("https://u:p@a.example/", "URL must not include a user name or password."),
        ("https://a.example:8443/", "URL port 8443 is not permitted."),
        ("https://gone.example/", "Could not resolve hostname 'gone.example': name resolution failed"),
    ] {
        assert_eq!(said(url).await, (400, text.to_owned()), "{url}");
    }
    for url in ["", "no url", "ftp://a.example/", &format!("https://a.example/{}", "x".repeat(8192))] {
        assert_eq!(said(url).await.0, 422, "{url}");
    }
}

/// retention §8: 13
#[tokio::test]
async fn one_private_address_of_a_host_is_enough_to_refuse_it() {
    let transfer = Hosts::one("mixed.example", &[([8, 8, 8, 8], 443).into(), ([10, 0, 0, 7], 443).into()]);
    let scene = Scene::with(Setup { transfer, ..Setup::default() }).await;

    let answer = scene.world.post(&scene.path("export"), json!({"upload_url": "https://mixed.example/x"})).await;

    let text = "URL host 'mixed.example' resolves to a non-public address; refusing to issue a server-side request.";
    answer.refused(400, text);
}
