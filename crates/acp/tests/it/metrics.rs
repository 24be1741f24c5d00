use std::sync::{Arc, Mutex};

use agentex_acp::{AcpClient, AcpOptions};
use agentex_domain::ports::{AgentClient, AgentRequest};
use futures::StreamExt;
use metrics::{
    Counter, CounterFn, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use tokio::join;

use crate::agent::Agent;
use crate::build::{call, message};

/// Writes down which series were touched, as `name{label=value,…}`.
#[derive(Clone, Default)]
struct Touched(Arc<Mutex<Vec<String>>>);

struct Series {
    name: String,
    touched: Touched,
}

impl Series {
    fn touch(&self) {
        self.touched.0.lock().unwrap().push(self.name.clone());
    }
}

impl CounterFn for Series {
    fn increment(&self, by: u64) {
        assert_eq!(by, 1);
        self.touch();
    }

    fn absolute(&self, _: u64) {}
}

impl HistogramFn for Series {
    fn record(&self, seconds: f64) {
        assert!((0.0..60.0).contains(&seconds), "{seconds}");
        self.touch();
    }
}

impl Touched {
    fn series(&self, key: &Key) -> Arc<Series> {
        let labels: Vec<String> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        Arc::new(Series { name: format!("{}{{{}}}", key.name(), labels.join(",")), touched: self.clone() })
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Recorder for Touched {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.series(key))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.series(key))
    }
}

#[tokio::test]
async fn calls_are_timed_to_their_end_and_failures_counted_by_kind() {
    let touched = Touched::default();
    let _recording = metrics::set_default_local_recorder(&touched);
    let agent = Agent::listen().await;
    let client = AcpClient::new(AcpOptions::default()).unwrap();

    let refused = client.call(call("ftp://agent", AgentRequest::CancelTask)).await;
    assert!(refused.is_err());
    assert_eq!(
        touched.take(),
        ["agentex_acp_errors_total{method=task/cancel,kind=bad_url}", "agentex_acp_call_seconds{method=task/cancel}"]
    );

    let (stream, mut connection) = join!(client.stream(call(&agent.url(), message())), async {
        let (mut connection, _) = agent.request().await;
        connection.begin().await;
        connection
    });
    let mut stream = stream.unwrap();
    assert_eq!(touched.take(), Vec::<String>::new(), "an open stream is not over");
    connection.chunk("nonsense\n").await;
    assert!(stream.next().await.unwrap().is_err());
    assert_eq!(
        touched.take(),
        [
            "agentex_acp_errors_total{method=message/send,kind=malformed}",
            "agentex_acp_call_seconds{method=message/send}"
        ]
    );
}
