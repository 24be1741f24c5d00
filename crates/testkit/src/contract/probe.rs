//! What every store's `Probe` must do.

#![expect(missing_docs, reason = "the names of the cases are the sentences")]

use agentex_domain::ports::Stores;

pub async fn a_running_store_answers_its_probe(stores: &Stores) {
    assert!(!stores.probe.name().is_empty());
    assert_eq!(stores.probe.probe().await, Ok(()));
}
