use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use sha2::{Digest, Sha256};

use crate::model::Explanation;
use crate::{Authorizer, AuthzError, Check, Decision, Operation, Principal, ResourceKind, ResourceRef, Scope};

/// Counts, times and logs what a backend decides, and changes nothing.
///
/// Metrics: `agentex_authz_decisions_total{type, op, outcome, backend}` for checks (`allow`, `deny` or an error) and lists (`all`,
/// `only` or an error); `agentex_authz_lifecycle_total{verb, type, outcome, backend}` for writes (`ok` or an error);
/// `agentex_authz_latency_seconds{verb, backend}` for every call.
///
/// Decisions are also events of the target `authz.decision`: a hash of the subject, the resource, the operation, the
/// outcome, the backend and the latency in microseconds. Writes are events of the target `authz.lifecycle` with the same
/// fields and the verb, and with the parent where there is one. The hash tells whether two events were about the same
/// subject in the same account; whoever knows an id can compute it. Nothing else of the principal is logged.
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

/// What a write was about.
struct Written<'a> {
    verb: &'static str,
    principal: &'a Principal,
    operation: Option<Operation>,
    resource: &'a ResourceRef,
    parent: Option<&'a ResourceRef>,
}

impl Recorded {
    /// Records what `inner` does under the name `backend`.
    pub fn new(inner: Arc<dyn Authorizer>, backend: &'static str) -> Self {
        Self { inner, backend }
    }

    fn timed(&self, verb: &'static str, started: Instant) -> u64 {
        let latency = started.elapsed();
        metrics::histogram!("agentex_authz_latency_seconds", "verb" => verb, "backend" => self.backend).record(latency);
        u64::try_from(latency.as_micros()).unwrap_or(u64::MAX)
    }

