//! What every `StateRepository` must do.

#![expect(missing_docs, reason = "the names of the cases are the sentences")]

use std::collections::BTreeSet;

use agentex_domain::ports::{StateOrder, StoreError, Stores};
use agentex_domain::{AgentId, Direction, PageRequest, StateId, TaskId, TaskState};
use serde_json::{Value, json};

use super::stored::{delete, stored_task};
use super::task_items::{EVERYTHING, of_task};
use crate::build::{at, object};

const OLDEST_FIRST: (StateOrder, Direction) = (StateOrder::Insertion, Direction::Ascending);

fn state_at(task_id: &TaskId, agent: &str, state: Value, seconds: i64) -> TaskState {
    TaskState::new(task_id.clone(), AgentId::from(agent), object(state), at(seconds))
}

async fn stored(stores: &Stores, task_id: &TaskId, agent: &str, seconds: i64) -> TaskState {
    let state = state_at(task_id, agent, json!({"made": seconds}), seconds);
    assert!(stores.states.insert(&state).await.unwrap());
    state
}

async fn ids(stores: &Stores, order: StateOrder, direction: Direction) -> Vec<StateId> {
    let states = stores.states.list(&EVERYTHING, order, direction, PageRequest::default()).await.unwrap();
    states.into_iter().map(|state| state.id).collect()
}

pub async fn a_stored_state_reads_back_equal_whatever_it_holds(stores: &Stores) {
    let task_id = stored_task(stores).await;
    for held in [
        json!({}),
        json!({"n": 9_007_199_254_740_993_i64, "f": 1.5, "nothing": null, "list": [1, {"deep": [true]}]}),
        json!({"it's \"so\"": "\u{1F980}\n\t\\", "": ""}),
    ] {
        let state = state_at(&task_id, "anybody at all", held, 1);

        assert!(stores.states.insert(&state).await.unwrap());

        assert_eq!(stores.states.find(&state.id).await.unwrap(), Some(state));
    }
    assert_eq!(stores.states.find(&StateId::generate()).await.unwrap(), None);
}

pub async fn a_taken_state_id_is_refused(stores: &Stores) {
    let task_id = stored_task(stores).await;
    let state = stored(stores, &task_id, "a", 1).await;

    let refused = stores.states.insert(&TaskState { state: object(json!({"other": 1})), ..state.clone() }).await;

    assert!(matches!(refused, Err(StoreError::Duplicate { .. })), "{refused:?}");
    assert_eq!(stores.states.find(&state.id).await.unwrap(), Some(state));
}

pub async fn an_agent_may_keep_several_states_of_one_task(stores: &Stores) {
    let task_id = stored_task(stores).await;
    let (one, other) = (stored(stores, &task_id, "a", 1).await, stored(stores, &task_id, "a", 1).await);

    let (order, direction) = OLDEST_FIRST;
    assert_eq!(ids(stores, order, direction).await, [one.id, other.id]);
}

pub async fn an_absent_or_deleted_task_takes_no_state(stores: &Stores) {
    let deleted = stored_task(stores).await;
    delete(stores, &deleted).await;

    for task_id in [deleted, TaskId::generate()] {
        assert!(!stores.states.insert(&state_at(&task_id, "a", json!({}), 1)).await.unwrap());
    }
    let (order, direction) = OLDEST_FIRST;
    assert_eq!(ids(stores, order, direction).await, []);
}

pub async fn a_replacement_replaces_everything_but_the_ids_and_the_first_time(stores: &Stores) {
    let task_id = stored_task(stores).await;
    let (state, bystander) = (stored(stores, &task_id, "a", 1).await, stored(stores, &task_id, "a", 1).await);

    let replaced = stores.states.replace(&state.id, &object(json!({"b": 2})), None, at(5)).await.unwrap().unwrap();

    assert_eq!(replaced, TaskState { state: object(json!({"b": 2})), updated_at: at(5), ..state.clone() });
    assert_eq!(stores.states.find(&state.id).await.unwrap(), Some(replaced));
    assert_eq!(stores.states.find(&bystander.id).await.unwrap(), Some(bystander));
    assert_eq!(stores.states.replace(&StateId::generate(), &object(json!({})), None, at(6)).await.unwrap(), None);
}

pub async fn each_replacement_makes_another_version_and_only_the_one_named_is_replaced(stores: &Stores) {
    let task_id = stored_task(stores).await;
    let state = stored(stores, &task_id, "a", 5).await;
    let replace =
        async |changed_at, at| stores.states.replace(&state.id, &object(json!({})), changed_at, at).await.unwrap();

    // A clock that stands still, or is another's, does not make two versions alike.
    let first = replace(Some(at(5)), at(5)).await.unwrap();
    let second = replace(None, at(2)).await.unwrap();
    assert!(state.updated_at < first.updated_at && first.updated_at < second.updated_at, "{first:?} {second:?}");

    for outdated in [state.updated_at, first.updated_at, at(9)] {
        assert_eq!(replace(Some(outdated), at(9)).await, None);
    }
    assert_eq!(stores.states.find(&state.id).await.unwrap(), Some(second.clone()));
    assert_eq!(replace(Some(second.updated_at), at(9)).await.unwrap().updated_at, at(9));
}

