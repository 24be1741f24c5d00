//! What every `RelationshipStore` must do, and what embedded authorization makes of it.
//!
//! An adapter runs all of it with [`relationship_contract!`](crate::relationship_contract). Each case gets an empty,
//! migrated store of its own.

#![expect(missing_docs, reason = "the names of the cases are the sentences")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use agentex_authz::local::{
    Change, Changes, GraphAuthorizer, Precondition, RelationshipStore, RelationshipStoreError, Revision, Snapshot,
    StoreUse, Write, Written,
};
use agentex_authz::model::{Object, Relationship, Subject};
use agentex_authz::{Authorizer, AuthzError, Decision, Operation, Principal, ResourceKind, ResourceRef, Scope};
use futures::future::{FutureExt, join_all};
use serde_json::json;
use tokio::sync::Notify;

type Store = Arc<dyn RelationshipStore>;

/// Runs the contract against one adapter: one test per case.
///
/// The argument is evaluated in each test and yields `(Arc<dyn RelationshipStore>, guard)`; the guard lives as long as
/// the test. The calling crate needs `tokio` with `macros` and `rt-multi-thread`.
#[macro_export]
macro_rules! relationship_contract {
    ($setup:expr) => {
        $crate::relationship_contract! { @cases $setup;
            a_new_store_is_empty
            what_is_written_is_loaded_as_it_is
            names_and_ids_are_data
            a_write_that_changes_nothing_moves_no_revision
            touching_an_edge_with_another_caveat_replaces_it
            removals_come_before_additions
            clearing_an_object_leaves_those_that_point_at_it
            a_failed_precondition_changes_nothing
            a_relation_may_be_held_by_the_subject_itself
            writes_that_come_together_happen_one_after_the_other
            many_who_write_at_once_each_get_their_own_answer
            of_concurrent_first_owners_one_wins
            following_the_changes_leads_to_what_is_there
            nobody_who_follows_concurrent_writers_misses_a_write
            a_revision_that_never_was_means_reload
            two_authorizers_on_one_store_see_each_others_writes_at_once
            a_write_that_changed_nothing_does_not_hide_one_that_did
            a_write_whose_answer_was_lost_is_seen
            a_store_that_cannot_be_asked_is_an_error_and_never_a_decision
            a_caller_that_stops_waiting_does_not_stop_the_write
            rows_that_the_model_does_not_admit_give_no_access
            what_was_registered_is_there_for_the_next_process
        }
    };
    (@cases $setup:expr; $($case:ident)+) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                let (store, _guard) = $setup;
                $crate::contract::relationships::$case(&store).await;
            }
        )+
    };
}

/// `task:t#owner@user:u`, `…@group:g#member`, with the account of a caveat as a trailing `[account]`.
fn edge(text: &str) -> Relationship {
    let (text, acting_in) = match text.strip_suffix(']').and_then(|text| text.split_once('[')) {
        Some((text, account)) => (text, Some(account.into())),
        None => (text, None),
    };
    let (resource, subject) = text.split_once('@').unwrap();
    let (resource, relation) = resource.split_once('#').unwrap();
    let subject = match subject.split_once('#') {
        Some((of, relation)) => Subject { object: object(of), relation: Some(relation.into()) },
        None => Subject::object(object(subject)),
    };
    Relationship { resource: object(resource), relation: relation.into(), subject, acting_in }
}

fn object(text: &str) -> Object {
    let (kind, id) = text.split_once(':').unwrap();
    Object::new(kind, id)
}

fn edges(texts: &[&str]) -> BTreeSet<Relationship> {
    texts.iter().map(|text| edge(text)).collect()
}

fn touching(texts: &[&str]) -> Write {
    Write { touch: texts.iter().map(|text| edge(text)).collect(), ..Write::default() }
}

fn free_or_held_by(text: &str) -> Precondition {
    let Relationship { resource, relation, subject, .. } = edge(text);
    Precondition::FreeOrHeldBy { resource, relation: relation.to_string(), subject }
}

