//! What every authorizer that knows the permission model must do.

use std::sync::Arc;

use agentex_authz::Authorizer;

use crate::support::spark;

agentex_testkit::authorizer_contract!({
    let spark = spark().await;
    (Arc::new(spark.another()) as Arc<dyn Authorizer>, spark)
});
