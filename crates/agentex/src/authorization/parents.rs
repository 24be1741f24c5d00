use agentex_authz::{ResourceKind, ResourceRef};
use agentex_authz_sgp::ParentLookup;
use agentex_domain::ApiKeyId;
use agentex_domain::ports::Stores;
use async_trait::async_trait;

/// Tells which agent a resource belongs to from the rows.
pub(super) struct RowParents(pub(super) Stores);

#[async_trait]
impl ParentLookup for RowParents {
    async fn parent_of(
        &self,
        resource: &ResourceRef,
    ) -> Result<Option<ResourceRef>, Box<dyn std::error::Error + Send + Sync>> {
        if resource.kind == ResourceKind::ApiKey {
            let key = self.0.api_keys.find(&ApiKeyId::from(resource.selector.as_str())).await?;
            return Ok(key.map(|key| ResourceRef::agent(key.agent_id.as_str())));
        }
        Ok(self.0.owners.find(resource).await?.and_then(|ownership| ownership.parent))
    }
}