async fn write(store: &Store, write: Write) -> Revision {
    match store.write(&write).await.unwrap() {
        Written::Changed(revision) | Written::Unchanged(revision) => revision,
        Written::PreconditionFailed => panic!("a write without preconditions was refused"),
    }
}

async fn everything(store: &Store) -> BTreeSet<Relationship> {
    let Snapshot { relationships, .. } = store.load().await.unwrap();
    let count = relationships.len();
    let set: BTreeSet<_> = relationships.into_iter().collect();
    assert_eq!(set.len(), count, "each is there once");
    set
}

fn apply(state: &mut BTreeSet<Relationship>, change: Change) {
    let (Change::Touched(edge) | Change::Removed(edge)) = &change;
    state.retain(|known| {
        (&known.resource, &known.relation, &known.subject) != (&edge.resource, &edge.relation, &edge.subject)
    });
    if let Change::Touched(edge) = change {
        state.insert(edge);
    }
}

pub async fn a_new_store_is_empty(store: &Store) {
    let Snapshot { relationships, revision } = store.load().await.unwrap();

    assert_eq!(relationships, []);
    assert_eq!(store.revision().await.unwrap(), revision);
    assert_eq!(store.changes_since(revision).await.unwrap(), Changes::Since { changes: Vec::new(), revision });
}

pub async fn what_is_written_is_loaded_as_it_is(store: &Store) {
    let texts = [
        "task:t#owner@user:u",
        "task:t#owner@service_account:u",
        "task:t#viewer@group:g#member",
        "task:t#viewer@group:g",
        "account:a#member@user:*[a]",
        "agent_schedule:run-schedule::a::b#owner@user:u",
    ];

    let revision = write(store, touching(&texts)).await;

    assert_eq!(everything(store).await, edges(&texts));
    assert_eq!(store.load().await.unwrap().revision, revision);
    assert_eq!(store.revision().await.unwrap(), revision);
}

pub async fn names_and_ids_are_data(store: &Store) {
    let long = "x".repeat(1024);
    let odd =
        ["it's \"so\"", "'; DROP TABLE tasks; --", "grüße 🎈", "*", "%", "a b", "{}", "\\", "NULL", long.as_str()];
    let odd_edge = |id: &str| Relationship {
        resource: Object::new("task", id),
        relation: "owner".into(),
        subject: Subject::object(Object::new("user", id)),
        acting_in: Some(id.into()),
    };
    let touch: Vec<_> = odd.iter().map(|id| odd_edge(id)).collect();

    write(store, Write { touch: touch.clone(), ..Write::default() }).await;

    assert_eq!(everything(store).await, touch.iter().cloned().collect());
    for edge in touch {
        write(store, Write { remove: vec![edge], ..Write::default() }).await;
    }
    assert_eq!(everything(store).await, BTreeSet::new());
}

pub async fn a_write_that_changes_nothing_moves_no_revision(store: &Store) {
    let first = write(store, touching(&["task:t#owner@user:u", "account:a#member@user:*[a]"])).await;

    for repeated in [
        touching(&["task:t#owner@user:u", "account:a#member@user:*[a]"]),
        Write { remove: vec![edge("task:t#owner@user:other")], ..Write::default() },
        Write { clear: vec![object("task:other")], ..Write::default() },
        Write::default(),
    ] {
        assert_eq!(store.write(&repeated).await.unwrap(), Written::Unchanged(first), "{repeated:?}");
    }
    assert_eq!(store.revision().await.unwrap(), first);
    let next = store.write(&touching(&["task:u#owner@user:u"])).await.unwrap();
    assert_eq!(next, Written::Changed(first.next()));
}

