use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentex_domain::AgentId;
use agentex_domain::ports::{AgentHealth, JobError, MockJobs};
use agentex_inprocess::SchedulerOptions;
use agentex_testkit::build::agent;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::world::{World, until};

/// Health by agent; an agent without any cannot be asked.
type Health = Arc<Mutex<HashMap<String, AgentHealth>>>;

/// What happened: an agent was asked (`None`) or recorded.
type Event = (String, Option<bool>);

fn jobs(health: &Health, events: &mpsc::UnboundedSender<Event>) -> MockJobs {
    let mut jobs = MockJobs::new();
    let (health, told) = (Arc::clone(health), events.clone());
    jobs.expect_check_agent().returning(move |agent: &AgentId| {
        told.send((agent.to_string(), None)).unwrap();
        let health = health.lock().unwrap().get(agent.as_str()).copied();
        health.ok_or_else(|| JobError { message: "cannot ask".into(), source: None })
    });
    let told = events.clone();
    jobs.expect_set_agent_health().returning(move |agent: &AgentId, healthy: bool| {
        told.send((agent.to_string(), Some(healthy))).unwrap();
        Ok(())
    });
    jobs
}

struct Checked {
    world: World,
    agent: AgentId,
    health: Health,
    events: mpsc::UnboundedReceiver<Event>,
    shutdown: CancellationToken,
    running: tokio::task::JoinHandle<()>,
}

/// A running scheduler and one ready agent, asked once already.
async fn checked(first: Option<AgentHealth>) -> Checked {
    let world = World::sqlite().await;
    let new = agent("worker");
    world.stores.agents.insert(&new, None).await.unwrap();
    let health = Health::default();
    if let Some(first) = first {
        health.lock().unwrap().insert(new.id.to_string(), first);
    }
    let (sender, events) = mpsc::unbounded_channel();
    let (scheduler, jobs, shutdown) =
        (world.scheduler(SchedulerOptions::default()), jobs(&health, &sender), CancellationToken::new());
    let running = tokio::spawn({
        let shutdown = shutdown.clone();
        async move { scheduler.run(Arc::new(jobs), shutdown).await }
    });
    let mut checked = Checked { world, agent: new.id, health, events, shutdown, running };
    assert_eq!(checked.event().await, None);
    checked
}

impl Checked {
    async fn event(&mut self) -> Option<bool> {
        let (agent, event) = self.events.recv().await.unwrap();
        assert_eq!(agent, self.agent.as_str());
        event
    }

    fn set(&self, health: AgentHealth) {
        self.health.lock().unwrap().insert(self.agent.to_string(), health);
    }

    /// Moves the clock to the moment at which the agent is asked again.
    async fn asked_again(&mut self) {
        // Fires, leases and checks: each of the three loops sleeps at most once.
        until(async || self.world.clock.sleepers() == 3).await;
        self.world.clock.advance(Duration::from_secs(29));
        until(async || self.world.clock.sleepers() == 3).await;
        assert!(self.events.is_empty(), "it is not asked before its time");
        self.world.clock.advance(Duration::from_secs(1));
        until(async || self.world.clock.sleepers() == 3 || !self.events.is_empty()).await;
        self.world.clock.advance(Duration::from_secs(5));
        assert_eq!(self.event().await, None);
    }

    async fn stop(mut self) {
        self.shutdown.cancel();
        self.running.await.unwrap();
        assert_eq!(self.events.recv().await, None, "nothing more happened");
    }
}

/// temporal §7: 8
/// agents §13: 58
#[tokio::test]
async fn five_failures_in_a_row_make_an_agent_unhealthy_once() {
    let mut checked = checked(Some(AgentHealth::Failing)).await;

    for _ in 0..3 {
        checked.asked_again().await;
    }
    // Four failures and a success count for nothing.
    checked.set(AgentHealth::Healthy);
    checked.asked_again().await;
    checked.health.lock().unwrap().clear();
    for _ in 0..4 {
        checked.asked_again().await;
    }
    checked.set(AgentHealth::Failing);
    checked.asked_again().await;

    assert_eq!(checked.event().await, Some(false));
    checked.stop().await;
}

#[tokio::test]
async fn an_unhealthy_agent_that_answers_is_healthy_again() {
    let mut checked = checked(Some(AgentHealth::Failing)).await;
    for _ in 0..4 {
        checked.asked_again().await;
    }
    assert_eq!(checked.event().await, Some(false));
    let agents = &checked.world.stores.agents;
    assert!(agents.set_health(&checked.agent, false, "silent", super::world::noon()).await.unwrap());
    // It stays unhealthy, and nothing more is recorded.
    checked.asked_again().await;

    checked.set(AgentHealth::Healthy);
    checked.asked_again().await;

    assert_eq!(checked.event().await, Some(true));
    checked.stop().await;
}

#[tokio::test]
async fn an_agent_with_nothing_to_check_stays_as_it_is() {
    let mut checked = checked(Some(AgentHealth::Gone)).await;

    for _ in 0..7 {
        checked.asked_again().await;
    }

    checked.stop().await;
}
