use std::sync::Mutex;

use agentex_authz::{MockAuthorizer, Principal};
use agentex_domain::ports::MockTaskRepository;
use serde_json::json;

use super::*;

fn alice() -> Caller {
    Caller::Principal(Principal::from_json(json!({"user_id": "alice"})))
}

fn guard(authorizer: MockAuthorizer) -> Guard {
    Guard::new(Some(Arc::new(authorizer)), AgentScope::Own, Arc::new(MockTaskRepository::new()))
}

fn answering(answer: impl Fn(Operation) -> Result<Decision, AuthzError> + Send + Sync + 'static) -> Guard {
    let mut authorizer = MockAuthorizer::new();
    authorizer.expect_check().returning(move |_, operation, _| answer(operation));
    guard(authorizer)
}

/// An authorizer that allows some operations and writes down what it is asked.
fn recording(allowed: &'static [Operation]) -> (Guard, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    let mut authorizer = MockAuthorizer::new();
    authorizer.expect_check().returning(move |_, operation, resource| {
        log.lock().unwrap().push(format!("{operation} {}", resource.kind));
        Ok(if allowed.contains(&operation) { Decision::Allow } else { Decision::Deny })
    });
    (guard(authorizer), asked)
}

fn kinds() -> [ResourceRef; 4] {
    [ResourceRef::agent("r"), ResourceRef::task("r"), ResourceRef::api_key("r"), ResourceRef::schedule("r")]
}

async fn outcome(guard: &Guard, operation: Operation) -> Result<(), Error> {
    guard.require(&alice(), operation, ResourceRef::task("t"), Absent::Id("t".into())).await
}

/// authz §7: 66, 67, 68, 69
#[tokio::test]
async fn every_kind_is_allowed_forbidden_or_absent_with_no_more_questions_than_needed() {
    for resource in kinds() {
        let kind = resource.kind;
        for (allowed, operation, expected, questions) in [
            (&[Operation::Update][..], Operation::Update, "allowed", vec![format!("update {kind}")]),
            (&[Operation::Read], Operation::Read, "allowed", vec![format!("read {kind}")]),
            (&[], Operation::Read, "absent", vec![format!("read {kind}")]),
            (
                &[Operation::Read],
                Operation::Update,
                "forbidden",
                vec![format!("update {kind}"), format!("read {kind}")],
            ),
            (&[], Operation::Update, "absent", vec![format!("update {kind}"), format!("read {kind}")]),
        ] {
            let (guard, asked) = recording(allowed);

            let outcome = guard.require(&alice(), operation, resource.clone(), Absent::Id("r".into())).await;

            let outcome = match outcome {
                Ok(()) => "allowed",
                Err(Error::Forbidden { operation: refused, .. }) if refused == operation => "forbidden",
                Err(Error::NotFound(Absent::Id(id))) if id == "r" => "absent",
                Err(other) => panic!("{other:?}"),
            };
            assert_eq!((outcome, &*asked.lock().unwrap()), (expected, &questions), "{kind} {operation}");
        }
    }
}

/// authz §7: 70, 71
#[tokio::test]
async fn an_outage_is_neither_absence_nor_permission() {
    let down = || Err(AuthzError::Unavailable("down".into()));
    let mut authorizer = MockAuthorizer::new();
    authorizer.expect_check().once().returning(move |_, _, _| down());
    let first = guard(authorizer);
    let follow_up = answering(move |operation| if operation == Operation::Read { down() } else { Ok(Decision::Deny) });

    for guard in [first, follow_up] {
        let refused = outcome(&guard, Operation::Update).await;
        assert!(matches!(refused, Err(Error::Authz(AuthzError::Unavailable(_)))), "{refused:?}");
    }
}

#[tokio::test]
async fn what_is_hidden_and_what_is_absent_cost_the_same_questions() {
    let of = async |found: Option<&str>, typed: Option<&str>, operation| {
        let (guard, asked) = recording(&[]);
        let absent = Absent::Name("n".into());
        let sought = Sought { kind: ResourceKind::Task, found, typed, absent };
        let refused = guard.require_sought(&alice(), operation, sought).await;
        assert!(matches!(refused, Err(Error::NotFound(Absent::Name(_)))), "{refused:?}");
        asked.lock().unwrap().clone()
    };
    for operation in [Operation::Read, Operation::Update, Operation::Cancel] {
        assert_eq!(of(Some("t"), None, operation).await, of(None, None, operation).await);
        assert_eq!(of(Some("t"), Some("t"), operation).await, of(None, Some("t"), operation).await);
    }
}

#[tokio::test]
async fn an_absent_thing_stays_absent_for_somebody_who_may_do_anything() {
    let guard = answering(|_| Ok(Decision::Allow));
    for typed in [Some("t"), Some("*"), Some(""), None] {
        let sought = Sought { kind: ResourceKind::Task, found: None, typed, absent: Absent::Id("t".into()) };

        let refused = guard.require_sought(&alice(), Operation::Update, sought).await;

        assert!(matches!(refused, Err(Error::NotFound(_))), "{refused:?}");
    }
}

#[tokio::test]
async fn a_wildcard_or_an_empty_id_never_reaches_the_backend() {
    for typed in ["*", ""] {
        let mut authorizer = MockAuthorizer::new();
        authorizer.expect_check().times(2).returning(|_, _, resource| {
            assert_eq!(resource.selector, NOTHING);
            Ok(Decision::Deny)
        });
        let absent = Absent::Id(typed.to_owned());
        let sought = Sought { kind: ResourceKind::Task, found: None, typed: Some(typed), absent };

        assert!(guard(authorizer).require_sought(&alice(), Operation::Update, sought).await.is_err());
    }
}

