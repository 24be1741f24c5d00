use std::sync::Arc;

use agentex_domain::ports::SystemClock;
use agentex_temporal::TemporalScheduler;
use agentex_testkit::contract::scheduler::Subject;
use agentex_testkit::services::temporal::temporal;

use crate::support::connect;

async fn fresh() -> (Subject, impl Sized) {
    let server = temporal().await;
    let clock = Arc::new(SystemClock);
    let scheduler = TemporalScheduler::new(connect(server.address()), server.unique(), clock.clone());
    (Subject { scheduler: Arc::new(scheduler), clock, prefix: server.unique().to_owned() }, server)
}

agentex_testkit::scheduler_contract!(fresh().await);
