use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use sha2::{Digest, Sha256};

use crate::{Authorizer, AuthzError, Check, Decision, Operation, Principal, ResourceKind, ResourceRef, Scope};

/// Counts, times and logs what a backend decides, and changes nothing.
///
/// Metrics: `authz_decision_total{type, op, outcome, backend}` for checks (`allow`, `deny` or an error) and lists (`all`,
/// `only` or an error); `authz_lifecycle_total{verb, type, outcome, backend}` for writes (`ok` or an error);
/// `authz_latency_seconds{verb, backend}` for every call.
///
/// Decisions are also events of the target `authz.decision`: a hash of the subject, the resource, the operation, the
/// outcome, the backend and the latency in microseconds. The hash tells whether two decisions were about the same subject
/// in the same account; whoever knows an id can compute it. Nothing else of the principal is logged.
pub struct Recorded {
    inner: Arc<dyn Authorizer>,
    backend: &'static str,
}

impl fmt::Debug for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorded").field("backend", &self.backend).finish_non_exhaustive()
    }
}

/// What a decision was about.
struct Question<'a> {
    principal: &'a Principal,
    operation: Operation,
    kind: ResourceKind,
    selector: Option<&'a str>,
}

impl Recorded {
    /// Records what `inner` does under the name `backend`.
    pub fn new(inner: Arc<dyn Authorizer>, backend: &'static str) -> Self {
        Self { inner, backend }
    }

    fn timed(&self, verb: &'static str, started: Instant) -> u64 {
        let latency = started.elapsed();
        metrics::histogram!("authz_latency_seconds", "verb" => verb, "backend" => self.backend).record(latency);
        u64::try_from(latency.as_micros()).unwrap_or(u64::MAX)
    }

    fn decided(&self, question: &Question<'_>, outcome: &'static str, latency_us: u64) {
        metrics::counter!(
            "authz_decision_total",
            "type" => question.kind.as_str(),
            "op" => question.operation.as_str(),
            "outcome" => outcome,
            "backend" => self.backend
        )
        .increment(1);
        // Before the event, so that nothing is hashed for a log that nobody keeps.
        if tracing::enabled!(target: "authz.decision", tracing::Level::INFO) {
            tracing::info!(
                target: "authz.decision",
                subject = subject_hash(question.principal),
                resource.type = question.kind.as_str(),
                resource.selector = question.selector,
                operation = question.operation.as_str(),
                outcome,
                backend = self.backend,
                latency_us,
                "decided"
            );
        }
    }

    async fn write(
        &self,
        verb: &'static str,
        resource: &ResourceRef,
        call: impl Future<Output = Result<(), AuthzError>>,
    ) -> Result<(), AuthzError> {
        let started = Instant::now();
        let outcome = call.await;
        self.timed(verb, started);
        let label = outcome.as_ref().map_or_else(error_label, |()| "ok");
        let kind = resource.kind.as_str();
        metrics::counter!(
            "authz_lifecycle_total", "verb" => verb, "type" => kind, "outcome" => label, "backend" => self.backend
        )
        .increment(1);
        outcome
    }
}

#[async_trait]
impl Authorizer for Recorded {
    async fn check(
        &self,
        principal: &Principal,
        operation: Operation,
        resource: &ResourceRef,
    ) -> Result<Decision, AuthzError> {
        let started = Instant::now();
        let outcome = self.inner.check(principal, operation, resource).await;
        let latency_us = self.timed("check", started);
        let question = Question { principal, operation, kind: resource.kind, selector: Some(&resource.selector) };
        self.decided(&question, outcome.as_ref().map_or_else(error_label, decision_label), latency_us);
        outcome
    }

    async fn check_many(&self, principal: &Principal, checks: &[Check]) -> Result<Vec<Decision>, AuthzError> {
        let started = Instant::now();
        let outcome = self.inner.check_many(principal, checks).await;
        let latency_us = self.timed("check_many", started);
        for (index, check) in checks.iter().enumerate() {
            let Check { operation, resource } = check;
            let question =
                Question { principal, operation: *operation, kind: resource.kind, selector: Some(&resource.selector) };
            let label = match &outcome {
                Ok(decisions) => decisions.get(index).map_or("missing", decision_label),
                Err(error) => error_label(error),
            };
            self.decided(&question, label, latency_us);
        }
        outcome
    }