pub async fn touching_an_edge_with_another_caveat_replaces_it(store: &Store) {
    write(store, touching(&["account:a#member@user:*[a]"])).await;
    let before = store.revision().await.unwrap();

    write(store, touching(&["account:a#member@user:*[b]"])).await;
    assert_eq!(everything(store).await, edges(&["account:a#member@user:*[b]"]));
    // Of two in one write the last counts, and nobody sees the first.
    write(store, touching(&["account:a#member@user:*[c]", "account:a#member@user:*"])).await;
    assert_eq!(everything(store).await, edges(&["account:a#member@user:*"]));

    let Changes::Since { changes, .. } = store.changes_since(before).await.unwrap() else { panic!("forgotten") };
    let mut state = edges(&["account:a#member@user:*[a]"]);
    changes.into_iter().for_each(|change| apply(&mut state, change));
    assert_eq!(state, edges(&["account:a#member@user:*"]));
}

pub async fn removals_come_before_additions(store: &Store) {
    write(store, touching(&["task:t#owner@user:u", "task:t#viewer@user:v"])).await;

    write(
        store,
        Write {
            clear: vec![object("task:t")],
            remove: vec![edge("task:t#owner@user:u")],
            ..touching(&["task:t#owner@user:u", "task:t#editor@user:e"])
        },
    )
    .await;

    assert_eq!(everything(store).await, edges(&["task:t#owner@user:u", "task:t#editor@user:e"]));
}

pub async fn clearing_an_object_leaves_those_that_point_at_it(store: &Store) {
    write(
        store,
        touching(&[
            "agent:a#owner@user:u",
            "agent:a#viewer@group:g#member",
            "agent:ab#owner@user:u",
            "task:a#owner@user:u",
            "task:t#parent_agent@agent:a",
        ]),
    )
    .await;

    write(store, Write { clear: vec![object("agent:a"), object("agent:a")], ..Write::default() }).await;

    let rest = edges(&["agent:ab#owner@user:u", "task:a#owner@user:u", "task:t#parent_agent@agent:a"]);
    assert_eq!(everything(store).await, rest);
}

pub async fn a_failed_precondition_changes_nothing(store: &Store) {
    let revision = write(store, touching(&["task:t#owner@user:u"])).await;

    let refused = Write {
        preconditions: vec![free_or_held_by("task:free#owner@user:v"), free_or_held_by("task:t#owner@user:v")],
        clear: vec![object("task:t")],
        ..touching(&["task:t#owner@user:v"])
    };

    assert_eq!(store.write(&refused).await.unwrap(), Written::PreconditionFailed);
    assert_eq!(everything(store).await, edges(&["task:t#owner@user:u"]));
    assert_eq!(store.revision().await.unwrap(), revision);
}

pub async fn a_relation_may_be_held_by_the_subject_itself(store: &Store) {
    write(store, touching(&["task:t#owner@user:u", "task:t#owner@user:w", "task:t#viewer@group:g#member"])).await;
    let outcome = async |text| {
        let write = Write { preconditions: vec![free_or_held_by(text)], ..Write::default() };
        store.write(&write).await.unwrap() != Written::PreconditionFailed
    };

    for holds in ["task:t#owner@user:u", "task:t#owner@user:w", "task:t#editor@user:v", "task:t#viewer@group:g#member"]
    {
        assert!(outcome(holds).await, "{holds}");
    }
    for fails in ["task:t#owner@user:v", "task:t#owner@service_account:u", "task:t#viewer@group:g"] {
        assert!(!outcome(fails).await, "{fails}");
    }
}

