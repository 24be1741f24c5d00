use agentex_testkit::contract::streams::RETAINED;
use agentex_testkit::services::redis::redis;

use crate::support::{connect, options};

async fn fresh() -> (std::sync::Arc<dyn agentex_domain::ports::EventStream>, impl Sized) {
    let server = redis().await;
    let options = agentex_redis::RedisOptions { max_len: RETAINED, ..options(server.url()) };
    (connect(options), server)
}

agentex_testkit::stream_contract!(fresh().await);
