use crate::database::migrated;

agentex_testkit::store_contract!({
    let database = migrated().await;
    (database.stores.clone(), database)
});