pub async fn writes_that_come_together_happen_one_after_the_other(store: &Store) {
    let start = store.revision().await.unwrap();
    let owned_by = |owner: &str| {
        let text = format!("task:t#owner@user:{owner}");
        Write {
            preconditions: vec![free_or_held_by(&text)],
            ..touching(&[&text, &format!("task:{owner}#owner@user:x")])
        }
    };
    let removing = Write { remove: vec![edge("task:t#owner@user:one")], ..Write::default() };
    let clearing = Write { clear: vec![object("task:one")], ..touching(&["task:one#viewer@user:y"]) };
    let writes = [owned_by("one"), owned_by("one"), owned_by("two"), removing, owned_by("three"), clearing];

    let answers = store.write_all(&writes).await.unwrap();

    let (first, second) = (start.next(), start.next().next());
    let (third, fourth) = (second.next(), second.next().next());
    assert_eq!(
        answers,
        [
            Written::Changed(first),
            Written::Unchanged(first),
            Written::PreconditionFailed,
            Written::Changed(second),
            Written::Changed(third),
            Written::Changed(fourth),
        ]
    );
    assert_eq!(
        everything(store).await,
        edges(&["task:t#owner@user:three", "task:three#owner@user:x", "task:one#viewer@user:y"])
    );
    let Changes::Since { changes, revision } = store.changes_since(start).await.unwrap() else { panic!("forgotten") };
    let mut followed = BTreeSet::new();
    changes.into_iter().for_each(|change| apply(&mut followed, change));
    assert_eq!((followed, revision), (everything(store).await, fourth));
    assert_eq!(store.write_all(&[]).await.unwrap(), []);
}

/// They share their visits to the store, but not what becomes of them.
pub async fn many_who_write_at_once_each_get_their_own_answer(store: &Store) {
    let authorizer = open(store, StoreUse::Shared).await;
    let other = open(store, StoreUse::Shared).await;
    let task = |number: usize| ResourceRef::task(format!("t{}", number / 2));
    let owner = |number: usize| if number.is_multiple_of(2) { alice() } else { bob() };
    let (authorizer, other) = (&authorizer, &other);

    let registered = join_all((0..200).map(|number| async move {
        let through = if number % 3 == 0 { other } else { authorizer };
        let registered = through.register(&owner(number), &task(number), None).await;
        let holds = may_read(through, &owner(number), &task(number)).await;
        assert_eq!(registered.is_ok(), holds, "{number}: {registered:?}");
        registered
    }))
    .await;

    for (number, pair) in registered.chunks(2).enumerate() {
        let refused = pair.iter().filter(|one| matches!(one, Err(AuthzError::Refused))).count();
        assert_eq!((refused, pair.iter().filter(|one| one.is_ok()).count()), (1, 1), "t{number}: {pair:?}");
    }
}

pub async fn of_concurrent_first_owners_one_wins(store: &Store) {
    let attempts = (0..16).map(|index| {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            let owner = format!("task:t#owner@user:{index}");
            let write = Write { preconditions: vec![free_or_held_by(&owner)], ..touching(&[&owner]) };
            (store.write(&write).await.unwrap() != Written::PreconditionFailed).then_some(owner)
        })
    });

    let winners: Vec<String> = join_all(attempts).await.into_iter().filter_map(Result::unwrap).collect();

    assert_eq!(winners.len(), 1, "{winners:?}");
    assert_eq!(everything(store).await, edges(&[&winners[0]]));
}

pub async fn following_the_changes_leads_to_what_is_there(store: &Store) {
    let mut seen = store.revision().await.unwrap();
    let mut state = BTreeSet::new();
    let writes = [
        touching(&["task:t#owner@user:u", "task:t#viewer@user:v"]),
        Write { remove: vec![edge("task:t#viewer@user:v")], ..touching(&["task:u#owner@user:u[a]"]) },
        touching(&["task:u#owner@user:u"]),
        Write { clear: vec![object("task:t")], ..touching(&["task:t#owner@user:v"]) },
    ];

    for step in writes {
        let written = write(store, step).await;
        let Changes::Since { changes, revision } = store.changes_since(seen).await.unwrap() else {
            panic!("forgotten")
        };
        assert_eq!(revision, written);
        changes.into_iter().for_each(|change| apply(&mut state, change));
        assert_eq!(state, everything(store).await);
        seen = revision;
    }
}