    fn decided(&self, question: &Question<'_>, outcome: &'static str, latency_us: u64) {
        metrics::counter!(
            "agentex_authz_decisions_total",
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
        written: Written<'_>,
        call: impl Future<Output = Result<(), AuthzError>>,
    ) -> Result<(), AuthzError> {
        let Written { verb, principal, operation, resource, parent } = written;
        let started = Instant::now();
        let result = call.await;
        let latency_us = self.timed(verb, started);
        let outcome = result.as_ref().map_or_else(error_label, |()| "ok");
        let kind = resource.kind.as_str();
        metrics::counter!(
            "agentex_authz_lifecycle_total",
            "verb" => verb,
            "type" => kind,
            "outcome" => outcome,
            "backend" => self.backend
        )
        .increment(1);
        if tracing::enabled!(target: "authz.lifecycle", tracing::Level::INFO) {
            tracing::info!(
                target: "authz.lifecycle",
                verb,
                subject = subject_hash(principal),
                resource.type = kind,
                resource.selector = resource.selector,
                operation = operation.map(Operation::as_str),
                parent = parent.map(ResourceRef::to_string),
                outcome,
                backend = self.backend,
                latency_us,
                "written"
            );
        }
        result
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

    async fn explain(
        &self,
        principal: &Principal,
        operation: Operation,
        resource: &ResourceRef,
    ) -> Result<Explanation, AuthzError> {
        let started = Instant::now();
        let outcome = self.inner.explain(principal, operation, resource).await;
        // Nothing is decided by it, so it is neither counted nor logged as a decision.
        self.timed("explain", started);
        outcome
    }

    async fn register(
        &self,
        owner: &Principal,
        resource: &ResourceRef,
        parent: Option<ResourceRef>,
    ) -> Result<(), AuthzError> {
        let call = self.inner.register(owner, resource, parent.clone());
        let (verb, parent) = ("register", parent.as_ref());
        self.write(Written { verb, principal: owner, operation: None, resource, parent }, call).await
    }

    async fn deregister(&self, principal: &Principal, resource: &ResourceRef) -> Result<(), AuthzError> {
        let written = Written { verb: "deregister", principal, operation: None, resource, parent: None };
        self.write(written, self.inner.deregister(principal, resource)).await
    }

    async fn grant(
        &self,
        principal: &Principal,
        operation: Operation,
        resource: &ResourceRef,
    ) -> Result<(), AuthzError> {
        let written = Written { verb: "grant", principal, operation: Some(operation), resource, parent: None };
        self.write(written, self.inner.grant(principal, operation, resource)).await
    }

    async fn revoke(
        &self,
        principal: &Principal,
        operation: Operation,
        resource: &ResourceRef,
    ) -> Result<(), AuthzError> {
        let written = Written { verb: "revoke", principal, operation: Some(operation), resource, parent: None };
        self.write(written, self.inner.revoke(principal, operation, resource)).await
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
        AuthzError::Deferred => "deferred",
    }
}

/// The first eight bytes, in hexadecimal, of a SHA-256 over who acts in which account.
pub(crate) fn subject_hash(principal: &Principal) -> String {
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
    use serde_json::json;

    use super::super::notes::Notes;
    use super::super::scripted::{Answer, Scripted, every_verb};
    use super::*;

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
                "agentex_authz_latency_seconds{verb=check,backend=test}".to_owned(),
                format!("agentex_authz_decisions_total{{type=task,op=read,outcome={check},backend=test}}"),
                "agentex_authz_latency_seconds{verb=check_many,backend=test}".to_owned(),
                format!("agentex_authz_decisions_total{{type=task,op=update,outcome={check},backend=test}}"),
                "agentex_authz_latency_seconds{verb=list_resources,backend=test}".to_owned(),
                format!("agentex_authz_decisions_total{{type=task,op=read,outcome={list},backend=test}}"),
                "agentex_authz_latency_seconds{verb=explain,backend=test}".to_owned(),
                "agentex_authz_latency_seconds{verb=register,backend=test}".to_owned(),
                format!("agentex_authz_lifecycle_total{{verb=register,type=task,outcome={write},backend=test}}"),
                "agentex_authz_latency_seconds{verb=deregister,backend=test}".to_owned(),
                format!("agentex_authz_lifecycle_total{{verb=deregister,type=task,outcome={write},backend=test}}"),
                "agentex_authz_latency_seconds{verb=grant,backend=test}".to_owned(),
                format!("agentex_authz_lifecycle_total{{verb=grant,type=task,outcome={write},backend=test}}"),
                "agentex_authz_latency_seconds{verb=revoke,backend=test}".to_owned(),
                format!("agentex_authz_lifecycle_total{{verb=revoke,type=task,outcome={write},backend=test}}"),
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

    #[tokio::test]
    async fn a_write_is_logged_with_its_verb() {
        let notes = Notes::default();
        let _tracing = tracing::subscriber::set_default(notes.clone());
        let principal = Principal::from_json(json!({"user_id": "alice", "account_id": "acme"}));
        let (recorded, hash) = (Recorded::new(Scripted::always(Answer::Allow), "test"), subject_hash(&principal));
        let (task, agent) = (ResourceRef::task("t1"), ResourceRef::agent("a1"));

        recorded.register(&principal, &task, Some(agent)).await.unwrap();
        recorded.grant(&principal, Operation::Create, &task).await.unwrap();

        let expected = [("register", "parent=\"agent:a1\""), ("grant", "operation=\"create\"")].map(|(verb, more)| {
            format!(
                "authz.lifecycle message=written verb=\"{verb}\" subject=\"{hash}\" resource.type=\"task\" \
                 resource.selector=\"t1\" {more} outcome=\"ok\" backend=\"test\" latency_us=_"
            )
        });
        assert_eq!(notes.take(), expected);
    }

    /// authz §7: 32
    #[tokio::test]
    async fn no_verb_logs_who_asks_or_a_secret() {
        let notes = Notes::default();
        let _tracing = tracing::subscriber::set_default(notes.clone());
        let who = Principal::from_json(json!({
            "user_id": "alice", "account_id": "acme", "api_key": "s3cret", "metadata": {"cookie": "s3cret"}
        }));
        let (task, agent) = (ResourceRef::task("t1"), ResourceRef::agent("a1"));
        let checks = [Check { operation: Operation::Update, resource: task.clone() }];
        for answer in [Answer::Allow, Answer::Deny, Answer::Error(|| AuthzError::Unavailable("down".into()))] {
            let recorded = Recorded::new(Scripted::always(answer), "test");

            let _ = recorded.check(&who, Operation::Read, &task).await;
            let _ = recorded.check_many(&who, &checks).await;
            let _ = recorded.list_resources(&who, ResourceKind::Task, Operation::Read).await;
            let _ = recorded.explain(&who, Operation::Read, &task).await;
            let _ = recorded.register(&who, &task, Some(agent.clone())).await;
            let _ = recorded.deregister(&who, &task).await;
            let _ = recorded.grant(&who, Operation::Create, &task).await;
            let _ = recorded.revoke(&who, Operation::Delete, &task).await;

            let logged = notes.take();
            assert_eq!(logged.len(), 7, "each but explain: {logged:?}");
            let shown = logged.join("\n").to_lowercase();
            for secret in ["s3cret", "alice", "acme", "principal", "cookie", "api_key"] {
                assert!(!shown.contains(secret), "{secret}: {shown}");
            }
        }
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
