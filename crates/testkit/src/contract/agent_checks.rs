//! What every `AgentCheckRepository` must do.

#![expect(missing_docs, reason = "the names of the cases are the sentences")]

use std::collections::BTreeSet;

use agentex_domain::ports::{AgentCheck, Stores};
use agentex_domain::{Agent, AgentId, AgentStatus};

use crate::build::{agent, at};

async fn stored(stores: &Stores, name: &str, status: AgentStatus) -> AgentId {
    let agent = Agent { status, ..agent(name) };
    stores.agents.insert(&agent, None).await.unwrap();
    agent.id
}

fn ids(checks: &[AgentCheck]) -> BTreeSet<String> {
    checks.iter().map(|check| check.agent_id.to_string()).collect()
}

pub async fn ready_and_unhealthy_agents_are_taken_and_no_others(stores: &Stores) {
    let ready = stored(stores, "ready", AgentStatus::Ready).await;
    let unhealthy = stored(stores, "unhealthy", AgentStatus::Unhealthy).await;
    for (number, status) in [AgentStatus::Deleted, AgentStatus::BuildOnly, AgentStatus::Failed, AgentStatus::Unknown]
        .into_iter()
        .enumerate()
    {
        stored(stores, &format!("other-{number}"), status).await;
    }

    let mut taken = stores.agent_checks.claim(at(0), at(30), 10).await.unwrap();

    taken.sort_by_key(|check| check.unhealthy);
    assert_eq!(
        taken,
        [
            AgentCheck { agent_id: ready, failures: 0, unhealthy: false },
            AgentCheck { agent_id: unhealthy, failures: 0, unhealthy: true },
        ]
    );
}

pub async fn an_agent_is_taken_again_when_its_time_is_over(stores: &Stores) {
    let agent = stored(stores, "worker", AgentStatus::Ready).await;
    assert_eq!(stores.agent_checks.claim(at(0), at(30), 10).await.unwrap().len(), 1);
    stores.agent_checks.record(&agent, 3).await.unwrap();

    assert_eq!(stores.agent_checks.claim(at(29), at(60), 10).await.unwrap(), []);
    let again = stores.agent_checks.claim(at(30), at(60), 10).await.unwrap();

    assert_eq!(again, [AgentCheck { agent_id: agent.clone(), failures: 3, unhealthy: false }]);
    stores.agents.delete(&agent, "gone", at(31), None).await.unwrap().unwrap();
    assert_eq!(stores.agent_checks.claim(at(90), at(99), 10).await.unwrap(), []);
}

pub async fn agents_that_wait_longest_are_taken_first(stores: &Stores) {
    for name in ["a", "b", "c"] {
        stored(stores, name, AgentStatus::Ready).await;
    }
    let first = stores.agent_checks.claim(at(0), at(30), 2).await.unwrap();
    assert_eq!(first.len(), 2);
    let second = stores.agent_checks.claim(at(1), at(31), 2).await.unwrap();
    assert_eq!(second.len(), 1);

    let third = stores.agent_checks.claim(at(40), at(70), 2).await.unwrap();

    assert_eq!(ids(&third), ids(&first));
    assert_eq!(stores.agent_checks.claim(at(40), at(70), 0).await.unwrap(), []);
}

pub async fn what_was_never_taken_is_not_recorded(stores: &Stores) {
    let agent = stored(stores, "worker", AgentStatus::Ready).await;

    stores.agent_checks.record(&agent, 4).await.unwrap();
    stores.agent_checks.record(&AgentId::generate(), 4).await.unwrap();

    assert_eq!(stores.agent_checks.claim(at(0), at(30), 10).await.unwrap()[0].failures, 0);
}

pub async fn of_many_who_take_agents_each_gets_others(stores: &Stores) {
    for number in 0..20 {
        stored(stores, &format!("agent-{number}"), AgentStatus::Ready).await;
    }
    for round in 0..2 {
        let (now, until) = (at(round * 30), at(round * 30 + 30));
        let claims = (0..16).map(|_| {
            let stores = stores.clone();
            tokio::spawn(async move { stores.agent_checks.claim(now, until, 20).await.unwrap() })
        });

        let taken: Vec<AgentCheck> =
            futures::future::join_all(claims).await.into_iter().flat_map(Result::unwrap).collect();

        assert_eq!((taken.len(), ids(&taken).len()), (20, 20));
    }
}
