use crate::database::migrated;

agentex_testkit::rollout_contract!({
    let database = migrated().await;
    (database.store.rollout(), database)
});
