//! What is counted of the streams of tasks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentex_app::{Ports, Settings};
use agentex_domain::TaskId;
use agentex_domain::ports::{Cursor, Entry, EventStream, StartAt, StreamError, Subscription};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use metrics::{Counter, CounterFn, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::support::{Setup, World, id, request};

const ACTIVE: &str = "agentex_task_stream_active{}";

/// Keeps the values of counters and gauges, as `name{label=value}`.
#[derive(Clone, Default)]
struct Values(Arc<Mutex<BTreeMap<String, f64>>>);

struct Series {
    name: String,
    values: Values,
}

impl Series {
    fn add(&self, by: f64) {
        *self.values.0.lock().unwrap().entry(self.name.clone()).or_default() += by;
    }
}

impl CounterFn for Series {
    fn increment(&self, by: u64) {
        self.add(f64::from(u32::try_from(by).unwrap()));
    }

    fn absolute(&self, _: u64) {}
}

impl GaugeFn for Series {
    fn increment(&self, by: f64) {
        self.add(by);
    }

    fn decrement(&self, by: f64) {
        self.add(-by);
    }

    fn set(&self, _: f64) {}
}

impl Values {
    fn series(&self, key: &Key) -> Arc<Series> {
        let labels: Vec<String> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        Arc::new(Series { name: format!("{}{{{}}}", key.name(), labels.join(",")), values: self.clone() })
    }

    fn of(&self, name: &str) -> f64 {
        self.0.lock().unwrap().get(name).copied().unwrap_or_default()
    }

    /// How many streams are open, and how many were closed in each way.
    fn streams(&self) -> (f64, [f64; 3]) {
        let closed = ["completed", "client_disconnect", "error"]
            .map(|outcome| self.of(&format!("agentex_task_stream_closed_total{{outcome={outcome}}}")));
        (self.of(ACTIVE), closed)
    }
}

impl Recorder for Values {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.series(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.series(key))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

/// Streams whose past cannot be read.
struct Forgetful(Arc<dyn EventStream>);

#[async_trait]
impl EventStream for Forgetful {
    async fn publish(&self, task: &TaskId, data: Bytes) -> Result<Cursor, StreamError> {
        self.0.publish(task, data).await
    }

    async fn subscribe(&self, task: &TaskId, start: StartAt) -> Result<Subscription, StreamError> {
        self.0.subscribe(task, start).await
    }

    async fn read(&self, _: &TaskId, _: Cursor, _: usize) -> Result<Vec<Entry>, StreamError> {
        Err(StreamError::Unavailable("forgotten".into()))
    }

    async fn clear(&self, task: &TaskId) -> Result<(), StreamError> {
        self.0.clear(task).await
    }
}

fn stream_of(task: &Value) -> String {
    format!("/tasks/{}/stream", id(task))
}

async fn complete(world: &World, task: &Value) {
    world.post(&format!("/tasks/{}/complete", id(task)), json!({})).await.ok();
}

/// streaming §8: 20, 45
#[tokio::test]
async fn a_stream_is_counted_while_it_is_open_and_once_by_how_it_ended() {
    let values = Values::default();
    // Everything of this test runs on this thread.
    let _recorded = metrics::set_default_local_recorder(&values);
    let world = World::new().await;
    let task = world.task("a").await;

    let response = world.router().oneshot(request("GET", &stream_of(&task), &[], None)).await.unwrap();
    let mut events = response.into_body().into_data_stream();
    events.next().await.unwrap().unwrap();
    assert_eq!(values.streams(), (1.0, [0.0; 3]));
    drop(events);
    assert_eq!(values.streams(), (0.0, [0.0, 1.0, 0.0]));

    complete(&world, &task).await;
    world.get(&stream_of(&task)).await;
    assert_eq!(values.streams(), (0.0, [1.0, 1.0, 0.0]));

    let ports: Box<dyn FnOnce(&mut Ports)> =
        Box::new(|ports| ports.streams = Arc::new(Forgetful(Arc::clone(&ports.streams))));
    let world = World::with(Setup { ports: Some(ports), ..Setup::default() }).await;
    let task = world.task("a").await;
    complete(&world, &task).await;
    let shown = world.get(&stream_of(&task)).await.text();
    assert!(shown.contains(r#""type":"error""#), "{shown}");
    assert_eq!(values.streams(), (0.0, [1.0, 1.0, 1.0]));
}

/// streaming §8: 46
#[tokio::test]
async fn a_quiet_spell_is_counted_once_however_long_it_is() {
    let values = Values::default();
    let _recorded = metrics::set_default_local_recorder(&values);
    let stall = Duration::from_millis(40);
    let settings = Settings { stream_keepalive: stall / 8, stream_stall: stall, ..Settings::default() };
    let world = World::with(Setup { settings, ..Setup::default() }).await;
    let task = world.task("a").await;
    let response = world.router().oneshot(request("GET", &stream_of(&task), &[], None)).await.unwrap();
    let mut blocks = response.into_body().into_data_stream();

    for spells in 1..=3 {
        let mut pings = 0;
        // Twice the threshold and more.
        while pings < 20 {
            let block = blocks.next().await.unwrap().unwrap();
            pings = if block.starts_with(b":") { pings + 1 } else { 0 };
        }
        assert!((values.of("agentex_task_stream_stall_total{}") - f64::from(spells)).abs() < 0.5);
        world.put(&format!("/tasks/{}", id(&task)), json!({"merge_params": {"spell": spells}})).await.ok();
    }
}
