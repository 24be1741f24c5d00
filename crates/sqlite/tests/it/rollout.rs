use crate::Fixture;

agentex_testkit::rollout_contract!({
    let fixture = Fixture::new().await;
    (fixture.store.rollout(), fixture)
});
