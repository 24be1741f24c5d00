//! Orders and failure paths; what becomes of intents in real stores is shown by the stores' contract and by the crash tests.

use agentex_authz::MockAuthorizer;
use agentex_domain::ports::{MockIntentRepository, MockOwnerRepository, SystemClock};
use mockall::Sequence;
use serde_json::json;

use super::*;
use crate::testing::{Log, at};

fn alice() -> Principal {
    Principal::from_json(json!({"user_id": "alice", "account_id": "acme", "api_key": "s3cret"}))
}

fn task() -> ResourceRef {
    ResourceRef::task("t")
}

/// Everything that happens, in order; what is not set up to fail succeeds.
struct World {
    log: Log,
    fails: &'static [&'static str],
    /// Whether the intent is still registering when it is abandoned.
    abandoned: bool,
}

impl World {
    fn new(fails: &'static [&'static str]) -> Self {
        Self { log: Log::default(), fails, abandoned: true }
    }

    fn lifecycle(&self) -> Lifecycle {
        let mut authorizer = MockAuthorizer::new();
        let (log, fails) = (self.log.clone(), self.fails);
        let answer = move |verb: &'static str, who: &Principal| {
            assert_eq!(who.user_id(), Some("alice"));
            log.add(verb);
            if fails.contains(&verb) { Err(AuthzError::Unavailable("down".into())) } else { Ok(()) }
        };
        let called = answer.clone();
        authorizer.expect_register().returning(move |who, resource, parent| {
            assert_eq!((resource, parent), (&task(), Some(ResourceRef::agent("a"))));
            called("register", who)
        });
        let called = answer.clone();
        authorizer.expect_deregister().returning(move |who, _| called("deregister", who));
        let called = answer.clone();
        authorizer.expect_grant().returning(move |who, operation, _| {
            assert_eq!(operation, Operation::Create);
            called("grant", who)
        });
        authorizer.expect_revoke().returning(move |who, operation, _| {
            assert_eq!(operation, Operation::Delete);
            answer("revoke", who)
        });
        self.with(authorizer)
    }

    fn with(&self, authorizer: MockAuthorizer) -> Lifecycle {
        let mut intents = MockIntentRepository::new();
        let log = self.log.clone();
        intents.expect_open().returning(move |intent| {
            assert_eq!(*intent.owner.as_json(), json!({"user_id": "alice", "account_id": "acme"}));
            assert_eq!(intent.step, IntentStep::Registering);
            log.add("open");
            Ok(Opened::Done)
        });
        let log = self.log.clone();
        intents.expect_close().returning(move |_, step, _| {
            log.add(format!("close {}", step.as_str()));
            Ok(true)
        });
        let (log, abandoned) = (self.log.clone(), self.abandoned);
        intents.expect_abandon().returning(move |_, _| {
            log.add("abandon");
            Ok(abandoned)
        });
        let log = self.log.clone();
        intents.expect_failed().returning(move |_, why, _| {
            assert!(!why.contains("s3cret"));
            log.add("retry later");
            Ok(())
        });
        let log = self.log.clone();
        intents.expect_settle().returning(move |settlement| {
            log.add(format!("settle, then {}", settlement.then.as_str()));
            Ok(())
        });
        let log = self.log.clone();
        intents.expect_retire().returning(move |_, _| {
            log.add("retire");
            Ok(true)
        });
        let mut owners = MockOwnerRepository::new();
        owners.expect_find().returning(|_| Ok(None));
        let authorizer: Arc<dyn Authorizer> = Arc::new(authorizer);
        Lifecycle::new(
            Some(authorizer),
            Arc::new(intents),
            Arc::new(owners),
            Arc::new(SystemClock),
            RelaySettings::default(),
        )
    }

    async fn create(&self, written: Result<Written<()>, StoreError>) -> Result<Written<()>, Error> {
        self.create_with(&self.lifecycle(), written).await
    }

    async fn create_with(
        &self,
        lifecycle: &Lifecycle,
        written: Result<Written<()>, StoreError>,
    ) -> Result<Written<()>, Error> {
        let log = self.log.clone();
        let write = async move |settles: Option<Settlement>| {
            log.add(format!("insert, then {}", settles.unwrap().then.as_str()));
            written
        };
        lifecycle.create(Some(&alice()), &task(), Some(ResourceRef::agent("a")), write).await
    }
}