pub async fn of_concurrent_replacements_of_one_version_one_happens(stores: &Stores) {
    let task_id = stored_task(stores).await;
    let state = stored(stores, &task_id, "a", 1).await;
    let writers = (0..8).map(|n| {
        let (stores, state) = (stores.clone(), state.clone());
        let content = object(json!({"n": n}));
        tokio::spawn(async move { stores.states.replace(&state.id, &content, Some(state.updated_at), at(1)).await })
    });

    let outcomes: Vec<_> =
        futures::future::join_all(writers).await.into_iter().map(|it| it.unwrap().unwrap()).collect();

    let won: Vec<TaskState> = outcomes.into_iter().flatten().collect();
    assert_eq!(won.len(), 1);
    assert_eq!(stores.states.find(&state.id).await.unwrap().as_ref(), won.first());
}

pub async fn a_deleted_state_is_answered_once_and_gone(stores: &Stores) {
    let task_id = stored_task(stores).await;
    let (state, bystander) = (stored(stores, &task_id, "a", 1).await, stored(stores, &task_id, "a", 1).await);

    assert_eq!(stores.states.delete(&state.id).await.unwrap(), Some(state.clone()));

    assert_eq!(stores.states.delete(&state.id).await.unwrap(), None);
    assert_eq!(stores.states.find(&state.id).await.unwrap(), None);
    assert_eq!(stores.states.find(&bystander.id).await.unwrap(), Some(bystander));
}

pub async fn states_of_a_deleted_task_are_absent(stores: &Stores) {
    let task_id = stored_task(stores).await;
    let state = stored(stores, &task_id, "a", 1).await;
    delete(stores, &task_id).await;

    assert_eq!(stores.states.find(&state.id).await.unwrap(), None);
    assert_eq!(stores.states.replace(&state.id, &object(json!({})), None, at(2)).await.unwrap(), None);
    assert_eq!(stores.states.delete(&state.id).await.unwrap(), None);
    let (order, direction) = OLDEST_FIRST;
    for filter in [&EVERYTHING, &of_task(&task_id)] {
        assert_eq!(stores.states.list(filter, order, direction, PageRequest::default()).await.unwrap(), []);
    }
}

pub async fn a_list_of_states_shows_what_its_filter_says(stores: &Stores) {
    super::task_items::filters_are_obeyed(
        stores,
        async |filter, page| {
            let (order, direction) = OLDEST_FIRST;
            let states = stores.states.list(filter, order, direction, page).await.unwrap();
            states.into_iter().map(|state| (state.task_id, state.agent_id)).collect()
        },
        async |task_id, agent_id| {
            stored(stores, task_id, agent_id.as_str(), 1).await;
        },
    )
    .await;
}

pub async fn a_list_of_states_follows_the_order_asked_for_in_both_directions(stores: &Stores) {
    let mut tasks = [stored_task(stores).await, stored_task(stores).await];
    tasks.sort();
    let [low, high] = tasks;
    let a = stored(stores, &high, "x", 3).await.id;
    let b = stored(stores, &low, "Y", 1).await.id;
    let c = stored(stores, &low, "x", 3).await.id;
    let d = stored(stores, &low, "z", 2).await.id;
    stores.states.replace(&a, &object(json!({})), None, at(9)).await.unwrap();
    let mut by_id = [a.clone(), b.clone(), c.clone(), d.clone()];
    by_id.sort();

    for (order, ascending) in [
        (StateOrder::Insertion, vec![&a, &b, &c, &d]),
        (StateOrder::Id, by_id.iter().collect()),
        (StateOrder::TaskId, vec![&b, &c, &d, &a]),
        // Upper case comes first where bytes are compared.
        (StateOrder::AgentId, vec![&b, &a, &c, &d]),
        (StateOrder::CreatedAt, vec![&b, &d, &a, &c]),
        (StateOrder::UpdatedAt, vec![&b, &d, &c, &a]),
    ] {
        let ascending: Vec<StateId> = ascending.into_iter().cloned().collect();
        assert_eq!(ids(stores, order, Direction::Ascending).await, ascending, "{order:?}");
        let descending: Vec<StateId> = ascending.into_iter().rev().collect();
        assert_eq!(ids(stores, order, Direction::Descending).await, descending, "{order:?}");
    }
}

pub async fn pages_of_equal_states_show_each_exactly_once(stores: &Stores) {
    let task_id = stored_task(stores).await;
    let mut everything = BTreeSet::new();
    for _ in 0..7 {
        everything.insert(stored(stores, &task_id, "a", 1).await.id);
    }

    for order in [StateOrder::Insertion, StateOrder::CreatedAt] {
        for direction in [Direction::Ascending, Direction::Descending] {
            let mut seen = Vec::new();
            for page_number in 1..=4 {
                let page = PageRequest { limit: 2, page_number };
                let states = stores.states.list(&of_task(&task_id), order, direction, page).await.unwrap();
                assert_eq!(states.len(), if page_number == 4 { 1 } else { 2 });
                seen.extend(states.into_iter().map(|state| state.id));
            }
            assert_eq!(seen.len(), 7);
            assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), everything);
        }
    }
}
