use temporalio_common::protos::temporal::api::workflowservice::v1::*;

use crate::connection::{Repeat, Temporal};
use crate::failure::CallError;

macro_rules! calls {
    ($($name:ident($request:ty) -> $answer:ty, $repeat:ident;)*) => {
        impl Temporal {
            $(
                pub(crate) async fn $name(&self, request: $request) -> Result<$answer, CallError> {
                    let send = |mut service: crate::connection::Service, request| async move {
                        service.$name(request).await
                    };
                    self.call(Repeat::$repeat, request, send).await
                }
            )*
        }
    };
}

// Requests with an id of their own are recognized by Temporal when they come again.
calls! {
    describe_namespace(DescribeNamespaceRequest) -> DescribeNamespaceResponse, Freely;
    create_schedule(CreateScheduleRequest) -> CreateScheduleResponse, Freely;
    describe_schedule(DescribeScheduleRequest) -> DescribeScheduleResponse, Freely;
    list_schedules(ListSchedulesRequest) -> ListSchedulesResponse, Freely;
    update_schedule(UpdateScheduleRequest) -> UpdateScheduleResponse, OnlyUnsent;
    patch_schedule(PatchScheduleRequest) -> PatchScheduleResponse, Freely;
    delete_schedule(DeleteScheduleRequest) -> DeleteScheduleResponse, OnlyUnsent;
    start_workflow_execution(StartWorkflowExecutionRequest) -> StartWorkflowExecutionResponse, Freely;
    signal_workflow_execution(SignalWorkflowExecutionRequest) -> SignalWorkflowExecutionResponse, Freely;
    query_workflow(QueryWorkflowRequest) -> QueryWorkflowResponse, Freely;
    describe_workflow_execution(DescribeWorkflowExecutionRequest) -> DescribeWorkflowExecutionResponse, Freely;
    request_cancel_workflow_execution(RequestCancelWorkflowExecutionRequest)
        -> RequestCancelWorkflowExecutionResponse, Freely;
    terminate_workflow_execution(TerminateWorkflowExecutionRequest)
        -> TerminateWorkflowExecutionResponse, OnlyUnsent;
}
