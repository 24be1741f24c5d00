use std::sync::Arc;

use agentex_domain::ports::Scheduler;
use agentex_inprocess::SchedulerOptions;
use agentex_testkit::contract::scheduler::Subject;

use super::world::World;

fn subject(world: World) -> (Subject, World) {
    let scheduler: Arc<dyn Scheduler> = world.scheduler(SchedulerOptions::default());
    (Subject { scheduler, clock: Arc::new(world.clock.clone()), prefix: "contract".to_owned() }, world)
}

mod sqlite {
    agentex_testkit::scheduler_contract!(super::subject(super::World::sqlite().await));
}

mod postgres {
    agentex_testkit::scheduler_contract!(super::subject(super::World::postgres().await));
}