#[tokio::test]
async fn a_create_registers_before_and_grants_after_the_row() {
    let world = World::new(&[]);

    assert!(matches!(world.create(Ok(Written::Created(()))).await, Ok(Written::Created(()))));

    assert_eq!(world.log.entries(), ["open", "register", "insert, then granting", "grant", "close granting"]);
}

/// authz §7: 89, 153
/// tasks §10: 7
#[tokio::test]
async fn a_failed_registration_writes_no_row_and_leaves_its_clean_up_to_the_relay() {
    let world = World::new(&["register"]);

    let refused = world.create(Ok(Written::Created(()))).await;

    assert!(matches!(refused, Err(Error::Authz(AuthzError::Unavailable(_)))), "{refused:?}");
    assert_eq!(world.log.entries(), ["open", "register", "abandon"]);
}

#[tokio::test]
async fn a_registration_refused_because_somebody_else_owns_the_resource_is_never_taken_back() {
    let world = World::new(&[]);
    let mut authorizer = MockAuthorizer::new();
    authorizer.expect_register().returning(|_, _, _| Err(AuthzError::Refused));

    let refused = world.create_with(&world.with(authorizer), Ok(Written::Created(()))).await;

    assert!(matches!(refused, Err(Error::Authz(AuthzError::Refused))), "{refused:?}");
    assert_eq!(world.log.entries(), ["open", "close registering"]);
}

/// authz §7: 97, 98, 154
/// tasks §10: 6
#[tokio::test]
async fn a_failed_write_takes_the_registration_back_and_keeps_its_own_error() {
    for (fails, last) in [(&[][..], "close deregistering"), (&["deregister"], "retry later")] {
        let world = World::new(fails);

        let refused = world.create(Err(StoreError::Duplicate { what: "task" })).await;

        assert!(matches!(refused, Err(Error::Store(StoreError::Duplicate { .. }))), "{refused:?}");
        let expected = ["open", "register", "insert, then granting", "abandon", "deregister", last];
        assert_eq!(world.log.entries(), expected);
    }
}

/// A store may say that it failed although the row is there; then the intent is past registering.
#[tokio::test]
async fn a_row_that_was_written_although_the_store_failed_keeps_its_edges() {
    let world = World { abandoned: false, ..World::new(&[]) };

    let refused = world.create(Err(StoreError::Unavailable("cut".into()))).await;

    assert!(matches!(refused, Err(Error::Store(StoreError::Unavailable(_)))), "{refused:?}");
    assert_eq!(world.log.entries(), ["open", "register", "insert, then granting", "abandon"]);
}

#[tokio::test]
async fn a_create_that_took_so_long_that_it_was_given_up_is_an_outage() {
    let world = World { abandoned: false, ..World::new(&[]) };

    let refused = world.create(Err(StoreError::IntentLost)).await;

    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
}

/// authz §7: 90
#[tokio::test]
async fn the_loser_of_a_race_is_deregistered_and_never_granted() {
    let world = World::new(&[]);

    assert!(matches!(world.create(Ok(Written::Lost(()))).await, Ok(Written::Lost(()))));

    let expected = ["open", "register", "insert, then granting", "abandon", "deregister", "close deregistering"];
    assert_eq!(world.log.entries(), expected);
}

#[tokio::test]
async fn a_failed_grant_does_not_undo_the_create_and_is_repeated() {
    let world = World::new(&["grant"]);

    assert!(matches!(world.create(Ok(Written::Created(()))).await, Ok(Written::Created(()))));

    assert_eq!(world.log.entries(), ["open", "register", "insert, then granting", "grant", "retry later"]);
}

/// authz §7: 197
#[tokio::test]
async fn a_deferred_registration_does_not_hold_up_the_create() {
    let world = World::new(&[]);
    let mut authorizer = MockAuthorizer::new();
    authorizer.expect_register().returning(|_, _, _| Err(AuthzError::Deferred));
    authorizer.expect_grant().once().returning(|_, _, _| Ok(()));

    let created = world.create_with(&world.with(authorizer), Ok(Written::Created(()))).await;

    assert!(matches!(created, Ok(Written::Created(()))));
    assert_eq!(world.log.entries(), ["open", "insert, then registering_late", "retry later"]);
}

