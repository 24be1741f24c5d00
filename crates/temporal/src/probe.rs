use agentex_domain::ports::{Probe, ProbeError};
use async_trait::async_trait;
use temporalio_common::protos::temporal::api::workflowservice::v1::DescribeNamespaceRequest;

use crate::Temporal;
use crate::failure::CallError;

#[async_trait]
impl Probe for Temporal {
    fn name(&self) -> &'static str {
        "temporal"
    }

    /// Asks for the namespace: a server without it is of no use.
    async fn probe(&self) -> Result<(), ProbeError> {
        let request = DescribeNamespaceRequest { namespace: self.namespace(), ..Default::default() };
        self.describe_namespace(request).await.map(drop).map_err(|error| {
            ProbeError(match error {
                CallError::Unreachable(_) => "cannot be reached".to_owned(),
                CallError::Unanswered(_) => "does not answer".to_owned(),
                CallError::Refused(status) => format!("refuses with {:?}", status.code()),
            })
        })
    }
}