/// A revision that becomes visible after a later one would be skipped by whoever read in between.
pub async fn nobody_who_follows_concurrent_writers_misses_a_write(store: &Store) {
    const WRITERS: usize = 6;
    const WRITES: usize = 20;
    let start = store.revision().await.unwrap();
    let end = Revision(start.0 + i64::try_from(WRITERS * WRITES).unwrap());
    let writers = (0..WRITERS).map(|writer| {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            for index in 0..WRITES {
                write(&store, touching(&[&format!("task:{writer}-{index}#owner@user:u")])).await;
            }
        })
    });
    let following = async {
        let (mut seen, mut state) = (start, BTreeSet::new());
        while seen < end {
            let Changes::Since { changes, revision } = store.changes_since(seen).await.unwrap() else {
                panic!("forgotten")
            };
            changes.into_iter().for_each(|change| apply(&mut state, change));
            seen = revision;
        }
        (seen, state)
    };

    let (written, (seen, state)) = futures::join!(join_all(writers), following);

    written.into_iter().for_each(|writer| writer.unwrap());
    assert_eq!(seen, end);
    assert_eq!(state.len(), WRITERS * WRITES);
    assert_eq!(state, everything(store).await);
}

pub async fn a_revision_that_never_was_means_reload(store: &Store) {
    let revision = write(store, touching(&["task:t#owner@user:u"])).await;

    assert_eq!(store.changes_since(revision.next()).await.unwrap(), Changes::Reload);
    assert_eq!(store.changes_since(Revision(-1)).await.unwrap(), Changes::Reload);
}

async fn open(store: &Store, store_use: StoreUse) -> GraphAuthorizer {
    GraphAuthorizer::open(Arc::clone(store), store_use).await.unwrap()
}

fn alice() -> Principal {
    Principal::from_json(json!({"user_id": "alice", "account_id": "acme"}))
}

fn bob() -> Principal {
    Principal::from_json(json!({"user_id": "bob", "account_id": "acme"}))
}

async fn may_read(authorizer: &GraphAuthorizer, who: &Principal, task: &ResourceRef) -> bool {
    authorizer.check(who, Operation::Read, task).await.unwrap() == Decision::Allow
}

pub async fn two_authorizers_on_one_store_see_each_others_writes_at_once(store: &Store) {
    let (one, other) = (open(store, StoreUse::Shared).await, open(store, StoreUse::Shared).await);
    let task = ResourceRef::task("t");

    for _ in 0..3 {
        one.register(&alice(), &task, None).await.unwrap();
        assert!(may_read(&other, &alice(), &task).await);
        other.grant(&bob(), Operation::Read, &task).await.unwrap();
        assert!(may_read(&one, &bob(), &task).await);
        let seen = one.list_resources(&bob(), ResourceKind::Task, Operation::Read).await.unwrap();
        assert_eq!(seen, Scope::Only(["t".to_owned()].into()));
        one.revoke(&bob(), Operation::Read, &task).await.unwrap();
        assert!(!may_read(&other, &bob(), &task).await);
        other.deregister(&alice(), &task).await.unwrap();
        assert!(!may_read(&one, &alice(), &task).await);
    }
}

/// A store that keeps the answer to its first write back until it is told to give it.
struct HoldingBack {
    inner: Store,
    first: AtomicBool,
    held: Notify,
    release: Notify,
}

impl HoldingBack {
    fn over(inner: &Store) -> Arc<Self> {
        let first = AtomicBool::new(true);
        Arc::new(Self { inner: Arc::clone(inner), first, held: Notify::new(), release: Notify::new() })
    }
}

#[async_trait::async_trait]
impl RelationshipStore for HoldingBack {
    async fn load_each(&self, each: &mut (dyn FnMut(Relationship) + Send)) -> Result<Revision, RelationshipStoreError> {
        self.inner.load_each(each).await
    }

    async fn revision(&self) -> Result<Revision, RelationshipStoreError> {
        self.inner.revision().await
    }

    async fn changes_since(&self, seen: Revision) -> Result<Changes, RelationshipStoreError> {
        self.inner.changes_since(seen).await
    }