/// authz §7: 99
#[tokio::test]
async fn without_an_owner_or_without_authorization_only_the_row_is_written() {
    let off = Lifecycle::new(
        None,
        Arc::new(MockIntentRepository::new()),
        Arc::new(MockOwnerRepository::new()),
        Arc::new(SystemClock),
        RelaySettings::default(),
    );
    let on = World::new(&[]).with(MockAuthorizer::new());
    for (lifecycle, owner) in [(off, Some(alice())), (on, None)] {
        let write = async |settles: Option<Settlement>| {
            assert_eq!(settles, None);
            Err::<Written<()>, _>(StoreError::Duplicate { what: "task" })
        };

        let refused = lifecycle.create(owner.as_ref(), &task(), None, write).await;

        assert!(matches!(refused, Err(Error::Store(StoreError::Duplicate { .. }))), "{refused:?}");
    }
}

#[tokio::test]
async fn somebody_elses_revival_is_left_alone() {
    let world = World::new(&[]);
    let write = async |_| -> Result<Written<()>, StoreError> { panic!("must not be written") };

    let vacant = async { Ok(false) };
    let parent = Some(ResourceRef::agent("a"));
    let occupied = world.lifecycle().revive(Some(&alice()), &task(), parent, vacant, write).await;

    assert!(matches!(occupied, Ok(Revived::Occupied)), "{occupied:?}");
    assert_eq!(world.log.entries(), ["open", "close registering"]);
}

fn departing(owner: Principal) -> Intent {
    Intent {
        id: IntentId::generate(),
        resource: task(),
        parent: None,
        owner,
        step: IntentStep::Deregistering,
        attempts: 0,
        last_error: None,
        created_at: at(),
        due_at: at(),
    }
}

/// authz §7: 81, 82, 107, 160
/// agents §13: 39, 40
#[tokio::test]
async fn a_removed_resource_is_deregistered_then_revoked_and_what_fails_is_repeated() {
    for (fails, last) in [
        (&[][..], "close deregistering"),
        (&["deregister"], "retry later"),
        (&["revoke"], "retry later"),
        (&["deregister", "revoke"], "retry later"),
    ] {
        let world = World::new(fails);

        world.lifecycle().departed(&Caller::Principal(alice()), vec![departing(alice().identity())]).await;

        assert_eq!(world.log.entries(), ["deregister", "revoke", last]);
    }
}

struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        at()
    }
}

/// What the store is told about an attempt that failed for this reason: why, and how long to wait.
async fn after_a_failure(intent: Intent, error: fn() -> AuthzError) -> (String, Duration) {
    let mut authorizer = MockAuthorizer::new();
    authorizer.expect_grant().returning(move |_, _, _| Err(error()));
    authorizer.expect_register().returning(move |_, _, _| Err(error()));
    authorizer.expect_deregister().returning(move |_, _| Err(error()));
    authorizer.expect_revoke().returning(move |_, _, _| Err(error()));
    let (told, answer) = std::sync::mpsc::channel();
    let mut intents = MockIntentRepository::new();
    intents.expect_claim().return_once(move |_, _, _| Ok(vec![intent]));
    intents.expect_failed().once().returning(move |_, why, due_at| {
        told.send((why.to_owned(), due_at)).unwrap();
        Ok(())
    });
    let lifecycle = Lifecycle::new(
        Some(Arc::new(authorizer)),
        Arc::new(intents),
        Arc::new(MockOwnerRepository::new()),
        Arc::new(Stopped),
        RelaySettings::default(),
    );

    IntentRelay::new(lifecycle).run_due().await.unwrap();

    let (why, due_at) = answer.try_recv().unwrap();
    (why, Duration::from_micros(u64::try_from(due_at.as_micros() - at().as_micros()).unwrap()))
}