#[tokio::test]
async fn an_answer_that_misses_a_check_is_an_error() {
    let mut authorizer = MockAuthorizer::new();
    authorizer.expect_check_many().returning(|_, _| Ok(vec![Decision::Allow]));
    let needs = vec![Need::create(ResourceKind::Task), Need::create(ResourceKind::Agent)];

    let refused = guard(authorizer).require_all(&alice(), needs).await;

    assert!(matches!(refused, Err(Error::Authz(AuthzError::Protocol(_)))), "{refused:?}");
}

#[tokio::test]
async fn creating_a_kind_is_forbidden_without_a_second_question() {
    let mut authorizer = MockAuthorizer::new();
    authorizer.expect_check().once().returning(|_, _, _| Ok(Decision::Deny));

    let refused = guard(authorizer).require_create(&alice(), ResourceKind::Agent).await;

    assert!(matches!(refused, Err(Error::Forbidden { .. })), "{refused:?}");
}

/// authz §7: 75
#[tokio::test]
async fn without_an_authorizer_and_for_an_agent_of_full_scope_nothing_is_asked() {
    let off = Guard::new(None, AgentScope::Own, Arc::new(MockTaskRepository::new()));
    let mut authorizer = MockAuthorizer::new();
    authorizer.expect_check().never();
    authorizer.expect_list_resources().never();
    let full = Guard::new(Some(Arc::new(authorizer)), AgentScope::All, Arc::new(MockTaskRepository::new()));

    for (guard, caller) in [(off, Caller::Anonymous), (full, Caller::agent("a".into()))] {
        for resource in kinds() {
            let kind = resource.kind;
            guard.require(&caller, Operation::Delete, resource, Absent::Id("r".into())).await.unwrap();
            let Visible { scope, linked_to } = guard.visible(&caller, kind).await.unwrap();
            assert_eq!((scope, linked_to), (Scope::All, None));
        }
    }
}

fn linked_to_a(authorizer: MockAuthorizer) -> Guard {
    let mut tasks = MockTaskRepository::new();
    tasks.expect_is_linked().returning(|task, agent| Ok(task.as_str() == "linked" && agent.as_str() == "a"));
    Guard::new(Some(Arc::new(authorizer)), AgentScope::Own, Arc::new(tasks))
}

#[tokio::test]
async fn an_agent_by_itself_reaches_itself_and_its_tasks_only() {
    use Operation::{Cancel, Create, Delete, Execute, Read, Update};
    let guard = linked_to_a(MockAuthorizer::new());
    let every = [Create, Read, Update, Delete, Execute, Cancel];
    for (resource, allowed) in [
        (ResourceRef::agent("a"), &[Read, Execute][..]),
        (ResourceRef::agent("b"), &[]),
        (ResourceRef::task("linked"), &[Read, Update, Execute]),
        (ResourceRef::task("foreign"), &[]),
        (ResourceRef::api_key("k"), &[]),
        (ResourceRef::schedule("s"), &[]),
    ] {
        for operation in every.into_iter().filter(|operation| *operation != Create) {
            let may = guard.may(&Caller::agent("a".into()), operation, &resource).await.unwrap();
            assert_eq!(may, allowed.contains(&operation), "{operation} {resource}");
        }
    }

    let see = async |kind| {
        let Visible { scope, linked_to } = guard.visible(&Caller::agent("a".into()), kind).await.unwrap();
        (scope, linked_to)
    };
    let only = |ids: &[&str]| Scope::Only(ids.iter().map(|id| (*id).to_owned()).collect());
    assert_eq!(see(ResourceKind::Agent).await, (only(&["a"]), None));
    assert_eq!(see(ResourceKind::Task).await, (Scope::All, Some("a".into())));
    assert_eq!(see(ResourceKind::ApiKey).await, (only(&[]), None));
    assert_eq!(see(ResourceKind::Schedule).await, (only(&[]), None));
}

#[tokio::test]
async fn an_agent_may_do_what_the_user_may_whose_credential_it_passes_on_but_never_manages() {
    let mut authorizer = MockAuthorizer::new();
    authorizer.expect_check().returning(|principal, _, resource| {
        assert_eq!(principal.user_id(), Some("alice"));
        Ok(if resource.selector == "other" { Decision::Allow } else { Decision::Deny })
    });
    let guard = linked_to_a(authorizer);
    let acting = Principal::from_json(json!({"user_id": "alice"}));
    let caller = Caller::Agent { id: "a".into(), acting: Some(acting) };
    let may = async |operation, resource: ResourceRef| guard.may(&caller, operation, &resource).await.unwrap();

    assert!(may(Operation::Execute, ResourceRef::agent("other")).await);
    assert!(may(Operation::Cancel, ResourceRef::task("other")).await);
    assert!(may(Operation::Update, ResourceRef::task("linked")).await, "its own scope stays");
    assert!(!may(Operation::Execute, ResourceRef::agent("third")).await);
    for operation in [Operation::Update, Operation::Delete] {
        assert!(!may(operation, ResourceRef::agent("other")).await, "{operation}");
        assert!(!may(operation, ResourceRef::api_key("other")).await, "{operation}");
        assert!(!may(operation, ResourceRef::schedule("other")).await, "{operation}");
    }
}
