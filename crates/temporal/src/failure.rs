use agentex_domain::ports::{BoxError, ScheduleError, WorkflowError};
use prost::Message;
use temporalio_common::protos::google::rpc;
use tonic::{Code, ConnectError, Status};

/// Why a call was not answered as wished.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// Nobody was there; nothing was sent.
    #[error("Temporal cannot be reached")]
    Unreachable(#[source] BoxError),
    /// Sent, but nobody knows what became of it.
    #[error("Temporal did not answer")]
    Unanswered(#[source] BoxError),
    /// Temporal's answer.
    #[error("Temporal refused")]
    Refused(#[source] Box<Status>),
}

/// What a failed attempt means.
pub(crate) enum Attempt {
    /// Not sent: it may be tried again.
    NotSent,
    /// Not done, because there is too much to do: it may be tried again.
    TurnedAway,
    /// It may or may not have been done.
    Doubtful,
    /// An answer.
    Answer,
}

impl Attempt {
    pub(crate) fn of(status: &Status) -> Self {
        match status.code() {
            Code::ResourceExhausted => Self::TurnedAway,
            _ if has_source::<ConnectError>(status) => Self::NotSent,
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown | Code::Aborted => {
                Self::Doubtful
            }
            _ => Self::Answer,
        }
    }
}

fn has_source<E: std::error::Error + 'static>(status: &Status) -> bool {
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        if error.is::<E>() {
            return true;
        }
        source = error.source();
    }
    false
}

/// Whether the details of an answer hold the message `name` of Temporal's error details.
pub(crate) fn has_detail(status: &Status, name: &str) -> bool {
    let Ok(decoded) = rpc::Status::decode(status.details()) else { return false };
    decoded.details.iter().any(|detail| detail.type_url.rsplit('.').next() == Some(name))
}

/// What an answer means for us, by its code.
enum Meaning {
    NotFound,
    AlreadyExists,
    Invalid,
    NotNow,
    NoPoller,
    Other,
}

fn meaning(status: &Status) -> Meaning {
    match status.code() {
        // Then nothing of ours can be there, whatever was asked for.
        Code::NotFound if has_detail(status, "NamespaceNotFoundFailure") => Meaning::NotNow,
        Code::NotFound => Meaning::NotFound,
        Code::AlreadyExists => Meaning::AlreadyExists,
        Code::InvalidArgument | Code::OutOfRange => Meaning::Invalid,
        Code::ResourceExhausted | Code::PermissionDenied | Code::Unauthenticated => Meaning::NotNow,
        Code::FailedPrecondition => Meaning::NoPoller,
        _ => Meaning::Other,
    }
}

impl From<CallError> for ScheduleError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Unreachable(source) => Self::Unavailable(source),
            CallError::Unanswered(source) => Self::Unknown(source),
            CallError::Refused(status) => match meaning(&status) {
                Meaning::NotFound => Self::NotFound,
                Meaning::AlreadyExists => Self::AlreadyExists,
                Meaning::Invalid => Self::Invalid(status.message().to_owned()),
                Meaning::NotNow => Self::Unavailable(status),
                Meaning::NoPoller | Meaning::Other => Self::Failed(status),
            },
        }
    }
}

impl From<CallError> for WorkflowError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Unreachable(source) => Self::Unavailable(source),
            CallError::Unanswered(source) => Self::DeadlineExceeded(source),
            CallError::Refused(status) => match meaning(&status) {
                Meaning::NotFound => Self::NotFound,
                Meaning::AlreadyExists => Self::AlreadyExists,
                Meaning::Invalid => Self::Invalid(status.message().to_owned()),
                Meaning::NotNow => Self::Unavailable(status),
                // No worker of the workflow listens, so that there is nobody who could answer in time.
                Meaning::NoPoller => Self::DeadlineExceeded(status),
                Meaning::Other => Self::Failed(status),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use prost_wkt_types::Any;

    use super::*;

    fn refused(code: Code, detail: Option<&str>) -> ScheduleError {
        let details = detail.map(|name| Any {
            type_url: format!("type.googleapis.com/temporal.api.errordetails.v1.{name}"),
            value: Vec::new(),
        });
        let details = rpc::Status { details: details.into_iter().collect(), ..rpc::Status::default() };
        // The words say the opposite of the code: they do not count.
        CallError::Refused(Box::new(Status::with_details(
            code,
            "already exists, not found",
            details.encode_to_vec().into(),
        )))
        .into()
    }

    #[test]
    fn answers_are_told_apart_by_their_code() {
        assert!(matches!(refused(Code::NotFound, None), ScheduleError::NotFound));
        assert!(matches!(refused(Code::NotFound, Some("NotFoundFailure")), ScheduleError::NotFound));
        assert!(matches!(refused(Code::AlreadyExists, None), ScheduleError::AlreadyExists));
        assert!(matches!(refused(Code::InvalidArgument, None), ScheduleError::Invalid(_)));
        assert!(matches!(refused(Code::Internal, None), ScheduleError::Failed(_)));
    }

    #[test]
    fn a_missing_namespace_is_not_a_missing_schedule() {
        assert!(matches!(refused(Code::NotFound, Some("NamespaceNotFoundFailure")), ScheduleError::Unavailable(_)));
    }
}
