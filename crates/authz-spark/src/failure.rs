use agentex_authz::AuthzError;
use tonic::{Code, Status};

/// What a failed call means to whoever asked. SpiceDB knows our key only, so a refused credential is ours and never the
/// caller's.
pub(crate) fn from_status(status: Status) -> AuthzError {
    let code = if lost_connection(&status) { Code::Unavailable } else { status.code() };
    from_code(code, status.into())
}

/// Whether the call failed on its way. One whose connection broke under it has no code of its own.
pub(crate) fn lost_connection(status: &Status) -> bool {
    let source = std::error::Error::source(status);
    status.code() == Code::Unavailable || source.is_some_and(|source| source.is::<tonic::transport::Error>())
}

/// The same for the status of one answer among several.
pub(crate) fn from_code(code: Code, source: Box<dyn std::error::Error + Send + Sync>) -> AuthzError {
    match code {
        // Cancelled is what a call of ours becomes that the connection is lost under.
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => AuthzError::Unavailable(source),
        Code::ResourceExhausted | Code::Aborted => AuthzError::Busy(source),
        Code::Unauthenticated | Code::PermissionDenied => AuthzError::Gateway(source),
        Code::Internal | Code::Unknown | Code::DataLoss => AuthzError::Service(source),
        // Another schema than ours, or none: an error of the deployment.
        Code::FailedPrecondition
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Ok => AuthzError::Protocol(source),
    }
}

/// An answer, or a question, that makes no sense.
pub(crate) fn protocol(what: &'static str) -> AuthzError {
    AuthzError::Protocol(what.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever SpiceDB says about our key, the caller did nothing wrong.
    /// authz §7: 209
    #[test]
    fn no_refusal_of_our_own_key_becomes_the_callers() {
        for code in [Code::Unauthenticated, Code::PermissionDenied] {
            let error = from_status(Status::new(code, "no"));
            assert!(matches!(error, AuthzError::Gateway(_)), "{error:?}");
        }
        for code in (0..=16).map(Code::from_i32) {
            let error = from_status(Status::new(code, "no"));
            assert!(!matches!(error, AuthzError::Unauthenticated | AuthzError::Refused), "{code:?}: {error:?}");
        }
    }
}