    async fn list_resources(
        &self,
        principal: &Principal,
        kind: ResourceKind,
        operation: Operation,
    ) -> Result<Scope, AuthzError> {
        let started = Instant::now();
        let outcome = self.inner.list_resources(principal, kind, operation).await;
        let latency_us = self.timed("list_resources", started);
        let label = match &outcome {
            Ok(Scope::All) => "all",
            Ok(Scope::Only(_)) => "only",
            Err(error) => error_label(error),
        };
        self.decided(&Question { principal, operation, kind, selector: None }, label, latency_us);
        outcome
    }

    async fn register(
        &self,
        owner: &Principal,
        resource: &ResourceRef,
        parent: Option<ResourceRef>,
    ) -> Result<(), AuthzError> {
        self.write("register", resource, self.inner.register(owner, resource, parent)).await
    }

    async fn deregister(&self, principal: &Principal, resource: &ResourceRef) -> Result<(), AuthzError> {
        self.write("deregister", resource, self.inner.deregister(principal, resource)).await
    }

    async fn grant(
        &self,
        principal: &Principal,
        operation: Operation,
        resource: &ResourceRef,
    ) -> Result<(), AuthzError> {
        self.write("grant", resource, self.inner.grant(principal, operation, resource)).await
    }

    async fn revoke(
        &self,
        principal: &Principal,
        operation: Operation,
        resource: &ResourceRef,
    ) -> Result<(), AuthzError> {
        self.write("revoke", resource, self.inner.revoke(principal, operation, resource)).await
    }
}

const fn decision_label(decision: &Decision) -> &'static str {
    match decision {
        Decision::Allow => "allow",
        Decision::Deny => "deny",
    }
}

const fn error_label(error: &AuthzError) -> &'static str {
    match error {
        AuthzError::Unavailable(_) => "unavailable",
        AuthzError::Busy(_) => "busy",
        AuthzError::Unauthenticated => "unauthenticated",
        AuthzError::Gateway(_) => "gateway",
        AuthzError::Service(_) => "service",
        AuthzError::Protocol(_) => "protocol",
        AuthzError::Refused => "refused",
    }
}

