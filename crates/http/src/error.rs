use std::borrow::Cow;
use std::error::Error as StdError;

use agentex_app::{Error, ForwardRefusal};
use agentex_authz::AuthzError;
use agentex_domain::input::{Problem, Problems};
use agentex_domain::ports::{StoreError, StreamError};
use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};

use crate::bodies::errors::{DetailBody, MessageBody, ProblemBody, ValidationBody};

const DUPLICATE: &str = "Item already exists. Please check all unique constraints and try again.";
const UNAVAILABLE: &str = "Service temporarily unavailable";
const INTERNAL: &str = "Internal Server Error";

/// Most problems spelled out in one answer; the count is always the full one.
const MAX_PROBLEMS: usize = 100;

/// Tells retrying clients whether trying again may help; a 409 says `false` unless something is still going on.
pub(crate) const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// Why a request was not served. The only type that knows status codes.
#[derive(Debug)]
pub(crate) enum ApiError {
    /// A use case refused.
    App(Error),
    /// The body is larger than the configured limit.
    BodyTooLarge,
    /// The body did not arrive in time, or the connection broke while it did.
    BodyIncomplete,
    /// The answer took longer than allowed.
    TimedOut,
    /// No such route.
    NoRoute,
    /// The route exists for other methods only: these, as the `Allow` header lists them.
    NoMethod(HeaderValue),
    /// A request was not forwarded to an agent.
    Forward(ForwardRefusal),
    /// Any of the others, in the shape that the routes for outsiders answer in.
    InDetail(Box<Self>),
    /// A bug here.
    Bug(&'static str),
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        Self::App(error)
    }
}

impl From<ForwardRefusal> for ApiError {
    fn from(refusal: ForwardRefusal) -> Self {
        match refusal {
            ForwardRefusal::Failed(error) => Self::App(error).in_detail(),
            refusal => Self::Forward(refusal),
        }
    }
}

impl From<Problems> for ApiError {
    fn from(problems: Problems) -> Self {
        Self::App(Error::Unprocessable(problems))
    }
}

impl ApiError {
    /// One wrong member.
    pub(crate) fn problem(path: &str, text: &str) -> Self {
        Self::from(vec![Problem { path: path.to_owned(), text: text.to_owned() }])
    }

    /// A request that is well-formed but makes no sense.
    pub(crate) fn invalid(text: impl Into<String>) -> Self {
        Self::App(Error::Invalid(text.into()))
    }

    /// The same in the shape that the routes for outsiders answer in.
    pub(crate) fn in_detail(self) -> Self {
        Self::InDetail(Box::new(self))
    }
}

/// A status with one of the three bodies errors have.
struct Refusal {
    status: StatusCode,
    body: RefusalBody,
}

enum RefusalBody {
    Message(String),
    Detail(Cow<'static, str>),
    Problems(Problems),
}

impl Refusal {
    fn message(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, body: RefusalBody::Message(text.into()) }
    }

    fn detail(status: StatusCode, text: impl Into<Cow<'static, str>>) -> Self {
        Self { status, body: RefusalBody::Detail(text.into()) }
    }

    fn of(error: Error) -> Self {
        match error {
            Error::NotFound(absent) => Self::message(StatusCode::NOT_FOUND, absent.to_string()),
            Error::Forbidden { .. } => Self::message(StatusCode::FORBIDDEN, error.to_string()),
            Error::Invalid(text) | Error::Rpc(text) => Self::message(StatusCode::BAD_REQUEST, text),
            Error::Unprocessable(problems) => {
                Self { status: StatusCode::UNPROCESSABLE_ENTITY, body: RefusalBody::Problems(problems) }
            }
            Error::Conflict(text) => Self::message(StatusCode::CONFLICT, text),
            Error::Outdated(text) => Self::message(StatusCode::PRECONDITION_FAILED, text),
            Error::TooLarge(text) => Self::message(StatusCode::PAYLOAD_TOO_LARGE, text),
            Error::AgentKeyRefused => Self::detail(StatusCode::UNAUTHORIZED, "Agent Unauthorized"),
            Error::Unauthenticated => Self::detail(StatusCode::UNAUTHORIZED, "Unauthorized"),
            Error::AuthenticationUnavailable(_) => Self::detail(StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE),
            Error::Unavailable(text) => Self::message(StatusCode::SERVICE_UNAVAILABLE, text),
            Error::Failed { message, .. } => Self::message(StatusCode::INTERNAL_SERVER_ERROR, message),
            Error::TimedOut { message, .. } => Self::message(StatusCode::GATEWAY_TIMEOUT, message),
            Error::Store(error) => match error {
                StoreError::Duplicate { .. } => Self::message(StatusCode::BAD_REQUEST, DUPLICATE),
                StoreError::Dangling { .. } => {
                    Self::message(StatusCode::BAD_REQUEST, "Invalid input resulted in constraint violation")
                }
                StoreError::Unavailable(_) | StoreError::IntentLost => {
                    Self::message(StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE)
                }
                StoreError::Corrupt { .. } | StoreError::Failed(_) => Self::internal(),
            },
            Error::Authz(error) => match error {
                AuthzError::Unavailable(_) => {
                    Self::message(StatusCode::SERVICE_UNAVAILABLE, "Service unreachable or timed out")
                }
                AuthzError::Busy(_) | AuthzError::Deferred => {
                    Self::message(StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE)
                }
                AuthzError::Unauthenticated => {
                    Self::message(StatusCode::UNAUTHORIZED, "Unauthorized \u{2013} missing or invalid credentials")
                }
                AuthzError::Gateway(_) | AuthzError::Protocol(_) | AuthzError::Refused => {
                    Self::message(StatusCode::BAD_GATEWAY, "Bad gateway")
                }
                AuthzError::Service(_) => Self::internal(),
            },
            Error::Stream(error) => match error {
                StreamError::Unavailable(_) => Self::message(StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE),
                StreamError::BadCursor => Self::message(StatusCode::BAD_REQUEST, "Invalid cursor format"),
            },
            Error::Transfer { text, source: _ } => Self::message(StatusCode::INTERNAL_SERVER_ERROR, text),
            // Calls of agents report these inside their own envelope; elsewhere they say what is behind us.
            Error::Agent(_) | Error::Fold(_) => Self::message(StatusCode::BAD_GATEWAY, "Bad gateway"),
            Error::Sealed => Self::internal(),
        }
    }

