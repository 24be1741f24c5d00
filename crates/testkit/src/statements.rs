//! Which statements the driver sends to a database, as it logs them.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::Id;
use tracing::{Event, Instrument as _, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

const TARGET: &str = "sqlx::query";

static SEEN: OnceLock<Mutex<HashMap<u64, Vec<String>>>> = OnceLock::new();

/// Does `work` and tells the statements it sent, in short, oldest first. Those of other work in this process are left out.
///
/// # Panics
/// When the process has another subscriber of traces already.
pub async fn sent_by<T>(work: impl Future<Output = T>) -> (T, Vec<String>) {
    let seen = SEEN.get_or_init(|| {
        tracing::subscriber::set_global_default(tracing_subscriber::registry().with(Recorder)).unwrap();
        Mutex::default()
    });
    let span = tracing::error_span!("statements");
    let id = span.id().unwrap().into_u64();
    seen.lock().unwrap().insert(id, Vec::new());
    // SQLite's own threads log within the span of whoever waits for them.
    let answer = work.instrument(span).await;
    (answer, seen.lock().unwrap().remove(&id).unwrap())
}

struct Recorder;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Recorder {
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if event.metadata().target() != TARGET {
            return;
        }
        let (Some(seen), Some(scope)) = (SEEN.get(), context.event_scope(event)) else { return };
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        for span in scope {
            if let Some(statements) = seen.get_mut(&Id::into_u64(&span.id())) {
                let mut summary = Summary::default();
                event.record(&mut summary);
                statements.push(summary.0);
            }
        }
    }
}

#[derive(Default)]
struct Summary(String);

impl Visit for Summary {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "summary" {
            value.clone_into(&mut self.0);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "summary" {
            self.0 = format!("{value:?}");
        }
    }
}