#[tokio::test]
async fn a_grant_that_is_refused_again_and_again_rests_and_one_that_fails_does_not() {
    use IntentStep::{Deregistering, Granting, RegisteringLate};

    let RelaySettings { longest_retry, refused_retry, .. } = RelaySettings::default();
    let down = || AuthzError::Unavailable("down".into());
    let refused = || AuthzError::Refused;
    let no_credential = || AuthzError::Unauthenticated;
    let intent = |step, attempts, last: AuthzError| Intent {
        step,
        attempts,
        last_error: Some(describe(&last)),
        ..departing(alice().identity())
    };

    for (step, error) in [(Granting, refused as fn() -> _), (RegisteringLate, refused), (Granting, no_credential)] {
        let (why, pause) = after_a_failure(intent(step, 4, error()), error).await;
        assert_eq!((why, pause), (format!("resting: {}", error()), refused_retry), "{step:?}");
    }
    // It stays at rest, although what is noted then is not what the service said.
    let resting = Intent { last_error: Some(format!("resting: {}", refused())), ..intent(Granting, 5, refused()) };
    assert_eq!(after_a_failure(resting, refused).await.1, refused_retry);

    for (why, intent, error) in [
        ("not often enough", intent(Granting, 3, refused()), refused as fn() -> _),
        ("an outage before", intent(Granting, 40, down()), refused),
        ("an outage", intent(Granting, 40, refused()), down),
        ("somebody may wait for the name", intent(Deregistering, 40, refused()), refused),
    ] {
        let (noted, pause) = after_a_failure(intent, error).await;
        assert!(!noted.contains("resting") && pause <= longest_retry, "{why}: {noted} {pause:?}");
    }
}

/// The one who deletes need not be the one who owns.
#[tokio::test]
async fn the_recorded_owners_grant_is_revoked_whoever_deletes() {
    let mut order = Sequence::new();
    let mut authorizer = MockAuthorizer::new();
    authorizer
        .expect_deregister()
        .once()
        .in_sequence(&mut order)
        .withf(|who, _| who.user_id() == Some("alice"))
        .returning(|_, _| Ok(()));
    authorizer
        .expect_revoke()
        .once()
        .in_sequence(&mut order)
        .withf(|who, _, _| who.user_id() == Some("bob"))
        .returning(|_, _, _| Ok(()));
    let world = World::new(&[]);

    let bob = Principal::from_json(json!({"user_id": "bob", "account_id": "acme"}));
    world.with(authorizer).departed(&Caller::Principal(alice()), vec![departing(bob)]).await;

    assert_eq!(world.log.entries(), ["close deregistering"]);
}

#[tokio::test]
async fn an_ownerless_resource_that_an_agent_deletes_has_nothing_to_revoke() {
    let mut authorizer = MockAuthorizer::new();
    authorizer.expect_deregister().once().returning(|_, _| Ok(()));
    authorizer.expect_revoke().never();
    let world = World::new(&[]);
    let agent = Caller::agent("a".into());

    let intent = departing(agent.principal().identity());
    world.with(authorizer).departed(&agent, vec![intent]).await;

    assert_eq!(world.log.entries(), ["close deregistering"]);
}

/// schedules §4: 5
#[tokio::test]
async fn what_cannot_be_registered_is_not_made_where_there_is_no_row_either() {
    let world = World::new(&["register"]);
    let write = std::future::poll_fn(|_| -> std::task::Poll<Elsewhere> { panic!("must not be made") });

    let refused = world.lifecycle().create_elsewhere(Some(&alice()), &task(), ResourceRef::agent("a"), write).await;

    assert!(matches!(refused, Err(Error::Authz(AuthzError::Unavailable(_)))), "{refused:?}");
    assert_eq!(world.log.entries(), ["open", "register", "abandon"]);
}

#[tokio::test]
async fn what_has_no_row_is_registered_made_settled_and_granted() {
    let world = World::new(&[]);
    let log = world.log.clone();
    let write = async move {
        log.add("make");
        Elsewhere::Done
    };

    world.lifecycle().create_elsewhere(Some(&alice()), &task(), ResourceRef::agent("a"), write).await.unwrap();

    let expected = ["open", "register", "make", "settle, then granting", "grant", "close granting"];
    assert_eq!(world.log.entries(), expected);
}

/// schedules §4: 10
#[tokio::test]
async fn a_removal_without_a_row_succeeds_whatever_becomes_of_its_edges() {
    for (fails, last) in [(&[][..], "close deregistering"), (&["deregister"], "retry later")] {
        let world = World::new(fails);
        let caller = Caller::Principal(alice());

        world.lifecycle().remove_elsewhere(&caller, &task(), async { Elsewhere::Done }).await.unwrap();

        assert_eq!(world.log.entries(), ["open", "retire", "deregister", "revoke", last]);
    }
}