    fn forward(refusal: &ForwardRefusal) -> Self {
        let status = match refusal {
            ForwardRefusal::Reserved | ForwardRefusal::NoAgent(_) | ForwardRefusal::NoKey { .. } => {
                StatusCode::NOT_FOUND
            }
            ForwardRefusal::BadPath | ForwardRefusal::BadWebhook(_) => StatusCode::BAD_REQUEST,
            ForwardRefusal::Unauthorized | ForwardRefusal::NotGenuine(_) => StatusCode::UNAUTHORIZED,
            ForwardRefusal::NoCredentials => StatusCode::FORBIDDEN,
            ForwardRefusal::Unreachable { .. } => StatusCode::BAD_GATEWAY,
            ForwardRefusal::TimedOut(_) => StatusCode::GATEWAY_TIMEOUT,
            ForwardRefusal::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::detail(status, refusal.to_string())
    }

    /// The same with the other shape of body.
    fn into_detail(self) -> Self {
        let Self { status, body } = self;
        match body {
            RefusalBody::Message(text) => Self::detail(status, text),
            RefusalBody::Problems(problems) => Self::detail(status, validation(problems).message),
            RefusalBody::Detail(_) => Self { status, body },
        }
    }

    fn internal() -> Self {
        Self::message(StatusCode::INTERNAL_SERVER_ERROR, INTERNAL)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = self.status;
        let mut response = match self.body {
            RefusalBody::Message(message) => {
                Json(MessageBody { message, code: status.as_u16(), data: None }).into_response()
            }
            RefusalBody::Detail(detail) => Json(DetailBody { detail }).into_response(),
            RefusalBody::Problems(problems) => Json(validation(problems)).into_response(),
        };
        *response.status_mut() = status;
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if status == StatusCode::CONFLICT {
            response.headers_mut().insert(SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        response
    }
}

fn validation(problems: Problems) -> ValidationBody {
    let count = problems.len();
    let listed: Problems = problems.into_iter().take(MAX_PROBLEMS).collect();
    let texts: Vec<String> = listed.iter().map(|problem| format!("{}: {}", problem.path, problem.text)).collect();
    ValidationBody {
        status_code: 10422,
        message: format!("{count} validation error(s): {}", texts.join("; ")),
        data: None,
        errors: listed.into_iter().map(|Problem { path, text }| ProblemBody { loc: path, msg: text }).collect(),
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let allow = if let Self::NoMethod(allow) = &self { Some(allow.clone()) } else { None };
        let mut response = self.refusal().into_response();
        if let Some(allow) = allow {
            response.headers_mut().insert(header::ALLOW, allow);
        }
        response
    }
}

impl ApiError {
    /// Status and body. What went wrong on our side is logged here and not told.
    fn refusal(self) -> Refusal {
        match self {
            Self::App(error) => {
                let logged = describe(&error);
                let refusal = Refusal::of(error);
                if refusal.status.is_server_error() {
                    tracing::error!(status = refusal.status.as_u16(), error = logged, "request failed");
                }
                refusal
            }
            Self::Forward(error) => {
                let refusal = Refusal::forward(&error);
                if refusal.status.is_server_error() {
                    tracing::warn!(status = refusal.status.as_u16(), error = describe(&error), "forwarding failed");
                }
                refusal
            }
            Self::InDetail(error) => error.refusal().into_detail(),
            Self::BodyTooLarge => Refusal::message(StatusCode::PAYLOAD_TOO_LARGE, "Request body is too large"),
            Self::BodyIncomplete => Refusal::message(StatusCode::REQUEST_TIMEOUT, "Request body did not arrive"),
            Self::TimedOut => {
                tracing::error!(status = 504, "request timed out");
                Refusal::message(StatusCode::GATEWAY_TIMEOUT, "Request timed out")
            }
            Self::NoRoute => Refusal::detail(StatusCode::NOT_FOUND, "Not Found"),
            Self::NoMethod(_) => Refusal::detail(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed"),
            Self::Bug(what) => {
                tracing::error!(status = 500, error = what, "request failed");
                Refusal::internal()
            }
        }
    }
}

/// The code and text of a JSON-RPC error. Failures of the server itself are logged here, since the HTTP status of the
/// answer is 200.
pub(crate) fn rpc_failure(error: Error) -> (i64, String) {
    let message = error.rpc_message();
    let code = if matches!(error, Error::Unprocessable(_)) { -32602 } else { -32603 };
    let logged = describe(&error);
    if Refusal::of(error).status.is_server_error() {
        tracing::error!(error = logged, "call failed");
    }
    (code, message)
}

/// An error with its causes, for the log only.
fn describe(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

/// The answer to a request about a resource that is itself invalid: what the caller may not see is absent first, so that a
/// validation text never tells that something exists.
pub(crate) async fn unless_hidden<T>(
    readable: impl Future<Output = Result<T, Error>>,
    invalid: impl Into<ApiError>,
) -> ApiError {
    match readable.await {
        Ok(_) => invalid.into(),
        Err(hidden) => hidden.into(),
    }
}
