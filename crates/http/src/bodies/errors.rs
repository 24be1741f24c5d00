use std::borrow::Cow;

use serde::Serialize;
use utoipa::ToSchema;

/// The usual error: what went wrong, for people, and the HTTP status again.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Error)]
pub(crate) struct MessageBody {
    /// What went wrong.
    pub(crate) message: String,
    /// The HTTP status.
    pub(crate) code: u16,
    /// Always null.
    #[schema(value_type = Option<Object>)]
    pub(crate) data: Option<()>,
}

/// The error of a request that is not what the route expects.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ValidationError)]
pub(crate) struct ValidationBody {
    /// Always 10422; the HTTP status is 422.
    pub(crate) status_code: u16,
    /// All problems, for people. Never repeats what was sent.
    pub(crate) message: String,
    /// Always null.
    #[schema(value_type = Option<Object>)]
    pub(crate) data: Option<()>,
    /// The problems one by one.
    pub(crate) errors: Vec<ProblemBody>,
}

/// One thing wrong with a request.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ValidationProblem)]
pub(crate) struct ProblemBody {
    /// Where: a dotted path that begins with `path`, `query` or `body`.
    pub(crate) loc: String,
    /// What is wrong.
    pub(crate) msg: String,
}

/// The error of routing and authentication.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Refusal)]
pub(crate) struct DetailBody {
    /// What went wrong.
    #[schema(value_type = String)]
    pub(crate) detail: Cow<'static, str>,
}
