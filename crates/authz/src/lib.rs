#![doc = include_str!("../README.md")]

mod allow_all;
mod authenticator;
mod authorizer;
#[cfg(any(test, feature = "cases"))]
pub mod cases;
mod decision;
pub mod local;
pub mod model;
mod principal;
mod resource;
pub mod router;
mod selectors;
mod tokens;
pub mod wrap;

pub use allow_all::AllowAll;
#[cfg(any(test, feature = "mock"))]
pub use authenticator::MockAuthenticator;
pub use authenticator::{Authenticator, AuthnError, CredentialHeaders, NoAuthentication};
#[cfg(any(test, feature = "mock"))]
pub use authorizer::MockAuthorizer;
pub use authorizer::{Authorizer, AuthzError, Check};
pub use decision::{Decision, Scope};
pub use principal::Principal;
pub use resource::{Operation, ResourceKind, ResourceRef};
pub use selectors::Selectors;
pub use tokens::{StaticToken, StaticTokens, StaticTokensError};