    async fn write_all(&self, writes: &[Write]) -> Result<Vec<Written>, RelationshipStoreError> {
        let written = self.inner.write_all(writes).await;
        if self.first.swap(false, Ordering::SeqCst) {
            self.held.notify_one();
            self.release.notified().await;
        }
        written
    }
}

/// The second write is answered with the revision of the first, whose answer is still on its way.
pub async fn a_write_that_changed_nothing_does_not_hide_one_that_did(store: &Store) {
    let task = ResourceRef::task("t");
    open(store, StoreUse::Exclusive).await.register(&alice(), &task, None).await.unwrap();
    let holding = HoldingBack::over(store);
    let authorizer = Arc::new(GraphAuthorizer::open(holding.clone(), StoreUse::Exclusive).await.unwrap());

    let granting = tokio::spawn({
        let (authorizer, task) = (Arc::clone(&authorizer), task.clone());
        async move { authorizer.grant(&bob(), Operation::Read, &task).await }
    });
    holding.held.notified().await;
    authorizer.grant(&alice(), Operation::Create, &task).await.unwrap();
    holding.release.notify_one();
    granting.await.unwrap().unwrap();

    assert!(may_read(&authorizer, &bob(), &task).await);
    assert!(may_read(&authorizer, &alice(), &task).await);
}

/// A store that, while it fails, does what it is told and loses the answers.
struct LosingAnswers {
    inner: Store,
    failing: AtomicBool,
    reads_too: AtomicBool,
}

impl LosingAnswers {
    fn new(inner: &Store) -> Arc<Self> {
        Arc::new(Self { inner: Arc::clone(inner), failing: AtomicBool::default(), reads_too: AtomicBool::default() })
    }

    fn pass<T>(&self, answer: T, write: bool) -> Result<T, RelationshipStoreError> {
        if self.failing.load(Ordering::SeqCst) && (write || self.reads_too.load(Ordering::SeqCst)) {
            return Err(RelationshipStoreError::Unavailable("the answer was lost".into()));
        }
        Ok(answer)
    }
}

#[async_trait::async_trait]
impl RelationshipStore for LosingAnswers {
    async fn load_each(&self, each: &mut (dyn FnMut(Relationship) + Send)) -> Result<Revision, RelationshipStoreError> {
        self.pass(self.inner.load_each(each).await?, false)
    }

    async fn revision(&self) -> Result<Revision, RelationshipStoreError> {
        self.pass(self.inner.revision().await?, false)
    }

    async fn changes_since(&self, seen: Revision) -> Result<Changes, RelationshipStoreError> {
        self.pass(self.inner.changes_since(seen).await?, false)
    }

    async fn write_all(&self, writes: &[Write]) -> Result<Vec<Written>, RelationshipStoreError> {
        self.pass(self.inner.write_all(writes).await?, true)
    }
}

/// Otherwise a revocation whose answer was lost would leave the permission in memory for ever.
pub async fn a_write_whose_answer_was_lost_is_seen(store: &Store) {
    let losing = LosingAnswers::new(store);
    let authorizer = GraphAuthorizer::open(losing.clone(), StoreUse::Exclusive).await.unwrap();
    let task = ResourceRef::task("t");
    authorizer.register(&alice(), &task, None).await.unwrap();
    authorizer.grant(&bob(), Operation::Read, &task).await.unwrap();
    assert!(may_read(&authorizer, &bob(), &task).await);

    losing.failing.store(true, Ordering::SeqCst);
    let lost = authorizer.revoke(&bob(), Operation::Read, &task).await;

    assert!(matches!(lost, Err(AuthzError::Unavailable(_))), "{lost:?}");
    assert!(!may_read(&authorizer, &bob(), &task).await);
    // While nothing is known for certain, an outage is no decision.
    losing.reads_too.store(true, Ordering::SeqCst);
    assert!(authorizer.check(&bob(), Operation::Read, &task).await.is_err());
    losing.failing.store(false, Ordering::SeqCst);
    authorizer.grant(&bob(), Operation::Read, &task).await.unwrap();
    losing.failing.store(true, Ordering::SeqCst);
    assert!(may_read(&authorizer, &bob(), &task).await, "settled, so that nobody is asked");
}