/// The first eight bytes, in hexadecimal, of a SHA-256 over who acts in which account.
fn subject_hash(principal: &Principal) -> String {
    let mut hash = Sha256::new();
    for part in [principal.user_id(), principal.service_account_id(), principal.account_id()] {
        let part = part.unwrap_or_default();
        // With lengths, no two subjects run together to the same bytes.
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use metrics::{
        Counter, CounterFn, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    };
    use serde_json::json;
    use tracing::field::{Field, Visit};
    use tracing::span;

    use super::super::scripted::{Answer, Scripted, every_verb};
    use super::*;

    /// Writes down metrics as `name{label=value,…}` and events as `target field=value …`.
    #[derive(Clone, Default)]
    struct Notes(Arc<Mutex<Vec<String>>>);

    impl Notes {
        fn add(&self, note: String) {
            self.0.lock().unwrap().push(note);
        }

        fn take(&self) -> Vec<String> {
            std::mem::take(&mut self.0.lock().unwrap())
        }
    }

    struct Series(String, Notes);

    impl CounterFn for Series {
        fn increment(&self, _: u64) {
            self.1.add(self.0.clone());
        }

        fn absolute(&self, _: u64) {}
    }

    impl HistogramFn for Series {
        fn record(&self, seconds: f64) {
            assert!((0.0..60.0).contains(&seconds), "{seconds}");
            self.1.add(self.0.clone());
        }
    }

    impl Notes {
        fn series(&self, key: &Key) -> Arc<Series> {
            let labels: Vec<String> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
            Arc::new(Series(format!("{}{{{}}}", key.name(), labels.join(",")), self.clone()))
        }
    }

    impl Recorder for Notes {
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

    struct Fields(String);

    impl Visit for Fields {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            // The latency differs from run to run.
            let shown = if field.name() == "latency_us" { "_".to_owned() } else { format!("{value:?}") };
            self.0 += &format!(" {}={shown}", field.name());
        }
    }

    impl tracing::Subscriber for Notes {
        fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }

        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

        fn event(&self, event: &tracing::Event<'_>) {
            let mut fields = Fields(event.metadata().target().to_owned());
            event.record(&mut fields);
            self.add(fields.0);
        }

        fn enter(&self, _: &span::Id) {}
        fn exit(&self, _: &span::Id) {}
    }

    #[tokio::test]
    async fn every_verb_is_counted_and_timed_with_its_outcome() {
        let notes = Notes::default();
        let _recording = metrics::set_default_local_recorder(&notes);
        for (answer, check, list, write) in [
            (Answer::Allow, "allow", "all", "ok"),
            (Answer::Deny, "deny", "only", "ok"),
            (Answer::Error(|| AuthzError::Busy("x".into())), "busy", "busy", "busy"),
        ] {
            let _ = every_verb(&Recorded::new(Scripted::always(answer), "test")).await;

            let expected = [
                "authz_latency_seconds{verb=check,backend=test}".to_owned(),
                format!("authz_decision_total{{type=task,op=read,outcome={check},backend=test}}"),
                "authz_latency_seconds{verb=check_many,backend=test}".to_owned(),
                format!("authz_decision_total{{type=task,op=update,outcome={check},backend=test}}"),
                "authz_latency_seconds{verb=list_resources,backend=test}".to_owned(),
                format!("authz_decision_total{{type=task,op=read,outcome={list},backend=test}}"),
                "authz_latency_seconds{verb=register,backend=test}".to_owned(),
                format!("authz_lifecycle_total{{verb=register,type=task,outcome={write},backend=test}}"),
                "authz_latency_seconds{verb=deregister,backend=test}".to_owned(),
                format!("authz_lifecycle_total{{verb=deregister,type=task,outcome={write},backend=test}}"),
                "authz_latency_seconds{verb=grant,backend=test}".to_owned(),
                format!("authz_lifecycle_total{{verb=grant,type=task,outcome={write},backend=test}}"),
                "authz_latency_seconds{verb=revoke,backend=test}".to_owned(),
                format!("authz_lifecycle_total{{verb=revoke,type=task,outcome={write},backend=test}}"),
            ];
            assert_eq!(notes.take(), expected);
        }
    }

    #[tokio::test]
    async fn a_decision_is_logged_with_all_but_who_asked() {
        let notes = Notes::default();
        let _tracing = tracing::subscriber::set_default(notes.clone());
        let principal = Principal::from_json(json!({"user_id": "alice", "account_id": "acme", "api_key": "s3cret"}));
        let recorded = Recorded::new(Scripted::new([Answer::Deny]), "test");

        let decision = recorded.check(&principal, Operation::Cancel, &ResourceRef::task("t1")).await.unwrap();

        assert_eq!(decision, Decision::Deny);
        let hash = subject_hash(&principal);
        let expected = format!(
            "authz.decision message=decided subject=\"{hash}\" resource.type=\"task\" resource.selector=\"t1\" \
             operation=\"cancel\" outcome=\"deny\" backend=\"test\" latency_us=_"
        );
        assert_eq!(notes.take(), [expected]);
    }

    #[test]
    fn the_hash_of_a_subject_tells_subjects_and_accounts_apart_and_nothing_else() {
        let hash = |json| subject_hash(&Principal::from_json(json));
        let alice = hash(json!({"user_id": "alice", "account_id": "acme"}));

        assert_eq!(alice, hash(json!({"user_id": "alice", "account_id": "acme", "api_key": "k"})));
        assert_eq!(alice.len(), 16);
        for other in [
            json!({"user_id": "alice"}),
            json!({"user_id": "alice", "account_id": "other"}),
            json!({"service_account_id": "alice", "account_id": "acme"}),
            json!({"user_id": "aliceacme"}),
            json!({"user_id": "alice\u{0}", "account_id": "acme"}),
        ] {
            assert_ne!(alice, hash(other.clone()), "{other}");
        }
    }
}
