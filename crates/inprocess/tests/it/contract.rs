use std::sync::Arc;

use agentex_domain::ports::EventStream;
use agentex_inprocess::{InProcessOptions, InProcessStream};
use agentex_testkit::contract::streams::RETAINED;

fn fresh() -> (Arc<dyn EventStream>, ()) {
    let options = InProcessOptions { max_entries: RETAINED, ..InProcessOptions::default() };
    (Arc::new(InProcessStream::new(options)), ())
}

agentex_testkit::stream_contract!(fresh());