pub async fn a_store_that_cannot_be_asked_is_an_error_and_never_a_decision(store: &Store) {
    let losing = LosingAnswers::new(store);
    let authorizer = GraphAuthorizer::open(losing.clone(), StoreUse::Shared).await.unwrap();
    let task = ResourceRef::task("t");
    authorizer.register(&alice(), &task, None).await.unwrap();
    losing.reads_too.store(true, Ordering::SeqCst);
    losing.failing.store(true, Ordering::SeqCst);

    let check = authorizer.check(&alice(), Operation::Read, &task).await;
    let list = authorizer.list_resources(&alice(), ResourceKind::Task, Operation::Read).await;

    assert!(matches!(check, Err(AuthzError::Unavailable(_))), "{check:?}");
    assert!(matches!(list, Err(AuthzError::Unavailable(_))), "{list:?}");
    assert!(GraphAuthorizer::open(losing, StoreUse::Shared).await.is_err());
}

/// A client that disconnects drops the request's future wherever it is.
pub async fn a_caller_that_stops_waiting_does_not_stop_the_write(store: &Store) {
    let holding = HoldingBack::over(store);
    let authorizer = GraphAuthorizer::open(holding.clone(), StoreUse::Exclusive).await.unwrap();
    let task = ResourceRef::task("t");

    let polled_once = authorizer.register(&alice(), &task, None).now_or_never();

    assert!(polled_once.is_none(), "the write waits for the store");
    holding.held.notified().await;
    holding.release.notify_one();
    while !may_read(&authorizer, &alice(), &task).await {
        tokio::task::yield_now().await;
    }
    authorizer.grant(&bob(), Operation::Read, &task).await.unwrap();
    assert!(may_read(&authorizer, &bob(), &task).await);
}

pub async fn rows_that_the_model_does_not_admit_give_no_access(store: &Store) {
    let authorizer = open(store, StoreUse::Shared).await;
    let (task, other) = (ResourceRef::task("t"), ResourceRef::task("other"));
    authorizer.register(&alice(), &task, None).await.unwrap();

    let odd = ["task:t#owner@user:*", "task:t#viewer@agent:a", "account:acme#member@user:*", "widget:w#owner@user:bob"];
    write(store, touching(&odd)).await;

    assert!(!may_read(&authorizer, &bob(), &task).await);
    // It took the place of the relationship that limits the account to those who act in it.
    assert!(!may_read(&authorizer, &alice(), &task).await);
    assert!(!may_read(&open(store, StoreUse::Exclusive).await, &alice(), &task).await);
    assert!(!may_read(&authorizer, &alice(), &other).await);
}

pub async fn what_was_registered_is_there_for_the_next_process(store: &Store) {
    let before = open(store, StoreUse::Exclusive).await;
    let (agent, key) = (ResourceRef::agent("a"), ResourceRef::api_key("k"));
    before.register(&alice(), &agent, None).await.unwrap();
    before.register(&alice(), &key, Some(agent.clone())).await.unwrap();
    drop(before);

    let after = open(store, StoreUse::Exclusive).await;

    assert_eq!(after.check(&alice(), Operation::Delete, &key).await.unwrap(), Decision::Allow);
    let refused = after.register(&bob(), &agent, None).await;
    assert!(matches!(refused, Err(AuthzError::Refused)), "{refused:?}");
    let expected = edges(&[
        "account:acme#member@user:*[acme]",
        "account:acme#member@service_account:*[acme]",
        "agent:a#owner@user:alice",
        "agent:a#tenant@account:acme",
        "agent_api_key:k#owner@user:alice",
        "agent_api_key:k#tenant@account:acme",
        "agent_api_key:k#parent_agent@agent:a",
    ]);
    assert_eq!(everything(store).await, expected);
}
