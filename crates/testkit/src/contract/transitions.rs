//! The task state machine, as every `TaskRepository` must guard it.

#![expect(missing_docs, reason = "the names of the cases are the sentences")]

use agentex_domain::ports::{Stores, Transitioned};
use agentex_domain::{Agent, Task, TaskId, TaskStatus, Transition};

use serde_json::json;

use super::stored::{created, find, stored_agent};
use crate::build::{at, named_task, new_task, object};

/// The transition that takes a running task to `status`.
fn way_to(status: TaskStatus) -> Option<Transition> {
    match status {
        TaskStatus::Running => None,
        TaskStatus::Canceled => Some(Transition::Cancel),
        TaskStatus::Completed => Some(Transition::Complete),
        TaskStatus::Failed => Some(Transition::Fail),
        TaskStatus::Terminated => Some(Transition::Terminate),
        TaskStatus::TimedOut => Some(Transition::TimeOut),
        TaskStatus::Deleted => Some(Transition::Delete),
        TaskStatus::Interrupted => Some(Transition::Interrupt),
    }
}

async fn task_in(stores: &Stores, agent: &Agent, status: TaskStatus) -> Task {
    let task = created(stores, new_task(agent)).await;
    let Some(way) = way_to(status) else { return task };
    match stores.tasks.transition(&task.id, way, "on the way", at(1)).await.unwrap() {
        Transitioned::Done(task) => task,
        other => panic!("{status}: {other:?}"),
    }
}

pub async fn every_transition_happens_from_its_sources_and_from_nowhere_else(stores: &Stores) {
    let agent = stored_agent(stores, "worker").await;
    for (name, status) in TaskStatus::ALL {
        for transition in Transition::ALL {
            let before = task_in(stores, &agent, status).await;
            assert_eq!(before.status, status);

            let outcome = stores.tasks.transition(&before.id, transition, "because", at(7)).await.unwrap();

            let expected = if transition.is_legal_from(status) {
                let after = Task {
                    status: transition.target(),
                    status_reason: Some("because".into()),
                    updated_at: at(7),
                    ..before.clone()
                };
                Transitioned::Done(after)
            } else {
                Transitioned::Refused(before.clone())
            };
            assert_eq!(outcome, expected, "{transition:?} from {name}");
            let (Transitioned::Done(now) | Transitioned::Refused(now)) = outcome else { unreachable!() };
            assert_eq!(find(stores, &before.id).await, now, "{transition:?} from {name}");
        }
    }
}

pub async fn a_transition_of_an_absent_task_is_absent(stores: &Stores) {
    for transition in Transition::ALL {
        let outcome = stores.tasks.transition(&TaskId::generate(), transition, "r", at(1)).await.unwrap();
        assert_eq!(outcome, Transitioned::Absent, "{transition:?}");
    }
}

pub async fn the_reason_is_stored_as_it_is(stores: &Stores) {
    let agent = stored_agent(stores, "worker").await;
    let long = "reason ".repeat(1000);
    for reason in ["", " ", "it's \"broken\"\n\u{1F980}; DROP TABLE tasks; --", long.as_str()] {
        let task = created(stores, new_task(&agent)).await;

        stores.tasks.transition(&task.id, Transition::Fail, reason, at(1)).await.unwrap();

        assert_eq!(find(stores, &task.id).await.status_reason.as_deref(), Some(reason));
    }
}

pub async fn a_transition_touches_nothing_but_status_reason_and_time(stores: &Stores) {
    let agent = stored_agent(stores, "worker").await;
    let mut new = named_task(&agent, "keeps");
    new.params = Some(object(json!({"p": 1})));
    new.task_metadata = Some(object(json!({"m": 1})));
    stores.tasks.insert(&new, None).await.unwrap();
    let before = find(stores, &new.id).await;

    // A task goes through a whole life.
    let life = [
        Transition::Interrupt,
        Transition::Resume,
        Transition::Fail,
        Transition::Recover,
        Transition::Complete,
        Transition::Delete,
    ];
    for (second, transition) in (1..).zip(life) {
        let outcome = stores.tasks.transition(&before.id, transition, "step", at(second)).await.unwrap();
        let expected = Task {
            status: transition.target(),
            status_reason: Some("step".into()),
            updated_at: at(second),
            ..before.clone()
        };
        assert_eq!(outcome, Transitioned::Done(expected), "{transition:?}");
    }
}

/// tasks §10: 19
pub async fn of_concurrent_transitions_exactly_one_happens(stores: &Stores) {
    let agent = stored_agent(stores, "worker").await;
    let contenders = [Transition::Complete, Transition::Cancel, Transition::Fail, Transition::Terminate];
    for _ in 0..10 {
        let task = created(stores, new_task(&agent)).await;
        let attempts = contenders.map(|transition| {
            let (stores, id) = (stores.clone(), task.id.clone());
            let reason = transition.default_reason();
            tokio::spawn(async move { stores.tasks.transition(&id, transition, reason, at(2)).await.unwrap() })
        });

        let outcomes: Vec<Transitioned> =
            futures::future::join_all(attempts).await.into_iter().map(Result::unwrap).collect();

        let winners: Vec<&Task> = outcomes
            .iter()
            .filter_map(|outcome| if let Transitioned::Done(task) = outcome { Some(task) } else { None })
            .collect();
        assert_eq!(winners.len(), 1, "{outcomes:?}");
        for outcome in &outcomes {
            let (Transitioned::Done(seen) | Transitioned::Refused(seen)) = outcome else { panic!("{outcome:?}") };
            assert_eq!(seen, winners[0], "losers are shown what won");
        }
        assert_eq!(&find(stores, &task.id).await, winners[0]);
    }
}

/// However many try, a task is resumed once per interruption.
pub async fn of_concurrent_resumes_one_happens(stores: &Stores) {
    let agent = stored_agent(stores, "worker").await;
    let task = task_in(stores, &agent, TaskStatus::Interrupted).await;

    let attempts = (0..8).map(|_| {
        let (stores, id) = (stores.clone(), task.id.clone());
        tokio::spawn(async move { stores.tasks.transition(&id, Transition::Resume, "next turn", at(2)).await.unwrap() })
    });
    let outcomes: Vec<Transitioned> =
        futures::future::join_all(attempts).await.into_iter().map(Result::unwrap).collect();

    let done = outcomes.iter().filter(|outcome| matches!(outcome, Transitioned::Done(_))).count();
    assert_eq!(done, 1, "{outcomes:?}");
    assert_eq!(find(stores, &task.id).await.status, TaskStatus::Running);
}
